// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell top`.

use crate::{
    context_args::ContextArgs,
    duration,
    lines::{letters, mask_letters, LineListArg},
    print,
    screen::Redraw,
    wide_table,
};
use anyhow::ensure;
use clap::Args;
use doorbell::{LineStatus, StatusPages};
use doorbell_tools::{output::printable, process, sys};
use serde_json::{json, Map, Value};
use std::{
    collections::BTreeMap,
    io::IsTerminal,
    os::fd::AsFd,
    time::{Duration, Instant},
};

pub const HELP: &str = "\
Without a context it shows all contexts of all processes, from /proc. With one
it shows the context's lines, from its status page. The busiest come first. It
changes nothing. On a terminal the table refreshes itself; otherwise one table
follows the other.

Columns, per second:
  rings/s    requests to send a message
  deliv/s    deliveries
  coal/s     rings that joined another ring's message
  defer/s    deliveries by the worker of the context
  acks/s     acks of level lines

Column 'state' of lines:
  VFPA----  masked by the vector, by the function, by a pause, by itself
  ----p---  a message is pending
  -----a--  a level line is asserted
  ------m-  automask: masks itself when it delivers
  -------i  moderated: delivers once in an interval at most

Examples:
  doorbell top                       all contexts
  doorbell top --pid 1234            the lines of a running VMM
  doorbell top --pid 1234 --lines 0-3 --interval 5s --count 12 --json";

#[derive(Args)]
pub struct Top {
    #[command(flatten)]
    context: ContextArgs,
    /// Show LINES only: 3, 0-7, or 1,4,9-12
    #[arg(long, value_name = "LINES")]
    lines: Option<LineListArg>,
    /// Measure for DURATION before each table
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// Stop after DURATION
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Stop after N tables
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Show N rows at most
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    rows: u32,
    /// Print a JSON object per context or line that was active
    #[arg(long)]
    json: bool,
}

/// Identity of a row: a line, or a context with one of its descriptors.
type Key = (u64, u64);

/// Counters of a row at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    /// The cells before the rates.
    labels: Vec<String>,
    /// The same in JSON.
    fields: Map<String, Value>,
    /// Rings, deliveries, coalesced rings, deliveries by the worker, acks.
    counts: [u64; 5],
}

/// Names of the counts in JSON.
const COUNTS: [&str; 5] = ["rings", "deliveries", "coalesced", "deferred", "acks"];

/// The source of the samples.
enum Source {
    /// The contexts of all processes.
    Contexts,
    /// The lines of one context.
    Lines(StatusPages, Vec<u32>),
}

fn labelled<const N: usize>(fields: [(&str, Value); N]) -> (Vec<String>, Map<String, Value>) {
    let label = |value: &Value| match value {
        // The name of another user's process.
        Value::String(text) => printable(text),
        other => other.to_string(),
    };
    let labels = fields.iter().map(|(_, value)| label(value)).collect();
    let fields = fields.into_iter();
    (
        labels,
        fields.map(|(name, value)| (name.into(), value)).collect(),
    )
}

impl Source {
    fn header(&self) -> Vec<&'static str> {
        let mut header = match self {
            Source::Contexts => vec!["pid", "command", "ctx"],
            Source::Lines(..) => vec!["line", "state"],
        };
        header.extend(["rings/s", "deliv/s", "coal/s", "defer/s", "acks/s"]);
        header
    }

    fn sample(&self) -> anyhow::Result<BTreeMap<Key, Sample>> {
        match self {
            Source::Contexts => contexts(),
            Source::Lines(status, lines) => Ok(lines
                .iter()
                .map(|&line| ((u64::from(line), 0), line_sample(line, &status.line(line))))
                .collect()),
        }
    }
}

fn contexts() -> anyhow::Result<BTreeMap<Key, Sample>> {
    let mut samples = BTreeMap::new();
    for open in process::processes()?.contexts {
        let counters = open.counters;
        let (labels, fields) = labelled([
            ("pid", open.pid.into()),
            ("comm", open.comm.into()),
            ("context", counters.context.into()),
        ]);
        let sample = Sample {
            labels,
            fields,
            counts: [
                counters.rings,
                counters.deliveries,
                counters.coalesced(),
                counters.deferred,
                counters.acks,
            ],
        };
        // Several descriptors of one context in a process are one row.
        samples.insert((u64::from(open.pid), counters.context), sample);
    }
    Ok(samples)
}

