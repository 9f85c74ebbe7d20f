// SPDX-License-Identifier: GPL-2.0

//! Access to the data of a misc device's open files.
//!
//! A module that gets a `struct file` from its caller must check that the file is one of its own
//! device before it may use the file's data. KVM compares `f_op` for that (`file_is_kvm()`).
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

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
    }, //
};

/// The files of the misc device that `T` implements.
///
/// # Invariants
///
/// `operations` is null, or the file operations of `impl MiscDevice for T`.
pub(crate) struct MiscFiles<T> {
    operations: Atomic<*mut file_operations>,
    _device: PhantomData<fn(T)>,
}

impl<T: MiscDevice<Ptr = KBox<T>>> MiscFiles<T> {
    /// Creates an object that recognises no file.
    pub(crate) const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            operations: Atomic::new(core::ptr::null_mut()),
            _device: PhantomData,
        }
    }

    /// Recognises the files of `device` from now on. Call it in [`MiscDevice::open`]. Any context.
    pub(crate) fn recognise(&self, device: &MiscDeviceRegistration<T>) {
        // SAFETY: The device is registered, so its fields do not change.
        let operations = unsafe { (*device.as_raw()).fops };
        // INVARIANT: A registration of `T` has the operations of `impl MiscDevice for T`.
        self.operations.store(operations.cast_mut(), Relaxed);
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
        if operations.is_null() || operations != self.operations.load(Relaxed).cast_const() {
            return None;
        }
        // SAFETY: By the type invariants the operations are those of `impl MiscDevice for T`. The
        // caller has an owned reference, so its `open` has returned. Then `private_data` is the
        // pointer that `KBox::<T>::into_foreign()` returned. Only the last `fput()` takes that back,
        // and `file` owns a reference to the file.
        Some(unsafe { &*(*raw).private_data.cast::<T>().cast_const() })
    }
}
