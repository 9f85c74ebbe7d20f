// SPDX-License-Identifier: GPL-2.0-only

//! A storm over some lines that ends with a proof that nothing was lost and nothing invented.
//!
//! Threads ring lines in all ways there are, mask, unmask and clear them, assign and deassign
//! whatever can be, and wait for what comes of it. Some things must hold at any moment, and are
//! looked at all the time: that a mask and a deassign are barriers, that counters never go down,
//! that no message waits for longer than it may ([`wait`]). The rest must hold when all is quiet. So
//! about once a second all threads pause, everything is unmasked, each level line is compared with a
//! model, step by step ([`level`]), and the accounts are made up ([`ledger`]).

mod bus;
mod chain;
mod clock;
mod consume;
mod crew;
mod guests;
mod hall;
pub mod ledger;
mod level;
mod mask;
mod oracle;
mod ring;
mod solo;
mod wait;
mod world;

pub use world::Kind;

use crate::{explain, random::Random, rtt::Progress, sys};
use crew::{spawn, Crew, Tally};
use doorbell::LineSet;
use ledger::{Balance, Done};
use std::{
    fmt, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use world::World;

/// How to do it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The device.
    pub device: PathBuf,
    /// How long.
    pub duration: Duration,
    /// Or until there were that many rings.
    pub rings: Option<u64>,
    /// Lines of the first context, [`MIN_LINES`] at least; a second one has more.
    pub lines: u32,
    /// Threads, [`MIN_THREADS`] at least.
    pub threads: usize,
    /// What the threads' choices depend on.
    pub seed: u64,
    /// The longest time that a message may wait on a line that is not masked.
    pub longest_wait: Duration,
}

/// One of each kind.
pub const MIN_LINES: u32 = 12;

/// One for each work.
pub const MIN_THREADS: usize = 9;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// After a ring a delivery starts.
    Lost,
    /// Each delivery has a ring.
    Invented,
    /// A mask is a barrier, and an unmask delivers what is pending, once.
    Mask,
    /// A deassign is a barrier.
    Deassign,
    /// Attaching an irqfd takes what is in the counter, and rings for it.
    Attach,
    /// Notifiers are signalled once for each transition.
    Notifier,
    /// What calls return is what they did.
    Results,
    /// While a level line is asserted rings coalesce; an ack takes that back once and has the sources
    /// look again; a level that is still raised is delivered again.
    Level,
    /// A message that is pending on a line that is not masked is delivered soon.
    Prompt,
    /// Counters never go down, and agree with each other.
    Counters,
    /// Calls return.
    Stuck,
    /// Calls that must not fail do not.
    Failed,
}

impl Rule {
    fn text(self) -> &'static str {
        match self {
            Rule::Lost => "nothing lost",
            Rule::Invented => "nothing invented",
            Rule::Mask => "mask is a barrier, and unmask delivers what is pending once",
            Rule::Deassign => "deassign is a barrier",
            Rule::Attach => "attach is atomic",
            Rule::Notifier => "a notifier is signalled once per transition",
            Rule::Results => "calls return what they did",
            Rule::Level => {
                "an ack de-asserts once, resamples, and a raised level is delivered again"
            }
            Rule::Prompt => "a message does not wait on a line that is not masked",
            Rule::Counters => "counters never go down and agree with each other",
            Rule::Stuck => "calls return",
            Rule::Failed => "calls that must not fail do not",
        }
    }
}

/// A rule that did not hold.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// On which line, or to whom.
    pub at: String,
    /// With which numbers.
    pub text: String,
    #[serde(skip)]
    reported: bool,
}

impl Violation {
    /// At `at`, in the words of `text`.
    pub fn new(rule: Rule, at: &str, text: String) -> Self {
        Self {
            rule,
            at: at.to_owned(),
            text,
            reported: false,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (rule: {})", self.at, self.text, self.rule.text())
    }
}

impl From<doorbell::Error> for Violation {
    fn from(error: doorbell::Error) -> Self {
        Self::new(Rule::Failed, "a call", explain(&error))
    }
}

impl From<io::Error> for Violation {
    fn from(error: io::Error) -> Self {
        Self::new(Rule::Failed, "a system call", error.to_string())
    }
}

/// The accounts of a line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Account {
    /// Which line of ...
    pub line: u32,
    /// ... which context.
    pub context: usize,
    /// What happened to it.
    pub kind: Kind,
    /// Rings.
    pub rings: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Rings that joined others.
    pub coalesced: u64,
    /// Messages that were dropped on request.
    pub dropped: u64,
    /// Deliveries that went by a worker.
    pub deferred: u64,
    /// Times that it was masked.
    pub masks: u64,
    /// Times that its level was raised.
    pub raises: u64,
    /// Acks.
    pub acks: u64,
    /// Acks whose resample was postponed to the unmask.
    pub postponed: u64,
    /// Signals of its resamplefds, those that come and go left out.
    pub resamples: u64,
    /// How all that differs from what was done.
    #[serde(flatten)]
    pub balance: Balance,
}

