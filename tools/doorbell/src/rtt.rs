// SPDX-License-Identifier: GPL-2.0-only

//! Round-trip times of notifications.
//!
//! A row of the table is one mechanism of notification. Rows are interleaved: each round gives each
//! row a short slot, in an order that changes from round to round. So a drift (of the frequency,
//! the temperature, the host of a VM) affects all rows alike.
//!
//! The first half of a slot times whole batches, which gives the throughput. The second half times
//! each round trip by itself, which gives the distribution, and includes reading the clock.
//!
//! Batches are short compared with a time slice of the scheduler. If the host of a VM, or another
//! process, takes the CPU away, that disturbs some batches and not their median.

pub mod baseline_2009;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod guest;
mod interleave;
pub mod kvm;
pub mod limit;
mod peers;
mod probe;
pub mod qemu;
mod region;
mod report;
mod status_page;
mod waiters;
mod watchdog;

use crate::{conditions::Conditions, explain, machine::Placement, stop::Stop, sys};
use anyhow::{anyhow, bail, ensure};
use doorbell::{Context, EventFd};
use interleave::{interleave, Running};
use probe::DoorbellPath;
use report::{compare, stolen, unsteady};
pub use report::{Directions, Report, Round, Row, Source, Threads, UNSTEADY};
use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

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
    /// A guest writes, is interrupted, and ends the interrupt.
    KvmIntx,
    /// A guest of an unmodified QEMU writes.
    QemuWrite,
    /// A guest of QEMU is interrupted, and its handler writes.
    QemuCircle,
}

impl Group {
    /// All groups without a guest.
    pub const ALL: [Group; 3] = [Group::OneThread, Group::SameCore, Group::TwoCores];
    /// The groups with a guest, see [`kvm`].
    pub const KVM: [Group; 4] = [
        Group::KvmWrite,
        Group::KvmCircle,
        Group::KvmTwo,
        Group::KvmIntx,
    ];
    /// The groups with a guest of QEMU, see [`qemu`].
    pub const QEMU: [Group; 2] = [Group::QemuWrite, Group::QemuCircle];

    /// Returns the name for programs.
    pub fn id(self) -> &'static str {
        match self {
            Group::OneThread => "one-thread",
            Group::SameCore => "same-core",
            Group::TwoCores => "two-cores",
            Group::KvmWrite => "kvm-write",
            Group::KvmCircle => "kvm-circle",
            Group::KvmTwo => "kvm-two-vcpus",
            Group::KvmIntx => "kvm-intx",
            Group::QemuWrite => "qemu-write",
            Group::QemuCircle => "qemu-circle",
        }
    }

    /// Returns the group with this [`id`](Self::id).
    pub fn by_id(id: &str) -> Option<Group> {
        let all = [&Self::ALL[..], &Self::KVM, &Self::QEMU].concat();
        all.into_iter().find(|group| group.id() == id)
    }

    /// Returns the name for people.
    pub fn name(self) -> &'static str {
        match self {
            Group::OneThread => "one thread",
            Group::SameCore => "two threads, same core",
            Group::TwoCores => "two threads, two cores",
            Group::KvmWrite => "a guest writes",
            Group::KvmCircle => "a guest writes, and is interrupted",
            Group::KvmTwo => "a guest writes to its other vCPU",
            Group::KvmIntx => "a guest ends its interrupt, and writes",
            Group::QemuWrite => "QEMU's guest writes",
            Group::QemuCircle => "QEMU's guest is interrupted, and writes",
        }
    }

    /// Returns the name of the row that the others are compared with.
    pub fn base(self) -> &'static str {
        match self {
            Group::OneThread | Group::SameCore | Group::TwoCores => "eventfd",
            Group::KvmWrite | Group::QemuWrite => "ioeventfd-mmio",
            Group::KvmCircle | Group::KvmTwo => "circle-doorbell",
            Group::KvmIntx => "intx-doorbell",
            Group::QemuCircle => "circle-ioeventfd-mmio",
        }
    }

    /// Returns the rows.
    fn rows(self) -> Vec<Kind> {
        use Kind::*;
        const PEERS: &[Kind] = &[Pipe, Socket, Signal, Queue, UringEventfd, UringMessage];
        const SPINNING: &[Kind] = &[Spinning, WaitSpinning];
        const CALLS: &[Kind] = &[Ioctl, RingWait, Irqfd, Wait, RingWaitLine];
        let (first, last): (&[Kind], &[Kind]) = match self {
            Group::OneThread => (&[Eventfd], &[Region, RegionLine, Batch, Burst, Skipped]),
            Group::SameCore => (&[Eventfd, SpinYielding, Futex], SPINNING),
            Group::TwoCores => (&[Eventfd, Spin, Futex], SPINNING),
            // They have drivers of their own.
            _ => return Vec::new(),
        };
        [first, PEERS, CALLS, last].concat()
    }

    /// Returns the names of the rows.
    #[cfg(test)]
    pub(crate) fn row_names(self) -> impl Iterator<Item = &'static str> {
        self.rows().into_iter().map(Kind::name)
    }

    /// Returns the number of lines that the doorbell rows use.
    fn nr_lines(self) -> u32 {
        if self == Group::OneThread {
            1
        } else {
            2
        }
    }
}

