// SPDX-License-Identifier: GPL-2.0

//! Polling for an event that occurs soon.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::wait::wait_until;
//! use kernel::sync::atomic::{Acquire, Atomic};
//!
//! let running = Atomic::new(0u32);
//! wait_until(|| (running.load(Acquire) == 0).then_some(()));
//! ```

use kernel::{
    processor::cpu_relax,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// The number of calls between two pauses.
const SPINS: u32 = 1000;

/// Calls `f` until it returns a value, and returns that. Sleeps for a moment after each [`SPINS`]
/// calls. Process context.
pub(crate) fn wait_until<R>(mut f: impl FnMut() -> Option<R>) -> R {
    let mut spins = 0;
    loop {
        if let Some(result) = f() {
            return result;
        }
        spins += 1;
        if spins < SPINS {
            cpu_relax();
        } else {
            // On PREEMPT_RT this task may have preempted the thread that it waits for.
            spins = 0;
            fsleep(Delta::from_micros(50));
        }
    }
}
