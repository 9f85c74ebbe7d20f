// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls the ioctls of level lines with each allocation and user copy failing in turn. See
 * fail_nth.c.
 */
#include "fail_nth.h"

/* The calls are for line 2. */
static void prepare_level(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_set_type(w->db, 2, DOORBELL_TYPE_LEVEL));
}

static int call_set_type(struct testbed *w)
{
	return doorbell_set_type(w->db, 2, DOORBELL_TYPE_LEVEL);
}

static bool check_level(struct testbed *w)
{
	return doorbell_ring(w->db, 2) == DOORBELL_RING_DELIVERED &&
	       doorbell_ring(w->db, 2) == DOORBELL_RING_COALESCED &&
	       doorbell_ack(w->db, 2) == DOORBELL_ACK_DONE;
}

TEST_F(fail_nth, set_type)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_set_type, .check = check_level });
}

static int call_set_type_automask(struct testbed *w)
{
	return doorbell_set_type_automask(w->db, 2, DOORBELL_TYPE_LEVEL);
}

static bool check_automask(struct testbed *w)
{
	return doorbell_ring(w->db, 2) == DOORBELL_RING_DELIVERED &&
	       doorbell_ack(w->db, 2) == DOORBELL_ACK_POSTPONED &&
	       doorbell_ring(w->db, 2) == DOORBELL_RING_MASKED &&
	       doorbell_unmask_for(w->db, 2, DOORBELL_MASK_AUTO) == 1;
}

TEST_F(fail_nth, set_type_automask)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_set_type_automask, .check = check_automask });
}

static int call_set_type_edge(struct testbed *w)
{
	return doorbell_set_type(w->db, 2, DOORBELL_TYPE_EDGE);
}

TEST_F(fail_nth, set_type_edge)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_level, .call = call_set_type_edge });
}

static int call_moderate(struct testbed *w)
{
	return doorbell_moderate(w->db, 2, DOORBELL_MAX_INTERVAL, 3);
}

/* The module's limits are those of the call that succeeded. */
static bool check_moderate(struct testbed *w)
{
	struct doorbell_moderate limits;

	return !doorbell_get_moderation(w->db, 2, &limits) &&
	       limits.min_interval == DOORBELL_MAX_INTERVAL && limits.max_count == 3;
}

TEST_F(fail_nth, moderate)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_moderate, .check = check_moderate });
}

static int call_get_moderation(struct testbed *w)
{
	struct doorbell_moderate limits;

	return doorbell_get_moderation(w->db, 2, &limits);
}

TEST_F(fail_nth, get_moderation)
{
	sweep(_metadata, &(struct sweep){ .lines = LINES, .call = call_get_moderation });
}

static int call_raise(struct testbed *w)
{
	return doorbell_set_level(w->db, 2, 1);
}

static bool check_raised(struct testbed *w)
{
	return doorbell_ack(w->db, 2) == DOORBELL_ACK_DONE &&
	       doorbell_ack(w->db, 2) == DOORBELL_ACK_DONE;
}

TEST_F(fail_nth, raise)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_level, .call = call_raise,
		.check = check_raised });
}

/* A message that DOORBELL_SET_LEVEL can withdraw. */
static void prepare_raised(struct __test_metadata *_metadata, struct testbed *w)
{
	prepare_level(_metadata, w);
	prepare_masked(_metadata, w);
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_set_level(w->db, 2, 1));
}

static int call_lower(struct testbed *w)
{
	return doorbell_set_level(w->db, 2, 0);
}

TEST_F(fail_nth, lower)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_raised, .call = call_lower });
}

/* An irqfd with a resamplefd, which is a trigger of line 0, too. */
static int call_resample(struct testbed *w)
{
	return doorbell_assign_resampled(w->db, w->spare, 2, w->out);
}

static bool check_resample(struct testbed *w)
{
	struct doorbell_query before, after;
	uint64_t signals;

	/* The ack for the counter that was consumed by the assignment. */
	doorbell_ack(w->db, 2);
	signals = efd_count(w->out);
	if (doorbell_query(w->db, 2, &before) || efd_write(w->spare, 1))
		return false;
	return WAIT_FOR(!doorbell_query(w->db, 2, &after) &&
			after.deliveries == before.deliveries + 1 &&
			after.state == (DOORBELL_LINE_LEVEL | DOORBELL_LINE_ASSERTED)) &&
	       doorbell_ack(w->db, 2) == DOORBELL_ACK_DONE && efd_count(w->out) == signals + 1;
}

