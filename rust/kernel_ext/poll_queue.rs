// SPDX-License-Identifier: GPL-2.0

//! The wait queue of a file for poll(2), select(2) and epoll(7).
//!
//! [`kernel::sync::poll::PollCondVar`] wakes without a key, so that epoll must query the file after each
//! wake-up, and its wake-up is not for interrupts. A [`PollQueue`] wakes with a key, in any context but
//! NMI. Its owner is the data of the file, from which
//! [`PollFile::poll_queue`](super::misc_file::PollFile::poll_queue) borrows it: epoll removes its entries
//! before the file is released, and all other waiters have a reference to the file. So nothing waits for them
//! when the queue is freed.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::poll_queue::{PollQueue, READABLE};
//! use kernel::sync::{atomic::{Atomic, Full, Relaxed}, Arc};
//!
//! /// A file that is readable when there are events.
//! struct Events {
//!     count: Atomic<u32>,
//!     queue: Arc<PollQueue>,
//! }
//!
//! impl Events {
//!     /// Returns the queue, as of `PollFile::poll_queue`.
//!     fn poll_queue(&self) -> &PollQueue {
//!         &self.queue
//!     }
//!
//!     /// Returns the events, as of `PollFile::poll`.
//!     fn poll(&self) -> u32 {
//!         if self.count.load(Relaxed) != 0 { READABLE } else { 0 }
//!     }
//!
//!     /// Adds an event. Any context but NMI.
//!     fn add(&self) {
//!         self.count.fetch_add(1u32, Full);
//!         self.queue.wake_later();
//!     }
//! }
//!
//! let events = Events { count: Atomic::new(0), queue: PollQueue::new(GFP_KERNEL)? };
//! events.add();
//! ```
//!
//! C header: [`include/linux/poll.h`](srctree/include/linux/poll.h).

use super::{
    callback::impl_has_callbacks,
    deferred::{
        Deferred,
        IrqWork,
        Run, //
    },
    pinned::pinned, //
};
use crate::bindings;
use kernel::{
    alloc::Flags,
    bindings as kbindings,
    fs::File,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

// Casts that bindgen cannot evaluate, of include/uapi/linux/eventpoll.h.

/// EPOLLIN and EPOLLRDNORM: there is something to read.
pub(crate) const READABLE: u32 = 0x001 | 0x040;

/// EPOLLOUT and EPOLLWRNORM: a write does not sleep.
pub(crate) const WRITABLE: u32 = 0x004 | 0x100;

/// EPOLLERR.
pub(crate) const ERROR: u32 = 0x008;

/// The waiters for a file.
#[pin_data(PinnedDrop)]
pub(crate) struct PollQueue {
    #[pin]
    relay: Deferred<Self, IrqWork>,
    #[pin]
    queue: Opaque<kbindings::wait_queue_head>,
    /// Not zero once the file was polled.
    polled: Atomic<u32>,
}

impl_has_callbacks!(PollQueue {
    relay: Deferred<Self, IrqWork>,
});

// SAFETY: A wait queue may be used from any thread. It has its own lock.
unsafe impl Send for PollQueue {}
// SAFETY: As above.
unsafe impl Sync for PollQueue {}

impl PollQueue {
    /// Creates a queue. Process context.
    pub(crate) fn new(flags: Flags) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                relay <- Deferred::new(),
                queue <- Opaque::ffi_init(|queue| {
                    // SAFETY: The queue is valid for writes.
                    unsafe { bindings::doorbell_poll_init(queue) }
                }),
                polled: Atomic::new(0),
            }),
            flags,
        )
    }

    /// Registers the waiters of `table`, which wait for `file`.
    ///
    /// A change that the caller does not see after this wakes them. Before it wakes the queue, the thread
    /// that makes the change must execute a full barrier; [`PollQueue::wake`] does. Process context.
    ///
    /// # Safety
    ///
    /// The queue must stay until the file is released, and `table` must be null or valid.
    pub(super) unsafe fn register(&self, file: &File, table: *mut kbindings::poll_table_struct) {
        // ORDERING: Pairs with `PollQueue::was_polled`: `doorbell_poll_wait()` executes a full barrier after the
        // store.
        if self.polled.load(Relaxed) == 0 {
            self.polled.store(1u32, Relaxed);
        }
        // SAFETY: The file is valid. The queue is initialised. The rest by the requirements of this function.
        // It ends with a full barrier.
        unsafe { bindings::doorbell_poll_wait(file.as_ptr(), self.queue.get(), table) };
    }

    /// Returns true if the file was polled. The caller must execute a full barrier before: then either
    /// this returns true, or the change before the barrier is visible to the first poll. Any context.
    pub(crate) fn was_polled(&self) -> bool {
        // ORDERING: Pairs with `PollQueue::register`, by the full barrier of the caller.
        self.polled.load(Relaxed) != 0
    }

    /// Wakes the waiters for [`READABLE`]. `mask` is added to the key of the wake-up. If there is none, this
    /// takes no lock.
    ///
    /// # Context
    ///
    /// Any context where eventfds may be signalled.
    #[inline(always)]
    pub(crate) fn wake(&self, mask: u32) {
        // SAFETY: The queue is initialised.
        unsafe { bindings::doorbell_poll_wake(self.queue.get(), READABLE | mask) };
    }

    /// Wakes the waiters for [`READABLE`] from an interrupt, or on PREEMPT_RT from a thread. Any context but
    /// NMI.
    pub(crate) fn wake_later(self: &Arc<Self>) {
        // SAFETY: As in `wake`.
        if unsafe { bindings::doorbell_poll_has_waiter(self.queue.get()) } {
            Run::<IrqWork>::queue(pinned(self));
        }
    }
}

impl Run<IrqWork> for PollQueue {
    fn run(self: Pin<&Self>) {
        self.wake(0);
    }
}
