// SPDX-License-Identifier: GPL-2.0

//! The state machine of a line, as pure functions over its state word.
//!
//! This file imports nothing from the kernel: the model on the host compiles it as it is and walks
//! through every interleaving.
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
//! An unmaskfd and an ackfd end a mask and an assertion in the eventfd's wake callback ([`reply`]), where no
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

/// The state of an idle line.
pub(crate) const IDLE: u32 = 0;

/// The line has an owner, which delivers or changes the triggers. The value is that of
/// [`IN_PROGRESS`] of the handoff lock whose word this is.
///
/// [`IN_PROGRESS`]: ../kernel_ext/handoff_lock/constant.IN_PROGRESS.html
pub(crate) const IN_PROGRESS: u32 = 1 << 31;

/// A message waits to be delivered. The bits from here to [`WAITERS`] are part of the ABI.
pub(crate) const PENDING: u32 = 1 << 0;

/// The line delivers nothing: it has at least one of [`REASONS`].
pub(crate) const MASKED: u32 = 1 << 1;

/// The line is a level line. The bits below belong to level lines only.
pub(crate) const LEVEL: u32 = 1 << 2;

/// The line was rung or has sent a message, and was not acked since.
pub(crate) const ASSERTED: u32 = 1 << 3;

/// The level is raised.
pub(crate) const RAISED: u32 = 1 << 4;

/// The line was acked while masked: the unmask signals the resamplefds. Without a mask, the callback of
/// [`OWED`] does.
pub(crate) const RESAMPLE: u32 = 1 << 5;

/// The line masks itself when it delivers.
pub(crate) const AUTOMASK: u32 = 1 << 6;

/// The line's only trigger is its waiters: threads in DOORBELL_WAIT. Only the owner changes this bit, with
/// the triggers.
pub(crate) const WAITERS: u32 = 1 << 7;

/// The line has a trigger that adds the number of rings. The bit is part of the ABI.
pub(crate) const COUNTS: u32 = 1 << 24;

/// An unmaskfd has unmasked the line: the callback that is queued has to signal the notifiers.
const OWES_UNMASK: u32 = 1 << 15;

/// An ackfd has acked the line: the callback that is queued has to signal the notifiers. Then the level is
/// the next message if it is still raised.
const OWES_ACK: u32 = 1 << 20;

/// The signals that a callback owes. While one of these bits is set, a callback is queued that will call
/// [`take_all`]. If the line is not masked, that also signals the resamplefds of [`RESAMPLE`].
pub(crate) const OWED: u32 = OWES_UNMASK | OWES_ACK;

/// The line delivers at most one message in an interval. This bit is part of the ABI, too.
pub(crate) const MODERATED: u32 = 1 << 22;

/// The interval after a delivery has not ended: the line delivers nothing. Its timer is queued, or the
/// thread that has removed the timer clears the bit.
pub(crate) const HELD: u32 = 1 << 21;

/// The owner has started a delivery, and has not started the timer of the interval yet.
const TIMER_DUE: u32 = 1 << 23;

/// The bits each of which keeps a message pending.
const CLOSED: u32 = MASKED | HELD;

/// Position of the mask reasons in the word. They are part of the ABI, too.
pub(crate) const REASONS_SHIFT: u32 = 16;

/// The mask reasons. [`MASKED`] is set if and only if one of them is.
pub(crate) const REASONS: u32 = Reasons::ALL << REASONS_SHIFT;

/// The bits of the word that are saved and restored.
pub(crate) const SAVED: u32 =
    PENDING | MASKED | LEVEL | ASSERTED | RAISED | RESAMPLE | AUTOMASK | REASONS;

/// The message was withdrawn while the line had an owner: the level, its only reason, was lowered. The
/// owner counts it as dropped.
const WITHDRAWN: u32 = 1 << 30;

/// The number of relays that the pending message came through: the maximum, if several rings
/// coalesced. The signals of [`OWED`] count, too.
const HOPS_SHIFT: u32 = 8;
const HOPS: u32 = MAX_HOPS << HOPS_SHIFT;

/// A ring of the pending message came from an io_uring's own eventfd (EPOLL_URING_WAKE). The next
/// wake-up passes the flag on, so that an io_uring does not wake itself without end.
const URING: u32 = 1 << 14;

/// The maximum number of relays that is counted.
pub(crate) const MAX_HOPS: u32 = 63;

/// From this number of relays on, a message is delivered in process context.
///
/// An eventfd that is a trigger of one line and an irqfd of another makes a relay. Relays run in
/// interrupt context, and several contexts can form a cycle that rings itself without end. Such a cycle
/// must end up in process context, where the scheduler, signals and cgroups limit it. A message that
/// started in a system call passes this many relays at full speed; real configurations have one to
/// three.
pub(crate) const RELAY_LIMIT: u32 = 32;

/// The maximum number of messages that an owner delivers before it leaves the rest to a callback.
pub(crate) const MAX_ROUNDS: u32 = 4;

/// Why a line is masked: one reason or several. Each is set and cleared by itself.
///
/// The type has no room for other bits of the word, so the compiler knows that a mask sets none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reasons(u8);

impl Reasons {
    /// The mask of the vector itself.
    pub(crate) const VECTOR: Self = Self(1 << 0);
    /// The line has masked itself.
    pub(crate) const AUTO: Self = Self(1 << 3);

    /// The bits of all reasons. The other two are those of a function, and of a stopped virtual machine.
    const ALL: u32 = (1 << 4) - 1;

