// SPDX-License-Identifier: GPL-2.0-only

//! The state of a line, of the threads that use it, and of its callbacks.

use crate::{
    line::{Owed, Reasons, HELD, IN_PROGRESS, MASKED, OWED, PENDING, WAITERS},
    line_model::LineModel,
    ops::Op,
    ModelState, Rule,
};
use smallvec::{smallvec, SmallVec};

/// A callback that delivers for the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Callback {
    /// The line's irq_work.
    Relay,
    /// The context's worker.
    Defer,
}

/// The rest of an operation after it has released the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Continuation {
    Return,
    /// MASK returns.
    Masked {
        /// The reason of the mask, if it has not been ended since.
        reason: Option<Reasons>,
        /// The line was not masked before.
        newly_masked: bool,
    },
    /// Signals notifiers or resamplefds.
    Notify(Notification),
    /// A callback signals what it owed.
    Settle(Owed),
    /// The worker, which has finished a parked delivery, takes what it owes.
    Worker,
}

/// The eventfds that an operation signals at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Notification {
    /// The notifiers of the transition.
    pub(crate) event: bool,
    /// The resamplefds of the sources.
    pub(crate) resample: bool,
}

/// The values that a query has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QueryReads {
    /// The minimum number of rings that the query must report.
    pub(crate) least: u8,
    /// The number of reads so far.
    pub(crate) step: u8,
    /// The state word at the start.
    pub(crate) before: u32,
    pub(crate) deliveries: u8,
    pub(crate) dropped: u8,
    pub(crate) pending: bool,
    pub(crate) coalesced: u8,
}

/// The next step of a thread or callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Position {
    Idle,
    // Steps of a thread that does not own the line.
    /// Counts a ring that has coalesced.
    Coalesced(Continuation),
    Queue {
        callback: Callback,
        /// The thread cannot be preempted before this step.
        pinned: bool,
        then: Continuation,
    },
    /// Changes the word after the callback was queued. Only a mutant does this.
    ChangeWord(Op),
    /// MASK waits until the owner has released the line.
    MaskWaits {
        newly_masked: bool,
        reason: Option<Reasons>,
    },
    /// A callback takes the message.
    Take,
    Notify {
        notification: Notification,
        /// A level that is still raised makes the next message after this step.
        again: bool,
    },
    AssertAgain {
        /// Eventfds were signalled on behalf of an ackfd: the message is relayed.
        relayed: bool,
    },
    /// A callback signals what it owed.
    Settle(Owed),
    /// A callback takes the message, and leaves the signals that it owes to another one.
    TakeMessage,
    /// The worker takes the signals that it owes, if there are any.
    TakeOwed,
    /// Removes the timer, to end the interval.
    RemoveTimer,
    /// Ends the interval, after the timer was removed.
    Expire,
    /// A query reads without owning the line.
    Query(QueryReads),
    /// A query waits to claim the line.
    QueryWaits(QueryReads),
    /// RESTORE applies what was saved to the line of the next context.
    Restore {
        saved: u32,
    },
    // Steps of the owner of the line.
    /// Counts a dropped message.
    Drop {
        rounds: u32,
        then: Continuation,
    },
    /// Changes the triggers.
    Assigning,
    /// Starts the timer of the interval.
    StartTimer {
        rounds: u32,
        /// The owner cannot be preempted before this step.
        pinned: bool,
        then: Continuation,
    },
    /// Removes the timer, to change the moderation.
    CancelTimer {
        moderated: bool,
    },
    /// Changes the moderation.
    ChangeModeration {
        moderated: bool,
        /// The timer was queued.
        removed: bool,
    },
    /// Makes the waiters the only trigger, or removes them.
    SettingWaiters(bool),
    /// A query reads while it owns the line.
    QueryOwns(QueryReads),
    /// Counts a message that was taken.
    Count {
        rounds: u32,
        then: Continuation,
    },
    /// Signals the triggers.
    Signal {
        rounds: u32,
        then: Continuation,
    },
    Release {
        rounds: u32,
        then: Continuation,
    },
}

impl Position {
    /// Returns the first step of `then`, without the line.
    pub(crate) fn after(then: Continuation) -> Self {
        match then {
            Continuation::Notify(notification) => Position::Notify {
                notification,
                again: false,
            },
            Continuation::Settle(owed) => Position::Settle(owed),
            Continuation::Worker => Position::TakeOwed,
            _ => Position::Idle,
        }
    }

