// SPDX-License-Identifier: GPL-2.0
/*
 * The bus: KVM's ioeventfds without KVM, in arrays that SRCU publishes.
 */
#include <linux/fs.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "twin.h"

/* The number of accesses that bus_write() copies at once. */
#define BLOCK		16

struct twin_region {
	u64 addr;
	u64 datamatch;
	u32 length;
	bool match;
	/* Exactly one of these is set. */
	struct eventfd_ctx *eventfd;
	struct twin_line *line;
	atomic64_t writes;
};

static bool is_length(u32 length)
{
	return length == 1 || length == 2 || length == 4 || length == 8;
}

static bool fits(u64 value, u32 length)
{
	return length >= sizeof(value) || !(value >> (8 * length));
}

/* The order: by address; a region without datamatch comes first. */
static __always_inline bool sorts_before(const struct twin_slot *slot, u64 addr, bool match,
					 u64 value)
{
	if (slot->addr != addr)
		return slot->addr < addr;
	if (slot->region->match != match)
		return match;
	return match && slot->region->datamatch < value;
}

static __always_inline u32 lower_bound(const struct twin_regions *all, u64 addr, bool match,
				       u64 value)
{
	u32 from = 0, to = all->nr;

	while (from < to) {
		u32 middle = from + (to - from) / 2;

		if (sorts_before(&all->slots[middle], addr, match, value))
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static void signal_write(struct twin_region *region)
{
	atomic64_inc(&region->writes);
	if (region->eventfd)
		eventfd_signal(region->eventfd);
	else
		ring_line(region->line);
}

/* Signals the regions that a write matches. */
static long bus_access(struct twin_context *context, u32 space, u64 addr, u32 length, u64 value)
{
	struct twin_region *region;
	struct twin_regions *all;
	long ret = -EOPNOTSUPP;
	u32 at;

	if (unlikely(space >= ARRAY_SIZE(context->regions) || !is_length(length) ||
		     !fits(value, length) || addr > U64_MAX - (length - 1)))
		return -EINVAL;
	guard(srcu_fast)(&context->srcu);
	all = srcu_dereference(context->regions[space], &context->srcu);
	if (!all)
		return -EOPNOTSUPP;
	at = lower_bound(all, addr, false, 0);
	if (at == all->nr || all->slots[at].addr != addr)
		return -EOPNOTSUPP;
	region = all->slots[at].region;
	/* All regions at an address have the same length. */
	if (region->length && region->length != length)
		return -EOPNOTSUPP;
	if (!region->match) {
		signal_write(region);
		ret = 0;
		if (++at == all->nr || all->slots[at].addr != addr)
			return 0;
	}
	at = lower_bound(all, addr, true, value);
	if (at == all->nr || all->slots[at].addr != addr)
		return ret;
	region = all->slots[at].region;
	if (region->datamatch != value)
		return ret;
	signal_write(region);
	return 0;
}

/* pwritev(2): the offset is the address, and each segment is an access. */
ssize_t twin_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct twin_context *context = iocb->ki_filp->private_data;
	u64 addr = iocb->ki_pos, value;
	ssize_t done = 0;
	long ret = 0;
	size_t len;

	if (!find_line(context, 0))
		return -ENXIO;
	while (iov_iter_count(from)) {
		len = iov_iter_single_seg_count(from);
		if (!len) {
			iov_iter_advance(from, 0);
			continue;
		}
		value = 0;
		if (!is_length(len))
			ret = -EINVAL;
		else if (copy_from_iter(&value, len, from) != len)
			ret = -EFAULT;
		if (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN))
			value >>= 64 - 8 * len;
		if (!ret)
			ret = bus_access(context, DOORBELL_SPACE_MMIO, addr, len, value);
		if (ret)
			break;
		addr += len;
		done += len;
	}
	return done ?: ret;
}

/* pwrite(2), which needs no iterator. */
ssize_t twin_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct twin_context *context = file->private_data;
	u64 value;
	u32 half;
	u16 word;
	u8 byte;
	int ret;

	if (!find_line(context, 0))
		return -ENXIO;
	switch (count) {
	case 0:
		return 0;
	case 1:
		ret = get_user(byte, (u8 __user *)buf);
		value = byte;
		break;
	case 2:
		ret = get_user(word, (u16 __user *)buf);
		value = word;
		break;
	case 4:
		ret = get_user(half, (u32 __user *)buf);
		value = half;
		break;
	case 8:
		ret = get_user(value, (u64 __user *)buf);
		break;
	default:
		return -EINVAL;
	}
	if (ret)
		return ret;
	return bus_access(context, DOORBELL_SPACE_MMIO, *pos, count, value) ?: count;
}

