// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the record ring.

use super::{Mutant, Subject};
use crate::{
    records::{Mistake, Ring, REAL},
    Rule::{self, Invented, Lost, Refused},
};

pub(super) const MUTANTS: &[Mutant] = &[
    ring(
        "records: a producer trusts an old tail that says full",
        &[Refused],
        Mistake::OldTail,
    ),
    ring(
        "records: one slot too many",
        &[Invented, Lost],
        Mistake::OneTooMany,
    ),
    ring(
        "records: the sequence number is stored before the record",
        &[Invented],
        Mistake::PublishFirst,
    ),
    ring(
        "records: the tail is read, then stored",
        &[Invented, Lost],
        Mistake::NoExchange,
    ),
    ring(
        "records: the slot is released, then read",
        &[Invented],
        Mistake::ReleaseFirst,
    ),
    ring(
        "records: the consumer ignores the sequence number",
        &[Invented],
        Mistake::AnyNumber,
    ),
];

const fn ring(name: &'static str, rules: &'static [Rule], mistake: Mistake) -> Mutant {
    let ring = Ring {
        mistake: Some(mistake),
        ..REAL
    };
    Mutant::new(name, rules, Subject::Ring(ring))
}
