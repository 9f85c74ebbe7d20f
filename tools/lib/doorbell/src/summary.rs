// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{
    Context, Error, EventFd, LineSet, Operation, Result,
    sys::{self, SummaryMapping},
    take::{self, Taker, Words},
    uapi,
};
use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

const _: () = {
    const WORD: usize = size_of::<u64>();
    assert!(take::TOP * WORD == std::mem::offset_of!(uapi::SummaryMap, top));
    assert!(take::GROUPS * WORD == std::mem::offset_of!(uapi::SummaryMap, groups));
    assert!(take::LINES * WORD == size_of::<uapi::SummaryMap>());
    assert!(take::MAX_GROUPS == uapi::SUMMARY_GROUPS);
};

/// The mapped summary of a context, from [`Context::map_summary`].
///
/// The summary is one notification that many lines share. A consumer waits for the file descriptor, which
/// is readable while a line has fired, and then [takes](Summary::take) the lines that have fired, without a
/// system call and in time that depends only on their number.
///
/// The descriptor can be added to an epoll, level-triggered or edge-triggered, or to the reactor of an
/// asynchronous runtime, for example as `tokio::io::unix::AsyncFd::new(summary)`. With edges, take until
/// the iterator ends, and then wait. The descriptor is also readable if the context has
/// [records](crate::RecordRing).
///
/// Several threads and processes may take. Each delivery is returned to one of them. An iterator that is
/// dropped before it has ended gives back the rest, which wakes the threads in [`wait`](Summary::wait) of
/// this `Summary` and no others. If another process, or another thread by epoll or a runtime, waits for the
/// same lines, take until the iterator ends. The mapping keeps the context open, as a file descriptor does.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, LineSet};
///
/// let context = Context::open()?;
/// context.set_lines(65536)?;
/// context.assign_summary(&LineSet::range(0..65536))?;
/// let summary = context.map_summary()?;
/// loop {
///     summary.wait(None)?;
///     for line in summary.take() {
///         println!("line {line} has fired");
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), doorbell::Error>(())
/// ```
pub struct Summary {
    mapping: SummaryMapping,
    fd: OwnedFd,
    /// Wakes the threads in [`wait`](Summary::wait). The module wakes them only for a delivery that finds the
    /// top word zero, so lines that are given back need a wake-up of their own.
    given_back: EventFd,
}

impl Summary {
    fn new(fd: OwnedFd, mapping: SummaryMapping) -> io::Result<Self> {
        Ok(Self {
            mapping,
            fd,
            given_back: EventFd::non_blocking(false)?,
        })
    }

    /// Returns an iterator that takes the lines that have fired.
    ///
    /// The iterator ends when no line has fired that was not taken. Dropped before that, it gives back the
    /// lines that it has taken and not returned: a later call, of any consumer, takes them. Threads in
    /// [`wait`](Summary::wait) wake.
    ///
    /// All lines exist: a bit beyond the context's lines, which another process has set in the mapping, is
    /// skipped. The iterator also ends after 16 top words without a line, so a process that sets upper bits all the
    /// time does not hold the caller.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let summary = context.map_summary()?;
    /// context.ring(3)?;
    /// context.ring(3)?;
    /// assert_eq!(summary.take().collect::<Vec<_>>(), [3]);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn take(&self) -> Fired<'_> {
        Fired {
            summary: self,
            taker: Taker::default(),
        }
    }

    /// Does what [`take`](Summary::take) does, and also finds the lines that a consumer had begun to take
    /// when it died. Looks at the words of all lines once.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let summary = context.map_summary()?;
    /// for line in summary.take_over() {
    ///     println!("line {line}");
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn take_over(&self) -> Fired<'_> {
        for word in 0..self.mapping.nr_lines().div_ceil(u64::BITS) {
            let group = take::GROUPS + (word / u64::BITS) as usize;
            self.mapping.set(group, 1 << (word % u64::BITS));
        }
        let taker = Taker {
            top: (1 << take::MAX_GROUPS) - 1,
            ..Taker::default()
        };
        Fired {
            summary: self,
            taker,
        }
    }

    /// Returns true if a line has fired that was not taken. This is one load.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let summary = context.map_summary()?;
    /// context.ring(3)?;
    /// assert!(summary.has_fired());
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn has_fired(&self) -> bool {
        self.mapping.top() != 0
    }

    /// Waits until the file descriptor is readable, by ppoll(2). Returns false after `timeout`; without one
    /// there is no limit.
    ///
    /// # Errors
    ///
    /// EINTR if a signal arrives.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// use std::time::Duration;
    ///
    /// let summary = context.map_summary()?;
    /// assert!(!summary.wait(Some(Duration::from_millis(10)))?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        self.wait_readable(timeout)
            .map_err(|source| Error::Context {
                operation: Operation::WaitSummary,
                source,
            })
    }

    fn wait_readable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            // In this order: a thread that misses the write sees the top word, which was set before it.
            let fds = [self.given_back.as_fd(), self.fd.as_fd()];
            let [given_back, readable] = sys::poll_in(fds, left)?;
            if given_back {
                // The write has woken all threads that slept here.
                self.given_back.take()?;
            }
            if readable || (given_back && self.has_fired()) {
                return Ok(true);
            }
            if !given_back {
                return Ok(false);
            }
            // Another thread has taken the lines.
            left = end.map(|end| end.saturating_duration_since(Instant::now()));
        }
    }
}

