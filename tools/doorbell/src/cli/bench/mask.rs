// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell bench mask`.

use crate::{conclude, print, progress::with_progress};
use anyhow::anyhow;
use clap::Args;
use doorbell_tools::{
    bench::mask::{self, Mask},
    machine::Machine,
    output::{new_table, us},
};
use serde_json::json;
use std::path::Path;

pub const HELP: &str = "\
A device signals an eventfd, which becomes an interrupt of a guest. Rows are
ways to mask that interrupt:
  doorbell, a vector           mask of a line, as that of an MSI-X vector
  doorbell, a function of N    mask of N lines in one call, as the function
                               mask of MSI-X
  KVM_IRQFD, deassign + assign the irqfd is removed while masked
  KVM_SET_GSI_ROUTING, twice   the route is removed while masked

Columns:
  pair    mask and unmask without a signal, in us
  lost    messages without an interrupt
  extra   interrupts under the mask, or without a message
  wrong   wrong answers to the question whether a message is pending
Each is a count over N trials of one signal under the mask, N of none, and N
in a storm of signals from another thread. An interrupt is a request in the
local APIC of a vCPU that does not run; without KVM, a signal of an eventfd.

Exit status: 1 if a row of doorbell has a fault.

Examples:
  doorbell bench mask
  doorbell bench mask --trials 10000 --json";

#[derive(Args)]
pub struct BenchMask {
    /// Try each way N times in each situation
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    trials: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn bench_mask(device: &Path, args: &BenchMask) -> anyhow::Result<()> {
    let result = with_progress(|progress| mask::mask(device, args.trials, progress))?;
    let machine = Machine::this();
    let printed = match args.json {
        true => {
            let value = json!({ "machine": machine, "mask": result });
            print(&format!("{value:#}\n"))
        }
        false => print(&format!("{machine}\n{}", text(&result))),
    };
    let mut ours = result.rows.iter().filter(|row| row.doorbell);
    let verdict = match ours.all(mask::Row::is_exact) {
        true => Ok(()),
        false => Err(anyhow!(
            "a mask of doorbell has lost or invented a message: please report this"
        )),
    };
    conclude(printed, verdict)
}

fn text(result: &Mask) -> String {
    let header = [
        "mask + unmask",
        "pair, us",
        "p99",
        "ratio",
        "lost",
        "extra",
        "wrong",
    ];
    let mut table = new_table(&header, 1);
    // Seven columns fit a terminal with one space between them.
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    let first = result.rows.first().map_or(f64::NAN, |row| row.pair_ns);
    for row in &result.rows {
        table.add_row([
            row.name.clone(),
            us(row.pair_ns),
            us(row.pair_p99_ns),
            format!("{:.1}", row.pair_ns / first),
            row.lost.to_string(),
            row.spurious.to_string(),
            row.wrong_pending.to_string(),
        ]);
    }
    let mut text = format!("{table}\n");
    if let Some(missing) = &result.kvm_missing {
        text += &format!("KVM's ways were not measured: {missing}\n");
    }
    let (trials, receiver) = (result.trials, result.receiver);
    text + &format!(
        "{trials} trials of each: one signal under the mask, none, a storm.\n\
         Receiver: {receiver}.\n\
         lost: no interrupt. extra: an interrupt under the mask, or without a message.\n\
         wrong: the pending bit was not that of the message.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> Mask {
        let row = |name: &str, doorbell, pair_ns: f64, lost| mask::Row {
            name: name.into(),
            doorbell,
            pair_ns,
            pair_p99_ns: 2.0 * pair_ns,
            lost,
            spurious: 0,
            wrong_pending: 0,
        };
        Mask {
            rows: vec![
                row("doorbell, a function of 2048", true, 1000.0, 0),
                row("KVM_SET_GSI_ROUTING, twice", false, 99_999_400.0, 1_000_000),
            ],
            trials: 1_000_000,
            receiver: "an eventfd",
            kvm_missing: None,
        }
    }

    #[test]
    fn table_has_ratios_and_fits_a_terminal() {
        let text = text(&result());
        assert!(text.contains("99999.4"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(!text.contains("not measured"), "{text}");
    }

    #[test]
    fn missing_kvm_is_said() {
        let mut result = result();
        result.kvm_missing = Some("open /dev/kvm: gone".into());
        assert!(text(&result).contains("not measured: open /dev/kvm: gone\n"));
    }
}
