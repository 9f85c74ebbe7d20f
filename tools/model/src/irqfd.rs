// SPDX-License-Identifier: GPL-2.0-only

//! An eventfd, those who write to it, and somebody who attaches and detaches an irqfd.
//!
//! This mirrors rust/kernel_ext/eventfd.rs, which works on the kernel's own eventfds and cannot be
//! compiled here: what is done in one hold of the wait-queue lock is one step.

use crate::{the_rules_hold, Judged, Rule};
use stateright::{Model, Property};

/// How a detach goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// In one hold of the lock; what was in the counter is rung.
    AtOnce,
    /// As the seed of all this had it first: the counter is read and forgotten, then the entry goes.
    ReadThenRemove,
    /// And the other way round.
    RemoveThenRead,
}

/// How an attach goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// In one hold of the lock; what was in the counter is rung.
    AtOnce,
    /// The counter is taken, then the entry is added.
    TakeThenAdd,
}

/// An eventfd with its writers, and an irqfd that comes and goes.
#[derive(Clone)]
pub struct Irqfd {
    /// EFD_SEMAPHORE.
    pub semaphore: bool,
    /// How many writers write once.
    pub writers: u8,
    /// How often it is attached, and detached again.
    pub rounds: u8,
    /// The callback takes the counter.
    pub consumes: bool,
    /// How it is attached.
    pub attach: Attach,
    /// How it is detached.
    pub detach: Detach,
}

/// As the module has it.
pub const REAL: Irqfd = Irqfd {
    semaphore: false,
    writers: 3,
    rounds: 2,
    consumes: true,
    attach: Attach::AtOnce,
    detach: Detach::AtOnce,
};

/// What is walked through.
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
    /// What was taken is yet to be rung, and the entry yet to be added (broken).
    Adding,
    /// Between the two halves of a detach (broken).
    Removing,
    Reading,
    Attached,
    /// What was taken is yet to be rung; then it is attached, or not.
    Ringing {
        attached: bool,
    },
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    at: At,
    /// Attaches to come.
    rounds: u8,
    writers: u8,
    listening: bool,
    counter: u8,
    /// Of the counter: signals that have not rung yet. The others have, and are there all the same.
    unrung: u8,
    /// What was taken and is yet to be rung has rung before, all of it.
    taken_before: bool,
    broken: Option<Rule>,
}

impl Judged for State {
    fn broken(&self) -> Option<Rule> {
        self.broken
    }
}

/// Who makes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Somebody writes one to the eventfd; the callback is part of that.
    Write,
    /// An attach or a detach begins or goes on.
    Go,
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.broken.get_or_insert(rule);
    }

    /// `eventfd_ctx_do_read()`: how many signals, and how many of those have not rung.
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
        if !self.listening {
            return;
        }
        if model.consumes {
            let (count, unrung) = self.read(model);
            if count != 0 && unrung == 0 {
                self.fail(Rule::Invented);
            }
        } else {
            // It rings, and leaves the counter alone.
            self.unrung -= 1;
        }
    }

    /// What was taken rings later, in a step of its own.
    fn take(&mut self, model: &Irqfd, attached: bool) {
        let (count, unrung) = self.read(model);
        self.taken_before = count != 0 && unrung == 0;
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

    /// Reads the counter and forgets what was in it.
    fn forget(&mut self, model: &Irqfd) {
        let (_, unrung) = self.read(model);
        if unrung != 0 {
            self.fail(Rule::Lost);
        }
    }

    fn go(&mut self, model: &Irqfd) {
        match self.at {
            At::Detached => {
                self.rounds -= 1;
                match model.attach {
                    Attach::AtOnce => {
                        self.listening = true;
                        self.take(model, true);
                    }
                    Attach::TakeThenAdd => {
                        self.read(model);
                        self.at = At::Adding;
                    }
                }
            }
            At::Adding => {
                self.listening = true;
                self.at = At::Attached;
            }
            At::Attached => match model.detach {
                Detach::AtOnce => {
                    self.listening = false;
                    self.take(model, false);
                }
                Detach::ReadThenRemove => {
                    self.forget(model);
                    self.at = At::Removing;
                }
                Detach::RemoveThenRead => {
                    self.listening = false;
                    self.at = At::Reading;
                }
            },
            At::Removing => {
                self.listening = false;
                self.at = At::Detached;
            }
            At::Reading => {
                self.forget(model);
                self.at = At::Detached;
            }
            At::Ringing { attached } => {
                if self.taken_before {
                    self.fail(Rule::Invented);
                }
                self.taken_before = false;
                self.at = Self::settled(attached);
            }
        }
    }
}

impl Model for Irqfd {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        // Signalled before, or not.
        (0..=2)
            .map(|counter| State {
                at: At::Detached,
                rounds: self.rounds,
                writers: self.writers,
                listening: false,
                counter,
                unrung: counter,
                taken_before: false,
                broken: None,
            })
            .collect()
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.broken.is_some() {
            return;
        }
        if state.writers > 0 {
            moves.push(Move::Write);
        }
        // It may end attached or detached.
        if state.at != At::Detached || state.rounds > 0 {
            moves.push(Move::Go);
        }
    }

    fn next_state(&self, state: &State, who: Move) -> Option<State> {
        let mut next = state.clone();
        match who {
            Move::Write => next.write(self),
            Move::Go => next.go(self),
        }
        // An ordinary eventfd that is listened on has nothing in it: it would never ring.
        if next.at == At::Attached && !self.semaphore && next.unrung != 0 {
            next.fail(Rule::Lost);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        the_rules_hold()
    }
}
