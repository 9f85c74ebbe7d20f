// SPDX-License-Identifier: GPL-2.0-only

//! The model of one line: threads that execute operations in any order, and the line's callbacks.

use crate::{
    all_rules_hold,
    line::{
        self, Acked, Action, Masked, Origin, Owed, Place, Provenance, Reasons, Replied, Reply,
        Taken, Unmasked, AUTOMASK, IDLE, IN_PROGRESS, LEVEL, MODERATED, OWED,
    },
    ops::{
        Op, ACKFD_MIGRATE_OPS, ACKFD_OPS, AUTOMASK_OPS, LEVEL_AUTOMASK_OPS, LEVEL_MIGRATE_OPS,
        LEVEL_MODERATED_OPS, LEVEL_OPS, LEVEL_WAITER_OPS, MIGRATE_OPS, MODERATED_ACKFD_OPS,
        MODERATED_OPS, MODERATED_UNMASKFD_OPS, NOWAIT_OPS, OPS, REASON_OPS, REPLY_WAITER_OPS,
        SAVE_OPS, UNMASKFD_OPS, WAITER_OPS,
    },
    state::{Callback, Continuation, Position, State},
};
use stateright::{Model, Property};

/// A transition of the state word, with its result.
pub type Step<R> = fn(u32) -> (u32, R);

/// The same for some mask reasons.
pub(crate) type ReasonStep<R> = fn(u32, Reasons) -> (u32, R);

/// The same for an unmask in a callback, with the relays that have led to it.
pub(crate) type RelayedUnmask =
    fn(u32, Reasons, Provenance) -> (u32, Option<(Unmasked, Option<Action>)>);

/// The functions of rust/line/state.rs, and properties of their callers. A mutant replaces some.
#[derive(Clone, Copy)]
pub struct Functions {
    pub(crate) ring: fn(u32, Origin) -> (u32, Action),
    pub(crate) take: Step<Action>,
    pub(crate) take_all: Step<(Action, Option<Owed>)>,
    pub(crate) take_message: Step<Action>,
    pub(crate) take_owed: Step<Option<Owed>>,
    pub(crate) reply: fn(u32, Reply, bool, Provenance) -> (u32, Replied),
    pub(crate) mask: ReasonStep<Masked>,
    pub(crate) unmask: ReasonStep<Taken>,
    pub(crate) clear: Step<Taken>,
    pub(crate) unmask_nowait: ReasonStep<Option<Unmasked>>,
    pub(crate) unmask_relayed: RelayedUnmask,
    pub(crate) raise: fn(u32, Origin) -> (u32, Option<Action>),
    pub(crate) lower: Step<Option<bool>>,
    pub(crate) ack: Step<Option<Acked>>,
    pub(crate) assert_again: fn(u32, Origin) -> (u32, Option<Action>),
    pub(crate) claim: Step<()>,
    /// Returns the part of the word that is saved, and the signals that the call takes from a callback.
    pub(crate) save: Step<Option<Owed>>,
    pub(crate) restore: fn(u32, u32) -> (u32, bool),
    pub(crate) release: fn(u32, u32, Place) -> (u32, Action),
    /// SAVE waits for callbacks that have taken signals to send.
    pub(crate) save_waits: bool,
    pub(crate) expire: Step<Option<Action>>,
    pub(crate) moderate: fn(u32, bool, bool) -> (u32, bool),
    /// The owner starts the timer of an interval.
    pub(crate) starts_timer: bool,
    /// A ring ends the interval only if it has removed the timer.
    pub(crate) removes_timer: bool,
    pub(crate) set_waiters: fn(u32, bool) -> (u32, ()),
    /// MASK waits until the owner has released the line.
    pub(crate) mask_waits: bool,
    /// A callback is queued after the change of the word, not before.
    pub(crate) queues_after_change: bool,
    /// A query reads twice and compares.
    pub(crate) query_rereads: bool,
    /// The second read of a query begins with the word; the counters follow.
    pub(crate) query_rereads_word_first: bool,
    /// The owner counts each delivery.
    pub(crate) counts_deliveries: bool,
    /// MASK notifies only if the line was not masked before.
    pub(crate) mask_notifies_once: bool,
    /// The owner cannot be preempted between a release and the queueing of the callback.
    pub(crate) release_is_pinned: bool,
    /// The owner cannot be preempted between the begin of an interval and the start of its timer.
    pub(crate) timer_start_is_pinned: bool,
    /// An irq_work that parks a delivery queues the worker.
    pub(crate) park_queues_worker: bool,
    /// A worker that has finished a parked delivery takes the signals that it owes.
    pub(crate) worker_takes_owed: bool,
    /// ACK signals and notifies before it makes the next message, not after.
    pub(crate) ack_notifies_first: bool,
}

