// SPDX-License-Identifier: GPL-2.0-only

//! `ring_if_needed()` of the client libraries under weak memory order; in [`summary`] the summary.
//!
//! The producer skips its ring if it reads from the status page that the ring would coalesce. It takes part
//! in no compare-exchange then, so this depends on the order of plain loads and stores, which the other
//! models do not explore. loom does: a load returns any value that the C11 memory model permits.
//!
//! The protocol is store buffering. The producer stores its data and loads the state word, with a full fence
//! in between. The thread that consumes the message changes the word and loads the data, with a full fence
//! in between. At least one of the two sees the other's store.
//!
//! The transitions of the word are those of rust/line/state.rs, and the test of the producer is that of
//! tools/lib/doorbell/src/skip.rs; both are compiled unmodified. The operations of the kernel are mapped to
//! C11 as follows. Each has at most the order that the kernel's memory model (LKMM) gives it.
//!
//! | kernel, userspace | here |
//! |---|---|
//! | `atomic_try_cmpxchg()`, fully ordered if it succeeds | SeqCst fence, relaxed compare-exchange, SeqCst fence |
//! | `READ_ONCE()`, `WRITE_ONCE()` of a counter | relaxed load, relaxed addition by one writer |
//! | `eventfd_signal()`, read(2): under a spinlock | compare-exchange with acquire and release |
//! | `atomic_thread_fence(memory_order_seq_cst)`, which is the instruction of `smp_mb()` | SeqCst fence |
//! | a load of the mapped status page | relaxed load, or acquire load of `deliveries` |
//!
//! loom treats two SeqCst fences as ordered, as LKMM does with two `smp_mb()`.

mod mutants;
mod summary;
mod threads;

use crate::{
    line::{self, Action, Origin, Provenance, Reasons},
    region::Checked,
};
use loom::{
    model::Builder,
    sync::atomic::{
        fence, AtomicU32,
        Ordering::{AcqRel, Relaxed, Release, SeqCst},
    },
    thread,
};
use std::sync::{
    atomic::{AtomicUsize, Ordering},
    Arc,
};
use threads::Consumer;

// The test is that of the client libraries.
#[path = "../../lib/doorbell/src/skip.rs"]
#[allow(dead_code)]
mod skip;

/// The reason of all masks here.
const VECTOR: Reasons = Reasons::VECTOR;

/// The place of the producer's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    /// Between the store of the data and the load of the word.
    Between,
    /// Before the store of the data.
    Early,
    /// An acquire and release fence in the right place.
    Weak,
    /// None.
    Missing,
}

/// The order of the kernel's compare-exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    /// Fully ordered.
    Full,
    /// Acquire and release.
    AcquireRelease,
}

/// The order of the steps of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// The message is taken from the word, then counted, then signalled.
    InOrder,
    /// The trigger is signalled before the message is taken.
    SignalFirst,
    /// The delivery is counted before the message is taken.
    CountFirst,
}

/// The protocol, and the choices of which a mutant changes one.
#[derive(Clone, Copy)]
struct Protocol {
    fence: Fence,
    would_coalesce: fn(u32) -> bool,
    exchange: Exchange,
    delivery: Delivery,
    /// The consumer looks for data before it clears the pending message, not after that.
    look_early: bool,
}

/// The protocol of the module and of the client libraries.
const REAL: Protocol = Protocol {
    fence: Fence::Between,
    would_coalesce: skip::would_coalesce,
    exchange: Exchange::Full,
    delivery: Delivery::InOrder,
    look_early: false,
};

/// A producer and a consumer of one line.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    /// The state word at the start.
    word: u32,
    /// The number of times that the producer stores data and rings.
    items: u32,
    consumer: Consumer,
    /// There is an execution in which the producer skips a ring.
    skips: bool,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "UNMASK delivers",
        word: VECTOR.masked() | line::PENDING,
        items: 1,
        consumer: Consumer::Unmasks,
        skips: true,
    },
    Scenario {
        name: "a callback delivers, and another thread reads the trigger",
        word: line::PENDING,
        items: 1,
        consumer: Consumer::Woken,
        skips: true,
    },
    Scenario {
        name: "a callback delivers, and another thread polls the deliveries",
        word: line::PENDING,
        items: 1,
        consumer: Consumer::Polls,
        skips: true,
    },
    Scenario {
        name: "the consumer polls under a mask, with CLEAR and UNMASK",
        word: VECTOR.masked(),
        items: 2,
        consumer: Consumer::Clears,
        skips: true,
    },
    Scenario {
        name: "a level line is acked, and its source checks again",
        word: line::LEVEL | line::ASSERTED,
        items: 1,
        consumer: Consumer::Acks,
        skips: true,
    },
    Scenario {
        name: "a raised level is lowered under a mask",
        word: line::LEVEL | VECTOR.masked() | line::PENDING | line::RAISED,
        items: 1,
        consumer: Consumer::Lowers,
        skips: false,
    },
];