/// The mechanism that a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The base of the comparisons in a group.
    Eventfd,
    Spin,
    SpinYielding,
    Futex,
    Pipe,
    Socket,
    Signal,
    Queue,
    UringEventfd,
    UringMessage,
    Ioctl,
    RingWait,
    Irqfd,
    Wait,
    RingWaitLine,
    Region,
    RegionLine,
    Batch,
    Burst,
    Skipped,
    Spinning,
    WaitSpinning,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Eventfd => "eventfd",
            Kind::Spin => "spin",
            Kind::SpinYielding => "spin (yielding)",
            Kind::Futex => "futex",
            Kind::Pipe => "pipe",
            Kind::Socket => "socket",
            Kind::Signal => "signal",
            Kind::Queue => "message queue",
            Kind::UringEventfd => "io_uring eventfd",
            Kind::UringMessage => "io_uring msg_ring",
            Kind::Ioctl => "doorbell ioctl",
            Kind::RingWait => "doorbell ring-wait",
            Kind::Irqfd => "doorbell irqfd",
            Kind::Wait => "doorbell wait",
            Kind::RingWaitLine => "doorbell ring+wait",
            Kind::Region => "doorbell region",
            Kind::RegionLine => "doorbell region+line",
            Kind::Batch => "doorbell batch of 64",
            Kind::Burst => "doorbell burst of 64",
            Kind::Skipped => "doorbell skipped",
            Kind::Spinning => "doorbell spinning",
            Kind::WaitSpinning => "doorbell wait+spin",
        }
    }

    fn needs_doorbell(self) -> bool {
        self.rings()
            || matches!(
                self,
                Kind::Region | Kind::Batch | Kind::Burst | Kind::Skipped
            )
    }

    /// Returns true if the row rings lines.
    fn rings(self) -> bool {
        matches!(
            self,
            Kind::Ioctl
                | Kind::RingWait
                | Kind::Irqfd
                | Kind::Wait
                | Kind::RingWaitLine
                | Kind::RegionLine
                | Kind::Spinning
                | Kind::WaitSpinning
        )
    }
}

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Approximate duration.
    pub time: Duration,
    /// Number of rounds.
    pub rounds: u32,
    /// Number of lines of the context, if larger than the rows need.
    pub lines: u32,
    /// Assign an irqfd and a trigger to each line that is not measured.
    pub fill: bool,
    /// Only rows whose "group name" contains one of these texts; all rows if empty. Each group with
    /// a selected row has its base row, too.
    pub rows: Vec<String>,
    /// Path of the device.
    pub device: PathBuf,
    /// Round trips per second that are sent whether or not the ones before have returned; as many as
    /// possible, one after the other, if none is given.
    pub rate: Option<f64>,
    /// Time the two directions of round trips between two threads, too.
    pub legs: bool,
    /// Ends the run early.
    pub stop: Stop,
}

/// A callback for progress: the activity, the amount done, and the total amount.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Returns the "group name" of each row that a run with `filter` measures, if it can.
///
/// # Errors
///
/// If a text in `filter` selects none.
pub fn selected(filter: &[String]) -> anyhow::Result<Vec<String>> {
    Ok(choose(filter, &Group::ALL)?
        .into_iter()
        .map(full_name)
        .collect())
}

/// Returns the remark on a run that was interrupted.
fn interrupted(rounds: u32, of: u32) -> String {
    format!("interrupted after {rounds} of {of} rounds: all figures are partial")
}

