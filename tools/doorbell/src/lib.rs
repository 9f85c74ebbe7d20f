// SPDX-License-Identifier: GPL-2.0-only

//! A safe client for `/dev/doorbell`, and the harness behind the `doorbell` command.
//!
//! ```no_run
//! use doorbell::{Context, EventFd};
//!
//! let context = Context::open()?;
//! context.set_lines(16)?;
//! let (input, output) = (EventFd::new(0)?, EventFd::new(0)?);
//! context.assign_irqfd(&input, 3)?;
//! context.assign_trigger(&output, 3)?;
//! context.ring(3)?;
//! assert_eq!(output.read()?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bench;
pub mod bus;
pub mod doctor;
mod error;
pub mod ivshmem;
pub mod lines;
pub mod machine;
pub mod output;
pub mod plot;
mod random;
pub mod rtt;
pub mod share;
pub mod status;
pub mod sys;
pub mod torture;
pub mod uapi;

pub use bus::{Access, Changes, Record, Records, Region, RegionInfo, Space, Target};
pub use error::Error;
pub use lines::Lines;
pub use status::{LineStatus, Status};
pub use sys::EventFd;

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Where the device is, unless said otherwise.
pub const DEVICE: &str = "/dev/doorbell";

/// The result of whatever talks to the device.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// How a ring ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// It has a delivery of its own.
    Delivered,
    /// It joined a delivery that had not started yet.
    Coalesced,
    /// It is the one that the masked line holds now.
    Masked,
}

impl Ring {
    fn from_code(code: i32) -> Self {
        match code {
            uapi::RING_COALESCED => Self::Coalesced,
            uapi::RING_MASKED => Self::Masked,
            _ => Self::Delivered,
        }
    }
}

/// What an assignment with these flags is called.
fn verb(flags: u32) -> &'static str {
    match flags & uapi::IRQFD_FLAG_DEASSIGN {
        0 => "assign",
        _ => "deassign",
    }
}

/// How an ack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Nothing had been delivered since the last ack.
    Nothing,
    /// The line's sources have been told to look again.
    Done,
    /// They will be when the line is unmasked.
    Postponed,
}

/// What a notifier is told of; `|` for more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(u32);

impl Notify {
    /// Masks.
    pub const MASK: Self = Self(uapi::NOTIFY_MASK);
    /// Unmasks.
    pub const UNMASK: Self = Self(uapi::NOTIFY_UNMASK);
    /// Acks.
    pub const ACK: Self = Self(uapi::NOTIFY_ACK);
}

impl std::ops::BitOr for Notify {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// State and counters of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LineState {
    /// Which line.
    pub line: u32,
    /// Whether a message waits to be delivered.
    pub pending: bool,
    /// Whether it waits until the line is unmasked.
    pub masked: bool,
    /// Whether it is a level line. What follows is for such lines.
    pub level: bool,
    /// Rung or delivered, and not acked since.
    pub asserted: bool,
    /// Its level is raised.
    pub raised: bool,
    /// It was acked while masked: its sources are told when it is unmasked.
    pub resample: bool,
    /// How often it was rung.
    pub rings: u64,
    /// How often it delivered.
    pub deliveries: u64,
    /// How many messages were dropped on request.
    pub dropped: u64,
    /// How many of the deliveries went by a worker, after a long chain of relays.
    pub deferred: u64,
    /// How often it was acked.
    pub acks: u64,
    /// Irqfds assigned now.
    pub irqfds: u32,
    /// Triggers assigned now.
    pub triggers: u32,
    /// Notifiers assigned now.
    pub notifiers: u32,
    /// Irqfds that have a resamplefd.
    pub resamplefds: u32,
}

impl LineState {
    /// How many rings joined a delivery that had not started yet.
    pub fn coalesced(&self) -> u64 {
        self.rings - self.deliveries - self.dropped - u64::from(self.pending)
    }
}

impl From<uapi::Query> for LineState {
    fn from(query: uapi::Query) -> Self {
        let is = |bit| query.state & bit != 0;
        Self {
            line: query.line,
            pending: is(uapi::LINE_PENDING),
            masked: is(uapi::LINE_MASKED),
            level: is(uapi::LINE_LEVEL),
            asserted: is(uapi::LINE_ASSERTED),
            raised: is(uapi::LINE_RAISED),
            resample: is(uapi::LINE_RESAMPLE),
            rings: query.rings,
            deliveries: query.deliveries,
            dropped: query.dropped,
            deferred: query.deferred,
            acks: query.acks,
            irqfds: query.nr_irqfds,
            triggers: query.nr_triggers,
            notifiers: query.nr_notifiers,
            resamplefds: query.nr_resamplefds,
        }
    }
}

