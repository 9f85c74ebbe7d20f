// SPDX-License-Identifier: GPL-2.0-only

//! Settings that matter for the tails of distributions, as those who tune a machine check them.

use super::{figures::SHALLOW_US, About, Check, Host, FIGURES};
use crate::{machine::cpu_list, realtime};
use rustix::process::{getrlimit, Resource};

/// The number of CPUs from which some can be spared for a measurement.
const ENOUGH_CPUS: usize = 4;
/// Needed by an option of `rtt`.
const FIFO: &str = "rtt --fifo";

/// Returns all checks.
pub(super) fn checks(host: &Host) -> Vec<Check> {
    let fifo_limit = match realtime::has_capability(realtime::CAP_SYS_NICE) {
        true => None,
        false => getrlimit(Resource::Rtprio).current,
    };
    vec![
        wake_up(host),
        ticks(host),
        interrupts(host),
        huge_pages(host),
        mitigations(host),
        throttling(host),
        priority(fifo_limit),
        memory_lock(realtime::may_lock(), getrlimit(Resource::Memlock).current),
    ]
}

/// Returns the limit on wake-up times, which another process may have set.
fn wake_up(host: &Host) -> Check {
    let about = About("wake-up limit", FIGURES);
    let path = host.path(realtime::WAKE_UP_FILE);
    if !path.exists() {
        return about.good("none to set: there is no /dev/cpu_dma_latency");
    }
    match realtime::wake_up_limit(&path) {
        Some(us) => about.good(format!("{us} us, held by a process")),
        None if host
            .deepest_idle_state()
            .is_none_or(|(_, us)| us <= SHALLOW_US) =>
        {
            about.good("none is held, and no idle state is deep")
        }
        None => about.advice(
            "none is held",
            "doorbell rtt --latency 0 holds one while it measures",
        ),
    }
}

fn ticks(host: &Host) -> Check {
    let about = About("ticks", FIGURES);
    let off = host.read("/sys/devices/system/cpu/nohz_full");
    // The file has "(null)" if the kernel was booted without the option.
    if !cpu_list(&off).is_empty() {
        return about.good(format!("off while one task runs, on CPU {off}"));
    }
    match host.config("CONFIG_NO_HZ_FULL") {
        Some(false) => about.good("on each CPU: this kernel has no CONFIG_NO_HZ_FULL"),
        _ if cpu_list(&host.read("/sys/devices/system/cpu/online")).len() < ENOUGH_CPUS => {
            about.good("on each CPU: there are not enough to spare some")
        }
        _ => about.advice(
            "on each CPU",
            "for the tails: boot with nohz_full= and the CPUs on which you measure",
        ),
    }
}

fn interrupts(host: &Host) -> Check {
    let about = About("interrupts", FIGURES);
    let isolated = host.read("/sys/devices/system/cpu/isolated");
    match (host.runs("irqbalance"), isolated.is_empty()) {
        (false, _) => about.good("irqbalance does not move them"),
        // It leaves isolated CPUs alone.
        (true, false) => about.good(format!("irqbalance spares CPU {isolated}")),
        (true, true) => about.advice(
            "irqbalance moves them between CPUs",
            "sudo systemctl stop irqbalance, while you measure",
        ),
    }
}

