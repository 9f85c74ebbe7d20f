// SPDX-License-Identifier: GPL-2.0

//! The bus of a context: its regions, and what is written to them.

use crate::{
    context::{
        for_caller,
        Core, //
    },
    kernel_ext::{
        deferred::{
            impl_has_deferred,
            retire_all,
            Deferred,
            IrqWork,
            Run, //
        },
        eventfd::EventFd,
        shared_array::{
            self,
            Edit, //
        }, //
        sort::sort_by_key,
    },
    line::{
        Behind,
        From, //
    },
    region::{
        self,
        Access,
        Clash,
        Key, //
    },
    uapi::{
        DOORBELL_MAX_REGIONS,
        DOORBELL_SPACE_MMIO,
        DOORBELL_SPACE_PIO, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

// The pure functions number them from zero.
const _: () = assert!(DOORBELL_SPACE_MMIO == 0 && DOORBELL_SPACE_PIO + 1 == region::SPACES);

impl shared_array::Key for Key {
    fn is_first(&self) -> bool {
        self.space() == DOORBELL_SPACE_MMIO
    }

    fn number(&self) -> u64 {
        self.addr()
    }
}

/// What a region signals.
pub(crate) enum Target {
    /// An eventfd.
    EventFd(EventFd),
    /// A line of the context, which must have it.
    Line(u32),
}

impl Target {
    /// Returns true if it is an eventfd.
    fn is_eventfd(&self) -> bool {
        matches!(self, Self::EventFd(_))
    }

    /// Whether it is what `which` says.
    fn is(&self, which: &Which) -> bool {
        match (self, which) {
            (Self::EventFd(_), Which::AnyEventFd) => true,
            (Self::EventFd(this), Which::EventFd(other)) => this.id() == other.id(),
            (Self::Line(this), Which::Line(other)) => this == other,
            _ => false,
        }
    }
}

/// What a region that is to be deassigned signals.
pub(crate) enum Which {
    /// Whatever eventfd it is.
    AnyEventFd,
    /// This one.
    EventFd(EventFd),
    /// This line.
    Line(u32),
}

/// What happens when something is written to a region.
#[pin_data]
pub(crate) struct Region {
    // First, because it waits for its callback when it is dropped.
    #[pin]
    relay: Deferred<Self, IrqWork>,
    target: Target,
    /// What is written is kept.
    keep: bool,
    /// Relays behind the last write from a context where eventfds may not be signalled.
    hops: Atomic<u32>,
    /// Writes so far.
    writes: Atomic<u64>,
}

// There may be 262,144 of them.
#[cfg(not(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT)))]
const _: () = assert!(size_of::<Region>() <= 64);

impl_has_deferred!(Region, relay, IrqWork);

impl Region {
    /// A region that signals `target`. Process context.
    pub(crate) fn new(target: Target, keep: bool) -> Result<Pin<KBox<Self>>> {
        let region = pin_init!(Self {
            relay <- Deferred::new(),
            target,
            keep,
            hops: Atomic::new(0),
            writes: Atomic::new(0),
        });
        KBox::pin_init(region, for_caller())
    }

    /// The line that it rings.
    pub(crate) fn line(&self) -> Option<u32> {
        match self.target {
            Target::EventFd(_) => None,
            Target::Line(line) => Some(line),
        }
    }

    /// Whether it keeps what is written.
    pub(crate) fn keeps(&self) -> bool {
        self.keep
    }

    /// How often something was written to it.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// Something was written. Any context but NMI; `from` says whether eventfds may be signalled.
    #[inline(always)]
    fn written(self: Pin<&Self>, core: &Core, from: From) {
        self.writes.fetch_add(1u64, Relaxed);
        match (&self.target, from) {
            (Target::EventFd(eventfd), From::Caller) => eventfd.signal(0),
            (Target::EventFd(_), From::Wake(behind)) => {
                self.hops.store(behind.hops(), Relaxed);
                Run::<IrqWork>::queue(self);
            }
            (Target::Line(line), _) => {
                if let Some(line) = core.line(*line) {
                    line.ring_from(from);
                }
            }
        }
    }
}

impl Run<IrqWork> for Region {
    fn run(self: Pin<&Self>) {
        if let Target::EventFd(eventfd) = &self.target {
            let hops = self.hops.load(Relaxed);
            eventfd.signal(Behind::new(hops, false).key());
        }
    }
}

/// A region that is to come.
pub(crate) struct Assign {
    pub(crate) key: Key,
    /// Which of the caller's it is.
    pub(crate) index: u32,
    pub(crate) region: Pin<KBox<Region>>,
}

/// A region that is to go.
pub(crate) struct Deassign {
    pub(crate) key: Key,
    /// Which of the caller's it is.
    pub(crate) index: u32,
    pub(crate) which: Which,
}

/// Why regions could not be changed.
pub(crate) struct Failed {
    /// The error.
    pub(crate) error: Error,
    /// Which of the caller's is to blame, if it is one of them.
    pub(crate) index: Option<u32>,
}

impl Failed {
    /// It is the fault of the caller's `index`th.
    pub(crate) fn at(index: u32) -> impl Fn(Error) -> Self {
        move |error| Self {
            error,
            index: Some(index),
        }
    }
}

impl<E> core::convert::From<E> for Failed
where
    Error: core::convert::From<E>,
{
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            index: None,
        }
    }
}

