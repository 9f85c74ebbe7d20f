// SPDX-License-Identifier: GPL-2.0

//! What a write to the bus matches, and which regions can be beside each other: pure functions over a
//! sorted array.
//!
//! No kernel import here: the same file is compiled on the host, where it is compared with a naive
//! reference.

/// Address spaces.
pub(crate) const SPACES: u32 = 2;

/// Whether an access, or a region, can have that length in bytes.
const fn is_length(length: u32) -> bool {
    matches!(length, 1 | 2 | 4 | 8)
}

/// Whether `value` has no bits beyond `length` bytes.
const fn fits(value: u64, length: u32) -> bool {
    length >= 8 || value >> (8 * length) == 0
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    space: u8,
    length: u8,
    addr: u64,
    value: u64,
}

impl Access {
    /// [`None`] if there is no such access: no such space or length, bits of `value` beyond `length`,
    /// or an end beyond that of the space.
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
            space: space as u8,
            length: length as u8,
            addr,
            value,
        })
    }

    /// Where it begins.
    pub(crate) const fn addr(&self) -> u64 {
        self.addr
    }

    /// What is written.
    pub(crate) const fn value(&self) -> u64 {
        self.value
    }

    /// In bytes.
    pub(crate) const fn length(&self) -> u32 {
        self.length as u32
    }

    /// The address space.
    pub(crate) const fn space(&self) -> u32 {
        self.space as u32
    }
}

/// Where a region is and what it matches. The order is that of space, address and datamatch, a region
/// without one coming first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    space: u8,
    addr: u64,
    /// There is a datamatch.
    exact: bool,
    datamatch: u64,
    /// In bytes; 0: any.
    length: u8,
}

/// Why two regions cannot be beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// They are one and the same.
    Same,
    /// They overlap, and are not at the same address or not of the same length.
    Shape,
}

impl Key {
    /// [`None`] if there is no such region: no such space or length, bits of `datamatch` beyond
    /// `length`, a datamatch for any length, or an end beyond that of the space.
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
            exact: datamatch.is_some(),
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

    /// The address space.
    pub(crate) const fn space(&self) -> u32 {
        self.space as u32
    }

    /// Where it begins.
    pub(crate) const fn addr(&self) -> u64 {
        self.addr
    }

    /// In bytes; 0: any.
    pub(crate) const fn length(&self) -> u32 {
        self.length as u32
    }

    /// The only value that it matches, if there is one.
    pub(crate) const fn datamatch(&self) -> Option<u64> {
        if self.exact {
            Some(self.datamatch)
        } else {
            None
        }
    }

    /// How far its last byte is from the first. One of any length covers its first byte.
    const fn reach(&self) -> u64 {
        (self.length as u64).saturating_sub(1)
    }

    /// Whether `next`, which is not before `self` in the order, can be beside it.
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

/// The regions that a write goes to, by where they are in the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matches {
    /// The one without datamatch.
    pub(crate) wildcard: Option<usize>,
    /// The one with this datamatch.
    pub(crate) datamatch: Option<usize>,
}

/// Where `access` goes. `keys` are those in its space, sorted and without conflicts, and `addrs` their
/// addresses by themselves: the search reads a third of what it would otherwise.
#[inline]
pub(crate) fn find(addrs: &[u64], keys: &[Key], access: &Access) -> Matches {
    let addr = access.addr;
    let first = addrs.partition_point(|&other| other < addr);
    let mut matches = Matches {
        wildcard: None,
        datamatch: None,
    };
    let mut rest = first;
    match keys.get(first) {
        // All that are here have the same length.
        Some(key) if key.addr == addr && (key.length == 0 || key.length == access.length) => {
            if !key.exact {
                matches.wildcard = Some(first);
                rest += 1;
            }
        }
        _ => return matches,
    }
    if keys.get(rest).is_some_and(|key| key.addr == addr) {
        let value = access.value;
        let behind = &keys[rest..];
        let found = rest + behind.partition_point(|key| key.addr == addr && key.datamatch < value);
        if keys
            .get(found)
            .is_some_and(|key| key.addr == addr && key.datamatch == value)
        {
            matches.datamatch = Some(found);
        }
    }
    matches
}

/// Sees whether `new` can come to `old` when those at the places `gone` have left, and if so, before
/// which of `old` each of them comes (`places`, as long as `new`). All arrays are sorted, and `gone`
/// is without repetition.
///
/// On a conflict: what it is, and which of `new` has it. For each of `new` it takes as many steps as the
/// logarithm of the lengths of the others.
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

/// The last number below `at` that is not in `gone`.
fn last_before(gone: &[usize], at: usize) -> Option<usize> {
    let last = at.checked_sub(1)?;
    let below = &gone[..gone.partition_point(|&gone| gone < at)];
    if below.last() != Some(&last) {
        return Some(last);
    }
    // The run of numbers that ends here: along it, and nowhere before, they grow with the index.
    let run = last - (below.len() - 1);
    let start = partition(below, |index, gone| gone - index < run);
    below[start].checked_sub(1)
}

/// The first number from `at` on that is not in `gone`.
fn first_from(gone: &[usize], at: usize) -> Option<usize> {
    let from = &gone[gone.partition_point(|&gone| gone < at)..];
    if from.first() != Some(&at) {
        return Some(at);
    }
    Some(at + partition(from, |index, gone| gone - index <= at))
}

/// Like `partition_point()`, with the index.
fn partition(sorted: &[usize], low: impl Fn(usize, usize) -> bool) -> usize {
    let (mut from, mut to) = (0, sorted.len());
    while from < to {
        let middle = from + (to - from) / 2;
        if low(middle, sorted[middle]) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}
