// SPDX-License-Identifier: GPL-2.0
/*
 * The thread of a process that runs callbacks of an object, for rust/kernel_ext/owner_work.rs.
 * It is a thread of vhost_task, which is not waited for while its process is stopped or
 * frozen: vhost_task_stop() would wait until the process goes on.
 */
#include <linux/cgroup.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/vhost_task.h>
#include <linux/slab.h>

#include "bindings_helper.h"

#ifdef CONFIG_VHOST_TASK

enum fate {
	/* It runs callbacks. */
	RUNS,
	/* doorbell_thread_stop() waits until it has seen that it is to end. */
	LEAVES,
	/* Nothing waits for it. */
	LEFT_BEHIND,
	/* It executes no more callback and handles no more signal. */
	GONE,
};

/*
 * Freed by the thread of doorbell_thread_stop() if that has waited, and otherwise by
 * see_off(). It exists as long as the vhost_task.
 */
struct doorbell_thread {
	struct vhost_task *task;
	bool (*func)(void *data);
	void (*killed)(void *data);
	void *data;
	/* The thread, which has set it when it ran first. */
	struct task_struct *self;
	/* An enum fate. */
	atomic_t fate;
	/* Nonzero while the thread may use @data. */
	atomic_t entered;
	/* That the fate is GONE, for doorbell_thread_stop(). */
	struct completion gone;
	/* In left_and_gone. */
	struct llist_node node;
};

/* The threads that were left behind and are gone. Each holds the module. */
static LLIST_HEAD(left_and_gone);

static void doorbell_thread_free(struct doorbell_thread *thread)
{
	vhost_task_stop(thread->task);
	kfree(thread);
}

static void see_off(struct work_struct *work)
{
	struct doorbell_thread *thread, *next;

	llist_for_each_entry_safe(thread, next, llist_del_all(&left_and_gone), node) {
		/* It is about to exit, and executes no code of the module after that. */
		doorbell_thread_free(thread);
		/* doorbell_threads_exit() waits for the rest of this function. */
		module_put(THIS_MODULE);
	}
}

static DECLARE_WORK(see_off_work, see_off);

static enum fate thread_enter(struct doorbell_thread *thread)
{
	atomic_inc(&thread->entered);
	/* Pairs with atomic_cmpxchg() in doorbell_thread_stop(). */
	smp_mb__after_atomic();
	return atomic_read(&thread->fate);
}

static void thread_leave(struct doorbell_thread *thread)
{
	/* Pairs with atomic_read_acquire() in doorbell_thread_stop(). */
	smp_mb__before_atomic();
	atomic_dec(&thread->entered);
}

/*
 * Ends the current thread alone, by a signal that is not sent to its process. A thread with
 * this signal is not stopped any more. It can still be frozen before it handles the signal.
 *
 * A thread that a tracer wants to stop does so first, and comes here again. With the signal
 * it would not stop and the request would stay, so that get_signal() would never return.
 */
static void end_by_signal(void)
{
	/* A living thread has one, and keeps it. */
	struct sighand_struct *sighand = rcu_dereference_protected(current->sighand, true);

	__set_current_state(TASK_RUNNING);
	spin_lock_irq(&sighand->siglock);
	if (!(current->jobctl & JOBCTL_TRAP_MASK))
		sigaddset(&current->pending.signal, SIGKILL);
	set_thread_flag(TIF_SIGPENDING);
	spin_unlock_irq(&sighand->siglock);
}

static bool thread_func(void *data)
{
	struct doorbell_thread *thread = data;
	bool more = true;

	if (unlikely(!thread->self))
		WRITE_ONCE(thread->self, current);
	if (likely(thread_enter(thread) == RUNS))
		more = thread->func(thread->data);
	else
		end_by_signal();
	thread_leave(thread);
	return more;
}

