// SPDX-License-Identifier: GPL-2.0-only

//! The `doorbell` command.

#![warn(clippy::print_stderr, clippy::print_stdout)]

mod bench;
mod bus;
mod context_args;
mod diff;
mod doctor;
mod generate;
mod interrupt;
mod ivshmem;
mod lines;
mod moderate;
mod progress;
mod ps;
mod qemu;
mod query;
mod realtime;
mod report;
mod rtt;
mod screen;
mod service;
mod stdout;
mod top;
mod torture;
mod trace;
mod watch;

use clap::{Args, CommandFactory, Parser, Subcommand};
use context_args::ContextArgs;
use doorbell::{uapi, BusInfo, Context};
use doorbell_tools::{explain, output};
use lines::LineOp;
use serde_json::json;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use stdout::{conclude, print, Closed};

/// Control, watch and measure /dev/doorbell, an interrupt controller for eventfds
#[derive(Parser)]
#[command(
    name = "doorbell",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  doorbell doctor                     list missing requirements
  doorbell watch --socket /tmp/d      create a context, show deliveries ...
  doorbell ring 2 --socket /tmp/d     ... and ring it from another shell
  doorbell mask 0-3 --socket /tmp/d   make four lines hold their messages
  doorbell ps                         list processes with a context ...
  doorbell query 2 --pid 1234         ... and look into one of them
  doorbell rtt                        measure between threads
  doorbell rtt kvm                    measure from a guest
  doorbell torture                    look for lost and duplicate messages

Contexts:
A context belongs to the process that opened it. Another process gets it from a
UNIX socket (--socket), which 'doorbell watch' or 'doorbell ivshmem serve'
provides, or inherits it as a descriptor (--fd). With the right to trace it, a
command looks into a running process (--pid), such as a VMM.

Durations:
A DURATION is a number with a unit: 500ms, 10s, 5m. Without a unit it counts
seconds."
)]
struct Cli {
    /// Open the device at PATH
    #[arg(long, value_name = "PATH", global = true, help_heading = "Global options", env = "DOORBELL_DEVICE", default_value = doorbell::DEVICE)]
    device: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what this machine lacks for the module and the tools, with advice
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::Doctor),
    /// Show the limits, the features and the usage of a context
    #[command(after_help = "\
Examples:
  doorbell info                     show the limits
  doorbell info --socket /tmp/d     show another process's context")]
    Info(Info),
    /// List the contexts that processes have open
    #[command(after_help = ps::HELP)]
    Ps(ps::Ps),
    /// Show the rates of contexts or lines, and refresh them
    #[command(after_help = top::HELP)]
    Top(top::Top),
    /// Show the state, the counters and the assignments of lines
    #[command(after_help = query::HELP)]
    Query(query::Query),
    /// Ring lines, all in one system call
    #[command(after_help = "\
Examples:
  doorbell ring 2 --socket /tmp/d
  doorbell ring 0-7,12 --socket /tmp/d
  doorbell ring 2 --count 1000 --json --fd 5")]
    Ring(lines::RingArgs),
    /// Mask lines: each holds its message until it is unmasked
    #[command(after_help = "\
Examples:
  doorbell mask 3 --socket /tmp/d
  doorbell mask 0-15 --reasons function --socket /tmp/d
  doorbell mask 1,4,9-12 --json --socket /tmp/d")]
    Mask(lines::MaskArgs),
    /// Unmask lines: each delivers the message that it holds
    #[command(after_help = "\
A line that is masked for another reason stays masked: 'doorbell query' shows
the reasons.

Examples:
  doorbell unmask 0-3 --socket /tmp/d
  doorbell unmask 0-15 --reasons function --socket /tmp/d
  doorbell unmask 3 --reasons auto --pid 1234
                                    end the handler of an automask line")]
    Unmask(lines::MaskArgs),
    /// Limit the rate of the deliveries of lines, or show the limits
    #[command(after_help = moderate::HELP)]
    Moderate(moderate::Moderate),
    /// Drop the pending messages of lines
    #[command(after_help = "\
Example:
  doorbell clear 0-3 --socket /tmp/d")]
    Clear(lines::LinesArgs),
    /// Acknowledge level lines (EOI): signal their resamplefds
    #[command(after_help = "\
