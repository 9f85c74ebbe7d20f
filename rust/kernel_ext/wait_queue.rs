// SPDX-License-Identifier: GPL-2.0

//! A file's wait queue: its lock as a type, callbacks and waiting.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h).

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings as kbindings,
    fs::File,
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
    // SAFETY: By the requirements of this function. `of_file` made the object for this call, so
    // there is no other access to it.
    unsafe { (*table.cast::<QueueCapture>()).found = NonNull::new(wqh) };
}

impl WaitQueue {
    /// Queries the wait queue of `file`, as poll(2) does.
    ///
    /// # Context
    ///
    /// Process context; does not sleep unless the file's poll does.
    ///
    /// # Safety
    ///
    /// The file's poll must offer one wait queue, and the caller must not use the result after that
    /// queue was freed.
    pub(crate) unsafe fn of_file(file: &File) -> Option<Self> {
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
        // `QueueCapture`.
        unsafe { bindings::doorbell_vfs_poll(file.as_ptr(), table) };
        // INVARIANT: Promised by the caller.
        capture.found.map(Self)
    }

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

    /// Does the same as [`WaitQueueGuard::wake_writers`] from within a wake-up of this queue, if
    /// there is an entry after `entry`. The callbacks, that of `entry` among them, get EPOLLOUT
    /// alone as the key.
    ///
    /// # Safety
    ///
    /// The caller must be the callback of `entry`, which must be exclusive and on this queue. The
    /// wake-up that calls it must be one of a single exclusive entry, and the callback must return
    /// one: then the wake-up ends with `entry`, and does not use the next entry, which this may
    /// remove from the queue.
    pub(crate) unsafe fn wake_writers_from_callback(
        &self,
        entry: *mut kbindings::wait_queue_entry,
    ) {
        let queue = self.0.as_ptr();
        // SAFETY: By the requirements of this function the queue's lock is held, and the entry is on
        // the queue.
        unsafe {
            if (*entry).entry.next != &raw mut (*queue).head {
                bindings::doorbell_wake_writers(queue);
            }
        }
    }

    /// Sleeps until `ready`, which is called with the queue's lock held, returns a value.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// ERESTARTSYS: a signal arrived.
    pub(crate) fn wait_interruptible<R>(
        &self,
        mut ready: impl FnMut(&mut WaitQueueGuard<'_>) -> Option<R>,
    ) -> Result<R> {
        let entry = Opaque::<kbindings::wait_queue_entry>::uninit();
        // SAFETY: The entry is valid for writes. The current task is the one that waits.
        unsafe { kbindings::init_wait_entry(entry.get(), 0) };
        let result = loop {
            // The entry is queued before `ready` is called, so a later event wakes this task.
            //
            // SAFETY: The queue and the entry are valid, and the entry is removed before it goes
            // out of scope.
            let ret = unsafe {
                kbindings::prepare_to_wait_event(
                    self.0.as_ptr(),
                    entry.get(),
                    kbindings::TASK_INTERRUPTIBLE as c_int,
                )
            };
            if let Some(found) = ready(&mut self.lock()) {
                break Ok(found);
            }
            if ret != 0 {
                break Err(ERESTARTSYS);
            }
            // SAFETY: Process context, and no lock is held.
            unsafe { kbindings::schedule() };
        };
        // SAFETY: As above. This removes the entry from the queue and makes the task runnable.
        unsafe { kbindings::finish_wait(self.0.as_ptr(), entry.get()) };
        result
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
    /// Wakes the threads that wait to write to the counter. Their callbacks find
    /// `eventfd_signal_allowed()` false.
    pub(crate) fn wake_writers(&mut self) {
        // SAFETY: By the type invariants the lock is held.
        unsafe { bindings::doorbell_wake_writers(self.wqh.as_ptr()) };
    }

    /// Adds `entry` at the head of the queue, as an exclusive entry and the only priority entry.
    /// This is `add_wait_queue_priority_exclusive()` for a caller that owns the lock.
    ///
    /// # Errors
    ///
    /// EBUSY: the queue has a priority entry.
    ///
    /// # Safety
    ///
    /// `entry` must be off every queue, and stay valid until it is removed from this one.
    pub(crate) unsafe fn add_exclusive_priority(
        &mut self,
        entry: *mut kbindings::wait_queue_entry,
    ) -> Result {
        // SAFETY: The queue is valid, and its lock is held.
        let head = unsafe { &raw mut (*self.wqh.as_ptr()).head };
        // SAFETY: As above; the list head does not change while the lock is held.
        let first = unsafe { (*head).next };
        if first != head {
            // SAFETY: Each node of a wait queue's list is the `entry` field of a wait queue entry.
            let other = unsafe { kernel::container_of!(first, kbindings::wait_queue_entry, entry) };
            // SAFETY: The other entry cannot leave the queue while the lock is held.
            if unsafe { (*other).flags } & kbindings::WQ_FLAG_PRIORITY != 0 {
                return Err(EBUSY);
            }
        }
        // SAFETY: By the requirements of this function. The entry is not on a queue, so there is no
        // other access to it.
        unsafe {
            (*entry).flags |= kbindings::WQ_FLAG_PRIORITY | kbindings::WQ_FLAG_EXCLUSIVE;
            bindings::doorbell_wait_queue_add(self.wqh.as_ptr(), entry);
        }
        Ok(())
    }
}

impl Drop for WaitQueueGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the lock.
        unsafe { bindings::doorbell_wait_queue_unlock(self.wqh.as_ptr(), self.flags) };
    }
}
