// SPDX-License-Identifier: GPL-2.0-only

//! Threads that raise, lower and ack level lines, and the sources that an ack resamples.
//!
//! A source is an irqfd with a resamplefd. While it wants service it asserts the line again each
//! time that its resamplefd is signalled. So when all is quiet and a source wants service, the line
//! is asserted: otherwise a signal of its resamplefd was lost, or a message.

use super::{
    crew::{Crew, Tally, Worker},
    ledger::{owed, Done},
    oracle::Expected,
    world::{Kind, World},
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
    needs: Mutex<Needs>,
}

#[derive(Default)]
struct Needs {
    /// It wants service.
    wants: bool,
    /// The signals of its resamplefd that it has seen.
    told: u64,
}

impl Source {
    /// Assigns a source to `line` of `context`, a level line.
    pub(super) fn new(context: &Context, line: u32) -> anyhow::Result<Self> {
        let source = Self {
            irqfd: EventFd::non_blocking(false)?,
            resamplefd: EventFd::non_blocking(false)?,
            needs: Mutex::default(),
        };
        context.assign_resampled(&source.irqfd, line, &source.resamplefd)?;
        Ok(source)
    }

    fn needs(&self) -> MutexGuard<'_, Needs> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants service from now on, and asserts the line.
    fn want(&self, done: &mut Done) -> io::Result<()> {
        let mut needs = self.needs();
        needs.wants = true;
        self.assert(done)
    }

    fn assert(&self, done: &mut Done) -> io::Result<()> {
        done.signals += 1;
        self.irqfd.write(1)
    }

    /// Wants no service any more.
    fn serve(&self) {
        self.needs().wants = false;
    }

    /// Takes the signals of the resamplefd. If there are some, and it still wants service, asserts
    /// the line again. Returns the number of signals, and whether it has asserted.
    fn look(&self, done: &mut Done) -> io::Result<(u64, bool)> {
        let mut needs = self.needs();
        let told = self.resamplefd.take()?;
        needs.told += told;
        let again = told != 0 && needs.wants;
        if again {
            self.assert(done)?;
        }
        Ok((told, again))
    }

    /// Returns whether it wants service, and how often its resamplefd was signalled.
    pub(super) fn account(&self) -> io::Result<(bool, u64)> {
        let needs = self.needs();
        Ok((needs.wants, needs.told + self.resamplefd.count()?))
    }
}

/// Acks a line, and writes that down.
fn ack(world: &World, index: usize, done: &mut Done) -> Result<AckOutcome, Violation> {
    let line = &world.lines[index];
    let ack = world.context(index).ack(line.number)?;
    done.acked(ack, line.kind == Kind::Raised);
    // At once, or with the unmask: a masked line is acked once at most, as it delivers nothing.
    done.resamples += u64::from(ack != AckOutcome::Nothing);
    Ok(ack)
}

/// Raises, lowers and acks lines that others raise, lower and ack, too, and works as their sources.
pub(super) struct Acker {
    crew: Arc<Crew>,
    random: Random,
    lines: Vec<usize>,
}

impl Acker {
    pub(super) fn new(crew: Arc<Crew>, random: Random) -> Self {
        Self {
            lines: crew.world.which(Kind::acked_by_all),
            crew,
            random,
        }
    }
}

impl Worker for Acker {
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let world = &self.crew.world;
        let index = self.random.pick(&self.lines);
        let (line, context) = (&world.lines[index], world.context(index));
        let done = &mut tally.lines[index];
        for _ in 0..8 {
            let source = &line.sources[self.random.below(line.sources.len())];
            match self.random.below(16) {
                0..2 => source.want(done)?,
                2..5 => drop(source.look(done)?),
                5 if self.random.one_in(2) => source.serve(),
                6..8 if line.kind == Kind::Raised => {
                    done.raises += 1;
                    done.rung(context.raise(line.number)?);
                }
                8..10 if line.kind == Kind::Raised => {
                    done.withdrawn += u64::from(context.lower(line.number)?);
                }
                _ => drop(ack(world, index, done)?),
            }
        }
        // The producers' rings make the next message; at once they would not get to.
        if self.random.one_in(4) {
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }
}

/// Takes the signals of all resamplefds, as the sources would have sooner or later.
pub(super) fn look_again(world: &World, tally: &mut Tally) -> Result<(), Violation> {
    for index in world.which(Kind::acked_by_all) {
        for source in &world.lines[index].sources {
            source.look(&mut tally.lines[index])?;
        }
    }
    Ok(())
}

/// A line that no other thread works on now, and a model of it.
struct Walk<'a> {
    world: &'a World,
    index: usize,
    done: &'a mut Done,
    expected: Expected,
    /// The longest time that a message may take.
    bound: Duration,
}

