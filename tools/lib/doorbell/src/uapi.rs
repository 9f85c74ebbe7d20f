// SPDX-License-Identifier: MIT OR Apache-2.0

//! Constants and structures of the ABI, for programs that call ioctl(2) themselves.
//!
//! The names are those of `include/uapi/linux/doorbell.h` without the prefix, and the header
//! documents each of them. `tests/uapi.rs` compares every number, size and offset with the
//! header.

#![allow(missing_docs)] // The C header documents them.

use libc::{_IO, _IOR, _IOW, _IOWR};
use std::mem::size_of;

pub const ABI_VERSION: u32 = 1;
pub const MAX_LINES: u32 = 65536;
pub const MAX_TRIGGERS_PER_LINE: u32 = 64;
pub const MAX_IRQFDS: u32 = 262_144;
pub const MAX_NOTIFIERS_PER_LINE: u32 = 64;
pub const MAX_REGIONS: u32 = 262_144;
pub const MAX_RECORDS: u32 = 1_048_576;
pub const MAX_VALUES: u32 = 65536;
pub const MAX_EVENTFDS: u32 = 262_144;
pub const MAX_SEARCHED_TRIGGERS: u32 = 65536;
pub const FEATURE_EVENTFD_READ: u64 = 1 << 0;
pub const FEATURE_EVENTFD_PEEK: u64 = 1 << 1;
pub const MAX_RESAMPLEFDS_PER_LINE: u32 = 64;
pub const FEATURE_MASK: u64 = 1 << 2;
pub const FEATURE_LEVEL: u64 = 1 << 3;
pub const FEATURE_BUS: u64 = 1 << 4;
pub const FEATURE_RING_WAIT: u64 = 1 << 5;
pub const FEATURE_WAIT: u64 = 1 << 6;
pub const FEATURE_RING_LINES: u64 = 1 << 7;
pub const FEATURE_MASK_REASONS: u64 = 1 << 8;
pub const FEATURE_UNMASKFD: u64 = 1 << 9;
pub const FEATURE_SAVE: u64 = 1 << 10;
pub const FEATURE_MODERATION: u64 = 1 << 11;
pub const FEATURE_SUMMARY: u64 = 1 << 12;
pub const FEATURE_LAST_VALUE: u64 = 1 << 13;
pub const FEATURE_COUNT: u64 = 1 << 14;
pub const SET_LINES_FLAG_MASKED: u32 = 1 << 0;
pub const IRQFD_FLAG_DEASSIGN: u32 = 1 << 0;
pub const IRQFD_FLAG_RESAMPLE: u32 = 1 << 1;
pub const IRQFD_FLAG_UNMASK: u32 = 1 << 2;
pub const IRQFD_FLAG_ACK: u32 = 1 << 3;
pub const TRIGGER_FLAG_DEASSIGN: u32 = 1 << 0;
pub const TRIGGER_FLAG_ALL: u32 = 1 << 1;
pub const TRIGGER_FLAG_WAITERS: u32 = 1 << 2;
pub const TRIGGER_FLAG_COUNT: u32 = 1 << 3;
pub const SUMMARY_FLAG_DEASSIGN: u32 = 1 << 0;
pub const SUMMARY_GROUPS: u32 = 16;
pub const NOTIFIER_FLAG_DEASSIGN: u32 = 1 << 0;
pub const NOTIFIER_FLAG_ALL: u32 = 1 << 1;
pub const REGION_FLAG_DEASSIGN: u32 = 1 << 0;
pub const REGION_FLAG_DATAMATCH: u32 = 1 << 1;
pub const REGION_FLAG_LINE: u32 = 1 << 2;
pub const REGION_FLAG_RECORD: u32 = 1 << 3;
pub const REGION_FLAG_LAST: u32 = 1 << 4;
pub const SET_RECORDS_FLAG_VALUES: u32 = 1 << 0;
pub const SPACE_MMIO: u32 = 0;
pub const SPACE_PIO: u32 = 1;
pub const NOTIFY_MASK: u32 = 1 << 0;
pub const NOTIFY_UNMASK: u32 = 1 << 1;
pub const NOTIFY_ACK: u32 = 1 << 2;
pub const TYPE_EDGE: u32 = 0;
pub const TYPE_LEVEL: u32 = 1;
pub const TYPE_FLAG_AUTOMASK: u32 = 1 << 0;
pub const MASK_VECTOR: u32 = 1 << 0;
pub const MASK_FUNCTION: u32 = 1 << 1;
pub const MASK_PAUSE: u32 = 1 << 2;
pub const MASK_AUTO: u32 = 1 << 3;
pub const LINE_PENDING: u32 = 1 << 0;
pub const LINE_MASKED: u32 = 1 << 1;
pub const LINE_LEVEL: u32 = 1 << 2;
pub const LINE_ASSERTED: u32 = 1 << 3;
pub const LINE_RAISED: u32 = 1 << 4;
pub const LINE_RESAMPLE: u32 = 1 << 5;
pub const LINE_AUTOMASK: u32 = 1 << 6;
pub const LINE_WAITERS: u32 = 1 << 7;
pub const LINE_REASONS: u32 = 0xf << LINE_REASONS_SHIFT;
pub const LINE_REASONS_SHIFT: u32 = 16;
pub const LINE_MODERATED: u32 = 1 << 22;
pub const LINE_COUNTS: u32 = 1 << 24;
pub const LINE_STATE: u32 = 0x14f_00ff;
pub const MODERATE_FLAG_GET: u32 = 1 << 0;
pub const MIN_INTERVAL: u32 = 1000;
pub const MAX_INTERVAL: u32 = 1_000_000_000;
pub const MAX_MODERATED: u32 = 1024;
pub const EVENTFD_FLAG_NOWAIT: u32 = 1 << 0;
pub const RING_WAIT_FLAG_NO_RING: u32 = 1 << 0;
pub const RING_WAIT_FLAG_LINE: u32 = 1 << 1;
pub const RING_WAIT_NO_TIMEOUT: u64 = u64::MAX;
pub const SAVED_FLAG_UNDELIVERED: u32 = 1 << 0;
pub const SAVED_FLAG_COUNTED: u32 = 1 << 1;
pub const SAVED_STATE: u32 = 0xf007f;
pub const SAVED_LINE_SIZE: u32 = 80;
pub const SAVED_LINE_SIZE_MAX: u32 = 4096;
pub const WAIT_NO_TIMEOUT: u64 = u64::MAX;
pub const RING_COALESCED: i32 = 0;
pub const RING_DELIVERED: i32 = 1;
pub const RING_MASKED: i32 = 2;
pub const ACK_NOTHING: i32 = 0;
pub const ACK_DONE: i32 = 1;
pub const ACK_POSTPONED: i32 = 2;

