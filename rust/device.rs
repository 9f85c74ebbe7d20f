// SPDX-License-Identifier: GPL-2.0

//! /dev/doorbell: the file operations, and the ioctls of lines.

mod argument;
mod bus;
mod eventfd;
mod fdinfo;
mod line_set;
mod ring_wait;
mod save;
mod wait;

use self::{
    argument::{
        check_flags,
        check_reserved,
        Argument, //
    },
    line_set::{
        count,
        Bitmaps, //
    }, //
};
#[cfg(CONFIG_COMPAT)]
use crate::kernel_ext::uaccess::compat_ptr;
use crate::{
    context::Context,
    irqfd::Purpose,
    kernel_ext::{
        alloc::user_alloc_flags,
        eventfd::{
            EventFdFile,
            CAN_PEEK, //
        },
        misc_file::{
            MiscFiles,
            PollFile,
            WriteFile, //
        },
        mmap_pages::offset,
        poll_queue::{
            PollQueue,
            ERROR, //
        },
        read_once::SetOnceArc, //
    },
    line::{
        moderation::Limits,
        outputs::{
            Output,
            EVENTS, //
        },
        state::{
            Origin,
            Reasons,
            Reply, //
        },
        status::LineStatus,
        Line,
        RingOutcome, //
    },
    uapi::*, //
};
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::ARef,
        Arc, //
    },
    uaccess::UserPtr, //
};

/// The options of the device: /dev/doorbell, mode 0600 unless a udev rule changes that.
pub(crate) const OPTIONS: MiscDeviceOptions = MiscDeviceOptions { name: c"doorbell" };

/// Offset of the mapping of the status pages.
const STATUS_OFFSET: u64 = 0;

/// Offset of the mapping of the records, beyond the last status page.
const RECORDS_OFFSET: u64 = 0x1000_0000;

/// Offset of the mapping of the summary.
const SUMMARY_OFFSET: u64 = 0x2000_0000;
/// Offset of the mapping of the last values, beyond the last record.
const VALUES_OFFSET: u64 = 0x3000_0000;

/// The files of the device.
static FILES: MiscFiles<DoorbellFile> = MiscFiles::new();

/// Returns the context of `file`. Any context.
///
/// # Errors
///
/// EINVAL: it is not a file of the device. ENXIO: its lines are not chosen yet.
pub(crate) fn context_of(file: &ARef<File>) -> Result<Arc<Context>> {
    let context = FILES.data(file).ok_or(EINVAL)?.context.get_arc();
    Ok(context.ok_or(ENXIO)?.into())
}

/// An open file of the device: a private context.
pub(crate) struct DoorbellFile {
    /// Set by DOORBELL_SET_LINES, once.
    context: SetOnceArc<Context>,
    /// The waiters for the file.
    poll: Arc<PollQueue>,
}

/// Returns the eventfd `fd`. No other eventfd has its identity while the returned object exists.
fn eventfd(fd: i32) -> Result<Output> {
    Ok(Output::EventFd(EventFdFile::from_fd(fd)?.eventfd()?))
}

/// Rings `line`. Returns true if that ring has a delivery of its own.
#[inline(always)]
fn delivers(line: Pin<&Line>) -> bool {
    line.ring() == RingOutcome::Delivered
}

/// The scope of a call for triggers or notifiers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Assigns an eventfd.
    Assign,
    /// Deassigns an eventfd.
    Deassign,
    /// Deassigns all eventfds of the line.
    DeassignAll,
    /// Assigns the line's waiters.
    AssignWaiters,
    /// Deassigns the line's waiters.
    DeassignWaiters,
}

impl Scope {
    /// Returns the scope of a call for triggers; EINVAL as of [`Scope::new`].
    fn of_trigger(flags: u32, fd: i32) -> Result<Self> {
        const WAITERS: u32 = DOORBELL_TRIGGER_FLAG_WAITERS;
        const DEASSIGN_WAITERS: u32 = DOORBELL_TRIGGER_FLAG_DEASSIGN | WAITERS;
        match flags {
            WAITERS if fd == -1 => Ok(Self::AssignWaiters),
            DEASSIGN_WAITERS if fd == -1 => Ok(Self::DeassignWaiters),
            _ => Self::new(flags, fd),
        }
    }

