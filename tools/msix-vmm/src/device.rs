// SPDX-License-Identifier: GPL-2.0-only

//! The device: threads that signal an eventfd.

use crate::{
    layout::{self, result, shared},
    machine::Memory,
    mutant::Mutant,
};
use anyhow::Result;
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
};
use vmm_sys_util::eventfd::EventFd;

/// A device that signals the eventfd of a vector.
///
/// It writes the number of a signal to the guest's memory before the signal, and again after it. The interrupt
/// handler reads the first word, and so does the guest's loop, which compares it with the second one.
pub struct Device<'a> {
    memory: &'a Memory,
    /// The number of the last signal.
    sequence: u64,
    /// The first vCPU is running.
    running: Arc<AtomicBool>,
    /// The next signal is to be skipped.
    skip: bool,
    /// Every hundredth last signal of a group is to be skipped.
    skip_last: Option<u64>,
}

/// The outcome of signals to a guest's loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Last signals of a group to which the guest got no interrupt.
    pub lost: u64,
    /// Interrupts beyond the first one to the last signal of a group.
    pub spurious: u64,
}

/// The rounds of the guest's loop after which a message has arrived, or is lost. The first round may have
/// begun before the signal. In each of the others the guest masks the vector, takes the interrupts that were
/// sent, and unmasks the vector.
const ROUNDS: u64 = 3;
/// The rounds after which a message is counted as lost. So a message that KVM or the kernel leaves to a worker
/// is not.
const PATIENCE: u64 = 1000;

impl<'a> Device<'a> {
    /// Creates a device of the guest with this memory, whose first vCPU is running while `running` is true.
    pub fn new(memory: &'a Memory, running: Arc<AtomicBool>, mutant: Option<Mutant>) -> Self {
        Self {
            memory,
            sequence: memory.load(layout::SHARED + shared::BEGUN),
            running,
            skip: mutant == Some(Mutant::LostSignal),
            skip_last: (mutant == Some(Mutant::LostLast)).then_some(0),
        }
    }

    /// Signals `eventfd` once.
    fn signal_once(&mut self, eventfd: &EventFd) -> Result<()> {
        let skip = std::mem::take(&mut self.skip);
        self.sequence += 1;
        let (begun, done) = (shared::BEGUN, shared::DONE);
        self.memory.store(layout::SHARED + begun, self.sequence);
        if !skip {
            eventfd.write(1)?;
            self.memory.store(layout::SHARED + done, self.sequence);
        }
        Ok(())
    }

    /// Signals `eventfd` `n` times, in a thread of its own.
    pub fn signal(&mut self, eventfd: &EventFd, n: u64) -> Result<()> {
        in_thread(|| (0..n).try_for_each(|_| self.signal_once(eventfd)))
    }

    /// Signals `eventfd` `n` times beside the guest's loop, in a thread of its own, in groups.
    ///
    /// `is_last` returns true if the group ends when so many signals are left. The signals of a group follow
    /// each other as fast as they can, but for the last one. That comes after the interrupts of the others, at
    /// any point of the loop, so one interrupt must follow it, and only one.
    pub fn signal_groups(
        &mut self,
        eventfd: &EventFd,
        n: u64,
        is_last: impl Fn(u64) -> bool + Send + Sync,
    ) -> Result<Answers> {
        in_thread(|| {
            let mut answers = Answers::default();
            for left in (0..n).rev() {
                if left != 0 && !is_last(left) {
                    self.signal_once(eventfd)?;
                    continue;
                }
                self.pass(ROUNDS, || false);
                let before = self.memory.interrupts();
                self.skip_now_and_then();
                self.signal_once(eventfd)?;
                self.pass(PATIENCE, || self.is_answered());
                self.pass(ROUNDS, || false);
                answers.lost += u64::from(!self.is_answered());
                let interrupts = self.memory.interrupts() - before;
                answers.spurious += interrupts.saturating_sub(1);
            }
            Ok(answers)
        })
    }

    /// Lets [`Mutant::LostLast`] skip the next signal, or not.
    fn skip_now_and_then(&mut self) {
        if let Some(number) = &mut self.skip_last {
            *number += 1;
            self.skip = *number % 100 == 1;
        }
    }

    /// Returns true if an interrupt handler has run since the last signal has begun. The interrupts of earlier
    /// signals must have come before it.
    pub fn is_answered(&self) -> bool {
        self.memory.seen() >= self.sequence
    }

    /// Waits until the guest's loop has made `rounds` rounds, or until `happened` returns true. The loop ends
    /// before the device only after an error.
    fn pass(&self, rounds: u64, happened: impl Fn() -> bool) {
        let begin = self.memory.sum(result::ROUNDS);
        let passed = || self.memory.sum(result::ROUNDS) - begin >= rounds;
        wait(|| happened() || passed() || !self.running.load(Ordering::SeqCst));
    }
}

fn in_thread<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Waits until `happened` returns true.
fn wait(happened: impl Fn() -> bool) {
    while !happened() {
        thread::yield_now();
    }
}
