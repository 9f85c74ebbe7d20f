// SPDX-License-Identifier: GPL-2.0-only

//! Rows taking turns.

use super::{
    guard::{self, Guard},
    probe::{Bare, Doorbell, Echo, Futex, PingPong, Pipe, Probe, Raw, Spin, Way},
    quantile,
    region::{self, Register},
    Group, Kind, Progress, Row,
};
use crate::{machine::Placement, random::Random, sys};
use anyhow::{bail, ensure, Context as _};
use doorbell::{EventFd, LineQuery};
use hdrhistogram::Histogram;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a batch takes, about.
const BATCH: Duration = Duration::from_micros(250);

/// A row while it is measured.
pub(super) struct Running {
    group: Group,
    kind: Kind,
    cpu: usize,
    probe: Box<dyn Probe>,
    /// Each is rung once per round trip, and by nobody else meanwhile.
    ways: Vec<Arc<Way>>,
    /// All of them are written to equally often.
    registers: Vec<Arc<Register>>,
    /// How often the probe is called in a batch.
    per_batch: u64,
    /// Time per round trip of each batch, in ns.
    batches: Vec<f64>,
    times: Vec<u64>,
    histogram: Histogram<u64>,
}

impl Running {
    pub(super) fn new(
        (group, kind): (Group, Kind),
        ways: &[Arc<Way>],
        place: Placement,
    ) -> anyhow::Result<Self> {
        let peer = match (group, place.other) {
            (Group::TwoCores, Some(other)) => other,
            _ => place.first,
        };
        let registers = match ways.first() {
            Some(way) => new_registers(kind, way)?,
            None => Vec::new(),
        };
        let probe = new_probe(
            group,
            kind,
            if kind.needs_doorbell() { ways } else { &[] },
            &registers,
            peer,
        )?;
        Ok(Self {
            group,
            kind,
            cpu: place.first,
            probe,
            ways: if kind.rings() { ways } else { &[] }.to_vec(),
            registers,
            per_batch: 1,
            batches: Vec::new(),
            times: Vec::new(),
            histogram: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        })
    }

    /// Calls `work` with the probe running, then asks the doorbell whether its count of what
    /// `work` says it did agrees: nothing lost, nothing invented.
    fn run(
        &mut self,
        guard: &Guard,
        work: impl FnOnce(&mut Self) -> anyhow::Result<u64>,
    ) -> anyhow::Result<()> {
        sys::pin(&[self.cpu])?;
        let query = |way: &Arc<Way>| way.query();
        let before = self.ways.iter().map(query).collect::<Result<Vec<_>, _>>()?;
        let written = Register::counts(&self.registers)?;
        guard.beat();
        self.probe.start()?;
        let trips = work(self)? + self.probe.stop()?;
        let which = || format!("{}, {}", self.group.name(), self.kind.name());
        for (way, before) in self.ways.iter().zip(before) {
            agree(&before, &way.query()?, trips).with_context(which)?;
        }
        let each = trips / self.registers.len().max(1) as u64;
        let read = self.registers.iter().filter(|register| register.is_read());
        let signals = trips / read.count().max(1) as u64;
        let now = Register::counts(&self.registers)?;
        for (before, now) in written.into_iter().zip(now) {
            region::agree(before, now, each, signals).with_context(which)?;
        }
        Ok(())
    }

    /// Finds out how many round trips make a batch; that is the warm-up, too.
    fn warm_up(&mut self, guard: &Guard) -> anyhow::Result<()> {
        self.run(guard, |row| {
            let (mut calls, mut took) = (0, Duration::ZERO);
            while took < BATCH {
                row.per_batch = 2 * calls.max(1);
                took = row.probe.batch(row.per_batch)?;
                calls += row.per_batch;
                guard.beat();
            }
            let trips = row.probe.trips();
            row.fit(took.as_nanos() as f64 / (row.per_batch * trips) as f64);
            Ok(calls * trips)
        })
    }

    /// `ns` is the time per round trip.
    fn fit(&mut self, ns: f64) {
        let call = ns * self.probe.trips() as f64;
        self.per_batch = (BATCH.as_nanos() as f64 / call).max(1.0) as u64;
    }

