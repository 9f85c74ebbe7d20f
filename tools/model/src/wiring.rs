// SPDX-License-Identifier: GPL-2.0-only

//! A line and its users: threads that each do some operations, in any order, and the callbacks.

use crate::{
    line::{self, Action, From, Taken, HELD, IDLE, MASKED, PENDING},
    the_rules_hold, Judged, Rule,
};
use stateright::{Model, Property};

/// What a thread can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// DOORBELL_RING, or another ring from where eventfds may be signalled.
    Ring,
    /// A signal to an irqfd.
    Wake,
    /// The same at the end of a long chain of relays.
    FarWake,
    /// DOORBELL_MASK.
    Mask,
    /// DOORBELL_UNMASK.
    Unmask,
    /// DOORBELL_CLEAR.
    Clear,
    /// An assign or deassign: holds the line.
    Rewire,
    /// DOORBELL_QUERY.
    Query,
}

/// All of them.
pub const OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::FarWake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Rewire,
    Op::Query,
];

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
    pub(crate) hold: Step<()>,
    pub(crate) leave: fn(u32, u32) -> (u32, Action),
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
}

/// As the module has them.
pub const REAL: Functions = Functions {
    ring: line::ring,
    take: line::take,
    mask: line::mask,
    unmask: line::unmask,
    clear: line::clear,
    hold: line::hold,
    leave: line::leave,
    mask_waits: true,
    queue_last: true,
    query_checks: true,
    query_word_first: true,
    counts: true,
    notify_once: true,
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
    /// How many messages a holder is taken to have delivered already; near the limit, it is reached.
    pub rounds: u32,
    /// What they use.
    pub functions: Functions,
}

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
enum Then {
    Return,
    /// MASK returns; `still`: nobody has unmasked since.
    Masked {
        still: bool,
    },
}

/// What a query has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Seen {
    /// At least that many rings must be reported.
    least: u8,
    step: u8,
    before: u32,
    deliveries: u8,
    dropped: u8,
    pending: bool,
    coalesced: u8,
}

