// SPDX-License-Identifier: GPL-2.0

//! The outputs of a line: eventfds, callbacks of other modules, the context's summary, and the line's waiters.
//!
//! The owner of the line signals the triggers on each delivery. The thread that makes another transition
//! signals the notifiers after it, without owning the line, so that they may use the line themselves. A
//! resamplefd is a notifier that belongs to an irqfd.

use super::{
    callback::Callback,
    hops_of_key,
    waiters::Waiters, //
    wake_key,
};
use crate::{
    kernel_ext::{
        alloc::user_alloc_flags,
        eventfd::{
            CountingEventFd,
            EventFd, //
        },
        lazy_vec::LazyVec,
        shared_list::SharedList, //
    },
    summary::Summary,
    uapi::{
        DOORBELL_MAX_TRIGGERS_PER_LINE,
        DOORBELL_NOTIFY_ACK,
        DOORBELL_NOTIFY_MASK,
        DOORBELL_NOTIFY_UNMASK, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

/// The maximum number of triggers of a line.
const MAX: usize = DOORBELL_MAX_TRIGGERS_PER_LINE as usize;

// `Triggers` has an index of this size.
const _: () = assert!(MAX <= u16::MAX as usize);

/// The events that a notifier may ask for.
pub(crate) const EVENTS: u32 = DOORBELL_NOTIFY_MASK | DOORBELL_NOTIFY_UNMASK | DOORBELL_NOTIFY_ACK;

/// An eventfd that a delivery signals with the number of its rings.
pub(crate) struct Counting {
    eventfd: CountingEventFd,
    /// The rings that the next signal adds. Only the owner of the line changes it.
    units: Atomic<u64>,
}

impl Counting {
    /// Signals the units, and leaves none. Context as of [`EventFd::signal`].
    fn deliver(&self, mask: u32) {
        // ORDERING: None: the owner of the line alone uses the units.
        let units = self.units.load(Relaxed);
        self.units.store(0u64, Relaxed);
        self.eventfd.signal(units, mask);
    }
}

/// An eventfd, a callback, the summary, or the waiters of a line.
pub(crate) enum Output {
    /// An eventfd, which is signalled.
    EventFd(EventFd),
    /// An eventfd, to which the number of rings is added.
    Counting(KBox<Counting>),
    /// A callback of another module, which is called.
    Callback(Callback),
    /// The context's summary, in which the line of that number is marked.
    Summary(Arc<Summary>, u32),
    /// The threads that wait for the line, which has no other trigger.
    Waiters(Arc<Waiters>),
}

impl Output {
    /// Creates an output that counts. Process context.
    pub(crate) fn counting(eventfd: CountingEventFd) -> Result<Self> {
        let units = Atomic::new(0u64);
        let counting = KBox::new(Counting { eventfd, units }, user_alloc_flags())?;
        Ok(Self::Counting(counting))
    }

    /// Returns true for an eventfd to which the number of rings is added.
    pub(crate) fn counts(&self) -> bool {
        matches!(self, Self::Counting(_))
    }

    /// Returns the identity, which no other output has at the same time.
    pub(crate) fn id(&self) -> usize {
        match self {
            Self::EventFd(eventfd) => eventfd.id(),
            Self::Counting(counting) => counting.eventfd.id(),
            Self::Callback(callback) => callback.id(),
            Self::Summary(summary, _) => summary.id(),
            Self::Waiters(waiters) => waiters.id(),
        }
    }

    /// Returns true for an eventfd, which userspace has assigned.
    pub(crate) fn is_eventfd(&self) -> bool {
        matches!(self, Self::EventFd(_) | Self::Counting(_))
    }

    /// Signals a delivery, as [`EventFd::signal`] does with `mask`. Context as of that.
    #[inline(always)]
    fn deliver(&self, mask: u32) {
        if let Self::EventFd(eventfd) = self {
            eventfd.signal(mask);
        } else {
            self.deliver_other(mask);
        }
    }

    /// Does what [`Output::deliver`] does if this is no eventfd. Context as of that.
    #[cold]
    fn deliver_other(&self, mask: u32) {
        match self {
            Self::EventFd(_) => {}
            Self::Counting(counting) => counting.deliver(mask),
            Self::Callback(callback) => callback.call_at(hops_of_key(mask), 0),
            Self::Summary(summary, line) => summary.deliver(*line, wake_key(mask)),
            Self::Waiters(waiters) => waiters.wake(),
        }
    }

    /// Signals `event`. Context as of [`EventFd::signal`].
    fn notify(&self, event: u32) {
        match self {
            Self::EventFd(eventfd) => eventfd.signal(0),
            Self::Callback(callback) => callback.call(event),
            // These are triggers only.
            Self::Summary(..) | Self::Counting(_) | Self::Waiters(_) => {}
        }
    }

    /// Does what [`Output::notify`] does, with `key` in the key of the wake-up.
    fn notify_relayed(&self, event: u32, key: u32) {
        match self {
            Self::EventFd(eventfd) => eventfd.signal(key),
            Self::Callback(callback) => callback.call_at(hops_of_key(key), event),
            Self::Summary(..) | Self::Counting(_) | Self::Waiters(_) => {}
        }
    }
}

/// The triggers of a line. Only the owner of the line has a `&mut` to them.
pub(crate) struct Triggers {
    outputs: LazyVec<Output>,
    /// The mask of the delivery that [`Triggers::signal_while`] has stopped.
    rest_mask: u32,
    /// Index of the first trigger that it has not signalled.
    rest_from: u16,
    /// The last delivery found no trigger, and none was added since.
    undelivered: bool,
}

impl Triggers {
    /// Creates an empty list.
    pub(crate) const fn new() -> Self {
        Self {
            outputs: LazyVec::new(),
            rest_mask: 0,
            rest_from: 0,
            undelivered: false,
        }
    }

    /// Returns the number of triggers.
    fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Returns their identities.
    fn ids(&self) -> impl Iterator<Item = usize> + '_ {
        self.outputs.iter().map(Output::id)
    }

    /// Returns true if a trigger counts.
    pub(crate) fn counts(&self) -> bool {
        self.outputs.iter().any(Output::counts)
    }

    /// Adds `units` to what the next signal adds to the triggers that count.
    pub(crate) fn add_units(&mut self, units: u32) {
        for output in self.outputs.iter() {
            if let Output::Counting(counting) = output {
                // ORDERING: None: the owner of the line alone uses the units.
                let sum = counting.units.load(Relaxed);
                counting.units.store(sum + u64::from(units), Relaxed);
            }
        }
    }

    /// Signals a delivery to all triggers, with `mask` in the key of the wake-ups. Context as of
    /// [`EventFd::signal`].
    #[inline(always)]
    pub(crate) fn signal(&mut self, mask: u32) {
        match &self.outputs[..] {
            [Output::EventFd(only)] => only.signal(mask),
            _ => self.signal_all(mask),
        }
    }

    /// Does what [`Triggers::signal`] does for any number of outputs of any kind. Cold, so that the only eventfd
    /// of most lines is on the straight path.
    #[cold]
    fn signal_all(&mut self, mask: u32) {
        self.undelivered |= self.outputs.is_empty();
        for output in self.outputs.iter() {
            output.deliver(mask);
        }
    }

    /// Wakes the waiters, which are the only trigger. Any context but NMI.
    #[inline(always)]
    pub(crate) fn wake_waiters(&mut self) {
        if let [Output::Waiters(waiters)] = &self.outputs[..] {
            waiters.wake();
        }
    }

    /// Signals like [`Triggers::signal`], but calls `more` after each four triggers, with the number of the
    /// next ones, and stops if that returns false. Returns false if triggers are left, for
    /// [`Triggers::signal_rest`].
    #[inline(always)]
    pub(crate) fn signal_while(&mut self, mask: u32, more: impl Fn(u32) -> bool) -> bool {
        match &self.outputs[..] {
            [Output::EventFd(only)] => {
                only.signal(mask);
                true
            }
            _ => self.signal_many(mask, more),
        }
    }

    /// Does what [`Triggers::signal_while`] does for any number of outputs of any kind.
    #[cold]
    fn signal_many(&mut self, mask: u32, more: impl Fn(u32) -> bool) -> bool {
        const STRIDE: usize = 4;
        self.undelivered |= self.outputs.is_empty();
        for (at, few) in self.outputs.chunks(STRIDE).enumerate() {
            if at > 0 && !more(few.len() as u32) {
                self.rest_mask = mask;
                self.rest_from = (at * STRIDE) as u16;
                return false;
            }
            for output in few {
                output.deliver(mask);
            }
        }
        true
    }

    /// Finishes the delivery that [`Triggers::signal_while`] has stopped. Context as of
    /// [`Triggers::signal`].
    pub(crate) fn signal_rest(&mut self) {
        for output in self.outputs.iter().skip(self.rest_from as usize) {
            output.deliver(self.rest_mask);
        }
    }

    /// Adds `output`. If the list is full, moves all outputs to `room`. Does not allocate.
    ///
    /// On success `room` has the memory that the caller frees after it has released the line.
    ///
    /// # Errors
    ///
    /// EEXIST: the output is in the list. ENOSPC: the line has the maximum number. EAGAIN: neither the
    /// list nor `room` has enough room; allocate with [`Triggers::room`] and try again.
    #[inline(always)]
    pub(crate) fn add(&mut self, output: &mut Option<Output>, room: &mut KVec<Output>) -> Result {
        let id = output.as_ref().map(Output::id);
        if self.ids().any(|other| Some(other) == id) {
            return Err(EEXIST);
        }
        if self.len() >= MAX {
            return Err(ENOSPC);
        }
        if self.len() == self.outputs.capacity() {
            if room.capacity() <= self.len() {
                return Err(EAGAIN);
            }
            for old in self.outputs.drain_all() {
                // Cannot fail: there is room for one more than all of them.
                let _ = room.push_within_capacity(old);
            }
            core::mem::swap(&mut *self.outputs, room);
        }
        if let Some(output) = output.take() {
            // Cannot fail: there is room.
            let _ = self.outputs.push_within_capacity(output);
        }
        Ok(())
    }

    /// Returns true if the last delivery found no trigger, and none was added since.
    pub(crate) fn is_undelivered(&self) -> bool {
        self.undelivered
    }

    /// Records that the last delivery found no trigger, or that it found one if `undelivered` is false. Returns
    /// true if it found none, and there are triggers now: the caller then has to deliver it once more.
    pub(crate) fn restore_undelivered(&mut self, undelivered: bool) -> bool {
        self.undelivered = undelivered && self.outputs.is_empty();
        undelivered && !self.undelivered
    }

    /// Returns true, once, if the last delivery found no trigger.
    pub(crate) fn take_undelivered(&mut self) -> bool {
        core::mem::take(&mut self.undelivered)
    }

    /// Allocates room for [`Triggers::add`] to a list of `len`. Process context.
    pub(crate) fn room(len: usize) -> Result<KVec<Output>> {
        let capacity = (len + 1).next_power_of_two().min(MAX);
        Ok(KVec::with_capacity(capacity, user_alloc_flags())?)
    }

    /// Removes and returns the output with the identity `id`. The caller drops it after it has released the
    /// line.
    pub(crate) fn remove(&mut self, id: usize) -> Option<Output> {
        let at = self.ids().position(|other| other == id)?;
        self.outputs.remove(at).ok()
    }

    /// Moves the eventfds to `removed` and the rest to `kept`, which becomes the list. Both must have room
    /// for all outputs. Does not allocate.
    ///
    /// The caller drops both after it has released the line.
    pub(crate) fn remove_eventfds(&mut self, removed: &mut KVec<Output>, kept: &mut KVec<Output>) {
        for output in self.outputs.drain_all() {
            let to = if output.is_eventfd() {
                &mut *removed
            } else {
                &mut *kept
            };
            // Cannot fail: there is room for all.
            let _ = to.push_within_capacity(output);
        }
        core::mem::swap(&mut *self.outputs, kept);
    }

    /// Removes and returns all. The caller drops them after it has released the line.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }
}

/// An output with the transitions that it is signalled for.
pub(crate) enum Notifier {
    /// An output for some events, DOORBELL_NOTIFY_*.
    Events(Output, u32),
    /// A resamplefd, which is signalled when the line was acked.
    Resample {
        /// The resamplefd.
        eventfd: EventFd,
        /// The identity of its irqfd.
        irqfd: usize,
        /// Not zero once the irqfd listens. Until then its assignment may fail.
        armed: Atomic<u32>,
    },
}

impl Notifier {
    /// Returns true for an eventfd that is signalled for events.
    pub(crate) fn is_eventfd(&self) -> bool {
        matches!(self, Self::Events(output, _) if output.is_eventfd())
    }

    /// Returns true for the output `id` that is signalled for events.
    pub(crate) fn is_output(&self, id: usize) -> bool {
        matches!(self, Self::Events(output, _) if output.id() == id)
    }

    /// Returns true for the resamplefd of the irqfd `id`.
    pub(crate) fn belongs_to(&self, id: usize) -> bool {
        matches!(self, Self::Resample { irqfd, .. } if *irqfd == id)
    }
}

/// The notifiers of a line.
pub(crate) type Notifiers = SharedList<Notifier>;

impl Notifiers {
    /// Signals all notifiers of `event`, and all resamplefds if `resample` is true. Context as of
    /// [`EventFd::signal`].
    pub(crate) fn notify(&self, event: u32, resample: bool) {
        // ORDERING: Pairs with the release in `Notifiers::arm`.
        self.for_each(|notifier| match notifier {
            Notifier::Events(output, events) if events & event != 0 => output.notify(event),
            Notifier::Resample { eventfd, armed, .. } if resample && armed.load(Acquire) != 0 => {
                eventfd.signal(0)
            }
            _ => {}
        });
    }

    /// Does what [`Notifiers::notify`] does on behalf of a reply. `key` is in the key of the wake-ups, so that
    /// they count the relays; other modules continue from there, too.
    pub(crate) fn notify_relayed(&self, event: u32, resample: bool, key: u32) {
        // ORDERING: Pairs with the release in `Notifiers::arm`.
        self.for_each(|notifier| match notifier {
            Notifier::Events(output, events) if events & event != 0 => {
                output.notify_relayed(event, key)
            }
            Notifier::Resample { eventfd, armed, .. } if resample && armed.load(Acquire) != 0 => {
                eventfd.signal(key)
            }
            _ => {}
        });
    }

    /// Returns the number of notifiers and resamplefds. Any context but NMI.
    pub(crate) fn len(&self) -> u32 {
        let mut len = 0;
        self.for_each(|_| len += 1);
        len
    }

    /// Enables the resamplefd of the irqfd `id`, which listens now. Any context but NMI.
    pub(crate) fn arm(&self, id: usize) {
        self.for_each(|notifier| {
            if let Notifier::Resample { irqfd, armed, .. } = notifier {
                if *irqfd == id {
                    // ORDERING: Pairs with the loads in `Notifiers::notify` and `Notifiers::notify_relayed`: the
                    // irqfd listens.
                    armed.store(1u32, Release);
                }
            }
        });
    }
}
