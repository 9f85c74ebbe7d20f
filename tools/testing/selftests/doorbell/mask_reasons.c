// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mask reasons: a line is masked while it has at least one, and the last one to end delivers
 * what is pending, once. Each mask is a barrier, also of a line that is masked already. Runs
 * as a 32-bit program, too.
 */
#include <limits.h>

#include "level.h"

#define VECTOR		DOORBELL_MASK_VECTOR
#define FUNCTION	DOORBELL_MASK_FUNCTION
#define PAUSE		DOORBELL_MASK_PAUSE
#define AUTO		DOORBELL_MASK_AUTO
#define NR_REASONS	4
#define ALL_REASONS	((1U << NR_REASONS) - 1)

/* The state of an edge line that is masked for @reasons, which may be none. */
static uint32_t masked_state(uint32_t reasons)
{
	return reasons ? MASKED_FOR(reasons) : 0;
}

FIXTURE(reasons) {
	LEVEL_FIXTURE;
};

FIXTURE_SETUP(reasons)
{
	LEVEL_SETUP();
	ASSERT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_EDGE));
}

FIXTURE_TEARDOWN(reasons)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* The lines of the fixture: a level line with a resamplefd, and an edge line. */
#define LEVEL_LINE	0
#define LINE		1

/* Calls @f with each order of the reasons. */
static void each_order(void (*f)(void *arg, const uint32_t *order), void *arg)
{
	unsigned int at, i, j, digits;
	uint32_t order[NR_REASONS];

	for (at = 0; at < 24; at++) {
		for (i = 0; i < NR_REASONS; i++)
			order[i] = 1U << i;
		for (i = 0, digits = at; i < NR_REASONS; i++) {
			const uint32_t swapped = order[i];

			j = i + digits % (NR_REASONS - i);
			digits /= NR_REASONS - i;
			order[i] = order[j];
			order[j] = swapped;
		}
		f(arg, order);
	}
}

struct orders {
	int db;
	int out;
	const struct doorbell_line_status *status;
	const uint32_t *set;
	unsigned int nr;
	unsigned int wrong;
};

/* Sets the reasons in one order and ends them in another, with a ring in between. */
static void set_and_end(void *arg, const uint32_t *end)
{
	struct orders *orders = arg;
	uint32_t reasons = 0, held = 0;
	unsigned int i, wrong = 0;

	for (i = 0; i < NR_REASONS; i++) {
		wrong += doorbell_mask_for(orders->db, LINE, orders->set[i]) != !i;
		reasons |= orders->set[i];
		if (i == orders->nr % NR_REASONS) {
			wrong += doorbell_ring(orders->db, LINE) != DOORBELL_RING_MASKED;
			held = PENDING;
		}
		wrong += status_state(&orders->status[LINE]) != (masked_state(reasons) | held);
	}
	for (i = 0; i < NR_REASONS; i++) {
		const bool last = i + 1 == NR_REASONS;

		wrong += efd_read(orders->out) != 0;
		wrong += doorbell_unmask_for(orders->db, LINE, end[i]) != last;
		/* To end a reason twice changes nothing. */
		wrong += doorbell_unmask_for(orders->db, LINE, end[i]) != 0;
		reasons &= ~end[i];
		wrong += status_state(&orders->status[LINE]) !=
			 (last ? 0 : masked_state(reasons) | PENDING);
	}
	wrong += efd_read(orders->out) != 1;
	orders->wrong += wrong;
	orders->nr++;
}

static void set_in_order(void *arg, const uint32_t *set)
{
	struct orders *orders = arg;

	orders->set = set;
	each_order(set_and_end, orders);
}

TEST_F(reasons, every_order)
{
	struct orders orders = {
		.db = self->db, .out = self->out[LINE], .status = self->status,
	};

	each_order(set_in_order, &orders);
	EXPECT_EQ(24 * 24, orders.nr);
	EXPECT_EQ(0, orders.wrong);
	EXPECT_ACCOUNTS(LINE, orders.nr, orders.nr, 0);
}

/* Several reasons in one call, some of which are set, or ended, already. */
TEST_F(reasons, every_set)
{
	uint32_t before, set, end;

	for (before = 0; before <= ALL_REASONS; before++) {
		for (set = 1; set <= ALL_REASONS; set++) {
			for (end = 1; end <= ALL_REASONS; end++) {
				const uint32_t all = before | set, left = all & ~end;

				if (before)
					ASSERT_EQ(1, doorbell_mask_for(self->db, LINE, before));
				ASSERT_EQ(!before, doorbell_mask_for(self->db, LINE, set));
				ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, LINE));
				ASSERT_EQ(!left, doorbell_unmask_for(self->db, LINE, end));
				ASSERT_EQ(left ? masked_state(left) | PENDING : 0,
					  status_state(&self->status[LINE]));
				ASSERT_EQ(!left, efd_read(self->out[LINE]));
				ASSERT_EQ(!!left, doorbell_unmask_for(self->db, LINE, ALL_REASONS));
				ASSERT_EQ(!!left, efd_read(self->out[LINE]));
			}
		}
	}
	EXPECT_STATE(LINE, 0);
}

