/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/doorbell-twin: the paths of /dev/doorbell that tools/bench/instructions.c measures,
 * in C. It answers the same ioctls and keeps the same rules, so the difference in
 * instructions is that of two implementations of one thing.
 *
 * It has neither notifiers, resamplefds, DOORBELL_SET_LEVEL, records, the summary and
 * bitmaps of lines, nor the limits of RLIMIT_MEMLOCK, the search for cycles and the API
 * for other modules.
 * What exceeds the budget of an interrupt goes to a workqueue, not to a thread of the
 * context's owner.
 */
#ifndef _DOORBELL_TWIN_H
#define _DOORBELL_TWIN_H

#include <linux/atomic.h>
#include <linux/doorbell.h>
#include <linux/eventfd.h>
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rbtree.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>
#include <uapi/linux/eventpoll.h>

/*
 * The word of a line: DOORBELL_LINE_* bits and these. The thread or interrupt that sets
 * IN_PROGRESS owns the line until it clears the bit, and cannot be preempted meanwhile.
 */
#define LINE_IDLE		0

/* A mask has one reason here. */
#define TWIN_MASKED	(DOORBELL_LINE_MASKED | DOORBELL_MASK_VECTOR << DOORBELL_LINE_REASONS_SHIFT)

#define LINE_IN_PROGRESS	(1U << 31)

/* The origin of the pending message: the number of relays, and EPOLL_URING_WAKE. */
#define LINE_HOPS		(MAX_HOPS << LINE_HOPS_SHIFT)
#define LINE_HOPS_SHIFT		8
#define LINE_URING		(1U << 14)
#define LINE_ORIGIN		(LINE_HOPS | LINE_URING)
#define LINE_MESSAGE		(DOORBELL_LINE_PENDING | LINE_ORIGIN)

#define MAX_HOPS		63U
/* From this number of relays on, a worker delivers. */
#define RELAY_LIMIT		32U
/* The maximum number of messages that an owner sends before it leaves the rest to a callback. */
#define MAX_ROUNDS		4U

/* Position of the number of relays in the key of a wake-up. */
#define KEY_HOPS_SHIFT		16

struct iov_iter;
struct kiocb;

/* A line's entry in the status pages: struct doorbell_line_status. */
struct twin_status {
	atomic_t word;
	u32 reserved0;
	u64 deliveries;
	atomic64_t coalesced;
	u64 dropped;
	u64 deferred;
	atomic64_t acks;
	u64 reserved[2];
};

/* The triggers of a line. A change replaces the array. */
struct twin_triggers {
	u32 nr;
	struct eventfd_ctx *eventfds[] __counted_by(nr);
};

struct twin_line {
	struct twin_status *status;
	/* Only the owner of the line reads this, and only the owner with the mutex changes it. */
	struct twin_triggers *triggers;
	/* The last message found no trigger. The owner's, too. */
	bool undelivered;
	u32 nr_irqfds;
	struct irq_work relay;
	struct llist_node deferred;
	atomic_t is_deferred;
	struct twin_context *context;
} ____cacheline_aligned;

/* The regions of an address space, sorted. A change replaces the array. */
struct twin_regions {
	struct rcu_head rcu;
	u32 nr;
	struct twin_slot {
		u64 addr;
		struct twin_region *region;
	} slots[] __counted_by(nr);
};

struct twin_context {
	/* Set last by DOORBELL_SET_LINES; until then there is no line. */
	u32 nr_lines;
	struct twin_line *lines;
	struct twin_status *status;
	struct twin_regions __rcu *regions[2];
	struct srcu_struct srcu;
	/* Protects all that follows, and all changes of triggers and regions. */
	struct mutex mutex;
	struct rb_root irqfds;
	u32 nr_irqfds;
	u32 nr_triggers;
	/* Eventfds that the context keeps alive. */
	u32 nr_eventfds;
	/* Irqfds whose eventfd has lost its last file, and lines to be delivered by @work. */
	struct llist_head hung_up;
	struct llist_head deferred;
	struct work_struct work;
};