/* Handles DOORBELL_BUS_WRITE: returns the number of accesses before the first that fails. */
long bus_write(struct twin_context *context, const void __user *arg)
{
	struct doorbell_bus_access block[BLOCK], __user *from;
	struct doorbell_bus_write write;
	u32 done = 0, nr, left, i;
	long ret = 0;

	if (copy_from_user(&write, arg, sizeof(write)))
		return -EFAULT;
	if (write.flags || !write.nr_accesses ||
	    reserved_used(write.reserved, sizeof(write.reserved)))
		return -EINVAL;
	from = u64_to_user_ptr(write.accesses);
	if (!find_line(context, 0))
		return -ENXIO;
	while (!ret && done < write.nr_accesses) {
		nr = min(write.nr_accesses - done, BLOCK);
		left = copy_from_user(block, from + done, nr * sizeof(*block));
		/* Those that can be read are carried out. */
		if (unlikely(left)) {
			nr -= DIV_ROUND_UP(left, sizeof(*block));
			ret = -EFAULT;
		}
		for (i = 0; i < nr; i++) {
			long failed = bus_access(context, block[i].space, block[i].addr,
						 block[i].length, block[i].value);

			if (unlikely(failed))
				return done + i ?: failed;
		}
		done += nr;
		if (signal_pending(current) && !ret)
			ret = -EINTR;
	}
	return done ?: ret;
}

/* Returns the error of a conflict between @slot and a new region, or 0. */
static long check_conflict(const struct twin_slot *slot, const struct twin_region *region)
{
	const struct twin_region *other = slot->region;
	u64 reach;

	if (other->addr == region->addr) {
		if (other->length != region->length)
			return -EBUSY;
		return other->match == region->match && other->datamatch == region->datamatch ?
		       -EEXIST : 0;
	}
	if (other->addr < region->addr)
		reach = other->length ? other->length - 1 : 0;
	else
		reach = region->length ? region->length - 1 : 0;
	return abs_diff(other->addr, region->addr) <= reach ? -EBUSY : 0;
}

/* Returns a copy of @old with @add at the index @at, or without the region there. */
static struct twin_regions *copy_regions(struct twin_regions *old, u32 at, struct twin_region *add)
{
	u32 nr = old ? old->nr : 0, skip = add ? 0 : 1;
	struct twin_regions *new;

	new = kvmalloc(struct_size(new, slots, nr + 1), GFP_KERNEL_ACCOUNT);
	if (!new)
		return NULL;
	new->nr = add ? nr + 1 : nr - 1;
	if (old) {
		memcpy(new->slots, old->slots, at * sizeof(*new->slots));
		memcpy(new->slots + at + !skip, old->slots + at + skip,
		       (nr - at - skip) * sizeof(*new->slots));
	}
	if (add) {
		new->slots[at].addr = add->addr;
		new->slots[at].region = add;
	}
	return new;
}

static void free_region(struct twin_region *region)
{
	if (region->eventfd)
		eventfd_ctx_put(region->eventfd);
	kfree(region);
}

static struct twin_regions *locked_regions(struct twin_context *context, u32 space)
{
	return rcu_dereference_protected(context->regions[space], lockdep_is_held(&context->mutex));
}

/* Replaces the array of a space, and waits for the writers that use the old one. */
static long replace(struct twin_context *context, u32 space, u32 at, struct twin_region *add)
{
	struct twin_regions *old = locked_regions(context, space);
	struct twin_regions *new = copy_regions(old, at, add);

	if (!new)
		return -ENOMEM;
	rcu_assign_pointer(context->regions[space], new);
	if (old)
		synchronize_srcu_expedited(&context->srcu);
	kvfree(old);
	return 0;
}