/* No flag is VECTOR, and so is the mask that a line begins with. */
TEST_F(reasons, vector_is_the_default)
{
	int db = new_context(_metadata, 0);
	uint64_t result;

	ASSERT_EQ(0, doorbell_set_lines_masked(db, 2));
	EXPECT_EQ(MASKED_FOR(VECTOR), line_of(_metadata, db, 1).state);
	EXPECT_EQ(0, doorbell_mask_for(db, 1, VECTOR));
	EXPECT_EQ(0, doorbell_unmask_for(db, 1, FUNCTION | PAUSE | AUTO));
	EXPECT_EQ(MASKED_FOR(VECTOR), line_of(_metadata, db, 1).state);
	EXPECT_EQ(0, doorbell_unmask(db, 1));
	EXPECT_EQ(0, line_of(_metadata, db, 1).state);

	EXPECT_EQ(1, doorbell_mask_for(self->db, LINE, 0));
	EXPECT_STATE(LINE, MASKED_FOR(VECTOR));
	EXPECT_EQ(0, doorbell_mask_lines_for(self->db, LINE, 1, NULL, &result, VECTOR));
	EXPECT_EQ(0, result);
	EXPECT_EQ(0, doorbell_unmask_for(self->db, LINE, VECTOR));
	EXPECT_STATE(LINE, 0);
	EXPECT_EQ(1, doorbell_mask_for(self->db, LINE, VECTOR));
	EXPECT_EQ(0, doorbell_unmask(self->db, LINE));
	EXPECT_STATE(LINE, 0);
	/* A line that is not masked has no reason to end. */
	EXPECT_EQ(0, doorbell_unmask_for(self->db, LINE, ALL_REASONS));
	EXPECT_STATE(LINE, 0);
}

/* CLEAR drops the message and leaves the mask, with all its reasons. */
TEST_F(reasons, clear_ends_none)
{
	EXPECT_EQ(1, doorbell_mask_for(self->db, LINE, FUNCTION | PAUSE));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, LINE));
	EXPECT_EQ(1, doorbell_clear(self->db, LINE));
	EXPECT_STATE(LINE, MASKED_FOR(FUNCTION | PAUSE));
	EXPECT_EQ(0, doorbell_unmask_for(self->db, LINE, FUNCTION | PAUSE));
	EXPECT_EQ(0, efd_count(self->out[LINE]));
	EXPECT_STATE(LINE, 0);
}

/* An MSI-X function: its own mask over those of its vectors, and a pause over both. */
TEST_F(reasons, function_keeps_its_vectors)
{
	const uint32_t nr = 150;
	/* Each third vector is masked by itself. */
	const uint64_t thirds[3] = { 0x9249249249249249ULL, 0x4924924924924924ULL, 0x92492 };
	const uint64_t unmasked[3] = { ~thirds[0], ~thirds[1], ~thirds[2] & 0x3fffff };
	int db = new_context(_metadata, nr), out = new_eventfd(_metadata, 0, 0);
	const struct doorbell_line_status *status = map_status(_metadata, db);
	uint64_t result[3];
	uint32_t i;

	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, out, i));
	EXPECT_EQ(nr / 3, doorbell_mask_lines(db, 0, nr, thirds, NULL));
	EXPECT_EQ(nr - nr / 3, doorbell_mask_lines_for(db, 0, nr, NULL, result, FUNCTION));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(unmasked[i], result[i]);
	EXPECT_EQ(0, doorbell_mask_lines_for(db, 0, nr, NULL, NULL, PAUSE));
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(MASKED_FOR(FUNCTION | PAUSE | (i % 3 ? 0 : VECTOR)),
			  status_state(&status[i]));
		ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, i));
	}
	EXPECT_EQ(0, doorbell_unmask_lines_for(db, 0, nr, NULL, NULL, FUNCTION));
	EXPECT_EQ(nr, doorbell_pending_lines(db, 0, nr, NULL, NULL));
	EXPECT_EQ(0, efd_count(out));
	/* The end of the pause opens the vectors that are not masked by themselves. */
	EXPECT_EQ(nr - nr / 3, doorbell_unmask_lines_for(db, 0, nr, NULL, result, PAUSE));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(unmasked[i], result[i]);
	EXPECT_EQ(nr - nr / 3, efd_read(out));
	EXPECT_EQ(nr / 3, doorbell_pending_lines(db, 0, nr, NULL, result));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(thirds[i], result[i]);
	EXPECT_EQ(nr / 3, doorbell_unmask_lines(db, 0, nr, NULL, result));
	EXPECT_EQ(nr / 3, efd_read(out));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, status_state(&status[i]));
}

