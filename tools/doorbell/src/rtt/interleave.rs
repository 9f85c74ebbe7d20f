// SPDX-License-Identifier: GPL-2.0-only

//! Interleaving of rows: each round gives each row a slot, in random order.

use super::{
    peers,
    probe::{
        Bare, Doorbell, DoorbellPath, Echo, Exchange, Exchanges, Futex, PingPong, Probe, Raw,
        Schedule, Spin,
    },
    quantile,
    region::{self, Register},
    report::{Directions, Round},
    status_page::{Skipped, Spinning, TriggerOf, WaitersOf},
    waiters,
    watchdog::{self, Watchdog},
    Group, Kind, Options, Progress, Row,
};
use crate::{conditions::Steal, machine::Placement, random::Random, stop::Stop, sys};
use anyhow::{bail, ensure, Context as _};
use doorbell::{EventFd, LineQuery};
use hdrhistogram::Histogram;
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

/// The approximate time of a batch.
const BATCH: Duration = Duration::from_micros(250);

/// A row that is being measured.
pub(super) struct Running {
    group: Group,
    kind: Kind,
    cpu: usize,
    /// The CPU of the second thread; that of the first one if there is no second one.
    peer: usize,
    probe: Box<dyn Probe>,
    /// True during a slot, for the watchdog.
    active: Arc<AtomicBool>,
    /// The lines that each round trip rings once. In a slot no other thread rings them.
    paths: Vec<Arc<DoorbellPath>>,
    /// The regions of the row. All get the same number of writes.
    registers: Vec<Arc<Register>>,
    /// Calls of the probe in a batch.
    per_batch: u64,
    /// Time per round trip of each batch, in ns.
    batches: Vec<f64>,
    times: Vec<u64>,
    histogram: Histogram<u64>,
    directions: Option<Directions>,
    rounds: Vec<Round>,
    steal: Duration,
    /// Number of paced calls, and of those that began when the next one was due, or later.
    paced: (u64, u64),
}

impl Running {
    pub(super) fn new(
        (group, kind): (Group, Kind),
        paths: &[Arc<DoorbellPath>],
        place: Placement,
    ) -> anyhow::Result<Self> {
        let peer = match (group, place.other) {
            (Group::TwoCores, Some(other)) => other,
            _ => place.first,
        };
        let registers = match paths.first() {
            Some(path) => new_registers(kind, path)?,
            None => Vec::new(),
        };
        let probe = new_probe(
            group,
            kind,
            if kind.needs_doorbell() { paths } else { &[] },
            &registers,
            peer,
        )?;
        Ok(Self {
            group,
            kind,
            cpu: place.first,
            peer,
            probe,
            active: Arc::default(),
            paths: if kind.rings() { paths } else { &[] }.to_vec(),
            registers,
            per_batch: 1,
            batches: Vec::new(),
            times: Vec::new(),
            histogram: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            directions: None,
            rounds: Vec::new(),
            steal: Duration::ZERO,
            paced: (0, 0),
        })
    }

