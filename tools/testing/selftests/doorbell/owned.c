// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls for a line whose owner is another thread, in the middle of a delivery: MASK, UNMASK and
 * CLEAR wait for the owner, whatever signals come, and a message that is withdrawn is counted as
 * dropped.
 */
#include "kernel.h"
#include "slow_line.h"
#include "storm.h"

#define AUTO		DOORBELL_MASK_AUTO
#define AUTOMASK	DOORBELL_LINE_AUTOMASK
#define AUTOMASKED	(AUTOMASK | MASKED_FOR(AUTO))

/* The time of a delivery. The other thread's call has to begin within it. */
#define DELIVERY_US	2000

/* The rounds in which the other thread's call has begun before the delivery had ended. */
#define OVERLAPS_MIN	3

FIXTURE(owned) {
	int kmsg;
	struct slow_line slow;
	/* The owner: it rings once for each round. */
	atomic_uint go;
	atomic_uint done;
	atomic_bool stop;
	pthread_t thread;
};

static void *own(void *arg)
{
	struct _test_data_owned *self = arg;
	unsigned int round;

	pin_to(1);
	for (round = 1;; round++) {
		while (atomic_load(&self->go) != round) {
			if (atomic_load(&self->stop))
				return NULL;
			sched_yield();
		}
		doorbell_ring(self->slow.db, 0);
		atomic_store(&self->done, round);
	}
}

FIXTURE_SETUP(owned)
{
	self->kmsg = kmsg_open();
	pin_to(0);
	slow_line_setup(_metadata, &self->slow, DELIVERY_US);
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, own, self));
}

FIXTURE_TEARDOWN(owned)
{
	atomic_store(&self->stop, true);
	pthread_join(self->thread, NULL);
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Begins a round: returns as soon as the owner has counted the delivery that it makes. */
#define BEGIN(round) do {						\
	const uint64_t __before = slow_line_deliveries(&self->slow);	\
									\
	atomic_store(&self->go, round);					\
	ASSERT_TRUE(SPIN_FOR(slow_line_deliveries(&self->slow) != __before)); \
} while (0)

/* Ends a round: waits for the owner. */
#define END(round)	ASSERT_TRUE(SPIN_FOR(atomic_load(&self->done) == (round)))

/* Returns true while the owner is in its call. */
#define OWNED(round)	(atomic_load(&self->done) != (round))

TEST_F(owned, unmask_waits)
{
	struct rounds race = ROUNDS(10, 200);
	unsigned int round, overlaps = 0, gave_up = 0;

	ASSERT_EQ(0, doorbell_unmask_for(self->slow.db, 0, AUTO));
	ASSERT_EQ(0, doorbell_set_type_automask(self->slow.db, 0, DOORBELL_TYPE_EDGE));
	start_storm(_metadata);
	for (round = 1; more_rounds(&race, round) || lacks(&race, overlaps < OVERLAPS_MIN);
	     round++) {
		BEGIN(round);
		/* The line masked itself when the delivery began. */
		overlaps += OWNED(round);
		ASSERT_EQ(0, doorbell_unmask_for(self->slow.db, 0, AUTO));
		gave_up += line_of(_metadata, self->slow.db, 0).state != AUTOMASK;
		END(round);
		ASSERT_EQ(0, doorbell_unmask_for(self->slow.db, 0, AUTO));
	}
	end_storm(_metadata);
	EXPECT_EQ(0, gave_up);
	/* Otherwise the test proves nothing. */
	EXPECT_LE(OVERLAPS_MIN, overlaps);
}

/* MASK returns when the delivery has signalled all triggers. */
TEST_F(owned, mask_waits)
{
	const int db = self->slow.db;
	unsigned int round, i, overlaps = 0, early = 0;
	struct rounds race = ROUNDS(10, 200);

	/* The fixture's deliveries have signalled them, too. */
	for (i = 0; i < ARRAY_SIZE(self->slow.triggers); i++)
		efd_read(self->slow.triggers[i]);
	for (round = 1; more_rounds(&race, round) || lacks(&race, overlaps < OVERLAPS_MIN);
	     round++) {
		BEGIN(round);
		overlaps += OWNED(round);
		ASSERT_EQ(1, doorbell_mask(db, 0));
		/* From the last one on: the reads must not be as slow as the delivery. */
		for (i = ARRAY_SIZE(self->slow.triggers); i--;)
			early += efd_read(self->slow.triggers[i]) != 1;
		END(round);
		ASSERT_EQ(0, doorbell_unmask(db, 0));
	}
	EXPECT_EQ(0, early);
	EXPECT_LE(OVERLAPS_MIN, overlaps);
}

TEST_F(owned, clear_waits)
{
	const int db = self->slow.db;
	unsigned int round, overlaps = 0, gave_up = 0;
	struct rounds race = ROUNDS(10, 200);
	uint64_t dropped = 0;

	ASSERT_EQ(0, doorbell_set_type_automask(db, 0, DOORBELL_TYPE_EDGE));
	start_storm(_metadata);
	for (round = 1; more_rounds(&race, round) || lacks(&race, overlaps < OVERLAPS_MIN);
	     round++) {
		BEGIN(round);
		ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 0));
		overlaps += OWNED(round);
		gave_up += doorbell_clear(db, 0) != 1;
		gave_up += line_of(_metadata, db, 0).state != AUTOMASKED;
		ASSERT_EQ(++dropped, line_of(_metadata, db, 0).dropped);
		END(round);
		ASSERT_EQ(0, doorbell_unmask_for(db, 0, AUTO));
	}
	end_storm(_metadata);
	EXPECT_EQ(0, gave_up);
	EXPECT_LE(OVERLAPS_MIN, overlaps);
}

