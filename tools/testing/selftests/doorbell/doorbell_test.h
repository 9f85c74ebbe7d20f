/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Contexts, lines and status pages of the doorbell selftests. The calls themselves are
 * the functions of tools/lib/doorbell/c.
 */
#ifndef _DOORBELL_TEST_H
#define _DOORBELL_TEST_H

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <doorbell.h>
#include <doorbell_status.h>

#include "kselftest_harness.h"

#include "eventfd.h"
#include "kernel.h"
#include "thread.h"
#include "wait.h"

/*
 * The harness's own limit is in seconds of wall-clock time, which a busy host takes
 * from the guest. Each wait has a timeout, so this limit must never be the first.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	(24 * 60 * 60)

#define DEVICE		"/dev/doorbell"

/* Each structure that has the flag has it as the same bit. */
#define DEASSIGN	DOORBELL_IRQFD_FLAG_DEASSIGN
static_assert((DOORBELL_TRIGGER_FLAG_DEASSIGN | DOORBELL_NOTIFIER_FLAG_DEASSIGN |
	       DOORBELL_REGION_FLAG_DEASSIGN) == DEASSIGN, "one bit");

/*
 * Expects EINVAL for each word of the reserved field of @arg that is not zero. The program
 * defines REFUSED().
 */
#define REFUSED_RESERVED(db, cmd, arg) do {				\
	typeof(arg) __arg = arg;					\
	unsigned int __i;						\
									\
	for (__i = 0; __i < ARRAY_SIZE(__arg.reserved); __i++) {	\
		__arg.reserved[__i] = 1U << (31 - __i);			\
		REFUSED(EINVAL, doorbell_ioctl(db, cmd, &__arg));	\
		__arg.reserved[__i] = 0;				\
	}								\
} while (0)

/* Returns a new context with @nr_lines lines; 0: the lines are not chosen. */
static inline int new_context(struct __test_metadata *_metadata, uint32_t nr_lines)
{
	int db = open(DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, db) {
		TH_LOG("%s: %s; is the module loaded, and are you root?",
		       DEVICE, strerror(errno));
	}
	if (nr_lines)
		ASSERT_EQ(0, doorbell_set_lines(db, nr_lines));
	return db;
}

/* Returns the context's information. All of it comes from the module. */
static inline struct doorbell_get_info info_of(struct __test_metadata *_metadata, int db)
{
	struct doorbell_get_info info;

	memset(&info, 0xff, sizeof(info));
	ASSERT_EQ(0, doorbell_get_info(db, &info));
	return info;
}

/* Queries a line. All that DOORBELL_QUERY reports comes from the module. */
static inline struct doorbell_query line_of(struct __test_metadata *_metadata, int db,
					    uint32_t line)
{
	struct doorbell_query query;

	memset(&query, 0xff, sizeof(query));
	query.line = line;
	query.flags = 0;
	query.reserved = 0;
	ASSERT_EQ(0, doorbell_ioctl(db, DOORBELL_QUERY, &query));
	return query;
}

/* Waits until nothing is pending on the line, and returns its state. */
static inline struct doorbell_query settled(struct __test_metadata *_metadata, int db,
					    uint32_t line)
{
	struct doorbell_query query;

	ASSERT_TRUE(WAIT_FOR(!((query = line_of(_metadata, db, line)).state &
			       DOORBELL_LINE_PENDING)));
	return query;
}

/* The status pages. A test makes a system call between two reads of a field. */

/* Returns the size of the status pages of @nr_lines lines, in whole pages. */
static inline size_t status_size(uint32_t nr_lines)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (nr_lines * sizeof(struct doorbell_line_status) + page - 1) / page * page;
}

/* Maps all status pages as an array. */
static inline const struct doorbell_line_status *map_status(struct __test_metadata *_metadata,
							    int db)
{
	struct doorbell_status_pages status = {};

	ASSERT_EQ(0, doorbell_map_status(db, &status));
	ASSERT_EQ(sizeof(struct doorbell_line_status), status.stride);
	return status.base;
}

/* The state of a line that is masked for @reasons, and that DOORBELL_MASK has masked. */
#define MASKED_FOR(reasons)	(DOORBELL_LINE_MASKED | (reasons) << DOORBELL_LINE_REASONS_SHIFT)
#define VECTOR_MASKED		MASKED_FOR(DOORBELL_MASK_VECTOR)

static inline uint32_t status_state(const struct doorbell_line_status *status)
{
	return status->state & DOORBELL_LINE_STATE;
}

/* Returns true if the page and the query agree. The line must be idle meanwhile. */
static inline bool status_agrees(const struct doorbell_line_status *status,
				 const struct doorbell_query *query)
{
	bool pending = query->state & DOORBELL_LINE_PENDING;

	return status_state(status) == query->state &&
	       status->deliveries == query->deliveries &&
	       status->dropped == query->dropped &&
	       status->deferred == query->deferred &&
	       status->acks == query->acks &&
	       status->deliveries + status->coalesced + status->dropped + pending == query->rings;
}

/*
 * Makes each delivery of line @from of context @a ring line @to of context @b. Returns the
 * eventfd that connects the two.
 */
static inline int link_lines(struct __test_metadata *_metadata, int a, uint32_t from, int b,
			     uint32_t to)
{
	int efd = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(b, efd, to));
	ASSERT_EQ(0, doorbell_assign_trigger(a, efd, from));
	return efd;
}

/* Expects the state of a line of self->db from DOORBELL_QUERY, status page and PENDING. */
#define EXPECT_STATE(line, expected) do {				\
	const uint32_t __line = line, __state = expected;		\
	struct doorbell_query __query = line_of(_metadata, self->db, __line); \
									\
	EXPECT_EQ(__state, __query.state);				\
	EXPECT_TRUE(status_agrees(&self->status[__line], &__query));	\
	EXPECT_EQ(!!(__state & DOORBELL_LINE_PENDING), doorbell_pending(self->db, __line)); \
} while (0)

#endif /* _DOORBELL_TEST_H */
