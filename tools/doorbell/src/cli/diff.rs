// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell diff`.

use crate::{conclude, print, Exit};
use clap::Args;
use doorbell_tools::{
    diff::{diff, Saved, Verdict},
    explain, output,
};
use std::path::PathBuf;

pub const HELP: &str = "\
A and B are what 'doorbell rtt --json' has printed, before and after a change.
The samples are the rounds of each row. A row is worse if it takes longer by
more than the threshold, and a Mann-Whitney U test says that this is not chance:
over all rows, chance makes one of 100 comparisons worse or better.

Two runs differ by more than chance within a run, for example by the placement
of memory. Compare two runs without a change to learn how much.

Exit status:
  0  no row is worse
  1  a row is worse; standard error names the rows
  2  wrong arguments, or the files cannot be compared

Examples:
  doorbell rtt --json >before.json
  doorbell rtt --json >after.json       after the change
  doorbell diff before.json after.json
  doorbell diff --threshold 5% --json before.json after.json";

#[derive(Args)]
pub struct DiffArgs {
    /// Compare with the result in the file A
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Compare the result in the file B
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Ignore changes up to PERCENT
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = percent)]
    threshold: f64,
    /// Compare results of different kernels, CPUs, measurements or schema versions
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses a percentage, and returns the share.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    number
        .ok()
        .filter(|percent| (0.0..=1000.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "write 2% or 0.5%; the maximum is 1000%".into())
}

/// The exit status if a row is worse.
const WORSE: u8 = 1;
/// The exit status if there is no comparison, as of diff(1).
const TROUBLE: u8 = 2;

pub fn run(args: &DiffArgs) -> anyhow::Result<()> {
    let compared = Saved::read(&args.a, args.force).and_then(|a| {
        let b = Saved::read(&args.b, args.force)?;
        diff(&a, &b, args.threshold, args.force)
    });
    let diff = compared.map_err(|error| Exit {
        status: TROUBLE,
        text: explain(error.as_ref()),
    })?;
    let printed = print(&match args.json {
        true => output::json::pretty(&serde_json::to_value(&diff)?),
        false => {
            let names = [&args.a, &args.b].map(|path| path.display().to_string());
            output::diff::human(&diff, [&names[0], &names[1]])
        }
    });
    let worse = diff.rows.iter().filter(|row| row.verdict == Verdict::Worse);
    let worse: Vec<String> = worse
        .map(|row| format!("{} {}: {}", row.group, row.name, row.figure))
        .collect();
    let verdict = match worse.is_empty() {
        true => Ok(()),
        false => Err(Exit {
            status: WORSE,
            text: format!("worse: {}", worse.join(", ")),
        }),
    };
    conclude(printed, verdict.map_err(Into::into))
}
