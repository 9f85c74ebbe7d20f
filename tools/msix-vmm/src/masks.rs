// SPDX-License-Identifier: GPL-2.0-only

//! `msix-vmm masks`: checks that nothing is lost or spurious while a guest masks MSI-X vectors.

use crate::{
    bench::{Bench, VECTORS},
    function::Function,
    irqfds::{Irqfds, Pba},
    lines::Lines,
    mutant::{Broken, Mutant},
    report::{Report, Results},
    scenario::{Counts, Scenario},
};
use anyhow::{Context as _, Result};
use clap::Args;
use doorbell::{Context, DEVICE};
use kvm_rtt::Vm;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

/// The help of `msix-vmm masks`.
pub const HELP: &str = "\
Boot a guest that masks, unmasks and moves MSI-X vectors while another thread
signals their eventfds. Compare the signals of the device, the counters of the
lines, and the interrupts and pending bits that the guest has seen.

The first table is of a VMM whose vectors are lines of /dev/doorbell. The second
one compares it with VMMs that mask a vector by KVM_IRQFD: they deassign its
irqfd, and assign it to unmask. Such a VMM answers a read of the pending bits
(PBA) with zero; or it polls the eventfd; or it reads the eventfd, and signals
it again at the unmask.";

const AFTER: &str = "\
Scenarios:
  pending        Signal a masked vector. One interrupt must follow the unmask
  quiet          Unmask a vector that nothing has signalled
  function       Mask the function and vectors, in both orders
  move-masked    Move a masked vector to another vCPU or interrupt vector
  move-unmasked  The same without a mask
  storm          Mask and unmask in a loop, while the device signals
  storm-other    The same with a vector of the other vCPU
  automask       Mask in each delivery, unmask in the interrupt handler

Columns:
  signals        Writes of the device to the eventfd
  delivered      Deliveries of the lines; each interrupts the guest, unless its
                 APIC has the same interrupt already
  coalesced      The difference of signals and deliveries: signals that joined
                 the delivery of another signal
  PBA set        Pending bits that the guest read as 1
  PBA read       Pending bits that the guest read
  wrong          Pending bits that were not what the device had done
  lost           Signals on a quiet line to which the guest got no interrupt
  spurious       Interrupts while masked, without a signal, or two for one
  us             Microseconds of a mask and an unmask of an idle vector

Each VMM of the second table has a row with the sum of those scenarios that all
VMMs have.

Exit status: 0 if all counts of the lines agree, 1 if they do not, 2 after an
error. Faults of the VMMs without /dev/doorbell do not change it.

Examples:
  msix-vmm masks
  msix-vmm masks --signals 1000000 --scenario storm --scenario storm-other
  msix-vmm masks --json | jq '.irqfds[] | {name, pair_us}'
  msix-vmm masks --json | jq '.doorbell.scenarios[].faults'
  msix-vmm masks --without-irqfds --mutant late-route; echo $?";

/// The arguments of `msix-vmm masks`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct Masks {
    /// Signal about N times in each scenario
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(8..=9_000_000))]
    signals: u64,
    /// Run only SCENARIO; can be given several times
    #[arg(long, value_name = "SCENARIO", hide_possible_values = true)]
    scenario: Vec<Scenario>,
    /// Measure the time of N masks and unmasks, 20 times; 0: do not measure
    #[arg(long, value_name = "N", default_value_t = 200)]
    pairs: u32,
    /// Test the lines only
    #[arg(long)]
    without_irqfds: bool,
    /// Break the VMM or the device: the exit status must be 1
    #[arg(long, value_name = "DEFECT")]
    mutant: Option<Mutant>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Open the device PATH
    #[arg(long, value_name = "PATH", default_value = DEVICE, env = "DOORBELL_DEVICE")]
    device: PathBuf,
}

