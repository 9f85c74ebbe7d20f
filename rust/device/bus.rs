// SPDX-License-Identifier: GPL-2.0

//! The calls for regions, writes to the bus, records and last values.

use super::{
    argument::{
        check_flags,
        check_reserved,
        Argument, //
    },
    DoorbellFile, //
};
use crate::{
    bus::{
        records::Records,
        region::{
            Access,
            Key,
            Shape, //
        },
        values::Values,
        Assign,
        Deassign,
        Failed,
        Region,
        Store,
        Target,
        TargetSelector,
        Writer, //
    },
    context::Context,
    kernel_ext::{
        alloc::user_alloc_flags,
        compat::EOPNOTSUPP,
        eventfd::EventFdFile,
        iov::segment_len,
        uaccess::{
            read_in_place,
            read_value, //
        }, //
    },
    line::state::Origin,
    uapi::*, //
};
use kernel::{
    current,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    }, //
};

/// Returns the array of the caller at the address `at`.
fn array<T>(at: u64, len: u32) -> Result<UserSlice> {
    let at = UserPtr::from_addr(usize::try_from(at).map_err(|_| EFAULT)?);
    Ok(UserSlice::new(at, len as usize * size_of::<T>()))
}

/// The regions to assign and to deassign.
#[derive(Default)]
struct Changes {
    new: KVVec<Assign>,
    old: KVVec<Deassign>,
}

/// Returns the key of a region.
///
/// # Errors
///
/// EINVAL: the structure is not valid.
fn check(region: &doorbell_region) -> Result<Key> {
    let either = if region.flags & DOORBELL_REGION_FLAG_DEASSIGN != 0 {
        DOORBELL_REGION_FLAG_DEASSIGN
    } else {
        DOORBELL_REGION_FLAG_RECORD | DOORBELL_REGION_FLAG_LAST
    };
    let known = DOORBELL_REGION_FLAG_DATAMATCH | DOORBELL_REGION_FLAG_LINE | either;
    check_flags(region.flags, known)?;
    check_reserved(&region.reserved)?;
    // A region stores in one way.
    match region.flags & (DOORBELL_REGION_FLAG_RECORD | DOORBELL_REGION_FLAG_LAST) {
        DOORBELL_REGION_FLAG_LAST => {}
        0 | DOORBELL_REGION_FLAG_RECORD if region.slot == 0 => {}
        _ => return Err(EINVAL),
    }
    let datamatch =
        (region.flags & DOORBELL_REGION_FLAG_DATAMATCH != 0).then_some(region.datamatch);
    let nothing = if region.flags & DOORBELL_REGION_FLAG_LINE != 0 {
        region.fd == 0
    } else {
        region.line == 0
    };
    if !nothing || (datamatch.is_none() && region.datamatch != 0) {
        return Err(EINVAL);
    }
    Key::new(region.space, region.addr, region.length, datamatch).ok_or(EINVAL)
}

/// Returns the way in which a region stores what is written.
///
/// # Errors
///
/// ENXIO: the records, or the last values, are not chosen yet; or there is no such slot.
fn store(context: &Context, region: &doorbell_region) -> Result<Store> {
    if region.flags & DOORBELL_REGION_FLAG_RECORD != 0 {
        context.bus().records()?;
        return Ok(Store::Record);
    }
    if region.flags & DOORBELL_REGION_FLAG_LAST == 0 {
        return Ok(Store::Nothing);
    }
    if region.slot >= context.bus().values()?.len() {
        return Err(ENXIO);
    }
    Ok(Store::Last(u16::try_from(region.slot).map_err(|_| ENXIO)?))
}

