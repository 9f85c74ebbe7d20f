// SPDX-License-Identifier: GPL-2.0-only

//! Comparison of two results of `doorbell rtt --json`.
//!
//! The samples of a test are the figures of the rounds of a row: the median of its batches, and the
//! 99th percentile of its single round trips. The batches within a round are no independent
//! samples.

pub mod rank;

use crate::{output::SCHEMA_VERSION, rtt::quantile};
use anyhow::{bail, ensure, Context as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fs, path::Path};

/// The probability that any row is called worse or better by chance.
pub const LEVEL: f64 = 0.01;

/// The number of samples of a row to which a long run is reduced.
const MOST_SAMPLES: usize = 1000;

/// A result, as far as it is compared.
#[derive(Clone, Debug, Deserialize)]
pub struct Saved {
    #[serde(default)]
    date: String,
    schema_version: u32,
    machine: Machine,
    boot_parameters: String,
    governors: Vec<String>,
    source: String,
    partial: bool,
    lines: Option<u32>,
    other_lines_assigned: Option<u32>,
    rate: Option<f64>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Deserialize)]
struct Machine {
    cpu: String,
    cpus: u32,
    kernel: String,
    accelerator: String,
    clock_source: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Row {
    group: String,
    name: String,
    rtt_ns: f64,
    p99_ns: f64,
    unsteady: bool,
    rounds_ns: Rounds,
}

#[derive(Clone, Debug, Deserialize)]
struct Rounds {
    rtt: Vec<f64>,
    p99: Vec<f64>,
}

impl Saved {
    /// Reads a file that `doorbell rtt --json` has written.
    ///
    /// # Errors
    ///
    /// If it is not such a file, or one of another version and `force` is not set.
    pub fn read(path: &Path, force: bool) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text, force).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, force: bool) -> anyhow::Result<Self> {
        let value: Value =
            serde_json::from_str(text).context("this is not what 'doorbell rtt --json' prints")?;
        let version = &value["schema_version"];
        ensure!(
            !version.is_null(),
            "there is no schema_version in it; make it by 'doorbell rtt --json'"
        );
        ensure!(
            force || *version == SCHEMA_VERSION,
            "schema_version is {version}, and this command knows {SCHEMA_VERSION}; make it again, or \
             try --force"
        );
        let saved: Self = serde_json::from_value(value)?;
        for row in &saved.rows {
            let numbers = row.rounds_ns.rtt.iter().chain(&row.rounds_ns.p99);
            ensure!(
                numbers
                    .chain([&row.rtt_ns, &row.p99_ns])
                    .all(|&ns| ns > 0.0),
                "{} {} has a time that is not positive",
                row.group,
                row.name
            );
        }
        Ok(saved)
    }
}

/// A condition that differs between two results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The condition.
    pub what: &'static str,
    /// Its value in the first result.
    pub a: String,
    /// Its value in the second result.
    pub b: String,
    /// True if the results measure different things, so that they are compared by force only.
    pub serious: bool,
}

/// The verdict on a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Longer by more than the threshold, and not by chance.
    Worse,
    /// Shorter by more than the threshold, and not by chance.
    Better,
    /// No change that exceeds the threshold is proved.
    Same,
    /// There are too few rounds to prove anything.
    Undecided,
}

impl Verdict {
    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Same => "same",
            Self::Undecided => "undecided",
        }
    }
}

/// A figure of a row in both results. Changes are shares: 0.02 is 2 %.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The group of the row.
    pub group: String,
    /// The name of the row.
    pub name: String,
    /// The figure: rtt, the median of the batches, or p99.
    pub figure: &'static str,
    /// The figure in the first result, in ns.
    pub a_ns: f64,
    /// The figure in the second result, in ns.
    pub b_ns: f64,
    /// The estimate of the change, over all pairs of rounds.
    pub change: f64,
    /// The lower end of the confidence interval of the change; none if there are too few rounds.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// The probability of such a change by chance, adjusted for the number of comparisons.
    pub p: f64,
    /// The verdict.
    pub verdict: Verdict,
    /// True if the row was unsteady in one of the results.
    pub unsteady: bool,
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// The date of the first result.
    pub date_a: String,
    /// The date of the second result.
    pub date_b: String,
    /// The differences of the conditions.
    pub differences: Vec<Difference>,
    /// The largest change that does not matter.
    pub threshold: f64,
    /// The confidence of the intervals.
    pub confidence: f64,
    /// The figures of all common rows.
    pub rows: Vec<Comparison>,
    /// The rows that only the first result has.
    pub only_a: Vec<String>,
    /// The rows that only the second result has.
    pub only_b: Vec<String>,
    /// Worse if any figure is, otherwise better if any is, otherwise same if any is.
    pub verdict: Verdict,
}

