// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Context, Error, LineSet, MaskReasons, Operation, Result, sys, uapi};
use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd},
};

/// State and counters of one line, from which a line of another context goes on.
///
/// # Examples
///
/// ```no_run
/// # let context = doorbell::Context::open()?;
/// let lines = context.save_lines(0..16)?;
/// println!("line 3 has been rung {} times", lines[3].rings());
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SavedLine {
    /// `uapi::LINE_*` bits in [`uapi::SAVED_STATE`].
    pub state: u32,
    /// `uapi::SAVED_FLAG_*` bits.
    pub flags: u32,
    /// Deliveries of the line.
    pub deliveries: u64,
    /// Rings that joined a delivery that had not started yet.
    pub coalesced: u64,
    /// Messages that were dropped on request.
    pub dropped: u64,
    /// Deliveries by a worker.
    pub deferred: u64,
    /// Acks of the line.
    pub acks: u64,
    /// Irqfds of the line, with unmaskfds and ackfds.
    pub irqfds: u32,
    /// Triggers of the line.
    pub triggers: u32,
    /// Notifiers of the line.
    pub notifiers: u32,
    /// Irqfds of the line that have a resamplefd.
    pub resamplefds: u32,
    /// Irqfds that unmask the line.
    pub unmaskfds: u32,
    /// Irqfds that ack the line.
    pub ackfds: u32,
    /// Rings that a line with a trigger that counts has not delivered.
    pub units: u32,
}

const PAUSED: u32 = uapi::LINE_MASKED | (uapi::MASK_PAUSE << uapi::LINE_REASONS_SHIFT);

impl SavedLine {
    /// Returns the number of rings of the line.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(doorbell::SavedLine::default().rings(), 0);
    /// ```
    pub fn rings(&self) -> u64 {
        let pending = u64::from(self.state & uapi::LINE_PENDING);
        // Any number may come from a file.
        [self.coalesced, self.dropped, pending]
            .into_iter()
            .fold(self.deliveries, u64::wrapping_add)
    }

    fn is_paused(&self) -> bool {
        self.state & PAUSED == PAUSED
    }

    fn lacks_wiring_of(&self, saved: &Self) -> bool {
        self.irqfds < saved.irqfds
            || self.triggers < saved.triggers
            || self.notifiers < saved.notifiers
            || self.resamplefds < saved.resamplefds
            || self.unmaskfds < saved.unmaskfds
            || self.ackfds < saved.ackfds
    }
}

impl From<uapi::SavedLine> for SavedLine {
    fn from(line: uapi::SavedLine) -> Self {
        Self {
            state: line.state,
            flags: line.flags,
            deliveries: line.deliveries,
            coalesced: line.coalesced,
            dropped: line.dropped,
            deferred: line.deferred,
            acks: line.acks,
            irqfds: line.nr_irqfds,
            triggers: line.nr_triggers,
            notifiers: line.nr_notifiers,
            resamplefds: line.nr_resamplefds,
            unmaskfds: line.nr_unmaskfds,
            ackfds: line.nr_ackfds,
            units: line.units,
        }
    }
}

impl From<&SavedLine> for uapi::SavedLine {
    fn from(line: &SavedLine) -> Self {
        Self {
            state: line.state,
            flags: line.flags,
            deliveries: line.deliveries,
            coalesced: line.coalesced,
            dropped: line.dropped,
            deferred: line.deferred,
            acks: line.acks,
            nr_irqfds: line.irqfds,
            nr_triggers: line.triggers,
            nr_notifiers: line.notifiers,
            nr_resamplefds: line.resamplefds,
            nr_unmaskfds: line.unmaskfds,
            nr_ackfds: line.ackfds,
            units: line.units,
            reserved: 0,
        }
    }
}

