// SPDX-License-Identifier: GPL-2.0

//! A vector that is cheap to drop while it has no memory.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::lazy_vec::LazyVec;
//!
//! // Many of these are dropped without a call if they are empty.
//! let mut ids = LazyVec::new();
//! ids.push(1, GFP_KERNEL)?;
//! assert!(ids.contains(&1));
//! ```

use core::{
    mem::ManuallyDrop,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::prelude::*;

/// A [`KVec`]. Dropping a [`KVec`] calls the allocator even if it has no memory. A context has up to
/// 65,536 such vectors of lines, most of which never get an element.
///
/// # Invariants
///
/// The vector is dropped by nothing but the `drop` of this type.
pub(crate) struct LazyVec<T>(ManuallyDrop<KVec<T>>);

impl<T> LazyVec<T> {
    /// Creates an empty vector without memory.
    pub(crate) const fn new() -> Self {
        Self(ManuallyDrop::new(KVec::new()))
    }
}

impl<T> Deref for LazyVec<T> {
    type Target = KVec<T>;

    #[inline(always)]
    fn deref(&self) -> &KVec<T> {
        &self.0
    }
}

impl<T> DerefMut for LazyVec<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut KVec<T> {
        &mut self.0
    }
}

impl<T> Drop for LazyVec<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.capacity() != 0 {
            // SAFETY: By the type invariants it was not dropped before, and it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
