// SPDX-License-Identifier: GPL-2.0

//! The eventfds that ring, unmask or ack a line, and the resamplefds that go with the first.

use crate::{
    context::{
        Assignments,
        Context,
        UsageField, //
    },
    kernel_ext::{
        alloc::user_alloc_flags,
        compat::ELOOP,
        deferred::{
            Run,
            WorkItem, //
        },
        eventfd::{
            EventFdFile,
            Listen,
            Listener, //
        },
        pinned::pinned,
        shared_list::{
            Node,
            Removed, //
        },
        task::cond_resched, //
    },
    line::{
        outputs::{
            Notifier,
            Notifiers, //
        },
        state::Reply,
        Line, //
    },
    uapi::{
        DOORBELL_MAX_IRQFDS,
        DOORBELL_MAX_RESAMPLEFDS_PER_LINE, //
    }, //
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNodeReservation,
    sync::{
        atomic::Atomic,
        Arc, //
    }, //
};

/// A resamplefd that was removed from its list.
type RemovedResample = Removed<Notifier>;

/// An irqfd that was removed, and its resamplefd.
type RemovedIrqfd = (Pin<KBox<Irqfd>>, Option<RemovedResample>);

/// The maximum number of irqfds without a file that are removed in one hold of the mutex. They are on the stack.
const MAX_REAPED: usize = 32;

/// An irqfd: a listener on an eventfd that rings, unmasks or acks its line on each signal.
pub(crate) type Irqfd = Listener<Source>;

/// The effect of an irqfd's signal on its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Rings the line.
    Ring,
    /// Unmasks or acks it: an unmaskfd or ackfd.
    Reply(Reply),
}

impl Purpose {
    /// Returns the numbers in which the irqfd counts.
    fn usage(self) -> impl Iterator<Item = UsageField> {
        let (ack, unmask) = match self {
            Self::Ring => (false, false),
            Self::Reply(reply) => (reply.ack, reply.unmask),
        };
        [
            (true, UsageField::Irqfds),
            (unmask, UsageField::Unmaskfds),
            (ack, UsageField::Ackfds),
        ]
        .into_iter()
        .filter_map(|(counts, field)| counts.then_some(field))
    }
}

/// The line of an irqfd.
pub(crate) struct Source {
    context: Arc<Context>,
    line: u32,
    /// The line that a signal rings: `line`, or no line of the context. So an irqfd that rings does not check
    /// its purpose at each signal.
    rings: u32,
    purpose: Purpose,
    id: usize,
}

impl Source {
    /// Creates the source for the eventfd `id` and the line `line` of `context`, which must exist.
    pub(crate) fn new(context: Arc<Context>, line: u32, purpose: Purpose, id: usize) -> Self {
        let rings = match purpose {
            Purpose::Ring => line,
            Purpose::Reply(_) => u32::MAX,
        };
        Self {
            context,
            line,
            rings,
            purpose,
            id,
        }
    }

    /// Returns the number of the line.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    /// Handles a signal of an unmaskfd or ackfd, as of [`Listen::signalled`].
    #[cold]
    fn replied(&self, mask: u32) {
        if let (Some(line), Purpose::Reply(reply)) = (self.context.line(self.line), self.purpose) {
            line.reply_from_wake(reply, mask);
        }
    }
}

impl Listen for Source {
    #[inline]
    fn signalled(&self, _count: u64, mask: u32) {
        match self.context.line(self.rings) {
            Some(line) => {
                line.ring_from_wake(mask);
            }
            None => self.replied(mask),
        }
    }

    fn hung_up(&self) {
        if let Some(line) = self.context.line(self.line) {
            line.trace_hangup();
        }
        self.context.queue_reap(self.id);
    }
}

impl Context {
    /// Makes each signal of the eventfd `fd` ring `line`, or do what else `purpose` says. A counter that is not
    /// zero is one signal. Makes each ack of the line signal `resamplefd`. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, EBADF, EINVAL, EEXIST, EBUSY, ELOOP, EOPNOTSUPP, ENOSPC, EINTR, ENOMEM: see the UAPI
    /// header.
    pub(crate) fn assign_irqfd(
        self: &Arc<Self>,
        fd: i32,
        line: u32,
        purpose: Purpose,
        resamplefd: Option<i32>,
    ) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        // The reference keeps the last file from closing before the irqfd listens.
        let file = EventFdFile::from_fd(fd)?;
        let queue = file.queue()?;
        let id = queue.eventfd().id();
        let source = Source::new(self.clone(), line, purpose, id);
        let irqfd = KBox::pin_init(Irqfd::new(queue, source), user_alloc_flags())?;
        let node = RBTreeNodeReservation::new(user_alloc_flags())?;
        let resample = resamplefd
            .map(|fd| resample_node(target.notifiers(), fd, id))
            .transpose()?;
        if matches!(purpose, Purpose::Reply(_)) {
            // DOORBELL_SAVE waits for the callbacks that have taken what a reply owes.
            target.notifiers().prepare(user_alloc_flags())?;
        }

