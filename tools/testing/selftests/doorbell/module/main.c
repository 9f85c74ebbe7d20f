// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/doorbell_test: calls each function of the in-kernel API for tests in userspace. See
 * call.h.
 */
#include <linux/doorbell.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/lockdep.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/vhost_task.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include "test.h"

/*
 * The interrupt of a device may signal eventfds, because it is threaded on PREEMPT_RT. Lockdep
 * does not know this of the timer that stands for it.
 */
static DEFINE_WAIT_OVERRIDE_MAP(signal_map, LD_WAIT_CONFIG);

static void signal_as_a_device(struct eventfd_ctx *eventfd)
{
	const bool in_interrupt = in_hardirq();

	if (in_interrupt)
		lock_map_acquire_try(&signal_map);
	eventfd_signal(eventfd);
	if (in_interrupt)
		lock_map_release(&signal_map);
}

/* Calls a function that takes a line. */
static int call_line(struct test *test, u32 func, u32 line, u32 arg,
		     const struct test_access *access)
{
	switch (func) {
	case TEST_MASK:
		return doorbell_mask(test->ctx, line);
	case TEST_MASK_FOR:
		return doorbell_mask_for(test->ctx, line, arg);
	case TEST_CLEAR:
		return doorbell_clear(test->ctx, line);
	case TEST_MODERATE:
		return doorbell_moderate(test->ctx, line, arg, 0);
	case TEST_MASK_NOSYNC:
		return doorbell_mask_nosync(test->ctx, line);
	case TEST_UNMASK:
		return doorbell_unmask(test->ctx, line);
	case TEST_MASK_FOR_NOSYNC:
		return doorbell_mask_for_nosync(test->ctx, line, arg);
	case TEST_UNMASK_FOR:
		return doorbell_unmask_for(test->ctx, line, arg);
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
	case TEST_SIGNAL:
		if (!test->eventfd)
			return -ENODEV;
		signal_as_a_device(test->eventfd);
		return 0;
	default:
		return -ENOTTY;
	}
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

static int keep_eventfd(struct test *test, int fd)
{
	struct eventfd_ctx *eventfd;

	if (test->eventfd)
		return -EEXIST;
	eventfd = eventfd_ctx_fdget(fd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	test->eventfd = eventfd;
	return 0;
}

static void put(struct test *test)
{
	struct doorbell_ctx *ctx = test->ctx;

	if (!--test->refs)
		test->ctx = NULL;
	doorbell_ctx_put(ctx);
}

int call_here(struct test *test, struct test_call *call)
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
	case TEST_EVENTFD:
		return keep_eventfd(test, call->arg);
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
		return callback_assign(test, call);
	case TEST_DEASSIGN_TRIGGER:
	case TEST_DEASSIGN_NOTIFIER:
		return callback_deassign(test, call);
	default:
		return call_line(test, call->func, call->line, call->arg, &call->access);
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
	struct test_plan plan;

	if (copy_from_user(&plan, arg, sizeof(plan)))
		return -EFAULT;
	return callback_plan(test, &plan);
}

static long ioctl_seen(struct test *test, void __user *arg)
{
	struct test_seen seen;
	int ret;

	if (copy_from_user(&seen, arg, sizeof(seen)))
		return -EFAULT;
	ret = callback_seen(test, &seen);
	if (ret)
		return ret;
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

	if (!test)
		return -ENOMEM;
	callback_init(test);
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
			callback_deassign(test, &call);
	}
	while (test->refs)
		put(test);
	if (test->worker)
		vhost_task_stop(test->worker);
	if (test->eventfd)
		eventfd_ctx_put(test->eventfd);
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

static unsigned long raced;

static void race_here(void *unused)
{
	int i;

	for (i = 0; i < 1000000; i++) {
		raced++;
		barrier();
	}
}

static int set_race(const char *value, const struct kernel_param *param)
{
	on_each_cpu(race_here, NULL, true);
	return 0;
}

static const struct kernel_param_ops race_ops = { .set = set_race };
module_param_cb(race, &race_ops, NULL, 0);
MODULE_PARM_DESC(race, "Let the CPUs race for a variable: with CONFIG_KCSAN, a report");

MODULE_DESCRIPTION("Calls doorbell's in-kernel API for the selftests");
MODULE_LICENSE("GPL");
