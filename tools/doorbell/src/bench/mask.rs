// SPDX-License-Identifier: GPL-2.0-only

//! The price of masking: what a pair of mask and unmask costs, and what it does to messages.
//!
//! A device signals an eventfd, which becomes an interrupt of a guest. There are several ways to mask that
//! interrupt ([`Way`]). Each is tried in three situations, and has to behave as the mask bit of an MSI-X vector
//! does:
//!
//! - One signal while masked: no interrupt then, the pending bit is set, and one interrupt after the unmask.
//! - No signal while masked: the pending bit is clear, and there is no interrupt.
//! - A storm: another thread signals all the time. There is no interrupt from the return of the mask to the
//!   unmask, and one between the unmask and the next mask.
//!
//! Interrupts are seen in the local APIC of a vCPU that does not run. All waits are for calls that are barriers,
//! so that nothing depends on time.

#[cfg(target_arch = "x86_64")]
mod kvm;
mod lines;
mod receiver;

use crate::{
    rtt::{quantile, Progress},
    sys,
};
use anyhow::ensure;
use doorbell::{Context, EventFd};
use lines::Lines;
use std::{
    io,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A way to mask the interrupt of an eventfd.
trait Way {
    /// Masks the interrupt. When this has returned, none is on its way.
    fn mask(&mut self) -> anyhow::Result<()>;

    /// Unmasks the interrupt.
    fn unmask(&mut self) -> anyhow::Result<()>;

    /// Returns the pending bit of a masked interrupt, as a VMM can know it.
    fn pending(&self) -> anyhow::Result<bool>;

    /// Returns true if the guest was interrupted since the last call. All interrupts before the last
    /// [`mask`](Way::mask) are seen.
    fn take(&self) -> anyhow::Result<bool>;

    /// Returns the eventfd that the device signals.
    fn device(&self) -> &Arc<EventFd>;
}

/// The figures of a way.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// The name.
    pub name: String,
    /// True if the way is one of doorbell's.
    pub doorbell: bool,
    /// Median of the time of a mask and an unmask, in ns. There is no signal meanwhile.
    pub pair_ns: f64,
    /// The 99th percentile.
    pub pair_p99_ns: f64,
    /// Messages that became no interrupt.
    pub lost: u64,
    /// Interrupts while masked, or without a message.
    pub spurious: u64,
    /// Wrong answers to the question whether a message is pending.
    pub wrong_pending: u64,
}

impl Row {
    /// Returns true if the way has lost nothing, invented nothing, and knew what was pending.
    pub fn is_exact(&self) -> bool {
        self.lost + self.spurious + self.wrong_pending == 0
    }
}

/// The result of [`mask`].
#[derive(Debug, serde::Serialize)]
pub struct Mask {
    /// The ways.
    pub rows: Vec<Row>,
    /// Trials of each situation.
    pub trials: u32,
    /// The receiver of the messages.
    pub receiver: &'static str,
    /// The error of KVM, if it does not work. Then only the ways of doorbell are measured.
    pub kvm_missing: Option<String>,
}

