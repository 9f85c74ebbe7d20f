// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell watch`.

use crate::{
    context_args::{inherited, of_process},
    duration,
    lines::LineListArg,
    print,
    screen::Redraw,
    top::state_letters,
    wide_table,
};
use anyhow::{ensure, Context as _};
use clap::Args;
use doorbell::{uapi, Context, EventFd, LineStatus, LineType, Notify, StatusPages};
use doorbell_tools::{explain, share, sys};
use serde_json::json;
use std::{
    io::IsTerminal,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub const HELP: &str = "\
On a terminal it shows a table that refreshes itself. Otherwise it prints a line
per delivery and per change of a mask; it combines deliveries that are faster
than the output.

It assigns a trigger and a notifier to each line while it runs. A level line of
another process gets the notifier only: a message that has found no trigger is
sent once more to the first one, which has to be the owner's. The deliveries of
such a line are shown after 100 ms at most. A line with waiters (DOORBELL_WAIT)
accepts no trigger, and this fails with EBUSY: use 'doorbell top' there. A line
accepts no waiters while it has the trigger.

Column 'state':
  VFPA----  masked by the vector, by the function, by a pause, by itself
  ----p---  a message is pending
  -----a--  a level line is asserted
  ------m-  automask: masks itself when it delivers
  -------i  moderated: delivers once in an interval at most

Examples:
  doorbell watch --lines 4 --socket /tmp/d &
  doorbell ring 2 --socket /tmp/d
  doorbell watch --duration 1m --json
  doorbell watch --fd 5             show the context of the parent process
  doorbell watch --pid 1234         look into a running VMM";

#[derive(Args)]
pub struct Watch {
    /// Create a context with N lines
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
    lines: u32,
    /// Make LINES level lines: 3, 0-7, or 1,4,9-12
    #[arg(long, value_name = "LINES", conflicts_with_all = ["fd", "pid"])]
    level: Option<LineListArg>,
    /// Create a ring of N records, a power of two, for 'doorbell bus records'
    #[arg(long, value_name = "N", conflicts_with_all = ["fd", "pid"], value_parser = power_of_two)]
    records: Option<u32>,
    /// Create N last values for 'doorbell bus values'
    #[arg(long, value_name = "N", conflicts_with_all = ["fd", "pid"], value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_VALUES)))]
    values: Option<u32>,
    /// Show the context of the running process PID; needs the right to trace it
    #[arg(long, value_name = "PID", conflicts_with = "lines", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Show descriptor N: of process PID, or one that this process inherited
    #[arg(long, value_name = "N", conflicts_with = "lines", value_parser = clap::value_parser!(i32).range(3..))]
    fd: Option<i32>,
    /// Pass the context on to each process that connects to the UNIX socket at PATH
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Stop after N deliveries
    #[arg(long, value_name = "N")]
    max_deliveries: Option<u64>,
    /// Stop after DURATION
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Print a JSON object per change of a line
    #[arg(long)]
    json: bool,
}

/// Parses a number of records.
fn power_of_two(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|n: &u32| n.is_power_of_two());
    let number = number.filter(|&n| n <= uapi::MAX_RECORDS);
    number.ok_or_else(|| format!("not a power of two up to {}", uapi::MAX_RECORDS))
}

/// The period at which the status pages are read. A message that stays pending or is dropped
/// signals no eventfd.
const EVERY: Duration = Duration::from_millis(100);

/// An eventfd that all lines of a context signal.
///
/// Another process may own the context, so the eventfd is deassigned on drop.
struct Alarm<'a> {
    context: &'a Context,
    eventfd: EventFd,
    /// The lines of which it is a trigger, if true, or a notifier.
    assigned: Vec<(u32, bool)>,
}