/* The thread handles no signal after this. */
static void thread_killed(void *data)
{
	struct doorbell_thread *thread = data;
	enum fate fate;

	thread_enter(thread);
	/* Pairs with both atomic_cmpxchg() of doorbell_thread_stop() and thread_goes(). */
	fate = atomic_xchg(&thread->fate, GONE);
	if (fate == RUNS)
		thread->killed(thread->data);
	thread_leave(thread);
	if (fate != LEFT_BEHIND) {
		complete(&thread->gone);
		return;
	}
	llist_add(&thread->node, &left_and_gone);
	queue_work(system_dfl_wq, &see_off_work);
}

/*
 * Creates a thread of the current process, for work that is charged to the process.
 * Returns NULL if the process or the kernel cannot have such a thread.
 *
 * The thread calls @func again and again, and sleeps after it has returned false, until
 * doorbell_thread_wake() is called. It calls @killed when its process ends.
 */
struct doorbell_thread *doorbell_thread_create(bool (*func)(void *data),
					       void (*killed)(void *data), void *data)
{
	struct doorbell_thread *thread;
	struct vhost_task *task;

	if (current->flags & (PF_KTHREAD | PF_USER_WORKER))
		return NULL;
	thread = kzalloc_obj(*thread, GFP_KERNEL_ACCOUNT);
	if (!thread)
		return ERR_PTR(-ENOMEM);
	thread->func = func;
	thread->killed = killed;
	thread->data = data;
	init_completion(&thread->gone);
	task = vhost_task_create(thread_func, thread_killed, thread, "doorbell");
	if (IS_ERR(task)) {
		kfree(thread);
		return ERR_CAST(task);
	}
	thread->task = task;
	return thread;
}

void doorbell_thread_start(struct doorbell_thread *thread)
{
	vhost_task_start(thread->task);
}

void doorbell_thread_wake(struct doorbell_thread *thread)
{
	vhost_task_wake(thread->task);
}

/* Returns true if the thread runs only when another process wants it to, and is asleep. */
static bool is_halted(struct doorbell_thread *thread)
{
	struct task_struct *self = READ_ONCE(thread->self);

	if (!self)
		return false;
	if (READ_ONCE(self->__state) & (__TASK_STOPPED | __TASK_TRACED | TASK_FROZEN))
		return true;
	/* The thread changes other bits of the same word. */
	return data_race(cgroup_task_frozen(self));
}

/*
 * Waits for at most a second until the thread is gone, and not while it is halted. A kernel thread
 * does not wait: it closes files for all users, one after the other.
 */
static bool thread_goes(struct doorbell_thread *thread)
{
	const unsigned long end = jiffies + (current->flags & PF_KTHREAD ? 0 : HZ);

	vhost_task_wake(thread->task);
	while (!is_halted(thread) && time_before(jiffies, end)) {
		if (wait_for_completion_timeout(&thread->gone, 1))
			return true;
	}
	__module_get(THIS_MODULE);
	/* Pairs with atomic_xchg() in thread_killed(), which puts the module then. */
	if (atomic_cmpxchg(&thread->fate, LEAVES, LEFT_BEHIND) == LEAVES)
		return false;
	module_put(THIS_MODULE);
	return true;
}

/*
 * After this the thread does not use the data that it was created with. It has ended, too, or
 * it ends when its process goes on or is killed. Process context.
 */
void doorbell_thread_stop(struct doorbell_thread *thread)
{
	/* Pairs with the barrier in thread_enter(). */
	int fate = atomic_cmpxchg(&thread->fate, RUNS, LEAVES);

	/* The thread does not stop or freeze in between. Pairs with thread_leave(). */
	while (atomic_read_acquire(&thread->entered))
		usleep_range(50, 100);
	if (fate == RUNS && !thread_goes(thread))
		return;
	doorbell_thread_free(thread);
}

/* No more threads are created. */
void doorbell_threads_exit(void)
{
	flush_work(&see_off_work);
}

#else

struct doorbell_thread *doorbell_thread_create(bool (*func)(void *data),
					       void (*killed)(void *data), void *data)
{
	return NULL;
}

void doorbell_thread_start(struct doorbell_thread *thread) { }
void doorbell_thread_wake(struct doorbell_thread *thread) { }
void doorbell_thread_stop(struct doorbell_thread *thread) { }
void doorbell_threads_exit(void) { }

#endif
