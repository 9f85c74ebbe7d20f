// SPDX-License-Identifier: GPL-2.0-only

//! Round-trip times of notifications.
//!
//! All rows take turns in short slots, in an order that changes from round to round, so that
//! whatever drifts (frequency, temperature, the host of a VM) hits all of them alike. In the first
//! half of a slot batches are timed as a whole, which gives the throughput; in the second half each
//! round trip is timed by itself, which gives the distribution and includes reading the clock.
//!
//! Batches are short compared with a scheduler's time slice: if the host of a VM, or somebody else
//! on this machine, takes the CPU away, that hits some batches and not their median.

mod guard;
#[cfg(target_arch = "x86_64")]
mod guest;
pub mod kvm;
mod probe;
pub mod qemu;
mod region;
mod report;
pub mod then;
mod turns;

use crate::{explain, machine::Placement, sys};
use anyhow::{anyhow, bail, ensure};
use doorbell::{Context, EventFd};
use probe::Way;
use report::{compare, unsteady};
pub use report::{Report, Row, Source, Threads};
use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use turns::{take_turns, Running};

/// Rows that are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One thread signals and receives.
    OneThread,
    /// Two threads on one core send each other a message in turn.
    SameCore,
    /// The same on two cores.
    TwoCores,
    /// A guest writes.
    KvmWrite,
    /// A guest writes, and is interrupted.
    KvmCircle,
    /// A guest writes, and another of its vCPUs is interrupted.
    KvmTwo,
    /// A guest of an unmodified QEMU writes.
    QemuWrite,
    /// It is interrupted, and its handler writes.
    QemuCircle,
}

impl Group {
    /// All of them but those with a guest.
    pub const ALL: [Group; 3] = [Group::OneThread, Group::SameCore, Group::TwoCores];
    /// Those with a guest, see [`kvm`].
    pub const KVM: [Group; 3] = [Group::KvmWrite, Group::KvmCircle, Group::KvmTwo];
    /// Those with a guest of QEMU, see [`qemu`].
    pub const QEMU: [Group; 2] = [Group::QemuWrite, Group::QemuCircle];

    /// A name for programs.
    pub fn id(self) -> &'static str {
        match self {
            Group::OneThread => "one-thread",
            Group::SameCore => "same-core",
            Group::TwoCores => "two-cores",
            Group::KvmWrite => "kvm-write",
            Group::KvmCircle => "kvm-circle",
            Group::KvmTwo => "kvm-two-vcpus",
            Group::QemuWrite => "qemu-write",
            Group::QemuCircle => "qemu-circle",
        }
    }

    /// What to call it.
    pub fn name(self) -> &'static str {
        match self {
            Group::OneThread => "one thread",
            Group::SameCore => "two threads, same core",
            Group::TwoCores => "two threads, two cores",
            Group::KvmWrite => "a guest writes",
            Group::KvmCircle => "a guest writes, and is interrupted",
            Group::KvmTwo => "a guest writes to its other vCPU",
            Group::QemuWrite => "QEMU's guest writes",
            Group::QemuCircle => "QEMU's guest is interrupted, and writes",
        }
    }

    /// The row that the others are compared with.
    pub fn base(self) -> &'static str {
        match self {
            Group::OneThread | Group::SameCore | Group::TwoCores => "eventfd",
            Group::KvmWrite | Group::QemuWrite => "ioeventfd-mmio",
            Group::KvmCircle | Group::KvmTwo => "circle-doorbell",
            Group::QemuCircle => "circle-ioeventfd-mmio",
        }
    }

    /// Its rows.
    fn rows(self) -> &'static [Kind] {
        use Kind::*;
        match self {
            Group::OneThread => &[Eventfd, Ioctl, Irqfd, Region, RegionLine, Batch, Burst],
            Group::SameCore => &[Eventfd, SpinYielding, Futex, Pipe, Ioctl, Irqfd],
            Group::TwoCores => &[Eventfd, Spin, Futex, Pipe, Ioctl, Irqfd],
            // Those have other drivers.
            _ => &[],
        }
    }

    /// How many lines its doorbell rows take.
    fn nr_lines(self) -> u32 {
        if self == Group::OneThread {
            1
        } else {
            2
        }
    }
}

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What the others of a group are compared with.
    Eventfd,
    Spin,
    SpinYielding,
    Futex,
    Pipe,
    Ioctl,
    Irqfd,
    Region,
    RegionLine,
    Batch,
    Burst,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Eventfd => "eventfd",
            Kind::Spin => "spin",
            Kind::SpinYielding => "spin (yielding)",
            Kind::Futex => "futex",
            Kind::Pipe => "pipe",
            Kind::Ioctl => "doorbell ioctl",
            Kind::Irqfd => "doorbell irqfd",
            Kind::Region => "doorbell region",
            Kind::RegionLine => "doorbell region+line",
            Kind::Batch => "doorbell batch of 64",
            Kind::Burst => "doorbell burst of 64",
        }
    }

    fn needs_doorbell(self) -> bool {
        self.rings() || matches!(self, Kind::Region | Kind::Batch | Kind::Burst)
    }

    /// Whether lines are rung.
    fn rings(self) -> bool {
        matches!(self, Kind::Ioctl | Kind::Irqfd | Kind::RegionLine)
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long, about.
    pub time: Duration,
    /// In how many rounds.
    pub rounds: u32,
    /// Lines of the context, if that is more than the rows take.
    pub lines: u32,
    /// Whether to assign an irqfd and a trigger to all lines that are not measured.
    pub fill: bool,
    /// Only rows whose "group name" contains one of these; all if empty. The row that ratios refer
    /// to comes along.
    pub rows: Vec<String>,
    /// The device.
    pub device: PathBuf,
}

