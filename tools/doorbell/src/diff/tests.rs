// SPDX-License-Identifier: GPL-2.0-only

use super::*;
use crate::{
    output::{self, tests as plain},
    rtt::{self, Group, Round},
};
use fastrand::Rng;

/// The rows of the results in these tests.
const ROWS: [(Group, &str, f64); 3] = [
    (Group::OneThread, "eventfd", 3000.0),
    (Group::OneThread, "doorbell irqfd", 4500.0),
    (Group::TwoCores, "doorbell irqfd", 30_000.0),
];

/// Returns a result of `rounds` rounds with noise of 1 %. `factors` are those of the median and of
/// the 99th percentile of each row.
pub(crate) fn result(seed: u64, rounds: usize, factors: [(f64, f64); 3]) -> Value {
    let mut random = Rng::with_seed(seed);
    let mut report = plain::report();
    report.rows = ROWS
        .iter()
        .zip(factors)
        .map(|(&(group, name, ns), (median, tail))| {
            let mut noise = || 0.995 + 0.01 * random.f64();
            let round = |_| Round {
                ns: ns * median * noise(),
                p50: ns * median * noise(),
                p99: 2.0 * ns * tail * noise(),
            };
            rtt::Row {
                rounds: (0..rounds).map(round).collect(),
                ..rtt::Row::example(group, name, ns * median)
            }
        })
        .collect();
    output::whole(&report, &plain::machine())
}

const SAME: [(f64, f64); 3] = [(1.0, 1.0); 3];

fn saved(value: &Value) -> Saved {
    Saved::parse(&value.to_string(), false).unwrap()
}

/// Compares a result with one whose figures are multiplied by `factors`.
fn compare(rounds: usize, factors: [(f64, f64); 3], threshold: f64) -> Diff {
    let a = saved(&result(1, rounds, SAME));
    let b = saved(&result(2, rounds, factors));
    diff(&a, &b, threshold, false).unwrap()
}

fn verdicts(diff: &Diff) -> Vec<Verdict> {
    diff.rows.iter().map(|row| row.verdict).collect()
}

#[test]
fn repetition_is_the_same() {
    let diff = compare(40, SAME, 0.02);
    assert_eq!(verdicts(&diff), [Verdict::Same; 6]);
    assert_eq!(diff.verdict, Verdict::Same);
    assert_eq!(diff.differences, []);
    for row in &diff.rows {
        assert!(row.change.abs() < 0.005, "{row:?}");
        let (low, high) = (row.low.unwrap(), row.high.unwrap());
        assert!(
            low < row.change && row.change < high && high - low < 0.02,
            "{row:?}"
        );
    }
}

#[test]
fn change_beyond_the_threshold_is_found_in_its_row_only() {
    use Verdict::{Better, Same, Worse};
    let slower = [(1.0, 1.0), (1.1, 1.0), (1.0, 1.0)];
    let diff = compare(40, slower, 0.02);
    assert_eq!(verdicts(&diff), [Same, Same, Worse, Same, Same, Same]);
    assert_eq!(diff.verdict, Worse);
    assert!(
        (diff.rows[2].change - 0.1).abs() < 0.005,
        "{:?}",
        diff.rows[2]
    );
    assert!((diff.rows[2].b_ns / diff.rows[2].a_ns - 1.1).abs() < 1e-9);
    let tail = [(1.0, 1.0), (1.0, 1.0), (1.0, 1.5)];
    let diff = compare(40, tail, 0.02);
    assert_eq!(verdicts(&diff), [Same, Same, Same, Same, Same, Worse]);
    let faster = [(0.9, 1.0), (1.0, 1.0), (1.0, 1.0)];
    let diff = compare(40, faster, 0.02);
    assert_eq!(verdicts(&diff), [Better, Same, Same, Same, Same, Same]);
    assert_eq!(diff.verdict, Better);
    let both = [(0.9, 1.0), (1.1, 1.0), (1.0, 1.0)];
    assert_eq!(compare(40, both, 0.02).verdict, Worse);
}

#[test]
fn threshold_is_the_change_that_does_not_matter() {
    let slower = [(1.0, 1.0), (1.05, 1.0), (1.0, 1.0)];
    assert_eq!(compare(40, slower, 0.02).verdict, Verdict::Worse);
    assert_eq!(compare(40, slower, 0.10).verdict, Verdict::Same);
    // At the threshold itself nothing is proved.
    assert_eq!(compare(40, slower, 0.05).verdict, Verdict::Same);
    assert_eq!(compare(40, slower, 0.0).verdict, Verdict::Worse);
}

