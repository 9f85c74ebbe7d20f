/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads that are blocked in one system call. */
#ifndef _DOORBELL_BLOCKED_H
#define _DOORBELL_BLOCKED_H

#include "doorbell_test.h"

/* A thread that is blocked in one system call. */
struct blocked {
	int (*call)(struct blocked *blocked);
	int db;
	int fd;
	uint64_t count;
	/* The argument of DOORBELL_EVENTFD_READ. */
	struct doorbell_eventfd *arg;
	/* The argument of DOORBELL_RING_WAIT. */
	struct doorbell_ring_wait *ring_wait;
	/* The argument of DOORBELL_WAIT. */
	struct doorbell_wait *wait;
	int ret;
	atomic_int tid;
	atomic_bool done;
	pthread_t thread;
};

static inline int call_write(struct blocked *blocked)
{
	return efd_write(blocked->fd, blocked->count);
}

static inline int call_read(struct blocked *blocked)
{
	return doorbell_eventfd_read(blocked->db, blocked->fd, 0, &blocked->count);
}

static inline int call_read_to(struct blocked *blocked)
{
	return doorbell_ioctl(blocked->db, DOORBELL_EVENTFD_READ, blocked->arg);
}

static inline int call_poll(struct blocked *blocked)
{
	return efd_poll(blocked->fd, POLLOUT, -1);
}

static inline void *block(void *arg)
{
	struct blocked *blocked = arg;

	atomic_store(&blocked->tid, gettid());
	blocked->ret = blocked->call(blocked);
	atomic_store(&blocked->done, true);
	return NULL;
}

static inline void start_blocked(struct __test_metadata *_metadata, struct blocked *blocked)
{
	ASSERT_EQ(0, pthread_create(&blocked->thread, NULL, block, blocked));
	ASSERT_TRUE(WAIT_FOR(atomic_load(&blocked->tid) && sleeps(blocked->tid)));
	ASSERT_FALSE(atomic_load(&blocked->done));
}

static inline void join_blocked(struct __test_metadata *_metadata, struct blocked *blocked)
{
	ASSERT_TRUE(WAIT_FOR(atomic_load(&blocked->done))) {
		TH_LOG("the thread was not woken");
	}
	pthread_join(blocked->thread, NULL);
}

/* Starts a writer that waits for room in the counter; write(2) blocks at 2^64-1. */
static inline struct blocked blocked_writer(struct __test_metadata *_metadata, int flags)
{
	int fd = eventfd(0, flags);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, efd_write(fd, COUNTER_MAX));
	return (struct blocked){ .call = call_write, .fd = fd, .count = 1 };
}

#endif /* _DOORBELL_BLOCKED_H */