/// Returns the conditions that differ.
fn differences(a: &Saved, b: &Saved) -> Vec<Difference> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".into());
    let facts = |saved: &Saved| {
        [
            ("schema version", saved.schema_version.to_string(), true),
            ("kernel", saved.machine.kernel.clone(), true),
            ("CPU", saved.machine.cpu.clone(), true),
            ("number of CPUs", saved.machine.cpus.to_string(), true),
            ("runs on", saved.machine.accelerator.clone(), true),
            ("measurement", saved.source.clone(), true),
            ("rate", or_none(saved.rate.map(|n| n.to_string())), true),
            ("lines", or_none(saved.lines.map(|n| n.to_string())), true),
            (
                "other lines assigned",
                or_none(saved.other_lines_assigned.map(|n| n.to_string())),
                true,
            ),
            ("clock source", saved.machine.clock_source.clone(), false),
            ("boot parameters", saved.boot_parameters.clone(), false),
            ("governors", saved.governors.join(", "), false),
            ("partial", saved.partial.to_string(), false),
        ]
    };
    let both = facts(a).into_iter().zip(facts(b));
    both.filter(|(a, b)| a.1 != b.1)
        .map(|((what, a, serious), (_, b, _))| Difference {
            what,
            a,
            b,
            serious,
        })
        .collect()
}

/// Reduces the figures of rounds to [`MOST_SAMPLES`] logarithms, each of some successive rounds.
fn samples(ns: &[f64]) -> Vec<f64> {
    let each = ns.len().div_ceil(MOST_SAMPLES).max(1);
    let middle = |ns: &[f64]| quantile(&mut ns.to_vec(), 0.5).ln();
    ns.chunks(each).map(middle).collect()
}

/// Compares two results. A change matters if it exceeds the share `threshold`.
///
/// # Errors
///
/// If they have no row in common, or if their machines or measurements differ and `force` is not
/// set.
pub fn diff(a: &Saved, b: &Saved, threshold: f64, force: bool) -> anyhow::Result<Diff> {
    let differences = differences(a, b);
    let serious: Vec<String> = differences
        .iter()
        .filter(|difference| difference.serious)
        .map(|Difference { what, a, b, .. }| format!("\n  {what}: {a} / {b}"))
        .collect();
    if !serious.is_empty() && !force {
        bail!(
            "the results are not of one machine and measurement; --force compares them anyway:{}",
            serious.concat()
        );
    }
    let find = |saved: &Saved, row: &Row| -> Option<Row> {
        let same = |other: &&Row| (&other.group, &other.name) == (&row.group, &row.name);
        saved.rows.iter().find(same).cloned()
    };
    let only = |one: &Saved, other: &Saved| -> Vec<String> {
        let rows = one.rows.iter().filter(|row| find(other, row).is_none());
        rows.map(|row| format!("{} {}", row.group, row.name))
            .collect()
    };
    let confidence = 1.0 - LEVEL;
    let margin = threshold.ln_1p();
    let mut rows = Vec::new();
    // The p-values of both directions, and whether the sample can decide.
    let mut tests = Vec::new();
    for (a, b) in a.rows.iter().filter_map(|row| Some((row, find(b, row)?))) {
        let figures = [
            (
                "rtt",
                a.rtt_ns,
                b.rtt_ns,
                &a.rounds_ns.rtt,
                &b.rounds_ns.rtt,
            ),
            (
                "p99",
                a.p99_ns,
                b.p99_ns,
                &a.rounds_ns.p99,
                &b.rounds_ns.p99,
            ),
        ];
        for (figure, a_ns, b_ns, of_a, of_b) in figures {
            let (of_a, of_b) = (samples(of_a), samples(of_b));
            ensure!(
                !of_a.is_empty() && !of_b.is_empty(),
                "{} {} has no rounds",
                a.group,
                a.name
            );
            let shift = rank::shift(&of_a, &of_b, confidence);
            let beyond = |one: &[f64], other: &[f64]| {
                let one: Vec<f64> = one.iter().map(|value| value + margin).collect();
                rank::p_greater(&one, other)
            };
            tests.push((
                beyond(&of_a, &of_b),
                beyond(&of_b, &of_a),
                rank::smallest_p(of_a.len(), of_b.len()),
            ));
            let share = |log: f64| Some(log.exp_m1()).filter(|_| log.is_finite());
            rows.push(Comparison {
                group: a.group.clone(),
                name: a.name.clone(),
                figure,
                a_ns,
                b_ns,
                change: shift.estimate.exp_m1(),
                low: share(shift.interval.0),
                high: share(shift.interval.1),
                p: 1.0,
                verdict: Verdict::Same,
                unsteady: a.unsteady || b.unsteady,
            });
        }
    }
    ensure!(!rows.is_empty(), "the results have no row in common");
    let two_sided = |p: f64| (2.0 * p).min(1.0);
    let ps: Vec<f64> = tests
        .iter()
        .map(|(worse, better, _)| two_sided(worse.min(*better)))
        .collect();
    for ((row, p), (worse, better, smallest)) in rows.iter_mut().zip(rank::holm(&ps)).zip(&tests) {
        row.p = p;
        row.verdict = match p < LEVEL {
            true if worse < better => Verdict::Worse,
            true => Verdict::Better,
            false if two_sided(*smallest) * tests.len() as f64 > LEVEL => Verdict::Undecided,
            false => Verdict::Same,
        };
    }
    let any = |verdict| rows.iter().any(|row| row.verdict == verdict);
    let verdict = [Verdict::Worse, Verdict::Better, Verdict::Same]
        .into_iter()
        .find(|&verdict| any(verdict))
        .unwrap_or(Verdict::Undecided);
    Ok(Diff {
        date_a: a.date.clone(),
        date_b: b.date.clone(),
        differences,
        threshold,
        confidence,
        rows,
        only_a: only(a, b),
        only_b: only(b, a),
        verdict,
    })
}

#[cfg(test)]
pub(crate) mod tests;