    /// Returns the scope; EINVAL for unknown flags, or flags that do not fit together or with `fd`.
    fn new(flags: u32, fd: i32) -> Result<Self> {
        const DEASSIGN: u32 = DOORBELL_TRIGGER_FLAG_DEASSIGN;
        const ALL: u32 = DOORBELL_TRIGGER_FLAG_ALL;
        const DEASSIGN_ALL: u32 = DEASSIGN | ALL;
        const {
            assert!(DEASSIGN == DOORBELL_NOTIFIER_FLAG_DEASSIGN);
            assert!(ALL == DOORBELL_NOTIFIER_FLAG_ALL);
        }
        match flags {
            0 => Ok(Self::Assign),
            DEASSIGN => Ok(Self::Deassign),
            DEASSIGN_ALL if fd == -1 => Ok(Self::DeassignAll),
            _ => Err(EINVAL),
        }
    }
}

impl DoorbellFile {
    /// Returns the context; ENXIO if its lines are not chosen yet.
    #[inline(always)]
    pub(crate) fn context(&self) -> Result<&Context> {
        self.context.get().ok_or(ENXIO)
    }

    /// Returns a reference to the context; ENXIO if its lines are not chosen yet.
    fn context_arc(&self) -> Result<Arc<Context>> {
        Ok(self.context.get_arc().ok_or(ENXIO)?.into())
    }

    /// Returns the line whose number is an ioctl's argument.
    #[inline(always)]
    fn line(&self, arg: usize) -> Result<Pin<&Line>> {
        self.context()?.lines().get(arg).ok_or(ENXIO)
    }

    #[inline(always)]
    fn ring(&self, arg: usize) -> Result<isize> {
        Ok(self.line(arg)?.ring().code() as isize)
    }

    fn ack(&self, arg: usize) -> Result<isize> {
        Ok(self.line(arg)?.ack(Origin::Caller)?.code() as isize)
    }

    /// Handles all ioctls but DOORBELL_RING, whose path stays short.
    #[inline(never)]
    fn ioctl_slow(&self, cmd: u32, arg: usize) -> Result<isize> {
        if cmd == DOORBELL_IOC_ACK {
            return self.ack(arg);
        }
        let arg = &Argument(UserPtr::from_addr(arg));
        match cmd {
            DOORBELL_IOC_BUS_WRITE => return self.bus_write(arg),
            DOORBELL_IOC_IRQFD => self.irqfd(arg),
            DOORBELL_IOC_TRIGGER => return self.trigger(arg),
            DOORBELL_IOC_NOTIFIER => return self.notifier(arg),
            DOORBELL_IOC_REGION => self.region(arg),
            DOORBELL_IOC_SET_LEVEL => return self.set_level(arg),
            DOORBELL_IOC_QUERY => self.query(arg),
            DOORBELL_IOC_EVENTFD_READ => eventfd::read_eventfd(arg),
            DOORBELL_IOC_EVENTFD_PEEK => eventfd::peek_eventfd(arg),
            DOORBELL_IOC_RING_WAIT => self.ring_wait(arg),
            DOORBELL_IOC_WAIT => self.wait(arg),
            DOORBELL_IOC_MASK => return self.mask(arg),
            DOORBELL_IOC_UNMASK => return self.unmask(arg),
            DOORBELL_IOC_CLEAR => return self.without_flags(arg, Line::clear),
            DOORBELL_IOC_PENDING => return self.without_flags(arg, Line::pending),
            DOORBELL_IOC_RING_LINES => return self.without_flags(arg, delivers),
            _ => return self.ioctl_rare(cmd, arg),
        }?;
        Ok(0)
    }

