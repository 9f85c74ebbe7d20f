// SPDX-License-Identifier: GPL-2.0

//! Simple wait queues: a waker wakes one waiter, in any context.
//!
//! The lock of such a queue never sleeps, not even on PREEMPT_RT. The owner of any other lock may wake
//! a waiter, and so may an interrupt that is never threaded.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{swait_queue::SwaitQueue, wait_queue::Deadline};
//! use kernel::sync::atomic::{Atomic, Full, Relaxed};
//!
//! let tokens = Atomic::new(0i32);
//! let queue = KBox::pin_init(SwaitQueue::new(), GFP_KERNEL)?;
//!
//! // In any context but NMI:
//! tokens.fetch_add(1, Full);
//! queue.wake_one();
//!
//! // Takes a token, or sleeps until there is one.
//! let take = || tokens.cmpxchg(1, 0, Full).ok();
//! queue.wait_interruptible(Deadline::NONE, || tokens.load(Relaxed) != 0, take)?;
//! ```
//!
//! C header: [`include/linux/swait.h`](srctree/include/linux/swait.h).

use super::wait_queue::Deadline;
use crate::bindings;
use kernel::{
    bindings as kbindings,
    current,
    prelude::*,
    types::Opaque, //
};

/// A simple wait queue.
///
/// # Invariants
///
/// The queue is initialised.
#[pin_data]
pub(crate) struct SwaitQueue {
    #[pin]
    raw: Opaque<kbindings::swait_queue_head>,
}

// SAFETY: A wait queue may be used from any thread. It has its own lock.
unsafe impl Send for SwaitQueue {}
// SAFETY: As above.
unsafe impl Sync for SwaitQueue {}

impl SwaitQueue {
    /// Creates an initialiser for an empty queue.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here.
            raw <- Opaque::ffi_init(|raw| {
                // SAFETY: `raw` is valid for writes, and pinned.
                unsafe { bindings::doorbell_swait_init(raw) }
            }),
        })
    }

    /// Wakes the thread that has waited longest, if there is one. The caller has made a condition true
    /// before, and need not own a lock.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[inline(always)]
    pub(crate) fn wake_one(&self) {
        // SAFETY: Initialised by the type invariants.
        unsafe { bindings::doorbell_swait_wake(self.raw.get()) };
    }

    /// Returns true if a thread waits that began to wait before the caller was woken. A thread that begins to wait
    /// later sees what was true by then.
    ///
    /// # Context
    ///
    /// Any context.
    #[inline(always)]
    pub(crate) fn has_waiter(&self) -> bool {
        // SAFETY: Initialised by the type invariants.
        unsafe { bindings::doorbell_swait_has_waiter(self.raw.get()) }
    }

    /// Calls `take` until it returns a value, and sleeps before each further call while `ready` returns
    /// false. If a signal arrives or the deadline passes, that call is the last one. If `take` returns a
    /// value at once, nothing is queued.
    ///
    /// `ready` returns true if `take` might return a value. It must not sleep, and must neither have side
    /// effects. A waker must call [`SwaitQueue::wake_one`] each time that it has made `ready` true. As
    /// that wakes one thread only, a thread that leaves while `ready` is true wakes the next one.
    ///
    /// # Context
    ///
    /// Process context without locks.
    ///
    /// # Errors
    ///
    /// - ERESTARTSYS: a signal arrived.
    /// - ETIMEDOUT: the deadline passed.
    #[inline(always)]
    pub(crate) fn wait_interruptible<R>(
        &self,
        deadline: Deadline,
        ready: impl Fn() -> bool,
        mut take: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        match take() {
            Some(found) => Ok(found),
            None if deadline.is_zero() => Err(ETIMEDOUT),
            None => self.wait(deadline, ready, take),
        }
    }

    /// Does the rest of [`SwaitQueue::wait_interruptible`].
    #[inline(never)]
    fn wait<R>(
        &self,
        deadline: Deadline,
        ready: impl Fn() -> bool,
        mut take: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        let deadline = deadline.on_host();
        let mut in_time = true;
        let entry = Opaque::<kbindings::swait_queue>::uninit();
        // SAFETY: The entry is valid for writes, and is not moved.
        unsafe { bindings::doorbell_swait_entry(entry.get()) };
        let result = loop {
            if current!().signal_pending() {
                break Err(ERESTARTSYS);
            }
            if !in_time {
                break Err(ETIMEDOUT);
            }
            // SAFETY: The queue and the entry are initialised. The entry is the current task's, is on no
            // other queue, and is removed below.
            unsafe { bindings::doorbell_swait_prepare(self.raw.get(), entry.get()) };
            // A wake-up from here on makes the task runnable again, so none is lost.
            if !ready() {
                in_time = deadline.sleep();
            }
            // SAFETY: No requirements.
            unsafe { bindings::doorbell_set_running() };
            // `take` may sleep. A wake-up meanwhile is for the next waiter.
            //
            // SAFETY: The queue and the entry are initialised, and the entry is on no other queue.
            unsafe { bindings::doorbell_swait_finish(self.raw.get(), entry.get()) };
            if let Some(found) = take() {
                break Ok(found);
            }
        };
        // A wake-up may have come for this thread after its last call of `take`.
        if ready() {
            self.wake_one();
        }
        result
    }
}
