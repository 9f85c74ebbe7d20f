// SPDX-License-Identifier: GPL-2.0-only
/* Masks: which messages a mask holds. Runs as a 32-bit program, too. */
#include <sys/mman.h>
#include "doorbell_test.h"

FIXTURE(mask) {
	int kmsg;
	/* Two lines under test, with a trigger and an irqfd each; and a third line. */
	int db;
	int in[3];
	int out[3];
	const struct doorbell_line_status *status;
};

FIXTURE_SETUP(mask)
{
	int i;

	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 3);
	self->status = map_status(_metadata, self->db);
	for (i = 0; i < 3; i++) {
		self->in[i] = new_eventfd(_metadata, 0, 0);
		self->out[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in[i], i));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out[i], i));
	}
}

FIXTURE_TEARDOWN(mask)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * Waits until each ring that was made before on this processor has been delivered, if it is
 * going to be. An irq_work delivers some rings a moment later; it delivers the third line's
 * ring after them.
 */
#define FLUSH() do {							\
	ASSERT_EQ(0, efd_write(self->in[2], 1));			\
	ASSERT_EQ(1, efd_wait(self->out[2]));				\
	settled(_metadata, self->db, 2);				\
} while (0)

#define MASKED	VECTOR_MASKED
#define HELD	(MASKED | DOORBELL_LINE_PENDING)

TEST_F(mask, ring_is_held)
{
	struct doorbell_query query;
	int i;

	EXPECT_STATE(0, 0);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));

	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_STATE(0, MASKED);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_STATE(0, HELD);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_STATE(0, HELD);
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	/* Other lines are not masked. */
	EXPECT_STATE(1, 0);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(1, efd_read(self->out[1]));

	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_STATE(0, 0);
	query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(5, query.rings);
	EXPECT_EQ(2, query.deliveries);
	EXPECT_EQ(0, query.dropped);
	EXPECT_EQ(3, self->status[0].coalesced);

	/* After the unmask the line delivers as before. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

TEST_F(mask, nothing_rung_nothing_delivered)
{
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, doorbell_unmask(self->db, 0));
		EXPECT_EQ(1, doorbell_mask(self->db, 0));
		EXPECT_STATE(0, MASKED);
		EXPECT_EQ(0, doorbell_unmask(self->db, 0));
		EXPECT_STATE(0, 0);
	}
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).deliveries);

	/* An earlier count of the trigger's counter does not either. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	FLUSH();
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).deliveries);
}

/* Masks do not nest, and a repeated call delivers nothing. */
TEST_F(mask, twice_is_once)
{
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, doorbell_mask(self->db, 0));
	EXPECT_STATE(0, HELD);
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_STATE(0, 0);
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->out[0]));
}

TEST_F(mask, irqfd_is_held)
{
	int i;

	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	for (i = 1; i <= 3; i++) {
		/* The irqfd consumes its counter while masked. */
		ASSERT_EQ(0, efd_write(self->in[0], i));
		EXPECT_EQ(0, efd_count(self->in[0]));
		EXPECT_STATE(0, HELD);
		EXPECT_EQ(i, line_of(_metadata, self->db, 0).rings);
	}
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).deliveries);

	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	/* The delivery is done on return, though the ring was an irqfd's. */
	EXPECT_EQ(1, efd_read(self->out[0]));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_STATE(0, 0);
	EXPECT_EQ(2, self->status[0].coalesced);
	ASSERT_EQ(0, efd_write(self->in[0], 1));
	ASSERT_EQ(1, efd_wait(self->out[0]));
}

TEST_F(mask, clear_drops)
{
	struct doorbell_query query;
	int i;

	/* There is nothing to drop, masked or not. */
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_STATE(0, MASKED);
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).dropped);

	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
		ASSERT_EQ(0, efd_write(self->in[0], 1));
		EXPECT_EQ(1, doorbell_clear(self->db, 0));
		/* The line stays masked. */
		EXPECT_STATE(0, MASKED);
		EXPECT_EQ(i, line_of(_metadata, self->db, 0).dropped);
		EXPECT_EQ(0, doorbell_clear(self->db, 0));
	}
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(6, query.rings);
	EXPECT_EQ(0, query.deliveries);
	EXPECT_EQ(3, query.dropped);
	EXPECT_EQ(3, self->status[0].coalesced);

	/* A message after the clear is held as usual. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

/* A trigger gets the deliveries while it is assigned, even of earlier rings. */
TEST_F(mask, triggers_change_meanwhile)
{
	int late = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, late, 0));
	EXPECT_STATE(0, HELD);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->out[0], 0));
	EXPECT_STATE(0, HELD);
	FLUSH();
	EXPECT_EQ(0, efd_count(late));
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(late));
	EXPECT_EQ(0, efd_count(self->out[0]));

	/* A message needs no trigger: this one signals nothing and is gone. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, late, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, late, 0));
	EXPECT_EQ(0, efd_count(late));
	EXPECT_EQ(2, line_of(_metadata, self->db, 0).deliveries);
}

TEST_F(mask, irqfds_change_meanwhile)
{
	int late = new_eventfd(_metadata, 7, 0);
	int quiet = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	/* Assigning and deassigning an eventfd whose counter is 0 is no ring. */
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, quiet, 0));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, quiet, 0));
	EXPECT_STATE(0, MASKED);

	/* A counter that is not 0 at the assignment is one ring, which is held. */
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, late, 0));
	EXPECT_EQ(0, efd_count(late));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, late, 0));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[0], 0));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);
	/* An eventfd that was deassigned does not ring a masked line either. */
	ASSERT_EQ(0, efd_write(late, 1));
	EXPECT_EQ(1, efd_count(late));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);

	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

