// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device with a level-triggered interrupt, in a kernel module. As VFIO does with INTx,
 * it signals an eventfd when it needs service, and then masks itself until another eventfd
 * (the resamplefd) is signalled. If it still needs service then, it signals again.
 *
 * The module does not listen on the resamplefd itself. Userspace makes it the irqfd of a
 * line, and the module is a trigger of that line.
 */
#include <linux/cleanup.h>
#include <linux/doorbell.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "level_device.h"

struct level_device {
	struct mutex mutex;		/* serialises ioctls */
	struct doorbell_ctx *ctx;	/* NULL until LEVEL_DEVICE_WIRE */
	u32 resample_line;
	struct doorbell_callback resample;
	struct eventfd_ctx *irq;
	struct hrtimer timer;

	spinlock_t lock;		/* protects all below */
	u32 waiting;			/* events not served yet */
	bool masked;			/* has signalled and was not resampled since */
	u32 to_come;			/* events still to generate */
	u32 period_us;
};

static void level_device_signal(struct level_device *dev)
{
	scoped_guard(spinlock_irqsave, &dev->lock) {
		if (!dev->waiting || dev->masked)
			return;
		dev->masked = true;
	}
	/* Without the lock: a listener may call level_device_resample(). */
	eventfd_signal(dev->irq);
}

/* Called for each delivery of the line, in hard interrupt context or in that of the ring. */
static void level_device_resample(struct doorbell_callback *callback, u32 event)
{
	struct level_device *dev = container_of(callback, struct level_device, resample);

	scoped_guard(spinlock_irqsave, &dev->lock)
		dev->masked = false;
	level_device_signal(dev);
}

static enum hrtimer_restart level_device_event(struct hrtimer *timer)
{
	struct level_device *dev = container_of(timer, struct level_device, timer);
	bool last;

	scoped_guard(spinlock_irqsave, &dev->lock) {
		dev->waiting++;
		last = !--dev->to_come;
		if (!last)
			hrtimer_forward_now(timer, us_to_ktime(dev->period_us));
	}
	level_device_signal(dev);
	return last ? HRTIMER_NORESTART : HRTIMER_RESTART;
}

static int level_device_wire(struct level_device *dev, const struct level_device_wiring *wiring)
{
	struct doorbell_ctx *ctx;
	int ret;

	if (dev->ctx)
		return -EEXIST;
	ctx = doorbell_ctx_fdget(wiring->ctx);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	dev->irq = eventfd_ctx_fdget(wiring->irq);
	if (IS_ERR(dev->irq)) {
		ret = PTR_ERR(dev->irq);
		goto put_ctx;
	}
	/* The callback may be called before this returns. */
	ret = doorbell_assign_trigger(ctx, wiring->resample_line, &dev->resample);
	if (ret)
		goto put_irq;
	dev->resample_line = wiring->resample_line;
	dev->ctx = ctx;
	return 0;

put_irq:
	eventfd_ctx_put(dev->irq);
put_ctx:
	doorbell_ctx_put(ctx);
	return ret;
}

static int level_device_start(struct level_device *dev, const struct level_device_events *events)
{
	if (!events->count || !events->period_us)
		return -EINVAL;
	scoped_guard(spinlock_irqsave, &dev->lock) {
		if (dev->to_come)
			return -EBUSY;
		dev->to_come = events->count;
		dev->period_us = events->period_us;
	}
	hrtimer_start(&dev->timer, us_to_ktime(events->period_us), HRTIMER_MODE_REL);
	return 0;
}

static int level_device_serve(struct level_device *dev)
{
	u32 events;

	scoped_guard(spinlock_irqsave, &dev->lock) {
		events = dev->waiting;
		dev->waiting = 0;
	}
	return min_t(u32, events, INT_MAX);
}

static long level_device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct level_device *dev = file->private_data;
	struct level_device_wiring wiring;
	struct level_device_events events;

	guard(mutex)(&dev->mutex);
	if (cmd != LEVEL_DEVICE_WIRE && !dev->ctx)
		return -ENOTCONN;
	switch (cmd) {
	case LEVEL_DEVICE_WIRE:
		if (copy_from_user(&wiring, (void __user *)arg, sizeof(wiring)))
			return -EFAULT;
		return level_device_wire(dev, &wiring);
	case LEVEL_DEVICE_START:
		if (copy_from_user(&events, (void __user *)arg, sizeof(events)))
			return -EFAULT;
		return level_device_start(dev, &events);
	case LEVEL_DEVICE_SERVE:
		return level_device_serve(dev);
	default:
		return -ENOTTY;
	}
}

static int level_device_open(struct inode *inode, struct file *file)
{
	struct level_device *dev = kzalloc_obj(*dev);

	if (!dev)
		return -ENOMEM;
	mutex_init(&dev->mutex);
	spin_lock_init(&dev->lock);
	hrtimer_setup(&dev->timer, level_device_event, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	dev->resample.func = level_device_resample;
	file->private_data = dev;
	return 0;
}

static int level_device_release(struct inode *inode, struct file *file)
{
	struct level_device *dev = file->private_data;

	/* Both sources of signals must have ended before @irq is put. */
	hrtimer_cancel(&dev->timer);
	if (dev->ctx) {
		doorbell_deassign_trigger(dev->ctx, dev->resample_line, &dev->resample);
		doorbell_ctx_put(dev->ctx);
		eventfd_ctx_put(dev->irq);
	}
	kfree(dev);
	return 0;
}

static const struct file_operations level_device_fops = {
	.owner = THIS_MODULE,
	.open = level_device_open,
	.release = level_device_release,
	.unlocked_ioctl = level_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice level_device_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "doorbell-level_device",
	.fops = &level_device_fops,
	.mode = 0600,
};
module_misc_device(level_device_misc);

MODULE_DESCRIPTION("doorbell sample: a device with a level-triggered interrupt");
MODULE_AUTHOR("The doorbell authors");
MODULE_LICENSE("GPL");
