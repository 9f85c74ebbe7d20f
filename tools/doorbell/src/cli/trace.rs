// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell trace`.

use crate::{
    context_args::contexts_of, duration, lines::LineListArg, print, screen::Redraw, wide_table,
};
use anyhow::bail;
use clap::Args;
use doorbell_tools::{
    output::us,
    sys,
    tracefs::{
        legs::{Leg, LineTimes, Times},
        Instance,
    },
};
use hdrhistogram::Histogram;
use serde_json::json;
use std::{
    io::IsTerminal,
    os::fd::AsFd,
    time::{Duration, Instant},
};

pub const HELP: &str = "\
It enables the module's trace events in an instance of tracefs of its own, which
it removes at the end, also after Ctrl-C. Other users of tracefs are not
disturbed. While it runs, each event costs the traced processes some 100 ns, and
the buffers take 16 MiB of kernel memory per CPU: 256 MiB at most, or 1 MiB per
CPU on more than 256 CPUs.

Legs:
  ring-deliver    from a ring until the first trigger is signalled
  relay-deliver   the part of it from the queueing of the irq_work
  defer-deliver   the part of it from the deferral to the context's worker
  held-deliver    from a ring until its delivery, if a mask held it
  deliver-take    from a delivery until a waiter of the line has consumed
                  it (DOORBELL_WAIT); this includes the wake-up
  mask-unmask     the time for which the line was masked; for a line that
                  masks itself this is the time of its handler

If an eventfd is the trigger, the time until its reader runs is not part of a
leg: no event of the module shows when that thread reads it. Trace it with the
event sched:sched_waking.

Times are in microseconds. On a terminal the table refreshes itself every
second; otherwise it is printed at the end.

Examples:
  doorbell trace --duration 10s               all lines of all contexts
  doorbell trace --pid 1234 --line 2          one line of a running VMM
  doorbell trace --context 5 --duration 1m --json";

#[derive(Args)]
pub struct Trace {
    /// Trace the contexts of process PID only
    #[arg(long, value_name = "PID", conflicts_with = "context", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Trace context N only, 'ctx' of 'doorbell ps'; can be repeated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Vec<u32>,
    /// Trace LINES only: 3, 0-7, or 1,4,9-12
    #[arg(long, value_name = "LINES")]
    line: Option<LineListArg>,
    /// Stop after DURATION
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Print a JSON object per line and leg at the end
    #[arg(long)]
    json: bool,
}

/// The period at which the buffers are read.
const EVERY: Duration = Duration::from_millis(100);

/// The period at which the table is refreshed.
const REFRESH: Duration = Duration::from_secs(1);

/// The maximum of rows of a table that refreshes itself.
const ROWS: usize = 20;

/// The percentiles that are printed.
const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Returns the numbers of the chosen contexts; none for all.
fn chosen_contexts(args: &Trace) -> anyhow::Result<Vec<u32>> {
    let Some(pid) = args.pid else {
        return Ok(args.context.clone());
    };
    let mut contexts: Vec<u32> = contexts_of(pid)?
        .iter()
        .map(|open| open.counters.context as u32)
        .filter(|&context| context != 0)
        .collect();
    contexts.sort_unstable();
    contexts.dedup();
    if contexts.is_empty() {
        bail!("the contexts of process {pid} have no lines yet: it has to call DOORBELL_SET_LINES first");
    }
    Ok(contexts)
}

/// Returns the filter by which the kernel records the events of `contexts` only.
fn filter(contexts: &[u32]) -> String {
    let terms: Vec<String> = contexts.iter().map(|n| format!("ctx == {n}")).collect();
    terms.join(" || ")
}

pub fn trace(args: &Trace) -> anyhow::Result<()> {
    let contexts = chosen_contexts(args)?;
    // From here on a signal ends the loop, and the instance is removed.
    let end = sys::termination()?;
    let mut instance = Instance::new(&filter(&contexts))?;
    let terminal = !args.json && std::io::stdout().is_terminal();
    if !terminal {
        let until = match args.duration {
            Some(duration) => format!(" for {}", humantime::format_duration(duration)),
            None => "; Ctrl-C ends it".into(),
        };
        doorbell_tools::note!("tracing{until}");
    }
    let start = Instant::now();
    let until = args.duration.map(|duration| start + duration);
    let mut redraw = Redraw::default();
    let (mut times, mut events, mut drawn) = (Times::default(), Vec::new(), start);
    loop {
        let left = until.map_or(EVERY, |until| {
            until.saturating_duration_since(Instant::now()).min(EVERY)
        });
        let stop = !sys::wait_readable(&[end.as_fd()], Some(left))?.is_empty()
            || until.is_some_and(|until| Instant::now() >= until);
        instance.drain(&mut events)?;
        if let Some(lines) = &args.line {
            events.retain(|event| lines.0.contains(event.line));
        }
        times.add(&mut events);
        if stop {
            break;
        }
        if terminal && drawn.elapsed() >= REFRESH {
            drawn = Instant::now();
            redraw.draw(&text(&times, start.elapsed(), Some(ROWS)))?;
        }
    }
    let lost = instance.lost()?;
    let elapsed = start.elapsed();
    drop(instance);
    times.finish();
    if args.json {
        print(&json_lines(&times))?;
    } else if terminal {
        redraw.draw(&text(&times, elapsed, None))?;
    } else {
        print(&text(&times, elapsed, None))?;
    }
    if lost != 0 {
        doorbell_tools::note!(
            "{lost} events did not fit into the buffer, so times can be wrong
  trace fewer lines: --pid, --context, --line"
        );
    }
    if times.lines.is_empty() {
        doorbell_tools::note!("there was no event; 'doorbell ps' lists the contexts");
    }
    Ok(())
}

