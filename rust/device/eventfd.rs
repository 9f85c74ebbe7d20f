// SPDX-License-Identifier: GPL-2.0

//! The calls that read an eventfd, and peek at it.

use super::argument::{
    check_flags,
    check_reserved,
    Argument, //
};
use crate::{
    kernel_ext::{
        eventfd::LocalEventFd,
        uaccess::write_nofault,
        wait_queue::Deadline, //
    },
    uapi::{
        doorbell_eventfd,
        DOORBELL_EVENTFD_FLAG_NOWAIT, //
    }, //
};
use kernel::{
    current,
    prelude::*, //
};

/// Handles DOORBELL_EVENTFD_READ. May sleep.
pub(super) fn read_eventfd(arg: &Argument) -> Result {
    let eventfd: doorbell_eventfd = arg.read()?;
    check_flags(eventfd.flags, DOORBELL_EVENTFD_FLAG_NOWAIT)?;
    check_reserved(&eventfd.reserved)?;
    let file = LocalEventFd::from_fd(eventfd.fd)?;
    file.check_readable()?;
    let no_wait = eventfd.flags & DOORBELL_EVENTFD_FLAG_NOWAIT != 0 || file.nonblocking();
    let deadline = if no_wait {
        Deadline::ZERO
    } else {
        Deadline::NONE
    };
    let queue = file.queue();
    let at = arg.field(core::mem::offset_of!(doorbell_eventfd, count));
    // The count must be either in the eventfd or in the caller's memory. So it is stored with the eventfd's
    // lock held, where a page fault is not possible. The write before faults the memory in; it is repeated
    // if the memory was unmapped meanwhile.
    loop {
        arg.write(&eventfd)?;
        let stored = match queue.read(deadline, |count| write_nofault(at, &count)) {
            Err(error) if error == ETIMEDOUT => return Err(EAGAIN),
            stored => stored?,
        };
        if stored {
            return Ok(());
        }
        if current!().signal_pending() {
            return Err(ERESTARTSYS);
        }
    }
}

/// Handles DOORBELL_EVENTFD_PEEK.
pub(super) fn peek_eventfd(arg: &Argument) -> Result {
    let mut eventfd: doorbell_eventfd = arg.read()?;
    check_flags(eventfd.flags, 0)?;
    check_reserved(&eventfd.reserved)?;
    let file = LocalEventFd::from_fd(eventfd.fd)?;
    file.check_readable()?;
    let count = file.queue().lock().peek()?;
    eventfd.count = count;
    arg.write(&eventfd)
}
