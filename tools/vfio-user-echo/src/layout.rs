// SPDX-License-Identifier: GPL-2.0-only

//! The regions, lines and registers of the device.
//!
//! BAR 0 has the registers, of 4 bytes each:
//!
//! | offset | access | register |
//! |---|---|---|
//! | 0x000 | read | [`ID`] |
//! | 0x004 | read | number of vectors |
//! | 0x100 + 16 v | write | request: the device signals vector v so many times, 65535 at most; |
//! | | | several requests add up |
//! | | read | the last value written |
//! | 0x108 + 16 v | read | number of requests that are done |
//! | 0x800 + 16 v | read | rings of the vector's line |
//! | 0x804 + 16 v | read | deliveries of the vector's line |
//! | 0x808 + 16 v | read | bit 0: pending; from bit 8: [mask reasons](doorbell::MaskReasons) |
//!
//! BAR 2 has the MSI-X table and the PBA.

/// The BAR of the registers.
pub const REGISTERS_BAR: u32 = 0;
/// The BAR of the MSI-X table and the PBA.
pub const TABLE_BAR: u32 = 2;
/// The size of BAR 0.
pub const REGISTERS_SIZE: u64 = 0x1000;
/// The size of BAR 2.
pub const TABLE_SIZE: u64 = 0x2000;
/// The offset of the PBA in BAR 2. The table begins at 0.
pub const PBA_OFFSET: u64 = 0x1000;

/// "echo", little-endian.
pub const ID: u32 = 0x6f68_6365;
/// The first request register.
pub const REQUESTS: u64 = 0x100;
/// The first register of a line's counters.
pub const COUNTERS: u64 = 0x800;
/// The distance between the registers of two vectors.
pub const STRIDE: u64 = 16;
/// The maximum number of vectors.
pub const MAX_VECTORS: u16 = 64;

const _: () = {
    assert!(REQUESTS + STRIDE * MAX_VECTORS as u64 <= COUNTERS);
    assert!(COUNTERS + STRIDE * MAX_VECTORS as u64 <= REGISTERS_SIZE);
};

/// The lines of the context.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// Number of vectors. Vector v is line v.
    pub vectors: u16,
}

impl Lines {
    /// Returns the line that a write to a request register rings.
    pub fn request(self) -> u32 {
        self.vectors.into()
    }

    /// Returns the line that ends the worker.
    pub fn stop(self) -> u32 {
        self.request() + 1
    }

    /// Returns the line to which an eventfd is assigned to find out whether KVM listens on it.
    pub fn probe(self) -> u32 {
        self.stop() + 1
    }

    /// Returns the number of lines.
    pub fn count(self) -> u32 {
        self.probe() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_overlap() {
        let lines = Lines { vectors: 3 };
        let others = (lines.request(), lines.stop(), lines.probe(), lines.count());
        assert_eq!(others, (3, 4, 5, 6));
    }
}
