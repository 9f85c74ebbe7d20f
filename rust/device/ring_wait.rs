// SPDX-License-Identifier: GPL-2.0

//! DOORBELL_RING_WAIT: a ring, and the read of the eventfd that signals the answer, or the wait for the
//! line of the answer.

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
        eventfd::LocalEventFd,
        uaccess::{
            write_pair,
            write_pair_nofault,
            PageFault, //
        },
        wait_queue::Deadline, //
    },
    line::Line,
    uapi::{
        doorbell_ring_wait,
        DOORBELL_RING_WAIT_FLAG_LINE,
        DOORBELL_RING_WAIT_FLAG_NO_RING,
        DOORBELL_RING_WAIT_NO_TIMEOUT, //
    }, //
};
use core::mem::offset_of;
use kernel::{
    current,
    prelude::*, //
};

/// Offset of the outputs, which are adjacent.
const RESULT: usize = offset_of!(doorbell_ring_wait, result);

const _: () = assert!(RESULT + size_of::<u32>() == offset_of!(doorbell_ring_wait, count));

impl DoorbellFile {
    /// Handles DOORBELL_RING_WAIT. May sleep.
    ///
    /// After the ring the call cannot start again. So each check is made before it, among them that the
    /// argument can be written. The count is stored as by DOORBELL_EVENTFD_READ: with the eventfd's lock
    /// held, before it is consumed.
    #[inline(never)]
    pub(super) fn ring_wait(&self, arg: &Argument) -> Result {
        let wait: doorbell_ring_wait = arg.read_words()?;
        check_flags(
            wait.flags,
            DOORBELL_RING_WAIT_FLAG_NO_RING | DOORBELL_RING_WAIT_FLAG_LINE,
        )?;
        check_reserved(&wait.reserved)?;
        let deadline = match wait.timeout {
            DOORBELL_RING_WAIT_NO_TIMEOUT => Deadline::NONE,
            ns => Deadline::at(ns)?,
        };
        let line = self.context()?.line(wait.line).ok_or(ENXIO)?;
        if wait.flags & DOORBELL_RING_WAIT_FLAG_LINE != 0 {
            return self.ring_wait_line(arg, &wait, deadline, line);
        }
        let file = LocalEventFd::from_fd(wait.fd)?;
        file.check_readable()?;
        let queue = file.queue();
        let outputs = arg.field(RESULT);
        write_pair(outputs, wait.result, 0)?;

        let rings = wait.flags & DOORBELL_RING_WAIT_FLAG_NO_RING == 0;
        let result = if rings {
            line.ring().code()
        } else {
            wait.result
        };
        let error = loop {
            let stored = queue.read(deadline, |count| write_pair_nofault(outputs, result, count));
            match stored {
                Ok(true) => return Ok(()),
                // Faults the memory in.
                Ok(false) if !current!().signal_pending() => write_pair(outputs, result, 0)?,
                Ok(false) => break interrupted(rings),
                Err(error) if error == ERESTARTSYS => break interrupted(rings),
                Err(error) => break error,
            }
        };
        write_pair(outputs, result, 0)?;
        Err(error)
    }
}

impl DoorbellFile {
    /// Does the rest of DOORBELL_RING_WAIT with DOORBELL_RING_WAIT_FLAG_LINE. `line` is the line to ring.
    #[inline(never)]
    fn ring_wait_line(
        &self,
        arg: &Argument,
        wait: &doorbell_ring_wait,
        deadline: Deadline,
        line: Pin<&Line>,
    ) -> Result {
        // A negative number is that of no line.
        let answer = self.context()?.wait_for(wait.fd as u32)?;
        let outputs = arg.field(RESULT);
        write_pair(outputs, wait.result, 0)?;

        let rings = wait.flags & DOORBELL_RING_WAIT_FLAG_NO_RING == 0;
        let result = if rings {
            line.ring().code()
        } else {
            wait.result
        };
        let waited = answer.wait(deadline, |count, fault| match fault {
            PageFault::Allowed => write_pair(outputs, result, count),
            PageFault::Forbidden => write_pair_nofault(outputs, result, count)
                .then_some(())
                .ok_or(EFAULT),
        });
        let Err(error) = waited else {
            return Ok(());
        };
        write_pair(outputs, result, 0)?;
        Err(if error == ERESTARTSYS {
            interrupted(rings)
        } else {
            error
        })
    }
}

/// Returns the error of a call that a signal interrupts. A call that has rung must not be restarted.
fn interrupted(rings: bool) -> Error {
    if rings {
        EINTR
    } else {
        ERESTARTSYS
    }
}
