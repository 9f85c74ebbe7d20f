// SPDX-License-Identifier: GPL-2.0-only

//! Results of a measurement.

use super::{kvm, qemu, quantile, Group};
use crate::conditions::Conditions;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The figures of one row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The group of the row.
    pub group: Group,
    /// The name of the row.
    pub name: &'static str,
    /// Median over the batches of the time per round trip, in ns.
    pub ns: f64,
    /// Number of batches.
    pub batches: usize,
    /// Lower and upper quartile of the time per round trip of the batches.
    pub quartiles: (f64, f64),
    /// Ratio of `ns` to the [base](Group::base) of the group; NaN if the base was not measured, or
    /// one of both is [unsteady](Row::is_unsteady).
    pub ratio: f64,
    /// Round-trip times in ns, one by one; in [`Group::QemuWrite`] one per batch.
    pub histogram: Histogram<u64>,
    /// The two directions, if they were timed and there are two threads.
    pub directions: Option<Directions>,
    /// The figures of each round.
    pub rounds: Vec<Round>,
    /// Time that the host of this machine took from the row's CPUs while the row was measured.
    pub steal: Duration,
}

/// The times of the two directions of round trips, in ns, one by one.
///
/// Each is from before the call that sends to after the call that receives, so it has a reading of the clock
/// in it.
#[derive(Clone, Debug)]
pub struct Directions {
    /// From the first thread to the second.
    pub there: Histogram<u64>,
    /// From the second thread to the first.
    pub back: Histogram<u64>,
}

impl Directions {
    pub(super) fn new() -> anyhow::Result<Self> {
        let new = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
        Ok(Self {
            there: new()?,
            back: new()?,
        })
    }
}

/// The figures of a row in one round, in ns.
///
/// The batches of a round have the same drift and the same neighbours. So rounds, not batches, are
/// the independent samples of a statistical test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Median of the time per round trip of the batches.
    pub ns: f64,
    /// Median of the round trips that were timed one by one.
    pub p50: f64,
    /// 99th percentile of these.
    pub p99: f64,
}

impl Round {
    /// Returns the figures of a round; none if the round has no batches, or no single round trips.
    pub(super) fn new(batches: &mut [f64], times: &mut [f64]) -> Option<Self> {
        (!batches.is_empty() && !times.is_empty()).then(|| Self {
            ns: quantile(batches, 0.5),
            p50: quantile(times, 0.5),
            p99: quantile(times, 0.99),
        })
    }
}

/// The ratio of a row's quartiles above which the row is unsteady.
pub const UNSTEADY: f64 = 2.0;

impl Row {
    /// Returns the round trips per second.
    pub fn iops(&self) -> f64 {
        1e9 / self.ns
    }

    /// Returns the name with that of the group.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.group.id(), self.name)
    }

    /// Returns true if the quartiles differ by more than a factor of [`UNSTEADY`].
    ///
    /// The median of such a row is a matter of chance, and so is a ratio to it.
    pub fn is_unsteady(&self) -> bool {
        self.spread() > UNSTEADY
    }

    fn spread(&self) -> f64 {
        self.quartiles.1 / self.quartiles.0
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The rows, by group.
    pub rows: Vec<Row>,
    /// The rows that were not measured because there is no doorbell, with the reason.
    pub left_out: Option<String>,
    /// Remarks, for instance on rows that could not be measured.
    pub notes: Vec<String>,
    /// Number of rounds, each with a slot for every row.
    pub rounds: u32,
    /// The conditions at the start.
    pub conditions: Conditions,
    /// True if the run was interrupted.
    pub partial: bool,
    /// The sender of the notifications.
    pub source: Source,
}

/// The sender of the notifications, with facts about the run.
#[derive(Debug)]
pub enum Source {
    /// Threads of this process.
    Threads(Threads),
    /// A guest of a small VMM.
    Kvm(kvm::Facts),
    /// Guests of an unmodified QEMU.
    Qemu(qemu::Facts),
}

/// Facts about a run with threads.
#[derive(Clone, Debug)]
pub struct Threads {
    /// Lines of the context, 0 without a doorbell.
    pub lines: u32,
    /// Number of lines that were not measured, but had an irqfd and a trigger.
    pub others_assigned: u32,
    /// Time of reading the clock, in ns. The histograms include it.
    pub clock_ns: f64,
    /// Round trips per second, if they were paced. Then the histograms have the times from when a
    /// round trip should have been sent.
    pub rate: Option<f64>,
}

impl Report {
    /// Returns the rows of a group.
    pub fn of(&self, group: Group) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.group == group)
    }
}

/// Sets the ratio of each row to the base of its group.
pub(super) fn compare(rows: &mut [Row]) {
    for at in 0..rows.len() {
        let group = rows[at].group;
        let base = rows
            .iter()
            .find(|row| row.group == group && row.name == group.base() && !row.is_unsteady())
            .map_or(f64::NAN, |row| row.ns);
        rows[at].ratio = match rows[at].is_unsteady() {
            true => f64::NAN,
            false => rows[at].ns / base,
        };
    }
}

/// Returns a remark on the rows whose CPUs the host of this machine has used.
pub(super) fn stolen(rows: &[Row]) -> Option<String> {
    let mut stolen: Vec<&Row> = rows.iter().filter(|row| !row.steal.is_zero()).collect();
    stolen.sort_by_key(|row| std::cmp::Reverse(row.steal));
    let total: Duration = stolen.iter().map(|row| row.steal).sum();
    let first = stolen.first()?;
    Some(format!(
        "steal time: the host of this machine took {} ms from the measured CPUs, most of it, {} ms, \
         from {}, {}",
        total.as_millis(),
        first.steal.as_millis(),
        first.group.name(),
        first.name
    ))
}

/// Returns a warning if the machine was busy.
///
/// A single thread or vCPU repeats the same operation in the same time. If its batches differ much,
/// the machine did something else as well, and the median is a matter of chance.
pub(super) fn unsteady(rows: &[Row]) -> Option<String> {
    let spread = Row::spread;
    let alone = |row: &&Row| {
        matches!(
            row.group,
            Group::OneThread | Group::KvmWrite | Group::QemuWrite
        )
    };
    let worst = rows
        .iter()
        .filter(alone)
        .max_by(|a, b| spread(a).total_cmp(&spread(b)))?;
    (spread(worst) > 1.5).then(|| {
        format!(
            "the machine is busy: the quartiles of {}, {}, differ by a factor of {:.1}; do not \
             rely on the ratios, and repeat the run on a quiet machine",
            worst.group.name(),
            worst.name,
            spread(worst)
        )
    })
}

#[cfg(test)]
impl Row {
    /// Returns a steady row of 1000 round trips, from `ns` on.
    pub(crate) fn example(group: Group, name: &'static str, ns: f64) -> Self {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        for i in 0..1000 {
            histogram.saturating_record(ns as u64 + i);
        }
        let round = Round {
            ns,
            p50: ns + 500.0,
            p99: ns + 990.0,
        };
        Self {
            group,
            name,
            ns,
            batches: 100,
            quartiles: (ns - 10.0, ns + 10.0),
            ratio: ns / 1000.0,
            histogram,
            directions: None,
            rounds: vec![round; 20],
            steal: Duration::ZERO,
        }
    }
}
