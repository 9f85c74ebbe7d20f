// SPDX-License-Identifier: GPL-2.0-only

//! Benchmarks of regions: assigning, deassigning and writing, by the number of regions.

use super::{pairs, time, ROUNDS};
use crate::{
    random::Random,
    rtt::{quantile, Progress},
    sys,
};
use anyhow::ensure;
use doorbell::{Access, Changes, Context, EventFd, Region, Space, Target};
use std::{
    io,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

/// The number of regions of a bus that is not empty. KVM allows 1,000 devices.
const OTHERS: u64 = 900;
/// The number of writes by one call.
const BATCH: usize = 64;
const LENGTH: u32 = 4;
/// The time after which assigning one by one ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// The result of [`run`]. Times are in ns.
#[derive(Debug, serde::Serialize)]
pub struct Bus {
    /// Assigning and deassigning, compared with KVM.
    pub pairs: Vec<Pair>,
    /// The error of KVM, if it does not work.
    pub kvm_missing: Option<String>,
    /// The figures by number of regions.
    pub scale: Vec<Scale>,
}

/// Assigning one region and deassigning it.
#[derive(Debug, serde::Serialize)]
pub struct Pair {
    /// The number of other regions.
    pub others: u64,
    /// Assigning and deassigning.
    pub pair_ns: f64,
    /// Assigning only.
    pub assign_ns: f64,
    /// Assigning and deassigning with KVM_IOEVENTFD, if KVM works.
    pub kvm_pair_ns: Option<f64>,
    /// Assigning with KVM_IOEVENTFD only, if KVM works.
    pub kvm_assign_ns: Option<f64>,
}

/// The figures of a bus of some size. Each region has its own eventfd.
#[derive(Debug, serde::Serialize)]
pub struct Scale {
    /// The number of regions.
    pub regions: u32,
    /// Assigning all of them by one call.
    pub batch_assign_ns: f64,
    /// Assigning `one_by_one` of them, each by a call of its own.
    pub one_by_one_ns: f64,
    /// The number of regions that were assigned one by one: all, unless that took too long.
    pub one_by_one: u32,
    /// Assigning and deassigning one more.
    pub pair_ns: f64,
    /// A write to a random region, 64 of them by one call, without reading its eventfd.
    pub batch_write_ns: f64,
    /// A pwrite to a random region, and reading its eventfd.
    pub pwrite_ns: f64,
    /// A write to a random one of the same eventfds, and reading it, without a region.
    pub eventfd_ns: f64,
    /// Closing the context, while all eventfds are open.
    pub close_ns: f64,
}

/// The parameters of [`run`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The maximum number of regions.
    pub most: u32,
    /// The approximate time for measuring writes.
    pub time: Duration,
}

/// Measures pairs and all sizes.
///
/// # Errors
///
/// If a call fails, or a write is not counted.
pub fn run(device: &Path, options: Options, progress: Progress<'_>) -> anyhow::Result<Bus> {
    let (pairs, kvm_missing) = pairs_with_kvm(device, progress)?;
    let scale = scale(device, options, progress)?;
    Ok(Bus {
        pairs,
        kvm_missing,
        scale,
    })
}

/// Opens a context with one line.
fn open(device: &Path) -> doorbell::Result<Context> {
    let context = Context::open_path(device)?;
    context.set_lines(1)?;
    Ok(context)
}

/// Returns the region with the number `at`: registers of four bytes, eight bytes apart.
fn register(at: u64) -> Region {
    Region::mmio(0xfe00_0000 + 8 * at, LENGTH)
}

/// Returns a free region in the middle of `regions` others.
fn room(regions: u64) -> Region {
    let mut region = register(regions / 2);
    region.addr += 4;
    region
}

/// The times of pairs of assigning and deassigning, measured in several turns.
struct Turns {
    /// The number of pairs of the next turn.
    pairs: u32,
    assign: Vec<f64>,
    both: Vec<f64>,
}

impl Turns {
    /// The approximate duration of a turn, which has at least one pair.
    const TAKE: Duration = Duration::from_millis(5);
    const MOST_PAIRS: u32 = 10;

