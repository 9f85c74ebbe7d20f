// SPDX-License-Identifier: GPL-2.0-only

//! Threads that mask, unmask and clear lines: shared lines, lines that mask themselves, and lines that
//! only one thread masks.

use super::{
    faults,
    kind::Kind,
    pool::{IssuedCounts, Worker, WorkerPool},
    Rule, Violation,
};
use crate::random::Random;
use doorbell::{EventFd, LineSet, MaskReasons, Moderation};
use std::{sync::Arc, time::Duration};

/// A worker that masks, unmasks and clears lines that all maskers share.
pub(super) struct Masker {
    pool: Arc<WorkerPool>,
    random: Random,
    /// The indices of the lines that may be masked, by context.
    lines: Vec<Vec<usize>>,
    /// The indices of the lines that mask themselves.
    automask: Vec<usize>,
}

/// Returns the reason of one mask.
fn one_reason(random: &mut Random) -> MaskReasons {
    random.pick(&[
        MaskReasons::VECTOR,
        MaskReasons::FUNCTION,
        MaskReasons::PAUSE,
        MaskReasons::AUTO,
    ])
}

impl Masker {
    pub(super) fn new(pool: Arc<WorkerPool>, random: Random) -> Self {
        let topology = &pool.topology;
        let lines = (0..topology.contexts.len())
            .map(|context| {
                let mut lines = topology.lines_with(Kind::masked_by_all);
                lines.retain(|&line| topology.lines[line].context == context);
                lines
            })
            .filter(|lines| !lines.is_empty())
            .collect();
        Self {
            automask: topology.lines_with(|kind| kind == Kind::Automask),
            pool,
            random,
            lines,
        }
    }
}

/// Waits for a random time, at times until another thread has run. Calls `meanwhile` repeatedly.
fn delay(
    random: &mut Random,
    mut meanwhile: impl FnMut() -> Result<(), Violation>,
) -> Result<(), Violation> {
    // A sleep ends at an arbitrary time, and leaves the CPU to other threads.
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
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let random = &mut self.random;
        let topology = &self.pool.topology;
        let lines = &self.lines[random.below(self.lines.len())];
        let context = topology.context(lines[0]);
        let number = |line: usize| topology.lines[line].number;

        // The handlers of lines that mask themselves.
        for &index in &self.automask {
            let delivered = topology
                .context(index)
                .unmask_for(number(index), MaskReasons::AUTO)?;
            counts.lines[index].released += u64::from(delivered);
        }

        let reason = one_reason(random);
        // One line ...
        if random.one_in(2) {
            let index = random.pick(lines);
            let line = number(index);
            let issued = &mut counts.lines[index];
            issued.masks += u64::from(context.mask_for(line, reason)?);
            delay(random, || Ok(()))?;
            if topology.lines[index].kind == Kind::Cleared && random.one_in(2) {
                issued.cleared += u64::from(context.clear(line)?);
            }
            if random.one_in(8) {
                // Another masker unmasks it later.
                return Ok(());
            }
            issued.released += u64::from(context.unmask_for(line, reason)?);
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
        let masked = context.mask_lines_for(&set, reason)?;
        delay(random, || Ok(()))?;
        let mut clear: Vec<usize> = chosen.clone();
        clear.retain(|&line| topology.lines[line].kind == Kind::Cleared);
        let cleared = context.clear_lines(&clear.iter().map(|&line| number(line)).collect())?;
        let released = context.unmask_lines_for(&set, reason)?;
        for &line in &chosen {
            let issued = &mut counts.lines[line];
            let at = number(line);
            issued.masks += u64::from(masked.contains(at));
            issued.cleared += u64::from(cleared.contains(at));
            issued.released += u64::from(released.contains(at));
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
                    format!("{name} returned this line, which was not in the set"),
                ));
            }
        }
        Ok(())
    }
}

/// A worker that masks lines that no other thread masks, and checks that the mask is a barrier. It
/// moderates the lines at times: the mask is a barrier for their timers, too.
pub(super) struct BarrierCheck {
    pool: Arc<WorkerPool>,
    random: Random,
    lines: Vec<usize>,
    /// The number of signals that arrived at each line's last trigger.
    arrived: Vec<u64>,
    /// The lines that are moderated.
    moderated: Vec<bool>,
}

impl BarrierCheck {
    /// Returns a worker for `lines`.
    pub(super) fn new(pool: Arc<WorkerPool>, random: Random, lines: Vec<usize>) -> Self {
        Self {
            arrived: vec![0; lines.len()],
            moderated: vec![false; lines.len()],
            pool,
            random,
            lines,
        }
    }

    fn violation(&self, at: usize, text: String) -> Violation {
        let name = self.pool.topology.name(self.lines[at]);
        Violation::new(Rule::Mask, &name, text)
    }

    /// Limits the rate of the line `at`, or ends the limit.
    fn moderate(&mut self, at: usize, moderation: Option<Moderation>) -> Result<(), Violation> {
        let topology = &self.pool.topology;
        let index = self.lines[at];
        let number = topology.lines[index].number;
        faults::call(|| topology.context(index).moderate(number, moderation))?;
        self.moderated[at] = moderation.is_some();
        Ok(())
    }

    /// Returns random limits, or none. The interval is short beside the time of a delivery, or long.
    fn random_moderation(&mut self) -> Option<Moderation> {
        let random = &mut self.random;
        let micros = random.pick(&[0, 1, 20, 200, 1000]);
        (micros != 0).then(|| Moderation {
            min_interval: Duration::from_micros(micros),
            max_count: random.one_in(2).then(|| 1 + random.below(8) as u32),
        })
    }