    /// Returns the continuation of an owner's step, or of one that queues a callback.
    pub(crate) fn then(&mut self) -> Option<&mut Continuation> {
        match self {
            Position::Coalesced(then)
            | Position::Queue { then, .. }
            | Position::Drop { then, .. }
            | Position::Count { then, .. }
            | Position::Signal { then, .. }
            | Position::StartTimer { then, .. }
            | Position::Release { then, .. } => Some(then),
            _ => None,
        }
    }

    /// Returns true if this step belongs to the owner of the line.
    pub(crate) fn owns_line(self) -> bool {
        matches!(
            self,
            Position::Drop { .. }
                | Position::Assigning
                | Position::StartTimer { .. }
                | Position::CancelTimer { .. }
                | Position::ChangeModeration { .. }
                | Position::SettingWaiters(_)
                | Position::QueryOwns(_)
                | Position::Count { .. }
                | Position::Signal { .. }
                | Position::Release { .. }
        )
    }

    /// Returns true if a delivery is in flight.
    pub(crate) fn delivers(self) -> bool {
        matches!(self, Position::Count { .. } | Position::Signal { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Thread {
    pub(crate) ops_left: u8,
    pub(crate) at: Position,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) word: u32,
    /// Sorted, as the threads are interchangeable.
    pub(crate) threads: Few<Thread>,
    /// An irq_work can be queued again on another CPU while it runs.
    pub(crate) relays: [Position; 2],
    pub(crate) defer: Position,
    /// A delivery that the irq_work has left unfinished.
    pub(crate) parked: Position,
    /// A thread that waits for the line and continues the parked delivery.
    pub(crate) helper: Position,
    /// The interrupt of the line's timer.
    pub(crate) expiry: Position,
    pub(crate) relay_queued: bool,
    pub(crate) defer_queued: bool,
    pub(crate) timer_queued: bool,
    // The counters that the module keeps.
    pub(crate) deliveries: u8,
    pub(crate) coalesced: u8,
    pub(crate) dropped: u8,
    // The truth that the word is compared with.
    /// Rings whose first step has happened.
    pub(crate) rings: u8,
    /// A ring was not followed by a delivery yet; on a level line, not by an ack.
    pub(crate) requested: bool,
    /// The level.
    pub(crate) raised: bool,
    /// The line's only trigger is its waiters. Otherwise it is an eventfd.
    pub(crate) waiters: bool,
    /// A level line has sent a message that has not been acked.
    pub(crate) unacked: bool,
    /// An ack is in progress and the level was raised at its start. The level is no message until
    /// the sources have been signalled.
    pub(crate) acking: bool,
    /// The line was acked while masked. The unmask has to signal the resamplefds.
    pub(crate) resample_postponed: bool,
    /// The line is moderated.
    pub(crate) moderated: bool,
    /// A moderated line has started a delivery, and the interval of that delivery has not ended.
    pub(crate) rests: bool,
    /// The reasons that the line is masked for. Sorted.
    pub(crate) reasons: Few<Reasons>,
    /// Those of them whose MASK has returned. Sorted.
    pub(crate) returned: Few<Reasons>,
    /// Transitions that have not been notified yet.
    pub(crate) unnotified: i8,
    /// Signals to the resamplefds that are due.
    pub(crate) unsignalled: i8,
    /// The largest number of rings that a query has reported.
    pub(crate) reported: u8,
    pub(crate) violation: Option<Rule>,
}

impl ModelState for State {
    fn violation(&self) -> Option<Rule> {
        self.violation
    }
}

impl State {
    pub(crate) fn new(model: &LineModel, word: u32) -> Self {
        Self {
            word,
            threads: smallvec![
                Thread {
                    ops_left: model.ops_each,
                    at: Position::Idle,
                };
                model.threads
            ],
            relays: [Position::Idle; 2],
            defer: Position::Idle,
            parked: Position::Idle,
            helper: Position::Idle,
            expiry: Position::Idle,
            relay_queued: false,
            defer_queued: false,
            timer_queued: false,
            deliveries: 0,
            coalesced: 0,
            dropped: 0,
            rings: 0,
            requested: false,
            raised: false,
            waiters: word & WAITERS != 0,
            unacked: false,
            acking: false,
            resample_postponed: false,
            moderated: model.moderated,
            rests: false,
            reasons: Few::new(),
            returned: Few::new(),
            unnotified: 0,
            unsignalled: 0,
            reported: 0,
            violation: None,
        }
    }

    /// Returns the state with a mask for `reason`.
    pub(crate) fn masked(mut self, reason: Reasons) -> Self {
        self.word |= reason.masked();
        insert(&mut self.reasons, reason);
        self
    }

    /// Returns the positions of all threads and callbacks.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        let others = [self.defer, self.parked, self.helper, self.expiry];
        let callbacks = self.relays.into_iter().chain(others);
        self.threads.iter().map(|thread| thread.at).chain(callbacks)
    }

    /// Returns true if the line is that of a new context, which is not restored yet.
    pub(crate) fn is_migrating(&self) -> bool {
        self.positions()
            .any(|at| matches!(at, Position::Restore { .. }))
    }

    /// Returns true if `op` may begin. While the line is saved, it is masked and no thread uses it. Until
    /// it is restored, it can only be rung.
    pub(crate) fn allows(&self, model: &LineModel, op: Op) -> bool {
        if self.is_migrating() {
            return matches!(op, Op::Ring | Op::Wake);
        }
        let idle = |thread: &Thread| thread.at == Position::Idle;
        op != Op::Migrate
            || !self.returned.is_empty()
                && self.word & IN_PROGRESS == 0
                && self.helper == Position::Idle
                && self.threads.iter().all(idle)
                && (self.is_settled() || !model.functions.save_waits)
    }

    /// Returns true if no callback has taken signals that it has not sent yet.
    fn is_settled(&self) -> bool {
        let settled = |at: &Position| {
            matches!(
                at,
                Position::Idle | Position::Take | Position::TakeMessage | Position::TakeOwed
            )
        };
        self.relays.iter().all(settled) && settled(&self.defer)
    }

    /// Records a violation, unless there is an earlier one.
    pub(crate) fn fail(&mut self, rule: Rule) {
        self.violation.get_or_insert(rule);
    }

    pub(crate) fn pending(&self) -> bool {
        self.word & PENDING != 0
    }

    /// Returns the number of rings that have coalesced but are not counted yet.
    pub(crate) fn uncounted(&self) -> u8 {
        self.positions()
            .filter(|at| matches!(at, Position::Coalesced(_)))
            .count() as u8
    }

    /// Returns true if the line should have a message, by the truth and not by the word.
    pub(crate) fn wanted(&self, model: &LineModel) -> bool {
        if model.level {
            (self.requested || (self.raised && !self.acking)) && !self.unacked
        } else {
            self.requested
        }
    }

    pub(crate) fn queue(&mut self, callback: Callback) {
        match callback {
            Callback::Relay => self.relay_queued = true,
            Callback::Defer => self.defer_queued = true,
        }
    }

    /// Returns true if a deliverable message has an owner that cannot be preempted or a callback that
    /// is queued or runs, if signals that a callback owes have such a callback, and if a parked delivery will be continued.
    pub(crate) fn is_prompt(&self) -> bool {
        let worker = |at: &Position| matches!(at, Position::Queue { callback, .. } if *callback == Callback::Defer);
        if self.parked != Position::Idle && !self.defer_queued && !self.relays.iter().any(worker) {
            return false;
        }
        let queues = |at: &Position| matches!(at, Position::Queue { pinned: true, .. });
        let takes = |at: &Position| matches!(at, Position::Take | Position::TakeMessage);
        let runs = |at: &Position| takes(at) || queues(at);
        // The end of each interval is queued, or a thread or interrupt that cannot be preempted is
        // ending it.
        let ends =
            |at: Position| matches!(at, Position::Expire | Position::ChangeModeration { .. });
        let starts = |at: Position| matches!(at, Position::StartTimer { pinned: true, .. });
        if self.word & HELD != 0
            && !self.timer_queued
            && !self.positions().any(|at| ends(at) || starts(at))
        {
            return false;
        }
        let deliverable = self.word & (PENDING | MASKED | HELD | IN_PROGRESS) == PENDING;
        !deliverable && self.word & OWED == 0
            || self.relay_queued
            || self.defer_queued
            || self.relays.iter().any(runs)
            || runs(&self.defer)
            || self.defer == Position::TakeOwed
            || self.defer_takes_owed()
            || queues(&self.helper)
            || queues(&self.expiry)
            || self.threads.iter().any(|thread| queues(&thread.at))
    }

    /// Returns true if the worker finishes a parked delivery and then takes what it owes.
    fn defer_takes_owed(&self) -> bool {
        let mut at = self.defer;
        at.then().is_some_and(|then| *then == Continuation::Worker)
    }
}

/// A short list in place: to copy a state allocates nothing.
pub(crate) type Few<T> = SmallVec<[T; 4]>;

/// Adds `reason` to the sorted set `reasons`.
pub(crate) fn insert(reasons: &mut Few<Reasons>, reason: Reasons) {
    if let Err(at) = reasons.binary_search(&reason) {
        reasons.insert(at, reason);
    }
}
