// SPDX-License-Identifier: GPL-2.0-only

//! What the storm rages over: contexts, their lines, and what stays wired to them throughout.

use super::{bus::Bus, chain::Chain, clock::Clock, hall::Hall, level::Source};
use doorbell::{Context, EventFd, LineStatus, LineType, Notify, StatusPages};
use std::{
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Rung by ioctl and by an irqfd, and from inside the kernel; masked by anybody.
    Open,
    /// The same, and what is pending is dropped now and then.
    Cleared,
    /// The same, but one thread alone masks it, and looks whether that is a barrier.
    Barrier,
    /// The same, and its trigger is the irqfd of a line of another context.
    Source,
    /// The same, and semaphores come and go as irqfds.
    Semaphore,
    /// The same, and ordinary eventfds come and go as irqfds.
    Merging,
    /// One thread alone does everything to it, and knows exactly what must come of it.
    Solo,
    /// Rung by ioctl only.
    Ioctl,
    /// Rung by the deliveries of another line only.
    Relay,
    /// A level line: rung in all ways and by sources with a resamplefd, masked by all threads that
    /// mask and acked by all that ack.
    Level,
    /// The same, and the threads that ack it raise and lower it, too.
    Raised,
    /// A level line that one thread alone works on, like a solo line.
    #[serde(rename = "solo-level")]
    SoloLevel,
    /// Rung in all ways, and nothing else is done to it: a message that its own callback does not
    /// deliver stays pending.
    Prompt,
}

impl Kind {
    /// Those that the lines of the first context take turns in being.
    const TURNS: [Kind; super::MIN_LINES as usize] = [
        Kind::Open,
        Kind::Level,
        Kind::Raised,
        Kind::Prompt,
        Kind::Cleared,
        Kind::Barrier,
        Kind::Source,
        Kind::Semaphore,
        Kind::Merging,
        Kind::Solo,
        Kind::Ioctl,
        Kind::SoloLevel,
    ];

    /// What to call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Cleared => "cleared",
            Kind::Barrier => "barrier",
            Kind::Source => "source",
            Kind::Semaphore => "semaphore",
            Kind::Merging => "merging",
            Kind::Solo => "solo",
            Kind::Ioctl => "ioctl",
            Kind::Relay => "relay",
            Kind::Level => "level",
            Kind::Raised => "raised",
            Kind::SoloLevel => "solo-level",
            Kind::Prompt => "prompt",
        }
    }

    /// Whether producers ring it.
    pub(super) fn rung(self) -> bool {
        !matches!(self, Kind::Solo | Kind::SoloLevel | Kind::Relay)
    }

    /// Whether anybody may mask it.
    pub(super) fn masked_by_all(self) -> bool {
        !matches!(
            self,
            Kind::Solo | Kind::SoloLevel | Kind::Barrier | Kind::Prompt
        )
    }

    /// Returns true if one thread alone does everything to it.
    pub(super) fn solo(self) -> bool {
        matches!(self, Kind::Solo | Kind::SoloLevel)
    }

    /// Returns true if it is a level line that all [`Acker`]s ack.
    ///
    /// [`Acker`]: super::level::Acker
    pub(super) fn acked_by_all(self) -> bool {
        matches!(self, Kind::Level | Kind::Raised)
    }

    /// Returns true if it is a level line.
    pub fn level(self) -> bool {
        self.acked_by_all() || self == Kind::SoloLevel
    }

    /// Returns true if each ring must be followed by a delivery. A ring of a level line that is
    /// asserted has its delivery behind it.
    fn delivers(self) -> bool {
        self != Kind::Cleared && self != Kind::Solo && !self.level()
    }
}

/// Returns the kinds of the first context's lines.
pub(super) fn kinds(lines: u32) -> Vec<Kind> {
    let turns = Kind::TURNS.into_iter().cycle();
    turns.take(lines as usize).collect()
}

