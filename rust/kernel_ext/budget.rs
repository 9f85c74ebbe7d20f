// SPDX-License-Identifier: GPL-2.0

//! A limit of the work in interrupt context, and the depth of calls into other modules.
//!
//! Callbacks in interrupt context can cause more callbacks: they signal eventfds that have
//! listeners, or another CPU continues to queue them. After each request of a task on a CPU
//! ([`fresh`]), callbacks there get 100 microseconds or 8 signals. Beyond that they must leave the
//! rest to a worker. The first callback does not read a clock.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::budget::{fresh, within_budget};
//!
//! // In a system call:
//! fresh();
//! // In an interrupt that follows, before it signals three eventfds:
//! if !within_budget(3) {
//!     // Leave them to a worker.
//! }
//! ```

use crate::bindings;

/// Renews the budget of this CPU: a task or the interrupt of a device has made a request. Any
/// context.
pub(crate) fn fresh() {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_fresh() };
}

/// Renews the budget of this CPU if it was used up a millisecond ago or earlier, for the interrupt of a
/// timer. So interrupts get at most a tenth of the time of a CPU that timers alone keep busy. Any context.
pub(crate) fn rested() {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_rested() };
}

/// Charges `signals` to the budget of this CPU; returns false if the budget is used up.
///
/// # Context
///
/// An interrupt, or on PREEMPT_RT the thread that is an interrupt elsewhere.
#[inline]
pub(crate) fn within_budget(signals: u32) -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_within_budget(signals) }
}

/// Charges `signals` to the budget of this CPU, after a call of [`within_budget`]. The next call sees them.
///
/// # Context
///
/// As of [`within_budget`].
pub(crate) fn charge(signals: u32) {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_charge(signals) }
}

/// Returns the number of relays that led to the trigger's callback that runs on this CPU. Returns
/// zero outside of such a callback. Any context.
#[inline]
pub(crate) fn depth() -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_depth() }
}

/// Returns the number of relays that led to a wake-up whose key has `hops`. Calls [`fresh`] unless
/// an interrupt makes the wake-up.
#[inline]
pub(crate) fn wake_depth(hops: u32) -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_wake_depth(hops) }
}
