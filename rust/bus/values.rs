// SPDX-License-Identifier: GPL-2.0

//! The last values written to regions, in pages that userspace can map and read.
//!
//! A writer takes no lock and repeats no step, so writers on all CPUs are wait-free. It counts its write as
//! started, stores the value, and counts the write as complete. The value is one word, so it is never torn.
//! A reader that finds both counters equal knows that no write was in flight in between; the value belongs
//! to that count then. `tools/model` explores this under weak memory order.

use super::{
    region::Key,
    Region, //
};
use crate::{
    kernel_ext::{
        mmap_pages::MmapPages,
        preempt::Unpreempted,
        shared_array::Edit, //
    },
    uapi::doorbell_value, //
};
use core::mem::offset_of;
use kernel::{
    alloc::Flags,
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

/// A slot: `struct doorbell_value`. It has a cache line of its own, so that two of them can be written on
/// two CPUs at full speed.
type Words = [Atomic<u64>; 8];

const _: () = {
    const WORD: usize = size_of::<u64>();
    assert!(size_of::<doorbell_value>() == size_of::<Words>());
    assert!(offset_of!(doorbell_value, value) == 0);
    assert!(offset_of!(doorbell_value, writes) == WORD);
    assert!(offset_of!(doorbell_value, started) == 2 * WORD);
};

/// The number of slots in a word of a bitmap.
const BITS: usize = u64::BITS as usize;

/// The last values of a context.
pub(crate) struct Values {
    pages: Arc<MmapPages<Words>>,
    len: u32,
    /// The slots that have a region, a bit each. The lock of the regions protects them.
    taken: KVVec<Atomic<u64>>,
}

impl Values {
    /// Creates `len` slots, none of which was written. Process context.
    pub(crate) fn new(len: u32, flags: Flags) -> Result<Arc<Self>> {
        let words = || [const { Atomic::new(0u64) }; 8];
        let (pages, _) = MmapPages::new(len as usize, words, flags)?;
        let mut taken = KVVec::with_capacity((len as usize).div_ceil(BITS), flags)?;
        for _ in 0..(len as usize).div_ceil(BITS) {
            taken.push(Atomic::new(0u64), flags)?;
        }
        Ok(Arc::new(Self { pages, len, taken }, flags)?)
    }

    /// Returns the number of slots.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Maps the slots to `vma`, from the start, read-only. Call it in an mmap hook.
    ///
    /// # Errors
    ///
    /// EINVAL, EACCES: see the UAPI header.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        self.pages.map(vma)
    }

    /// Stores `value` as the last one of `slot`.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[inline]
    pub(crate) fn store(&self, slot: u16, value: u64) {
        let Some([last, writes, started, ..]) = self.pages.objects().get(usize::from(slot)) else {
            return;
        };
        // A writer that is preempted in between would make the readers wait.
        let _preemption = Unpreempted::new();
        // ORDERING: The releases of the value and of `writes` pair with the loads in
        // `ValueMapping::try_read`. `started` needs none of its own: the release of the value orders it.
        started.add(1u64, Relaxed);
        // Release: a reader that loads this value finds the write started.
        last.store(value, Release);
        // Release: a reader that finds the write complete loads this value, or a later one.
        writes.fetch_add(1u64, Release);
    }

    /// Returns the word and the bit of `slot`.
    fn taken(&self, slot: u16) -> Option<(&Atomic<u64>, u64)> {
        let slot = usize::from(slot);
        Some((self.taken.get(slot / BITS)?, 1 << (slot % BITS)))
    }

    /// Takes `slot` for a region. Returns false if it is taken. `_edit` proves that the caller
    /// owns the lock of the regions.
    pub(super) fn take(&self, _edit: &Edit<'_, Key, Region>, slot: u16) -> bool {
        let Some((word, bit)) = self.taken(slot) else {
            return false;
        };
        // ORDERING: None: the lock of the regions protects the bitmap.
        let before = word.load(Relaxed);
        word.store(before | bit, Relaxed);
        before & bit == 0
    }

    /// Gives `slot` back. `_edit` as of [`Values::take`].
    pub(super) fn give_back(&self, _edit: &Edit<'_, Key, Region>, slot: u16) {
        // ORDERING: None: the lock of the regions protects the bitmap.
        if let Some((word, bit)) = self.taken(slot) {
            word.store(word.load(Relaxed) & !bit, Relaxed);
        }
    }
}
