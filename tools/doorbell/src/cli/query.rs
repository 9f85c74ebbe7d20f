// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell query`.

use crate::{
    lines::{letters, mask_letters, LineListArg},
    moderate, print, require_context, wide_table, ContextArgs,
};
use anyhow::ensure;
use clap::Args;
use doorbell::{LineQuery, Moderation};

pub const HELP: &str = "\
It changes nothing and delivers nothing. The numbers of a line are as of one
moment. One line is printed as a list, several lines as a table.

Column 'state' of the table:
  V-----------  masked: its own mask, that of a vector
  -F----------  masked: the mask of the function
  --P---------  masked: the virtual machine is paused
  ---A--------  masked: by itself, until its handler has ended
  ----p-------  a message is pending
  -----l------  a level line
  ------a-----  asserted: delivered and not acked yet
  -------r----  its level is raised
  --------s---  the unmask will signal the resamplefds
  ---------m--  automask: masks itself when it delivers
  ----------i-  moderated: delivers once in an interval at most
  -----------w  its trigger is its waiters (DOORBELL_WAIT)
Other columns: rings that coalesced, messages that were dropped, irqfds with a
resamplefd, triggers, notifiers. The list of one line and --json also show
whether a trigger counts the rings (DOORBELL_TRIGGER_FLAG_COUNT).

Examples:
  doorbell query 2 --pid 1234         look at a line of a running VMM
  doorbell query --pid 1234           look at all its lines
  doorbell query 0-7 --json --fd 5";

#[derive(Args)]
pub struct Query {
    /// Query LINES: 3, 0-7, or 1,4,9-12; all lines if not given
    #[arg(value_name = "LINES")]
    lines: Option<LineListArg>,
    #[command(flatten)]
    context: ContextArgs,
    /// Print a JSON object per line
    #[arg(long)]
    json: bool,
}

pub fn query(args: &Query) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let lines: Vec<u32> = match &args.lines {
        Some(lines) => lines.0.iter().collect(),
        None => {
            let nr_lines = context.info()?.nr_lines;
            ensure!(
                nr_lines > 0,
                "the context has no lines yet: its owner has to call DOORBELL_SET_LINES first"
            );
            (0..nr_lines).collect()
        }
    };
    let queries = lines
        .iter()
        .map(|&line| context.query(line))
        .collect::<doorbell::Result<Vec<_>>>()?;
    // Most lines have no limits to read.
    let moderation = |query: &LineQuery| match query.moderated {
        true => context.moderation(query.line),
        false => Ok(None),
    };
    if args.json {
        for query in &queries {
            print(&format!("{}\n", json(query, moderation(query)?.as_ref())?))?;
        }
        return Ok(());
    }
    match &queries[..] {
        [one] if args.lines.is_some() => print(&list(one, moderation(one)?.as_ref())),
        all => print(&format!("{}\n", table(all))),
    }
}

fn json(query: &LineQuery, moderation: Option<&Moderation>) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(query)?;
    if query.moderated {
        value["moderation"] = moderate::json(moderation);
    }
    value["coalesced"] = query.coalesced().into();
    Ok(value)
}

