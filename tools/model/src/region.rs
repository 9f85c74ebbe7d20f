// SPDX-License-Identifier: GPL-2.0-only

//! What a write to the bus matches, and which regions can be beside each other, compared with a naive
//! reference: every length, with and without datamatch, at and around all boundaries.
//!
//! [`regions`] is the module's own rust/region.rs, compiled here as it is.

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

// What the module shows to userspace is not looked at here.
#[path = "../../../rust/region.rs"]
#[allow(missing_docs, dead_code)]
mod regions;

use regions::{find, place_new, Access, Clash, Hits, Key};

/// The functions that are looked at.
#[derive(Clone, Copy)]
struct Functions {
    find: fn(&[Key], &Access) -> Hits,
    place_new: PlaceNew,
}

type PlaceNew = fn(&[Key], &[usize], &[Key], &mut [usize]) -> Result<(), (Clash, usize)>;

const REAL: Functions = Functions {
    find: search,
    place_new,
};

/// As the module does it.
fn search(keys: &[Key], access: &Access) -> Hits {
    let addrs: Vec<u64> = keys.iter().map(Key::addr).collect();
    find(&addrs, keys, access)
}

/// A region, or what somebody takes for one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Region {
    space: u32,
    addr: u64,
    length: u32,
    datamatch: Option<u64>,
}

impl Region {
    fn key(&self) -> Option<Key> {
        Key::new(self.space, self.addr, self.length, self.datamatch)
    }

    /// All bytes that it covers, as numbers that do not wrap.
    fn bytes(&self) -> std::ops::Range<u128> {
        let from = u128::from(self.addr);
        from..from + u128::from(self.length.max(1))
    }

    fn is_legal(&self) -> bool {
        let length = [0, 1, 2, 4, 8].contains(&self.length);
        let datamatch = match self.datamatch {
            None => true,
            Some(value) => self.length != 0 && fits(value, self.length),
        };
        self.space <= 1 && length && datamatch && self.bytes().end <= 1 << 64
    }

    /// Whether a write goes to it.
    fn takes(&self, space: u32, addr: u64, length: u32, value: u64) -> bool {
        self.space == space
            && self.addr == addr
            && (self.length == 0 || self.length == length)
            && self.datamatch.is_none_or(|datamatch| datamatch == value)
    }

    /// Why it cannot be beside another one.
    fn clash(&self, other: &Self) -> Option<Clash> {
        let (a, b) = (self.bytes(), other.bytes());
        let apart = self.space != other.space || a.end <= b.start || b.end <= a.start;
        let alike = self.addr == other.addr && self.length == other.length;
        if self == other {
            Some(Clash::Same)
        } else if apart || alike {
            None
        } else {
            Some(Clash::Shape)
        }
    }
}

/// Whether a value has no bytes beyond a length.
fn fits(value: u64, length: u32) -> bool {
    value
        .to_le_bytes()
        .iter()
        .skip(length as usize)
        .all(|&byte| byte == 0)
}

/// Few addresses, near each other and near where numbers end, so that much clashes and matches.
fn addr() -> impl Strategy<Value = u64> {
    const HALF: u64 = 1 << 63;
    prop_oneof![0..16u64, u64::MAX - 15..=u64::MAX, HALF - 8..HALF + 8]
}

fn length() -> impl Strategy<Value = u32> {
    select(vec![0, 1, 2, 4, 8])
}

/// Few values, and the largest of each length and the next.
fn value() -> impl Strategy<Value = u64> {
    select(vec![
        0,
        1,
        2,
        0xff,
        0x100,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0000,
        u64::MAX,
    ])
}

fn any_region() -> impl Strategy<Value = Region> {
    let length = prop_oneof![8 => length(), 1 => 0..20u32, 1 => any::<u32>()];
    let space = prop_oneof![9 => 0..2u32, 1 => any::<u32>()];
    (space, addr(), length, proptest::option::of(value())).prop_map(
        |(space, addr, length, datamatch)| Region {
            space,
            addr,
            length,
            datamatch,
        },
    )
}

fn region() -> impl Strategy<Value = Region> {
    (0..2u32, addr(), length(), proptest::option::of(value()))
        .prop_map(|(space, addr, length, datamatch)| {
            let datamatch = datamatch.filter(|&value| length != 0 && fits(value, length));
            Region {
                space,
                addr,
                length,
                datamatch,
            }
        })
        .prop_filter("beyond the end", Region::is_legal)
}

