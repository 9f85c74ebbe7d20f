// SPDX-License-Identifier: GPL-2.0

//! What a line tells: eventfds, and other modules' callbacks.
//!
//! Triggers are told of deliveries, while the line is held. Notifiers are told of the line's other
//! transitions by whoever made them, with nothing held, so that they may use the line themselves.
//! A resamplefd is a notifier that belongs to an irqfd.

use super::{
    callback::Callback,
    hops_of_key, //
};
use crate::{
    kernel_ext::{
        alloc::user_alloc_flags,
        eventfd::EventFd,
        shared_list::SharedList, //
    },
    uapi::{
        DOORBELL_MAX_TRIGGERS_PER_LINE,
        DOORBELL_NOTIFY_ACK,
        DOORBELL_NOTIFY_MASK,
        DOORBELL_NOTIFY_UNMASK, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};

/// Most triggers of a line.
const MAX: usize = DOORBELL_MAX_TRIGGERS_PER_LINE as usize;

/// All that a notifier may ask for.
pub(crate) const EVENTS: u32 = DOORBELL_NOTIFY_MASK | DOORBELL_NOTIFY_UNMASK | DOORBELL_NOTIFY_ACK;

/// Whom to tell.
pub(crate) enum Output {
    /// Signals it.
    EventFd(EventFd),
    /// Calls it.
    Callback(Callback),
}

impl Output {
    /// What tells it from all others that exist at the same time.
    pub(crate) fn id(&self) -> usize {
        match self {
            Self::EventFd(eventfd) => eventfd.id(),
            Self::Callback(callback) => callback.id(),
        }
    }

    /// Returns true if it is an eventfd, and so userspace's.
    pub(crate) fn is_eventfd(&self) -> bool {
        matches!(self, Self::EventFd(_))
    }

    /// Tells it of a delivery. For the context see [`EventFd::signal`], whose argument `mask` is.
    #[inline(always)]
    fn deliver(&self, mask: u32) {
        match self {
            Self::EventFd(eventfd) => eventfd.signal(mask),
            Self::Callback(callback) => callback.call_at(hops_of_key(mask)),
        }
    }

    /// Tells it of `event`. DoorbellFile as above.
    fn tell(&self, event: u32) {
        match self {
            Self::EventFd(eventfd) => eventfd.signal(0),
            Self::Callback(callback) => callback.call(event),
        }
    }
}

/// Triggers of one line. Whoever has a `&mut` to them holds the line.
pub(crate) struct Triggers {
    outputs: KVec<Output>,
    /// The last delivery found no trigger, and none has been added since.
    unheard: bool,
    /// The rest of a delivery that has stopped.
    rest: Rest,
}

/// The triggers that a delivery has not signalled yet.
struct Rest {
    /// Index of the first.
    from: u32,
    /// The mask of the delivery.
    mask: u32,
}

impl Triggers {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {
            outputs: KVec::new(),
            unheard: false,
            rest: Rest { from: 0, mask: 0 },
        }
    }

    /// How many.
    fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Their identities.
    fn ids(&self) -> impl Iterator<Item = usize> + '_ {
        self.outputs.iter().map(Output::id)
    }

    /// Tells all of a delivery, with `mask` in the wake-ups' key. For the context see
    /// [`EventFd::signal`].
    #[inline]
    pub(crate) fn signal(&mut self, mask: u32) {
        if self.outputs.is_empty() {
            self.unheard = true;
        }
        for output in self.outputs.iter() {
            output.deliver(mask);
        }
    }

    /// Signals like [`Triggers::signal`], but calls `more` after each four, with the number of the next
    /// ones, and stops if that returns false. Returns false if some are left, for
    /// [`Triggers::signal_rest`].
    #[inline(always)]
    pub(crate) fn signal_while(&mut self, mask: u32, more: impl Fn(u32) -> bool) -> bool {
        const STRIDE: usize = 4;
        if let [only] = &self.outputs[..] {
            only.deliver(mask);
            return true;
        }
        self.unheard |= self.outputs.is_empty();
        for (at, few) in self.outputs.chunks(STRIDE).enumerate() {
            if at > 0 && !more(few.len() as u32) {
                let from = (at * STRIDE) as u32;
                self.rest = Rest { from, mask };
                return false;
            }
            for output in few {
                output.deliver(mask);
            }
        }
        true
    }

    /// Finishes the delivery that [`Triggers::signal_while`] has stopped. DoorbellFile as of
    /// [`Triggers::signal`].
    pub(crate) fn signal_rest(&mut self) {
        for output in self.outputs.iter().skip(self.rest.from as usize) {
            output.deliver(self.rest.mask);
        }
    }

    /// Adds `output`, moving everything to `room` if there is not enough here. Does not allocate.
    ///
    /// On success `room` has what is to be freed when the line is no longer held.
    ///
    /// EEXIST: it is there already. ENOSPC: the line has as many as it can have. EAGAIN: neither
    /// here nor in `room` is enough room; make some ([`Triggers::room`]) and come again.
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
            core::mem::swap(&mut self.outputs, room);
        }
        if let Some(output) = output.take() {
            // Cannot fail: there is room.
            let _ = self.outputs.push_within_capacity(output);
        }
        Ok(())
    }

    /// Returns true, once, if the last delivery found no trigger.
    pub(crate) fn take_unheard(&mut self) -> bool {
        core::mem::take(&mut self.unheard)
    }

    /// Room for [`Triggers::add`] to `len` others. Process context.
    pub(crate) fn room(len: usize) -> Result<KVec<Output>> {
        let capacity = (len + 1).next_power_of_two().min(MAX);
        Ok(KVec::with_capacity(capacity, user_alloc_flags())?)
    }

    /// Removes the one with the identity `id` and returns it, to be dropped when the line is no
    /// longer held.
    pub(crate) fn remove(&mut self, id: usize) -> Option<Output> {
        let at = self.ids().position(|other| other == id)?;
        self.outputs.remove(at).ok()
    }

    /// Moves the eventfds to `removed`, and the rest to `kept`, which takes the place of the triggers'
    /// memory. Both must have room for all. Does not allocate.
    ///
    /// What both hold afterwards is to be dropped when the line is no longer held.
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
        core::mem::swap(&mut self.outputs, kept);
    }

    /// Removes all and returns them, to be dropped when the line is no longer held.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }
}

