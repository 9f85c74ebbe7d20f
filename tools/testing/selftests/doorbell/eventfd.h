/* SPDX-License-Identifier: GPL-2.0-only */
/* Eventfds. They are non-blocking, so that a test fails instead of hanging. */
#ifndef _DOORBELL_EVENTFD_H
#define _DOORBELL_EVENTFD_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "wait.h"

/* The largest value that write(2) lets an eventfd's counter reach. */
#define COUNTER_MAX	(UINT64_MAX - 1)

static inline int new_eventfd(struct __test_metadata *_metadata, unsigned int count,
			      int flags)
{
	int fd = eventfd(count, flags | EFD_NONBLOCK | EFD_CLOEXEC);

	ASSERT_LE(0, fd);
	return fd;
}

static inline int efd_write(int fd, uint64_t value)
{
	return write(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -errno;
}

/* Consumes the counter by read(2). Returns it, or 0 if it is 0. */
static inline uint64_t efd_read(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* Consumes the counter until it is 0, also of an EFD_SEMAPHORE eventfd. Returns the sum. */
static inline uint64_t efd_drain(int fd)
{
	uint64_t sum = 0, count;

	while ((count = efd_read(fd)))
		sum += count;
	return sum;
}

static inline int efd_poll(int fd, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int ret = poll(&pfd, 1, timeout_ms);

	return ret > 0 ? pfd.revents : ret;
}

/* Waits for one of the events. Returns all events that are set; 0 after the timeout. */
static inline int efd_await(int fd, short events)
{
	struct timeout timeout = {};
	bool last = false;
	int ret;

	while (!(ret = efd_poll(fd, events, last ? 0 : WAIT_SLICE_MS)) && !last)
		last = timed_out(&timeout);
	return ret;
}

/* Waits for the next signal and consumes the counter. Returns 0 after the timeout. */
static inline uint64_t efd_wait(int fd)
{
	efd_await(fd, POLLIN);
	return efd_read(fd);
}

/* Returns the number after @name in the eventfd's fdinfo, or UINT64_MAX if it is not there. */
static inline uint64_t efd_info(int fd, const char *name, int base)
{
	char path[40], buf[256], *at;
	uint64_t number = UINT64_MAX;
	ssize_t len;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	len = info < 0 ? -1 : read(info, buf, sizeof(buf) - 1);
	if (len > 0) {
		buf[len] = '\0';
		at = strstr(buf, name);
		if (at)
			number = strtoull(at + strlen(name), NULL, base);
	}
	if (info >= 0)
		close(info);
	return number;
}

/*
 * Returns the counter from /proc. That uses none of the module's ioctls and consumes
 * nothing.
 */
static inline uint64_t efd_count(int fd)
{
	return efd_info(fd, "eventfd-count:", 16);
}

/* Returns the id from /proc: the smallest free number when the eventfd was made; or -1. */
static inline long efd_id(int fd)
{
	return efd_info(fd, "eventfd-id:", 10);
}

#endif /* _DOORBELL_EVENTFD_H */
