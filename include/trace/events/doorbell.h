/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of doorbell. Documentation/tracing.rst describes each event.
 *
 * "ctx" is the context's number, doorbell-context of /proc/PID/fdinfo/FD.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM doorbell

#if !defined(_TRACE_DOORBELL_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_DOORBELL_H

#include <linux/tracepoint.h>

#include <uapi/linux/doorbell.h>

/* Outcomes of a ring: the part of the module that delivers the message. */
#define DOORBELL_TRACE_RING_DELIVERED	0	/* the ringing thread */
#define DOORBELL_TRACE_RING_RELAYED	1	/* the line's irq_work */
#define DOORBELL_TRACE_RING_DEFERRED	2	/* the context's worker */
#define DOORBELL_TRACE_RING_OWNED	3	/* the owner of the line */
#define DOORBELL_TRACE_RING_COALESCED	4	/* the ring joined a pending message */
#define DOORBELL_TRACE_RING_MASKED	5	/* the line holds the message */
#define DOORBELL_TRACE_RING_HELD	6	/* the timer of the moderated line */

/* Outcomes of an ack. */
#define DOORBELL_TRACE_ACK_NOTHING	0	/* no message was to be acked */
#define DOORBELL_TRACE_ACK_DONE		1	/* the resamplefds are signalled */
#define DOORBELL_TRACE_ACK_POSTPONED	2	/* the unmask signals the resamplefds */

/* The line of a region that signals an eventfd. */
#define DOORBELL_TRACE_NO_LINE		(-1)

/* The number of relays in a provenance. */
#define DOORBELL_TRACE_HOPS		63

#define doorbell_trace_reasons(reasons)				\
	__print_flags(reasons, "|",				\
		      { DOORBELL_MASK_VECTOR, "vector" },	\
		      { DOORBELL_MASK_FUNCTION, "function" },	\
		      { DOORBELL_MASK_PAUSE, "pause" },		\
		      { DOORBELL_MASK_AUTO, "auto" })

TRACE_EVENT(doorbell_ring,
	TP_PROTO(u32 ctx, u32 line, u32 outcome, u32 provenance),
	TP_ARGS(ctx, line, outcome, provenance),
	TP_STRUCT__entry(
		__field(u32, ctx)
		__field(u32, line)
		__field(u8, outcome)
		__field(u8, hops)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->line = line;
		__entry->outcome = outcome;
		__entry->hops = provenance & DOORBELL_TRACE_HOPS;
	),
	TP_printk("ctx=%u line=%u outcome=%s hops=%u", __entry->ctx, __entry->line,
		  __print_symbolic(__entry->outcome,
				   { DOORBELL_TRACE_RING_DELIVERED, "delivered" },
				   { DOORBELL_TRACE_RING_RELAYED, "relayed" },
				   { DOORBELL_TRACE_RING_DEFERRED, "deferred" },
				   { DOORBELL_TRACE_RING_OWNED, "owned" },
				   { DOORBELL_TRACE_RING_COALESCED, "coalesced" },
				   { DOORBELL_TRACE_RING_MASKED, "masked" },
				   { DOORBELL_TRACE_RING_HELD, "held" }),
		  __entry->hops)
);

TRACE_EVENT(doorbell_deliver,
	TP_PROTO(u32 ctx, u32 line, u32 provenance, bool automasked),
	TP_ARGS(ctx, line, provenance, automasked),
	TP_STRUCT__entry(
		__field(u32, ctx)
		__field(u32, line)
		__field(u8, hops)
		__field(bool, automasked)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->line = line;
		__entry->hops = provenance & DOORBELL_TRACE_HOPS;
		__entry->automasked = automasked;
	),
	TP_printk("ctx=%u line=%u hops=%u automasked=%d", __entry->ctx, __entry->line,
		  __entry->hops, __entry->automasked)
);

DECLARE_EVENT_CLASS(doorbell_line,
	TP_PROTO(u32 ctx, u32 line),
	TP_ARGS(ctx, line),
	TP_STRUCT__entry(
		__field(u32, ctx)
		__field(u32, line)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->line = line;
	),
	TP_printk("ctx=%u line=%u", __entry->ctx, __entry->line)
);

