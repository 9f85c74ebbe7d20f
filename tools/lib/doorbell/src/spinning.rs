// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Context, Error, EventFd, StatusPages, sys};
use std::{
    fmt, hint, io,
    ops::Deref,
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// The window from which polling grows: `halt_poll_ns_grow_start` of KVM.
const GROW_START: Duration = Duration::from_micros(10);

/// The number of sleeps after which a thread that could run on one CPU only reads its affinity again.
const SINGLE_CPU_SLEEPS: u32 = 64;

/// The time for which a wait polls before it sleeps.
#[derive(Clone, Copy, Debug)]
struct Window {
    now: Duration,
    max: Duration,
}

impl Window {
    /// Adapts the window to a wait that took `elapsed` and had to sleep. A polling wait changes nothing.
    fn adapt(&mut self, elapsed: Duration) {
        if elapsed <= self.now {
            // The delivery came between the last poll and the sleep.
        } else if elapsed > self.max {
            self.shrink();
        } else {
            self.grow();
        }
    }

    fn grow(&mut self) {
        self.now = (self.now * 2).max(GROW_START).min(self.max);
    }

    fn shrink(&mut self) {
        self.now /= 2;
        if self.now < GROW_START {
            self.now = Duration::ZERO;
        }
    }
}

/// A trigger on which a thread can sleep: an [`EventFd`], or the [`LineWaiters`] of a line.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, LineWaiters, Sleep};
///
/// let context = Context::open()?;
/// context.set_lines(1)?;
/// context.assign_waiters(0)?;
/// LineWaiters::new(&context, 0).sleep(None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Sleep {
    /// Sleeps until the trigger has been signalled, and consumes that. Returns false if `timeout` passes
    /// first.
    ///
    /// # Errors
    ///
    /// Fails as the system call does that sleeps.
    fn sleep(&self, timeout: Option<Duration>) -> io::Result<bool>;
}

impl Sleep for EventFd {
    fn sleep(&self, timeout: Option<Duration>) -> io::Result<bool> {
        match timeout {
            None => {
                while self.take()? == 0 {
                    // The eventfd is non-blocking. A signal ends this as it ends a read(2).
                    sys::poll_in([self.as_fd()], None)?;
                }
            }
            Some(left) => {
                if !self.wait(left)? {
                    return Ok(false);
                }
                self.take()?;
            }
        }
        Ok(true)
    }
}

/// The waiters of a line, as a trigger for [`SpinningWait`].
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, LineWaiters, SpinningWait};
/// use std::time::Duration;
///
/// let context = Context::open()?;
/// context.set_lines(1)?;
/// context.assign_waiters(0)?;
/// let (status, waiters) = (context.map_status()?, LineWaiters::new(&context, 0));
/// let mut wait = SpinningWait::new(&status, 0, &waiters, Duration::from_micros(200));
/// context.ring(0)?;
/// assert_eq!(wait.wait()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LineWaiters<C> {
    context: C,
    line: u32,
}

impl<C: Deref<Target = Context>> LineWaiters<C> {
    /// Creates an object for the waiters of `line`. [`Context::assign_waiters`] assigns them.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineWaiters};
    /// let context = std::sync::Arc::new(Context::open()?);
    /// let waiters = LineWaiters::new(context.clone(), 3);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn new(context: C, line: u32) -> Self {
        Self { context, line }
    }
}

impl<C: Deref<Target = Context>> Sleep for LineWaiters<C> {
    /// Sleeps as [`Context::wait`] does: a signal does not end it.
    fn sleep(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let waited = self.context.wait(self.line, timeout);
        // With the errno, by which the caller recognises waiters that were deassigned.
        let failed = |error: Error| match error.errno() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(error),
        };
        Ok(waited.map_err(failed)?.is_some())
    }
}

