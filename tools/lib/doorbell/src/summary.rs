// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{
    Context, Error, LineSet, Operation, Result,
    sys::{self, SummaryMapping},
    take::{self, Taker, Words},
    uapi,
};
use std::{
    fmt,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
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
/// Several threads and processes may take. Each delivery is returned to one of them. The mapping keeps
/// the context open, as a file descriptor does.
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
}

impl Summary {
    /// Returns an iterator that takes the lines that have fired.
    ///
    /// The iterator ends when no line has fired that was not taken. Dropped before that, it gives back the
    /// lines that it has taken and not returned: a later call takes them.
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
            words: &self.mapping,
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
        for word in take::LINES..self.mapping.len() {
            self.mapping.mark(word);
        }
        self.take()
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

    /// Waits until the file descriptor is readable, by poll(2). Returns false after `timeout`; without one
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
        sys::poll_in(self.as_fd(), timeout).map_err(|source| Error::Context {
            operation: Operation::WaitSummary,
            source,
        })
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
    words: &'a SummaryMapping,
    taker: Taker,
}

impl Iterator for Fired<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        self.taker.next(self.words)
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
    /// Sets the bits again, from the bottom to the top, as the module does.
    #[cold]
    fn give_back(&mut self) {
        let Taker {
            top,
            group,
            lines,
            at_group,
            at_word,
        } = self.taker;
        if lines != 0 {
            let word = take::LINES + at_word as usize;
            self.words.set(word, lines);
            self.words.mark(word);
        }
        if group != 0 {
            self.words.set(take::GROUPS + at_group as usize, group);
        }
        let at = if group != 0 { 1 << at_group } else { 0 };
        self.words.set(take::TOP, top | at);
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
    /// ENXIO if the summary was never assigned.
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
        Ok(Summary { mapping, fd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Words without a module.
    struct Plain(RefCell<Vec<u64>>);

    impl Words for Plain {
        fn take(&self, at: usize) -> u64 {
            std::mem::take(&mut self.0.borrow_mut()[at])
        }

        fn len(&self) -> usize {
            self.0.borrow().len()
        }
    }

    fn words(lines: &[u32], nr_lines: u32) -> Plain {
        let mut words = vec![0u64; take::LINES + nr_lines.div_ceil(64) as usize];
        for line in lines {
            words[take::LINES + (line / 64) as usize] |= 1 << (line % 64);
            words[take::GROUPS + (line / 4096) as usize] |= 1 << (line / 64 % 64);
            words[take::TOP] |= 1 << (line / 4096);
        }
        Plain(RefCell::new(words))
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
        let words = words(&[69], 70);
        words.0.borrow_mut()[take::TOP] = u64::MAX;
        for group in 0..16 {
            words.0.borrow_mut()[take::GROUPS + group] = u64::MAX;
        }
        assert_eq!(take_all(&words), [69]);
    }
}
