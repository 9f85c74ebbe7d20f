// SPDX-License-Identifier: GPL-2.0-only

//! The summary of a context under weak memory order.
//!
//! Producers mark lines by rust/summary/words.rs. A consumer takes them by tools/lib/doorbell/src/take.rs,
//! and sleeps if it finds none. Both files are compiled unmodified. An execution is lost if at its end the
//! consumer sleeps, nothing will wake it, and it has not seen the data of each line.
//!
//! In addition to the table in [`super`]:
//!
//! | kernel, userspace | here |
//! |---|---|
//! | `atomic64_fetch_or()`, fully ordered | SeqCst fence, relaxed `fetch_or`, SeqCst fence |
//! | the claim of the line, between the data and the delivery | SeqCst fence |
//! | a seq_cst load of userspace | SeqCst fence, acquire load |
//! | a seq_cst exchange of userspace | SeqCst fence, `swap` with acquire and release |
//! | `poll_wait()`, then the load of the top word | store, SeqCst fence, load |
//! | `wq_has_sleeper()`, then `wake_up_poll()` | SeqCst fence, load, addition under a lock |
//!
//! In loom an atomic read-modify-write always reads the newest value. So the order among the producer's three
//! operations, which the kernel's full barriers give, is not explored.

mod mutants;

use super::{add, full_fence};
use crate::region::Checked;
use loom::{
    model::Builder,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    thread,
};
use std::sync::{
    atomic::{AtomicUsize, Ordering},
    Arc,
};
use take::Taker;
use words::Marked;

// The producer's side is that of the module, the consumer's side that of the client libraries.
#[path = "../../../../rust/summary/words.rs"]
#[allow(dead_code)]
mod words;

#[path = "../../../lib/doorbell/src/take.rs"]
#[allow(dead_code)]
mod take;

/// The lines of the scenarios: two of one word, one of another word, and one of another group.
const LINES: [u32; 4] = [0, 1, 64, 4096];

/// The order of an atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Fully ordered.
    Full,
    /// None.
    Relaxed,
}

/// The way in which the consumer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Registers, then looks at the top word (poll(2)).
    Level,
    /// Is registered all the time, and only waits for the next wake-up (EPOLLET).
    Edge,
}

/// The protocol, and the choices of which a mutant changes one.
#[derive(Clone, Copy)]
struct Protocol {
    mark: fn(&Memory, u32) -> Marked,
    /// The order of the producer's operations.
    produce: Order,
    take: fn(&Memory, &mut Taker) -> Option<u32>,
    /// The order of the consumer's exchanges.
    consume: Order,
    /// The order of the load that leaves out the exchange of a zero.
    look: Order,
    /// The consumer looks at the top word before it registers.
    looks_early: bool,
    /// The producer wakes before it marks the line.
    wakes_early: bool,
}

/// The protocol of the module and of the client libraries.
const REAL: Protocol = Protocol {
    mark: |memory, line| words::mark(memory, line),
    produce: Order::Full,
    take: |memory, taker| taker.next(memory),
    consume: Order::Full,
    look: Order::Full,
    looks_early: false,
    wakes_early: false,
};

/// The bits of the summary at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Those of the line that has fired before, at all levels.
    Marked,
    /// The same, but a consumer has taken the top word and died.
    TopTaken,
    /// That of the first group in the top word only: the consumer took the bits below before the producer set it.
    TopOnly,
}

/// The lines that fire, and the state of the summary before.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    wait: Wait,
    /// For each producer the indices of the lines that fire, in this order.
    fires: &'static [&'static [usize]],
    /// The index of a line that has fired before, and that was not taken.
    before: Option<usize>,
    start: Start,
    /// The maximum number of preemptions of an execution, if it is limited.
    preemptions: Option<usize>,
}

