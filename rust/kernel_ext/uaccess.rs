// SPDX-License-Identifier: GPL-2.0

//! Structures that cross the boundary to userspace.

use kernel::{
    bindings,
    prelude::*,
    transmute::AsBytes,
    uaccess::UserPtr, //
};

/// Allows plain C structures to be copied from and to userspace as bytes.
///
/// All fields are named with their types, and the build fails unless they fill the structure
/// without a hole: through a hole the kernel would leak its stack.
macro_rules! impl_user_abi {
    ($($name:ident { $($field:ident: $ty:ty),+ $(,)? })+) => {$(
        const _: () = {
            assert!(0 $(+ size_of::<$ty>())+ == size_of::<$name>());
            fn _check(value: &$name) -> ($(&$ty,)+) {
                ($(&value.$field,)+)
            }
        };

        // SAFETY: The fields are integers and arrays of integers (they are, or the next line would
        // not build), for which any bytes are good.
        unsafe impl kernel::transmute::FromBytes for $name
        where
            $($ty: kernel::transmute::FromBytes,)+
        {
        }

        // SAFETY: As above, and the sizes of the fields add up to that of the structure, so there
        // is no padding: all bytes are initialised.
        unsafe impl kernel::transmute::AsBytes for $name
        where
            $($ty: kernel::transmute::AsBytes,)+
        {
        }
    )+};
}
pub(crate) use impl_user_abi;

/// Writes `value` to the current process' memory at `at`, if that takes no page fault. Returns true if
/// all of it is written; if not, part of it may be. Any context.
pub(crate) fn write_nofault<T: AsBytes>(at: UserPtr, value: &T) -> bool {
    // SAFETY: The kernel's side is valid for reads of that size, and has no padding; the other side is
    // checked to be userspace's. What cannot be written is reported.
    let failed = unsafe {
        bindings::copy_to_user_nofault(
            at.as_mut_ptr(),
            core::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )
    };
    failed == 0
}

/// The address that a 32-bit caller means.
pub(crate) fn compat_ptr(arg: usize) -> usize {
    // SAFETY: No requirements: it computes an address.
    unsafe { crate::bindings::doorbell_compat_ptr(arg as u32) }
}
