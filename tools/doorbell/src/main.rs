// SPDX-License-Identifier: GPL-2.0-only

//! The `doorbell` command.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use doorbell::{
    bench,
    machine::Machine,
    output,
    rtt::{self, Options},
    share, sys, uapi, Context, EventFd, Ring,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::{
    io::{IsTerminal, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Software interrupt controller for eventfds: look at it, ring it, measure it
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  doorbell info                             what the module can do
  doorbell watch --lines 4 --socket /tmp/d  make a context, print what it delivers ...
  doorbell ring 2 --socket /tmp/d           ... and, in another shell, ring its line 2
  doorbell rtt                              what a notification costs on this machine
  doorbell rtt --plot rtt.svg               the same, with the distributions as a picture
  doorbell bench assign                     what assigning and deassigning cost

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
    /// Show limits, features, and what is assigned
    Info(Info),
    /// Ring a line of somebody's context
    Ring(RingArgs),
    /// Make a context (or join one), print what its lines deliver
    Watch(Watch),
    /// Measure round-trip times
    Rtt(Rtt),
    /// Measure everything else
    #[command(subcommand)]
    Bench(Bench),
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
            return share::connect(path)
                .map(Some)
                .with_context(|| format!("get the context from {}", path.display()))
                .context("is a 'doorbell watch --socket' running there?");
        }
        let Some(fd) = self.fd else { return Ok(None) };
        // SAFETY: Only borrowed to be duplicated; if it is not open, that fails.
        let inherited = unsafe { BorrowedFd::borrow_raw(fd) };
        let copy: OwnedFd = inherited
            .try_clone_to_owned()
            .with_context(|| format!("descriptor {fd}: not inherited from the parent process?"))?;
        Ok(Some(Context::from_fd(copy)))
    }
}

#[derive(Args)]
struct Info {
    #[command(flatten)]
    which: Which,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RingArgs {
    /// The line
    line: u32,
    #[command(flatten)]
    which: Which,
    /// How often
    #[arg(long, default_value_t = 1)]
    count: u64,
}

#[derive(Args)]
struct Watch {
    /// Make a context with that many lines
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    lines: u32,
    /// Pass the context on to whoever connects to a UNIX socket at PATH
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// End after that many deliveries
    #[arg(long)]
    count: Option<u64>,
    /// End after that many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<f64>,
    /// For programs: a JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Rtt {
    /// Measure for about that many seconds
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    time: f64,
    /// In that many rounds, in each of which every row has its turn
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only rows whose name contains TEXT (may be repeated); the eventfd rows are always there
    #[arg(long, value_name = "TEXT")]
    row: Vec<String>,
    /// Lines of the context
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
    lines: u32,
    /// Assign an irqfd and a trigger to every other line, too
    #[arg(long)]
    fill: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with_all = ["format", "csv"])]
    json: bool,
    /// The same as --format csv
    #[arg(long, conflicts_with = "format")]
    csv: bool,
    /// Draw the distributions
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For spreadsheets
    Csv,
    /// A line per row, as the first doorbell printed it in 2009
    Classic,
}

