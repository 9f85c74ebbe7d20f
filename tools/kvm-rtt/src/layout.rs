// SPDX-License-Identifier: GPL-2.0-only

//! Layout of the guest's address spaces.
//!
//! The first gigabyte is mapped, each address to itself. The memory is at its begin.

/// The size of the memory: one large page.
pub const MEMORY: u64 = 2 << 20;

#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
#[cfg(target_arch = "x86_64")]
mod x86_64 {
    pub(crate) const GDT: u64 = 0x1000;
    pub(crate) const IDT: u64 = 0x2000;
    /// The page tables, one page each.
    pub(crate) const PML4: u64 = 0x3000;
    pub(crate) const PDPT: u64 = 0x4000;
    pub(crate) const PD: u64 = 0x5000;

    /// Returns the initial stack pointer of a vCPU. Each stack has one page.
    pub const fn stack(vcpu: u64) -> u64 {
        0x9000 + 0x1000 * vcpu
    }

    /// Returns an I/O port of the guest's writes: four bytes each, with gaps.
    pub(crate) const fn pio(at: u32) -> u16 {
        0x2000 + 8 * at as u16
    }

    /// The port that the guest writes to at the end of a run.
    pub const DONE: u16 = 0x500;

    /// The vector of interrupts by messages.
    pub(crate) const VECTOR: u8 = 0x40;

    /// Maximum number of pins of the I/O APIC that interrupt the guest.
    pub(crate) const PINS: u8 = 4;

    /// Returns the vector of a pin's interrupts. Each has its own, so that the end of another interrupt
    /// is not taken for its end.
    pub(crate) const fn pin_vector(pin: u8) -> u8 {
        0x50 + pin
    }
}

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "aarch64")]
mod aarch64 {
    /// The translation tables, one page each.
    pub(crate) const TABLES: u64 = 0x3000;

    /// The registers of the GICv3.
    pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
    pub(crate) const REDISTRIBUTORS: u64 = 0x080a_0000;

    /// The MMIO address that the guest writes to at the end of a run.
    pub const DONE: u64 = 0x0f00_0000;
    /// The MMIO address that the guest writes to at an exception.
    pub(crate) const FAULT: u64 = 0x0f01_0000;
}

/// The page of the code.
pub const CODE: u64 = 0x6000;
/// The address of the interrupt count.
pub(crate) const COUNT: u64 = 0x7000;

/// Returns the address of a vCPU's time stamps.
pub(crate) const fn stamps(vcpu: u64) -> u64 {
    MEMORY / 2 + STAMPS * vcpu
}
const STAMPS: u64 = MEMORY / 4;

/// Maximum number of writes of a run. Each may have two time stamps.
pub const MOST_WRITES: u32 = (STAMPS / 16) as u32;

/// Returns an MMIO address of the guest's writes: mapped, without memory, in a page of its own.
pub(crate) const fn mmio(at: u32) -> u64 {
    0x1000_0000 + 0x1000 * at as u64
}

/// The value of the guest's writes. An ioeventfd with a datamatch compares it.
pub(crate) const VALUE: u32 = 1;
