// SPDX-License-Identifier: GPL-2.0

//! Deliveries of a line: by its owner, by irq_work, and by the worker.

use super::{
    state::{
        self,
        Action,
        Owed,
        Place,
        Provenance, //
    },
    Line,
    LineGuard,
    MAX_NOTIFIED_IN_INTERRUPT, //
};
use crate::{
    kernel_ext::{
        batch::RunInBatch,
        budget::{
            charge,
            fresh,
            spent,
            within_budget, //
        },
        deferred::{
            IrqWork,
            Run, //
        },
        task::cpu_is_active, //
    }, //
};
use kernel::prelude::*;

impl Line {
    /// Gives the owner, for which the caller has left a message, the caller's priority on PREEMPT_RT. If
    /// the caller must not sleep, gives it that of the CPU's irq_work thread.
    #[inline(always)]
    pub(super) fn boost_owner(self: Pin<&Self>) {
        if cfg!(CONFIG_PREEMPT_RT) && !self.lock.wait() {
            self.queue_relay();
        }
    }

    /// Queues the irq_work, or the worker if the thread that runs irq_works on PREEMPT_RT goes away with its CPU.
    /// The caller must not be preemptible.
    #[inline(always)]
    pub(super) fn queue_relay(self: Pin<&Self>) {
        if cfg!(CONFIG_PREEMPT_RT) && !cpu_is_active() {
            return self.queue_deferred();
        }
        self.trace_relay_queued();
        Run::<IrqWork>::queue(self);
    }

    /// Queues the line for the context's worker.
    #[inline(always)]
    pub(super) fn queue_deferred(self: Pin<&Self>) {
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
    pub(super) fn deliver_edge(
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
    pub(super) fn deliver_at(
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

    /// Counts a delivery before its signal: a thread that the signal wakes finds the delivery counted.
    #[inline(always)]
    pub(super) fn count_delivery(&self, provenance: Provenance) {
        self.lock.stats().deliveries.add(1);
        self.trace_deliver(provenance);
    }

    /// Sends a message of a line that does not count.
    #[inline(always)]
    fn send_edge(self: Pin<&Self>, guard: &mut LineGuard<'_>, provenance: Provenance) {
        self.count_delivery(provenance);
        guard.signal(provenance.key());
    }

    /// Queues the irq_work or the worker, or starts the timer of the interval, if `action` asks for it. The
    /// caller must not be preemptible.
    #[inline]
    pub(super) fn queue(self: Pin<&Self>, action: &Action, place: Place) {
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

    /// Claims the line and its message if the message may be delivered and the line has no owner.
    pub(super) fn take_message(&self) -> Option<(LineGuard<'_>, Provenance)> {
        match self.lock.update(state::PENDING, state::take_message) {
            (Action::Deliver(provenance), Some(guard)) => Some((guard, provenance)),
            _ => None,
        }
    }

    /// Does what [`Line::take_message`] does, and takes the signals that a callback owes.
    ///
    /// Takes none if the callback is no reader: none was owed when it began, and a signal that is owed since then
    /// has queued the next callback. `Context::settle` waits for that one.
    fn take_all(&self, is_reader: bool) -> (Option<(LineGuard<'_>, Provenance)>, Option<Owed>) {
        if !is_reader {
            return (self.take_message(), None);
        }
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
        self.count_delivery(provenance);
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
    /// once, or if the irq_work owes signals. `Context::settle` waits for it.
    #[cold]
    fn run_word(self: Pin<&Self>) {
        self.notifiers()
            .as_reader(|is_reader| self.run_word_as(is_reader));
    }

    fn run_word_as(self: Pin<&Self>, is_reader: bool) {
        let listeners = if self.owes() {
            self.notifiers().len()
        } else {
            0
        };
        let (message, owed) = if listeners > MAX_NOTIFIED_IN_INTERRUPT {
            self.queue_deferred();
            (self.take_message(), None)
        } else {
            self.take_all(is_reader)
        };
        let nothing = message.is_none() && owed.is_none();
        if let Some((mut guard, provenance)) = message {
            self.take_units(&mut guard);
            self.deliver_in_interrupt(guard, provenance);
        }
        if let Some(owed) = owed {
            // An ack and an unmask signal each of them once.
            charge(2 * listeners);
            self.settle(owed);
        }
        if nothing {
            self.lend_priority();
        }
    }

    /// Lends this thread's priority to the owner on PREEMPT_RT. A ring that must not sleep may have left a message to it.
    fn lend_priority(&self) {
        if cfg!(CONFIG_PREEMPT_RT) {
            self.lock.wait();
        }
    }

    /// Does what the callbacks have left to do, after they have ended. No thread may ring the line any more, so that
    /// this ends. Process context.
    pub(super) fn deliver_rest(self: Pin<&Self>) {
        self.settle_owed();
        let guard = self.unpark().unwrap_or_else(|| self.claim());
        self.deliver_at(guard, None, 0, Place::Worker);
    }

    /// Claims a line whose delivery an interrupt has parked, and signals the rest of its triggers.
    fn unpark(&self) -> Option<LineGuard<'_>> {
        let mut guard = self.lock.unpark()?;
        self.lock.stats().deferred.add(1);
        guard.signal_rest();
        Some(guard)
    }

    /// Finishes a delivery that an interrupt has parked. Returns false if there is none.
    pub(super) fn finish(self: Pin<&Self>, place: Place) -> bool {
        let Some(guard) = self.unpark() else {
            return false;
        };
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
            self.queue_deferred();
            return self.lend_priority();
        }
        match self.lock.try_update(state::PENDING, state::take) {
            Ok((Action::Deliver(provenance), Some(guard))) => {
                self.deliver_in_interrupt(guard, provenance)
            }
            _ => self.run_word(),
        }
        spent();
    }
}

impl RunInBatch for Line {
    fn run_in_batch(self: Pin<&Self>) {
        if self.finish(Place::Worker) && !self.owes() {
            return;
        }
        self.notifiers()
            .as_reader(|is_reader| self.run_all(is_reader));
    }
}

impl Line {
    /// Delivers a message and sends the signals that a callback owes. `Context::settle` waits for it.
    /// Process context.
    fn run_all(self: Pin<&Self>, is_reader: bool) {
        let (message, owed) = self.take_all(is_reader);
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
