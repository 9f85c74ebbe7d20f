// SPDX-License-Identifier: GPL-2.0-only

//! A request to end a measurement early.

use std::sync::{
    atomic::{AtomicI32, Ordering},
    Arc,
};

/// A request to stop. Measurements read it between two batches, and return what they have.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicI32>);

impl Stop {
    /// Requests a stop, because of the signal `signal`.
    pub fn request(&self, signal: i32) {
        self.0.store(signal, Ordering::Relaxed);
    }

    /// Returns the signal, if a stop was requested.
    pub fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
    }

    #[inline]
    pub(crate) fn is_requested(&self) -> bool {
        self.signal().is_some()
    }
}
