// SPDX-License-Identifier: GPL-2.0

//! Objects in pages that userspace may map to look at them.
//!
//! The kernel works with the objects in place, so what userspace sees is never late and costs
//! nothing. It can never write to them, because the mapping is shared and read-only, and stays so;
//! except to those ([`Writable`]) that are made for it.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h).

use super::single_writer_counter::SingleWriterCounter;
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
    mm::virt::{
        flags::MAYSHARE,
        VmaNew, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    }, //
};

/// What userspace may look at, while it is in use.
///
/// # Safety
///
/// Every byte of the type is always initialised, and none of them is a secret: no pointers, no
/// padding. Whoever reads an object while it is changed gets, for each field, a value that it had.
pub(crate) unsafe trait Visible: Send + Sync {}

// SAFETY: An integer.
unsafe impl Visible for u64 {}
// SAFETY: As above; changed by single accesses.
unsafe impl Visible for Atomic<u64> {}
// SAFETY: As above.
unsafe impl Visible for SingleWriterCounter {}
// SAFETY: Arrays have no padding.
unsafe impl<T: Visible, const N: usize> Visible for [T; N] {}

/// What userspace may even write to, while it is in use.
///
/// # Safety
///
/// Any bytes are good, at any time: nothing but atomics, and whoever uses them does not trust what
/// they say.
pub(crate) unsafe trait Writable: Visible {}

// SAFETY: As the trait wants it. What a number means is up to who reads it.
unsafe impl Writable for Atomic<u64> {}
// SAFETY: As above.
unsafe impl<T: Writable, const N: usize> Writable for [T; N] {}

/// Where in the file `vma` maps, in bytes. In an mmap hook.
pub(crate) fn offset(vma: &VmaNew) -> u64 {
    // SAFETY: The area is valid, and this is the mmap hook, so nobody changes it.
    let pages = unsafe { (*vma.as_ptr()).vm_pgoff };
    // Beyond what a number holds nobody has anything to map.
    (pages as u64).saturating_mul(PAGE_SIZE as u64)
}

/// Objects in whole pages.
pub(crate) struct MmapPages<T: Visible>(VVec<T>);

impl<T: Visible> MmapPages<T> {
    /// `len` objects, made by `new`; more, as many as there is room for in the last page.
    ///
    /// Returns the pages, and the objects as references that keep them. Process context.
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

    /// Maps the pages to `vma`, from the first object on and as far as it goes. In an mmap hook.
    ///
    /// EINVAL: private, or longer than the pages. EACCES: to write or execute.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        self.check(vma)?;
        vma.try_clear_maywrite().map_err(|_| EACCES)?;
        self.insert(vma)
    }

    /// EINVAL: as of [`MmapPages::map`].
    fn check(&self, vma: &VmaNew) -> Result {
        // A private one would be copied on a debugger's write, and then show the past for ever.
        // (VM_SHARED itself is gone if the file was opened to read only.)
        let private = vma.flags() & MAYSHARE == 0;
        if private || vma.end() - vma.start() > self.0.len() * size_of::<T>() {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// What [`MmapPages::map`] does once it is known what userspace may do.
    fn insert(&self, vma: &VmaNew) -> Result {
        let len = vma.end() - vma.start();
        vma.try_clear_mayexec().map_err(|_| EACCES)?;
        vma.set_dontexpand();
        let area = vma.set_mixedmap();
        for at in (0..len).step_by(PAGE_SIZE) {
            let address = self.0.as_ptr().cast::<u8>().wrapping_add(at).cast_mut();
            let address = NonNull::new(address).ok_or(EFAULT)?;
            // SAFETY: Within the vmalloc allocation that `self` owns, and not kept beyond `self`;
            // the mapping takes a reference of its own to the page.
            let page = unsafe { Vmalloc::to_page(address) };
            area.vm_insert_page(vma.start() + at, &page)?;
        }
        Ok(())
    }
}

impl<T: Writable> MmapPages<T> {
    /// The objects.
    #[inline]
    pub(crate) fn objects(&self) -> &[T] {
        &self.0
    }

    /// Like [`MmapPages::map`], also to write.
    pub(crate) fn map_writable(&self, vma: &VmaNew) -> Result {
        self.check(vma)?;
        self.insert(vma)
    }
}

/// Gives each of the objects away once.
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
        // INVARIANT: It is in `pages`, and `next` never comes back to it.
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

/// One of the objects, and the only way to it, for the kernel.
///
/// # Invariants
///
/// `object` is in `_pages`, and no other [`SharedObject`] points to it.
pub(crate) struct SharedObject<T: Visible> {
    object: NonNull<T>,
    _pages: Arc<MmapPages<T>>,
}

// SAFETY: It is a reference to a `T`, which is `Sync`, with what keeps it alive.
unsafe impl<T: Visible> Send for SharedObject<T> {}
// SAFETY: As above.
unsafe impl<T: Visible> Sync for SharedObject<T> {}

impl<T: Visible> Deref for SharedObject<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants it is in pages that live as long as `self`. Only shared
        // references to it are ever made.
        unsafe { self.object.as_ref() }
    }
}

/// Implements [`Visible`] for a structure. All fields are named with their types, and the build
/// fails unless they are [`Visible`] and fill the structure.
macro_rules! impl_visible {
    ($name:ident { $($field:ident: $ty:ty),+ $(,)? }) => {
        const _: () = {
            assert!(0 $(+ size_of::<$ty>())+ == size_of::<$name>());
            fn _check(value: &$name) -> ($(&$ty,)+) {
                ($(&value.$field,)+)
            }
        };

        // SAFETY: There is no padding, as has just been seen, and the fields can be looked at.
        unsafe impl $crate::kernel_ext::mmap_pages::Visible for $name
        where
            $($ty: $crate::kernel_ext::mmap_pages::Visible,)+
        {
        }
    };
}
pub(crate) use impl_visible;