/// Waits for deliveries of a line: polls the status page for a short time, then sleeps on the trigger.
///
/// A wake-up costs far more than a ring. If the next delivery comes soon, a consumer that polls for it
/// avoids the wake-up, and the read(2) of the trigger, too.
///
/// The time to poll adapts, as KVM's halt polling does (`halt_poll_ns` of a vCPU):
///
/// | KVM | here |
/// |---|---|
/// | `halt_poll_ns` of the module: the maximum | `max` of [`new`](Self::new) |
/// | `halt_poll_ns_grow_start`, `_grow`, `_shrink` | 10 us, doubled, halved |
/// | the vCPU was halted for less than the maximum, but longer than it polled: grow | the same: a longer poll would have caught the delivery |
/// | it was halted for longer than the maximum: shrink, to zero below the start value | the same |
/// | it was woken while it polled: unchanged | the same |
/// | it was woken by something else than an interrupt: shrink | the timeout has passed, or a signal has arrived |
/// | `single_task_running()` | the thread may run on one CPU only: no polling |
///
/// The window begins with zero, so the first wait sleeps. A consumer whose deliveries are further apart
/// than `max` does not poll at all.
///
/// On a single CPU the producer cannot run while the consumer polls. After a sleep the wait reads the
/// thread's CPU affinity, unless its window is zero. If one CPU is left, the next 64 sleeps do not poll,
/// and read neither the affinity nor, without a timeout, the clock. The wait cannot see that producer and
/// consumer share a CPU although each may use others: then polling wastes up to `max` for each delivery.
/// Pin them to different CPUs, or choose a `max` of zero.
///
/// # Trigger
///
/// The trigger must be of that line only, and only this object may read it. A polling wait does not read
/// it: its counter keeps the signals of deliveries that were returned already. The next wait that has to
/// sleep consumes them and then sleeps, so they cause no spurious return. A wait returns only after a
/// delivery: no other write to the trigger ends it.
///
/// An eventfd may be blocking or non-blocking. With EFD_SEMAPHORE each leftover signal takes a read(2)
/// of its own. A wait whose timeout passes meanwhile leaves the rest to the next one. If the line has
/// waiters, the trigger is a [`LineWaiters`], and no other thread may wait for the line.
///
/// # Examples
///
/// ```no_run
/// use doorbell::{Context, EventFd, SpinningWait};
/// use std::time::Duration;
///
/// let context = Context::open()?;
/// context.set_lines(1)?;
/// let status = context.map_status()?;
/// let trigger = EventFd::new(0)?;
/// context.assign_trigger(&trigger, 0)?;
/// let mut wait = SpinningWait::new(&status, 0, &trigger, Duration::from_micros(200));
/// context.ring(0)?;
/// assert_eq!(wait.wait()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SpinningWait<S, T> {
    status: S,
    line: u32,
    trigger: T,
    window: Window,
    /// The deliveries that were returned.
    seen: u64,
    sleeps: u64,
    /// The number of sleeps without polling, because the thread could run on one CPU only.
    single_cpu: u32,
}