    fn new() -> Self {
        Self {
            pairs: 1,
            assign: Vec::new(),
            both: Vec::new(),
        }
    }

    /// Measures a turn. Round 0 is the warm-up.
    fn take<E>(
        &mut self,
        round: u32,
        mut assign: impl FnMut() -> Result<(), E>,
        mut deassign: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut assigning = Duration::ZERO;
        let both = pairs(self.pairs, || {
            let start = Instant::now();
            assign()?;
            assigning += start.elapsed();
            deassign()
        })?;
        if round > 0 {
            self.both.push(both);
            let assign = assigning.as_nanos() as f64 / f64::from(self.pairs);
            self.assign.push(assign);
        }
        let fit = Self::TAKE.as_nanos() as f64 / both;
        self.pairs = (fit as u32).clamp(1, Self::MOST_PAIRS);
        Ok(())
    }

    /// Returns the median of pairs, and of assigning.
    fn medians(&mut self) -> (f64, f64) {
        (
            quantile(&mut self.both, 0.5),
            quantile(&mut self.assign, 0.5),
        )
    }
}

/// Measures pairs, interleaved with the same pairs of KVM. Returns also the error of KVM.
fn pairs_with_kvm(
    device: &Path,
    progress: Progress<'_>,
) -> anyhow::Result<(Vec<Pair>, Option<String>)> {
    let eventfd = EventFd::new(0)?;
    let others = [0, OTHERS];
    let mut contexts = Vec::new();
    for others in others {
        let context = open(device)?;
        let mut changes = Changes::new();
        for at in 0..others {
            changes.assign(&register(at), Target::eventfd(&eventfd));
        }
        context.change_regions(&changes)?;
        contexts.push(context);
    }
    let mut done = 0;
    // /dev/kvm may exist and not work, so try one pair.
    let kvm: io::Result<Vec<_>> = others
        .into_iter()
        .map(|others| {
            let vm = sys::kvm::Vm::new()?;
            for at in 0..others {
                vm.ioeventfd(eventfd.as_fd(), register(at).addr, true)?;
                done += 1;
                progress("filling KVM's bus", done, OTHERS);
            }
            vm.ioeventfd(eventfd.as_fd(), room(others).addr, true)?;
            vm.ioeventfd(eventfd.as_fd(), room(others).addr, false)?;
            Ok(vm)
        })
        .collect();

    let mut ours = others.map(|_| Turns::new());
    let mut theirs = others.map(|_| Turns::new());
    for round in 0..=ROUNDS {
        for at in 0..others.len() {
            let one = room(others[at]);
            ours[at].take(
                round,
                || contexts[at].assign_region(&one, Target::eventfd(&eventfd)),
                || contexts[at].deassign_region(&one, Target::eventfd(&eventfd)),
            )?;
            if let Ok(vms) = &kvm {
                theirs[at].take(
                    round,
                    || vms[at].ioeventfd(eventfd.as_fd(), one.addr, true),
                    || vms[at].ioeventfd(eventfd.as_fd(), one.addr, false),
                )?;
            }
        }
        progress("assigning one", round.into(), ROUNDS.into());
    }
    let pairs = (0..others.len())
        .map(|at| {
            let (pair_ns, assign_ns) = ours[at].medians();
            let (kvm_pair, kvm_assign) = theirs[at].medians();
            Pair {
                others: others[at],
                pair_ns,
                assign_ns,
                kvm_pair_ns: kvm.is_ok().then_some(kvm_pair),
                kvm_assign_ns: kvm.is_ok().then_some(kvm_assign),
            }
        })
        .collect();
    let missing = kvm.err().map(|error| format!("/dev/kvm: {error}"));
    Ok((pairs, missing))
}

/// A bus of some size, and its measurements.
struct SizedBus {
    context: Context,
    eventfds: Vec<EventFd>,
    /// The number of writes ...
    written: u64,
    /// ... and of their signals.
    arrived: u64,
    pairs: Turns,
    batch: Vec<f64>,
    pwrite: Vec<f64>,
    eventfd: Vec<f64>,
    result: Scale,
}

