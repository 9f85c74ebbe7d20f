// SPDX-License-Identifier: GPL-2.0-only

//! Threads that ring.

use super::{
    bus::UniqueValues,
    kind::Kind,
    pool::{IssuedCounts, Worker, WorkerPool},
    Violation,
};
use crate::{random::Random, sys::Aio};
use doorbell::LineSet;
use std::{os::fd::AsFd, sync::Arc};

/// A worker that rings all lines with producers, in all ways.
pub(super) struct Producer {
    pool: Arc<WorkerPool>,
    number: usize,
    random: Random,
    lines: Vec<usize>,
    /// None if the kernel does not support it.
    aio: Option<Aio>,
    /// The values that it writes to the bus.
    values: UniqueValues,
}

/// The way in which a producer rings.
#[derive(Clone, Copy)]
enum RingMethod {
    Ioctl,
    Irqfd,
    ChurnIrqfd,
    Kernel,
    Bus,
}

impl Producer {
    pub(super) fn new(pool: Arc<WorkerPool>, number: usize, random: Random) -> Self {
        Self {
            lines: pool.topology.lines_with(Kind::rung),
            pool,
            number,
            random,
            aio: Aio::new().ok(),
            values: UniqueValues::new(number),
        }
    }

    fn method(&mut self, kind: Kind) -> RingMethod {
        let method = match self.random.below(20) {
            0..8 => RingMethod::Ioctl,
            8 if self.aio.is_some() => RingMethod::Kernel,
            16..20 => RingMethod::Bus,
            9..12 if matches!(kind, Kind::Semaphore | Kind::Merging) => RingMethod::ChurnIrqfd,
            _ => RingMethod::Irqfd,
        };
        if kind == Kind::Ioctl {
            RingMethod::Ioctl
        } else {
            method
        }
    }
}

impl Worker for Producer {
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let index = self.random.pick(&self.lines);
        let topology = &self.pool.topology;
        if self.random.one_in(16) {
            return topology.paired_regions.write(&mut self.random);
        }
        if self.random.one_in(16) {
            return topology.echo.ring_wait(&mut self.random);
        }
        if self.random.one_in(16) {
            return topology.waited.run(&mut self.random);
        }
        if self.random.one_in(32) {
            return topology.counting.ring(&mut self.random);
        }
        if self.random.one_in(128) {
            return topology.relay_chain.ring();
        }
        let kind = topology.lines[index].kind;
        let method = self.method(kind);
        let burst = 1 + self.random.below(32);
        let topology = &self.pool.topology;
        let (line, context) = (&topology.lines[index], topology.context(index));
        let issued = &mut counts.lines[index];
        match (method, &line.irqfd) {
            (RingMethod::Bus, _) if topology.bus.has_region(index) => {
                let mut left = burst;
                while left > 0 {
                    let batch = (left > 8).then(|| 1 + self.random.below(left));
                    topology.announce_ring(index, self.number);
                    let taken = topology
                        .bus
                        .write(context, index, &mut self.values, batch)?;
                    issued.writes += taken;
                    if taken == 0 {
                        // Like a VMM, which handles a write that no region accepts.
                        context.ring(line.number).map(|ring| issued.rung(ring))?;
                    }
                    left -= (taken as usize).max(1);
                }
            }
            (RingMethod::ChurnIrqfd, _) => {
                for _ in 0..burst / 4 {
                    let eventfd = &line.churn_irqfds[self.random.below(line.churn_irqfds.len())];
                    if kind == Kind::Semaphore {
                        let ones = 1 + self.random.below(8) as u64 / 7;
                        eventfd.write(ones)?;
                        issued.stored += ones;
                    } else {
                        eventfd.write(1)?;
                        issued.merging += 1;
                    }
                }
            }
            (RingMethod::Irqfd, Some(irqfd)) => {
                for at in 0..burst {
                    topology.announce_ring(index, self.number);
                    irqfd.write(1 + at as u64)?;
                    issued.signals += 1;
                }
                // A write of zero is no signal.
                irqfd.write(0)?;
            }
            (RingMethod::Kernel, Some(irqfd)) => {
                if let Some(aio) = &mut self.aio {
                    let n = burst.min(Aio::MOST);
                    topology.announce_ring(index, self.number);
                    aio.signal(irqfd.as_fd(), n)?;
                    issued.signals += n as u64;
                }
            }
            _ if self.random.one_in(4) => {
                let set = LineSet::from_iter([line.number]);
                for _ in 0..burst {
                    topology.announce_ring(index, self.number);
                    match context.ring_lines(&set)?.contains(line.number) {
                        true => issued.delivered += 1,
                        false => issued.joined += 1,
                    }
                }
            }
            _ => {
                for _ in 0..burst {
                    topology.announce_ring(index, self.number);
                    context.ring(line.number).map(|ring| issued.rung(ring))?;
                }
            }
        }
        Ok(())
    }
}
