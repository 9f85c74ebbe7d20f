// SPDX-License-Identifier: GPL-2.0-only

//! A PCI function's MSI-X, as the window sees it.

use anyhow::Result;

/// MSI-X enable, in Message Control.
pub const ENABLE: u16 = 1 << 15;
/// Function mask, in Message Control.
pub const FUNCTION_MASK: u16 = 1 << 14;

/// The registers of MSI-X. Offsets are from the begin of the table, or of the pending bit array.
///
/// A write returns after it has taken effect. The guest's instruction ends then.
pub trait Function: Send {
    /// Reads the table.
    fn read_table(&mut self, offset: u64, data: &mut [u8]) -> Result<()>;
    /// Writes to the table.
    fn write_table(&mut self, offset: u64, data: &[u8]) -> Result<()>;
    /// Reads the pending bit array.
    fn read_pba(&mut self, offset: u64, data: &mut [u8]) -> Result<()>;
    /// Returns Message Control.
    fn control(&mut self) -> u16;
    /// Writes to Message Control.
    fn write_control(&mut self, value: u16) -> Result<()>;
    /// Waits until the messages of all earlier signals are in the vCPUs' APICs, or held.
    fn settle(&mut self) -> Result<()>;
}
