// SPDX-License-Identifier: GPL-2.0-only

//! The ledger: the part of the backend that survives it.
//!
//! A device that keeps data has a disk, and this one has a page of shared memory. The backend records a
//! request there before it puts the answer on the used ring. A backend that takes a request again, because
//! the one before it was killed between the two, recognises it by its ID, and does not execute it twice.

use anyhow::Result;
use std::{fs::File, ops::RangeInclusive, sync::atomic::Ordering};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

/// The size of the ledger.
pub(crate) const SIZE: usize = 0x1000;

/// A word of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Entry {
    /// The ID of the last request that was executed. As IDs are consecutive, it is also their number.
    Executed,
    /// Requests that were taken again.
    Repeated,
    /// Requests that are neither the next one nor the last one.
    Refused,
    /// Signals of the call eventfd that were about to be sent.
    SignalsBegun,
    /// Signals of the call eventfd that have been sent.
    SignalsSent,
    /// The ID of the request at which the backend stops, or zero. Set by the run.
    StopAt,
    /// The [`Stage`] at which it stops. Set by the run.
    StopStage,
    /// One while it has stopped.
    Stopped,
}

/// The number of [`Entry`]s.
pub(crate) const ENTRIES: usize = Entry::ALL.len();

impl Entry {
    pub(crate) const ALL: [Entry; 8] = [
        Entry::Executed,
        Entry::Repeated,
        Entry::Refused,
        Entry::SignalsBegun,
        Entry::SignalsSent,
        Entry::StopAt,
        Entry::StopStage,
        Entry::Stopped,
    ];
}

/// A point between two steps of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Stage {
    /// The request was taken from the available ring, and is not executed.
    Taken,
    /// It is executed, and its answer is not on the used ring.
    Executed,
    /// Its answer is on the used ring, and the guest was not signalled.
    Used,
}

impl Stage {
    pub(crate) const ALL: [Stage; 3] = [Stage::Taken, Stage::Executed, Stage::Used];
}

/// The ledger's memory.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(GuestMemoryMmap);

impl Ledger {
    pub(crate) fn map(file: File) -> Result<Self> {
        let range = (GuestAddress(0), SIZE, Some(FileOffset::new(file, 0)));
        Ok(Self(GuestMemoryMmap::from_ranges_with_files(&[range])?))
    }

    pub(crate) fn get(&self, entry: Entry) -> u64 {
        let at = GuestAddress(8 * entry as u64);
        self.0.load(at, Ordering::SeqCst).expect("a mapped word")
    }

    pub(crate) fn set(&self, entry: Entry, value: u64) {
        let at = GuestAddress(8 * entry as u64);
        self.0
            .store(value, at, Ordering::SeqCst)
            .expect("a mapped word");
    }

    /// Adds one to a word that only the caller changes.
    pub(crate) fn add(&self, entry: Entry) {
        self.set(entry, self.get(entry) + 1);
    }

    /// Makes the backend stop when it has reached `stage` of the request `id`.
    pub(crate) fn stop_at(&self, id: u64, stage: Stage) {
        self.set(Entry::Stopped, 0);
        self.set(Entry::StopStage, stage as u64);
        self.set(Entry::StopAt, id);
    }

    /// Returns true if the backend has to stop at `stage` of one of the requests `ids`.
    pub(crate) fn stops(&self, ids: RangeInclusive<u64>, stage: Stage) -> bool {
        let at = self.get(Entry::StopAt);
        at != 0 && ids.contains(&at) && self.get(Entry::StopStage) == stage as u64
    }

    /// Revokes [`stop_at`](Ledger::stop_at). A backend that has stopped goes on.
    pub(crate) fn stop_nowhere(&self) {
        self.set(Entry::StopAt, 0);
        self.set(Entry::Stopped, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{memfd_create, MemfdFlags};

    fn ledger() -> Ledger {
        let file = File::from(memfd_create("ledger", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(SIZE as u64).unwrap();
        Ledger::map(file).unwrap()
    }

    #[test]
    fn words_are_separate() {
        let ledger = ledger();
        ledger.set(Entry::Executed, 7);
        ledger.add(Entry::Repeated);
        assert_eq!(ledger.get(Entry::Executed), 7);
        assert_eq!(ledger.get(Entry::Repeated), 1);
        assert_eq!(ledger.get(Entry::Refused), 0);
    }

    #[test]
    fn stop_is_at_one_stage_of_one_request() {
        let ledger = ledger();
        assert!(!ledger.stops(0..=100, Stage::Used));
        ledger.stop_at(5, Stage::Used);
        assert!(ledger.stops(5..=5, Stage::Used));
        assert!(ledger.stops(3..=8, Stage::Used));
        assert!(!ledger.stops(6..=8, Stage::Used));
        assert!(!ledger.stops(3..=4, Stage::Used));
        assert!(!ledger.stops(5..=5, Stage::Taken));
        ledger.stop_nowhere();
        assert!(!ledger.stops(5..=5, Stage::Used));
    }
}
