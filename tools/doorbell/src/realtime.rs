// SPDX-License-Identifier: GPL-2.0-only

//! Settings of this process under which latencies are measured: those of cyclictest(8).

use crate::sys::{self, Policy};
use anyhow::{anyhow, Context as _};
use rustix::{
    mm::{mlockall, munlockall, MlockAllFlags},
    process::{getrlimit, Resource},
};
use serde::Serialize;
use std::{
    fmt, fs,
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

/// A process that keeps this file open, with a number of us in it, keeps CPUs from idle states that
/// take longer to wake up from.
pub(crate) const WAKE_UP_FILE: &str = "/dev/cpu_dma_latency";
/// The content of that file if no process has set a limit.
const NO_LIMIT: i32 = 2_000_000_000;

/// Settings for the time of a measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Run under SCHED_FIFO with this priority, 1 to 99, and with all memory locked.
    pub fifo: Option<u8>,
    /// Keep CPUs from idle states that take longer than this to wake up from, in us. With `fifo`,
    /// the default is 0.
    pub latency_us: Option<u32>,
}

/// The settings in effect. Dropping it restores those from before.
#[derive(Debug, Default)]
pub struct Applied {
    policy: Option<Policy>,
    locked: bool,
    _wake_up: Option<File>,
    /// A setting that was not requested by itself, and could not be made.
    pub warning: Option<String>,
}

impl Settings {
    /// Applies the settings to this thread and to those that it creates.
    ///
    /// # Errors
    ///
    /// Fails if this process may not make a setting. Then none is made.
    pub fn apply(&self) -> anyhow::Result<Applied> {
        self.apply_with(Path::new(WAKE_UP_FILE))
    }

    fn apply_with(&self, wake_up: &Path) -> anyhow::Result<Applied> {
        let mut applied = Applied::default();
        let limit = self.latency_us.or(self.fifo.map(|_| 0));
        if let Some(us) = limit {
            match hold(wake_up, us) {
                Ok(file) => applied._wake_up = Some(file),
                Err(error) if self.latency_us.is_none() => {
                    applied.warning = Some(format!("idle states are not limited: {error}"));
                }
                Err(error) => return Err(anyhow!("--latency {us}: {error}")),
            }
        }
        if let Some(priority) = self.fifo {
            let option = || format!("--fifo {priority}");
            lock_memory().map_err(|error| anyhow!("{}: {error}", option()))?;
            applied.locked = true;
            let before = Policy::current().with_context(option)?;
            let set = Policy::fifo(priority).set();
            set.map_err(|error| anyhow!("{}: {}", option(), not_scheduled(&error)))?;
            applied.policy = Some(before);
        }
        Ok(applied)
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        // The process goes on, or ends, with whatever cannot be restored.
        if let Some(policy) = self.policy {
            let _ = policy.set();
        }
        if self.locked {
            let _ = munlockall();
        }
    }
}

/// Opens the file that limits idle states, and sets the limit.
fn hold(path: &Path, us: u32) -> Result<File, String> {
    let name = path.display();
    let value = i32::try_from(us).map_err(|_| format!("at most {} us", i32::MAX))?;
    let explain = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "; the kernel has no idle states to limit (CONFIG_CPU_IDLE)",
            io::ErrorKind::PermissionDenied => "; run as root",
            _ => "",
        };
        format!("{name}: {error}{advice}")
    };
    let mut file = File::options().write(true).open(path).map_err(explain)?;
    file.write_all(&value.to_ne_bytes()).map_err(explain)?;
    Ok(file)
}

/// Locks the memory of this process, present and future.
fn lock_memory() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock).current;
    // Under a limit the call may succeed, and the stack of a thread fail later.
    let refused = match (limit, has_capability(CAP_IPC_LOCK)) {
        (Some(limit), false) => Err(format!("{} KiB may be locked", limit / 1024)),
        _ => mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
            .map_err(|error| error.to_string()),
    };
    refused.map_err(|why| {
        format!("lock memory: {why}; run as root (CAP_IPC_LOCK), or set ulimit -l unlimited")
    })
}

/// Explains an error of sched_setscheduler(2).
fn not_scheduled(error: &io::Error) -> String {
    let advice = match error.raw_os_error() {
        Some(libc::EPERM) => {
            let limit = getrlimit(Resource::Rtprio).current.unwrap_or(99);
            format!(
                "; run as root (CAP_SYS_NICE), or raise the limit of {limit}: ulimit -r. With \
                 CONFIG_RT_GROUP_SCHED the cgroup needs cpu.rt_runtime_us, too"
            )
        }
        _ => String::new(),
    };
    format!("sched_setscheduler: {error}{advice}")
}

