// SPDX-License-Identifier: MIT OR Apache-2.0

//! The consumer's side of a summary.
//!
//! This file imports nothing: `tools/model` compiles it as it is, and explores it with the module's side
//! under weak memory order.

/// The words of a summary, as in `struct doorbell_summary_map`.
pub(crate) trait Words {
    /// Exchanges the word at the index `at` with zero, sequentially consistent, and returns the word before.
    /// If a sequentially consistent load returns zero, the exchange may be left out.
    fn take(&self, at: usize) -> u64;

    /// Returns the number of lines. Each 64 of them have a word, from [`LINES`] on.
    fn nr_lines(&self) -> u32;
}

/// The index of the top word.
pub(crate) const TOP: usize = 0;
/// The index of the first group.
pub(crate) const GROUPS: usize = 16;
/// The number of groups.
pub(crate) const MAX_GROUPS: u32 = 16;
/// The index of the first word of lines.
pub(crate) const LINES: usize = 32;

/// The maximum number of top words without a line that a call takes. A process that maps the words can set upper
/// bits all the time, and must not hold the caller.
pub(crate) const MAX_TOPS: u32 = 16;

/// The bits that a consumer has taken and not handled yet.
#[derive(Default)]
pub(crate) struct Taker {
    pub(crate) top: u64,
    pub(crate) group: u64,
    pub(crate) lines: u64,
    pub(crate) at_group: u32,
    pub(crate) at_word: u32,
}

/// Removes the lowest bit from `word`, which is not zero, and returns its position.
#[inline(always)]
fn pop(word: &mut u64) -> u32 {
    let bit = word.trailing_zeros();
    *word &= *word - 1;
    bit
}

impl Taker {
    /// Takes the next line that has fired, below [`Words::nr_lines`]. Returns none if the top word is zero, or
    /// after [`MAX_TOPS`] top words without a line.
    ///
    /// A word is taken before the words that its bits stand for. A producer sets bits from the bottom to the
    /// top. So a line whose bit this does not find has, or gets, a bit above it that a later call finds.
    #[inline]
    pub(crate) fn next(&mut self, words: &(impl Words + ?Sized)) -> Option<u32> {
        let mut tops = 0;
        while self.lines == 0 {
            if !self.take_lines(words) {
                return None;
            }
            if self.lines | self.group | self.top == 0 {
                tops += 1;
                if tops == MAX_TOPS {
                    return None;
                }
            }
        }
        Some(self.at_word * u64::BITS + pop(&mut self.lines))
    }

    /// Takes the next word of lines, if the next group has one. Returns false if the top word is zero.
    #[inline]
    fn take_lines(&mut self, words: &(impl Words + ?Sized)) -> bool {
        if self.group == 0 {
            if self.top == 0 {
                // The module sets no other bits. A process that maps the words may.
                self.top = words.take(TOP) & ((1 << MAX_GROUPS) - 1);
            }
            if self.top == 0 {
                return false;
            }
            self.at_group = pop(&mut self.top);
            self.group = words.take(GROUPS + self.at_group as usize);
            if self.group == 0 {
                return true;
            }
        }
        self.at_word = self.at_group * u64::BITS + pop(&mut self.group);
        let first = self.at_word * u64::BITS;
        if first < words.nr_lines() {
            let valid = u64::MAX >> (u64::BITS - (words.nr_lines() - first).min(u64::BITS));
            self.lines = words.take(LINES + self.at_word as usize) & valid;
        }
        true
    }
}
