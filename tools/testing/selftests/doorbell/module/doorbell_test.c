// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/doorbell_test: calls each function of the in-kernel API for tests in userspace. See
 * call.h.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/doorbell.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/sched/vhost_task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "call.h"

struct test;

struct test_callback {
	struct doorbell_callback base;
	struct test *test;
	/* The function that deassigns it, while it is assigned. */
	u32 deassign;
	u32 line;
	bool gone;
	struct test_plan plan;
	/* Compared with current, never dereferenced. */
	struct task_struct *planner;
	atomic_t by_planner;
	atomic_t times;
	atomic_t inside;
	atomic_t calls;
	atomic_t by_event[4];
	atomic_t unexpected;
	atomic_t concurrent;
	atomic_t contexts;
};

/* An open file. Before several threads use it, one of them makes all assignments. */
struct test {
	struct doorbell_ctx *ctx;
	unsigned int refs;
	/* The worker runs from its first call until the file is closed. */
	struct mutex worker_lock;
	struct vhost_task *worker;
	struct errand *for_worker;
	struct doorbell_callback empty;
	struct test_callback callbacks[TEST_CALLBACKS];
};

static int call_simple(struct test *test, u32 func, u32 line, u32 arg,
		       const struct test_access *access)
{
	switch (func) {
	case TEST_MASK:
		return doorbell_mask(test->ctx, line);
	case TEST_CLEAR:
		return doorbell_clear(test->ctx, line);
	case TEST_MASK_NOSYNC:
		return doorbell_mask_nosync(test->ctx, line);
	case TEST_UNMASK:
		return doorbell_unmask(test->ctx, line);
	case TEST_ACK:
		return doorbell_ack(test->ctx, line);
	case TEST_STATE:
		return doorbell_state(test->ctx, line);
	case TEST_RING:
		return doorbell_ring(test->ctx, line);
	case TEST_SET_LEVEL:
		return doorbell_set_level(test->ctx, line, arg);
	case TEST_BUS_WRITE:
		return doorbell_bus_write(test->ctx, access->space, access->addr, access->length,
					  access->value);
	default:
		return -ENOTTY;
	}
}

static u32 context(void)
{
	u32 seen = 0;

	if (in_hardirq())
		seen |= TEST_IN_HARDIRQ;
	else if (in_serving_softirq())
		seen |= TEST_IN_SOFTIRQ;
	else if (current->flags & (PF_WQ_WORKER | PF_USER_WORKER))
		seen |= TEST_IN_WORKER;
	else
		seen |= TEST_IN_TASK;
	if (preemptible())
		seen |= TEST_PREEMPTIBLE;
	if (current->in_eventfd)
		seen |= TEST_IN_EVENTFD;
	return seen;
}

static void raise_to(atomic_t *most, int value)
{
	int now = atomic_read(most);

	while (now < value && !atomic_try_cmpxchg(most, &now, value))
		;
}

static void called(struct doorbell_callback *base, u32 event)
{
	struct test_callback *callback = container_of(base, struct test_callback, base);
	u32 i;

	raise_to(&callback->concurrent, atomic_inc_return(&callback->inside));
	atomic_inc(&callback->calls);
	atomic_or(context(), &callback->contexts);
	if (in_task() && current == READ_ONCE(callback->planner))
		atomic_inc(&callback->by_planner);
	switch (event) {
	case 0:
		atomic_inc(&callback->by_event[0]);
		break;
	case DOORBELL_NOTIFY_MASK:
		atomic_inc(&callback->by_event[1]);
		break;
	case DOORBELL_NOTIFY_UNMASK:
		atomic_inc(&callback->by_event[2]);
		break;
	case DOORBELL_NOTIFY_ACK:
		atomic_inc(&callback->by_event[3]);
		break;
	default:
		atomic_inc(&callback->unexpected);
	}
	if (READ_ONCE(callback->gone))
		atomic_inc(&callback->unexpected);
	if (callback->plan.spin_us)
		udelay(callback->plan.spin_us);
	if (atomic_dec_if_positive(&callback->times) >= 0) {
		for (i = 0; i < callback->plan.nr_calls; i++) {
			struct test_nested *nested = &callback->plan.calls[i];
			int ret = call_simple(callback->test, nested->func, nested->line,
					      nested->arg, &nested->access);

			WRITE_ONCE(nested->ret, ret);
		}
	}
	atomic_dec(&callback->inside);
}