impl core::convert::From<Clash> for Error {
    fn from(clash: Clash) -> Self {
        match clash {
            Clash::Same => EEXIST,
            Clash::Shape => EBUSY,
        }
    }
}

impl Core {
    /// Writes to the bus. Any context but NMI; `from` says whether eventfds may be signalled. Neither
    /// sleeps nor allocates.
    ///
    /// EOPNOTSUPP: no region takes it. ENOBUFS: there is no room to keep it.
    #[inline(always)]
    pub(crate) fn bus_write(&self, access: &Access, from: From) -> Result {
        let regions = self.regions.read();
        let (addrs, keys, first) = regions.part(access.space() == DOORBELL_SPACE_MMIO);
        let hits = region::find(addrs, keys, access);
        let any = hits.any.and_then(|at| regions.item(first + at));
        let exact = hits.exact.and_then(|at| regions.item(first + at));
        if any.is_none() && exact.is_none() {
            return Err(EOPNOTSUPP);
        }
        if [any, exact].into_iter().flatten().any(|region| region.keep) {
            self.records()?.keep(access)?;
        }
        if let Some(region) = any {
            region.written(self, from);
        }
        if let Some(region) = exact {
            region.written(self, from);
        }
        Ok(())
    }

    /// Deassigns and assigns regions in one step, all or none. When this has returned, nothing is
    /// signalled for what was deassigned, nor will it be. Process context.
    ///
    /// ENOENT, EEXIST, EBUSY, ENOSPC, ENOMEM: see the UAPI header.
    pub(crate) fn change_regions(
        &self,
        mut new: KVVec<Assign>,
        old: KVVec<Deassign>,
    ) -> Result<(), Failed> {
        let flags = for_caller();
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
            .map_err(|(clash, at)| Failed::at(new[at].index)(clash.into()))?;
        let gone_eventfds = gone.iter().filter_map(|&at| edit.item(at));
        let gone_eventfds = gone_eventfds
            .filter(|region| region.target.is_eventfd())
            .count();
        let more = eventfds.saturating_sub(gone_eventfds);
        let reservation = self.quota.reserve(more)?;
        let room = edit.room(new.len(), gone.len(), flags)?;
        for (place, new) in places.into_iter().zip(new) {
            // Cannot fail: there is room.
            let _ = placed.push_within_capacity((place, new.key, new.region));
        }
        // This ends the change, before anything is waited for.
        let retired = edit.replace(room, &gone, placed);
        reservation.keep();

        if let Some(mut retired) = retired {
            retired.wait();
            retire_all(retired.items());
        }
        self.quota.release(gone_eventfds.saturating_sub(eventfds));
        Ok(())
    }

    /// How many regions there are. Any context.
    pub(crate) fn nr_regions(&self) -> u32 {
        self.regions.len() as u32
    }

    /// Waits for all regions' callbacks. Nobody may write any more. Process context.
    pub(crate) fn retire_regions(&self) {
        let regions = self.regions.read();
        let all = 0..regions.keys().len();
        retire_all(all.filter_map(|at| regions.item(at)));
    }
}

/// Where the regions are that are to go, sorted.
fn find_gone(edit: &Edit<'_, Key, Region>, old: KVVec<Deassign>) -> Result<KVVec<usize>, Failed> {
    let flags = for_caller();
    let mut found = KVVec::with_capacity(old.len(), flags)?;
    for old in old {
        let at = edit.keys().binary_search(&old.key).ok();
        let region = at.and_then(|at| Some((at, edit.item(at)?)));
        match region {
            Some((at, region)) if region.target.is(&old.which) => {
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