/* A level that is raised and lowered during a delivery, after an ack: its message is dropped. */
TEST_F(owned, withdrawn_is_dropped)
{
	const int db = self->slow.db;
	unsigned int round, overlaps = 0, withdrawn = 0;
	struct rounds race = ROUNDS(10, 200);
	struct doorbell_query query;

	if (preempt_rt())
		SKIP(return, "on PREEMPT_RT a thread that raises the level waits for the owner");
	ASSERT_EQ(0, doorbell_set_type(db, 0, DOORBELL_TYPE_LEVEL));
	for (round = 1; more_rounds(&race, round) || lacks(&race, overlaps < OVERLAPS_MIN);
	     round++) {
		BEGIN(round);
		ASSERT_EQ(DOORBELL_ACK_DONE, doorbell_ack(db, 0));
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(db, 0, 1));
		switch (doorbell_set_level(db, 0, 0)) {
		case 0:
			/* The owner had left before, and the message was sent. */
			ASSERT_EQ(DOORBELL_ACK_DONE, doorbell_ack(db, 0));
			break;
		case 1:
			withdrawn++;
			overlaps += OWNED(round);
			break;
		default:
			ASSERT_TRUE(false);
		}
		END(round);
		query = line_of(_metadata, db, 0);
		ASSERT_EQ(withdrawn, query.dropped);
		ASSERT_EQ(DOORBELL_LINE_LEVEL, query.state);
		ASSERT_TRUE(status_agrees(self->slow.status, &query));
	}
	EXPECT_LE(OVERLAPS_MIN, overlaps);
}

/*
 * The same, and then the line is rung or raised again before the delivery has ended: the owner
 * sends that message, and drops none.
 */
TEST_F(owned, withdrawn_comes_again)
{
	const int db = self->slow.db;
	unsigned int round, replaced = 0, dropped = 0;
	struct rounds race = ROUNDS(10, 200);
	struct doorbell_query query;
	uint64_t messages = 0;
	int withdrawn, ret;

	if (preempt_rt())
		SKIP(return, "on PREEMPT_RT a thread that raises the level waits for the owner");
	ASSERT_EQ(0, doorbell_set_type(db, 0, DOORBELL_TYPE_LEVEL));
	messages = slow_line_deliveries(&self->slow);
	for (round = 1; more_rounds(&race, round) || lacks(&race, replaced < OVERLAPS_MIN);
	     round++) {
		BEGIN(round);
		messages++;
		ASSERT_EQ(DOORBELL_ACK_DONE, doorbell_ack(db, 0));
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(db, 0, 1));
		withdrawn = doorbell_set_level(db, 0, 0);
		ASSERT_TRUE(withdrawn == 0 || withdrawn == 1);
		messages++;
		if (withdrawn) {
			ret = round % 2 ? doorbell_ring(db, 0) : doorbell_set_level(db, 0, 1);
			/* If the owner has dropped the withdrawn message, this is another one. */
			ASSERT_TRUE(ret == DOORBELL_RING_COALESCED ||
				    ret == DOORBELL_RING_DELIVERED);
			if (ret == DOORBELL_RING_COALESCED)
				replaced++;
			else
				dropped++;
		}
		END(round);
		ASSERT_EQ(0, doorbell_set_level(db, 0, 0));
		query = line_of(_metadata, db, 0);
		ASSERT_EQ(messages, query.deliveries);
		ASSERT_EQ(dropped, query.dropped);
		ASSERT_EQ(DOORBELL_ACK_DONE, doorbell_ack(db, 0));
		EXPECT_EQ(DOORBELL_LINE_LEVEL, line_of(_metadata, db, 0).state);
	}
	EXPECT_LE(OVERLAPS_MIN, replaced);
}

/* Number of relays from which on the worker delivers. */
#define RELAYS	32

/* A message that came through too many relays is left to the worker by the owner, too. */
TEST_F(owned, deep_relay_is_deferred)
{
	const int chain = new_context(_metadata, RELAYS), db = self->slow.db;
	struct rounds race = ROUNDS(10, 200);
	unsigned int round, i, overlaps = 0;
	struct doorbell_query query;
	uint64_t before;

	if (preempt_rt())
		SKIP(return, "on PREEMPT_RT the irq_work that boosts the owner may deliver");
	for (i = 0; i < RELAYS - 1; i++)
		link_lines(_metadata, chain, i, chain, i + 1);
	link_lines(_metadata, chain, RELAYS - 1, db, 0);
	before = slow_line_deliveries(&self->slow);
	for (round = 1; more_rounds(&race, round) || lacks(&race, overlaps < OVERLAPS_MIN);
	     round++) {
		/* All relays but the last one come before the delivery. */
		ASSERT_EQ(1, doorbell_mask(chain, RELAYS - 1));
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(chain, 0));
		ASSERT_TRUE(WAIT_FOR(doorbell_pending(chain, RELAYS - 1) == 1));
		BEGIN(round);
		ASSERT_EQ(1, doorbell_unmask(chain, RELAYS - 1));
		overlaps += OWNED(round);
		END(round);
		ASSERT_TRUE(WAIT_FOR(slow_line_deliveries(&self->slow) == before + 2 * round));
		query = settled(_metadata, db, 0);
		ASSERT_EQ(round, query.deferred);
		/* Waits for the worker: it would deliver the next ring, too. */
		ASSERT_EQ(1, doorbell_mask(db, 0));
		ASSERT_EQ(0, doorbell_unmask(db, 0));
	}
	EXPECT_LE(OVERLAPS_MIN, overlaps);
}

TEST_HARNESS_MAIN
