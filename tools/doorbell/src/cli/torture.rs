// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell torture`.

use crate::{measure::with_progress, positive, print};
use anyhow::bail;
use clap::Args;
use doorbell_tools::{
    output,
    torture::{self, Options, Report},
};
use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[derive(Args)]
#[command(after_help = "\
Threads ring lines by ioctl, by eventfd, by writes to the bus and from inside the kernel; mask,
unmask and clear them; raise, lower and ack level lines; assign and deassign irqfds, triggers,
notifiers, resamplefds and regions; wait for what is delivered; and look at all counters. Once a
second they pause, and the accounts are made up, to the last message:

  rings made       = rings the module counts = deliveries + coalesced + dropped
  deliveries       = signals that arrived at each trigger that was there all the time
  each ring        was followed by a delivery: producers number their rings, consumers look
  masks, unmasks   = signals that arrived at notifiers
  acks             = signals of each resamplefd, those postponed to the unmask included
                   = deliveries of a level line, less the one that is not acked yet
  writes taken     = rings, or signals of regions' eventfds, and those to be kept = records taken out

In the pause each level line is acked, masked, raised and lowered, too, and compared with a model after
each step: a level that is still raised after the ack is delivered again, and so is a source that
asserts the line again when its resamplefd is signalled.

Meanwhile: nothing is delivered on a masked line, and unmasking delivers what is pending, once;
nothing signals what has been deassigned; an eventfd is emptied when it becomes an irqfd; no counter
goes down; no message waits on a line that is not masked for longer than --longest-wait. What lines
are for:

  open        rung in all ways
  cleared     the same, and pending messages are dropped
  barrier     masked by one thread, which checks that the mask is a barrier
  source      its trigger is the irqfd of a line of another context
  relay       rung by the deliveries of another line
  semaphore   EFD_SEMAPHORE eventfds come and go as irqfds
  merging     ordinary eventfds come and go as irqfds
  prompt      never masked, and its triggers stay: only its own callback delivers what is pending
  ioctl       rung by ioctl only
  level       a level line: acked by several threads, with irqfds that have a resamplefd
  raised      the same, and its level is raised and lowered
  solo        one thread does everything to it and knows the result of each call
  solo-level  the same, a level line

A chain of 40 relays is rung, too. Its last messages are delivered by a worker thread.

If anything does not hold, it is reported with its line and numbers and the exit status is 1: then
the module has lost or invented a message, which hangs or confuses a guest. Please report it. The
same --seed makes each thread choose the same, but not in the same order as the others: repeat with
it, for longer, and with more --threads.

Examples:
  doorbell torture                            ten seconds
  doorbell torture --rings 10000000           as long as it takes
  doorbell torture --longest-wait 50          on a quiet machine with CPUs of its own
  doorbell torture --seed 42 --threads 32 --duration 600")]
pub struct Torture {
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    duration: f64,
    /// Until there were that many rings, however long that takes
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    rings: Option<u64>,
    /// Lines; a second context has more, for relays
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(i64::from(torture::MIN_LINES)..=1024))]
    lines: u32,
    /// Threads, over all CPUs, every other one pinned
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(torture::MIN_THREADS as u64..=64))]
    threads: u64,
    /// What the threads' choices depend on; different each time if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Fail if a message waits for longer than MS milliseconds on a line that is not masked
    ///
    /// A ring delivers at once, or leaves that to the line's holder, an interrupt or a worker thread.
    /// The time until then is measured by the guest's clock in the lab (DOORBELL_CLOCK), which stands
    /// still while the host keeps the guest waiting, otherwise by CLOCK_MONOTONIC. The longest wait
    /// that was seen is in the last lines, whatever the limit.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    longest_wait: u64,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn torture(device: &Path, args: &Torture) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let options = Options {
        device: device.to_owned(),
        duration: Duration::from_secs_f64(args.duration),
        rings: args.rings,
        lines: args.lines,
        threads: args.threads as usize,
        seed: args.seed.unwrap_or(u64::from(now.subsec_nanos())),
        longest_wait: Duration::from_millis(args.longest_wait),
    };
    let report = with_progress(|progress| torture::run(&options, progress))?;
    print(&match args.json {
        true => format!("{}\n", serde_json::to_string(&report)?),
        false => human(&report),
    })?;
    if report.violations.is_empty() {
        return Ok(());
    }
    bail!("{}", verdict(&report))
}

/// A number that is nothing to worry about, or has its sign.
fn signed(n: i64) -> String {
    match n {
        0 => "0".into(),
        n => format!("{n:+}"),
    }
}

fn human(report: &Report) -> String {
    let header = [
        "line",
        "kind",
        "rings",
        "deliveries",
        "coalesced",
        "dropped",
        "masks",
        "rings +-",
        "signals +-",
    ];
    let mut table = output::new_table(&header, 2);
    for line in &report.lines {
        table.add_row([
            format!("{}.{}", line.context, line.line),
            line.kind.name().to_owned(),
            line.rings.to_string(),
            line.deliveries.to_string(),
            line.coalesced.to_string(),
            line.dropped.to_string(),
            line.masks.to_string(),
            signed(line.balance.rings),
            signed(line.balance.signals),
        ]);
    }
    let total = |of: fn(&torture::Balance) -> i64| {
        signed(report.lines.iter().map(|line| of(&line.balance)).sum())
    };
    table.add_row([
        "all".into(),
        String::new(),
        report.rings.to_string(),
        report.deliveries.to_string(),
        report.coalesced.to_string(),
        report.dropped.to_string(),
        report.masks.to_string(),
        total(|balance| balance.rings),
        total(|balance| balance.signals),
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

/// Violations that are shown; the first ones tell most.
const SHOWN: usize = 12;

fn verdict(report: &Report) -> String {
    let mut text = String::from("this must not be:");
    for violation in report.violations.iter().take(SHOWN) {
        let _ = write!(text, "\n  {violation}");
    }
    if let Some(more) = report.violations.len().checked_sub(SHOWN + 1) {
        let _ = write!(text, "\n  and {} more", more + 1);
    }
    let _ = write!(
        text,
        "\nPlease report it. Again: --seed {} --threads {}",
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
    fn table_shows_what_is_missing() {
        let text = human(&report(0));
        let row = text.lines().find(|line| line.contains("barrier")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            cells,
            ["0.2", "barrier", "100", "60", "40", "0", "7", "-1", "0"],
            "{text}"
        );
        assert!(text.contains("lost 1, invented 0"), "{text}");
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
