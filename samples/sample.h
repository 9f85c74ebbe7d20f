/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the samples' programs share: KTAP, contexts, eventfds, the time.
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

#include <linux/doorbell.h>

/* What must happen has happened by then, even on a busy emulated machine. */
#define PATIENCE_MS	20000

static int ktap_results, ktap_failures;

static inline void ktap_plan(int results)
{
	/* Seen also if the program is killed. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%d\n", results);
}

static inline void ktap_result(bool ok, const char *name)
{
	printf("%s %d %s\n", ok ? "ok" : "not ok", ++ktap_results, name);
	ktap_failures += !ok;
}

/* The program's exit status. */
static inline int ktap_status(void)
{
	return ktap_failures != 0;
}

/* For what is no result, but without which there is none: @ret itself, if it is no error. */
static inline int must(int ret, const char *what)
{
	if (ret < 0) {
		printf("Bail out! %s: %s\n", what, strerror(errno));
		exit(1);
	}
	return ret;
}

static inline __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* True as soon as @cond is; false if it is not within PATIENCE_MS. */
#define WAIT_FOR(cond) ({							\
	__u64 __end = now_ns() + PATIENCE_MS * 1000000ULL;			\
	bool __ok;								\
										\
	while (!(__ok = !!(cond)) && now_ns() < __end)				\
		usleep(100);							\
	__ok;									\
})

static inline int new_context(__u32 nr_lines)
{
	struct doorbell_set_lines lines = { .nr_lines = nr_lines };
	int db = must(open("/dev/doorbell", O_RDWR | O_CLOEXEC), "/dev/doorbell");

	must(ioctl(db, DOORBELL_SET_LINES, &lines), "DOORBELL_SET_LINES");
	return db;
}

static inline int new_eventfd(void)
{
	return must(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
}

/* A new eventfd that @line signals. */
static inline int new_trigger(int db, __u32 line)
{
	struct doorbell_trigger trigger = { .fd = new_eventfd(), .line = line };

	must(ioctl(db, DOORBELL_TRIGGER, &trigger), "DOORBELL_TRIGGER");
	return trigger.fd;
}

/* A new eventfd that rings @line. */
static inline int new_irqfd(int db, __u32 line)
{
	struct doorbell_irqfd irqfd = { .fd = new_eventfd(), .line = line };

	must(ioctl(db, DOORBELL_IRQFD, &irqfd), "DOORBELL_IRQFD");
	return irqfd.fd;
}

/* DOORBELL_MASK, _UNMASK, _CLEAR, _PENDING of one line. */
static inline int on_line(int db, unsigned long cmd, __u32 line)
{
	struct doorbell_line_set set = { .line = line, .nr_lines = 1 };

	return must(ioctl(db, cmd, &set), "ioctl for a line");
}

static inline struct doorbell_query query_line(int db, __u32 line)
{
	struct doorbell_query query = { .line = line };

	must(ioctl(db, DOORBELL_QUERY, &query), "DOORBELL_QUERY");
	return query;
}

/* Takes what is in an eventfd's counter, after waiting for it; zero if nothing comes. */
static inline __u64 take(int efd, int timeout_ms)
{
	struct pollfd fd = { .fd = efd, .events = POLLIN };
	eventfd_t count;

	if (poll(&fd, 1, timeout_ms) != 1 || eventfd_read(efd, &count))
		return 0;
	return count;
}

#endif /* _DOORBELL_SAMPLE_H */
