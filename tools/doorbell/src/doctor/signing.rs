// SPDX-License-Identifier: GPL-2.0-only

//! Signature enforcement: the kernel may refuse a module without a signature by a known key.

use super::{build::installed, About, Check, Host, LOAD};
use std::{fs, path::Path};

const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// The keys that distributions' tools create for modules built on the machine.
const KEYS: [(&str, &str); 2] = [
    ("/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub"),
    (
        "/var/lib/shim-signed/mok/MOK.priv",
        "/var/lib/shim-signed/mok/MOK.der",
    ),
];

/// The last bytes of a signed module.
const MARK: &[u8] = b"~Module signature appended~\n";

pub(super) fn signing(host: &Host) -> Check {
    let about = About("module signature", LOAD);
    let enforced = host.read("/sys/module/module/parameters/sig_enforce") == "Y"
        || host.config("CONFIG_MODULE_SIG_FORCE") == Some(true);
    let lockdown = lockdown(&host.read("/sys/kernel/security/lockdown"));
    // The first four bytes are attributes.
    let secure_boot = fs::read(host.path(SECURE_BOOT)).ok();
    let secure_boot = secure_boot.is_some_and(|variable| variable.last() == Some(&1));

    let mut reasons = Vec::new();
    if enforced {
        reasons.push("module.sig_enforce is set".to_owned());
    }
    if let Some(mode) = lockdown.as_deref().filter(|&mode| mode != "none") {
        reasons.push(format!("lockdown is {mode}"));
    }
    if reasons.is_empty() {
        return match (secure_boot, lockdown) {
            (true, None) => about.advice(
                "Secure Boot is on; lockdown is unknown",
                "mount -t securityfs securityfs /sys/kernel/security, and run this again: with \
                 lockdown, unsigned modules are refused",
            ),
            (true, Some(_)) => {
                about.good("not needed: Secure Boot is on, but this kernel does not insist on it")
            }
            (false, _) => about.good("not needed: unsigned modules are loaded"),
        };
    }
    let reasons = reasons.join(", ");
    let boot = if secure_boot {
        ", Secure Boot is on"
    } else {
        ""
    };
    let module = installed(host);
    if module.as_deref().is_some_and(is_signed) {
        return about.advice(
            format!("{reasons}{boot}; the installed module is signed"),
            "if it is refused (\"Key was rejected by service\"), the kernel does not know the key: \
             sudo mokutil --import CERTIFICATE, reboot, and enroll it",
        );
    }
    about.missing(
        format!("unsigned modules are refused: {reasons}{boot}"),
        sign(host, secure_boot),
    )
}