impl AsFd for Summary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Summary {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary").finish_non_exhaustive()
    }
}

/// An iterator that takes the lines that have fired, from [`Summary::take`].
///
/// # Examples
///
/// ```no_run
/// # let context = doorbell::Context::open()?;
/// let summary = context.map_summary()?;
/// // The others are left for the next call.
/// let first = summary.take().next();
/// # Ok::<(), doorbell::Error>(())
/// ```
pub struct Fired<'a> {
    summary: &'a Summary,
    taker: Taker,
}

impl Iterator for Fired<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        self.taker.next(&self.summary.mapping)
    }
}

impl Drop for Fired<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.taker.lines | self.taker.group | self.taker.top != 0 {
            self.give_back();
        }
    }
}

impl Fired<'_> {
    /// Sets the bits again, from the bottom to the top, and wakes if the top word was zero, as the module does.
    #[cold]
    fn give_back(&mut self) {
        let Taker {
            mut top,
            mut group,
            lines,
            at_group,
            at_word,
        } = self.taker;
        let Summary {
            mapping,
            given_back,
            ..
        } = self.summary;
        if lines != 0 {
            mapping.set(take::LINES + at_word as usize, lines);
            group |= 1 << (at_word % u64::BITS);
        }
        if group != 0 {
            mapping.set(take::GROUPS + at_group as usize, group);
            top |= 1 << at_group;
        }
        if mapping.set(take::TOP, top) == 0 {
            // It fails only if the counter is at its maximum, and then the threads are awake.
            let _ = given_back.write(1);
        }
    }
}

impl fmt::Debug for Fired<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fired").finish_non_exhaustive()
    }
}

/// The summary: one notification that many lines share.
impl Context {
    fn change_summary(&self, operation: Operation, lines: &LineSet, flags: u32) -> Result {
        if lines.len == 0 {
            return Ok(());
        }
        sys::ioctl_summary(self.as_fd(), lines, flags).map_err(|source| Error::Lines {
            operation,
            lines: lines.bounds(),
            source,
        })
    }

