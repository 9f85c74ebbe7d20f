// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell bus`.

use crate::{conclude, print, require_context, wide_table, ContextArgs};
use anyhow::{anyhow, bail, ensure};
use clap::{Args, Subcommand};
use doorbell::{Access, BusInfo, Context, Record, Region, RegionInfo, Space, Target, Value};
use doorbell_tools::explain;
use serde_json::json;

pub const HELP: &str = "\
A region is an address of a context's bus. A write to it signals an eventfd or
rings a line. The context can record all values that are written, or store the
last one. An ADDR or VALUE is decimal (4096) or hexadecimal (0x1000).

Examples:
  doorbell watch --lines 4 --records 64 --values 8 --socket /tmp/d &
  doorbell bus assign 0x1000 --line 2 --record --socket /tmp/d
  doorbell bus assign 0x3000 --line 2 --last 0 --socket /tmp/d
  doorbell bus write 0x1000 0xabcd --socket /tmp/d
  doorbell bus list --socket /tmp/d
  doorbell bus records --socket /tmp/d
  doorbell bus values --socket /tmp/d
  doorbell bus deassign 0x1000 --socket /tmp/d";

#[derive(Subcommand)]
pub enum BusCommand {
    /// Show the regions and the number of writes to each
    #[command(after_help = "\
Column 'flags': 'record', or '#' and the slot of the last value.

Examples:
  doorbell bus list --socket /tmp/d
  doorbell bus list --json --socket /tmp/d | jq '.regions[].writes'")]
    List(List),
    /// Assign a region that rings a line
    #[command(after_help = "\
Examples:
  doorbell bus assign 0x1000 --line 2 --record --socket /tmp/d
  doorbell bus assign 0x2000 --datamatch 7 --line 3 --socket /tmp/d
  doorbell bus assign 0x3000 --line 2 --last 0 --socket /tmp/d
  doorbell bus assign 0xcf8 --pio --length 0 --line 3 --socket /tmp/d")]
    Assign(Assign),
    /// Deassign a region
    #[command(after_help = "\
Examples:
  doorbell bus deassign 0x1000 --socket /tmp/d
  doorbell bus deassign 0x2000 --datamatch 7 --socket /tmp/d")]
    Deassign(Deassign),
    /// Write a value to an address
    #[command(after_help = "\
Examples:
  doorbell bus write 0x1000 0xabcd --socket /tmp/d
  doorbell bus write 0xcf8 0xff --pio --length 1 --socket /tmp/d")]
    Write(Write),
    /// Consume the recorded writes and show them
    #[command(after_help = "\
It consumes up to 1024 records at a time, and then prints them. If the reader of
its output ends before ('... | head'), the rest of them is lost, and the exit
status is 1. Use --max-records instead.

Examples:
  doorbell bus records --socket /tmp/d
  doorbell bus records --max-records 10 --json --socket /tmp/d")]
    Records(TakeRecords),
    /// Show the last values that were written, and the number of writes
    #[command(after_help = "\
Examples:
  doorbell bus values --socket /tmp/d
  doorbell bus values --all --json --socket /tmp/d")]
    Values(ShowValues),
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    context: ContextArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments that choose an address.
#[derive(Args)]
struct Place {
    /// Use the address ADDR
    #[arg(value_name = "ADDR", value_parser = number)]
    addr: u64,
    /// Use the port I/O space instead of the memory space
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
    /// Match writes of BYTES bytes: 1, 2, 4 or 8; 0 matches all of these
    #[arg(long, value_name = "BYTES", default_value_t = 4, value_parser = length_or_any)]
    length: u32,
    /// Match only writes of VALUE
    #[arg(long, value_name = "VALUE", value_parser = number)]
    datamatch: Option<u64>,
    /// Ring the line LINE
    #[arg(long, value_name = "LINE")]
    line: u32,
    /// Record the writes for 'doorbell bus records'
    #[arg(long)]
    record: bool,
    /// Store the last value in slot SLOT for 'doorbell bus values'
    #[arg(long, value_name = "SLOT", conflicts_with = "record")]
    last: Option<u32>,
    #[command(flatten)]
    context: ContextArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Deassign {
    #[command(flatten)]
    place: Place,
    /// Choose the region with this datamatch, instead of the one without
    #[arg(long, value_name = "VALUE", value_parser = number)]
    datamatch: Option<u64>,
    #[command(flatten)]
    context: ContextArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Write {
    #[command(flatten)]
    place: Place,
    /// Write VALUE
    #[arg(value_name = "VALUE", value_parser = number)]
    value: u64,
    /// Write BYTES bytes: 1, 2, 4 or 8
    #[arg(long, value_name = "BYTES", default_value_t = 4, value_parser = length)]
    length: u32,
    /// Write N times
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    #[command(flatten)]
    context: ContextArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct TakeRecords {
    /// Consume at most N records
    #[arg(long, value_name = "N")]
    max_records: Option<usize>,
    #[command(flatten)]
    context: ContextArgs,
    /// Print a JSON object per record
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct ShowValues {
    /// Show also the slots that were never written
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    context: ContextArgs,
    /// Print a JSON object per slot
    #[arg(long)]
    json: bool,
}

/// Parses an address or a value: decimal, or hexadecimal with 0x.
fn number(text: &str) -> Result<u64, String> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let number = match hex {
        // from_str_radix() takes a sign.
        Some(hex) if hex.starts_with('+') => None,
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| "not a 64-bit number: write 4096 or 0x1000".into())
}

fn length(text: &str) -> Result<u32, String> {
    match text {
        "1" | "2" | "4" | "8" => Ok(text.parse().expect("it is a digit")),
        _ => Err("write 1, 2, 4 or 8".into()),
    }
}

fn length_or_any(text: &str) -> Result<u32, String> {
    match text {
        "0" => Ok(0),
        _ => length(text).map_err(|error| format!("{error}, or 0 for all of these")),
    }
}

pub fn bus(command: &BusCommand) -> anyhow::Result<()> {
    match command {
        BusCommand::List(args) => list(args),
        BusCommand::Assign(args) => assign(args),
        BusCommand::Deassign(args) => deassign(args),
        BusCommand::Write(args) => write(args),
        BusCommand::Records(args) => records(args),
        BusCommand::Values(args) => values(args),
    }
}

fn list(args: &List) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let (regions, bus) = (context.regions()?, context.bus_info()?);
    print(&match args.json {
        true => format!("{:#}\n", json!({ "regions": regions, "bus": bus })),
        false => listing(&regions, &bus),
    })
}

/// Formats the regions as a table.
fn listing(regions: &[RegionInfo], bus: &BusInfo) -> String {
    let records = match bus.records {
        0 => "no record ring".to_owned(),
        size => format!(
            "a ring of {size} records: {} writes recorded, {} refused",
            bus.recorded, bus.refused
        ),
    };
    let records = match bus.values {
        0 => records,
        1 => format!("{records}; 1 last value"),
        slots => format!("{records}; {slots} last values"),
    };
    if regions.is_empty() {
        return format!("no regions, {records}\n  'doorbell bus assign' assigns one\n");
    }
    let header = [
        "space",
        "address",
        "bytes",
        "datamatch",
        "target",
        "flags",
        "writes",
    ];
    let mut table = wide_table(&header, 6);
    for RegionInfo {
        region,
        line,
        writes,
    } in regions
    {
        table.add_row([
            region.space.to_string(),
            format!("{:#x}", region.addr),
            match region.length {
                0 => "any".into(),
                n => n.to_string(),
            },
            region
                .datamatch
                .map_or("-".into(), |value| format!("{value:#x}")),
            line.map_or("eventfd".into(), |line| format!("line {line}")),
            match (region.record, region.last) {
                (true, _) => "record".into(),
                (false, Some(slot)) => format!("#{slot}"),
                (false, None) => "-".into(),
            },
            writes.to_string(),
        ]);
    }
    let plural = if regions.len() == 1 { "" } else { "s" };
    format!("{table}\n{} region{plural}, {records}\n", regions.len())
}

fn assign(args: &Assign) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let region = Region {
        space: args.place.space(),
        addr: args.place.addr,
        length: args.length,
        datamatch: args.datamatch,
        record: args.record,
        last: args.last,
    };
    if args.record {
        ensure!(context.bus_info()?.records > 0, NO_RECORDS);
    }
    if let Some(slot) = args.last {
        let slots = context.bus_info()?.values;
        ensure!(slots > 0, NO_VALUES);
        ensure!(
            slot < slots,
            "the context has slots 0 to {} only",
            slots - 1
        );
    }
    context.assign_region(&region, Target::line(args.line))?;
    print(&match args.json {
        true => format!("{}\n", json!({ "region": region, "line": args.line })),
        false => format!("{region}: rings line {}\n", args.line),
    })
}

const NO_RECORDS: &str = "the context has no record ring\n  \
    its owner creates one with DOORBELL_SET_RECORDS, or 'doorbell watch --records N'";

const NO_VALUES: &str = "the context has no last values\n  \
    its owner creates them with DOORBELL_SET_RECORDS_FLAG_VALUES, or 'doorbell watch --values N'";

fn deassign(args: &Deassign) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
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
            0 => bail!("no region at {space} {addr:#x}\n  'doorbell bus list' shows the regions"),
            _ => bail!(
                "no such region at {space} {addr:#x}: choose one of these by --datamatch\n  {}",
                others.join("\n  ")
            ),
        }
    };
    context.deassign_region(&info.region, info.target())?;
    let RegionInfo { region, writes, .. } = info;
    print(&match args.json {
        true => format!("{}\n", json!({ "region": region, "writes": writes })),
        false => format!("{region}: deassigned after {writes} writes\n"),
    })
}

