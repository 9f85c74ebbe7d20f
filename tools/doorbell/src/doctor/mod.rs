// SPDX-License-Identifier: GPL-2.0-only

//! What doorbell and its measurements need, what this machine has of it, and what to do about the rest.

mod host;
mod kvm;
mod signing;

use crate::{
    explain,
    machine::{cpu_list, Machine, BARE_METAL, UNKNOWN},
};
use doorbell::Context;
pub use host::Host;
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Advice,
    /// What [`Check::used_for`] says does not work without.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it is.
    pub what: &'static str,
    /// What it is needed for.
    pub used_for: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What there is.
    pub found: String,
    /// What to do, unless it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// A check whose subject is known already.
struct About(&'static str, &'static str);

impl About {
    fn check(&self, verdict: Verdict, found: impl Into<String>, advice: Option<String>) -> Check {
        Check {
            what: self.0,
            used_for: self.1,
            verdict,
            found: found.into(),
            advice,
        }
    }

    fn good(&self, found: impl Into<String>) -> Check {
        self.check(Verdict::Good, found, None)
    }

    fn advice(&self, found: impl Into<String>, advice: impl Into<String>) -> Check {
        self.check(Verdict::Advice, found, Some(advice.into()))
    }

    fn missing(&self, found: impl Into<String>, advice: impl Into<String>) -> Check {
        self.check(Verdict::Missing, found, Some(advice.into()))
    }
}

/// To build the module; it may be there all the same.
const BUILD: &str = "building the module";
const LOAD: &str = "loading the module";
const ALL: &str = "everything";
const KVM: &str = "rtt --kvm, rtt --qemu";
const QEMU: &str = "rtt --qemu, ivshmem-server";
const FIGURES: &str = "steady figures";

/// Looks at `host` and at the device at `device`.
pub fn examine(host: &Host, device: &Path) -> Vec<Check> {
    let loaded = host.path("/sys/module/doorbell").exists();
    let mut checks = vec![kernel(host)];
    if !loaded {
        checks.extend(to_build(host));
    }
    checks.push(module(host));
    if !loaded {
        checks.push(signing::signing(host));
    }
    checks.push(opened(device, loaded));
    checks.extend([kvm::kvm(Path::new("/dev/kvm")), kvm::qemu()]);
    checks.extend([governor(host), idle(host), isolation(host), clock(host)]);
    checks.push(hardware(&Machine::this()));
    checks
}

/// Checks the requirements of a build, unless no module can be built for this kernel at all.
fn to_build(host: &Host) -> Vec<Check> {
    if !is_able(host) {
        return Vec::new();
    }
    let mut checks = vec![rust(host)];
    if checks[0].verdict != Verdict::Missing {
        checks.push(headers(host));
        let wanted = host.config_text("CONFIG_RUSTC_VERSION_TEXT");
        checks.extend(wanted.map(|wanted| compiler(&wanted, rustc())));
    }
    checks
}

/// Returns true if the kernel is new enough, as far as its release says.
fn is_able(host: &Host) -> bool {
    version(&host.release()).is_none_or(|version| version >= OLDEST)
}

/// Before it the kernel crate has not all that the module uses.
const OLDEST: (u32, u32) = (7, 3);

fn kernel(host: &Host) -> Check {
    let about = About("kernel", ALL);
    let release = host.release();
    match version(&release) {
        Some(version) if version >= OLDEST => about.good(release),
        Some(_) => about.missing(
            release,
            format!(
                "the module needs Linux {}.{} or newer with CONFIG_RUST=y; Debian 13 has one in \
                 trixie-backports",
                OLDEST.0, OLDEST.1
            ),
        ),
        None => about.advice(
            release,
            "a release without a number; 7.3 or newer with CONFIG_RUST=y is needed",
        ),
    }
}

/// "7.3.4-arch1" is 7.3.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn rust(host: &Host) -> Check {
    let about = About("Rust support", BUILD);
    match host.config("CONFIG_RUST") {
        Some(true) => about.good("CONFIG_RUST=y"),
        Some(false) => about.missing(
            "CONFIG_RUST is not set",
            "no module in Rust can be built for this kernel: boot one that has it, or build one \
             (Documentation/rust/quick-start.rst in the kernel's source)",
        ),
        None => about.advice(
            "unknown: no configuration of this kernel is to be seen",
            "install its headers; CONFIG_RUST=y is needed",
        ),
    }
}

fn headers(host: &Host) -> Check {
    let about = About("kernel headers", BUILD);
    let build = host.modules().join("build");
    if !build.join("Makefile").exists() {
        return about.missing(
            format!("nothing at {}", build.display()),
            format!(
                "apt install linux-headers-{}, or the like for your distribution",
                host.release()
            ),
        );
    }
    if !build.join("rust/libkernel.rmeta").exists() {
        return about.missing(
            format!("{} has no Rust metadata", build.display()),
            "distributions leave it out; 'make' in doorbell's directory says how it is made",
        );
    }
    about.good(build.display().to_string())
}

