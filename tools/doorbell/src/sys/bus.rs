// SPDX-License-Identifier: GPL-2.0-only

//! What the bus takes of system calls: arrays by address, and the mapping of the records.

use super::{check, Plain};
use crate::uapi;
use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

// SAFETY: Structures of integers.
unsafe impl Plain for uapi::Region {}
// SAFETY: As above.
unsafe impl Plain for uapi::SetRecords {}
// SAFETY: As above.
unsafe impl Plain for uapi::GetBus {}

/// An ioctl whose argument holds addresses of arrays. `T` must be the type that `cmd` encodes.
///
/// # Safety
///
/// The arrays are there, and may be read or written as `cmd` does.
unsafe fn ioctl_arrays<T>(fd: BorrowedFd<'_>, cmd: u32, arg: &mut T) -> io::Result<i32> {
    assert_eq!((cmd >> 16) & 0x3fff, size_of::<T>() as u32);
    // SAFETY: The kernel reads and writes as many bytes as `cmd` says, which is what `T` has; for
    // the rest, by this function's requirements.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, std::ptr::from_mut(arg)) };
    check(ret.into())?;
    Ok(ret)
}

fn length(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Assigns and deassigns all of `regions` or none; if that fails because of one of them, also
/// returns which.
pub(crate) fn regions(
    fd: BorrowedFd<'_>,
    regions: &[uapi::Region],
) -> Result<(), (io::Error, u32)> {
    let mut arg = uapi::Regions {
        regions: regions.as_ptr().expose_provenance() as u64,
        nr_regions: length(regions.len()).map_err(|error| (error, 0))?,
        ..Default::default()
    };
    // SAFETY: Only read, and as many as are said to be there.
    unsafe { ioctl_arrays(fd, uapi::REGIONS, &mut arg) }
        .map(drop)
        .map_err(|error| (error, arg.failed))
}

/// Describes regions from the one with index `first` on; returns how many.
pub(crate) fn region_infos(
    fd: BorrowedFd<'_>,
    first: u32,
    infos: &mut [uapi::RegionInfo],
) -> io::Result<usize> {
    let mut arg = uapi::GetRegions {
        infos: infos.as_mut_ptr().expose_provenance() as u64,
        first,
        nr_infos: length(infos.len())?,
        ..Default::default()
    };
    // SAFETY: As many are written as are said to be there, or fewer; any bytes are valid.
    let count = unsafe { ioctl_arrays(fd, uapi::GET_REGIONS, &mut arg) }?;
    Ok((count as usize).min(infos.len()))
}

/// Writes to the bus; returns how many of `accesses` were carried out.
#[inline]
pub(crate) fn bus_write(fd: BorrowedFd<'_>, accesses: &[uapi::BusAccess]) -> io::Result<usize> {
    let mut arg = uapi::BusWrite {
        accesses: accesses.as_ptr().expose_provenance() as u64,
        nr_accesses: length(accesses.len())?,
        ..Default::default()
    };
    // SAFETY: Only read, and as many as are said to be there.
    unsafe { ioctl_arrays(fd, uapi::BUS_WRITE, &mut arg) }.map(|count| count as usize)
}

/// Writes `bytes` at `offset`; returns how many were.
#[inline]
pub(crate) fn pwrite(fd: BorrowedFd<'_>, bytes: &[u8], offset: i64) -> io::Result<usize> {
    // SAFETY: As many bytes may be read as are there.
    let ret = unsafe { libc::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset) };
    check(ret as i64).map(|count| count as usize)
}