/// The argument of [`GET_INFO`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GetInfo {
    pub abi_version: u32,
    pub nr_lines: u32,
    pub features: u64,
    pub max_lines: u32,
    pub max_triggers_per_line: u32,
    pub max_irqfds: u32,
    pub nr_irqfds: u32,
    pub nr_triggers: u32,
    pub nr_notifiers: u32,
    pub status_size: u32,
    pub max_notifiers_per_line: u32,
    pub max_resamplefds_per_line: u32,
    pub max_regions: u32,
    pub nr_regions: u32,
    pub max_records: u32,
    pub status_offset: u64,
    pub records_offset: u64,
    pub summary_offset: u64,
    pub values_offset: u64,
    pub max_values: u32,
    pub reserved: [u32; 7],
}

/// The argument of [`SET_LINES`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetLines {
    pub nr_lines: u32,
    pub flags: u32,
    pub reserved: [u32; 6],
}

/// The argument of [`IRQFD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Irqfd {
    pub fd: i32,
    pub line: u32,
    pub flags: u32,
    pub resamplefd: i32,
    pub reserved: [u32; 4],
}

/// The argument of [`TRIGGER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Trigger {
    pub fd: i32,
    pub line: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

/// The argument of [`QUERY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    pub line: u32,
    pub state: u32,
    pub rings: u64,
    pub deliveries: u64,
    pub deferred: u64,
    pub nr_irqfds: u32,
    pub nr_triggers: u32,
    pub dropped: u64,
    pub nr_notifiers: u32,
    pub nr_resamplefds: u32,
    pub acks: u64,
    pub flags: u32,
    pub nr_unmaskfds: u32,
    pub nr_ackfds: u32,
    pub reserved: [u32; 1],
}

/// The argument of [`NOTIFIER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notifier {
    pub fd: i32,
    pub line: u32,
    pub flags: u32,
    pub events: u32,
    pub reserved: [u32; 4],
}

/// The argument of [`MASK`], [`UNMASK`], [`CLEAR`], [`PENDING`] and [`RING_LINES`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LineSet {
    pub line: u32,
    pub nr_lines: u32,
    pub lines: u64,
    pub result: u64,
    pub flags: u32,
    pub reserved: [u32; 3],
}

/// The entry of a line in the status pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LineStatus {
    pub state: u32,
    pub units: u32,
    pub deliveries: u64,
    pub coalesced: u64,
    pub dropped: u64,
    pub deferred: u64,
    pub acks: u64,
    pub taken: u64,
    pub dropped_units: u64,
}

/// The argument of [`SET_TYPE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetType {
    pub line: u32,
    pub type_: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

/// The argument of [`MODERATE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Moderate {
    pub line: u32,
    pub flags: u32,
    pub min_interval: u32,
    pub max_count: u32,
    pub reserved: [u32; 4],
}