TEST_F(fail_nth, resample)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_level, .call = call_resample,
		.check = check_resample });
}

/* The counter is not consumed before the irqfd is assigned for good. */
TEST_F(fail_nth, resample_signalled)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 7, .prepare = prepare_level, .call = call_resample,
		.check = check_resample });
}

static void prepare_resample(struct __test_metadata *_metadata, struct testbed *w)
{
	prepare_level(_metadata, w);
	ASSERT_EQ(0, doorbell_assign_resampled(w->db, w->spare, 2, w->out));
}

static int call_resample_deassign(struct testbed *w)
{
	return doorbell_deassign_irqfd(w->db, w->spare, 2);
}

TEST_F(fail_nth, resample_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_resample, .call = call_resample_deassign });
}

static int call_ack_unmaskfd(struct testbed *w)
{
	return doorbell_assign_ack_unmaskfd(w->db, w->spare, 2);
}

static bool check_ackfd(struct testbed *w)
{
	struct doorbell_query query;

	return doorbell_ring(w->db, 2) == DOORBELL_RING_DELIVERED && !efd_write(w->spare, 1) &&
	       !doorbell_query(w->db, 2, &query) && query.state == DOORBELL_LINE_LEVEL &&
	       query.acks == 1 && query.nr_ackfds == 1 && query.nr_unmaskfds == 1;
}

TEST_F(fail_nth, ackfd)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_level, .call = call_ack_unmaskfd,
		.check = check_ackfd });
}

/* The counter is not consumed before the ackfd is assigned for good. */
TEST_F(fail_nth, ackfd_signalled)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 7, .prepare = prepare_level,
		.call = call_ack_unmaskfd, .check = check_ackfd });
}

static void prepare_ackfd(struct __test_metadata *_metadata, struct testbed *w)
{
	prepare_level(_metadata, w);
	ASSERT_EQ(0, doorbell_assign_ack_unmaskfd(w->db, w->spare, 2));
}

TEST_F(fail_nth, ackfd_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_ackfd, .call = call_resample_deassign });
}

/* An unmaskfd of an edge line, which is masked. */
static int call_unmaskfd(struct testbed *w)
{
	return doorbell_assign_unmaskfd(w->db, w->spare, 2);
}

static bool check_unmaskfd(struct testbed *w)
{
	struct doorbell_query query;

	return doorbell_mask(w->db, 2) == 1 && !efd_write(w->spare, 1) &&
	       !doorbell_query(w->db, 2, &query) && query.nr_unmaskfds == 1;
}

TEST_F(fail_nth, unmaskfd)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_unmaskfd, .check = check_unmaskfd });
}

static void prepare_unmaskfd(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_unmaskfd(w->db, w->spare, 2));
}

TEST_F(fail_nth, unmaskfd_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_unmaskfd, .call = call_resample_deassign });
}

/* An ack, its notifiers and resamplefds, and the delivery after it: nothing in it can fail. */
TEST_F(fail_nth, ack)
{
	const struct sweep nothing = { .lines = LINES };
	struct testbed w = new_testbed(_metadata, &nothing);

	prepare_resample(_metadata, &w);
	ASSERT_EQ(0, doorbell_assign_notifier(w.db, w.out, 2, DOORBELL_NOTIFY_ACK));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(w.db, 2, 1));
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(w.db, 2));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_EQ(2, efd_read(w.out));
	EXPECT_EQ(2, line_of(_metadata, w.db, 2).deliveries);
	EXPECT_EQ(1, doorbell_mask(w.db, 2));
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_ACK_POSTPONED, doorbell_ack(w.db, 2));
	EXPECT_EQ(DOORBELL_ACK_NOTHING, doorbell_ack(w.db, 2));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_EQ(1, efd_read(w.out));
	EXPECT_EQ(1, doorbell_unmask(w.db, 2));
	EXPECT_EQ(1, efd_read(w.out));
	end_testbed(&w);
}

TEST_HARNESS_MAIN
