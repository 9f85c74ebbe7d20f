// SPDX-License-Identifier: GPL-2.0-only

//! The `doorbell` command.

mod bench_bus;
mod bus;
mod doctor;
mod ivshmem;
mod lines;
mod measure;
mod qemu;
mod report;
mod torture;
mod watch;

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};
use doorbell::{uapi, Context};
use doorbell_tools::{explain, output, share, sys};
use lines::Do;
use serde_json::json;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Software interrupt controller for eventfds: look at it, ring it, measure it
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  doorbell doctor                           what this machine lacks, and what to do about it
  doorbell info                             what the module can do
  doorbell watch --lines 4 --socket /tmp/d  make a context, show what it delivers ...
  doorbell ring 2 --socket /tmp/d           ... and, in another shell, ring its line 2
  doorbell mask 0-3 --socket /tmp/d         have its first lines hold what is rung ...
  doorbell unmask 0-3 --socket /tmp/d       ... and deliver it
  doorbell bus assign 0x1000 --line 2 --socket /tmp/d  have an address ring a line ...
  doorbell bus write 0x1000 1 --socket /tmp/d          ... and write there
  doorbell rtt                              what a notification costs on this machine
  doorbell rtt --kvm                        and what one costs that a guest makes
  doorbell report                           both and more, as a page with pictures
  doorbell torture                          does it keep its word?
  doorbell bench assign                     what assigning and deassigning cost
  doorbell bench bus                        what regions cost, by how many there are

A context belongs to whoever opened it. The commands that work on somebody else's get it over a UNIX
socket (--socket, served by doorbell watch) or inherit it (--fd)."
)]
struct Cli {
    /// The device
    #[arg(long, global = true, env = "DOORBELL_DEVICE", default_value = doorbell::DEVICE)]
    device: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what this machine lacks for all of it, and what to do
    Doctor(doctor::Doctor),
    /// Show limits, features, and what is assigned
    Info(Info),
    /// Ring a line of somebody's context
    Ring(lines::RingArgs),
    /// Mask lines of somebody's context: they hold their messages
    Mask(lines::LinesArgs),
    /// Unmask lines of somebody's context: what they held is delivered
    Unmask(lines::LinesArgs),
    /// Drop messages that are pending on lines of somebody's context
    Clear(lines::LinesArgs),
    /// Ack level lines of somebody's context (EOI): their sources are told to look again
    Ack(lines::LinesArgs),
    /// Raise level lines of somebody's context: they assert themselves until they are lowered
    Raise(lines::LinesArgs),
    /// Lower level lines of somebody's context
    Lower(lines::LinesArgs),
    /// Look at the bus of somebody's context, change it, and write to it
    #[command(subcommand)]
    Bus(bus::BusCommand),
    /// Make a context, or take an inherited one, and show what its lines deliver
    Watch(watch::Watch),
    /// Storm over many lines, and prove that nothing was lost and nothing invented
    Torture(torture::Torture),
    /// Measure round-trip times
    Rtt(measure::Rtt),
    /// Measure all there is to be measured, and write it to a page with pictures
    Report(report::ReportArgs),
    /// Serve QEMU guests that have an ivshmem-doorbell device: their vectors are lines
    IvshmemServer(ivshmem::ServerArgs),
    /// Look at the peers of an ivshmem-server; make a guest to try it with
    #[command(subcommand)]
    Ivshmem(ivshmem::Ivshmem),
    /// Measure what assigning costs, and whether size matters
    #[command(subcommand)]
    Bench(measure::Bench),
}

/// Which context to work on
#[derive(Args)]
#[group(multiple = false)]
struct Which {
    /// Get the context from the UNIX socket at PATH
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Use the context that is open as descriptor N, inherited from the parent process
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    fd: Option<i32>,
}

impl Which {
    fn context(&self) -> anyhow::Result<Option<Context>> {
        if let Some(path) = &self.socket {
            let failed = |error| {
                anyhow!(
                    "get the context from {}: {error}\n  is a 'doorbell watch --socket' (or an ivshmem-server) running there?",
                    path.display()
                )
            };
            return share::connect(path).map(Some).map_err(failed);
        }
        let Some(fd) = self.fd else { return Ok(None) };
        inherited(fd).map(Some)
    }
}

/// The context that is open as descriptor `fd`.
fn inherited(fd: i32) -> anyhow::Result<Context> {
    let copy = sys::inherited(fd).map_err(|error| {
        anyhow!(
            "descriptor {fd}: {error}
  the parent process has to pass it on, without close-on-exec"
        )
    })?;
    Ok(Context::from(copy))
}