/// One call: what goes (by a number, of those that are there), what comes.
type Change = (Vec<usize>, Vec<Region>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (
        prop::collection::vec(any::<usize>(), 0..6),
        prop::collection::vec(region(), 0..6),
    );
    prop::collection::vec(change, 1..8)
}

/// What an array becomes: as the module's does it, and it relies on the same.
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

/// A region is one if and only if it should be.
fn legal(region: Region) -> Result<(), TestCaseError> {
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

/// What is assigned is what should be, and what is written goes where it should.
fn behave(functions: Functions, changes: Vec<Change>) -> Result<(), TestCaseError> {
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

        let leave: Vec<Key> = gone.iter().map(|&at| keys[at]).collect();
        let mut all: Vec<Region> = regions.clone();
        all.retain(|region| region.key().is_some_and(|key| !leave.contains(&key)));
        all.extend(&new);
        let clashes = |region: &Region, with: Clash| {
            let others = all.iter().filter(|other| *other != region);
            let same = all.iter().filter(|other| *other == region).count() > 1;
            match with {
                Clash::Same => same,
                Clash::Shape => others.into_iter().any(|o| o.clash(region).is_some()),
            }
        };

        let mut places = vec![0; new_keys.len()];
        match (functions.place_new)(&keys, &gone, &new_keys, &mut places) {
            Ok(()) => {
                for region in &all {
                    prop_assert!(!clashes(region, Clash::Same), "{:?} twice", region);
                    prop_assert!(!clashes(region, Clash::Shape), "{:?} clashes", region);
                }
                keys = replace(&keys, &gone, &new_keys, &places);
                regions = all;
                let mut sorted: Vec<Key> = regions.iter().filter_map(Region::key).collect();
                sorted.sort_unstable();
                prop_assert_eq!(&keys, &sorted);
            }
            Err((clash, blamed)) => {
                let blamed = new.iter().find(|r| r.key() == Some(new_keys[blamed]));
                let blamed = blamed.expect("one of the new ones");
                prop_assert!(clashes(blamed, clash), "{:?} is no {:?}", blamed, clash);
            }
        }
        write_everywhere(functions, &regions, &keys)?;
    }
    Ok(())
}

/// Writes all lengths to all addresses that a region could be at, with all values that it could match.
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
                let takes = |region: &&Region| region.takes(space, addr, length, value);
                let mut expected: Vec<Key> = regions
                    .iter()
                    .filter(takes)
                    .filter_map(Region::key)
                    .collect();
                expected.sort_unstable();
                let here: Vec<Key> = keys
                    .iter()
                    .copied()
                    .filter(|k| k.space() == space)
                    .collect();
                let hits = (functions.find)(&here, &access);
                let found: Vec<Key> = [hits.any, hits.exact]
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

/// Versions with a mistake.
mod broken {
    use super::*;

    /// As if keys were the only thing that is looked at, with a mistake in `takes`.
    fn scan(keys: &[Key], takes: impl Fn(&Key) -> bool) -> Hits {
        let find = |exact: bool| {
            let is = |key: &&Key| key.datamatch().is_some() == exact && takes(key);
            let key = keys.iter().find(is)?;
            keys.iter().position(|other| other == key)
        };
        Hits {
            any: find(false),
            exact: find(true),
        }
    }

    fn at(key: &Key, access: &Access) -> bool {
        key.addr() == access.addr()
    }

    fn data(key: &Key, access: &Access) -> bool {
        key.datamatch().is_none_or(|value| value == access.value())
    }

    fn wider(keys: &[Key], access: &Access) -> Hits {
        scan(keys, |key| {
            at(key, access) && data(key, access) && key.length() <= access.length()
        })
    }

    fn any_length_is_none(keys: &[Key], access: &Access) -> Hits {
        scan(keys, |key| {
            at(key, access) && data(key, access) && key.length() == access.length()
        })
    }

    fn low_byte(keys: &[Key], access: &Access) -> Hits {
        scan(keys, |key| {
            let same = |value| value as u8 == access.value() as u8;
            let length = key.length() == 0 || key.length() == access.length();
            at(key, access) && key.datamatch().is_none_or(same) && length
        })
    }

    fn exact_only(keys: &[Key], access: &Access) -> Hits {
        let hits = search(keys, access);
        Hits {
            any: hits.any.filter(|_| hits.exact.is_none()),
            ..hits
        }
    }

