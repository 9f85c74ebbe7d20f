// SPDX-License-Identifier: GPL-2.0-only

//! Rings that come over the bus, and what is kept of them.
//!
//! Lines that anybody rings have a region each, which moves while it is written to. A write either
//! is taken, and then it is a ring, or it is not, and the caller is told. Some regions keep what is
//! written: that comes out once, in order.

use super::{hall::unequal, world::Kind, Rule, Violation};
use doorbell::{Access, Changes, Context, Record, RecordRing, Region, Space, Target};
use std::sync::{
    atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
    Mutex, MutexGuard, PoisonError,
};

/// Few enough to run out of.
const RECORDS: u32 = 256;

/// A line's region, which is always at one of two places.
struct Door {
    places: [u64; 2],
    record: bool,
    /// Where it was when it was seen last.
    at: AtomicUsize,
}

impl Door {
    fn region(&self, place: usize) -> Region {
        let region = Region::mmio(self.places[place], 8);
        match self.record {
            true => region.record(),
            false => region,
        }
    }
}

/// The bus of the first context.
pub(super) struct Bus {
    /// By line, if it has one.
    doors: Vec<Option<Door>>,
    /// How many writes were taken that are kept.
    kept: AtomicU64,
    /// How many writes were refused as there was no room ...
    refused: AtomicU64,
    /// ... and how many more may have been: they ended a call that had carried out others.
    unknown: AtomicU64,
    keeper: Mutex<Keeper>,
}

/// Who takes records out.
struct Keeper {
    records: RecordRing,
    seen: Seen,
}

/// What came out.
struct Seen {
    /// The last that was taken.
    sequence: u64,
    /// The last number of each producer.
    numbers: Vec<u64>,
}

/// A producer's numbers: no value is written twice.
pub(super) struct Numbers {
    producer: usize,
    last: u64,
}

const BITS: u32 = 48;

impl Numbers {
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
    /// Gives those of the lines `kinds` of `context` that can be rung by anything a region.
    pub(super) fn new(context: &Context, kinds: &[Kind], producers: usize) -> anyhow::Result<Self> {
        context.set_records(RECORDS)?;
        let mut doors = Vec::new();
        let mut changes = Changes::new();
        for (line, kind) in (0u32..).zip(kinds) {
            // Those that move change their order.
            let offset = 8 * u64::from(line);
            let door = Door {
                places: [0x1000 + offset, (1 << 46) - offset],
                record: line % 2 == 1,
                at: AtomicUsize::new(0),
            };
            let has = kind.rung() && *kind != Kind::Ioctl;
            if has {
                changes.assign(&door.region(0), Target::line(line));
            }
            doors.push(has.then_some(door));
        }
        context.change_regions(&changes)?;
        Ok(Self {
            doors,
            kept: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            keeper: Mutex::new(Keeper {
                records: context.map_records()?,
                seen: Seen {
                    sequence: 0,
                    numbers: vec![0; producers],
                },
            }),
        })
    }

    /// Whether `line` can be rung over the bus.
    pub(super) fn has(&self, line: usize) -> bool {
        self.doors.get(line).is_some_and(Option::is_some)
    }

    /// Writes once, or as often as `batch` says by one call, to the region of `line`, if that is
    /// where it was seen last. Returns how many writes were taken.
    pub(super) fn ring(
        &self,
        context: &Context,
        line: usize,
        numbers: &mut Numbers,
        batch: Option<usize>,
    ) -> Result<u64, Violation> {
        let Some(Some(door)) = self.doors.get(line) else {
            return Ok(0);
        };
        let addr = door.places[door.at.load(Acquire)];
        let result = match batch {
            None => context
                .pwrite(addr, &numbers.next().to_ne_bytes())
                .map(|()| 1),
            Some(n) => {
                let access = |_| Access::new(Space::Mmio, addr, 8, numbers.next());
                let accesses: Vec<_> = (0..n).map(access).collect();
                let taken = context.write_bus(&accesses);
                if taken.as_ref().is_ok_and(|&taken| taken < n) && door.record {
                    self.unknown.fetch_add(1, Relaxed);
                }
                taken
            }
        };
        let taken = match result {
            Ok(taken) => taken as u64,
            // It has moved.
            Err(error) if errno_is(&error, libc::EOPNOTSUPP) => 0,
            Err(error) if errno_is(&error, libc::ENOBUFS) && door.record => {
                self.refused.fetch_add(1, Relaxed);
                0
            }
            Err(error) => return Err(error.into()),
        };
        if door.record {
            self.kept.fetch_add(taken, Relaxed);
        }
        Ok(taken)
    }

