// SPDX-License-Identifier: GPL-2.0-only

//! `kvm-rtt [WRITES]`: makes the guest write WRITES times in each row. Prints as KTAP that each
//! write arrived, and the median time. Without a doorbell, skips the rows that need it.

use anyhow::{ensure, Context as _, Result};
use doorbell::{Context, DEVICE};
use kvm_rtt::{Cpus, Rig, Row, MOST_WRITES};
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

fn run() -> Result<bool> {
    let writes: u32 = match env::args().nth(1) {
        Some(text) => text.parse().context("usage: kvm-rtt [WRITES]")?,
        None => 1000,
    };
    ensure!(
        (1..=MOST_WRITES).contains(&writes),
        "1 to {MOST_WRITES} writes"
    );
    let device = env::var_os("DOORBELL_DEVICE").unwrap_or(DEVICE.into());
    let doorbell = Context::open_path(PathBuf::from(device))
        .context("no doorbell (is the module loaded? modprobe doorbell)");
    let one_cpu = thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);

    println!("TAP version 13\n1..{}", Row::ALL.len());
    let no_kvm = !Path::new("/dev/kvm").exists();
    let skip = |row: Row| match &doorbell {
        _ if no_kvm => Some("there is no /dev/kvm".into()),
        Err(error) if row.needs_doorbell() => Some(format!("{error:#}")),
        _ if row.is_for_two() && one_cpu => Some("there is one CPU".into()),
        _ => None,
    };
    let skipped = Row::ALL.map(skip);
    let rows: Vec<Row> = Row::ALL
        .into_iter()
        .zip(&skipped)
        .filter(|(_, reason)| reason.is_none())
        .map(|(row, _)| row)
        .collect();
    let mut rig = None;
    if !rows.is_empty() {
        rig = Some(Rig::new(doorbell.ok(), &rows, Cpus::default())?);
        // The frequency of the TSC is measured over this time.
        thread::sleep(Duration::from_millis(200));
    }
    let mut passed = true;
    for (number, (row, skipped)) in (1..).zip(Row::ALL.into_iter().zip(skipped)) {
        let rig = match (&mut rig, skipped) {
            (Some(rig), None) => rig,
            (_, reason) => {
                println!("ok {number} {row} # SKIP {}", reason.unwrap_or_default());
                continue;
            }
        };
        match rig.run(row, writes) {
            Ok(mut run) => {
                run.ticks.sort_unstable();
                let median = run.ticks[run.ticks.len() / 2] as f64;
                println!("# {:.2} us", median * 1e6 / rig.tsc_hz()?);
                println!("ok {number} {row}: {writes} writes arrived");
            }
            Err(error) => {
                println!("# {error:#}");
                println!("not ok {number} {row}");
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
