// SPDX-License-Identifier: GPL-2.0

//! Eventfds: references, signals, listeners, reads and peeks.
//!
//! There are four types of references, from short-lived to long-lived:
//!
//! - [`LocalEventFd`]: an open file descriptor, for a part of a system call;
//! - [`EventFdFile`]: the file, for as long as a system call needs it;
//! - [`EventFd`]: the context (`struct eventfd_ctx`), which outlives the files: it can be
//!   signalled;
//! - [`EventFdQueue`]: the context and its wait queue: it can be locked, and its counter read or
//!   peeked at under the lock.
//!
//! A [`Listener`] is called for each signal, under that same lock.
//!
//! `struct eventfd_ctx` is private to fs/eventfd.c. The module `access` reaches its wait queue and
//! its counter by the functions that the kernel exports.
// begin out of tree
//! If the kernel exports none, the module does it by other means.
// end out of tree
//!
//! [`EventFdQueue`]: counter::EventFdQueue
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::eventfd::{signal_allowed, EventFdFile, Listen, Listener};
//! use kernel::sync::atomic::{Atomic, Full};
//!
//! /// Counts the signals of an eventfd.
//! struct Meter(Atomic<i32>);
//!
//! impl Listen for Meter {
//!     fn signalled(&self, _count: u64, _mask: u32) {
//!         self.0.fetch_add(1, Full);
//!     }
//!
//!     fn hung_up(&self) {}
//! }
//!
//! let fd = 3;
//! let file = EventFdFile::from_fd(fd)?;
//! let eventfd = file.eventfd()?;
//! let queue = file.queue()?;
//!
//! if signal_allowed() {
//!     eventfd.signal(0);
//! }
//! // Locked, the counter can be peeked at and consumed.
//! let mut guard = queue.lock();
//! let count = guard.peek()?;
//! assert!(guard.read() <= count);
//! drop(guard);
//!
//! let meter = Meter(Atomic::new(0));
//! let listener = KBox::pin_init(Listener::new(queue, meter), GFP_KERNEL)?;
//! listener.as_ref().attach(|| {})?.deliver(|| pr_info!("signalled before\n"));
//! listener.detach()?.deliver(|| pr_info!("a count is left\n"));
//! ```
//!
//! A listener that borrows is refused: it could be leaked, and be called after the loan.
//!
//! ```compile_fail,E0478,E0495
//! # use crate::kernel_ext::eventfd::{EventFdFile, Listen, Listener};
//! # use kernel::sync::atomic::{Atomic, Full};
//! struct Meter<'a>(&'a Atomic<i32>);
//!
//! impl Listen for Meter<'_> {
//!     fn signalled(&self, _count: u64, _mask: u32) {
//!         self.0.fetch_add(1, Full);
//!     }
//!
//!     fn hung_up(&self) {}
//! }
//! ```
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h).

// begin out of tree
#[cfg_attr(doorbell_eventfd_exports, path = "eventfd/exports.rs")]
#[cfg_attr(not(doorbell_eventfd_exports), path = "eventfd/layout.rs")]
// end out of tree
mod access;
mod counter;
mod file;
mod listener;

pub(crate) use self::{
    access::CAN_PEEK,
    counter::{
        signal_allowed,
        CountingEventFd,
        EventFd, //
    },
    file::{
        EventFdFile,
        LocalEventFd, //
    },
    listener::{
        Listen,
        Listener, //
    }, //
};

#[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
pub(crate) use self::{
    counter::EventFdQueue,
    listener::Consumed, //
};
