// SPDX-License-Identifier: GPL-2.0
/*
 * Lines: genirq's edge flow, as in handle_edge_irq(), with a compare-exchange of the word in
 * place of desc->lock.
 */
#include <linux/interrupt.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "twin.h"

#define PENDING		DOORBELL_LINE_PENDING
#define MASKED		TWIN_MASKED
#define LEVEL		DOORBELL_LINE_LEVEL
#define ASSERTED	DOORBELL_LINE_ASSERTED
#define RESAMPLE	DOORBELL_LINE_RESAMPLE

/*
 * The number of signals that interrupts on a CPU may send for one request of a task there.
 * A message that has started is sent to all triggers of its line.
 */
#define BUDGET		64

static DEFINE_PER_CPU(u32, relay_signals);

static u32 hops_of(u32 word)
{
	return (word & LINE_HOPS) >> LINE_HOPS_SHIFT;
}

/* Returns the word after a message was sent, or a level line was rung. */
static u32 asserted(u32 word)
{
	return word & LEVEL ? word | ASSERTED : word;
}

static void defer(struct twin_line *line)
{
	if (!atomic_xchg(&line->is_deferred, 1))
		llist_add(&line->deferred, &line->context->deferred);
	queue_work(system_dfl_wq, &line->context->work);
}

static void queue_callback(struct twin_line *line, u32 hops)
{
	if (unlikely(hops >= RELAY_LIMIT))
		defer(line);
	else
		irq_work_queue(&line->relay);
}

/* Rings the line. Returns DOORBELL_RING_*. If @relayed, a callback sends the message. */
int request(struct twin_line *line, u32 origin, bool relayed)
{
	atomic_t *word = &line->status->word;
	int old, new, ret;

	/* Until the callback is queued, this is the only thread that knows of the message. */
	preempt_disable();
	old = atomic_read(word);
	do {
		new = old;
		if (old & PENDING) {
			u32 hops = max(origin & LINE_HOPS, old & LINE_HOPS);

			new = (asserted(old) & ~LINE_HOPS) | hops | (origin & LINE_URING);
			ret = DOORBELL_RING_COALESCED;
		} else if (old & ASSERTED) {
			ret = DOORBELL_RING_COALESCED;
		} else if (old & MASKED) {
			new = asserted(old) | PENDING | origin;
			ret = DOORBELL_RING_MASKED;
		} else if (relayed || old & LINE_IN_PROGRESS) {
			new = asserted(old) | PENDING | origin;
			ret = DOORBELL_RING_DELIVERED;
		} else {
			new = asserted(old) | LINE_IN_PROGRESS;
			ret = DOORBELL_RING_DELIVERED;
		}
	} while (!atomic_try_cmpxchg(word, &old, new));

	if (ret == DOORBELL_RING_COALESCED)
		atomic64_inc(&line->status->coalesced);
	if (ret != DOORBELL_RING_DELIVERED || old & LINE_IN_PROGRESS) {
		preempt_enable();
	} else if (relayed) {
		queue_callback(line, hops_of(origin));
		preempt_enable();
	} else {
		deliver(line, 0, 0);
	}
	return ret;
}

/*
 * Rings the line from an eventfd's wake callback, where no eventfd may be signalled. A task
 * that does so pays for the interrupts that follow, and renews their budget.
 */
int ring_from_wake(struct twin_line *line, __poll_t key)
{
	u32 hops = ((__force u32)key >> KEY_HOPS_SHIFT) & MAX_HOPS;
	u32 origin = hops << LINE_HOPS_SHIFT;
	int old = LINE_IDLE;

	if (unlikely(key & EPOLL_URING_WAKE))
		origin |= LINE_URING;
	if (!in_hardirq())
		this_cpu_write(relay_signals, 0);
	if (unlikely(!atomic_try_cmpxchg(&line->status->word, &old, PENDING | origin)))
		return request(line, origin, true);
	queue_callback(line, hops);
	return DOORBELL_RING_DELIVERED;
}

