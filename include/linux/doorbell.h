/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The in-kernel API of doorbell. Another module rings the lines of a context that
 * userspace has created, is called when they deliver or change, and writes to its bus.
 *
 * "Where eventfds may be signalled" means any context but NMI and the wake callback of
 * an eventfd (eventfd_signal_allowed()); on PREEMPT_RT also not with interrupts or
 * preemption disabled.
 *
 * A module from outside the kernel's tree is compiled with the parent of this directory
 * on its include path, and with -DCONFIG_DOORBELL_MODULE.
 */
#ifndef _LINUX_DOORBELL_H
#define _LINUX_DOORBELL_H

#include <linux/err.h>
#include <linux/errno.h>
#include <linux/kconfig.h>
#include <linux/types.h>

#include <uapi/linux/doorbell.h>

struct doorbell_ctx;
struct file;

/**
 * struct doorbell_callback - a function that a line calls instead of signalling an eventfd
 * @func: gets the callback itself and the event: zero (a delivery) if the callback is a
 *	trigger, a DOORBELL_NOTIFY_* bit if it is a notifier
 *
 * Embed it in a structure of the module (container_of()). It can be assigned once at a
 * time.
 */
struct doorbell_callback {
	void (*func)(struct doorbell_callback *callback, u32 event);
};

#if IS_REACHABLE(CONFIG_DOORBELL)

/**
 * doorbell_ctx_fdget() - get a context by a file descriptor
 * @fd: a file descriptor of /dev/doorbell, in the current process
 *
 * The reference keeps the context after userspace has closed all its file descriptors,
 * until doorbell_ctx_put(). If the current process is one of userspace, a thread of that
 * process makes the deliveries for which interrupts have no time.
 *
 * Context: process context.
 * Return: the context, or ERR_PTR: -EBADF if @fd is not open, -EINVAL if it is another
 * file, -ENXIO if its lines have not been chosen yet, -EAGAIN if the thread cannot be
 * created, -ERESTARTNOINTR or -EINTR if the thread is not created because the caller has a
 * pending signal, -ENOMEM. A system call may return -ERESTARTNOINTR: the kernel then
 * handles the signal and restarts the call.
 */
struct doorbell_ctx *doorbell_ctx_fdget(int fd);

/**
 * doorbell_ctx_fileget() - get a context by its file
 * @file: the file; the caller keeps its own reference
 *
 * Context: process context.
 * Return: as doorbell_ctx_fdget().
 */
struct doorbell_ctx *doorbell_ctx_fileget(struct file *file);

/**
 * doorbell_ctx_get() - get another reference to a context
 * @ctx: a context to which the caller has a reference
 *
 * Context: any.
 * Return: @ctx, with a reference of its own.
 */
struct doorbell_ctx *doorbell_ctx_get(struct doorbell_ctx *ctx);

/**
 * doorbell_ctx_put() - put a reference to a context
 * @ctx: the context; NULL and an ERR_PTR are ignored
 *
 * The caller must have deassigned its callbacks.
 *
 * Context: any but NMI; on PREEMPT_RT not with interrupts or preemption disabled, because
 * the last reference frees memory.
 */
void doorbell_ctx_put(struct doorbell_ctx *ctx);

/**
 * doorbell_ring() - ring a line
 * @ctx: the context
 * @line: the line
 *
 * Delivers at once where eventfds may be signalled. Otherwise (in the wake callback of an
 * eventfd, in the callback of a trigger, or in atomic context on PREEMPT_RT) an irq_work
 * delivers. A line whose trigger is its waiters (DOORBELL_WAIT) delivers at once anywhere.
 *
 * Context: any but NMI, with interrupts disabled or enabled. Neither sleeps nor allocates.
 * Return: DOORBELL_RING_DELIVERED, DOORBELL_RING_COALESCED, DOORBELL_RING_MASKED;
 * -ENXIO if there is no such line.
 */
