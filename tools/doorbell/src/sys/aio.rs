// SPDX-License-Identifier: GPL-2.0-only

//! Signals of an eventfd by the kernel itself, from completions of asynchronous I/O.
//!
//! libc has the numbers of these system calls, but no wrappers, and `struct iocb` for glibc only.
//! The usual crates have POSIX AIO only. glibc implements that by threads, so the kernel signals
//! nothing.

use super::check;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// A context of asynchronous I/O, whose completions the kernel signals to an eventfd.
pub(crate) struct Aio {
    context: libc::c_ulong,
    zero: std::fs::File,
}

/// `struct iocb` of little-endian and of 64-bit machines.
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
    /// Maximum number of operations at a time.
    pub(crate) const MOST: usize = 16;

    /// Creates a context.
    ///
    /// # Errors
    ///
    /// Fails if this kernel has no asynchronous I/O.
    pub(crate) fn new() -> io::Result<Self> {
        let zero = std::fs::File::open("/dev/zero")?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: `context` is zero and may be written to.
        check(unsafe { libc::syscall(libc::SYS_io_setup, Self::MOST, &raw mut context) })?;
        Ok(Self { context, zero })
    }

    /// Lets the kernel signal `resfd` `n` times, and waits for all signals.
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
            // SAFETY: The array has that many pointers to valid `struct iocb`s. Each operation
            // reads a byte to `byte`, which lives until all of them are complete.
            let count = check(unsafe {
                libc::syscall(libc::SYS_io_submit, self.context, rest.len(), rest.as_ptr())
            })?;
            submitted += count as usize;
        }
        let mut events = [[0u64; 4]; Self::MOST];
        let mut done = 0;
        while done < n {
            // SAFETY: `struct io_event` has 32 bytes, and `events` has room for `MOST` of them.
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
        // SAFETY: No operation is in flight.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}
