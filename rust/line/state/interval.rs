// SPDX-License-Identifier: GPL-2.0

//! The intervals of a moderated line: transitions of its state word.

use super::{
    callback,
    Action,
    Place,
    CLOSED,
    HELD,
    IN_PROGRESS,
    MASKED,
    MODERATED,
    PENDING,
    TIMER_DUE, //
};

/// Returns true if the line holds a message until its interval has ended, and not for a mask.
#[inline(always)]
pub(super) fn is_held(state: u32) -> bool {
    state & CLOSED == HELD
}

/// Returns true if a message is pending that no interval holds, or will hold.
#[inline(always)]
pub(super) fn is_free(state: u32) -> bool {
    state & (PENDING | HELD | TIMER_DUE) == PENDING
}

/// Ends the interval of a moderated line, for the thread or interrupt that has removed the line's timer.
/// Returns the action for a message that is pending: [`Action::Leave`] if the owner delivers it. Returns
/// none if there is no message to deliver.
pub(crate) fn expire(state: u32) -> (u32, Option<Action>) {
    let open = state & !HELD;
    if open & PENDING == 0 || open & MASKED != 0 {
        (open, None)
    } else if open & IN_PROGRESS != 0 {
        (open, Some(Action::Leave))
    } else {
        (open, Some(callback(open, Place::Interrupt)))
    }
}

/// Makes the line moderated or not, and ends the interval. The caller owns the line, and delivers a message
/// that is pending. `removed` says that the caller has removed the timer. Returns false if another thread
/// has, and has not ended the interval yet: try again.
pub(crate) fn moderate(state: u32, moderated: bool, removed: bool) -> (u32, bool) {
    if state & HELD != 0 && !removed {
        return (state, false);
    }
    let mode = if moderated { MODERATED } else { 0 };
    (state & !(HELD | MODERATED) | mode, true)
}
