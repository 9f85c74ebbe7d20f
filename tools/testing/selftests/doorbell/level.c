// SPDX-License-Identifier: GPL-2.0-only
/*
 * Level lines: types, assertions and acks, levels that are raised and lowered. Resamplefds
 * and ack notifiers are in resample.c. Runs as a 32-bit program, too.
 */
#include "level.h"

FIXTURE(level) {
	LEVEL_FIXTURE;
};

FIXTURE_SETUP(level)
{
	LEVEL_SETUP();
}

FIXTURE_TEARDOWN(level)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Lines are edge lines until DOORBELL_SET_TYPE, which changes one line only. */
TEST_F(level, types)
{
	int db = new_context(_metadata, 2), out = new_eventfd(_metadata, 0, 0), i;
	struct doorbell_query query;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	EXPECT_EQ(0, line_of(_metadata, db, 0).state);
	EXPECT_EQ(0, doorbell_set_type(db, 0, DOORBELL_TYPE_EDGE));
	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
		EXPECT_EQ(1, efd_read(out));
		EXPECT_EQ(-EOPNOTSUPP, doorbell_ack(db, 0));
		EXPECT_EQ(0, line_of(_metadata, db, 0).state);
	}
	EXPECT_EQ(0, doorbell_set_type(db, 0, DOORBELL_TYPE_LEVEL));
	EXPECT_EQ(LEVEL, line_of(_metadata, db, 0).state);
	EXPECT_EQ(0, line_of(_metadata, db, 1).state);
	/* Nothing is left of the time as an edge line. */
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(NOTHING, doorbell_ack(db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(db, 0));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(DONE, doorbell_ack(db, 0));
	EXPECT_EQ(0, doorbell_set_type(db, 0, DOORBELL_TYPE_EDGE));
	EXPECT_EQ(0, line_of(_metadata, db, 0).state);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(2, efd_read(out));
	query = line_of(_metadata, db, 0);
	EXPECT_EQ(7, query.rings);
	EXPECT_EQ(6, query.deliveries);
	EXPECT_EQ(1, query.acks);
	EXPECT_EQ(-EOPNOTSUPP, doorbell_ack(db, 0));
	EXPECT_EQ(-EOPNOTSUPP, doorbell_set_level(db, 0, 1));
}

/* Expects EBUSY for the other type; the type that the line has already is allowed. */
#define STAYS(type) do {						\
	EXPECT_EQ(-EBUSY, doorbell_set_type(self->db, 1, !(type)));	\
	EXPECT_EQ(0, doorbell_set_type(self->db, 1, type));		\
} while (0)

TEST_F(level, type_in_use)
{
	/* An asserted line cannot change its type. An ack frees it, a mask does not. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	STAYS(DOORBELL_TYPE_LEVEL);
	EXPECT_STATE(1, LEVEL | ASSERTED);
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 1));
	EXPECT_STATE(1, LEVEL | MASKED | RESAMPLE);
	/* No signal is postponed: there is no resamplefd. */
	EXPECT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_EDGE));
	EXPECT_STATE(1, MASKED);
	/* An edge line with a pending message. */
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 1));
	STAYS(DOORBELL_TYPE_EDGE);
	EXPECT_STATE(1, MASKED | PENDING);
	EXPECT_EQ(1, doorbell_clear(self->db, 1));
	EXPECT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_LEVEL));
	EXPECT_STATE(1, LEVEL | MASKED);
	/* A level line with a message, then raised with one, then raised without. */
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 1));
	STAYS(DOORBELL_TYPE_LEVEL);
	EXPECT_EQ(1, doorbell_clear(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_set_level(self->db, 1, 1));
	STAYS(DOORBELL_TYPE_LEVEL);
	EXPECT_STATE(1, LEVEL | MASKED | PENDING | RAISED | RESAMPLE);
	EXPECT_EQ(1, doorbell_unmask(self->db, 1));
	STAYS(DOORBELL_TYPE_LEVEL);
	EXPECT_EQ(0, doorbell_set_level(self->db, 1, 0));
	/* The message was delivered, so it needs an ack. */
	STAYS(DOORBELL_TYPE_LEVEL);
	EXPECT_EQ(DONE, doorbell_ack(self->db, 1));
	EXPECT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_EDGE));

	/* Line 0 has an irqfd with a resamplefd; irqfds without one do not matter. */
	EXPECT_EQ(-EBUSY, doorbell_set_type(self->db, 0, DOORBELL_TYPE_EDGE));
	EXPECT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[0], 0));
	EXPECT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_EDGE));
	EXPECT_EQ(1, line_of(_metadata, self->db, 1).nr_irqfds);
}