/// Where a thread or callback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    Idle,
    // Not holding.
    Coalesced,
    Queue(Callback),
    /// The word changes only now (broken: the callback is queued already).
    Late(Op),
    MaskWaits {
        newly: bool,
        still: bool,
    },
    Take,
    Query(Seen),
    QueryWaits(Seen),
    // Holding.
    MaskNotify {
        newly: bool,
        still: bool,
    },
    UnmaskNotify {
        message: bool,
    },
    Drop,
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
    fn holds(self) -> bool {
        matches!(
            self,
            At::MaskNotify { .. }
                | At::UnmaskNotify { .. }
                | At::Drop
                | At::Rewiring
                | At::QueryHolds(_)
                | At::Count { .. }
                | At::Signal { .. }
                | At::Leave { .. }
        )
    }

    fn delivers(self) -> bool {
        matches!(self, At::Count { .. } | At::Signal { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Thread {
    left: u8,
    at: At,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    word: u32,
    /// Sorted: which is which does not matter.
    threads: Vec<Thread>,
    /// An irq_work can be queued again on another CPU while it runs.
    relays: [At; 2],
    defer: At,
    relay_queued: bool,
    defer_queued: bool,
    // The counters that the module keeps.
    deliveries: u8,
    coalesced: u8,
    dropped: u8,
    // What the module does not know.
    /// Rings whose first step has happened.
    rings: u8,
    /// There was a ring since a message was last taken.
    fresh: bool,
    /// MASK has returned, and nobody has unmasked since.
    quiet: bool,
    /// Transitions that have not been notified yet.
    unnotified: i8,
    /// What a query has reported.
    reported: u8,
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
    /// A thread goes on.
    Thread(usize),
    /// A thread begins something.
    Begin(usize, Op),
    /// The irq_work starts or goes on.
    Relay(usize),
    /// The work item starts or goes on.
    Defer,
}

impl State {
    fn new(model: &Wiring, word: u32) -> Self {
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
            relay_queued: false,
            defer_queued: false,
            deliveries: 0,
            coalesced: 0,
            dropped: 0,
            rings: 0,
            fresh: false,
            quiet: false,
            unnotified: 0,
            reported: 0,
            broken: None,
        }
    }

    fn everybody(&self) -> impl Iterator<Item = At> + '_ {
        let callbacks = self.relays.into_iter().chain([self.defer]);
        self.threads.iter().map(|thread| thread.at).chain(callbacks)
    }

    fn fail(&mut self, rule: Rule) {
        self.broken.get_or_insert(rule);
    }

    fn pending(&self) -> bool {
        self.word & PENDING != 0
    }

    /// The compare-exchange that takes a message: here its delivery starts.
    fn start(&mut self) {
        if !self.fresh {
            self.fail(Rule::Invented);
        }
        if self.quiet {
            self.fail(Rule::MaskBarrier);
        }
        self.fresh = false;
    }

    /// Somebody has unmasked the line.
    fn unmasked(&mut self) {
        self.quiet = false;
        for thread in &mut self.threads {
            match &mut thread.at {
                At::MaskWaits { still, .. } | At::MaskNotify { still, .. } => *still = false,
                At::Count { then, .. } | At::Signal { then, .. } | At::Leave { then, .. } => {
                    if let Then::Masked { still } = then {
                        *still = false;
                    }
                }
                _ => {}
            }
        }
    }

    fn ring(&mut self, model: &Wiring, from: From) -> At {
        let (word, action) = (model.functions.ring)(self.word, from);
        self.word = word;
        self.rings += 1;
        self.fresh = true;
        match action {
            Action::Deliver { .. } => {
                self.start();
                At::Count {
                    rounds: model.rounds,
                    then: Then::Return,
                }
            }
            Action::Relay => At::Queue(Callback::Relay),
            Action::Defer => At::Queue(Callback::Defer),
            Action::Coalesce => At::Coalesced,
            Action::Leave | Action::Keep => At::Idle,
        }
    }

    /// The first step of `op`; none if it would have to wait.
    fn begin(&mut self, model: &Wiring, op: Op) -> Option<At> {
        let functions = &model.functions;
        Some(match op {
            Op::Ring => self.ring(model, From::Caller),
            Op::Wake | Op::FarWake if !functions.queue_last => {
                self.queue(Callback::Relay);
                At::Late(op)
            }
            Op::Wake => self.ring(model, From::Wake { hops: 0 }),
            Op::FarWake => self.ring(
                model,
                From::Wake {
                    hops: line::RELAY_LIMIT,
                },
            ),
            Op::Mask => {
                let (word, newly) = (functions.mask)(self.word);
                let free = self.word & HELD == 0;
                self.word = if functions.mask_waits || free {
                    word
                } else {
                    self.word | MASKED
                };
                self.unnotified += i8::from(newly);
                let still = true;
                match (free, functions.mask_waits) {
                    (true, _) => At::MaskNotify { newly, still },
                    (false, true) => At::MaskWaits { newly, still },
                    (false, false) => {
                        self.unnotified -= i8::from(newly);
                        self.masked(still);
                        At::Idle
                    }
                }
            }
            Op::Unmask => {
                let (word, taken) = (functions.unmask)(self.word);
                match taken {
                    Taken::Busy => return None,
                    Taken::Nothing => At::Idle,
                    Taken::Done { message } => {
                        self.word = word;
                        self.unmasked();
                        self.unnotified += 1;
                        if message.is_some() {
                            self.start();
                        }
                        At::UnmaskNotify {
                            message: message.is_some(),
                        }
                    }
                }
            }
            Op::Clear => {
                let (word, taken) = (functions.clear)(self.word);
                match taken {
                    Taken::Busy => return None,
                    Taken::Nothing => At::Idle,
                    Taken::Done { .. } => {
                        self.word = word;
                        if !self.fresh {
                            self.fail(Rule::Pending);
                        }
                        self.fresh = false;
                        At::Drop
                    }
                }
            }
            Op::Rewire => {
                if self.word & HELD != 0 {
                    return None;
                }
                self.word = (functions.hold)(self.word).0;
                At::Rewiring
            }
            Op::Query => At::Query(Seen {
                // What has been reported stays.
                least: (self.rings - self.uncounted()).max(self.reported),
                before: self.word,
                ..Default::default()
            }),
        })
    }

    /// Rings that have coalesced, but are not counted yet.
    fn uncounted(&self) -> u8 {
        self.everybody().filter(|&at| at == At::Coalesced).count() as u8
    }

    fn masked(&mut self, still: bool) {
        if still {
            self.quiet = true;
        }
    }

    fn queue(&mut self, callback: Callback) {
        match callback {
            Callback::Relay => self.relay_queued = true,
            Callback::Defer => self.defer_queued = true,
        }
    }

    /// The next step of whoever is at `at`; none if it has to wait.
    fn step(&mut self, model: &Wiring, at: At) -> Option<At> {
        let functions = &model.functions;
        let rounds = model.rounds;
        Some(match at {
            At::Idle => return None,
            At::Coalesced => {
                self.coalesced += 1;
                At::Idle
            }
            At::Queue(callback) => {
                self.queue(callback);
                At::Idle
            }
            At::Late(op) => {
                let hops = if op == Op::Wake { 0 } else { line::RELAY_LIMIT };
                match self.ring(model, From::Wake { hops }) {
                    At::Queue(_) => At::Idle,
                    other => other,
                }
            }
            At::MaskWaits { newly, still } => {
                if self.word & HELD != 0 {
                    return None;
                }
                self.word = (functions.hold)(self.word).0;
                At::MaskNotify { newly, still }
            }
            At::MaskNotify { newly, still } => {
                if newly || !functions.notify_once {
                    self.unnotified -= 1;
                }
                At::Leave {
                    rounds,
                    then: Then::Masked { still },
                }
            }
            At::UnmaskNotify { message } => {
                self.unnotified -= 1;
                let then = Then::Return;
                if message {
                    At::Count { rounds, then }
                } else {
                    At::Leave { rounds, then }
                }
            }
            At::Drop => {
                self.dropped += 1;
                At::Leave {
                    rounds,
                    then: Then::Return,
                }
            }
            At::Rewiring => At::Leave {
                rounds,
                then: Then::Return,
            },
            At::Take => {
                let (word, action) = (functions.take)(self.word);
                self.word = word;
                match action {
                    Action::Deliver { .. } => {
                        self.start();
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
                let (word, action) = (functions.leave)(self.word, rounds);
                self.word = word;
                match action {
                    Action::Deliver { .. } => {
                        self.start();
                        At::Count { rounds, then }
                    }
                    action => {
                        if let Then::Masked { still } = then {
                            self.masked(still);
                        }
                        match action {
                            Action::Relay => At::Queue(Callback::Relay),
                            Action::Defer => At::Queue(Callback::Defer),
                            _ => At::Idle,
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
            2 => seen.pending = self.pending(),
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

    /// What must be true of every state.
    fn judge(&mut self, model: &Wiring) {
        let holders = self.everybody().filter(|at| at.holds()).count();
        if holders != usize::from(self.word & HELD != 0) {
            self.fail(Rule::Holder);
        }
        if self.quiet && self.everybody().any(At::delivers) {
            self.fail(Rule::MaskBarrier);
        }
        if self.pending() && !self.fresh {
            self.fail(Rule::Pending);
        }
        let mut moves = Vec::new();
        model.actions(self, &mut moves);
        if moves.is_empty() {
            self.judge_end();
        }
    }

    /// What must be true when nobody can do anything any more.
    fn judge_end(&mut self) {
        if self.everybody().any(|at| at != At::Idle) {
            self.fail(Rule::Stuck);
        }
        let counted = self.deliveries + self.coalesced + self.dropped + u8::from(self.pending());
        if self.fresh && !(self.pending() && self.word & MASKED != 0) {
            self.fail(Rule::Lost);
        }
        if counted != self.rings {
            self.fail(Rule::Count);
        }
        if self.unnotified != 0 {
            self.fail(Rule::Notify);
        }
    }

    /// Forgets what can make no difference any more, so that states that differ in it only are one.
    fn normalise(&mut self, model: &Wiring) {
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
        vec![State::new(self, IDLE), State::new(self, MASKED)]
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
        }
        if state.defer != At::Idle || state.defer_queued {
            moves.push(Move::Defer);
        }
    }

    fn next_state(&self, state: &State, who: Move) -> Option<State> {
        let mut next = state.clone();
        match who {
            Move::Thread(who) => {
                let at = next.threads[who].at;
                let after = next.step(self, at)?;
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
                    at => next.step(self, at)?,
                };
            }
            Move::Defer => {
                next.defer = match next.defer {
                    At::Idle => {
                        next.defer_queued = false;
                        At::Take
                    }
                    at => next.step(self, at)?,
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
