// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the count of a line's rings.

use super::{Mutant, Subject};
use crate::{
    counts::{Counts, Mistake},
    Rule::{self, Count, Invented, Lost},
};

const fn mutant(name: &'static str, rules: &'static [Rule], mistake: Mistake) -> Mutant {
    Mutant::new(name, rules, Subject::Counts(Counts::with(mistake)))
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "a ring counts before it changes the word",
        &[Lost, Invented],
        Mistake::RingCountsBefore,
    ),
    mutant(
        "a ring counts after it has changed the word",
        &[Lost, Count, Invented],
        Mistake::RingCountsAfter,
    ),
    mutant(
        "CLEAR drops the units after it has changed the word",
        &[Lost],
        Mistake::ClearDropsAfter,
    ),
    mutant("CLEAR leaves the units", &[Invented], Mistake::ClearLeaves),
    mutant(
        "a delivery reads the units and then zeroes them",
        &[Lost, Invented, Count],
        Mistake::TakeInTwoSteps,
    ),
    mutant(
        "a delivery adds one for all rings",
        &[Lost, Invented, Count],
        Mistake::AddsOne,
    ),
    mutant(
        "the last deassign leaves the units",
        &[Invented, Count],
        Mistake::DeassignLeaves,
    ),
    mutant(
        "an assignment forgets the message that is pending",
        &[Lost, Count],
        Mistake::AssignForgets,
    ),
    mutant(
        "a callback takes the units before the message",
        &[Lost, Count],
        Mistake::TakesBeforeMessage,
    ),
];
