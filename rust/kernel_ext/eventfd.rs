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
//! its counter: by the functions that the kernel exports, or if it exports none, by other means.
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

use super::{
    compat::EOPNOTSUPP,
    wait_queue::{
        Deadline,
        WaitQueue, //
        WaitQueueGuard,
    }, //
};
use crate::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
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
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    },
    types::{
        NotThreadSafe,
        Opaque,
        ScopeGuard, //
    }, //
};

#[cfg_attr(doorbell_eventfd_exports, path = "eventfd/exports.rs")]
#[cfg_attr(not(doorbell_eventfd_exports), path = "eventfd/layout.rs")]
mod access;

pub(crate) use access::CAN_PEEK;

/// `READ` of `include/linux/kernel.h`.
const READ: c_int = 0;

/// `FMODE_READ` of `include/linux/fs.h`, a cast that bindgen cannot evaluate.
const FMODE_READ: u32 = 1;

/// Adds one to the counter of `ctx` and wakes the waiters.
///
/// # Safety
///
/// `ctx` must be valid.
#[inline]
unsafe fn signal_one(ctx: NonNull<bindings::eventfd_ctx>, mask: u32) {
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

/// A reference to the file of an eventfd.
///
/// # Invariants
///
/// The pointer is a file whose operations are those of eventfds, and the object owns a reference to
/// it.
pub(crate) struct EventFdFile(NonNull<kbindings::file>);

impl EventFdFile {
    /// Returns the eventfd that is open as `fd` in the current process (`eventfd_fget()`).
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// - EBADF: `fd` is not open.
    /// - EINVAL: `fd` is not an eventfd.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: No requirements.
        let file = from_err_ptr(unsafe { bindings::eventfd_fget(fd) })?;
        // INVARIANT: `eventfd_fget()` checked the operations and took a reference.
        NonNull::new(file).map(Self).ok_or(EBADF)
    }

    /// Returns the pointer, with the reference.
    #[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
    pub(super) fn into_raw(self) -> NonNull<kbindings::file> {
        ManuallyDrop::new(self).0
    }

    /// Does the opposite of [`EventFdFile::into_raw`].
    ///
    /// # Safety
    ///
    /// The pointer must be from that function, and be used once.
    #[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
    pub(super) unsafe fn from_raw(file: NonNull<kbindings::file>) -> Self {
        // INVARIANT: By the requirements of this function.
        Self(file)
    }

    /// Returns true if there are other references to the file, such as open descriptors.
    #[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: The file is valid.
        unsafe { bindings::doorbell_kunit_is_shared(self.0.as_ptr().cast()) }
    }

    /// Returns a reference to the eventfd itself.
    pub(crate) fn eventfd(&self) -> Result<EventFd> {
        // SAFETY: The file is valid.
        unsafe { EventFd::of_file(self.0) }
    }

    /// Returns a reference to the eventfd and its wait queue.
    pub(crate) fn queue(&self) -> Result<EventFdQueue> {
        // SAFETY: The file is valid.
        unsafe { EventFdQueue::of_file(self.0) }
    }
}

impl Drop for EventFdFile {
    fn drop(&mut self) {
        // SAFETY: The object owns the reference.
        unsafe { kbindings::fput(self.0.as_ptr()) };
    }
}