fn module(host: &Host) -> Check {
    let about = About("module", ALL);
    if host.path("/sys/module/doorbell").exists() {
        return about.good("loaded");
    }
    if installed(host).is_some() {
        return about.missing("installed, not loaded", "sudo modprobe doorbell");
    }
    about.missing(
        "not installed",
        match is_able(host) && host.config("CONFIG_RUST") != Some(false) {
            true => {
                "in doorbell's directory: make && sudo make modules_install && sudo modprobe doorbell"
            }
            false => {
                "not for this kernel; in doorbell's directory, make rtt runs it all in a virtual \
                 machine that has another one"
            }
        },
    )
}

/// Finds the module in the directories for modules that were built on the machine.
fn installed(host: &Host) -> Option<PathBuf> {
    let names = ["", ".xz", ".zst", ".gz"].map(|suffix| format!("doorbell.ko{suffix}"));
    let directories = ["updates", "updates/dkms", "extra"].map(|dir| host.modules().join(dir));
    let mut files = directories
        .iter()
        .flat_map(|directory| names.iter().map(|name| directory.join(name)));
    files.find(|file| file.exists())
}

/// Returns the version of the compiler that make would use.
fn rustc() -> io::Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Compares the compiler with the one that the kernel was built with, `wanted`.
fn compiler(wanted: &str, version: io::Result<String>) -> Check {
    let about = About("Rust compiler", BUILD);
    let found = match version {
        Ok(version) if version == wanted => return about.good(version),
        Ok(version) => version,
        Err(error) => format!("rustc: {error}"),
    };
    about.missing(
        found,
        format!(
            "the kernel's metadata is for {wanted} and no other: install that one (the package of \
             the kernel's distribution, or rustup toolchain install VERSION), and make RUSTC=..."
        ),
    )
}

fn opened(device: &Path, loaded: bool) -> Check {
    let about = About("device", ALL);
    let name = device.display();
    let error = match Context::open_path(device).and_then(|context| context.info()) {
        Ok(info) => return about.good(format!("{name}, ABI version {}", info.abi_version)),
        Err(error) => error,
    };
    let errno = error.errno().map(io::Error::from_raw_os_error);
    let found = errno.map_or_else(|| explain(&error), |errno| format!("{name}: {errno}"));
    let advice = match error.errno() {
        Some(libc::EACCES | libc::EPERM) => {
            "as root; or let a group have it: a line for udev is in Documentation/uapi.rst"
        }
        Some(libc::ENOENT) if loaded => "the module is there, so udev is not: see 'dmesg'",
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => "comes with the module",
        _ => "that is another device: --device, or DOORBELL_DEVICE",
    };
    about.missing(found, advice)
}

fn governor(host: &Host) -> Check {
    let about = About("CPU frequency", FIGURES);
    let mut governors = host.of_cpus("cpufreq/scaling_governor");
    governors.sort();
    governors.dedup();
    match &governors[..] {
        [] => about.good("not scaled, as far as can be seen"),
        [only] if only == "performance" => about.good("governor performance"),
        other => about.advice(
            format!("governor {}", other.join(", ")),
            "sudo cpupower frequency-set -g performance",
        ),
    }
}

/// A CPU that needs longer than this to wake up shows in a round trip between CPUs.
const SHALLOW_US: u32 = 10;

fn idle(host: &Host) -> Check {
    let about = About("idle states", FIGURES);
    match host.deepest_idle_state() {
        None => about.good("none, as far as can be seen"),
        Some((name, us)) if us <= SHALLOW_US => {
            about.good(format!("{name} is the deepest, {us} us to wake up"))
        }
        Some((name, us)) => about.advice(
            format!("down to {name}, {us} us to wake up"),
            format!("sudo cpupower idle-set -D {SHALLOW_US}, while you measure between CPUs"),
        ),
    }
}

