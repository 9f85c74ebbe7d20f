// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell report`.

use crate::{measure::with_progress, positive, qemu::Qemu};
use anyhow::Context as _;
use clap::Args;
use doorbell_tools::{
    doctor::{self, Check, Host, Verdict},
    explain,
    machine::Machine,
    output::html::{page, Page, Part},
    rtt::{self, kvm, qemu, Options, Progress},
};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

#[derive(Args)]
#[command(after_help = "\
The page refers to nothing outside of itself: send it to whoever asks what a notification costs on
your machine. What cannot be measured here, without the module or without KVM, is in it with the reason;
'doorbell doctor' says more. Fails only if a measurement fails that was begun.

Examples:
  doorbell report                          everything, to doorbell-report.html
  doorbell report --time 60 host.html      longer, for steadier figures")]
pub struct ReportArgs {
    /// Where to write the page
    #[arg(default_value = "doorbell-report.html")]
    file: PathBuf,
    /// Measure each table but QEMU's for about that many seconds
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    time: f64,
    #[command(flatten)]
    qemu: Qemu,
}

/// Measures, unless one of the checks called `needs` says that it cannot be done.
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
    // Not after minutes of measuring; but what was there is kept until then.
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let mut file = options
        .open(&args.file)
        .with_context(|| format!("create {path}"))?;
    let checks = doctor::examine(&Host::this(), device);
    let options = Options {
        time: Duration::from_secs_f64(args.time),
        rounds: 40,
        lines: 1,
        fill: false,
        rows: Vec::new(),
        device: device.to_owned(),
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
            "doorbell rtt --kvm",
            &checks,
            &["KVM"],
            |progress| kvm::run(&options, None, progress),
        ),
        part(
            "From guests of an unmodified QEMU",
            "doorbell rtt --qemu",
            &checks,
            &["device", "KVM", "QEMU"],
            |progress| qemu::run(&args.qemu.options(device), progress),
        ),
    ];
    let (parts, errors): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let when = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let page = page(&Page {
        machine: &Machine::this(),
        when: &when,
        parts: &parts,
        checks: &checks,
    })?;
    file.set_len(0)
        .and_then(|()| file.write_all(page.as_bytes()))
        .with_context(|| format!("write {path}"))?;
    crate::print(&format!("{path}\n"))?;
    for (part, error) in parts.iter().zip(errors) {
        match (&part.result, error) {
            // It is in the page, too.
            (_, Some(error)) => return Err(error),
            (Err(why), None) => eprintln!("doorbell: {}: not measured: {why}", part.command),
            (Ok(report), None) => {
                if let Some(left_out) = &report.left_out {
                    eprintln!("doorbell: {}: {left_out}", part.command);
                }
            }
        }
    }
    Ok(())
}
