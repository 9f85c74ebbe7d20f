// SPDX-License-Identifier: GPL-2.0-only

//! Reports of runs with threads.

use super::{name, number, percentile, ratio, us, Sheet, Summary, PERCENTILES};
use crate::{
    machine::Machine,
    rtt::{Directions, Group, Report, Row, Threads},
};
use serde_json::Value;

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![
        name(row),
        number(row.iops()),
        us(row.ns),
        ratio(row.ratio),
        us(row.histogram.min() as f64),
    ];
    cells.extend(PERCENTILES.map(|(_, p)| us(percentile(row, p) as f64)));
    cells.push(us(row.histogram.max() as f64));
    cells
}

/// The headers of the figures of a direction, which are percentiles and the maximum.
const DIRECTION: [&str; 3] = ["p50", "p99", "max"];

/// Returns the table of the directions of a group; without rows if they were not timed.
fn directions(report: &Report, group: Group) -> Sheet {
    let mut header = vec![format!("{}: one way", group.name())];
    for way in ["there", "back"] {
        header.extend(DIRECTION.map(|figure| format!("{way} {figure}")));
    }
    let mut sheet = Sheet::new(None, &header.iter().map(String::as_str).collect::<Vec<_>>());
    for row in report.of(group) {
        let Some(Directions { there, back }) = &row.directions else {
            continue;
        };
        let mut cells = vec![row.name.to_string()];
        for way in [there, back] {
            let at = |p| way.value_at_percentile(p);
            cells.extend([at(50.0), at(99.0), way.max()].map(|ns| us(ns as f64)));
        }
        sheet.rows.push(cells);
    }
    sheet
}

pub(super) fn summarize(report: &Report, facts: &Threads, machine: &Machine) -> Summary {
    let mut about = Vec::new();
    if facts.lines > 0 {
        let others = match facts.others_assigned {
            0 => String::new(),
            n => format!("; {n} that are not measured have an irqfd and a trigger each"),
        };
        about.push(format!("context of {} lines{others}", facts.lines));
    }
    let groups = Group::ALL.map(|group| {
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
        let mut sheet = Sheet::new(Some(group), &header);
        sheet.rows = report.of(group).map(cells).collect();
        [sheet, directions(report, group)]
    });
    let paced = match facts.rate {
        Some(rate) => format!("{rate} a second, each from when it should have been sent"),
        None => "timed one by one".into(),
    };
    let mut key = format!(
        "iops, RTT, ratio (to the group's eventfd): median of short batches timed as a whole.\n\
         min to max, in us: round trips {paced}, reading the clock ({}, {} us) included.\n\
         {} rounds, each with a turn of every row.\n",
        machine.clock_source,
        us(facts.clock_ns),
        report.rounds,
    );
    if report.rows.iter().any(|row| row.directions.is_some()) {
        key += "There: from before the first thread sends to when the second one has received, in us. Back: \
                from then to when the first one has received the answer. Each includes reading the clock \
                once.\n";
    }
    Summary {
        about,
        sheets: groups.into_iter().flatten().collect(),
        key,
    }
}

/// Adds the facts about threads to the value of a report.
pub(super) fn complete(value: &mut Value, facts: &Threads) {
    value["lines"] = facts.lines.into();
    value["other_lines_assigned"] = facts.others_assigned.into();
    value["clock_ns"] = facts.clock_ns.into();
    value["rate"] = facts.rate.into();
}
