// SPDX-License-Identifier: GPL-2.0-only

//! Round-trip times of notifications.
//!
//! All rows take turns in short slots, in an order that changes from round to round, so that
//! whatever drifts (frequency, temperature, the host of a VM) hits all of them alike. In the first
//! half of a slot a batch is timed as a whole, which gives the throughput; in the second half each
//! round trip is timed by itself, which gives the distribution and includes the cost of reading
//! the clock.

use crate::{sys, Context, EventFd};
use hdrhistogram::Histogram;
use std::{
    hint, io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering},
        Arc, Barrier,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Rows that are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// One thread signals and receives.
    OneThread,
    /// Two threads on one core send each other a message in turn.
    SameCore,
    /// The same on two cores.
    TwoCores,
}

impl Group {
    /// A name for programs.
    pub fn id(self) -> &'static str {
        match self {
            Group::OneThread => "one-thread",
            Group::SameCore => "same-core",
            Group::TwoCores => "two-cores",
        }
    }

    /// What to call it.
    pub fn name(self) -> &'static str {
        match self {
            Group::OneThread => "one thread",
            Group::SameCore => "two threads, same core",
            Group::TwoCores => "two threads, two cores",
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long, about.
    pub time: Duration,
    /// In how many rounds.
    pub rounds: u32,
    /// Lines of the context.
    pub lines: u32,
    /// Whether to assign an irqfd and a trigger to all lines that are not measured.
    pub fill: bool,
    /// Only rows whose name contains one of these; all if empty. The row that ratios refer to is
    /// always there.
    pub rows: Vec<String>,
    /// The device.
    pub device: String,
}

/// The figures of one row.
#[derive(Debug)]
pub struct Row {
    /// Its group.
    pub group: Group,
    /// What is measured.
    pub name: &'static str,
    /// Median over the rounds of a batch's time per round trip, in ns.
    pub ns: f64,
    /// Ratio of `ns` to the raw eventfd of the group.
    pub ratio: f64,
    /// Round-trip times in ns.
    pub histogram: Histogram<u64>,
}

impl Row {
    /// Round trips per second.
    pub fn iops(&self) -> f64 {
        1e9 / self.ns
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The rows, by group.
    pub rows: Vec<Row>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
    /// How many lines the context had, and how many of the others had something assigned.
    pub lines: (u32, u32),
}

/// The row of each group that the others are compared with.
const BASE: &str = "eventfd";

/// A way to make round trips. What it needs a second thread for runs between `start` and `stop`.
trait Probe {
    fn start(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn stop(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// One round trip.
    fn once(&mut self) -> io::Result<()>;
    /// Many, timed as a whole.
    fn batch(&mut self, n: u64) -> io::Result<Duration> {
        let start = Instant::now();
        for _ in 0..n {
            self.once()?;
        }
        Ok(start.elapsed())
    }
    /// Many, timed one by one.
    fn sample(&mut self, n: u64, histogram: &mut Histogram<u64>) -> io::Result<()> {
        let mut before = Instant::now();
        for _ in 0..n {
            self.once()?;
            let after = Instant::now();
            histogram.saturating_record((after - before).as_nanos() as u64);
            before = after;
        }
        Ok(())
    }
}

/// One thread: `signal`, then read `back`.
struct Echo<F> {
    signal: F,
    back: EventFd,
}

impl<F: FnMut() -> io::Result<()>> Probe for Echo<F> {
    #[inline]
    fn once(&mut self) -> io::Result<()> {
        (self.signal)()?;
        self.back.read().map(drop)
    }
}

/// A way for two sides to send each other a message in turn.
trait Channel: Send + Sync + 'static {
    /// Sends to the other side.
    fn send(&self, side: usize) -> io::Result<()>;
    /// Waits for the other side's message.
    fn receive(&self, side: usize) -> io::Result<()>;
}

/// Two threads: this one sends and waits for the answer, the other one answers.
struct PingPong<C> {
    channel: Arc<C>,
    cpu: usize,
    stop: Arc<AtomicBool>,
    peer: Option<JoinHandle<io::Result<()>>>,
}

impl<C: Channel> PingPong<C> {
    fn new(channel: C, cpu: usize) -> Self {
        Self {
            channel: Arc::new(channel),
            cpu,
            stop: Arc::default(),
            peer: None,
        }
    }
}

impl<C: Channel> Probe for PingPong<C> {
    fn start(&mut self) -> io::Result<()> {
        self.stop.store(false, Ordering::SeqCst);
        let (channel, stop, cpu) = (self.channel.clone(), self.stop.clone(), self.cpu);
        let ready = Arc::new(Barrier::new(2));
        let started = ready.clone();
        self.peer = Some(thread::spawn(move || {
            let pinned = sys::pin(&[cpu]);
            started.wait();
            pinned?;
            loop {
                channel.receive(1)?;
                if stop.load(Ordering::SeqCst) {
                    // Answers, so that as many messages go one way as the other.
                    return channel.send(1);
                }
                channel.send(1)?;
            }
        }));
        ready.wait();
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        let Some(peer) = self.peer.take() else {
            return Ok(());
        };
        self.stop.store(true, Ordering::SeqCst);
        self.once()?;
        peer.join()
            .unwrap_or_else(|_| Err(io::Error::other("the peer thread panicked")))
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.channel.send(0)?;
        self.channel.receive(0)
    }
}

/// On its own cache line, as anybody who cares would have it.
#[repr(align(128))]
#[derive(Default)]
struct Word(AtomicU32);

/// A word of shared memory each way, looked at until it changes.
#[derive(Default)]
struct Spin {
    words: [Word; 2],
    /// Two threads on one core never see a change if they do not let each other run.
    yielding: bool,
}

impl Channel for Spin {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.words[side].0.store(1, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        let word = &self.words[1 - side].0;
        while word.load(Ordering::Acquire) == 0 {
            if self.yielding {
                thread::yield_now();
            } else {
                hint::spin_loop();
            }
        }
        word.store(0, Ordering::Relaxed);
        Ok(())
    }
}

/// The same, sleeping.
#[derive(Default)]
struct Futex([Word; 2]);

impl Channel for Futex {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.0[side].0.store(1, Ordering::Release);
        sys::futex_wake(&self.0[side].0);
        Ok(())
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        let word = &self.0[1 - side].0;
        while word.load(Ordering::Acquire) == 0 {
            sys::futex_wait(word, 0);
        }
        word.store(0, Ordering::Relaxed);
        Ok(())
    }
}

struct Pipe([(OwnedFd, OwnedFd); 2]);

impl Channel for Pipe {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        sys::write_u64(self.0[side].1.as_fd(), 1)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        sys::read_u64(self.0[1 - side].0.as_fd()).map(drop)
    }
}

