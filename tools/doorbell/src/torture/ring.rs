// SPDX-License-Identifier: GPL-2.0-only

//! Threads that ring.

use super::{
    bus::Numbers,
    crew::{Crew, Tally, Worker},
    world::Kind,
    Violation,
};
use crate::{random::Random, sys::Aio};
use std::{os::fd::AsFd, sync::Arc};

/// Rings all lines that anybody may ring, in all ways.
pub(super) struct Producer {
    crew: Arc<Crew>,
    number: usize,
    random: Random,
    lines: Vec<usize>,
    /// If this kernel has it.
    aio: Option<Aio>,
    /// What is written to the bus.
    values: Numbers,
}

/// How a producer rings.
#[derive(Clone, Copy)]
enum Way {
    Ioctl,
    Irqfd,
    Guest,
    Kernel,
    Bus,
}

impl Producer {
    pub(super) fn new(crew: Arc<Crew>, number: usize, random: Random) -> Self {
        Self {
            lines: crew.world.which(Kind::rung),
            crew,
            number,
            random,
            aio: Aio::new().ok(),
            values: Numbers::new(number),
        }
    }

    fn way(&mut self, kind: Kind) -> Way {
        let way = match self.random.below(20) {
            0..8 => Way::Ioctl,
            8 if self.aio.is_some() => Way::Kernel,
            16..20 => Way::Bus,
            9..12 if matches!(kind, Kind::Semaphore | Kind::Merging) => Way::Guest,
            _ => Way::Irqfd,
        };
        if kind == Kind::Ioctl {
            Way::Ioctl
        } else {
            way
        }
    }
}

impl Worker for Producer {
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let index = self.random.pick(&self.lines);
        let world = &self.crew.world;
        if self.random.one_in(16) {
            return world.hall.knock(&mut self.random);
        }
        if self.random.one_in(128) {
            return world.chain.ring();
        }
        let kind = world.lines[index].kind;
        let way = self.way(kind);
        let burst = 1 + self.random.below(32);
        let world = &self.crew.world;
        let (line, context) = (&world.lines[index], world.context(index));
        let done = &mut tally.lines[index];
        match (way, &line.irqfd) {
            (Way::Bus, _) if world.bus.has(index) => {
                let mut left = burst;
                while left > 0 {
                    let batch = (left > 8).then(|| 1 + self.random.below(left));
                    world.about_to_ring(index, self.number);
                    let taken = world.bus.ring(context, index, &mut self.values, batch)?;
                    done.writes += taken;
                    if taken == 0 {
                        // As who drives a bus would: what no region takes is their own to do.
                        context.ring(line.number).map(|ring| done.rung(ring))?;
                    }
                    left -= (taken as usize).max(1);
                }
            }
            (Way::Guest, _) => {
                for _ in 0..burst / 4 {
                    let eventfd = &line.guests[self.random.below(line.guests.len())];
                    if kind == Kind::Semaphore {
                        let ones = 1 + self.random.below(8) as u64 / 7;
                        eventfd.write(ones)?;
                        done.stored += ones;
                    } else {
                        eventfd.write(1)?;
                        done.merging += 1;
                    }
                }
            }
            (Way::Irqfd, Some(irqfd)) => {
                for at in 0..burst {
                    world.about_to_ring(index, self.number);
                    irqfd.write(1 + at as u64)?;
                    done.signals += 1;
                }
                // Nothing is no signal.
                irqfd.write(0)?;
            }
            (Way::Kernel, Some(irqfd)) => {
                if let Some(aio) = &mut self.aio {
                    let n = burst.min(Aio::MOST);
                    world.about_to_ring(index, self.number);
                    aio.signal(irqfd.as_fd(), n)?;
                    done.signals += n as u64;
                }
            }
            _ => {
                for _ in 0..burst {
                    world.about_to_ring(index, self.number);
                    context.ring(line.number).map(|ring| done.rung(ring))?;
                }
            }
        }
        Ok(())
    }
}
