// SPDX-License-Identifier: GPL-2.0

//! The tracepoints, which `include/trace/events/doorbell.h` defines.

use crate::kernel_ext::tracepoint::declare_trace;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Returns the number of a new context. The first one is 1; the numbers repeat after 2^32 contexts.
pub(crate) fn new_context() -> u32 {
    static LAST: Atomic<u32> = Atomic::new(0);
    // ORDERING: None: each caller needs only a number of its own.
    LAST.fetch_add(1u32, Relaxed).wrapping_add(1)
}

declare_trace! {
    /// Traces a ring; `outcome` is DOORBELL_TRACE_RING_*.
    pub(crate) fn doorbell_ring(context: u32, line: u32, outcome: u32, provenance: u32);

    /// Traces the start of a delivery. `automasked` is true if the line has masked itself.
    pub(crate) fn doorbell_deliver(context: u32, line: u32, provenance: u32, automasked: bool);

    /// Traces that a waiter has consumed `count` deliveries.
    pub(crate) fn doorbell_take(context: u32, line: u32, count: u64);

    /// Traces that a line's irq_work is queued.
    pub(crate) fn doorbell_relay_queued(context: u32, line: u32);

    /// Traces that a message, or the rest of a delivery, is left to the context's worker.
    pub(crate) fn doorbell_deferred(context: u32, line: u32);

    /// Traces that a line was masked; `reasons` are DOORBELL_MASK_* bits.
    pub(crate) fn doorbell_mask(context: u32, line: u32, reasons: u32);

    /// Traces that a line was unmasked by the end of `reasons`.
    pub(crate) fn doorbell_unmask(
        context: u32,
        line: u32,
        reasons: u32,
        pending: bool,
        resample: bool,
    );

    /// Traces an ack of a level line; `outcome` is DOORBELL_TRACE_ACK_*.
    pub(crate) fn doorbell_ack(context: u32, line: u32, outcome: u32);

    /// Traces a write that matches a region. `target` is the line that it rings, or
    /// DOORBELL_TRACE_NO_LINE.
    pub(crate) fn doorbell_region_write(
        context: u32,
        space: u32,
        addr: u64,
        length: u32,
        value: u64,
        target: i32,
    );

    /// Traces that an irqfd has lost its last file.
    pub(crate) fn doorbell_hangup(context: u32, line: u32);
}
