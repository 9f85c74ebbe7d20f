/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Client library of /dev/doorbell: the status pages, from which the state of a line can be
 * read without a system call, and rings that are skipped if they would coalesce. See
 * doorbell.h for what all functions have in common.
 */
#ifndef _DOORBELL_STATUS_CLIENT_H
#define _DOORBELL_STATUS_CLIENT_H

#include <sys/mman.h>

#include "doorbell.h"

/**
 * struct doorbell_status_pages - a mapping of the status pages
 * @base: the entry of line 0
 * @nr_lines: number of lines
 * @stride: distance between the entries of two lines, in bytes
 */
struct doorbell_status_pages {
	const void *base;
	uint32_t nr_lines;
	uint32_t stride;
};

/**
 * doorbell_map_status() - map the status pages
 * @db: the context
 * @status: is written
 *
 * Return: 0 or -errno; -ENXIO if the lines have not been chosen yet.
 */
static inline int doorbell_map_status(int db, struct doorbell_status_pages *status)
{
	struct doorbell_get_info info;
	int ret = doorbell_get_info(db, &info);
	void *base;

	if (ret < 0)
		return ret;
	if (!info.nr_lines)
		return -ENXIO;
	base = mmap(NULL, (size_t)info.nr_lines * info.status_size, PROT_READ, MAP_SHARED, db,
		    (off_t)info.status_offset);
	if (base == MAP_FAILED)
		return -errno;
	status->base = base;
	status->nr_lines = info.nr_lines;
	status->stride = info.status_size;
	return 0;
}

/**
 * doorbell_status_of() - find the entry of a line
 * @status: the mapping
 * @line: a line of the context
 *
 * Return: the address of the entry. The caller reads each field once, as a whole.
 */
static inline const struct doorbell_line_status *
doorbell_status_of(const struct doorbell_status_pages *status, uint32_t line)
{
	const char *base = (const char *)status->base;

	return (const struct doorbell_line_status *)(base + (size_t)line * status->stride);
}

/* Rings that are skipped if they would coalesce. */

/* doorbell_ring_if_needed() has made no system call. No DOORBELL_RING_* is that high. */
#define DOORBELL_RING_SKIPPED	0x10000

/**
 * doorbell_ring_is_needed() - query whether a ring of a line would have an effect
 * @status: the mapping
 * @line: the line
 *
 * Call it after the stores of the data, directly before a ring, a signal of the line's
 * irqfd, or a write to a region that rings the line and does not record.
 *
 * Return: 0 if the ring would coalesce and can be skipped; see doorbell_ring_if_needed().
 * Otherwise 1, also if there is no such line.
 */
static inline int doorbell_ring_is_needed(const struct doorbell_status_pages *status,
					  uint32_t line)
{
	uint32_t state;

	if (line >= status->nr_lines)
		return 1;
	/*
	 * Orders the caller's data before the load, against the compare-exchange and the
	 * fence of the thread that consumes the message. This is the kernel's smp_mb().
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	state = __atomic_load_n(&doorbell_status_of(status, line)->state, __ATOMIC_RELAXED);
	if (state & DOORBELL_LINE_COUNTS)
		return 1;
	if (state & DOORBELL_LINE_LEVEL)
		return !(state & DOORBELL_LINE_ASSERTED);
	return !(state & DOORBELL_LINE_PENDING);
}

/**
 * doorbell_ring_if_needed() - ring a line unless the status page shows that it would coalesce
 * @db: the context
 * @status: a mapping of that context
 * @line: the line
 *
 * A skipped ring is as good as one that returns DOORBELL_RING_COALESCED. The delivery that
 * the line still owes starts after the data that the caller has stored has become visible
 * to the consumer; for an asserted level line the same holds for the ack. A consumer that
 * drops the message with DOORBELL_CLEAR looks for data after that. The counters of the
 * line do not contain a skipped ring. Nor does the number of held rings that
 * doorbell_moderate() limits: skipped rings do not end the interval early. No ring of a
 * line that counts (DOORBELL_TRIGGER_FLAG_COUNT) is skipped, except one that is concurrent
 * with the assignment of its first such trigger.
 *
 * A skipped ring takes a fence, a load and a test. That is most useful if the consumer
 * masks the line while it polls, as NAPI does: all rings but the first are skipped then.
 *
 * Return: DOORBELL_RING_*, or DOORBELL_RING_SKIPPED if no system call was made.
 */
static inline int doorbell_ring_if_needed(int db, const struct doorbell_status_pages *status,
					  uint32_t line)
{
	return doorbell_ring_is_needed(status, line) ? doorbell_ring(db, line) :
						       DOORBELL_RING_SKIPPED;
}

/**
 * doorbell_unmap_status() - unmap the status pages
 * @status: the mapping
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_unmap_status(const struct doorbell_status_pages *status)
{
	size_t size = (size_t)status->nr_lines * status->stride;

	return munmap((void *)(uintptr_t)status->base, size) ? -errno : 0;
}

#endif /* _DOORBELL_STATUS_CLIENT_H */
