// SPDX-License-Identifier: GPL-2.0-only

//! The status pages: what the module knows about its lines, without a system call.

use crate::{sys::Mapping, uapi};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire};

/// `struct doorbell_line_status`, as it is in memory that somebody else writes to.
#[repr(C)]
pub(crate) struct Live {
    state: AtomicU32,
    _reserved0: u32,
    deliveries: AtomicU64,
    coalesced: AtomicU64,
    dropped: AtomicU64,
    deferred: AtomicU64,
    acks: AtomicU64,
    _reserved: [u64; 2],
}

const _: () = assert!(size_of::<Live>() == size_of::<uapi::LineStatus>());

/// What the status pages said about a line. Each field is exact by itself; for all of one moment
/// there is [`Context::query`](crate::Context::query).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LineStatus {
    /// Whether a message waits to be delivered.
    pub pending: bool,
    /// Whether the line is masked.
    pub masked: bool,
    /// Whether it is a level line that nobody has acked since it was rung or delivered.
    pub asserted: bool,
    /// How often it delivered.
    pub deliveries: u64,
    /// How many rings joined a delivery that had not started yet.
    pub coalesced: u64,
    /// How many messages were dropped on request.
    pub dropped: u64,
    /// How many of the deliveries went by a worker.
    pub deferred: u64,
    /// How often it was acked.
    pub acks: u64,
}

impl LineStatus {
    /// How often the line was rung. As the fields are of different moments, not quite exact while
    /// it is being rung.
    pub fn rings(&self) -> u64 {
        self.deliveries + self.coalesced + self.dropped + u64::from(self.pending)
    }
}

/// The status pages of a context, which they keep.
pub struct Status {
    pages: Mapping<Live>,
}

impl Status {
    pub(crate) fn new(pages: Mapping<Live>) -> Self {
        Self { pages }
    }

    /// How many lines are shown.
    pub fn nr_lines(&self) -> u32 {
        self.pages.get().len() as u32
    }

    /// How often `line` has delivered. Panics if there is no such line.
    #[inline]
    pub fn deliveries(&self, line: u32) -> u64 {
        self.pages.get()[line as usize].deliveries.load(Acquire)
    }

    /// What there is to know about `line` now. Panics if there is no such line.
    pub fn line(&self, line: u32) -> LineStatus {
        let live = &self.pages.get()[line as usize];
        let state = live.state.load(Acquire);
        LineStatus {
            pending: state & uapi::LINE_PENDING != 0,
            masked: state & uapi::LINE_MASKED != 0,
            asserted: state & uapi::LINE_ASSERTED != 0,
            deliveries: live.deliveries.load(Acquire),
            coalesced: live.coalesced.load(Acquire),
            dropped: live.dropped.load(Acquire),
            deferred: live.deferred.load(Acquire),
            acks: live.acks.load(Acquire),
        }
    }
}