/// Describes one line.
fn list(query: &LineQuery, moderation: Option<&Moderation>) -> String {
    let masked = format!("masked ({})", query.reasons);
    let words = [
        (query.masked, masked.as_str()),
        (query.pending, "a message is pending"),
        (query.asserted, "asserted: not acked yet"),
        (query.raised, "raised"),
        (query.resample, "the unmask will signal the resamplefds"),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
        .collect();
    let state = match words.is_empty() {
        true => "idle".to_owned(),
        false => words.join(", "),
    };
    let rows = [
        ("type", line_type(query).into()),
        ("state", state),
        ("moderation", moderate::describe(moderation)),
        ("rings", query.rings.to_string()),
        (
            "deliveries",
            format!("{}, {} by the worker", query.deliveries, query.deferred),
        ),
        ("coalesced", query.coalesced().to_string()),
        ("dropped", query.dropped.to_string()),
        ("acks", query.acks.to_string()),
        (
            "irqfds",
            format!("{}, {} with a resamplefd", query.irqfds, query.resamplefds),
        ),
        (
            "of these",
            format!("{} unmaskfds, {} ackfds", query.unmaskfds, query.ackfds),
        ),
        (
            "triggers",
            match (query.waiters, query.counts) {
                (true, _) => "the waiters".into(),
                (_, true) => format!("{}, and some count the rings", query.triggers),
                _ => query.triggers.to_string(),
            },
        ),
        ("notifiers", query.notifiers.to_string()),
    ];
    let mut text = format!("line {}\n", query.line);
    for (name, value) in rows {
        text += &format!("  {name:11} {value}\n");
    }
    text
}

fn table(queries: &[LineQuery]) -> comfy_table::Table {
    let header = [
        "line",
        "state",
        "rings",
        "delivered",
        "coal",
        "drop",
        "irqfds",
        "res",
        "trig",
        "notif",
    ];
    let mut table = wide_table(&header, 0);
    for query in queries {
        table.add_row([
            query.line.to_string(),
            state(query),
            query.rings.to_string(),
            query.deliveries.to_string(),
            query.coalesced().to_string(),
            query.dropped.to_string(),
            query.irqfds.to_string(),
            query.resamplefds.to_string(),
            query.triggers.to_string(),
            query.notifiers.to_string(),
        ]);
    }
    table
}

fn line_type(query: &LineQuery) -> &'static str {
    match (query.level, query.automask) {
        (false, false) => "edge",
        (false, true) => "edge, masks itself when it delivers",
        (true, false) => "level",
        (true, true) => "level, masks itself when it delivers",
    }
}

/// Formats the bits of a line's state as one word.
fn state(query: &LineQuery) -> String {
    let rest = [
        (query.pending, 'p'),
        (query.level, 'l'),
        (query.asserted, 'a'),
        (query.raised, 'r'),
        (query.resample, 's'),
        (query.automask, 'm'),
        (query.moderated, 'i'),
        (query.waiters, 'w'),
    ];
    letters(mask_letters(query.reasons).into_iter().chain(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::MaskReasons;

    fn held() -> LineQuery {
        LineQuery {
            line: 2,
            pending: true,
            masked: true,
            reasons: MaskReasons::VECTOR | MaskReasons::PAUSE,
            rings: 14,
            deliveries: 7,
            dropped: 4,
            triggers: 1,
            unmaskfds: 1,
            ..LineQuery::default()
        }
    }

    #[test]
    fn list_has_the_whole_state() {
        let text = list(&held(), None);
        for part in [
            "line 2\n",
            "type        edge",
            "state       masked (vector,pause), a message is pending",
            "moderation  none",
            "coalesced   2",
            "of these    1 unmaskfds, 0 ackfds",
            "triggers    1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(list(&LineQuery::default(), None).contains("state       idle"));
        let automask = LineQuery {
            automask: true,
            level: true,
            ..held()
        };
        let counts = LineQuery {
            counts: true,
            ..held()
        };
        assert!(list(&counts, None).contains("triggers    1, and some count the rings"));
        assert!(list(&automask, None).contains("type        level, masks itself"));
        assert_eq!(state(&automask), "V-P-pl---m--");
        let limits = Moderation {
            min_interval: std::time::Duration::from_micros(50),
            max_count: None,
        };
        let moderated = LineQuery {
            moderated: true,
            ..held()
        };
        assert!(list(&moderated, Some(&limits)).contains("moderation  one delivery in 50us"));
        assert_eq!(state(&moderated), "V-P-p-----i-");
        let value = json(&moderated, Some(&limits)).unwrap();
        assert_eq!(value["moderation"]["min_interval_ns"], 50_000);
        let waited = LineQuery {
            waiters: true,
            ..held()
        };
        assert!(list(&waited, None).contains("triggers    the waiters"));
        assert_eq!(state(&waited), "V-P-p------w");
    }

    #[test]
    fn table_fits_a_terminal() {
        let query = LineQuery {
            rings: 999_999_999,
            deliveries: 999_999_990,
            line: 65_535,
            ..held()
        };
        let text = table(&[query]).to_string();
        let widest = text
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(widest <= Some(80), "{text}");
        assert!(text.contains("V-P-p------"), "{text}");
    }

    #[test]
    fn json_has_the_coalesced_rings() {
        assert_eq!(json(&held(), None).unwrap()["coalesced"], 2);
    }
}
