/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KTAP, contexts, eventfds and the time, for the programs of the samples.
 */
#ifndef _DOORBELL_SAMPLE_H
#define _DOORBELL_SAMPLE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <doorbell.h>

/* The timeout of all waits: long enough for a busy, emulated machine. */
#define TIMEOUT_MS	20000

static int ktap_results, ktap_failures;

static inline void ktap_plan(int results)
{
	/* Line by line, so that a program that is killed has printed its results. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%d\n", results);
}

static inline void ktap_result(bool ok, const char *name)
{
	printf("%s %d %s\n", ok ? "ok" : "not ok", ++ktap_results, name);
	ktap_failures += !ok;
}

/* Returns the program's exit status. */
static inline int ktap_status(void)
{
	return ktap_failures != 0;
}

/* Ends the program if @ret is an error, or else returns it. */
static inline int must(int ret, const char *what)
{
	if (ret < 0) {
		printf("Bail out! %s: %s\n", what, strerror(errno));
		exit(1);
	}
	return ret;
}

#define MUST(call) must(call, #call)

static inline __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* Evaluates to true as soon as @cond is true, or to false after TIMEOUT_MS. */
#define WAIT_FOR(cond) ({							\
	__u64 __end = now_ns() + TIMEOUT_MS * 1000000ULL;			\
	bool __ok;								\
										\
	while (!(__ok = !!(cond)) && now_ns() < __end)				\
		usleep(100);							\
	__ok;									\
})

static inline int new_context(__u32 nr_lines)
{
	int db = must(doorbell_open(), "/dev/doorbell");

	MUST(doorbell_set_lines(db, nr_lines));
	return db;
}

static inline int new_eventfd(void)
{
	return MUST(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

/* Returns a new eventfd that is a trigger of @line. */
static inline int new_trigger(int db, __u32 line)
{
	int fd = new_eventfd();

	MUST(doorbell_assign_trigger(db, fd, line));
	return fd;
}

/* Returns a new eventfd that is an irqfd of @line. */
static inline int new_irqfd(int db, __u32 line)
{
	int fd = new_eventfd();

	MUST(doorbell_assign_irqfd(db, fd, line));
	return fd;
}

static inline struct doorbell_query query_line(int db, __u32 line)
{
	struct doorbell_query query;

	MUST(doorbell_query(db, line, &query));
	return query;
}

/* Waits until an eventfd is signalled and consumes its counter. Returns 0 at the timeout. */
static inline __u64 consume(int efd, int timeout_ms)
{
	struct pollfd fd = { .fd = efd, .events = POLLIN };
	eventfd_t count;

	if (poll(&fd, 1, timeout_ms) != 1 || eventfd_read(efd, &count))
		return 0;
	return count;
}

#endif /* _DOORBELL_SAMPLE_H */
