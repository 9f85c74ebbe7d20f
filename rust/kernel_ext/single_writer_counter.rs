// SPDX-License-Identifier: GPL-2.0

//! A counter that one writer at a time adds to and everybody reads.

use core::cell::UnsafeCell;

/// A 64-bit event counter without atomic read-modify-write.
///
/// Adding is a plain load and a store, so whoever adds must be alone, by a lock or a
/// [`HandoffLock`](super::handoff_lock::HandoffLock): additions that race get lost, which is all that happens. ReadGuard is
/// always allowed and returns a value that the counter had.
#[derive(Default)]
pub(crate) struct SingleWriterCounter(UnsafeCell<u64>);

// SAFETY: All accesses are single aligned volatile ones, READ_ONCE() and WRITE_ONCE() in the
// kernel's memory model, which do not tear on the 64-bit machines that Rust runs on in the kernel.
unsafe impl Sync for SingleWriterCounter {}

impl SingleWriterCounter {
    /// Zero.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// The value.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // SAFETY: Valid and aligned; for the race with `add`, see `Sync`.
        unsafe { self.0.get().read_volatile() }
    }

    /// Adds `n`. The caller is the only one to do so.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // SAFETY: Valid and aligned; for the race with `get`, see `Sync`.
        unsafe { self.0.get().write_volatile(self.get().wrapping_add(n)) };
    }
}
