// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters and rings: values, EFD_SEMAPHORE, and both ends of the range.
 * DOORBELL_EVENTFD_READ and PEEK are in counter_read.c.
 */
#include "blocked.h"

TEST(rings_add_up)
{
	int db = new_context(_metadata, 1);
	int in = new_eventfd(_metadata, 0, 0);
	int out = new_eventfd(_metadata, 5, 0);
	struct doorbell_query query;
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	/* The signals add to the earlier value. */
	EXPECT_EQ(105, efd_read(out));

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, efd_write(in, 1));
		ASSERT_EQ(1, efd_wait(out));
		ASSERT_EQ(0, efd_count(in));
	}
	query = settled(_metadata, db, 0);
	EXPECT_EQ(200, query.rings);
	EXPECT_EQ(200, query.deliveries);
}

/* A write(2) of any value is one signal, and so one ring; the value is consumed. */
TEST(value_is_one_ring)
{
	int db = new_context(_metadata, 1);
	int in = new_eventfd(_metadata, 0, 0);
	int out = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	ASSERT_EQ(0, efd_write(in, 1000));
	ASSERT_EQ(1, efd_wait(out));
	ASSERT_EQ(0, efd_write(in, COUNTER_MAX));
	ASSERT_EQ(1, efd_wait(out));
	EXPECT_EQ(0, efd_count(in));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);

	/* Writing zero wakes the eventfd's listeners, but it is no signal. */
	ASSERT_EQ(0, efd_write(in, 0));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);
	EXPECT_EQ(0, efd_count(out));
}

/* A trigger's counter stops at 2^64-1 and reports it by EPOLLERR; only the count is lost. */
TEST(trigger_counter_at_its_maximum)
{
	int db = new_context(_metadata, 1);
	int out = new_eventfd(_metadata, 0, 0);
	unsigned int i;

	ASSERT_EQ(0, efd_write(out, COUNTER_MAX));
	EXPECT_EQ(POLLIN, efd_poll(out, POLLIN | POLLOUT, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
		EXPECT_EQ(UINT64_MAX, efd_count(out));
		EXPECT_EQ(POLLIN | POLLERR, efd_poll(out, POLLIN | POLLOUT, 0));
	}
	EXPECT_EQ(3, line_of(_metadata, db, 0).deliveries);
	EXPECT_EQ(UINT64_MAX, efd_read(out));
	EXPECT_EQ(POLLOUT, efd_poll(out, POLLIN | POLLOUT, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(1, efd_read(out));
}

TEST(semaphore_as_trigger)
{
	int db = new_context(_metadata, 1);
	int out = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(3, efd_count(out));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(0, efd_read(out));
}

FIXTURE(attach) {
	int db;
	int out;
};

FIXTURE_SETUP(attach)
{
	self->db = new_context(_metadata, 1);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
}

FIXTURE_TEARDOWN(attach)
{
}

FIXTURE_VARIANT(attach) {
	uint64_t count;
};

FIXTURE_VARIANT_ADD(attach, zero) { .count = 0 };
FIXTURE_VARIANT_ADD(attach, one) { .count = 1 };
FIXTURE_VARIANT_ADD(attach, many) { .count = 12345 };
FIXTURE_VARIANT_ADD(attach, most) { .count = COUNTER_MAX };

/* If the counter is not 0, assigning consumes it and rings once; otherwise there is no ring. */
TEST_F(attach, rings_once)
{
	int in = new_eventfd(_metadata, 0, 0);
	struct doorbell_query query;

	if (variant->count)
		ASSERT_EQ(0, efd_write(in, variant->count));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
	EXPECT_EQ(0, efd_count(in));
	if (variant->count)
		ASSERT_EQ(1, efd_wait(self->out));

	query = settled(_metadata, self->db, 0);
	EXPECT_EQ(!!variant->count, query.rings);
	EXPECT_EQ(!!variant->count, query.deliveries);

	/* It causes no second ring: neither later nor by deassigning. */
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
	EXPECT_EQ(!!variant->count + 1U, settled(_metadata, self->db, 0).rings);
	EXPECT_EQ(0, efd_count(in));
}

/* Assigning, each signal and deassigning consume one each, as read(2) does. */
TEST_F(attach, semaphore_gives_one)
{
	int in = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	uint64_t left = variant->count, rings = 0;
	unsigned int i;

	if (left)
		ASSERT_EQ(0, efd_write(in, left));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
	if (left) {
		left--;
		rings++;
		ASSERT_EQ(1, efd_wait(self->out));
	}
	EXPECT_EQ(left, efd_count(in));
	EXPECT_EQ(rings, settled(_metadata, self->db, 0).rings);

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, efd_write(in, 1));
		rings++;
		ASSERT_EQ(1, efd_wait(self->out));
		EXPECT_EQ(left, efd_count(in));
		EXPECT_EQ(rings, settled(_metadata, self->db, 0).rings);
	}

	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
	if (left) {
		left--;
		rings++;
		ASSERT_EQ(1, efd_wait(self->out));
	}
	EXPECT_EQ(left, efd_count(in));
	EXPECT_EQ(rings, settled(_metadata, self->db, 0).rings);
	EXPECT_EQ(0, efd_count(self->out));
}

/* A value above one: one ring; the rest stays and is no ring by itself. */
TEST(semaphore_keeps_the_rest)
{
	int db = new_context(_metadata, 1);
	int in = new_eventfd(_metadata, 0, EFD_SEMAPHORE);

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	ASSERT_EQ(0, efd_write(in, 10));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).deliveries == 1));
	EXPECT_EQ(9, efd_count(in));
	ASSERT_EQ(0, doorbell_deassign_irqfd(db, in, 0));
	EXPECT_EQ(8, efd_count(in));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);
	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	EXPECT_EQ(7, efd_count(in));
	EXPECT_EQ(3, settled(_metadata, db, 0).rings);
}

