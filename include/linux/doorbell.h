/* SPDX-License-Identifier: GPL-2.0 */
/*
 * doorbell for other kernel modules: ring the lines of a context that userspace
 * has set up, be called by them, hear of what happens to them, and drive its bus.
 *
 * "Where eventfds may be signalled" is any context but NMI and an eventfd's wake
 * callback (eventfd_signal_allowed()); on PREEMPT_RT not with interrupts or
 * preemption off.
 *
 * A module from outside the kernel's tree is compiled with this directory's
 * parent on its include path, and with -DCONFIG_DOORBELL_MODULE.
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
 * struct doorbell_callback - what a line calls, instead of signalling an eventfd
 * @func: gets the callback itself, and what it is told of: zero (a delivery) if it
 *	is a trigger, a DOORBELL_NOTIFY_* bit if it is a notifier
 *
 * It is embedded in what it is about, and is assigned once at a time.
 */
struct doorbell_callback {
	void (*func)(struct doorbell_callback *callback, u32 event);
};

#if IS_REACHABLE(CONFIG_DOORBELL)

/**
 * doorbell_ctx_fdget() - get a context by a file descriptor
 * @fd: what open() of /dev/doorbell returned, in the current process
 *
 * The context lives on when userspace closes all its file descriptors, until
 * doorbell_ctx_put(). A thread of the current process, if that is userspace's, delivers what
 * interrupts have no time for.
 *
 * Context: process context.
 * Return: the context, or ERR_PTR: -EBADF if @fd is not open, -EINVAL if it is
 * something else, -ENXIO if its lines have not been chosen yet, -EAGAIN if there
 * is no room for the thread, -ENOMEM.
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
 * doorbell_ctx_get() - get a context once more
 * @ctx: a context that the caller has
 *
 * Context: any.
 * Return: @ctx, with a reference of its own.
 */
struct doorbell_ctx *doorbell_ctx_get(struct doorbell_ctx *ctx);

/**
 * doorbell_ctx_put() - put a context
 * @ctx: the context, or what doorbell_ctx_fdget() returned instead of one
 *
 * The caller's callbacks must have been deassigned.
 *
 * Context: any but NMI; on PREEMPT_RT not with interrupts or preemption off, since the
 * last reference frees memory.
 */
void doorbell_ctx_put(struct doorbell_ctx *ctx);

/**
 * doorbell_ring() - ring a line
 * @ctx: the context
 * @line: the line
 *
 * Delivers at once where eventfds may be signalled; otherwise (in the wake callback
 * of an eventfd, in a trigger's callback, or atomic on PREEMPT_RT) an irq_work does.
 *
 * Context: any but NMI, with interrupts off or on. Neither sleeps nor allocates.
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
 * Return: raising: as doorbell_ring(); lowering: 1 if a message was taken back that
 * had not been delivered, or else 0; -EOPNOTSUPP if it is an edge line, -ENXIO if
 * there is no such line.
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
 * doorbell_mask() - mask a line, and wait
 * @ctx: the context
 * @line: the line
 *
 * When this returns, no delivery is under way and none starts until the line is
 * unmasked.
 *
 * Context: process context, may sleep; not from a trigger of the line, for which it
 * would wait. Calls mask notifiers.
 * Return: 1 if the line was not masked before, or else 0; -ENXIO if there is no
 * such line.
 */
