// SPDX-License-Identifier: GPL-2.0-only

//! The steps of threads and callbacks. [`operations`] has the first step of each operation.

mod operations;

use crate::{
    line::{self, Action, Origin, Owed, Place, Provenance, Reasons, IN_PROGRESS, OWED},
    line_model::LineModel,
    ops::Op,
    state::{insert, Callback, Continuation, Notification, Position, QueryReads, State},
    Rule,
};

impl State {
    /// Takes a message by a compare-exchange. The delivery starts here.
    fn start(&mut self, model: &LineModel) {
        if self.unacked {
            self.fail(Rule::Asserted);
        }
        if !self.wanted(model) {
            self.fail(Rule::Invented);
        }
        if !self.reasons.is_empty() {
            self.fail(Rule::MaskBarrier);
        }
        if self.rests {
            self.fail(Rule::Rate);
        }
        self.rests = self.moderated;
        if model.automask {
            insert(&mut self.reasons, Reasons::AUTO);
        }
        if model.level {
            self.unacked = true;
        } else {
            self.requested = false;
        }
    }

    fn ring(&mut self, model: &LineModel, from: Origin) -> Position {
        let (word, action) = (model.functions.ring)(self.word, from);
        self.word = word;
        self.requested = true;
        self.check_context(action, from);
        self.after_ring(model, action, Continuation::Return)
    }

    /// Checks that a wake callback signals no eventfd. The triggers do not change before it has released the
    /// line.
    pub(crate) fn check_context(&mut self, action: Action, from: Origin) {
        let delivers = matches!(action, Action::Deliver(_));
        if delivers && from != Origin::Caller && !self.waiters {
            self.fail(Rule::Context);
        }
    }

    /// Returns the step that follows a ring, and counts the ring.
    fn after_ring(&mut self, model: &LineModel, action: Action, then: Continuation) -> Position {
        self.rings += 1;
        match action {
            Action::Deliver(_) => {
                self.start(model);
                Position::Count {
                    rounds: model.rounds,
                    then,
                }
            }
            Action::Relay => Position::Queue {
                callback: Callback::Relay,
                pinned: true,
                then,
            },
            Action::Defer => Position::Queue {
                callback: Callback::Defer,
                pinned: true,
                then,
            },
            Action::Coalesce => Position::Coalesced(then),
            Action::Hold { coalesced: true } => Position::Coalesced(then),
            Action::Leave
            | Action::Keep
            | Action::Hold { .. }
            | Action::StartTimer
            | Action::Drop => Position::after(then),
        }
    }

    /// Rings the line. If it holds the ring, the ring is the last that it may hold.
    fn last_ring(&mut self, model: &LineModel) -> Position {
        let (_, action) = (model.functions.ring)(self.word, Origin::Caller);
        let after = self.ring(model, Origin::Caller);
        if let Action::Hold { coalesced } = action {
            self.coalesced += u8::from(coalesced);
            return Position::RemoveTimer;
        }
        after
    }

    /// Removes the timer from its queue. The interval has ended for the rules.
    pub(crate) fn remove_timer(&mut self) {
        self.timer_queued = false;
        self.rests = false;
    }

    /// Ends the interval, at `place`.
    fn expire(&mut self, model: &LineModel) -> Position {
        let (word, action) = (model.functions.expire)(self.word);
        self.word = word;
        let callback = match action {
            Some(Action::Relay) => Callback::Relay,
            Some(Action::Defer) => Callback::Defer,
            _ => return Position::Idle,
        };
        Position::Queue {
            callback,
            pinned: true,
            then: Continuation::Return,
        }
    }

    /// Returns the rest of a MASK whose barrier is complete.
    fn notify(&self, model: &LineModel, newly_masked: bool) -> Continuation {
        if !newly_masked && model.functions.mask_notifies_once {
            return Continuation::Return;
        }
        Continuation::Notify(Notification {
            event: true,
            resample: false,
        })
    }

    /// Returns the rest of an operation that has released the line.
    fn after_release(&mut self, model: &LineModel, then: Continuation) -> Continuation {
        match then {
            Continuation::Masked {
                reason,
                newly_masked,
            } => {
                if let Some(reason) = reason {
                    insert(&mut self.returned, reason);
                }
                self.notify(model, newly_masked)
            }
            then => then,
        }
    }

