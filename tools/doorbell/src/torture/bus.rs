// SPDX-License-Identifier: GPL-2.0-only

//! Rings by writes to the bus, and their records.
//!
//! Each line that all producers ring in all ways has a region. The region moves while producers
//! write to it. If a region accepts a write, the line rings. Otherwise the write fails. Some
//! regions record the values that are written. Each record is consumed once, and in order. Other
//! regions store the last value; a region that moves hands its slot on.

use super::{faults, kind::Kind, Rule, Violation};
use doorbell::{Access, Changes, Context, Record, RecordRing, Region, Space, Target, Values};
use std::sync::{
    atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
    Mutex, MutexGuard, PoisonError,
};

/// The size of the record ring: small enough that it overflows.
const RECORDS: u32 = 256;

/// The region of a line. It is at one of two addresses.
struct LineRegion {
    addresses: [u64; 2],
    record: bool,
    /// The slot of its last value, and the number of writes that it accepted.
    last: Option<(u32, AtomicU64)>,
    /// The index of its last known address.
    place: AtomicUsize,
}

impl LineRegion {
    fn at(&self, place: usize) -> Region {
        let region = Region::mmio(self.addresses[place], 8);
        match (self.record, &self.last) {
            (true, _) => region.record(),
            (false, Some((slot, _))) => region.last(*slot),
            (false, None) => region,
        }
    }
}

/// The bus of the first context.
pub(super) struct Bus {
    /// By line. Not all lines have a region.
    regions: Vec<Option<LineRegion>>,
    /// The number of writes that were accepted and recorded.
    recorded: AtomicU64,
    /// The number of writes that were refused because the record ring was full ...
    refused: AtomicU64,
    /// ... and the number of those that may have been: they ended a batch after other writes.
    unknown: AtomicU64,
    consumer: Mutex<Consumer>,
    values: Values,
}

/// The consumer of records.
struct Consumer {
    records: RecordRing,
    checker: RecordChecker,
}

/// The state that checks the order of consumed records.
struct RecordChecker {
    /// The sequence number of the last record.
    sequence: u64,
    /// The last number of each producer.
    numbers: Vec<u64>,
}

/// The values that a producer writes. Each value is unique.
pub(super) struct UniqueValues {
    producer: usize,
    last: u64,
}

const BITS: u32 = 48;

impl UniqueValues {
    pub(super) fn new(producer: usize) -> Self {
        Self { producer, last: 0 }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        ((self.producer as u64) << BITS) | self.last
    }
}

fn errno_is(error: &doorbell::Error, errno: i32) -> bool {
    error.errno() == Some(errno)
}

impl Bus {
    /// Assigns a region to each line of `context` that producers ring in all ways. `kinds` are the
    /// kinds of its lines.
    pub(super) fn new(context: &Context, kinds: &[Kind], producers: usize) -> anyhow::Result<Self> {
        context.set_records(RECORDS)?;
        context.set_values(kinds.len() as u32)?;
        let mut regions = Vec::new();
        let mut changes = Changes::new();
        for (line, kind) in (0u32..).zip(kinds) {
            // The order by address differs between the two addresses.
            let offset = 8 * u64::from(line);
            let region = LineRegion {
                addresses: [0x1000 + offset, (1 << 46) - offset],
                record: line % 3 == 1,
                last: (line % 3 == 2).then_some((line, AtomicU64::new(0))),
                place: AtomicUsize::new(0),
            };
            let has = kind.rung() && *kind != Kind::Ioctl;
            if has {
                changes.assign(&region.at(0), Target::line(line));
            }
            regions.push(has.then_some(region));
        }
        context.change_regions(&changes)?;
        Ok(Self {
            regions,
            recorded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            consumer: Mutex::new(Consumer {
                records: context.map_records()?,
                checker: RecordChecker {
                    sequence: 0,
                    numbers: vec![0; producers],
                },
            }),
            values: context.map_values()?,
        })
    }

    /// Returns true if `line` has a region.
    pub(super) fn has_region(&self, line: usize) -> bool {
        self.regions.get(line).is_some_and(Option::is_some)
    }

