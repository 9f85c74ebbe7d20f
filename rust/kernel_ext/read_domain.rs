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

use super::wait::wait_until;
use kernel::{
    alloc::Flags,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::smp_mb,
        Arc,
        Mutex,
        MutexGuard, //
    }, //
};

/// The number of readers that began on a CPU, for each of the two phases.
#[repr(align(64))]
struct Slot([Atomic<u32>; 2]);

/// A set of lists and arrays with common grace periods: a grace period waits for the readers of
/// all.
#[pin_data]
pub(crate) struct ReadDomain {
    /// One per CPU; at least one.
    slots: KVVec<Slot>,
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
        let cpus = nr_cpu_ids().max(1) as usize;
        let mut slots = KVVec::with_capacity(cpus, flags)?;
        for _ in 0..cpus {
            slots.push(Slot([const { Atomic::new(0) }; 2]), flags)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                slots,
                phase: Atomic::new(0),
                changes <- new_mutex!((), "doorbell_changes"),
                waiting <- new_mutex!((), "doorbell_waiting"),
            }),
            flags,
        )
    }

    /// Begins a read. The reader may sleep. Any context but NMI.
    ///
    /// An object that the reader reaches after this is not freed before the returned guard is
    /// dropped. That holds if a writer frees the object only after making it unreachable and then
    /// calling [`ReadDomain::synchronize`].
    #[inline]
    pub(super) fn read(&self) -> ReadGuard<'_> {
        // Migration to another CPU does no harm: a slot is only a counter that other CPUs hardly
        // use.
        let cpu = CpuId::current().as_u32() as usize;
        let slot = self.slots.get(cpu).unwrap_or(&self.slots[0]);
        let active = &slot.0[(self.phase.load(Relaxed) & 1) as usize];
        // Fully ordered. `synchronize` has a full barrier, too, between making an object
        // unreachable and polling this counter. Either it sees this reader, or the reader does not
        // reach that object.
        active.fetch_add(1u32, Full);
        ReadGuard { active }
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
        smp_mb(kernel::sync::barrier::Full);
        let _waiting = self.waiting.lock();
        let phase = self.phase.load(Relaxed) & 1;
        // A reader that loaded the phase before the previous flip may use this counter. Such readers
        // are few, and must be gone before the next flip.
        self.drain(phase ^ 1);
        self.phase.store(phase ^ 1, Relaxed);
        self.drain(phase);
    }

    /// Waits until each counter of `phase` was zero once.
    fn drain(&self, phase: u32) {
        for slot in self.slots.iter() {
            // The readers' accesses are ordered before those that the caller makes next.
            let active = &slot.0[(phase & 1) as usize];
            wait_until(|| (active.load(Acquire) == 0).then_some(()));
        }
    }
}

/// Proof that a reader has begun. If it is leaked, grace periods never end.
#[must_use = "if unused, the read ends at once"]
pub(super) struct ReadGuard<'a> {
    active: &'a Atomic<u32>,
}

impl Drop for ReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.active.fetch_sub(1u32, Release);
    }
}
