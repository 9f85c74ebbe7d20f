// SPDX-License-Identifier: GPL-2.0

//! Access to an eventfd's counter and wait queue by the functions that fs/eventfd.c exports.
// begin out of tree
//!
//! `layout.rs` has the same functions for kernels without these exports.
// end out of tree

// No examples: the module `eventfd` has them.

use crate::{
    bindings,
    kernel_ext::wait_queue::{
        WaitQueue,
        WaitQueueGuard, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    bindings as kbindings,
    error::to_result,
    prelude::*, //
};

/// True if [`peek`] can succeed in this build.
pub(crate) const CAN_PEEK: bool = true;

/// Returns the wait queue of an eventfd.
///
/// # Safety
///
/// `ctx` must be a valid context. The caller must not use the result after the context was freed.
pub(super) unsafe fn queue_of_file(
    _file: NonNull<kbindings::file>,
    ctx: NonNull<bindings::eventfd_ctx>,
) -> Option<WaitQueue> {
    // SAFETY: By the requirements of this function.
    unsafe { queue_of_context(ctx) }
}

/// Returns the wait queue of an eventfd.
///
/// # Safety
///
/// As of [`queue_of_file`].
#[inline(always)]
pub(super) unsafe fn queue_of_context(ctx: NonNull<bindings::eventfd_ctx>) -> Option<WaitQueue> {
    // SAFETY: By the requirements of this function.
    let queue = unsafe { bindings::eventfd_ctx_wait_queue(ctx.as_ptr()) };
    // SAFETY: As above; the queue is part of the context.
    NonNull::new(queue).map(|queue| unsafe { WaitQueue::from_raw(queue) })
}

/// Returns the counter, always with [`Some`].
///
/// # Safety
///
/// `ctx` must be a valid context, `_queue` its wait queue, and the caller must hold the queue's lock.
#[inline(always)]
pub(super) unsafe fn peek(ctx: NonNull<bindings::eventfd_ctx>, _queue: WaitQueue) -> Option<u64> {
    // SAFETY: By the requirements of this function.
    Some(unsafe { bindings::eventfd_ctx_peek_locked(ctx.as_ptr()) })
}

/// Returns the count that a read would consume, always with [`Some`].
///
/// # Safety
///
/// As of [`peek`].
#[inline(always)]
pub(super) unsafe fn peek_read(
    ctx: NonNull<bindings::eventfd_ctx>,
    _queue: WaitQueue,
) -> Option<u64> {
    // SAFETY: By the requirements of this function.
    Some(unsafe { bindings::eventfd_ctx_peek_read_locked(ctx.as_ptr()) })
}

/// Wakes the threads that wait to write to the counter. Their callbacks find
/// `eventfd_signal_allowed()` false.
///
/// # Safety
///
/// As of [`peek`].
#[inline(always)]
pub(super) unsafe fn wake_writers(ctx: NonNull<bindings::eventfd_ctx>, _queue: WaitQueue) {
    // SAFETY: By the requirements of this function.
    unsafe { bindings::eventfd_ctx_wake_writers_locked(ctx.as_ptr()) };
}

/// Consumes the counter, or one of it if EFD_SEMAPHORE is set, and wakes writers.
///
/// # Safety
///
/// As of [`peek`].
#[inline(always)]
pub(super) unsafe fn read(ctx: NonNull<bindings::eventfd_ctx>, _queue: WaitQueue) -> u64 {
    // SAFETY: By the requirements of this function.
    unsafe { bindings::eventfd_ctx_read_locked(ctx.as_ptr()) }
}

/// Adds `entry` at the head of the queue, as an exclusive entry and the only priority entry, and
/// consumes the counter, as [`read`] does.
///
/// # Errors
///
/// EBUSY: the queue has a priority entry.
///
/// # Safety
///
/// `ctx` must be a valid context, `_queue` its queue, and `_lock` the lock of that. `entry` must be off
/// every queue, and stay valid until it is removed from this one.
pub(super) unsafe fn add_consumer(
    ctx: NonNull<bindings::eventfd_ctx>,
    _queue: WaitQueue,
    _lock: &mut WaitQueueGuard<'_>,
    entry: *mut kbindings::wait_queue_entry,
) -> Result<u64> {
    let mut count = 0;
    // SAFETY: By the requirements of this function.
    to_result(unsafe {
        bindings::eventfd_ctx_add_wait_queue_locked(ctx.as_ptr(), entry, &mut count)
    })?;
    Ok(count)
}

/// A counter that can be raised by more than one.
pub(super) struct Raise;

impl Raise {
    /// Always returns [`Some`].
    ///
    /// # Safety
    ///
    /// `_queue` must be the queue of `_ctx`.
    pub(super) unsafe fn new(
        _ctx: NonNull<bindings::eventfd_ctx>,
        _queue: WaitQueue,
    ) -> Option<Self> {
        Some(Self)
    }

    /// Signals the eventfd `count` times, and wakes the waiters once.
    ///
    /// # Safety
    ///
    /// `ctx` must be valid.
    pub(super) unsafe fn signal(
        &self,
        ctx: NonNull<bindings::eventfd_ctx>,
        _queue: WaitQueue,
        count: u64,
        mask: u32,
    ) {
        // SAFETY: By the requirements of this function.
        unsafe { bindings::doorbell_signal_count(ctx.as_ptr(), count, mask) };
    }
}
