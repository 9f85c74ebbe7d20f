// SPDX-License-Identifier: GPL-2.0

//! Eventfds: hold, signal, listen, read, peek.
//!
//! The three ways to hold one, from short to long:
//!
//! - [`EventFdFile`]: the file, for as long as a system call needs it;
//! - [`EventFd`]: the context (`struct eventfd_ctx`), which outlives the files: signal it;
//! - [`EventFdQueue`]: the context and its wait queue: lock it, and read or peek under the lock.
//!
//! A [`Listener`] is called for each signal, under that same lock.
//!
//! `struct eventfd_ctx` is private to fs/eventfd.c. Its wait-queue lock is reached by way of
//! poll(2)'s mechanism; the counter, for [`EventFdGuard::peek`], by the layout that the kernel's BTF
//! gave at build time (`LAYOUT`), and only if the lock is where that layout says.
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h).

use super::wait_queue::{
    WaitQueue, //
    WaitQueueGuard,
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    bindings as kbindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    prelude::*,
    types::Opaque, //
};

/// Offsets in `struct eventfd_ctx`.
struct Layout {
    wqh: usize,
    count: usize,
    flags: usize,
}

// Defines `LAYOUT: Option<Layout>`.
include!(concat!(
    env!("DOORBELL_OBJ"),
    "/rust/bindings/eventfd_layout.rs"
));

/// `EFD_SEMAPHORE` of the UAPI header.
const EFD_SEMAPHORE: u32 = 1;

/// `READ` of `include/linux/kernel.h`.
const READ: c_int = 0;

/// `FMODE_READ` of `include/linux/fs.h`, a cast that bindgen cannot evaluate.
const FMODE_READ: u32 = 1;

/// Whether [`EventFdGuard::peek`] can work in this build.
pub(crate) const CAN_PEEK: bool = LAYOUT.is_some();

/// Whether [`EventFd::signal`] may be called here.
#[inline]
pub(crate) fn signal_allowed() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_signal_allowed() }
}

/// A reference to the file of an eventfd.
///
/// # Invariants
///
/// The pointer is a file whose operations are the eventfd's, and a reference to it is owned.
pub(crate) struct EventFdFile(NonNull<kbindings::file>);

impl EventFdFile {
    /// The eventfd that is open as `fd` in the current process. Process context.
    ///
    /// EBADF: not open. EINVAL: no eventfd. (`eventfd_fget()`)
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: No requirements.
        let file = from_err_ptr(unsafe { bindings::eventfd_fget(fd) })?;
        // INVARIANT: `eventfd_fget()` checked the operations and took a reference.
        NonNull::new(file).map(Self).ok_or(EBADF)
    }

    /// Checks that the caller may read the file now: what read(2) checks, among them the LSMs.
    /// Process context.
    ///
    /// # Errors
    ///
    /// EBADF: it is not open for reading. What an LSM says, EACCES for instance.
    pub(crate) fn check_readable(&self) -> Result {
        // SAFETY: The file is valid, and its mode does not change.
        if unsafe { (*self.0.as_ptr()).f_mode } & FMODE_READ == 0 {
            return Err(EBADF);
        }
        // SAFETY: The file is valid, and a stream needs no position.
        to_result(unsafe {
            kbindings::rw_verify_area(READ, self.0.as_ptr(), core::ptr::null(), size_of::<u64>())
        })
    }

    /// Whether O_NONBLOCK is set.
    pub(crate) fn nonblocking(&self) -> bool {
        self.file().flags() & O_NONBLOCK != 0
    }

    /// A reference to the eventfd itself.
    pub(crate) fn eventfd(&self) -> Result<EventFd> {
        // SAFETY: The file is valid.
        let ctx = from_err_ptr(unsafe { bindings::eventfd_ctx_fileget(self.0.as_ptr()) })?;
        // INVARIANT: `eventfd_ctx_fileget()` took a reference.
        NonNull::new(ctx).map(EventFd).ok_or(EINVAL)
    }

    /// A reference to the eventfd and its wait queue.
    pub(crate) fn counter(&self) -> Result<EventFdQueue> {
        let eventfd = self.eventfd()?;
        // SAFETY: An eventfd's poll offers one wait queue and does not sleep; the queue is part of
        // the context, to which `EventFdQueue` holds a reference.
        let queue = unsafe { WaitQueue::of_file(self.file()) }.ok_or(EINVAL)?;
        // INVARIANT: It is this eventfd's queue.
        Ok(EventFdQueue { queue, eventfd })
    }

    fn file(&self) -> &File {
        // SAFETY: The file is valid as long as `self`, and eventfds do not use the file position.
        unsafe { File::from_raw_file(self.0.as_ptr()) }
    }
}