/* The rest of an EFD_SEMAPHORE eventfd rings once more when it is deassigned. */
TEST_F(mask, semaphore_leftover)
{
	int sem = new_eventfd(_metadata, 0, EFD_SEMAPHORE);

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, sem, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	ASSERT_EQ(0, efd_write(sem, 3));
	EXPECT_EQ(2, efd_count(sem));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_STATE(0, MASKED);

	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, sem, 0));
	EXPECT_EQ(1, efd_count(sem));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(2, line_of(_metadata, self->db, 0).rings);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
}

/* The last close of an irqfd's eventfd does not change the message that it rang before. */
TEST_F(mask, irqfd_closed_meanwhile)
{
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	ASSERT_EQ(0, efd_write(self->in[0], 1));
	close(self->in[0]);
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).nr_irqfds == 0));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

/* Line 0 rings line 1, which is masked: of this context, then of another. */
static void relay_to_masked(struct __test_metadata *_metadata, int from, int to, int out)
{
	int link = new_eventfd(_metadata, 0, 0);
	uint64_t rings = line_of(_metadata, to, 1).rings;

	ASSERT_EQ(0, doorbell_assign_irqfd(to, link, 1));
	ASSERT_EQ(0, doorbell_assign_trigger(from, link, 0));
	EXPECT_EQ(1, doorbell_mask(to, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(from, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(from, 0));
	EXPECT_EQ(rings + 2, line_of(_metadata, to, 1).rings);
	EXPECT_EQ(HELD, line_of(_metadata, to, 1).state);
	EXPECT_EQ(0, efd_count(link));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, doorbell_unmask(to, 1));
	EXPECT_EQ(1, efd_read(out));

	/* If the first line is masked as well, the message waits at each mask. */
	EXPECT_EQ(1, doorbell_mask(from, 0));
	EXPECT_EQ(1, doorbell_mask(to, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(from, 0));
	EXPECT_EQ(MASKED, line_of(_metadata, to, 1).state);
	EXPECT_EQ(1, doorbell_unmask(from, 0));
	EXPECT_EQ(HELD, line_of(_metadata, to, 1).state);
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, doorbell_unmask(to, 1));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(rings + 3, line_of(_metadata, to, 1).rings);
	ASSERT_EQ(0, doorbell_deassign_trigger(from, link, 0));
	ASSERT_EQ(0, doorbell_deassign_irqfd(to, link, 1));
}

TEST_F(mask, relay)
{
	int other = new_context(_metadata, 2), out = new_eventfd(_metadata, 0, 0);

	relay_to_masked(_metadata, self->db, self->db, self->out[1]);
	ASSERT_EQ(0, doorbell_assign_trigger(other, out, 1));
	relay_to_masked(_metadata, self->db, other, out);
	EXPECT_EQ(0, efd_count(self->out[1]));
}

/*
 * A message after more relays than an interrupt makes is held, too, and the unmask delivers
 * it itself.
 */
TEST_F(mask, end_of_a_long_chain)
{
	const uint32_t nr = 100;
	int db = new_context(_metadata, nr), out = new_eventfd(_metadata, 0, 0);
	uint32_t i;

	for (i = 1; i < nr; i++) {
		int link = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_irqfd(db, link, i));
		ASSERT_EQ(0, doorbell_assign_trigger(db, link, i - 1));
	}
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, nr - 1));
	/* One is held on the way, and at the end. */
	EXPECT_EQ(2, doorbell_mask(db, nr / 2) + doorbell_mask(db, nr - 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	ASSERT_TRUE(WAIT_FOR(doorbell_pending(db, nr / 2)));
	EXPECT_EQ(0, line_of(_metadata, db, nr / 2 + 1).rings);
	EXPECT_EQ(1, doorbell_unmask(db, nr / 2));
	ASSERT_TRUE(WAIT_FOR(doorbell_pending(db, nr - 1)));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, doorbell_unmask(db, nr - 1));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(1, line_of(_metadata, db, nr - 1).deliveries);
}

/* A held message ends with the context and causes no signal. */
TEST_F(mask, context_closes)
{
	struct doorbell_query query;
	int other = new_context(_metadata, 1);

	EXPECT_EQ(2, doorbell_mask(self->db, 0) + doorbell_mask(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, efd_write(self->in[1], 1));
	EXPECT_STATE(1, HELD);
	ASSERT_EQ(0, munmap((void *)self->status, status_size(3)));
	close(self->db);
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, efd_count(self->out[1]));
	/* The eventfd has no irqfd any more, and its counter is 0. */
	ASSERT_EQ(0, doorbell_assign_irqfd(other, self->in[1], 0));
	query = settled(_metadata, other, 0);
	EXPECT_EQ(0, query.rings);
}

TEST_F(mask, shared_by_dup_and_fork)
{
	int copy = dup(self->db);
	pid_t pid;

	ASSERT_LE(0, copy);
	EXPECT_EQ(1, doorbell_mask(copy, 0));
	EXPECT_EQ(0, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (doorbell_ring(copy, 0) != DOORBELL_RING_COALESCED ||
		    doorbell_pending(copy, 0) != 1)
			_exit(1);
		if (doorbell_unmask(self->db, 0) != 1 || doorbell_mask(self->db, 1) != 1)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, efd_read(self->out[0]));
	/* A mask belongs to the context, not to the process. */
	EXPECT_STATE(1, MASKED);
	EXPECT_EQ(0, doorbell_mask(copy, 1));
	close(copy);
	EXPECT_STATE(1, MASKED);

	/* Another context of the child is not masked. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(new_context(_metadata, 2), 1));
}

TEST_HARNESS_MAIN
