// SPDX-License-Identifier: GPL-2.0

//! The bus of a context: its regions, and writes to them.
//!
//! A region is KVM's ioeventfd without KVM.

pub(crate) mod records;
pub(crate) mod region;
pub(crate) mod values;

use self::{
    records::Records,
    region::{
        Access,
        Conflict,
        Found,
        Key,
        Shape, //
    },
    values::Values, //
};
use crate::{
    bindings::DOORBELL_TRACE_NO_LINE,
    kernel_ext::{
        alloc::user_alloc_flags,
        callback::impl_has_callbacks,
        compat::EOPNOTSUPP,
        deferred::{
            retire_all,
            Deferred,
            IrqWork,
            Run, //
        },
        eventfd::EventFd,
        pinned::PinnedSlice,
        poll_queue::PollQueue,
        read_domain::ReadDomain,
        read_once::SetOnceArc,
        shared_array::{
            self,
            Edit,
            Reader,
            SharedArray, //
        },
        sort::sort_by_key, //
    },
    line::{
        state::{
            Origin, //
            Provenance,
        },
        Line, //
    },
    quota::Quota,
    trace,
    uapi::{
        DOORBELL_MAX_REGIONS,
        DOORBELL_SPACE_MMIO,
        DOORBELL_SPACE_PIO, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

// The pure functions number the spaces from zero.
const _: () = assert!(DOORBELL_SPACE_MMIO == 0 && DOORBELL_SPACE_PIO + 1 == region::SPACES);

impl shared_array::Key for Key {
    fn in_low_partition(&self) -> bool {
        self.space() == DOORBELL_SPACE_MMIO
    }

    fn number(&self) -> u64 {
        self.addr()
    }
}

/// The output of a region.
pub(crate) enum Target {
    /// An eventfd.
    EventFd(EventFd),
    /// A line of the context, which has a line of that number.
    Line(u32),
}

impl Target {
    /// Returns true for an eventfd.
    fn is_eventfd(&self) -> bool {
        matches!(self, Self::EventFd(_))
    }

    /// Returns true if `selector` selects this target.
    fn is(&self, selector: &TargetSelector) -> bool {
        match (self, selector) {
            (Self::EventFd(_), TargetSelector::AnyEventFd) => true,
            (Self::EventFd(this), TargetSelector::EventFd(other)) => this.id() == other.id(),
            (Self::Line(this), TargetSelector::Line(other)) => this == other,
            _ => false,
        }
    }
}

/// The target that a region must have to be deassigned.
pub(crate) enum TargetSelector {
    /// Any eventfd.
    AnyEventFd,
    /// This eventfd.
    EventFd(EventFd),
    /// This line.
    Line(u32),
}

/// The way in which a region stores what is written.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    /// It stores nothing.
    Nothing,
    /// It records each write.
    Record,
    /// It stores the last value, in this slot.
    Last(u16),
}

/// An address whose writes signal an eventfd or ring a line.
#[pin_data(PinnedDrop)]
pub(crate) struct Region {
    #[pin]
    relay: Deferred<Self, IrqWork>,
    target: Target,
    store: Store,
    /// Number of relays of the last write from a context where eventfds may not be signalled.
    hops: Atomic<u32>,
    /// Number of writes.
    writes: Atomic<u64>,
}

// There may be 262,144 of them.
#[cfg(not(CONFIG_LOCKDEP))]
const _: () = assert!(size_of::<Region>() <= 64);

impl_has_callbacks!(Region {
    relay: Deferred<Self, IrqWork>,
});

impl Region {
    /// Creates a region that signals `target`. Process context.
    pub(crate) fn new(target: Target, store: Store) -> Result<Pin<KBox<Self>>> {
        let region = pin_init!(Self {
            relay <- Deferred::new(),
            target,
            store,
            hops: Atomic::new(0),
            writes: Atomic::new(0),
        });
        KBox::pin_init(region, user_alloc_flags())
    }

    /// Returns the line that it rings, if it rings one.
    pub(crate) fn line(&self) -> Option<u32> {
        match self.target {
            Target::EventFd(_) => None,
            Target::Line(line) => Some(line),
        }
    }

    /// Returns true if its writes are recorded.
    pub(crate) fn records(&self) -> bool {
        matches!(self.store, Store::Record)
    }

    /// Returns the slot that has its last value, if it stores that.
    pub(crate) fn slot(&self) -> Option<u16> {
        match self.store {
            Store::Last(slot) => Some(slot),
            Store::Nothing | Store::Record => None,
        }
    }

    /// Returns true if it stores what is written.
    #[inline(always)]
    fn stores(&self) -> bool {
        !matches!(self.store, Store::Nothing)
    }

    /// Returns the number of writes.
    pub(crate) fn writes(&self) -> u64 {
        // ORDERING: None: a count for statistics, of any moment of the call.
        self.writes.load(Relaxed)
    }

    /// Signals a write. Any context but NMI; `origin` says whether eventfds may be signalled.
    #[inline(always)]
    fn signal_write(self: Pin<&Self>, lines: &PinnedSlice<Line>, origin: Origin) {
        // ORDERING: None for the count, which is for statistics. `hops` pairs with the `run` of the irq_work:
        // queueing is a fully ordered operation that comes after the store.
        self.writes.add(1u64, Relaxed);
        match (&self.target, origin) {
            (Target::EventFd(eventfd), Origin::Caller) => eventfd.signal(0),
            (Target::EventFd(_), Origin::Wake(provenance)) => {
                self.hops.store(provenance.hops(), Relaxed);
                Run::<IrqWork>::queue(self);
            }
            (Target::Line(line), Origin::Caller) => ring_line(lines, *line),
            (Target::Line(line), origin) => {
                if let Some(line) = lines.get(*line as usize) {
                    line.ring_from(origin);
                }
            }
        }
    }
}

/// Rings one of `lines`. Not inlined: a write that signals an eventfd saves no registers for it.
#[inline(never)]
fn ring_line(lines: &PinnedSlice<Line>, line: u32) {
    if let Some(line) = lines.get(line as usize) {
        line.ring();
    }
}

impl Run<IrqWork> for Region {
    fn run(self: Pin<&Self>) {
        if let Target::EventFd(eventfd) = &self.target {
            // ORDERING: Pairs with `Region::signal_write`: the irq_work is claimed by a fully ordered operation
            // before its callback runs.
            let hops = self.hops.load(Relaxed);
            eventfd.signal(Provenance::new(hops, false).key());
        }
    }
}

/// A region to assign.
pub(crate) struct Assign {
    pub(crate) key: Key,
    /// Index in the caller's array.
    pub(crate) index: u32,
    pub(crate) region: Pin<KBox<Region>>,
}

/// A region to deassign.
pub(crate) struct Deassign {
    pub(crate) key: Key,
    /// Index in the caller's array.
    pub(crate) index: u32,
    pub(crate) target: TargetSelector,
}

/// The error of a change of regions.
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Index of the element that caused it, if one did.
    pub(crate) index: Option<u32>,
}

