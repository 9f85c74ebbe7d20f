// SPDX-License-Identifier: GPL-2.0-only

//! The first step of each operation, which is its first compare-exchange.

use crate::{
    line::{
        self, Acked, Action, Masked, Origin, Provenance, Reasons, Taken, Unmasked, IN_PROGRESS,
        MASKED,
    },
    line_model::LineModel,
    ops::Op,
    state::{insert, Callback, Continuation, Notification, Position, QueryReads, State},
    Rule,
};

impl State {
    /// Executes the first step of `op`. Returns the next step, or [`None`] if `op` has to wait.
    pub(crate) fn begin(&mut self, model: &LineModel, op: Op) -> Option<Position> {
        Some(match op {
            Op::Ring => self.ring(model, Origin::Caller),
            Op::Wake | Op::FarWake if !model.functions.queues_after_change => {
                self.queue(Callback::Relay);
                Position::ChangeWord(op)
            }
            Op::Wake => self.ring(model, Origin::Wake(Provenance::NOTHING)),
            Op::FarWake => self.ring(
                model,
                Origin::Wake(Provenance::new(line::RELAY_LIMIT, false)),
            ),
            Op::Mask | Op::MaskFunction => self.mask(model, op.reasons()),
            Op::MaskNosync => self.mask_nosync(model, op.reasons()),
            Op::Unmask | Op::UnmaskFunction | Op::UnmaskAuto => {
                return self.unmask(model, op.reasons());
            }
            Op::UnmaskNowait => self.unmask_nowait(model, op.reasons()),
            Op::CallbackUnmask => self.unmask_relayed(model, op.reasons()),
            Op::Clear => return self.clear(model),
            Op::Raise => self.raise(model, Origin::Caller),
            Op::WakeRaise => self.raise(model, Origin::Wake(Provenance::NOTHING)),
            Op::LastRing => self.last_ring(model),
            Op::Moderate | Op::Unmoderate => {
                self.claim(model)?;
                Position::CancelTimer {
                    moderated: op == Op::Moderate,
                }
            }
            Op::Lower => self.lower(model),
            Op::Ack => self.ack(model),
            Op::Unmaskfd | Op::FarUnmaskfd | Op::Ackfd | Op::AckUnmaskfd => self.reply(model, op),
            Op::Save => {
                let (word, owed) = (model.functions.take_owed)(self.word);
                self.word = word;
                self.taken(owed);
                owed.map_or(Position::Idle, Position::Settle)
            }
            Op::Migrate => self.migrate(model),
            Op::Assign => {
                self.claim(model)?;
                Position::Assigning
            }
            Op::Waiters => {
                let waiters = !self.waiters;
                self.claim(model)?;
                Position::SettingWaiters(waiters)
            }
            Op::Query => Position::Query(QueryReads {
                // Later queries must not report less.
                least: (self.rings - self.uncounted()).max(self.reported),
                before: self.word,
                ..Default::default()
            }),
        })
    }

    /// Saves the line, and ends its context with its callbacks. The line of the next context is masked.
    fn migrate(&mut self, model: &LineModel) -> Position {
        let (saved, owed) = (model.functions.save)(self.word);
        self.taken(owed);
        if let Some(owed) = owed {
            self.unnotified -= i8::from(owed.ack) + i8::from(owed.unmask);
            self.unsignalled -= i8::from(owed.resample);
        }
        self.word = Reasons::VECTOR.masked();
        self.relays = [Position::Idle; 2];
        self.defer = Position::Idle;
        (self.relay_queued, self.defer_queued) = (false, false);
        Position::Restore { saved }
    }

    fn raise(&mut self, model: &LineModel, from: Origin) -> Position {
        let (word, action) = (model.functions.raise)(self.word, from);
        self.word = word;
        let Some(action) = action else {
            return Position::Idle;
        };
        self.raised = true;
        self.check_context(action, from);
        self.after_ring(model, action, Continuation::Return)
    }

    fn mask(&mut self, model: &LineModel, reason: Reasons) -> Position {
        let masked = self.set_mask(model, reason);
        if masked.busy && model.functions.mask_waits {
            return Position::MaskWaits {
                newly_masked: masked.newly,
                reason: Some(reason),
            };
        }
        insert(&mut self.returned, reason);
        Position::after(self.notify(model, masked.newly))
    }

