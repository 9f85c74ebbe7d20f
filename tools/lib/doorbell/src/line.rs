// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{MaskReasons, uapi};

/// The outcome of a ring.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, RingOutcome};
///
/// # let context = Context::open()?;
/// context.mask(3)?;
/// assert_eq!(context.ring(3)?, RingOutcome::Masked);
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingOutcome {
    /// The ring has a delivery of its own: done, in flight, or when the interval of a moderated line ends.
    Delivered,
    /// The ring joined a delivery that had not started yet.
    Coalesced,
    /// The masked line holds the ring until it is unmasked or cleared.
    Masked,
}

impl RingOutcome {
    pub(crate) fn from_code(code: i32) -> Self {
        match code {
            uapi::RING_COALESCED => Self::Coalesced,
            uapi::RING_MASKED => Self::Masked,
            _ => Self::Delivered,
        }
    }
}

/// The outcome of an ack.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{AckOutcome, Context};
///
/// # let context = Context::open()?;
/// assert_eq!(context.ack(3)?, AckOutcome::Nothing);
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// The line had not delivered since the last ack.
    Nothing,
    /// The resamplefds of the line have been signalled.
    Done,
    /// The line is masked. The unmask signals the resamplefds.
    Postponed,
}

/// The type of a line.
///
/// # Examples
///
/// ```
/// assert_eq!(doorbell::LineType::default(), doorbell::LineType::Edge);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum LineType {
    /// Each ring is a message. Every line begins with this type.
    #[default]
    Edge,
    /// A ring asserts the line. Until the ack, all further rings coalesce.
    Level,
}

/// The limits of the rate of a line's deliveries, for [`Context::moderate`](crate::Context::moderate).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let moderation = doorbell::Moderation {
///     min_interval: Duration::from_micros(50),
///     max_count: Some(32),
/// };
/// # let _ = moderation;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moderation {
    /// Minimum time between a delivery and the next one: 1 microsecond to 1 second.
    pub min_interval: std::time::Duration,
    /// Number of held rings that are delivered at once. Not zero.
    pub max_count: Option<u32>,
}

/// State and counters of a line as of one moment, from [`Context::query`](crate::Context::query).
///
/// # Examples
///
/// ```no_run
/// # let context = doorbell::Context::open()?;
/// let query = context.query(3)?;
/// println!("{} rings, of which {} coalesced", query.rings, query.coalesced());
/// # Ok::<(), doorbell::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LineQuery {
    /// Number of the line.
    pub line: u32,
    /// A message waits to be delivered.
    pub pending: bool,
    /// The line is masked.
    pub masked: bool,
    /// The reasons why it is masked.
    pub reasons: MaskReasons,
    /// The line masks itself when it delivers.
    pub automask: bool,
    /// The line has a trigger to which the number of rings is added.
    pub counts: bool,
    /// The line is a level line. The next three fields are for level lines.
    pub level: bool,
    /// The line was rung or delivered and not acked since.
    pub asserted: bool,
    /// The level of the line is raised.
    pub raised: bool,
    /// The line was acked while masked: the unmask signals its resamplefds.
    pub resample: bool,
    /// The rate of the line's deliveries is limited.
    pub moderated: bool,
    /// The trigger of the line is its waiters, the callers of [`Context::wait`].
    ///
    /// [`Context::wait`]: crate::Context::wait
    pub waiters: bool,
    /// Rings of the line.
    pub rings: u64,
    /// Deliveries of the line.
    pub deliveries: u64,
    /// Messages that were dropped on request.
    pub dropped: u64,
    /// Deliveries by a worker, included in `deliveries`: at the end of a long chain of relays, or
    /// beyond an interrupt's budget.
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
}

impl LineQuery {
    /// Returns the number of rings that joined a delivery that had not started yet. It wraps around, as the
    /// counters do.
    ///
    /// # Examples
    ///
    /// ```
    /// # use doorbell::LineQuery;
    /// let query = LineQuery { rings: 10, deliveries: 6, dropped: 1, ..Default::default() };
    /// assert_eq!(query.coalesced(), 3);
    /// ```
    pub fn coalesced(&self) -> u64 {
        // Any number may come from a restored record. The module's sum wraps around, too.
        [self.deliveries, self.dropped, u64::from(self.pending)]
            .into_iter()
            .fold(self.rings, u64::wrapping_sub)
    }
}

impl From<uapi::Query> for LineQuery {
    fn from(query: uapi::Query) -> Self {
        let is = |bit| query.state & bit != 0;
        Self {
            line: query.line,
            pending: is(uapi::LINE_PENDING),
            masked: is(uapi::LINE_MASKED),
            reasons: MaskReasons::of_state(query.state),
            automask: is(uapi::LINE_AUTOMASK),
            counts: is(uapi::LINE_COUNTS),
            level: is(uapi::LINE_LEVEL),
            asserted: is(uapi::LINE_ASSERTED),
            raised: is(uapi::LINE_RAISED),
            resample: is(uapi::LINE_RESAMPLE),
            moderated: is(uapi::LINE_MODERATED),
            waiters: is(uapi::LINE_WAITERS),
            rings: query.rings,
            deliveries: query.deliveries,
            dropped: query.dropped,
            deferred: query.deferred,
            acks: query.acks,
            irqfds: query.nr_irqfds,
            triggers: query.nr_triggers,
            notifiers: query.nr_notifiers,
            resamplefds: query.nr_resamplefds,
            unmaskfds: query.nr_unmaskfds,
            ackfds: query.nr_ackfds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_a_query_add_up() {
        let query = uapi::Query {
            line: 7,
            state: uapi::LINE_PENDING | uapi::LINE_COUNTS,
            rings: 10,
            deliveries: 6,
            dropped: 1,
            nr_triggers: 2,
            ..Default::default()
        };
        let line = LineQuery::from(query);
        assert!(line.pending && !line.masked && line.counts);
        assert_eq!((line.line, line.coalesced(), line.triggers), (7, 2, 2));
        let masked = LineQuery::from(uapi::Query {
            state: uapi::LINE_MASKED
                | uapi::LINE_AUTOMASK
                | (uapi::MASK_AUTO << uapi::LINE_REASONS_SHIFT),
            ..query
        });
        assert!(masked.masked && !masked.pending && !masked.counts);
        assert!(masked.automask && !line.automask && line.reasons.is_empty());
        assert_eq!(masked.reasons, MaskReasons::AUTO);
        assert_eq!(masked.coalesced(), 3);
    }

    #[test]
    fn counters_wrap_around() {
        let line = LineQuery {
            pending: true,
            rings: 1,
            deliveries: u64::MAX - 2,
            dropped: 1,
            ..Default::default()
        };
        assert_eq!(line.coalesced(), 2);
        // Without overflow checks only the query's saturation would show.
        let status = crate::LineStatus {
            pending: true,
            deliveries: u64::MAX,
            coalesced: 2,
            dropped: 1,
            ..Default::default()
        };
        assert_eq!(status.rings(), 3);
    }
}
