// SPDX-License-Identifier: GPL-2.0

//! The context of an eventfd: signals, and its counter under the lock of its wait queue.

// No examples: the module `eventfd` has them.

use super::access;
use crate::{
    bindings,
    kernel_ext::{
        compat::EOPNOTSUPP,
        wait_queue::{
            Deadline,
            WaitQueue, //
            WaitQueueGuard,
        }, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    bindings as kbindings,
    error::from_err_ptr,
    prelude::*, //
};

/// Adds one to the counter of `ctx` and wakes the waiters.
///
/// # Safety
///
/// `ctx` must be valid.
#[inline]
pub(super) unsafe fn signal_one(ctx: NonNull<bindings::eventfd_ctx>, mask: u32) {
    let signal = if cfg!(CONFIG_PROVE_LOCKING) {
        bindings::doorbell_signal_lockdep
    } else {
        bindings::eventfd_signal_mask
    };
    // SAFETY: By the requirements of this function.
    unsafe { signal(ctx.as_ptr(), mask) };
}

/// Returns true if [`EventFd::signal`] may be called in this context. Any context.
#[inline]
pub(crate) fn signal_allowed() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_signal_allowed() }
}

/// A reference to an eventfd, independent of its files.
///
/// # Invariants
///
/// The pointer is valid, and the object owns a reference to the eventfd.
pub(crate) struct EventFd(pub(super) NonNull<bindings::eventfd_ctx>);

// SAFETY: References to an eventfd may be used and dropped on any thread.
unsafe impl Send for EventFd {}
// SAFETY: As above. The eventfd does its own locking.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// Returns a reference to the eventfd of `file`.
    ///
    /// # Safety
    ///
    /// The file must be valid.
    ///
    /// # Errors
    ///
    /// EINVAL: it is not an eventfd's.
    pub(super) unsafe fn of_file(file: NonNull<kbindings::file>) -> Result<Self> {
        // SAFETY: By the requirements of this function.
        let ctx = from_err_ptr(unsafe { bindings::eventfd_ctx_fileget(file.as_ptr()) })?;
        // INVARIANT: `eventfd_ctx_fileget()` took a reference.
        NonNull::new(ctx).map(Self).ok_or(EINVAL)
    }

    /// Returns a number that no other eventfd has at the same time.
    pub(crate) fn id(&self) -> usize {
        self.0.addr().get()
    }

    /// Adds one to the counter and wakes the waiters. The key of the wake-up is EPOLLIN and `mask`.
    ///
    /// # Context
    ///
    /// Any context where [`signal_allowed`] returns true. That excludes a [`Listen`] callback,
    /// where the kernel would warn and drop the signal, and NMIs. On PREEMPT_RT it also excludes
    /// contexts with interrupts or preemption off.
    ///
    /// [`Listen`]: super::Listen
    #[inline]
    pub(crate) fn signal(&self, mask: u32) {
        // SAFETY: Valid by the type invariants.
        unsafe { signal_one(self.0, mask) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: The object owns the reference.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}

/// An eventfd and its wait queue, which gives access to its counter.
///
/// # Invariants
///
/// `queue` is the wait queue in `eventfd`'s context.
pub(crate) struct EventFdQueue {
    pub(super) queue: WaitQueue,
    pub(super) eventfd: EventFd,
}

impl EventFdQueue {
    /// Returns a reference to the eventfd of `file` and its wait queue.
    ///
    /// # Safety
    ///
    /// The file must be valid.
    ///
    /// # Errors
    ///
    /// EINVAL: it is not an eventfd's.
    pub(super) unsafe fn of_file(file: NonNull<kbindings::file>) -> Result<Self> {
        // SAFETY: By the requirements of this function.
        let eventfd = unsafe { EventFd::of_file(file) }?;
        // SAFETY: The file is valid, and `eventfd` its context. The queue is part of the context, and the
        // result owns a reference to the context.
        let queue = unsafe { access::queue_of_file(file, eventfd.0) }.ok_or(EINVAL)?;
        // INVARIANT: The queue is this eventfd's.
        Ok(Self { queue, eventfd })
    }

    /// Returns the eventfd.
    pub(crate) fn eventfd(&self) -> &EventFd {
        &self.eventfd
    }

    /// Returns a reference through which signals can be counted.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: as of [`EventFdGuard::peek`].
    pub(crate) fn counting(self) -> Result<CountingEventFd> {
        // SAFETY: By the type invariants.
        let raise = unsafe { access::Raise::new(self.eventfd.0, self.queue) }.ok_or(EOPNOTSUPP)?;
        // INVARIANT: It is that of this eventfd.
        Ok(CountingEventFd { queue: self, raise })
    }

    /// Locks the counter: acquires the eventfd's wait-queue lock, with interrupts off.
    pub(crate) fn lock(&self) -> EventFdGuard<'_> {
        EventFdGuard {
            queue: self,
            lock: self.queue.lock(),
        }
    }

    /// Consumes the counter, or one of it if EFD_SEMAPHORE is set, and wakes writers. Sleeps until the
    /// counter is not zero. A count that is there is consumed even if a signal is pending or the
    /// deadline has passed.
    ///
    /// `store` gets the count and returns true if it has stored the count. If it returns false,
    /// nothing is consumed, and this returns false. `store` is called with the lock held and must
    /// not sleep.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// - ERESTARTSYS: a signal arrived.
    /// - ETIMEDOUT: the deadline passed.
    /// - EFAULT: `store` returned false, and this build cannot peek, so the consumed count is lost.
    #[inline(always)]
    pub(crate) fn read(
        &self,
        deadline: Deadline,
        mut store: impl FnMut(u64) -> bool,
    ) -> Result<bool> {
        self.queue
            .wait_interruptible(deadline, |lock| self.read_locked(lock, &mut store))?
    }

    /// Reads with `lock` held, which must be the lock of this queue. Returns [`None`] if the counter
    /// is zero.
    #[inline(always)]
    fn read_locked(
        &self,
        lock: &mut WaitQueueGuard<'_>,
        store: &mut impl FnMut(u64) -> bool,
    ) -> Option<Result<bool>> {
        // `store` comes first, because a consumed count cannot be returned to the counter.
        let next = self.peek_read(lock);
        match next {
            Some(0) => return None,
            Some(count) if !store(count) => return Some(Ok(false)),
            _ => {}
        }
        let count = self.consume(lock);
        if count == 0 {
            return None;
        }
        if next == Some(count) || store(count) {
            Some(Ok(true))
        } else {
            Some(Err(EFAULT))
        }
    }

    /// Returns the counter, or [`None`] if it cannot be known. `_lock` must be the lock of this queue.
    fn peek(&self, _lock: &WaitQueueGuard<'_>) -> Option<u64> {
        // SAFETY: By the type invariants. The lock is held.
        unsafe { access::peek(self.eventfd.0, self.queue) }
    }

    /// Returns the count that a read would consume, or [`None`] if it cannot be known. `_lock` must be
    /// the lock of this queue.
    fn peek_read(&self, _lock: &WaitQueueGuard<'_>) -> Option<u64> {
        // SAFETY: By the type invariants. The lock is held.
        unsafe { access::peek_read(self.eventfd.0, self.queue) }
    }

    /// Consumes the counter, or one of it if EFD_SEMAPHORE is set, and wakes writers. `_lock` must be
    /// the lock of this queue.
    fn consume(&self, _lock: &mut WaitQueueGuard<'_>) -> u64 {
        // SAFETY: By the type invariants. The lock is held.
        unsafe { access::read(self.eventfd.0, self.queue) }
    }
}

