// SPDX-License-Identifier: GPL-2.0-only

//! Changes of the machine beside the programs: a CPU goes offline and comes back, and the memory of some
//! children is limited.

use crate::sys;
use std::{
    fs,
    path::{Path, PathBuf},
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
    /// The directory of the children's cgroups.
    root: Option<PathBuf>,
    /// The kills of the OOM killer in the cgroup of each job, before its child was limited; none if it is not.
    kills: Vec<Option<u64>>,
}

impl Environment {
    /// Creates an environment in which nothing has changed yet.
    pub fn new(jobs: usize) -> Self {
        Self {
            next: Instant::now() + Duration::from_millis(INTERVAL),
            offline: false,
            root: cgroups(jobs).ok(),
            kills: vec![None; jobs],
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
        self.root.is_some()
    }

    /// Limits the memory of the child of a job. Beyond the limit an allocation of the module fails, and a page
    /// fault calls the OOM killer.
    pub fn limit(&mut self, job: usize, child: i32) {
        if let Some(root) = &self.root {
            let cgroup = cgroup(root, job);
            self.kills[job] = kills(&cgroup);
            let _ = fs::write(cgroup.join("cgroup.procs"), child.to_string());
        }
    }

    /// Returns true if the OOM killer has killed the child of a job, which has ended.
    pub fn take_kill(&mut self, job: usize) -> bool {
        let before = self.kills[job].take();
        let after = self
            .root
            .as_ref()
            .and_then(|root| kills(&cgroup(root, job)));
        before.is_some_and(|before| after.is_some_and(|after| after > before))
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

/// Creates a memory cgroup with [`LIMIT`] for each job.
fn cgroups(jobs: usize) -> std::io::Result<PathBuf> {
    let root = std::env::temp_dir().join("doorbell-fuzz-cgroup");
    fs::create_dir_all(&root)?;
    if !root.join("cgroup.procs").exists() {
        sys::mount_cgroup(&root)?;
    }
    fs::write(root.join("cgroup.subtree_control"), "+memory")?;
    for job in 0..jobs {
        let cgroup = cgroup(&root, job);
        fs::create_dir_all(&cgroup)?;
        fs::write(cgroup.join("memory.max"), LIMIT)?;
    }
    Ok(root)
}

fn cgroup(root: &Path, job: usize) -> PathBuf {
    root.join(format!("doorbell-fuzz-{job}"))
}

/// Returns how many processes of a cgroup the OOM killer has killed.
fn kills(cgroup: &Path) -> Option<u64> {
    oom_kills(&fs::read_to_string(cgroup.join("memory.events")).ok()?)
}

/// Returns the number in the text of memory.events.
fn oom_kills(events: &str) -> Option<u64> {
    let mut counts = events
        .lines()
        .filter_map(|line| line.strip_prefix("oom_kill "));
    counts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::oom_kills;

    #[test]
    fn memory_events_has_the_kills() {
        let events = "low 0\nhigh 0\nmax 7\noom 5\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(oom_kills(events), Some(3));
        assert_eq!(oom_kills("oom 5\n"), None);
    }
}
