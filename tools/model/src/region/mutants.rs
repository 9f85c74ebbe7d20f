// SPDX-License-Identifier: GPL-2.0-only

//! Versions with one deliberate mistake.

use super::{
    regions::{place_new, Access, Conflict, Key, Matches},
    search, Functions, REAL,
};

pub(super) const MUTANTS: &[(&str, Functions)] = &[
    (
        "a write that is wider than the region matches",
        Functions {
            find: find_accepts_wider,
            ..REAL
        },
    ),
    (
        "a region of any length matches no write",
        Functions {
            find: find_ignores_wildcard,
            ..REAL
        },
    ),
    (
        "only the low byte is compared",
        Functions {
            find: find_compares_low_byte,
            ..REAL
        },
    ),
    (
        "a datamatch hides the region without one",
        Functions {
            find: find_prefers_exact,
            ..REAL
        },
    ),
    (
        "regions at lower addresses are ignored",
        Functions {
            place_new: place_ignores_predecessors,
            ..REAL
        },
    ),
    (
        "new regions are not compared with each other",
        Functions {
            place_new: place_ignores_other_new,
            ..REAL
        },
    ),
    (
        "a removed region still conflicts",
        Functions {
            place_new: place_ignores_removals,
            ..REAL
        },
    ),
    (
        "only the first of adjacent regions is removed",
        Functions {
            place_new: place_skips_first_of_run,
            ..REAL
        },
    ),
];

/// Searches all keys one by one, with a mistake in `matches`.
fn scan(keys: &[Key], matches: impl Fn(&Key) -> bool) -> Matches {
    let find = |exact: bool| {
        let is = |key: &&Key| key.datamatch().is_some() == exact && matches(key);
        let key = keys.iter().find(is)?;
        keys.iter().position(|other| other == key)
    };
    Matches {
        wildcard: find(false),
        datamatch: find(true),
    }
}

/// Returns true if the addresses match.
fn at(key: &Key, access: &Access) -> bool {
    key.addr() == access.addr()
}

/// Returns true if the datamatch matches.
fn data(key: &Key, access: &Access) -> bool {
    key.datamatch().is_none_or(|value| value == access.value())
}

fn find_accepts_wider(keys: &[Key], access: &Access) -> Matches {
    scan(keys, |key| {
        at(key, access) && data(key, access) && key.length() <= access.length()
    })
}

fn find_ignores_wildcard(keys: &[Key], access: &Access) -> Matches {
    scan(keys, |key| {
        at(key, access) && data(key, access) && key.length() == access.length()
    })
}

fn find_compares_low_byte(keys: &[Key], access: &Access) -> Matches {
    scan(keys, |key| {
        let same = |value| value as u8 == access.value() as u8;
        let length = key.length() == 0 || key.length() == access.length();
        at(key, access) && key.datamatch().is_none_or(same) && length
    })
}

fn find_prefers_exact(keys: &[Key], access: &Access) -> Matches {
    let matches = search(keys, access);
    Matches {
        wildcard: matches.wildcard.filter(|_| matches.datamatch.is_none()),
        ..matches
    }
}

fn place_ignores_predecessors(
    old: &[Key],
    gone: &[usize],
    new: &[Key],
    places: &mut [usize],
) -> Result<(), (Conflict, usize)> {
    let first = new
        .first()
        .map_or(0, |new| old.partition_point(|old| old < new));
    let all: Vec<usize> = (0..first)
        .chain(gone.iter().copied().filter(|&at| at >= first))
        .collect();
    place_new(old, &all, new, places)
}

fn place_ignores_other_new(
    old: &[Key],
    gone: &[usize],
    new: &[Key],
    places: &mut [usize],
) -> Result<(), (Conflict, usize)> {
    for (index, (key, place)) in new.iter().zip(places).enumerate() {
        place_new(old, gone, &[*key], std::slice::from_mut(place))
            .map_err(|(conflict, _)| (conflict, index))?;
    }
    Ok(())
}

fn place_ignores_removals(
    old: &[Key],
    _gone: &[usize],
    new: &[Key],
    places: &mut [usize],
) -> Result<(), (Conflict, usize)> {
    place_new(old, &[], new, places)
}

fn place_skips_first_of_run(
    old: &[Key],
    gone: &[usize],
    new: &[Key],
    places: &mut [usize],
) -> Result<(), (Conflict, usize)> {
    // In a run of removed regions, only the first is skipped.
    let holes: Vec<usize> = gone
        .iter()
        .copied()
        .filter(|&at| at == 0 || !gone.contains(&(at - 1)))
        .collect();
    place_new(old, &holes, new, places)
}