/// What came of it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// All rings.
    pub rings: u64,
    /// Per second of the storm.
    pub rings_per_second: f64,
    /// All deliveries.
    pub deliveries: u64,
    /// All rings that joined others.
    pub coalesced: u64,
    /// All messages that were dropped on request.
    pub dropped: u64,
    /// How many are lost, at least.
    pub lost: u64,
    /// How many are invented, at least.
    pub invented: u64,
    /// How often a line was masked.
    pub masks: u64,
    /// All raises of levels.
    pub raises: u64,
    /// All acks of level lines.
    pub acks: u64,
    /// All acks whose resample was postponed to the unmask.
    pub postponed: u64,
    /// All signals of resamplefds, of those left out that come and go.
    pub resamples: u64,
    /// All deliveries that went by a workqueue.
    pub deferred: u64,
    /// The longest time that a message was seen to wait on a line that is not masked.
    pub longest_wait_ms: f64,
    /// How often something was assigned.
    pub assigns: u64,
    /// How often the accounts were made up.
    pub checks: u64,
    /// How long the storm took, pauses included.
    pub seconds: f64,
    /// What the choices depended on.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
    /// The accounts.
    pub lines: Vec<Account>,
    /// What did not hold.
    pub violations: Vec<Violation>,
}

/// How long who is in a system call may stay there, and what is pending may stay pending.
const LIMIT: Duration = Duration::from_secs(30);

/// How often the accounts are made up.
const EVERY: Duration = Duration::from_secs(1);

/// What the threads do: the first ones have to be, then the last ones take turns.
const WORKS: [Work; 12] = [
    Work::Ring,
    Work::Poll,
    Work::Mask,
    Work::Alone,
    Work::Assign,
    Work::Ack,
    Work::Ring,
    Work::Sleep,
    Work::Observe,
    Work::Ring,
    Work::Mask,
    Work::Ack,
];

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Ring,
    Poll,
    Sleep,
    Mask,
    /// Mask lines of one's own.
    Alone,
    Assign,
    /// Raise, lower and ack level lines.
    Ack,
    Observe,
}

fn works(threads: usize) -> Vec<Work> {
    let more = [Work::Ring, Work::Assign, Work::Ack, Work::Ring, Work::Mask];
    let rest = more.into_iter().cycle();
    WORKS.into_iter().chain(rest).take(threads).collect()
}

/// A thread that works on two kinds of lines in turns.
struct Alone {
    barrier: mask::Barrier,
    solos: Vec<solo::Solo>,
}

impl crew::Worker for Alone {
    fn turn(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        self.barrier.turn(tally)?;
        self.solos.iter_mut().try_for_each(|solo| solo.turn(tally))
    }

    fn settle(&mut self, tally: &mut Tally) -> Result<(), Violation> {
        let mut solos = self.solos.iter_mut();
        solos.try_for_each(|solo| solo.settle(tally))
    }
}

