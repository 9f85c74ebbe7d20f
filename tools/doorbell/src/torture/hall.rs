// SPDX-License-Identifier: GPL-2.0-only

//! Regions that come and go by twos.
//!
//! Both are at one address: what is written there first rings a line, which takes a while, and then
//! signals an eventfd. So there is often somebody on the way from the one to the other when they go;
//! and whoever finds one of them has to find both.

use super::{Rule, Violation};
use crate::random::Random;
use doorbell::{
    uapi::MAX_TRIGGERS_PER_LINE, Access, Changes, Context, EventFd, Region, Space, Target,
};
use std::{
    cmp::Ordering,
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    },
};

/// How many passers each thread lets come and go.
pub(super) const PASSERS: usize = 2;

struct Passer {
    first: Region,
    then: Region,
    eventfd: EventFd,
    /// How many writes were taken.
    taken: AtomicU64,
    /// How many signals arrived.
    arrived: AtomicU64,
}

/// A context with a slow line and a bus for those that come and go.
pub(super) struct Hall {
    context: Context,
    passers: Vec<Passer>,
    /// Triggers of the line, which make it slow.
    _ballast: Vec<EventFd>,
}

const SLOW: u32 = 0;
const VALUE: u64 = 7;

impl Hall {
    /// With passers for `hosts` threads.
    pub(super) fn new(device: &Path, hosts: usize) -> anyhow::Result<Self> {
        let context = Context::open_path(device)?;
        context.set_lines(1)?;
        let mut ballast = Vec::new();
        for _ in 0..MAX_TRIGGERS_PER_LINE {
            let eventfd = EventFd::new(0)?;
            context.assign_trigger(&eventfd, SLOW)?;
            ballast.push(eventfd);
        }
        let passer = |at| {
            let region = Region::pio(8 * at as u64, 4);
            anyhow::Ok(Passer {
                first: region,
                then: region.datamatch(VALUE),
                eventfd: EventFd::non_blocking(false)?,
                taken: AtomicU64::new(0),
                arrived: AtomicU64::new(0),
            })
        };
        Ok(Self {
            context,
            passers: (0..PASSERS * hosts).map(passer).collect::<Result<_, _>>()?,
            _ballast: ballast,
        })
    }

    /// Writes to where a passer may be.
    pub(super) fn knock(&self, random: &mut Random) -> Result<(), Violation> {
        let passer = &self.passers[random.below(self.passers.len())];
        let access = Access::new(Space::Pio, passer.first.addr, 4, VALUE);
        let accesses = vec![access; 1 + random.below(8)];
        match self.context.write_bus(&accesses) {
            Ok(taken) => {
                passer.taken.fetch_add(taken as u64, Relaxed);
                Ok(())
            }
            // It is not there.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Has a passer come. Nobody else has it come or go.
    pub(super) fn come(&self, passer: usize) -> Result<(), Violation> {
        self.untouched(passer)?;
        let passer = &self.passers[passer];
        let mut changes = Changes::new();
        changes.assign(&passer.first, Target::line(SLOW));
        changes.assign(&passer.then, Target::eventfd(&passer.eventfd));
        Ok(self.context.change_regions(&changes)?)
    }

    /// Has it go: what arrives later is too late.
    pub(super) fn go(&self, passer: usize) -> Result<(), Violation> {
        let passer = &self.passers[passer];
        // Either can be said.
        let target = match passer.arrived.load(Relaxed) % 2 {
            0 => Target::eventfd(&passer.eventfd),
            _ => Target::closed(),
        };
        let mut changes = Changes::new();
        changes.deassign(&passer.then, target);
        changes.deassign(&passer.first, Target::line(SLOW));
        self.context.change_regions(&changes)?;
        let arrived = passer.eventfd.take()?;
        passer.arrived.fetch_add(arrived, Relaxed);
        Ok(())
    }

    /// Since it has gone nobody has signalled its eventfd.
    pub(super) fn untouched(&self, passer: usize) -> Result<(), Violation> {
        let passer = &self.passers[passer];
        match passer.eventfd.take()? {
            0 => Ok(()),
            n => {
                passer.arrived.fetch_add(n, Relaxed);
                let text = format!("signalled {n} times after its deassign had returned");
                Err(Violation::new(Rule::Deassign, "a region", text))
            }
        }
    }

    /// Compares the accounts, when nobody writes and all have gone, or never will.
    pub(super) fn judge(&self) -> Result<Vec<Violation>, Violation> {
        let mut broken = Vec::new();
        let mut all = 0;
        for passer in &self.passers {
            let taken = passer.taken.load(Acquire);
            let arrived = passer.arrived.load(Acquire) + passer.eventfd.count()?;
            all += taken;
            if let Some(rule) = unequal(arrived, taken) {
                let text = format!("{taken} writes were taken, but {arrived} signals arrived");
                broken.push(Violation::new(rule, &passer.then.to_string(), text));
            }
        }
        let rings = self.context.query(SLOW)?.rings;
        if let Some(rule) = unequal(rings, all) {
            let text = format!("{all} writes were taken that ring it, but it counts {rings}");
            broken.push(Violation::new(rule, "the line of regions", text));
        }
        Ok(broken)
    }
}

/// What it is if `found` is not as many as `made`.
pub(super) fn unequal(found: u64, made: u64) -> Option<Rule> {
    match found.cmp(&made) {
        Ordering::Less => Some(Rule::Lost),
        Ordering::Equal => None,
        Ordering::Greater => Some(Rule::Invented),
    }
}