/* Notifiers are signalled when the line becomes masked, and when it ends to be. */
TEST_F(reasons, notifiers_of_whole_transitions)
{
	int masks = new_eventfd(_metadata, 0, 0), unmasks = new_eventfd(_metadata, 0, 0);
	int i;

	ASSERT_EQ(0, doorbell_assign_notifier(self->db, masks, LINE, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, unmasks, LINE, DOORBELL_NOTIFY_UNMASK));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(1, doorbell_mask_for(self->db, LINE, PAUSE));
		EXPECT_EQ(1, efd_read(masks));
		EXPECT_EQ(0, doorbell_mask_for(self->db, LINE, FUNCTION));
		EXPECT_EQ(0, doorbell_mask(self->db, LINE));
		EXPECT_EQ(0, doorbell_unmask_for(self->db, LINE, PAUSE));
		EXPECT_EQ(0, doorbell_unmask_for(self->db, LINE, PAUSE));
		EXPECT_EQ(0, doorbell_unmask(self->db, LINE));
		EXPECT_EQ(0, efd_count(masks));
		EXPECT_EQ(0, efd_count(unmasks));
		EXPECT_EQ(0, doorbell_unmask_for(self->db, LINE, FUNCTION | AUTO));
		EXPECT_EQ(1, efd_read(unmasks));
		EXPECT_EQ(0, efd_count(masks));
	}
}

/* A resample that is owed comes with the last reason's end, once. */
TEST_F(reasons, resample_waits_for_the_last)
{
	const uint32_t line = LEVEL_LINE;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, line));
	EXPECT_EQ(1, doorbell_mask(self->db, line));
	EXPECT_EQ(0, doorbell_mask_for(self->db, line, FUNCTION));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, line));
	EXPECT_STATE(line, LEVEL | MASKED_FOR(VECTOR | FUNCTION) | RESAMPLE);
	EXPECT_EQ(0, doorbell_unmask(self->db, line));
	EXPECT_STATE(line, LEVEL | MASKED_FOR(FUNCTION) | RESAMPLE);
	EXPECT_EQ(0, efd_count(self->res[0]));
	/* Another reason comes before the last one ends. */
	EXPECT_EQ(0, doorbell_mask_for(self->db, line, PAUSE));
	EXPECT_EQ(0, doorbell_unmask_for(self->db, line, FUNCTION));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(0, doorbell_unmask_for(self->db, line, PAUSE));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_STATE(line, LEVEL);

	/* With a message that came after the ack. */
	EXPECT_EQ(1, efd_read(self->out[line]));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, line));
	EXPECT_EQ(1, doorbell_mask_for(self->db, line, FUNCTION | PAUSE));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, line));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, line));
	EXPECT_EQ(0, doorbell_unmask_for(self->db, line, PAUSE));
	EXPECT_EQ(1, efd_read(self->out[line]));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(1, doorbell_unmask_for(self->db, line, FUNCTION));
	EXPECT_EQ(1, efd_read(self->out[line]));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_EQ(DONE, doorbell_ack(self->db, line));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_ACCOUNTS(line, 3, 3, 3);
}

#define NR_OTHERS	20

FIXTURE(barrier) {
	int kmsg;
	int db;
	int out;
	struct hammer hammer;
};

FIXTURE_VARIANT(barrier) {
	bool by_irqfd;
};

FIXTURE_VARIANT_ADD(barrier, ioctl) { };
FIXTURE_VARIANT_ADD(barrier, irqfd) { .by_irqfd = true };

/* The hammer's handler: it lets the line, which masks itself, deliver again. */
static void hit_ring_and_unmask(struct hammer *hammer)
{
	doorbell_ring(hammer->fd, 0);
	doorbell_unmask_for(hammer->fd, 0, AUTO);
}

static int written;

static void hit_write_and_unmask(struct hammer *hammer)
{
	efd_write(written, 1);
	doorbell_unmask_for(hammer->fd, 0, AUTO);
}