    /// Executes the step `at`, as the owner of the line if the step is the owner's. Returns the next
    /// step, or [`None`] if this one has to wait. `place` is the context that the step runs in.
    pub(crate) fn step(
        &mut self,
        model: &LineModel,
        at: Position,
        place: Place,
    ) -> Option<Position> {
        let functions = &model.functions;
        let rounds = model.rounds;
        Some(match at {
            Position::Idle => return None,
            Position::Coalesced(then) => {
                self.coalesced += 1;
                Position::after(then)
            }
            Position::Queue { callback, then, .. } => {
                self.queue(callback);
                Position::after(then)
            }
            Position::ChangeWord(op) => {
                let hops = if op == Op::Wake { 0 } else { line::RELAY_LIMIT };
                match self.ring(model, Origin::Wake(Provenance::new(hops, false))) {
                    Position::Queue { .. } => Position::Idle,
                    other => other,
                }
            }
            Position::MaskWaits {
                newly_masked,
                reason,
            } => {
                self.claim(model)?;
                Position::Release {
                    rounds,
                    then: Continuation::Masked {
                        reason,
                        newly_masked,
                    },
                }
            }
            Position::Notify {
                notification,
                again,
            } => {
                self.unnotified -= i8::from(notification.event);
                self.unsignalled -= i8::from(notification.resample);
                if !again {
                    Position::Idle
                } else if functions.ack_notifies_first {
                    Position::AssertAgain { relayed: false }
                } else {
                    Position::Take
                }
            }
            Position::AssertAgain { relayed } => self.assert_again(model, relayed),
            Position::Settle(owed) => {
                self.unnotified -= i8::from(owed.ack) + i8::from(owed.unmask);
                self.unsignalled -= i8::from(owed.resample);
                if owed.ack {
                    Position::AssertAgain { relayed: true }
                } else {
                    Position::Idle
                }
            }
            Position::TakeMessage => {
                let (word, action) = (functions.take_message)(self.word);
                self.word = word;
                self.after_take(model, action, Continuation::Return)
            }
            Position::TakeOwed if self.word & OWED != 0 => self.take(model),
            Position::TakeOwed => Position::Idle,
            Position::Restore { saved } => {
                self.claim(model)?;
                let (word, coalesced) = (functions.restore)(self.word, saved);
                self.word = word;
                // Saved between an ack and the next message of the level, which counts as a ring.
                self.rings += u8::from(line::is_in_ack(saved));
                self.acking = false;
                self.coalesced += u8::from(coalesced);
                Position::Release {
                    rounds,
                    then: Continuation::Return,
                }
            }
            Position::Drop { rounds, then } => {
                self.dropped += 1;
                Position::Release { rounds, then }
            }
            Position::RemoveTimer if self.timer_queued => {
                self.remove_timer();
                Position::Expire
            }
            // The interval has ended, or another thread ends it.
            Position::RemoveTimer if functions.removes_timer => Position::Idle,
            Position::RemoveTimer | Position::Expire => self.expire(model),
            Position::StartTimer { rounds, then, .. } => {
                self.timer_queued = functions.starts_timer;
                Position::Release { rounds, then }
            }
            Position::CancelTimer { moderated } => {
                // It waits for the timer's interrupt.
                if self.expiry == Position::Expire {
                    return None;
                }
                let removed = self.timer_queued;
                if removed {
                    self.remove_timer();
                }
                Position::ChangeModeration { moderated, removed }
            }
            Position::ChangeModeration { moderated, removed } => {
                let (word, done) = (functions.moderate)(self.word, moderated, removed);
                self.word = word;
                // Otherwise the caller tries again, as if it had not begun.
                if done {
                    self.moderated = moderated;
                }
                Position::Release {
                    rounds,
                    then: Continuation::Return,
                }
            }
            Position::Assigning => Position::Release {
                rounds,
                then: Continuation::Return,
            },
            Position::SettingWaiters(waiters) => {
                self.waiters = waiters;
                self.word = (functions.set_waiters)(self.word, waiters).0;
                Position::Release {
                    rounds,
                    then: Continuation::Return,
                }
            }
            Position::Take => self.take(model),
            Position::Count { rounds, then } => {
                self.deliveries += u8::from(functions.counts_deliveries);
                Position::Signal { rounds, then }
            }
            Position::Signal { rounds, then } => Position::Release {
                rounds: rounds + 1,
                then,
            },
            Position::Release { rounds, then } => self.release(model, rounds, then, place),
            Position::Query(reads) => self.query(model, reads),
            Position::QueryWaits(reads) => {
                self.claim(model)?;
                Position::QueryOwns(QueryReads { step: 0, ..reads })
            }
            Position::QueryOwns(mut reads) => {
                if reads.step < 4 {
                    self.read(&mut reads);
                    Position::QueryOwns(reads)
                } else {
                    self.check_query(&reads);
                    Position::Release {
                        rounds,
                        then: Continuation::Return,
                    }
                }
            }
        })
    }

    /// Claims the line. Returns [`None`] if it has an owner.
    fn claim(&mut self, model: &LineModel) -> Option<()> {
        if self.word & IN_PROGRESS != 0 {
            return None;
        }
        self.word = (model.functions.claim)(self.word).0;
        Some(())
    }

