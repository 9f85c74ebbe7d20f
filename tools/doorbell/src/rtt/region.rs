// SPDX-License-Identifier: GPL-2.0-only

//! Round trips that begin with a write to the bus.

use super::probe::{DoorbellPath, Probe};
use anyhow::{ensure, Context as _};
use doorbell::{Access, Context, EventFd, Region, Space, Target};
use std::{
    io,
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        Arc,
    },
    time::Duration,
};

/// Number of writes in one DOORBELL_BUS_WRITE.
pub(super) const BATCH: usize = 64;

/// Length of a register in bytes. The registers are adjacent, as a device's doorbells are.
const LENGTH: u32 = 4;
const VALUE: u32 = 1;

/// Base addresses for each kind of row: all of them can be in the same context.
pub(super) const ALONE: u64 = 0xfe00_0000;
pub(super) const LINE: u64 = 0xfe00_1000;
/// I/O ports, so that these regions are the only ones in their space.
pub(super) const MANY: u64 = 0xc000;
pub(super) const BURST: u64 = 0xd000;

/// A region, with its counts.
pub(super) struct Register {
    context: Arc<Context>,
    region: Region,
    /// The eventfd that the region signals, unless it rings a line.
    eventfd: Option<EventFd>,
    /// The sum of all values read from the eventfd.
    arrived: AtomicU64,
}

/// Counts of a region.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    /// Writes, as counted by the module.
    writes: u64,
    /// Signals, as counted by the reader of the eventfd, if there is one.
    arrived: Option<u64>,
}

impl Register {
    /// Creates a region at `addr` that signals an eventfd of its own, in the context of `path`.
    pub(super) fn with_eventfd(path: &DoorbellPath, addr: u64) -> anyhow::Result<Arc<Self>> {
        Self::new(path, Region::mmio(addr, LENGTH), Some(EventFd::new(0)?))
    }

    /// Unblocks a reader of the eventfd whose message was lost.
    pub(super) fn rescue(&self) {
        if let Some(eventfd) = &self.eventfd {
            let _ = eventfd.write(1);
        }
    }

    /// Creates [`BATCH`] regions in ports from `base` on, each with an eventfd of its own.
    pub(super) fn batch(path: &DoorbellPath, base: u64) -> anyhow::Result<Vec<Arc<Self>>> {
        let ports = (0..BATCH as u64).map(|at| Region::pio(base + 4 * at, LENGTH));
        ports
            .map(|region| Self::new(path, region, Some(EventFd::new(0)?)))
            .collect()
    }

    /// Creates [`BATCH`] regions in ports from `base` on that share one eventfd. The first one
    /// reads it.
    pub(super) fn burst(path: &DoorbellPath, base: u64) -> anyhow::Result<Vec<Arc<Self>>> {
        let eventfd = EventFd::new(0)?;
        let context = path.context();
        let others = (1..BATCH as u64).map(|at| Region::pio(base + 4 * at, LENGTH));
        let others = others.map(|region| {
            context.assign_region(&region, Target::eventfd(&eventfd))?;
            Ok(Arc::new(Self::assigned(path, region, None)))
        });
        let others = others.collect::<anyhow::Result<Vec<_>>>()?;
        let first = Self::new(path, Region::pio(base, LENGTH), Some(eventfd))?;
        Ok([vec![first], others].concat())
    }

    fn new(
        path: &DoorbellPath,
        region: Region,
        eventfd: Option<EventFd>,
    ) -> anyhow::Result<Arc<Self>> {
        let target = match &eventfd {
            Some(eventfd) => Target::eventfd(eventfd),
            None => Target::line(path.line),
        };
        path.context().assign_region(&region, target)?;
        Ok(Arc::new(Self::assigned(path, region, eventfd)))
    }

    fn assigned(path: &DoorbellPath, region: Region, eventfd: Option<EventFd>) -> Self {
        Self {
            context: path.context().clone(),
            region,
            eventfd,
            arrived: AtomicU64::new(0),
        }
    }

    /// Returns true if the region has an eventfd to read.
    pub(super) fn is_read(&self) -> bool {
        self.eventfd.is_some()
    }

    /// Creates a region at `addr` that rings the line of `path`.
    pub(super) fn with_line(path: &DoorbellPath, addr: u64) -> anyhow::Result<Arc<Self>> {
        Self::new(path, Region::mmio(addr, LENGTH), None)
    }