/// The same with each of `parts` behind the one before.
pub(crate) fn pwritev(
    fd: BorrowedFd<'_>,
    parts: &[io::IoSlice<'_>],
    offset: i64,
) -> io::Result<usize> {
    let count = libc::c_int::try_from(parts.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: An `IoSlice` is a `struct iovec`, by its documentation, of memory that may be read.
    let ret = unsafe { libc::pwritev(fd.as_raw_fd(), parts.as_ptr().cast(), count, offset) };
    check(ret as i64).map(|count| count as usize)
}

/// Takes records out; returns how many.
pub(crate) fn read_records(fd: BorrowedFd<'_>, records: &mut [uapi::Record]) -> io::Result<usize> {
    let at = records.as_mut_ptr().cast();
    // SAFETY: As many bytes may be written as there are, and any bytes are valid records.
    let ret = unsafe { libc::read(fd.as_raw_fd(), at, size_of_val(records)) };
    let bytes = check(ret as i64)? as usize;
    Ok(bytes / size_of::<uapi::Record>())
}

/// `struct doorbell_record`, as it is in memory that the kernel writes to.
#[repr(C)]
struct LiveRecord {
    sequence: AtomicU64,
    addr: AtomicU64,
    value: AtomicU64,
    length: AtomicU32,
    space: AtomicU32,
}

const _: () = assert!(size_of::<LiveRecord>() == size_of::<uapi::Record>());

/// The records, mapped.
pub(crate) struct Ring {
    at: NonNull<u8>,
    /// A power of two.
    records: usize,
}

// SAFETY: A mapping belongs to the whole process, and all access to it is to atomics.
unsafe impl Send for Ring {}
// SAFETY: As above.
unsafe impl Sync for Ring {}

impl Ring {
    const HEADER: usize = size_of::<uapi::RecordRing>();

    /// The records of the context `fd`, which has `records` of them.
    pub(crate) fn map(fd: BorrowedFd<'_>, offset: u64, records: u32) -> io::Result<Self> {
        let records = records as usize;
        assert!(records.is_power_of_two());
        // SAFETY: A new mapping, to where nothing is yet.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::bytes(records),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { at, records })
    }

    fn bytes(records: usize) -> usize {
        Self::HEADER + records * size_of::<uapi::Record>()
    }

    fn head(&self) -> &AtomicU64 {
        // SAFETY: The mapping begins with it, is aligned to pages, and stays as long as `self`.
        unsafe { self.at.cast().as_ref() }
    }

    fn record(&self, at: u64) -> &LiveRecord {
        let at = at as usize & (self.records - 1);
        // SAFETY: The mapping has as many records behind its header, each of which is aligned as
        // both are of multiples of eight bytes. All their fields are atomics.
        unsafe {
            self.at
                .add(Self::HEADER)
                .cast::<LiveRecord>()
                .add(at)
                .as_ref()
        }
    }

    /// Takes the next record out, if it is there.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<uapi::Record> {
        let head = self.head().load(Relaxed);
        let next = head.wrapping_add(1);
        let record = self.record(head);
        // What the record says was written before this.
        if record.sequence.load(Acquire) != next {
            return None;
        }
        let taken = uapi::Record {
            sequence: next,
            addr: record.addr.load(Relaxed),
            value: record.value.load(Relaxed),
            length: record.length.load(Relaxed),
            space: record.space.load(Relaxed),
        };
        // From here on its place can be written to.
        self.head().store(next, Release);
        Some(taken)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: It is ours, and no reference into it is left.
        unsafe { libc::munmap(self.at.as_ptr().cast(), Self::bytes(self.records)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsFd};

    const OFFSET: u64 = 0x10000;

    /// A file that has a ring of `records` at [`OFFSET`].
    fn file(name: &str, records: usize) -> File {
        let path = std::env::temp_dir().join(format!("doorbell-{name}-{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(OFFSET + Ring::bytes(records) as u64).unwrap();
        file
    }

    /// What the kernel does to keep a write.
    fn keep(file: &File, records: u64, sequence: u64, value: u64) {
        let mut bytes = Vec::new();
        for word in [sequence, 0x1000 + sequence, value, 4] {
            bytes.extend(word.to_ne_bytes());
        }
        let at = (sequence - 1) % records * bytes.len() as u64;
        let offset = OFFSET + Ring::HEADER as u64 + at;
        let written = pwrite(file.as_fd(), &bytes, offset as i64).unwrap();
        assert_eq!(written, bytes.len());
    }

    #[test]
    fn records_come_out_once_in_order_and_round() {
        let file = file("ring", 4);
        let mut ring = Ring::map(file.as_fd(), OFFSET, 4).unwrap();
        assert!(ring.take().is_none());
        for sequence in 1..=4 {
            keep(&file, 4, sequence, 10 * sequence);
        }
        for sequence in 1..=4 {
            let record = ring.take().unwrap();
            assert_eq!((record.sequence, record.value), (sequence, 10 * sequence));
            assert_eq!((record.addr, record.length), (0x1000 + sequence, 4));
        }
        // What is there is of the round before.
        assert!(ring.take().is_none());
        keep(&file, 4, 6, 60);
        assert!(ring.take().is_none(), "the fifth is not there yet");
        keep(&file, 4, 5, 50);
        // Whoever maps them anew goes on where they are.
        let mut ring = Ring::map(file.as_fd(), OFFSET, 4).unwrap();
        assert_eq!(ring.take().map(|record| record.value), Some(50));
        assert_eq!(ring.take().map(|record| record.value), Some(60));
        assert!(ring.take().is_none());
    }

    #[test]
    fn parts_are_written_behind_each_other() {
        let file = file("parts", 1);
        let parts = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"cde")];
        assert_eq!(pwritev(file.as_fd(), &parts, 7).unwrap(), 5);
        let mut bytes = [0; 5];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 7).unwrap();
        assert_eq!(&bytes, b"abcde");
    }
}