static long assign(struct twin_context *context, u32 space, struct twin_region *region)
{
	struct twin_regions *all = locked_regions(context, space);
	u32 at = 0;
	long ret = 0;

	if (context->nr_eventfds >= DOORBELL_MAX_EVENTFDS ||
	    (all && all->nr >= DOORBELL_MAX_REGIONS))
		return -ENOSPC;
	if (all) {
		at = lower_bound(all, region->addr, region->match, region->datamatch);
		if (at < all->nr)
			ret = check_conflict(&all->slots[at], region);
		if (!ret && at > 0)
			ret = check_conflict(&all->slots[at - 1], region);
	}
	if (!ret)
		ret = replace(context, space, at, region);
	if (!ret && region->eventfd)
		context->nr_eventfds++;
	return ret;
}

static long deassign(struct twin_context *context, u32 space, const struct twin_region *wanted)
{
	struct twin_regions *all = locked_regions(context, space);
	struct twin_region *region;
	long ret;
	u32 at;

	if (!all)
		return -ENOENT;
	at = lower_bound(all, wanted->addr, wanted->match, wanted->datamatch);
	if (at == all->nr)
		return -ENOENT;
	region = all->slots[at].region;
	if (check_conflict(&all->slots[at], wanted) != -EEXIST || region->line != wanted->line ||
	    (wanted->eventfd && region->eventfd != wanted->eventfd))
		return -ENOENT;
	ret = replace(context, space, at, NULL);
	if (ret)
		return ret;
	if (region->eventfd)
		context->nr_eventfds--;
	free_region(region);
	return 0;
}

static bool is_valid(const struct doorbell_region *region)
{
	bool line = region->flags & DOORBELL_REGION_FLAG_LINE;
	bool match = region->flags & DOORBELL_REGION_FLAG_DATAMATCH;
	u32 known = DOORBELL_REGION_FLAG_DEASSIGN | DOORBELL_REGION_FLAG_LINE |
		    DOORBELL_REGION_FLAG_DATAMATCH;

	if (region->flags & ~known || reserved_used(region->reserved, sizeof(region->reserved)))
		return false;
	if (region->space > DOORBELL_SPACE_PIO || (line ? region->fd : region->line))
		return false;
	if (match ? !fits(region->datamatch, region->length) : region->datamatch)
		return false;
	if (!region->length)
		return !match;
	return is_length(region->length) && region->addr <= U64_MAX - (region->length - 1);
}

/* Handles DOORBELL_REGION. */
long change_region(struct twin_context *context, const void __user *arg)
{
	struct doorbell_region change;
	struct twin_region *region;
	bool line, remove;
	long ret = 0;

	if (copy_from_user(&change, arg, sizeof(change)))
		return -EFAULT;
	if (change.flags & DOORBELL_REGION_FLAG_RECORD)
		return -EOPNOTSUPP;
	if (!is_valid(&change))
		return -EINVAL;
	line = change.flags & DOORBELL_REGION_FLAG_LINE;
	remove = change.flags & DOORBELL_REGION_FLAG_DEASSIGN;
	if (!find_line(context, line ? change.line : 0))
		return -ENXIO;
	region = kzalloc_obj(*region, GFP_KERNEL_ACCOUNT);
	if (!region)
		return -ENOMEM;
	region->addr = change.addr;
	region->datamatch = change.datamatch;
	region->length = change.length;
	region->match = change.flags & DOORBELL_REGION_FLAG_DATAMATCH;
	if (line) {
		region->line = &context->lines[change.line];
	} else if (!remove || change.fd != -1) {
		region->eventfd = eventfd_ctx_fdget(change.fd);
		if (IS_ERR(region->eventfd)) {
			ret = PTR_ERR(region->eventfd);
			kfree(region);
			return ret;
		}
	}
	scoped_guard(mutex, &context->mutex)
		ret = remove ? deassign(context, change.space, region) :
			       assign(context, change.space, region);
	if (remove || ret)
		free_region(region);
	return ret;
}

/* Returns the number of regions. The mutex is held. */
u32 count_regions(struct twin_context *context)
{
	u32 space, nr = 0;

	for (space = 0; space < ARRAY_SIZE(context->regions); space++) {
		struct twin_regions *all = locked_regions(context, space);

		if (all)
			nr += all->nr;
	}
	return nr;
}

/* Frees all regions. There is no writer any more. */
void free_regions(struct twin_context *context)
{
	u32 space, i;

	for (space = 0; space < ARRAY_SIZE(context->regions); space++) {
		struct twin_regions *all = rcu_dereference_protected(context->regions[space], true);

		for (i = 0; all && i < all->nr; i++)
			free_region(all->slots[i].region);
		kvfree(all);
	}
}
