// SPDX-License-Identifier: GPL-2.0

//! Unmaskfds and ackfds of a line: transitions of its state word.

use super::{
    ack,
    callback,
    ends_mask,
    is_free,
    provenance,
    take,
    with,
    without_message,
    Acked,
    Action,
    Place,
    Provenance,
    Reasons,
    Unmasked,
    IN_PROGRESS,
    MASKED,
    OWED,
    OWES_ACK,
    OWES_UNMASK,
    PENDING,
    RESAMPLE, //
};

/// The effect of an unmaskfd or ackfd: the consumer's answer to the message that was sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reply {
    /// An ackfd: acks the message.
    pub(crate) ack: bool,
    /// An unmaskfd: ends the mask that the line has set itself ([`Reasons::AUTO`]).
    pub(crate) unmask: bool,
}

/// The result of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Replied {
    /// The result of the ack, if the reply is one and the line is a level line.
    pub(crate) acked: Option<Acked>,
    /// The line is not masked any more. If it has an owner, that owner delivers the message; otherwise the
    /// callback does.
    pub(crate) unmasked: Option<Unmasked>,
    /// The callback to queue, or [`Action::Leave`] if the owner delivers the message.
    pub(crate) action: Option<Action>,
}

/// The signals that a callback owed, and signals now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owed {
    /// To the notifiers of an ack. Then the caller calls [`super::assert_again`].
    pub(crate) ack: bool,
    /// To the notifiers of an unmask.
    pub(crate) unmask: bool,
    /// To the resamplefds.
    pub(crate) resample: bool,
    /// The relays of the replies.
    pub(crate) provenance: Provenance,
}

/// Does what [`take`] does, and takes the signals that the callback owes. Resamplefds of a line that was masked
/// since stay for the unmask.
///
/// One step takes both: otherwise a reply that comes in between would rely on a callback that has looked
/// for a message already.
pub(crate) fn take_all(state: u32) -> (u32, (Action, Option<Owed>)) {
    if state & OWED == 0 {
        let (taken, action) = take(state);
        return (taken, (action, None));
    }
    let (settled, owed) = take_owed(state);
    let (taken, action) = take(settled);
    (taken, (action, owed))
}

/// Takes the signals that a callback owes, and leaves the message to it. The caller signals them.
pub(crate) fn take_owed(state: u32) -> (u32, Option<Owed>) {
    if state & OWED == 0 {
        return (state, None);
    }
    let resample = state & RESAMPLE != 0 && state & MASKED == 0;
    let owed = Owed {
        ack: state & OWES_ACK != 0,
        unmask: state & OWES_UNMASK != 0,
        resample,
        provenance: provenance(state),
    };
    let resampled = if resample { RESAMPLE } else { 0 };
    let taken = state & !(OWED | resampled);
    let taken = if taken & PENDING == 0 {
        without_message(taken)
    } else {
        taken
    };
    (taken, Some(owed))
}

/// Applies the signal of an unmaskfd or ackfd that came through `new` relays, where no eventfd may be
/// signalled. `listened` says that the line has notifiers or resamplefds.
///
/// With both, the ack is that of a line that is not masked any more. A message that was not sent yet is
/// unmasked, but not acked. A reply to a line that has not masked itself, or is not asserted, does nothing.
/// It is not kept either: it must not end the mask of a later message.
pub(crate) fn reply(state: u32, reply: Reply, listened: bool, new: Provenance) -> (u32, Replied) {
    let mut word = state;
    let mut unmasked = None;
    if reply.unmask {
        word &= !Reasons::AUTO.bits();
        if ends_mask(state, Reasons::AUTO) {
            word &= !MASKED;
            unmasked = Some(Unmasked {
                message: is_free(state).then_some(provenance(state)),
                resample: state & RESAMPLE != 0,
            });
            word |= if listened { OWES_UNMASK } else { 0 };
        }
    }
    let mut acked = None;
    if reply.ack {
        (word, acked) = ack(word);
        if let Some(Acked::Done { resample, again }) = acked {
            word |= if resample { RESAMPLE } else { 0 };
            word |= if listened || again { OWES_ACK } else { 0 };
        }
    }
    if word & MASKED == 0 && !listened {
        word &= !RESAMPLE;
    }
    if word & (PENDING | OWED) != 0 {
        word = with(word, provenance(state).join(new));
    }
    let message = unmasked.is_some_and(|unmasked| unmasked.message.is_some());
    let action = if state & OWED != 0 {
        // The callback is queued, and has not taken anything yet.
        None
    } else if word & OWED != 0 || message && state & IN_PROGRESS == 0 {
        Some(callback(word, Place::Caller))
    } else {
        message.then_some(Action::Leave)
    };
    let replied = Replied {
        acked,
        unmasked,
        action,
    };
    (word, replied)
}
