// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell rtt` and `doorbell bench`.

use crate::{
    bench_bus::{bench_bus, BenchBus},
    positive, print,
    qemu::Qemu,
};
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use doorbell::uapi;
use doorbell_tools::{
    bench::{self, Assign},
    machine::Machine,
    output, plot,
    rtt::{self, baseline_2009, kvm, qemu, Options},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[derive(Args)]
#[command(after_help = "\
Rows, in three groups (one thread; two threads on the same core; two threads on two cores):
  eventfd         write and read, no doorbell: what the others are compared with
  spin            a word of shared memory, looked at until it changes (on one core: yielding)
  futex, pipe     what else threads wake each other with
  doorbell ioctl  DOORBELL_RING, line, trigger, read
  doorbell irqfd  write to an eventfd, irqfd, line, trigger, read
One thread only:
  doorbell region       pwrite to an address, region, eventfd, read
  doorbell region+line  pwrite to an address, region, line, trigger, read
  doorbell batch of 64  64 writes by one DOORBELL_BUS_WRITE, each to its own region; then each one's
                        own eventfd is read. Per write: with its read, as in the other rows
  doorbell burst of 64  the same to regions of one eventfd, which is read once: 64. Per write

With --kvm a guest of a small VMM (samples/kvm-rtt) makes the notifications, as in 2009:
  hypercall          an exit that KVM handles, and that does nothing
  userspace-pio, -mmio             write, exit to the VMM, DOORBELL_RING
  ioeventfd-pio, -mmio, -mmio-any  write, ioeventfd (of 4 bytes; of any length), irqfd, line
  circle-doorbell    write, ioeventfd, irqfd, line, trigger, KVM irqfd, interrupt
  circle-direct      the same without a line: one eventfd is ioeventfd and KVM irqfd
  circle-userspace   the same with a thread that reads one eventfd and writes the other
Circles are measured with one vCPU, and with two, of which one writes and one is interrupted.

With --qemu it is guests of the QEMU that is installed, which write to the register of an
ivshmem-doorbell; its eventfd is a doorbell irqfd:
  qemu-mmio, ioeventfd-mmio  with ioeventfd=off, QEMU signals it; with ioeventfd=on, KVM
  circle-...                 from here to the guest's interrupt handler, which writes, and back

Without the module the rows that need it are left out, and a line says so. What is asked for has to be
measured: it is an error if a --row means only rows that need the module, and so are --lines, --fill,
--qemu and the classic three lines of --kvm.

Examples:
  doorbell rtt --kvm                        the table of 2009, with today's figures
  doorbell rtt --kvm --format classic       its three lines
  doorbell rtt --kvm --row circle --count 5000
  doorbell rtt --qemu                       qemu-mmio and ioeventfd-mmio, as they were then
  doorbell rtt --time 60 --plot rtt.svg     longer, with the distributions as a picture
  doorbell rtt --row one-thread             one group
  doorbell rtt --row irqfd --json           some rows, for programs
  doorbell rtt --row futex --row pipe       rows that need no module
  doorbell rtt --lines 65536 --fill         in a large context, everything assigned")]
pub struct Rtt {
    /// Measure for about that many seconds
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    time: f64,
    /// In that many rounds, in each of which every row has its turn
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// The rows that have a guest, instead of the others
    #[arg(long, conflicts_with_all = ["lines", "fill"])]
    kvm: bool,
    /// The rows of guests of an unmodified QEMU that write to an ivshmem-doorbell, with
    /// ioeventfd=off and =on
    #[arg(long, conflicts_with_all = ["kvm", "time", "rounds", "row", "lines", "fill"])]
    qemu: bool,
    /// With --kvm: that many writes in each row, however long they take
    #[arg(long, value_name = "N", requires = "kvm", conflicts_with = "time", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    count: Option<u32>,
    /// Only rows with TEXT in their group or name (may be repeated)
    #[arg(long, value_name = "TEXT", alias = "rows")]
    row: Vec<String>,
    /// Lines of the context; it has at least what the rows take
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
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
    #[command(flatten)]
    qemu_options: Qemu,
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
pub enum Bench {
    /// Pairs of assign and deassign; closing a context that has much assigned
    Assign {
        /// How many irqfds, and as many triggers, the closed context has
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
        many: u32,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Regions: pairs of assign and deassign beside KVM's; and what all of it costs by how many
    /// there are
    Bus(BenchBus),
    /// The one-thread rows with one line and with many, all of them assigned
    Scale {
        /// How many are many
        #[arg(long, default_value_t = uapi::MAX_LINES, value_parser = clap::value_parser!(u32).range(2..=i64::from(uapi::MAX_LINES)))]
        lines: u32,
        /// Measure for about that many seconds, plus what assigning takes
        #[arg(long, default_value_t = 8.0, value_parser = positive)]
        time: f64,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

/// Calls `work` with a way to show its progress: a bar on a terminal, if it takes more than two
/// seconds.
pub fn with_progress<T>(
    work: impl FnOnce(rtt::Progress<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style =
        ProgressStyle::with_template("{msg} [{bar:40}] {percent}%").expect("the template is right");
    bar.set_style(style.progress_chars("=> "));
    let start = Instant::now();
    let mut last = start;
    let mut shown = false;
    let result = work(&mut |what, done, of| {
        // It is called often, and between measurements: cheap, unless there is something to show.
        if last.elapsed() < Duration::from_millis(200) {
            return;
        }
        last = Instant::now();
        if !shown && start.elapsed() > Duration::from_secs(2) {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
            shown = true;
        }
        bar.set_message(what.to_owned());
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

pub fn rtt(device: &Path, args: &Rtt) -> anyhow::Result<()> {
    let format = match args {
        Rtt { json: true, .. } => Format::Json,
        Rtt { csv: true, .. } => Format::Csv,
        _ => args.format,
    };
    let mut options = Options {
        time: Duration::from_secs_f64(args.time),
        rounds: args.rounds,
        lines: args.lines,
        fill: args.fill,
        rows: args.row.clone(),
        device: device.to_owned(),
    };
    if args.kvm && format == Format::Classic && args.row.is_empty() {
        options.rows = baseline_2009::MEASURED.map(String::from).to_vec();
    }
    let report = with_progress(|progress| {
        if args.qemu {
            qemu::run(&args.qemu_options.options(device), progress)
        } else if args.kvm {
            kvm::run(&options, args.count, progress)
        } else {
            rtt::run(&options, progress)
        }
    })?;
    let machine = Machine::this();
    // Those have no room for it.
    if matches!(format, Format::Csv | Format::Classic) {
        for note in output::notes(&report) {
            eprintln!("doorbell: {note}");
        }
    }
    print(&match format {
        Format::Table => output::human(&report, &machine),
        Format::Json => output::json(&report, &machine),
        Format::Csv => output::csv(&report),
        Format::Classic => output::classic(&report),
    })?;
    if let Some(path) = &args.plot {
        plot::draw(&report, &machine, path).with_context(|| format!("draw {}", path.display()))?;
    }
    Ok(())
}

pub fn bench(device: &Path, args: &Bench) -> anyhow::Result<()> {
    match *args {
        Bench::Bus(ref args) => bench_bus(device, args),
        Bench::Assign { many, json } => {
            let result = with_progress(|progress| bench::assign(device, many, progress))?;
            let machine = Machine::this();
            if json {
                let value = json!({ "machine": machine, "assign": result });
                return print(&format!("{value:#}\n"));
            }
            print(&format!("{machine}\n{}", assign_table(&result)))
        }
        Bench::Scale { lines, time, json } => {
            let options = Options {
                time: Duration::from_secs_f64(time),
                rounds: 100,
                lines,
                fill: true,
                rows: Vec::new(),
                device: device.to_owned(),
            };
            let (rows, assigned) = with_progress(|progress| bench::scale(&options, progress))?;
            let machine = Machine::this();
            if json {
                let value = json!({
                    "machine": machine,
                    "few_lines": 1,
                    "many_lines": lines,
                    "other_lines_assigned": assigned,
                    "rows": rows,
                });
                return print(&format!("{value:#}\n"));
            }
            let many = format!("{lines} lines, us");
            let mut table = output::new_table(&["one thread", "1 line, us", &many, "ratio"], 1);
            for row in rows {
                table.add_row([
                    row.name.to_owned(),
                    output::us(row.few_ns),
                    output::us(row.many_ns),
                    format!("{:.2}", row.many_ns / row.few_ns),
                ]);
            }
            print(&format!(
                "{machine}\n{table}\n\
                 {assigned} other lines of the large context have an irqfd and a trigger each.\n\
                 The eventfd row has no lines: how far its ratio is from 1 is how exact the others are.\n"
            ))
        }
    }
}

fn assign_table(result: &Assign) -> String {
    let kvm = result.kvm_irqfd_pair_ns;
    let many = result.many;
    let mut table = output::new_table(&["", "us", "ratio to KVM's"], 1);
    let mut row = |name: String, ns: f64, compare: bool| {
        let ratio = kvm
            .filter(|_| compare)
            .map(|kvm| format!("{:.2}", ns / kvm));
        table.add_row([name, output::us(ns), ratio.unwrap_or_default()]);
    };
    if let Some(kvm) = kvm {
        row("KVM_IRQFD, assign + deassign".into(), kvm, true);
    }
    row(
        "irqfd, assign + deassign".into(),
        result.irqfd_pair_ns,
        true,
    );
    row(
        "trigger, assign + deassign".into(),
        result.trigger_pair_ns,
        false,
    );
    row(
        format!("close a context with {many} irqfds and triggers"),
        result.close_ns,
        false,
    );
    row(
        format!("or first close the eventfds of its {many} irqfds"),
        result.eventfds_close_ns,
        false,
    );
    row(
        "   and then the context".into(),
        result.close_after_ns,
        false,
    );
    let mut text = format!("{table}\n");
    if let Some(missing) = &result.kvm_missing {
        text += &format!("KVM_IRQFD was not measured: {missing}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assign_table_compares_with_kvm_or_says_why_not() {
        let mut result = Assign {
            irqfd_pair_ns: 10_000.0,
            trigger_pair_ns: 4_000.0,
            kvm_irqfd_pair_ns: Some(100_000.0),
            kvm_missing: None,
            many: 77,
            close_ns: 1e6,
            eventfds_close_ns: 2e6,
            close_after_ns: 3e6,
        };
        let text = assign_table(&result);
        assert!(
            text.contains("0.10") && text.contains("77 irqfds"),
            "{text}"
        );
        result.kvm_irqfd_pair_ns = None;
        result.kvm_missing = Some("/dev/kvm: gone".into());
        let text = assign_table(&result);
        assert!(!text.contains("0.10"), "{text}");
        assert!(text.contains("not measured: /dev/kvm: gone"), "{text}");
    }

    #[test]
    fn progress_reports_do_not_change_the_result() {
        let result = with_progress(|progress| {
            progress("working", 1, 2);
            progress("working", 2, 2);
            Ok(42)
        });
        assert_eq!(result.unwrap(), 42);
    }
}
