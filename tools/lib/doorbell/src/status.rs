// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{MaskReasons, skip, sys::StatusMapping, uapi};
use std::{
    fmt,
    sync::atomic::{
        Ordering::{Acquire, Relaxed, SeqCst},
        fence,
    },
};

// skip.rs imports nothing.
const _: () = {
    assert!(skip::PENDING == uapi::LINE_PENDING);
    assert!(skip::LEVEL == uapi::LINE_LEVEL);
    assert!(skip::ASSERTED == uapi::LINE_ASSERTED);
    assert!(skip::COUNTS == uapi::LINE_COUNTS);
};

/// State and counters of a line, from the [status pages](StatusPages).
///
/// Each field is exact by itself. [`Context::query`](crate::Context::query) returns all of them but
/// `units` and `dropped_units` as of one moment.
///
/// # Examples
///
/// ```
/// use doorbell::LineStatus;
///
/// let status = LineStatus { deliveries: 5, coalesced: 2, ..Default::default() };
/// assert_eq!(status.rings(), 7);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LineStatus {
    /// A message waits to be delivered.
    pub pending: bool,
    /// The line is masked.
    pub masked: bool,
    /// The reasons why it is masked.
    pub reasons: MaskReasons,
    /// The line masks itself when it delivers.
    pub automask: bool,
    /// The rate of the line's deliveries is limited.
    pub moderated: bool,
    /// The line is a level line that was rung or delivered and not acked since.
    pub asserted: bool,
    /// Deliveries of the line.
    pub deliveries: u64,
    /// Rings that joined a delivery that had not started yet.
    pub coalesced: u64,
    /// Messages that were dropped on request.
    pub dropped: u64,
    /// Deliveries by a worker, included in `deliveries`.
    pub deferred: u64,
    /// Acks of the line.
    pub acks: u64,
    /// The line has a trigger to which the number of rings is added.
    pub counts: bool,
    /// Rings that are counted and not delivered yet, if the line counts. It can be 0 while a message is
    /// pending, whose rings a delivery has taken.
    pub units: u32,
    /// Rings that were dropped on request while the line counted.
    pub dropped_units: u64,
}

impl LineStatus {
    /// Returns the number of rings. While the line is rung the result is approximate, because the
    /// fields are not of one moment. It wraps around, as the counters do.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineStatus;
    /// let status = LineStatus { pending: true, deliveries: 5, ..Default::default() };
    /// assert_eq!(status.rings(), 6);
    /// ```
    pub fn rings(&self) -> u64 {
        // Any number may come from a restored record.
        [self.coalesced, self.dropped, u64::from(self.pending)]
            .into_iter()
            .fold(self.deliveries, u64::wrapping_add)
    }
}

/// The mapped status pages of a context, from [`Context::map_status`](crate::Context::map_status).
///
/// A read of a line's status is a few loads from memory and no system call. The module changes these
/// words in place, so they are never stale. The mapping keeps the context open, as a file descriptor
/// does.
///
/// # Examples
///
/// ```no_run
/// let context = doorbell::Context::open()?;
/// context.set_lines(16)?;
/// let status = context.map_status()?;
/// let pending: Vec<u32> = (0..status.nr_lines())
///     .filter(|&line| status.line(line).pending)
///     .collect();
/// # Ok::<(), doorbell::Error>(())
/// ```
pub struct StatusPages {
    mapping: StatusMapping,
}

impl StatusPages {
    pub(crate) fn new(mapping: StatusMapping) -> Self {
        Self { mapping }
    }

    /// Returns the number of lines.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.set_lines(16)?;
    /// assert_eq!(context.map_status()?.nr_lines(), 16);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn nr_lines(&self) -> u32 {
        self.mapping.nr_lines() as u32
    }

    /// Reads the number of deliveries of `line`.
    ///
    /// A delivery is counted before its triggers are signalled: a thread that a trigger has woken
    /// finds it counted.
    ///
    /// # Panics
    ///
    /// Panics if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let status = context.map_status()?;
    /// context.ring(3)?;
    /// assert_eq!(status.deliveries(3), 1);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn deliveries(&self, line: u32) -> u64 {
        self.mapping.line(line).deliveries.load(Acquire)
    }

    /// Reads the number of deliveries of `line` that no call of [`Context::wait`] has consumed yet. A poller
    /// need not call that method while this is zero.
    ///
    /// The number is exact if the line has waiters, and has no meaning otherwise.
    ///
    /// [`Context::wait`]: crate::Context::wait
    ///
    /// # Panics
    ///
    /// Panics if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let status = context.map_status()?;
    /// context.assign_waiters(3)?;
    /// context.ring(3)?;
    /// assert_eq!(status.untaken(3), 1);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn untaken(&self, line: u32) -> u64 {
        let live = self.mapping.line(line);
        // In this order: `taken` is never beyond the deliveries.
        let taken = live.taken.load(Acquire);
        live.deliveries.load(Acquire).wrapping_sub(taken)
    }

    /// Returns true if a message of `line` waits to be delivered.
    #[cfg(feature = "msix")]
    pub(crate) fn is_pending(&self, line: u32) -> bool {
        self.mapping.line(line).state.load(Acquire) & uapi::LINE_PENDING != 0
    }

    /// Returns false if a ring of `line` would coalesce, so that the caller can skip it.
    ///
    /// [`Context::ring_if_needed`](crate::Context::ring_if_needed) describes the guarantee, and calls this.
    /// Call it directly before a signal of the line's irqfd, or before a write to a region that rings the
    /// line and does not record.
    ///
    /// The call is a full fence, a load and a test. It returns true if there is no such line; the ring
    /// then fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # let context = Context::open()?;
    /// # let irqfd = EventFd::new(0)?;
    /// let status = context.map_status()?;
    /// context.assign_irqfd(&irqfd, 3)?;
    /// // Store the data here.
    /// if status.ring_is_needed(3) {
    ///     irqfd.write(1)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn ring_is_needed(&self, line: u32) -> bool {
        let Some(live) = self.mapping.get(line) else {
            return true;
        };
        // Orders the caller's data before the load, against the compare-exchange and the fence of the
        // thread that consumes the message. See the documentation of `Context::ring_if_needed`.
        fence(SeqCst);
        !skip::would_coalesce(live.state.load(Relaxed))
    }

    /// Reads state and counters of `line`.
    ///
    /// # Panics
    ///
    /// Panics if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// let status = context.map_status()?;
    /// context.mask(3)?;
    /// assert!(status.line(3).masked);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn line(&self, line: u32) -> LineStatus {
        let live = self.mapping.line(line);
        let state = live.state.load(Acquire);
        LineStatus {
            pending: state & uapi::LINE_PENDING != 0,
            masked: state & uapi::LINE_MASKED != 0,
            reasons: MaskReasons::of_state(state),
            automask: state & uapi::LINE_AUTOMASK != 0,
            moderated: state & uapi::LINE_MODERATED != 0,
            asserted: state & uapi::LINE_ASSERTED != 0,
            deliveries: live.deliveries.load(Acquire),
            coalesced: live.coalesced.load(Acquire),
            dropped: live.dropped.load(Acquire),
            deferred: live.deferred.load(Acquire),
            acks: live.acks.load(Acquire),
            counts: state & uapi::LINE_COUNTS != 0,
            units: live.units.load(Acquire),
            dropped_units: live.dropped_units.load(Acquire),
        }
    }
}

impl fmt::Debug for StatusPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusPages")
            .field("nr_lines", &self.nr_lines())
            .finish()
    }
}
