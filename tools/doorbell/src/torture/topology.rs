// SPDX-License-Identifier: GPL-2.0-only

//! The contexts, their lines, and the eventfds and regions that stay assigned for the whole run.

use super::{
    bus::Bus,
    clock::Clock,
    counting::Counting,
    echo::Echo,
    kind::{kinds, Kind},
    level::Source,
    paired_regions::PairedRegions,
    relay_chain::RelayChain,
    summary::SummaryCheck,
    waited::Waited,
};
use doorbell::{Context, EventFd, LineStatus, LineType, Notify, StatusPages};
use std::{
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// A line, and the eventfds that stay assigned to it.
pub(super) struct Line {
    /// The index of its context.
    pub(super) context: usize,
    /// Its number in the context.
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// Each signal rings the line once.
    pub(super) irqfd: Option<EventFd>,
    /// Eventfds that are irqfds at times.
    pub(super) churn_irqfds: Vec<EventFd>,
    /// Counts masks and unmasks.
    notifier: EventFd,
    /// Counts acks.
    acked: Option<EventFd>,
    /// The resamplefd of `irqfd`.
    resamplefd: Option<EventFd>,
    /// Other irqfds with a resamplefd.
    pub(super) sources: Vec<Source>,
    /// The trigger that is signalled last. Only the line's own thread reads it.
    pub(super) last_trigger: Option<EventFd>,
    /// Triggers that prolong deliveries.
    _delay_triggers: Vec<EventFd>,
    /// The line whose deliveries ring this one.
    source: Option<usize>,
    /// The first line of that chain, or this line. Producers announce its rings.
    origin: usize,
    /// The number of rings that each producer has announced.
    numbers: Vec<Padded>,
}

/// A counter with a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Padded(AtomicU64);

/// A trigger that stays assigned, and the state of its consumer.
pub(super) struct FixedTrigger {
    pub(super) line: usize,
    pub(super) eventfd: EventFd,
    /// The number of signals that arrived.
    total: AtomicU64,
    /// The number of each producer when the consumer last read it.
    seen: Vec<AtomicU64>,
}

/// The value that wakes a thread that sleeps in read(2) on a trigger.
const WAKE_UP: u64 = 1 << 48;

/// All contexts and their lines.
pub(super) struct Topology {
    pub(super) contexts: Vec<Context>,
    pub(super) status: Vec<StatusPages>,
    /// The lines of the first context by number, then those of the second.
    pub(super) lines: Vec<Line>,
    /// One per line, then those on which a thread sleeps in read(2).
    pub(super) fixed_triggers: Vec<FixedTrigger>,
    /// The bus of the first context.
    pub(super) bus: Bus,
    /// Pairs of regions whose assignment churns.
    pub(super) paired_regions: PairedRegions,
    /// A line whose ringers wait for its trigger.
    pub(super) echo: Echo,
    /// A line whose trigger is its waiters.
    pub(super) waited: Waited,
    /// A line whose triggers count its rings.
    pub(super) counting: Counting,
    /// A chain of relays whose last lines a worker delivers.
    pub(super) relay_chain: RelayChain,
    /// The lines of the first context that have fired.
    pub(super) summary: SummaryCheck,
    /// The clock of all limits.
    pub(super) clock: Clock,
}

/// The number of eventfds that are irqfds at times, per line and assigner.
pub(super) const CHURN_IRQFDS: usize = 2;

const DELAY_TRIGGERS: usize = 6;

/// The number of sources of each level line that all ackers ack.
const SOURCES: usize = 3;

impl Topology {
    /// Creates `lines` lines in the first context, for `producers` threads that ring them and
    /// `assigners` threads that assign and deassign.
    pub(super) fn new(
        device: &Path,
        lines: u32,
        producers: usize,
        assigners: usize,
    ) -> anyhow::Result<Self> {
        let kinds = kinds(lines);
        let sources: Vec<u32> = (0..lines)
            .filter(|&line| kinds[line as usize] == Kind::Source)
            .collect();
        let contexts = [Context::open_path(device)?, Context::open_path(device)?];
        contexts[0].set_lines(lines)?;
        contexts[1].set_lines(2 * sources.len().max(1) as u32)?;
        let mut topology = Self {
            bus: Bus::new(&contexts[0], &kinds, producers)?,
            paired_regions: PairedRegions::new(device, assigners)?,
            echo: Echo::new(device)?,
            waited: Waited::new(device)?,
            counting: Counting::new(device)?,
            status: contexts
                .iter()
                .map(Context::map_status)
                .collect::<Result<_, _>>()?,
            relay_chain: RelayChain::new(device)?,
            summary: SummaryCheck::new(&contexts[0], lines)?,
            clock: Clock::new(),
            contexts: contexts.into(),
            lines: Vec::new(),
            fixed_triggers: Vec::new(),
        };
        for number in 0..lines {
            let kind = kinds[number as usize];
            topology.add_line(0, number, kind, None, producers, assigners)?;
        }
        for (at, source) in (0..).zip(sources) {
            // One relay to the other context, and one within it.
            topology.add_line(
                1,
                2 * at,
                Kind::Relay,
                Some(source as usize),
                producers,
                assigners,
            )?;
            let first = topology.lines.len() - 1;
            topology.add_line(
                1,
                2 * at + 1,
                Kind::Relay,
                Some(first),
                producers,
                assigners,
            )?;
        }
        for line in 0..topology.lines.len() {
            topology.add_fixed_trigger(line, EventFd::non_blocking(false)?, producers)?;
        }
        // A blocking one for a thread that sleeps in read(2).
        topology.add_fixed_trigger(0, EventFd::new(0)?, producers)?;
        Ok(topology)
    }

    fn add_line(
        &mut self,
        context: usize,
        number: u32,
        kind: Kind,
        source: Option<usize>,
        producers: usize,
        assigners: usize,
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
        if kind == Kind::Automask {
            here.set_type_automask(number, LineType::Edge)?;
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
        let churn_irqfds = match kind {
            Kind::Semaphore => Some(true),
            Kind::Merging => Some(false),
            _ => None,
        };
        let churn_irqfds = match churn_irqfds {
            Some(semaphore) => (0..CHURN_IRQFDS * assigners)
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
        let (mut last_trigger, mut delay_triggers) = (None, Vec::new());
        if kind == Kind::Barrier || kind.solo() {
            if kind == Kind::Barrier {
                for _ in 0..DELAY_TRIGGERS {
                    delay_triggers.push(EventFd::new(0)?);
                    here.assign_trigger(&delay_triggers[delay_triggers.len() - 1], number)?;
                }
            }
            let eventfd = EventFd::non_blocking(false)?;
            // Assigned after the delay triggers, so it is signalled last.
            here.assign_trigger(&eventfd, number)?;
            last_trigger = Some(eventfd);
        }
        let index = self.lines.len();
        self.lines.push(Line {
            context,
            number,
            kind,
            irqfd,
            churn_irqfds,
            notifier,
            acked,
            resamplefd,
            sources,
            last_trigger,
            _delay_triggers: delay_triggers,
            source,
            origin: source.map_or(index, |source| self.lines[source].origin),
            numbers: (0..producers).map(|_| Padded::default()).collect(),
        });
        Ok(())
    }

    fn add_fixed_trigger(
        &mut self,
        line: usize,
        eventfd: EventFd,
        producers: usize,
    ) -> anyhow::Result<()> {
        self.context(line)
            .assign_trigger(&eventfd, self.lines[line].number)?;
        self.fixed_triggers.push(FixedTrigger {
            line,
            eventfd,
            total: AtomicU64::new(0),
            seen: (0..producers).map(|_| AtomicU64::new(0)).collect(),
        });
        Ok(())
    }

    /// Returns the context of a line.
    pub(super) fn context(&self, line: usize) -> &Context {
        &self.contexts[self.lines[line].context]
    }

    /// Returns a line's entry in the status page.
    pub(super) fn status(&self, line: usize) -> LineStatus {
        let line = &self.lines[line];
        self.status[line.context].line(line.number)
    }

    /// Returns the number of deliveries of a line.
    pub(super) fn deliveries(&self, line: usize) -> u64 {
        let line = &self.lines[line];
        self.status[line.context].deliveries(line.number)
    }

    /// Returns the name of a line.
    pub(super) fn name(&self, line: usize) -> String {
        let line = &self.lines[line];
        format!(
            "line {}.{} ({})",
            line.context,
            line.number,
            line.kind.name()
        )
    }

    /// Returns the lines whose kind is `wanted`.
    pub(super) fn lines_with(&self, wanted: impl Fn(Kind) -> bool) -> Vec<usize> {
        (0..self.lines.len())
            .filter(|&line| wanted(self.lines[line].kind))
            .collect()
    }

    /// Announces that `producer` is about to ring `line`.
    #[inline]
    pub(super) fn announce_ring(&self, line: usize, producer: usize) {
        let number = &self.lines[line].numbers[producer].0;
        // Only this producer writes it.
        number.store(number.load(Relaxed) + 1, Release);
    }

    /// Records that a trigger's consumer has read `arrived`, and the numbers of all producers.
    pub(super) fn record_arrival(&self, trigger: &FixedTrigger, arrived: u64) {
        let numbers = &self.lines[self.lines[trigger.line].origin].numbers;
        for (seen, number) in trigger.seen.iter().zip(numbers) {
            seen.store(number.0.load(Acquire), Relaxed);
        }
        trigger
            .total
            .store(trigger.total.load(Relaxed) + arrived % WAKE_UP, Release);
    }

    /// Wakes the threads that sleep on triggers.
    pub(super) fn wake_sleepers(&self) {
        for trigger in &self.fixed_triggers[self.lines.len()..] {
            // This fails only if the counter is full. Then no thread sleeps.
            let _ = trigger.eventfd.write(WAKE_UP);
        }
    }

    /// Returns true if no message is pending and consumers have read all deliveries.
    pub(super) fn is_quiet(&self) -> bool {
        (0..self.lines.len()).all(|line| !self.status(line).pending)
            && self.summary.is_quiet(&self.status[0])
            && self
                .fixed_triggers
                .iter()
                .all(|trigger| trigger.total.load(Acquire) == self.deliveries(trigger.line))
    }

    /// Returns the number of deliveries of all lines.
    pub(super) fn all_deliveries(&self) -> u64 {
        (0..self.lines.len())
            .map(|line| self.deliveries(line))
            .sum()
    }

    /// Returns the number of rings of all lines.
    pub(super) fn all_rings(&self) -> u64 {
        let rings = |line| self.status(line).rings();
        (0..self.lines.len()).map(rings).sum()
    }

    /// Returns the observed side of the account of `line`. Nothing may be in flight.
    pub(super) fn observed(&self, line: usize) -> anyhow::Result<super::accounting::Observed> {
        let at = &self.lines[line];
        let triggers = || {
            self.fixed_triggers
                .iter()
                .filter(|trigger| trigger.line == line)
        };
        let numbers = &self.lines[at.origin].numbers;
        let undelivered = triggers().map(|trigger| -> u64 {
            let seen = trigger.seen.iter().zip(numbers);
            seen.map(|(seen, number)| {
                let number = number.0.load(Acquire);
                number.saturating_sub(seen.load(Relaxed))
            })
            .sum()
        });
        let delivers = self.lines[at.origin].kind.delivers();
        let left = match at.kind {
            Kind::Semaphore => at
                .churn_irqfds
                .iter()
                .map(EventFd::count)
                .sum::<Result<_, _>>()?,
            _ => 0,
        };
        let level = match (&at.acked, &at.resamplefd) {
            (Some(acked), Some(resamplefd)) => {
                let mut resampled = vec![resamplefd.count()?];
                for source in &at.sources {
                    resampled.push(source.totals()?.1);
                }
                Some(super::accounting::ObservedLevel {
                    acked: acked.count()?,
                    resampled,
                })
            }
            _ => None,
        };
        Ok(super::accounting::Observed {
            state: self.context(line).query(at.number)?,
            rings: self.status(line).rings(),
            level,
            undelivered: undelivered.max().filter(|_| delivers).unwrap_or(0),
            arrived: triggers()
                .map(|trigger| trigger.total.load(Acquire))
                .collect(),
            notified: at.notifier.count()?,
            left,
        })
    }

    /// Returns the line whose deliveries ring `line`.
    pub(super) fn source(&self, line: usize) -> Option<usize> {
        self.lines[line].source
    }
}
