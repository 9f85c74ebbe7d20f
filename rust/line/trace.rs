// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of a line.

use super::{
    state::{
        is_automasked,
        Acked,
        Action,
        Origin,
        Provenance,
        Reasons, //
    },
    Line, //
};
use crate::trace;

/// The outcomes in events; `include/trace/events/doorbell.h` has their names.
use crate::bindings::{
    DOORBELL_TRACE_ACK_DONE,
    DOORBELL_TRACE_ACK_NOTHING,
    DOORBELL_TRACE_ACK_POSTPONED,
    DOORBELL_TRACE_RING_COALESCED,
    DOORBELL_TRACE_RING_DEFERRED,
    DOORBELL_TRACE_RING_DELIVERED,
    DOORBELL_TRACE_RING_HELD,
    DOORBELL_TRACE_RING_MASKED,
    DOORBELL_TRACE_RING_OWNED,
    DOORBELL_TRACE_RING_RELAYED, //
};

/// Returns the outcome of a ring that asks for `action`.
fn ring_outcome(action: &Action) -> u32 {
    match action {
        // A ring never asks to count a dropped message, or to start the timer.
        Action::Deliver(_) | Action::Drop | Action::StartTimer => DOORBELL_TRACE_RING_DELIVERED,
        Action::Relay => DOORBELL_TRACE_RING_RELAYED,
        Action::Defer => DOORBELL_TRACE_RING_DEFERRED,
        Action::Leave => DOORBELL_TRACE_RING_OWNED,
        Action::Coalesce | Action::Hold { coalesced: true } => DOORBELL_TRACE_RING_COALESCED,
        Action::Hold { coalesced: false } => DOORBELL_TRACE_RING_HELD,
        Action::Keep => DOORBELL_TRACE_RING_MASKED,
    }
}

/// Returns the outcome of an ack.
fn ack_outcome(acked: &Acked) -> u32 {
    match acked {
        Acked::Nothing => DOORBELL_TRACE_ACK_NOTHING,
        Acked::Done { resample: true, .. } => DOORBELL_TRACE_ACK_DONE,
        Acked::Done {
            resample: false, ..
        } => DOORBELL_TRACE_ACK_POSTPONED,
    }
}

impl Line {
    /// Returns the number of the context in events, and that of the line.
    #[inline(always)]
    fn numbers(&self) -> (u32, u32) {
        self.defer.numbers()
    }

    /// Traces a ring from `origin`, before its `action` is carried out. Any context.
    #[inline(always)]
    pub(super) fn trace_ring(&self, action: &Action, origin: Origin) {
        let outcome = ring_outcome(action);
        let provenance = match origin {
            Origin::Caller => Provenance::NOTHING,
            Origin::Wake(provenance) => provenance,
        };
        // By value: a reference would keep the values in memory, also if the tracepoint is disabled.
        trace::doorbell_ring(move || {
            let (context, line) = self.numbers();
            (context, line, outcome, provenance.bits())
        });
    }

    /// Traces the start of a delivery. Any context.
    #[inline(always)]
    pub(super) fn trace_deliver(&self, provenance: Provenance) {
        trace::doorbell_deliver(move || {
            // First: no number has to be kept during the call.
            let automasked = is_automasked(self.lock.word());
            let (context, line) = self.numbers();
            (context, line, provenance.bits(), automasked)
        });
    }

    /// Traces that a waiter has consumed `count` deliveries. Any context.
    #[inline(always)]
    pub(super) fn trace_take(&self, count: u64) {
        trace::doorbell_take(move || {
            let (context, line) = self.numbers();
            (context, line, count)
        });
    }

    /// Traces that the irq_work is queued. Any context.
    #[inline(always)]
    pub(super) fn trace_relay_queued(&self) {
        trace::doorbell_relay_queued(move || self.numbers());
    }

    /// Traces that the line is queued for the worker. Any context.
    #[inline(always)]
    pub(super) fn trace_deferred(&self) {
        trace::doorbell_deferred(move || self.numbers());
    }

    /// Traces a mask for `reasons`. Any context.
    #[inline(always)]
    pub(super) fn trace_mask(&self, reasons: Reasons) {
        trace::doorbell_mask(move || {
            let (context, line) = self.numbers();
            (context, line, reasons.flags())
        });
    }

    /// Traces an unmask by the end of `reasons`, before its message is delivered. Any context.
    #[inline(always)]
    pub(super) fn trace_unmask(&self, reasons: Reasons, pending: bool, resample: bool) {
        trace::doorbell_unmask(move || {
            let (context, line) = self.numbers();
            (context, line, reasons.flags(), pending, resample)
        });
    }

    /// Traces an ack, before the resamplefds are signalled. Any context.
    #[inline(always)]
    pub(super) fn trace_ack(&self, acked: &Acked) {
        trace::doorbell_ack(move || {
            let (context, line) = self.numbers();
            (context, line, ack_outcome(acked))
        });
    }

    /// Traces that an irqfd of the line has lost its last file. Any context.
    #[inline(always)]
    pub(crate) fn trace_hangup(&self) {
        trace::doorbell_hangup(move || self.numbers());
    }
}
