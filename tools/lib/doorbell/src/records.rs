// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{region::Space, sys::RecordMapping, uapi};
use std::fmt;

/// A recorded write to the bus.
///
/// # Examples
///
/// ```no_run
/// # let context = doorbell::Context::open()?;
/// for record in context.read_records(64)? {
///     println!("{}: {:#x} to {:#x}", record.sequence, record.value, record.addr);
/// }
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Record {
    /// Number of the record: 1 for the first, and one more for each.
    pub sequence: u64,
    /// Address space of the write.
    pub space: Space,
    /// Address of the first byte.
    pub addr: u64,
    /// Number of bytes: 1, 2, 4 or 8.
    pub length: u32,
    /// Value written.
    pub value: u64,
}

impl From<uapi::Record> for Record {
    fn from(record: uapi::Record) -> Self {
        Self {
            sequence: record.sequence,
            space: Space::from_code(record.space),
            addr: record.addr,
            length: record.length,
            value: record.value,
        }
    }
}

/// The mapped records of a context, from [`Context::map_records`](crate::Context::map_records).
///
/// An iterator that consumes records without a system call. It returns `None` if there is no
/// record yet, and continues when there is one.
///
/// A context has one consumer at a time. Two mappings that are used at the same time, or a mapping
/// and [`Context::read_records`](crate::Context::read_records), return some records twice.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, EventFd, Region, Target};
///
/// let context = Context::open()?;
/// context.set_lines(1)?;
/// context.set_records(64)?;
/// let kick = EventFd::new(0)?;
/// context.assign_region(&Region::mmio(0x1000, 4).record(), Target::eventfd(&kick))?;
/// let mut records = context.map_records()?;
/// loop {
///     kick.read()?;
///     for record in &mut records {
///         println!("{:#x}", record.value);
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordRing(RecordMapping);

impl RecordRing {
    pub(crate) fn new(mapping: RecordMapping) -> Self {
        Self(mapping)
    }
}

impl Iterator for RecordRing {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        self.0.take().map(Record::from)
    }
}

impl fmt::Debug for RecordRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordRing").finish_non_exhaustive()
    }
}