/// The state of all lines of a context, the counts that its triggers have not been read for, and the lines
/// that its summary has not been taken for.
///
/// It has no descriptor and no address, so it can be sent to another process or machine. With the
/// feature `serde` it is `Serialize` and `Deserialize`. A snapshot that another version of the crate
/// has written is restored, or refused by [`Context::restore`].
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, EventFd};
///
/// # fn wire(_: &Context, _: &EventFd) -> doorbell::Result { Ok(()) }
/// # let call = EventFd::new(0)?;
/// let context = Context::open()?;
/// context.set_lines(16)?;
/// let snapshot = context.snapshot(&[&call])?;
/// drop(context);
///
/// // Later, in the same process or in another one.
/// let context = Context::open()?;
/// context.set_lines(snapshot.nr_lines())?;
/// context.restore(&snapshot)?;
/// wire(&context, &call)?;
/// assert!(context.lines_lacking_wiring(&snapshot)?.is_empty());
/// context.resume(&snapshot, &[&call])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    version: u32,
    lines: Vec<SavedLine>,
    /// The lines that were paused before.
    paused: Vec<u32>,
    /// The counts of the triggers, in the order of the call.
    counts: Vec<u64>,
    /// The lines whose marks were in the summary.
    fired: Vec<u32>,
}

impl Snapshot {
    /// Version of the format.
    const VERSION: u32 = 1;

    /// Returns the number of lines.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// # context.set_lines(16)?;
    /// assert_eq!(context.snapshot::<doorbell::EventFd>(&[])?.nr_lines(), 16);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn nr_lines(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Returns the records of the lines. All of them are paused.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// # let snapshot = context.snapshot::<doorbell::EventFd>(&[])?;
    /// let rings: u64 = snapshot.lines().iter().map(|line| line.rings()).sum();
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn lines(&self) -> &[SavedLine] {
        &self.lines
    }