    /// Returns the number of signals that have arrived at the last trigger of the line `at`.
    fn arrived(&mut self, at: usize) -> Result<u64, Violation> {
        self.arrived[at] += last_trigger(&self.pool, self.lines[at]).take()?;
        Ok(self.arrived[at])
    }

    /// Checks that no delivery of the masked lines `chosen` is in flight, now that `call` has
    /// returned. Returns their deliveries.
    fn check_idle(&mut self, call: &str, chosen: &[usize]) -> Result<Vec<u64>, Violation> {
        let mut deliveries = Vec::new();
        for &at in chosen {
            let arrived = self.arrived(at)?;
            let counted = self.pool.topology.deliveries(self.lines[at]);
            if arrived != counted {
                let text = format!(
                    "{call}, but of {counted} deliveries only {arrived} had signalled their last \
                     trigger: one was in flight"
                );
                return Err(self.violation(at, text));
            }
            deliveries.push(counted);
        }
        Ok(deliveries)
    }
}

/// Returns the last trigger of a line. Only the line's own thread reads it.
fn last_trigger(pool: &WorkerPool, line: usize) -> &EventFd {
    let trigger = pool.topology.lines[line].last_trigger.as_ref();
    trigger.expect("barrier and solo lines have one")
}

impl Worker for BarrierCheck {
    fn run_slice(&mut self, counts: &mut IssuedCounts) -> Result<(), Violation> {
        let pool = self.pool.clone();
        let topology = &pool.topology;
        let Some(&first) = self.lines.first() else {
            return Ok(());
        };
        let context = topology.context(first);
        let mut chosen: Vec<usize> = (0..self.lines.len()).collect();
        self.random.shuffle(&mut chosen);
        chosen.truncate(1 + self.random.below(chosen.len()));
        if self.random.one_in(8) {
            let moderation = self.random_moderation();
            self.moderate(chosen[0], moderation)?;
        }
        let one = chosen.len() == 1 && self.random.one_in(2);
        let index = |at: usize| self.lines[at];
        let numbers: Vec<u32> = chosen
            .iter()
            .map(|&at| topology.lines[index(at)].number)
            .collect();
        let set: LineSet = numbers.iter().copied().collect();

        let reason = one_reason(&mut self.random);
        let masked = match one {
            true if context.mask_for(numbers[0], reason)? => set.clone(),
            true => LineSet::range(0..0),
            false => context.mask_lines_for(&set, reason)?,
        };
        for (&at, &number) in chosen.iter().zip(&numbers) {
            if !masked.contains(number) {
                let text =
                    "MASK returned that the line was masked already, but only this thread masks it";
                return Err(self.violation(at, text.into()));
            }
            counts.lines[self.lines[at]].masks += 1;
        }

        let deliveries = self.check_idle("MASK returned", &chosen)?;
        let moved = || {
            chosen
                .iter()
                .zip(&deliveries)
                .map(|(&at, &before)| (at, before, topology.deliveries(self.lines[at])))
                .find(|(_, before, now)| before != now)
        };
        let mut seen = None;
        // Other threads ring meanwhile.
        delay(&mut self.random, || {
            seen = seen.or_else(moved);
            Ok(())
        })?;
        if let Some((at, before, now)) = seen.or_else(moved) {
            let text = format!("masked at {before} deliveries, and then there were {now}");
            return Err(self.violation(at, text));
        }
        if self.random.one_in(8) {
            // For the same reason or for another one, which then holds the line alone for a moment.
            let second = one_reason(&mut self.random);
            if context.mask_for(numbers[0], second)? {
                let text = "a second MASK returned that the line was not masked";
                return Err(self.violation(chosen[0], text.into()));
            }
            if second != reason {
                let between = context.unmask_for(numbers[0], reason)?
                    || context.mask_for(numbers[0], reason)?
                    || context.unmask_for(numbers[0], second)?;
                if between {
                    let text = "the end of one of two reasons unmasked the line";
                    return Err(self.violation(chosen[0], text.into()));
                }
            }
        }
        self.check_idle("masked", &chosen)?;

        let pending: Vec<bool> = chosen
            .iter()
            .map(|&at| topology.status(self.lines[at]).pending)
            .collect();
        let released = match one {
            true if context.unmask_for(numbers[0], reason)? => set.clone(),
            true => LineSet::range(0..0),
            false => context.unmask_lines_for(&set, reason)?,
        };
        for (((&at, &number), &pending), &before) in
            chosen.iter().zip(&numbers).zip(&pending).zip(&deliveries)
        {
            let delivered = released.contains(number);
            counts.lines[self.lines[at]].released += u64::from(delivered);
            if self.moderated[at] && !delivered {
                counts.lines[self.lines[at]].timed += 1;
            } else if pending && !delivered {
                let text = "a message was pending, and UNMASK did not deliver it";
                return Err(self.violation(at, text.into()));
            }
            let arrived = self.arrived(at)?;
            if delivered && arrived <= before {
                let text = format!(
                    "UNMASK returned that it delivered, but {arrived} deliveries arrived, as before"
                );
                return Err(self.violation(at, text));
            }
        }
        if self.random.one_in(8) && context.unmask_for(numbers[0], MaskReasons::ALL)? {
            let text = "UNMASK of a line that is not masked returned that it delivered";
            return Err(self.violation(chosen[0], text.into()));
        }
        Ok(())
    }

    /// Ends the moderation, so that no message waits for a timer.
    fn before_pause(&mut self, _: &mut IssuedCounts) -> Result<(), Violation> {
        (0..self.lines.len()).try_for_each(|at| self.moderate(at, None))
    }
}
