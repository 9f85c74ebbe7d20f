// SPDX-License-Identifier: GPL-2.0

//! A file's wait queue: the lock as a type, callbacks, waiting.
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

// SAFETY: A wait queue may be used from any thread; it has its own lock.
unsafe impl Send for WaitQueue {}
// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

/// A poll table that notes the wait queue that a file offers.
#[repr(C)]
struct QueueCapture {
    /// First, so that a pointer to it is one to the whole.
    table: kbindings::poll_table_struct,
    found: Option<NonNull<kbindings::wait_queue_head>>,
}

/// # Safety
///
/// `table` must be the first field of a [`QueueCapture`].
unsafe extern "C" fn capture_queue(
    _file: *mut kbindings::file,
    wqh: *mut kbindings::wait_queue_head,
    table: *mut kbindings::poll_table_struct,
) {
    // SAFETY: By the requirements of this function, and nobody else has the object.
    unsafe { (*table.cast::<QueueCapture>()).found = NonNull::new(wqh) };
}

impl WaitQueue {
    /// Asks `file` for its wait queue, as poll(2) does. Process context; does not sleep unless the
    /// file's poll does.
    ///
    /// # Safety
    ///
    /// The file's poll must offer one wait queue, and the caller must not use the result when that
    /// queue is gone.
    pub(crate) unsafe fn of_file(file: &File) -> Option<Self> {
        let mut capture = QueueCapture {
            table: kbindings::poll_table_struct {
                _qproc: Some(capture_queue),
                _key: !0,
            },
            found: None,
        };
        // Of the whole object, not of the field: `capture_queue` goes back to the whole.
        let table = (&raw mut capture).cast::<kbindings::poll_table_struct>();
        // SAFETY: The file is valid, the table as well, and it is the first field of a `QueueCapture`.
        unsafe { bindings::doorbell_vfs_poll(file.as_ptr(), table) };
        // INVARIANT: Promised by the caller.
        capture.found.map(Self)
    }

    /// The address, for comparing.
    pub(crate) fn addr(&self) -> usize {
        self.0.addr().get()
    }

    /// Takes the queue's lock and disables interrupts. Any context; on PREEMPT_RT it may sleep.
    pub(crate) fn lock(&self) -> WaitQueueGuard<'_> {
        // SAFETY: Valid by the type invariants.
        let flags = unsafe { bindings::doorbell_wait_queue_lock(self.0.as_ptr()) };
        // INVARIANT: Just taken.
        WaitQueueGuard {
            wqh: self.0,
            flags,
            _queue: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// As [`WaitQueueGuard::wake_writers`], from within a wake-up of this queue, if there is an entry after
    /// `entry`. The callbacks, that of `entry` among them, get EPOLLOUT alone for a key.
    ///
    /// # Safety
    ///
    /// The caller must be the callback of `entry`, which must be woken exclusively and be on this
    /// queue, and be called by a wake-up of one exclusive entry; and it must return 1. Then the
    /// wake-up ends with it, and does not use the next entry, which this may take off the queue.
    pub(crate) unsafe fn wake_writers_from_callback(
        &self,
        entry: *mut kbindings::wait_queue_entry,
    ) {
        // SAFETY: By the requirements of this function the queue's lock is held, and the entry on it.
        unsafe { bindings::doorbell_wake_writers_behind(self.0.as_ptr(), entry) };
    }

    /// Sleeps until `ready` returns something, with the queue's lock held, or a signal comes
    /// (ERESTARTSYS). Process context.
    pub(crate) fn wait_interruptible<R>(
        &self,
        mut ready: impl FnMut(&mut WaitQueueGuard<'_>) -> Option<R>,
    ) -> Result<R> {
        let entry = Opaque::<kbindings::wait_queue_entry>::uninit();
        // SAFETY: Valid for writes. `current` stays itself.
        unsafe { kbindings::init_wait_entry(entry.get(), 0) };
        let result = loop {
            // On the queue before looking: whoever makes us ready from here on wakes us.
            //
            // SAFETY: Both are valid, and the entry is off the queue before it goes.
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
            // SAFETY: Process context, no lock held.
            unsafe { kbindings::schedule() };
        };
        // SAFETY: As above; takes the entry off the queue and makes the task runnable.
        unsafe { kbindings::finish_wait(self.0.as_ptr(), entry.get()) };
        result
    }
}

/// Proof that the lock of a wait queue is held, with interrupts off.
///
/// # Invariants
///
/// The lock is held by this thread, and `flags` are what taking it returned.
pub(crate) struct WaitQueueGuard<'a> {
    wqh: NonNull<kbindings::wait_queue_head>,
    flags: c_ulong,
    _queue: PhantomData<&'a WaitQueue>,
    _not_send: NotThreadSafe,
}

impl WaitQueueGuard<'_> {
    /// Tells those who wait for room in the counter that there is some. The callbacks see
    /// `eventfd_signal_allowed()` false.
    pub(crate) fn wake_writers(&mut self) {
        // SAFETY: The lock is held by the type invariants.
        unsafe { bindings::doorbell_wake_writers(self.wqh.as_ptr()) };
    }

    /// Puts `entry` in front, as the only priority entry, woken exclusively: what
    /// `add_wait_queue_priority_exclusive()` does, for a caller that has the lock. EBUSY if there
    /// is one already.
    ///
    /// # Safety
    ///
    /// `entry` must be off every queue and stay valid until it is off this one.
    pub(crate) unsafe fn add_exclusive_priority(
        &mut self,
        entry: *mut kbindings::wait_queue_entry,
    ) -> Result {
        // SAFETY: The queue is valid, and its lock held.
        let head = unsafe { &raw mut (*self.wqh.as_ptr()).head };
        // SAFETY: As above: a list head that is not going to change.
        let first = unsafe { (*head).next };
        if first != head {
            // SAFETY: What is on a wait queue's list is the `entry` of a wait queue entry.
            let other = unsafe { kernel::container_of!(first, kbindings::wait_queue_entry, entry) };
            // SAFETY: It cannot leave the queue while the lock is held.
            if unsafe { (*other).flags } & kbindings::WQ_FLAG_PRIORITY != 0 {
                return Err(EBUSY);
            }
        }
        // SAFETY: By the requirements of this function; the entry is not on a queue, so nobody else
        // looks at it.
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
