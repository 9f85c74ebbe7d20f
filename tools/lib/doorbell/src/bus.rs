// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{
    Context, Error, FailedChange, Operation, Record, RecordRing, Result,
    sys::{self, RecordMapping},
    uapi,
};
use std::{
    fmt, io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, RawFd},
};

/// An address space of a context's bus.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::Space::Pio.to_string(), "pio");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Space {
    /// Memory-mapped I/O.
    #[default]
    Mmio,
    /// I/O ports.
    Pio,
}

impl Space {
    fn code(self) -> u32 {
        match self {
            Space::Mmio => uapi::SPACE_MMIO,
            Space::Pio => uapi::SPACE_PIO,
        }
    }

    pub(crate) fn from_code(code: u32) -> Self {
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

/// An address of the bus: KVM's ioeventfd without KVM. A write that matches the region signals an
/// eventfd or rings a line.
///
/// # Examples
///
/// ```
/// use doorbell::Region;
///
/// let queue = Region::mmio(0xfe00_3000, 2).datamatch(7);
/// assert_eq!(queue.to_string(), "mmio 0xfe003000, 2 bytes, value 0x7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Region {
    /// Address space.
    pub space: Space,
    /// Address of the first byte of a write.
    pub addr: u64,
    /// Number of bytes of a write: 1, 2, 4 or 8; 0 matches any of these.
    pub length: u32,
    /// Value of a write; `None` matches any value.
    pub datamatch: Option<u64>,
    /// Writes are recorded.
    pub record: bool,
}

impl Region {
    /// Returns a region that matches any value written to `addr` in `space`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::{Region, Space};
    /// assert_eq!(Region::new(Space::Pio, 0xcf8, 4), Region::pio(0xcf8, 4));
    /// ```
    pub fn new(space: Space, addr: u64, length: u32) -> Self {
        Self {
            space,
            addr,
            length,
            datamatch: None,
            record: false,
        }
    }

    /// Returns a region in [`Space::Mmio`] that matches any value.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::Region;
    /// assert_eq!(Region::mmio(0x1000, 4).datamatch, None);
    /// ```
    pub fn mmio(addr: u64, length: u32) -> Self {
        Self::new(Space::Mmio, addr, length)
    }

    /// Returns a region in [`Space::Pio`] that matches any value.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::{Region, Space};
    /// assert_eq!(Region::pio(0xcf8, 4).space, Space::Pio);
    /// ```
    pub fn pio(addr: u64, length: u32) -> Self {
        Self::new(Space::Pio, addr, length)
    }

    /// Makes the region match writes of `value` only.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::Region;
    /// assert_eq!(Region::mmio(0x1000, 4).datamatch(7).datamatch, Some(7));
    /// ```
    pub fn datamatch(mut self, value: u64) -> Self {
        self.datamatch = Some(value);
        self
    }

    /// Makes the region record its writes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::Region;
    /// assert!(Region::mmio(0x1000, 4).record().record);
    /// ```
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
        match target.kind {
            Kind::Eventfd(fd) => arg.fd = fd,
            Kind::Line(line) => {
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

/// The eventfd or the line of a region.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, EventFd, Region, Target};
///
/// # let context = Context::open()?;
/// let kick = EventFd::new(0)?;
/// context.assign_region(&Region::mmio(0x1000, 4), Target::eventfd(&kick))?;
/// context.assign_region(&Region::mmio(0x2000, 4), Target::line(3))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    kind: Kind,
    /// The eventfd stays open as long as it is borrowed.
    eventfd: PhantomData<&'a ()>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Eventfd(RawFd),
    Line(u32),
}

impl<'a> Target<'a> {
    /// Returns a target that signals `fd`, an eventfd of [any type](crate#file-descriptors).
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::{EventFd, Target};
    /// let eventfd = EventFd::new(0)?;
    /// let target = Target::eventfd(&eventfd);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn eventfd(fd: &'a impl AsRawFd) -> Self {
        Self {
            kind: Kind::Eventfd(fd.as_raw_fd()),
            eventfd: PhantomData,
        }
    }
}

impl Target<'static> {
    /// Returns a target that rings `line`.
    ///
    /// # Examples
    ///
    /// ```
    /// let target = doorbell::Target::line(3);
    /// ```
    pub fn line(line: u32) -> Self {
        Self {
            kind: Kind::Line(line),
            eventfd: PhantomData,
        }
    }

