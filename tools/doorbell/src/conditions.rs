// SPDX-License-Identifier: GPL-2.0-only

//! The conditions of a measurement: what may differ between two runs on one machine.

use serde::Serialize;
use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// Conditions at the start of a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Conditions {
    /// The time, in UTC, by RFC 3339.
    pub date: String,
    /// The kernel's release, as by uname -r.
    pub kernel_release: String,
    /// The kernel's command line.
    pub boot_parameters: String,
    /// The frequency governors of the CPUs that this process may use; none without cpufreq.
    pub governors: Vec<String>,
    /// The load averages over 1, 5 and 15 minutes.
    pub load: Vec<f64>,
}

impl Conditions {
    /// Returns those of this moment, for a process that may use `cpus`.
    pub fn now(cpus: &[usize]) -> Self {
        Self::below(Path::new("/"), cpus, SystemTime::now())
    }

    fn below(root: &Path, cpus: &[usize], now: SystemTime) -> Self {
        let read = |path| read(root, path);
        Self {
            date: humantime::format_rfc3339_seconds(now).to_string(),
            kernel_release: read("proc/sys/kernel/osrelease"),
            boot_parameters: read("proc/cmdline"),
            governors: governors(root, cpus.iter().copied()),
            load: read("proc/loadavg")
                .split_whitespace()
                .take(3)
                .filter_map(|text| text.parse().ok())
                .collect(),
        }
    }
}

/// Returns the content of the file `path` below `root`, trimmed; an empty string if it cannot be read.
fn read(root: &Path, path: &str) -> String {
    let text = fs::read_to_string(root.join(path)).unwrap_or_default();
    text.trim().to_owned()
}

/// Returns the frequency governors of `cpus` on the machine below `root`, sorted, each once.
pub(crate) fn governors(root: &Path, cpus: impl Iterator<Item = usize>) -> Vec<String> {
    let governor = |cpu| {
        read(
            root,
            &format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"),
        )
    };
    let mut governors: Vec<String> = cpus.map(governor).collect();
    governors.retain(|governor| !governor.is_empty());
    governors.sort();
    governors.dedup();
    governors
}

/// Time that the host of a virtual machine took from some CPUs, by /proc/stat.
///
/// The kernel counts it in ticks, of 10 ms on most machines. So short times appear late, or with
/// the row that runs when the tick is full.
#[derive(Debug)]
pub(crate) struct Steal {
    /// The names of the lines of /proc/stat.
    names: Vec<String>,
    last: u64,
}

impl Steal {
    /// Begins to count for `cpus`; for all CPUs if there is none in it.
    pub(crate) fn new(cpus: &[usize]) -> Self {
        let names = match cpus {
            [] => vec!["cpu".to_owned()],
            cpus => cpus.iter().map(|cpu| format!("cpu{cpu}")).collect(),
        };
        let last = ticks(&stat(), &names);
        Self { names, last }
    }

    /// Returns the time since the last call, or since [`new`](Self::new).
    pub(crate) fn since(&mut self) -> Duration {
        let now = ticks(&stat(), &self.names);
        let ticks = now.saturating_sub(self.last);
        self.last = now;
        let hz = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_secs_f64(ticks as f64 / hz as f64)
    }
}

fn stat() -> String {
    fs::read_to_string("/proc/stat").unwrap_or_default()
}

/// Returns the sum of the stolen ticks in the lines of `stat` with these `names`.
fn ticks(stat: &str, names: &[String]) -> u64 {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        if !names.iter().any(|wanted| wanted == name) {
            return None;
        }
        // user, nice, system, idle, iowait, irq, softirq, steal
        fields.nth(7)?.parse::<u64>().ok()
    };
    stat.lines().filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let root = std::env::temp_dir().join(format!("doorbell-conditions-{}", std::process::id()));
        let governor = |cpu| format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "7.3\n"),
            ("proc/cmdline", "quiet isolcpus=1\n"),
            ("proc/loadavg", "0.50 1.25 2.00 1/99 1234\n"),
            (&governor(0), "powersave\n"),
            (&governor(1), "performance\n"),
            (&governor(2), "performance\n"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let read = |cpus| Conditions::below(&root, cpus, SystemTime::UNIX_EPOCH);
        let conditions = read(&[0, 1, 2]);
        assert_eq!(conditions.date, "1970-01-01T00:00:00Z");
        assert_eq!(conditions.kernel_release, "7.3");
        assert_eq!(conditions.boot_parameters, "quiet isolcpus=1");
        assert_eq!(conditions.governors, ["performance", "powersave"]);
        assert_eq!(conditions.load, [0.5, 1.25, 2.0]);
        assert_eq!(read(&[1, 2]).governors, ["performance"]);
        assert!(read(&[3]).governors.is_empty(), "no cpufreq");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn stolen_ticks_are_those_of_the_cpus() {
        let stat = "cpu  1 1 1 1 1 1 1 70 0 0\n\
                    cpu0 1 2 3 4 5 6 7 8 9 10\n\
                    cpu1 1 2 3 4 5 6 7 20 9 10\n\
                    cpu10 1 2 3 4 5 6 7 42 9 10\n\
                    intr 5\n";
        let ticks = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            ticks(stat, &names)
        };
        assert_eq!(ticks(&["cpu1"]), 20);
        assert_eq!(ticks(&["cpu0", "cpu10"]), 50);
        assert_eq!(ticks(&["cpu"]), 70);
        assert_eq!(ticks(&["cpu7"]), 0);
        assert_eq!(
            super::ticks("cpu0 1 2", &["cpu0".into()]),
            0,
            "an old kernel"
        );
    }
}
