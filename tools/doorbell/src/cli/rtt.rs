// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell rtt`.

use crate::{
    conclude, duration, interrupt, print, progress::with_progress, qemu::Qemu, realtime::Realtime,
    Exit,
};
use anyhow::Context as _;
use clap::{builder::UnknownArgumentValueParser, Args, Subcommand, ValueEnum};
use doorbell::uapi;
use doorbell_tools::{
    explain,
    machine::Machine,
    output, plot,
    rtt::{
        self, baseline_2009, kvm,
        limit::{Limit, Outcome},
        qemu, Options,
    },
    stop::Stop,
};
use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

pub const HELP: &str = "\
Without a command, 'doorbell rtt' is 'doorbell rtt threads', whose --help
describes the rows.

Rows that need the module are left out if it is not loaded, and a note names
them. The exit status is 1 if a --filter matches only such rows, or if --lines,
--fill or 'qemu' need the module.

--limit '[ROW.]FIGURE<VALUE' makes it a test. FIGURE is rtt, mean, p50, p90,
p99, p99.9, p99.99 or max, and VALUE a time in ns, us, ms or s; or FIGURE is
ratio, and VALUE a number. Without ROW, each row has to keep the limit.

Exit status:
  0    measured, and all limits hold
  1    an error: nothing was measured, or a row that was requested
  2    wrong arguments
  3    a limit does not hold; standard error names the rows
  130  interrupted by Ctrl-C: the result so far was printed (143: SIGTERM)

Examples:
  doorbell rtt                          measure between threads
  doorbell rtt kvm                      measure from a guest of a small VMM
  doorbell rtt qemu                     measure from a guest of QEMU
  doorbell rtt --json >before.json      keep the result for 'doorbell diff'
  doorbell rtt --limit 'irqfd.p99<50us' --limit 'ratio<3'
  doorbell rtt --duration 60s --plot rtt.svg";

const THREADS_HELP: &str = "\
The groups are one thread; two threads on one core; two threads on two cores.

Rows of all groups:
  eventfd            write, read without doorbell: the base of each ratio
  pipe, socket       write and read of a pipe, or of a UNIX stream socket
  signal             rt_tgsigqueueinfo, read of a signalfd
  message queue      mq_send, mq_receive
  io_uring eventfd   submit a NOP, read the ring's registered eventfd
  io_uring msg_ring  submit IORING_OP_MSG_RING, await the completion in the
                     other ring
  doorbell ioctl     DOORBELL_RING, line, trigger, read
  doorbell ring-wait DOORBELL_RING_WAIT: the same in one system call
  doorbell irqfd     write to an eventfd, irqfd, line, trigger, read
  doorbell wait      write to an eventfd, irqfd, line with waiters,
                     DOORBELL_WAIT
  doorbell ring+wait DOORBELL_RING_WAIT of lines with waiters

Rows of two threads only:
  spin               poll a word of shared memory (on one core: and yield)
  futex              store to a word, FUTEX_WAKE; FUTEX_WAIT
  doorbell spinning  the same as doorbell ioctl, but the receiver polls
                     the status page for up to 200 us before it sleeps
  doorbell wait+spin the same as doorbell wait, but the receiver polls so

Rows of one thread only:
  doorbell region       pwrite to an address, region, eventfd, read
  doorbell region+line  pwrite to an address, region, line, trigger, read
  doorbell batch of 64  DOORBELL_BUS_WRITE of 64 writes to 64 regions, and
                        a read of each region's eventfd; per write
  doorbell burst of 64  the same with one eventfd, which is read once;
                        per write
  doorbell skipped      ring_if_needed of a masked line whose message is
                        pending: no system call, and no delivery

Examples:
  doorbell rtt --filter one-thread      measure one group
  doorbell rtt --filter irqfd --json    measure the irqfd rows
  doorbell rtt --filter futex --filter pipe
  doorbell rtt --lines 65536 --fill     measure in a large, full context
  doorbell rtt --fifo 50                measure as cyclictest -m -p 50 does
  doorbell rtt --latency 0              keep CPUs from idle states
  doorbell rtt --rate 10k/s --filter same-core
  doorbell rtt --legs --filter two-cores
                                        time each direction by itself
  doorbell rtt --duration 60s --plot rtt.svg";

const KVM_HELP: &str = "\
A guest of a small VMM makes the notifications, as in the figures of 2009.

Rows:
  hypercall          an exit that KVM handles without any work
  userspace-pio, userspace-mmio
                     write, exit to the VMM, DOORBELL_RING
  ioeventfd-pio, ioeventfd-mmio
                     write, ioeventfd of 4 bytes, irqfd, line
  ioeventfd-mmio-any the same with an ioeventfd of any length
  circle-doorbell    write, ioeventfd, irqfd, line, trigger, KVM irqfd,
                     interrupt
  circle-direct      the same without a line: one eventfd is both
  circle-userspace   the same with a thread between ioeventfd and KVM irqfd
  intx-doorbell      write, ..., a line that masks itself, KVM irqfd, a pin
                     of the I/O APIC, interrupt; its end unmasks the line
                     by an unmaskfd
  intx-userspace     the same with a thread that unmasks the line
  level-doorbell     the same with a level line, which an ackfd acks

