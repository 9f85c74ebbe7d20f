// SPDX-License-Identifier: GPL-2.0

//! The moderation of a line: at most one delivery in an interval.
//!
//! The owner of a moderated line starts the line's timer after a delivery. The end of the interval has one
//! owner: the timer's interrupt, or the thread that removes the timer from its queue. It clears
//! [`state::HELD`] and queues the callback that delivers a pending message. The timer itself signals no
//! eventfd: on PREEMPT_RT the lock of an eventfd sleeps. Nothing that the interrupt does takes a lock that sleeps
//! there: it changes the word, and queues the irq_work or wakes the worker.

use super::{
    state::{
        self,
        Action,
        Place, //
    },
    Line, //
};
use crate::{
    kernel_ext::{
        alloc::user_alloc_flags,
        lazy_timer::Expire,
        preempt::Unpreempted,
        wait::wait_until, //
    },
    uapi::{
        DOORBELL_MAX_INTERVAL,
        DOORBELL_MIN_INTERVAL, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

/// The parameters of a line that is or was moderated.
pub(crate) struct Moderation {
    /// The length of the interval in nanoseconds; zero if the line is not moderated.
    interval: Atomic<u32>,
    /// The number of held rings that end the interval; zero: no number does.
    max_count: Atomic<u32>,
    /// The number of rings that were held in the present interval.
    count: Atomic<u32>,
}

impl Moderation {
    /// Returns true if the interval that has held `count` rings ends early. A ring that is in progress when
    /// an interval ends can count in the next one.
    fn is_full(&self, count: u32) -> bool {
        // ORDERING: None: a ring that is in progress may use the limit of before.
        let max_count = self.max_count.load(Relaxed);
        max_count != 0 && count >= max_count
    }
}

/// The parameters that userspace sets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The length of the interval in nanoseconds; zero if the line is not moderated.
    pub(crate) interval: u32,
    /// The number of held rings that end the interval; zero: no number does.
    pub(crate) max_count: u32,
}

impl Limits {
    /// No moderation.
    pub(crate) const NONE: Self = Self {
        interval: 0,
        max_count: 0,
    };

    /// Returns the limits that a caller has chosen.
    ///
    /// # Errors
    ///
    /// EINVAL: an interval out of range, or a count without an interval.
    pub(crate) fn new(interval: u32, max_count: u32) -> Result<Self> {
        let limits = Self {
            interval,
            max_count,
        };
        if limits == Self::NONE
            || (DOORBELL_MIN_INTERVAL..=DOORBELL_MAX_INTERVAL).contains(&interval)
        {
            Ok(limits)
        } else {
            Err(EINVAL)
        }
    }
}

impl Line {
    /// Returns true if the line is or was moderated. Any context.
    pub(crate) fn has_timer(&self) -> bool {
        self.timer.get().is_some()
    }

    /// Allocates what a moderated line needs, unless the line has it. Process context.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(crate) fn allocate_moderation(self: Pin<&Self>) -> Result {
        let moderation = Moderation {
            interval: Atomic::new(0),
            max_count: Atomic::new(0),
            count: Atomic::new(0),
        };
        self.create_timer(moderation, user_alloc_flags())
    }

    /// Moderates the line from now on, or no longer. Ends the present interval: a message that it held is
    /// delivered when this has returned, unless the line is masked. Does nothing without
    /// [`Line::allocate_moderation`].
    ///
    /// # Context
    ///
    /// As of [`Line::lock_triggers`].
    pub(crate) fn moderate(self: Pin<&Self>, limits: Limits) {
        // A line without a timer was never moderated.
        let Some(timer) = self.get_ref().timer.get() else {
            return;
        };
        let moderated = limits != Limits::NONE;
        wait_until(|| {
            let guard = self.claim();
            // Without the timer, rings that the line holds rely on this thread.
            let preemption = Unpreempted::new();
            // The owner alone starts the timer, whose interrupt does not wait for the owner.
            let removed = timer.cancel();
            // ORDERING: None of their own. The exchange of the word in `HandoffGuard::update` orders the count
            // before the next interval, and the claim of the line orders the limits: `Line::start_timer` reads
            // the interval as the owner.
            if removed {
                timer.data().count.store(0u32, Relaxed);
            }
            let moderate = |word| state::moderate(word, moderated, removed);
            let (done, guard) = guard.update(moderate, |_| false, |_| ());
            drop(preemption);
            if done {
                timer.data().interval.store(limits.interval, Relaxed);
                timer.data().max_count.store(limits.max_count, Relaxed);
            }
            if let Some(guard) = guard {
                self.deliver(guard, None, 0);
            }
            done.then_some(())
        });
    }

    /// Returns the limits of the moderation.
    ///
    /// # Context
    ///
    /// As of [`Line::lock_triggers`].
    pub(crate) fn limits(self: Pin<&Self>) -> Limits {
        let Some(timer) = self.get_ref().timer.get() else {
            return Limits::NONE;
        };
        // While the line has this owner, no other thread changes them.
        // ORDERING: None: the owner alone changes them, and this is the owner.
        self.lock_triggers(|_| Limits {
            interval: timer.data().interval.load(Relaxed),
            max_count: timer.data().max_count.load(Relaxed),
        })
    }

    /// Starts the timer of the interval. The caller owns the line, and must not be preemptible.
    #[inline(never)]
    pub(super) fn start_timer(&self) {
        let Some(timer) = self.timer.get() else {
            return;
        };
        let data = timer.data();
        // ORDERING: The addition of zero pairs with that in `Line::count_held`: one of both finds the other, and
        // removes the timer. The reset is ordered by the exchange of the word that follows, and the interval by
        // the ownership of the line.
        timer.start(data.interval.load(Relaxed));
        // A ring that was held before the start found no timer to remove. Either it finds the timer now, or
        // this finds its count.
        if data.is_full(data.count.fetch_add(0u32, Full)) && timer.remove() {
            data.count.store(0u32, Relaxed);
            // The owner itself delivers a message that is pending.
            let likely = state::MODERATED | state::HELD | state::PENDING | state::IN_PROGRESS;
            let _ = self.lock.update(likely, state::expire);
        }
    }

    /// Counts a ring that the moderated line holds. If it is the last that the interval may hold, ends the
    /// interval. Any context but NMI.
    #[cold]
    pub(super) fn count_held(self: Pin<&Self>) {
        let Some(timer) = self.get_ref().timer.get() else {
            return;
        };
        // Between the count and the removal the next interval can begin, but not for long.
        let _preemption = Unpreempted::new();
        // ORDERING: Pairs with the addition in `Line::start_timer`: either this finds the timer, or that finds
        // the count.
        let count = timer.data().count.fetch_add(1u32, Full).wrapping_add(1);
        if !timer.data().is_full(count) {
            return;
        }
        // If this fails, the interval has ended, its interrupt is ending it, or its owner is starting it and
        // reads the count afterwards.
        if timer.remove() {
            self.end_interval();
        }
    }

    /// Ends the interval. The caller has removed the timer, and must not be preemptible. This renews no
    /// budget: the caller has done that if it may.
    fn end_interval(self: Pin<&Self>) {
        // Before the bit is cleared: a ring that the next interval holds is counted afterwards.
        if let Some(timer) = self.get_ref().timer.get() {
            // ORDERING: Pairs with `Line::count_held`: the exchange of the word that follows orders the reset
            // before a ring that the next interval holds.
            timer.data().count.store(0u32, Relaxed);
        }
        let likely = state::MODERATED | state::HELD;
        match self.lock.update(likely, state::expire).0 {
            Some(Action::Leave) => self.boost_owner(),
            Some(action) => self.queue(&action, Place::Interrupt),
            None => {}
        }
    }
}

impl Expire for Line {
    type Data = Moderation;

    fn expire(self: Pin<&Self>) {
        self.end_interval();
    }
}
