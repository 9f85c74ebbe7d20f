// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell bus`: the bus of somebody's context.

use crate::{lines::whose, print, Which};
use anyhow::{bail, ensure};
use clap::{Args, Subcommand};
use doorbell::{Access, BusInfo, Context, Record, Region, RegionInfo, Space, Target};
use doorbell_tools::{explain, output};
use serde_json::json;

#[derive(Subcommand)]
#[command(after_help = "\
A region is an address of a context's bus. What is written there signals an eventfd, or rings a line;
and the values can be kept. Numbers may be given as 4096 or as 0x1000.

Examples:
  doorbell watch --lines 4 --records 64 --socket /tmp/d &
  doorbell bus assign 0x1000 --length 4 --line 2 --record --socket /tmp/d
  doorbell bus assign 0x2000 --length 2 --datamatch 7 --line 3 --socket /tmp/d
  doorbell bus write 0x1000 0xabcd --length 4 --socket /tmp/d
  doorbell bus list --socket /tmp/d
  doorbell bus records --socket /tmp/d
  doorbell bus deassign 0x1000 --socket /tmp/d")]
pub enum BusCommand {
    /// Show the regions, and how often each was written to
    List(List),
    /// Have an address ring a line
    Assign(Assign),
    /// Take a region away
    Deassign(Deassign),
    /// Write to an address
    Write(Write),
    /// Take the kept values out, and show them
    Records(TakeRecords),
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// Where
#[derive(Args)]
struct Place {
    /// The address, e.g. 0x1000
    #[arg(value_parser = number)]
    addr: u64,
    /// In the space of ports, not of memory
    #[arg(long)]
    pio: bool,
}

impl Place {
    fn space(&self) -> Space {
        match self.pio {
            true => Space::Pio,
            false => Space::Mmio,
        }
    }
}

#[derive(Args)]
pub struct Assign {
    #[command(flatten)]
    place: Place,
    /// How many bytes a write has to have: 1, 2, 4 or 8; 0: any of these
    #[arg(long, value_name = "BYTES", default_value_t = 4, value_parser = length_or_any)]
    length: u32,
    /// Only that value
    #[arg(long, value_name = "VALUE", value_parser = number)]
    datamatch: Option<u64>,
    /// The line to ring
    #[arg(long)]
    line: u32,
    /// Keep what is written (doorbell bus records)
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
pub struct Deassign {
    #[command(flatten)]
    place: Place,
    /// The one with that datamatch; otherwise the one without
    #[arg(long, value_name = "VALUE", value_parser = number)]
    datamatch: Option<u64>,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
pub struct Write {
    #[command(flatten)]
    place: Place,
    /// What to write
    #[arg(value_parser = number)]
    value: u64,
    /// As how many bytes: 1, 2, 4 or 8
    #[arg(long, value_name = "BYTES", default_value_t = 4, value_parser = length)]
    length: u32,
    /// How often
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[command(flatten)]
    which: Which,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct TakeRecords {
    /// At most that many
    #[arg(long)]
    count: Option<usize>,
    #[command(flatten)]
    which: Which,
    /// For programs: a JSON object per line
    #[arg(long)]
    json: bool,
}

/// A number as people write addresses and values.
fn number(text: &str) -> Result<u64, String> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let number = match hex {
        // Otherwise a sign would do.
        Some(hex) if hex.starts_with('+') => None,
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| "not a number of 64 bits; write 4096 or 0x1000".into())
}

fn length(text: &str) -> Result<u32, String> {
    match text {
        "1" | "2" | "4" | "8" => Ok(text.parse().expect("it is a digit")),
        _ => Err("1, 2, 4 or 8".into()),
    }
}

fn length_or_any(text: &str) -> Result<u32, String> {
    match text {
        "0" => Ok(0),
        _ => length(text).map_err(|error| format!("{error}; 0: any of these")),
    }
}

pub fn bus(command: &BusCommand) -> anyhow::Result<()> {
    match command {
        BusCommand::List(args) => list(args),
        BusCommand::Assign(args) => assign(args),
        BusCommand::Deassign(args) => deassign(args),
        BusCommand::Write(args) => write(args),
        BusCommand::Records(args) => records(args),
    }
}

fn list(args: &List) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let (regions, bus) = (context.regions()?, context.bus_info()?);
    print(&match args.json {
        true => format!("{:#}\n", json!({ "regions": regions, "bus": bus })),
        false => listing(&regions, &bus),
    })
}

fn listing(regions: &[RegionInfo], bus: &BusInfo) -> String {
    let kept = match bus.records {
        0 => "no records".to_owned(),
        room => format!(
            "room for {room} records: {} writes recorded, {} refused",
            bus.recorded, bus.refused
        ),
    };
    if regions.is_empty() {
        return format!("no regions, {kept}; doorbell bus assign makes one\n");
    }
    let header = [
        "space",
        "addresses",
        "length",
        "datamatch",
        "target",
        "flags",
        "writes",
    ];
    let mut table = output::new_table(&header, 6);
    for RegionInfo {
        region,
        line,
        writes,
    } in regions
    {
        table.add_row([
            region.space.to_string(),
            match region.length {
                0 | 1 => format!("{:#x}", region.addr),
                n => format!("{:#x}-{:#x}", region.addr, region.addr + u64::from(n - 1)),
            },
            match region.length {
                0 => "any".into(),
                n => n.to_string(),
            },
            region
                .datamatch
                .map_or("-".into(), |value| format!("{value:#x}")),
            line.map_or("eventfd".into(), |line| format!("line {line}")),
            if region.record { "record" } else { "-" }.into(),
            writes.to_string(),
        ]);
    }
    let plural = if regions.len() == 1 { "" } else { "s" };
    format!("{table}\n{} region{plural}, {kept}\n", regions.len())
}

fn assign(args: &Assign) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let region = Region {
        space: args.place.space(),
        addr: args.place.addr,
        length: args.length,
        datamatch: args.datamatch,
        record: args.record,
    };
    if args.record {
        ensure!(context.bus_info()?.records > 0, NO_RECORDS);
    }
    context.assign_region(&region, Target::line(args.line))?;
    print(&format!("{region}: rings line {}\n", args.line))
}

const NO_RECORDS: &str = "that context keeps nothing: it has no records\n  \
    whoever opened it chooses how many, with DOORBELL_SET_RECORDS or doorbell watch --records N";

fn deassign(args: &Deassign) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let (space, addr) = (args.place.space(), args.place.addr);
    let regions = context.regions()?;
    let here = |info: &&RegionInfo| (info.region.space, info.region.addr) == (space, addr);
    let found = regions
        .iter()
        .filter(here)
        .find(|info| info.region.datamatch == args.datamatch);
    let Some(info) = found else {
        let others: Vec<String> = regions
            .iter()
            .filter(here)
            .map(|info| info.region.to_string())
            .collect();
        match others.len() {
            0 => bail!("there is no region at {space} {addr:#x}\n  doorbell bus list shows them"),
            _ => bail!(
                "no such region at {space} {addr:#x}: choose one by --datamatch, or without\n  {}",
                others.join("\n  ")
            ),
        }
    };
    context.deassign_region(&info.region, info.target())?;
    print(&format!(
        "{}: gone, after {} writes\n",
        info.region, info.writes
    ))
}

