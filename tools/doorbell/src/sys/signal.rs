// SPDX-License-Identifier: GPL-2.0-only

//! Signals with a value, from thread to thread, received by signalfd(2).
//!
//! rustix leaves signal masks to the C library, and libc has no wrapper of rt_tgsigqueueinfo(2).

use super::check;
use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// A descriptor from which each thread reads its own signals of one number.
pub(crate) struct SignalFd {
    fd: OwnedFd,
    signal: i32,
}

/// A thread of this process.
pub(crate) type Thread = u32;

/// The beginning of `siginfo_t` of a signal with a value. Pointers align the union in it.
#[repr(C)]
struct Queued {
    signal: i32,
    error: i32,
    code: i32,
    sender: Sender,
}

#[repr(C)]
struct Sender {
    process: libc::pid_t,
    user: libc::uid_t,
    value: usize,
}

impl SignalFd {
    /// Creates a descriptor for the first real-time signal that the C library leaves free.
    pub(crate) fn new() -> io::Result<Self> {
        let signal = libc::SIGRTMIN();
        let set = only(signal);
        // SAFETY: The set is valid.
        let fd = check(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) }.into())?;
        // SAFETY: The descriptor is open, and belongs to this value.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { fd, signal })
    }

    /// Blocks the signal in this thread, so that it is read instead of ending the process. Returns
    /// the thread, for [`send`](Self::send).
    pub(crate) fn enter(&self) -> io::Result<Thread> {
        let set = only(self.signal);
        // SAFETY: The set is valid, and the call may leave out the old one.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } {
            0 => Ok(rustix::thread::gettid().as_raw_nonzero().get() as Thread),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Sends the signal to a thread that has [entered](Self::enter).
    ///
    /// # Errors
    ///
    /// Fails with EAGAIN if this user has as many signals pending as RLIMIT_SIGPENDING allows.
    #[inline]
    pub(crate) fn send(&self, to: Thread, value: usize) -> io::Result<()> {
        let process = std::process::id();
        let queued = Queued {
            signal: self.signal,
            error: 0,
            code: libc::SI_QUEUE,
            sender: Sender {
                process: process as libc::pid_t,
                user: 0,
                value,
            },
        };
        const { assert!(size_of::<Queued>() <= size_of::<libc::siginfo_t>()) };
        // SAFETY: All bytes zero are a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        // SAFETY: `info` is larger than `Queued`, as asserted above, and at least as aligned: both
        // have fields as large as a pointer.
        unsafe { (&raw mut info).cast::<Queued>().write(queued) };
        // SAFETY: The call reads a `siginfo_t`.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_rt_tgsigqueueinfo,
                process,
                to,
                self.signal,
                &raw const info,
            )
        };
        check(ret).map(drop)
    }

    /// Waits for a signal to this thread, and returns its value.
    #[inline]
    pub(crate) fn receive(&self) -> io::Result<usize> {
        // SAFETY: All bytes zero are a valid `struct signalfd_siginfo`.
        let mut info: libc::signalfd_siginfo = unsafe { zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: The call writes at most `size` bytes, and any bytes are a valid structure.
        let ret = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        if check(ret as i64)? as usize != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(info.ssi_ptr as usize)
    }
}

/// Returns a set with one signal.
fn only(signal: i32) -> libc::sigset_t {
    // SAFETY: `set` is valid, and initialised before it is used.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        set
    }
}