/// The number of batches in a round.
const CALLS: u32 = 8;
/// The number of single writes in a round.
const WRITES: u32 = 100;

impl SizedBus {
    fn new(device: &Path, regions: u32, progress: Progress<'_>) -> anyhow::Result<Self> {
        let mut eventfds = Vec::new();
        for at in 0..regions {
            eventfds.push(EventFd::non_blocking(false)?);
            progress("creating eventfds", at.into(), regions.into());
        }
        let context = open(device)?;
        let start = Instant::now();
        let mut one_by_one = 0;
        for (at, eventfd) in (0..).zip(&eventfds) {
            context.assign_region(&register(at), Target::eventfd(eventfd))?;
            one_by_one += 1;
            progress("assigning one by one", at, regions.into());
            if start.elapsed() > PATIENCE {
                break;
            }
        }
        let one_by_one_ns = start.elapsed().as_nanos() as f64;
        drop(context);

        let context = open(device)?;
        let mut changes = Changes::new();
        for (at, eventfd) in (0..).zip(&eventfds) {
            changes.assign(&register(at), Target::eventfd(eventfd));
        }
        let start = Instant::now();
        context.change_regions(&changes)?;
        let batch_assign_ns = start.elapsed().as_nanos() as f64;
        let assigned = context.bus_info()?.regions;
        ensure!(
            assigned == regions,
            "{regions} regions assigned, but the bus has {assigned}: please report this"
        );
        Ok(Self {
            context,
            eventfds,
            written: 0,
            arrived: 0,
            pairs: Turns::new(),
            batch: Vec::new(),
            pwrite: Vec::new(),
            eventfd: Vec::new(),
            result: Scale {
                regions,
                batch_assign_ns,
                one_by_one_ns,
                one_by_one,
                pair_ns: f64::NAN,
                batch_write_ns: f64::NAN,
                pwrite_ns: f64::NAN,
                eventfd_ns: f64::NAN,
                close_ns: f64::NAN,
            },
        })
    }

    /// Measures a round. Round 0 is the warm-up.
    fn round(&mut self, round: u32, random: &mut Random) -> anyhow::Result<()> {
        let batch = self.batches(random)?;
        let chosen: Vec<usize> = (0..WRITES)
            .map(|_| random.below(self.eventfds.len()))
            .collect();
        let addrs: Vec<u64> = chosen.iter().map(|&at| register(at as u64).addr).collect();

        let start = Instant::now();
        for (&at, &addr) in chosen.iter().zip(&addrs) {
            self.context.pwrite(addr, &1u32.to_ne_bytes())?;
            self.arrived += self.eventfds[at].take()?;
        }
        let pwrite = start.elapsed();
        self.written += u64::from(WRITES);

        let start = Instant::now();
        for &at in &chosen {
            self.eventfds[at].write(1)?;
            self.eventfds[at].take()?;
        }
        let eventfd = start.elapsed();

        let (context, one) = (&self.context, room(self.eventfds.len() as u64));
        let target = Target::eventfd(&self.eventfds[0]);
        self.pairs.take(
            round,
            || context.assign_region(&one, target),
            || context.deassign_region(&one, target),
        )?;
        if round > 0 {
            let each = |time: Duration, n: u32| time.as_nanos() as f64 / f64::from(n);
            self.batch.push(each(batch, CALLS * BATCH as u32));
            self.pwrite.push(each(pwrite, WRITES));
            self.eventfd.push(each(eventfd, WRITES));
        }
        Ok(())
    }

    /// Writes several batches. Returns the total duration of the calls.
    fn batches(&mut self, random: &mut Random) -> anyhow::Result<Duration> {
        let mut took = Duration::ZERO;
        for _ in 0..CALLS {
            let chosen = [(); BATCH].map(|()| random.below(self.eventfds.len()));
            let accesses =
                chosen.map(|at| Access::new(Space::Mmio, register(at as u64).addr, LENGTH, 1));
            let start = Instant::now();
            let written = self.context.write_bus(&accesses)?;
            took += start.elapsed();
            self.written += written as u64;
            ensure!(
                written == BATCH,
                "of {BATCH} writes {written} were carried out"
            );
            for at in chosen {
                self.arrived += self.eventfds[at].take()?;
            }
        }
        Ok(took)
    }