/// Returns the lines with a leg, and each leg's times.
fn rows(times: &Times) -> Vec<(u32, u32, Leg, &Histogram<u64>)> {
    let mut rows = Vec::new();
    for (&(context, line), LineTimes { legs, .. }) in &times.lines {
        rows.extend(
            legs.iter()
                .map(|(&leg, histogram)| (context, line, leg, histogram)),
        );
    }
    rows
}

/// Formats the table, of the `max` rows with the most messages at most.
fn text(times: &Times, elapsed: Duration, max: Option<usize>) -> String {
    let mut rows = rows(times);
    let all = rows.len();
    if let Some(max) = max.filter(|&max| max < all) {
        rows.sort_by_key(|(.., histogram)| std::cmp::Reverse(histogram.len()));
        rows.truncate(max);
        rows.sort_by_key(|&(context, line, leg, _)| (context, line, leg));
    }
    let sum = |f: fn(&LineTimes) -> u64| times.lines.values().map(f).sum::<u64>();
    let rest = match all - rows.len() {
        0 => String::new(),
        n => format!("; {n} more rows at the end"),
    };
    let hint = if max.is_some() {
        "; Ctrl-C stops it"
    } else {
        ""
    };
    let mut text = format!(
        "{:.1} s: {} rings, {} coalesced, {} deliveries{rest}{hint}\n",
        elapsed.as_secs_f64(),
        sum(|line| line.rings),
        sum(|line| line.coalesced),
        sum(|line| line.deliveries),
    );
    if !rows.is_empty() {
        text += &format!("{}\n", table(&rows));
    }
    text
}

fn table(rows: &[(u32, u32, Leg, &Histogram<u64>)]) -> comfy_table::Table {
    let mut header = vec!["ctx", "line", "leg, us", "count", "min"];
    header.extend(PERCENTILES.map(|(name, _)| name));
    header.push("max");
    let mut table = wide_table(&header, 0);
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for (context, line, leg, histogram) in rows {
        let mut cells = vec![
            context.to_string(),
            line.to_string(),
            leg.name().to_owned(),
            histogram.len().to_string(),
            us(histogram.min() as f64),
        ];
        cells.extend(PERCENTILES.map(|(_, at)| us(histogram.value_at_percentile(at) as f64)));
        cells.push(us(histogram.max() as f64));
        table.add_row(cells);
    }
    table
}

fn json_lines(times: &Times) -> String {
    let mut text = String::new();
    for (&(context, line), counts) in &times.lines {
        let value = json!({
            "context": context,
            "line": line,
            "rings": counts.rings,
            "coalesced": counts.coalesced,
            "deliveries": counts.deliveries,
        });
        text += &format!("{value}\n");
    }
    for (context, line, leg, histogram) in rows(times) {
        let mut value = json!({
            "context": context,
            "line": line,
            "leg": leg.name(),
            "count": histogram.len(),
            "min_ns": histogram.min(),
            "mean_ns": histogram.mean(),
            "max_ns": histogram.max(),
        });
        for (name, at) in PERCENTILES {
            value[format!("{name}_ns")] = histogram.value_at_percentile(at).into();
        }
        text += &format!("{value}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell_tools::tracefs::{Event, Kind, Outcome};

    fn times(lines: u32) -> Times {
        let mut times = Times::default();
        let mut events = Vec::new();
        for line in 0..lines {
            for (ns, kind) in [(100, Kind::Ring(Outcome::Message)), (1600, Kind::Deliver)] {
                events.push(Event {
                    ns,
                    context: 12_345,
                    line: 65_000 + line,
                    kind,
                });
            }
        }
        times.add(&mut events);
        times.finish();
        times
    }

    #[test]
    fn table_fits_a_terminal() {
        let text = text(&times(1), Duration::from_secs(100_000), Some(ROWS));
        let widest = text
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(widest <= Some(80), "{text}");
        let row = text.lines().last().unwrap();
        assert!(text.contains("ring-deliver"), "{text}");
        assert!(text.contains("1.50"), "{row}: {text}");
    }

    #[test]
    fn of_many_rows_some_are_shown_until_the_end() {
        let times = times(30);
        let live = text(&times, Duration::ZERO, Some(ROWS));
        assert!(live.contains("10 more rows"), "{live}");
        assert_eq!(live.matches("ring-deliver").count(), ROWS);
        assert_eq!(
            text(&times, Duration::ZERO, None)
                .matches("ring-deliver")
                .count(),
            30
        );
    }

    #[test]
    fn json_has_counts_and_legs() {
        let text = json_lines(&times(1));
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["rings"], 1);
        assert_eq!(lines[1]["leg"], "ring-deliver");
        assert_eq!(lines[1]["max_ns"], 1500);
    }

    #[test]
    fn filter_names_the_contexts() {
        assert_eq!(filter(&[]), "");
        assert_eq!(filter(&[5, 7]), "ctx == 5 || ctx == 7");
    }
}
