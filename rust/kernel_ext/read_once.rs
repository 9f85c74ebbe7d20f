// SPDX-License-Identifier: GPL-2.0

//! `READ_ONCE()`, inlined.
//!
//! [`Atomic::load`] calls a C function. That is a tenth of the instructions of a ring.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::read_once::SetOnceArc;
//! use kernel::sync::Arc;
//!
//! let name: SetOnceArc<u32> = SetOnceArc::new();
//! assert!(name.get().is_none());
//! assert!(name.set(Arc::new(1, GFP_KERNEL)?));
//! // Later objects are dropped.
//! assert!(!name.set(Arc::new(2, GFP_KERNEL)?));
//! assert!(name.get() == Some(&1));
//! ```
//!
//! C header: [`include/asm-generic/rwonce.h`](srctree/include/asm-generic/rwonce.h).

use core::{
    marker::PhantomData,
    ptr::null_mut, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicType,
            Full, //
        },
        Arc,
        ArcBorrow, //
    }, //
};

/// Returns the value of `atomic`, as `atomic.load(Relaxed)` does. Any context.
///
/// As with `READ_ONCE()` in C, an access through a pointer that was read is ordered after the read
/// of the pointer (an address dependency, see `Documentation/memory-barriers.txt`).
#[inline(always)]
pub(super) fn read_once<T: AtomicType>(atomic: &Atomic<T>) -> T {
    const { assert!(size_of::<T>() <= size_of::<usize>()) };
    // SAFETY: The pointer is valid and aligned. The kernel implements the atomic accesses by C and
    // assembly, beside which a volatile read of a machine word is `READ_ONCE()`.
    unsafe { atomic.as_ptr().read_volatile() }
}

/// A reference to an object that is set once, and read without a lock.
///
/// # Invariants
///
/// `object` is null, or came from [`Arc::into_raw`], and its reference is owned. Once set it never
/// changes.
pub(crate) struct SetOnceArc<T: Send + Sync> {
    object: Atomic<*mut T>,
    _owner: PhantomData<Arc<T>>,
}

impl<T: Send + Sync> SetOnceArc<T> {
    /// Creates an object that is not set.
    pub(crate) const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            object: Atomic::new(null_mut()),
            _owner: PhantomData,
        }
    }

    /// Returns the object, if it is set. Any context.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: By the type invariants it is null, or an object that is owned and stays as long as
        // `self`. The address dependency orders its accesses after the exchange that published it.
        unsafe { read_once(&self.object).as_ref() }
    }

    /// Returns a reference to count, if the object is set. Any context.
    pub(crate) fn get_arc(&self) -> Option<ArcBorrow<'_, T>> {
        let object = core::ptr::from_ref(self.get()?);
        // SAFETY: By the type invariants it came from `Arc::into_raw`, and the reference is owned as
        // long as `self` exists.
        Some(unsafe { ArcBorrow::from_raw(object) })
    }

    /// Sets the object. Returns false, and drops `new`, if it is set already. Context as of a drop
    /// of `new`.
    pub(crate) fn set(&self, new: Arc<T>) -> bool {
        let new = Arc::into_raw(new);
        // ORDERING: Pairs with the address dependency in `SetOnceArc::get`.
        // INVARIANT: It comes from `into_raw`. It was null before, and so never changes again. The
        // exchange orders the writes to the object before it can be reached.
        let set = self
            .object
            .cmpxchg(null_mut(), new.cast_mut(), Full)
            .is_ok();
        if !set {
            // SAFETY: It comes from `into_raw` above, and was not published.
            drop(unsafe { Arc::from_raw(new) });
        }
        set
    }
}

impl<T: Send + Sync> Drop for SetOnceArc<T> {
    fn drop(&mut self) {
        let object = read_once(&self.object);
        if !object.is_null() {
            // SAFETY: By the type invariants it came from `Arc::into_raw` and is owned.
            drop(unsafe { Arc::from_raw(object) });
        }
    }
}