arm64 has no I/O ports, so the rows with pio are left out there, as are
intx and level.

Circles are measured with one vCPU, and with one that writes and one that is
interrupted. The last three rows are measured with one vCPU.

Examples:
  doorbell rtt kvm                      print the table of 2009
  doorbell rtt kvm --format classic     print its three lines
  doorbell rtt kvm --filter circle --count 5000
  doorbell rtt kvm --filter kvm-intx    measure the ends of interrupts";

const QEMU_HELP: &str = "\
Guests of an unmodified QEMU write to the register of an ivshmem-doorbell
device, whose eventfd is a doorbell irqfd.

Rows:
  qemu-mmio        write, exit to QEMU (ioeventfd=off), irqfd, line
  ioeventfd-mmio   write, ioeventfd of KVM (ioeventfd=on), irqfd, line
  circle-qemu-mmio, circle-ioeventfd-mmio
                   from here to the guest's interrupt handler, which
                   writes, and back

Examples:
  doorbell rtt qemu
  doorbell rtt qemu --qemu-accel tcg    measure without KVM
  doorbell rtt qemu --qemu-boots 5 --json";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Rtt {
    #[command(subcommand)]
    mode: Option<Mode>,
    #[command(flatten)]
    threads: Threads,
    /// Rejected: `rtt kvm` is a command.
    #[arg(long, hide = true, num_args = 0, default_missing_value = "", value_parser = command("kvm"))]
    kvm: Option<String>,
    /// Rejected: `rtt qemu` is a command.
    #[arg(long, hide = true, num_args = 0, default_missing_value = "", value_parser = command("qemu"))]
    qemu: Option<String>,
}

/// Rejects an option that names the command `name`.
fn command(name: &str) -> UnknownArgumentValueParser {
    UnknownArgumentValueParser::suggest(format!("use 'doorbell rtt {name}'"))
}

#[derive(Subcommand)]
enum Mode {
    /// Measure between threads of this process
    #[command(after_help = THREADS_HELP)]
    Threads(Threads),
    /// Measure from a guest of a small VMM
    #[command(after_help = KVM_HELP)]
    Kvm(Kvm),
    /// Measure from guests of an unmodified QEMU
    #[command(after_help = QEMU_HELP)]
    Qemu(QemuArgs),
}

#[derive(Args)]
struct Threads {
    #[command(flatten)]
    turns: Turns,
    /// Create a context of N lines, or of as many as the rows need
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
    lines: u32,
    /// Assign an irqfd and a trigger to each other line of the context
    #[arg(long)]
    fill: bool,
    /// Send N round trips per second, and time each from when it was due
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// Time both directions of the round trips between two threads, too
    #[arg(long, conflicts_with = "rate")]
    legs: bool,
    #[command(flatten)]
    realtime: Realtime,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Kvm {
    #[command(flatten)]
    turns: Turns,
    /// Make N writes per row, instead of running for DURATION
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    count: Option<u32>,
    #[command(flatten)]
    realtime: Realtime,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct QemuArgs {
    #[command(flatten)]
    qemu: Qemu,
    #[command(flatten)]
    output: Output,
}

/// Arguments that choose the rows and the time of a measurement.
#[derive(Args)]
struct Turns {
    /// Run for about DURATION
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Measure every row once per round, in N rounds
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Measure only rows with TEXT in their group or name; may be repeated
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
}

/// Arguments that choose the form of the result.
#[derive(Args)]
struct Output {
    /// Print the result as FORMAT
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print JSON: the same as --format json
    #[arg(long, conflicts_with_all = ["format", "csv"])]
    json: bool,
    /// Print CSV: the same as --format csv
    #[arg(long, conflicts_with = "format")]
    csv: bool,
    /// Draw the distributions of the round-trip times to FILE
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Exit with status 3 if a row breaks LIMIT, such as 'p99<20us'; may be repeated
    #[arg(long = "limit", value_name = "LIMIT", value_parser = Limit::from_str)]
    limits: Vec<Limit>,
}

/// Parses a rate per second, such as 1000/s or 10k/s.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (number, unit) = match (number.strip_suffix('k'), number.strip_suffix('M')) {
        (Some(number), _) => (number, 1e3),
        (_, Some(number)) => (number, 1e6),
        _ => (number, 1.0),
    };
    let rate = number.parse::<f64>().ok().map(|number| number * unit);
    rate.filter(|rate| (10.0..=1e8).contains(rate))
        .ok_or_else(|| "write 1000/s or 10k/s; the range is 10/s to 100M/s".into())
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// A table per group
    Table,
    /// JSON with all figures
    Json,
    /// A line of comma-separated values per row
    Csv,
    /// A line per row, as the doorbell of 2009 printed it
    Classic,
}

