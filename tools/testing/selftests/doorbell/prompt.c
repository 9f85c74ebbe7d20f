// SPDX-License-Identifier: GPL-2.0-only
/*
 * A message that is pending on an unmasked line is delivered promptly, although the thread
 * that owned the line is preempted.
 *
 * A thread on the first processor delivers. The first delivery wakes a thread of a higher
 * priority there, which keeps the processor busy until it is told to stop. The second
 * processor rings the line once in each delivery, so that the first thread leaves the last
 * message to the line's irq_work. At that moment it is preempted, and does not run again
 * before the delivery of that message has started.
 */
#include "slow_line.h"

/* Longer than a busy host delays one of the processors. */
#define DELIVERY_US	10000

/* The priority of the thread that delivers; the busy thread has a higher one. */
#define PRIORITY	10

struct stage {
	struct slow_line slow;
	/* UNMASK makes the first delivery. */
	bool unmask;
	/*
	 * Pipes that start the thread that delivers, and make the busy one wait for a
	 * delivery.
	 */
	int go, arm;
	/* The number of threads that have their priority. */
	atomic_uint ready;
	atomic_bool returned, busy, release, stop;
	pthread_t deliverer, hog;
};

FIXTURE(prompt) {
	int kmsg;
	struct stage stage;
};

FIXTURE_VARIANT(prompt) {
	bool unmask;
};

FIXTURE_VARIANT_ADD(prompt, ring) { .unmask = false };
FIXTURE_VARIANT_ADD(prompt, unmask) { .unmask = true };

static int set_fifo(int priority)
{
	const struct sched_param param = { .sched_priority = priority };

	return sched_setscheduler(0, SCHED_FIFO, &param);
}

static void *deliver(void *arg)
{
	struct stage *stage = arg;

	pin_to(0);
	set_fifo(PRIORITY);
	atomic_fetch_add(&stage->ready, 1);
	for (;;) {
		efd_poll(stage->go, POLLIN, -1);
		efd_read(stage->go);
		if (atomic_load(&stage->stop))
			return NULL;
		if (stage->unmask)
			doorbell_unmask(stage->slow.db, 0);
		else
			doorbell_ring(stage->slow.db, 0);
		atomic_store(&stage->returned, true);
	}
}

static void *hog(void *arg)
{
	struct stage *stage = arg;

	pin_to(0);
	set_fifo(PRIORITY + 10);
	atomic_fetch_add(&stage->ready, 1);
	for (;;) {
		efd_poll(stage->arm, POLLIN, -1);
		efd_read(stage->arm);
		if (atomic_load(&stage->stop))
			return NULL;
		efd_poll(stage->slow.triggers[0], POLLIN, -1);
		atomic_store(&stage->busy, true);
		while (!atomic_load(&stage->release))
			;
		atomic_store(&stage->busy, false);
	}
}

static void stage_start(struct __test_metadata *_metadata, struct stage *stage, bool unmask)
{
	pin_to(1);
	slow_line_setup(_metadata, &stage->slow, DELIVERY_US);
	stage->unmask = unmask;
	stage->go = new_eventfd(_metadata, 0, 0);
	stage->arm = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, pthread_create(&stage->deliverer, NULL, deliver, stage));
	ASSERT_EQ(0, pthread_create(&stage->hog, NULL, hog, stage));
	/* Before that, the one that delivers may be the first to run. */
	ASSERT_TRUE(WAIT_FOR(atomic_load(&stage->ready) == 2));
}

static void stage_stop(struct stage *stage)
{
	atomic_store(&stage->stop, true);
	efd_write(stage->go, 1);
	efd_write(stage->arm, 1);
	pthread_join(stage->deliverer, NULL);
	pthread_join(stage->hog, NULL);
}

FIXTURE_SETUP(prompt)
{
	struct stage *stage = &self->stage;

	self->kmsg = kmsg_open();
	if (preempt_rt())
		SKIP(return, "a PREEMPT_RT kernel: a thread that is more urgent goes first");
	stage_start(_metadata, stage, variant->unmask);
}

