// SPDX-License-Identifier: GPL-2.0-only

//! A line whose triggers count its rings, while masks and CLEARs come and go.

use super::{Rule, Violation};
use crate::random::Random;
use doorbell::{uapi, Context, EventFd, RingOutcome, StatusPages};
use std::{
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    },
};

/// A context with one line and its triggers that count.
pub(super) struct Counting {
    /// [`None`] if the module cannot count.
    context: Option<Context>,
    status: Option<StatusPages>,
    sum: EventFd,
    semaphore: EventFd,
    /// A trigger that comes and goes.
    churned: EventFd,
    irqfd: EventFd,
    /// The number of rings.
    rung: AtomicU64,
    /// The sum of the counts that were read from `sum`.
    consumed: AtomicU64,
}

const LINE: u32 = 0;

impl Counting {
    pub(super) fn new(device: &Path) -> anyhow::Result<Self> {
        let context = Context::open_path(device)?;
        context.set_lines(1)?;
        let able = context.info()?.features & uapi::FEATURE_COUNT != 0;
        let this = Self {
            status: able.then(|| context.map_status()).transpose()?,
            context: able.then_some(context),
            sum: EventFd::non_blocking(false)?,
            semaphore: EventFd::non_blocking(true)?,
            churned: EventFd::non_blocking(false)?,
            irqfd: EventFd::non_blocking(false)?,
            rung: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
        };
        if let Some(context) = &this.context {
            context.assign_counting_trigger(&this.sum, LINE)?;
            context.assign_counting_trigger(&this.semaphore, LINE)?;
            context.assign_irqfd(&this.irqfd, LINE)?;
        }
        Ok(this)
    }

    /// Rings the line by an ioctl and by its irqfd, and at times masks, clears or unmasks it.
    pub(super) fn ring(&self, random: &mut Random) -> Result<(), Violation> {
        let Some(context) = &self.context else {
            return Ok(());
        };
        let masks = random.one_in(4);
        if masks {
            context.mask(LINE)?;
        }
        for _ in 0..=random.below(16) {
            if random.one_in(2) {
                self.irqfd.write(1)?;
            } else {
                let _: RingOutcome = context.ring(LINE)?;
            }
            self.rung.fetch_add(1, Relaxed);
        }
        if random.one_in(16) {
            context.clear(LINE)?;
        }
        if masks {
            context.unmask(LINE)?;
        }
        if random.one_in(8) {
            // Another producer may have assigned or deassigned it.
            let _ = context.assign_counting_trigger(&self.churned, LINE);
            let _ = context.deassign_trigger(&self.churned, LINE);
        }
        self.consumed.fetch_add(self.sum.take()?, Relaxed);
        Ok(())
    }

    /// Compares rings with what has arrived. No thread may ring.
    pub(super) fn check(&self) -> Result<Vec<Violation>, Violation> {
        let (Some(context), Some(status)) = (&self.context, &self.status) else {
            return Ok(Vec::new());
        };
        // The barrier of a mask: the last delivery has ended. Then nothing is masked.
        context.mask(LINE)?;
        context.unmask(LINE)?;
        context.mask(LINE)?;
        context.unmask(LINE)?;
        let status = status.line(LINE);
        let rung = self.rung.load(Acquire);
        let arrived = self.consumed.load(Acquire) + self.sum.count()?;
        let semaphore = self.semaphore.count()?;
        let mut violations = Vec::new();
        let rings = status.rings();
        if rings != rung {
            let text = format!("{rung} rings were made, but it counts {rings}");
            violations.push(Violation::new(Rule::Counters, NAME, text));
        }
        if let Some(rule) = Rule::for_difference(arrived + status.dropped_units, rung) {
            let text = format!(
                "it was rung {rung} times, but {arrived} arrived and {} were dropped",
                status.dropped_units
            );
            violations.push(Violation::new(rule, NAME, text));
        }
        if let Some(rule) = Rule::for_difference(semaphore, arrived) {
            let text = format!("one trigger got {arrived} rings, and the other one {semaphore}");
            violations.push(Violation::new(rule, NAME, text));
        }
        Ok(violations)
    }
}

const NAME: &str = "the line that counts";
