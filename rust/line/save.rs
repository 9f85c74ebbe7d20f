// SPDX-License-Identifier: GPL-2.0

//! Records of a line's state and counters, from which another line can go on.

use super::{
    state::{
        self,
        Place, //
    },
    Line,
    LineGuard, //
};
use crate::{
    kernel_ext::compat::barrier::{
        smp_mb,
        Read, //
    },
    uapi::{
        doorbell_saved_line,
        DOORBELL_SAVED_FLAG_COUNTED,
        DOORBELL_SAVED_FLAG_UNDELIVERED,
        DOORBELL_SAVED_STATE, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

const _: () = assert!(state::SAVED == DOORBELL_SAVED_STATE);

/// The state and the counters of a line.
#[derive(Clone, Copy)]
pub(crate) struct SavedLine {
    /// DOORBELL_LINE_* bits, a state that is restorable.
    state: u32,
    /// The message of the asserted line found no trigger.
    undelivered: bool,
    deliveries: u64,
    coalesced: u64,
    dropped: u64,
    deferred: u64,
    acks: u64,
    /// The rings that a line that counts has not delivered.
    units: u32,
    /// The line counts.
    counted: bool,
}

impl SavedLine {
    /// Returns the record for userspace, without the numbers of assignments.
    pub(crate) fn to_record(self) -> doorbell_saved_line {
        doorbell_saved_line {
            state: self.state,
            flags: match (self.undelivered, self.counted) {
                (true, _) => DOORBELL_SAVED_FLAG_UNDELIVERED,
                (_, true) => DOORBELL_SAVED_FLAG_COUNTED,
                _ => 0,
            },
            deliveries: self.deliveries,
            coalesced: self.coalesced,
            dropped: self.dropped,
            deferred: self.deferred,
            acks: self.acks,
            units: self.units,
            ..Default::default()
        }
    }

    /// Returns the content of a `record` of userspace.
    ///
    /// # Errors
    ///
    /// EINVAL: no line can be in that state.
    pub(crate) fn from_record(record: &doorbell_saved_line) -> Result<Self> {
        let possible =
            state::is_restorable(record.state) && state::can_have_units(record.state, record.units);
        if !possible || record.reserved != 0 {
            return Err(EINVAL);
        }
        let (undelivered, counted) = match record.flags {
            0 if record.units == 0 => (false, false),
            DOORBELL_SAVED_FLAG_UNDELIVERED if state::is_sent(record.state) => (true, false),
            DOORBELL_SAVED_FLAG_COUNTED if record.state & state::LEVEL == 0 => (false, true),
            _ => return Err(EINVAL),
        };
        Ok(Self {
            state: record.state,
            undelivered,
            deliveries: record.deliveries,
            coalesced: record.coalesced,
            dropped: record.dropped,
            deferred: record.deferred,
            acks: record.acks,
            units: record.units,
            counted,
        })
    }
}

impl Line {
    /// Returns the state and the counters as of one moment in which no delivery is in flight. Delivers
    /// nothing. Signals what a callback still owes. `Context::settle` of the same thread has waited for callbacks.
    ///
    /// # Context
    ///
    /// Process context, but not that of a notifier. Claims the line for a moment, and sleeps if its owner does
    /// not release it soon. The line's callback delivers messages that arrive in that moment.
    pub(crate) fn save(self: Pin<&Self>) -> SavedLine {
        let guard = self.claim();
        // What it takes from a callback, it signals before another thread removes a listener.
        self.notifiers()
            .as_reader(|is_reader| self.record(guard, is_reader))
    }

    /// Returns the record of the line that `guard` owns, and releases the line. If this is no reader, no thread
    /// waits for it, and it leaves what is owed to a callback. Context as of [`Line::save`].
    fn record(self: Pin<&Self>, guard: LineGuard<'_>, is_reader: bool) -> SavedLine {
        let stats = self.lock.stats();
        // ORDERING: The barrier pairs with the exchange of the word before an addition, as in
        // `Line::count_coalesced` and `Line::ack`.
        let (coalesced, acks) = (stats.coalesced.load(Relaxed), stats.acks.load(Relaxed));
        // A ring or an ack changes the word before it counts. If it is counted here, the word must have it.
        smp_mb(Read);
        // What a reply since then owes is not part of the record: its signals are sent below.
        let ((word, units, owed), _) = self.lock.update_units(state::IN_PROGRESS, |word, units| {
            let (settled, owed) = state::take_owed(word);
            let (new, owed) = if is_reader {
                (settled, owed)
            } else {
                (word, None)
            };
            (new, units, (settled, units, owed))
        });
        let withdrawn = u64::from(state::is_withdrawn(word));
        let saved = SavedLine {
            state: word & state::SAVED,
            undelivered: state::is_sent(word) && guard.is_undelivered(),
            deliveries: stats.deliveries.get(),
            coalesced,
            dropped: stats.dropped.get().wrapping_add(withdrawn),
            deferred: stats.deferred.get(),
            acks,
            units,
            counted: word & state::COUNTS != 0,
        };
        // As if the maximum number of messages was delivered already: a callback delivers the rest.
        self.deliver(guard, None, state::MAX_ROUNDS);
        if let Some(owed) = owed {
            self.settle(owed);
        }
        saved
    }

    /// Returns true if the line can be restored. Context as of [`Line::snapshot`].
    pub(crate) fn is_fresh(self: Pin<&Self>) -> bool {
        let now = self.snapshot();
        let counted = now.deliveries | now.dropped | now.deferred | now.acks;
        state::is_fresh(now.state) && counted == 0
    }

    /// Returns true if the line, which is fresh, can go on from `saved`. Any context.
    pub(crate) fn can_continue(&self, saved: &SavedLine) -> bool {
        state::can_continue(self.lock.word(), saved.state, saved.units)
    }

    /// Continues `saved`. The line must have been fresh, and must not have changed its type since. Delivers
    /// the message if there is one and the line is not masked. If `later` is true, the context's worker delivers
    /// it. Signals no notifier.
    ///
    /// # Context
    ///
    /// As of [`Line::lock_triggers`].
    pub(crate) fn restore(self: Pin<&Self>, saved: &SavedLine, later: bool) {
        let mut guard = self.claim();
        let stats = self.lock.stats();
        stats.deliveries.add(saved.deliveries);
        stats.dropped.add(saved.dropped);
        stats.deferred.add(saved.deferred);
        // ORDERING: None: the owner of a fresh line adds, and the release of the line orders that.
        stats.coalesced.fetch_add(saved.coalesced, Relaxed);
        stats.acks.fetch_add(saved.acks, Relaxed);
        // A ring since `is_fresh` may have found no trigger. Its message is not that of the record.
        let renews = guard.restore_undelivered(saved.undelivered);
        let saved_units = saved.counted.then_some(saved.units);
        let (coalesced, _) = self.lock.update_units(state::IN_PROGRESS, |word, units| {
            let (restored, units, coalesced) =
                state::restore_counted(word, units, saved.state, saved_units);
            let renewed = if renews {
                state::renew(restored).0
            } else {
                restored
            };
            (renewed, units, coalesced)
        });
        if coalesced {
            stats.coalesced.fetch_add(1u64, Relaxed);
        }
        if later {
            // As if the worker had delivered the maximum number of messages already.
            self.deliver_at(guard, None, state::MAX_ROUNDS, Place::Worker);
        } else {
            self.deliver(guard, None, 0);
        }
    }
}
