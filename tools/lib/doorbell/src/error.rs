// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{
    line::LineType,
    region::{Access, Region},
};
use std::{fmt, io, ops::Range, path::PathBuf};

/// The result of a call of this crate.
///
/// # Examples
///
/// ```no_run
/// fn deliveries(context: &doorbell::Context) -> doorbell::Result<u64> {
///     Ok(context.query(0)?.deliveries)
/// }
/// ```
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// The call that an [`Error`] is about.
///
/// # Examples
///
/// ```
/// use doorbell::{Context, Operation};
///
/// let error = Context::open_path("/nonexistent").unwrap_err();
/// assert_eq!(error.operation(), Operation::Open);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Context::open`](crate::Context::open).
    Open,
    /// [`Context::info`](crate::Context::info).
    GetInfo,
    /// [`Context::set_lines`](crate::Context::set_lines).
    SetLines,
    /// [`Context::ring`](crate::Context::ring) or [`ring_lines`](crate::Context::ring_lines).
    Ring,
    /// [`Context::ring_wait`](crate::Context::ring_wait).
    RingWait,
    /// [`Context::wait`](crate::Context::wait).
    Wait,
    /// [`Context::set_type`](crate::Context::set_type).
    SetType,
    /// [`Context::moderate`](crate::Context::moderate).
    Moderate,
    /// [`Context::moderation`](crate::Context::moderation).
    Moderation,
    /// [`Context::raise`](crate::Context::raise).
    Raise,
    /// [`Context::lower`](crate::Context::lower).
    Lower,
    /// [`Context::ack`](crate::Context::ack).
    Ack,
    /// [`Context::assign_irqfd`](crate::Context::assign_irqfd).
    AssignIrqfd,
    /// [`Context::assign_resampled`](crate::Context::assign_resampled).
    AssignResampled,
    /// [`Context::assign_unmaskfd`](crate::Context::assign_unmaskfd).
    AssignUnmaskfd,
    /// [`Context::assign_ackfd`](crate::Context::assign_ackfd) and
    /// [`Context::assign_ack_unmaskfd`](crate::Context::assign_ack_unmaskfd).
    AssignAckfd,
    /// [`Context::deassign_irqfd`](crate::Context::deassign_irqfd).
    DeassignIrqfd,
    /// [`Context::assign_trigger`](crate::Context::assign_trigger).
    AssignTrigger,
    /// [`Context::assign_counting_trigger`](crate::Context::assign_counting_trigger).
    AssignCountingTrigger,
    /// [`Context::deassign_trigger`](crate::Context::deassign_trigger).
    DeassignTrigger,
    /// [`Context::assign_waiters`](crate::Context::assign_waiters).
    AssignWaiters,
    /// [`Context::deassign_waiters`](crate::Context::deassign_waiters).
    DeassignWaiters,
    /// [`Context::assign_summary`](crate::Context::assign_summary).
    AssignSummary,
    /// [`Context::deassign_summary`](crate::Context::deassign_summary).
    DeassignSummary,
    /// [`Context::map_summary`](crate::Context::map_summary).
    MapSummary,
    /// [`Summary::wait`](crate::Summary::wait).
    WaitSummary,
    /// [`Context::assign_notifier`](crate::Context::assign_notifier).
    AssignNotifier,
    /// [`Context::deassign_notifier`](crate::Context::deassign_notifier).
    DeassignNotifier,
    /// [`Context::mask`](crate::Context::mask) or [`mask_lines`](crate::Context::mask_lines).
    Mask,
    /// [`Context::unmask`](crate::Context::unmask) or
    /// [`unmask_lines`](crate::Context::unmask_lines).
    Unmask,
    /// [`Context::clear`](crate::Context::clear) or [`clear_lines`](crate::Context::clear_lines).
    Clear,
    /// [`Context::pending`](crate::Context::pending) or
    /// [`pending_lines`](crate::Context::pending_lines).
    Pending,
    /// [`Context::query`](crate::Context::query).
    Query,
    /// [`Context::snapshot`](crate::Context::snapshot) or [`save_lines`](crate::Context::save_lines).
    Save,
    /// [`Context::restore`](crate::Context::restore) or
    /// [`restore_lines`](crate::Context::restore_lines).
    Restore,
    /// [`Context::resume`](crate::Context::resume).
    Resume,
    /// [`Context::map_status`](crate::Context::map_status).
    MapStatus,
    /// [`Context::read_eventfd`](crate::Context::read_eventfd).
    ReadEventfd,
    /// [`Context::peek_eventfd`](crate::Context::peek_eventfd).
    PeekEventfd,
    /// [`Context::wait_eventfd`](crate::Context::wait_eventfd).
    WaitEventfd,
    /// [`Context::assign_region`](crate::Context::assign_region).
    AssignRegion,
    /// [`Context::deassign_region`](crate::Context::deassign_region).
    DeassignRegion,
    /// [`Context::change_regions`](crate::Context::change_regions).
    ChangeRegions,
    /// [`Context::regions`](crate::Context::regions).
    GetRegions,
    /// [`Context::write_bus`](crate::Context::write_bus).
    WriteBus,
    /// [`Context::pwrite`](crate::Context::pwrite).
    Pwrite,
    /// [`Context::pwritev`](crate::Context::pwritev).
    Pwritev,
    /// [`Context::set_records`](crate::Context::set_records).
    SetRecords,
    /// [`Context::map_records`](crate::Context::map_records).
    MapRecords,
    /// [`Context::set_values`](crate::Context::set_values).
    SetValues,
    /// [`Context::map_values`](crate::Context::map_values).
    MapValues,
    /// [`Context::read_records`](crate::Context::read_records).
    ReadRecords,
    /// [`Context::bus_info`](crate::Context::bus_info).
    GetBus,
}

