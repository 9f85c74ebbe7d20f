// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: the paths of a guest's write.

use std::fmt;

/// The part of a circle from the eventfd that the guest's write signals to the one that interrupts
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// None: both are the same eventfd, which KVM allows. Another reader of it could not tell the
    /// signals apart. It is the shortest path, and the base of the comparisons.
    Direct,
    /// A line.
    Doorbell,
    /// A thread.
    Thread,
}

/// The reason why an architecture other than x86-64 has no scenarios with I/O ports.
pub(crate) const NO_PORTS: &str = "this architecture has no I/O ports";

/// The reason why arm64 has none with level-triggered interrupts.
pub(crate) const NO_PINS: &str =
    "KVM on arm64 does not report the end of a level-triggered interrupt that begins and \
     ends between two exits";

/// A path of a guest's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// An exit that KVM handles by itself, and that does nothing.
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
    /// The same with an ioeventfd of any length. KVM need not decode the instruction.
    IoeventfdMmioAny,
    /// Write to such an address, which leads to an interrupt.
    Circle {
        /// The part between the two eventfds.
        via: Via,
        /// True if the write interrupts another vCPU.
        other: bool,
    },
    /// A circle over a line that masks itself and a level-triggered pin, as VFIO gives INTx to a guest.
    /// The guest's end of interrupt unmasks the line.
    Intx {
        /// The part from KVM's resamplefd to the line: an unmaskfd, or a thread.
        via: Via,
    },
    /// The same with a level line, which the guest's end of interrupt acks.
    Level,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Scenario; 15] = [
        Scenario::UserspaceMmio,
        Scenario::UserspacePio,
        Scenario::IoeventfdMmio,
        Scenario::IoeventfdMmioAny,
        Scenario::IoeventfdPio,
        Scenario::Hypercall,
        Scenario::circle(Via::Direct, false),
        Scenario::circle(Via::Doorbell, false),
        Scenario::circle(Via::Thread, false),
        Scenario::circle(Via::Direct, true),
        Scenario::circle(Via::Doorbell, true),
        Scenario::circle(Via::Thread, true),
        Scenario::Intx { via: Via::Doorbell },
        Scenario::Intx { via: Via::Thread },
        Scenario::Level,
    ];

    const fn circle(via: Via, other: bool) -> Self {
        Scenario::Circle { via, other }
    }

    /// Returns the name, which does not contain the number of vCPUs.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Hypercall => "hypercall",
            Scenario::UserspacePio => "userspace-pio",
            Scenario::UserspaceMmio => "userspace-mmio",
            Scenario::IoeventfdPio => "ioeventfd-pio",
            Scenario::IoeventfdMmio => "ioeventfd-mmio",
            Scenario::IoeventfdMmioAny => "ioeventfd-mmio-any",
            Scenario::Circle { via, .. } => match via {
                Via::Direct => "circle-direct",
                Via::Doorbell => "circle-doorbell",
                Via::Thread => "circle-userspace",
            },
            Scenario::Intx { via: Via::Thread } => "intx-userspace",
            Scenario::Intx { .. } => "intx-doorbell",
            Scenario::Level => "level-doorbell",
        }
    }

    /// Returns the reason if this architecture cannot have the scenario.
    pub fn impossible(self) -> Option<&'static str> {
        if cfg!(target_arch = "x86_64") {
            return None;
        }
        match self {
            Scenario::UserspacePio | Scenario::IoeventfdPio => Some(NO_PORTS),
            Scenario::Intx { .. } | Scenario::Level => Some(NO_PINS),
            _ => None,
        }
    }

    /// Returns true if the scenario needs a second vCPU.
    pub fn is_for_two(self) -> bool {
        matches!(self, Scenario::Circle { other: true, .. })
    }

    /// Returns true if the guest waits for an interrupt after each write.
    pub fn is_circle(self) -> bool {
        matches!(
            self,
            Scenario::Circle { .. } | Scenario::Intx { .. } | Scenario::Level
        )
    }

    /// Returns true if the guest's end of interrupt comes back to the line.
    pub fn ends_interrupts(self) -> bool {
        matches!(self, Scenario::Intx { .. } | Scenario::Level)
    }

    /// Returns true if the scenario rings a line.
    pub fn needs_doorbell(self) -> bool {
        match self {
            Scenario::Hypercall => false,
            Scenario::Circle { via, .. } => via == Via::Doorbell,
            _ => true,
        }
    }
}

impl fmt::Display for Scenario {
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
    fn only_ports_and_pins_are_impossible_elsewhere() {
        let impossible = Scenario::ALL.map(|scenario| scenario.impossible().is_some());
        let expected = Scenario::ALL
            .map(|scenario| scenario.name().ends_with("-pio") || scenario.ends_interrupts());
        match cfg!(target_arch = "x86_64") {
            true => assert!(!impossible.contains(&true)),
            false => assert_eq!(impossible, expected),
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names = Scenario::ALL.map(|scenario| scenario.to_string());
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
