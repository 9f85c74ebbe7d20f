// SPDX-License-Identifier: GPL-2.0

//! SRCU-like readers; writers poll per-CPU counters.
//!
//! An SRCU grace period is the work of a kworker. A writer switches to it and back. If another
//! caller has requested a grace period without waiting for it, the kworker delays the next one. So
//! a grace period takes a tenth of a millisecond at best, and often several milliseconds. Here the
//! writer itself polls the readers, and most of the time there is none.
//!
//! A reader increments a counter of its CPU, and decrements the same counter at the end. A writer
//! polls each counter until it is zero. A reader that increments it later cannot reach the object
//! that the writer has unlinked. There may always be some reader, so each CPU has two counters. New readers use the counter that the
//! writer does not poll.
//!
//! Lockdep knows the readers of all domains as one lock, as it knows those of RCU. It reports a
//! reader that waits for readers, and a mutex that a reader acquires while its owner waits for
//! readers.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{read_domain::ReadDomain, shared_list::SharedList};
//!
//! // Lists of one domain share the counters of their readers. One grace period serves all
//! // of them.
//! let domain = ReadDomain::new(GFP_KERNEL)?;
//! let lists = [SharedList::new(domain.clone()), SharedList::new(domain)];
//! for list in &lists {
//!     list.push(list.node(7, GFP_KERNEL)?);
//! }
//! lists[0].as_reader(|_| lists[1].for_each(|number| pr_info!("{number}\n")));
//! lists[0].synchronize();
//! ```

use super::{
    compat::barrier::{
        smp_mb,
        Full, //
    },
    read_once::{
        read_once,
        SetOnceArc, //
    },
    wait::wait_until, //
};
use crate::bindings;
use kernel::{
    alloc::Flags,
    cpu::nr_cpu_ids,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        MutexGuard, //
    },
    types::NotThreadSafe, //
};

/// The number of readers that began on a CPU, for each of the two phases: `struct doorbell_readers`.
#[repr(C, align(64))]
struct Slot([Atomic<u32>; 2]);

const _: () = assert!(size_of::<Slot>() == 1 << kernel::bindings::L1_CACHE_SHIFT);

/// The readers of a domain.
///
/// # Invariants
///
/// There is a slot for each possible CPU.
struct Readers(KVVec<Slot>);

/// A set of lists and arrays with common grace periods: a grace period waits for the readers of
/// all.
#[pin_data]
pub(crate) struct ReadDomain {
    /// Set by [`ReadDomain::prepare`], before the first object can be reached. They take 64 bytes for
    /// each CPU, and most domains never have an object.
    readers: SetOnceArc<Readers>,
    /// The index of the counters that new readers use: 0 or 1.
    phase: Atomic<u32>,
    /// Serialises the writers of all lists and arrays.
    #[pin]
    changes: Mutex<()>,
    /// Serialises grace periods.
    #[pin]
    waiting: Mutex<()>,
}

impl ReadDomain {
    /// Creates a domain without readers. Process context.
    pub(crate) fn new(flags: Flags) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                readers: SetOnceArc::new(),
                phase: Atomic::new(0),
                changes <- new_mutex!((), "doorbell_changes"),
                waiting <- new_mutex!((), "doorbell_waiting"),
            }),
            flags,
        )
    }

    /// Allocates the counters of readers. Before, no reader reaches an object. Process context.
    pub(super) fn prepare(&self, flags: Flags) -> Result {
        if self.readers.get().is_some() {
            return Ok(());
        }
        let cpus = nr_cpu_ids() as usize;
        let mut slots = KVVec::with_capacity(cpus, flags)?;
        for _ in 0..cpus {
            slots.push(Slot([const { Atomic::new(0) }; 2]), flags)?;
        }
        // INVARIANT: There are `nr_cpu_ids()` slots. If another writer was faster, its slots are used.
        self.readers.set(Arc::new(Readers(slots), flags)?);
        Ok(())
    }

    /// Begins a read, or returns [`None`] if the domain was not prepared yet, so that there is no object. The
    /// reader may sleep. Any context but NMI.
    ///
    /// An object that the reader reaches after this is not freed before the returned guard is
    /// dropped. That holds if a writer frees the object only after making it unreachable and then
    /// calling [`ReadDomain::synchronize`].
    #[inline]
    pub(super) fn read(&self) -> Option<ReadGuard<'_>> {
        let readers = self.readers.get()?;
        let slots = readers.0.as_ptr().cast_mut().cast();
        // Fully ordered. `synchronize` has a full barrier, too, between making an object
        // unreachable and polling this counter. Either it sees this reader, or the reader does not
        // reach that object.
        //
        // SAFETY: By the type invariants of `Readers` there is a slot for this CPU. A slot has the same
        // layout as the C type, and its counters are atomic.
        let active =
            unsafe { &*bindings::doorbell_read_begin(slots, read_once(&self.phase)).cast() };
        Some(ReadGuard {
            active,
            _not_send: NotThreadSafe,
        })
    }

    /// Locks out other writers. Process context.
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.changes.lock()
    }

    /// Waits for a grace period: for all readers that may have reached an object that the caller
    /// made unreachable before.
    ///
    /// # Context
    ///
    /// Process context, and not that of a reader of the domain.
    pub(super) fn synchronize(&self) {
        // SAFETY: No requirements.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        unsafe {
            bindings::doorbell_wait_for_readers()
        };
        let Some(readers) = self.readers.get() else {
            return;
        };
        // ORDERING: The barrier pairs with that in `doorbell_read_begin()`. The phase needs no order: a reader
        // may use either counter, and both are polled.
        smp_mb(Full);
        let _waiting = self.waiting.lock();
        let phase = self.phase.load(Relaxed) & 1;
        // A reader that loaded the phase before the previous flip may use this counter. Such readers
        // are few, and must be gone before the next flip.
        readers.drain(phase ^ 1);
        self.phase.store(phase ^ 1, Relaxed);
        readers.drain(phase);
    }
}

impl Readers {
    /// Waits until each counter of `phase` was zero once.
    fn drain(&self, phase: u32) {
        for slot in self.0.iter() {
            // The readers' accesses are ordered before those that the caller makes next.
            let active = &slot.0[(phase & 1) as usize];
            // ORDERING: Pairs with the barrier in `doorbell_read_end()`.
            wait_until(|| (active.load(Acquire) == 0).then_some(()));
        }
    }
}

/// Proof that a reader has begun. If it is leaked, grace periods never end.
#[must_use = "if unused, the read ends at once"]
pub(super) struct ReadGuard<'a> {
    active: &'a Atomic<u32>,
    /// Lockdep has the read among the locks of this task.
    _not_send: NotThreadSafe,
}

impl Drop for ReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The pointer is valid; the counter is an atomic one, as in `read`.
        unsafe { bindings::doorbell_read_end(self.active.as_ptr().cast()) };
    }
}

/// Returns true if lockdep finds a reader of any domain in this task, for tests. Any context.
#[cfg(all(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_DOORBELL_KUNIT_TEST))]
pub(crate) fn reads() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_reads() }
}
