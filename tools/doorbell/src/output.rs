// SPDX-License-Identifier: GPL-2.0-only

//! Reports for people and for programs.

pub mod diff;
mod guest;
pub mod html;
pub mod json;
pub(crate) mod kvm;
pub(crate) mod layout;
pub(crate) mod qemu;
mod threads;

use crate::{
    machine::Machine,
    rtt::{
        baseline_2009::{baseline, ratios},
        Directions, Group, Report, Round, Row, Source, UNSTEADY,
    },
};
use comfy_table::{presets, CellAlignment, Table, TableComponent};
use hdrhistogram::Histogram;
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

/// Returns `text` of another user for a terminal: control characters, which could move the cursor or
/// hide a row, are escaped as in Rust.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe
}

/// Formats ns as µs, with about three significant digits. Times from 100 ms on have their unit, so
/// that they take six columns at most.
pub fn us(ns: f64) -> String {
    let us = ns / 1000.0;
    match us {
        us if us >= 9_999_500.0 => format!("{:.0}s", us / 1e6),
        us if us >= 99_999.5 => format!("{:.0}ms", us / 1e3),
        us if us >= 100.0 => format!("{us:.0}"),
        us if us >= 10.0 => format!("{us:.1}"),
        _ => format!("{us:.2}"),
    }
}

/// Formats a number, in six columns.
fn number(n: f64) -> String {
    match n {
        n if n >= 99_999_500.0 => format!("{:.0}M", n / 1e6),
        n if n >= 999_999.5 => format!("{:.2}M", n / 1e6),
        n => format!("{n:.0}"),
    }
}

/// Formats a ratio; a dash if there is none.
fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 999.995 => number(ratio),
        ratio if ratio.is_finite() => format!("{ratio:.2}"),
        _ => "-".into(),
    }
}

/// Returns the name of a row, with a mark if the row is unsteady.
fn name(row: &Row) -> String {
    let mark = if row.is_unsteady() { " !" } else { "" };
    format!("{}{mark}", row.name)
}

fn percentile(row: &Row, percentile: f64) -> u64 {
    row.histogram.value_at_percentile(percentile)
}

/// A table before its layout: a column of text, then columns of numbers.
pub(crate) struct Sheet {
    /// The group of the rows, whose distributions a page draws; none if it draws none.
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
    if report.rows.iter().any(Row::is_unsteady) {
        summary.key += &format!(
            "! unsteady: its quartiles differ by more than a factor of {UNSTEADY}, so there is no \
             ratio to it.\n"
        );
    }
    summary
}