/* A context with a level line that has no trigger yet, its eventfd, and its status. */
struct untriggered {
	int db;
	int out;
	const struct doorbell_line_status *status;
};

static struct untriggered new_untriggered(struct __test_metadata *_metadata)
{
	struct untriggered u = {
		.db = new_context(_metadata, 1), .out = new_eventfd(_metadata, 0, 0),
	};

	u.status = map_status(_metadata, u.db);
	ASSERT_EQ(0, doorbell_set_type(u.db, 0, DOORBELL_TYPE_LEVEL));
	return u;
}

#define EXPECT_LINE(u, expected, nr_rings, nr_deliveries) do {		\
	const typeof(u) *__u = &(u);					\
	struct doorbell_query __query = line_of(_metadata, __u->db, 0);	\
									\
	EXPECT_EQ(expected, __query.state);				\
	EXPECT_EQ(nr_rings, __query.rings);				\
	EXPECT_EQ(nr_deliveries, __query.deliveries);			\
	EXPECT_TRUE(status_agrees(__u->status, &__query));		\
} while (0)

/* The first trigger gets the message that found no trigger, once. */
TEST_F(level, asserted_before_the_first_trigger)
{
	struct untriggered u = new_untriggered(_metadata);
	int late = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(u.db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(u.db, 0));
	EXPECT_LINE(u, LEVEL | ASSERTED, 2, 1);
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, u.out, 0));
	EXPECT_EQ(1, efd_read(u.out));
	EXPECT_LINE(u, LEVEL | ASSERTED, 3, 2);
	/* After that no other trigger gets it, and further rings coalesce. */
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, late, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(u.db, 0));
	EXPECT_EQ(0, efd_count(u.out));
	EXPECT_EQ(0, efd_count(late));
	ASSERT_EQ(0, doorbell_deassign_trigger(u.db, late, 0));
	ASSERT_EQ(0, doorbell_deassign_trigger(u.db, u.out, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, late, 0));
	EXPECT_EQ(0, efd_count(late));
	EXPECT_LINE(u, LEVEL | ASSERTED, 4, 2);
	EXPECT_EQ(DONE, doorbell_ack(u.db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(u.db, 0));
	EXPECT_EQ(1, efd_read(late));

	/* The next assertion without a trigger is sent to the next first trigger. */
	EXPECT_EQ(DONE, doorbell_ack(u.db, 0));
	ASSERT_EQ(0, doorbell_deassign_trigger(u.db, late, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(u.db, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, u.out, 0));
	EXPECT_EQ(1, efd_read(u.out));
	EXPECT_LINE(u, LEVEL | ASSERTED, 7, 5);
}

/* By an irqfd with a resamplefd, as a device does it: the line does not hang. */
TEST_F(level, asserted_by_a_device_before_the_first_trigger)
{
	struct untriggered u = new_untriggered(_metadata);
	int in = new_eventfd(_metadata, 0, 0), res = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_resampled(u.db, in, 0, res));
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, u.db, 0).deliveries == 1));
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, u.out, 0));
	ASSERT_EQ(1, efd_wait(u.out));
	EXPECT_EQ(DONE, doorbell_ack(u.db, 0));
	EXPECT_EQ(1, efd_read(res));
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_EQ(1, efd_wait(u.out));
	EXPECT_LINE(u, LEVEL | ASSERTED, 3, 3);
}

