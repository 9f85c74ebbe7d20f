// SPDX-License-Identifier: GPL-2.0

//! Sorting by the kernel's own heapsort.
//!
//! The sort of `core` contains functions that do not return and that the kernel's objtool does not
//! know.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::sort::sort_by_key;
//!
//! let mut items = [(3, 'c'), (1, 'a'), (2, 'b')];
//! sort_by_key(&mut items, |(number, _)| *number);
//! assert!(items.is_sorted());
//! ```
//!
//! C header: [`include/linux/sort.h`](srctree/include/linux/sort.h).

use crate::bindings;
use core::cmp::Ordering;
use kernel::ffi::{
    c_int,
    c_void, //
};

/// Sorts `items` by the result of `key`. The sort is not stable. Process context.
pub(crate) fn sort_by_key<T, K: Ord, F: Fn(&T) -> K>(items: &mut [T], key: F) {
    // SAFETY: The number and the size are those of the items. `compare` gets pointers to two items
    // and `key`. The items are moved bytewise, as any Rust value may be.
    unsafe {
        bindings::sort_r_nonatomic(
            items.as_mut_ptr().cast(),
            items.len(),
            size_of::<T>(),
            Some(compare::<T, K, F>),
            None,
            (&raw const key).cast(),
        );
    }
}

/// Compares the keys of `a` and `b`.
///
/// # Safety
///
/// `a` and `b` must point to `T`s and `key` to an `F`.
unsafe extern "C" fn compare<T, K: Ord, F: Fn(&T) -> K>(
    a: *const c_void,
    b: *const c_void,
    key: *const c_void,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (a, b, key) = unsafe { (&*a.cast::<T>(), &*b.cast::<T>(), &*key.cast::<F>()) };
    match key(a).cmp(&key(b)) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}
