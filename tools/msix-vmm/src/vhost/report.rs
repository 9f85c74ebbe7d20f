// SPDX-License-Identifier: GPL-2.0-only

//! The report of a run: the counters of the guest, of the backend and of the lines, and their comparison.

use super::{
    driver::{Phase, Word},
    ledger::{Entry, Ledger},
    protocol::Totals,
    run::Options,
};
use anyhow::Result;
use serde::Serialize;
use std::fmt;
use vm_memory::GuestMemoryMmap;

/// The report of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// Requests that the guest was to make.
    pub(crate) asked: u64,
    /// The guest has ended. If not, it waits for a message that will not come.
    pub(crate) ended: bool,
    /// The guest polls a pending bit that will not come.
    pub(crate) polls: bool,
    /// The places of the messages that the guest waits for, or the process that has crashed.
    pub(crate) place: Option<String>,
    /// Each message has an interrupt of its own: the guest posts single requests, and no backend is killed.
    pub(crate) exact: bool,
    pub(crate) kills: u64,
    pub(crate) migrations: u64,
    /// Migrations with a pending message in the state of the lines.
    pub(crate) carried: u64,
    /// Migrations at a moment with a pending message that the state of the lines did not have.
    pub(crate) uncarried: u64,
    /// Requests that the guest has posted.
    pub(crate) posted: u64,
    /// Requests whose answers the guest has found.
    pub(crate) requests: u64,
    /// Requests that the backends have executed.
    pub(crate) executed: u64,
    /// Requests that were taken again after a kill.
    pub(crate) repeated: u64,
    /// Answers that do not belong to their request, or requests that a backend has refused.
    pub(crate) wrong: u64,
    /// Answers without a request.
    pub(crate) unasked: u64,
    /// Kicks of the guest.
    pub(crate) kicks: u64,
    /// Rings of the line of the kicks.
    pub(crate) kick_rings: u64,
    /// Rings of the line of the kicks by the VMM, for a backend that has come.
    pub(crate) rekicks: u64,
    /// Signals that the backends have begun to send.
    pub(crate) signals_begun: u64,
    /// Signals that the backends know to be sent.
    pub(crate) signals: u64,
    /// Rings by the VMM, for a backend that was killed.
    pub(crate) resignals: u64,
    /// Rings of the line of the interrupts.
    pub(crate) call_rings: u64,
    /// Deliveries of that line.
    pub(crate) deliveries: u64,
    /// Messages that are pending in a line at the end.
    pub(crate) pending: u64,
    /// Interrupts of the guest.
    pub(crate) interrupts: u64,
    /// Interrupts that found no answer.
    pub(crate) empty: u64,
    /// Masks of the vector by the guest.
    pub(crate) masks: u64,
    /// Interrupts of the masked vector.
    pub(crate) while_masked: u64,
    pub(crate) lost: u64,
    pub(crate) invented: u64,
}

/// A report with its verdict, for JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Judged<'a> {
    passed: bool,
    #[serde(flatten)]
    report: &'a Report,
}

