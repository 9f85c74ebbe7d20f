// SPDX-License-Identifier: GPL-2.0

//! Waiting for what others do soon.

use kernel::{
    processor::cpu_relax,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How often to look before sleeping.
const SPINS: u32 = 1000;

/// Calls `f` until it returns something, after a while with pauses. Process context.
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
            // On PREEMPT_RT who is waited for may have been preempted by this very task.
            spins = 0;
            fsleep(Delta::from_micros(50));
        }
    }
}