/// A test bench of any function.
trait AnyBench {
    fn run(&self, scenario: Scenario, signals: u64) -> Result<Option<Counts>>;
    fn time_of_pair(&self, n: u32) -> Result<Duration>;
}

impl<F: Function + 'static> AnyBench for Bench<F> {
    fn run(&self, scenario: Scenario, signals: u64) -> Result<Option<Counts>> {
        Bench::run(self, scenario, signals)
    }

    fn time_of_pair(&self, n: u32) -> Result<Duration> {
        Bench::time_of_pair(self, n)
    }
}

/// Returns the test benches, with the names of their functions. That with lines is the first.
fn benches(args: &Masks) -> Result<Vec<(&'static str, Box<dyn AnyBench>)>> {
    let context = Context::open_path(&args.device)
        .context("no doorbell (is the module loaded? modprobe doorbell)")?;
    let lines = |vm: &Vm| Lines::new(vm, context, VECTORS);
    let doorbell: Box<dyn AnyBench> = match args.mutant {
        None => Box::new(Bench::new(lines, None)?),
        Some(mutant) => Box::new(Bench::new(
            |vm| Broken::new(lines(vm)?, mutant),
            Some(mutant),
        )?),
    };
    let mut benches = vec![("doorbell", doorbell)];
    if !args.without_irqfds {
        for (name, pba) in [
            ("irqfds, PBA is zero", Pba::Zero),
            ("irqfds, PBA is polled", Pba::Poll),
            ("irqfds, PBA is read", Pba::Read),
        ] {
            let irqfds = Bench::new(|vm| Irqfds::new(vm, VECTORS, pba), None)?;
            benches.push((name, Box::new(irqfds)));
        }
    }
    Ok(benches)
}

/// The number of measurements of each time. They take turns.
const TURNS: usize = 20;

fn measure(args: &Masks) -> Result<Report> {
    let benches = benches(args)?;
    let scenarios = match args.scenario.is_empty() {
        true => Scenario::ALL.to_vec(),
        false => args.scenario.clone(),
    };
    let steps = benches.len() * scenarios.len();
    let mut step = 0;
    let mut all = Vec::new();
    for (name, bench) in &benches {
        let mut results = Results {
            name,
            scenarios: Vec::new(),
            pair: None,
        };
        for &scenario in &scenarios {
            step += 1;
            eprintln!("{step}/{steps} {name}: {scenario}");
            let counts = bench.run(scenario, args.signals);
            if let Some(counts) = counts.with_context(|| name.to_string())? {
                results.scenarios.push((scenario, counts));
            }
        }
        all.push(results);
    }
    if args.pairs > 0 {
        eprintln!("times of a mask and an unmask");
        let mut times = vec![Vec::new(); benches.len()];
        for _ in 0..TURNS {
            for (times, (_, bench)) in times.iter_mut().zip(&benches) {
                times.push(bench.time_of_pair(args.pairs)?);
            }
        }
        for (results, mut times) in all.iter_mut().zip(times) {
            times.sort_unstable();
            results.pair = Some(times[times.len() / 2]);
        }
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut all = all.into_iter();
    Ok(Report {
        kernel: kernel.trim().into(),
        cpus: thread::available_parallelism()?.get(),
        signals: args.signals,
        doorbell: all.next(),
        irqfds: all.collect(),
    })
}

impl Masks {
    /// Runs the scenarios and prints the tables. Returns false if a count of the lines does not agree.
    ///
    /// # Errors
    ///
    /// There is no doorbell or no KVM that works, or a guest or a system call fails.
    pub fn run(&self) -> Result<bool> {
        let report = measure(self)?;
        let text = match self.json {
            true => format!("{:#}\n", serde_json::to_value(&report)?),
            false => report.to_string(),
        };
        io::stdout().write_all(text.as_bytes())?;
        let faults = report.faults();
        for fault in &faults {
            eprintln!("msix-vmm: doorbell: {fault}");
        }
        Ok(faults.is_empty())
    }
}
