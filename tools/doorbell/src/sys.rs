// SPDX-License-Identifier: GPL-2.0-only

//! System calls, and all `unsafe` of the crate.

mod aio;
pub(crate) mod bus;
pub(crate) mod kvm;
mod socket;

pub(crate) use aio::Aio;
pub(crate) use socket::{peer_of, receive_fd, send_fd, unread};

use crate::{lines::Lines, uapi::LineSet};
use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::AtomicU32,
    time::Duration,
};

fn check(ret: i64) -> io::Result<i64> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// A type that an ioctl of ours reads and writes as bytes.
///
/// # Safety
///
/// Plain C data: any bytes are a valid value.
pub(crate) unsafe trait Plain {}
// SAFETY: Structures of integers.
unsafe impl Plain for crate::uapi::GetInfo {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::SetLines {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Irqfd {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Trigger {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::SetType {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::SetLevel {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Query {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Eventfd {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Notifier {}

/// An ioctl whose argument is a structure. `T` must be the type that `cmd` encodes.
pub(crate) fn ioctl<T: Plain>(fd: BorrowedFd<'_>, cmd: u32, arg: &mut T) -> io::Result<()> {
    ioctl_count(fd, cmd, arg).map(drop)
}

/// The same, for what it returns.
pub(crate) fn ioctl_count<T: Plain>(fd: BorrowedFd<'_>, cmd: u32, arg: &mut T) -> io::Result<i32> {
    assert_eq!((cmd >> 16) & 0x3fff, size_of::<T>() as u32);
    // SAFETY: The kernel reads and writes as many bytes as `cmd` says, which is what `T` has.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, std::ptr::from_mut(arg)) };
    check(ret.into())?;
    Ok(ret)
}

/// An ioctl on the lines `lines`; returns for how many it is true, and with `tell`, which.
pub(crate) fn ioctl_lines(
    fd: BorrowedFd<'_>,
    cmd: u32,
    lines: &Lines,
    tell: bool,
) -> io::Result<(u32, Vec<u64>)> {
    assert_eq!((cmd >> 16) & 0x3fff, size_of::<LineSet>() as u32);
    assert!(lines.bits.is_empty() || lines.bits.len() == lines.words());
    let mut result = vec![0u64; if tell { lines.words() } else { 0 }];
    let arg = LineSet {
        line: lines.first,
        nr_lines: lines.len,
        lines: match &lines.bits[..] {
            [] => 0,
            bits => bits.as_ptr().expose_provenance() as u64,
        },
        result: match tell {
            false => 0,
            true => result.as_mut_ptr().expose_provenance() as u64,
        },
        ..Default::default()
    };
    // SAFETY: The kernel reads the structure, and reads from and writes to bitmaps of as many words
    // as `nr_lines` bits have, which both vectors have, unless their address is zero.
    let count = check(unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, &raw const arg) }.into())?;
    Ok((count as u32, result))
}

/// A shared, read-only mapping of `T`s.
pub(crate) struct Mapping<T> {
    at: NonNull<T>,
    len: usize,
}

// SAFETY: A mapping belongs to the whole process, and gives shared references only.
unsafe impl<T: Sync> Send for Mapping<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for Mapping<T> {}

impl Mapping<crate::status::Live> {
    /// The first `len` of the status pages of the context `fd`.
    pub(crate) fn status(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        let bytes = len * size_of::<crate::status::Live>();
        // SAFETY: A new mapping, to where nothing is yet.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { at, len })
    }
}

impl<T> Mapping<T> {
    /// All of it.
    #[inline]
    pub(crate) fn get(&self) -> &[T] {
        // SAFETY: The mapping is that long, and stays as long as `self`. `T` is plain data, and
        // what somebody else changes in it is in atomics.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: It is ours, and no reference into it is left.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}

/// An ioctl whose argument is a number.
#[inline]
pub(crate) fn ioctl_value(fd: BorrowedFd<'_>, cmd: u32, arg: u32) -> io::Result<i32> {
    // SAFETY: `cmd` encodes no size: the kernel takes the argument as a number.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, libc::c_ulong::from(arg)) };
    check(ret.into())?;
    Ok(ret)
}

/// An eventfd.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Creates one, blocking and close-on-exec, with `count` in it.
    pub fn new(count: u32) -> io::Result<Self> {
        // SAFETY: No pointers.
        let fd = check(unsafe { libc::eventfd(count, libc::EFD_CLOEXEC) }.into())?;
        // SAFETY: Just created, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Creates one that is empty, close-on-exec, and that [`EventFd::take`] works on; with
    /// `semaphore`, it gives one at a time.
    pub fn non_blocking(semaphore: bool) -> io::Result<Self> {
        let semaphore = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | semaphore;
        // SAFETY: No pointers.
        let fd = check(unsafe { libc::eventfd(0, flags) }.into())?;
        // SAFETY: Just created, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Takes the counter of one that is [non-blocking](EventFd::non_blocking), which may be zero.
    #[inline]
    pub fn take(&self) -> io::Result<u64> {
        match self.read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// What is in the counter, as /proc says, which takes nothing.
    pub fn count(&self) -> io::Result<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.0.as_raw_fd());
        let info = std::fs::read_to_string(path)?;
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("eventfd-count:"));
        count
            .and_then(|count| u64::from_str_radix(count.trim(), 16).ok())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Takes the counter, waiting until it is not zero.
    #[inline]
    pub fn read(&self) -> io::Result<u64> {
        read_u64(self.0.as_fd())
    }

    /// Adds to the counter.
    #[inline]
    pub fn write(&self, n: u64) -> io::Result<()> {
        write_u64(self.0.as_fd(), n)
    }

    /// Waits until it can be read; false if `timeout` passes first.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        Ok(!wait_readable(&[self.0.as_fd()], Some(timeout))?.is_empty())
    }
}

/// Any eventfd that came from somewhere else.
impl From<OwnedFd> for EventFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until some of `fds` can be read and returns their indices; none if `timeout` passes first
/// or a signal comes.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    let mut polls: Vec<_> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // Rounded up, or the last part of a millisecond would be spent polling.
    let ms = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    // SAFETY: The array has as many elements as it says.
    match check(unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as _, ms) }.into()) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(_) => Ok((0..polls.len())
            .filter(|&at| polls[at].revents != 0)
            .collect()),
    }
}

/// A descriptor that becomes readable when this process is asked to end (SIGINT, SIGTERM, SIGHUP),
/// which then no longer ends it by itself. For processes with one thread: others would still be
/// ended.
pub fn termination() -> io::Result<OwnedFd> {
    // SAFETY: `set` is valid, and initialised before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// A copy of the descriptor `fd`, inherited from the parent process.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: If it is not open, that fails; if it is, the copy is ours alone.
    unsafe {
        let copy = check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3).into())?;
        Ok(OwnedFd::from_raw_fd(copy as RawFd))
    }
}

/// Reads eight bytes.
#[inline]
pub(crate) fn read_u64(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut n = 0u64;
    // SAFETY: Eight bytes may be written to `n`.
    let got = check(unsafe { libc::read(fd.as_raw_fd(), (&raw mut n).cast(), 8) } as i64)?;
    if got != 8 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(n)
}

/// Writes eight bytes.
#[inline]
pub(crate) fn write_u64(fd: BorrowedFd<'_>, n: u64) -> io::Result<()> {
    // SAFETY: Eight bytes may be read from `n`.
    check(unsafe { libc::write(fd.as_raw_fd(), (&raw const n).cast(), 8) } as i64)?;
    Ok(())
}

/// A pipe: where to read, where to write.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: There is room for two.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }.into())?;
    // SAFETY: Just created.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Sleeps while `word` is `value`; may return early.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
    // SAFETY: `word` is valid; no timeout.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            value,
            std::ptr::null::<libc::timespec>(),
        )
    };
}