impl Drop for EventFdFile {
    fn drop(&mut self) {
        // SAFETY: The reference is owned.
        unsafe { kbindings::fput(self.0.as_ptr()) };
    }
}

/// A reference to an eventfd, independent of its files.
///
/// # Invariants
///
/// The pointer is valid, and a reference to it is owned.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: References to an eventfd may be used and dropped on any thread.
unsafe impl Send for EventFd {}
// SAFETY: As above; the eventfd does its own locking.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// What tells this eventfd from every other one that exists at the same time.
    pub(crate) fn id(&self) -> usize {
        self.0.addr().get()
    }

    /// Adds one to the counter and wakes, with `mask` beside EPOLLIN as the wake-ups' key.
    ///
    /// Any context where [`signal_allowed`], that is: not from within a [`Listen`]er, where the
    /// kernel would warn and drop it, nor in an NMI. On PREEMPT_RT not with interrupts or
    /// preemption off.
    #[inline]
    pub(crate) fn signal(&self, mask: u32) {
        let signal = if cfg!(CONFIG_PROVE_LOCKING) {
            bindings::doorbell_signal_lockdep
        } else {
            bindings::eventfd_signal_mask
        };
        // SAFETY: Valid by the type invariants.
        unsafe { signal(self.0.as_ptr(), mask) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: The reference is owned.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}

/// An eventfd with access to its counter.
///
/// # Invariants
///
/// `queue` is the wait queue in `eventfd`'s context.
pub(crate) struct EventFdQueue {
    queue: WaitQueue,
    eventfd: EventFd,
}

impl EventFdQueue {
    /// The eventfd.
    pub(crate) fn eventfd(&self) -> &EventFd {
        &self.eventfd
    }

    /// Locks the counter: the eventfd's wait-queue lock, with interrupts off.
    pub(crate) fn lock(&self) -> EventFdGuard<'_> {
        EventFdGuard {
            counter: self,
            lock: self.queue.lock(),
        }
    }

    /// Consumes the counter (one of it, if EFD_SEMAPHORE), waiting until it is not zero; wakes
    /// writers. What `eventfd_ctx_read()` of 2010 was to be.
    ///
    /// `store` gets the count and returns true if it has stored it. If not, nothing is consumed, and
    /// this returns false. `store` is called with the lock held and must not sleep.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// EAGAIN: the counter is zero and `no_wait`. ERESTARTSYS: a signal came. EFAULT: as false, but
    /// this build cannot peek, so what was consumed is lost.
    pub(crate) fn read(&self, no_wait: bool, mut store: impl FnMut(u64) -> bool) -> Result<bool> {
        let mut read = |lock: &mut WaitQueueGuard<'_>| {
            // Stored first: what has been consumed cannot be put back.
            let next = self.next(lock);
            match next {
                Some(0) => return None,
                Some(count) if !store(count) => return Some(Ok(false)),
                _ => {}
            }
            let count = consume_locked(&self.eventfd, lock);
            if count == 0 {
                return None;
            }
            lock.wake_writers();
            if next == Some(count) || store(count) {
                Some(Ok(true))
            } else {
                Some(Err(EFAULT))
            }
        };
        if let Some(result) = read(&mut self.queue.lock()) {
            return result;
        }
        if no_wait {
            return Err(EAGAIN);
        }
        self.queue.wait_interruptible(read)?
    }

    /// Returns the layout of the eventfd's context, if its queue is where that says.
    fn layout(&self) -> Option<&'static Layout> {
        let layout = LAYOUT.as_ref()?;
        (self.queue.addr() == self.eventfd.id() + layout.wqh).then_some(layout)
    }

    /// Returns the counter; [`None`] if its place is not known. `_lock` must be the lock of this
    /// queue.
    fn peek_locked(&self, _lock: &WaitQueueGuard<'_>) -> Option<u64> {
        let at = self.layout()?.count;
        // SAFETY: The context is valid, and the offset is that of its 64-bit counter: it comes from
        // the BTF of the kernel that the module is built for, which is the one that it is loaded
        // into: `vermagic` names its version. `layout()` has just seen another offset from there to
        // be true. All writers of the counter hold the lock, and so does this thread.
        Some(unsafe { self.eventfd.0.as_ptr().byte_add(at).cast::<u64>().read() })
    }

    /// Returns what a read would consume; [`None`] if that cannot be known. `lock` must be the lock
    /// of this queue.
    fn next(&self, lock: &WaitQueueGuard<'_>) -> Option<u64> {
        let count = self.peek_locked(lock)?;
        let at = self.layout()?.flags;
        // SAFETY: As in `peek_locked`; the flags are 32 bits, and never change.
        let flags = unsafe { self.eventfd.0.as_ptr().byte_add(at).cast::<u32>().read() };
        Some(if flags & EFD_SEMAPHORE != 0 {
            count.min(1)
        } else {
            count
        })
    }
}

