// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moderation against all other calls: the rate has its limit, and no message is lost or
 * spurious.
 */
#include "doorbell_test.h"

FIXTURE(moderation_race) {
	int kmsg;
	int db;
	int out;
	struct hammer hammer;
};

FIXTURE_VARIANT(moderation_race) {
	/* The hammer writes to an irqfd instead of calling the ioctl. */
	bool by_irqfd;
	uint32_t max_count;
};

FIXTURE_VARIANT_ADD(moderation_race, ioctl) { };
FIXTURE_VARIANT_ADD(moderation_race, irqfd) { .by_irqfd = true };
FIXTURE_VARIANT_ADD(moderation_race, ioctl_count) { .max_count = 3 };
FIXTURE_VARIANT_ADD(moderation_race, irqfd_count) { .by_irqfd = true, .max_count = 3 };

#define INTERVAL	50000

FIXTURE_SETUP(moderation_race)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	ASSERT_EQ(0, doorbell_moderate(self->db, 0, INTERVAL, variant->max_count));
	self->hammer.fd = self->db;
	self->hammer.hit = hit_ring;
	if (variant->by_irqfd) {
		self->hammer.fd = new_eventfd(_metadata, 0, 0);
		self->hammer.hit = hit_write;
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->hammer.fd, 0));
	}
}

FIXTURE_TEARDOWN(moderation_race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/*
 * Waits until the line is settled, and checks that each ring was delivered, has coalesced
 * or was dropped, and that each delivery was signalled once.
 */
#define EXPECT_CONSERVED(signals) do {					\
	const struct doorbell_line_status *__status = map_status(_metadata, self->db); \
	struct doorbell_query __query = settled(_metadata, self->db, 0); \
									\
	ASSERT_TRUE(WAIT_FOR(((signals) += efd_read(self->out)) == __query.deliveries)); \
	EXPECT_EQ(atomic_load(&self->hammer.done), __query.rings);	\
	EXPECT_TRUE(status_agrees(__status, &__query));			\
} while (0)

/*
 * A storm of rings: at most one delivery in an interval, or for so many rings. The last
 * ring is delivered.
 */
TEST_F(moderation_race, rate)
{
	struct rounds rounds = ROUNDS(1000, 1000000);
	struct doorbell_query query;
	uint64_t begin, most, signals = 0, last, gap, longest = 0;

	begin = now_ns();
	last = begin;
	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 1));
	while (more_rounds(&rounds, atomic_load(&self->hammer.done))) {
		efd_await(self->out, POLLIN);
		signals += efd_read(self->out);
		gap = now_ns() - last;
		last += gap;
		if (gap > longest)
			longest = gap;
	}
	hammer_stop(&self->hammer);
	EXPECT_CONSERVED(signals);
	query = line_of(_metadata, self->db, 0);
	most = (now_ns() - begin) / INTERVAL + 1;
	if (variant->max_count)
		most += query.rings / variant->max_count;
	EXPECT_LE(query.deliveries, most);
	ksft_print_msg("%llu rings, at most %llu deliveries, %llu, %llu of them by the worker\n",
		       (unsigned long long)query.rings, (unsigned long long)most,
		       (unsigned long long)query.deliveries, (unsigned long long)query.deferred);
	ksft_print_msg("longest gap %llu us\n", (unsigned long long)longest / 1000);
}

/*
 * Each message of another line arrives, beside the storm. How long the longest one took is
 * not limited: it depends on the machine.
 */
TEST_F(moderation_race, longest_wait)
{
	struct rounds rounds = ROUNDS(200, 20000);
	uint64_t begin, wait, longest = 0, signals = 0, expected = 0;
	int out = new_eventfd(_metadata, 0, 0);
	int db = new_context(_metadata, 1);
	struct doorbell_query query;
	unsigned int n = 0;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	ASSERT_EQ(0, doorbell_moderate(db, 0, INTERVAL, 0));
	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 1));
	while (more_rounds(&rounds, n)) {
		expected += doorbell_ring(db, 0) == DOORBELL_RING_DELIVERED;
		begin = now_ns();
		expected += doorbell_ring(db, 0) == DOORBELL_RING_DELIVERED;
		while (signals < expected) {
			ASSERT_EQ(POLLIN, efd_await(out, POLLIN));
			signals += efd_read(out);
		}
		wait = now_ns() - begin;
		if (wait > longest)
			longest = wait;
		n++;
	}
	hammer_stop(&self->hammer);
	query = settled(_metadata, db, 0);
	EXPECT_EQ(expected, query.deliveries);
	EXPECT_EQ(signals, query.deliveries);
	ksft_print_msg("%llu deliveries, %llu of them by the worker; longest wait %llu us\n",
		       (unsigned long long)query.deliveries, (unsigned long long)query.deferred,
		       (unsigned long long)longest / 1000);
}

