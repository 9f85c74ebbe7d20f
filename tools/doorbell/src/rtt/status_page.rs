// SPDX-License-Identifier: GPL-2.0-only

//! Rows that use the mapped status page: rings that are skipped, and waits that poll.

use super::probe::{Channel, DoorbellPath, PingPong, Probe};
use anyhow::Context as _;
use doorbell::{EventFd, RingOutcome, SpinningWait, StatusPages};
use std::{
    io,
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The maximum for which a wait polls: the default of KVM's `halt_poll_ns`.
const MAX_POLL: Duration = Duration::from_micros(200);

fn map_status(path: &DoorbellPath) -> anyhow::Result<StatusPages> {
    let status = path.context().map_status();
    status.context("map the status pages")
}

/// One thread: rings a masked line whose message is pending. There is no round trip: each ring is skipped.
pub(super) struct Skipped {
    path: Arc<DoorbellPath>,
    status: StatusPages,
}

impl Skipped {
    pub(super) fn new(path: &Arc<DoorbellPath>) -> anyhow::Result<Self> {
        Ok(Self {
            path: path.clone(),
            status: map_status(path)?,
        })
    }
}

impl Probe for Skipped {
    /// Masks the line and makes a message pending.
    fn start(&mut self) -> io::Result<()> {
        let (context, line) = (self.path.context(), self.path.line);
        context.mask(line).map_err(io::Error::other)?;
        match context.ring(line).map_err(io::Error::other)? {
            RingOutcome::Masked => Ok(()),
            outcome => Err(io::Error::other(format!(
                "the ring of the masked line {line} was {outcome:?}: please report this"
            ))),
        }
    }

    /// Drops the message and unmasks the line.
    fn stop(&mut self) -> io::Result<u64> {
        let (context, line) = (self.path.context(), self.path.line);
        let dropped = context.clear(line).map_err(io::Error::other)?;
        let delivered = context.unmask(line).map_err(io::Error::other)?;
        if !dropped || delivered {
            return Err(io::Error::other(format!(
                "line {line} has lost its message: please report this"
            )));
        }
        Ok(0)
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        let (context, line) = (self.path.context(), self.path.line);
        match context.ring_if_needed(&self.status, line) {
            Ok(None) => Ok(()),
            Ok(Some(outcome)) => Err(io::Error::other(format!(
                "the ring of line {line} was not skipped, but {outcome:?}: please report this"
            ))),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// The trigger of a path.
struct TriggerOf(Arc<DoorbellPath>);

impl Deref for TriggerOf {
    type Target = EventFd;

    fn deref(&self) -> &EventFd {
        &self.0.trigger
    }
}

type Wait = SpinningWait<Arc<StatusPages>, TriggerOf>;

/// A line in each direction, rung by ioctl. The receiver polls the status page, then sleeps.
struct Lines {
    paths: [Arc<DoorbellPath>; 2],
    status: Arc<StatusPages>,
    /// The waits of the two sides, between start and stop. Only their own side locks them.
    waits: [Mutex<Option<Wait>>; 2],
}

impl Lines {
    /// The timeout of a wait. A signal to the trigger alone, as the watchdog's, does not end it.
    const TIMEOUT: Duration = super::watchdog::LIMIT;

    /// Creates the wait of `side`, which receives from the other side's line.
    fn wait(&self, side: usize) -> Wait {
        let path = &self.paths[1 - side];
        let (status, trigger) = (self.status.clone(), TriggerOf(path.clone()));
        SpinningWait::new(status, path.line, trigger, MAX_POLL)
    }
}

fn panicked<T>(_: T) -> io::Error {
    io::Error::other("the other thread panicked")
}

impl Channel for Arc<Lines> {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        self.paths[side].ring()
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        let mut wait = self.waits[side].lock().map_err(panicked)?;
        let wait = wait.get_or_insert_with(|| self.wait(side));
        match wait.wait_timeout(Lines::TIMEOUT)? {
            1 => Ok(()),
            0 => Err(io::Error::other("a message was lost: please report this")),
            n => Err(io::Error::other(format!(
                "{n} deliveries of one ring: please report this"
            ))),
        }
    }
}

/// Two threads whose waits poll before they sleep. Other rows use the same lines.
pub(super) struct Spinning {
    lines: Arc<Lines>,
    ping_pong: PingPong<Arc<Lines>>,
}

impl Spinning {
    /// Creates the probe. Its second thread runs on `cpu`.
    pub(super) fn new(paths: [Arc<DoorbellPath>; 2], cpu: usize) -> anyhow::Result<Self> {
        let lines = Arc::new(Lines {
            status: Arc::new(map_status(&paths[0])?),
            paths,
            waits: Default::default(),
        });
        let ping_pong = PingPong::new(lines.clone(), cpu);
        Ok(Self { lines, ping_pong })
    }
}

impl Probe for Spinning {
    fn start(&mut self) -> io::Result<()> {
        for side in 0..2 {
            let wait = self.lines.wait(side);
            *self.lines.waits[side].lock().map_err(panicked)? = Some(wait);
        }
        self.ping_pong.start()
    }

    /// Stops the second thread, and consumes the signals of deliveries that were polled.
    fn stop(&mut self) -> io::Result<u64> {
        let trips = self.ping_pong.stop()?;
        for path in &self.lines.paths {
            while path.trigger.wait(Duration::ZERO)? {
                path.trigger.read()?;
            }
        }
        Ok(trips)
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.ping_pong.once()
    }
}
