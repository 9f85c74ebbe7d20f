// SPDX-License-Identifier: GPL-2.0-only

//! Threads that wait for what lines deliver, and threads that look at lines all the time.

use super::{
    crew::{Crew, Tally, Worker},
    Rule, Violation,
};
use crate::{random::Random, sys};
use doorbell::{LineQuery, LineSet, LineStatus};
use std::{os::fd::AsFd, sync::Arc, time::Duration};

/// Waits for all taps but those that are slept on, until the end.
pub(super) fn poll(crew: &Crew, mut random: Random) -> Result<(), Violation> {
    let world = &crew.world;
    let taps = &world.taps[..world.lines.len()];
    let fds: Vec<_> = taps.iter().map(|tap| tap.eventfd.as_fd()).collect();
    while !crew.ended() {
        for at in sys::wait_readable(&fds, Some(Duration::from_millis(50)))? {
            let tap = &taps[at];
            let arrived = tap.eventfd.take()?;
            if arrived == 0 {
                return Err(Violation::new(
                    Rule::Invented,
                    &world.name(tap.line),
                    "its trigger woke poll(2), and nothing was in it".into(),
                ));
            }
            world.look(tap, arrived);
        }
        // Sometimes late, so that several deliveries meet in an eventfd, and others have the CPU.
        if !random.one_in(4) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

/// Sleeps in read(2) on the tap `at`, until the end.
pub(super) fn sleep(crew: &Crew, at: usize) -> Result<(), Violation> {
    let tap = &crew.world.taps[at];
    while !crew.ended() {
        let arrived = tap.eventfd.read()?;
        crew.world.look(tap, arrived);
    }
    Ok(())
}

/// Looks at lines: counters never go down, and agree with each other.
pub(super) struct Observer {
    crew: Arc<Crew>,
    random: Random,
    /// What was seen of each line the last time.
    last: Vec<(LineStatus, u64)>,
}

impl Observer {
    pub(super) fn new(crew: Arc<Crew>, random: Random) -> Self {
        Self {
            last: vec![Default::default(); crew.world.lines.len()],
            crew,
            random,
        }
    }

    fn observe(&mut self, index: usize) -> Result<(), String> {
        let world = &self.crew.world;
        let number = world.lines[index].number;
        let (last, rings) = self.last[index];
        let before = world.status(index);
        ascending(&last, &before)?;
        let state = world
            .context(index)
            .query(number)
            .map_err(|error| error.to_string())?;
        let after = world.status(index);
        ascending(&before, &after)?;
        consistent(&before, &state, &after)?;
        if state.rings < rings {
            return Err(format!("QUERY said {rings} rings, then {}", state.rings));
        }
        self.last[index] = (after, state.rings);
        Ok(())
    }
}

/// No counter went down.
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
                "the status page said {before} {name}, then {after}"
            ));
        }
    }
    Ok(())
}

/// What QUERY said between two looks at the status page is between them.
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
                "QUERY said {now} {name}, and the status page {before} before and {after} after"
            ));
        }
    }
    if state.rings < state.deliveries + state.dropped + u64::from(state.pending) {
        return Err(format!(
            "QUERY said {} rings, {} deliveries, {} dropped{}",
            state.rings,
            state.deliveries,
            state.dropped,
            if state.pending { ", one pending" } else { "" },
        ));
    }
    Ok(())
}

impl Worker for Observer {
    fn turn(&mut self, _: &mut Tally) -> Result<(), Violation> {
        for line in 0..self.last.len() {
            self.observe(line).map_err(|text| {
                Violation::new(Rule::Counters, &self.crew.world.name(line), text)
            })?;
        }
        let context = &self.crew.world.contexts[0];
        context.pending_lines(&LineSet::range(0..context.info()?.nr_lines))?;
        // Not always enough for all that is kept.
        let (most, call) = (self.random.below(400), self.random.one_in(2));
        self.crew.world.bus.take(context, most, call)?;
        // Now and then several looks in a row.
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
    fn counters_that_go_down_are_seen() {
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
    fn query_is_held_to_the_status_page() {
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
