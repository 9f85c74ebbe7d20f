// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in masks that have several reasons, and in lines that mask themselves.

use super::Mutant;
use crate::{
    line::{
        self, Action, Masked, Origin, Place, Reasons, Taken, Unmasked, IN_PROGRESS, LEVEL, MASKED,
        PENDING, REASONS, RESAMPLE,
    },
    line_model::{Functions, REAL},
    Rule::{Lost, MaskBarrier, Notify, State},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::reasons(
        "UNMASK for one reason ends them all",
        &[Notify],
        Functions {
            unmask: unmask_ends_all,
            ..REAL
        },
    ),
    Mutant::reasons(
        "UNMASK for one reason delivers, and the line stays masked for the other",
        &[Notify],
        Functions {
            unmask: unmask_delivers_too_early,
            ..REAL
        },
    ),
    Mutant::reasons(
        "UNMASK for the last reason leaves the line masked",
        &[Lost, State],
        Functions {
            unmask: unmask_leaves_mask,
            ..REAL
        },
    ),
    Mutant::reasons(
        "UNMASK that does not wait ends a mask of another reason",
        &[Notify],
        Functions {
            unmask_nowait: unmask_nowait_ends_all,
            ..REAL
        },
    ),
    Mutant::reasons(
        "MASK for a second reason replaces the first one",
        &[MaskBarrier, State],
        Functions {
            mask: mask_replaces_reason,
            ..REAL
        },
    ),
    Mutant::automask(
        "a ring delivers and does not mask the line",
        &[MaskBarrier, State],
        Functions {
            ring: ring_does_not_automask,
            ..REAL
        },
    ),
    Mutant::automask(
        "a callback delivers and does not mask the line",
        &[MaskBarrier, State],
        Functions {
            take: take_does_not_automask,
            ..REAL
        },
    ),
    Mutant::automask(
        "the message of an unmask does not mask the line",
        &[MaskBarrier, State],
        Functions {
            unmask: unmask_does_not_automask,
            ..REAL
        },
    ),
    Mutant::automask(
        "the owner delivers again before the line masks itself",
        &[MaskBarrier, State],
        Functions {
            release: release_ignores_automask,
            ..REAL
        },
    ),
    Mutant::level_automask(
        "UNMASK for the vector signals the resamplefds of a line that has masked itself",
        &[Notify],
        Functions {
            unmask: unmask_resamples_too_early,
            ..REAL
        },
    ),
];

/// Returns `f` of a word that is masked for `reasons` only, with the other reasons put back.
fn alone<R>(state: u32, reasons: Reasons, f: fn(u32, Reasons) -> (u32, R)) -> (u32, R) {
    let others = state & REASONS & !reasons.masked();
    let (after, result) = f(state & !others, reasons);
    (after | others, result)
}

fn unmask_ends_all(state: u32, reasons: Reasons) -> (u32, Taken) {
    let (after, taken) = alone(state, reasons, line::unmask);
    if matches!(taken, Taken::Done { .. }) && state & reasons.masked() != MASKED {
        return (after & !REASONS, taken);
    }
    line::unmask(state, reasons)
}

fn unmask_delivers_too_early(state: u32, reasons: Reasons) -> (u32, Taken) {
    match alone(state, reasons, line::unmask) {
        (after, taken) if after & REASONS != 0 => (after | MASKED, taken),
        other => other,
    }
}

fn unmask_leaves_mask(state: u32, reasons: Reasons) -> (u32, Taken) {
    if state & IN_PROGRESS == 0 && state & (REASONS | MASKED) == reasons.masked() {
        return (state & !REASONS, Taken::Nothing);
    }
    line::unmask(state, reasons)
}

fn unmask_nowait_ends_all(state: u32, reasons: Reasons) -> (u32, Option<Unmasked>) {
    let (after, unmasked) = alone(state, reasons, line::unmask_nowait);
    (after & !REASONS, unmasked)
}

fn mask_replaces_reason(state: u32, reasons: Reasons) -> (u32, Masked) {
    line::mask(state & !REASONS, reasons)
}

/// Returns `after` without the mask that the line has set itself since `before`.
fn without_automask(before: u32, after: u32) -> u32 {
    if before & MASKED == 0 {
        after & !(MASKED | REASONS)
    } else {
        after
    }
}

fn ring_does_not_automask(state: u32, from: Origin) -> (u32, Action) {
    let (after, action) = line::ring(state, from);
    (without_automask(state, after), action)
}

fn take_does_not_automask(state: u32) -> (u32, Action) {
    let (after, action) = line::take(state);
    (without_automask(state, after), action)
}

fn unmask_does_not_automask(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state, reasons) {
        (after, taken @ Taken::Done { .. }) => (after & !(MASKED | REASONS), taken),
        other => other,
    }
}

fn release_ignores_automask(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    let auto = Reasons::AUTO.masked();
    if state & (REASONS | MASKED | PENDING) == auto | PENDING {
        let (after, action) = line::release(state & !auto, rounds, place);
        return (after | auto, action);
    }
    line::release(state, rounds, place)
}

fn unmask_resamples_too_early(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state, reasons) {
        (after, Taken::Nothing) if state & (LEVEL | RESAMPLE) == LEVEL | RESAMPLE => {
            let (message, resample) = (None, true);
            (after & !RESAMPLE, Taken::Done { message, resample })
        }
        other => other,
    }
}
