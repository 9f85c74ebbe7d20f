// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell doctor`.

use crate::print;
use anyhow::bail;
use clap::Args;
use doorbell_tools::{
    doctor::{self, Check, Host, Verdict},
    output,
};
use serde_json::json;
use std::path::Path;

#[derive(Args)]
#[command(after_help = "\
Looks, and changes nothing. Fails if something is missing; what is only advice does not count.

Examples:
  doorbell doctor                       what to do, and about what
  doorbell doctor --json | jq '.checks[] | select(.verdict != \"good\")'")]
pub struct Doctor {
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn doctor(device: &Path, args: &Doctor) -> anyhow::Result<()> {
    let checks = doctor::examine(&Host::this(), device);
    let missing = checks.iter().filter(|c| c.verdict == Verdict::Missing);
    let missing: Vec<&str> = missing.map(|check| check.what).collect();
    if args.json {
        let value = json!({ "missing": missing, "checks": checks });
        print(&format!("{value:#}\n"))?;
    } else {
        print(&human(&checks))?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("missing: {}", missing.join(", "))
}

fn human(checks: &[Check]) -> String {
    let mut table = output::new_table(&["", "", "found", "for"], 4);
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok",
            Verdict::Advice => "--",
            Verdict::Missing => "MISSING",
        };
        let used_for = match check.verdict {
            Verdict::Good => "",
            _ => check.used_for,
        };
        table.add_row([mark, check.what, &check.found, used_for]);
    }
    let mut text = format!("{table}\n");
    for check in checks {
        if let Some(advice) = &check.advice {
            text += &format!("\n{}: {advice}", check.what);
        }
    }
    text + "\n"
}