/* Returns an assigned callback, or one of those that cannot be called. */
static struct doorbell_callback *find_callback(struct test *test, u32 nr)
{
	if (nr == TEST_NULL)
		return NULL;
	return nr < TEST_CALLBACKS ? &test->callbacks[nr].base : &test->empty;
}

static int assign(struct test *test, const struct test_call *call)
{
	struct doorbell_callback *base = find_callback(test, call->callback);
	bool trigger = call->func == TEST_ASSIGN_TRIGGER;
	struct test_callback *callback = NULL;
	bool was_gone = false;
	int ret;

	if (call->callback < TEST_CALLBACKS) {
		callback = &test->callbacks[call->callback];
		was_gone = xchg(&callback->gone, false);
	}
	if (trigger)
		ret = doorbell_assign_trigger(test->ctx, call->line, base);
	else
		ret = doorbell_assign_notifier(test->ctx, call->line, call->arg, base);
	if (!callback)
		return ret;
	if (ret) {
		WRITE_ONCE(callback->gone, was_gone);
	} else {
		callback->deassign = trigger ? TEST_DEASSIGN_TRIGGER : TEST_DEASSIGN_NOTIFIER;
		callback->line = call->line;
	}
	return ret;
}

static int deassign(struct test *test, struct test_call *call)
{
	struct doorbell_callback *base = find_callback(test, call->callback);
	struct test_callback *callback;
	int ret;

	if (call->func == TEST_DEASSIGN_TRIGGER)
		ret = doorbell_deassign_trigger(test->ctx, call->line, base);
	else
		ret = doorbell_deassign_notifier(test->ctx, call->line, base);
	if (!ret) {
		callback = container_of(base, struct test_callback, base);
		WRITE_ONCE(callback->gone, true);
		/* A call that begins from here on finds it gone. */
		smp_mb();
		call->late = atomic_read(&callback->inside);
		callback->deassign = 0;
	}
	return ret;
}

static int got(struct test *test, struct doorbell_ctx *ctx)
{
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	test->ctx = ctx;
	test->refs++;
	return 1;
}

static int call_get(struct test *test, const struct test_call *call)
{
	struct doorbell_ctx *ctx;
	struct file *file;

	if (test->ctx)
		return -EEXIST;
	if (call->func == TEST_CTX_FDGET)
		return got(test, doorbell_ctx_fdget(call->arg));
	file = fget(call->arg);
	if (!file)
		return -EBADF;
	ctx = doorbell_ctx_fileget(file);
	fput(file);
	return got(test, ctx);
}

static void put(struct test *test)
{
	struct doorbell_ctx *ctx = test->ctx;

	if (!--test->refs)
		test->ctx = NULL;
	doorbell_ctx_put(ctx);
}

static int do_call(struct test *test, struct test_call *call)
{
	switch (call->func) {
	case TEST_CTX_FDGET:
	case TEST_CTX_FILEGET:
		return call_get(test, call);
	case TEST_CTX_PUT_NULL:
		doorbell_ctx_put(NULL);
		return 0;
	case TEST_CTX_PUT_ERR:
		doorbell_ctx_put(ERR_PTR(-EBADF));
		return 0;
	}
	if (!test->ctx)
		return -ENODEV;
	switch (call->func) {
	case TEST_CTX_GET:
		if (doorbell_ctx_get(test->ctx) != test->ctx)
			return -EPROTO;
		test->refs++;
		return 1;
	case TEST_CTX_PUT:
		put(test);
		return 0;
	case TEST_ASSIGN_TRIGGER:
	case TEST_ASSIGN_NOTIFIER:
		return assign(test, call);
	case TEST_DEASSIGN_TRIGGER:
	case TEST_DEASSIGN_NOTIFIER:
		return deassign(test, call);
	default:
		return call_simple(test, call->func, call->line, call->arg, &call->access);
	}
}

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
	return as_asked ? do_call(errand->test, errand->call) : -EPROTO;
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

	if (!errand)
		return false;
	__set_current_state(TASK_RUNNING);
	errand->call->ret = checked_call(errand, current->flags & PF_USER_WORKER);
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
	case TEST_UNMASK:
	case TEST_ACK:
		/* Eventfds may be signalled in these. */
		return call->from != TEST_FROM_WAKE && !IS_ENABLED(CONFIG_PREEMPT_RT);
	default:
		return false;
	}
}

