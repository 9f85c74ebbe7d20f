// SPDX-License-Identifier: GPL-2.0

//! Objects that are pinned although their type does not say so.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::pinned::{pinned, PinnedSlice};
//! use kernel::{new_mutex, sync::{Arc, Mutex}};
//!
//! let mutexes = PinnedSlice::new((0..8).map(|number| new_mutex!(number)), GFP_KERNEL)?;
//! let total: i32 = mutexes.iter().map(|mutex| *mutex.get_ref().lock()).sum();
//!
//! let shared = Arc::pin_init(new_mutex!(total), GFP_KERNEL)?;
//! let mutex: Pin<&Mutex<i32>> = pinned(&shared);
//! ```

use super::{
    compat::raw_init,
    nospec, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Returns the object in an [`Arc`] as a pinned one.
pub(crate) fn pinned<T>(arc: &Arc<T>) -> Pin<&T> {
    // SAFETY: The kernel's `Arc` never moves its object, nor moves it out, even if it is the last
    // reference.
    unsafe { Pin::new_unchecked(arc) }
}

/// A fixed number of pinned objects in one allocation.
pub(crate) struct PinnedSlice<T>(Pin<KVBox<[T]>>);

impl<T> PinnedSlice<T> {
    /// Creates an object from each of `inits`. Process context.
    pub(crate) fn new<I: PinInit<T>>(
        mut inits: impl ExactSizeIterator<Item = I>,
        flags: kernel::alloc::Flags,
    ) -> Result<Self> {
        let len = inits.len();
        // `pin_slice()` needs an initialiser whose error type includes allocation errors. These
        // initialisers have no error.
        let boxed = KVBox::pin_slice(
            |_| {
                let init = inits.next();
                // SAFETY: The initialiser is passed on unchanged, and cannot fail. If there is
                // none, nothing has been written.
                unsafe {
                    pin_init::pin_init_from_closure(move |slot| -> Result {
                        raw_init(slot, init.ok_or(EINVAL)?);
                        Ok(())
                    })
                }
            },
            len,
            flags,
        )?;
        Ok(Self(boxed))
    }

    /// Returns the object at `index`, which may be userspace's.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Pin<&T>> {
        // SAFETY: The slice is pinned, so its elements are.
        Some(unsafe { Pin::new_unchecked(nospec::get(&self.0, index)?) })
    }

    /// Returns the `len` objects from the index `first` on, or [`None`] if there are less. The numbers may be
    /// userspace's.
    #[inline]
    pub(crate) fn part(&self, first: usize, len: usize) -> Option<PinnedPart<'_, T>> {
        // INVARIANT: The slice is pinned, so its elements are.
        Some(PinnedPart(nospec::part(&self.0, first, len)?))
    }

    /// Returns the number of objects.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns an iterator over all objects.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Pin<&T>> {
        // INVARIANT: As in `part`.
        PinnedPart(&self.0).iter()
    }
}

/// Adjacent objects of a [`PinnedSlice`].
///
/// # Invariants
///
/// The objects are pinned.
pub(crate) struct PinnedPart<'a, T>(&'a [T]);

impl<'a, T> PinnedPart<'a, T> {
    /// Returns the first `len` objects, or all if there are less, and the rest.
    #[inline(always)]
    pub(crate) fn split_at_most(self, len: usize) -> (Self, Self) {
        let (first, rest) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        // INVARIANT: They are among the objects of `self`.
        (Self(first), Self(rest))
    }

    /// Returns true if there are no objects.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns an iterator over the objects.
    #[inline(always)]
    pub(crate) fn iter(self) -> impl Iterator<Item = Pin<&'a T>> {
        self.0.iter().map(|object| {
            // SAFETY: By the type invariants the object is pinned.
            unsafe { Pin::new_unchecked(object) }
        })
    }
}