impl Changes {
    /// Adds the element `index` of the caller's array, whose key is `key`.
    fn add(&mut self, context: &Context, region: &doorbell_region, key: Key, index: u32) -> Result {
        let rings = region.flags & DOORBELL_REGION_FLAG_LINE != 0;
        if rings {
            context.line(region.line).ok_or(ENXIO)?;
        }
        let store = store(context, region)?;
        let eventfd = || EventFdFile::from_fd(region.fd)?.eventfd();
        if region.flags & DOORBELL_REGION_FLAG_DEASSIGN == 0 {
            let target = if rings {
                Target::Line(region.line)
            } else {
                Target::EventFd(eventfd()?)
            };
            let region = Region::new(target, store)?;
            self.new
                .push(Assign { key, index, region }, user_alloc_flags())?;
        } else {
            let target = if rings {
                TargetSelector::Line(region.line)
            } else if region.fd == -1 {
                TargetSelector::AnyEventFd
            } else {
                TargetSelector::EventFd(eventfd()?)
            };
            self.old
                .push(Deassign { key, index, target }, user_alloc_flags())?;
        }
        Ok(())
    }
}

impl DoorbellFile {
    /// Handles DOORBELL_REGION.
    pub(crate) fn region(&self, arg: &Argument) -> Result {
        let region: doorbell_region = arg.read()?;
        let key = check(&region)?;
        let context = self.context()?;
        let mut changes = Changes::default();
        changes.add(context, &region, key, 0)?;
        context
            .change_regions(changes.new, changes.old)
            .map_err(|failed| failed.error)
    }

    /// Handles DOORBELL_REGIONS.
    pub(crate) fn regions(&self, arg: &Argument) -> Result {
        let mut regions: doorbell_regions = arg.read()?;
        // Written first: a change could not be undone if this failed later.
        regions.failed = u32::MAX;
        arg.write(&regions)?;
        check_flags(regions.flags, 0)?;
        check_reserved(&regions.reserved)?;
        if regions.nr_regions == 0 {
            return Err(EINVAL);
        }
        let context = self.context()?;
        // Replacing all regions takes this many elements.
        if regions.nr_regions > 2 * DOORBELL_MAX_REGIONS {
            return Err(ENOSPC);
        }
        self.change(context, &regions).map_err(|failed| {
            if let Some(index) = failed.index {
                regions.failed = index;
                // If it cannot be written any more, there is still the error.
                let _ = arg.write(&regions);
            }
            failed.error
        })
    }

    fn change(&self, context: &Context, regions: &doorbell_regions) -> Result<(), Failed> {
        let len = regions.nr_regions;
        let mut reader = array::<doorbell_region>(regions.regions, len)?.reader();
        // The caller's memory can make this take for ever. So the eventfds, which are in no quota yet,
        // are looked up afterwards.
        let mut list = KVVec::new();
        let mut read = || -> Result {
            list.push(reader.read::<doorbell_region>()?, user_alloc_flags())?;
            Ok(())
        };
        let unread = (0..len).find_map(|index| read().err().map(Failed::at(index)));
        let mut changes = Changes::default();
        for (index, region) in (0..).zip(list) {
            let mut add = || changes.add(context, &region, check(&region)?, index);
            add().map_err(Failed::at(index))?;
        }
        if let Some(failed) = unread {
            return Err(failed);
        }
        context.change_regions(changes.new, changes.old)
    }

    /// Handles DOORBELL_GET_REGIONS.
    pub(crate) fn get_regions(&self, arg: &Argument) -> Result<isize> {
        const BLOCK: usize = 16;
        let list: doorbell_get_regions = arg.read()?;
        check_flags(list.flags, 0)?;
        check_reserved(&list.reserved)?;
        if list.nr_infos == 0 {
            return Err(EINVAL);
        }
        let context = self.context()?;
        let mut writer = array::<doorbell_region_info>(list.infos, list.nr_infos)?.writer();
        let mut done = 0;
        while done < list.nr_infos as usize {
            // Copied to userspace outside of the read side, for which writers wait.
            let mut block: [_; BLOCK] = core::array::from_fn(|_| doorbell_region_info::default());
            let room = BLOCK.min(list.nr_infos as usize - done);
            let len = list_regions(context, list.first as usize + done, &mut block[..room]);
            for info in &block[..len] {
                writer.write(info)?;
            }
            done += len;
            if len < room {
                break;
            }
        }
        Ok(done as isize)
    }

