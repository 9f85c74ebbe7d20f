// SPDX-License-Identifier: GPL-2.0-only

//! Checks of the requirements of doorbell and its measurements, with advice.

mod build;
mod figures;
mod host;
mod kvm;
mod realtime;
mod signing;

use crate::{explain, machine::Machine};
use doorbell::Context;
pub use host::Host;
use serde::Serialize;
use std::{io, path::Path};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The requirement is met.
    Good,
    /// It works, and could be better.
    Advice,
    /// The features in [`Check::used_for`] do not work.
    Missing,
}

/// A check, with its result.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The subject.
    pub what: &'static str,
    /// The features that need it.
    pub used_for: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The state that was found.
    pub found: String,
    /// The remedy, unless the verdict is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The subject of a check, and the features that need it.
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

/// Needed to build the module, which may be loaded all the same.
const BUILD: &str = "building the module";
const LOAD: &str = "loading the module";
const ALL: &str = "everything";
const KVM: &str = "rtt kvm, rtt qemu";
const QEMU: &str = "rtt qemu, ivshmem serve";
const FIGURES: &str = "steady figures";

/// Checks `host`, and the device at `device`.
pub fn examine(host: &Host, device: &Path) -> Vec<Check> {
    let loaded = host.path("/sys/module/doorbell").exists();
    let mut checks = vec![build::kernel(host)];
    if !loaded {
        checks.extend(build::to_build(host));
    }
    checks.push(build::module(host));
    if !loaded {
        checks.push(signing::signing(host));
    }
    checks.push(opened(device, loaded));
    checks.extend([kvm::kvm(Path::new("/dev/kvm")), kvm::qemu()]);
    checks.extend([
        figures::governor(host),
        figures::idle(host),
        figures::isolation(host),
        figures::clock(host),
        figures::hardware(&Machine::this()),
    ]);
    checks.extend(realtime::checks(host));
    checks
}

/// Opens the device, and checks that it is a doorbell.
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
            "with the Debian packages: sudo adduser $USER doorbell, and log in again; without \
             them: run as root, or add a udev rule (Documentation/uapi.rst, Permissions)"
        }
        Some(libc::ENOENT) if loaded => "udev has not created it for the module: see 'dmesg'",
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => "load the module, which creates it",
        _ => "this is another device: set --device, or DOORBELL_DEVICE",
    };
    about.missing(found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a machine that has these files.
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

    pub(super) const RELEASE: (&str, &str) = ("proc/sys/kernel/osrelease", "7.3.4+deb13-amd64\n");

    #[test]
    fn other_device_is_no_doorbell() {
        let check = opened(Path::new("/dev/null"), true);
        assert_eq!(check.verdict, Verdict::Missing);
        assert!(check.advice.unwrap().contains("--device"));
        let check = opened(Path::new("/nonexistent"), false);
        assert!(check.advice.unwrap().contains("module"));
    }
}