    /// Handles the ioctls that set up, list, or save a context. They must not lengthen the choice among the
    /// other ones.
    #[cold]
    #[inline(never)]
    fn ioctl_rare(&self, cmd: u32, arg: &Argument) -> Result<isize> {
        match cmd {
            DOORBELL_IOC_GET_INFO => self.get_info(arg),
            DOORBELL_IOC_SET_LINES => self.set_lines(arg),
            DOORBELL_IOC_SUMMARY => self.summary(arg),
            DOORBELL_IOC_REGIONS => self.regions(arg),
            DOORBELL_IOC_GET_REGIONS => return self.get_regions(arg),
            DOORBELL_IOC_SET_RECORDS => self.set_records(arg),
            DOORBELL_IOC_GET_BUS => self.get_bus(arg),
            DOORBELL_IOC_SET_TYPE => self.set_type(arg),
            DOORBELL_IOC_MODERATE => self.moderate(arg),
            DOORBELL_IOC_SAVE => self.save(arg),
            DOORBELL_IOC_RESTORE => self.restore(arg),
            _ => Err(ENOTTY),
        }?;
        Ok(0)
    }

    fn get_info(&self, arg: &Argument) -> Result {
        let mut features = DOORBELL_FEATURE_EVENTFD_READ
            | DOORBELL_FEATURE_MASK
            | DOORBELL_FEATURE_LEVEL
            | DOORBELL_FEATURE_BUS
            | DOORBELL_FEATURE_RING_WAIT
            | DOORBELL_FEATURE_WAIT
            | DOORBELL_FEATURE_RING_LINES
            | DOORBELL_FEATURE_MASK_REASONS
            | DOORBELL_FEATURE_UNMASKFD
            | DOORBELL_FEATURE_SAVE
            | DOORBELL_FEATURE_MODERATION
            | DOORBELL_FEATURE_SUMMARY
            | DOORBELL_FEATURE_LAST_VALUE;
        if CAN_PEEK {
            features |= DOORBELL_FEATURE_EVENTFD_PEEK | DOORBELL_FEATURE_COUNT;
        }
        let mut info = doorbell_get_info {
            abi_version: DOORBELL_ABI_VERSION,
            features,
            max_lines: DOORBELL_MAX_LINES,
            max_triggers_per_line: DOORBELL_MAX_TRIGGERS_PER_LINE,
            max_irqfds: DOORBELL_MAX_IRQFDS,
            max_notifiers_per_line: DOORBELL_MAX_NOTIFIERS_PER_LINE,
            max_resamplefds_per_line: DOORBELL_MAX_RESAMPLEFDS_PER_LINE,
            status_size: size_of::<LineStatus>() as u32,
            max_regions: DOORBELL_MAX_REGIONS,
            max_records: DOORBELL_MAX_RECORDS,
            status_offset: STATUS_OFFSET,
            records_offset: RECORDS_OFFSET,
            summary_offset: SUMMARY_OFFSET,
            values_offset: VALUES_OFFSET,
            max_values: DOORBELL_MAX_VALUES,
            ..Default::default()
        };
        if let Ok(context) = self.context() {
            let usage = context.usage();
            info.nr_lines = context.nr_lines();
            info.nr_irqfds = usage.irqfds;
            info.nr_triggers = usage.triggers;
            info.nr_notifiers = usage.notifiers;
            info.nr_regions = context.bus().nr_regions();
        }
        arg.write(&info)
    }

    fn set_lines(&self, arg: &Argument) -> Result {
        let lines: doorbell_set_lines = arg.read()?;
        check_flags(lines.flags, DOORBELL_SET_LINES_FLAG_MASKED)?;
        check_reserved(&lines.reserved)?;
        if !(1..=DOORBELL_MAX_LINES).contains(&lines.nr_lines) {
            return Err(EINVAL);
        }
        if self.context().is_ok() {
            return Err(EEXIST);
        }
        let context = Context::new(lines.nr_lines, self.poll.clone())?;
        if lines.flags & DOORBELL_SET_LINES_FLAG_MASKED != 0 {
            context.mask_all();
        }
        // Of two concurrent callers one gets EEXIST here.
        if self.context.set(context) {
            Ok(())
        } else {
            Err(EEXIST)
        }
    }

