// SPDX-License-Identifier: GPL-2.0-only

//! System calls, and all `unsafe` of the crate.

mod aio;
pub(crate) mod kvm;
mod socket;

pub(crate) use aio::Aio;
pub(crate) use socket::{peer_of, receive_fd, send_fd, unread};

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
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