static int call_from(struct test *test, struct test_call *call)
{
	struct errand errand = { .test = test, .call = call };
	unsigned long flags;
	int ret;

	if (call->from == TEST_FROM_PROCESS)
		return do_call(test, call);
	if (!may_be_called(call))
		return -EINVAL;
	switch (call->from) {
	case TEST_FROM_IRQS_OFF:
		local_irq_save(flags);
		ret = do_call(test, call);
		local_irq_restore(flags);
		return ret;
	case TEST_FROM_SOFTIRQ:
	case TEST_FROM_HARDIRQ:
		return call_from_timer(&errand);
	case TEST_FROM_WAKE:
		return call_from_wake(&errand);
	case TEST_FROM_WORKER:
		return call_from_worker(&errand);
	default:
		return -EINVAL;
	}
}

static long ioctl_call(struct test *test, void __user *arg)
{
	struct test_call call;

	if (copy_from_user(&call, arg, sizeof(call)))
		return -EFAULT;
	call.late = 0;
	call.ret = call_from(test, &call);
	return copy_to_user(arg, &call, sizeof(call)) ? -EFAULT : 0;
}

static long ioctl_plan(struct test *test, const void __user *arg)
{
	struct test_callback *callback;
	struct test_plan plan;
	int i;

	if (copy_from_user(&plan, arg, sizeof(plan)))
		return -EFAULT;
	if (plan.callback >= TEST_CALLBACKS || plan.nr_calls > TEST_NESTED)
		return -EINVAL;
	callback = &test->callbacks[plan.callback];
	if (callback->deassign)
		return -EBUSY;
	callback->plan = plan;
	atomic_set(&callback->times, plan.times);
	atomic_set(&callback->calls, 0);
	for (i = 0; i < ARRAY_SIZE(callback->by_event); i++)
		atomic_set(&callback->by_event[i], 0);
	atomic_set(&callback->unexpected, 0);
	atomic_set(&callback->concurrent, 0);
	atomic_set(&callback->contexts, 0);
	atomic_set(&callback->by_planner, 0);
	WRITE_ONCE(callback->planner, current);
	return 0;
}

static long ioctl_seen(struct test *test, void __user *arg)
{
	struct test_callback *callback;
	struct test_seen seen;
	int i;

	if (copy_from_user(&seen, arg, sizeof(seen)))
		return -EFAULT;
	if (seen.callback >= TEST_CALLBACKS)
		return -EINVAL;
	callback = &test->callbacks[seen.callback];
	seen.calls = atomic_read(&callback->calls);
	for (i = 0; i < ARRAY_SIZE(callback->by_event); i++)
		seen.by_event[i] = atomic_read(&callback->by_event[i]);
	seen.unexpected = atomic_read(&callback->unexpected);
	seen.concurrent = atomic_read(&callback->concurrent);
	seen.contexts = atomic_read(&callback->contexts);
	seen.by_planner = atomic_read(&callback->by_planner);
	memcpy(seen.calls_made, callback->plan.calls, sizeof(seen.calls_made));
	return copy_to_user(arg, &seen, sizeof(seen)) ? -EFAULT : 0;
}

static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct test *test = file->private_data;

	switch (cmd) {
	case TEST_CALL:
		return ioctl_call(test, (void __user *)arg);
	case TEST_PLAN:
		return ioctl_plan(test, (void __user *)arg);
	case TEST_SEEN:
		return ioctl_seen(test, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

static int test_open(struct inode *inode, struct file *file)
{
	struct test *test = kvzalloc(sizeof(*test), GFP_KERNEL);
	int i;

	if (!test)
		return -ENOMEM;
	for (i = 0; i < TEST_CALLBACKS; i++) {
		test->callbacks[i].base.func = called;
		test->callbacks[i].test = test;
	}
	mutex_init(&test->worker_lock);
	file->private_data = test;
	return 0;
}

static int test_release(struct inode *inode, struct file *file)
{
	struct test *test = file->private_data;
	u32 i;

	for (i = 0; i < TEST_CALLBACKS; i++) {
		struct test_call call = {
			.func = test->callbacks[i].deassign, .callback = i,
			.line = test->callbacks[i].line,
		};

		if (call.func)
			deassign(test, &call);
	}
	while (test->refs)
		put(test);
	if (test->worker)
		vhost_task_stop(test->worker);
	kvfree(test);
	return 0;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.unlocked_ioctl = test_ioctl,
};

static struct miscdevice test_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "doorbell_test",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_device);

MODULE_DESCRIPTION("Calls doorbell's in-kernel API for the selftests");
MODULE_LICENSE("GPL");