/// A context: private, unless its descriptor is passed on.
#[derive(Debug)]
pub struct Context(OwnedFd);

impl Context {
    /// A new context from [`DEVICE`].
    pub fn open() -> Result<Self> {
        Self::open_path(DEVICE)
    }

    /// A new context from the device at `path`.
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(|file| Self(file.into()))
            .map_err(|error| Error::new(format!("open {}", path.display()), error))
    }

    /// A context that somebody passed on. That it is one shows when it is used.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Limits, features, and how much is assigned.
    pub fn info(&self) -> Result<uapi::GetInfo> {
        let mut info = uapi::GetInfo::default();
        sys::ioctl(self.as_fd(), uapi::GET_INFO, &mut info)
            .map_err(|error| Error::new("get info", error))?;
        Ok(info)
    }

    /// Chooses the number of lines, once.
    pub fn set_lines(&self, nr_lines: u32) -> Result {
        self.set_lines_with(nr_lines, 0)
    }

    /// Chooses the number of lines, once. All lines begin masked: what is rung before they are
    /// wired waits for the unmask.
    pub fn set_lines_masked(&self, nr_lines: u32) -> Result {
        self.set_lines_with(nr_lines, uapi::SET_LINES_FLAG_MASKED)
    }

    fn set_lines_with(&self, nr_lines: u32, flags: u32) -> Result {
        let mut lines = uapi::SetLines {
            nr_lines,
            flags,
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), uapi::SET_LINES, &mut lines)
            .map_err(|error| Error::new(format!("set {nr_lines} lines"), error))
    }

    /// Rings a line.
    #[inline]
    pub fn ring(&self, line: u32) -> Result<Ring> {
        sys::ioctl_value(self.as_fd(), uapi::RING, line)
            .map(Ring::from_code)
            .map_err(|error| Error::new(format!("ring line {line}"), error))
    }

    /// Makes a line a level line, or an edge line, which all are at first.
    pub fn set_type(&self, line: u32, level: bool) -> Result {
        let (type_, name) = match level {
            true => (uapi::TYPE_LEVEL, "a level line"),
            false => (uapi::TYPE_EDGE, "an edge line"),
        };
        let mut arg = uapi::SetType {
            line,
            type_,
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), uapi::SET_TYPE, &mut arg)
            .map_err(|error| Error::new(format!("make line {line} {name}"), error))
    }

    fn set_level(&self, line: u32, level: bool) -> Result<i32> {
        let mut arg = uapi::SetLevel {
            line,
            level: level.into(),
            ..Default::default()
        };
        sys::ioctl_count(self.as_fd(), uapi::SET_LEVEL, &mut arg).map_err(|error| {
            let verb = if level { "raise" } else { "lower" };
            Error::new(format!("{verb} line {line}"), error)
        })
    }

    /// Raises a level line, which then asserts itself until it is lowered.
    pub fn raise(&self, line: u32) -> Result<Ring> {
        self.set_level(line, true).map(Ring::from_code)
    }

    /// Lowers a level line; true if that took a message back that was not delivered yet.
    pub fn lower(&self, line: u32) -> Result<bool> {
        self.set_level(line, false).map(|taken| taken != 0)
    }

    /// Acks a level line.
    pub fn ack(&self, line: u32) -> Result<Ack> {
        match sys::ioctl_value(self.as_fd(), uapi::ACK, line) {
            Ok(uapi::ACK_NOTHING) => Ok(Ack::Nothing),
            Ok(uapi::ACK_POSTPONED) => Ok(Ack::Postponed),
            Ok(_) => Ok(Ack::Done),
            Err(error) => Err(Error::new(format!("ack line {line}"), error)),
        }
    }

    fn irqfd(
        &self,
        fd: BorrowedFd<'_>,
        line: u32,
        flags: u32,
        resamplefd: Option<BorrowedFd<'_>>,
    ) -> Result {
        let mut irqfd = uapi::Irqfd {
            fd: fd.as_raw_fd(),
            line,
            flags,
            resamplefd: resamplefd.map_or(0, |fd| fd.as_raw_fd()),
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), uapi::IRQFD, &mut irqfd)
            .map_err(|error| Error::new(format!("{} irqfd of line {line}", verb(flags)), error))
    }

    fn trigger(&self, fd: BorrowedFd<'_>, line: u32, flags: u32) -> Result {
        let mut trigger = uapi::Trigger {
            fd: fd.as_raw_fd(),
            line,
            flags,
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), uapi::TRIGGER, &mut trigger)
            .map_err(|error| Error::new(format!("{} trigger of line {line}", verb(flags)), error))
    }

    /// Has each signal of `fd` ring `line`.
    pub fn assign_irqfd(&self, fd: impl AsFd, line: u32) -> Result {
        self.irqfd(fd.as_fd(), line, 0, None)
    }

    /// Has each signal of `fd` assert `line`, a level line, which signals `resamplefd` when it is
    /// acked.
    pub fn assign_resampled(&self, fd: impl AsFd, line: u32, resamplefd: impl AsFd) -> Result {
        let resamplefd = Some(resamplefd.as_fd());
        self.irqfd(fd.as_fd(), line, uapi::IRQFD_FLAG_RESAMPLE, resamplefd)
    }

    /// The opposite of both; neither is touched any more when this returns.
    pub fn deassign_irqfd(&self, fd: impl AsFd, line: u32) -> Result {
        self.irqfd(fd.as_fd(), line, uapi::IRQFD_FLAG_DEASSIGN, None)
    }

    /// Has `line` signal `fd` on each delivery.
    pub fn assign_trigger(&self, fd: impl AsFd, line: u32) -> Result {
        self.trigger(fd.as_fd(), line, 0)
    }

    /// The opposite; `fd` is not signalled any more when this returns.
    pub fn deassign_trigger(&self, fd: impl AsFd, line: u32) -> Result {
        self.trigger(fd.as_fd(), line, uapi::TRIGGER_FLAG_DEASSIGN)
    }

    fn one(&self, cmd: u32, verb: &str, line: u32) -> Result<bool> {
        let lines = Lines::range(line..line.saturating_add(1));
        sys::ioctl_lines(self.as_fd(), cmd, &lines, false)
            .map(|(count, _)| count != 0)
            .map_err(|error| Error::new(format!("{verb} line {line}"), error))
    }

    fn many(&self, cmd: u32, verb: &str, lines: &Lines) -> Result<Lines> {
        if lines.len == 0 {
            return Ok(lines.clone());
        }
        let (_, bits) = sys::ioctl_lines(self.as_fd(), cmd, lines, true).map_err(|error| {
            let (first, end) = (lines.first, lines.first + lines.len);
            Error::new(format!("{verb} lines of {first}..{end}"), error)
        })?;
        Ok(Lines {
            bits,
            ..lines.clone()
        })
    }

    /// Masks a line: when this returns, nothing is under way, and rings are held. True if it was not
    /// masked before.
    pub fn mask(&self, line: u32) -> Result<bool> {
        self.one(uapi::MASK, "mask", line)
    }

    /// Unmasks a line; true if that delivered the message that it held.
    pub fn unmask(&self, line: u32) -> Result<bool> {
        self.one(uapi::UNMASK, "unmask", line)
    }

    /// Drops the message that is pending on a line; true if there was one.
    pub fn clear(&self, line: u32) -> Result<bool> {
        self.one(uapi::CLEAR, "clear", line)
    }

    /// Whether a message is pending on a line.
    pub fn pending(&self, line: u32) -> Result<bool> {
        self.one(uapi::PENDING, "look at", line)
    }

    /// Masks lines; returns those that were not masked before.
    pub fn mask_lines(&self, lines: &Lines) -> Result<Lines> {
        self.many(uapi::MASK, "mask", lines)
    }

    /// Unmasks lines; returns those that delivered the message that they held.
    pub fn unmask_lines(&self, lines: &Lines) -> Result<Lines> {
        self.many(uapi::UNMASK, "unmask", lines)
    }

    /// Drops the messages that are pending on lines; returns those that had one.
    pub fn clear_lines(&self, lines: &Lines) -> Result<Lines> {
        self.many(uapi::CLEAR, "clear", lines)
    }

    /// Those of `lines` on which a message is pending.
    pub fn pending_lines(&self, lines: &Lines) -> Result<Lines> {
        self.many(uapi::PENDING, "look at", lines)
    }

    fn notifier(&self, fd: BorrowedFd<'_>, line: u32, events: u32) -> Result {
        let flags = match events {
            0 => uapi::NOTIFIER_FLAG_DEASSIGN,
            _ => 0,
        };
        let mut notifier = uapi::Notifier {
            fd: fd.as_raw_fd(),
            line,
            flags,
            events,
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), uapi::NOTIFIER, &mut notifier)
            .map_err(|error| Error::new(format!("{} notifier of line {line}", verb(flags)), error))
    }

    /// Signals `fd` whenever one of these happens to `line`.
    pub fn assign_notifier(&self, fd: impl AsFd, line: u32, notify: Notify) -> Result {
        self.notifier(fd.as_fd(), line, notify.0)
    }

    /// The opposite; `fd` is not signalled any more when this returns.
    pub fn deassign_notifier(&self, fd: impl AsFd, line: u32) -> Result {
        self.notifier(fd.as_fd(), line, 0)
    }

    /// Maps the status pages: from there on, looking at the lines takes no system call.
    pub fn status(&self) -> Result<Status> {
        let info = self.info()?;
        let pages = sys::Mapping::status(self.as_fd(), info.status_offset, info.nr_lines as usize)
            .map_err(|error| Error::new("map the status pages", error))?;
        Ok(Status::new(pages))
    }

    /// State and counters of a line.
    pub fn query(&self, line: u32) -> Result<LineState> {
        let mut query = uapi::Query {
            line,
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), uapi::QUERY, &mut query)
            .map_err(|error| Error::new(format!("query line {line}"), error))?;
        Ok(query.into())
    }

    /// Takes the counter of any eventfd; with `no_wait`, fails with EAGAIN if it is zero.
    pub fn read_eventfd(&self, fd: impl AsFd, no_wait: bool) -> Result<u64> {
        let flags = if no_wait {
            uapi::EVENTFD_FLAG_NOWAIT
        } else {
            0
        };
        self.eventfd(uapi::EVENTFD_READ, "read", fd.as_fd(), flags)
    }

    /// Looks at the counter of any eventfd.
    pub fn peek_eventfd(&self, fd: impl AsFd) -> Result<u64> {
        self.eventfd(uapi::EVENTFD_PEEK, "peek at", fd.as_fd(), 0)
    }

    fn eventfd(&self, cmd: u32, verb: &str, fd: BorrowedFd<'_>, flags: u32) -> Result<u64> {
        let mut arg = uapi::Eventfd {
            fd: fd.as_raw_fd(),
            flags,
            ..Default::default()
        };
        sys::ioctl(self.as_fd(), cmd, &mut arg)
            .map_err(|error| Error::new(format!("{verb} eventfd"), error))?;
        Ok(arg.count)
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn missing_device_says_how_to_load_the_module() {
        let error = Context::open_path("/nonexistent/doorbell").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert!(error.to_string().contains("modprobe doorbell"), "{error}");
    }

    #[test]
    fn other_device_is_told_apart() {
        let context = Context::open_path("/dev/null").unwrap();
        let error = context.info().unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOTTY));
        assert!(error.to_string().contains("no doorbell"), "{error}");
    }

    #[test]
    fn line_state_adds_up() {
        let query = uapi::Query {
            line: 7,
            state: uapi::LINE_PENDING,
            rings: 10,
            deliveries: 6,
            dropped: 1,
            nr_triggers: 2,
            ..Default::default()
        };
        let state = LineState::from(query);
        assert!(state.pending && !state.masked);
        assert_eq!((state.line, state.coalesced(), state.triggers), (7, 2, 2));
        let masked = LineState::from(uapi::Query {
            state: uapi::LINE_MASKED,
            ..query
        });
        assert!(masked.masked && !masked.pending);
        assert_eq!(masked.coalesced(), 3);
    }

    #[test]
    fn every_errno_of_the_abi_has_advice() {
        for errno in [
            libc::EBADF,
            libc::ENXIO,
            libc::ENOENT,
            libc::EEXIST,
            libc::EBUSY,
            libc::ELOOP,
            libc::ENOSPC,
            libc::ENOMEM,
            libc::ENOTTY,
            libc::EOPNOTSUPP,
        ] {
            let error = Error::new("assign irqfd", io::Error::from_raw_os_error(errno));
            assert!(error.advice().is_some(), "{error}");
        }
    }

    #[test]
    fn chain_of_causes_says_everything_once() {
        let error = Context::open_path("/nonexistent/doorbell").unwrap_err();
        let text = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
    }

    #[test]
    fn permission_denied_names_the_udev_rule() {
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        let error = Error::new("open /dev/doorbell", denied);
        assert!(error.to_string().contains("udev"), "{error}");
    }

    #[test]
    fn advice_depends_on_what_was_tried() {
        let not_found = || io::Error::from_raw_os_error(libc::ENOENT);
        let open = Error::new("open /dev/doorbell", not_found());
        let deassign = Error::new("deassign irqfd of line 1", not_found());
        assert_ne!(open.advice(), deassign.advice());
    }
}
