// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOORBELL_WAIT against deliveries, signals, timeouts, masks and deassignments: each
 * delivery is consumed exactly once, and no thread sleeps while there is one.
 */
#include <stddef.h>

#include "wait_line.h"

static void ignore(int sig)
{
	(void)sig;
}

/* A thread that waits for the line. */
struct waiter {
	int db;
	unsigned int cpu;
	/* Of each wait, in nanoseconds; 0: none. */
	uint64_t timeout;
	/* A wait that fails with ENOENT does not end the thread. */
	bool deassigned;
	atomic_ulong calls;
	atomic_ulong interrupted;
	atomic_ulong timed_out;
	atomic_ulong ended;
	atomic_ulong sum;
	int error;
	atomic_bool *stop;
	pthread_t thread;
};

static void *wait_in_a_loop(void *arg)
{
	struct waiter *waiter = arg;

	pin_to(waiter->cpu);
	while (!atomic_load(waiter->stop)) {
		uint64_t count;
		int ret = doorbell_wait(waiter->db, 0, waiter->timeout ?
					doorbell_deadline(waiter->timeout) : NO_TIMEOUT, &count);

		waiter->calls++;
		waiter->sum += count;
		if (ret == -EINTR)
			waiter->interrupted++;
		else if (ret == -ETIMEDOUT)
			waiter->timed_out++;
		else if (ret == -ENOENT && waiter->deassigned)
			waiter->ended++;
		else if (ret)
			waiter->error = ret;
		if (!ret != !!count)
			waiter->error = -EPROTO;
		dither(waiter->calls);
	}
	return NULL;
}

#define WAITERS		3

FIXTURE(race) {
	int kmsg;
	int db;
	int in;
	atomic_bool stop;
	struct waiter waiters[WAITERS];
	struct hammer hammer;
};

FIXTURE_VARIANT(race) {
	uint64_t timeout;
	bool signals;
	bool by_ring;
};

FIXTURE_VARIANT_ADD(race, irqfd) {};
FIXTURE_VARIANT_ADD(race, ring) { .by_ring = true };
FIXTURE_VARIANT_ADD(race, timeouts) { .timeout = 1000 };
FIXTURE_VARIANT_ADD(race, signals) { .signals = true };
FIXTURE_VARIANT_ADD(race, both) { .timeout = 20000, .signals = true, .by_ring = true };

FIXTURE_SETUP(race)
{
	struct sigaction action = { .sa_handler = ignore };

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->in = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, 0));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, 0));
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	self->hammer = (struct hammer){
		.hit = variant->by_ring ? hit_ring : hit_write,
		.fd = variant->by_ring ? self->db : self->in,
	};
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define START_WAITERS(may_be_deassigned) do {				\
	int __i;							\
									\
	pin_to(0);							\
	for (__i = 0; __i < WAITERS; __i++) {				\
		self->waiters[__i] = (struct waiter){			\
			.db = self->db, .cpu = __i, .timeout = variant->timeout, \
			.deassigned = may_be_deassigned, .stop = &self->stop, \
		};							\
		ASSERT_EQ(0, pthread_create(&self->waiters[__i].thread, NULL, \
					    wait_in_a_loop, &self->waiters[__i])); \
	}								\
} while (0)

/* Rings until each thread has returned from its last call; returns the sum. */
#define JOIN_WAITERS() ({						\
	uint64_t __sum = 0;						\
	int __i;							\
									\
	atomic_store(&self->stop, true);				\
	for (__i = 0; __i < WAITERS; __i++) {				\
		pthread_t __waiter = self->waiters[__i].thread;		\
									\
		ASSERT_TRUE(WAIT_WITH(pthread_tryjoin_np(__waiter, NULL) != EBUSY, \
				      doorbell_ring(self->db, 0)));	\
		EXPECT_EQ(0, self->waiters[__i].error);			\
		__sum += self->waiters[__i].sum;			\
	}								\
	__sum;								\
})

static unsigned long sum_of(const struct waiter *waiters, size_t offset)
{
	unsigned long sum = 0;
	int i;

	for (i = 0; i < WAITERS; i++)
		sum += atomic_load((const atomic_ulong *)((const char *)&waiters[i] + offset));
	return sum;
}

#define SUM(field)	sum_of(self->waiters, offsetof(struct waiter, field))

/* Some waits must end early, or the test tests nothing. */
#define NONE_ENDED_EARLY()						\
	((variant->signals && !SUM(interrupted)) || (variant->timeout && !SUM(timed_out)))

TEST_F(race, conserves_deliveries)
{
	struct rounds rounds = ROUNDS(2000, 100000);
	struct doorbell_query query;
	unsigned int round = 0;
	uint64_t sum;

	START_WAITERS(false);
	hammer_start(_metadata, &self->hammer);
	while (more_rounds(&rounds, line_of(_metadata, self->db, 0).deliveries) ||
	       lacks(&rounds, NONE_ENDED_EARLY())) {
		if (variant->signals)
			pthread_kill(self->waiters[round++ % WAITERS].thread, SIGUSR1);
		usleep(200);
	}
	hammer_stop(&self->hammer);
	sum = JOIN_WAITERS();
	query = settled(_metadata, self->db, 0);
	EXPECT_LE(rounds.least, query.deliveries);
	EXPECT_EQ(query.deliveries, sum + take(self->db, 0));
	EXPECT_EQ(0, take(self->db, 0));
	EXPECT_FALSE(NONE_ENDED_EARLY());
	ksft_print_msg("%lu calls, %lu interrupted, %lu timed out\n", SUM(calls),
		       SUM(interrupted), SUM(timed_out));
}

/*
 * One message at a time, which some waiter must consume: a wake-up that went to a thread
 * that left would leave the others asleep.
 */
