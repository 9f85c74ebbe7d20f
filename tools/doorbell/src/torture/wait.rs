// SPDX-License-Identifier: GPL-2.0-only

//! The time that messages wait.
//!
//! A message that is pending on a line that is not masked has an owner that is about to deliver it,
//! or a callback that is queued. So it may not wait for longer than the machine takes to run that. A
//! thread reads the status pages of all lines and measures each wait between the first and the last
//! reading that show it: never longer than it was.

use super::{chain, crew::Crew, Rule, Violation};
use doorbell::{LineStatus, StatusPages};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The time between two readings.
const PERIOD: Duration = Duration::from_micros(300);

/// The longest wait that was seen.
#[derive(Default)]
pub(super) struct Longest(AtomicU64);

impl Longest {
    /// Returns it.
    pub(super) fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Relaxed))
    }

    fn raise(&self, wait: Duration) {
        self.0.fetch_max(wait.as_micros() as u64, Relaxed);
    }
}

/// A message that waits.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    /// When it was seen first.
    since: Option<Duration>,
    /// The messages that went out, or were dropped, before it.
    before: u64,
}

impl Waiting {
    /// Takes note of `status`, which was read after `before` and before `after` on the clock. Returns
    /// how long the message that it shows has waited for, at least.
    fn see(&mut self, status: &LineStatus, before: Duration, after: Duration) -> Duration {
        // Each of them ends a message. A message that waits masked ends with the mask, too: the
        // unmask delivers it.
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

/// Watches all lines until the end.
pub(super) fn watch(crew: &Crew, bound: Duration, longest: &Longest) -> Result<(), Violation> {
    let (world, clock) = (&crew.world, &crew.world.clock);
    let chain = world.chain.status();
    let chain = (0..chain.nr_lines()).map(|line| (chain, line, chain::name(line)));
    let lines = world.lines.iter().enumerate().map(|(index, line)| {
        let status = &world.status[line.context];
        (status, line.number, world.name(index))
    });
    let mut lines: Vec<_> = lines
        .chain(chain)
        .map(|line| (line, Waiting::default()))
        .collect();
    while !crew.ended() {
        for ((pages, line, name), waiting) in &mut lines {
            if !pages.line(*line).pending {
                waiting.since = None;
                continue;
            }
            let before = clock.now();
            let status = steady(pages, *line);
            let wait = waiting.see(&status, before, clock.now());
            longest.raise(wait);
            if wait > bound {
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

/// Returns the status of `line` at one moment: if a message is pending, it is not one of the
/// deliveries.
fn steady(pages: &StatusPages, line: u32) -> LineStatus {
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
        let mut waiting = Waiting::default();
        assert_eq!(waiting.see(&pending(5, 0), ms(10), ms(12)), ms(0));
        assert_eq!(waiting.see(&pending(5, 0), ms(20), ms(22)), ms(8));
        assert_eq!(waiting.see(&pending(5, 0), ms(3012), ms(3014)), ms(3000));
    }

    #[test]
    fn another_message_begins_another_wait() {
        let mut waiting = Waiting::default();
        waiting.see(&pending(5, 0), ms(0), ms(0));
        assert_eq!(waiting.see(&pending(6, 0), ms(10), ms(10)), ms(0));
        assert_eq!(waiting.see(&pending(6, 0), ms(15), ms(15)), ms(5));
        assert_eq!(waiting.see(&pending(6, 1), ms(20), ms(20)), ms(0));
    }

    #[test]
    fn masked_line_and_idle_line_do_not_wait() {
        let mut waiting = Waiting::default();
        let masked = LineStatus {
            masked: true,
            ..pending(5, 0)
        };
        for status in [masked, LineStatus::default()] {
            waiting.see(&pending(5, 0), ms(0), ms(0));
            assert_eq!(waiting.see(&status, ms(10), ms(10)), ms(0));
            assert_eq!(waiting.see(&pending(5, 0), ms(20), ms(20)), ms(0));
            assert_eq!(waiting.see(&pending(5, 0), ms(21), ms(21)), ms(1));
            waiting.since = None;
        }
    }

    #[test]
    fn longest_wait_is_kept() {
        let longest = Longest::default();
        for wait in [ms(3), ms(7), ms(5)] {
            longest.raise(wait);
        }
        assert_eq!(longest.get(), ms(7));
    }
}
