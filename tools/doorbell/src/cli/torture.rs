// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell torture`.

use crate::{conclude, duration, interrupt, print, progress::with_progress, wide_table, Exit};
use anyhow::anyhow;
use clap::Args;
use doorbell_tools::torture::{self, EnduranceOptions, EnduranceReport, Options, Report};
use std::{
    fmt::Write as _,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub const HELP: &str = "\
Threads ring lines by ioctl, by eventfd, by writes to the bus and from inside
the kernel. They mask, unmask and clear lines; raise, lower and ack level lines;
assign and deassign irqfds, triggers, notifiers, resamplefds and regions; wait
for deliveries; and read all counters.

Once a second the threads pause, and their sums must agree.

Sums:
  rings made      = rings that the module counts
                  = deliveries + coalesced + dropped
  deliveries      = signals that arrived at each permanent trigger
  masks, unmasks  = signals that arrived at notifiers
                    (the mask that a delivery sets signals none)
  acks            = signals of each resamplefd, with the postponed ones
                  = deliveries of a level line, less an unacked one
  writes taken    = rings, or signals of regions' eventfds
  writes recorded = records consumed

Each ring is followed by a delivery: producers number their rings, and consumers
compare the numbers. In the pause each level line is acked, masked, raised and
lowered and compared with a model after each step. A level that is still raised
after the ack is delivered again. So is a source that asserts the line when its
resamplefd is signalled.

A masked line delivers nothing, and the unmask delivers a pending message once.
Masks are for random reasons; the line is masked while it has one.
A deassigned eventfd is not signalled. An eventfd that becomes an irqfd is
emptied. No counter decreases. No message stays pending on an unmasked line for
longer than --max-wait.

Lines:
  open        rung in all ways
  cleared     the same, and pending messages are dropped
  barrier     masked by a thread that checks that the mask is a barrier
  source      its trigger is the irqfd of a line of another context
  relay       rung by the deliveries of another line
  semaphore   EFD_SEMAPHORE eventfds come and go as irqfds
  merging     ordinary eventfds come and go as irqfds
  prompt      never masked, with permanent triggers: only its own
              callback delivers a pending message
  automask    masks itself in each delivery, unmasked by several threads
  ioctl       rung by ioctl only
  level       a level line with resamplefds, acked by several threads
  raised      the same, and it is raised and lowered
  solo        used by one thread, which knows the result of each call
  solo-level  the same, a level line

A chain of 40 relays is rung, too: a worker thread delivers its last messages.
Producers also ring a line and wait for its trigger in one system call. The
triggers of another line count its rings: what arrives is what was rung.

Result:
The column 'balance' has the rings that the module counted, less the rings made;
and behind the slash the signals that arrived, less those that deliveries made.
If any rule does not hold, the line and the numbers are printed, and the exit
status is 1: the module has lost or duplicated a message. Please report it. The
same --seed repeats the choices of each thread, but not their interleaving. To
repeat a failure, run for longer and with more --threads.

Endurance:
With --endurance the run consists of rounds of up to a million rings, each a
process of its own. After the stress of a round, 200 contexts, irqfds, triggers
and notifiers come and go. After the first round and at the end the kernel's
memory is compared: objects of each slab cache, per-CPU memory, memory of
modules, stacks; and kmemleak must report nothing, if the kernel has it. Pages
of the page allocator are not compared: larger objects of kmalloc() are such.
With --module the module is unloaded and loaded after each round. The last line
is the verdict. After Ctrl-C the run ends without a verdict, with the exit
status 130. The module is loaded then, and all CPUs are online. A second Ctrl-C
ends it at once.

Examples:
  doorbell torture
  doorbell torture --rings 10000000
  doorbell torture --max-wait 50ms       run on a quiet machine
  doorbell torture --seed 42 --threads 32 --duration 10m
  doorbell torture --endurance --duration 8h --module doorbell.ko";

#[derive(Args)]
pub struct Torture {
    /// Run for DURATION
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Run until N rings were made, instead of for DURATION
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    rings: Option<u64>,
    /// Use N lines; a second context with more lines is for relays
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(i64::from(torture::MIN_LINES)..=1024))]
    lines: u32,
    /// Run N threads on all CPUs; pin every other one
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(torture::MIN_THREADS as u64..=64))]
    threads: u64,
    /// Derive the threads' choices from N; each run has another one by default
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Fail if a message waits for longer than DURATION on an unmasked line
    ///
    /// A ring delivers at once, or leaves that to the line's owner, an interrupt or a worker thread.
    /// In the lab the wait is measured by the guest's clock (DOORBELL_CLOCK), which stops while the
    /// host keeps the guest waiting; otherwise by CLOCK_MONOTONIC. The last lines of the output have
    /// the longest wait.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    max_wait: Duration,
    /// Make allocations of calls that assign, deassign, open and close fail at random
    ///
    /// A call that fails with ENOMEM is repeated, and must have changed nothing. Needs a kernel with
    /// fault injection.
    #[arg(long)]
    faults: bool,
    /// Run in rounds, and compare the kernel's memory after the first and the last
    #[arg(long)]
    endurance: bool,
    /// With --endurance: unload the module and load FILE after each round
    #[arg(long, value_name = "FILE", requires = "endurance")]
    module: Option<PathBuf>,
    /// With --module: reload N times after each round
    #[arg(long, value_name = "N", default_value_t = 1, requires = "module", value_parser = clap::value_parser!(u64).range(1..=10000))]
    reloads: u64,
    /// With --endurance: take the second CPU offline and online during the rounds
    #[arg(long, requires = "endurance")]
    hotplug: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn torture(device: &Path, args: &Torture) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = args.seed.unwrap_or(u64::from(now.subsec_nanos()));
    if args.endurance {
        return endurance(device, args, seed);
    }
    let options = Options {
        device: device.to_owned(),
        duration: args.duration,
        rings: args.rings,
        lines: args.lines,
        threads: args.threads as usize,
        seed,
        longest_wait: args.max_wait,
        faults: args.faults,
    };
    let report = with_progress(|progress| torture::run(&options, progress))?;
    let printed = print(&match args.json {
        true => format!("{}\n", serde_json::to_string(&report)?),
        false => human(&report),
    });
    let verdict = match report.violations.is_empty() {
        true => Ok(()),
        false => Err(anyhow!("{}", verdict(&report))),
    };
    conclude(printed, verdict)
}