/// Is told what is going on, and how much of how much of it is done.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

fn full_name((group, kind): (Group, Kind)) -> String {
    format!("{} {}", group.id(), kind.name())
}

/// Which rows `filter` means; with each group that has any comes the row that ratios refer to.
fn choose(filter: &[String], groups: &[Group]) -> anyhow::Result<Vec<(Group, Kind)>> {
    let all = |groups: &[Group]| -> Vec<(Group, Kind)> {
        let rows = |&group: &Group| group.rows().iter().map(move |&kind| (group, kind));
        groups.iter().flat_map(rows).collect()
    };
    let every: Vec<String> = all(&Group::ALL).into_iter().map(full_name).collect();
    for text in filter {
        if !every.iter().any(|name| name.contains(text)) {
            bail!(
                "no row has {text:?} in its name. There are:\n  {}",
                every.join("\n  ")
            );
        }
    }
    let wanted = |row: (Group, Kind)| {
        filter.is_empty() || filter.iter().any(|text| full_name(row).contains(text))
    };
    let mut chosen = all(groups);
    chosen.retain(|&(group, kind)| {
        wanted((group, kind))
            || kind == Kind::Eventfd && group.rows().iter().any(|&kind| wanted((group, kind)))
    });
    Ok(chosen)
}

/// Opens the device for those of `rows` that take it. Without it they are removed from `rows`, and the
/// second result is the sentence about that.
///
/// # Errors
///
/// Fails without the device if no row is left that one of the texts in `filter` means, or no row at
/// all.
fn open_for<R: Copy>(
    device: &Path,
    rows: &mut Vec<R>,
    filter: &[String],
    takes: impl Fn(R) -> Option<&'static str>,
    means: impl Fn(&str, R) -> bool,
) -> anyhow::Result<(Option<Context>, Option<String>)> {
    let mut names: Vec<&str> = rows.iter().filter_map(|&row| takes(row)).collect();
    if names.is_empty() {
        return Ok((None, None));
    }
    let error = match Context::open_path(device) {
        Ok(context) => return Ok((Some(context), None)),
        Err(error) => explain(&error),
    };
    rows.retain(|&row| takes(row).is_none());
    let unmet = |text: &&String| !rows.iter().any(|&row| means(text, row));
    if let Some(text) = filter.iter().find(unmet) {
        return Err(anyhow!("--row {text}: {error}"));
    }
    ensure!(!rows.is_empty(), "{error}");
    names.sort_unstable();
    names.dedup();
    let error = error.replace("\n  ", "; ");
    let left_out = format!("not measured: {}: {error}", names.join(", "));
    Ok((None, Some(left_out)))
}

