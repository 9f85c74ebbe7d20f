// SPDX-License-Identifier: GPL-2.0

//! Readers that can be waited for.
//!
//! What SRCU is for. Its grace periods are the work of a kworker, to which a waiter switches and
//! back, and which lets time pass if somebody has asked for one without waiting; so one takes a tenth
//! of a millisecond at best, and several milliseconds often. Here whoever waits looks at the readers
//! himself, and most of the time there is none.
//!
//! A reader adds one to a counter of the CPU that it is on, and takes it back from the same. A waiter
//! has to see each counter at zero once: who reads then has begun after the waiter. As there may
//! always be some reader, there are two counters per CPU, and new readers use the one that is not
//! being waited for.

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

/// The readers that began on a CPU, in each of the two phases.
#[repr(align(64))]
struct Slot([Atomic<u32>; 2]);

/// What some lists and arrays have in common: whoever reads one of them is waited for by all.
#[pin_data]
pub(crate) struct ReadDomain {
    /// One per CPU; at least one.
    slots: KVVec<Slot>,
    /// Which counters new readers use: 0 or 1.
    phase: Atomic<u32>,
    /// Held to change a list or an array.
    #[pin]
    changes: Mutex<()>,
    /// Held to wait.
    #[pin]
    waiting: Mutex<()>,
}

impl ReadDomain {
    /// Process context.
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

    /// Begins to read. Any context but NMI. Who reads may sleep.
    ///
    /// What the reader reaches after this is not freed before the returned object is dropped, if it is
    /// freed by someone who has made it unreachable and then called [`ReadDomain::synchronize`].
    #[inline]
    pub(super) fn read(&self) -> ReadGuard<'_> {
        // Whichever CPU it is: a slot is only a counter that others hardly use.
        let cpu = CpuId::current().as_u32() as usize;
        let slot = self.slots.get(cpu).unwrap_or(&self.slots[0]);
        let active = &slot.0[(self.phase.load(Relaxed) & 1) as usize];
        // Fully ordered, as is what `synchronize` has between making something unreachable and looking here:
        // either it sees this reader, or the reader does not reach that.
        active.fetch_add(1u32, Full);
        ReadGuard { active }
    }

    /// Keeps others from changing something. Process context.
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.changes.lock()
    }

    /// Waits for all who have begun to read and may have reached what the caller has made unreachable
    /// before. Process context, and not by someone who reads.
    pub(super) fn synchronize(&self) {
        smp_mb(kernel::sync::barrier::Full);
        let _waiting = self.waiting.lock();
        let phase = self.phase.load(Relaxed) & 1;
        // Those who looked at the phase long ago and began just now; they are few.
        self.drain(phase ^ 1);
        self.phase.store(phase ^ 1, Relaxed);
        self.drain(phase);
    }

    /// Sees each counter of `phase` at zero.
    fn drain(&self, phase: u32) {
        for slot in self.slots.iter() {
            // What the readers did comes before what the caller does.
            let active = &slot.0[(phase & 1) as usize];
            wait_until(|| (active.load(Acquire) == 0).then_some(()));
        }
    }
}

/// Somebody reads. If it is leaked, others wait for ever.
#[must_use = "if unused, reading ends at once"]
pub(super) struct ReadGuard<'a> {
    active: &'a Atomic<u32>,
}

impl Drop for ReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.active.fetch_sub(1u32, Release);
    }
}
