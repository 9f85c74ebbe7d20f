// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in MASK, UNMASK and CLEAR of an edge line, and in the variants that do not wait.

use super::Mutant;
use crate::{
    line::{
        self, Action, Masked, Provenance, Reasons, Taken, Unmasked, IN_PROGRESS, MASKED, PENDING,
        REASONS,
    },
    line_model::{Functions, REAL},
    Rule::{Asserted, Count, Invented, Lost, MaskBarrier, Notify, Owner, Pending, Prompt, State},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::edge(
        "MASK does not wait for the delivery in flight",
        &[MaskBarrier],
        Functions {
            mask_waits: false,
            ..REAL
        },
    ),
    Mutant::edge(
        "MASK takes a line with an owner for a free one",
        &[MaskBarrier],
        Functions {
            mask: mask_ignores_owner,
            ..REAL
        },
    ),
    Mutant::edge(
        "MASK of a masked line notifies, too",
        &[Notify],
        Functions {
            mask_notifies_once: false,
            ..REAL
        },
    ),
    Mutant::edge(
        "UNMASK always delivers",
        &[Invented],
        Functions {
            unmask: unmask_always_delivers,
            ..REAL
        },
    ),
    Mutant::edge(
        "UNMASK drops the pending message",
        &[Lost, Count],
        Functions {
            unmask: unmask_drops_message,
            ..REAL
        },
    ),
    Mutant::edge(
        "UNMASK of a line with a message does not claim it",
        &[Lost, Prompt],
        Functions {
            unmask: unmask_without_claim,
            ..REAL
        },
    ),
    Mutant::edge(
        "UNMASK delivers and leaves pending set",
        &[Pending, Invented],
        Functions {
            unmask: unmask_leaves_pending,
            ..REAL
        },
    ),
    Mutant::edge(
        "UNMASK ignores the owner of the line",
        &[Owner],
        Functions {
            unmask: unmask_ignores_owner,
            ..REAL
        },
    ),
    Mutant::edge(
        "CLEAR unmasks",
        &[State],
        Functions {
            clear: clear_unmasks,
            ..REAL
        },
    ),
    Mutant::nowait(
        "an unmask that does not wait clears pending although the line has an owner",
        &[Lost, Pending],
        Functions {
            unmask_nowait: unmask_nowait_clears_pending,
            ..REAL
        },
    ),
    Mutant::nowait(
        "an unmask that does not wait delivers although the line has an owner",
        &[Asserted, Invented, Owner, Pending],
        Functions {
            unmask_nowait: unmask_nowait_ignores_owner,
            ..REAL
        },
    ),
    Mutant::nowait(
        "an unmask in a callback leaves the message to a callback that is not queued",
        &[Prompt],
        Functions {
            unmask_relayed: unmask_relayed_queues_nothing,
            ..REAL
        },
    ),
];

fn mask_ignores_owner(state: u32, reasons: Reasons) -> (u32, Masked) {
    let (after, masked) = line::mask(state, reasons);
    let busy = false;
    (after, Masked { busy, ..masked })
}

fn unmask_always_delivers(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state, reasons) {
        (after, Taken::Done { resample, .. }) => {
            let message = Some(Provenance::NOTHING);
            (after | IN_PROGRESS, Taken::Done { message, resample })
        }
        other => other,
    }
}

fn unmask_drops_message(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state, reasons) {
        (after, Taken::Done { resample, .. }) => {
            let message = None;
            (after, Taken::Done { message, resample })
        }
        other => other,
    }
}

fn unmask_without_claim(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state, reasons) {
        (_, Taken::Done { resample, .. }) => {
            let message = None;
            (
                state & !(MASKED | REASONS),
                Taken::Done { message, resample },
            )
        }
        other => other,
    }
}

fn unmask_leaves_pending(state: u32, reasons: Reasons) -> (u32, Taken) {
    match line::unmask(state, reasons) {
        (after, done @ Taken::Done { .. }) => (after | (state & PENDING), done),
        other => other,
    }
}

fn unmask_ignores_owner(state: u32, reasons: Reasons) -> (u32, Taken) {
    line::unmask(state & !IN_PROGRESS, reasons)
}

fn clear_unmasks(state: u32) -> (u32, Taken) {
    match line::clear(state) {
        (after, done @ Taken::Done { .. }) => (after & !(MASKED | REASONS), done),
        other => other,
    }
}

fn unmask_nowait_clears_pending(state: u32, reasons: Reasons) -> (u32, Option<Unmasked>) {
    match line::unmask_nowait(state, reasons) {
        (after, done @ Some(_)) => (after & !PENDING, done),
        other => other,
    }
}

fn unmask_nowait_ignores_owner(state: u32, reasons: Reasons) -> (u32, Option<Unmasked>) {
    line::unmask_nowait(state & !IN_PROGRESS, reasons)
}

fn unmask_relayed_queues_nothing(
    state: u32,
    reasons: Reasons,
    new: Provenance,
) -> (u32, Option<(Unmasked, Option<Action>)>) {
    let (after, done) = line::unmask_relayed(state, reasons, new);
    (after, done.map(|(unmasked, _)| (unmasked, None)))
}
