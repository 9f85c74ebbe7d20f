// SPDX-License-Identifier: GPL-2.0

//! The match of a write and a region, and conflicts between regions, as pure functions over a sorted
//! array.
//!
//! This file imports nothing from the kernel: a test on the host compiles it as it is and compares it with
//! a naive reference.

/// The number of address spaces.
pub(crate) const SPACES: u32 = 2;

/// Returns true if an access, or a region, can have that length in bytes.
const fn is_length(length: u32) -> bool {
    matches!(length, 1 | 2 | 4 | 8)
}

/// Returns true if `value` has no bits beyond `length` bytes.
const fn fits(value: u64, length: u32) -> bool {
    length >= 8 || value >> (8 * length) == 0
}

/// The address space of an access, and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    space: u8,
    length: u8,
}

impl Shape {
    /// Creates the shape of an access that the caller has checked as [`Access::new`] does.
    #[inline(always)]
    pub(crate) const fn of_checked(space: u32, length: u32) -> Self {
        Self {
            space: space as u8,
            length: length as u8,
        }
    }
}

/// A write to the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    shape: Shape,
    addr: u64,
    value: u64,
}

impl Access {
    /// Creates an access, or returns [`None`] if it is impossible: no such space or length, bits of `value`
    /// beyond `length`, or an end beyond that of the space.
    #[inline]
    pub(crate) const fn new(space: u32, addr: u64, length: u32, value: u64) -> Option<Self> {
        let legal = space < SPACES
            && is_length(length)
            && fits(value, length)
            && addr.checked_add(length as u64 - 1).is_some();
        if !legal {
            return None;
        }
        Some(Self {
            shape: Shape::of_checked(space, length),
            addr,
            value,
        })
    }

    /// Creates an access of parts that the caller has checked as [`Access::new`] does.
    #[inline(always)]
    pub(crate) const fn of_shape(shape: Shape, addr: u64, value: u64) -> Self {
        Self { shape, addr, value }
    }

    /// Returns the address space and the length.
    #[inline(always)]
    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the address of the first byte.
    pub(crate) const fn addr(&self) -> u64 {
        self.addr
    }

    /// Returns the value.
    pub(crate) const fn value(&self) -> u64 {
        self.value
    }

    /// Returns the length in bytes.
    pub(crate) const fn length(&self) -> u32 {
        self.shape.length as u32
    }

    /// Returns the address space.
    pub(crate) const fn space(&self) -> u32 {
        self.shape.space as u32
    }
}

/// The address of a region and the writes that it matches. Keys are ordered by space, address and
/// datamatch; a key without datamatch sorts before those with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    space: u8,
    addr: u64,
    /// True if there is a datamatch.
    has_datamatch: bool,
    datamatch: u64,
    /// Length in bytes; 0 for any.
    length: u8,
}

/// The conflict between two regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// They have the same key.
    Same,
    /// They overlap, and are not at the same address or not of the same length.
    Shape,
}

impl Key {
    /// Creates a key, or returns [`None`] if it is impossible: no such space or length, bits of `datamatch`
    /// beyond `length`, a datamatch for any length, or an end beyond that of the space.
    pub(crate) const fn new(
        space: u32,
        addr: u64,
        length: u32,
        datamatch: Option<u64>,
    ) -> Option<Self> {
        let legal = match (length, datamatch) {
            (0, None) => true,
            (0, Some(_)) => false,
            (_, Some(value)) => is_length(length) && fits(value, length),
            (_, None) => is_length(length),
        };
        if space >= SPACES || !legal {
            return None;
        }
        let key = Self {
            space: space as u8,
            addr,
            has_datamatch: datamatch.is_some(),
            datamatch: match datamatch {
                Some(value) => value,
                None => 0,
            },
            length: length as u8,
        };
        if addr.checked_add(key.reach()).is_none() {
            return None;
        }
        Some(key)
    }

    /// Returns the address space.
    pub(crate) const fn space(&self) -> u32 {
        self.space as u32
    }

    /// Returns the address of the first byte.
    pub(crate) const fn addr(&self) -> u64 {
        self.addr
    }

    /// Returns the length in bytes; 0 for any.
    pub(crate) const fn length(&self) -> u32 {
        self.length as u32
    }

    /// Returns the only value that it matches, if there is one.
    pub(crate) const fn datamatch(&self) -> Option<u64> {
        if self.has_datamatch {
            Some(self.datamatch)
        } else {
            None
        }
    }

    /// Returns the distance from the first to the last byte. A region of any length covers its first byte.
    const fn reach(&self) -> u64 {
        (self.length as u64).saturating_sub(1)
    }

    /// Checks for a conflict with `next`, which does not sort before `self`.
    fn check(&self, next: &Self) -> Result<(), Conflict> {
        if self.space != next.space {
            Ok(())
        } else if self.addr == next.addr {
            if self.length != next.length {
                Err(Conflict::Shape)
            } else if self == next {
                Err(Conflict::Same)
            } else {
                Ok(())
            }
        } else if next.addr - self.addr <= self.reach() {
            Err(Conflict::Shape)
        } else {
            Ok(())
        }
    }
}

