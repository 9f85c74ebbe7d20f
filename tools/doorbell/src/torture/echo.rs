// SPDX-License-Identifier: GPL-2.0-only

//! A line whose ringers wait for its trigger in the same system call.
//!
//! All producers wait for one eventfd. So a waiter can consume the count that another one rang, and
//! its own wait then ends with the next ring or with its timeout.

use super::{Rule, Violation};
use crate::random::Random;
use doorbell::{Context, EventFd, RingOutcome};
use std::{
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    },
    time::Duration,
};

/// A context with one line and its trigger.
pub(super) struct Echo {
    context: Context,
    trigger: EventFd,
    /// The number of calls that rang.
    rung: AtomicU64,
    /// The sum of the counts that calls returned.
    consumed: AtomicU64,
}

const LINE: u32 = 0;

impl Echo {
    pub(super) fn new(device: &Path) -> anyhow::Result<Self> {
        let context = Context::open_path(device)?;
        context.set_lines(1)?;
        let trigger = EventFd::non_blocking(false)?;
        context.assign_trigger(&trigger, LINE)?;
        Ok(Self {
            context,
            trigger,
            rung: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
        })
    }

    /// Rings the line and waits for a moment, or waits without a ring.
    pub(super) fn ring_wait(&self, random: &mut Random) -> Result<(), Violation> {
        let timeout = Some(Duration::from_micros(random.below(100) as u64));
        for _ in 0..=random.below(8) {
            let count = if random.one_in(4) {
                self.context.wait_eventfd(&self.trigger, timeout)?
            } else {
                let result = self.context.ring_wait(LINE, &self.trigger, timeout)?;
                self.rung.fetch_add(1, Relaxed);
                if result.outcome == RingOutcome::Masked {
                    let text = "a ring returned that the line is masked, which it never is";
                    return Err(Violation::new(Rule::Results, NAME, text.into()));
                }
                result.count
            };
            if count == Some(0) {
                let text = "a wait returned a count of zero".into();
                return Err(Violation::new(Rule::Invented, NAME, text));
            }
            self.consumed.fetch_add(count.unwrap_or(0), Relaxed);
        }
        Ok(())
    }

    /// Compares rings, deliveries and counts. No thread may ring or wait.
    pub(super) fn check(&self) -> Result<Vec<Violation>, Violation> {
        let query = self.context.query(LINE)?;
        let rung = self.rung.load(Acquire);
        let arrived = self.consumed.load(Acquire) + self.trigger.count()?;
        let mut violations = Vec::new();
        if query.rings != rung {
            let text = format!("{rung} calls rang, but it counts {} rings", query.rings);
            violations.push(Violation::new(Rule::Counters, NAME, text));
        }
        if let Some(rule) = Rule::for_difference(arrived, query.deliveries) {
            let text = format!(
                "it delivered {} times, but {arrived} signals arrived",
                query.deliveries
            );
            violations.push(Violation::new(rule, NAME, text));
        }
        Ok(violations)
    }
}

const NAME: &str = "the line of ring-wait";
