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
//! or not, and then waits for the hold, which makes it a barrier, too.
//!
//! A level line has two reasons to send a message: a ring asserts it until it is acked, and a level
//! that was raised holds it until it is lowered. Whichever it was, once a message is on its way the
//! line is asserted, and sends no other until the ack. An ack takes the assertion back and has the
//! line's sources look again; if the line is masked, that waits for the unmask. If the level is
//! still raised then, that is the next message.
//!
//! Each function below is applied to the word by one compare-exchange, fully ordered.

/// Nothing going on.
pub(crate) const IDLE: u32 = 0;

/// Somebody holds the line: delivers, or changes its triggers. The value is [`IN_PROGRESS`]'s of the gate
/// that the word lives in.
///
/// [`IN_PROGRESS`]: ../kernel_ext/gate/constant.IN_PROGRESS.html
pub(crate) const IN_PROGRESS: u32 = 1 << 31;

/// A message waits to be delivered. From here to [`RESAMPLE`]: the ABI's bits.
pub(crate) const PENDING: u32 = 1 << 0;

/// Nothing is delivered.
pub(crate) const MASKED: u32 = 1 << 1;

/// A level line. The following bits belong to such lines only.
pub(crate) const LEVEL: u32 = 1 << 2;

/// It was rung, or has sent a message, and nobody has acked that.
pub(crate) const ASSERTED: u32 = 1 << 3;

/// Its level is raised.
pub(crate) const RAISED: u32 = 1 << 4;

/// It was acked while masked: the resamplefds are to be signalled by the unmask.
pub(crate) const RESAMPLE: u32 = 1 << 5;

/// The message was taken back (the level that was its only reason went low) while somebody held the
/// line: the holder counts it as dropped.
const WITHDRAWN: u32 = 1 << 30;

/// How many relays the pending message has behind it: the longest, if several rings coalesced.
const HOPS_SHIFT: u32 = 8;
const HOPS: u32 = MAX_HOPS << HOPS_SHIFT;

/// A ring of the pending message came from an io_uring's own eventfd (EPOLL_URING_WAKE). The next
/// wake-up carries that on: it is what keeps a ring from being woken by itself for ever.
const URING: u32 = 1 << 14;

/// The hop count saturates here.
pub(crate) const MAX_HOPS: u32 = 63;

/// From this many relays on, a message is delivered in process context.
///
/// An eventfd that is signalled by one line and listened on by another makes a relay. Relays run
/// in interrupt context, and contexts can be usage into a cycle that rings itself for ever: it must
/// end up where the scheduler, signals and cgroups rule. A message that started in a system call
/// gets this many relays at full speed; real wiring has one to three.
pub(crate) const RELAY_LIMIT: u32 = 32;

/// How many messages a holder delivers in one go before it leaves the rest to a callback.
pub(crate) const MAX_ROUNDS: u32 = 4;

impl Action {
    /// The caller must not be preempted before it has done this.
    #[inline(always)]
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, Self::Relay | Self::Defer)
    }
}

/// What the caller of a transition has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Deliver a message; the caller holds the line.
    Deliver(Behind),
    /// Queue the line's irq_work. Until that is done the message has no owner that others know of:
    /// the caller must not be preempted in between.
    Relay,
    /// Give the line to the context's worker. As above.
    Defer,
    /// Nothing: the message joined one that is pending.
    Coalesce,
    /// Nothing: the line's holder, or the callback that is queued, has it.
    Leave,
    /// Nothing: the line is masked and keeps the message.
    Keep,
    /// Count a message as dropped; the caller holds the line.
    Drop,
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
        /// The message that was pending. Now it is the caller's.
        message: Option<Behind>,
        /// The resamplefds are to be signalled.
        resample: bool,
    },
}

/// What an unmask that never waits has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unmasked {
    /// A message was pending. Its deliverer is the caller if that holds the line now, and if not,
    /// whoever does.
    pub(crate) message: Option<Behind>,
    /// The caller is to signal the resamplefds.
    pub(crate) resample: bool,
}

/// How an ack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Acked {
    /// There was nothing to ack.
    Nothing,
    /// The line is no longer asserted.
    Done {
        /// The caller is to signal the resamplefds; if not, the unmask will.
        resample: bool,
        /// The level is still raised: after that, the caller is to [`assert_again`].
        again: bool,
    },
}

/// What is behind a message: how many relays, and whether one of them was an io_uring's own eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Behind(u32);