/// Returns what SAVE reads from the word, as `Line::save()` does.
pub(crate) fn save(word: u32) -> (u32, Option<Owed>) {
    let (settled, owed) = line::take_owed(word);
    (settled & line::SAVED, owed)
}

/// The functions of the module.
pub const REAL: Functions = Functions {
    ring: line::ring,
    take: line::take,
    take_all: line::take_all,
    take_message: line::take_message,
    take_owed: line::take_owed,
    reply: line::reply,
    mask: line::mask,
    unmask: line::unmask,
    clear: line::clear,
    unmask_nowait: line::unmask_nowait,
    unmask_relayed: line::unmask_relayed,
    raise: line::raise,
    lower: line::lower,
    ack: line::ack,
    assert_again: line::assert_again,
    claim: line::claim,
    save,
    restore: line::restore,
    release: line::release,
    save_waits: true,
    expire: line::expire,
    moderate: line::moderate,
    starts_timer: true,
    removes_timer: true,
    set_waiters: line::set_waiters,
    mask_waits: true,
    queues_after_change: true,
    query_rereads: true,
    query_rereads_word_first: true,
    counts_deliveries: true,
    mask_notifies_once: true,
    release_is_pinned: true,
    timer_start_is_pinned: true,
    park_queues_worker: true,
    worker_takes_owed: true,
    ack_notifies_first: true,
};

/// A line, the threads that use it, and its callbacks.
#[derive(Clone)]
pub struct LineModel {
    /// The number of threads.
    pub threads: usize,
    /// The number of operations of each thread.
    pub ops_each: u8,
    /// The operations to choose from.
    pub ops: Vec<Op>,
    /// The line is a level line.
    pub level: bool,
    /// The line masks itself when it delivers.
    pub automask: bool,
    /// The line is moderated at the start.
    pub moderated: bool,
    /// The number of messages that an owner has delivered at its start. A number near the limit
    /// makes the model reach it.
    pub rounds: u32,
    /// The functions under test.
    pub functions: Functions,
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A thread executes its next step.
    Thread(usize),
    /// A thread begins an operation.
    Begin(usize, Op),
    /// The irq_work starts or continues.
    Relay(usize),
    /// The irq_work has used up its budget before it starts. It queues the worker instead.
    Divert,
    /// The irq_work starts, and leaves the signals that it owes to the worker: there are too many.
    TakeMessage(usize),
    /// The irq_work has used up its budget during a delivery. It parks the delivery: the worker or
    /// a thread that waits for the line continues it.
    Park(usize),
    /// The timer expires, or its interrupt continues.
    Expire,
    /// The worker starts or continues.
    Defer,
    /// A thread that waits for the line continues a parked delivery.
    Help,
}