/* A delivery takes long, and the tested trigger is the last one to be signalled. */
FIXTURE_SETUP(barrier)
{
	unsigned int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, 0, DOORBELL_TYPE_EDGE));
	for (i = 0; i < NR_OTHERS; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), 0));
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	self->hammer.fd = self->db;
	self->hammer.hit = hit_ring_and_unmask;
	if (variant->by_irqfd) {
		written = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, written, 0));
		self->hammer.hit = hit_write_and_unmask;
	}
}

FIXTURE_TEARDOWN(barrier)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * The line masks itself in each delivery. So a MASK for another reason can find it masked
 * while a delivery is in flight, and has to wait all the same.
 */
TEST_F(barrier, also_of_a_masked_line)
{
	unsigned int rounds, already = 0, late = 0, lost = 0;
	struct rounds race = ROUNDS(30, 5000);

	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 10));
	for (rounds = 0; more_rounds(&race, rounds) || lacks(&race, !already); rounds++) {
		const uint32_t reason = rounds % 2 ? FUNCTION : VECTOR;
		uint64_t deliveries;

		dither(rounds);
		already += !doorbell_mask_for(self->db, 0, reason);
		efd_read(self->out);
		deliveries = line_of(_metadata, self->db, 0).deliveries;
		ASSERT_TRUE(hammer_passes(&self->hammer, 1 + rounds % 3));
		late += efd_read(self->out) != 0;
		late += line_of(_metadata, self->db, 0).deliveries != deliveries;
		/* At least one ring, and the end of the other reason, have begun and ended. */
		lost += doorbell_pending(self->db, 0) != 1;
		lost += doorbell_unmask_for(self->db, 0, reason) != 1;
		lost += !efd_read(self->out);
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, lost);
	/* Otherwise the test proves nothing. */
	EXPECT_LT(0, already);
}

/* Threads that ring, and threads that mask for a reason of their own. */
#define NR_RINGERS	2
#define NR_MASKERS	3
#define ROUNDS_MIN	100

struct crowd {
	int db;
	const struct doorbell_line_status *status;
	atomic_bool stop;
	/* The threads that mask. */
	struct rest maskers;
	atomic_ulong rung[3];
	atomic_ulong newly;
	atomic_ulong already;
	atomic_ulong unmasked;
	atomic_ulong passed;
	atomic_ulong failed;
};

struct member {
	struct crowd *crowd;
	unsigned int nr;
	atomic_ulong rounds;
	pthread_t thread;
};

static uint64_t deliveries_of(const struct crowd *crowd)
{
	return __atomic_load_n(&crowd->status->deliveries, __ATOMIC_SEQ_CST);
}

static void ring_once(struct crowd *crowd)
{
	int ret = doorbell_ring(crowd->db, 0);

	if (ret < 0)
		atomic_fetch_add(&crowd->failed, 1);
	else
		atomic_fetch_add(&crowd->rung[ret], 1);
}

/* Returns the number of deliveries when the mask has begun. */
static uint64_t begin_mask(struct crowd *crowd, uint32_t reason)
{
	const int masked = doorbell_mask_for(crowd->db, 0, reason);
	const uint64_t deliveries = deliveries_of(crowd);

	atomic_fetch_add(&crowd->failed, masked < 0);
	atomic_fetch_add(&crowd->newly, masked == 1);
	atomic_fetch_add(&crowd->already, !masked);
	return deliveries;
}

/* While the reason was set, no delivery has started. */
static void end_mask(struct crowd *crowd, uint32_t reason, uint64_t deliveries)
{
	int unmasked;

	atomic_fetch_add(&crowd->passed, deliveries_of(crowd) != deliveries);
	unmasked = doorbell_unmask_for(crowd->db, 0, reason);
	atomic_fetch_add(&crowd->failed, unmasked < 0);
	atomic_fetch_add(&crowd->unmasked, unmasked == 1);
}

static void hold_once(struct crowd *crowd, uint32_t reason, unsigned int round)
{
	const uint64_t deliveries = begin_mask(crowd, reason);

	dither(round);
	if (round % 16 == 15)
		sched_yield();
	end_mask(crowd, reason, deliveries);
}

static void *mill_about(void *arg)
{
	struct member *member = arg;
	unsigned int round;

	pin_to(member->nr);
	for (round = 0; !atomic_load(&member->crowd->stop); round++) {
		if (member->nr < NR_RINGERS) {
			ring_once(member->crowd);
		} else {
			rest_point(&member->crowd->maskers, &member->crowd->stop);
			hold_once(member->crowd, 1U << (member->nr - NR_RINGERS), round);
		}
		dither(round / 64);
		atomic_store(&member->rounds, round + 1);
	}
	return NULL;
}

