/* SPDX-License-Identifier: GPL-2.0-only */
/* Timeouts, bounded waits, and the number of rounds of a race. */
#ifndef _DOORBELL_WAIT_H
#define _DOORBELL_WAIT_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

static inline uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/*
 * Timeouts. A wait ends as soon as its condition is true. Otherwise it lasts WAIT_REAL_MS
 * of CLOCK_MONOTONIC, which is cheap to read, and then WAIT_MS, or the milliseconds in
 * DOORBELL_WAIT_MS, of a clock that does not advance while a busy host does not run the
 * guest. DOORBELL_CLOCK names a file with that clock's milliseconds.
 */
#define WAIT_REAL_MS	2000
#define WAIT_MS		20000

/* Time between two readings of the clocks; also the longest poll(2) of a wait. */
#define WAIT_SLICE_MS	200

static inline int64_t wait_ms(void)
{
	const char *text = getenv("DOORBELL_WAIT_MS");

	return text ? strtoll(text, NULL, 10) : WAIT_MS;
}

struct timeout {
	/* Time of the next reading, by CLOCK_MONOTONIC; 0 before the first call. */
	uint64_t next_us;
	/*
	 * The last readings; 0 before the first one. The file's is negative if there is no
	 * file.
	 */
	int64_t real_ms;
	int64_t file_ms;
	int64_t waited_ms;
};

/* Returns the milliseconds in the file, or -1. */
static inline int64_t clock_file_ms(void)
{
	const char *path = getenv("DOORBELL_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char buf[32], *end;
	ssize_t len;
	int64_t ms;

	if (fd < 0)
		return -1;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return -1;
	buf[len] = '\0';
	ms = strtoll(buf, &end, 10);
	return end == buf ? -1 : ms;
}

/*
 * Returns the time since the last reading. Without the file it is at most two slices: if a
 * slice took longer, the thread did not run.
 */
static inline int64_t passed_ms(const struct timeout *timeout, int64_t real_ms, int64_t file_ms)
{
	int64_t passed;

	if (!timeout->real_ms)
		return 0;
	if (file_ms >= 0 && timeout->file_ms >= 0) {
		passed = file_ms - timeout->file_ms;
		return passed > 0 ? passed : 0;
	}
	passed = real_ms - timeout->real_ms;
	return passed < 2 * WAIT_SLICE_MS ? passed : 2 * WAIT_SLICE_MS;
}

static inline bool timed_out_slow(struct timeout *timeout, uint64_t now)
{
	const int64_t real_ms = now / 1000, file_ms = clock_file_ms();

	timeout->waited_ms += passed_ms(timeout, real_ms, file_ms);
	timeout->real_ms = real_ms;
	timeout->file_ms = file_ms;
	timeout->next_us = now + WAIT_SLICE_MS * 1000;
	return timeout->waited_ms >= wait_ms();
}

/*
 * Returns true after the timeout, which begins with the first call. Costs one
 * clock_gettime(2) until WAIT_REAL_MS are over.
 */
static inline bool timed_out(struct timeout *timeout)
{
	const uint64_t now = clock_us(CLOCK_MONOTONIC);

	if (!timeout->next_us)
		timeout->next_us = now + WAIT_REAL_MS * 1000;
	return now >= timeout->next_us && timed_out_slow(timeout, now);
}

/* A wait whose timeout begins again whenever a number has changed. */
struct progress_timeout {
	uint64_t last;
	struct timeout timeout;
};

/* Returns true if @done has not changed for a timeout. */
static inline bool is_stuck(struct progress_timeout *progress, uint64_t done)
{
	if (done != progress->last)
		progress->timeout = (struct timeout){};
	progress->last = done;
	return timed_out(&progress->timeout);
}

/*
 * Evaluates to true as soon as @cond is true. @cond is evaluated once more after the
 * timeout. A test must ASSERT the result, so that it ends. An ASSERT is two statements: a
 * loop around it needs braces.
 */
#define WAIT_WITH(cond, relax) ({					\
	struct timeout __timeout = {};					\
	bool __ok, __last = false;					\
									\
	while (!(__ok = !!(cond)) && !__last) {				\
		__last = timed_out(&__timeout);				\
		relax;							\
	}								\
	__ok;								\
})

#define WAIT_FOR(cond)	WAIT_WITH(cond, usleep(100))

/* A wait for a condition that takes microseconds. */
#define SPIN_FOR(cond)	WAIT_WITH(cond, sched_yield())

/* Waits for a child and returns its wait status; -ETIMEDOUT after killing it. */
static inline int wait_child(pid_t pid)
{
	int status;

	if (WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid))
		return status;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -ETIMEDOUT;
}

/*
 * The rounds of a race: @least rounds, and then up to @most while the process, with all its
 * threads, has used less than ROUNDS_CPU_MS of CPU time, or the milliseconds in
 * DOORBELL_ROUNDS_CPU_MS. Ends early if no round is added before a timeout and @least are
 * not reached.
 */
#define ROUNDS_CPU_MS	1000

static inline uint64_t rounds_cpu_us(void)
{
	const char *text = getenv("DOORBELL_ROUNDS_CPU_MS");

	return (text ? strtoull(text, NULL, 10) : ROUNDS_CPU_MS) * 1000;
}

struct rounds {
	const unsigned long least;
	const unsigned long most;
	unsigned long calls;
	uint64_t end_us;
	bool over;
	struct progress_timeout progress;
};

static inline bool more_rounds(struct rounds *rounds, unsigned long done)
{
	uint64_t now;
	bool more;

	if (rounds->over)
		return false;
	/* Reads the clock in one of 16 rounds only. */
	if (done < rounds->most && rounds->calls++ % 16)
		return true;
	now = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	if (!rounds->end_us)
		rounds->end_us = now + rounds_cpu_us();
	if (done < rounds->least)
		more = !is_stuck(&rounds->progress, done);
	else
		more = done < rounds->most && now < rounds->end_us;
	if (more)
		return true;
	rounds->over = true;
	rounds->progress.timeout = (struct timeout){};
	ksft_print_msg("%lu rounds\n", done);
	return false;
}

#define ROUNDS(at_least, at_most)	{ .least = at_least, .most = at_most }

/* Returns @missing until the timeout. More rounds may change it. */
static inline bool lacks(struct rounds *rounds, bool missing)
{
	return missing && !timed_out(&rounds->progress.timeout);
}

#endif /* _DOORBELL_WAIT_H */
