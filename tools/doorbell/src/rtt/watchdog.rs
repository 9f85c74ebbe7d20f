// SPDX-License-Identifier: GPL-2.0-only

//! A watchdog for measurements: a message that is lost must not block a run for ever.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
        Arc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The timeout of a batch. No batch takes that long, even on an emulated machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// The interval between checks. It is long, as a check disturbs the measurement.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval between rescues, when nothing is left to disturb.
const RESCUE_INTERVAL: Duration = Duration::from_millis(10);

/// A thread that unblocks a measurement whose message was lost.
///
/// It sends another message in place of the lost one. The measurement then goes on to compare the
/// counts, and fails with the number of lost messages.
pub(super) struct Watchdog {
    beats: Arc<AtomicU64>,
    /// Stops the thread when it is dropped.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the thread. It calls `rescue` repeatedly after a time `limit` without a
    /// [`beat`](Self::beat).
    pub(super) fn new(limit: Duration, rescue: impl Fn() + Send + 'static) -> Self {
        let beats = Arc::new(AtomicU64::new(0));
        let (end, ended) = mpsc::channel();
        let check = CHECK_INTERVAL.min(limit / 4);
        let counter = beats.clone();
        let watch = move || {
            let mut last = (0, Instant::now());
            let mut rescued = false;
            let pause = |rescued| if rescued { RESCUE_INTERVAL } else { check };
            while ended.recv_timeout(pause(rescued)) == Err(RecvTimeoutError::Timeout) {
                let now = counter.load(Ordering::Relaxed);
                if now != last.0 {
                    last = (now, Instant::now());
                }
                rescued |= last.1.elapsed() > limit;
                if rescued {
                    rescue();
                }
            }
        };
        Self {
            beats,
            end: Some(end),
            thread: Some(thread::spawn(watch)),
        }
    }

    /// Reports progress.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::EventFd;

    #[test]
    fn blocked_reader_is_rescued() {
        let ours = Arc::new(EventFd::new(0).unwrap());
        let theirs = ours.clone();
        let limit = Duration::from_millis(100);
        let watchdog = Watchdog::new(limit, move || {
            let _ = theirs.write(1);
        });
        let start = Instant::now();
        ours.read().unwrap();
        assert!(start.elapsed() >= limit);
        // From then on a rescue comes at once.
        ours.read().unwrap();
        drop(watchdog);
    }

    #[test]
    fn progress_prevents_a_rescue() {
        let watchdog = Watchdog::new(Duration::from_millis(400), || panic!("no rescue is needed"));
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(5));
            watchdog.beat();
        }
    }
}