/// Whom to tell, and of what.
pub(crate) enum Notifier {
    /// Of these events, DOORBELL_NOTIFY_*.
    Events(Output, u32),
    /// To look again, because the line was acked.
    Resample {
        /// The resamplefd.
        eventfd: EventFd,
        /// The identity of the irqfd that it belongs to.
        irqfd: usize,
        /// Not zero once that listens: until then its assignment may fail.
        armed: Atomic<u32>,
    },
}

impl Notifier {
    /// Returns true if it tells an eventfd of events.
    pub(crate) fn tells_eventfd(&self) -> bool {
        matches!(self, Self::Events(output, _) if output.is_eventfd())
    }

    /// Whether it tells `id` of events.
    pub(crate) fn tells(&self, id: usize) -> bool {
        matches!(self, Self::Events(output, _) if output.id() == id)
    }

    /// Whether it belongs to the irqfd `id`.
    pub(crate) fn belongs_to(&self, id: usize) -> bool {
        matches!(self, Self::Resample { irqfd, .. } if *irqfd == id)
    }
}

/// Notifiers of one line.
pub(crate) type Notifiers = SharedList<Notifier>;

impl Notifiers {
    /// Tells all that ask for `event`, and, if `resample` is true, the sources to look again. For
    /// the context see [`EventFd::signal`].
    pub(crate) fn notify(&self, event: u32, resample: bool) {
        self.for_each(|notifier| match notifier {
            Notifier::Events(output, events) if events & event != 0 => output.tell(event),
            Notifier::Resample { eventfd, armed, .. } if resample && armed.load(Acquire) != 0 => {
                eventfd.signal(0)
            }
            _ => {}
        });
    }

    /// The irqfd `id` listens: from now on its resamplefd is told of acks. Any context but NMI.
    pub(crate) fn arm(&self, id: usize) {
        self.for_each(|notifier| {
            if let Notifier::Resample { irqfd, armed, .. } = notifier {
                if *irqfd == id {
                    armed.store(1u32, Release);
                }
            }
        });
    }
}
