// SPDX-License-Identifier: GPL-2.0-only

//! A line and its users: threads that each do some operations, in any order, and the callbacks.

use crate::{
    line::{self, Acked, Action, From, Place, Taken, Unmasked, HELD, IDLE, LEVEL, MASKED},
    ops::Op,
    state::{At, Callback, State, Then},
    the_rules_hold,
};
use stateright::{Model, Property};

/// A transition of the line's word.
pub type Step<R> = fn(u32) -> (u32, R);

/// The functions of rust/line.rs and how they are used; [`crate::broken`] changes some.
#[derive(Clone, Copy)]
pub struct Functions {
    pub(crate) ring: fn(u32, From) -> (u32, Action),
    pub(crate) take: Step<Action>,
    pub(crate) mask: Step<bool>,
    pub(crate) unmask: Step<Taken>,
    pub(crate) clear: Step<Taken>,
    pub(crate) unmask_nowait: Step<Option<Unmasked>>,
    pub(crate) raise: fn(u32, From) -> (u32, Option<Action>),
    pub(crate) lower: Step<Option<bool>>,
    pub(crate) ack: Step<Option<Acked>>,
    pub(crate) assert_again: fn(u32, From) -> (u32, Option<Action>),
    pub(crate) hold: Step<()>,
    pub(crate) leave: fn(u32, u32, Place) -> (u32, Action),
    /// MASK waits for the hold.
    pub(crate) mask_waits: bool,
    /// A callback is queued after the word has changed, not before.
    pub(crate) queue_last: bool,
    /// A query looks twice.
    pub(crate) query_checks: bool,
    /// And at the word first, then at the counters.
    pub(crate) query_word_first: bool,
    /// A holder counts the delivery.
    pub(crate) counts: bool,
    /// MASK notifies only if it was the one that masked.
    pub(crate) notify_once: bool,
    /// Who gives the line up cannot be preempted before a callback is queued for what is left.
    pub(crate) leaves_pinned: bool,
    /// Who leaves a delivery half done queues the worker.
    pub(crate) parks_queued: bool,
    /// ACK makes the next message after it has told of the ack, not before.
    pub(crate) ack_tells_first: bool,
}

/// As the module has them.
pub const REAL: Functions = Functions {
    ring: line::ring,
    take: line::take,
    mask: line::mask,
    unmask: line::unmask,
    clear: line::clear,
    unmask_nowait: line::unmask_nowait,
    raise: line::raise,
    lower: line::lower,
    ack: line::ack,
    assert_again: line::assert_again,
    hold: line::hold,
    leave: line::leave,
    mask_waits: true,
    queue_last: true,
    query_checks: true,
    query_word_first: true,
    counts: true,
    notify_once: true,
    leaves_pinned: true,
    parks_queued: true,
    ack_tells_first: true,
};

/// A line and its users.
#[derive(Clone)]
pub struct Wiring {
    /// How many threads.
    pub threads: usize,
    /// How many operations each of them does.
    pub ops_each: u8,
    /// Which ones.
    pub ops: Vec<Op>,
    /// A level line.
    pub level: bool,
    /// How many messages a holder is taken to have delivered already; near the limit, it is reached.
    pub rounds: u32,
    /// What they use.
    pub functions: Functions,
}

/// Who makes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A thread goes on.
    Thread(usize),
    /// A thread begins something.
    Begin(usize, Op),
    /// The irq_work starts or goes on.
    Relay(usize),
    /// The irq_work has no time, and gives the line to the work item.
    Divert,
    /// The irq_work has no more time in the middle of a delivery.
    Park(usize),
    /// The work item starts or goes on.
    Defer,
    /// A thread that waits for the line finishes what was left half done.
    Help,
}

impl Wiring {
    /// Whether the first step of `op` changes anything; if not, it waits.
    fn can_begin(&self, word: u32, op: Op) -> bool {
        match op {
            Op::Unmask => (self.functions.unmask)(word).1 != Taken::Busy,
            Op::Clear => (self.functions.clear)(word).1 != Taken::Busy,
            Op::Rewire => word & HELD == 0,
            _ => true,
        }
    }
}

impl Model for Wiring {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let word = if self.level { LEVEL } else { IDLE };
        vec![State::new(self, word), State::new(self, word | MASKED)]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.broken.is_some() {
            return;
        }
        let waits = |at| match at {
            At::MaskWaits { .. } | At::QueryWaits(_) => state.word & HELD != 0,
            _ => false,
        };
        for (who, thread) in state.threads.iter().enumerate() {
            // Those that are in the same place can do the same.
            if who > 0 && state.threads[who - 1] == *thread {
                continue;
            }
            if thread.at != At::Idle {
                if !waits(thread.at) {
                    moves.push(Move::Thread(who));
                }
            } else if thread.left > 0 {
                let can = |op: &&Op| self.can_begin(state.word, **op);
                moves.extend(self.ops.iter().filter(can).map(|&op| Move::Begin(who, op)));
            }
        }
        for (who, &at) in state.relays.iter().enumerate() {
            if who > 0 && state.relays[who - 1] == at {
                continue;
            }
            let starts = at == At::Idle && state.relay_queued;
            if starts || at != At::Idle {
                moves.push(Move::Relay(who));
            }
            if matches!(at, At::Signal { .. }) {
                moves.push(Move::Park(who));
            }
        }
        if state.relay_queued {
            moves.push(Move::Divert);
        }
        if state.defer != At::Idle || state.defer_queued {
            moves.push(Move::Defer);
        }
        if state.helper != At::Idle || state.parked != At::Idle {
            moves.push(Move::Help);
        }
    }

    fn next_state(&self, state: &State, who: Move) -> Option<State> {
        let mut next = state.clone();
        match who {
            Move::Thread(who) => {
                let at = next.threads[who].at;
                let after = next.step(self, at, Place::Caller)?;
                // Whoever unmasks changes others, and they are found by their place.
                next.threads[who].at = after;
            }
            Move::Begin(who, op) => {
                let after = next.begin(self, op)?;
                next.threads[who].left -= 1;
                next.threads[who].at = after;
            }
            Move::Relay(who) => {
                next.relays[who] = match next.relays[who] {
                    At::Idle => {
                        next.relay_queued = false;
                        At::Take
                    }
                    at => next.step(self, at, Place::Interrupt)?,
                };
            }
            Move::Divert => {
                next.relay_queued = false;
                next.defer_queued = true;
            }
            Move::Park(who) => {
                next.parked = next.relays[who];
                next.relays[who] = if self.functions.parks_queued {
                    At::Queue {
                        callback: Callback::Defer,
                        pinned: true,
                        then: Then::Return,
                    }
                } else {
                    At::Idle
                };
            }
            Move::Help => {
                next.helper = match next.helper {
                    At::Idle => core::mem::replace(&mut next.parked, At::Idle),
                    at => next.step(self, at, Place::Caller)?,
                };
            }
            Move::Defer => {
                next.defer = match next.defer {
                    At::Idle => {
                        next.defer_queued = false;
                        match core::mem::replace(&mut next.parked, At::Idle) {
                            At::Idle => At::Take,
                            half_done => half_done,
                        }
                    }
                    at => next.step(self, at, Place::Worker)?,
                };
            }
        }
        next.judge(self);
        next.normalise(self);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        the_rules_hold()
    }
}
