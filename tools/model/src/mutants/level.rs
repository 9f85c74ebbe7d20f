// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in a level line: assertion, acks, resamplefds and the level itself.

use super::Mutant;
use crate::{
    line::{
        self, Acked, Action, Origin, Reasons, Taken, ASSERTED, IN_PROGRESS, MASKED, PENDING,
        RAISED, RESAMPLE,
    },
    line_model::{Functions, REAL},
    Rule::{Asserted, Count, Invented, Lost, Pending, Prompt, Resample, State, Stuck},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::level(
        "a delivery does not assert the line",
        &[Asserted, State],
        Functions {
            take: take_does_not_assert,
            ..REAL
        },
    ),
    Mutant::level(
        "a ring of an asserted line is delivered",
        &[Asserted, Pending],
        Functions {
            ring: ring_ignores_assertion,
            ..REAL
        },
    ),
    Mutant::level(
        "ACK de-asserts a message that has not been delivered",
        &[Asserted, Lost, Pending],
        Functions {
            ack: ack_ignores_pending,
            ..REAL
        },
    ),
    Mutant::level(
        "ACK ignores that the level is raised",
        &[Lost, Pending, Stuck],
        Functions {
            ack: ack_ignores_level,
            ..REAL
        },
    ),
    Mutant::level(
        "the level makes a second message after an ACK",
        &[Asserted, Pending, Count, Invented, State],
        Functions {
            assert_again: assert_again_ignores_message,
            ..REAL
        },
    ),
    Mutant::level(
        "ACK makes the next message before it signals the resamplefds",
        &[Prompt],
        Functions {
            ack_notifies_first: false,
            ..REAL
        },
    ),
    Mutant::level(
        "ACK of a masked line signals the resamplefds at once",
        &[Resample],
        Functions {
            ack: ack_ignores_mask,
            ..REAL
        },
    ),
    Mutant::level(
        "UNMASK does not signal the resamplefds of a postponed ack",
        &[Resample],
        Functions {
            unmask: unmask_forgets_resample,
            ..REAL
        },
    ),
    Mutant::level(
        "UNMASK signals the resamplefds and leaves the bit set",
        &[Resample, State],
        Functions {
            unmask: unmask_leaves_resample,
            ..REAL
        },
    ),
    Mutant::level(
        "CLEAR of a level line does not signal the resamplefds",
        &[Resample, State],
        Functions {
            clear: clear_forgets_resample,
            ..REAL
        },
    ),
    Mutant::level(
        "CLEAR drops the message of a raised level",
        &[Lost, Pending],
        Functions {
            clear: clear_ignores_level,
            ..REAL
        },
    ),
    Mutant::level(
        "a lowered level withdraws the message of a ring",
        &[Lost, Pending, State],
        Functions {
            lower: lower_ignores_assertion,
            ..REAL
        },
    ),
    Mutant::level(
        "a lowered level does not withdraw its message",
        &[Invented, Pending],
        Functions {
            lower: lower_leaves_message,
            ..REAL
        },
    ),
    Mutant::level(
        "a message that is withdrawn while the line has an owner is not counted",
        &[Count],
        Functions {
            lower: lower_ignores_owner,
            ..REAL
        },
    ),
];

fn take_does_not_assert(state: u32) -> (u32, Action) {
    match line::take(state) {
        (after, action @ Action::Deliver(_)) => (after & !ASSERTED, action),
        other => other,
    }
}

fn ring_ignores_assertion(state: u32, from: Origin) -> (u32, Action) {
    line::ring(state & !ASSERTED, from)
}

fn ack_ignores_pending(state: u32) -> (u32, Option<Acked>) {
    let (after, acked) = line::ack(state & !PENDING);
    (after | (state & PENDING), acked)
}

fn ack_ignores_level(state: u32) -> (u32, Option<Acked>) {
    match line::ack(state) {
        (after, Some(Acked::Done { resample, .. })) => {
            let again = false;
            (after, Some(Acked::Done { resample, again }))
        }
        other => other,
    }
}

fn assert_again_ignores_message(state: u32, from: Origin) -> (u32, Option<Action>) {
    line::assert_again(state & !(ASSERTED | PENDING), from)
}

fn ack_ignores_mask(state: u32) -> (u32, Option<Acked>) {
    match line::ack(state & !MASKED) {
        (_, Some(Acked::Nothing)) => (state, Some(Acked::Nothing)),
        (after, done) => (after | (state & MASKED), done),
    }
}

fn unmask_forgets_resample(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state, reasons) {
        (after, Taken::Done { message, .. }) => {
            let resample = false;
            (after, Taken::Done { message, resample })
        }
        other => other,
    }
}

fn unmask_leaves_resample(state: u32, reasons: Reasons) -> (u32, Taken) {
    let (after, taken) = line::unmask(state, reasons);
    (after | (state & RESAMPLE), taken)
}

fn clear_forgets_resample(state: u32) -> (u32, Taken) {
    match line::clear(state) {
        (after, Taken::Done { message, .. }) => {
            let resample = false;
            (after & !RESAMPLE, Taken::Done { message, resample })
        }
        other => other,
    }
}

fn clear_ignores_level(state: u32) -> (u32, Taken) {
    let (after, taken) = line::clear(state & !RAISED);
    (after | (state & RAISED), taken)
}

fn lower_ignores_assertion(state: u32) -> (u32, Option<bool>) {
    line::lower(state & !ASSERTED)
}

fn lower_leaves_message(state: u32) -> (u32, Option<bool>) {
    (state & !RAISED, Some(false))
}

fn lower_ignores_owner(state: u32) -> (u32, Option<bool>) {
    let (after, withdrawn) = line::lower(state);
    match line::lower(state & !IN_PROGRESS) {
        (free, Some(true)) if state & IN_PROGRESS != 0 => (free, withdrawn),
        _ => (after, withdrawn),
    }
}
