// SPDX-License-Identifier: GPL-2.0

//! The eventfd of a file descriptor.

// No examples: the module `eventfd` has them.

use super::{
    access::{
        self,
        CAN_PEEK, //
    },
    counter::{
        EventFd,
        EventFdQueue, //
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
        ScopeGuard, //
    }, //
};

/// `READ` of `include/linux/kernel.h`.
const READ: c_int = 0;

/// `FMODE_READ` of `include/linux/fs.h`, a cast that bindgen cannot evaluate.
const FMODE_READ: u32 = 1;

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
    pub(in crate::kernel_ext) fn into_raw(self) -> NonNull<kbindings::file> {
        ManuallyDrop::new(self).0
    }

    /// Does the opposite of [`EventFdFile::into_raw`].
    ///
    /// # Safety
    ///
    /// The pointer must be from that function, and be used once.
    #[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
    pub(in crate::kernel_ext) unsafe fn from_raw(file: NonNull<kbindings::file>) -> Self {
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