Example:
  doorbell ack 0 --socket /tmp/d")]
    Ack(lines::LinesArgs),
    /// Assert level lines until they are lowered
    #[command(after_help = "\
Examples:
  doorbell watch --level 0 --socket /tmp/d &
  doorbell raise 0 --socket /tmp/d")]
    Raise(lines::LinesArgs),
    /// Deassert level lines
    #[command(after_help = "\
Example:
  doorbell lower 0 --socket /tmp/d")]
    Lower(lines::LinesArgs),
    /// List, assign, deassign and write regions of a context's bus
    #[command(subcommand, after_help = bus::HELP)]
    Bus(bus::BusCommand),
    /// Show the deliveries of a context's lines as they happen
    #[command(after_help = watch::HELP)]
    Watch(watch::Watch),
    /// Show how long messages take, by the module's trace events
    #[command(after_help = trace::HELP)]
    Trace(trace::Trace),
    /// Run random operations and check that no message is lost or duplicated
    #[command(after_help = torture::HELP)]
    Torture(torture::Torture),
    /// Measure round-trip times
    #[command(after_help = rtt::HELP)]
    Rtt(rtt::Rtt),
    /// Compare two results of 'rtt --json' by a statistical test
    #[command(after_help = diff::HELP)]
    Diff(diff::DiffArgs),
    /// Measure all round-trip times and write an HTML page with plots
    #[command(after_help = report::HELP)]
    Report(report::ReportArgs),
    /// Serve the ivshmem-doorbell devices of QEMU guests
    #[command(subcommand, after_help = ivshmem::HELP)]
    Ivshmem(ivshmem::Ivshmem),
    /// Serve QEMU guests: the same as 'ivshmem serve'
    #[command(after_help = ivshmem::SERVE_HELP)]
    IvshmemServer(ivshmem::ServerArgs),
    /// Measure assigning, masks, the bus, and small against large contexts
    #[command(subcommand, after_help = bench::HELP)]
    Bench(bench::Bench),
    /// Write man pages or shell completions
    #[command(subcommand, hide = true, after_help = generate::HELP)]
    Generate(generate::Generate),
}

/// Returns the context that `args` choose.
///
/// # Errors
///
/// If they choose none.
fn require_context(args: &ContextArgs) -> anyhow::Result<Context> {
    args.require()
}

#[derive(Args)]
struct Info {
    #[command(flatten)]
    context: ContextArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The longest duration that the command line takes.
const MAX_DURATION: Duration = Duration::from_secs(1_000_000);

/// Parses a positive duration: a number with a unit, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    duration
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .ok_or_else(|| "write 500ms, 10s or 5m; the maximum is 1000000s".into())
}

/// A result that is no error, and has an exit status of its own.
#[derive(Debug)]
struct Exit {
    status: u8,
    /// The reason.
    text: String,
}

impl std::error::Error for Exit {}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            doorbell_tools::note!("{}", explain(error.as_ref()));
            let exit = error.downcast_ref::<Exit>();
            exit.map_or(ExitCode::FAILURE, |exit| exit.status.into())
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Doctor(args) => doctor::doctor(&cli.device, args),
        Command::Info(args) => info(cli, args),
        Command::Ps(args) => ps::ps(args),
        Command::Top(args) => top::top(args),
        Command::Query(args) => query::query(args),
        Command::Ring(args) => lines::ring(args),
        Command::Mask(args) => lines::mask(args),
        Command::Unmask(args) => lines::unmask(args),
        Command::Moderate(args) => moderate::moderate(args),
        Command::Clear(args) => lines::lines(LineOp::Clear, args),
        Command::Ack(args) => lines::lines(LineOp::Ack, args),
        Command::Raise(args) => lines::lines(LineOp::Raise, args),
        Command::Lower(args) => lines::lines(LineOp::Lower, args),
        Command::Bus(command) => bus::bus(command),
        Command::Watch(args) => watch::watch(&cli.device, args),
        Command::Trace(args) => trace::trace(args),
        Command::Torture(args) => torture::torture(&cli.device, args),
        Command::Rtt(args) => rtt::rtt(&cli.device, args),
        Command::Diff(args) => diff::run(args),
        Command::Report(args) => report::report(&cli.device, args),
        Command::Ivshmem(args) => ivshmem::ivshmem(&cli.device, args),
        Command::IvshmemServer(args) => ivshmem::serve(&cli.device, args),
        Command::Bench(args) => bench::bench(&cli.device, args),
        Command::Generate(args) => generate::generate(Cli::command(), args),
    }
}

