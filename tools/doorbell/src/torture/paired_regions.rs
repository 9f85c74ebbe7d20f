// SPDX-License-Identifier: GPL-2.0-only

//! Pairs of regions that are assigned and deassigned together.
//!
//! Both regions of a pair have one address. A write there first rings a slow line, and then signals
//! an eventfd. So a deassign often meets a write that is between the two. A write must reach both
//! regions or none.

use super::{faults, Rule, Violation};
use crate::random::Random;
use doorbell::{
    uapi::MAX_TRIGGERS_PER_LINE, Access, Changes, Context, EventFd, Region, Space, Target,
};
use std::{
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    },
};

/// The number of pairs of each assigner.
pub(super) const PAIRS_PER_ASSIGNER: usize = 2;

/// A pair of regions at one address.
struct Pair {
    line_region: Region,
    eventfd_region: Region,
    eventfd: EventFd,
    /// The number of writes that the regions accepted.
    taken: AtomicU64,
    /// The number of signals that arrived.
    arrived: AtomicU64,
}

/// A context with a slow line, and with pairs of regions on its bus.
pub(super) struct PairedRegions {
    context: Context,
    pairs: Vec<Pair>,
    /// Triggers that make the line slow.
    _slow_triggers: Vec<EventFd>,
}

const SLOW_LINE: u32 = 0;
const VALUE: u64 = 7;

impl PairedRegions {
    /// Creates the pairs of `assigners` threads.
    pub(super) fn new(device: &Path, assigners: usize) -> anyhow::Result<Self> {
        let context = Context::open_path(device)?;
        context.set_lines(1)?;
        let mut slow_triggers = Vec::new();
        for _ in 0..MAX_TRIGGERS_PER_LINE {
            let eventfd = EventFd::new(0)?;
            context.assign_trigger(&eventfd, SLOW_LINE)?;
            slow_triggers.push(eventfd);
        }
        let pair = |at| {
            let region = Region::pio(8 * at as u64, 4);
            anyhow::Ok(Pair {
                line_region: region,
                eventfd_region: region.datamatch(VALUE),
                eventfd: EventFd::non_blocking(false)?,
                taken: AtomicU64::new(0),
                arrived: AtomicU64::new(0),
            })
        };
        Ok(Self {
            context,
            pairs: (0..PAIRS_PER_ASSIGNER * assigners)
                .map(pair)
                .collect::<Result<_, _>>()?,
            _slow_triggers: slow_triggers,
        })
    }

    /// Writes to the address of a pair, which may be assigned or not.
    pub(super) fn write(&self, random: &mut Random) -> Result<(), Violation> {
        let pair = &self.pairs[random.below(self.pairs.len())];
        let access = Access::new(Space::Pio, pair.line_region.addr, 4, VALUE);
        let accesses = vec![access; 1 + random.below(8)];
        match self.context.write_bus(&accesses) {
            Ok(taken) => {
                pair.taken.fetch_add(taken as u64, Relaxed);
                Ok(())
            }
            // The pair is not assigned.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Assigns a pair. Only one thread may assign and deassign it.
    pub(super) fn assign(&self, pair: usize) -> Result<(), Violation> {
        self.check_silent(pair)?;
        let pair = &self.pairs[pair];
        let mut changes = Changes::new();
        changes.assign(&pair.line_region, Target::line(SLOW_LINE));
        changes.assign(&pair.eventfd_region, Target::eventfd(&pair.eventfd));
        Ok(faults::call(|| self.context.change_regions(&changes))?)
    }

    /// Deassigns a pair. No signal may arrive afterwards.
    pub(super) fn deassign(&self, pair: usize) -> Result<(), Violation> {
        let pair = &self.pairs[pair];
        // Both targets are valid.
        let target = match pair.arrived.load(Relaxed) % 2 {
            0 => Target::eventfd(&pair.eventfd),
            _ => Target::closed(),
        };
        let mut changes = Changes::new();
        changes.deassign(&pair.eventfd_region, target);
        changes.deassign(&pair.line_region, Target::line(SLOW_LINE));
        faults::call(|| self.context.change_regions(&changes))?;
        let arrived = pair.eventfd.take()?;
        pair.arrived.fetch_add(arrived, Relaxed);
        Ok(())
    }

    /// Checks that a pair's eventfd was not signalled after its deassign had returned.
    pub(super) fn check_silent(&self, pair: usize) -> Result<(), Violation> {
        let pair = &self.pairs[pair];
        match pair.eventfd.take()? {
            0 => Ok(()),
            n => {
                pair.arrived.fetch_add(n, Relaxed);
                let text = format!("signalled {n} times after its deassign had returned");
                Err(Violation::new(Rule::Deassign, "a region", text))
            }
        }
    }

    /// Compares writes with signals and rings. No thread may write, assign or deassign.
    pub(super) fn check(&self) -> Result<Vec<Violation>, Violation> {
        let mut violations = Vec::new();
        let mut all = 0;
        for pair in &self.pairs {
            let taken = pair.taken.load(Acquire);
            let arrived = pair.arrived.load(Acquire) + pair.eventfd.count()?;
            all += taken;
            if let Some(rule) = Rule::for_difference(arrived, taken) {
                let text = format!("{taken} writes were accepted, but {arrived} signals arrived");
                violations.push(Violation::new(rule, &pair.eventfd_region.to_string(), text));
            }
        }
        let rings = self.context.query(SLOW_LINE)?.rings;
        if let Some(rule) = Rule::for_difference(rings, all) {
            let text =
                format!("{all} writes to its regions were accepted, but it counts {rings} rings");
            violations.push(Violation::new(rule, "the line of regions", text));
        }
        Ok(violations)
    }
}
