// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell moderate`.

use crate::{
    duration,
    lines::{ranges, LineListArg},
    print, require_context, ContextArgs,
};
use clap::Args;
use doorbell::{uapi, LineSet, Moderation};
use serde_json::{json, Value};
use std::time::Duration;

pub const HELP: &str = "\
A moderated line delivers the first ring at once, and then holds rings until the
interval has ended. So the last ring waits for one interval at most. With
--max-count the line delivers as soon as it holds N rings. Each change delivers
the message that a line holds. Without an option the command shows the limits.

Examples:
  doorbell moderate 0-7 --min-interval 50us --socket /tmp/d
  doorbell moderate 3 --min-interval 1ms --max-count 32 --pid 1234
  doorbell moderate 3 --pid 1234             show the limits
  doorbell moderate 0-7 --off --socket /tmp/d";

#[derive(Args)]
pub struct Moderate {
    /// Moderate LINES: 3, 0-7, or 1,4,9-12
    #[arg(value_name = "LINES")]
    lines: LineListArg,
    #[command(flatten)]
    context: ContextArgs,
    /// Deliver at most one message in DURATION: 1us to 1s
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    min_interval: Option<Duration>,
    /// Deliver at once when the line holds N rings
    #[arg(long, value_name = "N", requires = "min_interval", value_parser = clap::value_parser!(u32).range(1..))]
    max_count: Option<u32>,
    /// End the moderation
    #[arg(long, conflicts_with = "min_interval")]
    off: bool,
    /// Print a JSON object per line
    #[arg(long)]
    json: bool,
}

/// Parses an interval that the module accepts.
fn interval(text: &str) -> Result<Duration, String> {
    let range = uapi::MIN_INTERVAL.into()..=uapi::MAX_INTERVAL.into();
    duration(text)
        .ok()
        .filter(|interval| range.contains(&interval.as_nanos()))
        .ok_or_else(|| "write 50us or 1ms; the minimum is 1us, the maximum 1s".into())
}

pub fn moderate(args: &Moderate) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let moderation = args.min_interval.map(|min_interval| Moderation {
        min_interval,
        max_count: args.max_count,
    });
    if moderation.is_some() || args.off {
        for line in args.lines.0.iter() {
            context.moderate(line, moderation)?;
        }
    }
    let limits = args
        .lines
        .0
        .iter()
        .map(|line| Ok((line, context.moderation(line)?)))
        .collect::<doorbell::Result<Vec<_>>>()?;
    if !args.json {
        return print(&text(&limits));
    }
    for (line, moderation) in &limits {
        let mut value = json(moderation.as_ref());
        value["line"] = (*line).into();
        print(&format!("{value}\n"))?;
    }
    Ok(())
}

/// Returns the limits in JSON. A limit that a line does not have is null.
pub fn json(moderation: Option<&Moderation>) -> Value {
    json!({
        "min_interval_ns": moderation.map(|limits| limits.min_interval.as_nanos() as u64),
        "max_count": moderation.and_then(|limits| limits.max_count),
    })
}

/// Describes the limits of one line.
pub fn describe(moderation: Option<&Moderation>) -> String {
    let Some(limits) = moderation else {
        return "none".into();
    };
    let interval = humantime::format_duration(limits.min_interval);
    match limits.max_count {
        None => format!("one delivery in {interval}"),
        Some(count) => format!("one delivery in {interval}, or for {count} held rings"),
    }
}

/// Formats the limits, a line of text for lines that have the same.
fn text(limits: &[(u32, Option<Moderation>)]) -> String {
    let mut groups: Vec<(Option<Moderation>, Vec<u32>)> = Vec::new();
    for &(line, moderation) in limits {
        match groups.iter_mut().find(|(other, _)| *other == moderation) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((moderation, vec![line])),
        }
    }
    let mut out = String::new();
    for (moderation, lines) in groups {
        let plural = if lines.len() == 1 { "" } else { "s" };
        let lines: LineSet = lines.into_iter().collect();
        let limits = describe(moderation.as_ref());
        out += &format!("line{plural} {}: {limits}\n", ranges(&lines));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_module() {
        assert_eq!(interval("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(interval("1us"), Ok(Duration::from_micros(1)));
        assert_eq!(interval("1"), Ok(Duration::from_secs(1)));
        for bad in ["0", "999ns", "2s", "1000000001ns", "x", ""] {
            let error = interval(bad).unwrap_err();
            assert!(error.contains("1us"), "{bad}: {error}");
        }
    }

    #[test]
    fn lines_with_the_same_limits_share_a_line() {
        let fast = Some(Moderation {
            min_interval: Duration::from_micros(50),
            max_count: Some(32),
        });
        let slow = Some(Moderation {
            min_interval: Duration::from_millis(1),
            max_count: None,
        });
        assert_eq!(
            text(&[(0, fast), (1, slow), (2, fast), (3, None)]),
            "lines 0,2: one delivery in 50us, or for 32 held rings\n\
             line 1: one delivery in 1ms\n\
             line 3: none\n"
        );
    }

    #[test]
    fn json_has_no_limit_as_null() {
        let limits = Moderation {
            min_interval: Duration::from_micros(50),
            max_count: None,
        };
        let value = json(Some(&limits));
        assert_eq!(value["min_interval_ns"], 50_000);
        assert!(value["max_count"].is_null());
        assert!(json(None)["min_interval_ns"].is_null());
    }
}
