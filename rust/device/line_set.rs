// SPDX-License-Identifier: GPL-2.0

//! The lines that DOORBELL_MASK, _UNMASK, _CLEAR, _PENDING, _RING_LINES and _SUMMARY work on.

use crate::{
    kernel_ext::{
        alloc::user_alloc_flags,
        pinned::PinnedPart,
        task::{
            cond_resched,
            fatal_signal_pending, //
        }, //
    },
    line::Line,
    uapi::doorbell_line_set, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// The number of lines in a word of a bitmap.
const WORD: usize = u64::BITS as usize;

/// Calls `f` with the index of each word of a bitmap, and with those of `lines` that it selects from.
///
/// A call for many lines can take long: 65,536 lines can have 64 triggers each. So other tasks can run
/// between two words, and there is no further word once the caller has been killed. Process context.
#[inline(always)]
fn for_each_word<'a>(
    mut lines: PinnedPart<'a, Line>,
    mut f: impl FnMut(usize, PinnedPart<'a, Line>),
) {
    let mut word = 0usize;
    loop {
        let (first, rest) = lines.split_at_most(WORD);
        f(word, first);
        if rest.is_empty() || !may_continue() {
            return;
        }
        lines = rest;
        word = word.wrapping_add(1);
    }
}

/// Lets other tasks run. Returns false if the caller has been killed.
#[cold]
fn may_continue() -> bool {
    cond_resched();
    !fatal_signal_pending()
}

/// Calls `f` for each of `lines`. Returns the number of lines for which it returned true. Process context.
#[inline(always)]
pub(crate) fn count(lines: PinnedPart<'_, Line>, f: impl Fn(Pin<&Line>) -> bool) -> usize {
    let mut count = 0usize;
    for_each_word(lines, |_, lines| {
        for line in lines.iter() {
            // Cannot overflow: there are at most 65,536 lines.
            count = count.wrapping_add(usize::from(f(line)));
        }
    });
    count
}

/// A bitmap in the caller's memory.
#[derive(Clone, Copy)]
struct Bitmap {
    at: UserPtr,
    words: usize,
}

impl Bitmap {
    /// Creates the bitmap of `bits` bits at the address `at`, or none if that is zero.
    fn new(at: u64, bits: u32) -> Result<Option<Self>> {
        if at == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            at: UserPtr::from_addr(usize::try_from(at).map_err(|_| EFAULT)?),
            words: bits.div_ceil(u64::BITS) as usize,
        }))
    }

    fn slice(&self) -> UserSlice {
        UserSlice::new(self.at, self.words * size_of::<u64>())
    }

    fn read(&self) -> Result<KVVec<u64>> {
        let mut reader = self.slice().reader();
        let mut words = KVVec::with_capacity(self.words, user_alloc_flags())?;
        for _ in 0..self.words {
            words.push(reader.read()?, user_alloc_flags())?;
        }
        Ok(words)
    }

    fn write(&self, words: &[u64]) -> Result {
        let mut writer = self.slice().writer();
        words.iter().try_for_each(|word| writer.write(word))
    }
}

/// The bitmaps that select the lines of a call, and that return those that were counted.
pub(crate) struct Bitmaps {
    /// A bit for each line; none selects all lines.
    chosen: Option<KVVec<u64>>,
    /// The bitmap for the lines that were counted, if the caller asks for it.
    result: Option<(Bitmap, KVVec<u64>)>,
}

impl Bitmaps {
    /// Reads the bitmaps of `set`. Writes zeroes to the result, as a check that it can be written. Process
    /// context.
    ///
    /// # Errors
    ///
    /// EINVAL, EFAULT, ENOMEM: see the UAPI header.
    #[inline(never)]
    pub(crate) fn new(set: &doorbell_line_set) -> Result<Self> {
        let chosen = Bitmap::new(set.lines, set.nr_lines)?;
        let chosen = chosen.map(|bitmap| bitmap.read()).transpose()?;
        let beyond = set.nr_lines % u64::BITS;
        if let Some(last) = chosen.as_ref().and_then(|words| words.last()) {
            if beyond != 0 && last >> beyond != 0 {
                return Err(EINVAL);
            }
        }
        let result = Bitmap::new(set.result, set.nr_lines)?;
        let result = result.map(|bitmap| -> Result<_> {
            let none = KVVec::from_elem(0, bitmap.words, user_alloc_flags())?;
            bitmap.write(&none)?;
            Ok((bitmap, none))
        });
        let result = result.transpose()?;
        Ok(Self { chosen, result })
    }

    /// Returns the selected ones of the lines that begin with the line `first`. There are `nr_lines`.
    pub(crate) fn selected(
        &self,
        first: u32,
        nr_lines: u32,
    ) -> impl Iterator<Item = u32> + Clone + '_ {
        let chosen = self.chosen.as_deref();
        let is_chosen = move |at: u32| match chosen {
            Some(words) => words
                .get((at / u64::BITS) as usize)
                .is_some_and(|word| word >> (at % u64::BITS) & 1 != 0),
            None => true,
        };
        (0..nr_lines)
            .filter(move |at| is_chosen(*at))
            .map(move |at| first + at)
    }

    /// Calls `f` for each of `lines` that is selected, and writes to the result the lines for which it
    /// returned true. Returns their number. Process context.
    pub(crate) fn apply(
        self,
        lines: PinnedPart<'_, Line>,
        f: impl Fn(Pin<&Line>) -> bool,
    ) -> usize {
        let mut count = 0;
        let mut result = self.result;
        for_each_word(lines, |word, lines| {
            let chosen = match &self.chosen {
                Some(chosen) => chosen.get(word).copied().unwrap_or(0),
                None => u64::MAX,
            };
            let mut done = 0;
            for (bit, line) in lines.iter().enumerate() {
                if chosen >> bit & 1 != 0 && f(line) {
                    done |= 1u64 << bit;
                    count += 1;
                }
            }
            if let Some((_, result)) = &mut result {
                if let Some(word) = result.get_mut(word) {
                    *word = done;
                }
            }
        });
        if let Some((bitmap, result)) = result {
            // The check above has written to it. If the caller has unmapped it since, the lines have been
            // changed all the same, and the return value gives their number.
            let _ = bitmap.write(&result);
        }
        count
    }
}
