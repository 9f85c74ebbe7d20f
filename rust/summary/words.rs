// SPDX-License-Identifier: GPL-2.0

//! The producer's side of a summary, as a pure function over its words.
//!
//! This file imports nothing: `tools/model` compiles it as it is, and explores it under weak memory order.
//!
//! A summary is a bitmap of lines with two levels above. A bit of an upper level says that a word of the
//! next level may have bits. The producer sets bits from the bottom to the top. The consumer clears words
//! from the top to the bottom, each by an atomic exchange with zero, and follows the bits that it got.
//!
//! No line is lost: each step of both sides is fully ordered. The producer sets a line's bit before it
//! sets, or sees, the bit above. Thus a consumer that has cleared that upper bit then finds the line's
//! bit. If the producer sees an upper bit and does not set it, its own bit below was set before, and the
//! consumer clears the upper word before it takes the lower one: store buffering, where at least one side
//! sees the other.
//!
//! No wake-up is lost: the consumer sleeps only if the top word is zero. The producer whose bit makes the
//! top word nonzero wakes the consumer. Until the consumer takes the top word, which then has all bits
//! that were set, no other producer has to.
//!
//! The consumer may write anything to the words, and harms only itself: the producer uses the values to
//! decide what it sets and whether it wakes, and as nothing else.

/// The words of a summary. All indices that [`mark`] uses are below [`words_for`].
pub(crate) trait Words {
    /// Returns the word at the index `at`, without order.
    fn load(&self, at: usize) -> u64;

    /// Sets bits in the word at the index `at`, fully ordered, and returns the word before.
    fn fetch_or(&self, at: usize, bits: u64) -> u64;
}

/// The index of the top word, whose bit `g` stands for the group `g`.
pub(crate) const TOP: usize = 0;

/// The index of the first group, whose bit `w` stands for the word `w` of its 64 words of lines.
pub(crate) const GROUPS: usize = 16;

/// The maximum number of groups.
pub(crate) const MAX_GROUPS: usize = 16;

/// The index of the first word of lines.
pub(crate) const LINES: usize = GROUPS + MAX_GROUPS;

const BITS: u32 = u64::BITS;

/// Returns the number of words that a summary of `nr_lines` lines has.
pub(crate) const fn words_for(nr_lines: u32) -> usize {
    LINES + nr_lines.div_ceil(BITS) as usize
}

/// The result of [`mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// The line was marked at all levels. The consumer has not taken it since.
    Before,
    /// The line is newly marked. The top word was not zero: another producer wakes the consumer, or has.
    Joined,
    /// The line is newly marked. The top word was zero: the caller has to wake the consumer.
    First,
}

/// Marks `line` as one that has fired.
#[inline(always)]
pub(crate) fn mark(words: &(impl Words + ?Sized), line: u32) -> Marked {
    let word = line / BITS;
    let group = word / BITS;
    let line_bit = 1u64 << (line % BITS);
    let word_bit = 1u64 << (word % BITS);
    let group_bit = 1u64 << group;
    let (word, group) = (LINES + word as usize, GROUPS + group as usize);

    let again = words.fetch_or(word, line_bit) & line_bit != 0;
    // The line's delivery before this one has set all three bits, and deliveries of a line are ordered. So
    // loads suffice. If the consumer died after it had cleared an upper bit, the bit is set again.
    if again && words.load(group) & word_bit != 0 && words.load(TOP) & group_bit != 0 {
        return Marked::Before;
    }
    words.fetch_or(group, word_bit);
    // A load before the atomic operation keeps the word's cache line shared between producers.
    if words.load(TOP) & group_bit != 0 || words.fetch_or(TOP, group_bit) != 0 {
        return Marked::Joined;
    }
    Marked::First
}
