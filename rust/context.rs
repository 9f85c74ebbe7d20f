// SPDX-License-Identifier: GPL-2.0

//! A context: its lines, and what is wired to them.
//!
//! Locks, outermost first: `control`, which only assignments and deassignments take, while the calls
//! that report numbers read them without a lock; then the hold on a line, an eventfd's wait-queue lock, or the
//! mutex in which lists of notifiers, and the regions, change; `dead` inside the second. The ring path
//! takes none of a context's own, and while notifiers or regions are waited for none is held.

use crate::{
    bus::Region,
    delivery::Line,
    irqfd::Irqfd,
    kernel_ext::{
        alloc::__GFP_RETRY_MAYFAIL,
        batch::Batch,
        deferred::{
            impl_has_deferred,
            retire_all,
            Deferred,
            Run,
            WorkItem, //
        },
        domain::Domain,
        pinned::{
            pinned,
            PinnedSlice, //
        },
        shared_array::SharedArray,
        shared_list::{
            Node,
            Removed, //
        },
        shared_pages::SharedPages,
        task::fatal_signal_pending, //
    },
    outputs::{
        Notifier,
        Output,
        Triggers, //
    },
    quota::Quota,
    records::Records,
    region::Key,
    status::{
        new_status,
        Snapshot,
        Status, //
    },
    uapi::{
        DOORBELL_MAX_NOTIFIERS_PER_LINE,
        DOORBELL_MAX_SEARCHED_TRIGGERS, //
    }, //
};
use kernel::{
    alloc::{
        flags::__GFP_NOWARN,
        Flags, //
    },
    mm::virt::VmaNew,
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce,
        SpinLockIrq, //
    }, //
};

/// Returns the flags for all that is allocated because a caller wants it. Such memory is charged to
/// the caller's memory cgroup. If there is none, the caller gets ENOMEM: no process is killed, and
/// nothing is logged.
pub(crate) fn for_caller() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL
}

/// What is assigned; changed with the mutex held.
pub(crate) struct Control {
    /// By the eventfd's identity, which stays its own as long as it is here.
    pub(crate) irqfds: RBTree<usize, Pin<KBox<Irqfd>>>,
    /// The identities of each line's triggers, for the search for cycles: the triggers themselves
    /// can only be reached by the thread that holds the line.
    triggers: KVVec<KVec<usize>>,
}

/// The numbers of assignments, as of one line or of a context.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wired {
    /// Irqfds.
    pub(crate) irqfds: u32,
    /// Triggers.
    pub(crate) triggers: u32,
    /// Notifiers.
    pub(crate) notifiers: u32,
    /// Irqfds with a resamplefd.
    pub(crate) resamplefds: u32,
}

/// One of the numbers in [`Wired`].
#[derive(Clone, Copy)]
pub(crate) enum UsageField {
    /// Irqfds.
    Irqfds,
    /// Triggers.
    Triggers,
    /// Notifiers.
    Notifiers,
    /// Irqfds with a resamplefd.
    Resamplefds,
}

/// Numbers of assignments. They are written with the mutex held and read without it.
struct Usage([Atomic<u32>; 4]);

impl Usage {
    fn new() -> Self {
        Self([const { Atomic::new(0) }; 4])
    }

    fn read(&self) -> Wired {
        let get = |field| self.0[field as usize].load(Relaxed);
        Wired {
            irqfds: get(UsageField::Irqfds),
            triggers: get(UsageField::Triggers),
            notifiers: get(UsageField::Notifiers),
            resamplefds: get(UsageField::Resamplefds),
        }
    }

