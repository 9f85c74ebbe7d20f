// SPDX-License-Identifier: GPL-2.0-only

//! The trace of a thread: the blocks of the module that its calls have reached.

use crate::sys;
use std::{
    os::fd::RawFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The length of a trace, in words. A program rarely reaches more blocks.
const WORDS: usize = 1 << 15;

const KCOV_INIT_TRACE: u32 = 0x8008_6301;
const KCOV_ENABLE: u32 = 0x6364;
const KCOV_REMOTE_ENABLE: u32 = 0x4018_6366;

/// A trace that KCOV writes. It ends with the process.
#[derive(Debug)]
pub struct Kcov {
    trace: &'static [AtomicU64],
}

impl Kcov {
    fn open() -> Option<(RawFd, Self)> {
        let fd = sys::open(c"/sys/kernel/debug/kcov", libc::O_RDWR) as RawFd;
        if fd < 0 || sys::ioctl(fd, KCOV_INIT_TRACE, WORDS as u64) != 0 {
            return None;
        }
        let trace = sys::map_words(fd, WORDS).ok()?;
        Some((fd, Self { trace }))
    }

    /// Starts a trace of the calling thread. Returns none if the kernel has no KCOV.
    pub fn of_thread() -> Option<Self> {
        let (fd, kcov) = Self::open()?;
        (sys::ioctl(fd, KCOV_ENABLE, 0) == 0).then_some(kcov)
    }

    /// Starts a trace of the module's workers, for contexts that the calling thread opens, and the threads that
    /// it starts from now on.
    pub fn of_workers() -> Option<Self> {
        let (fd, kcov) = Self::open()?;
        // struct kcov_remote_arg: trace mode, area size, number of handles, common handle. The handle is a number
        // that no other process uses.
        let argument = [(WORDS as u64) << 32, 0, u64::from(std::process::id())];
        let enabled = sys::ioctl(fd, KCOV_REMOTE_ENABLE, argument.as_ptr() as u64);
        (enabled == 0).then_some(kcov)
    }

    /// Forgets what was traced.
    pub fn reset(&self) {
        self.trace[0].store(0, Relaxed);
    }

    /// Returns the addresses that were reached, in their order.
    pub fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        let count = (self.trace[0].load(Relaxed) as usize).min(WORDS - 1);
        self.trace[1..=count].iter().map(|word| word.load(Relaxed))
    }
}
