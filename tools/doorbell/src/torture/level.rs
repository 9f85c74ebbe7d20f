// SPDX-License-Identifier: GPL-2.0-only

//! Threads that raise, lower and ack level lines, and the sources that an ack resamples.
//!
//! A source is an irqfd with a resamplefd. While it wants service, it asserts the line again each
//! time that its resamplefd is signalled. If nothing is in flight and a source wants service, the
//! line must be asserted. Otherwise a signal of its resamplefd was lost, or a message.

use super::{
    accounting::{missing_delivery, Issued},
    kind::Kind,
    oracle::Expected,
    pool::{IssuedCounts, Worker, WorkerPool},
    topology::Topology,
    Rule, Violation,
};
use crate::random::Random;
use doorbell::{AckOutcome, Context, EventFd};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A level-triggered source.
pub(super) struct Source {
    irqfd: EventFd,
    resamplefd: EventFd,
    state: Mutex<SourceState>,
}

#[derive(Default)]
struct SourceState {
    /// True while the source wants service.
    wants_service: bool,
    /// The number of signals of its resamplefd that it has consumed.
    resamples: u64,
}

impl Source {
    /// Assigns a source to `line` of `context`, a level line.
    pub(super) fn new(context: &Context, line: u32) -> anyhow::Result<Self> {
        let source = Self {
            irqfd: EventFd::non_blocking(false)?,
            resamplefd: EventFd::non_blocking(false)?,
            state: Mutex::default(),
        };
        context.assign_resampled(&source.irqfd, line, &source.resamplefd)?;
        Ok(source)
    }

    fn state(&self) -> MutexGuard<'_, SourceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the source want service, and asserts the line.
    fn request_service(&self, issued: &mut Issued) -> io::Result<()> {
        let mut state = self.state();
        state.wants_service = true;
        self.assert(issued)
    }

    fn assert(&self, issued: &mut Issued) -> io::Result<()> {
        issued.signals += 1;
        self.irqfd.write(1)
    }

    /// Makes the source want no service.
    fn end_service(&self) {
        self.state().wants_service = false;
    }

    /// Consumes the signals of the resamplefd. If there are any and the source wants service,
    /// asserts the line again. Returns the number of signals, and true if it has asserted the line.
    fn handle_resample(&self, issued: &mut Issued) -> io::Result<(u64, bool)> {
        let mut state = self.state();
        let told = self.resamplefd.take()?;
        state.resamples += told;
        let again = told != 0 && state.wants_service;
        if again {
            self.assert(issued)?;
        }
        Ok((told, again))
    }

    /// Returns true if the source wants service, and the number of signals of its resamplefd.
    pub(super) fn totals(&self) -> io::Result<(bool, u64)> {
        let state = self.state();
        Ok((
            state.wants_service,
            state.resamples + self.resamplefd.count()?,
        ))
    }
}

/// Acks a line and counts the ack.
fn ack(topology: &Topology, index: usize, issued: &mut Issued) -> Result<AckOutcome, Violation> {
    let line = &topology.lines[index];
    let ack = topology.context(index).ack(line.number)?;
    issued.acked(ack, line.kind == Kind::Raised);
    // The resample is immediate or comes with the unmask. A masked line delivers nothing, so it is
    // acked at most once.
    issued.resamples += u64::from(ack != AckOutcome::Nothing);
    Ok(ack)
}

/// A worker that raises, lowers and acks lines that all ackers share, and operates their sources.
pub(super) struct Acker {
    pool: Arc<WorkerPool>,
    random: Random,
    lines: Vec<usize>,
}

impl Acker {
    pub(super) fn new(pool: Arc<WorkerPool>, random: Random) -> Self {
        Self {
            lines: pool.topology.lines_with(Kind::acked_by_all),
            pool,
            random,
        }
    }
}

impl Worker for Acker {
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let index = self.random.pick(&self.lines);
        let (line, context) = (&topology.lines[index], topology.context(index));
        let issued = &mut counts.lines[index];
        for _ in 0..8 {
            let source = &line.sources[self.random.below(line.sources.len())];
            match self.random.below(16) {
                0..2 => source.request_service(issued)?,
                2..5 => drop(source.handle_resample(issued)?),
                5 if self.random.one_in(2) => source.end_service(),
                6..8 if line.kind == Kind::Raised => {
                    issued.raises += 1;
                    issued.rung(context.raise(line.number)?);
                }
                8..10 if line.kind == Kind::Raised => {
                    issued.withdrawn += u64::from(context.lower(line.number)?);
                }
                _ => drop(ack(topology, index, issued)?),
            }
        }
        // Without a delay the producers' rings would not make the next message.
        if self.random.one_in(4) {
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }
}

/// Handles the outstanding signals of all resamplefds.
pub(super) fn handle_resamples(
    topology: &Topology,
    counts: &mut IssuedCounts,
) -> Result<(), Violation> {
    for index in topology.lines_with(Kind::acked_by_all) {
        for source in &topology.lines[index].sources {
            source.handle_resample(&mut counts.lines[index])?;
        }
    }
    Ok(())
}

/// A line on which no other thread works now, and its model.
struct LevelCheck<'a> {
    topology: &'a Topology,
    index: usize,
    issued: &'a mut Issued,
    expected: Expected,
    /// The maximum time that a message may take.
    max_wait: Duration,
}

