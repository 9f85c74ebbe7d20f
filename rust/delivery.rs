// SPDX-License-Identifier: GPL-2.0

//! A line: its state, what it signals, and the ways to deliver.

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
            Face,
            Gate,
            Guard,
            HELD, //
        },
        shared_pages::{
            impl_visible,
            SharedObject, //
        }, //
    },
    line::{
        self,
        Action,
        From,
        Taken, //
    },
    outputs::{
        Notifiers,
        Triggers, //
    },
    uapi::{
        doorbell_status,
        DOORBELL_LINE_MASKED,
        DOORBELL_LINE_PENDING,
        DOORBELL_LINE_STATE,
        DOORBELL_NOTIFY_MASK,
        DOORBELL_NOTIFY_UNMASK, //
    }, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        barrier::{
            smp_mb,
            Read, //
        }, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

// The pure functions, the gate and userspace must mean the same bits.
const _: () = {
    assert!(line::HELD == HELD);
    assert!(line::PENDING == DOORBELL_LINE_PENDING);
    assert!(line::MASKED == DOORBELL_LINE_MASKED);
};

/// Where the hop count is in the key of a wake-up.
///
/// A wake-up's key is a poll mask. io_uring marks its own in the same way (EPOLL_URING_WAKE, bit
/// 27), so that it knows them when they come back; bits 16 to 26 mean nothing to anybody, and
/// userspace sees only what it asked for.
const HOPS_KEY_SHIFT: u32 = 16;

/// How often to look whether the line is free before sleeping.
const SPINS: u32 = 1000;

/// What a line counts, where userspace can see it.
///
/// All but `coalesced` are written by the holder of the line only, so they need no atomic addition;
/// a ring that coalesces is off the fast path.
#[repr(C)]
pub(crate) struct Counters {
    deliveries: Counter,
    coalesced: Atomic<u64>,
    dropped: Counter,
    deferred: Counter,
    reserved: [u64; 3],
}

impl_visible!(Counters {
    deliveries: Counter,
    coalesced: Atomic<u64>,
    dropped: Counter,
    deferred: Counter,
    reserved: [u64; 3],
});

/// What userspace sees of a line: `struct doorbell_status`.
pub(crate) type Status = Face<Counters>;

const _: () = {
    const BESIDE: usize = size_of::<Status>() - size_of::<Counters>();
    assert!(size_of::<Status>() == size_of::<doorbell_status>());
    assert!(core::mem::offset_of!(doorbell_status, state) == 0);
    macro_rules! check {
        ($($field:ident)+) => {$(
            assert!(
                core::mem::offset_of!(doorbell_status, $field)
                    == BESIDE + core::mem::offset_of!(Counters, $field)
            );
        )+};
    }
    check!(deliveries coalesced dropped deferred reserved);
};

/// The status of a line that nothing has happened to.
pub(crate) const fn new_status() -> Status {
    Face::new(Counters {
        deliveries: Counter::new(),
        coalesced: Atomic::new(0),
        dropped: Counter::new(),
        deferred: Counter::new(),
        reserved: [0; 3],
    })
}

/// State and counters of a line, as of one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Snapshot {
    /// DOORBELL_LINE_* bits.
    pub(crate) state: u32,
    /// Rings.
    pub(crate) rings: u64,
    /// Deliveries.
    pub(crate) deliveries: u64,
    /// Messages that were dropped.
    pub(crate) dropped: u64,
    /// Deliveries that went by a work item.
    pub(crate) deferred: u64,
}

impl Snapshot {
    /// Whether a message waits.
    pub(crate) fn pending(&self) -> bool {
        self.state & line::PENDING != 0
    }

