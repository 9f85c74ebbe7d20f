// SPDX-License-Identifier: GPL-2.0-only

//! A line on which one thread alone works, so that it knows what has to come of each call.

use super::{
    crew::{Crew, Tally, Worker},
    Rule, Violation,
};
use crate::{random::Random, Context, EventFd, Notify, Ring};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
    expected: Expected,
}

/// What the line must look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Expected {
    masked: bool,
    pending: bool,
    deliveries: u64,
    transitions: u64,
}

impl Expected {
    fn ring(&mut self) -> Ring {
        match (self.masked, self.pending) {
            (false, _) => {
                self.deliveries += 1;
                Ring::Delivered
            }
            (true, false) => {
                self.pending = true;
                Ring::Masked
            }
            (true, true) => Ring::Coalesced,
        }
    }

    fn mask(&mut self) -> bool {
        let newly = !self.masked;
        self.transitions += u64::from(newly);
        self.masked = true;
        newly
    }

    fn unmask(&mut self) -> bool {
        let delivers = self.masked && self.pending;
        self.transitions += u64::from(self.masked);
        self.deliveries += u64::from(delivers);
        self.masked = false;
        self.pending = false;
        delivers
    }

    fn clear(&mut self) -> bool {
        std::mem::take(&mut self.pending)
    }
}

impl Solo {
    /// For the line `line`.
    pub(super) fn new(crew: Arc<Crew>, random: Random, line: usize) -> anyhow::Result<Self> {
        let notifier = EventFd::non_blocking(false)?;
        let number = crew.world.lines[line].number;
        crew.world.context(line).assign_notifier(
            &notifier,
            number,
            Notify::MASK | Notify::UNMASK,
        )?;
        Ok(Self {
            crew,
            random,
            line,
            irqfd: EventFd::non_blocking(false)?,
            assigned: false,
            written: false,
            notifier,
            expected: Expected::default(),
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
        let want = (self.expected.deliveries, self.expected.pending);
        let start = Instant::now();
        loop {
            let status = world.status(self.line);
            let got = (status.deliveries, status.pending);
            if got == want {
                return Ok(());
            }
            let rule = match got.0 > want.0 {
                true => Rule::Invented,
                false if start.elapsed() > Duration::from_secs(5) => Rule::Lost,
                false => {
                    std::thread::yield_now();
                    continue;
                }
            };
            let text = format!(
                "{} deliveries{} instead of {}{}",
                got.0,
                if got.1 { ", one pending" } else { "" },
                want.0,
                if want.1 { ", one pending" } else { "" },
            );
            return Err(self.violation(rule, text));
        }
    }

    fn step(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let crew = self.crew.clone();
        let world = &crew.world;
        let number = world.lines[self.line].number;
        let done = &mut tally.lines[self.line];
        match self.random.below(12) {
            0..4 => {
                let want = self.expected.ring();
                let got = self.context().ring(number)?;
                match got {
                    Ring::Delivered => done.delivered += 1,
                    Ring::Coalesced => done.coalesced += 1,
                    Ring::Masked => done.masked += 1,
                }
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
                self.assigned = false;
                self.same(Rule::Attach, "what DEASSIGN left", self.irqfd.take()?, 0)?;
            }
            10 => {
                self.context().assign_irqfd(&self.irqfd, number)?;
                tally.assigns += 1;
                self.assigned = true;
                if std::mem::take(&mut self.written) {
                    // Exactly once, whatever is in it.
                    done.signals += 1;
                    self.expected.ring();
                }
                self.same(Rule::Attach, "what ASSIGN left", self.irqfd.take()?, 0)?;
            }
            _ => {
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
            }
        }
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
        self.same(Rule::Mask, "UNMASK", got, want)?;
        self.delivered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_line_holds_one_message() {
        let mut line = Expected::default();
        assert_eq!(line.ring(), Ring::Delivered);
        assert!(!line.unmask(), "not masked");
        assert!(line.mask() && !line.mask());
        assert!(!line.unmask(), "nothing rung");
        line.mask();
        assert_eq!((line.ring(), line.ring()), (Ring::Masked, Ring::Coalesced));
        assert!(line.clear() && !line.clear());
        assert_eq!(line.ring(), Ring::Masked);
        assert!(line.unmask());
        assert_eq!((line.deliveries, line.transitions), (2, 4));
    }
}
