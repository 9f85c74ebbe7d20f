// SPDX-License-Identifier: GPL-2.0-only

//! Reports for people and for programs.

mod guest;
pub mod html;
pub(crate) mod kvm;
pub(crate) mod qemu;
mod threads;

use crate::{
    machine::Machine,
    rtt::{
        baseline_2009::{baseline, ratios},
        Group, Report, Row, Source,
    },
};
use comfy_table::{presets, CellAlignment, Table, TableComponent};
use serde_json::{json, Value};
use std::fmt::Write;

/// The percentiles that are printed.
const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Creates a table in the layout of all tables: `left` columns of text, then numbers.
pub fn new_table<T: ToString>(header: &[T], left: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(line);
    }
    table.set_header(header.iter().map(ToString::to_string));
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Formats ns as µs, with about three significant digits.
pub fn us(ns: f64) -> String {
    let us = ns / 1000.0;
    match us {
        us if us >= 100.0 => format!("{us:.0}"),
        us if us >= 10.0 => format!("{us:.1}"),
        _ => format!("{us:.2}"),
    }
}

fn percentile(row: &Row, percentile: f64) -> u64 {
    row.histogram.value_at_percentile(percentile)
}

/// A table before its layout: a column of text, then columns of numbers.
pub(crate) struct Sheet {
    /// The group of the rows; none for a comparison.
    pub(crate) group: Option<Group>,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Sheet {
    fn new(group: Option<Group>, header: &[&str]) -> Self {
        Self {
            group,
            header: header.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }
}

/// The parts of a report for people, except the notes.
pub(crate) struct Summary {
    /// The description of the run.
    pub(crate) about: Vec<String>,
    pub(crate) sheets: Vec<Sheet>,
    /// The explanation of the columns.
    pub(crate) key: String,
}

pub(crate) fn summarize(report: &Report, machine: &Machine) -> Summary {
    let mut summary = match &report.source {
        Source::Threads(facts) => threads::summarize(report, facts, machine),
        Source::Kvm(facts) => kvm::summarize(report, facts, machine),
        Source::Qemu(facts) => qemu::summarize(report, facts, machine),
    };
    summary.sheets.retain(|sheet| !sheet.rows.is_empty());
    summary
}

/// Returns the ratios of a report, beside those of 2009.
fn comparison(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(None, &["ratio", "here", "2009"]);
    for ratio in ratios(&report.rows) {
        let baseline = ratio.baseline.map(|baseline| format!("{baseline:.2}"));
        let now = format!("{:.2}", ratio.now);
        sheet
            .rows
            .push(vec![ratio.what, now, baseline.unwrap_or_default()]);
    }
    sheet
}

/// Returns the remarks that belong beside the figures.
pub fn notes(report: &Report) -> impl Iterator<Item = &String> {
    report.left_out.iter().chain(&report.notes)
}

/// Formats a report for people.
pub fn human(report: &Report, machine: &Machine) -> String {
    let summary = summarize(report, machine);
    let mut out = format!("{machine}\n");
    for line in summary.about {
        let _ = writeln!(out, "{line}");
    }
    for sheet in summary.sheets {
        let mut table = new_table(&sheet.header, 1);
        table.add_rows(sheet.rows);
        let _ = writeln!(out, "\n{table}");
    }
    out.push('\n');
    for note in notes(report) {
        let _ = writeln!(out, "{note}");
    }
    out + &summary.key
}

/// Returns the whole report as a value.
pub(crate) fn value(report: &Report, machine: &Machine) -> Value {
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            let mut value = json!({
                "group": row.group.id(),
                "name": row.name,
                "iops": row.iops(),
                "rtt_ns": row.ns,
                "batches": row.batches,
                "rtt_q1_ns": row.quartiles.0,
                "rtt_q3_ns": row.quartiles.1,
                "ratio": row.ratio,
                "samples": row.histogram.len(),
                "min_ns": row.histogram.min(),
                "max_ns": row.histogram.max(),
            });
            for (name, p) in PERCENTILES {
                value[format!("{name}_ns")] = percentile(row, p).into();
            }
            if let Some(then) = baseline(row.group, row.name) {
                value["iops_2009"] = then.iops.into();
                value["rtt_2009_ns"] = (then.us * 1e3).round().into();
                value["extrapolated_2009"] = then.extrapolated.into();
            }
            value
        })
        .collect();
    let mut value = json!({
        "machine": machine,
        "rows": rows,
        "rounds": report.rounds,
        "left_out": report.left_out,
        "notes": report.notes,
    });
    let ratios = ratios(&report.rows);
    if !ratios.is_empty() {
        value["ratios"] = ratios
            .into_iter()
            .map(|ratio| {
                json!({
                    "what": ratio.what,
                    "ratio": ratio.now,
                    "ratio_2009": ratio.baseline,
                })
            })
            .collect();
    }
    match &report.source {
        Source::Threads(facts) => threads::complete(&mut value, facts),
        Source::Kvm(facts) => kvm::complete(&mut value, facts),
        Source::Qemu(facts) => qemu::complete(&mut value, facts),
    }
    value
}

/// Formats the whole report as JSON.
pub fn json(report: &Report, machine: &Machine) -> String {
    format!("{:#}\n", value(report, machine))
}