/// Runs the rounds of an endurance run.
fn endurance(device: &Path, args: &Torture, seed: u64) -> anyhow::Result<()> {
    let stop = interrupt::stop_on_signals()?;
    let mut arguments = vec!["--device".to_owned(), device.display().to_string()];
    arguments.extend(["torture".into(), "--lines".into(), args.lines.to_string()]);
    arguments.extend(["--threads".into(), args.threads.to_string()]);
    let max_wait = format!("{}us", args.max_wait.as_micros());
    arguments.extend(["--max-wait".into(), max_wait]);
    if args.faults {
        arguments.push("--faults".into());
    }
    let options = EnduranceOptions {
        program: std::env::current_exe()?,
        arguments,
        device: device.to_owned(),
        rings: args.rings,
        duration: args.duration,
        reload: args.module.clone().map(|file| (file, args.reloads)),
        hotplug: args.hotplug,
        seed,
        stop: stop.clone(),
    };
    let lines = !args.json && !std::io::stderr().is_terminal();
    let mut next = Duration::ZERO;
    let start = Instant::now();
    let report = with_progress(|progress| {
        torture::endure(&options, &mut |what, done, of| {
            // Without a terminal there is no bar. A round's start prints a line, if the last one is
            // older than ten seconds.
            if lines && start.elapsed() >= next {
                doorbell_tools::stderr::line(format_args!("{what}"));
                next = start.elapsed() + Duration::from_secs(10);
            }
            progress(what, done, of);
        })
    })?;
    let printed = print(&match args.json {
        true => format!("{}\n", serde_json::to_string(&report)?),
        false => endurance_text(&report),
    });
    let verdict = match stop.signal() {
        Some(signal) if report.interrupted => Err(Exit {
            status: interrupt::status(signal),
            text: "interrupted: the result is partial".into(),
        }
        .into()),
        _ if report.passed() => Ok(()),
        _ => Err(anyhow!("{}", endurance_verdict(&report, seed))),
    };
    conclude(printed, verdict)
}

/// Formats the figures of an endurance run, and its verdict if it passed.
fn endurance_text(report: &EnduranceReport) -> String {
    let mut table = wide_table(&["memory", "after round 1", "at the end", "change", ""], 1);
    for change in &report.memory {
        table.add_row([
            change.name.clone(),
            change.before.to_string(),
            change.after.to_string(),
            signed(change.after as i64 - change.before as i64),
            String::from(if change.leaked { "LEAK" } else { "" }),
        ]);
    }
    let mut text = format!("{table}\n");
    let _ = writeln!(
        text,
        "{:.0} s, {} rings in {} rounds, {:.0} rings/s, {} assigns, {} reloads, {} hotplugs, {} faults",
        report.seconds,
        report.rings,
        report.rounds,
        report.rings as f64 / report.seconds,
        report.assigns,
        report.reloads,
        report.hotplugs,
        report.faults,
    );
    if report.passed() {
        let kmemleak = match report.kmemleak {
            Some(_) => ", nothing by kmemleak",
            None => "",
        };
        let _ = writeln!(
            text,
            "nothing lost, nothing invented, nothing leaked{kmemleak}"
        );
    }
    text
}