FIXTURE_TEARDOWN(prompt)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Begins the first delivery, once both threads wait. Returns the number before it. */
static uint64_t begin(struct __test_metadata *_metadata, struct stage *stage)
{
	uint64_t before;

	efd_drain(stage->slow.triggers[0]);
	if (stage->unmask) {
		ASSERT_EQ(1, doorbell_mask(stage->slow.db, 0));
		ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(stage->slow.db, 0));
	}
	atomic_store(&stage->release, false);
	atomic_store(&stage->returned, false);
	before = slow_line_deliveries(&stage->slow);
	ASSERT_EQ(0, efd_write(stage->arm, 1));
	ASSERT_EQ(0, efd_write(stage->go, 1));
	return before;
}

/* Rings the line once in each delivery. Returns false if a delivery was over too early. */
static bool ring_in_each(struct slow_line *slow, uint64_t before)
{
	unsigned int i;

	for (i = 1; i <= DELIVERIES_IN_ONE_GO; i++) {
		if (!SPIN_FOR(slow_line_deliveries(slow) >= before + i))
			return false;
		doorbell_ring(slow->db, 0);
		if (slow_line_deliveries(slow) != before + i)
			return false;
	}
	return true;
}

TEST_F(prompt, holder_is_preempted)
{
	struct stage *stage = &self->stage;
	struct slow_line *slow = &stage->slow;
	uint64_t last, start, took, longest = 0;
	struct rounds race = ROUNDS(10, 200);
	unsigned int rounds = 0, tries;
	bool rung, preempted;

	/* Otherwise, on a busy machine, a delivery is over before this thread rings. */
	ASSERT_EQ(0, set_fifo(PRIORITY));
	for (tries = 0; more_rounds(&race, rounds); tries++) {
		last = begin(_metadata, stage) + DELIVERIES_IN_ONE_GO + 1;
		rung = ring_in_each(slow, last - DELIVERIES_IN_ONE_GO - 1);
		start = clock_us(CLOCK_MONOTONIC);
		if (rung)
			ASSERT_TRUE(SPIN_FOR(slow_line_deliveries(slow) >= last)) {
				TH_LOG("a message is pending while its line's owner is preempted");
				atomic_store(&stage->release, true);
			}
		took = clock_us(CLOCK_MONOTONIC) - start;
		ASSERT_TRUE(SPIN_FOR(atomic_load(&stage->busy) || atomic_load(&stage->returned)));
		preempted = !atomic_load(&stage->returned);
		atomic_store(&stage->release, true);
		ASSERT_TRUE(SPIN_FOR(atomic_load(&stage->returned) && !atomic_load(&stage->busy)));
		settled(_metadata, slow->db, 0);
		if (!rung || !preempted)
			continue;
		if (took > longest)
			longest = took;
		rounds++;
	}
	stage_stop(stage);
	EXPECT_LE(race.least, rounds);
	ksft_print_msg("of %u tries; the longest time that a message was pending was %llu us\n",
		       tries, (unsigned long long)longest);
}

FIXTURE(urgent) {
	int kmsg;
	struct stage stage;
};

FIXTURE_SETUP(urgent)
{
	struct stage *stage = &self->stage;

	self->kmsg = kmsg_open();
	stage_start(_metadata, stage, false);
}

FIXTURE_TEARDOWN(urgent)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * A thread of a higher priority than the busy one leaves a message to the thread that
 * delivers. On PREEMPT_RT the busy thread has preempted that, in the middle of a delivery.
 */
TEST_F(urgent, gives_its_priority)
{
	struct stage *stage = &self->stage;
	struct rounds race = ROUNDS(10, 100);
	unsigned int rounds = 0;
	uint64_t before;
	bool busy;

	ASSERT_EQ(0, set_fifo(PRIORITY + 20));
	while (more_rounds(&race, rounds)) {
		before = begin(_metadata, stage);
		ASSERT_TRUE(WAIT_FOR(atomic_load(&stage->busy)));
		doorbell_ring(stage->slow.db, 0);
		busy = atomic_load(&stage->busy);
		ASSERT_TRUE(WAIT_FOR(slow_line_deliveries(&stage->slow) == before + 2)) {
			TH_LOG("a message waits for a thread of lower priority");
			atomic_store(&stage->release, true);
		}
		EXPECT_TRUE(busy);
		atomic_store(&stage->release, true);
		ASSERT_TRUE(WAIT_FOR(atomic_load(&stage->returned) && !atomic_load(&stage->busy)));
		rounds++;
	}
	stage_stop(stage);
}

TEST_HARNESS_MAIN
