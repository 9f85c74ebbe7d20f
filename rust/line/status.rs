// SPDX-License-Identifier: GPL-2.0

//! What can be seen of a line.

use super::{
    state::{
        self,
        IN_PROGRESS, //
    },
    Line, //
};
use crate::{
    kernel_ext::{
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
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        barrier::{
            smp_mb,
            Read, //
        }, //
    }, //
};

/// What a line counts, where userspace can see it.
///
/// All but `coalesced` and `acks` are written by the holder of the line only, so they need no atomic
/// addition; the others are off the fast path.
#[repr(C)]
pub(crate) struct LineStats {
    pub(crate) deliveries: SingleWriterCounter,
    pub(crate) coalesced: Atomic<u64>,
    pub(crate) dropped: SingleWriterCounter,
    pub(crate) deferred: SingleWriterCounter,
    pub(crate) acks: Atomic<u64>,
    reserved: [u64; 2],
}

impl_visible!(LineStats {
    deliveries: SingleWriterCounter,
    coalesced: Atomic<u64>,
    dropped: SingleWriterCounter,
    deferred: SingleWriterCounter,
    acks: Atomic<u64>,
    reserved: [u64; 2],
});

/// What userspace sees of a line: `struct doorbell_line_status`.
pub(crate) type LineStatus = StatusWord<LineStats>;

const _: () = {
    const BESIDE: usize = size_of::<LineStatus>() - size_of::<LineStats>();
    assert!(size_of::<LineStatus>() == size_of::<doorbell_line_status>());
    assert!(core::mem::offset_of!(doorbell_line_status, state) == 0);
    macro_rules! check {
        ($($field:ident)+) => {$(
            assert!(
                core::mem::offset_of!(doorbell_line_status, $field)
                    == BESIDE + core::mem::offset_of!(LineStats, $field)
            );
        )+};
    }
    check!(deliveries coalesced dropped deferred acks reserved);
};

/// The status of a line that nothing has happened to.
pub(crate) const fn new_status() -> LineStatus {
    StatusWord::new(LineStats {
        deliveries: SingleWriterCounter::new(),
        coalesced: Atomic::new(0),
        dropped: SingleWriterCounter::new(),
        deferred: SingleWriterCounter::new(),
        acks: Atomic::new(0),
        reserved: [0; 2],
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
    /// Messages that were dropped.
    pub(crate) dropped: u64,
    /// Deliveries that went by a work item.
    pub(crate) deferred: u64,
    /// Acks.
    pub(crate) acks: u64,
}

impl Line {
    /// Returns state and counters as of one moment. Delivers nothing.
    ///
    /// # DoorbellFile
    ///
    /// Process context. If the line is busy all the time it takes hold of the line for a moment, and
    /// sleeps if the line's holder takes long. What is rung in that moment is left to the line's
    /// callback.
    pub(crate) fn snapshot(self: Pin<&Self>) -> LineQuery {
        if let Ok(snapshot) = self.try_snapshot() {
            return snapshot;
        }
        let guard = self.claim();
        let snapshot = self.look();
        // As if all rounds had been delivered already: the rest goes by a callback.
        self.deliver(guard, None, state::MAX_ROUNDS);
        snapshot
    }

    /// Returns state and counters; if the line is busy all the time, each as of a moment of its own:
    /// then `rings` can lack a message that is in flight. Delivers nothing and does not wait.
    ///
    /// # DoorbellFile
    ///
    /// Any context.
    pub(crate) fn snapshot_nowait(self: Pin<&Self>) -> LineQuery {
        self.try_snapshot().unwrap_or_else(|last| last)
    }

    /// Tries to get a snapshot without holding the line; if that fails, returns one in which the
    /// counters can be of different moments.
    fn try_snapshot(&self) -> Result<LineQuery, LineQuery> {
        const TRIES: u32 = 16;
        let mut last = LineQuery::default();
        let counters = self.lock.stats();
        for _ in 0..TRIES {
            let before = self.lock.word();
            let snapshot = self.look();
            last = snapshot;
            smp_mb(Read);
            // Nobody holds the line, and since nobody did before, whoever did in between has
            // counted what it delivered or dropped. In this order: the word first.
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

    /// Each ring is counted exactly once: by its delivery when that starts, by `coalesced`, by
    /// `dropped`, or, until then, by the word.
    fn look(&self) -> LineQuery {
        let counters = self.lock.stats();
        let (deliveries, dropped) = (counters.deliveries.get(), counters.dropped.get());
        // The counters first: a ring that the word still has, and they have already, would count twice.
        smp_mb(Read);
        let word = self.lock.word();
        let rung = u64::from(state::is_rung(word));
        LineQuery {
            state: word & DOORBELL_LINE_STATE,
            rings: deliveries + counters.coalesced.load(Relaxed) + dropped + rung,
            deliveries,
            dropped,
            deferred: counters.deferred.get(),
            acks: counters.acks.load(Relaxed),
        }
    }
}
