// SPDX-License-Identifier: GPL-2.0-only

//! The last value of a region under weak memory order: writers on several CPUs, and a reader of the mapped
//! page.
//!
//! It mirrors `Values::store()` of rust/bus/values.rs and `ValueMapping::read()` of tools/lib/doorbell, with
//! the same orders. loom explores every execution of one writer that the C11 memory model permits, and those of
//! two writers with few preemptions.
//!
//! A reader that finds as many writes started as complete returns a value and a count. The count must be that
//! of the writes whose value is stored, and the value the last one that any of them has stored. A reader that
//! was signalled must find the write counted.

use crate::region::Checked;
use loom::{
    model::Builder,
    sync::atomic::{
        AtomicU64,
        Ordering::{self, AcqRel, Acquire, Relaxed, Release},
    },
    thread,
};
use std::sync::{
    atomic::{AtomicUsize, Ordering as Host},
    Arc,
};

/// A slot, and the eventfd of its region.
struct Slot {
    value: AtomicU64,
    writes: AtomicU64,
    started: AtomicU64,
    eventfd: AtomicU64,
}

/// The orders of the accesses, and the sequence of the steps. A mutant changes one.
#[derive(Clone, Copy)]
struct Protocol {
    store_value: Ordering,
    add_writes: Ordering,
    load_writes: Ordering,
    load_value: Ordering,
    /// The writer increments `started` after it has stored the value.
    late_start: bool,
    /// The writer increments `writes` before it stores the value.
    early_end: bool,
    /// The writer signals before it stores the value.
    early_signal: bool,
    /// The reader loads `started` before the value.
    early_check: bool,
    /// The reader does not compare the counters.
    no_check: bool,
}

/// The protocol of the module and of the client libraries.
const REAL: Protocol = Protocol {
    store_value: Release,
    add_writes: Release,
    load_writes: Acquire,
    load_value: Acquire,
    late_start: false,
    early_end: false,
    early_signal: false,
    early_check: false,
    no_check: false,
};

impl Slot {
    fn new() -> Self {
        Self {
            value: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            started: AtomicU64::new(0),
            eventfd: AtomicU64::new(0),
        }
    }

    /// Stores `value`, as the module does for a write, and signals.
    fn store(&self, protocol: &Protocol, value: u64) {
        if protocol.early_signal {
            self.eventfd.fetch_add(1, AcqRel);
        }
        if !protocol.late_start {
            self.started.fetch_add(1, Relaxed);
        }
        if protocol.early_end {
            self.writes.fetch_add(1, protocol.add_writes);
        }
        self.value.store(value, protocol.store_value);
        if protocol.late_start {
            self.started.fetch_add(1, Relaxed);
        }
        if !protocol.early_end {
            self.writes.fetch_add(1, protocol.add_writes);
        }
        if !protocol.early_signal {
            self.eventfd.fetch_add(1, AcqRel);
        }
    }

    /// Makes one attempt to read. Returns a value and the number of writes.
    fn read(&self, protocol: &Protocol) -> Option<(u64, u64)> {
        let writes = self.writes.load(protocol.load_writes);
        let early = protocol.early_check.then(|| self.started.load(Acquire));
        let value = self.value.load(protocol.load_value);
        let started = early.unwrap_or_else(|| self.started.load(Acquire));
        (started == writes || protocol.no_check).then_some((value, writes))
    }
}

/// The executions of the protocol.
#[derive(Default)]
struct Executions {
    all: AtomicUsize,
    /// Those in which the first attempt to read succeeded.
    read: AtomicUsize,
    /// Those in which a result was wrong.
    wrong: AtomicUsize,
}

fn add(counter: &AtomicUsize, condition: bool) {
    counter.fetch_add(usize::from(condition), Host::Relaxed);
}

/// The values that each writer stores, one after the other.
type Writers = &'static [&'static [u64]];

const ONE_WRITER: Writers = &[&[10, 20]];
const TWO_WRITERS: Writers = &[&[10], &[20]];