    fn without_those_before(
        old: &[Key],
        gone: &[usize],
        new: &[Key],
        places: &mut [usize],
    ) -> Result<(), (Clash, usize)> {
        let first = new
            .first()
            .map_or(0, |new| old.partition_point(|old| old < new));
        let all: Vec<usize> = (0..first)
            .chain(gone.iter().copied().filter(|&at| at >= first))
            .collect();
        place_new(old, &all, new, places)
    }

    fn without_each_other(
        old: &[Key],
        gone: &[usize],
        new: &[Key],
        places: &mut [usize],
    ) -> Result<(), (Clash, usize)> {
        for (index, (key, place)) in new.iter().zip(places).enumerate() {
            place_new(old, gone, &[*key], std::slice::from_mut(place))
                .map_err(|(clash, _)| (clash, index))?;
        }
        Ok(())
    }

    fn with_those_gone(
        old: &[Key],
        _gone: &[usize],
        new: &[Key],
        places: &mut [usize],
    ) -> Result<(), (Clash, usize)> {
        place_new(old, &[], new, places)
    }

    fn one_gone_at_a_time(
        old: &[Key],
        gone: &[usize],
        new: &[Key],
        places: &mut [usize],
    ) -> Result<(), (Clash, usize)> {
        // Runs of what is gone are not skipped to their end.
        let holes: Vec<usize> = gone
            .iter()
            .copied()
            .filter(|&at| at == 0 || !gone.contains(&(at - 1)))
            .collect();
        place_new(old, &holes, new, places)
    }

    pub(super) const ALL: &[(&str, Functions)] = &[
        (
            "a wider write matches",
            Functions {
                find: wider,
                ..REAL
            },
        ),
        (
            "any length is taken for none",
            Functions {
                find: any_length_is_none,
                ..REAL
            },
        ),
        (
            "only the low byte is compared",
            Functions {
                find: low_byte,
                ..REAL
            },
        ),
        (
            "a datamatch hides the region without",
            Functions {
                find: exact_only,
                ..REAL
            },
        ),
        (
            "what comes before is not looked at",
            Functions {
                place_new: without_those_before,
                ..REAL
            },
        ),
        (
            "the new ones are not compared with each other",
            Functions {
                place_new: without_each_other,
                ..REAL
            },
        ),
        (
            "what is gone is still in the way",
            Functions {
                place_new: with_those_gone,
                ..REAL
            },
        ),
        (
            "only the first of a run is gone",
            Functions {
                place_new: one_gone_at_a_time,
                ..REAL
            },
        ),
    ];
}

/// How a property was found to be.
pub struct Checked {
    /// The property, or the mistake.
    pub name: String,
    /// It holds; or the mistake was found.
    pub ok: bool,
    /// How many cases were tried, or what was found.
    pub more: String,
}

/// Tries many cases; always the same ones.
fn check<S: Strategy>(
    cases: u32,
    strategy: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) -> Result<(), String> {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&strategy, property)
        .map_err(|error| {
            let words = error.to_string();
            words.split_whitespace().collect::<Vec<_>>().join(" ")
        })
}

/// How many results [`all`] has.
pub const LEN: usize = 2 + broken::ALL.len();

/// Looks at the real functions, and at those with a mistake, with `cases` cases each.
pub fn all(cases: u32) -> impl Iterator<Item = Checked> {
    let holds = move |name: &str, result: Result<(), String>| Checked {
        name: name.to_owned(),
        ok: result.is_ok(),
        more: result.err().unwrap_or(format!("{cases} cases")),
    };
    let real = [
        holds(
            "regions and accesses: which are legal",
            check(cases, any_region(), legal),
        ),
        holds(
            "regions: what is beside what, and what a write matches",
            check(cases, changes(), |changes| behave(REAL, changes)),
        ),
    ];
    let mistakes = broken::ALL.iter().map(move |(name, functions)| {
        let result = check(cases, changes(), |changes| behave(*functions, changes));
        Checked {
            name: format!("found: {name}"),
            ok: result.is_err(),
            more: result.err().map_or("not found".to_owned(), |found| {
                let reason = found.split(" minimal failing input").next();
                reason.unwrap_or_default().to_owned()
            }),
        }
    });
    real.into_iter().chain(mistakes)
}
