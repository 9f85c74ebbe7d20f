// SPDX-License-Identifier: GPL-2.0

//! Access to an eventfd's counter and wait queue on a kernel that does not export it.
//!
//! The wait queue is reached by poll(2)'s mechanism. The counter is reached by the layout that the
//! kernel's BTF gave at build time (`LAYOUT`), and only if the counter follows the queue there as in
//! this configuration, and the queue is at the place that the layout says. `exports.rs` has the same
//! functions for a kernel that exports them.

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
    fs::File,
    prelude::*, //
};

/// The offsets of fields in `struct eventfd_ctx`.
struct Layout {
    wqh: usize,
    count: usize,
    flags: usize,
}

impl Layout {
    /// Returns the layout if the counter follows the queue, whose size depends on the configuration.
    ///
    /// The BTF of a kernel with another configuration can have the queue at the same place, and the
    /// counter at another.
    const fn verified(self) -> Option<Self> {
        if self.count == self.wqh + size_of::<kbindings::wait_queue_head>() {
            Some(self)
        } else {
            None
        }
    }
}

// Defines `BTF_LAYOUT: Option<Layout>`.
include!(concat!(
    env!("DOORBELL_OBJ"),
    "/rust/bindings/eventfd_layout.rs"
));

const LAYOUT: Option<Layout> = match BTF_LAYOUT {
    Some(layout) => layout.verified(),
    None => None,
};

const _: () = {
    let queue = size_of::<kbindings::wait_queue_head>();
    let right = Layout {
        wqh: 8,
        count: 8 + queue,
        flags: 0,
    };
    let wrong = Layout {
        wqh: 8,
        count: 16 + queue,
        flags: 0,
    };
    assert!(right.verified().is_some() && wrong.verified().is_none());
};

/// `EFD_SEMAPHORE` of the UAPI header.
const EFD_SEMAPHORE: u32 = 1;

/// True if [`peek`] can succeed in this build.
pub(crate) const CAN_PEEK: bool = LAYOUT.is_some();

/// A poll table that records the wait queue that a file's poll passes to it.
#[repr(C)]
struct QueueCapture {
    /// The first field, so that a pointer to it is also one to the structure.
    table: kbindings::poll_table_struct,
    found: Option<NonNull<kbindings::wait_queue_head>>,
}

/// Records `wqh` in the [`QueueCapture`] of `table`.
///
/// # Safety
///
/// `table` must be the first field of a [`QueueCapture`].
unsafe extern "C" fn capture_queue(
    _file: *mut kbindings::file,
    wqh: *mut kbindings::wait_queue_head,
    table: *mut kbindings::poll_table_struct,
) {
    // SAFETY: By the requirements of this function. `queue_of_file` made the object for this call, so
    // there is no other access to it.
    unsafe { (*table.cast::<QueueCapture>()).found = NonNull::new(wqh) };
}

/// Returns the wait queue of an eventfd, as poll(2) finds it.
///
/// # Context
///
/// Process context; does not sleep.
///
/// # Safety
///
/// `file` must be an eventfd's, and `_ctx` its context. The caller must not use the result after the
/// context was freed.
pub(super) unsafe fn queue_of_file(
    file: NonNull<kbindings::file>,
    _ctx: NonNull<bindings::eventfd_ctx>,
) -> Option<WaitQueue> {
    // SAFETY: By the requirements of this function. Eventfds do not use the file position.
    let file = unsafe { File::from_raw_file(file.as_ptr()) };
    let mut capture = QueueCapture {
        table: kbindings::poll_table_struct {
            _qproc: Some(capture_queue),
            _key: !0,
        },
        found: None,
    };
    // A pointer to the whole object, not to the field: `capture_queue` uses the whole.
    let table = (&raw mut capture).cast::<kbindings::poll_table_struct>();
    // SAFETY: The file and the table are valid, and the table is the first field of a
    // `QueueCapture`. An eventfd's poll offers one wait queue and does not sleep.
    unsafe { bindings::doorbell_vfs_poll(file.as_ptr(), table) };
    let queue = capture.found?;
    // SAFETY: The queue is part of the context, for which the caller has promised that.
    Some(unsafe { WaitQueue::from_raw(queue) })
}

/// Returns the wait queue at the place that the layout says, or [`None`] if there is no layout.
///
/// # Safety
///
/// `ctx` must be an eventfd's context, in which [`queue_of_file`] has found the queue at that place; or
/// the result may be used for comparisons only. The caller must not use the result after the context
/// was freed.
#[inline(always)]
pub(super) unsafe fn queue_of_context(ctx: NonNull<bindings::eventfd_ctx>) -> Option<WaitQueue> {
    let layout = LAYOUT.as_ref()?;
    let queue = ctx.as_ptr().wrapping_byte_add(layout.wqh).cast();
    // SAFETY: By the requirements of this function.
    NonNull::new(queue).map(|queue| unsafe { WaitQueue::from_raw(queue) })
}

/// Returns the layout of `ctx`, if `queue` is where it says.
#[inline(always)]
fn layout(ctx: NonNull<bindings::eventfd_ctx>, queue: WaitQueue) -> Option<&'static Layout> {
    let layout = LAYOUT.as_ref()?;
    (queue.addr() == ctx.addr().get() + layout.wqh).then_some(layout)
}

