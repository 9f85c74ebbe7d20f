// SPDX-License-Identifier: GPL-2.0-only

//! Defects that the scenarios must find.

use clap::ValueEnum;

/// A defect of a VMM or of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutant {
    /// Ignore vector masks
    NoVectorMask,
    /// Ignore the function mask
    NoFunctionMask,
    /// Read the pending bits inverted
    InvertedPba,
    /// Change the route of a vector after its unmask
    LateRoute,
    /// Skip one signal of the device
    LostSignal,
    /// Send a message twice at the unmask
    DoubleUnmask,
}
