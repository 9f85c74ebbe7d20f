// SPDX-License-Identifier: GPL-2.0-only

//! The model of a resamplefd that is removed from a line while an ackfd acks it.
//!
//! It mirrors `Context::deassign_irqfd()` of rust/irqfd.rs and `Context::settle()` of rust/context.rs with
//! the transitions of [`line`](crate::line). The owner of the context removes a resamplefd, with a mask before
//! or without, and saves the line. Each ack has its signal, or the record says that it is due.

use crate::{
    all_rules_hold,
    line::{self, Acked, Origin, Owed, Place, Provenance, Reasons, Reply, IN_PROGRESS, LEVEL},
    ModelState, Rule,
};
use stateright::{Model, Property};

/// The steps by which the owner removes the resamplefd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The number of messages that are sent and acked.
    pub messages: u8,
    /// The owner masks the line first, as before a snapshot.
    pub masks: bool,
    /// The owner takes the signals that the callback owes, and sends them.
    pub takes: bool,
    /// The owner waits for a callback that has taken them already.
    pub waits: bool,
    /// The owner takes them before it waits. Otherwise they can come in between.
    pub takes_first: bool,
}

/// The module's steps.
pub const REAL: Removal = Removal {
    messages: 2,
    masks: true,
    takes: true,
    waits: true,
    takes_first: true,
};

/// Returns the models to explore.
pub fn scenarios() -> [(&'static str, Removal); 2] {
    [
        (
            "a resamplefd is removed after a mask, 2 messages are acked by an ackfd",
            REAL,
        ),
        (
            "the same without a mask",
            Removal {
                masks: false,
                ..REAL
            },
        ),
    ]
}

/// Signals that were taken from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Taken {
    owed: Owed,
    /// As [`State::late`].
    late: bool,
}

/// The next step of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Owner {
    Mask,
    Take,
    /// Sends what it has taken.
    Send(Taken),
    Wait,
    Remove,
    Save,
    Done,
}

/// The irq_work, or the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Callback {
    Idle,
    Queued,
    /// It has taken the signals, and sends them next.
    Running(Taken),
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    word: u32,
    messages: u8,
    owner: Owner,
    callback: Callback,
    /// The resamplefd is on the line's list.
    assigned: bool,
    /// An ack has had no signal, and neither the owner nor a callback has taken it.
    due: bool,
    /// The owner had begun before these acks came. Without a mask, such acks need no signal.
    late: bool,
    violation: Option<Rule>,
}

impl ModelState for State {
    fn violation(&self) -> Option<Rule> {
        self.violation
    }
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A source sends a message.
    Ring,
    /// The ackfd is signalled.
    Ack,
    /// The callback runs, or goes on.
    Call,
    /// The owner makes its next step.
    Advance,
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.violation.get_or_insert(rule);
    }

    fn queue(&mut self) {
        if self.callback == Callback::Idle {
            self.callback = Callback::Queued;
        }
    }

    fn ring(&mut self) {
        self.messages -= 1;
        self.word = line::ring(self.word, Origin::Caller).0;
        self.release();
    }

    /// Releases the line as its owner does, and delivers what is pending.
    fn release(&mut self) {
        while self.word & IN_PROGRESS != 0 {
            self.word = line::release(self.word, 0, Place::Caller).0;
        }
    }

    fn ack(&mut self) {
        let reply = Reply {
            ack: true,
            unmask: false,
        };
        let (word, replied) = line::reply(self.word, reply, true, Provenance::NOTHING);
        self.word = word;
        if matches!(replied.acked, Some(Acked::Done { .. })) {
            self.late = self.owner > Owner::Take && (self.late || !self.due);
            self.due = true;
        }
        if replied.action.is_some() {
            self.queue();
        }
    }

    /// Takes the signals that are owed, by `taken`.
    fn took(&mut self, taken: Option<Owed>) -> Option<Taken> {
        let owed = taken?;
        let late = self.late;
        if owed.resample && !std::mem::take(&mut self.due) {
            self.fail(Rule::Resample);
        }
        Some(Taken { owed, late })
    }

    fn send(&mut self, model: &Removal, taken: Taken) {
        let unneeded = taken.late && !model.masks;
        if taken.owed.resample && !self.assigned && !unneeded {
            self.fail(Rule::Resample);
        }
    }

    fn call(&mut self, model: &Removal) {
        self.callback = match self.callback {
            Callback::Running(taken) => {
                self.send(model, taken);
                Callback::Idle
            }
            _ => {
                let (word, (_, owed)) = line::take_all(self.word);
                self.word = word;
                self.release();
                self.took(owed).map_or(Callback::Idle, Callback::Running)
            }
        };
    }

    fn advance(&mut self, model: &Removal) {
        self.owner = match self.owner {
            Owner::Mask => {
                if model.masks {
                    self.word = line::mask(self.word, Reasons::VECTOR).0;
                }
                match (model.takes, model.waits) {
                    (_, true) if !model.takes_first => Owner::Wait,
                    (true, _) => Owner::Take,
                    (false, true) => Owner::Wait,
                    (false, false) => Owner::Remove,
                }
            }
            Owner::Take => {
                let (word, owed) = line::take_owed(self.word);
                self.word = word;
                let then = if model.waits && model.takes_first {
                    Owner::Wait
                } else {
                    Owner::Remove
                };
                match self.took(owed) {
                    // The wait follows.
                    Some(taken) if then == Owner::Wait => Owner::Send(taken),
                    Some(taken) => {
                        self.send(model, taken);
                        then
                    }
                    None => then,
                }
            }
            Owner::Send(taken) => {
                self.send(model, taken);
                Owner::Wait
            }
            Owner::Wait if model.takes_first || !model.takes => Owner::Remove,
            Owner::Wait => Owner::Take,
            Owner::Remove => {
                self.assigned = false;
                Owner::Save
            }
            Owner::Save => {
                let recorded = self.word & line::SAVED & line::RESAMPLE != 0;
                if recorded && !self.due || !recorded && self.due && model.masks {
                    self.fail(Rule::Resample);
                }
                Owner::Done
            }
            Owner::Done => Owner::Done,
        };
    }
}

impl Model for Removal {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            word: LEVEL,
            messages: self.messages,
            owner: Owner::Mask,
            callback: Callback::Idle,
            assigned: true,
            due: false,
            late: false,
            violation: None,
        }]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.violation.is_some() || state.owner == Owner::Done {
            return;
        }
        if state.messages > 0 {
            moves.push(Move::Ring);
        }
        moves.push(Move::Ack);
        if state.callback != Callback::Idle {
            moves.push(Move::Call);
        }
        // The wait is for a callback that runs, not for one that is queued.
        let waits = state.owner == Owner::Wait;
        if !waits || !matches!(state.callback, Callback::Running(_)) {
            moves.push(Move::Advance);
        }
    }

    fn next_state(&self, state: &State, step: Move) -> Option<State> {
        let mut next = state.clone();
        match step {
            Move::Ring => next.ring(),
            Move::Ack => next.ack(),
            Move::Call => next.call(self),
            Move::Advance => next.advance(self),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        all_rules_hold()
    }
}