    /// Calls `work` with the probe started, and compares the doorbell's counts with the number of
    /// round trips that `work` returns.
    ///
    /// # Errors
    ///
    /// Fails if a ring or a delivery was lost, or is spurious.
    fn run(
        &mut self,
        watchdog: &Watchdog,
        work: impl FnOnce(&mut Self) -> anyhow::Result<u64>,
    ) -> anyhow::Result<()> {
        sys::pin(&[self.cpu])?;
        let query = |path: &Arc<DoorbellPath>| path.query();
        let before = self
            .paths
            .iter()
            .map(query)
            .collect::<Result<Vec<_>, _>>()?;
        let written = Register::counts(&self.registers)?;
        watchdog.beat();
        self.active.store(true, Ordering::Relaxed);
        self.probe.start()?;
        let trips = work(self)? + self.probe.stop()?;
        self.active.store(false, Ordering::Relaxed);
        let which = || format!("{}, {}", self.group.name(), self.kind.name());
        for (path, before) in self.paths.iter().zip(before) {
            agree(&before, &path.query()?, trips).with_context(which)?;
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

    /// Determines the number of calls in a batch. This is the warm-up, too.
    fn warm_up(&mut self, watchdog: &Watchdog) -> anyhow::Result<()> {
        self.run(watchdog, |row| {
            let (mut calls, mut took) = (0, Duration::ZERO);
            while took < BATCH {
                row.per_batch = 2 * calls.max(1);
                took = row.probe.batch(row.per_batch)?;
                calls += row.per_batch;
                watchdog.beat();
            }
            let trips = row.probe.trips();
            row.fit(took.as_nanos() as f64 / (row.per_batch * trips) as f64);
            Ok(calls * trips)
        })
    }

    /// Sets the number of calls in a batch from the time per round trip, in ns.
    fn fit(&mut self, ns: f64) {
        let call = ns * self.probe.trips() as f64;
        self.per_batch = (BATCH.as_nanos() as f64 / call).max(1.0) as u64;
    }

    /// Times the legs of `batches` batches, or of those that fit into `limit`; returns the number of round
    /// trips, which is 0 if the probe has one thread.
    fn time_legs(
        &mut self,
        batches: u128,
        limit: Duration,
        stop: &Stop,
        watchdog: &Watchdog,
    ) -> anyhow::Result<u64> {
        let (start, mut times, mut trips) = (Instant::now(), Vec::new(), 0);
        for _ in 0..batches {
            if !self.probe.legs(self.per_batch, &mut times)? {
                break;
            }
            let directions = match &mut self.directions {
                Some(directions) => directions,
                none => none.insert(Directions::new()?),
            };
            for legs in &times {
                directions.there.saturating_record(legs.there);
                directions.back.saturating_record(legs.back);
            }
            trips += self.per_batch;
            watchdog.beat();
            if start.elapsed() > limit || stop.is_requested() {
                break;
            }
        }
        Ok(trips)
    }

    /// Makes batches for the time `half`, then single round trips for the same time, and with `legs` more of
    /// them, whose legs are timed. Ends early if a stop is requested.
    fn slot(
        &mut self,
        half: Duration,
        legs: bool,
        rate: Option<f64>,
        stop: &Stop,
        watchdog: &Watchdog,
    ) -> anyhow::Result<()> {
        let batches = (half.as_nanos() / BATCH.as_nanos()).max(1);
        // Their number follows from their median. If the CPU is taken away, all are made
        // nevertheless, or the disturbed ones would weigh more than the others. This limit bounds
        // that.
        let limit = half * 4;
        let first = self.batches.len();
        let mut singles = Vec::new();
        self.run(watchdog, |row| {
            let n = row.per_batch;
            let in_batch = n * row.probe.trips();
            // Other rows have filled the caches since the last slot, and used the peer's CPU.
            row.probe.batch(n)?;
            let mut trips = in_batch;
            let start = Instant::now();
            for _ in 0..batches {
                let took = row.probe.batch(n)?;
                row.batches.push(took.as_nanos() as f64 / in_batch as f64);
                trips += in_batch;
                watchdog.beat();
                if start.elapsed() > limit || stop.is_requested() {
                    break;
                }
            }
            if let Some(rate) = rate {
                return Ok(trips + row.pace(half, rate, &mut singles, stop, watchdog)?);
            }
            let start = Instant::now();
            for _ in 0..batches {
                row.probe.sample(n, &mut row.times)?;
                for &time in &row.times {
                    row.histogram.saturating_record(time);
                    singles.push(time as f64);
                }
                trips += in_batch;
                watchdog.beat();
                if start.elapsed() > limit || stop.is_requested() {
                    break;
                }
            }
            if legs {
                trips += row.time_legs(batches, limit, stop, watchdog)?;
            }
            Ok(trips)
        })?;
        let round = Round::new(&mut self.batches[first..].to_vec(), &mut singles);
        self.rounds.extend(round);
        let ns = quantile(&mut self.batches.clone(), 0.5);
        self.fit(ns);
        Ok(())
    }

    /// Makes `rate` round trips per second for the time `time`; returns their number.
    ///
    /// If they take more than four times that time, the others are not sent. They count with the
    /// time that they have been due: to leave them out would hide what delayed them.
    fn pace(
        &mut self,
        time: Duration,
        rate: f64,
        singles: &mut Vec<f64>,
        stop: &Stop,
        watchdog: &Watchdog,
    ) -> anyhow::Result<u64> {
        let each = self.probe.trips();
        let interval = 1e9 * each as f64 / rate;
        let calls = (time.as_nanos() as f64 / interval).max(1.0) as u64;
        let in_batch = (BATCH.as_nanos() as f64 / interval).max(1.0) as u64;
        let start = Instant::now();
        let mut schedule = Schedule::new(interval);
        let mut made = 0;
        while made < calls && start.elapsed() <= time * 4 && !stop.is_requested() {
            let n = in_batch.min(calls - made);
            self.probe.paced(n, &mut schedule, &mut self.times)?;
            made += n;
            for &time in &self.times {
                self.histogram.saturating_record(time);
                singles.push(time as f64);
            }
            watchdog.beat();
        }
        if !stop.is_requested() {
            for time in schedule.abandon(calls) {
                self.histogram.saturating_record(time / each);
                singles.push((time / each) as f64);
            }
        }
        self.paced.0 += schedule.calls();
        self.paced.1 += schedule.late();
        Ok(made * each)
    }

    /// Returns a remark if the row was too slow for its rate.
    pub(super) fn overload(&self) -> Option<String> {
        let (calls, late) = self.paced;
        // A few are late if anything else runs on the machine.
        (late * 20 > calls).then(|| {
            format!(
                "{}, {}: could not keep the rate, {late} of {calls} round trips began an interval \
                 late or more",
                self.group.name(),
                self.kind.name()
            )
        })
    }

    pub(super) fn has_two_threads(&self) -> bool {
        self.group != Group::OneThread
    }

    /// Returns true if the row has figures.
    pub(super) fn has_samples(&self) -> bool {
        !self.batches.is_empty() && !self.histogram.is_empty()
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
            directions: self.directions,
            rounds: self.rounds,
            steal: self.steal,
        }
    }
}

/// Checks that the counts of a line grew by `trips` rings and `trips` deliveries.
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

/// Creates the regions that a row of this kind writes to. Most kinds have none.
fn new_registers(kind: Kind, path: &DoorbellPath) -> anyhow::Result<Vec<Arc<Register>>> {
    Ok(match kind {
        Kind::Region => vec![Register::with_eventfd(path, region::ALONE)?],
        Kind::RegionLine => vec![Register::with_line(path, region::LINE)?],
        Kind::Batch => Register::batch(path, region::MANY)?,
        Kind::Burst => Register::burst(path, region::BURST)?,
        _ => Vec::new(),
    })
}

fn new_probe(
    group: Group,
    kind: Kind,
    paths: &[Arc<DoorbellPath>],
    registers: &[Arc<Register>],
    peer: usize,
) -> anyhow::Result<Box<dyn Probe>> {
    if let Some(probe) = peers::probe(group, kind, peer)? {
        return Ok(probe);
    }
    if group == Group::OneThread {
        let Some(path) = paths.first().cloned() else {
            return Ok(Box::new(Bare(EventFd::new(0)?)));
        };
        let back = path.clone();
        return Ok(match kind {
            Kind::Skipped => Box::new(Skipped::new(&path)?),
            Kind::Region => Box::new(region::Alone(registers[0].clone())),
            Kind::Batch | Kind::Burst => Box::new(region::Batch::new(registers)),
            Kind::RegionLine => {
                let register = registers[0].clone();
                Box::new(Echo {
                    signal: move || register.write(),
                    back,
                })
            }
            Kind::RingWait => Box::new(Exchange(path)),
            Kind::Wait => Box::new(waiters::Alone::<false>(path)),
            Kind::RingWaitLine => Box::new(waiters::Alone::<true>(path)),
            Kind::Irqfd => Box::new(Echo {
                signal: move || path.signal(),
                back,
            }),
            _ => Box::new(Echo {
                signal: move || path.ring(),
                back,
            }),
        });
    }
    let two = || [paths[0].clone(), paths[1].clone()];
    Ok(match kind {
        Kind::Eventfd => Box::new(PingPong::new(Raw::new()?, peer)),
        Kind::Spin => Box::new(PingPong::new(Spin::<false>::default(), peer)),
        Kind::SpinYielding => Box::new(PingPong::new(Spin::<true>::default(), peer)),
        Kind::Futex => Box::new(PingPong::new(Futex::default(), peer)),
        Kind::Ioctl => Box::new(PingPong::new(Doorbell::<false>(two()), peer)),
        Kind::RingWait => Box::new(PingPong::new(Exchanges(two()), peer)),
        Kind::Irqfd => Box::new(PingPong::new(Doorbell::<true>(two()), peer)),
        Kind::Wait => Box::new(waiters::TwoThreads::<false>::new(two(), peer)),
        Kind::RingWaitLine => Box::new(waiters::TwoThreads::<true>::new(two(), peer)),
        Kind::Spinning => Box::new(Spinning::<TriggerOf>::new(two(), peer)?),
        Kind::WaitSpinning => Box::new(Spinning::<WaitersOf>::new(two(), peer)?),
        _ => bail!("{} has one thread", kind.name()),
    })
}

/// Minimum number of rounds. Fewer say little about the differences between rounds.
const MIN_ROUNDS: u32 = 10;

/// Gives each row a slot in each round; returns the number of complete rounds. There are fewer than
/// requested if the machine became much slower after the warm-up, or if a stop was requested.
pub(super) fn interleave(
    running: &mut [Running],
    options: &Options,
    progress: Progress<'_>,
) -> anyhow::Result<u32> {
    let Options {
        time,
        rounds,
        rate,
        legs,
        ref stop,
        ..
    } = *options;
    ensure!(!running.is_empty(), "there is no row to measure");
    let paths: Vec<_> = running.iter().flat_map(|row| row.paths.clone()).collect();
    let registers: Vec<_> = running
        .iter()
        .flat_map(|row| row.registers.clone())
        .collect();
    let rescuers: Vec<_> = running
        .iter()
        .filter_map(|row| Some((row.active.clone(), row.probe.rescuer()?)))
        .collect();
    let mut cpus: Vec<usize> = running.iter().flat_map(|row| [row.cpu, row.peer]).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let watchdog = Watchdog::new(watchdog::LIMIT, move || {
        for (active, rescue) in &rescuers {
            if active.load(Ordering::Relaxed) {
                rescue();
            }
        }
        paths.iter().for_each(|path| path.rescue());
        registers.iter().for_each(|register| register.rescue());
    });
    let mut steal = Steal::new(&cpus);
    let total = u64::from(rounds + 1) * running.len() as u64;
    let parts = if legs { 3.0 } else { 2.0 };
    let half = time.div_f64(parts * total as f64);
    if let Some(rate) = rate {
        let fits = |row: &&Running| row.probe.trips() as f64 <= rate * half.as_secs_f64();
        if let Some(row) = running.iter().find(|row| !fits(row)) {
            bail!(
                "--rate: {rate}/s is less than one {} in its turn of {half:.1?}\n  give it more time: \
                 a longer --duration, fewer --rounds, or fewer rows by --filter",
                row.kind.name()
            );
        }
    }
    let start = Instant::now();
    let mut done = 0;
    for row in &mut *running {
        if stop.is_requested() {
            return Ok(0);
        }
        row.warm_up(&watchdog)?;
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
        steal.since();
        for &at in &order {
            if stop.is_requested() {
                return Ok(round);
            }
            let row = &mut running[at];
            row.slot(half, legs, rate, stop, &watchdog)?;
            row.steal += steal.since();
            done += 1;
            progress("measuring", done, total);
        }
    }
    Ok(match stop.is_requested() {
        // The last row of the last round may have fewer samples.
        true => rounds - 1,
        false => rounds,
    })
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
        assert!(check(state(108, 98, 1, false)).is_err(), "spurious");
        assert!(check(state(107, 97, 2, false)).is_err(), "deferred");
        assert!(check(state(107, 97, 1, true)).is_err(), "pending");
    }
}
