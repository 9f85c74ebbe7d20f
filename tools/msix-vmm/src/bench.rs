// SPDX-License-Identifier: GPL-2.0-only

//! The test bench: runs scenarios on a machine and counts.

use crate::{
    device::{Answers, Device},
    function::{Function, Line},
    guest::Entry,
    layout::{self, result, shared, TARGETS, TARGET_SIZE},
    machine::{Machine, Step, Target},
    mutant::Mutant,
    scenario::{Counts, Scenario},
};
use anyhow::{Context, Result};
use doorbell::msix::{ENABLE, FUNCTION_MASK};
use kvm_rtt::Vm;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

/// The number of vectors of the function: two words of pending bits.
pub const VECTORS: u16 = 72;
/// The vectors that the scenarios use, in both words of pending bits.
const USED: [u16; 3] = [3, 40, 70];

/// The number of drains in a row that do not change an automasked line whose handler has run.
const MOST_DRAINS: u32 = 1000;

/// A machine with a function, and what the scenarios need.
pub struct Bench<F> {
    machine: Machine<F>,
    mutant: Option<Mutant>,
}

/// A 32-bit word of the pending bits with the bit of a vector.
struct PbaWord {
    address: u64,
    bit: u32,
}

impl PbaWord {
    fn of(vector: u16) -> Self {
        Self {
            address: layout::WINDOW + layout::PBA + 4 * u64::from(vector / 32),
            bit: 1 << (vector % 32),
        }
    }

    fn read(&self) -> Step {
        Step::Read32(self.address)
    }
}

fn mask(vector: u16) -> Step {
    Step::Write32(layout::vector_control(vector), 1)
}

fn unmask(vector: u16) -> Step {
    Step::Write32(layout::vector_control(vector), 0)
}

fn control(value: u16) -> Step {
    Step::Write32(layout::WINDOW + layout::CONTROL, value.into())
}

/// Returns the steps that set the message of a vector.
fn retarget(vector: u16, target: Target) -> [Step; 3] {
    let message = target.message();
    let entry = layout::entry(vector);
    [
        Step::Write32(entry, message.address as u32),
        Step::Write32(entry + 4, (message.address >> 32) as u32),
        Step::Write32(entry + 8, message.data),
    ]
}

/// Targets, of which each differs from the one before in the vCPU or in the interrupt vector.
fn ring_of_targets() -> [Target; 4] {
    let (a, b) = (layout::FIRST + 4, layout::FIRST + 5);
    [(0, a), (0, b), (1, b), (1, a)].map(|(vcpu, vector)| Target { vcpu, vector })
}

