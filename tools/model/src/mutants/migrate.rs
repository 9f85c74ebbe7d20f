// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the state that is saved, and in its restore.

use super::Mutant;
use crate::{
    line::{self, ASSERTED, MASKED, PENDING, RAISED, REASONS, RESAMPLE, SAVED},
    line_model::{Functions, REAL},
    Rule::{Asserted, Count, Invented, Lost, MaskBarrier, Pending, Resample, State},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::migrate(
        "a pending message is not saved",
        &[Count, Lost],
        Functions {
            save: |word| word & SAVED & !PENDING,
            ..REAL
        },
    ),
    Mutant::migrate(
        "a mask is not saved",
        &[Lost, State, MaskBarrier],
        Functions {
            save: |word| word & SAVED & !(MASKED | REASONS),
            ..REAL
        },
    ),
    Mutant::migrate(
        "a ring before the restore is lost",
        &[Count, Lost],
        Functions {
            restore: restore_loses_ring,
            ..REAL
        },
    ),
    Mutant::migrate(
        "the restore keeps the masks of the new line",
        &[State],
        Functions {
            restore: restore_keeps_mask,
            ..REAL
        },
    ),
    Mutant::migrate(
        "a ring that joins the saved message is not counted",
        &[Count],
        Functions {
            restore: restore_does_not_count,
            ..REAL
        },
    ),
    Mutant::level_migrate(
        "an assertion is not saved",
        &[State],
        Functions {
            save: |word| word & SAVED & !ASSERTED,
            ..REAL
        },
    ),
    Mutant::level_migrate(
        "a raised level is not saved",
        &[State],
        Functions {
            save: |word| word & SAVED & !RAISED,
            ..REAL
        },
    ),
    Mutant::level_migrate(
        "a postponed resample is not saved",
        &[Resample, State],
        Functions {
            save: |word| word & SAVED & !RESAMPLE,
            ..REAL
        },
    ),
    Mutant::level_migrate(
        "a ring before the restore is a message of an asserted line",
        &[Asserted, Invented, Pending],
        Functions {
            restore: restore_makes_message,
            ..REAL
        },
    ),
];

fn restore_loses_ring(state: u32, saved: u32) -> (u32, bool) {
    line::restore(state & !PENDING, saved)
}

fn restore_keeps_mask(state: u32, saved: u32) -> (u32, bool) {
    let (word, coalesced) = line::restore(state, saved);
    (word | state & (MASKED | REASONS), coalesced)
}

fn restore_does_not_count(state: u32, saved: u32) -> (u32, bool) {
    (line::restore(state, saved).0, false)
}

fn restore_makes_message(state: u32, saved: u32) -> (u32, bool) {
    let (word, coalesced) = line::restore(state, saved);
    if saved & (ASSERTED | PENDING) == ASSERTED && state & PENDING != 0 {
        (word | PENDING, false)
    } else {
        (word, coalesced)
    }
}