/// An eventfd whose counter can be raised by more than one.
///
/// # Invariants
///
/// `raise` is that of the eventfd and queue in `queue`.
pub(crate) struct CountingEventFd {
    queue: EventFdQueue,
    raise: access::Raise,
}

impl CountingEventFd {
    /// Returns the identity of the eventfd, as [`EventFd::id`] does.
    pub(crate) fn id(&self) -> usize {
        self.queue.eventfd.id()
    }

    /// Adds `count` to the counter and wakes the waiters once, as a write(2) of `count` does. It never waits:
    /// the counter stops at `u64::MAX`. One exclusive waiter is woken. Does nothing if `count` is zero.
    ///
    /// # Context
    ///
    /// As of [`EventFd::signal`].
    pub(crate) fn signal(&self, count: u64, mask: u32) {
        let EventFdQueue { queue, eventfd } = &self.queue;
        match count {
            0 => {}
            1 => eventfd.signal(mask),
            // SAFETY: By the type invariants.
            _ => unsafe { self.raise.signal(eventfd.0, *queue, count, mask) },
        }
    }
}

/// Proof that an eventfd's counter is locked.
pub(crate) struct EventFdGuard<'a> {
    queue: &'a EventFdQueue,
    pub(super) lock: WaitQueueGuard<'a>,
}

impl EventFdGuard<'_> {
    /// Consumes the counter, or one of it if EFD_SEMAPHORE is set, and wakes writers. Returns the
    /// consumed count, which is zero if the counter was zero.
    pub(crate) fn read(&mut self) -> u64 {
        self.queue.consume(&mut self.lock)
    }

    /// Returns the counter, and consumes nothing.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: the kernel does not export it, and the layout of the eventfd's context is not known,
    /// or not the one of the build.
    pub(crate) fn peek(&self) -> Result<u64> {
        self.queue.peek(&self.lock).ok_or(EOPNOTSUPP)
    }
}
