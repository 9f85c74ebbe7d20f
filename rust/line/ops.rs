// SPDX-License-Identifier: GPL-2.0

//! Masks, levels and acks of a line.
//!
//! The thread that makes a transition signals the line's notifiers after it, when it does not own the
//! line any more.

use super::{
    state::{
        self,
        Acked,
        Action,
        Origin,
        Owed,
        Provenance,
        Reasons,
        Taken,
        Unmasked, //
    },
    Line,
    LineGuard,
    RingOutcome, //
};
use crate::{
    kernel_ext::{
        compat::EOPNOTSUPP,
        preempt::Unpreempted,
        wait::wait_until, //
    },
    uapi::{
        DOORBELL_NOTIFY_ACK,
        DOORBELL_NOTIFY_MASK,
        DOORBELL_NOTIFY_UNMASK, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

impl Line {
    /// Masks the line for `reasons`. Returns true if it was not masked before. When this has returned, no
    /// delivery is in flight, also if the line was masked already, and none starts until all reasons have
    /// ended. (`disable_irq()`)
    ///
    /// # Context
    ///
    /// As of [`Line::lock_triggers`].
    #[inline(always)]
    pub(crate) fn mask(self: Pin<&Self>, reasons: Reasons) -> bool {
        let mask = |word| state::mask(word, reasons);
        match self.lock.try_update(state::IDLE, mask) {
            // An idle line has no owner.
            Ok((masked, _)) => self.masked(masked.newly, reasons),
            Err(word) => self.mask_word(word, reasons),
        }
    }

    /// Masks the line, which is not idle: its word was `word`.
    #[cold]
    fn mask_word(self: Pin<&Self>, word: u32, reasons: Reasons) -> bool {
        let mask = |word| state::mask(word, reasons);
        let (masked, _) = self.lock.update_from(word, mask);
        if masked.busy {
            self.wait_for_owner();
        }
        self.masked(masked.newly, reasons)
    }

    /// Waits until a delivery in flight has ended. Context as of [`Line::lock_triggers`].
    #[cold]
    fn wait_for_owner(self: Pin<&Self>) {
        self.lock_triggers(|_| {});
    }

    /// Masks the line for `reasons`, but does not wait for a delivery in flight. Returns true if the line was
    /// not masked before. (`disable_irq_nosync()`)
    ///
    /// # Context
    ///
    /// Any context where eventfds may be signalled.
    pub(crate) fn mask_nosync(self: Pin<&Self>, reasons: Reasons) -> bool {
        let (masked, _) = self
            .lock
            .update(state::IDLE, |word| state::mask(word, reasons));
        self.masked(masked.newly, reasons)
    }

    #[inline(always)]
    fn masked(&self, newly: bool, reasons: Reasons) -> bool {
        if newly {
            self.trace_mask(reasons);
            self.notifiers().notify(DOORBELL_NOTIFY_MASK, false);
        }
        newly
    }

    /// Ends `reasons` to mask the line. If there is no other one, delivers the pending message. Returns true
    /// if there was one.
    ///
    /// # Context
    ///
    /// As of [`Line::lock_triggers`].
    #[inline(always)]
    pub(crate) fn unmask(self: Pin<&Self>, reasons: Reasons) -> bool {
        let unmask = |word| state::unmask(word, reasons);
        if reasons != Reasons::VECTOR {
            // Such a line is of many kinds: one that has masked itself has the bit of its mode, too.
            return self.unmask_word(self.lock.word(), reasons);
        }
        match self.lock.try_update(Reasons::VECTOR.masked(), unmask) {
            // The word has nothing but the mask of the vector.
            Ok(_) => {
                self.trace_unmask(reasons, false, false);
                self.notifiers().notify(DOORBELL_NOTIFY_UNMASK, false);
                false
            }
            Err(word) => self.unmask_word(word, reasons),
        }
    }

    /// Unmasks the line, whose word has more than the mask, or no mask: it was `word`.
    #[cold]
    fn unmask_word(self: Pin<&Self>, word: u32, reasons: Reasons) -> bool {
        let unmask = |word| state::unmask(word, reasons);
        let taken = self.lock.update_from(word, unmask);
        let Some((guard, message, resample)) = self.take(taken, unmask) else {
            return false;
        };
        self.trace_unmask(reasons, message.is_some(), resample);
        if let Some(guard) = guard {
            self.deliver(guard, message, 0);
        }
        self.notifiers().notify(DOORBELL_NOTIFY_UNMASK, resample);
        message.is_some()
    }

    /// Ends `reasons` to mask the line. If there is no other one and a message is pending, returns true. The
    /// caller delivers it, or the owner if the line has one. If `origin` is a wake-up, a callback delivers it.
    ///
    /// # Context
    ///
    /// Any context where eventfds may be signalled.
    pub(crate) fn unmask_nowait(self: Pin<&Self>, reasons: Reasons, origin: Origin) -> bool {
        if let Origin::Wake(provenance) = origin {
            return self.unmask_relayed(reasons, provenance);
        }
        let (unmasked, guard) = self
            .lock
            .update(reasons.masked(), |word| state::unmask_nowait(word, reasons));
        let Some(Unmasked { message, resample }) = unmasked else {
            return false;
        };
        self.trace_unmask(reasons, message.is_some(), resample);
        if let Some(guard) = guard {
            self.deliver(guard, message, 0);
        }
        self.notifiers().notify(DOORBELL_NOTIFY_UNMASK, resample);
        message.is_some()
    }

    /// Does what [`Line::unmask_nowait`] does in a callback of another module, to which relays have led.
    #[cold]
    fn unmask_relayed(self: Pin<&Self>, reasons: Reasons, provenance: Provenance) -> bool {
        let preemption = Unpreempted::new();
        let (unmasked, _) = self.lock.update(reasons.masked(), |word| {
            state::unmask_relayed(word, reasons, provenance)
        });
        let Some((Unmasked { message, resample }, action)) = unmasked else {
            return false;
        };
        self.trace_unmask(reasons, message.is_some(), resample);
        match action {
            Some(Action::Leave) => self.boost_owner(),
            Some(action) => self.queue(&action, Origin::Wake(provenance).place()),
            None => {}
        }
        drop(preemption);
        self.notifiers().notify(DOORBELL_NOTIFY_UNMASK, resample);
        message.is_some()
    }

    /// Drops the pending message. Returns true if there was one.
    ///
    /// # Context
    ///
    /// As of [`Line::lock_triggers`].
    pub(crate) fn clear(self: Pin<&Self>) -> bool {
        let this = self.get_ref();
        // With the units, whether the line counts or not: an assignment may begin the count meanwhile.
        let clear = || {
            this.lock
                .update_units(this.lock.word(), state::clear_counted)
        };
        let cleared = self.retry(clear(), |(taken, _)| *taken == Taken::Busy, clear);
        let ((Taken::Done { resample, .. }, units), guard) = cleared else {
            return false;
        };
        if let Some(guard) = guard {
            let stats = this.lock.stats();
            stats.dropped.add(1);
            stats.dropped_units.add(u64::from(units));
            self.deliver(guard, None, 0);
        }
        self.notifiers().notify(0, resample);
        true
    }

    /// Raises the level.
    ///
    /// # Context
    ///
    /// Any context but NMI; `origin` says whether eventfds may be signalled.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: an edge line.
    pub(crate) fn raise(self: Pin<&Self>, origin: Origin) -> Result<RingOutcome> {
        let _preemption = matches!(origin, Origin::Wake(_)).then(Unpreempted::new);
        let (action, guard) = self
            .lock
            .update(state::LEVEL, |word| state::raise(word, origin));
        let action = action.ok_or(EOPNOTSUPP)?;
        Ok(self.rung(action, guard, origin))
    }

    /// Lowers the level. Returns true if that withdrew a message.
    ///
    /// # Context and errors
    ///
    /// As of [`Line::raise`].
    pub(crate) fn lower(self: Pin<&Self>, origin: Origin) -> Result<bool> {
        let _preemption = matches!(origin, Origin::Wake(_)).then(Unpreempted::new);
        let (withdrawn, guard) = self.lock.update(state::LEVEL | state::RAISED, state::lower);
        if let Some(guard) = guard {
            self.lock.stats().dropped.add(1);
            let rounds = match origin {
                Origin::Caller => 0,
                Origin::Wake(_) => state::MAX_ROUNDS,
            };
            self.deliver_at(guard, None, rounds, origin.place());
        }
        withdrawn.ok_or(EOPNOTSUPP)
    }

    /// Acks the last delivery, and signals the resamplefds and notifiers. If the level is still raised
    /// then, sends the next message from the context that `origin` names.
    ///
    /// # Context
    ///
    /// Any context where eventfds may be signalled.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: an edge line.
    pub(crate) fn ack(self: Pin<&Self>, origin: Origin) -> Result<Acked> {
        let (acked, _) = self.lock.update(state::LEVEL | state::ASSERTED, state::ack);
        let acked = acked.ok_or(EOPNOTSUPP)?;
        self.trace_ack(&acked);
        let Acked::Done { resample, again } = acked else {
            return Ok(acked);
        };
        // ORDERING: None: a count for statistics. The exchange of the word comes before it, as `Line::save`
        // expects.
        self.lock.stats().acks.fetch_add(1u64, Relaxed);
        self.notifiers().notify(DOORBELL_NOTIFY_ACK, resample);
        if again {
            self.assert_again(origin);
        }
        Ok(acked)
    }

    /// Signals the notifiers and resamplefds of a callback that owed that. If the level is still raised after
    /// an ack then, leaves the next message to a callback.
    ///
    /// # Context
    ///
    /// As of [`Line::ack`].
    pub(super) fn settle(self: Pin<&Self>, owed: Owed) {
        let key = owed.provenance.key();
        // A reply that acks and unmasks has signalled the resamplefds once.
        if owed.ack {
            self.notifiers()
                .notify_relayed(DOORBELL_NOTIFY_ACK, owed.resample, key);
        }
        if owed.unmask {
            let resample = owed.resample && !owed.ack;
            self.notifiers()
                .notify_relayed(DOORBELL_NOTIFY_UNMASK, resample, key);
        }
        if owed.ack {
            // As a ring in a wake callback: this renews no budget.
            let _preemption = Unpreempted::new();
            let provenance = owed.provenance.relayed();
            let (action, guard) = self.lock.update(state::LEVEL | state::RAISED, |state| {
                state::assert_again(state, Origin::Wake(provenance))
            });
            if let Some(action) = action {
                self.relayed_result(action, guard, provenance);
            }
        }
    }

    /// Signals what a callback owes. As a reader: `Context::settle` of another thread waits for it.
    /// Process context, but not that of a notifier.
    pub(crate) fn settle_owed(self: Pin<&Self>) {
        self.notifiers().as_reader(|is_reader| {
            if !is_reader {
                // Nothing was owed when this began.
                return;
            }
            let (owed, _) = self.lock.update(state::IDLE, state::take_owed);
            if let Some(owed) = owed {
                self.settle(owed);
            }
        });
    }

    /// Sends the message of a level that is still raised after an ack.
    fn assert_again(self: Pin<&Self>, origin: Origin) {
        let _preemption = matches!(origin, Origin::Wake(_)).then(Unpreempted::new);
        let (action, guard) = self.lock.update(state::LEVEL | state::RAISED, |state| {
            state::assert_again(state, origin)
        });
        if let Some(action) = action {
            self.rung(action, guard, origin);
        }
    }

    /// Makes the line a level line or an edge line, that masks itself when it delivers or not. A line that
    /// becomes an edge line must have no resamplefd or ackfd, and the caller keeps others from assigning one.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// EBUSY: the type would change, and a message is pending, or the line is asserted or raised.
    pub(crate) fn set_type(&self, level: bool, automask: bool) -> Result {
        let (done, _) = self
            .lock
            .update(state::IDLE, |word| state::retype(word, level, automask));
        if done {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Returns EOPNOTSUPP for an edge line. Any context.
    pub(crate) fn check_level(&self) -> Result {
        if self.lock.word() & state::LEVEL == 0 {
            return Err(EOPNOTSUPP);
        }
        Ok(())
    }

    /// Repeats the transition `f`, whose first attempt had the result `taken`, while another thread owns the
    /// line. If the transition applies, returns the guard, if `f` claims the line, the message that `f` took,
    /// and true if the resamplefds have to be signalled.
    fn take<'a>(
        self: Pin<&'a Self>,
        taken: (Taken, Option<LineGuard<'a>>),
        f: impl Fn(u32) -> (u32, Taken),
    ) -> Option<(Option<LineGuard<'a>>, Option<Provenance>, bool)> {
        let this = self.get_ref();
        let again = || this.lock.update(state::IDLE, &f);
        match self.retry(taken, |taken| *taken == Taken::Busy, again) {
            (Taken::Done { message, resample }, guard) => Some((guard, message, resample)),
            _ => None,
        }
    }

    /// Calls `again` until its result is not busy, and helps the owner before each call. Does nothing if `first`
    /// is not busy.
    #[inline(always)]
    fn retry<'a, R>(
        self: Pin<&'a Self>,
        first: (R, Option<LineGuard<'a>>),
        is_busy: impl Fn(&R) -> bool,
        again: impl Fn() -> (R, Option<LineGuard<'a>>),
    ) -> (R, Option<LineGuard<'a>>) {
        if !is_busy(&first.0) {
            return first;
        }
        wait_until(|| {
            self.help();
            let result = again();
            (!is_busy(&result.0)).then_some(result)
        })
    }
}