    /// Replaces the numbers of assignments by those of `lines`, which were saved before the irqfds were
    /// deassigned. [`lines_lacking_wiring`](Context::lines_lacking_wiring) compares with these.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let (context, kick, call) = (Context::open()?, EventFd::new(0)?, EventFd::new(0)?);
    /// let wired = context.save_lines(0..16)?;
    /// context.deassign_irqfd(&kick, 0)?;
    /// let mut snapshot = context.snapshot(&[&call])?;
    /// snapshot.set_wiring(&wired);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_wiring(&mut self, lines: &[SavedLine]) {
        for (line, wired) in self.lines.iter_mut().zip(lines) {
            *line = SavedLine {
                irqfds: wired.irqfds,
                triggers: wired.triggers,
                notifiers: wired.notifiers,
                resamplefds: wired.resamplefds,
                unmaskfds: wired.unmaskfds,
                ackfds: wired.ackfds,
                ..*line
            };
        }
    }

    /// Returns the lines that had fired and were not taken from the summary, in the order in which a consumer
    /// would have taken them. The next context's consumer handles them first.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// # let snapshot = context.snapshot::<doorbell::EventFd>(&[])?;
    /// for line in snapshot.fired() {
    ///     println!("line {line} has fired");
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn fired(&self) -> &[u32] {
        &self.fired
    }

    /// Returns the lines that were not paused before the snapshot.
    fn to_resume(&self) -> LineSet {
        let resumed = |line: &u32| self.paused.binary_search(line).is_err();
        (0..self.nr_lines()).filter(resumed).collect()
    }

    fn check(&self) -> io::Result<()> {
        let sorted = self.paused.windows(2).all(|pair| pair[0] < pair[1]);
        if self.version != Self::VERSION {
            let text = format!(
                "the snapshot has version {}, this crate knows {}",
                self.version,
                Self::VERSION
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if !sorted || self.lines.is_empty() {
            let text = "the snapshot is damaged";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }
}

fn io_failed(operation: Operation) -> impl Fn(io::Error) -> Error {
    move |source| Error::Context { operation, source }
}

/// Snapshots, for migrations and restarts.
impl Context {
    /// Returns state and counters of the lines in `lines`, each as of one moment.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist, EINVAL if the range is empty.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let lines = context.save_lines(0..16)?;
    /// assert_eq!(lines.len(), 16);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn save_lines(&self, lines: Range<u32>) -> Result<Vec<SavedLine>> {
        match sys::save_lines(self.as_fd(), lines.clone()) {
            Ok(records) => Ok(records.into_iter().map(SavedLine::from).collect()),
            Err(source) => Err(Error::Lines {
                operation: Operation::Save,
                lines,
                source,
            }),
        }
    }

    /// Brings the lines from `first` on into the states of `lines`: all of them or, if the call fails,
    /// none.
    ///
    /// The lines must be fresh. A message that is pending on a line that is not masked is delivered.
    ///
    /// # Errors
    ///
    /// - EBUSY: a line has delivered, dropped or acked something, its type was set, or it has waiters.
    /// - EOPNOTSUPP: the units of a line that does not count, or a level line that does.
    /// - EINVAL: no line can be in such a state.
    /// - ENXIO: there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::Context;
    /// # let (context, next) = (Context::open()?, Context::open()?);
    /// next.restore_lines(0, &context.save_lines(0..16)?)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn restore_lines(&self, first: u32, lines: &[SavedLine]) -> Result {
        let records: Vec<_> = lines.iter().map(uapi::SavedLine::from).collect();
        let operation = Operation::Restore;
        sys::restore_lines(self.as_fd(), first, &records).map_err(|(source, failed)| match failed {
            u32::MAX => Error::Lines {
                operation,
                lines: first..first.saturating_add(lines.len() as u32),
                source,
            },
            index => Error::Line {
                operation,
                line: first.saturating_add(index),
                source,
            },
        })
    }

    /// Pauses all lines, and saves them. Consumes the counters of `triggers`, and takes the lines that have
    /// fired from the summary: both belong to the snapshot as well. The lines stay paused.
    ///
    /// The caller has stopped the threads that use the lines, and those that take from the summary. It has
    /// deassigned the irqfds, unmaskfds and ackfds, whose signals then stay in their counters. What rings the
    /// context after this call is lost with the context.
    ///
    /// The snapshot does not have the deliveries that [`wait`](Context::wait) has not consumed, the limits of
    /// [`moderate`](Context::moderate), and the records and last values of the bus. The page
    /// `Documentation/snapshot.rst` describes what to do with each of them.
    ///
    /// # Errors
    ///
    /// EINVAL if the lines are not chosen yet, and the errors of
    /// [`read_eventfd`](Context::read_eventfd) and [`map_summary`](Context::map_summary). If the call fails,
    /// the counts are put back and the lines resume.
    ///
    /// # Examples
    ///
    /// See [`Snapshot`].
    pub fn snapshot<T: AsRawFd>(&self, triggers: &[&T]) -> Result<Snapshot> {
        let all = 0..self.info()?.nr_lines;
        let before = self.save_lines(all.clone())?;
        let was_paused = |line: &u32| before[*line as usize].is_paused();
        let mut snapshot = Snapshot {
            version: Snapshot::VERSION,
            lines: before.clone(),
            paused: all.clone().filter(was_paused).collect(),
            counts: Vec::new(),
            fired: Vec::new(),
        };
        self.mask_lines_for(&LineSet::range(all.clone()), MaskReasons::PAUSE)?;
        let mut save = || -> Result {
            // First: what an ackfd was signalled for can be a count.
            snapshot.lines = self.save_lines(all.clone())?;
            for trigger in triggers {
                snapshot.counts.push(0);
                let count = snapshot.counts.last_mut().expect("a count");
                self.drain(*trigger, count)?;
            }
            // Last: from here on nothing fails, so nothing that was taken is put back.
            snapshot.fired = self.fired()?;
            Ok(())
        };
        match save() {
            Ok(()) => Ok(snapshot),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.resume(&snapshot, triggers);
                Err(error)
            }
        }
    }

    /// Takes the lines that have fired from the summary, if the context has one.
    fn fired(&self) -> Result<Vec<u32>> {
        match self.map_summary() {
            Ok(summary) => Ok(summary.take().collect()),
            // No line has had the summary.
            Err(error) if error.errno() == Some(libc::ENXIO) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds the counter of `trigger` to `count`, and consumes it.
    fn drain<T: AsRawFd>(&self, trigger: &T, count: &mut u64) -> Result {
        loop {
            // An EFD_SEMAPHORE eventfd has one unit for each read.
            match self.read_eventfd(trigger, true) {
                Ok(units) => *count = count.saturating_add(units),
                Err(error) if error.errno() == Some(libc::EAGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings all lines of a fresh context into the state of `snapshot`. The lines are paused: they
    /// deliver nothing before [`resume`](Context::resume).
    ///
    /// The caller assigns irqfds, triggers and notifiers before this call or after it. A resamplefd or ackfd
    /// needs a level line, and so comes after it. Waiters come after it, too. Triggers that count come before it.
    ///
    /// # Errors
    ///
    /// Those of [`restore_lines`](Context::restore_lines), and
    /// [`InvalidData`](std::io::ErrorKind::InvalidData) for a snapshot of an unknown version.
    ///
    /// # Examples
    ///
    /// See [`Snapshot`].
    pub fn restore(&self, snapshot: &Snapshot) -> Result {
        snapshot.check().map_err(io_failed(Operation::Restore))?;
        let mut lines = snapshot.lines.clone();
        for line in &mut lines {
            line.state |= PAUSED;
        }
        self.restore_lines(0, &lines)
    }

    /// Returns the lines that have fewer irqfds, triggers, notifiers, resamplefds, unmaskfds or ackfds than
    /// when `snapshot` was taken. The irqfds were deassigned by then: see [`Snapshot::set_wiring`].
    ///
    /// # Errors
    ///
    /// ENXIO if the context has fewer lines than the snapshot.
    ///
    /// # Examples
    ///
    /// See [`Snapshot`].
    pub fn lines_lacking_wiring(&self, snapshot: &Snapshot) -> Result<LineSet> {
        let now = self.save_lines(0..snapshot.nr_lines())?;
        let lacking =
            |line: &u32| now[*line as usize].lacks_wiring_of(&snapshot.lines[*line as usize]);
        Ok((0..snapshot.nr_lines()).filter(lacking).collect())
    }

    /// Adds the counts of `snapshot` to the counters of `triggers`, which are in the order of
    /// [`snapshot`](Context::snapshot), and ends the pause. The lines deliver what is pending. A line that
    /// was paused before the snapshot stays paused. The lines that had [fired](Snapshot::fired) are left to
    /// the caller.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if there are fewer triggers than at the snapshot and
    /// the others had counts; then no count was added. ENXIO if the context has fewer lines than the snapshot,
    /// and the errors of [`read_eventfd`](Context::read_eventfd). If the call fails, the lines stay paused,
    /// and some counts may have been added.
    ///
    /// # Examples
    ///
    /// See [`Snapshot`].
    pub fn resume<T: AsRawFd>(&self, snapshot: &Snapshot, triggers: &[&T]) -> Result {
        let failed = io_failed(Operation::Resume);
        let mut without_trigger = snapshot.counts.iter().skip(triggers.len());
        if without_trigger.any(|&count| count != 0) {
            let text = "the snapshot has counts of more triggers";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        for (trigger, count) in triggers.iter().zip(&snapshot.counts) {
            if *count == 0 {
                continue;
            }
            // Unlike write(2), the read checks that it is an eventfd.
            let mut sum = *count;
            self.drain(*trigger, &mut sum)?;
            sys::write_count(trigger.as_raw_fd(), sum).map_err(&failed)?;
        }
        self.unmask_lines_for(&snapshot.to_resume(), MaskReasons::PAUSE)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let line = |state, deliveries| SavedLine {
            state,
            deliveries,
            ..Default::default()
        };
        Snapshot {
            version: Snapshot::VERSION,
            lines: vec![
                line(PAUSED, u64::MAX),
                line(PAUSED | uapi::LINE_PENDING, 1),
                line(PAUSED, 2),
            ],
            paused: vec![1],
            counts: vec![0, 7],
            fired: vec![2],
        }
    }

    #[test]
    fn records_keep_all_fields() {
        let line = distinct(1);
        let record = uapi::SavedLine::from(&line);
        assert_eq!(record.nr_resamplefds, 11);
        assert_eq!((record.nr_unmaskfds, record.nr_ackfds), (12, 13));
        assert_eq!(record.units, 14);
        assert_eq!(SavedLine::from(record), line);
        assert_eq!(line.rings(), 3 + 4 + 5 + 1);
    }

    #[test]
    fn lines_that_were_paused_stay_so() {
        assert_eq!(snapshot().to_resume(), LineSet::from_iter([0, 2]));
    }

    /// Returns a line in which all fields differ from each other, and from those with another `first`.
    fn distinct(first: u32) -> SavedLine {
        let field = |at: u32| first + at;
        SavedLine {
            state: field(0),
            flags: field(1),
            deliveries: field(2).into(),
            coalesced: field(3).into(),
            dropped: field(4).into(),
            deferred: field(5).into(),
            acks: field(6).into(),
            irqfds: field(7),
            triggers: field(8),
            notifiers: field(9),
            resamplefds: field(10),
            unmaskfds: field(11),
            ackfds: field(12),
            units: field(13),
        }
    }

    #[test]
    fn wiring_of_before_replaces_the_numbers_only() {
        let mut saved = snapshot();
        let (before, wired) = (distinct(1), distinct(100));
        saved.lines[0] = before;
        saved.set_wiring(&[wired]);
        let expected = SavedLine {
            irqfds: wired.irqfds,
            triggers: wired.triggers,
            notifiers: wired.notifiers,
            resamplefds: wired.resamplefds,
            unmaskfds: wired.unmaskfds,
            ackfds: wired.ackfds,
            ..before
        };
        assert_eq!(saved.lines[0], expected);
        assert_eq!(saved.lines[1..], snapshot().lines[1..]);
    }

    #[test]
    fn less_wiring_is_found_and_more_is_not() {
        let (none, one) = (SavedLine::default(), |set: fn(&mut SavedLine)| {
            let mut line = SavedLine::default();
            set(&mut line);
            line
        });
        let lines = [
            one(|line| line.irqfds = 1),
            one(|line| line.triggers = 1),
            one(|line| line.notifiers = 1),
            one(|line| line.resamplefds = 1),
            one(|line| line.unmaskfds = 1),
            one(|line| line.ackfds = 1),
        ];
        for line in lines {
            assert!(none.lacks_wiring_of(&line));
            assert!(!line.lacks_wiring_of(&none));
        }
    }

    #[test]
    fn unknown_versions_and_damaged_snapshots_are_refused() {
        let null = Context::open_path("/dev/null").unwrap();
        let mut newer = snapshot();
        newer.version += 1;
        let error = null.restore(&newer).unwrap_err();
        assert_eq!(
            (error.operation(), error.errno()),
            (Operation::Restore, None)
        );
        let mut damaged = snapshot();
        damaged.paused = vec![2, 1];
        assert_eq!(null.restore(&damaged).unwrap_err().errno(), None);
        let error = null.restore(&snapshot()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOTTY));
    }

    #[test]
    fn counts_without_a_trigger_are_refused() {
        let null = Context::open_path("/dev/null").unwrap();
        let kind = |snapshot: &Snapshot, triggers: &[&Context]| {
            let error = null.resume(snapshot, triggers).unwrap_err();
            assert_eq!(error.operation(), Operation::Resume);
            let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
            source.map(io::Error::kind)
        };
        let mut saved = snapshot();
        saved.counts = vec![0, 7, 0];
        for triggers in [&[][..], &[&null]] {
            assert_eq!(kind(&saved, triggers), Some(io::ErrorKind::InvalidInput));
        }
        // A trigger that had no count may be missing.
        let error = null.resume(&saved, &[&null, &null]).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOTTY));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serialised_snapshots_are_the_same() {
        let text = serde_json::to_string(&snapshot()).unwrap();
        let back: Snapshot = serde_json::from_str(&text).unwrap();
        assert_eq!(back, snapshot());
        assert!(text.contains("\"version\":1"), "{text}");
    }
}
