// SPDX-License-Identifier: GPL-2.0-only

//! Reports of runs with a guest, beside the figures of 2009.

use super::{comparison, guest, number, percentile, us, Summary};
use crate::{
    machine::Machine,
    rtt::{
        baseline_2009::baseline,
        kvm::{Counts, Facts, COUNTER},
        Group, Report, Row,
    },
};
use serde_json::{json, Value};

/// Describes the host of the guest, and the guest's counter.
fn accelerator(facts: &Facts, machine: &Machine) -> Vec<String> {
    let khz = match facts.tsc_khz {
        Some(khz) if (f64::from(khz) * 1000.0 / facts.tsc_hz - 1.0).abs() > 0.01 => {
            format!(" (KVM takes it for {:.1} MHz)", f64::from(khz) / 1e3)
        }
        _ => String::new(),
    };
    vec![
        format!("guest with {}{}", facts.module, guest::nested(machine)),
        format!("its {COUNTER} ticks at {:.1} MHz{khz}", facts.tsc_hz / 1e6),
    ]
}

/// Formats `n` per write.
fn per_write(n: u64, counts: &Counts) -> String {
    format!("{:.2}", n as f64 / counts.writes as f64)
}

fn cells(row: &Row, counts: &Counts) -> Vec<String> {
    vec![
        number(row.iops()),
        us(row.ns),
        us(percentile(row, 99.0) as f64),
        us(row.histogram.max() as f64),
        counts
            .exits
            .map_or_else(|| "-".into(), |exits| per_write(exits, counts)),
        per_write(counts.returns, counts),
    ]
}

pub(super) fn summarize(report: &Report, facts: &Facts, machine: &Machine) -> Summary {
    let header = ["iops", "RTT us", "p99", "max", "exits", "to\nVMM"];
    let mut sheets = guest::sheets(report, &Group::KVM, &header, &facts.rows, cells);
    sheets.push(comparison(report));
    let mut key = format!(
        "RTT: median time from before the guest's write to after it; in a circle, to the handler of its \
         interrupt; with intx and level, from one handler to the next one. By the guest's {COUNTER}, reading it \
         included; iops: 1 s / RTT.\n\
         exits, to VMM: exits from the guest, and returns to userspace, per write.\n\
         {} rounds, each with a turn of every row; {}.\n",
        report.rounds,
        sent(facts),
    );
    if report
        .rows
        .iter()
        .any(|row| baseline(row.group, row.name).is_some())
    {
        key.push_str(
            "2009: qemu-mmio, iosignalfd-mmio and iosignalfd-pio, as the first doorbell measured them.\n\
             * was extrapolated; the hypercall of 2009 was to signal an iosignalfd, today's does nothing.\n",
        );
    }
    Summary {
        about: accelerator(facts, machine),
        sheets,
        key,
    }
}

/// Describes the rings. If any had been lost, the run would have failed.
fn sent(facts: &Facts) -> String {
    let lines = facts.rows.iter().filter(|counts| counts.rings.is_some());
    let writes: u64 = lines.clone().map(|counts| counts.writes).sum();
    let rings: u64 = lines.filter_map(|counts| counts.rings).sum();
    match writes {
        0 => "no line was rung".into(),
        _ => format!("{writes} rings sent, {rings} arrived"),
    }
}

/// Adds the facts about a guest to the value of a report.
pub(super) fn complete(value: &mut Value, facts: &Facts) {
    value["kvm"] = json!({
        "module": facts.module,
        "tsc_hz": facts.tsc_hz,
        "tsc_khz": facts.tsc_khz,
    });
    for (at, counts) in facts.rows.iter().enumerate() {
        let value = &mut value["rows"][at];
        value["writes"] = counts.writes.into();
        value["rings"] = counts.rings.into();
        value["to_vmm"] = counts.returns.into();
        value["exits"] = counts.exits.into();
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
        let names = [
            (Group::KvmWrite, "userspace-mmio"),
            (Group::KvmWrite, "ioeventfd-mmio"),
            (Group::KvmTwo, "circle-doorbell"),
        ];
        let template = report.rows.remove(1);
        report.rows = names
            .iter()
            .map(|&(group, name)| Row {
                group,
                name,
                ..template.clone()
            })
            .collect();
        report.rows[1].ns = 5000.0;
        let counts = Counts {
            writes: 1000,
            rings: Some(1000),
            returns: 1000,
            exits: Some(1500),
        };
        report.source = Source::Kvm(Facts {
            module: "kvm_amd",
            tsc_hz: 2e9,
            tsc_khz: Some(2_000_000),
            rows: vec![counts; 3],
        });
        report
    }

    #[test]
    fn human_has_2009_beside_today() {
        let text = output::human(&report(), &plain::machine());
        for part in [
            "110000",
            "9.09 ",
            "200100",
            "5.00 ",
            "now/",
            "1.00",
            "1.82",
            "0.50",
            "1.50",
            "guest with kvm_amd\n",
            "2000.0 MHz\n",
            "3000 rings sent, 3000 arrived",
            "to its other vCPU",
            "bare metal",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("is interrupted"), "no such row: {text}");
    }

    #[test]
    fn emulator_and_wrong_frequency_are_reported() {
        let mut report = report();
        let mut machine = plain::machine();
        machine.accelerator = "emulated (QEMU TCG)".into();
        if let Source::Kvm(facts) = &mut report.source {
            facts.tsc_khz = Some(1_000_000);
        }
        let text = output::human(&report, &machine);
        assert!(
            text.contains("nested: this machine is itself emulated"),
            "{text}"
        );
        assert!(text.contains("KVM takes it for 1000.0 MHz"), "{text}");
    }

    #[test]
    fn json_has_counts_ratios_and_2009() {
        let text = output::json(&report(), &plain::machine());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["kvm"]["tsc_hz"], 2e9);
        assert_eq!(value["rows"][0]["iops_2009"], 110_000);
        assert_eq!(value["rows"][0]["rtt_2009_ns"], 9090.0);
        assert_eq!(value["rows"][0]["rings"], 1000);
        assert_eq!(value["rows"][2]["iops_2009"], Value::Null);
        assert_eq!(value["ratios"][0]["ratio"], 0.5);
        assert_eq!(value["clock_ns"], Value::Null);
    }

    #[test]
    fn widest_table_fits_a_terminal() {
        let mut report = report();
        report.rows.truncate(1);
        let longest = [
            (Group::KvmWrite, "ioeventfd-mmio-any"),
            (Group::KvmWrite, "userspace-pio"),
            (Group::KvmWrite, "hypercall"),
            (Group::KvmCircle, "circle-userspace"),
            (Group::KvmTwo, "circle-userspace"),
            (Group::KvmTwo, "circle-doorbell"),
        ];
        report.rows = longest
            .map(|(group, name)| Row::example(group, name, 1000.0))
            .into();
        if let Source::Kvm(facts) = &mut report.source {
            let counts = Counts {
                exits: Some(99_999),
                returns: 99_999,
                ..facts.rows[0]
            };
            facts.rows = vec![counts; longest.len()];
        }
        plain::fits(report);
    }

    #[test]
    fn classic_is_the_mail_of_2009() {
        let text = output::classic(&report());
        assert!(
            text.contains("ioeventfd-mmio: 200000 iops, 5.00us rtt\n"),
            "{text}"
        );
        assert!(text.contains("\ntwo-vcpus-circle-doorbell: "), "{text}");
    }
}
