// SPDX-License-Identifier: GPL-2.0-only

//! What was measured.

use super::{kvm, qemu, Group};
use hdrhistogram::Histogram;

/// The figures of one row.
#[derive(Debug)]
pub struct Row {
    /// Its group.
    pub group: Group,
    /// What is measured.
    pub name: &'static str,
    /// Median over the batches of the time per round trip, in ns.
    pub ns: f64,
    /// How many batches there were.
    pub batches: usize,
    /// Lower and upper quartile of the same.
    pub quartiles: (f64, f64),
    /// Ratio of `ns` to the [base](Group::base) of the group; NaN if that was not measured.
    pub ratio: f64,
    /// Round-trip times in ns, one by one; in [`Group::QemuWrite`] those of batches.
    pub histogram: Histogram<u64>,
}

impl Row {
    /// Round trips per second.
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
    /// Other things that could not be measured, and remarks.
    pub notes: Vec<String>,
    /// How many rounds there were, in each of which every row had its turn.
    pub rounds: u32,
    /// Who made the notifications.
    pub source: Source,
}

/// Who made the notifications, and what is known of that besides the rows.
#[derive(Debug)]
pub enum Source {
    /// Threads of this process.
    Threads(Threads),
    /// A guest of a small VMM.
    Kvm(kvm::Facts),
    /// Guests of an unmodified QEMU.
    Qemu(qemu::Facts),
}

/// How threads measured.
#[derive(Clone, Debug)]
pub struct Threads {
    /// Lines of the context, 0 without a doorbell.
    pub lines: u32,
    /// How many of those that are not measured had something assigned.
    pub others_assigned: u32,
    /// What reading the clock takes, in ns. It is part of the histograms.
    pub clock_ns: f64,
}

impl Report {
    /// The rows of a group.
    pub fn of(&self, group: Group) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.group == group)
    }
}

/// Compares each row with the base of its group.
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

/// Who alone does the same all the time takes the same time. If its batches differ much, the machine
/// did something else, too, and where the median lies is chance.
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
            "a busy machine: the quartiles of {}, {}, are a factor of {:.1} apart, so do not \
             rely on the ratios; run it again when it is quiet",
            worst.group.name(),
            worst.name,
            spread(worst)
        )
    })
}