int doorbell_ring(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_set_level() - raise or lower a level line
 * @ctx: the context
 * @line: the line
 * @level: true to raise it
 *
 * See struct doorbell_set_level.
 *
 * Context: as doorbell_ring().
 * Return: if it raises, as doorbell_ring(); if it lowers, 1 if it withdrew a message that
 * was not delivered yet, or else 0; -EOPNOTSUPP if it is an edge line, -ENXIO if there is
 * no such line.
 */
int doorbell_set_level(struct doorbell_ctx *ctx, u32 line, bool level);

/**
 * doorbell_ack() - ack a level line (EOI)
 * @ctx: the context
 * @line: the line
 *
 * Context: where eventfds may be signalled. Calls ack notifiers.
 * Return: DOORBELL_ACK_DONE, DOORBELL_ACK_POSTPONED, DOORBELL_ACK_NOTHING;
 * -EOPNOTSUPP if it is an edge line, -ENXIO if there is no such line.
 */
int doorbell_ack(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_mask() - mask a line, and wait for a delivery in flight
 * @ctx: the context
 * @line: the line
 *
 * When this returns, no delivery is in flight, and none starts until the line is unmasked.
 * It is to doorbell_mask_nosync() as disable_irq() is to disable_irq_nosync().
 *
 * Context: process context, may sleep. Not from a trigger of the line, which would wait
 * for itself. Calls mask notifiers.
 * Return: 1 if the line was not masked before, or else 0; -ENXIO if there is no such line.
 */
int doorbell_mask(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_mask_for() - mask a line for given reasons, and wait for a delivery in flight
 * @ctx: the context
 * @line: the line
 * @reasons: DOORBELL_MASK_* bits, at least one
 *
 * The line is masked while it has at least one reason; doorbell_mask() sets
 * DOORBELL_MASK_VECTOR. Waits also if the line was masked already. See struct
 * doorbell_line_set.
 *
 * Context: as doorbell_mask().
 * Return: as doorbell_mask(); -EINVAL if @reasons are none or unknown.
 */
int doorbell_mask_for(struct doorbell_ctx *ctx, u32 line, u32 reasons);

/**
 * doorbell_mask_nosync() - mask a line without waiting
 * @ctx: the context
 * @line: the line
 *
 * No delivery starts until the line is unmasked, but one that is in flight goes on.
 *
 * Context: where eventfds may be signalled. Calls mask notifiers.
 * Return: as doorbell_mask().
 */
int doorbell_mask_nosync(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_mask_for_nosync() - mask a line for given reasons without waiting
 * @ctx: the context
 * @line: the line
 * @reasons: DOORBELL_MASK_* bits, at least one
 *
 * Context: as doorbell_mask_nosync().
 * Return: as doorbell_mask_for().
 */
int doorbell_mask_for_nosync(struct doorbell_ctx *ctx, u32 line, u32 reasons);

/**
 * doorbell_unmask() - unmask a line
 * @ctx: the context
 * @line: the line
 *
 * Ends DOORBELL_MASK_VECTOR. A line that is masked for another reason, too, stays masked.
 *
 * Context: where eventfds may be signalled. Calls unmask notifiers.
 * Return: 1 if the line is unmasked now and a message was held, or else 0; -ENXIO if there
 * is no such line. The message has been delivered, unless another CPU is changing the line
 * at the same time: then that CPU is about to deliver it. In the callback of a trigger, an
 * irq_work delivers the message of another line. During the interval of a moderated line
 * the result is 0, and the end of the interval delivers.
 */
int doorbell_unmask(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_unmask_for() - end reasons to mask a line
 * @ctx: the context
 * @line: the line
 * @reasons: DOORBELL_MASK_* bits, at least one; DOORBELL_MASK_AUTO when the delivery of a
 *	line with DOORBELL_TYPE_FLAG_AUTOMASK has been handled
 *
 * The trigger of a line may call it. If the line has no other reason and a message is
 * pending, the line's owner delivers that next, after the trigger has returned.
 *
 * Context: as doorbell_unmask().
 * Return: as doorbell_unmask(); -EINVAL if @reasons are none or unknown.
 */
int doorbell_unmask_for(struct doorbell_ctx *ctx, u32 line, u32 reasons);

/**
 * doorbell_clear() - drop the pending message of a line
 * @ctx: the context
 * @line: the line
 *
 * Context: process context, may sleep. Not from a trigger of the line.
 * Return: 1 if there was a message, or else 0; -ENXIO if there is no such line.
 */
int doorbell_clear(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_moderate() - limit the rate of a line's deliveries
 * @ctx: the context
 * @line: the line
 * @min_interval: the minimum time between a delivery and the next one, in nanoseconds:
 *	DOORBELL_MIN_INTERVAL to DOORBELL_MAX_INTERVAL; zero, together with @max_count: no
 *	limit
 * @max_count: the number of held rings that end an interval early; zero: no number does
 *
 * A device model calls it when its driver sets the coalescing of a queue. Delivers what the
 * line holds. The end of an interval delivers by an irq_work. See struct doorbell_moderate.
 *
 * Context: process context, may sleep. Not from a trigger of the line.
 * Return: 0; -EINVAL if the interval is out of range or there is a count without an
 * interval, -ENXIO if there is no such line, -ENOSPC if the context has DOORBELL_MAX_MODERATED
 * others, -ENOMEM.
 */
int doorbell_moderate(struct doorbell_ctx *ctx, u32 line, u32 min_interval, u32 max_count);

/**
 * doorbell_state() - query the state of a line
 * @ctx: the context
 * @line: the line
 *
 * Context: any.
 * Return: DOORBELL_LINE_* bits; -ENXIO if there is no such line.
 */
int doorbell_state(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_bus_write() - write to the bus of a context
 * @ctx: the context
 * @space: DOORBELL_SPACE_*
 * @addr: the address of the first byte
 * @length: 1, 2, 4 or 8 bytes
 * @value: the value to write; bits beyond @length must be zero
 *
 * See struct doorbell_region. Signals at once where eventfds may be signalled. Otherwise
 * an irq_work signals, and several writes may then be one signal.
 *
 * Context: any but NMI, with interrupts disabled or enabled. Neither sleeps nor allocates.
 * Return: 0; -EOPNOTSUPP if no region matches, so that the caller has to emulate the
 * write; -ENOBUFS if it has to be recorded and there is no room, and then nothing was
 * signalled; -EINVAL if the access is invalid.
 */
int doorbell_bus_write(struct doorbell_ctx *ctx, u32 space, u64 addr, u32 length,
		       u64 value);

/**
 * doorbell_assign_trigger() - have a line call a function on its deliveries
 * @ctx: the context
 * @line: the line
 * @callback: the callback, which is called with zero. It belongs to the caller, who must
 *	deassign it before putting the context.
 *
 * If a level line is asserted and its message found no trigger, the first trigger gets
 * that message, in the context of this call. See struct doorbell_trigger.
 *
 * The callback is called in the context of the ring, by an irq_work (in hard interrupt
 * context) or by a thread. A line makes one call at a time. Preemption is disabled unless
 * the kernel is PREEMPT_RT. The callback must not sleep. It may call each function of this
 * file that does not sleep, for its own line and for others.
 *
 * Context: process context.
 * Return: 0; -ENXIO if there is no such line, -EINVAL if @callback has no function,
 * -EEXIST if it is a trigger of the line already, -EBUSY if userspace has given the line
 * waiters (DOORBELL_TRIGGER_FLAG_WAITERS), -ENOSPC if the line has
 * DOORBELL_MAX_TRIGGERS_PER_LINE, -ENOMEM.
 */
int doorbell_assign_trigger(struct doorbell_ctx *ctx, u32 line,
			    struct doorbell_callback *callback);

/**
 * doorbell_deassign_trigger() - deassign a trigger, and wait for its last call
 * @ctx: the context
 * @line: the line
 * @callback: the callback
 *
 * When this returns, @callback is not being called, nor will it be.
 *
 * Context: process context; not from a trigger of the line.
 * Return: 0; -ENXIO if there is no such line, -ENOENT if it is no trigger of the line.
 */
int doorbell_deassign_trigger(struct doorbell_ctx *ctx, u32 line,
			      struct doorbell_callback *callback);

/**
 * doorbell_assign_notifier() - have a line call a function on its acks, masks and unmasks
 * @ctx: the context
 * @line: the line
 * @events: DOORBELL_NOTIFY_* bits
 * @callback: the callback, which is called with one of these bits. It belongs to the
 *	caller, who must deassign it before putting the context.
 *
 * The callback is called once for each transition, in the context of the call that made
 * it, after the transition and before that call returns. No lock is held. The callback may
 * call each function that is allowed in that context, for its own line and for others; it
 * is then called again for their transitions. It must not deassign a notifier, because
 * that waits for the callback itself. Callbacks for two transitions in quick succession
 * may overtake each other; doorbell_state() returns the current state.
 *
 * Context: process context.
 * Return: 0; -ENXIO if there is no such line, -EINVAL if @callback has no function or
 * @events are none or unknown, -EEXIST if it is a notifier of the line already,
 * -ENOSPC if the line has DOORBELL_MAX_NOTIFIERS_PER_LINE, -ENOMEM.
 */
int doorbell_assign_notifier(struct doorbell_ctx *ctx, u32 line, u32 events,
			     struct doorbell_callback *callback);

/**
 * doorbell_deassign_notifier() - deassign a notifier, and wait for its last call
 * @ctx: the context
 * @line: the line
 * @callback: the callback
 *
 * When this returns, @callback is not being called, nor will it be.
 *
 * Context: process context; not from a notifier.
 * Return: 0; -ENXIO if there is no such line, -ENOENT if it is no notifier of the line.
 */
int doorbell_deassign_notifier(struct doorbell_ctx *ctx, u32 line,
			       struct doorbell_callback *callback);

#else

static inline struct doorbell_ctx *doorbell_ctx_fdget(int fd)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline struct doorbell_ctx *doorbell_ctx_fileget(struct file *file)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline struct doorbell_ctx *doorbell_ctx_get(struct doorbell_ctx *ctx)
{
	return ctx;
}

static inline void doorbell_ctx_put(struct doorbell_ctx *ctx)
{
}

static inline int doorbell_ring(struct doorbell_ctx *ctx, u32 line)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_set_level(struct doorbell_ctx *ctx, u32 line,
				     bool level)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_ack(struct doorbell_ctx *ctx, u32 line)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_mask(struct doorbell_ctx *ctx, u32 line)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_mask_nosync(struct doorbell_ctx *ctx, u32 line)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_unmask(struct doorbell_ctx *ctx, u32 line)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_mask_for(struct doorbell_ctx *ctx, u32 line,
				    u32 reasons)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_mask_for_nosync(struct doorbell_ctx *ctx, u32 line,
					   u32 reasons)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_unmask_for(struct doorbell_ctx *ctx, u32 line,
				      u32 reasons)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_clear(struct doorbell_ctx *ctx, u32 line)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_moderate(struct doorbell_ctx *ctx, u32 line,
				    u32 min_interval, u32 max_count)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_state(struct doorbell_ctx *ctx, u32 line)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_bus_write(struct doorbell_ctx *ctx, u32 space,
				     u64 addr, u32 length, u64 value)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_assign_trigger(struct doorbell_ctx *ctx, u32 line,
					  struct doorbell_callback *callback)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_deassign_trigger(struct doorbell_ctx *ctx, u32 line,
					    struct doorbell_callback *callback)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_assign_notifier(struct doorbell_ctx *ctx, u32 line,
					   u32 events,
					   struct doorbell_callback *callback)
{
	return -EOPNOTSUPP;
}

static inline int doorbell_deassign_notifier(struct doorbell_ctx *ctx,
					     u32 line,
					     struct doorbell_callback *callback)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_DOORBELL */

#endif /* _LINUX_DOORBELL_H */
