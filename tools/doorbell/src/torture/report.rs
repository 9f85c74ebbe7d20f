// SPDX-License-Identifier: GPL-2.0-only

//! The result of a run.

use super::{Balance, Kind, Violation};

/// The account of a line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Account {
    /// The line's number in its context.
    pub line: u32,
    /// The number of the context.
    pub context: usize,
    /// The kind of line.
    pub kind: Kind,
    /// Rings.
    pub rings: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Rings that coalesced.
    pub coalesced: u64,
    /// Messages that were dropped on request.
    pub dropped: u64,
    /// Deliveries by a worker.
    pub deferred: u64,
    /// Masks of the line.
    pub masks: u64,
    /// Raises of its level.
    pub raises: u64,
    /// Acks.
    pub acks: u64,
    /// Acks whose resample was postponed to the unmask.
    pub postponed: u64,
    /// Signals of its permanent resamplefds.
    pub resamples: u64,
    /// The difference between the operations that were issued and those that were observed.
    #[serde(flatten)]
    pub balance: Balance,
}

/// The result of a run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// All rings.
    pub rings: u64,
    /// Rings per second, pauses included.
    pub rings_per_second: f64,
    /// All deliveries.
    pub deliveries: u64,
    /// All rings that coalesced.
    pub coalesced: u64,
    /// All messages that were dropped on request.
    pub dropped: u64,
    /// The minimum number of lost messages.
    pub lost: u64,
    /// The minimum number of invented messages.
    pub invented: u64,
    /// All masks of lines.
    pub masks: u64,
    /// All raises of levels.
    pub raises: u64,
    /// All acks of level lines.
    pub acks: u64,
    /// All acks whose resample was postponed to the unmask.
    pub postponed: u64,
    /// All signals of permanent resamplefds.
    pub resamples: u64,
    /// All deliveries by a workqueue.
    pub deferred: u64,
    /// The longest observed time that a message waited on a line that is not masked.
    pub longest_wait_ms: f64,
    /// The number of assignments.
    pub assigns: u64,
    /// The number of calls that failed because an allocation was made to fail.
    pub faults: u64,
    /// The number of times that the accounts were checked.
    pub checks: u64,
    /// The duration of the run, pauses included.
    pub seconds: f64,
    /// The seed of the threads' choices.
    pub seed: u64,
    /// The number of threads.
    pub threads: usize,
    /// The accounts of all lines.
    pub lines: Vec<Account>,
    /// All violations.
    pub violations: Vec<Violation>,
}
