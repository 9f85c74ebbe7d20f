// SPDX-License-Identifier: GPL-2.0

//! Levels and acks of a line: transitions of its state word.

use super::{
    is_in_ack,
    is_sent,
    request,
    without_message,
    Action,
    Origin,
    ASSERTED,
    AUTOMASK,
    COUNTS,
    IN_PROGRESS,
    LEVEL,
    MASKED,
    PENDING,
    RAISED,
    RESAMPLE,
    WITHDRAWN, //
};

/// The result of an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Acked {
    /// There was nothing to ack.
    Nothing,
    /// The line is not asserted any more.
    Done {
        /// The caller has to signal the resamplefds. If false, the unmask signals them.
        resample: bool,
        /// The level is still raised: the caller has to call [`assert_again`] after that.
        again: bool,
    },
}

/// Raises the level. Returns none for an edge line, which has no level.
pub(crate) fn raise(state: u32, origin: Origin) -> (u32, Option<Action>) {
    if state & LEVEL == 0 {
        return (state, None);
    }
    if state & RAISED != 0 || state & (ASSERTED | PENDING) == ASSERTED {
        return (state | RAISED, Some(Action::Coalesce));
    }
    let (requested, action) = request(state | RAISED, origin);
    (requested, Some(action))
}

/// Lowers the level, and withdraws a message that has no other reason. Returns true if there was one; if
/// the caller owns the line now, it has to count the message. Returns none for an edge line.
pub(crate) fn lower(state: u32) -> (u32, Option<bool>) {
    if state & LEVEL == 0 {
        return (state, None);
    }
    let low = state & !RAISED;
    if low == state || state & (ASSERTED | PENDING) != PENDING {
        return (low, Some(false));
    }
    let without = without_message(low);
    let counts = if state & IN_PROGRESS != 0 {
        WITHDRAWN
    } else {
        IN_PROGRESS
    };
    (without | counts, Some(true))
}

/// Removes an assertion. Returns true if the resamplefds have to be signalled now.
pub(super) fn deassert(state: u32) -> (u32, bool) {
    let deasserted = state & !ASSERTED;
    if state & ASSERTED == 0 {
        (deasserted, false)
    } else if state & MASKED == 0 {
        (deasserted, true)
    } else {
        (deasserted | RESAMPLE, false)
    }
}

/// Acks the message that was sent last. A message that was not sent yet cannot be acked, because no
/// handler has seen it. Returns none for an edge line.
pub(crate) fn ack(state: u32) -> (u32, Option<Acked>) {
    if state & LEVEL == 0 {
        return (state, None);
    }
    if state & (ASSERTED | PENDING) != ASSERTED {
        return (state, Some(Acked::Nothing));
    }
    let (acked, resample) = deassert(state);
    let again = state & RAISED != 0;
    (acked, Some(Acked::Done { resample, again }))
}

/// Ends an ack, after the resamplefds and notifiers were signalled. A level that is still raised is the
/// next message, unless there is one already. The ack itself requests none, because the sources may lower
/// the level when they check it.
pub(crate) fn assert_again(state: u32, origin: Origin) -> (u32, Option<Action>) {
    if !is_in_ack(state) {
        return (state, None);
    }
    let (requested, action) = request(state, origin);
    (requested, Some(action))
}

/// Makes the message of an asserted line pending again, unless it was acked: it had found no trigger, and
/// now the line has one. The caller owns the line, and sends the message or leaves it to the unmask.
pub(crate) fn renew(state: u32) -> (u32, ()) {
    if is_sent(state) {
        (state | PENDING, ())
    } else {
        (state, ())
    }
}

/// Makes the line a level line, or an edge line, that masks itself or not. Returns true if it is one now. A
/// mask that the line has set stays. A line that counts stays an edge line.
pub(crate) fn retype(state: u32, level: bool, automask: bool) -> (u32, bool) {
    let kept = if level == (state & LEVEL != 0) {
        state
    } else if state & (PENDING | ASSERTED | RAISED | WITHDRAWN | COUNTS) != 0 {
        return (state, false);
    } else if level {
        state | LEVEL
    } else {
        state & !(LEVEL | RESAMPLE)
    };
    let mode = if automask { AUTOMASK } else { 0 };
    (kept & !AUTOMASK | mode, true)
}