    /// Makes the context's summary a trigger of all `lines`, beside their other triggers.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist, EEXIST if the summary is a trigger of one already, EBUSY if
    /// one has waiters, ENOSPC if one has the maximum number of triggers. Then no line has changed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// context.set_lines(1024)?;
    /// context.assign_summary(&LineSet::range(0..1024))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn assign_summary(&self, lines: &LineSet) -> Result {
        self.change_summary(Operation::AssignSummary, lines, 0)
    }

    /// Deassigns the summary from all `lines`. When this returns, no delivery of them marks the summary.
    /// Lines that have fired stay to be taken.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist, ENOENT if the summary is not a trigger of one. Then no line
    /// has changed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// context.assign_summary(&LineSet::range(0..16))?;
    /// context.deassign_summary(&LineSet::range(3..4))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn deassign_summary(&self, lines: &LineSet) -> Result {
        let flags = uapi::SUMMARY_FLAG_DEASSIGN;
        self.change_summary(Operation::DeassignSummary, lines, flags)
    }

    /// Maps the summary.
    ///
    /// # Errors
    ///
    /// ENXIO if the summary was never assigned, EMFILE or ENFILE if there are too many open files: it has two.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let summary = context.map_summary()?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn map_summary(&self) -> Result<Summary> {
        let failed = |source| Error::Context {
            operation: Operation::MapSummary,
            source,
        };
        let info = self.get_info().map_err(failed)?;
        let fd = self.as_fd().try_clone_to_owned().map_err(failed)?;
        let mapping = SummaryMapping::new(fd.as_fd(), info.summary_offset, info.nr_lines);
        let mapping = mapping.map_err(failed)?;
        Summary::new(fd, mapping).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        cell::RefCell,
        sync::atomic::{AtomicI32, Ordering::SeqCst},
    };

    /// Words without a module.
    struct Plain(RefCell<Vec<u64>>, u32);

    impl Words for Plain {
        fn take(&self, at: usize) -> u64 {
            std::mem::take(&mut self.0.borrow_mut()[at])
        }

        fn nr_lines(&self) -> u32 {
            self.1
        }
    }

    fn words(lines: &[u32], nr_lines: u32) -> Plain {
        let mut words = vec![0u64; take::LINES + nr_lines.div_ceil(64) as usize];
        for line in lines {
            words[take::LINES + (line / 64) as usize] |= 1 << (line % 64);
            words[take::GROUPS + (line / 4096) as usize] |= 1 << (line / 64 % 64);
            words[take::TOP] |= 1 << (line / 4096);
        }
        Plain(RefCell::new(words), nr_lines)
    }

    fn take_all(words: &Plain) -> Vec<u32> {
        let mut taker = Taker::default();
        std::iter::from_fn(|| taker.next(words)).collect()
    }

    #[test]
    fn lines_are_taken_in_order_and_once() {
        let lines = [0, 1, 63, 64, 4095, 4096, 65535];
        let words = words(&lines, 65536);
        assert_eq!(take_all(&words), lines);
        assert!(take_all(&words).is_empty());
        assert!(words.0.borrow().iter().all(|&word| word == 0));
    }

    #[test]
    fn upper_bits_without_lower_ones_are_skipped() {
        let words = words(&[70, 8191], 8192);
        words.0.borrow_mut()[take::TOP] |= 1;
        words.0.borrow_mut()[take::GROUPS] |= 1;
        assert_eq!(take_all(&words), [70, 8191]);
    }

    #[test]
    fn bits_beyond_the_lines_are_ignored() {
        for nr_lines in [1, 63, 64, 65, 70, 4095, 4096, 4097, 65535, 65536] {
            let words = words(&[], nr_lines);
            words.0.borrow_mut().fill(u64::MAX);
            assert!(take_all(&words).into_iter().eq(0..nr_lines), "{nr_lines}");
        }
    }

    /// Words whose upper bits another process sets all the time.
    struct Refilled(RefCell<u32>);

    impl Words for Refilled {
        fn take(&self, at: usize) -> u64 {
            if at == take::TOP {
                *self.0.borrow_mut() += 1;
                // Ends, so that the test fails instead of hanging.
                assert!(*self.0.borrow() < 1000, "no end");
            }
            if at < take::LINES { u64::MAX } else { 0 }
        }

        fn nr_lines(&self) -> u32 {
            65536
        }
    }

    #[test]
    fn upper_bits_that_come_again_and_again_do_not_hold_the_caller() {
        let words = Refilled(RefCell::new(0));
        let mut taker = Taker::default();
        for calls in 1..=3 {
            assert_eq!(taker.next(&words), None);
            assert_eq!(*words.0.borrow(), calls * take::MAX_TOPS);
            // Nothing has to be given back.
            assert_eq!(taker.lines | taker.group | taker.top, 0);
        }
    }

    /// A summary of `nr_lines` lines without a module. Its file descriptor is never readable.
    fn summary(name: &str, nr_lines: u32) -> Summary {
        let words = take::LINES + nr_lines.div_ceil(64) as usize;
        let file = sys::tests::file(name, 0);
        file.set_len(sys::tests::OFFSET + 8 * words as u64).unwrap();
        let mapping = SummaryMapping::new(file.as_fd(), sys::tests::OFFSET, nr_lines).unwrap();
        Summary::new(EventFd::new(0).unwrap().into(), mapping).unwrap()
    }

    fn fire(summary: &Summary, line: u32) {
        let words = &summary.mapping;
        words.set(take::LINES + (line / 64) as usize, 1 << (line % 64));
        words.set(take::GROUPS + (line / 4096) as usize, 1 << (line / 64 % 64));
        words.set(take::TOP, 1 << (line / 4096));
    }

    #[test]
    fn lines_that_were_not_returned_are_given_back() {
        let lines = [3, 5, 64, 4095, 4096, 8191, 8192];
        let summary = summary("given-back", 8193);
        for taken in 0..=lines.len() {
            for line in lines {
                fire(&summary, line);
            }
            let mut iterator = summary.take();
            for line in &lines[..taken] {
                assert_eq!(iterator.next(), Some(*line));
            }
            drop(iterator);
            assert_eq!(summary.has_fired(), taken < lines.len());
            assert_eq!(summary.take().collect::<Vec<_>>(), lines[taken..]);
        }
    }

    #[test]
    fn all_words_are_taken_over() {
        let summary = summary("taken-over", 8193);
        let words = &summary.mapping;
        for line in [7, 8192] {
            words.set(take::LINES + line / 64, 1 << (line % 64));
        }
        assert_eq!(summary.take().next(), None);
        // Gives back all.
        drop(summary.take_over());
        assert!(summary.has_fired());
        assert_eq!(summary.take_over().collect::<Vec<_>>(), [7, 8192]);
        assert_eq!(summary.take().next(), None);
    }

    #[test]
    fn waiting_threads_get_lines_that_are_given_back() {
        let summary = summary("woken", 128);
        let thread = AtomicI32::new(0);
        let rest = std::thread::scope(|scope| {
            fire(&summary, 1);
            fire(&summary, 100);
            let mut iterator = summary.take();
            assert_eq!(iterator.next(), Some(1));
            // The top word is zero now, and so this thread sleeps.
            let other = scope.spawn(|| {
                thread.store(sys::tests::thread_id(), SeqCst);
                // Without a wake-up the wait ends with false.
                let woken = summary.wait(Some(Duration::from_secs(20))).unwrap();
                woken.then(|| summary.take().collect::<Vec<_>>())
            });
            while !sys::tests::sleeps(thread.load(SeqCst)) {
                std::thread::yield_now();
            }
            drop(iterator);
            other.join().unwrap()
        });
        assert_eq!(rest, Some(vec![100]));
        // The wake-up is consumed, and nothing has fired.
        assert!(!summary.wait(Some(Duration::ZERO)).unwrap());
    }
}
