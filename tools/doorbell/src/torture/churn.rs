// SPDX-License-Identifier: GPL-2.0-only

//! Threads that assign and deassign triggers, notifiers, irqfds and regions, and that create and
//! close contexts.

use super::{
    faults,
    kind::Kind,
    paired_regions::PAIRS_PER_ASSIGNER,
    pool::{IssuedCounts, Worker, WorkerPool},
    topology::CHURN_IRQFDS,
    Rule, Violation,
};
use crate::random::Random;
use doorbell::{Context, EventFd, LineSet, Notify};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A worker that assigns and deassigns.
pub(super) struct Assigner {
    pool: Arc<WorkerPool>,
    device: PathBuf,
    /// The number of this assigner. It chooses the eventfds and pairs that belong to it.
    number: usize,
    random: Random,
    triggers: Vec<Slot>,
    notifiers: Vec<Slot>,
    /// An irqfd, its resamplefd, and the level line that it is assigned to.
    resampled: (EventFd, EventFd, Option<usize>),
    /// Lines whose triggers may change.
    lines: Vec<usize>,
    /// The eventfds that are irqfds now: line and index.
    assigned: Vec<(usize, usize)>,
    /// Lines whose regions this assigner moves.
    region_lines: Vec<usize>,
    /// True for each pair of regions that is assigned.
    pairs: [bool; PAIRS_PER_ASSIGNER],
}

/// An eventfd that is assigned at times.
struct Slot {
    eventfd: EventFd,
    assignment: Option<Assignment>,
}

#[derive(Clone, Copy)]
struct Assignment {
    line: usize,
    /// The line's deliveries before the ASSIGN, and after it.
    before: u64,
    after: u64,
}

fn slots(n: usize) -> anyhow::Result<Vec<Slot>> {
    let slot = |_| {
        let eventfd = EventFd::non_blocking(false)?;
        Ok(Slot {
            eventfd,
            assignment: None,
        })
    };
    (0..n).map(slot).collect()
}

impl Assigner {
    pub(super) fn new(
        pool: Arc<WorkerPool>,
        device: PathBuf,
        (number, assigners): (usize, usize),
        random: Random,
    ) -> anyhow::Result<Self> {
        let region_lines = (0..pool.topology.lines.len())
            .filter(|&line| pool.topology.bus.has_region(line) && line % assigners == number)
            .collect();
        Ok(Self {
            region_lines,
            resampled: (
                EventFd::non_blocking(false)?,
                EventFd::non_blocking(false)?,
                None,
            ),
            lines: pool.topology.lines_with(|kind| kind != Kind::Prompt),
            pairs: [false; PAIRS_PER_ASSIGNER],
            pool,
            device,
            number,
            random,
            triggers: slots(6)?,
            notifiers: slots(3)?,
            assigned: Vec::new(),
        })
    }

    /// Checks that an eventfd was not signalled after its deassign had returned.
    fn check_silent(&self, what: &str, slot: &Slot) -> Result<(), Violation> {
        match slot.eventfd.take()? {
            0 => Ok(()),
            n => Err(Violation::new(
                Rule::Deassign,
                what,
                format!("signalled {n} times after its deassign had returned"),
            )),
        }
    }

    fn trigger(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let at = self.random.below(self.triggers.len());
        let slot = &self.triggers[at];
        let Some(assignment) = slot.assignment else {
            self.check_silent("a trigger", slot)?;
            let line = self.random.pick(&self.lines);
            let before = topology.deliveries(line);
            let (context, number) = (topology.context(line), topology.lines[line].number);
            faults::call(|| context.assign_trigger(&slot.eventfd, number))?;
            let after = topology.deliveries(line);
            counts.assigns += 1;
            self.triggers[at].assignment = Some(Assignment {
                line,
                before,
                after,
            });
            return Ok(());
        };
        let line = assignment.line;
        let before = topology.deliveries(line);
        let (context, number) = (topology.context(line), topology.lines[line].number);
        faults::call(|| context.deassign_trigger(&slot.eventfd, number))?;
        let arrived = slot.eventfd.take()?;
        let after = topology.deliveries(line);
        // A delivery is counted before it signals. It signals either all or none of the triggers
        // that an ASSIGN or DEASSIGN changes.
        let (low, high) = (
            before.saturating_sub(assignment.after),
            after.saturating_sub(assignment.before),
        );
        let rule = match arrived {
            n if n < low => Some(Rule::Lost),
            n if n > high => Some(Rule::Invented),
            _ => None,
        };
        if let Some(rule) = rule {
            return Err(Violation::new(
                rule,
                &topology.name(line),
                format!(
                    "while a trigger was assigned there were {low} to {high} deliveries, but it \
                     was signalled {arrived} times"
                ),
            ));
        }
        self.triggers[at].assignment = None;
        Ok(())
    }

