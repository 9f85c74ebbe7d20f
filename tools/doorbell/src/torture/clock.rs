// SPDX-License-Identifier: GPL-2.0-only

//! A clock for limits that stops while a busy host does not run this guest.
//!
//! The lab's guests find the milliseconds of such a clock in the file that DOORBELL_CLOCK names
//! (`tools/lab/lib/clock.sh`). The file advances about once a second. Between two of its numbers
//! [`Clock`] follows CLOCK_MONOTONIC, and is at most [`AHEAD`] ahead of the file. Without the file
//! it follows CLOCK_MONOTONIC only.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The maximum time between two numbers in the file.
const AHEAD: Duration = Duration::from_millis(1200);

/// The time between two readings of the file.
const SLICE: Duration = Duration::from_millis(200);

/// A clock that starts at zero.
pub(super) struct Clock {
    start: Instant,
    file: Option<File>,
    state: Mutex<ClockState>,
}

/// The state of a [`Clock`], without the clocks that it follows.
#[derive(Debug, Default)]
struct ClockState {
    now: Duration,
    /// CLOCK_MONOTONIC at the last reading.
    real: Duration,
    /// CLOCK_MONOTONIC when the file is to be read again.
    due: Duration,
    /// The first number in the file, and the last.
    file: Option<(Duration, Duration)>,
}

impl ClockState {
    /// Advances to `real` of CLOCK_MONOTONIC. If the file is due, calls `read` for its number.
    fn advance(&mut self, real: Duration, read: impl FnOnce() -> Option<Duration>) -> Duration {
        if real >= self.due {
            self.due = real + SLICE;
            if let Some(number) = read() {
                let first = self.file.map_or(number, |(first, _)| first);
                self.file = Some((first, number));
            }
        }
        let mut passed = real.saturating_sub(self.real);
        self.real = self.real.max(real);
        if let Some((first, last)) = self.file {
            let limit = last.saturating_sub(first) + AHEAD;
            passed = passed.min(limit.saturating_sub(self.now));
        }
        self.now += passed;
        self.now
    }
}

impl Clock {
    /// Starts a clock. It follows the file that DOORBELL_CLOCK names, if there is one.
    pub(super) fn new() -> Self {
        let clock = Self {
            start: Instant::now(),
            file: std::env::var_os("DOORBELL_CLOCK").and_then(|path| File::open(path).ok()),
            state: Mutex::default(),
        };
        clock.now();
        clock
    }

    /// Returns the time since the clock was started.
    pub(super) fn now(&self) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read CLOCK_MONOTONIC with the lock held, so that times do not arrive out of order.
        state.advance(self.start.elapsed(), || self.read())
    }

    /// Returns the number in the file.
    fn read(&self) -> Option<Duration> {
        let mut buffer = [0; 32];
        let len = self.file.as_ref()?.read_at(&mut buffer, 0).ok()?;
        parse(&buffer[..len])
    }
}

fn parse(text: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(text).ok()?;
    text.trim().parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn without_a_file_it_is_the_monotonic_clock() {
        let mut state = ClockState::default();
        for real in [0, 1, 700, 90_000] {
            assert_eq!(state.advance(ms(real), || None), ms(real));
        }
    }

    #[test]
    fn it_follows_the_monotonic_clock_between_two_numbers() {
        let mut state = ClockState::default();
        for real in 0..10_000 {
            let number = ms(5000 + real / 1000 * 1000);
            assert_eq!(state.advance(ms(real), || Some(number)), ms(real));
        }
    }

    #[test]
    fn it_stands_still_with_the_file() {
        let mut state = ClockState::default();
        state.advance(ms(0), || Some(ms(5000)));
        for real in 0..60_000 {
            state.advance(ms(real), || Some(ms(5000)));
        }
        assert_eq!(state.now, AHEAD);
        // It does not jump when the file advances.
        assert_eq!(
            state.advance(ms(60_000), || Some(ms(65_000))),
            AHEAD + ms(1)
        );
    }

    #[test]
    fn file_is_read_once_in_a_slice() {
        let mut state = ClockState::default();
        let mut readings = 0;
        for real in 0..1000 {
            state.advance(ms(real), || {
                readings += 1;
                None
            });
        }
        assert_eq!(readings, 5);
    }

    #[test]
    fn number_of_the_file_is_in_milliseconds() {
        assert_eq!(parse(b"000000012345\n"), Some(ms(12_345)));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"soon\n"), None);
    }
}
