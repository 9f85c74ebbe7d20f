// SPDX-License-Identifier: GPL-2.0-only

//! Mutation of programs: calls are inserted, removed, repeated and moved, fields changed, and two programs
//! joined.

use crate::{
    arena::THREADS,
    generate::{call, call_of, spread, value},
    program::{Program, MAX_CALLS},
};
use fastrand::Rng;

/// Returns a mutant of `program`. `other` is another program of the corpus.
pub fn mutate(random: &mut Rng, program: &Program, other: &Program) -> Program {
    let mut mutant = program.clone();
    for _ in 0..1 + random.usize(..3) {
        step(random, &mut mutant, other);
    }
    if random.u32(..8) == 0 && mutant.calls.len() > 3 {
        let threads = 1 + random.usize(..THREADS);
        let begin = random.usize(..mutant.calls.len());
        spread(random, &mut mutant.calls[begin..], threads);
    }
    mutant.calls.truncate(MAX_CALLS);
    mutant
}

fn step(random: &mut Rng, program: &mut Program, other: &Program) {
    let calls = &mut program.calls;
    let len = calls.len();
    let at = random.usize(..len.max(1));
    match random.u32(..20) {
        0..=6 => {
            let mut new = call(random);
            new.thread = calls.get(at).map_or(0, |call| call.thread);
            calls.insert(random.usize(..=len), new);
        }
        _ if len == 0 => {}
        7..=12 => {
            let call = &mut calls[at];
            let fields = call.form().fields;
            if !fields.is_empty() {
                let field = random.usize(..fields.len());
                call.values[field] = match random.u32(..4) {
                    0 => call.values[field].wrapping_add(1),
                    1 => call.values[field].wrapping_sub(1),
                    _ => value(random, fields[field].domain),
                };
            }
        }
        13..=14 => {
            calls.remove(at);
        }
        15 => {
            let again = calls[at];
            calls.insert(random.usize(..=len), again);
        }
        16 => calls.swap(at, random.usize(..len)),
        17 => {
            let (thread, form) = (calls[at].thread, calls[at].form);
            calls[at] = call_of(random, form);
            calls[at].thread = thread;
        }
        _ if other.calls.is_empty() => {}
        _ => {
            let from = random.usize(..other.calls.len());
            let to = random.usize(from..=other.calls.len());
            let tail = calls.split_off(random.usize(..=len));
            calls.extend_from_slice(&other.calls[from..to]);
            calls.extend(tail);
        }
    }
}
