// SPDX-License-Identifier: GPL-2.0-only

//! What the figures were measured on.

use serde::Serialize;
use std::{fmt, fs};

/// A machine, as far as it matters to latency.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: String,
    /// How many processors are online.
    pub cpus: usize,
    /// The kernel's release and version.
    pub kernel: String,
    /// What executes the instructions: bare metal, KVM, an emulator ...
    pub accelerator: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let release = read("/proc/sys/kernel/osrelease");
        let version = read("/proc/sys/kernel/version");
        Self {
            cpu: cpu_model(&cpuinfo).unwrap_or("unknown CPU").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", release.trim(), version.trim()),
            accelerator: accelerator(&cpuinfo, crate::sys::hypervisor().as_deref()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} CPUs, {}\nLinux {}",
            self.cpu, self.cpus, self.accelerator, self.kernel
        )
    }
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// The hypervisor's signature says who runs us; without one the CPU's flag says whether anybody does.
fn accelerator(cpuinfo: &str, signature: Option<&str>) -> String {
    match signature {
        Some("TCGTCGTCGTCG") => "emulated (QEMU TCG)".into(),
        Some("KVMKVMKVM") => "virtual machine (KVM)".into(),
        Some("Microsoft Hv") => "virtual machine (Hyper-V)".into(),
        Some("VMwareVMware") => "virtual machine (VMware)".into(),
        Some("XenVMMXenVMM") => "virtual machine (Xen)".into(),
        Some(other) => format!("virtual machine ({other})"),
        None if cpuinfo.contains(" hypervisor") => "virtual machine (unknown hypervisor)".into(),
        None => "bare metal".into(),
    }
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
        assert!(accelerator(flags, Some("TCGTCGTCGTCG")).contains("TCG"));
        assert!(accelerator(flags, Some("KVMKVMKVM")).contains("KVM"));
        assert!(accelerator(flags, None).contains("unknown"));
        assert_eq!(accelerator("flags\t: fpu\n", None), "bare metal");
    }
}
