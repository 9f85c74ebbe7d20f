// SPDX-License-Identifier: GPL-2.0

//! Objects that the KUnit suites of the abstractions need.
//!
//! KUnit runs a test in a kernel thread, which cannot create an eventfd. So the suites use those of the
//! process that loads the module, if it names them. Otherwise the tests that need them are skipped.
// begin out of tree
//! tools/lab/guest/insmod-kunit names them.
// end out of tree

// No examples: only tests use this.

use super::{
    deferred::{
        raw_field,
        IrqWork,
        Run, //
    },
    eventfd::EventFdFile,
    wait::wait_until,
    wait_queue::WaitQueue, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    bindings as kbindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    time::{
        delay::udelay,
        Delta, //
    },
    types::Opaque, //
};

/// The eventfds that a suite can use, each once.
const EVENTFDS: usize = 6;

// A file, or null. Zero-initialised: there are none.
static FILES: [Atomic<usize>; EVENTFDS] = [const { Atomic::new(0) }; EVENTFDS];

/// References to the eventfds that the parameter `kunit_eventfds` names: descriptors of the process that loads
/// the module. The descriptors stay open. The drop releases the references that no test took.
pub(crate) struct TestEventFds(());

impl TestEventFds {
    /// Takes the references. The module's `init` calls this.
    ///
    /// # Errors
    ///
    /// - EBADF: a descriptor is not open.
    /// - EINVAL: one is not an eventfd.
    pub(crate) fn take() -> Result<Self> {
        let taken = Self(());
        for (index, slot) in (0..).zip(&FILES) {
            // SAFETY: No requirements.
            let fd = unsafe { bindings::doorbell_kunit_eventfd(index) };
            if fd >= 0 {
                let file = EventFdFile::from_fd(fd)?.into_raw();
                // ORDERING: None: `init` returns before the first suite starts.
                slot.store(file.as_ptr().expose_provenance(), Relaxed);
            }
        }
        Ok(taken)
    }
}

impl Drop for TestEventFds {
    fn drop(&mut self) {
        (0..EVENTFDS).for_each(|index| drop(take_file(index)));
    }
}

fn take_file(index: usize) -> Option<EventFdFile> {
    // ORDERING: None: `init` has stored it before the suite has started.
    let file = FILES.get(index)?.xchg(0usize, Full);
    let file = NonNull::new(core::ptr::with_exposed_provenance_mut(file))?;
    // SAFETY: It comes from `into_raw`, once.
    Some(unsafe { EventFdFile::from_raw(file) })
}

/// Returns the eventfd `index`. If there is none, or if it was returned before, marks the current test as
/// skipped. The last one has EFD_SEMAPHORE.
pub(crate) fn eventfd(index: usize) -> Option<EventFdFile> {
    let file = take_file(index);
    if file.is_none() {
        skip(c"no eventfd; see the parameter kunit_eventfds");
    }
    file
}

/// Marks the current test as skipped.
pub(crate) fn skip(reason: &'static CStr) {
    // SAFETY: The string is terminated.
    unsafe { bindings::doorbell_kunit_skip(reason.as_char_ptr()) };
}

/// Tests whether a guard excludes another thread. `start` makes that thread run, which counts each run in
/// `started`, waits until `go` is at least that, counts in `trying`, and then acquires the lock. With the guard
/// of `lock`, `holds` must return true.
///
/// The other thread may not run while this holds the lock with interrupts off, if it needs this CPU. So there
/// are several rounds, and if none has shown anything, the test is skipped.
pub(crate) fn excludes<G>(
    turns: &Turns,
    start: impl Fn(),
    lock: impl Fn() -> G,
    holds: impl Fn(&mut G, u64) -> bool,
) -> bool {
    for round in 1..=200 {
        start();
        turns.started.wait_for(round);
        let mut guard = lock();
        turns.go.add(1);
        for _ in 0..200 {
            udelay(Delta::from_micros(10));
            if turns.trying.get() == round {
                break;
            }
        }
        let tried = turns.trying.get() == round;
        udelay(Delta::from_micros(200));
        if !holds(&mut guard, round - 1) {
            return false;
        }
        drop(guard);
        turns.ended.wait_for(round);
        if tried {
            return true;
        }
    }
    skip(c"the other thread never ran while the lock was held");
    true
}

