// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell doctor`.

use crate::{conclude, print};
use anyhow::anyhow;
use clap::Args;
use comfy_table::ContentArrangement;
use doorbell_tools::{
    doctor::{self, Check, Host, Verdict},
    output,
};
use serde_json::json;
use std::path::Path;

pub const HELP: &str = "\
Changes nothing. The exit status is 1 if a requirement is missing; advice does
not count.

Examples:
  doorbell doctor
  doorbell doctor --json | jq '.checks[] | select(.verdict != \"good\")'";

#[derive(Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn doctor(device: &Path, args: &Doctor) -> anyhow::Result<()> {
    let checks = doctor::examine(&Host::this(), device);
    let missing = checks.iter().filter(|c| c.verdict == Verdict::Missing);
    let missing: Vec<&str> = missing.map(|check| check.what).collect();
    let printed = if args.json {
        let value = json!({ "missing": missing, "checks": checks });
        print(&format!("{value:#}\n"))
    } else {
        print(&human(&checks))
    };
    let verdict = match missing.is_empty() {
        true => Ok(()),
        false => Err(anyhow!("missing: {}", missing.join(", "))),
    };
    conclude(printed, verdict)
}

/// Formats the checks as a table, followed by the advice.
fn human(checks: &[Check]) -> String {
    let mut table = output::new_table(&["", "", "found", "for"], 4);
    // Findings are of any length.
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(80);
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
