// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell watch`.

use crate::{inherited, positive, print};
use anyhow::{ensure, Context as _};
use clap::Args;
use doorbell::{output, share, sys, uapi, Context, EventFd, LineState};
use serde_json::json;
use std::{
    io::IsTerminal,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// As many lines as one wants to look at, and as poll(2) can wait for in reasonable time.
const MOST: u32 = 1024;

#[derive(Args)]
#[command(after_help = "\
In a terminal: a table that refreshes itself; elsewhere: a line per delivery (several at once, if they \
come faster than they are read).

Examples:
  doorbell watch --lines 4 --socket /tmp/d &
  doorbell ring 2 --socket /tmp/d
  doorbell watch --fd 5                     a VMM's context, passed on to this process as 5")]
pub struct Watch {
    /// Make a context with that many lines
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    lines: u32,
    /// Watch the context that is open as descriptor N, inherited from the parent process
    #[arg(long, value_name = "N", conflicts_with = "lines", value_parser = clap::value_parser!(i32).range(3..))]
    fd: Option<i32>,
    /// Pass the context on to whoever connects to a UNIX socket at PATH
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// End after that many deliveries
    #[arg(long)]
    count: Option<u64>,
    /// End after that many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = positive)]
    seconds: Option<f64>,
    /// For programs: a JSON object per line
    #[arg(long)]
    json: bool,
}

/// Triggers on all lines of a context that may be somebody else's: they must not stay.
struct Triggers<'a> {
    context: &'a Context,
    eventfds: Vec<EventFd>,
}

impl<'a> Triggers<'a> {
    fn new(context: &'a Context, lines: u32) -> anyhow::Result<Self> {
        let mut triggers = Self {
            context,
            eventfds: Vec::new(),
        };
        sys::raise_open_files(u64::from(lines) + 64)?;
        for line in 0..lines {
            let eventfd = EventFd::new(0)?;
            context.assign_trigger(&eventfd, line)?;
            triggers.eventfds.push(eventfd);
        }
        Ok(triggers)
    }
}

impl Drop for Triggers<'_> {
    fn drop(&mut self) {
        for (line, eventfd) in self.eventfds.iter().enumerate() {
            if let Err(error) = self.context.deassign_trigger(eventfd, line as u32) {
                eprintln!("doorbell: {error}");
            }
        }
    }
}

pub fn watch(device: &Path, args: &Watch) -> anyhow::Result<()> {
    let context = match args.fd {
        Some(fd) => inherited(fd)?,
        None => {
            let context = Context::open_path(device)?;
            context.set_lines(args.lines)?;
            context
        }
    };
    let lines = context.info()?.nr_lines;
    ensure!(
        lines > 0,
        "that context has no lines yet: whoever opened it has to choose how many first"
    );
    ensure!(
        (1..=MOST).contains(&lines),
        "that context has {lines} lines; at most {MOST} can be watched"
    );
    // First, so that from here on everything is cleaned up.
    let end = sys::termination()?;
    let triggers = Triggers::new(&context, lines)?;
    let server = args
        .socket
        .as_deref()
        .map(|path| {
            share::Server::bind(path).with_context(|| format!("listen at {}", path.display()))
        })
        .transpose()?;

    let start = Instant::now();
    let mut view = if args.json {
        View::Json
    } else if std::io::stdout().is_terminal() {
        View::Table(Screen::new(lines, start))
    } else {
        View::Lines
    };
    let mut fds: Vec<BorrowedFd<'_>> = triggers.eventfds.iter().map(AsFd::as_fd).collect();
    fds.push(end.as_fd());
    fds.extend(server.as_ref().map(AsFd::as_fd));
    let until = args
        .seconds
        .map(|seconds| start + Duration::from_secs_f64(seconds));
    let mut seen = 0;
    view.refresh(&context, true)?;
    while args.count.is_none_or(|count| seen < count) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            break;
        }
        let timeout = match view {
            // What came since the last refresh is to be seen, too.
            View::Table(_) => Some(left.unwrap_or(Duration::MAX).min(Screen::EVERY)),
            _ => left,
        };
        let ready = sys::wait_readable(&fds, timeout)?;
        if ready.contains(&lines.try_into()?) {
            break;
        }
        for at in ready {
            match triggers.eventfds.get(at) {
                Some(trigger) => {
                    let count = trigger.read()?;
                    seen += count;
                    view.delivered(count, &context.query(at as u32)?, start.elapsed())?;
                }
                None => {
                    if let Some(server) = &server {
                        server.serve(&context)?;
                    }
                }
            }
        }
        view.refresh(&context, false)?;
    }
    view.refresh(&context, true)
}