/// Returns the mode in brackets, as in "none [integrity] confidentiality".
fn lockdown(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn is_signed(module: &Path) -> bool {
    fs::read(module).is_ok_and(|module| module.ends_with(MARK))
}

/// Returns advice to sign a module on this machine, or to load it without a signature.
fn sign(host: &Host, secure_boot: bool) -> String {
    const WITHOUT: &str = "boot without module.sig_enforce=1 and lockdown=";
    const SEE: &str = "see \"When the kernel refuses the module\" in Documentation/harness.rst";
    if !host.path("/sys/firmware/efi").exists() {
        return format!("{WITHOUT}: this machine has no EFI, so no key can be enrolled; {SEE}");
    }
    let there = KEYS.iter().find(|(key, _)| host.path(key).exists());
    let (key, certificate) = there.unwrap_or(&KEYS[0]);
    let make = match there {
        Some(_) => "",
        None => "sudo dkms generate_mok (or another key); ",
    };
    let without = match secure_boot {
        true => String::new(),
        false => format!("; or {WITHOUT}"),
    };
    format!(
        "{make}sudo /lib/modules/$(uname -r)/build/scripts/sign-file sha256 {key} {certificate} \
         doorbell.ko; once: sudo mokutil --import {certificate}, reboot, and enroll it; DKMS signs \
         by itself{without}; {SEE}"
    )
}

#[cfg(test)]
mod tests {
    use super::{super::tests::host, *};
    use crate::doctor::Verdict;

    const ENFORCE: &str = "sys/module/module/parameters/sig_enforce";
    const LOCKDOWN: &str = "sys/kernel/security/lockdown";
    const RELEASE: (&str, &str) = ("proc/sys/kernel/osrelease", "7.3.4\n");

    fn check(name: &str, files: &[(&str, &str)]) -> Check {
        let files = [&[RELEASE], files].concat();
        signing(&host(&format!("signing-{name}"), &files))
    }

    #[test]
    fn unsigned_modules_are_loaded_unless_something_refuses_them() {
        let off = [
            (ENFORCE, "N\n"),
            (LOCKDOWN, "[none] integrity confidentiality\n"),
        ];
        assert_eq!(check("off", &off).verdict, Verdict::Good);
        assert_eq!(check("nothing", &[]).verdict, Verdict::Good);
        let efi = SECURE_BOOT.trim_start_matches('/');
        let boot = [off[0], off[1], (efi, "\x06\0\0\0\x01")];
        let insists = check("boot", &boot);
        assert_eq!(insists.verdict, Verdict::Good);
        assert!(insists.found.contains("Secure Boot"));
        let unknown = check("unknown", &[(efi, "\x06\0\0\0\x01")]);
        assert_eq!(unknown.verdict, Verdict::Advice);
        assert!(unknown.advice.unwrap().contains("securityfs"));
        let disabled = check("disabled", &[(efi, "\x06\0\0\0\0")]);
        assert!(!disabled.found.contains("Secure Boot"));
    }

    #[test]
    fn refusals_are_reported_with_remedies() {
        let bios = check("bios", &[(ENFORCE, "Y\n")]);
        assert_eq!(bios.verdict, Verdict::Missing);
        let advice = bios.advice.unwrap();
        assert!(
            advice.starts_with("boot without") && !advice.contains("mokutil"),
            "{advice}"
        );
        let efi = ("sys/firmware/efi/systab", "");
        let enforce = check("enforce", &[(ENFORCE, "Y\n"), efi]);
        assert_eq!(enforce.verdict, Verdict::Missing);
        assert!(enforce.found.contains("sig_enforce"));
        let advice = enforce.advice.unwrap();
        for part in [
            "build/scripts/sign-file sha256 /var/lib/dkms/mok.key /var/lib/dkms/mok.pub doorbell.ko",
            "mokutil --import",
            "boot without",
        ] {
            assert!(advice.contains(part), "{part} in {advice}");
        }
        let files = [
            (LOCKDOWN, "none [integrity] confidentiality\n"),
            (&SECURE_BOOT[1..], "\x06\0\0\0\x01"),
            ("var/lib/shim-signed/mok/MOK.priv", ""),
        ];
        let locked = check("locked", &files);
        assert_eq!(locked.verdict, Verdict::Missing);
        assert!(locked
            .found
            .contains("lockdown is integrity, Secure Boot is on"));
        let advice = locked.advice.unwrap();
        assert!(
            advice.contains("/var/lib/shim-signed/mok/MOK.der"),
            "{advice}"
        );
        assert!(!advice.contains("boot without"), "{advice}");
        let config = ("boot/config-7.3.4", "CONFIG_MODULE_SIG_FORCE=y\n");
        assert_eq!(check("force", &[config]).verdict, Verdict::Missing);
    }

    #[test]
    fn signed_module_is_recognized() {
        let module = "lib/modules/7.3.4/updates/doorbell.ko";
        let enforced = (ENFORCE, "Y\n");
        let signed = [enforced, (module, "ELF~Module signature appended~\n")];
        let signed = check("signed", &signed);
        assert_eq!(signed.verdict, Verdict::Advice);
        assert!(signed.advice.unwrap().contains("Key was rejected"));
        let unsigned = check("unsigned", &[enforced, (module, "ELF")]);
        assert_eq!(unsigned.verdict, Verdict::Missing);
    }
}