/// A line, and what is assigned to it for good.
pub(super) struct Line {
    /// Of which context.
    pub(super) context: usize,
    /// Its number there.
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// Each signal rings the line once.
    pub(super) irqfd: Option<EventFd>,
    /// Those that come and go as irqfds.
    pub(super) guests: Vec<EventFd>,
    /// Counts masks and unmasks.
    notifier: EventFd,
    /// Counts acks.
    acked: Option<EventFd>,
    /// The resamplefd of `irqfd`.
    resamplefd: Option<EventFd>,
    /// Other irqfds with a resamplefd.
    pub(super) sources: Vec<Source>,
    /// A trigger that the line's own thread reads.
    pub(super) own: Option<EventFd>,
    /// Triggers that only make deliveries take longer.
    _ballast: Vec<EventFd>,
    /// The line whose deliveries ring this one.
    source: Option<usize>,
    /// The line at the beginning of that chain, or this one: its producers' numbers count.
    origin: usize,
    /// The last number of each producer, written before it rings.
    numbers: Vec<Padded>,
}

/// Far enough from the next one that two CPUs can write without taking it from each other.
#[repr(align(64))]
#[derive(Default)]
struct Padded(AtomicU64);

/// A trigger that is there all the time, and what its consumer knows.
pub(super) struct Tap {
    pub(super) line: usize,
    pub(super) eventfd: EventFd,
    /// What arrived.
    total: AtomicU64,
    /// Each producer's number when the consumer looked last.
    seen: Vec<AtomicU64>,
}

/// What somebody writes to a tap to wake who sleeps in read(2) on it.
const WAKE_UP: u64 = 1 << 48;

/// Everything.
pub(super) struct World {
    pub(super) contexts: Vec<Context>,
    pub(super) status: Vec<StatusPages>,
    /// Those of the first context first, by number.
    pub(super) lines: Vec<Line>,
    /// One per line; then those that somebody sleeps on.
    pub(super) taps: Vec<Tap>,
    /// That of the first context.
    pub(super) bus: Bus,
    /// Where others come and go.
    pub(super) hall: Hall,
    /// A chain whose last lines the worker delivers.
    pub(super) chain: Chain,
    /// For all limits.
    pub(super) clock: Clock,
}

/// How many eventfds come and go per line and thread that lets them.
pub(super) const GUESTS: usize = 2;

const BALLAST: usize = 6;

/// The sources with a resamplefd of each level line that all threads ack.
const SOURCES: usize = 3;

impl World {
    /// `lines` lines in the first context, `producers` threads that ring them, and `hosts` threads
    /// that let irqfds come and go.
    pub(super) fn new(
        device: &Path,
        lines: u32,
        producers: usize,
        hosts: usize,
    ) -> anyhow::Result<Self> {
        let kinds = kinds(lines);
        let sources: Vec<u32> = (0..lines)
            .filter(|&line| kinds[line as usize] == Kind::Source)
            .collect();
        let contexts = [Context::open_path(device)?, Context::open_path(device)?];
        contexts[0].set_lines(lines)?;
        contexts[1].set_lines(2 * sources.len().max(1) as u32)?;
        let mut world = Self {
            bus: Bus::new(&contexts[0], &kinds, producers)?,
            hall: Hall::new(device, hosts)?,
            status: contexts
                .iter()
                .map(Context::map_status)
                .collect::<Result<_, _>>()?,
            chain: Chain::new(device)?,
            clock: Clock::new(),
            contexts: contexts.into(),
            lines: Vec::new(),
            taps: Vec::new(),
        };
        for number in 0..lines {
            let kind = kinds[number as usize];
            world.add_line(0, number, kind, None, producers, hosts)?;
        }
        for (at, source) in (0..).zip(sources) {
            // To the other context, and once more within it.
            world.add_line(
                1,
                2 * at,
                Kind::Relay,
                Some(source as usize),
                producers,
                hosts,
            )?;
            let first = world.lines.len() - 1;
            world.add_line(1, 2 * at + 1, Kind::Relay, Some(first), producers, hosts)?;
        }
        for line in 0..world.lines.len() {
            world.add_tap(line, EventFd::non_blocking(false)?, producers)?;
        }
        // To sleep on.
        world.add_tap(0, EventFd::new(0)?, producers)?;
        Ok(world)
    }

