// SPDX-License-Identifier: GPL-2.0-only

//! Defects of a VMM that a run must find.

use clap::ValueEnum;

/// A defect of a VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutant {
    /// Forget the pending messages at a restore
    DropPending,
    /// Do not ring the line for a backend that was killed
    NoResignal,
    /// Make the call eventfd KVM's irqfd, without a line
    StraightCall,
    /// Resume one request after the used index
    LateIndex,
    /// Resume one request before the used index
    EarlyIndex,
    /// Restore the APIC after the lines
    LateApic,
}
