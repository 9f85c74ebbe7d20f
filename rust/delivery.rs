// SPDX-License-Identifier: GPL-2.0

//! A line: what it signals, and the ways to deliver.

use crate::{
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
        domain::Domain,
        eventfd::signal_allowed,
        gate::{
            Gate,
            Guard,
            HELD, //
        },
        preempt::Unpreempted,
        shared_pages::SharedObject,
        wait::wait_until, //
    },
    line::{
        self,
        Action,
        Behind,
        From,
        Place, //
    },
    outputs::{
        Notifiers,
        Output,
        Triggers, //
    },
    status::{
        Counters,
        Snapshot,
        Status, //
    },
    uapi::{
        DOORBELL_LINE_ASSERTED,
        DOORBELL_LINE_LEVEL,
        DOORBELL_LINE_MASKED,
        DOORBELL_LINE_PENDING,
        DOORBELL_LINE_RAISED,
        DOORBELL_LINE_RESAMPLE,
        DOORBELL_LINE_STATE, //
    }, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::{
        atomic::Relaxed,
        barrier::{
            smp_mb,
            Read, //
        },
        Arc, //
    }, //
};

// The pure functions, the gate and userspace must mean the same bits.
const _: () = {
    assert!(line::HELD == HELD);
    assert!(line::PENDING == DOORBELL_LINE_PENDING);
    assert!(line::MASKED == DOORBELL_LINE_MASKED);
    assert!(line::LEVEL == DOORBELL_LINE_LEVEL);
    assert!(line::ASSERTED == DOORBELL_LINE_ASSERTED);
    assert!(line::RAISED == DOORBELL_LINE_RAISED);
    assert!(line::RESAMPLE == DOORBELL_LINE_RESAMPLE);
};

/// Where the hop count is in the key of a wake-up.
///
/// A wake-up's key is a poll mask. io_uring marks its own in the same way (EPOLL_URING_WAKE, bit
/// 27, which a line passes on); bits 16 to 26 mean nothing to anybody, and userspace sees only what
/// it asked for.
const HOPS_KEY_SHIFT: u32 = 16;

/// EPOLL_URING_WAKE, a cast that bindgen cannot evaluate.
const URING_KEY: u32 = 1 << 27;

impl Behind {
    /// Returns what is behind a wake-up with the key `mask`.
    #[inline(always)]
    fn of_key(mask: u32) -> Self {
        Self::new(wake_depth(hops_of_key(mask)), mask & URING_KEY != 0)
    }

    /// The key, beside EPOLLIN, of the wake-ups that this message causes.
    #[inline(always)]
    pub(crate) fn key(self) -> u32 {
        let after = self.relayed();
        let uring = if after.uring() { URING_KEY } else { 0 };
        (after.hops() << HOPS_KEY_SHIFT) | uring
    }
}

/// Returns the number of relays behind a wake-up with the key `mask`.
#[inline]
pub(crate) fn hops_of_key(mask: u32) -> u32 {
    (mask >> HOPS_KEY_SHIFT) & line::MAX_HOPS
}

/// How a ring ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rung {
    /// It has a delivery of its own, done or about to be.
    Delivered,
    /// It joined a delivery that has not started yet.
    Coalesced,
    /// The line is masked and holds it.
    Masked,
}

/// Returns the origin of a transition that another module makes here. Within a trigger's callback
/// eventfds may be signalled, but the origin is a wake-up all the same: what the callback rings is
/// relayed, or callbacks could call each other without end.
pub(crate) fn caller() -> From {
    match depth() {
        0 if signal_allowed() => From::Caller,
        hops => From::Wake(Behind::new(hops, false)),
    }
}

/// Whoever has it holds the line.
pub(crate) type Hold<'a> = Guard<'a, Triggers, Counters>;

/// A line. What one of them does on a CPU does not disturb its neighbour on another.
#[pin_data]
#[repr(align(128))]
pub(crate) struct Line {
    // First, because they wait for their callbacks when they are dropped.
    #[pin]
    relay: Deferred<Self, IrqWork>,
    #[pin]
    defer: BatchNode<Self>,
    #[pin]
    pub(crate) gate: Gate<Triggers, Counters>,
    notifiers: Notifiers,
}

// Two cache lines: there may be 65,536 of them.
#[cfg(not(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT)))]
const _: () = assert!(size_of::<Line>() <= 128);

impl_has_deferred!(Line, relay, IrqWork);
impl_has_batch_node!(Line, defer);