impl Failed {
    /// Returns a function that adds `index` to an error.
    pub(crate) fn at(index: u32) -> impl Fn(Error) -> Self {
        move |error| Self {
            error,
            index: Some(index),
        }
    }
}

impl<E> From<E> for Failed
where
    Error: From<E>,
{
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            index: None,
        }
    }
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Same => EEXIST,
            Conflict::Shape => EBUSY,
        }
    }
}

/// The bus of a context.
pub(crate) struct Bus {
    /// The number of the context in trace events.
    context: u32,
    regions: SharedArray<Key, Region>,
    /// Set by DOORBELL_SET_RECORDS, once.
    records: SetOnceArc<Records>,
    /// Set by DOORBELL_SET_RECORDS, once.
    values: SetOnceArc<Values>,
    /// The waiters for the context's file.
    poll: Arc<PollQueue>,
}

impl Bus {
    /// Creates a bus of the context `context`, without regions, records and last values. `poll` has the
    /// waiters for the context's file.
    pub(crate) fn new(context: u32, domain: Arc<ReadDomain>, poll: Arc<PollQueue>) -> Self {
        Self {
            context,
            regions: SharedArray::new(domain),
            records: SetOnceArc::new(),
            values: SetOnceArc::new(),
            poll,
        }
    }

    /// Returns an object that writes to the regions as they are now. Regions that ring a line ring one of
    /// `lines`. Deassignments wait until it is dropped. Any context but NMI.
    #[inline(always)]
    pub(crate) fn writer<'a>(&'a self, lines: &'a PinnedSlice<Line>) -> Writer<'a> {
        Writer {
            bus: self,
            regions: self.regions.read(),
            lines,
        }
    }

