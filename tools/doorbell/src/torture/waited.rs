// SPDX-License-Identifier: GPL-2.0-only

//! A line that has waiters instead of a trigger, with producers that ring it and wait for it.
//!
//! A call consumes all deliveries that are there. So a producer's own delivery may go to another one, and
//! its own wait then ends with the next delivery or with its timeout.

use super::{Rule, Violation};
use crate::random::Random;
use doorbell::{Context, EventFd, StatusPages};
use std::{
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    },
    thread,
    time::Duration,
};

/// A context with one line, its irqfd and its waiters.
pub(super) struct Waited {
    context: Context,
    irqfd: EventFd,
    status: StatusPages,
    /// The number of rings by ioctl.
    rung: AtomicU64,
    /// The number of signals to the irqfd.
    signalled: AtomicU64,
    /// The sum of the deliveries that calls consumed.
    consumed: AtomicU64,
}

const LINE: u32 = 0;

impl Waited {
    pub(super) fn new(device: &Path) -> anyhow::Result<Self> {
        let context = Context::open_path(device)?;
        context.set_lines(1)?;
        let irqfd = EventFd::non_blocking(false)?;
        context.assign_irqfd(&irqfd, LINE)?;
        context.assign_waiters(LINE)?;
        Ok(Self {
            irqfd,
            status: context.map_status()?,
            context,
            rung: AtomicU64::new(0),
            signalled: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
        })
    }

    /// Rings the line in one of several ways, or masks it for a moment, or waits for it.
    pub(super) fn run(&self, random: &mut Random) -> Result<(), Violation> {
        let timeout = Some(Duration::from_micros(random.below(100) as u64));
        for _ in 0..=random.below(8) {
            let count = match random.below(8) {
                0 | 1 => {
                    self.irqfd.write(1)?;
                    self.signalled.fetch_add(1, Relaxed);
                    None
                }
                2 => {
                    self.context.ring(LINE)?;
                    self.rung.fetch_add(1, Relaxed);
                    None
                }
                3 => {
                    self.context.mask(LINE)?;
                    self.context.unmask(LINE)?;
                    None
                }
                4 => {
                    let result = self.context.ring_wait_line(LINE, LINE, timeout)?;
                    self.rung.fetch_add(1, Relaxed);
                    result.count
                }
                _ => self.context.wait(LINE, timeout)?,
            };
            if count == Some(0) {
                let text = "a wait returned zero deliveries".into();
                return Err(Violation::new(Rule::Invented, NAME, text));
            }
            self.consumed.fetch_add(count.unwrap_or(0), Relaxed);
        }
        Ok(())
    }

    /// Compares rings, deliveries and what was consumed. No thread may use the line.
    pub(super) fn check(&self) -> Result<Vec<Violation>, Violation> {
        // The line's callback may not have run yet.
        let mut query = self.context.query(LINE)?;
        for _ in 0..1000 {
            if !query.pending {
                break;
            }
            thread::sleep(Duration::from_millis(1));
            query = self.context.query(LINE)?;
        }
        let rung = self.rung.load(Acquire) + self.signalled.load(Acquire);
        let untaken = self.status.untaken(LINE);
        let mut violations = Vec::new();
        if query.rings != rung {
            let text = format!("{rung} rings and signals, but it counts {}", query.rings);
            violations.push(Violation::new(Rule::Counters, NAME, text));
        }
        let arrived = self.consumed.load(Acquire) + untaken;
        if let Some(rule) = Rule::for_difference(arrived, query.deliveries) {
            let text = format!(
                "it delivered {} times, but {arrived} deliveries were consumed or are left",
                query.deliveries
            );
            violations.push(Violation::new(rule, NAME, text));
        }
        // What is left can be consumed, and nothing else.
        let left = self.context.wait(LINE, Some(Duration::ZERO))?.unwrap_or(0);
        self.consumed.fetch_add(left, Relaxed);
        if left != untaken {
            let text = format!("{untaken} deliveries were left, but a wait consumed {left}");
            violations.push(Violation::new(Rule::Counters, NAME, text));
        }
        if query.pending {
            let text = "a message is pending although the line is not masked".into();
            violations.push(Violation::new(Rule::Lost, NAME, text));
        }
        Ok(violations)
    }
}

const NAME: &str = "the line with waiters";