/// Wakes one who sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: `word` is valid.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        )
    };
}

/// The CPUs that this thread may use.
pub(crate) fn cpus() -> io::Result<Vec<usize>> {
    let mut set = empty_cpu_set();
    // SAFETY: `set` is as large as said.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) }.into())?;
    Ok((0..libc::CPU_SETSIZE as usize)
        // SAFETY: Within the set.
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// Pins this thread to `cpus`.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = empty_cpu_set();
    for &cpu in cpus {
        assert!(cpu < libc::CPU_SETSIZE as usize);
        // SAFETY: Within the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is as large as said.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) }.into())?;
    Ok(())
}

fn empty_cpu_set() -> libc::cpu_set_t {
    // SAFETY: A set of no CPUs is all zeroes.
    unsafe { std::mem::zeroed() }
}

/// Allows as many open files as the hard limit says, or `wanted` if root may raise it; returns how
/// many.
pub fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: Valid for writes.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }.into())?;
    if limit.rlim_cur < wanted {
        let more = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: limit.rlim_max.max(wanted),
        };
        // SAFETY: Valid for reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &more) } == 0 {
            return Ok(wanted);
        }
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: Valid for reads.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }.into())?;
    }
    Ok(limit.rlim_cur)
}

/// Has what `command` starts killed when the thread that starts it ends.
pub(crate) fn end_with_us(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    // SAFETY: The closure makes one system call, which is all right between fork and exec.
    unsafe {
        command.pre_exec(|| {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into()).map(drop)
        });
    }
}

/// The time stamp counter, if this machine has one.
pub(crate) fn time_stamp() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: Every x86_64 has it.
        Some(unsafe { std::arch::x86_64::_rdtsc() })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        None
    }
}

/// The hypervisor's signature, if there is a hypervisor that says so.
pub(crate) fn hypervisor() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;

        // SAFETY: Every x86_64 has CPUID; leaf 1 always exists.
        if unsafe { __cpuid(1) }.ecx & (1 << 31) == 0 {
            return None;
        }
        // SAFETY: The bit just seen promises this leaf.
        let leaf = unsafe { __cpuid(0x4000_0000) };
        let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx]
            .iter()
            .flat_map(|register| register.to_le_bytes())
            .filter(|&byte| byte != 0)
            .collect();
        String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.is_empty())
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        None
    }
}
