// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/doorbell-ring_c: rings a line from hard interrupt context, as an interrupt
 * handler does. The source of the interrupts is a timer.
 */
#include <linux/cleanup.h>
#include <linux/doorbell.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ring.h"

struct ring {
	struct mutex lock;		/* serialises attach and detach */
	struct doorbell_ctx *ctx;	/* NULL: not attached */
	u32 line;
	ktime_t period;
	struct hrtimer timer;
	struct ring_counts counts;	/* written by the timer only, while attached */
};

/* Runs in hard interrupt context, on PREEMPT_RT as well: see HRTIMER_MODE_REL_HARD. */
static enum hrtimer_restart ring_timer(struct hrtimer *timer)
{
	struct ring *ring = container_of(timer, struct ring, timer);
	int result = doorbell_ring(ring->ctx, ring->line);

	/* Cannot fail: ring_attach() has checked the line, and a context never loses lines. */
	if (!WARN_ON_ONCE(result < 0))
		ring->counts.rings[result]++;
	hrtimer_forward_now(timer, ring->period);
	return HRTIMER_RESTART;
}

static int ring_attach(struct ring *ring, const struct ring_attach __user *arg)
{
	struct ring_attach attach;
	struct doorbell_ctx *ctx;
	int state;

	if (copy_from_user(&attach, arg, sizeof(attach)))
		return -EFAULT;
	if (attach.period_ns < RING_MIN_PERIOD_NS || attach.period_ns > RING_MAX_PERIOD_NS)
		return -EINVAL;

	guard(mutex)(&ring->lock);
	if (ring->ctx)
		return -EEXIST;
	ctx = doorbell_ctx_fdget(attach.fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	/* The timer callback could not report that there is no such line. */
	state = doorbell_state(ctx, attach.line);
	if (state < 0) {
		doorbell_ctx_put(ctx);
		return state;
	}

	ring->ctx = ctx;
	ring->line = attach.line;
	ring->period = ns_to_ktime(attach.period_ns);
	memset(&ring->counts, 0, sizeof(ring->counts));
	hrtimer_start(&ring->timer, ring->period, HRTIMER_MODE_REL_HARD);
	return 0;
}

static int ring_detach(struct ring *ring, struct ring_counts *counts)
{
	guard(mutex)(&ring->lock);
	if (!ring->ctx)
		return -ENOENT;
	/* Waits for the callback, which is the last user of the context. */
	hrtimer_cancel(&ring->timer);
	doorbell_ctx_put(ring->ctx);
	ring->ctx = NULL;
	*counts = ring->counts;
	return 0;
}

static long ring_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct ring *ring = file->private_data;
	struct ring_counts counts;
	int ret;

	switch (cmd) {
	case RING_ATTACH:
		return ring_attach(ring, (const struct ring_attach __user *)arg);
	case RING_DETACH:
		ret = ring_detach(ring, &counts);
		if (!ret && copy_to_user((void __user *)arg, &counts, sizeof(counts)))
			ret = -EFAULT;
		return ret;
	default:
		return -ENOTTY;
	}
}

static int ring_open(struct inode *inode, struct file *file)
{
	struct ring *ring = kzalloc_obj(*ring);

	if (!ring)
		return -ENOMEM;
	mutex_init(&ring->lock);
	hrtimer_setup(&ring->timer, ring_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	file->private_data = ring;
	return 0;
}

static int ring_release(struct inode *inode, struct file *file)
{
	struct ring *ring = file->private_data;
	struct ring_counts counts;

	ring_detach(ring, &counts);
	mutex_destroy(&ring->lock);
	kfree(ring);
	return 0;
}

static const struct file_operations ring_fops = {
	.owner = THIS_MODULE,
	.open = ring_open,
	.release = ring_release,
	.unlocked_ioctl = ring_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice ring_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "doorbell-ring_c",
	.fops = &ring_fops,
};
module_misc_device(ring_device);

MODULE_DESCRIPTION("doorbell sample: rings a line from hard interrupt context");
MODULE_AUTHOR("The doorbell authors");
MODULE_LICENSE("GPL");
