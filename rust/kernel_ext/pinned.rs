// SPDX-License-Identifier: GPL-2.0

//! Objects that are pinned although their type does not say so.

use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The object in an [`Arc`].
pub(crate) fn pinned<T>(arc: &Arc<T>) -> Pin<&T> {
    // SAFETY: The kernel's `Arc` never moves nor hands out its object, even when it is the last.
    unsafe { Pin::new_unchecked(arc) }
}

/// A fixed number of pinned objects in one allocation.
pub(crate) struct PinnedSlice<T>(Pin<KVBox<[T]>>);

impl<T> PinnedSlice<T> {
    /// One object from each of `inits`. Process context.
    pub(crate) fn new<I: PinInit<T>>(
        mut inits: impl ExactSizeIterator<Item = I>,
        flags: kernel::alloc::Flags,
    ) -> Result<Self> {
        let len = inits.len();
        // `pin_slice()` wants an initialiser whose error can be an allocation's; theirs have none.
        let boxed = KVBox::pin_slice(
            |_| {
                let init = inits.next();
                // SAFETY: The initialiser is passed on as it is, and it cannot fail; if there is
                // none nothing has been written.
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

    /// The object at `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Pin<&T>> {
        // SAFETY: The slice is pinned, so its elements are.
        Some(unsafe { Pin::new_unchecked(self.0.get(index)?) })
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Pin<&T>> {
        self.0.iter().map(|object| {
            // SAFETY: The slice is pinned, so its elements are.
            unsafe { Pin::new_unchecked(object) }
        })
    }
}
