// SPDX-License-Identifier: GPL-2.0-only

//! The operations of the threads.

use crate::line::{Reasons, Reply};

/// An operation of a thread on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// DOORBELL_RING, or another ring in a context where eventfds may be signalled.
    Ring,
    /// A signal to an irqfd.
    Wake,
    /// A signal to an irqfd at the end of a long chain of relays.
    FarWake,
    /// DOORBELL_MASK.
    Mask,
    /// DOORBELL_UNMASK.
    Unmask,
    /// DOORBELL_MASK for the function.
    MaskFunction,
    /// DOORBELL_UNMASK for the function.
    UnmaskFunction,
    /// DOORBELL_UNMASK of a line that has masked itself.
    UnmaskAuto,
    /// DOORBELL_CLEAR.
    Clear,
    /// An assign or deassign of a trigger, which claims the line.
    Assign,
    /// An assign or deassign of the line's waiters, which claims the line. The other trigger is an eventfd.
    Waiters,
    /// DOORBELL_QUERY.
    Query,
    /// doorbell_mask_nosync().
    MaskNosync,
    /// doorbell_unmask().
    UnmaskNowait,
    /// doorbell_unmask() in a callback of another module.
    CallbackUnmask,
    /// DOORBELL_SET_LEVEL to high.
    Raise,
    /// Set the level to high in a context where eventfds may not be signalled.
    WakeRaise,
    /// DOORBELL_SET_LEVEL to low.
    Lower,
    /// DOORBELL_ACK.
    Ack,
    /// A signal to an unmaskfd.
    Unmaskfd,
    /// A signal to an unmaskfd at the end of a long chain of relays.
    FarUnmaskfd,
    /// A signal to an ackfd.
    Ackfd,
    /// A signal to an eventfd that acks and unmasks.
    AckUnmaskfd,
    /// DOORBELL_SAVE of a line that goes on.
    Save,
    /// DOORBELL_SAVE of a masked line that no other thread uses, then the end of its context and
    /// DOORBELL_RESTORE in the next one. There the line can be rung before it is restored. A callback may owe
    /// signals to notifiers and resamplefds at the save.
    Migrate,
    /// DOORBELL_RING that ends the interval if a moderated line holds it.
    LastRing,
    /// DOORBELL_MODERATE with an interval.
    Moderate,
    /// DOORBELL_MODERATE without an interval.
    Unmoderate,
}

impl Op {
    /// Returns the reasons of a mask or unmask.
    pub(crate) fn reasons(self) -> Reasons {
        match self {
            Op::MaskFunction | Op::UnmaskFunction => FUNCTION,
            Op::UnmaskAuto => Reasons::AUTO,
            _ => Reasons::VECTOR,
        }
    }
}

impl Op {
    /// Returns the effect of a signal to an unmaskfd or ackfd.
    pub(crate) fn reply(self) -> Reply {
        Reply {
            ack: matches!(self, Op::Ackfd | Op::AckUnmaskfd),
            unmask: !matches!(self, Op::Ackfd),
        }
    }
}

/// The mask of a function, DOORBELL_MASK_FUNCTION.
const FUNCTION: Reasons = match Reasons::new(1 << 1) {
    Some(reasons) => reasons,
    None => panic!("no such reason"),
};

/// The system calls and signals that every line takes.
pub const OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::FarWake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Assign,
    Op::Query,
];

/// The operations that concern a level line.
pub const LEVEL_OPS: [Op; 9] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Raise,
    Op::WakeRaise,
    Op::Lower,
    Op::Ack,
];

/// The operations of other modules that do not wait, and those that can race with them.
pub const NOWAIT_OPS: [Op; 9] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::MaskNosync,
    Op::Unmask,
    Op::UnmaskNowait,
    Op::CallbackUnmask,
    Op::Assign,
    Op::Ack,
];

/// The masks of a vector and of its function, and the operations that race with them.
pub const REASON_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::UnmaskNowait,
    Op::MaskFunction,
    Op::UnmaskFunction,
    Op::Clear,
];

