// SPDX-License-Identifier: GPL-2.0-only
/*
 * Masks against all other calls: a mask is a barrier, pending is exact, and between the two
 * no message is lost or spurious.
 */
#include <limits.h>

#include "doorbell_test.h"

#define NR_OTHERS	20

FIXTURE(barrier) {
	int kmsg;
	int db;
	int out;
	struct hammer hammer;
};

FIXTURE_VARIANT(barrier) {
	/* The hammer writes to an irqfd instead of calling the ioctl. */
	bool by_irqfd;
	/* Other triggers, which make a delivery take long. */
	unsigned int others;
};

FIXTURE_VARIANT_ADD(barrier, ioctl) { .others = NR_OTHERS };
FIXTURE_VARIANT_ADD(barrier, irqfd) { .by_irqfd = true, .others = NR_OTHERS };
FIXTURE_VARIANT_ADD(barrier, ioctl_short) { };
FIXTURE_VARIANT_ADD(barrier, irqfd_short) { .by_irqfd = true };

/* The tested trigger is the last one to be signalled. */
FIXTURE_SETUP(barrier)
{
	unsigned int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	for (i = 0; i < variant->others; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), 0));
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	self->hammer.hit = variant->by_irqfd ? hit_write : hit_ring;
	self->hammer.fd = self->db;
	if (variant->by_irqfd) {
		self->hammer.fd = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->hammer.fd, 0));
	}
}

FIXTURE_TEARDOWN(barrier)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * The hammer never rests: from MASK to UNMASK no signal comes, and exactly one message is
 * held.
 */
TEST_F(barrier, nothing_passes)
{
	unsigned int rounds, late = 0, lost = 0, twice = 0, early = 0;
	struct rounds race = ROUNDS(30, 5000);

	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 10));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		uint64_t deliveries;

		dither(rounds);
		ASSERT_EQ(1, doorbell_mask(self->db, 0));
		efd_read(self->out);
		deliveries = line_of(_metadata, self->db, 0).deliveries;
		ASSERT_TRUE(hammer_passes(&self->hammer, 1 + rounds % 3));
		late += efd_read(self->out) != 0;
		late += line_of(_metadata, self->db, 0).deliveries != deliveries;
		/* At least one ring has begun and ended. */
		lost += doorbell_pending(self->db, 0) != 1;
		twice += doorbell_mask(self->db, 0) != 0;
		early += efd_read(self->out) != 0;
		lost += doorbell_unmask(self->db, 0) != 1;
		/* The signal was there when UNMASK returned. */
		lost += !efd_read(self->out);
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, early);
	EXPECT_EQ(0, twice);
	EXPECT_EQ(0, lost);
}

/* With the hammer at rest, pending is as the last rings left it. */
TEST_F(barrier, pending_is_exact)
{
	struct rounds race = ROUNDS(30, 5000);
	unsigned int rounds, wrong = 0;

	hammer_start(_metadata, &self->hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		unsigned long done;
		bool rung;

		ASSERT_TRUE(hammer_pause(&self->hammer));
		/* The last write may still be in flight. */
		settled(_metadata, self->db, 0);
		ASSERT_EQ(1, doorbell_mask(self->db, 0));
		efd_read(self->out);
		done = atomic_load(&self->hammer.done);
		if (rounds % 2) {
			ASSERT_TRUE(hammer_resume(&self->hammer));
			dither(rounds / 2);
			ASSERT_TRUE(hammer_pause(&self->hammer));
		}
		rung = atomic_load(&self->hammer.done) != done;
		wrong += doorbell_pending(self->db, 0) != rung;
		if (rounds % 8 == 7) {
			wrong += doorbell_clear(self->db, 0) != rung;
			rung = false;
		}
		wrong += efd_read(self->out) != 0;
		wrong += doorbell_unmask(self->db, 0) != rung;
		wrong += efd_read(self->out) != rung;
		ASSERT_TRUE(hammer_resume(&self->hammer));
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, wrong);
}

FIXTURE(contest) {
	int kmsg;
	int db;
	int out;
	const struct doorbell_line_status *status;
};

FIXTURE_SETUP(contest)
{
	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->status = map_status(_metadata, self->db);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
}

FIXTURE_TEARDOWN(contest)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* One ring that races with a MASK and an UNMASK. */
struct meeting {
	int db;
	atomic_uint go;
	atomic_uint done;
	atomic_bool stop;
	int ret;
	pthread_t thread;
};