fn hire(crew: &Arc<Crew>, options: &Options, works: &[Work]) -> anyhow::Result<()> {
    let cpus = sys::cpus()?;
    let (mut producers, mut hosts) = (0, 0);
    let all_hosts = works.iter().filter(|&&work| work == Work::Assign).count();
    let mut sleepers = crew.world.lines.len()..crew.world.taps.len();
    for (at, work) in works.iter().enumerate() {
        let random = Random::new(options.seed.wrapping_add(at as u64));
        // Every other one stays where it is.
        let cpu = (at % 2 == 0).then(|| cpus[at / 2 % cpus.len()]);
        let name = |work: &str| format!("{work} {at}");
        let it = crew.clone();
        let consumer = |result, crew: &Crew| {
            if let Err(violation) = result {
                crew.report(violation);
            }
        };
        match work {
            Work::Ring => {
                let worker = ring::Producer::new(it, producers, random);
                producers += 1;
                crew.hire(name("ring"), cpu, worker)?;
            }
            Work::Mask => crew.hire(name("mask"), cpu, mask::Masker::new(it, random))?,
            Work::Alone => {
                let solos = crew.world.which(Kind::solo).into_iter();
                let solos = solos.map(|line| {
                    let random = Random::new(options.seed ^ ((line as u64 + 1) << 32));
                    solo::Solo::new(crew.clone(), random, line, options.longest_wait)
                });
                let worker = Alone {
                    solos: solos.collect::<Result<_, _>>()?,
                    barrier: mask::Barrier::new(
                        it,
                        random,
                        crew.world.which(|kind| kind == Kind::Barrier),
                    ),
                };
                crew.hire(name("mask alone"), cpu, worker)?;
            }
            Work::Assign => {
                let worker =
                    guests::Host::new(it, options.device.clone(), (hosts, all_hosts), random)?;
                hosts += 1;
                crew.hire(name("assign"), cpu, worker)?;
            }
            Work::Ack => crew.hire(name("ack"), cpu, level::Acker::new(it, random))?,
            Work::Observe => {
                crew.hire(name("observe"), cpu, consume::Observer::new(it, random))?;
            }
            Work::Poll => {
                spawn(&name("poll"), cpu, move || {
                    consumer(consume::poll(&it, random), &it)
                })?;
            }
            Work::Sleep => {
                for tap in sleepers.by_ref() {
                    let it = it.clone();
                    spawn(&name("sleep"), cpu, move || {
                        consumer(consume::sleep(&it, tap), &it)
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// Makes the storm, tells `progress` about it, and reports.
///
/// Fails if it cannot start. If a rule does not hold, that is in the report; threads that are stuck
/// in a system call then are left behind.
pub fn run(options: &Options, progress: Progress<'_>) -> anyhow::Result<Report> {
    let works = works(options.threads.max(MIN_THREADS));
    let count = |work| works.iter().filter(|&&one| one == work).count();
    sys::raise_open_files(u64::from(options.lines) * 8 + 1024)?;
    let world = World::new(
        &options.device,
        options.lines.max(MIN_LINES),
        count(Work::Ring),
        count(Work::Assign),
    )?;
    let crew = Crew::new(world);
    let start = Instant::now();
    hire(&crew, options, &works)?;
    let longest = Arc::new(wait::Longest::default());
    let (it, bound, seen) = (crew.clone(), options.longest_wait, longest.clone());
    spawn("wait", None, move || {
        if let Err(violation) = wait::watch(&it, bound, &seen) {
            it.report(violation);
        }
    })?;

    let mut tally = Tally::new(crew.world.lines.len());
    let mut random = Random::new(options.seed ^ u64::MAX);
    let mut checks = 0;
    let (accounts, sum) = loop {
        let enough = storm(&crew, options, start, progress);
        let gathered = crew.gather(LIMIT);
        if gathered {
            if let Err(violation) = settle(&crew, options, &mut random, &mut tally) {
                crew.report(violation);
            }
        }
        checks += 1;
        let sum = crew.sum(&mut tally);
        // Of what is under way nothing can be said.
        let accounts = balance(&crew, &sum, gathered)?;
        if enough || crew.failed() {
            break (accounts, sum);
        }
        crew.go_on();
    };
    crew.end();

    let seconds = start.elapsed().as_secs_f64();
    let total = |of: fn(&Account) -> u64| accounts.iter().map(of).sum::<u64>();
    let rings = total(|line| line.rings);
    let violations = crew.violations();
    // Not all that can be lost belongs to a line.
    let any = |rule| u64::from(violations.iter().any(|one| one.rule == rule));
    Ok(Report {
        rings,
        rings_per_second: rings as f64 / seconds,
        deliveries: total(|line| line.deliveries),
        coalesced: total(|line| line.coalesced),
        dropped: total(|line| line.dropped),
        lost: total(|line| line.balance.lost).max(any(Rule::Lost)),
        invented: total(|line| line.balance.invented).max(any(Rule::Invented)),
        masks: total(|line| line.masks),
        raises: total(|line| line.raises),
        acks: total(|line| line.acks),
        postponed: total(|line| line.postponed),
        resamples: total(|line| line.resamples),
        deferred: total(|line| line.deferred) + crew.world.chain.deferred(),
        longest_wait_ms: longest.get().as_micros() as f64 / 1000.0,
        assigns: sum.assigns,
        checks,
        seconds,
        seed: options.seed,
        threads: works.len(),
        lines: accounts,
        violations,
    })
}

/// Lets it rage until the accounts are to be made up; true if that is the end.
fn storm(crew: &Crew, options: &Options, start: Instant, progress: Progress<'_>) -> bool {
    let until = Instant::now() + EVERY;
    loop {
        let (elapsed, rings) = (start.elapsed(), crew.world.all_rings());
        let (done, of) = match options.rings {
            Some(wanted) => (rings.min(wanted), wanted),
            None => {
                let of = options.duration.as_millis() as u64;
                ((elapsed.as_millis() as u64).min(of), of)
            }
        };
        let seconds = elapsed.as_secs_f64();
        progress(
            &format!(
                "{seconds:.0} s, {:.0} rings/s, {} deliveries",
                rings as f64 / seconds,
                crew.world.all_deliveries()
            ),
            done,
            of,
        );
        if done >= of || crew.failed() {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Everybody pauses: unmasks everything, waits until all is quiet, and walks the level lines.
fn settle(
    crew: &Crew,
    options: &Options,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), Violation> {
    let world = &crew.world;
    for (at, context) in world.contexts.iter().enumerate() {
        let set = LineSet::range(0..world.status[at].nr_lines());
        let released = context.unmask_lines(&set)?;
        for (line, done) in world.lines.iter().zip(&mut tally.lines) {
            if line.context == at {
                done.released += u64::from(released.contains(line.number));
            }
        }
    }
    // A run that has failed may not become quiet at all.
    let limit = match crew.failed() {
        true => options.longest_wait,
        false => LIMIT,
    };
    // If it does not become quiet, the accounts show why.
    if wait_until_quiet(world, limit) {
        level::look_again(world, tally)?;
        if wait_until_quiet(world, limit) {
            level::walk(world, random, options.longest_wait, tally)?;
            wait_until_quiet(world, limit);
        }
    }
    Ok(())
}

/// Waits until all is quiet, or for `limit`; returns whether it is.
fn wait_until_quiet(world: &World, limit: Duration) -> bool {
    let start = world.clock.now();
    let mut before = None;
    // Something that is on its way from one line to the next is nowhere for a moment.
    loop {
        let chain = world.chain.quiet().filter(|_| world.quiet());
        let now = chain.map(|chain| chain + world.all_deliveries());
        if now.is_some() && now == before {
            return true;
        }
        if world.clock.now() - start > limit {
            return false;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Makes up the accounts of all lines, and reports what is wrong with them if `judge` says so.
fn balance(crew: &Crew, sum: &Tally, judge: bool) -> anyhow::Result<Vec<Account>> {
    let world = &crew.world;
    if judge {
        for broken in [
            world.bus.judge(&world.contexts[0]),
            world.hall.judge(),
            world.chain.judge(),
        ] {
            for violation in broken.unwrap_or_else(|violation| vec![violation]) {
                crew.report(violation);
            }
        }
    }
    let mut accounts: Vec<Account> = Vec::new();
    for (index, line) in world.lines.iter().enumerate() {
        let found = world.found(index)?;
        let source = world
            .source(index)
            .map(|source| accounts[source].deliveries);
        let done = Done {
            signals: sum.lines[index].signals + source.unwrap_or(0),
            ..sum.lines[index]
        };
        let mut balance = Balance::default();
        if judge {
            let broken;
            (balance, broken) = ledger::judge(&world.name(index), &done, &found);
            for violation in broken {
                crew.report(violation);
            }
        }
        let state = found.state;
        let accounted = state.deliveries + state.dropped + u64::from(state.pending);
        accounts.push(Account {
            line: line.number,
            context: line.context,
            kind: line.kind,
            rings: state.rings,
            deliveries: state.deliveries,
            coalesced: state.rings.saturating_sub(accounted),
            dropped: state.dropped,
            deferred: state.deferred,
            masks: done.masks,
            raises: done.raises,
            acks: state.acks,
            postponed: done.postponed,
            resamples: found.level.map_or(0, |level| level.resampled.iter().sum()),
            balance,
        });
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_work_is_done_by_somebody() {
        let few = works(MIN_THREADS);
        for work in WORKS {
            assert!(few.contains(&work));
        }
        let many = works(64);
        assert_eq!(many.len(), 64);
        // There is one of those who must be alone with their lines.
        for work in [Work::Alone, Work::Poll, Work::Sleep] {
            assert_eq!(many.iter().filter(|&&one| one == work).count(), 1);
        }
    }

    #[test]
    fn missing_device_is_explained() {
        let options = Options {
            device: "/nonexistent".into(),
            duration: Duration::from_secs(1),
            rings: None,
            lines: MIN_LINES,
            threads: MIN_THREADS,
            seed: 1,
            longest_wait: Duration::from_secs(2),
        };
        let error = run(&options, &mut |_, _, _| {}).unwrap_err();
        let text = explain(error.as_ref());
        assert!(text.contains("modprobe"), "{text}");
    }

    #[test]
    fn each_kind_has_a_line() {
        let kinds = world::kinds(MIN_LINES);
        let level = kinds.iter().filter(|kind| kind.level()).count();
        assert_eq!((kinds.len(), level), (MIN_LINES as usize, 3));
        for (at, kind) in kinds.iter().enumerate() {
            assert!(!kinds[..at].contains(kind), "{kind:?}");
        }
    }

    #[test]
    fn violation_says_rule_and_line() {
        let text = Violation::new(Rule::Mask, "line 0.2 (barrier)", "3 of 4".into()).to_string();
        assert!(text.starts_with("line 0.2 (barrier): 3 of 4"), "{text}");
        assert!(text.contains("mask is a barrier"), "{text}");
    }
}