    /// Whether the line is masked.
    pub(crate) fn masked(&self) -> bool {
        self.state & line::MASKED != 0
    }
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

/// What a line signals.
pub(crate) struct Wiring {
    /// On each delivery.
    pub(crate) triggers: Triggers,
    /// On masks and unmasks.
    pub(crate) notifiers: Notifiers,
}

type Hold<'a> = Guard<'a, Wiring, Counters>;

/// A line.
#[pin_data]
pub(crate) struct Line {
    // First, because they wait for their callbacks when they are dropped.
    #[pin]
    relay: Deferred<Self, IrqWork>,
    #[pin]
    defer: Deferred<Self, WorkItem>,
    gate: Gate<Wiring, Counters>,
}

impl_has_deferred!(Line, relay, IrqWork);
impl_has_deferred!(Line, defer, WorkItem);

impl Line {
    /// Creates an initialiser for a line that signals nothing.
    pub(crate) fn new(status: SharedObject<Status>) -> impl PinInit<Self> {
        let wiring = Wiring {
            triggers: Triggers::new(),
            notifiers: Notifiers::new(),
        };
        pin_init!(Self {
            relay <- Deferred::new(),
            defer <- Deferred::new(),
            gate: Gate::new(status, wiring),
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
    fn rung(self: Pin<&Self>, action: Action, guard: Option<Hold<'_>>) -> Rung {
        match (action, guard) {
            (Action::Deliver { hops }, Some(guard)) => self.deliver(guard, Some(hops)),
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
    #[inline(always)]
    fn deliver(self: Pin<&Self>, mut guard: Hold<'_>, first: Option<u32>) {
        let mut message = first;
        let mut rounds = 0;
        loop {
            if let Some(hops) = message.take() {
                // Before the signal: who is woken by it finds it counted.
                self.gate.beside().deliveries.add(1);
                guard
                    .triggers
                    .signal((hops + 1).min(line::MAX_HOPS) << HOPS_KEY_SHIFT);
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
            Action::Deliver { .. } | Action::Coalesce | Action::Leave | Action::Keep => {}
        }
    }

    /// Masks the line; returns whether it was not masked before.
    ///
    /// When this returns, no delivery is under way and none starts until the line is unmasked.
    /// Process context; may sleep like [`Line::with_wiring`].
    pub(crate) fn mask(self: Pin<&Self>) -> bool {
        let (newly, guard) = self.gate.update(line::IDLE, line::mask);
        let guard = guard.unwrap_or_else(|| self.get_ref().hold());
        if newly {
            guard.notifiers.notify(DOORBELL_NOTIFY_MASK);
        }
        self.deliver(guard, None);
        newly
    }

    /// Unmasks the line and delivers what is pending; returns whether there was something.
    ///
    /// Process context; may sleep like [`Line::with_wiring`].
    pub(crate) fn unmask(self: Pin<&Self>) -> bool {
        let Some((guard, message)) = self.take(line::MASKED, line::unmask) else {
            return false;
        };
        guard.notifiers.notify(DOORBELL_NOTIFY_UNMASK);
        self.deliver(guard, message);
        message.is_some()
    }

    /// Drops the message that is pending; returns whether there was one.
    ///
    /// Process context; may sleep like [`Line::with_wiring`].
    pub(crate) fn clear(self: Pin<&Self>) -> bool {
        let Some((guard, _)) = self.take(line::MASKED | line::PENDING, line::clear) else {
            return false;
        };
        self.gate.beside().dropped.add(1);
        self.deliver(guard, None);
        true
    }

    /// Tries `f` until the line is not somebody else's; the hold and the message that `f` took, if
    /// it did.
    fn take(
        &self,
        likely: u32,
        f: impl Fn(u32) -> (u32, Taken),
    ) -> Option<(Hold<'_>, Option<u32>)> {
        wait_until(|| match self.gate.update(likely, &f) {
            (Taken::Busy, _) => None,
            (Taken::Done { message }, Some(guard)) => Some(Some((guard, message))),
            _ => Some(None),
        })
    }

    /// Whether a message waits to be delivered. Any context.
    pub(crate) fn pending(self: Pin<&Self>) -> bool {
        self.gate.word() & line::PENDING != 0
    }

    /// Takes hold of the line, waiting for whoever does.
    fn hold(&self) -> Hold<'_> {
        wait_until(|| self.gate.update(line::IDLE, line::hold).1)
    }

    /// Calls `f` with what the line signals, while no delivery is under way and none starts; rings
    /// that come meanwhile are delivered on the way out.
    ///
    /// When this returns, no signal to what `f` removed is under way and none will come. Process
    /// context; sleeps if the line's holder takes long. `f` must be short and must not sleep, nor
    /// free.
    pub(crate) fn with_wiring<R>(self: Pin<&Self>, f: impl FnOnce(&mut Wiring) -> R) -> R {
        let mut guard = self.hold();
        let result = f(&mut guard);
        self.deliver(guard, None);
        result
    }

    /// State and counters, as of one moment. Process context; may sleep like
    /// [`Line::with_wiring`].
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
        self.with_wiring(|_| self.look())
    }

    /// Each ring is counted exactly once: by its delivery when that starts, by `coalesced`, by
    /// `dropped`, or, until then, by being pending.
    fn look(&self) -> Snapshot {
        let counters = self.gate.beside();
        let (deliveries, dropped) = (counters.deliveries.get(), counters.dropped.get());
        let state = self.gate.word() & DOORBELL_LINE_STATE;
        let pending = u64::from(state & line::PENDING != 0);
        Snapshot {
            state,
            rings: deliveries + counters.coalesced.load(Relaxed) + dropped + pending,
            deliveries,
            dropped,
            deferred: counters.deferred.get(),
        }
    }

    /// Forgets what the line signals and waits for its callbacks. Nobody may ring any more. Process
    /// context.
    pub(crate) fn shut_down(self: Pin<&Self>) {
        // What was rung still goes out, unless it is part of a cycle.
        Run::<IrqWork>::sync(self);
        drop(self.with_wiring(|wiring| (wiring.triggers.take(), wiring.notifiers.take())));
        Run::<WorkItem>::sync(self);
    }
}

/// Calls `f` until it returns something, after a while with pauses. Process context.
fn wait_until<R>(mut f: impl FnMut() -> Option<R>) -> R {
    let mut spins = 0;
    loop {
        if let Some(result) = f() {
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
            self.gate.beside().deferred.add(1);
            self.deliver(guard, Some(hops));
        }
    }
}
