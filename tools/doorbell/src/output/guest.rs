// SPDX-License-Identifier: GPL-2.0-only

//! Common parts of the tables of guests: figures of 2009 beside today's.

use super::{name, ratio, Sheet};
use crate::{
    machine::{Machine, BARE_METAL, UNKNOWN},
    rtt::{
        baseline_2009::{baseline, Baseline},
        Group, Report, Row,
    },
};

/// Returns a remark if the machine that runs the guests is itself virtual.
pub(super) fn nested(machine: &Machine) -> String {
    match machine.accelerator.as_str() {
        BARE_METAL | UNKNOWN => String::new(),
        other => format!(", nested: this machine is itself {other}"),
    }
}

/// Returns three cells: the two figures of 2009, and the ratio of today's time to theirs.
fn cells_of_2009(ns: f64, then: Option<Baseline>) -> [String; 3] {
    let Some(then) = then else {
        return Default::default();
    };
    let mark = if then.extrapolated { "*" } else { " " };
    [
        then.iops.to_string(),
        format!("{:.2}{mark}", then.us),
        ratio(ns / 1e3 / then.us),
    ]
}

/// Returns a table per group, with a line for each measured row.
///
/// `facts` are further facts about each row of the report. `cells` returns the cells below
/// `header`, which follow the name.
pub(super) fn sheets<T>(
    report: &Report,
    groups: &[Group],
    header: &[&str],
    facts: &[T],
    cells: impl Fn(&Row, &T) -> Vec<String>,
) -> Vec<Sheet> {
    let sheet = |&group: &Group| {
        let of_2009 = matches!(group, Group::KvmWrite | Group::QemuWrite);
        let mut names = [&[group.name()], header].concat();
        if of_2009 {
            names.extend(["2009:\niops", "us", "now/\n2009"]);
        }
        let mut sheet = Sheet::new(Some(group), &names);
        let rows = report.rows.iter().zip(facts);
        for (row, facts) in rows.filter(|(row, _)| row.group == group) {
            let mut all = vec![name(row)];
            all.extend(cells(row, facts));
            if of_2009 {
                all.extend(cells_of_2009(row.ns, baseline(group, row.name)));
            }
            sheet.rows.push(all);
        }
        sheet
    };
    groups.iter().map(sheet).collect()
}
