// SPDX-License-Identifier: GPL-2.0-only

//! The model of a record ring: producers that reserve slots, and one consumer.
//!
//! It mirrors rust/bus/records.rs, which works on memory that userspace maps and cannot be compiled here.
//! Each access to a shared word is one step. A store with release ordering in the module is ordered
//! after earlier stores, as every step is here.

use crate::{all_rules_hold, ModelState, Rule};
use stateright::{Model, Property};

/// A mistake in the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A producer that finds the ring full does not check that its tail is current.
    OldTail,
    /// The ring takes one record more than it has slots.
    OneTooMany,
    /// A producer stores the sequence number before the record.
    PublishFirst,
    /// A producer reads and stores the tail in two steps.
    NoExchange,
    /// The consumer releases the slot before it reads the record.
    ReleaseFirst,
    /// The consumer accepts any sequence number.
    AnyNumber,
}

/// A ring and its users.
#[derive(Clone)]
pub struct Ring {
    /// The number of slots.
    pub len: u8,
    /// The number of producers.
    pub producers: u8,
    /// The number of writes of each producer.
    pub writes: u8,
    /// The mistake, if any.
    pub mistake: Option<Mistake>,
}

/// The module's record ring.
pub const REAL: Ring = Ring {
    len: 2,
    producers: 3,
    writes: 2,
    mistake: None,
};

