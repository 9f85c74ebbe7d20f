// SPDX-License-Identifier: GPL-2.0

//! include/linux/doorbell.h, as far as `module_api.rs` needs it.
//!
//! doorbell's module includes this file only so that the compiler compares it with the header.

#![allow(non_camel_case_types)]

use kernel::ffi::c_int;

/// The caller's reference to a context.
#[repr(C)]
pub(super) struct doorbell_ctx {
    _private: [u8; 0],
}

pub(super) const DOORBELL_RING_COALESCED: c_int = 0;
pub(super) const DOORBELL_RING_DELIVERED: c_int = 1;
pub(super) const DOORBELL_RING_MASKED: c_int = 2;

pub(super) const DOORBELL_MASK_VECTOR: u32 = 1 << 0;
pub(super) const DOORBELL_MASK_FUNCTION: u32 = 1 << 1;
pub(super) const DOORBELL_MASK_PAUSE: u32 = 1 << 2;
pub(super) const DOORBELL_MASK_AUTO: u32 = 1 << 3;

pub(super) const DOORBELL_SPACE_MMIO: u32 = 0;
pub(super) const DOORBELL_SPACE_PIO: u32 = 1;

extern "C" {
    pub(super) fn doorbell_ctx_fdget(fd: c_int) -> *mut doorbell_ctx;
    pub(super) fn doorbell_ctx_get(ctx: *mut doorbell_ctx) -> *mut doorbell_ctx;
    pub(super) fn doorbell_ctx_put(ctx: *mut doorbell_ctx);

    pub(super) fn doorbell_ring(ctx: *mut doorbell_ctx, line: u32) -> c_int;
    pub(super) fn doorbell_set_level(ctx: *mut doorbell_ctx, line: u32, level: bool) -> c_int;
    pub(super) fn doorbell_ack(ctx: *mut doorbell_ctx, line: u32) -> c_int;

    pub(super) fn doorbell_bus_write(
        ctx: *mut doorbell_ctx,
        space: u32,
        addr: u64,
        length: u32,
        value: u64,
    ) -> c_int;

    pub(super) fn doorbell_mask(ctx: *mut doorbell_ctx, line: u32) -> c_int;
    pub(super) fn doorbell_mask_nosync(ctx: *mut doorbell_ctx, line: u32) -> c_int;
    pub(super) fn doorbell_unmask(ctx: *mut doorbell_ctx, line: u32) -> c_int;
    pub(super) fn doorbell_mask_for(ctx: *mut doorbell_ctx, line: u32, reasons: u32) -> c_int;
    pub(super) fn doorbell_mask_for_nosync(
        ctx: *mut doorbell_ctx,
        line: u32,
        reasons: u32,
    ) -> c_int;
    pub(super) fn doorbell_unmask_for(ctx: *mut doorbell_ctx, line: u32, reasons: u32) -> c_int;
    pub(super) fn doorbell_clear(ctx: *mut doorbell_ctx, line: u32) -> c_int;
    pub(super) fn doorbell_moderate(
        ctx: *mut doorbell_ctx,
        line: u32,
        min_interval: u32,
        max_count: u32,
    ) -> c_int;
    pub(super) fn doorbell_state(ctx: *mut doorbell_ctx, line: u32) -> c_int;
}
