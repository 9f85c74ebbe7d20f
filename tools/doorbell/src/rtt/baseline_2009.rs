// SPDX-License-Identifier: GPL-2.0-only

//! Figures of 2009, measured with the first doorbell and the first ioeventfd.
//!
//! They are from "[KVM PATCH v8 3/3] KVM: add iosignalfd support". An ioeventfd was called
//! iosignalfd then.

use super::{Group, Row};

/// Figures of a row in 2009.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// Round trips per second.
    pub iops: u32,
    /// Round-trip time, in µs.
    pub us: f64,
    /// The figures were extrapolated from other measurements.
    pub extrapolated: bool,
}

/// The rows of [`Group::KvmWrite`] that were measured in 2009, in the order of that report.
pub const MEASURED: &[&str] = match cfg!(target_arch = "x86_64") {
    true => &["userspace-mmio", "ioeventfd-mmio", "ioeventfd-pio"],
    // No other architecture has I/O ports.
    false => &["userspace-mmio", "ioeventfd-mmio"],
};

/// Returns the figures of 2009 for a row, if there are any.
///
/// All guests of 2009 were QEMU's. Their hypercall was meant to signal an iosignalfd.
pub fn baseline(group: Group, name: &str) -> Option<Baseline> {
    let (iops, us, extrapolated) = match (group, name) {
        (Group::KvmWrite, "userspace-mmio") | (Group::QemuWrite, "qemu-mmio") => {
            (110_000, 9.09, false)
        }
        (Group::KvmWrite | Group::QemuWrite, "ioeventfd-mmio") => (200_100, 5.00, false),
        (Group::KvmWrite, "ioeventfd-pio") => (367_300, 2.72, false),
        (Group::KvmWrite, "userspace-pio") => (153_139, 6.53, true),
        (Group::KvmWrite, "hypercall") => (412_585, 2.37, true),
        _ => return None,
    };
    Some(Baseline {
        iops,
        us,
        extrapolated,
    })
}

/// A ratio of two rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// The names of the rows, and the number of vCPUs.
    pub what: String,
    /// The ratio in this run.
    pub now: f64,
    /// The ratio in 2009.
    pub baseline: Option<f64>,
}

/// Returns the ratios for which both rows are in `rows`, and steady.
pub fn ratios(rows: &[Row]) -> Vec<Ratio> {
    const PAIRS: [(Group, &str, &str); 9] = [
        (Group::KvmWrite, "userspace-mmio", "ioeventfd-mmio"),
        (Group::KvmWrite, "userspace-pio", "ioeventfd-pio"),
        (Group::KvmCircle, "circle-userspace", "circle-doorbell"),
        (Group::KvmTwo, "circle-userspace", "circle-doorbell"),
        (Group::KvmCircle, "circle-doorbell", "circle-direct"),
        (Group::KvmTwo, "circle-doorbell", "circle-direct"),
        (Group::KvmIntx, "intx-userspace", "intx-doorbell"),
        (Group::QemuWrite, "qemu-mmio", "ioeventfd-mmio"),
        (
            Group::QemuCircle,
            "circle-qemu-mmio",
            "circle-ioeventfd-mmio",
        ),
    ];
    let ratio = |(group, above, below): (Group, &str, &str)| {
        let ns = |name| {
            let row = rows.iter().find(|r| r.group == group && r.name == name);
            row.filter(|row| !row.is_unsteady()).map(|row| row.ns)
        };
        let vcpus = match group {
            Group::KvmTwo => ", two vCPUs",
            _ => "",
        };
        Some(Ratio {
            what: format!("{above} / {below}{vcpus}"),
            now: ns(above)? / ns(below)?,
            baseline: baseline(group, above)
                .zip(baseline(group, below))
                .map(|(a, b)| a.us / b.us),
        })
    };
    PAIRS.into_iter().filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_consistent() {
        for (group, name) in [
            (Group::KvmWrite, "hypercall"),
            (Group::KvmWrite, "userspace-pio"),
            (Group::KvmWrite, "userspace-mmio"),
            (Group::KvmWrite, "ioeventfd-pio"),
            (Group::KvmWrite, "ioeventfd-mmio"),
            (Group::QemuWrite, "qemu-mmio"),
            (Group::QemuWrite, "ioeventfd-mmio"),
        ] {
            let figures = baseline(group, name).unwrap();
            let iops = 1e6 / figures.us;
            assert!(
                (iops / f64::from(figures.iops) - 1.0).abs() < 0.025,
                "{name}: {iops}"
            );
        }
        assert_eq!(baseline(Group::KvmWrite, "ioeventfd-mmio-any"), None);
        assert_eq!(baseline(Group::OneThread, "ioeventfd-mmio"), None);
    }

    #[test]
    fn ratios_need_both_rows() {
        let row = Row::example;
        let rows = [
            row(Group::KvmWrite, "userspace-mmio", 300.0),
            row(Group::KvmWrite, "ioeventfd-mmio", 100.0),
            row(Group::KvmCircle, "circle-userspace", 700.0),
            row(Group::KvmTwo, "circle-doorbell", 100.0),
            row(Group::KvmTwo, "circle-userspace", 200.0),
            row(Group::QemuWrite, "ioeventfd-mmio", 100.0),
            row(Group::QemuWrite, "qemu-mmio", 250.0),
        ];
        let ratios = ratios(&rows);
        let what: Vec<_> = ratios.iter().map(|r| (r.what.as_str(), r.now)).collect();
        assert_eq!(
            what,
            [
                ("userspace-mmio / ioeventfd-mmio", 3.0),
                ("circle-userspace / circle-doorbell, two vCPUs", 2.0),
                ("qemu-mmio / ioeventfd-mmio", 2.5),
            ]
        );
        for at in [0, 2] {
            assert_eq!(format!("{:.2}", ratios[at].baseline.unwrap()), "1.82");
        }
        assert_eq!(ratios[1].baseline, None);
        let pio = [
            row(Group::KvmWrite, "userspace-pio", 1.0),
            row(Group::KvmWrite, "ioeventfd-pio", 1.0),
        ];
        let ratio = super::ratios(&pio)[0].baseline.unwrap();
        assert_eq!(format!("{ratio:.2}"), "2.40");
        let mut unsteady = pio;
        unsteady[0].quartiles = (1.0, 3.0);
        assert_eq!(super::ratios(&unsteady), []);
    }
}
