// SPDX-License-Identifier: GPL-2.0
/*
 * The file operations.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "twin.h"

static_assert(sizeof(struct twin_status) == sizeof(struct doorbell_line_status));
static_assert(offsetof(struct twin_status, word) == offsetof(struct doorbell_line_status, state));
static_assert(offsetof(struct twin_status, acks) == offsetof(struct doorbell_line_status, acks));

static long get_info(struct twin_context *context, struct doorbell_get_info __user *arg)
{
	struct doorbell_get_info info = {
		.abi_version = DOORBELL_ABI_VERSION,
		.nr_lines = nr_lines_of(context),
		.max_lines = DOORBELL_MAX_LINES,
		.max_triggers_per_line = DOORBELL_MAX_TRIGGERS_PER_LINE,
		.max_irqfds = DOORBELL_MAX_IRQFDS,
		.status_size = sizeof(struct twin_status),
		.max_regions = DOORBELL_MAX_REGIONS,
	};

	scoped_guard(mutex, &context->mutex) {
		info.nr_irqfds = context->nr_irqfds;
		info.nr_triggers = context->nr_triggers;
		info.nr_regions = count_regions(context);
	}
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long set_lines(struct twin_context *context, const void __user *arg)
{
	struct doorbell_set_lines set;
	struct twin_status *status;
	struct twin_line *lines;
	u32 i;

	if (copy_from_user(&set, arg, sizeof(set)))
		return -EFAULT;
	if (set.flags & ~DOORBELL_SET_LINES_FLAG_MASKED || !set.nr_lines ||
	    set.nr_lines > DOORBELL_MAX_LINES || reserved_used(set.reserved, sizeof(set.reserved)))
		return -EINVAL;
	guard(mutex)(&context->mutex);
	if (context->nr_lines)
		return -EEXIST;
	lines = kvcalloc(set.nr_lines, sizeof(*lines), GFP_KERNEL_ACCOUNT);
	status = __vmalloc(PAGE_ALIGN(set.nr_lines * sizeof(*status)),
			   GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!lines || !status) {
		kvfree(lines);
		vfree(status);
		return -ENOMEM;
	}
	for (i = 0; i < set.nr_lines; i++) {
		init_line(context, &lines[i], &status[i]);
		if (set.flags & DOORBELL_SET_LINES_FLAG_MASKED)
			atomic_set(&status[i].word, TWIN_MASKED);
	}
	context->lines = lines;
	context->status = status;
	/* Pairs with the acquire in nr_lines_of(). */
	smp_store_release(&context->nr_lines, set.nr_lines);
	return 0;
}

/* Applies @change to each line of a set. Returns the number of lines that it is true for. */
static __always_inline long for_lines(struct twin_context *context, const void __user *arg,
				      bool (*change)(struct twin_line *line))
{
	u32 nr_lines = nr_lines_of(context), i;
	struct doorbell_line_set set;
	long count = 0;

	if (copy_from_user(&set, arg, sizeof(set)))
		return -EFAULT;
	if (set.lines || set.result)
		return -EOPNOTSUPP;
	if (set.flags || !set.nr_lines || reserved_used(set.reserved, sizeof(set.reserved)))
		return -EINVAL;
	if (set.line >= nr_lines || set.nr_lines > nr_lines - set.line)
		return -ENXIO;
	for (i = 0; i < set.nr_lines; i++)
		count += change(&context->lines[set.line + i]);
	return count;
}

static bool ring_delivers(struct twin_line *line)
{
	return ring_line(line) == DOORBELL_RING_DELIVERED;
}

static long query(struct twin_context *context, void __user *arg)
{
	struct doorbell_query query;
	struct twin_line *line;

	if (copy_from_user(&query, arg, sizeof(query)))
		return -EFAULT;
	if (query.flags || query.reserved)
		return -EINVAL;
	line = find_line(context, query.line);
	if (!line)
		return -ENXIO;
	query_line(line, &query);
	scoped_guard(mutex, &context->mutex) {
		query.nr_irqfds = line->nr_irqfds;
		query.nr_triggers = line->triggers ? line->triggers->nr : 0;
	}
	query.nr_notifiers = 0;
	query.nr_resamplefds = 0;
	query.nr_unmaskfds = 0;
	query.nr_ackfds = 0;
	return copy_to_user(arg, &query, sizeof(query)) ? -EFAULT : 0;
}

static long set_type(struct twin_context *context, const void __user *arg)
{
	struct doorbell_set_type type;
	struct twin_line *line;

	if (copy_from_user(&type, arg, sizeof(type)))
		return -EFAULT;
	if (type.flags || type.type > DOORBELL_TYPE_LEVEL ||
	    reserved_used(type.reserved, sizeof(type.reserved)))
		return -EINVAL;
	line = find_line(context, type.line);
	if (!line)
		return -ENXIO;
	return set_line_type(line, type.type == DOORBELL_TYPE_LEVEL);
}

static long ack(struct twin_context *context, unsigned long nr)
{
	struct twin_line *line = find_line(context, nr);

	return line ? ack_line(line) : -ENXIO;
}