    fn mask_nosync(&mut self, model: &LineModel, reason: Reasons) -> Position {
        let masked = self.set_mask(model, reason);
        Position::after(self.notify(model, masked.newly))
    }

    fn set_mask(&mut self, model: &LineModel, reason: Reasons) -> Masked {
        let (word, masked) = (model.functions.mask)(self.word, reason);
        self.word = word;
        self.unnotified += i8::from(masked.newly);
        insert(&mut self.reasons, reason);
        masked
    }

    fn unmask(&mut self, model: &LineModel, reason: Reasons) -> Option<Position> {
        let (word, taken) = (model.functions.unmask)(self.word, reason);
        let done = match taken {
            Taken::Busy => return None,
            Taken::Nothing => None,
            Taken::Done { message, resample } => Some(Unmasked { message, resample }),
        };
        Some(self.after_unmask(model, word, reason, done))
    }

    fn unmask_nowait(&mut self, model: &LineModel, reason: Reasons) -> Position {
        let (word, done) = (model.functions.unmask_nowait)(self.word, reason);
        self.after_unmask(model, word, reason, done)
    }

    fn unmask_relayed(&mut self, model: &LineModel, reason: Reasons) -> Position {
        let relays = Provenance::new(1, false);
        let (word, done) = (model.functions.unmask_relayed)(self.word, reason, relays);
        if word & !self.word & IN_PROGRESS != 0 {
            self.fail(Rule::State);
        }
        self.word = word;
        self.end_mask(reason);
        let Some((done, action)) = done else {
            return Position::Idle;
        };
        let then = Continuation::Notify(self.unmasked(done.resample));
        let callback = match action {
            Some(Action::Relay) => Callback::Relay,
            Some(Action::Defer) => Callback::Defer,
            _ => return Position::after(then),
        };
        Position::Queue {
            callback,
            pinned: true,
            then,
        }
    }

    /// Records that the mask for `ended` has ended.
    fn end_mask(&mut self, ended: Reasons) {
        self.reasons.retain(|reason| *reason != ended);
        self.returned.retain(|reason| *reason != ended);
        for thread in &mut self.threads {
            match &mut thread.at {
                Position::MaskWaits { reason, .. }
                | Position::Count {
                    then: Continuation::Masked { reason, .. },
                    ..
                }
                | Position::Signal {
                    then: Continuation::Masked { reason, .. },
                    ..
                }
                | Position::Drop {
                    then: Continuation::Masked { reason, .. },
                    ..
                }
                | Position::StartTimer {
                    then: Continuation::Masked { reason, .. },
                    ..
                }
                | Position::Release {
                    then: Continuation::Masked { reason, .. },
                    ..
                } if *reason == Some(ended) => *reason = None,
                _ => {}
            }
        }
    }

    /// Records that the line is unmasked. Returns the notification of the caller.
    fn unmasked(&mut self, resample: bool) -> Notification {
        self.unnotified += 1;
        if !self.reasons.is_empty() {
            self.fail(Rule::Notify);
        }
        // The unmask signals the resamplefds exactly if an ack has postponed that.
        if resample != self.resample_postponed {
            self.fail(Rule::Resample);
        }
        self.resample_postponed = false;
        self.unsignalled += i8::from(resample);
        Notification {
            event: true,
            resample,
        }
    }

    /// Stores the `word` after an unmask for `reason`, which has unmasked the line or not. Returns the
    /// step that follows.
    fn after_unmask(
        &mut self,
        model: &LineModel,
        word: u32,
        reason: Reasons,
        done: Option<Unmasked>,
    ) -> Position {
        let claims = word & !self.word & IN_PROGRESS != 0;
        self.word = word;
        self.end_mask(reason);
        let Some(done) = done else {
            return Position::Idle;
        };
        let notification = self.unmasked(done.resample);
        let (rounds, then) = (model.rounds, Continuation::Notify(notification));
        if !claims {
            Position::after(then)
        } else if done.message.is_some() {
            self.start(model);
            Position::Count { rounds, then }
        } else {
            Position::Release { rounds, then }
        }
    }

