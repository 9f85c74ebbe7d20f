// SPDX-License-Identifier: GPL-2.0-only

//! Results of a measurement.

use super::{kvm, qemu, Group};
use hdrhistogram::Histogram;

/// The figures of one row.
#[derive(Debug)]
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
    /// Ratio of `ns` to the [base](Group::base) of the group; NaN if the base was not measured.
    pub ratio: f64,
    /// Round-trip times in ns, one by one; in [`Group::QemuWrite`] one per batch.
    pub histogram: Histogram<u64>,
}

impl Row {
    /// Returns the round trips per second.
    pub fn iops(&self) -> f64 {
        1e9 / self.ns
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
            .find(|row| row.group == group && row.name == group.base())
            .map_or(f64::NAN, |row| row.ns);
        rows[at].ratio = rows[at].ns / base;
    }
}

/// Returns a warning if the machine was busy.
///
/// A single thread or vCPU repeats the same operation in the same time. If its batches differ much,
/// the machine did something else as well, and the median is a matter of chance.
pub(super) fn unsteady(rows: &[Row]) -> Option<String> {
    let spread = |row: &Row| row.quartiles.1 / row.quartiles.0;
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
