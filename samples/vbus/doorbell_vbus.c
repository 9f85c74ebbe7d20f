// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/doorbell-vbus: a producer and a consumer of messages in the kernel, with a
 * process at the other end. Userspace chooses the lines by which the two notify each
 * other; other eventfds may be assigned to the same lines.
 *
 * The producer fills its ring whenever there is room, the consumer checks each message.
 */
#include <linux/cleanup.h>
#include <linux/doorbell.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "vbus.h"

struct vbus {
	struct mutex lock;		/* serialises VBUS_ATTACH */
	struct doorbell_ctx *ctx;	/* NULL: not attached */
	u32 call;
	u32 kick;
	struct doorbell_callback kicked;
	struct work_struct work;
	struct vbus_area *area;
	struct vbus_end out;		/* used by the work only, as is the next */
	struct vbus_end in;
};

/* Called in any context, even in an interrupt, with preemption off: defers to the work. */
static void vbus_kicked(struct doorbell_callback *callback, u32 event)
{
	struct vbus *vbus = container_of(callback, struct vbus, kicked);

	queue_work(system_dfl_wq, &vbus->work);
}

static void vbus_call_out(struct vbus_end *end)
{
	struct vbus *vbus = container_of(end, struct vbus, out);

	doorbell_ring(vbus->ctx, vbus->call);
}

static void vbus_call_in(struct vbus_end *end)
{
	struct vbus *vbus = container_of(end, struct vbus, in);

	doorbell_ring(vbus->ctx, vbus->call);
}

/*
 * A work item never runs twice at a time, so this owns the two ends. If it is kicked while
 * it runs, it runs again. If there is more to do already, it queues itself instead of
 * looping: a process that is as fast must not occupy a worker for ever.
 */
static void vbus_work(struct work_struct *work)
{
	struct vbus *vbus = container_of(work, struct vbus, work);
	bool sleep;

	vbus_run(&vbus->in);
	vbus_run(&vbus->out);
	sleep = vbus_sleep(&vbus->in, 1);
	/* Waits for room for many messages, not for one: fewer notifications. */
	sleep &= vbus_sleep(&vbus->out, VBUS_SLOTS / 2);
	if (!sleep)
		queue_work(system_dfl_wq, &vbus->work);
}

static int vbus_attach(struct vbus *vbus, const struct vbus_attach __user *arg)
{
	struct vbus_attach attach;
	struct doorbell_ctx *ctx;
	int ret;

	if (copy_from_user(&attach, arg, sizeof(attach)))
		return -EFAULT;
	if (attach.flags & ~VBUS_EVERY)
		return -EINVAL;

	guard(mutex)(&vbus->lock);
	if (vbus->ctx)
		return -EEXIST;
	ctx = doorbell_ctx_fdget(attach.fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	/* The work could not report that there is no such line. */
	ret = doorbell_state(ctx, attach.call);
	if (ret < 0)
		goto put;

	/* Set up before the first kick can come. */
	vbus->ctx = ctx;
	vbus->call = attach.call;
	vbus->kick = attach.kick;
	vbus->out.every = attach.flags & VBUS_EVERY;
	vbus->in.every = attach.flags & VBUS_EVERY;
	ret = doorbell_assign_trigger(ctx, attach.kick, &vbus->kicked);
	if (ret)
		goto reset;
	/* Messages that were put before the trigger was assigned kicked nothing. */
	queue_work(system_dfl_wq, &vbus->work);
	return 0;

reset:
	vbus->ctx = NULL;
put:
	doorbell_ctx_put(ctx);
	return ret;
}

static long vbus_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VBUS_ATTACH:
		return vbus_attach(file->private_data, (const struct vbus_attach __user *)arg);
	default:
		return -ENOTTY;
	}
}

/* The mapping keeps the file open, and the file owns the area. */
static int vbus_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vbus *vbus = file->private_data;

	return remap_vmalloc_range(vma, vbus->area, vma->vm_pgoff);
}

static int vbus_open(struct inode *inode, struct file *file)
{
	struct vbus *vbus = kzalloc_obj(*vbus);

	if (!vbus)
		return -ENOMEM;
	/* Whole pages of zeroes, because userspace maps them. */
	vbus->area = vmalloc_user(sizeof(*vbus->area));
	if (!vbus->area) {
		kfree(vbus);
		return -ENOMEM;
	}
	mutex_init(&vbus->lock);
	INIT_WORK(&vbus->work, vbus_work);
	vbus->kicked.func = vbus_kicked;
	vbus->out = vbus_producer(&vbus->area->to_user);
	vbus->out.notify = vbus_call_out;
	vbus->in = vbus_consumer(&vbus->area->to_kernel);
	vbus->in.notify = vbus_call_in;
	file->private_data = vbus;
	return 0;
}

static int vbus_release(struct inode *inode, struct file *file)
{
	struct vbus *vbus = file->private_data;

	/* In this order: first no kick can queue the work, then no work can ring a line. */
	if (vbus->ctx) {
		doorbell_deassign_trigger(vbus->ctx, vbus->kick, &vbus->kicked);
		cancel_work_sync(&vbus->work);
		doorbell_ctx_put(vbus->ctx);
	}
	vfree(vbus->area);
	mutex_destroy(&vbus->lock);
	kfree(vbus);
	return 0;
}

static const struct file_operations vbus_fops = {
	.owner = THIS_MODULE,
	.open = vbus_open,
	.release = vbus_release,
	.unlocked_ioctl = vbus_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vbus_mmap,
};

static struct miscdevice vbus_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "doorbell-vbus",
	.fops = &vbus_fops,
};
module_misc_device(vbus_device);

MODULE_DESCRIPTION("doorbell sample: messages in shared memory, notified through lines");
MODULE_AUTHOR("The doorbell authors");
MODULE_LICENSE("GPL");
