// SPDX-License-Identifier: GPL-2.0-only

//! The lines of a peer's vectors.

use super::protocol::SharedFd;
use crate::explain;
use doorbell::{Context, EventFd, LineQuery, LineSet, MaskReasons};
use std::sync::Arc;

/// The two eventfds of a vector.
pub struct Ends {
    /// The line's irqfd, to which other peers write.
    pub ring: Arc<EventFd>,
    /// The line's trigger, on which the peer itself listens.
    pub deliver: Arc<EventFd>,
}

impl Ends {
    /// Creates the eventfds of a vector.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            ring: Arc::new(EventFd::non_blocking(false)?),
            deliver: Arc::new(EventFd::non_blocking(false)?),
        })
    }
}

/// The lines of a peer's vectors (its wires), from its arrival to its departure.
pub struct Wires {
    context: Arc<Context>,
    first: u32,
    wires: Vec<Wire>,
    /// The lines stay assigned on drop.
    kept: bool,
}

struct Wire {
    ends: Ends,
    /// The counts of the line before the peer came.
    before: LineQuery,
}

/// The state of a line, and its counts since the peer came.
#[derive(Debug, Default, PartialEq)]
pub struct Since {
    /// The present state of the line, with its own counts.
    pub line: LineQuery,
    pub rings: u64,
    pub deliveries: u64,
    pub coalesced: u64,
    pub dropped: u64,
    /// The number of deliveries that the peer's side has not consumed yet.
    pub untaken: u64,
}

impl Since {
    /// Subtracts the counts of `before` from those of `line`.
    ///
    /// A message that was pending before may be delivered since. So the number of coalesced rings
    /// does not follow from the other differences. Counters wrap around, as those of the module.
    fn new(line: LineQuery, before: &LineQuery, untaken: u64) -> Self {
        Self {
            rings: line.rings.wrapping_sub(before.rings),
            deliveries: line.deliveries.wrapping_sub(before.deliveries),
            coalesced: line.coalesced().wrapping_sub(before.coalesced()),
            dropped: line.dropped.wrapping_sub(before.dropped),
            line,
            untaken,
        }
    }
}

impl Wires {
    /// Assigns the lines from `first` on, one for each of `ends`.
    pub fn new(context: Arc<Context>, first: u32, ends: Vec<Ends>) -> anyhow::Result<Self> {
        let mut wires = Self {
            context,
            first,
            wires: Vec::with_capacity(ends.len()),
            kept: false,
        };
        // While they were free, other processes with the context may have changed the lines.
        wires.reset(ends.len() as u32)?;
        for (line, ends) in (first..).zip(ends) {
            wires.add(line, ends)?;
        }
        Ok(wires)
    }

    /// Takes over lines that another process has assigned. Counts start from now.
    pub fn adopt(context: Arc<Context>, first: u32, ends: Vec<Ends>) -> anyhow::Result<Self> {
        let wire = |(line, ends)| {
            let before = context.query(line)?;
            Ok(Wire { ends, before })
        };
        let wires = (first..)
            .zip(ends)
            .map(wire)
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            context,
            first,
            wires,
            kept: true,
        })
    }

    /// Sets whether the lines stay assigned when this is dropped.
    pub fn keep(&mut self, kept: bool) {
        self.kept = kept;
    }

    /// Drops the messages of `vectors` lines, and ends all masks and limits that an operator has set.
    fn reset(&self, vectors: u32) -> doorbell::Result {
        let lines = LineSet::range(self.first..self.first + vectors);
        self.context.mask_lines(&lines)?;
        self.context.clear_lines(&lines)?;
        for line in lines.iter() {
            if self.context.query(line)?.moderated {
                self.context.moderate(line, None)?;
            }
        }
        self.context.unmask_lines_for(&lines, MaskReasons::ALL)?;
        Ok(())
    }

    fn add(&mut self, line: u32, ends: Ends) -> anyhow::Result<()> {
        let before = self.context.query(line)?;
        self.context.assign_trigger(&*ends.deliver, line)?;
        if let Err(error) = self.context.assign_irqfd(&*ends.ring, line) {
            self.context.deassign_trigger(&*ends.deliver, line)?;
            return Err(error.into());
        }
        self.wires.push(Wire { ends, before });
        Ok(())
    }

    /// Returns the eventfds to which other peers write, by vector.
    pub fn rings(&self) -> impl Iterator<Item = SharedFd> + '_ {
        self.wires
            .iter()
            .map(|wire| wire.ends.ring.clone() as SharedFd)
    }

    /// Returns the eventfds on which the peer itself listens, by vector.
    pub fn deliveries(&self) -> impl Iterator<Item = SharedFd> + '_ {
        self.wires
            .iter()
            .map(|wire| wire.ends.deliver.clone() as SharedFd)
    }

    /// Returns the state of each line and its counts since the peer came.
    pub fn query(&self) -> anyhow::Result<Vec<Since>> {
        let query = |(line, wire): (u32, &Wire)| {
            let now = self.context.query(line)?;
            let untaken = match self.context.peek_eventfd(&*wire.ends.deliver) {
                Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => {
                    wire.ends.deliver.count()?
                }
                result => result?,
            };
            Ok(Since::new(now, &wire.before, untaken))
        };
        (self.first..).zip(&self.wires).map(query).collect()
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let lines = LineSet::range(self.first..self.first + self.wires.len() as u32);
        // First, so that nothing is delivered while they are deassigned one by one.
        let mut results = vec![self.context.mask_lines(&lines).map(drop)];
        for (line, wire) in (self.first..).zip(&self.wires) {
            results.push(self.context.deassign_irqfd(&*wire.ends.ring, line));
            results.push(self.context.deassign_trigger(&*wire.ends.deliver, line));
        }
        results.push(self.reset(self.wires.len() as u32));
        for error in results.into_iter().filter_map(Result::err) {
            // The previous server was killed before it assigned this one.
            if error.errno() != Some(libc::ENOENT) {
                crate::note!("{}", explain(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_begin_with_a_line_that_was_pending() {
        let before = LineQuery {
            pending: true,
            rings: 5,
            deliveries: 2,
            dropped: 1,
            ..Default::default()
        };
        let since = Since::new(before, &before, 0);
        assert_eq!(
            since,
            Since {
                line: before,
                ..Default::default()
            }
        );
        // One more ring joins the message, which is delivered then.
        let now = LineQuery {
            pending: false,
            rings: 6,
            deliveries: 3,
            ..before
        };
        let since = Since::new(now, &before, 1);
        assert_eq!(
            (
                since.rings,
                since.deliveries,
                since.coalesced,
                since.dropped
            ),
            (1, 1, 1, 0)
        );
        let wrapped = Since::new(LineQuery::default(), &now, 0);
        assert_eq!(wrapped.rings, 6_u64.wrapping_neg());
    }
}