/* All ioctls but DOORBELL_RING, whose path stays short. */
static noinline long ioctl_slow(struct twin_context *context, unsigned int cmd, unsigned long nr)
{
	void __user *arg = (void __user *)nr;

	switch (cmd) {
	case DOORBELL_GET_INFO:
		return get_info(context, arg);
	case DOORBELL_SET_LINES:
		return set_lines(context, arg);
	case DOORBELL_IRQFD:
		return change_irqfd(context, arg);
	case DOORBELL_TRIGGER:
		return change_trigger(context, arg);
	case DOORBELL_QUERY:
		return query(context, arg);
	case DOORBELL_MASK:
		return for_lines(context, arg, mask_line);
	case DOORBELL_UNMASK:
		return for_lines(context, arg, unmask_line);
	case DOORBELL_CLEAR:
		return for_lines(context, arg, clear_line);
	case DOORBELL_PENDING:
		return for_lines(context, arg, line_is_pending);
	case DOORBELL_RING_LINES:
		return for_lines(context, arg, ring_delivers);
	case DOORBELL_SET_TYPE:
		return set_type(context, arg);
	case DOORBELL_ACK:
		return ack(context, nr);
	case DOORBELL_REGION:
		return change_region(context, arg);
	case DOORBELL_BUS_WRITE:
		return bus_write(context, arg);
	default:
		return -ENOTTY;
	}
}

static long twin_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct twin_context *context = file->private_data;
	struct twin_line *line;

	if (cmd != DOORBELL_RING)
		return ioctl_slow(context, cmd, arg);
	line = find_line(context, arg);
	return likely(line) ? ring_line(line) : -ENXIO;
}

static vm_fault_t fault_status(struct vm_fault *vmf)
{
	struct twin_context *context = vmf->vma->vm_file->private_data;

	vmf->page = vmalloc_to_page((void *)context->status + (vmf->pgoff << PAGE_SHIFT));
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct status_ops = {
	.fault = fault_status,
};

/* Maps the status pages. The mapping keeps the file open. */
static int twin_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct twin_context *context = file->private_data;
	u32 nr_lines = nr_lines_of(context);

	if (!nr_lines)
		return -ENXIO;
	if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff ||
	    vma_pages(vma) > PFN_UP(nr_lines * sizeof(*context->status)))
		return -EINVAL;
	if (vma->vm_flags & (VM_WRITE | VM_EXEC))
		return -EACCES;
	vm_flags_mod(vma, VM_DONTEXPAND, VM_MAYWRITE | VM_MAYEXEC);
	vma->vm_ops = &status_ops;
	return 0;
}

/* Does what interrupts have left: hung-up irqfds, and deliveries beyond their budget. */
static void work(struct work_struct *work)
{
	struct twin_context *context = container_of(work, struct twin_context, work);

	deliver_deferred(context);
	reap_irqfds(context);
}

static int twin_open(struct inode *inode, struct file *file)
{
	struct twin_context *context = kzalloc_obj(*context, GFP_KERNEL_ACCOUNT);
	int ret;

	if (!context)
		return -ENOMEM;
	ret = init_srcu_struct_fast(&context->srcu);
	if (ret) {
		kfree(context);
		return ret;
	}
	mutex_init(&context->mutex);
	context->irqfds = RB_ROOT;
	init_llist_head(&context->hung_up);
	init_llist_head(&context->deferred);
	INIT_WORK(&context->work, work);
	file->private_data = context;
	return 0;
}

static int twin_release(struct inode *inode, struct file *file)
{
	struct twin_context *context = file->private_data;
	u32 i;

	/*
	 * After this nothing rings. The interrupts deliver what was rung, or leave it to the
	 * work, which queues no interrupt if nothing rings.
	 */
	detach_irqfds(context);
	for (i = 0; i < context->nr_lines; i++)
		irq_work_sync(&context->lines[i].relay);
	flush_work(&context->work);
	free_irqfds(context);
	for (i = 0; i < context->nr_lines; i++)
		free_line(&context->lines[i]);
	free_regions(context);
	cleanup_srcu_struct(&context->srcu);
	kvfree(context->lines);
	vfree(context->status);
	kfree(context);
	return 0;
}

static const struct file_operations twin_fops = {
	.owner = THIS_MODULE,
	.open = twin_open,
	.release = twin_release,
	.write = twin_write,
	.write_iter = twin_write_iter,
	.unlocked_ioctl = twin_ioctl,
	.mmap = twin_mmap,
};

static struct miscdevice twin_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "doorbell-twin",
	.fops = &twin_fops,
	.mode = 0600,
};

static int __init twin_init(void)
{
	/* There spinlocks sleep, so an owner that cannot be preempted may not signal. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return -EOPNOTSUPP;
	return misc_register(&twin_device);
}
module_init(twin_init);

static void __exit twin_exit(void)
{
	misc_deregister(&twin_device);
}
module_exit(twin_exit);

MODULE_DESCRIPTION("A twin of doorbell's measured paths in C");
MODULE_LICENSE("GPL");
