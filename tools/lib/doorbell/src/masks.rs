// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Context, Error, LineSet, MaskReasons, Operation, Result, sys, uapi};
use std::{io, os::fd::AsFd};

/// Returns the flags of a call for `reasons`. None is an error here: the module takes zero for the
/// vector's own mask.
fn flags(reasons: MaskReasons) -> io::Result<u32> {
    match reasons.bits() {
        0 => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        bits => Ok(bits),
    }
}

/// Masks and pending messages, of one line and of many, and rings of many.
impl Context {
    fn one(
        &self,
        operation: Operation,
        cmd: u32,
        line: u32,
        flags: io::Result<u32>,
    ) -> Result<bool> {
        let lines = LineSet {
            first: line,
            len: 1,
            bits: Vec::new(),
        };
        match flags.and_then(|flags| sys::ioctl_lines(self.as_fd(), cmd, &lines, flags, false)) {
            Ok((count, _)) => Ok(count != 0),
            Err(source) => Err(Error::Line {
                operation,
                line,
                source,
            }),
        }
    }

    fn many(
        &self,
        operation: Operation,
        cmd: u32,
        lines: &LineSet,
        flags: io::Result<u32>,
    ) -> Result<LineSet> {
        if lines.len == 0 {
            return Ok(lines.clone());
        }
        match flags.and_then(|flags| sys::ioctl_lines(self.as_fd(), cmd, lines, flags, true)) {
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

    /// Masks a line, with the reason [`MaskReasons::VECTOR`]. Returns true if it was not masked before.
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
        self.one(Operation::Mask, uapi::MASK, line, Ok(0))
    }

    /// Unmasks a line. Returns true if that delivered the message that the line held.
    ///
    /// Ends the reason [`MaskReasons::VECTOR`]. A line that is masked for another reason stays masked.
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
        self.one(Operation::Unmask, uapi::UNMASK, line, Ok(0))
    }

    /// Masks a line for `reasons`. Returns true if it was not masked before.
    ///
    /// The line is masked while it has at least one reason. When this returns, no delivery of the line is
    /// in flight, also if the line was masked already. [`mask`](Context::mask) does the same for
    /// [`MaskReasons::VECTOR`].
    ///
    /// # Errors
    ///
    /// ENXIO if there is no such line, EINVAL if `reasons` is empty.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, MaskReasons};
    /// # let context = Context::open()?;
    /// context.mask(3)?;
    /// assert!(!context.mask_for(3, MaskReasons::PAUSE)?, "masked already");
    /// context.unmask(3)?;
    /// assert_eq!(context.query(3)?.reasons, MaskReasons::PAUSE);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn mask_for(&self, line: u32, reasons: MaskReasons) -> Result<bool> {
        self.one(Operation::Mask, uapi::MASK, line, flags(reasons))
    }

    /// Ends `reasons` to mask a line. Returns true if that delivered the message that the line held.
    ///
    /// A line that has another reason stays masked, and its message pending.
    ///
    /// # Errors
    ///
    /// Those of [`mask_for`](Context::mask_for).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineType, MaskReasons};
    /// # let context = Context::open()?;
    /// context.set_type_automask(3, LineType::Edge)?;
    /// context.ring(3)?;
    /// context.ring(3)?;
    /// // The handler of the first message has ended.
    /// assert!(context.unmask_for(3, MaskReasons::AUTO)?);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn unmask_for(&self, line: u32, reasons: MaskReasons) -> Result<bool> {
        self.one(Operation::Unmask, uapi::UNMASK, line, flags(reasons))
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
        self.one(Operation::Clear, uapi::CLEAR, line, Ok(0))
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
        self.one(Operation::Pending, uapi::PENDING, line, Ok(0))
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
        self.many(Operation::Mask, uapi::MASK, lines, Ok(0))
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
        self.many(Operation::Unmask, uapi::UNMASK, lines, Ok(0))
    }

    /// Masks lines for `reasons`, and returns those that were not masked before. See
    /// [`mask_for`](Context::mask_for).
    ///
    /// # Errors
    ///
    /// ENXIO if one of the lines does not exist, EINVAL if `reasons` is empty.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet, MaskReasons};
    /// # let context = Context::open()?;
    /// context.mask(3)?;
    /// let vectors = LineSet::range(0..16);
    /// let masked = context.mask_lines_for(&vectors, MaskReasons::FUNCTION)?;
    /// assert_eq!(masked.count(), 15);
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn mask_lines_for(&self, lines: &LineSet, reasons: MaskReasons) -> Result<LineSet> {
        self.many(Operation::Mask, uapi::MASK, lines, flags(reasons))
    }

    /// Ends `reasons` to mask lines, and returns those that delivered the message that they held. See
    /// [`unmask_for`](Context::unmask_for).
    ///
    /// # Errors
    ///
    /// Those of [`mask_lines_for`](Context::mask_lines_for).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use doorbell::{Context, LineSet, MaskReasons};
    /// # let context = Context::open()?;
    /// let delivered = context.unmask_lines_for(&LineSet::range(0..16), MaskReasons::FUNCTION)?;
    /// # Ok::<(), doorbell::Error>(())
    /// ```
    pub fn unmask_lines_for(&self, lines: &LineSet, reasons: MaskReasons) -> Result<LineSet> {
        self.many(Operation::Unmask, uapi::UNMASK, lines, flags(reasons))
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
        self.many(Operation::Clear, uapi::CLEAR, lines, Ok(0))
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
        self.many(Operation::Pending, uapi::PENDING, lines, Ok(0))
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
        self.many(Operation::Ring, uapi::RING_LINES, lines, Ok(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_is_not_the_default_reason() {
        let context = Context::open_path("/dev/null").unwrap();
        let none = MaskReasons::default();
        let lines = LineSet::range(2..9);
        for error in [
            context.mask_for(3, none).unwrap_err(),
            context.unmask_for(3, none).unwrap_err(),
            context.mask_lines_for(&lines, none).unwrap_err(),
            context.unmask_lines_for(&lines, none).unwrap_err(),
        ] {
            assert_eq!(error.errno(), Some(libc::EINVAL), "{error}");
        }
        let error = context.mask_for(3, MaskReasons::ALL).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOTTY), "{error}");
    }
}
