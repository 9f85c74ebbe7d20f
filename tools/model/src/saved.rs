// SPDX-License-Identifier: GPL-2.0-only

//! The states of a line that DOORBELL_SAVE can find.
//!
//! A search over the words that the functions of rust/line/state.rs reach from that of a new line. It must
//! find exactly the states that DOORBELL_RESTORE accepts. The table of them, with the calls that lead to
//! each, is tools/testing/selftests/doorbell/saved_states.h: `doorbell-model saved` prints it.

use crate::line::{
    self, Acked, Action, Origin, Place, Provenance, Reasons, Reply, Taken, IDLE, IN_PROGRESS,
    LEVEL, MAX_ROUNDS, PENDING, SAVED,
};
use crate::line_model::save;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write,
};

/// The table that the selftest is built with.
const TABLE: &str = include_str!("../../testing/selftests/doorbell/saved_states.h");

/// The result of a check.
pub struct Checked {
    /// True if it has passed.
    pub ok: bool,
    /// The claim.
    pub name: &'static str,
    /// Figures.
    pub more: String,
}

/// The number of checks.
pub const RESULTS: usize = 4;

/// The calls that the table names by one letter each. A call of the wrong type of line changes nothing.
const CALLS: [char; 16] = [
    'E', 'L', 'A', 'a', 'r', 'k', 'c', '+', '-', '0', '1', '2', '3', 'v', 'f', 'p',
];

/// Returns the mask reason of a bit.
fn reason(bit: u32) -> Reasons {
    Reasons::new(1 << bit).expect("a reason")
}

/// Releases the line as its owner does, and delivers what is pending.
fn settle(mut word: u32) -> u32 {
    while word & IN_PROGRESS != 0 {
        word = line::release(word, 0, Place::Caller).0;
    }
    word
}

/// Returns the word after `call` by the only thread.
fn after(word: u32, call: char) -> u32 {
    let automask = word & line::AUTOMASK != 0;
    let level = word & LEVEL != 0;
    let retype = |level, automask| line::retype(word, level, automask).0;
    let taken = |(word, taken): (u32, Taken)| {
        assert_ne!(taken, Taken::Busy);
        settle(word)
    };
    match call {
        'E' => retype(false, automask),
        'L' => retype(true, automask),
        'A' => retype(level, true),
        'a' => retype(level, false),
        'r' => settle(line::ring(word, Origin::Caller).0),
        'k' => match line::ack(word) {
            (acked, Some(Acked::Done { again: true, .. })) => {
                settle(line::assert_again(acked, Origin::Caller).0)
            }
            (acked, _) => acked,
        },
        'c' => taken(line::clear(word)),
        '+' => settle(line::raise(word, Origin::Caller).0),
        '-' => settle(line::lower(word).0),
        // Masks for a reason, and the end of it.
        '0' | '1' | '2' | '3' => line::mask(word, reason(call as u32 - '0' as u32)).0,
        'v' => taken(line::unmask(word, reason(0))),
        'f' => taken(line::unmask(word, reason(1))),
        'p' => taken(line::unmask(word, reason(2))),
        _ => panic!("no such call"),
    }
}

/// Returns the words after one step of any thread or callback, by any function.
fn steps(word: u32) -> Vec<u32> {
    let wake = Origin::Wake(Provenance::NOTHING);
    let mut next = vec![
        line::ring(word, Origin::Caller).0,
        line::ring(word, wake).0,
        line::take(word).0,
        line::take_all(word).0,
        line::take_message(word).0,
        line::take_owed(word).0,
        line::clear(word).0,
        line::raise(word, Origin::Caller).0,
        line::raise(word, wake).0,
        line::lower(word).0,
        line::claim(word).0,
        line::ack(word).0,
    ];
    for bits in 1..16 {
        let reasons = Reasons::new(bits).expect("reasons");
        next.push(line::mask(word, reasons).0);
        next.push(line::unmask(word, reasons).0);
        next.push(line::unmask_nowait(word, reasons).0);
    }
    for (level, automask) in [(false, false), (false, true), (true, false), (true, true)] {
        next.push(line::retype(word, level, automask).0);
    }
    for (ack, unmask) in [(true, false), (false, true), (true, true)] {
        for listened in [false, true] {
            let reply = Reply { ack, unmask };
            next.push(line::reply(word, reply, listened, Provenance::NOTHING).0);
        }
    }
    if line::is_in_ack(word) {
        next.push(line::assert_again(word, Origin::Caller).0);
        next.push(line::assert_again(word, wake).0);
    }
    if word & IN_PROGRESS != 0 {
        for rounds in [0, MAX_ROUNDS] {
            next.push(line::release(word, rounds, Place::Caller).0);
        }
        // The owner has added a trigger.
        next.push(line::renew(word).0);
    }
    next
}

