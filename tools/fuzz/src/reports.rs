// SPDX-License-Identifier: GPL-2.0-only

//! Reports of the kernel: its log, and kmemleak.

use crate::sys;
use std::{fs, os::fd::RawFd, path::Path, time::Duration};

/// The debug file system.
const DEBUG: &str = "/sys/kernel/debug";

/// Texts of which a kernel log must have none. tools/lab/lib/guest.sh has these, if partly in other words, and
/// those of failed KUnit tests and of leaks, which [`leaks`] finds here.
const BAD: [&str; 30] = [
    "WARNING:",
    "BUG:",
    "kernel BUG",
    "cut here",
    "Oops",
    "Call Trace",
    "general protection",
    "INFO: ",
    "possible circular locking",
    "possible recursive locking",
    "suspicious RCU",
    "KASAN",
    "UBSAN",
    "KCSAN",
    "ODEBUG",
    "Kernel memory leak detector disabled",
    "Cannot allocate a kmemleak",
    "refcount_t:",
    "soft lockup",
    "hard LOCKUP",
    "workqueue lockup",
    "blocked for more than",
    "Kernel panic",
    "panicked",
    "unable to handle",
    "scheduling while atomic",
    "EXPECTATION FAILED",
    "ASSERTION FAILED",
    "detected stall",
    "self-detected",
];

/// Texts of the first line of a report, or of the first one after "cut here".
const TITLES: [&str; 6] = [
    "WARNING:",
    "BUG:",
    "INFO: ",
    "UBSAN:",
    "Oops",
    "Kernel panic",
];

/// Returns the first lines of the reports in a text: it has more than one if they come together.
pub fn titles(text: &str) -> Vec<&str> {
    let is_title = |line: &&str| TITLES.iter().any(|title| line.contains(title));
    // Reports after one of lockdep say so.
    let lines = text
        .lines()
        .filter(|line| !line.contains("lockdep is turned off"));
    let mut lines = lines.filter(|line| !line.contains("cut here")).peekable();
    let first = lines.peek().copied();
    let titles: Vec<&str> = lines.filter(is_title).collect();
    if titles.is_empty() {
        first.into_iter().collect()
    } else {
        titles
    }
}

/// The kernel log from now on.
#[derive(Debug)]
pub struct Log {
    fd: RawFd,
    lines: Lines,
}

/// Chooses the lines of reports.
#[derive(Debug, Default)]
struct Lines {
    /// The lines that are left of the report that is being read.
    rest: usize,
    /// The lines from the first call trace of the OOM killer on, until it says whose memory ran out.
    oom: Option<Vec<String>>,
}

impl Lines {
    /// Adds `line` to `chosen` if it belongs to a report. The OOM killer's message about a cgroup is none:
    /// the fuzzer limits the memory of children by one.
    fn choose(&mut self, line: &str, chosen: &mut Vec<String>) {
        let mut bad = BAD.iter().any(|bad| line.contains(bad));
        if line.contains("invoked oom-killer") {
            self.oom = Some(Vec::new());
        }
        if let Some(held) = &mut self.oom {
            if bad && line.contains("Call Trace") || !held.is_empty() {
                held.push(line.to_owned());
                bad &= !line.contains("Call Trace");
            }
            if line.contains("no killable processes") || line.contains("oom-kill:constraint=") {
                if !line.contains("constraint=CONSTRAINT_MEMCG") {
                    chosen.append(held);
                }
                self.oom = None;
            }
        }
        if bad {
            self.rest = 40;
        }
        if self.rest > 0 {
            self.rest -= 1;
            chosen.push(line.to_owned());
        }
    }
}

impl Log {
    /// Opens the log at its end.
    pub fn open() -> Self {
        let fd = sys::open(c"/dev/kmsg", libc::O_RDONLY | libc::O_NONBLOCK) as RawFd;
        sys::seek_end(fd);
        // The kernel prints each of these once otherwise.
        let _ = fs::write(format!("{DEBUG}/clear_warn_once"), "1");
        Self {
            fd,
            lines: Lines::default(),
        }
    }

    /// Returns the new lines that belong to reports.
    pub fn read(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            let Some(len) = sys::read_bytes(self.fd, &mut record) else {
                return lines;
            };
            let text = String::from_utf8_lossy(&record[..len]);
            let line = text
                .split_once(';')
                .map_or("", |(_, rest)| rest)
                .lines()
                .next()
                .unwrap_or("");
            self.lines.choose(line, &mut lines);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        sys::close(self.fd);
    }
}

/// Writes a line to the kernel log that is a report for [`Log`]. For tools/lab/lib/guest.sh it is none.
pub fn plant() {
    // Readers of the log see a line when it is complete.
    let _ = fs::write("/dev/kmsg", "doorbell-fuzz: planted, self-detected\n");
}

/// Returns true if kmemleak runs.
pub fn has_kmemleak() -> bool {
    fs::write(format!("{DEBUG}/kmemleak"), "scan=off").is_ok()
}

/// Makes kmemleak forget its findings.
pub fn forget_leaks() {
    let _ = fs::write(format!("{DEBUG}/kmemleak"), "clear");
}

/// Returns the report of kmemleak; empty if nothing has leaked. It reports nothing that is younger than 5 s,
/// and two scans have missed leaks that four found.
pub fn leaks() -> String {
    std::thread::sleep(Duration::from_secs(6));
    for _ in 0..4 {
        if fs::write(format!("{DEBUG}/kmemleak"), "scan").is_err() {
            return String::new();
        }
    }
    fs::read_to_string(format!("{DEBUG}/kmemleak")).unwrap_or_default()
}

/// Lets /proc/self/fail-nth fail every kind of allocation, and not log that.
pub fn set_up_faults() {
    for (file, value) in [
        ("failslab/ignore-gfp-wait", "N"),
        ("failslab/cache-filter", "N"),
        ("failslab/verbose", "0"),
        ("fail_page_alloc/ignore-gfp-wait", "N"),
        ("fail_page_alloc/ignore-gfp-highmem", "N"),
        ("fail_page_alloc/verbose", "0"),
        ("fail_usercopy/verbose", "0"),
    ] {
        let path = Path::new(DEBUG).join(file);
        if path.exists() {
            let _ = fs::write(path, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(log: &str) -> Vec<String> {
        let (mut lines, mut chosen) = (Lines::default(), Vec::new());
        for line in log.lines() {
            lines.choose(line, &mut chosen);
        }
        chosen
    }

    #[test]
    fn the_oom_killer_of_a_cgroup_is_no_report() {
        let memcg = "a invoked oom-killer: b\nCall Trace:\n <TASK>\noom-kill:constraint=CONSTRAINT_MEMCG\nc";
        assert_eq!(chosen(memcg), [""; 0]);
        let global = memcg.replace("MEMCG", "NONE");
        assert_eq!(chosen(&global)[0], "Call Trace:");
        assert_eq!(chosen(&format!("{memcg}\nCall Trace:")), ["Call Trace:"]);
        let both = memcg.replace(" <TASK>", "BUG: KASAN: d");
        assert_eq!(chosen(&both)[0], "BUG: KASAN: d");
    }
}
