// SPDX-License-Identifier: GPL-2.0

//! What can be seen of a line.

use crate::{
    kernel_ext::{
        counter::Counter,
        gate::Face,
        shared_pages::impl_visible, //
    },
    uapi::doorbell_line_status, //
};
use kernel::sync::atomic::Atomic;

/// What a line counts, where userspace can see it.
///
/// All but `coalesced` and `acks` are written by the holder of the line only, so they need no atomic
/// addition; the others are off the fast path.
#[repr(C)]
pub(crate) struct Counters {
    pub(crate) deliveries: Counter,
    pub(crate) coalesced: Atomic<u64>,
    pub(crate) dropped: Counter,
    pub(crate) deferred: Counter,
    pub(crate) acks: Atomic<u64>,
    reserved: [u64; 2],
}

impl_visible!(Counters {
    deliveries: Counter,
    coalesced: Atomic<u64>,
    dropped: Counter,
    deferred: Counter,
    acks: Atomic<u64>,
    reserved: [u64; 2],
});

/// What userspace sees of a line: `struct doorbell_line_status`.
pub(crate) type Status = Face<Counters>;

const _: () = {
    const BESIDE: usize = size_of::<Status>() - size_of::<Counters>();
    assert!(size_of::<Status>() == size_of::<doorbell_line_status>());
    assert!(core::mem::offset_of!(doorbell_line_status, state) == 0);
    macro_rules! check {
        ($($field:ident)+) => {$(
            assert!(
                core::mem::offset_of!(doorbell_line_status, $field)
                    == BESIDE + core::mem::offset_of!(Counters, $field)
            );
        )+};
    }
    check!(deliveries coalesced dropped deferred acks reserved);
};

/// The status of a line that nothing has happened to.
pub(crate) const fn new_status() -> Status {
    Face::new(Counters {
        deliveries: Counter::new(),
        coalesced: Atomic::new(0),
        dropped: Counter::new(),
        deferred: Counter::new(),
        acks: Atomic::new(0),
        reserved: [0; 2],
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
    /// Acks.
    pub(crate) acks: u64,
}
