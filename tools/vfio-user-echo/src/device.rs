// SPDX-License-Identifier: GPL-2.0-only

//! The device: its registers, and a thread that does what the guest requests.
//!
//! A request register is a region of the context's bus. The write stores its value and rings the
//! request line. The thread waits for all request lines at once, and rings the line of the vector.
//! It knows nothing of masks.

use crate::layout::{Lines, COUNTERS, ID, REQUESTS, STRIDE};
use anyhow::Context as _;
use doorbell::{Context, LineSet, Region, Summary, Target, Values};
use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    thread,
    time::Duration,
};

/// The bits of a request that have an effect.
const SIGNALS: u64 = 0xffff;

/// The device. The server and the worker share it.
#[derive(Debug)]
pub struct Device {
    context: Arc<Context>,
    lines: Lines,
    values: Values,
    summary: Summary,
    /// For each vector, the number of writes to its request register that are done.
    done: Vec<AtomicU64>,
    /// For each vector, the number of signals that the device has made.
    signals: Vec<AtomicU64>,
}

impl Device {
    /// Assigns the request registers to the lines of `context`, which has so many.
    pub fn new(context: Arc<Context>, lines: Lines) -> doorbell::Result<Self> {
        context.set_values(lines.vectors.into())?;
        for vector in 0..lines.vectors {
            let at = REQUESTS + STRIDE * u64::from(vector);
            let region = Region::mmio(at, 4).last(vector.into());
            context.assign_region(&region, Target::line(lines.request(vector)))?;
        }
        context.assign_summary(&LineSet::range(lines.request(0)..lines.stop() + 1))?;
        let zeros = || (0..lines.vectors).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            values: context.map_values()?,
            summary: context.map_summary()?,
            done: zeros(),
            signals: zeros(),
            context,
            lines,
        })
    }

    /// Does what the guest requests, until [`stop`](Device::stop).
    pub fn run(&self) -> anyhow::Result<()> {
        loop {
            match self.summary.wait(None) {
                Err(error) if error.errno() == Some(libc::EINTR) => continue,
                result => result.context("wait for a request")?,
            };
            for line in self.summary.take() {
                if line == self.lines.stop() {
                    return Ok(());
                }
                if let Some(vector) = self.lines.requested(line) {
                    self.serve(vector)?;
                }
            }
        }
    }

    fn serve(&self, vector: u16) -> doorbell::Result {
        let at = usize::from(vector);
        let request = self.values.read(vector.into());
        // The delivery of a write that an earlier call has seen.
        if request.writes == self.done[at].load(Ordering::Relaxed) {
            return Ok(());
        }
        for _ in 0..request.value & SIGNALS {
            self.signals[at].fetch_add(1, Ordering::Relaxed);
            self.context.ring(vector.into())?;
        }
        // The signals come before the register that reports them.
        self.done[at].store(request.writes, Ordering::Release);
        Ok(())
    }

    /// Ends [`run`](Device::run).
    pub fn stop(&self) -> doorbell::Result {
        self.context.ring(self.lines.stop()).map(drop)
    }

    /// Waits until all requests are done.
    pub fn drain(&self) {
        for vector in 0..self.lines.vectors {
            let done = &self.done[usize::from(vector)];
            while done.load(Ordering::Acquire) != self.values.read(vector.into()).writes {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Returns the number of signals that the device has made on `vector`.
    pub fn signals(&self, vector: u16) -> u64 {
        self.signals[usize::from(vector)].load(Ordering::Relaxed)
    }

    /// Writes a register. Only writes of 4 bytes to the request registers have an effect.
    pub fn write(&self, offset: u64, data: &[u8]) -> doorbell::Result {
        if !matches!(data.len(), 1 | 2 | 4 | 8) {
            return Ok(());
        }
        match self.context.pwrite(offset, data) {
            // No region matches.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Ok(()),
            result => result,
        }
    }

    /// Reads registers. What is none reads as zero.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> doorbell::Result {
        data.fill(0);
        for (at, byte) in data.iter_mut().enumerate() {
            let at = offset + at as u64;
            let register = self.register(at & !3)?;
            *byte = register.to_le_bytes()[(at & 3) as usize];
        }
        Ok(())
    }

    fn register(&self, at: u64) -> doorbell::Result<u32> {
        let field = at % STRIDE;
        Ok(match at {
            0 => ID,
            4 => self.lines.vectors.into(),
            _ => match (self.vector(at, COUNTERS), self.vector(at, REQUESTS)) {
                (Some(vector), _) => {
                    let line = self.context.query(vector.into())?;
                    match field {
                        0 => line.rings as u32,
                        4 => line.deliveries as u32,
                        8 => u32::from(line.pending) | (line.reasons.bits() << 8),
                        _ => 0,
                    }
                }
                (None, Some(vector)) => match field {
                    0 => self.values.value(vector.into()) as u32,
                    8 => self.done[usize::from(vector)].load(Ordering::Acquire) as u32,
                    _ => 0,
                },
                (None, None) => 0,
            },
        })
    }

    /// Returns the vector to which the register at `at` of a group of registers belongs.
    fn vector(&self, at: u64, group: u64) -> Option<u16> {
        let vector = u16::try_from(at.checked_sub(group)? / STRIDE).ok()?;
        (vector < self.lines.vectors).then_some(vector)
    }
}
