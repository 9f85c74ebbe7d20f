// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in a line that has waiters: in its state word, and in the waiters' queue.

use super::{Mutant, Subject};
use crate::{
    line::{self, Action, Origin, WAITERS},
    line_model::{Functions, REAL},
    ops::WAITER_OPS,
    waiters::{self, Mistake, Waiters},
    Rule::{Context, Count, State, Stuck},
};

pub(super) const MUTANTS: &[Mutant] = &[
    line(
        "a wake callback signals an eventfd",
        &[Context],
        Functions {
            ring: ring_delivers_anywhere,
            ..REAL
        },
    ),
    line(
        "the waiters' bit outlives the waiters",
        &[Context, State],
        Functions {
            set_waiters: set_waiters_for_ever,
            ..REAL
        },
    ),
    queue(
        "waiters: a thread that leaves keeps its wake-up",
        &[Stuck],
        Mistake::KeepWakeUp,
    ),
    queue(
        "waiters: a thread sleeps without a look at the counter",
        &[Stuck],
        Mistake::SleepUnchecked,
    ),
    queue(
        "waiters: the wake-up comes before the count",
        &[Stuck],
        Mistake::WakeEarly,
    ),
    queue(
        "waiters: deliveries are consumed before their number is stored",
        &[Count],
        Mistake::StoreLate,
    ),
    queue(
        "waiters: two threads consume the same deliveries",
        &[Count],
        Mistake::NoExchange,
    ),
    Mutant::new(
        "waiters: deassigning wakes no thread",
        &[Stuck],
        Subject::Waiters(Waiters {
            deassigned: true,
            mistake: Some(Mistake::EndNone),
            ..waiters::REAL
        }),
    ),
];

const fn line(name: &'static str, rules: &'static [crate::Rule], functions: Functions) -> Mutant {
    let subject = Subject::Line {
        ops: &WAITER_OPS,
        level: false,
        functions,
    };
    Mutant::new(name, rules, subject)
}

const fn queue(name: &'static str, rules: &'static [crate::Rule], mistake: Mistake) -> Mutant {
    let subject = Subject::Waiters(Waiters {
        mistake: Some(mistake),
        ..waiters::REAL
    });
    Mutant::new(name, rules, subject)
}

fn ring_delivers_anywhere(state: u32, from: Origin) -> (u32, Action) {
    let (after, action) = line::ring(state | WAITERS, from);
    (after & !WAITERS | state & WAITERS, action)
}

fn set_waiters_for_ever(state: u32, _waiters: bool) -> (u32, ()) {
    line::set_waiters(state, true)
}