struct Raw([EventFd; 2]);

impl Channel for Raw {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.0[side].write(1)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        self.0[1 - side].read().map(drop)
    }
}

/// A line each way: rung by ioctl, or through an irqfd.
struct Doorbell {
    context: Arc<Context>,
    ways: [Way; 2],
}

/// A line with its trigger and, unless it is rung by ioctl, its irqfd.
struct Way {
    line: u32,
    irqfd: Option<EventFd>,
    trigger: EventFd,
}

impl Way {
    fn new(context: &Context, line: u32, by_irqfd: bool) -> crate::Result<Self> {
        let eventfd = || EventFd::new(0).map_err(|error| crate::Error::new("eventfd", error));
        let trigger = eventfd()?;
        context.assign_trigger(&trigger, line)?;
        let irqfd = by_irqfd.then(eventfd).transpose()?;
        if let Some(irqfd) = &irqfd {
            context.assign_irqfd(irqfd, line)?;
        }
        Ok(Self {
            line,
            irqfd,
            trigger,
        })
    }

    #[inline]
    fn ring(&self, context: &Context) -> io::Result<()> {
        match &self.irqfd {
            Some(irqfd) => irqfd.write(1),
            None => context.ring(self.line).map(drop).map_err(io::Error::other),
        }
    }
}

impl Channel for Doorbell {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.ways[side].ring(&self.context)
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        self.ways[1 - side].trigger.read().map(drop)
    }
}

/// A row while it is measured.
struct Running {
    group: Group,
    name: &'static str,
    cpu: usize,
    probe: Box<dyn Probe>,
    /// Lines that are rung once per round trip.
    lines: Vec<u32>,
    trips: u64,
    per_slot: u64,
    batches: Vec<f64>,
    histogram: Histogram<u64>,
}

impl Running {
    /// Finds out how many round trips fill half a slot; that is the warm-up, too.
    fn warm_up(&mut self, half_slot: Duration) -> io::Result<()> {
        sys::pin(&[self.cpu])?;
        self.probe.start()?;
        let mut n = 8;
        loop {
            let took = self.probe.batch(n)?;
            self.trips += n;
            if took * 2 >= half_slot || n >= 1 << 24 {
                let per_trip = took.as_secs_f64() / n as f64;
                self.per_slot = ((half_slot.as_secs_f64() / per_trip) as u64).max(8);
                break;
            }
            n *= 2;
        }
        self.end_slot()
    }

    fn slot(&mut self) -> io::Result<()> {
        sys::pin(&[self.cpu])?;
        self.probe.start()?;
        let n = self.per_slot;
        let took = self.probe.batch(n)?;
        self.batches.push(took.as_nanos() as f64 / n as f64);
        self.probe.sample(n, &mut self.histogram)?;
        self.trips += 2 * n;
        self.end_slot()
    }

