// SPDX-License-Identifier: GPL-2.0-only

//! So many writes, and whether as many arrived.

use crate::{
    boot,
    doorbell::{Count, Doorbell},
    guest::Entry,
    layout,
    row::Row,
    vcpu::{Tsc, LIMIT},
    vm::Vm,
    wiring::{Address, Wired},
};
use anyhow::{ensure, Context, Result};
use std::{collections::HashMap, fmt, io, mem::size_of, sync::Arc, time::Duration};

/// Where threads run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpus {
    /// The vCPU that writes; anywhere if none.
    pub first: Option<usize>,
    /// The vCPU that is interrupted, if that is another one; and the thread in between, if there is
    /// one.
    pub other: Option<usize>,
}

/// A VM with some rows wired.
pub struct Rig {
    rows: Vec<Wired>,
    vm: Vm,
    doorbell: Option<Arc<Doorbell>>,
    begin: Tsc,
    limit: Duration,
}

/// What a run has found out.
#[derive(Clone, Debug)]
pub struct Run {
    /// How long each write took, in ticks of the guest's TSC, in order. What they are in ns,
    /// [`Rig::tsc_hz`] says.
    pub ticks: Vec<u64>,
    /// How often the line was rung; as often as the guest has written. None without a line.
    pub rings: Option<u64>,
    /// How often a vCPU came back to the VMM.
    pub returns: u64,
    /// How often vCPUs left the guest, if KVM says so.
    pub exits: Option<u64>,
}

impl Rig {
    /// Wires `rows`, for some of which it takes a context that has no lines yet.
    pub fn new(doorbell: Option<Doorbell>, rows: &[Row], cpus: Cpus) -> Result<Self> {
        let doorbell = doorbell.map(Arc::new);
        if let Some(doorbell) = &doorbell {
            doorbell.set_lines(rows.len().max(1) as u32)?;
        }
        let mut vm = Vm::new()?;
        let mut wired = Vec::new();
        for (at, &row) in (0..).zip(rows) {
            let row = Wired::new(row, at, &mut vm, doorbell.as_deref(), cpus)
                .with_context(|| row.to_string())?;
            wired.push(row);
        }

        // What the guest writes where KVM knows of nobody is for the VMM, which rings.
        let lines: HashMap<Address, u32> = wired
            .iter()
            .filter_map(|wired| Some((wired.address, wired.line?)))
            .collect();
        let ring = {
            let doorbell = doorbell.clone();
            move |address| {
                let doorbell = doorbell.as_ref().context("there is no doorbell")?;
                let line = lines.get(&address);
                doorbell.ring(*line.with_context(|| format!("nobody is at {address:x?}"))?)
            }
        };
        let ring = Arc::new(ring);
        vm.add_vcpu(cpus.first, ring.clone())?;
        if rows.iter().any(|row| row.is_for_two()) {
            vm.add_vcpu(cpus.other, ring)?;
        }
        let begin = vm.vcpu(0).tsc()?;
        Ok(Self {
            rows: wired,
            vm,
            doorbell,
            begin,
            limit: LIMIT,
        })
    }

    /// Gives up when nothing has happened for `limit`, instead of 20 s.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Has the guest write `n` times, at most [`layout::MOST_WRITES`], and checks that as many
    /// writes arrived.
    pub fn run(&mut self, row: Row, n: u32) -> Result<Run> {
        assert!((1..=layout::MOST_WRITES).contains(&n));
        let wired = self.rows.iter().find(|wired| wired.row == row);
        let wired = wired.with_context(|| format!("{row} is not wired"))?;
        self.run_wired(wired, n).with_context(|| row.to_string())
    }

