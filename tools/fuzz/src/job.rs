// SPDX-License-Identifier: GPL-2.0-only

//! A child that runs a batch, as its parent sees it.

use crate::{
    batch::{run, Batch, Work},
    shared::{Message, Shared},
    sys,
};
use std::{
    fs,
    os::fd::RawFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The time within which a program must end. Long calls are interrupted after 20 ms.
const HUNG: Duration = Duration::from_secs(40);

/// The last time of the lab's clock, for reads that fail.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A clock that does not run while a busy host keeps the guest from running: the lab's, if there is one.
pub fn now() -> Duration {
    let lab = std::env::var_os("DOORBELL_CLOCK").and_then(|path| fs::read_to_string(path).ok());
    match lab.and_then(|text| text.trim().trim_start_matches('0').parse().ok()) {
        Some(milliseconds) => {
            LAST.store(milliseconds, Relaxed);
            Duration::from_millis(milliseconds)
        }
        // One clock must not follow the other.
        None if LAST.load(Relaxed) > 0 => Duration::from_millis(LAST.load(Relaxed)),
        None => Duration::from_nanos(sys::now()),
    }
}

/// The end of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ran its batch.
    Done,
    /// The parent killed it.
    Killed,
    /// It died by itself, with this status of waitpid(2).
    Died(i32),
    /// A program did not end. True if the child could be killed.
    Hung(bool),
}

/// A running child.
#[derive(Debug)]
pub struct Job {
    child: i32,
    from: RawFd,
    buffer: Vec<u8>,
    shared: &'static Shared,
    job: usize,
    /// The program that runs, and the time when the parent saw it first.
    last: (u64, Duration),
    checked: Instant,
    kill_at: Option<Instant>,
    killed: bool,
    /// The child was waited for, or cannot be killed.
    over: bool,
}

impl Job {
    /// Starts a batch. Kills it after `kill_after`, if that is some time.
    pub fn start(
        mut batch: Batch,
        work: Work<'_>,
        kill_after: Option<Duration>,
    ) -> std::io::Result<Self> {
        let [from, to] = sys::pair(false)?;
        batch.pipe = to;
        let child = sys::fork();
        if child == 0 {
            sys::close(from);
            run(batch, work);
        }
        sys::close(to);
        if child < 0 {
            sys::close(from);
            return Err(std::io::Error::last_os_error());
        }
        sys::set_nonblocking(from);
        Ok(Self {
            child,
            from,
            buffer: Vec::new(),
            shared: batch.shared,
            job: batch.job,
            last: (batch.shared.begun(batch.job), now()),
            checked: Instant::now(),
            kill_at: kill_after.map(|after| Instant::now() + after),
            killed: false,
            over: false,
        })
    }

    /// Returns the number of the process.
    pub fn child(&self) -> i32 {
        self.child
    }

    /// Returns the descriptor that is readable when there are messages, or at the end.
    pub fn descriptor(&self) -> RawFd {
        self.from
    }

    /// Returns new messages.
    pub fn messages(&mut self) -> Vec<Message> {
        let mut bytes = [0; 4096];
        while let Some(len) = sys::read_bytes(self.from, &mut bytes) {
            self.buffer.extend_from_slice(&bytes[..len]);
        }
        Message::take(&mut self.buffer)
    }

    /// Returns the end of the child if it has ended, or if it hangs. Then the job must not be used any more.
    pub fn end(&mut self) -> Option<End> {
        if let Some(status) = sys::wait(self.child, false) {
            return Some(self.ended(status));
        }
        if self.kill_at.is_some_and(|at| Instant::now() >= at) && !self.killed {
            self.kill();
        }
        if self.checked.elapsed() < Duration::from_millis(500) {
            return None;
        }
        self.checked = Instant::now();
        let begun = self.shared.begun(self.job);
        if begun != self.last.0 {
            self.last = (begun, now());
            return None;
        }
        if now().saturating_sub(self.last.1) < HUNG {
            return None;
        }
        Some(End::Hung(self.stop() != End::Hung(false)))
    }

    /// Kills the child. [`Self::stop`] waits for it.
    pub fn kill(&mut self) {
        sys::kill(self.child);
        self.killed = true;
    }

    /// Kills the child, and waits for its end: not for ever, as the kernel may be unable to end it.
    pub fn stop(&mut self) -> End {
        self.kill();
        let start = now();
        while now().saturating_sub(start) < HUNG {
            if let Some(status) = sys::wait(self.child, false) {
                return self.ended(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.over = true;
        End::Hung(false)
    }

    fn ended(&mut self, status: i32) -> End {
        self.over = true;
        match status {
            0 => End::Done,
            libc::SIGKILL if self.killed => End::Killed,
            _ => End::Died(status),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.over {
            self.stop();
        }
        sys::close(self.from);
    }
}