impl Line {
    /// Creates an initialiser for a line that signals nothing; beyond the budget of interrupts,
    /// `batch` delivers.
    pub(crate) fn new(
        status: SharedObject<Status>,
        domain: Arc<Domain>,
        batch: Arc<Batch<Self>>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            relay <- Deferred::new(),
            defer <- BatchNode::new(batch),
            gate <- Gate::new(status, Triggers::new()),
            notifiers: Notifiers::new(domain),
        })
    }

    /// Whom the line tells of its transitions.
    pub(crate) fn notifiers(&self) -> &Notifiers {
        &self.notifiers
    }

    /// Rings the line and delivers at once if nobody else holds it.
    ///
    /// Any context where eventfds may be signalled (see [`EventFd::signal`]). Neither sleeps nor
    /// allocates; takes no lock but those of the triggers' eventfds.
    ///
    /// [`EventFd::signal`]: crate::kernel_ext::eventfd::EventFd::signal
    #[inline(always)]
    pub(crate) fn ring(self: Pin<&Self>) -> Rung {
        let (action, guard) = self
            .gate
            .update(line::IDLE, |state| line::ring(state, From::Caller));
        self.rung(action, guard)
    }

    /// Rings the line from an eventfd's wake callback, whose wake-up had the key `mask`.
    ///
    /// Any context but NMI. Delivers by the line's irq_work; by the context's worker, if the message
    /// has been relayed for too long.
    #[inline]
    pub(crate) fn ring_from_wake(self: Pin<&Self>, mask: u32) -> Rung {
        // There an eventfd's lock does not keep its holder from being preempted.
        #[cfg(CONFIG_PREEMPT_RT)]
        let _preemption = Unpreempted::new();
        self.relayed(Behind::of_key(mask))
    }

    /// Rings the line, as `from` says. Context as of [`Line::ring`] or [`Line::ring_from_wake`].
    #[inline(always)]
    pub(crate) fn ring_from(self: Pin<&Self>, from: From) -> Rung {
        match from {
            From::Caller => self.ring(),
            From::Wake(behind) => {
                let _preemption = Unpreempted::new();
                if behind.hops() == 0 {
                    fresh();
                }
                self.relayed(behind)
            }
        }
    }

    /// Rings the line where it cannot deliver. Interrupts are off, or preemption.
    #[inline(always)]
    fn relayed(self: Pin<&Self>, behind: Behind) -> Rung {
        let (action, _) = self
            .gate
            .update(line::IDLE, |state| line::ring(state, From::Wake(behind)));
        match action {
            Action::Relay => Run::<IrqWork>::queue(self),
            Action::Coalesce => {
                self.gate.beside().coalesced.fetch_add(1u64, Relaxed);
                return Rung::Coalesced;
            }
            Action::Keep => return Rung::Masked,
            Action::Defer => self.queue_in_batch(),
            Action::Leave => self.hurry(),
            // Never for this origin.
            Action::Deliver(_) | Action::Drop => {}
        }
        Rung::Delivered
    }

    /// Does what a ring or another message has left to do. If it is urgent the caller cannot be preempted.
    #[inline(always)]
    pub(crate) fn rung(self: Pin<&Self>, action: Action, guard: Option<Hold<'_>>) -> Rung {
        match (action, guard) {
            (Action::Deliver(behind), Some(guard)) => self.deliver(guard, Some(behind), 0),
            (Action::Coalesce, _) => {
                self.gate.beside().coalesced.fetch_add(1u64, Relaxed);
                return Rung::Coalesced;
            }
            (Action::Keep, _) => return Rung::Masked,
            (Action::Leave, _) => self.hurry(),
            (action, _) => self.queue(&action, Place::Caller),
        }
        Rung::Delivered
    }

    /// Gives the line's holder, for which a message was left, the caller's priority on PREEMPT_RT; the
    /// priority of the CPU's irq_work thread if the caller must not sleep.
    #[inline(always)]
    fn hurry(self: Pin<&Self>) {
        if cfg!(CONFIG_PREEMPT_RT) && !self.gate.wait() {
            Run::<IrqWork>::queue(self);
        }
    }

    /// Delivers `first`, if there is one, and what was rung meanwhile, then lets go of the line.
    ///
    /// `rounds` is how many messages have been delivered already: after [`line::MAX_ROUNDS`] the
    /// rest is left to a callback.
    #[inline(always)]
    pub(crate) fn deliver(self: Pin<&Self>, guard: Hold<'_>, first: Option<Behind>, rounds: u32) {
        self.deliver_at(guard, first, rounds, Place::Caller);
    }

    #[inline(always)]
    fn deliver_at(
        self: Pin<&Self>,
        mut guard: Hold<'_>,
        first: Option<Behind>,
        rounds: u32,
        place: Place,
    ) {
        if let Some(behind) = first {
            self.send(&mut guard, behind);
        }
        if let Err(guard) = guard.leave_idle() {
            self.deliver_rest(guard, rounds + u32::from(first.is_some()), place);
        }
    }

    #[inline(always)]
    fn send(self: Pin<&Self>, guard: &mut Hold<'_>, behind: Behind) {
        // Before the signal: who is woken by it finds it counted.
        self.gate.beside().deliveries.add(1);
        guard.signal(behind.key());
    }

    /// The rest of [`Line::deliver`], if something was left in the word.
    #[inline(never)]
    fn deliver_rest(self: Pin<&Self>, mut guard: Hold<'_>, mut rounds: u32, place: Place) {
        loop {
            let (action, held) = guard.update(
                |state| line::leave(state, rounds, place),
                Action::is_urgent,
                |action| self.queue(action, place),
            );
            let Some(held) = held else {
                return;
            };
            guard = held;
            match action {
                Action::Deliver(behind) => {
                    self.send(&mut guard, behind);
                    rounds = rounds.wrapping_add(1);
                }
                _ => self.gate.beside().dropped.add(1),
            }
        }
    }

    /// Queues the irq_work or the worker, if `action` says so. The caller cannot be preempted.
    #[inline]
    fn queue(self: Pin<&Self>, action: &Action, place: Place) {
        match action {
            Action::Relay => {
                if place == Place::Caller {
                    fresh();
                }
                Run::<IrqWork>::queue(self);
            }
            Action::Defer => self.queue_in_batch(),
            Action::Deliver(_) | Action::Coalesce | Action::Leave | Action::Keep | Action::Drop => {
            }
        }
    }

    /// Whether a message waits to be delivered. Any context.
    pub(crate) fn pending(self: Pin<&Self>) -> bool {
        self.state() & line::PENDING != 0
    }

    /// DOORBELL_LINE_* bits. Any context.
    pub(crate) fn state(&self) -> u32 {
        self.gate.word() & DOORBELL_LINE_STATE
    }

    /// Waits until no other thread holds the line, and takes hold of it. Process context.
    pub(crate) fn hold(self: Pin<&Self>) -> Hold<'_> {
        let this = self.get_ref();
        wait_until(|| {
            let guard = this.gate.update(line::IDLE, line::hold).1;
            if guard.is_none() {
                self.help();
            }
            guard
        })
    }

    /// Finishes a delivery that an interrupt has left half done, or else waits for the line's holder on
    /// PREEMPT_RT. Process context.
    pub(crate) fn help(self: Pin<&Self>) {
        if !self.finish(Place::Caller) {
            self.gate.wait();
        }
    }

    /// Calls `f` with the line's triggers, while no delivery is under way and none starts; rings
    /// that come meanwhile are delivered on the way out.
    ///
    /// When this returns, no signal to what `f` removed is under way and none will come. Process
    /// context; sleeps if the line's holder takes long. `f` must be short and must not sleep, nor
    /// free.
    pub(crate) fn with_triggers<R>(self: Pin<&Self>, f: impl FnOnce(&mut Triggers) -> R) -> R {
        let mut guard = self.hold();
        let result = f(&mut guard);
        self.deliver(guard, None, 0);
        result
    }

    /// Adds a trigger, as [`Triggers::add`] does. If the line is asserted, and its message has found
    /// no trigger, that message is delivered once more.
    ///
    /// # Context
    ///
    /// As of [`Line::with_triggers`].
    pub(crate) fn add_trigger(
        self: Pin<&Self>,
        output: &mut Option<Output>,
        room: &mut KVec<Output>,
    ) -> Result {
        let mut guard = self.hold();
        let added = guard.add(output, room);
        if added.is_ok() && guard.take_unheard() {
            let _ = self
                .gate
                .update(line::LEVEL | line::ASSERTED | HELD, line::renew);
        }
        self.deliver(guard, None, 0);
        added
    }

    /// Returns state and counters as of one moment. Delivers nothing.
    ///
    /// # Context
    ///
    /// Process context. If the line is busy all the time it takes hold of the line for a moment, and
    /// sleeps if the line's holder takes long. What is rung in that moment is left to the line's
    /// callback.
    pub(crate) fn snapshot(self: Pin<&Self>) -> Snapshot {
        if let Ok(snapshot) = self.try_snapshot() {
            return snapshot;
        }
        let guard = self.hold();
        let snapshot = self.look();
        // As if all rounds had been delivered already: the rest goes by a callback.
        self.deliver(guard, None, line::MAX_ROUNDS);
        snapshot
    }

    /// Returns state and counters; if the line is busy all the time, each as of a moment of its own:
    /// then `rings` can lack a message that is in flight. Delivers nothing and does not wait.
    ///
    /// # Context
    ///
    /// Any context.
    pub(crate) fn snapshot_nowait(self: Pin<&Self>) -> Snapshot {
        self.try_snapshot().unwrap_or_else(|last| last)
    }

    /// Tries to get a snapshot without holding the line; if that fails, returns one in which the
    /// counters can be of different moments.
    fn try_snapshot(&self) -> Result<Snapshot, Snapshot> {
        const TRIES: u32 = 16;
        let mut last = Snapshot::default();
        let counters = self.gate.beside();
        for _ in 0..TRIES {
            let before = self.gate.word();
            let snapshot = self.look();
            last = snapshot;
            smp_mb(Read);
            // Nobody holds the line, and since nobody did before, whoever did in between has
            // counted what it delivered or dropped. In this order: the word first.
            if before & HELD == 0
                && self.gate.word() == before
                && counters.deliveries.get() == snapshot.deliveries
                && counters.dropped.get() == snapshot.dropped
            {
                return Ok(snapshot);
            }
            cpu_relax();
        }
        Err(last)
    }

    /// Each ring is counted exactly once: by its delivery when that starts, by `coalesced`, by
    /// `dropped`, or, until then, by the word.
    fn look(&self) -> Snapshot {
        let counters = self.gate.beside();
        let (deliveries, dropped) = (counters.deliveries.get(), counters.dropped.get());
        // The counters first: a ring that the word still has, and they have already, would count twice.
        smp_mb(Read);
        let word = self.gate.word();
        let rung = u64::from(line::is_rung(word));
        Snapshot {
            state: word & DOORBELL_LINE_STATE,
            rings: deliveries + counters.coalesced.load(Relaxed) + dropped + rung,
            deliveries,
            dropped,
            deferred: counters.deferred.get(),
            acks: counters.acks.load(Relaxed),
        }
    }

    /// Forgets what the line signals and waits for its irq_work. Nobody may ring any more, and the
    /// batch is to be flushed after this. Process context.
    pub(crate) fn shut_down(self: Pin<&Self>) {
        // What was rung still goes out, unless it is part of a cycle.
        Run::<IrqWork>::sync(self);
        drop(self.with_triggers(Triggers::take));
    }

    /// Takes the message, if it may be delivered and no other thread holds the line.
    #[inline(always)]
    fn take_message(&self) -> Option<(Hold<'_>, Behind)> {
        let (action, guard) = self.gate.update(line::PENDING, line::take);
        let behind = match action {
            Action::Deliver(behind) => behind,
            // And there is no guard.
            _ => Behind::NOTHING,
        };
        Some((guard?, behind))
    }

    /// Finishes a delivery that an interrupt has left half done. Returns false if there is none.
    fn finish(self: Pin<&Self>, place: Place) -> bool {
        let Some(mut guard) = self.gate.unpark() else {
            return false;
        };
        self.gate.beside().deferred.add(1);
        guard.signal_rest();
        let rounds = match place {
            Place::Worker => line::MAX_ROUNDS,
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
            return self.queue_in_batch();
        }
        let Some((mut guard, behind)) = self.take_message() else {
            if cfg!(CONFIG_PREEMPT_RT) {
                // A ring that may not sleep has left a message to the holder.
                self.gate.wait();
            }
            return;
        };
        // Before the signal: who is woken by it finds it counted.
        self.gate.beside().deliveries.add(1);
        if guard.signal_while(behind.key(), within_budget) {
            self.deliver_at(guard, None, 1, Place::Interrupt);
        } else {
            guard.park(|| self.queue_in_batch());
        }
    }
}

impl RunInBatch for Line {
    fn run_in_batch(self: Pin<&Self>) {
        if self.finish(Place::Worker) {
            return;
        }
        if let Some((guard, behind)) = self.take_message() {
            self.gate.beside().deferred.add(1);
            // One at a time: other threads of this priority want to run, too.
            self.deliver_at(guard, Some(behind), line::MAX_ROUNDS - 1, Place::Worker);
        }
    }
}
