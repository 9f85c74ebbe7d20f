// SPDX-License-Identifier: GPL-2.0

//! The waiters of a line: threads in DOORBELL_WAIT.
//!
//! Waiters are the only trigger of their line. The line's counter of deliveries takes the place of an
//! eventfd's counter: the waiters consume the deliveries that `taken` of the line's status does not cover
//! yet. So a delivery adds to a counter that exists anyway, and wakes one waiter. It needs no eventfd, and
//! may happen in an eventfd's wake callback.

use super::{
    outputs::{
        Output,
        Triggers, //
    },
    state,
    Line, //
};
use crate::kernel_ext::{
    handoff_lock::IN_PROGRESS,
    nospec,
    read_once::SetOnceArc,
    swait_queue::SwaitQueue,
    uaccess::PageFault,
    wait_queue::Deadline, //
};
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

/// The waiters of a line. Once they exist, they exist as long as the context, assigned or not.
#[pin_data]
pub(crate) struct Waiters {
    #[pin]
    queue: SwaitQueue,
    /// The number of assignments and deassignments. It is odd while the waiters are assigned.
    epoch: Atomic<u64>,
}

impl Waiters {
    /// Creates an initialiser for waiters that are not assigned.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- SwaitQueue::new(),
            epoch: Atomic::new(0),
        })
    }

    /// Returns the identity, which no other output has at the same time.
    pub(crate) fn id(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Wakes a waiter for a delivery, which has been counted, or after the waiters were deassigned. In the
    /// latter case each waiter wakes the next one.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[inline(always)]
    pub(crate) fn wake(&self) {
        self.queue.wake_one();
    }

    /// Begins the next epoch. The caller owns the line.
    fn next_epoch(&self) {
        // ORDERING: The release pairs with the loads in `Wait::new` and `Wait::is_over`: `taken` was set before,
        // and no delivery of the last epoch wakes a waiter. The load needs no order: the owner alone writes.
        let next = self.epoch.load(Relaxed).wrapping_add(1);
        self.epoch.store(next, Release);
    }
}

/// The waiters of all lines of a context.
pub(crate) struct AllWaiters {
    lines: KVVec<SetOnceArc<Waiters>>,
}

impl AllWaiters {
    /// Creates a table for `len` lines without waiters. Process context.
    pub(crate) fn new(len: usize, flags: Flags) -> Result<Self> {
        let mut lines = KVVec::with_capacity(len, flags)?;
        for _ in 0..len {
            lines.push(SetOnceArc::new(), flags)?;
        }
        Ok(Self { lines })
    }

    /// Returns the waiters of the line with that number, if it ever had any. Any context.
    #[inline(always)]
    pub(crate) fn get(&self, line: u32) -> Option<&Waiters> {
        nospec::get(&self.lines, line as usize)?.get()
    }

    /// Returns a reference to the waiters of a line. If it never had any, they are `new` from now on.
    pub(crate) fn get_or_set(&self, line: u32, new: Option<Arc<Waiters>>) -> Option<Arc<Waiters>> {
        let slot = nospec::get(&self.lines, line as usize)?;
        if let Some(new) = new {
            slot.set(new);
        }
        slot.get_arc().map(Into::into)
    }

    /// Returns the size in bytes, with that of all waiters; zero if no line has had waiters.
    pub(crate) fn memory(&self) -> usize {
        let waiters = self.lines.iter().filter(|slot| slot.get().is_some());
        match waiters.count() {
            0 => 0,
            some => some * size_of::<Waiters>() + self.lines.len() * size_of::<usize>(),
        }
    }
}

/// A wait for the deliveries of a line, which has not begun yet.
pub(crate) struct Wait<'a> {
    line: Pin<&'a Line>,
    waiters: &'a Waiters,
    epoch: u64,
}

impl<'a> Wait<'a> {
    /// Creates a wait for `line`, whose waiters are `waiters`. Any context.
    ///
    /// # Errors
    ///
    /// ENOENT: the waiters are not assigned.
    #[inline(always)]
    pub(crate) fn new(line: Pin<&'a Line>, waiters: &'a Waiters) -> Result<Self> {
        // ORDERING: Pairs with the release in `Waiters::next_epoch`.
        let epoch = waiters.epoch.load(Acquire);
        if epoch % 2 == 0 {
            return Err(ENOENT);
        }
        Ok(Self {
            line,
            waiters,
            epoch,
        })
    }