impl LevelCheck<'_> {
    fn violation(&self, rule: Rule, text: String) -> Violation {
        Violation::new(rule, &self.topology.name(self.index), text)
    }

    fn check_result<T: PartialEq + std::fmt::Debug>(
        &self,
        call: &str,
        got: T,
        want: T,
    ) -> Result<(), Violation> {
        if got != want {
            let text = format!(
                "{call} returned {got:?} instead of {want:?}, after which the line should be {:?}",
                self.expected
            );
            return Err(self.violation(Rule::Level, text));
        }
        self.wait_for_expected(call)
    }

    /// Waits until the state of the line matches the model.
    fn wait_for_expected(&self, call: &str) -> Result<(), Violation> {
        let number = self.topology.lines[self.index].number;
        let start = self.topology.clock.now();
        loop {
            let state = self.topology.context(self.index).query(number)?;
            let Some((field, got, want)) = self.expected.difference(&state) else {
                return Ok(());
            };
            let rule = match field {
                "deliveries" if got > want => Rule::Invented,
                "deliveries" => Rule::Lost,
                _ => Rule::Level,
            };
            if rule == Rule::Invented || self.topology.clock.now() - start > self.max_wait {
                let text = format!("after {call} {field} is {got} instead of {want}: {state:?}");
                return Err(self.violation(rule, text));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn ack(&mut self) -> Result<(), Violation> {
        let want = self.expected.ack();
        let got = ack(self.topology, self.index, self.issued)?;
        self.check_result("ACK", got, want)
    }

    fn raise(&mut self) -> Result<(), Violation> {
        let line = &self.topology.lines[self.index];
        if line.kind != Kind::Raised {
            return Ok(());
        }
        let want = self.expected.raise();
        let got = self.topology.context(self.index).raise(line.number)?;
        self.issued.raises += 1;
        self.issued.rung(got);
        self.check_result("raising it", got, want)
    }

    fn lower(&mut self) -> Result<(), Violation> {
        let want = self.expected.lower();
        let number = self.topology.lines[self.index].number;
        let got = self.topology.context(self.index).lower(number)?;
        self.issued.withdrawn += u64::from(got);
        self.check_result("lowering it", got, want)
    }

    fn mask(&mut self) -> Result<(), Violation> {
        let want = self.expected.mask();
        let number = self.topology.lines[self.index].number;
        let got = self.topology.context(self.index).mask(number)?;
        self.issued.masks += u64::from(got);
        self.check_result("MASK", got, want)
    }

    fn unmask(&mut self) -> Result<(), Violation> {
        let want = self.expected.unmask();
        let number = self.topology.lines[self.index].number;
        let got = self.topology.context(self.index).unmask(number)?;
        self.issued.released += u64::from(got);
        self.check_result("UNMASK", got, want)
    }

    fn request_service(&mut self, source: usize) -> Result<(), Violation> {
        self.expected.ring();
        self.topology.lines[self.index].sources[source].request_service(self.issued)?;
        self.wait_for_expected("a source's signal")
    }

    /// Consumes the signals of all resamplefds, and compares their number with the model.
    fn check_resamples(&mut self, call: &str) -> Result<(), Violation> {
        let want = std::mem::take(&mut self.expected.resamples);
        for source in &self.topology.lines[self.index].sources {
            let (told, again) = source.handle_resample(self.issued)?;
            if told != want {
                let rule = match told < want {
                    true => Rule::Lost,
                    false => Rule::Invented,
                };
                let text = format!(
                    "after {call} a resamplefd was signalled {told} times instead of {want}"
                );
                return Err(self.violation(rule, text));
            }
            if again {
                self.expected.ring();
            }
        }
        self.wait_for_expected("handling the resamples")
    }

    fn run(&mut self, random: &mut Random) -> Result<(), Violation> {
        // After an ack, a raised level and a source that wants service are delivered again.
        self.raise()?;
        self.request_service(0)?;
        self.ack()?;
        self.check_resamples("ACK")?;
        // The same with a line that is masked at the ack. Its message also waits for the unmask.
        self.mask()?;
        self.ack()?;
        self.check_resamples("ACK of a masked line")?;
        if random.one_in(2) {
            self.request_service(1)?;
            self.ack()?;
        }
        self.unmask()?;
        self.check_resamples("UNMASK")?;
        // The level is lowered before its message is delivered.
        self.lower()?;
        self.ack()?;
        for source in &self.topology.lines[self.index].sources {
            source.end_service();
        }
        self.check_resamples("ACK")?;
        self.mask()?;
        self.raise()?;
        self.lower()?;
        self.unmask()?;
        // No source wants service: after at most one ack the line is idle.
        self.ack()?;
        self.ack()?;
        self.check_resamples("the last ACK")
    }
}

/// Compares each level line of the [`Acker`]s with the model, step by step, and leaves the line
/// idle. All other threads must pause, and no line may be masked.
pub(super) fn check_level_lines(
    topology: &Topology,
    random: &mut Random,
    max_wait: Duration,
    counts: &mut IssuedCounts,
) -> Result<(), Violation> {
    for index in topology.lines_with(Kind::acked_by_all) {
        let number = topology.lines[index].number;
        let state = topology.context(index).query(number)?;
        let mut check = LevelCheck {
            topology,
            index,
            issued: &mut counts.lines[index],
            expected: Expected::from_state(&state),
            max_wait,
        };
        let mut wanting = 0;
        for source in &topology.lines[index].sources {
            wanting += u64::from(source.totals()?.0);
        }
        if let Some(text) = missing_delivery(&state, wanting) {
            return Err(check.violation(Rule::Lost, text));
        }
        check.run(random)?;
    }
    Ok(())
}
