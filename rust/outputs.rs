// SPDX-License-Identifier: GPL-2.0

//! The eventfds that a line signals: triggers, and notifiers.

use crate::{
    kernel_ext::eventfd::EventFd,
    uapi::{
        DOORBELL_MAX_NOTIFIERS_PER_LINE,
        DOORBELL_MAX_TRIGGERS_PER_LINE, //
    }, //
};
use kernel::prelude::*;

/// Most triggers of a line; most notifiers, too.
const MAX: usize = DOORBELL_MAX_TRIGGERS_PER_LINE as usize;
const _: () = assert!(MAX == DOORBELL_MAX_NOTIFIERS_PER_LINE as usize);

/// What makes an eventfd a trigger: it is signalled on each delivery.
pub(crate) struct Trigger;

/// What makes an eventfd a notifier: it is signalled on these events, DOORBELL_NOTIFY_*.
pub(crate) struct Notifier(pub(crate) u32);

/// Triggers of a line.
pub(crate) type Triggers = Outputs<Trigger>;

/// Notifiers of a line.
pub(crate) type Notifiers = Outputs<Notifier>;

/// An eventfd and what is to be known about it.
pub(crate) struct Output<T> {
    eventfd: EventFd,
    with: T,
}

impl<T> Output<T> {
    /// Signals `eventfd`, as `with` says.
    pub(crate) fn new(eventfd: EventFd, with: T) -> Self {
        Self { eventfd, with }
    }

    /// The eventfd's identity.
    pub(crate) fn id(&self) -> usize {
        self.eventfd.id()
    }
}

/// Eventfds that one line signals. Whoever has a `&mut` to them holds the line.
pub(crate) struct Outputs<T>(KVec<Output<T>>);

impl Triggers {
    /// Signals all, with `mask` in the wake-ups' key. For the context see [`EventFd::signal`].
    #[inline]
    pub(crate) fn signal(&self, mask: u32) {
        for output in self.0.iter() {
            output.eventfd.signal(mask);
        }
    }
}

impl Notifiers {
    /// Signals those that ask for `event`. For the context see [`EventFd::signal`].
    pub(crate) fn notify(&self, event: u32) {
        for output in self.0.iter().filter(|output| output.with.0 & event != 0) {
            output.eventfd.signal(0);
        }
    }
}

impl<T> Outputs<T> {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The eventfds' identities.
    pub(crate) fn ids(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(Output::id)
    }

    /// Adds `output`, moving everything to `room` if there is not enough here. Does not allocate.
    ///
    /// On success `room` has what is to be freed when the line is no longer held.
    ///
    /// EEXIST: the eventfd is there already. ENOSPC: the line has as many as it can have. EAGAIN:
    /// neither here nor in `room` is enough room; make some ([`Outputs::room`]) and come again.
    pub(crate) fn add(
        &mut self,
        output: &mut Option<Output<T>>,
        room: &mut KVec<Output<T>>,
    ) -> Result {
        let id = output.as_ref().map(Output::id);
        if self.ids().any(|other| Some(other) == id) {
            return Err(EEXIST);
        }
        if self.len() >= MAX {
            return Err(ENOSPC);
        }
        if self.len() == self.0.capacity() {
            if room.capacity() <= self.len() {
                return Err(EAGAIN);
            }
            for old in self.0.drain_all() {
                // Cannot fail: there is room for one more than all of them.
                let _ = room.push_within_capacity(old);
            }
            core::mem::swap(&mut self.0, room);
        }
        if let Some(output) = output.take() {
            // Cannot fail: there is room.
            let _ = self.0.push_within_capacity(output);
        }
        Ok(())
    }

    /// Room for [`Outputs::add`] to `len` others. Process context.
    pub(crate) fn room(len: usize) -> Result<KVec<Output<T>>> {
        let capacity = (len + 1).next_power_of_two().min(MAX);
        Ok(KVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?)
    }

    /// Removes the eventfd `id` and returns it, to be dropped when the line is no longer held.
    pub(crate) fn remove(&mut self, id: usize) -> Option<Output<T>> {
        let at = self.ids().position(|other| other == id)?;
        self.0.remove(at).ok()
    }

    /// Removes all and returns them, to be dropped when the line is no longer held.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }
}