fn full_name((group, kind): (Group, Kind)) -> String {
    format!("{} {}", group.id(), kind.name())
}

/// Returns the rows that `filter` selects, and the base row of each group with a selected row.
fn choose(filter: &[String], groups: &[Group]) -> anyhow::Result<Vec<(Group, Kind)>> {
    let all = |groups: &[Group]| -> Vec<(Group, Kind)> {
        let rows = |&group: &Group| group.rows().into_iter().map(move |kind| (group, kind));
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
            || kind == Kind::Eventfd && group.rows().into_iter().any(|kind| wanted((group, kind)))
    });
    Ok(chosen)
}

/// Opens the device for the rows that need it. If that fails, removes them from `rows`, and returns
/// a sentence that names them.
///
/// # Errors
///
/// Fails if the device cannot be opened, and then no row is left that a text in `filter` selects,
/// or no row at all.
fn open_for<R: Copy>(
    device: &Path,
    rows: &mut Vec<R>,
    filter: &[String],
    needs: impl Fn(R) -> Option<&'static str>,
    selects: impl Fn(&str, R) -> bool,
) -> anyhow::Result<(Option<Context>, Option<String>)> {
    let mut names: Vec<&str> = rows.iter().filter_map(|&row| needs(row)).collect();
    if names.is_empty() {
        return Ok((None, None));
    }
    let error = match Context::open_path(device) {
        Ok(context) => return Ok((Some(context), None)),
        Err(error) => explain(&error),
    };
    rows.retain(|&row| needs(row).is_none());
    let unmet = |text: &&String| !rows.iter().any(|&row| selects(text, row));
    if let Some(text) = filter.iter().find(unmet) {
        return Err(anyhow!("--filter {text}: {error}"));
    }
    ensure!(!rows.is_empty(), "{error}");
    names.sort_unstable();
    names.dedup();
    let error = error.replace("\n  ", "; ");
    let left_out = format!("not measured: {}: {error}", names.join(", "));
    Ok((None, Some(left_out)))
}