/// Executes `smp_mb()`, or a fence of userspace that is as strong.
///
/// A SeqCst fence is a release fence, too. loom needs to be told: its SeqCst fence takes the snapshot that
/// later relaxed stores release before it joins the order of the SeqCst fences.
pub(crate) fn full_fence() {
    fence(SeqCst);
    fence(Release);
}

/// The memory that the threads share.
struct Memory {
    /// The number of items that the producer has stored.
    data: AtomicU32,
    /// The state word in the status page.
    word: AtomicU32,
    /// The line's counter in the status page. The line's owner writes it.
    deliveries: AtomicU32,
    /// The counter of the trigger.
    trigger: AtomicU32,
}

impl Memory {
    fn new(word: u32) -> Self {
        Self {
            data: AtomicU32::new(0),
            word: AtomicU32::new(word),
            deliveries: AtomicU32::new(0),
            trigger: AtomicU32::new(0),
        }
    }

    /// Changes the word as `HandoffLock::update()` does. Returns the word before, and the result of `f`.
    ///
    /// The first compare-exchange expects `likely`. A load in its place would hide races from loom: for each
    /// store it considers the last access only, which would be that load.
    fn update<R>(&self, protocol: &Protocol, likely: u32, f: impl Fn(u32) -> (u32, R)) -> (u32, R) {
        let mut word = likely;
        loop {
            let (new, result) = f(word);
            let exchanged = match protocol.exchange {
                Exchange::Full => {
                    full_fence();
                    self.word.compare_exchange(word, new, Relaxed, Relaxed)
                }
                Exchange::AcquireRelease => self.word.compare_exchange(word, new, AcqRel, Relaxed),
            };
            match exchanged {
                Ok(_) => {
                    if protocol.exchange == Exchange::Full {
                        full_fence();
                    }
                    return (word, result);
                }
                Err(now) => word = now,
            }
        }
    }

    /// Counts a delivery. There is one writer at a time, so this is a load and a store in the module.
    fn count(&self) {
        self.deliveries.fetch_add(1, Relaxed);
    }

    fn signal(&self) {
        self.trigger.fetch_add(1, AcqRel);
    }

    /// Counts and signals a message that the caller has taken.
    fn send(&self, protocol: &Protocol) {
        if protocol.delivery != Delivery::CountFirst {
            self.count();
        }
        if protocol.delivery != Delivery::SignalFirst {
            self.signal();
        }
    }

    /// Takes the message of an unmasked line without an owner, and sends it.
    fn callback(&self, protocol: &Protocol) {
        match protocol.delivery {
            Delivery::InOrder => {}
            Delivery::SignalFirst => self.signal(),
            Delivery::CountFirst => self.count(),
        }
        if let (_, Action::Deliver(_)) = self.update(protocol, line::PENDING, line::take) {
            self.send(protocol);
            self.release(protocol);
        }
    }

    /// Releases the line, and sends the messages that arrived meanwhile.
    fn release(&self, protocol: &Protocol) {
        loop {
            let release = |word| line::release(word, 0, line::Place::Caller);
            match self.update(protocol, line::IN_PROGRESS, release).1 {
                Action::Deliver(_) => self.send(protocol),
                Action::Drop => {}
                _ => return,
            }
        }
    }

    /// Unmasks the line as `Line::unmask_nowait()` does.
    fn unmask(&self, protocol: &Protocol) {
        let (before, unmasked) = self.update(protocol, VECTOR.masked(), |word| {
            line::unmask_nowait(word, VECTOR)
        });
        let Some(unmasked) = unmasked else {
            return;
        };
        if before & line::IN_PROGRESS == 0 {
            if unmasked.message.is_some() {
                self.send(protocol);
            }
            self.release(protocol);
        }
    }

    /// Rings the line as DOORBELL_RING does.
    fn ring(&self, protocol: &Protocol) {
        let (_, action) = self.update(protocol, line::IDLE, |word| {
            line::ring(word, Origin::Caller)
        });
        if let Action::Deliver(_) = action {
            self.send(protocol);
            self.release(protocol);
        }
    }

    /// Stores item `n`, and rings if needed. Returns true if the ring was skipped.
    fn produce(&self, protocol: &Protocol, n: u32) -> bool {
        if protocol.fence == Fence::Early {
            full_fence();
        }
        self.data.store(n, Relaxed);
        match protocol.fence {
            Fence::Between => full_fence(),
            Fence::Weak => fence(AcqRel),
            Fence::Early | Fence::Missing => {}
        }
        let state = self.word.load(Relaxed);
        if (protocol.would_coalesce)(state) {
            return true;
        }
        self.ring(protocol);
        false
    }
}

