// SPDX-License-Identifier: GPL-2.0-only

//! Who waits for a message that was lost would wait for ever.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
        Arc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// No batch takes that long, even where everything is emulated.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked at: rarely, as that disturbs. Once there is nothing left to disturb, often.
const LOOK: Duration = Duration::from_secs(1);
const RESCUE: Duration = Duration::from_millis(10);

/// Helps those who wait for what does not come: they get a message that nobody has sent, so that
/// they go on to where the counts are compared, and the run fails with what is missing.
pub(super) struct Guard {
    beats: Arc<AtomicU64>,
    /// Ends the thread when it goes.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Calls `rescue`, again and again, when there was no [`beat`](Self::beat) for `limit`.
    pub(super) fn new(limit: Duration, rescue: impl Fn() + Send + 'static) -> Self {
        let beats = Arc::new(AtomicU64::new(0));
        let (end, ended) = mpsc::channel();
        let look = LOOK.min(limit / 4);
        let beats_there = beats.clone();
        let watch = move || {
            let mut last = (0, Instant::now());
            let mut rescued = false;
            let pause = |rescued| if rescued { RESCUE } else { look };
            while ended.recv_timeout(pause(rescued)) == Err(RecvTimeoutError::Timeout) {
                let now = beats_there.load(Ordering::Relaxed);
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

    /// Something has happened.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Guard {
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
    fn who_waits_for_nothing_is_helped() {
        let ours = Arc::new(EventFd::new(0).unwrap());
        let theirs = ours.clone();
        let limit = Duration::from_millis(100);
        let guard = Guard::new(limit, move || {
            let _ = theirs.write(1);
        });
        let start = Instant::now();
        ours.read().unwrap();
        assert!(start.elapsed() >= limit);
        // From then on at once.
        ours.read().unwrap();
        drop(guard);
    }

    #[test]
    fn who_goes_on_is_left_alone() {
        let guard = Guard::new(Duration::from_millis(400), || panic!("nobody needs help"));
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(5));
            guard.beat();
        }
    }
}
