// SPDX-License-Identifier: GPL-2.0-only

//! Changes of the machine beside the programs: a CPU goes offline and comes back, and the memory of some
//! children is limited.

use crate::sys;
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// The file that has the second CPU.
const CPU: &str = "/sys/devices/system/cpu/cpu1/online";

/// The mean time between two changes, in milliseconds.
const INTERVAL: u64 = 4000;

/// The memory of a child that is limited: enough for itself and for small contexts, not for large ones.
const LIMIT: &str = "25165824";

/// The changes of a run.
#[derive(Debug)]
pub struct Environment {
    next: Instant,
    offline: bool,
    cgroup: Option<PathBuf>,
}

impl Environment {
    /// Creates an environment in which nothing has changed yet.
    pub fn new() -> Self {
        Self {
            next: Instant::now() + Duration::from_millis(INTERVAL),
            offline: false,
            cgroup: cgroup().ok(),
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

    /// Returns true if the memory of children can be limited.
    pub fn can_limit(&self) -> bool {
        self.cgroup.is_some()
    }

    /// Limits the memory of a child. Beyond the limit an allocation of the module fails.
    pub fn limit(&self, child: i32) {
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::write(cgroup.join("cgroup.procs"), child.to_string());
        }
    }

    /// Undoes the changes.
    pub fn restore(&mut self) {
        if self.offline {
            let _ = fs::write(CPU, "1");
            self.offline = false;
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Creates a memory cgroup with [`LIMIT`].
fn cgroup() -> std::io::Result<PathBuf> {
    let root = std::env::temp_dir().join("doorbell-fuzz-cgroup");
    fs::create_dir_all(&root)?;
    if !root.join("cgroup.procs").exists() {
        sys::mount_cgroup(&root)?;
    }
    fs::write(root.join("cgroup.subtree_control"), "+memory")?;
    let cgroup = root.join("doorbell-fuzz");
    fs::create_dir_all(&cgroup)?;
    fs::write(cgroup.join("memory.max"), LIMIT)?;
    Ok(cgroup)
}
