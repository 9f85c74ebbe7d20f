/* SPDX-License-Identifier: GPL-2.0-only */
/* Processors and threads. */
#ifndef _DOORBELL_THREAD_H
#define _DOORBELL_THREAD_H

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <doorbell.h>

#include "eventfd.h"
#include "wait.h"

/* Spins for a time that differs between rounds, so that two threads meet at every place. */
static inline void dither(unsigned int round)
{
	unsigned int n = round % 64 * 20;

	while (n--)
		atomic_signal_fence(memory_order_seq_cst);
}

/* Pins the thread to the n-th of the processors that it may use, modulo their number. */
static inline void pin_to(unsigned int n)
{
	static cpu_set_t all;
	static bool known;
	unsigned int cpu, left;
	cpu_set_t one;

	/* The first call is made before there are threads. */
	if (!known)
		known = !sched_getaffinity(0, sizeof(all), &all);
	left = n % CPU_COUNT(&all);
	for (cpu = 0; !CPU_ISSET(cpu, &all) || left--; cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/*
 * Lets some threads of a race rest, so that what the scheduler alone seldom brings about
 * happens for certain: they hold no mask then, or ring no line. Each of them calls
 * rest_point() between two rounds.
 */
struct rest {
	atomic_bool wanted;
	atomic_uint resting;
};

/* The main thread does so in one of that many turns. In all others they race without it. */
#define TURNS_APART	16

static inline void rest_point(struct rest *rest, const atomic_bool *stop)
{
	if (!atomic_load(&rest->wanted))
		return;
	atomic_fetch_add(&rest->resting, 1);
	while (atomic_load(&rest->wanted) && !atomic_load(stop))
		sched_yield();
	atomic_fetch_sub(&rest->resting, 1);
}

/* Waits until all @nr threads rest. */
static inline bool rest_begin(struct rest *rest, unsigned int nr)
{
	atomic_store(&rest->wanted, true);
	return WAIT_FOR(atomic_load(&rest->resting) == nr);
}

static inline bool rest_end(struct rest *rest)
{
	atomic_store(&rest->wanted, false);
	return WAIT_FOR(!atomic_load(&rest->resting));
}

/* Waits until other threads have added @more to the number. */
static inline bool grows(const atomic_ulong *number, unsigned long more)
{
	const unsigned long target = atomic_load(number) + more;

	return WAIT_FOR(atomic_load(number) >= target);
}

/* Returns true if the thread of that "stat" file sleeps. */
static inline bool stat_sleeps(const char *path)
{
	char buf[256], *at;
	bool asleep = false;
	ssize_t len;
	int stat;

	stat = open(path, O_RDONLY | O_CLOEXEC);
	if (stat < 0)
		return false;
	len = read(stat, buf, sizeof(buf) - 1);
	if (len > 0) {
		buf[len] = '\0';
		at = strrchr(buf, ')');
		asleep = at && !strncmp(at, ") S", 3);
	}
	close(stat);
	return asleep;
}

/* Returns true if the thread sleeps. If it is in a system call, it is blocked then. */
static inline bool sleeps(pid_t tid)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	return stat_sleeps(path);
}

/* A thread on the second processor that calls hit() in a loop. */
struct hammer {
	void (*hit)(struct hammer *hammer);
	int fd;
	uint32_t line;
	/* Number of calls of hit() that were started and done. */
	atomic_ulong started;
	atomic_ulong done;
	atomic_bool pause;
	atomic_bool idle;
	atomic_bool stop;
	pthread_t thread;
};

static inline void hit_ring(struct hammer *hammer)
{
	doorbell_ring(hammer->fd, hammer->line);
}

static inline void hit_write(struct hammer *hammer)
{
	efd_write(hammer->fd, 1);
}

static inline void *hammer_loop(void *arg)
{
	struct hammer *hammer = arg;

	pin_to(1);
	while (!atomic_load(&hammer->stop)) {
		if (atomic_load(&hammer->pause)) {
			atomic_store(&hammer->idle, true);
			while (atomic_load(&hammer->pause) && !atomic_load(&hammer->stop))
				sched_yield();
			atomic_store(&hammer->idle, false);
			continue;
		}
		atomic_fetch_add(&hammer->started, 1);
		hammer->hit(hammer);
		atomic_fetch_add(&hammer->done, 1);
	}
	return NULL;
}

static inline void hammer_start(struct __test_metadata *_metadata, struct hammer *hammer)
{
	pin_to(0);
	ASSERT_EQ(0, pthread_create(&hammer->thread, NULL, hammer_loop, hammer));
}

static inline void hammer_stop(struct hammer *hammer)
{
	atomic_store(&hammer->stop, true);
	pthread_join(hammer->thread, NULL);
}

static inline bool hammer_pause(struct hammer *hammer)
{
	atomic_store(&hammer->pause, true);
	return SPIN_FOR(atomic_load(&hammer->idle));
}

static inline bool hammer_resume(struct hammer *hammer)
{
	atomic_store(&hammer->pause, false);
	return SPIN_FOR(!atomic_load(&hammer->idle));
}

/* Waits until a call that is in flight is done, and @more calls after it. */
static inline bool hammer_passes(struct hammer *hammer, unsigned long more)
{
	unsigned long target = atomic_load(&hammer->started) + more;

	return SPIN_FOR(atomic_load(&hammer->done) >= target);
}

/*
 * Returns the number of the process's threads with the name of a worker; the last one in
 * @tid.
 */
static inline int workers(pid_t pid, pid_t *tid)
{
	char path[64], name[32] = "";
	struct dirent *entry;
	int fd, nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/comm", pid, entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		memset(name, 0, sizeof(name));
		if (read(fd, name, sizeof(name) - 1) > 0 && !strcmp(name, "doorbell\n")) {
			*tid = strtol(entry->d_name, NULL, 10);
			nr++;
		}
		close(fd);
	}
	closedir(dir);
	return nr;
}

#endif /* _DOORBELL_THREAD_H */