/// How it is shown.
enum View {
    Table(Screen),
    Lines,
    Json,
}

impl View {
    fn delivered(&mut self, count: u64, state: &LineState, at: Duration) -> anyhow::Result<()> {
        let at = at.as_secs_f64();
        let &LineState {
            line,
            rings,
            deliveries,
            ..
        } = state;
        match self {
            View::Table(screen) => {
                screen.last[line as usize] = Some(at);
                screen.changed = true;
                Ok(())
            }
            View::Lines => print(&format!(
                "{at:12.6}  line {line}: {count} delivered ({deliveries} of {rings} rings)\n"
            )),
            View::Json => {
                let value = json!({
                    "seconds": at,
                    "line": line,
                    "delivered": count,
                    "deliveries": deliveries,
                    "rings": rings,
                });
                print(&format!("{value}\n"))
            }
        }
    }

    fn refresh(&mut self, context: &Context, now: bool) -> anyhow::Result<()> {
        match self {
            View::Table(screen) => screen.refresh(context, now),
            _ => Ok(()),
        }
    }
}

/// A table that is written over itself.
struct Screen {
    lines: u32,
    start: Instant,
    /// When each line last delivered, in seconds since the start.
    last: Vec<Option<f64>>,
    changed: bool,
    drawn: Option<Instant>,
    height: usize,
}

impl Screen {
    const EVERY: Duration = Duration::from_millis(100);

    fn new(lines: u32, start: Instant) -> Self {
        Self {
            lines,
            start,
            last: vec![None; lines as usize],
            changed: false,
            drawn: None,
            height: 0,
        }
    }

    fn refresh(&mut self, context: &Context, now: bool) -> anyhow::Result<()> {
        let due = self
            .drawn
            .is_none_or(|drawn| drawn.elapsed() >= Self::EVERY);
        let wanted = now || (due && self.changed);
        if !wanted {
            return Ok(());
        }
        let text = table(
            // Few lines are all shown; of many those on which something has happened.
            &(0..self.lines)
                .filter(|&line| self.lines <= 16 || self.last[line as usize].is_some())
                .map(|line| Ok((context.query(line)?, self.last[line as usize])))
                .collect::<doorbell::Result<Vec<_>>>()?,
        );
        let text = format!(
            "{} lines, {:.1} s; Ctrl-C ends it\n{text}\n",
            self.lines,
            self.start.elapsed().as_secs_f64()
        );
        let back = match self.height {
            0 => String::new(),
            n => format!("\x1b[{n}A\x1b[J"),
        };
        self.height = text.lines().count();
        self.drawn = Some(Instant::now());
        self.changed = false;
        print(&format!("{back}{text}"))
    }
}

fn table(lines: &[(LineState, Option<f64>)]) -> comfy_table::Table {
    let header = [
        "line",
        "rings",
        "delivered",
        "coalesced",
        "pending",
        "last at, s",
    ];
    let mut table = output::new_table(&header, 0);
    for (state, last) in lines {
        table.add_row([
            state.line.to_string(),
            state.rings.to_string(),
            state.deliveries.to_string(),
            state.coalesced().to_string(),
            if state.pending { "yes" } else { "no" }.into(),
            last.map_or("-".into(), |at| format!("{at:.3}")),
        ]);
    }
    table
}

const _: () = assert!(MOST <= uapi::MAX_LINES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_row_per_line() {
        let state = LineState {
            line: 3,
            pending: true,
            rings: 10,
            deliveries: 7,
            dropped: 0,
            masked: false,
            deferred: 0,
            irqfds: 0,
            triggers: 1,
            notifiers: 0,
        };
        let text = table(&[(state, Some(1.5))]).to_string();
        let row = text.lines().nth(3).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["3", "10", "7", "2", "yes", "1.500"], "{text}");
    }

    #[test]
    fn other_descriptors_are_told_apart() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let args = Watch {
            lines: 1,
            fd: Some(std::os::fd::AsRawFd::as_raw_fd(&file)),
            socket: None,
            count: None,
            seconds: None,
            json: false,
        };
        let error = watch(Path::new("/nonexistent"), &args).unwrap_err();
        assert!(error.to_string().contains("no doorbell"), "{error}");
    }
}