/// The verb, with an object if it is not a line: "ring", "assign irqfd of".
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::GetInfo => "get info",
            Self::SetLines => "set lines",
            Self::Ring => "ring",
            Self::RingWait => "ring and wait for the answer to",
            Self::Wait => "wait for",
            Self::SetType => "set type of",
            Self::Moderate => "moderate",
            Self::Moderation => "get moderation of",
            Self::Raise => "raise",
            Self::Lower => "lower",
            Self::Ack => "ack",
            Self::AssignIrqfd => "assign irqfd of",
            Self::AssignResampled => "assign irqfd with resamplefd of",
            Self::AssignUnmaskfd => "assign unmaskfd of",
            Self::AssignAckfd => "assign ackfd of",
            Self::DeassignIrqfd => "deassign irqfd of",
            Self::AssignTrigger => "assign trigger of",
            Self::AssignCountingTrigger => "assign counting trigger of",
            Self::DeassignTrigger => "deassign trigger of",
            Self::AssignWaiters => "assign waiters of",
            Self::DeassignWaiters => "deassign waiters of",
            Self::AssignSummary => "assign the summary to",
            Self::DeassignSummary => "deassign the summary from",
            Self::MapSummary => "map the summary",
            Self::WaitSummary => "wait for the summary",
            Self::AssignNotifier => "assign notifier of",
            Self::DeassignNotifier => "deassign notifier of",
            Self::Mask => "mask",
            Self::Unmask => "unmask",
            Self::Clear => "clear",
            Self::Pending => "get pending state of",
            Self::Query => "query",
            Self::Save => "save",
            Self::Restore => "restore",
            Self::Resume => "resume",
            Self::MapStatus => "map the status pages",
            Self::ReadEventfd => "read eventfd",
            Self::PeekEventfd => "peek at eventfd",
            Self::WaitEventfd => "wait for eventfd",
            Self::AssignRegion => "assign region",
            Self::DeassignRegion => "deassign region",
            Self::ChangeRegions => "change regions",
            Self::GetRegions => "list regions",
            Self::WriteBus | Self::Pwrite | Self::Pwritev => "write",
            Self::SetRecords => "set records",
            Self::MapRecords => "map the records",
            Self::SetValues => "set last values",
            Self::MapValues => "map the last values",
            Self::ReadRecords => "read records",
            Self::GetBus => "get the counters of the bus",
        })
    }
}