    /// Returns the target of a region whose eventfd the caller has closed. Such a region can only be
    /// deassigned.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, Region, Target};
    /// # let context = Context::open()?;
    /// context.deassign_region(&Region::mmio(0x1000, 4), Target::closed())?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn closed() -> Self {
        Self {
            kind: Kind::Eventfd(-1),
            eventfd: PhantomData,
        }
    }
}

/// Regions to be assigned and deassigned in one step, by [`Context::change_regions`].
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Changes, Context, Region, Target};
///
/// # let context = Context::open()?;
/// // A guest has moved a BAR.
/// let mut changes = Changes::new();
/// changes.deassign(&Region::mmio(0xfe00_0000, 4), Target::line(3));
/// changes.assign(&Region::mmio(0xfd00_0000, 4), Target::line(3));
/// context.change_regions(&changes)?;
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Changes<'a> {
    regions: Vec<uapi::Region>,
    /// The eventfds stay open until the call.
    eventfds: PhantomData<&'a ()>,
}

impl<'a> Changes<'a> {
    /// Returns an empty list.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(doorbell::Changes::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a region to be assigned.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::{Changes, Region, Target};
    /// let mut changes = Changes::new();
    /// changes.assign(&Region::mmio(0x1000, 4), Target::line(3));
    /// assert_eq!(changes.len(), 1);
    /// ```
    pub fn assign(&mut self, region: &Region, target: Target<'a>) -> &mut Self {
        self.regions.push(region.arg(target, 0));
        self
    }

    /// Adds a region to be deassigned.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::{Changes, Region, Target};
    /// let mut changes = Changes::new();
    /// changes.deassign(&Region::mmio(0x1000, 4), Target::line(3));
    /// assert_eq!(changes.len(), 1);
    /// ```
    pub fn deassign(&mut self, region: &Region, target: Target<'a>) -> &mut Self {
        self.regions
            .push(region.arg(target, uapi::REGION_FLAG_DEASSIGN));
        self
    }

    /// Returns the number of changes.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(doorbell::Changes::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Returns true if there are no changes.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(doorbell::Changes::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }
}

fn region_operation(flags: u32) -> Operation {
    match flags & uapi::REGION_FLAG_DEASSIGN {
        0 => Operation::AssignRegion,
        _ => Operation::DeassignRegion,
    }
}

/// An assigned region, from [`Context::regions`].
///
/// # Examples
///
/// ```no_run
/// # let context = doorbell::Context::open()?;
/// for info in context.regions()? {
///     println!("{}: {} writes", info.region, info.writes);
/// }
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RegionInfo {
    /// The region.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub region: Region,
    /// Line that the region rings; `None` if it signals an eventfd.
    pub line: Option<u32>,
    /// Number of writes that matched the region.
    pub writes: u64,
}