const CAP_IPC_LOCK: u32 = 14;
pub(crate) const CAP_SYS_NICE: u32 = 23;

/// Returns true if this process has a capability.
pub(crate) fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "CapEff:")
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|mask| (mask >> number) & 1 == 1)
}

/// Returns true if this process may lock all of its memory.
pub(crate) fn may_lock() -> bool {
    getrlimit(Resource::Memlock).current.is_none() || has_capability(CAP_IPC_LOCK)
}

/// Returns the first word after `name` in a file such as /proc/self/status.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

/// Returns the limit on wake-up times in us; none if there is none, or it is unreadable.
pub(crate) fn wake_up_limit(path: &Path) -> Option<i32> {
    let mut bytes = [0; size_of::<i32>()];
    File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    let limit = i32::from_ne_bytes(bytes);
    (limit != NO_LIMIT).then_some(limit)
}

/// Settings that are in effect, also those that another process has made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InEffect {
    /// The scheduling policy and priority of this thread, unless it is the usual one.
    pub scheduler: Option<String>,
    /// True if memory of this process is locked.
    pub memory_locked: bool,
    /// The limit on the time that a CPU takes to wake up, in us.
    pub wake_up_limit_us: Option<i32>,
}

impl InEffect {
    /// Returns the settings of this thread and this machine.
    pub fn this() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            scheduler: sys::Policy::current().ok().and_then(Policy::name),
            memory_locked: field(&status, "VmLck:").is_some_and(|kib| kib != "0"),
            wake_up_limit_us: wake_up_limit(Path::new(WAKE_UP_FILE)),
        }
    }

    /// Returns true if all of them are the usual ones.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for InEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locked = self.memory_locked.then(|| "memory locked".to_owned());
        let limit = self.wake_up_limit_us;
        let limit = limit.map(|us| format!("idle states of at most {us} us"));
        let all = [self.scheduler.clone(), locked, limit];
        let all: Vec<String> = all.into_iter().flatten().collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_written_as_the_kernel_reads_it() {
        let path = std::env::temp_dir().join(format!("doorbell-latency-{}", std::process::id()));
        fs::write(&path, NO_LIMIT.to_ne_bytes()).unwrap();
        assert_eq!(wake_up_limit(&path), None);
        let settings = Settings {
            fifo: None,
            latency_us: Some(7),
        };
        let applied = settings.apply_with(&path).unwrap();
        assert_eq!(applied.warning, None);
        assert_eq!(wake_up_limit(&path), Some(7));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn missing_limit_is_an_error_only_if_it_was_requested() {
        let path = Path::new("/nonexistent/latency");
        let error = Settings {
            fifo: None,
            latency_us: Some(7),
        };
        let error = error.apply_with(path).unwrap_err().to_string();
        assert!(
            error.starts_with("--latency 7: /nonexistent") && error.contains("CONFIG_CPU_IDLE"),
            "{error}"
        );
        // A thread of its own: the policy is that of a thread.
        std::thread::spawn(move || {
            let before = Policy::current().unwrap();
            let settings = Settings {
                fifo: Some(1),
                latency_us: None,
            };
            match settings.apply_with(path) {
                Ok(applied) => {
                    let warning = applied.warning.as_ref().unwrap();
                    assert!(warning.starts_with("idle states are not limited"));
                    let now = InEffect::this();
                    assert_eq!(now.scheduler.as_deref(), Some("SCHED_FIFO 1"));
                    assert!(now.memory_locked && !now.is_usual());
                }
                // Not root.
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.starts_with("--fifo 1: "), "{error}");
                    assert!(error.contains("run as root (CAP_"), "{error}");
                }
            }
            assert_eq!(Policy::current().unwrap(), before);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn limit_beyond_the_files_format_is_refused() {
        let error = hold(Path::new("/nonexistent"), u32::MAX).unwrap_err();
        assert!(error.contains("at most 2147483647 us"), "{error}");
    }

    #[test]
    fn settings_are_described() {
        let settings = InEffect {
            scheduler: Some("SCHED_FIFO 50".into()),
            memory_locked: true,
            wake_up_limit_us: Some(0),
        };
        let text = settings.to_string();
        assert_eq!(
            text,
            "SCHED_FIFO 50, memory locked, idle states of at most 0 us"
        );
        assert!(InEffect::default().is_usual());
        assert_eq!(InEffect::default().to_string(), "");
    }

    #[test]
    fn words_of_a_status_file_are_found() {
        let status = "Name:\tx\nVmLck:\t      12 kB\nCapEff:\t0000000000004000\n";
        assert_eq!(field(status, "VmLck:"), Some("12"));
        assert_eq!(field(status, "VmPin:"), None);
    }
}
