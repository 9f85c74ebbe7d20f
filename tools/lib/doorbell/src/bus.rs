// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{
    Access, Changes, Context, Error, FailedChange, Operation, Record, RecordRing, Region,
    RegionInfo, Result, Target, Values,
    region::region_operation,
    sys::{self, RecordMapping, ValueMapping},
    uapi,
};
use std::{io, os::fd::AsFd};

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
    /// Number of last values, 0 until [`Context::set_values`].
    pub values: u32,
}

/// The number of regions that one call lists.
const PAGE: usize = 1024;

/// The bus: writes to regions signal eventfds or ring lines.
impl Context {
    /// Assigns `region`: each write that matches it signals or rings `target`.
    ///
    /// # Errors
    ///
    /// - EBUSY: the region overlaps another one of a different shape, or another one has its slot.
    /// - EEXIST: the region is assigned already.
    /// - EINVAL: length or datamatch are invalid, or the target is not an eventfd.
    /// - ENXIO: there is no such line or slot, or the number of records or last values is not
    ///   chosen yet.
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
            let index = index as usize;
            let failed = changes.regions.get(index).map(|arg| FailedChange {
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
        let Some(&access) = accesses.first() else {
            return Ok(0);
        };
        sys::bus_write(self.as_fd(), accesses).map_err(|source| Error::Write { access, source })
    }

    /// Writes 1, 2, 4 or 8 bytes, in the machine's byte order, to an address of [`Space::Mmio`](crate::Space::Mmio)
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
    /// ENXIO if the number of records is not chosen yet. EINTR if a signal has arrived while other
    /// readers were faster.
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
        // There are never more, so a larger buffer would only take memory.
        let maximum = maximum.clamp(1, uapi::MAX_RECORDS as usize);
        let mut records = vec![uapi::Record::default(); maximum];
        let count = match sys::read_records(self.as_fd(), &mut records) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            count => count.map_err(|source| self.failed(Operation::ReadRecords, source))?,
        };
        records.truncate(count);
        Ok(records.into_iter().map(Record::from).collect())
    }

    /// Chooses the number of last values, once.
    ///
    /// # Errors
    ///
    /// EEXIST if it is chosen already, EINVAL if the number is 0 or above the maximum, ENXIO if the
    /// lines are not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.set_lines(16)?;
    /// context.set_values(64)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn set_values(&self, nr_values: u32) -> Result {
        let mut arg = uapi::SetRecords {
            flags: uapi::SET_RECORDS_FLAG_VALUES,
            nr_values,
            ..Default::default()
        };
        match sys::ioctl(self.as_fd(), uapi::SET_RECORDS, &mut arg) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::SetValues { nr_values, source }),
        }
    }

    /// Maps the last values. Reading one then takes no system call.
    ///
    /// # Errors
    ///
    /// ENXIO if the number of last values is not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.set_values(64)?;
    /// let values = context.map_values()?;
    /// assert_eq!(values.read(3).writes, 0);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn map_values(&self) -> Result<Values> {
        let failed = |source| self.failed(Operation::MapValues, source);
        match self.get_bus().map_err(failed)?.nr_values {
            0 => Err(failed(io::Error::from_raw_os_error(libc::ENXIO))),
            slots => {
                let offset = self.get_info().map_err(failed)?.values_offset;
                ValueMapping::new(self.as_fd(), offset, slots)
                    .map(Values::new)
                    .map_err(failed)
            }
        }
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
            values: bus.nr_values,
        })
    }
}