/// Returns the counter, or [`None`] if its offset is not known.
///
/// # Safety
///
/// `ctx` must be a valid context, `queue` its wait queue, and the caller must hold the queue's lock.
#[inline(always)]
pub(super) unsafe fn peek(ctx: NonNull<bindings::eventfd_ctx>, queue: WaitQueue) -> Option<u64> {
    let at = layout(ctx, queue)?.count;
    // SAFETY: The context is valid, and the offset is that of its 64-bit counter. The offset comes from
    // the BTF of the kernel that the module is built for. That is the kernel that the module is loaded
    // into: `vermagic` names its version. The counter follows the queue, by `Layout::verified`, and
    // `layout()` has just verified the offset of the queue. All writers of the counter own the lock,
    // and so does this thread.
    Some(unsafe { ctx.as_ptr().byte_add(at).cast::<u64>().read() })
}

/// Returns the count that a read would consume, or [`None`] if it is not known.
///
/// # Safety
///
/// As of [`peek`].
#[inline(always)]
pub(super) unsafe fn peek_read(
    ctx: NonNull<bindings::eventfd_ctx>,
    queue: WaitQueue,
) -> Option<u64> {
    // SAFETY: By the requirements of this function.
    let count = unsafe { peek(ctx, queue) }?;
    let at = layout(ctx, queue)?.flags;
    // SAFETY: As in `peek`. The flags have 32 bits, and never change.
    let flags = unsafe { ctx.as_ptr().byte_add(at).cast::<u32>().read() };
    Some(if flags & EFD_SEMAPHORE != 0 {
        count.min(1)
    } else {
        count
    })
}

/// Wakes the threads that wait to write to the counter. Their callbacks find
/// `eventfd_signal_allowed()` false.
///
/// # Safety
///
/// As of [`peek`].
#[inline(always)]
pub(super) unsafe fn wake_writers(_ctx: NonNull<bindings::eventfd_ctx>, queue: WaitQueue) {
    // SAFETY: By the requirements of this function.
    unsafe { bindings::doorbell_wake_writers(queue.as_ptr()) };
}

/// Consumes the counter, or one of it if EFD_SEMAPHORE is set, and wakes writers.
///
/// # Safety
///
/// As of [`peek`].
#[inline(always)]
pub(super) unsafe fn read(ctx: NonNull<bindings::eventfd_ctx>, queue: WaitQueue) -> u64 {
    let mut count = 0;
    // SAFETY: By the requirements of this function.
    unsafe { bindings::eventfd_ctx_do_read(ctx.as_ptr(), &mut count) };
    if count != 0 {
        // SAFETY: As above.
        unsafe { wake_writers(ctx, queue) };
    }
    count
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
/// `ctx` must be a valid context, `queue` its queue, and `lock` the lock of that. `entry` must be off every
/// queue, and stay valid until it is removed from this one.
pub(super) unsafe fn add_consumer(
    ctx: NonNull<bindings::eventfd_ctx>,
    queue: WaitQueue,
    lock: &mut WaitQueueGuard<'_>,
    entry: *mut kbindings::wait_queue_entry,
) -> Result<u64> {
    if lock.has_priority_entry() {
        return Err(EBUSY);
    }
    // SAFETY: By the requirements of this function. The entry is not on a queue, so there is no other
    // access to it. The context is valid, and its lock is held.
    unsafe {
        (*entry).flags |= kbindings::WQ_FLAG_PRIORITY | kbindings::WQ_FLAG_EXCLUSIVE;
        bindings::doorbell_wait_queue_add(queue.as_ptr(), entry);
        Ok(read(ctx, queue))
    }
}

/// A counter that can be raised by more than one.
///
/// # Invariants
///
/// `offset` is that of the 64-bit counter in the eventfd's context, by the layout that [`peek`]
/// describes.
pub(super) struct Raise {
    offset: usize,
}

impl Raise {
    /// Returns [`None`] if the counter's offset is not known.
    ///
    /// # Safety
    ///
    /// `queue` must be the queue of `ctx`.
    pub(super) unsafe fn new(
        ctx: NonNull<bindings::eventfd_ctx>,
        queue: WaitQueue,
    ) -> Option<Self> {
        let offset = layout(ctx, queue)?.count;
        // INVARIANT: The layout is that of the eventfd's context.
        Some(Self { offset })
    }

    /// Signals the eventfd `count` times, and wakes the waiters once. `count` must be at least 2.
    ///
    /// # Safety
    ///
    /// `ctx` and `queue` must be valid, and those that were passed to [`Raise::new`].
    pub(super) unsafe fn signal(
        &self,
        ctx: NonNull<bindings::eventfd_ctx>,
        queue: WaitQueue,
        count: u64,
        mask: u32,
    ) {
        // SAFETY: The context is valid, the queue is in it, and by the type invariants the counter is at
        // the offset. All writers of the counter hold the queue's lock, as this does.
        unsafe {
            bindings::doorbell_eventfd_raise(
                queue.as_ptr(),
                ctx.as_ptr().byte_add(self.offset).cast::<u64>(),
                count - 1,
            )
        };
        // A reader that comes before this one finds the others, and then this one.
        //
        // SAFETY: By the requirements of this function.
        unsafe { super::counter::signal_one(ctx, mask) };
    }
}
