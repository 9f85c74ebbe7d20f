// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOORBELL_RING_LINES: its outcomes against other calls that run at the same time, and its
 * end by a fatal signal. lineset.c compares its results with a model. Runs as a 32-bit
 * program, too.
 */
#include "doorbell_test.h"

/* Lines of the race: more than a word, and not whole words. */
#define NR	150
#define WORDS	3

#define NR_RINGERS	3

/* A word of a bitmap, and the number of lines between two checks for a fatal signal. */
#define GROUP	64

static bool bit_of(const uint64_t *bits, uint32_t nr)
{
	return bits[nr / 64] >> nr % 64 & 1;
}

/* A thread that rings all lines, or every other one. */
struct ringer {
	int db;
	uint64_t lines[WORDS];
	atomic_bool stop;
	unsigned long calls;
	/* The lines that the calls returned, in all and for each line. */
	atomic_ulong returned;
	uint64_t delivered[NR];
	unsigned long wrong;
	pthread_t thread;
};

static void *ringer_loop(void *arg)
{
	struct ringer *ringer = arg;
	uint64_t result[WORDS];
	uint32_t i;
	int ret;

	while (!atomic_load(&ringer->stop)) {
		ret = doorbell_ring_lines(ringer->db, 0, NR, ringer->lines, result);
		ringer->calls++;
		atomic_fetch_add(&ringer->returned, ret);
		for (i = 0; i < NR; i++) {
			ringer->delivered[i] += bit_of(result, i);
			ret -= bit_of(result, i);
			ringer->wrong += bit_of(result, i) && !bit_of(ringer->lines, i);
		}
		ringer->wrong += ret != 0;
	}
	return NULL;
}

/*
 * Several threads ring the lines, and another one masks and unmasks them. Each ring is
 * counted once. Each delivery is that of a ring that was returned, or of an unmask; a mask
 * can also hold a ring that was returned and was left to the line's owner. Each delivery
 * signals the trigger once.
 */
TEST(race)
{
	static struct ringer ringers[NR_RINGERS];
	uint64_t released[NR] = {}, result[WORDS];
	struct rounds race = ROUNDS(30, 3000);
	int db = new_context(_metadata, NR), efd[NR];
	unsigned long rounds;
	unsigned int i, at;

	for (i = 0; i < NR; i++) {
		efd[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(db, efd[i], i));
	}
	for (i = 0; i < NR_RINGERS; i++) {
		ringers[i].db = db;
		for (at = 0; at < NR; at++)
			if (!i || at % 2 == i % 2)
				ringers[i].lines[at / 64] |= 1ULL << at % 64;
		ASSERT_EQ(0, pthread_create(&ringers[i].thread, NULL, ringer_loop, &ringers[i]));
	}
	for (i = 0; i < NR_RINGERS; i++)
		ASSERT_TRUE(WAIT_FOR(atomic_load(&ringers[i].returned)));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		ASSERT_EQ(NR, doorbell_mask_lines(db, 0, NR, NULL, NULL));
		dither(rounds);
		ASSERT_LE(0, doorbell_unmask_lines(db, 0, NR, NULL, result));
		for (i = 0; i < NR; i++)
			released[i] += bit_of(result, i);
		dither(rounds / 64);
	}
	for (i = 0; i < NR_RINGERS; i++)
		atomic_store(&ringers[i].stop, true);
	for (i = 0; i < NR_RINGERS; i++) {
		ASSERT_EQ(0, pthread_join(ringers[i].thread, NULL));
		EXPECT_EQ(0, ringers[i].wrong);
		EXPECT_LT(0, ringers[i].calls);
		EXPECT_LT(0, ringers[i].returned);
	}
	for (i = 0; i < NR; i++) {
		struct doorbell_query query = settled(_metadata, db, i);
		uint64_t rings = 0, delivered = 0;

		for (at = 0; at < NR_RINGERS; at++) {
			delivered += ringers[at].delivered[i];
			rings += bit_of(ringers[at].lines, i) ? ringers[at].calls : 0;
		}
		EXPECT_EQ(rings, query.rings);
		EXPECT_LE(delivered, query.deliveries);
		EXPECT_GE(delivered + released[i], query.deliveries);
		EXPECT_EQ(query.deliveries, efd_read(efd[i]));
	}
}

/* A level line coalesces the ring while it is asserted, as it does with DOORBELL_RING. */
TEST(level)
{
	int db = new_context(_metadata, 3);
	uint64_t result = 0;

	ASSERT_EQ(0, doorbell_set_type(db, 1, DOORBELL_TYPE_LEVEL));
	EXPECT_EQ(3, doorbell_ring_lines(db, 0, 3, NULL, &result));
	EXPECT_EQ(7, result);
	EXPECT_EQ(2, doorbell_ring_lines(db, 0, 3, NULL, &result));
	EXPECT_EQ(5, result);
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(db, 1));
	EXPECT_EQ(3, doorbell_ring_lines(db, 0, 3, NULL, &result));
	EXPECT_EQ(7, result);
}

/*
 * A killed process ends its call after a group of lines, and each line of the groups before
 * was rung. With this many triggers the rest would take a long time.
 */
TEST(killed)
{
	const uint32_t nr = 32 * GROUP;
	const int triggers = DOORBELL_MAX_TRIGGERS_PER_LINE;
	int db = new_context(_metadata, nr), efd, i;
	const struct doorbell_line_status *status = map_status(_metadata, db);
	static uint64_t before[32 * GROUP];
	struct timeout timeout = {};
	unsigned int tries = 0;
	bool ended = false;
	uint32_t at;

	for (i = 0; i < triggers; i++) {
		efd = new_eventfd(_metadata, 0, 0);
		for (at = 0; at < nr; at++)
			ASSERT_EQ(0, doorbell_assign_trigger(db, efd, at));
	}
	while (!ended && !timed_out(&timeout)) {
		uint32_t rung = 0;
		pid_t pid;

		tries++;
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			doorbell_ring_lines(db, 0, nr, NULL, NULL);
			_exit(0);
		}
		ASSERT_TRUE(SPIN_FOR(__atomic_load_n(&status->deliveries, __ATOMIC_RELAXED) !=
				     before[0]));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_LE(0, wait_child(pid));
		for (at = 0; at < nr; at++) {
			uint64_t deliveries = status[at].deliveries - before[at];

			ASSERT_GE(1, deliveries);
			/* No line is rung after one that is not. */
			ASSERT_TRUE(!deliveries || rung == at);
			rung += deliveries;
			before[at] = status[at].deliveries;
		}
		EXPECT_EQ(0, rung % GROUP);
		ended = rung < nr;
	}
	EXPECT_TRUE(ended) {
		TH_LOG("all of %u calls have rung all lines", tries);
	}
	/* The lines are as before, for others that use the context. */
	EXPECT_EQ(nr, doorbell_ring_lines(db, 0, nr, NULL, NULL));
}

TEST_HARNESS_MAIN
