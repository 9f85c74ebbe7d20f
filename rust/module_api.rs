// SPDX-License-Identifier: GPL-2.0

//! The in-kernel API for other modules in Rust: what include/linux/doorbell.h is to those in C.
//!
//! Not part of doorbell's module. Others include it:
//!
//! ```ignore
//! #[path = "/path/to/doorbell/rust/module_api.rs"]
//! mod doorbell;
//! ```
//!
//! What the functions do, and in which context they may be called, is documented in
//! that header. Triggers and notifiers that are callbacks are for modules in C.

// A module uses what it needs.
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
/// The pointer is a reference that a `doorbell_ctx_*()` function returned, and that is this
/// object's.
pub(crate) struct Context(NonNull<raw::doorbell_ctx>);

// SAFETY: A reference can be put on another thread than the one that got it.
unsafe impl Send for Context {}
// SAFETY: All functions that only borrow the reference may be called on several threads at a time.
unsafe impl Sync for Context {}

/// How a ring ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingOutcome {
    /// It joined a delivery that has not started yet.
    Coalesced = raw::DOORBELL_RING_COALESCED as isize,
    /// It has a delivery of its own, done or about to be.
    Delivered = raw::DOORBELL_RING_DELIVERED as isize,
    /// It is the one that a masked line holds now.
    Masked = raw::DOORBELL_RING_MASKED as isize,
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

/// What a function returns that returns an error or a number.
fn result(code: c_int) -> Result<c_int> {
    to_result(code)?;
    Ok(code)
}

impl Context {
    /// The context that is open as `fd` in the current process. Process context.
    pub(crate) fn fdget(fd: i32) -> Result<Self> {
        // SAFETY: There is nothing that it requires.
        let ctx = from_err_ptr(unsafe { raw::doorbell_ctx_fdget(fd) })?;
        // INVARIANT: It was returned just now.
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

    /// Lowers a level line; returns whether that took back a message. Context as of
    /// [`Context::ring`].
    pub(crate) fn lower(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_set_level(self.0.as_ptr(), line, false) };
        result(code).map(|code| code != 0)
    }

    /// Acks a level line; returns DOORBELL_ACK_*. Where eventfds may be signalled.
    pub(crate) fn ack(&self, line: u32) -> Result<c_int> {
        // SAFETY: A reference, by the type invariants.
        result(unsafe { raw::doorbell_ack(self.0.as_ptr(), line) })
    }

    /// Writes to the bus; EOPNOTSUPP if no region takes it, ENOBUFS if there is no room to keep it.
    /// Context as of [`Context::ring`].
    #[inline]
    pub(crate) fn bus_write(&self, space: Space, addr: u64, length: u32, value: u64) -> Result {
        let ctx = self.0.as_ptr();
        // SAFETY: A reference, by the type invariants.
        to_result(unsafe { raw::doorbell_bus_write(ctx, space as u32, addr, length, value) })
    }

    /// Masks a line, and waits for the delivery that is under way; returns whether it was not masked
    /// before. Process context.
    pub(crate) fn mask(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_mask(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// Masks a line, and does not wait. Where eventfds may be signalled.
    pub(crate) fn mask_nosync(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_mask_nosync(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// Unmasks a line; returns whether a message was held. Where eventfds may be signalled.
    pub(crate) fn unmask(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_unmask(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// Drops the message that is pending; returns whether there was one. Process context.
    pub(crate) fn clear(&self, line: u32) -> Result<bool> {
        // SAFETY: A reference, by the type invariants.
        let code = unsafe { raw::doorbell_clear(self.0.as_ptr(), line) };
        result(code).map(|code| code != 0)
    }

    /// DOORBELL_LINE_* bits; ENXIO if there is no such line. Any context.
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
        // SAFETY: A reference of this object's, by the type invariants, which is not used again.
        unsafe { raw::doorbell_ctx_put(self.0.as_ptr()) };
    }
}
