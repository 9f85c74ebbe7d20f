// SPDX-License-Identifier: GPL-2.0-only

//! The properties that are checked, for the module's functions and for mutants.

use super::{
    reference::{fits, Region},
    regions::{Access, Conflict, Key},
    strategies::Change,
    Functions,
};
use proptest::{prelude::*, test_runner::TestCaseError};

/// Returns the array after a change. Like the module's own, it relies on sorted arguments.
fn replace(old: &[Key], gone: &[usize], new: &[Key], places: &[usize]) -> Vec<Key> {
    let mut all = Vec::new();
    for at in 0..=old.len() {
        let here = new.iter().zip(places).filter(|(_, &place)| place == at);
        all.extend(here.map(|(&key, _)| key));
        if at < old.len() && !gone.contains(&at) {
            all.push(old[at]);
        }
    }
    all
}

/// Checks that the module accepts exactly the legal regions and accesses.
pub(super) fn legality(region: Region) -> Result<(), TestCaseError> {
    let key = region.key();
    prop_assert_eq!(key.is_some(), region.is_legal());
    if let Some(key) = key {
        prop_assert_eq!(key.space(), region.space);
        prop_assert_eq!(key.addr(), region.addr);
        prop_assert_eq!(key.length(), region.length);
        prop_assert_eq!(key.datamatch(), region.datamatch);
    }
    let value = region.datamatch.unwrap_or(0);
    let access = Access::new(region.space, region.addr, region.length, value);
    let length = region.length != 0 && fits(value, region.length);
    prop_assert_eq!(access.is_some(), region.is_legal() && length);
    Ok(())
}

/// Checks a series of calls, and the regions that writes match after each.
pub(super) fn behaviour(functions: Functions, changes: Vec<Change>) -> Result<(), TestCaseError> {
    let mut regions: Vec<Region> = Vec::new();
    let mut keys: Vec<Key> = Vec::new();
    for (gone, new) in changes {
        let mut gone: Vec<usize> = match keys.len() {
            0 => Vec::new(),
            len => gone.iter().map(|number| number % len).collect(),
        };
        gone.sort_unstable();
        gone.dedup();
        let mut new_keys: Vec<Key> = new.iter().filter_map(Region::key).collect();
        new_keys.sort_unstable();

        let removed: Vec<Key> = gone.iter().map(|&at| keys[at]).collect();
        let mut all: Vec<Region> = regions.clone();
        all.retain(|region| region.key().is_some_and(|key| !removed.contains(&key)));
        all.extend(&new);
        let conflicts = |region: &Region, with: Conflict| {
            let others = all.iter().filter(|other| *other != region);
            let same = all.iter().filter(|other| *other == region).count() > 1;
            match with {
                Conflict::Same => same,
                Conflict::Shape => others.into_iter().any(|o| o.conflict(region).is_some()),
            }
        };

        let mut places = vec![0; new_keys.len()];
        match (functions.place_new)(&keys, &gone, &new_keys, &mut places) {
            Ok(()) => {
                for region in &all {
                    prop_assert!(!conflicts(region, Conflict::Same), "{:?} twice", region);
                    prop_assert!(
                        !conflicts(region, Conflict::Shape),
                        "{:?} conflicts",
                        region
                    );
                }
                keys = replace(&keys, &gone, &new_keys, &places);
                regions = all;
                let mut sorted: Vec<Key> = regions.iter().filter_map(Region::key).collect();
                sorted.sort_unstable();
                prop_assert_eq!(&keys, &sorted);
            }
            Err((conflict, blamed)) => {
                let blamed = new.iter().find(|r| r.key() == Some(new_keys[blamed]));
                let blamed = blamed.expect("one of the new ones");
                prop_assert!(
                    conflicts(blamed, conflict),
                    "{:?} is no {:?}",
                    blamed,
                    conflict
                );
            }
        }
        write_everywhere(functions, &regions, &keys)?;
    }
    Ok(())
}

/// Writes each length near each region, with each value that the region could match.
fn write_everywhere(
    functions: Functions,
    regions: &[Region],
    keys: &[Key],
) -> Result<(), TestCaseError> {
    let near = |addr: u64| (0..4).map(move |by| addr.wrapping_add(by).wrapping_sub(2));
    let values = |region: &Region| [0, 1, 0x100, region.datamatch.unwrap_or(3)];
    for at in regions {
        for (addr, value) in near(at.addr).flat_map(|addr| values(at).map(|value| (addr, value))) {
            for (space, length) in [0, 1]
                .into_iter()
                .flat_map(|s| [1, 2, 4, 8].map(|l| (s, l)))
            {
                let Some(access) = Access::new(space, addr, length, value) else {
                    continue;
                };
                let matches = |region: &&Region| region.matches(space, addr, length, value);
                let mut expected: Vec<Key> = regions
                    .iter()
                    .filter(matches)
                    .filter_map(Region::key)
                    .collect();
                expected.sort_unstable();
                let here: Vec<Key> = keys
                    .iter()
                    .copied()
                    .filter(|k| k.space() == space)
                    .collect();
                let matches = (functions.find)(&here, &access);
                let found: Vec<Key> = [matches.wildcard, matches.datamatch]
                    .into_iter()
                    .flatten()
                    .map(|at| here[at])
                    .collect();
                prop_assert_eq!(found, expected, "{:?}", access);
            }
        }
    }
    Ok(())
}
