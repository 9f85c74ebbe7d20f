// SPDX-License-Identifier: GPL-2.0-only

//! Rows with a guest, interleaved.

use super::{
    interrupted,
    kvm::{Counts, Facts, COUNTER},
    open_for, quantile,
    report::{compare, stolen, unsteady},
    Group, Options, Progress, Report, Round, Row, Source,
};
use crate::{
    conditions::{Conditions, Steal},
    machine::Placement,
    random::Random,
    sys,
};
use anyhow::ensure;
use doorbell::Context;
use hdrhistogram::Histogram;
use kvm_rtt::{Cpus, Testbench, MOST_WRITES};
use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// Number of unmeasured writes at the beginning of a turn. Other rows have filled the caches since
/// the last one, and CPUs may be idle.
const LEAD: u32 = 8;
/// Minimum number of measured writes of a turn.
const SHORTEST: u32 = 16;
/// Minimum number of rounds. Fewer say little about the differences between rounds.
const MIN_ROUNDS: u32 = 10;
/// Minimum time over which the frequency of the TSC is measured.
const CALIBRATION: Duration = Duration::from_millis(300);

/// Returns the number of writes in `round`, if `rounds` rounds share `count` writes.
fn share(count: u32, round: u32, rounds: u32) -> u32 {
    count / rounds + u32::from(round < count % rounds)
}

/// A row that is being measured.
struct Running {
    group: Group,
    row: kvm_rtt::Scenario,
    /// Estimated time of a write in ns; in ticks until the frequency of the TSC is known.
    estimate: f64,
    histogram: Histogram<u64>,
    rounds: Vec<Round>,
    steal: Duration,
    counts: Counts,
}

pub(super) fn group(row: kvm_rtt::Scenario) -> Group {
    match row {
        kvm_rtt::Scenario::Circle { other: true, .. } => Group::KvmTwo,
        kvm_rtt::Scenario::Circle { other: false, .. } => Group::KvmCircle,
        kvm_rtt::Scenario::Intx { .. } | kvm_rtt::Scenario::Level => Group::KvmIntx,
        _ => Group::KvmWrite,
    }
}

impl Running {
    fn new(row: kvm_rtt::Scenario) -> anyhow::Result<Self> {
        Ok(Self {
            group: group(row),
            row,
            estimate: f64::NAN,
            histogram: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            rounds: Vec::new(),
            steal: Duration::ZERO,
            counts: Counts {
                rings: row.needs_doorbell().then_some(0),
                exits: Some(0),
                ..Default::default()
            },
        })
    }

    /// Makes `n` measured writes, in runs that begin with [`LEAD`] unmeasured ones.
    fn turn(&mut self, bench: &mut Testbench, n: u32, ns_per_tick: f64) -> anyhow::Result<()> {
        let mut left = n;
        let mut times = Vec::new();
        while left > 0 {
            let n = left.min(MOST_WRITES - LEAD);
            left -= n;
            let run = bench.run(self.row, LEAD + n)?;
            for &ticks in &run.ticks[LEAD as usize..] {
                let ns = ticks as f64 * ns_per_tick;
                self.histogram.saturating_record(ns as u64);
                times.push(ns);
            }
            let counts = &mut self.counts;
            counts.writes += u64::from(LEAD + n);
            counts.rings = counts.rings.zip(run.rings).map(|(a, b)| a + b);
            counts.exits = counts.exits.zip(run.exits).map(|(a, b)| a + b);
            counts.returns += run.returns;
        }
        self.rounds
            .extend(Round::new(&mut times.clone(), &mut times));
        self.estimate = self.histogram.value_at_quantile(0.5) as f64;
        Ok(())
    }

    /// Returns the figures. The guest times each write by itself, so they need no batches.
    fn finish(self) -> (Row, Counts) {
        let at = |q| self.histogram.value_at_quantile(q) as f64;
        let (ns, quartiles) = (at(0.5), (at(0.25), at(0.75)));
        let row = Row {
            group: self.group,
            name: self.row.name(),
            ns,
            batches: self.histogram.len() as usize,
            quartiles,
            ratio: f64::NAN,
            histogram: self.histogram,
            directions: None,
            rounds: self.rounds,
            steal: self.steal,
        };
        (row, self.counts)
    }
}

fn full_name(row: kvm_rtt::Scenario) -> String {
    format!("{} {}", group(row).id(), row.name())
}

/// Returns true if `text` selects `row`. If `text` is a row's name, it selects rows of that name
/// only: some names are parts of others.
fn selects(text: &str, row: kvm_rtt::Scenario) -> bool {
    match kvm_rtt::Scenario::ALL.iter().any(|row| row.name() == text) {
        true => row.name() == text,
        false => full_name(row).contains(text),
    }
}

/// Returns the "group name" of each row that `filter` selects, and that this architecture can have.
pub(super) fn selected(filter: &[String]) -> anyhow::Result<Vec<String>> {
    let mut rows = choose(filter)?;
    rows.retain(|row| row.impossible().is_none());
    Ok(rows.into_iter().map(full_name).collect())
}