fn isolation(host: &Host) -> Check {
    let about = About("isolated CPUs", FIGURES);
    let isolated = host.read("/sys/devices/system/cpu/isolated");
    if isolated.is_empty() {
        let online = cpu_list(&host.read("/sys/devices/system/cpu/online"));
        // Everybody else needs some, too.
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

fn clock(host: &Host) -> Check {
    let about = About("clock", FIGURES);
    let clock = host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    match clock.as_str() {
        "tsc" | "kvm-clock" | "arch_sys_counter" => about.good(clock),
        "" => about.advice(
            "unknown",
            "the clock's own cost is printed below each table",
        ),
        _ => about.advice(
            format!("{clock}, which is read by a system call"),
            "see in dmesg why it is not the TSC; in a virtual machine the host decides",
        ),
    }
}

fn hardware(machine: &Machine) -> Check {
    let about = About("hardware", FIGURES);
    match machine.accelerator.as_str() {
        BARE_METAL => about.good(BARE_METAL),
        UNKNOWN => about.advice(
            UNKNOWN,
            "nothing here says; in a virtual machine, look at the ratios",
        ),
        other => about.advice(
            other,
            "figures are those of this virtual machine: look at the ratios",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn host(name: &str, files: &[(&str, &str)]) -> Host {
        let root = std::env::temp_dir().join(format!("doctor-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Host::below(root)
    }

    const RELEASE: (&str, &str) = ("proc/sys/kernel/osrelease", "7.3.4+deb13-amd64\n");

    #[test]
    fn versions_are_understood() {
        assert_eq!(version("7.3.4+deb13-amd64"), Some((7, 3)));
        assert_eq!(version("10.0-rc1"), Some((10, 0)));
        assert_eq!(version("next"), None);
    }

    #[test]
    fn old_kernel_is_named() {
        let old = host("old", &[("proc/sys/kernel/osrelease", "6.12.1\n")]);
        assert_eq!(kernel(&old).verdict, Verdict::Missing);
        let new = host("new", &[RELEASE]);
        assert_eq!(kernel(&new).verdict, Verdict::Good);
    }

    #[test]
    fn nothing_is_to_be_installed_for_a_kernel_that_is_too_old() {
        let old = host("too-old", &[("proc/sys/kernel/osrelease", "6.12.1\n")]);
        let advice = kernel(&old).advice.unwrap();
        assert!(
            advice.contains("7.3 or newer with CONFIG_RUST=y"),
            "{advice}"
        );
        assert!(to_build(&old).is_empty());
        let advice = module(&old).advice.unwrap();
        assert!(
            advice.contains("make rtt") && !advice.contains("modules_install"),
            "{advice}"
        );
        // Nor for one without Rust.
        let config = (
            "boot/config-7.3.4+deb13-amd64",
            "CONFIG_RUST_IS_AVAILABLE=y\n",
        );
        let without = host("rustless", &[RELEASE, config]);
        let checks = to_build(&without);
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].what, "Rust support");
        assert!(module(&without).advice.unwrap().contains("make rtt"));
    }

    #[test]
    fn compiler_has_to_be_the_kernels() {
        let wanted = "rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)";
        assert_eq!(compiler(wanted, Ok(wanted.into())).verdict, Verdict::Good);
        // The same version of another distributor is another compiler.
        let other = compiler(wanted, Ok("rustc 1.85.0 (4d91de4e4 2025-02-17)".into()));
        assert_eq!(other.verdict, Verdict::Missing);
        assert!(other.advice.unwrap().contains(wanted));
        let none = compiler(wanted, Err(io::ErrorKind::NotFound.into()));
        assert_eq!(none.verdict, Verdict::Missing);
        assert!(none.found.contains("rustc: "));

        let config = (
            "lib/modules/7.3.4+deb13-amd64/build/.config",
            "CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 0.1 (a b)\"\n",
        );
        let checks = to_build(&host("compiler", &[RELEASE, config]));
        let check = checks.iter().find(|check| check.what == "Rust compiler");
        assert!(check
            .unwrap()
            .advice
            .as_ref()
            .unwrap()
            .contains("rustc 0.1 (a b)"));
        let unknown = to_build(&host("compilerless", &[RELEASE]));
        assert!(unknown.iter().all(|check| check.what != "Rust compiler"));
    }

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
    fn what_is_missing_to_build_is_told_apart() {
        let bare = host("bare", &[RELEASE]);
        assert!(headers(&bare)
            .advice
            .unwrap()
            .contains("linux-headers-7.3.4+deb13-amd64"));
        assert_eq!(rust(&bare).verdict, Verdict::Advice);
        let build = "lib/modules/7.3.4+deb13-amd64/build";
        let makefile = format!("{build}/Makefile");
        let config = format!("{build}/.config");
        let files = [
            RELEASE,
            (&makefile, ""),
            (&config, "# CONFIG_RUST is not set\n"),
        ];
        let without = host("without", &files);
        assert_eq!(rust(&without).verdict, Verdict::Missing);
        assert!(headers(&without).found.contains("metadata"));
        let metadata = format!("{build}/rust/libkernel.rmeta");
        let files = [
            RELEASE,
            (&makefile, ""),
            (&config, "CONFIG_RUST=y\n"),
            (&metadata, ""),
        ];
        let with = host("with", &files);
        assert_eq!(rust(&with).verdict, Verdict::Good);
        assert_eq!(headers(&with).verdict, Verdict::Good);
    }

    #[test]
    fn module_is_found_where_it_is() {
        let installed = "lib/modules/7.3.4+deb13-amd64/updates/doorbell.ko.xz";
        let there = host("there", &[RELEASE, (installed, "")]);
        assert!(module(&there).advice.unwrap().contains("modprobe"));
        let loaded = host("loaded", &[RELEASE, ("sys/module/doorbell/refcnt", "0")]);
        assert_eq!(module(&loaded).verdict, Verdict::Good);
        let none = host("none", &[RELEASE]);
        assert!(module(&none).advice.unwrap().contains("make"));
    }

    #[test]
    fn cpus_are_looked_at_one_by_one() {
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

    #[test]
    fn other_device_is_no_doorbell() {
        let check = opened(Path::new("/dev/null"), true);
        assert_eq!(check.verdict, Verdict::Missing);
        assert!(check.advice.unwrap().contains("--device"));
        let check = opened(Path::new("/nonexistent"), false);
        assert!(check.advice.unwrap().contains("module"));
    }
}
