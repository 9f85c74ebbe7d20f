// SPDX-License-Identifier: GPL-2.0-only

//! Threads that consume signals, and threads that read the state of lines continuously.

use super::{
    pool::{IssuedCounts, Worker, WorkerPool},
    Rule, Violation,
};
use crate::{random::Random, sys};
use doorbell::{LineQuery, LineSet, LineStatus};
use std::{os::fd::AsFd, sync::Arc, time::Duration};

/// Consumes the signals of one permanent trigger of each line by poll(2), until the pool stops.
pub(super) fn poll(pool: &WorkerPool, mut random: Random) -> Result<(), Violation> {
    let topology = &pool.topology;
    let triggers = &topology.fixed_triggers[..topology.lines.len()];
    let fds: Vec<_> = triggers
        .iter()
        .map(|trigger| trigger.eventfd.as_fd())
        .collect();
    while !pool.stopped() {
        for at in sys::wait_readable(&fds, Some(Duration::from_millis(50)))? {
            let trigger = &triggers[at];
            let arrived = trigger.eventfd.take()?;
            if arrived == 0 {
                return Err(Violation::new(
                    Rule::Invented,
                    &topology.name(trigger.line),
                    "its trigger woke poll(2), but its counter is zero".into(),
                ));
            }
            topology.record_arrival(trigger, arrived);
        }
        // A delay lets several deliveries accumulate in an eventfd, and leaves the CPU to other
        // threads.
        if !random.one_in(4) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

/// Consumes the signals of the permanent trigger `at` by a blocking read(2), until the pool stops.
pub(super) fn sleep(pool: &WorkerPool, at: usize) -> Result<(), Violation> {
    let trigger = &pool.topology.fixed_triggers[at];
    while !pool.stopped() {
        let arrived = trigger.eventfd.read()?;
        pool.topology.record_arrival(trigger, arrived);
    }
    Ok(())
}

/// A worker that checks that counters never decrease and agree with each other.
pub(super) struct Observer {
    pool: Arc<WorkerPool>,
    random: Random,
    /// The last status of each line, and its rings.
    last: Vec<(LineStatus, u64)>,
}

impl Observer {
    pub(super) fn new(pool: Arc<WorkerPool>, random: Random) -> Self {
        Self {
            last: vec![Default::default(); pool.topology.lines.len()],
            pool,
            random,
        }
    }

    fn observe(&mut self, index: usize) -> Result<(), String> {
        let topology = &self.pool.topology;
        let number = topology.lines[index].number;
        let (last, rings) = self.last[index];
        let before = topology.status(index);
        ascending(&last, &before)?;
        let state = topology
            .context(index)
            .query(number)
            .map_err(|error| error.to_string())?;
        let saved = topology
            .context(index)
            .save_lines(number..number + 1)
            .map_err(|error| error.to_string())?;
        if saved[0].rings() < state.rings {
            return Err(format!(
                "QUERY returned {} rings, then SAVE {}",
                state.rings,
                saved[0].rings()
            ));
        }
        let after = topology.status(index);
        ascending(&before, &after)?;
        consistent(&before, &state, &after)?;
        if state.rings < rings {
            return Err(format!(
                "QUERY returned {rings} rings, then {}",
                state.rings
            ));
        }
        self.last[index] = (after, state.rings);
        Ok(())
    }
}

/// Checks that no counter has decreased.
fn ascending(before: &LineStatus, after: &LineStatus) -> Result<(), String> {
    for (name, before, after) in [
        ("deliveries", before.deliveries, after.deliveries),
        ("coalesced", before.coalesced, after.coalesced),
        ("dropped", before.dropped, after.dropped),
        ("deferred", before.deferred, after.deferred),
        ("acks", before.acks, after.acks),
    ] {
        if after < before {
            return Err(format!(
                "the status page showed {before} {name}, then {after}"
            ));
        }
    }
    Ok(())
}

/// Checks that the counters of a QUERY are between those of two readings of the status page.
fn consistent(before: &LineStatus, state: &LineQuery, after: &LineStatus) -> Result<(), String> {
    for (name, before, now, after) in [
        (
            "deliveries",
            before.deliveries,
            state.deliveries,
            after.deliveries,
        ),
        ("dropped", before.dropped, state.dropped, after.dropped),
        ("deferred", before.deferred, state.deferred, after.deferred),
        ("acks", before.acks, state.acks, after.acks),
    ] {
        if now < before || now > after {
            return Err(format!(
                "QUERY returned {now} {name}, but the status page showed {before} before and \
                 {after} after"
            ));
        }
    }
    if state.rings < state.deliveries + state.dropped + u64::from(state.pending) {
        return Err(format!(
            "QUERY returned {} rings, {} deliveries, {} dropped{}",
            state.rings,
            state.deliveries,
            state.dropped,
            if state.pending { ", one pending" } else { "" },
        ));
    }
    Ok(())
}

impl Worker for Observer {
    fn run_slice(&mut self, _: &mut IssuedCounts) -> Result<(), Violation> {
        for line in 0..self.last.len() {
            self.observe(line).map_err(|text| {
                Violation::new(Rule::Counters, &self.pool.topology.name(line), text)
            })?;
        }
        let context = &self.pool.topology.contexts[0];
        context.pending_lines(&LineSet::range(0..context.info()?.nr_lines))?;
        // At times fewer than there are, so that the record ring fills up.
        let (most, call) = (self.random.below(400), self.random.one_in(2));
        self.pool.topology.bus.consume(context, most, call)?;
        // At times several observations in a row.
        if !self.random.one_in(3) {
            std::thread::sleep(Duration::from_millis(self.random.below(8) as u64));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decreasing_counters_are_reported() {
        let at = |deliveries, coalesced| LineStatus {
            deliveries,
            coalesced,
            ..Default::default()
        };
        assert!(ascending(&at(5, 5), &at(5, 6)).is_ok());
        let text = ascending(&at(5, 5), &at(6, 4)).unwrap_err();
        assert!(text.contains("5 coalesced, then 4"), "{text}");
    }

    #[test]
    fn query_must_match_the_status_page() {
        let at = |deliveries| LineStatus {
            deliveries,
            ..Default::default()
        };
        let state = |rings, deliveries| LineQuery {
            pending: true,
            rings,
            deliveries,
            ..Default::default()
        };
        assert!(consistent(&at(4), &state(6, 5), &at(5)).is_ok());
        assert!(consistent(&at(4), &state(6, 3), &at(5)).is_err());
        assert!(consistent(&at(4), &state(7, 6), &at(5)).is_err());
        let text = consistent(&at(4), &state(5, 5), &at(5)).unwrap_err();
        assert!(text.contains("one pending"), "{text}");
    }
}
