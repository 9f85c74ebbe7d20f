// SPDX-License-Identifier: GPL-2.0-only

//! System calls: short forms of rustix's, and those that it does not have.

mod aio;
pub(crate) mod kvm;
mod queue;
mod scheduling;
mod signal;
mod socket;
mod uring;

pub(crate) use aio::Aio;
pub(crate) use queue::Queue;
pub(crate) use scheduling::Policy;
pub(crate) use signal::{SignalFd, Thread};
pub(crate) use socket::{connect_within, is_trusted, peer_of, receive_fd, send_fd, unread};
pub(crate) use uring::Uring;

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    pipe::PipeFlags,
    process::{Resource, Rlimit},
    thread::{futex, CpuSet},
};
use std::{
    io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::{atomic::AtomicU32, Mutex},
    time::Duration,
};

fn check(ret: i64) -> io::Result<i64> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// Waits until some of `fds` are readable, and returns their indices. Returns none if `timeout`
/// passes first or a signal arrives.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    let mut polls: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    // A timeout that is too long for the kernel is as good as none.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match rustix::event::poll(&mut polls, timeout.as_ref()) {
        Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok((0..polls.len())
            .filter(|&at| !polls[at].revents().is_empty())
            .collect()),
    }
}

/// Returns a descriptor that becomes readable when this process gets SIGINT, SIGTERM or SIGHUP,
/// and blocks these signals. The process must have one thread: another one would still be ended.
///
/// A signal that the process ignores, as by nohup(1), stays ignored.
///
/// The calls are libc's, as rustix leaves signal masks to the C library.
pub fn termination() -> io::Result<OwnedFd> {
    // SAFETY: `set` and `action` are valid, and initialised before they are used. No action is
    // changed.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            let mut action: libc::sigaction = std::mem::zeroed();
            check(libc::sigaction(signal, std::ptr::null(), &mut action).into())?;
            if action.sa_sigaction != libc::SIG_IGN {
                libc::sigaddset(&mut set, signal);
            }
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Returns a copy of the descriptor `fd`, which this process has inherited.
///
/// The call is libc's: rustix takes no number that may not be open.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: The call fails if `fd` is not open. Otherwise this process owns the copy.
    unsafe {
        let copy = check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3).into())?;
        Ok(OwnedFd::from_raw_fd(copy as RawFd))
    }
}

/// Reads eight bytes.
#[inline]
pub(crate) fn read_u64(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes = [0; size_of::<u64>()];
    if rustix::io::read(fd, &mut bytes)? != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(u64::from_ne_bytes(bytes))
}

/// Writes eight bytes.
#[inline]
pub(crate) fn write_u64(fd: BorrowedFd<'_>, n: u64) -> io::Result<()> {
    rustix::io::write(fd, &n.to_ne_bytes())?;
    Ok(())
}

/// Creates a pipe, and returns its read end and its write end.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Sleeps while `word` is `value`. May return early.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, None);
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}

/// Returns the CPUs that this thread may use.
pub(crate) fn cpus() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

/// Loads the module whose file is `image`, without parameters.
pub(crate) fn init_module(image: &[u8]) -> rustix::io::Result<()> {
    rustix::system::init_module(image, c"")
}

/// Unloads a module that is not in use.
pub(crate) fn delete_module(name: &std::ffi::CStr) -> rustix::io::Result<()> {
    rustix::system::delete_module(name, libc::O_NONBLOCK)
}

/// Pins this thread to `cpus`.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Raises the limit on open files to the hard limit, or to `wanted` if root may raise that. Returns
/// the limit.
pub fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // None is no limit.
    let (current, maximum) = (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    );
    if current >= wanted {
        return Ok(current);
    }
    let set = |current, maximum| {
        let limit = Rlimit {
            current: Some(current),
            maximum,
        };
        rustix::process::setrlimit(Resource::Nofile, limit)
    };
    if set(wanted, limit.maximum.map(|maximum| maximum.max(wanted))).is_ok() {
        return Ok(wanted);
    }
    set(maximum, limit.maximum)?;
    Ok(maximum)
}

/// Lowers the limit on open files to the hard limit without [`RESERVE`], but not below `least`.
///
/// Returns the lower limit.
pub(crate) fn reserve_open_files(least: u64) -> io::Result<u64> {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let maximum_or_none = maximum.unwrap_or(u64::MAX);
    let limit = maximum_or_none.saturating_sub(RESERVE).max(least);
    if current.unwrap_or(u64::MAX) > limit {
        let current = Some(limit);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    }
    Ok(limit)
}

/// The part of the hard limit on open files that [`Reserve`] has.
pub(crate) const RESERVE: u64 = 1024;

/// The permission to open and send descriptors up to the hard limit on open files.
///
/// That limit holds for the descriptors that all processes of a user have sent, and that are not
/// received yet. A server sends to its peers up to the soft limit.
pub(crate) struct Reserve(());

/// The limit before each [`Reserve`] that is there now.
static RESERVES: Mutex<Vec<Rlimit>> = Mutex::new(Vec::new());

impl Reserve {
    pub(crate) fn take() -> Self {
        let mut reserves = RESERVES.lock().expect("nothing panics with it");
        let before = rustix::process::getrlimit(Resource::Nofile);
        let current = before.maximum;
        // Without it the descriptor may be refused, which its sender reports.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current, ..before });
        reserves.push(before);
        Self(())
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let mut reserves = RESERVES.lock().expect("nothing panics with it");
        // Another thread may still have one. The first entry is the limit without any.
        if let (Some(before), true) = (reserves.pop(), reserves.is_empty()) {
            let _ = rustix::process::setrlimit(Resource::Nofile, before);
        }
    }
}

/// Makes the kernel kill the process of `command` when the thread that starts it ends.
pub(crate) fn end_with_us(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    // SAFETY: The closure makes one system call, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into()).map(drop)
        });
    }
}

/// Returns the time stamp counter, if this machine has one.
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

/// Returns the hypervisor's signature, if there is a hypervisor that reports one.
pub(crate) fn hypervisor() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{CpuidResult, __cpuid};

        // Newer compilers have it as a safe function.
        #[allow(unused_unsafe)]
        fn cpuid(leaf: u32) -> CpuidResult {
            // SAFETY: Every x86-64 has CPUID. It defines the result of each leaf.
            unsafe { __cpuid(leaf) }
        }
        if cpuid(1).ecx & (1 << 31) == 0 {
            return None;
        }
        // A CPU with that bit has this leaf.
        let leaf = cpuid(0x4000_0000);
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
