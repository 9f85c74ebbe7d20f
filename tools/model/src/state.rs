// SPDX-License-Identifier: GPL-2.0-only

//! Where a line and its users are, and the steps that they make.

use crate::{
    line::{self, Action, Behind, From, Place, HELD, MASKED, PENDING},
    ops::Op,
    wiring::Wiring,
    Judged, Rule,
};

/// A callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Callback {
    /// The line's irq_work.
    Relay,
    /// The line's work item.
    Defer,
}

/// What comes when the line is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Then {
    Return,
    /// MASK is in force; `still`: nobody has unmasked since.
    Masked {
        still: bool,
        newly: bool,
    },
    /// Somebody is told.
    Notify(Told),
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Told {
    /// The notifiers, of a transition.
    pub(crate) event: bool,
    /// The sources of a level line, to look again.
    pub(crate) resample: bool,
}

/// What a query has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Seen {
    /// At least that many rings must be reported.
    pub(crate) least: u8,
    pub(crate) step: u8,
    pub(crate) before: u32,
    pub(crate) deliveries: u8,
    pub(crate) dropped: u8,
    pub(crate) pending: bool,
    pub(crate) coalesced: u8,
}

/// Where a thread or callback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum At {
    Idle,
    // Not holding.
    Coalesced(Then),
    /// `pinned`: it cannot be preempted before it has done that.
    Queue {
        callback: Callback,
        pinned: bool,
        then: Then,
    },
    /// The word changes only now (broken: the callback is queued already).
    Late(Op),
    MaskWaits {
        newly: bool,
        still: bool,
    },
    Take,
    /// `again`: then a level that is still raised makes the next message.
    Notify {
        told: Told,
        again: bool,
    },
    AssertAgain,
    Query(Seen),
    QueryWaits(Seen),
    // Holding.
    Drop {
        rounds: u32,
        then: Then,
    },
    Rewiring,
    QueryHolds(Seen),
    /// A message is taken, and not counted yet.
    Count {
        rounds: u32,
        then: Then,
    },
    /// Triggers are being signalled.
    Signal {
        rounds: u32,
        then: Then,
    },
    Leave {
        rounds: u32,
        then: Then,
    },
}

impl At {
    /// Not holding any more, `then`.
    pub(crate) fn after(then: Then) -> Self {
        match then {
            Then::Notify(told) => At::Notify { told, again: false },
            _ => At::Idle,
        }
    }

    pub(crate) fn holds(self) -> bool {
        matches!(
            self,
            At::Drop { .. }
                | At::Rewiring
                | At::QueryHolds(_)
                | At::Count { .. }
                | At::Signal { .. }
                | At::Leave { .. }
        )
    }