fn write(args: &Write) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let access = Access::new(args.place.space(), args.place.addr, args.length, args.value);
    let mut left = args.count;
    while left > 0 {
        let some = vec![access; left.min(1024) as usize];
        match context.write_bus(&some) {
            Ok(written) => left -= written as u64,
            Err(error) => {
                let done = match args.count - left {
                    0 => String::new(),
                    n => format!("\n  {n} of {} writes were made before", args.count),
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

/// Names the regions that overlap the address of a refused write.
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
    let few = near
        .take(4)
        .map(|region| format!("\n  a region there: {region}"));
    few.collect()
}

fn records(args: &TakeRecords) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    let size = context.bus_info()?.records;
    ensure!(size > 0, NO_RECORDS);
    // At most one ring's worth: writers may add records faster than they are consumed.
    let most = args.max_records.unwrap_or(usize::MAX).min(size as usize);
    let mut taken = 0;
    while taken < most {
        let some = context.read_records((most - taken).min(1024))?;
        if some.is_empty() {
            break;
        }
        taken += some.len();
        show(&some, args.json, print)?;
    }
    if args.json {
        return Ok(());
    }
    let bus = context.bus_info()?;
    print(&format!(
        "{taken} records consumed; in total {} writes recorded, {} refused by a full ring of {size}\n",
        bus.recorded, bus.refused
    ))
}

/// Prints `records` by `print`.
///
/// # Errors
///
/// If some were not printed. They are consumed, so this is an error even if the reader of the
/// output has closed it.
fn show(
    records: &[Record],
    json: bool,
    mut print: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for (at, record) in records.iter().enumerate() {
        let printed = print(&match json {
            true => format!("{}\n", json!(record)),
            false => line(record),
        });
        if printed.is_err() {
            let lost = records.len() - at;
            let verdict = anyhow!("{lost} records were consumed, but not printed");
            return conclude(printed, Err(verdict));
        }
    }
    Ok(())
}

fn values(args: &ShowValues) -> anyhow::Result<()> {
    let context = require_context(&args.context)?;
    ensure!(context.bus_info()?.values > 0, NO_VALUES);
    let values = context.map_values()?;
    let all = (0..values.slots()).map(|slot| (slot, values.read(slot)));
    let shown: Vec<(u32, Value)> = all
        .filter(|(_, last)| args.all || last.writes > 0)
        .collect();
    if !args.json {
        return print(&value_table(&shown, values.slots()));
    }
    for (slot, Value { value, writes }) in shown {
        let object = json!({ "slot": slot, "value": value, "writes": writes });
        print(&format!("{object}\n"))?;
    }
    Ok(())
}

/// Formats last values as a table, of a context that has `slots` of them.
fn value_table(shown: &[(u32, Value)], slots: u32) -> String {
    let mut out = String::new();
    if !shown.is_empty() {
        out += &format!("{:>6}  {:<18}  {:>12}\n", "slot", "value", "writes");
    }
    for (slot, Value { value, writes }) in shown {
        out += &format!("{slot:>6}  {value:#018x}  {writes:>12}\n");
    }
    let written = shown.iter().filter(|(_, last)| last.writes > 0).count();
    out + &format!("{written} of {slots} slots were written\n")
}

/// Formats a record as a line.
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
    use crate::Closed;

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
    fn records_that_are_not_printed_are_an_error() {
        let record = Record {
            sequence: 1,
            space: Space::Mmio,
            addr: 0x1000,
            length: 4,
            value: 7,
        };
        for json in [false, true] {
            let mut printed = 0;
            let error = show(&[record; 5], json, |_| match printed {
                2 => Err(Closed.into()),
                _ => {
                    printed += 1;
                    Ok(())
                }
            });
            let error = error.unwrap_err();
            assert!(!error.is::<Closed>(), "the command would exit with 0");
            assert!(error.to_string().starts_with("3 records"), "{error}");
            show(&[record; 5], json, |_| Ok(())).unwrap();
        }
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
            info(Region::pio(0xcfc, 4).last(12), Some(1), 4),
        ];
        let bus = BusInfo {
            regions: 4,
            records: 64,
            recorded: 17,
            refused: 1,
            values: 16,
        };
        let text = listing(&regions, &bus);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for row in [
            vec!["mmio", "0x1000", "4", "-", "line", "2", "record", "17"],
            vec![
                "mmio",
                "0xfffffffffffffff8",
                "8",
                "0xff",
                "eventfd",
                "-",
                "0",
            ],
            vec!["pio", "0xcf8", "any", "-", "line", "0", "-", "3"],
            vec!["pio", "0xcfc", "4", "-", "line", "1", "#12", "4"],
        ] {
            assert!(rows.contains(&row), "{row:?} in {text}");
        }
        let ring = "4 regions, a ring of 64 records: 17 writes recorded, 1 refused; 16 last values";
        assert!(text.contains(ring), "{text}");
        let none = listing(&[], &BusInfo::default());
        assert!(none.contains("bus assign") && none.contains("no record ring"));
    }

    #[test]
    fn list_fits_a_terminal() {
        let region = Region::mmio(0xffff_fff0_0000, 8).datamatch(u64::MAX);
        let info = RegionInfo {
            region: region.last(65_535),
            line: Some(65_535),
            writes: 99_999_999,
        };
        let text = listing(&[info], &BusInfo::default());
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
    }

    #[test]
    fn last_values_are_listed_with_their_count() {
        let last = Value {
            value: 0xabcd,
            writes: 17,
        };
        assert_eq!(
            value_table(&[(0, Value::default()), (3, last)], 8),
            "  slot  value                     writes\n     \
                0  0x0000000000000000             0\n     \
                3  0x000000000000abcd            17\n\
             1 of 8 slots were written\n"
        );
        assert_eq!(value_table(&[], 8), "0 of 8 slots were written\n");
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