    /// Makes the next message of a level that is still raised after its ack.
    fn assert_again(&mut self, model: &LineModel, relayed: bool) -> Position {
        let origin = if relayed {
            Origin::Wake(Provenance::NOTHING)
        } else {
            Origin::Caller
        };
        let (word, action) = (model.functions.assert_again)(self.word, origin);
        self.word = word;
        self.acking = false;
        match action {
            None => Position::Idle,
            // It counts as a ring.
            Some(action) => {
                self.check_context(action, origin);
                self.after_ring(model, action, Continuation::Return)
            }
        }
    }

    fn take(&mut self, model: &LineModel) -> Position {
        let (word, (action, owed)) = if self.word & OWED == 0 {
            let (word, action) = (model.functions.take)(self.word);
            (word, (action, None))
        } else {
            (model.functions.take_all)(self.word)
        };
        self.word = word;
        self.taken(owed);
        let then = owed.map_or(Continuation::Return, Continuation::Settle);
        self.after_take(model, action, then)
    }

    /// Records that a thread or callback has taken the signals that a callback owed.
    fn taken(&mut self, owed: Option<Owed>) {
        let Some(owed) = owed else {
            return;
        };
        // The resamplefds of a line that is masked again wait for the unmask.
        if owed.resample != (self.resample_postponed && self.reasons.is_empty()) {
            self.fail(Rule::Resample);
        }
        self.resample_postponed &= !owed.resample;
        self.unsignalled += i8::from(owed.resample);
    }

    /// Returns the step that follows the attempt of a callback to take a message.
    fn after_take(&mut self, model: &LineModel, action: Action, then: Continuation) -> Position {
        match action {
            Action::Deliver(_) => {
                self.start(model);
                Position::Count {
                    rounds: model.rounds,
                    then,
                }
            }
            _ => Position::after(then),
        }
    }

    /// Releases the line, or delivers the next message.
    fn release(
        &mut self,
        model: &LineModel,
        rounds: u32,
        then: Continuation,
        place: Place,
    ) -> Position {
        let (word, action) = (model.functions.release)(self.word, rounds, place);
        self.word = word;
        match action {
            Action::Deliver(_) => {
                self.start(model);
                return Position::Count { rounds, then };
            }
            Action::Drop => return Position::Drop { rounds, then },
            Action::StartTimer => {
                let pinned = model.functions.timer_start_is_pinned || place == Place::Interrupt;
                return Position::StartTimer {
                    rounds,
                    pinned,
                    then,
                };
            }
            _ => {}
        }
        let then = self.after_release(model, then);
        // An interrupt is not preempted.
        let pinned = model.functions.release_is_pinned || place == Place::Interrupt;
        match action {
            Action::Relay => Position::Queue {
                callback: Callback::Relay,
                pinned,
                then,
            },
            Action::Defer => Position::Queue {
                callback: Callback::Defer,
                pinned,
                then,
            },
            _ => Position::after(then),
        }
    }

    /// Reads the next value for a query.
    fn read(&self, reads: &mut QueryReads) {
        match reads.step {
            0 => reads.deliveries = self.deliveries,
            1 => reads.dropped = self.dropped,
            2 => reads.pending = line::is_rung(self.word),
            _ => reads.coalesced = self.coalesced,
        }
        reads.step += 1;
    }

    /// Executes a step of a query that does not own the line. The query reads all values, then
    /// rereads those that show whether the values are a snapshot.
    fn query(&mut self, model: &LineModel, mut reads: QueryReads) -> Position {
        let step = match (reads.step, model.functions.query_rereads_word_first) {
            (step @ 4..=6, false) => [5, 6, 4][usize::from(step) - 4],
            (step, _) => step,
        };
        let same = match step {
            0..=3 => {
                self.read(&mut reads);
                return Position::Query(reads);
            }
            4 => self.word == reads.before && reads.before & IN_PROGRESS == 0,
            5 => self.deliveries == reads.deliveries,
            _ => self.dropped == reads.dropped,
        };
        reads.step += 1;
        if !same && model.functions.query_rereads {
            return Position::QueryWaits(reads);
        }
        if reads.step <= 6 {
            return Position::Query(reads);
        }
        self.check_query(&reads);
        Position::Idle
    }

    /// Compares the result of a query with the number of rings.
    fn check_query(&mut self, reads: &QueryReads) {
        let sum = reads.deliveries + reads.dropped + reads.coalesced + u8::from(reads.pending);
        if sum < reads.least || sum > self.rings {
            self.fail(Rule::Query);
        }
        self.reported = self.reported.max(sum);
    }
}
