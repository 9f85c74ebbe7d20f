// SPDX-License-Identifier: GPL-2.0

//! A context: its lines, and what is wired to them.
//!
//! Locks, outermost first: `control`; then the hold on a line, an eventfd's wait-queue lock, or the
//! mutex in which lists of notifiers, and the regions, change; `dead` inside the second. The ring path
//! takes none of a context's own, and while notifiers or regions are waited for none is held.

use crate::{
    bus::Region,
    delivery::Line,
    irqfd::Irqfd,
    kernel_ext::{
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
        shared_list::Node,
        shared_pages::SharedPages, //
    },
    outputs::{
        Notifier,
        Output,
        Triggers, //
    },
    records::Records,
    region::Key,
    status::{
        new_status,
        Snapshot,
        Status, //
    },
    uapi::{
        DOORBELL_MAX_NOTIFIERS_PER_LINE,
        DOORBELL_MAX_TRIGGERS_PER_LINE, //
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
        Arc,
        Mutex,
        SetOnce,
        SpinLockIrq, //
    }, //
};

/// How to allocate what may be large, because the caller wants it so: ENOMEM tells it enough, and
/// the log is not for it to fill.
pub(crate) fn for_caller() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN
}

/// What is assigned; changed with the mutex held.
pub(crate) struct Control {
    /// By the eventfd's identity, which stays its own as long as it is here.
    pub(crate) irqfds: RBTree<usize, Pin<KBox<Irqfd>>>,
    /// Per line.
    pub(crate) wired: KVVec<Wired>,
    /// All of it.
    pub(crate) total: Wired,
}

/// How much is assigned.
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

