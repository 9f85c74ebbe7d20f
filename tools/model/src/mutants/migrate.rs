// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the state that is saved, and in its restore.

use super::Mutant;
use crate::{
    line::{self, Owed, ASSERTED, MASKED, OWED, PENDING, RAISED, REASONS, RESAMPLE, SAVED},
    line_model::{save, Functions, REAL},
    Rule::{Asserted, Count, Invented, Lost, MaskBarrier, Notify, Pending, Resample, State},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::migrate(
        "a pending message is not saved",
        &[Count, Lost],
        Functions {
            save: |word| (word & SAVED & !PENDING, None),
            ..REAL
        },
    ),
    Mutant::migrate(
        "a mask is not saved",
        &[Lost, State, MaskBarrier],
        Functions {
            save: |word| (word & SAVED & !(MASKED | REASONS), None),
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
            save: |word| (word & SAVED & !ASSERTED, None),
            ..REAL
        },
    ),
    Mutant::level_migrate(
        "a raised level is not saved",
        &[State],
        Functions {
            save: |word| (word & SAVED & !RAISED, None),
            ..REAL
        },
    ),
    Mutant::level_migrate(
        "a postponed resample is not saved",
        &[Resample, State],
        Functions {
            save: |word| (word & SAVED & !RESAMPLE, None),
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
    Mutant::ackfd_migrate(
        "signals that a callback owes end with the context",
        &[Notify],
        Functions {
            save: |word| (word & SAVED, None),
            ..REAL
        },
    ),
    Mutant::ackfd_migrate(
        "the save does not wait for the signals of a callback",
        &[Notify, Resample, Lost],
        Functions {
            save_waits: false,
            ..REAL
        },
    ),
    Mutant::ackfd_migrate(
        "the save signals resamplefds that wait for the unmask",
        &[Resample, State],
        Functions {
            save: save_ignores_mask,
            ..REAL
        },
    ),
    Mutant::ackfd_migrate(
        "a level that is saved in an ack is not the next message",
        &[Pending, Count],
        Functions {
            restore: restore_forgets_level,
            ..REAL
        },
    ),
    Mutant::save(
        "a save drops the message with the signals that it takes from a callback",
        &[Pending, Lost],
        Functions {
            take_owed: take_owed_drops_message,
            ..REAL
        },
    ),
    Mutant::save(
        "a save takes signals, and the callback sends them, too",
        &[Notify, Resample],
        Functions {
            take_owed: take_owed_leaves_it,
            ..REAL
        },
    ),
];

fn take_owed_drops_message(word: u32) -> (u32, Option<Owed>) {
    let (after, owed) = line::take_owed(word);
    (
        if owed.is_some() {
            after & !PENDING
        } else {
            after
        },
        owed,
    )
}

fn take_owed_leaves_it(word: u32) -> (u32, Option<Owed>) {
    let (after, owed) = line::take_owed(word);
    (after | word & OWED, owed)
}

fn save_ignores_mask(word: u32) -> (u32, Option<Owed>) {
    let (saved, owed) = save(word);
    match owed {
        Some(owed) if saved & RESAMPLE != 0 => {
            let resample = true;
            (saved & !RESAMPLE, Some(Owed { resample, ..owed }))
        }
        owed => (saved, owed),
    }
}

fn restore_forgets_level(state: u32, saved: u32) -> (u32, bool) {
    let (word, coalesced) = line::restore(state, saved);
    if line::is_in_ack(saved) && state & PENDING == 0 {
        return (word & !PENDING, coalesced);
    }
    (word, coalesced)
}

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
