// SPDX-License-Identifier: GPL-2.0
/*
 * Irqfds: listeners on eventfds, as in virt/kvm/eventfd.c.
 */
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "twin.h"

struct twin_irqfd {
	struct wait_queue_entry wait;
	struct eventfd_ctx *eventfd;
	struct wait_queue_head *queue;
	struct twin_line *line;
	struct rb_node node;
	struct llist_node hung_up;
};

/*
 * Lets threads write that wait until the counter is lower. The flag keeps their callbacks
 * from signalling eventfds, as in fs/eventfd.c.
 */
static void wake_writers(struct wait_queue_head *queue)
{
	unsigned int before = current->in_eventfd;

	current->in_eventfd = 1;
	wake_up_locked_poll(queue, EPOLLOUT);
	current->in_eventfd = before;
}

/* Called for each signal, with the lock of the eventfd's wait queue held. */
static int wake_irqfd(struct wait_queue_entry *wait, unsigned int mode, int sync, void *key)
{
	struct twin_irqfd *irqfd = container_of(wait, struct twin_irqfd, wait);
	struct twin_context *context = irqfd->line->context;
	__poll_t flags = key_to_poll(key);
	u64 count;
	int ret = 0;

	if (flags & EPOLLIN) {
		eventfd_ctx_do_read(irqfd->eventfd, &count);
		if (count) {
			ring_from_wake(irqfd->line, flags);
			if (unlikely(!list_is_last(&wait->entry, &irqfd->queue->head)))
				wake_writers(irqfd->queue);
			ret = 1;
		}
	}
	if (unlikely(flags & EPOLLHUP)) {
		list_del_init(&wait->entry);
		llist_add(&irqfd->hung_up, &context->hung_up);
		queue_work(system_dfl_wq, &context->work);
	}
	return ret;
}

/* Listens, and consumes the counter, in one hold of the lock. */
static int attach(struct twin_irqfd *irqfd, u64 *count)
{
	struct list_head *head = &irqfd->queue->head;

	guard(spinlock_irq)(&irqfd->queue->lock);
	/* As add_wait_queue_priority_exclusive() does. */
	if (!list_empty(head) &&
	    list_first_entry(head, typeof(irqfd->wait), entry)->flags & WQ_FLAG_PRIORITY)
		return -EBUSY;
	irqfd->wait.flags |= WQ_FLAG_EXCLUSIVE | WQ_FLAG_PRIORITY;
	list_add(&irqfd->wait.entry, head);
	eventfd_ctx_do_read(irqfd->eventfd, count);
	/* The lock is held, so no waiter can be adding itself. */
	if (*count && waitqueue_active(irqfd->queue))
		wake_writers(irqfd->queue);
	return 0;
}

struct queue_of_file {
	poll_table table;
	struct wait_queue_head *queue;
};

static void find_queue(struct file *file, struct wait_queue_head *queue, poll_table *table)
{
	container_of(table, struct queue_of_file, table)->queue = queue;
}

static struct twin_irqfd *new_irqfd(struct file *file, struct twin_line *line)
{
	struct twin_irqfd *irqfd = kzalloc_obj(*irqfd, GFP_KERNEL_ACCOUNT);
	struct queue_of_file found = {};

	if (!irqfd)
		return ERR_PTR(-ENOMEM);
	init_poll_funcptr(&found.table, find_queue);
	vfs_poll(file, &found.table);
	irqfd->eventfd = eventfd_ctx_fileget(file);
	irqfd->queue = found.queue;
	irqfd->line = line;
	init_waitqueue_func_entry(&irqfd->wait, wake_irqfd);
	INIT_LIST_HEAD(&irqfd->wait.entry);
	return irqfd;
}

static void free_irqfd(struct twin_irqfd *irqfd)
{
	eventfd_ctx_put(irqfd->eventfd);
	kfree(irqfd);
}

static int compare_key(const void *key, const struct rb_node *node)
{
	const struct eventfd_ctx *a = key, *b = rb_entry(node, struct twin_irqfd, node)->eventfd;

	return a < b ? -1 : a > b;
}

static int compare(struct rb_node *node, const struct rb_node *other)
{
	return compare_key(rb_entry(node, struct twin_irqfd, node)->eventfd, other);
}

/* Removes the irqfd from the context. The mutex is held. */
static void remove(struct twin_context *context, struct twin_irqfd *irqfd)
{
	rb_erase(&irqfd->node, &context->irqfds);
	context->nr_irqfds--;
	irqfd->line->nr_irqfds--;
}