static void *meet(void *arg)
{
	struct meeting *meeting = arg;
	unsigned int round;

	pin_to(1);
	for (round = 1;; round++) {
		while (atomic_load(&meeting->go) != round) {
			if (atomic_load(&meeting->stop))
				return NULL;
		}
		dither(round / 64);
		meeting->ret = doorbell_ring(meeting->db, 0);
		atomic_store(&meeting->done, round);
	}
}

/*
 * The ring's result says on which side of MASK and UNMASK it was. UNMASK delivered if and
 * only if it was between. In each case there is one delivery.
 */
TEST_F(contest, one_ring_somewhere)
{
	unsigned int rounds, wrong = 0, held = 0, unmasked, signals, last;
	struct meeting meeting = { .db = self->db };
	struct rounds race = ROUNDS(30, 10000);

	ASSERT_EQ(0, pthread_create(&meeting.thread, NULL, meet, &meeting));
	/*
	 * The ring must be between in some rounds and not in others, or the test proves
	 * nothing.
	 */
	for (rounds = 1;
	     more_rounds(&race, rounds) || lacks(&race, !held || held == rounds - 1);
	     rounds++) {
		atomic_store(&meeting.go, rounds);
		dither(rounds);
		wrong += doorbell_mask(self->db, 0) != 1;
		/* On a busy machine the other thread may be late: now and then, wait for it. */
		if (rounds % 8)
			dither(rounds / 16);
		else
			ASSERT_TRUE(SPIN_FOR(atomic_load(&meeting.done) == rounds));
		unmasked = doorbell_unmask(self->db, 0);
		ASSERT_TRUE(SPIN_FOR(atomic_load(&meeting.done) == rounds));
		last = doorbell_mask(self->db, 0);
		signals = efd_read(self->out);
		last += doorbell_unmask(self->db, 0);
		wrong += unmasked != (meeting.ret == DOORBELL_RING_MASKED) || signals != 1 ||
			 last != 1 || meeting.ret == DOORBELL_RING_COALESCED;
		held += unmasked;
	}
	atomic_store(&meeting.stop, true);
	pthread_join(meeting.thread, NULL);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, held);
	EXPECT_GT(rounds - 1, held);
}

/* Threads that mask, unmask, clear and ring the same line, and their results. */
#define NR_RINGERS	2
#define NR_MASKERS	2
#define NR_THREADS	5
#define ROUNDS_MIN	100

struct crowd {
	int db;
	bool has_reasons;
	atomic_bool stop;
	struct rest maskers;
	struct rest clearer;
	atomic_ulong rung[3];
	atomic_ulong masked;
	atomic_ulong unmasked;
	atomic_ulong cleared;
	atomic_ulong failed;
};

struct member {
	struct crowd *crowd;
	unsigned int nr;
	atomic_ulong rounds;
	pthread_t thread;
};

static void crowd_ring(struct crowd *crowd)
{
	int ret = doorbell_ring(crowd->db, 0);

	if (ret < 0)
		atomic_fetch_add(&crowd->failed, 1);
	else
		atomic_fetch_add(&crowd->rung[ret], 1);
}

static void crowd_op(struct crowd *crowd, unsigned long cmd, uint32_t reasons, atomic_ulong *sum)
{
	int ret = doorbell_line_set_for(crowd->db, cmd, 0, 1, NULL, NULL, reasons);

	if (ret < 0)
		atomic_fetch_add(&crowd->failed, 1);
	else
		atomic_fetch_add(sum, ret);
}

static void *mill_about(void *arg)
{
	struct member *member = arg;
	struct crowd *crowd = member->crowd;
	unsigned int round;
	uint32_t reasons;

	pin_to(member->nr);
	for (round = 0; !atomic_load(&crowd->stop); round++) {
		atomic_store(&member->rounds, round);
		switch (member->nr) {
		case 0:
		case 1:
			crowd_ring(crowd);
			break;
		case 2:
		case 3:
			rest_point(&crowd->maskers, &crowd->stop);
			/* At times for the same reason, at times for two. */
			reasons = 1U << (member->nr == 2 ? 0 : round / 32 % 4);
			if (!crowd->has_reasons)
				reasons = 0;
			crowd_op(crowd, DOORBELL_MASK, reasons, &crowd->masked);
			dither(round);
			crowd_op(crowd, DOORBELL_UNMASK, reasons, &crowd->unmasked);
			break;
		default:
			rest_point(&crowd->clearer, &crowd->stop);
			dither(round);
			crowd_op(crowd, DOORBELL_CLEAR, 0, &crowd->cleared);
		}
	}
	return NULL;
}

