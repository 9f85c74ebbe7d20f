// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell report`.

use crate::{conclude, duration, print, progress::with_progress, qemu::Qemu};
use anyhow::Context as _;
use clap::Args;
use doorbell_tools::{
    doctor::{self, Check, Host, Verdict},
    explain,
    machine::Machine,
    output::html::{page, Page, Part},
    rtt::{self, kvm, qemu, Options, Progress},
    stop::Stop,
};
use serde_json::{json, Value};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

pub const HELP: &str = "\
The page is one file without references to others. If something cannot be
measured without the module, KVM or QEMU, the page has the reason instead;
'doorbell doctor' has advice. The exit status is 1 only if a measurement fails
that has begun.

Examples:
  doorbell report                     write doorbell-report.html
  doorbell report --duration 60s a.html";

#[derive(Args)]
pub struct ReportArgs {
    /// Write the page to FILE
    #[arg(value_name = "FILE", default_value = "doorbell-report.html")]
    file: PathBuf,
    /// Run each measurement but QEMU's for about DURATION
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Print JSON: the file, and for each measurement whether it was made
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    qemu: Qemu,
}

/// Measures, unless one of the checks named in `needs` has found something missing.
fn part(
    title: &'static str,
    command: &'static str,
    checks: &[Check],
    needs: &[&str],
    measure: impl FnOnce(Progress<'_>) -> anyhow::Result<rtt::Report>,
) -> (Part, Option<anyhow::Error>) {
    let lacks = checks
        .iter()
        .find(|check| check.verdict == Verdict::Missing && needs.contains(&check.what));
    let (result, error) = match lacks {
        Some(Check { what, found, .. }) => (Err(format!("{what}: {found}")), None),
        None => match with_progress(measure) {
            Ok(report) => (Ok(report), None),
            Err(error) => (Err(explain(error.as_ref())), Some(error.context(command))),
        },
    };
    let part = Part {
        title,
        command,
        result,
    };
    (part, error)
}

pub fn report(device: &Path, args: &ReportArgs) -> anyhow::Result<()> {
    let path = args.file.display();
    // Fails before minutes of measuring; an old page keeps its content until then.
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let mut file = options
        .open(&args.file)
        .with_context(|| format!("create {path}"))?;
    let checks = doctor::examine(&Host::this(), device);
    let options = Options {
        time: args.duration,
        rounds: 40,
        lines: 1,
        fill: false,
        rows: Vec::new(),
        device: device.to_owned(),
        rate: None,
        legs: false,
        stop: Stop::default(),
    };
    let all = [
        part(
            "Between threads",
            "doorbell rtt",
            &checks,
            &[],
            |progress| rtt::run(&options, progress),
        ),
        part(
            "From a guest of a small VMM",
            "doorbell rtt kvm",
            &checks,
            &["KVM"],
            |progress| kvm::run(&options, None, progress),
        ),
        part(
            "From guests of an unmodified QEMU",
            "doorbell rtt qemu",
            &checks,
            &["device", "KVM", "QEMU"],
            |progress| qemu::run(&args.qemu.options(device, Stop::default()), progress),
        ),
    ];
    let (parts, errors): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let when = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let page = page(&Page {
        machine: &Machine::this(),
        when: &when,
        parts: &parts,
        checks: &checks,
    });
    file.set_len(0)
        .and_then(|()| file.write_all(page.as_bytes()))
        .with_context(|| format!("write {path}"))?;
    let printed = print(&match args.json {
        true => format!("{:#}\n", summary(&args.file, &parts)),
        false => format!("{path}\n"),
    });
    for (part, error) in parts.iter().zip(errors) {
        match (&part.result, error) {
            // The page has the error, too.
            (_, Some(error)) => return conclude(printed, Err(error)),
            (Err(why), None) => doorbell_tools::note!("{}: not measured: {why}", part.command),
            (Ok(report), None) => {
                if let Some(left_out) = &report.left_out {
                    doorbell_tools::note!("{}: {left_out}", part.command);
                }
            }
        }
    }
    printed
}

/// Describes a page for programs: its file, and the measurements that it has.
fn summary(file: &Path, parts: &[Part]) -> Value {
    let parts: Vec<Value> = parts
        .iter()
        .map(|part| match &part.result {
            Ok(report) => json!({
                "command": part.command,
                "rows": report.rows.len(),
                "left_out": report.left_out,
            }),
            Err(why) => json!({ "command": part.command, "not_measured": why }),
        })
        .collect();
    json!({ "file": file, "parts": parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_has_the_reason_of_what_is_missing() {
        let part = Part {
            title: "From a guest",
            command: "doorbell rtt kvm",
            result: Err("KVM: gone".into()),
        };
        let value = summary(Path::new("/x.html"), &[part]);
        assert_eq!(value["file"], "/x.html");
        assert_eq!(value["parts"][0]["command"], "doorbell rtt kvm");
        assert_eq!(value["parts"][0]["not_measured"], "KVM: gone");
    }
}
