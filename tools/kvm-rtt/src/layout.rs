// SPDX-License-Identifier: GPL-2.0-only

//! What is where in the guest's address spaces.

/// As much memory as one large page has.
pub(crate) const MEMORY: u64 = 2 << 20;

pub(crate) const GDT: u64 = 0x1000;
pub(crate) const IDT: u64 = 0x2000;
/// The page tables, one page each.
pub(crate) const PML4: u64 = 0x3000;
pub(crate) const PDPT: u64 = 0x4000;
pub(crate) const PD: u64 = 0x5000;
pub(crate) const CODE: u64 = 0x6000;
/// Where interrupts are counted.
pub(crate) const COUNT: u64 = 0x7000;

/// Where a vCPU's stack begins, to grow down: one page each.
pub(crate) const fn stack(vcpu: u64) -> u64 {
    0x9000 + 0x1000 * vcpu
}

/// Where a vCPU puts its time stamps.
pub(crate) const fn stamps(vcpu: u64) -> u64 {
    MEMORY / 2 + STAMPS * vcpu
}
const STAMPS: u64 = MEMORY / 4;

/// The most writes of one run: for each there may be two time stamps.
pub const MOST_WRITES: u32 = (STAMPS / 16) as u32;

/// Where there is no memory, but mapped: a page for each address that is written to.
pub(crate) const fn mmio(at: u32) -> u64 {
    0x1000_0000 + 0x1000 * at as u64
}

/// The same in I/O ports: four bytes each, with room between them.
pub(crate) const fn pio(at: u32) -> u16 {
    0x2000 + 8 * at as u16
}

/// Writing to this port means that the guest has done what it was to do.
pub(crate) const DONE: u16 = 0x500;

/// What the guest writes. KVM is told to look at it where it is not told to take anything.
pub(crate) const VALUE: u32 = 1;

/// The interrupt vector.
pub(crate) const VECTOR: u8 = 0x40;
