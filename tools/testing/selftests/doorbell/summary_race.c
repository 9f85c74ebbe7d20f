// SPDX-License-Identifier: GPL-2.0-only
/*
 * Producers on other processors, and consumers of one summary that sleep whenever nothing has
 * fired: no delivery is lost, none is invented, and no consumer sleeps on.
 */
#include <limits.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "summary.h"

#define ROUNDS_MIN	300
#define PRODUCERS	2
#define CONSUMERS	2

/* Lines of all producers share words, and some are in other groups. */
#define LINES		4200
#define USED		8
#define EACH		(PRODUCERS * USED)

static const uint32_t lines[EACH] = {
	0, 1, 2, 63, 64, 65, 127, 128, 3, 4, 4095, 4096, 4097, 4160, 66, LINES - 1,
};

/* The ways to wait. */
enum wait_by { SPIN, POLL, SELECT, LEVEL, EDGE, ONESHOT, EXCLUSIVE };

struct shared {
	int db;
	enum wait_by by;
	struct doorbell_summary_words words;
	atomic_bool stop;
	atomic_ulong missed;
	atomic_ulong slept;
	/* Data of each line: what its producer has stored, and what a consumer has seen. */
	atomic_ulong stored[EACH];
	atomic_ulong seen[EACH];
	atomic_ulong taken[EACH];
	atomic_ulong foreign;
};

struct producer {
	struct shared *shared;
	unsigned int nr;
	/* Waits for the consumer after each ring. */
	bool in_step;
	/* Masks and unmasks its lines. */
	bool masks;
	struct rest *rest;
	atomic_bool *stop;
	atomic_ulong made;
	atomic_ulong failed;
	pthread_t thread;
};

struct consumer {
	struct shared *shared;
	int epoll;
	pthread_t thread;
};

FIXTURE(summary_race) {
	int kmsg;
	struct shared shared;
	struct consumer consumers[CONSUMERS];
	struct producer producers[PRODUCERS];
};

FIXTURE_VARIANT(summary_race) {
	enum wait_by by;
	int consumers;
};

FIXTURE_VARIANT_ADD(summary_race, spin) { .by = SPIN, .consumers = 1 };
FIXTURE_VARIANT_ADD(summary_race, poll) { .by = POLL, .consumers = 1 };
FIXTURE_VARIANT_ADD(summary_race, select) { .by = SELECT, .consumers = 1 };
FIXTURE_VARIANT_ADD(summary_race, level) { .by = LEVEL, .consumers = 1 };
FIXTURE_VARIANT_ADD(summary_race, edge) { .by = EDGE, .consumers = 1 };
FIXTURE_VARIANT_ADD(summary_race, oneshot) { .by = ONESHOT, .consumers = 1 };
FIXTURE_VARIANT_ADD(summary_race, two_spin) { .by = SPIN, .consumers = 2 };
FIXTURE_VARIANT_ADD(summary_race, two_edge) { .by = EDGE, .consumers = 2 };
FIXTURE_VARIANT_ADD(summary_race, two_exclusive) { .by = EXCLUSIVE, .consumers = 2 };

static uint32_t events_of(enum wait_by by)
{
	switch (by) {
	case EDGE:
		return EPOLLIN | EPOLLET;
	case ONESHOT:
		return EPOLLIN | EPOLLET | EPOLLONESHOT;
	case EXCLUSIVE:
		return EPOLLIN | EPOLLET | EPOLLEXCLUSIVE;
	default:
		return EPOLLIN;
	}
}

FIXTURE_SETUP(summary_race)
{
	struct shared *shared = &self->shared;
	int i;

	pin_to(0);
	self->kmsg = kmsg_open();
	shared->db = new_context(_metadata, LINES);
	shared->by = variant->by;
	ASSERT_EQ(0, doorbell_assign_summary(shared->db, 0, LINES));
	shared->words = map_summary(_metadata, shared->db);
	for (i = 0; i < variant->consumers; i++) {
		struct epoll_event event = { .events = events_of(variant->by) };

		self->consumers[i].shared = shared;
		self->consumers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_EQ(0, epoll_ctl(self->consumers[i].epoll, EPOLL_CTL_ADD, shared->db,
				       &event));
	}
}

