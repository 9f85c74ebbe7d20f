// SPDX-License-Identifier: GPL-2.0-only

//! A line on which only one thread works. It compares the result of each call with the model.

use super::{
    accounting::Issued,
    oracle::Expected,
    pool::{IssuedCounts, Worker, WorkerPool},
    Rule, Violation,
};
use crate::random::Random;
use doorbell::{Context, EventFd, LineStatus, LineType, MaskReasons, Notify};
use std::{sync::Arc, time::Duration};

/// A worker that owns a line. Other threads only assign and deassign triggers, which must not
/// change any result.
pub(super) struct Sequential {
    pool: Arc<WorkerPool>,
    random: Random,
    line: usize,
    /// An eventfd that is an irqfd while `assigned`.
    irqfd: EventFd,
    assigned: bool,
    /// True if that eventfd was written to while it was no irqfd.
    written: bool,
    notifier: EventFd,
    /// The notifier of acks.
    acked: EventFd,
    /// The number of acks up to its last reading.
    acks: u64,
    /// The resamplefd of the irqfd, if the line is a level line.
    resamplefd: EventFd,
    /// The expected number of resamples up to its last reading.
    resamples_seen: u64,
    /// The number of resamples that are in the account.
    accounted: u64,
    /// The number of masks by a delivery that are in the account.
    automasks: u64,
    expected: Expected,
    /// The maximum time that a message may take.
    max_wait: Duration,
}

impl Sequential {
    /// Returns a worker for `line`.
    pub(super) fn new(
        pool: Arc<WorkerPool>,
        random: Random,
        line: usize,
        max_wait: Duration,
    ) -> anyhow::Result<Self> {
        let (notifier, acked) = (EventFd::non_blocking(false)?, EventFd::non_blocking(false)?);
        let level = pool.topology.lines[line].kind.level();
        let number = pool.topology.lines[line].number;
        pool.topology.context(line).assign_notifier(
            &notifier,
            number,
            Notify::MASK | Notify::UNMASK,
        )?;
        if level {
            let context = pool.topology.context(line);
            context.assign_notifier(&acked, number, Notify::ACK)?;
        }
        Ok(Self {
            pool,
            random,
            line,
            irqfd: EventFd::non_blocking(false)?,
            assigned: false,
            written: false,
            notifier,
            acked,
            acks: 0,
            resamplefd: EventFd::non_blocking(false)?,
            resamples_seen: 0,
            accounted: 0,
            automasks: 0,
            expected: Expected::new(level),
            max_wait,
        })
    }

    fn context(&self) -> &Context {
        self.pool.topology.context(self.line)
    }

    fn violation(&self, rule: Rule, text: String) -> Violation {
        Violation::new(rule, &self.pool.topology.name(self.line), text)
    }