    pub(crate) fn delivers(self) -> bool {
        matches!(self, At::Count { .. } | At::Signal { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Thread {
    pub(crate) left: u8,
    pub(crate) at: At,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) word: u32,
    /// Sorted: which is which does not matter.
    pub(crate) threads: Vec<Thread>,
    /// An irq_work can be queued again on another CPU while it runs.
    pub(crate) relays: [At; 2],
    pub(crate) defer: At,
    /// What an interrupt has left half done.
    pub(crate) parked: At,
    /// A thread that waits for the line, and does that.
    pub(crate) helper: At,
    pub(crate) relay_queued: bool,
    pub(crate) defer_queued: bool,
    // The counters that the module keeps.
    pub(crate) deliveries: u8,
    pub(crate) coalesced: u8,
    pub(crate) dropped: u8,
    // What the module does not know, or knows by its word only.
    /// Rings whose first step has happened.
    pub(crate) rings: u8,
    /// There was a ring since a message was last taken; of a level line, since it was last acked.
    pub(crate) fresh: bool,
    /// The level.
    pub(crate) raised: bool,
    /// A level line has sent a message that has not been acked.
    pub(crate) active: bool,
    /// Its level was raised at an ack that is not through: that is no message yet.
    pub(crate) acking: bool,
    /// It was acked while masked, and its sources have not been told.
    pub(crate) owed: bool,
    /// MASK has returned, and nobody has unmasked since.
    pub(crate) quiet: bool,
    /// Transitions that have not been notified yet.
    pub(crate) unnotified: i8,
    /// Sources that have not been told yet, although it is time.
    pub(crate) untold: i8,
    /// What a query has reported.
    pub(crate) reported: u8,
    pub(crate) broken: Option<Rule>,
}

impl Judged for State {
    fn broken(&self) -> Option<Rule> {
        self.broken
    }
}

impl State {
    pub(crate) fn new(model: &Wiring, word: u32) -> Self {
        Self {
            word,
            threads: vec![
                Thread {
                    left: model.ops_each,
                    at: At::Idle,
                };
                model.threads
            ],
            relays: [At::Idle; 2],
            defer: At::Idle,
            parked: At::Idle,
            helper: At::Idle,
            relay_queued: false,
            defer_queued: false,
            deliveries: 0,
            coalesced: 0,
            dropped: 0,
            rings: 0,
            fresh: false,
            raised: false,
            active: false,
            acking: false,
            owed: false,
            quiet: false,
            unnotified: 0,
            untold: 0,
            reported: 0,
            broken: None,
        }
    }

    pub(crate) fn everybody(&self) -> impl Iterator<Item = At> + '_ {
        let others = [self.defer, self.parked, self.helper];
        let callbacks = self.relays.into_iter().chain(others);
        self.threads.iter().map(|thread| thread.at).chain(callbacks)
    }

    pub(crate) fn fail(&mut self, rule: Rule) {
        self.broken.get_or_insert(rule);
    }

    pub(crate) fn pending(&self) -> bool {
        self.word & PENDING != 0
    }

    /// Rings that have coalesced, but are not counted yet.
    pub(crate) fn uncounted(&self) -> u8 {
        self.everybody()
            .filter(|at| matches!(at, At::Coalesced(_)))
            .count() as u8
    }

    /// What MASK has left to do when it is in force.
    pub(crate) fn notify(&self, model: &Wiring, newly: bool) -> Then {
        if !newly && model.functions.notify_once {
            return Then::Return;
        }
        Then::Notify(Told {
            event: true,
            resample: false,
        })
    }

    /// The line was given up.
    fn left(&mut self, model: &Wiring, then: Then) -> Then {
        match then {
            Then::Masked { still, newly } => {
                self.quiet |= still;
                self.notify(model, newly)
            }
            then => then,
        }
    }

    /// The line has been unmasked, and is held.
    pub(crate) fn opened(&mut self, model: &Wiring, message: Option<Behind>, told: Told) -> At {
        let (rounds, then) = (model.rounds, Then::Notify(told));
        if message.is_some() {
            self.start(model);
            At::Count { rounds, then }
        } else {
            At::Leave { rounds, then }
        }
    }

    pub(crate) fn queue(&mut self, callback: Callback) {
        match callback {
            Callback::Relay => self.relay_queued = true,
            Callback::Defer => self.defer_queued = true,
        }
    }

    /// Whether the message that may be delivered has an owner that cannot be preempted, or a callback
    /// that is queued or runs, and what is half done will be finished.
    pub(crate) fn is_prompt(&self) -> bool {
        let worker =
            |at: &At| matches!(at, At::Queue { callback, .. } if *callback == Callback::Defer);
        if self.parked != At::Idle && !self.defer_queued && !self.relays.iter().any(worker) {
            return false;
        }
        let queues = |at: &At| matches!(at, At::Queue { pinned: true, .. });
        let runs = |at: &At| *at == At::Take || queues(at);
        self.word & (PENDING | MASKED | HELD) != PENDING
            || self.relay_queued
            || self.defer_queued
            || self.relays.iter().any(runs)
            || runs(&self.defer)
            || queues(&self.helper)
            || self.threads.iter().any(|thread| queues(&thread.at))
    }

    /// The next step of whoever is at `at` and, if it holds the line, does so in `place`; none if it
    /// has to wait.
    pub(crate) fn step(&mut self, model: &Wiring, at: At, place: Place) -> Option<At> {
        let functions = &model.functions;
        let rounds = model.rounds;
        Some(match at {
            At::Idle => return None,
            At::Coalesced(then) => {
                self.coalesced += 1;
                At::after(then)
            }
            At::Queue { callback, then, .. } => {
                self.queue(callback);
                At::after(then)
            }
            At::Late(op) => {
                let hops = if op == Op::Wake { 0 } else { line::RELAY_LIMIT };
                match self.ring(model, From::Wake(Behind::new(hops, false))) {
                    At::Queue { .. } => At::Idle,
                    other => other,
                }
            }
            At::MaskWaits { newly, still } => {
                if self.word & HELD != 0 {
                    return None;
                }
                self.word = (functions.hold)(self.word).0;
                At::Leave {
                    rounds,
                    then: Then::Masked { still, newly },
                }
            }
            At::Notify { told, again } => {
                self.unnotified -= i8::from(told.event);
                self.untold -= i8::from(told.resample);
                if !again {
                    At::Idle
                } else if functions.ack_tells_first {
                    At::AssertAgain
                } else {
                    At::Take
                }
            }
            At::AssertAgain => {
                let (word, action) = (functions.assert_again)(self.word, From::Caller);
                self.word = word;
                self.acking = false;
                match action {
                    None => At::Idle,
                    // It counts as a ring.
                    Some(action) => self.rung(model, action, Then::Return),
                }
            }
            At::Drop { rounds, then } => {
                self.dropped += 1;
                At::Leave { rounds, then }
            }
            At::Rewiring => At::Leave {
                rounds,
                then: Then::Return,
            },
            At::Take => {
                let (word, action) = (functions.take)(self.word);
                self.word = word;
                match action {
                    Action::Deliver(_) => {
                        self.start(model);
                        At::Count {
                            rounds,
                            then: Then::Return,
                        }
                    }
                    _ => At::Idle,
                }
            }
            At::Count { rounds, then } => {
                self.deliveries += u8::from(functions.counts);
                At::Signal { rounds, then }
            }
            At::Signal { rounds, then } => At::Leave {
                rounds: rounds + 1,
                then,
            },
            At::Leave { rounds, then } => {
                let (word, action) = (functions.leave)(self.word, rounds, place);
                self.word = word;
                match action {
                    Action::Deliver(_) => {
                        self.start(model);
                        At::Count { rounds, then }
                    }
                    Action::Drop => At::Drop { rounds, then },
                    action => {
                        let then = self.left(model, then);
                        // An interrupt is not preempted.
                        let pinned = functions.leaves_pinned || place == Place::Interrupt;
                        match action {
                            Action::Relay => At::Queue {
                                callback: Callback::Relay,
                                pinned,
                                then,
                            },
                            Action::Defer => At::Queue {
                                callback: Callback::Defer,
                                pinned,
                                then,
                            },
                            _ => At::after(then),
                        }
                    }
                }
            }
            At::Query(seen) => self.look(model, seen),
            At::QueryWaits(seen) => {
                if self.word & HELD != 0 {
                    return None;
                }
                self.word = (functions.hold)(self.word).0;
                At::QueryHolds(Seen { step: 0, ..seen })
            }
            At::QueryHolds(mut seen) => {
                if seen.step < 4 {
                    self.read(&mut seen);
                    At::QueryHolds(seen)
                } else {
                    self.report(&seen);
                    At::Leave {
                        rounds,
                        then: Then::Return,
                    }
                }
            }
        })
    }

    /// A query reads the next thing.
    fn read(&self, seen: &mut Seen) {
        match seen.step {
            0 => seen.deliveries = self.deliveries,
            1 => seen.dropped = self.dropped,
            2 => seen.pending = line::is_rung(self.word),
            _ => seen.coalesced = self.coalesced,
        }
        seen.step += 1;
    }

    /// A query without the hold: all once, then again what tells whether it belongs together.
    fn look(&mut self, model: &Wiring, mut seen: Seen) -> At {
        let step = match (seen.step, model.functions.query_word_first) {
            (step @ 4..=6, false) => [5, 6, 4][usize::from(step) - 4],
            (step, _) => step,
        };
        let same = match step {
            0..=3 => {
                self.read(&mut seen);
                return At::Query(seen);
            }
            4 => self.word == seen.before && seen.before & HELD == 0,
            5 => self.deliveries == seen.deliveries,
            _ => self.dropped == seen.dropped,
        };
        seen.step += 1;
        if !same && model.functions.query_checks {
            return At::QueryWaits(seen);
        }
        if seen.step <= 6 {
            return At::Query(seen);
        }
        self.report(&seen);
        At::Idle
    }

    fn report(&mut self, seen: &Seen) {
        let sum = seen.deliveries + seen.dropped + seen.coalesced + u8::from(seen.pending);
        if sum < seen.least || sum > self.rings {
            self.fail(Rule::Query);
        }
        self.reported = self.reported.max(sum);
    }
}
