// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions, macros and bit-fields that Rust cannot reach by itself.
 */
#include <linux/compat.h>
#include <linux/lockdep.h>
#include <linux/preempt.h>

#include "bindings_helper.h"

/* On PREEMPT_RT an eventfd's lock sleeps. */
bool doorbell_signal_allowed(void)
{
	return eventfd_signal_allowed() && (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible());
}

/*
 * In a hard interrupt that is never threaded lockdep objects to spinlocks, which sleep
 * on PREEMPT_RT. There doorbell_signal_allowed() has kept the caller away; and elsewhere
 * they do not sleep.
 */
static DEFINE_WAIT_OVERRIDE_MAP(doorbell_signal_map, LD_WAIT_CONFIG);

void doorbell_signal_lockdep(struct eventfd_ctx *ctx, __poll_t mask)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_acquire_try(&doorbell_signal_map);
	eventfd_signal_mask(ctx, mask);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_release(&doorbell_signal_map);
}

__poll_t doorbell_vfs_poll(struct file *file, struct poll_table_struct *pt)
{
	return vfs_poll(file, pt);
}

unsigned long doorbell_wait_queue_lock(struct wait_queue_head *wqh)
{
	unsigned long flags;

	spin_lock_irqsave(&wqh->lock, flags);
	return flags;
}

void doorbell_wait_queue_unlock(struct wait_queue_head *wqh, unsigned long flags)
{
	spin_unlock_irqrestore(&wqh->lock, flags);
}

void doorbell_wait_queue_add(struct wait_queue_head *wqh, struct wait_queue_entry *entry)
{
	__add_wait_queue(wqh, entry);
}

void doorbell_wait_queue_del(struct wait_queue_entry *entry)
{
	list_del_init(&entry->entry);
}

/*
 * As eventfd_read() does: the callbacks run with a wait-queue lock held and
 * must know that they may not signal.
 */
void doorbell_wake_writers(struct wait_queue_head *wqh)
{
	unsigned int in_eventfd = current->in_eventfd;

	/* The lock is held: nobody can be on the way in. */
	if (!waitqueue_active(wqh))
		return;
	current->in_eventfd = 1;
	wake_up_locked_poll(wqh, EPOLLOUT);
	current->in_eventfd = in_eventfd;
}

/*
 * Preemption and the compare-exchange go together, so that the ring path makes
 * one call for both. On PREEMPT_RT a spinlock's holder can be preempted, too.
 */
bool doorbell_gate_enter(atomic_t *word, int *old, int new)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
	if (likely(atomic_try_cmpxchg(word, old, new)))
		return true;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
	return false;
}

bool doorbell_gate_leave(atomic_t *word, int *old, int new)
{
	if (unlikely(!atomic_try_cmpxchg(word, old, new)))
		return false;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
	return true;
}

bool doorbell_irq_work_is_busy(struct irq_work *work)
{
	return irq_work_is_busy(work);
}

unsigned long doorbell_compat_ptr(u32 uptr)
{
#ifdef CONFIG_COMPAT
	return (unsigned long)compat_ptr(uptr);
#else
	return uptr;
#endif
}
