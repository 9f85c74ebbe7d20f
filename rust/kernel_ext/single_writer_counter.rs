// SPDX-License-Identifier: GPL-2.0

//! A counter for one writer at a time and any number of readers.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::single_writer_counter::SingleWriterCounter;
//!
//! let signals = SingleWriterCounter::new();
//! // By the thread that owns the counter:
//! signals.add(1);
//! // By any thread:
//! assert!(signals.get() == 1);
//! ```

use core::cell::UnsafeCell;

/// A 64-bit event counter without atomic read-modify-write operations.
///
/// An addition is a plain load and a store, so there must be one writer at a time. A lock or a
/// [`HandoffLock`](super::handoff_lock::HandoffLock) must ensure that. If additions race, some of
/// them are lost; there is no other effect. A reader is always allowed, and gets a value that the
/// counter had.
#[derive(Default)]
pub(crate) struct SingleWriterCounter(UnsafeCell<u64>);

const _: () = assert!(
    usize::BITS >= u64::BITS,
    "on a 32-bit machine a reader of SingleWriterCounter could get half of an addition"
);

// SAFETY: All accesses are single aligned volatile ones: READ_ONCE() and WRITE_ONCE() in the
// kernel's memory model. They do not tear, because the machine has 64-bit words, see above.
unsafe impl Sync for SingleWriterCounter {}

impl SingleWriterCounter {
    /// Creates a counter with the value zero.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Returns the value.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // SAFETY: The pointer is valid and aligned. For the race with `add`, see `Sync`.
        unsafe { self.0.get().read_volatile() }
    }

    /// Adds `n`. The caller must be the only writer.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // SAFETY: The pointer is valid and aligned. For the race with `get`, see `Sync`.
        unsafe { self.0.get().write_volatile(self.get().wrapping_add(n)) };
    }
}
