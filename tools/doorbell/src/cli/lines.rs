// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell ring`, `mask`, `ack` and so on: what can be done to lines of somebody's context.

use crate::{print, Which};
use anyhow::Context as _;
use clap::Args;
use doorbell::{uapi, AckOutcome, Context, LineSet, RingOutcome};
use serde_json::json;
use std::str::FromStr;

#[derive(Args)]
pub struct RingArgs {
    /// The line
    line: u32,
    #[command(flatten)]
    which: Which,
    /// How often
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// Arguments of the commands for several lines
#[derive(Args)]
pub struct LinesArgs {
    /// The lines: 3, 0-7, or 1,4,9-12
    lines: Set,
    #[command(flatten)]
    which: Which,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// What to do to lines.
#[derive(Clone, Copy)]
pub enum Do {
    Mask,
    Unmask,
    Clear,
    Ack,
    Raise,
    Lower,
}

pub fn whose(which: &Which) -> anyhow::Result<Context> {
    which.context()?.context(
        "whose? A context is private: get it with --socket PATH from a 'doorbell watch \
         --socket PATH', or inherit it with --fd N",
    )
}

pub fn ring(args: &RingArgs) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let (line, mut delivered, mut masked) = (args.line, 0u64, 0u64);
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
        _ => ", held: the line is masked",
    };
    print(&format!(
        "line {line}: {delivered} delivered, {coalesced} coalesced{held}\n"
    ))
}

pub fn lines(what: Do, args: &LinesArgs) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let asked = &args.lines.0;
    let results = what.run(&context, asked)?;
    print(&match args.json {
        true => {
            let numbers = |lines: &LineSet| lines.iter().collect::<Vec<_>>();
            let mut value = json!({ "lines": numbers(asked) });
            for (result, lines) in &results {
                value[result.key] = numbers(lines).into();
            }
            format!("{value}\n")
        }
        false => what.say(asked, &results),
    })
}

/// What became of some of the lines.
struct Outcome {
    /// What to call them, for programs.
    key: &'static str,
    /// For people.
    text: &'static str,
}

const fn outcome(key: &'static str, text: &'static str) -> Outcome {
    Outcome { key, text }
}

impl Do {
    fn run(self, context: &Context, asked: &LineSet) -> doorbell::Result<Vec<(Outcome, LineSet)>> {
        /// Those of `asked` for which `f` says so.
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
            Do::Mask => one("masked", "masked", context.mask_lines(asked)?),
            Do::Unmask => one(
                "delivered",
                "unmasked, message delivered",
                context.unmask_lines(asked)?,
            ),
            Do::Clear => one("dropped", "message dropped", context.clear_lines(asked)?),
            Do::Lower => {
                let lines = only(&those(asked, |line| context.lower(line))?, true);
                one("withdrawn", "lowered, message taken back", lines)
            }
            Do::Raise => {
                let results = those(asked, |line| context.raise(line))?;
                Ok(vec![
                    (
                        outcome("delivered", "raised, delivered"),
                        only(&results, RingOutcome::Delivered),
                    ),
                    (
                        outcome("masked", "raised, held: the line is masked"),
                        only(&results, RingOutcome::Masked),
                    ),
                ])
            }
            Do::Ack => {
                let results = those(asked, |line| context.ack(line))?;
                Ok(vec![
                    (outcome("acked", "acked"), only(&results, AckOutcome::Done)),
                    (
                        outcome("postponed", "acked; its sources are told at the unmask"),
                        only(&results, AckOutcome::Postponed),
                    ),
                ])
            }
        }
    }

    /// What is to be said of all other lines.
    fn otherwise(self) -> &'static str {
        match self {
            Do::Mask => "masked already",
            Do::Unmask => "unmasked, nothing was pending",
            Do::Clear => "nothing was pending",
            Do::Raise => "raised; nothing new to deliver",
            Do::Lower => "lowered",
            Do::Ack => "nothing to ack",
        }
    }

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

/// Lines as somebody writes them.
#[derive(Clone, Debug)]
pub struct Set(pub LineSet);

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Result<u32, String> {
            let number = text
                .parse()
                .ok()
                .filter(|&line: &u32| line < uapi::MAX_LINES);
            number.ok_or(format!("{text:?} is no line; write 3, 0-7, or 1,4,9-12"))
        };
        let mut lines = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part}: the first is behind the last"));
            }
            lines.extend(first..=last);
        }
        Ok(Self(lines.into_iter().collect()))
    }
}

/// The opposite.
fn ranges(lines: &LineSet) -> String {
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
        text.parse::<Set>().unwrap().0
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
            assert!(bad.parse::<Set>().is_err(), "{bad}");
        }
        let error = "7-3".parse::<Set>().unwrap_err();
        assert!(error.contains("7-3"), "{error}");
    }

    #[test]
    fn answer_tells_lines_apart() {
        let say = |what: Do, asked, results: &[(&'static str, &str)]| {
            let results: Vec<_> = results
                .iter()
                .map(|(text, lines)| match *lines {
                    "" => (outcome("", text), LineSet::range(0..0)),
                    lines => (outcome("", text), set(lines)),
                })
                .collect();
            what.say(&set(asked), &results)
        };
        assert_eq!(
            say(Do::Mask, "0-3,8", &[("masked", "0-1,8")]),
            "lines 0-1,8: masked\nlines 2-3: masked already\n"
        );
        assert_eq!(say(Do::Unmask, "5", &[("done", "5")]), "line 5: done\n");
        assert_eq!(
            say(Do::Clear, "5", &[("", "")]),
            "line 5: nothing was pending\n"
        );
        assert_eq!(
            say(Do::Ack, "1-3", &[("acked", "2"), ("later", "3")]),
            "line 2: acked\nline 3: later\nline 1: nothing to ack\n"
        );
    }
}
