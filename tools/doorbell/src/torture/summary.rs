// SPDX-License-Identifier: GPL-2.0-only

//! A thread that waits for the summary of the first context with edge-triggered epoll, and takes the
//! lines that have fired.
//!
//! A delivery is counted before it marks the summary. So once nothing is in flight, the thread must have
//! taken each line after its last delivery was counted.

use super::{pool::WorkerPool, Rule, Topology, Violation};
use doorbell::{Context, StatusPages, Summary};
use rustix::event::{
    epoll::{self, CreateFlags, EventData, EventFlags},
    Timespec,
};
use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
    time::Duration,
};

/// The maximum time of a wait. It lets the thread notice the end of the run.
const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Returns true if the line marks the summary. Every other line has only the triggers that it would have
/// without this check, often one.
fn is_marked(line: u32) -> bool {
    line % 2 == 1
}

/// The summary of the first context, and what was taken from it.
pub(super) struct SummaryCheck {
    summary: Summary,
    epoll: OwnedFd,
    /// The deliveries of each line when it was last taken.
    taken: Vec<AtomicU64>,
}

impl SummaryCheck {
    /// Assigns the summary to every second one of the `lines` lines of `context`.
    pub(super) fn new(context: &Context, lines: u32) -> anyhow::Result<Self> {
        let marked = (0..lines).filter(|&line| is_marked(line));
        context.assign_summary(&marked.collect())?;
        let summary = context.map_summary()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &summary, EventData::new_u64(0), edges)?;
        Ok(Self {
            summary,
            epoll,
            taken: (0..lines).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn take(&self, status: &StatusPages) {
        for line in self.summary.take() {
            self.taken[line as usize].store(status.deliveries(line), Release);
        }
    }

    /// Waits for an edge. Returns false after [`WAIT`].
    fn wait(&self) -> io::Result<bool> {
        let mut events = [epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }];
        match epoll::wait(&self.epoll, &mut events, Some(&WAIT)) {
            Err(rustix::io::Errno::INTR) => Ok(false),
            result => Ok(result? > 0),
        }
    }

    /// Returns the lines that were not taken since their last delivery, each with the deliveries that were
    /// seen and that there are.
    fn left<'a>(&'a self, status: &'a StatusPages) -> impl Iterator<Item = (u32, u64, u64)> + 'a {
        let taken = (0..).zip(&self.taken).filter(|(line, _)| is_marked(*line));
        let lines =
            taken.map(move |(line, taken)| (line, taken.load(Acquire), status.deliveries(line)));
        lines.filter(|(_, taken, deliveries)| taken != deliveries)
    }

    /// Returns true if all deliveries were taken.
    pub(super) fn is_quiet(&self, status: &StatusPages) -> bool {
        self.left(status).next().is_none()
    }

    /// Returns the violations. Nothing may be in flight.
    pub(super) fn check(&self, topology: &Topology) -> Vec<Violation> {
        let left = self.left(&topology.status[0]);
        let lost = left.map(|(line, taken, deliveries)| {
            let text = format!("taken from the summary after {taken} deliveries, not {deliveries}");
            Violation::new(Rule::Lost, &topology.name(line as usize), text)
        });
        lost.collect()
    }
}

/// Takes what fires until the pool stops.
///
/// # Errors
///
/// If lines have fired, and no edge arrives within `limit`.
pub(super) fn consume(pool: &WorkerPool, limit: Duration) -> Result<(), Violation> {
    let topology = &pool.topology;
    let (check, clock) = (&topology.summary, &topology.clock);
    let mut fired_since = None;
    while !pool.stopped() {
        if check.wait()? {
            check.take(&topology.status[0]);
            fired_since = None;
        } else if !check.summary.has_fired() {
            fired_since = None;
        } else {
            let now = clock.now();
            let since = *fired_since.get_or_insert(now);
            if now - since > limit {
                let text = format!(
                    "lines have fired for {} ms without an edge",
                    limit.as_millis()
                );
                return Err(Violation::new(Rule::Prompt, "the summary", text));
            }
        }
    }
    Ok(())
}
