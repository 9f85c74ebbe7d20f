// SPDX-License-Identifier: GPL-2.0-only

//! A stress test that checks that no message is lost and none invented.
//!
//! Threads ring lines in all ways, mask, unmask and clear them, assign and deassign eventfds and
//! regions, and consume the signals. Some rules must hold at any time and are checked
//! continuously: masks and deassigns are barriers, counters never decrease, and no message waits
//! for longer than the limit ([`wait`]). The other rules must hold when nothing is in flight. So
//! about once a second:
//!
//! 1. All threads pause ([`pool`]).
//! 2. All lines are unmasked.
//! 3. Each level line is compared with a model, step by step ([`level`]).
//! 4. The operations that the threads issued are compared with those that the module and the
//!    eventfds counted ([`accounting`]).

mod accounting;
mod bus;
mod churn;
mod clock;
mod consume;
mod counting;
mod echo;
mod endurance;
mod faults;
mod kind;
mod level;
mod mask;
mod memory;
mod oracle;
mod paired_regions;
mod pool;
mod relay_chain;
mod report;
mod ring;
mod roles;
mod rule;
mod sequential;
mod summary;
mod topology;
mod wait;
mod waited;

pub use accounting::Balance;
pub use endurance::{endure, Change, EnduranceOptions, EnduranceReport};
pub use kind::Kind;
pub use report::{Account, Report};
pub use rule::{Rule, Violation};

use crate::{random::Random, rtt::Progress, sys};
use accounting::Issued;
use clock::Clock;
use doorbell::{LineSet, MaskReasons};
use pool::{spawn_thread, IssuedCounts, WorkerPool};
use roles::{roles, spawn_workers, Role};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use topology::Topology;

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The device.
    pub device: PathBuf,
    /// The duration of the run, unless `rings` is set.
    pub duration: Duration,
    /// The number of rings that ends the run.
    pub rings: Option<u64>,
    /// The number of lines of the first context, at least [`MIN_LINES`]. A second context has the
    /// lines that they relay to.
    pub lines: u32,
    /// The number of threads, at least [`MIN_THREADS`].
    pub threads: usize,
    /// The seed of the threads' choices.
    pub seed: u64,
    /// The maximum time that a message may wait on a line that is not masked.
    pub longest_wait: Duration,
    /// Make allocations of some calls fail.
    pub faults: bool,
}

/// The minimum number of lines: one of each kind.
pub const MIN_LINES: u32 = 13;

/// The minimum number of threads: one for each role.
pub const MIN_THREADS: usize = 9;

/// The maximum time that a system call may take, and that a message may stay pending.
const STUCK_TIMEOUT: Duration = Duration::from_secs(30);

/// The time between two checks of the accounts.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the stress test. Calls `progress` while it runs.
///
/// The report contains violations of rules. Threads that are stuck in a system call keep running.
///
/// # Errors
///
/// If the run cannot start, or a line cannot be queried.
pub fn run(options: &Options, progress: Progress<'_>) -> anyhow::Result<Report> {
    let roles = roles(options.threads.max(MIN_THREADS));
    let count = |role| roles.iter().filter(|&&one| one == role).count();
    sys::raise_open_files(u64::from(options.lines) * 8 + 1024)?;
    let topology = Topology::new(
        &options.device,
        options.lines.max(MIN_LINES),
        count(Role::Ring),
        count(Role::Assign),
    )?;
    let faults = options.faults.then(faults::Faults::new).transpose()?;
    let pool = WorkerPool::new(topology);
    let start = Instant::now();
    spawn_workers(&pool, options, &roles)?;
    let longest = Arc::new(wait::MaxWait::default());
    let (shared, limit, seen) = (pool.clone(), options.longest_wait, longest.clone());
    spawn_thread("wait", None, move || {
        if let Err(violation) = wait::watch(&shared, limit, &seen) {
            shared.report(violation);
        }
    })?;

    let (shared, limit) = (pool.clone(), options.longest_wait);
    spawn_thread("summary", None, move || {
        if let Err(violation) = summary::consume(&shared, limit) {
            shared.report(violation);
        }
    })?;

    let mut counts = IssuedCounts::new(pool.topology.lines.len());
    let mut random = Random::new(options.seed ^ u64::MAX);
    let mut checks = 0;
    let (accounts, sum) = loop {
        let finished = run_until_check(&pool, options, start, progress);
        let all_paused = pool.pause_all(STUCK_TIMEOUT);
        if all_paused {
            if let Err(violation) = settle(&pool, options, &mut random, &mut counts) {
                pool.report(violation);
            }
        }
        checks += 1;
        let sum = pool.total(&mut counts);
        // Messages that are in flight cannot be accounted for.
        let accounts = check_accounts(&pool, &sum, all_paused)?;
        if finished || pool.failed() {
            break (accounts, sum);
        }
        pool.resume();
    };
    pool.stop();
    drop(faults);

    let seconds = start.elapsed().as_secs_f64();
    let total = |of: fn(&Account) -> u64| accounts.iter().map(of).sum::<u64>();
    let rings = total(|line| line.rings);
    let violations = pool.take_violations();
    // A message can be lost without a line: for example, by a region.
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
        deferred: total(|line| line.deferred) + pool.topology.relay_chain.deferred(),
        longest_wait_ms: longest.get().as_micros() as f64 / 1000.0,
        assigns: sum.assigns,
        faults: faults::failed(),
        checks,
        seconds,
        seed: options.seed,
        threads: roles.len(),
        lines: accounts,
        violations,
    })
}

