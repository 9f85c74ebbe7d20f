// SPDX-License-Identifier: GPL-2.0-only

//! A chain of relays that is too long for interrupt context: a worker delivers the last ones.
//!
//! The only trigger of each line is the irqfd of the next line, and the lines have no other use. So
//! the deliveries of a line are the rings of the next line.

use super::{Rule, Violation};
use doorbell::{Context, EventFd, StatusPages};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The length of the chain: more lines than a message passes in interrupt context (`RELAY_LIMIT` in
/// rust/line/state.rs).
const LINES: u32 = 40;

/// A context with the chain.
pub(super) struct RelayChain {
    context: Context,
    status: StatusPages,
    /// The number of rings of the first line.
    rings: AtomicU64,
    /// The irqfds of all lines but the first.
    _irqfds: Vec<EventFd>,
}

impl RelayChain {
    /// Builds the chain and rings it: the worker delivers in each run, however short.
    pub(super) fn new(device: &Path) -> anyhow::Result<Self> {
        let context = Context::open_path(device)?;
        context.set_lines(LINES)?;
        let mut irqfds = Vec::new();
        for line in 1..LINES {
            let irqfd = EventFd::non_blocking(false)?;
            context.assign_irqfd(&irqfd, line)?;
            context.assign_trigger(&irqfd, line - 1)?;
            irqfds.push(irqfd);
        }
        context.ring(0)?;
        Ok(Self {
            status: context.map_status()?,
            context,
            rings: AtomicU64::new(1),
            _irqfds: irqfds,
        })
    }

    /// Rings the first line.
    pub(super) fn ring(&self) -> Result<(), Violation> {
        self.rings.fetch_add(1, Relaxed);
        self.context.ring(0)?;
        Ok(())
    }

    /// Returns the status pages of its lines.
    pub(super) fn status(&self) -> &StatusPages {
        &self.status
    }

    /// Returns the deliveries of all lines, or None if a message is pending.
    pub(super) fn quiet_deliveries(&self) -> Option<u64> {
        let mut deliveries = 0;
        for line in 0..LINES {
            let status = self.status.line(line);
            if status.pending {
                return None;
            }
            deliveries += status.deliveries;
        }
        Some(deliveries)
    }

    /// Returns the number of deliveries that the worker has made.
    pub(super) fn deferred(&self) -> u64 {
        (0..LINES).map(|line| self.status.line(line).deferred).sum()
    }

    /// Compares the deliveries of each line with the rings of the next. Nothing may be in flight.
    pub(super) fn check(&self) -> Result<Vec<Violation>, Violation> {
        let mut made = self.rings.load(Relaxed);
        let mut violations = Vec::new();
        for line in 0..LINES {
            let state = self.context.query(line)?;
            violations.extend(check_line(line, made, state.rings, state.pending));
            made = state.deliveries;
        }
        Ok(violations)
    }
}

/// Returns the violation of a line that was rung `made` times, if there is one.
fn check_line(line: u32, made: u64, rings: u64, pending: bool) -> Option<Violation> {
    let (rule, text) = match Rule::for_difference(rings, made) {
        Some(rule) => (
            rule,
            format!("rung {made} times, but the module counts {rings}"),
        ),
        None if pending => (Rule::Lost, "a message stays pending".into()),
        None => return None,
    };
    Some(Violation::new(rule, &name(line), text))
}

/// Returns the name of a line.
pub(super) fn name(line: u32) -> String {
    format!("line {line} of the chain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delivery_of_a_line_rings_the_next() {
        let rule = |made, rings, pending| check_line(3, made, rings, pending).map(|one| one.rule);
        assert_eq!(rule(5, 5, false), None);
        assert_eq!(rule(5, 4, false), Some(Rule::Lost));
        assert_eq!(rule(5, 6, false), Some(Rule::Invented));
        assert_eq!(rule(5, 5, true), Some(Rule::Lost));
    }
}
