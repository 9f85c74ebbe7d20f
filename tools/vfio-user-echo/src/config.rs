// SPDX-License-Identifier: GPL-2.0-only

//! The configuration space: a header and the MSI-X capability.

use crate::layout::{PBA_OFFSET, REGISTERS_BAR, TABLE_BAR};

/// The size of the configuration space of a conventional PCI device.
pub const SIZE: usize = 256;

/// A vendor ID that is not assigned; QEMU's own example devices use it, too.
const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0xdb01;
/// Base system peripheral, other.
const CLASS: [u8; 2] = [0x80, 0x08];

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const STATUS_CAPABILITIES: u16 = 0x10;
/// I/O space, memory space, bus master, and no INTx.
const COMMAND_BITS: u16 = 0x0407;
const CAPABILITIES: usize = 0x34;

const MSIX: usize = 0x40;
const MSIX_ID: u8 = 0x11;
const MSIX_CONTROL: usize = MSIX + 2;
/// Enable and function mask.
const MSIX_CONTROL_BITS: u16 = 0xc000;

/// The configuration space, as the guest reads and writes it.
///
/// The base address registers read as zero and ignore writes. The VMM emulates them.
#[derive(Debug)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
}

impl ConfigSpace {
    /// Creates the configuration space after a reset, of a function with `vectors` vectors.
    pub fn new(vectors: u16) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
        };
        space.set(0x00, &VENDOR.to_le_bytes());
        space.set(0x02, &DEVICE.to_le_bytes());
        space.set(STATUS, &STATUS_CAPABILITIES.to_le_bytes());
        space.set(0x0a, &CLASS);
        space.set(0x2c, &VENDOR.to_le_bytes());
        space.set(0x2e, &DEVICE.to_le_bytes());
        space.set(CAPABILITIES, &[MSIX as u8]);
        space.set(MSIX, &[MSIX_ID, 0]);
        space.set(MSIX_CONTROL, &(vectors - 1).to_le_bytes());
        space.set(MSIX + 4, &TABLE_BAR.to_le_bytes());
        space.set(MSIX + 8, &(PBA_OFFSET as u32 | TABLE_BAR).to_le_bytes());
        space.writable[COMMAND..COMMAND + 2].copy_from_slice(&COMMAND_BITS.to_le_bytes());
        space.writable[MSIX_CONTROL..MSIX_CONTROL + 2]
            .copy_from_slice(&MSIX_CONTROL_BITS.to_le_bytes());
        // Both are 32-bit memory, which is 0 in the lower bits.
        const { assert!(REGISTERS_BAR < 6 && TABLE_BAR < 6) };
        space
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Reads into `data`; returns false if the access is beyond the end.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> bool {
        let Some(bytes) = range(offset, data.len()).and_then(|range| self.bytes.get(range)) else {
            return false;
        };
        data.copy_from_slice(bytes);
        true
    }

    /// Writes the writable bits of `data`; returns false if the access is beyond the end.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> bool {
        let Some(range) = range(offset, data.len()).filter(|range| range.end <= SIZE) else {
            return false;
        };
        for (at, &byte) in range.zip(data) {
            let writable = self.writable[at];
            self.bytes[at] = self.bytes[at] & !writable | byte & writable;
        }
        true
    }

    /// Returns Message Control of the MSI-X capability.
    pub fn msix_control(&self) -> u16 {
        u16::from_le_bytes([self.bytes[MSIX_CONTROL], self.bytes[MSIX_CONTROL + 1]])
    }
}

fn range(offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(space: &ConfigSpace, at: u64) -> u16 {
        let mut bytes = [0; 2];
        assert!(space.read(at, &mut bytes));
        u16::from_le_bytes(bytes)
    }

    #[test]
    fn capability_names_table_and_pba() {
        let mut space = ConfigSpace::new(5);
        let at = u64::from(space.bytes[CAPABILITIES]);
        assert_eq!(word(&space, at), 0x11);
        assert_eq!(space.msix_control(), 4);
        assert_eq!(word(&space, at + 4), 2);
        assert_eq!(u64::from(word(&space, at + 8)), PBA_OFFSET | 2);
        assert!(space.write(at, &[0xff; 4]));
        assert_eq!((word(&space, at), space.msix_control()), (0x11, 0xc004));
    }

    #[test]
    fn only_writable_bits_change() {
        let mut space = ConfigSpace::new(1);
        for at in 0..SIZE as u64 {
            assert!(space.write(at, &[0xff]));
        }
        assert_eq!((word(&space, 0), word(&space, 4)), (VENDOR, 0x0407));
        assert_eq!(word(&space, 0x10), 0);
        assert!(space.write(0, &[0; SIZE]));
        let fresh = ConfigSpace::new(1);
        assert_eq!(space.bytes, fresh.bytes);
    }

    #[test]
    fn accesses_beyond_the_end_fail() {
        let mut space = ConfigSpace::new(1);
        let mut data = [0; 4];
        assert!(space.read(252, &mut data) && space.write(252, &data));
        for at in [253, 256, u64::MAX - 1] {
            assert!(
                !space.read(at, &mut data) && !space.write(at, &data),
                "{at}"
            );
        }
    }
}
