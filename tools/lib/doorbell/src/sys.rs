// SPDX-License-Identifier: MIT OR Apache-2.0

//! System calls, and all `unsafe` code of the crate.

use crate::{
    line_set::LineSet,
    region::Access,
    take,
    uapi::{self, LineStatus},
};
use std::{
    fs::File,
    io,
    mem::{align_of, size_of, size_of_val},
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
    },
    time::Duration,
};

fn check(ret: i64) -> io::Result<i64> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// An argument of an ioctl that contains no addresses.
///
/// # Safety
///
/// Any bytes must be a valid value of the type, and the argument of the ioctls must contain no
/// addresses.
pub(crate) unsafe trait Plain {
    /// The ioctls whose argument has this type.
    const IOCTLS: &[u32];
}

/// Implements [`Plain`] for structures of the UAPI, each with its ioctls.
macro_rules! impl_plain {
    ($($name:ident: $($ioctl:ident)+;)+) => {$(
        // SAFETY: A structure of integers, none of which is an address.
        unsafe impl Plain for uapi::$name {
            const IOCTLS: &[u32] = &[$(uapi::$ioctl),+];
        }
    )+};
}

impl_plain! {
    GetInfo: GET_INFO;
    SetLines: SET_LINES;
    Irqfd: IRQFD;
    Trigger: TRIGGER;
    Notifier: NOTIFIER;
    SetType: SET_TYPE;
    SetLevel: SET_LEVEL;
    Moderate: MODERATE;
    Query: QUERY;
    Eventfd: EVENTFD_READ EVENTFD_PEEK;
    RingWait: RING_WAIT;
    Wait: WAIT;
    Region: REGION;
    SetRecords: SET_RECORDS;
    GetBus: GET_BUS;
}

/// Calls an ioctl whose argument is a structure without addresses, and returns its result.
///
/// # Panics
///
/// Panics if `cmd` is not an ioctl of `T`.
pub(crate) fn ioctl<T: Plain>(fd: BorrowedFd<'_>, cmd: u32, arg: &mut T) -> io::Result<i32> {
    assert!(T::IOCTLS.contains(&cmd));
    // SAFETY: The argument of these ioctls contains no addresses.
    unsafe { ioctl_arrays(fd, cmd, arg) }
}

/// Calls an ioctl whose argument is a structure, which may contain addresses of arrays.
///
/// # Safety
///
/// The arrays must be valid for the reads and writes that `cmd` does.
unsafe fn ioctl_arrays<T>(fd: BorrowedFd<'_>, cmd: u32, arg: &mut T) -> io::Result<i32> {
    assert_eq!((cmd >> 16) & 0x3fff, size_of::<T>() as u32);
    // SAFETY: The kernel reads and writes as many bytes as `cmd` encodes, which is the size of
    // `T`. The caller guarantees the rest.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, std::ptr::from_mut(arg)) };
    check(ret.into())?;
    Ok(ret)
}

/// Calls an ioctl whose argument is a number.
#[inline]
pub(crate) fn ioctl_value(fd: BorrowedFd<'_>, cmd: u32, arg: u32) -> io::Result<i32> {
    // SAFETY: `cmd` encodes no size, so that the kernel takes the argument as a number.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, libc::c_ulong::from(arg)) };
    check(ret.into())?;
    Ok(ret)
}