/* A mask holds the message for that trigger, too; an assertion that was acked is not sent. */
TEST_F(level, first_trigger_of_a_masked_or_acked_line)
{
	struct untriggered u = new_untriggered(_metadata);

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(u.db, 0));
	EXPECT_EQ(1, doorbell_mask(u.db, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, u.out, 0));
	EXPECT_EQ(0, efd_count(u.out));
	EXPECT_LINE(u, LEVEL | MASKED | ASSERTED | PENDING, 2, 1);
	EXPECT_EQ(1, doorbell_unmask(u.db, 0));
	EXPECT_EQ(1, efd_read(u.out));
	EXPECT_LINE(u, LEVEL | ASSERTED, 2, 2);
	EXPECT_EQ(DONE, doorbell_ack(u.db, 0));
	ASSERT_EQ(0, doorbell_deassign_trigger(u.db, u.out, 0));

	/* Acked, before there was one. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(u.db, 0));
	EXPECT_EQ(DONE, doorbell_ack(u.db, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, u.out, 0));
	EXPECT_EQ(0, efd_count(u.out));
	EXPECT_LINE(u, LEVEL, 3, 3);
	ASSERT_EQ(0, doorbell_deassign_trigger(u.db, u.out, 0));

	/* Raised and lowered again: the message still waits for its ack. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(u.db, 0, 1));
	EXPECT_EQ(0, doorbell_set_level(u.db, 0, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, u.out, 0));
	EXPECT_EQ(1, efd_read(u.out));
	EXPECT_EQ(DONE, doorbell_ack(u.db, 0));
	EXPECT_LINE(u, LEVEL, 5, 5);
}

/* An edge line's message is over when it is sent, with a trigger or without. */
TEST_F(level, edge_line_without_a_trigger)
{
	struct untriggered u = new_untriggered(_metadata);

	ASSERT_EQ(0, doorbell_set_type(u.db, 0, DOORBELL_TYPE_EDGE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(u.db, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(u.db, u.out, 0));
	EXPECT_EQ(0, efd_count(u.out));
	EXPECT_LINE(u, 0, 1, 1);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(u.db, 0));
	EXPECT_EQ(1, efd_read(u.out));
}

/* Rings from all sources until the ack are one message. */
TEST_F(level, coalesces_until_the_ack)
{
	int i;

	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
		EXPECT_STATE(0, LEVEL | ASSERTED);
		EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
		ASSERT_EQ(0, efd_write(self->in[0], 5));
		FLUSH();
		EXPECT_EQ(0, efd_count(self->in[0]));
		EXPECT_EQ(1, efd_read(self->out[0]));
		EXPECT_STATE(0, LEVEL | ASSERTED);
		EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
		EXPECT_STATE(0, LEVEL);
		EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
		/* A ring that has coalesced causes no delivery after the ack. */
		FLUSH();
		EXPECT_EQ(0, efd_count(self->out[0]));
		EXPECT_ACCOUNTS(0, 3 * i, i, i);
	}
	/* The same by an irqfd alone. */
	ASSERT_EQ(0, efd_write(self->in[0], 1));
	ASSERT_EQ(1, efd_wait(self->out[0]));
	EXPECT_STATE(0, LEVEL | ASSERTED);
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, efd_count(self->out[0]));
	/* Other lines do not change. */
	EXPECT_STATE(1, LEVEL);
	EXPECT_ACCOUNTS(1, 0, 0, 0);
}

/* A message that is pending cannot be acked. */
TEST_F(level, ack_of_what_is_held)
{
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | PENDING | ASSERTED);
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | PENDING | ASSERTED);
	EXPECT_ACCOUNTS(0, 2, 0, 0);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_STATE(0, LEVEL | ASSERTED);
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_ACCOUNTS(0, 2, 1, 1);
}

/* Delivered, then masked, then acked: a ring after that is the next message. */
TEST_F(level, rung_after_a_masked_ack)
{
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | ASSERTED);
	EXPECT_EQ(0, doorbell_pending(self->db, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE);
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE | PENDING | ASSERTED);
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_STATE(0, LEVEL | ASSERTED);
	EXPECT_ACCOUNTS(0, 3, 2, 1);
}

/* A raised line delivers, and once more after each ack. */
TEST_F(level, raised)
{
	int i;

	EXPECT_EQ(0, doorbell_set_level(self->db, 0, 0));
	EXPECT_STATE(0, LEVEL);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, 0, 1));
	EXPECT_STATE(0, LEVEL | ASSERTED | RAISED);
	EXPECT_EQ(1, efd_read(self->out[0]));
	/* Raising a raised line is a ring, which coalesces. */
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_set_level(self->db, 0, 1));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_ACCOUNTS(0, 3, 1, 0);
	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
		EXPECT_EQ(1, efd_read(self->out[0]));
		EXPECT_EQ(1, efd_read(self->res[0]));
		EXPECT_STATE(0, LEVEL | ASSERTED | RAISED);
		/* A level that is still raised at an ack counts as a ring. */
		EXPECT_ACCOUNTS(0, 3 + i, 1 + i, i);
	}
	EXPECT_EQ(0, doorbell_set_level(self->db, 0, 0));
	EXPECT_STATE(0, LEVEL | ASSERTED);
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_STATE(0, LEVEL);
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_ACCOUNTS(0, 6, 4, 4);
	/* The ack also acks an assertion from before the level was raised. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_set_level(self->db, 0, 1));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_STATE(0, LEVEL | ASSERTED | RAISED);
}

TEST_F(level, raised_while_masked)
{
	int i;

	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_set_level(self->db, 0, 1));
		EXPECT_STATE(0, LEVEL | MASKED | PENDING | RAISED);
		/* Not delivered yet: lowering withdraws the message. */
		EXPECT_EQ(1, doorbell_set_level(self->db, 0, 0));
		EXPECT_STATE(0, LEVEL | MASKED);
		EXPECT_EQ(i, line_of(_metadata, self->db, 0).dropped);
		EXPECT_EQ(0, doorbell_set_level(self->db, 0, 0));
		EXPECT_EQ(i, line_of(_metadata, self->db, 0).dropped);
		EXPECT_ACCOUNTS(0, i, 0, 0);
	}
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, efd_count(self->res[0]));

	/*
	 * A level that is acked while masked is still raised, and its message held once
	 * more.
	 */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, 0, 1));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | RAISED | PENDING | RESAMPLE);
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_STATE(0, LEVEL | RAISED | ASSERTED);
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, doorbell_set_level(self->db, 0, 0));
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE);
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_ACCOUNTS(0, 6, 2, 2);
}

