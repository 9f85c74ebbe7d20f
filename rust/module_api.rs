// SPDX-License-Identifier: GPL-2.0

//! The in-kernel API for other modules in Rust, on top of include/linux/doorbell.h.
//!
//! This file is not part of doorbell's module. Another module includes it:
//!
//! ```ignore
//! #[path = "/path/to/doorbell/rust/module_api.rs"]
//! mod doorbell;
//! ```
//!
//! That header documents the functions and the contexts in which they may be called. Callbacks as
//! triggers and notifiers are for modules in C.

// A module uses some of the functions.
#![allow(dead_code)]

#[path = "module_api/raw.rs"]
mod raw;

use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

/// A reference to a context that userspace has set up.
///
/// # Invariants
///
/// The pointer is a reference that a `doorbell_ctx_*()` function returned, and this object owns it.
pub(crate) struct Context(NonNull<raw::doorbell_ctx>);

// SAFETY: A reference can be put on another thread than the one that got it.
unsafe impl Send for Context {}
// SAFETY: All functions that only borrow the reference may be called on several threads at a time.
unsafe impl Sync for Context {}

/// The outcome of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingOutcome {
    /// The ring joined a delivery that has not started yet.
    Coalesced = raw::DOORBELL_RING_COALESCED as isize,
    /// The ring has a delivery of its own: done, in flight, or when the interval of a moderated line ends.
    Delivered = raw::DOORBELL_RING_DELIVERED as isize,
    /// The masked line holds the message.
    Masked = raw::DOORBELL_RING_MASKED as isize,
}

/// Why a line is masked: one reason, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reasons(u32);

impl Reasons {
    /// The mask of the vector itself.
    pub(crate) const VECTOR: Self = Self(raw::DOORBELL_MASK_VECTOR);
    /// The mask of the whole function.
    pub(crate) const FUNCTION: Self = Self(raw::DOORBELL_MASK_FUNCTION);
    /// The virtual machine is stopped.
    pub(crate) const PAUSE: Self = Self(raw::DOORBELL_MASK_PAUSE);
    /// The line has masked itself.
    pub(crate) const AUTO: Self = Self(raw::DOORBELL_MASK_AUTO);

    /// Returns all reasons of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An address space of a context's bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Memory-mapped.
    Mmio = raw::DOORBELL_SPACE_MMIO as isize,
    /// Ports.
    Pio = raw::DOORBELL_SPACE_PIO as isize,
}

impl RingOutcome {
    fn new(code: c_int) -> Self {
        match code {
            raw::DOORBELL_RING_COALESCED => Self::Coalesced,
            raw::DOORBELL_RING_MASKED => Self::Masked,
            _ => Self::Delivered,
        }
    }
}

/// Converts the return value of a C function: an error or a number.
fn result(code: c_int) -> Result<c_int> {
    to_result(code)?;
    Ok(code)
}

impl Context {
    /// Returns a reference to the context that is open as `fd` in the current process. Process context.
    pub(crate) fn fdget(fd: i32) -> Result<Self> {
        // SAFETY: No requirements.
        let ctx = from_err_ptr(unsafe { raw::doorbell_ctx_fdget(fd) })?;
        // INVARIANT: The function has just returned it.
        NonNull::new(ctx).map(Self).ok_or(EINVAL)
    }

    /// Rings a line. Any context but NMI.
    #[inline]
    pub(crate) fn ring(&self, line: u32) -> Result<RingOutcome> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_ring(self.0.as_ptr(), line) };
        result(code).map(RingOutcome::new)
    }

    /// Raises a level line. Context as of [`Context::ring`].
    pub(crate) fn raise(&self, line: u32) -> Result<RingOutcome> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_set_level(self.0.as_ptr(), line, true) };
        result(code).map(RingOutcome::new)
    }

    /// Lowers a level line. Returns true if that withdrew a message. Context as of [`Context::ring`].
    pub(crate) fn lower(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_set_level(self.0.as_ptr(), line, false) };
        result(code).map(|code| code != 0)
    }

    /// Acks a level line. Returns DOORBELL_ACK_*. Any context where eventfds may be signalled.
    pub(crate) fn ack(&self, line: u32) -> Result<c_int> {
        // SAFETY: A reference, by the type invariants.
        result(unsafe { raw::doorbell_ack(self.0.as_ptr(), line) })
    }

    /// Writes to the bus. Context as of [`Context::ring`].
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP: no region matches. ENOBUFS: there is no room to record the write.
    #[inline]
    pub(crate) fn bus_write(&self, space: Space, addr: u64, length: u32, value: u64) -> Result {
        let ctx = self.0.as_ptr();
        // SAFETY: A reference, by the type invariants.
        to_result(unsafe { raw::doorbell_bus_write(ctx, space as u32, addr, length, value) })
    }

    /// Masks a line, and waits for a delivery in flight. Returns true if it was not masked before. Process
    /// context.
    pub(crate) fn mask(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_mask(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// Masks a line, and does not wait. Any context where eventfds may be signalled.
    pub(crate) fn mask_nosync(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_mask_nosync(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// Unmasks a line. Returns true if it held a message. Any context where eventfds may be signalled.
    pub(crate) fn unmask(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_unmask(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// Masks a line for `reasons`, as [`Context::mask`] does for [`Reasons::VECTOR`].
    pub(crate) fn mask_for(&self, line: u32, reasons: Reasons) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_mask_for(self.0.as_ptr(), line, reasons.0) };
        result(code).map(|code| code != 0)
    }

    /// Masks a line for `reasons`, as [`Context::mask_nosync`] does for [`Reasons::VECTOR`].
    pub(crate) fn mask_for_nosync(&self, line: u32, reasons: Reasons) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_mask_for_nosync(self.0.as_ptr(), line, reasons.0) };
        result(code).map(|code| code != 0)
    }

    /// Ends `reasons` to mask a line. Returns true if that unmasked the line, and it held a message.
    /// Context as of [`Context::unmask`].
    pub(crate) fn unmask_for(&self, line: u32, reasons: Reasons) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_unmask_for(self.0.as_ptr(), line, reasons.0) };
        result(code).map(|code| code != 0)
    }

    /// Drops the pending message. Returns true if there was one. Process context.
    pub(crate) fn clear(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_clear(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// Delivers at most one message of a line in `min_interval` nanoseconds, or one at once for `max_count` held
    /// rings. Two zeros end that. Process context.
    ///
    /// # Errors
    ///
    /// EINVAL: the interval is out of range, or there is a count without an interval.
    pub(crate) fn moderate(&self, line: u32, min_interval: u32, max_count: u32) -> Result {
        let ctx = self.0.as_ptr();
        // SAFETY: A reference, by the type invariants.
        to_result(unsafe { raw::doorbell_moderate(ctx, line, min_interval, max_count) })
    }

    /// Returns DOORBELL_LINE_* bits; ENXIO if there is no such line. Any context.
    pub(crate) fn state(&self, line: u32) -> Result<c_int> {
        // SAFETY: A reference, by the type invariants.
        result(unsafe { raw::doorbell_state(self.0.as_ptr(), line) })
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        // SAFETY: A reference, by the type invariants.
        unsafe { raw::doorbell_ctx_get(self.0.as_ptr()) };
        // INVARIANT: Another reference has been taken just now, and it is the same pointer.
        Self(self.0)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: This object owns the reference, by the type invariants, and does not use it again.
        unsafe { raw::doorbell_ctx_put(self.0.as_ptr()) };
    }
}
