// SPDX-License-Identifier: GPL-2.0-only

//! Reports of runs with guests of an unmodified QEMU.

use super::{comparison, guest, number, us, Summary};
use crate::{
    machine::Machine,
    rtt::{qemu::Facts, Group, Report, Row},
};
use serde_json::{json, Value};

fn cells(row: &Row, count: &u64) -> Vec<String> {
    let (q1, q3) = row.quartiles;
    let times = [row.ns, row.histogram.min() as f64, q1, q3];
    let mut cells = vec![number(row.iops())];
    cells.extend(times.map(us));
    cells.push(number(*count as f64));
    cells
}

pub(super) fn summarize(report: &Report, facts: &Facts, machine: &Machine) -> Summary {
    let header = ["iops", "RTT us", "min", "q1", "q3", "rings"];
    let mut sheets = guest::sheets(report, &Group::QEMU, &header, &facts.counts, cells);
    sheets.push(comparison(report));
    let nested = match facts.accelerator.as_str() {
        "kvm" => guest::nested(machine),
        _ => String::new(),
    };
    let about = format!(
        "{}, -accel {}, -device ivshmem-doorbell{nested}",
        facts.version, facts.accelerator
    );
    let key = format!(
        "RTT: median time from before the guest's write to after it, in batches of {} by the guest's \
         TSC ({:.1} MHz); in a circle, from a write to an eventfd here to the answer of the guest's \
         interrupt handler, one by one. iops: 1 s / RTT.\n\
         rings: number of rings that were sent, and arrived. Each guest was booted {} times.\n",
        facts.writes,
        facts.tsc_hz / 1e6,
        report.rounds,
    );
    Summary {
        about: vec![about],
        sheets,
        key,
    }
}

/// Adds the facts about QEMU to the value of a report.
pub(super) fn complete(value: &mut Value, facts: &Facts) {
    value["qemu"] = json!({
        "version": facts.version,
        "accelerator": facts.accelerator,
        "tsc_hz": facts.tsc_hz,
        "writes_per_batch": facts.writes,
    });
    for (at, &count) in facts.counts.iter().enumerate() {
        value["rows"][at]["rings"] = count.into();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        output::{self, tests as plain},
        rtt::Source,
    };

    pub(crate) fn report() -> Report {
        let mut report = plain::report();
        let template = report.rows.remove(0);
        report.rows = [
            (Group::QemuWrite, "qemu-mmio", 9000.0),
            (Group::QemuWrite, "ioeventfd-mmio", 3000.0),
            (Group::QemuCircle, "circle-qemu-mmio", 40_000.0),
            (Group::QemuCircle, "circle-ioeventfd-mmio", 20_000.0),
        ]
        .into_iter()
        .map(|(group, name, ns)| Row {
            group,
            name,
            ns,
            ..template.clone()
        })
        .collect();
        report.source = Source::Qemu(Facts {
            version: "QEMU 0.10".into(),
            accelerator: "kvm".into(),
            tsc_hz: 2.5e9,
            writes: 200,
            counts: vec![20_000, 20_000, 2000, 2000],
        });
        report
    }

    #[test]
    fn rows_stand_beside_those_of_2009() {
        let text = output::human(&report(), &plain::machine());
        let row = |name: &str| -> Vec<&str> {
            let row = text
                .lines()
                .find(|line| line.trim_start().starts_with(name));
            row.unwrap_or_else(|| panic!("{name}: {text}"))
                .split_whitespace()
                .collect()
        };
        let cells = row("qemu-mmio  ");
        assert_eq!(cells[..3], ["qemu-mmio", "111111", "9.00"]);
        assert_eq!(cells[6..], ["20000", "110000", "9.09", "0.99"]);
        assert_eq!(row("ioeventfd-mmio  ")[7..], ["200100", "5.00", "0.60"]);
        assert_eq!(row("circle-qemu-mmio  ").len(), 7, "no figures of 2009");
        assert_eq!(row("qemu-mmio / ")[3..], ["3.00", "1.82"]);
        assert_eq!(row("circle-qemu-mmio / ")[3..], ["2.00"]);
        for part in ["QEMU 0.10, -accel kvm", "2500.0 MHz", "batches of 200"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn widest_table_fits_a_terminal() {
        let mut report = report();
        if let Source::Qemu(facts) = &mut report.source {
            facts.counts = vec![80_000_000; 4];
        }
        plain::fits(report);
    }

    #[test]
    fn programs_get_the_same() {
        let text = output::json(&report(), &plain::machine());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["qemu"]["version"], "QEMU 0.10");
        assert_eq!(value["ratios"][0]["ratio"], 3.0);
        assert_eq!(value["ratios"][1]["ratio"], 2.0);
        assert_eq!(value["ratios"][1]["ratio_2009"], Value::Null);
        assert_eq!(value["rows"][1]["name"], "ioeventfd-mmio");
        assert_eq!(value["rows"][1]["rtt_2009_ns"], 5000.0);
        assert_eq!(value["rows"][2]["rings"], 2000);
    }

    #[test]
    fn classic_has_the_names_of_2009() {
        let text = output::classic(&report());
        assert!(
            text.starts_with("qemu-mmio: 111111 iops, 9.00us rtt\n"),
            "{text}"
        );
    }
}