    fn add(&self, field: UsageField, change: i32) {
        let number = &self.0[field as usize];
        number.store(number.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }
}

/// The part of a context that exists once the number of lines is chosen.
///
/// Irqfds hold references to it, and it holds the irqfds: [`Core::shut_down`] breaks the circle.
#[pin_data]
pub(crate) struct Core {
    // First, because it waits for its callback when it is dropped.
    #[pin]
    reaper: Deferred<Self, WorkItem>,
    lines: PinnedSlice<Line>,
    /// Delivers what interrupts have no time for.
    batch: Arc<Batch<Line>>,
    /// What userspace may look at.
    status: Arc<SharedPages<Status>>,
    /// The bus.
    pub(crate) regions: SharedArray<Key, Region>,
    /// What was written to those that keep it. Set by DOORBELL_SET_RECORDS, once.
    records: SetOnce<Arc<Records>>,
    /// The eventfds that are kept alive.
    #[pin]
    pub(crate) quota: Quota,
    /// Numbers of assignments of each line.
    line_usage: KVVec<Usage>,
    /// Numbers of assignments of all lines together.
    usage: Usage,
    #[pin]
    pub(crate) control: Mutex<Control>,
    /// Identities of irqfds whose eventfd has no file any more; has room for all that are assigned.
    #[pin]
    pub(crate) dead: SpinLockIrq<KVVec<usize>>,
}

impl_has_deferred!(Core, reaper, WorkItem);

impl Core {
    /// A context with `nr_lines` lines, charged to the caller's memory cgroup. Process context.
    pub(crate) fn new(nr_lines: u32) -> Result<Arc<Self>> {
        let len = nr_lines as usize;
        let flags = for_caller();
        let domain = Domain::new(flags)?;
        let (status, each) = SharedPages::new(len, new_status, flags)?;
        let regions = SharedArray::new(domain.clone());
        let batch = Batch::new(flags)?;
        let lines = each.map(|status| Line::new(status, domain.clone(), batch.clone()));
        let lines = PinnedSlice::new(lines, flags)?;
        let mut line_usage = KVVec::with_capacity(len, flags)?;
        let mut triggers = KVVec::with_capacity(len, flags)?;
        for _ in 0..len {
            line_usage.push(Usage::new(), flags)?;
            triggers.push(KVec::new(), flags)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                reaper <- Deferred::new(),
                lines,
                batch,
                status,
                regions,
                records: SetOnce::new(),
                quota <- Quota::new(),
                line_usage,
                usage: Usage::new(),
                control <- new_mutex!(Control {
                    irqfds: RBTree::new(),
                    triggers,
                }, "doorbell_control"),
                dead <- new_spinlock_irq!(KVVec::new(), "doorbell_dead"),
            }),
            flags,
        )
    }

    /// Masks all lines of a context that has no users yet.
    pub(crate) fn mask_all(&self) {
        for line in self.lines.iter() {
            line.mask_nosync();
        }
    }

    /// The line with that number. Any context.
    #[inline]
    pub(crate) fn line(&self, line: u32) -> Option<Pin<&Line>> {
        self.lines.get(line as usize)
    }

    /// How many lines.
    pub(crate) fn nr_lines(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Returns how much is assigned to all lines together. Any context.
    pub(crate) fn wired(&self) -> Wired {
        self.usage.read()
    }

    /// Returns how much is assigned to `line`. Any context.
    pub(crate) fn wired_to(&self, line: u32) -> Wired {
        let usage = self.line_usage.get(line as usize);
        usage.map_or_else(Wired::default, Usage::read)
    }

    /// Adds `change` to the number `field` of `line` and of the context. `_control` proves that the
    /// mutex is held.
    pub(crate) fn count(&self, _control: &Control, line: u32, field: UsageField, change: i32) {
        self.usage.add(field, change);
        if let Some(usage) = self.line_usage.get(line as usize) {
            usage.add(field, change);
        }
    }

    /// Folds the state and the counters of all lines, as of [`Line::snapshot_nowait`]. Any context.
    pub(crate) fn fold<R>(&self, from: R, f: impl FnMut(R, Snapshot) -> R) -> R {
        self.lines.iter().map(Line::snapshot_nowait).fold(from, f)
    }

    /// Starts a thread of the current process that delivers what interrupts have no time for.
    ///
    /// # Context and errors
    ///
    /// As of [`Batch::start`].
    pub(crate) fn start_worker(&self) -> Result {
        self.batch.start()
    }

    /// The records; ENXIO if there are none yet.
    #[inline]
    pub(crate) fn records(&self) -> Result<&Records> {
        Ok(self.records.as_ref().ok_or(ENXIO)?)
    }

    /// Chooses the records. Process context.
    ///
    /// EEXIST: there are some. ENOMEM.
    pub(crate) fn set_records(&self, new: impl FnOnce() -> Result<Arc<Records>>) -> Result {
        // Of two callers at the same time one gets EEXIST in the second step.
        if self.records().is_err() && self.records.populate(new()?) {
            Ok(())
        } else {
            Err(EEXIST)
        }
    }

    /// Maps what userspace may look at. In an mmap hook.
    ///
    /// EINVAL, EACCES: see the UAPI header.
    pub(crate) fn map_status(&self, vma: &VmaNew) -> Result {
        self.status.map(vma)
    }

    /// Makes `output` a trigger of `line`. If it is the first one, it gets the message that asserts the
    /// line now. Process context.
    ///
    /// ENXIO, EEXIST, ELOOP, ENOSPC, EINTR, ENOMEM: see the UAPI header.
    pub(crate) fn assign_trigger(&self, output: Output, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let id = output.id();
        let eventfds = usize::from(output.is_eventfd());
        let mut output = Some(output);

        let mut control = self.control.lock();
        if control.triggers_of(line).contains(&id) {
            return Err(EEXIST);
        }
        if let Some(irqfd) = control.irqfds.get(&id) {
            let next = irqfd.listen().line();
            if control.reaches(next, |reached, _| reached == line)? {
                return Err(ELOOP);
            }
        }
        let reservation = self.quota.reserve(eventfds)?;
        let ids = control.triggers.get_mut(line as usize).ok_or(ENXIO)?;
        ids.reserve(1, for_caller())?;
        let len = ids.len();
        let mut room = KVec::new();
        let mut added = target.add_trigger(&mut output, &mut room);
        if added == Err(EAGAIN) {
            // Only here are triggers added, with the mutex held: the second time there is room.
            room = Triggers::room(len)?;
            added = target.add_trigger(&mut output, &mut room);
        }
        added?;
        reservation.keep();
        // Cannot fail: there is room.
        let _ = ids.push_within_capacity(id);
        self.count(&control, line, UsageField::Triggers, 1);
        Ok(())
    }

    /// `line` no longer tells the output with the identity `id` of its deliveries. When this has
    /// returned, it is not being told of one, nor will it be. Process context.
    ///
    /// ENXIO, ENOENT: see the UAPI header.
    pub(crate) fn deassign_trigger(&self, id: usize, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let mut control = self.control.lock();
        let removed = target.with_triggers(|triggers| triggers.remove(id));
        let removed = removed.ok_or(ENOENT)?;
        if let Some(ids) = control.triggers.get_mut(line as usize) {
            ids.retain(|other| *other != id);
        }
        self.count(&control, line, UsageField::Triggers, -1);
        let eventfds = usize::from(removed.is_eventfd());
        drop(removed);
        self.quota.release(eventfds);
        Ok(())
    }

    /// Deassigns all eventfds that are triggers of `line`, and returns their number. When this has
    /// returned, none is being signalled for a delivery of the line, nor will be. Process context.
    ///
    /// Another module's callbacks stay: they are not userspace's to deassign.
    ///
    /// ENXIO, ENOMEM: see the UAPI header.
    pub(crate) fn deassign_triggers(&self, line: u32) -> Result<u32> {
        let target = self.line(line).ok_or(ENXIO)?;
        let mut control = self.control.lock();
        let len = control.triggers_of(line).len();
        let mut removed = KVec::with_capacity(len, for_caller())?;
        let mut kept = KVec::with_capacity(len, for_caller())?;
        target.with_triggers(|triggers| triggers.remove_eventfds(&mut removed, &mut kept));
        if let Some(ids) = control.triggers.get_mut(line as usize) {
            ids.retain(|id| !removed.iter().any(|output| output.id() == *id));
        }
        let count = removed.len();
        self.count(&control, line, UsageField::Triggers, -(count as i32));
        drop(removed);
        self.quota.release(count);
        Ok(count as u32)
    }

    /// Has `line` tell `output` of those of its transitions that `events` names. Process context.
    ///
    /// ENXIO, EEXIST, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn assign_notifier(&self, output: Output, line: u32, events: u32) -> Result {
        let notifiers = self.line(line).ok_or(ENXIO)?.get_ref().notifiers();
        let id = output.id();
        let eventfds = usize::from(output.is_eventfd());
        let node = Node::new(Notifier::Events(output, events), for_caller())?;

        // Only system calls and other modules make transitions, so no wiring of eventfds can make
        // that a cycle.
        let control = self.control.lock();
        if notifiers.any(|notifier| notifier.tells(id)) {
            return Err(EEXIST);
        }
        if self.wired_to(line).notifiers >= DOORBELL_MAX_NOTIFIERS_PER_LINE {
            return Err(ENOSPC);
        }
        self.quota.reserve(eventfds)?.keep();
        notifiers.push(node);
        self.count(&control, line, UsageField::Notifiers, 1);
        Ok(())
    }

    /// `line` no longer tells the output with the identity `id` of its transitions. When this has
    /// returned, it is not being told of one, nor will it be. Process context, but not that of a
    /// notifier.
    ///
    /// ENXIO, ENOENT: see the UAPI header.
    pub(crate) fn deassign_notifier(&self, id: usize, line: u32) -> Result {
        let notifiers = self.line(line).ok_or(ENXIO)?.get_ref().notifiers();
        let control = self.control.lock();
        let removed = notifiers.remove(|notifier| notifier.tells(id));
        let removed = removed.ok_or(ENOENT)?;
        self.count(&control, line, UsageField::Notifiers, -1);
        drop(control);

        let eventfds = usize::from(removed.tells_eventfd());
        drop(removed);
        self.quota.release(eventfds);
        Ok(())
    }

    /// Deassigns all eventfds that are notifiers of `line`, and returns their number. When this has
    /// returned, none is being signalled for a transition of the line, nor will be. Process context,
    /// but not that of a notifier.
    ///
    /// Resamplefds stay, and so do another module's callbacks.
    ///
    /// ENXIO, ENOMEM: see the UAPI header.
    pub(crate) fn deassign_notifiers(&self, line: u32) -> Result<u32> {
        let notifiers = self.line(line).ok_or(ENXIO)?.get_ref().notifiers();
        let control = self.control.lock();
        let len = self.wired_to(line).notifiers as usize;
        let mut all = KVec::with_capacity(len, for_caller())?;
        while all.len() < len {
            let Some(removed) = notifiers.remove(Notifier::tells_eventfd) else {
                break;
            };
            // Cannot fail: there is room.
            let _ = all.push_within_capacity(removed);
        }
        let count = all.len();
        self.count(&control, line, UsageField::Notifiers, -(count as i32));
        drop(control);

        Removed::wait_for_all(&mut all);
        drop(all);
        self.quota.release(count);
        Ok(count as u32)
    }

    /// Makes `line` a level line, or an edge line. Process context.
    ///
    /// ENXIO, EBUSY: see the UAPI header.
    pub(crate) fn set_type(&self, line: u32, level: bool) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let _control = self.control.lock();
        if !level && self.wired_to(line).resamplefds != 0 {
            return Err(EBUSY);
        }
        target.set_type(level)
    }

    /// Deassigns everything and waits for what is under way. There must be no other user left.
    /// Process context.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        let mut control = self.control.lock();
        let irqfds = core::mem::replace(&mut control.irqfds, RBTree::new());
        drop(control);
        // Each is taken off its wait queue under that queue's lock: no irqfd rings after this, and
        // what is left in an EFD_SEMAPHORE eventfd stays there.
        drop(irqfds);
        self.retire_regions();
        for line in self.lines.iter() {
            line.shut_down();
        }
        self.batch.flush();
        retire_all(self.lines.iter());
        Run::<WorkItem>::sync(pinned(self));
    }
}

