// SPDX-License-Identifier: GPL-2.0-only

//! What tables of guests have in common: figures of 2009 beside today's.

use super::Sheet;
use crate::{
    machine::{Machine, BARE_METAL, UNKNOWN},
    rtt::{
        then::{then, Then},
        Group, Report, Row,
    },
};

/// What a machine that runs guests is itself, if that matters.
pub(super) fn nested(machine: &Machine) -> String {
    match machine.accelerator.as_str() {
        BARE_METAL | UNKNOWN => String::new(),
        other => format!(", nested: this machine is itself {other}"),
    }
}

/// The figures of 2009, and what the one of today makes of them: three cells.
fn beside(ns: f64, then: Option<Then>) -> [String; 3] {
    let Some(then) = then else {
        return Default::default();
    };
    let mark = if then.extrapolated { "*" } else { " " };
    [
        format!("{} ", then.iops),
        format!("{:.2}{mark}", then.us),
        format!("{:.2}", ns / 1e3 / then.us),
    ]
}

/// A sheet per group, with a row for each that was measured. `facts` are what is known of the rows
/// besides, in the same order; `cells` are those below `header`, after the name.
pub(super) fn sheets<T>(
    report: &Report,
    groups: &[Group],
    header: &[&str],
    facts: &[T],
    cells: impl Fn(&Row, &T) -> Vec<String>,
) -> Vec<Sheet> {
    let sheet = |&group: &Group| {
        let of_then = matches!(group, Group::KvmWrite | Group::QemuWrite);
        let mut names = [&[group.name()], header].concat();
        if of_then {
            names.extend(["2009: iops", "us", "now/2009"]);
        }
        let mut sheet = Sheet::new(Some(group), &names);
        let rows = report.rows.iter().zip(facts);
        for (row, facts) in rows.filter(|(row, _)| row.group == group) {
            let mut all = vec![row.name.to_owned()];
            all.extend(cells(row, facts));
            if of_then {
                all.extend(beside(row.ns, then(group, row.name)));
            }
            sheet.rows.push(all);
        }
        sheet
    };
    groups.iter().map(sheet).collect()
}
