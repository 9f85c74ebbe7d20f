// SPDX-License-Identifier: GPL-2.0-only

//! Sets of lines, for the requests that work on many at once.

use std::ops::Range;

/// A set of lines of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    pub(crate) first: u32,
    pub(crate) len: u32,
    /// A bit for each; empty: all of them.
    pub(crate) bits: Vec<u64>,
}

impl Lines {
    /// All lines in `range`.
    pub fn range(range: Range<u32>) -> Self {
        Self {
            first: range.start,
            len: range.end.saturating_sub(range.start),
            bits: Vec::new(),
        }
    }

    /// How many 64-bit words a bitmap has.
    pub(crate) fn words(&self) -> usize {
        self.len.div_ceil(u64::BITS) as usize
    }

    /// Whether `line` is among them.
    pub fn contains(&self, line: u32) -> bool {
        let Some(at) = line.checked_sub(self.first).filter(|&at| at < self.len) else {
            return false;
        };
        self.bits.is_empty() || self.bits[(at / 64) as usize] & (1 << (at % 64)) != 0
    }

    /// All of them, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (self.first..self.first + self.len).filter(|&line| self.contains(line))
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.iter().count()
    }
}

impl FromIterator<u32> for Lines {
    fn from_iter<I: IntoIterator<Item = u32>>(lines: I) -> Self {
        let lines: Vec<u32> = lines.into_iter().collect();
        let (Some(&first), Some(&last)) = (lines.iter().min(), lines.iter().max()) else {
            return Self::range(0..0);
        };
        let mut set = Self::range(first..last + 1);
        set.bits = vec![0; set.words()];
        for line in lines {
            let at = line - first;
            set.bits[(at / 64) as usize] |= 1 << (at % 64);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_has_all_and_no_others() {
        let lines = Lines::range(3..70);
        assert_eq!((lines.words(), lines.count()), (2, 67));
        assert!(lines.contains(3) && lines.contains(69));
        assert!(!lines.contains(2) && !lines.contains(70));
    }

    #[test]
    fn chosen_lines_come_back_in_order() {
        let lines: Lines = [200, 5, 68, 69].into_iter().collect();
        assert_eq!(lines.iter().collect::<Vec<_>>(), [5, 68, 69, 200]);
        assert!(!lines.contains(6) && !lines.contains(4) && !lines.contains(201));
        assert_eq!(Lines::from_iter([]).count(), 0);
    }
}
