/* SPDX-License-Identifier: GPL-2.0-only */
/* A storm of signals, for a thread whose calls must not end early. */
#ifndef _DOORBELL_STORM_H
#define _DOORBELL_STORM_H

#include "doorbell_test.h"

static atomic_ulong nr_signals;

static timer_t storm;

/* A signal in 200 us. */
static inline int next_signal(void)
{
	const struct itimerspec once = { .it_value.tv_nsec = 200000 };

	return timer_settime(storm, 0, &once, NULL);
}

/*
 * The next signal is 200 us after the end of this handler. A periodic timer could interrupt a
 * slow machine again before the test has made a step.
 */
static inline void count_signal(int signal)
{
	int saved = errno;

	(void)signal;
	atomic_fetch_add(&nr_signals, 1);
	next_signal();
	errno = saved;
}

/* From now on this thread gets signals. Calls are not restarted. */
static inline void start_storm(struct __test_metadata *_metadata)
{
	const struct sigaction action = { .sa_handler = count_signal };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };

	event._sigev_un._tid = gettid();
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &storm));
	ASSERT_EQ(0, next_signal());
}

/* Ends the storm. Without a signal the test proves nothing. */
static inline void end_storm(struct __test_metadata *_metadata)
{
	timer_delete(storm);
	EXPECT_LT(0, atomic_load(&nr_signals));
}

#endif /* _DOORBELL_STORM_H */
