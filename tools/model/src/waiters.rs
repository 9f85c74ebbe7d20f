// SPDX-License-Identifier: GPL-2.0-only

//! The model of a line's waiters: threads that sleep until the line delivers.
//!
//! It mirrors rust/line/waiters.rs and rust/kernel_ext/swait_queue.rs, which need the kernel's wait queues
//! and cannot be compiled here. All that happens under one hold of the queue's lock is one step.

use crate::{all_rules_hold, ModelState, Rule};
use stateright::{Model, Property};

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A thread that leaves does not wake the next one.
    KeepWakeUp,
    /// A thread does not test for a delivery between queueing and sleeping.
    SleepUnchecked,
    /// The owner of the line wakes a thread before it counts the delivery.
    WakeEarly,
    /// A thread consumes the deliveries before it stores their number.
    StoreLate,
    /// A thread consumes the deliveries although another one has consumed them meanwhile.
    NoExchange,
    /// Deassigning the waiters wakes no thread.
    EndNone,
}

/// A line with deliveries and waiters.
#[derive(Clone)]
pub struct Waiters {
    /// The number of deliveries.
    pub deliveries: u8,
    /// The number of threads. Each waits once.
    pub threads: u8,
    /// The number of threads that can get a signal, or that have a timeout.
    pub impatient: u8,
    /// The number of threads that cannot store the number of deliveries.
    pub faulty: u8,
    /// The waiters are deassigned once.
    pub deassigned: bool,
    /// The mistake, if there is one.
    pub mistake: Option<Mistake>,
}

/// The module's waiters.
pub const REAL: Waiters = Waiters {
    deliveries: 3,
    threads: 3,
    impatient: 1,
    faulty: 1,
    deassigned: false,
    mistake: None,
};

