// SPDX-License-Identifier: GPL-2.0

//! A context: its lines, their assignments, and its bus.
//!
//! Lock order, outermost first:
//!
//! 1. `assignments`, which only assignments and deassignments take; the calls that report numbers read
//!    them without a lock;
//! 2. the ownership of a line, an eventfd's wait-queue lock, or the mutex of the [`ReadDomain`], under
//!    which the lists of notifiers and the regions change;
//! 3. `hung_up`, inside an eventfd's wait-queue lock.
//!
//! The ring path takes no lock of a context. A grace period of the [`ReadDomain`] is waited for with no
//! lock held.

mod assignments;
mod memory;
mod summary;
mod usage;

pub(crate) use self::{
    assignments::Assignments,
    usage::{
        Usage,
        UsageField, //
    }, //
};

use self::usage::UsageCounters;
use crate::{
    bus::{
        Assign,
        Bus,
        Deassign,
        Failed,
        Writer, //
    },
    kernel_ext::{
        alloc::user_alloc_flags,
        batch::Batch,
        callback::impl_has_callbacks,
        compat::{
            new_spinlock_irq,
            SpinLockIrq,
            ELOOP,
            EOPNOTSUPP, //
        },
        deferred::{
            retire_all,
            Deferred,
            Run,
            WorkItem, //
        },
        lazy_vec::LazyVec,
        mmap_pages::MmapPages,
        nospec,
        pinned::{
            pinned,
            PinnedSlice, //
        },
        poll_queue::PollQueue,
        read_domain::ReadDomain,
        read_once::SetOnceArc,
        shared_list::Removed,
        task::{
            cond_resched,
            fatal_signal_pending, //
        }, //
    },
    line::{
        moderation::Limits,
        outputs::{
            Notifier,
            Output,
            Triggers, //
        },
        save::SavedLine,
        state::Reasons,
        status::{
            new_status,
            LineQuery,
            LineStatus, //
        },
        waiters::{
            AllWaiters,
            Wait,
            Waiters, //
        },
        Line, //
    },
    quota::Quota,
    summary::Summary,
    trace,
    uapi::{
        DOORBELL_MAX_MODERATED,
        DOORBELL_MAX_NOTIFIERS_PER_LINE, //
    }, //
};
use kernel::{
    mm::virt::VmaNew,
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

/// A context. It is created when the number of lines is chosen.
///
/// Irqfds hold references to it, and it owns the irqfds: [`Context::shut_down`] ends this cycle.
#[pin_data(PinnedDrop)]
pub(crate) struct Context {
    #[pin]
    reaper: Deferred<Self, WorkItem>,
    /// The number of the context in fdinfo and in trace events.
    id: u32,
    lines: PinnedSlice<Line>,
    /// Delivers the messages beyond the budget of interrupts.
    batch: Arc<Batch<Line>>,
    /// The status pages.
    status: Arc<MmapPages<LineStatus>>,
    bus: Bus,
    /// The waiters for the file.
    poll: Arc<PollQueue>,
    /// Set by the first assignment of the summary.
    summary: SetOnceArc<Summary>,
    /// The limit on the eventfds that the context keeps alive.
    #[pin]
    pub(crate) quota: Quota,
    /// Numbers of assignments of each line.
    line_usage: KVVec<UsageCounters>,
    /// Numbers of assignments of all lines together.
    usage: UsageCounters,
    /// The number of lines that are or were moderated. Changes under the mutex of the assignments.
    moderated: Atomic<u32>,
    /// Held to save lines: the signals that one call takes from a callback are sent before another returns.
    #[pin]
    saving: Mutex<()>,
    /// The waiters of the lines, once a line has some.
    waiters: SetOnceArc<AllWaiters>,
    #[pin]
    pub(crate) assignments: Mutex<Assignments>,
    /// Identities of irqfds whose eventfd has no file any more. Has room for all assigned irqfds.
    #[pin]
    pub(crate) hung_up: SpinLockIrq<KVVec<usize>>,
}

impl_has_callbacks!(Context {
    reaper: Deferred<Self, WorkItem>,
});

impl Context {
    /// Creates a context with `nr_lines` lines, charged to the caller's memory cgroup. `poll` has the
    /// waiters for its file. Process context.
    pub(crate) fn new(nr_lines: u32, poll: Arc<PollQueue>) -> Result<Arc<Self>> {
        let len = nr_lines as usize;
        let flags = user_alloc_flags();
        let domain = ReadDomain::new(flags)?;
        let (status, each) = MmapPages::new(len, new_status, flags)?;
        let id = trace::new_context();
        let bus = Bus::new(id, domain.clone(), poll.clone());
        let batch = Batch::new(id, flags)?;
        let lines = each
            .enumerate()
            .map(|(line, status)| Line::new(line as u32, status, domain.clone(), batch.clone()));
        let lines = PinnedSlice::new(lines, flags)?;
        let mut line_usage = KVVec::with_capacity(len, flags)?;
        let mut triggers = KVVec::with_capacity(len, flags)?;
        for _ in 0..len {
            line_usage.push(UsageCounters::new(), flags)?;
            triggers.push(LazyVec::new(), flags)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                reaper <- Deferred::new(),
                id,
                lines,
                batch,
                status,
                bus,
                poll,
                summary: SetOnceArc::new(),
                quota <- Quota::new(),
                line_usage,
                usage: UsageCounters::new(),
                moderated: Atomic::new(0),
                saving <- new_mutex!((), "doorbell_saving"),
                waiters: SetOnceArc::new(),
                assignments <- new_mutex!(Assignments {
                    irqfds: RBTree::new(),
                    triggers,
                }, "doorbell_assignments"),
                hung_up <- new_spinlock_irq!(KVVec::new(), "doorbell_hung_up"),
            }),
            flags,
        )
    }

    /// Masks all lines of a context that has no other user yet.
    pub(crate) fn mask_all(&self) {
        for line in self.lines.iter() {
            line.mask_nosync(Reasons::VECTOR);
        }
    }

    /// Returns the line with that number. Any context.
    #[inline]
    pub(crate) fn line(&self, line: u32) -> Option<Pin<&Line>> {
        self.lines.get(line as usize)
    }

    /// Returns the lines.
    #[inline]
    pub(crate) fn lines(&self) -> &PinnedSlice<Line> {
        &self.lines
    }

    /// Returns the number of the context, which no other context has.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Returns the number of lines.
    pub(crate) fn nr_lines(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Returns the numbers of assignments of all lines together. Any context.
    pub(crate) fn usage(&self) -> Usage {
        self.usage.read()
    }

    /// Returns the numbers of assignments of `line`. Any context.
    pub(crate) fn usage_of(&self, line: u32) -> Usage {
        let usage = nospec::get(&self.line_usage, line as usize);
        usage.map_or_else(Usage::default, UsageCounters::read)
    }

    /// Adds `change` to the number `field` of `line` and of the context. `_assignments` proves that
    /// the mutex is held.
    pub(crate) fn count(
        &self,
        _assignments: &Assignments,
        line: u32,
        field: UsageField,
        change: i32,
    ) {
        self.usage.add(field, change);
        if let Some(usage) = nospec::get(&self.line_usage, line as usize) {
            usage.add(field, change);
        }
    }

    /// Folds the state and the counters of all lines, as of [`Line::snapshot_nowait`]. Any context.
    pub(crate) fn fold<R>(&self, from: R, f: impl FnMut(R, LineQuery) -> R) -> R {
        self.lines.iter().map(Line::snapshot_nowait).fold(from, f)
    }

    /// Starts a thread of the current process that delivers the messages beyond the budget of interrupts.
    ///
    /// # Context and errors
    ///
    /// As of [`Batch::start`].
    pub(crate) fn start_worker(&self) -> Result {
        self.batch.start()
    }

    /// Returns the bus. Any context.
    #[inline]
    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Returns an object that writes to the bus, whose regions may ring the lines. Context as of
    /// [`Bus::writer`].
    #[inline(always)]
    pub(crate) fn bus_writer(&self) -> Writer<'_> {
        self.bus.writer(&self.lines)
    }

    /// Deassigns and assigns regions, as of [`Bus::change`].
    pub(crate) fn change_regions(
        &self,
        new: KVVec<Assign>,
        old: KVVec<Deassign>,
    ) -> Result<(), Failed> {
        self.bus.change(&self.quota, new, old)
    }

    /// Maps the status pages. Call it in an mmap hook.
    ///
    /// # Errors
    ///
    /// EINVAL, EACCES: see the UAPI header.
    pub(crate) fn map_status(&self, vma: &VmaNew) -> Result {
        self.status.map(vma)
    }

    /// Makes `output` a trigger of `line`. If the line is asserted and its last message found no trigger,
    /// delivers that message once more. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, EEXIST, EBUSY, EOPNOTSUPP, ELOOP, ENOSPC, EINTR, ENOMEM: see the UAPI header.
    pub(crate) fn assign_trigger(&self, output: Output, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let id = output.id();
        let eventfds = usize::from(output.is_eventfd());
        let mut output = Some(output);

        let mut assignments = self.assignments.lock();
        if assignments.triggers_of(line).contains(&id) {
            return Err(EEXIST);
        }
        if target.has_waiters() {
            return Err(EBUSY);
        }
        if let Some(irqfd) = assignments.irqfds.get(&id) {
            let next = irqfd.listen().line();
            if assignments.reaches(next, |reached, _| reached == line)? {
                return Err(ELOOP);
            }
        }
        let reservation = self.quota.reserve(eventfds)?;
        let ids = assignments.triggers_of_mut(line).ok_or(ENXIO)?;
        ids.reserve(1, user_alloc_flags())?;
        let len = ids.len();
        let mut room = KVec::new();
        let mut added = target.add_trigger(&mut output, &mut room);
        if added == Err(EAGAIN) {
            // Triggers are added only here, with the mutex held: now the room suffices.
            room = Triggers::room(len)?;
            added = target.add_trigger(&mut output, &mut room);
        }
        added?;
        reservation.keep();
        // Cannot fail: there is room.
        let _ = ids.push_within_capacity(id);
        self.count(&assignments, line, UsageField::Triggers, 1);
        Ok(())
    }

    /// Deassigns the trigger `id` of `line`. When this has returned, no signal to it is in flight, and none
    /// will come. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, ENOENT: see the UAPI header.
    pub(crate) fn deassign_trigger(&self, id: usize, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let mut assignments = self.assignments.lock();
        let removed = target.lock_triggers(|triggers| triggers.remove(id));
        let removed = removed.ok_or(ENOENT)?;
        if let Some(ids) = assignments.triggers_of_mut(line) {
            ids.retain(|other| *other != id);
        }
        self.count(&assignments, line, UsageField::Triggers, -1);
        let eventfds = usize::from(removed.is_eventfd());
        drop(removed);
        self.quota.release(eventfds);
        Ok(())
    }

    /// Deassigns all eventfds that are triggers of `line`, and returns their number. When this has returned,
    /// no signal of a delivery is in flight, and none will come. Process context.
    ///
    /// Callbacks of other modules stay: userspace must not deassign them.
    ///
    /// # Errors
    ///
    /// ENXIO, ENOMEM: see the UAPI header.
    pub(crate) fn deassign_triggers(&self, line: u32) -> Result<u32> {
        let target = self.line(line).ok_or(ENXIO)?;
        let mut assignments = self.assignments.lock();
        let len = assignments.triggers_of(line).len();
        let mut removed = KVec::with_capacity(len, user_alloc_flags())?;
        let mut kept = KVec::with_capacity(len, user_alloc_flags())?;
        target.lock_triggers(|triggers| triggers.remove_eventfds(&mut removed, &mut kept));
        if let Some(ids) = assignments.triggers_of_mut(line) {
            ids.retain(|id| !removed.iter().any(|output| output.id() == *id));
        }
        let count = removed.len();
        self.count(&assignments, line, UsageField::Triggers, -(count as i32));
        drop(removed);
        self.quota.release(count);
        Ok(count as u32)
    }

    /// Makes the waiters of `line` its only trigger. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, EEXIST, EBUSY, ENOMEM: see the UAPI header.
    pub(crate) fn assign_waiters(&self, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let mut assignments = self.assignments.lock();
        if target.has_waiters() {
            return Err(EEXIST);
        }
        let ids = assignments.triggers_of_mut(line).ok_or(ENXIO)?;
        if !ids.is_empty() {
            return Err(EBUSY);
        }
        let flags = user_alloc_flags();
        if self.waiters.get().is_none() {
            let all = AllWaiters::new(self.lines.len(), flags)?;
            self.waiters.set(Arc::new(all, flags)?);
        }
        let all = self.waiters.get().ok_or(ENOMEM)?;
        let new = match all.get(line) {
            Some(_) => None,
            None => Some(Arc::pin_init(Waiters::new(), flags)?),
        };
        let mut room = Triggers::room(0)?;
        ids.reserve(1, flags)?;
        let waiters = all.get_or_set(line, new).ok_or(ENXIO)?;
        let id = waiters.id();
        target.add_waiters(waiters, &mut room)?;
        // Cannot fail: there is room.
        let _ = ids.push_within_capacity(id);
        self.count(&assignments, line, UsageField::Triggers, 1);
        Ok(())
    }

    /// Deassigns the waiters of `line`. When this has returned, no delivery to them is in flight, and each
    /// wait for the line has been ended. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, ENOENT: see the UAPI header.
    pub(crate) fn deassign_waiters(&self, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let mut assignments = self.assignments.lock();
        let waiters = self.waiters.get().and_then(|all| all.get(line));
        let waiters = waiters.ok_or(ENOENT)?;
        let removed = target.remove_waiters(waiters).ok_or(ENOENT)?;
        if let Some(ids) = assignments.triggers_of_mut(line) {
            ids.clear();
        }
        self.count(&assignments, line, UsageField::Triggers, -1);
        drop(assignments);

        drop(removed);
        waiters.wake();
        Ok(())
    }

    /// Returns a wait for the deliveries of `line`. Any context.
    ///
    /// # Errors
    ///
    /// ENXIO: there is no such line. ENOENT: it has no waiters.
    #[inline(always)]
    pub(crate) fn wait_for(&self, line: u32) -> Result<Wait<'_>> {
        let target = self.line(line).ok_or(ENXIO)?;
        let waiters = self.waiters.get().and_then(|all| all.get(line));
        Wait::new(target, waiters.ok_or(ENOENT)?)
    }

    /// Makes `output` a notifier of `line`, for the transitions in `events`. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, EEXIST, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn assign_notifier(&self, output: Output, line: u32, events: u32) -> Result {
        let notifiers = self.line(line).ok_or(ENXIO)?.get_ref().notifiers();
        let id = output.id();
        let eventfds = usize::from(output.is_eventfd());
        let node = notifiers.node(Notifier::Events(output, events), user_alloc_flags())?;

        // A cycle through notifiers and unmaskfds or ackfds is not searched for: the relay limit bounds its
        // cost.
        let assignments = self.assignments.lock();
        if notifiers.any(|notifier| notifier.is_output(id)) {
            return Err(EEXIST);
        }
        if self.usage_of(line).notifiers >= DOORBELL_MAX_NOTIFIERS_PER_LINE {
            return Err(ENOSPC);
        }
        self.quota.reserve(eventfds)?.keep();
        notifiers.push(node);
        self.count(&assignments, line, UsageField::Notifiers, 1);
        Ok(())
    }

    /// Deassigns the notifier `id` of `line`. When this has returned, no signal to it is in flight, and none
    /// will come. Before, it is signalled for the replies of unmaskfds and ackfds that came before this call.
    /// Process context, but not that of a notifier.
    ///
    /// # Errors
    ///
    /// ENXIO, ENOENT: see the UAPI header.
    pub(crate) fn deassign_notifier(&self, id: usize, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let notifiers = target.get_ref().notifiers();
        if !notifiers.any(|notifier| notifier.is_output(id)) {
            return Err(ENOENT);
        }
        // Before the mutex, which a notifier that this waits for may take.
        self.settle(core::iter::once(target));
        let assignments = self.assignments.lock();
        let removed = notifiers.remove(|notifier| notifier.is_output(id));
        let removed = removed.ok_or(ENOENT)?;
        self.count(&assignments, line, UsageField::Notifiers, -1);
        drop(assignments);

        let eventfds = usize::from(removed.is_eventfd());
        drop(removed);
        self.quota.release(eventfds);
        Ok(())
    }

    /// Deassigns all eventfds that are notifiers of `line`, and returns their number. When this has
    /// returned, no signal of a transition is in flight, and none will come. Before, they are signalled as by
    /// [`Context::deassign_notifier`]. Process context, but not that of a notifier.
    ///
    /// Resamplefds and callbacks of other modules stay.
    ///
    /// # Errors
    ///
    /// ENXIO, ENOMEM: see the UAPI header.
    pub(crate) fn deassign_notifiers(&self, line: u32) -> Result<u32> {
        let target = self.line(line).ok_or(ENXIO)?;
        let notifiers = target.get_ref().notifiers();
        // Before the mutex, which a notifier that this waits for may take.
        self.settle(core::iter::once(target));
        let assignments = self.assignments.lock();
        let len = self.usage_of(line).notifiers as usize;
        let mut all = KVec::with_capacity(len, user_alloc_flags())?;
        while all.len() < len {
            let Some(removed) = notifiers.remove(Notifier::is_eventfd) else {
                break;
            };
            // Cannot fail: there is room.
            let _ = all.push_within_capacity(Some(removed));
        }
        let count = all.len();
        self.count(&assignments, line, UsageField::Notifiers, -(count as i32));
        drop(assignments);

        Removed::wait_for_all(&mut all);
        drop(all);
        self.quota.release(count);
        Ok(count as u32)
    }

    /// Makes `line` a level line or an edge line, that masks itself when it delivers or not. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, EBUSY: see the UAPI header.
    pub(crate) fn set_type(&self, line: u32, level: bool, automask: bool) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let _assignments = self.assignments.lock();
        let usage = self.usage_of(line);
        if !level && (usage.resamplefds != 0 || usage.ackfds != 0) {
            return Err(EBUSY);
        }
        target.set_type(level, automask)
    }

    /// Signals what callbacks owe for `lines` of this context, on behalf of unmaskfds and ackfds that were signalled
    /// before, and waits for callbacks that have taken it already. A thread that removes a resamplefd or a notifier
    /// calls this before: an ack that came first still finds it. Callbacks that start meanwhile are not waited for.
    ///
    /// # Context
    ///
    /// Process context, but not that of a notifier. The mutex of the assignments must not be held: a notifier may
    /// wait for it.
    pub(crate) fn settle<'a>(&self, lines: impl Iterator<Item = Pin<&'a Line>>) {
        let mut last = None;
        for (line, index) in lines.zip(0..) {
            line.settle_owed();
            last = Some(line);
            pause_after(index);
        }
        // All lines have the same domain of readers.
        if let Some(line) = last {
            line.notifiers().synchronize();
        }
    }

    /// Saves `line`, as [`Line::save`] does, and waits for other calls that do so. Process context.
    pub(crate) fn save(&self, line: Pin<&Line>) -> SavedLine {
        let _saving = self.saving.lock();
        line.save()
    }

    /// Restores the lines from `first` on, one for each of `records`, or none of them. The states must be
    /// restorable. If the task is killed after the first line was restored, the worker delivers the messages of
    /// the lines that follow. Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, EBUSY, EOPNOTSUPP, EINTR: see the UAPI header.
    pub(crate) fn restore(&self, first: u32, records: &[SavedLine]) -> Result<(), Failed> {
        let lines = || self.lines.part(first as usize, records.len()).ok_or(ENXIO);
        // A type changes only with the mutex held. So no line can become one that cannot be restored:
        // all other transitions of a fresh line are those of an edge line, and can be merged.
        let _assignments = self.assignments.lock();
        for ((line, record), index) in lines()?.iter().zip(records).zip(0..) {
            if !line.is_fresh() {
                return Err(Failed::at(index)(EBUSY));
            }
            if !line.can_continue(record) {
                return Err(Failed::at(index)(EOPNOTSUPP));
            }
            pause_after(index);
            if fatal_signal_pending() {
                return Err(EINTR.into());
            }
        }
        for ((line, record), index) in lines()?.iter().zip(records).zip(0..) {
            line.restore(record, fatal_signal_pending());
            pause_after(index);
        }
        Ok(())
    }

    /// Limits the rate of a line's deliveries, as [`Line::moderate`] does.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// ENXIO, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn moderate(&self, line: u32, limits: Limits) -> Result {
        let line = self.line(line).ok_or(ENXIO)?;
        if limits != Limits::NONE && !line.has_timer() {
            let _assignments = self.assignments.lock();
            if !line.has_timer() {
                // All timers that expire together do so in one interrupt.
                // ORDERING: None: the mutex of the assignments serialises the writers.
                let moderated = self.moderated.load(Relaxed);
                if moderated >= DOORBELL_MAX_MODERATED {
                    return Err(ENOSPC);
                }
                line.allocate_moderation()?;
                self.moderated.store(moderated + 1, Relaxed);
            }
        }
        line.moderate(limits);
        Ok(())
    }

    /// Returns the number of lines that are or were moderated. Any context.
    pub(crate) fn nr_moderated(&self) -> u32 {
        // ORDERING: None: a count for statistics, of any moment of the call.
        self.moderated.load(Relaxed)
    }

    /// Deassigns everything, delivers what was rung before, and waits until nothing is in flight. There must
    /// be no other user. Process context.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        let mut assignments = self.assignments.lock();
        let irqfds = core::mem::replace(&mut assignments.irqfds, RBTree::new());
        drop(assignments);
        // Each leaves its wait queue under that queue's lock: no irqfd rings after this. The rest of an
        // EFD_SEMAPHORE eventfd stays in its counter.
        drop(irqfds);
        self.bus.retire();
        if self.nr_moderated() != 0 {
            for (line, index) in self.lines.iter().zip(0..) {
                line.moderate(Limits::NONE);
                pause_after(index);
            }
        }
        // A message that was rung is still delivered: by a callback, or else by this thread.
        retire_all(self.lines.iter());
        self.batch.flush();
        for (line, index) in self.lines.iter().zip(0..) {
            line.shut_down();
            pause_after(index);
        }
        // A line may have left something to the worker, which this thread has done then.
        self.batch.flush();
        Run::<WorkItem>::sync(pinned(self));
    }
}

/// Lets other tasks run after some lines, of which `index` is the last. Process context.
pub(crate) fn pause_after(index: u32) {
    const LINES: u32 = 64;
    if index % LINES == LINES - 1 {
        cond_resched();
    }
}
