// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Context, Error, LineSet, Operation, Result, sys, uapi};
use std::os::fd::AsFd;

/// Masks and pending messages, of one line and of many, and rings of many.
impl Context {
    fn one(&self, operation: Operation, cmd: u32, line: u32) -> Result<bool> {
        let lines = LineSet {
            first: line,
            len: 1,
            bits: Vec::new(),
        };
        match sys::ioctl_lines(self.as_fd(), cmd, &lines, false) {
            Ok((count, _)) => Ok(count != 0),
            Err(source) => Err(Error::Line {
                operation,
                line,
                source,
            }),
        }
    }

    fn many(&self, operation: Operation, cmd: u32, lines: &LineSet) -> Result<LineSet> {
        if lines.len == 0 {
            return Ok(lines.clone());
        }
        match sys::ioctl_lines(self.as_fd(), cmd, lines, true) {
            Ok((_, bits)) => Ok(LineSet {
                bits,
                ..lines.clone()
            }),
            Err(source) => Err(Error::Lines {
                operation,
                lines: lines.bounds(),
                source,
            }),
        }
    }

    /// Masks a line. Returns true if it was not masked before.
    ///
    /// When this returns, no delivery of the line is in flight, and none starts until the line is
    /// unmasked. A ring is held as pending.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// assert!(context.mask(3)?);
    /// assert!(!context.mask(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn mask(&self, line: u32) -> Result<bool> {
        self.one(Operation::Mask, uapi::MASK, line)
    }

    /// Unmasks a line. Returns true if that delivered the message that the line held.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.mask(3)?;
    /// context.ring(3)?;
    /// assert!(context.unmask(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn unmask(&self, line: u32) -> Result<bool> {
        self.one(Operation::Unmask, uapi::UNMASK, line)
    }

    /// Drops the pending message of a line. Returns true if there was one.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.mask(3)?;
    /// context.ring(3)?;
    /// assert!(context.clear(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn clear(&self, line: u32) -> Result<bool> {
        self.one(Operation::Clear, uapi::CLEAR, line)
    }

    /// Returns true if a message is pending on a line.
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let context = doorbell::Context::open()?;
    /// context.mask(3)?;
    /// context.ring(3)?;
    /// assert!(context.pending(3)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn pending(&self, line: u32) -> Result<bool> {
        self.one(Operation::Pending, uapi::PENDING, line)
    }

    /// Masks lines, and returns those that were not masked before.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// let masked = context.mask_lines(&LineSet::range(0..16))?;
    /// assert_eq!(masked.count(), 16);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn mask_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Mask, uapi::MASK, lines)
    }

    /// Unmasks lines, and returns those that delivered the message that they held.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// let delivered = context.unmask_lines(&LineSet::range(0..16))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn unmask_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Unmask, uapi::UNMASK, lines)
    }

    /// Drops the pending messages of lines, and returns the lines that had one.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// let dropped = context.clear_lines(&LineSet::range(0..16))?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn clear_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Clear, uapi::CLEAR, lines)
    }

    /// Returns those of `lines` on which a message is pending.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// for line in context.pending_lines(&LineSet::range(0..16))?.iter() {
    ///     println!("line {line} is pending");
    /// }
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn pending_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Pending, uapi::PENDING, lines)
    }

    /// Rings lines in one system call, each once and in the order of their numbers. Returns those whose
    /// ring has a delivery of its own. The ring of each other line has coalesced, or the line is masked
    /// and holds it.
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist. ENOTTY if the module lacks
    /// [`FEATURE_RING_LINES`](uapi::FEATURE_RING_LINES).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet};
    /// # let context = Context::open()?;
    /// context.mask(5)?;
    /// let delivered = context.ring_lines(&LineSet::from_iter([3, 5, 9]))?;
    /// assert_eq!(delivered, LineSet::from_iter([3, 9]));
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn ring_lines(&self, lines: &LineSet) -> Result<LineSet> {
        self.many(Operation::Ring, uapi::RING_LINES, lines)
    }
}
