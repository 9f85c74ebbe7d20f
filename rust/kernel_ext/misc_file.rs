// SPDX-License-Identifier: GPL-2.0

//! The open files of a misc device: access to their data, `write` and `poll`.
//!
//! A module that gets a `struct file` from its caller must check that the file is one of its own
//! device before it may use the file's data. KVM compares `f_op` for that (`file_is_kvm()`).
//!
//! [`MiscDevice`] has `write_iter` only. For write(2) and pwrite(2) the kernel then builds an
//! iterator and a `struct kiocb`, which takes 150 instructions. [`WriteFile`] adds `write`, which the
//! kernel prefers for these two calls.
//!
//! It has no `poll`, either: such files cannot be added to an epoll, and poll(2) reports them as always
//! readable. [`PollFile`] adds it.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

// No examples: it needs a complete misc device; see rust/device.rs.

use super::{
    compat::misc_device::operations,
    poll_queue::PollQueue, //
};
use core::marker::PhantomData;
use kernel::{
    bindings::file_operations,
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    },
    uaccess::UserPtr, //
};

/// A misc device whose files have `write` beside `write_iter`.
pub(crate) trait WriteFile: MiscDevice<Ptr = KBox<Self>> + Sync {
    /// Handles write(2) and pwrite(2) of `len` bytes at `from` to the position `pos`, which is at most
    /// [`i64::MAX`]. Returns the number of bytes that were written. Process context.
    fn write(&self, from: UserPtr, len: usize, pos: u64) -> Result<usize>;
}

/// A misc device whose files can be polled.
pub(crate) trait PollFile: MiscDevice<Ptr = KBox<Self>> + Sync {
    /// Returns the queue of the waiters for the file. As it is borrowed from the file's data, it stays as
    /// long as the file. Process context.
    fn poll_queue(&self) -> &PollQueue;

    /// Handles poll(2): returns the events of now, as a mask of EPOLL* bits. The waiters are registered by then:
    /// a change that this does not see wakes them, see [`PollQueue`]. Process context.
    fn poll(&self) -> u32;
}

/// The files of the misc device that `T` implements.
///
/// # Invariants
///
/// `operations` is null, or the file operations of `impl MiscDevice for T` with `write` and `poll` added.
pub(crate) struct MiscFiles<T> {
    operations: Atomic<*mut file_operations>,
    _device: PhantomData<fn(T)>,
}

impl<T: WriteFile + PollFile> MiscFiles<T> {
    /// The file operations.
    const OPERATIONS: &file_operations = &{
        let mut operations = operations::<T>();
        operations.write = Some(Self::write);
        operations.poll = Some(Self::poll);
        operations
    };

    /// Registers waiters, and calls [`PollFile::poll`].
    ///
    /// # Safety
    ///
    /// `file` must be an open file of the device, and `table` null or valid.
    unsafe extern "C" fn poll(
        file: *mut kernel::bindings::file,
        table: *mut kernel::bindings::poll_table_struct,
    ) -> u32 {
        // SAFETY: As in `write`.
        let this = unsafe { &*(*file).private_data.cast::<T>().cast_const() };
        // SAFETY: By the requirements of this function. No poll uses the file position.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: By the requirements of this function. The queue is borrowed from the data, of which
        // there are only shared references until `release` takes it back. By then epoll has removed its
        // entries, and all other waiters had a reference to the file.
        unsafe { this.poll_queue().register(file, table) };
        this.poll()
    }

    /// Calls [`WriteFile::write`].
    ///
    /// # Safety
    ///
    /// `file` must be an open file of the device, and `pos` valid for reads.
    unsafe extern "C" fn write(
        file: *mut kernel::bindings::file,
        from: *const c_char,
        len: usize,
        pos: *mut kernel::bindings::loff_t,
    ) -> isize {
        // SAFETY: By the requirements of this function. `open` has returned, so the data is the
        // pointer that `KBox::<T>::into_foreign()` returned. `release` takes it back after all calls.
        let (this, pos) = unsafe { (&*(*file).private_data.cast::<T>().cast_const(), *pos) };
        // `rw_verify_area()` has refused negative positions.
        match this.write(UserPtr::from_addr(from.addr()), len, pos as u64) {
            Ok(written) => written as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// Creates an object that recognises no file.
    pub(crate) const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            operations: Atomic::new(core::ptr::null_mut()),
            _device: PhantomData,
        }
    }

    /// Gives `file`, which is one of `device`, the operations with `write` and `poll`, and recognises such
    /// files from now on. Call it in [`MiscDevice::open`]. Any context.
    pub(crate) fn recognise(&self, file: &File, device: &MiscDeviceRegistration<T>) {
        let operations = core::ptr::from_ref(Self::OPERATIONS);
        // ORDERING: None: every store has the same value, of a constant; a file reaches other threads only after
        // it.
        // INVARIANT: These operations.
        self.operations.store(operations.cast_mut(), Relaxed);
        // SAFETY: The file is valid, and the device is registered, so that its fields do not change.
        let (current, original) =
            unsafe { (&raw mut (*file.as_ptr()).f_op, (*device.as_raw()).fops) };
        // SAFETY: The pointer is valid, and a volatile access to it is a single one. If the file has
        // the operations of `impl MiscDevice for T`, it may have the new ones: they differ in `write`
        // and `poll` only. They also have the same owner, whose reference `fput()` drops.
        unsafe {
            if current.read_volatile() == original {
                current.write_volatile(operations);
            }
        }
    }

    /// Returns the data of `file`, or [`None`] if it is not a file of the device. Any context.
    ///
    /// It takes an owned reference, which [`MiscDevice::open`] and [`MiscDevice::release`] do not
    /// get: a file has no data before `open` returns, and `release` owns them. Neither may make an
    /// owned reference to its file.
    pub(crate) fn data<'a>(&self, file: &'a ARef<File>) -> Option<&'a T> {
        let raw = file.as_ptr();
        // SAFETY: The file is valid, and the operations of an open file do not change. A thread
        // that has a file of the device got it after `open` had called `recognise`.
        let operations = unsafe { (*raw).f_op };
        // ORDERING: None: the value is an address to compare with.
        if operations.is_null() || operations != self.operations.load(Relaxed).cast_const() {
            return None;
        }
        // SAFETY: By the type invariants the file is one of `T`'s device. The caller has an owned
        // reference, so its `open` has returned. Then `private_data` is the pointer that
        // `KBox::<T>::into_foreign()` returned. Only the last `fput()` takes that back, and `file` owns a
        // reference to the file.
        Some(unsafe { &*(*raw).private_data.cast::<T>().cast_const() })
    }
}