/// Formats the bits of a line's state as one word.
pub fn state_letters(status: &LineStatus) -> String {
    let rest = [
        (status.pending, 'p'),
        (status.asserted, 'a'),
        (status.automask, 'm'),
        (status.moderated, 'i'),
    ];
    letters(mask_letters(status.reasons).into_iter().chain(rest))
}

fn line_sample(line: u32, status: &LineStatus) -> Sample {
    let state = state_letters(status);
    let (labels, fields) = labelled([("line", line.into()), ("state", state.into())]);
    Sample {
        labels,
        fields,
        counts: [
            status.rings(),
            status.deliveries,
            status.coalesced,
            status.deferred,
            status.acks,
        ],
    }
}

/// A row of the table: labels, and rates per second.
struct Row<'a> {
    sample: &'a Sample,
    rates: [f64; 5],
}

/// Returns the rows in the order of their rings, the busiest first. A context that is new has rates
/// from the next table on.
fn rows<'a>(
    before: &BTreeMap<Key, Sample>,
    now: &'a BTreeMap<Key, Sample>,
    seconds: f64,
) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'_>> = now
        .iter()
        .map(|(key, sample)| {
            let old = before.get(key).unwrap_or(sample);
            let rate = |at: usize| {
                // The sums of a busy context are not of one moment, so one can decrease.
                sample.counts[at].saturating_sub(old.counts[at]) as f64 / seconds
            };
            Row {
                sample,
                rates: std::array::from_fn(rate),
            }
        })
        .collect();
    // Stable: rows of equal rates stay in their order.
    rows.sort_by(|a, b| b.rates[0].total_cmp(&a.rates[0]));
    rows
}

/// Formats a rate in at most seven characters.
fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".into(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate if rate < 999_999.5 => format!("{rate:.0}"),
        rate if rate < 9.995e8 => format!("{:.2}M", rate / 1e6),
        rate => format!("{:.2}G", rate / 1e9),
    }
}

