// SPDX-License-Identifier: GPL-2.0

//! The eventfds that a line signals.

use crate::{
    kernel_ext::eventfd::EventFd,
    uapi::DOORBELL_MAX_TRIGGERS_PER_LINE, //
};
use kernel::prelude::*;

/// Most triggers of a line.
const MAX: usize = DOORBELL_MAX_TRIGGERS_PER_LINE as usize;

/// Triggers of one line. Whoever has a `&mut` to them holds the line.
pub(crate) struct Triggers(KVec<EventFd>);

impl Triggers {
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
        self.0.iter().map(EventFd::id)
    }

    /// Signals all, with `mask` in the wake-ups' key.
    #[inline]
    pub(crate) fn signal(&self, mask: u32) {
        for eventfd in self.0.iter() {
            eventfd.signal(mask);
        }
    }

    /// Adds `eventfd`, moving everything to `room` if there is not enough here. Does not allocate.
    ///
    /// On success `room` has what is to be freed when the line is no longer held.
    ///
    /// EEXIST: it is there already. ENOSPC: the line has as many as it can have. EAGAIN: neither
    /// here nor in `room` is enough room; make some ([`Triggers::room`]) and come again.
    pub(crate) fn add(
        &mut self,
        eventfd: &mut Option<EventFd>,
        room: &mut KVec<EventFd>,
    ) -> Result {
        let id = eventfd.as_ref().map(EventFd::id);
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
        if let Some(eventfd) = eventfd.take() {
            // Cannot fail: there is room.
            let _ = self.0.push_within_capacity(eventfd);
        }
        Ok(())
    }

    /// Room for [`Triggers::add`] to a line that has `len` triggers. Process context.
    pub(crate) fn room(len: usize) -> Result<KVec<EventFd>> {
        let capacity = (len + 1).next_power_of_two().min(MAX);
        Ok(KVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?)
    }

    /// Removes the eventfd `id` and returns it, to be dropped when the line is no longer held.
    pub(crate) fn remove(&mut self, id: usize) -> Option<EventFd> {
        let at = self.ids().position(|other| other == id)?;
        self.0.remove(at).ok()
    }

    /// Removes all and returns them, to be dropped when the line is no longer held.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }
}
