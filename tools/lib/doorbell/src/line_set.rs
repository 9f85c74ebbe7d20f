// SPDX-License-Identifier: MIT OR Apache-2.0

use std::ops::Range;

/// A set of lines, for the calls that work on many lines at once.
///
/// A set is a range, or any lines that are collected. The latter is a bitmap from the lowest line
/// to the highest, so its size depends on their distance.
///
/// # Examples
///
/// ```
/// use doorbell::LineSet;
///
/// let all = LineSet::range(0..16);
/// let some: LineSet = [3, 5, 8].into_iter().collect();
/// assert_eq!((all.count(), some.count()), (16, 3));
/// assert!(all.contains(4) && !some.contains(4));
/// ```
#[derive(Clone, Debug)]
pub struct LineSet {
    pub(crate) first: u32,
    pub(crate) len: u32,
    /// A bit for each of `len` lines. Empty: all of them.
    pub(crate) bits: Vec<u64>,
}

impl LineSet {
    /// Returns the set of all lines in `range`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineSet;
    /// assert!(LineSet::range(3..70).contains(69));
    /// assert!(LineSet::range(3..3).is_empty());
    /// ```
    pub fn range(range: Range<u32>) -> Self {
        Self {
            first: range.start,
            len: range.end.saturating_sub(range.start),
            bits: Vec::new(),
        }
    }

    /// Returns the number of 64-bit words that a bitmap of the set has.
    pub(crate) fn words(&self) -> usize {
        self.len.div_ceil(u64::BITS) as usize
    }

    /// Returns the smallest range that has all lines of the set.
    pub(crate) fn bounds(&self) -> Range<u32> {
        self.first..self.first + self.len
    }

    /// Returns true if `line` is in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineSet;
    /// assert!(!LineSet::range(3..70).contains(70));
    /// ```
    pub fn contains(&self, line: u32) -> bool {
        let Some(at) = line.checked_sub(self.first).filter(|&at| at < self.len) else {
            return false;
        };
        self.bits.is_empty() || self.bits[(at / 64) as usize] & (1 << (at % 64)) != 0
    }

    /// Returns the lines in ascending order.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineSet;
    /// let lines: LineSet = [8, 3, 5].into_iter().collect();
    /// assert_eq!(lines.iter().collect::<Vec<_>>(), [3, 5, 8]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bounds().filter(|&line| self.contains(line))
    }

    /// Returns the number of lines.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineSet;
    /// assert_eq!(LineSet::range(3..70).count(), 67);
    /// ```
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Returns true if there is no line in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineSet;
    /// assert!(LineSet::from_iter([]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Sets are equal if they have the same lines.
impl PartialEq for LineSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for LineSet {}

/// Collects lines.
///
/// # Panics
///
/// Panics if one of them is [`u32::MAX`], which is no line's number.
impl FromIterator<u32> for LineSet {
    fn from_iter<I: IntoIterator<Item = u32>>(lines: I) -> Self {
        let lines: Vec<u32> = lines.into_iter().collect();
        let (Some(&first), Some(&last)) = (lines.iter().min(), lines.iter().max()) else {
            return Self::range(0..0);
        };
        let end = last.checked_add(1).expect("u32::MAX is not a line");
        let mut set = Self::range(first..end);
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
    fn range_has_its_lines_and_no_others() {
        let lines = LineSet::range(3..70);
        assert_eq!((lines.words(), lines.count()), (2, 67));
        assert!(lines.contains(3) && lines.contains(69));
        assert!(!lines.contains(2) && !lines.contains(70));
    }

    #[test]
    fn collected_lines_are_listed_in_order() {
        let lines: LineSet = [200, 5, 68, 69].into_iter().collect();
        assert_eq!(lines.iter().collect::<Vec<_>>(), [5, 68, 69, 200]);
        assert!(!lines.contains(6) && !lines.contains(4) && !lines.contains(201));
        assert_eq!(LineSet::from_iter([]).count(), 0);
    }

    #[test]
    fn sets_with_the_same_lines_are_equal() {
        assert_eq!(LineSet::range(4..7), LineSet::from_iter([6, 4, 5]));
        assert_ne!(LineSet::range(4..7), LineSet::from_iter([6, 4]));
        assert_eq!(LineSet::range(9..9), LineSet::from_iter([]));
    }
}
