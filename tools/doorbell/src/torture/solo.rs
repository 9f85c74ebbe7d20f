// SPDX-License-Identifier: GPL-2.0-only

//! A line on which one thread alone works, so that it knows what has to come of each call.

use super::{
    crew::{Crew, Tally, Worker},
    ledger::Done,
    oracle::Expected,
    Rule, Violation,
};
use crate::random::Random;
use doorbell::{Context, EventFd, LineStatus, Notify};
use std::{sync::Arc, time::Duration};

/// Works on a line that is nobody else's. (Others assign and deassign triggers, which must not
/// matter.)
pub(super) struct Solo {
    crew: Arc<Crew>,
    random: Random,
    line: usize,
    /// An irqfd of its own, when it is one.
    irqfd: EventFd,
    assigned: bool,
    /// Whether that eventfd was written to while it was none.
    written: bool,
    notifier: EventFd,
    /// For acks.
    acked: EventFd,
    /// The acks that it was signalled for.
    acks: u64,
    /// That of the irqfd, if the line is a level line.
    resamplefd: EventFd,
    /// The signals of resamplefds up to the last reading of it.
    told: u64,
    /// The signals of resamplefds that are in the accounts.
    accounted: u64,
    expected: Expected,
    /// The longest time that a message may take.
    bound: Duration,
}

impl Solo {
    /// For the line `line`.
    pub(super) fn new(
        crew: Arc<Crew>,
        random: Random,
        line: usize,
        bound: Duration,
    ) -> anyhow::Result<Self> {
        let (notifier, acked) = (EventFd::non_blocking(false)?, EventFd::non_blocking(false)?);
        let level = crew.world.lines[line].kind.level();
        let number = crew.world.lines[line].number;
        crew.world.context(line).assign_notifier(
            &notifier,
            number,
            Notify::MASK | Notify::UNMASK,
        )?;
        if level {
            let context = crew.world.context(line);
            context.assign_notifier(&acked, number, Notify::ACK)?;
        }
        Ok(Self {
            crew,
            random,
            line,
            irqfd: EventFd::non_blocking(false)?,
            assigned: false,
            written: false,
            notifier,
            acked,
            acks: 0,
            resamplefd: EventFd::non_blocking(false)?,
            told: 0,
            accounted: 0,
            expected: Expected::new(level),
            bound,
        })
    }

    fn context(&self) -> &Context {
        self.crew.world.context(self.line)
    }

    fn violation(&self, rule: Rule, text: String) -> Violation {
        Violation::new(rule, &self.crew.world.name(self.line), text)
    }

    fn same<T: PartialEq + std::fmt::Debug>(
        &self,
        rule: Rule,
        what: &str,
        got: T,
        want: T,
    ) -> Result<(), Violation> {
        if got == want {
            return Ok(());
        }
        let text = format!(
            "{what} gave {got:?} instead of {want:?}, after which the line should be {:?}",
            self.expected
        );
        Err(self.violation(rule, text))
    }

    /// Who holds the line for a moment, to assign a trigger, delivers what is rung meanwhile.
    fn delivered(&self) -> Result<(), Violation> {
        let world = &self.crew.world;
        let expected = &self.expected;
        let of = |status: &LineStatus| (status.deliveries, status.pending, status.dropped);
        let want = (expected.deliveries, expected.pending, expected.dropped);
        let start = world.clock.now();
        loop {
            let status = world.status(self.line);
            let got = of(&status);
            if got == want {
                return Ok(());
            }
            let rule = match got.0 > want.0 {
                true => Rule::Invented,
                false if world.clock.now() - start > self.bound => Rule::Lost,
                false => {
                    std::thread::yield_now();
                    continue;
                }
            };
            let text = format!(
                "{} deliveries, {} dropped{} instead of {}, {}{}",
                got.0,
                got.2,
                if got.1 { ", one pending" } else { "" },
                want.0,
                want.2,
                if want.1 { ", one pending" } else { "" },
            );
            return Err(self.violation(rule, text));
        }
    }

    /// The resamplefd was signalled as often as the line was acked, unless that waits for the
    /// unmask.
    fn resampled(&mut self) -> Result<(), Violation> {
        if !self.expected.level || !self.assigned {
            return Ok(());
        }
        let got = self.resamplefd.take()?;
        let want = self.expected.resamples - self.told;
        self.told = self.expected.resamples;
        self.same(Rule::Level, "the resamplefd", got, want)
    }

    /// Adds the new resamples to the accounts.
    fn account(&mut self, done: &mut Done) {
        let resamples = self.expected.resamples;
        done.resamples += resamples - std::mem::replace(&mut self.accounted, resamples);
    }