/// Measures round trips between threads.
///
/// Rows that need the device are left out if it cannot be opened.
///
/// # Errors
///
/// Fails if such a row is one of `options.rows`.
pub fn run(options: &Options, progress: Progress<'_>) -> anyhow::Result<Report> {
    let cpus = sys::cpus()?;
    let conditions = Conditions::now(&cpus);
    let place = Placement::among(&cpus);
    let mut notes = Vec::new();
    let mut groups = Group::ALL.to_vec();
    let two_cores = Group::TwoCores.name();
    match place.other {
        Some(other) if place.siblings => notes.push(format!(
            "{two_cores}: CPUs {} and {other} are threads of the only core",
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
    let measured = |text: &&String| chosen.iter().any(|&row| full_name(row).contains(*text));
    if let Some(text) = options.rows.iter().find(|text| !measured(text)) {
        bail!(
            "--filter {text}: {}\n  allow it a second one, for example by taskset -c 0,1; in the lab \
             by DOORBELL_CPUS=2",
            notes.join("; ")
        );
    }
    if !chosen.iter().any(|&(group, _)| group == Group::TwoCores) && place.other.is_some() {
        notes.clear();
    }

    notes.extend(peers::leave_out(
        &mut chosen,
        &options.rows,
        |text, row| full_name(row).contains(text),
    )?);
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
        let paths = (0..needed)
            .map(|line| DoorbellPath::new(&context, line).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let background = if options.fill {
            BackgroundLines::new(&context, nr_lines, 0..needed, progress)?
        } else {
            BackgroundLines::default()
        };
        doorbell = Some((paths, nr_lines, background));
    }

    let mut running = Vec::new();
    for (group, kind) in chosen {
        let paths = doorbell.as_ref().map_or(&[][..], |(paths, ..)| {
            let before = groups.iter().take_while(|&&g| g != group);
            let first: u32 = before.map(|g| g.nr_lines()).sum();
            &paths[first as usize..(first + group.nr_lines()) as usize]
        });
        running.push(Running::new((group, kind), paths, place)?);
    }
    ensure!(
        !options.legs || running.iter().any(Running::has_two_threads),
        "--legs: the rows of one thread have none\n  choose others: --filter same-core"
    );
    let rounds = interleave(&mut running, options, progress)?;
    let partial = options.stop.is_requested();
    if partial {
        running.retain(Running::has_samples);
        notes.push(interrupted(rounds, options.rounds));
        ensure!(!running.is_empty(), "interrupted before the first round");
    } else if rounds < options.rounds {
        notes.push(format!(
            "stopped after {rounds} of {} rounds: the machine is busy, or --duration is too short",
            options.rounds
        ));
    }
    notes.extend(running.iter().filter_map(Running::overload));
    let clock_ns = clock_cost();
    sys::pin(&cpus)?;

    let mut rows: Vec<Row> = running.into_iter().map(Running::finish).collect();
    compare(&mut rows);
    notes.extend(unsteady(&rows));
    notes.extend(stolen(&rows));
    let (lines, others_assigned) = doorbell.map_or((0, 0), |(_, nr_lines, background)| {
        (nr_lines, background.lines)
    });
    Ok(Report {
        rows,
        left_out,
        notes,
        rounds,
        conditions,
        partial,
        source: Source::Threads(Threads {
            lines,
            others_assigned,
            clock_ns,
            rate: options.rate,
        }),
    })
}

/// Time per round trip of one thread, in ns, in a small and in a large context.
#[derive(Debug, serde::Serialize)]
pub struct Scale {
    /// The name of the row.
    pub name: &'static str,
    /// In a context with one line.
    pub few_ns: f64,
    /// In a context with many lines.
    pub many_ns: f64,
}

/// Compares a context of one line with one of `options.lines`, all of which have an irqfd and a
/// trigger. Returns the number of lines besides the measured one, too, which is in the middle.
///
/// Both contexts exist at the same time, and their rows are interleaved. The raw eventfd is
/// measured in both: the difference of its two figures is the accuracy of the others.
pub fn scale(options: &Options, progress: Progress<'_>) -> anyhow::Result<(Vec<Scale>, u32)> {
    let cpus = sys::cpus()?;
    let place = Placement::among(&cpus);
    let mut running = Vec::new();
    let mut backgrounds = Vec::new();
    for nr_lines in [1, options.lines] {
        let context = Arc::new(Context::open_path(&options.device)?);
        context.set_lines(nr_lines)?;
        let line = nr_lines / 2;
        let paths = [Arc::new(DoorbellPath::new(&context, line)?)];
        let background = BackgroundLines::new(&context, nr_lines, line..line + 1, progress)?;
        backgrounds.push(background);
        for kind in Group::OneThread.rows() {
            if kind.rings() || kind == Kind::Eventfd {
                running.push(Running::new((Group::OneThread, kind), &paths, place)?);
            }
        }
    }
    interleave(&mut running, options, progress)?;
    sys::pin(&cpus)?;
    let mut few: Vec<Row> = running.into_iter().map(Running::finish).collect();
    let many = few.split_off(few.len() / 2);
    let pair = |(few, many): (Row, Row)| Scale {
        name: few.name,
        few_ns: few.ns,
        many_ns: many.ns,
    };
    let assigned = backgrounds.last().map_or(0, |background| background.lines);
    Ok((few.into_iter().zip(many).map(pair).collect(), assigned))
}

/// Irqfds and triggers on the lines that are not measured.
#[derive(Debug, Default)]
pub(crate) struct BackgroundLines {
    /// Kept open: closing an eventfd removes its irqfd.
    pub(crate) irqfds: Vec<EventFd>,
    pub(crate) lines: u32,
}

impl BackgroundLines {
    /// Assigns an irqfd and a trigger to each line of the context, except those in `except`.
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
            "{nr_lines} assigned lines need {wanted} open files, and only {files} are allowed: run \
             as root, or with ulimit -n {wanted} (at most sysctl fs.nr_open)"
        );
        let mut background = Self::default();
        for line in (0..nr_lines).filter(|line| !except.contains(line)) {
            let irqfd = EventFd::new(0)?;
            context.assign_irqfd(&irqfd, line)?;
            background.irqfds.push(irqfd);
            // The trigger keeps a reference of its own to the eventfd.
            context.assign_trigger(&EventFd::new(0)?, line)?;
            background.lines += 1;
            progress("assigning", background.lines.into(), nr_lines.into());
        }
        Ok(background)
    }
}

/// Returns the time of reading the clock, in ns.
fn clock_cost() -> f64 {
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

/// Returns the value below which a share of `q` lies; NaN if there are no values.
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