    /// Checks the counters, and returns the medians.
    fn finish(mut self) -> anyhow::Result<Scale> {
        let counted: u64 = self.context.regions()?.iter().map(|info| info.writes).sum();
        ensure!(
            (counted, self.arrived) == (self.written, self.written),
            "{} writes, but the regions counted {counted}, and {} signals arrived: please report \
             this",
            self.written,
            self.arrived
        );
        let median = |values: &mut Vec<f64>| quantile(values, 0.5);
        self.result.pair_ns = self.pairs.medians().0;
        self.result.batch_write_ns = median(&mut self.batch);
        self.result.pwrite_ns = median(&mut self.pwrite);
        self.result.eventfd_ns = median(&mut self.eventfd);
        self.result.close_ns = time(|| drop(self.context)).as_nanos() as f64;
        Ok(self.result)
    }
}

/// Returns the powers of ten below `most`, and `most`.
fn sizes(most: u32) -> Vec<u32> {
    let powers = std::iter::successors(Some(1u32), |size| size.checked_mul(10));
    let mut sizes: Vec<u32> = powers.take_while(|&size| size < most).collect();
    sizes.push(most);
    sizes
}

/// Measures buses of all sizes, interleaved.
fn scale(device: &Path, options: Options, progress: Progress<'_>) -> anyhow::Result<Vec<Scale>> {
    const MIN_ROUNDS: u32 = 10;
    let sizes = sizes(options.most);
    let wanted = sizes.iter().copied().map(u64::from).sum::<u64>() + 256;
    let files = sys::raise_open_files(wanted)?;
    ensure!(
        files >= wanted,
        "up to {} regions with an eventfd each take {wanted} open files, and only {files} are \
         allowed: run it as root, or ulimit -n {wanted}, or --max-regions less",
        options.most
    );
    let mut buses = Vec::new();
    for size in sizes {
        buses.push(SizedBus::new(device, size, progress)?);
    }
    let mut random = Random::new(0);
    let mut order: Vec<usize> = (0..buses.len()).collect();
    let start = Instant::now();
    let mut round = 0;
    while round <= MIN_ROUNDS || start.elapsed() < options.time {
        random.shuffle(&mut order);
        for &at in &order {
            buses[at].round(round, &mut random)?;
        }
        round += 1;
        let done = start.elapsed().min(options.time).as_millis() as u64;
        progress("writing", done, options.time.as_millis() as u64);
    }
    buses.into_iter().map(SizedBus::finish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain;

    #[test]
    fn sizes_are_powers_of_ten_and_the_maximum() {
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(100), [1, 10, 100]);
        assert_eq!(sizes(2500), [1, 10, 100, 1000, 2500]);
    }

    #[test]
    fn there_is_room_for_one_more() {
        for regions in [0, 1, 2, 900] {
            let one = room(regions);
            for at in 0..regions {
                let other = register(at);
                assert!(one.addr + 4 <= other.addr || other.addr + 4 <= one.addr);
            }
        }
    }

    #[test]
    fn warm_up_does_not_count() {
        let mut turns = Turns::new();
        let step = || -> Result<(), ()> {
            std::thread::sleep(Duration::from_micros(10));
            Ok(())
        };
        turns.take(0, step, step).unwrap();
        assert!(turns.both.is_empty());
        turns.take(1, step, step).unwrap();
        let (both, assign) = turns.medians();
        assert!(assign >= 1e4 && both >= assign + 1e4, "{both} {assign}");
        assert_eq!(turns.take(2, step, || Err(())), Err(()));
    }

    #[test]
    fn missing_device_is_explained() {
        let options = Options {
            most: 1,
            time: Duration::from_millis(1),
        };
        let error = run(Path::new("/nonexistent"), options, &mut |_, _, _| {}).unwrap_err();
        let text = explain(error.as_ref());
        assert!(text.contains("modprobe"), "{text}");
    }
}
