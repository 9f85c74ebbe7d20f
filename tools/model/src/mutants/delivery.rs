// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in rings, callbacks and the owner's loop: lost, duplicate and late messages.

use super::Mutant;
use crate::{
    line::{self, Action, Origin, Place, IN_PROGRESS, MASKED, PENDING},
    line_model::{Functions, REAL},
    Rule::{Count, Lost, MaskBarrier, Owner, Pending, Prompt},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::edge(
        "a callback clears pending before it reads the mask",
        &[Lost, Count],
        Functions {
            take: take_clears_pending_under_mask,
            ..REAL
        },
    ),
    Mutant::edge(
        "the owner delivers again although the line is masked",
        &[MaskBarrier],
        Functions {
            release: release_ignores_mask,
            ..REAL
        },
    ),
    Mutant::edge(
        "a ring of a masked line is delivered",
        &[MaskBarrier],
        Functions {
            ring: ring_ignores_mask,
            ..REAL
        },
    ),
    Mutant::edge(
        "the owner releases the line without a look at pending",
        &[Lost, Prompt],
        Functions {
            release: release_ignores_pending,
            ..REAL
        },
    ),
    Mutant::edge(
        "a ring of a line with an owner leaves no trace",
        &[Lost, Count],
        Functions {
            ring: ring_forgets_if_owned,
            ..REAL
        },
    ),
    Mutant::edge(
        "a ring of a masked line leaves no trace",
        &[Lost],
        Functions {
            ring: ring_forgets_if_masked,
            ..REAL
        },
    ),
    Mutant::edge(
        "a callback ignores the owner of the line",
        &[Owner],
        Functions {
            take: take_ignores_owner,
            ..REAL
        },
    ),
    Mutant::edge(
        "a callback leaves pending set",
        &[Pending],
        Functions {
            take: take_leaves_pending,
            ..REAL
        },
    ),
    Mutant::edge(
        "a ring delivers and sets pending",
        &[Pending],
        Functions {
            ring: ring_sets_pending,
            ..REAL
        },
    ),
    Mutant::edge(
        "the callback is queued before pending is set",
        &[Lost, Prompt],
        Functions {
            queues_after_change: false,
            ..REAL
        },
    ),
    Mutant::edge(
        "a parked delivery is left without the worker",
        &[Prompt],
        Functions {
            park_queues_worker: false,
            ..REAL
        },
    ),
    Mutant::edge(
        "a thread can be preempted between release and queueing of the callback",
        &[Prompt],
        Functions {
            release_is_pinned: false,
            ..REAL
        },
    ),
];

fn take_clears_pending_under_mask(state: u32) -> (u32, Action) {
    match line::take(state & !MASKED) {
        (_, Action::Deliver(_)) if state & MASKED != 0 => (state & !PENDING, Action::Leave),
        (_, action) if state & MASKED != 0 => (state, action),
        other => other,
    }
}

fn release_ignores_mask(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    let (after, action) = line::release(state & !MASKED, rounds, place);
    (after | (state & MASKED), action)
}

fn ring_ignores_mask(state: u32, from: Origin) -> (u32, Action) {
    let (after, action) = line::ring(state & !MASKED, from);
    (after | (state & MASKED), action)
}

fn release_ignores_pending(state: u32, _rounds: u32, _place: Place) -> (u32, Action) {
    (state & !IN_PROGRESS, Action::Leave)
}

fn ring_forgets_if_owned(state: u32, from: Origin) -> (u32, Action) {
    if state & IN_PROGRESS != 0 {
        (state, Action::Leave)
    } else {
        line::ring(state, from)
    }
}

fn ring_forgets_if_masked(state: u32, from: Origin) -> (u32, Action) {
    if state & MASKED != 0 {
        (state, Action::Keep)
    } else {
        line::ring(state, from)
    }
}

fn take_ignores_owner(state: u32) -> (u32, Action) {
    line::take(state & !IN_PROGRESS)
}

fn take_leaves_pending(state: u32) -> (u32, Action) {
    match line::take(state) {
        (after, action @ Action::Deliver(_)) => (after | PENDING, action),
        other => other,
    }
}

fn ring_sets_pending(state: u32, from: Origin) -> (u32, Action) {
    match line::ring(state, from) {
        (after, action @ Action::Deliver(_)) => (after | PENDING, action),
        other => other,
    }
}
