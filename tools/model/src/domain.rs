// SPDX-License-Identifier: GPL-2.0-only

//! Readers that look something up and use it, and others who replace it and free it when no reader
//! has it any more.
//!
//! This mirrors rust/kernel_ext/domain.rs, which cannot be compiled here: each access to a counter, to
//! the phase, or to the pointer is one step. There each of them that has to be is fully ordered.

use crate::{the_rules_hold, Judged, Rule};
use stateright::{Model, Property};

/// A mistake in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The pointer is read before the reader is counted.
    CountLate,
    /// Only the phase that new readers use is waited for.
    OnePhase,
    /// Only the first CPU's readers are waited for.
    OneCpu,
    /// One counts down on whatever CPU it is by then, and the sum is waited for.
    Sum,
    /// What is replaced is waited for before it is.
    WaitEarly,
}

/// Readers and those who replace what they read.
#[derive(Clone)]
pub struct Readers {
    /// Readers, on two CPUs in turn.
    pub readers: u8,
    /// How often each of them reads.
    pub reads: u8,
    /// How many replace it, once each.
    pub writers: u8,
    /// What is wrong with it.
    pub mistake: Option<Mistake>,
}

/// As the module has it.
pub const REAL: Readers = Readers {
    readers: 2,
    reads: 2,
    writers: 2,
    mistake: None,
};

/// What is walked through.
pub fn scenarios() -> [(&'static str, Readers); 2] {
    let three = Readers {
        readers: 3,
        reads: 1,
        ..REAL
    };
    [
        ("readers: 2 that read twice, replaced twice", REAL),
        ("readers: 3 that read once, replaced twice", three),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Idle,
    /// It has read the phase.
    Phase(u8),
    /// It is counted there, and has read the pointer, or not.
    Counted(u8, Option<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reader {
    at: At,
    reads: u8,
    /// What it has read too early.
    early: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Replace,
    Lock,
    /// It sees the counters of the other phase, then those of its own, of the CPUs from there on.
    Drain {
        own: bool,
        cpu: u8,
    },
    Flip,
    Free,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Writer {
    step: Step,
    /// What it has made unreachable.
    old: u8,
    /// The phase when it began to wait.
    phase: u8,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// By CPU and phase.
    counters: [[i8; 2]; 2],
    phase: u8,
    pointer: u8,
    freed: Vec<bool>,
    waiting: bool,
    readers: Vec<Reader>,
    writers: Vec<Writer>,
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
    /// A reader.
    Read(usize),
    /// Somebody who replaces.
    Write(usize),
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.broken.get_or_insert(rule);
    }

    fn read(&mut self, model: &Readers, who: usize) {
        let reader = self.readers[who];
        let cpu = who % 2;
        let pointer = self.pointer;
        self.readers[who].at = match reader.at {
            At::Idle => {
                if model.mistake == Some(Mistake::CountLate) {
                    self.readers[who].early = Some(pointer);
                }
                At::Phase(self.phase)
            }
            At::Phase(phase) => {
                self.counters[cpu][usize::from(phase)] += 1;
                At::Counted(phase, reader.early)
            }
            At::Counted(phase, None) => At::Counted(phase, Some(pointer)),
            At::Counted(phase, Some(used)) => {
                if self.freed[usize::from(used)] {
                    self.fail(Rule::Freed);
                }
                // Somebody has moved it to the other one.
                let cpu = match model.mistake {
                    Some(Mistake::Sum) => 1 - cpu,
                    _ => cpu,
                };
                self.counters[cpu][usize::from(phase)] -= 1;
                self.readers[who].reads -= 1;
                At::Idle
            }
        };
    }

    /// Whether somebody can go on.
    fn can(&self, model: &Readers, writer: &Writer) -> bool {
        match writer.step {
            Step::Lock => !self.waiting,
            Step::Drain { own, cpu } => {
                let phase = usize::from(if own { writer.phase } else { 1 - writer.phase });
                match model.mistake {
                    // The sum is taken step by step; here it is enough to look at the last.
                    Some(Mistake::Sum) => cpu == 0 || self.counters[1][phase] <= 0,
                    _ => self.counters[usize::from(cpu)][phase] == 0,
                }
            }
            Step::Done => false,
            _ => true,
        }
    }

    fn write(&mut self, model: &Readers, who: usize) {
        let mut writer = self.writers[who];
        let last = match model.mistake {
            Some(Mistake::OneCpu) => 0,
            _ => 1,
        };
        let early = model.mistake == Some(Mistake::WaitEarly);
        writer.step = match writer.step {
            Step::Replace => {
                writer.old = self.pointer;
                // Never seen before.
                self.pointer = self.freed.len() as u8;
                self.freed.push(false);
                if early {
                    Step::Free
                } else {
                    Step::Lock
                }
            }
            Step::Lock => {
                self.waiting = true;
                writer.phase = self.phase;
                match model.mistake {
                    Some(Mistake::OnePhase) => Step::Flip,
                    _ => Step::Drain { own: false, cpu: 0 },
                }
            }
            Step::Drain { own, cpu } if cpu < last => Step::Drain { own, cpu: cpu + 1 },
            Step::Drain { own: false, .. } => Step::Flip,
            Step::Flip => {
                self.phase = 1 - writer.phase;
                Step::Drain { own: true, cpu: 0 }
            }
            Step::Drain { own: true, .. } => {
                self.waiting = false;
                if early {
                    Step::Replace
                } else {
                    Step::Free
                }
            }
            Step::Free => {
                self.freed[usize::from(writer.old)] = true;
                Step::Done
            }
            Step::Done => Step::Done,
        };
        self.writers[who] = writer;
    }
}

impl Model for Readers {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let reader = Reader {
            at: At::Idle,
            reads: self.reads,
            early: None,
        };
        let writer = Writer {
            step: match self.mistake {
                Some(Mistake::WaitEarly) => Step::Lock,
                _ => Step::Replace,
            },
            old: 0,
            phase: 0,
        };
        vec![State {
            counters: [[0; 2]; 2],
            phase: 0,
            pointer: 0,
            freed: vec![false],
            waiting: false,
            readers: vec![reader; usize::from(self.readers)],
            writers: vec![writer; usize::from(self.writers)],
            broken: None,
        }]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.broken.is_some() {
            return;
        }
        let readers = state.readers.iter().enumerate();
        let readers = readers.filter(|(_, reader)| reader.reads > 0);
        moves.extend(readers.map(|(who, _)| Move::Read(who)));
        let writers = state.writers.iter().enumerate();
        let writers = writers.filter(|(_, writer)| state.can(self, writer));
        moves.extend(writers.map(|(who, _)| Move::Write(who)));
    }

    fn next_state(&self, state: &State, who: Move) -> Option<State> {
        let mut next = state.clone();
        match who {
            Move::Read(who) => next.read(self, who),
            Move::Write(who) => next.write(self, who),
        }
        let mut moves = Vec::new();
        self.actions(&next, &mut moves);
        let done = |writer: &Writer| writer.step == Step::Done;
        if moves.is_empty() && !next.writers.iter().all(done) {
            next.fail(Rule::Stuck);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        the_rules_hold()
    }
}
