// SPDX-License-Identifier: MIT OR Apache-2.0

//! The registers of the capability, the table and the PBA: which access reads and changes what.

use super::{ENTRY_SIZE, Message};

/// Message Control: MSI-X is enabled.
pub(super) const ENABLE: u16 = 1 << 15;
/// Message Control: all vectors are masked.
pub(super) const FUNCTION_MASK: u16 = 1 << 14;
/// Vector Control: the vector is masked.
const MASKED: u32 = 1;

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) message: Message,
    pub(super) masked: bool,
}

impl Entry {
    const DWORDS: u64 = ENTRY_SIZE / 4;
    /// The value after a reset.
    const RESET: Self = Self {
        message: Message {
            address: 0,
            data: 0,
        },
        masked: true,
    };

    fn dword(&self, index: u64) -> u32 {
        match index {
            0 => self.message.address as u32,
            1 => (self.message.address >> 32) as u32,
            2 => self.message.data,
            _ => u32::from(self.masked) * MASKED,
        }
    }

    fn set_dword(&mut self, index: u64, value: u32) {
        let address = &mut self.message.address;
        match index {
            0 => *address = (*address & !u64::from(u32::MAX)) | u64::from(value & !3),
            1 => *address = (*address & u64::from(u32::MAX)) | (u64::from(value) << 32),
            2 => self.message.data = value,
            _ => self.masked = value & MASKED != 0,
        }
    }
}

/// The registers of a function.
#[derive(Clone, Debug)]
pub(super) struct Registers {
    pub(super) entries: Vec<Entry>,
    pub(super) enabled: bool,
    pub(super) function_masked: bool,
}

/// Returns true if an access of `len` bytes at `offset` is one that PCI defines, and within `size` bytes.
fn is_defined(offset: u64, len: usize, size: u64) -> bool {
    // `size` is a multiple of 8.
    (len == 4 || len == 8) && offset % len as u64 == 0 && offset < size
}

/// Reads dwords into `data`, or all ones if the access is not defined.
fn read_dwords(offset: u64, data: &mut [u8], size: u64, dword: impl Fn(u64) -> u32) {
    if !is_defined(offset, data.len(), size) {
        data.fill(0xff);
        return;
    }
    for (at, bytes) in (offset / 4..).zip(data.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&dword(at).to_le_bytes());
    }
}

impl Registers {
    /// Returns the registers after a reset.
    pub(super) fn new(vectors: u16) -> Self {
        Self {
            entries: vec![Entry::RESET; vectors.into()],
            enabled: false,
            function_masked: false,
        }
    }

    pub(super) fn vectors(&self) -> u16 {
        self.entries.len() as u16
    }

    pub(super) fn table_size(&self) -> u64 {
        self.entries.len() as u64 * ENTRY_SIZE
    }

    /// Returns the size of the PBA: a bit for each vector, in whole qwords.
    pub(super) fn pba_size(&self) -> u64 {
        self.entries.len().div_ceil(64) as u64 * 8
    }

    pub(super) fn read_table(&self, offset: u64, data: &mut [u8]) {
        read_dwords(offset, data, self.table_size(), |at| {
            self.entries[(at / Entry::DWORDS) as usize].dword(at % Entry::DWORDS)
        });
    }

    /// Writes to the table. Returns the vector whose entry was written to, or none if the write was ignored.
    pub(super) fn write_table(&mut self, offset: u64, data: &[u8]) -> Option<u16> {
        if !is_defined(offset, data.len(), self.table_size()) {
            return None;
        }
        // An aligned qword is within one entry.
        let vector = offset / ENTRY_SIZE;
        let entry = &mut self.entries[vector as usize];
        for (at, bytes) in (offset / 4..).zip(data.chunks_exact(4)) {
            let value = u32::from_le_bytes(bytes.try_into().expect("4 bytes"));
            entry.set_dword(at % Entry::DWORDS, value);
        }
        Some(vector as u16)
    }

    /// Reads from the PBA, whose bits `pending` returns.
    pub(super) fn read_pba(&self, offset: u64, data: &mut [u8], pending: impl Fn(u16) -> bool) {
        read_dwords(offset, data, self.pba_size(), |at| {
            let first = at * 32;
            (0..32)
                .filter(|bit| first + bit < self.entries.len() as u64)
                .filter(|bit| pending((first + bit) as u16))
                .fold(0, |dword, bit| dword | (1 << bit))
        });
    }

    /// Returns Message Control.
    pub(super) fn control(&self) -> u16 {
        let bit = |is: bool, bit| if is { bit } else { 0 };
        bit(self.enabled, ENABLE) | bit(self.function_masked, FUNCTION_MASK) | (self.vectors() - 1)
    }

    /// Writes Message Control. The other bits are read-only.
    pub(super) fn set_control(&mut self, value: u16) {
        self.enabled = value & ENABLE != 0;
        self.function_masked = value & FUNCTION_MASK != 0;
    }

    /// Returns true if the function may send the messages of vectors that are not masked.
    pub(super) fn is_open(&self) -> bool {
        self.enabled && !self.function_masked
    }
}
