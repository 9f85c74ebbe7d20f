// SPDX-License-Identifier: GPL-2.0-only

//! Rows that use the mapped status page: rings that are skipped, and waits that poll.

use super::{
    probe::{Channel, DoorbellPath, Legs, PingPong, Probe},
    waiters,
};
use anyhow::Context as _;
use doorbell::{Context, EventFd, LineWaiters, RingOutcome, Sleep, SpinningWait, StatusPages};
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

/// A trigger of a line that a wait can sleep on, and the way to ring that line.
pub(super) trait Trigger: Deref<Target: Sleep> + Send + 'static {
    /// Creates the trigger of the line of `path`.
    fn new(path: &Arc<DoorbellPath>) -> Self;

    /// Makes it the trigger of the line.
    fn assign(_path: &DoorbellPath) -> io::Result<()> {
        Ok(())
    }

    /// Undoes [`assign`](Self::assign), and consumes the signals of deliveries that were polled.
    fn restore(path: &DoorbellPath) -> io::Result<()>;

    /// Rings the line.
    fn ring(path: &DoorbellPath) -> io::Result<()>;
}

/// The eventfd of a path, whose line is rung by ioctl. A signal to the eventfd alone, as the watchdog's, does not
/// end a wait.
pub(super) struct TriggerOf(Arc<DoorbellPath>);

impl Deref for TriggerOf {
    type Target = EventFd;

    fn deref(&self) -> &EventFd {
        &self.0.trigger
    }
}

impl Trigger for TriggerOf {
    fn new(path: &Arc<DoorbellPath>) -> Self {
        Self(path.clone())
    }

    fn restore(path: &DoorbellPath) -> io::Result<()> {
        while path.trigger.wait(Duration::ZERO)? {
            path.trigger.read()?;
        }
        Ok(())
    }

    #[inline]
    fn ring(path: &DoorbellPath) -> io::Result<()> {
        path.ring()
    }
}

/// The waiters of a line, which is rung through its irqfd.
pub(super) struct WaitersOf(LineWaiters<Arc<Context>>);

impl Deref for WaitersOf {
    type Target = LineWaiters<Arc<Context>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Trigger for WaitersOf {
    fn new(path: &Arc<DoorbellPath>) -> Self {
        Self(LineWaiters::new(path.context().clone(), path.line))
    }

    fn assign(path: &DoorbellPath) -> io::Result<()> {
        waiters::assign(path)
    }

    /// Deassigning drops the deliveries that were not consumed.
    fn restore(path: &DoorbellPath) -> io::Result<()> {
        waiters::restore(path)
    }

    #[inline]
    fn ring(path: &DoorbellPath) -> io::Result<()> {
        path.signal()
    }
}

type Wait<T> = SpinningWait<Arc<StatusPages>, T>;

/// A line in each direction. The receiver polls the status page, then sleeps.
struct Lines<T> {
    paths: [Arc<DoorbellPath>; 2],
    status: Arc<StatusPages>,
    /// The waits of the two sides, between start and stop. Only their own side locks them.
    waits: [Mutex<Option<Wait<T>>>; 2],
}

impl<T: Trigger> Lines<T> {
    /// The timeout of a wait.
    const TIMEOUT: Duration = super::watchdog::LIMIT;

    /// Creates the wait of `side`, which receives from the other side's line.
    fn wait(&self, side: usize) -> Wait<T> {
        let path = &self.paths[1 - side];
        SpinningWait::new(self.status.clone(), path.line, T::new(path), MAX_POLL)
    }
}

fn panicked<T>(_: T) -> io::Error {
    io::Error::other("the other thread panicked")
}

impl<T: Trigger> Channel for Arc<Lines<T>> {
    #[inline]
    fn send(&self, side: usize) -> io::Result<()> {
        T::ring(&self.paths[side])
    }

    #[inline]
    fn receive(&self, side: usize) -> io::Result<()> {
        let mut wait = self.waits[side].lock().map_err(panicked)?;
        let wait = wait.get_or_insert_with(|| self.wait(side));
        match wait.wait_timeout(Lines::<T>::TIMEOUT)? {
            1 => Ok(()),
            0 => Err(io::Error::other("a message was lost: please report this")),
            n => Err(io::Error::other(format!(
                "{n} deliveries of one ring: please report this"
            ))),
        }
    }
}

/// Two threads whose waits poll before they sleep. Other rows use the same lines.
pub(super) struct Spinning<T> {
    lines: Arc<Lines<T>>,
    ping_pong: PingPong<Arc<Lines<T>>>,
}

impl<T: Trigger> Spinning<T> {
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

impl<T: Trigger> Probe for Spinning<T> {
    fn start(&mut self) -> io::Result<()> {
        for side in 0..2 {
            T::assign(&self.lines.paths[side])?;
            let wait = self.lines.wait(side);
            *self.lines.waits[side].lock().map_err(panicked)? = Some(wait);
        }
        self.ping_pong.start()
    }

    fn stop(&mut self) -> io::Result<u64> {
        let trips = self.ping_pong.stop()?;
        self.lines
            .paths
            .iter()
            .try_for_each(|path| T::restore(path))?;
        Ok(trips)
    }

    #[inline]
    fn once(&mut self) -> io::Result<()> {
        self.ping_pong.once()
    }

    fn legs(&mut self, n: u64, legs: &mut Vec<Legs>) -> io::Result<bool> {
        self.ping_pong.legs(n, legs)
    }
}
