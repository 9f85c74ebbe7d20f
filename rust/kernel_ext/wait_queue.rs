// SPDX-License-Identifier: GPL-2.0

//! Wait queues: the lock as a type, and waiting.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::wait_queue::{Deadline, WaitQueue};
//! use kernel::sync::atomic::{Atomic, Relaxed};
//!
//! /// Waits until `ready`, which changes with the queue's lock held, is not zero.
//! fn wait(queue: &WaitQueue, ready: &Atomic<u32>, deadline: Deadline) -> Result<u32> {
//!     queue.wait_interruptible(deadline, |_guard| match ready.load(Relaxed) {
//!         0 => None,
//!         number => Some(number),
//!     })
//! }
//!
//! /// Changes it.
//! fn set(queue: &WaitQueue, ready: &Atomic<u32>, number: u32) {
//!     let _guard = queue.lock();
//!     ready.store(number, Relaxed);
//! }
//! ```
//!
//! The guard stays on the thread that has acquired the lock:
//!
//! ```compile_fail,E0277
//! # use crate::kernel_ext::wait_queue::{WaitQueue, WaitQueueGuard};
//! fn send<T: Send>(_: T) {}
//!
//! fn lock(queue: &WaitQueue) {
//!     send(queue.lock());
//! }
//! ```
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h).

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings as kbindings,
    current,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// A wait queue whose owner keeps it alive.
///
/// # Invariants
///
/// The pointer is valid for as long as the creator of this object promised.
#[derive(Clone, Copy)]
pub(crate) struct WaitQueue(NonNull<kbindings::wait_queue_head>);

// SAFETY: A wait queue may be used from any thread. It has its own lock.
unsafe impl Send for WaitQueue {}
// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

/// The time at which a wait ends, by the caller's CLOCK_MONOTONIC.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<i64>);

impl Deadline {
    /// No end.
    pub(crate) const NONE: Self = Self(None);

    /// A time that has always passed: a wait until then does not sleep.
    pub(crate) const ZERO: Self = Self(Some(0));

    /// Creates a deadline from the nanoseconds of CLOCK_MONOTONIC in the caller's time namespace.
    ///
    /// # Errors
    ///
    /// EINVAL: the clock cannot reach that time.
    pub(crate) fn at(ns: u64) -> Result<Self> {
        let ns = i64::try_from(ns).map_err(|_| EINVAL)?;
        Ok(Self(Some(ns)))
    }

    /// Returns true if this is the time zero, which has always passed.
    pub(super) fn is_zero(self) -> bool {
        self.0 == Self::ZERO.0
    }

    /// Returns the same time of the host's clock. Process context.
    pub(super) fn on_host(self) -> Self {
        let on_host = |ns| {
            // SAFETY: No requirements: it only computes a number.
            unsafe { bindings::doorbell_host_monotonic(ns) }
        };
        Self(self.0.map(on_host))
    }

    /// Sleeps in the state that the current task is in. Returns false if the deadline passed. This
    /// must be a deadline of [`Deadline::on_host`].
    ///
    /// # Context
    ///
    /// Process context without locks.
    pub(super) fn sleep(self) -> bool {
        match self.0 {
            // SAFETY: No requirements but the context.
            Some(ns) => unsafe { bindings::doorbell_sleep_until(ns) },
            None => {
                // SAFETY: As above.
                unsafe { kbindings::schedule() };
                true
            }
        }
    }
}

impl WaitQueue {
    /// Creates an object for a queue.
    ///
    /// # Safety
    ///
    /// The caller must not use the result after the queue was freed.
    pub(crate) unsafe fn from_raw(queue: NonNull<kbindings::wait_queue_head>) -> Self {
        // INVARIANT: Promised by the caller.
        Self(queue)
    }

    // begin out of tree
    /// Returns the queue's pointer, which is valid as long as this object.
    #[cfg(not(doorbell_eventfd_exports))]
    pub(crate) fn as_ptr(&self) -> *mut kbindings::wait_queue_head {
        self.0.as_ptr()
    }

    // end out of tree
    /// Returns the address, for comparisons.
    pub(crate) fn addr(&self) -> usize {
        self.0.addr().get()
    }

