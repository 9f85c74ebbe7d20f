// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{
    AckOutcome, Error, LineQuery, LineType, Moderation, Operation, Result, RingOutcome,
    StatusPages,
    sys::{self, StatusMapping},
    uapi,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

/// The usual path of the device.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::DEVICE, "/dev/doorbell");
/// ```
pub const DEVICE: &str = "/dev/doorbell";

/// Properties of the module and of a context, from [`Context::info`].
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, uapi};
///
/// let info = Context::open()?.info()?;
/// assert_eq!(info.nr_lines, 0);
/// let has_bus = info.features & uapi::FEATURE_BUS != 0;
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Info {
    /// Version of the ABI, [`uapi::ABI_VERSION`].
    pub abi_version: u32,
    /// Features of the module, `uapi::FEATURE_*` bits.
    pub features: u64,
    /// Lines of the context, 0 until [`Context::set_lines`].
    pub nr_lines: u32,
    /// Irqfds assigned in the context.
    pub nr_irqfds: u32,
    /// Triggers assigned in the context.
    pub nr_triggers: u32,
    /// Notifiers assigned in the context.
    pub nr_notifiers: u32,
    /// Regions assigned in the context.
    pub nr_regions: u32,
    /// Maximum number of lines of a context.
    pub max_lines: u32,
    /// Maximum number of irqfds of a context.
    pub max_irqfds: u32,
    /// Maximum number of triggers of a line.
    pub max_triggers_per_line: u32,
    /// Maximum number of notifiers of a line.
    pub max_notifiers_per_line: u32,
    /// Maximum number of irqfds with a resamplefd of a line.
    pub max_resamplefds_per_line: u32,
    /// Maximum number of regions of a context.
    pub max_regions: u32,
    /// Maximum number of records of a context.
    pub max_records: u32,
    /// Maximum number of last values of a context.
    pub max_values: u32,
}

impl From<uapi::GetInfo> for Info {
    fn from(info: uapi::GetInfo) -> Self {
        Self {
            abi_version: info.abi_version,
            features: info.features,
            nr_lines: info.nr_lines,
            nr_irqfds: info.nr_irqfds,
            nr_triggers: info.nr_triggers,
            nr_notifiers: info.nr_notifiers,
            nr_regions: info.nr_regions,
            max_lines: info.max_lines,
            max_irqfds: info.max_irqfds,
            max_triggers_per_line: info.max_triggers_per_line,
            max_notifiers_per_line: info.max_notifiers_per_line,
            max_resamplefds_per_line: info.max_resamplefds_per_line,
            max_regions: info.max_regions,
            max_records: info.max_records,
            max_values: info.max_values,
        }
    }
}

/// An open file of the device: lines, a bus, and the eventfds that are assigned to them.
///
/// A context belongs to the processes that have its descriptor. To share it, send the descriptor
/// over a UNIX socket or let a child process inherit it. The receiver converts the [`OwnedFd`] to a
/// context. When the last descriptor and the last mapping are closed, everything is deassigned.
///
/// The methods that take an eventfd accept [any type](crate#file-descriptors) of it. Each method
/// also fails with ENOTTY if the descriptor is not a doorbell, and with ENOMEM if there is no memory.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, EventFd};
///
/// let context = Context::open()?;
/// context.set_lines(16)?;
/// let call = EventFd::new(0)?;
/// context.assign_trigger(&call, 3)?;
/// context.ring(3)?;
/// assert_eq!(call.read()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Context(OwnedFd);

