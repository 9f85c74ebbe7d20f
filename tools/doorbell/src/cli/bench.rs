// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell bench`.

mod bus;
mod mask;

use crate::{duration, print, progress::with_progress};
use bus::{bench_bus, BenchBus};
use clap::Subcommand;
use doorbell::uapi;
use doorbell_tools::{
    bench::{self, Assign},
    machine::Machine,
    output,
    rtt::Options,
    stop::Stop,
};
use mask::{bench_mask, BenchMask};
use serde_json::json;
use std::{path::Path, time::Duration};

pub const HELP: &str = "\
Examples:
  doorbell bench assign         measure assign and deassign, next to KVM's
  doorbell bench bus --json     measure regions
  doorbell bench mask           measure masks, next to KVM's
  doorbell bench scale          compare one line with the maximum";

#[derive(Subcommand)]
pub enum Bench {
    /// Measure assign and deassign of irqfds and triggers, and close
    #[command(after_help = "\
Examples:
  doorbell bench assign
  doorbell bench assign --irqfds 1000 --json")]
    Assign {
        /// Assign N irqfds and N triggers to the context that is closed
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
        irqfds: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure assign, deassign, writes and close by the number of regions
    #[command(after_help = bus::HELP)]
    Bus(BenchBus),
    /// Measure mask and unmask, and count the messages that get lost
    #[command(after_help = mask::HELP)]
    Mask(BenchMask),
    /// Measure the one-thread rows of 'rtt' with one line and with N full ones
    #[command(after_help = "\
Examples:
  doorbell bench scale
  doorbell bench scale --lines 1024 --duration 30s --json")]
    Scale {
        /// Compare one line with N lines
        #[arg(long, value_name = "N", default_value_t = uapi::MAX_LINES, value_parser = clap::value_parser!(u32).range(2..=i64::from(uapi::MAX_LINES)))]
        lines: u32,
        /// Measure for about DURATION; assigning takes longer
        #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration)]
        duration: Duration,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn bench(device: &Path, args: &Bench) -> anyhow::Result<()> {
    match *args {
        Bench::Bus(ref args) => bench_bus(device, args),
        Bench::Mask(ref args) => bench_mask(device, args),
        Bench::Assign { irqfds, json } => {
            let result = with_progress(|progress| bench::assign(device, irqfds, progress))?;
            let machine = Machine::this();
            if json {
                let value = json!({ "machine": machine, "assign": result });
                return print(&format!("{value:#}\n"));
            }
            print(&format!("{machine}\n{}", assign_table(&result)))
        }
        Bench::Scale {
            lines,
            duration,
            json,
        } => {
            let options = Options {
                time: duration,
                rounds: 100,
                lines,
                fill: true,
                rows: Vec::new(),
                device: device.to_owned(),
                rate: None,
                legs: false,
                stop: Stop::default(),
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
                 The eventfd row has no lines: its distance from 1 is the error of the others.\n"
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
}
