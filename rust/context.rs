// SPDX-License-Identifier: GPL-2.0

//! A context: its lines, and what is wired to them.
//!
//! Locks, outermost first: `control`; then either the hold on a line or an eventfd's wait-queue
//! lock; `dead` inside the latter. The ring path takes none of a context's own.

use crate::{
    delivery::{
        new_status,
        Line,
        Snapshot,
        Status,
        Wiring, //
    },
    irqfd::{
        Irqfd,
        Source, //
    },
    kernel_ext::{
        deferred::{
            impl_has_deferred,
            retire_all,
            Deferred,
            Run,
            WorkItem, //
        },
        eventfd::EventFdFile,
        pinned::{
            pinned,
            PinnedSlice, //
        },
        shared_pages::SharedPages, //
    },
    outputs::{
        Notifier,
        Output,
        Outputs,
        Trigger, //
    },
    uapi::{
        DOORBELL_MAX_IRQFDS,
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
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    }, //
};

/// How to allocate what may be large, because the caller wants it so: ENOMEM tells it enough, and
/// the log is not for it to fill.
fn for_caller() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN
}

/// What is assigned; changed with the mutex held.
struct Control {
    /// By the eventfd's identity, which stays its own as long as it is here.
    irqfds: RBTree<usize, Pin<KBox<Irqfd>>>,
    /// Per line.
    wired: KVVec<Wired>,
    /// All of it.
    total: Wired,
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
}

/// A kind of output.
pub(crate) trait Kind: Sized {
    /// Those of a line.
    fn of(wiring: &mut Wiring) -> &mut Outputs<Self>;

    /// Their number.
    fn number(wired: &mut Wired) -> &mut u32;
}

impl Kind for Trigger {
    fn of(wiring: &mut Wiring) -> &mut Outputs<Self> {
        &mut wiring.triggers
    }

    fn number(wired: &mut Wired) -> &mut u32 {
        &mut wired.triggers
    }
}

impl Kind for Notifier {
    fn of(wiring: &mut Wiring) -> &mut Outputs<Self> {
        &mut wiring.notifiers
    }