static long assign(struct twin_context *context, struct twin_line *line, struct file *file)
{
	struct twin_irqfd *irqfd = new_irqfd(file, line);
	struct rb_node *other;
	u64 count;
	long ret;

	if (IS_ERR(irqfd))
		return PTR_ERR(irqfd);
	mutex_lock(&context->mutex);
	ret = -ENOSPC;
	if (context->nr_irqfds >= DOORBELL_MAX_IRQFDS)
		goto fail;
	other = rb_find_add(&irqfd->node, &context->irqfds, compare);
	ret = -EEXIST;
	if (other) {
		if (rb_entry(other, struct twin_irqfd, node)->line != line)
			ret = -EBUSY;
		goto fail;
	}
	ret = attach(irqfd, &count);
	if (ret) {
		rb_erase(&irqfd->node, &context->irqfds);
		goto fail;
	}
	context->nr_irqfds++;
	line->nr_irqfds++;
	mutex_unlock(&context->mutex);
	if (count)
		ring_line(line);
	return 0;
fail:
	mutex_unlock(&context->mutex);
	free_irqfd(irqfd);
	return ret;
}

static long deassign(struct twin_context *context, struct twin_line *line, struct file *file)
{
	struct eventfd_ctx *eventfd = eventfd_ctx_fileget(file);
	struct twin_irqfd *irqfd = NULL;
	struct rb_node *node;
	u64 count;

	mutex_lock(&context->mutex);
	node = rb_find(eventfd, &context->irqfds, compare_key);
	if (node)
		irqfd = rb_entry(node, struct twin_irqfd, node);
	if (!irqfd || irqfd->line != line) {
		mutex_unlock(&context->mutex);
		eventfd_ctx_put(eventfd);
		return -ENOENT;
	}
	/* @file keeps the last file of the eventfd from closing. */
	eventfd_ctx_remove_wait_queue(eventfd, &irqfd->wait, &count);
	remove(context, irqfd);
	mutex_unlock(&context->mutex);
	free_irqfd(irqfd);
	eventfd_ctx_put(eventfd);
	/* EFD_SEMAPHORE leaves a count. */
	if (count)
		ring_line(line);
	return 0;
}

/* Handles DOORBELL_IRQFD. */
long change_irqfd(struct twin_context *context, const void __user *arg)
{
	struct doorbell_irqfd irqfd;
	struct twin_line *line;
	struct file *file;
	long ret;

	if (copy_from_user(&irqfd, arg, sizeof(irqfd)))
		return -EFAULT;
	if (irqfd.flags & DOORBELL_IRQFD_FLAG_RESAMPLE)
		return -EOPNOTSUPP;
	if (irqfd.flags & ~DOORBELL_IRQFD_FLAG_DEASSIGN || irqfd.resamplefd ||
	    reserved_used(irqfd.reserved, sizeof(irqfd.reserved)))
		return -EINVAL;
	line = find_line(context, irqfd.line);
	if (!line)
		return -ENXIO;
	file = eventfd_fget(irqfd.fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	if (irqfd.flags & DOORBELL_IRQFD_FLAG_DEASSIGN)
		ret = deassign(context, line, file);
	else
		ret = assign(context, line, file);
	fput(file);
	return ret;
}

/* Frees the irqfds whose eventfd has lost its last file. */
void reap_irqfds(struct twin_context *context)
{
	struct llist_node *list = llist_del_all(&context->hung_up);
	struct twin_irqfd *irqfd, *next;

	llist_for_each_entry_safe(irqfd, next, list, hung_up) {
		scoped_guard(mutex, &context->mutex)
			remove(context, irqfd);
		free_irqfd(irqfd);
	}
}

/* Stops listening. The counters stay as they are. */
void detach_irqfds(struct twin_context *context)
{
	struct rb_node *node;

	guard(mutex)(&context->mutex);
	for (node = rb_first(&context->irqfds); node; node = rb_next(node)) {
		struct twin_irqfd *irqfd = rb_entry(node, struct twin_irqfd, node);

		/* The entry is on the queue, or its list is empty. */
		remove_wait_queue(irqfd->queue, &irqfd->wait);
	}
}

/* Frees the irqfds after detach_irqfds(), when @context->work does not run any more. */
void free_irqfds(struct twin_context *context)
{
	struct twin_irqfd *irqfd, *next;

	rbtree_postorder_for_each_entry_safe(irqfd, next, &context->irqfds, node)
		free_irqfd(irqfd);
}