impl<'a> From<&'a Report> for Judged<'a> {
    fn from(report: &'a Report) -> Self {
        Self {
            passed: report.passed(),
            report,
        }
    }
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            seed: options.seed,
            asked: options.requests,
            exact: options.single && options.kills == 0,
            ..Self::default()
        }
    }

    /// Reads all counters, and compares them.
    pub(crate) fn fill(
        &mut self,
        memory: &GuestMemoryMmap,
        ledger: &Ledger,
        totals: &Totals,
    ) -> Result<()> {
        let word = |word: Word| word.get(memory);
        self.polls = word(Word::Phase)? == Phase::Polls as u64;
        self.posted = word(Word::Posted)?;
        self.requests = word(Word::Seen)?;
        self.executed = ledger.get(Entry::Executed);
        self.repeated = ledger.get(Entry::Repeated);
        self.wrong = word(Word::Wrong)? + ledger.get(Entry::Refused);
        self.unasked = word(Word::Invented)?;
        self.kicks = word(Word::Kicks)?;
        self.kick_rings = totals.kick_rings;
        self.rekicks = totals.rekicks;
        self.pending = totals.pending;
        self.signals_begun = ledger.get(Entry::SignalsBegun);
        self.signals = ledger.get(Entry::SignalsSent);
        self.resignals = totals.resignals;
        self.call_rings = totals.call_rings;
        self.deliveries = totals.call_deliveries;
        self.interrupts = word(Word::Interrupts)?;
        self.empty = word(Word::Empty)?;
        self.masks = word(Word::Masks)?;
        self.while_masked = word(Word::WhileMasked)?;
        self.judge();
        Ok(())
    }

    /// Computes the lost and the invented messages.
    ///
    /// A backend that is killed between a signal and its record leaves the number of its signals open by one.
    /// All other counters must agree exactly. Interrupts can be less than deliveries, as an APIC keeps one
    /// message of each vector. But if the run is exact, each ring is one delivery, and one interrupt.
    fn judge(&mut self) {
        let less = |least: u64, counter: u64| least.saturating_sub(counter);
        let kicks = self.kicks + self.rekicks;
        self.lost = less(self.posted, self.requests)
            + less(self.posted, self.executed)
            + less(kicks, self.kick_rings)
            + less(self.signals + self.resignals, self.call_rings)
            + self.uncarried
            + self.pending;
        if self.exact && self.ended {
            self.lost +=
                less(self.call_rings, self.deliveries) + less(self.deliveries, self.interrupts);
        }
        self.invented = self.wrong
            + self.unasked
            + self.while_masked
            + less(self.executed, self.posted)
            + less(self.kick_rings, kicks)
            + less(self.call_rings, self.signals_begun + self.resignals)
            + less(self.deliveries, self.call_rings)
            + less(self.interrupts, self.deliveries)
            + less(self.repeated, self.kills);
    }

    /// Returns true if the guest has made all requests, and nothing was lost or invented.
    pub(crate) fn passed(&self) -> bool {
        self.ended
            && self.place.is_none()
            && self.requests == self.asked
            && self.lost == 0
            && self.invented == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, cells: [Option<u64>; 3]| {
            let cell = |cell: Option<u64>| cell.map_or_else(String::new, |n| n.to_string());
            let [guest, backend, line] = cells.map(cell);
            let text = format!("{name:<26}{guest:>12}{backend:>12}{line:>12}");
            writeln!(f, "{}", text.trim_end())
        };
        writeln!(
            f,
            "a vhost-user backend behind an MSI-X vector, seed {}",
            self.seed
        )?;
        writeln!(
            f,
            "{:<26}{:>12}{:>12}{:>12}",
            "", "guest", "backend", "line"
        )?;
        row(
            f,
            "requests",
            [Some(self.requests), Some(self.executed), None],
        )?;
        row(f, "  taken again", [None, Some(self.repeated), None])?;
        row(f, "kicks", [Some(self.kicks), None, Some(self.kick_rings)])?;
        row(
            f,
            "  by the VMM, at a connect",
            [None, Some(self.rekicks), None],
        )?;
        row(
            f,
            "calls",
            [None, Some(self.signals), Some(self.call_rings)],
        )?;
        row(
            f,
            "  by the VMM, after a kill",
            [None, Some(self.resignals), None],
        )?;
        row(
            f,
            "interrupts, deliveries",
            [Some(self.interrupts), None, Some(self.deliveries)],
        )?;
        row(f, "  without an answer", [Some(self.empty), None, None])?;
        row(
            f,
            "  of the masked vector",
            [Some(self.while_masked), None, None],
        )?;
        row(f, "masks", [Some(self.masks), None, None])?;
        writeln!(
            f,
            "{} kills of the backend; {} migrations, {} with a pending message",
            self.kills, self.migrations, self.carried
        )?;
        if !self.ended {
            let what = match self.polls {
                true => "polls a pending bit",
                false => "waits for an interrupt",
            };
            let place = self.place.as_deref().unwrap_or_default();
            writeln!(f, "the guest {what}\n  {place}")?;
        }
        if self.uncarried > 0 {
            writeln!(
                f,
                "{} migrations have not saved a message that was pending",
                self.uncarried
            )?;
        }
        if self.wrong + self.unasked > 0 {
            writeln!(
                f,
                "{} wrong answers, {} without a request",
                self.wrong, self.unasked
            )?;
        }
        write!(f, "lost {}, invented {}", self.lost, self.invented)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        let mut report = Report {
            asked: 100,
            ended: true,
            kills: 2,
            posted: 100,
            requests: 100,
            executed: 100,
            repeated: 1,
            kicks: 30,
            kick_rings: 33,
            rekicks: 3,
            signals_begun: 40,
            signals: 39,
            resignals: 2,
            call_rings: 42,
            deliveries: 41,
            interrupts: 40,
            ..Report::default()
        };
        report.judge();
        report
    }

    #[test]
    fn counters_that_agree_pass() {
        assert!(good().passed(), "{}", good());
        // Whether the last signal of a killed backend was sent is not known.
        let mut report = good();
        report.call_rings = 41;
        report.judge();
        assert!(report.passed());
    }

    #[test]
    fn each_counter_that_differs_is_lost_or_invented() {
        let judge = |change: fn(&mut Report)| {
            let mut report = good();
            change(&mut report);
            report.judge();
            (report.lost, report.invented, report.passed())
        };
        assert_eq!(judge(|r| r.requests = 99), (1, 0, false));
        assert_eq!(judge(|r| r.executed = 98), (2, 0, false));
        assert_eq!(judge(|r| r.executed = 101), (0, 1, false));
        assert_eq!(judge(|r| r.wrong = 1), (0, 1, false));
        assert_eq!(judge(|r| r.unasked = 1), (0, 1, false));
        assert_eq!(judge(|r| r.kick_rings = 32), (1, 0, false));
        assert_eq!(judge(|r| r.kick_rings = 34), (0, 1, false));
        assert_eq!(judge(|r| r.rekicks = 2), (0, 1, false));
        assert_eq!(judge(|r| r.deliveries = 43), (0, 1, false));
        assert_eq!(judge(|r| r.pending = 1), (1, 0, false));
        assert_eq!(judge(|r| r.uncarried = 1), (1, 0, false));
        assert_eq!(judge(|r| r.place = Some("x".into())), (0, 0, false));
        assert_eq!(
            judge(|r| (r.call_rings, r.deliveries) = (40, 40)),
            (1, 0, false)
        );
        assert_eq!(judge(|r| r.call_rings = 43), (0, 1, false));
        assert_eq!(judge(|r| r.interrupts = 42), (0, 1, false));
        assert_eq!(judge(|r| r.while_masked = 1), (0, 1, false));
        assert_eq!(judge(|r| r.repeated = 3), (0, 1, false));
        assert_eq!(judge(|r| r.ended = false), (0, 0, false));
        assert_eq!(judge(|r| r.asked = 101), (0, 0, false));
    }

    #[test]
    fn exact_run_has_one_interrupt_for_each_ring() {
        let judge = |deliveries, interrupts| {
            let mut report = Report {
                exact: true,
                deliveries,
                interrupts,
                ..good()
            };
            report.judge();
            (report.lost, report.invented, report.passed())
        };
        assert_eq!(judge(42, 42), (0, 0, true));
        assert_eq!(judge(41, 41), (1, 0, false));
        assert_eq!(judge(42, 41), (1, 0, false));
        assert_eq!(judge(42, 43), (0, 1, false));
    }

    #[test]
    fn json_says_whether_the_run_has_passed() {
        let json = serde_json::to_value(Judged::from(&good())).unwrap();
        assert_eq!(
            (&json["passed"], &json["asked"]),
            (&true.into(), &100.into())
        );
    }

    #[test]
    fn table_fits_a_terminal() {
        let text = good().to_string();
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.ends_with("lost 0, invented 0"));
        assert!(!text.contains("on its way") && !text.contains("wrong"));
        let report = Report {
            ended: false,
            polls: true,
            place: Some("nothing is on its way".into()),
            wrong: u64::MAX,
            interrupts: 1_000_000_000,
            ..good()
        };
        let text = report.to_string();
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("the guest polls a pending bit\n  nothing is on its way\n"));
    }
}
