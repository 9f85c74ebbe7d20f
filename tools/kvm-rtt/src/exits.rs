// SPDX-License-Identifier: GPL-2.0-only

//! KVM's own count of exits, which it shows in debugfs.

use std::{fs, os::fd::RawFd, path::PathBuf};

pub(crate) struct Exits(PathBuf);

impl Exits {
    /// Opens the count of the VM `fd`, which this thread has just created. Returns none if debugfs
    /// is not mounted, or not readable.
    pub(crate) fn of(fd: RawFd) -> Option<Self> {
        // SAFETY: It has no arguments, and cannot fail.
        let thread = unsafe { libc::gettid() };
        let path = format!("/sys/kernel/debug/kvm/{thread}-{fd}/exits");
        let exits = Self(path.into());
        exits.count().map(|_| exits)
    }

    /// Returns the number of exits of all vCPUs so far.
    pub(crate) fn count(&self) -> Option<u64> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }
}
