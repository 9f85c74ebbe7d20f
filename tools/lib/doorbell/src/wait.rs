// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests and answers: rings that wait.

use crate::{Context, Error, Operation, Result, RingOutcome, sys, uapi};
use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

/// The result of [`Context::ring_wait`].
///
/// # Examples
///
/// ```
/// use doorbell::{RingOutcome, RingWait};
///
/// let answered = RingWait { outcome: RingOutcome::Delivered, count: Some(1) };
/// assert!(answered.count.is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingWait {
    /// The outcome of the ring.
    pub outcome: RingOutcome,
    /// The count that was consumed. [`None`] if the timeout passed, and then nothing was consumed.
    pub count: Option<u64>,
}

impl Context {
    /// Rings a line, then consumes the counter of an eventfd, as read(2) does: sends a request and
    /// waits for its answer in one system call.
    ///
    /// Sleeps until the counter is not zero or `timeout` passes, even if the eventfd is
    /// non-blocking. The line is rung once: if a signal arrives, the method goes on waiting. After a
    /// timeout go on with [`wait_eventfd`](Context::wait_eventfd).
    ///
    /// # Errors
    ///
    /// A call that fails has not rung.
    ///
    /// - ENXIO: there is no such line.
    /// - EBADF: `fd` is not open, or not for reading.
    /// - EINVAL: `fd` is not an eventfd.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # use std::time::Duration;
    /// # let context = Context::open()?;
    /// # context.set_lines(2)?;
    /// let answer = EventFd::new(0)?;
    /// context.assign_trigger(&answer, 1)?;
    /// // Another thread waits for line 0 and rings line 1.
    /// let result = context.ring_wait(0, &answer, Some(Duration::from_secs(1)))?;
    /// if result.count.is_none() {
    ///     eprintln!("no answer within a second");
    ///     context.wait_eventfd(&answer, None)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn ring_wait(
        &self,
        line: u32,
        fd: &impl AsRawFd,
        timeout: Option<Duration>,
    ) -> Result<RingWait> {
        self.ring_and(line, fd.as_raw_fd(), 0, timeout)
    }

    /// Consumes the counter of an eventfd, as read(2) does, and returns it. Sleeps until the counter
    /// is not zero, even if the eventfd is non-blocking or a signal arrives. Returns [`None`] if
    /// `timeout` passes.
    ///
    /// # Errors
    ///
    /// - ENXIO: the lines are not chosen yet.
    /// - EBADF: `fd` is not open, or not for reading.
    /// - EINVAL: `fd` is not an eventfd.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # use std::time::Duration;
    /// # let context = Context::open()?;
    /// # context.set_lines(1)?;
    /// let eventfd = EventFd::new(5)?;
    /// assert_eq!(context.wait_eventfd(&eventfd, None)?, Some(5));
    /// assert_eq!(context.wait_eventfd(&eventfd, Some(Duration::ZERO))?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_eventfd(
        &self,
        fd: &impl AsRawFd,
        timeout: Option<Duration>,
    ) -> Result<Option<u64>> {
        let failed = |source| Error::Eventfd {
            operation: Operation::WaitEventfd,
            source,
        };
        let mut arg = uapi::RingWait {
            // Line 0 always exists.
            fd: fd.as_raw_fd(),
            timeout: deadline(timeout).map_err(failed)?,
            flags: uapi::RING_WAIT_FLAG_NO_RING,
            ..Default::default()
        };
        self.call(&mut arg).map_err(failed)
    }

    /// Rings a line, then consumes the deliveries of the line `answer`, as [`wait`](Context::wait) does:
    /// sends a request and waits for its answer in one system call, without an eventfd.
    ///
    /// Sleeps until the line `answer` has delivered or `timeout` passes. The line is rung once: if a signal
    /// arrives, the method goes on waiting. After a timeout go on with [`wait`](Context::wait).
    ///
    /// # Errors
    ///
    /// A call that fails has not rung, unless the waiters are deassigned during the call.
    ///
    /// - ENXIO: one of the lines does not exist.
    /// - ENOENT: the line `answer` has no waiters, or they were deassigned.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::Context;
    /// # use std::time::Duration;
    /// # let context = Context::open()?;
    /// # context.set_lines(2)?;
    /// context.assign_waiters(1)?;
    /// // Another thread waits for line 0 and rings line 1.
    /// let result = context.ring_wait_line(0, 1, Some(Duration::from_secs(1)))?;
    /// if result.count.is_none() {
    ///     eprintln!("no answer within a second");
    ///     context.wait(1, None)?;
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    #[inline]
    pub fn ring_wait_line(
        &self,
        line: u32,
        answer: u32,
        timeout: Option<Duration>,
    ) -> Result<RingWait> {
        self.ring_and(line, answer as i32, uapi::RING_WAIT_FLAG_LINE, timeout)
    }

    /// Rings `line`, then waits for `fd`, which is a line with [`uapi::RING_WAIT_FLAG_LINE`].
    #[inline]
    fn ring_and(
        &self,
        line: u32,
        fd: i32,
        flags: u32,
        timeout: Option<Duration>,
    ) -> Result<RingWait> {
        let failed = |source| Error::Line {
            operation: Operation::RingWait,
            line,
            source,
        };
        let mut arg = uapi::RingWait {
            line,
            fd,
            timeout: deadline(timeout).map_err(failed)?,
            flags,
            ..Default::default()
        };
        let count = self.call(&mut arg).map_err(failed)?;
        Ok(RingWait {
            outcome: RingOutcome::from_code(arg.result as i32),
            count,
        })
    }

    /// Consumes all deliveries of a line that no other call has consumed, and returns their number. Sleeps
    /// until there is one, even if a signal arrives. Returns [`None`] if `timeout` passes.
    ///
    /// The line needs [`assign_waiters`](Context::assign_waiters) before. Each delivery is consumed exactly
    /// once, and wakes one of the threads that wait.
    ///
    /// # Errors
    ///
    /// - ENXIO: there is no such line.
    /// - ENOENT: the line has no waiters, or they were deassigned.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, EventFd};
    /// # use std::time::Duration;
    /// # let context = Context::open()?;
    /// # context.set_lines(1)?;
    /// let kick = EventFd::new(0)?;
    /// context.assign_irqfd(&kick, 0)?;
    /// context.assign_waiters(0)?;
    /// kick.write(1)?;
    /// assert_eq!(context.wait(0, None)?, Some(1));
    /// assert_eq!(context.wait(0, Some(Duration::ZERO))?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn wait(&self, line: u32, timeout: Option<Duration>) -> Result<Option<u64>> {
        let failed = |source| Error::Line {
            operation: Operation::Wait,
            line,
            source,
        };
        let mut arg = uapi::Wait {
            line,
            timeout: deadline(timeout).map_err(failed)?,
            ..Default::default()
        };
        loop {
            match sys::ioctl(self.as_fd(), uapi::WAIT, &mut arg) {
                Ok(_) => return Ok(Some(arg.count)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ETIMEDOUT) => return Ok(None),
                    Some(libc::EINTR) => {}
                    _ => return Err(failed(error)),
                },
            }
        }
    }

    /// Calls the ioctl until it consumes a count or the timeout passes.
    #[inline]
    fn call(&self, arg: &mut uapi::RingWait) -> io::Result<Option<u64>> {
        loop {
            match sys::ioctl(self.as_fd(), uapi::RING_WAIT, arg) {
                Ok(_) => return Ok(Some(arg.count)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ETIMEDOUT) => return Ok(None),
                    Some(libc::EINTR) => arg.flags |= uapi::RING_WAIT_FLAG_NO_RING,
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Returns the time at which a wait for `timeout` ends.
#[inline]
fn deadline(timeout: Option<Duration>) -> io::Result<u64> {
    match timeout {
        None => Ok(uapi::RING_WAIT_NO_TIMEOUT),
        Some(Duration::ZERO) => Ok(0),
        Some(timeout) => sys::deadline(timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventFd;

    #[test]
    fn deadlines_are_of_the_clock() {
        let before = sys::deadline(Duration::ZERO).unwrap();
        assert!(before > 0);
        let after = deadline(Some(Duration::from_nanos(7))).unwrap();
        assert!(after >= before + 7);
        assert_eq!(deadline(None).unwrap(), u64::MAX);
        assert_eq!(deadline(Some(Duration::ZERO)).unwrap(), 0);
        let never = deadline(Some(Duration::MAX)).unwrap();
        assert_eq!(never, i64::MAX as u64);
    }

    #[test]
    fn errors_name_the_call() {
        let context = Context::open_path("/dev/null").unwrap();
        let eventfd = EventFd::new(1).unwrap();
        let error = context.ring_wait(3, &eventfd, None).unwrap_err();
        assert_eq!(error.to_string(), "ring and wait for the answer to line 3");
        assert_eq!(error.errno(), Some(libc::ENOTTY));
        let error = context.ring_wait_line(3, 4, None).unwrap_err();
        assert_eq!(error.to_string(), "ring and wait for the answer to line 3");
        let error = context.wait(4, None).unwrap_err();
        assert_eq!(error.to_string(), "wait for line 4");
        assert_eq!(error.errno(), Some(libc::ENOTTY));
        let error = context.wait_eventfd(&eventfd, None).unwrap_err();
        assert_eq!(error.operation(), Operation::WaitEventfd);
        assert_eq!(eventfd.count().unwrap(), 1);
    }
}
