// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::sys;
use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

/// An eventfd, for programs that have no type of their own for it.
///
/// The methods of [`Context`](crate::Context) also take other types, such as vmm-sys-util's
/// `EventFd` and [`OwnedFd`].
///
/// # Examples
///
/// ```
/// use doorbell::EventFd;
///
/// let eventfd = EventFd::new(0)?;
/// eventfd.write(2)?;
/// eventfd.write(1)?;
/// assert_eq!(eventfd.read()?, 3);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Creates a blocking, close-on-exec eventfd whose counter is `count`.
    ///
    /// # Errors
    ///
    /// Fails as eventfd(2) does, for example with EMFILE.
    ///
    /// # Examples
    ///
    /// ```
    /// let eventfd = doorbell::EventFd::new(5)?;
    /// assert_eq!(eventfd.read()?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(count: u32) -> io::Result<Self> {
        sys::eventfd(count, libc::EFD_CLOEXEC).map(Self)
    }

    /// Creates a non-blocking, close-on-exec eventfd whose counter is zero. If `semaphore` is true,
    /// each read returns one and decrements the counter.
    ///
    /// # Errors
    ///
    /// Fails as eventfd(2) does, for example with EMFILE.
    ///
    /// # Examples
    ///
    /// ```
    /// let eventfd = doorbell::EventFd::non_blocking(true)?;
    /// eventfd.write(2)?;
    /// assert_eq!([eventfd.take()?, eventfd.take()?, eventfd.take()?], [1, 1, 0]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn non_blocking(semaphore: bool) -> io::Result<Self> {
        let semaphore = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
        sys::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | semaphore).map(Self)
    }

    /// Consumes the counter, and sleeps until it is not zero unless the eventfd is
    /// [non-blocking](EventFd::non_blocking).
    ///
    /// # Errors
    ///
    /// Fails as read(2) does: with EAGAIN if the eventfd is non-blocking and its counter is zero,
    /// with EINTR if a signal arrives.
    ///
    /// # Examples
    ///
    /// ```
    /// let eventfd = doorbell::EventFd::new(1)?;
    /// assert_eq!(eventfd.read()?, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn read(&self) -> io::Result<u64> {
        sys::read_u64(self.0.as_fd())
    }

    /// Consumes the counter of a [non-blocking](EventFd::non_blocking) eventfd, and returns zero if
    /// it is zero.
    ///
    /// # Errors
    ///
    /// Fails as read(2) does, except with EAGAIN.
    ///
    /// # Examples
    ///
    /// ```
    /// let eventfd = doorbell::EventFd::non_blocking(false)?;
    /// assert_eq!(eventfd.take()?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn take(&self) -> io::Result<u64> {
        match self.read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// Adds `n` to the counter.
    ///
    /// # Errors
    ///
    /// Fails as write(2) does, with EINVAL if `n` is [`u64::MAX`].
    ///
    /// # Examples
    ///
    /// ```
    /// let eventfd = doorbell::EventFd::new(0)?;
    /// eventfd.write(1)?;
    /// assert!(eventfd.write(u64::MAX).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn write(&self, n: u64) -> io::Result<()> {
        sys::write_u64(self.0.as_fd(), n)
    }

    /// Returns the counter without consuming it, as /proc reports it.
    ///
    /// # Errors
    ///
    /// Fails if /proc is not mounted, and with [`io::ErrorKind::InvalidData`] if the descriptor is
    /// not an eventfd.
    ///
    /// # Examples
    ///
    /// ```
    /// let eventfd = doorbell::EventFd::new(3)?;
    /// assert_eq!((eventfd.count()?, eventfd.count()?), (3, 3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn count(&self) -> io::Result<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.0.as_raw_fd());
        let info = fs::read_to_string(path)?;
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("eventfd-count:"));
        count
            .and_then(|count| u64::from_str_radix(count.trim(), 16).ok())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Waits until the counter is not zero. Returns false if `timeout` passes first or a signal
    /// arrives.
    ///
    /// # Errors
    ///
    /// Fails as poll(2) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let eventfd = doorbell::EventFd::new(0)?;
    /// assert!(!eventfd.wait(Duration::from_millis(1))?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        sys::wait_readable(self.0.as_fd(), timeout)
    }
}

/// Takes ownership of a descriptor, which should be an eventfd.
impl From<OwnedFd> for EventFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<EventFd> for OwnedFd {
    fn from(eventfd: EventFd) -> Self {
        eventfd.0
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
