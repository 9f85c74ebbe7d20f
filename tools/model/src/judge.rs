// SPDX-License-Identifier: GPL-2.0-only

//! What must be true of a line and its users.

use crate::{
    line::{self, ASSERTED, HELD, LEVEL, MASKED, RAISED, RESAMPLE},
    ops::Op,
    state::{At, State},
    wiring::Wiring,
    Rule,
};
use stateright::Model;

impl State {
    /// What must be true of every state.
    pub(crate) fn judge(&mut self, model: &Wiring) {
        let holders = self.everybody().filter(|at| at.holds()).count();
        if holders != usize::from(self.word & HELD != 0) {
            self.fail(Rule::Holder);
        }
        if self.quiet && self.everybody().any(At::delivers) {
            self.fail(Rule::MaskBarrier);
        }
        if self.pending() && !self.wanted(model) {
            self.fail(Rule::Pending);
        }
        if !self.is_prompt() {
            self.fail(Rule::Prompt);
        }
        if model.level {
            self.judge_level(model);
        }
        let mut moves = Vec::new();
        model.actions(self, &mut moves);
        if moves.is_empty() {
            self.judge_end(model);
        }
    }

    /// What the word of a level line says must be so.
    fn judge_level(&mut self, model: &Wiring) {
        if self.pending() != self.wanted(model) {
            self.fail(Rule::Pending);
        }
        for (bit, is) in [
            (LEVEL, true),
            (ASSERTED, self.fresh || self.active),
            (RAISED, self.raised),
            (RESAMPLE, self.owed),
        ] {
            if (self.word & bit != 0) != is {
                self.fail(Rule::State);
            }
        }
        if self.owed && self.word & MASKED == 0 {
            self.fail(Rule::Resample);
        }
    }

    /// What must be true when nobody can do anything any more.
    fn judge_end(&mut self, model: &Wiring) {
        if self.everybody().any(|at| at != At::Idle) || self.acking {
            self.fail(Rule::Stuck);
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
        if self.untold != 0 {
            self.fail(Rule::Resample);
        }
    }

    /// Forgets what can make no difference any more, so that states that differ in it only are one.
    pub(crate) fn normalise(&mut self, model: &Wiring) {
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