/// A thread that signals an eventfd all the time.
struct Storm {
    signals: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Storm {
    fn new(eventfd: Arc<EventFd>) -> Self {
        let (signals, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counter, ended) = (signals.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                eventfd.write(1)?;
                counter.fetch_add(1, Ordering::Release);
            }
            Ok(())
        });
        Self {
            signals,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits until two signals have been sent, of which one began after the call.
    fn wait(&self) -> anyhow::Result<()> {
        let until = self.signals.load(Ordering::Acquire) + 2;
        while self.signals.load(Ordering::Acquire) < until {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            ensure!(!ended, "the thread that signals has ended");
            thread::yield_now();
        }
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken here only");
        Ok(thread.join().expect("it does not panic")?)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The numbers of faults in the trials of a way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Faults {
    lost: u64,
    spurious: u64,
    wrong_pending: u64,
}

impl Faults {
    fn check(count: &mut u64, right: bool) {
        *count += u64::from(!right);
    }

    /// One signal while masked, if `signal`, or none.
    fn masked(&mut self, way: &mut dyn Way, signal: bool) -> anyhow::Result<()> {
        way.mask()?;
        way.take()?;
        if signal {
            way.device().write(1)?;
        }
        Self::check(&mut self.wrong_pending, way.pending()? == signal);
        Self::check(&mut self.spurious, !way.take()?);
        way.unmask()?;
        // A barrier: an interrupt that the unmask caused has been injected.
        way.mask()?;
        match (way.take()?, signal) {
            (false, true) => self.lost += 1,
            (true, false) => self.spurious += 1,
            _ => {}
        }
        // That interrupt was the last.
        Self::check(&mut self.wrong_pending, !way.pending()?);
        way.unmask()?;
        way.mask()?;
        Self::check(&mut self.spurious, !way.take()?);
        way.unmask()
    }

    /// A mask and an unmask in a storm.
    fn storm(&mut self, way: &mut dyn Way, storm: &Storm) -> anyhow::Result<()> {
        way.mask()?;
        way.take()?;
        storm.wait()?;
        Self::check(&mut self.wrong_pending, way.pending()?);
        Self::check(&mut self.spurious, !way.take()?);
        way.unmask()?;
        storm.wait()?;
        way.mask()?;
        Self::check(&mut self.lost, way.take()?);
        way.unmask()
    }
}

/// The time of each measurement of pairs.
const SLOT: Duration = Duration::from_millis(2);

/// Measures pairs of mask and unmask for about [`SLOT`]; returns the ns of each.
fn pairs(way: &mut dyn Way) -> anyhow::Result<Vec<f64>> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || start.elapsed() < SLOT {
        let begin = Instant::now();
        way.mask()?;
        way.unmask()?;
        times.push(begin.elapsed().as_nanos() as f64);
    }
    Ok(times)
}

/// Numbers of lines of the function masks.
pub const FUNCTIONS: [u32; 2] = [64, 2048];

/// Tries each way `trials` times in each situation, and measures its pairs as often.
///
/// # Errors
///
/// If a call fails. A message that was lost, or an interrupt that was spurious, is a figure.
pub fn mask(device: &Path, trials: u32, progress: Progress<'_>) -> anyhow::Result<Mask> {
    let wanted = 256 + u64::from(FUNCTIONS.iter().sum::<u32>());
    let files = sys::raise_open_files(wanted)?;
    ensure!(
        files >= wanted,
        "the lines need {wanted} open files, and only {files} are allowed: run as root, or with ulimit -n {wanted}"
    );
    let context = Arc::new(Context::open_path(device)?);
    context.set_lines(1 + FUNCTIONS.iter().sum::<u32>())?;
    let kvm_missing = receiver::by_kvm().err();
    let kvm_missing = kvm_missing.map(|error| error.to_string().replace("\n  ", "; "));
    let mut ways: Vec<(String, bool, Box<dyn Way>)> = Vec::new();
    let mut first = 0;
    for lines in [1].into_iter().chain(FUNCTIONS) {
        let name = match lines {
            1 => "doorbell, a vector".into(),
            n => format!("doorbell, a function of {n}"),
        };
        let receiver = match kvm_missing {
            None => receiver::by_kvm()?,
            Some(_) => receiver::by_eventfd()?,
        };
        let way = Lines::new(&context, first..first + lines, receiver)?;
        ways.push((name, true, Box::new(way)));
        first += lines;
    }
    #[cfg(target_arch = "x86_64")]
    if kvm_missing.is_none() {
        let irqfd = Box::new(kvm::Irqfd::new()?);
        ways.push(("KVM_IRQFD, deassign + assign".into(), false, irqfd));
        let route = Box::new(kvm::Route::new()?);
        ways.push(("KVM_SET_GSI_ROUTING, twice".into(), false, route));
    }

    let mut faults = vec![Faults::default(); ways.len()];
    let mut times = vec![Vec::new(); ways.len()];
    let total = u64::from(trials) * ways.len() as u64;
    let mut done = 0;
    for _ in 0..trials {
        for (at, (_, _, way)) in ways.iter_mut().enumerate() {
            let (way, faults) = (&mut **way, &mut faults[at]);
            times[at].extend(pairs(way)?);
            faults.masked(way, true)?;
            faults.masked(way, false)?;
            done += 1;
            progress("masking", done, 2 * total);
        }
    }
    for (at, (_, _, way)) in ways.iter_mut().enumerate() {
        let storm = Storm::new(way.device().clone());
        for _ in 0..trials {
            faults[at].storm(&mut **way, &storm)?;
            done += 1;
            progress("masking in a storm", done, 2 * total);
        }
        storm.end()?;
    }
    let rows = ways.into_iter().zip(faults).zip(times);
    let rows = rows.map(|(((name, doorbell, _), faults), mut times)| Row {
        name,
        doorbell,
        pair_ns: quantile(&mut times, 0.5),
        pair_p99_ns: quantile(&mut times, 0.99),
        lost: faults.lost,
        spurious: faults.spurious,
        wrong_pending: faults.wrong_pending,
    });
    Ok(Mask {
        rows: rows.collect(),
        trials,
        receiver: match kvm_missing {
            None => "the local APIC of a vCPU, by an irqfd of KVM",
            Some(_) => "an eventfd",
        },
        kvm_missing,
    })
}

#[cfg(test)]
mod tests;