#[test]
fn few_rounds_decide_nothing() {
    let slower = [(1.5, 1.5); 3];
    let diff = compare(4, slower, 0.02);
    assert_eq!(verdicts(&diff), [Verdict::Undecided; 6]);
    assert_eq!(diff.verdict, Verdict::Undecided);
    assert_eq!(diff.rows[0].low, None, "no interval of that confidence");
    assert_eq!(compare(10, slower, 0.02).verdict, Verdict::Worse);
}

#[test]
fn long_runs_are_reduced() {
    assert_eq!(samples(&[1.0; 2500]).len(), 834);
    assert_eq!(samples(&[1.0; 7]), [0.0; 7]);
    let slower = [(1.1, 1.0), (1.0, 1.0), (1.0, 1.0)];
    let diff = compare(2500, slower, 0.02);
    assert_eq!(diff.rows[0].verdict, Verdict::Worse);
    assert_eq!(diff.rows[1].verdict, Verdict::Same);
}

#[test]
fn other_machines_and_measurements_are_refused() {
    let value = result(1, 20, SAME);
    let a = saved(&value);
    for (pointer, other, what, serious) in [
        (
            "/machine/cpu",
            Value::from("Slide rule"),
            "CPU: Abacus / Slide rule",
            true,
        ),
        ("/machine/kernel", "6.1".into(), "kernel: 7.3 / 6.1", true),
        ("/machine/accelerator", "TCG".into(), "runs on", true),
        ("/source", "kvm".into(), "measurement", true),
        ("/rate", 100.0.into(), "rate: none / 100", true),
        ("/lines", 8.into(), "lines: 4 / 8", true),
        (
            "/boot_parameters",
            "idle=poll".into(),
            "boot parameters",
            false,
        ),
        (
            "/governors",
            Value::Array(vec!["powersave".into()]),
            "governors",
            false,
        ),
        ("/partial", true.into(), "partial", false),
    ] {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap() = other;
        let b = saved(&value);
        let found = differences(&a, &b);
        assert_eq!(
            (found.len(), found[0].serious),
            (1, serious),
            "{what}: {found:?}"
        );
        match diff(&a, &b, 0.02, false) {
            Err(error) => {
                let text = error.to_string();
                assert!(
                    serious && text.contains(what) && text.contains("--force"),
                    "{text}"
                );
            }
            Ok(diff) => assert!(
                !serious && what.contains(diff.differences[0].what),
                "{what}"
            ),
        }
        assert!(diff(&a, &b, 0.02, true).is_ok(), "{what}");
    }
}

#[test]
fn files_that_are_no_results_are_refused() {
    let parse = |text: &str, force| Saved::parse(text, force).map_err(|error| format!("{error:#}"));
    assert!(parse("iops", false)
        .unwrap_err()
        .contains("doorbell rtt --json"));
    assert!(parse("{}", true).unwrap_err().contains("schema_version"));
    let mut value = result(1, 20, SAME);
    value["schema_version"] = 999.into();
    let error = parse(&value.to_string(), false).unwrap_err();
    assert!(
        error.contains("999") && error.contains("--force"),
        "{error}"
    );
    assert!(parse(&value.to_string(), true).is_ok());
    value["rows"][0]["rtt_ns"] = 0.0.into();
    assert!(parse(&value.to_string(), true)
        .unwrap_err()
        .contains("not positive"));
    value["rows"][0]["rtt_ns"] = Value::Null;
    assert!(parse(&value.to_string(), true).is_err());
}

#[test]
fn rows_of_one_result_are_named() {
    let mut value = result(1, 20, SAME);
    let a = saved(&value);
    let rows = value["rows"].as_array_mut().unwrap();
    rows.remove(0);
    rows[0]["name"] = "futex".into();
    let b = saved(&value);
    let diff = diff(&a, &b, 0.02, false).unwrap();
    assert_eq!(
        diff.only_a,
        ["one-thread eventfd", "one-thread doorbell irqfd"]
    );
    assert_eq!(diff.only_b, ["one-thread futex"]);
    assert_eq!(diff.rows.len(), 2);
    value["rows"].as_array_mut().unwrap().pop();
    let error = super::diff(&a, &saved(&value), 0.02, false).unwrap_err();
    assert!(error.to_string().contains("no row in common"));
}
