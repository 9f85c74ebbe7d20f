// SPDX-License-Identifier: GPL-2.0

//! The count of a line's rings: transitions of its state word and of the units beside it.

use super::{
    clear,
    ring,
    Action,
    Origin,
    Taken,
    COUNTS,
    LEVEL,
    PENDING, //
};

/// Rings the line, and counts the ring if the line counts. `units` are those beside the word; they stop at their
/// maximum.
#[inline]
pub(crate) fn ring_counted(state: u32, units: u32, origin: Origin) -> (u32, u32, Action) {
    let (rung, action) = ring(state, origin);
    let units = if state & COUNTS != 0 {
        units.saturating_add(1)
    } else {
        units
    };
    (rung, units, action)
}

/// Does what [`clear`] does, and takes the units of the message. Returns their number, which is zero for a line
/// that does not count.
#[inline]
pub(crate) fn clear_counted(state: u32, units: u32) -> (u32, u32, (Taken, u32)) {
    match clear(state) {
        (cleared, taken @ Taken::Done { .. }) => (cleared, 0, (taken, units)),
        (same, taken) => (same, units, (taken, 0)),
    }
}

/// Makes the line count. A message that is pending has one unit, because its rings were not counted. Returns
/// false for a level line, which sends one message for all rings until the ack.
pub(crate) fn count(state: u32, units: u32) -> (u32, u32, bool) {
    if state & LEVEL != 0 {
        return (state, units, false);
    }
    if state & COUNTS != 0 {
        return (state, units, true);
    }
    (state | COUNTS, u32::from(state & PENDING != 0), true)
}

/// Ends the count, and drops the units.
pub(crate) fn uncount(state: u32, _units: u32) -> (u32, u32, ()) {
    (state & !COUNTS, 0, ())
}
