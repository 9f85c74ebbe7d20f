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
        let exist = self.fired.iter().all(|&line| line < self.nr_lines());
        if !sorted || !exist || self.lines.is_empty() {
            let text = "the snapshot is damaged";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }
}

/// The maximum number of reads of a trigger, less than a second. An EFD_SEMAPHORE eventfd has one unit for each
/// read, and another process may write to it all the time.
const MAX_READS: u32 = 1 << 20;

/// The maximum count of an eventfd that write(2) can reach.
const MAX_COUNT: u64 = u64::MAX - 1;

/// Adds the counts that `read` consumes to `count` until it fails with EAGAIN. Returns false if it does not within
/// [`MAX_READS`] calls.
fn drain(mut read: impl FnMut() -> Result<u64>, count: &mut u64) -> Result<bool> {
    for _ in 0..MAX_READS {
        match read() {
            Ok(units) => *count = count.saturating_add(units),
            Err(error) if error.errno() == Some(libc::EAGAIN) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn still_counts(index: usize) -> io::Error {
    io::Error::other(format!(
        "trigger {index} still has a count after {MAX_READS} reads"
    ))
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
    /// [`read_eventfd`](Context::read_eventfd) and [`map_summary`](Context::map_summary). An error without an errno
    /// names a trigger that has a count after 2^20 reads: an EFD_SEMAPHORE eventfd with more units, or an eventfd
    /// that another process keeps writing to. If the call fails, the counts are put back and the lines resume.
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
            for (index, trigger) in triggers.iter().enumerate() {
                snapshot.counts.push(0);
                let count = snapshot.counts.last_mut().expect("a count");
                if !drain(|| self.read_eventfd(*trigger, true), count)? {
                    return Err(io_failed(Operation::Save)(still_counts(index)));
                }
            }
            // Last: from here on nothing fails, so nothing that was taken is put back.
            snapshot.fired = self.fired(all.len())?;
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

    /// Takes the lines that have fired from the summary, if the context has one. None of the `nr_lines` lines
    /// fires meanwhile, but another process can set their bits again.
    fn fired(&self, nr_lines: usize) -> Result<Vec<u32>> {
        match self.map_summary() {
            Ok(summary) => Ok(summary.take().take(nr_lines).collect()),
            // No line has had the summary.
            Err(error) if error.errno() == Some(libc::ENXIO) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds `count` to the counter of `trigger`, which stays at its maximum if the sum is beyond it.
    fn put_back<T: AsRawFd>(&self, trigger: &T, count: u64) -> Result {
        // Unlike write(2), both calls check that it is an eventfd.
        let units = match self.peek_eventfd(trigger) {
            Ok(counter) => count.min(MAX_COUNT.saturating_sub(counter)),
            // A module without the feature. What the bounded drain leaves is in the counter anyway.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => {
                let mut sum = count;
                drain(|| self.read_eventfd(trigger, true), &mut sum)?;
                sum.min(MAX_COUNT)
            }
            Err(error) => return Err(error),
        };
        if units == 0 {
            return Ok(());
        }
        sys::write_count(trigger.as_raw_fd(), units).map_err(io_failed(Operation::Resume))
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
    /// [`InvalidData`](std::io::ErrorKind::InvalidData) for a snapshot of an unknown version or with impossible
    /// contents.
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
    /// the caller. If a sum is beyond the maximum of an eventfd, the counter is that maximum.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if there are fewer triggers than at the snapshot and
    /// the others had counts; then no count was added. ENXIO if the context has fewer lines than the snapshot,
    /// and the errors of [`peek_eventfd`](Context::peek_eventfd), or of [`read_eventfd`](Context::read_eventfd) if
    /// the module was built without the kernel's BTF. If the call fails, the lines stay paused,
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
            if *count != 0 {
                self.put_back(*trigger, *count)?;
            }
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
        let mut damaged = snapshot();
        damaged.fired = vec![2, 3];
        assert_eq!(null.restore(&damaged).unwrap_err().errno(), None);
        let error = null.restore(&snapshot()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOTTY));
    }

    #[test]
    fn drain_is_bounded() {
        let again = || Error::Eventfd {
            operation: Operation::ReadEventfd,
            source: io::Error::from_raw_os_error(libc::EAGAIN),
        };
        for (units, emptied) in [(MAX_READS - 1, true), (MAX_READS, false), (u32::MAX, false)] {
            let (mut left, mut count) = (units, 7);
            let read = || {
                left = left.checked_sub(1).ok_or_else(again)?;
                Ok(1)
            };
            assert_eq!(drain(read, &mut count).unwrap(), emptied);
            assert_eq!(count, 7 + u64::from(units.min(MAX_READS)));
        }
        let text = still_counts(3).to_string();
        assert_eq!(text, "trigger 3 still has a count after 1048576 reads");
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
