// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in unmaskfds and ackfds.

use super::Mutant;
use crate::{
    line::{
        self, Acked, Action, Owed, Provenance, Reasons, Replied, Reply, Taken, IN_PROGRESS, MASKED,
        OWED, PENDING, RESAMPLE,
    },
    line_model::{Functions, REAL},
    Rule::{Asserted, Invented, Lost, MaskBarrier, Notify, Pending, Prompt, Resample, State},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::unmaskfd(
        "an unmaskfd unmasks, and no callback is queued for the message",
        &[Prompt],
        Functions {
            reply: reply_queues_nothing,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "a signal that finds the line in progress is dropped",
        &[State],
        Functions {
            reply: reply_ignores_owned_line,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "an unmaskfd ends a mask of another reason",
        &[MaskBarrier, State],
        Functions {
            reply: reply_ends_all_masks,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "a second unmask before the callback relies on one that has looked for a message",
        &[Prompt, Notify],
        Functions {
            take_all: take_keeps_owed,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "the callback takes a message and forgets the signals that it owes",
        &[Notify],
        Functions {
            take_all: take_forgets_owed,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "a callback takes only the signals, and the message stays behind",
        &[Prompt, Lost],
        Functions {
            take_all: take_only_owed,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "an irq_work that leaves the signals to the worker drops them",
        &[Notify],
        Functions {
            take_message: take_message_drops_owed,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "a CLEAR forgets the relays of the signals that the callback owes",
        &[State],
        Functions {
            clear: clear_forgets_relays,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "an UNMASK that takes the message forgets the relays of the signals that the callback owes",
        &[State],
        Functions {
            unmask: unmask_forgets_relays,
            ..REAL
        },
    ),
    Mutant::unmaskfd(
        "a worker that finishes a parked delivery forgets the signals that it owes",
        &[Prompt],
        Functions {
            worker_takes_owed: false,
            ..REAL
        },
    ),
    Mutant::ackfd(
        "an ackfd acks a message that has not been delivered",
        &[Asserted, Lost, Pending, Invented],
        Functions {
            reply: reply_acks_pending,
            ..REAL
        },
    ),
    Mutant::ackfd(
        "an ack and unmask unmasks first: its ack is that of the message that it has freed",
        &[Asserted, State, Pending],
        Functions {
            reply: reply_unmasks_first,
            ..REAL
        },
    ),
    Mutant::ackfd(
        "a callback signals the resamplefds of a line that was masked again",
        &[Resample],
        Functions {
            take_all: take_ignores_mask,
            ..REAL
        },
    ),
    Mutant::ackfd(
        "an unmaskfd drops the resample of an ack that was postponed",
        &[Resample, State],
        Functions {
            reply: reply_forgets_resample,
            ..REAL
        },
    ),
    Mutant::ackfd(
        "the ack of a signal is left to the callback: a ring in between coalesces with it",
        &[Asserted, State],
        Functions {
            reply: reply_acks_later,
            ..REAL
        },
    ),
];

fn reply_queues_nothing(
    state: u32,
    reply: Reply,
    listened: bool,
    new: Provenance,
) -> (u32, Replied) {
    let (after, mut replied) = line::reply(state, reply, listened, new);
    replied.action = None;
    (after, replied)
}

fn nothing(state: u32) -> (u32, Replied) {
    let replied = Replied {
        acked: None,
        unmasked: None,
        action: None,
    };
    (state, replied)
}

fn reply_ignores_owned_line(
    state: u32,
    reply: Reply,
    listened: bool,
    new: Provenance,
) -> (u32, Replied) {
    if state & IN_PROGRESS != 0 {
        return nothing(state);
    }
    line::reply(state, reply, listened, new)
}

fn reply_ends_all_masks(
    state: u32,
    reply: Reply,
    listened: bool,
    new: Provenance,
) -> (u32, Replied) {
    if reply.unmask && state & MASKED != 0 {
        let alone = state & !line::REASONS | Reasons::AUTO.masked();
        return line::reply(alone, reply, listened, new);
    }
    line::reply(state, reply, listened, new)
}

fn take_keeps_owed(state: u32) -> (u32, (Action, Option<Owed>)) {
    let (after, taken) = line::take_all(state);
    (after | state & OWED, taken)
}

fn take_forgets_owed(state: u32) -> (u32, (Action, Option<Owed>)) {
    let (after, (action, owed)) = line::take_all(state);
    match action {
        Action::Deliver(_) => (after, (action, None)),
        _ => (after, (action, owed)),
    }
}

fn take_only_owed(state: u32) -> (u32, (Action, Option<Owed>)) {
    let (after, (_, owed)) = line::take_all(state & !PENDING);
    (after | state & PENDING, (Action::Leave, owed))
}

fn take_message_drops_owed(state: u32) -> (u32, Action) {
    let (after, action) = line::take_message(state);
    (after & !OWED, action)
}

fn reply_acks_pending(state: u32, reply: Reply, listened: bool, new: Provenance) -> (u32, Replied) {
    line::reply(
        if reply.ack { state & !PENDING } else { state },
        reply,
        listened,
        new,
    )
}

fn reply_unmasks_first(
    state: u32,
    reply: Reply,
    listened: bool,
    new: Provenance,
) -> (u32, Replied) {
    let (ack, unmask) = (false, true);
    if !(reply.ack && reply.unmask) {
        return line::reply(state, reply, listened, new);
    }
    let (open, first) = line::reply(state, Reply { ack, unmask }, listened, new);
    if open & (PENDING | MASKED | IN_PROGRESS) != PENDING {
        return line::reply(state, reply, listened, new);
    }
    // The message is delivered in between.
    let (ack, unmask) = (true, false);
    let (after, second) = line::reply(open & !PENDING, Reply { ack, unmask }, listened, new);
    let replied = Replied {
        acked: second.acked,
        ..first
    };
    (after, replied)
}

fn clear_forgets_relays(state: u32) -> (u32, Taken) {
    let (after, taken) = line::clear(state & !OWED);
    (after | state & OWED, taken)
}

fn unmask_forgets_relays(state: u32, reasons: Reasons) -> (u32, Taken) {
    let (after, taken) = line::unmask(state & !OWED, reasons);
    (after | state & OWED, taken)
}

fn take_ignores_mask(state: u32) -> (u32, (Action, Option<Owed>)) {
    let (after, (action, owed)) = line::take_all(state);
    let resampled = Owed {
        resample: true,
        provenance: Provenance::NOTHING,
        ack: false,
        unmask: false,
    };
    match owed {
        Some(owed) if state & RESAMPLE != 0 => {
            let owed = Owed {
                ack: owed.ack,
                unmask: owed.unmask,
                ..resampled
            };
            (after & !RESAMPLE, (action, Some(owed)))
        }
        owed => (after, (action, owed)),
    }
}

fn reply_forgets_resample(
    state: u32,
    reply: Reply,
    listened: bool,
    new: Provenance,
) -> (u32, Replied) {
    let (after, replied) = line::reply(state, reply, listened, new);
    let ended = replied.unmasked.is_some() && replied.acked.is_none();
    (if ended { after & !RESAMPLE } else { after }, replied)
}

fn reply_acks_later(state: u32, reply: Reply, listened: bool, new: Provenance) -> (u32, Replied) {
    let (after, mut replied) = line::reply(state, reply, listened, new);
    if matches!(replied.acked, Some(Acked::Done { .. })) {
        replied.acked = Some(Acked::Nothing);
        return (after | line::ASSERTED, replied);
    }
    (after, replied)
}
