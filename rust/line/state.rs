// SPDX-License-Identifier: GPL-2.0

//! The state machine of a line, as pure functions over its state word.
//!
//! Neither this file nor those in state/ import anything from the kernel: the model on the host compiles them
//! as they are and walks through every interleaving.
//!
//! A line is genirq's edge flow (`handle_edge_irq()`) with one compare-exchange in place of
//! `desc->lock`: [`IN_PROGRESS`] is `IRQD_IRQ_INPROGRESS`, [`PENDING`] is `IRQS_PENDING`. The thread that
//! sets [`IN_PROGRESS`] owns the line and sends its messages. A ring that finds the line free claims it
//! and delivers at once. A ring that finds it owned marks it pending, and the owner delivers once more
//! before it releases the line. So no ring waits, and no ring is lost that arrives while the owner is
//! leaving. Assigning and deassigning triggers claims the line, too; this makes a deassign that has
//! returned a barrier. If the line is masked, a pending message stays pending until the unmask. A mask
//! is set whether the line is owned or not; it then waits for the owner, and is a barrier, too. A line is
//! masked while it has any [`Reasons`] to be. An [`AUTOMASK`] line masks itself in the step that starts a
//! delivery.
//!
//! A [`MODERATED`] line rests for an interval after each delivery. Its owner sets [`HELD`] and starts a
//! timer before it releases the line. While [`HELD`] is set, a message stays pending, as on a masked line.
//! The timer clears the bit by [`expire`], and a callback delivers what is pending then. So each [`HELD`]
//! has one timer, and each timer that ends clears one [`HELD`].
//!
//! A level line has two reasons to send a message. A ring asserts the line until the ack; a raised level
//! asserts it until the level is lowered. Once a message is in flight the line is asserted, and sends no
//! other message until the ack. An ack removes the assertion and makes the line's sources check again; if
//! the line is masked, they do so at the unmask. If the level is still raised then, that is the next
//! message.
//!
//! An unmaskfd and an ackfd end a mask and an assertion in the eventfd's wake callback ([`reply()`]), where no
//! eventfd may be signalled. The word changes there, so the order of a signal and a ring is the order in which
//! they happened. Only the signals to notifiers and resamplefds wait: the line's callback owes them
//! ([`OWED`]), as it owes a relayed message.
//!
//! A line whose only trigger is its own waiters signals no eventfd. So an eventfd's wake callback may
//! deliver its message: a ring from there claims the line, as any other ring does.
//!
//! A line whose word has [`COUNTS`] counts its rings in units beside the word. [`ring_counted`] changes both in
//! one step: the number is exact, whatever a delivery, a CLEAR or another ring does at the same time. The owner
//! takes the units after it has taken the message, in a step of its own. So it may add a ring whose message
//! comes next; that message then adds less, or nothing.
//!
//! Each function below is applied to the word by one compare-exchange, fully ordered.

// The paths are explicit, because the model compiles this file under another module's name.
#[path = "state/count.rs"]
mod count;
#[path = "state/interval.rs"]
mod interval;
#[path = "state/level.rs"]
mod level;
#[path = "state/reply.rs"]
mod reply;
#[path = "state/save.rs"]
mod save;
#[path = "state/word.rs"]
mod word;

pub(crate) use self::{
    count::*,
    interval::*,
    level::*,
    reply::*,
    save::*,
    word::*, //
};

/// The action that a transition asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Deliver a message. The caller owns the line.
    Deliver(Provenance),
    /// Queue the line's irq_work. Until that is done, no thread or callback would deliver the message:
    /// the caller must not be preempted in between.
    Relay,
    /// Queue the line for the context's worker. The caller must not be preempted before that, either.
    Defer,
    /// Do nothing: the message joined one that is pending.
    Coalesce,
    /// Do nothing: the line's owner, or the queued callback, delivers the message.
    Leave,
    /// Do nothing: the line is masked and holds the message.
    Keep,
    /// Do nothing but count the ring: the interval of the moderated line has not ended, and the line's
    /// timer delivers the message. If `coalesced` is true, the message was pending before.
    Hold { coalesced: bool },
    /// Start the timer of the interval. The caller owns the line, and must not be preempted before that: a
    /// ring that the line holds meanwhile relies on the timer.
    StartTimer,
    /// Count a message as dropped. The caller owns the line.
    Drop,
}

