// SPDX-License-Identifier: GPL-2.0

//! `atomic64_fetch_or()`, which [`Atomic`] does not have.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::fetch_or::fetch_or;
//! use kernel::sync::atomic::Atomic;
//!
//! let flags = Atomic::new(0u64);
//! if fetch_or(&flags, 1 << 3) & 1 << 3 == 0 {
//!     pr_info!("set by this call\n");
//! }
//! ```
//!
//! C header: [`include/linux/atomic.h`](srctree/include/linux/atomic.h).

use crate::bindings;
use kernel::sync::atomic::Atomic;

/// Sets `bits` in `atomic`, and returns the value before. Fully ordered. Any context.
#[inline(always)]
pub(crate) fn fetch_or(atomic: &Atomic<u64>, bits: u64) -> u64 {
    // SAFETY: The pointer is valid and aligned. The kernel's `atomic64_t` has the same layout, and all
    // accesses to the word are atomic.
    unsafe { bindings::doorbell_fetch_or(atomic.as_ptr(), bits) }
}