    fn clear(&mut self, model: &LineModel) -> Option<Position> {
        let (word, taken) = (model.functions.clear)(self.word);
        let resample = match taken {
            Taken::Busy => return None,
            Taken::Nothing => return Some(Position::Idle),
            Taken::Done { resample, .. } => resample,
        };
        if !self.wanted(model) {
            self.fail(Rule::Pending);
        }
        self.word = word;
        self.requested = false;
        if model.level {
            self.deasserted(resample);
        }
        Some(Position::Drop {
            rounds: model.rounds,
            then: Continuation::Notify(Notification {
                event: false,
                resample,
            }),
        })
    }

    fn lower(&mut self, model: &LineModel) -> Position {
        let (word, withdrawn) = (model.functions.lower)(self.word);
        let claims = word & !self.word & IN_PROGRESS != 0;
        self.word = word;
        (self.raised, self.acking) = (false, false);
        if claims && withdrawn == Some(true) {
            Position::Drop {
                rounds: model.rounds,
                then: Continuation::Return,
            }
        } else {
            Position::Idle
        }
    }

    fn ack(&mut self, model: &LineModel) -> Position {
        let functions = &model.functions;
        let (word, acked) = (functions.ack)(self.word);
        let Some(Acked::Done { resample, again }) = acked else {
            return Position::Idle;
        };
        if !self.unacked {
            self.fail(Rule::Asserted);
        }
        self.word = word;
        self.deasserted(resample);
        self.unnotified += 1;
        self.acking = again;
        if again && !functions.ack_notifies_first {
            let (word, _) = (functions.assert_again)(self.word, Origin::Wake(Provenance::NOTHING));
            self.word = word;
            self.acking = false;
            self.rings += 1;
        }
        Position::Notify {
            notification: Notification {
                event: true,
                resample,
            },
            again,
        }
    }

    /// Applies a signal to an unmaskfd or ackfd. A callback owes the signals to notifiers and resamplefds.
    fn reply(&mut self, model: &LineModel, op: Op) -> Position {
        let hops = match op {
            Op::FarUnmaskfd => line::RELAY_LIMIT,
            _ => 0,
        };
        let (reply, provenance) = (op.reply(), Provenance::new(hops, false));
        let owed = self.word & line::OWED;
        let acks = reply.ack && model.level && self.unacked;
        let unmasks = reply.unmask && *self.reasons == [Reasons::AUTO];
        let (word, replied) = (model.functions.reply)(self.word, reply, true, provenance);
        let fresh = line::OWED & word & !owed;
        self.word = word;
        if reply.unmask {
            self.end_mask(Reasons::AUTO);
        }
        if unmasks != replied.unmasked.is_some() {
            self.fail(Rule::State);
        }
        let acked = match replied.acked {
            Some(Acked::Done { again, .. }) => {
                self.acking = again;
                (self.requested, self.unacked) = (false, false);
                self.resample_postponed = true;
                true
            }
            _ => false,
        };
        if acks != acked {
            self.fail(Rule::Asserted);
        }
        // Transitions that come before the callback share one signal.
        self.unnotified += fresh.count_ones() as i8;
        if (acked || unmasks) && word & line::OWED == 0 {
            self.fail(Rule::Notify);
        }
        let (callback, then) = match replied.action {
            Some(Action::Relay) => (Callback::Relay, Continuation::Return),
            Some(Action::Defer) => (Callback::Defer, Continuation::Return),
            _ => return Position::Idle,
        };
        Position::Queue {
            callback,
            pinned: true,
            then,
        }
    }

    /// Records that the line is no longer asserted. `resample` says that the caller signals the
    /// resamplefds now; otherwise the unmask will.
    fn deasserted(&mut self, resample: bool) {
        (self.requested, self.unacked) = (false, false);
        if resample == (self.word & MASKED != 0) {
            self.fail(Rule::Resample);
        }
        if resample {
            self.unsignalled += 1;
        } else {
            self.resample_postponed = true;
        }
    }
}
