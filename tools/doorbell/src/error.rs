// SPDX-License-Identifier: GPL-2.0-only

//! Errors that say what to do next.

use crate::bus;
use std::{fmt, io};

/// What failed, and what to do about it.
#[derive(Debug)]
pub struct Error {
    what: String,
    cause: io::Error,
}

impl Error {
    pub(crate) fn new(what: impl Into<String>, cause: io::Error) -> Self {
        Self {
            what: what.into(),
            cause,
        }
    }

    /// The errno, if it was one.
    pub fn errno(&self) -> Option<i32> {
        self.cause.raw_os_error()
    }

    /// What to do next, if that is known.
    pub fn advice(&self) -> Option<&'static str> {
        let opening = self.what.starts_with("open");
        let errno = self.errno()?;
        if let Some(advice) = bus::advice(&self.what, errno).filter(|_| !opening) {
            return Some(advice);
        }
        Some(match errno {
            libc::ENOENT | libc::ENODEV | libc::ENXIO if opening => {
                "the module is not loaded: modprobe doorbell, or insmod doorbell.ko as root"
            }
            libc::EACCES | libc::EPERM if opening => {
                "only root may open it unless a udev rule says otherwise: \
                 KERNEL==\"doorbell\", GROUP=\"kvm\", MODE=\"0660\""
            }
            libc::ENOTTY => {
                "the device does not know this request: it is no doorbell, or an older module"
            }
            libc::ENXIO => "there is no such line: doorbell info shows how many there are",
            libc::EEXIST => "it is assigned already",
            libc::ENOENT => "it is not assigned",
            libc::EBUSY if self.what.starts_with("make") => {
                "something is pending or asserted there, or a source has a resamplefd"
            }
            libc::EBUSY => {
                "somebody listens on this eventfd already, here, in another context or in KVM"
            }
            libc::ELOOP => "the line would ring itself",
            libc::ENOSPC => "that is over a limit: doorbell info shows them",
            libc::EBADF => "the eventfd is closed already",
            libc::EMFILE => "too many open files: ulimit -n",
            libc::ENOMEM => "no memory, or over the memory cgroup's limit",
            libc::EOPNOTSUPP if self.what.contains("line") => {
                "only a level line can do that; lines are edge lines unless made otherwise"
            }
            libc::EOPNOTSUPP => {
                "the module was built without the kernel's BTF: install pahole and rebuild it"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)?;
        if let Some(advice) = self.advice() {
            write!(f, "\n  {advice}")?;
        }
        Ok(())
    }
}

// Without a source: what it would say is in the text already, before the advice.
impl std::error::Error for Error {}
