// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell ring`, `mask`, `unmask` and `clear`: what can be done to lines of somebody's context.

use crate::{print, Which};
use anyhow::Context as _;
use clap::Args;
use doorbell::{uapi, Context, Lines, Ring};
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
}

fn whose(which: &Which) -> anyhow::Result<Context> {
    which.context()?.context(
        "whose line? A context is private: get it with --socket PATH from a 'doorbell watch \
         --socket PATH', or inherit it with --fd N",
    )
}

pub fn ring(args: &RingArgs) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let (line, mut delivered, mut masked) = (args.line, 0u64, 0u64);
    for _ in 0..args.count {
        match context.ring(line)? {
            Ring::Delivered => delivered += 1,
            Ring::Masked => masked += 1,
            Ring::Coalesced => {}
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
    let result = match what {
        Do::Mask => context.mask_lines(asked),
        Do::Unmask => context.unmask_lines(asked),
        Do::Clear => context.clear_lines(asked),
    }?;
    print(&match args.json {
        true => {
            let numbers = |lines: &Lines| lines.iter().collect::<Vec<_>>();
            let value = json!({ "lines": numbers(asked), what.key(): numbers(&result) });
            format!("{value}\n")
        }
        false => what.say(asked, &result),
    })
}

impl Do {
    /// What to call the lines that the call counts, for programs.
    fn key(self) -> &'static str {
        match self {
            Do::Mask => "masked",
            Do::Unmask => "delivered",
            Do::Clear => "dropped",
        }
    }

    fn say(self, asked: &Lines, result: &Lines) -> String {
        let rest: Lines = asked
            .iter()
            .filter(|&line| !result.contains(line))
            .collect();
        let (yes, no) = match self {
            Do::Mask => ("masked", "masked already"),
            Do::Unmask => (
                "unmasked, message delivered",
                "unmasked, nothing was pending",
            ),
            Do::Clear => ("message dropped", "nothing was pending"),
        };
        let mut out = String::new();
        for (lines, text) in [(result, yes), (&rest, no)] {
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
struct Set(Lines);

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
fn ranges(lines: &Lines) -> String {
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

    fn set(text: &str) -> Lines {
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
        let asked = set("0-3,8");
        assert_eq!(
            Do::Mask.say(&asked, &set("0-1,8")),
            "lines 0-1,8: masked\nlines 2-3: masked already\n"
        );
        assert_eq!(
            Do::Unmask.say(&set("5"), &set("5")),
            "line 5: unmasked, message delivered\n"
        );
        assert_eq!(
            Do::Clear.say(&set("5"), &[].into_iter().collect()),
            "line 5: nothing was pending\n"
        );
    }
}