    /// Acquires the queue's lock and disables interrupts. Any context; on PREEMPT_RT it may sleep.
    pub(crate) fn lock(&self) -> WaitQueueGuard<'_> {
        // SAFETY: Valid by the type invariants.
        let flags = unsafe { bindings::doorbell_wait_queue_lock(self.0.as_ptr()) };
        // INVARIANT: The lock was just acquired.
        WaitQueueGuard {
            wqh: self.0,
            flags,
            _queue: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns true if an entry follows `entry`.
    ///
    /// # Safety
    ///
    /// `entry` must be on this queue, and the caller must hold the queue's lock.
    pub(crate) unsafe fn has_next(&self, entry: *mut kbindings::wait_queue_entry) -> bool {
        // SAFETY: By the requirements of this function.
        unsafe { (*entry).entry.next != &raw mut (*self.0.as_ptr()).head }
    }

    /// Calls `ready` with the queue's lock held until it returns a value, and sleeps before each further
    /// call. If a signal arrives or the deadline passes, that call is the last one. If `ready` returns a
    /// value at once, nothing is queued.
    ///
    /// `ready` must not sleep, and what it tests must change only with the lock held.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// - ERESTARTSYS: a signal arrived.
    /// - ETIMEDOUT: the deadline passed.
    #[inline(always)]
    pub(crate) fn wait_interruptible<R>(
        &self,
        deadline: Deadline,
        mut ready: impl FnMut(&mut WaitQueueGuard<'_>) -> Option<R>,
    ) -> Result<R> {
        let mut guard = self.lock();
        match ready(&mut guard) {
            Some(found) => Ok(found),
            None if deadline.is_zero() => Err(ETIMEDOUT),
            None => guard.wait(deadline, ready),
        }
    }
}

/// Proof that the lock of a wait queue is held, with interrupts off.
///
/// # Invariants
///
/// This thread owns the lock, and `flags` are the result of acquiring it.
pub(crate) struct WaitQueueGuard<'a> {
    wqh: NonNull<kbindings::wait_queue_head>,
    flags: c_ulong,
    _queue: PhantomData<&'a WaitQueue>,
    _not_send: NotThreadSafe,
}

impl WaitQueueGuard<'_> {
    /// Returns true if the first entry of the queue has priority (WQ_FLAG_PRIORITY).
    pub(super) fn has_priority_entry(&self) -> bool {
        // SAFETY: The guard borrows a queue that is valid, and its lock is held.
        let head = unsafe { &raw mut (*self.wqh.as_ptr()).head };
        // SAFETY: As above; the list head does not change while the lock is held.
        let first = unsafe { (*head).next };
        if first == head {
            return false;
        }
        // SAFETY: Each node of a wait queue's list is the `entry` field of a wait queue entry.
        let entry = unsafe { kernel::container_of!(first, kbindings::wait_queue_entry, entry) };
        // SAFETY: The entry cannot leave the queue while the lock is held.
        unsafe { (*entry).flags & kbindings::WQ_FLAG_PRIORITY != 0 }
    }

    /// Does the rest of [`WaitQueue::wait_interruptible`].
    #[inline(never)]
    fn wait<R>(
        mut self,
        deadline: Deadline,
        mut ready: impl FnMut(&mut Self) -> Option<R>,
    ) -> Result<R> {
        let deadline = deadline.on_host();
        let mut in_time = true;
        let entry = Opaque::<kbindings::wait_queue_entry>::uninit();
        // SAFETY: The entry is valid for writes. The current task is the one that waits.
        unsafe { kbindings::init_wait_entry(entry.get(), 0) };
        let result = loop {
            if current!().signal_pending() {
                break Err(ERESTARTSYS);
            }
            if !in_time {
                break Err(ETIMEDOUT);
            }
            // SAFETY: The lock is held. The entry is the current task's, and it is removed below.
            unsafe { bindings::doorbell_wait_queue_prepare(self.wqh.as_ptr(), entry.get()) };
            // A wake-up from here on makes the task runnable again, so none is lost.
            in_time = self.unlocked(|| deadline.sleep());
            if let Some(found) = ready(&mut self) {
                break Ok(found);
            }
        };
        // SAFETY: The lock is held. The entry is initialised, and on no other queue.
        unsafe { bindings::doorbell_wait_queue_del(entry.get()) };
        result
    }

    /// Calls `f` with the lock released, in the context in which it was acquired.
    fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // SAFETY: By the type invariants this thread holds the lock.
        unsafe { bindings::doorbell_wait_queue_unlock(self.wqh.as_ptr(), self.flags) };
        let result = f();
        // INVARIANT: The lock is acquired again.
        // SAFETY: The queue is valid, see `WaitQueue`.
        self.flags = unsafe { bindings::doorbell_wait_queue_lock(self.wqh.as_ptr()) };
        result
    }
}

impl Drop for WaitQueueGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the lock.
        unsafe { bindings::doorbell_wait_queue_unlock(self.wqh.as_ptr(), self.flags) };
    }
}