/* Returns true if any of @reserved is not zero. */
static inline bool reserved_used(const u32 *reserved, size_t bytes)
{
	u32 used = 0;
	size_t i;

	for (i = 0; i < bytes / sizeof(*reserved); i++)
		used |= reserved[i];
	return used;
}

static inline u32 nr_lines_of(struct twin_context *context)
{
	/* Pairs with the release in set_lines(). */
	return smp_load_acquire(&context->nr_lines);
}

static inline struct twin_line *find_line(struct twin_context *context, unsigned long nr)
{
	if (unlikely(nr >= nr_lines_of(context)))
		return NULL;
	return &context->lines[nr];
}

/* line.c */
void init_line(struct twin_context *context, struct twin_line *line, struct twin_status *status);
void free_line(struct twin_line *line);
int request(struct twin_line *line, u32 origin, bool relayed);
void release_line(struct twin_line *line, u32 rounds);
int ring_from_wake(struct twin_line *line, __poll_t key);
bool mask_line(struct twin_line *line);
bool unmask_line(struct twin_line *line);
bool clear_line(struct twin_line *line);
bool line_is_pending(struct twin_line *line);
long ack_line(struct twin_line *line);
long set_line_type(struct twin_line *line, bool level);
void query_line(struct twin_line *line, struct doorbell_query *query);
long change_trigger(struct twin_context *context, const void __user *arg);
void deliver_deferred(struct twin_context *context);

/* irqfd.c */
long change_irqfd(struct twin_context *context, const void __user *arg);
void reap_irqfds(struct twin_context *context);
void detach_irqfds(struct twin_context *context);
void free_irqfds(struct twin_context *context);

/* bus.c */
long change_region(struct twin_context *context, const void __user *arg);
long bus_write(struct twin_context *context, const void __user *arg);
ssize_t twin_write_iter(struct kiocb *iocb, struct iov_iter *from);
ssize_t twin_write(struct file *file, const char __user *buf, size_t count, loff_t *pos);
u32 count_regions(struct twin_context *context);
void free_regions(struct twin_context *context);

/* Sends one message. The caller owns the line. */
static inline void send_message(struct twin_line *line, u32 origin)
{
	struct twin_triggers *triggers = line->triggers;
	u32 hops = min(((origin & LINE_HOPS) >> LINE_HOPS_SHIFT) + 1, MAX_HOPS);
	__poll_t key = (__force __poll_t)(hops << KEY_HOPS_SHIFT);
	u32 i;

	if (unlikely(origin & LINE_URING))
		key |= EPOLL_URING_WAKE;
	/* Before the signal: a thread that the signal wakes finds the delivery counted. */
	WRITE_ONCE(line->status->deliveries, line->status->deliveries + 1);
	if (unlikely(!triggers)) {
		line->undelivered = true;
		return;
	}
	for (i = 0; i < triggers->nr; i++)
		eventfd_signal_mask(triggers->eventfds[i], key);
}

/* Sends a message and releases the line. The owner has sent @rounds messages before. */
static inline void deliver(struct twin_line *line, u32 origin, u32 rounds)
{
	int old = LINE_IN_PROGRESS;

	send_message(line, origin);
	if (likely(atomic_try_cmpxchg(&line->status->word, &old, LINE_IDLE)))
		preempt_enable();
	else
		release_line(line, rounds + 1);
}

/* Rings the line where eventfds may be signalled. Returns DOORBELL_RING_*. */
static inline int ring_line(struct twin_line *line)
{
	int old = LINE_IDLE;

	preempt_disable();
	if (likely(atomic_try_cmpxchg(&line->status->word, &old, LINE_IN_PROGRESS))) {
		deliver(line, 0, 0);
		return DOORBELL_RING_DELIVERED;
	}
	preempt_enable();
	return request(line, 0, false);
}

#endif /* _DOORBELL_TWIN_H */
