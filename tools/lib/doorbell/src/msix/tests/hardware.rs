// SPDX-License-Identifier: MIT OR Apache-2.0

//! A function as PCI describes it: bytes of a table, a pending bit for each vector, and a rule that is applied
//! after each step. There are no lines and no routes.

use super::{super::Message, fake::Sent};

#[derive(Debug)]
pub(super) struct Hardware {
    table: Vec<u8>,
    control: u16,
    pub(super) pending: Vec<bool>,
    /// Messages that are on their way, as of the moment they started.
    pub(super) in_flight: Vec<Option<Message>>,
    pub(super) sent: Vec<Sent>,
    pub(super) stopped: bool,
    /// The data of messages that the hypervisor refuses, so that the vector sends none.
    pub(super) invalid: Option<u32>,
}

impl Hardware {
    pub(super) fn new(vectors: u16) -> Self {
        let n = usize::from(vectors);
        let mut hardware = Self {
            table: Vec::new(),
            control: 0,
            pending: vec![false; n],
            in_flight: vec![None; n],
            sent: Vec::new(),
            stopped: false,
            invalid: None,
        };
        hardware.reset();
        hardware
    }

    pub(super) fn vectors(&self) -> u16 {
        self.pending.len() as u16
    }

    pub(super) fn is_masked(&self, vector: u16) -> bool {
        self.table[usize::from(vector) * 16 + 12] == 1
    }

    pub(super) fn is_open(&self) -> bool {
        self.control >> 14 == 0b10
    }

    fn may_send(&self, vector: u16) -> bool {
        let is_sent = !self.is_masked(vector) && !self.is_refused(vector);
        self.is_open() && is_sent && !self.stopped
    }

    /// Returns true if the hypervisor refuses the vector's message.
    pub(super) fn is_refused(&self, vector: u16) -> bool {
        Some(self.message(vector).data) == self.invalid
    }

    pub(super) fn message(&self, vector: u16) -> Message {
        let entry = &self.table[usize::from(vector) * 16..][..16];
        Message {
            address: u64::from_le_bytes(entry[..8].try_into().unwrap()),
            data: u32::from_le_bytes(entry[8..12].try_into().unwrap()),
        }
    }

    /// Sends what is on its way, as of a vector that is masked.
    fn drain(&mut self, vector: u16) {
        if let Some(message) = self.in_flight[usize::from(vector)].take() {
            self.sent.push(Sent { vector, message });
        }
    }

    /// Sends all pending messages that may be sent.
    fn send_pending(&mut self) {
        for vector in 0..self.vectors() {
            let at = usize::from(vector);
            if self.pending[at] && self.may_send(vector) && self.in_flight[at].is_none() {
                self.pending[at] = false;
                let message = self.message(vector);
                self.sent.push(Sent { vector, message });
            }
        }
    }

    /// Changes something. What may not be sent any more, or has another message, was sent before.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let before: Vec<_> = (0..self.vectors())
            .map(|vector| self.message(vector))
            .collect();
        change(self);
        for (vector, before) in (0..).zip(before) {
            if !self.may_send(vector) || self.message(vector) != before {
                self.drain(vector);
            }
        }
        self.send_pending();
    }

    /// Sends all that is on its way, as a device may at each of its masks.
    pub(super) fn drain_all(&mut self) {
        (0..self.vectors()).for_each(|vector| self.drain(vector));
        self.send_pending();
    }

    pub(super) fn signal(&mut self, vector: u16, ends: bool) {
        let at = usize::from(vector);
        if self.may_send(vector) && self.in_flight[at].is_none() {
            self.in_flight[at] = Some(self.message(vector));
            if ends {
                self.drain(vector);
            }
        } else {
            self.pending[at] = true;
        }
    }

    pub(super) fn finish(&mut self, vector: u16) {
        self.drain(vector);
        self.send_pending();
    }

    pub(super) fn read_table(&self, offset: u64, data: &mut [u8]) {
        read(&self.table, offset, data);
    }

    pub(super) fn write_table(&mut self, offset: u64, data: &[u8]) {
        let Some(range) = range(self.table.len(), offset, data.len()) else {
            return;
        };
        self.change(|hardware| {
            hardware.table[range].copy_from_slice(data);
            for entry in hardware.table.chunks_mut(16) {
                entry[0] &= 0b1111_1100;
                entry[12] &= 1;
                entry[13..].fill(0);
            }
        });
    }

    pub(super) fn read_pba(&self, offset: u64, data: &mut [u8]) {
        let mut bytes = vec![0; self.pending.len().next_multiple_of(64) / 8];
        for (at, _) in self.pending.iter().enumerate().filter(|(_, bit)| **bit) {
            bytes[at / 8] |= 1 << (at % 8);
        }
        read(&bytes, offset, data);
    }

    pub(super) fn control(&self) -> u16 {
        self.control + (self.vectors() - 1)
    }

    pub(super) fn write_control(&mut self, value: u16) {
        self.change(|hardware| hardware.control = value & 0xc000);
    }

    /// Writes to the capability, whose bytes 2 and 3 are Message Control.
    pub(super) fn write_capability(&mut self, offset: u64, data: &[u8]) {
        let mut bytes = [[0; 2], self.control().to_le_bytes()].concat();
        for (byte, value) in bytes.iter_mut().skip(offset as usize).zip(data) {
            *byte = *value;
        }
        self.write_control(u16::from_le_bytes([bytes[2], bytes[3]]));
    }

    /// The event of a vector is satisfied.
    pub(super) fn withdraw(&mut self, vector: u16) {
        self.pending[usize::from(vector)] = false;
    }

    pub(super) fn reset(&mut self) {
        let n = self.pending.len();
        (0..self.vectors()).for_each(|vector| self.drain(vector));
        self.table = [[0; 12].as_slice(), &[1, 0, 0, 0]].concat().repeat(n);
        self.control = 0;
        self.pending.fill(false);
    }

    pub(super) fn set_stopped(&mut self, stopped: bool) {
        self.change(|hardware| hardware.stopped = stopped);
    }
}

fn range(size: usize, offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(len)?;
    let aligned = matches!((len, start % 8), (4, 0 | 4) | (8, 0));
    (aligned && end <= size).then_some(start..end)
}

fn read(bytes: &[u8], offset: u64, data: &mut [u8]) {
    match range(bytes.len(), offset, data.len()) {
        Some(range) => data.copy_from_slice(&bytes[range]),
        None => data.fill(0xff),
    }
}
