// SPDX-License-Identifier: GPL-2.0

//! The status of a line: its counters in the status pages, and snapshots of them.

use super::{
    state::{
        self,
        IN_PROGRESS, //
    },
    Line, //
};
use crate::{
    kernel_ext::{
        compat::barrier::{
            smp_mb,
            Read, //
        },
        handoff_lock::StatusWord,
        mmap_pages::impl_visible,
        single_writer_counter::SingleWriterCounter, //
    },
    uapi::{
        doorbell_line_status,
        DOORBELL_LINE_STATE, //
    }, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The counters of a line, in memory that userspace can map.
///
/// Only the owner of the line writes those that need no atomic addition. `coalesced` and `acks` are off the
/// fast path. The line's waiters change `taken`: it is the value of `deliveries` up to which they have
/// consumed them. `dropped_units` are the rings of the messages in `dropped`, if the line counted them.
#[repr(C)]
pub(crate) struct LineStats {
    pub(crate) deliveries: SingleWriterCounter,
    pub(crate) coalesced: Atomic<u64>,
    pub(crate) dropped: SingleWriterCounter,
    pub(crate) deferred: SingleWriterCounter,
    pub(crate) acks: Atomic<u64>,
    pub(crate) taken: Atomic<u64>,
    pub(crate) dropped_units: SingleWriterCounter,
}

impl_visible!(LineStats {
    deliveries: SingleWriterCounter,
    coalesced: Atomic<u64>,
    dropped: SingleWriterCounter,
    deferred: SingleWriterCounter,
    acks: Atomic<u64>,
    taken: Atomic<u64>,
    dropped_units: SingleWriterCounter,
});

/// The entry of a line in the status pages: `struct doorbell_line_status`.
pub(crate) type LineStatus = StatusWord<LineStats>;

const _: () = {
    const STATS: usize = size_of::<LineStatus>() - size_of::<LineStats>();
    assert!(size_of::<LineStatus>() == size_of::<doorbell_line_status>());
    assert!(core::mem::offset_of!(doorbell_line_status, state) == 0);
    macro_rules! check {
        ($($field:ident)+) => {$(
            assert!(
                core::mem::offset_of!(doorbell_line_status, $field)
                    == STATS + core::mem::offset_of!(LineStats, $field)
            );
        )+};
    }
    check!(deliveries coalesced dropped deferred acks taken dropped_units);
    assert!(core::mem::offset_of!(doorbell_line_status, units) == size_of::<u32>());
};

/// Returns the status of an idle line without history.
pub(crate) const fn new_status() -> LineStatus {
    StatusWord::new(LineStats {
        deliveries: SingleWriterCounter::new(),
        coalesced: Atomic::new(0),
        dropped: SingleWriterCounter::new(),
        deferred: SingleWriterCounter::new(),
        acks: Atomic::new(0),
        taken: Atomic::new(0),
        dropped_units: SingleWriterCounter::new(),
    })
}

/// State and counters of a line, as of one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct LineQuery {
    /// DOORBELL_LINE_* bits.
    pub(crate) state: u32,
    /// Rings.
    pub(crate) rings: u64,
    /// Deliveries.
    pub(crate) deliveries: u64,
    /// Dropped messages.
    pub(crate) dropped: u64,
    /// Deliveries by a worker.
    pub(crate) deferred: u64,
    /// Acks.
    pub(crate) acks: u64,
}

impl Line {
    /// Returns state and counters as of one moment. Delivers nothing.
    ///
    /// # Context
    ///
    /// Process context. If the line is busy all the time, claims it for a moment, and sleeps if its owner
    /// does not release it soon. The line's callback delivers messages that arrive in that moment.
    pub(crate) fn snapshot(self: Pin<&Self>) -> LineQuery {
        if let Ok(snapshot) = self.try_snapshot() {
            return snapshot;
        }
        let guard = self.claim();
        let snapshot = self.read();
        // As if the maximum number of messages was delivered already: a callback delivers the rest.
        self.deliver(guard, None, state::MAX_ROUNDS);
        snapshot
    }

    /// Returns state and counters. If the line is busy all the time, each is of a moment of its own, and
    /// `rings` can lack a message in flight. Delivers nothing and does not wait.
    ///
    /// # Context
    ///
    /// Any context.
    pub(crate) fn snapshot_nowait(self: Pin<&Self>) -> LineQuery {
        self.try_snapshot().unwrap_or_else(|last| last)
    }

    /// Tries to take a snapshot without owning the line. If that fails, returns one in which the counters
    /// can be of different moments.
    fn try_snapshot(&self) -> Result<LineQuery, LineQuery> {
        const TRIES: u32 = 16;
        let mut last = LineQuery::default();
        let counters = self.lock.stats();
        for _ in 0..TRIES {
            let before = self.lock.word();
            let snapshot = self.read();
            last = snapshot;
            // ORDERING: Pairs with the exchanges of the owner, which counts between them, as in
            // `HandoffGuard::update`.
            smp_mb(Read);
            // The line has no owner now and had none before. So each owner in between has counted its
            // deliveries and drops. The word has to be read before the counters.
            if before & IN_PROGRESS == 0
                && self.lock.word() == before
                && counters.deliveries.get() == snapshot.deliveries
                && counters.dropped.get() == snapshot.dropped
            {
                return Ok(snapshot);
            }
            cpu_relax();
        }
        Err(last)
    }

    /// Reads the counters and the word. Each ring counts exactly once: in the deliveries once its delivery
    /// has started, in `coalesced`, in `dropped`, or until then in the word.
    fn read(&self) -> LineQuery {
        let counters = self.lock.stats();
        let (deliveries, dropped) = (counters.deliveries.get(), counters.dropped.get());
        // The counters first: a ring that moves from the word to a counter in between would count twice.
        // ORDERING: The barrier pairs with the exchange in `Line::take_message`, before the owner counts the
        // message. The counters that follow are of any moment: no other ring moves there.
        smp_mb(Read);
        let word = self.lock.word();
        let rung = u64::from(state::is_rung(word));
        LineQuery {
            state: word & DOORBELL_LINE_STATE,
            rings: deliveries
                .wrapping_add(counters.coalesced.load(Relaxed))
                .wrapping_add(dropped)
                .wrapping_add(rung),
            deliveries,
            dropped,
            deferred: counters.deferred.get(),
            acks: counters.acks.load(Relaxed),
        }
    }
}
