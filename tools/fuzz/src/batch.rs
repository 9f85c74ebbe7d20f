// SPDX-License-Identifier: GPL-2.0-only

//! The life of a child: it runs a batch of programs, and reports those that find something.

use crate::{
    arena::{self, THREADS},
    blocks::BlockMap,
    execute::Hand,
    generate::generate,
    kcov::Kcov,
    mutate::mutate,
    oracle::Oracle,
    program::{Call, Program},
    reports,
    shared::{Message, Shared},
    sys,
    world::World,
};
use std::{
    os::fd::RawFd,
    sync::{
        atomic::{AtomicI32, AtomicU64, Ordering::SeqCst},
        mpsc::{channel, Receiver, Sender},
    },
    time::Duration,
};

/// The time after which a call is interrupted.
const LONG: Duration = Duration::from_millis(20);

/// The serial number of the call that each thread makes; zero for none.
static FLIGHT: [AtomicU64; THREADS] = [const { AtomicU64::new(0) }; THREADS];

/// The numbers of the threads.
static IDS: [AtomicI32; THREADS] = [const { AtomicI32::new(0) }; THREADS];

/// The things that a child needs of its parent.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The memory that all children share.
    pub shared: &'static Shared,
    /// The blocks of the module.
    pub blocks: &'static BlockMap,
    /// The number of the job.
    pub job: usize,
    /// The pipe for messages.
    pub pipe: RawFd,
    /// True if the oracle checks programs of one thread.
    pub oracle: bool,
    /// A planted mistake.
    pub plant: Option<Plant>,
}

/// A mistake that a test plants to see that the fuzzer finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// Each ack causes a report of the kernel.
    Report,
    /// The result of each ack that succeeds is one more than the oracle predicts.
    Result,
    /// The oracle misses each ack, so it predicts another state.
    State,
}

