// SPDX-License-Identifier: GPL-2.0-only

//! Region matching compared with a naive reference.
//!
//! Property tests generate every length, with and without datamatch, at and around all boundaries.
//! [`regions`] is the module's own rust/bus/region.rs, compiled unmodified.

mod checks;
mod mutants;
mod reference;
mod strategies;

use checks::{behaviour, legality};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use strategies::{any_region, changes};

// The model does not use the functions for the uAPI.
#[path = "../../../rust/bus/region.rs"]
#[allow(missing_docs, dead_code)]
mod regions;

use regions::{among, find, place_new, Access, Conflict, Found, Key, Matches};

/// The functions under test.
#[derive(Clone, Copy)]
struct Functions {
    find: fn(&[Key], &Access) -> Matches,
    place_new: PlaceNew,
}

type PlaceNew = fn(&[Key], &[usize], &[Key], &mut [usize]) -> Result<(), (Conflict, usize)>;

/// The functions of the module.
const REAL: Functions = Functions {
    find: search,
    place_new,
};

/// Calls [`find`] as the module does.
fn search(keys: &[Key], access: &Access) -> Matches {
    let addrs: Vec<u64> = keys.iter().map(Key::addr).collect();
    let wildcard = |at: usize| keys[at].datamatch().is_none();
    match find(&addrs, keys, access) {
        Found::Nothing => Matches::default(),
        Found::One(at) => Matches {
            wildcard: wildcard(at).then_some(at),
            datamatch: (!wildcard(at)).then_some(at),
        },
        Found::Several(first) => among(keys, first, access.value()),
    }
}

/// The result of a check.
pub struct Checked {
    /// The property, or the mistake of a mutant.
    pub name: String,
    /// The property holds, or the mistake was found.
    pub ok: bool,
    /// The number of cases, or the failure that was found.
    pub more: String,
}

/// Checks `property` with `cases` cases, which are the same in each run.
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

/// The number of results of [`all`].
pub const RESULTS: usize = 2 + mutants::MUTANTS.len();

/// Checks the module's functions and the mutants, with `cases` cases each.
pub fn all(cases: u32) -> impl Iterator<Item = Checked> {
    let holds = move |name: &str, result: Result<(), String>| Checked {
        name: name.to_owned(),
        ok: result.is_ok(),
        more: result.err().unwrap_or(format!("{cases} cases")),
    };
    let real = [
        holds(
            "regions and accesses: the legal ones",
            check(cases, any_region(), legality),
        ),
        holds(
            "regions: conflicts, and the regions that a write matches",
            check(cases, changes(), |changes| behaviour(REAL, changes)),
        ),
    ];
    let mutants = mutants::MUTANTS.iter().map(move |(name, functions)| {
        let result = check(cases, changes(), |changes| behaviour(*functions, changes));
        Checked {
            name: format!("found: {name}"),
            ok: result.is_err(),
            more: result.err().map_or("not found".to_owned(), |found| {
                let reason = found.split(" minimal failing input").next();
                reason.unwrap_or_default().to_owned()
            }),
        }
    });
    real.into_iter().chain(mutants)
}