/// Returns the models to explore.
pub fn scenarios() -> [(&'static str, Ring); 2] {
    let one_slot = Ring { len: 1, ..REAL };
    [
        ("records: 3 producers, 2 writes each, 2 slots", REAL),
        ("the same with 1 slot", one_slot),
    ]
}

/// A value that identifies a write and its producer. Zero is no write.
type Value = u8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Slot {
    sequence: u8,
    /// The record, in two words.
    words: [Value; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Idle,
    /// The producer has read the tail.
    Tail(u8),
    /// The ring has a free slot at this tail.
    Free(u8),
    /// The ring is full at this tail.
    Full(u8),
    /// The producer owns the slot of this number, and has executed that many of three stores.
    Filling(u8, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Producer {
    at: At,
    /// The number of writes that are left, including the current one.
    writes: u8,
    /// The ring was full at some moment since the write began.
    was_full: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    slots: Vec<Slot>,
    tail: u8,
    head: u8,
    producers: Vec<Producer>,
    /// The number of steps that the consumer has executed for the current record.
    reading: u8,
    /// The first word of the current record.
    first: Value,
    /// The last consumed value of each producer.
    last: Vec<Value>,
    consumed: u8,
    reserved: u8,
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
    /// A producer executes its next step.
    Produce(usize),
    /// The consumer executes its next step.
    Consume,
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.violation.get_or_insert(rule);
    }

    /// Returns true if all slots are reserved and none has been released.
    fn is_full(&self) -> bool {
        usize::from(self.tail.saturating_sub(self.head)) >= self.slots.len()
    }

    fn slot(&mut self, number: u8) -> &mut Slot {
        let at = usize::from(number) % self.slots.len();
        &mut self.slots[at]
    }

    fn produce(&mut self, model: &Ring, index: usize) {
        let value = index as u8 * model.writes + self.producers[index].writes;
        let has_free = |tail: u8, head: u8| match tail.checked_sub(head) {
            Some(used) if model.mistake == Some(Mistake::OneTooMany) => used <= model.len,
            Some(used) => used < model.len,
            None => false,
        };
        let next = match self.producers[index].at {
            At::Idle => {
                self.producers[index].was_full = false;
                At::Tail(self.tail)
            }
            At::Tail(tail) if has_free(tail, self.head) => At::Free(tail),
            At::Tail(tail) => At::Full(tail),
            At::Full(tail) if tail != self.tail && model.mistake != Some(Mistake::OldTail) => {
                At::Tail(self.tail)
            }
            At::Full(_) => {
                if !self.producers[index].was_full {
                    self.fail(Rule::Refused);
                }
                self.producers[index].writes -= 1;
                At::Idle
            }
            At::Free(tail) if tail != self.tail && model.mistake != Some(Mistake::NoExchange) => {
                At::Tail(self.tail)
            }
            At::Free(tail) => {
                self.tail = tail + 1;
                self.reserved += 1;
                At::Filling(tail, 0)
            }
            At::Filling(number, done) => {
                let step = match (model.mistake, done) {
                    (Some(Mistake::PublishFirst), 0) => 2,
                    (Some(Mistake::PublishFirst), done) => done - 1,
                    (_, done) => done,
                };
                let slot = self.slot(number);
                match step {
                    2 => slot.sequence = number + 1,
                    word => slot.words[usize::from(word)] = value,
                }
                if done == 2 {
                    self.producers[index].writes -= 1;
                    At::Idle
                } else {
                    At::Filling(number, done + 1)
                }
            }
        };
        self.producers[index].at = next;
    }

    /// Returns true if the consumer sees a record at the head.
    fn has_record(&self, model: &Ring) -> bool {
        let sequence = self.slots[usize::from(self.head) % self.slots.len()].sequence;
        match model.mistake {
            Some(Mistake::AnyNumber) => sequence != 0 && self.consumed < self.reserved,
            _ => sequence == self.head + 1,
        }
    }

    fn consume(&mut self, model: &Ring) {
        let early = model.mistake == Some(Mistake::ReleaseFirst);
        let number = if early && self.reading > 0 {
            self.head - 1
        } else {
            self.head
        };
        match self.reading {
            0 => {
                if early {
                    self.head += 1;
                }
                self.reading = 1;
            }
            1 => {
                self.first = self.slot(number).words[0];
                self.reading = 2;
            }
            _ => {
                let second = self.slot(number).words[1];
                self.check_record(model, second);
                self.reading = 0;
                if !early {
                    self.head += 1;
                }
            }
        }
    }

    /// Checks a record that the consumer has read.
    fn check_record(&mut self, model: &Ring, second: Value) {
        if self.first != second || second == 0 {
            self.fail(Rule::Invented);
            return;
        }
        self.consumed += 1;
        let index = usize::from((second - 1) / model.writes);
        // The values of a producer count down.
        if self.last[index] != 0 && self.last[index] <= second {
            self.fail(Rule::Invented);
        }
        self.last[index] = second;
    }
}

impl Model for Ring {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let producer = Producer {
            at: At::Idle,
            writes: self.writes,
            was_full: false,
        };
        vec![State {
            slots: vec![Slot::default(); usize::from(self.len)],
            tail: 0,
            head: 0,
            producers: vec![producer; usize::from(self.producers)],
            reading: 0,
            first: 0,
            last: vec![0; usize::from(self.producers)],
            consumed: 0,
            reserved: 0,
            violation: None,
        }]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.violation.is_some() {
            return;
        }
        let busy = state.producers.iter().enumerate();
        let busy = busy.filter(|(_, producer)| producer.writes > 0);
        moves.extend(busy.map(|(index, _)| Move::Produce(index)));
        if state.reading > 0 || state.has_record(self) {
            moves.push(Move::Consume);
        }
    }

    fn next_state(&self, state: &State, step: Move) -> Option<State> {
        let mut next = state.clone();
        match step {
            Move::Produce(index) => next.produce(self, index),
            Move::Consume => next.consume(self),
        }
        let full = next.is_full();
        for producer in next.producers.iter_mut() {
            producer.was_full |= full && producer.at != At::Idle;
        }
        // In a state without a next step, each reserved record has been consumed.
        let mut moves = Vec::new();
        self.actions(&next, &mut moves);
        if moves.is_empty() && next.consumed != next.reserved {
            next.fail(Rule::Lost);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        all_rules_hold()
    }
}