/// Measures.
///
/// # Errors
///
/// Without the device, the rows that take it are left out, unless they are asked for.
pub fn run(options: &Options, progress: Progress<'_>) -> anyhow::Result<Report> {
    let cpus = sys::cpus()?;
    let place = Placement::among(&cpus);
    let mut notes = Vec::new();
    let mut groups = Group::ALL.to_vec();
    let two_cores = Group::TwoCores.name();
    match place.other {
        Some(other) if place.siblings => notes.push(format!(
            "{two_cores}: CPUs {} and {other} are threads of one core, there is no other",
            place.first
        )),
        Some(other) => notes.push(format!("{two_cores}: CPUs {} and {other}", place.first)),
        None => {
            groups.retain(|&group| group != Group::TwoCores);
            notes.push(format!(
                "{two_cores}: not measured, this process may use CPU {} only",
                place.first
            ));
        }
    }
    let mut chosen = choose(&options.rows, &groups)?;
    if !chosen.iter().any(|&(group, _)| group == Group::TwoCores) && place.other.is_some() {
        notes.clear();
    }

    let (context, left_out) = open_for(
        &options.device,
        &mut chosen,
        &options.rows,
        |(_, kind)| kind.needs_doorbell().then_some(kind.name()),
        |text, row| full_name(row).contains(text),
    )?;
    if let Some(why) = &left_out {
        let wanted = options.lines > 1 || options.fill;
        ensure!(!wanted, "--lines and --fill need the module; {why}");
    }
    let mut doorbell = None;
    if let Some(context) = context {
        let needed = groups.iter().map(|group| group.nr_lines()).sum();
        let nr_lines = options.lines.max(needed);
        let context = Arc::new(context);
        context.set_lines(nr_lines)?;
        let ways = (0..needed)
            .map(|line| Way::new(&context, line).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let filling = if options.fill {
            Filling::new(&context, nr_lines, 0..needed, progress)?
        } else {
            Filling::default()
        };
        doorbell = Some((ways, nr_lines, filling));
    }

    let mut running = Vec::new();
    for (group, kind) in chosen {
        let ways = doorbell.as_ref().map_or(&[][..], |(ways, ..)| {
            let before = groups.iter().take_while(|&&g| g != group);
            let first: u32 = before.map(|g| g.nr_lines()).sum();
            &ways[first as usize..(first + group.nr_lines()) as usize]
        });
        running.push(Running::new((group, kind), ways, place)?);
    }
    let rounds = take_turns(&mut running, options.time, options.rounds, progress)?;
    if rounds < options.rounds {
        notes.push(format!(
            "ended before all {} rounds were done, as they took too long: a busy machine, or more \
             --time needed",
            options.rounds
        ));
    }
    let clock_ns = clock();
    sys::pin(&cpus)?;

    let mut rows: Vec<Row> = running.into_iter().map(Running::finish).collect();
    compare(&mut rows);
    notes.extend(unsteady(&rows));
    let (lines, others_assigned) =
        doorbell.map_or((0, 0), |(_, nr_lines, filling)| (nr_lines, filling.lines));
    Ok(Report {
        rows,
        left_out,
        notes,
        rounds,
        source: Source::Threads(Threads {
            lines,
            others_assigned,
            clock_ns,
        }),
    })
}

/// Time per round trip of one thread, in ns, with few lines and with many.
#[derive(Debug, serde::Serialize)]
pub struct Scale {
    /// What was measured.
    pub name: &'static str,
    /// In a context with one line.
    pub few_ns: f64,
    /// In a context with many.
    pub many_ns: f64,
}

/// Compares a context of one line with one of `nr_lines`, all of which have an irqfd and a trigger.
/// Returns how many had besides the one that is measured, which is in the middle.
///
/// Both exist at the same time and take turns with each other. The raw eventfd takes part twice:
/// how far its two figures differ is how exact the others are.
pub fn scale(options: &Options, progress: Progress<'_>) -> anyhow::Result<(Vec<Scale>, u32)> {
    let cpus = sys::cpus()?;
    let place = Placement::among(&cpus);
    let mut running = Vec::new();
    let mut fillings = Vec::new();
    for nr_lines in [1, options.lines] {
        let context = Arc::new(Context::open_path(&options.device)?);
        context.set_lines(nr_lines)?;
        let line = nr_lines / 2;
        let ways = [Arc::new(Way::new(&context, line)?)];
        let filling = Filling::new(&context, nr_lines, line..line + 1, progress)?;
        fillings.push(filling);
        for &kind in Group::OneThread.rows() {
            if kind.rings() || kind == Kind::Eventfd {
                running.push(Running::new((Group::OneThread, kind), &ways, place)?);
            }
        }
    }
    take_turns(&mut running, options.time, options.rounds, progress)?;
    sys::pin(&cpus)?;
    let mut few: Vec<Row> = running.into_iter().map(Running::finish).collect();
    let many = few.split_off(few.len() / 2);
    let pair = |(few, many): (Row, Row)| Scale {
        name: few.name,
        few_ns: few.ns,
        many_ns: many.ns,
    };
    let assigned = fillings.last().map_or(0, |filling| filling.lines);
    Ok((few.into_iter().zip(many).map(pair).collect(), assigned))
}

/// What is assigned to lines that are not measured.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    /// They have to stay open: with its last file an irqfd goes.
    pub(crate) irqfds: Vec<EventFd>,
    pub(crate) lines: u32,
}

impl Filling {
    /// Gives each of a context's lines but those in `except` an irqfd and a trigger.
    pub(crate) fn new(
        context: &Context,
        nr_lines: u32,
        except: Range<u32>,
        progress: Progress<'_>,
    ) -> anyhow::Result<Self> {
        let wanted = u64::from(nr_lines) + 256;
        let files = sys::raise_open_files(wanted)?;
        ensure!(
            files >= wanted,
            "filling {nr_lines} lines takes {wanted} open files, and only {files} are allowed: \
             run it as root, or ulimit -n {wanted} (sysctl fs.nr_open is the most there can be)"
        );
        let mut filling = Self::default();
        for line in (0..nr_lines).filter(|line| !except.contains(line)) {
            let irqfd = EventFd::new(0)?;
            context.assign_irqfd(&irqfd, line)?;
            filling.irqfds.push(irqfd);
            // Goes on being signalled without a file.
            context.assign_trigger(&EventFd::new(0)?, line)?;
            filling.lines += 1;
            progress("wiring", filling.lines.into(), nr_lines.into());
        }
        Ok(filling)
    }
}

/// What reading the clock takes, in ns.
fn clock() -> f64 {
    let mut batches: Vec<f64> = (0..51)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..99 {
                std::hint::black_box(Instant::now());
            }
            start.elapsed().as_nanos() as f64 / 100.0
        })
        .collect();
    quantile(&mut batches, 0.5)
}

/// The value below which a share of `q` lies; NaN of nothing.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = q * last as f64;
    let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests;