    /// Handles DOORBELL_BUS_WRITE.
    #[inline(always)]
    pub(crate) fn bus_write(&self, arg: &Argument) -> Result<isize> {
        let write: doorbell_bus_write = arg.read()?;
        check_flags(write.flags, 0)?;
        check_reserved(&write.reserved)?;
        if write.nr_accesses == 0 {
            return Err(EINVAL);
        }
        let context = self.context()?;
        let mut reader = array::<doorbell_bus_access>(write.accesses, write.nr_accesses)?.reader();
        let mut done = 0;
        let result = write_all(context, &mut reader, &mut done);
        count_or(done, result)
    }

    /// Handles write(2) and pwrite(2) of `len` bytes at `from`: `addr` is the file's position, at most
    /// [`i64::MAX`].
    #[inline]
    pub(crate) fn write(&self, from: UserPtr, len: usize, addr: u64) -> Result<usize> {
        let context = self.context()?;
        let value = match read_value(from, len) {
            Err(_) if len == 0 => return Ok(0),
            value => value?,
        };
        // The length is a possible one, the value has no more bytes, and the address is not so high that
        // the access would end beyond the space.
        let shape = Shape::of_checked(DOORBELL_SPACE_MMIO, len as u32);
        let access = Access::of_shape(shape, addr, value);
        context.bus_writer().write(&access, Origin::Caller)?;
        Ok(len)
    }

    /// Handles writev(2), pwritev(2), pwritev2(2) and io_uring's writes: `addr` is the file's position.
    pub(crate) fn write_iter(&self, addr: i64, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let context = self.context()?;
        let mut addr = u64::try_from(addr).map_err(|_| EINVAL)?;
        let mut done = 0;
        while !iov.is_empty() {
            // Fails only before the first segment.
            let len = segment_len(iov)?;
            if len == 0 {
                iov.advance(0);
                continue;
            }
            let written = write_segment(context, addr, len, iov);
            if let Err(error) = written {
                return count_or(done, Err(error)).map(|done: isize| done as usize);
            }
            addr = addr.wrapping_add(len as u64);
            done += len;
        }
        Ok(done)
    }

    /// Handles read(2), readv(2) and pread(2): `addr` is the file's position.
    pub(crate) fn read(&self, addr: i64, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let context = self.context()?;
        // That is a read of a device's register, which no region answers.
        if addr != 0 || matches!(iov.len(), 1 | 2 | 4 | 8) {
            return Err(EOPNOTSUPP);
        }
        context.bus().records()?.read(iov)
    }

    /// Handles DOORBELL_SET_RECORDS.
    pub(crate) fn set_records(&self, arg: &Argument) -> Result {
        let records: doorbell_set_records = arg.read()?;
        check_flags(records.flags, DOORBELL_SET_RECORDS_FLAG_VALUES)?;
        check_reserved(&records.reserved)?;
        if records.flags & DOORBELL_SET_RECORDS_FLAG_VALUES != 0 {
            return self.set_values(&records);
        }
        if records.nr_values != 0 {
            return Err(EINVAL);
        }
        let len = records.nr_records;
        if !len.is_power_of_two() || len > DOORBELL_MAX_RECORDS {
            return Err(EINVAL);
        }
        self.context()?
            .bus()
            .set_records(|poll| Records::new(len, poll, user_alloc_flags()))
    }

    /// Handles DOORBELL_SET_RECORDS for last values.
    fn set_values(&self, records: &doorbell_set_records) -> Result {
        let len = records.nr_values;
        if records.nr_records != 0 || !(1..=DOORBELL_MAX_VALUES).contains(&len) {
            return Err(EINVAL);
        }
        self.context()?
            .bus()
            .set_values(|| Values::new(len, user_alloc_flags()))
    }

    /// Handles DOORBELL_GET_BUS.
    pub(crate) fn get_bus(&self, arg: &Argument) -> Result {
        let context = self.context()?;
        let mut bus = doorbell_get_bus {
            nr_regions: context.bus().nr_regions(),
            nr_values: context.bus().values().map_or(0, Values::len),
            ..Default::default()
        };
        if let Ok(records) = context.bus().records() {
            bus.nr_records = records.len();
            bus.recorded = records.recorded();
            bus.refused = records.refused();
        }
        arg.write(&bus)
    }
}