/// Consumes the counter, one of it if EFD_SEMAPHORE. `_lock` must be the lock of that eventfd: callers
/// in this file have it from the same [`EventFdQueue`].
fn consume_locked(eventfd: &EventFd, _lock: &mut WaitQueueGuard<'_>) -> u64 {
    let mut count = 0;
    // SAFETY: Valid, and its lock is held.
    unsafe { bindings::eventfd_ctx_do_read(eventfd.0.as_ptr(), &mut count) };
    count
}

/// Proof that an eventfd's counter is locked.
pub(crate) struct EventFdGuard<'a> {
    counter: &'a EventFdQueue,
    lock: WaitQueueGuard<'a>,
}

impl EventFdGuard<'_> {
    /// Takes the counter, one of it if EFD_SEMAPHORE, and wakes writers. Zero if there is nothing.
    pub(crate) fn read(&mut self) -> u64 {
        let count = consume_locked(&self.counter.eventfd, &mut self.lock);
        if count != 0 {
            self.lock.wake_writers();
        }
        count
    }

    /// Looks at the counter and takes nothing (`eventfd_ctx_peek_value()` of 2010).
    ///
    /// EOPNOTSUPP: the layout of the eventfd's context is not known, or not what the build thought.
    pub(crate) fn peek(&self) -> Result<u64> {
        self.counter.peek_locked(&self.lock).ok_or(EOPNOTSUPP)
    }
}

/// A count that was consumed from an eventfd's counter and is nowhere else: dropping it loses the
/// signals that it stands for.
#[must_use = "what was consumed is to be delivered"]
pub(crate) struct Consumed(u64);

impl Consumed {
    /// Calls `f` if there was something in the counter.
    pub(crate) fn deliver(self, f: impl FnOnce()) {
        if self.0 != 0 {
            f();
        }
    }
}

/// Who listens on an eventfd.
pub(crate) trait Listen: Send + Sync {
    /// The eventfd was signalled and the counter taken; `count` is what was taken, never zero.
    /// `mask` is the key of the wake-up: EPOLLIN and what [`EventFd::signal`] was given.
    ///
    /// Called with the eventfd's wait-queue lock held and interrupts off (PREEMPT_RT: lock held),
    /// and with `eventfd_signal_allowed()` false: must neither sleep nor signal any eventfd.
    fn signalled(&self, count: u64, mask: u32);

    /// The last file of the eventfd was closed; the listener has been removed and is not called
    /// again. Same context as [`Listen::signalled`].
    fn hung_up(&self);
}

/// A callback for an eventfd's signals; the eventfd's only consumer.
///
/// # Invariants
///
/// `entry` is on the wait queue of `counter`, or its list is empty; changed under the queue's lock
/// only.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Listener<L: Listen> {
    #[pin]
    entry: Opaque<kbindings::wait_queue_entry>,
    counter: EventFdQueue,
    listen: L,
}

// SAFETY: All fields may move between threads; the entry is only touched under the queue's lock.
unsafe impl<L: Listen> Send for Listener<L> {}
// SAFETY: As above.
unsafe impl<L: Listen> Sync for Listener<L> {}

