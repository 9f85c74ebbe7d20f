// SPDX-License-Identifier: GPL-2.0-only

//! KVM and QEMU.

use super::{About, Check, KVM, QEMU};
use crate::sys::kvm::{self, Extension};
use std::{io, path::Path, process::Command};

/// Checks KVM.
pub(super) fn kvm(device: &Path) -> Check {
    let about = About("KVM", KVM);
    let system = match kvm::System::open(device) {
        Ok(system) => system,
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run as root; or sudo adduser $USER kvm, and log in again"
                }
                _ => no_device(std::env::consts::ARCH),
            };
            return about.missing(format!("{}: {error}", device.display()), advice);
        }
    };
    let lacks: Vec<&str> = [
        (Extension::Irqfd, "irqfd"),
        (Extension::Ioeventfd, "ioeventfd"),
        (Extension::IoeventfdAnyLength, "ioeventfd of any length"),
    ]
    .into_iter()
    .filter(|&(extension, _)| !system.has(extension))
    .map(|(_, name)| name)
    .collect();
    if !lacks.is_empty() {
        let found = format!("{} without {}", device.display(), lacks.join(", "));
        return about.missing(found, "a kernel with CONFIG_HAVE_KVM_IRQCHIP is needed");
    }
    if let Err(error) = system.create_vm() {
        return about.missing(
            format!("{} makes no virtual machine: {error}", device.display()),
            "does another hypervisor use the hardware? see 'dmesg'",
        );
    }
    runs(&about, device, guest())
}

/// Returns the remedy if there is no device.
fn no_device(arch: &str) -> &'static str {
    match arch {
        "x86_64" => {
            "sudo modprobe kvm-intel or kvm-amd; if there is no such device, turn virtualization \
             on in the firmware, or nested virtualization on the host"
        }
        "aarch64" => {
            "KVM is a part of the kernel (CONFIG_KVM), which must start at EL2: dmesg | grep -i \
             kvm; in a virtual machine, the host must support nested virtualization"
        }
        _ => "a kernel with CONFIG_KVM, on hardware with virtualization, is needed",
    }
}

/// The result of a guest.
#[derive(Debug)]
enum Guest {
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        allow(dead_code)
    )]
    Runs,
    /// There is no guest for this machine, for this reason.
    Untried(String),
}

/// Returns the check of a KVM with all extensions.
fn runs(about: &About, device: &Path, guest: anyhow::Result<Guest>) -> Check {
    let device = device.display();
    match guest {
        Ok(Guest::Runs) => about.good(format!("{device}, with irqfd and ioeventfd; a guest runs")),
        Ok(Guest::Untried(why)) => about.advice(
            format!("{device}, with irqfd and ioeventfd; a guest was not tried"),
            format!(
                "the guest of doctor and rtt kvm cannot run here: {why}; try another one: \
                 qemu-system-{} -accel kvm",
                std::env::consts::ARCH
            ),
        ),
        Err(error) => about.missing(
            format!("{device}, but a guest does not run"),
            format!("{error:#}"),
        ),
    }
}

/// The timeout of a guest for a single hypercall.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs a guest, if there is one for this machine. Guests may hang although the device exists.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn guest() -> anyhow::Result<Guest> {
    let scenario = kvm_rtt::Scenario::Hypercall;
    let bench = kvm_rtt::Testbench::new(None, &[scenario], kvm_rtt::Cpus::default());
    outcome(bench.and_then(|bench| bench.with_limit(PATIENCE).run(scenario, 1)))
}

/// Returns the result of a guest. A host that cannot have this guest may run others.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn outcome<T>(run: anyhow::Result<T>) -> anyhow::Result<Guest> {
    match run {
        Ok(_) => Ok(Guest::Runs),
        Err(error) => match error.downcast_ref::<kvm_rtt::Unsupported>() {
            Some(why) => Ok(Guest::Untried(why.to_string())),
            None => Err(error),
        },
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn guest() -> anyhow::Result<Guest> {
    let arch = std::env::consts::ARCH;
    Ok(Guest::Untried(format!(
        "it is for x86-64 and arm64, this is {arch}"
    )))
}

/// Checks the QEMU on the PATH.
pub(super) fn qemu() -> Check {
    let about = About("QEMU", QEMU);
    let program = format!("qemu-system-{}", std::env::consts::ARCH);
    let run = |args: &[&str]| {
        let output = Command::new(&program).args(args).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(version) = run(&["--version"]) else {
        return about.missing(
            format!("no {program} on the PATH"),
            "apt install qemu-system, or the like for your distribution",
        );
    };
    let version = version.lines().next().unwrap_or_default().to_owned();
    let has_device = run(&["-device", "help"]).is_some_and(|all| all.contains("ivshmem-doorbell"));
    if !has_device {
        return about.missing(
            format!("{version}, without ivshmem-doorbell"),
            "this QEMU was built without CONFIG_IVSHMEM_DEVICE: take your distribution's full one",
        );
    }
    about.good(format!("{version}, with ivshmem-doorbell"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn remedy_is_that_of_the_architecture() {
        assert!(no_device("x86_64").contains("modprobe kvm-"));
        for other in ["aarch64", "riscv64"] {
            assert!(!no_device(other).contains("modprobe"), "{other}");
        }
        assert!(no_device("aarch64").contains("EL2"));
    }

    #[test]
    fn untried_guest_is_not_reported_as_good() {
        let check = |guest| runs(&About("KVM", KVM), Path::new("/dev/kvm"), guest);
        let good = check(Ok(Guest::Runs));
        assert_eq!(good.verdict, Verdict::Good);
        assert!(good.found.contains("a guest runs"));
        let unknown = check(Ok(Guest::Untried("it is for others".into())));
        assert_eq!(unknown.verdict, Verdict::Advice);
        assert!(unknown.found.contains("not tried"), "{}", unknown.found);
        assert!(unknown.advice.unwrap().contains("here: it is for others;"));
        let hangs = check(Err(anyhow::anyhow!("nothing happened for 2 s")));
        assert_eq!(hangs.verdict, Verdict::Missing);
        assert!(hangs.advice.unwrap().contains("2 s"));
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn host_that_cannot_have_the_guest_is_not_reported_as_bad() {
        let unsupported = anyhow::Error::from(kvm_rtt::Unsupported("no GICv3"));
        let error = Err::<(), _>(unsupported.context("create an interrupt controller"));
        assert!(matches!(outcome(error), Ok(Guest::Untried(why)) if why == "no GICv3"));
        assert!(outcome(Err::<(), _>(anyhow::anyhow!("it hangs"))).is_err());
        assert!(matches!(outcome(Ok(())), Ok(Guest::Runs)));
    }
}