/// Returns the models to explore: all operations by a few threads, from the start and near the
/// limit of deliveries in a row. With `deep`, adds the largest that fit into memory.
pub fn scenarios(deep: bool) -> Vec<(String, LineModel)> {
    let without_query: Vec<Op> = OPS.into_iter().filter(|&op| op != Op::Query).collect();
    let level_and_query = [&LEVEL_OPS[..], &[Op::Query]].concat();
    let mut all = Vec::new();
    let mut add = |threads, ops_each, (name, ops): (&str, &[Op]), near_limit: bool| {
        // An edge line has no ack.
        for level in [ops.contains(&Op::Raise), ops.contains(&Op::Ack)] {
            let name = format!(
                "{threads} threads, {ops_each} operations each, {name}{}{}",
                if level { ", level line" } else { "" },
                if near_limit { ", near the limit" } else { "" },
            );
            if all.iter().any(|(other, _)| *other == name) {
                continue;
            }
            let model = LineModel {
                threads,
                ops_each,
                ops: ops.to_vec(),
                level,
                automask: masks_itself(ops),
                moderated: ops.contains(&Op::Unmoderate),
                rounds: if near_limit { line::MAX_ROUNDS - 1 } else { 0 },
                functions: REAL,
            };
            all.push((name, model));
        }
    };
    let any = ("all system calls", &OPS[..]);
    let no_query = ("no query", &without_query[..]);
    let level = ("no query", &LEVEL_OPS[..]);
    let level_query = ("all system calls", &level_and_query[..]);
    let nowait = ("by other modules", &NOWAIT_OPS[..]);
    let reasons = ("two mask reasons", &REASON_OPS[..]);
    let automask = ("automask", &AUTOMASK_OPS[..]);
    let level_automask = ("automask", &LEVEL_AUTOMASK_OPS[..]);
    let unmaskfd = ("unmaskfds", &UNMASKFD_OPS[..]);
    let ackfd = ("unmaskfds and ackfds", &ACKFD_OPS[..]);
    let migrate = ("migration", &MIGRATE_OPS[..]);
    let level_migrate = ("migration", &LEVEL_MIGRATE_OPS[..]);
    let save = ("saves and ackfds", &SAVE_OPS[..]);
    let ackfd_migrate = ("migration with ackfds", &ACKFD_MIGRATE_OPS[..]);
    let moderated = ("moderated", &MODERATED_OPS[..]);
    let level_moderated = ("moderated", &LEVEL_MODERATED_OPS[..]);
    let moderated_unmaskfd = ("moderated, unmaskfds", &MODERATED_UNMASKFD_OPS[..]);
    let moderated_ackfd = ("moderated, unmaskfds and ackfds", &MODERATED_ACKFD_OPS[..]);
    let waiters = ("with waiters", &WAITER_OPS[..]);
    let level_waiters = ("raised, with waiters", &LEVEL_WAITER_OPS[..]);
    let reply_waiters = ("unmaskfds and ackfds, with waiters", &REPLY_WAITER_OPS[..]);
    for near_limit in [false, true] {
        add(2, 2, any, near_limit);
        add(3, 1, any, near_limit);
        add(3, 2, no_query, near_limit);
        add(3, 2, level, near_limit);
        add(2, 2, level_query, near_limit);
        add(3, 2, nowait, near_limit);
        add(3, 2, reasons, near_limit);
        add(3, 2, automask, near_limit);
        add(3, 2, level_automask, near_limit);
        add(3, 2, unmaskfd, near_limit);
        add(2, 2, ackfd, near_limit);
        add(3, 2, migrate, near_limit);
        add(3, 2, level_migrate, near_limit);
        add(2, 2, save, near_limit);
        add(2, 2, ackfd_migrate, near_limit);
        add(2, 3, moderated, near_limit);
        add(3, 2, moderated, near_limit);
        add(3, 2, level_moderated, near_limit);
        add(2, 2, moderated_unmaskfd, near_limit);
        add(2, 2, moderated_ackfd, near_limit);
        add(2, 2, waiters, near_limit);
        add(3, 1, waiters, near_limit);
        add(3, 2, level_waiters, near_limit);
        add(2, 2, reply_waiters, near_limit);
        if deep {
            add(3, 3, no_query, near_limit);
            add(2, 3, any, near_limit);
            add(4, 1, any, near_limit);
            add(4, 3, no_query, near_limit);
            add(3, 3, level, near_limit);
            add(2, 3, level_query, near_limit);
            add(3, 3, nowait, near_limit);
            add(3, 3, reasons, near_limit);
            add(3, 3, automask, near_limit);
            add(3, 3, level_automask, near_limit);
            add(3, 3, unmaskfd, near_limit);
            add(3, 2, ackfd, near_limit);
            add(3, 3, ackfd, near_limit);
            add(3, 3, migrate, near_limit);
            add(3, 3, level_migrate, near_limit);
            add(3, 2, save, near_limit);
            add(2, 3, ackfd_migrate, near_limit);
            add(3, 3, moderated, near_limit);
            add(3, 3, level_moderated, near_limit);
            add(3, 2, moderated_unmaskfd, near_limit);
            add(3, 2, moderated_ackfd, near_limit);
            add(2, 3, waiters, near_limit);
            add(3, 2, waiters, near_limit);
            add(3, 2, reply_waiters, near_limit);
        }
    }
    all
}

/// Returns true if `ops` are those of a line that masks itself.
pub(crate) fn masks_itself(ops: &[Op]) -> bool {
    [Op::UnmaskAuto, Op::Unmaskfd, Op::AckUnmaskfd]
        .iter()
        .any(|op| ops.contains(op))
}

impl LineModel {
    /// Returns false if the first step of `op` has to wait.
    fn can_begin(&self, word: u32, op: Op) -> bool {
        match op {
            Op::Unmask | Op::UnmaskFunction | Op::UnmaskAuto => {
                (self.functions.unmask)(word, op.reasons()).1 != Taken::Busy
            }
            Op::Clear => (self.functions.clear)(word).1 != Taken::Busy,
            Op::Assign | Op::Moderate | Op::Unmoderate | Op::Waiters => word & IN_PROGRESS == 0,
            _ => true,
        }
    }
}

