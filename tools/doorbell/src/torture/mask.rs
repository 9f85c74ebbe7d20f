// SPDX-License-Identifier: GPL-2.0-only

//! Threads that mask, unmask and clear: everybody's lines, and, alone, lines of their own.

use super::{
    crew::{Crew, Tally, Worker},
    world::Kind,
    Rule, Violation,
};
use crate::random::Random;
use doorbell::{EventFd, LineSet};
use std::{sync::Arc, time::Duration};

/// Masks, unmasks and clears lines that others mask, too.
pub(super) struct Masker {
    crew: Arc<Crew>,
    random: Random,
    /// For each context: its lines that may be masked, as indices.
    lines: Vec<Vec<usize>>,
}

impl Masker {
    pub(super) fn new(crew: Arc<Crew>, random: Random) -> Self {
        let world = &crew.world;
        let lines = (0..world.contexts.len())
            .map(|context| {
                let mut lines = world.which(Kind::masked_by_all);
                lines.retain(|&line| world.lines[line].context == context);
                lines
            })
            .filter(|lines| !lines.is_empty())
            .collect();
        Self {
            crew,
            random,
            lines,
        }
    }
}

/// A little while: sometimes none, sometimes until somebody else has run.
fn dwell(
    random: &mut Random,
    mut meanwhile: impl FnMut() -> Result<(), Violation>,
) -> Result<(), Violation> {
    // Who sleeps comes back when it suits nobody, and lets the others have the CPU.
    if random.one_in(4) {
        std::thread::sleep(Duration::from_micros(50));
    }
    for _ in 0..random.below(200) {
        std::hint::spin_loop();
        meanwhile()?;
    }
    Ok(())
}

impl Worker for Masker {
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let random = &mut self.random;
        let world = &self.crew.world;
        let lines = &self.lines[random.below(self.lines.len())];
        let context = world.context(lines[0]);
        let number = |line: usize| world.lines[line].number;

        // One line ...
        if random.one_in(2) {
            let index = random.pick(lines);
            let line = number(index);
            let done = &mut tally.lines[index];
            done.masks += u64::from(context.mask(line)?);
            dwell(random, || Ok(()))?;
            if world.lines[index].kind == Kind::Cleared && random.one_in(2) {
                done.cleared += u64::from(context.clear(line)?);
            }
            if random.one_in(8) {
                // Somebody else does, sometime.
                return Ok(());
            }
            done.released += u64::from(context.unmask(line)?);
            return Ok(());
        }

        // ... or some at once.
        let odds = 1 + random.below(3);
        let chosen: Vec<usize> = lines
            .iter()
            .copied()
            .filter(|_| random.one_in(odds))
            .collect();
        let set: LineSet = chosen.iter().map(|&line| number(line)).collect();
        let masked = context.mask_lines(&set)?;
        dwell(random, || Ok(()))?;
        let mut clear: Vec<usize> = chosen.clone();
        clear.retain(|&line| world.lines[line].kind == Kind::Cleared);
        let cleared = context.clear_lines(&clear.iter().map(|&line| number(line)).collect())?;
        let released = context.unmask_lines(&set)?;
        for &line in &chosen {
            let done = &mut tally.lines[line];
            let at = number(line);
            done.masks += u64::from(masked.contains(at));
            done.cleared += u64::from(cleared.contains(at));
            done.released += u64::from(released.contains(at));
        }
        for (name, result) in [
            ("MASK", &masked),
            ("CLEAR", &cleared),
            ("UNMASK", &released),
        ] {
            if let Some(stranger) = result.iter().find(|&line| !set.contains(line)) {
                return Err(Violation::new(
                    Rule::Mask,
                    &format!("line {stranger}"),
                    format!("{name} reported it, which was not asked for it"),
                ));
            }
        }
        Ok(())
    }
}

/// Masks lines that nobody else masks, and looks whether that is a barrier.
pub(super) struct Barrier {
    crew: Arc<Crew>,
    random: Random,
    lines: Vec<usize>,
    /// What arrived at each line's own trigger.
    arrived: Vec<u64>,
}

impl Barrier {
    /// For the lines `lines`.
    pub(super) fn new(crew: Arc<Crew>, random: Random, lines: Vec<usize>) -> Self {
        Self {
            arrived: vec![0; lines.len()],
            crew,
            random,
            lines,
        }
    }