    fn end_slot(&mut self) -> io::Result<()> {
        self.probe.stop()?;
        if self.group != Group::OneThread {
            // Stopping the peer took one more.
            self.trips += 1;
        }
        Ok(())
    }
}

/// Measures all groups; `progress` is told how many of how many slots are done.
pub fn run(options: &Options, progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<Report> {
    let groups = [Group::OneThread, Group::SameCore, Group::TwoCores];
    run_groups(options, &groups, progress)
}

/// Measures some groups.
pub fn run_groups(
    options: &Options,
    chosen: &[Group],
    progress: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<Report> {
    let cpus = sys::cpus()?;
    let mut skipped = Vec::new();
    let wanted = |name: &str| {
        name == BASE
            || options.rows.is_empty()
            || options.rows.iter().any(|r| name.contains(r.as_str()))
    };

    let mut running = Vec::new();
    let mut groups = Vec::new();
    for &group in chosen {
        match (group, cpus.get(1)) {
            (Group::TwoCores, Some(&other)) => groups.push((group, other)),
            (Group::TwoCores, None) => skipped.push(format!("{}: there is one", group.name())),
            _ => groups.push((group, cpus[0])),
        }
    }

    let mut doorbell = None;
    let mut next_line = 0;
    for &(group, peer) in &groups {
        for &name in names(group) {
            if !wanted(name) {
                continue;
            }
            let mut lines = Vec::new();
            let probe = if name.starts_with("doorbell") {
                if doorbell.is_none() {
                    let context = Context::open_path(&options.device)?;
                    context.set_lines(options.lines.max(lines_needed(&groups)))?;
                    doorbell = Some(Arc::new(context));
                }
                let context = doorbell.clone().expect("just set");
                let by_irqfd = name.contains("irqfd");
                let mut way = || -> crate::Result<Way> {
                    let way = Way::new(&context, next_line, by_irqfd)?;
                    lines.push(next_line);
                    next_line += 1;
                    Ok(way)
                };
                if group == Group::OneThread {
                    one_thread(context.clone(), way()?)?
                } else {
                    let ways = [way()?, way()?];
                    Box::new(PingPong::new(Doorbell { context, ways }, peer))
                }
            } else {
                plain(group, name, peer)?
            };
            running.push(Running {
                group,
                name,
                cpu: cpus[0],
                probe,
                lines,
                trips: 0,
                per_slot: 0,
                batches: Vec::new(),
                histogram: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            });
        }
    }

    let mut filling = Filling::default();
    if let Some(context) = &doorbell {
        if options.fill {
            filling = Filling::new(context, next_line)?;
        }
    }

    let total = u64::from(options.rounds + 1) * running.len() as u64;
    let slot = options.time.div_f64(total as f64);
    let mut done = 0;
    for row in &mut running {
        row.warm_up(slot / 2)?;
        done += 1;
        progress(done, total);
    }
    let mut order: Vec<usize> = (0..running.len()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..options.rounds {
        random.shuffle(&mut order);
        for &row in &order {
            running[row].slot()?;
            done += 1;
            progress(done, total);
        }
    }
    sys::pin(&cpus)?;

    if let Some(context) = &doorbell {
        for row in &running {
            audit(context, row)?;
        }
    }
    let lines = match &doorbell {
        Some(context) => (context.info()?.nr_lines, filling.lines),
        None => (0, 0),
    };
    Ok(Report {
        rows: finish(running),
        skipped,
        lines,
    })
}

/// The rows of a group, the one that the others are compared with first.
fn names(group: Group) -> &'static [&'static str] {
    match group {
        Group::OneThread => &[BASE, "doorbell ioctl", "doorbell irqfd"],
        Group::SameCore => &[
            BASE,
            "spin (yielding)",
            "futex",
            "pipe",
            "doorbell ioctl",
            "doorbell irqfd",
        ],
        Group::TwoCores => &[
            BASE,
            "spin",
            "futex",
            "pipe",
            "doorbell ioctl",
            "doorbell irqfd",
        ],
    }
}

fn lines_needed(groups: &[(Group, usize)]) -> u32 {
    let per_group = |group| if group == Group::OneThread { 2 } else { 4 };
    groups.iter().map(|&(group, _)| per_group(group)).sum()
}

fn one_thread(context: Arc<Context>, way: Way) -> io::Result<Box<dyn Probe>> {
    let Way {
        line,
        irqfd,
        trigger,
    } = way;
    Ok(match irqfd {
        Some(irqfd) => Box::new(Echo {
            signal: move || irqfd.write(1),
            back: trigger,
        }),
        None => Box::new(Echo {
            signal: move || context.ring(line).map(drop).map_err(io::Error::other),
            back: trigger,
        }),
    })
}

fn plain(group: Group, name: &str, peer: usize) -> io::Result<Box<dyn Probe>> {
    let eventfd = || EventFd::new(0);
    Ok(match (group, name) {
        (Group::OneThread, _) => {
            let back = eventfd()?;
            let there = back.as_fd().try_clone_to_owned()?;
            Box::new(Echo {
                signal: move || sys::write_u64(there.as_fd(), 1),
                back,
            })
        }
        (_, BASE) => Box::new(PingPong::new(Raw([eventfd()?, eventfd()?]), peer)),
        (_, "futex") => Box::new(PingPong::new(Futex::default(), peer)),
        (_, "pipe") => Box::new(PingPong::new(Pipe([sys::pipe()?, sys::pipe()?]), peer)),
        (group, _) => {
            let spin = Spin {
                yielding: group == Group::SameCore,
                ..Default::default()
            };
            Box::new(PingPong::new(spin, peer))
        }
    })
}

/// The doorbell's own count has to agree with ours: nothing lost, nothing invented.
fn audit(context: &Context, row: &Running) -> anyhow::Result<()> {
    for &line in &row.lines {
        let query = context.query(line)?;
        anyhow::ensure!(
            query.rings == row.trips && query.deliveries == row.trips && query.state == 0,
            "{}, {}: {} round trips, but line {line} counted {} rings and {} deliveries, state {:#x}",
            row.group.name(),
            row.name,
            row.trips,
            query.rings,
            query.deliveries,
            query.state,
        );
    }
    Ok(())
}

fn finish(running: Vec<Running>) -> Vec<Row> {
    let mut rows: Vec<Row> = running
        .into_iter()
        .map(|mut row| Row {
            group: row.group,
            name: row.name,
            ns: median(&mut row.batches),
            ratio: f64::NAN,
            histogram: row.histogram,
        })
        .collect();
    for at in 0..rows.len() {
        let base = rows
            .iter()
            .find(|row| row.group == rows[at].group && row.name == BASE)
            .map_or(f64::NAN, |row| row.ns);
        rows[at].ratio = rows[at].ns / base;
    }
    rows
}

/// The median; NaN of nothing.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// What is assigned to lines that are not measured.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    irqfds: Vec<EventFd>,
    pub(crate) lines: u32,
}

impl Filling {
    /// Gives each line from `first` on an irqfd, which stays open, and a trigger, which does not.
    pub(crate) fn new(context: &Context, first: u32) -> anyhow::Result<Self> {
        let nr_lines = context.info()?.nr_lines;
        let wanted = u64::from(nr_lines) + 256;
        let files = sys::raise_open_files(wanted)?;
        anyhow::ensure!(
            files >= wanted,
            "filling {nr_lines} lines takes {wanted} open files, and only {files} are allowed: \
             run it as root, or ulimit -n {wanted}"
        );
        let mut filling = Self::default();
        for line in first..nr_lines {
            let irqfd = EventFd::new(0)?;
            context.assign_irqfd(&irqfd, line)?;
            filling.irqfds.push(irqfd);
            context.assign_trigger(EventFd::new(0)?, line)?;
            filling.lines += 1;
        }
        Ok(filling)
    }
}

/// xorshift: the order of the slots need not be unpredictable, only different each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rows: &[&str]) -> Options {
        Options {
            time: Duration::from_millis(300),
            rounds: 3,
            lines: 1,
            fill: false,
            rows: rows.iter().map(ToString::to_string).collect(),
            device: "/nonexistent".into(),
        }
    }

    #[test]
    fn rows_without_the_device_are_measured() {
        let mut last = (0, 1);
        let report = run(&options(&["pipe", "futex"]), &mut |done, of| {
            last = (done, of)
        })
        .unwrap();
        assert_eq!(last.0, last.1);
        for group in [Group::OneThread, Group::SameCore] {
            let base = report
                .rows
                .iter()
                .find(|r| r.group == group && r.name == BASE);
            assert_eq!(base.unwrap().ratio, 1.0);
        }
        for row in &report.rows {
            assert!(row.ns > 0.0 && !row.histogram.is_empty(), "{}", row.name);
            assert!(row.histogram.min() <= row.histogram.max());
        }
        assert!(report.rows.iter().any(|row| row.name == "futex"));
        assert!(!report
            .rows
            .iter()
            .any(|row| row.name.starts_with("doorbell")));
    }

    #[test]
    fn doorbell_rows_need_the_device() {
        let error = run(&options(&["doorbell ioctl"]), &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("modprobe"), "{error}");
    }

    #[test]
    fn median_of_odd_and_even() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn shuffle_keeps_everything() {
        let mut items: Vec<u32> = (0..20).collect();
        Random(1).shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
