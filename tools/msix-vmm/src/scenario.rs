// SPDX-License-Identifier: GPL-2.0-only

//! The scenarios, and what they count.

use crate::function::Line;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Signals while a vector is masked: its pending bit is set, and the unmask sends one message.
    Pending,
    /// No signal while a vector is masked: the unmask sends nothing, whatever came before.
    Quiet,
    /// The function mask over vector masks, in both orders.
    Function,
    /// The guest moves a vector that it has masked, while the device signals it.
    MoveMasked,
    /// The guest moves a vector that it has not masked.
    MoveUnmasked,
    /// The guest masks and unmasks a vector in a loop, while the device signals it.
    Storm,
    /// The same with a vector of the other vCPU.
    StormOther,
    /// The line masks itself in each delivery, and the interrupt handler unmasks it.
    Automask,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Scenario; 8] = [
        Scenario::Pending,
        Scenario::Quiet,
        Scenario::Function,
        Scenario::MoveMasked,
        Scenario::MoveUnmasked,
        Scenario::Storm,
        Scenario::StormOther,
        Scenario::Automask,
    ];

    /// Returns the argument of `--scenario`, which is also the key in JSON.
    pub fn key(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().into())
    }

    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Pending => "pending",
            Scenario::Quiet => "quiet",
            Scenario::Function => "function mask",
            Scenario::MoveMasked => "move masked",
            Scenario::MoveUnmasked => "move unmasked",
            Scenario::Storm => "storm",
            Scenario::StormOther => "storm vCPU 1",
            Scenario::Automask => "automask",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The counts of a scenario, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Signals of the device.
    pub signals: u64,
    /// Interrupts of the guest by the device's messages.
    pub interrupts: u64,
    /// The number of interrupts, if the scenario has only one right number.
    pub expected: Option<u64>,
    /// Rounds of the guest's loop.
    pub rounds: u64,
    /// Pending bits that were read.
    pub bits: u64,
    /// Pending bits that were set.
    pub bits_set: u64,
    /// Pending bits that were wrong.
    pub wrong_bits: u64,
    /// Signals on a quiet line to which the guest got no interrupt.
    pub lost: u64,
    /// Times that a line stayed masked after the interrupt handler had ended its automask.
    pub stuck: u64,
    /// Interrupts without a cause, of a masked vector, or at a target that the vector had left.
    pub spurious: u64,
    /// The counters of the lines.
    pub line: Option<Line>,
}

impl Counts {
    /// Checks the `bits` of the PBA that `mask` selects.
    pub fn check_pba(&mut self, bits: u64, mask: u64, expected: u64) {
        self.bits += u64::from(mask.count_ones());
        self.bits_set += u64::from((bits & mask).count_ones());
        self.wrong_bits += u64::from(((bits ^ expected) & mask).count_ones());
    }

    /// Checks a number of interrupts.
    pub fn check_interrupts(&mut self, interrupts: u64, expected: u64) {
        self.lost += expected.saturating_sub(interrupts);
        self.spurious += interrupts.saturating_sub(expected);
        *self.expected.get_or_insert(0) += expected;
    }

