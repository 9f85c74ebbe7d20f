// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell ring`, `mask`, `unmask`, `clear`, `ack`, `raise` and `lower`.

use crate::{print, require_context, ContextArgs};
use clap::Args;
use doorbell::{uapi, AckOutcome, Context, LineSet, MaskReasons, RingOutcome};
use serde_json::json;
use std::str::FromStr;

#[derive(Args)]
pub struct RingArgs {
    /// Ring LINES: 3, 0-7, or 1,4,9-12
    #[arg(value_name = "LINES")]
    lines: LineListArg,
    #[command(flatten)]
    context: ContextArgs,
    /// Ring each line N times
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of the commands for several lines.
#[derive(Args)]
pub struct LinesArgs {
    /// Use LINES: 3, 0-7, or 1,4,9-12
    #[arg(value_name = "LINES")]
    lines: LineListArg,
    #[command(flatten)]
    context: ContextArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of the commands that mask and unmask lines.
#[derive(Args)]
pub struct MaskArgs {
    #[command(flatten)]
    lines: LinesArgs,
    /// Set, or end, REASONS: vector, function, pause, auto, or several with commas between them. A line
    /// is masked while it has at least one
    #[arg(long, value_name = "REASONS", default_value = "vector")]
    reasons: MaskReasons,
}

/// An operation on lines.
#[derive(Clone, Copy)]
pub enum LineOp {
    Mask(MaskReasons),
    Unmask(MaskReasons),
    Clear,
    Ack,
    Raise,
    Lower,
}

pub fn ring(args: &RingArgs) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let lines = &args.lines.0;
    match (lines.iter().next(), lines.count()) {
        (Some(line), 1) => ring_one(&context, line, args),
        _ => ring_many(&context, lines, args),
    }
}

/// Rings several lines, all in one system call.
fn ring_many(context: &Context, lines: &LineSet, args: &RingArgs) -> anyhow::Result<()> {
    let mut delivered = 0;
    for _ in 0..args.count {
        delivered += context.ring_lines(lines)?.count() as u64;
    }
    let others = args.count * lines.count() as u64 - delivered;
    if args.json {
        let numbers: Vec<_> = lines.iter().collect();
        let value = json!({ "lines": numbers, "delivered": delivered, "not_delivered": others });
        return print(&format!("{value}\n"));
    }
    print(&format!(
        "lines {}: {delivered} delivered, {others} coalesced or held by a mask\n",
        ranges(lines)
    ))
}

/// Rings one line.
fn ring_one(context: &Context, line: u32, args: &RingArgs) -> anyhow::Result<()> {
    let (mut delivered, mut masked) = (0u64, 0u64);
    for _ in 0..args.count {
        match context.ring(line)? {
            RingOutcome::Delivered => delivered += 1,
            RingOutcome::Masked => masked += 1,
            RingOutcome::Coalesced => {}
        }
    }
    let coalesced = args.count - delivered - masked;
    if args.json {
        let value = json!({
            "line": line,
            "delivered": delivered,
            "coalesced": coalesced,
            "masked": masked,
        });
        return print(&format!("{value}\n"));
    }
    let held = match masked {
        0 => "",
        _ => ", pending: the line is masked",
    };
    print(&format!(
        "line {line}: {delivered} delivered, {coalesced} coalesced{held}\n"
    ))
}

pub fn mask(args: &MaskArgs) -> anyhow::Result<()> {
    lines(LineOp::Mask(args.reasons), &args.lines)
}

pub fn unmask(args: &MaskArgs) -> anyhow::Result<()> {
    lines(LineOp::Unmask(args.reasons), &args.lines)
}

pub fn lines(op: LineOp, args: &LinesArgs) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let asked = &args.lines.0;
    let results = op.run(&context, asked)?;
    print(&match args.json {
        true => {
            let numbers = |lines: &LineSet| lines.iter().collect::<Vec<_>>();
            let mut value = json!({ "lines": numbers(asked) });
            for (result, lines) in &results {
                value[result.key] = numbers(lines).into();
            }
            format!("{value}\n")
        }
        false => op.say(asked, &results),
    })
}

/// A result of an operation that several lines can share.
struct Outcome {
    /// Its key in JSON.
    key: &'static str,
    /// Its text in the other output.
    text: &'static str,
}

const fn outcome(key: &'static str, text: &'static str) -> Outcome {
    Outcome { key, text }
}

impl LineOp {
    /// Applies the operation to the lines of `asked`, and groups them by outcome.
    fn run(self, context: &Context, asked: &LineSet) -> doorbell::Result<Vec<(Outcome, LineSet)>> {
        /// Returns each line of `asked` with its result of `f`.
        fn those<T>(
            asked: &LineSet,
            f: impl Fn(u32) -> doorbell::Result<T>,
        ) -> doorbell::Result<Vec<(u32, T)>> {
            asked.iter().map(|line| Ok((line, f(line)?))).collect()
        }
        fn only<T: PartialEq>(results: &[(u32, T)], what: T) -> LineSet {
            let these = results.iter().filter(|(_, result)| *result == what);
            these.map(|&(line, _)| line).collect()
        }
        let one = |key, text, lines| Ok(vec![(outcome(key, text), lines)]);
        match self {
            LineOp::Mask(reasons) => {
                one("masked", "masked", context.mask_lines_for(asked, reasons)?)
            }
            LineOp::Unmask(reasons) => {
                let delivered = context.unmask_lines_for(asked, reasons)?;
                let mut masked = Vec::new();
                for line in asked.iter().filter(|line| !delivered.contains(*line)) {
                    if context.query(line)?.masked {
                        masked.push(line);
                    }
                }
                Ok(vec![
                    (
                        outcome("delivered", "unmasked, message delivered"),
                        delivered,
                    ),
                    (
                        outcome("masked", "still masked, for another reason"),
                        masked.into_iter().collect(),
                    ),
                ])
            }
            LineOp::Clear => one("dropped", "message dropped", context.clear_lines(asked)?),
            LineOp::Lower => {
                let lines = only(&those(asked, |line| context.lower(line))?, true);
                one("withdrawn", "lowered, pending message withdrawn", lines)
            }
            LineOp::Raise => {
                let results = those(asked, |line| context.raise(line))?;
                Ok(vec![
                    (
                        outcome("delivered", "raised, delivered"),
                        only(&results, RingOutcome::Delivered),
                    ),
                    (
                        outcome("masked", "raised, pending: the line is masked"),
                        only(&results, RingOutcome::Masked),
                    ),
                ])
            }
            LineOp::Ack => {
                let results = those(asked, |line| context.ack(line))?;
                Ok(vec![
                    (outcome("acked", "acked"), only(&results, AckOutcome::Done)),
                    (
                        outcome("postponed", "acked; the unmask will signal the resamplefds"),
                        only(&results, AckOutcome::Postponed),
                    ),
                ])
            }
        }
    }

