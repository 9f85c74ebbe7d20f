// SPDX-License-Identifier: GPL-2.0-only

//! The fuzzer: starts batches, keeps the corpus, collects failures, and prints the result.

use crate::{
    batch::{Batch, Plant, Work},
    blocks::BlockMap,
    c_program::c_program,
    environment::Environment,
    job::{now, End, Job},
    program::Program,
    reduce::{Failure, Kind, Reducer},
    reports::{self, Log},
    shared::{Message, Shared},
    sys,
    world::virtual_machine,
};
use anyhow::Context;
use std::{
    collections::{HashSet, VecDeque},
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The number of programs of a batch.
const BATCH: usize = 200;

/// The time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// The time for the reduction of one failure.
const REDUCTION: Duration = Duration::from_secs(300);

/// The number of failures after which the run ends.
const MAX_FAILURES: usize = 5;

/// The options of a run.
#[derive(Debug)]
pub struct Options {
    /// The time that the run takes.
    pub duration: Duration,
    /// The number of calls after which it ends.
    pub calls: u64,
    /// The seed of the random numbers.
    pub seed: u64,
    /// The number of children at a time.
    pub jobs: usize,
    /// Directories of programs to begin with.
    pub corpus: Vec<PathBuf>,
    /// The directory for the corpus, the reached blocks and the reports.
    pub out: PathBuf,
    /// The file of the module.
    pub module: PathBuf,
    /// Run no oracle.
    pub no_oracle: bool,
    /// Reduce no failure.
    pub no_reduction: bool,
    /// A planted mistake.
    pub plant: Option<Plant>,
}

/// A program of the corpus, and the features that it was the first to have.
struct Entry {
    program: Program,
    features: Vec<u32>,
}

/// The state of a run.
struct Fuzzer<'a> {
    options: &'a Options,
    batch: Batch,
    random: fastrand::Rng,
    corpus: Vec<Entry>,
    known: HashSet<String>,
    failures: Vec<Failure>,
    /// Failures that wait for the end of the jobs.
    pending: VecDeque<Failure>,
    start: Duration,
    environment: Environment,
    seeds: Seeds,
    /// KCOV does not guide the run.
    blind: bool,
}

/// The state of the first batch, that of the programs to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeds {
    /// It runs.
    Run,
    /// All of its programs ran.
    Done,
    /// It did not come to its end.
    Lost,
}

/// Returns the programs that are needed for all features, those with most of them first.
fn minimal(corpus: &[Entry]) -> Vec<&Program> {
    let mut entries: Vec<&Entry> = corpus.iter().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.features.len()));
    let mut covered = HashSet::new();
    entries.retain(|entry| {
        entry
            .features
            .iter()
            .filter(|feature| covered.insert(**feature))
            .count()
            > 0
    });
    entries.iter().map(|entry| &entry.program).collect()
}

/// Reads the programs of a directory.
pub fn read_corpus(directory: &Path) -> anyhow::Result<Vec<Program>> {
    let mut paths: Vec<_> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => return Ok(Vec::new()),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let program = |path: &PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Program::parse(&text).with_context(|| format!("{}", path.display()))
    };
    paths.iter().map(program).collect()
}

/// Returns what children need, for `jobs` of them.
pub fn batch(module: &Path, jobs: usize, oracle: bool) -> anyhow::Result<Batch> {
    // A module without KCOV has no blocks, and one that is not there either.
    let blocks = BlockMap::new(module).unwrap_or_default();
    crate::arena::map().context("reserve memory")?;
    match virtual_machine() {
        -1 => println!("no virtual machine: kvm_irqfd has no effect without /dev/kvm"),
        vm => _ = sys::close(vm),
    }
    let shared = Shared::new(blocks.blocks.len(), jobs + 1).context("map memory")?;
    Ok(Batch {
        shared: Box::leak(Box::new(shared)),
        blocks: Box::leak(Box::new(blocks)),
        // One more job, for reductions beside the others.
        job: jobs,
        pipe: -1,
        oracle,
        plant: None,
    })
}

/// Runs the fuzzer. Returns true if nothing failed.
pub fn fuzz(options: &Options) -> anyhow::Result<bool> {
    let mut batch = batch(&options.module, options.jobs, !options.no_oracle)?;
    batch.plant = options.plant;
    let blind = batch.blocks.blocks.is_empty() || !Path::new("/sys/kernel/debug/kcov").exists();
    if blind {
        println!("blind: the kernel or the module has no KCOV; results of calls guide the fuzzer");
    }
    reports::set_up_faults();
    let mut fuzzer = Fuzzer {
        options,
        batch,
        random: fastrand::Rng::with_seed(options.seed),
        corpus: Vec::new(),
        known: HashSet::new(),
        failures: Vec::new(),
        pending: VecDeque::new(),
        start: now(),
        environment: Environment::new(options.jobs),
        seeds: Seeds::Run,
        blind,
    };
    println!("seed {}, {} jobs", options.seed, options.jobs);
    let mut seeds = Vec::new();
    for directory in &options.corpus {
        seeds.extend(read_corpus(directory)?);
    }
    fuzzer.run(&seeds)?;
    fuzzer.write_results()?;
    println!("{fuzzer}");
    Ok(fuzzer.failures.is_empty())
}

