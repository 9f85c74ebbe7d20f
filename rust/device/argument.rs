// SPDX-License-Identifier: GPL-2.0

//! The structures that are the arguments of ioctls.

use crate::kernel_ext::uaccess::read_words;
use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// The address of the structure that is an ioctl's argument.
pub(crate) struct Argument(pub(super) UserPtr);

impl Argument {
    /// Reads the structure. Process context.
    ///
    /// # Errors
    ///
    /// EFAULT: it cannot be read.
    pub(crate) fn read<T: FromBytes>(&self) -> Result<T> {
        UserSlice::new(self.0, size_of::<T>()).reader().read()
    }

    /// Reads a structure whose size is a multiple of eight, faster than [`Argument::read`].
    ///
    /// # Errors
    ///
    /// EFAULT: it cannot be read.
    pub(super) fn read_words<T: FromBytes>(&self) -> Result<T> {
        read_words(self.0)
    }

    /// Writes the structure. Process context.
    ///
    /// # Errors
    ///
    /// EFAULT: it cannot be written.
    pub(crate) fn write<T: AsBytes>(&self, value: &T) -> Result {
        UserSlice::new(self.0, size_of::<T>()).writer().write(value)
    }

    /// Returns the address of the field at `offset`.
    pub(super) fn field(&self, offset: usize) -> UserPtr {
        self.0.wrapping_byte_add(offset)
    }
}

/// Returns EINVAL unless all fields are zero.
pub(crate) fn check_reserved(fields: &[u32]) -> Result {
    if fields.iter().any(|&field| field != 0) {
        return Err(EINVAL);
    }
    Ok(())
}

/// Returns EINVAL if a flag is set that is not in `known`.
pub(crate) fn check_flags(flags: u32, known: u32) -> Result {
    if flags & !known != 0 {
        return Err(EINVAL);
    }
    Ok(())
}
