// SPDX-License-Identifier: GPL-2.0

//! The lines that DOORBELL_MASK, _UNMASK, _CLEAR and _PENDING work on.

use crate::uapi::doorbell_line_set;
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

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
        let mut words = KVVec::with_capacity(self.words, GFP_KERNEL)?;
        for _ in 0..self.words {
            words.push(reader.read()?, GFP_KERNEL)?;
        }
        Ok(words)
    }

    fn write(&self, words: &[u64]) -> Result {
        let mut writer = self.slice().writer();
        words.iter().try_for_each(|word| writer.write(word))
    }
}

/// A set of lines of a context.
pub(crate) struct LineSet {
    first: u32,
    len: u32,
    /// A bit for each line; none selects all lines.
    chosen: Option<KVVec<u64>>,
    /// The bitmap for the lines that were counted, if the caller asks for it.
    result: Option<(Bitmap, KVVec<u64>)>,
}

impl LineSet {
    /// Creates the set that the caller asks for, in a context of `nr_lines` lines. Writes zeroes to the
    /// result, as a check that it can be written. Process context.
    ///
    /// # Errors
    ///
    /// EINVAL, ENXIO, EFAULT, ENOMEM: see the UAPI header.
    pub(crate) fn new(set: &doorbell_line_set, nr_lines: u32) -> Result<Self> {
        let end = set.line.checked_add(set.nr_lines).ok_or(ENXIO)?;
        if end > nr_lines {
            return Err(ENXIO);
        }
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
            let none = KVVec::from_elem(0, bitmap.words, GFP_KERNEL)?;
            bitmap.write(&none)?;
            Ok((bitmap, none))
        });
        let result = result.transpose()?;
        Ok(Self {
            first: set.line,
            len: set.nr_lines,
            chosen,
            result,
        })
    }

    /// Calls `f` for each line, and writes to the result the lines for which it returned true. Returns their
    /// number. Process context.
    pub(crate) fn apply(self, mut f: impl FnMut(u32) -> bool) -> u32 {
        let mut count = 0;
        let mut result = self.result;
        for at in 0..self.len {
            let (word, bit) = ((at / u64::BITS) as usize, 1u64 << (at % u64::BITS));
            if let Some(chosen) = &self.chosen {
                if chosen[word] & bit == 0 {
                    continue;
                }
            }
            if f(self.first + at) {
                count += 1;
                if let Some((_, result)) = &mut result {
                    result[word] |= bit;
                }
            }
        }
        if let Some((bitmap, result)) = result {
            // The check above has written to it. If the caller has unmapped it since, the lines have been
            // changed all the same, and the return value gives their number.
            let _ = bitmap.write(&result);
        }
        count
    }
}