fn write(args: &Write) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let access = Access::new(args.place.space(), args.place.addr, args.length, args.value);
    let mut left = args.count;
    while left > 0 {
        let some = vec![access; left.min(1024) as usize];
        match context.write_bus(&some) {
            Ok(written) => left -= written as u64,
            Err(error) => {
                let done = match args.count - left {
                    0 => String::new(),
                    n => format!("\n  {n} of {} were written before that", args.count),
                };
                let near = match error.errno() {
                    Some(errno) if errno == libc::EOPNOTSUPP => near(&context, args),
                    _ => String::new(),
                };
                bail!("{}{near}{done}", explain(&error));
            }
        }
    }
    if args.json {
        let value = json!({
            "space": args.place.space(),
            "addr": args.place.addr,
            "length": args.length,
            "value": args.value,
            "written": args.count,
        });
        return print(&format!("{value}\n"));
    }
    print(&format!(
        "{} {:#x}: {:#x} written {}\n",
        args.place.space(),
        args.place.addr,
        args.value,
        match args.count {
            1 => "once".into(),
            n => format!("{n} times"),
        }
    ))
}

/// What is where a write was not taken.
fn near(context: &Context, args: &Write) -> String {
    let first = args.place.addr;
    let last = first.saturating_add(u64::from(args.length - 1));
    let regions = context.regions().unwrap_or_default();
    let near = regions.iter().map(|info| &info.region).filter(|region| {
        let end = u64::from(region.length.max(1) - 1);
        region.space == args.place.space()
            && region.addr <= last
            && region.addr.saturating_add(end) >= first
    });
    let few = near.take(4).map(|region| format!("\n  there is {region}"));
    few.collect()
}

