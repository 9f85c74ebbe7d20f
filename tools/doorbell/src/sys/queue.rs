// SPDX-License-Identifier: GPL-2.0-only

//! POSIX message queues. The calls are libc's, as rustix has none of them.

use super::check;
use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

/// A message queue without a name, whose messages are integers.
pub(crate) struct Queue(OwnedFd);

/// Size of a message.
const SIZE: usize = size_of::<u64>();

impl Queue {
    /// Creates a queue that holds one message.
    ///
    /// # Errors
    ///
    /// Fails if this kernel has no message queues, or a limit on them is reached.
    pub(crate) fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("/doorbell-{}-{number}", std::process::id());
        let name = CString::new(name)?;
        // SAFETY: All bytes zero are a valid `struct mq_attr`.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = 1;
        attributes.mq_msgsize = SIZE as _;
        // SAFETY: The name ends with a zero byte, and the flags have O_CREAT, so the call takes a
        // mode and valid attributes.
        let fd = check(i64::from(unsafe {
            libc::mq_open(
                name.as_ptr(),
                libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC,
                0o600 as libc::mode_t,
                &raw mut attributes,
            )
        }))?;
        // SAFETY: On Linux, a queue is a descriptor. This one is open, and belongs to this value.
        let queue = Self(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        // SAFETY: The name ends with a zero byte.
        check(unsafe { libc::mq_unlink(name.as_ptr()) }.into())?;
        Ok(queue)
    }

    /// Sends a message; waits for room.
    #[inline]
    pub(crate) fn send(&self, value: u64) -> io::Result<()> {
        let bytes = value.to_ne_bytes();
        // SAFETY: The message has that many bytes.
        let ret = unsafe { libc::mq_send(self.0.as_raw_fd(), bytes.as_ptr().cast(), SIZE, 0) };
        check(ret.into()).map(drop)
    }

    /// Sends a message if there is room.
    pub(crate) fn try_send(&self, value: u64) -> io::Result<()> {
        let bytes = value.to_ne_bytes();
        // SAFETY: All bytes zero are a valid `struct timespec`: a time long ago.
        let past: libc::timespec = unsafe { std::mem::zeroed() };
        let (fd, first) = (self.0.as_raw_fd(), bytes.as_ptr().cast());
        // SAFETY: The message has that many bytes, and the time is valid.
        let ret = unsafe { libc::mq_timedsend(fd, first, SIZE, 0, &past) };
        check(ret.into()).map(drop)
    }

    /// Waits for a message.
    #[inline]
    pub(crate) fn receive(&self) -> io::Result<u64> {
        let mut bytes = [0; SIZE];
        let (fd, no_priority) = (self.0.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: The buffer has that many bytes, and the call may leave out the priority.
        let ret = unsafe { libc::mq_receive(fd, bytes.as_mut_ptr().cast(), SIZE, no_priority) };
        if check(ret as i64)? as usize != SIZE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(u64::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_has_no_name_and_keeps_values() {
        // Without message queues in this kernel, there is nothing to test.
        let queue = match Queue::new() {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => return,
            queue => queue.unwrap(),
        };
        for value in [1, u64::MAX] {
            queue.send(value).unwrap();
            assert_eq!(queue.receive().unwrap(), value);
        }
        queue.try_send(7).unwrap();
        let full = queue.try_send(8).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ETIMEDOUT));
        assert_eq!(queue.receive().unwrap(), 7);
        let entries = std::fs::read_dir("/dev/mqueue").into_iter().flatten();
        let ours = format!("doorbell-{}", std::process::id());
        for entry in entries.flatten() {
            assert!(!entry.file_name().to_string_lossy().starts_with(&ours));
        }
    }
}