    /// A step that only a level line knows.
    fn level_step(&mut self, done: &mut Done) -> Result<(), Violation> {
        let number = self.crew.world.lines[self.line].number;
        match self.random.below(8) {
            0 | 1 => {
                let want = self.expected.raise();
                let got = self.context().raise(number)?;
                done.raises += 1;
                done.rung(got);
                self.same(Rule::Level, "raising it", got, want)
            }
            2 | 3 => {
                let want = self.expected.lower();
                let got = self.context().lower(number)?;
                done.withdrawn += u64::from(got);
                self.same(Rule::Level, "lowering it", got, want)
            }
            _ => {
                let raised = self.expected.raised;
                let want = self.expected.ack();
                let got = self.context().ack(number)?;
                done.acked(got, raised);
                self.same(Rule::Level, "ACK", got, want)
            }
        }
    }

    /// The irqfd has just been assigned.
    fn begin(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        tally.assigns += 1;
        self.assigned = true;
        if std::mem::take(&mut self.written) {
            // Exactly once, whatever is in it.
            tally.lines[self.line].signals += 1;
            self.expected.ring();
        }
        self.same(Rule::Attach, "what ASSIGN left", self.irqfd.take()?, 0)
    }

    fn step(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let crew = self.crew.clone();
        let world = &crew.world;
        let number = world.lines[self.line].number;
        let done = &mut tally.lines[self.line];
        let level = self.expected.level;
        match self.random.below(if level { 24 } else { 12 }) {
            0..4 => {
                let want = self.expected.ring();
                let got = self.context().ring(number)?;
                done.rung(got);
                self.same(Rule::Results, "RING", got, want)?;
            }
            4 => {
                let want = self.expected.mask();
                let got = self.context().mask(number)?;
                done.masks += u64::from(got);
                self.same(Rule::Mask, "MASK", got, want)?;
            }
            5 => {
                let want = self.expected.unmask();
                let got = self.context().unmask(number)?;
                done.released += u64::from(got);
                self.same(Rule::Mask, "UNMASK", got, want)?;
            }
            6 => {
                let want = self.expected.clear();
                let got = self.context().clear(number)?;
                done.cleared += u64::from(got);
                self.same(Rule::Results, "CLEAR", got, want)?;
            }
            7 => {
                let want = self.expected.pending;
                let got = self.context().pending(number)?;
                self.same(Rule::Results, "PENDING", got, want)?;
            }
            8 | 9 => {
                self.irqfd.write(1 + self.random.below(100) as u64)?;
                if self.assigned {
                    done.signals += 1;
                    self.expected.ring();
                } else {
                    self.written = true;
                }
            }
            10 if self.assigned => {
                self.context().deassign_irqfd(&self.irqfd, number)?;
                self.resampled()?;
                self.assigned = false;
                self.same(Rule::Attach, "what DEASSIGN left", self.irqfd.take()?, 0)?;
            }
            10 if level => {
                self.same(
                    Rule::Deassign,
                    "a resamplefd of none",
                    self.resamplefd.take()?,
                    0,
                )?;
                self.context()
                    .assign_resampled(&self.irqfd, number, &self.resamplefd)?;
                self.told = self.expected.resamples;
                self.begin(tally)?;
            }
            10 => {
                self.context().assign_irqfd(&self.irqfd, number)?;
                self.begin(tally)?;
            }
            12.. => self.level_step(done)?,
            _ => {
                self.resampled()?;
                let acked = self.acked.take()?;
                let want = self.expected.acks - self.acks;
                self.acks = self.expected.acks;
                self.same(Rule::Notifier, "the notifier of acks", acked, want)?;
                let notified = self.notifier.take()?;
                let want = std::mem::take(&mut self.expected.transitions);
                self.same(Rule::Notifier, "the notifier", notified, want)?;
                let before = self.expected.mask();
                let got = self.context().mask(number)?;
                done.masks += u64::from(got);
                self.same(Rule::Mask, "MASK", got, before)?;
                // Nothing is under way now: who was signalled was signalled.
                let own = world.lines[self.line].own.as_ref();
                let own = own.expect("solo lines have one").count()?;
                self.same(Rule::Mask, "the trigger", own, self.expected.deliveries)?;
                let state = self.context().query(number)?;
                if let Some((field, got, want)) = self.expected.differs(&state) {
                    self.same(Rule::Results, &format!("QUERY of {field}"), got, want)?;
                }
            }
        }
        self.account(&mut tally.lines[self.line]);
        self.delivered()
    }
}

impl Worker for Solo {
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        for _ in 0..8 {
            self.step(tally)?;
        }
        Ok(())
    }

    fn settle(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let number = self.crew.world.lines[self.line].number;
        let want = self.expected.unmask();
        let got = self.context().unmask(number)?;
        tally.lines[self.line].released += u64::from(got);
        self.account(&mut tally.lines[self.line]);
        self.same(Rule::Mask, "UNMASK", got, want)?;
        self.delivered()
    }
}
