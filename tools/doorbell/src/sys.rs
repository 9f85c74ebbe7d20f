// SPDX-License-Identifier: GPL-2.0-only

//! System calls, and all `unsafe` of the crate.

pub(crate) mod bus;
pub(crate) mod kvm;

use crate::{lines::Lines, uapi::Lineset};
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
unsafe impl Plain for crate::uapi::Info {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Lines {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Irqfd {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Trigger {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::LineType {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Level {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::Query {}
// SAFETY: As above.
unsafe impl Plain for crate::uapi::EventfdCount {}
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
    assert_eq!((cmd >> 16) & 0x3fff, size_of::<Lineset>() as u32);
    assert!(lines.bits.is_empty() || lines.bits.len() == lines.words());
    let mut result = vec![0u64; if tell { lines.words() } else { 0 }];
    let arg = Lineset {
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
    pub(crate) fn status(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let bytes = len * size_of::<crate::status::Live>();
        // SAFETY: A new mapping, to where nothing is yet.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
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

/// Sends `fd` over a UNIX socket, with one byte.
pub(crate) fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut byte = 0u8;
    let mut control = Control::default();
    let mut iov = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let message = control.message(&mut iov);
    // SAFETY: The control buffer has room for one header with one descriptor, as `Control` has it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(header)
            .cast::<RawFd>()
            .write_unaligned(fd.as_raw_fd());
        check(libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL) as i64)?;
    }
    Ok(())
}

/// Receives what [`send_fd`] sent.
pub(crate) fn receive_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = 0u8;
    let mut control = Control::default();
    let mut iov = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut message = control.message(&mut iov);
    // SAFETY: All buffers are as large as said; what comes back is looked at before it is used.
    unsafe {
        let flags = libc::MSG_CMSG_CLOEXEC;
        check(libc::recvmsg(socket.as_raw_fd(), &mut message, flags) as i64)?;
        let header = libc::CMSG_FIRSTHDR(&message);
        if header.is_null()
            || (*header).cmsg_level != libc::SOL_SOCKET
            || (*header).cmsg_type != libc::SCM_RIGHTS
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let fd = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Who is at the other end of a UNIX socket: process and user. The process is 0 if it is none that
/// can be seen from here.
pub(crate) fn peer_of(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is as large as said.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut len,
        )
    };
    check(ret.into())?;
    Ok((peer.pid as u32, peer.uid))
}

/// How much memory what was sent on a UNIX socket takes up, and has not been read yet.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut amount: libc::c_int = 0;
    // SAFETY: The kernel writes an integer.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) }.into())?;
    Ok(amount as u32)
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

/// Room for the control message that carries one descriptor.
#[repr(align(8))]
#[derive(Default)]
struct Control([u8; 32]);

impl Control {
    fn message(&mut self, iov: &mut libc::iovec) -> libc::msghdr {
        // SAFETY: All zeroes is an empty message.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = iov;
        message.msg_iovlen = 1;
        message.msg_control = self.0.as_mut_ptr().cast();
        // SAFETY: A computation.
        let space = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize;
        assert!(space <= self.0.len());
        message.msg_controllen = space as _;
        message
    }
}

/// Asynchronous I/O whose completions the kernel signals to an eventfd, by itself.
pub(crate) struct Aio {
    context: libc::c_ulong,
    zero: std::fs::File,
}

/// `struct iocb`, little-endian or 64-bit.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

impl Aio {
    /// The most that can be submitted at once.
    pub(crate) const MOST: usize = 16;

    /// Fails if this kernel has none.
    pub(crate) fn new() -> io::Result<Self> {
        let zero = std::fs::File::open("/dev/zero")?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: `context` is zero and may be written to.
        check(unsafe { libc::syscall(libc::SYS_io_setup, Self::MOST, &raw mut context) })?;
        Ok(Self { context, zero })
    }

    /// Has the kernel signal `resfd` `n` times, and waits until it has.
    pub(crate) fn signal(&mut self, resfd: BorrowedFd<'_>, n: usize) -> io::Result<()> {
        const IOCB_CMD_PREAD: u16 = 0;
        const IOCB_FLAG_RESFD: u32 = 1;
        assert!(n <= Self::MOST);
        let mut byte = 0u8;
        let iocb = Iocb {
            opcode: IOCB_CMD_PREAD,
            fd: self.zero.as_raw_fd() as u32,
            buffer: (&raw mut byte).expose_provenance() as u64,
            bytes: 1,
            flags: IOCB_FLAG_RESFD,
            resfd: resfd.as_raw_fd() as u32,
            ..Default::default()
        };
        let mut iocbs = [iocb; Self::MOST];
        let at: [*mut Iocb; Self::MOST] = {
            let first = iocbs.as_mut_ptr();
            std::array::from_fn(|at| first.wrapping_add(at))
        };
        let mut submitted = 0;
        while submitted < n {
            let rest = &at[submitted..n];
            // SAFETY: As many pointers to valid `struct iocb`s; each reads a byte to where all of
            // them may write, which lives until they are done.
            let count = check(unsafe {
                libc::syscall(libc::SYS_io_submit, self.context, rest.len(), rest.as_ptr())
            })?;
            submitted += count as usize;
        }
        let mut events = [[0u64; 4]; Self::MOST];
        let mut done = 0;
        while done < n {
            // SAFETY: `struct io_event` is 32 bytes, and there is room for that many.
            let count = check(unsafe {
                libc::syscall(
                    libc::SYS_io_getevents,
                    self.context,
                    1,
                    n - done,
                    events.as_mut_ptr(),
                    std::ptr::null::<libc::timespec>(),
                )
            });
            match count {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => done += count? as usize,
            }
        }
        Ok(())
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: Nothing is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
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
