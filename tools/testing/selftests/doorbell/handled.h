/* SPDX-License-Identifier: GPL-2.0-only */
/* A handler of SIGUSR1 that counts. */
#ifndef _DOORBELL_HANDLED_H
#define _DOORBELL_HANDLED_H

#include <signal.h>

#include "doorbell_test.h"

/* The number of signals that were handled. */
static atomic_int handled;

static void handler(int sig)
{
	(void)sig;
	atomic_fetch_add(&handled, 1);
}

/* Counts SIGUSR1 from now on. @flags are those of sigaction(2), such as SA_RESTART. */
static inline void handle(struct __test_metadata *_metadata, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
}

#endif /* _DOORBELL_HANDLED_H */
