// SPDX-License-Identifier: GPL-2.0

//! Misc devices whose open files keep the module loaded.
// begin out of tree
//!
//! Linux 7.3 sets the owner of a misc device's file operations. Linux 7.2 sets none: the module could
//! be removed while a file is open, and the next call of the file would run freed code.
// end out of tree
//!
//! This file uses no other file, so that a sample can include it.

// No examples: samples/ring_rust uses it.

use kernel::{
    bindings::file_operations,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions, //
    },
};

// begin out of tree
#[cfg(doorbell_linux_7_2)]
pub(crate) use self::owned::Registration;
#[cfg(not(doorbell_linux_7_2))]
// end out of tree
pub(crate) use kernel::miscdevice::MiscDeviceRegistration as Registration;

/// Returns the file operations of `impl MiscDevice for T`. Their owner is this module.
pub(crate) const fn operations<T: MiscDevice>() -> file_operations {
    let device = MiscDeviceOptions { name: c"" }.into_raw::<T>();
    // begin out of tree
    // SAFETY: The operations are a constant.
    let operations = unsafe { *device.fops };
    #[cfg(doorbell_linux_7_2)]
    let operations = file_operations {
        owner: crate::THIS_MODULE.as_ptr(),
        ..operations
    };
    operations
    // end out of tree
    // in tree: // SAFETY: The operations are a constant.
    // in tree: unsafe { *device.fops }
}
// begin out of tree

#[cfg(doorbell_linux_7_2)]
mod owned {
    use super::operations;
    use core::marker::PhantomData;
    use kernel::{
        bindings::{
            file_operations,
            misc_deregister,
            misc_register,
            miscdevice, //
        },
        error::to_result,
        miscdevice::{
            MiscDevice,
            MiscDeviceOptions, //
        },
        prelude::*,
        types::Opaque, //
    };

    /// A registration as [`MiscDeviceRegistration`], with an owner of the file operations.
    ///
    /// # Invariants
    ///
    /// `device` is registered from the initialisation to the drop.
    ///
    /// [`MiscDeviceRegistration`]: kernel::miscdevice::MiscDeviceRegistration
    #[pin_data(PinnedDrop)]
    pub(crate) struct Registration<T: MiscDevice> {
        #[pin]
        device: Opaque<miscdevice>,
        _files: PhantomData<fn(T)>,
    }

    // SAFETY: `misc_deregister()` may be called on another thread than `misc_register()`.
    unsafe impl<T: MiscDevice> Send for Registration<T> {}
    // SAFETY: A shared reference gives access to nothing.
    unsafe impl<T: MiscDevice> Sync for Registration<T> {}

    impl<T: MiscDevice> Registration<T> {
        const OPERATIONS: &file_operations = &operations::<T>();

        /// Registers a misc device. Process context.
        pub(crate) fn register(options: MiscDeviceOptions) -> impl PinInit<Self, Error> {
            let mut raw = options.into_raw::<T>();
            raw.fops = Self::OPERATIONS;
            try_pin_init!(Self {
                // INVARIANT: It is registered, or there is no object.
                device <- Opaque::try_ffi_init(move |slot: *mut miscdevice| {
                    // SAFETY: `slot` is valid for writes, and stays where it is until `drop`, which ends
                    // the registration. The operations find the device by `struct miscdevice`,
                    // which is all that the kernel's type consists of.
                    to_result(unsafe {
                        slot.write(raw);
                        misc_register(slot)
                    })
                }),
                _files: PhantomData,
            })
        }
    }

    #[pinned_drop]
    impl<T: MiscDevice> PinnedDrop for Registration<T> {
        fn drop(self: Pin<&mut Self>) {
            // SAFETY: By the type invariants it is registered.
            unsafe { misc_deregister(self.device.get()) };
        }
    }
}
// end out of tree
