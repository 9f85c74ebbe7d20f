// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{
    Error, LineSet, Operation, Result, StatusPages,
    sys::{self, StatusMapping},
    uapi,
};
use std::{
    io,
    ops::BitOr,
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

/// The outcome of a ring.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, RingOutcome};
///
/// # let context = Context::open()?;
/// context.mask(3)?;
/// assert_eq!(context.ring(3)?, RingOutcome::Masked);
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingOutcome {
    /// The ring has a delivery of its own, which is done or in flight.
    Delivered,
    /// The ring joined a delivery that had not started yet.
    Coalesced,
    /// The masked line holds the ring until it is unmasked or cleared.
    Masked,
}

impl RingOutcome {
    fn from_code(code: i32) -> Self {
        match code {
            uapi::RING_COALESCED => Self::Coalesced,
            uapi::RING_MASKED => Self::Masked,
            _ => Self::Delivered,
        }
    }
}

/// The outcome of an ack.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{AckOutcome, Context};
///
/// # let context = Context::open()?;
/// assert_eq!(context.ack(3)?, AckOutcome::Nothing);
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// The line had not delivered since the last ack.
    Nothing,
    /// The resamplefds of the line have been signalled.
    Done,
    /// The line is masked. The unmask signals the resamplefds.
    Postponed,
}

/// The type of a line.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::LineType::default(), doorbell::LineType::Edge);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum LineType {
    /// Each ring is a message. Every line begins with this type.
    #[default]
    Edge,
    /// A ring asserts the line. Until the ack, all further rings coalesce.
    Level,
}

/// The events that a notifier is signalled for. `|` combines them.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, EventFd, Notify};
///
/// # let context = Context::open()?;
/// let eventfd = EventFd::new(0)?;
/// context.assign_notifier(&eventfd, 3, Notify::MASK | Notify::UNMASK)?;
/// context.mask(3)?;
/// assert_eq!(eventfd.read()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(u32);

impl Notify {
    /// The line went from unmasked to masked.
    pub const MASK: Self = Self(uapi::NOTIFY_MASK);
    /// The line went from masked to unmasked.
    pub const UNMASK: Self = Self(uapi::NOTIFY_UNMASK);
    /// The line was acked, masked or not.
    pub const ACK: Self = Self(uapi::NOTIFY_ACK);
}

impl BitOr for Notify {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

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
        }
    }
}

/// State and counters of a line as of one moment, from [`Context::query`].
///
/// # Examples
///
/// ```no_run
/// # let context = doorbell::Context::open()?;
/// let query = context.query(3)?;
/// println!("{} rings, of which {} coalesced", query.rings, query.coalesced());
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LineQuery {
    /// Number of the line.
    pub line: u32,
    /// A message waits to be delivered.
    pub pending: bool,
    /// The line is masked.
    pub masked: bool,
    /// The line is a level line. The next three fields are for level lines.
    pub level: bool,
    /// The line was rung or delivered and not acked since.
    pub asserted: bool,
    /// The level of the line is raised.
    pub raised: bool,
    /// The line was acked while masked: the unmask signals its resamplefds.
    pub resample: bool,
    /// Rings of the line.
    pub rings: u64,
    /// Deliveries of the line.
    pub deliveries: u64,
    /// Messages that were dropped on request.
    pub dropped: u64,
    /// Deliveries by a worker, included in `deliveries`: at the end of a long chain of relays, or
    /// beyond an interrupt's budget.
    pub deferred: u64,
    /// Acks of the line.
    pub acks: u64,
    /// Irqfds of the line.
    pub irqfds: u32,
    /// Triggers of the line.
    pub triggers: u32,
    /// Notifiers of the line.
    pub notifiers: u32,
    /// Irqfds of the line that have a resamplefd.
    pub resamplefds: u32,
}

impl LineQuery {
    /// Returns the number of rings that joined a delivery that had not started yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineQuery;
    /// let query = LineQuery { rings: 10, deliveries: 6, dropped: 1, ..Default::default() };
    /// assert_eq!(query.coalesced(), 3);
    /// ```
    pub fn coalesced(&self) -> u64 {
        self.rings - self.deliveries - self.dropped - u64::from(self.pending)
    }
}

impl From<uapi::Query> for LineQuery {
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