const SCENARIOS: [Scenario; 11] = [
    Scenario {
        name: "a line fires, and poll(2) waits",
        wait: Wait::Level,
        fires: &[&[0]],
        before: None,
        start: Start::Marked,
        preemptions: None,
    },
    Scenario {
        name: "a line fires, and EPOLLET waits",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: None,
        start: Start::Marked,
        preemptions: None,
    },
    Scenario {
        name: "a line fires again",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: Some(0),
        start: Start::Marked,
        preemptions: None,
    },
    Scenario {
        name: "a line of the same word fires",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: Some(1),
        start: Start::Marked,
        preemptions: None,
    },
    Scenario {
        name: "a line of the same group fires",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: Some(2),
        start: Start::Marked,
        preemptions: None,
    },
    Scenario {
        name: "a line of another group fires",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: Some(3),
        start: Start::Marked,
        preemptions: None,
    },
    Scenario {
        name: "a line fires again after a consumer has died",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: Some(0),
        start: Start::TopTaken,
        preemptions: None,
    },
    Scenario {
        name: "two lines of a word fire on two processors",
        wait: Wait::Edge,
        fires: &[&[0], &[1]],
        before: None,
        start: Start::Marked,
        preemptions: Some(2),
    },
    Scenario {
        name: "a line fires twice",
        wait: Wait::Edge,
        fires: &[&[0, 0]],
        before: None,
        start: Start::Marked,
        preemptions: None,
    },
    Scenario {
        name: "a line of the same word fires after a consumer has died",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: Some(1),
        start: Start::TopTaken,
        preemptions: None,
    },
    Scenario {
        name: "a line fires in a group whose bits were taken before that of the top word was set",
        wait: Wait::Edge,
        fires: &[&[0]],
        before: None,
        start: Start::TopOnly,
        preemptions: None,
    },
];

/// The memory that the threads share.
struct Memory {
    protocol: Protocol,
    /// The data of each line. It grows each time that the line fires.
    data: [AtomicU32; LINES.len()],
    top: AtomicU64,
    groups: [AtomicU64; 2],
    /// The words of the lines 0, 64 and 4096.
    lines: [AtomicU64; 3],
    /// The consumer is on the wait queue.
    registered: AtomicU32,
    /// Wake-ups that the consumer has not consumed.
    woken: AtomicU32,
}

impl Memory {
    fn new(protocol: Protocol, scenario: &Scenario) -> Self {
        let bit = |yes: bool, bit: u64| if yes { bit } else { 0 };
        let before = scenario.before;
        let is = |at: usize| before == Some(at);
        let in_group = [is(0) || is(1), is(2), is(3)];
        let tops = bit(in_group[0] || in_group[1], 1) | bit(in_group[2], 2);
        Self {
            protocol,
            data: std::array::from_fn(|at| AtomicU32::new(u32::from(is(at)))),
            top: AtomicU64::new(match scenario.start {
                Start::Marked => tops,
                Start::TopTaken => 0,
                Start::TopOnly => 1,
            }),
            groups: [
                AtomicU64::new(bit(in_group[0], 1) | bit(in_group[1], 2)),
                AtomicU64::new(bit(in_group[2], 1)),
            ],
            lines: [
                AtomicU64::new(bit(is(0), 1) | bit(is(1), 2)),
                AtomicU64::new(bit(is(2), 1)),
                AtomicU64::new(bit(is(3), 1)),
            ],
            registered: AtomicU32::new(u32::from(scenario.wait == Wait::Edge)),
            // The consumer has consumed the edge of the line that has fired before.
            woken: AtomicU32::new(0),
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        const LAST: usize = words::LINES + 64;
        match at {
            words::TOP => &self.top,
            words::GROUPS => &self.groups[0],
            at if at == words::GROUPS + 1 => &self.groups[1],
            words::LINES => &self.lines[0],
            at if at == words::LINES + 1 => &self.lines[1],
            LAST => &self.lines[2],
            _ => panic!("no scenario uses the word {at}"),
        }
    }

    fn operation(
        &self,
        order: Order,
        at: usize,
        f: impl Fn(&AtomicU64, loom::sync::atomic::Ordering) -> u64,
    ) -> u64 {
        match order {
            Order::Full => {
                full_fence();
                let before = f(self.word(at), Relaxed);
                full_fence();
                before
            }
            Order::Relaxed => f(self.word(at), Relaxed),
        }
    }

    /// Stores the data `n` of the line with the index `at`, and delivers.
    fn fire(&self, at: usize, n: u32) {
        self.data[at].store(n, Relaxed);
        if self.protocol.produce != Order::Relaxed {
            full_fence();
        }
        if self.protocol.wakes_early {
            self.wake();
        }
        let marked = (self.protocol.mark)(self, LINES[at]);
        if marked == Marked::First && !self.protocol.wakes_early {
            self.wake();
        }
    }

    fn wake(&self) {
        full_fence();
        if self.registered.load(Relaxed) != 0 {
            self.woken.fetch_add(1, AcqRel);
        }
    }

    /// Takes all lines, and adds to `seen` the data that it finds for them.
    fn take_all(&self, seen: &mut [u32; LINES.len()]) {
        let mut taker = Taker::default();
        while let Some(line) = (self.protocol.take)(self, &mut taker) {
            let at = LINES.iter().position(|&other| other == line);
            let at = at.expect("only lines that fire are marked");
            seen[at] = seen[at].max(self.data[at].load(Relaxed));
        }
    }

    /// Waits as a consumer does that found no line. Returns false if it sleeps.
    fn is_readable(&self, wait: Wait) -> bool {
        match wait {
            Wait::Level if self.protocol.looks_early => {
                let fired = self.top.load(Relaxed) != 0;
                full_fence();
                self.registered.store(1, Relaxed);
                fired
            }
            Wait::Level => {
                self.registered.store(1, Relaxed);
                full_fence();
                self.top.load(Relaxed) != 0
            }
            Wait::Edge => self.woken.swap(0, AcqRel) != 0,
        }
    }
}

impl words::Words for Memory {
    fn load(&self, at: usize) -> u64 {
        self.word(at).load(Relaxed)
    }