    /// Consumes all deliveries of the line. Sleeps until there is one. Deliveries that are there are consumed
    /// even if a signal is pending or the deadline has passed.
    ///
    /// `store` gets their number before they are consumed. If it fails, nothing is consumed. If another
    /// thread consumes them meanwhile, `store` is called again, or not. It must fail instead of taking a page
    /// fault if [`PageFault::Forbidden`] is passed.
    ///
    /// # Context
    ///
    /// Process context without locks.
    ///
    /// # Errors
    ///
    /// - ENOENT: the waiters were deassigned.
    /// - ERESTARTSYS: a signal arrived.
    /// - ETIMEDOUT: the deadline passed.
    /// - The error of `store`.
    #[inline(always)]
    pub(crate) fn wait(
        &self,
        deadline: Deadline,
        mut store: impl FnMut(u64, PageFault) -> Result,
    ) -> Result {
        let mut woken = false;
        self.waiters.queue.wait_interruptible(
            deadline,
            || self.is_over() || self.line.has_untaken(),
            || {
                if self.is_over() {
                    return Some(Err(ENOENT));
                }
                let taken = self.line.take_deliveries(&mut |count| {
                    // A page fault may last until another waiter has run, and this thread may have been
                    // woken in its place.
                    if woken && self.waiters.queue.has_waiter() {
                        if store(count, PageFault::Forbidden).is_ok() {
                            return Ok(());
                        }
                        self.waiters.queue.wake_one();
                    }
                    store(count, PageFault::Allowed)
                });
                woken = true;
                taken
            },
        )?
    }

    /// Returns true if the waiters were deassigned since.
    #[inline(always)]
    fn is_over(&self) -> bool {
        // ORDERING: Pairs with the release in `Waiters::next_epoch`.
        self.waiters.epoch.load(Acquire) != self.epoch
    }
}

impl Line {
    /// Returns true if the line's trigger is its waiters. Any context.
    pub(crate) fn has_waiters(&self) -> bool {
        self.lock.word() & state::WAITERS != 0
    }

    /// Makes `waiters` the only trigger, as [`Line::add_trigger`] does with another one. The line must have
    /// no trigger, and the caller keeps others from assigning one. They consume the deliveries from now on.
    ///
    /// # Context and errors
    ///
    /// As of [`Line::add_trigger`].
    pub(crate) fn add_waiters(
        self: Pin<&Self>,
        waiters: Arc<Waiters>,
        room: &mut KVec<Output>,
    ) -> Result {
        let mut output = Some(Output::Waiters(waiters.clone()));
        self.add_output(&mut output, room, || {
            let stats = self.lock.stats();
            // ORDERING: Pairs with the load in `Line::take_deliveries`, as the release in `Waiters::next_epoch`
            // does.
            stats.taken.store(stats.deliveries.get(), Release);
            waiters.next_epoch();
            self.lock
                .update(IN_PROGRESS, |word| state::set_waiters(word, true));
        })
    }

    /// Removes `waiters` from the triggers, and ends their epoch. Returns the trigger, if they were one: the
    /// caller drops it, and then wakes the waiters. Context as of [`Line::lock_triggers`].
    pub(crate) fn remove_waiters(self: Pin<&Self>, waiters: &Waiters) -> Option<Output> {
        self.lock_triggers(|triggers: &mut Triggers| {
            let removed = triggers.remove(waiters.id())?;
            waiters.next_epoch();
            self.lock.update(IN_PROGRESS | state::WAITERS, |word| {
                state::set_waiters(word, false)
            });
            Some(removed)
        })
    }

    /// Returns true if there are deliveries that no waiter has consumed. Any context.
    #[inline(always)]
    fn has_untaken(&self) -> bool {
        let stats = self.lock.stats();
        // ORDERING: None: a caller that sleeps looks after the barrier of `doorbell_swait_prepare()`, and one
        // that consumes looks again.
        stats.deliveries.get() != stats.taken.load(Relaxed)
    }

    /// Consumes the deliveries that no waiter has consumed, if there are any. `store` gets their number
    /// before.
    #[inline(always)]
    fn take_deliveries(&self, store: &mut impl FnMut(u64) -> Result) -> Option<Result> {
        let stats = self.lock.stats();
        loop {
            // In this order, because `taken` follows: so it is never beyond the deliveries.
            // ORDERING: The load pairs with the exchange below of another waiter, and with the store in
            // `Line::add_waiters`. The exchange pairs with the claim of the line by the thread that rang, as in
            // `Line::ring_idle_waiters`.
            let taken = stats.taken.load(Acquire);
            let deliveries = stats.deliveries.get();
            if deliveries == taken {
                return None;
            }
            let count = deliveries.wrapping_sub(taken);
            if let Err(error) = store(count) {
                return Some(Err(error));
            }
            // Pairs with the claim of the line by the ringing thread: what that thread has written before
            // is visible after this.
            if stats.taken.cmpxchg(taken, deliveries, Full).is_ok() {
                self.trace_take(count);
                return Some(Ok(()));
            }
        }
    }
}
