// SPDX-License-Identifier: GPL-2.0-only

//! The test bench: makes the guest write, and checks that each write arrived.

use crate::{
    guest::{self, Entry},
    layout,
    scenario::Scenario,
    vcpu::{Access, Tsc, LIMIT},
    vm::Vm,
    wiring::{Address, Wired},
};
use anyhow::{bail, ensure, Context as _, Result};
use doorbell::{Context, LineQuery};
use std::{
    collections::HashMap,
    fmt, io,
    mem::size_of,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

/// The CPUs of the threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpus {
    /// CPU of the vCPU that writes; `None`: any.
    pub first: Option<usize>,
    /// CPU of the vCPU that is interrupted, if it is another one, and of the thread in between.
    pub other: Option<usize>,
}

/// A VM with the eventfds of some scenarios connected.
pub struct Testbench {
    scenarios: Vec<Wired>,
    vm: Vm,
    doorbell: Option<Arc<Context>>,
    begin: Tsc,
    limit: Duration,
}

/// The results of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Duration of each write, in order, in ticks of the guest's TSC ([`Testbench::tsc_hz`]).
    pub ticks: Vec<u64>,
    /// Rings of the line, one for each write. `None` without a line.
    pub rings: Option<u64>,
    /// Returns of a vCPU to the VMM.
    pub returns: u64,
    /// Exits of all vCPUs, if KVM reports them.
    pub exits: Option<u64>,
}