    /// Returns the reasons whose bits, DOORBELL_MASK_*, are set in `bits`. Returns none if that is no
    /// reason, or not only reasons.
    pub(crate) const fn new(bits: u32) -> Option<Self> {
        if bits == 0 || bits & !Self::ALL != 0 {
            None
        } else {
            Some(Self(bits as u8))
        }
    }

    /// Returns the DOORBELL_MASK_* bits.
    #[inline(always)]
    pub(crate) const fn flags(self) -> u32 {
        self.0 as u32
    }

    /// Returns the bits of the word that stand for the reasons.
    #[inline(always)]
    const fn bits(self) -> u32 {
        self.flags() << REASONS_SHIFT
    }

    /// Returns the bits of a masked word.
    #[inline(always)]
    pub(crate) const fn masked(self) -> u32 {
        self.bits() | MASKED
    }
}

impl Action {
    /// Returns true if the caller must not be preempted before it has done this.
    #[inline(always)]
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, Self::Relay | Self::Defer | Self::StartTimer)
    }
}

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
    /// To the notifiers of an ack. Then the caller calls [`assert_again`].
    pub(crate) ack: bool,
    /// To the notifiers of an unmask.
    pub(crate) unmask: bool,
    /// To the resamplefds.
    pub(crate) resample: bool,
    /// The relays of the replies.
    pub(crate) provenance: Provenance,
}

/// The origin of a message: the number of relays that it came through, and a flag for an io_uring's own
/// eventfd among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Provenance(u32);

impl Provenance {
    const URING: u32 = URING >> HOPS_SHIFT;

    /// No relay: the ring came from a context where eventfds may be signalled.
    pub(crate) const NOTHING: Self = Self(0);

    /// Creates a value of `hops` relays, of which at most [`MAX_HOPS`] are counted.
    #[inline(always)]
    pub(crate) const fn new(hops: u32, uring: bool) -> Self {
        let hops = if hops > MAX_HOPS { MAX_HOPS } else { hops };
        Self(hops | if uring { Self::URING } else { 0 })
    }

    /// Returns the number of relays; zero if userspace wrote.
    #[inline(always)]
    pub(crate) const fn hops(self) -> u32 {
        self.0 & MAX_HOPS
    }

    /// Returns both as one number: the number of relays in the bits of [`MAX_HOPS`].
    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Returns true if an io_uring's own eventfd was among them.
    #[inline(always)]
    pub(crate) const fn uring(self) -> bool {
        self.0 & Self::URING != 0
    }

    /// Returns the value after one more relay.
    #[inline(always)]
    pub(crate) const fn relayed(self) -> Self {
        if self.hops() < MAX_HOPS {
            Self(self.0.wrapping_add(1))
        } else {
            self
        }
    }

    /// Returns the value of the message that two rings coalesce into.
    #[inline]
    fn join(self, other: Self) -> Self {
        let hops = if other.hops() > self.hops() {
            other.hops()
        } else {
            self.hops()
        };
        Self(hops | ((self.0 | other.0) & Self::URING))
    }
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

#[inline]
fn provenance(state: u32) -> Provenance {
    Provenance((state & (HOPS | URING)) >> HOPS_SHIFT)
}

#[inline]
fn with(state: u32, provenance: Provenance) -> u32 {
    (state & !(HOPS | URING)) | (provenance.0 << HOPS_SHIFT)
}

/// Returns the word without its message.
#[inline]
fn without_message(state: u32) -> u32 {
    state & !(PENDING | HOPS | URING)
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

/// Returns true if the line holds a message until its interval has ended, and not for a mask.
#[inline(always)]
fn is_held(state: u32) -> bool {
    state & CLOSED == HELD
}

/// Returns true if a message is pending that no interval holds, or will hold.
#[inline(always)]
fn is_free(state: u32) -> bool {
    state & (PENDING | HELD | TIMER_DUE) == PENDING
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

/// Removes an assertion. Returns true if the resamplefds have to be signalled now.
fn deassert(state: u32) -> (u32, bool) {
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

/// Returns true if the line has sent a message that was not acked. An edge line has no ack.
#[inline]
pub(crate) const fn is_sent(state: u32) -> bool {
    state & (LEVEL | ASSERTED | PENDING) == LEVEL | ASSERTED
}

/// Returns true if a raised line was acked, and [`assert_again`] has not requested its next message yet.
pub(crate) const fn is_in_ack(state: u32) -> bool {
    state & (RAISED | ASSERTED | PENDING) == RAISED
}

/// Returns true if the line can be restored: it is as it was created, but may be masked, and rung. It has no
/// waiters, which would take the deliveries of the record for their own, and does not count its rings.
pub(crate) const fn is_fresh(state: u32) -> bool {
    state & (SAVED | WAITERS | COUNTS) & !(MASKED | REASONS | PENDING) == 0
}

/// Replaces the state of a fresh line with the `saved` bits, which must be restorable. The caller owns the
/// line, and delivers the message or leaves it to the unmask.
///
/// A ring whose message was pending before is a ring of the restored line. Returns true if it coalesces. If
/// the line was saved between an ack and [`assert_again`], requests the message of the level.
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
/// moderated line begins. The relays of the signals stay counted.
#[cold]
fn release_rare(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    if state & WITHDRAWN != 0 {
        return (state & !WITHDRAWN, Action::Drop);
    }
    if state & TIMER_DUE != 0 {
        return (state & !TIMER_DUE | HELD, Action::StartTimer);
    }
    match release_plain(state, rounds, place) {
        (released, action @ Action::Deliver(provenance)) => (with(released, provenance), action),
        other => other,
    }
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
