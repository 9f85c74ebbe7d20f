// SPDX-License-Identifier: GPL-2.0
/*
 * Calls in other contexts: with interrupts disabled, in timers, in the wake callback of an
 * eventfd, and in a thread that never leaves the kernel.
 */
#include <linux/completion.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/sched/vhost_task.h>

#include "test.h"

/* A call that another context makes. */
struct errand {
	struct test *test;
	struct test_call *call;
	struct hrtimer timer;
	struct completion done;
	struct wait_queue_head *queue;
	struct wait_queue_entry entry;
	poll_table poll;
};

/* Calls the function. Returns -EPROTO if this is not the context that was asked for. */
static int checked_call(struct errand *errand, bool as_asked)
{
	return as_asked ? call_here(errand->test, errand->call) : -EPROTO;
}

static enum hrtimer_restart on_timer(struct hrtimer *timer)
{
	struct errand *errand = container_of(timer, struct errand, timer);
	bool soft = errand->call->from == TEST_FROM_SOFTIRQ;

	errand->call->ret = checked_call(errand, soft ? in_serving_softirq() :
					 in_hardirq() && irqs_disabled());
	complete(&errand->done);
	return HRTIMER_NORESTART;
}

static int call_from_timer(struct errand *errand)
{
	bool soft = errand->call->from == TEST_FROM_SOFTIRQ;
	enum hrtimer_mode mode = soft ? HRTIMER_MODE_REL_SOFT : HRTIMER_MODE_REL_HARD;

	init_completion(&errand->done);
	hrtimer_setup_on_stack(&errand->timer, on_timer, CLOCK_MONOTONIC, mode);
	hrtimer_start(&errand->timer, 0, mode);
	wait_for_completion(&errand->done);
	hrtimer_cancel(&errand->timer);
	destroy_hrtimer_on_stack(&errand->timer);
	return errand->call->ret;
}

static void on_poll(struct file *file, struct wait_queue_head *queue, poll_table *poll)
{
	struct errand *errand = container_of(poll, struct errand, poll);

	errand->queue = queue;
	add_wait_queue(queue, &errand->entry);
}

static int on_wake(struct wait_queue_entry *entry, unsigned int mode, int sync, void *key)
{
	struct errand *errand = container_of(entry, struct errand, entry);

	/* On PREEMPT_RT the lock of an eventfd does not disable interrupts. */
	errand->call->ret = checked_call(errand, current->in_eventfd &&
					 (irqs_disabled() || IS_ENABLED(CONFIG_PREEMPT_RT)));
	return 0;
}

static int call_from_wake(struct errand *errand)
{
	struct eventfd_ctx *eventfd;
	struct file *file;

	file = eventfd_fget(errand->call->eventfd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	eventfd = eventfd_ctx_fileget(file);
	if (IS_ERR(eventfd)) {
		fput(file);
		return PTR_ERR(eventfd);
	}
	init_waitqueue_func_entry(&errand->entry, on_wake);
	init_poll_funcptr(&errand->poll, on_poll);
	vfs_poll(file, &errand->poll);
	errand->call->ret = -EPROTO;
	eventfd_signal(eventfd);
	if (errand->queue)
		remove_wait_queue(errand->queue, &errand->entry);
	eventfd_ctx_put(eventfd);
	fput(file);
	return errand->call->ret;
}

static struct errand *next_for_worker(void *data)
{
	struct test *test = data;

	return xchg(&test->for_worker, NULL);
}

static bool work(void *data)
{
	struct errand *errand = next_for_worker(data);
	unsigned long flags;

	if (!errand)
		return false;
	__set_current_state(TASK_RUNNING);
	if (errand->call->from == TEST_FROM_WORKER_IRQS_OFF)
		local_irq_save(flags);
	errand->call->ret = checked_call(errand, current->flags & PF_USER_WORKER);
	if (errand->call->from == TEST_FROM_WORKER_IRQS_OFF)
		local_irq_restore(flags);
	complete(&errand->done);
	return true;
}

static void worker_killed(void *data)
{
	struct errand *errand = next_for_worker(data);

	if (errand)
		complete(&errand->done);
}

static int call_from_worker(struct errand *errand)
{
	struct test *test = errand->test;
	struct vhost_task *worker;

	errand->call->ret = -EINTR;
	init_completion(&errand->done);
	guard(mutex)(&test->worker_lock);
	if (!test->worker) {
		worker = vhost_task_create(work, worker_killed, test, "doorbell_test");
		if (IS_ERR(worker))
			return PTR_ERR(worker);
		vhost_task_start(worker);
		test->worker = worker;
	}
	xchg(&test->for_worker, errand);
	vhost_task_wake(test->worker);
	wait_for_completion(&errand->done);
	return errand->call->ret;
}

static bool may_be_called(const struct test_call *call)
{
	switch (call->func) {
	case TEST_CTX_GET:
	case TEST_STATE:
	case TEST_RING:
	case TEST_SET_LEVEL:
	case TEST_BUS_WRITE:
		return true;
	case TEST_CTX_PUT:
		return !IS_ENABLED(CONFIG_PREEMPT_RT);
	case TEST_MASK_NOSYNC:
	case TEST_MASK_FOR_NOSYNC:
	case TEST_UNMASK:
	case TEST_UNMASK_FOR:
	case TEST_ACK:
	case TEST_SIGNAL:
		/* Eventfds may be signalled in these. */
		return call->from != TEST_FROM_WAKE && !IS_ENABLED(CONFIG_PREEMPT_RT);
	default:
		return false;
	}
}

int call_from(struct test *test, struct test_call *call)
{
	struct errand errand = { .test = test, .call = call };
	unsigned long flags;
	int ret;

	if (call->from == TEST_FROM_PROCESS)
		return call_here(test, call);
	if (!may_be_called(call))
		return -EINVAL;
	switch (call->from) {
	case TEST_FROM_IRQS_OFF:
		local_irq_save(flags);
		ret = call_here(test, call);
		local_irq_restore(flags);
		return ret;
	case TEST_FROM_SOFTIRQ:
	case TEST_FROM_HARDIRQ:
		return call_from_timer(&errand);
	case TEST_FROM_WAKE:
		return call_from_wake(&errand);
	case TEST_FROM_WORKER:
	case TEST_FROM_WORKER_IRQS_OFF:
		return call_from_worker(&errand);
	default:
		return -EINVAL;
	}
}