/// Returns the ratios of a report, beside those of 2009.
fn comparison(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(None, &["ratio", "here", "2009"]);
    for ratio in ratios(&report.rows) {
        let baseline = ratio.baseline.map(|baseline| format!("{baseline:.2}"));
        let now = self::ratio(ratio.now);
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
    let mut out = layout::fit(&format!("{machine}\n"));
    for line in summary.about {
        let _ = writeln!(out, "{}", layout::fit(&line));
    }
    for sheet in summary.sheets {
        let _ = writeln!(out, "\n{}", layout::render(&sheet));
    }
    out.push('\n');
    for note in notes(report) {
        let _ = writeln!(out, "{}", layout::fit(note));
    }
    out + &layout::fit(&summary.key)
}

/// The version of the schema of [`json`]: Documentation/rtt.schema.json.
pub const SCHEMA_VERSION: u32 = 1;

/// Returns the report as a value, without the samples.
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
                "unsteady": row.is_unsteady(),
                "steal_ns": row.steal.as_nanos() as u64,
                "samples": row.histogram.len(),
                "min_ns": row.histogram.min(),
                "mean_ns": row.histogram.mean(),
                "p90_ns": percentile(row, 90.0),
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
    let conditions = &report.conditions;
    let mut value = json!({
        "schema_version": SCHEMA_VERSION,
        "date": conditions.date,
        "kernel_release": conditions.kernel_release,
        "boot_parameters": conditions.boot_parameters,
        "governors": conditions.governors,
        "load": conditions.load,
        "source": match report.source {
            Source::Threads(_) => "threads",
            Source::Kvm(_) => "kvm",
            Source::Qemu(_) => "qemu",
        },
        "machine": machine,
        "rows": rows,
        "rounds": report.rounds,
        "partial": report.partial,
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

/// Returns a histogram as pairs, see [`whole`].
fn pairs(histogram: &Histogram<u64>) -> Value {
    let buckets = histogram.iter_recorded();
    buckets
        .map(|bucket| json!([bucket.value_iterated_to(), bucket.count_at_value()]))
        .collect()
}

/// Returns the figures of a direction.
fn direction(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50_ns": histogram.value_at_percentile(50.0),
        "p99_ns": histogram.value_at_percentile(99.0),
        "max_ns": histogram.max(),
        "histogram": pairs(histogram),
    })
}

/// Returns the whole report as a value.
///
/// A histogram is a list of pairs, each a time in ns and the number of round trips that took it.
/// The time is the highest one of the histogram's bucket, whose width is 0.1 % of it at most.
pub fn whole(report: &Report, machine: &Machine) -> Value {
    let mut value = value(report, machine);
    for (at, row) in report.rows.iter().enumerate() {
        let value = &mut value["rows"][at];
        value["histogram"] = pairs(&row.histogram);
        if let Some(Directions { there, back }) = &row.directions {
            value["there"] = direction(there);
            value["back"] = direction(back);
        }
        let of = |figure: fn(&Round) -> f64| -> Value { row.rounds.iter().map(figure).collect() };
        value["rounds_ns"] = json!({
            "rtt": of(|round| round.ns),
            "p50": of(|round| round.p50),
            "p99": of(|round| round.p99),
        });
    }
    value
}

/// Formats the whole report as JSON.
pub fn json(report: &Report, machine: &Machine) -> String {
    json::pretty(&whole(report, machine))
}

/// Formats the figures as comma-separated values.
pub fn csv(report: &Report) -> String {
    let mut out = String::from("group,name,iops,rtt_ns,rtt_q1_ns,rtt_q3_ns,ratio,samples,min_ns");
    for (name, _) in PERCENTILES {
        let _ = write!(out, ",{name}_ns");
    }
    out.push_str(",max_ns,unsteady,steal_ns\n");
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
        let _ = writeln!(
            out,
            ",{},{},{}",
            row.histogram.max(),
            row.is_unsteady(),
            row.steal.as_nanos()
        );
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
    use crate::{conditions::Conditions, realtime::InEffect, rtt::Threads};

    pub(crate) fn report() -> Report {
        let row = Row::example;
        Report {
            rows: vec![
                row(Group::OneThread, "eventfd", 1000.0),
                row(Group::SameCore, "spin (yielding)", 2500.0),
            ],
            left_out: None,
            notes: vec!["two cores: not measured, there is one".into()],
            rounds: 20,
            conditions: Conditions {
                date: "2026-11-26T07:30:00Z".into(),
                kernel_release: "7.3".into(),
                boot_parameters: "quiet".into(),
                governors: vec!["performance".into()],
                load: vec![0.5, 0.25, 0.0],
            },
            partial: false,
            source: Source::Threads(Threads {
                lines: 4,
                others_assigned: 2,
                clock_ns: 30.0,
                rate: None,
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
    fn control_characters_are_escaped() {
        assert_eq!(printable("qemu-system-x86 ä"), "qemu-system-x86 ä");
        // The last one is CSI in one character.
        assert_eq!(
            printable("a\x1b[2J\r\n\x7f\u{9b}"),
            "a\\u{1b}[2J\\r\\n\\u{7f}\\u{9b}"
        );
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
            "(sundial,",
            "0.03 us",
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

    /// Returns a report whose last row has directions: 1 to 100 us there, 201 to 300 us back.
    fn both_ways() -> Report {
        let mut report = report();
        let mut ways = [0, 200].map(|more| {
            let mut way = Histogram::new(3).unwrap();
            for us in 1..=100 {
                way.record(1000 * (more + us)).unwrap();
            }
            Some(way)
        });
        report.rows[1].directions = Some(Directions {
            there: ways[0].take().unwrap(),
            back: ways[1].take().unwrap(),
        });
        report
    }

    #[test]
    fn directions_have_a_table_of_their_own() {
        assert!(!human(&report(), &machine()).contains("one way"));
        let text = human(&both_ways(), &machine());
        assert!(!text.contains("one thread: one way"), "{text}");
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("spin (yielding)"));
        let line = lines.nth(1).unwrap();
        let cells: Vec<&str> = line.split_whitespace().skip(2).collect();
        assert_eq!(
            cells,
            ["50.0", "99.0", "100", "250", "299", "300"],
            "{text}"
        );
        assert!(text.contains("\nThere: from before"), "{text}");
        let value = whole(&both_ways(), &machine());
        assert_eq!(value["rows"][0]["there"], Value::Null);
        let row = &value["rows"][1];
        assert_eq!(row["back"]["histogram"].as_array().unwrap().len(), 100);
        let p50 = |way: &str| row[way]["p50_ns"].as_u64().unwrap() / 1000;
        assert_eq!(["there", "back"].map(p50), [50, 250]);
    }

    #[test]
    fn csv_has_as_many_fields_in_every_line() {
        let csv = csv(&report());
        let fields: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(fields, [15, 15, 15]);
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
        let long = [99_999_400.0, 99_999_500.0, 9_999_499_999.0, 6e10].map(us);
        assert_eq!(long, ["99999", "100ms", "9999ms", "60s"]);
        let numbers = [0.4, 999_999.0, 1_172_279.0, 99_999_499.0, 123_456_789.0].map(number);
        assert_eq!(numbers, ["0", "999999", "1.17M", "100.00M", "123M"]);
    }

    #[test]
    fn schema_describes_each_member() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../Documentation/rtt.schema.json")).unwrap();
        assert_eq!(
            schema["properties"]["schema_version"]["const"],
            SCHEMA_VERSION
        );
        let check = |schema: &Value, value: &Value| {
            let members = value.as_object().unwrap();
            for name in members.keys() {
                assert!(
                    schema["properties"][name].is_object(),
                    "{name} is not described"
                );
            }
            for name in schema["required"].as_array().unwrap() {
                assert!(members.contains_key(name.as_str().unwrap()), "no {name}");
            }
        };
        for report in [
            report(),
            both_ways(),
            kvm::tests::report(),
            qemu::tests::report(),
        ] {
            let value = whole(&report, &machine());
            check(&schema, &value);
            check(&schema["properties"]["machine"], &value["machine"]);
            for row in value["rows"].as_array().unwrap() {
                let items = &schema["properties"]["rows"]["items"];
                check(items, row);
                check(&items["properties"]["rounds_ns"], &row["rounds_ns"]);
                let ways = ["there", "back"].map(|way| &row[way]);
                for way in ways.into_iter().filter(|way| way.is_object()) {
                    check(&schema["$defs"]["direction"], way);
                }
            }
        }
    }

    /// Checks that no line of a report is wider than a terminal, whatever was measured.
    pub(crate) fn fits(mut report: Report) {
        let mut machine = machine();
        machine.kernel += &" #1 SMP PREEMPT_DYNAMIC".repeat(5);
        for row in &mut report.rows {
            row.ns = 9_123_456_789.0;
            row.quartiles = (1.0, 59_999_999_999.0);
            row.ratio = 12_345.678;
            row.histogram.saturating_record(59_999_999_999);
            row.directions = Some(Directions {
                there: row.histogram.clone(),
                back: row.histogram.clone(),
            });
        }
        report.notes.push("a long remark ".repeat(20));
        let slow = human(&report, &machine);
        for row in &mut report.rows {
            row.ns = 1.0;
            row.quartiles = (1.0, 1.0);
        }
        for text in [slow, human(&report, &machine)] {
            for line in text.lines() {
                assert!(line.chars().count() <= layout::WIDTH, "{line}\n{text}");
            }
        }
    }

    #[test]
    fn widest_tables_fit_a_terminal() {
        let mut threads = report();
        threads.rows = Group::ALL
            .iter()
            .flat_map(|&group| {
                let row = move |name| Row::example(group, name, 1000.0);
                group.row_names().map(row)
            })
            .collect();
        fits(threads);
    }

    #[test]
    fn unsteady_rows_are_marked_and_have_no_ratio() {
        let mut report = report();
        assert!(!human(&report, &machine()).contains('!'));
        report.rows[1].quartiles = (1000.0, 2001.0);
        report.rows[1].ratio = f64::NAN;
        let text = human(&report, &machine());
        let line = text
            .lines()
            .find(|line| line.starts_with("spin (yielding) !"));
        let cells: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(cells[3..6], ["400000", "2.50", "-"], "{text}");
        assert!(text.contains("! unsteady: its quartiles"), "{text}");
        let value = whole(&report, &machine());
        assert_eq!(value["rows"][1]["ratio"], Value::Null);
        assert_eq!(value["rows"][0]["unsteady"], false);
        assert_eq!(value["rows"][1]["unsteady"], true);
        assert!(csv(&report).contains(",true,0\n"));
    }

    #[test]
    fn json_has_the_samples_and_the_conditions() {
        let mut report = report();
        report.rows[0].steal = std::time::Duration::from_millis(20);
        report.rows[0].histogram.record_n(5_000_000, 7).unwrap();
        let value: Value = serde_json::from_str(&json(&report, &machine())).unwrap();
        assert_eq!(value["schema_version"], SCHEMA_VERSION);
        assert_eq!(value["date"], "2026-11-26T07:30:00Z");
        assert_eq!(value["boot_parameters"], "quiet");
        assert_eq!(value["governors"], json!(["performance"]));
        assert_eq!(value["load"], json!([0.5, 0.25, 0.0]));
        assert_eq!(value["source"], "threads");
        let row = &value["rows"][0];
        assert_eq!(row["steal_ns"], 20_000_000);
        assert_eq!(row["rounds_ns"]["rtt"].as_array().unwrap().len(), 20);
        assert_eq!(row["rounds_ns"]["p99"][0], 1990.0);
        // The histogram can be built again from its pairs.
        let old = &report.rows[0].histogram;
        let mut new = hdrhistogram::Histogram::<u64>::new_from(old);
        for pair in row["histogram"].as_array().unwrap() {
            let [ns, count] = [&pair[0], &pair[1]].map(|n| n.as_u64().unwrap());
            new.record_n(ns, count).unwrap();
        }
        assert_eq!(new.len(), 1007);
        assert_eq!(&new, old);
    }
}
