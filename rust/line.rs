// SPDX-License-Identifier: GPL-2.0

//! What a line does, as pure functions over its state word.
//!
//! No kernel import here: the same file is compiled on the host, where a test can walk through every
//! interleaving.
//!
//! A message is sent for a line by whoever *holds* it. A ring that finds the line free takes hold
//! of it and delivers at once. A ring that finds it held marks it pending, and the holder delivers
//! once more before it lets go; so nobody ever waits, and nothing that was rung while the holder
//! was on its way out is lost. Assigning and deassigning triggers takes hold of the line in the
//! same way, which is why a deassign that has returned is a barrier. While the line is masked, what
//! is pending stays pending: nobody takes it but the unmask. A mask is set whether the line is held
//! or not, and then waits for the hold, which makes it a barrier, too. Each function below is
//! applied to the word by one compare-exchange, fully ordered.

/// Nothing going on.
pub(crate) const IDLE: u32 = 0;

/// Somebody holds the line: delivers, or changes its triggers. The value is [`HELD`]'s of the gate
/// that the word lives in.
///
/// [`HELD`]: ../kernel_ext/gate/constant.HELD.html
pub(crate) const HELD: u32 = 1 << 31;

/// A message waits to be delivered. This and [`MASKED`] are the ABI's bits.
pub(crate) const PENDING: u32 = 1 << 0;

/// Nothing is delivered.
pub(crate) const MASKED: u32 = 1 << 1;

/// How many relays the pending message has behind it: the longest, if several rings coalesced.
const HOPS_SHIFT: u32 = 8;
const HOPS: u32 = MAX_HOPS << HOPS_SHIFT;

/// The hop count saturates here.
pub(crate) const MAX_HOPS: u32 = 63;

/// From this many relays on, a message is delivered in process context.
///
/// An eventfd that is signalled by one line and listened on by another makes a relay. Relays run
/// in interrupt context, and contexts can be wired into a cycle that rings itself for ever: it must
/// end up where the scheduler, signals and cgroups rule. A message that started in a system call
/// gets this many relays at full speed; real wiring has one to three.
pub(crate) const RELAY_LIMIT: u32 = 32;

/// How many messages a holder delivers in one go before it leaves the rest to a callback.
pub(crate) const MAX_ROUNDS: u32 = 4;

/// What the caller of a transition has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Deliver a message that has `hops` relays behind it; the caller holds the line.
    Deliver {
        /// Relays behind the message.
        hops: u32,
    },
    /// Queue the line's irq_work.
    Relay,
    /// Queue the line's work item.
    Defer,
    /// Nothing: the message joined one that is pending.
    Coalesce,
    /// Nothing: the line's holder, or the callback that is queued, has it.
    Leave,
    /// Nothing: the line is masked and keeps the message.
    Keep,
}

/// How a transition ended that needs the line for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taken {
    /// Somebody else holds the line: try again.
    Busy,
    /// There was nothing to do, and nothing has changed.
    Nothing,
    /// Done, and the caller holds the line.
    Done {
        /// The message that was pending, by the relays behind it. Now it is the caller's.
        message: Option<u32>,
    },
}

/// Where a ring comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum From {
    /// A context where eventfds may be signalled.
    Caller,
    /// An eventfd's wake callback, where they may not.
    Wake {
        /// Relays behind the ring: zero if userspace wrote.
        hops: u32,
    },
}

#[inline]
fn hops(state: u32) -> u32 {
    (state & HOPS) >> HOPS_SHIFT
}

#[inline]
fn with_hops(state: u32, hops: u32) -> u32 {
    let hops = if hops > MAX_HOPS { MAX_HOPS } else { hops };
    (state & !HOPS) | (hops << HOPS_SHIFT)
}

/// How a message that is pending is to be delivered.
#[inline]
fn callback(state: u32) -> Action {
    if hops(state) >= RELAY_LIMIT {
        Action::Defer
    } else {
        Action::Relay
    }
}

/// The line is rung.
#[inline]
pub(crate) fn ring(state: u32, from: From) -> (u32, Action) {
    let behind = match from {
        From::Caller => 0,
        From::Wake { hops } => hops,
    };
    if state & PENDING != 0 {
        let longest = if behind > hops(state) {
            behind
        } else {
            hops(state)
        };
        return (with_hops(state, longest), Action::Coalesce);
    }
    let pending = with_hops(state | PENDING, behind);
    if state & MASKED != 0 {
        return (pending, Action::Keep);
    }
    if state & HELD != 0 {
        return (pending, Action::Leave);
    }
    match from {
        From::Caller => (state | HELD, Action::Deliver { hops: 0 }),
        From::Wake { .. } => (pending, callback(pending)),
    }
}

/// A callback runs: takes the message, if it is still there, may be delivered, and nobody holds the
/// line.
#[inline]
pub(crate) fn take(state: u32) -> (u32, Action) {
    if state & PENDING == 0 || state & (HELD | MASKED) != 0 {
        return (state, Action::Leave);
    }
    let hops = hops(state);
    (
        with_hops(state & !PENDING, 0) | HELD,
        Action::Deliver { hops },
    )
}

/// Masks the line, and takes hold of it if it is free; if not, the caller has to [`hold`] it before
/// the mask is a barrier. Returns whether the line was not masked before.
#[inline]
pub(crate) fn mask(state: u32) -> (u32, bool) {
    (state | MASKED | HELD, state & MASKED == 0)
}

/// Unmasks the line, and takes hold of it and of its message.
#[inline]
pub(crate) fn unmask(state: u32) -> (u32, Taken) {
    if state & MASKED == 0 {
        return (state, Taken::Nothing);
    }
    if state & HELD != 0 {
        return (state, Taken::Busy);
    }
    let message = (state & PENDING != 0).then_some(hops(state));
    (
        with_hops(state & !(MASKED | PENDING), 0) | HELD,
        Taken::Done { message },
    )
}

/// Takes hold of the line and of its message, masked or not.
#[inline]
pub(crate) fn clear(state: u32) -> (u32, Taken) {
    if state & PENDING == 0 {
        return (state, Taken::Nothing);
    }
    if state & HELD != 0 {
        return (state, Taken::Busy);
    }
    let message = Some(hops(state));
    (
        with_hops(state & !PENDING, 0) | HELD,
        Taken::Done { message },
    )
}

/// Takes hold of the line to change what it signals; [`HELD`] is new in the result if that worked.
#[inline]
pub(crate) fn hold(state: u32) -> (u32, ()) {
    (state | HELD, ())
}

/// The holder is done with one thing, after having delivered `rounds` messages.
#[inline]
pub(crate) fn leave(state: u32, rounds: u32) -> (u32, Action) {
    if state & PENDING == 0 || state & MASKED != 0 {
        return (state & !HELD, Action::Leave);
    }
    let hops = hops(state);
    if rounds < MAX_ROUNDS && hops < RELAY_LIMIT {
        (with_hops(state & !PENDING, 0), Action::Deliver { hops })
    } else {
        (state & !HELD, callback(state))
    }
}
