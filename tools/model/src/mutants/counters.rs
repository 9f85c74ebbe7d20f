// SPDX-License-Identifier: GPL-2.0-only

//! Mistakes in the counters of a line, and in the query that reads them.

use super::Mutant;
use crate::{
    line_model::{Functions, REAL},
    Rule::{Count, Query},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::edge(
        "a delivery is not counted",
        &[Count],
        Functions {
            counts_deliveries: false,
            ..REAL
        },
    ),
    Mutant::edge(
        "a query reads each value only once",
        &[Query],
        Functions {
            query_rereads: false,
            ..REAL
        },
    ),
    Mutant::edge(
        "a query rereads the counters before the word",
        &[Query],
        Functions {
            query_rereads_word_first: false,
            ..REAL
        },
    ),
];