impl<'a> Alarm<'a> {
    /// Assigns the eventfd. `ours` are the lines of a context that this process has created.
    ///
    /// A level line of another process gets no trigger: a message that finds no trigger is sent once more
    /// to the first one that is assigned, which has to be the owner's.
    fn new(context: &'a Context, lines: u32, ours: bool) -> anyhow::Result<Self> {
        let mut alarm = Self {
            context,
            eventfd: EventFd::non_blocking(false)?,
            assigned: Vec::new(),
        };
        for line in 0..lines {
            context.assign_notifier(&alarm.eventfd, line, Notify::MASK | Notify::UNMASK)?;
            alarm.assigned.push((line, false));
            if ours || !context.query(line)?.level {
                context.assign_trigger(&alarm.eventfd, line)?;
                alarm.assigned.push((line, true));
            }
        }
        Ok(alarm)
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        for &(line, trigger) in &self.assigned {
            let result = match trigger {
                true => self.context.deassign_trigger(&self.eventfd, line),
                false => self.context.deassign_notifier(&self.eventfd, line),
            };
            if let Err(error) = result {
                doorbell_tools::note!("{}", explain(&error));
            }
        }
    }
}

pub fn watch(device: &Path, args: &Watch) -> anyhow::Result<()> {
    let context = match (args.pid, args.fd) {
        (Some(pid), fd) => of_process(pid, fd)?,
        (None, Some(fd)) => inherited(fd)?,
        (None, None) => {
            let context = Context::open_path(device)?;
            context.set_lines(args.lines)?;
            if let Some(records) = args.records {
                context.set_records(records)?;
            }
            if let Some(values) = args.values {
                context.set_values(values)?;
            }
            for line in args.level.iter().flat_map(|lines| lines.0.iter()) {
                context.set_type(line, LineType::Level)?;
            }
            context
        }
    };
    let lines = context.info()?.nr_lines;
    ensure!(
        lines > 0,
        "the context has no lines yet: its owner has to call DOORBELL_SET_LINES first"
    );
    // From here on a signal ends the loop, and everything is cleaned up.
    let end = sys::termination()?;
    let status = context.map_status()?;
    let start = Instant::now();
    let mut board = Board::new(&status);
    let ours = args.pid.is_none() && args.fd.is_none();
    let alarm = Alarm::new(&context, lines, ours)?;
    let server = args
        .socket
        .as_deref()
        .map(|path| {
            share::Server::bind(path).with_context(|| format!("listen at {}", path.display()))
        })
        .transpose()?;

    let mut view = if args.json {
        View::Json
    } else if std::io::stdout().is_terminal() {
        View::Table(Screen::new(start))
    } else {
        View::Lines
    };
    let mut fds: Vec<BorrowedFd<'_>> = vec![alarm.eventfd.as_fd(), end.as_fd()];
    fds.extend(server.as_ref().map(AsFd::as_fd));
    let until = args.duration.map(|duration| start + duration);
    let mut seen = 0;
    view.refresh(&board, true)?;
    while args.max_deliveries.is_none_or(|max| seen < max) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            break;
        }
        let ready = sys::wait_readable(&fds, Some(left.unwrap_or(EVERY).min(EVERY)))?;
        // Before the status pages are read, so that no later signal is missed.
        alarm.eventfd.take()?;
        for change in board.look(&status, start.elapsed()) {
            seen += change.delivered();
            view.changed(&change)?;
        }
        if ready.contains(&1) {
            break;
        }
        if let Some(server) = server.as_ref().filter(|_| ready.contains(&2)) {
            server.serve(&context);
        }
        view.refresh(&board, false)?;
    }
    view.refresh(&board, true)
}

/// The last known status of all lines.
struct Board {
    lines: Vec<LineStatus>,
    /// The time of the last change of each line, in seconds since the start.
    last: Vec<Option<f64>>,
}

/// A change of a line.
struct Change {
    line: u32,
    at: f64,
    before: LineStatus,
    now: LineStatus,
}

impl Change {
    /// Returns the number of new deliveries.
    fn delivered(&self) -> u64 {
        self.now.deliveries - self.before.deliveries
    }

