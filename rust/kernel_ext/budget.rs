// SPDX-License-Identifier: GPL-2.0

//! A bound on what interrupts do for others, and the depth of calls into other modules.
//!
//! Callbacks in interrupt context may make more of themselves: by signalling eventfds that others
//! listen on, or because another CPU goes on asking for more. On each CPU they get
//! 100 microseconds, or 8 signals, for each time that a task asks there ([`fresh`]). Beyond that they
//! are to leave the rest to a worker. The first of them does not look at a clock.

use crate::bindings;

/// A task, or the interrupt of a device, has asked for something on this CPU. Any context.
pub(crate) fn fresh() {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_fresh() };
}

/// Begins to send `signals` in an interrupt, or in a thread that is one on PREEMPT_RT; false if there
/// is no time left for them on this CPU.
#[inline]
pub(crate) fn within_budget(signals: u32) -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_within_budget(signals) }
}

/// Returns the number of relays behind the trigger's callback that is running here; zero outside of
/// such a callback. Any context.
#[inline]
pub(crate) fn depth() -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_depth() }
}

/// Returns the number of relays behind a wake-up whose key says `hops`. Calls [`fresh`] unless an
/// interrupt makes the wake-up.
#[inline]
pub(crate) fn wake_depth(hops: u32) -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_wake_depth(hops) }
}