DEFINE_EVENT(doorbell_line, doorbell_relay_queued,
	TP_PROTO(u32 ctx, u32 line),
	TP_ARGS(ctx, line)
);

DEFINE_EVENT(doorbell_line, doorbell_deferred,
	TP_PROTO(u32 ctx, u32 line),
	TP_ARGS(ctx, line)
);

DEFINE_EVENT(doorbell_line, doorbell_hangup,
	TP_PROTO(u32 ctx, u32 line),
	TP_ARGS(ctx, line)
);

TRACE_EVENT(doorbell_mask,
	TP_PROTO(u32 ctx, u32 line, u32 reasons),
	TP_ARGS(ctx, line, reasons),
	TP_STRUCT__entry(
		__field(u32, ctx)
		__field(u32, line)
		__field(u8, reasons)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->line = line;
		__entry->reasons = reasons;
	),
	TP_printk("ctx=%u line=%u reasons=%s", __entry->ctx, __entry->line,
		  doorbell_trace_reasons(__entry->reasons))
);

TRACE_EVENT(doorbell_unmask,
	TP_PROTO(u32 ctx, u32 line, u32 reasons, bool pending, bool resample),
	TP_ARGS(ctx, line, reasons, pending, resample),
	TP_STRUCT__entry(
		__field(u32, ctx)
		__field(u32, line)
		__field(u8, reasons)
		__field(bool, pending)
		__field(bool, resample)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->line = line;
		__entry->reasons = reasons;
		__entry->pending = pending;
		__entry->resample = resample;
	),
	TP_printk("ctx=%u line=%u reasons=%s pending=%d resample=%d", __entry->ctx,
		  __entry->line, doorbell_trace_reasons(__entry->reasons), __entry->pending,
		  __entry->resample)
);

TRACE_EVENT(doorbell_ack,
	TP_PROTO(u32 ctx, u32 line, u32 outcome),
	TP_ARGS(ctx, line, outcome),
	TP_STRUCT__entry(
		__field(u32, ctx)
		__field(u32, line)
		__field(u8, outcome)
	),
	TP_fast_assign(
		__entry->ctx = ctx;
		__entry->line = line;
		__entry->outcome = outcome;
	),
	TP_printk("ctx=%u line=%u outcome=%s", __entry->ctx, __entry->line,
		  __print_symbolic(__entry->outcome,
				   { DOORBELL_TRACE_ACK_NOTHING, "nothing" },
				   { DOORBELL_TRACE_ACK_DONE, "done" },
				   { DOORBELL_TRACE_ACK_POSTPONED, "postponed" }))
);

TRACE_EVENT(doorbell_take,
	TP_PROTO(u32 ctx, u32 line, u64 count),
	TP_ARGS(ctx, line, count),
	TP_STRUCT__entry(
		__field(u64, count)
		__field(u32, ctx)
		__field(u32, line)
	),
	TP_fast_assign(
		__entry->count = count;
		__entry->ctx = ctx;
		__entry->line = line;
	),
	TP_printk("ctx=%u line=%u count=%llu", __entry->ctx, __entry->line, __entry->count)
);

TRACE_EVENT(doorbell_region_write,
	TP_PROTO(u32 ctx, u32 space, u64 addr, u32 length, u64 value, s32 line),
	TP_ARGS(ctx, space, addr, length, value, line),
	TP_STRUCT__entry(
		__field(u64, addr)
		__field(u64, value)
		__field(u32, ctx)
		__field(s32, line)
		__field(u8, space)
		__field(u8, length)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->value = value;
		__entry->ctx = ctx;
		__entry->line = line;
		__entry->space = space;
		__entry->length = length;
	),
	TP_printk("ctx=%u space=%s addr=0x%llx length=%u value=0x%llx line=%d", __entry->ctx,
		  __print_symbolic(__entry->space, { 0, "mmio" }, { 1, "pio" }),
		  __entry->addr, __entry->length, __entry->value, __entry->line)
);

#endif /* _TRACE_DOORBELL_H */

/* This must be outside of the guard. */
#include <trace/define_trace.h>