impl Context {
    /// Opens a new context of [`DEVICE`].
    ///
    /// # Errors
    ///
    /// ENOENT if the module is not loaded, EACCES without permission for the device.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let context = doorbell::Context::open()?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn open() -> Result<Self> {
        Self::open_path(DEVICE)
    }

    /// Opens a new context of the device at `path`.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Context::open).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let context = doorbell::Context::open_path("/run/vm/doorbell")?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match sys::open(path) {
            Ok(fd) => Ok(Self(fd)),
            Err(source) => Err(Error::Open {
                path: path.to_owned(),
                source,
            }),
        }
    }

    pub(crate) fn failed(&self, operation: Operation, source: io::Error) -> Error {
        Error::Context { operation, source }
    }

    pub(crate) fn get_info(&self) -> io::Result<uapi::GetInfo> {
        let mut info = uapi::GetInfo::default();
        sys::ioctl(self.as_fd(), uapi::GET_INFO, &mut info)?;
        Ok(info)
    }

    /// Returns the properties of the module and of the context.
    ///
    /// # Errors
    ///
    /// ENOTTY if the descriptor is not a doorbell.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let info = doorbell::Context::open()?.info()?;
    /// println!("ABI version {}, at most {} lines", info.abi_version, info.max_lines);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn info(&self) -> Result<Info> {
        self.get_info()
            .map(Info::from)
            .map_err(|source| self.failed(Operation::GetInfo, source))
    }

    /// Chooses the number of lines, once.
    ///
    /// # Errors
    ///
    /// EEXIST if the lines are chosen already, EINVAL if `nr_lines` is 0 or above the maximum.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let context = doorbell::Context::open()?;
    /// context.set_lines(16)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn set_lines(&self, nr_lines: u32) -> Result {
        self.set_lines_with(nr_lines, 0)
    }

    /// Chooses the number of lines, once, and masks all of them.
    ///
    /// A line that is rung before it has a trigger then holds its message until it is unmasked.
    ///
    /// # Errors
    ///
    /// Those of [`set_lines`](Context::set_lines).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// let context = Context::open()?;
    /// context.set_lines_masked(16)?;
    /// context.ring(3)?;
    /// let call = EventFd::new(0)?;
    /// context.assign_trigger(&call, 3)?;
    /// context.unmask(3)?;
    /// assert_eq!(call.read()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_lines_masked(&self, nr_lines: u32) -> Result {
        self.set_lines_with(nr_lines, uapi::SET_LINES_FLAG_MASKED)
    }

    fn set_lines_with(&self, nr_lines: u32, flags: u32) -> Result {
        let mut lines = uapi::SetLines {
            nr_lines,
            flags,
            ..Default::default()
        };
        match sys::ioctl(self.as_fd(), uapi::SET_LINES, &mut lines) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::SetLines { nr_lines, source }),
        }
    }

    /// Rings a line.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, RingOutcome};
    /// # let context = Context::open()?;
    /// assert_eq!(context.ring(3)?, RingOutcome::Delivered);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn ring(&self, line: u32) -> Result<RingOutcome> {
        match sys::ioctl_value(self.as_fd(), uapi::RING, line) {
            Ok(code) => Ok(RingOutcome::from_code(code)),
            Err(source) => Err(Error::Line {
                operation: Operation::Ring,
                line,
                source,
            }),
        }
    }

    /// Rings a line, unless the status page shows that the ring would coalesce. Returns the outcome of
    /// the ring, or [`None`] if the system call was skipped.
    ///
    /// A skipped ring is a fence, a load and a test. This pays off if rings come faster than they are
    /// consumed, and most of all if the consumer masks the line while it polls, as NAPI does: all rings
    /// but the first are then skipped. `status` must be a mapping of this context.
    ///
    /// # Guarantee
    ///
    /// A skipped ring is as good as a ring that returns [`Coalesced`](RingOutcome::Coalesced): the caller
    /// stores data, then calls this. The delivery that the line still owes starts after the data has
    /// become visible to the consumer. For a level line the same holds for the ack: the resamplefds are
    /// signalled, and the acknowledging thread continues, after that.
    ///
    /// The caller stores its data, executes a full fence, and loads the state. The thread that consumes
    /// the message changes the state by a fully ordered compare-exchange, then signals the trigger, or
    /// returns from CLEAR, UNMASK or ACK. The consumer loads the data after that. This is the
    /// store-buffering pattern with two full fences: either the load returns the new state, and the
    /// caller rings, or the consumer sees the data. `tools/model` explores it under weak memory order.
    ///
    /// A ring can be skipped if it would change nothing in the module:
    ///
    /// - An edge line has a message pending: the ring joins that message.
    /// - A level line is asserted: rings coalesce until the ack. As with any ring of an asserted line,
    ///   the consumer must look for data after the ack, or the producer must do so when its resamplefd is
    ///   signalled. A pending message alone is not enough: it can be that of a raised level, and lowering
    ///   the level would withdraw it.
    ///
    /// A message that is dropped with CLEAR is dropped for the skipped rings, too. So a consumer has to
    /// look for data after CLEAR, and not before.
    ///
    /// The module does not see a skipped ring: neither `rings` nor `coalesced` counts it, and it is not one of
    /// the [`max_count`](Moderation::max_count) rings that end a moderated line's interval early. The line's
    /// owner is not boosted on PREEMPT_RT.
    ///
    /// # Errors
    ///
    /// Those of [`ring`](Context::ring).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, RingOutcome};
    /// # let context = Context::open()?;
    /// let status = context.map_status()?;
    /// context.mask(3)?;
    /// assert_eq!(context.ring_if_needed(&status, 3)?, Some(RingOutcome::Masked));
    /// assert_eq!(context.ring_if_needed(&status, 3)?, None);
    /// assert!(context.unmask(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn ring_if_needed(&self, status: &StatusPages, line: u32) -> Result<Option<RingOutcome>> {
        if status.ring_is_needed(line) {
            self.ring(line).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Sets the type of a line.
    ///
    /// # Errors
    ///
    /// - EBUSY: the type would change, and the line is not idle: a message is pending, or it is asserted or
    ///   raised. Or a line that would become an edge line has a resamplefd or an ackfd. Or a line that would
    ///   become a level line has a trigger that counts.
    /// - ENXIO: there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineType};
    /// # let context = Context::open()?;
    /// context.set_type(3, LineType::Level)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn set_type(&self, line: u32, line_type: LineType) -> Result {
        self.set_type_with(line, line_type, 0)
    }

    /// Sets the type of a line, and makes it mask itself in each delivery, as VFIO's INTx does.
    ///
    /// There is no second delivery before [`unmask_for`](Context::unmask_for) with
    /// [`MaskReasons::AUTO`](crate::MaskReasons::AUTO). [`set_type`](Context::set_type) makes the line one
    /// that does not mask itself. Both can be called while the line is in use, if its type is the same.
    ///
    /// # Errors
    ///
    /// Those of [`set_type`](Context::set_type).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineType, MaskReasons, RingOutcome};
    /// # let context = Context::open()?;
    /// context.set_type_automask(3, LineType::Edge)?;
    /// assert_eq!(context.ring(3)?, RingOutcome::Delivered);
    /// assert_eq!(context.ring(3)?, RingOutcome::Masked);
    /// assert!(context.unmask_for(3, MaskReasons::AUTO)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn set_type_automask(&self, line: u32, line_type: LineType) -> Result {
        self.set_type_with(line, line_type, uapi::TYPE_FLAG_AUTOMASK)
    }

    fn set_type_with(&self, line: u32, line_type: LineType, flags: u32) -> Result {
        let mut arg = uapi::SetType {
            line,
            type_: match line_type {
                LineType::Edge => uapi::TYPE_EDGE,
                LineType::Level => uapi::TYPE_LEVEL,
            },
            flags,
            ..Default::default()
        };
        match sys::ioctl(self.as_fd(), uapi::SET_TYPE, &mut arg) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::SetType {
                line,
                line_type,
                source,
            }),
        }
    }

    /// Calls an ioctl about `line` with a structure as argument.
    pub(crate) fn line_ioctl<T: sys::Plain>(
        &self,
        operation: Operation,
        cmd: u32,
        line: u32,
        arg: &mut T,
    ) -> Result<i32> {
        sys::ioctl(self.as_fd(), cmd, arg).map_err(|source| Error::Line {
            operation,
            line,
            source,
        })
    }

    /// Limits the rate of the deliveries of `line`, or ends the limit. If the line is not masked, a message
    /// that it held for the previous limit is delivered when this returns.
    ///
    /// # Errors
    ///
    /// EINVAL if the interval is shorter than a microsecond or longer than a second, or if the count is
    /// zero; ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, Moderation};
    /// # use std::time::Duration;
    /// # let context = Context::open()?;
    /// let min_interval = Duration::from_micros(50);
    /// context.moderate(3, Some(Moderation { min_interval, max_count: None }))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn moderate(&self, line: u32, moderation: Option<Moderation>) -> Result {
        let (min_interval, max_count) = match moderation {
            None => (0, 0),
            Some(Moderation {
                min_interval,
                max_count,
            }) => match (u32::try_from(min_interval.as_nanos()), max_count) {
                // The module would take these for no limit.
                (Ok(0) | Err(_), _) | (_, Some(0)) => {
                    return Err(Error::Line {
                        operation: Operation::Moderate,
                        line,
                        source: std::io::Error::from_raw_os_error(libc::EINVAL),
                    });
                }
                (Ok(nanoseconds), count) => (nanoseconds, count.unwrap_or(0)),
            },
        };
        let mut arg = uapi::Moderate {
            line,
            min_interval,
            max_count,
            ..Default::default()
        };
        self.line_ioctl(Operation::Moderate, uapi::MODERATE, line, &mut arg)?;
        Ok(())
    }

    /// Returns the limits of the rate of the deliveries of `line`, if it has some.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// assert_eq!(context.moderation(3)?, None);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn moderation(&self, line: u32) -> Result<Option<Moderation>> {
        let mut arg = uapi::Moderate {
            line,
            flags: uapi::MODERATE_FLAG_GET,
            ..Default::default()
        };
        self.line_ioctl(Operation::Moderation, uapi::MODERATE, line, &mut arg)?;
        Ok((arg.min_interval != 0).then_some(Moderation {
            min_interval: std::time::Duration::from_nanos(arg.min_interval.into()),
            max_count: (arg.max_count != 0).then_some(arg.max_count),
        }))
    }

    fn set_level(&self, operation: Operation, line: u32, level: u32) -> Result<i32> {
        let mut arg = uapi::SetLevel {
            line,
            level,
            ..Default::default()
        };
        self.line_ioctl(operation, uapi::SET_LEVEL, line, &mut arg)
    }

    /// Raises a level line. Until it is lowered it delivers once more after each ack.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP if the line is an edge line, ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineType, RingOutcome};
    /// # let context = Context::open()?;
    /// context.set_type(3, LineType::Level)?;
    /// assert_eq!(context.raise(3)?, RingOutcome::Delivered);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn raise(&self, line: u32) -> Result<RingOutcome> {
        self.set_level(Operation::Raise, line, 1)
            .map(RingOutcome::from_code)
    }

    /// Lowers a level line. Returns true if that withdrew a message that was not delivered yet.
    ///
    /// # Errors
    ///
    /// Those of [`raise`](Context::raise).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineType};
    /// # let context = Context::open()?;
    /// context.set_type(3, LineType::Level)?;
    /// context.mask(3)?;
    /// context.raise(3)?;
    /// assert!(context.lower(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn lower(&self, line: u32) -> Result<bool> {
        self.set_level(Operation::Lower, line, 0)
            .map(|withdrawn| withdrawn != 0)
    }

    /// Acks a level line (EOI), which makes its sources check again.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP if the line is an edge line, ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{AckOutcome, Context, LineType};
    /// # let context = Context::open()?;
    /// context.set_type(3, LineType::Level)?;
    /// context.ring(3)?;
    /// assert_eq!(context.ack(3)?, AckOutcome::Done);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn ack(&self, line: u32) -> Result<AckOutcome> {
        match sys::ioctl_value(self.as_fd(), uapi::ACK, line) {
            Ok(uapi::ACK_NOTHING) => Ok(AckOutcome::Nothing),
            Ok(uapi::ACK_POSTPONED) => Ok(AckOutcome::Postponed),
            Ok(_) => Ok(AckOutcome::Done),
            Err(source) => Err(Error::Line {
                operation: Operation::Ack,
                line,
                source,
            }),
        }
    }

    /// Maps the status pages. Reading a line's state then takes no system call.
    ///
    /// # Errors
    ///
    /// ENXIO if the lines are not chosen yet.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let status = context.map_status()?;
    /// assert!(!status.line(3).pending);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn map_status(&self) -> Result<StatusPages> {
        let failed = |source| self.failed(Operation::MapStatus, source);
        let info = self.get_info().map_err(failed)?;
        if info.nr_lines == 0 {
            // mmap(2) itself refuses a length of 0 with EINVAL, before it calls the module.
            return Err(failed(io::Error::from_raw_os_error(libc::ENXIO)));
        }
        let (lines, stride) = (info.nr_lines as usize, info.status_size as usize);
        StatusMapping::new(self.as_fd(), info.status_offset, lines, stride)
            .map(StatusPages::new)
            .map_err(failed)
    }

    /// Returns state and counters of a line as of one moment.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.ring(3)?;
    /// assert_eq!(context.query(3)?.deliveries, 1);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn query(&self, line: u32) -> Result<LineQuery> {
        let mut query = uapi::Query {
            line,
            ..Default::default()
        };
        self.line_ioctl(Operation::Query, uapi::QUERY, line, &mut query)?;
        Ok(query.into())
    }

    /// Consumes the counter of any eventfd, as read(2) does. If it is zero, sleeps, or fails if
    /// `no_wait` is true.
    ///
    /// # Errors
    ///
    /// - EAGAIN: the counter is zero, and `no_wait` is true or `fd` is non-blocking.
    /// - EINTR: a signal has arrived.
    /// - EBADF: `fd` is not open, or not for reading.
    /// - EINVAL: `fd` is not an eventfd.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let eventfd = EventFd::new(5)?;
    /// assert_eq!(context.read_eventfd(&eventfd, true)?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_eventfd(&self, fd: &impl AsRawFd, no_wait: bool) -> Result<u64> {
        let flags = if no_wait {
            uapi::EVENTFD_FLAG_NOWAIT
        } else {
            0
        };
        let cmd = uapi::EVENTFD_READ;
        self.eventfd(Operation::ReadEventfd, cmd, fd.as_raw_fd(), flags)
    }

    /// Returns the counter of any eventfd without consuming it.
    ///
    /// # Errors
    ///
    /// - EBADF: `fd` is not open, or not for reading.
    /// - EINVAL: `fd` is not an eventfd.
    /// - EOPNOTSUPP: the module was built without the kernel's BTF; see
    ///   [`FEATURE_EVENTFD_PEEK`](uapi::FEATURE_EVENTFD_PEEK).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let eventfd = EventFd::new(5)?;
    /// assert_eq!(context.peek_eventfd(&eventfd)?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn peek_eventfd(&self, fd: &impl AsRawFd) -> Result<u64> {
        let cmd = uapi::EVENTFD_PEEK;
        self.eventfd(Operation::PeekEventfd, cmd, fd.as_raw_fd(), 0)
    }

    fn eventfd(&self, operation: Operation, cmd: u32, fd: RawFd, flags: u32) -> Result<u64> {
        let mut arg = uapi::Eventfd {
            fd,
            flags,
            ..Default::default()
        };
        match sys::ioctl(self.as_fd(), cmd, &mut arg) {
            Ok(_) => Ok(arg.count),
            Err(source) => Err(Error::Eventfd { operation, source }),
        }
    }
}

/// Takes ownership of a context's descriptor, for example one that another process has sent. If it
/// is not a context, the first call fails with ENOTTY.
impl From<OwnedFd> for Context {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Context> for OwnedFd {
    fn from(context: Context) -> Self {
        context.0
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Context {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_device_is_an_error_of_open() {
        let error = Context::open_path("/nonexistent/doorbell").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert_eq!(error.operation(), Operation::Open);
    }

    #[test]
    fn other_device_does_not_know_the_ioctls() {
        let context = Context::open_path("/dev/null").unwrap();
        let error = context.info().unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOTTY));
        assert_eq!(error.operation(), Operation::GetInfo);
        let error = context.map_status().unwrap_err();
        assert_eq!(error.operation(), Operation::MapStatus);
        let error = context.map_records().unwrap_err();
        assert_eq!(error.operation(), Operation::MapRecords);
    }
}