    /// Traces a write that matches `region`, before it is signalled. Any context.
    #[inline(always)]
    fn trace_write(&self, region: &Region, shape: Shape, addr: u64, value: u64) {
        trace::doorbell_region_write(|| {
            let target = region
                .line()
                .map_or(DOORBELL_TRACE_NO_LINE, |line| line as i32);
            let access = Access::of_shape(shape, addr, value);
            let (space, length) = (access.space(), access.length());
            (self.context, space, addr, length, value, target)
        });
    }

    /// Deassigns and assigns regions in one step, all or none. When this has returned, no signal for a
    /// deassigned region is in flight, and none will come.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// ENOENT, EEXIST, EBUSY, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn change(
        &self,
        quota: &Quota,
        mut new: KVVec<Assign>,
        old: KVVec<Deassign>,
    ) -> Result<(), Failed> {
        let flags = user_alloc_flags();
        sort_by_key(&mut new, |new| (new.key, new.index));
        let mut keys = KVVec::with_capacity(new.len(), flags)?;
        for new in new.iter() {
            keys.push(new.key, flags)?;
        }
        let mut places = KVVec::from_elem(0, new.len(), flags)?;
        let mut placed = KVVec::with_capacity(new.len(), flags)?;
        let eventfds = new
            .iter()
            .filter(|new| new.region.target.is_eventfd())
            .count();

        let edit = self.regions.edit();
        let gone = find_gone(&edit, old)?;
        let len = edit.keys().len();
        if len - gone.len() + new.len() > DOORBELL_MAX_REGIONS as usize {
            return Err(ENOSPC.into());
        }
        region::place_new(edit.keys(), &gone, &keys, &mut places)
            .map_err(|(conflict, at)| Failed::at(new[at].index)(conflict.into()))?;
        let gone_eventfds = gone.iter().filter_map(|&at| edit.item(at));
        let gone_eventfds = gone_eventfds
            .filter(|region| region.target.is_eventfd())
            .count();
        let more = eventfds.saturating_sub(gone_eventfds);
        let reservation = quota.reserve(more)?;
        let space = edit.reserve(new.len(), gone.len(), flags)?;
        // The last step that can fail.
        let held = self.move_slots(&edit, &gone, &new)?;
        for (place, new) in places.into_iter().zip(new) {
            // Cannot fail: there is room.
            let _ = placed.push_within_capacity((place, new.key, new.region));
        }
        // This ends the change, before anything is waited for.
        let retired = edit.replace(space, &gone, placed);
        reservation.keep();

        if let Some(mut retired) = retired {
            retired.wait();
            retire_all(retired.items());
        }
        // From here on no writer of a region that is gone stores a value.
        self.give_back(&held);
        quota.release(gone_eventfds.saturating_sub(eventfds));
        Ok(())
    }

    /// Gives back the slots that [`Bus::move_slots`] has returned. Process context.
    fn give_back(&self, held: &[u16]) {
        if let (Ok(values), false) = (self.values(), held.is_empty()) {
            // The change has ended, and others may change slots of the same word.
            let edit = self.regions.edit();
            held.iter().for_each(|&slot| values.give_back(&edit, slot));
        }
    }

    /// Gives the slots of the `gone` regions to the `new` ones, and takes further ones. Returns the slots that
    /// are to be given back when no writer uses them any more.
    ///
    /// # Errors
    ///
    /// EBUSY: another region has the slot. ENOMEM. Nothing has changed then.
    fn move_slots(
        &self,
        edit: &Edit<'_, Key, Region>,
        gone: &[usize],
        new: &[Assign],
    ) -> Result<KVVec<u16>, Failed> {
        let mut held = KVVec::new();
        let Ok(values) = self.values() else {
            return Ok(held);
        };
        held.reserve(gone.len(), user_alloc_flags())?;
        let gone = || gone.iter().filter_map(|&at| edit.item(at)?.slot());
        gone().for_each(|slot| values.give_back(edit, slot));
        for (at, busy) in new.iter().enumerate() {
            if busy
                .region
                .slot()
                .is_none_or(|slot| values.take(edit, slot))
            {
                continue;
            }
            let taken = new[..at].iter().filter_map(|new| new.region.slot());
            taken.for_each(|slot| values.give_back(edit, slot));
            gone().for_each(|slot| {
                values.take(edit, slot);
            });
            return Err(Failed::at(busy.index)(EBUSY));
        }
        for slot in gone().filter(|&slot| values.take(edit, slot)) {
            // Cannot fail: there is room.
            let _ = held.push_within_capacity(slot);
        }
        Ok(held)
    }

    /// Returns the regions as they are now, for as long as the returned object exists. Any context but
    /// NMI.
    pub(crate) fn regions(&self) -> Reader<'_, Key, Region> {
        self.regions.read()
    }

    /// Returns the number of regions. Any context.
    pub(crate) fn nr_regions(&self) -> u32 {
        self.regions.len() as u32
    }

    /// Waits for the callbacks of all regions. There must be no writer any more. Process context.
    pub(crate) fn retire(&self) {
        let regions = self.regions.read();
        let all = 0..regions.keys().len();
        retire_all(all.filter_map(|at| regions.item(at)));
    }

    /// Returns the records; ENXIO if their number is not chosen yet. Any context.
    #[inline]
    pub(crate) fn records(&self) -> Result<&Records> {
        self.records.get().ok_or(ENXIO)
    }

    /// Sets the records, once. Process context.
    ///
    /// # Errors
    ///
    /// EEXIST: they are set. Those of `new`.
    pub(crate) fn set_records(
        &self,
        new: impl FnOnce(Arc<PollQueue>) -> Result<Arc<Records>>,
    ) -> Result {
        // Of two concurrent callers one gets EEXIST from the second step.
        if self.records().is_ok() || !self.records.set(new(self.poll.clone())?) {
            return Err(EEXIST);
        }
        // The exchange that has set them is a full barrier. Waiters that found no records are woken for
        // those that were stored before the producers knew of them.
        if self.poll.was_polled() && self.poll_records() {
            self.poll.wake(0);
        }
        Ok(())
    }

    /// Returns true if there is a record. If there is none, each record from now on wakes the waiters for the
    /// file. Process context.
    pub(crate) fn poll_records(&self) -> bool {
        let Ok(records) = self.records() else {
            return false;
        };
        if !records.is_polled() {
            records.start_polling();
            // A writer that reserved a place before does not wake the waiters. Its record is visible after
            // this.
            self.regions.synchronize();
            records.set_polled();
        }
        records.is_available()
    }

    /// Returns the last values; ENXIO if their number is not chosen yet. Any context.
    #[inline]
    pub(crate) fn values(&self) -> Result<&Values> {
        self.values.get().ok_or(ENXIO)
    }

    /// Sets the last values, once. Process context.
    ///
    /// # Errors
    ///
    /// EEXIST: they are set. Those of `new`.
    pub(crate) fn set_values(&self, new: impl FnOnce() -> Result<Arc<Values>>) -> Result {
        // Of two concurrent callers one gets EEXIST from the second step.
        if self.values().is_err() && self.values.set(new()?) {
            Ok(())
        } else {
            Err(EEXIST)
        }
    }
}

