// SPDX-License-Identifier: MIT OR Apache-2.0

//! The test that decides whether a ring can be skipped.
//!
//! This file imports nothing: `tools/model` compiles it as it is, and checks it against the module's
//! state machine.

/// Bits of a line's state. These are those of `uapi`.
pub(crate) const PENDING: u32 = 1 << 0;
pub(crate) const LEVEL: u32 = 1 << 2;
pub(crate) const ASSERTED: u32 = 1 << 3;
pub(crate) const COUNTS: u32 = 1 << 24;

/// Returns true if a ring would change nothing in a line whose state word is `state`: the module would
/// count it as coalesced.
///
/// A ring joins the pending message of an edge line. Until the ack, it joins the assertion of a level
/// line. The pending message of a level line that is not asserted is that of a raised level. There a
/// ring is needed, because it asserts the line; otherwise lowering the level would withdraw the message. A
/// line that counts its rings needs each of them.
#[inline(always)]
pub(crate) const fn would_coalesce(state: u32) -> bool {
    if state & LEVEL == 0 {
        state & (PENDING | COUNTS) == PENDING
    } else {
        state & ASSERTED != 0
    }
}