impl<F: Function + 'static> Bench<F> {
    /// Creates a machine whose function comes from `make`.
    ///
    /// # Errors
    ///
    /// There is no KVM that works, or `make` fails.
    pub fn new(make: impl FnOnce(&Vm) -> Result<F>, mutant: Option<Mutant>) -> Result<Self> {
        Ok(Self {
            machine: Machine::new(make)?,
            mutant,
        })
    }

    /// Runs `scenario` with about `signals` signals. Returns `None` if the function has no such vectors.
    ///
    /// # Errors
    ///
    /// The guest or a system call fails. What is lost or spurious is no error; it is counted.
    pub fn run(&self, scenario: Scenario, signals: u64) -> Result<Option<Counts>> {
        let counted = match scenario {
            Scenario::Pending => self.pending(signals).map(Some),
            Scenario::Quiet => self.quiet(signals).map(Some),
            Scenario::Function => self.function(signals).map(Some),
            Scenario::MoveMasked => self.moves(signals, true).map(Some),
            Scenario::MoveUnmasked => self.moves(signals, false).map(Some),
            Scenario::Storm => self.storm(signals, 0).map(Some),
            Scenario::StormOther => self.storm(signals, 1).map(Some),
            Scenario::Automask => {
                let vector = self.machine.function().automasked();
                let counted = vector.map(|vector| self.automask(signals, vector));
                counted.transpose()
            }
        };
        counted.with_context(|| scenario.name())
    }

    /// Returns the time of a mask and an unmask by the guest, as the mean of `n`.
    ///
    /// # Errors
    ///
    /// The guest or a system call fails.
    pub fn time_of_pair(&self, n: u32) -> Result<Duration> {
        let target = Target {
            vcpu: 0,
            vector: layout::FIRST,
        };
        self.set_up(&[(USED[0], target)])?;
        let start = Instant::now();
        self.machine.start(0, Entry::Pairs, 0, |regs| {
            regs.rdi = n.into();
            regs.r8 = layout::vector_control(USED[0]);
        })?;
        self.machine.finish(0)?;
        let took = start.elapsed();
        self.machine.execute(target, &[mask(USED[0])])?;
        Ok(took / n)
    }

    /// Lets the guest set the messages of vectors, enable MSI-X and unmask them.
    fn set_up(&self, vectors: &[(u16, Target)]) -> Result<()> {
        let mut steps = vec![control(ENABLE)];
        for &(vector, target) in vectors {
            steps.extend(retarget(vector, target));
            steps.push(unmask(vector));
        }
        let last = vectors.last().context("no vector")?;
        self.machine.execute(last.1, &steps).map(drop)
    }

    fn irqfd(&self, vector: u16) -> Result<EventFd> {
        self.machine.function().irqfd(vector)
    }

    fn device(&self) -> Device<'_> {
        let running = self.machine.vm().vcpu(0).running();
        Device::new(self.machine.memory(), running, self.mutant)
    }

    /// Runs `scenario` between two readings of the counters of `vectors` and of the interrupts.
    fn counted(
        &self,
        vectors: &[u16],
        scenario: impl FnOnce(&mut Counts) -> Result<()>,
    ) -> Result<Counts> {
        let line = || -> Result<Option<Line>> {
            let function = self.machine.function();
            vectors
                .iter()
                .try_fold(Some(Line::default()), |sum, &vector| {
                    Ok(sum
                        .zip(function.line(vector)?)
                        .map(|(sum, line)| sum + line))
                })
        };
        self.machine.settle()?;
        let interrupts = self.machine.memory().interrupts();
        let lines = line()?;
        let mut counts = Counts::default();
        scenario(&mut counts)?;
        self.machine.settle()?;
        counts.interrupts = self.machine.memory().interrupts() - interrupts;
        counts.line = line()?.zip(lines).map(|(now, then)| now.since(then));
        Ok(counts)
    }

    fn pending(&self, signals: u64) -> Result<Counts> {
        let vector = USED[0];
        let pba = PbaWord::of(vector);
        let (bit, irqfd) = (pba.bit.into(), self.irqfd(vector)?);
        let mut device = self.device();
        self.counted(&[vector], |counts| {
            for (vcpu, group) in [(0, 1), (1, 1), (0, 2), (1, signals / 8), (0, signals / 8)] {
                let target = Target {
                    vcpu,
                    vector: layout::FIRST,
                };
                self.set_up(&[(vector, target)])?;
                let before = self.machine.memory().count(target);
                self.machine.execute(target, &[mask(vector)])?;
                device.signal(&irqfd, group)?;
                let read = self.machine.execute(target, &[pba.read()])?;
                counts.check_pba(read[0].value, bit, bit);
                // The guest has read the bit, and then the device signals again.
                device.signal(&irqfd, group)?;
                let steps = [pba.read(), unmask(vector), pba.read(), mask(vector)];
                let read = self.machine.execute(target, &steps)?;
                counts.spurious += read[0].count - before;
                counts.check_pba(read[0].value, bit, bit);
                counts.check_pba(read[2].value, bit, 0);
                counts.signals += 2 * group;
                self.machine.settle()?;
                let interrupts = self.machine.memory().count(target) - before;
                counts.check_interrupts(interrupts, 1);
            }
            Ok(())
        })
    }

    fn quiet(&self, signals: u64) -> Result<Counts> {
        let vector = USED[1];
        let pba = PbaWord::of(vector);
        let (bit, irqfd) = (pba.bit.into(), self.irqfd(vector)?);
        let mut device = self.device();
        self.counted(&[vector], |counts| {
            for round in 0..(signals / 1000).clamp(4, 100) {
                let target = Target {
                    vcpu: round % 2,
                    vector: layout::FIRST + 1,
                };
                self.set_up(&[(vector, target)])?;
                let before = self.machine.memory().count(target);
                device.signal(&irqfd, 1)?;
                counts.signals += 1;
                self.machine.settle()?;
                let interrupts = self.machine.memory().count(target) - before;
                counts.check_interrupts(interrupts, 1);

                let before = self.machine.memory().count(target);
                let once = [mask(vector), pba.read(), unmask(vector), pba.read()];
                let steps: Vec<Step> = once.into_iter().cycle().take(12).collect();
                for read in self
                    .machine
                    .execute(target, &steps)?
                    .iter()
                    .skip(1)
                    .step_by(2)
                {
                    counts.check_pba(read.value, bit, 0);
                }
                self.machine.settle()?;
                let interrupts = self.machine.memory().count(target) - before;
                counts.check_interrupts(interrupts, 0);
                self.machine.execute(target, &[mask(vector)])?;
            }
            Ok(())
        })
    }

    fn function(&self, signals: u64) -> Result<Counts> {
        let targets = [(0, 2), (1, 3), (0, 6)].map(|(vcpu, vector)| Target {
            vcpu,
            vector: layout::FIRST + vector,
        });
        let vectors: Vec<(u16, Target)> = USED.into_iter().zip(targets).collect();
        let irqfds: Vec<EventFd> = USED
            .map(|vector| self.irqfd(vector))
            .into_iter()
            .collect::<Result<_>>()?;
        let mut device = self.device();
        let signal_all = |device: &mut Device<'_>, counts: &mut Counts, n: u64| {
            counts.signals += n * irqfds.len() as u64;
            irqfds.iter().try_for_each(|irqfd| device.signal(irqfd, n))
        };
        // Lets the guest execute steps, and checks the pending bits and the interrupts after them. `bits`
        // and `interrupts` are those of the three vectors.
        let then = |counts: &mut Counts, steps: &[Step], bits: [u64; 3], interrupts: [u64; 3]| {
            let memory = self.machine.memory();
            let before = targets.map(|target| memory.count(target));
            let words = USED.map(PbaWord::of);
            let reads = words.iter().map(PbaWord::read);
            let steps: Vec<Step> = steps.iter().copied().chain(reads).collect();
            let read = self.machine.execute(targets[0], &steps)?;
            let read = &read[steps.len() - USED.len()..];
            self.machine.settle()?;
            for (at, (word, target)) in words.iter().zip(targets).enumerate() {
                let bit = u64::from(word.bit);
                counts.check_pba(read[at].value, bit, bits[at] * bit);
                counts.check_interrupts(memory.count(target) - before[at], interrupts[at]);
            }
            anyhow::Ok(())
        };
        let (open, closed) = (control(ENABLE), control(ENABLE | FUNCTION_MASK));
        self.counted(&USED, |counts| {
            for n in [1, 2, (signals / 32).max(3)] {
                self.set_up(&vectors)?;
                // The function first, then one of the vectors.
                then(counts, &[closed], [0, 0, 0], [0, 0, 0])?;
                signal_all(&mut device, counts, n)?;
                then(counts, &[mask(USED[1])], [1, 1, 1], [0, 0, 0])?;
                then(counts, &[open], [0, 1, 0], [1, 0, 1])?;
                then(counts, &[unmask(USED[1])], [0, 0, 0], [0, 1, 0])?;
                // The vector first, then the function. The vector's mask ends first, too.
                then(counts, &[mask(USED[1])], [0, 0, 0], [0, 0, 0])?;
                then(counts, &[closed], [0, 0, 0], [0, 0, 0])?;
                signal_all(&mut device, counts, n)?;
                then(counts, &[unmask(USED[1])], [1, 1, 1], [0, 0, 0])?;
                then(counts, &[open], [0, 0, 0], [1, 1, 1])?;
                // Only the last of the vectors has a message.
                then(counts, &[closed, mask(USED[0])], [0, 0, 0], [0, 0, 0])?;
                device.signal(&irqfds[2], n)?;
                counts.signals += n;
                then(counts, &[open], [0, 0, 0], [0, 0, 1])?;
                then(counts, &USED.map(mask), [0, 0, 0], [0, 0, 0])?;
            }
            Ok(())
        })
    }

    /// Checks that one more signal leads to one interrupt of `target`.
    fn last_signal(
        &self,
        counts: &mut Counts,
        device: &mut Device<'_>,
        irqfd: &EventFd,
        target: Target,
    ) -> Result<()> {
        self.machine.settle()?;
        counts.lost += u64::from(!device.is_answered());
        let before = self.machine.memory().count(target);
        device.signal(irqfd, 1)?;
        counts.signals += 1;
        self.machine.settle()?;
        let interrupts = self.machine.memory().count(target) - before;
        counts.lost += u64::from(interrupts == 0 || !device.is_answered());
        counts.spurious += interrupts.saturating_sub(1);
        Ok(())
    }

    /// Lets the guest run the loop `entry` on the first vCPU while `signal` runs. The other vCPU takes
    /// interrupts meanwhile.
    fn beside(
        &self,
        counts: &mut Counts,
        start: impl FnOnce() -> Result<()>,
        signal: impl FnOnce() -> Result<Answers>,
    ) -> Result<()> {
        let memory = self.machine.memory();
        let results = [
            result::SPURIOUS,
            result::LOST,
            result::VANISHED,
            result::UNSEEN,
            result::PENDING,
        ];
        for offset in results.into_iter().chain([result::ROUNDS]) {
            for vcpu in 0..layout::VCPUS {
                memory.store(layout::counts(vcpu) + offset, 0);
            }
        }
        memory.store(layout::STOP, 0);
        self.machine.serve(1)?;
        start()?;
        let signalled = signal();
        memory.store(layout::STOP, 1);
        self.machine.finish(0)?;
        self.machine.drain(1)?;
        let answers = signalled?;
        let [spurious, lost, vanished, unseen, pending] = results.map(|offset| memory.sum(offset));
        counts.spurious += spurious + answers.spurious;
        counts.lost += lost + answers.lost;
        counts.rounds = memory.sum(result::ROUNDS);
        counts.bits += counts.rounds;
        counts.bits_set += pending;
        counts.wrong_bits += vanished + unseen;
        Ok(())
    }

    /// Each signal waits for the interrupt of an earlier one, so there are fewer of them.
    fn moves(&self, signals: u64, masked: bool) -> Result<Counts> {
        let signals = signals.div_ceil(10);
        let vector = USED[2];
        let targets = ring_of_targets();
        let irqfd = self.irqfd(vector)?;
        let memory = self.machine.memory();
        let mut device = self.device();
        self.counted(&[vector], |counts| {
            self.set_up(&[(vector, targets[0])])?;
            let mut exact = 0;
            if masked {
                // A message that is pending while the vector moves comes to the new target.
                for (from, to) in [(0, 1), (1, 2), (2, 0)].map(|(a, b)| (targets[a], targets[b])) {
                    let before = (memory.count(from), memory.count(to));
                    self.machine.execute(from, &[mask(vector)])?;
                    device.signal(&irqfd, 1)?;
                    let mut steps = retarget(vector, to).to_vec();
                    steps.push(unmask(vector));
                    self.machine.execute(to, &steps)?;
                    self.machine.settle()?;
                    counts.spurious += memory.count(from) - before.0;
                    let came = memory.count(to) - before.1;
                    counts.lost += u64::from(came == 0);
                    counts.spurious += came.saturating_sub(1);
                    exact += 1;
                }
            }
            for (at, target) in (TARGETS..).step_by(TARGET_SIZE as usize).zip(targets) {
                let message = target.message();
                let count = layout::count(target.vcpu, target.vector);
                let words = [
                    message.address,
                    message.data.into(),
                    count,
                    layout::counts(target.vcpu),
                    memory.load(count),
                ];
                for (at, word) in (at..).step_by(8).zip(words) {
                    memory.store(at, word);
                }
            }
            let start = || {
                self.machine.start(0, Entry::Retarget, 0, |regs| {
                    regs.rdi = layout::entry(vector);
                    regs.rsi = TARGETS;
                    regs.r9 = TARGETS + TARGET_SIZE * targets.len() as u64;
                    regs.r8 = masked.into();
                })
            };
            self.beside(counts, start, || {
                device.signal_groups(&irqfd, signals, |left| left % 10 < 4)
            })?;
            // This loop reads no pending bits.
            counts.bits = 0;
            counts.signals = signals + exact;
            let at = (counts.rounds % targets.len() as u64) as usize;
            self.last_signal(counts, &mut device, &irqfd, targets[at])?;
            let pba = PbaWord::of(vector);
            let read = self
                .machine
                .execute(targets[at], &[mask(vector), pba.read()])?;
            counts.check_pba(read[1].value, pba.bit.into(), 0);
            Ok(())
        })
    }

    fn storm(&self, signals: u64, vcpu: u64) -> Result<Counts> {
        let vector = USED[1];
        let pba = PbaWord::of(vector);
        let target = Target {
            vcpu,
            vector: layout::FIRST + 7,
        };
        let irqfd = self.irqfd(vector)?;
        let mut device = self.device();
        self.counted(&[vector], |counts| {
            self.set_up(&[(vector, target)])?;
            let start = || {
                self.machine.start(0, Entry::Storm, vcpu, |regs| {
                    regs.rdi = target.vector.into();
                    regs.r8 = layout::vector_control(vector);
                    regs.r9 = pba.address;
                    regs.r10 = pba.bit.into();
                    regs.r11 = layout::count(vcpu, target.vector);
                })
            };
            self.beside(counts, start, || {
                device.signal_groups(&irqfd, signals, |left| left % 32 == 0)
            })?;
            counts.signals = signals;
            self.last_signal(counts, &mut device, &irqfd, target)?;
            let read = self.machine.execute(target, &[mask(vector), pba.read()])?;
            counts.check_pba(read[1].value, pba.bit.into(), 0);
            Ok(())
        })
    }

    fn automask(&self, signals: u64, vector: u16) -> Result<Counts> {
        let memory = self.machine.memory();
        let irqfd = self.irqfd(vector)?;
        let mut device = self.device();
        // The handler ends the automask, so the line delivers again, until nothing is pending. Each drain takes
        // the interrupts in the APIC. If the line stays masked after many of them, the end was lost.
        let drain = |vcpu| -> Result<bool> {
            let line = || self.machine.function().line(vector);
            let mut last = (line()?, 0);
            loop {
                self.machine.drain(vcpu)?;
                let now = line()?;
                let is_idle = |line: Line| line.pending == 0 && !line.is_masked;
                if now.is_none_or(is_idle) {
                    return Ok(true);
                }
                last = match now == last.0 {
                    true => (now, last.1 + 1),
                    false => (now, 0),
                };
                if last.1 == MOST_DRAINS {
                    return Ok(false);
                }
                self.machine.serve(vcpu)?;
            }
        };
        let mut counts = self.counted(&[vector], |counts| {
            memory.store(layout::SHARED + shared::UNMASK, layout::unmask(vector));
            let mut signal = |counts: &mut Counts, vcpu, n| {
                self.machine.serve(vcpu)?;
                device.signal(&irqfd, n)?;
                counts.signals += n;
                drain(vcpu)
            };
            for vcpu in 0..layout::VCPUS {
                let target = Target {
                    vcpu,
                    vector: layout::FIRST + 8,
                };
                self.set_up(&[(vector, target)])?;
                // As fast as the device can, and then one by one.
                for number in 0..=(signals / 1000).clamp(4, 100) {
                    let fast = match number {
                        0 => signals / 2,
                        _ => 0,
                    };
                    counts.stuck += u64::from(!signal(counts, vcpu, fast)?);
                    let before = memory.count(target);
                    counts.stuck += u64::from(!signal(counts, vcpu, 1)?);
                    if counts.stuck > 0 {
                        return Ok(());
                    }
                    let interrupts = memory.count(target) - before;
                    counts.lost += u64::from(interrupts == 0);
                    counts.spurious += interrupts.saturating_sub(1);
                }
                self.machine.execute(target, &[mask(vector)])?;
            }
            Ok(())
        })?;
        memory.store(layout::SHARED + shared::UNMASK, 0);
        // No delivery joins another one in the APIC: the next one waits for the handler.
        counts.expected = counts.line.map(|line| line.deliveries);
        Ok(counts)
    }
}