impl Action {
    /// Returns true if the caller must not be preempted before it has done this.
    #[inline(always)]
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, Self::Relay | Self::Defer | Self::StartTimer)
    }
}

/// The result of a transition that needs to own the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taken {
    /// Another thread owns the line: try again.
    Busy,
    /// There is nothing to do for the caller: the transition does not apply, or the line is masked for
    /// another reason still.
    Nothing,
    /// The transition was made. If it took a message, the caller owns the line.
    Done {
        /// The message that was pending, which the caller has to deliver or drop.
        message: Option<Provenance>,
        /// The caller has to signal the resamplefds.
        resample: bool,
    },
}

/// The result of an unmask that does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unmasked {
    /// The message that was pending. The caller delivers it if it owns the line now; otherwise the
    /// present owner does.
    pub(crate) message: Option<Provenance>,
    /// The caller has to signal the resamplefds.
    pub(crate) resample: bool,
}

/// The context of a ring, or of another transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// Eventfds may be signalled.
    Caller,
    /// Eventfds may not be signalled, as in an eventfd's wake callback; or another module's callback,
    /// which would call itself without end. Only the line's waiters may be woken.
    Wake(Provenance),
}

/// The context of a line's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The context of a ring, or of another transition.
    Caller,
    /// The line's irq_work.
    Interrupt,
    /// The context's worker.
    Worker,
}

/// Returns the callback that delivers a pending message.
#[inline]
fn callback(state: u32, place: Place) -> Action {
    if provenance(state).hops() >= RELAY_LIMIT || place == Place::Worker {
        Action::Defer
    } else {
        Action::Relay
    }
}

/// Returns true if a message was withdrawn, and the line's owner has not counted it yet.
#[inline]
pub(crate) fn is_withdrawn(state: u32) -> bool {
    state & WITHDRAWN != 0
}

/// Returns true if a ring is not accounted for yet: its message is pending, or was withdrawn.
#[inline]
pub(crate) fn is_rung(state: u32) -> bool {
    state & (PENDING | WITHDRAWN) != 0
}

/// Returns the word after a message was sent.
#[inline(always)]
fn sent(state: u32) -> u32 {
    let asserted = if state & LEVEL != 0 { ASSERTED } else { 0 };
    let masked = if state & AUTOMASK != 0 {
        Reasons::AUTO.masked()
    } else {
        0
    };
    let timer = if state & MODERATED != 0 { TIMER_DUE } else { 0 };
    state | asserted | masked | timer
}

/// Rings the line.
#[inline(always)]
pub(crate) fn ring(state: u32, origin: Origin) -> (u32, Action) {
    if state & LEVEL == 0 {
        return request(state, origin);
    }
    if state & (ASSERTED | PENDING) == ASSERTED {
        return (state, Action::Coalesce);
    }
    request(state | ASSERTED, origin)
}

/// Requests a message.
#[inline(always)]
fn request(state: u32, origin: Origin) -> (u32, Action) {
    let new = match origin {
        Origin::Caller => Provenance::NOTHING,
        Origin::Wake(provenance) => provenance,
    };
    if state & (WITHDRAWN | OWED | HELD | WAITERS) != 0 {
        if state & (WAITERS | WITHDRAWN | PENDING | CLOSED | IN_PROGRESS) == WAITERS {
            // No eventfd is signalled, so this may deliver anywhere.
            return (sent(state) | IN_PROGRESS, Action::Deliver(new));
        }
        return request_rare(state, origin, new);
    }
    if state & PENDING != 0 {
        let both = provenance(state).join(new);
        return (with(state, both), Action::Coalesce);
    }
    request_new(state, origin, new)
}