#[derive(Subcommand)]
enum Bench {
    /// Pairs of assign and deassign; closing a context that has much assigned
    Assign {
        /// How many irqfds, and as many triggers, the closed context has
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
        many: u32,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// The one-thread rows with few lines and with many, all of them assigned
    Scale {
        /// How many are many
        #[arg(long, default_value_t = uapi::MAX_LINES, value_parser = clap::value_parser!(u32).range(16..=i64::from(uapi::MAX_LINES)))]
        lines: u32,
        /// Measure for about that many seconds
        #[arg(long, default_value_t = 8.0, value_parser = positive)]
        time: f64,
        /// For programs
        #[arg(long)]
        json: bool,
    },
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
            eprintln!("doorbell: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Info(args) => info(cli, args),
        Command::Ring(args) => ring(args),
        Command::Watch(args) => watch(cli, args),
        Command::Rtt(args) => measure(cli, args),
        Command::Bench(args) => benchmark(cli, args),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn info(cli: &Cli, args: &Info) -> anyhow::Result<()> {
    let context = match args.which.context()? {
        Some(context) => context,
        None => Context::open_path(&cli.device)?,
    };
    let info = context.info()?;
    let features: Vec<&str> = [(uapi::FEATURE_READ, "read"), (uapi::FEATURE_PEEK, "peek")]
        .into_iter()
        .filter(|(bit, _)| info.features & bit != 0)
        .map(|(_, name)| name)
        .collect();
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
    print(&format!(
        "{}: ABI version {}, features: {}\n{table}\n",
        cli.device.display(),
        info.abi_version,
        features.join(", "),
    ))
}

fn ring(args: &RingArgs) -> anyhow::Result<()> {
    let context = args.which.context()?.context(
        "whose line? A context is private: get it with --socket PATH from a 'doorbell watch \
         --socket PATH', or inherit it with --fd N",
    )?;
    let mut delivered = 0u64;
    for _ in 0..args.count {
        delivered += u64::from(context.ring(args.line)? == Ring::Delivered);
    }
    print(&format!(
        "line {}: {delivered} delivered, {} coalesced\n",
        args.line,
        args.count - delivered
    ))
}

fn watch(cli: &Cli, args: &Watch) -> anyhow::Result<()> {
    let context = Context::open_path(&cli.device)?;
    context.set_lines(args.lines)?;
    let server = args
        .socket
        .as_deref()
        .map(|path| {
            share::Server::bind(path).with_context(|| format!("listen at {}", path.display()))
        })
        .transpose()?;
    let mut triggers = Vec::new();
    for line in 0..args.lines {
        let trigger = EventFd::new(0)?;
        context.assign_trigger(&trigger, line)?;
        triggers.push(trigger);
    }
    if std::io::stderr().is_terminal() {
        eprintln!("watching {} lines; Ctrl-C ends it", args.lines);
    }

    let start = Instant::now();
    let end = args
        .seconds
        .map(|seconds| start + Duration::from_secs_f64(seconds));
    let mut fds: Vec<BorrowedFd<'_>> = triggers.iter().map(AsFd::as_fd).collect();
    if let Some(server) = &server {
        fds.push(server.as_fd());
    }
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        let left = match end.map(|end| end.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => break,
            left => left.unwrap_or(Duration::from_secs(3600)),
        };
        // At least a millisecond, or the last part of one would be spent polling.
        let Some(ready) = sys::wait_any(&fds, left.max(Duration::from_millis(1)))? else {
            continue;
        };
        let Some(trigger) = triggers.get(ready) else {
            if let Some(server) = &server {
                server.serve(&context)?;
            }
            continue;
        };
        let count = trigger.read()?;
        seen += count;
        let line = ready as u32;
        let query = context.query(line)?;
        let at = start.elapsed().as_secs_f64();
        if args.json {
            let value = json!({
                "seconds": at,
                "line": line,
                "delivered": count,
                "deliveries": query.deliveries,
                "rings": query.rings,
            });
            print(&format!("{value}\n"))?;
        } else {
            print(&format!(
                "{at:12.6}  line {line}: {count} delivered ({} of {} rings)\n",
                query.deliveries, query.rings
            ))?;
        }
    }
    Ok(())
}

/// A bar that shows itself on a terminal only, and only if it takes a while.
fn progress(what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {elapsed} {percent}%")
        .expect("the template is right");
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what.to_owned());
    bar
}

fn step(bar: &ProgressBar) -> impl FnMut(u64, u64) + '_ {
    |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    }
}

fn measure(cli: &Cli, args: &Rtt) -> anyhow::Result<()> {
    let options = Options {
        time: Duration::from_secs_f64(args.time),
        rounds: args.rounds,
        lines: args.lines,
        fill: args.fill,
        rows: args.row.clone(),
        device: cli.device.display().to_string(),
    };
    let bar = progress("measuring");
    let report = rtt::run(&options, &mut step(&bar))?;
    bar.finish_and_clear();
    let machine = Machine::this();
    let format = match args {
        Rtt { json: true, .. } => Format::Json,
        Rtt { csv: true, .. } => Format::Csv,
        _ => args.format,
    };
    print(&match format {
        Format::Table => output::human(&report, &machine),
        Format::Json => output::json(&report, &machine),
        Format::Csv => output::csv(&report),
        Format::Classic => output::classic(&report),
    })?;
    if let Some(path) = &args.plot {
        output::plot(&report, &machine, path)
            .with_context(|| format!("draw {}", path.display()))?;
    }
    Ok(())
}