/* Sends what is pending after @rounds messages, and releases the line. */
void release_line(struct twin_line *line, u32 rounds)
{
	atomic_t *word = &line->status->word;
	int old = atomic_read(word), new;
	bool pending;

	for (;;) {
		pending = (old & (PENDING | MASKED)) == PENDING;
		if (!pending)
			new = old & ~LINE_IN_PROGRESS;
		else if (rounds < MAX_ROUNDS && hops_of(old) < RELAY_LIMIT)
			new = asserted(old & ~LINE_MESSAGE);
		else
			new = old & ~LINE_IN_PROGRESS;
		if (!atomic_try_cmpxchg(word, &old, new))
			continue;
		if (!(new & LINE_IN_PROGRESS))
			break;
		send_message(line, old & LINE_ORIGIN);
		rounds++;
		old = atomic_read(word);
	}
	if (pending)
		queue_callback(line, hops_of(old));
	preempt_enable();
}

/* Claims the line and its message, if there is one to send. */
static bool take_message(struct twin_line *line, u32 *origin)
{
	int old = PENDING, new;

	preempt_disable();
	do {
		if (!(old & PENDING) || old & (MASKED | LINE_IN_PROGRESS)) {
			preempt_enable();
			return false;
		}
		new = asserted(old & ~LINE_MESSAGE) | LINE_IN_PROGRESS;
	} while (!atomic_try_cmpxchg(&line->status->word, &old, new));
	*origin = old & LINE_ORIGIN;
	return true;
}

static void relay(struct irq_work *work)
{
	struct twin_line *line = container_of(work, struct twin_line, relay);
	u32 origin;

	if (unlikely(this_cpu_read(relay_signals) >= BUDGET)) {
		defer(line);
		return;
	}
	if (!take_message(line, &origin))
		return;
	if (line->triggers)
		this_cpu_add(relay_signals, line->triggers->nr);
	/* A message that arrives meanwhile has its own interrupt, and its own budget. */
	deliver(line, origin, MAX_ROUNDS - 1);
}

/* Delivers the lines that were deferred, one message each. */
void deliver_deferred(struct twin_context *context)
{
	struct llist_node *list = llist_del_all(&context->deferred);
	struct twin_line *line, *next;
	u32 origin;

	llist_for_each_entry_safe(line, next, list, deferred) {
		/* Fully ordered: a later ring queues the line, or its message is taken. */
		atomic_xchg(&line->is_deferred, 0);
		if (!take_message(line, &origin))
			continue;
		line->status->deferred++;
		deliver(line, origin, MAX_ROUNDS - 1);
		cond_resched();
	}
}

/* Waits until the line has no owner. An owner is never preempted. */
static void wait_for_owner(struct twin_line *line)
{
	smp_cond_load_acquire(&line->status->word.counter, !(VAL & LINE_IN_PROGRESS));
}

/* Claims the line when it has no owner. */
static void claim_line(struct twin_line *line)
{
	int old;

	for (;;) {
		wait_for_owner(line);
		preempt_disable();
		old = atomic_read(&line->status->word);
		if (!(old & LINE_IN_PROGRESS) &&
		    atomic_try_cmpxchg(&line->status->word, &old, old | LINE_IN_PROGRESS))
			return;
		preempt_enable();
	}
}

/*
 * Masks the line; see disable_irq(). On return no message is in flight: a line without an
 * owner sends none, and the owner sends none after it has released the line.
 */
bool mask_line(struct twin_line *line)
{
	int old = LINE_IDLE;

	if (likely(atomic_try_cmpxchg(&line->status->word, &old, MASKED)))
		return true;
	old = atomic_fetch_or(MASKED, &line->status->word);
	if (old & LINE_IN_PROGRESS)
		wait_for_owner(line);
	return !(old & MASKED);
}