/// A reference to an eventfd, independent of its files.
///
/// # Invariants
///
/// The pointer is valid, and the object owns a reference to the eventfd.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

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
    unsafe fn of_file(file: NonNull<kbindings::file>) -> Result<Self> {
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
    queue: WaitQueue,
    eventfd: EventFd,
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
    unsafe fn of_file(file: NonNull<kbindings::file>) -> Result<Self> {
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
    /// the counter stops at its maximum, as after so many calls of [`EventFd::signal`]. Does nothing if
    /// `count` is zero.
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

/// The operations of all eventfds' files, once one of these files has shown that `private_data` is the
/// eventfd's context, and that its queue is where `access` finds it in a context. Both hold for all of
/// them, because fs/eventfd.c has one constructor of such files.
static KNOWN_OPERATIONS: Atomic<usize> = Atomic::new(0);

/// An eventfd that is open in the current process, for use in the current system call.
///
/// It avoids the references that [`EventFdFile::queue`] counts.
///
/// # Invariants
///
/// `fd` is the result of a `fdget()` in this system call, and its file is an eventfd's. `queue` is the
/// queue of that eventfd. It owns its reference if `counted` is true; otherwise the file keeps the
/// eventfd.
pub(crate) struct LocalEventFd {
    fd: c_ulong,
    file: NonNull<kbindings::file>,
    queue: ManuallyDrop<EventFdQueue>,
    counted: bool,
    // The descriptor table is the current task's.
    _not_send: NotThreadSafe,
}

impl LocalEventFd {
    /// Returns the eventfd that is open as `fd` in the current process.
    ///
    /// The result must not outlive the file descriptor. No safe function closes one of the current
    /// process, and a process with other threads gets a counted reference.
    ///
    /// # Context
    ///
    /// Process context, in a system call.
    ///
    /// # Errors
    ///
    /// - EBADF: `fd` is not open.
    /// - EINVAL: `fd` is not an eventfd.
    #[inline]
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: No requirements. The object is dropped before the system call ends.
        let fd = ScopeGuard::new_with_data(unsafe { bindings::doorbell_fdget(fd) }, |fd| {
            // SAFETY: The result of `fdget()`, which nothing else owns. Zero is a valid argument.
            unsafe { bindings::doorbell_fdput(fd) }
        });
        // SAFETY: No requirements.
        let file = NonNull::new(unsafe { bindings::doorbell_fd_file(*fd) }).ok_or(EBADF)?;
        // SAFETY: The file is valid, and its operations and private data do not change.
        let (operations, data) = unsafe { ((*file.as_ptr()).f_op, (*file.as_ptr()).private_data) };
        // ORDERING: Pairs with the store in `LocalEventFd::counted_queue`: the checks that the context has
        // passed come before.
        let known = NonNull::new(data)
            .filter(|_| CAN_PEEK && operations.addr() == KNOWN_OPERATIONS.load(Acquire));
        // SAFETY: The file is an eventfd's, `data` its context, and the queue is there: see
        // `KNOWN_OPERATIONS`. The file keeps the context.
        let known = known.and_then(|data| unsafe {
            access::queue_of_context(data.cast()).map(|queue| (queue, EventFd(data.cast())))
        });
        let (queue, counted) = match known {
            // INVARIANT: The queue is the eventfd's. The result drops no reference to the eventfd.
            Some((queue, eventfd)) => (EventFdQueue { queue, eventfd }, false),
            // SAFETY: The file is valid.
            None => (unsafe { Self::counted_queue(file) }?, true),
        };
        // INVARIANT: As above.
        Ok(Self {
            fd: fd.dismiss(),
            file,
            queue: ManuallyDrop::new(queue),
            counted,
            _not_send: NotThreadSafe,
        })
    }

    /// Does the same as [`EventFdQueue::of_file`], and sets [`KNOWN_OPERATIONS`] if it can.
    ///
    /// # Safety
    ///
    /// The file must be valid.
    #[inline(never)]
    unsafe fn counted_queue(file: NonNull<kbindings::file>) -> Result<EventFdQueue> {
        // SAFETY: By the requirements of this function. The operations and the private data of a file
        // do not change.
        let (queue, operations, data) = unsafe {
            (
                EventFdQueue::of_file(file)?,
                (*file.as_ptr()).f_op,
                (*file.as_ptr()).private_data,
            )
        };
        // SAFETY: The context is valid, and the result is only compared.
        let found = unsafe { access::queue_of_context(queue.eventfd.0) };
        if found.map(|found| found.addr()) == Some(queue.queue.addr())
            && queue.eventfd.id() == data.addr()
        {
            // ORDERING: Pairs with the load in `LocalEventFd::from_fd`.
            KNOWN_OPERATIONS.store(operations.addr(), Release);
        }
        Ok(queue)
    }

    /// Checks that the caller may read the file now. It does the checks of read(2), among them the
    /// LSMs'.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// - EBADF: the file is not open for reading.
    /// - The error of an LSM, for instance EACCES.
    pub(crate) fn check_readable(&self) -> Result {
        // SAFETY: The file is valid, and its mode does not change.
        if unsafe { (*self.file.as_ptr()).f_mode } & FMODE_READ == 0 {
            return Err(EBADF);
        }
        // SAFETY: The file is valid, and a stream needs no position.
        to_result(unsafe {
            kbindings::rw_verify_area(
                READ,
                self.file.as_ptr(),
                core::ptr::null(),
                size_of::<u64>(),
            )
        })
    }

    /// Returns true if O_NONBLOCK is set.
    pub(crate) fn nonblocking(&self) -> bool {
        // SAFETY: The file is valid, and eventfds do not use the file position.
        let file = unsafe { File::from_raw_file(self.file.as_ptr()) };
        file.flags() & O_NONBLOCK != 0
    }

    /// Returns the eventfd's queue.
    pub(crate) fn queue(&self) -> &EventFdQueue {
        &self.queue
    }
}

impl Drop for LocalEventFd {
    #[inline]
    fn drop(&mut self) {
        if self.counted {
            // SAFETY: By the type invariants, the object owns the reference, and it is not used again.
            unsafe { ManuallyDrop::drop(&mut self.queue) };
        }
        // SAFETY: By the type invariants.
        unsafe { bindings::doorbell_fdput(self.fd) };
    }
}

/// Proof that an eventfd's counter is locked.
pub(crate) struct EventFdGuard<'a> {
    queue: &'a EventFdQueue,
    lock: WaitQueueGuard<'a>,
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

/// A count that was consumed from an eventfd's counter. There is no other record of it: dropping it
/// loses the signals.
#[must_use = "the consumed count must be delivered"]
pub(crate) struct Consumed(u64);

impl Consumed {
    /// Calls `f` if the count is not zero.
    pub(crate) fn deliver(self, f: impl FnOnce()) {
        if self.0 != 0 {
            f();
        }
    }
}

/// The callbacks of a [`Listener`].
pub(crate) trait Listen: Send + Sync + 'static {
    /// Handles a signal. `count` was consumed from the counter, and is not zero. `mask` is the key
    /// of the wake-up: EPOLLIN and the mask that was passed to [`EventFd::signal`].
    ///
    /// # Context
    ///
    /// Called with the eventfd's wait-queue lock held and interrupts off (on PREEMPT_RT: with the
    /// lock held). `eventfd_signal_allowed()` is false. The callback must neither sleep nor signal
    /// an eventfd.
    fn signalled(&self, count: u64, mask: u32);

    /// Handles the close of the eventfd's last file. The listener has been removed and is not
    /// called again.
    ///
    /// # Context
    ///
    /// As of [`Listen::signalled`].
    fn hung_up(&self);
}