impl fmt::Display for Fuzzer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.batch.shared;
        let (calls, corpus) = (shared.calls(), self.corpus.len());
        let (reached, blocks) = (shared.reached().count(), self.batch.blocks.blocks.len());
        let reports = self.failures.len();
        write!(f, "{calls} calls, {corpus} programs in the corpus, {reached} of {blocks} blocks, {reports} reports")
    }
}

impl Fuzzer<'_> {
    fn elapsed(&self) -> Duration {
        now().saturating_sub(self.start)
    }

    /// Returns true if the run ends: not before the first batch, however slow the machine is.
    fn is_over(&self) -> bool {
        let calls = self.batch.shared.calls();
        self.seeds != Seeds::Run
            && (self.elapsed() >= self.options.duration || calls >= self.options.calls)
            || self.failures.len() >= MAX_FAILURES
    }

    fn run(&mut self, seeds: &[Program]) -> anyhow::Result<()> {
        let mut log = Log::open();
        let kmemleak = reports::has_kmemleak();
        if kmemleak {
            reports::forget_leaks();
        }
        let mut jobs: Vec<Option<Job>> = (0..self.options.jobs).map(|_| None).collect();
        let mut printed = Instant::now();
        let mut batches = 0;
        loop {
            for (number, job) in jobs.iter_mut().enumerate() {
                let Some(running) = job else {
                    if !self.is_over() {
                        *job = Some(self.start_job(number, batches, seeds)?);
                        batches += 1;
                    }
                    continue;
                };
                sys::wait_readable(running.descriptor(), 2);
                let end = running.end();
                let messages = running.messages();
                self.receive(messages);
                let Some(end) = end else { continue };
                *job = None;
                self.ended(number, end);
            }
            let mut lines = log.read();
            if lines.is_empty() && self.pending.is_empty() && !self.is_over() {
                self.environment.step(&mut self.random);
                if printed.elapsed() >= PROGRESS {
                    printed = Instant::now();
                    println!("{} s: {self}", self.elapsed().as_secs());
                }
                continue;
            }
            // Reductions need the machine for themselves.
            self.stop(&mut jobs);
            // Callbacks and kworkers report a little later, as does the end of a child.
            std::thread::sleep(Duration::from_millis(50));
            lines.extend(log.read());
            if !lines.is_empty() {
                let last = (0..self.options.jobs).flat_map(|job| self.batch.shared.last(job));
                self.pending.push_front(Failure {
                    kind: Kind::Report,
                    text: lines.join("\n"),
                    programs: last.collect(),
                });
            }
            self.fail_pending();
            if self.is_over() {
                break;
            }
            log = Log::open();
        }
        if kmemleak && self.failures.is_empty() {
            let text = reports::leaks();
            if !text.is_empty() {
                let programs = self
                    .corpus
                    .iter()
                    .map(|entry| entry.program.clone())
                    .collect();
                self.pending.push_back(Failure {
                    kind: Kind::Leak,
                    text,
                    programs,
                });
                self.fail_pending();
            }
        }
        Ok(())
    }

    /// Ends all jobs, notes what they have found, and undoes the changes of the machine.
    fn stop(&mut self, jobs: &mut [Option<Job>]) {
        jobs.iter_mut().flatten().for_each(Job::kill);
        for (number, job) in jobs.iter_mut().enumerate() {
            if let Some(mut job) = job.take() {
                let end = job.stop();
                self.receive(job.messages());
                self.ended(number, end);
            }
        }
        self.environment.restore();
    }

    fn start_job(
        &mut self,
        number: usize,
        batches: usize,
        seeds: &[Program],
    ) -> anyhow::Result<Job> {
        let mut batch = self.batch;
        batch.job = number;
        let corpus: Vec<Program>;
        // At the limit, a page fault of another thread would call the OOM killer.
        let limited = self.environment.can_limit() && self.random.u32(..8) == 0;
        let work = if batches == 0 {
            Work::Seeds(seeds)
        } else {
            corpus = self
                .corpus
                .iter()
                .map(|entry| entry.program.clone())
                .collect();
            Work::Fuzz {
                corpus: &corpus,
                seed: self.random.u64(..),
                count: BATCH,
                alone: limited,
            }
        };
        let kill = batches > 0 && self.random.u32(..8) == 0;
        let kill_after = kill.then(|| Duration::from_millis(self.random.u64(..400)));
        let job = Job::start(batch, work, kill_after).context("start a child")?;
        if limited && batches > 0 {
            self.environment.limit(number, job.child());
        }
        Ok(job)
    }

    fn receive(&mut self, messages: Vec<Message>) {
        for message in messages {
            match message {
                Message::Found(program, features) => self.corpus.push(Entry { program, features }),
                Message::Wrong(program, text) => self.note(Failure {
                    kind: Kind::Wrong,
                    text,
                    programs: vec![program],
                }),
            }
        }
    }

    fn ended(&mut self, number: usize, mut end: End) {
        let out_of_memory = self.environment.take_kill(number);
        if out_of_memory && end == End::Died(libc::SIGKILL) {
            end = End::Killed;
        }
        // The first batch is the first one of the first job.
        if number == 0 && self.seeds == Seeds::Run {
            self.seeds = if end == End::Done {
                Seeds::Done
            } else {
                Seeds::Lost
            };
        }
        let programs = self.batch.shared.last(number);
        if let Some(failure) = Failure::of_end(end, programs) {
            self.note(failure);
        }
    }

    fn fail_pending(&mut self) {
        while let Some(failure) = self.pending.pop_front() {
            self.fail(failure);
        }
    }

    /// Queues a failure. One that is known does not stop the jobs.
    fn note(&mut self, failure: Failure) {
        if failure.keys().iter().all(|key| self.known.contains(key)) {
            println!("again: {}", failure.titles()[0]);
        } else {
            self.pending.push_back(failure);
        }
    }

    /// Prints, reduces and writes a failure, unless all its titles are known.
    fn fail(&mut self, failure: Failure) {
        let mut new = None;
        for title in failure.titles() {
            let key = failure.key(title);
            if self.known.insert(key.clone()) {
                println!("{:?}: {title}", failure.kind);
                new.get_or_insert(key);
            } else {
                println!("again: {title}");
            }
        }
        let Some(key) = new.filter(|_| self.failures.len() < MAX_FAILURES) else {
            return;
        };
        let (failure, again) = if self.options.no_reduction {
            (failure, false)
        } else {
            println!("reducing it ...");
            let reducer = Reducer::new(self.batch, key, REDUCTION);
            let reduced = reducer.reduce(&failure);
            self.pending.extend(reducer.others());
            reduced
        };
        if let Err(error) = self.write_failure(&failure, again) {
            println!("cannot write the report: {error:#}");
        }
        self.failures.push(failure);
    }

    fn write_failure(&self, failure: &Failure, again: bool) -> anyhow::Result<()> {
        let directory = self
            .options
            .out
            .join(format!("report-{}", self.failures.len() + 1));
        fs::create_dir_all(&directory)?;
        let again = if again {
            "the programs cause it again"
        } else {
            "not reproduced"
        };
        let report = format!("{:?}, {again}\n{}\n", failure.kind, failure.text);
        fs::write(directory.join("report.txt"), &report)?;
        for (number, program) in failure.programs.iter().enumerate() {
            fs::write(
                directory.join(format!("program-{number}.txt")),
                program.to_string(),
            )?;
            fs::write(
                directory.join(format!("program-{number}.c")),
                c_program(program),
            )?;
        }
        print!("{report}");
        if let Some(program) = failure.programs.last() {
            println!("the program, also in {}:\n{program}", directory.display());
        }
        Ok(())
    }

    fn write_results(&self) -> anyhow::Result<()> {
        let corpus = self.options.out.join("corpus");
        fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
        for program in minimal(&self.corpus) {
            let text = program.to_string();
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            fs::write(corpus.join(format!("{:016x}.txt", hasher.finish())), text)?;
        }
        let blocks = &self.batch.blocks.blocks;
        let reached = self.batch.shared.reached().map(|at| &blocks[at]);
        let lines = reached.map(|(section, at)| format!("{section} {at:#x}"));
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        fs::write(self.options.out.join("reached"), text)?;
        // Without it the corpus does not replace an older one.
        let complete = self.options.out.join("complete");
        if self.seeds == Seeds::Done && !self.blind {
            fs::write(complete, "")?;
        } else if complete.exists() {
            fs::remove_file(complete)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(call: &str, features: &[u32]) -> Entry {
        Entry {
            program: Program::parse(call).unwrap(),
            features: features.to_vec(),
        }
    }

    #[test]
    fn a_minimal_corpus_has_all_features() {
        let corpus = [
            entry("0 open", &[1, 2]),
            entry("0 ring", &[2, 3, 4]),
            entry("0 ack", &[3]),
            entry("0 pause", &[1, 2, 3, 5]),
            entry("0 poll", &[6]),
        ];
        let names = |corpus: &[Entry]| -> Vec<&str> {
            let programs = minimal(corpus).into_iter();
            programs
                .map(|program| program.calls[0].form().name)
                .collect()
        };
        assert_eq!(names(&corpus), ["pause", "ring", "poll"]);
        assert_eq!(names(&corpus[..3]), ["ring", "open"]);
        assert_eq!(names(&[]), [""; 0]);
    }
}