        let mut assignments = self.assignments.lock();
        if let Some(other) = assignments.irqfds.get(&id) {
            let other = other.listen();
            return Err(if other.line == line && other.purpose == purpose {
                EEXIST
            } else {
                EBUSY
            });
        }
        let irqfds = self.usage().irqfds;
        if irqfds >= DOORBELL_MAX_IRQFDS {
            return Err(ENOSPC);
        }
        if resample.is_some() || matches!(purpose, Purpose::Reply(Reply { ack: true, .. })) {
            // The mutex keeps it from becoming an edge line.
            target.check_level()?;
        }
        if resample.is_some()
            && self.usage_of(line).resamplefds >= DOORBELL_MAX_RESAMPLEFDS_PER_LINE
        {
            return Err(ENOSPC);
        }
        if assignments.reaches(line, |_, triggers| triggers.contains(&id))? {
            return Err(ELOOP);
        }
        let reservation = match resample {
            Some(_) => Some(self.quota.reserve(1)?),
            None => None,
        };
        self.reserve_hung_up(irqfds as usize + 1)?;
        // A call that is refused starts no thread. Only a consumer that comes after this check makes the call fail
        // with one, which stays until the context is closed.
        irqfd.check_free()?;
        self.start_worker()?;
        // The resamplefd comes first, because a signal can be acked as soon as it arrives. It is not
        // signalled before the irqfd listens.
        if let (Some(resample), Some(reservation)) = (resample, reservation) {
            reservation.keep();
            target.get_ref().notifiers().push(resample);
            self.count(&assignments, line, UsageField::Resamplefds, 1);
        }
        let ready = || {
            if resamplefd.is_some() {
                target.notifiers().arm(id);
            }
        };
        match irqfd.as_ref().attach(ready) {
            Ok(before) => {
                assignments.irqfds.insert(node.into_node(id, irqfd));
                for field in purpose.usage() {
                    self.count(&assignments, line, field, 1);
                }
                drop(assignments);
                before.deliver(|| target.consumed(purpose));
                Ok(())
            }
            Err(error) => {
                let removed = self.remove_resample(&assignments, line, id);
                drop(assignments);
                self.drop_resample(removed);
                Err(error)
            }
        }
    }

    /// Deassigns the irqfd `fd` of `line`, and its resamplefd. When this has returned, the module touches
    /// neither of them again. Before, the resamplefd is signalled for the acks that came before this call.
    /// Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, EBADF, EINVAL, ENOENT: see the UAPI header.
    pub(crate) fn deassign_irqfd(&self, fd: i32, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        // The reference keeps the identity from being reused.
        let eventfd = EventFdFile::from_fd(fd)?.eventfd()?;
        let id = eventfd.id();

        let mut assignments = self.assignments.lock();
        let irqfd = assignments.irqfds.get(&id).ok_or(ENOENT)?;
        if irqfd.listen().line() != line {
            return Err(ENOENT);
        }
        // If the eventfd has lost its last file meanwhile, the reaper frees the irqfd.
        let purpose = irqfd.listen().purpose;
        let left = irqfd.detach()?;
        if target.notifiers().any(|notifier| notifier.belongs_to(id)) {
            // A notifier that this waits for may take the mutex. Until the irqfd is removed, another thread neither
            // detaches it nor assigns its eventfd.
            drop(assignments);
            self.settle(core::iter::once(target));
            assignments = self.assignments.lock();
        }
        let removed = self.remove_irqfd(&mut assignments, id);
        drop(assignments);

        self.drop_irqfd(removed);
        left.deliver(|| target.consumed(purpose));
        Ok(())
    }

    /// Removes the irqfd `id`, and its resamplefd, for [`Context::drop_irqfd`].
    fn remove_irqfd(&self, assignments: &mut Assignments, id: usize) -> Option<RemovedIrqfd> {
        let irqfd = assignments.irqfds.remove(&id)?;
        let line = irqfd.listen().line();
        for field in irqfd.listen().purpose.usage() {
            self.count(assignments, line, field, -1);
        }
        Some((irqfd, self.remove_resample(assignments, line, id)))
    }

    /// Frees an irqfd that was removed, and its resamplefd. Waits for a grace period, so the mutex must not
    /// be held. Process context.
    fn drop_irqfd(&self, removed: Option<RemovedIrqfd>) {
        if let Some((irqfd, resample)) = removed {
            drop(irqfd);
            self.drop_resample(resample);
        }
    }

    /// Frees a resamplefd that was removed. Context as of [`Context::drop_irqfd`].
    fn drop_resample(&self, removed: Option<RemovedResample>) {
        if let Some(removed) = removed {
            drop(removed);
            self.quota.release(1);
        }
    }

    /// Removes the resamplefd of the irqfd `id` of `line`, for [`Context::drop_resample`].
    fn remove_resample(
        &self,
        assignments: &Assignments,
        line: u32,
        id: usize,
    ) -> Option<RemovedResample> {
        let notifiers = self.line(line)?.get_ref().notifiers();
        let removed = notifiers.remove(|notifier| notifier.belongs_to(id))?;
        self.count(assignments, line, UsageField::Resamplefds, -1);
        Some(removed)
    }

    /// Reserves room for [`Context::queue_reap`] of `all` irqfds. Process context.
    fn reserve_hung_up(self: &Arc<Self>, all: usize) -> Result {
        if self.hung_up.lock().capacity() >= all {
            return Ok(());
        }
        let mut old = KVVec::with_capacity(all.next_power_of_two(), user_alloc_flags())?;
        core::mem::swap(&mut *self.hung_up.lock(), &mut old);
        // Some at a time, as interrupts are off meanwhile.
        while !old.is_empty() {
            let mut hung_up = self.hung_up.lock();
            for id in core::iter::from_fn(|| old.pop()).take(MAX_REAPED) {
                // Cannot fail: there is room for more.
                let _ = hung_up.push_within_capacity(id);
            }
            drop(hung_up);
            // It may have found none before.
            Run::<WorkItem>::queue(pinned(self));
        }
        Ok(())
    }

    /// Frees some irqfds whose eventfd has no file any more. Waits for one grace period on behalf of all their
    /// resamplefds. Process context.
    fn reap_some(&self) {
        let mut irqfds = [const { None }; MAX_REAPED];
        let mut resamples = [const { None }; MAX_REAPED];
        let mut assignments = self.assignments.lock();
        for (irqfd, resample) in irqfds.iter_mut().zip(resamples.iter_mut()) {
            let Some(id) = self.hung_up.lock().pop() else {
                break;
            };
            (*irqfd, *resample) = self.remove_irqfd(&mut assignments, id).unzip();
        }
        drop(assignments);

        drop(irqfds);
        let mut resamples = resamples.map(Option::flatten);
        Removed::wait_for_all(&mut resamples);
        for resample in resamples {
            self.drop_resample(resample);
        }
    }

    /// Queues the irqfd `id` to be freed. Its eventfd has lost its last file, and the irqfd is off the wait
    /// queue, whose lock is held.
    pub(crate) fn queue_reap(self: &Arc<Self>, id: usize) {
        // Cannot fail: `reserve_hung_up()` has made room for it.
        let _ = self.hung_up.lock().push_within_capacity(id);
        Run::<WorkItem>::queue(pinned(self));
    }
}

impl Line {
    /// Applies a count that was consumed when an irqfd was attached or detached: one signal. Process context.
    fn consumed(self: Pin<&Self>, purpose: Purpose) {
        match purpose {
            Purpose::Ring => {
                self.ring();
            }
            Purpose::Reply(reply) => self.reply_from_wake(reply, 0),
        }
    }
}

/// Creates the notifier for the resamplefd `fd` of the irqfd `irqfd`.
///
/// # Errors
///
/// EBADF, EINVAL, ELOOP, ENOMEM: see the UAPI header.
fn resample_node(notifiers: &Notifiers, fd: i32, irqfd: usize) -> Result<KBox<Node<Notifier>>> {
    let eventfd = EventFdFile::from_fd(fd)?.eventfd()?;
    if eventfd.id() == irqfd {
        return Err(ELOOP);
    }
    let notifier = Notifier::Resample {
        eventfd,
        irqfd,
        armed: Atomic::new(0),
    };
    notifiers.node(notifier, user_alloc_flags())
}

impl Run<WorkItem> for Context {
    /// Frees irqfds whose eventfd has no file any more.
    fn run(self: Pin<&Self>) {
        while !self.hung_up.lock().is_empty() {
            self.reap_some();
            cond_resched();
        }
    }
}
