// SPDX-License-Identifier: GPL-2.0-only
/*
 * Deassigning is a barrier. While another processor rings as fast as it can, an eventfd is
 * not used any more once DEASSIGN or close(2) has returned. Each signal before either rang
 * or is left in the counter.
 */
#include "doorbell_test.h"

#define NR_OTHERS	(DOORBELL_MAX_TRIGGERS_PER_LINE - 1)

FIXTURE(barrier) {
	int kmsg;
	int db;
	int other[NR_OTHERS];
	struct hammer hammer;
};

FIXTURE_VARIANT(barrier) {
	/* The hammer writes to an irqfd instead of calling the ioctl. */
	bool by_irqfd;
};

FIXTURE_VARIANT_ADD(barrier, ioctl) { .by_irqfd = false };
FIXTURE_VARIANT_ADD(barrier, irqfd) { .by_irqfd = true };

static void wire_others(struct __test_metadata *_metadata, int db, const int *other)
{
	unsigned int i;

	for (i = 0; i < NR_OTHERS; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, other[i], 0));
}

/*
 * The victim is one of the maximum number of triggers. A delivery takes long then, which
 * exposes a missing barrier.
 */
FIXTURE_SETUP(barrier)
{
	unsigned int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	for (i = 0; i < ARRAY_SIZE(self->other); i++)
		self->other[i] = new_eventfd(_metadata, 0, 0);
	self->hammer.hit = variant->by_irqfd ? hit_write : hit_ring;
	self->hammer.fd = variant->by_irqfd ? new_eventfd(_metadata, 0, 0) : self->db;
}

FIXTURE_TEARDOWN(barrier)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

TEST_F(barrier, deassign_trigger)
{
	int victim = new_eventfd(_metadata, 0, 0);
	unsigned int rounds, signalled = 0, late = 0;
	struct rounds race = ROUNDS(30, 3000);

	wire_others(_metadata, self->db, self->other);
	if (variant->by_irqfd)
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->hammer.fd, 0));
	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 10));

	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, victim, 0));
		if (rounds % 2)
			ASSERT_EQ(POLLIN, efd_await(victim, POLLIN));
		dither(rounds);
		ASSERT_EQ(0, doorbell_deassign_trigger(self->db, victim, 0));
		signalled += !!efd_read(victim);
		ASSERT_TRUE(hammer_passes(&self->hammer, 2));
		late += !!efd_read(victim);
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, late);
	EXPECT_LE(rounds / 2, signalled);
}

FIXTURE(exact) {
	int kmsg;
	int db;
	struct hammer hammer;
};

FIXTURE_SETUP(exact)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->hammer.hit = hit_write;
}

FIXTURE_TEARDOWN(exact)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * If the irqfd is deassigned under the hammer, each write either rang or is left in the
 * counter: never both, never neither.
 */
TEST_F(exact, detach)
{
	struct hammer *hammer = &self->hammer;
	unsigned int rounds, cut = 0, touched = 0, wrong = 0;
	int in = new_eventfd(_metadata, 0, 0);
	struct rounds race = ROUNDS(30, 5000);
	uint64_t rings;

	hammer->fd = in;
	hammer_start(_metadata, hammer);
	ASSERT_TRUE(hammer_pause(hammer));

	/*
	 * Some deassigns must come between writes, or the test proves nothing. On a busy machine
	 * the hammer may not run meanwhile: in each fourth round, wait for it.
	 */
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		uint64_t left, before, after, writes;

		efd_read(in);
		before = line_of(_metadata, self->db, 0).rings;
		writes = atomic_load(&hammer->done);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
		ASSERT_TRUE(hammer_resume(hammer));
		ASSERT_TRUE(rounds % 4 || hammer_passes(hammer, 1));
		dither(rounds);
		ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
		rings = settled(_metadata, self->db, 0).rings;
		ASSERT_TRUE(rounds % 4 || hammer_passes(hammer, 1));
		ASSERT_TRUE(hammer_pause(hammer));

		writes = atomic_load(&hammer->done) - writes;
		left = efd_read(in);
		after = line_of(_metadata, self->db, 0).rings;
		if (after != rings || rings - before + left != writes)
			TH_LOG("round %u: %ju rings, %ju at last, %ju left, of %ju writes", rounds,
			       rings - before, after - before, left, writes);
		touched += after != rings;
		wrong += rings - before + left != writes;
		cut += rings != before && left;
	}
	hammer_stop(hammer);
	EXPECT_EQ(0, touched);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, cut);
}

