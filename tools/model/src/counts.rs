// SPDX-License-Identifier: GPL-2.0-only

//! A line that counts its rings: threads that ring, mask, unmask and clear it, and assign and deassign the
//! trigger that counts.
//!
//! The transitions are those of rust/line/state.rs. The steps mirror rust/line.rs: the ring that changes the word
//! and the units at once, and the owner that takes the units after it has taken the message.
//!
//! `due` is the truth: the rings that have happened, and that no delivery has added and no CLEAR has dropped.

use crate::{
    all_rules_hold,
    line::{
        self, Action, Origin, Place, Provenance, Reasons, Taken, COUNTS, IDLE, IN_PROGRESS, PENDING,
    },
    ModelState, Rule,
};
use stateright::{Model, Property};

/// An operation of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// A ring in a context where eventfds may be signalled.
    Ring,
    /// A signal to an irqfd.
    Wake,
    /// MASK, without its wait.
    Mask,
    /// UNMASK.
    Unmask,
    /// CLEAR.
    Clear,
    /// Assigns the trigger that counts, or deassigns it.
    Assign,
}

const OPS: [Op; 6] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Assign,
];

/// The mistakes of the mutants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// A ring counts, and then changes the word.
    RingCountsBefore,
    /// A ring changes the word, and then counts.
    RingCountsAfter,
    /// CLEAR changes the word, and then drops the units.
    ClearDropsAfter,
    /// CLEAR leaves the units.
    ClearLeaves,
    /// A delivery reads the units, and then zeroes them.
    TakeInTwoSteps,
    /// A delivery adds one.
    AddsOne,
    /// The last deassign leaves the units.
    DeassignLeaves,
    /// An assignment does not count the message that is pending.
    AssignForgets,
    /// A delivery takes the units before it takes the message.
    TakesBeforeMessage,
}

/// The next step of a thread or of the callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Position {
    Idle,
    /// A ring whose unit is counted changes the word.
    ChangeWord,
    /// A ring that has changed the word counts; then it does what its action says.
    CountAfter(Then),
    /// The owner takes the units.
    Take,
    /// The owner zeroes the units that it has read.
    Zero(u8),
    /// The owner signals so many units.
    Signal(u8),
    /// The owner drops the units.
    Drop,
    /// The owner changes the triggers.
    Change,
    /// The owner releases the line.
    Release,
    /// The callback takes the message.
    Callback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Then {
    Nothing,
    Deliver,
    Queue,
}

/// The state of the line, its threads and its callback.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    word: u32,
    units: u32,
    /// The trigger is assigned.
    assigned: bool,
    /// Rings that were not added or dropped yet. They are in `units`, or taken by the owner.
    due: u8,
    /// The position of each thread, and the number of operations that it has left.
    threads: Vec<(Position, u8)>,
    queued: bool,
    callback: Position,
    violation: Option<Rule>,
}

impl ModelState for State {
    fn violation(&self) -> Option<Rule> {
        self.violation
    }
}

/// A line with threads of some operations each.
#[derive(Clone)]
pub struct Counts {
    threads: usize,
    ops_each: u8,
    mistake: Mistake,
}

impl Counts {
    /// Returns a mutant.
    pub(crate) const fn with(mistake: Mistake) -> Self {
        Self {
            threads: 3,
            ops_each: 2,
            mistake,
        }
    }
}

