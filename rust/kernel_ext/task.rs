// SPDX-License-Identifier: GPL-2.0

//! The current task's signals.
//!
//! C header: [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h).

use crate::bindings;

/// Returns true if the current task has been killed. Process context.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_fatal_signal_pending() }
}