    fn irqfd(&self, arg: &Argument) -> Result {
        let irqfd: doorbell_irqfd = arg.read()?;
        const REPLY: u32 = DOORBELL_IRQFD_FLAG_UNMASK | DOORBELL_IRQFD_FLAG_ACK;
        check_flags(
            irqfd.flags,
            DOORBELL_IRQFD_FLAG_DEASSIGN | DOORBELL_IRQFD_FLAG_RESAMPLE | REPLY,
        )?;
        check_reserved(&irqfd.reserved)?;
        let (purpose, resamplefd) = match irqfd.flags {
            DOORBELL_IRQFD_FLAG_RESAMPLE => (Some(Purpose::Ring), Some(irqfd.resamplefd)),
            _ if irqfd.resamplefd != 0 => return Err(EINVAL),
            DOORBELL_IRQFD_FLAG_DEASSIGN => (None, None),
            0 => (Some(Purpose::Ring), None),
            reply if reply & !REPLY == 0 => {
                let reply = Reply {
                    ack: reply & DOORBELL_IRQFD_FLAG_ACK != 0,
                    unmask: reply & DOORBELL_IRQFD_FLAG_UNMASK != 0,
                };
                (Some(Purpose::Reply(reply)), None)
            }
            // A resamplefd is deassigned with its irqfd, and a reply has none.
            _ => return Err(EINVAL),
        };
        match purpose {
            Some(purpose) => {
                let context = self.context_arc()?;
                context.assign_irqfd(irqfd.fd, irqfd.line, purpose, resamplefd)
            }
            None => self.context()?.deassign_irqfd(irqfd.fd, irqfd.line),
        }
    }

    #[inline(always)]
    fn trigger(&self, arg: &Argument) -> Result<isize> {
        let trigger: doorbell_trigger = arg.read()?;
        let counts = trigger.flags == DOORBELL_TRIGGER_FLAG_COUNT;
        let scope = if counts {
            Scope::Assign
        } else {
            Scope::of_trigger(trigger.flags, trigger.fd)?
        };
        check_reserved(&trigger.reserved)?;
        let context = self.context()?;
        context.line(trigger.line).ok_or(ENXIO)?;
        match scope {
            Scope::Assign if counts => {
                let eventfd = EventFdFile::from_fd(trigger.fd)?.queue()?;
                context.assign_trigger(Output::counting(eventfd.counting()?)?, trigger.line)?
            }
            Scope::Assign => context.assign_trigger(eventfd(trigger.fd)?, trigger.line)?,
            Scope::Deassign => context.deassign_trigger(eventfd(trigger.fd)?.id(), trigger.line)?,
            Scope::DeassignAll => return Ok(context.deassign_triggers(trigger.line)? as isize),
            Scope::AssignWaiters => context.assign_waiters(trigger.line)?,
            Scope::DeassignWaiters => context.deassign_waiters(trigger.line)?,
        }
        Ok(0)
    }

    fn summary(&self, arg: &Argument) -> Result {
        let summary: doorbell_summary = arg.read()?;
        check_flags(summary.flags, DOORBELL_SUMMARY_FLAG_DEASSIGN)?;
        check_reserved(&summary.reserved)?;
        if summary.nr_lines == 0 {
            return Err(EINVAL);
        }
        let context = self.context()?;
        let (first, len) = (summary.line, summary.nr_lines);
        let lines = context.lines();
        if lines.part(first as usize, len as usize).is_none() {
            return Err(ENXIO);
        }
        let lines = Bitmaps::new(&doorbell_line_set {
            line: first,
            nr_lines: len,
            lines: summary.lines,
            ..Default::default()
        })?;
        let lines = lines.selected(first, len);
        if summary.flags == 0 {
            context.assign_summary(lines)
        } else {
            context.deassign_summary(lines)
        }
    }

