// SPDX-License-Identifier: GPL-2.0-only

//! Versions of the summary's protocol with one deliberate mistake. Each must lose a line.

use super::{
    take::{self, Taker},
    words::{self, Marked, Words},
    Memory, Order, Protocol, LINES, REAL,
};
use loom::sync::atomic::Ordering::Relaxed;

/// A protocol with a mistake.
pub(super) struct Mutant {
    /// A description of the mistake.
    pub(super) name: &'static str,
    /// The index of the scenario that finds it.
    pub(super) scenario: usize,
    pub(super) protocol: Protocol,
}

/// The words and bits of a line at the three levels.
fn places(line: u32) -> [(usize, u64); 3] {
    let (word, group) = (line / 64, line / 64 / 64);
    [
        (words::LINES + word as usize, 1 << (line % 64)),
        (words::GROUPS + group as usize, 1 << (word % 64)),
        (words::TOP, 1 << group),
    ]
}

/// Marks a line at the three levels in the given order, with the wake-up that belongs to it.
fn mark_in_order(memory: &Memory, line: u32, order: [usize; 3]) -> Marked {
    let places = places(line);
    let mut first = false;
    for level in order {
        let (at, bit) = places[level];
        let before = memory.fetch_or(at, bit);
        first |= at == words::TOP && before == 0;
    }
    if first {
        Marked::First
    } else {
        Marked::Joined
    }
}

/// Returns early if the line's own bit is set.
fn mark_once(memory: &Memory, line: u32) -> Marked {
    let (at, bit) = places(line)[0];
    if memory.fetch_or(at, bit) & bit != 0 {
        return Marked::Before;
    }
    words::mark(memory, line)
}

/// Sets the line's bit by a load and a store.
fn mark_by_store(memory: &Memory, line: u32) -> Marked {
    let (at, bit) = places(line)[0];
    let before = memory.word(at).load(Relaxed);
    memory.word(at).store(before | bit, Relaxed);
    mark_in_order(memory, line, [1, 2, 2])
}

/// Wakes only if the word of the line had no bit.
fn mark_and_wake_by_word(memory: &Memory, line: u32) -> Marked {
    let (at, bit) = places(line)[0];
    let before = memory.fetch_or(at, bit);
    let (at, bit) = places(line)[1];
    memory.fetch_or(at, bit);
    let (at, bit) = places(line)[2];
    memory.fetch_or(at, bit);
    if before == 0 {
        Marked::First
    } else {
        Marked::Joined
    }
}

/// Takes the words of lines first, and then clears the words above.
fn take_upwards(memory: &Memory, _: &mut Taker) -> Option<u32> {
    let found = LINES.into_iter().find(|&line| {
        let (at, bit) = places(line)[0];
        memory.word(at).load(Relaxed) & bit != 0
    });
    match found {
        Some(line) => {
            let (at, bit) = places(line)[0];
            memory.operation(Order::Full, at, |word, order| word.fetch_and(!bit, order));
        }
        None => {
            for at in [words::GROUPS, words::TOP] {
                take::Words::take(memory, at);
            }
        }
    }
    found
}

/// Clears the line's word by a load and a store.
fn take_by_store(memory: &Memory, _: &mut Taker) -> Option<u32> {
    take::Words::take(memory, words::TOP);
    take::Words::take(memory, words::GROUPS);
    let word = memory.word(words::LINES);
    let lines = word.load(Relaxed);
    word.store(lines & lines.wrapping_sub(1), Relaxed);
    super::full_fence();
    (lines != 0).then(|| lines.trailing_zeros())
}

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the producer sets the top word first",
        scenario: 1,
        protocol: Protocol {
            mark: |memory, line| mark_in_order(memory, line, [2, 0, 1]),
            ..REAL
        },
    },
    Mutant {
        name: "the producer sets the group's word last",
        scenario: 1,
        protocol: Protocol {
            mark: |memory, line| mark_in_order(memory, line, [0, 2, 1]),
            ..REAL
        },
    },
    Mutant {
        name: "the producer sets the line's bit after the group's",
        scenario: 3,
        protocol: Protocol {
            mark: |memory, line| mark_in_order(memory, line, [1, 0, 2]),
            ..REAL
        },
    },
    Mutant {
        name: "the consumer's operations have no order",
        scenario: 10,
        protocol: Protocol {
            consume: Order::Relaxed,
            look: Order::Relaxed,
            ..REAL
        },
    },
    Mutant {
        name: "the load that leaves out the consumer's exchange has no order",
        scenario: 10,
        protocol: Protocol {
            look: Order::Relaxed,
            ..REAL
        },
    },
    Mutant {
        name: "the producer stops if the line's bit is set, and a consumer has died",
        scenario: 6,
        protocol: Protocol {
            mark: mark_once,
            ..REAL
        },
    },
    Mutant {
        name: "the producer sets the line's bit by a store",
        scenario: 3,
        protocol: Protocol {
            mark: mark_by_store,
            ..REAL
        },
    },
    Mutant {
        name: "the producer wakes if the line's word was empty, and a consumer has died",
        scenario: 9,
        protocol: Protocol {
            mark: mark_and_wake_by_word,
            ..REAL
        },
    },
    Mutant {
        name: "the producer wakes before it marks",
        scenario: 1,
        protocol: Protocol {
            wakes_early: true,
            ..REAL
        },
    },
    Mutant {
        name: "the consumer clears the words from the bottom to the top",
        scenario: 3,
        protocol: Protocol {
            take: take_upwards,
            ..REAL
        },
    },
    Mutant {
        name: "the consumer clears the line's word by a store",
        scenario: 3,
        protocol: Protocol {
            take: take_by_store,
            ..REAL
        },
    },
    Mutant {
        name: "the consumer looks before it registers",
        scenario: 0,
        protocol: Protocol {
            looks_early: true,
            ..REAL
        },
    },
];