/// Lets the threads run until the next check is due. Returns true if the run ends.
fn run_until_check(
    pool: &WorkerPool,
    options: &Options,
    start: Instant,
    progress: Progress<'_>,
) -> bool {
    let until = Instant::now() + CHECK_INTERVAL;
    loop {
        let (elapsed, rings) = (start.elapsed(), pool.topology.all_rings());
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
                pool.topology.all_deliveries()
            ),
            done,
            of,
        );
        if done >= of || pool.failed() {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Ends all reasons to mask a line. Returns true if a line was masked.
fn unmask_all(pool: &WorkerPool, counts: &mut IssuedCounts) -> Result<bool, Violation> {
    let topology = &pool.topology;
    let masked = (0..topology.lines.len()).any(|line| topology.status(line).masked);
    for (at, context) in topology.contexts.iter().enumerate() {
        let set = LineSet::range(0..topology.status[at].nr_lines());
        let released = context.unmask_lines_for(&set, MaskReasons::ALL)?;
        for (line, issued) in topology.lines.iter().zip(&mut counts.lines) {
            if line.context == at {
                issued.released += u64::from(released.contains(line.number));
            }
        }
    }
    Ok(masked)
}

/// Unmasks all lines, waits until nothing is in flight, and checks the level lines. The caller has
/// paused all threads.
fn settle(
    pool: &WorkerPool,
    options: &Options,
    random: &mut Random,
    counts: &mut IssuedCounts,
) -> Result<(), Violation> {
    let topology = &pool.topology;
    // A run that has failed may never become quiet.
    let limit = match pool.failed() {
        true => options.longest_wait,
        false => STUCK_TIMEOUT,
    };
    // If this times out, the accounts show the reason. An automask line has masked itself again if it
    // had a message.
    unmask_all(pool, counts)?;
    let mut quiet = wait_until_quiet(topology, limit);
    while quiet && unmask_all(pool, counts)? {
        quiet = wait_until_quiet(topology, limit);
    }
    if quiet {
        level::handle_resamples(topology, counts)?;
        if wait_until_quiet(topology, limit) {
            level::check_level_lines(topology, random, options.longest_wait, counts)?;
            wait_until_quiet(topology, limit);
        }
    }
    Ok(())
}

/// Waits up to `limit` until nothing is in flight. Returns false on timeout.
fn wait_until_quiet(topology: &Topology, limit: Duration) -> bool {
    let start = topology.clock.now();
    let mut before = None;
    // A message that one line relays to another is pending on neither for a moment. So two
    // consecutive readings must agree.
    loop {
        let chain = topology
            .relay_chain
            .quiet_deliveries()
            .filter(|_| topology.is_quiet());
        let now = chain.map(|chain| chain + topology.all_deliveries());
        if now.is_some() && now == before {
            return true;
        }
        if topology.clock.now() - start > limit {
            return false;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the accounts of all lines. If all threads pause, also reports violations.
fn check_accounts(
    pool: &WorkerPool,
    sum: &IssuedCounts,
    all_paused: bool,
) -> anyhow::Result<Vec<Account>> {
    let topology = &pool.topology;
    if all_paused {
        for violations in [
            topology.bus.check(&topology.contexts[0]),
            topology.paired_regions.check(),
            topology.echo.check(),
            topology.waited.check(),
            topology.counting.check(),
            topology.relay_chain.check(),
            Ok(topology.summary.check(topology)),
        ] {
            for violation in violations.unwrap_or_else(|violation| vec![violation]) {
                pool.report(violation);
            }
        }
    }
    let mut accounts: Vec<Account> = Vec::new();
    for (index, line) in topology.lines.iter().enumerate() {
        let observed = topology.observed(index)?;
        let source = topology
            .source(index)
            .map(|source| accounts[source].deliveries);
        let issued = Issued {
            signals: sum.lines[index].signals + source.unwrap_or(0),
            ..sum.lines[index]
        };
        let mut balance = Balance::default();
        if all_paused {
            let violations;
            (balance, violations) = accounting::compare(&topology.name(index), &issued, &observed);
            for violation in violations {
                pool.report(violation);
            }
        }
        let state = observed.state;
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
            masks: issued.masks,
            raises: issued.raises,
            acks: state.acks,
            postponed: issued.postponed,
            resamples: observed
                .level
                .map_or(0, |level| level.resampled.iter().sum()),
            balance,
        });
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            faults: false,
        };
        let error = run(&options, &mut |_, _, _| {}).unwrap_err();
        let text = crate::explain(error.as_ref());
        assert!(text.contains("modprobe"), "{text}");
    }
}
