// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell rtt --qemu`.

use crate::{measure::with_progress, print};
use clap::Args;
use doorbell::{
    ivshmem::vm,
    machine::Machine,
    output,
    rtt::qemu::{self, Kind, Options, Report},
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Rows of guests of an unmodified QEMU
#[derive(Args)]
pub struct Qemu {
    /// Instead: what a write to a doorbell costs a guest of an unmodified QEMU (ivshmem-doorbell),
    /// with ioeventfd=off and =on
    #[arg(long, conflicts_with_all = ["time", "rounds", "row", "lines", "fill", "format", "csv", "plot"])]
    qemu: bool,
    /// The QEMU
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    qemu_program: PathBuf,
    /// Its accelerator
    #[arg(long, value_name = "ACCEL", default_value = "kvm")]
    qemu_accel: String,
    /// How often each guest is booted
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    qemu_boots: u32,
    /// How many batches of 200 writes, or of 20 round trips, it does then
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    qemu_batches: u32,
}

impl Qemu {
    pub fn wanted(&self) -> bool {
        self.qemu
    }
}

/// The table of 2009: iops and us.
const THEN: [(&str, f64, f64); 2] = [
    ("qemu-mmio", 110_000.0, 9.09),
    ("ioeventfd-mmio", 200_100.0, 5.00),
];
const RATIO_THEN: f64 = 1.82;

pub fn rtt(device: &Path, args: &Qemu, json: bool) -> anyhow::Result<()> {
    let options = Options {
        qemu: vm::Qemu {
            program: args.qemu_program.clone(),
            accelerator: args.qemu_accel.clone(),
        },
        boots: args.qemu_boots,
        writes: 200,
        batches: args.qemu_batches,
        trips: 20 * args.qemu_batches,
        device: device.to_owned(),
    };
    let report = with_progress(|progress| qemu::run(&options, progress))?;
    let machine = Machine::this();
    print(&match json {
        true => programs(&report, &machine),
        false => people(&report, &machine),
    })
}

fn programs(report: &Report, machine: &Machine) -> String {
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            json!({
                "group": match row.kind {
                    Kind::Write => "qemu-write",
                    Kind::Circle => "qemu-circle",
                },
                "name": row.name(),
                "iops": row.iops(),
                "ns": row.ns,
                "q1_ns": row.quartiles.0,
                "q3_ns": row.quartiles.1,
                "min_ns": row.min,
                "count": row.count,
            })
        })
        .collect();
    let value = json!({
        "machine": machine,
        "qemu": report.version,
        "accelerator": report.accelerator,
        "boots": report.boots,
        "tsc_hz": report.tsc_hz,
        "rows": rows,
        "mmio_ratio": report.ratio(Kind::Write),
        "mmio_ratio_2009": RATIO_THEN,
        "circle_ratio": report.ratio(Kind::Circle),
    });
    format!("{value:#}\n")
}

fn people(report: &Report, machine: &Machine) -> String {
    let mut out = format!(
        "{machine}\n{}, -accel {}, -device ivshmem-doorbell; each guest booted {} times\n",
        report.version, report.accelerator, report.boots
    );
    for (kind, title) in [
        (Kind::Write, "a guest's write"),
        (Kind::Circle, "eventfd, guest's handler, eventfd"),
    ] {
        let mut header = vec![title, "iops", "us", "min", "q1", "q3", "count"];
        if kind == Kind::Write {
            header.extend(["iops 2009", "us 2009"]);
        }
        let mut table = output::new_table(&header, 1);
        for row in report.rows.iter().filter(|row| row.kind == kind) {
            let times = [row.ns, row.min, row.quartiles.0, row.quartiles.1];
            let mut cells = vec![row.name().to_owned(), format!("{:.0}", row.iops())];
            cells.extend(times.map(output::us));
            cells.push(row.count.to_string());
            if let Some((_, iops, us)) = THEN.iter().find(|(name, ..)| *name == row.name()) {
                cells.extend([format!("{iops:.0}"), format!("{us:.2}")]);
            }
            table.add_row(cells);
        }
        out += &format!("\n{table}\n");
        let Some(ratio) = report.ratio(kind) else {
            continue;
        };
        let then = match kind {
            Kind::Write => format!("; in 2009: {RATIO_THEN:.2}"),
            Kind::Circle => String::new(),
        };
        out += &format!("qemu-mmio / ioeventfd-mmio: {ratio:.2}{then}\n");
    }
    out += &format!(
        "\niops, us: median; of a write: of batches that the guest timed itself (TSC, {:.2} GHz).\n\
         count: as many rings as that have arrived at the doorbell's line, not one more or less.\n",
        report.tsc_hz / 1e9
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::rtt::qemu::Row;

    fn report() -> Report {
        let row = |kind, ioeventfd, ns| Row {
            kind,
            ioeventfd,
            ns,
            quartiles: (ns - 1.0, ns + 1.0),
            min: ns - 2.0,
            count: 20_000,
        };
        Report {
            version: "QEMU 0.10".into(),
            accelerator: "kvm".into(),
            boots: 2,
            tsc_hz: 2.5e9,
            rows: vec![
                row(Kind::Write, false, 9000.0),
                row(Kind::Write, true, 3000.0),
                row(Kind::Circle, false, 40_000.0),
                row(Kind::Circle, true, 20_000.0),
            ],
        }
    }

    #[test]
    fn both_rows_stand_beside_those_of_2009() {
        let text = people(&report(), &Machine::this());
        let row = |name: &str| -> Vec<&str> {
            let row = text
                .lines()
                .find(|line| line.trim_start().starts_with(name));
            row.unwrap_or_else(|| panic!("{name}: {text}"))
                .split_whitespace()
                .collect()
        };
        assert_eq!(
            row("qemu-mmio  "),
            [
                "qemu-mmio",
                "111111",
                "9.00",
                "9.00",
                "9.00",
                "9.00",
                "20000",
                "110000",
                "9.09"
            ]
        );
        assert_eq!(row("ioeventfd-mmio  ")[7..], ["200100", "5.00"]);
        assert!(
            text.contains("3.00; in 2009: 1.82") && text.contains("2.50 GHz"),
            "{text}"
        );
    }

    #[test]
    fn ratio_of_2009_is_that_of_its_figures() {
        let [(_, _, qemu), (_, _, ioeventfd)] = THEN;
        assert!((qemu / ioeventfd - RATIO_THEN).abs() < 0.01);
    }

    #[test]
    fn programs_get_the_same() {
        let value: serde_json::Value =
            serde_json::from_str(&programs(&report(), &Machine::this())).unwrap();
        assert_eq!(value["mmio_ratio"], 3.0);
        assert_eq!(value["circle_ratio"], 2.0);
        assert_eq!(value["rows"][1]["name"], "ioeventfd-mmio");
        assert_eq!(value["rows"][0]["count"], 20_000);
    }
}