/// The programs of a batch.
#[derive(Debug)]
pub enum Work<'a> {
    /// `count` programs that are derived from the corpus or generated, by the random numbers of `seed`.
    Fuzz {
        /// The corpus.
        corpus: &'a [Program],
        /// The seed.
        seed: u64,
        /// The number of programs.
        count: usize,
        /// One thread makes all calls.
        alone: bool,
    },
    /// The programs to begin with. Those that reach something new are sent as they are.
    Seeds(&'a [Program]),
    /// These programs, so many times.
    Replay(&'a [Program], usize),
}

/// A thread of the child that makes calls on request.
struct Worker {
    calls: Sender<Vec<Call>>,
    features: Receiver<Vec<u32>>,
}

struct Runner {
    batch: Batch,
    world: &'static World,
    hand: Hand<'static>,
    kcov: Option<Kcov>,
    of_workers: Option<Kcov>,
    workers: Vec<Worker>,
}

/// Runs a batch in this process, and ends it.
pub fn run(batch: Batch, work: Work<'_>) -> ! {
    sys::die_with_parent();
    sys::catch_interrupts();
    let Ok(world) = World::new() else {
        sys::exit(3);
    };
    let mut runner = Runner::new(batch, Box::leak(Box::new(world)));
    match work {
        Work::Seeds(programs) => {
            for program in programs {
                let features = runner.new_features(program);
                if !features.is_empty() {
                    batch.shared.see(&features);
                    runner.send(&Message::Found(program.clone(), features));
                }
            }
        }
        Work::Replay(programs, times) => {
            for program in (0..times).flat_map(|_| programs) {
                let features = runner.run(program);
                batch.shared.see(&features);
            }
        }
        Work::Fuzz {
            corpus,
            seed,
            count,
            alone,
        } => {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..count {
                let mut program = if corpus.is_empty() || random.u32(..5) == 0 {
                    generate(&mut random)
                } else {
                    // The newer half is the less explored one.
                    let from = if random.bool() { corpus.len() / 2 } else { 0 };
                    let base = &corpus[random.usize(from..corpus.len())];
                    let other = &corpus[random.usize(..corpus.len())];
                    mutate(&mut random, base, other)
                };
                if alone {
                    program.calls.retain(|call| call.form().name != "fork");
                    program.calls.iter_mut().for_each(|call| call.thread = 0);
                }
                runner.explore(program);
            }
        }
    }
    sys::exit(0);
}

impl Runner {
    fn new(batch: Batch, world: &'static World) -> Self {
        let of_workers = Kcov::of_workers();
        let workers = (1..THREADS)
            .map(|thread| worker(batch, world, thread))
            .collect();
        IDS[0].store(sys::thread_id(), SeqCst);
        std::thread::spawn(interrupt_long_calls);
        std::thread::spawn(resolve_faults);
        Self {
            batch,
            world,
            hand: Hand::new(world, 0),
            of_workers,
            kcov: Kcov::of_thread(),
            workers,
        }
    }

    /// Runs a program. If it reaches something new, sends it, without the calls that are not needed.
    fn explore(&mut self, mut program: Program) {
        let features = self.new_features(&program);
        if features.is_empty() {
            return;
        }
        for at in (0..program.calls.len()).rev() {
            let mut shorter = program.clone();
            shorter.calls.remove(at);
            let reached = self.run(&shorter);
            if features.iter().all(|feature| reached.contains(feature)) {
                program = shorter;
            }
        }
        self.batch.shared.see(&features);
        self.send(&Message::Found(program, features));
    }

    /// Runs a program. Returns its features that are new.
    fn new_features(&mut self, program: &Program) -> Vec<u32> {
        let mut features = self.run(program);
        features.retain(|feature| self.batch.shared.is_new(*feature));
        features
    }

    fn send(&self, message: &Message) {
        let bytes = message.encode();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let written = sys::write_bytes(self.batch.pipe, rest);
            if written <= 0 && written != -i64::from(libc::EINTR) {
                sys::exit(4);
            }
            rest = &rest[written.max(0) as usize..];
        }
    }

    /// Runs a program. Returns its features.
    fn run(&mut self, program: &Program) -> Vec<u32> {
        self.batch.shared.begin(self.batch.job, program);
        arena::clear();
        let mut features = Vec::new();
        if let Some(kcov) = &self.of_workers {
            kcov.reset();
        }
        if program.is_sequential() {
            let wrong = self.run_alone(program, &mut features);
            if let Some(text) = wrong {
                self.send(&Message::Wrong(program.clone(), text));
            }
        } else {
            self.run_parallel(program, &mut features);
        }
        self.world.close_all();
        for map in 0..arena::MAPS {
            if program
                .calls
                .iter()
                .any(|call| call.form().name == "map" && call.values[0] % arena::MAPS == map)
            {
                let at = arena::mapping(map, 0).number();
                let _ = sys::map_anonymous(at, arena::MAP_PAGES * arena::PAGE, libc::PROT_NONE);
            }
        }
        if let Some(kcov) = &self.of_workers {
            features.extend(
                kcov.addresses()
                    .filter_map(|at| self.batch.blocks.number(at)),
            );
        }
        self.batch.shared.count(program.calls.len());
        features.sort_unstable();
        features.dedup();
        features
    }

    fn run_alone(&mut self, program: &Program, features: &mut Vec<u32>) -> Option<String> {
        let mut oracle = Oracle::default();
        let (batch, world) = (self.batch, self.world);
        let mut wrong = None;
        make(
            &mut self.hand,
            &self.kcov,
            batch,
            0,
            &program.calls,
            features,
            |call, result| {
                if batch.oracle && wrong.is_none() {
                    match result {
                        None => oracle.before(call, world),
                        Some(result) => wrong = oracle.after(call, result, world).err(),
                    }
                }
            },
        );
        if batch.oracle {
            wrong = wrong.or_else(|| oracle.finish(world).err());
        }
        wrong
    }

    /// Makes the calls before the first one of another thread, and then those of all threads at once.
    fn run_parallel(&mut self, program: &Program, features: &mut Vec<u32>) {
        let begin = program
            .calls
            .iter()
            .position(|call| call.thread != 0)
            .unwrap_or(0);
        let (first, rest) = program.calls.split_at(begin);
        make(
            &mut self.hand,
            &self.kcov,
            self.batch,
            0,
            first,
            features,
            |_, _| {},
        );
        let of = |thread| -> Vec<Call> {
            rest.iter()
                .filter(|call| call.thread == thread)
                .copied()
                .collect()
        };
        for (at, worker) in self.workers.iter().enumerate() {
            if worker.calls.send(of(at + 1)).is_err() {
                sys::exit(5);
            }
        }
        make(
            &mut self.hand,
            &self.kcov,
            self.batch,
            0,
            &of(0),
            features,
            |_, _| {},
        );
        for worker in &self.workers {
            features.extend(worker.features.recv().unwrap_or_default());
        }
    }
}

