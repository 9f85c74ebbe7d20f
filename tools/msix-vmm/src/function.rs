// SPDX-License-Identifier: GPL-2.0-only

//! A PCI function's MSI-X, as the window sees it.

use anyhow::Result;
use doorbell::LineQuery;
use serde::Serialize;
use vmm_sys_util::eventfd::EventFd;

/// The registers of MSI-X. Offsets are from the beginning of the table, or of the pending bit array.
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
    /// Returns the eventfd that the device signals for `vector`.
    fn irqfd(&self, vector: u16) -> Result<EventFd>;
    /// Returns the counters of the line of `vector`, if it has one.
    fn line(&self, vector: u16) -> Result<Option<Line>>;
    /// Returns the vector whose line masks itself in each delivery, if there is one.
    fn automasked(&self) -> Option<u16> {
        None
    }
    /// Waits until the messages of all earlier signals are in the vCPUs' APICs, or held.
    fn settle(&mut self) -> Result<()>;
}

/// The counters of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Rings: signals that the kernel has seen.
    pub rings: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Messages that were dropped on request. The VMM requests none.
    pub dropped: u64,
    /// Messages that wait: of one line, zero or one.
    pub pending: u64,
    /// The line is masked.
    #[serde(skip)]
    pub is_masked: bool,
}

impl Line {
    /// Returns the number of rings that joined the delivery of another ring. No counter has it: it is the
    /// difference of the others.
    pub fn coalesced(self) -> u64 {
        let other = self.deliveries + self.dropped + self.pending;
        self.rings.saturating_sub(other)
    }

    /// Returns the counters since `then`.
    pub fn since(self, then: Self) -> Self {
        Self {
            rings: self.rings - then.rings,
            deliveries: self.deliveries - then.deliveries,
            dropped: self.dropped - then.dropped,
            ..self
        }
    }
}

impl std::ops::Add for Line {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rings: self.rings + other.rings,
            deliveries: self.deliveries + other.deliveries,
            dropped: self.dropped + other.dropped,
            pending: self.pending + other.pending,
            is_masked: self.is_masked || other.is_masked,
        }
    }
}

impl From<LineQuery> for Line {
    fn from(line: LineQuery) -> Self {
        Self {
            rings: line.rings,
            deliveries: line.deliveries,
            dropped: line.dropped,
            pending: line.pending.into(),
            is_masked: line.masked,
        }
    }
}
