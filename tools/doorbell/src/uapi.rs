// SPDX-License-Identifier: GPL-2.0-only

//! The ABI of include/uapi/linux/doorbell.h. `tests/uapi.rs` compares every size, offset and
//! number with what a C compiler makes of the header.

#![allow(missing_docs)] // The header says what they are.

use std::mem::size_of;

pub const ABI_VERSION: u32 = 1;
pub const MAX_LINES: u32 = 65536;
pub const MAX_TRIGGERS_PER_LINE: u32 = 64;
pub const MAX_IRQFDS: u32 = 262_144;
pub const MAX_NOTIFIERS_PER_LINE: u32 = 64;
pub const MAX_REGIONS: u32 = 262_144;
pub const MAX_RECORDS: u32 = 1_048_576;
pub const MAX_EVENTFDS: u32 = 262_144;
pub const MAX_SEARCHED_TRIGGERS: u32 = 65536;
pub const FEATURE_EVENTFD_READ: u64 = 1 << 0;
pub const FEATURE_EVENTFD_PEEK: u64 = 1 << 1;
pub const MAX_RESAMPLEFDS_PER_LINE: u32 = 64;
pub const FEATURE_MASK: u64 = 1 << 2;
pub const FEATURE_LEVEL: u64 = 1 << 3;
pub const FEATURE_BUS: u64 = 1 << 4;
pub const SET_LINES_FLAG_MASKED: u32 = 1 << 0;
pub const IRQFD_FLAG_DEASSIGN: u32 = 1 << 0;
pub const IRQFD_FLAG_RESAMPLE: u32 = 1 << 1;
pub const TRIGGER_FLAG_DEASSIGN: u32 = 1 << 0;
pub const TRIGGER_FLAG_ALL: u32 = 1 << 1;
pub const NOTIFIER_FLAG_DEASSIGN: u32 = 1 << 0;
pub const NOTIFIER_FLAG_ALL: u32 = 1 << 1;
pub const REGION_FLAG_DEASSIGN: u32 = 1 << 0;
pub const REGION_FLAG_DATAMATCH: u32 = 1 << 1;
pub const REGION_FLAG_LINE: u32 = 1 << 2;
pub const REGION_FLAG_RECORD: u32 = 1 << 3;
pub const SPACE_MMIO: u32 = 0;
pub const SPACE_PIO: u32 = 1;
pub const NOTIFY_MASK: u32 = 1 << 0;
pub const NOTIFY_UNMASK: u32 = 1 << 1;
pub const NOTIFY_ACK: u32 = 1 << 2;
pub const TYPE_EDGE: u32 = 0;
pub const TYPE_LEVEL: u32 = 1;
pub const LINE_PENDING: u32 = 1 << 0;
pub const LINE_MASKED: u32 = 1 << 1;
pub const LINE_LEVEL: u32 = 1 << 2;
pub const LINE_ASSERTED: u32 = 1 << 3;
pub const LINE_RAISED: u32 = 1 << 4;
pub const LINE_RESAMPLE: u32 = 1 << 5;
pub const LINE_STATE: u32 = 0xff;
pub const EVENTFD_FLAG_NOWAIT: u32 = 1 << 0;
pub const RING_COALESCED: i32 = 0;
pub const RING_DELIVERED: i32 = 1;
pub const RING_MASKED: i32 = 2;
pub const ACK_NOTHING: i32 = 0;
pub const ACK_DONE: i32 = 1;
pub const ACK_POSTPONED: i32 = 2;

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
    pub reserved: [u32; 12],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetLines {
    pub nr_lines: u32,
    pub flags: u32,
    pub reserved: [u32; 6],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Irqfd {
    pub fd: i32,
    pub line: u32,
    pub flags: u32,
    pub resamplefd: i32,
    pub reserved: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Trigger {
    pub fd: i32,
    pub line: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

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
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notifier {
    pub fd: i32,
    pub line: u32,
    pub flags: u32,
    pub events: u32,
    pub reserved: [u32; 4],
}

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

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LineStatus {
    pub state: u32,
    pub reserved0: u32,
    pub deliveries: u64,
    pub coalesced: u64,
    pub dropped: u64,
    pub deferred: u64,
    pub acks: u64,
    pub reserved: [u64; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetType {
    pub line: u32,
    pub type_: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetLevel {
    pub line: u32,
    pub level: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Eventfd {
    pub fd: i32,
    pub flags: u32,
    pub count: u64,
    pub reserved: [u32; 4],
}

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
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Regions {
    pub regions: u64,
    pub nr_regions: u32,
    pub failed: u32,
    pub flags: u32,
    pub reserved: [u32; 3],
}

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
    pub reserved: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GetRegions {
    pub infos: u64,
    pub first: u32,
    pub nr_infos: u32,
    pub flags: u32,
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BusAccess {
    pub addr: u64,
    pub value: u64,
    pub length: u32,
    pub space: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BusWrite {
    pub accesses: u64,
    pub nr_accesses: u32,
    pub flags: u32,
    pub reserved: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetRecords {
    pub nr_records: u32,
    pub flags: u32,
    pub reserved: [u32; 6],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    pub sequence: u64,
    pub addr: u64,
    pub value: u64,
    pub length: u32,
    pub space: u32,
}

/// Without the records that follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRing {
    pub head: u64,
    pub reserved: [u64; 15],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GetBus {
    pub nr_regions: u32,
    pub nr_records: u32,
    pub recorded: u64,
    pub refused: u64,
    pub reserved: [u64; 5],
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

pub const IOC_MAGIC: u32 = 0xDB;
const NONE: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn ioc(dir: u32, nr: u32, size: usize) -> u32 {
    (dir << 30) | ((size as u32) << 16) | (IOC_MAGIC << 8) | nr
}

pub const GET_INFO: u32 = ioc(READ, 0, size_of::<GetInfo>());
pub const SET_LINES: u32 = ioc(WRITE, 1, size_of::<SetLines>());
pub const RING: u32 = ioc(NONE, 2, 0);
pub const IRQFD: u32 = ioc(WRITE, 3, size_of::<Irqfd>());
pub const TRIGGER: u32 = ioc(WRITE, 4, size_of::<Trigger>());
pub const QUERY: u32 = ioc(READ | WRITE, 5, size_of::<Query>());
pub const EVENTFD_READ: u32 = ioc(READ | WRITE, 6, size_of::<Eventfd>());
pub const EVENTFD_PEEK: u32 = ioc(READ | WRITE, 7, size_of::<Eventfd>());
pub const MASK: u32 = ioc(WRITE, 8, size_of::<LineSet>());
pub const UNMASK: u32 = ioc(WRITE, 9, size_of::<LineSet>());
pub const CLEAR: u32 = ioc(WRITE, 10, size_of::<LineSet>());
pub const PENDING: u32 = ioc(WRITE, 11, size_of::<LineSet>());
pub const NOTIFIER: u32 = ioc(WRITE, 12, size_of::<Notifier>());
pub const SET_TYPE: u32 = ioc(WRITE, 13, size_of::<SetType>());
pub const SET_LEVEL: u32 = ioc(WRITE, 14, size_of::<SetLevel>());
pub const ACK: u32 = ioc(NONE, 15, 0);
pub const REGION: u32 = ioc(WRITE, 16, size_of::<Region>());
pub const REGIONS: u32 = ioc(READ | WRITE, 17, size_of::<Regions>());
pub const GET_REGIONS: u32 = ioc(WRITE, 18, size_of::<GetRegions>());
pub const BUS_WRITE: u32 = ioc(WRITE, 19, size_of::<BusWrite>());
pub const SET_RECORDS: u32 = ioc(WRITE, 20, size_of::<SetRecords>());
pub const GET_BUS: u32 = ioc(READ, 21, size_of::<GetBus>());
