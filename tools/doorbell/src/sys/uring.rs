// SPDX-License-Identifier: GPL-2.0-only

//! The two operations of io_uring that carry a notification: NOP and MSG_RING.

use io_uring::{opcode, squeue, types, IoUring};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

/// A ring without threads of its own.
pub(crate) struct Uring {
    ring: IoUring,
    /// A message that arrived while this ring was sending one.
    early: Option<u64>,
}

/// The value in the completion of a MSG_RING that failed. No message has it.
const FAILED: u64 = u64::MAX;

impl Uring {
    /// Number of entries. One operation at a time is in flight.
    const ENTRIES: u32 = 4;

    /// Creates a ring.
    ///
    /// # Errors
    ///
    /// Fails if this kernel has no io_uring, or does not allow it.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            ring: IoUring::new(Self::ENTRIES)?,
            early: None,
        })
    }

    /// Lets the kernel signal `eventfd` for each completion.
    pub(crate) fn register_eventfd(&self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        self.ring.submitter().register_eventfd(eventfd.as_raw_fd())
    }

    /// Returns the descriptor to which other rings send messages.
    pub(crate) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Submits an operation that does nothing. It completes before this returns. Returns the value
    /// in the completion, which is `value`.
    #[inline]
    pub(crate) fn nop(&mut self, value: u64) -> io::Result<u64> {
        self.submit(opcode::Nop::new().build().user_data(value))?;
        self.wait()
    }

    /// Posts a completion with `value` to the ring `to`. If that succeeds, this ring gets none.
    #[inline]
    pub(crate) fn message(&mut self, to: RawFd, value: u64) -> io::Result<()> {
        let entry = opcode::MsgRingData::new(types::Fd(to), 0, value, None).build();
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(FAILED);
        self.submit(entry)?;
        match self.ring.completion().next() {
            Some(completion) if completion.user_data() == FAILED => {
                Err(io::Error::from_raw_os_error(-completion.result()))
            }
            // The receiver may have answered before the call has returned.
            answer => {
                self.early = answer.map(|completion| completion.user_data());
                Ok(())
            }
        }
    }

    /// Waits for a completion, and returns its value.
    #[inline]
    pub(crate) fn wait(&mut self) -> io::Result<u64> {
        if let Some(value) = self.early.take() {
            return Ok(value);
        }
        loop {
            if let Some(completion) = self.ring.completion().next() {
                return match completion.result() {
                    0.. => Ok(completion.user_data()),
                    error => Err(io::Error::from_raw_os_error(-error)),
                };
            }
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => drop(result?),
            }
        }
    }

    fn submit(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: The entry is a NOP or a MSG_RING without a descriptor to pass. Neither refers to
        // memory, so there is none that has to stay valid.
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        self.ring.submit().map(drop)
    }
}