/// The element of [`Changes`](crate::Changes) that made
/// [`Context::change_regions`](crate::Context::change_regions) fail.
///
/// # Examples
///
/// ```no_run
/// # let (context, changes) = (doorbell::Context::open()?, doorbell::Changes::new());
/// if let Err(doorbell::Error::Regions { failed: Some(change), .. }) =
///     context.change_regions(&changes)
/// {
///     eprintln!("number {} conflicts, at {:#x}", change.index, change.addr);
/// }
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedChange {
    /// Index of the element.
    pub index: usize,
    /// [`Operation::AssignRegion`] or [`Operation::DeassignRegion`].
    pub operation: Operation,
    /// Address of the element's region.
    pub addr: u64,
}

/// A call that failed: its operation, its object and the errno.
///
/// [`Display`](fmt::Display) prints the operation and its object. The errno's text is that of
/// [`source()`](std::error::Error::source).
///
/// # Examples
///
/// ```
/// use std::error::Error;
///
/// let error = doorbell::Context::open_path("/nonexistent").unwrap_err();
/// assert_eq!(error.errno(), Some(libc::ENOENT));
/// assert_eq!(error.to_string(), "open /nonexistent");
/// assert!(error.source().unwrap().to_string().starts_with("No such file"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The device could not be opened.
    Open {
        /// Path of the device.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// A call that is about the whole context failed.
    Context {
        /// The call.
        operation: Operation,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The number of lines could not be chosen.
    SetLines {
        /// Number of lines.
        nr_lines: u32,
        /// Cause of the failure.
        source: io::Error,
    },
    /// A call that is about one line failed.
    Line {
        /// The call.
        operation: Operation,
        /// The line.
        line: u32,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The type of a line could not be set.
    SetType {
        /// The line.
        line: u32,
        /// The type.
        line_type: LineType,
        /// Cause of the failure.
        source: io::Error,
    },
    /// A call that is about many lines failed.
    Lines {
        /// The call.
        operation: Operation,
        /// The smallest range that has all of the lines.
        lines: Range<u32>,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The counter of an eventfd could not be read.
    Eventfd {
        /// The call.
        operation: Operation,
        /// Cause of the failure.
        source: io::Error,
    },
    /// A region could not be assigned or deassigned.
    Region {
        /// The call.
        operation: Operation,
        /// The region.
        region: Region,
        /// Cause of the failure.
        source: io::Error,
    },
    /// Regions could not be changed.
    Regions {
        /// Number of changes.
        count: usize,
        /// The change that made the call fail, if it was one of them.
        failed: Option<FailedChange>,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The first of some writes to the bus failed.
    Write {
        /// The write.
        access: Access,
        /// Cause of the failure.
        source: io::Error,
    },
    /// A write to the bus by pwrite(2) failed.
    Pwrite {
        /// Address in [`Space::Mmio`](crate::Space::Mmio).
        addr: u64,
        /// Number of bytes.
        bytes: usize,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The first of some writes to the bus by pwritev(2) failed.
    Pwritev {
        /// Address in [`Space::Mmio`](crate::Space::Mmio).
        addr: u64,
        /// Number of writes.
        parts: usize,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The number of records could not be chosen.
    SetRecords {
        /// Number of records.
        nr_records: u32,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The number of last values could not be chosen.
    SetValues {
        /// Number of last values.
        nr_values: u32,
        /// Cause of the failure.
        source: io::Error,
    },
}

impl Error {
    fn cause(&self) -> &io::Error {
        match self {
            Self::Open { source, .. }
            | Self::Context { source, .. }
            | Self::SetLines { source, .. }
            | Self::Line { source, .. }
            | Self::SetType { source, .. }
            | Self::Lines { source, .. }
            | Self::Eventfd { source, .. }
            | Self::Region { source, .. }
            | Self::Regions { source, .. }
            | Self::Write { source, .. }
            | Self::Pwrite { source, .. }
            | Self::Pwritev { source, .. }
            | Self::SetRecords { source, .. }
            | Self::SetValues { source, .. } => source,
        }
    }

    /// Returns the errno, if the cause is one.
    ///
    /// # Examples
    ///
    /// ```
    /// let null = doorbell::Context::open_path("/dev/null")?;
    /// assert_eq!(null.info().unwrap_err().errno(), Some(libc::ENOTTY));
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn errno(&self) -> Option<i32> {
        self.cause().raw_os_error()
    }

    /// Returns the call that failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use doorbell::Operation;
    ///
    /// let null = doorbell::Context::open_path("/dev/null")?;
    /// assert_eq!(null.ring(3).unwrap_err().operation(), Operation::Ring);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn operation(&self) -> Operation {
        match *self {
            Self::Open { .. } => Operation::Open,
            Self::SetLines { .. } => Operation::SetLines,
            Self::SetType { .. } => Operation::SetType,
            Self::Regions { .. } => Operation::ChangeRegions,
            Self::Write { .. } => Operation::WriteBus,
            Self::Pwrite { .. } => Operation::Pwrite,
            Self::Pwritev { .. } => Operation::Pwritev,
            Self::SetRecords { .. } => Operation::SetRecords,
            Self::SetValues { .. } => Operation::SetValues,
            Self::Context { operation, .. }
            | Self::Line { operation, .. }
            | Self::Lines { operation, .. }
            | Self::Eventfd { operation, .. }
            | Self::Region { operation, .. } => operation,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(f, "open {}", path.display()),
            Self::Context { operation, .. } | Self::Eventfd { operation, .. } => operation.fmt(f),
            Self::SetLines { nr_lines, .. } => write!(f, "set {nr_lines} lines"),
            Self::Line {
                operation, line, ..
            } => write!(f, "{operation} line {line}"),
            Self::SetType {
                line, line_type, ..
            } => match line_type {
                LineType::Edge => write!(f, "make line {line} an edge line"),
                LineType::Level => write!(f, "make line {line} a level line"),
            },
            Self::Lines {
                operation, lines, ..
            } => write!(f, "{operation} lines of {}..{}", lines.start, lines.end),
            Self::Region {
                operation, region, ..
            } => write!(f, "{operation} {region}"),
            Self::Regions { count, failed, .. } => {
                write!(f, "change {count} regions")?;
                match failed {
                    Some(change) => {
                        let FailedChange {
                            index,
                            operation,
                            addr,
                        } = change;
                        write!(f, ", number {index} ({operation} {addr:#x})")
                    }
                    None => Ok(()),
                }
            }
            Self::Write { access, .. } => write!(f, "write {access}"),
            Self::Pwrite { addr, bytes, .. } => write!(f, "write {bytes} bytes to mmio {addr:#x}"),
            Self::Pwritev { addr, parts, .. } => {
                write!(f, "write {parts} parts to mmio {addr:#x}")
            }
            Self::SetRecords { nr_records, .. } => write!(f, "set {nr_records} records"),
            Self::SetValues { nr_values, .. } => write!(f, "set {nr_values} last values"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Space;

    fn source() -> io::Error {
        io::Error::from_raw_os_error(libc::EBUSY)
    }

    #[test]
    fn text_names_operation_and_object() {
        let operation = Operation::AssignIrqfd;
        for (error, text) in [
            (
                Error::Line {
                    operation,
                    line: 3,
                    source: source(),
                },
                "assign irqfd of line 3",
            ),
            (
                Error::Lines {
                    operation: Operation::Mask,
                    lines: 2..9,
                    source: source(),
                },
                "mask lines of 2..9",
            ),
            (
                Error::SetType {
                    line: 1,
                    line_type: LineType::Level,
                    source: source(),
                },
                "make line 1 a level line",
            ),
            (
                Error::Region {
                    operation: Operation::DeassignRegion,
                    region: Region::pio(0xcf8, 4),
                    source: source(),
                },
                "deassign region pio 0xcf8, 4 bytes",
            ),
            (
                Error::Regions {
                    count: 3,
                    failed: Some(FailedChange {
                        index: 1,
                        operation: Operation::AssignRegion,
                        addr: 0x1000,
                    }),
                    source: source(),
                },
                "change 3 regions, number 1 (assign region 0x1000)",
            ),
            (
                Error::Write {
                    access: Access::new(Space::Mmio, 0x1000, 4, 1),
                    source: source(),
                },
                "write 0x1 (4 bytes) to mmio 0x1000",
            ),
        ] {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.errno(), Some(libc::EBUSY));
        }
    }

    #[test]
    fn cause_is_the_source() {
        let error = Error::SetLines {
            nr_lines: 16,
            source: source(),
        };
        assert_eq!(error.to_string(), "set 16 lines");
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), source().to_string());
    }
}