impl Model for LineModel {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let level = if self.level { LEVEL } else { IDLE };
        let automask = if self.automask { AUTOMASK } else { IDLE };
        let moderated = if self.moderated { MODERATED } else { IDLE };
        let open = State::new(self, level | automask | moderated);
        vec![open.clone(), open.masked(Reasons::VECTOR)]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.violation.is_some() {
            return;
        }
        let waits = |at| match at {
            Position::MaskWaits { .. } | Position::QueryWaits(_) => state.word & IN_PROGRESS != 0,
            Position::CancelTimer { .. } => state.expiry == Position::Expire,
            _ => false,
        };
        for (index, thread) in state.threads.iter().enumerate() {
            // Threads in the same position have the same moves: one of them is enough.
            if index > 0 && state.threads[index - 1] == *thread {
                continue;
            }
            if thread.at != Position::Idle {
                if !waits(thread.at) {
                    moves.push(Move::Thread(index));
                }
            } else if thread.ops_left > 0 {
                let can = |op: &&Op| state.allows(self, **op) && self.can_begin(state.word, **op);
                moves.extend(
                    self.ops
                        .iter()
                        .filter(can)
                        .map(|&op| Move::Begin(index, op)),
                );
            }
        }
        for (index, &at) in state.relays.iter().enumerate() {
            if index > 0 && state.relays[index - 1] == at {
                continue;
            }
            let starts = at == Position::Idle && state.relay_queued;
            if starts || at != Position::Idle {
                moves.push(Move::Relay(index));
            }
            if starts && state.word & OWED != 0 {
                moves.push(Move::TakeMessage(index));
            }
            if matches!(at, Position::Signal { .. }) {
                moves.push(Move::Park(index));
            }
        }
        if state.relay_queued {
            moves.push(Move::Divert);
        }
        if state.expiry != Position::Idle || state.timer_queued {
            moves.push(Move::Expire);
        }
        if state.defer != Position::Idle || state.defer_queued {
            moves.push(Move::Defer);
        }
        if state.helper != Position::Idle || state.parked != Position::Idle {
            moves.push(Move::Help);
        }
    }

    fn next_state(&self, state: &State, step: Move) -> Option<State> {
        let mut next = state.clone();
        match step {
            Move::Thread(index) => {
                let at = next.threads[index].at;
                let after = next.step(self, at, Place::Caller)?;
                // The step may have changed this position, too: an unmask changes all that mask.
                next.threads[index].at = after;
            }
            Move::Begin(index, op) => {
                let after = next.begin(self, op)?;
                next.threads[index].ops_left -= 1;
                next.threads[index].at = after;
            }
            Move::Relay(index) => {
                next.relays[index] = match next.relays[index] {
                    Position::Idle => {
                        next.relay_queued = false;
                        Position::Take
                    }
                    at => next.step(self, at, Place::Interrupt)?,
                };
            }
            Move::TakeMessage(index) => {
                next.relay_queued = false;
                next.defer_queued = true;
                next.relays[index] = Position::TakeMessage;
            }
            Move::Divert => {
                next.relay_queued = false;
                next.defer_queued = true;
            }
            Move::Park(index) => {
                next.parked = next.relays[index];
                // The irq_work itself signals what it owed.
                let then = next.parked.then().map_or(Continuation::Return, |then| {
                    core::mem::replace(then, Continuation::Return)
                });
                next.relays[index] = if self.functions.park_queues_worker {
                    Position::Queue {
                        callback: Callback::Defer,
                        pinned: true,
                        then,
                    }
                } else {
                    Position::after(then)
                };
            }
            Move::Help => {
                next.helper = match next.helper {
                    Position::Idle => core::mem::replace(&mut next.parked, Position::Idle),
                    at => next.step(self, at, Place::Caller)?,
                };
            }
            Move::Expire => {
                next.expiry = match next.expiry {
                    Position::Idle => {
                        next.remove_timer();
                        Position::Expire
                    }
                    at => next.step(self, at, Place::Interrupt)?,
                };
            }
            Move::Defer => {
                next.defer = match next.defer {
                    Position::Idle => {
                        next.defer_queued = false;
                        match core::mem::replace(&mut next.parked, Position::Idle) {
                            Position::Idle => Position::Take,
                            mut parked => {
                                if let Some(then) = parked.then() {
                                    if self.functions.worker_takes_owed {
                                        *then = Continuation::Worker;
                                    }
                                }
                                parked
                            }
                        }
                    }
                    at => next.step(self, at, Place::Worker)?,
                };
            }
        }
        next.check_relays(state.word);
        next.check_invariants(self);
        next.normalise(self);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        all_rules_hold()
    }
}