    /// Writes to the last known address of the region of `line`: once, or `batch` times by one
    /// call. Returns the number of writes that were accepted.
    pub(super) fn write(
        &self,
        context: &Context,
        line: usize,
        values: &mut UniqueValues,
        batch: Option<usize>,
    ) -> Result<u64, Violation> {
        let Some(Some(region)) = self.regions.get(line) else {
            return Ok(0);
        };
        let addr = region.addresses[region.place.load(Acquire)];
        let result = match batch {
            None => context
                .pwrite(addr, &values.next().to_ne_bytes())
                .map(|()| 1),
            Some(n) => {
                let access = |_| Access::new(Space::Mmio, addr, 8, values.next());
                let accesses: Vec<_> = (0..n).map(access).collect();
                let taken = context.write_bus(&accesses);
                if taken.as_ref().is_ok_and(|&taken| taken < n) && region.record {
                    self.unknown.fetch_add(1, Relaxed);
                }
                taken
            }
        };
        let taken = match result {
            Ok(taken) => taken as u64,
            // The region has moved.
            Err(error) if errno_is(&error, libc::EOPNOTSUPP) => 0,
            Err(error) if errno_is(&error, libc::ENOBUFS) && region.record => {
                self.refused.fetch_add(1, Relaxed);
                0
            }
            Err(error) => return Err(error.into()),
        };
        if region.record {
            self.recorded.fetch_add(taken, Relaxed);
        }
        if let (Some((slot, stored)), 1..) = (&region.last, taken) {
            stored.fetch_add(taken, Relaxed);
            self.check_last(*slot, values, batch.is_none())?;
        }
        Ok(taken)
    }

    /// Checks the last value of `slot` after a write by the producer of `values`. If that is `newest`,
    /// none of its older values may be there.
    fn check_last(&self, slot: u32, values: &UniqueValues, newest: bool) -> Result<(), Violation> {
        let last = self.values.read(slot);
        let (producer, number) = (
            (last.value >> BITS) as usize,
            last.value & ((1 << BITS) - 1),
        );
        let is_own = producer == values.producer;
        if last.writes == 0 || number == 0 || is_own && newest && number != values.last {
            let text = format!(
                "{last:?} in slot {slot} after number {} of producer {}",
                values.last, values.producer
            );
            return Err(Violation::new(Rule::Lost, "the last values", text));
        }
        Ok(())
    }

    /// Moves the regions of `lines` by one call. Returns their number. No other thread may move
    /// them.
    pub(super) fn move_regions(
        &self,
        context: &Context,
        lines: &[usize],
    ) -> Result<u64, Violation> {
        let mut changes = Changes::new();
        let regions = || {
            let region = |&line: &usize| self.regions[line].as_ref().map(|region| (line, region));
            lines.iter().filter_map(region)
        };
        for (line, region) in regions() {
            let place = region.place.load(Relaxed);
            let target = Target::line(line as u32);
            changes.deassign(&region.at(place), target);
            changes.assign(&region.at(1 - place), target);
        }
        faults::call(|| context.change_regions(&changes))?;
        for (_, region) in regions() {
            region.place.store(1 - region.place.load(Relaxed), Release);
        }
        Ok(regions().count() as u64)
    }

    fn consumer(&self) -> MutexGuard<'_, Consumer> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Consumes up to `most` records, by a system call or from the mapped ring, and checks them.
    pub(super) fn consume(
        &self,
        context: &Context,
        most: usize,
        call: bool,
    ) -> Result<(), Violation> {
        let mut consumer = self.consumer();
        let taken: Vec<Record> = match call {
            true => context.read_records(most)?,
            false => consumer.records.by_ref().take(most).collect(),
        };
        taken.iter().try_for_each(|record| {
            consumer
                .checker
                .check(record, |addr| self.records_at(addr))
                .map_err(|(rule, text)| Violation::new(rule, "a record", text))
        })
    }

    /// Returns true if `addr` is an address of a region that records.
    fn records_at(&self, addr: u64) -> bool {
        let regions = self.regions.iter().flatten();
        regions
            .filter(|region| region.record)
            .any(|region| region.addresses.contains(&addr))
    }