/// Returns the rows that `filter` selects.
pub(super) fn choose(filter: &[String]) -> anyhow::Result<Vec<kvm_rtt::Scenario>> {
    let all = kvm_rtt::Scenario::ALL;
    for text in filter {
        ensure!(
            all.iter().any(|&row| selects(text, row)),
            "no row with a guest has {text:?} in its name. There are:\n  {}",
            all.map(full_name).join("\n  ")
        );
    }
    let chosen = |row: &kvm_rtt::Scenario| {
        filter.is_empty() || filter.iter().any(|text| selects(text, *row))
    };
    Ok(all.into_iter().filter(chosen).collect())
}

/// Removes the rows that this architecture cannot have, and returns a sentence for each reason.
///
/// # Errors
///
/// Fails if then no row is left that a text in `filter` selects.
fn remove_impossible(
    rows: &mut Vec<kvm_rtt::Scenario>,
    filter: &[String],
    impossible: impl Fn(kvm_rtt::Scenario) -> Option<&'static str>,
) -> anyhow::Result<Vec<String>> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for text in filter {
        let mut selected = rows.iter().filter(|&&row| selects(text, row));
        let why = selected.clone().find_map(|&row| impossible(row));
        let left = selected.any(|&row| impossible(row).is_none());
        ensure!(left, "--filter {text}: {}", why.unwrap_or_default());
    }
    rows.retain(|&row| {
        let Some(why) = impossible(row) else {
            return true;
        };
        match reasons.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, names)) => names.push(row.name()),
            None => reasons.push((why, vec![row.name()])),
        }
        false
    });
    let sentence =
        |(why, names): (&str, Vec<&str>)| format!("not measured: {}: {why}", names.join(", "));
    Ok(reasons.into_iter().map(sentence).collect())
}

pub(super) fn run(
    options: &Options,
    count: Option<u32>,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    let cpus = sys::cpus()?;
    let conditions = Conditions::now(&cpus);
    let place = Placement::among(&cpus);
    let mut notes = Vec::new();
    let mut rows = choose(&options.rows)?;
    notes.extend(remove_impossible(&mut rows, &options.rows, |row| {
        row.impossible()
    })?);
    if place.other.is_none() && rows.iter().any(|row| row.is_for_two()) {
        rows.retain(|row| !row.is_for_two());
        notes.push(format!(
            "rows with two vCPUs: not measured, this process may use CPU {} only",
            place.first
        ));
    }
    ensure!(!rows.is_empty(), "{}", notes.join("\n"));
    if let Some(other) = place.other {
        let siblings = match place.siblings {
            true => ", which is a thread of the same core",
            false => "",
        };
        notes.push(format!(
            "the vCPU that writes is on CPU {}; the other one, and the threads of \
             circle-userspace and intx-userspace, on CPU {other}{siblings}",
            place.first
        ));
    }

    let (context, left_out) = open_for(
        &options.device,
        &mut rows,
        &options.rows,
        |row| row.needs_doorbell().then_some(row.name()),
        selects,
    )?;
    let doorbell = match context {
        Some(context) => Some(Context::from(context.as_fd().try_clone_to_owned()?)),
        None => None,
    };
    let cpus = Cpus {
        first: Some(place.first),
        other: place.other,
    };
    let mut bench = Testbench::new(doorbell, &rows, cpus)?;
    let mut running = rows
        .into_iter()
        .map(Running::new)
        .collect::<Result<Vec<_>, _>>()?;

    let rounds = options.rounds.min(count.unwrap_or(u32::MAX));
    let total = u64::from(rounds + 1) * running.len() as u64;
    let slot = options.time.div_f64(total as f64).as_nanos() as f64;
    let start = Instant::now();
    let mut done = 0;
    for row in &mut running {
        if options.stop.is_requested() {
            break;
        }
        let ticks = bench.run(row.row, LEAD + SHORTEST)?.ticks;
        let mut ticks: Vec<f64> = ticks.into_iter().map(|n| n as f64).collect();
        row.estimate = quantile(&mut ticks, 0.5);
        done += 1;
        progress("warming up", done, total);
    }
    std::thread::sleep(CALIBRATION.saturating_sub(start.elapsed()));
    let tsc_hz = bench.tsc_hz()?;
    let ns_per_tick = 1e9 / tsc_hz;
    for row in &mut running {
        row.estimate *= ns_per_tick;
    }

    let mut order: Vec<usize> = (0..running.len()).collect();
    let mut random = Random::new(0);
    let measured: Vec<usize> = [Some(place.first), place.other]
        .into_iter()
        .flatten()
        .collect();
    let mut steal = Steal::new(&measured);
    let mut round = 0;
    'rounds: while round < rounds {
        let late = start.elapsed() > options.time.mul_f64(1.4);
        if count.is_none() && round >= MIN_ROUNDS && late {
            notes.push(format!(
                "stopped after {round} of {rounds} rounds: the machine is busy, or --duration is too \
                 short"
            ));
            break;
        }
        random.shuffle(&mut order);
        for &at in &order {
            if options.stop.is_requested() {
                break 'rounds;
            }
            let row = &mut running[at];
            let n = match count {
                Some(count) => share(count, round, rounds),
                None => ((slot / row.estimate) as u32).clamp(SHORTEST, MOST_WRITES - LEAD),
            };
            row.turn(&mut bench, n, ns_per_tick)?;
            row.steal += steal.since();
            done += 1;
            progress("measuring", done, total);
        }
        round += 1;
    }
    let partial = options.stop.is_requested();
    if partial {
        running.retain(|row| !row.histogram.is_empty());
        notes.push(interrupted(round, rounds));
        ensure!(!running.is_empty(), "interrupted before the first round");
    }
    let drift = bench.tsc_hz()? / tsc_hz;
    if (drift - 1.0).abs() > 0.005 {
        notes.push(format!(
            "the frequency of the guest's {COUNTER} is not constant: at the end it is {drift:.4} \
             times that at the beginning"
        ));
    }

    let (mut rows, counts): (Vec<Row>, Vec<Counts>) =
        running.into_iter().map(Running::finish).unzip();
    compare(&mut rows);
    notes.extend(unsteady(&rows));
    notes.extend(stolen(&rows));
    Ok(Report {
        rows,
        left_out,
        notes,
        rounds: round,
        conditions,
        partial,
        source: Source::Kvm(Facts {
            module: module(),
            tsc_hz,
            tsc_khz: bench.tsc_khz(),
            rows: counts,
        }),
    })
}

