// SPDX-License-Identifier: GPL-2.0

//! Preemption.

use crate::bindings;
use kernel::types::NotThreadSafe;

/// The thread cannot be preempted as long as this exists. It must not sleep, nor take a lock that
/// does on PREEMPT_RT.
///
/// # Invariants
///
/// Preemption was disabled once for this object, on the thread that has it.
#[must_use = "preemption is enabled again when this is dropped"]
pub(crate) struct Unpreempted(NotThreadSafe);

impl Unpreempted {
    /// Disables preemption. Any context.
    pub(crate) fn new() -> Self {
        // SAFETY: No requirements.
        unsafe { bindings::doorbell_preempt_disable() };
        // INVARIANT: Just disabled.
        Self(NotThreadSafe)
    }
}

impl Drop for Unpreempted {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it was disabled on this thread.
        unsafe { bindings::doorbell_preempt_enable() };
    }
}
