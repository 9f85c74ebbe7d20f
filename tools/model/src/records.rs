// SPDX-License-Identifier: GPL-2.0-only

//! The ring of kept values: producers that take places in it, and one consumer.
//!
//! This mirrors rust/records.rs, which works on memory that userspace maps and cannot be compiled
//! here: each access to a word that others use is one step. What is stored with release ordering
//! there comes after what was stored before, as all steps do here.

use crate::{the_rules_hold, Judged, Rule};
use stateright::{Model, Property};

/// A mistake in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Who finds no room believes it, though the tail that it has read may be old.
    OldTail,
    /// One place too many.
    OneTooMany,
    /// The sequence number is stored before the rest.
    PublishFirst,
    /// The tail is read and stored, in two steps.
    NoExchange,
    /// The consumer gives the place back before it has read the record.
    GiveBackFirst,
    /// A record that is found is not looked at: it is taken whatever its number.
    AnyNumber,
}

/// A ring and its users.
#[derive(Clone)]
pub struct Ring {
    /// How many places.
    pub len: u8,
    /// How many producers.
    pub producers: u8,
    /// How often each of them writes.
    pub writes: u8,
    /// What is wrong with it.
    pub mistake: Option<Mistake>,
}

/// As the module has it.
pub const REAL: Ring = Ring {
    len: 2,
    producers: 3,
    writes: 2,
    mistake: None,
};

/// What is walked through.
pub fn scenarios() -> [(&'static str, Ring); 2] {
    let one_place = Ring { len: 1, ..REAL };
    [
        ("records: 3 producers, 2 writes each, 2 places", REAL),
        ("the same with 1 place", one_place),
    ]
}

/// A write, by who made it and which of its own it is. Zero is none.
type Value = u8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Place {
    sequence: u8,
    /// The record, in two words.
    words: [Value; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Idle,
    /// The tail has been read.
    Tail(u8),
    /// There is room before this tail.
    Room(u8),
    /// There is none.
    NoRoom(u8),
    /// It has the place with this number, and has done so many steps of three.
    Filling(u8, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Producer {
    at: At,
    /// Writes to come, with the one that it is at.
    writes: u8,
    /// There was no room at some time since the write began.
    was_full: bool,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    places: Vec<Place>,
    tail: u8,
    head: u8,
    producers: Vec<Producer>,
    /// Steps that the consumer has done with the record it is at, and the first word of that.
    reading: u8,
    first: Value,
    /// What was taken out last of each producer's, and how many in all.
    last: Vec<Value>,
    taken: u8,
    kept: u8,
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
    /// A producer.
    Produce(usize),
    /// The consumer.
    Consume,
}

impl State {
    fn fail(&mut self, rule: Rule) {
        self.broken.get_or_insert(rule);
    }

    /// As many as there are places are taken, as far as they have been given back.
    fn is_full(&self) -> bool {
        usize::from(self.tail.saturating_sub(self.head)) >= self.places.len()
    }

    fn place(&mut self, number: u8) -> &mut Place {
        let at = usize::from(number) % self.places.len();
        &mut self.places[at]
    }

    fn produce(&mut self, model: &Ring, who: usize) {
        let value = who as u8 * model.writes + self.producers[who].writes;
        let has_room = |tail: u8, head: u8| match tail.checked_sub(head) {
            Some(used) if model.mistake == Some(Mistake::OneTooMany) => used <= model.len,
            Some(used) => used < model.len,
            None => false,
        };
        let next = match self.producers[who].at {
            At::Idle => {
                self.producers[who].was_full = false;
                At::Tail(self.tail)
            }
            At::Tail(tail) if has_room(tail, self.head) => At::Room(tail),
            At::Tail(tail) => At::NoRoom(tail),
            At::NoRoom(tail) if tail != self.tail && model.mistake != Some(Mistake::OldTail) => {
                At::Tail(self.tail)
            }
            At::NoRoom(_) => {
                if !self.producers[who].was_full {
                    self.fail(Rule::Refused);
                }
                self.producers[who].writes -= 1;
                At::Idle
            }
            At::Room(tail) if tail != self.tail && model.mistake != Some(Mistake::NoExchange) => {
                At::Tail(self.tail)
            }
            At::Room(tail) => {
                self.tail = tail + 1;
                self.kept += 1;
                At::Filling(tail, 0)
            }
            At::Filling(number, done) => {
                let step = match (model.mistake, done) {
                    (Some(Mistake::PublishFirst), 0) => 2,
                    (Some(Mistake::PublishFirst), done) => done - 1,
                    (_, done) => done,
                };
                let place = self.place(number);
                match step {
                    2 => place.sequence = number + 1,
                    word => place.words[usize::from(word)] = value,
                }
                if done == 2 {
                    self.producers[who].writes -= 1;
                    At::Idle
                } else {
                    At::Filling(number, done + 1)
                }
            }
        };
        self.producers[who].at = next;
    }

    /// Whether the consumer would find a record.
    fn finds(&self, model: &Ring) -> bool {
        let sequence = self.places[usize::from(self.head) % self.places.len()].sequence;
        match model.mistake {
            Some(Mistake::AnyNumber) => sequence != 0 && self.taken < self.kept,
            _ => sequence == self.head + 1,
        }
    }

    fn consume(&mut self, model: &Ring) {
        let early = model.mistake == Some(Mistake::GiveBackFirst);
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
                self.first = self.place(number).words[0];
                self.reading = 2;
            }
            _ => {
                let second = self.place(number).words[1];
                self.take(model, second);
                self.reading = 0;
                if !early {
                    self.head += 1;
                }
            }
        }
    }

    /// The record has been read.
    fn take(&mut self, model: &Ring, second: Value) {
        if self.first != second || second == 0 {
            self.fail(Rule::Invented);
            return;
        }
        self.taken += 1;
        let who = usize::from((second - 1) / model.writes);
        // They count down.
        if self.last[who] != 0 && self.last[who] <= second {
            self.fail(Rule::Invented);
        }
        self.last[who] = second;
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
            places: vec![Place::default(); usize::from(self.len)],
            tail: 0,
            head: 0,
            producers: vec![producer; usize::from(self.producers)],
            reading: 0,
            first: 0,
            last: vec![0; usize::from(self.producers)],
            taken: 0,
            kept: 0,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        if state.broken.is_some() {
            return;
        }
        let busy = state.producers.iter().enumerate();
        let busy = busy.filter(|(_, producer)| producer.writes > 0);
        moves.extend(busy.map(|(who, _)| Move::Produce(who)));
        if state.reading > 0 || state.finds(self) {
            moves.push(Move::Consume);
        }
    }

    fn next_state(&self, state: &State, who: Move) -> Option<State> {
        let mut next = state.clone();
        match who {
            Move::Produce(who) => next.produce(self, who),
            Move::Consume => next.consume(self),
        }
        let full = next.is_full();
        for producer in next.producers.iter_mut() {
            producer.was_full |= full && producer.at != At::Idle;
        }
        // Nobody has anything left to do: all that was kept has been taken out.
        let mut moves = Vec::new();
        self.actions(&next, &mut moves);
        if moves.is_empty() && next.taken != next.kept {
            next.fail(Rule::Lost);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        the_rules_hold()
    }
}
