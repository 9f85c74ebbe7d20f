// SPDX-License-Identifier: GPL-2.0

//! The numbers of assignments, of a line and of a context.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// The numbers of assignments of a line or of a context.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Irqfds.
    pub(crate) irqfds: u32,
    /// Triggers.
    pub(crate) triggers: u32,
    /// Notifiers.
    pub(crate) notifiers: u32,
    /// Irqfds with a resamplefd.
    pub(crate) resamplefds: u32,
}

/// One of the numbers in [`Usage`].
#[derive(Clone, Copy)]
pub(crate) enum UsageField {
    /// Irqfds.
    Irqfds,
    /// Triggers.
    Triggers,
    /// Notifiers.
    Notifiers,
    /// Irqfds with a resamplefd.
    Resamplefds,
}

/// Numbers of assignments. They are written with the mutex of the assignments held, and read without it.
pub(super) struct UsageCounters([Atomic<u32>; 4]);

impl UsageCounters {
    /// Creates counters of zero.
    pub(super) fn new() -> Self {
        Self([const { Atomic::new(0) }; 4])
    }

    /// Returns the numbers. Any context.
    pub(super) fn read(&self) -> Usage {
        let get = |field| self.0[field as usize].load(Relaxed);
        Usage {
            irqfds: get(UsageField::Irqfds),
            triggers: get(UsageField::Triggers),
            notifiers: get(UsageField::Notifiers),
            resamplefds: get(UsageField::Resamplefds),
        }
    }

    /// Adds `change` to the number that `field` names. The mutex must be held.
    pub(super) fn add(&self, field: UsageField, change: i32) {
        let number = &self.0[field as usize];
        number.store(number.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }
}
