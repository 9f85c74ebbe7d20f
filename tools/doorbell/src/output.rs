// SPDX-License-Identifier: GPL-2.0-only

//! Reports for people and for programs.

pub(crate) mod kvm;

use crate::{
    machine::Machine,
    rtt::{Group, Report, Row},
};
use comfy_table::{presets, CellAlignment, Table, TableComponent};
use serde_json::json;
use std::fmt::Write;

/// The percentiles that are printed.
const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];

/// A table that looks like all our tables: `left` columns of text, then numbers.
pub fn new_table(header: &[&str], left: usize) -> Table {
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
    table.set_header(header);
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// ns as µs, with three significant digits or so.
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

/// The table for people.
pub fn human(report: &Report, machine: &Machine) -> String {
    if let Some(facts) = &report.kvm {
        return kvm::human(report, facts, machine);
    }
    let mut out = format!("{machine}\n");
    if report.lines.0 > 0 {
        let (lines, filled) = report.lines;
        let others = if filled > 0 {
            format!("; {filled} that are not measured have an irqfd and a trigger each")
        } else {
            String::new()
        };
        let _ = writeln!(out, "context of {lines} lines{others}");
    }
    for group in Group::ALL {
        let rows: Vec<&Row> = report.rows.iter().filter(|r| r.group == group).collect();
        if rows.is_empty() {
            continue;
        }
        let header = [
            group.name(),
            "iops",
            "RTT us",
            "ratio",
            "min",
            "p50",
            "p99",
            "p99.9",
            "max",
        ];
        let mut table = new_table(&header, 1);
        for row in rows {
            let mut cells = vec![
                row.name.to_owned(),
                format!("{:.0}", row.iops()),
                us(row.ns),
                format!("{:.2}", row.ratio),
                us(row.histogram.min() as f64),
            ];
            cells.extend(PERCENTILES.map(|(_, p)| us(percentile(row, p) as f64)));
            cells.push(us(row.histogram.max() as f64));
            table.add_row(cells);
        }
        let _ = writeln!(out, "\n{table}");
    }
    out.push('\n');
    for note in &report.notes {
        let _ = writeln!(out, "{note}");
    }
    let _ = writeln!(
        out,
        "iops, RTT, ratio (to the group's eventfd): median of short batches timed as a whole.\n\
         min to max, in us: round trips timed one by one, reading the clock ({}, {} us) included.\n\
         {} rounds, in each of which every row had its turn.",
        machine.clock_source,
        us(report.clock_ns),
        report.rounds,
    );
    out
}

/// Everything, for programs.
pub fn json(report: &Report, machine: &Machine) -> String {
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
            value
        })
        .collect();
    let mut value = json!({
        "machine": machine,
        "lines": report.lines.0,
        "other_lines_assigned": report.lines.1,
        "rows": rows,
        "rounds": report.rounds,
        "clock_ns": report.clock_ns,
        "notes": report.notes,
    });
    if let Some(facts) = &report.kvm {
        kvm::complete(&mut value, report, facts);
    }
    format!("{value:#}\n")
}

/// The same figures as comma-separated values.
pub fn csv(report: &Report) -> String {
    let mut out = String::from("group,name,iops,rtt_ns,rtt_q1_ns,rtt_q3_ns,ratio,samples,min_ns");
    for (name, _) in PERCENTILES {
        let _ = write!(out, ",{name}_ns");
    }
    out.push_str(",max_ns\n");
    for row in &report.rows {
        // No name of ours has a quote in it.
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

/// The lines in which the first doorbell reported its figures, in 2009.
pub fn classic(report: &Report) -> String {
    if report.kvm.is_some() {
        return kvm::classic(report);
    }
    let mut out = String::new();
    for row in &report.rows {
        let group = match row.group {
            Group::OneThread => String::new(),
            group => format!("{}-", group.id()),
        };
        let name = row.name.replace(['(', ')'], "").replace(' ', "-");
        let (iops, rtt) = (row.iops(), row.ns / 1000.0);
        let _ = writeln!(out, "{group}{name}: {iops:.0} iops, {rtt:.2} us rtt");
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
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
            notes: vec!["two cores: not measured, there is one".into()],
            lines: (4, 2),
            rounds: 20,
            clock_ns: 30.0,
            kvm: None,
        }
    }

    pub(crate) fn machine() -> Machine {
        Machine {
            cpu: "Abacus".into(),
            cpus: 1,
            kernel: "7.3".into(),
            accelerator: "bare metal".into(),
            clock_source: "sundial".into(),
        }
    }

    #[test]
    fn human_names_machine_groups_and_what_is_missing() {
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
    fn lines_are_not_mentioned_without_a_doorbell() {
        let text = human(
            &Report {
                lines: (0, 0),
                ..report()
            },
            &machine(),
        );
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
            "eventfd: 1000000 iops, 1.00 us rtt\n\
             same-core-spin-yielding: 400000 iops, 2.50 us rtt\n"
        );
    }

    #[test]
    fn microseconds_have_three_digits_or_so() {
        let all = [7.0, 999.0, 12_345.0, 1_234_567.0].map(us);
        assert_eq!(all, ["0.01", "1.00", "12.3", "1235"]);
    }
}
