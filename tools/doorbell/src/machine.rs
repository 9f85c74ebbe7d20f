// SPDX-License-Identifier: GPL-2.0-only

//! What the figures were measured on.

use serde::Serialize;
use std::{fmt, fs};

/// A machine, as far as it matters to latency.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: String,
    /// How many processors this process may use.
    pub cpus: usize,
    /// The kernel's release and version.
    pub kernel: String,
    /// What executes the instructions: bare metal, KVM, an emulator ...
    pub accelerator: String,
    /// What the kernel reads the time from.
    pub clock_source: String,
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let release = read("/proc/sys/kernel/osrelease");
        let version = read("/proc/sys/kernel/version");
        Self {
            cpu: cpu_model(&cpuinfo).unwrap_or("unknown CPU").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{release} {version}"),
            accelerator: accelerator(
                &cpuinfo,
                crate::sys::hypervisor().as_deref(),
                &read("/sys/hypervisor/type"),
                &read("/sys/class/dmi/id/sys_vendor"),
            ),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cpus == 1 { "" } else { "s" };
        write!(
            f,
            "{}, {} CPU{plural}, {}\nLinux {}",
            self.cpu, self.cpus, self.accelerator, self.kernel
        )
    }
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    // x86; others have it under other names, or not at all.
    let names = ["model name", "uarch", "cpu model", "Hardware", "machine"];
    names.iter().find_map(|name| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    })
}

/// The hypervisor's CPUID signature says best who runs us. Where there is none, Xen says so in
/// sysfs and the firmware's tables name who made the machine.
fn accelerator(cpuinfo: &str, signature: Option<&str>, sysfs: &str, vendor: &str) -> String {
    let on = match vendor {
        "QEMU" => " of QEMU",
        _ => "",
    };
    match signature {
        Some("TCGTCGTCGTCG") => "emulated (QEMU TCG)".into(),
        Some("KVMKVMKVM") => format!("virtual machine (KVM{on})"),
        Some("Microsoft Hv") => "virtual machine (Hyper-V)".into(),
        Some("VMwareVMware") => "virtual machine (VMware)".into(),
        Some("XenVMMXenVMM") => "virtual machine (Xen)".into(),
        Some(other) => format!("virtual machine ({other})"),
        None if !sysfs.is_empty() => format!("virtual machine ({sysfs})"),
        None if vendor == "QEMU" => "QEMU, emulated or with KVM".into(),
        None if cpuinfo.contains(" hypervisor") => "virtual machine (unknown hypervisor)".into(),
        None => "bare metal".into(),
    }
}

/// Where the two threads of a measurement run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The CPU of the thread that measures.
    pub first: usize,
    /// A CPU of another core, if possible.
    pub other: Option<usize>,
    /// It was not possible: `other` is another hardware thread of the same core.
    pub siblings: bool,
}

impl Placement {
    /// Chooses from `cpus`, which is not empty.
    pub fn among(cpus: &[usize]) -> Self {
        let siblings = read(&format!(
            "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list",
            cpus[0]
        ));
        Self::choose(cpus, &cpu_list(&siblings))
    }

    fn choose(cpus: &[usize], siblings: &[usize]) -> Self {
        let first = cpus[0];
        let core = cpus[1..].iter().find(|cpu| !siblings.contains(cpu));
        Self {
            first,
            other: core.or(cpus.get(1)).copied(),
            siblings: core.is_none() && cpus.len() > 1,
        }
    }
}

/// Understands "0-2,8".
pub(crate) fn cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_name_is_found() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 1 GHz\nflags\t: fpu hypervisor\n";
        assert_eq!(cpu_model(cpuinfo), Some("A CPU @ 1 GHz"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }

    #[test]
    fn accelerators_are_told_apart() {
        let flags = "flags\t: fpu hypervisor\n";
        let on = |signature, sysfs, vendor| accelerator(flags, signature, sysfs, vendor);
        assert!(on(Some("TCGTCGTCGTCG"), "", "QEMU").contains("TCG"));
        assert_eq!(
            on(Some("KVMKVMKVM"), "", "QEMU"),
            "virtual machine (KVM of QEMU)"
        );
        assert_eq!(on(Some("KVMKVMKVM"), "", ""), "virtual machine (KVM)");
        assert!(on(None, "xen", "").contains("xen"));
        assert!(on(None, "", "QEMU").contains("emulated or"));
        assert!(on(None, "", "").contains("unknown"));
        assert_eq!(accelerator("flags\t: fpu\n", None, "", ""), "bare metal");
    }

    #[test]
    fn cpu_lists_are_understood() {
        assert_eq!(cpu_list("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(cpu_list("3"), [3]);
        assert!(cpu_list("").is_empty());
    }

    #[test]
    fn other_cpu_is_of_another_core_if_there_is_one() {
        let choose = |cpus: &[usize], siblings: &[usize]| {
            let place = Placement::choose(cpus, siblings);
            (place.first, place.other, place.siblings)
        };
        assert_eq!(choose(&[0, 1, 2, 3], &[0, 1]), (0, Some(2), false));
        assert_eq!(choose(&[4, 5], &[4, 5]), (4, Some(5), true));
        assert_eq!(choose(&[0, 1], &[]), (0, Some(1), false));
        assert_eq!(choose(&[6], &[6]), (6, None, false));
    }
}
