// SPDX-License-Identifier: GPL-2.0-only

//! A thread that lets triggers, notifiers, irqfds and contexts come and go.

use super::{
    crew::{Crew, Tally, Worker},
    hall::PASSERS,
    world::{Kind, GUESTS},
    Rule, Violation,
};
use crate::random::Random;
use doorbell::{Context, EventFd, LineSet, Notify};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Assigns and deassigns.
pub(super) struct Host {
    crew: Arc<Crew>,
    device: PathBuf,
    /// Which of the guests of each line are this one's.
    number: usize,
    random: Random,
    triggers: Vec<Visitor>,
    notifiers: Vec<Visitor>,
    /// An irqfd with a resamplefd, and the level line that it rings, when it is assigned.
    source: (EventFd, EventFd, Option<usize>),
    /// Lines whose triggers may come and go.
    lines: Vec<usize>,
    /// Guests that are irqfds now: line and number.
    assigned: Vec<(usize, usize)>,
    /// Lines whose regions this one moves.
    doors: Vec<usize>,
    /// Whether these are there.
    passers: [bool; PASSERS],
}

/// An eventfd that is sometimes assigned.
struct Visitor {
    eventfd: EventFd,
    at: Option<Visit>,
}

#[derive(Clone, Copy)]
struct Visit {
    line: usize,
    /// The line's deliveries before it was assigned, and after.
    before: u64,
    after: u64,
}

fn visitors(n: usize) -> anyhow::Result<Vec<Visitor>> {
    let visitor = |_| {
        let eventfd = EventFd::non_blocking(false)?;
        Ok(Visitor { eventfd, at: None })
    };
    (0..n).map(visitor).collect()
}

impl Host {
    pub(super) fn new(
        crew: Arc<Crew>,
        device: PathBuf,
        (number, hosts): (usize, usize),
        random: Random,
    ) -> anyhow::Result<Self> {
        let doors = (0..crew.world.lines.len())
            .filter(|&line| crew.world.bus.has(line) && line % hosts == number)
            .collect();
        Ok(Self {
            doors,
            source: (
                EventFd::non_blocking(false)?,
                EventFd::non_blocking(false)?,
                None,
            ),
            lines: crew.world.which(|kind| kind != Kind::Prompt),
            passers: [false; PASSERS],
            crew,
            device,
            number,
            random,
            triggers: visitors(6)?,
            notifiers: visitors(3)?,
            assigned: Vec::new(),
        })
    }

    /// Since its deassign has returned nobody has signalled it.
    fn untouched(&self, what: &str, visitor: &Visitor) -> Result<(), Violation> {
        match visitor.eventfd.take()? {
            0 => Ok(()),
            n => Err(Violation::new(
                Rule::Deassign,
                what,
                format!("signalled {n} times after its deassign had returned"),
            )),
        }
    }

    fn trigger(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let world = &self.crew.world;
        let at = self.random.below(self.triggers.len());
        let visitor = &self.triggers[at];
        let Some(visit) = visitor.at else {
            self.untouched("a trigger", visitor)?;
            let line = self.random.pick(&self.lines);
            let before = world.deliveries(line);
            world
                .context(line)
                .assign_trigger(&visitor.eventfd, world.lines[line].number)?;
            let after = world.deliveries(line);
            tally.assigns += 1;
            self.triggers[at].at = Some(Visit {
                line,
                before,
                after,
            });
            return Ok(());
        };
        let line = visit.line;
        let before = world.deliveries(line);
        world
            .context(line)
            .deassign_trigger(&visitor.eventfd, world.lines[line].number)?;
        let arrived = visitor.eventfd.take()?;
        let after = world.deliveries(line);
        // A delivery is counted before it signals, and neither assign nor deassign divides one.
        let (low, high) = (
            before.saturating_sub(visit.after),
            after.saturating_sub(visit.before),
        );
        let rule = match arrived {
            n if n < low => Some(Rule::Lost),
            n if n > high => Some(Rule::Invented),
            _ => None,
        };
        if let Some(rule) = rule {
            return Err(Violation::new(
                rule,
                &world.name(line),
                format!(
                    "while a trigger was assigned there were {low} to {high} deliveries, but it \
                     was signalled {arrived} times"
                ),
            ));
        }
        self.triggers[at].at = None;
        Ok(())
    }

