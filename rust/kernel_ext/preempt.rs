// SPDX-License-Identifier: GPL-2.0

//! Disabled preemption as an object.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::preempt::Unpreempted;
//!
//! let preemption = Unpreempted::new();
//! // No other thread runs on this CPU here.
//! drop(preemption);
//! ```

use crate::bindings;
use kernel::types::NotThreadSafe;

/// Proof that preemption is disabled. While this exists, the thread must not sleep, nor acquire a
/// lock that sleeps on PREEMPT_RT.
///
/// # Invariants
///
/// Preemption was disabled once for this object, on the thread that owns it.
#[must_use = "preemption is enabled again when this is dropped"]
pub(crate) struct Unpreempted(NotThreadSafe);

impl Unpreempted {
    /// Disables preemption. Any context.
    pub(crate) fn new() -> Self {
        // SAFETY: No requirements.
        unsafe { bindings::doorbell_preempt_disable() };
        // INVARIANT: Preemption was just disabled.
        Self(NotThreadSafe)
    }
}

impl Drop for Unpreempted {
    fn drop(&mut self) {
        // SAFETY: By the type invariants preemption was disabled on this thread.
        unsafe { bindings::doorbell_preempt_enable() };
    }
}
