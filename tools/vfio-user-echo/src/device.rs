// SPDX-License-Identifier: GPL-2.0-only

//! The device: its registers, and a thread that does what the guest requests.
//!
//! A request register is a region of the context's bus. A write is stored as a record, and rings the
//! request line. The thread waits for that line, takes the records in their order, and rings the
//! lines of the vectors. It knows nothing of masks.
//!
//! A client does not wait for the reply of a write, so several can be on their way. As each is a
//! record, none replaces another.

use crate::layout::{Lines, COUNTERS, ID, REQUESTS, STRIDE};
use anyhow::Context as _;
use doorbell::{Context, LineSet, Record, RecordRing, Region, Summary, Target};
use std::{
    sync::{
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        Arc,
    },
    thread,
    time::Duration,
};

/// The bits of a request that have an effect.
const SIGNALS: u64 = 0xffff;
/// The requests that wait for the thread. If there are more, the client waits, too.
const RECORDS: u32 = 1024;

/// The device. The server and the worker share it.
#[derive(Debug)]
pub struct Device {
    context: Arc<Context>,
    lines: Lines,
    summary: Summary,
    /// Requests are dropped.
    is_draining: AtomicBool,
    vectors: Vec<Vector>,
}

/// The registers and counters of a vector.
#[derive(Debug, Default)]
struct Vector {
    /// The last value written to the request register.
    last: AtomicU32,
    /// Number of writes to the request register.
    requests: AtomicU64,
    /// Number of these that are done.
    done: AtomicU64,
    /// Number of signals that were made.
    signals: AtomicU64,
}

impl Device {
    /// Assigns the request registers to the request line of `context`, which has so many lines.
    /// Returns the records of their writes, for [`run`](Device::run).
    pub fn new(context: Arc<Context>, lines: Lines) -> doorbell::Result<(Self, RecordRing)> {
        context.set_records(RECORDS)?;
        for vector in 0..lines.vectors {
            let at = REQUESTS + STRIDE * u64::from(vector);
            let region = Region::mmio(at, 4).record();
            context.assign_region(&region, Target::line(lines.request()))?;
        }
        context.assign_summary(&LineSet::range(lines.request()..lines.stop() + 1))?;
        let records = context.map_records()?;
        let device = Self {
            summary: context.map_summary()?,
            is_draining: AtomicBool::new(false),
            vectors: (0..lines.vectors).map(|_| Vector::default()).collect(),
            context,
            lines,
        };
        Ok((device, records))
    }

    /// Does what the guest requests, until [`stop`](Device::stop).
    pub fn run(&self, mut records: RecordRing) -> anyhow::Result<()> {
        loop {
            match self.summary.wait(None) {
                Err(error) if error.errno() == Some(libc::EINTR) => continue,
                result => result.context("wait for a request")?,
            };
            if self.summary.take().any(|line| line == self.lines.stop()) {
                return Ok(());
            }
            // A record is complete before its line is rung.
            for record in records.by_ref() {
                self.serve(&record)?;
            }
        }
    }