    /// Describes the lines that have no outcome of their own.
    fn otherwise(self) -> &'static str {
        match self {
            LineOp::Mask(_) => "masked already",
            LineOp::Unmask(_) => "unmasked, nothing was pending",
            LineOp::Clear => "nothing was pending",
            LineOp::Raise => "raised, nothing new to deliver",
            LineOp::Lower => "lowered",
            LineOp::Ack => "nothing to ack",
        }
    }

    /// Formats the outcomes, a line of text each.
    fn say(self, asked: &LineSet, results: &[(Outcome, LineSet)]) -> String {
        let told = |line: &u32| results.iter().any(|(_, lines)| lines.contains(*line));
        let rest: LineSet = asked.iter().filter(|line| !told(line)).collect();
        let results = results.iter().map(|(outcome, lines)| (outcome.text, lines));
        let mut out = String::new();
        for (text, lines) in results.chain([(self.otherwise(), &rest)]) {
            let plural = match lines.count() {
                0 => continue,
                1 => "",
                _ => "s",
            };
            out += &format!("line{plural} {}: {text}\n", ranges(lines));
        }
        out
    }
}

/// A list of lines on the command line: `3`, `0-7` or `1,4,9-12`.
#[derive(Clone, Debug)]
pub struct LineListArg(pub LineSet);

impl FromStr for LineListArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Result<u32, String> {
            let number = text
                .parse()
                .ok()
                .filter(|&line: &u32| line < uapi::MAX_LINES);
            number.ok_or(format!("{text:?} is no line: write 3, 0-7, or 1,4,9-12"))
        };
        let mut lines = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part}: the first line is behind the last"));
            }
            lines.extend(first..=last);
        }
        Ok(Self(lines.into_iter().collect()))
    }
}

/// Returns a letter for each mask reason.
pub fn mask_letters(reasons: MaskReasons) -> [(bool, char); 4] {
    [
        (MaskReasons::VECTOR, 'V'),
        (MaskReasons::FUNCTION, 'F'),
        (MaskReasons::PAUSE, 'P'),
        (MaskReasons::AUTO, 'A'),
    ]
    .map(|(reason, letter)| (reasons.contains(reason), letter))
}

/// Formats each bit as its letter or as a dash.
pub fn letters(bits: impl IntoIterator<Item = (bool, char)>) -> String {
    bits.into_iter()
        .map(|(set, letter)| if set { letter } else { '-' })
        .collect()
}

/// Formats lines as [`LineListArg`] parses them.
pub fn ranges(lines: &LineSet) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines.iter() {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => ranges.push((line, line)),
        }
    }
    let text: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    text.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> LineSet {
        text.parse::<LineListArg>().unwrap().0
    }

    #[test]
    fn lines_are_written_as_they_are_read() {
        for text in ["3", "0-7", "1,4,9-12", "0-65535"] {
            assert_eq!(ranges(&set(text)), text);
        }
        assert_eq!(ranges(&set("4,1,2-3,2")), "1-4");
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for bad in ["", "x", "1,", "1-", "-1", "7-3", "65536", "1-2-3", "0x1"] {
            assert!(bad.parse::<LineListArg>().is_err(), "{bad}");
        }
        let error = "7-3".parse::<LineListArg>().unwrap_err();
        assert!(error.contains("7-3"), "{error}");
    }

    #[test]
    fn answer_tells_lines_apart() {
        const VECTOR: MaskReasons = MaskReasons::VECTOR;
        let say = |op: LineOp, asked, results: &[(&'static str, &str)]| {
            let results: Vec<_> = results
                .iter()
                .map(|(text, lines)| match *lines {
                    "" => (outcome("", text), LineSet::range(0..0)),
                    lines => (outcome("", text), set(lines)),
                })
                .collect();
            op.say(&set(asked), &results)
        };
        assert_eq!(
            say(LineOp::Mask(VECTOR), "0-3,8", &[("masked", "0-1,8")]),
            "lines 0-1,8: masked\nlines 2-3: masked already\n"
        );
        assert_eq!(
            say(LineOp::Unmask(VECTOR), "5", &[("done", "5")]),
            "line 5: done\n"
        );
        assert_eq!(
            say(LineOp::Clear, "5", &[("", "")]),
            "line 5: nothing was pending\n"
        );
        assert_eq!(
            say(LineOp::Ack, "1-3", &[("acked", "2"), ("later", "3")]),
            "line 2: acked\nline 3: later\nline 1: nothing to ack\n"
        );
    }
}