/// Lists what went wrong.
fn endurance_verdict(report: &EnduranceReport, seed: u64) -> String {
    let mut text = String::from("the endurance run failed:");
    if let Some(failure) = &report.failure {
        let _ = write!(text, "\n  {failure}");
    }
    for change in report.memory.iter().filter(|change| change.leaked) {
        let _ = write!(
            text,
            "\n  {}: {} after the first round, {} at the end",
            change.name, change.before, change.after
        );
    }
    if let Some(leaks) = report.kmemleak.as_ref().filter(|leaks| !leaks.is_empty()) {
        let _ = write!(text, "\n  kmemleak: {leaks}");
    }
    let _ = write!(text, "\nPlease report it. To repeat: --seed {seed}");
    text
}

/// Formats a difference: with its sign, unless it is 0.
fn signed(n: i64) -> String {
    match n {
        0 => "0".into(),
        n => format!("{n:+}"),
    }
}

/// Formats the differences of a line: rings, then signals.
fn balance(rings: i64, signals: i64) -> String {
    format!("{}/{}", signed(rings), signed(signals))
}

/// Formats the report as a table, followed by the sums.
fn human(report: &Report) -> String {
    let header = [
        "line",
        "kind",
        "rings",
        "delivered",
        "coalesced",
        "dropped",
        "masks",
        "balance",
    ];
    let mut table = wide_table(&header, 2);
    for line in &report.lines {
        table.add_row([
            format!("{}.{}", line.context, line.line),
            line.kind.name().to_owned(),
            line.rings.to_string(),
            line.deliveries.to_string(),
            line.coalesced.to_string(),
            line.dropped.to_string(),
            line.masks.to_string(),
            balance(line.balance.rings, line.balance.signals),
        ]);
    }
    let total = |of: fn(&torture::Balance) -> i64| -> i64 {
        report.lines.iter().map(|line| of(&line.balance)).sum()
    };
    table.add_row([
        "all".into(),
        String::new(),
        report.rings.to_string(),
        report.deliveries.to_string(),
        report.coalesced.to_string(),
        report.dropped.to_string(),
        report.masks.to_string(),
        balance(
            total(|balance| balance.rings),
            total(|balance| balance.signals),
        ),
    ]);
    let mut text = format!("{table}\n");
    let _ = writeln!(
        text,
        "{:.1} s, {} threads, {:.0} rings/s, {} assigns, accounts made up {} times, seed {}\n\
         {} level lines: {} raises, {} acks ({} of masked lines), {} resamples\n\
         {} deliveries by a worker, longest wait {:.1} ms\n\
         lost {}, invented {}",
        report.seconds,
        report.threads,
        report.rings_per_second,
        report.assigns,
        report.checks,
        report.seed,
        report.lines.iter().filter(|line| line.kind.level()).count(),
        report.raises,
        report.acks,
        report.postponed,
        report.resamples,
        report.deferred,
        report.longest_wait_ms,
        report.lost,
        report.invented,
    );
    text
}

/// The maximum of violations that are printed: later ones are mostly consequences.
const SHOWN: usize = 12;