int doorbell_mask(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_mask_nosync() - mask a line, and do not wait
 * @ctx: the context
 * @line: the line
 *
 * No delivery starts until the line is unmasked, but one that is under way goes on.
 *
 * Context: where eventfds may be signalled. Calls mask notifiers.
 * Return: as doorbell_mask().
 */
int doorbell_mask_nosync(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_unmask() - unmask a line
 * @ctx: the context
 * @line: the line
 *
 * Context: where eventfds may be signalled. Calls unmask notifiers.
 * Return: 1 if a message was held, which has been delivered, or is about to be by
 * whoever is changing the line at the same time; 0 if there was none; -ENXIO if
 * there is no such line.
 */
int doorbell_unmask(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_clear() - drop the message that is pending
 * @ctx: the context
 * @line: the line
 *
 * Context: process context, may sleep; not from a trigger of the line.
 * Return: 1 if there was one, or else 0; -ENXIO if there is no such line.
 */
int doorbell_clear(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_state() - what state a line is in
 * @ctx: the context
 * @line: the line
 *
 * Context: any.
 * Return: DOORBELL_LINE_* bits; -ENXIO if there is no such line.
 */
int doorbell_state(struct doorbell_ctx *ctx, u32 line);

/**
 * doorbell_bus_write() - write to a context's bus
 * @ctx: the context
 * @space: DOORBELL_SPACE_*
 * @addr: the address of the first byte
 * @length: 1, 2, 4 or 8 bytes
 * @value: what is written; bits beyond @length must be zero
 *
 * See struct doorbell_region. Lines and eventfds are told at once where eventfds may
 * be signalled; otherwise an irq_work does, and several writes may then be one signal.
 *
 * Context: any but NMI, with interrupts off or on. Neither sleeps nor allocates.
 * Return: 0; -EOPNOTSUPP if no region takes it, so that it is the caller's own to
 * emulate; -ENOBUFS if it was to be kept and there is no room, and then nobody was
 * told; -EINVAL if there is no such access.
 */
int doorbell_bus_write(struct doorbell_ctx *ctx, u32 space, u64 addr, u32 length,
		       u64 value);

/**
 * doorbell_assign_trigger() - have a line call
 * @ctx: the context
 * @line: the line on whose deliveries @callback is called, with zero
 * @callback: what to call; it stays the caller's, who deassigns it before the
 *	context is put
 *
 * The first trigger of a level line that is asserted gets the message that no trigger
 * has heard, in the caller's context. See struct doorbell_trigger.
 *
 * The callback gets called in the context of whoever rings, by an irq_work (that is
 * in a hard interrupt) or by a thread; one call at a time for each line, and with
 * preemption off unless the kernel is PREEMPT_RT. It must not sleep. Of the functions
 * here it may call, for any line and its own, those that do not sleep either.
 *
 * Context: process context.
 * Return: 0; -ENXIO if there is no such line, -EINVAL if there is nothing to call,
 * -EEXIST if it is a trigger of the line already, -ENOSPC if the line has
 * DOORBELL_MAX_TRIGGERS_PER_LINE, -ENOMEM.
 */
int doorbell_assign_trigger(struct doorbell_ctx *ctx, u32 line,
			    struct doorbell_callback *callback);

/**
 * doorbell_deassign_trigger() - have a line no longer call
 * @ctx: the context
 * @line: the line
 * @callback: what was assigned
 *
 * When this returns, @callback is not being called, nor will it be.
 *
 * Context: process context; not from a trigger of the line.
 * Return: 0; -ENXIO if there is no such line, -ENOENT if it is no trigger of the line.
 */
int doorbell_deassign_trigger(struct doorbell_ctx *ctx, u32 line,
			      struct doorbell_callback *callback);

/**
 * doorbell_assign_notifier() - be told of acks, masks and unmasks
 * @ctx: the context
 * @line: the line
 * @events: DOORBELL_NOTIFY_* bits
 * @callback: what to call, with one of these bits; it stays the caller's, who
 *	deassigns it before the context is put
 *
 * Called once for each transition, in the context of whoever made it, after it and
 * before the call that made it returns. Nothing is held: the callback may call any
 * function that may be called there, for any line and its own, and then be called
 * again for what it does. That is: it may not deassign a notifier, which would wait
 * for itself. Callbacks for two transitions that follow closely may overtake each
 * other; doorbell_state() tells what is.
 *
 * Context: process context.
 * Return: 0; -ENXIO if there is no such line, -EINVAL if there is nothing to call or
 * @events are none or unknown, -EEXIST if it is a notifier of the line already,
 * -ENOSPC if the line has DOORBELL_MAX_NOTIFIERS_PER_LINE, -ENOMEM.
 */
int doorbell_assign_notifier(struct doorbell_ctx *ctx, u32 line, u32 events,
			     struct doorbell_callback *callback);

/**
 * doorbell_deassign_notifier() - be no longer told
 * @ctx: the context
 * @line: the line
 * @callback: what was assigned
 *
 * When this returns, @callback is not being called, nor will it be.
 *
 * Context: process context; not from a notifier.
 * Return: 0; -ENXIO if there is no such line, -ENOENT if it is no notifier of the
 * line.
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

static inline int doorbell_clear(struct doorbell_ctx *ctx, u32 line)
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
