// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Operation, uapi};
use std::{
    fmt,
    marker::PhantomData,
    os::fd::{AsRawFd, RawFd},
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
    pub(crate) fn code(self) -> u32 {
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
    /// Slot in which the last value is stored; `None` if it is not.
    pub last: Option<u32>,
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
            last: None,
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

    /// Makes the region store the last value written in `slot` of the context's
    /// [`Values`](crate::Values). A slot has one region at a time. A region that records cannot do
    /// this, too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::Region;
    /// assert_eq!(Region::mmio(0x1000, 4).last(3).last, Some(3));
    /// ```
    pub fn last(mut self, slot: u32) -> Self {
        self.last = Some(slot);
        self
    }

    pub(crate) fn arg(&self, target: Target<'_>, flags: u32) -> uapi::Region {
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
        if flags & uapi::REGION_FLAG_DEASSIGN == 0 {
            if self.record {
                arg.flags |= uapi::REGION_FLAG_RECORD;
            }
            if let Some(slot) = self.last {
                arg.flags |= uapi::REGION_FLAG_LAST;
                arg.slot = slot;
            }
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

/// Regions to be assigned and deassigned in one step, by
/// [`Context::change_regions`](crate::Context::change_regions).
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
    pub(crate) regions: Vec<uapi::Region>,
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

pub(crate) fn region_operation(flags: u32) -> Operation {
    match flags & uapi::REGION_FLAG_DEASSIGN {
        0 => Operation::AssignRegion,
        _ => Operation::DeassignRegion,
    }
}

/// An assigned region, from [`Context::regions`](crate::Context::regions).
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
                last: has(uapi::REGION_FLAG_LAST).then_some(info.slot),
            },
            line: has(uapi::REGION_FLAG_LINE).then_some(info.line),
            writes: info.writes,
        }
    }
}

/// A write to the bus, for [`Context::write_bus`](crate::Context::write_bus).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, EventFd};

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
            (Region::mmio(0, 0).last(7), Target::line(1)),
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
                slot: arg.slot,
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