/// Creates a table of many columns, with less space between them than in others.
fn wide_table(header: &[&str], left: usize) -> comfy_table::Table {
    let mut table = output::new_table(header, left);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table
}

/// The features, by the names that `doorbell info` prints.
const FEATURES: [(u64, &str); 15] = [
    (uapi::FEATURE_EVENTFD_READ, "read"),
    (uapi::FEATURE_EVENTFD_PEEK, "peek"),
    (uapi::FEATURE_MASK, "mask"),
    (uapi::FEATURE_LEVEL, "level"),
    (uapi::FEATURE_BUS, "bus"),
    (uapi::FEATURE_RING_WAIT, "ring-wait"),
    (uapi::FEATURE_WAIT, "wait"),
    (uapi::FEATURE_RING_LINES, "ring-lines"),
    (uapi::FEATURE_MASK_REASONS, "mask-reasons"),
    (uapi::FEATURE_UNMASKFD, "unmaskfd"),
    (uapi::FEATURE_SAVE, "save"),
    (uapi::FEATURE_MODERATION, "moderation"),
    (uapi::FEATURE_SUMMARY, "summary"),
    (uapi::FEATURE_LAST_VALUE, "last-value"),
    (uapi::FEATURE_COUNT, "count"),
];

fn info(cli: &Cli, args: &Info) -> anyhow::Result<()> {
    let context = match args.context.context()? {
        Some(context) => context,
        None => Context::open_path(&cli.device)?,
    };
    let info = context.info()?;
    let features: Vec<&str> = FEATURES
        .into_iter()
        .filter(|(bit, _)| info.features & bit != 0)
        .map(|(_, name)| name)
        .collect();
    // The bus exists only in a context with lines.
    let bus = match info.nr_lines != 0 && info.features & uapi::FEATURE_BUS != 0 {
        true => context.bus_info()?,
        false => BusInfo::default(),
    };
    if args.json {
        let value = json!({
            "abi_version": info.abi_version,
            "features": features,
            "max_lines": info.max_lines,
            "max_triggers_per_line": info.max_triggers_per_line,
            "max_irqfds": info.max_irqfds,
            "lines": info.nr_lines,
            "irqfds": info.nr_irqfds,
            "triggers": info.nr_triggers,
            "max_notifiers_per_line": info.max_notifiers_per_line,
            "notifiers": info.nr_notifiers,
            "max_resamplefds_per_line": info.max_resamplefds_per_line,
            "max_regions": info.max_regions,
            "regions": info.nr_regions,
            "max_records": info.max_records,
            "records": bus.records,
            "max_values": info.max_values,
            "values": bus.values,
        });
        return print(&format!("{value:#}\n"));
    }
    let mut table = output::new_table(&["", "this context", "limit"], 1);
    table.add_row([
        "lines".into(),
        info.nr_lines.to_string(),
        info.max_lines.to_string(),
    ]);
    table.add_row([
        "irqfds".into(),
        info.nr_irqfds.to_string(),
        info.max_irqfds.to_string(),
    ]);
    table.add_row([
        "triggers".into(),
        info.nr_triggers.to_string(),
        format!("{} per line", info.max_triggers_per_line),
    ]);
    table.add_row([
        "notifiers".into(),
        info.nr_notifiers.to_string(),
        format!("{} per line", info.max_notifiers_per_line),
    ]);
    table.add_row([
        "regions".into(),
        info.nr_regions.to_string(),
        info.max_regions.to_string(),
    ]);
    table.add_row([
        "records".into(),
        bus.records.to_string(),
        info.max_records.to_string(),
    ]);
    table.add_row([
        "last values".into(),
        bus.values.to_string(),
        info.max_values.to_string(),
    ]);
    let name = args
        .context
        .name()
        .unwrap_or_else(|| format!("{}, a new context", cli.device.display()));
    print(&format!(
        "{name}: ABI version {}, features: {}\n{table}\n",
        info.abi_version,
        features.join(", "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units_or_count_seconds() {
        for (text, ms) in [
            ("10s", 10_000),
            ("10", 10_000),
            ("0.5", 500),
            ("200ms", 200),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("1.5s", 1500),
            ("1000000", 1_000_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in [
            "", "x", "0", "0s", "-1", "-1s", "inf", "NaN", "10x", "s", "1000001", "12days",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_arguments_are_refused() {
        for bad in [
            "rtt --duration 0",
            "rtt --duration x",
            "rtt --rounds 0",
            "bench",
            "watch --fd 5 --lines 3",
            "watch --duration -1",
            "rtt --json --csv",
            "rtt --limit p99",
            "rtt --limit p99<5",
            "rtt --rate 0",
            "rtt --rate 5x",
            "rtt kvm --rate 100/s",
            "diff",
            "diff a",
            "diff a b c",
            "diff a b --threshold x",
            "diff a b --threshold -1%",
            "rtt --lines 65537",
            "rtt --count 5",
            "rtt kvm --count 5 --duration 3",
            "rtt kvm --lines 5",
            "rtt kvm --qemu-boots 5",
            "rtt threads --count 5",
            "watch --lines 0",
            "ring",
            "ring 1 --fd 1",
            "ring 1 --fd 5 --socket x",
            "ring 1 --pid 5 --socket x",
            "ring 1 --pid 0",
            "watch --pid 5 --lines 3",
            "query 1,x --fd 5",
            "top --lines 3-1 --fd 5",
            "top --count 0",
            "trace --pid 5 --context 3",
            "trace --context 0",
            "trace --line x",
            "mask",
            "mask 7-3 --fd 5",
            "mask 7 --reasons all --fd 5",
            "unmask 7 --reasons vector, --fd 5",
            "clear 7 --reasons vector --fd 5",
            "clear 1,x --fd 5",
            "unmask 65536 --fd 5",
            "ack",
            "raise x --fd 5",
            "watch --level 1 --fd 5",
            "watch --records 3",
            "watch --records 64 --fd 5",
            "bus",
            "bus assign 0x1000 --fd 5",
            "bus assign 0x1000 --line 1 --length 3 --fd 5",
            "bus write 0x1000 --fd 5",
            "bus write 0x1000 1 --length 0 --fd 5",
            "bus write zero 1 --fd 5",
            "bench bus --max-regions 0",
            "torture --rings 0",
            "torture --rings 5 --duration 5",
            "torture --lines 7",
            "torture --threads 7",
            "torture --max-wait 0",
            "torture --hotplug",
            "torture --module doorbell.ko",
            "torture --endurance --reloads 5",
            "rtt qemu kvm",
            "rtt --rounds 5 kvm",
            "rtt qemu --duration 3",
            "rtt qemu --filter mmio",
            "report --duration 0",
            "ivshmem-server -n 0",
            "ivshmem serve -n 0",
            "ivshmem-server --max-peers 65537",
            "ivshmem-server -l 0",
            "ivshmem-server -M a -m /b",
            "ivshmem make-guest /tmp/x",
            "generate man",
        ] {
            let args = ["doorbell"].into_iter().chain(bad.split(' '));
            assert!(Cli::try_parse_from(args).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_rtt_measures_threads() {
        for good in [
            "rtt",
            "rtt threads",
            "rtt --lines 5 --fill",
            "rtt --csv",
            "rtt --rate 10k/s --limit p99<5ms --limit irqfd.ratio<2",
        ] {
            let args = ["doorbell"].into_iter().chain(good.split(' '));
            assert!(Cli::try_parse_from(args).is_ok(), "{good}");
        }
    }

    #[test]
    fn descriptor_that_is_not_open_is_explained() {
        let cli = Cli::try_parse_from(["doorbell", "ring", "1", "--fd", "1000000"]).unwrap();
        let error = format!("{:#}", run(&cli).unwrap_err());
        assert!(error.contains("close-on-exec"), "{error}");
    }

    #[test]
    fn commands_for_a_context_name_the_options_that_choose_it() {
        for command in [
            "ring 1",
            "mask 1",
            "mask 1 --reasons vector,pause",
            "clear 1",
            "bus list",
            "bus write 0x10 1",
            "query 1",
        ] {
            let args = ["doorbell"].into_iter().chain(command.split(' '));
            let cli = Cli::try_parse_from(args).unwrap();
            let error = run(&cli).unwrap_err();
            assert!(error.to_string().contains("--socket"), "{command}: {error}");
        }
    }
}