/* A message with two reasons stays when the level is lowered, whichever came first. */
TEST_F(level, shared_with_rings)
{
	int by_irqfd, first;

	for (by_irqfd = 0; by_irqfd < 2; by_irqfd++) {
		for (first = 0; first < 2; first++) {
			EXPECT_EQ(1, doorbell_mask(self->db, 0));
			if (first)
				EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_set_level(self->db, 0, 1));
			ASSERT_LE(0, by_irqfd ? efd_write(self->in[0], 1)
					      : doorbell_ring(self->db, 0));
			if (!first)
				EXPECT_EQ(DOORBELL_RING_COALESCED,
					  doorbell_set_level(self->db, 0, 1));
			EXPECT_STATE(0, LEVEL | MASKED | PENDING | RAISED | ASSERTED);
			EXPECT_EQ(0, doorbell_set_level(self->db, 0, 0));
			EXPECT_STATE(0, LEVEL | MASKED | PENDING | ASSERTED);
			EXPECT_EQ(1, doorbell_unmask(self->db, 0));
			EXPECT_EQ(1, efd_read(self->out[0]));
			EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
			EXPECT_STATE(0, LEVEL);
		}
	}
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).dropped);
	EXPECT_ACCOUNTS(0, 8, 4, 4);
}

TEST_F(level, clear)
{
	/* A message that was delivered is not pending: DOORBELL_CLEAR does not ack it. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_STATE(0, LEVEL | ASSERTED);
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_EQ(1, efd_read(self->out[0]));

	/*
	 * Clearing a pending message de-asserts the line. That is no ack and signals no
	 * notifier.
	 */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE);
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_ACCOUNTS(0, 2, 1, 1);
	/* Ringing and clearing again leaves one postponed signal. */
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_STATE(0, LEVEL);

	/* DOORBELL_CLEAR does not touch the message of a raised line. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_set_level(self->db, 0, 1));
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | PENDING | RAISED | ASSERTED);
	EXPECT_EQ(0, doorbell_set_level(self->db, 0, 0));
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE);
	EXPECT_EQ(3, line_of(_metadata, self->db, 0).dropped);
	EXPECT_ACCOUNTS(0, 5, 1, 1);
}

/* Masks and sets of lines treat both types alike. */
TEST_F(level, sets)
{
	const uint32_t nr = 100;
	int db = new_context(_metadata, nr);
	uint64_t result[2];
	uint32_t i;

	for (i = 0; i < nr; i += 2)
		ASSERT_EQ(0, doorbell_set_type(db, i, DOORBELL_TYPE_LEVEL));
	EXPECT_EQ(nr, doorbell_line_set(db, DOORBELL_MASK, 0, nr, NULL, NULL));
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, i));
		if (i % 4 == 0)
			EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_set_level(db, i, 1));
	}
	/* All but the raised lines. */
	EXPECT_EQ(75, doorbell_line_set(db, DOORBELL_CLEAR, 0, nr, NULL, result));
	EXPECT_EQ(0xeeeeeeeeeeeeeeeeULL, result[0]);
	EXPECT_EQ(25, doorbell_line_set(db, DOORBELL_UNMASK, 0, nr, NULL, result));
	EXPECT_EQ(0x1111111111111111ULL, result[0]);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(i % 2 ? 0 : i % 4 ? LEVEL : LEVEL | ASSERTED | RAISED,
			  line_of(_metadata, db, i).state);
}

/* An asserted line ends with its context and causes no signal. */
TEST_F(level, context_closes)
{
	int other = new_context(_metadata, 1);

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, 0, 1));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	ASSERT_EQ(0, munmap((void *)self->status, status_size(LINES)));
	close(self->db);
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, efd_count(self->res[0]));
	ASSERT_EQ(0, doorbell_set_type(other, 0, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_resampled(other, self->in[0], 0, self->res[0]));
	EXPECT_EQ(0, line_of(_metadata, other, 0).rings);
}

TEST_HARNESS_MAIN