static void log_crowd(struct __test_metadata *_metadata, const struct crowd *crowd)
{
	TH_LOG("rung %lu, %lu, %lu; masked %lu, unmasked %lu, cleared %lu", crowd->rung[0],
	       crowd->rung[1], crowd->rung[2], crowd->masked, crowd->unmasked, crowd->cleared);
}

static bool all_happened(struct crowd *crowd)
{
	return crowd->rung[DOORBELL_RING_DELIVERED] && crowd->rung[DOORBELL_RING_COALESCED] &&
	       crowd->rung[DOORBELL_RING_MASKED] && crowd->masked && crowd->unmasked &&
	       crowd->cleared;
}

/*
 * Makes each result occur. The scheduler may seldom do: a thread that is preempted under its
 * mask leaves the line masked for as long.
 */
static bool make_all_happen(struct crowd *crowd, const struct doorbell_line_status *status)
{
	if (!rest_begin(&crowd->maskers, NR_MASKERS) || !rest_begin(&crowd->clearer, 1))
		return false;
	/* No mask is left. */
	if (!grows(&crowd->rung[DOORBELL_RING_DELIVERED], 1))
		return false;
	crowd_op(crowd, DOORBELL_MASK, 0, &crowd->masked);
	/*
	 * The first ring makes a message, and the others coalesce with it. One of each ringer
	 * can have begun before the mask.
	 */
	if (!grows(&crowd->rung[DOORBELL_RING_COALESCED], NR_RINGERS + 1))
		return false;
	/* The clearer drops it, and the next ring makes another one. */
	if (!rest_end(&crowd->clearer) || !grows(&crowd->cleared, 1) ||
	    !rest_begin(&crowd->clearer, 1) ||
	    !WAIT_FOR(status_state(status) & DOORBELL_LINE_PENDING))
		return false;
	crowd_op(crowd, DOORBELL_UNMASK, 0, &crowd->unmasked);
	return rest_end(&crowd->clearer) && rest_end(&crowd->maskers);
}

/*
 * Each ring that did not coalesce made a message, and each message was delivered, dropped,
 * or is pending: by the results of the calls, by the counters, and by the trigger.
 */
TEST_F(contest, crowd)
{
	struct crowd crowd = {
		.db = self->db,
		.has_reasons = info_of(_metadata, self->db).features &
			       DOORBELL_FEATURE_MASK_REASONS,
	};
	struct rounds race = ROUNDS(ROUNDS_MIN, 20000);
	struct member members[NR_THREADS];
	unsigned long messages, least;
	struct doorbell_query query;
	unsigned int turn = 0;
	bool pending;
	int i;

	for (i = 0; i < NR_THREADS; i++) {
		members[i] = (struct member){ .crowd = &crowd, .nr = i };
		ASSERT_EQ(0, pthread_create(&members[i].thread, NULL, mill_about, &members[i]));
	}
	do {
		usleep(1000);
		if (turn++ % TURNS_APART == 0) {
			ASSERT_TRUE(make_all_happen(&crowd, &self->status[0])) {
				log_crowd(_metadata, &crowd);
			}
		}
		least = ULONG_MAX;
		for (i = 0; i < NR_THREADS; i++) {
			if (atomic_load(&members[i].rounds) < least)
				least = atomic_load(&members[i].rounds);
		}
	} while (more_rounds(&race, least));
	atomic_store(&crowd.stop, true);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(members[i].thread, NULL);

	query = line_of(_metadata, self->db, 0);
	EXPECT_TRUE(status_agrees(&self->status[0], &query));
	pending = query.state & DOORBELL_LINE_PENDING;
	messages = crowd.rung[DOORBELL_RING_DELIVERED] + crowd.rung[DOORBELL_RING_MASKED];
	EXPECT_EQ(0, crowd.failed);
	EXPECT_EQ(messages, query.deliveries + query.dropped + pending);
	EXPECT_EQ(messages + crowd.rung[DOORBELL_RING_COALESCED], query.rings);
	EXPECT_EQ(crowd.rung[DOORBELL_RING_COALESCED], self->status[0].coalesced);
	EXPECT_EQ(crowd.cleared, query.dropped);
	EXPECT_LE(crowd.unmasked, query.deliveries);
	EXPECT_EQ(query.deliveries, efd_read(self->out));
	/* Nothing is in flight but a message that waits for an unmask. */
	EXPECT_EQ(pending, doorbell_unmask(self->db, 0));
	EXPECT_EQ(pending, efd_read(self->out));

	/* Otherwise the test proves nothing. */
	EXPECT_LE(ROUNDS_MIN, least);
	EXPECT_TRUE(all_happened(&crowd)) {
		log_crowd(_metadata, &crowd);
	}
}

TEST_HARNESS_MAIN