impl Behind {
    const URING: u32 = URING >> HOPS_SHIFT;

    /// A ring in a context where eventfds may be signalled.
    pub(crate) const NOTHING: Self = Self(0);

    /// At most [`MAX_HOPS`] are counted.
    #[inline(always)]
    pub(crate) const fn new(hops: u32, uring: bool) -> Self {
        let hops = if hops > MAX_HOPS { MAX_HOPS } else { hops };
        Self(hops | if uring { Self::URING } else { 0 })
    }

    /// How many relays: zero if userspace wrote.
    #[inline(always)]
    pub(crate) const fn hops(self) -> u32 {
        self.0 & MAX_HOPS
    }

    /// An io_uring's own eventfd is.
    #[inline(always)]
    pub(crate) const fn uring(self) -> bool {
        self.0 & Self::URING != 0
    }

    /// One relay more.
    #[inline(always)]
    pub(crate) const fn relayed(self) -> Self {
        if self.hops() < MAX_HOPS {
            Self(self.0.wrapping_add(1))
        } else {
            self
        }
    }

    /// The message that two rings come to.
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

/// Where a ring comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A context where eventfds may be signalled.
    Caller,
    /// An eventfd's wake callback, where they may not, or another module's callback, which would be
    /// called by itself for ever.
    Wake(Behind),
}

/// Where a line's holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In the context of a ring, or of another transition.
    Caller,
    /// In the line's irq_work.
    Interrupt,
    /// In the context's worker.
    Worker,
}

#[inline]
fn behind(state: u32) -> Behind {
    Behind((state & (HOPS | URING)) >> HOPS_SHIFT)
}

#[inline]
fn with(state: u32, behind: Behind) -> u32 {
    (state & !(HOPS | URING)) | (behind.0 << HOPS_SHIFT)
}

/// Takes the message out of the word.
#[inline]
fn without_message(state: u32) -> u32 {
    state & !(PENDING | HOPS | URING)
}

/// How a message that is pending is to be delivered.
#[inline]
fn callback(state: u32, place: Place) -> Action {
    if behind(state).hops() >= RELAY_LIMIT || place == Place::Worker {
        Action::Defer
    } else {
        Action::Relay
    }
}

/// Whether there is a ring of which it is open what it comes to: it is pending, or was taken back.
#[inline]
pub(crate) fn is_rung(state: u32) -> bool {
    state & (PENDING | WITHDRAWN) != 0
}

/// A message goes out.
#[inline]
fn sent(state: u32) -> u32 {
    if state & LEVEL != 0 {
        state | ASSERTED
    } else {
        state
    }
}

/// The line is rung.
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

/// The level is raised. None of an edge line, which has no level.
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

/// The level is lowered. A message that has no other reason is taken back; returns whether there
/// was one, which the caller counts if it holds the line now. None of an edge line.
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

/// A message is wanted.
#[inline(always)]
fn request(state: u32, origin: Origin) -> (u32, Action) {
    let new = match origin {
        Origin::Caller => Behind::NOTHING,
        Origin::Wake(behind) => behind,
    };
    if state & PENDING != 0 {
        let both = behind(state).join(new);
        return (with(state, both), Action::Coalesce);
    }
    let pending = with(state | PENDING, new);
    if state & WITHDRAWN != 0 {
        // It takes that message's place, and its holder knows what to do with it.
        return (pending & !WITHDRAWN, Action::Coalesce);
    }
    if state & MASKED != 0 {
        return (pending, Action::Keep);
    }
    if state & IN_PROGRESS != 0 {
        return (pending, Action::Leave);
    }
    match origin {
        Origin::Caller => (sent(state) | IN_PROGRESS, Action::Deliver(Behind::NOTHING)),
        Origin::Wake(_) => (pending, callback(pending, Place::Caller)),
    }
}

/// A callback runs: takes the message, if it is still there, may be delivered, and nobody holds the
/// line.
#[inline(always)]
pub(crate) fn take(state: u32) -> (u32, Action) {
    if state & PENDING == 0 || state & (IN_PROGRESS | MASKED) != 0 {
        return (state, Action::Leave);
    }
    (
        sent(without_message(state)) | IN_PROGRESS,
        Action::Deliver(behind(state)),
    )
}

/// Masks the line, and takes hold of it if it is free; if not, the caller has to [`claim`] it before
/// the mask is a barrier. Returns whether the line was not masked before.
#[inline]
pub(crate) fn mask(state: u32) -> (u32, bool) {
    (state | MASKED | IN_PROGRESS, state & MASKED == 0)
}

