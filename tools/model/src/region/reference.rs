// SPDX-License-Identifier: GPL-2.0-only

//! The naive reference for regions: it compares bytes and fields one by one.

use super::regions::{Conflict, Key};

/// The arguments of a region, which need not be legal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    pub(super) space: u32,
    pub(super) addr: u64,
    pub(super) length: u32,
    pub(super) datamatch: Option<u64>,
}

impl Region {
    /// Returns the module's key, or [`None`] if the region is illegal.
    pub(super) fn key(&self) -> Option<Key> {
        Key::new(self.space, self.addr, self.length, self.datamatch)
    }

    /// Returns the bytes that it covers, as numbers that do not wrap.
    fn bytes(&self) -> std::ops::Range<u128> {
        let from = u128::from(self.addr);
        from..from + u128::from(self.length.max(1))
    }

    /// Returns true if the region is legal.
    pub(super) fn is_legal(&self) -> bool {
        let length = [0, 1, 2, 4, 8].contains(&self.length);
        let datamatch = match self.datamatch {
            None => true,
            Some(value) => self.length != 0 && fits(value, self.length),
        };
        self.space <= 1 && length && datamatch && self.bytes().end <= 1 << 64
    }

    /// Returns true if it matches the write.
    pub(super) fn matches(&self, space: u32, addr: u64, length: u32, value: u64) -> bool {
        self.space == space
            && self.addr == addr
            && (self.length == 0 || self.length == length)
            && self.datamatch.is_none_or(|datamatch| datamatch == value)
    }

    /// Returns the reason why the two regions cannot both be assigned.
    pub(super) fn conflict(&self, other: &Self) -> Option<Conflict> {
        let (a, b) = (self.bytes(), other.bytes());
        let apart = self.space != other.space || a.end <= b.start || b.end <= a.start;
        let alike = self.addr == other.addr && self.length == other.length;
        if self == other {
            Some(Conflict::Same)
        } else if apart || alike {
            None
        } else {
            Some(Conflict::Shape)
        }
    }
}

/// Returns true if all bytes of `value` beyond `length` are zero.
pub(super) fn fits(value: u64, length: u32) -> bool {
    value
        .to_le_bytes()
        .iter()
        .skip(length as usize)
        .all(|&byte| byte == 0)
}
