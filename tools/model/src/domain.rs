// SPDX-License-Identifier: GPL-2.0-only

//! The model of a read domain: readers use an object, and writers replace and free it after a grace
//! period.
//!
//! The algorithm is that of SRCU: per-CPU counters for two phases, which the writer polls. The model
//! mirrors rust/kernel_ext/read_domain.rs, which cannot be compiled here. Each access to a counter, to the
//! phase or to the pointer is one step; in the module the accesses that need it are fully ordered.

use crate::{all_rules_hold, ModelState, Rule};
use stateright::{Model, Property};

/// A mistake in the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A reader reads the pointer before it is counted.
    CountLate,
    /// The writer waits only for the phase that new readers use.
    OnePhase,
    /// The writer waits only for readers of the first CPU.
    OneCpu,
    /// A reader that has migrated counts down on its new CPU, and the writer waits for the sum.
    Sum,
    /// The writer waits before it replaces the pointer.
    WaitEarly,
}

/// Readers of an object, and writers that replace it.
#[derive(Clone)]
pub struct Readers {
    /// The number of readers, which alternate between two CPUs.
    pub readers: u8,
    /// The number of reads of each reader.
    pub reads: u8,
    /// The number of writers. Each replaces the object once.
    pub writers: u8,
    /// The mistake, if any.
    pub mistake: Option<Mistake>,
}

/// The module's read domain.
pub const REAL: Readers = Readers {
    readers: 2,
    reads: 2,
    writers: 2,
    mistake: None,
};

/// Returns the models to explore.
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
    /// The reader has read the phase.
    Phase(u8),
    /// The reader is counted in the phase, and may have read the pointer.
    Counted(u8, Option<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reader {
    at: At,
    reads: u8,
    /// The pointer that it read before it was counted. Only a mutant does this.
    early: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Replace,
    Lock,
    /// Waits for the counter of a phase on `cpu`, then on the CPUs after it. The other phase comes
    /// first, then the writer's own.
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
    /// The object that it has replaced.
    old: u8,
    /// The phase at the start of its wait.
    phase: u8,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The number of readers by CPU and phase.
    counters: [[i8; 2]; 2],
    phase: u8,
    pointer: u8,
    freed: Vec<bool>,
    /// The lock that serialises the waits of writers is held.
    waiting: bool,
    readers: Vec<Reader>,
    writers: Vec<Writer>,
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
    /// A reader executes its next step.
    Read(usize),
    /// A writer executes its next step.
    Write(usize),
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.violation.get_or_insert(rule);
    }

    fn read(&mut self, model: &Readers, index: usize) {
        let reader = self.readers[index];
        let cpu = index % 2;
        let pointer = self.pointer;
        self.readers[index].at = match reader.at {
            At::Idle => {
                if model.mistake == Some(Mistake::CountLate) {
                    self.readers[index].early = Some(pointer);
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
                // The reader has migrated to the other CPU.
                let cpu = match model.mistake {
                    Some(Mistake::Sum) => 1 - cpu,
                    _ => cpu,
                };
                self.counters[cpu][usize::from(phase)] -= 1;
                self.readers[index].reads -= 1;
                At::Idle
            }
        };
    }

    /// Returns false if `writer` has to wait.
    fn can_continue(&self, model: &Readers, writer: &Writer) -> bool {
        match writer.step {
            Step::Lock => !self.waiting,
            Step::Drain { own, cpu } => {
                let phase = usize::from(if own { writer.phase } else { 1 - writer.phase });
                match model.mistake {
                    // The writer adds up one CPU at each step. It waits only at the last.
                    Some(Mistake::Sum) => cpu == 0 || self.counters[1][phase] <= 0,
                    _ => self.counters[usize::from(cpu)][phase] == 0,
                }
            }
            Step::Done => false,
            _ => true,
        }
    }

    fn write(&mut self, model: &Readers, index: usize) {
        let mut writer = self.writers[index];
        let last = match model.mistake {
            Some(Mistake::OneCpu) => 0,
            _ => 1,
        };
        let early = model.mistake == Some(Mistake::WaitEarly);
        writer.step = match writer.step {
            Step::Replace => {
                writer.old = self.pointer;
                // A new object.
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
        self.writers[index] = writer;
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
            violation: None,
        }]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.violation.is_some() {
            return;
        }
        let readers = state.readers.iter().enumerate();
        let readers = readers.filter(|(_, reader)| reader.reads > 0);
        moves.extend(readers.map(|(index, _)| Move::Read(index)));
        let writers = state.writers.iter().enumerate();
        let writers = writers.filter(|(_, writer)| state.can_continue(self, writer));
        moves.extend(writers.map(|(index, _)| Move::Write(index)));
    }

    fn next_state(&self, state: &State, step: Move) -> Option<State> {
        let mut next = state.clone();
        match step {
            Move::Read(index) => next.read(self, index),
            Move::Write(index) => next.write(self, index),
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
        all_rules_hold()
    }
}
