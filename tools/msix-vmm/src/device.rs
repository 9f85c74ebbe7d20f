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

/// A device that signals the eventfd of a vector. Before each signal it writes the number of the signal to
/// the guest's memory, where the interrupt handler reads it.
pub struct Device<'a> {
    memory: &'a Memory,
    /// The number of the last signal.
    sequence: u64,
    /// The first vCPU is running.
    running: Arc<AtomicBool>,
    /// The next signal is to be skipped.
    skip: bool,
}

/// The rounds of the guest's loop after which a signal is lost. Each round takes all interrupts that have
/// been sent before it.
const PATIENCE: u64 = 1000;

impl<'a> Device<'a> {
    /// Creates a device of the guest with this memory, whose first vCPU is running while `running` is true.
    pub fn new(memory: &'a Memory, running: Arc<AtomicBool>, mutant: Option<Mutant>) -> Self {
        Self {
            memory,
            sequence: memory.load(layout::SHARED + shared::SEQUENCE),
            running,
            skip: mutant == Some(Mutant::LostSignal),
        }
    }

    /// Signals `eventfd` once.
    fn signal_once(&mut self, eventfd: &EventFd) -> Result<()> {
        self.sequence += 1;
        let address = layout::SHARED + shared::SEQUENCE;
        self.memory.store(address, self.sequence);
        if !std::mem::take(&mut self.skip) {
            eventfd.write(1)?;
        }
        Ok(())
    }

    /// Signals `eventfd` `n` times, in a thread of its own.
    pub fn signal(&mut self, eventfd: &EventFd, n: u64) -> Result<()> {
        in_thread(|| (0..n).try_for_each(|_| self.signal_once(eventfd)))
    }

    /// Signals `eventfd` `n` times beside the guest's loop, in a thread of its own: a group of signals, and
    /// then none until the loop has made a round.
    pub fn signal_by_rounds(&mut self, eventfd: &EventFd, n: u64) -> Result<()> {
        in_thread(|| {
            for left in (1..=n).rev() {
                self.signal_once(eventfd)?;
                if left % 32 == 0 {
                    let rounds = self.rounds();
                    wait(|| self.is_over() || self.rounds() != rounds);
                }
            }
            Ok(())
        })
    }

    /// Signals `eventfd` `n` times beside the guest's loop, in a thread of its own: one to four signals, and
    /// then none until an interrupt handler has seen the last of them. Returns the number of those that no
    /// handler has seen.
    pub fn signal_by_answers(&mut self, eventfd: &EventFd, n: u64) -> Result<u64> {
        in_thread(|| {
            let mut lost = 0;
            for left in (1..=n).rev() {
                self.signal_once(eventfd)?;
                if left % 10 < 4 || left == 1 {
                    let rounds = self.rounds();
                    let waited = || self.is_over() || self.rounds() - rounds > PATIENCE;
                    wait(|| self.is_answered() || waited());
                    lost += u64::from(!self.is_answered());
                }
            }
            Ok(lost)
        })
    }

    /// Returns true if an interrupt handler has run since the last signal.
    pub fn is_answered(&self) -> bool {
        self.memory.seen() >= self.sequence
    }

    /// Returns true if the guest's loop has ended, which it does before the device only after an error.
    fn is_over(&self) -> bool {
        !self.running.load(Ordering::SeqCst)
    }

    fn rounds(&self) -> u64 {
        self.memory.sum(result::ROUNDS)
    }
}

fn in_thread<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Waits until `happened` returns true.
pub fn wait(happened: impl Fn() -> bool) {
    while !happened() {
        thread::yield_now();
    }
}