TEST_F(race, wakes_a_thread_for_each_delivery)
{
	struct rounds rounds = ROUNDS(500, 20000);
	const struct doorbell_line_status *status = map_status(_metadata, self->db);
	unsigned long round = 0;
	uint64_t sum;

	START_WAITERS(false);
	while (more_rounds(&rounds, round)) {
		if (variant->signals)
			pthread_kill(self->waiters[round % WAITERS].thread, SIGUSR1);
		dither(round);
		if (variant->by_ring)
			doorbell_ring(self->db, 0);
		else
			ASSERT_EQ(0, efd_write(self->in, 1));
		round++;
		ASSERT_TRUE(SPIN_FOR(status->taken == round)) {
			TH_LOG("the delivery of round %lu wakes no thread", round);
		}
	}
	sum = JOIN_WAITERS();
	EXPECT_EQ(line_of(_metadata, self->db, 0).deliveries, sum + take(self->db, 0));
}

/* MASK is a barrier: nothing is delivered under it, and the message is not lost. */
TEST_F(race, mask_is_a_barrier)
{
	struct rounds rounds = ROUNDS(200, 20000);
	const struct doorbell_line_status *status = map_status(_metadata, self->db);
	unsigned long round = 0;
	uint64_t sum;

	START_WAITERS(false);
	hammer_start(_metadata, &self->hammer);
	while (more_rounds(&rounds, round)) {
		uint64_t before;

		ASSERT_EQ(1, doorbell_mask(self->db, 0));
		before = status->deliveries;
		ASSERT_TRUE(hammer_passes(&self->hammer, 2));
		EXPECT_EQ(before, status->deliveries);
		ASSERT_EQ(1, doorbell_unmask(self->db, 0));
		EXPECT_LT(before, status->deliveries);
		round++;
	}
	hammer_stop(&self->hammer);
	sum = JOIN_WAITERS();
	settled(_metadata, self->db, 0);
	EXPECT_EQ(status->deliveries, sum + take(self->db, 0));
}

/*
 * A line that masks itself makes one delivery for each signal to its unmaskfd. That signal
 * leaves a notification to a callback, while the next ring already delivers.
 */
TEST_F(race, masks_itself)
{
	struct rounds rounds = ROUNDS(500, 20000);
	const struct doorbell_line_status *status = map_status(_metadata, self->db);
	int back = new_eventfd(_metadata, 0, 0), told = new_eventfd(_metadata, 0, 0);
	unsigned long round = 0;
	uint64_t sum;

	ASSERT_EQ(0, doorbell_set_type_automask(self->db, 0, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, back, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, told, 0, DOORBELL_NOTIFY_UNMASK));
	START_WAITERS(false);
	hammer_start(_metadata, &self->hammer);
	while (more_rounds(&rounds, round)) {
		if (variant->signals)
			pthread_kill(self->waiters[round % WAITERS].thread, SIGUSR1);
		ASSERT_TRUE(SPIN_FOR(status->taken > round)) {
			TH_LOG("no delivery of round %lu was consumed", round);
		}
		if (round % 2)
			ASSERT_TRUE(hammer_passes(&self->hammer, 2));
		round++;
		ASSERT_EQ(round, status->deliveries);
		ASSERT_EQ(0, efd_write(back, 1));
		ASSERT_LT(0, efd_wait(told));
	}
	ASSERT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_EDGE));
	ASSERT_LE(0, doorbell_unmask_for(self->db, 0, DOORBELL_MASK_AUTO));
	hammer_stop(&self->hammer);
	sum = JOIN_WAITERS();
	EXPECT_EQ(settled(_metadata, self->db, 0).deliveries, sum + take(self->db, 0));
}

/*
 * The waiters and an eventfd take turns as triggers while the line is rung. In an eventfd's
 * wake-up only the waiters can be served; the kernel complains of an eventfd.
 */
TEST_F(race, triggers_take_turns)
{
	struct rounds rounds = ROUNDS(200, 20000);
	int out = new_eventfd(_metadata, 0, 0);
	unsigned long round = 0;
	uint64_t signals, count, sum;

	START_WAITERS(true);
	hammer_start(_metadata, &self->hammer);
	while (more_rounds(&rounds, round) || lacks(&rounds, !SUM(sum) || !SUM(ended))) {
		count = line_of(_metadata, self->db, 0).deliveries;
		ASSERT_TRUE(SPIN_FOR(line_of(_metadata, self->db, 0).deliveries > count));
		ASSERT_EQ(0, doorbell_deassign_waiters(self->db, 0));
		ASSERT_EQ(-ENOENT, doorbell_deassign_waiters(self->db, 0));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, out, 0));
		ASSERT_TRUE(SPIN_FOR(efd_read(out)));
		ASSERT_EQ(-EBUSY, doorbell_assign_waiters(self->db, 0));
		ASSERT_EQ(0, doorbell_deassign_trigger(self->db, out, 0));
		signals = efd_read(out);
		ASSERT_TRUE(hammer_passes(&self->hammer, 2));
		EXPECT_EQ(0, efd_count(out)) {
			TH_LOG("a signal after the deassign, and %llu before",
			       (unsigned long long)signals);
		}
		ASSERT_EQ(0, doorbell_assign_waiters(self->db, 0));
		ASSERT_EQ(-EBUSY, doorbell_assign_trigger(self->db, out, 0));
		round++;
	}
	hammer_stop(&self->hammer);
	sum = JOIN_WAITERS();
	EXPECT_LT(0, sum);
	EXPECT_LE(sum, line_of(_metadata, self->db, 0).deliveries);
	EXPECT_LT(0, SUM(ended));
}

TEST_HARNESS_MAIN