    fn violation(&self, at: usize, text: String) -> Violation {
        let name = self.crew.world.name(self.lines[at]);
        Violation::new(Rule::Mask, &name, text)
    }

    /// What arrived by now at the own trigger of the line `at`.
    fn arrived(&mut self, at: usize) -> Result<u64, Violation> {
        self.arrived[at] += own(&self.crew, self.lines[at]).take()?;
        Ok(self.arrived[at])
    }

    /// `call` has just returned: the lines `chosen` are masked, and nothing is under way. Returns
    /// their deliveries.
    fn still(&mut self, call: &str, chosen: &[usize]) -> Result<Vec<u64>, Violation> {
        let mut deliveries = Vec::new();
        for &at in chosen {
            let arrived = self.arrived(at)?;
            let counted = self.crew.world.deliveries(self.lines[at]);
            if arrived != counted {
                let text = format!(
                    "{call}, but of {counted} deliveries only {arrived} had signalled their last \
                     trigger: one was under way"
                );
                return Err(self.violation(at, text));
            }
            deliveries.push(counted);
        }
        Ok(deliveries)
    }
}

/// The trigger of a line that only the line's own thread reads.
fn own(crew: &Crew, line: usize) -> &EventFd {
    let own = crew.world.lines[line].own.as_ref();
    own.expect("barrier and solo lines have one")
}

impl Worker for Barrier {
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let crew = self.crew.clone();
        let world = &crew.world;
        let Some(&first) = self.lines.first() else {
            return Ok(());
        };
        let context = world.context(first);
        let mut chosen: Vec<usize> = (0..self.lines.len()).collect();
        self.random.shuffle(&mut chosen);
        chosen.truncate(1 + self.random.below(chosen.len()));
        let one = chosen.len() == 1 && self.random.one_in(2);
        let index = |at: usize| self.lines[at];
        let numbers: Vec<u32> = chosen
            .iter()
            .map(|&at| world.lines[index(at)].number)
            .collect();
        let set: LineSet = numbers.iter().copied().collect();

        let masked = match one {
            true if context.mask(numbers[0])? => set.clone(),
            true => LineSet::range(0..0),
            false => context.mask_lines(&set)?,
        };
        for (&at, &number) in chosen.iter().zip(&numbers) {
            if !masked.contains(number) {
                let text = "MASK said it was masked already, but only this thread masks it";
                return Err(self.violation(at, text.into()));
            }
            tally.lines[self.lines[at]].masks += 1;
        }

        let deliveries = self.still("MASK returned", &chosen)?;
        let moved = || {
            chosen
                .iter()
                .zip(&deliveries)
                .map(|(&at, &before)| (at, before, world.deliveries(self.lines[at])))
                .find(|(_, before, now)| before != now)
        };
        let mut seen = None;
        // Others go on ringing meanwhile.
        dwell(&mut self.random, || {
            seen = seen.or_else(moved);
            Ok(())
        })?;
        if let Some((at, before, now)) = seen.or_else(moved) {
            let text = format!("masked at {before} deliveries, and then there were {now}");
            return Err(self.violation(at, text));
        }
        if self.random.one_in(8) && context.mask(numbers[0])? {
            let text = "a second MASK said that it was not masked";
            return Err(self.violation(chosen[0], text.into()));
        }
        self.still("masked", &chosen)?;

        let pending: Vec<bool> = chosen
            .iter()
            .map(|&at| world.status(self.lines[at]).pending)
            .collect();
        let released = match one {
            true if context.unmask(numbers[0])? => set.clone(),
            true => LineSet::range(0..0),
            false => context.unmask_lines(&set)?,
        };
        for (((&at, &number), &pending), &before) in
            chosen.iter().zip(&numbers).zip(&pending).zip(&deliveries)
        {
            let delivered = released.contains(number);
            tally.lines[self.lines[at]].released += u64::from(delivered);
            if pending && !delivered {
                let text = "a message was pending, and UNMASK did not deliver it";
                return Err(self.violation(at, text.into()));
            }
            let arrived = self.arrived(at)?;
            if delivered && arrived <= before {
                let text = format!(
                    "UNMASK said it delivered, but {arrived} deliveries arrived, as before"
                );
                return Err(self.violation(at, text));
            }
        }
        if self.random.one_in(8) && context.unmask(numbers[0])? {
            let text = "UNMASK of a line that is not masked said it delivered";
            return Err(self.violation(chosen[0], text.into()));
        }
        Ok(())
    }
}
