// SPDX-License-Identifier: GPL-2.0

//! Saved and restored lines: transitions of the state word.

use super::{
    without_message,
    ASSERTED,
    COUNTS,
    LEVEL,
    MASKED,
    PENDING,
    RAISED,
    REASONS,
    RESAMPLE,
    SAVED,
    WAITERS, //
};

/// Returns true if a line can be in the state that consists of the `saved` bits of its word and no other
/// ones.
pub(crate) const fn is_restorable(saved: u32) -> bool {
    let masked = saved & MASKED != 0;
    if saved & !SAVED != 0 || masked != (saved & REASONS != 0) {
        return false;
    }
    if saved & LEVEL == 0 {
        return saved & (ASSERTED | RAISED | RESAMPLE) == 0;
    }
    let caused = saved & PENDING == 0 || saved & (ASSERTED | RAISED) != 0;
    // A line that is not masked owes the signals of a resample to a callback. They are taken first.
    caused && (saved & RESAMPLE == 0 || masked)
}

/// Returns true if a line that counts can have that many units in the state of the `saved` bits.
pub(crate) const fn can_have_units(saved: u32, units: u32) -> bool {
    units == 0 || saved & (LEVEL | PENDING) == PENDING
}

/// Returns true if a line whose word is `state` can go on from the `saved` bits and units: a line that
/// counts is no level line, and units need a line that counts.
pub(crate) const fn can_continue(state: u32, saved: u32, units: u32) -> bool {
    if state & COUNTS != 0 {
        saved & LEVEL == 0
    } else {
        units == 0
    }
}

/// Returns true if the line has sent a message that was not acked. An edge line has no ack.
#[inline]
pub(crate) const fn is_sent(state: u32) -> bool {
    state & (LEVEL | ASSERTED | PENDING) == LEVEL | ASSERTED
}

/// Returns true if a raised line was acked, and [`super::assert_again`] has not requested its next
/// message yet.
pub(crate) const fn is_in_ack(state: u32) -> bool {
    state & (RAISED | ASSERTED | PENDING) == RAISED
}

/// Returns true if the line can be restored: it is as it was created, but may be masked, and rung. It has no
/// waiters, which would take the deliveries of the record for their own.
pub(crate) const fn is_fresh(state: u32) -> bool {
    state & (SAVED | WAITERS) & !(MASKED | REASONS | PENDING) == 0
}

/// Replaces the state of a fresh line with the `saved` bits, which must be restorable. The caller owns the
/// line, and delivers the message or leaves it to the unmask.
///
/// A ring whose message was pending before is a ring of the restored line. Returns true if it coalesces. If
/// the line was saved between an ack and [`super::assert_again`], requests the message of the level.
pub(crate) fn restore(state: u32, saved: u32) -> (u32, bool) {
    let rung = state & PENDING != 0;
    let mut restored = state & !SAVED | saved;
    if is_in_ack(saved) {
        restored |= PENDING;
    }
    if !rung {
        return (restored, false);
    }
    if restored & (ASSERTED | PENDING) == ASSERTED {
        return (without_message(restored), true);
    }
    let asserted = if restored & LEVEL != 0 { ASSERTED } else { 0 };
    (restored | asserted | PENDING, restored & PENDING != 0)
}

/// Does what [`restore`] does, and adds the units of the record to those of a line that counts. They are
/// [`None`] if the saved line did not count: then its message has one unit, as of [`super::count()`].
pub(crate) fn restore_counted(
    state: u32,
    units: u32,
    saved: u32,
    saved_units: Option<u32>,
) -> (u32, u32, bool) {
    let (restored, coalesced) = restore(state, saved);
    let units = if state & COUNTS != 0 {
        units.saturating_add(saved_units.unwrap_or(u32::from(saved & PENDING != 0)))
    } else {
        units
    };
    (restored, units, coalesced)
}