fn length(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Calls an ioctl on `lines`. Returns the number of lines that it counts and, with `with_bits`,
/// the bitmap of those lines.
pub(crate) fn ioctl_lines(
    fd: BorrowedFd<'_>,
    cmd: u32,
    lines: &LineSet,
    flags: u32,
    with_bits: bool,
) -> io::Result<(u32, Vec<u64>)> {
    assert!(lines.bits.is_empty() || lines.bits.len() == lines.words());
    let mut result = vec![0u64; if with_bits { lines.words() } else { 0 }];
    let mut arg = uapi::LineSet {
        line: lines.first,
        nr_lines: lines.len,
        lines: match &lines.bits[..] {
            [] => 0,
            bits => bits.as_ptr().expose_provenance() as u64,
        },
        result: match with_bits {
            false => 0,
            true => result.as_mut_ptr().expose_provenance() as u64,
        },
        flags,
        ..Default::default()
    };
    // SAFETY: Both bitmaps have a word for each 64 of `nr_lines` bits, or their address is zero.
    let count = unsafe { ioctl_arrays(fd, cmd, &mut arg) }?;
    Ok((count as u32, result))
}

/// Assigns the summary to all of `lines`, or deassigns it.
pub(crate) fn ioctl_summary(fd: BorrowedFd<'_>, lines: &LineSet, flags: u32) -> io::Result<()> {
    assert!(lines.bits.is_empty() || lines.bits.len() == lines.words());
    let mut arg = uapi::Summary {
        line: lines.first,
        nr_lines: lines.len,
        lines: match &lines.bits[..] {
            [] => 0,
            bits => bits.as_ptr().expose_provenance() as u64,
        },
        flags,
        ..Default::default()
    };
    // SAFETY: The kernel only reads the bitmap, which has a word for each 64 of `nr_lines` bits, or its
    // address is zero.
    unsafe { ioctl_arrays(fd, uapi::SUMMARY, &mut arg) }.map(drop)
}

/// Assigns and deassigns all of `regions` or none. On a failure also returns the index of the region
/// that is the reason, or `u32::MAX` if none is.
pub(crate) fn regions(
    fd: BorrowedFd<'_>,
    regions: &[uapi::Region],
) -> Result<(), (io::Error, u32)> {
    let mut arg = uapi::Regions {
        regions: regions.as_ptr().expose_provenance() as u64,
        nr_regions: length(regions.len()).map_err(|error| (error, u32::MAX))?,
        failed: u32::MAX,
        ..Default::default()
    };
    // SAFETY: The kernel only reads the array, which has `nr_regions` elements.
    unsafe { ioctl_arrays(fd, uapi::REGIONS, &mut arg) }
        .map(drop)
        .map_err(|error| (error, arg.failed))
}

/// Describes the regions from index `first` on, and returns their number.
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
    // SAFETY: The kernel writes at most `nr_infos` elements, and any bytes are valid ones.
    let count = unsafe { ioctl_arrays(fd, uapi::GET_REGIONS, &mut arg) }?;
    Ok((count as usize).min(infos.len()))
}

/// Saves lines.
pub(crate) fn save_lines(
    fd: BorrowedFd<'_>,
    lines: Range<u32>,
) -> io::Result<Vec<uapi::SavedLine>> {
    // No context has more. The kernel would say so, but only after the records are allocated.
    if lines.len() > uapi::MAX_LINES as usize {
        return Err(io::Error::from_raw_os_error(libc::ENXIO));
    }
    let mut records = vec![uapi::SavedLine::default(); lines.len()];
    let mut arg = uapi::Save {
        lines: records.as_mut_ptr().expose_provenance() as u64,
        line: lines.start,
        nr_lines: length(records.len())?,
        record_size: size_of::<uapi::SavedLine>() as u32,
        ..Default::default()
    };
    // SAFETY: The kernel writes `nr_lines` elements of that size, and any bytes are valid ones.
    unsafe { ioctl_arrays(fd, uapi::SAVE, &mut arg) }?;
    Ok(records)
}

/// Restores all of `lines`, from the line `first` on, or none. On a failure also returns the index of the
/// line that is the reason, or `u32::MAX` if none is.
pub(crate) fn restore_lines(
    fd: BorrowedFd<'_>,
    first: u32,
    lines: &[uapi::SavedLine],
) -> Result<(), (io::Error, u32)> {
    let mut arg = uapi::Restore {
        lines: lines.as_ptr().expose_provenance() as u64,
        line: first,
        nr_lines: length(lines.len()).map_err(|error| (error, u32::MAX))?,
        record_size: size_of::<uapi::SavedLine>() as u32,
        failed: u32::MAX,
        ..Default::default()
    };
    // SAFETY: The kernel only reads the array, which has `nr_lines` elements of that size.
    unsafe { ioctl_arrays(fd, uapi::RESTORE, &mut arg) }
        .map(drop)
        .map_err(|error| (error, arg.failed))
}