    /// Batches that take the time `half`, then single round trips for as long.
    fn slot(&mut self, half: Duration, guard: &Guard) -> anyhow::Result<()> {
        let batches = (half.as_nanos() / BATCH.as_nanos()).max(1);
        // They were planned by their median. If the CPU is being taken away, all of them are made
        // nevertheless, or those that it hits would weigh more than the others; within reason.
        let limit = half * 4;
        self.run(guard, |row| {
            let n = row.per_batch;
            let in_batch = n * row.probe.trips();
            // The caches were somebody else's, and so was the peer's CPU.
            row.probe.batch(n)?;
            let mut trips = in_batch;
            let start = Instant::now();
            for _ in 0..batches {
                let took = row.probe.batch(n)?;
                row.batches.push(took.as_nanos() as f64 / in_batch as f64);
                trips += in_batch;
                guard.beat();
                if start.elapsed() > limit {
                    break;
                }
            }
            let start = Instant::now();
            for _ in 0..batches {
                row.probe.sample(n, &mut row.times)?;
                for &time in &row.times {
                    row.histogram.saturating_record(time);
                }
                trips += in_batch;
                guard.beat();
                if start.elapsed() > limit {
                    break;
                }
            }
            Ok(trips)
        })?;
        let ns = quantile(&mut self.batches.clone(), 0.5);
        self.fit(ns);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Row {
        let mut at = |q| quantile(&mut self.batches, q);
        let (ns, quartiles) = (at(0.5), (at(0.25), at(0.75)));
        Row {
            group: self.group,
            name: self.kind.name(),
            ns,
            quartiles,
            batches: self.batches.len(),
            ratio: f64::NAN,
            histogram: self.histogram,
        }
    }
}

/// Whether a line's counters say that it was rung and delivered `trips` times.
fn agree(before: &LineQuery, after: &LineQuery, trips: u64) -> anyhow::Result<()> {
    let rings = after.rings - before.rings;
    let deliveries = after.deliveries - before.deliveries;
    let deferred = after.deferred - before.deferred;
    ensure!(
        rings == trips && deliveries == trips && deferred == 0 && !after.pending,
        "{trips} round trips, but line {} counted {rings} rings and {deliveries} deliveries, \
         {deferred} of them deferred{}: please report this",
        after.line,
        if after.pending { ", one pending" } else { "" },
    );
    Ok(())
}

/// The regions that a row of this kind writes to; none for most.
fn new_registers(kind: Kind, way: &Way) -> anyhow::Result<Vec<Arc<Register>>> {
    Ok(match kind {
        Kind::Region => vec![Register::with_eventfd(way, region::ALONE)?],
        Kind::RegionLine => vec![Register::with_line(way, region::LINE)?],
        Kind::Batch => Register::batch(way, region::MANY)?,
        Kind::Burst => Register::burst(way, region::BURST)?,
        _ => Vec::new(),
    })
}

fn new_probe(
    group: Group,
    kind: Kind,
    ways: &[Arc<Way>],
    registers: &[Arc<Register>],
    peer: usize,
) -> anyhow::Result<Box<dyn Probe>> {
    if group == Group::OneThread {
        let Some(way) = ways.first().cloned() else {
            return Ok(Box::new(Bare(EventFd::new(0)?)));
        };
        let back = way.clone();
        return Ok(match kind {
            Kind::Region => Box::new(region::Alone(registers[0].clone())),
            Kind::Batch | Kind::Burst => Box::new(region::Batch::new(registers)),
            Kind::RegionLine => {
                let register = registers[0].clone();
                Box::new(Echo {
                    signal: move || register.write(),
                    back,
                })
            }
            Kind::Irqfd => Box::new(Echo {
                signal: move || way.signal(),
                back,
            }),
            _ => Box::new(Echo {
                signal: move || way.ring(),
                back,
            }),
        });
    }
    let two = || [ways[0].clone(), ways[1].clone()];
    Ok(match kind {
        Kind::Eventfd => Box::new(PingPong::new(Raw::new()?, peer)),
        Kind::Spin => Box::new(PingPong::new(Spin::<false>::default(), peer)),
        Kind::SpinYielding => Box::new(PingPong::new(Spin::<true>::default(), peer)),
        Kind::Futex => Box::new(PingPong::new(Futex::default(), peer)),
        Kind::Pipe => Box::new(PingPong::new(Pipe::new()?, peer)),
        Kind::Ioctl => Box::new(PingPong::new(Doorbell::<false>(two()), peer)),
        Kind::Irqfd => Box::new(PingPong::new(Doorbell::<true>(two()), peer)),
        Kind::Region | Kind::RegionLine | Kind::Batch | Kind::Burst => {
            bail!("{} has one thread", kind.name())
        }
    })
}

/// Fewer rounds than this say little about how much one differs from the next.
const MIN_ROUNDS: u32 = 10;

/// Gives each row its slot in each of `rounds` rounds, and returns how many there were: if the
/// machine became much slower since the warm-up, not all.
pub(super) fn take_turns(
    running: &mut [Running],
    time: Duration,
    rounds: u32,
    progress: Progress<'_>,
) -> anyhow::Result<u32> {
    let ways: Vec<_> = running.iter().flat_map(|row| row.ways.clone()).collect();
    let registers: Vec<_> = running
        .iter()
        .flat_map(|row| row.registers.clone())
        .collect();
    let guard = Guard::new(guard::LIMIT, move || {
        ways.iter().for_each(|way| way.rescue());
        registers.iter().for_each(|register| register.rescue());
    });
    let total = u64::from(rounds + 1) * running.len() as u64;
    let half = time.div_f64(2.0 * total as f64);
    let start = Instant::now();
    let mut done = 0;
    for row in &mut *running {
        row.warm_up(&guard)?;
        done += 1;
        progress("measuring", done, total);
    }
    let mut order: Vec<usize> = (0..running.len()).collect();
    let mut random = Random::new(0);
    for round in 0..rounds {
        if round >= MIN_ROUNDS && start.elapsed() > time.mul_f64(1.4) {
            return Ok(round);
        }
        random.shuffle(&mut order);
        for &row in &order {
            running[row].slot(half, &guard)?;
            done += 1;
            progress("measuring", done, total);
        }
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_to_agree() {
        let state = |rings, deliveries, deferred, pending| LineQuery {
            line: 3,
            pending,
            rings,
            deliveries,
            deferred,
            irqfds: 1,
            triggers: 1,
            ..Default::default()
        };
        let before = state(100, 90, 1, false);
        let check = |after| agree(&before, &after, 7);
        assert!(check(state(107, 97, 1, false)).is_ok());
        let lost = check(state(107, 96, 1, false)).unwrap_err().to_string();
        assert!(lost.contains("7 rings and 6 deliveries"), "{lost}");
        assert!(check(state(108, 98, 1, false)).is_err(), "invented");
        assert!(check(state(107, 97, 2, false)).is_err(), "deferred");
        assert!(check(state(107, 97, 1, true)).is_err(), "pending");
    }
}
