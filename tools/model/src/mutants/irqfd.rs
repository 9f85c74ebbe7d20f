// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in attach, detach and wake callback of an irqfd.

use super::{Mutant, Subject};
use crate::{
    irqfd::{Attach, Detach, Irqfd, REAL},
    Rule::{Invented, Lost},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "detach: the counter is read, then the entry is removed",
        &[Invented],
        Subject::Irqfd(Irqfd {
            consumes: false,
            detach: Detach::ReadThenRemove,
            ..REAL
        }),
    ),
    Mutant::new(
        "detach: the entry is removed, then the counter is read",
        &[Lost],
        Subject::Irqfd(Irqfd {
            consumes: false,
            detach: Detach::RemoveThenRead,
            ..REAL
        }),
    ),
    Mutant::new(
        "attach: the counter is consumed, then the entry is added",
        &[Lost],
        Subject::Irqfd(Irqfd {
            attach: Attach::ConsumeThenAdd,
            ..REAL
        }),
    ),
    Mutant::new(
        "the callback does not consume the counter",
        &[Invented],
        Subject::Irqfd(Irqfd {
            consumes: false,
            ..REAL
        }),
    ),
];
