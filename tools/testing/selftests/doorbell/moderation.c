// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moderation: what a line holds during an interval, and what ends the interval. Runs as a
 * 32-bit program, too.
 *
 * An interval is never shorter than requested. So a test that has seen less time pass since
 * before the interval began knows that it has not ended, however slow the machine is. If
 * more time has passed, the test begins again.
 */
#include <doorbell_bus.h>

#include "summary.h"

#define LONGEST		DOORBELL_MAX_INTERVAL
#define MODERATED	DOORBELL_LINE_MODERATED
#define HELD		(MODERATED | DOORBELL_LINE_PENDING)

FIXTURE(moderation) {
	int kmsg;
	int db;
	int in;
	int out;
	const struct doorbell_line_status *status;
	struct timeout timeout;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Puts a new context into place, with a trigger and an irqfd of the moderated line 0. */
static void setup(struct __test_metadata *_metadata, struct _test_data_moderation *self,
		  uint32_t max_count)
{
	if (self->db >= 0) {
		munmap((void *)self->status, status_size(2));
		close(self->db);
		close(self->in);
		close(self->out);
	}
	self->db = new_context(_metadata, 2);
	self->status = map_status(_metadata, self->db);
	self->in = new_eventfd(_metadata, 0, 0);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	ASSERT_EQ(0, doorbell_moderate(self->db, 0, LONGEST, max_count));
}

FIXTURE_SETUP(moderation)
{
	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = -1;
	setup(_metadata, self, 0);
}

FIXTURE_TEARDOWN(moderation)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* The executions of a block with WITHIN_INTERVAL(). */
struct attempt {
	uint32_t max_count;
	bool begun;
	uint64_t begin;
};

/* Returns true if the block has to be executed, and sets up its line for that. */
static bool attempt(struct __test_metadata *_metadata, struct _test_data_moderation *self,
		    struct attempt *attempt)
{
	if (attempt->begun) {
		if (now_ns() - attempt->begin < LONGEST)
			return false;
		ASSERT_FALSE(timed_out(&self->timeout));
	}
	setup(_metadata, self, attempt->max_count);
	attempt->begun = true;
	attempt->begin = now_ns();
	return true;
}

/*
 * Executes the block that follows until it took less time than the longest interval. Each
 * time the line has no history. The block must not wait.
 */
#define WITHIN_INTERVAL(count)							\
	for (struct attempt __attempt = { .max_count = count };			\
	     attempt(_metadata, self, &__attempt);)

/* The observations in an interval. */
struct seen {
	int first;
	int second;
	int third;
	int result;
	uint64_t at_once;
	uint64_t later;
	struct doorbell_query query;
};

/* Waits until a delivery of line 0 is done, and with it the begin of the interval. */
#define DELIVERED() do {						\
	settled(_metadata, self->db, 0);				\
	/* A mask waits for the delivery in flight. */			\
	doorbell_mask(self->db, 0);					\
	doorbell_unmask(self->db, 0);					\
} while (0)

/* Rings an idle line, and twice more. */
static void ring_three(struct _test_data_moderation *self, struct seen *seen)
{
	seen->first = doorbell_ring(self->db, 0);
	seen->at_once = efd_read(self->out);
	seen->second = doorbell_ring(self->db, 0);
	seen->third = doorbell_ring(self->db, 0);
}

#define EXPECT_THREE(results) do {					\
	const struct seen __three = results;				\
									\
	EXPECT_EQ(DOORBELL_RING_DELIVERED, __three.first);		\
	EXPECT_EQ(1, __three.at_once);					\
	EXPECT_EQ(DOORBELL_RING_DELIVERED, __three.second);		\
	EXPECT_EQ(DOORBELL_RING_COALESCED, __three.third);		\
} while (0)