/// The accesses that are copied from userspace at once.
type Block = [doorbell_bus_access; 16];

/// Carries out all accesses, and counts them in `done`.
fn write_all(context: &Context, reader: &mut UserSliceReader, done: &mut usize) -> Result {
    if reader.len() >= size_of::<Block>() {
        write_blocks(context, reader, done)?;
    }
    // Fewer than a block.
    while !reader.is_empty() {
        let access = reader.read()?;
        write_one(&context.bus_writer(), &access)?;
        *done += 1;
    }
    Ok(())
}

/// Carries out the accesses that fill whole blocks, and counts them in `done`.
#[inline(never)]
fn write_blocks(context: &Context, reader: &mut UserSliceReader, done: &mut usize) -> Result {
    let mut block: Block = core::array::from_fn(|_| doorbell_bus_access::default());
    while reader.len() >= size_of::<Block>() {
        if read_in_place(reader, &mut block).is_ok() {
            // Entered once for a block. Deassignments wait for the end of it.
            let bus = context.bus_writer();
            for access in &block {
                write_one(&bus, access)?;
                *done += 1;
            }
        } else {
            // If not all of them can be read, some still may.
            for _ in 0..block.len() {
                let access = reader.read()?;
                write_one(&context.bus_writer(), &access)?;
                *done += 1;
            }
        }
        if current!().signal_pending() {
            return Err(EINTR);
        }
    }
    Ok(())
}

#[inline]
fn write_one(bus: &Writer<'_>, access: &doorbell_bus_access) -> Result {
    let access = Access::new(access.space, access.addr, access.length, access.value);
    bus.write(&access.ok_or(EINVAL)?, Origin::Caller)
}

/// Fills `infos` with the regions from the index `first` on. Returns their number.
fn list_regions(context: &Context, first: usize, infos: &mut [doorbell_region_info]) -> usize {
    let regions = context.bus().regions();
    let keys = regions.keys().get(first..).unwrap_or(&[]);
    let all = keys.iter().zip(first..).zip(&mut *infos);
    let mut len = 0;
    for ((key, at), info) in all {
        let Some(region) = regions.item(at) else {
            break;
        };
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        *info = doorbell_region_info {
            addr: key.addr(),
            datamatch: key.datamatch().unwrap_or(0),
            space: key.space(),
            length: key.length(),
            flags: flag(key.datamatch().is_some(), DOORBELL_REGION_FLAG_DATAMATCH)
                | flag(region.line().is_some(), DOORBELL_REGION_FLAG_LINE)
                | flag(region.records(), DOORBELL_REGION_FLAG_RECORD)
                | flag(region.slot().is_some(), DOORBELL_REGION_FLAG_LAST),
            line: region.line().unwrap_or(0),
            writes: region.writes(),
            slot: region.slot().map_or(0, u32::from),
            ..Default::default()
        };
        len += 1;
    }
    len
}

/// Writes the next `len` bytes to the address `addr`, as one access.
fn write_segment(context: &Context, addr: u64, len: usize, iov: &mut IovIterSource<'_>) -> Result {
    let mut bytes = [0u8; size_of::<u64>()];
    // In the machine's byte order, a shorter value is at that end of a longer one.
    let range = if cfg!(target_endian = "little") {
        0..len
    } else {
        bytes.len().saturating_sub(len)..bytes.len()
    };
    let bytes_of_value = bytes.get_mut(range).ok_or(EINVAL)?;
    if iov.copy_from_iter(bytes_of_value) < len {
        return Err(EFAULT);
    }
    let access = Access::new(
        DOORBELL_SPACE_MMIO,
        addr,
        len as u32,
        u64::from_ne_bytes(bytes),
    );
    context
        .bus_writer()
        .write(&access.ok_or(EINVAL)?, Origin::Caller)
}

/// Returns `done`, or the error if that is zero.
fn count_or(done: usize, result: Result) -> Result<isize> {
    match result {
        Err(error) if done == 0 => Err(error),
        _ => Ok(done as isize),
    }
}