/// The numbers of steps that the threads of [`excludes`] have made.
pub(crate) struct Turns {
    started: Tally,
    go: Tally,
    trying: Tally,
    pub(crate) ended: Tally,
}

impl Turns {
    /// Creates zeroes.
    pub(crate) fn new() -> Self {
        Self {
            started: Tally::new(),
            go: Tally::new(),
            trying: Tally::new(),
            ended: Tally::new(),
        }
    }

    /// Calls `acquire`, which needs the lock, at the time that the test wants. Process context.
    pub(crate) fn take(&self, acquire: impl FnOnce()) {
        self.go.wait_for(self.started.add(1));
        self.trying.add(1);
        acquire();
        self.ended.add(1);
    }
}

/// A number that the threads and callbacks of a test share.
pub(crate) struct Tally(Atomic<u64>);

impl Tally {
    /// Creates a zero.
    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds `number`, and returns the sum. Any context.
    pub(crate) fn add(&self, number: u64) -> u64 {
        // ORDERING: Pairs with `Tally::get`: what the callback has done before is visible to the test.
        self.0.fetch_add(number, Full).wrapping_add(number)
    }

    /// Returns the number. Any context.
    pub(crate) fn get(&self) -> u64 {
        // ORDERING: Pairs with `Tally::add`.
        self.0.load(Acquire)
    }

    /// Waits until the number is at least `number`. Process context.
    pub(crate) fn wait_for(&self, number: u64) {
        wait_until(|| (self.get() >= number).then_some(()));
    }
}

/// A wait queue that nothing else uses.
#[pin_data]
pub(crate) struct OwnedWaitQueue {
    #[pin]
    queue: Opaque<kbindings::wait_queue_head>,
}

// SAFETY: A wait queue may be used from any thread. It has its own lock.
unsafe impl Send for OwnedWaitQueue {}
// SAFETY: As above.
unsafe impl Sync for OwnedWaitQueue {}

impl OwnedWaitQueue {
    /// Creates an initialiser for an empty queue.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- Opaque::ffi_init(|queue| {
                // SAFETY: The queue is valid for writes.
                unsafe { bindings::doorbell_poll_init(queue) }
            }),
        })
    }

    /// Calls `f` with the queue.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&WaitQueue) -> R) -> R {
        // SAFETY: The pointer is not null. The queue is pinned, because only an initialiser creates it, and
        // it lives longer than the call of `f`; no test keeps a copy.
        f(unsafe { &WaitQueue::from_raw(NonNull::new_unchecked(self.queue.get())) })
    }
}

/// A CPU that is online. No test takes one offline.
#[derive(Clone, Copy)]
pub(crate) struct TestCpu(i32);

impl TestCpu {
    /// Returns two CPUs. If there is one only, marks the current test as skipped.
    pub(crate) fn two() -> Option<(Self, Self)> {
        // SAFETY: No requirements.
        let (one, other) = unsafe {
            (
                bindings::doorbell_kunit_cpu(0),
                bindings::doorbell_kunit_cpu(1),
            )
        };
        if other < 0 {
            skip(c"needs two CPUs");
            return None;
        }
        Some((Self(one), Self(other)))
    }

    /// Moves the current thread to this CPU, until the drop of the returned object. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO: the CPU is offline.
    pub(crate) fn stay(self) -> Result<Stay> {
        // SAFETY: It is a CPU.
        if unsafe { bindings::doorbell_kunit_stay_on(self.0) } {
            Ok(Stay(PhantomData))
        } else {
            Err(ENXIO)
        }
    }

    /// Queues the irq_work of `object` on this CPU, which must be another one and take interrupts. Returns false if
    /// that fails. Any context but NMI.
    pub(crate) fn queue<T: Run<IrqWork>>(self, object: Pin<&T>) -> bool {
        // SAFETY: It is a CPU. For the irq_work, as in `Run::queue`: it is queued when this returns.
        unsafe { bindings::doorbell_kunit_queue_on(raw_field::<T, IrqWork>(&object), self.0) }
    }
}

/// Proof that the current thread stays on a CPU.
pub(crate) struct Stay(PhantomData<*mut ()>);

impl Drop for Stay {
    fn drop(&mut self) {
        // SAFETY: No requirements.
        unsafe { bindings::doorbell_kunit_stay_on(-1) };
    }
}

/// Returns true in hard interrupt context. Any context.
pub(crate) fn in_hardirq() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_in_hardirq() }
}
