// SPDX-License-Identifier: GPL-2.0-only

//! The kernel, and the requirements of building and loading the module.

use super::{About, Check, Host, Verdict, ALL, BUILD};
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// Checks the requirements of a build, unless no module can be built for this kernel at all.
pub(super) fn to_build(host: &Host) -> Vec<Check> {
    if !is_able(host) {
        return Vec::new();
    }
    let mut checks = vec![rust(host)];
    if checks[0].verdict != Verdict::Missing {
        checks.push(headers(host));
        let wanted = host.config_text("CONFIG_RUSTC_VERSION_TEXT");
        checks.extend(wanted.map(|wanted| compiler(&wanted, rustc())));
        checks.push(btf(host, has_pahole()));
    }
    checks
}

/// Returns true if the kernel is new enough, according to its release.
fn is_able(host: &Host) -> bool {
    version(&host.release()).is_none_or(|version| version >= OLDEST)
}

/// The oldest usable kernel. The kernel crate of older ones lacks parts that the module uses.
const OLDEST: (u32, u32) = (7, 2);

pub(super) fn kernel(host: &Host) -> Check {
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
            "the release has no number; 7.2 or newer with CONFIG_RUST=y is needed",
        ),
    }
}

/// Returns the version of a release: (7, 3) of "7.3.4-arch1".
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
            "unknown: the configuration of this kernel is not readable",
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
            "distributions leave it out; 'make' in doorbell's directory prints how to make it",
        );
    }
    about.good(build.display().to_string())
}

pub(super) fn module(host: &Host) -> Check {
    let about = About("module", ALL);
    let file = installed(host);
    if host.path("/sys/module/doorbell").exists() {
        return loaded(host, file.and_then(|file| modinfo(&file)));
    }
    if file.is_some() {
        return about.missing("installed, not loaded", "sudo modprobe doorbell");
    }
    about.missing(
        "not installed",
        match is_able(host) && host.config("CONFIG_RUST") != Some(false) {
            true => {
                "in doorbell's directory: make && sudo make modules_install && sudo modprobe doorbell"
            }
            false => {
                "not for this kernel; in doorbell's directory, make rtt runs everything in a \
                 virtual machine with another kernel"
            }
        },
    )
}