    fn number(wired: &mut Wired) -> &mut u32 {
        &mut wired.notifiers
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
    /// What userspace may look at.
    status: Arc<SharedPages<Status>>,
    #[pin]
    control: Mutex<Control>,
    /// Identities of irqfds whose eventfd has no file any more; has room for all that are assigned.
    #[pin]
    dead: SpinLockIrq<KVVec<usize>>,
}

impl_has_deferred!(Core, reaper, WorkItem);

impl Core {
    /// A context with `nr_lines` lines, charged to the caller's memory cgroup. Process context.
    pub(crate) fn new(nr_lines: u32) -> Result<Arc<Self>> {
        let len = nr_lines as usize;
        let flags = for_caller();
        let (status, each) = SharedPages::new(len, new_status, flags)?;
        let lines = PinnedSlice::new(each.map(Line::new), flags)?;
        let wired = KVVec::from_elem(Wired::default(), len, flags)?;
        Arc::pin_init(
            pin_init!(Self {
                reaper <- Deferred::new(),
                lines,
                status,
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

    /// What `f` makes of the state and the counters of all lines. Process context.
    pub(crate) fn fold<R>(&self, from: R, f: impl FnMut(R, Snapshot) -> R) -> R {
        self.lines.iter().map(Line::snapshot).fold(from, f)
    }

    /// Maps what userspace may look at. In an mmap hook.
    ///
    /// EINVAL, EACCES: see the UAPI header.
    pub(crate) fn map_status(&self, vma: &VmaNew) -> Result {
        self.status.map(vma)
    }

    /// Has the eventfd `fd` ring `line`; if it was signalled before, exactly once. Process context.
    ///
    /// ENXIO, EBADF, EINVAL, EEXIST, EBUSY, ELOOP, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn assign_irqfd(self: &Arc<Self>, fd: i32, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        // Held until the end: the last file must not go before we listen.
        let file = EventFdFile::from_fd(fd)?;
        let counter = file.counter()?;
        let id = counter.eventfd().id();
        let source = Source::new(self.clone(), line, id);
        let irqfd = KBox::pin_init(Irqfd::new(counter, source), GFP_KERNEL_ACCOUNT)?;
        let node = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;

        let mut control = self.control.lock();
        if let Some(other) = control.irqfds.get(&id) {
            return Err(if other.listen().line() == line {
                EEXIST
            } else {
                EBUSY
            });
        }
        if control.total.irqfds >= DOORBELL_MAX_IRQFDS {
            return Err(ENOSPC);
        }
        if self.reaches(&control, line, |_, triggers| triggers.contains(&id))? {
            return Err(ELOOP);
        }
        self.make_room_for_dead(control.total.irqfds as usize + 1)?;
        let before = irqfd.as_ref().attach()?;
        control.irqfds.insert(node.into_node(id, irqfd));
        control.total.irqfds += 1;
        control.wired[line as usize].irqfds += 1;
        drop(control);

        if before != 0 {
            target.ring();
        }
        Ok(())
    }

    /// The eventfd `fd` no longer rings `line`. When this has returned it is not touched again.
    /// Process context.
    ///
    /// ENXIO, EBADF, EINVAL, ENOENT: see the UAPI header.
    pub(crate) fn deassign_irqfd(&self, fd: i32, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        // Held until the end: an identity is nobody else's only as long as that.
        let eventfd = EventFdFile::from_fd(fd)?.eventfd()?;
        let id = eventfd.id();

        let mut control = self.control.lock();
        let irqfd = control.irqfds.get(&id).ok_or(ENOENT)?;
        if irqfd.listen().line() != line {
            return Err(ENOENT);
        }
        // One that has hung up meanwhile is the reaper's, which has noted its identity.
        let left = irqfd.detach().ok_or(ENOENT)?;
        let irqfd = control.remove_irqfd(id);
        drop(control);

        drop(irqfd);
        if left != 0 {
            target.ring();
        }
        Ok(())
    }

    /// Has `line` signal the eventfd `fd` on each delivery. Process context.
    ///
    /// ENXIO, EBADF, EINVAL, EEXIST, ELOOP, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn assign_trigger(&self, fd: i32, line: u32) -> Result {
        self.assign(fd, line, Trigger, |control, id| {
            let Some(irqfd) = control.irqfds.get(&id) else {
                return Ok(());
            };
            let next = irqfd.listen().line();
            if self.reaches(control, next, |reached, _| reached == line)? {
                return Err(ELOOP);
            }
            Ok(())
        })
    }

    /// Has `line` signal the eventfd `fd` on those of its transitions that `events` names. Process
    /// context.
    ///
    /// ENXIO, EBADF, EINVAL, EEXIST, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn assign_notifier(&self, fd: i32, line: u32, events: u32) -> Result {
        // Only system calls mask and unmask, so no wiring can make that a cycle.
        self.assign(fd, line, Notifier(events), |_, _| Ok(()))
    }

    fn assign<T: Kind>(
        &self,
        fd: i32,
        line: u32,
        with: T,
        check: impl FnOnce(&Control, usize) -> Result,
    ) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        let eventfd = EventFdFile::from_fd(fd)?.eventfd()?;
        let id = eventfd.id();
        let mut output = Some(Output::new(eventfd, with));

        let mut control = self.control.lock();
        check(&control, id)?;
        let mut room = KVec::new();
        let mut added = target.with_wiring(|wiring| T::of(wiring).add(&mut output, &mut room));
        if added == Err(EAGAIN) {
            // Only here are outputs added, with the mutex held: the second time there is room.
            let len = *T::number(&mut control.wired[line as usize]);
            room = Outputs::room(len as usize)?;
            added = target.with_wiring(|wiring| T::of(wiring).add(&mut output, &mut room));
        }
        added?;
        control.count::<T>(line, 1);
        Ok(())
    }

