// SPDX-License-Identifier: GPL-2.0-only

//! What a guest's notification costs: the table of 2009.
//!
//! The guest, and what it is wired to, are samples/kvm-rtt. Its rows take turns in `guest.rs`; here
//! is what their figures are compared with.

use super::{Group, Options, Progress, Report, Row};

/// What is known of a run with a guest besides its rows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel module that runs the guest.
    pub module: &'static str,
    /// How often the guest's TSC ticks per second of CLOCK_MONOTONIC.
    pub tsc_hz: f64,
    /// The same as KVM_GET_TSC_KHZ has it.
    pub tsc_khz: Option<u32>,
    /// As many as there are rows.
    pub rows: Vec<Counts>,
}

/// What was counted while a row had its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the guest wrote.
    pub writes: u64,
    /// How often the line was rung.
    pub rings: Option<u64>,
    /// How often a vCPU came back to the VMM.
    pub returns: u64,
    /// How often vCPUs left the guest, if KVM says so.
    pub exits: Option<u64>,
}

/// What was measured in 2009, with the first doorbell and the first ioeventfd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Then {
    /// Round trips per second.
    pub iops: u32,
    /// Round-trip time, in µs.
    pub us: f64,
    /// It was not measured, but extrapolated from other measurements.
    pub extrapolated: bool,
}

/// The rows that were measured then, in the order in which they were reported.
pub const MEASURED_THEN: [&str; 3] = ["userspace-mmio", "ioeventfd-mmio", "ioeventfd-pio"];

/// The figures of 2009 for a row of [`Group::KvmWrite`].
///
/// From "[KVM PATCH v8 3/3] KVM: add iosignalfd support", where `qemu-` is what `userspace-` is
/// here, and `iosignalfd-` what is `ioeventfd-`. The hypercall was meant to signal an iosignalfd.
pub fn then(name: &str) -> Option<Then> {
    let (iops, us, extrapolated) = match name {
        "userspace-mmio" => (110_000, 9.09, false),
        "ioeventfd-mmio" => (200_100, 5.00, false),
        "ioeventfd-pio" => (367_300, 2.72, false),
        "userspace-pio" => (153_139, 6.53, true),
        "hypercall" => (412_585, 2.37, true),
        _ => return None,
    };
    Some(Then {
        iops,
        us,
        extrapolated,
    })
}

/// How two rows compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Which rows, and how many vCPUs.
    pub what: String,
    /// Here.
    pub now: f64,
    /// In 2009.
    pub then: Option<f64>,
}

/// The comparisons for which both rows are among `rows`.
pub fn ratios(rows: &[Row]) -> Vec<Ratio> {
    const PAIRS: [(Group, &str, &str); 6] = [
        (Group::KvmWrite, "userspace-mmio", "ioeventfd-mmio"),
        (Group::KvmWrite, "userspace-pio", "ioeventfd-pio"),
        (Group::KvmCircle, "circle-userspace", "circle-doorbell"),
        (Group::KvmTwo, "circle-userspace", "circle-doorbell"),
        (Group::KvmCircle, "circle-doorbell", "circle-direct"),
        (Group::KvmTwo, "circle-doorbell", "circle-direct"),
    ];
    let ratio = |(group, above, below): (Group, &str, &str)| {
        let ns = |name| {
            let row = rows.iter().find(|r| r.group == group && r.name == name);
            row.map(|row| row.ns)
        };
        let vcpus = match group {
            Group::KvmTwo => ", two vCPUs",
            _ => "",
        };
        Some(Ratio {
            what: format!("{above} / {below}{vcpus}"),
            now: ns(above)? / ns(below)?,
            then: then(above).zip(then(below)).map(|(a, b)| a.us / b.us),
        })
    };
    PAIRS.into_iter().filter_map(ratio).collect()
}

/// Measures; with `count`, that many writes in each row instead of a time.
pub fn run(
    options: &Options,
    count: Option<u32>,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    #[cfg(target_arch = "x86_64")]
    {
        super::guest::run(options, count, progress)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (options, count, progress);
        anyhow::bail!("there is no guest for this architecture, only for x86-64")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;

    #[test]
    fn figures_of_2009_are_consistent() {
        for name in [
            "hypercall",
            "userspace-pio",
            "userspace-mmio",
            "ioeventfd-pio",
            "ioeventfd-mmio",
        ] {
            let then = then(name).unwrap();
            let iops = 1e6 / then.us;
            assert!(
                (iops / f64::from(then.iops) - 1.0).abs() < 0.025,
                "{name}: {iops}"
            );
        }
        assert_eq!(then("ioeventfd-mmio-any"), None);
    }

    fn row(group: Group, name: &'static str, ns: f64) -> Row {
        Row {
            group,
            name,
            ns,
            batches: 1,
            quartiles: (ns, ns),
            ratio: 1.0,
            histogram: Histogram::new(3).unwrap(),
        }
    }

    #[test]
    fn ratios_are_those_whose_rows_are_there() {
        let rows = [
            row(Group::KvmWrite, "userspace-mmio", 300.0),
            row(Group::KvmWrite, "ioeventfd-mmio", 100.0),
            row(Group::KvmCircle, "circle-userspace", 700.0),
            row(Group::KvmTwo, "circle-doorbell", 100.0),
            row(Group::KvmTwo, "circle-userspace", 200.0),
        ];
        let ratios = ratios(&rows);
        let what: Vec<_> = ratios.iter().map(|r| (r.what.as_str(), r.now)).collect();
        assert_eq!(
            what,
            [
                ("userspace-mmio / ioeventfd-mmio", 3.0),
                ("circle-userspace / circle-doorbell, two vCPUs", 2.0)
            ]
        );
        assert_eq!(format!("{:.2}", ratios[0].then.unwrap()), "1.82");
        assert_eq!(ratios[1].then, None);
        let pio = [
            row(Group::KvmWrite, "userspace-pio", 1.0),
            row(Group::KvmWrite, "ioeventfd-pio", 1.0),
        ];
        let ratio = super::ratios(&pio)[0].then.unwrap();
        assert_eq!(format!("{ratio:.2}"), "2.40");
    }
}
