// SPDX-License-Identifier: GPL-2.0

//! Functions that [`kernel::iov`] lacks.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::iov::{revert, segment_len};
//! use kernel::iov::{IovIterDest, IovIterSource};
//!
//! /// Copies the first segment of a writev(2).
//! fn first_segment(iov: &mut IovIterSource<'_>) -> Result<KVec<u8>> {
//!     let mut buffer = KVec::from_elem(0, segment_len(iov), GFP_KERNEL)?;
//!     iov.copy_from_iter(&mut buffer);
//!     Ok(buffer)
//! }
//!
//! /// Stores `record` completely, or nothing of it.
//! fn store(iov: &mut IovIterDest<'_>, record: &[u8]) -> bool {
//!     let before = iov.len();
//!     let complete = iov.copy_to_iter(record) == record.len();
//!     if !complete {
//!         revert(iov, before);
//!     }
//!     complete
//! }
//! ```
//!
//! C header: [`include/linux/uio.h`](srctree/include/linux/uio.h).

use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    }, //
};

/// Returns the number of bytes that are left in the iterator's current segment; 0 at the end of an
/// empty one.
#[inline]
pub(crate) fn segment_len(iov: &mut IovIterSource<'_>) -> usize {
    // SAFETY: The iterator is valid.
    unsafe { bindings::iov_iter_single_seg_count(iov.as_raw()) }
}

/// Reverts the iterator to the position at which its length was `before`. The iterator must have
/// had that length.
pub(crate) fn revert(iov: &mut IovIterDest<'_>, before: usize) {
    let len = before.saturating_sub(iov.len());
    // SAFETY: The iterator is valid, and has advanced by `len` since it had the length `before`.
    unsafe { bindings::iov_iter_revert(iov.as_raw(), len) };
}
