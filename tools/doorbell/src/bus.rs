// SPDX-License-Identifier: GPL-2.0-only

//! A context's bus: regions, where a write is a signal, and the values that they keep.
//!
//! ```no_run
//! use doorbell::{Access, Context, EventFd, Region, Space, Target};
//!
//! let context = Context::open()?;
//! context.set_lines(1)?;
//! let kick = EventFd::new(0)?;
//! let register = Region::mmio(0xfe00_0000, 4);
//! context.assign_region(&register, Target::eventfd(&kick))?;
//! context.write_bus(&[Access::new(Space::Mmio, 0xfe00_0000, 4, 1)])?;
//! context.pwrite(0xfe00_0000, &1u32.to_ne_bytes())?; // the same
//! assert_eq!(kick.read()?, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{
    sys::{self, bus::Ring},
    uapi, Context, Error, Result,
};
use std::{
    fmt, io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

pub use uapi::BusAccess as Access;

/// An address space of a bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Memory-mapped I/O.
    #[default]
    Mmio,
    /// Ports.
    Pio,
}

impl Space {
    fn code(self) -> u32 {
        match self {
            Space::Mmio => uapi::SPACE_MMIO,
            Space::Pio => uapi::SPACE_PIO,
        }
    }

    fn from_code(code: u32) -> Self {
        match code {
            uapi::SPACE_PIO => Space::Pio,
            _ => Space::Mmio,
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Space::Mmio => "mmio",
            Space::Pio => "pio",
        })
    }
}

/// Which writes are meant: where, how long, and perhaps of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Region {
    /// In which space.
    pub space: Space,
    /// Where a write has to begin.
    pub addr: u64,
    /// How many bytes it has to have: 1, 2, 4 or 8; 0: any of these.
    pub length: u32,
    /// What has to be written; none: anything.
    pub datamatch: Option<u64>,
    /// Whether what is written is kept.
    pub record: bool,
}

impl Region {
    /// Anything that is written to a place in `space`.
    pub fn new(space: Space, addr: u64, length: u32) -> Self {
        Self {
            space,
            addr,
            length,
            datamatch: None,
            record: false,
        }
    }

    /// Anything that is written to a place in memory.
    pub fn mmio(addr: u64, length: u32) -> Self {
        Self::new(Space::Mmio, addr, length)
    }

    /// Anything that is written to a port.
    pub fn pio(addr: u64, length: u32) -> Self {
        Self::new(Space::Pio, addr, length)
    }

    /// Only `value`.
    pub fn datamatch(mut self, value: u64) -> Self {
        self.datamatch = Some(value);
        self
    }

    /// Keeps what is written.
    pub fn record(mut self) -> Self {
        self.record = true;
        self
    }

    fn arg(&self, target: Target<'_>, flags: u32) -> uapi::Region {
        let mut arg = uapi::Region {
            addr: self.addr,
            datamatch: self.datamatch.unwrap_or(0),
            space: self.space.code(),
            length: self.length,
            flags,
            ..Default::default()
        };
        if self.datamatch.is_some() {
            arg.flags |= uapi::REGION_FLAG_DATAMATCH;
        }
        if self.record && flags & uapi::REGION_FLAG_DEASSIGN == 0 {
            arg.flags |= uapi::REGION_FLAG_RECORD;
        }
        match target {
            Target::Eventfd(fd) => arg.fd = fd.as_raw_fd(),
            Target::Unknown => arg.fd = -1,
            Target::Line(line) => {
                arg.line = line;
                arg.flags |= uapi::REGION_FLAG_LINE;
            }
        }
        arg
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:#x}", self.space, self.addr)?;
        match self.length {
            0 => f.write_str(", any length")?,
            1 => f.write_str(", 1 byte")?,
            n => write!(f, ", {n} bytes")?,
        }
        match self.datamatch {
            Some(value) => write!(f, ", value {value:#x}"),
            None => Ok(()),
        }
    }
}

/// What a write to a region does.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// It signals an eventfd.
    Eventfd(BorrowedFd<'a>),
    /// It rings a line.
    Line(u32),
    /// It signals an eventfd that is not at hand any more; to deassign only.
    Unknown,
}

impl<'a> Target<'a> {
    /// It signals `fd`.
    pub fn eventfd(fd: &'a impl AsFd) -> Self {
        Self::Eventfd(fd.as_fd())
    }
}

/// Regions that are to come and to go, all at once.
#[derive(Clone, Debug, Default)]
pub struct Changes<'a> {
    regions: Vec<uapi::Region>,
    /// The eventfds have to be open until it is done.
    eventfds: PhantomData<BorrowedFd<'a>>,
}

