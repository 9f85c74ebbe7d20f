/* SPDX-License-Identifier: GPL-2.0-only */
/* A process that has the worker of a context, and is stopped. */
#ifndef _DOORBELL_STOPPED_OWNER_H
#define _DOORBELL_STOPPED_OWNER_H

#include <sys/prctl.h>

#include "doorbell_test.h"

/*
 * Starts a process that makes the first @nr lines of @db level lines, each with one of the
 * @ackfds, and stops it. What is deferred is not sent until the process goes on. It has no
 * descriptor of @db.
 */
static inline pid_t start_stopped_owner(struct __test_metadata *_metadata, int db,
					const int *ackfds, uint32_t nr)
{
	int status;
	uint32_t i;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 0; i < nr; i++) {
			if (doorbell_set_type(db, i, DOORBELL_TYPE_LEVEL) ||
			    doorbell_assign_ackfd(db, ackfds[i], i))
				_exit(1);
		}
		close(db);
		raise(SIGSTOP);
		pause();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	return pid;
}

/* A message with as many relays goes to the worker. */
#define NR_CHAINED	40

/*
 * Makes each of the NR_CHAINED lines of @db ring the next one, by its irqfd in @links, and rings
 * the first one. The worker is stopped. Returns the line whose message waits for it.
 */
static inline uint32_t stalled_line(struct __test_metadata *_metadata, int db, const int *links)
{
	struct timeout timeout = {};
	uint32_t i;

	for (i = 1; i < NR_CHAINED; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, links[i], i - 1));
	/* The interrupts that relay the message come before this thread goes on. */
	pin_to(0);
	ASSERT_EQ(0, efd_write(links[0], 1));
	do {
		for (i = 0; i < NR_CHAINED; i++) {
			if (line_of(_metadata, db, i).state & DOORBELL_LINE_PENDING)
				return i;
		}
	} while (!timed_out(&timeout));
	ASSERT_TRUE(false) {
		TH_LOG("no message waits");
	}
	return NR_CHAINED;
}

#endif /* _DOORBELL_STOPPED_OWNER_H */
