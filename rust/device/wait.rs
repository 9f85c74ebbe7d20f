// SPDX-License-Identifier: GPL-2.0

//! DOORBELL_WAIT: a wait for the deliveries of a line.

use super::{
    argument::{
        check_flags,
        check_reserved,
        Argument, //
    },
    DoorbellFile, //
};
use crate::{
    kernel_ext::{
        uaccess::{
            write_nofault,
            write_u64,
            PageFault, //
        },
        wait_queue::Deadline, //
    },
    uapi::{
        doorbell_wait,
        DOORBELL_WAIT_NO_TIMEOUT, //
    }, //
};
use core::mem::offset_of;
use kernel::prelude::*;

impl DoorbellFile {
    /// Handles DOORBELL_WAIT. May sleep.
    ///
    /// The number of deliveries is stored before they are consumed, so none is lost if the argument's
    /// memory cannot be written.
    #[inline(never)]
    pub(super) fn wait(&self, arg: &Argument) -> Result {
        let wait: doorbell_wait = arg.read_words()?;
        check_flags(wait.flags, 0)?;
        check_reserved(&wait.reserved)?;
        let deadline = match wait.timeout {
            DOORBELL_WAIT_NO_TIMEOUT => Deadline::NONE,
            ns => Deadline::at(ns)?,
        };
        let count = arg.field(offset_of!(doorbell_wait, count));
        let waited = self
            .context()?
            .wait_for(wait.line)?
            .wait(deadline, |deliveries, fault| match fault {
                PageFault::Allowed => write_u64(count, deliveries),
                PageFault::Forbidden => write_nofault(count, &deliveries)
                    .then_some(())
                    .ok_or(EFAULT),
            });
        if waited.is_err() {
            write_u64(count, 0)?;
        }
        waited
    }
}
