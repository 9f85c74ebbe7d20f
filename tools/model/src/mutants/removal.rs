// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the removal of a resamplefd.

use super::{Mutant, Subject};
use crate::{
    removal::{Removal, REAL},
    Rule::Resample,
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "a resamplefd is removed, and a callback that has taken its signal is not waited for",
        &[Resample],
        Subject::Removal(Removal {
            waits: false,
            ..REAL
        }),
    ),
    Mutant::new(
        "a resamplefd is removed while the callback owes it a signal",
        &[Resample],
        Subject::Removal(Removal {
            masks: false,
            takes: false,
            ..REAL
        }),
    ),
    Mutant::new(
        "a callback is waited for before what it owes is taken",
        &[Resample],
        Subject::Removal(Removal {
            masks: false,
            takes_first: false,
            ..REAL
        }),
    ),
];