    /// Sets the type of a line.
    ///
    /// # Errors
    ///
    /// EBUSY unless the line is idle: no message pending, neither asserted nor raised, no
    /// resamplefd. ENXIO if there is no such line.
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
        let mut arg = uapi::SetType {
            line,
            type_: match line_type {
                LineType::Edge => uapi::TYPE_EDGE,
                LineType::Level => uapi::TYPE_LEVEL,
            },
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
    fn line_ioctl<T: sys::Plain>(
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

    fn irqfd(
        &self,
        operation: Operation,
        fd: RawFd,
        line: u32,
        flags: u32,
        resamplefd: RawFd,
    ) -> Result {
        let mut arg = uapi::Irqfd {
            fd,
            line,
            flags,
            resamplefd,
            ..Default::default()
        };
        self.line_ioctl(operation, uapi::IRQFD, line, &mut arg)
            .map(drop)
    }

    /// Assigns `fd` as an irqfd: each signal rings `line`.
    ///
    /// If the counter of `fd` is not zero, the line is rung once. When the last file of the eventfd
    /// is closed, it is deassigned.
    ///
    /// # Errors
    ///
    /// - EBADF: `fd` is not open.
    /// - EINVAL: `fd` is not an eventfd.
    /// - EEXIST: `fd` is an irqfd of this line already.
    /// - EBUSY: `fd` is an irqfd of another line, of another context or of KVM.
    /// - ELOOP: the line would ring itself.
    /// - ENXIO: there is no such line.
    /// - ENOSPC: over a limit.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let kick = EventFd::new(0)?;
    /// context.assign_irqfd(&kick, 3)?;
    /// kick.write(1)?;
    /// assert_eq!(context.query(3)?.rings, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_irqfd(&self, fd: &impl AsRawFd, line: u32) -> Result {
        self.irqfd(Operation::AssignIrqfd, fd.as_raw_fd(), line, 0, 0)
    }

    /// Assigns `fd` as an irqfd of a level line that signals `resamplefd` on each ack.
    ///
    /// # Errors
    ///
    /// Those of [`assign_irqfd`](Context::assign_irqfd), and EOPNOTSUPP if the line is an edge line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, LineType};
    /// # let context = Context::open()?;
    /// context.set_type(3, LineType::Level)?;
    /// let (source, resample) = (EventFd::new(0)?, EventFd::new(0)?);
    /// context.assign_resampled(&source, 3, &resample)?;
    /// source.write(1)?;
    /// context.ack(3)?;
    /// assert_eq!(resample.read()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_resampled(
        &self,
        fd: &impl AsRawFd,
        line: u32,
        resamplefd: &impl AsRawFd,
    ) -> Result {
        self.irqfd(
            Operation::AssignResampled,
            fd.as_raw_fd(),
            line,
            uapi::IRQFD_FLAG_RESAMPLE,
            resamplefd.as_raw_fd(),
        )
    }