    fn check_result<T: PartialEq + std::fmt::Debug>(
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

    /// Waits until the line has delivered. Another thread that owns the line to assign a trigger
    /// delivers the rings that arrive meanwhile.
    fn wait_for_delivery(&self) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let expected = &self.expected;
        let of = |status: &LineStatus| (status.deliveries, status.pending, status.dropped);
        let want = (expected.deliveries, expected.pending, expected.dropped);
        let start = topology.clock.now();
        loop {
            let status = topology.status(self.line);
            let got = of(&status);
            if got == want {
                return Ok(());
            }
            let rule = match got.0 > want.0 {
                true => Rule::Invented,
                false if topology.clock.now() - start > self.max_wait => Rule::Lost,
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

    /// Checks that the resamplefd was signalled once for each ack whose resample is not postponed.
    fn check_resamplefd(&mut self) -> Result<(), Violation> {
        if !self.expected.level || !self.assigned {
            return Ok(());
        }
        let got = self.resamplefd.take()?;
        let want = self.expected.resamples - self.resamples_seen;
        self.resamples_seen = self.expected.resamples;
        self.check_result(Rule::Level, "the resamplefd", got, want)
    }

    /// Makes the line one that masks itself, or one that does not, in whatever state it is.
    fn set_automask(&mut self, automask: bool) -> Result<(), Violation> {
        let number = self.pool.topology.lines[self.line].number;
        let line_type = match self.expected.level {
            true => LineType::Level,
            false => LineType::Edge,
        };
        self.expected.automask = automask;
        match automask {
            true => self.context().set_type_automask(number, line_type)?,
            false => self.context().set_type(number, line_type)?,
        }
        Ok(())
    }

    /// Adds the new resamples, and the new masks by deliveries, to the account.
    fn account(&mut self, issued: &mut Issued) {
        let automasks = self.expected.automasks;
        issued.automasks += automasks - std::mem::replace(&mut self.automasks, automasks);
        let resamples = self.expected.resamples;
        issued.resamples += resamples - std::mem::replace(&mut self.accounted, resamples);
    }

    /// Does a random operation of a level line.
    fn level_step(&mut self, issued: &mut Issued) -> Result<(), Violation> {
        let number = self.pool.topology.lines[self.line].number;
        match self.random.below(8) {
            0 | 1 => {
                let want = self.expected.raise();
                let got = self.context().raise(number)?;
                issued.raises += 1;
                issued.rung(got);
                self.check_result(Rule::Level, "raising it", got, want)
            }
            2 | 3 => {
                let want = self.expected.lower();
                let got = self.context().lower(number)?;
                issued.withdrawn += u64::from(got);
                self.check_result(Rule::Level, "lowering it", got, want)
            }
            _ => {
                let raised = self.expected.raised;
                let want = self.expected.ack();
                let got = self.context().ack(number)?;
                issued.acked(got, raised);
                self.check_result(Rule::Level, "ACK", got, want)
            }
        }
    }

    /// Checks the eventfd after its ASSIGN.
    fn after_assign(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        counts.assigns += 1;
        self.assigned = true;
        if std::mem::take(&mut self.written) {
            // Any counter other than zero rings exactly once.
            counts.lines[self.line].signals += 1;
            self.expected.ring();
        }
        self.check_result(
            Rule::Attach,
            "the counter after ASSIGN",
            self.irqfd.take()?,
            0,
        )
    }

    fn step(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let pool = self.pool.clone();
        let topology = &pool.topology;
        let number = topology.lines[self.line].number;
        let issued = &mut counts.lines[self.line];
        let level = self.expected.level;
        match self.random.below(if level { 24 } else { 12 }) {
            0..4 => {
                let want = self.expected.ring();
                let got = self.context().ring(number)?;
                issued.rung(got);
                self.check_result(Rule::Results, "RING", got, want)?;
            }
            4 => {
                let reasons = random_reasons(&mut self.random);
                let want = self.expected.mask_for(reasons);
                let got = self.context().mask_for(number, reasons)?;
                issued.masks += u64::from(got);
                self.check_result(Rule::Mask, "MASK", got, want)?;
            }
            5 => {
                let reasons = match self.random.one_in(2) {
                    true => MaskReasons::ALL,
                    false => random_reasons(&mut self.random),
                };
                let want = self.expected.unmask_for(reasons);
                let got = self.context().unmask_for(number, reasons)?;
                issued.released += u64::from(got);
                self.check_result(Rule::Mask, "UNMASK", got, want)?;
            }
            6 => {
                let want = self.expected.clear();
                let got = self.context().clear(number)?;
                issued.cleared += u64::from(got);
                self.check_result(Rule::Results, "CLEAR", got, want)?;
            }
            7 if self.random.one_in(2) => {
                let automask = self.random.one_in(2);
                self.set_automask(automask)?;
            }
            7 => {
                let want = self.expected.pending;
                let got = self.context().pending(number)?;
                self.check_result(Rule::Results, "PENDING", got, want)?;
            }
            8 | 9 => {
                self.irqfd.write(1 + self.random.below(100) as u64)?;
                if self.assigned {
                    issued.signals += 1;
                    self.expected.ring();
                } else {
                    self.written = true;
                }
            }
            10 if self.assigned => {
                self.context().deassign_irqfd(&self.irqfd, number)?;
                self.check_resamplefd()?;
                self.assigned = false;
                self.check_result(
                    Rule::Attach,
                    "the counter after DEASSIGN",
                    self.irqfd.take()?,
                    0,
                )?;
            }
            10 if level => {
                self.check_result(
                    Rule::Deassign,
                    "an unassigned resamplefd",
                    self.resamplefd.take()?,
                    0,
                )?;
                self.context()
                    .assign_resampled(&self.irqfd, number, &self.resamplefd)?;
                self.resamples_seen = self.expected.resamples;
                self.after_assign(counts)?;
            }
            10 => {
                self.context().assign_irqfd(&self.irqfd, number)?;
                self.after_assign(counts)?;
            }
            12.. => self.level_step(issued)?,
            _ => {
                self.check_resamplefd()?;
                let acked = self.acked.take()?;
                let want = self.expected.acks - self.acks;
                self.acks = self.expected.acks;
                self.check_result(Rule::Notifier, "the notifier of acks", acked, want)?;
                let notified = self.notifier.take()?;
                let want = std::mem::take(&mut self.expected.transitions);
                self.check_result(Rule::Notifier, "the notifier", notified, want)?;
                let before = self.expected.mask();
                let got = self.context().mask(number)?;
                issued.masks += u64::from(got);
                self.check_result(Rule::Mask, "MASK", got, before)?;
                // The mask is a barrier, so all deliveries have signalled.
                let own = topology.lines[self.line].last_trigger.as_ref();
                let own = own.expect("solo lines have one").count()?;
                self.check_result(Rule::Mask, "the trigger", own, self.expected.deliveries)?;
                let state = self.context().query(number)?;
                if let Some((field, got, want)) = self.expected.difference(&state) {
                    self.check_result(Rule::Results, &format!("QUERY of {field}"), got, want)?;
                }
            }
        }
        self.account(&mut counts.lines[self.line]);
        self.wait_for_delivery()
    }
}

/// Returns one reason, or several.
fn random_reasons(random: &mut Random) -> MaskReasons {
    let one = [
        MaskReasons::VECTOR,
        MaskReasons::FUNCTION,
        MaskReasons::PAUSE,
        MaskReasons::AUTO,
    ];
    let first = random.pick(&one);
    match random.one_in(4) {
        true => first | random.pick(&one),
        false => first,
    }
}

impl Worker for Sequential {
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        for _ in 0..8 {
            self.step(counts)?;
        }
        Ok(())
    }

    fn before_pause(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let number = self.pool.topology.lines[self.line].number;
        self.set_automask(false)?;
        let want = self.expected.unmask_for(MaskReasons::ALL);
        let got = self.context().unmask_for(number, MaskReasons::ALL)?;
        counts.lines[self.line].released += u64::from(got);
        self.account(&mut counts.lines[self.line]);
        self.check_result(Rule::Mask, "UNMASK", got, want)?;
        self.wait_for_delivery()
    }
}