FIXTURE_TEARDOWN(summary_race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

static bool wait_once(struct consumer *c, int timeout_ms)
{
	struct epoll_event event = { .events = events_of(c->shared->by) };
	struct timeval time = { .tv_usec = timeout_ms * 1000 };
	const int db = c->shared->db;
	fd_set set;

	switch (c->shared->by) {
	case SPIN:
		sched_yield();
		return doorbell_has_fired(&c->shared->words);
	case POLL:
		return efd_poll(db, POLLIN, timeout_ms) == POLLIN;
	case SELECT:
		FD_ZERO(&set);
		FD_SET(db, &set);
		return select(db + 1, &set, NULL, NULL, &time) == 1;
	case ONESHOT:
		if (epoll_ctl(c->epoll, EPOLL_CTL_MOD, db, &event))
			return true;
		__attribute__((fallthrough));
	default:
		return epoll_wait(c->epoll, &event, 1, timeout_ms) == 1;
	}
}

/* Waits until the summary is readable. A wait that lasts too long is a lost wake-up. */
static bool sleep_until_fired(struct consumer *c)
{
	struct timeout timeout = {};

	while (!wait_once(c, WAIT_SLICE_MS)) {
		if (atomic_load(&c->shared->stop))
			return true;
		/* Another consumer takes, too. What stays is what counts. */
		if (!doorbell_has_fired(&c->shared->words))
			timeout = (struct timeout){};
		if (timed_out(&timeout))
			return false;
	}
	return true;
}

static void handle(struct shared *shared, uint32_t line)
{
	unsigned long now, seen;
	int i;

	for (i = 0; i < EACH && lines[i] != line; i++)
		;
	if (i == EACH) {
		atomic_fetch_add(&shared->foreign, 1);
		return;
	}
	atomic_fetch_add(&shared->taken[i], 1);
	now = atomic_load_explicit(&shared->stored[i], memory_order_relaxed);
	seen = atomic_load(&shared->seen[i]);
	while (seen < now && !atomic_compare_exchange_weak(&shared->seen[i], &seen, now))
		;
}

static void *consume(void *arg)
{
	struct consumer *c = arg;
	struct shared *shared = c->shared;
	struct doorbell_taker taker = {};
	unsigned int round, got;
	uint32_t line;
	bool stop;

	for (round = 0;; round++) {
		stop = atomic_load(&shared->stop);
		dither(round / 16);
		for (got = 0; doorbell_take(&shared->words, &taker, &line); got++)
			handle(shared, line);
		if (stop)
			break;
		if (got)
			continue;
		shared->slept++;
		if (!sleep_until_fired(c)) {
			shared->missed++;
			break;
		}
	}
	return NULL;
}

static void *produce(void *arg)
{
	struct producer *p = arg;
	struct shared *shared = p->shared;
	unsigned int round;

	pin_to(p->nr);
	for (round = 0; !atomic_load(p->stop) && !p->failed; round++) {
		const unsigned int at = p->nr * USED + (round * 5 + round / 7) % USED;

		rest_point(p->rest, p->stop);
		if (p->masks && round % 3 == 0)
			doorbell_mask(shared->db, lines[at]);
		/* The ring orders it: the test would find it if that were not so. */
		atomic_fetch_add_explicit(&shared->stored[at], 1, memory_order_relaxed);
		if (doorbell_ring(shared->db, lines[at]) < 0)
			p->failed++;
		if (p->masks && round % 3 == 0)
			doorbell_unmask(shared->db, lines[at]);
		p->made++;
		dither(round);
		if (p->in_step &&
		    !SPIN_FOR(atomic_load(&shared->seen[at]) == atomic_load(&shared->stored[at]) ||
			      atomic_load(p->stop)))
			p->failed++;
	}
	return NULL;
}

static unsigned long least_made(struct producer *producers)
{
	unsigned long least = ULONG_MAX;
	int i;

	for (i = 0; i < PRODUCERS; i++)
		if (producers[i].made < least)
			least = producers[i].made;
	return least;
}

static void race(struct __test_metadata *_metadata, struct _test_data_summary_race *self,
		 const struct _fixture_variant_summary_race *variant, bool in_step, bool masks)
{
	struct rounds rounds = ROUNDS(ROUNDS_MIN, 5000);
	struct shared *shared = &self->shared;
	struct rest producers_rest = {};
	atomic_bool end = false;
	unsigned int turn = 0;
	int i;

	for (i = 0; i < variant->consumers; i++)
		ASSERT_EQ(0, pthread_create(&self->consumers[i].thread, NULL, consume,
					    &self->consumers[i]));
	for (i = 0; i < PRODUCERS; i++) {
		self->producers[i] = (struct producer){
			.shared = shared, .nr = i, .in_step = in_step, .masks = masks,
			.rest = &producers_rest, .stop = &end,
		};
		ASSERT_EQ(0, pthread_create(&self->producers[i].thread, NULL, produce,
					    &self->producers[i]));
	}
	do {
		usleep(1000);
		/* A consumer finds nothing, and sleeps. */
		if (turn++ % TURNS_APART == 0) {
			ASSERT_TRUE(rest_begin(&producers_rest, PRODUCERS) &&
				    WAIT_FOR(shared->slept) && rest_end(&producers_rest));
		}
	} while (!shared->missed && !self->producers[0].failed && !self->producers[1].failed &&
		 more_rounds(&rounds, least_made(self->producers)));
	atomic_store(&end, true);
	for (i = 0; i < PRODUCERS; i++)
		pthread_join(self->producers[i].thread, NULL);
	/* The consumers come to know of the last deliveries by a wake-up alone. */
	for (i = 0; i < EACH; i++) {
		ASSERT_TRUE(WAIT_FOR(atomic_load(&shared->seen[i]) ==
				     atomic_load(&shared->stored[i]) || shared->missed)) {
			TH_LOG("line %u: %lu of %lu", lines[i], shared->seen[i],
			       shared->stored[i]);
		}
	}
	atomic_store(&shared->stop, true);
	for (i = 0; i < variant->consumers; i++)
		pthread_join(self->consumers[i].thread, NULL);

	EXPECT_EQ(0, shared->missed);
	EXPECT_EQ(0, shared->foreign);
	EXPECT_EQ(0, self->producers[0].failed);
	EXPECT_EQ(0, self->producers[1].failed);
	EXPECT_LT(0, shared->slept);
	EXPECT_EQ(0, efd_poll(shared->db, POLLIN, 0));
	for (i = 0; i < EACH; i++) {
		const uint64_t deliveries = line_of(_metadata, shared->db, lines[i]).deliveries;

		EXPECT_EQ(shared->stored[i], shared->seen[i]);
		EXPECT_GE(deliveries, shared->taken[i]);
		EXPECT_LT(0, shared->taken[i]);
		if (in_step)
			EXPECT_EQ(deliveries, shared->taken[i]);
	}
	ksft_print_msg("slept %lu times\n", shared->slept);
}

TEST_F(summary_race, conserved)
{
	race(_metadata, self, variant, false, false);
}

/* Each delivery is taken before its producer goes on: each is one bit. */
TEST_F(summary_race, in_step)
{
	race(_metadata, self, variant, true, false);
}

TEST_F(summary_race, with_masks)
{
	race(_metadata, self, variant, false, true);
}

/* R4: once a deassign has returned, no delivery of the line marks the summary. */
TEST(deassign_is_a_barrier)
{
	struct hammer hammer = { .hit = hit_ring, .line = 7 };
	struct rounds rounds = ROUNDS(200, 10000);
	struct doorbell_summary_words words;
	unsigned long round, marked = 0;
	int kmsg = kmsg_open();

	hammer.fd = new_context(_metadata, 16);
	ASSERT_EQ(0, doorbell_assign_summary(hammer.fd, 7, 1));
	words = map_summary(_metadata, hammer.fd);
	hammer_start(_metadata, &hammer);
	for (round = 0; more_rounds(&rounds, round) || lacks(&rounds, !marked); round++) {
		dither(round);
		ASSERT_EQ(0, doorbell_deassign_summary(hammer.fd, 7, 1));
		marked += take_only(&words) == 7;
		ASSERT_TRUE(round % 16 || hammer_passes(&hammer, 3));
		ASSERT_EQ(0, doorbell_has_fired(&words));
		ASSERT_EQ(-1, take_only(&words));
		ASSERT_EQ(0, doorbell_assign_summary(hammer.fd, 7, 1));
		if (round % 4 == 0)
			ASSERT_TRUE(SPIN_FOR(doorbell_has_fired(&words)));
	}
	hammer_stop(&hammer);
	EXPECT_LT(0, marked);
	EXPECT_EQ(0, kmsg_complaints(kmsg));
}

/* R3: once MASK has returned, the line's bit is not set. */
TEST(mask_is_a_barrier)
{
	struct hammer hammer = { .hit = hit_ring, .line = 7 };
	struct rounds rounds = ROUNDS(200, 10000);
	struct doorbell_summary_words words;
	unsigned long round, marked = 0;
	int kmsg = kmsg_open();

	hammer.fd = new_context(_metadata, 16);
	ASSERT_EQ(0, doorbell_assign_summary(hammer.fd, 0, 16));
	words = map_summary(_metadata, hammer.fd);
	hammer_start(_metadata, &hammer);
	for (round = 0; more_rounds(&rounds, round) || lacks(&rounds, !marked); round++) {
		dither(round);
		ASSERT_EQ(1, doorbell_mask(hammer.fd, 7));
		marked += take_only(&words) == 7;
		ASSERT_TRUE(round % 16 || hammer_passes(&hammer, 3));
		ASSERT_EQ(-1, take_only(&words));
		ASSERT_LE(0, doorbell_unmask(hammer.fd, 7));
		if (round % 4 == 0)
			ASSERT_TRUE(SPIN_FOR(doorbell_has_fired(&words)));
	}
	hammer_stop(&hammer);
	EXPECT_LT(0, marked);
	EXPECT_EQ(0, kmsg_complaints(kmsg));
}

TEST_HARNESS_MAIN
