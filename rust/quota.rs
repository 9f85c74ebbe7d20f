// SPDX-License-Identifier: GPL-2.0

//! The limit on eventfds that a context keeps alive.
//!
//! An eventfd's memory is charged to no memory cgroup. While it has a file, RLIMIT_NOFILE limits its
//! number; but an assignment keeps it after the last file has been closed. So each assignment of a
//! trigger, a notifier, a resamplefd or a region's eventfd counts here. An irqfd does not: it is
//! freed when its eventfd loses its last file.

use crate::{
    kernel_ext::memlock::MemlockAccount,
    uapi::DOORBELL_MAX_EVENTFDS, //
};
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::Mutex, //
};

/// The bytes that one eventfd counts as: `struct eventfd_ctx` comes from kmalloc-64.
const BYTES: usize = 64;

/// The share of a context of its maximum and of its user's RLIMIT_MEMLOCK.
#[pin_data(PinnedDrop)]
pub(crate) struct Quota {
    account: MemlockAccount,
    /// The number of eventfds. Their pages are charged.
    #[pin]
    used: Mutex<usize>,
}

impl Quota {
    /// Creates an initialiser for the quota of a context that the current task owns. Process context.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            account: MemlockAccount::current(),
            used <- new_mutex!(0, "doorbell_quota"),
        })
    }

    /// Counts `eventfds` more, until the returned object is dropped or kept. Process context.
    ///
    /// # Errors
    ///
    /// ENOSPC: that would be more than the context may have, or its owner.
    pub(crate) fn reserve(&self, eventfds: usize) -> Result<Reservation<'_>> {
        let mut used = self.used.lock();
        let all = *used + eventfds;
        if all > DOORBELL_MAX_EVENTFDS as usize {
            return Err(ENOSPC);
        }
        let more = pages(all) - pages(*used);
        if more != 0 {
            self.account.charge(more)?;
        }
        *used = all;
        Ok(Reservation {
            quota: self,
            eventfds,
        })
    }

    /// Counts `eventfds` less, which were kept. Process context.
    pub(crate) fn release(&self, eventfds: usize) {
        let mut used = self.used.lock();
        let rest = used.saturating_sub(eventfds);
        let less = pages(*used) - pages(rest);
        if less != 0 {
            self.account.uncharge(less);
        }
        *used = rest;
    }
}

/// The pages that are charged for so many eventfds.
fn pages(eventfds: usize) -> usize {
    eventfds.div_ceil(PAGE_SIZE / BYTES)
}

/// Eventfds that are counted, but not assigned yet.
#[must_use = "if unused, nothing is counted"]
pub(crate) struct Reservation<'a> {
    quota: &'a Quota,
    eventfds: usize,
}

impl Reservation<'_> {
    /// Leaves them counted, until [`Quota::release`].
    pub(crate) fn keep(mut self) {
        self.eventfds = 0;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.eventfds != 0 {
            self.quota.release(self.eventfds);
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Quota {
    fn drop(self: Pin<&mut Self>) {
        let used = *self.used.lock();
        self.account.uncharge(pages(used));
    }
}