/// Lists the violations and the options that repeat the run.
fn verdict(report: &Report) -> String {
    let mut text = String::from("a rule does not hold:");
    for violation in report.violations.iter().take(SHOWN) {
        let _ = write!(text, "\n  {violation}");
    }
    if let Some(more) = report.violations.len().checked_sub(SHOWN + 1) {
        let _ = write!(text, "\n  and {} more", more + 1);
    }
    let _ = write!(
        text,
        "\nPlease report it. To repeat: --seed {} --threads {}",
        report.seed, report.threads
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell_tools::torture::{Account, Balance, Kind, Rule, Violation};
    use serde_json::json;

    fn report(violations: usize) -> Report {
        let account = Account {
            line: 2,
            context: 0,
            kind: Kind::Barrier,
            rings: 100,
            deliveries: 60,
            coalesced: 40,
            dropped: 0,
            deferred: 0,
            masks: 7,
            raises: 0,
            acks: 0,
            postponed: 0,
            resamples: 0,
            balance: Balance {
                rings: -1,
                lost: 1,
                ..Balance::default()
            },
        };
        Report {
            rings: 100,
            rings_per_second: 50.0,
            deliveries: 60,
            coalesced: 40,
            dropped: 0,
            lost: 1,
            invented: 0,
            masks: 7,
            raises: 11,
            acks: 12,
            postponed: 5,
            resamples: 36,
            deferred: 9,
            longest_wait_ms: 1.234,
            assigns: 3,
            faults: 0,
            checks: 2,
            seconds: 2.0,
            seed: 42,
            threads: 8,
            lines: vec![account],
            violations: (0..violations)
                .map(|at| Violation::new(Rule::Lost, "line 0.2", format!("reason {at}")))
                .collect(),
        }
    }

    #[test]
    fn help_fits_a_terminal() {
        let widest = HELP.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{widest:?}");
    }

    #[test]
    fn table_shows_what_is_missing() {
        let text = human(&report(0));
        let row = text.lines().find(|line| line.contains("barrier")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            cells,
            ["0.2", "barrier", "100", "60", "40", "0", "7", "-1/0"],
            "{text}"
        );
        assert!(text.contains("lost 1, invented 0"), "{text}");
    }

    #[test]
    fn table_fits_a_terminal() {
        let mut report = report(0);
        let line = &mut report.lines[0];
        line.kind = Kind::SoloLevel;
        line.rings = 999_999_999;
        line.deliveries = 999_999_999;
        line.coalesced = 999_999_999;
        line.dropped = 9_999_999;
        line.masks = 999_999;
        report.longest_wait_ms = 99_999.9;
        let text = human(&report);
        let widest = text.lines().take(5).map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
    }

    #[test]
    fn summary_names_levels_acks_resamples_and_the_longest_wait() {
        let mut report = report(0);
        report.lines[0].kind = Kind::Raised;
        let text = human(&report);
        let levels = "1 level lines: 11 raises, 12 acks (5 of masked lines), 36 resamples";
        assert!(text.contains(levels), "{text}");
        assert!(
            text.contains("9 deliveries by a worker, longest wait 1.2 ms"),
            "{text}"
        );
    }

    #[test]
    fn verdict_says_how_to_see_it_again() {
        let text = verdict(&report(SHOWN + 3));
        assert!(text.contains("line 0.2: reason 0"), "{text}");
        assert!(text.contains("and 3 more"), "{text}");
        assert!(text.contains("--seed 42 --threads 8"), "{text}");
        assert!(!verdict(&report(SHOWN)).contains("more"));
    }

    #[test]
    fn endurance_ends_with_a_verdict() {
        let mut report = EnduranceReport {
            rings: 1000,
            rounds: 5,
            seconds: 10.0,
            ..EnduranceReport::default()
        };
        let text = endurance_text(&report);
        assert!(
            text.contains("1000 rings in 5 rounds, 100 rings/s"),
            "{text}"
        );
        assert!(
            text.ends_with("nothing invented, nothing leaked\n"),
            "{text}"
        );
        report.interrupted = true;
        let text = endurance_text(&report);
        assert!(!text.contains("nothing leaked"), "{text}");
        report.interrupted = false;
        report.memory.push(torture::Change {
            name: "kmalloc-64".into(),
            before: 10,
            after: 2010,
            leaked: true,
        });
        let text = endurance_text(&report);
        assert!(text.contains("+2000") && text.contains("LEAK"), "{text}");
        assert!(!text.contains("nothing leaked"), "{text}");
        let text = endurance_verdict(&report, 42);
        assert!(
            text.contains("kmalloc-64: 10 after the first round, 2010 at the end"),
            "{text}"
        );
        assert!(text.contains("--seed 42"), "{text}");
    }

    #[test]
    fn json_has_what_programs_look_for() {
        let value = serde_json::to_value(report(1)).unwrap();
        for key in [
            "rings",
            "rings_per_second",
            "deliveries",
            "coalesced",
            "dropped",
            "lost",
            "invented",
            "masks",
            "raises",
            "acks",
            "postponed",
            "resamples",
            "deferred",
            "longest_wait_ms",
            "assigns",
            "faults",
            "seconds",
            "seed",
        ] {
            assert!(value[key].is_number(), "{key}");
        }
        let line = &value["lines"][0];
        assert_eq!(line["kind"], "barrier");
        assert_eq!(
            (&line["rings"], &line["rings_difference"]),
            (&json!(100), &json!(-1))
        );
        assert_eq!(value["violations"][0]["rule"], "lost");
    }
}