/// A writer to the regions of a bus.
pub(crate) struct Writer<'a> {
    bus: &'a Bus,
    regions: Reader<'a, Key, Region>,
    lines: &'a PinnedSlice<Line>,
}

impl Writer<'_> {
    /// Writes to the bus. Neither sleeps nor allocates.
    ///
    /// # Context
    ///
    /// Any context but NMI; `origin` says whether eventfds may be signalled.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: no region matches. ENOBUFS: there is no room to record the write.
    #[inline(always)]
    pub(crate) fn write(&self, access: &Access, origin: Origin) -> Result {
        let part = self
            .regions
            .partition(access.space() == DOORBELL_SPACE_MMIO);
        match region::find(part.numbers(), part.keys(), access) {
            Found::Nothing => Err(EOPNOTSUPP),
            Found::One(at) => {
                let region = part.item(at).ok_or(EOPNOTSUPP)?;
                if region.stores() {
                    let (shape, addr, value) = (access.shape(), access.addr(), access.value());
                    store(self.bus, region.get_ref(), shape, addr, value)?;
                }
                self.bus
                    .trace_write(&region, access.shape(), access.addr(), access.value());
                region.signal_write(self.lines, origin);
                Ok(())
            }
            Found::Several(first) => {
                let matches = region::among(part.keys(), first, access.value());
                let item = |at: Option<usize>| at.and_then(|at| part.item(at));
                let (wildcard, datamatch) = (item(matches.wildcard), item(matches.datamatch));
                if wildcard.is_none() && datamatch.is_none() {
                    return Err(EOPNOTSUPP);
                }
                let access = (access.shape(), access.addr(), access.value());
                let regions = [wildcard, datamatch];
                if regions.iter().flatten().any(|region| region.stores()) {
                    store_each(self.bus, regions, access)?;
                }
                write_each(self.bus, self.lines, [wildcard, datamatch], access, origin);
                Ok(())
            }
        }
    }
}