/// Returns all that can be reached from a new line.
fn reachable<T: Copy + Ord>(new: T, next: impl Fn(T) -> Vec<T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::from([new]);
    let mut todo = VecDeque::from([new]);
    while let Some(at) = todo.pop_front() {
        for after in next(at) {
            if seen.insert(after) {
                todo.push_back(after);
            }
        }
    }
    seen
}

/// Returns the words that a single thread reaches, each with the shortest list of calls.
fn by_calls() -> BTreeMap<u32, String> {
    let mut seen = BTreeMap::from([(IDLE, String::new())]);
    let mut todo = VecDeque::from([IDLE]);
    while let Some(at) = todo.pop_front() {
        for call in CALLS {
            let word = after(at, call);
            if !seen.contains_key(&word) {
                let calls = format!("{}{call}", seen[&at]);
                seen.insert(word, calls);
                todo.push_back(word);
            }
        }
    }
    seen
}

/// Returns the states in which DOORBELL_SAVE can find a line.
fn states() -> BTreeSet<u32> {
    reachable(IDLE, steps)
        .into_iter()
        .filter(|word| word & IN_PROGRESS == 0)
        .map(|word| save(word).0)
        .collect()
}

/// Returns the content of the table.
pub fn table() -> String {
    let calls = by_calls();
    let mut table = String::from(
        "/* SPDX-License-Identifier: GPL-2.0-only */\n\
         /*\n\
         \x20* The states of a line that DOORBELL_SAVE can find, and the calls that lead to each. A state\n\
         \x20* without calls exists only while another thread or a callback is at work. Printed by\n\
         \x20* \"doorbell-model saved\", which also compares it.\n\
         \x20*\n\
         \x20* E, L: edge, level type. A, a: automask on, off. r: ring. k: ack. c: clear. +, -: raise,\n\
         \x20* lower. 0 to 3: mask with that bit of DOORBELL_MASK_*. v, f, p: end of bit 0, 1, 2.\n\
         \x20*/\n",
    );
    for state in states() {
        let steps = match calls.get(&state) {
            Some(calls) => format!("\"{calls}\""),
            None => "NULL".into(),
        };
        writeln!(table, "{{ 0x{state:05x}, {steps} }},").expect("a string");
    }
    table
}

/// Returns true if a ring of the restored line would be delivered like one of the saved line, whatever
/// other bits the word has.
fn merges(saved: u32) -> bool {
    let base = line::restore(IDLE | IN_PROGRESS, saved).0;
    let rung = line::ring(IDLE | IN_PROGRESS, Origin::Wake(Provenance::new(3, true))).0;
    let (word, coalesced) = line::restore(rung, saved);
    // The same as a ring after the restore.
    let (expected, action) = line::ring(base, Origin::Wake(Provenance::new(3, true)));
    word & SAVED == expected & SAVED && coalesced == (action == Action::Coalesce)
}

/// Checks the table, and the functions that save and restore.
pub fn all() -> impl Iterator<Item = Checked> {
    let words = reachable(IDLE, steps);
    let states = states();
    let restorable: BTreeSet<u32> = (0..=SAVED)
        .filter(|bits| bits & !SAVED == 0 && line::is_restorable(*bits))
        .collect();
    let owned = words.iter().all(|word| line::is_restorable(save(*word).0));
    // All but the window between an ack and the next message of a raised level.
    let same = states.iter().all(|&saved| {
        let (word, coalesced) = line::restore(IDLE | IN_PROGRESS, saved);
        let expected = saved | if line::is_in_ack(saved) { PENDING } else { 0 };
        word == expected | IN_PROGRESS && !coalesced
    });
    let merged = states.iter().all(|&saved| merges(saved));
    let count = states.len();
    let mut all = Vec::new();
    let mut check = |ok, name, more| all.push(Checked { ok, name, more });
    check(
        owned && states == restorable,
        "the states that can be saved are those that can be restored",
        format!("{count} states of {} words", words.len()),
    );
    check(
        same,
        "a restored line is in the state that was saved",
        format!("{count} states"),
    );
    check(
        merged,
        "a ring before the restore is as good as one after it",
        format!("{count} states"),
    );
    check(
        table() == TABLE,
        "the table of the selftest is current",
        "doorbell-model saved > tools/testing/selftests/doorbell/saved_states.h".into(),
    );
    all.into_iter()
}
