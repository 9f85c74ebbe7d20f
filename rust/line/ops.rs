// SPDX-License-Identifier: GPL-2.0

//! What can be done to a line besides ringing it: masks, levels, acks.
//!
//! Whoever makes a transition tells the line's notifiers of it, after it, and with nothing held.

use super::{
    state::{
        self,
        Acked,
        Behind,
        Origin,
        Taken,
        Unmasked, //
    },
    Line,
    LineGuard,
    RingOutcome, //
};
use crate::{
    kernel_ext::{
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
    /// Masks the line; returns whether it was not masked before.
    ///
    /// When this returns, no delivery is under way and none starts until the line is unmasked.
    /// Process context; may sleep like [`Line::lock_triggers`].
    pub(crate) fn mask(self: Pin<&Self>) -> bool {
        let (newly, guard) = self.lock.update(state::IDLE, state::mask);
        let guard = guard.unwrap_or_else(|| self.claim());
        self.deliver(guard, None, 0);
        self.masked(newly)
    }

    /// Masks the line; returns whether it was not masked before.
    ///
    /// A delivery that is under way goes on. Any context where eventfds may be signalled.
    pub(crate) fn mask_nosync(self: Pin<&Self>) -> bool {
        let (newly, guard) = self.lock.update(state::IDLE, state::mask);
        if let Some(guard) = guard {
            self.deliver(guard, None, 0);
        }
        self.masked(newly)
    }

    fn masked(&self, newly: bool) -> bool {
        if newly {
            self.notifiers().notify(DOORBELL_NOTIFY_MASK, false);
        }
        newly
    }

    /// Unmasks the line and delivers what is pending; returns whether there was something.
    ///
    /// Process context; may sleep like [`Line::lock_triggers`].
    pub(crate) fn unmask(self: Pin<&Self>) -> bool {
        let Some((guard, message, resample)) = self.take(state::MASKED, state::unmask) else {
            return false;
        };
        self.deliver(guard, message, 0);
        self.notifiers().notify(DOORBELL_NOTIFY_UNMASK, resample);
        message.is_some()
    }

    /// Unmasks the line; returns whether something was pending, which is delivered, by whoever holds
    /// the line if somebody does.
    ///
    /// Any context where eventfds may be signalled.
    pub(crate) fn unmask_nowait(self: Pin<&Self>) -> bool {
        let (unmasked, guard) = self.lock.update(state::MASKED, state::unmask_nowait);
        let Some(Unmasked { message, resample }) = unmasked else {
            return false;
        };
        if let Some(guard) = guard {
            self.deliver(guard, message, 0);
        }
        self.notifiers().notify(DOORBELL_NOTIFY_UNMASK, resample);
        message.is_some()
    }

    /// Drops the message that is pending; returns whether there was one.
    ///
    /// Process context; may sleep like [`Line::lock_triggers`].
    pub(crate) fn clear(self: Pin<&Self>) -> bool {
        let Some((guard, _, resample)) = self.take(state::MASKED | state::PENDING, state::clear)
        else {
            return false;
        };
        self.lock.stats().dropped.add(1);
        self.deliver(guard, None, 0);
        self.notifiers().notify(0, resample);
        true
    }

    /// Raises the level, or lowers it; `origin` says whether eventfds may be signalled. Any context
    /// but NMI.
    ///
    /// EOPNOTSUPP: an edge line.
    pub(crate) fn raise(self: Pin<&Self>, origin: Origin) -> Result<RingOutcome> {
        let _preemption = matches!(origin, Origin::Wake(_)).then(Unpreempted::new);
        let (action, guard) = self
            .lock
            .update(state::LEVEL, |word| state::raise(word, origin));
        Ok(self.rung(action.ok_or(EOPNOTSUPP)?, guard))
    }

    /// Lowers the level; returns whether that took a message back. `origin` and context as of
    /// [`Line::raise`].
    ///
    /// EOPNOTSUPP: an edge line.
    pub(crate) fn lower(self: Pin<&Self>, origin: Origin) -> Result<bool> {
        let (withdrawn, guard) = self.lock.update(state::LEVEL | state::RAISED, state::lower);
        if let Some(guard) = guard {
            self.lock.stats().dropped.add(1);
            let rounds = match origin {
                Origin::Caller => 0,
                Origin::Wake(_) => state::MAX_ROUNDS,
            };
            self.deliver(guard, None, rounds);
        }
        withdrawn.ok_or(EOPNOTSUPP)
    }

    /// Acks what was delivered last. If the level is still raised when those who wanted to know have
    /// been told, the next message goes out as `origin` says. Any context where eventfds may be
    /// signalled.
    ///
    /// EOPNOTSUPP: an edge line.
    pub(crate) fn ack(self: Pin<&Self>, origin: Origin) -> Result<Acked> {
        let (acked, _) = self.lock.update(state::LEVEL | state::ASSERTED, state::ack);
        let acked = acked.ok_or(EOPNOTSUPP)?;
        let Acked::Done { resample, again } = acked else {
            return Ok(acked);
        };
        self.lock.stats().acks.fetch_add(1u64, Relaxed);
        self.notifiers().notify(DOORBELL_NOTIFY_ACK, resample);
        if again {
            self.assert_again(origin);
        }
        Ok(acked)
    }

    /// The message that a level makes which is still raised after an ack, if it is one.
    fn assert_again(self: Pin<&Self>, origin: Origin) {
        let _preemption = matches!(origin, Origin::Wake(_)).then(Unpreempted::new);
        let (action, guard) = self.lock.update(state::LEVEL | state::RAISED, |state| {
            state::assert_again(state, origin)
        });
        if let Some(action) = action {
            self.rung(action, guard);
        }
    }

    /// Makes it a level line, or an edge line. Process context, and nobody may assign a resamplefd
    /// meanwhile, nor must there be one.
    ///
    /// EBUSY: something is pending, asserted or raised.
    pub(crate) fn set_type(&self, level: bool) -> Result {
        let (done, _) = self
            .lock
            .update(state::IDLE, |word| state::retype(word, level));
        if done {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// EOPNOTSUPP for an edge line, which it is until somebody changes that. Any context.
    pub(crate) fn check_level(&self) -> Result {
        if self.lock.word() & state::LEVEL == 0 {
            return Err(EOPNOTSUPP);
        }
        Ok(())
    }

    /// Tries `f` until the line is not somebody else's; the hold, the message that `f` took and
    /// whether the resamplefds are to be signalled, if it did something.
    fn take<'a>(
        self: Pin<&'a Self>,
        likely: u32,
        f: impl Fn(u32) -> (u32, Taken),
    ) -> Option<(LineGuard<'a>, Option<Behind>, bool)> {
        wait_until(|| match self.get_ref().lock.update(likely, &f) {
            (Taken::Busy, _) => {
                self.help();
                None
            }
            (Taken::Done { message, resample }, Some(guard)) => {
                Some(Some((guard, message, resample)))
            }
            _ => Some(None),
        })
    }
}