/* Unmasks the line, and sends the pending message. Returns true if there was one. */
bool unmask_line(struct twin_line *line)
{
	int old = MASKED, new;

	/* Without a message there is nothing to own the line for. */
	if (likely(atomic_try_cmpxchg(&line->status->word, &old, LINE_IDLE)))
		return false;
	for (;;) {
		if (!(old & MASKED))
			return false;
		if (old & LINE_IN_PROGRESS) {
			wait_for_owner(line);
			old = atomic_read(&line->status->word);
			continue;
		}
		new = old & ~(MASKED | RESAMPLE);
		if (old & PENDING)
			new = asserted(new & ~LINE_MESSAGE) | LINE_IN_PROGRESS;
		preempt_disable();
		if (atomic_try_cmpxchg(&line->status->word, &old, new))
			break;
		preempt_enable();
	}
	if (old & PENDING)
		deliver(line, old & LINE_ORIGIN, 0);
	else
		preempt_enable();
	return old & PENDING;
}

/* Drops the pending message, of a level line with its assertion. Returns true if there was one. */
bool clear_line(struct twin_line *line)
{
	int old, new;

	for (;;) {
		wait_for_owner(line);
		old = atomic_read(&line->status->word);
		if (!(old & PENDING))
			return false;
		if (old & LINE_IN_PROGRESS)
			continue;
		new = old & ~(LINE_MESSAGE | ASSERTED);
		if (old & ASSERTED && old & MASKED)
			new |= RESAMPLE;
		preempt_disable();
		if (atomic_try_cmpxchg(&line->status->word, &old, new | LINE_IN_PROGRESS))
			break;
		preempt_enable();
	}
	WRITE_ONCE(line->status->dropped, line->status->dropped + 1);
	release_line(line, 0);
	return true;
}

bool line_is_pending(struct twin_line *line)
{
	return atomic_read(&line->status->word) & PENDING;
}

/* Acks the message of a level line that was sent last. Returns DOORBELL_ACK_*. */
long ack_line(struct twin_line *line)
{
	int old = LEVEL | ASSERTED, new;

	do {
		if (!(old & LEVEL))
			return -EOPNOTSUPP;
		if ((old & (ASSERTED | PENDING)) != ASSERTED)
			return DOORBELL_ACK_NOTHING;
		new = old & ~ASSERTED;
		if (old & MASKED)
			new |= RESAMPLE;
	} while (!atomic_try_cmpxchg(&line->status->word, &old, new));
	atomic64_inc(&line->status->acks);
	return old & MASKED ? DOORBELL_ACK_POSTPONED : DOORBELL_ACK_DONE;
}

long set_line_type(struct twin_line *line, bool level)
{
	int old = atomic_read(&line->status->word), new;

	do {
		if (level == !!(old & LEVEL))
			return 0;
		if (old & (PENDING | ASSERTED))
			return -EBUSY;
		new = level ? old | LEVEL : old & ~(LEVEL | RESAMPLE);
	} while (!atomic_try_cmpxchg(&line->status->word, &old, new));
	return 0;
}

/* Reads the counters, then the word: a ring that moves from one to the other counts once. */
static int read_line(struct twin_status *status, struct doorbell_query *query)
{
	int word;

	query->deliveries = READ_ONCE(status->deliveries);
	query->dropped = READ_ONCE(status->dropped);
	query->deferred = READ_ONCE(status->deferred);
	query->acks = atomic64_read(&status->acks);
	/* Pairs with the compare-exchanges of the word, which are fully ordered. */
	smp_rmb();
	word = atomic_read(&status->word);
	query->state = word & DOORBELL_LINE_STATE;
	query->rings = query->deliveries + query->dropped + atomic64_read(&status->coalesced) +
		       !!(word & PENDING);
	return word;
}

/* Reads state and counters as of one moment. */
void query_line(struct twin_line *line, struct doorbell_query *query)
{
	struct twin_status *status = line->status;
	int try, before;

	for (try = 0; try < 16; try++) {
		before = atomic_read_acquire(&status->word);
		if (read_line(status, query) != before || before & LINE_IN_PROGRESS) {
			cpu_relax();
			continue;
		}
		/* Pairs with them, too: was there an owner in between? */
		smp_rmb();
		if (query->deliveries == READ_ONCE(status->deliveries) &&
		    query->dropped == READ_ONCE(status->dropped))
			return;
	}
	claim_line(line);
	read_line(status, query);
	release_line(line, MAX_ROUNDS);
}