    fn notifier(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let world = &self.crew.world;
        let at = self.random.below(self.notifiers.len());
        let visitor = &self.notifiers[at];
        if let Some(visit) = visitor.at {
            world
                .context(visit.line)
                .deassign_notifier(&visitor.eventfd, world.lines[visit.line].number)?;
            visitor.eventfd.take()?;
            self.notifiers[at].at = None;
            return Ok(());
        }
        self.untouched("a notifier", visitor)?;
        let line = self.random.below(world.lines.len());
        let mut notify =
            self.random
                .pick(&[Notify::MASK, Notify::UNMASK, Notify::MASK | Notify::UNMASK]);
        if world.lines[line].kind.level() && self.random.one_in(2) {
            notify = notify | Notify::ACK;
        }
        world
            .context(line)
            .assign_notifier(&visitor.eventfd, world.lines[line].number, notify)?;
        tally.assigns += 1;
        self.notifiers[at].at = Some(Visit {
            line,
            before: 0,
            after: 0,
        });
        Ok(())
    }

    /// Nothing stays in an ordinary eventfd that is an irqfd.
    fn empty(&self, line: usize, guest: usize) -> Result<(), Violation> {
        let world = &self.crew.world;
        let eventfd = &world.lines[line].guests[guest];
        if world.lines[line].kind != Kind::Merging {
            return Ok(());
        }
        match world.context(line).read_eventfd(eventfd, true) {
            Err(error) if error.errno() == Some(libc::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(n) => Err(Violation::new(
                Rule::Attach,
                &world.name(line),
                format!("{n} left in an eventfd that is an irqfd"),
            )),
        }
    }

    fn irqfd(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let world = &self.crew.world;
        let lines = world.which(|kind| matches!(kind, Kind::Semaphore | Kind::Merging));
        let line = self.random.pick(&lines);
        let guest = GUESTS * self.number + self.random.below(GUESTS);
        let (context, number) = (world.context(line), world.lines[line].number);
        let eventfd = &world.lines[line].guests[guest];
        match self.assigned.iter().position(|&one| one == (line, guest)) {
            Some(at) => {
                self.empty(line, guest)?;
                context.deassign_irqfd(eventfd, number)?;
                self.assigned.swap_remove(at);
            }
            None => {
                context.assign_irqfd(eventfd, number)?;
                tally.assigns += 1;
                self.assigned.push((line, guest));
                self.empty(line, guest)?;
            }
        }
        Ok(())
    }

    /// A source of a level line.
    fn source(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let world = &self.crew.world;
        let (irqfd, resamplefd, at) = &self.source;
        let line = match *at {
            Some(line) => {
                world
                    .context(line)
                    .deassign_irqfd(irqfd, world.lines[line].number)?;
                resamplefd.take()?;
                None
            }
            None => {
                self.not_resampled()?;
                let line = self.random.pick(&world.which(Kind::acked_by_all));
                world.context(line).assign_resampled(
                    irqfd,
                    world.lines[line].number,
                    resamplefd,
                )?;
                tally.assigns += 1;
                tally.lines[line].signals += 1;
                irqfd.write(1)?;
                Some(line)
            }
        };
        self.source.2 = line;
        Ok(())
    }

    /// Since the source was deassigned its resamplefd was not signalled.
    fn not_resampled(&self) -> Result<(), Violation> {
        match self.source.1.take()? {
            0 => Ok(()),
            n => {
                let text = format!("signalled {n} times after its deassign had returned");
                Err(Violation::new(Rule::Deassign, "a resamplefd", text))
            }
        }
    }

    /// An irqfd that goes because its eventfd is closed.
    fn closed(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let world = &self.crew.world;
        let line = self.random.pick(&world.which(|kind| kind == Kind::Open));
        let eventfd = EventFd::non_blocking(false)?;
        let n = self.random.below(4) as u64;
        let early = self.random.below(2) as u64;
        if early != 0 {
            // Before it is assigned they are one.
            eventfd.write(3)?;
            eventfd.write(4)?;
        }
        world
            .context(line)
            .assign_irqfd(&eventfd, world.lines[line].number)?;
        for _ in 0..n {
            eventfd.write(1)?;
        }
        tally.assigns += 1;
        tally.lines[line].signals += early + n;
        Ok(())
    }

    /// Moves regions of lines.
    fn relocate(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        if self.doors.is_empty() {
            return Ok(());
        }
        self.random.shuffle(&mut self.doors);
        let some = &self.doors[..1 + self.random.below(self.doors.len())];
        let world = &self.crew.world;
        tally.assigns += world.bus.relocate(&world.contexts[0], some)?;
        Ok(())
    }

    /// Has regions come or go.
    fn pass(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let world = &self.crew.world;
        let at = self.random.below(PASSERS);
        let passer = PASSERS * self.number + at;
        if self.passers[at] {
            world.hall.go(passer)?;
        } else {
            world.hall.come(passer)?;
            tally.assigns += 1;
        }
        self.passers[at] = !self.passers[at];
        Ok(())
    }

    /// A context that lives for a moment.
    fn mayfly(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let what = "a context that lived for a moment";
        let (input, output) = (EventFd::non_blocking(false)?, EventFd::non_blocking(false)?);
        let context = Context::open_path(&self.device)?;
        context.set_lines(3)?;
        context.assign_trigger(&output, 1)?;
        input.write(5)?;
        context.assign_irqfd(&input, 1)?;
        context.assign_notifier(&output, 2, Notify::MASK | Notify::UNMASK)?;
        tally.assigns += 3;
        if !output.wait(Duration::from_secs(5))? {
            let text = "nothing came of what was written before the irqfd was assigned";
            return Err(Violation::new(Rule::Lost, what, text.into()));
        }
        output.take()?;
        if self.random.one_in(2) {
            context.mask_lines(&LineSet::range(0..3))?;
            output.take()?;
        }
        let masked = context.pending(1)? || context.query(1)?.masked;
        input.write(1)?;
        drop(context);
        // Closing deassigns, too: nobody listens any more.
        let arrived = output.take()?;
        input.write(7)?;
        let (left, more) = (input.take()?, output.take()?);
        if left != 7 || more != 0 || arrived != u64::from(!masked) {
            return Err(Violation::new(
                Rule::Deassign,
                what,
                format!(
                    "{arrived} deliveries, {} expected; after it was closed: {left} left of 7 \
                     written to what was an irqfd, {more} signals at what was a trigger",
                    u64::from(!masked)
                ),
            ));
        }
        Ok(())
    }
}

impl Worker for Host {
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        if self.random.one_in(4) {
            std::thread::sleep(Duration::from_micros(50));
        }
        match self.random.below(44) {
            40.. => self.source(tally),
            0..12 => self.trigger(tally),
            12..18 => self.notifier(tally),
            18..29 => self.irqfd(tally),
            29 | 30 => self.closed(tally),
            32..35 => self.relocate(tally),
            35..40 => self.pass(tally),
            _ => self.mayfly(tally),
        }
    }

    fn settle(&mut self, _: &mut Tally) -> Result<(), Violation> {
        for &(line, guest) in &self.assigned {
            self.empty(line, guest)?;
        }
        let world = &self.crew.world;
        for (at, there) in self.passers.iter_mut().enumerate() {
            let passer = PASSERS * self.number + at;
            if std::mem::take(there) {
                world.hall.go(passer)?;
            }
            world.hall.untouched(passer)?;
        }
        if self.source.2.is_none() {
            self.not_resampled()?;
        }
        for visitor in self.triggers.iter().filter(|one| one.at.is_none()) {
            self.untouched("a trigger", visitor)?;
        }
        for visitor in self.notifiers.iter().filter(|one| one.at.is_none()) {
            self.untouched("a notifier", visitor)?;
        }
        Ok(())
    }
}