/// Compares the loaded module with the installed file, of which `modinfo` is the description. An upgrade does not
/// replace the loaded one.
fn loaded(host: &Host, modinfo: Option<String>) -> Check {
    let about = About("module", ALL);
    let modinfo = modinfo.unwrap_or_default();
    let field = |name: &str| {
        let mut lines = modinfo.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    for name in ["version", "srcversion"] {
        let running = host.read(&format!("/sys/module/doorbell/{name}"));
        // One that is not known says nothing.
        match field(name) {
            Some(file) if !running.is_empty() && file != running => {
                return about.advice(
                    format!("loaded, {name} {running}; the installed file has {file}"),
                    "the tools and headers are those of the file: sudo modprobe -r doorbell && \
                     sudo modprobe doorbell, or reboot; 'doorbell ps' lists the processes that have \
                     the device open",
                );
            }
            _ => {}
        }
    }
    about.good("loaded")
}

/// Describes a file of a module. Its directory may not be in a user's PATH.
fn modinfo(file: &Path) -> Option<String> {
    let output = Command::new("/sbin/modinfo").arg(file).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Finds the module in the directories for modules that were built on the machine.
pub(super) fn installed(host: &Host) -> Option<PathBuf> {
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

/// Compares the compiler with `wanted`, the one that the kernel was built with.
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

/// Returns true if `pahole` can be run, which reads BTF.
fn has_pahole() -> bool {
    let output = Command::new("pahole").arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// Checks for `pahole` and the kernel's BTF, from which a build gets the layout of eventfds.
fn btf(host: &Host, has_pahole: bool) -> Check {
    const LACKS: &str =
        "the module then lacks DOORBELL_EVENTFD_PEEK and DOORBELL_TRIGGER_FLAG_COUNT";
    let about = About("BTF", BUILD);
    if !has_pahole {
        return about.advice("no pahole", format!("apt install pahole; {LACKS}"));
    }
    let build = host.modules().join("build");
    let vmlinux = build.join("vmlinux");
    match build.join("Makefile").exists() && !vmlinux.exists() {
        true => about.advice(format!("no {}", vmlinux.display()), LACKS),
        false => about.good("pahole"),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{host, RELEASE},
        *,
    };

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
            advice.contains("7.2 or newer with CONFIG_RUST=y"),
            "{advice}"
        );
        assert!(to_build(&old).is_empty());
        let advice = module(&old).advice.unwrap();
        assert!(
            advice.contains("make rtt") && !advice.contains("modules_install"),
            "{advice}"
        );
        // The same holds for a kernel without Rust.
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
        // The same version from another distributor is another compiler.
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
    fn missing_build_requirements_are_distinguished() {
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
    fn features_that_need_btf_are_named() {
        let makefile = ("lib/modules/7.3.4+deb13-amd64/build/Makefile", "");
        let vmlinux = ("lib/modules/7.3.4+deb13-amd64/build/vmlinux", "");
        let whole = host("btf", &[RELEASE, makefile, vmlinux]);
        assert_eq!(btf(&whole, true).verdict, Verdict::Good);
        let check = btf(&whole, false);
        assert_eq!(check.verdict, Verdict::Advice);
        let advice = check.advice.unwrap();
        assert!(advice.contains("apt install pahole"), "{advice}");
        assert!(advice.contains("DOORBELL_TRIGGER_FLAG_COUNT"), "{advice}");
        let check = btf(&host("no-btf", &[RELEASE, makefile]), true);
        assert_eq!(check.verdict, Verdict::Advice);
        assert!(check.found.ends_with("build/vmlinux"), "{}", check.found);
        // The check of the headers has reported that there are none.
        assert_eq!(
            btf(&host("no-headers", &[RELEASE]), true).verdict,
            Verdict::Good
        );
        let checks = to_build(&whole);
        assert!(checks.iter().any(|check| check.what == "BTF"));
    }

    #[test]
    fn state_of_the_module_is_found() {
        let installed = "lib/modules/7.3.4+deb13-amd64/updates/doorbell.ko.xz";
        let there = host("there", &[RELEASE, (installed, "")]);
        assert!(module(&there).advice.unwrap().contains("modprobe"));
        let loaded = host("loaded", &[RELEASE, ("sys/module/doorbell/refcnt", "0")]);
        assert_eq!(module(&loaded).verdict, Verdict::Good);
        let none = host("none", &[RELEASE]);
        assert!(module(&none).advice.unwrap().contains("make"));
    }

    #[test]
    fn loaded_module_is_that_of_the_file() {
        let machine = host(
            "upgraded",
            &[
                RELEASE,
                ("sys/module/doorbell/version", "0.1.0\n"),
                ("sys/module/doorbell/srcversion", "0123456789ABCDEF\n"),
            ],
        );
        let check = |version: &str, source: &str| {
            let text = format!(
                "filename:       /lib/modules/doorbell.ko\nversion:        {version}\n\
                 license:        GPL\nsrcversion:     {source}\nvermagic:       7.3.4\n"
            );
            loaded(&machine, Some(text))
        };
        assert_eq!(check("0.1.0", "0123456789ABCDEF").verdict, Verdict::Good);
        let newer = check("0.2.0", "0123456789ABCDEF");
        assert_eq!(newer.verdict, Verdict::Advice);
        assert!(newer.found.contains("0.1.0") && newer.found.contains("0.2.0"));
        assert!(newer.advice.unwrap().contains("modprobe -r doorbell"));
        assert_eq!(check("0.1.0", "FEDCBA9876543210").verdict, Verdict::Advice);
        // Without modinfo, or with a module that has no version, there is nothing to compare.
        assert_eq!(loaded(&machine, None).verdict, Verdict::Good);
        let plain = host("plain", &[RELEASE, ("sys/module/doorbell/refcnt", "0")]);
        let text = String::from("version:        0.2.0\n");
        assert_eq!(loaded(&plain, Some(text)).verdict, Verdict::Good);
    }
}
