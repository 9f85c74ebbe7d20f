// SPDX-License-Identifier: GPL-2.0

//! The bits of a line's state word, and what they encode.

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
pub(super) const OWES_UNMASK: u32 = 1 << 15;

/// An ackfd has acked the line: the callback that is queued has to signal the notifiers. Then the level is
/// the next message if it is still raised.
pub(super) const OWES_ACK: u32 = 1 << 20;

/// The signals that a callback owes. While one of these bits is set, a callback is queued that will call
/// [`super::take_all`]. If the line is not masked, that also signals the resamplefds of [`RESAMPLE`].
pub(crate) const OWED: u32 = OWES_UNMASK | OWES_ACK;

/// The line delivers at most one message in an interval. This bit is part of the ABI, too.
pub(crate) const MODERATED: u32 = 1 << 22;

/// The interval after a delivery has not ended: the line delivers nothing. Its timer is queued, or the
/// thread that has removed the timer clears the bit.
pub(crate) const HELD: u32 = 1 << 21;

/// The owner has started a delivery, and has not started the timer of the interval yet.
pub(super) const TIMER_DUE: u32 = 1 << 23;

/// The bits each of which keeps a message pending.
pub(super) const CLOSED: u32 = MASKED | HELD;

/// Position of the mask reasons in the word. They are part of the ABI, too.
pub(crate) const REASONS_SHIFT: u32 = 16;

/// The mask reasons. [`MASKED`] is set if and only if one of them is.
pub(crate) const REASONS: u32 = Reasons::ALL << REASONS_SHIFT;

/// The bits of the word that are saved and restored.
pub(crate) const SAVED: u32 =
    PENDING | MASKED | LEVEL | ASSERTED | RAISED | RESAMPLE | AUTOMASK | REASONS;

/// The message was withdrawn while the line had an owner: the level, its only reason, was lowered. The
/// owner counts it as dropped.
pub(super) const WITHDRAWN: u32 = 1 << 30;

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
    pub(super) const fn bits(self) -> u32 {
        self.flags() << REASONS_SHIFT
    }

    /// Returns the bits of a masked word.
    #[inline(always)]
    pub(crate) const fn masked(self) -> u32 {
        self.bits() | MASKED
    }
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
    pub(super) fn join(self, other: Self) -> Self {
        let hops = if other.hops() > self.hops() {
            other.hops()
        } else {
            self.hops()
        };
        Self(hops | ((self.0 | other.0) & Self::URING))
    }
}

#[inline]
pub(super) fn provenance(state: u32) -> Provenance {
    Provenance((state & (HOPS | URING)) >> HOPS_SHIFT)
}

#[inline]
pub(super) fn with(state: u32, provenance: Provenance) -> u32 {
    (state & !(HOPS | URING)) | (provenance.0 << HOPS_SHIFT)
}

/// Returns the word without its message. If a callback owes signals, the relays stay counted for them.
#[inline]
pub(super) fn without_message(state: u32) -> u32 {
    if state & OWED == 0 {
        state & !(PENDING | HOPS | URING)
    } else {
        state & !PENDING
    }
}
