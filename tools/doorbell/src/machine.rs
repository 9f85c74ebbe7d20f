// SPDX-License-Identifier: GPL-2.0-only

//! The machine on which figures were measured.

use crate::realtime::InEffect;
use serde::Serialize;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// The accelerator of a machine with signs of real hardware, and none of a virtual machine.
pub const BARE_METAL: &str = "bare metal";
/// The accelerator of a machine with signs of neither.
pub const UNKNOWN: &str = "unknown whether virtual";

/// Facts about a machine that affect its latencies.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: String,
    /// Number of CPUs that this process may use.
    pub cpus: usize,
    /// The kernel's release and version.
    pub kernel: String,
    /// The executor of the instructions: [`BARE_METAL`], KVM, an emulator, or [`UNKNOWN`].
    pub accelerator: String,
    /// The clock source of the kernel.
    pub clock_source: String,
    /// Settings that affect latencies.
    pub settings: InEffect,
}

fn read(path: impl AsRef<Path>) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn list(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

impl Machine {
    /// Returns this machine.
    pub fn this() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let release = read("/proc/sys/kernel/osrelease");
        let version = read("/proc/sys/kernel/version");
        Self {
            cpu: cpu_model(&cpuinfo).unwrap_or_else(|| "unknown CPU".into()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{release} {version}"),
            accelerator: Signs::below(Path::new("/"), crate::sys::hypervisor()).accelerator(),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            settings: InEffect::this(),
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
        )?;
        if !self.settings.is_usual() {
            write!(f, "\n{}", self.settings)?;
        }
        Ok(())
    }
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    // The first is x86's. Other architectures have other names, or none.
    let names = ["model name", "uarch", "cpu model", "Hardware", "machine"];
    let name = names.iter().find_map(|name| value(cpuinfo, name));
    name.map(str::to_owned).or_else(|| {
        let implementer = value(cpuinfo, "CPU implementer")?;
        let part = value(cpuinfo, "CPU part")?;
        Some(format!("CPU of implementer {implementer}, part {part}"))
    })
}

/// Returns the first value of `name` in `/proc/cpuinfo`.
fn value<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// Returns true for the arm64 CPU "max" of QEMU, which exists under emulation only. Implementer 0
/// is reserved for software.
fn is_max_of_tcg(cpuinfo: &str) -> bool {
    value(cpuinfo, "CPU implementer") == Some("0x00") && value(cpuinfo, "CPU part") == Some("0x051")
}

/// Makers of virtual machines, as the firmware's tables name them; see systemd-detect-virt(1).
const VIRTUAL: [&str; 12] = [
    "VMware",
    "innotek GmbH",
    "VirtualBox",
    "Xen",
    "Parallels",
    "BHYVE",
    "KubeVirt",
    "OpenStack",
    "Apple Virtualization",
    "Google Compute Engine",
    "Virtual Machine",
    "Amazon EC2",
];

/// Signs of the executor of the instructions.
#[derive(Clone, Debug, Default)]
struct Signs {
    cpuinfo: String,
    /// The hypervisor's signature in CPUID.
    signature: Option<String>,
    /// The hypervisor that sysfs knows, which is Xen.
    hypervisor: String,
    /// Vendor and product in SMBIOS.
    vendor: String,
    product: String,
    /// The `compatible` and the model of the device tree.
    compatible: String,
    model: String,
    /// The OEM ID of an ACPI table, which only root can read.
    oem: String,
    /// A device that only QEMU has.
    qemu_device: bool,
}

impl Signs {
    /// Reads the signs in the files below `root`.
    fn below(root: &Path, signature: Option<String>) -> Self {
        let read = |path: &str| read(root.join(path));
        let table = fs::read(root.join("sys/firmware/acpi/tables/FACP")).unwrap_or_default();
        let oem = table.get(10..16).unwrap_or_default();
        Self {
            cpuinfo: read("proc/cpuinfo"),
            signature,
            hypervisor: read("sys/hypervisor/type"),
            vendor: read("sys/class/dmi/id/sys_vendor"),
            product: read("sys/class/dmi/id/product_name"),
            compatible: read("proc/device-tree/compatible"),
            model: read("proc/device-tree/model"),
            oem: String::from_utf8_lossy(oem).into_owned(),
            qemu_device: root.join("sys/bus/acpi/devices/QEMU0002:00").exists()
                || list(&root.join("sys/bus/pci/devices")).any(|device| is_qemus(&device)),
        }
    }

    /// Concludes from the signs, the surest one first. The best one is the hypervisor's signature
    /// in CPUID.
    fn accelerator(&self) -> String {
        let known = match self.signature.as_deref() {
            Some("TCGTCGTCGTCG") => "emulated (QEMU TCG)".into(),
            Some("KVMKVMKVM") if self.vendor == "QEMU" => "virtual machine (KVM of QEMU)".into(),
            Some("KVMKVMKVM") => "virtual machine (KVM)".into(),
            Some("Microsoft Hv") => "virtual machine (Hyper-V)".into(),
            Some("VMwareVMware") => "virtual machine (VMware)".into(),
            Some("XenVMMXenVMM") => "virtual machine (Xen)".into(),
            Some(other) => format!("virtual machine ({other})"),
            None => String::new(),
        };
        if !known.is_empty() {
            return known;
        }
        let made_by = |name: &&&str| self.vendor.contains(**name) || self.product.contains(**name);
        let has_flag = self.cpuinfo.contains(" hypervisor");
        if self.cpuinfo.contains("QEMU TCG") || is_max_of_tcg(&self.cpuinfo) {
            "emulated (QEMU TCG)".into()
        } else if !self.hypervisor.is_empty() {
            format!("virtual machine ({})", self.hypervisor)
        } else if self.is_qemu() {
            "QEMU, emulated or with KVM".into()
        } else if let Some(name) = VIRTUAL.iter().find(made_by) {
            format!("virtual machine ({name})")
        } else if has_flag || self.compatible.contains("linux,dummy-virt") {
            "virtual machine (unknown hypervisor)".into()
        } else if self.vendor.is_empty() && self.model.is_empty() {
            UNKNOWN.into()
        } else {
            BARE_METAL.into()
        }
    }

    fn is_qemu(&self) -> bool {
        self.vendor == "QEMU"
            || self.cpuinfo.contains("QEMU Virtual CPU")
            || self.oem == "BOCHS "
            || self.compatible.contains("qemu")
            || self.model.to_lowercase().contains("qemu")
            || self.qemu_device
    }
}

/// Returns true if a PCI device has a vendor, or a subsystem, that only QEMU's devices have.
fn is_qemus(device: &Path) -> bool {
    let id = |name| read(device.join(name));
    matches!(id("vendor").as_str(), "0x1b36" | "0x1234")
        || (id("subsystem_vendor"), id("subsystem_device")) == ("0x1af4".into(), "0x1100".into())
}

/// The CPUs of the two threads of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The CPU of the thread that measures.
    pub first: usize,
    /// A CPU of another core, if possible.
    pub other: Option<usize>,
    /// True if `other` is a hardware thread of the same core, as there is no other core.
    pub siblings: bool,
}

