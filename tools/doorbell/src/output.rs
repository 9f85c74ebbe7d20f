// SPDX-License-Identifier: GPL-2.0-only

//! Reports for people and for machines.

use crate::{
    machine::Machine,
    rtt::{Group, Report, Row},
};
use comfy_table::{presets, CellAlignment, Table, TableComponent};
use plotters::prelude::*;
use serde_json::json;
use std::{fmt::Write, path::Path};

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
    let mut out = format!("{machine}\n");
    if report.lines.0 > 0 {
        let (lines, filled) = report.lines;
        let _ = writeln!(out, "context of {lines} lines, {filled} others assigned");
    }
    for group in [Group::OneThread, Group::SameCore, Group::TwoCores] {
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
    for skipped in &report.skipped {
        let _ = writeln!(out, "not measured: {skipped}");
    }
    out.push_str(
        "\niops, RTT and ratio (to the group's eventfd): median of batches timed as a whole.\n\
         min to max, in us: round trips timed one by one, clock reading included.\n",
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
    let value = json!({
        "machine": machine,
        "lines": report.lines.0,
        "other_lines_assigned": report.lines.1,
        "rows": rows,
        "skipped": report.skipped,
    });
    format!("{value:#}\n")
}

/// The same figures as comma-separated values.
pub fn csv(report: &Report) -> String {
    let mut out = String::from("group,name,iops,rtt_ns,ratio,samples,min_ns");
    for (name, _) in PERCENTILES {
        let _ = write!(out, ",{name}_ns");
    }
    out.push_str(",max_ns\n");
    for row in &report.rows {
        // No name of ours has a quote in it.
        let _ = write!(
            out,
            "{},\"{}\",{:.0},{:.1},{:.4},{},{}",
            row.group.id(),
            row.name,
            row.iops(),
            row.ns,
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

/// Draws the distributions: a curve per row, with more room the rarer it gets, as the tail is what
/// one looks for.
pub fn plot(report: &Report, machine: &Machine, path: &Path) -> anyhow::Result<()> {
    const WIDTH: u32 = 1000;
    const PANEL: u32 = 420;
    const TITLE: u32 = 60;
    // 0 is the median, 1 p90, 2 p99 ... 5 p99.999.
    const NINES: f64 = 5.0;
    let groups: Vec<Group> = [Group::OneThread, Group::SameCore, Group::TwoCores]
        .into_iter()
        .filter(|&group| report.rows.iter().any(|row| row.group == group))
        .collect();

    let size = (WIDTH, TITLE + PANEL * groups.len() as u32);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (title, panels) = root.split_vertically(TITLE);
    title.draw_text(
        "Round-trip time of a notification",
        &("sans-serif", 22).into_text_style(&title),
        (20, 8),
    )?;
    title.draw_text(
        &machine.to_string().replace('\n', ", "),
        &("sans-serif", 13).into_text_style(&title),
        (20, 36),
    )?;

    for (panel, group) in panels.split_evenly((groups.len(), 1)).iter().zip(groups) {
        let rows: Vec<&Row> = report.rows.iter().filter(|r| r.group == group).collect();
        let low = rows
            .iter()
            .map(|row| row.histogram.min())
            .min()
            .unwrap_or(1);
        let high = rows
            .iter()
            .map(|row| row.histogram.max())
            .max()
            .unwrap_or(1);
        let range = (low.max(1) as f64 / 1000.0 * 0.8)..(high as f64 / 1000.0 * 1.5);
        let mut chart = ChartBuilder::on(panel)
            .caption(group.name(), ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(65)
            .build_cartesian_2d(0f64..NINES, range.log_scale())?;
        chart
            .configure_mesh()
            .x_labels(6)
            .x_label_formatter(&|x| match x.round() as u32 {
                0 => "p0".into(),
                1 => "p90".into(),
                2 => "p99".into(),
                n => format!("p99.{}", "9".repeat(n as usize - 2)),
            })
            .x_desc("share of round trips that took no longer")
            .y_desc("microseconds")
            .y_label_formatter(&|y| us(y * 1000.0))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (at, row) in rows.iter().enumerate() {
            let color = Palette99::pick(at).to_rgba();
            let style = color.stroke_width(if row.name.starts_with("doorbell") {
                3
            } else {
                2
            });
            let points = (0..=500).filter_map(|step| {
                let nines = NINES * f64::from(step) / 500.0;
                let rare = 10f64.powf(-nines);
                // Beyond the last sample a histogram only repeats the maximum.
                (rare * row.histogram.len() as f64 >= 1.0).then(|| {
                    (
                        nines,
                        row.histogram.value_at_quantile(1.0 - rare) as f64 / 1000.0,
                    )
                })
            });
            chart
                .draw_series(LineSeries::new(points, style))?
                .label(row.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;

    fn report() -> Report {
        let row = |group, name, ns: f64| {
            let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
            for i in 0..1000 {
                histogram.record(ns as u64 + i).unwrap();
            }
            Row {
                group,
                name,
                ns,
                ratio: ns / 1000.0,
                histogram,
            }
        };
        Report {
            rows: vec![
                row(Group::OneThread, "eventfd", 1000.0),
                row(Group::SameCore, "spin (yielding)", 2500.0),
            ],
            skipped: vec!["two cores: there is only one".into()],
            lines: (4, 2),
        }
    }

    fn machine() -> Machine {
        Machine {
            cpu: "Abacus".into(),
            cpus: 1,
            kernel: "7.3".into(),
            accelerator: "bare metal".into(),
        }
    }

    #[test]
    fn human_names_machine_groups_and_what_is_missing() {
        let text = human(&report(), &machine());
        for part in [
            "Abacus",
            "bare metal",
            "one thread",
            "same core",
            "2.50",
            "not measured",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn json_can_be_parsed_and_has_all_figures() {
        let value: serde_json::Value = serde_json::from_str(&json(&report(), &machine())).unwrap();
        assert_eq!(value["rows"][1]["ratio"], 2.5);
        assert_eq!(value["rows"][0]["iops"], 1e6);
        assert_eq!(value["rows"][0]["samples"], 1000);
        assert!(value["rows"][0]["p99.9_ns"].as_u64().unwrap() >= 1990);
        assert_eq!(value["other_lines_assigned"], 2);
    }

    #[test]
    fn csv_has_as_many_fields_in_every_line() {
        let csv = csv(&report());
        let fields: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(fields, [11, 11, 11]);
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
    fn plot_is_drawn() {
        let path = std::env::temp_dir().join(format!("doorbell-plot-{}.svg", std::process::id()));
        plot(&report(), &machine(), &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(svg.contains("spin (yielding)") && svg.contains("Abacus"));
    }
}