    fn add_line(
        &mut self,
        context: usize,
        number: u32,
        kind: Kind,
        source: Option<usize>,
        producers: usize,
        hosts: usize,
    ) -> anyhow::Result<()> {
        let here = &self.contexts[context];
        let notifier = EventFd::new(0)?;
        here.assign_notifier(&notifier, number, Notify::MASK | Notify::UNMASK)?;
        let (mut acked, mut resamplefd) = (None, None);
        if kind.level() {
            here.set_type(number, LineType::Level)?;
            let eventfd = EventFd::new(0)?;
            here.assign_notifier(&eventfd, number, Notify::ACK)?;
            acked = Some(eventfd);
        }
        let irqfd = match kind {
            Kind::Ioctl => None,
            _ if kind.level() => {
                let (irqfd, other) = (EventFd::non_blocking(false)?, EventFd::new(0)?);
                here.assign_resampled(&irqfd, number, &other)?;
                resamplefd = Some(other);
                Some(irqfd)
            }
            _ => {
                let irqfd = EventFd::non_blocking(false)?;
                here.assign_irqfd(&irqfd, number)?;
                Some(irqfd)
            }
        };
        if let (Some(source), Some(irqfd)) = (source, &irqfd) {
            let source = &self.lines[source];
            self.contexts[source.context].assign_trigger(irqfd, source.number)?;
        }
        let guests = match kind {
            Kind::Semaphore => Some(true),
            Kind::Merging => Some(false),
            _ => None,
        };
        let guests = match guests {
            Some(semaphore) => (0..GUESTS * hosts)
                .map(|_| EventFd::non_blocking(semaphore))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let sources = match kind.acked_by_all() {
            true => (0..SOURCES)
                .map(|_| Source::new(here, number))
                .collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        let (mut own, mut ballast) = (None, Vec::new());
        if kind == Kind::Barrier || kind.solo() {
            if kind == Kind::Barrier {
                for _ in 0..BALLAST {
                    ballast.push(EventFd::new(0)?);
                    here.assign_trigger(&ballast[ballast.len() - 1], number)?;
                }
            }
            let eventfd = EventFd::non_blocking(false)?;
            // Behind the ballast: it is signalled last.
            here.assign_trigger(&eventfd, number)?;
            own = Some(eventfd);
        }
        let index = self.lines.len();
        self.lines.push(Line {
            context,
            number,
            kind,
            irqfd,
            guests,
            notifier,
            acked,
            resamplefd,
            sources,
            own,
            _ballast: ballast,
            source,
            origin: source.map_or(index, |source| self.lines[source].origin),
            numbers: (0..producers).map(|_| Padded::default()).collect(),
        });
        Ok(())
    }

    fn add_tap(&mut self, line: usize, eventfd: EventFd, producers: usize) -> anyhow::Result<()> {
        self.context(line)
            .assign_trigger(&eventfd, self.lines[line].number)?;
        self.taps.push(Tap {
            line,
            eventfd,
            total: AtomicU64::new(0),
            seen: (0..producers).map(|_| AtomicU64::new(0)).collect(),
        });
        Ok(())
    }

    /// The context of a line.
    pub(super) fn context(&self, line: usize) -> &Context {
        &self.contexts[self.lines[line].context]
    }

    /// What the status page says of a line.
    pub(super) fn status(&self, line: usize) -> LineStatus {
        let line = &self.lines[line];
        self.status[line.context].line(line.number)
    }

    /// How often a line has delivered.
    pub(super) fn deliveries(&self, line: usize) -> u64 {
        let line = &self.lines[line];
        self.status[line.context].deliveries(line.number)
    }

    /// What to call a line.
    pub(super) fn name(&self, line: usize) -> String {
        let line = &self.lines[line];
        format!(
            "line {}.{} ({})",
            line.context,
            line.number,
            line.kind.name()
        )
    }

    /// Lines whose kind is as wanted.
    pub(super) fn which(&self, wanted: impl Fn(Kind) -> bool) -> Vec<usize> {
        (0..self.lines.len())
            .filter(|&line| wanted(self.lines[line].kind))
            .collect()
    }

    /// `producer` is about to ring `line`.
    #[inline]
    pub(super) fn about_to_ring(&self, line: usize, producer: usize) {
        let number = &self.lines[line].numbers[producer].0;
        // Nobody else writes it.
        number.store(number.load(Relaxed) + 1, Release);
    }

    /// `arrived` was read from a tap: its consumer looks at all numbers.
    pub(super) fn look(&self, tap: &Tap, arrived: u64) {
        let numbers = &self.lines[self.lines[tap.line].origin].numbers;
        for (seen, number) in tap.seen.iter().zip(numbers) {
            seen.store(number.0.load(Acquire), Relaxed);
        }
        tap.total
            .store(tap.total.load(Relaxed) + arrived % WAKE_UP, Release);
    }

    /// Wakes those who sleep on taps.
    pub(super) fn wake_sleepers(&self) {
        for tap in &self.taps[self.lines.len()..] {
            // If that fails nobody sleeps: the counter is full.
            let _ = tap.eventfd.write(WAKE_UP);
        }
    }

    /// Whether nothing is pending, and consumers have read all that was delivered.
    pub(super) fn quiet(&self) -> bool {
        (0..self.lines.len()).all(|line| !self.status(line).pending)
            && self
                .taps
                .iter()
                .all(|tap| tap.total.load(Acquire) == self.deliveries(tap.line))
    }

    /// All deliveries.
    pub(super) fn all_deliveries(&self) -> u64 {
        (0..self.lines.len())
            .map(|line| self.deliveries(line))
            .sum()
    }

    /// All rings.
    pub(super) fn all_rings(&self) -> u64 {
        let rings = |line| self.status(line).rings();
        (0..self.lines.len()).map(rings).sum()
    }

    /// The other side of the accounts of `line`, when all is quiet.
    pub(super) fn found(&self, line: usize) -> anyhow::Result<super::ledger::Found> {
        let at = &self.lines[line];
        let taps = || self.taps.iter().filter(|tap| tap.line == line);
        let numbers = &self.lines[at.origin].numbers;
        let unseen = taps().map(|tap| -> u64 {
            let seen = tap.seen.iter().zip(numbers);
            seen.map(|(seen, number)| {
                let number = number.0.load(Acquire);
                number.saturating_sub(seen.load(Relaxed))
            })
            .sum()
        });
        let delivers = self.lines[at.origin].kind.delivers();
        let left = match at.kind {
            Kind::Semaphore => at.guests.iter().map(EventFd::count).sum::<Result<_, _>>()?,
            _ => 0,
        };
        let level = match (&at.acked, &at.resamplefd) {
            (Some(acked), Some(resamplefd)) => {
                let mut resampled = vec![resamplefd.count()?];
                for source in &at.sources {
                    resampled.push(source.account()?.1);
                }
                Some(super::ledger::FoundLevel {
                    acked: acked.count()?,
                    resampled,
                })
            }
            _ => None,
        };
        Ok(super::ledger::Found {
            state: self.context(line).query(at.number)?,
            rings: self.status(line).rings(),
            level,
            unseen: unseen.max().filter(|_| delivers).unwrap_or(0),
            arrived: taps().map(|tap| tap.total.load(Acquire)).collect(),
            notified: at.notifier.count()?,
            left,
        })
    }

    /// The line whose deliveries ring this one.
    pub(super) fn source(&self, line: usize) -> Option<usize> {
        self.lines[line].source
    }
}
