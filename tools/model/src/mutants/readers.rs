// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the read domain.

use super::{Mutant, Subject};
use crate::{
    domain::{Mistake, Readers, REAL},
    Rule::Freed,
};

pub(super) const MUTANTS: &[Mutant] = &[
    readers(
        "readers: the pointer is read before the reader is counted",
        Mistake::CountLate,
    ),
    readers(
        "readers: the writer waits for one phase only",
        Mistake::OnePhase,
    ),
    readers(
        "readers: the writer waits for one CPU only",
        Mistake::OneCpu,
    ),
    readers(
        "readers: a reader is counted down on another CPU",
        Mistake::Sum,
    ),
    readers(
        "readers: the writer waits before it replaces the pointer",
        Mistake::WaitEarly,
    ),
];

const fn readers(name: &'static str, mistake: Mistake) -> Mutant {
    let readers = Readers {
        mistake: Some(mistake),
        ..REAL
    };
    Mutant::new(name, &[Freed], Subject::Readers(readers))
}