    fn notifier(&self, arg: &Argument) -> Result<isize> {
        let notifier: doorbell_notifier = arg.read()?;
        let scope = Scope::new(notifier.flags, notifier.fd)?;
        check_flags(notifier.events, EVENTS)?;
        check_reserved(&notifier.reserved)?;
        if (scope == Scope::Assign) != (notifier.events != 0) {
            return Err(EINVAL);
        }
        let context = self.context()?;
        context.line(notifier.line).ok_or(ENXIO)?;
        match scope {
            Scope::Assign => {
                context.assign_notifier(eventfd(notifier.fd)?, notifier.line, notifier.events)?;
            }
            Scope::Deassign => {
                context.deassign_notifier(eventfd(notifier.fd)?.id(), notifier.line)?
            }
            Scope::DeassignAll => return Ok(context.deassign_notifiers(notifier.line)? as isize),
            // `Scope::new` never returns these.
            Scope::AssignWaiters | Scope::DeassignWaiters => return Err(EINVAL),
        }
        Ok(0)
    }

    fn set_type(&self, arg: &Argument) -> Result {
        let line: doorbell_set_type = arg.read()?;
        check_flags(line.flags, DOORBELL_TYPE_FLAG_AUTOMASK)?;
        check_reserved(&line.reserved)?;
        let automask = line.flags & DOORBELL_TYPE_FLAG_AUTOMASK != 0;
        let level = match line.type_ {
            DOORBELL_TYPE_EDGE => false,
            DOORBELL_TYPE_LEVEL => true,
            _ => return Err(EINVAL),
        };
        self.context()?.set_type(line.line, level, automask)
    }

    #[inline(never)]
    fn moderate(&self, arg: &Argument) -> Result {
        let moderate: doorbell_moderate = arg.read()?;
        check_flags(moderate.flags, DOORBELL_MODERATE_FLAG_GET)?;
        check_reserved(&moderate.reserved)?;
        if moderate.flags & DOORBELL_MODERATE_FLAG_GET == 0 {
            let limits = Limits::new(moderate.min_interval, moderate.max_count)?;
            return self.context()?.moderate(moderate.line, limits);
        }
        let line = self.context()?.line(moderate.line).ok_or(ENXIO)?;
        let limits = line.limits();
        arg.write(&doorbell_moderate {
            min_interval: limits.interval,
            max_count: limits.max_count,
            ..moderate
        })
    }

    fn set_level(&self, arg: &Argument) -> Result<isize> {
        let level: doorbell_set_level = arg.read()?;
        check_flags(level.flags, 0)?;
        check_reserved(&level.reserved)?;
        if level.level > 1 {
            return Err(EINVAL);
        }
        let line = self.context()?.line(level.line).ok_or(ENXIO)?;
        if level.level == 0 {
            return Ok(isize::from(line.lower(Origin::Caller)?));
        }
        Ok(line.raise(Origin::Caller)?.code() as isize)
    }

    #[inline(never)]
    fn mask(&self, arg: &Argument) -> Result<isize> {
        let set: doorbell_line_set = arg.read()?;
        if set.flags == 0 {
            // A constant reason: its transition is a compare-exchange of constants.
            return self.line_set(&set, |line| line.mask(Reasons::VECTOR));
        }
        self.mask_for(&set)
    }

    #[cold]
    fn mask_for(&self, set: &doorbell_line_set) -> Result<isize> {
        let reasons = Reasons::new(set.flags).ok_or(EINVAL)?;
        self.line_set(set, |line| line.mask(reasons))
    }

    #[inline(never)]
    fn unmask(&self, arg: &Argument) -> Result<isize> {
        let set: doorbell_line_set = arg.read()?;
        if set.flags == 0 {
            // As in `mask()`.
            return self.line_set(&set, |line| line.unmask(Reasons::VECTOR));
        }
        self.unmask_for(&set)
    }

    #[cold]
    fn unmask_for(&self, set: &doorbell_line_set) -> Result<isize> {
        let reasons = Reasons::new(set.flags).ok_or(EINVAL)?;
        self.line_set(set, |line| line.unmask(reasons))
    }

    #[inline(never)]
    fn without_flags(&self, arg: &Argument, f: impl Fn(Pin<&Line>) -> bool) -> Result<isize> {
        let set: doorbell_line_set = arg.read()?;
        check_flags(set.flags, 0)?;
        self.line_set(&set, f)
    }

