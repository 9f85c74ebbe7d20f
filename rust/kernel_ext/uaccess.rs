// SPDX-License-Identifier: GPL-2.0

//! Copies of structures and addresses between the kernel and userspace.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::uaccess::{read_value, write_u64};
//! use kernel::uaccess::UserPtr;
//!
//! /// Doubles a number of userspace.
//! fn double(at: UserPtr) -> Result {
//!     write_u64(at, read_value(at, size_of::<u64>())? * 2)
//! }
//! ```

use crate::bindings;
use core::mem::MaybeUninit;
use kernel::{
    bindings as kbindings,
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSliceReader, //
    }, //
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

/// Reads `value` from userspace, without the copy that `UserSliceReader::read` makes. Process context.
///
/// # Errors
///
/// EFAULT: it cannot be read. Part of `value` may have changed.
#[inline]
pub(crate) fn read_in_place<T, const N: usize>(
    reader: &mut UserSliceReader,
    values: &mut [T; N],
) -> Result
where
    [T; N]: AsBytes + FromBytes,
{
    reader.read_slice(values.as_bytes_mut())
}

/// Returns the value of `size` bytes at `from` in the current process' memory. Process context.
///
/// # Errors
///
/// EINVAL: `size` is not 1, 2, 4 or 8. EFAULT: it cannot be read.
#[inline]
pub(crate) fn read_value(from: UserPtr, size: usize) -> Result<u64> {
    let mut value = MaybeUninit::uninit();
    // SAFETY: `value` is valid for writes. The function checks that the other address is userspace's.
    let error =
        unsafe { bindings::doorbell_get_value(value.as_mut_ptr(), from.as_const_ptr(), size) };
    if error != 0 {
        return Err(Error::from_errno(error));
    }
    // SAFETY: The function has succeeded, so it has written the value.
    Ok(unsafe { value.assume_init() })
}

/// Reads a structure of a few words from the current process' memory. It is several times faster than
/// `UserSlice`. Process context.
///
/// # Errors
///
/// EFAULT: it cannot be read.
pub(crate) fn read_words<T: FromBytes>(from: UserPtr) -> Result<T> {
    const {
        assert!(size_of::<T>() % size_of::<u64>() == 0 && align_of::<T>() >= align_of::<u64>());
    }
    let mut value = MaybeUninit::<T>::uninit();
    let words = (size_of::<T>() / size_of::<u64>()) as u32;
    let to = value.as_mut_ptr().cast::<u64>();
    // SAFETY: `to` is valid for writes of that many words, and aligned. The function checks that the
    // other address is userspace's.
    if !unsafe { bindings::doorbell_get_user_words(to, from.as_const_ptr(), words) } {
        return Err(EFAULT);
    }
    // SAFETY: All words have been written, and any bytes are a valid value.
    Ok(unsafe { value.assume_init() })
}

/// States if a function may take a page fault when it accesses the process' memory.
#[derive(Clone, Copy)]
pub(crate) enum PageFault {
    Allowed,
    Forbidden,
}

/// Writes two adjacent fields to the current process' memory at `at`. Process context.
///
/// # Errors
///
/// EFAULT: they cannot be written. Then the first field may have been written.
pub(crate) fn write_pair(at: UserPtr, first: u32, second: u64) -> Result {
    // SAFETY: The function checks that the address is userspace's.
    if unsafe { bindings::doorbell_put_user_pair(at.as_mut_ptr(), first, second) } {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// Does the same as [`write_pair`], if that takes no page fault. Returns true if both fields were
/// written. Any context.
pub(crate) fn write_pair_nofault(at: UserPtr, first: u32, second: u64) -> bool {
    // SAFETY: The function checks that the address is userspace's, and returns false if it cannot
    // write.
    unsafe { bindings::doorbell_put_user_pair_nofault(at.as_mut_ptr(), first, second) }
}

/// Writes a number to the current process' memory at `at`. Process context.
///
/// # Errors
///
/// EFAULT: it cannot be written. Then part of it may have been written.
pub(crate) fn write_u64(at: UserPtr, value: u64) -> Result {
    // SAFETY: The function checks that the address is userspace's.
    if unsafe { bindings::doorbell_put_user_u64(at.as_mut_ptr(), value) } {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// Writes `value` to the current process' memory at `at`, if that takes no page fault. Any context.
///
/// Returns true if all of it was written. Otherwise part of it may have been written.
pub(crate) fn write_nofault<T: AsBytes>(at: UserPtr, value: &T) -> bool {
    // SAFETY: The kernel's memory is valid for reads of that size, and has no padding. The function
    // checks that the other address is userspace's, and returns an error if it cannot write.
    let failed = unsafe {
        kbindings::copy_to_user_nofault(
            at.as_mut_ptr(),
            core::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )
    };
    failed == 0
}

/// Returns the address that `arg` of a 32-bit caller stands for.
#[cfg(CONFIG_COMPAT)]
pub(crate) fn compat_ptr(arg: usize) -> usize {
    // SAFETY: No requirements: it only computes an address.
    unsafe { bindings::doorbell_compat_ptr(arg as u32) }
}