/// Returns the models to explore.
pub fn scenarios() -> [(&'static str, Waiters); 3] {
    [
        ("waiters: 3 threads, 3 deliveries", REAL),
        (
            "waiters: the same, all with timeouts",
            Waiters {
                impatient: 3,
                faulty: 0,
                ..REAL
            },
        ),
        (
            "waiters: deassigned while 3 threads wait",
            Waiters {
                deassigned: true,
                deliveries: 2,
                ..REAL
            },
        ),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Reads the counters.
    Take,
    /// Stores the number of deliveries from the first value to the second.
    Store(u8, u8),
    /// Consumes them.
    Exchange(u8, u8),
    /// Adds itself to the queue.
    Queue,
    /// Tests for a delivery before it sleeps.
    Check,
    Sleeps,
    /// Removes itself from the queue.
    Leave,
    /// Wakes the next thread if there is a delivery left.
    PassOn,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Thread {
    at: At,
    impatient: bool,
    faulty: bool,
    /// It was queued, so it has to remove itself.
    was_queued: bool,
    /// It was woken and has not run since.
    woken: bool,
    /// A signal has arrived, or the time has passed.
    gives_up: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    threads: Vec<Thread>,
    /// The threads in the queue, the one that sleeps longest first.
    queue: Vec<usize>,
    deliveries: u8,
    taken: u8,
    /// The sum of what the threads have returned.
    returned: u8,
    /// Deliveries that are left.
    left: u8,
    /// The owner has executed the first of its two steps.
    halfway: bool,
    /// The waiters are not assigned any more.
    over: bool,
    /// Deassigning has to wake a thread yet.
    ends: bool,
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
    /// The owner of the line counts a delivery, or wakes a thread.
    Deliver,
    /// The waiters are deassigned, or then woken.
    Deassign,
    /// A thread executes its next step.
    Run(usize),
    /// A signal for a thread arrives, or its time passes.
    GiveUp(usize),
}

impl State {
    fn ready(&self) -> bool {
        self.over || self.deliveries != self.taken
    }

    fn wake_one(&mut self) {
        if !self.queue.is_empty() {
            let first = self.queue.remove(0);
            self.threads[first].woken = true;
        }
    }

    fn deliver(&mut self, model: &Waiters) {
        let wakes = self.halfway != (model.mistake == Some(Mistake::WakeEarly));
        if wakes {
            self.wake_one();
        } else {
            self.deliveries += 1;
        }
        self.left -= u8::from(self.halfway);
        self.halfway = !self.halfway;
    }

    fn deassign(&mut self, model: &Waiters) {
        if !self.over {
            (self.over, self.ends) = (true, true);
            return;
        }
        self.ends = false;
        // It wakes the next one.
        if model.mistake != Some(Mistake::EndNone) {
            self.wake_one();
        }
    }

    fn run(&mut self, model: &Waiters, index: usize) {
        let Thread {
            at,
            faulty,
            was_queued,
            gives_up,
            ..
        } = self.threads[index];
        let leave = if was_queued { At::Leave } else { At::Done };
        let late = model.mistake == Some(Mistake::StoreLate);
        let next = match at {
            At::Take if self.over => leave,
            At::Take if self.deliveries != self.taken => match late {
                false => At::Store(self.taken, self.deliveries),
                true => At::Exchange(self.taken, self.deliveries),
            },
            At::Take if gives_up => leave,
            At::Take => At::Queue,
            At::Store(..) if faulty => leave,
            At::Store(from, to) if late => {
                self.returned += to - from;
                leave
            }
            At::Store(from, to) => At::Exchange(from, to),
            At::Exchange(from, to)
                if from == self.taken || model.mistake == Some(Mistake::NoExchange) =>
            {
                self.taken = to;
                if late {
                    At::Store(from, to)
                } else {
                    self.returned += to - from;
                    leave
                }
            }
            At::Exchange(..) => At::Take,
            At::Queue => {
                self.threads[index].was_queued = true;
                self.threads[index].woken = false;
                if !self.queue.contains(&index) {
                    self.queue.push(index);
                }
                if model.mistake == Some(Mistake::SleepUnchecked) {
                    At::Sleeps
                } else {
                    At::Check
                }
            }
            At::Check if self.ready() => At::Take,
            At::Check => At::Sleeps,
            At::Sleeps => At::Take,
            At::Leave => {
                self.queue.retain(|other| *other != index);
                if model.mistake == Some(Mistake::KeepWakeUp) {
                    At::Done
                } else {
                    At::PassOn
                }
            }
            At::PassOn => {
                if self.ready() {
                    self.wake_one();
                }
                At::Done
            }
            At::Done => At::Done,
        };
        self.threads[index].at = next;
    }

    /// Checks a state in which nothing happens any more unless a signal arrives or a time passes.
    fn check_end(&mut self) {
        if self.threads.iter().any(|thread| thread.at == At::Sleeps) && self.ready() {
            self.fail(Rule::Stuck);
        }
        if self.returned != self.taken {
            self.fail(Rule::Count);
        }
    }

    fn fail(&mut self, rule: Rule) {
        self.violation.get_or_insert(rule);
    }
}

impl Model for Waiters {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let thread = |index| Thread {
            at: At::Take,
            impatient: index < self.impatient,
            faulty: self.threads - index <= self.faulty,
            was_queued: false,
            woken: false,
            gives_up: false,
        };
        vec![State {
            threads: (0..self.threads).map(thread).collect(),
            queue: Vec::new(),
            deliveries: 0,
            taken: 0,
            returned: 0,
            left: self.deliveries,
            halfway: false,
            over: false,
            ends: false,
            violation: None,
        }]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.violation.is_some() {
            return;
        }
        if state.left > 0 {
            moves.push(Move::Deliver);
        }
        if self.deassigned && (!state.over || state.ends) {
            moves.push(Move::Deassign);
        }
        for (index, thread) in state.threads.iter().enumerate() {
            let runs = match thread.at {
                At::Done => false,
                At::Sleeps => thread.woken || thread.gives_up,
                _ => true,
            };
            if runs {
                moves.push(Move::Run(index));
            }
            if thread.impatient && !thread.gives_up && thread.at != At::Done {
                moves.push(Move::GiveUp(index));
            }
        }
    }

    fn next_state(&self, state: &State, step: Move) -> Option<State> {
        let mut next = state.clone();
        match step {
            Move::Deliver => next.deliver(self),
            Move::Deassign => next.deassign(self),
            Move::Run(index) => next.run(self, index),
            Move::GiveUp(index) => next.threads[index].gives_up = true,
        }
        let mut moves = Vec::new();
        self.actions(&next, &mut moves);
        if moves.iter().all(|step| matches!(step, Move::GiveUp(_))) {
            next.check_end();
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        all_rules_hold()
    }
}