    /// Describes the change; `None` if it is a passing state of a delivery.
    fn text(&self) -> Option<String> {
        let Self { before, now, .. } = self;
        let mut parts = Vec::new();
        if self.delivered() != 0 {
            parts.push(format!(
                "{} delivered ({} of {} rings)",
                self.delivered(),
                now.deliveries,
                now.rings()
            ));
        }
        if now.dropped != before.dropped {
            parts.push(format!("{} dropped", now.dropped - before.dropped));
        }
        match (before.masked, now.masked) {
            (false, true) => parts.push(format!("masked ({})", now.reasons)),
            (true, false) => parts.push("unmasked".into()),
            (true, true) if now.reasons != before.reasons => {
                parts.push(format!("still masked ({})", now.reasons));
            }
            _ => {}
        }
        if now.acks != before.acks {
            parts.push(format!("{} acked", now.acks - before.acks));
        }
        let pending = |status: &LineStatus| status.masked && status.pending;
        if pending(now) && !pending(before) {
            parts.push("a message is pending".into());
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl Board {
    fn new(status: &StatusPages) -> Self {
        let lines: Vec<_> = (0..status.nr_lines()).map(|at| status.line(at)).collect();
        Self {
            last: vec![None; lines.len()],
            lines,
        }
    }

    /// Reads the status pages and returns the changes. Makes no system call.
    fn look(&mut self, status: &StatusPages, at: Duration) -> Vec<Change> {
        let at = at.as_secs_f64();
        let mut changes = Vec::new();
        for line in 0..self.lines.len() as u32 {
            changes.extend(self.update(line, status.line(line), at));
        }
        changes
    }

    fn update(&mut self, line: u32, now: LineStatus, at: f64) -> Option<Change> {
        let index = line as usize;
        let before = std::mem::replace(&mut self.lines[index], now);
        if before == now {
            return None;
        }
        self.last[index] = Some(at);
        Some(Change {
            line,
            at,
            before,
            now,
        })
    }
}

/// A form of output.
enum View {
    Table(Screen),
    Lines,
    Json,
}

impl View {
    fn changed(&mut self, change: &Change) -> anyhow::Result<()> {
        let &Change { line, at, now, .. } = change;
        match self {
            View::Table(_) => Ok(()),
            View::Lines => match change.text() {
                Some(text) => print(&format!("{at:12.6}  line {line}: {text}\n")),
                None => Ok(()),
            },
            View::Json => {
                let value = json!({
                    "seconds": at,
                    "line": line,
                    "delivered": change.delivered(),
                    "deliveries": now.deliveries,
                    "rings": now.rings(),
                    "coalesced": now.coalesced,
                    "dropped": now.dropped,
                    "masked": now.masked,
                    "reasons": now.reasons,
                    "automask": now.automask,
                    "moderated": now.moderated,
                    "pending": now.pending,
                    "asserted": now.asserted,
                    "acks": now.acks,
                });
                print(&format!("{value}\n"))
            }
        }
    }

    fn refresh(&mut self, board: &Board, now: bool) -> anyhow::Result<()> {
        match self {
            View::Table(screen) => screen.refresh(board, now),
            _ => Ok(()),
        }
    }
}

/// A table on a terminal that overwrites itself.
struct Screen {
    start: Instant,
    drawn: Option<Instant>,
    redraw: Redraw,
}

impl Screen {
    /// The maximum of rows: they fit on most terminals.
    const ROWS: usize = 16;

    fn new(start: Instant) -> Self {
        Self {
            start,
            drawn: None,
            redraw: Redraw::default(),
        }
    }

    fn refresh(&mut self, board: &Board, now: bool) -> anyhow::Result<()> {
        if !now && self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY) {
            return Ok(());
        }
        let shown = shown(board);
        let rest = match board.lines.len() - shown.len() {
            0 => String::new(),
            _ => format!(", the {} that changed last", shown.len()),
        };
        let text = format!(
            "{} lines{rest}, {:.1} s; Ctrl-C stops it\n{}\n",
            board.lines.len(),
            self.start.elapsed().as_secs_f64(),
            table(board, &shown),
        );
        self.drawn = Some(Instant::now());
        self.redraw.draw(&text)
    }
}

/// Returns the lines to show: all, or the ones that changed last if there are many.
fn shown(board: &Board) -> Vec<usize> {
    let mut lines: Vec<usize> = (0..board.lines.len()).collect();
    if lines.len() > Screen::ROWS {
        lines.retain(|&line| board.last[line].is_some());
        lines.sort_by(|&a, &b| board.last[b].partial_cmp(&board.last[a]).expect("no NaN"));
        lines.truncate(Screen::ROWS);
        lines.sort_unstable();
    }
    lines
}

fn table(board: &Board, shown: &[usize]) -> comfy_table::Table {
    let header = [
        "line",
        "rings",
        "delivered",
        "coalesced",
        "dropped",
        "state",
        "acks",
        "last at, s",
    ];
    let mut table = wide_table(&header, 0);
    for &line in shown {
        let status = &board.lines[line];
        table.add_row([
            line.to_string(),
            status.rings().to_string(),
            status.deliveries.to_string(),
            status.coalesced.to_string(),
            status.dropped.to_string(),
            state_letters(status),
            status.acks.to_string(),
            board.last[line].map_or("-".into(), |at| format!("{at:.3}")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::MaskReasons;

    fn board(lines: usize) -> Board {
        Board {
            lines: vec![LineStatus::default(); lines],
            last: vec![None; lines],
        }
    }

    fn held() -> LineStatus {
        LineStatus {
            pending: true,
            masked: true,
            reasons: MaskReasons::VECTOR,
            deliveries: 7,
            coalesced: 2,
            dropped: 4,
            ..Default::default()
        }
    }

    #[test]
    fn table_has_a_row_per_line() {
        let mut board = board(4);
        board.update(3, held(), 1.5);
        let text = table(&board, &shown(&board)).to_string();
        let row = text.lines().nth(6).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            cells,
            ["3", "14", "7", "2", "4", "V---p---", "0", "1.500"],
            "{text}"
        );
    }

    #[test]
    fn table_fits_a_terminal() {
        let mut board = board(16);
        let status = LineStatus {
            deliveries: 999_999_999,
            coalesced: 999_999_999,
            dropped: 9_999_999,
            acks: 999_999,
            ..LineStatus::default()
        };
        board.update(3, status, 99_999.0);
        let text = table(&board, &shown(&board)).to_string();
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
    }

    #[test]
    fn of_many_lines_the_last_ones_are_shown() {
        let mut board = board(100);
        assert!(shown(&board).is_empty());
        for line in 0..50 {
            board.update(line, held(), 100.0 - f64::from(line));
        }
        assert_eq!(shown(&board), (0..Screen::ROWS).collect::<Vec<_>>());
    }

    #[test]
    fn changes_are_told_once() {
        let mut board = board(2);
        let text = |change: Option<Change>| change.and_then(|change| change.text());
        let told = text(board.update(1, held(), 0.5)).unwrap();
        assert_eq!(
            told,
            "7 delivered (7 of 14 rings), 4 dropped, masked (vector), a message is pending"
        );
        assert!(board.update(1, held(), 0.6).is_none());
        let unmasked = LineStatus {
            masked: false,
            reasons: MaskReasons::default(),
            pending: false,
            deliveries: 8,
            ..held()
        };
        let told = text(board.update(1, unmasked, 0.7)).unwrap();
        assert_eq!(told, "1 delivered (8 of 14 rings), unmasked");
        // A delivery is in flight: the next change reports it.
        let pending = LineStatus {
            pending: true,
            ..unmasked
        };
        assert_eq!(text(board.update(1, pending, 0.8)), None);
        let acked = LineStatus { acks: 2, ..pending };
        assert_eq!(text(board.update(1, acked, 0.9)).unwrap(), "2 acked");
        let paused = LineStatus {
            reasons: MaskReasons::VECTOR | MaskReasons::PAUSE,
            ..held()
        };
        board.update(1, held(), 1.0);
        let told = text(board.update(1, paused, 1.1)).unwrap();
        assert_eq!(told, "still masked (vector,pause)");
    }

    #[test]
    fn other_descriptors_are_told_apart() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let args = Watch {
            lines: 1,
            level: None,
            records: None,
            values: None,
            pid: None,
            fd: Some(std::os::fd::AsRawFd::as_raw_fd(&file)),
            socket: None,
            max_deliveries: None,
            duration: None,
            json: false,
        };
        let error = watch(Path::new("/nonexistent"), &args).unwrap_err();
        let text = explain(error.as_ref());
        assert!(text.contains("no doorbell"), "{text}");
    }
}