/* MASK is a barrier for the timer, too, and UNMASK loses nothing. */
TEST_F(moderation_race, mask)
{
	struct rounds rounds = ROUNDS(200, 20000);
	uint64_t signals = 0, count;
	unsigned int n = 0;

	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 1));
	while (more_rounds(&rounds, n)) {
		doorbell_mask(self->db, 0);
		count = line_of(_metadata, self->db, 0).deliveries;
		signals += efd_read(self->out);
		ASSERT_EQ(count, signals);
		dither(n++);
		if (n % 8 == 0)
			usleep(2 * INTERVAL / 1000);
		ASSERT_EQ(count, line_of(_metadata, self->db, 0).deliveries);
		ASSERT_EQ(0, efd_count(self->out));
		doorbell_unmask(self->db, 0);
		dither(n / 3);
	}
	hammer_stop(&self->hammer);
	EXPECT_CONSERVED(signals);
	EXPECT_LT(0, signals);
}

/* Other limits, or none, while rings, the timer and the count end the interval. */
TEST_F(moderation_race, moderate)
{
	static const uint32_t intervals[] = { 0, INTERVAL, DOORBELL_MIN_INTERVAL,
					      DOORBELL_MAX_INTERVAL, 5000 };
	struct rounds rounds = ROUNDS(200, 50000);
	uint64_t signals = 0;
	uint32_t interval;
	unsigned int n = 0;

	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 1));
	while (more_rounds(&rounds, n)) {
		interval = intervals[n % ARRAY_SIZE(intervals)];
		ASSERT_EQ(0, doorbell_moderate(self->db, 0, interval,
					       interval ? variant->max_count : 0));
		dither(n++);
		signals += efd_read(self->out);
	}
	hammer_stop(&self->hammer);
	/* Long intervals end here. */
	ASSERT_EQ(0, doorbell_moderate(self->db, 0, 0, 0));
	EXPECT_CONSERVED(signals);
}

/* DEASSIGN is a barrier for the timer, too. */
TEST_F(moderation_race, deassign)
{
	struct rounds rounds = ROUNDS(200, 20000);
	int other = new_eventfd(_metadata, 0, 0);
	uint64_t signals = 0;
	unsigned int n = 0;

	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 1));
	while (more_rounds(&rounds, n)) {
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, other, 0));
		dither(n++);
		if (n % 8 == 0)
			usleep(2 * INTERVAL / 1000);
		ASSERT_EQ(0, doorbell_deassign_trigger(self->db, other, 0));
		efd_read(other);
		ASSERT_TRUE(hammer_passes(&self->hammer, 1));
		ASSERT_EQ(0, efd_count(other));
		signals += efd_read(self->out);
	}
	hammer_stop(&self->hammer);
	EXPECT_CONSERVED(signals);
}

/* CLEAR drops what it counts, during the interval and after it. */
TEST_F(moderation_race, clear)
{
	struct rounds rounds = ROUNDS(200, 50000);
	uint64_t signals = 0, dropped = 0;
	unsigned int n = 0;
	int ret;

	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 1));
	while (more_rounds(&rounds, n)) {
		ret = doorbell_clear(self->db, 0);
		ASSERT_LE(0, ret);
		dropped += ret;
		dither(n++);
		signals += efd_read(self->out);
	}
	hammer_stop(&self->hammer);
	EXPECT_CONSERVED(signals);
	EXPECT_EQ(dropped, line_of(_metadata, self->db, 0).dropped);
}

/* A context that is closed while its timers are queued or run. */
TEST_F(moderation_race, close)
{
	struct rounds rounds = ROUNDS(50, 5000);
	unsigned int n = 0, i;
	int db, out;

	while (more_rounds(&rounds, n)) {
		db = new_context(_metadata, 8);
		out = new_eventfd(_metadata, 0, 0);
		for (i = 0; i < 8; i++) {
			ASSERT_EQ(0, doorbell_assign_trigger(db, out, i));
			ASSERT_EQ(0, doorbell_moderate(db, i, DOORBELL_MIN_INTERVAL << i, 0));
			ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, i));
			ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, i));
		}
		dither(n++);
		close(db);
		/* Each ring had a delivery of its own. */
		ASSERT_EQ(16, efd_read(out));
		close(out);
	}
}

TEST_HARNESS_MAIN
