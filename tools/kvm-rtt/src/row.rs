// SPDX-License-Identifier: GPL-2.0-only

//! What is measured.

use std::fmt;

/// What a circle goes through, from the eventfd that the guest's write signals to the one that
/// interrupts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Nothing: both are the same. KVM allows that, though nobody else could tell who signals; it
    /// is the shortest there is, and what the others are to be compared with.
    Nothing,
    /// A line.
    Doorbell,
    /// A thread.
    Thread,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// An exit that KVM itself handles, and that does nothing.
    Hypercall,
    /// Write to an I/O port, exit to the VMM, which rings a line by ioctl.
    UserspacePio,
    /// The same with an MMIO address.
    UserspaceMmio,
    /// Write to an I/O port that is an ioeventfd of four bytes with a datamatch, whose eventfd is
    /// an irqfd of a line.
    IoeventfdPio,
    /// The same with an MMIO address.
    IoeventfdMmio,
    /// The same with an ioeventfd of any length, for which KVM need not look at the instruction.
    IoeventfdMmioAny,
    /// Write to such an address, through something, to an interrupt.
    Circle {
        /// What is in between.
        through: Through,
        /// Whether another vCPU is interrupted than the one that writes.
        other: bool,
    },
}

impl Row {
    /// All of them.
    pub const ALL: [Row; 12] = [
        Row::UserspaceMmio,
        Row::UserspacePio,
        Row::IoeventfdMmio,
        Row::IoeventfdMmioAny,
        Row::IoeventfdPio,
        Row::Hypercall,
        Row::circle(Through::Nothing, false),
        Row::circle(Through::Doorbell, false),
        Row::circle(Through::Thread, false),
        Row::circle(Through::Nothing, true),
        Row::circle(Through::Doorbell, true),
        Row::circle(Through::Thread, true),
    ];

    const fn circle(through: Through, other: bool) -> Self {
        Row::Circle { through, other }
    }

    /// Its name, which does not say which vCPU is interrupted.
    pub fn name(self) -> &'static str {
        match self {
            Row::Hypercall => "hypercall",
            Row::UserspacePio => "userspace-pio",
            Row::UserspaceMmio => "userspace-mmio",
            Row::IoeventfdPio => "ioeventfd-pio",
            Row::IoeventfdMmio => "ioeventfd-mmio",
            Row::IoeventfdMmioAny => "ioeventfd-mmio-any",
            Row::Circle { through, .. } => match through {
                Through::Nothing => "circle-direct",
                Through::Doorbell => "circle-doorbell",
                Through::Thread => "circle-userspace",
            },
        }
    }

    /// Whether it takes a second vCPU.
    pub fn is_for_two(self) -> bool {
        matches!(self, Row::Circle { other: true, .. })
    }

    /// Whether a line is rung.
    pub fn needs_doorbell(self) -> bool {
        match self {
            Row::Hypercall => false,
            Row::Circle { through, .. } => through == Through::Doorbell,
            _ => true,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.is_for_two() {
            true => f.write_str(", two vCPUs"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_rows_apart() {
        let mut names = Row::ALL.map(|row| row.to_string());
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