    /// Returns what is wrong, or nothing.
    ///
    /// Without a line, nothing is known about messages that coalesced. With one, the signals of the device,
    /// the counters of the line and the interrupts of the guest have to agree. One interrupt can be for
    /// several deliveries, unless their number is exact. The counters alone cannot show that a message was
    /// lost: `lost` counts the signals without an interrupt of the guest.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        check(self.lost == 0, format!("{} messages lost", self.lost));
        check(
            self.stuck == 0,
            "the line stays masked: the end of its automask was lost".into(),
        );
        check(
            self.spurious == 0,
            format!("{} spurious interrupts", self.spurious),
        );
        check(
            self.wrong_bits == 0,
            format!("{} wrong pending bits", self.wrong_bits),
        );
        check(
            self.interrupts <= self.signals,
            format!(
                "{} interrupts for {} signals",
                self.interrupts, self.signals
            ),
        );
        if let Some(expected) = self.expected {
            check(
                self.interrupts == expected,
                format!("{} interrupts instead of {expected}", self.interrupts),
            );
        }
        if let Some(line) = self.line {
            check(
                line.rings == self.signals,
                format!("{} rings for {} signals", line.rings, self.signals),
            );
            check(
                line.deliveries <= line.rings,
                format!("{} deliveries for {} rings", line.deliveries, line.rings),
            );
            check(
                line.dropped == 0,
                format!("{} messages dropped", line.dropped),
            );
            check(
                line.pending == 0,
                format!("{} messages pending at the end", line.pending),
            );
            let exact = self.expected.is_some();
            check(
                self.interrupts <= line.deliveries
                    && (!exact || self.interrupts == line.deliveries)
                    && (self.interrupts > 0 || line.deliveries == 0),
                format!(
                    "{} interrupts for {} deliveries",
                    self.interrupts, line.deliveries
                ),
            );
        }
        faults
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            signals: self.signals + other.signals,
            interrupts: self.interrupts + other.interrupts,
            expected: self.expected.zip(other.expected).map(|(a, b)| a + b),
            rounds: self.rounds + other.rounds,
            bits: self.bits + other.bits,
            bits_set: self.bits_set + other.bits_set,
            wrong_bits: self.wrong_bits + other.wrong_bits,
            lost: self.lost + other.lost,
            stuck: self.stuck + other.stuck,
            spurious: self.spurious + other.spurious,
            line: self.line.zip(other.line).map(|(a, b)| a + b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten signals, of which four coalesced; the guest took five interrupts for six deliveries.
    fn good() -> Counts {
        Counts {
            signals: 10,
            interrupts: 5,
            line: Some(Line {
                rings: 10,
                deliveries: 6,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn with(change: impl FnOnce(&mut Counts, &mut Line)) -> Vec<String> {
        let mut counts = good();
        let mut line = counts.line.unwrap();
        change(&mut counts, &mut line);
        counts.line = Some(line);
        counts.faults()
    }

    #[test]
    fn counts_have_to_agree() {
        assert!(good().faults().is_empty());
        assert!(with(|_, line| line.deliveries = 10).is_empty());
        assert_eq!(
            with(|counts, _| counts.signals = 11),
            ["10 rings for 11 signals"]
        );
        assert_eq!(
            with(|_, line| line.deliveries = 11),
            ["11 deliveries for 10 rings"]
        );
        assert_eq!(with(|_, line| line.dropped = 1), ["1 messages dropped"]);
        assert_eq!(
            with(|_, line| line.pending = 1),
            ["1 messages pending at the end"]
        );
        let faults = with(|counts, _| counts.interrupts = 7);
        assert_eq!(faults, ["7 interrupts for 6 deliveries"]);
        assert_eq!(with(|counts, _| counts.interrupts = 0).len(), 1);
        assert_eq!(with(|counts, _| counts.lost = 1), ["1 messages lost"]);
        assert_eq!(
            with(|counts, _| counts.spurious = 2),
            ["2 spurious interrupts"]
        );
        assert_eq!(
            with(|counts, _| counts.wrong_bits = 3),
            ["3 wrong pending bits"]
        );
    }

    #[test]
    fn exact_numbers_do_not_coalesce_in_the_guest() {
        let exact = |interrupts, expected| {
            with(|counts, _| (counts.interrupts, counts.expected) = (interrupts, Some(expected)))
        };
        assert!(exact(6, 6).is_empty());
        assert_eq!(exact(5, 5), ["5 interrupts for 6 deliveries"]);
        assert_eq!(exact(5, 6).len(), 2);
    }

    #[test]
    fn interrupts_without_a_line_have_signals() {
        let mut counts = Counts {
            line: None,
            ..good()
        };
        assert!(counts.faults().is_empty());
        counts.interrupts = 11;
        assert_eq!(counts.faults(), ["11 interrupts for 10 signals"]);
    }

    #[test]
    fn checks_count_what_differs() {
        let mut counts = Counts::default();
        counts.check_pba(0b1011, 0b0110, 0b0100);
        assert_eq!((counts.bits, counts.bits_set, counts.wrong_bits), (2, 1, 2));
        counts.check_pba(0b1011, 0b1001, 0b1001);
        assert_eq!((counts.bits, counts.bits_set, counts.wrong_bits), (4, 3, 2));
        counts.check_interrupts(1, 3);
        counts.check_interrupts(4, 3);
        assert_eq!(
            (counts.lost, counts.spurious, counts.expected),
            (2, 1, Some(6))
        );
    }

    #[test]
    fn sums_have_all_counts() {
        let mut sum = good() + good();
        assert_eq!(sum.signals, 20);
        assert_eq!(sum.line.unwrap().coalesced(), 8);
        assert!(sum.faults().is_empty());
        sum = sum
            + Counts {
                line: None,
                ..good()
            };
        assert_eq!((sum.interrupts, sum.line), (15, None));
    }
}
