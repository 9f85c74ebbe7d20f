// SPDX-License-Identifier: GPL-2.0-only

//! The doorbell, as far as a VMM needs it.

/// The ABI. The tools' tests compare it with the C header.
#[path = "../../doorbell/src/uapi.rs"]
#[allow(dead_code)]
mod uapi;

use anyhow::{Context, Result};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};
use vmm_sys_util::{
    eventfd::EventFd,
    ioctl::{ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val},
};

/// A context of `/dev/doorbell`.
#[derive(Debug)]
pub struct Doorbell(File);

/// A context that somebody has opened.
impl From<OwnedFd> for Doorbell {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

fn check(ret: i32) -> Result<(), io::Error> {
    match ret {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Doorbell {
    /// A new context.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        file.map(Self).with_context(|| {
            format!(
                "open {} (is the module loaded? modprobe doorbell)",
                path.display()
            )
        })
    }

    /// Chooses the number of lines, once.
    pub(crate) fn set_lines(&self, nr_lines: u32) -> Result<()> {
        let lines = uapi::SetLines {
            nr_lines,
            ..Default::default()
        };
        // SAFETY: The kernel reads a `struct doorbell_set_lines`.
        let ret = unsafe { ioctl_with_ref(&self.0, uapi::SET_LINES.into(), &lines) };
        check(ret).with_context(|| format!("choose {nr_lines} lines"))
    }

    /// Has each signal of `fd` ring `line`.
    pub(crate) fn irqfd(&self, fd: &EventFd, line: u32) -> Result<()> {
        let irqfd = uapi::Irqfd {
            fd: fd.as_raw_fd(),
            line,
            ..Default::default()
        };
        // SAFETY: The kernel reads a `struct doorbell_irqfd`.
        let ret = unsafe { ioctl_with_ref(&self.0, uapi::IRQFD.into(), &irqfd) };
        check(ret).with_context(|| format!("assign an irqfd to line {line}"))
    }

    /// Has each delivery of `line` signal `fd`.
    pub(crate) fn trigger(&self, fd: &EventFd, line: u32) -> Result<()> {
        let trigger = uapi::Trigger {
            fd: fd.as_raw_fd(),
            line,
            ..Default::default()
        };
        // SAFETY: The kernel reads a `struct doorbell_trigger`.
        let ret = unsafe { ioctl_with_ref(&self.0, uapi::TRIGGER.into(), &trigger) };
        check(ret).with_context(|| format!("assign a trigger to line {line}"))
    }

    /// Rings a line.
    pub(crate) fn ring(&self, line: u32) -> Result<()> {
        // SAFETY: The argument is a number.
        let ret = unsafe { ioctl_with_val(&self.0, uapi::RING.into(), line.into()) };
        check(ret).with_context(|| format!("ring line {line}"))
    }

    /// What the line has counted.
    pub(crate) fn count(&self, line: u32) -> Result<Count> {
        let mut query = uapi::Query {
            line,
            ..Default::default()
        };
        // SAFETY: The kernel reads and writes a `struct doorbell_query`.
        let ret = unsafe { ioctl_with_mut_ref(&self.0, uapi::QUERY.into(), &mut query) };
        check(ret).with_context(|| format!("look at line {line}"))?;
        Ok(Count {
            rings: query.rings,
            deliveries: query.deliveries,
            pending: query.state & uapi::LINE_PENDING != 0,
        })
    }
}

/// What a line has counted so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) rings: u64,
    pub(crate) deliveries: u64,
    pub(crate) pending: bool,
}

impl Count {
    /// What it has counted since `then`.
    pub(crate) fn since(self, then: Self) -> Self {
        Self {
            rings: self.rings - then.rings,
            deliveries: self.deliveries - then.deliveries,
            pending: self.pending,
        }
    }
}