/// A callback for an eventfd's signals, and the eventfd's only consumer.
///
/// # Invariants
///
/// `entry` is on the wait queue of `queue`, or its list is empty. It changes only while the queue's
/// lock is held.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Listener<L: Listen> {
    #[pin]
    entry: Opaque<kbindings::wait_queue_entry>,
    queue: EventFdQueue,
    listen: L,
}

// SAFETY: All fields may move between threads. The entry is accessed only under the queue's lock.
unsafe impl<L: Listen> Send for Listener<L> {}
// SAFETY: As above.
unsafe impl<L: Listen> Sync for Listener<L> {}

impl<L: Listen> Listener<L> {
    /// Creates an initialiser for a listener that is not attached yet.
    pub(crate) fn new(queue: EventFdQueue, listen: L) -> impl PinInit<Self> {
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
            queue,
            listen,
        })
    }

    /// Returns the callbacks that were passed to [`Listener::new`].
    pub(crate) fn listen(&self) -> &L {
        &self.listen
    }

    /// Starts to listen and consumes the counter in one critical section. Returns the consumed
    /// count.
    ///
    /// The returned count includes each earlier signal. Each later signal is passed to [`Listen`].
    /// The caller must own a reference to a file of the eventfd: otherwise it might miss the close
    /// of the last file.
    ///
    /// `ready` is called when nothing can fail any more, in the same critical section: before
    /// [`Listen`] is called, and before the consumed count is returned. It must not sleep.
    ///
    /// # Errors
    ///
    /// EBUSY: the eventfd has a consumer. The check is host-wide and includes KVM's irqfds.
    pub(crate) fn attach(self: Pin<&Self>, ready: impl FnOnce()) -> Result<Consumed> {
        let mut guard = self.queue.lock();
        if !self.detached(&guard.lock) {
            return Err(EBUSY);
        }
        // SAFETY: The lock is that of the context's queue. The list is empty, so the entry is on no
        // queue. It is pinned, and removed by `drop` at the latest.
        let count = unsafe {
            access::add_consumer(self.queue.eventfd.0, &mut guard.lock, self.entry.get())
        }?;
        ready();
        Ok(Consumed(count))
    }

    /// Stops listening and consumes the counter in one critical section. Returns the consumed
    /// count. On return no [`Listen`] callback is running, and none will be called.
    ///
    /// After [`Listener::attach`] each signal is consumed when it arrives. So only an EFD_SEMAPHORE
    /// eventfd can have a count left. Dropping a listener does not change the counter.
    ///
    /// # Context
    ///
    /// Any context but that of a [`Listen`] callback.
    ///
    /// # Errors
    ///
    /// ENOENT: the listener was not attached, or the last file of the eventfd was closed.
    pub(crate) fn detach(&self) -> Result<Consumed> {
        let mut guard = self.remove().ok_or(ENOENT)?;
        Ok(Consumed(guard.read()))
    }

    /// Removes the entry from the queue, if it is queued. Then it returns the lock, still held.
    fn remove(&self) -> Option<EventFdGuard<'_>> {
        let guard = self.queue.lock();
        if self.detached(&guard.lock) {
            return None;
        }
        // SAFETY: By the type invariants the entry is on this queue, whose lock is held.
        unsafe { bindings::doorbell_wait_queue_del(self.entry.get()) };
        Some(guard)
    }

    fn detached(&self, _lock: &WaitQueueGuard<'_>) -> bool {
        let entry = self.entry.get();
        // SAFETY: The entry is initialised, and the lock that protects it is held.
        unsafe { (*entry).entry.next == &raw mut (*entry).entry }
    }

    /// Handles a wake-up of the queue.
    ///
    /// # Safety
    ///
    /// `entry` must be that of an attached listener, and the lock of its queue must be held.
    unsafe extern "C" fn wake(
        entry: *mut kbindings::wait_queue_entry,
        _mode: c_uint,
        _flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: The entry is the first field of a pinned `Listener` (`repr(C)`). The `Listener`
        // is alive: before it is freed, it removes its entry from the queue, under the lock that is
        // held here.
        let this = unsafe { &*entry.cast::<Self>() };
        let mask = key.addr() as u32;
        let mut consumed = 0;

        if mask & kbindings::POLLIN != 0 {
            let mut count = 0;
            // SAFETY: The context is valid, and its lock is held.
            unsafe {
                bindings::eventfd_ctx_do_read(this.queue.eventfd.0.as_ptr(), &mut count);
            }
            if count != 0 {
                this.listen.signalled(count, mask);
                // After a write of zero to an EFD_SEMAPHORE eventfd the counter is lower than
                // before, and a writer may be waiting for that.
                //
                // SAFETY: The lock is held. This is the queue's callback for `entry`, which `add_consumer`
                // has made an exclusive one, and the callback returns 1. All wake-ups with EPOLLIN are
                // those of fs/eventfd.c, which wake one exclusive entry. So the wake-up ends with
                // `entry`, and does not use the next entry, which this may remove from the queue.
                unsafe {
                    if this.queue.queue.has_next(entry) {
                        access::wake_writers(this.queue.eventfd.0, this.queue.queue);
                    }
                }
                consumed = 1;
            }
        }
        if mask & kbindings::POLLHUP != 0 {
            // SAFETY: The entry is that of `this`. It is on the queue, whose lock is held. The caller,
            // which walks the queue, has loaded the next entry already.
            unsafe { this.hang_up(entry) };
        }
        consumed
    }

    /// Handles the close of the eventfd's last file.
    ///
    /// # Safety
    ///
    /// `entry` must be that of `self`, and be on the queue, whose lock is held.
    #[cold]
    unsafe fn hang_up(&self, entry: *mut kbindings::wait_queue_entry) {
        // SAFETY: By the requirements of this function.
        unsafe { bindings::doorbell_wait_queue_del(entry) };
        self.listen.hung_up();
    }
}

#[pinned_drop]
impl<L: Listen> PinnedDrop for Listener<L> {
    fn drop(self: Pin<&mut Self>) {
        // Consumes nothing: the count could not be delivered any more.
        drop(self.remove());
    }
}