impl<L: Listen> Listener<L> {
    /// Creates an initialiser for a listener that is not attached yet.
    pub(crate) fn new(counter: EventFdQueue, listen: L) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: The list is empty.
            entry <- Opaque::ffi_init(|entry: *mut kbindings::wait_queue_entry| {
                let list = entry
                    .wrapping_byte_add(core::mem::offset_of!(kbindings::wait_queue_entry, entry))
                    .cast::<kbindings::list_head>();
                // SAFETY: `entry` is valid for writes, and it is pinned.
                unsafe {
                    entry.write(kbindings::wait_queue_entry {
                        flags: 0,
                        private: core::ptr::null_mut(),
                        func: Some(Self::wake),
                        entry: kbindings::list_head {
                            next: list,
                            prev: list,
                        },
                    })
                }
            }),
            counter,
            listen,
        })
    }

    /// What was given to [`Listener::new`].
    pub(crate) fn listen(&self) -> &L {
        &self.listen
    }

    /// Starts to listen and consumes the counter, in one hold of the lock; returns what was consumed.
    ///
    /// A signal before that is in the returned count, one after it is told to [`Listen`]. The
    /// caller must hold a file of the eventfd, or it might miss that there is none left.
    ///
    /// `ready` is called with the lock held when nothing can fail any more, before the first signal is
    /// consumed. It must not sleep.
    ///
    /// EBUSY: somebody consumes this eventfd already (host-wide; KVM's irqfds count).
    pub(crate) fn attach(self: Pin<&Self>, ready: impl FnOnce()) -> Result<Consumed> {
        let mut guard = self.counter.lock();
        if !self.detached(&guard.lock) {
            return Err(EBUSY);
        }
        // SAFETY: The list is empty, so the entry is on no queue; it is pinned, and taken off by
        // `drop` at the latest.
        unsafe { guard.lock.add_exclusive_priority(self.entry.get()) }?;
        ready();
        Ok(Consumed(guard.read()))
    }

    /// Stops listening and consumes the counter, in one hold of the lock; returns what was consumed.
    /// On return [`Listen`] is not being called, nor will it be. Any context but [`Listen`]'s.
    ///
    /// After [`Listener::attach`] each signal is consumed as it comes. So there is something left only
    /// in an EFD_SEMAPHORE eventfd. A listener that is dropped leaves the counter alone.
    ///
    /// # Errors
    ///
    /// ENOENT: it was not attached, or the eventfd has lost its last file.
    pub(crate) fn detach(&self) -> Result<Consumed> {
        let mut guard = self.remove().ok_or(ENOENT)?;
        Ok(Consumed(guard.read()))
    }

    /// Takes the entry off the queue, if it is on it; returns the lock, still held.
    fn remove(&self) -> Option<EventFdGuard<'_>> {
        let guard = self.counter.lock();
        if self.detached(&guard.lock) {
            return None;
        }
        // SAFETY: By the type invariants the entry is on this queue, whose lock is held.
        unsafe { bindings::doorbell_wait_queue_del(self.entry.get()) };
        Some(guard)
    }

    fn detached(&self, _lock: &WaitQueueGuard<'_>) -> bool {
        let entry = self.entry.get();
        // SAFETY: The entry is initialised, and the lock that it changes under is held.
        unsafe { (*entry).entry.next == &raw mut (*entry).entry }
    }

    /// # Safety
    ///
    /// `entry` must be that of an attached listener, and the lock of its queue be held.
    unsafe extern "C" fn wake(
        entry: *mut kbindings::wait_queue_entry,
        _mode: c_uint,
        _flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: The entry is the first field of a pinned `Listener` (`repr(C)`), which is alive:
        // it takes its entry off the queue, under the lock held here, before it goes.
        let this = unsafe { &*entry.cast::<Self>() };
        let mask = key.addr() as u32;
        let mut consumed = 0;

        if mask & kbindings::POLLIN != 0 {
            let mut count = 0;
            // SAFETY: The context is valid and its lock held.
            unsafe {
                bindings::eventfd_ctx_do_read(this.counter.eventfd.0.as_ptr(), &mut count);
            }
            if count != 0 {
                this.listen.signalled(count, mask);
                // After a write of zero to an EFD_SEMAPHORE eventfd there is more room than before,
                // and a writer may be waiting for it.
                //
                // SAFETY: This is the queue's callback for `entry`, which `add_exclusive_priority` has made
                // an exclusive one, and it returns 1. All wake-ups with EPOLLIN are fs/eventfd.c's,
                // which wake one exclusive entry.
                unsafe { this.counter.queue.wake_writers_from_callback(entry) };
                consumed = 1;
            }
        }
        if mask & kbindings::POLLHUP != 0 {
            // SAFETY: It is on the queue, whose lock is held, and the walk that called us has taken
            // note of the next entry already.
            unsafe { bindings::doorbell_wait_queue_del(entry) };
            this.listen.hung_up();
        }
        consumed
    }
}

#[pinned_drop]
impl<L: Listen> PinnedDrop for Listener<L> {
    fn drop(self: Pin<&mut Self>) {
        // Consumes nothing: it could not be delivered any more.
        drop(self.remove());
    }
}