/// Unmasks the line, and takes hold of it and of its message.
#[inline]
pub(crate) fn unmask(state: u32) -> (u32, Taken) {
    if state & MASKED == 0 {
        return (state, Taken::Nothing);
    }
    if state & IN_PROGRESS != 0 {
        return (state, Taken::Busy);
    }
    let (unmasked, Some(Unmasked { message, resample })) = unmask_nowait(state) else {
        return (state, Taken::Nothing);
    };
    (unmasked, Taken::Done { message, resample })
}

/// Unmasks the line, and takes hold of it and of its message if it is free; if it is not, that is
/// left to the holder. None if it was not masked.
pub(crate) fn unmask_nowait(state: u32) -> (u32, Option<Unmasked>) {
    if state & MASKED == 0 {
        return (state, None);
    }
    let done = Unmasked {
        message: (state & PENDING != 0).then_some(behind(state)),
        resample: state & RESAMPLE != 0,
    };
    let open = state & !(MASKED | RESAMPLE);
    if state & IN_PROGRESS != 0 {
        return (open, Some(done));
    }
    let taken = match done.message {
        Some(_) => sent(without_message(open)),
        None => open,
    };
    (taken | IN_PROGRESS, Some(done))
}

/// Takes hold of the line and of its message, masked or not; for a level line, that is its ack. As
/// long as its level is raised there is nothing to be done about the message.
#[inline]
pub(crate) fn clear(state: u32) -> (u32, Taken) {
    if state & PENDING == 0 || state & RAISED != 0 {
        return (state, Taken::Nothing);
    }
    if state & IN_PROGRESS != 0 {
        return (state, Taken::Busy);
    }
    let message = Some(behind(state));
    let (cleared, resample) = deassert(without_message(state));
    (cleared | IN_PROGRESS, Taken::Done { message, resample })
}

/// Takes an assertion back; returns whether the resamplefds are to be signalled now.
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

/// The message that was sent last is done with. One that has not been sent yet is not: nobody can
/// know of it. None of an edge line.
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

/// An ack is done with, and the sources have been told: a level that is raised even now is the next
/// message, unless there is one already. Until here there was none: the sources might have lowered it.
pub(crate) fn assert_again(state: u32, origin: Origin) -> (u32, Option<Action>) {
    if state & RAISED == 0 || state & (ASSERTED | PENDING) != 0 {
        return (state, None);
    }
    let (requested, action) = request(state, origin);
    (requested, Some(action))
}

/// Makes the message of an asserted line pending again, unless it has been acked: it has found no
/// trigger, and now there is one. The caller holds the line, and sends the message or leaves it to
/// the unmask.
pub(crate) fn renew(state: u32) -> (u32, ()) {
    if state & (LEVEL | ASSERTED | PENDING) == LEVEL | ASSERTED {
        (state | PENDING, ())
    } else {
        (state, ())
    }
}

/// Makes it a level line, or an edge line; returns whether it can become one now, or is one.
pub(crate) fn retype(state: u32, level: bool) -> (u32, bool) {
    if level == (state & LEVEL != 0) {
        (state, true)
    } else if state & (PENDING | ASSERTED | RAISED | WITHDRAWN) != 0 {
        (state, false)
    } else if level {
        (state | LEVEL, true)
    } else {
        (state & !(LEVEL | RESAMPLE), true)
    }
}

/// Takes hold of the line to change what it signals; [`IN_PROGRESS`] is new in the result if that worked.
#[inline]
pub(crate) fn claim(state: u32) -> (u32, ()) {
    (state | IN_PROGRESS, ())
}

/// The holder, at `place`, is done with one thing, after having delivered `rounds` messages.
#[inline(always)]
pub(crate) fn release(state: u32, rounds: u32, place: Place) -> (u32, Action) {
    if state & WITHDRAWN != 0 {
        return (state & !WITHDRAWN, Action::Drop);
    }
    if state & PENDING == 0 || state & MASKED != 0 {
        return (state & !IN_PROGRESS, Action::Leave);
    }
    let behind = behind(state);
    if rounds < MAX_ROUNDS && (behind.hops() < RELAY_LIMIT || place == Place::Worker) {
        (sent(without_message(state)), Action::Deliver(behind))
    } else {
        (state & !IN_PROGRESS, callback(state, place))
    }
}