fn benchmark(cli: &Cli, args: &Bench) -> anyhow::Result<()> {
    let device = cli.device.display().to_string();
    let machine = Machine::this();
    match *args {
        Bench::Assign { many, json } => {
            let result = bench::assign(&device, many)?;
            if json {
                let value = json!({ "machine": machine, "assign": result });
                return print(&format!("{value:#}\n"));
            }
            let mut table = output::new_table(&["", "us", "ratio"], 1);
            let kvm = result.kvm_irqfd_pair_ns;
            let ratio = |ns: f64| kvm.map_or("-".into(), |kvm| format!("{:.2}", ns / kvm));
            let mut row = |name: &str, ns: f64, ratio: String| {
                table.add_row([name.to_owned(), output::us(ns), ratio]);
            };
            if let Some(kvm) = kvm {
                row("KVM_IRQFD assign + deassign", kvm, "1.00".into());
            }
            row(
                "irqfd assign + deassign",
                result.irqfd_pair_ns,
                ratio(result.irqfd_pair_ns),
            );
            row(
                "trigger assign + deassign",
                result.trigger_pair_ns,
                ratio(result.trigger_pair_ns),
            );
            row(
                &format!("close with {0} irqfds and {0} triggers", result.closed_with),
                result.close_ns,
                "-".into(),
            );
            print(&format!("{machine}\n{table}\n"))?;
            if let Some(missing) = result.kvm_missing {
                print(&format!("not measured: KVM_IRQFD, {missing}\n"))?;
            }
            Ok(())
        }
        Bench::Scale { lines, time, json } => {
            let bar = progress("measuring");
            let time = Duration::from_secs_f64(time);
            let (small, large) = bench::scale(&device, lines, time, &mut step(&bar))?;
            bar.finish_and_clear();
            let rows = small.rows.iter().zip(&large.rows);
            if json {
                let rows: Vec<_> = rows
                    .map(|(small, large)| {
                        json!({
                            "name": small.name,
                            "few_ns": small.ns,
                            "many_ns": large.ns,
                            "ratio": large.ns / small.ns,
                        })
                    })
                    .collect();
                let value = json!({
                    "machine": machine,
                    "few_lines": small.lines.0,
                    "many_lines": large.lines.0,
                    "other_lines_assigned": large.lines.1,
                    "rows": rows,
                });
                return print(&format!("{value:#}\n"));
            }
            let few = format!("{} lines, us", small.lines.0);
            let many = format!("{} lines, us", large.lines.0);
            let mut table = output::new_table(&["one thread", &few, &many, "ratio"], 1);
            for (small, large) in rows {
                table.add_row([
                    small.name.to_owned(),
                    output::us(small.ns),
                    output::us(large.ns),
                    format!("{:.2}", large.ns / small.ns),
                ]);
            }
            let assigned = large.lines.1;
            print(&format!(
                "{machine}\n{assigned} other lines assigned in the large one\n{table}\n"
            ))
        }
    }
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
            "rtt --json --csv",
            "rtt --lines 65537",
            "watch --lines 0",
            "ring",
            "ring 1 --fd 1",
            "ring 1 --fd 5 --socket x",
        ] {
            let args = ["doorbell"].into_iter().chain(bad.split(' '));
            assert!(Cli::try_parse_from(args).is_err(), "{bad}");
        }
    }

    #[test]
    fn ring_needs_to_know_whose() {
        let cli = Cli::try_parse_from(["doorbell", "ring", "1"]).unwrap();
        let error = run(&cli).unwrap_err();
        assert!(error.to_string().contains("--socket"), "{error}");
    }
}