fn table(header: &[&str], rows: &[Row<'_>]) -> comfy_table::Table {
    let mut table = wide_table(header, header.len() - COUNTS.len());
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    for row in rows {
        let mut cells = row.sample.labels.clone();
        cells.extend(row.rates.map(rate));
        table.add_row(cells);
    }
    table
}

fn json_lines(rows: &[Row<'_>], at: Duration) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.rates != [0.0; 5]) {
        let mut value = row.sample.fields.clone();
        value.insert("seconds".into(), json!(at.as_secs_f64()));
        for ((name, rate), count) in COUNTS.iter().zip(row.rates).zip(row.sample.counts) {
            value.insert((*name).into(), json!(count));
            value.insert(format!("{name}_per_second"), json!(rate));
        }
        text += &format!("{}\n", Value::Object(value));
    }
    text
}

pub fn top(args: &Top) -> anyhow::Result<()> {
    let source = match args.context.context()? {
        None => {
            ensure!(
                args.lines.is_none(),
                "--lines needs a context: choose one by --pid, --socket or --fd"
            );
            Source::Contexts
        }
        Some(context) => {
            let nr_lines = context.info()?.nr_lines;
            ensure!(
                nr_lines > 0,
                "the context has no lines yet: its owner has to call DOORBELL_SET_LINES first"
            );
            let lines: Vec<u32> = match &args.lines {
                Some(lines) => lines.0.iter().collect(),
                None => (0..nr_lines).collect(),
            };
            if let Some(line) = lines.iter().find(|&&line| line >= nr_lines) {
                anyhow::bail!(
                    "there is no line {line}: the context has the lines 0 to {}",
                    nr_lines - 1
                );
            }
            Source::Lines(context.map_status()?, lines)
        }
    };
    let end = sys::termination()?;
    let terminal = !args.json && std::io::stdout().is_terminal();
    let mut redraw = Redraw::default();
    let start = Instant::now();
    let until = args.duration.map(|duration| start + duration);
    let (mut last, mut before) = (start, source.sample()?);
    let mut shown = 0;
    while args.count.is_none_or(|count| shown < count) {
        let next = last + args.interval;
        let wake = until.map_or(next, |until| until.min(next));
        let left = wake.saturating_duration_since(Instant::now());
        if !sys::wait_readable(&[end.as_fd()], Some(left))?.is_empty() {
            break;
        }
        let time = Instant::now();
        if time < wake {
            continue;
        }
        let now = source.sample()?;
        let all = rows(&before, &now, (time - last).as_secs_f64());
        let busiest = &all[..all.len().min(args.rows as usize)];
        if args.json {
            print(&json_lines(&all, time - start))?;
        } else {
            let rest = match all.len() - busiest.len() {
                0 => String::new(),
                n => format!("; {n} more"),
            };
            let hint = if terminal { "; Ctrl-C stops it" } else { "" };
            let text = format!(
                "{:.1} s{rest}{hint}\n{}\n",
                (time - start).as_secs_f64(),
                table(&source.header(), busiest)
            );
            if terminal {
                redraw.draw(&text)?;
            } else {
                print(&text)?;
            }
        }
        shown += 1;
        (last, before) = (time, now);
        if until.is_some_and(|until| time >= until) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rings: u64) -> LineStatus {
        LineStatus {
            deliveries: rings,
            ..LineStatus::default()
        }
    }

    fn samples(lines: &[(u32, u64)]) -> BTreeMap<Key, Sample> {
        let sample =
            |&(line, rings): &(u32, u64)| ((u64::from(line), 0), line_sample(line, &at(rings)));
        lines.iter().map(sample).collect()
    }

    #[test]
    fn busiest_rows_come_first_with_their_rates() {
        let before = samples(&[(0, 5), (1, 100), (2, 0)]);
        let now = samples(&[(0, 6), (1, 120), (2, 0), (3, 70)]);
        let rows = rows(&before, &now, 2.0);
        let labels: Vec<&str> = rows
            .iter()
            .map(|row| row.sample.labels[0].as_str())
            .collect();
        assert_eq!(labels, ["1", "0", "2", "3"]);
        assert_eq!(rows[0].rates[..2], [10.0, 10.0]);
        // The new one has no rate yet, and a sum that decreased has none.
        assert_eq!(rows[3].rates[0], 0.0);
        assert_eq!(super::rows(&now, &before, 1.0)[0].rates[0], 0.0);
    }

    #[test]
    fn text_of_another_user_is_escaped_in_tables_only() {
        let comm = "a\x1b[2J";
        let (labels, fields) = labelled([("comm", comm.into())]);
        assert_eq!(labels, ["a\\u{1b}[2J"]);
        assert_eq!(fields["comm"], comm);
    }

    #[test]
    fn rates_are_short() {
        for (n, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (12.34, "12"),
            (999_999.0, "999999"),
            (1_234_567.0, "1.23M"),
            (2.5e9, "2.50G"),
        ] {
            assert_eq!(rate(n), text);
        }
    }

    #[test]
    fn table_fits_a_terminal() {
        let sample = Sample {
            labels: ["4194304", "qemu-system-x86", "12345"]
                .map(Into::into)
                .into(),
            ..Sample::default()
        };
        let row = Row {
            sample: &sample,
            rates: [999_999.0; 5],
        };
        let text = table(&Source::Contexts.header(), &[row]).to_string();
        let widest = text
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(widest <= Some(80), "{text}");
    }

    #[test]
    fn json_has_active_rows_only() {
        let before = samples(&[(0, 5), (1, 100)]);
        let now = samples(&[(0, 5), (1, 120)]);
        let text = json_lines(&rows(&before, &now, 2.0), Duration::from_secs(2));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["line"], 1);
        assert_eq!(value["rings"], 120);
        assert_eq!(value["rings_per_second"], 10.0);
    }
}
