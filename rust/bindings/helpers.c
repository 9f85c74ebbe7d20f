// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions, macros and bit-fields that Rust cannot reach by itself.
 */
#include <linux/bottom_half.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/lockdep.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/task_work.h>

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

/* From the callback of @entry: the same, if it is not the last. */
void doorbell_wake_writers_behind(struct wait_queue_head *wqh, struct wait_queue_entry *entry)
{
	if (!list_is_last(&entry->entry, &wqh->head))
		doorbell_wake_writers(wqh);
}

/*
 * Preemption and the compare-exchange go together, so that the ring path makes
 * one call for both. On PREEMPT_RT a spinlock's holder can be preempted, too.
 * Both return @old, or if the word is not @old what it is.
 */
int doorbell_handoff_enter(atomic_t *word, int old, int new)
{
	int now = old;

	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
	if (likely(atomic_try_cmpxchg(word, &now, new)))
		return old;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
	return now;
}

int doorbell_handoff_leave(atomic_t *word, int old, int new)
{
	int now = old;

	if (unlikely(!atomic_try_cmpxchg(word, &now, new)))
		return now;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
	return old;
}

void doorbell_preempt_disable(void)
{
	preempt_disable();
}

void doorbell_preempt_enable(void)
{
	preempt_enable();
}

/*
 * What this CPU does on behalf of others. @signals were sent by interrupts since a
 * task last rang here, and until @until they may go on. @task is in a callback of
 * another module, @depth relays deep: what it rings comes after those.
 */
struct doorbell_cpu {
	u32 signals;
	u32 depth;
	u64 until;
	struct task_struct *task;
	/* On PREEMPT_RT: the thread that is an interrupt elsewhere. */
	struct task_struct *relayer;
};

static DEFINE_PER_CPU(struct doorbell_cpu, doorbell_cpu);

/* In @signals: @until is set. */
#define DOORBELL_TIMED		BIT(31)

/*
 * How long interrupts may deliver for one ring of a task's, and how many signals they
 * may send however long that takes: a CPU that is virtual may be taken away meanwhile.
 * The one delivery that is under way then is finished, and the rest is left to the
 * contexts' workers.
 */
#define DOORBELL_BUDGET_NS	(100 * NSEC_PER_USEC)
#define DOORBELL_BUDGET_SIGNALS	8

u32 doorbell_depth(void)
{
	if (likely(raw_cpu_read(doorbell_cpu.task) != current))
		return 0;
	return raw_cpu_read(doorbell_cpu.depth);
}

void doorbell_fresh(void)
{
	raw_cpu_write(doorbell_cpu.signals, 0);
}

static bool doorbell_in_relay(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return raw_cpu_read(doorbell_cpu.relayer) == current;
	return in_hardirq();
}

/*
 * Of a ring from a wake-up that has @behind relays behind it. What a task signals, the
 * task pays for: it is in its time that the interrupts come.
 */
u32 doorbell_wake_depth(u32 behind)
{
	u32 depth = doorbell_depth();

	if (depth > behind)
		behind = depth;
	if (!doorbell_in_relay())
		doorbell_fresh();
	return behind;
}

static noinline bool doorbell_within_time(u32 before, u32 signals)
{
	struct doorbell_cpu *cpu = raw_cpu_ptr(&doorbell_cpu);

	if (!(before & DOORBELL_TIMED)) {
		cpu->until = local_clock() + DOORBELL_BUDGET_NS;
		before |= DOORBELL_TIMED;
	} else if (before - DOORBELL_TIMED >= DOORBELL_BUDGET_SIGNALS &&
		   local_clock() >= cpu->until) {
		return false;
	}
	/* It does not overflow: nothing takes as long as 2^31 signals to send eight. */
	cpu->signals = before + signals;
	return true;
}

/* On PREEMPT_RT this is a CPU's own thread. */
bool doorbell_within_budget(u32 signals)
{
	u32 before = raw_cpu_read(doorbell_cpu.signals);

	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		raw_cpu_write(doorbell_cpu.relayer, current);
	/* A single relay does not pay for the clock. */
	if (unlikely(before))
		return doorbell_within_time(before, signals);
	raw_cpu_write(doorbell_cpu.signals, signals);
	return true;
}

/*
 * Calls another module. On PREEMPT_RT others may run here meanwhile; what they leave
 * is not what was there before.
 */