    fn notifier(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let at = self.random.below(self.notifiers.len());
        let slot = &self.notifiers[at];
        if let Some(assignment) = slot.assignment {
            let line = assignment.line;
            let (context, number) = (topology.context(line), topology.lines[line].number);
            faults::call(|| context.deassign_notifier(&slot.eventfd, number))?;
            slot.eventfd.take()?;
            self.notifiers[at].assignment = None;
            return Ok(());
        }
        self.check_silent("a notifier", slot)?;
        let line = self.random.below(topology.lines.len());
        let mut notify =
            self.random
                .pick(&[Notify::MASK, Notify::UNMASK, Notify::MASK | Notify::UNMASK]);
        if topology.lines[line].kind.level() && self.random.one_in(2) {
            notify = notify | Notify::ACK;
        }
        let (context, number) = (topology.context(line), topology.lines[line].number);
        faults::call(|| context.assign_notifier(&slot.eventfd, number, notify))?;
        counts.assigns += 1;
        self.notifiers[at].assignment = Some(Assignment {
            line,
            before: 0,
            after: 0,
        });
        Ok(())
    }

    /// Checks that the counter of an ordinary eventfd that is an irqfd is zero.
    fn check_drained(&self, line: usize, at: usize) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let eventfd = &topology.lines[line].churn_irqfds[at];
        if topology.lines[line].kind != Kind::Merging {
            return Ok(());
        }
        match topology.context(line).read_eventfd(eventfd, true) {
            Err(error) if error.errno() == Some(libc::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(n) => Err(Violation::new(
                Rule::Attach,
                &topology.name(line),
                format!("{n} left in an eventfd that is an irqfd"),
            )),
        }
    }

    fn irqfd(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let lines = topology.lines_with(|kind| matches!(kind, Kind::Semaphore | Kind::Merging));
        let line = self.random.pick(&lines);
        let at = CHURN_IRQFDS * self.number + self.random.below(CHURN_IRQFDS);
        let (context, number) = (topology.context(line), topology.lines[line].number);
        let eventfd = &topology.lines[line].churn_irqfds[at];
        match self.assigned.iter().position(|&one| one == (line, at)) {
            Some(assigned) => {
                self.check_drained(line, at)?;
                faults::call(|| context.deassign_irqfd(eventfd, number))?;
                self.assigned.swap_remove(assigned);
            }
            None => {
                faults::call(|| context.assign_irqfd(eventfd, number))?;
                counts.assigns += 1;
                self.assigned.push((line, at));
                self.check_drained(line, at)?;
            }
        }
        Ok(())
    }

    /// Assigns or deassigns an irqfd with a resamplefd.
    fn resampled_irqfd(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let (irqfd, resamplefd, at) = &self.resampled;
        let line = match *at {
            Some(line) => {
                let (context, number) = (topology.context(line), topology.lines[line].number);
                faults::call(|| context.deassign_irqfd(irqfd, number))?;
                resamplefd.take()?;
                None
            }
            None => {
                self.check_resamplefd_silent()?;
                let line = self.random.pick(&topology.lines_with(Kind::acked_by_all));
                let (context, number) = (topology.context(line), topology.lines[line].number);
                faults::call(|| context.assign_resampled(irqfd, number, resamplefd))?;
                counts.assigns += 1;
                counts.lines[line].signals += 1;
                irqfd.write(1)?;
                Some(line)
            }
        };
        self.resampled.2 = line;
        Ok(())
    }

    /// Checks that the resamplefd was not signalled after its deassign had returned.
    fn check_resamplefd_silent(&self) -> Result<(), Violation> {
        match self.resampled.1.take()? {
            0 => Ok(()),
            n => {
                let text = format!("signalled {n} times after its deassign had returned");
                Err(Violation::new(Rule::Deassign, "a resamplefd", text))
            }
        }
    }

    /// Assigns an irqfd, and deassigns it by closing its eventfd.
    fn closed_irqfd(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let line = self
            .random
            .pick(&topology.lines_with(|kind| kind == Kind::Open));
        let eventfd = EventFd::non_blocking(false)?;
        let n = self.random.below(4) as u64;
        let early = self.random.below(2) as u64;
        if early != 0 {
            // Signals before the ASSIGN merge into one ring.
            eventfd.write(3)?;
            eventfd.write(4)?;
        }
        let (context, number) = (topology.context(line), topology.lines[line].number);
        faults::call(|| context.assign_irqfd(&eventfd, number))?;
        for _ in 0..n {
            eventfd.write(1)?;
        }
        counts.assigns += 1;
        counts.lines[line].signals += early + n;
        Ok(())
    }

    /// Moves regions of lines.
    fn move_regions(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        if self.region_lines.is_empty() {
            return Ok(());
        }
        self.random.shuffle(&mut self.region_lines);
        let some = &self.region_lines[..1 + self.random.below(self.region_lines.len())];
        let topology = &self.pool.topology;
        counts.assigns += topology.bus.move_regions(&topology.contexts[0], some)?;
        Ok(())
    }

    /// Assigns or deassigns a pair of regions.
    fn pair(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let at = self.random.below(PAIRS_PER_ASSIGNER);
        let pair = PAIRS_PER_ASSIGNER * self.number + at;
        if self.pairs[at] {
            topology.paired_regions.deassign(pair)?;
        } else {
            topology.paired_regions.assign(pair)?;
            counts.assigns += 1;
        }
        self.pairs[at] = !self.pairs[at];
        Ok(())
    }