impl Output {
    /// Checks what can be checked before the measurement, which takes long. `rows` are the full
    /// names of the rows.
    fn check(&self, rows: &[String]) -> anyhow::Result<()> {
        if let Some(path) = &self.plot {
            plot::check(path).context("--plot")?;
        }
        self.limits.iter().try_for_each(|limit| limit.check(rows))
    }

    fn format(&self) -> Format {
        match self {
            Self { json: true, .. } => Format::Json,
            Self { csv: true, .. } => Format::Csv,
            _ => self.format,
        }
    }

    /// Prints and draws a report, and applies the limits.
    fn write(&self, report: &rtt::Report, stop: &Stop) -> anyhow::Result<()> {
        // If the run was interrupted, there may be no row for a limit.
        let applied: Vec<_> = self
            .limits
            .iter()
            .map(|limit| limit.apply(report))
            .collect();
        let (outcomes, failed): (Vec<_>, Vec<_>) = applied.into_iter().partition(Result::is_ok);
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        let machine = Machine::this();
        // These formats have no place for notes.
        if matches!(self.format(), Format::Csv | Format::Classic) {
            for note in output::notes(report) {
                doorbell_tools::note!("{note}");
            }
        }
        let printed = print(&match self.format() {
            Format::Table => output::human(report, &machine),
            Format::Json => {
                let mut value = output::whole(report, &machine);
                if !self.limits.is_empty() {
                    value["limits"] = serde_json::to_value(&outcomes)?;
                }
                output::json::pretty(&value)
            }
            Format::Csv => output::csv(report),
            Format::Classic => output::classic(report),
        });
        let drawn = match &self.plot {
            Some(path) => plot::draw(report, &machine, path)
                .with_context(|| format!("draw {}", path.display())),
            None => Ok(()),
        };
        // A picture that could not be drawn is a fault, a closed output is none.
        let written = conclude(printed, drawn);
        let broken: Vec<String> = outcomes
            .iter()
            .flat_map(|outcome| {
                let limit = &outcome.limit;
                let breach = move |breach| format!("limit {limit} does not hold: {breach}");
                outcome.broken_by.iter().map(breach)
            })
            .collect();
        let verdict = if let Some(signal) = stop.signal() {
            broken
                .iter()
                .for_each(|text| doorbell_tools::note!("{text}"));
            Err(Exit {
                status: interrupt::status(signal),
                text: "interrupted: the result is partial".into(),
            }
            .into())
        } else if let Some(Err(error)) = failed.into_iter().next() {
            Err(error)
        } else if !broken.is_empty() {
            Err(Exit {
                status: LIMIT_BROKEN,
                text: broken.join("\ndoorbell: "),
            }
            .into())
        } else {
            Ok(())
        };
        conclude(written, verdict)
    }
}

impl Turns {
    fn options(&self, device: &Path, stop: &Stop) -> Options {
        Options {
            time: self.duration,
            rounds: self.rounds,
            lines: 1,
            fill: false,
            rows: self.filter.clone(),
            device: device.to_owned(),
            rate: None,
            legs: false,
            stop: stop.clone(),
        }
    }
}

/// The exit status if a limit does not hold.
const LIMIT_BROKEN: u8 = 3;

pub fn rtt(device: &Path, args: &Rtt) -> anyhow::Result<()> {
    let stop = &interrupt::stop_on_signals()?;
    let result = measure(device, args, stop);
    match stop.signal() {
        // There is no result, since it ended too early.
        Some(signal) if result.is_err() => result.map_err(|error| match error.is::<Exit>() {
            true => error,
            false => Exit {
                status: interrupt::status(signal),
                text: explain(error.as_ref()),
            }
            .into(),
        }),
        _ => result,
    }
}

fn measure(device: &Path, args: &Rtt, stop: &Stop) -> anyhow::Result<()> {
    match &args.mode {
        None => threads(device, &args.threads, stop),
        Some(Mode::Threads(args)) => threads(device, args, stop),
        Some(Mode::Kvm(args)) => {
            let mut options = args.turns.options(device, stop);
            if args.output.format() == Format::Classic && options.rows.is_empty() {
                options.rows = baseline_2009::MEASURED
                    .iter()
                    .map(ToString::to_string)
                    .collect();
            }
            args.output.check(&kvm::selected(&options.rows)?)?;
            let _applied = args.realtime.apply()?;
            let report = with_progress(|progress| kvm::run(&options, args.count, progress))?;
            args.output.write(&report, stop)
        }
        Some(Mode::Qemu(args)) => {
            args.output.check(&qemu::selected())?;
            let options = args.qemu.options(device, stop.clone());
            let report = with_progress(|progress| qemu::run(&options, progress))?;
            args.output.write(&report, stop)
        }
    }
}

fn threads(device: &Path, args: &Threads, stop: &Stop) -> anyhow::Result<()> {
    let options = Options {
        lines: args.lines,
        fill: args.fill,
        rate: args.rate,
        legs: args.legs,
        ..args.turns.options(device, stop)
    };
    args.output.check(&rtt::selected(&options.rows)?)?;
    let _applied = args.realtime.apply()?;
    let report = with_progress(|progress| rtt::run(&options, progress))?;
    args.output.write(&report, stop)
}
