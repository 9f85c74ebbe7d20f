/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A line whose deliveries take long. It has the maximum number of triggers, and each
 * trigger has epoll instances that wait for it.
 */
#ifndef _DOORBELL_SLOW_LINE_H
#define _DOORBELL_SLOW_LINE_H

#include <sys/epoll.h>

#include "doorbell_test.h"

/*
 * Number of deliveries that a thread makes before it leaves the next one to the line's
 * irq_work.
 */
#define DELIVERIES_IN_ONE_GO	4

#define MAX_EPOLLS		800

/* Line 0 of a context with one line. */
struct slow_line {
	int db;
	const struct doorbell_line_status *status;
	int triggers[DOORBELL_MAX_TRIGGERS_PER_LINE];
};

/*
 * Returns true if each of some deliveries takes @delivery_us. A host that does not run the
 * processor meanwhile makes one take longer, not all of them.
 */
static inline bool slow_line_takes(struct __test_metadata *_metadata, struct slow_line *slow,
				   uint64_t delivery_us)
{
	uint64_t start;
	unsigned int i;

	for (i = 0; i < 10; i++) {
		start = clock_us(CLOCK_MONOTONIC);
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(slow->db, 0));
		if (clock_us(CLOCK_MONOTONIC) - start < delivery_us)
			return false;
	}
	return true;
}

/* Adds epoll instances until a delivery takes @delivery_us. */
static inline void slow_line_setup(struct __test_metadata *_metadata, struct slow_line *slow,
				   uint64_t delivery_us)
{
	struct epoll_event event = { .events = EPOLLIN };
	unsigned int i, nr_epolls = 0;
	int epoll;

	slow->db = new_context(_metadata, 1);
	slow->status = map_status(_metadata, slow->db);
	for (i = 0; i < ARRAY_SIZE(slow->triggers); i++) {
		slow->triggers[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(slow->db, slow->triggers[i], 0));
	}
	do {
		epoll = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_LE(0, epoll);
		for (i = 0; i < ARRAY_SIZE(slow->triggers); i++)
			ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, slow->triggers[i], &event));
	} while (++nr_epolls < MAX_EPOLLS &&
		 (nr_epolls % 10 || !slow_line_takes(_metadata, slow, delivery_us)));
	ksft_print_msg("a delivery wakes %zu epoll instances\n",
		       nr_epolls * ARRAY_SIZE(slow->triggers));
}

/* Returns the number of deliveries that have started. Makes no system call. */
static inline uint64_t slow_line_deliveries(const struct slow_line *slow)
{
	return __atomic_load_n(&slow->status->deliveries, __ATOMIC_SEQ_CST);
}

#endif /* _DOORBELL_SLOW_LINE_H */