impl RegionInfo {
    /// Returns a target that is sufficient to deassign the region.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// for info in context.regions()? {
    ///     context.deassign_region(&info.region, info.target())?;
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn target(&self) -> Target<'static> {
        self.line.map_or(Target::closed(), Target::line)
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

/// A write to the bus, for [`Context::write_bus`].
///
/// # Examples
///
/// ```
/// use doorbell::{Access, Space};
///
/// let access = Access::new(Space::Mmio, 0x1000, 4, 7);
/// assert_eq!(access.to_string(), "0x7 (4 bytes) to mmio 0x1000");
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Access(uapi::BusAccess);

impl Access {
    /// Returns a write of `value`, which has `length` bytes, to `addr`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::{Access, Space};
    /// let access = Access::new(Space::Pio, 0xcf8, 4, 0x8000_0000);
    /// ```
    pub fn new(space: Space, addr: u64, length: u32, value: u64) -> Self {
        Self(uapi::BusAccess {
            addr,
            value,
            length,
            space: space.code(),
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uapi::BusAccess {
            addr,
            value,
            length,
            space,
        } = self.0;
        let space = Space::from_code(space);
        write!(f, "{value:#x} ({length} bytes) to {space} {addr:#x}")
    }
}

/// Counters of a context's bus, from [`Context::bus_info`].
///
/// # Examples
///
/// ```no_run
/// # let context = doorbell::Context::open()?;
/// let bus = context.bus_info()?;
/// println!("{} of {} writes were refused", bus.refused, bus.recorded + bus.refused);
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BusInfo {
    /// Regions assigned.
    pub regions: u32,
    /// Number of records, 0 until [`Context::set_records`].
    pub records: u32,
    /// Writes that were recorded.
    pub recorded: u64,
    /// Writes that were refused because there was no room to record them.
    pub refused: u64,
}

/// The number of regions that one call lists.
const PAGE: usize = 1024;

/// The bus: writes to regions signal eventfds or ring lines.
impl Context {
    /// Assigns `region`: each write that matches it signals or rings `target`.
    ///
    /// # Errors
    ///
    /// - EBUSY: the region overlaps another one of a different shape.
    /// - EEXIST: the region is assigned already.
    /// - EINVAL: length or datamatch are invalid, or the target is not an eventfd.
    /// - ENXIO: there is no such line, or the number of records is not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, Region, Target};
    /// # let context = Context::open()?;
    /// let kick = EventFd::new(0)?;
    /// context.assign_region(&Region::mmio(0x1000, 4), Target::eventfd(&kick))?;
    /// context.pwrite(0x1000, &1u32.to_ne_bytes())?;
    /// assert_eq!(kick.read()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_region(&self, region: &Region, target: Target<'_>) -> Result {
        self.region(region, target, 0)
    }

    /// Deassigns `region`. When this returns, every write to the region has been signalled, and no
    /// later write is.
    ///
    /// # Errors
    ///
    /// ENOENT if the region is not assigned with this target.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, Region, Target};
    /// # let context = Context::open()?;
    /// let region = Region::mmio(0x1000, 4);
    /// context.assign_region(&region, Target::line(3))?;
    /// context.deassign_region(&region, Target::line(3))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn deassign_region(&self, region: &Region, target: Target<'_>) -> Result {
        self.region(region, target, uapi::REGION_FLAG_DEASSIGN)
    }

