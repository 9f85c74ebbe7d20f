// SPDX-License-Identifier: GPL-2.0

//! Keeping a short section from being preempted where spinlocks would.

use crate::bindings;
use kernel::types::NotThreadSafe;

/// No preemption while this exists, unless the kernel is PREEMPT_RT.
///
/// Holding a [`Gate`](super::gate::Gate) is like holding a spinlock: whoever is preempted then
/// delays everybody whose message is left to the holder. On PREEMPT_RT, where a spinlock's holder
/// is preemptible as well and the eventfds' own locks sleep, this does nothing.
///
/// # Invariants
///
/// Unless CONFIG_PREEMPT_RT is set, preemption was disabled once for this object.
pub(crate) struct NoPreempt(NotThreadSafe);

impl NoPreempt {
    /// Disables preemption. Any context.
    #[inline]
    pub(crate) fn new() -> Self {
        if cfg!(not(CONFIG_PREEMPT_RT)) {
            // SAFETY: Always allowed; enabled again in `drop`.
            unsafe { bindings::doorbell_preempt_disable() };
        }
        Self(NotThreadSafe)
    }
}

impl Drop for NoPreempt {
    #[inline]
    fn drop(&mut self) {
        if cfg!(not(CONFIG_PREEMPT_RT)) {
            // SAFETY: By the type invariants it was disabled for this object.
            unsafe { bindings::doorbell_preempt_enable() };
        }
    }
}
