// SPDX-License-Identifier: GPL-2.0

//! Objects that the KUnit suites of the abstractions need.
//!
//! KUnit runs a test in a kernel thread, which cannot create an eventfd. So the suites use those of the
//! process that loads the module.

// No examples: only tests use this.

use super::{
    eventfd::EventFdFile,
    wait::wait_until,
    wait_queue::WaitQueue, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    bindings as kbindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    types::Opaque, //
};

/// The eventfds that a suite can use, each once.
const EVENTFDS: usize = 6;

/// The descriptors that are searched for them.
const FIRST_FD: i32 = 3;
const LAST_FD: i32 = 40;

// A file, or null. Zero-initialised: there are none.
static FILES: [Atomic<usize>; EVENTFDS] = [const { Atomic::new(0) }; EVENTFDS];

/// Takes the eventfds of the process that loads the module, in the order of their descriptors, and closes
/// the descriptors. The module's `init` calls this.
pub(crate) fn take_eventfds() {
    let fds = FIRST_FD..LAST_FD;
    let files = fds.filter_map(|fd| Some((fd, EventFdFile::from_fd(fd).ok()?)));
    for (slot, (fd, file)) in FILES.iter().zip(files) {
        // SAFETY: The process is in a system call that loads a module. It has no `LocalEventFd`.
        unsafe { kbindings::close_fd(fd as u32) };
        // ORDERING: None: `init` returns before the first suite starts.
        slot.store(file.into_raw().addr().get(), Relaxed);
    }
}

/// Returns the eventfd `index`. If there is none, or if it was returned before, marks the current test as
/// skipped. The lab gives the last one EFD_SEMAPHORE.
pub(crate) fn eventfd(index: usize) -> Option<EventFdFile> {
    // ORDERING: None: `init` has stored it before the suite has started.
    let file = FILES.get(index).map(|slot| slot.xchg(0usize, Full));
    let file = NonNull::new(core::ptr::with_exposed_provenance_mut(file.unwrap_or(0)));
    if file.is_none() {
        // SAFETY: No requirements.
        unsafe { bindings::doorbell_kunit_skip(c"no eventfd from insmod".as_char_ptr()) };
    }
    // SAFETY: It comes from `into_raw`, once.
    file.map(|file| unsafe { EventFdFile::from_raw(file) })
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

/// Returns true in hard interrupt context. Any context.
pub(crate) fn in_hardirq() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_in_hardirq() }
}
