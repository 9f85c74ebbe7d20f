/* SPDX-License-Identifier: GPL-2.0-only */
/* A process that has the worker of a context, and is stopped. */
#ifndef _DOORBELL_STOPPED_OWNER_H
#define _DOORBELL_STOPPED_OWNER_H

#include <sys/prctl.h>

#include "doorbell_test.h"

/*
 * Starts a process that makes the first @nr lines of @db level lines, each with one of the
 * @ackfds, and stops it. What is deferred is not sent until the process goes on.
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
		raise(SIGSTOP);
		pause();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	return pid;
}

#endif /* _DOORBELL_STOPPED_OWNER_H */
