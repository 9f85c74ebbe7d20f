// SPDX-License-Identifier: GPL-2.0-only

//! Versions of the protocol with one deliberate mistake. Each must lose a message.

use super::{Delivery, Exchange, Fence, Protocol, REAL};
use crate::line;

/// A protocol with a mistake.
pub(super) struct Mutant {
    /// A description of the mistake.
    pub(super) name: &'static str,
    /// The index of the scenario that finds it.
    pub(super) scenario: usize,
    pub(super) protocol: Protocol,
}

const fn with_fence(fence: Fence) -> Protocol {
    Protocol { fence, ..REAL }
}

fn masked_is_enough(word: u32) -> bool {
    word & line::MASKED != 0
}

fn pending_is_enough(word: u32) -> bool {
    word & line::PENDING != 0
}

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the producer has no fence, and UNMASK delivers",
        scenario: 0,
        protocol: with_fence(Fence::Missing),
    },
    Mutant {
        name: "the producer has no fence, and a callback delivers",
        scenario: 1,
        protocol: with_fence(Fence::Missing),
    },
    Mutant {
        name: "the producer has no fence, and the consumer polls under a mask",
        scenario: 3,
        protocol: with_fence(Fence::Missing),
    },
    Mutant {
        name: "the producer of a level line has no fence",
        scenario: 4,
        protocol: with_fence(Fence::Missing),
    },
    Mutant {
        name: "the producer's fence is before its data",
        scenario: 0,
        protocol: with_fence(Fence::Early),
    },
    Mutant {
        name: "the producer's fence is acquire and release only",
        scenario: 0,
        protocol: with_fence(Fence::Weak),
    },
    Mutant {
        name: "the kernel's compare-exchange is acquire and release only",
        scenario: 0,
        protocol: Protocol {
            exchange: Exchange::AcquireRelease,
            ..REAL
        },
    },
    Mutant {
        name: "the trigger is signalled before the message is taken",
        scenario: 1,
        protocol: Protocol {
            delivery: Delivery::SignalFirst,
            ..REAL
        },
    },
    Mutant {
        name: "the delivery is counted before the message is taken",
        scenario: 2,
        protocol: Protocol {
            delivery: Delivery::CountFirst,
            ..REAL
        },
    },
    Mutant {
        name: "the consumer looks for data before CLEAR",
        scenario: 3,
        protocol: Protocol {
            look_early: true,
            ..REAL
        },
    },
    Mutant {
        name: "the producer skips if the line is masked",
        scenario: 3,
        protocol: Protocol {
            would_coalesce: masked_is_enough,
            ..REAL
        },
    },
    Mutant {
        name: "the producer skips if a level line is pending",
        scenario: 5,
        protocol: Protocol {
            would_coalesce: pending_is_enough,
            ..REAL
        },
    },
];