    /// Writes to the region.
    #[inline]
    pub(super) fn write(&self) -> io::Result<()> {
        self.context
            .pwrite(self.region.addr, &VALUE.to_ne_bytes())
            .map_err(io::Error::other)
    }

    /// Waits for a signal.
    #[inline]
    fn read(&self) -> io::Result<()> {
        let Some(eventfd) = &self.eventfd else {
            return Ok(());
        };
        let count = eventfd.read()?;
        // Only one thread reads.
        self.arrived
            .store(self.arrived.load(Relaxed) + count, Relaxed);
        Ok(())
    }

    /// Returns the counts of each of `registers`, which are all in the same context.
    pub(super) fn counts(registers: &[Arc<Self>]) -> anyhow::Result<Vec<Counts>> {
        let Some(context) = registers.first().map(|register| &register.context) else {
            return Ok(Vec::new());
        };
        let listed = context.regions()?;
        let counts = |register: &Arc<Self>| {
            let listed = listed.iter().find(|info| info.region == register.region);
            let info = listed.with_context(|| format!("{} is not listed", register.region))?;
            let arrived = match &register.eventfd {
                None => None,
                // A signal that is still in the eventfd has arrived as well, and is spurious.
                Some(eventfd) => Some(
                    register.arrived.load(Relaxed)
                        + match eventfd.wait(Duration::ZERO)? {
                            true => eventfd.count()?,
                            false => 0,
                        },
                ),
            };
            Ok(Counts {
                writes: info.writes,
                arrived,
            })
        };
        registers.iter().map(counts).collect()
    }
}

/// Checks that a region got `trips` writes, and its eventfd `signals` signals.
pub(super) fn agree(before: Counts, after: Counts, trips: u64, signals: u64) -> anyhow::Result<()> {
    let writes = after.writes - before.writes;
    let arrived = after.arrived.zip(before.arrived).map(|(a, b)| a - b);
    ensure!(
        writes == trips && arrived.is_none_or(|arrived| arrived == signals),
        "{trips} writes, but the region counted {writes}, and {} signals of {signals} arrived: \
         please report this",
        arrived.map_or("no".into(), |arrived| arrived.to_string()),
    );
    Ok(())
}

/// One thread: writes to a region, then reads its eventfd.
pub(super) struct Alone(pub(super) Arc<Register>);

impl Probe for Alone {
    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.0.write()?;
        self.0.read()
    }
}

/// One thread: writes to each of many regions by one call, then reads the eventfd of each region
/// that has one.
pub(super) struct Batch {
    context: Arc<Context>,
    accesses: Vec<Access>,
    registers: Vec<Arc<Register>>,
}

impl Batch {
    pub(super) fn new(registers: &[Arc<Register>]) -> Self {
        let access = |register: &Arc<Register>| {
            Access::new(Space::Pio, register.region.addr, LENGTH, VALUE.into())
        };
        Self {
            context: registers[0].context.clone(),
            accesses: registers.iter().map(access).collect(),
            registers: registers.to_vec(),
        }
    }
}

impl Probe for Batch {
    fn trips(&self) -> u64 {
        self.accesses.len() as u64
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        let done = self.context.write_bus(&self.accesses);
        let done = done.map_err(io::Error::other)?;
        if done != self.accesses.len() {
            return Err(io::Error::other(format!("{done} writes were carried out")));
        }
        self.registers
            .iter()
            .try_for_each(|register| register.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_to_agree() {
        let counts = |writes, arrived| Counts { writes, arrived };
        let before = counts(10, Some(20));
        let check = |after| agree(before, after, 7, 7);
        assert!(check(counts(17, Some(27))).is_ok());
        let lost = check(counts(17, Some(26))).unwrap_err().to_string();
        assert!(lost.contains("6 signals of 7"), "{lost}");
        assert!(check(counts(17, Some(28))).is_err(), "spurious");
        assert!(check(counts(16, Some(27))).is_err(), "not counted");
        // The counts of the line show the rest.
        assert!(agree(counts(1, None), counts(8, None), 7, 0).is_ok());
        assert!(agree(counts(1, None), counts(9, None), 7, 0).is_err());
        // All signals of a burst come from one eventfd.
        let burst = |after| agree(before, after, 7, 70);
        assert!(burst(counts(17, Some(90))).is_ok());
        assert!(burst(counts(17, Some(27))).is_err());
    }
}
