// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::uapi;
use std::{fmt, ops::BitOr, str::FromStr};

/// The reasons why a line is masked: a set of bits.
///
/// A line is masked while it has at least one reason. Each reason is set and cleared by itself, so
/// that the mask of a whole function keeps the masks of its vectors.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, LineSet, MaskReasons};
///
/// # let context = Context::open()?;
/// let vectors = LineSet::range(0..16);
/// context.mask(3)?;
/// context.mask_lines_for(&vectors, MaskReasons::FUNCTION)?;
/// context.unmask_lines_for(&vectors, MaskReasons::FUNCTION)?;
/// assert_eq!(context.query(3)?.reasons, MaskReasons::VECTOR);
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MaskReasons(u32);

impl MaskReasons {
    /// The mask of the vector itself, which [`Context::mask`](crate::Context::mask) sets.
    pub const VECTOR: Self = Self(uapi::MASK_VECTOR);
    /// The mask of the whole function.
    pub const FUNCTION: Self = Self(uapi::MASK_FUNCTION);
    /// The virtual machine is stopped.
    pub const PAUSE: Self = Self(uapi::MASK_PAUSE);
    /// The line has masked itself; see
    /// [`Context::set_type_automask`](crate::Context::set_type_automask).
    pub const AUTO: Self = Self(uapi::MASK_AUTO);
    /// All reasons.
    pub const ALL: Self =
        Self(uapi::MASK_VECTOR | uapi::MASK_FUNCTION | uapi::MASK_PAUSE | uapi::MASK_AUTO);

    /// Each reason and its name.
    const NAMES: [(Self, &'static str); 4] = [
        (Self::VECTOR, "vector"),
        (Self::FUNCTION, "function"),
        (Self::PAUSE, "pause"),
        (Self::AUTO, "auto"),
    ];

    /// Returns the reasons of a line whose state is `state`.
    pub(crate) fn of_state(state: u32) -> Self {
        Self((state & uapi::LINE_REASONS) >> uapi::LINE_REASONS_SHIFT)
    }

    /// Returns the DOORBELL_MASK_* bits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::{MaskReasons, uapi};
    /// assert_eq!(MaskReasons::PAUSE.bits(), uapi::MASK_PAUSE);
    /// ```
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns true if there is no reason: the line is not masked.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::MaskReasons;
    /// assert!(MaskReasons::default().is_empty());
    /// ```
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if all of `other` are among the reasons.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::MaskReasons;
    /// let reasons = MaskReasons::VECTOR | MaskReasons::AUTO;
    /// assert!(reasons.contains(MaskReasons::AUTO));
    /// assert!(!reasons.contains(MaskReasons::AUTO | MaskReasons::PAUSE));
    /// ```
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the reasons that are not among `other`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::MaskReasons;
    /// let reasons = MaskReasons::VECTOR | MaskReasons::AUTO;
    /// assert_eq!(reasons.without(MaskReasons::AUTO), MaskReasons::VECTOR);
    /// ```
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the names of the reasons.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::MaskReasons;
    /// let reasons = MaskReasons::VECTOR | MaskReasons::AUTO;
    /// assert_eq!(reasons.names().collect::<Vec<_>>(), ["vector", "auto"]);
    /// ```
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = Self::NAMES.into_iter();
        names.filter_map(move |(reason, name)| self.contains(reason).then_some(name))
    }
}

impl BitOr for MaskReasons {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Formats the names, separated by commas.
impl fmt::Display for MaskReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

/// Parses names that are separated by commas: at least one.
impl FromStr for MaskReasons {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').try_fold(Self::default(), |reasons, name| {
            let known = Self::NAMES.into_iter().find(|(_, known)| *known == name);
            match known {
                Some((reason, _)) => Ok(reasons | reason),
                None => Err(format!(
                    "{name:?} is no reason: write vector, function, pause or auto"
                )),
            }
        })
    }
}

/// Serializes the names as a sequence.
#[cfg(feature = "serde")]
impl serde::Serialize for MaskReasons {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_from_a_state() {
        let state = uapi::LINE_MASKED
            | ((uapi::MASK_FUNCTION | uapi::MASK_AUTO) << uapi::LINE_REASONS_SHIFT);
        let reasons = MaskReasons::of_state(state);
        assert_eq!(reasons, MaskReasons::FUNCTION | MaskReasons::AUTO);
        assert!(MaskReasons::of_state(!uapi::LINE_REASONS).is_empty());
        assert_eq!(MaskReasons::of_state(u32::MAX), MaskReasons::ALL);
    }

    #[test]
    fn text_and_reasons_convert_both_ways() {
        for bits in 1..=MaskReasons::ALL.bits() {
            let reasons = MaskReasons(bits);
            assert_eq!(reasons.to_string().parse(), Ok(reasons));
        }
        assert_eq!(
            (MaskReasons::VECTOR | MaskReasons::PAUSE).to_string(),
            "vector,pause"
        );
        for bad in ["", "vector,", "Vector", "mask", "vector pause"] {
            assert!(bad.parse::<MaskReasons>().is_err(), "{bad}");
        }
    }
}