    /// Moves the regions of some lines, all at once; nobody else moves those. Returns how many.
    pub(super) fn relocate(&self, context: &Context, lines: &[usize]) -> Result<u64, Violation> {
        let mut changes = Changes::new();
        let doors = || {
            let door = |&line: &usize| self.doors[line].as_ref().map(|door| (line, door));
            lines.iter().filter_map(door)
        };
        for (line, door) in doors() {
            let at = door.at.load(Relaxed);
            let target = Target::line(line as u32);
            changes.deassign(&door.region(at), target);
            changes.assign(&door.region(1 - at), target);
        }
        context.change_regions(&changes)?;
        for (_, door) in doors() {
            door.at.store(1 - door.at.load(Relaxed), Release);
        }
        Ok(doors().count() as u64)
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `most` records out, by a call or without, and looks at them.
    pub(super) fn take(&self, context: &Context, most: usize, call: bool) -> Result<(), Violation> {
        let mut keeper = self.keeper();
        let taken: Vec<Record> = match call {
            true => context.read_records(most)?,
            false => keeper.records.by_ref().take(most).collect(),
        };
        taken.iter().try_for_each(|record| {
            keeper
                .seen
                .look(record, |addr| self.keeps(addr))
                .map_err(|(rule, text)| Violation::new(rule, "a record", text))
        })
    }

    /// Whether a region that keeps values can be at `addr`.
    fn keeps(&self, addr: u64) -> bool {
        let doors = self.doors.iter().flatten();
        doors
            .filter(|door| door.record)
            .any(|door| door.places.contains(&addr))
    }

    /// Compares the accounts, when nobody writes.
    pub(super) fn judge(&self, context: &Context) -> Result<Vec<Violation>, Violation> {
        self.take(context, usize::MAX, false)?;
        let mut broken = Vec::new();
        let mut violation = |rule, text| broken.push(Violation::new(rule, "the bus", text));
        let bus = context.bus_info()?;
        let (kept, out) = (self.kept.load(Acquire), self.keeper().seen.sequence);
        if let Some(rule) = unequal(out, kept).or_else(|| unequal(bus.recorded, kept)) {
            let text = format!(
                "{kept} writes were taken that are kept, {out} came out, and the module counts {}",
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
        let mut wanted: Vec<(Region, Option<u32>)> = (0..)
            .zip(&self.doors)
            .filter_map(|(line, door)| Some((line, door.as_ref()?)))
            .map(|(line, door)| (door.region(door.at.load(Acquire)), Some(line)))
            .collect();
        wanted.sort_by_key(|(region, _)| region.addr);
        let listed = context.regions()?;
        if !listed.iter().map(|one| (one.region, one.line)).eq(wanted) {
            let text = format!(
                "{} regions are listed that are not those assigned",
                listed.len()
            );
            violation(Rule::Results, text);
        }
        Ok(broken)
    }
}

impl Seen {
    fn look(&mut self, record: &Record, keeps: impl Fn(u64) -> bool) -> Result<(), (Rule, String)> {
        let last = self.sequence;
        if record.sequence != last + 1 {
            let text = format!("number {} came out after {last}", record.sequence);
            return Err((Rule::Results, text));
        }
        self.sequence = record.sequence;
        let number = record.value & ((1 << BITS) - 1);
        let at = (record.value >> BITS) as usize;
        let whole = record.space == Space::Mmio && record.length == 8 && keeps(record.addr);
        let Some(before) = self.numbers.get_mut(at).filter(|_| whole && number != 0) else {
            return Err((Rule::Invented, format!("nobody wrote that: {record:?}")));
        };
        if number <= *before {
            let text = format!("producer {at}'s number {number} came out after {before}");
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

    fn look(seen: &mut Seen, record: Record) -> Result<(), Rule> {
        seen.look(&record, |addr| addr == 0x1000)
            .map_err(|(rule, _)| rule)
    }

    #[test]
    fn records_come_out_once_and_in_order() {
        let (mut first, mut second) = (Numbers::new(0), Numbers::new(1));
        let mut seen = Seen {
            sequence: 0,
            numbers: vec![0; 2],
        };
        let values = [first.next(), second.next(), second.next(), first.next()];
        // Not all that was written was taken.
        assert_eq!(look(&mut seen, record(1, values[0])), Ok(()));
        assert_eq!(look(&mut seen, record(2, values[2])), Ok(()));
        assert_eq!(look(&mut seen, record(4, values[3])), Err(Rule::Results));
        assert_eq!(look(&mut seen, record(2, values[3])), Err(Rule::Results));
        assert_eq!(look(&mut seen, record(3, values[3])), Ok(()));
        let again = look(&mut seen, record(4, values[1]));
        assert_eq!(again, Err(Rule::Invented));
    }

    #[test]
    fn record_that_nobody_wrote_is_invented() {
        let good = record(1, Numbers::new(0).next());
        for bad in [
            Record { value: 0, ..good },
            Record {
                value: Numbers::new(1).next(),
                ..good
            },
            Record { addr: 8, ..good },
            Record { length: 4, ..good },
            Record {
                space: Space::Pio,
                ..good
            },
        ] {
            let mut seen = Seen {
                sequence: 0,
                numbers: vec![0],
            };
            assert_eq!(look(&mut seen, bad), Err(Rule::Invented), "{bad:?}");
        }
    }
}