impl<'a> Changes<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one that is to be assigned.
    pub fn assign(&mut self, region: &Region, target: Target<'a>) -> &mut Self {
        self.regions.push(region.arg(target, 0));
        self
    }

    /// Adds one that is to be deassigned.
    pub fn deassign(&mut self, region: &Region, target: Target<'a>) -> &mut Self {
        self.regions
            .push(region.arg(target, uapi::REGION_FLAG_DEASSIGN));
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }
}

/// A region that is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RegionInfo {
    /// What it takes.
    #[serde(flatten)]
    pub region: Region,
    /// The line that it rings; none: it signals an eventfd.
    pub line: Option<u32>,
    /// How many writes have gone to it.
    pub writes: u64,
}

impl RegionInfo {
    /// As much of its target as is known, which is enough to deassign it.
    pub fn target(&self) -> Target<'static> {
        self.line.map_or(Target::Unknown, Target::Line)
    }
}

impl From<uapi::RegionInfo> for RegionInfo {
    fn from(info: uapi::RegionInfo) -> Self {
        let has = |flag| info.flags & flag != 0;
        Self {
            region: Region {
                space: Space::from_code(info.space),
                addr: info.addr,
                length: info.length,
                datamatch: has(uapi::REGION_FLAG_DATAMATCH).then_some(info.datamatch),
                record: has(uapi::REGION_FLAG_RECORD),
            },
            line: has(uapi::REGION_FLAG_LINE).then_some(info.line),
            writes: info.writes,
        }
    }
}

impl Access {
    /// A write of `value`, as `length` bytes, to `addr`.
    pub fn new(space: Space, addr: u64, length: u32, value: u64) -> Self {
        Self {
            addr,
            value,
            length,
            space: space.code(),
        }
    }
}

/// A write that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Record {
    /// 1 for the first, and one more for each.
    pub sequence: u64,
    /// In which space.
    pub space: Space,
    /// Where it began.
    pub addr: u64,
    /// How many bytes it had.
    pub length: u32,
    /// What was written.
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

/// The records of a context, mapped: taking them out takes no system call.
///
/// As an iterator it ends where nothing more has been kept, and can go on later. There can be one
/// consumer at a time, so nobody else may take records of the same context out meanwhile, be it by
/// another mapping or by [`Context::take_records`]; otherwise some come out twice.
pub struct Records(Ring);

impl Iterator for Records {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        self.0.take().map(Record::from)
    }
}

/// What a bus has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BusInfo {
    /// Regions assigned now.
    pub regions: u32,
    /// How many records there is room for; 0 until that is chosen.
    pub records: u32,
    /// How many writes were kept.
    pub recorded: u64,
    /// How many were refused because there was no room.
    pub refused: u64,
}

/// What to do about an error of the bus.
pub(crate) fn advice(what: &str, errno: i32) -> Option<&'static str> {
    let any = |words: &[&str]| words.iter().any(|word| what.contains(word));
    if any(&["records"]) {
        return match errno {
            libc::EEXIST => Some("their number can be chosen once"),
            libc::ENXIO => Some("the context keeps nothing yet: choose how many records first"),
            libc::EINVAL => Some("it has to be a power of two; doorbell info shows the limit"),
            _ => None,
        };
    }
    if any(&["write"]) {
        return match errno {
            libc::EOPNOTSUPP => Some(
                "no region takes it: address, length and value have to match; doorbell bus list \
                 shows what there is",
            ),
            libc::ENOBUFS => {
                Some("there is no room to record it: take records out (doorbell bus records)")
            }
            libc::EINVAL => Some("1, 2, 4 or 8 bytes, within the space, of a value that fits them"),
            libc::ENXIO => Some(NO_LINES),
            _ => None,
        };
    }
    if any(&["region"]) {
        return match errno {
            libc::EBUSY => Some(
                "it overlaps another region of a different shape: doorbell bus list shows them",
            ),
            libc::EINVAL => Some(
                "the length is 1, 2, 4 or 8 (or 0: any, without datamatch), within the space, and \
                 a datamatch fits it",
            ),
            libc::ENXIO => {
                Some("there is no such line, or no records: doorbell info")
            }
            _ => None,
        };
    }
    (what.contains("bus") && errno == libc::ENXIO).then_some(NO_LINES)
}

const NO_LINES: &str = "the context has no lines yet: whoever opened it chooses how many first";

/// How many regions are described by one call.
const PAGE: usize = 1024;

impl Context {
    /// Has each write to `region` do what `target` says.
    pub fn assign_region(&self, region: &Region, target: Target<'_>) -> Result {
        self.region(region, target, 0)
    }

    /// The opposite. When this returns, nothing that was written there is yet to be signalled.
    pub fn deassign_region(&self, region: &Region, target: Target<'_>) -> Result {
        self.region(region, target, uapi::REGION_FLAG_DEASSIGN)
    }

