// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls the ioctls of a line's waiters with each allocation and user copy failing in turn.
 * See fail_nth.c.
 */
#include "fail_nth.h"

/* The calls are for line 2. */
static int call_waiters(struct testbed *w)
{
	return doorbell_assign_waiters(w->db, 2);
}

static bool check_waiters(struct testbed *w)
{
	uint64_t count;

	return doorbell_ring(w->db, 2) == DOORBELL_RING_DELIVERED &&
	       !doorbell_wait(w->db, 2, 0, &count) && count == 1 &&
	       doorbell_wait(w->db, 2, 0, &count) == -ETIMEDOUT;
}

TEST_F(fail_nth, waiters)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_waiters, .check = check_waiters });
}

/* Another line has waiters, so there is a table of waiters already. */
static void prepare_other(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_waiters(w->db, 1));
}

TEST_F(fail_nth, waiters_second)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_other, .call = call_waiters,
		.check = check_waiters });
}

static void prepare_waiters(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_waiters(w->db, 2));
}

static int call_waiters_deassign(struct testbed *w)
{
	return doorbell_deassign_waiters(w->db, 2);
}

TEST_F(fail_nth, waiters_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_waiters, .call = call_waiters_deassign });
}

/* A call that fails has not consumed the delivery: the next one does. */
static void prepare_delivery(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_waiters(w->db, 2));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db, 2));
}

static int call_wait(struct testbed *w)
{
	uint64_t count;
	int ret = doorbell_wait(w->db, 2, 0, &count);

	return ret < 0 ? ret : count;
}

TEST_F(fail_nth, wait)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_delivery, .call = call_wait,
		.check = check_waiters });
}

static int call_ring_wait_line(struct testbed *w)
{
	uint64_t count;
	int ret = doorbell_ring_wait(w->db, 0, 2, DOORBELL_RING_WAIT_FLAG_LINE |
				     DOORBELL_RING_WAIT_FLAG_NO_RING, 0, &count);

	return ret < 0 ? ret : count;
}

TEST_F(fail_nth, ring_wait_line)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_delivery, .call = call_ring_wait_line,
		.check = check_waiters });
}

TEST_HARNESS_MAIN
