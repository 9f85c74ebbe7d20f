// SPDX-License-Identifier: GPL-2.0

//! Objects in pages that userspace can map and read.
//!
//! The kernel uses the objects in place, so userspace sees each change at once and without a copy.
//! Userspace cannot write to them: the mapping is shared and read-only, and stays so. [`Writable`]
//! objects are the exception.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::mmap_pages::MmapPages;
//! use kernel::{mm::virt::VmaNew, sync::{atomic::{Atomic, Relaxed}, Arc}};
//!
//! /// Counters that userspace can map.
//! struct Counters {
//!     pages: Arc<MmapPages<Atomic<u64>>>,
//! }
//!
//! impl Counters {
//!     /// Maps the counters. Call it in an mmap hook.
//!     fn mmap(&self, vma: &VmaNew) -> Result {
//!         self.pages.map(vma)
//!     }
//! }
//!
//! let (pages, objects) = MmapPages::new(8, || Atomic::new(0), GFP_KERNEL)?;
//! for object in objects {
//!     object.store(1u64, Relaxed);
//! }
//! let counters = Counters { pages };
//! ```
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h).

use super::{
    compat::MAYSHARE,
    single_writer_counter::SingleWriterCounter, //
};
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        allocator::Vmalloc,
        flags::__GFP_ZERO,
        Flags, //
    },
    mm::virt::VmaNew,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    }, //
};

/// A type that userspace may read while the kernel uses it.
///
/// # Safety
///
/// Every byte of the type must always be initialised and not secret: no pointers, no padding. A
/// read of an object during a change must return, for each field, a value that the field had.
pub(crate) unsafe trait Visible: Send + Sync {}

// SAFETY: An integer.
unsafe impl Visible for u64 {}
// SAFETY: As above. It is changed by single accesses.
unsafe impl Visible for Atomic<u64> {}
// SAFETY: As above.
unsafe impl Visible for SingleWriterCounter {}
// SAFETY: Arrays have no padding.
unsafe impl<T: Visible, const N: usize> Visible for [T; N] {}

/// A type that userspace may also write to while the kernel uses it.
///
/// # Safety
///
/// Any bytes must be valid at any time, so the type must consist of atomics. Its users must not
/// trust the values.
pub(crate) unsafe trait Writable: Visible {}

// SAFETY: It is an atomic, and any bytes are a valid number. Its users do not trust the number.
unsafe impl Writable for Atomic<u64> {}
// SAFETY: As above.
unsafe impl<T: Writable, const N: usize> Writable for [T; N] {}

/// Returns the offset in the file that `vma` maps, in bytes. Call it in an mmap hook.
pub(crate) fn offset(vma: &VmaNew) -> u64 {
    // SAFETY: The area is valid. This is the mmap hook, so no other thread changes the area.
    let pages = unsafe { (*vma.as_ptr()).vm_pgoff };
    // An offset that saturates is beyond each object that can be mapped.
    (pages as u64).saturating_mul(PAGE_SIZE as u64)
}

/// Objects that fill whole pages.
pub(crate) struct MmapPages<T: Visible>(VVec<T>);

impl<T: Visible> MmapPages<T> {
    /// Allocates pages with `len` objects, which `new` creates. It also creates objects that fill
    /// the rest of the last page.
    ///
    /// Returns the pages, and an iterator over `len` references that keep the pages alive. Process
    /// context.
    pub(crate) fn new(
        len: usize,
        new: impl Fn() -> T,
        flags: Flags,
    ) -> Result<(Arc<Self>, Objects<T>)> {
        const { assert!(size_of::<T>().is_power_of_two() && size_of::<T>() <= PAGE_SIZE) };
        let whole = len
            .checked_next_multiple_of(PAGE_SIZE / size_of::<T>())
            .ok_or(EINVAL)?;
        let mut objects = VVec::with_capacity(whole, flags | __GFP_ZERO)?;
        for _ in 0..whole {
            objects.push(new(), flags)?;
        }
        let pages = Arc::new(Self(objects), flags)?;
        let objects = Objects {
            pages: pages.clone(),
            next: 0,
            len,
        };
        Ok((pages, objects))
    }

