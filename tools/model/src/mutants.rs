// SPDX-License-Identifier: GPL-2.0-only

//! Versions of the models with one deliberate mistake. The exploration must find each mistake.
//!
//! A mutant is a name, the rules that it violates first, and the functions or options that it
//! replaces. [`delivery`], [`masks`], [`reasons`], [`replies`], [`moderation`], [`counters`],
//! [`level`] and [`migrate`] have the mutants of the line.

mod counters;
mod counts;
mod delivery;
mod irqfd;
mod level;
mod masks;
mod migrate;
mod moderation;
mod readers;
mod reasons;
mod records;
mod removal;
mod replies;
mod waiters;

use crate::{
    counts::Counts,
    domain::Readers,
    explore::{explore, Exploration},
    irqfd::Irqfd,
    line_model::{masks_itself, Functions, LineModel},
    ops::{
        Op, ACKFD_MIGRATE_OPS, ACKFD_OPS, AUTOMASK_OPS, LEVEL_AUTOMASK_OPS, LEVEL_MIGRATE_OPS,
        LEVEL_OPS, MIGRATE_OPS, MODERATED_OPS, MODERATED_UNMASKFD_OPS, NOWAIT_OPS, OPS, REASON_OPS,
        SAVE_OPS, UNMASKFD_OPS,
    },
    records::Ring,
    removal::Removal,
    waiters::Waiters,
    Rule,
};

/// The model that has the mistake.
#[derive(Clone)]
enum Subject {
    Line {
        ops: &'static [Op],
        level: bool,
        functions: Functions,
    },
    Irqfd(Irqfd),
    Removal(Removal),
    Ring(Ring),
    Readers(Readers),
    Waiters(Waiters),
    Counts(Counts),
}

/// A model with a mistake.
#[derive(Clone)]
pub struct Mutant {
    /// A description of the mistake.
    pub name: &'static str,
    /// The rules of which the shortest path violates one.
    pub rules: &'static [Rule],
    subject: Subject,
}

impl Mutant {
    const fn new(name: &'static str, rules: &'static [Rule], subject: Subject) -> Self {
        Self {
            name,
            rules,
            subject,
        }
    }

    /// Returns a mutant of an edge line.
    const fn edge(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &OPS,
            level: false,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a level line.
    const fn level(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &LEVEL_OPS,
            level: true,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a level line that other modules use.
    const fn nowait(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &NOWAIT_OPS,
            level: true,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of an edge line that is masked for two reasons.
    const fn reasons(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &REASON_OPS,
            level: false,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of an edge line that masks itself.
    const fn automask(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &AUTOMASK_OPS,
            level: false,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a moderated edge line.
    const fn moderated(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &MODERATED_OPS,
            level: false,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a moderated line that masks itself and has an unmaskfd.
    const fn moderated_unmaskfd(
        name: &'static str,
        rules: &'static [Rule],
        functions: Functions,
    ) -> Self {
        let subject = Subject::Line {
            ops: &MODERATED_UNMASKFD_OPS,
            level: false,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a level line that masks itself.
    const fn level_automask(
        name: &'static str,
        rules: &'static [Rule],
        functions: Functions,
    ) -> Self {
        let subject = Subject::Line {
            ops: &LEVEL_AUTOMASK_OPS,
            level: true,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of an edge line that masks itself and has an unmaskfd.
    const fn unmaskfd(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &UNMASKFD_OPS,
            level: false,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of an edge line that goes on in another context.
    const fn migrate(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &MIGRATE_OPS,
            level: false,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a level line that masks itself and has unmaskfds and ackfds.
    const fn ackfd(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &ACKFD_OPS,
            level: true,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a level line that goes on in another context.
    const fn level_migrate(
        name: &'static str,
        rules: &'static [Rule],
        functions: Functions,
    ) -> Self {
        let subject = Subject::Line {
            ops: &LEVEL_MIGRATE_OPS,
            level: true,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a level line with ackfds that is saved meanwhile.
    const fn save(name: &'static str, rules: &'static [Rule], functions: Functions) -> Self {
        let subject = Subject::Line {
            ops: &SAVE_OPS,
            level: true,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Returns a mutant of a level line with ackfds that goes on in another context.
    const fn ackfd_migrate(
        name: &'static str,
        rules: &'static [Rule],
        functions: Functions,
    ) -> Self {
        let subject = Subject::Line {
            ops: &ACKFD_MIGRATE_OPS,
            level: true,
            functions,
        };
        Self::new(name, rules, subject)
    }

    /// Searches for the mistake, on one CPU.
    pub fn explore(self) -> Exploration {
        match self.subject {
            Subject::Line {
                ops,
                level,
                functions,
            } => {
                let model = LineModel {
                    threads: 3,
                    ops_each: 2,
                    ops: ops.to_vec(),
                    level,
                    automask: masks_itself(ops),
                    moderated: ops.contains(&Op::Unmoderate),
                    rounds: 0,
                    functions,
                };
                explore(model)
            }
            Subject::Irqfd(irqfd) => explore(irqfd),
            Subject::Removal(removal) => explore(removal),
            Subject::Ring(ring) => explore(ring),
            Subject::Readers(readers) => explore(readers),
            Subject::Waiters(waiters) => explore(waiters),
            Subject::Counts(counts) => explore(counts),
        }
    }
}

/// Returns all mutants.
pub fn all() -> impl Iterator<Item = Mutant> {
    [
        delivery::MUTANTS,
        masks::MUTANTS,
        reasons::MUTANTS,
        replies::MUTANTS,
        moderation::MUTANTS,
        counters::MUTANTS,
        level::MUTANTS,
        migrate::MUTANTS,
        irqfd::MUTANTS,
        removal::MUTANTS,
        records::MUTANTS,
        readers::MUTANTS,
        waiters::MUTANTS,
        counts::MUTANTS,
    ]
    .concat()
    .into_iter()
}