impl Testbench {
    /// Connects the eventfds of `scenarios`. Some of them need a context, which has no lines yet.
    pub fn new(doorbell: Option<Context>, scenarios: &[Scenario], cpus: Cpus) -> Result<Self> {
        let doorbell = doorbell.map(Arc::new);
        if let Some(doorbell) = &doorbell {
            doorbell.set_lines(scenarios.len().max(1) as u32)?;
        }
        let mut vm = Vm::new(&guest::program())?;
        // A write to an address without an ioeventfd returns to the VMM, which rings the line.
        let lines = Arc::new(OnceLock::<HashMap<Address, u32>>::new());
        let ring = {
            let (doorbell, lines) = (doorbell.clone(), lines.clone());
            move |access: Access<'_>| {
                let address = match access {
                    Access::PortWrite(port, _) => Address::Pio(port),
                    Access::MmioWrite(address, _) => Address::Mmio(address),
                    Access::MmioRead(address, _) => bail!("a read of {address:#x}"),
                };
                let doorbell = doorbell.as_ref().context("there is no doorbell")?;
                let line = lines.get().and_then(|lines| lines.get(&address));
                doorbell.ring(*line.with_context(|| format!("no line is at {address:x?}"))?)?;
                Ok(())
            }
        };
        let ring = Arc::new(ring);
        vm.add_vcpu(cpus.first, ring.clone())?;
        if scenarios.iter().any(|scenario| scenario.is_for_two()) {
            vm.add_vcpu(cpus.other, ring)?;
        }
        // Before, arm64 has neither routes nor irqfds.
        vm.enable_interrupts()?;
        let mut wired = Vec::new();
        for (at, &scenario) in (0..).zip(scenarios) {
            let connected = Wired::new(scenario, at, &mut vm, doorbell.as_ref(), cpus)
                .with_context(|| scenario.to_string())?;
            wired.push(connected);
        }
        let addresses = wired
            .iter()
            .filter_map(|wired| Some((wired.address, wired.line?)));
        // The guest does not run yet.
        let _ = lines.set(addresses.collect());
        let begin = vm.vcpu(0).tsc()?;
        Ok(Self {
            scenarios: wired,
            vm,
            doorbell,
            begin,
            limit: LIMIT,
        })
    }

    /// Sets the time without any event after which a run fails. The default is 20 s.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Makes the guest write `n` times, at most [`layout::MOST_WRITES`], and checks that each write
    /// arrived.
    pub fn run(&mut self, scenario: Scenario, n: u32) -> Result<Run> {
        assert!((1..=layout::MOST_WRITES).contains(&n));
        let wired = self
            .scenarios
            .iter()
            .find(|wired| wired.scenario == scenario);
        let wired = wired.with_context(|| format!("{scenario} is not connected"))?;
        self.run_wired(wired, n)
            .with_context(|| scenario.to_string())
    }

    fn run_wired(&self, wired: &Wired, n: u32) -> Result<Run> {
        let exits = || self.vm.exits.as_ref().and_then(|exits| exits.count());
        let relayed = || wired.relay.as_ref().map(|relay| relay.seen());
        let (exits_before, relayed_before) = (exits(), relayed());
        let before = self.count(wired)?;

        let entry = wired.entry;
        if entry == Entry::Ping {
            // The other vCPU may start late: an interrupt stays pending until then.
            let regs = guest::registers(Entry::Pong, 1, n, None);
            self.vm.vcpu(1).start(regs)?;
        }
        let regs = guest::registers(entry, 0, n, Some(wired.address));
        let interrupts = || self.vm.interrupts();
        let interrupted = interrupts();
        self.vm.vcpu(0).start(regs)?;
        let ended = self.finish(wired);

        let ended = ended.and_then(|returns| self.settle(wired).map(|()| returns));
        let is_circle = wired.scenario.is_circle();
        let mut counts = Counts {
            writes: n,
            interrupts: is_circle.then(|| interrupts().wrapping_sub(interrupted)),
            line: before
                .zip(self.count(wired)?)
                .map(|(then, now)| now.since(then)),
            acks: None,
            relayed: relayed().zip(relayed_before).map(|(now, then)| now - then),
        };
        if wired.scenario == Scenario::Level {
            counts.acks = counts.line.map(|line| line.acks);
        }
        let returns = ended.with_context(|| counts.to_string())?;
        counts.agree()?;
        came_back(wired.scenario, returns, n)?;
        let stamps = self.vm.stamps(0, entry.stamps(n))?;
        Ok(Run {
            ticks: entry.ticks(&stamps),
            rings: counts.line.map(|line| line.rings),
            returns,
            exits: exits().zip(exits_before).map(|(now, then)| now - then),
        })
    }

    /// Waits for the vCPUs, and returns the number of their returns to the VMM.
    fn finish(&self, wired: &Wired) -> Result<u64> {
        let happened = || {
            let line = self.count(wired).ok().flatten();
            u64::from(self.vm.interrupts()) + line.map_or(0, |line| line.rings)
        };
        let mut returns = self.vm.vcpu(0).finish(self.limit, happened)?;
        if wired.entry == Entry::Ping {
            returns += self.vm.vcpu(1).finish(self.limit, happened)?;
        }
        Ok(returns)
    }

    /// Waits until the end of the guest's last interrupt has come back to the line.
    fn settle(&self, wired: &Wired) -> Result<()> {
        let both = self.doorbell.as_ref().zip(wired.line);
        let Some((doorbell, line)) = both.filter(|_| wired.scenario.ends_interrupts()) else {
            return Ok(());
        };
        let start = Instant::now();
        loop {
            let now = doorbell.query(line)?;
            if !now.masked && !now.asserted {
                return Ok(());
            }
            ensure!(
                start.elapsed() < self.limit,
                "the end of the last interrupt has not come back for {} s",
                self.limit.as_secs()
            );
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn count(&self, wired: &Wired) -> Result<Option<Count>> {
        let both = self.doorbell.as_ref().zip(wired.line);
        let count = |(doorbell, line): (&Arc<Context>, _)| doorbell.query(line).map(Count::from);
        Ok(both.map(count).transpose()?)
    }

    /// Returns the frequency of the guest's TSC in Hz, measured with CLOCK_MONOTONIC since the testbench
    /// was created. That should be some tenths of a second ago.
    pub fn tsc_hz(&self) -> Result<f64> {
        let now = self.vm.vcpu(0).tsc()?;
        let ticks = now.ticks.wrapping_sub(self.begin.ticks) as f64;
        Ok(ticks / (now.at - self.begin.at).as_secs_f64())
    }

    /// Returns the frequency of the guest's TSC in kHz, as KVM reports it.
    pub fn tsc_khz(&self) -> Option<u32> {
        self.vm.tsc_khz
    }
}

/// The counters of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    rings: u64,
    deliveries: u64,
    acks: u64,
    pending: bool,
}

impl Count {
    /// Returns the counters since `then`.
    fn since(self, then: Self) -> Self {
        Self {
            rings: self.rings - then.rings,
            deliveries: self.deliveries - then.deliveries,
            acks: self.acks - then.acks,
            pending: self.pending,
        }
    }
}

impl From<LineQuery> for Count {
    fn from(line: LineQuery) -> Self {
        Self {
            rings: line.rings,
            deliveries: line.deliveries,
            acks: line.acks,
            pending: line.pending,
        }
    }
}

