// SPDX-License-Identifier: GPL-2.0

//! Rings of a line: by a caller, and in an eventfd's wake callback.

use super::{
    state::{
        self,
        Acked,
        Action,
        Origin,
        Place,
        Provenance,
        Reasons,
        Reply, //
    },
    Line,
    LineGuard,
    RingOutcome,
    HOPS_KEY,
    URING_KEY, //
};
use crate::{
    kernel_ext::{
        budget::{
            fresh,
            wake_depth, //
        },
        preempt::Unpreempted, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

impl Line {
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
        self.count_delivery(provenance);
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
                // ORDERING: None: a count for statistics. The exchange of the word comes before it, as
                // `Line::save` expects.
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
    pub(super) fn relayed(self: Pin<&Self>, provenance: Provenance) -> RingOutcome {
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
        self.relayed_result(action, guard, provenance)
    }

    /// Carries out the `action` of a ring that came through relays, or of another request for a message, which
    /// made the caller the owner if there is a guard. Interrupts or preemption must be off.
    #[inline(always)]
    pub(super) fn relayed_result(
        self: Pin<&Self>,
        action: Action,
        guard: Option<LineGuard<'_>>,
        provenance: Provenance,
    ) -> RingOutcome {
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
                return self.count_coalesced();
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
                self.deliver_at(guard, Some(provenance), 0, origin.place());
            }
            (Action::Coalesce, _) => {
                trace();
                return self.count_coalesced();
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
                self.queue(&action, origin.place());
            }
        }
        RingOutcome::Delivered
    }

    /// Counts a ring that joined a message.
    #[inline(always)]
    fn count_coalesced(&self) -> RingOutcome {
        // ORDERING: None: a count for statistics. The exchange of the word comes before it, as `Line::save`
        // expects.
        self.lock.stats().coalesced.fetch_add(1u64, Relaxed);
        RingOutcome::Coalesced
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
            self.count_coalesced()
        } else {
            RingOutcome::Delivered
        };
        self.count_held();
        outcome
    }
}