    fn region(&self, region: &Region, target: Target<'_>, flags: u32) -> Result {
        let mut arg = region.arg(target, flags);
        sys::ioctl(self.as_fd(), uapi::REGION, &mut arg)
            .map_err(|error| Error::new(format!("{} region {region}", crate::verb(flags)), error))
    }

    /// Assigns and deassigns all of these in one step, or none.
    pub fn change_regions(&self, changes: &Changes<'_>) -> Result {
        if changes.is_empty() {
            return Ok(());
        }
        sys::bus::regions(self.as_fd(), &changes.regions).map_err(|(error, failed)| {
            let mut what = format!("change {} regions", changes.len());
            // Zero may be the first, or none of them.
            let of_one = matches!(
                error.raw_os_error(),
                Some(libc::EEXIST | libc::EBUSY | libc::ENOENT | libc::EBADF)
            );
            if let Some(arg) = changes.regions.get(failed as usize) {
                if failed != 0 || of_one {
                    let verb = crate::verb(arg.flags);
                    what += &format!(", number {failed} ({verb} {:#x})", arg.addr);
                }
            }
            Error::new(what, error)
        })
    }

    /// All regions, in the order of space, address and datamatch. They are asked for in pieces: what
    /// changes meanwhile can be missing, or there twice.
    pub fn regions(&self) -> Result<Vec<RegionInfo>> {
        let mut all = Vec::new();
        let mut page = vec![uapi::RegionInfo::default(); PAGE];
        loop {
            let count = sys::bus::region_infos(self.as_fd(), all.len() as u32, &mut page)
                .map_err(|error| Error::new("list regions", error))?;
            all.extend(page[..count].iter().copied().map(RegionInfo::from));
            if count < page.len() {
                return Ok(all);
            }
        }
    }

    /// Writes to the bus, one after the other; returns how many, until one failed. If that is the
    /// first, fails as that did: with EOPNOTSUPP, if no region takes it.
    #[inline]
    pub fn write_bus(&self, accesses: &[Access]) -> Result<usize> {
        sys::bus::bus_write(self.as_fd(), accesses).map_err(|error| {
            let at = accesses.first().copied().unwrap_or_default();
            let space = Space::from_code(at.space);
            let what = format!("write {:#x} ({} bytes) to {space}", at.value, at.length);
            Error::new(format!("{what} {:#x}", at.addr), error)
        })
    }

    /// Writes 1, 2, 4 or 8 bytes, in this machine's order, to an address of [`Space::Mmio`] below
    /// 2^63: what [`Context::write_bus`] does, by pwrite(2).
    #[inline]
    pub fn pwrite(&self, addr: u64, bytes: &[u8]) -> Result {
        let written = i64::try_from(addr)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
            .and_then(|offset| sys::bus::pwrite(self.as_fd(), bytes, offset));
        match written {
            Ok(_) => Ok(()),
            Err(error) => {
                let what = format!("write {} bytes to mmio {addr:#x}", bytes.len());
                Err(Error::new(what, error))
            }
        }
    }

    /// Writes each of `parts` to where the one before has ended, by pwritev(2); returns how many
    /// bytes, until one failed.
    pub fn pwritev(&self, addr: u64, parts: &[io::IoSlice<'_>]) -> Result<usize> {
        i64::try_from(addr)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
            .and_then(|offset| sys::bus::pwritev(self.as_fd(), parts, offset))
            .map_err(|error| {
                Error::new(
                    format!("write {} parts to mmio {addr:#x}", parts.len()),
                    error,
                )
            })
    }

    /// Chooses how many writes can be kept, once; a power of two.
    pub fn set_records(&self, nr_records: u32) -> Result {
        let mut arg = uapi::SetRecords {
            nr_records,
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), uapi::SET_RECORDS, &mut arg)
            .map_err(|error| Error::new(format!("set {nr_records} records"), error))
    }

    /// Maps the records.
    pub fn records(&self) -> Result<Records> {
        let failed = |error| Error::new("map the records", error);
        match self.bus()?.records {
            0 => Err(failed(io::Error::from_raw_os_error(libc::ENXIO))),
            records => Ring::map(self.as_fd(), self.info()?.records_offset, records)
                .map(Records)
                .map_err(failed),
        }
    }

