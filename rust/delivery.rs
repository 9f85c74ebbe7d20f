// SPDX-License-Identifier: GPL-2.0

//! A line: what it signals, and the ways to deliver.

use crate::{
    kernel_ext::{
        deferred::{
            impl_has_deferred,
            Deferred,
            IrqWork,
            Run,
            WorkItem, //
        },
        domain::Domain,
        eventfd::signal_allowed,
        gate::{
            Gate,
            Guard,
            HELD, //
        },
        shared_pages::SharedObject,
        wait::wait_until, //
    },
    line::{
        self,
        Action,
        From, //
    },
    outputs::{
        Notifiers,
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
/// 27), so that it knows them when they come back; bits 16 to 26 mean nothing to anybody, and
/// userspace sees only what it asked for.
const HOPS_KEY_SHIFT: u32 = 16;

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

/// Whether a ring, or another transition, has a context where eventfds may be signalled.
pub(crate) fn caller() -> From {
    if signal_allowed() {
        From::Caller
    } else {
        From::Wake { hops: 0 }
    }
}

/// Whoever has it holds the line.
pub(crate) type Hold<'a> = Guard<'a, Triggers, Counters>;

/// A line.
#[pin_data]
pub(crate) struct Line {
    // First, because they wait for their callbacks when they are dropped.
    #[pin]
    relay: Deferred<Self, IrqWork>,
    #[pin]
    defer: Deferred<Self, WorkItem>,
    pub(crate) gate: Gate<Triggers, Counters>,
    notifiers: Notifiers,
}

// Two cache lines: there may be 65,536 of them.
#[cfg(not(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT)))]
const _: () = assert!(size_of::<Line>() <= 128);

impl_has_deferred!(Line, relay, IrqWork);
impl_has_deferred!(Line, defer, WorkItem);

impl Line {
    /// Creates an initialiser for a line that signals nothing.
    pub(crate) fn new(status: SharedObject<Status>, domain: Arc<Domain>) -> impl PinInit<Self> {
        pin_init!(Self {
            relay <- Deferred::new(),
            defer <- Deferred::new(),
            gate: Gate::new(status, Triggers::new()),
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
    /// Any context but NMI. Delivers by the line's irq_work; by its work item, if the message has
    /// been relayed for too long.
    #[inline]
    pub(crate) fn ring_from_wake(self: Pin<&Self>, mask: u32) -> Rung {
        let hops = (mask >> HOPS_KEY_SHIFT) & line::MAX_HOPS;
        let (action, guard) = self
            .gate
            .update(line::IDLE, |state| line::ring(state, From::Wake { hops }));
        self.rung(action, guard)
    }

    /// Rings the line, as `from` says. Context as of [`Line::ring`] or [`Line::ring_from_wake`].
    #[inline(always)]
    pub(crate) fn ring_from(self: Pin<&Self>, from: From) -> Rung {
        match from {
            From::Caller => self.ring(),
            From::Wake { .. } => self.ring_from_wake(0),
        }
    }

    #[inline(always)]
    pub(crate) fn rung(self: Pin<&Self>, action: Action, guard: Option<Hold<'_>>) -> Rung {
        match (action, guard) {
            (Action::Deliver { hops }, Some(guard)) => self.deliver(guard, Some(hops), 0),
            (Action::Coalesce, _) => {
                self.gate.beside().coalesced.fetch_add(1u64, Relaxed);
                return Rung::Coalesced;
            }
            (Action::Keep, _) => return Rung::Masked,
            (action, _) => self.queue(action),
        }
        Rung::Delivered
    }

    /// Delivers `first`, if there is one, and what was rung meanwhile, then lets go of the line.
    ///
    /// `rounds` is how many messages have been delivered already: after [`line::MAX_ROUNDS`] the
    /// rest is left to a callback.
    #[inline(always)]
    pub(crate) fn deliver(
        self: Pin<&Self>,
        mut guard: Hold<'_>,
        first: Option<u32>,
        mut rounds: u32,
    ) {
        let mut message = first;
        loop {
            if let Some(hops) = message.take() {
                // Before the signal: who is woken by it finds it counted.
                self.gate.beside().deliveries.add(1);
                guard.signal((hops + 1).min(line::MAX_HOPS) << HOPS_KEY_SHIFT);
                rounds += 1;
            }
            match guard.update(|state| line::leave(state, rounds)) {
                (Action::Deliver { hops }, Some(held)) => {
                    guard = held;
                    message = Some(hops);
                }
                (Action::Drop, Some(held)) => {
                    guard = held;
                    self.gate.beside().dropped.add(1);
                }
                (action, _) => return self.queue(action),
            }
        }
    }

    #[inline]
    fn queue(self: Pin<&Self>, action: Action) {
        match action {
            Action::Relay => Run::<IrqWork>::queue(self),
            Action::Defer => Run::<WorkItem>::queue(self),
            Action::Deliver { .. }
            | Action::Coalesce
            | Action::Leave
            | Action::Keep
            | Action::Drop => {}
        }
    }

    /// Delivers what is pending, unless somebody else does or the line is masked.
    #[inline]
    pub(crate) fn deliver_pending(self: Pin<&Self>) {
        if let (Action::Deliver { hops }, Some(guard)) = self.gate.update(line::PENDING, line::take)
        {
            self.deliver(guard, Some(hops), 0);
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

    /// Takes hold of the line, waiting for whoever does.
    pub(crate) fn hold(&self) -> Hold<'_> {
        wait_until(|| self.gate.update(line::IDLE, line::hold).1)
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

    /// State and counters, as of one moment. Process context; may sleep like
    /// [`Line::with_triggers`].
    pub(crate) fn snapshot(self: Pin<&Self>) -> Snapshot {
        const TRIES: u32 = 16;
        let counters = self.gate.beside();
        for _ in 0..TRIES {
            let before = self.gate.word();
            let snapshot = self.look();
            smp_mb(Read);
            // Nobody holds the line, and since nobody did before, whoever did in between has
            // counted what it delivered or dropped. In this order: the word first.
            if before & HELD == 0
                && self.gate.word() == before
                && counters.deliveries.get() == snapshot.deliveries
                && counters.dropped.get() == snapshot.dropped
            {
                return snapshot;
            }
            cpu_relax();
        }
        // Somebody always does. Who holds the line is the one who delivers.
        self.with_triggers(|_| self.look())
    }

    /// Each ring is counted exactly once: by its delivery when that starts, by `coalesced`, by
    /// `dropped`, or, until then, by the word.
    fn look(&self) -> Snapshot {
        let counters = self.gate.beside();
        let (deliveries, dropped) = (counters.deliveries.get(), counters.dropped.get());
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

    /// Forgets what the line signals and waits for its callbacks. Nobody may ring any more. Process
    /// context.
    pub(crate) fn shut_down(self: Pin<&Self>) {
        // What was rung still goes out, unless it is part of a cycle.
        Run::<IrqWork>::sync(self);
        drop(self.with_triggers(Triggers::take));
        Run::<WorkItem>::sync(self);
    }
}

impl Run<IrqWork> for Line {
    #[inline]
    fn run(self: Pin<&Self>) {
        self.deliver_pending();
    }
}

impl Run<WorkItem> for Line {
    fn run(self: Pin<&Self>) {
        if let (Action::Deliver { hops }, Some(guard)) = self.gate.update(line::PENDING, line::take)
        {
            self.gate.beside().deferred.add(1);
            self.deliver(guard, Some(hops), 0);
        }
    }
}