fn huge_pages(host: &Host) -> Check {
    let about = About("huge pages", FIGURES);
    let setting = host.read("/sys/kernel/mm/transparent_hugepage/enabled");
    match selected(&setting) {
        None => about.good("not transparent, according to sysfs"),
        Some("always") => about.advice(
            "transparent ones for each process",
            "khugepaged disturbs: echo madvise | sudo tee \
             /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        Some(other) => about.good(format!("transparent ones: {other}")),
    }
}

/// Returns the choice in brackets, as sysfs marks it.
fn selected(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

fn mitigations(host: &Host) -> Check {
    let about = About("mitigations", FIGURES);
    let mut names: Vec<String> = host
        .entries("/sys/devices/system/cpu/vulnerabilities")
        .into_iter()
        .filter(|name| {
            let path = format!("/sys/devices/system/cpu/vulnerabilities/{name}");
            host.read(&path).starts_with("Mitigation")
        })
        .collect();
    names.sort();
    let n = names.len();
    let costly = |name: &String| COSTLY.contains(&name.as_str());
    let costly: Vec<String> = names.into_iter().filter(costly).collect();
    match (n, &costly[..]) {
        (0, _) => about.good("none in effect"),
        (n, []) => about.good(format!("{n} in effect, none of them costly")),
        (n, costly) => about.advice(
            format!("{n} in effect, such as {}", costly.join(", ")),
            "part of each figure: compare with equal ones, or boot with mitigations=off if no \
             code is untrusted",
        ),
    }
}

/// Vulnerabilities whose mitigations make system calls or exits of a guest slower.
const COSTLY: [&str; 6] = [
    "mds",
    "meltdown",
    "retbleed",
    "spec_rstack_overflow",
    "spectre_v2",
    "vmscape",
];

fn throttling(host: &Host) -> Check {
    let about = About("RT throttling", FIFO);
    let limit = host.read("/proc/sys/kernel/sched_rt_runtime_us");
    let period = host.read("/proc/sys/kernel/sched_rt_period_us");
    match (limit.parse::<i64>(), period.parse::<i64>()) {
        (Ok(limit), Ok(period)) if limit >= 0 && limit < period => about.advice(
            format!("{limit} of {period} us, then other tasks run"),
            "sudo sysctl kernel.sched_rt_runtime_us=-1, while you measure with --fifo",
        ),
        (Ok(_), _) => about.good("off"),
        (Err(_), _) => about.good("none, according to sysctl"),
    }
}

/// Checks the highest priority that this process may set; none is no limit.
fn priority(limit: Option<u64>) -> Check {
    let about = About("RT priority", FIFO);
    match limit {
        None => about.good("any"),
        Some(limit @ 1..) => about.good(format!("up to {limit}")),
        Some(0) => about.advice(
            "none is allowed",
            "for --fifo run as root (CAP_SYS_NICE), or set rtprio in /etc/security/limits.conf",
        ),
    }
}

fn memory_lock(may_lock: bool, limit: Option<u64>) -> Check {
    let about = About("locked memory", FIFO);
    match (may_lock, limit) {
        (true, _) | (_, None) => about.good("no limit"),
        (false, Some(limit)) => about.advice(
            format!("at most {} KiB", limit / 1024),
            "for --fifo run as root (CAP_IPC_LOCK), or set memlock in /etc/security/limits.conf",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::host, *};
    use crate::doctor::Verdict;

    /// Checks a host with one file, and returns the verdict with all text.
    fn with(check: fn(&Host) -> Check, name: &str, files: &[(&str, &str)]) -> (Verdict, String) {
        let check = check(&host(&format!("realtime-{name}"), files));
        let text = format!("{} {}", check.found, check.advice.unwrap_or_default());
        (check.verdict, text)
    }

    #[track_caller]
    fn expect((verdict, text): (Verdict, String), expected: Verdict, part: &str) {
        assert_eq!(verdict, expected, "{text}");
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn limit_on_wake_up_times_is_read() {
        let path = "dev/cpu_dma_latency";
        expect(with(wake_up, "no-file", &[]), Verdict::Good, "none to set");
        let zero = std::str::from_utf8(&[0; 4]).unwrap();
        expect(
            with(wake_up, "zero", &[(path, zero)]),
            Verdict::Good,
            "0 us",
        );
        let default = 2_000_000_000_i32.to_ne_bytes();
        let of_c6 = |name: &str, us: &str| {
            let state = "sys/devices/system/cpu/cpu0/cpuidle/state1";
            let (latency, disable) = (format!("{state}/latency"), format!("{state}/disable"));
            let root = host(name, &[(path, ""), (&latency, us), (&disable, "0")]);
            std::fs::write(root.path(path), default).unwrap();
            wake_up(&root)
        };
        let deep = of_c6("realtime-deep", "133");
        assert!(deep.advice.unwrap().contains("--latency 0"));
        assert_eq!(of_c6("realtime-shallow", "1").verdict, Verdict::Good);
    }

    #[test]
    fn ticks_are_off_on_listed_cpus() {
        let path = "sys/devices/system/cpu/nohz_full";
        expect(
            with(ticks, "list", &[(path, "2-3\n")]),
            Verdict::Good,
            "CPU 2-3",
        );
        let online = "sys/devices/system/cpu/online";
        let null = with(ticks, "null", &[(path, "(null)\n"), (online, "0-7\n")]);
        expect(null, Verdict::Advice, "nohz_full=");
        let two = with(ticks, "two", &[(path, "(null)\n"), (online, "0-1\n")]);
        expect(two, Verdict::Good, "not enough");
        let files = [
            super::super::tests::RELEASE,
            (
                "boot/config-7.3.4+deb13-amd64",
                "# CONFIG_NO_HZ_FULL is not set\n",
            ),
        ];
        expect(
            with(ticks, "config", &files),
            Verdict::Good,
            "CONFIG_NO_HZ_FULL",
        );
    }

    #[test]
    fn irqbalance_is_found_among_the_processes() {
        let balance = ("proc/17/comm", "irqbalance\n");
        let other = ("proc/18/comm", "bash\n");
        let isolated = ("sys/devices/system/cpu/isolated", "2,3\n");
        let advice = with(interrupts, "both", &[balance, other]);
        expect(advice, Verdict::Advice, "stop irqbalance");
        expect(
            with(interrupts, "other", &[other]),
            Verdict::Good,
            "does not",
        );
        let spared = with(interrupts, "isolated", &[balance, isolated]);
        expect(spared, Verdict::Good, "CPU 2,3");
    }

    #[test]
    fn huge_pages_of_all_processes_are_noticed() {
        let path = "sys/kernel/mm/transparent_hugepage/enabled";
        let always = with(huge_pages, "always", &[(path, "[always] madvise never\n")]);
        expect(always, Verdict::Advice, "echo madvise");
        let madvise = with(huge_pages, "madvise", &[(path, "always [madvise] never\n")]);
        expect(madvise, Verdict::Good, "madvise");
        expect(
            with(huge_pages, "without", &[]),
            Verdict::Good,
            "not transparent",
        );
    }

    #[test]
    fn costly_mitigations_are_named() {
        let file = |name: &str| format!("sys/devices/system/cpu/vulnerabilities/{name}");
        let (spectre, melt, l1tf) = (file("spectre_v2"), file("meltdown"), file("l1tf"));
        let both = [
            (spectre.as_str(), "Mitigation: Retpolines\n"),
            (melt.as_str(), "Not affected\n"),
            (l1tf.as_str(), "Mitigation: PTE Inversion\n"),
        ];
        let advice = with(mitigations, "both", &both);
        assert!(!advice.1.contains("meltdown"), "{}", advice.1);
        expect(advice, Verdict::Advice, "2 in effect, such as spectre_v2");
        expect(
            with(mitigations, "cheap", &both[1..]),
            Verdict::Good,
            "1 in effect",
        );
        expect(
            with(mitigations, "none", &both[1..2]),
            Verdict::Good,
            "none",
        );
    }

    #[test]
    fn throttling_is_off_if_there_is_no_limit() {
        let (runtime, period) = (
            "proc/sys/kernel/sched_rt_runtime_us",
            "proc/sys/kernel/sched_rt_period_us",
        );
        let with = |name, limit| with(throttling, name, &[(runtime, limit), (period, "1000000\n")]);
        expect(
            with("on", "950000\n"),
            Verdict::Advice,
            "950000 of 1000000 us",
        );
        expect(with("off", "-1\n"), Verdict::Good, "off");
        expect(with("all", "1000000\n"), Verdict::Good, "off");
    }

    #[test]
    fn limits_of_this_process_are_explained() {
        assert_eq!(priority(None).verdict, Verdict::Good);
        assert_eq!(priority(Some(50)).found, "up to 50");
        assert!(priority(Some(0)).advice.unwrap().contains("CAP_SYS_NICE"));
        assert_eq!(memory_lock(true, Some(0)).verdict, Verdict::Good);
        let limited = memory_lock(false, Some(8 << 20));
        assert_eq!(limited.found, "at most 8192 KiB");
        assert!(limited.advice.unwrap().contains("CAP_IPC_LOCK"));
    }
}
