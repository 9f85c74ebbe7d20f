// SPDX-License-Identifier: GPL-2.0

//! /dev/doorbell: what userspace sees.

use crate::{
    context::Core,
    delivery::{
        Line,
        Rung,
        Status, //
    },
    kernel_ext::{
        eventfd::{
            EventFdFile,
            CAN_PEEK, //
        },
        uaccess::compat_ptr, //
    },
    lineset::LineSet,
    outputs::{
        Notifier,
        Trigger, //
    },
    uapi::*, //
};
use kernel::{
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        Arc,
        SetOnce, //
    },
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// How the device presents itself: /dev/doorbell, mode 0600 unless udev says otherwise.
pub(crate) const OPTIONS: MiscDeviceOptions = MiscDeviceOptions { name: c"doorbell" };

/// What an open file of the device is: a private context.
pub(crate) struct Context {
    /// Set by DOORBELL_SET_LINES, once.
    core: SetOnce<Arc<Core>>,
}

/// The structure that an ioctl's argument points to.
struct Argument(UserPtr);

impl Argument {
    fn read<T: FromBytes>(&self) -> Result<T> {
        UserSlice::new(self.0, size_of::<T>()).reader().read()
    }

    fn write<T: AsBytes>(&self, value: &T) -> Result {
        UserSlice::new(self.0, size_of::<T>()).writer().write(value)
    }
}

/// Over all lines, for fdinfo.
#[derive(Default)]
struct Sums {
    masked: u32,
    pending: u32,
    rings: u64,
    deliveries: u64,
    dropped: u64,
    deferred: u64,
}

/// EINVAL unless all fields are zero.
fn check_reserved(fields: &[u32]) -> Result {
    if fields.iter().any(|&field| field != 0) {
        return Err(EINVAL);
    }
    Ok(())
}

/// EINVAL if a flag is set that is not among `known`.
fn check_flags(flags: u32, known: u32) -> Result {
    if flags & !known != 0 {
        return Err(EINVAL);
    }
    Ok(())
}

impl Context {
    /// The core; ENXIO if there are no lines yet.
    #[inline]
    fn core(&self) -> Result<&Arc<Core>> {
        self.core.as_ref().ok_or(ENXIO)
    }

    #[inline(always)]
    fn ring(&self, arg: usize) -> Result<isize> {
        let line = u32::try_from(arg).map_err(|_| ENXIO)?;
        let line = self.core()?.line(line).ok_or(ENXIO)?;
        Ok(match line.ring() {
            Rung::Delivered => DOORBELL_RING_DELIVERED as isize,
            Rung::Coalesced => DOORBELL_RING_COALESCED as isize,
            Rung::Masked => DOORBELL_RING_MASKED as isize,
        })
    }

    /// Everything but DOORBELL_RING, and out of its way.
    #[inline(never)]
    fn control(&self, cmd: u32, arg: usize) -> Result<isize> {
        let arg = &Argument(UserPtr::from_addr(arg));
        match cmd {
            DOORBELL_IOC_GET_INFO => self.get_info(arg),
            DOORBELL_IOC_SET_LINES => self.set_lines(arg),
            DOORBELL_IOC_IRQFD => self.irqfd(arg),
            DOORBELL_IOC_TRIGGER => self.trigger(arg),
            DOORBELL_IOC_NOTIFIER => self.notifier(arg),
            DOORBELL_IOC_QUERY => self.query(arg),
            DOORBELL_IOC_READ => read_eventfd(arg),
            DOORBELL_IOC_PEEK => peek_eventfd(arg),
            DOORBELL_IOC_MASK => return self.lineset(arg, Line::mask),
            DOORBELL_IOC_UNMASK => return self.lineset(arg, Line::unmask),
            DOORBELL_IOC_CLEAR => return self.lineset(arg, Line::clear),
            DOORBELL_IOC_PENDING => return self.lineset(arg, Line::pending),
            _ => Err(ENOTTY),
        }?;
        Ok(0)
    }

