// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the moderation of a line.

use super::Mutant;
use crate::{
    line::{
        self, Action, Origin, Owed, Place, Provenance, Reasons, Replied, Reply, Taken, HELD,
        IN_PROGRESS, MASKED, MODERATED, PENDING,
    },
    line_model::{Functions, REAL},
    Rule::{Lost, Owner, Prompt, Rate, State},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::moderated(
        "the owner does not start the timer",
        &[Prompt],
        Functions {
            starts_timer: false,
            ..REAL
        },
    ),
    Mutant::moderated(
        "the owner can be preempted before it starts the timer",
        &[Prompt],
        Functions {
            timer_start_is_pinned: false,
            ..REAL
        },
    ),
    Mutant::moderated(
        "the timer does not end the interval",
        &[Prompt],
        Functions {
            expire: expire_keeps_held,
            ..REAL
        },
    ),
    Mutant::moderated(
        "the end of the interval loses the last ring",
        &[Lost],
        Functions {
            expire: expire_drops_message,
            ..REAL
        },
    ),
    Mutant::moderated(
        "the end of the interval queues no callback",
        &[Prompt],
        Functions {
            expire: expire_queues_nothing,
            ..REAL
        },
    ),
    Mutant::moderated(
        "the end of the interval ends a mask",
        &[State],
        Functions {
            expire: expire_ignores_mask,
            ..REAL
        },
    ),
    Mutant::moderated(
        "the owner releases the line before it holds it",
        &[Prompt, Rate],
        Functions {
            release: release_does_not_hold,
            ..REAL
        },
    ),
    Mutant::moderated(
        "a callback delivers during the interval",
        &[Prompt, Rate],
        Functions {
            take: take_ignores_held,
            ..REAL
        },
    ),
    Mutant::moderated(
        "a ring delivers during the interval",
        &[Rate],
        Functions {
            ring: ring_ignores_held,
            ..REAL
        },
    ),
    Mutant::moderated(
        "UNMASK delivers during the interval",
        &[Rate],
        Functions {
            unmask: unmask_ignores_held,
            ..REAL
        },
    ),
    Mutant::moderated(
        "a ring ends an interval whose timer it has not removed",
        &[Prompt, Rate],
        Functions {
            removes_timer: false,
            ..REAL
        },
    ),
    Mutant::moderated(
        "DOORBELL_MODERATE does not end the interval",
        &[Prompt],
        Functions {
            moderate: moderate_keeps_held,
            ..REAL
        },
    ),
    Mutant::moderated(
        "DOORBELL_MODERATE ends an interval that a ring is ending",
        &[Prompt, Rate],
        Functions {
            moderate: moderate_ends_any,
            ..REAL
        },
    ),
    Mutant::moderated(
        "the end of the interval takes the line from its owner",
        &[Owner, Rate],
        Functions {
            expire: expire_ignores_owner,
            ..REAL
        },
    ),
    Mutant::moderated_unmaskfd(
        "a signal to an unmaskfd ends the interval",
        &[Rate],
        Functions {
            reply: reply_ends_interval,
            ..REAL
        },
    ),
    Mutant::moderated_unmaskfd(
        "a callback that owes signals delivers during the interval",
        &[Prompt, Rate],
        Functions {
            take_all: take_all_ignores_held,
            ..REAL
        },
    ),
    Mutant::moderated_unmaskfd(
        "a callback that owes signals does not begin an interval",
        &[Rate],
        Functions {
            take_all: take_all_begins_no_interval,
            ..REAL
        },
    ),
];

fn reply_ends_interval(
    state: u32,
    reply: Reply,
    listened: bool,
    new: Provenance,
) -> (u32, Replied) {
    line::reply(state & !HELD, reply, listened, new)
}

fn take_all_ignores_held(state: u32) -> (u32, (Action, Option<Owed>)) {
    line::take_all(state & !HELD)
}

fn take_all_begins_no_interval(state: u32) -> (u32, (Action, Option<Owed>)) {
    let (taken, done) = line::take_all(state & !MODERATED);
    (taken | state & MODERATED, done)
}

fn expire_keeps_held(state: u32) -> (u32, Option<Action>) {
    (state, None)
}

fn expire_drops_message(state: u32) -> (u32, Option<Action>) {
    (line::expire(state).0 & !PENDING, None)
}

fn expire_queues_nothing(state: u32) -> (u32, Option<Action>) {
    (line::expire(state).0, None)
}

fn expire_ignores_mask(state: u32) -> (u32, Option<Action>) {
    let (open, action) = line::expire(state & !MASKED);
    match action {
        Some(_) => (open, action),
        None => line::expire(state),
    }
}

fn expire_ignores_owner(state: u32) -> (u32, Option<Action>) {
    line::expire(state & !IN_PROGRESS)
}

fn release_does_not_hold(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    match line::release(state, rounds, place) {
        (after, Action::StartTimer) => line::release(after & !HELD, rounds, place),
        other => other,
    }
}

fn take_ignores_held(state: u32) -> (u32, Action) {
    line::take(state & !HELD)
}

fn ring_ignores_held(state: u32, from: Origin) -> (u32, Action) {
    line::ring(state & !HELD, from)
}

fn unmask_ignores_held(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state & !HELD, reasons) {
        delivers @ (
            _,
            Taken::Done {
                message: Some(_), ..
            },
        ) => delivers,
        _ => line::unmask(state, reasons),
    }
}

fn moderate_keeps_held(state: u32, moderated: bool, removed: bool) -> (u32, bool) {
    let (after, done) = line::moderate(state, moderated, removed);
    (after | state & HELD, done)
}

fn moderate_ends_any(state: u32, moderated: bool, _: bool) -> (u32, bool) {
    line::moderate(state, moderated, true)
}