fn records(args: &TakeRecords) -> anyhow::Result<()> {
    let context = whose(&args.which)?;
    let room = context.bus_info()?.records;
    ensure!(room > 0, NO_RECORDS);
    // What comes while they are taken out is for the next time: it could go on for ever.
    let most = args.count.unwrap_or(usize::MAX).min(room as usize);
    let mut taken = 0;
    while taken < most {
        let some = context.read_records((most - taken).min(1024))?;
        if some.is_empty() {
            break;
        }
        taken += some.len();
        for record in &some {
            print(&match args.json {
                true => format!("{}\n", json!(record)),
                false => line(record),
            })?;
        }
    }
    if args.json {
        return Ok(());
    }
    let bus = context.bus_info()?;
    print(&format!(
        "{taken} taken out; so far {} writes recorded, {} refused as there was no room for more than {room}\n",
        bus.recorded, bus.refused
    ))
}

fn line(record: &Record) -> String {
    let Record {
        sequence,
        space,
        addr,
        length,
        value,
    } = record;
    let digits = 2 + 2 * *length as usize;
    format!("{sequence:>8}  {space:<4} {addr:#012x}  {value:#0digits$x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("4096"), Ok(4096));
        assert_eq!(number("0x1000"), Ok(4096));
        assert_eq!(number("0XfFfFfFfFfFfFfFfF"), Ok(u64::MAX));
        for bad in [
            "",
            "x",
            "0x",
            "-1",
            "1000h",
            "0x1_0",
            "0x+1",
            "18446744073709551616",
        ] {
            assert!(number(bad).is_err(), "{bad}");
        }
        assert!(length("3").is_err() && length("0").is_err() && length("8") == Ok(8));
        assert!(length_or_any("0") == Ok(0) && length_or_any("5").is_err());
    }

    #[test]
    fn list_shows_every_region() {
        let info = |region, line, writes| RegionInfo {
            region,
            line,
            writes,
        };
        let regions = [
            info(Region::mmio(0x1000, 4).record(), Some(2), 17),
            info(Region::mmio(u64::MAX - 7, 8).datamatch(255), None, 0),
            info(Region::pio(0xcf8, 0), Some(0), 3),
        ];
        let bus = BusInfo {
            regions: 3,
            records: 64,
            recorded: 17,
            refused: 1,
        };
        let text = listing(&regions, &bus);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for row in [
            vec![
                "mmio",
                "0x1000-0x1003",
                "4",
                "-",
                "line",
                "2",
                "record",
                "17",
            ],
            vec![
                "mmio",
                "0xfffffffffffffff8-0xffffffffffffffff",
                "8",
                "0xff",
                "eventfd",
                "-",
                "0",
            ],
            vec!["pio", "0xcf8", "any", "-", "line", "0", "-", "3"],
        ] {
            assert!(rows.contains(&row), "{row:?} in {text}");
        }
        assert!(text.contains("3 regions, room for 64 records: 17 writes recorded, 1 refused"));
        let none = listing(&[], &BusInfo::default());
        assert!(none.contains("bus assign") && none.contains("no records"));
    }

    #[test]
    fn values_are_as_wide_as_they_were_written() {
        let record = Record {
            sequence: 12,
            space: Space::Pio,
            addr: 0xcf8,
            length: 2,
            value: 7,
        };
        assert_eq!(line(&record), "      12  pio  0x0000000cf8  0x0007\n");
    }
}