fn module() -> &'static str {
    let loaded = |name: &&str| std::path::Path::new("/sys/module").join(name).exists();
    ["kvm_amd", "kvm_intel"]
        .into_iter()
        .find(loaded)
        .unwrap_or("kvm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Stop;

    #[test]
    fn shares_add_up() {
        for (count, rounds) in [(1, 1), (7, 3), (1000, 40), (40, 40)] {
            let all: u32 = (0..rounds).map(|round| share(count, round, rounds)).sum();
            assert_eq!(all, count);
        }
    }

    #[test]
    fn doorbell_rows_need_the_device() {
        let options = Options {
            time: Duration::from_secs(1),
            rounds: 1,
            lines: 1,
            fill: false,
            rows: vec!["ioeventfd-mmio".into()],
            device: "/nonexistent".into(),
            rate: None,
            legs: false,
            stop: Stop::default(),
        };
        let error = run(&options, Some(1), &mut |_, _, _| {}).unwrap_err();
        assert!(error.to_string().contains("modprobe doorbell"), "{error}");
    }

    #[test]
    fn rows_without_a_line_remain() {
        let left = |filter: &[&str]| {
            let filter: Vec<String> = filter.iter().map(ToString::to_string).collect();
            let mut rows = choose(&filter).unwrap();
            let needs = |row: kvm_rtt::Scenario| row.needs_doorbell().then_some(row.name());
            let device = "/nonexistent".as_ref();
            open_for(device, &mut rows, &filter, needs, selects)?;
            Ok(rows.iter().map(|row| row.name()).collect::<Vec<_>>())
        };
        let circles = ["circle-direct", "circle-userspace"];
        let all = [&["hypercall"][..], &circles, &circles].concat();
        assert_eq!(left(&[]).unwrap(), all);
        assert_eq!(left(&["kvm-circle"]).unwrap(), circles);
        let error: anyhow::Error = left(&["hypercall", "circle-doorbell"]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--filter circle-doorbell: open"),
            "{error}"
        );
    }

    #[test]
    fn impossible_rows_are_named() {
        let some = |filter: &[&str]| {
            let filter: Vec<String> = filter.iter().map(ToString::to_string).collect();
            let mut rows = choose(&filter).unwrap();
            let impossible = |row: kvm_rtt::Scenario| match row.name() {
                "userspace-pio" | "ioeventfd-pio" => Some("there are no ports"),
                "level-doorbell" => Some("there are no pins"),
                _ => None,
            };
            remove_impossible(&mut rows, &filter, impossible).map(|why| (rows.len(), why))
        };
        let (rows, why) = some(&[]).unwrap();
        assert_eq!(rows, kvm_rtt::Scenario::ALL.len() - 3);
        let expected = [
            "not measured: userspace-pio, ioeventfd-pio: there are no ports",
            "not measured: level-doorbell: there are no pins",
        ];
        assert_eq!(why, expected);
        assert_eq!(some(&["hypercall"]).unwrap(), (1, vec![]));
        let error = some(&["hypercall", "userspace-pio"]).unwrap_err();
        let expected = "--filter userspace-pio: there are no ports";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn filter_takes_names_and_groups() {
        let chosen = |text: &str| choose(&[text.to_owned()]).unwrap().len();
        assert_eq!(chosen("ioeventfd"), 3);
        assert_eq!(chosen("ioeventfd-mmio"), 1, "that is a row's name");
        assert_eq!(chosen("kvm-write"), 6);
        assert_eq!(chosen("two-vcpus"), 3);
        assert_eq!(chosen("circle-doorbell"), 2);
        let error = choose(&["pipe".into()]).unwrap_err().to_string();
        assert!(error.contains("kvm-circle circle-direct"), "{error}");
    }
}
