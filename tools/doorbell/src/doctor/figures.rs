// SPDX-License-Identifier: GPL-2.0-only

//! Settings and properties of the machine on which the figures depend.

use super::{About, Check, Host, FIGURES};
use crate::machine::{cpu_list, Machine, BARE_METAL, UNKNOWN};

pub(super) fn governor(host: &Host) -> Check {
    let about = About("CPU frequency", FIGURES);
    match &host.governors()[..] {
        [] => about.good("not scaled, according to sysfs"),
        [only] if only == "performance" => about.good("governor performance"),
        other => about.advice(
            format!("governor {}", other.join(", ")),
            "sudo cpupower frequency-set -g performance",
        ),
    }
}

/// The wake-up time in us beyond which a CPU affects round trips between CPUs.
pub(super) const SHALLOW_US: u32 = 10;

pub(super) fn idle(host: &Host) -> Check {
    let about = About("idle states", FIGURES);
    match host.deepest_idle_state() {
        None => about.good("none, according to sysfs"),
        Some((name, us)) if us <= SHALLOW_US => {
            about.good(format!("{name} is the deepest, {us} us to wake up"))
        }
        Some((name, us)) => about.advice(
            format!("down to {name}, {us} us to wake up"),
            format!("sudo cpupower idle-set -D {SHALLOW_US}, while you measure between CPUs"),
        ),
    }
}

pub(super) fn isolation(host: &Host) -> Check {
    let about = About("isolated CPUs", FIGURES);
    let isolated = host.read("/sys/devices/system/cpu/isolated");
    if isolated.is_empty() {
        let online = cpu_list(&host.read("/sys/devices/system/cpu/online"));
        // The other processes need CPUs, too.
        let [.., a, b] = online[..] else {
            return about.good("none: there is one CPU");
        };
        if online.len() < 4 {
            return about.good(format!("none, of {}: there are not enough", online.len()));
        }
        return about.advice(
            "none",
            format!(
                "for the tails: boot with isolcpus={a},{b} nohz_full={a},{b} and run taskset -c \
                 {a},{b} doorbell rtt"
            ),
        );
    }
    about.good(format!("{isolated}: taskset -c {isolated} doorbell rtt"))
}

pub(super) fn clock(host: &Host) -> Check {
    let about = About("clock", FIGURES);
    let clock = host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    match clock.as_str() {
        "tsc" | "kvm-clock" | "arch_sys_counter" => about.good(clock),
        "" => about.advice(
            "unknown",
            "the cost of reading it is printed below each table",
        ),
        _ => about.advice(
            format!("{clock}, which is read by a system call"),
            "dmesg has the reason why it is not the TSC; in a virtual machine the host decides",
        ),
    }
}

pub(super) fn hardware(machine: &Machine) -> Check {
    let about = About("hardware", FIGURES);
    match machine.accelerator.as_str() {
        BARE_METAL => about.good(BARE_METAL),
        UNKNOWN => about.advice(
            UNKNOWN,
            "no sign was found; in a virtual machine, only the ratios are reliable",
        ),
        other => about.advice(
            other,
            "the figures are those of this virtual machine: only the ratios are reliable",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::host, *};
    use crate::doctor::Verdict;

    #[test]
    fn unknown_hardware_is_not_called_bare_metal() {
        let on = |accelerator: &str| {
            hardware(&Machine {
                accelerator: accelerator.into(),
                ..Machine::this()
            })
        };
        assert_eq!(on(BARE_METAL).verdict, Verdict::Good);
        assert_eq!(on(UNKNOWN).verdict, Verdict::Advice);
        assert!(on("emulated (QEMU TCG)")
            .advice
            .unwrap()
            .contains("virtual machine"));
    }

    #[test]
    fn governor_is_checked_on_each_cpu() {
        let cpu = |n: u32, file: &str| format!("sys/devices/system/cpu/cpu{n}/{file}");
        let (a, b) = (
            cpu(0, "cpufreq/scaling_governor"),
            cpu(1, "cpufreq/scaling_governor"),
        );
        let mixed = host("mixed", &[(&a, "performance\n"), (&b, "powersave\n")]);
        let check = governor(&mixed);
        assert_eq!(check.verdict, Verdict::Advice);
        assert!(check.found.contains("powersave"));
        let one = host("one", &[(&a, "performance\n"), (&b, "performance\n")]);
        assert_eq!(governor(&one).verdict, Verdict::Good);
        assert_eq!(governor(&host("nothing", &[])).verdict, Verdict::Good);
    }

    #[test]
    fn deep_idle_states_count_unless_they_are_off() {
        let state =
            |n: u32, file: &str| format!("sys/devices/system/cpu/cpu0/cpuidle/state{n}/{file}");
        let files = |disabled: &'static str| {
            [
                (state(0, "name"), "POLL"),
                (state(0, "latency"), "0"),
                (state(0, "disable"), "0"),
                (state(1, "name"), "C6"),
                (state(1, "latency"), "133"),
                (state(1, "disable"), disabled),
            ]
        };
        let all = |disabled| files(disabled).map(|(path, text)| (path, text));
        let on = all("0");
        let on: Vec<_> = on
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        assert!(idle(&host("deep", &on)).found.contains("C6, 133 us"));
        let off = all("1");
        let off: Vec<_> = off
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        assert_eq!(idle(&host("shallow", &off)).verdict, Verdict::Good);
    }
}
