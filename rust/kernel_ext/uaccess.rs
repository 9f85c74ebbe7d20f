// SPDX-License-Identifier: GPL-2.0

//! Copies of structures and addresses between the kernel and userspace.

use kernel::{
    bindings,
    prelude::*,
    transmute::AsBytes,
    uaccess::UserPtr, //
};

/// Allows plain C structures to be copied from and to userspace as bytes.
///
/// All fields are named with their types. The build fails unless they fill the structure without
/// padding: padding would leak the kernel's stack.
macro_rules! impl_user_abi {
    ($($name:ident { $($field:ident: $ty:ty),+ $(,)? })+) => {$(
        const _: () = {
            assert!(0 $(+ size_of::<$ty>())+ == size_of::<$name>());
            fn _check(value: &$name) -> ($(&$ty,)+) {
                ($(&value.$field,)+)
            }
        };

        // SAFETY: The fields are integers and arrays of integers, for which any bytes are valid.
        // Otherwise the bounds below would not build.
        unsafe impl kernel::transmute::FromBytes for $name
        where
            $($ty: kernel::transmute::FromBytes,)+
        {
        }

        // SAFETY: As above. The sizes of the fields add up to that of the structure, so there is no
        // padding: all bytes are initialised.
        unsafe impl kernel::transmute::AsBytes for $name
        where
            $($ty: kernel::transmute::AsBytes,)+
        {
        }
    )+};
}
pub(crate) use impl_user_abi;

/// Writes `value` to the current process' memory at `at`, if that takes no page fault. Any context.
///
/// Returns true if all of it was written. Otherwise part of it may have been written.
pub(crate) fn write_nofault<T: AsBytes>(at: UserPtr, value: &T) -> bool {
    // SAFETY: The kernel's memory is valid for reads of that size, and has no padding. The function
    // checks that the other address is userspace's, and returns an error if it cannot write.
    let failed = unsafe {
        bindings::copy_to_user_nofault(
            at.as_mut_ptr(),
            core::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )
    };
    failed == 0
}

/// Returns the address that `arg` of a 32-bit caller stands for.
pub(crate) fn compat_ptr(arg: usize) -> usize {
    // SAFETY: No requirements: it only computes an address.
    unsafe { crate::bindings::doorbell_compat_ptr(arg as u32) }
}