/// Stores a write to `region`, in the way of that. The access comes in parts, which the caller can keep in
/// registers. Errors as of [`Writer::write`].
#[cold]
fn store(bus: &Bus, region: &Region, shape: Shape, addr: u64, value: u64) -> Result {
    match region.store {
        Store::Nothing => {}
        Store::Record => bus
            .records()?
            .record(&Access::of_shape(shape, addr, value))?,
        Store::Last(slot) => bus.values()?.store(slot, value),
    }
    Ok(())
}

/// Stores a write to each of `regions`, but records it once. Errors as of [`Writer::write`]: then nothing is
/// stored.
#[cold]
fn store_each(
    bus: &Bus,
    regions: [Option<Pin<&Region>>; 2],
    (shape, addr, value): (Shape, u64, u64),
) -> Result {
    let all = || regions.into_iter().flatten().map(Pin::get_ref);
    // First, because it is the only step that can fail.
    if let Some(region) = all().find(|region| region.records()) {
        store(bus, region, shape, addr, value)?;
    }
    all()
        .filter(|region| region.slot().is_some())
        .try_for_each(|region| store(bus, region, shape, addr, value))
}

/// Signals a write to each of `regions`. Context as of [`Writer::write`].
#[cold]
fn write_each(
    bus: &Bus,
    lines: &PinnedSlice<Line>,
    regions: [Option<Pin<&Region>>; 2],
    (shape, addr, value): (Shape, u64, u64),
    origin: Origin,
) {
    for region in regions.into_iter().flatten() {
        bus.trace_write(&region, shape, addr, value);
        region.signal_write(lines, origin);
    }
}

/// Returns the positions of the regions to deassign, sorted.
fn find_gone(edit: &Edit<'_, Key, Region>, old: KVVec<Deassign>) -> Result<KVVec<usize>, Failed> {
    let flags = user_alloc_flags();
    let mut found = KVVec::with_capacity(old.len(), flags)?;
    for old in old {
        let at = edit.keys().binary_search(&old.key).ok();
        let region = at.and_then(|at| Some((at, edit.item(at)?)));
        match region {
            Some((at, region)) if region.target.is(&old.target) => {
                found.push((at, old.index), flags)?;
            }
            _ => return Err(Failed::at(old.index)(ENOENT)),
        }
    }
    sort_by_key(&mut found, |found| *found);
    let mut gone = KVVec::with_capacity(found.len(), flags)?;
    for (at, index) in found {
        if gone.last() == Some(&at) {
            return Err(Failed::at(index)(ENOENT));
        }
        gone.push(at, flags)?;
    }
    Ok(gone)
}