impl Walk<'_> {
    fn violation(&self, rule: Rule, text: String) -> Violation {
        Violation::new(rule, &self.world.name(self.index), text)
    }

    fn same<T: PartialEq + std::fmt::Debug>(
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
        self.comes_true(call)
    }

    /// Waits until the line is as expected.
    fn comes_true(&self, call: &str) -> Result<(), Violation> {
        let number = self.world.lines[self.index].number;
        let start = self.world.clock.now();
        loop {
            let state = self.world.context(self.index).query(number)?;
            let Some((field, got, want)) = self.expected.differs(&state) else {
                return Ok(());
            };
            let rule = match field {
                "deliveries" if got > want => Rule::Invented,
                "deliveries" => Rule::Lost,
                _ => Rule::Level,
            };
            if rule == Rule::Invented || self.world.clock.now() - start > self.bound {
                let text = format!("after {call} {field} is {got} instead of {want}: {state:?}");
                return Err(self.violation(rule, text));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn ack(&mut self) -> Result<(), Violation> {
        let want = self.expected.ack();
        let got = ack(self.world, self.index, self.done)?;
        self.same("ACK", got, want)
    }

    fn raise(&mut self) -> Result<(), Violation> {
        let line = &self.world.lines[self.index];
        if line.kind != Kind::Raised {
            return Ok(());
        }
        let want = self.expected.raise();
        let got = self.world.context(self.index).raise(line.number)?;
        self.done.raises += 1;
        self.done.rung(got);
        self.same("raising it", got, want)
    }

    fn lower(&mut self) -> Result<(), Violation> {
        let want = self.expected.lower();
        let number = self.world.lines[self.index].number;
        let got = self.world.context(self.index).lower(number)?;
        self.done.withdrawn += u64::from(got);
        self.same("lowering it", got, want)
    }

    fn mask(&mut self) -> Result<(), Violation> {
        let want = self.expected.mask();
        let number = self.world.lines[self.index].number;
        let got = self.world.context(self.index).mask(number)?;
        self.done.masks += u64::from(got);
        self.same("MASK", got, want)
    }

    fn unmask(&mut self) -> Result<(), Violation> {
        let want = self.expected.unmask();
        let number = self.world.lines[self.index].number;
        let got = self.world.context(self.index).unmask(number)?;
        self.done.released += u64::from(got);
        self.same("UNMASK", got, want)
    }

    fn want(&mut self, source: usize) -> Result<(), Violation> {
        self.expected.ring();
        self.world.lines[self.index].sources[source].want(self.done)?;
        self.comes_true("a source's signal")
    }

    /// Takes the signals of all resamplefds: as many as the model says, or it fails.
    fn look(&mut self, call: &str) -> Result<(), Violation> {
        let want = std::mem::take(&mut self.expected.resamples);
        for source in &self.world.lines[self.index].sources {
            let (told, again) = source.look(self.done)?;
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
        self.comes_true("what the sources did when they were told to look again")
    }

    fn walk(&mut self, random: &mut Random) -> Result<(), Violation> {
        // A level that is raised, and a source that wants service, is delivered again after an ack.
        self.raise()?;
        self.want(0)?;
        self.ack()?;
        self.look("ACK")?;
        // The same, if the line is masked at the ack. Its message then waits, too.
        self.mask()?;
        self.ack()?;
        self.look("ACK of a masked line")?;
        if random.one_in(2) {
            self.want(1)?;
            self.ack()?;
        }
        self.unmask()?;
        self.look("UNMASK")?;
        // Taken back before it was delivered.
        self.lower()?;
        self.ack()?;
        for source in &self.world.lines[self.index].sources {
            source.serve();
        }
        self.look("ACK")?;
        self.mask()?;
        self.raise()?;
        self.lower()?;
        self.unmask()?;
        // Served: one ack at most is left, and then the line is idle.
        self.ack()?;
        self.ack()?;
        self.look("the last ACK")
    }
}

/// Acks, masks, raises and lowers each level line of the [`Acker`]s, compares each step with the
/// model, and leaves the line idle. All other threads pause, and no line is masked.
pub(super) fn walk(
    world: &World,
    random: &mut Random,
    bound: Duration,
    tally: &mut Tally,
) -> Result<(), Violation> {
    for index in world.which(Kind::acked_by_all) {
        let number = world.lines[index].number;
        let state = world.context(index).query(number)?;
        let mut walk = Walk {
            world,
            index,
            done: &mut tally.lines[index],
            expected: Expected::of(&state),
            bound,
        };
        let mut wanting = 0;
        for source in &world.lines[index].sources {
            wanting += u64::from(source.account()?.0);
        }
        if let Some(text) = owed(&state, wanting) {
            return Err(walk.violation(Rule::Lost, text));
        }
        walk.walk(random)?;
    }
    Ok(())
}
