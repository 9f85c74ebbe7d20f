// SPDX-License-Identifier: GPL-2.0

//! What [`kernel::iov`] does not tell.
//!
//! C header: [`include/linux/uio.h`](srctree/include/linux/uio.h).

use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    }, //
};

/// How long the segment is in which the iterator is, from there on; 0 at the end of one that is empty.
#[inline]
pub(crate) fn segment_len(iov: &mut IovIterSource<'_>) -> usize {
    // SAFETY: The iterator is valid.
    unsafe { bindings::iov_iter_single_seg_count(iov.as_raw()) }
}

/// Returns the iterator to where it was when its length was `before`, which must not be longer ago than
/// the iterator exists.
pub(crate) fn revert(iov: &mut IovIterDest<'_>, before: usize) {
    let len = before.saturating_sub(iov.len());
    // SAFETY: The iterator is valid, and has advanced by this since it had that length.
    unsafe { bindings::iov_iter_revert(iov.as_raw(), len) };
}