TEST_F(moderation, first_at_once_rest_held)
{
	struct seen seen = {};
	uint64_t begin = 0;
	int pending = 0;

	WITHIN_INTERVAL(0) {
		begin = now_ns();
		ring_three(self, &seen);
		pending = doorbell_pending(self->db, 0);
		seen.query = line_of(_metadata, self->db, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(1, pending);
	EXPECT_EQ(HELD, seen.query.state);
	EXPECT_EQ(3, seen.query.rings);
	EXPECT_EQ(1, seen.query.deliveries);
	EXPECT_EQ(0, seen.later);

	/* The last ring is delivered, and not before the end of the interval. */
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_LE(LONGEST, now_ns() - begin);
	EXPECT_STATE(0, MODERATED);
	seen.query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(3, seen.query.rings);
	EXPECT_EQ(2, seen.query.deliveries);
	EXPECT_EQ(1, self->status[0].coalesced);
	EXPECT_EQ(0, efd_count(self->out));
}

/* Each delivery begins an interval, also that of a held message. */
TEST_F(moderation, distance_of_deliveries)
{
	const uint32_t interval = 2000000;
	uint64_t before, last = 0;
	unsigned int i;

	ASSERT_EQ(0, doorbell_moderate(self->db, 0, interval, 0));
	for (i = 0; i < 50; i++) {
		before = now_ns();
		ASSERT_EQ(i % 2 ? 0 : DOORBELL_RING_DELIVERED,
			  i % 2 ? efd_write(self->in, 1) : doorbell_ring(self->db, 0));
		ASSERT_EQ(1, efd_wait(self->out));
		/* @last is before the delivery before this one, and now is after this one. */
		if (last)
			ASSERT_LE(interval, now_ns() - last);
		last = before;
	}
	EXPECT_EQ(50, line_of(_metadata, self->db, 0).deliveries);
}

TEST_F(moderation, limits)
{
	struct doorbell_moderate limits = {};

	ASSERT_EQ(0, doorbell_get_moderation(self->db, 1, &limits));
	EXPECT_EQ(0, limits.min_interval);
	EXPECT_EQ(0, limits.max_count);
	EXPECT_STATE(1, 0);

	ASSERT_EQ(0, doorbell_moderate(self->db, 1, DOORBELL_MIN_INTERVAL, UINT32_MAX));
	EXPECT_STATE(1, MODERATED);
	ASSERT_EQ(0, doorbell_get_moderation(self->db, 1, &limits));
	EXPECT_EQ(1, limits.line);
	EXPECT_EQ(DOORBELL_MODERATE_FLAG_GET, limits.flags);
	EXPECT_EQ(DOORBELL_MIN_INTERVAL, limits.min_interval);
	EXPECT_EQ(UINT32_MAX, limits.max_count);
	EXPECT_EQ(0, limits.reserved[0]);
	/* Line 0 has limits of its own. */
	ASSERT_EQ(0, doorbell_get_moderation(self->db, 0, &limits));
	EXPECT_EQ(LONGEST, limits.min_interval);
	EXPECT_EQ(0, limits.max_count);

	ASSERT_EQ(0, doorbell_moderate(self->db, 1, 0, 0));
	ASSERT_EQ(0, doorbell_moderate(self->db, 1, 0, 0));
	EXPECT_STATE(1, 0);
	ASSERT_EQ(0, doorbell_get_moderation(self->db, 1, &limits));
	EXPECT_EQ(0, limits.min_interval);
	EXPECT_EQ(0, limits.max_count);
}

TEST_F(moderation, off_delivers_what_is_held)
{
	struct seen seen = {};
	int i;

	WITHIN_INTERVAL(0) {
		ring_three(self, &seen);
		seen.result = doorbell_moderate(self->db, 0, 0, 0);
		seen.later = efd_read(self->out);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(1, seen.later);
	EXPECT_STATE(0, 0);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
		EXPECT_EQ(1, efd_read(self->out));
	}
}

TEST_F(moderation, new_limits_end_the_interval)
{
	struct seen seen = {};

	WITHIN_INTERVAL(0) {
		ring_three(self, &seen);
		seen.result = doorbell_moderate(self->db, 0, LONGEST, 0);
		seen.later = efd_read(self->out);
		/* That delivery has begun an interval. */
		seen.second = doorbell_ring(self->db, 0);
		seen.third = doorbell_ring(self->db, 0);
		seen.query = line_of(_metadata, self->db, 0);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(1, seen.later);
	EXPECT_EQ(HELD, seen.query.state);
	EXPECT_EQ(2, seen.query.deliveries);
	ASSERT_EQ(1, efd_wait(self->out));
}

TEST_F(moderation, close_delivers_what_is_held)
{
	struct seen seen = {};

	WITHIN_INTERVAL(0) {
		ring_three(self, &seen);
		munmap((void *)self->status, status_size(2));
		close(self->db);
		seen.later = efd_read(self->out);
		self->db = new_context(_metadata, 2);
		self->status = map_status(_metadata, self->db);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(1, seen.later);
}

/* An unmask during the interval leaves the message to the timer. */
TEST_F(moderation, unmask_during_interval)
{
	struct seen seen = {};
	int mask = 0;

	WITHIN_INTERVAL(0) {
		ring_three(self, &seen);
		mask = doorbell_mask(self->db, 0);
		seen.query = line_of(_metadata, self->db, 0);
		seen.result = doorbell_unmask(self->db, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(1, mask);
	EXPECT_EQ(HELD | VECTOR_MASKED, seen.query.state);
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(0, seen.later);
	ASSERT_EQ(1, efd_wait(self->out));
}

/* The end of the interval leaves the message to the unmask. */
TEST_F(moderation, unmask_after_interval)
{
	ASSERT_EQ(0, doorbell_moderate(self->db, 0, DOORBELL_MIN_INTERVAL, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	efd_read(self->out);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	/* The timer of line 1 expires later, and delivers. */
	ASSERT_EQ(0, doorbell_moderate(self->db, 1, 10 * DOORBELL_MIN_INTERVAL, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 1).deliveries == 2));
	EXPECT_STATE(0, HELD | VECTOR_MASKED);
	EXPECT_EQ(0, efd_count(self->out));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
}

/* The end of moderation keeps a mask. */
TEST_F(moderation, off_while_masked)
{
	struct seen seen = {};

	WITHIN_INTERVAL(0) {
		ring_three(self, &seen);
		doorbell_mask(self->db, 0);
		seen.result = doorbell_moderate(self->db, 0, 0, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(0, seen.later);
	EXPECT_STATE(0, DOORBELL_LINE_PENDING | VECTOR_MASKED);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
}

TEST_F(moderation, clear_drops_what_is_held)
{
	struct seen seen = {};
	int clear = 0;

	WITHIN_INTERVAL(0) {
		ring_three(self, &seen);
		clear = doorbell_clear(self->db, 0);
		seen.query = line_of(_metadata, self->db, 0);
		seen.result = doorbell_moderate(self->db, 0, 0, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(1, clear);
	EXPECT_EQ(MODERATED, seen.query.state);
	EXPECT_EQ(1, seen.query.dropped);
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(0, seen.later);
}

/* The fourth ring that is held is delivered at once, and so is what came before it. */
TEST_F(moderation, max_count)
{
	struct doorbell_query query = {};
	int ring[9], i;

	WITHIN_INTERVAL(4) {
		for (i = 0; i < 9; i++) {
			ring[i] = doorbell_ring(self->db, 0);
			/* The line's callback delivers these. */
			if (i == 4 || i == 8)
				DELIVERED();
		}
		query = line_of(_metadata, self->db, 0);
	}
	for (i = 0; i < 9; i++)
		EXPECT_EQ(i == 0 || i % 4 == 1 ? DOORBELL_RING_DELIVERED : DOORBELL_RING_COALESCED,
			  ring[i]);
	EXPECT_EQ(9, query.rings);
	EXPECT_EQ(3, query.deliveries);
	EXPECT_EQ(MODERATED, query.state);
	EXPECT_EQ(3, efd_read(self->out));
}

/* Rings by an irqfd count, too. */
TEST_F(moderation, max_count_of_irqfd)
{
	struct doorbell_query query = {};
	int i;

	WITHIN_INTERVAL(3) {
		for (i = 0; i < 4; i++) {
			efd_write(self->in, 1);
			if (i == 0 || i == 3)
				DELIVERED();
		}
		query = line_of(_metadata, self->db, 0);
	}
	EXPECT_EQ(4, query.rings);
	EXPECT_EQ(2, query.deliveries);
	EXPECT_EQ(2, efd_read(self->out));
}

/* So do those by a region and by a set. */
TEST_F(moderation, max_count_of_any_origin)
{
	const struct doorbell_region region = {
		.space = DOORBELL_SPACE_MMIO, .length = 4, .flags = DOORBELL_REGION_FLAG_LINE,
	};
	struct doorbell_query held, query;
	int assign = 0, set = 0, write = 0;

	WITHIN_INTERVAL(4) {
		assign = doorbell_assign_region(self->db, &region);
		doorbell_ring(self->db, 0);
		DELIVERED();
		efd_write(self->in, 1);
		set = doorbell_ring_lines(self->db, 0, 1, NULL, NULL);
		doorbell_ring(self->db, 0);
		held = line_of(_metadata, self->db, 0);
		write = doorbell_bus_write(self->db, DOORBELL_SPACE_MMIO, 0, 4, 1);
		DELIVERED();
		query = line_of(_metadata, self->db, 0);
	}
	EXPECT_EQ(0, assign);
	EXPECT_EQ(0, set);
	EXPECT_EQ(0, write);
	EXPECT_EQ(HELD, held.state);
	EXPECT_EQ(1, held.deliveries);
	EXPECT_EQ(5, query.rings);
	EXPECT_EQ(2, query.deliveries);
}

/* Rings of a masked line do not count. */
TEST_F(moderation, max_count_while_masked)
{
	struct doorbell_query query = {};
	struct seen seen = {};
	int i;

	WITHIN_INTERVAL(3) {
		ring_three(self, &seen);
		doorbell_mask(self->db, 0);
		for (i = 0; i < 5; i++)
			doorbell_ring(self->db, 0);
		doorbell_unmask(self->db, 0);
		seen.query = line_of(_metadata, self->db, 0);
		doorbell_ring(self->db, 0);
		query = settled(_metadata, self->db, 0);
	}
	EXPECT_THREE(seen);
	EXPECT_EQ(HELD, seen.query.state);
	EXPECT_EQ(1, seen.query.deliveries);
	EXPECT_EQ(2, query.deliveries);
}

/* A level that stays raised is one message in an interval, though each is acked. */
TEST_F(moderation, level)
{
	const uint32_t level = DOORBELL_LINE_LEVEL | MODERATED;
	struct seen seen = {};
	int lowered = 0;

	WITHIN_INTERVAL(0) {
		doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL);
		seen.first = doorbell_set_level(self->db, 0, 1);
		seen.at_once = efd_read(self->out);
		seen.result = doorbell_ack(self->db, 0);
		seen.query = line_of(_metadata, self->db, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.first);
	EXPECT_EQ(1, seen.at_once);
	EXPECT_EQ(DOORBELL_ACK_DONE, seen.result);
	EXPECT_EQ(level | DOORBELL_LINE_RAISED | DOORBELL_LINE_PENDING, seen.query.state);
	EXPECT_EQ(0, seen.later);
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_STATE(0, level | DOORBELL_LINE_RAISED | DOORBELL_LINE_ASSERTED);

	/* A level that is lowered withdraws the message that it had made pending. */
	WITHIN_INTERVAL(0) {
		doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL);
		doorbell_set_level(self->db, 0, 1);
		seen.at_once = efd_read(self->out);
		doorbell_ack(self->db, 0);
		lowered = doorbell_set_level(self->db, 0, 0);
		seen.query = line_of(_metadata, self->db, 0);
		doorbell_moderate(self->db, 0, 0, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_EQ(1, seen.at_once);
	EXPECT_EQ(1, lowered);
	EXPECT_EQ(level, seen.query.state);
	EXPECT_EQ(1, seen.query.dropped);
	EXPECT_EQ(0, seen.later);
}

/* A line that masks itself delivers once it is unmasked and the interval has ended. */
TEST_F(moderation, automask)
{
	const struct doorbell_set_type automask = { .flags = DOORBELL_TYPE_FLAG_AUTOMASK };
	struct doorbell_line_set handled = { .nr_lines = 1, .flags = DOORBELL_MASK_AUTO };
	struct seen seen = {};

	WITHIN_INTERVAL(0) {
		doorbell_ioctl(self->db, DOORBELL_SET_TYPE, (void *)&automask);
		seen.first = doorbell_ring(self->db, 0);
		seen.at_once = efd_read(self->out);
		seen.second = doorbell_ring(self->db, 0);
		seen.result = doorbell_ioctl(self->db, DOORBELL_UNMASK, &handled);
		seen.query = line_of(_metadata, self->db, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.first);
	EXPECT_EQ(1, seen.at_once);
	EXPECT_EQ(DOORBELL_RING_MASKED, seen.second);
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(HELD | DOORBELL_LINE_AUTOMASK, seen.query.state);
	EXPECT_EQ(0, seen.later);
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(MODERATED | DOORBELL_LINE_AUTOMASK | DOORBELL_LINE_MASKED |
		  DOORBELL_MASK_AUTO << DOORBELL_LINE_REASONS_SHIFT,
		  line_of(_metadata, self->db, 0).state);
}

/* A signal to an unmaskfd ends the mask, not the interval. */
TEST_F(moderation, unmaskfd)
{
	const struct doorbell_set_type automask = { .flags = DOORBELL_TYPE_FLAG_AUTOMASK };
	int back = new_eventfd(_metadata, 0, 0);
	struct seen seen = {};
	uint64_t begin = 0;

	WITHIN_INTERVAL(0) {
		doorbell_ioctl(self->db, DOORBELL_SET_TYPE, (void *)&automask);
		seen.result = doorbell_assign_unmaskfd(self->db, back, 0);
		begin = now_ns();
		seen.first = doorbell_ring(self->db, 0);
		seen.at_once = efd_read(self->out);
		seen.second = doorbell_ring(self->db, 0);
		efd_write(back, 1);
		seen.query = line_of(_metadata, self->db, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.first);
	EXPECT_EQ(1, seen.at_once);
	EXPECT_EQ(DOORBELL_RING_MASKED, seen.second);
	EXPECT_EQ(HELD | DOORBELL_LINE_AUTOMASK, seen.query.state);
	EXPECT_EQ(0, seen.later);
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_LE(LONGEST, now_ns() - begin);
	EXPECT_EQ(2, line_of(_metadata, self->db, 0).deliveries);
}

/* Nor does a signal to an ackfd. A level that is still raised is delivered at its end. */
TEST_F(moderation, ackfd)
{
	int back = new_eventfd(_metadata, 0, 0);
	struct seen seen = {};
	uint64_t begin = 0;

	WITHIN_INTERVAL(0) {
		doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL);
		seen.result = doorbell_assign_ackfd(self->db, back, 0);
		begin = now_ns();
		seen.first = doorbell_set_level(self->db, 0, 1);
		seen.at_once = efd_read(self->out);
		efd_write(back, 1);
		seen.later = efd_count(self->out);
	}
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.first);
	EXPECT_EQ(1, seen.at_once);
	EXPECT_EQ(0, seen.later);
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_LE(LONGEST, now_ns() - begin);
	seen.query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(MODERATED | DOORBELL_LINE_LEVEL | DOORBELL_LINE_RAISED | DOORBELL_LINE_ASSERTED,
		  seen.query.state);
	EXPECT_EQ(1, seen.query.acks);
	EXPECT_EQ(2, seen.query.deliveries);
}

/* The summary has a mark for what was delivered, and none for what is held. */
TEST_F(moderation, summary)
{
	struct doorbell_summary_words words = {};
	int assign = -1, first = -1, second = -1, fired = -1;

	WITHIN_INTERVAL(0) {
		assign = doorbell_assign_summary(self->db, 0, 2);
		words = map_summary(_metadata, self->db);
		doorbell_ring(self->db, 0);
		first = take_only(&words);
		second = doorbell_ring(self->db, 0);
		fired = doorbell_has_fired(&words);
	}
	EXPECT_EQ(0, assign);
	EXPECT_EQ(0, first);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, second);
	EXPECT_EQ(0, fired);
	ASSERT_EQ(POLLIN, efd_await(self->db, POLLIN));
	EXPECT_EQ(0, take_only(&words));
}

/* The first trigger gets the message of an asserted level line at the end of the interval. */
TEST_F(moderation, first_trigger)
{
	struct seen seen = {};

	WITHIN_INTERVAL(0) {
		doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL);
		doorbell_deassign_trigger(self->db, self->out, 0);
		seen.first = doorbell_ring(self->db, 0);
		seen.result = doorbell_assign_trigger(self->db, self->out, 0);
		seen.query = line_of(_metadata, self->db, 0);
		seen.later = efd_count(self->out);
	}
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.first);
	EXPECT_EQ(0, seen.result);
	EXPECT_EQ(HELD | DOORBELL_LINE_LEVEL | DOORBELL_LINE_ASSERTED, seen.query.state);
	EXPECT_EQ(0, seen.later);
	ASSERT_EQ(1, efd_wait(self->out));
}

TEST_HARNESS_MAIN