static void log_crowd(struct __test_metadata *_metadata, const struct crowd *crowd)
{
	TH_LOG("rung %lu, %lu, %lu; newly masked %lu, masked already %lu, unmasked %lu",
	       crowd->rung[0], crowd->rung[1], crowd->rung[2], crowd->newly, crowd->already,
	       crowd->unmasked);
}

static bool all_happened(struct crowd *crowd)
{
	return crowd->rung[DOORBELL_RING_DELIVERED] && crowd->rung[DOORBELL_RING_COALESCED] &&
	       crowd->rung[DOORBELL_RING_MASKED] && crowd->newly && crowd->already &&
	       crowd->unmasked;
}

/*
 * Makes each result occur. The threads seldom do by themselves: a thread that is preempted
 * under its mask leaves the line masked for as long, and the others may alternate so that it
 * is masked for good.
 */
static bool make_all_happen(struct crowd *crowd)
{
	uint64_t deliveries;

	if (!rest_begin(&crowd->maskers, NR_MASKERS))
		return false;
	/* No mask is left. */
	if (!grows(&crowd->rung[DOORBELL_RING_DELIVERED], 1))
		return false;
	deliveries = begin_mask(crowd, AUTO);
	/*
	 * The first ring makes a message, and the others coalesce with it. One of each ringer
	 * can have begun before the mask.
	 */
	if (!grows(&crowd->rung[DOORBELL_RING_COALESCED], NR_RINGERS + 1))
		return false;
	/* The other reasons find the line masked. */
	if (!rest_end(&crowd->maskers) || !grows(&crowd->already, 1) ||
	    !rest_begin(&crowd->maskers, NR_MASKERS))
		return false;
	/* The last reason ends, and the message is delivered. */
	end_mask(crowd, AUTO, deliveries);
	return rest_end(&crowd->maskers);
}

/*
 * Each reason holds the line by itself, each message is delivered once, and notifiers are
 * signalled for each transition that a call reports.
 */
TEST_F(reasons, crowd)
{
	int db = new_context(_metadata, 1), out = new_eventfd(_metadata, 0, 0);
	int masks = new_eventfd(_metadata, 0, 0), unmasks = new_eventfd(_metadata, 0, 0);
	struct crowd crowd = { .db = db, .status = map_status(_metadata, db) };
	struct member members[NR_RINGERS + NR_MASKERS];
	struct rounds race = ROUNDS(ROUNDS_MIN, 20000);
	unsigned long messages, least;
	unsigned int i, turn = 0;
	struct doorbell_query query;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(db, masks, 0, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(0, doorbell_assign_notifier(db, unmasks, 0, DOORBELL_NOTIFY_UNMASK));
	for (i = 0; i < ARRAY_SIZE(members); i++) {
		members[i] = (struct member){ .crowd = &crowd, .nr = i };
		ASSERT_EQ(0, pthread_create(&members[i].thread, NULL, mill_about, &members[i]));
	}
	do {
		usleep(1000);
		if (turn++ % TURNS_APART == 0) {
			ASSERT_TRUE(make_all_happen(&crowd)) {
				log_crowd(_metadata, &crowd);
			}
		}
		least = ULONG_MAX;
		for (i = 0; i < ARRAY_SIZE(members); i++) {
			if (atomic_load(&members[i].rounds) < least)
				least = atomic_load(&members[i].rounds);
		}
	} while (more_rounds(&race, least));
	atomic_store(&crowd.stop, true);
	for (i = 0; i < ARRAY_SIZE(members); i++)
		pthread_join(members[i].thread, NULL);

	query = settled(_metadata, db, 0);
	EXPECT_EQ(0, query.state);
	EXPECT_EQ(0, crowd.passed);
	EXPECT_EQ(0, crowd.failed);
	messages = crowd.rung[DOORBELL_RING_DELIVERED] + crowd.rung[DOORBELL_RING_MASKED];
	EXPECT_EQ(messages, query.deliveries);
	EXPECT_EQ(messages + crowd.rung[DOORBELL_RING_COALESCED], query.rings);
	EXPECT_EQ(query.deliveries, efd_read(out));
	EXPECT_LE(crowd.unmasked, query.deliveries);
	EXPECT_EQ(crowd.newly, efd_read(masks));
	EXPECT_EQ(crowd.newly, efd_read(unmasks));

	/* Otherwise the test proves nothing. */
	EXPECT_LE(ROUNDS_MIN, least);
	EXPECT_TRUE(all_happened(&crowd)) {
		log_crowd(_metadata, &crowd);
	}
}

TEST_HARNESS_MAIN