    fn region(&self, region: &Region, target: Target<'_>, flags: u32) -> Result {
        let mut arg = region.arg(target, flags);
        match sys::ioctl(self.as_fd(), uapi::REGION, &mut arg) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Region {
                operation: region_operation(flags),
                region: *region,
                source,
            }),
        }
    }

    /// Assigns and deassigns all regions of `changes` in one step, or none of them.
    ///
    /// # Errors
    ///
    /// Those of [`assign_region`](Context::assign_region) and
    /// [`deassign_region`](Context::deassign_region). [`Error::Regions`] names the change.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Changes, Context, Region, Target};
    /// # let context = Context::open()?;
    /// let mut changes = Changes::new();
    /// for queue in 0..16 {
    ///     let region = Region::mmio(0x1000, 2).datamatch(queue);
    ///     changes.assign(&region, Target::line(queue as u32));
    /// }
    /// context.change_regions(&changes)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn change_regions(&self, changes: &Changes<'_>) -> Result {
        if changes.is_empty() {
            return Ok(());
        }
        sys::regions(self.as_fd(), &changes.regions).map_err(|(source, index)| {
            // Index zero is the first change, or none.
            let of_one = matches!(
                source.raw_os_error(),
                Some(libc::EEXIST | libc::EBUSY | libc::ENOENT | libc::EBADF)
            );
            let index = index as usize;
            let failed = changes
                .regions
                .get(index)
                .filter(|_| index != 0 || of_one)
                .map(|arg| FailedChange {
                    index,
                    operation: region_operation(arg.flags),
                    addr: arg.addr,
                });
            Error::Regions {
                count: changes.len(),
                failed,
                source,
            }
        })
    }

    /// Lists all regions, in the order of space, address and datamatch.
    ///
    /// The list is read in parts: regions that change during the call can be missing or be listed
    /// twice.
    ///
    /// # Errors
    ///
    /// ENXIO if the lines are not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, Region, Target};
    /// # let context = Context::open()?;
    /// context.assign_region(&Region::mmio(0x1000, 4), Target::line(3))?;
    /// assert_eq!(context.regions()?[0].line, Some(3));
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn regions(&self) -> Result<Vec<RegionInfo>> {
        let mut all = Vec::new();
        let mut page = vec![uapi::RegionInfo::default(); PAGE];
        loop {
            let count = sys::region_infos(self.as_fd(), all.len() as u32, &mut page)
                .map_err(|source| self.failed(Operation::GetRegions, source))?;
            all.extend(page[..count].iter().copied().map(RegionInfo::from));
            if count < page.len() {
                return Ok(all);
            }
        }
    }

    /// Writes to the bus, in order until one write fails, and returns the number of writes that
    /// succeeded.
    ///
    /// # Errors
    ///
    /// Fails only if the first write does:
    ///
    /// - EOPNOTSUPP: no region matches it.
    /// - ENOBUFS: there is no room to record it.
    /// - EINVAL: it is not a valid write.
    /// - ENXIO: the lines are not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Access, Context, Space};
    /// # let context = Context::open()?;
    /// match context.write_bus(&[Access::new(Space::Pio, 0xcf8, 4, 0x8000_0000)]) {
    ///     Ok(_) => {}
    ///     Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => { /* emulate it */ }
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn write_bus(&self, accesses: &[Access]) -> Result<usize> {
        sys::bus_write(self.as_fd(), accesses).map_err(|source| Error::Write {
            access: accesses
                .first()
                .copied()
                .unwrap_or(Access::new(Space::Mmio, 0, 0, 0)),
            source,
        })
    }

    /// Writes 1, 2, 4 or 8 bytes, in the machine's byte order, to an address of [`Space::Mmio`]
    /// below 2^63, by pwrite(2).
    ///
    /// # Errors
    ///
    /// Those of [`write_bus`](Context::write_bus).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.pwrite(0xfe00_3000, &2u16.to_ne_bytes())?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn pwrite(&self, addr: u64, bytes: &[u8]) -> Result {
        let written = i64::try_from(addr)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
            .and_then(|offset| sys::pwrite(self.as_fd(), bytes, offset));
        match written {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Pwrite {
                addr,
                bytes: bytes.len(),
                source,
            }),
        }
    }

    /// Writes each of `parts` to the address at which the one before has ended, by pwritev(2), until
    /// one write fails. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// Those of [`write_bus`](Context::write_bus), if the first write fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::io::IoSlice;
    /// # let context = doorbell::Context::open()?;
    /// let parts = [IoSlice::new(&[1, 2, 3, 4]), IoSlice::new(&[5, 6])];
    /// assert_eq!(context.pwritev(0xfe00_3000, &parts)?, 6);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn pwritev(&self, addr: u64, parts: &[io::IoSlice<'_>]) -> Result<usize> {
        i64::try_from(addr)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
            .and_then(|offset| sys::pwritev(self.as_fd(), parts, offset))
            .map_err(|source| Error::Pwritev {
                addr,
                parts: parts.len(),
                source,
            })
    }

    /// Chooses the number of records, once; a power of two.
    ///
    /// # Errors
    ///
    /// EEXIST if it is chosen already, EINVAL if the number is invalid, ENXIO if the lines are not
    /// chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.set_lines(16)?;
    /// context.set_records(64)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn set_records(&self, nr_records: u32) -> Result {
        let mut arg = uapi::SetRecords {
            nr_records,
            ..Default::default()
        };
        match sys::ioctl(self.as_fd(), uapi::SET_RECORDS, &mut arg) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::SetRecords { nr_records, source }),
        }
    }

    /// Maps the records. Consuming a record then takes no system call.
    ///
    /// # Errors
    ///
    /// ENXIO if the number of records is not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let mut records = context.map_records()?;
    /// let sum: u64 = records.by_ref().map(|record| record.value).sum();
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn map_records(&self) -> Result<RecordRing> {
        let failed = |source| self.failed(Operation::MapRecords, source);
        match self.get_bus().map_err(failed)?.nr_records {
            0 => Err(failed(io::Error::from_raw_os_error(libc::ENXIO))),
            records => {
                let offset = self.get_info().map_err(failed)?.records_offset;
                RecordMapping::new(self.as_fd(), offset, records)
                    .map(RecordRing::new)
                    .map_err(failed)
            }
        }
    }

    /// Consumes at most `maximum` records, at least one, by read(2). The list is empty if there is
    /// no record.
    ///
    /// # Errors
    ///
    /// ENXIO if the number of records is not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// for record in context.read_records(64)? {
    ///     println!("{:#x}", record.value);
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn read_records(&self, maximum: usize) -> Result<Vec<Record>> {
        let mut records = vec![uapi::Record::default(); maximum.max(1)];
        let count = match sys::read_records(self.as_fd(), &mut records) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            count => count.map_err(|source| self.failed(Operation::ReadRecords, source))?,
        };
        records.truncate(count);
        Ok(records.into_iter().map(Record::from).collect())
    }

    fn get_bus(&self) -> io::Result<uapi::GetBus> {
        let mut bus = uapi::GetBus::default();
        sys::ioctl(self.as_fd(), uapi::GET_BUS, &mut bus)?;
        Ok(bus)
    }

    /// Returns the counters of the bus.
    ///
    /// # Errors
    ///
    /// ENXIO if the lines are not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.set_lines(16)?;
    /// assert_eq!(context.bus_info()?.regions, 0);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn bus_info(&self) -> Result<BusInfo> {
        let bus = self
            .get_bus()
            .map_err(|source| self.failed(Operation::GetBus, source))?;
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
    fn region_becomes_the_argument_of_the_ioctl() {
        let eventfd = EventFd::new(0).unwrap();
        let region = Region::pio(0xcf8, 4).datamatch(7).record();
        let arg = region.arg(Target::eventfd(&eventfd), 0);
        assert_eq!((arg.addr, arg.length, arg.datamatch), (0xcf8, 4, 7));
        assert_eq!((arg.space, arg.line), (uapi::SPACE_PIO, 0));
        assert_eq!(arg.fd, eventfd.as_raw_fd());
        assert_eq!(
            arg.flags,
            uapi::REGION_FLAG_DATAMATCH | uapi::REGION_FLAG_RECORD
        );
        // Zero is a datamatch, too. To deassign, RECORD is not given.
        let region = Region::mmio(0x10, 8).datamatch(0).record();
        let arg = region.arg(Target::line(3), uapi::REGION_FLAG_DEASSIGN);
        assert_eq!((arg.fd, arg.line, arg.space), (0, 3, uapi::SPACE_MMIO));
        let flags =
            uapi::REGION_FLAG_DEASSIGN | uapi::REGION_FLAG_DATAMATCH | uapi::REGION_FLAG_LINE;
        assert_eq!(arg.flags, flags);
        let arg = Region::mmio(0x10, 0).arg(Target::closed(), uapi::REGION_FLAG_DEASSIGN);
        assert_eq!((arg.fd, arg.flags), (-1, uapi::REGION_FLAG_DEASSIGN));
    }

    #[test]
    fn listed_region_can_be_deassigned() {
        for (region, target) in [
            (Region::mmio(0x1000, 4).datamatch(5), Target::line(0)),
            (Region::pio(u64::MAX, 1).record(), Target::closed()),
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
    fn pwrite_refuses_addresses_that_are_too_high() {
        let context = Context::open_path("/dev/null").unwrap();
        assert!(context.pwrite(1 << 62, &[0]).is_ok());
        let error = context.pwrite(1 << 63, &[0]).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EINVAL));
        assert!(context.pwritev(1 << 63, &[]).is_err());
    }

    #[test]
    fn region_is_printed_with_its_shape() {
        assert_eq!(
            Region::mmio(0x1000, 4).datamatch(7).to_string(),
            "mmio 0x1000, 4 bytes, value 0x7"
        );
        assert_eq!(Region::pio(0xcf8, 0).to_string(), "pio 0xcf8, any length");
        assert_eq!(Region::pio(1, 1).to_string(), "pio 0x1, 1 byte");
    }
}
