// SPDX-License-Identifier: GPL-2.0

//! A line: its state, its triggers, and the ways to deliver.

use crate::{
    kernel_ext::{
        counter::Counter,
        deferred::{
            impl_has_deferred,
            Deferred,
            IrqWork,
            Run,
            WorkItem, //
        },
        gate::{
            Gate,
            Guard,
            HELD, //
        }, //
    },
    line::{
        self,
        Action,
        From, //
    },
    trigger::Triggers, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

// The pure functions and the gate must mean the same bit.
const _: () = assert!(line::HELD == HELD);

/// Where the hop count is in the key of a wake-up.
///
/// A wake-up's key is a poll mask. io_uring marks its own in the same way (EPOLL_URING_WAKE, bit
/// 27), so that it knows them when they come back; bits 16 to 26 mean nothing to anybody, and
/// userspace sees only what it asked for.
const HOPS_KEY_SHIFT: u32 = 16;

/// How often to look whether the line is free before sleeping.
const SPINS: u32 = 1000;

/// The counters of a line.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Rings.
    pub(crate) rings: u64,
    /// Deliveries.
    pub(crate) deliveries: u64,
    /// Deliveries that went by a work item.
    pub(crate) deferred: u64,
}

/// How a ring ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rung {
    /// It has a delivery of its own, done or about to be.
    Delivered,
    /// It joined a delivery that has not started yet.
    Coalesced,
}

/// A line.
///
/// `deliveries` and `deferred` are written by the holder of the line only, so they need no atomic
/// addition. A ring either gets a delivery of its own or coalesces, and only the latter, which is
/// off the fast path, is counted atomically.
#[pin_data]
pub(crate) struct Line {
    // First, because they wait for their callbacks when they are dropped.
    #[pin]
    relay: Deferred<Self, IrqWork>,
    #[pin]
    defer: Deferred<Self, WorkItem>,
    gate: Gate<Triggers>,
    deliveries: Counter,
    deferred: Counter,
    coalesced: Atomic<u64>,
}

impl_has_deferred!(Line, relay, IrqWork);
impl_has_deferred!(Line, defer, WorkItem);

impl Line {
    /// Creates an initialiser for a line without triggers.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            relay <- Deferred::new(),
            defer <- Deferred::new(),
            gate: Gate::new(Triggers::new()),
            deliveries: Counter::new(),
            deferred: Counter::new(),
            coalesced: Atomic::new(0),
        })
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

    #[inline(always)]
    fn rung(self: Pin<&Self>, action: Action, guard: Option<Guard<'_, Triggers>>) -> Rung {
        match (action, guard) {
            (Action::Deliver { hops }, Some(guard)) => self.deliver(guard, Some(hops)),
            (Action::Coalesce, _) => {
                self.coalesced.fetch_add(1u64, Relaxed);
                return Rung::Coalesced;
            }
            (action, _) => self.queue(action),
        }
        Rung::Delivered
    }

    /// Delivers `first`, if there is one, and what was rung meanwhile, then lets go of the line.
    #[inline(always)]
    fn deliver(self: Pin<&Self>, mut guard: Guard<'_, Triggers>, first: Option<u32>) {
        let mut message = first;
        let mut rounds = 0;
        loop {
            if let Some(hops) = message.take() {
                // Before the signal: who is woken by it finds it counted.
                self.deliveries.add(1);
                guard.signal((hops + 1).min(line::MAX_HOPS) << HOPS_KEY_SHIFT);
                rounds += 1;
            }
            match guard.update(|state| line::leave(state, rounds)) {
                (Action::Deliver { hops }, Some(held)) => {
                    guard = held;
                    message = Some(hops);
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
            Action::Deliver { .. } | Action::Coalesce | Action::Leave => {}
        }
    }

    /// Calls `f` with the triggers, while no delivery is under way and none starts; rings that come
    /// meanwhile are delivered on the way out.
    ///
    /// When this returns, no signal to what `f` removed is under way and none will come. Process
    /// context; sleeps if the line's holder takes long. `f` must be short and must not sleep, nor
    /// free.
    pub(crate) fn with_triggers<R>(self: Pin<&Self>, mut f: impl FnMut(&mut Triggers) -> R) -> R {
        let mut spins = 0;
        loop {
            if let ((), Some(mut guard)) = self.gate.update(line::IDLE, line::hold) {
                let result = f(&mut guard);
                self.deliver(guard, None);
                return result;
            }
            spins += 1;
            if spins < SPINS {
                cpu_relax();
            } else {
                // On PREEMPT_RT the holder may have been preempted by this very task.
                spins = 0;
                fsleep(Delta::from_micros(50));
            }
        }
    }

    /// Pending and the counters, as of one moment. Process context; may sleep like
    /// [`Line::with_triggers`].
    pub(crate) fn snapshot(self: Pin<&Self>) -> (bool, Counts) {
        const TRIES: u32 = 16;
        for _ in 0..TRIES {
            let before = self.gate.word();
            let snapshot = self.counts();
            // If nobody holds the line and nothing has been delivered meanwhile, what was read
            // belongs together.
            if before & HELD == 0
                && self.gate.word() == before
                && self.deliveries.get() == snapshot.1.deliveries
            {
                return snapshot;
            }
            cpu_relax();
        }
        // Somebody always does. Who holds the line is the one who delivers.
        self.with_triggers(|_| self.counts())
    }

    /// Each ring is counted exactly once: by its delivery when that starts, by `coalesced`, or,
    /// until then, by being pending.
    fn counts(&self) -> (bool, Counts) {
        let deliveries = self.deliveries.get();
        let pending = self.gate.word() & line::PENDING != 0;
        let counts = Counts {
            rings: deliveries + self.coalesced.load(Relaxed) + u64::from(pending),
            deliveries,
            deferred: self.deferred.get(),
        };
        (pending, counts)
    }

    /// Forgets the line's triggers and waits for its callbacks. Nobody may ring any more. Process
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
        if let (Action::Deliver { hops }, Some(guard)) = self.gate.update(line::PENDING, line::take)
        {
            self.deliver(guard, Some(hops));
        }
    }
}

impl Run<WorkItem> for Line {
    fn run(self: Pin<&Self>) {
        if let (Action::Deliver { hops }, Some(guard)) = self.gate.update(line::PENDING, line::take)
        {
            self.deferred.add(1);
            self.deliver(guard, Some(hops));
        }
    }
}