/*
 * An EFD_SEMAPHORE eventfd gives one per consume. So the sum is exact over any number of
 * assigns and deassigns while the hammer never rests.
 */
TEST_F(exact, attach_and_detach)
{
	struct hammer *hammer = &self->hammer;
	int in = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	struct rounds race = ROUNDS(30, 10000);
	unsigned int rounds;

	hammer->fd = in;
	hammer_start(_metadata, hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		/*
		 * The hammer writes at least once without the irqfd, and at least once with
		 * it.
		 */
		if (rounds % 16 == 15) {
			ASSERT_TRUE(hammer_passes(hammer, 1));
			EXPECT_EQ(POLLIN, efd_poll(in, POLLIN, 0));
		}
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
		dither(rounds);
		if (rounds % 16 == 7)
			ASSERT_TRUE(hammer_passes(hammer, 1));
		ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
		dither(rounds / 64);
	}
	hammer_stop(hammer);

	EXPECT_EQ(atomic_load(&hammer->done),
		  settled(_metadata, self->db, 0).rings + efd_count(in));
}

/*
 * Assigning under the hammer consumes the earlier writes as one ring; each write after that
 * is one ring.
 */
TEST_F(exact, attach)
{
	struct hammer *hammer = &self->hammer;
	int in = new_eventfd(_metadata, 0, 0);
	struct rounds race = ROUNDS(30, 5000);
	unsigned int rounds, wrong = 0;

	hammer->fd = in;
	hammer_start(_metadata, hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		uint64_t first, last, before, after, total, rings;

		ASSERT_TRUE(hammer_pause(hammer));
		efd_read(in);
		rings = line_of(_metadata, self->db, 0).rings;
		first = atomic_load(&hammer->done);
		ASSERT_TRUE(hammer_resume(hammer));
		dither(rounds);
		before = atomic_load(&hammer->done);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
		after = atomic_load(&hammer->started);
		ASSERT_TRUE(hammer_passes(hammer, rounds % 3));
		ASSERT_TRUE(hammer_pause(hammer));
		total = atomic_load(&hammer->done);
		last = efd_count(in);
		ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
		rings = settled(_metadata, self->db, 0).rings - rings;

		/*
		 * Nothing is left; the rings are at least the writes after, and at most one
		 * more.
		 */
		wrong += last || efd_read(in) ||
			 rings < total - after + (before != first) ||
			 rings > total - before + (before != first);
	}
	hammer_stop(hammer);
	EXPECT_EQ(0, wrong);
}

/* Closing the context deassigns everything and is a barrier, too. */
TEST_F(exact, close_context)
{
	int victim = new_eventfd(_metadata, 0, 0);
	unsigned int i, rounds, signalled = 0, late = 0;
	struct rounds race = ROUNDS(30, 2000);
	int other[NR_OTHERS];

	for (i = 0; i < NR_OTHERS; i++)
		other[i] = new_eventfd(_metadata, 0, 0);
	self->hammer.fd = new_eventfd(_metadata, 0, 0);
	close(self->db);
	hammer_start(_metadata, &self->hammer);

	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		self->db = new_context(_metadata, 1);
		wire_others(_metadata, self->db, other);
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, victim, 0));
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->hammer.fd, 0));
		ASSERT_EQ(POLLIN, efd_await(victim, POLLIN));
		dither(rounds);
		close(self->db);
		signalled += !!efd_read(victim);
		efd_read(self->hammer.fd);
		ASSERT_TRUE(hammer_passes(&self->hammer, 2));
		late += !!efd_read(victim);
		/* A write from here on stays in the counter. */
		late += !efd_read(self->hammer.fd);
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, late);
	EXPECT_EQ(rounds, signalled);
}

TEST_HARNESS_MAIN