    /// Deassigns an irqfd, and its resamplefd. When this returns, the module does not touch either
    /// of them any more.
    ///
    /// # Errors
    ///
    /// ENOENT if `fd` is not an irqfd of `line`, EBADF if it is not open.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let kick = EventFd::new(0)?;
    /// context.assign_irqfd(&kick, 3)?;
    /// context.deassign_irqfd(&kick, 3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deassign_irqfd(&self, fd: &impl AsRawFd, line: u32) -> Result {
        let flags = uapi::IRQFD_FLAG_DEASSIGN;
        self.irqfd(Operation::DeassignIrqfd, fd.as_raw_fd(), line, flags, 0)
    }

    fn trigger(&self, operation: Operation, fd: RawFd, line: u32, flags: u32) -> Result<i32> {
        let mut arg = uapi::Trigger {
            fd,
            line,
            flags,
            ..Default::default()
        };
        self.line_ioctl(operation, uapi::TRIGGER, line, &mut arg)
    }

    /// Assigns `fd` as a trigger: each delivery of `line` signals it.
    ///
    /// The descriptor may be closed afterwards: the eventfd is signalled until it is deassigned.
    ///
    /// # Errors
    ///
    /// - EBADF: `fd` is not open.
    /// - EINVAL: `fd` is not an eventfd.
    /// - EEXIST: `fd` is a trigger of this line already.
    /// - ELOOP: the line would ring itself.
    /// - ENXIO: there is no such line.
    /// - ENOSPC: over a limit.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let call = EventFd::new(0)?;
    /// context.assign_trigger(&call, 3)?;
    /// context.ring(3)?;
    /// assert_eq!(call.read()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_trigger(&self, fd: &impl AsRawFd, line: u32) -> Result {
        self.trigger(Operation::AssignTrigger, fd.as_raw_fd(), line, 0)
            .map(drop)
    }

    /// Deassigns a trigger. When this returns, `fd` is not signalled any more.
    ///
    /// # Errors
    ///
    /// ENOENT if `fd` is not a trigger of `line`, EBADF if it is not open.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let call = EventFd::new(0)?;
    /// context.assign_trigger(&call, 3)?;
    /// context.deassign_trigger(&call, 3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deassign_trigger(&self, fd: &impl AsRawFd, line: u32) -> Result {
        let flags = uapi::TRIGGER_FLAG_DEASSIGN;
        self.trigger(Operation::DeassignTrigger, fd.as_raw_fd(), line, flags)
            .map(drop)
    }

    /// Deassigns all eventfds that are triggers of a line, and returns their number. Their
    /// descriptors need not exist any more.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// context.assign_trigger(&EventFd::new(0)?, 3)?;
    /// assert_eq!(context.deassign_all_triggers(3)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deassign_all_triggers(&self, line: u32) -> Result<u32> {
        let flags = uapi::TRIGGER_FLAG_DEASSIGN | uapi::TRIGGER_FLAG_ALL;
        self.trigger(Operation::DeassignTrigger, -1, line, flags)
            .map(|count| count as u32)
    }

    fn notifier(
        &self,
        operation: Operation,
        fd: RawFd,
        line: u32,
        events: u32,
        flags: u32,
    ) -> Result<i32> {
        let mut arg = uapi::Notifier {
            fd,
            line,
            flags,
            events,
            ..Default::default()
        };
        self.line_ioctl(operation, uapi::NOTIFIER, line, &mut arg)
    }

    /// Assigns `fd` as a notifier: each event of `events` on `line` signals it.
    ///
    /// # Errors
    ///
    /// - EBADF: `fd` is not open.
    /// - EINVAL: `fd` is not an eventfd.
    /// - EEXIST: `fd` is a notifier of this line already.
    /// - ENXIO: there is no such line.
    /// - ENOSPC: over a limit.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, Notify};
    /// # let context = Context::open()?;
    /// let eventfd = EventFd::new(0)?;
    /// context.assign_notifier(&eventfd, 3, Notify::MASK)?;
    /// context.mask(3)?;
    /// assert_eq!(eventfd.read()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_notifier(&self, fd: &impl AsRawFd, line: u32, events: Notify) -> Result {
        let fd = fd.as_raw_fd();
        self.notifier(Operation::AssignNotifier, fd, line, events.0, 0)
            .map(drop)
    }

    /// Deassigns a notifier. When this returns, `fd` is not signalled any more.
    ///
    /// # Errors
    ///
    /// ENOENT if `fd` is not a notifier of `line`, EBADF if it is not open.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, Notify};
    /// # let context = Context::open()?;
    /// let eventfd = EventFd::new(0)?;
    /// context.assign_notifier(&eventfd, 3, Notify::ACK)?;
    /// context.deassign_notifier(&eventfd, 3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deassign_notifier(&self, fd: &impl AsRawFd, line: u32) -> Result {
        let (fd, flags) = (fd.as_raw_fd(), uapi::NOTIFIER_FLAG_DEASSIGN);
        self.notifier(Operation::DeassignNotifier, fd, line, 0, flags)
            .map(drop)
    }

    /// Deassigns all eventfds that are notifiers of a line, and returns their number. Their
    /// descriptors need not exist any more.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, Notify};
    /// # let context = Context::open()?;
    /// context.assign_notifier(&EventFd::new(0)?, 3, Notify::MASK)?;
    /// assert_eq!(context.deassign_all_notifiers(3)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deassign_all_notifiers(&self, line: u32) -> Result<u32> {
        let flags = uapi::NOTIFIER_FLAG_DEASSIGN | uapi::NOTIFIER_FLAG_ALL;
        self.notifier(Operation::DeassignNotifier, -1, line, 0, flags)
            .map(|count| count as u32)
    }

    fn one(&self, operation: Operation, cmd: u32, line: u32) -> Result<bool> {
        let lines = LineSet {
            first: line,
            len: 1,
            bits: Vec::new(),
        };
        match sys::ioctl_lines(self.as_fd(), cmd, &lines, false) {
            Ok((count, _)) => Ok(count != 0),
            Err(source) => Err(Error::Line {
                operation,
                line,
                source,
            }),
        }
    }

    fn many(&self, operation: Operation, cmd: u32, lines: &LineSet) -> Result<LineSet> {
        if lines.len == 0 {
            return Ok(lines.clone());
        }
        match sys::ioctl_lines(self.as_fd(), cmd, lines, true) {
            Ok((_, bits)) => Ok(LineSet {
                bits,
                ..lines.clone()
            }),
            Err(source) => Err(Error::Lines {
                operation,
                lines: lines.bounds(),
                source,
            }),
        }
    }

    /// Masks a line. Returns true if it was not masked before.
    ///
    /// When this returns, no delivery of the line is in flight, and none starts until the line is
    /// unmasked. A ring is held as pending.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// assert!(context.mask(3)?);
    /// assert!(!context.mask(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn mask(&self, line: u32) -> Result<bool> {
        self.one(Operation::Mask, uapi::MASK, line)
    }

    /// Unmasks a line. Returns true if that delivered the message that the line held.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.mask(3)?;
    /// context.ring(3)?;
    /// assert!(context.unmask(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn unmask(&self, line: u32) -> Result<bool> {
        self.one(Operation::Unmask, uapi::UNMASK, line)
    }

    /// Drops the pending message of a line. Returns true if there was one.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.mask(3)?;
    /// context.ring(3)?;
    /// assert!(context.clear(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn clear(&self, line: u32) -> Result<bool> {
        self.one(Operation::Clear, uapi::CLEAR, line)
    }

    /// Returns true if a message is pending on a line.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.mask(3)?;
    /// context.ring(3)?;
    /// assert!(context.pending(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn pending(&self, line: u32) -> Result<bool> {
        self.one(Operation::Pending, uapi::PENDING, line)
    }

    /// Masks lines, and returns those that were not masked before.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// let masked = context.mask_lines(&LineSet::range(0..16))?;
    /// assert_eq!(masked.count(), 16);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn mask_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Mask, uapi::MASK, lines)
    }

    /// Unmasks lines, and returns those that delivered the message that they held.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// let delivered = context.unmask_lines(&LineSet::range(0..16))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn unmask_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Unmask, uapi::UNMASK, lines)
    }

    /// Drops the pending messages of lines, and returns the lines that had one.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// let dropped = context.clear_lines(&LineSet::range(0..16))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn clear_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Clear, uapi::CLEAR, lines)
    }

    /// Returns those of `lines` on which a message is pending.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// for line in context.pending_lines(&LineSet::range(0..16))?.iter() {
    ///     println!("line {line} is pending");
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn pending_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Pending, uapi::PENDING, lines)
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
            // mmap(2) refuses the length, so that the module cannot return its own error.
            return Err(failed(io::Error::from_raw_os_error(libc::ENXIO)));
        }
        let lines = info.nr_lines as usize;
        StatusMapping::new(self.as_fd(), info.status_offset, lines)
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
    /// - EBADF: `fd` is not open.
    /// - EINVAL: `fd` is not an eventfd.
    /// - EOPNOTSUPP: the module was built without BTF.
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
    /// - EBADF: `fd` is not open.
    /// - EINVAL: `fd` is not an eventfd.
    /// - EOPNOTSUPP: the module was built without BTF.
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

    #[test]
    fn counters_of_a_query_add_up() {
        let query = uapi::Query {
            line: 7,
            state: uapi::LINE_PENDING,
            rings: 10,
            deliveries: 6,
            dropped: 1,
            nr_triggers: 2,
            ..Default::default()
        };
        let line = LineQuery::from(query);
        assert!(line.pending && !line.masked);
        assert_eq!((line.line, line.coalesced(), line.triggers), (7, 2, 2));
        let masked = LineQuery::from(uapi::Query {
            state: uapi::LINE_MASKED,
            ..query
        });
        assert!(masked.masked && !masked.pending);
        assert_eq!(masked.coalesced(), 3);
    }
}