/// The operations of a line that masks itself.
pub const AUTOMASK_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::FarWake,
    Op::Mask,
    Op::Unmask,
    Op::UnmaskAuto,
    Op::Clear,
    Op::Assign,
];

/// The operations of a level line that masks itself.
pub const LEVEL_AUTOMASK_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::UnmaskAuto,
    Op::Raise,
    Op::Lower,
    Op::Ack,
];

/// The operations of a line that masks itself and has an unmaskfd.
pub const UNMASKFD_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::UnmaskAuto,
    Op::Unmaskfd,
    Op::FarUnmaskfd,
    Op::Clear,
];

/// The operations of a level line that masks itself and has unmaskfds and ackfds.
pub const ACKFD_OPS: [Op; 9] = [
    Op::Ring,
    Op::Mask,
    Op::Unmask,
    Op::Raise,
    Op::Lower,
    Op::Ack,
    Op::Unmaskfd,
    Op::Ackfd,
    Op::AckUnmaskfd,
];

/// The operations of a line that goes on in another context.
pub const MIGRATE_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::MaskFunction,
    Op::UnmaskFunction,
    Op::Clear,
    Op::Migrate,
];

/// The operations of a level line that goes on in another context.
pub const LEVEL_MIGRATE_OPS: [Op; 9] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Raise,
    Op::Lower,
    Op::Ack,
    Op::Migrate,
];

/// The operations of a level line that masks itself, has ackfds, and goes on in another context.
pub const ACKFD_MIGRATE_OPS: [Op; 7] = [
    Op::Ring,
    Op::Mask,
    Op::Unmask,
    Op::Raise,
    Op::Ackfd,
    Op::AckUnmaskfd,
    Op::Migrate,
];

/// The operations of a level line that masks itself, has ackfds, and is saved meanwhile.
pub const SAVE_OPS: [Op; 7] = [
    Op::Ring,
    Op::Mask,
    Op::Unmask,
    Op::Raise,
    Op::Ackfd,
    Op::AckUnmaskfd,
    Op::Save,
];

/// The operations of a moderated line.
pub const MODERATED_OPS: [Op; 9] = [
    Op::Ring,
    Op::LastRing,
    Op::Wake,
    Op::FarWake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Moderate,
    Op::Unmoderate,
];

/// The operations of a moderated line that masks itself and has an unmaskfd.
pub const MODERATED_UNMASKFD_OPS: [Op; 8] = [
    Op::Ring,
    Op::LastRing,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::Unmaskfd,
    Op::FarUnmaskfd,
    Op::Unmoderate,
];

/// The operations of a moderated level line that masks itself and has unmaskfds and ackfds.
pub const MODERATED_ACKFD_OPS: [Op; 9] = [
    Op::Ring,
    Op::Mask,
    Op::Unmask,
    Op::Raise,
    Op::Lower,
    Op::Ack,
    Op::Unmaskfd,
    Op::AckUnmaskfd,
    Op::Unmoderate,
];

/// The operations of a moderated level line.
pub const LEVEL_MODERATED_OPS: [Op; 8] = [
    Op::LastRing,
    Op::Wake,
    Op::Mask,
    Op::UnmaskNowait,
    Op::Raise,
    Op::Lower,
    Op::Ack,
    Op::Unmoderate,
];

/// The operations that concern a line with waiters.
pub const WAITER_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::FarWake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Waiters,
    Op::Query,
];

/// The operations that concern a level line with waiters.
pub const LEVEL_WAITER_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::WakeRaise,
    Op::Lower,
    Op::Ack,
    Op::Waiters,
];

/// The operations of a level line that masks itself and has waiters, unmaskfds and ackfds.
pub const REPLY_WAITER_OPS: [Op; 9] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::Unmask,
    Op::Raise,
    Op::Ack,
    Op::Unmaskfd,
    Op::AckUnmaskfd,
    Op::Waiters,
];