/// The executions of a scenario.
#[derive(Default)]
struct Executions {
    all: AtomicUsize,
    /// Those in which a ring was skipped.
    skipped: AtomicUsize,
    /// Those in which a ring was made.
    rung: AtomicUsize,
    /// Those in which the consumer has not seen the data, and will not be notified.
    lost: AtomicUsize,
}

fn add(counter: &AtomicUsize, condition: bool) {
    counter.fetch_add(usize::from(condition), Ordering::Relaxed);
}

/// Explores every execution that the memory model permits.
fn explore(scenario: Scenario, protocol: Protocol) -> Executions {
    let executions = Arc::new(Executions::default());
    let counts = executions.clone();
    Builder::new().check(move || {
        let memory = Arc::new(Memory::new(scenario.word));
        let producer = {
            let memory = memory.clone();
            thread::spawn(move || {
                let produced = (1..=scenario.items).map(|n| memory.produce(&protocol, n));
                produced.filter(|&skipped| skipped).count()
            })
        };
        let seen = scenario.consumer.run(&memory, &protocol);
        let skipped = producer.join().expect("the producer ends");
        let word = memory.word.load(Relaxed);
        let waits = word & line::PENDING != 0 || word & line::ASSERTED != 0;
        add(&counts.all, true);
        add(&counts.skipped, skipped > 0);
        add(&counts.rung, skipped < scenario.items as usize);
        add(
            &counts.lost,
            seen.data < scenario.items && !seen.is_notified(&memory) && !waits,
        );
    });
    Arc::into_inner(executions).expect("the exploration has ended")
}

impl Executions {
    fn count(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::Relaxed)
    }

    /// Describes the executions.
    fn describe(&self) -> String {
        let [all, skipped, rung, lost] =
            [&self.all, &self.skipped, &self.rung, &self.lost].map(Self::count);
        format!("{all} executions: {skipped} skip, {rung} ring, {lost} lose a message")
    }
}

/// The bits of the word that are in the ABI.
const PUBLIC: u32 = 0x3f;

/// Returns true for words that the line cannot have.
fn is_impossible(word: u32) -> bool {
    let level = word & line::LEVEL != 0;
    !level && word & (line::ASSERTED | line::RAISED | line::RESAMPLE) != 0
}

/// Checks that the producer skips exactly those rings that would change nothing, for every state of a line
/// and of its owner.
fn skips_what_coalesces() -> Checked {
    let (mut words, mut wrong) = (0, Vec::new());
    // The bits of a message that came through relays.
    let relayed = line::ring(line::MASKED, Origin::Wake(Provenance::new(3, true))).0;
    let relayed = relayed & !(line::MASKED | line::PENDING);
    for public in 0..=PUBLIC {
        for private in [0, line::IN_PROGRESS, relayed, line::IN_PROGRESS | relayed] {
            let word = public | private;
            if is_impossible(word) || public & line::PENDING == 0 && private & relayed != 0 {
                continue;
            }
            words += 1;
            let (after, action) = line::ring(word, Origin::Caller);
            let coalesces = after == word && action == Action::Coalesce;
            // A line that counts needs each ring.
            let skips_counted = skip::would_coalesce(public | line::COUNTS);
            if skip::would_coalesce(public) != coalesces
                || skips_counted && public & line::LEVEL == 0
            {
                wrong.push(format!("{word:#x}"));
            }
        }
    }
    Checked {
        name: "a ring is skipped if and only if it would change nothing".to_owned(),
        ok: wrong.is_empty(),
        more: format!("{words} words {}", wrong.join(" "))
            .trim_end()
            .to_owned(),
    }
}

/// The number of results of [`all`].
pub const RESULTS: usize = 1 + SCENARIOS.len() + mutants::MUTANTS.len() + summary::RESULTS;

/// Explores the protocol in all scenarios, then the mutants.
pub fn all() -> impl Iterator<Item = Checked> {
    let real = SCENARIOS.iter().map(|&scenario| {
        let executions = explore(scenario, REAL);
        let skips = Executions::count(&executions.skipped) > 0;
        let rings = Executions::count(&executions.rung) > 0;
        let lost = Executions::count(&executions.lost);
        Checked {
            name: format!("ring_if_needed: {}", scenario.name),
            ok: lost == 0 && rings && skips == scenario.skips,
            more: executions.describe(),
        }
    });
    let mutants = mutants::MUTANTS.iter().map(|mutant| {
        let executions = explore(SCENARIOS[mutant.scenario], mutant.protocol);
        Checked {
            name: format!("found: {}", mutant.name),
            ok: Executions::count(&executions.lost) > 0,
            more: executions.describe(),
        }
    });
    std::iter::once_with(skips_what_coalesces)
        .chain(real)
        .chain(mutants)
        .chain(summary::all())
}