/// Chooses one of the numbers.
pub(crate) type Number = fn(&mut Wired) -> &mut u32;

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
        let wired = KVVec::from_elem(Wired::default(), len, flags)?;
        Arc::pin_init(
            pin_init!(Self {
                reaper <- Deferred::new(),
                lines,
                batch,
                status,
                regions,
                records: SetOnce::new(),
                control <- new_mutex!(Control {
                    irqfds: RBTree::new(),
                    wired,
                    total: Wired::default(),
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

    /// How much is assigned to all lines together.
    pub(crate) fn wired(&self) -> Wired {
        self.control.lock().total
    }

    /// How much is assigned to `line`.
    pub(crate) fn wired_to(&self, line: u32) -> Wired {
        let control = self.control.lock();
        control
            .wired
            .get(line as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Folds the state and the counters of all lines, as of [`Line::snapshot_nowait`]. Any context.
    pub(crate) fn fold<R>(&self, from: R, f: impl FnMut(R, Snapshot) -> R) -> R {
        self.lines.iter().map(Line::snapshot_nowait).fold(from, f)
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

    /// Has `line` tell `output` of each delivery, and if it is the first to be told, of the message
    /// that asserts the line now. Process context.
    ///
    /// ENXIO, EEXIST, ELOOP, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn assign_trigger(&self, output: Output, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let id = output.id();
        let mut output = Some(output);

        let mut control = self.control.lock();
        if let Some(irqfd) = control.irqfds.get(&id) {
            let next = irqfd.listen().line();
            if self.reaches(&control, next, |reached, _| reached == line)? {
                return Err(ELOOP);
            }
        }
        let mut room = KVec::new();
        let mut added = target.add_trigger(&mut output, &mut room);
        if added == Err(EAGAIN) {
            // Only here are triggers added, with the mutex held: the second time there is room.
            let len = control.wired[line as usize].triggers;
            room = Triggers::room(len as usize)?;
            added = target.add_trigger(&mut output, &mut room);
        }
        added?;
        control.count(line, |wired| &mut wired.triggers, 1);
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
        removed.ok_or(ENOENT)?;
        control.count(line, |wired| &mut wired.triggers, -1);
        Ok(())
    }

    /// Has `line` tell `output` of those of its transitions that `events` names. Process context.
    ///
    /// ENXIO, EEXIST, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn assign_notifier(&self, output: Output, line: u32, events: u32) -> Result {
        let notifiers = self.line(line).ok_or(ENXIO)?.get_ref().notifiers();
        let id = output.id();
        let node = Node::new(Notifier::Events(output, events), GFP_KERNEL_ACCOUNT)?;

        // Only system calls and other modules make transitions, so no wiring of eventfds can make
        // that a cycle.
        let mut control = self.control.lock();
        if notifiers.any(|notifier| notifier.tells(id)) {
            return Err(EEXIST);
        }
        if control.wired[line as usize].notifiers >= DOORBELL_MAX_NOTIFIERS_PER_LINE {
            return Err(ENOSPC);
        }
        notifiers.push(node);
        control.count(line, |wired| &mut wired.notifiers, 1);
        Ok(())
    }

    /// `line` no longer tells the output with the identity `id` of its transitions. When this has
    /// returned, it is not being told of one, nor will it be. Process context, but not that of a
    /// notifier.
    ///
    /// ENXIO, ENOENT: see the UAPI header.
    pub(crate) fn deassign_notifier(&self, id: usize, line: u32) -> Result {
        let notifiers = self.line(line).ok_or(ENXIO)?.get_ref().notifiers();
        let mut control = self.control.lock();
        let removed = notifiers.remove(|notifier| notifier.tells(id));
        let removed = removed.ok_or(ENOENT)?;
        control.count(line, |wired| &mut wired.notifiers, -1);
        drop(control);

        drop(removed);
        Ok(())
    }

    /// Makes `line` a level line, or an edge line. Process context.
    ///
    /// ENXIO, EBUSY: see the UAPI header.
    pub(crate) fn set_type(&self, line: u32, level: bool) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let control = self.control.lock();
        if !level && control.wired[line as usize].resamplefds != 0 {
            return Err(EBUSY);
        }
        target.set_type(level)
    }

    /// Whether `hit` is true for `start` or any line that `start` rings, directly or not, by a
    /// trigger that is an irqfd of this context. `hit` gets the line and its triggers' identities.
    pub(crate) fn reaches(
        &self,
        control: &Control,
        start: u32,
        hit: impl Fn(u32, &[usize]) -> bool,
    ) -> Result<bool> {
        const MAX: usize = DOORBELL_MAX_TRIGGERS_PER_LINE as usize;
        let mut seen = KVVec::<bool>::new();
        let mut todo = KVVec::new();
        todo.push(start, GFP_KERNEL)?;
        while let Some(at) = todo.pop() {
            let line = self.line(at).ok_or(ENXIO)?;
            let mut ids = [0usize; MAX];
            let len = line.with_triggers(|triggers| {
                for (slot, id) in ids.iter_mut().zip(triggers.ids()) {
                    *slot = id;
                }
                triggers.len()
            });
            let ids = &ids[..len.min(MAX)];
            if hit(at, ids) {
                return Ok(true);
            }
            for next in ids.iter().filter_map(|id| control.irqfds.get(id)) {
                let next = next.listen().line();
                if seen.is_empty() {
                    seen.resize(self.lines.len(), false, for_caller())?;
                }
                if !core::mem::replace(&mut seen[next as usize], true) {
                    todo.push(next, GFP_KERNEL)?;
                }
            }
        }
        Ok(false)
    }

    /// Deassigns everything and waits for what is under way. There must be no other user left.
    /// Process context.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        let mut control = self.control.lock();
        let irqfds = core::mem::replace(&mut control.irqfds, RBTree::new());
        control.total = Wired::default();
        drop(control);
        // Each is taken off its wait queue under that queue's lock: nobody rings after this, and what
        // is left in an EFD_SEMAPHORE eventfd stays there.
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
    /// There is one more on `line`, or one less, of what `number` chooses.
    pub(crate) fn count(&mut self, line: u32, number: Number, change: i32) {
        for wired in [&mut self.total, &mut self.wired[line as usize]] {
            let count = number(wired);
            *count = count.wrapping_add_signed(change);
        }
    }
}
