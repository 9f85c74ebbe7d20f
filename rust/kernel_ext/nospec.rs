// SPDX-License-Identifier: GPL-2.0

//! Accesses to slices by an index of userspace.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::nospec::{get, part};
//!
//! let table = [1, 2, 3];
//! assert_eq!(get(&table, 2), Some(&3));
//! assert_eq!(get(&table, 3), None);
//! assert_eq!(part(&table, 1, 2), Some(&table[1..]));
//! assert_eq!(part(&table, 2, 2), None);
//! ```
//!
//! C header: [`include/linux/nospec.h`](srctree/include/linux/nospec.h).

/// Returns the element at `index`, as `slice.get(index)` does. While the CPU speculates that `index` is in
/// bounds and it is not, returns the element 0 (`array_index_nospec()`). Any context.
#[inline(always)]
pub(crate) fn get<T>(slice: &[T], index: usize) -> Option<&T> {
    let index = bounded(index, slice.len())?;
    // SAFETY: `bounded` returns indices in bounds.
    Some(unsafe { slice.get_unchecked(index) })
}

/// Returns the element at `index`, as [`get`] does, to change it. Any context.
#[inline(always)]
pub(crate) fn get_mut<T>(slice: &mut [T], index: usize) -> Option<&mut T> {
    let index = bounded(index, slice.len())?;
    // SAFETY: `bounded` returns indices in bounds.
    Some(unsafe { slice.get_unchecked_mut(index) })
}

/// Returns the `len` elements from the index `first` on, or [`None`] if there are less. While the CPU
/// speculates that `first` is in bounds and it is not, `first` is 0. Any context.
#[inline(always)]
pub(crate) fn part<T>(slice: &[T], first: usize, len: usize) -> Option<&[T]> {
    if first.checked_add(len)? > slice.len() {
        return None;
    }
    let first = first & mask(first, slice.len());
    // SAFETY: `first + len` was in bounds, and the mask can only make `first` less.
    Some(unsafe { slice.get_unchecked(first..first + len) })
}

/// Returns `index` if it is less than `len`. The CPU never speculates with a greater one.
#[inline(always)]
fn bounded(index: usize, len: usize) -> Option<usize> {
    if index >= len {
        return None;
    }
    Some(index & mask(index, len))
}

/// Returns all ones if `index` is less than `len`, and otherwise 0. The CPU does not predict the result.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask(index: usize, len: usize) -> usize {
    let mask;
    // SAFETY: The instructions write the flags and the output, and nothing else.
    unsafe {
        core::arch::asm!(
            "cmp {index}, {len}",
            "sbb {mask}, {mask}",
            index = in(reg) index,
            len = in(reg) len,
            mask = out(reg) mask,
            options(pure, nomem, nostack)
        )
    };
    mask
}

/// Returns all ones if `index` is less than `len`, and otherwise 0. The CPU does not predict the result.
#[cfg(not(target_arch = "x86_64"))]
fn mask(index: usize, len: usize) -> usize {
    // SAFETY: No requirements.
    unsafe { crate::bindings::doorbell_index_mask(index, len) }
}