TEST(attach_wakes_writers)
{
	int db = new_context(_metadata, 1);
	struct blocked writer = blocked_writer(_metadata, 0);

	start_blocked(_metadata, &writer);
	ASSERT_EQ(0, doorbell_assign_irqfd(db, writer.fd, 0));
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	/* The blocked write is a signal of its own. */
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).rings == 2));
	EXPECT_EQ(0, efd_count(writer.fd));
}

TEST(detach_wakes_writers)
{
	int db = new_context(_metadata, 1);
	struct blocked writer = blocked_writer(_metadata, EFD_SEMAPHORE);

	/*
	 * Assigning consumes one. Make it full again, which rings once more and consumes
	 * one.
	 */
	ASSERT_EQ(0, doorbell_assign_irqfd(db, writer.fd, 0));
	EXPECT_EQ(COUNTER_MAX - 1, efd_count(writer.fd));
	writer.count = 2;
	start_blocked(_metadata, &writer);
	ASSERT_EQ(0, doorbell_deassign_irqfd(db, writer.fd, 0));
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	EXPECT_EQ(COUNTER_MAX, efd_count(writer.fd));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);
}

/*
 * A write of zero to an EFD_SEMAPHORE eventfd whose counter is not 0 wakes its irqfd, which
 * consumes one. That makes room for a writer, as read(2) does.
 */
TEST(take_wakes_writers)
{
	int db = new_context(_metadata, 1);
	struct blocked writer = blocked_writer(_metadata, EFD_SEMAPHORE);

	ASSERT_EQ(0, doorbell_assign_irqfd(db, writer.fd, 0));
	EXPECT_EQ(COUNTER_MAX - 1, efd_count(writer.fd));
	writer.count = 2;
	start_blocked(_metadata, &writer);
	ASSERT_EQ(0, efd_write(writer.fd, 0));
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	/* The rings of the assignment, of the write of zero, and of the blocked writer. */
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).rings == 3));
	EXPECT_EQ(COUNTER_MAX - 1, efd_count(writer.fd));
}

TEST_HARNESS_MAIN