    /// Compares writes, records and regions with those of the module. No thread may write.
    pub(super) fn check(&self, context: &Context) -> Result<Vec<Violation>, Violation> {
        self.consume(context, usize::MAX, false)?;
        let mut violations = Vec::new();
        let mut violation = |rule, text| violations.push(Violation::new(rule, "the bus", text));
        let bus = context.bus_info()?;
        let (taken, consumed) = (
            self.recorded.load(Acquire),
            self.consumer().checker.sequence,
        );
        if let Some(rule) = Rule::for_difference(consumed, taken)
            .or_else(|| Rule::for_difference(bus.recorded, taken))
        {
            let text = format!(
                "{taken} writes were recorded and {consumed} records consumed, but the module \
                 counts {}",
                bus.recorded
            );
            violation(rule, text);
        }
        let refused = self.refused.load(Acquire);
        let high = refused + self.unknown.load(Acquire);
        if !(refused..=high).contains(&bus.refused) {
            let text = format!(
                "{refused} writes were refused, at most {high}, but the module counts {}",
                bus.refused
            );
            violation(Rule::Counters, text);
        }
        for (slot, stored) in self
            .regions
            .iter()
            .flatten()
            .flat_map(|region| &region.last)
        {
            let (stored, writes) = (stored.load(Acquire), self.values.read(*slot).writes);
            if let Some(rule) = Rule::for_difference(writes, stored) {
                let text =
                    format!("{stored} writes to slot {slot}, but the module counts {writes}");
                violation(rule, text);
            }
        }
        let mut expected: Vec<(Region, Option<u32>)> = (0..)
            .zip(&self.regions)
            .filter_map(|(line, region)| Some((line, region.as_ref()?)))
            .map(|(line, region)| (region.at(region.place.load(Acquire)), Some(line)))
            .collect();
        expected.sort_by_key(|(region, _)| region.addr);
        let listed = context.regions()?;
        if !listed.iter().map(|one| (one.region, one.line)).eq(expected) {
            let text = format!(
                "the {} regions that are listed are not those that were assigned",
                listed.len()
            );
            violation(Rule::Results, text);
        }
        Ok(violations)
    }
}

impl RecordChecker {
    fn check(
        &mut self,
        record: &Record,
        records_at: impl Fn(u64) -> bool,
    ) -> Result<(), (Rule, String)> {
        let last = self.sequence;
        if record.sequence != last + 1 {
            let text = format!("record {} was consumed after {last}", record.sequence);
            return Err((Rule::Results, text));
        }
        self.sequence = record.sequence;
        let number = record.value & ((1 << BITS) - 1);
        let at = (record.value >> BITS) as usize;
        let whole = record.space == Space::Mmio && record.length == 8 && records_at(record.addr);
        let Some(before) = self.numbers.get_mut(at).filter(|_| whole && number != 0) else {
            return Err((
                Rule::Invented,
                format!("no producer wrote this: {record:?}"),
            ));
        };
        if number <= *before {
            let text = format!("value {number} of producer {at} was consumed after {before}");
            return Err((Rule::Invented, text));
        }
        *before = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, value: u64) -> Record {
        Record {
            sequence,
            space: Space::Mmio,
            addr: 0x1000,
            length: 8,
            value,
        }
    }

    fn check(checker: &mut RecordChecker, record: Record) -> Result<(), Rule> {
        checker
            .check(&record, |addr| addr == 0x1000)
            .map_err(|(rule, _)| rule)
    }

    #[test]
    fn records_are_consumed_once_and_in_order() {
        let (mut first, mut second) = (UniqueValues::new(0), UniqueValues::new(1));
        let mut checker = RecordChecker {
            sequence: 0,
            numbers: vec![0; 2],
        };
        let values = [first.next(), second.next(), second.next(), first.next()];
        // The second producer's first write was not accepted.
        assert_eq!(check(&mut checker, record(1, values[0])), Ok(()));
        assert_eq!(check(&mut checker, record(2, values[2])), Ok(()));
        assert_eq!(
            check(&mut checker, record(4, values[3])),
            Err(Rule::Results)
        );
        assert_eq!(
            check(&mut checker, record(2, values[3])),
            Err(Rule::Results)
        );
        assert_eq!(check(&mut checker, record(3, values[3])), Ok(()));
        let again = check(&mut checker, record(4, values[1]));
        assert_eq!(again, Err(Rule::Invented));
    }

    #[test]
    fn record_without_a_write_is_invented() {
        let good = record(1, UniqueValues::new(0).next());
        for bad in [
            Record { value: 0, ..good },
            Record {
                value: UniqueValues::new(1).next(),
                ..good
            },
            Record { addr: 8, ..good },
            Record { length: 4, ..good },
            Record {
                space: Space::Pio,
                ..good
            },
        ] {
            let mut checker = RecordChecker {
                sequence: 0,
                numbers: vec![0],
            };
            assert_eq!(check(&mut checker, bad), Err(Rule::Invented), "{bad:?}");
        }
    }
}