    fn get_info(&self, arg: &Argument) -> Result {
        let mut features = DOORBELL_FEATURE_READ | DOORBELL_FEATURE_MASK;
        if CAN_PEEK {
            features |= DOORBELL_FEATURE_PEEK;
        }
        let mut info = doorbell_info {
            abi_version: DOORBELL_ABI_VERSION,
            features,
            max_lines: DOORBELL_MAX_LINES,
            max_triggers_per_line: DOORBELL_MAX_TRIGGERS_PER_LINE,
            max_irqfds: DOORBELL_MAX_IRQFDS,
            max_notifiers_per_line: DOORBELL_MAX_NOTIFIERS_PER_LINE,
            status_size: size_of::<Status>() as u32,
            ..Default::default()
        };
        if let Ok(core) = self.core() {
            let wired = core.wired();
            info.nr_lines = core.nr_lines();
            info.nr_irqfds = wired.irqfds;
            info.nr_triggers = wired.triggers;
            info.nr_notifiers = wired.notifiers;
        }
        arg.write(&info)
    }

    fn set_lines(&self, arg: &Argument) -> Result {
        let lines: doorbell_lines = arg.read()?;
        check_flags(lines.flags, 0)?;
        if !(1..=DOORBELL_MAX_LINES).contains(&lines.nr_lines) {
            return Err(EINVAL);
        }
        if self.core().is_ok() {
            return Err(EEXIST);
        }
        // Of two callers at the same time one gets EEXIST here.
        if self.core.populate(Core::new(lines.nr_lines)?) {
            Ok(())
        } else {
            Err(EEXIST)
        }
    }

    fn irqfd(&self, arg: &Argument) -> Result {
        let irqfd: doorbell_irqfd = arg.read()?;
        check_flags(irqfd.flags, DOORBELL_FLAG_DEASSIGN)?;
        check_reserved(&irqfd.reserved)?;
        let core = self.core()?;
        if irqfd.flags & DOORBELL_FLAG_DEASSIGN == 0 {
            core.assign_irqfd(irqfd.fd, irqfd.line)
        } else {
            core.deassign_irqfd(irqfd.fd, irqfd.line)
        }
    }

    fn trigger(&self, arg: &Argument) -> Result {
        let trigger: doorbell_trigger = arg.read()?;
        check_flags(trigger.flags, DOORBELL_FLAG_DEASSIGN)?;
        check_reserved(&trigger.reserved)?;
        let core = self.core()?;
        if trigger.flags & DOORBELL_FLAG_DEASSIGN == 0 {
            core.assign_trigger(trigger.fd, trigger.line)
        } else {
            core.deassign::<Trigger>(trigger.fd, trigger.line)
        }
    }

    fn notifier(&self, arg: &Argument) -> Result {
        let notifier: doorbell_notifier = arg.read()?;
        check_flags(notifier.flags, DOORBELL_FLAG_DEASSIGN)?;
        check_flags(
            notifier.events,
            DOORBELL_NOTIFY_MASK | DOORBELL_NOTIFY_UNMASK,
        )?;
        check_reserved(&notifier.reserved)?;
        let assign = notifier.flags & DOORBELL_FLAG_DEASSIGN == 0;
        if assign != (notifier.events != 0) {
            return Err(EINVAL);
        }
        let core = self.core()?;
        if assign {
            core.assign_notifier(notifier.fd, notifier.line, notifier.events)
        } else {
            core.deassign::<Notifier>(notifier.fd, notifier.line)
        }
    }

    fn lineset(&self, arg: &Argument, f: fn(Pin<&Line>) -> bool) -> Result<isize> {
        let set: doorbell_lineset = arg.read()?;
        check_flags(set.flags, 0)?;
        check_reserved(&set.reserved)?;
        if set.nr_lines == 0 {
            return Err(EINVAL);
        }
        let core = self.core()?;
        let lines = LineSet::new(&set, core.nr_lines())?;
        Ok(lines.apply(|line| core.line(line).is_some_and(f)) as isize)
    }