/// Formats the figures as comma-separated values.
pub fn csv(report: &Report) -> String {
    let mut out = String::from("group,name,iops,rtt_ns,rtt_q1_ns,rtt_q3_ns,ratio,samples,min_ns");
    for (name, _) in PERCENTILES {
        let _ = write!(out, ",{name}_ns");
    }
    out.push_str(",max_ns\n");
    for row in &report.rows {
        // The names contain no quotes.
        let _ = write!(
            out,
            "{},\"{}\",{:.0},{:.1},{:.1},{:.1},{:.4},{},{}",
            row.group.id(),
            row.name,
            row.iops(),
            row.ns,
            row.quartiles.0,
            row.quartiles.1,
            row.ratio,
            row.histogram.len(),
            row.histogram.min(),
        );
        for (_, p) in PERCENTILES {
            let _ = write!(out, ",{}", percentile(row, p));
        }
        let _ = writeln!(out, ",{}", row.histogram.max());
    }
    out
}

/// Formats the figures as the first doorbell printed them in 2009.
pub fn classic(report: &Report) -> String {
    let mut out = String::new();
    for row in &report.rows {
        let group = match row.group {
            Group::SameCore | Group::TwoCores => format!("{}-", row.group.id()),
            Group::KvmTwo => "two-vcpus-".into(),
            _ => String::new(),
        };
        let name = row.name.replace(['(', ')'], "").replace(' ', "-");
        let (iops, rtt) = (row.iops(), row.ns / 1000.0);
        let _ = writeln!(out, "{group}{name}: {iops:.0} iops, {rtt:.2}us rtt");
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{realtime::InEffect, rtt::Threads};
    use hdrhistogram::Histogram;

    pub(crate) fn report() -> Report {
        let row = |group, name, ns: f64| {
            let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
            for i in 0..1000 {
                histogram.record(ns as u64 + i).unwrap();
            }
            Row {
                group,
                name,
                ns,
                batches: 100,
                quartiles: (ns - 10.0, ns + 10.0),
                ratio: ns / 1000.0,
                histogram,
            }
        };
        Report {
            rows: vec![
                row(Group::OneThread, "eventfd", 1000.0),
                row(Group::SameCore, "spin (yielding)", 2500.0),
            ],
            left_out: None,
            notes: vec!["two cores: not measured, there is one".into()],
            rounds: 20,
            source: Source::Threads(Threads {
                lines: 4,
                others_assigned: 2,
                clock_ns: 30.0,
            }),
        }
    }

    pub(crate) fn machine() -> Machine {
        Machine {
            cpu: "Abacus".into(),
            cpus: 1,
            kernel: "7.3".into(),
            accelerator: "bare metal".into(),
            clock_source: "sundial".into(),
            settings: InEffect::default(),
        }
    }

    #[test]
    fn report_for_people_names_machine_groups_and_notes() {
        let text = human(&report(), &machine());
        for part in [
            "Abacus, 1 CPU, bare metal",
            "one thread",
            "same core",
            "2.50",
            "context of 4 lines; 2 that",
            "not measured",
            "20 rounds",
            "sundial, 0.03 us",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("two threads, two cores"), "{text}");
    }

    #[test]
    fn unusual_settings_are_in_the_heading() {
        let mut machine = machine();
        assert!(!human(&report(), &machine).contains("SCHED"));
        machine.settings.scheduler = Some("SCHED_FIFO 50".into());
        let text = human(&report(), &machine);
        assert!(text.contains("Linux 7.3\nSCHED_FIFO 50\n"), "{text}");
        let value = value(&report(), &machine);
        assert_eq!(value["machine"]["settings"]["scheduler"], "SCHED_FIFO 50");
    }

    #[test]
    fn left_out_rows_are_reported() {
        let mut report = report();
        assert_eq!(value(&report, &machine())["left_out"], Value::Null);
        report.left_out = Some("not measured: some rows".into());
        assert!(human(&report, &machine()).contains("\nnot measured: some rows\n"));
        let value = value(&report, &machine());
        assert_eq!(value["left_out"], "not measured: some rows");
    }

    #[test]
    fn lines_are_not_mentioned_without_a_doorbell() {
        let mut report = report();
        if let Source::Threads(facts) = &mut report.source {
            facts.lines = 0;
        }
        let text = human(&report, &machine());
        assert!(!text.contains("context of"), "{text}");
    }

    #[test]
    fn json_can_be_parsed_and_has_all_figures() {
        let value: serde_json::Value = serde_json::from_str(&json(&report(), &machine())).unwrap();
        assert_eq!(value["rows"][1]["ratio"], 2.5);
        assert_eq!(value["rows"][0]["iops"], 1e6);
        assert_eq!(value["rows"][0]["samples"], 1000);
        assert!(value["rows"][0]["p99.9_ns"].as_u64().unwrap() >= 1990);
        assert_eq!(value["rows"][1]["rtt_q3_ns"], 2510.0);
        assert_eq!(value["other_lines_assigned"], 2);
        assert_eq!(value["machine"]["clock_source"], "sundial");
        assert_eq!(value["notes"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn csv_has_as_many_fields_in_every_line() {
        let csv = csv(&report());
        let fields: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(fields, [13, 13, 13]);
    }

    #[test]
    fn classic_is_the_format_of_2009() {
        assert_eq!(
            classic(&report()),
            "eventfd: 1000000 iops, 1.00us rtt\n\
             same-core-spin-yielding: 400000 iops, 2.50us rtt\n"
        );
    }

    #[test]
    fn microseconds_have_three_digits_or_so() {
        let all = [7.0, 999.0, 12_345.0, 1_234_567.0].map(us);
        assert_eq!(all, ["0.01", "1.00", "12.3", "1235"]);
    }
}