impl<S, T> SpinningWait<S, T>
where
    S: Deref<Target = StatusPages>,
    T: Deref<Target: Sleep>,
{
    /// Creates a wait for later deliveries of `line`, which signals `trigger`. It polls for at most `max`;
    /// KVM's default is 200 us. `status` and `trigger` are references, or for example `Arc`s.
    ///
    /// Deliveries from before are not returned: look for work once after this call, as after each wait.
    ///
    /// # Panics
    ///
    /// Panics if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, SpinningWait};
    /// # let context = Context::open()?;
    /// # let (status, trigger) = (context.map_status()?, EventFd::new(0)?);
    /// let max = std::time::Duration::from_micros(50);
    /// let wait = SpinningWait::new(&status, 3, &trigger, max);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(status: S, line: u32, trigger: T, max: Duration) -> Self {
        let seen = status.deliveries(line);
        Self {
            status,
            line,
            trigger,
            window: Window {
                now: Duration::ZERO,
                max,
            },
            seen,
            sleeps: 0,
            single_cpu: 0,
        }
    }

    /// Waits for a delivery, and returns the number of deliveries since the last one that was returned.
    ///
    /// Data that a producer has stored before its ring, or before a skipped
    /// [`ring_if_needed`](crate::Context::ring_if_needed), is visible then.
    ///
    /// # Errors
    ///
    /// Fails as [`Sleep::sleep`] of the trigger does: for an eventfd with EINTR if a signal arrives. No delivery
    /// is lost by that.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, SpinningWait};
    /// # let context = Context::open()?;
    /// # let (status, trigger) = (context.map_status()?, EventFd::new(0)?);
    /// # let max = std::time::Duration::from_micros(50);
    /// let mut wait = SpinningWait::new(&status, 3, &trigger, max);
    /// loop {
    ///     // Look for work here.
    ///     wait.wait()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn wait(&mut self) -> io::Result<u64> {
        match self.take() {
            0 => self.wait_slow(None),
            deliveries => Ok(deliveries),
        }
    }

    /// Waits as [`wait`](Self::wait) does, but returns zero if `timeout` passes first or a signal arrives.
    ///
    /// # Errors
    ///
    /// Fails as [`Sleep::sleep`] of the trigger does.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, SpinningWait};
    /// # use std::time::Duration;
    /// # let context = Context::open()?;
    /// # let (status, trigger) = (context.map_status()?, EventFd::new(0)?);
    /// let mut wait = SpinningWait::new(&status, 3, &trigger, Duration::ZERO);
    /// assert_eq!(wait.wait_timeout(Duration::from_millis(5))?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<u64> {
        match self.take() {
            0 => self.wait_slow(Some(timeout)),
            deliveries => Ok(deliveries),
        }
    }

    /// Returns the time for which the next wait polls before it sleeps.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, SpinningWait};
    /// # let context = Context::open()?;
    /// # let (status, trigger) = (context.map_status()?, EventFd::new(0)?);
    /// let max = std::time::Duration::from_micros(50);
    /// let wait = SpinningWait::new(&status, 3, &trigger, max);
    /// assert!(wait.window().is_zero());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn window(&self) -> Duration {
        self.window.now
    }

    /// Returns the number of waits that have slept.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd, SpinningWait};
    /// # let context = Context::open()?;
    /// # let (status, trigger) = (context.map_status()?, EventFd::new(0)?);
    /// # let max = std::time::Duration::from_micros(50);
    /// let mut wait = SpinningWait::new(&status, 3, &trigger, max);
    /// wait.wait()?;
    /// println!("slept {} times", wait.sleeps());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sleeps(&self) -> u64 {
        self.sleeps
    }

    /// Returns the number of deliveries that were not returned yet.
    #[inline]
    fn take(&mut self) -> u64 {
        // An acquire load. The kernel counts a delivery after it has taken the message from the state
        // word, by a fully ordered compare-exchange.
        let deliveries = self.status.deliveries(self.line);
        let new = deliveries.wrapping_sub(self.seen);
        self.seen = deliveries;
        new
    }

    #[cold]
    fn wait_slow(&mut self, timeout: Option<Duration>) -> io::Result<u64> {
        if self.single_cpu > 0 {
            self.single_cpu -= 1;
            return self.sleep(timeout);
        }
        let start = Instant::now();
        let window = timeout.map_or(self.window.now, |timeout| self.window.now.min(timeout));
        while start.elapsed() < window {
            hint::spin_loop();
            match self.take() {
                0 => {}
                deliveries => return Ok(deliveries),
            }
        }
        let slept = self.sleep(timeout.map(|timeout| timeout.saturating_sub(start.elapsed())));
        match slept {
            Ok(deliveries) if deliveries > 0 => self.window.adapt(start.elapsed()),
            _ => self.window.shrink(),
        }
        if !self.window.now.is_zero() && sys::is_single_cpu() {
            self.window.now = Duration::ZERO;
            self.single_cpu = SINGLE_CPU_SLEEPS;
        }
        slept
    }

    /// Sleeps until a delivery that was not returned yet, and returns their number; returns zero if
    /// `timeout` passes first.
    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<u64> {
        self.sleeps += 1;
        let mut left = timeout;
        let deadline = timeout.map(|timeout| (Instant::now(), timeout));
        loop {
            if !self.trigger.sleep(left)? {
                // The delivery may have been counted, and its signal not sent yet.
                return Ok(self.take());
            }
            // The delivery is counted before the trigger is signalled. So if there is none, that was the
            // signal of one that was returned already.
            match self.take() {
                // The trigger may stay readable: another process can write to it all the time.
                0 if left == Some(Duration::ZERO) => return Ok(0),
                0 => {}
                deliveries => return Ok(deliveries),
            }
            left = deadline.map(|(start, timeout)| timeout.saturating_sub(start.elapsed()));
        }
    }
}

impl<S, T> fmt::Debug for SpinningWait<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinningWait")
            .field("line", &self.line)
            .field("window", &self.window.now)
            .field("max", &self.window.max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