/// Returns the models to explore.
pub fn scenarios() -> Vec<(&'static str, Counts)> {
    let real = |threads, ops_each| Counts {
        threads,
        ops_each,
        mistake: Mistake::None,
    };
    vec![
        ("counting line: 2 threads, 3 operations each", real(2, 3)),
        ("counting line: 3 threads, 2 operations each", real(3, 2)),
        ("counting line: 4 threads, 1 operation each", real(4, 1)),
    ]
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A thread begins an operation.
    Begin(usize, Op),
    /// A thread executes its next step.
    Thread(usize),
    /// The callback starts or continues.
    Callback,
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.violation.get_or_insert(rule);
    }

    fn counts(&self) -> bool {
        self.word & COUNTS != 0
    }

    /// Changes the word as a ring does. Returns what the ring does then.
    fn ring(&mut self, origin: Origin, mistake: Mistake) -> Then {
        let counts = self.counts();
        let (word, units, action) = line::ring_counted(self.word, self.units, origin);
        self.word = word;
        if !matches!(
            mistake,
            Mistake::RingCountsBefore | Mistake::RingCountsAfter
        ) {
            self.units = units;
        }
        self.due += u8::from(counts);
        match action {
            Action::Deliver(_) => Then::Deliver,
            Action::Relay => Then::Queue,
            _ => Then::Nothing,
        }
    }

    fn then(&mut self, then: Then) -> Position {
        match then {
            Then::Nothing => Position::Idle,
            Then::Deliver => Position::Take,
            Then::Queue => {
                self.queued = true;
                Position::Idle
            }
        }
    }

    fn drop_units(&mut self, units: u32, due: u8) {
        if units != u32::from(due) {
            self.fail(if units > u32::from(due) {
                Rule::Lost
            } else {
                Rule::Count
            });
        }
        self.due = self.due.saturating_sub(due);
    }

    /// Begins `op`. Returns none if it has to wait.
    fn begin(&mut self, op: Op, mistake: Mistake) -> Option<Position> {
        const VECTOR: Reasons = Reasons::VECTOR;
        Some(match op {
            Op::Ring | Op::Wake => {
                let origin = match op {
                    Op::Ring => Origin::Caller,
                    _ => Origin::Wake(Provenance::NOTHING),
                };
                match mistake {
                    Mistake::RingCountsBefore if op == Op::Ring => {
                        self.units += u32::from(self.counts());
                        Position::ChangeWord
                    }
                    Mistake::RingCountsBefore => {
                        self.units += u32::from(self.counts());
                        let then = self.ring(origin, mistake);
                        self.then(then)
                    }
                    Mistake::RingCountsAfter => Position::CountAfter(self.ring(origin, mistake)),
                    _ => {
                        let then = self.ring(origin, mistake);
                        self.then(then)
                    }
                }
            }
            Op::Mask => {
                self.word = line::mask(self.word, VECTOR).0;
                Position::Idle
            }
            Op::Unmask => match line::unmask(self.word, VECTOR) {
                (_, Taken::Busy) => return None,
                (word, taken) => {
                    self.word = word;
                    match taken {
                        Taken::Done {
                            message: Some(_), ..
                        } => Position::Take,
                        _ => Position::Idle,
                    }
                }
            },
            Op::Clear => {
                let (word, units, (taken, dropped)) = line::clear_counted(self.word, self.units);
                match taken {
                    Taken::Busy => return None,
                    Taken::Nothing => Position::Idle,
                    Taken::Done { .. } => {
                        self.word = word;
                        match mistake {
                            Mistake::ClearDropsAfter => {
                                // What is due now must be dropped, and nothing else.
                                self.due = 0;
                                Position::Drop
                            }
                            Mistake::ClearLeaves => {
                                self.due = 0;
                                Position::Release
                            }
                            _ => {
                                self.units = units;
                                self.drop_units(dropped, self.due);
                                Position::Release
                            }
                        }
                    }
                }
            }
            Op::Assign => {
                if self.word & IN_PROGRESS != 0 {
                    return None;
                }
                self.word = line::claim(self.word).0;
                Position::Change
            }
        })
    }

    /// Executes the step `at`.
    fn step(&mut self, at: Position, place: Place, mistake: Mistake) -> Position {
        match at {
            Position::Idle => Position::Idle,
            Position::ChangeWord => {
                let then = self.ring(Origin::Caller, mistake);
                self.then(then)
            }
            Position::CountAfter(then) => {
                self.units += u32::from(self.counts());
                self.then(then)
            }
            Position::Take => {
                let units = self.units as u8;
                match mistake {
                    Mistake::TakeInTwoSteps => Position::Zero(units),
                    Mistake::AddsOne => {
                        self.units = 0;
                        Position::Signal(u8::from(self.counts()))
                    }
                    _ => {
                        self.units = 0;
                        Position::Signal(units)
                    }
                }
            }
            Position::Zero(units) => {
                self.units = 0;
                Position::Signal(units)
            }
            Position::Signal(units) => {
                if units > self.due {
                    self.fail(Rule::Invented);
                }
                self.due = self.due.saturating_sub(units);
                Position::Release
            }
            Position::Drop => {
                if self.units > 0 && self.due > 0 {
                    self.fail(Rule::Lost);
                }
                self.units = 0;
                Position::Release
            }
            Position::Change => {
                if self.assigned {
                    let (word, units, ()) = line::uncount(self.word, self.units);
                    self.word = word;
                    self.due = 0;
                    if mistake != Mistake::DeassignLeaves {
                        self.units = units;
                    }
                } else {
                    let left = self.units;
                    let (word, units, _) = line::count(self.word, self.units);
                    self.word = word;
                    self.units = match mistake {
                        Mistake::AssignForgets => 0,
                        Mistake::DeassignLeaves => left,
                        _ => units,
                    };
                    self.due = u8::from(self.word & PENDING != 0);
                }
                self.assigned = !self.assigned;
                Position::Release
            }
            Position::Release => match line::release(self.word, 0, place) {
                (word, Action::Deliver(_)) => {
                    self.word = word;
                    Position::Take
                }
                (word, action) => {
                    self.word = word;
                    self.queued |= action == Action::Relay;
                    Position::Idle
                }
            },
            Position::Callback => {
                let before = (mistake == Mistake::TakesBeforeMessage).then(|| {
                    let units = self.units as u8;
                    self.units = 0;
                    units
                });
                match line::take(self.word) {
                    (word, Action::Deliver(_)) => {
                        self.word = word;
                        before.map_or(Position::Take, Position::Signal)
                    }
                    _ => Position::Idle,
                }
            }
        }
    }

    /// Returns the units that an owner has taken and not signalled yet.
    fn taken(&self) -> u32 {
        let at = self.threads.iter().map(|thread| thread.0);
        at.chain([self.callback])
            .map(|at| match at {
                Position::Signal(units) => u32::from(units),
                _ => 0,
            })
            .sum()
    }

    fn check(&mut self, model: &Counts, stuck: bool) {
        if model.mistake == Mistake::None && self.units + self.taken() != u32::from(self.due) {
            self.fail(Rule::Count);
        }
        if !stuck {
            return;
        }
        let idle = |at: &(Position, u8)| at.0 == Position::Idle;
        if !self.threads.iter().all(idle) {
            self.fail(Rule::Stuck);
        }
        // Only a message that is masked leaves rings undelivered.
        if self.due > 0 && self.word & PENDING == 0 {
            self.fail(Rule::Lost);
        }
        if u32::from(self.due) != self.units {
            let more = self.units > u32::from(self.due);
            self.fail(if more { Rule::Invented } else { Rule::Lost });
        }
    }
}