/// Makes calls in the calling thread. Calls `notice` before each one, without a result, and after it.
fn make(
    hand: &mut Hand<'_>,
    kcov: &Option<Kcov>,
    batch: Batch,
    thread: usize,
    calls: &[Call],
    features: &mut Vec<u32>,
    mut notice: impl FnMut(&Call, Option<i64>),
) {
    if let Some(kcov) = kcov {
        kcov.reset();
    }
    let mut at = 0;
    while at < calls.len() {
        let call = &calls[at];
        notice(call, None);
        FLIGHT[thread].store(1 + batch.shared.begun(batch.job) * 100 + at as u64, SeqCst);
        let (mut result, made) = hand.execute(calls, at);
        FLIGHT[thread].store(0, SeqCst);
        features.push(batch.shared.result_feature(call.form, result));
        at += made;
        match batch.plant.filter(|_| call.form().name == "ack") {
            Some(Plant::Report) => reports::plant(),
            Some(Plant::Result) if result >= 0 => result += 1,
            Some(Plant::State) => continue,
            _ => {}
        }
        notice(call, Some(result));
    }
    if let Some(kcov) = kcov {
        features.extend(kcov.addresses().filter_map(|at| batch.blocks.number(at)));
    }
}

/// Starts a thread that makes calls on request.
fn worker(batch: Batch, world: &'static World, thread: usize) -> Worker {
    let (calls, requests) = channel::<Vec<Call>>();
    let (replies, features) = channel();
    std::thread::spawn(move || {
        IDS[thread].store(sys::thread_id(), SeqCst);
        let mut hand = Hand::new(world, thread);
        let kcov = Kcov::of_thread();
        for calls in requests {
            let mut features = Vec::new();
            make(
                &mut hand,
                &kcov,
                batch,
                thread,
                &calls,
                &mut features,
                |_, _| {},
            );
            if replies.send(features).is_err() {
                return;
            }
        }
    });
    Worker { calls, features }
}

/// Interrupts calls that sleep.
fn interrupt_long_calls() {
    let mut before = [0; THREADS];
    loop {
        std::thread::sleep(LONG);
        for (thread, last) in before.iter_mut().enumerate() {
            let serial = FLIGHT[thread].load(SeqCst);
            if serial != 0 && serial == *last {
                sys::interrupt(IDS[thread].load(SeqCst));
            }
            *last = serial;
        }
    }
}

/// Resolves the faults of the pages that userfaultfd handles, by copies of the threads' arguments.
fn resolve_faults() {
    let first = arena::faulting(0);
    let Ok(fd) = sys::userfaultfd(first, THREADS as u64 * arena::PAGE) else {
        return;
    };
    loop {
        sys::wait_readable(fd, -1);
        if let Some(at) = sys::next_fault(fd) {
            let thread = ((at - first.number()) / arena::PAGE) as usize % THREADS;
            sys::resolve_fault(
                fd,
                arena::faulting(thread),
                arena::argument(thread),
                arena::PAGE,
            );
        }
    }
}