/* Returns a copy of @old with @add, and without @remove, one of which is NULL. */
static struct twin_triggers *copy_triggers(struct twin_triggers *old, struct eventfd_ctx *add,
					   struct eventfd_ctx *remove)
{
	u32 nr = old ? old->nr : 0, i, at = 0;
	struct twin_triggers *new;

	nr = add ? nr + 1 : nr - 1;
	if (!nr)
		return NULL;
	new = kmalloc(struct_size(new, eventfds, nr), GFP_KERNEL_ACCOUNT);
	if (!new)
		return ERR_PTR(-ENOMEM);
	new->nr = nr;
	for (i = 0; old && i < old->nr; i++)
		if (old->eventfds[i] != remove)
			new->eventfds[at++] = old->eventfds[i];
	if (add)
		new->eventfds[at] = add;
	return new;
}

static bool has_trigger(struct twin_triggers *triggers, struct eventfd_ctx *eventfd)
{
	u32 i;

	for (i = 0; triggers && i < triggers->nr; i++)
		if (triggers->eventfds[i] == eventfd)
			return true;
	return false;
}

/* Returns the error of a change, or 0. The mutex is held. */
static long check_trigger(struct twin_context *context, struct twin_line *line,
			  struct eventfd_ctx *eventfd, bool assign)
{
	bool there = has_trigger(line->triggers, eventfd);

	if (!assign)
		return there ? 0 : -ENOENT;
	if (there)
		return -EEXIST;
	if (context->nr_eventfds >= DOORBELL_MAX_EVENTFDS ||
	    (line->triggers && line->triggers->nr >= DOORBELL_MAX_TRIGGERS_PER_LINE))
		return -ENOSPC;
	return 0;
}

/* Handles DOORBELL_TRIGGER. */
long change_trigger(struct twin_context *context, const void __user *arg)
{
	struct doorbell_trigger trigger;
	struct twin_triggers *new, *old;
	struct eventfd_ctx *eventfd;
	struct twin_line *line;
	bool assign;
	long ret;

	if (copy_from_user(&trigger, arg, sizeof(trigger)))
		return -EFAULT;
	if (trigger.flags & ~DOORBELL_TRIGGER_FLAG_DEASSIGN ||
	    reserved_used(trigger.reserved, sizeof(trigger.reserved)))
		return -EINVAL;
	assign = !(trigger.flags & DOORBELL_TRIGGER_FLAG_DEASSIGN);
	line = find_line(context, trigger.line);
	if (!line)
		return -ENXIO;
	eventfd = eventfd_ctx_fdget(trigger.fd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);

	mutex_lock(&context->mutex);
	old = line->triggers;
	ret = check_trigger(context, line, eventfd, assign);
	if (ret)
		goto unlock;
	new = copy_triggers(old, assign ? eventfd : NULL, assign ? NULL : eventfd);
	if (IS_ERR(new)) {
		ret = PTR_ERR(new);
		goto unlock;
	}
	/* A barrier: no delivery is in flight, and a later one finds the new array. */
	claim_line(line);
	line->triggers = new;
	if (assign && line->undelivered) {
		line->undelivered = false;
		if ((atomic_read(&line->status->word) & (LEVEL | ASSERTED | PENDING)) ==
		    (LEVEL | ASSERTED))
			atomic_or(PENDING, &line->status->word);
	}
	release_line(line, 0);
	kfree(old);
	context->nr_eventfds += assign ? 1 : -1;
	context->nr_triggers += assign ? 1 : -1;
	if (!assign)
		eventfd_ctx_put(eventfd);
unlock:
	mutex_unlock(&context->mutex);
	/* The line has this reference now. */
	if (ret || !assign)
		eventfd_ctx_put(eventfd);
	return ret;
}

void init_line(struct twin_context *context, struct twin_line *line, struct twin_status *status)
{
	line->context = context;
	line->status = status;
	init_irq_work(&line->relay, relay);
}

/* Frees the triggers. There is no ring any more. */
void free_line(struct twin_line *line)
{
	u32 i;

	for (i = 0; line->triggers && i < line->triggers->nr; i++)
		eventfd_ctx_put(line->triggers->eventfds[i]);
	kfree(line->triggers);
}