/// The argument of [`SET_LEVEL`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetLevel {
    pub line: u32,
    pub level: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

/// The argument of [`EVENTFD_READ`] and [`EVENTFD_PEEK`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Eventfd {
    pub fd: i32,
    pub flags: u32,
    pub count: u64,
    pub reserved: [u32; 4],
}

/// The argument of [`SUMMARY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub line: u32,
    pub nr_lines: u32,
    pub lines: u64,
    pub flags: u32,
    pub reserved: [u32; 3],
}

/// The mapped summary, without the words of its lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SummaryMap {
    pub top: u64,
    pub reserved: [u64; 15],
    pub groups: [u64; 16],
}

/// The argument of [`RING_WAIT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RingWait {
    pub line: u32,
    pub fd: i32,
    pub timeout: u64,
    pub flags: u32,
    pub result: u32,
    pub count: u64,
    pub reserved: [u32; 4],
}

/// The argument of [`WAIT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait {
    pub line: u32,
    pub flags: u32,
    pub timeout: u64,
    pub count: u64,
    pub reserved: [u32; 4],
}

/// The argument of [`REGION`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Region {
    pub addr: u64,
    pub datamatch: u64,
    pub space: u32,
    pub length: u32,
    pub fd: i32,
    pub line: u32,
    pub flags: u32,
    pub slot: u32,
    pub reserved: [u32; 2],
}

/// The argument of [`REGIONS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Regions {
    pub regions: u64,
    pub nr_regions: u32,
    pub failed: u32,
    pub flags: u32,
    pub reserved: [u32; 3],
}

/// An element of the array that [`GET_REGIONS`] writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RegionInfo {
    pub addr: u64,
    pub datamatch: u64,
    pub space: u32,
    pub length: u32,
    pub flags: u32,
    pub line: u32,
    pub writes: u64,
    pub slot: u32,
    pub reserved: u32,
}

/// The argument of [`GET_REGIONS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GetRegions {
    pub infos: u64,
    pub first: u32,
    pub nr_infos: u32,
    pub flags: u32,
    pub reserved: [u32; 3],
}

/// An element of the array that [`BUS_WRITE`] reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BusAccess {
    pub addr: u64,
    pub value: u64,
    pub length: u32,
    pub space: u32,
}

/// The argument of [`BUS_WRITE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BusWrite {
    pub accesses: u64,
    pub nr_accesses: u32,
    pub flags: u32,
    pub reserved: [u32; 4],
}

/// The argument of [`SET_RECORDS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetRecords {
    pub nr_records: u32,
    pub flags: u32,
    pub nr_values: u32,
    pub reserved: [u32; 5],
}

/// A recorded write.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    pub sequence: u64,
    pub addr: u64,
    pub value: u64,
    pub length: u32,
    pub space: u32,
}

/// The header of the mapped records. The records follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRing {
    pub head: u64,
    pub reserved: [u64; 15],
}

/// The last value of a region, in the mapping of these.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Value {
    pub value: u64,
    pub writes: u64,
    pub started: u64,
    pub reserved: [u64; 5],
}

/// The argument of [`GET_BUS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GetBus {
    pub nr_regions: u32,
    pub nr_records: u32,
    pub recorded: u64,
    pub refused: u64,
    pub nr_values: u32,
    pub reserved0: u32,
    pub reserved: [u64; 4],
}

/// An element of the array that [`SAVE`] writes and [`RESTORE`] reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedLine {
    pub state: u32,
    pub flags: u32,
    pub deliveries: u64,
    pub coalesced: u64,
    pub dropped: u64,
    pub deferred: u64,
    pub acks: u64,
    pub nr_irqfds: u32,
    pub nr_triggers: u32,
    pub nr_notifiers: u32,
    pub nr_resamplefds: u32,
    pub nr_unmaskfds: u32,
    pub nr_ackfds: u32,
    pub units: u32,
    pub reserved: u32,
}

/// The argument of [`SAVE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Save {
    pub lines: u64,
    pub line: u32,
    pub nr_lines: u32,
    pub record_size: u32,
    pub flags: u32,
    pub reserved: [u32; 2],
}

/// The argument of [`RESTORE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Restore {
    pub lines: u64,
    pub line: u32,
    pub nr_lines: u32,
    pub record_size: u32,
    pub failed: u32,
    pub flags: u32,
    pub reserved: [u32; 3],
}

