// SPDX-License-Identifier: GPL-2.0-only

//! The invariants of the line model.

use crate::{
    line::{
        self, ASSERTED, HELD, IN_PROGRESS, LEVEL, MASKED, MODERATED, OWED, RAISED, REASONS,
        RESAMPLE, WAITERS,
    },
    line_model::LineModel,
    ops::Op,
    state::{Position, State},
    Rule,
};
use stateright::Model;

impl State {
    /// Checks the invariants of every state.
    pub(crate) fn check_invariants(&mut self, model: &LineModel) {
        let owners = self.positions().filter(|at| at.owns_line()).count();
        if owners != usize::from(self.word & IN_PROGRESS != 0) {
            self.fail(Rule::Owner);
        }
        if !self.returned.is_empty() && self.positions().any(Position::delivers) {
            self.fail(Rule::MaskBarrier);
        }
        if self.is_migrating() {
            // The word is not that of the line, but of its future one.
            return;
        }
        let reasons = self.reasons.iter();
        let masked = reasons.fold(0, |bits, reason| bits | reason.masked());
        if self.word & (MASKED | REASONS) != masked {
            self.fail(Rule::State);
        }
        if (self.word & MODERATED != 0) != self.moderated {
            self.fail(Rule::State);
        }
        if self.pending() && !self.wanted(model) {
            self.fail(Rule::Pending);
        }
        if !self.is_prompt() {
            self.fail(Rule::Prompt);
        }
        if model.level {
            self.check_level(model);
        }
        if (self.word & WAITERS != 0) != self.waiters {
            self.fail(Rule::State);
        }
        if !self.has_step() {
            let mut moves = Vec::new();
            model.actions(self, &mut moves);
            if moves.is_empty() {
                self.check_end(model);
            }
        }
    }

    /// Checks that the step from the word `before` has kept the relays of the signals that the callback owes, if
    /// it has kept the signals.
    pub(crate) fn check_relays(&mut self, before: u32) {
        let hops = |word| match line::take_owed(word).1 {
            Some(owed) => owed.provenance.hops(),
            None => 0,
        };
        if before & OWED & !self.word == 0 && hops(self.word) < hops(before) {
            self.fail(Rule::State);
        }
    }

    /// Returns true if a step is certain to follow: a callback runs or is queued, or a thread is in a call
    /// and waits for nothing. It is cheaper than the list of all moves.
    fn has_step(&self) -> bool {
        let runs = |at: &Position| {
            !matches!(
                at,
                Position::Idle
                    | Position::MaskWaits { .. }
                    | Position::QueryWaits(_)
                    | Position::CancelTimer { .. }
            )
        };
        self.relay_queued
            || self.defer_queued
            || self.timer_queued
            || self.threads.iter().any(|thread| runs(&thread.at))
            || self.relays.iter().any(runs)
    }

    /// Compares the word of a level line with the truth.
    fn check_level(&mut self, model: &LineModel) {
        if self.pending() != self.wanted(model) {
            self.fail(Rule::Pending);
        }
        for (bit, expected) in [
            (LEVEL, true),
            (ASSERTED, self.requested || self.unacked),
            (RAISED, self.raised),
            (RESAMPLE, self.resample_postponed),
        ] {
            if (self.word & bit != 0) != expected {
                self.fail(Rule::State);
            }
        }
        if self.resample_postponed && self.word & (MASKED | OWED) == 0 {
            self.fail(Rule::Resample);
        }
    }

    /// Checks the invariants of a state without a next step.
    fn check_end(&mut self, model: &LineModel) {
        if self.positions().any(|at| at != Position::Idle) || self.acking {
            self.fail(Rule::Stuck);
        }
        if self.word & HELD != 0 {
            self.fail(Rule::Lost);
        }
        if self.wanted(model) && !(self.pending() && self.word & MASKED != 0) {
            self.fail(Rule::Lost);
        }
        let rung = u8::from(line::is_rung(self.word));
        if self.deliveries + self.coalesced + self.dropped + rung != self.rings {
            self.fail(Rule::Count);
        }
        if self.unnotified != 0 {
            self.fail(Rule::Notify);
        }
        if self.unsignalled != 0 {
            self.fail(Rule::Resample);
        }
    }

    /// Merges states that behave alike: sorts threads and callbacks, and drops counters that no query
    /// will read.
    pub(crate) fn normalise(&mut self, model: &LineModel) {
        self.threads.sort_unstable();
        self.relays.sort_unstable();
        if !model.ops.contains(&Op::Query) {
            let counted = self.deliveries + self.coalesced + self.dropped;
            if counted <= self.rings {
                self.rings -= counted;
                (self.deliveries, self.coalesced, self.dropped) = (0, 0, 0);
            }
        }
    }
}