/// Writes to the bus, and returns the number of `accesses` that succeeded.
#[inline]
pub(crate) fn bus_write(fd: BorrowedFd<'_>, accesses: &[Access]) -> io::Result<usize> {
    let mut arg = uapi::BusWrite {
        // `Access` is a transparent `uapi::BusAccess`.
        accesses: accesses.as_ptr().expose_provenance() as u64,
        nr_accesses: length(accesses.len())?,
        ..Default::default()
    };
    // SAFETY: The kernel only reads the array, which has `nr_accesses` elements.
    unsafe { ioctl_arrays(fd, uapi::BUS_WRITE, &mut arg) }.map(|count| count as usize)
}

/// Writes `bytes` at `offset`, and returns the number of bytes written.
#[inline]
pub(crate) fn pwrite(fd: BorrowedFd<'_>, bytes: &[u8], offset: i64) -> io::Result<usize> {
    // SAFETY: `bytes` is valid for reads of its length.
    let ret = unsafe { libc::pwrite64(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset) };
    check(ret as i64).map(|count| count as usize)
}

/// Writes `parts`, one after the other, from `offset` on, and returns the number of bytes written.
pub(crate) fn pwritev(
    fd: BorrowedFd<'_>,
    parts: &[io::IoSlice<'_>],
    offset: i64,
) -> io::Result<usize> {
    let count = libc::c_int::try_from(parts.len())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: An `IoSlice` has the layout of a `struct iovec`, and is valid for reads.
    let ret = unsafe { libc::pwritev64(fd.as_raw_fd(), parts.as_ptr().cast(), count, offset) };
    check(ret as i64).map(|count| count as usize)
}

/// Consumes records by read(2), and returns their number.
pub(crate) fn read_records(fd: BorrowedFd<'_>, records: &mut [uapi::Record]) -> io::Result<usize> {
    let at = records.as_mut_ptr().cast();
    // SAFETY: `records` is valid for writes of its size, and any bytes are valid records.
    let ret = unsafe { libc::read(fd.as_raw_fd(), at, size_of_val(records)) };
    let bytes = check(ret as i64)? as usize;
    Ok(bytes / size_of::<uapi::Record>())
}

/// A shared mapping of a part of a context.
struct Mapping {
    at: NonNull<u8>,
    bytes: usize,
}

// SAFETY: A mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: As above. All accesses are to atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: u64, bytes: usize, prot: libc::c_int) -> io::Result<Self> {
        let offset = libc::off64_t::try_from(offset)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        // SAFETY: The kernel chooses an unused address.
        let at = unsafe {
            libc::mmap64(
                std::ptr::null_mut(),
                bytes,
                prot,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { at, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new()` has created the mapping, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}

/// `struct doorbell_line_status` in memory that the kernel writes to.
#[repr(C)]
pub(crate) struct LiveStatus {
    pub(crate) state: AtomicU32,
    pub(crate) units: AtomicU32,
    pub(crate) deliveries: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) deferred: AtomicU64,
    pub(crate) acks: AtomicU64,
    pub(crate) taken: AtomicU64,
    pub(crate) dropped_units: AtomicU64,
}

const _: () = assert!(size_of::<LiveStatus>() == size_of::<LineStatus>());

/// The mapped status pages.
pub(crate) struct StatusMapping {
    mapping: Mapping,
    lines: usize,
    /// Distance between two entries in bytes: a multiple of the alignment of [`LiveStatus`], and at
    /// least its size.
    stride: usize,
}

impl StatusMapping {
    /// Maps the status of the first `lines` lines of the context `fd`, whose entries are `stride`
    /// bytes apart.
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        lines: usize,
        stride: usize,
    ) -> io::Result<Self> {
        let fits = stride >= size_of::<LiveStatus>() && stride % align_of::<LiveStatus>() == 0;
        let bytes = lines.checked_mul(stride).filter(|_| fits);
        let bytes = bytes.ok_or(io::ErrorKind::InvalidData)?;
        let mapping = Mapping::new(fd, offset, bytes, libc::PROT_READ)?;
        Ok(Self {
            mapping,
            lines,
            stride,
        })
    }

    /// Returns the number of lines.
    pub(crate) fn nr_lines(&self) -> usize {
        self.lines
    }

    /// Returns the entry of `line`.
    ///
    /// # Panics
    ///
    /// Panics if there is no such line.
    #[inline]
    pub(crate) fn line(&self, line: u32) -> &LiveStatus {
        self.get(line).unwrap_or_else(|| panic!("no line {line}"))
    }

    /// Returns the entry of `line`, or none if there is no such line.
    #[inline]
    pub(crate) fn get(&self, line: u32) -> Option<&LiveStatus> {
        let at = line as usize;
        // SAFETY: The mapping has `lines` entries, `stride` bytes apart, is aligned to pages, and
        // lives as long as `self`. All fields are atomics.
        (at < self.lines).then(|| unsafe { self.mapping.at.add(at * self.stride).cast().as_ref() })
    }
}

/// `struct doorbell_record` in memory that the kernel writes to.
#[repr(C)]
struct LiveRecord {
    sequence: AtomicU64,
    addr: AtomicU64,
    value: AtomicU64,
    length: AtomicU32,
    space: AtomicU32,
}

const _: () = assert!(size_of::<LiveRecord>() == size_of::<uapi::Record>());

/// The mapped records.
pub(crate) struct RecordMapping {
    mapping: Mapping,
    /// A power of two.
    records: usize,
}

impl RecordMapping {
    const HEADER: usize = size_of::<uapi::RecordRing>();

    /// Maps the records of the context `fd`, which has room for `records`.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, records: u32) -> io::Result<Self> {
        let records = records as usize;
        assert!(records.is_power_of_two());
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = Mapping::new(fd, offset, Self::bytes(records), prot)?;
        Ok(Self { mapping, records })
    }

    fn bytes(records: usize) -> usize {
        Self::HEADER + records * size_of::<uapi::Record>()
    }

    fn head(&self) -> &AtomicU64 {
        // SAFETY: The mapping begins with the head, is aligned to pages, and lives as long as
        // `self`.
        unsafe { self.mapping.at.cast().as_ref() }
    }

    fn record(&self, sequence: u64) -> &LiveRecord {
        let at = sequence as usize & (self.records - 1);
        // SAFETY: `records` records follow the header. Each is aligned, because the sizes of the
        // header and of a record are multiples of eight. All fields are atomics.
        unsafe {
            self.mapping
                .at
                .add(Self::HEADER)
                .cast::<LiveRecord>()
                .add(at)
                .as_ref()
        }
    }

    /// Consumes the next record, if there is one.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<uapi::Record> {
        let head = self.head().load(Relaxed);
        let next = head.wrapping_add(1);
        let record = self.record(head);
        // Pairs with the kernel's store-release of the sequence: the other fields are complete.
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
        // The kernel may overwrite the record from here on.
        self.head().store(next, Release);
        Some(taken)
    }
}

/// The mapped summary.
pub(crate) struct SummaryMapping {
    mapping: Mapping,
    lines: u32,
}

impl SummaryMapping {
    /// Maps the summary of the context `fd`, which has `lines` lines.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, lines: u32) -> io::Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = Mapping::new(fd, offset, Self::words_for(lines) * size_of::<u64>(), prot)?;
        Ok(Self { mapping, lines })
    }

    fn words_for(lines: u32) -> usize {
        take::LINES + lines.div_ceil(u64::BITS) as usize
    }

    /// Returns a word.
    #[inline]
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < Self::words_for(self.lines));
        // SAFETY: The mapping has as many words, is aligned to pages, and lives as long as `self`.
        unsafe { self.mapping.at.cast::<AtomicU64>().add(at).as_ref() }
    }

    /// Returns the top word.
    #[inline]
    pub(crate) fn top(&self) -> u64 {
        self.word(take::TOP).load(Relaxed)
    }

    /// Sets bits in a word, and returns the word before.
    pub(crate) fn set(&self, at: usize, bits: u64) -> u64 {
        self.word(at).fetch_or(bits, SeqCst)
    }
}

impl take::Words for SummaryMapping {
    #[inline]
    fn take(&self, at: usize) -> u64 {
        let word = self.word(at);
        // ORDERING: As the exchange: it must not be executed before that of the word above. On x86 both orders
        // are the same instruction.
        if word.load(SeqCst) == 0 {
            return 0;
        }
        word.swap(0, SeqCst)
    }

    #[inline]
    fn nr_lines(&self) -> u32 {
        self.lines
    }
}

/// Waits until one of `fds` is readable, and returns for each whether it is. All are false after `timeout`.
pub(crate) fn poll_in<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polls = fds.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        // An i32 on some 32-bit targets.
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `polls` is valid for reads and writes of `N` elements, `timeout` is null or valid for reads. No
    // signal mask is passed.
    let ret = unsafe { libc::ppoll(polls.as_mut_ptr(), N as _, timeout, std::ptr::null()) };
    check(ret.into())?;
    Ok(polls.map(|poll| poll.revents != 0))
}

/// `struct doorbell_value` in memory that the kernel writes to.
#[repr(C)]
struct LiveValue {
    value: AtomicU64,
    writes: AtomicU64,
    started: AtomicU64,
    // Atomics, because a later module may write to them while references to the slot exist.
    _reserved: [AtomicU64; 5],
}

const _: () = assert!(size_of::<LiveValue>() == size_of::<uapi::Value>());

/// The mapped last values.
pub(crate) struct ValueMapping {
    mapping: Mapping,
    slots: u32,
}

impl ValueMapping {
    /// Maps the last values of the context `fd`, which has `slots` of them.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, slots: u32) -> io::Result<Self> {
        let bytes = slots as usize * size_of::<LiveValue>();
        let mapping = Mapping::new(fd, offset, bytes, libc::PROT_READ)?;
        Ok(Self { mapping, slots })
    }

    /// Returns the number of slots.
    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    /// Returns a slot.
    ///
    /// # Panics
    ///
    /// Panics if there is no such slot.
    fn slot(&self, slot: u32) -> &LiveValue {
        assert!(slot < self.slots, "no slot {slot}");
        let at = slot as usize;
        // SAFETY: The mapping has `slots` elements, is aligned to pages, and lives as long as `self`. All
        // fields are atomics.
        unsafe { self.mapping.at.cast::<LiveValue>().add(at).as_ref() }
    }

    /// Returns the value of `slot`. Panics as [`slot`](Self::slot).
    #[inline]
    pub(crate) fn value(&self, slot: u32) -> u64 {
        self.slot(slot).value.load(Acquire)
    }

    /// Tries to read the value of `slot` and the number of its writes as of one moment. Returns none if a
    /// write was in flight. Panics as [`slot`](Self::slot).
    #[inline]
    pub(crate) fn try_read(&self, slot: u32) -> Option<(u64, u64)> {
        let slot = self.slot(slot);
        // Pairs with the kernel's increment of this counter, its last step: all these values are stored.
        let writes = slot.writes.load(Acquire);
        // Pairs with the kernel's store of the value, before which it has incremented `started`.
        let value = slot.value.load(Acquire);
        (slot.started.load(Acquire) == writes).then_some((value, writes))
    }
}

/// Creates an eventfd.
pub(crate) fn eventfd(count: u32, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: No memory is passed.
    let fd = check(unsafe { libc::eventfd(count, flags) }.into())?;
    // SAFETY: The descriptor is new.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Reads the counter of an eventfd.
#[inline]
pub(crate) fn read_u64(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut n = 0u64;
    // SAFETY: `n` is valid for writes of eight bytes.
    let got = check(unsafe { libc::read(fd.as_raw_fd(), (&raw mut n).cast(), 8) } as i64)?;
    if got != 8 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(n)
}

/// Adds `n` to the counter of an eventfd.
#[inline]
pub(crate) fn write_u64(fd: BorrowedFd<'_>, n: u64) -> io::Result<()> {
    // SAFETY: `n` is valid for reads of eight bytes.
    check(unsafe { libc::write(fd.as_raw_fd(), (&raw const n).cast(), 8) } as i64)?;
    Ok(())
}

/// Adds `n` to the counter of the eventfd `fd`.
pub(crate) fn write_count(fd: RawFd, n: u64) -> io::Result<()> {
    // SAFETY: `n` is valid for reads of eight bytes.
    check(unsafe { libc::write(fd, (&raw const n).cast(), 8) } as i64)?;
    Ok(())
}

/// Returns the time of CLOCK_MONOTONIC after `timeout`, in ns.
pub(crate) fn deadline(timeout: Duration) -> io::Result<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for writes.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) }.into())?;
    let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    // A clock never reaches more than that.
    let end = now.saturating_add(timeout).as_nanos();
    Ok(end.min(i64::MAX as u128) as u64)
}

/// Waits until `fd` is readable. Returns false if `timeout` passes first or a signal arrives.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // Rounded up: otherwise callers that loop would spin for the last part of a millisecond.
    let ms = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: `poll` is an array of one element.
    match check(unsafe { libc::poll(&mut poll, 1, ms) }.into()) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
        Ok(ready) => Ok(ready != 0),
    }
}

/// Returns true if the calling thread may run on one CPU only. If the number is unknown, returns false.
pub(crate) fn is_single_cpu() -> bool {
    // SAFETY: Zero bytes are a valid set, the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: The kernel writes at most the size of `set`.
    let ret = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    // SAFETY: `set` is initialised. The call fails if the machine may have more CPUs than fit it.
    ret == 0 && unsafe { libc::CPU_COUNT(&set) } == 1
}

/// Opens the device at `path`.
pub(crate) fn open(path: &std::path::Path) -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open(path)?;
    Ok(file.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::fd::AsFd;

    pub(crate) const OFFSET: u64 = 0x10000;

    /// Restricts the calling thread to the CPU that it runs on.
    pub(crate) fn pin() {
        // SAFETY: Zero bytes are a valid set, the empty one.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: The call takes no arguments.
        let cpu = check(unsafe { libc::sched_getcpu() }.into()).unwrap();
        // SAFETY: `set` is initialised, and CPUs beyond its size are ignored.
        unsafe { libc::CPU_SET(cpu as usize, &mut set) };
        // SAFETY: `set` is valid for reads of its size.
        let ret = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
        check(ret.into()).unwrap();
    }

    /// Returns the identity of the calling thread.
    pub(crate) fn thread_id() -> i32 {
        // SAFETY: The call takes no arguments.
        unsafe { libc::gettid() }
    }

    /// Sends a signal to the thread `id` of this process, whose handler does nothing. No call is restarted.
    pub(crate) fn interrupt(id: i32) {
        extern "C" fn ignore(_: libc::c_int) {}
        // SAFETY: Zero bytes are a valid action, without flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: `action` is valid for reads, and its handler may run at any time.
        let ret = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
        check(ret.into()).unwrap();
        // SAFETY: No memory is passed.
        let ret = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, libc::SIGUSR1) };
        check(ret as i64).unwrap();
    }

    /// Returns true if the thread `id` of this process sleeps.
    pub(crate) fn sleeps(id: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat"));
        // The state follows the name, which may contain anything.
        let state = |stat: &str| stat.rfind(')').and_then(|at| stat[at..].chars().nth(2));
        stat.is_ok_and(|stat| state(&stat) == Some('S'))
    }

    /// Creates a file that has room for `records` records at [`OFFSET`].
    pub(crate) fn file(name: &str, records: usize) -> File {
        let path = std::env::temp_dir().join(format!("doorbell-{name}-{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(OFFSET + RecordMapping::bytes(records) as u64)
            .unwrap();
        file
    }

    /// Records a write as the kernel does.
    fn record(file: &File, records: u64, sequence: u64, value: u64) {
        let mut bytes = Vec::new();
        for word in [sequence, 0x1000 + sequence, value, 4] {
            bytes.extend(word.to_ne_bytes());
        }
        let at = (sequence - 1) % records * bytes.len() as u64;
        let offset = OFFSET + RecordMapping::HEADER as u64 + at;
        let written = pwrite(file.as_fd(), &bytes, offset as i64).unwrap();
        assert_eq!(written, bytes.len());
    }

    #[test]
    fn records_are_consumed_once_and_in_order() {
        let file = file("ring", 4);
        let mut ring = RecordMapping::new(file.as_fd(), OFFSET, 4).unwrap();
        assert!(ring.take().is_none());
        for sequence in 1..=4 {
            record(&file, 4, sequence, 10 * sequence);
        }
        for sequence in 1..=4 {
            let record = ring.take().unwrap();
            assert_eq!((record.sequence, record.value), (sequence, 10 * sequence));
            assert_eq!((record.addr, record.length), (0x1000 + sequence, 4));
        }
        // The slots still have the records of the round before.
        assert!(ring.take().is_none());
        record(&file, 4, 6, 60);
        assert!(ring.take().is_none(), "the fifth is not there yet");
        record(&file, 4, 5, 50);
        // A new mapping continues at the same record.
        let mut ring = RecordMapping::new(file.as_fd(), OFFSET, 4).unwrap();
        assert_eq!(ring.take().map(|record| record.value), Some(50));
        assert_eq!(ring.take().map(|record| record.value), Some(60));
        assert!(ring.take().is_none());
    }

    #[test]
    fn more_lines_than_possible_are_refused() {
        let null = File::open("/dev/null").unwrap();
        let errno = |lines| {
            let error = save_lines(null.as_fd(), lines).err();
            error.and_then(|error| error.raw_os_error())
        };
        assert_eq!(errno(5..uapi::MAX_LINES + 5), Some(libc::ENOTTY));
        assert_eq!(errno(5..uapi::MAX_LINES + 6), Some(libc::ENXIO));
    }

    #[test]
    fn parts_are_written_one_after_the_other() {
        let file = file("parts", 1);
        let parts = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"cde")];
        assert_eq!(pwritev(file.as_fd(), &parts, 7).unwrap(), 5);
        let mut bytes = [0; 5];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 7).unwrap();
        assert_eq!(&bytes, b"abcde");
    }

    #[test]
    fn status_pages_show_later_changes() {
        let file = file("status", 1);
        // A later module may have larger entries.
        for stride in [64, 72] {
            let status = StatusMapping::new(file.as_fd(), OFFSET, 2, stride).unwrap();
            assert_eq!(status.nr_lines(), 2);
            let before = status.line(1).deliveries.load(Acquire);
            let offset = OFFSET as i64 + stride as i64 + 8;
            pwrite(file.as_fd(), &(before + 7).to_ne_bytes(), offset).unwrap();
            assert_eq!(status.line(1).deliveries.load(Acquire), before + 7);
        }
    }

    #[test]
    fn single_cpu_is_recognised() {
        // A thread of its own, whose affinity ends with it.
        std::thread::spawn(|| {
            pin();
            assert!(is_single_cpu());
        })
        .join()
        .unwrap();
        let many = std::thread::available_parallelism().unwrap().get() > 1;
        assert!(!(many && is_single_cpu()));
    }

    #[test]
    fn impossible_distance_of_entries_is_an_error() {
        let file = file("stride", 1);
        for stride in [0, 56, 68] {
            let error = StatusMapping::new(file.as_fd(), OFFSET, 2, stride).err();
            assert_eq!(error.unwrap().kind(), io::ErrorKind::InvalidData);
        }
    }
}