/// Does what [`request`] does if a message was withdrawn, a callback owes signals, the interval of a moderated
/// line has not ended, or the line has waiters to which it cannot deliver now.
#[cold]
fn request_rare(state: u32, origin: Origin, new: Provenance) -> (u32, Action) {
    let new = if state & (PENDING | OWED) != 0 {
        new.join(provenance(state))
    } else {
        new
    };
    let pending = with(state | PENDING, new);
    let coalesced = state & PENDING != 0;
    if state & WITHDRAWN != 0 {
        // The new message replaces the withdrawn one, and the owner handles it.
        return (pending & !WITHDRAWN, Action::Coalesce);
    }
    if is_held(state) {
        return (pending, Action::Hold { coalesced });
    }
    if coalesced {
        return (pending, Action::Coalesce);
    }
    request_new(state, origin, new)
}

/// Requests the message of a line that has none, and that holds none for an interval.
#[inline(always)]
fn request_new(state: u32, origin: Origin, new: Provenance) -> (u32, Action) {
    let pending = with(state | PENDING, new);
    if state & MASKED != 0 {
        return (pending, Action::Keep);
    }
    if state & IN_PROGRESS != 0 {
        return (pending, Action::Leave);
    }
    match origin {
        Origin::Caller => (
            sent(state) | IN_PROGRESS,
            Action::Deliver(Provenance::NOTHING),
        ),
        Origin::Wake(_) => (pending, callback(pending, Place::Caller)),
    }
}

/// Claims the line and its message for a callback, if the message is still there, the line is neither
/// masked nor held, and has no owner. If the callback owes signals, leaves both to [`take_all`].
#[inline(always)]
pub(crate) fn take(state: u32) -> (u32, Action) {
    if state & PENDING == 0 || state & (IN_PROGRESS | CLOSED | OWED) != 0 {
        return (state, Action::Leave);
    }
    (
        sent(without_message(state)) | IN_PROGRESS,
        Action::Deliver(provenance(state)),
    )
}

/// Does what [`take`] does, and leaves the signals that the callback owes to another callback, which is queued.
pub(crate) fn take_message(state: u32) -> (u32, Action) {
    let (taken, action) = take(state & !OWED);
    let counted = match action {
        Action::Deliver(provenance) if state & OWED != 0 => with(taken, provenance),
        _ => taken,
    };
    (counted | state & OWED, action)
}

/// The result of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Masked {
    /// The line was not masked before.
    pub(crate) newly: bool,
    /// The line has an owner: the mask is a barrier only after the caller's [`claim`].
    pub(crate) busy: bool,
}

/// Masks the line for `reasons`. If it has no owner, this is the barrier: no delivery is in flight, and a
/// callback that is queued finds the mask.
#[inline(always)]
pub(crate) fn mask(state: u32, reasons: Reasons) -> (u32, Masked) {
    let masked = Masked {
        newly: state & MASKED == 0,
        busy: state & IN_PROGRESS != 0,
    };
    (state | reasons.masked(), masked)
}

/// Ends `reasons` to mask the line. If there is no other one, unmasks it; if then a message is pending,
/// claims the line and the message.
#[inline(always)]
pub(crate) fn unmask(state: u32, reasons: Reasons) -> (u32, Taken) {
    if state & IN_PROGRESS != 0 && ends_mask(state, reasons) {
        return (state, Taken::Busy);
    }
    match unmask_nowait(state, reasons) {
        (unmasked, Some(Unmasked { message, resample })) => {
            (unmasked, Taken::Done { message, resample })
        }
        (still_masked, None) => (still_masked, Taken::Nothing),
    }
}

/// Ends `reasons` to mask the line. If there is no other one, unmasks it; if then a message is pending,
/// claims the line and the message, unless the line has an owner, which then delivers the message. If the
/// interval of a moderated line has not ended, the message stays pending. Returns none if the line was not
/// masked, or still is.
#[inline(always)]
pub(crate) fn unmask_nowait(state: u32, reasons: Reasons) -> (u32, Option<Unmasked>) {
    if !ends_mask(state, reasons) {
        return (state & !reasons.bits(), None);
    }
    let done = Unmasked {
        message: is_free(state).then_some(provenance(state)),
        resample: state & RESAMPLE != 0,
    };
    let open = state & !(MASKED | REASONS | RESAMPLE);
    if state & IN_PROGRESS != 0 || done.message.is_none() {
        return (open, Some(done));
    }
    (sent(without_message(open)) | IN_PROGRESS, Some(done))
}