    fn fetch_or(&self, at: usize, bits: u64) -> u64 {
        self.operation(self.protocol.produce, at, |word, order| {
            word.fetch_or(bits, order)
        })
    }
}

impl take::Words for Memory {
    fn take(&self, at: usize) -> u64 {
        let word = self.word(at);
        let before = match self.protocol.look {
            Order::Full => {
                full_fence();
                word.load(Acquire)
            }
            Order::Relaxed => word.load(Relaxed),
        };
        if before == 0 {
            return 0;
        }
        match self.protocol.consume {
            Order::Full => {
                full_fence();
                word.swap(0, AcqRel)
            }
            Order::Relaxed => word.swap(0, Relaxed),
        }
    }

    fn nr_lines(&self) -> u32 {
        LINES[LINES.len() - 1] + 1
    }
}

/// The executions of a scenario.
#[derive(Default)]
struct Executions {
    all: AtomicUsize,
    /// Those in which the consumer slept and was woken.
    woken: AtomicUsize,
    lost: AtomicUsize,
}

/// The maximum number of times that the consumer looks before it sleeps for good.
const PASSES: usize = 2;

fn explore(scenario: Scenario, protocol: Protocol) -> Executions {
    let executions = Arc::new(Executions::default());
    let counts = executions.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = scenario.preemptions;
    builder.check(move || {
        let memory = Arc::new(Memory::new(protocol, &scenario));
        let producers: Vec<_> = scenario
            .fires
            .iter()
            .map(|fires| {
                let memory = memory.clone();
                thread::spawn(move || {
                    // Larger than the data before.
                    let fires = fires.iter().zip(2..);
                    fires.for_each(|(&at, n)| memory.fire(at, n));
                })
            })
            .collect();
        let mut seen = [0; LINES.len()];
        let sleeps = (0..PASSES).any(|_| {
            memory.take_all(&mut seen);
            !memory.is_readable(scenario.wait)
        });
        for producer in producers {
            producer.join().expect("the producer ends");
        }
        let woken = memory.woken.load(Relaxed) != 0;
        // A consumer that does not sleep goes on without a wake-up.
        if woken || !sleeps {
            memory.take_all(&mut seen);
        }
        let unseen = (0..LINES.len()).any(|at| seen[at] < memory.data[at].load(Relaxed));
        add(&counts.all, true);
        add(&counts.woken, woken && sleeps);
        add(&counts.lost, unseen);
    });
    Arc::into_inner(executions).expect("the exploration has ended")
}

impl Executions {
    fn describe(&self) -> String {
        let [all, woken, lost] =
            [&self.all, &self.woken, &self.lost].map(|counter| counter.load(Ordering::Relaxed));
        format!("{all} executions: {woken} wake the consumer, {lost} lose a line")
    }
}

/// The number of results of [`all`].
pub(super) const RESULTS: usize = SCENARIOS.len() + mutants::MUTANTS.len();

/// Explores the protocol in all scenarios, then the mutants.
pub(super) fn all() -> impl Iterator<Item = Checked> {
    let real = SCENARIOS.iter().map(|&scenario| {
        let executions = explore(scenario, REAL);
        Checked {
            name: format!("summary: {}", scenario.name),
            ok: executions.lost.load(Ordering::Relaxed) == 0
                && executions.woken.load(Ordering::Relaxed) > 0,
            more: executions.describe(),
        }
    });
    let mutants = mutants::MUTANTS.iter().map(|mutant| {
        let executions = explore(SCENARIOS[mutant.scenario], mutant.protocol);
        Checked {
            name: format!("found: {}", mutant.name),
            ok: executions.lost.load(Ordering::Relaxed) > 0,
            more: executions.describe(),
        }
    });
    real.chain(mutants)
}