    fn serve(&self, record: &Record) -> doorbell::Result {
        let Some(vector) = self.vector(record.addr, REQUESTS) else {
            return Ok(());
        };
        for _ in 0..record.value & SIGNALS {
            if self.is_draining.load(Ordering::Relaxed) {
                break;
            }
            self.signal(vector)?;
        }
        // The signals come before the register that reports them.
        self.vectors[usize::from(vector)]
            .done
            .fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Makes a signal on `vector`.
    pub fn signal(&self, vector: u16) -> doorbell::Result {
        self.vectors[usize::from(vector)]
            .signals
            .fetch_add(1, Ordering::Relaxed);
        self.context.ring(vector.into()).map(drop)
    }

    /// Ends [`run`](Device::run).
    pub fn stop(&self) -> doorbell::Result {
        self.context.ring(self.lines.stop()).map(drop)
    }

    /// Drops what the guest has requested, up to the signal that is being made. Only the thread that
    /// writes registers may call this.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        for vector in &self.vectors {
            let requests = vector.requests.load(Ordering::Relaxed);
            while vector.done.load(Ordering::Acquire) != requests {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.is_draining.store(false, Ordering::Relaxed);
    }

    /// Returns the number of signals that the device has made on `vector`.
    pub fn signals(&self, vector: u16) -> u64 {
        self.vectors[usize::from(vector)]
            .signals
            .load(Ordering::Relaxed)
    }

    /// Writes a register. Only writes of 4 bytes to the request registers have an effect.
    pub fn write(&self, offset: u64, data: &[u8]) -> doorbell::Result {
        if !matches!(data.len(), 1 | 2 | 4 | 8) {
            return Ok(());
        }
        loop {
            match self.context.pwrite(offset, data) {
                // No region matches.
                Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => return Ok(()),
                // The worker takes a record after 65535 signals at most.
                Err(error) if error.errno() == Some(libc::ENOBUFS) => {
                    thread::sleep(Duration::from_millis(1));
                }
                result => {
                    result?;
                    break;
                }
            }
        }
        if let (Some(vector), Ok(value)) = (self.vector(offset, REQUESTS), data.try_into()) {
            let vector = &self.vectors[usize::from(vector)];
            vector
                .last
                .store(u32::from_le_bytes(value), Ordering::Relaxed);
            vector.requests.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads registers. What is none reads as zero.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> doorbell::Result {
        read_registers(offset, data, |at| self.register(at))
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
                (None, Some(vector)) => {
                    let vector = &self.vectors[usize::from(vector)];
                    match field {
                        0 => vector.last.load(Ordering::Relaxed),
                        8 => vector.done.load(Ordering::Acquire) as u32,
                        _ => 0,
                    }
                }
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

/// Reads the bytes at `offset` of registers of 4 bytes. `register` gets the offset of a register,
/// once for each: a second call could return another value, and the bytes would be of two values.
fn read_registers<E>(
    offset: u64,
    data: &mut [u8],
    mut register: impl FnMut(u64) -> Result<u32, E>,
) -> Result<(), E> {
    let mut at = offset;
    let mut rest = data;
    while !rest.is_empty() {
        let skip = (at & 3) as usize;
        let (bytes, others) = rest.split_at_mut(rest.len().min(4 - skip));
        let value = register(at - skip as u64)?.to_le_bytes();
        bytes.copy_from_slice(&value[skip..skip + bytes.len()]);
        at += bytes.len() as u64;
        rest = others;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `N` bytes at `offset`. The value of a register changes with each call.
    fn read<const N: usize>(offset: u64) -> ([u8; N], Vec<u64>) {
        let mut data = [0; N];
        let mut calls = Vec::new();
        read_registers(offset, &mut data, |at| {
            calls.push(at);
            Ok::<_, ()>(0x0403_0201 + 0x1010_1010 * (calls.len() as u32 - 1))
        })
        .unwrap();
        (data, calls)
    }

    #[test]
    fn each_register_is_read_once() {
        assert_eq!(read(8), ([1, 2, 3, 4], vec![8]));
        assert_eq!(read(8), ([1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14], vec![8, 12]));
        assert_eq!(read(0x101), ([2, 3], vec![0x100]));
        assert_eq!(read(3), ([4, 0x11], vec![0, 4]));
        assert_eq!(
            read(6),
            ([3, 4, 0x11, 0x12, 0x13, 0x14, 0x21], vec![4, 8, 12])
        );
        assert_eq!(read(5), ([], vec![]));
    }

    #[test]
    fn an_error_ends_the_read() {
        let mut data = [0; 8];
        let result = read_registers(0, &mut data, |at| if at == 4 { Err(at) } else { Ok(1) });
        assert_eq!(result, Err(4));
    }
}
