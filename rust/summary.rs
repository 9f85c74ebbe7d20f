// SPDX-License-Identifier: GPL-2.0

//! The summary of a context: a trigger of many lines that says which of them have fired.

pub(crate) mod words;

use self::words::{
    mark,
    words_for,
    Marked,
    Words, //
};
use crate::{
    kernel_ext::{
        fetch_or::fetch_or,
        mmap_pages::MmapPages,
        poll_queue::PollQueue, //
    },
    uapi::{
        doorbell_summary_map,
        DOORBELL_MAX_LINES,
        DOORBELL_SUMMARY_GROUPS, //
    }, //
};
use core::mem::offset_of;
use kernel::{
    alloc::Flags,
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

// The pure function and userspace must agree on the places of the words.
const _: () = {
    const WORD: usize = size_of::<u64>();
    assert!(offset_of!(doorbell_summary_map, top) == words::TOP * WORD);
    assert!(offset_of!(doorbell_summary_map, groups) == words::GROUPS * WORD);
    assert!(offset_of!(doorbell_summary_map, lines) == words::LINES * WORD);
    assert!(DOORBELL_SUMMARY_GROUPS as usize == words::MAX_GROUPS);
    assert!(DOORBELL_MAX_LINES as usize <= words::MAX_GROUPS * (u64::BITS * u64::BITS) as usize);
};

/// A summary. Userspace maps its words and may write anything to them.
pub(crate) struct Summary {
    pages: Arc<MmapPages<Atomic<u64>>>,
    poll: Arc<PollQueue>,
}

impl Words for [Atomic<u64>] {
    #[inline(always)]
    fn load(&self, at: usize) -> u64 {
        // ORDERING: None: `mark` uses the value only after a fully ordered operation, and the consumer repeats
        // it.
        self[at].load(Relaxed)
    }

    #[inline(always)]
    fn fetch_or(&self, at: usize, bits: u64) -> u64 {
        fetch_or(&self[at], bits)
    }
}

impl Summary {
    /// Creates a summary of a context with `nr_lines` lines that wakes `poll`. Process context.
    pub(crate) fn new(nr_lines: u32, poll: Arc<PollQueue>, flags: Flags) -> Result<Arc<Self>> {
        let (pages, _) = MmapPages::new(words_for(nr_lines), || Atomic::new(0u64), flags)?;
        Ok(Arc::new(Self { pages, poll }, flags)?)
    }

    /// Returns the identity, which no other output has at the same time.
    pub(crate) fn id(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Returns the size of the words in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of_val(self.pages.objects())
    }

    /// Maps the words to `vma`, from the start. Call it in an mmap hook.
    ///
    /// # Errors
    ///
    /// EINVAL, EACCES: see the UAPI header.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        self.pages.map_writable(vma)
    }

    /// Returns true if a line has fired that was not taken. Any context.
    pub(crate) fn has_fired(&self) -> bool {
        self.pages.objects().load(words::TOP) != 0
    }

    /// Records that `line` has delivered, and wakes the waiters if they may sleep. `mask` is added
    /// to the key of their wake-up. Context as of [`PollQueue::wake`].
    #[inline(never)]
    pub(crate) fn deliver(&self, line: u32, mask: u32) {
        let wakes = match mark(self.pages.objects(), line) {
            Marked::Before => false,
            // On PREEMPT_RT the producer that has to wake may be preempted before it does.
            Marked::Joined => cfg!(CONFIG_PREEMPT_RT),
            Marked::First => true,
        };
        if wakes {
            self.poll.wake(mask);
        }
    }
}