/// Does what [`unmask_nowait`] does in a callback of another module, to which `new` relays have led: if the line
/// has no owner, a callback of the line delivers the message. Also returns the callback to queue;
/// [`Action::Leave`] if the owner delivers.
pub(crate) fn unmask_relayed(
    state: u32,
    reasons: Reasons,
    new: Provenance,
) -> (u32, Option<(Unmasked, Option<Action>)>) {
    let (unmasked, done) = unmask_nowait(state | IN_PROGRESS, reasons);
    let open = unmasked & !IN_PROGRESS | state & IN_PROGRESS;
    let Some(done) = done else {
        return (open, None);
    };
    if done.message.is_none() {
        return (open, Some((done, None)));
    }
    let pending = with(open, provenance(state).join(new));
    let action = if state & IN_PROGRESS != 0 {
        Action::Leave
    } else {
        callback(pending, Place::Caller)
    };
    (pending, Some((done, Some(action))))
}

/// Returns true if the line has masked itself, and was not unmasked since.
pub(crate) fn is_automasked(state: u32) -> bool {
    state & Reasons::AUTO.bits() != 0
}

/// Returns true if the line is masked for some of `reasons` and no other one.
#[inline(always)]
fn ends_mask(state: u32, reasons: Reasons) -> bool {
    state & MASKED != 0 && state & REASONS & !reasons.bits() == 0
}

/// Claims the line and its message, masked or not. For a level line this is also the ack. While the
/// level is raised, the message stays.
#[inline]
pub(crate) fn clear(state: u32) -> (u32, Taken) {
    if state & PENDING == 0 || state & RAISED != 0 {
        return (state, Taken::Nothing);
    }
    if state & IN_PROGRESS != 0 {
        return (state, Taken::Busy);
    }
    let message = Some(provenance(state));
    let (cleared, resample) = deassert(without_message(state));
    (cleared | IN_PROGRESS, Taken::Done { message, resample })
}

/// Records that the line's only trigger is its waiters, or that it has none any more. The caller owns the
/// line.
pub(crate) fn set_waiters(state: u32, waiters: bool) -> (u32, ()) {
    if waiters {
        (state | WAITERS, ())
    } else {
        (state & !WAITERS, ())
    }
}

/// Claims the line to change its outputs. The caller owns the line if [`IN_PROGRESS`] is new in the
/// result.
#[inline]
pub(crate) fn claim(state: u32) -> (u32, ()) {
    (state | IN_PROGRESS, ())
}

/// Releases the line after `rounds` messages, or returns the next thing that its owner, at `place`, has
/// to do.
#[inline(always)]
pub(crate) fn release(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    if state & (WITHDRAWN | OWED | TIMER_DUE) != 0 {
        return release_rare(state, rounds, place);
    }
    release_plain(state, rounds, place)
}

/// Does what [`release`] does if a message was withdrawn, a callback owes signals, or the interval of a
/// moderated line begins.
#[cold]
fn release_rare(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    if state & WITHDRAWN != 0 {
        return (state & !WITHDRAWN, Action::Drop);
    }
    if state & TIMER_DUE != 0 {
        return (state & !TIMER_DUE | HELD, Action::StartTimer);
    }
    release_plain(state, rounds, place)
}

#[inline(always)]
fn release_plain(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    if state & PENDING == 0 || state & CLOSED != 0 {
        return (state & !IN_PROGRESS, Action::Leave);
    }
    let provenance = provenance(state);
    if rounds < MAX_ROUNDS && (provenance.hops() < RELAY_LIMIT || place == Place::Worker) {
        (sent(without_message(state)), Action::Deliver(provenance))
    } else {
        (state & !IN_PROGRESS, callback(state, place))
    }
}