    /// Maps the pages to `vma`, from the first object to the end of `vma`, read-only.
    ///
    /// # Context
    ///
    /// Process context, in an mmap hook.
    ///
    /// # Errors
    ///
    /// - EINVAL: the mapping is private, or longer than the pages.
    /// - EACCES: the mapping is for writing or executing.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        self.check(vma)?;
        vma.try_clear_maywrite().map_err(|_| EACCES)?;
        self.insert(vma)
    }

    /// Checks that `vma` is shared and not longer than the pages.
    ///
    /// # Errors
    ///
    /// EINVAL: as of [`MmapPages::map`].
    fn check(&self, vma: &VmaNew) -> Result {
        // A write by a debugger would copy a page of a private mapping, which would then show stale
        // values for ever. (VM_SHARED itself is clear if the file was opened read-only.)
        let private = vma.flags() & MAYSHARE == 0;
        if private || vma.end() - vma.start() > self.0.len() * size_of::<T>() {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Inserts the pages into `vma`. The caller has checked `vma` and its write permission.
    fn insert(&self, vma: &VmaNew) -> Result {
        let len = vma.end() - vma.start();
        vma.try_clear_mayexec().map_err(|_| EACCES)?;
        vma.set_dontexpand();
        let area = vma.set_mixedmap();
        for at in (0..len).step_by(PAGE_SIZE) {
            let address = self.0.as_ptr().cast::<u8>().wrapping_add(at).cast_mut();
            let address = NonNull::new(address).ok_or(EFAULT)?;
            // SAFETY: The address is within the vmalloc allocation that `self` owns. The page
            // reference is not used beyond the lifetime of `self`: the mapping takes a reference of
            // its own to the page.
            let page = unsafe { Vmalloc::to_page(address) };
            area.vm_insert_page(vma.start() + at, &page)?;
        }
        Ok(())
    }
}

impl<T: Writable> MmapPages<T> {
    /// Returns the objects.
    #[inline]
    pub(crate) fn objects(&self) -> &[T] {
        &self.0
    }

    /// Maps the pages like [`MmapPages::map`], but also for writing.
    pub(crate) fn map_writable(&self, vma: &VmaNew) -> Result {
        self.check(vma)?;
        self.insert(vma)
    }
}

/// An iterator that returns each of the objects once.
pub(crate) struct Objects<T: Visible> {
    pages: Arc<MmapPages<T>>,
    next: usize,
    len: usize,
}

impl<T: Visible> Iterator for Objects<T> {
    type Item = SharedObject<T>;

    fn next(&mut self) -> Option<SharedObject<T>> {
        if self.next >= self.len {
            return None;
        }
        let object = NonNull::from(self.pages.0.get(self.next)?);
        self.next += 1;
        // INVARIANT: The object is in `pages`. `next` only grows, so this is its only
        // [`SharedObject`].
        Some(SharedObject {
            object,
            _pages: self.pages.clone(),
        })
    }
}

impl<T: Visible> ExactSizeIterator for Objects<T> {
    fn len(&self) -> usize {
        self.len - self.next
    }
}

/// The kernel's only reference to one of the objects.
///
/// # Invariants
///
/// `object` is in `_pages`, and no other [`SharedObject`] points to it.
pub(crate) struct SharedObject<T: Visible> {
    object: NonNull<T>,
    _pages: Arc<MmapPages<T>>,
}

// SAFETY: It is a reference to a `T`, which is `Sync`, and to the pages that keep the `T` alive.
unsafe impl<T: Visible> Send for SharedObject<T> {}
// SAFETY: As above.
unsafe impl<T: Visible> Sync for SharedObject<T> {}

impl<T: Visible> Deref for SharedObject<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants it is in pages that live as long as `self`. Only shared
        // references to it are ever created.
        unsafe { self.object.as_ref() }
    }
}

/// Implements [`Visible`] for a structure.
///
/// All fields are named with their types. The build fails unless they are [`Visible`] and fill the
/// structure.
macro_rules! impl_visible {
    ($name:ident { $($field:ident: $ty:ty),+ $(,)? }) => {
        const _: () = {
            assert!(0 $(+ size_of::<$ty>())+ == size_of::<$name>());
            fn _check(value: &$name) -> ($(&$ty,)+) {
                ($(&value.$field,)+)
            }
        };

        // SAFETY: The assertion above verifies that there is no padding, and the fields are
        // `Visible`.
        unsafe impl $crate::kernel_ext::mmap_pages::Visible for $name
        where
            $($ty: $crate::kernel_ext::mmap_pages::Visible,)+
        {
        }
    };
}
pub(crate) use impl_visible;