/// The counters of a run.
#[derive(Clone, Copy, Debug)]
struct Counts {
    writes: u32,
    /// Interrupts of the guest, if the scenario is a circle.
    interrupts: Option<u32>,
    line: Option<Count>,
    /// Acks of the line, if the guest's ends of interrupts ack it.
    acks: Option<u64>,
    /// Signals that a thread has relayed.
    relayed: Option<u64>,
}

impl Counts {
    /// Checks that each write arrived. Unless the guest waits for each delivery, one delivery may be
    /// for several rings.
    fn agree(&self) -> Result<()> {
        let n = u64::from(self.writes);
        let line = self.line.is_none_or(|line| {
            let each = self.interrupts.is_none() || line.deliveries == n;
            line.rings == n && each && !line.pending
        });
        let all = line
            && self.interrupts.is_none_or(|count| count == self.writes)
            && self.acks.is_none_or(|count| count == n)
            && self.relayed.is_none_or(|count| count == n);
        ensure!(all, "{self}");
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes", self.writes)?;
        if let Some(line) = self.line {
            let pending = if line.pending { ", one pending" } else { "" };
            let (rings, deliveries) = (line.rings, line.deliveries);
            write!(
                f,
                "; the line: {rings} rings, {deliveries} deliveries{pending}"
            )?;
        }
        if let Some(acks) = self.acks {
            write!(f, "; {acks} acks")?;
        }
        if let Some(relayed) = self.relayed {
            write!(f, "; the thread: {relayed}")?;
        }
        if let Some(interrupts) = self.interrupts {
            write!(f, "; {interrupts} interrupts")?;
        }
        Ok(())
    }
}

/// Checks that all writes of the scenario, or none of them, returned to the VMM.
fn came_back(scenario: Scenario, returns: u64, n: u32) -> Result<()> {
    let expected = match scenario {
        Scenario::UserspacePio | Scenario::UserspaceMmio => n.into(),
        _ => 0,
    };
    ensure!(
        returns == expected,
        "{n} writes, of which the VMM saw {returns} instead of {expected}"
    );
    Ok(())
}

/// Pins this thread to `cpu`.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    ensure!(cpu < libc::CPU_SETSIZE as usize, "there is no CPU {cpu}");
    // SAFETY: A set of no CPUs is all zeroes; `cpu` is within it; the kernel reads the set.
    let ret = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    match ret {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).with_context(|| format!("run on CPU {cpu}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_to_agree() {
        let line = |rings, deliveries, pending| {
            Some(Count {
                rings,
                deliveries,
                acks: 0,
                pending,
            })
        };
        let counts = |line, relayed, interrupts| Counts {
            writes: 7,
            line,
            acks: None,
            relayed,
            interrupts,
        };
        let good = |counts: Counts| counts.agree().is_ok();
        assert!(good(counts(None, None, None)));
        assert!(good(counts(line(7, 6, false), None, None)));
        assert!(good(counts(line(7, 7, false), None, Some(7))));
        assert!(good(counts(None, Some(7), Some(7))));
        assert!(!good(counts(line(7, 6, false), None, Some(7))));
        assert!(!good(counts(line(7, 7, true), None, None)));
        assert!(!good(counts(line(8, 8, false), None, None)), "spurious");
        assert!(!good(counts(line(6, 6, false), None, None)), "lost");
        assert!(!good(counts(line(7, 7, false), None, Some(8))));
        assert!(!good(counts(None, Some(6), Some(7))));
        let acked = |acks| Counts {
            acks: Some(acks),
            ..counts(line(7, 7, false), None, Some(7))
        };
        assert!(good(acked(7)));
        assert!(!good(acked(6)));
        let error = counts(None, Some(6), Some(7)).agree().unwrap_err();
        assert_eq!(error.to_string(), "7 writes; the thread: 6; 7 interrupts");
    }

    #[test]
    fn write_that_goes_the_wrong_way_is_noticed() {
        assert!(came_back(Scenario::UserspacePio, 7, 7).is_ok());
        assert!(came_back(Scenario::UserspacePio, 6, 7).is_err());
        assert!(came_back(Scenario::IoeventfdPio, 0, 7).is_ok());
        assert!(came_back(Scenario::IoeventfdPio, 7, 7).is_err());
    }
}
