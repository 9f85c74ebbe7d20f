// SPDX-License-Identifier: GPL-2.0-only

//! What threads do.

/// What a thread can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// DOORBELL_RING, or another ring from where eventfds may be signalled.
    Ring,
    /// A signal to an irqfd.
    Wake,
    /// The same at the end of a long chain of relays.
    FarWake,
    /// DOORBELL_MASK.
    Mask,
    /// DOORBELL_UNMASK.
    Unmask,
    /// DOORBELL_CLEAR.
    Clear,
    /// An assign or deassign: holds the line.
    Rewire,
    /// DOORBELL_QUERY.
    Query,
    /// doorbell_mask_nosync().
    MaskNosync,
    /// doorbell_unmask().
    UnmaskNowait,
    /// DOORBELL_SET_LEVEL, up.
    Raise,
    /// The same where eventfds may not be signalled.
    WakeRaise,
    /// DOORBELL_SET_LEVEL, down.
    Lower,
    /// DOORBELL_ACK.
    Ack,
}

/// What can be done with any line by a system call, and by a signal.
pub const OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::FarWake,
    Op::Mask,
    Op::Unmask,
    Op::Clear,
    Op::Rewire,
    Op::Query,
];

/// What matters to a level line.
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

/// What other modules can do without waiting, and what may stand in their way.
pub const NOWAIT_OPS: [Op; 8] = [
    Op::Ring,
    Op::Wake,
    Op::Mask,
    Op::MaskNosync,
    Op::Unmask,
    Op::UnmaskNowait,
    Op::Rewire,
    Op::Ack,
];
