// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Context, Operation, Result, uapi};
use std::{
    ops::BitOr,
    os::fd::{AsRawFd, RawFd},
};

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

/// Assignments of eventfds to lines.
impl Context {
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
    /// If the counter of `fd` is not zero, the line is rung once. Soon after the last file of the eventfd
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

    /// Assigns `fd` as an unmaskfd: each signal ends the mask that `line` has set itself.
    ///
    /// The line has this mask if its type says that it masks itself when it delivers (automask). A signal
    /// that finds no such mask does nothing. If the counter of `fd` is not zero, that is one signal. Soon after
    /// the last file of the eventfd is closed, it is deassigned;
    /// [`deassign_irqfd`](Context::deassign_irqfd) deassigns it, too.
    ///
    /// # Errors
    ///
    /// Those of [`assign_irqfd`](Context::assign_irqfd).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let done = EventFd::new(0)?;
    /// context.assign_unmaskfd(&done, 3)?;
    /// done.write(1)?;
    /// assert_eq!(context.query(3)?.unmaskfds, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_unmaskfd(&self, fd: &impl AsRawFd, line: u32) -> Result {
        let flags = uapi::IRQFD_FLAG_UNMASK;
        self.irqfd(Operation::AssignUnmaskfd, fd.as_raw_fd(), line, flags, 0)
    }

    /// Assigns `fd` as an ackfd: each signal acks `line`, as [`ack`](Context::ack) does.
    ///
    /// Otherwise it is like an [unmaskfd](Context::assign_unmaskfd). The resamplefd of an irqfd of KVM can be
    /// one: then the guest's end of interrupt acks the line.
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
    /// let done = EventFd::new(0)?;
    /// context.assign_ackfd(&done, 3)?;
    /// context.ring(3)?;
    /// done.write(1)?;
    /// assert!(!context.query(3)?.asserted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_ackfd(&self, fd: &impl AsRawFd, line: u32) -> Result {
        let flags = uapi::IRQFD_FLAG_ACK;
        self.irqfd(Operation::AssignAckfd, fd.as_raw_fd(), line, flags, 0)
    }

    /// Assigns `fd` as an ackfd and unmaskfd: each signal acks `line` and ends the mask that it has set
    /// itself, in one step.
    ///
    /// # Errors
    ///
    /// Those of [`assign_ackfd`](Context::assign_ackfd).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, LineType};
    /// # let context = Context::open()?;
    /// context.set_type(3, LineType::Level)?;
    /// let done = EventFd::new(0)?;
    /// context.assign_ack_unmaskfd(&done, 3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_ack_unmaskfd(&self, fd: &impl AsRawFd, line: u32) -> Result {
        let flags = uapi::IRQFD_FLAG_ACK | uapi::IRQFD_FLAG_UNMASK;
        self.irqfd(Operation::AssignAckfd, fd.as_raw_fd(), line, flags, 0)
    }

    /// Deassigns an irqfd and its resamplefd, an unmaskfd or an ackfd. When this returns, the module does not touch either
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
    /// - EBUSY: the line has waiters.
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

    /// Assigns `fd` as a trigger that counts: each delivery of `line` adds the number of its rings.
    ///
    /// The sum of what is read from `fd` is the number of rings that the line has accepted, also if they
    /// coalesce. If `fd` is a semaphore, each ring is a unit. [`clear`](Context::clear) drops the rings of the
    /// message that it drops. The line must be an edge line, and stays one.
    ///
    /// # Errors
    ///
    /// Those of [`assign_trigger`](Context::assign_trigger), and EOPNOTSUPP for a level line, or if the
    /// module lacks [`FEATURE_COUNT`](uapi::FEATURE_COUNT).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// let work = EventFd::new(0)?;
    /// context.assign_counting_trigger(&work, 3)?;
    /// context.mask(3)?;
    /// for _ in 0..5 {
    ///     context.ring(3)?;
    /// }
    /// context.unmask(3)?;
    /// assert_eq!(work.read()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn assign_counting_trigger(&self, fd: &impl AsRawFd, line: u32) -> Result {
        let (fd, flags) = (fd.as_raw_fd(), uapi::TRIGGER_FLAG_COUNT);
        self.trigger(Operation::AssignCountingTrigger, fd, line, flags)
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

    /// Makes the callers of [`wait`](Context::wait) the only trigger of a line.
    ///
    /// Such a line needs no eventfd to deliver. It delivers at once wherever it is rung: a signal of its
    /// irqfd reaches the waiter without an interrupt.
    ///
    /// # Errors
    ///
    /// - EEXIST: the line has waiters already.
    /// - EBUSY: the line has another trigger.
    /// - ENXIO: there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::Context;
    /// # let context = Context::open()?;
    /// context.assign_waiters(3)?;
    /// context.ring(3)?;
    /// assert_eq!(context.wait(3, None)?, Some(1));
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn assign_waiters(&self, line: u32) -> Result {
        let flags = uapi::TRIGGER_FLAG_WAITERS;
        self.trigger(Operation::AssignWaiters, -1, line, flags)
            .map(drop)
    }

    /// Deassigns the waiters of a line. All calls of [`wait`](Context::wait) that sleep fail with ENOENT.
    /// Deliveries that were not consumed are lost.
    ///
    /// # Errors
    ///
    /// ENOENT if the line has no waiters, ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::Context;
    /// # let context = Context::open()?;
    /// context.assign_waiters(3)?;
    /// context.deassign_waiters(3)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn deassign_waiters(&self, line: u32) -> Result {
        let flags = uapi::TRIGGER_FLAG_DEASSIGN | uapi::TRIGGER_FLAG_WAITERS;
        self.trigger(Operation::DeassignWaiters, -1, line, flags)
            .map(drop)
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
}