const _: () = assert!(size_of::<GetInfo>() == 128);
const _: () = assert!(size_of::<SetLines>() == 32);
const _: () = assert!(size_of::<Irqfd>() == 32);
const _: () = assert!(size_of::<Trigger>() == 32);
const _: () = assert!(size_of::<Query>() == 80);
const _: () = assert!(size_of::<SetType>() == 32);
const _: () = assert!(size_of::<SetLevel>() == 32);
const _: () = assert!(size_of::<Notifier>() == 32);
const _: () = assert!(size_of::<LineSet>() == 40);
const _: () = assert!(size_of::<LineStatus>() == 64);
const _: () = assert!(size_of::<Eventfd>() == 32);
const _: () = assert!(size_of::<RingWait>() == 48);
const _: () = assert!(size_of::<Wait>() == 40);
const _: () = assert!(size_of::<Summary>() == 32);
const _: () = assert!(size_of::<SummaryMap>() == 256);
const _: () = assert!(size_of::<Region>() == 48);
const _: () = assert!(size_of::<Regions>() == 32);
const _: () = assert!(size_of::<RegionInfo>() == 48);
const _: () = assert!(size_of::<GetRegions>() == 32);
const _: () = assert!(size_of::<BusAccess>() == 24);
const _: () = assert!(size_of::<BusWrite>() == 32);
const _: () = assert!(size_of::<SetRecords>() == 32);
const _: () = assert!(size_of::<Record>() == 32);
const _: () = assert!(size_of::<RecordRing>() == 128);
const _: () = assert!(size_of::<GetBus>() == 64);
const _: () = assert!(size_of::<SavedLine>() == 80);
const _: () = assert!(size_of::<Save>() == 32);
const _: () = assert!(size_of::<Restore>() == 40);
const _: () = assert!(size_of::<Value>() == 64);

pub const IOC_MAGIC: u32 = 0xDB;

// The kernel takes an `unsigned int`; the type of libc's depends on the C library.
pub const GET_INFO: u32 = _IOR::<GetInfo>(IOC_MAGIC, 0) as u32;
pub const SET_LINES: u32 = _IOW::<SetLines>(IOC_MAGIC, 1) as u32;
pub const RING: u32 = _IO(IOC_MAGIC, 2) as u32;
pub const IRQFD: u32 = _IOW::<Irqfd>(IOC_MAGIC, 3) as u32;
pub const TRIGGER: u32 = _IOW::<Trigger>(IOC_MAGIC, 4) as u32;
pub const QUERY: u32 = _IOWR::<Query>(IOC_MAGIC, 5) as u32;
pub const EVENTFD_READ: u32 = _IOWR::<Eventfd>(IOC_MAGIC, 6) as u32;
pub const EVENTFD_PEEK: u32 = _IOWR::<Eventfd>(IOC_MAGIC, 7) as u32;
pub const MASK: u32 = _IOW::<LineSet>(IOC_MAGIC, 8) as u32;
pub const UNMASK: u32 = _IOW::<LineSet>(IOC_MAGIC, 9) as u32;
pub const CLEAR: u32 = _IOW::<LineSet>(IOC_MAGIC, 10) as u32;
pub const PENDING: u32 = _IOW::<LineSet>(IOC_MAGIC, 11) as u32;
pub const NOTIFIER: u32 = _IOW::<Notifier>(IOC_MAGIC, 12) as u32;
pub const SET_TYPE: u32 = _IOW::<SetType>(IOC_MAGIC, 13) as u32;
pub const SET_LEVEL: u32 = _IOW::<SetLevel>(IOC_MAGIC, 14) as u32;
pub const ACK: u32 = _IO(IOC_MAGIC, 15) as u32;
pub const REGION: u32 = _IOW::<Region>(IOC_MAGIC, 16) as u32;
pub const REGIONS: u32 = _IOWR::<Regions>(IOC_MAGIC, 17) as u32;
pub const GET_REGIONS: u32 = _IOW::<GetRegions>(IOC_MAGIC, 18) as u32;
pub const BUS_WRITE: u32 = _IOW::<BusWrite>(IOC_MAGIC, 19) as u32;
pub const SET_RECORDS: u32 = _IOW::<SetRecords>(IOC_MAGIC, 20) as u32;
pub const GET_BUS: u32 = _IOR::<GetBus>(IOC_MAGIC, 21) as u32;
pub const RING_WAIT: u32 = _IOWR::<RingWait>(IOC_MAGIC, 22) as u32;
pub const WAIT: u32 = _IOWR::<Wait>(IOC_MAGIC, 23) as u32;
pub const RING_LINES: u32 = _IOW::<LineSet>(IOC_MAGIC, 24) as u32;
pub const SAVE: u32 = _IOW::<Save>(IOC_MAGIC, 26) as u32;
pub const RESTORE: u32 = _IOWR::<Restore>(IOC_MAGIC, 27) as u32;
pub const MODERATE: u32 = _IOWR::<Moderate>(IOC_MAGIC, 28) as u32;
pub const SUMMARY: u32 = _IOW::<Summary>(IOC_MAGIC, 29) as u32;