void doorbell_call(struct doorbell_callback *callback, u32 depth, u32 event)
{
	struct doorbell_cpu *cpu, before;

	migrate_disable();
	cpu = raw_cpu_ptr(&doorbell_cpu);
	before = *cpu;
	cpu->depth = depth;
	barrier();
	cpu->task = current;
	callback->func(callback, event);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT)) {
		cpu->task = before.task;
		barrier();
		cpu->depth = before.depth;
	} else if (cpu->task == current) {
		cpu->task = NULL;
	}
	migrate_enable();
}

void doorbell_cond_resched(void)
{
	cond_resched();
}

bool doorbell_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/* What io_uring does for memory that it has pinned. */
struct user_struct *doorbell_memlock_user(void)
{
	return capable(CAP_IPC_LOCK) ? NULL : get_uid(current_user());
}

void doorbell_memlock_user_put(struct user_struct *user)
{
	free_uid(user);
}

bool doorbell_memlock_charge(struct user_struct *user, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long locked = atomic_long_read(&user->locked_vm);

	do {
		if (locked + pages > limit)
			return false;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &locked, locked + pages));
	return true;
}

void doorbell_memlock_uncharge(struct user_struct *user, unsigned long pages)
{
	atomic_long_sub(pages, &user->locked_vm);
}

bool doorbell_llist_add(struct llist_node *node, struct llist_head *head)
{
	return llist_add(node, head);
}

/* All, the oldest first. */
struct llist_node *doorbell_llist_take(struct llist_head *head)
{
	return llist_reverse_order(llist_del_all(head));
}

bool doorbell_irq_work_is_busy(struct irq_work *work)
{
	return irq_work_is_busy(work);
}

/*
 * The current thread may be the worker of the context that @file is. Task work of its
 * own that closes the file would wait for its end. As for an interrupt, a kworker closes
 * the file instead.
 */
void doorbell_fput(struct file *file)
{
	bool elsewhere = current->flags & PF_USER_WORKER && !in_interrupt() && !irqs_disabled();

	if (elsewhere)
		local_bh_disable();
	fput(file);
	if (elsewhere)
		local_bh_enable();
}

/*
 * A thread of the current process, for work that the process is to pay for; NULL if
 * there can be none.
 */
struct vhost_task *doorbell_thread_create(bool (*func)(void *data), void (*killed)(void *data),
					  void *data)
{
	if (!IS_ENABLED(CONFIG_VHOST_TASK) || current->flags & (PF_KTHREAD | PF_USER_WORKER))
		return NULL;
	return vhost_task_create(func, killed, data, "doorbell");
}

void doorbell_set_running(void)
{
	__set_current_state(TASK_RUNNING);
}

/*
 * Such a thread runs task work only when a signal is pending, and never returns to
 * userspace, where others run it: for one, what makes it wait if its cgroup has used up
 * its time.
 */
void doorbell_notice_task_work(void)
{
	if (task_work_pending(current))
		set_thread_flag(TIF_NOTIFY_SIGNAL);
}

/*
 * For what has no such thread: one work item at a time on each NUMA node, of all
 * contexts together.
 */
static struct workqueue_struct __rcu *doorbell_orphans;

int doorbell_orphans_init(void)
{
	struct workqueue_struct *queue;

	if (rcu_access_pointer(doorbell_orphans))
		return -EBUSY;
	queue = alloc_workqueue("doorbell", WQ_UNBOUND | WQ_SYSFS, 1);
	if (!queue)
		return -ENOMEM;
	rcu_assign_pointer(doorbell_orphans, queue);
	return 0;
}

void doorbell_orphans_exit(void)
{
	struct workqueue_struct *queue = unrcu_pointer(xchg(&doorbell_orphans, NULL));

	synchronize_rcu();
	destroy_workqueue(queue);
}

void doorbell_orphans_queue(struct work_struct *work)
{
	struct workqueue_struct *queue;

	rcu_read_lock();
	queue = rcu_dereference(doorbell_orphans);
	queue_work(queue ?: system_dfl_wq, work);
	rcu_read_unlock();
}

unsigned long doorbell_compat_ptr(u32 uptr)
{
#ifdef CONFIG_COMPAT
	return (unsigned long)compat_ptr(uptr);
#else
	return uptr;
#endif
}