    fn run_wired(&self, wired: &Wired, n: u32) -> Result<Run> {
        let exits = || self.vm.exits.as_ref().and_then(|exits| exits.count());
        let relayed = || wired.relay.as_ref().map(|relay| relay.seen());
        let (exits_before, relayed_before) = (exits(), relayed());
        let before = self.count(wired)?;

        let entry = wired.entry;
        if entry == Entry::Ask {
            // It does not matter whether it is there in time: an interrupt waits for it.
            self.vm
                .vcpu(1)
                .start(boot::registers(Entry::Answer, 1, n))?;
        }
        let mut regs = boot::registers(entry, 0, n);
        match wired.address {
            Address::Pio(port) => regs.r8 = port.into(),
            Address::Mmio(address) => regs.rsi = address,
        }
        let interrupts = || self.vm.interrupts();
        let interrupted = interrupts();
        self.vm.vcpu(0).start(regs)?;
        let ended = self.finish(wired);

        let is_circle = matches!(wired.row, Row::Circle { .. });
        let counts = Counts {
            writes: n,
            interrupts: is_circle.then(|| interrupts().wrapping_sub(interrupted)),
            line: before
                .zip(self.count(wired)?)
                .map(|(then, now)| now.since(then)),
            relayed: relayed().zip(relayed_before).map(|(now, then)| now - then),
        };
        let returns = ended.with_context(|| counts.to_string())?;
        counts.agree()?;
        came_back(wired.row, returns, n)?;
        let stamps = self.vm.stamps(0, entry.stamps(n))?;
        Ok(Run {
            ticks: entry.ticks(&stamps),
            rings: counts.line.map(|line| line.rings),
            returns,
            exits: exits().zip(exits_before).map(|(now, then)| now - then),
        })
    }

    /// Waits for the vCPUs; returns how often they came back to the VMM.
    fn finish(&self, wired: &Wired) -> Result<u64> {
        let happened = || {
            let line = self.count(wired).ok().flatten();
            u64::from(self.vm.interrupts()) + line.map_or(0, |line| line.rings)
        };
        let mut returns = self.vm.vcpu(0).finish(self.limit, happened)?;
        if wired.entry == Entry::Ask {
            returns += self.vm.vcpu(1).finish(self.limit, happened)?;
        }
        Ok(returns)
    }

    fn count(&self, wired: &Wired) -> Result<Option<Count>> {
        let both = self.doorbell.as_ref().zip(wired.line);
        both.map(|(doorbell, line)| doorbell.count(line))
            .transpose()
    }

    /// How often the guest's TSC ticks in a second of CLOCK_MONOTONIC, from when the rig was made
    /// to now. That should be some tenths of a second.
    pub fn tsc_hz(&self) -> Result<f64> {
        let now = self.vm.vcpu(0).tsc()?;
        let ticks = now.ticks.wrapping_sub(self.begin.ticks) as f64;
        Ok(ticks / (now.at - self.begin.at).as_secs_f64())
    }

    /// The same as KVM has it, in kHz.
    pub fn tsc_khz(&self) -> Option<u32> {
        self.vm.tsc_khz
    }
}

/// What was counted in a run.
#[derive(Clone, Copy, Debug)]
struct Counts {
    writes: u32,
    /// In a circle.
    interrupts: Option<u32>,
    line: Option<Count>,
    /// By a thread.
    relayed: Option<u64>,
}

impl Counts {
    /// Whether as many arrived as were sent. Where nobody waits for a delivery, it may be for more
    /// than one ring.
    fn agree(&self) -> Result<()> {
        let n = u64::from(self.writes);
        let line = self.line.is_none_or(|line| {
            let each = self.interrupts.is_none() || line.deliveries == n;
            line.rings == n && each && !line.pending
        });
        let all = line
            && self.interrupts.is_none_or(|count| count == self.writes)
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
        if let Some(relayed) = self.relayed {
            write!(f, "; the thread: {relayed}")?;
        }
        if let Some(interrupts) = self.interrupts {
            write!(f, "; {interrupts} interrupts")?;
        }
        Ok(())
    }
}

/// Whether writes went where they should: to the VMM, or not.
fn came_back(row: Row, returns: u64, n: u32) -> Result<()> {
    let expected = match row {
        Row::UserspacePio | Row::UserspaceMmio => n.into(),
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
                pending,
            })
        };
        let counts = |line, relayed, interrupts| Counts {
            writes: 7,
            line,
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
        assert!(!good(counts(line(8, 8, false), None, None)), "invented");
        assert!(!good(counts(line(6, 6, false), None, None)), "lost");
        assert!(!good(counts(line(7, 7, false), None, Some(8))));
        assert!(!good(counts(None, Some(6), Some(7))));
        let error = counts(None, Some(6), Some(7)).agree().unwrap_err();
        assert_eq!(error.to_string(), "7 writes; the thread: 6; 7 interrupts");
    }

    #[test]
    fn write_that_goes_the_wrong_way_is_noticed() {
        assert!(came_back(Row::UserspacePio, 7, 7).is_ok());
        assert!(came_back(Row::UserspacePio, 6, 7).is_err());
        assert!(came_back(Row::IoeventfdPio, 0, 7).is_ok());
        assert!(came_back(Row::IoeventfdPio, 7, 7).is_err());
    }
}
