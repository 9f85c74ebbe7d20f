// SPDX-License-Identifier: GPL-2.0-only

//! `kvm-rtt [WRITES]`: makes so many writes in each scenario. It prints as KTAP whether all of them
//! arrived, and their median time. Without a doorbell, scenarios that need one are skipped.

use anyhow::{Context as _, Result};
use doorbell::{Context, DEVICE};
use kvm_rtt::{Cpus, Scenario, Testbench, MOST_WRITES};
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

const HELP: &str = "\
Usage: kvm-rtt [WRITES]
Make WRITES writes in each scenario [default: 1000], print KTAP.";

/// Parses the number of writes from the command line.
fn parse_writes(text: &str) -> Result<u32> {
    let writes = text.parse::<u32>().ok();
    writes
        .filter(|writes| (1..=MOST_WRITES).contains(writes))
        .with_context(|| format!("WRITES is a number from 1 to {MOST_WRITES}, not '{text}'"))
}

fn run() -> Result<bool> {
    let writes = match env::args().nth(1).as_deref() {
        Some("-h" | "--help") => {
            println!("{HELP}");
            return Ok(true);
        }
        Some(text) => parse_writes(text)?,
        None => 1000,
    };
    let device = env::var_os("DOORBELL_DEVICE").unwrap_or(DEVICE.into());
    let doorbell = Context::open_path(PathBuf::from(device))
        .context("no doorbell (is the module loaded? modprobe doorbell)");
    let one_cpu = thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);

    println!("TAP version 13\n1..{}", Scenario::ALL.len());
    let no_kvm = !Path::new("/dev/kvm").exists();
    let skip = |scenario: Scenario| match &doorbell {
        _ if scenario.impossible().is_some() => scenario.impossible().map(str::to_owned),
        _ if no_kvm => Some("there is no /dev/kvm".into()),
        Err(error) if scenario.needs_doorbell() => Some(format!("{error:#}")),
        _ if scenario.is_for_two() && one_cpu => Some("there is one CPU".into()),
        _ => None,
    };
    let skipped = Scenario::ALL.map(skip);
    let scenarios: Vec<Scenario> = Scenario::ALL
        .into_iter()
        .zip(&skipped)
        .filter(|(_, reason)| reason.is_none())
        .map(|(scenario, _)| scenario)
        .collect();
    let mut bench = None;
    if !scenarios.is_empty() {
        bench = Some(Testbench::new(doorbell.ok(), &scenarios, Cpus::default())?);
        // The frequency of the TSC is measured over this time.
        thread::sleep(Duration::from_millis(200));
    }
    let mut passed = true;
    for (number, (scenario, skipped)) in (1..).zip(Scenario::ALL.into_iter().zip(skipped)) {
        let bench = match (&mut bench, skipped) {
            (Some(bench), None) => bench,
            (_, reason) => {
                println!(
                    "ok {number} {scenario} # SKIP {}",
                    reason.unwrap_or_default()
                );
                continue;
            }
        };
        match bench.run(scenario, writes) {
            Ok(mut run) => {
                run.ticks.sort_unstable();
                let median = run.ticks[run.ticks.len() / 2] as f64;
                println!("# {:.2} us", median * 1e6 / bench.tsc_hz()?);
                println!("ok {number} {scenario}: {writes} writes arrived");
            }
            Err(error) => {
                println!("# {error:#}");
                println!("not ok {number} {scenario}");
                passed = false;
            }
        }
    }
    Ok(passed)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kvm-rtt: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_writes_has_a_range() {
        assert_eq!(parse_writes("1").unwrap(), 1);
        let most = MOST_WRITES.to_string();
        assert_eq!(parse_writes(&most).unwrap(), MOST_WRITES);
        let more = (MOST_WRITES + 1).to_string();
        for text in ["0", &more, "-1", "--foo", ""] {
            let error = parse_writes(text).unwrap_err().to_string();
            let range = format!("WRITES is a number from 1 to {MOST_WRITES}, not '{text}'");
            assert_eq!(error, range);
        }
    }
}
