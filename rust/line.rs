// SPDX-License-Identifier: GPL-2.0

//! A line, and the ways to deliver its messages.

pub(crate) mod callback;
pub(crate) mod moderation;
mod ops;
pub(crate) mod outputs;
pub(crate) mod save;
pub(crate) mod state;
pub(crate) mod status;
mod trace;
pub(crate) mod waiters;

use self::{
    moderation::Limits,
    outputs::{
        Notifiers,
        Output,
        Triggers, //
    },
    state::{
        Acked,
        Action,
        Origin,
        Owed,
        Place, //
        Provenance,
        Reasons,
        Reply,
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
            impl_has_batch_node,
            Batch,
            BatchNode,
            RunInBatch, //
        },
        budget::{
            depth,
            fresh,
            wake_depth,
            within_budget, //
        },
        deferred::{
            impl_has_deferred,
            Deferred,
            IrqWork,
            Run, //
        },
        eventfd::signal_allowed,
        handoff_lock::{
            HandoffGuard,
            HandoffLock,
            IN_PROGRESS, //
        },
        lazy_timer::LazyTimer,
        mmap_pages::SharedObject,
        preempt::Unpreempted,
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
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
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
const MAX_NOTIFIED_IN_INTERRUPT: usize = 8;

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
/// trigger's callback the origin is a wake-up although eventfds may be signalled: a ring by the callback
/// is relayed, because callbacks could otherwise call each other without end.
pub(crate) fn origin_of_caller() -> Origin {
    match depth() {
        0 if signal_allowed() => Origin::Caller,
        hops => Origin::Wake(Provenance::new(hops, false)),
    }
}

/// Ownership of a line.
pub(crate) type LineGuard<'a> = HandoffGuard<'a, Triggers, LineStats>;

/// A line. It has cache lines of its own, so that two lines can be used on two CPUs at full speed.
#[pin_data]
#[repr(align(128))]
pub(crate) struct Line {
    // First, because they wait for their callbacks when they are dropped.
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

impl_has_deferred!(Line, relay, IrqWork);
impl_has_batch_node!(Line, defer);

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

    /// Rings the line, and delivers at once if the line has no owner. Neither sleeps nor allocates;
    /// takes no lock but those of the triggers' eventfds.
    ///
    /// # Context
    ///
    /// Any context where eventfds may be signalled (see [`EventFd::signal`]).
    ///
    /// [`EventFd::signal`]: crate::kernel_ext::eventfd::EventFd::signal
    #[inline(always)]
    pub(crate) fn ring(self: Pin<&Self>) -> RingOutcome {
        let rung = self
            .lock
            .try_update(state::IDLE, |word| state::ring(word, Origin::Caller));
        match rung {
            Ok((action @ Action::Deliver(provenance), Some(guard))) => {
                self.trace_ring(&action, Origin::Caller);
                self.deliver_edge(guard, provenance, Place::Caller);
                RingOutcome::Delivered
            }
            // An idle line always delivers.
            Ok(_) => RingOutcome::Delivered,
            Err(word) => self.ring_word(word),
        }
    }

    /// Rings the line, which is not idle: its word was `word`.
    #[cold]
    fn ring_word(self: Pin<&Self>, mut word: u32) -> RingOutcome {
        let ring = |word| state::ring(word, Origin::Caller);
        while word & (state::WAITERS | state::COUNTS) == 0 {
            match self.lock.try_update(word, ring) {
                Ok((action, guard)) => return self.rung(action, guard, Origin::Caller),
                Err(now) => word = now,
            }
        }
        self.ring_special(word)
    }

    /// Rings the line, whose trigger was its waiters, or which counts its rings: its word was `word`.
    #[inline(never)]
    fn ring_special(self: Pin<&Self>, word: u32) -> RingOutcome {
        if word == state::WAITERS && self.ring_idle_waiters(Origin::Caller, Place::Caller) {
            return RingOutcome::Delivered;
        }
        let (action, guard) = self.update_special(word, Origin::Caller);
        self.rung(action, guard, Origin::Caller)
    }

    /// Applies a ring from `origin` to the line. Its word was `word`.
    #[inline(always)]
    fn update_special(&self, mut word: u32, origin: Origin) -> (Action, Option<LineGuard<'_>>) {
        // The word says whether the line counts, and no other word is expected by that attempt.
        while word & state::COUNTS == 0 {
            match self.lock.try_update(word, |word| state::ring(word, origin)) {
                Ok(rung) => return rung,
                Err(now) => word = now,
            }
        }
        let ring = |word, units| state::ring_counted(word, units, origin);
        self.lock.update_units(word, ring)
    }

    /// Rings an edge line that is expected to have waiters and to be otherwise idle. Returns false, without a
    /// ring, if it is not.
    #[inline(always)]
    fn ring_idle_waiters(self: Pin<&Self>, origin: Origin, place: Place) -> bool {
        let ring = |word| state::ring(word, origin);
        let Ok((action @ Action::Deliver(provenance), Some(mut guard))) =
            self.lock.try_update(state::WAITERS, ring)
        else {
            return false;
        };
        self.trace_ring(&action, origin);
        // Before the wake-up: a thread that it wakes finds the delivery counted.
        self.lock.stats().deliveries.add(1);
        self.trace_deliver(provenance);
        guard.wake_waiters();
        if let Err(guard) = guard.release_to(state::WAITERS) {
            self.deliver_at(guard, None, 1, place);
        }
        true
    }

    /// Rings the line from an eventfd's wake callback. The wake-up had the key `mask`. The line's
    /// irq_work delivers; after [`state::RELAY_LIMIT`] relays the context's worker does. If the line's only
    /// trigger is its waiters, this delivers at once.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[inline]
    pub(crate) fn ring_from_wake(self: Pin<&Self>, mask: u32) -> RingOutcome {
        // On PREEMPT_RT the holder of an eventfd's lock is preemptible.
        #[cfg(CONFIG_PREEMPT_RT)]
        let _preemption = Unpreempted::new();
        if mask & (HOPS_KEY | URING_KEY) == 0 && wake_depth(0) == 0 {
            // Most wake-ups: a write by userspace.
            return self.relayed(Provenance::NOTHING);
        }
        self.ring_from_key(mask)
    }

    /// Does what [`Line::ring_from_wake`] does for any key. Interrupts or preemption must be off.
    #[cold]
    fn ring_from_key(self: Pin<&Self>, mask: u32) -> RingOutcome {
        self.relayed(Provenance::of_key(mask))
    }

    /// Rings the line from the context that `origin` names, as [`Line::ring`] or
    /// [`Line::ring_from_wake`] does.
    #[inline(always)]
    pub(crate) fn ring_from(self: Pin<&Self>, origin: Origin) -> RingOutcome {
        match origin {
            Origin::Caller => self.ring(),
            Origin::Wake(provenance) => {
                let _preemption = Unpreempted::new();
                if provenance.hops() == 0 {
                    fresh();
                }
                self.relayed(provenance)
            }
        }
    }

    /// Applies `reply` from the wake callback of an unmaskfd or ackfd. The wake-up had the key `mask`. The line's
    /// irq_work delivers and signals the notifiers; after [`state::RELAY_LIMIT`] relays the context's worker
    /// does.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub(crate) fn reply_from_wake(self: Pin<&Self>, reply: Reply, mask: u32) {
        let _preemption = Unpreempted::new();
        let provenance = Provenance::of_key(mask);
        let listened = !self.notifiers().is_empty();
        let (replied, _) = self.lock.update_from(self.lock.word(), |word| {
            state::reply(word, reply, listened, provenance)
        });
        if let Some(unmasked) = replied.unmasked {
            self.trace_unmask(Reasons::AUTO, unmasked.message.is_some(), unmasked.resample);
        }
        if let Some(acked) = replied.acked {
            self.trace_ack(&acked);
            if acked != Acked::Nothing {
                self.lock.stats().acks.fetch_add(1u64, Relaxed);
            }
        }
        match replied.action {
            Some(Action::Leave) => self.boost_owner(),
            // The callback renews no budget: `of_key()` has done so for a task's signal.
            Some(action) => self.queue(&action, Place::Interrupt),
            None => {}
        }
    }

    /// Rings the line and leaves the delivery to a callback. Interrupts or preemption must be off.
    #[inline(always)]
    fn relayed(self: Pin<&Self>, provenance: Provenance) -> RingOutcome {
        let ring = |word| state::ring(word, Origin::Wake(provenance));
        match self.lock.try_update(state::IDLE, ring) {
            Ok((action, _)) => {
                self.trace_ring(&action, Origin::Wake(provenance));
                self.queue(&action, Place::Interrupt);
            }
            Err(word) => return self.relayed_word(word, provenance),
        }
        RingOutcome::Delivered
    }

    /// Does what [`Line::relayed`] does for a line that is not idle: its word was `word`.
    #[cold]
    fn relayed_word(self: Pin<&Self>, mut word: u32, provenance: Provenance) -> RingOutcome {
        let ring = |word| state::ring(word, Origin::Wake(provenance));
        while word & (state::WAITERS | state::COUNTS) == 0 {
            match self.lock.try_update(word, ring) {
                Ok((action, _)) => return self.relayed_action(action, provenance),
                Err(now) => word = now,
            }
        }
        self.relayed_special(word, provenance)
    }

    /// Does what [`Line::relayed`] does for a line whose trigger was its waiters, or which counts its rings: its
    /// word was `word`. Waiters may be woken anywhere.
    #[inline(never)]
    fn relayed_special(self: Pin<&Self>, word: u32, provenance: Provenance) -> RingOutcome {
        // This is not a task's own ring, so what remains goes on as after an interrupt's delivery.
        let (origin, place) = (Origin::Wake(provenance), Place::Interrupt);
        if word == state::WAITERS && self.ring_idle_waiters(origin, place) {
            return RingOutcome::Delivered;
        }
        let (action, guard) = self.update_special(word, origin);
        match guard {
            None => self.relayed_action(action, provenance),
            Some(guard) => self.deliver_relayed(action, guard, provenance),
        }
    }

    /// Delivers the message of a ring that came through relays, to waiters, and the messages that arrive
    /// meanwhile. Then releases the line. Interrupts or preemption must be off.
    #[inline(never)]
    fn deliver_relayed(
        self: Pin<&Self>,
        action: Action,
        guard: LineGuard<'_>,
        provenance: Provenance,
    ) -> RingOutcome {
        self.trace_ring(&action, Origin::Wake(provenance));
        self.deliver_at(guard, Some(provenance), 0, Place::Interrupt);
        RingOutcome::Delivered
    }

    /// Carries out the `action` of a ring that came through relays, or of another request for a message. If the
    /// action made the caller the owner, the caller calls [`Line::deliver_relayed`] instead. Interrupts or
    /// preemption must be off.
    #[inline(always)]
    fn relayed_action(self: Pin<&Self>, action: Action, provenance: Provenance) -> RingOutcome {
        // In each arm, where the action is known: so the tracepoint is one instruction.
        let trace = || self.trace_ring(&action, Origin::Wake(provenance));
        match action {
            Action::Relay => {
                trace();
                self.queue_relay();
            }
            Action::Coalesce => {
                trace();
                self.lock.stats().coalesced.fetch_add(1u64, Relaxed);
                return RingOutcome::Coalesced;
            }
            Action::Keep => {
                trace();
                return RingOutcome::Masked;
            }
            Action::Hold { coalesced } => {
                trace();
                return self.hold(coalesced, Origin::Wake(provenance));
            }
            Action::Defer => {
                trace();
                self.queue_deferred();
            }
            Action::Leave => {
                trace();
                self.boost_owner();
            }
            // These make the caller the owner, or this origin never causes them.
            Action::Deliver(_) | Action::StartTimer | Action::Drop => {}
        }
        RingOutcome::Delivered
    }

    /// Carries out the `action` of a ring, or of another request for a message, from `origin`. If the
    /// action is urgent, the caller must not be preemptible.
    pub(crate) fn rung(
        self: Pin<&Self>,
        action: Action,
        guard: Option<LineGuard<'_>>,
        origin: Origin,
    ) -> RingOutcome {
        // As in `relayed()`.
        let trace = || self.trace_ring(&action, origin);
        match (action, guard) {
            (Action::Deliver(provenance), Some(guard)) => {
                trace();
                self.deliver(guard, Some(provenance), 0);
            }
            (Action::Coalesce, _) => {
                trace();
                self.lock.stats().coalesced.fetch_add(1u64, Relaxed);
                return RingOutcome::Coalesced;
            }
            (Action::Keep, _) => {
                trace();
                return RingOutcome::Masked;
            }
            (Action::Hold { coalesced }, _) => {
                trace();
                return self.hold(coalesced, origin);
            }
            (Action::Leave, _) => {
                trace();
                self.boost_owner();
            }
            (action, _) => {
                trace();
                self.queue(&action, Place::Caller);
            }
        }
        RingOutcome::Delivered
    }

    /// Does the rest of a ring from `origin` whose message a moderated line holds. If `coalesced` is true, the
    /// line held it already.
    #[cold]
    fn hold(self: Pin<&Self>, coalesced: bool, origin: Origin) -> RingOutcome {
        if origin == Origin::Caller {
            // The interrupt that ends the interval takes this task's time. For a wake-up that comes from a
            // task, `wake_depth()` has done this.
            fresh();
        }
        let outcome = if coalesced {
            self.lock.stats().coalesced.fetch_add(1u64, Relaxed);
            RingOutcome::Coalesced
        } else {
            RingOutcome::Delivered
        };
        self.count_held();
        outcome
    }

    /// Gives the owner, for which the caller has left a message, the caller's priority on PREEMPT_RT. If
    /// the caller must not sleep, gives it that of the CPU's irq_work thread.
    #[inline(always)]
    fn boost_owner(self: Pin<&Self>) {
        if cfg!(CONFIG_PREEMPT_RT) && !self.lock.wait() {
            self.queue_relay();
        }
    }

    /// Queues the irq_work.
    #[inline(always)]
    fn queue_relay(self: Pin<&Self>) {
        self.trace_relay_queued();
        Run::<IrqWork>::queue(self);
    }

    /// Queues the line for the context's worker.
    #[inline(always)]
    fn queue_deferred(self: Pin<&Self>) {
        self.trace_deferred();
        self.queue_in_batch();
    }

    /// Delivers `first`, if there is one, and the messages that arrive meanwhile, and releases the line.
    ///
    /// `rounds` is the number of messages that the owner has delivered already. After
    /// [`state::MAX_ROUNDS`] a callback delivers the rest.
    pub(crate) fn deliver(
        self: Pin<&Self>,
        guard: LineGuard<'_>,
        first: Option<Provenance>,
        rounds: u32,
    ) {
        self.deliver_at(guard, first, rounds, Place::Caller);
    }

    /// Delivers the message of an edge line, as [`Line::deliver`] does. Expects that no contender
    /// changes the word meanwhile.
    #[inline(always)]
    fn deliver_edge(
        self: Pin<&Self>,
        mut guard: LineGuard<'_>,
        provenance: Provenance,
        place: Place,
    ) {
        self.send_edge(&mut guard, provenance);
        if let Err(guard) = guard.release_idle() {
            self.deliver_at(guard, None, 1, place);
        }
    }

    /// Does what [`Line::deliver`] does, at any place.
    #[inline(never)]
    fn deliver_at(
        self: Pin<&Self>,
        mut guard: LineGuard<'_>,
        first: Option<Provenance>,
        mut rounds: u32,
        place: Place,
    ) {
        if let Some(provenance) = first {
            self.send(&mut guard, provenance);
            rounds = rounds.wrapping_add(1);
        }
        loop {
            let (action, held) = guard.update(
                |word| state::release(word, rounds, place),
                Action::is_urgent,
                |action| self.queue(action, place),
            );
            let Some(held) = held else {
                return;
            };
            guard = held;
            match action {
                Action::Deliver(provenance) => {
                    self.send(&mut guard, provenance);
                    rounds = rounds.wrapping_add(1);
                }
                // The timer was started when the word changed.
                Action::StartTimer => {}
                _ => self.lock.stats().dropped.add(1),
            }
        }
    }

    #[inline(always)]
    fn send(self: Pin<&Self>, guard: &mut LineGuard<'_>, provenance: Provenance) {
        self.take_units(guard);
        self.send_edge(guard, provenance);
    }

    /// Takes the units of a line that counts, for its triggers that do.
    #[inline(always)]
    fn take_units(&self, guard: &mut LineGuard<'_>) {
        if self.lock.word() & state::COUNTS != 0 {
            let units = guard.take_units();
            guard.add_units(units);
        }
    }

    /// Sends a message of a line that does not count.
    #[inline(always)]
    fn send_edge(self: Pin<&Self>, guard: &mut LineGuard<'_>, provenance: Provenance) {
        // Before the signal: a thread that the signal wakes finds the delivery counted.
        self.lock.stats().deliveries.add(1);
        self.trace_deliver(provenance);
        guard.signal(provenance.key());
    }

    /// Queues the irq_work or the worker, or starts the timer of the interval, if `action` asks for it. The
    /// caller must not be preemptible.
    #[inline]
    fn queue(self: Pin<&Self>, action: &Action, place: Place) {
        match action {
            Action::Relay => {
                if place == Place::Caller {
                    fresh();
                }
                self.queue_relay();
            }
            Action::Defer => self.queue_deferred(),
            Action::Deliver(_)
            | Action::Coalesce
            | Action::Leave
            | Action::Keep
            | Action::Hold { .. }
            | Action::Drop => {}
            Action::StartTimer => self.start_timer(),
        }
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

    /// Drops the triggers and waits for the line's irq_work. There must be no ring any more, and the
    /// caller has to flush the batch after this. Process context.
    pub(crate) fn shut_down(self: Pin<&Self>) {
        if self.get_ref().timer.get().is_some() {
            // This cannot fail: it allocates nothing.
            let _ = self.moderate(Limits::NONE);
        }
        // A message that was rung is still delivered, unless it is part of a cycle.
        Run::<IrqWork>::sync(self);
        drop(self.lock_triggers(Triggers::take));
    }

    /// Claims the line and its message if the message may be delivered and the line has no owner.
    fn take_message(&self) -> Option<(LineGuard<'_>, Provenance)> {
        match self.lock.update(state::PENDING, state::take_message) {
            (Action::Deliver(provenance), Some(guard)) => Some((guard, provenance)),
            _ => None,
        }
    }

    /// Does what [`Line::take_message`] does, and takes the signals that a callback owes.
    fn take_all(&self) -> (Option<(LineGuard<'_>, Provenance)>, Option<Owed>) {
        let ((action, owed), guard) = self.lock.update(state::PENDING, state::take_all);
        match (action, guard) {
            (Action::Deliver(provenance), Some(guard)) => (Some((guard, provenance)), owed),
            _ => (None, owed),
        }
    }

    /// Returns true if there are signals that a callback owes. Any context.
    fn owes(&self) -> bool {
        self.lock.word() & state::OWED != 0
    }

    /// Delivers a message from the line's irq_work.
    #[inline(always)]
    fn deliver_in_interrupt(self: Pin<&Self>, mut guard: LineGuard<'_>, provenance: Provenance) {
        // Before the signal: a thread that the signal wakes finds the delivery counted.
        self.lock.stats().deliveries.add(1);
        self.trace_deliver(provenance);
        if !guard.signal_while(provenance.key(), within_budget) {
            self.park(guard);
        } else if let Err(guard) = guard.release_idle() {
            self.deliver_at(guard, None, 1, Place::Interrupt);
        }
    }

    /// Leaves the rest of a delivery to the context's worker.
    #[cold]
    fn park(self: Pin<&Self>, guard: LineGuard<'_>) {
        guard.park(|| self.queue_deferred());
    }

    /// Does what the line's irq_work does if the line has no message, or one that was relayed more than
    /// once, or if the irq_work owes signals.
    #[cold]
    fn run_word(self: Pin<&Self>) {
        let (message, owed) =
            if self.owes() && self.notifiers().more_than(MAX_NOTIFIED_IN_INTERRUPT) {
                self.queue_deferred();
                (self.take_message(), None)
            } else {
                self.take_all()
            };
        let nothing = message.is_none() && owed.is_none();
        if let Some((mut guard, provenance)) = message {
            self.take_units(&mut guard);
            self.deliver_in_interrupt(guard, provenance);
        }
        if let Some(owed) = owed {
            self.settle(owed);
        }
        if nothing && cfg!(CONFIG_PREEMPT_RT) {
            // A ring that must not sleep has left a message to the owner: lend it this priority.
            self.lock.wait();
        }
    }

    /// Finishes a delivery that an interrupt has parked. Returns false if there is none.
    fn finish(self: Pin<&Self>, place: Place) -> bool {
        let Some(mut guard) = self.lock.unpark() else {
            return false;
        };
        self.lock.stats().deferred.add(1);
        guard.signal_rest();
        let rounds = match place {
            Place::Worker => state::MAX_ROUNDS,
            _ => 1,
        };
        self.deliver_at(guard, None, rounds, place);
        true
    }
}

impl Run<IrqWork> for Line {
    #[inline]
    fn run(self: Pin<&Self>) {
        if !within_budget(1) {
            return self.queue_deferred();
        }
        match self.lock.try_update(state::PENDING, state::take) {
            Ok((Action::Deliver(provenance), Some(guard))) => {
                self.deliver_in_interrupt(guard, provenance)
            }
            _ => self.run_word(),
        }
    }
}

impl RunInBatch for Line {
    fn run_in_batch(self: Pin<&Self>) {
        if self.finish(Place::Worker) && !self.owes() {
            return;
        }
        let (message, owed) = self.take_all();
        if let Some((guard, provenance)) = message {
            self.lock.stats().deferred.add(1);
            // One message at a time, so that other threads of this priority can run.
            self.deliver_at(
                guard,
                Some(provenance),
                state::MAX_ROUNDS - 1,
                Place::Worker,
            );
        }
        if let Some(owed) = owed {
            self.settle(owed);
        }
    }
}
