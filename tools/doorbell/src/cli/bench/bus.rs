// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell bench bus`.

use crate::{duration, print, progress::with_progress};
use clap::Args;
use doorbell::uapi;
use doorbell_tools::{
    bench::bus::{self, Bus, Options, Pair, Scale},
    machine::Machine,
    output::{new_table, us},
};
use serde_json::json;
use std::{path::Path, time::Duration};

pub const HELP: &str = "\
Each region has an eventfd of its own, and each write goes to a random region.
The 'eventfd' column is a write and a read of these eventfds without regions:
the part of the cost that the number of eventfds causes.

Examples:
  doorbell bench bus
  doorbell bench bus --max-regions 1000 --duration 1s --json";

#[derive(Args)]
pub struct BenchBus {
    /// Measure 1, 10, 100, ... regions, up to N
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_REGIONS - 1)))]
    max_regions: u32,
    /// Measure writes for about DURATION; assigning takes longer
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration)]
    duration: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn bench_bus(device: &Path, args: &BenchBus) -> anyhow::Result<()> {
    let options = Options {
        most: args.max_regions,
        time: args.duration,
    };
    let result = with_progress(|progress| bus::run(device, options, progress))?;
    let machine = Machine::this();
    if args.json {
        let value = json!({ "machine": machine, "bus": result });
        return print(&format!("{value:#}\n"));
    }
    print(&format!("{machine}\n{}", text(&result)))
}

fn text(result: &Bus) -> String {
    let mut text = format!("{}\n", pairs(&result.pairs));
    if let Some(missing) = &result.kvm_missing {
        text += &format!("KVM_IOEVENTFD was not measured: {missing}\n");
    }
    text += &format!(
        "\n{}\n\n{}\n\n",
        changes(&result.scale),
        writes(&result.scale)
    );
    for scale in result.scale.iter().filter(|s| s.one_by_one < s.regions) {
        text += &format!(
            "of {} regions {} were assigned one by one: more would have taken too long\n",
            scale.regions, scale.one_by_one
        );
    }
    text + "All at once: with one call. One more: an assign and a deassign with that many others.\n\
            Writes: medians, in turns, to random regions. By 64: per write, with one call and\n\
            without a read. pwrite and eventfd: with a read of the eventfd. Times: the ratio to\n\
            one region; that of eventfd shows the cost of the number of eventfds.\n"
}

/// Compares one region with one of KVM.
fn pairs(pairs: &[Pair]) -> comfy_table::Table {
    let header = [
        "one region",
        "assign, us",
        "assign+deassign, us",
        "ratio to KVM's",
    ];
    let mut table = new_table(&header, 1);
    for pair in pairs {
        let others = match pair.others {
            0 => "empty bus".to_owned(),
            n => format!("{n} others"),
        };
        let ratio = |ns: f64| {
            let ratio = pair.kvm_pair_ns.map(|kvm| format!("{:.3}", ns / kvm));
            ratio.unwrap_or_default()
        };
        if let (Some(assign), Some(both)) = (pair.kvm_assign_ns, pair.kvm_pair_ns) {
            let name = format!("KVM_IOEVENTFD, {others}");
            table.add_row([name, us(assign), us(both), ratio(both)]);
        }
        let name = format!("region, {others}");
        table.add_row([
            name,
            us(pair.assign_ns),
            us(pair.pair_ns),
            ratio(pair.pair_ns),
        ]);
    }
    table
}

/// Shows the costs of assign, deassign and close by the number of regions.
fn changes(rows: &[Scale]) -> comfy_table::Table {
    let header = [
        "regions",
        "all at once, ms",
        "one by one, ms",
        "one more, us",
        "close, ms",
    ];
    let mut table = new_table(&header, 0);
    let ms = |ns: f64| us(ns / 1000.0);
    for row in rows {
        let one_by_one = match row.one_by_one < row.regions {
            true => format!("{} ({} only)", ms(row.one_by_one_ns), row.one_by_one),
            false => ms(row.one_by_one_ns),
        };
        table.add_row([
            row.regions.to_string(),
            ms(row.batch_assign_ns),
            one_by_one,
            us(row.pair_ns),
            ms(row.close_ns),
        ]);
    }
    table
}

/// Shows the costs of writes by the number of regions, and their ratios to the first row.
fn writes(rows: &[Scale]) -> comfy_table::Table {
    let header = [
        "regions",
        "write, by 64, us",
        "times",
        "pwrite, read, us",
        "times",
        "eventfd, us",
        "times",
    ];
    let mut table = new_table(&header, 0);
    let Some(first) = rows.first() else {
        return table;
    };
    for row in rows {
        let mut cells = vec![row.regions.to_string()];
        for (ns, one) in [
            (row.batch_write_ns, first.batch_write_ns),
            (row.pwrite_ns, first.pwrite_ns),
            (row.eventfd_ns, first.eventfd_ns),
        ] {
            cells.extend([us(ns), format!("{:.2}", ns / one)]);
        }
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(regions: u32, factor: f64) -> Scale {
        Scale {
            regions,
            batch_assign_ns: 1e6 * factor,
            one_by_one_ns: 2e6 * factor,
            one_by_one: regions.min(50),
            pair_ns: 5000.0,
            batch_write_ns: 250.0 * factor,
            pwrite_ns: 1500.0 * factor,
            eventfd_ns: 800.0,
            close_ns: 3e6,
        }
    }

    #[test]
    fn tables_compare_with_one_region_and_with_kvm() {
        let pair = |others, kvm| Pair {
            others,
            pair_ns: 10_000.0,
            assign_ns: 6000.0,
            kvm_pair_ns: kvm,
            kvm_assign_ns: kvm,
        };
        let mut result = Bus {
            pairs: vec![pair(0, Some(100_000.0)), pair(900, Some(200_000.0))],
            kvm_missing: None,
            scale: vec![scale(1, 1.0), scale(100, 3.0)],
        };
        let all = text(&result);
        for part in [
            "0.100",
            "0.050",
            "900 others",
            "3.00",
            "6.00 (50 only)",
            "of 100 regions 50",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        result.pairs = vec![pair(0, None)];
        result.kvm_missing = Some("/dev/kvm: gone".into());
        let all = text(&result);
        assert!(!all.contains("KVM_IOEVENTFD, empty"), "{all}");
        assert!(all.contains("not measured: /dev/kvm: gone"), "{all}");
    }
}
