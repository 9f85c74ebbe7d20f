// SPDX-License-Identifier: GPL-2.0

//! Objects that are pinned although their type does not say so.

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
                        pin_init::raw_init(slot, init.ok_or(EINVAL)?);
                        Ok(())
                    })
                }
            },
            len,
            flags,
        )?;
        Ok(Self(boxed))
    }

    /// Returns the object at `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Pin<&T>> {
        // SAFETY: The slice is pinned, so its elements are.
        Some(unsafe { Pin::new_unchecked(self.0.get(index)?) })
    }

    /// Returns an iterator over the `len` objects from the index `first` on, or [`None`] if there are
    /// less.
    #[inline]
    pub(crate) fn range(
        &self,
        first: usize,
        len: usize,
    ) -> Option<impl ExactSizeIterator<Item = Pin<&T>>> {
        let objects = self.0.get(first..first.checked_add(len)?)?;
        Some(objects.iter().map(|object| {
            // SAFETY: The slice is pinned, so its elements are.
            unsafe { Pin::new_unchecked(object) }
        }))
    }

    /// Returns the number of objects.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns an iterator over all objects.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Pin<&T>> {
        self.0.iter().map(|object| {
            // SAFETY: The slice is pinned, so its elements are.
            unsafe { Pin::new_unchecked(object) }
        })
    }
}
