// SPDX-License-Identifier: GPL-2.0-only

//! The time that messages wait.
//!
//! If a message is pending on a line that is not masked, the line's owner is about to deliver it,
//! or a callback is queued. So the wait is limited by the time that the machine takes to run these.
//! A thread reads the status pages of all lines. It measures each wait from the end of the first
//! reading that shows the message to the begin of the last, so it never overestimates a wait.

use super::{pool::WorkerPool, relay_chain, Rule, Violation};
use doorbell::{LineStatus, StatusPages};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The time between two readings.
const PERIOD: Duration = Duration::from_micros(300);

/// The longest wait that was observed.
#[derive(Default)]
pub(super) struct MaxWait(AtomicU64);

impl MaxWait {
    /// Returns the wait.
    pub(super) fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Relaxed))
    }

    fn raise(&self, wait: Duration) {
        self.0.fetch_max(wait.as_micros() as u64, Relaxed);
    }
}

/// A message that may wait.
#[derive(Clone, Copy, Debug, Default)]
struct PendingMessage {
    /// The time of the first reading that showed the message.
    since: Option<Duration>,
    /// The number of messages that were delivered or dropped before it.
    before: u64,
}

impl PendingMessage {
    /// Records `status`, which was read between the times `before` and `after`. Returns the minimum
    /// time that the message has waited.
    fn update(&mut self, status: &LineStatus, before: Duration, after: Duration) -> Duration {
        // A delivery or a drop ends the wait. A mask also ends it: the unmask delivers the message.
        let gone = status.deliveries + status.dropped;
        if !status.pending || status.masked {
            self.since = None;
            return Duration::ZERO;
        }
        match self.since {
            Some(since) if self.before == gone => before.saturating_sub(since),
            _ => {
                *self = Self {
                    since: Some(after),
                    before: gone,
                };
                Duration::ZERO
            }
        }
    }
}

/// Measures the waits of all lines until the pool stops.
///
/// # Errors
///
/// If a message waits for longer than `limit`.
pub(super) fn watch(
    pool: &WorkerPool,
    limit: Duration,
    longest: &MaxWait,
) -> Result<(), Violation> {
    let (topology, clock) = (&pool.topology, &pool.topology.clock);
    let chain = topology.relay_chain.status();
    let chain = (0..chain.nr_lines()).map(|line| (chain, line, relay_chain::name(line)));
    let lines = topology.lines.iter().enumerate().map(|(index, line)| {
        let status = &topology.status[line.context];
        (status, line.number, topology.name(index))
    });
    let mut lines: Vec<_> = lines
        .chain(chain)
        .map(|line| (line, PendingMessage::default()))
        .collect();
    while !pool.stopped() {
        for ((pages, line, name), message) in &mut lines {
            if !pages.line(*line).pending {
                message.since = None;
                continue;
            }
            let before = clock.now();
            let status = read_status(pages, *line);
            let wait = message.update(&status, before, clock.now());
            longest.raise(wait);
            if wait > limit {
                let text = format!(
                    "a message waited for {} ms, after {} rings and {} deliveries",
                    wait.as_millis(),
                    status.rings(),
                    status.deliveries,
                );
                return Err(Violation::new(Rule::Prompt, name, text));
            }
        }
        std::thread::sleep(PERIOD);
    }
    Ok(())
}

/// Returns a consistent status of `line`: a pending message is not among the deliveries.
fn read_status(pages: &StatusPages, line: u32) -> LineStatus {
    loop {
        let deliveries = pages.deliveries(line);
        let status = pages.line(line);
        if status.deliveries == deliveries {
            return status;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn pending(deliveries: u64, dropped: u64) -> LineStatus {
        LineStatus {
            pending: true,
            deliveries,
            dropped,
            ..Default::default()
        }
    }

    #[test]
    fn wait_is_from_the_end_of_the_first_reading_to_the_begin_of_the_last() {
        let mut message = PendingMessage::default();
        assert_eq!(message.update(&pending(5, 0), ms(10), ms(12)), ms(0));
        assert_eq!(message.update(&pending(5, 0), ms(20), ms(22)), ms(8));
        assert_eq!(message.update(&pending(5, 0), ms(3012), ms(3014)), ms(3000));
    }

    #[test]
    fn another_message_begins_another_wait() {
        let mut message = PendingMessage::default();
        message.update(&pending(5, 0), ms(0), ms(0));
        assert_eq!(message.update(&pending(6, 0), ms(10), ms(10)), ms(0));
        assert_eq!(message.update(&pending(6, 0), ms(15), ms(15)), ms(5));
        assert_eq!(message.update(&pending(6, 1), ms(20), ms(20)), ms(0));
    }

    #[test]
    fn masked_line_and_idle_line_do_not_wait() {
        let mut message = PendingMessage::default();
        let masked = LineStatus {
            masked: true,
            ..pending(5, 0)
        };
        for status in [masked, LineStatus::default()] {
            message.update(&pending(5, 0), ms(0), ms(0));
            assert_eq!(message.update(&status, ms(10), ms(10)), ms(0));
            assert_eq!(message.update(&pending(5, 0), ms(20), ms(20)), ms(0));
            assert_eq!(message.update(&pending(5, 0), ms(21), ms(21)), ms(1));
            message.since = None;
        }
    }

    #[test]
    fn maximum_is_recorded() {
        let longest = MaxWait::default();
        for wait in [ms(3), ms(7), ms(5)] {
            longest.raise(wait);
        }
        assert_eq!(longest.get(), ms(7));
    }
}
