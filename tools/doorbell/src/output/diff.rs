// SPDX-License-Identifier: GPL-2.0-only

//! Comparisons of two results.

use super::{layout, us, Sheet};
use crate::{
    diff::{Comparison, Diff, Verdict},
    rtt::Group,
};
use std::fmt::Write;

/// Formats a share as a change in percent.
fn change(share: f64) -> String {
    let percent = 100.0 * share;
    match percent.abs() {
        much if much >= 999.95 => format!("{percent:+.0}%"),
        _ => format!("{percent:+.1}%"),
    }
}

fn cells(row: &Comparison) -> Vec<String> {
    let interval = match (row.low, row.high) {
        (Some(low), Some(high)) => format!("{} to {}", change(low), change(high)),
        _ => "-".into(),
    };
    let mark = if row.unsteady { " !" } else { "" };
    vec![
        format!("{}{mark}", row.name),
        row.figure.to_owned(),
        us(row.a_ns),
        us(row.b_ns),
        change(row.change),
        interval,
        row.verdict.name().to_owned(),
    ]
}

/// Formats a comparison for people. `names` are those of the results.
pub fn human(diff: &Diff, names: [&str; 2]) -> String {
    let mut out = String::new();
    for (letter, name, date) in [("A", names[0], &diff.date_a), ("B", names[1], &diff.date_b)] {
        let _ = writeln!(out, "{}", layout::fit(&format!("{letter}: {name}, {date}")));
    }
    for difference in &diff.differences {
        let text = format!("{}: {} / {}", difference.what, difference.a, difference.b);
        let _ = writeln!(out, "{}", layout::fit(&text));
    }
    let interval = format!("{:.0}% interval", 100.0 * diff.confidence);
    for rows in diff.rows.chunk_by(|x, y| x.group == y.group) {
        let id = rows[0].group.as_str();
        let title = match Group::by_id(id) {
            Some(group) => group.name(),
            None => id,
        };
        let mut sheet = Sheet::new(
            None,
            &[title, "", "A us", "B us", "change", &interval, "verdict"],
        );
        sheet.rows = rows.iter().map(cells).collect();
        let _ = writeln!(out, "\n{}", layout::render(&sheet));
    }
    out.push('\n');
    for (letter, only) in [("A", &diff.only_a), ("B", &diff.only_b)] {
        if !only.is_empty() {
            let text = format!("only in {letter}: {}", only.join(", "));
            let _ = writeln!(out, "{}", layout::fit(&text));
        }
    }
    let key = format!(
        "rtt: median of batches; p99: of round trips timed one by one. The change is estimated over \
         all pairs of rounds.\n\
         worse, better: by more than {} (--threshold), and not by chance (Mann-Whitney U test of \
         the rounds; any row by chance: {:.0}%).\n",
        change(diff.threshold).trim_start_matches('+'),
        100.0 * crate::diff::LEVEL,
    );
    out += &layout::fit(&key);
    if diff
        .rows
        .iter()
        .any(|row| row.verdict == Verdict::Undecided)
    {
        out += &layout::fit(
            "undecided: there are too few rounds for a verdict; repeat with more --rounds or \
             --qemu-boots.\n",
        );
    }
    if diff.rows.iter().any(|row| row.unsteady) {
        out += "! unsteady in A or B\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::{self, tests::result, Saved};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn compare(rounds: usize) -> Diff {
        // Tests run side by side.
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("doorbell-diff-{}-{call}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let read = |name: &str, seed, factors| {
            let path = dir.join(name);
            std::fs::write(&path, result(seed, rounds, factors).to_string()).unwrap();
            Saved::read(&path, false).unwrap()
        };
        let a = read("a", 1, [(1.0, 1.0); 3]);
        let b = read("b", 2, [(0.9, 1.0), (1.25, 30.0), (1.0, 1.0)]);
        std::fs::remove_dir_all(dir).unwrap();
        diff::diff(&a, &b, 0.02, false).unwrap()
    }

    #[test]
    fn table_has_changes_and_verdicts() {
        let text = human(&compare(40), ["a.json", "b.json"]);
        let row = |name: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().collect()
        };
        let cells = row("eventfd ");
        assert_eq!(cells[1..4], ["rtt", "3.00", "2.70"], "{text}");
        assert!(
            cells[4].starts_with("-10.") || cells[4].starts_with("-9."),
            "{text}"
        );
        assert_eq!(cells.last(), Some(&"better"), "{text}");
        for part in [
            "A: a.json, 2026-11-26",
            "two threads, two cores",
            "more than 2.0%",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("undecided"), "{text}");
        assert!(human(&compare(4), ["a", "b"]).contains("too few rounds"));
    }

    #[test]
    fn widest_comparison_fits_a_terminal() {
        let mut diff = compare(40);
        for row in &mut diff.rows {
            row.name = "doorbell burst of 64".into();
            row.unsteady = true;
            (row.a_ns, row.b_ns) = (9_123_456_789.0, 9_123_456_789.0);
            (row.change, row.low, row.high) = (123.4, Some(99.9), Some(150.5));
            row.verdict = Verdict::Undecided;
        }
        diff.only_a = vec!["one-thread doorbell irqfd".into(); 20];
        let text = human(&diff, ["a.json", "b.json"]);
        for line in text.lines() {
            assert!(line.chars().count() <= layout::WIDTH, "{line}\n{text}");
        }
    }
}