impl Control {
    /// The identities of the triggers of `line`.
    fn triggers_of(&self, line: u32) -> &[usize] {
        self.triggers.get(line as usize).map_or(&[], |ids| ids)
    }

    /// Returns true if `hit` is true for `start` or for any line that `start` rings, directly or not,
    /// by a trigger that is an irqfd of this context. `hit` gets the line and its triggers'
    /// identities. Process context.
    ///
    /// A cycle over several contexts is not found, and would not be: neither context may see the
    /// other's wiring. What a cycle costs is bounded where messages are relayed. So this search only
    /// reports a mistake, and may be bounded itself.
    ///
    /// # Errors
    ///
    /// ENOSPC: it would have to examine too many triggers. EINTR: the task was killed. ENOMEM.
    pub(crate) fn reaches(&self, start: u32, hit: impl Fn(u32, &[usize]) -> bool) -> Result<bool> {
        let mut seen = KVVec::<bool>::new();
        let mut todo = KVVec::new();
        let mut examined = 0;
        todo.push(start, for_caller())?;
        while let Some(at) = todo.pop() {
            let ids = self.triggers_of(at);
            if hit(at, ids) {
                return Ok(true);
            }
            examined += ids.len();
            if examined > DOORBELL_MAX_SEARCHED_TRIGGERS as usize {
                return Err(ENOSPC);
            }
            if fatal_signal_pending() {
                return Err(EINTR);
            }
            for next in ids.iter().filter_map(|id| self.irqfds.get(id)) {
                let next = next.listen().line();
                if seen.is_empty() {
                    seen.resize(self.triggers.len(), false, for_caller())?;
                }
                if !core::mem::replace(&mut seen[next as usize], true) {
                    todo.push(next, for_caller())?;
                }
            }
        }
        Ok(false)
    }
}
