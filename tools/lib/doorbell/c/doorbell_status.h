/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Client library of /dev/doorbell: the status pages, from which the state of a line can be
 * read without a system call. See doorbell.h for what all functions have in common.
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
