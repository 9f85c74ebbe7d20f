// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/doorbell-vbus: a producer and a consumer of messages in the kernel, with a
 * process at the other end. Userspace says by which lines the two notify each other.
 * Who or what else is wired to these lines this module neither knows nor cares.
 *
 * The producer fills its ring whenever there is room, the consumer checks what it gets.
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
	struct mutex lock;		/* attach once */
	struct doorbell_ctx *ctx;	/* NULL: not attached */
	u32 call;
	u32 kick;
	struct doorbell_callback kicked;
	struct work_struct work;
	struct vbus_area *area;
	struct vbus_end out;		/* these two are the work's */
	struct vbus_end in;
};

/* Called in any context, an interrupt for example, and with preemption off: hands over. */
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
 * Never runs twice at a time, so it has the two ends for itself. If it is kicked while it
 * runs, it runs again. If there is more to do already, it queues itself rather than
 * going on, so that a process which is as fast as this does not keep a worker busy for ever.
 */
static void vbus_work(struct work_struct *work)
{
	struct vbus *vbus = container_of(work, struct vbus, work);
	bool sleep;

	vbus_run(&vbus->in);
	vbus_run(&vbus->out);
	sleep = vbus_sleep(&vbus->in, 1);
	/* Room for some more messages, not for one: fewer notifications. */
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
	/* Later there is nobody to tell that there is no such line. */
	ret = doorbell_state(ctx, attach.call);
	if (ret < 0)
		goto put;

	/* All is in place before the first kick can come. */
	vbus->ctx = ctx;
	vbus->call = attach.call;
	vbus->kick = attach.kick;
	vbus->out.every = attach.flags & VBUS_EVERY;
	vbus->in.every = attach.flags & VBUS_EVERY;
	ret = doorbell_assign_trigger(ctx, attach.kick, &vbus->kicked);
	if (ret)
		goto reset;
	/* And what was put before: nobody kicked for that. */
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

/* The mapping keeps the file, as all mappings do: the area goes after it. */
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
	/* Whole pages, and all of them zero: userspace gets to see them. */
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

	/* Against the stream: nobody kicks, then nobody works, then nobody calls. */
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
