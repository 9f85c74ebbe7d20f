// SPDX-License-Identifier: GPL-2.0-only

//! Changes of the machine beside the programs: a CPU goes offline and comes back.

use std::{
    fs,
    time::{Duration, Instant},
};

/// The file that has the second CPU.
const CPU: &str = "/sys/devices/system/cpu/cpu1/online";

/// The mean time between two changes.
const INTERVAL: u64 = 4000;

/// The changes of a run.
#[derive(Debug)]
pub struct Environment {
    next: Instant,
    offline: bool,
}

impl Environment {
    /// Creates an environment in which nothing has changed yet.
    pub fn new() -> Self {
        Self {
            next: Instant::now() + Duration::from_millis(INTERVAL),
            offline: false,
        }
    }

    /// Changes something, if it is time. A CPU stays offline for a short time only.
    pub fn step(&mut self, random: &mut fastrand::Rng) {
        if Instant::now() < self.next {
            return;
        }
        self.offline = !self.offline;
        let _ = fs::write(CPU, if self.offline { "0" } else { "1" });
        let wait = if self.offline {
            INTERVAL / 10
        } else {
            2 * INTERVAL
        };
        self.next = Instant::now() + Duration::from_millis(random.u64(..wait));
    }

    /// Undoes the changes.
    pub fn restore(&mut self) {
        if self.offline {
            let _ = fs::write(CPU, "1");
            self.offline = false;
        }
    }
}
