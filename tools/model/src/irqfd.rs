// SPDX-License-Identifier: GPL-2.0-only

//! The model of an irqfd that is attached to an eventfd and detached again, while others write.
//!
//! It mirrors rust/kernel_ext/eventfd/listener.rs, which needs the kernel's eventfds and cannot be compiled
//! here. All that happens under one hold of the wait-queue lock is one step.

use crate::{all_rules_hold, ModelState, Rule};
use stateright::{Model, Property};

/// The order of the steps of a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// Removes the entry and consumes the counter under one hold of the lock, then rings.
    AtOnce,
    /// Reads the counter without a ring, then removes the entry.
    ReadThenRemove,
    /// Removes the entry, then reads the counter without a ring.
    RemoveThenRead,
}

/// The order of the steps of an attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// Adds the entry and consumes the counter under one hold of the lock, then rings.
    AtOnce,
    /// Consumes the counter, then adds the entry.
    ConsumeThenAdd,
}

/// An eventfd with its writers, and an irqfd that is attached and detached.
#[derive(Clone)]
pub struct Irqfd {
    /// The eventfd has EFD_SEMAPHORE.
    pub semaphore: bool,
    /// The number of writers. Each writes once.
    pub writers: u8,
    /// The number of times that the irqfd is attached and detached.
    pub rounds: u8,
    /// The wake callback consumes the counter.
    pub consumes: bool,
    /// The order of an attach.
    pub attach: Attach,
    /// The order of a detach.
    pub detach: Detach,
}

/// The module's irqfd.
pub const REAL: Irqfd = Irqfd {
    semaphore: false,
    writers: 3,
    rounds: 2,
    consumes: true,
    attach: Attach::AtOnce,
    detach: Detach::AtOnce,
};

/// Returns the models to explore.
pub fn scenarios() -> [(&'static str, Irqfd); 2] {
    [
        ("irqfd: attached twice, detached twice, 3 signals", REAL),
        (
            "the same with EFD_SEMAPHORE",
            Irqfd {
                semaphore: true,
                ..REAL
            },
        ),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Detached,
    /// The counter was consumed; the entry has not been added. Only a mutant is here.
    Adding,
    /// The counter was read; the entry has not been removed. Only a mutant is here.
    Removing,
    /// The entry was removed; the counter has not been read. Only a mutant is here.
    Reading,
    Attached,
    /// The counter was consumed; the ring follows.
    Ringing {
        attached: bool,
    },
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    at: At,
    /// The number of attaches that follow.
    rounds: u8,
    writers: u8,
    entry_added: bool,
    counter: u8,
    /// The signals in the counter that have not rung yet. The others have, but were not consumed.
    unrung: u8,
    /// All signals of the ring that follows have rung before.
    rung_before: bool,
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
    /// A writer adds one to the counter, which calls the wake callback.
    Write,
    /// An attach or a detach begins or continues.
    Advance,
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.violation.get_or_insert(rule);
    }

    /// Consumes the counter, as `eventfd_ctx_do_read()` does. Returns the number of signals, and the
    /// number of those that have not rung.
    fn read(&mut self, model: &Irqfd) -> (u8, u8) {
        let count = if model.semaphore {
            self.counter.min(1)
        } else {
            self.counter
        };
        let unrung = self.unrung.min(count);
        self.counter -= count;
        self.unrung -= unrung;
        (count, unrung)
    }

    fn write(&mut self, model: &Irqfd) {
        self.writers -= 1;
        self.counter += 1;
        self.unrung += 1;
        if !self.entry_added {
            return;
        }
        if model.consumes {
            let (count, unrung) = self.read(model);
            if count != 0 && unrung == 0 {
                self.fail(Rule::Invented);
            }
        } else {
            // The callback rings, but does not consume the counter.
            self.unrung -= 1;
        }
    }

    /// Consumes the counter. The ring follows as a separate step.
    fn consume(&mut self, model: &Irqfd, attached: bool) {
        let (count, unrung) = self.read(model);
        self.rung_before = count != 0 && unrung == 0;
        self.at = if count == 0 {
            Self::settled(attached)
        } else {
            At::Ringing { attached }
        };
    }

    fn settled(attached: bool) -> At {
        if attached {
            At::Attached
        } else {
            At::Detached
        }
    }

    /// Reads the counter without a ring.
    fn discard(&mut self, model: &Irqfd) {
        let (_, unrung) = self.read(model);
        if unrung != 0 {
            self.fail(Rule::Lost);
        }
    }

    fn advance(&mut self, model: &Irqfd) {
        match self.at {
            At::Detached => {
                self.rounds -= 1;
                match model.attach {
                    Attach::AtOnce => {
                        self.entry_added = true;
                        self.consume(model, true);
                    }
                    Attach::ConsumeThenAdd => {
                        self.read(model);
                        self.at = At::Adding;
                    }
                }
            }
            At::Adding => {
                self.entry_added = true;
                self.at = At::Attached;
            }
            At::Attached => match model.detach {
                Detach::AtOnce => {
                    self.entry_added = false;
                    self.consume(model, false);
                }
                Detach::ReadThenRemove => {
                    self.discard(model);
                    self.at = At::Removing;
                }
                Detach::RemoveThenRead => {
                    self.entry_added = false;
                    self.at = At::Reading;
                }
            },
            At::Removing => {
                self.entry_added = false;
                self.at = At::Detached;
            }
            At::Reading => {
                self.discard(model);
                self.at = At::Detached;
            }
            At::Ringing { attached } => {
                if self.rung_before {
                    self.fail(Rule::Invented);
                }
                self.rung_before = false;
                self.at = Self::settled(attached);
            }
        }
    }
}

impl Model for Irqfd {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        // The counter can have a value before the first attach.
        (0..=2)
            .map(|counter| State {
                at: At::Detached,
                rounds: self.rounds,
                writers: self.writers,
                entry_added: false,
                counter,
                unrung: counter,
                rung_before: false,
                violation: None,
            })
            .collect()
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.violation.is_some() {
            return;
        }
        if state.writers > 0 {
            moves.push(Move::Write);
        }
        // The last round can end attached.
        if state.at != At::Detached || state.rounds > 0 {
            moves.push(Move::Advance);
        }
    }

    fn next_state(&self, state: &State, step: Move) -> Option<State> {
        let mut next = state.clone();
        match step {
            Move::Write => next.write(self),
            Move::Advance => next.advance(self),
        }
        // Without EFD_SEMAPHORE, a signal that stays in the counter while attached never rings.
        if next.at == At::Attached && !self.semaphore && next.unrung != 0 {
            next.fail(Rule::Lost);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        all_rules_hold()
    }
}