    /// Opens a context, uses it and closes it.
    fn short_lived_context(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let what = "a short-lived context";
        let (input, output) = (EventFd::non_blocking(false)?, EventFd::non_blocking(false)?);
        let context = faults::call(|| Context::open_path(&self.device))?;
        faults::call(|| context.set_lines(3))?;
        faults::call(|| context.assign_trigger(&output, 1))?;
        input.write(5)?;
        faults::call(|| context.assign_irqfd(&input, 1))?;
        let notify = Notify::MASK | Notify::UNMASK;
        faults::call(|| context.assign_notifier(&output, 2, notify))?;
        counts.assigns += 3;
        if !output.wait(Duration::from_secs(5))? {
            let text = "the signal before the ASSIGN of its irqfd was not delivered";
            return Err(Violation::new(Rule::Lost, what, text.into()));
        }
        output.take()?;
        if self.random.one_in(2) {
            context.mask_lines(&LineSet::range(0..3))?;
            output.take()?;
        }
        let masked = context.pending(1)? || context.query(1)?.masked;
        input.write(1)?;
        faults::drop_armed(context);
        // The close has deassigned the eventfds.
        let arrived = output.take()?;
        input.write(7)?;
        let (left, more) = (input.take()?, output.take()?);
        if left != 7 || more != 0 || arrived != u64::from(!masked) {
            return Err(Violation::new(
                Rule::Deassign,
                what,
                format!(
                    "{arrived} deliveries, {} expected; after the close: {left} left of 7 \
                     written to a former irqfd, {more} signals at a former trigger",
                    u64::from(!masked)
                ),
            ));
        }
        Ok(())
    }

    /// Moves a line to another context, and checks that each message arrives once.
    fn migrated_context(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let (input, output) = (EventFd::non_blocking(false)?, EventFd::non_blocking(false)?);
        let masked = self.random.one_in(2);
        let rings = 1 + self.random.below(3) as u64;
        let open = || -> doorbell::Result<Context> {
            let context = faults::call(|| Context::open_path(&self.device))?;
            faults::call(|| context.set_lines(2))?;
            Ok(context)
        };
        let context = open()?;
        context.assign_trigger(&output, 1)?;
        if masked {
            context.mask(1)?;
        }
        for _ in 0..rings {
            context.ring(1)?;
        }
        let snapshot = context.snapshot(&[&output])?;
        drop(context);
        input.write(1)?;
        let context = open()?;
        context.restore(&snapshot)?;
        context.assign_trigger(&output, 1)?;
        context.assign_irqfd(&input, 1)?;
        counts.assigns += 3;
        let early = output.take()?;
        context.resume(&snapshot, &[&output])?;
        if masked {
            context.unmask(1)?;
        }
        let arrived = early + output.take()?;
        // A masked line has one message for all.
        let expected = if masked { 1 } else { rings + 1 };
        let counted = context.query(1)?.rings;
        if arrived == expected && early == 0 && counted == rings + 1 {
            return Ok(());
        }
        let rule = if arrived < expected {
            Rule::Lost
        } else {
            Rule::Invented
        };
        let text = format!(
            "{} rings: {arrived} deliveries, {expected} expected, {early} of them before the line \
             resumed; {counted} rings counted",
            rings + 1
        );
        Err(Violation::new(rule, "a migrated context", text))
    }
}

impl Worker for Assigner {
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        if self.random.one_in(4) {
            std::thread::sleep(Duration::from_micros(50));
        }
        match self.random.below(46) {
            44.. => self.migrated_context(counts),
            40..44 => self.resampled_irqfd(counts),
            0..12 => self.trigger(counts),
            12..18 => self.notifier(counts),
            18..29 => self.irqfd(counts),
            29 | 30 => self.closed_irqfd(counts),
            32..35 => self.move_regions(counts),
            35..40 => self.pair(counts),
            _ => self.short_lived_context(counts),
        }
    }

    fn before_pause(&mut self, _: &mut IssuedCounts) -> Result<(), Violation> {
        for &(line, at) in &self.assigned {
            self.check_drained(line, at)?;
        }
        let topology = &self.pool.topology;
        for (at, there) in self.pairs.iter_mut().enumerate() {
            let pair = PAIRS_PER_ASSIGNER * self.number + at;
            if std::mem::take(there) {
                topology.paired_regions.deassign(pair)?;
            }
            topology.paired_regions.check_silent(pair)?;
        }
        if self.resampled.2.is_none() {
            self.check_resamplefd_silent()?;
        }
        for slot in self.triggers.iter().filter(|one| one.assignment.is_none()) {
            self.check_silent("a trigger", slot)?;
        }
        for slot in self.notifiers.iter().filter(|one| one.assignment.is_none()) {
            self.check_silent("a notifier", slot)?;
        }
        Ok(())
    }
}