impl Placement {
    /// Chooses two CPUs of `cpus`, which must not be empty.
    pub fn among(cpus: &[usize]) -> Self {
        let siblings = read(format!(
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

/// Parses a list of CPUs such as "0-2,8".
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
        assert_eq!(cpu_model(cpuinfo).as_deref(), Some("A CPU @ 1 GHz"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
        let arm64 = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(
            cpu_model(arm64).as_deref(),
            Some("CPU of implementer 0x41, part 0xd0c")
        );
    }

    #[test]
    fn accelerators_are_distinguished() {
        let on = |signature: Option<&str>, hypervisor: &str, vendor: &str| {
            let signs = Signs {
                cpuinfo: "flags\t: fpu hypervisor\n".into(),
                signature: signature.map(str::to_owned),
                hypervisor: hypervisor.into(),
                vendor: vendor.into(),
                ..Default::default()
            };
            signs.accelerator()
        };
        assert!(on(Some("TCGTCGTCGTCG"), "", "QEMU").contains("TCG"));
        assert_eq!(
            on(Some("KVMKVMKVM"), "", "QEMU"),
            "virtual machine (KVM of QEMU)"
        );
        assert_eq!(on(Some("KVMKVMKVM"), "", ""), "virtual machine (KVM)");
        assert!(on(None, "xen", "").contains("xen"));
        assert!(on(None, "", "QEMU").contains("emulated or"));
        assert!(on(None, "", "").contains("unknown"));
    }

    /// Returns the accelerator of a machine without CPUID signature that has these files.
    fn of_files(name: &str, files: &[(&str, &str)]) -> String {
        let root = std::env::temp_dir().join(format!("machine-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let accelerator = Signs::below(&root, None).accelerator();
        let _ = fs::remove_dir_all(&root);
        accelerator
    }

    #[test]
    fn signs_are_found_without_a_signature() {
        let vendor = ("sys/class/dmi/id/sys_vendor", "A Maker\n");
        let qemu = "QEMU, emulated or with KVM";
        for (name, files, expected) in [
            ("nothing", vec![], UNKNOWN),
            (
                "arm",
                vec![("proc/cpuinfo", "CPU part\t: 0xd0c\n")],
                UNKNOWN,
            ),
            ("maker", vec![vendor], BARE_METAL),
            (
                "board",
                vec![("proc/device-tree/model", "A Board\0")],
                BARE_METAL,
            ),
            (
                "tcg",
                vec![
                    vendor,
                    ("proc/cpuinfo", "model name\t: QEMU TCG CPU version 2.5+\n"),
                ],
                "emulated (QEMU TCG)",
            ),
            (
                "max of arm64",
                vec![
                    ("proc/device-tree/compatible", "linux,dummy-virt\0"),
                    (
                        "proc/cpuinfo",
                        "CPU implementer\t: 0x00\nCPU part\t: 0x051\n",
                    ),
                ],
                "emulated (QEMU TCG)",
            ),
            (
                "cpu64",
                vec![(
                    "proc/cpuinfo",
                    "model name\t: QEMU Virtual CPU version 2.5+\n",
                )],
                qemu,
            ),
            (
                "bochs",
                vec![("sys/firmware/acpi/tables/FACP", "FACP....\x01\0BOCHS BXPC")],
                qemu,
            ),
            (
                "fw_cfg",
                vec![("sys/bus/acpi/devices/QEMU0002:00/hid", "QEMU0002")],
                qemu,
            ),
            (
                "pci",
                vec![
                    vendor,
                    ("sys/bus/pci/devices/0000:00:01.0/vendor", "0x1b36\n"),
                ],
                qemu,
            ),
            (
                "subsystem",
                vec![
                    ("sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086\n"),
                    (
                        "sys/bus/pci/devices/0000:00:00.0/subsystem_vendor",
                        "0x1af4\n",
                    ),
                    (
                        "sys/bus/pci/devices/0000:00:00.0/subsystem_device",
                        "0x1100\n",
                    ),
                ],
                qemu,
            ),
            (
                "virt",
                vec![
                    ("proc/device-tree/compatible", "linux,dummy-virt\0"),
                    ("proc/device-tree/model", "linux,dummy-virt\0"),
                ],
                "virtual machine (unknown hypervisor)",
            ),
            (
                "cloud",
                vec![
                    vendor,
                    ("sys/class/dmi/id/product_name", "Google Compute Engine\n"),
                ],
                "virtual machine (Google Compute Engine)",
            ),
        ] {
            assert_eq!(of_files(name, &files), expected, "{name}");
        }
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