/// The maximum number of preemptions in an execution of two writers. All of them are too many to explore.
const PREEMPTIONS: usize = 3;

/// Explores writers, and a reader that looks before it knows of any signal or after one.
fn explore(writers: Writers, protocol: Protocol) -> Executions {
    let executions = Arc::new(Executions::default());
    let counts = executions.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = (writers.len() > 1).then_some(PREEMPTIONS);
    builder.check(move || {
        let slot = Arc::new(Slot::new());
        let writers: Vec<_> = writers
            .iter()
            .map(|values| {
                let slot = slot.clone();
                thread::spawn(move || {
                    values
                        .iter()
                        .for_each(|&value| slot.store(&protocol, value))
                })
            })
            .collect();
        let signals = slot.eventfd.swap(0, AcqRel);
        let read = slot.read(&protocol);
        for writer in writers {
            writer.join().expect("the writer ends");
        }
        let last = slot.value.load(Relaxed);
        let wrong = match read {
            None => false,
            Some((value, 0)) => value != 0 || signals != 0,
            Some((value, 1)) => value == 0 || signals > 1,
            Some((value, writes)) => value != last || writes != 2,
        };
        // Afterwards the first attempt succeeds, with the last value.
        let late = slot.read(&protocol) != Some((last, 2));
        add(&counts.all, true);
        add(&counts.read, read.is_some());
        add(&counts.wrong, wrong || late);
    });
    Arc::into_inner(executions).expect("the exploration has ended")
}

impl Executions {
    fn describe(&self) -> String {
        let [all, read, wrong] =
            [&self.all, &self.read, &self.wrong].map(|counter| counter.load(Host::Relaxed));
        format!("{all} executions: {read} read at once, {wrong} read what is wrong")
    }
}

const MUTANTS: [(&str, Protocol); 9] = [
    (
        "the value is stored without release",
        Protocol {
            store_value: Relaxed,
            ..REAL
        },
    ),
    (
        "the end of a write is counted without release",
        Protocol {
            add_writes: Relaxed,
            ..REAL
        },
    ),
    (
        "the count is loaded without acquire",
        Protocol {
            load_writes: Relaxed,
            ..REAL
        },
    ),
    (
        "the value is loaded without acquire",
        Protocol {
            load_value: Relaxed,
            ..REAL
        },
    ),
    (
        "a write is counted as started after its value",
        Protocol {
            late_start: true,
            ..REAL
        },
    ),
    (
        "a write is counted as complete before its value",
        Protocol {
            early_end: true,
            ..REAL
        },
    ),
    (
        "a write is signalled before its value is stored",
        Protocol {
            early_signal: true,
            ..REAL
        },
    ),
    (
        "the reader checks the counters before it loads the value",
        Protocol {
            early_check: true,
            ..REAL
        },
    ),
    (
        "the reader does not compare the counters",
        Protocol {
            no_check: true,
            ..REAL
        },
    ),
];

/// The number of results of [`all`].
pub const RESULTS: usize = 2 + MUTANTS.len();

/// Explores the protocol, then the mutants.
pub fn all() -> impl Iterator<Item = Checked> {
    let scenarios = [
        ("1 writer of 2 values", ONE_WRITER),
        ("2 writers", TWO_WRITERS),
    ];
    let real = scenarios.into_iter().map(|(name, writers)| {
        let executions = explore(writers, REAL);
        let is_read = executions.read.load(Host::Relaxed) > 0;
        Checked {
            name: format!("last value: {name} and a reader"),
            ok: executions.wrong.load(Host::Relaxed) == 0 && is_read,
            more: executions.describe(),
        }
    });
    let mutants = MUTANTS.iter().map(|&(name, protocol)| {
        let executions = explore(TWO_WRITERS, protocol);
        Checked {
            name: format!("found: {name}"),
            ok: executions.wrong.load(Host::Relaxed) > 0,
            more: executions.describe(),
        }
    });
    real.chain(mutants)
}