    /// `line` no longer signals the eventfd `fd` as a `T`. When this has returned, no signal is
    /// under way and none will come. Process context.
    ///
    /// ENXIO, EBADF, EINVAL, ENOENT: see the UAPI header.
    pub(crate) fn deassign<T: Kind>(&self, fd: i32, line: u32) -> Result {
        let target = self.line(line).ok_or(ENXIO)?;
        // Held until the end: an identity is nobody else's only as long as that.
        let eventfd = EventFdFile::from_fd(fd)?.eventfd()?;

        let mut control = self.control.lock();
        let removed = target.with_wiring(|wiring| T::of(wiring).remove(eventfd.id()));
        if removed.is_none() {
            return Err(ENOENT);
        }
        control.count::<T>(line, -1);
        Ok(())
    }

    /// Whether `hit` is true for `start` or any line that `start` rings, directly or not, by a
    /// trigger that is an irqfd of this context. `hit` gets the line and its triggers' identities.
    fn reaches(
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
            let len = line.with_wiring(|wiring| {
                for (slot, id) in ids.iter_mut().zip(wiring.triggers.ids()) {
                    *slot = id;
                }
                wiring.triggers.len()
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

    /// Makes sure that [`Core::bury`] finds room for `all` irqfds. Process context.
    fn make_room_for_dead(&self, all: usize) -> Result {
        if self.dead.lock().capacity() >= all {
            return Ok(());
        }
        let mut room = KVVec::with_capacity(all.next_power_of_two(), for_caller())?;
        let mut dead = self.dead.lock();
        for id in dead.drain_all() {
            // Cannot fail: there is room for more.
            let _ = room.push_within_capacity(id);
        }
        core::mem::swap(&mut *dead, &mut room);
        // `room` is the old memory now, and goes when the lock is released.
        drop(dead);
        Ok(())
    }

    /// The eventfd of irqfd `id` has lost its last file, and the irqfd is off its wait queue: frees
    /// it soon. Called with that wait queue's lock held.
    pub(crate) fn bury(self: &Arc<Self>, id: usize) {
        // Cannot fail: `make_room_for_dead()` has been called for it.
        let _ = self.dead.lock().push_within_capacity(id);
        Run::<WorkItem>::queue(pinned(self));
    }

    /// Deassigns everything and waits for what is under way. There must be no other user left.
    /// Process context.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        let mut control = self.control.lock();
        let irqfds = core::mem::replace(&mut control.irqfds, RBTree::new());
        control.total = Wired::default();
        drop(control);
        // Each is taken off its wait queue under that queue's lock: nobody rings after this.
        drop(irqfds);
        for line in self.lines.iter() {
            line.shut_down();
        }
        retire_all(self.lines.iter());
        Run::<WorkItem>::sync(pinned(self));
    }
}

impl Control {
    fn remove_irqfd(&mut self, id: usize) -> Option<Pin<KBox<Irqfd>>> {
        let irqfd = self.irqfds.remove(&id)?;
        self.total.irqfds -= 1;
        self.wired[irqfd.listen().line() as usize].irqfds -= 1;
        Some(irqfd)
    }

    /// There is one output of the kind more on `line`, or one less.
    fn count<T: Kind>(&mut self, line: u32, change: i32) {
        for wired in [&mut self.total, &mut self.wired[line as usize]] {
            let count = T::number(wired);
            *count = count.wrapping_add_signed(change);
        }
    }
}

impl Run<WorkItem> for Core {
    /// Frees irqfds whose eventfd has no file any more.
    fn run(self: Pin<&Self>) {
        loop {
            let Some(id) = self.dead.lock().pop() else {
                break;
            };
            let irqfd = self.control.lock().remove_irqfd(id);
            drop(irqfd);
        }
    }
}
