/* SPDX-License-Identifier: GPL-2.0-only */
/* DOORBELL_RING_WAIT, by itself and in a thread. */
#ifndef _DOORBELL_RING_WAIT_TEST_H
#define _DOORBELL_RING_WAIT_TEST_H

#include "blocked.h"

static inline int ring_wait(int db, struct doorbell_ring_wait *arg)
{
	return doorbell_ioctl(db, DOORBELL_RING_WAIT, arg);
}

static inline int call_ring_wait(struct blocked *blocked)
{
	return ring_wait(blocked->db, blocked->ring_wait);
}

static inline struct blocked blocked_ring_wait(int db, struct doorbell_ring_wait *arg)
{
	return (struct blocked){ .call = call_ring_wait, .db = db, .ring_wait = arg };
}

/* Returns true if the process, which has one thread, sleeps. */
static inline bool process_sleeps(pid_t pid)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return stat_sleeps(path);
}

#endif /* _DOORBELL_RING_WAIT_TEST_H */