#[derive(Args)]
struct Info {
    #[command(flatten)]
    which: Which,
    /// For programs
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value <= 1e6 => Ok(value),
        _ => Err("not a number of seconds above zero".into()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough.
        Err(error)
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("doorbell: {}", explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Doctor(args) => doctor::doctor(&cli.device, args),
        Command::Info(args) => info(cli, args),
        Command::Ring(args) => lines::ring(args),
        Command::Mask(args) => lines::lines(Do::Mask, args),
        Command::Unmask(args) => lines::lines(Do::Unmask, args),
        Command::Clear(args) => lines::lines(Do::Clear, args),
        Command::Ack(args) => lines::lines(Do::Ack, args),
        Command::Raise(args) => lines::lines(Do::Raise, args),
        Command::Lower(args) => lines::lines(Do::Lower, args),
        Command::Bus(command) => bus::bus(command),
        Command::Watch(args) => watch::watch(&cli.device, args),
        Command::Torture(args) => torture::torture(&cli.device, args),
        Command::Rtt(args) => measure::rtt(&cli.device, args),
        Command::Report(args) => report::report(&cli.device, args),
        Command::IvshmemServer(args) => ivshmem::serve(&cli.device, args),
        Command::Ivshmem(args) => ivshmem::ivshmem(args),
        Command::Bench(args) => measure::bench(&cli.device, args),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

const FEATURES: [(u64, &str); 5] = [
    (uapi::FEATURE_EVENTFD_READ, "read"),
    (uapi::FEATURE_EVENTFD_PEEK, "peek"),
    (uapi::FEATURE_MASK, "mask"),
    (uapi::FEATURE_LEVEL, "level"),
    (uapi::FEATURE_BUS, "bus"),
];

fn info(cli: &Cli, args: &Info) -> anyhow::Result<()> {
    let context = match args.which.context()? {
        Some(context) => context,
        None => Context::open_path(&cli.device)?,
    };
    let info = context.info()?;
    let features: Vec<&str> = FEATURES
        .into_iter()
        .filter(|(bit, _)| info.features & bit != 0)
        .map(|(_, name)| name)
        .collect();
    // Without lines there is nothing yet.
    let records = match info.nr_lines != 0 && info.features & uapi::FEATURE_BUS != 0 {
        true => context.bus_info()?.records,
        false => 0,
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
            "records": records,
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
        records.to_string(),
        info.max_records.to_string(),
    ]);
    let whose = match &args.which {
        Which { fd: Some(fd), .. } => format!("descriptor {fd}"),
        Which {
            socket: Some(path), ..
        } => format!("context from {}", path.display()),
        _ => format!("{}, a new context", cli.device.display()),
    };
    print(&format!(
        "{whose}: ABI version {}, features: {}\n{table}\n",
        info.abi_version,
        features.join(", "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_arguments_are_refused() {
        for bad in [
            "rtt --time 0",
            "rtt --time x",
            "rtt --rounds 0",
            "bench",
            "watch --fd 5 --lines 3",
            "watch --for -1",
            "rtt --json --csv",
            "rtt --lines 65537",
            "rtt --count 5",
            "rtt --kvm --count 5 --time 3",
            "rtt --kvm --lines 5",
            "watch --lines 0",
            "ring",
            "ring 1 --fd 1",
            "ring 1 --fd 5 --socket x",
            "mask",
            "mask 7-3 --fd 5",
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
            "bench bus --most 0",
            "torture --rings 0",
            "torture --rings 5 --duration 5",
            "torture --lines 7",
            "torture --threads 7",
            "rtt --qemu --kvm",
            "rtt --qemu --time 3",
            "report --time 0",
            "ivshmem-server -n 0",
            "ivshmem-server --max-peers 65537",
            "ivshmem-server -l 0",
            "ivshmem-server -M a -m /b",
            "ivshmem guest /tmp/x",
        ] {
            let args = ["doorbell"].into_iter().chain(bad.split(' '));
            assert!(Cli::try_parse_from(args).is_err(), "{bad}");
        }
    }

    #[test]
    fn descriptor_that_is_not_open_is_explained() {
        let cli = Cli::try_parse_from(["doorbell", "ring", "1", "--fd", "1000000"]).unwrap();
        let error = format!("{:#}", run(&cli).unwrap_err());
        assert!(error.contains("close-on-exec"), "{error}");
    }

    #[test]
    fn somebody_elses_lines_need_to_know_whose() {
        for command in [
            "ring 1",
            "mask 1",
            "clear 1",
            "bus list",
            "bus write 0x10 1",
        ] {
            let args = ["doorbell"].into_iter().chain(command.split(' '));
            let cli = Cli::try_parse_from(args).unwrap();
            let error = run(&cli).unwrap_err();
            assert!(error.to_string().contains("--socket"), "{error}");
        }
    }
}