impl Model for Counts {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let state = |word, assigned| State {
            word,
            units: 0,
            assigned,
            due: 0,
            threads: vec![(Position::Idle, self.ops_each); self.threads],
            queued: false,
            callback: Position::Idle,
            violation: None,
        };
        vec![state(COUNTS, true), state(IDLE, false)]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.violation.is_some() {
            return;
        }
        for (index, thread) in state.threads.iter().enumerate() {
            if index > 0 && state.threads[index - 1] == *thread {
                continue;
            }
            match thread {
                (Position::Idle, 0) => {}
                (Position::Idle, _) => {
                    let can = |op: &Op| state.clone().begin(*op, self.mistake).is_some();
                    let ops = OPS.into_iter().filter(can);
                    moves.extend(ops.map(|op| Move::Begin(index, op)));
                }
                _ => moves.push(Move::Thread(index)),
            }
        }
        if state.queued || state.callback != Position::Idle {
            moves.push(Move::Callback);
        }
    }

    fn next_state(&self, state: &State, step: Move) -> Option<State> {
        let mut next = state.clone();
        match step {
            Move::Begin(index, op) => {
                next.threads[index].0 = next.begin(op, self.mistake)?;
                next.threads[index].1 -= 1;
            }
            Move::Thread(index) => {
                let at = next.threads[index].0;
                next.threads[index].0 = next.step(at, Place::Caller, self.mistake);
            }
            Move::Callback => {
                let at = next.callback;
                next.callback = if at == Position::Idle {
                    next.queued = false;
                    Position::Callback
                } else {
                    next.step(at, Place::Interrupt, self.mistake)
                };
            }
        }
        next.threads.sort_unstable();
        let mut moves = Vec::new();
        self.actions(&next, &mut moves);
        next.check(self, moves.is_empty());
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        all_rules_hold()
    }
}