    /// Calls `f` for the lines of `set`, and returns the number of those for which it returned true.
    #[inline(always)]
    fn line_set(&self, set: &doorbell_line_set, f: impl Fn(Pin<&Line>) -> bool) -> Result<isize> {
        check_reserved(&set.reserved)?;
        if set.nr_lines == 0 {
            return Err(EINVAL);
        }
        let lines = self.context()?.lines();
        let lines = lines.part(set.line as usize, set.nr_lines as usize);
        let lines = lines.ok_or(ENXIO)?;
        if set.lines == 0 && set.result == 0 {
            return Ok(count(lines, f) as isize);
        }
        Ok(Bitmaps::new(set)?.apply(lines, f) as isize)
    }

    #[inline(always)]
    fn query(&self, arg: &Argument) -> Result {
        let query: doorbell_query = arg.read()?;
        check_flags(query.flags, 0)?;
        check_reserved(&[query.reserved])?;
        let context = self.context()?;
        let snapshot = context.line(query.line).ok_or(ENXIO)?.snapshot();
        let usage = context.usage_of(query.line);
        arg.write(&doorbell_query {
            line: query.line,
            state: snapshot.state,
            rings: snapshot.rings,
            deliveries: snapshot.deliveries,
            deferred: snapshot.deferred,
            nr_irqfds: usage.irqfds,
            nr_triggers: usage.triggers,
            dropped: snapshot.dropped,
            nr_notifiers: usage.notifiers,
            nr_resamplefds: usage.resamplefds,
            acks: snapshot.acks,
            nr_unmaskfds: usage.unmaskfds,
            nr_ackfds: usage.ackfds,
            ..Default::default()
        })
    }
}

impl WriteFile for DoorbellFile {
    #[inline(always)]
    fn write(&self, from: UserPtr, len: usize, pos: u64) -> Result<usize> {
        self.write(from, len, pos)
    }
}

impl PollFile for DoorbellFile {
    fn poll_queue(&self) -> &PollQueue {
        &self.poll
    }

    fn poll(&self) -> u32 {
        // Without lines nothing happens that a caller could wait for.
        self.context().map_or(ERROR, Context::poll)
    }
}

#[vtable]
impl MiscDevice for DoorbellFile {
    type Ptr = KBox<Self>;

    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        FILES.recognise(file, misc);
        let flags = user_alloc_flags();
        let this = Self {
            context: SetOnceArc::new(),
            poll: PollQueue::new(flags)?,
        };
        Ok(KBox::new(this, flags)?)
    }

    fn release(this: KBox<Self>, _file: &File) {
        if let Ok(context) = this.context_arc() {
            context.shut_down();
        }
    }

    fn mmap(this: &Self, _file: &File, vma: &VmaNew) -> Result {
        let context = this.context()?;
        match offset(vma) {
            STATUS_OFFSET => context.map_status(vma),
            RECORDS_OFFSET => context.bus().records()?.map(vma),
            SUMMARY_OFFSET => context.summary()?.map(vma),
            VALUES_OFFSET => context.bus().values()?.map(vma),
            _ => Err(EINVAL),
        }
    }

    fn write_iter(kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        kiocb.file().write_iter(kiocb.ki_pos(), iov)
    }

    fn read_iter(kiocb: Kiocb<'_, KBox<Self>>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        kiocb.file().read(kiocb.ki_pos(), iov)
    }

    #[inline(always)]
    fn ioctl(this: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if cmd == DOORBELL_IOC_RING {
            this.ring(arg)
        } else {
            this.ioctl_slow(cmd, arg)
        }
    }

    /// Converts the pointer of a 32-bit caller. The structures are the same for both, and the argument of a
    /// ring or an ack is not a pointer.
    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(this: &Self, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = if matches!(cmd, DOORBELL_IOC_RING | DOORBELL_IOC_ACK) {
            arg
        } else {
            compat_ptr(arg)
        };
        Self::ioctl(this, file, cmd, arg)
    }

    fn show_fdinfo(this: &Self, m: &SeqFile, _file: &File) {
        fdinfo::show(this.context().ok(), m);
    }
}