/// The regions that a write matches, by their positions in the array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matches {
    /// The region without datamatch.
    pub(crate) wildcard: Option<usize>,
    /// The region whose datamatch is the value.
    pub(crate) datamatch: Option<usize>,
}

/// The regions at the address and of the length of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No region matches.
    Nothing,
    /// The region at this position matches, and no other.
    One(usize),
    /// There are several regions, the first at this position: see [`among`].
    Several(usize),
}

/// Returns the regions at the address and of the length of `access`. `keys` are those in its space, sorted
/// and without conflicts. `addrs` are their addresses: the binary search in them reads a third of the
/// memory of `keys`.
#[inline(always)]
pub(crate) fn find(addrs: &[u64], keys: &[Key], access: &Access) -> Found {
    let first = partition(addrs, |_, &other| other < access.addr);
    let Some(key) = keys.get(first) else {
        return Found::Nothing;
    };
    // All regions at this address have the same length.
    if key.addr != access.addr || (key.length != access.shape.length && key.length != 0) {
        return Found::Nothing;
    }
    match keys.get(first.wrapping_add(1)) {
        Some(next) if next.addr == access.addr => Found::Several(first),
        _ if key.has_datamatch && key.datamatch != access.value => Found::Nothing,
        _ => Found::One(first),
    }
}

/// Returns those of several regions that a write of `value` matches. `first` is the position of the first
/// one.
#[inline(never)]
pub(crate) fn among(keys: &[Key], first: usize, value: u64) -> Matches {
    let Some(key) = keys.get(first) else {
        return Matches::default();
    };
    let addr = key.addr;
    // Those without datamatch sort first, and `first` is the first one at this address.
    let below = |key: &Key| key.addr < addr || !key.has_datamatch || key.datamatch < value;
    let found = partition(keys, |_, key| key.addr <= addr && below(key));
    let datamatch = keys
        .get(found)
        .is_some_and(|key| key.addr == addr && key.has_datamatch && key.datamatch == value);
    Matches {
        wildcard: (!key.has_datamatch).then_some(first),
        datamatch: datamatch.then_some(found),
    }
}

/// Checks that the keys `new` can be added to `old` when those at the positions `gone` are removed. Writes
/// to `places`, which is as long as `new`, the position in `old` before which each new key sorts. All
/// arrays are sorted, and `gone` has no duplicates.
///
/// On a conflict, returns it with the index in `new`. For each new key the number of steps is logarithmic
/// in the lengths of the other arrays.
pub(crate) fn place_new(
    old: &[Key],
    gone: &[usize],
    new: &[Key],
    places: &mut [usize],
) -> Result<(), (Conflict, usize)> {
    for (index, (key, place)) in new.iter().zip(places).enumerate() {
        let at = old.partition_point(|other| other < key);
        let neighbours = [
            last_before(gone, at).map(|before| old[before].check(key)),
            first_from(gone, at)
                .and_then(|after| old.get(after))
                .map(|after| key.check(after)),
            index.checked_sub(1).map(|last| new[last].check(key)),
        ];
        for check in neighbours.into_iter().flatten() {
            check.map_err(|conflict| (conflict, index))?;
        }
        *place = at;
    }
    Ok(())
}

/// Returns the last number below `at` that is not in `gone`.
fn last_before(gone: &[usize], at: usize) -> Option<usize> {
    let last = at.checked_sub(1)?;
    let below = &gone[..gone.partition_point(|&gone| gone < at)];
    if below.last() != Some(&last) {
        return Some(last);
    }
    // Find the start of the run of consecutive numbers that ends here.
    let run = last - (below.len() - 1);
    let start = partition(below, |index, gone| gone - index < run);
    below[start].checked_sub(1)
}

/// Returns the first number from `at` on that is not in `gone`.
fn first_from(gone: &[usize], at: usize) -> Option<usize> {
    let from = &gone[gone.partition_point(|&gone| gone < at)..];
    if from.first() != Some(&at) {
        return Some(at);
    }
    Some(at + partition(from, |index, gone| gone - index <= at))
}

/// Does what `partition_point()` does, with a predicate that gets the index, too, and without arithmetic
/// that can panic: a write may come from an interrupt.
#[inline(always)]
fn partition<T>(sorted: &[T], low: impl Fn(usize, &T) -> bool) -> usize {
    let (mut from, mut len) = (0usize, sorted.len());
    let is_low = |at: usize| sorted.get(at).is_some_and(|item| low(at, item));
    while len > 1 {
        let half = len >> 1;
        let middle = from.wrapping_add(half);
        if is_low(middle) {
            from = middle;
        }
        len = len.wrapping_sub(half);
    }
    from.wrapping_add(usize::from(is_low(from)))
}
