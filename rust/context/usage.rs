// SPDX-License-Identifier: GPL-2.0

//! The numbers of assignments, of a line and of a context.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// The numbers of assignments of a line or of a context.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Irqfds of all kinds.
    pub(crate) irqfds: u32,
    /// Triggers.
    pub(crate) triggers: u32,
    /// Notifiers.
    pub(crate) notifiers: u32,
    /// Irqfds with a resamplefd.
    pub(crate) resamplefds: u32,
    /// Irqfds that unmask the line.
    pub(crate) unmaskfds: u32,
    /// Irqfds that ack the line.
    pub(crate) ackfds: u32,
}

/// One of the numbers in [`Usage`].
#[derive(Clone, Copy)]
pub(crate) enum UsageField {
    /// Irqfds of all kinds.
    Irqfds,
    /// Triggers.
    Triggers,
    /// Notifiers.
    Notifiers,
    /// Irqfds with a resamplefd.
    Resamplefds,
    /// Irqfds that unmask the line.
    Unmaskfds,
    /// Irqfds that ack the line.
    Ackfds,
}

/// Numbers of assignments. They are written with the mutex of the assignments held, and read without it.
pub(super) struct UsageCounters([Atomic<u32>; 6]);

impl UsageCounters {
    /// Creates counters of zero.
    pub(super) fn new() -> Self {
        Self([const { Atomic::new(0) }; 6])
    }

    /// Returns the numbers. Any context.
    pub(super) fn read(&self) -> Usage {
        // ORDERING: None: each number is of a moment of its own.
        let get = |field| self.0[field as usize].load(Relaxed);
        Usage {
            irqfds: get(UsageField::Irqfds),
            triggers: get(UsageField::Triggers),
            notifiers: get(UsageField::Notifiers),
            resamplefds: get(UsageField::Resamplefds),
            unmaskfds: get(UsageField::Unmaskfds),
            ackfds: get(UsageField::Ackfds),
        }
    }

    /// Adds `change` to the number that `field` names. The mutex must be held.
    pub(super) fn add(&self, field: UsageField, change: i32) {
        let number = &self.0[field as usize];
        // ORDERING: None: the mutex serialises the writers, and each number is read by itself.
        number.store(number.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }
}
