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
//!     let mut buffer = KVec::from_elem(0, segment_len(iov)?, GFP_KERNEL)?;
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

use crate::bindings;
use kernel::{
    bindings as kbindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// Returns the number of bytes that are left in the iterator's current segment; 0 at the end of an
/// empty one.
///
/// # Errors
///
/// EINVAL: the iterator has the pages of an io_uring's registered buffer, and userspace may have chosen other
/// segments. Only the first call for an iterator fails.
#[inline]
pub(crate) fn segment_len(iov: &mut IovIterSource<'_>) -> Result<usize> {
    // SAFETY: The iterator is valid.
    let len = unsafe { bindings::doorbell_segment_len(iov.as_raw()) };
    usize::try_from(len).map_err(|_| EINVAL)
}

/// Reverts the iterator to the position at which its length was `before`. The iterator must have
/// had that length.
pub(crate) fn revert(iov: &mut IovIterDest<'_>, before: usize) {
    let len = before.saturating_sub(iov.len());
    // SAFETY: The iterator is valid, and has advanced by `len` since it had the length `before`.
    unsafe { kbindings::iov_iter_revert(iov.as_raw(), len) };
}