    fn query(&self, arg: &Argument) -> Result {
        let query: doorbell_query = arg.read()?;
        check_reserved(&query.reserved)?;
        let core = self.core()?;
        let snapshot = core.line(query.line).ok_or(ENXIO)?.snapshot();
        let wired = core.wired_to(query.line);
        arg.write(&doorbell_query {
            line: query.line,
            state: snapshot.state,
            rings: snapshot.rings,
            deliveries: snapshot.deliveries,
            deferred: snapshot.deferred,
            nr_irqfds: wired.irqfds,
            nr_triggers: wired.triggers,
            dropped: snapshot.dropped,
            nr_notifiers: wired.notifiers,
            ..Default::default()
        })
    }
}

/// DOORBELL_READ. May sleep.
fn read_eventfd(arg: &Argument) -> Result {
    let mut eventfd: doorbell_eventfd = arg.read()?;
    check_flags(eventfd.flags, DOORBELL_READ_NOWAIT)?;
    if eventfd.count != 0 {
        return Err(EINVAL);
    }
    let file = EventFdFile::from_fd(eventfd.fd)?;
    // A count that has been taken must not get lost because there is nowhere to write it.
    arg.write(&eventfd)?;
    let no_wait = eventfd.flags & DOORBELL_READ_NOWAIT != 0 || file.nonblocking();
    eventfd.count = file.counter()?.read(no_wait)?;
    arg.write(&eventfd)
}

/// DOORBELL_PEEK.
fn peek_eventfd(arg: &Argument) -> Result {
    let mut eventfd: doorbell_eventfd = arg.read()?;
    check_flags(eventfd.flags, 0)?;
    if eventfd.count != 0 {
        return Err(EINVAL);
    }
    let counter = EventFdFile::from_fd(eventfd.fd)?.counter()?;
    let count = counter.lock().peek()?;
    eventfd.count = count;
    arg.write(&eventfd)
}

#[vtable]
impl MiscDevice for Context {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let context = Self {
            core: SetOnce::new(),
        };
        Ok(KBox::new(context, GFP_KERNEL_ACCOUNT)?)
    }

    fn release(context: KBox<Self>, _file: &File) {
        if let Ok(core) = context.core() {
            core.shut_down();
        }
    }

    fn mmap(context: &Self, _file: &File, vma: &VmaNew) -> Result {
        context.core()?.map_status(vma)
    }

    #[inline(always)]
    fn ioctl(context: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if cmd == DOORBELL_IOC_RING {
            context.ring(arg)
        } else {
            context.control(cmd, arg)
        }
    }

    /// The structures are the same for 32-bit callers; only pointers may need care, and the
    /// argument of a ring is none.
    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(context: &Self, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = if cmd == DOORBELL_IOC_RING {
            arg
        } else {
            compat_ptr(arg)
        };
        Self::ioctl(context, file, cmd, arg)
    }

    fn show_fdinfo(context: &Self, m: &SeqFile, _file: &File) {
        let Ok(core) = context.core() else {
            seq_print!(m, "doorbell-lines:\t0\n");
            return;
        };
        let wired = core.wired();
        let sums = core.fold(Sums::default(), |mut sums, line| {
            sums.masked += u32::from(line.masked());
            sums.pending += u32::from(line.pending());
            sums.rings += line.rings;
            sums.deliveries += line.deliveries;
            sums.dropped += line.dropped;
            sums.deferred += line.deferred;
            sums
        });
        seq_print!(
            m,
            "doorbell-lines:\t{}\n\
             doorbell-irqfds:\t{}\n\
             doorbell-triggers:\t{}\n\
             doorbell-notifiers:\t{}\n\
             doorbell-masked:\t{}\n\
             doorbell-pending:\t{}\n\
             doorbell-rings:\t{}\n\
             doorbell-deliveries:\t{}\n\
             doorbell-dropped:\t{}\n\
             doorbell-deferred:\t{}\n",
            core.nr_lines(),
            wired.irqfds,
            wired.triggers,
            wired.notifiers,
            sums.masked,
            sums.pending,
            sums.rings,
            sums.deliveries,
            sums.dropped,
            sums.deferred
        );
    }
}
