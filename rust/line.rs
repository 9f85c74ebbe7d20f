// SPDX-License-Identifier: GPL-2.0

//! A line, and the ways to deliver its messages.

pub(crate) mod callback;
mod deliver;
pub(crate) mod moderation;
mod ops;
pub(crate) mod outputs;
mod ring;
pub(crate) mod save;
pub(crate) mod state;
pub(crate) mod status;
mod trace;
pub(crate) mod waiters;

use self::{
    outputs::{
        Notifiers,
        Output,
        Triggers, //
    },
    state::{
        Acked,
        Origin,
        Place, //
        Provenance,
        Reasons,
    },
    status::{
        LineStats,
        LineStatus, //
    }, //
};
use crate::{
    bindings::DOORBELL_TRACE_HOPS,
    kernel_ext::{
        batch::{
            Batch,
            BatchNode, //
        },
        budget::{
            depth,
            wake_depth, //
        },
        callback::impl_has_callbacks,
        compat::EOPNOTSUPP,
        deferred::{
            Deferred,
            IrqWork, //
        },
        eventfd::signal_allowed,
        handoff_lock::{
            HandoffGuard,
            HandoffLock,
            IN_PROGRESS, //
        },
        lazy_timer::LazyTimer,
        mmap_pages::SharedObject,
        read_domain::ReadDomain,
        wait::wait_until, //
    },
    uapi::{
        DOORBELL_ACK_DONE,
        DOORBELL_ACK_NOTHING,
        DOORBELL_ACK_POSTPONED,
        DOORBELL_LINE_ASSERTED,
        DOORBELL_LINE_AUTOMASK,
        DOORBELL_LINE_COUNTS,
        DOORBELL_LINE_LEVEL,
        DOORBELL_LINE_MASKED,
        DOORBELL_LINE_MODERATED,
        DOORBELL_LINE_PENDING,
        DOORBELL_LINE_RAISED,
        DOORBELL_LINE_REASONS,
        DOORBELL_LINE_REASONS_SHIFT,
        DOORBELL_LINE_RESAMPLE,
        DOORBELL_LINE_STATE,
        DOORBELL_LINE_WAITERS,
        DOORBELL_MASK_AUTO,
        DOORBELL_MASK_VECTOR,
        DOORBELL_RING_COALESCED,
        DOORBELL_RING_DELIVERED,
        DOORBELL_RING_MASKED, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

// The pure functions, the handoff lock and userspace must agree on the bits.
const _: () = {
    assert!(state::IN_PROGRESS == IN_PROGRESS);
    assert!(state::PENDING == DOORBELL_LINE_PENDING);
    assert!(state::MASKED == DOORBELL_LINE_MASKED);
    assert!(state::LEVEL == DOORBELL_LINE_LEVEL);
    assert!(state::ASSERTED == DOORBELL_LINE_ASSERTED);
    assert!(state::RAISED == DOORBELL_LINE_RAISED);
    assert!(state::RESAMPLE == DOORBELL_LINE_RESAMPLE);
    assert!(state::AUTOMASK == DOORBELL_LINE_AUTOMASK);
    assert!(state::WAITERS == DOORBELL_LINE_WAITERS);
    assert!(state::MODERATED == DOORBELL_LINE_MODERATED);
    assert!(state::COUNTS == DOORBELL_LINE_COUNTS);
    assert!(state::REASONS == DOORBELL_LINE_REASONS);
    assert!(state::REASONS_SHIFT == DOORBELL_LINE_REASONS_SHIFT);
    const fn masked(reason: u32) -> u32 {
        DOORBELL_LINE_MASKED | reason << DOORBELL_LINE_REASONS_SHIFT
    }
    assert!(Reasons::VECTOR.masked() == masked(DOORBELL_MASK_VECTOR));
    assert!(Reasons::AUTO.masked() == masked(DOORBELL_MASK_AUTO));
    assert!(state::MAX_HOPS == DOORBELL_TRACE_HOPS);
};

/// Position of the number of relays in the key of a wake-up.
///
/// The key of a wake-up is a poll mask. io_uring marks its own wake-ups in the same way
/// (EPOLL_URING_WAKE, bit 27, which a line passes on). The kernel gives bits 16 to 26 no meaning, and
/// userspace sees only the bits that it asked for.
const HOPS_KEY_SHIFT: u32 = 16;

/// The bits of the key that count relays.
const HOPS_KEY: u32 = state::MAX_HOPS << HOPS_KEY_SHIFT;

/// EPOLL_URING_WAKE, a cast that bindgen cannot evaluate.
const URING_KEY: u32 = 1 << 27;

impl Provenance {
    /// Returns the origin of a wake-up with the key `mask`.
    fn of_key(mask: u32) -> Self {
        Self::new(wake_depth(hops_of_key(mask)), mask & URING_KEY != 0)
    }

    /// Returns the key of the wake-ups that this message causes, without EPOLLIN.
    #[inline(always)]
    pub(crate) fn key(self) -> u32 {
        let after = self.relayed();
        let uring = if after.uring() { URING_KEY } else { 0 };
        (after.hops() << HOPS_KEY_SHIFT) | uring
    }
}

/// Returns the bits of the key `mask` that matter to waiters which are not irqfds.
#[inline]
pub(crate) fn wake_key(mask: u32) -> u32 {
    mask & URING_KEY
}

/// Returns the number of relays that a wake-up with the key `mask` came through.
#[inline]
pub(crate) fn hops_of_key(mask: u32) -> u32 {
    (mask >> HOPS_KEY_SHIFT) & state::MAX_HOPS
}

/// The maximum number of notifiers and resamplefds that the irq_work signals. If a line has more, the
/// worker signals them.
const MAX_NOTIFIED_IN_INTERRUPT: u32 = 8;

/// The outcome of a ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RingOutcome {
    /// The ring has a delivery of its own: done, in flight, or when the interval of the moderated line ends.
    Delivered,
    /// The ring joined a delivery that has not started yet.
    Coalesced,
    /// The line is masked and holds the message.
    Masked,
}

impl RingOutcome {
    /// Returns the code for userspace and other modules.
    pub(crate) fn code(self) -> u32 {
        match self {
            RingOutcome::Delivered => DOORBELL_RING_DELIVERED,
            RingOutcome::Coalesced => DOORBELL_RING_COALESCED,
            RingOutcome::Masked => DOORBELL_RING_MASKED,
        }
    }
}

impl Acked {
    /// Returns the code for userspace and other modules.
    pub(crate) fn code(self) -> u32 {
        match self {
            Acked::Nothing => DOORBELL_ACK_NOTHING,
            Acked::Done { resample: true, .. } => DOORBELL_ACK_DONE,
            Acked::Done {
                resample: false, ..
            } => DOORBELL_ACK_POSTPONED,
        }
    }
}

/// Returns the origin of a transition that another module makes in the current context. Within a
/// trigger's callback the origin is a wake-up although eventfds may be signalled: a ring or an unmask by the
/// callback is relayed, because callbacks could otherwise call each other without end.
pub(crate) fn origin_of_caller() -> Origin {
    match depth() {
        0 if signal_allowed() => Origin::Caller,
        hops => Origin::Wake(Provenance::new(hops, false)),
    }
}

impl Origin {
    /// Returns the place of a transition's caller. If relays have led to the transition, the place is that of
    /// an interrupt: it renews no budget.
    #[inline(always)]
    fn place(self) -> Place {
        match self {
            Origin::Wake(provenance) if provenance.hops() != 0 => Place::Interrupt,
            _ => Place::Caller,
        }
    }
}

/// Ownership of a line.
pub(crate) type LineGuard<'a> = HandoffGuard<'a, Triggers, LineStats>;

/// A line. It has cache lines of its own, so that two lines can be used on two CPUs at full speed.
#[pin_data(PinnedDrop)]
#[repr(align(128))]
pub(crate) struct Line {
    #[pin]
    timer: LazyTimer<Self>,
    #[pin]
    relay: Deferred<Self, IrqWork>,
    #[pin]
    defer: BatchNode<Self>,
    #[pin]
    pub(crate) lock: HandoffLock<Triggers, LineStats>,
    notifiers: Notifiers,
}

// Two cache lines: there may be 65,536 of them.
#[cfg(not(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT)))]
const _: () = assert!(size_of::<Line>() <= 128);

impl_has_callbacks!(Line {
    timer: LazyTimer<Self>,
    relay: Deferred<Self, IrqWork>,
    defer: BatchNode<Self>,
});

impl Line {
    /// Creates an initialiser for the line `number` without outputs. If an interrupt has used up its
    /// budget, `batch` delivers.
    pub(crate) fn new(
        number: u32,
        status: SharedObject<LineStatus>,
        domain: Arc<ReadDomain>,
        batch: Arc<Batch<Self>>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- LazyTimer::new(),
            relay <- Deferred::new(),
            defer <- BatchNode::new(batch, number),
            lock <- HandoffLock::new(status, Triggers::new()),
            notifiers: Notifiers::new(domain),
        })
    }

    /// Returns the notifiers, which are signalled on transitions.
    pub(crate) fn notifiers(&self) -> &Notifiers {
        &self.notifiers
    }

    /// Returns true if a message waits to be delivered. Any context.
    pub(crate) fn pending(self: Pin<&Self>) -> bool {
        self.state() & state::PENDING != 0
    }

    /// Returns the DOORBELL_LINE_* bits. Any context.
    pub(crate) fn state(&self) -> u32 {
        self.lock.word() & DOORBELL_LINE_STATE
    }

    /// Waits until the line has no owner, and claims it. Process context.
    pub(crate) fn claim(self: Pin<&Self>) -> LineGuard<'_> {
        let this = self.get_ref();
        wait_until(|| {
            let guard = this.lock.update(state::IDLE, state::claim).1;
            if guard.is_none() {
                self.help();
            }
            guard
        })
    }

    /// Finishes a delivery that an interrupt has parked. If there is none, waits for the owner on
    /// PREEMPT_RT. Process context.
    pub(crate) fn help(self: Pin<&Self>) {
        if !self.finish(Place::Caller) {
            self.lock.wait();
        }
    }

    /// Calls `f` with the line's triggers while no delivery is in flight and none starts. Then delivers
    /// the messages that arrived meanwhile.
    ///
    /// When this has returned, no signal to a trigger that `f` removed is in flight, and none will come.
    /// `f` must be short, and must neither sleep nor free memory.
    ///
    /// # Context
    ///
    /// Process context. Sleeps if the owner does not release the line soon.
    pub(crate) fn lock_triggers<R>(self: Pin<&Self>, f: impl FnOnce(&mut Triggers) -> R) -> R {
        let mut guard = self.claim();
        let result = f(&mut guard);
        self.end_count(&guard);
        if let Err(guard) = guard.release_idle() {
            self.deliver(guard, None, 0);
        }
        result
    }

    /// Ends the count of a line whose last trigger that counts is gone.
    fn end_count(&self, guard: &LineGuard<'_>) {
        let word = self.lock.word();
        if word & state::COUNTS != 0 && !guard.counts() {
            self.lock.update_units(word, state::uncount);
        }
    }

    /// Adds a trigger, as [`Triggers::add`] does. If the line is asserted and its last message found no
    /// trigger, delivers that message once more.
    ///
    /// # Context
    ///
    /// As of [`Line::lock_triggers`].
    ///
    /// # Errors
    ///
    /// Those of [`Triggers::add`]. EOPNOTSUPP: the output counts, and the line is a level line.
    pub(crate) fn add_trigger(
        self: Pin<&Self>,
        output: &mut Option<Output>,
        room: &mut KVec<Output>,
    ) -> Result {
        self.add_output(output, room, || {})
    }

    /// Adds a trigger, and calls `then` if that succeeds, before the line can deliver to it. Context and
    /// errors as of [`Line::add_trigger`].
    fn add_output(
        self: Pin<&Self>,
        output: &mut Option<Output>,
        room: &mut KVec<Output>,
        then: impl FnOnce(),
    ) -> Result {
        let mut guard = self.claim();
        if output.as_ref().is_some_and(Output::counts) {
            let word = self.lock.word();
            if !self.lock.update_units(word, state::count).0 {
                self.deliver(guard, None, 0);
                return Err(EOPNOTSUPP);
            }
        }
        let added = guard.add(output, room);
        match added {
            Ok(()) => then(),
            Err(_) => self.end_count(&guard),
        }
        if added.is_ok() && guard.take_undelivered() {
            let _ = self
                .lock
                .update(state::LEVEL | state::ASSERTED | IN_PROGRESS, state::renew);
        }
        self.deliver(guard, None, 0);
        added
    }

    /// Sends what the callbacks have left, and drops the triggers. No thread may ring the line any more, and its
    /// callbacks must have ended. Process context.
    pub(crate) fn shut_down(self: Pin<&Self>) {
        if self.lock.word() & (state::PENDING | state::OWED) != 0 {
            self.deliver_rest();
        }
        drop(self.lock_triggers(Triggers::take));
    }
}