    /// Takes up to `most` records out, by read(2); none, if nothing was kept.
    pub fn take_records(&self, most: usize) -> Result<Vec<Record>> {
        let mut records = vec![uapi::Record::default(); most.max(1)];
        let count = match sys::bus::read_records(self.as_fd(), &mut records) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            count => count.map_err(|error| Error::new("read records", error))?,
        };
        records.truncate(count);
        Ok(records.into_iter().map(Record::from).collect())
    }

    /// What the bus has done.
    pub fn bus(&self) -> Result<BusInfo> {
        let mut bus = uapi::GetBus::default();
        sys::ioctl(self.as_fd(), uapi::GET_BUS, &mut bus)
            .map_err(|error| Error::new("look at the bus", error))?;
        Ok(BusInfo {
            regions: bus.nr_regions,
            records: bus.nr_records,
            recorded: bus.recorded,
            refused: bus.refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventFd;

    #[test]
    fn region_says_what_it_needs_to() {
        let eventfd = EventFd::new(0).unwrap();
        let region = Region::pio(0xcf8, 4).datamatch(7).record();
        let arg = region.arg(Target::eventfd(&eventfd), 0);
        assert_eq!((arg.addr, arg.length, arg.datamatch), (0xcf8, 4, 7));
        assert_eq!((arg.space, arg.line), (uapi::SPACE_PIO, 0));
        assert_eq!(arg.fd, eventfd.as_fd().as_raw_fd());
        assert_eq!(
            arg.flags,
            uapi::REGION_FLAG_DATAMATCH | uapi::REGION_FLAG_RECORD
        );
        // Zero is a value, too; and what it keeps is no part of what is deassigned.
        let region = Region::mmio(0x10, 8).datamatch(0).record();
        let arg = region.arg(Target::Line(3), uapi::REGION_FLAG_DEASSIGN);
        assert_eq!((arg.fd, arg.line, arg.space), (0, 3, uapi::SPACE_MMIO));
        let flags =
            uapi::REGION_FLAG_DEASSIGN | uapi::REGION_FLAG_DATAMATCH | uapi::REGION_FLAG_LINE;
        assert_eq!(arg.flags, flags);
        let arg = Region::mmio(0x10, 0).arg(Target::Unknown, uapi::REGION_FLAG_DEASSIGN);
        assert_eq!((arg.fd, arg.flags), (-1, uapi::REGION_FLAG_DEASSIGN));
    }

    #[test]
    fn what_is_listed_can_be_deassigned() {
        for (region, target) in [
            (Region::mmio(0x1000, 4).datamatch(5), Target::Line(0)),
            (Region::pio(u64::MAX, 1).record(), Target::Unknown),
        ] {
            let arg = region.arg(target, 0);
            let listed = RegionInfo::from(uapi::RegionInfo {
                addr: arg.addr,
                datamatch: arg.datamatch,
                space: arg.space,
                length: arg.length,
                flags: arg.flags,
                line: arg.line,
                writes: 9,
                reserved: 0,
            });
            assert_eq!((listed.region, listed.writes), (region, 9));
            let again = listed
                .region
                .arg(listed.target(), uapi::REGION_FLAG_DEASSIGN);
            let wanted = region.arg(target, uapi::REGION_FLAG_DEASSIGN);
            assert_eq!(format!("{again:?}"), format!("{wanted:?}"));
        }
    }

    #[test]
    fn errors_of_the_bus_have_advice_of_their_own() {
        let error = |what: &str, errno| Error::new(what, io::Error::from_raw_os_error(errno));
        let untaken = error("write 0x1 (4 bytes) to mmio 0x1000", libc::EOPNOTSUPP);
        assert!(untaken.to_string().contains("no region takes it"));
        let clash = error("assign region mmio 0x1000, 4 bytes", libc::EBUSY);
        assert!(clash.to_string().contains("overlaps"));
        let full = error("write 0x1 (4 bytes) to mmio 0x1000", libc::ENOBUFS);
        assert!(full.to_string().contains("take records out"));
        let again = error("set 64 records", libc::EEXIST);
        assert!(again.to_string().contains("once"));
        let gone = error("deassign region mmio 0x1000, 4 bytes", libc::ENOENT);
        assert!(gone.to_string().contains("it is not assigned"));
    }

    #[test]
    fn addresses_that_pwrite_cannot_reach_are_refused() {
        let context = Context::open_path("/dev/null").unwrap();
        assert!(context.pwrite(1 << 62, &[0]).is_ok());
        let error = context.pwrite(1 << 63, &[0]).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EINVAL));
        assert!(context.pwritev(1 << 63, &[]).is_err());
    }

    #[test]
    fn regions_are_written_as_people_would() {
        assert_eq!(
            Region::mmio(0x1000, 4).datamatch(7).to_string(),
            "mmio 0x1000, 4 bytes, value 0x7"
        );
        assert_eq!(Region::pio(0xcf8, 0).to_string(), "pio 0xcf8, any length");
        assert_eq!(Region::pio(1, 1).to_string(), "pio 0x1, 1 byte");
    }
}
