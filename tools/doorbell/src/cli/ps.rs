// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell ps`.

use crate::{context_args::contexts_of, print, wide_table};
use clap::Args;
use doorbell_tools::{
    output::printable,
    process::{self, OpenContext, Processes},
};

pub const HELP: &str = "\
It reads /proc and changes nothing. It lists the processes that this user may
see; root sees all. Processes can share a context: it has the same number then.
--json has all counters.

Columns:
  fd       the descriptor, for --fd of the commands that take --pid
  ctx      the number of the context in trace events (ctx=N)
  m/p/a    lines that are masked, have a pending message, are asserted
  memory   the objects of the context

Examples:
  doorbell ps
  doorbell ps --pid 1234 --json
  doorbell query --pid 1234 --fd 9";

#[derive(Args)]
pub struct Ps {
    /// List the contexts of process PID only
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Print a JSON object per descriptor
    #[arg(long)]
    json: bool,
}

pub fn ps(args: &Ps) -> anyhow::Result<()> {
    let processes = match args.pid {
        Some(pid) => Processes {
            contexts: contexts_of(pid)?,
            unreadable: 0,
        },
        None => process::processes()?,
    };
    if args.json {
        for open in &processes.contexts {
            print(&format!("{}\n", serde_json::to_string(open)?))?;
        }
    } else if !processes.contexts.is_empty() {
        print(&format!("{}\n", table(&processes.contexts)))?;
    }
    if processes.unreadable != 0 {
        doorbell_tools::note!(
            "{} processes of other users are not listed; root sees all",
            processes.unreadable
        );
    } else if processes.contexts.is_empty() {
        doorbell_tools::note!("no process has a doorbell open");
    }
    Ok(())
}

/// Formats a number of bytes in 1,024s, as short as in ls -h.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["B", "K", "M", "G"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value {
        value if unit > 0 && value < 10.0 => format!("{value:.1}{}", UNITS[unit]),
        value => format!("{value:.0}{}", UNITS[unit]),
    }
}

fn table(contexts: &[OpenContext]) -> comfy_table::Table {
    let header = [
        "pid", "command", "fd", "ctx", "lines", "irqfds", "triggers", "m/p/a", "memory",
    ];
    let mut table = wide_table(&header, 2);
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    for open in contexts {
        let counters = &open.counters;
        table.add_row([
            open.pid.to_string(),
            printable(&open.comm),
            open.fd.to_string(),
            counters.context.to_string(),
            counters.lines.to_string(),
            counters.irqfds.to_string(),
            counters.triggers.to_string(),
            format!(
                "{}/{}/{}",
                counters.masked, counters.pending, counters.asserted
            ),
            bytes(counters.memory),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell_tools::process::Counters;

    #[test]
    fn bytes_are_short() {
        for (n, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (10_240, "10K"),
            (13_600_000, "13M"),
            (1 << 40, "1024G"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn name_of_a_process_does_not_reach_the_terminal_raw() {
        let open = OpenContext {
            pid: 1,
            comm: "a\x1b[2J\nb".into(),
            fd: 3,
            counters: Counters::default(),
        };
        let text = table(&[open]).to_string();
        assert!(text.contains("a\\u{1b}[2J\\nb"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn table_fits_a_terminal() {
        let counters = Counters {
            context: 1234,
            lines: 65_536,
            irqfds: 2048,
            triggers: 2048,
            regions: 4096,
            masked: 128,
            pending: 12,
            asserted: 1,
            memory: 13_600_000,
            ..Counters::default()
        };
        let open = OpenContext {
            pid: 4_194_304,
            comm: "qemu-system-x86".into(),
            fd: 123,
            counters,
        };
        let text = table(&[open]).to_string();
        let widest = text
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(widest <= Some(80), "{text}");
        let row = text.lines().nth(3).unwrap();
        assert!(row.contains("128/12/1"), "{text}");
    }
}
