// SPDX-License-Identifier: GPL-2.0

//! The current task: its signals, its time slice, and its CPU.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::task::{cond_resched, fatal_signal_pending};
//!
//! for _ in 0..1000 {
//!     if fatal_signal_pending() {
//!         return Err(EINTR);
//!     }
//!     cond_resched();
//! }
//! ```
//!
//! C header: [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h).

use crate::bindings;

/// Lets other tasks run, if the kernel is not preemptible and one of them should. Process context.
pub(crate) fn cond_resched() {
    // SAFETY: This is process context.
    unsafe { bindings::doorbell_cond_resched() };
}

/// Returns true if the current task has been killed. Process context.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_fatal_signal_pending() }
}

/// Returns false if this CPU goes offline. If the caller is not preemptible and this returns true, the CPU's threads of
/// the kernel are still there: the kernel waits for a grace period of RCU before it stops them. Any context.
pub(crate) fn cpu_is_active() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_cpu_is_active() }
}
