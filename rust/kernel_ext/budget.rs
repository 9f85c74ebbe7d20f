// SPDX-License-Identifier: GPL-2.0

//! A limit of the work in interrupt context, and the depth of calls into other modules.
//!
//! Callbacks in interrupt context can cause more callbacks: they signal eventfds that have
//! listeners, or another CPU continues to queue them. After each request of a task on a CPU
//! ([`fresh`]), callbacks there run until they have used both 100 microseconds and 8 signals. After that
//! they must leave the rest to a worker, until they have spent no more than a tenth of the time:
//! interrupts of devices and timers make requests, too, and cannot be told from callbacks that continue
//! each other. The first callback after a request of a task does not read a clock.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::budget::{fresh, spent, within_budget};
//!
//! // In a system call:
//! fresh();
//! // In an interrupt that follows, before it signals three eventfds:
//! if within_budget(3) {
//!     // Signal them.
//!     spent();
//! } else {
//!     // Leave them to a worker.
//! }
//! ```

use crate::bindings;

/// Renews the budget of this CPU: a task has made a request. Any context.
pub(crate) fn fresh() {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_fresh() };
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

/// Ends the time that a callback spends: what follows is not measured. Call it if [`within_budget`] was true.
///
/// # Context
///
/// As of [`within_budget`].
#[inline]
pub(crate) fn spent() {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_spent() };
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
