// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines that ring lines: fans, chains, and cycles across contexts. A cycle must leave the
 * machine responsive, and end with any of its contexts.
 */
#include <sys/prctl.h>

#include "slow_line.h"

FIXTURE(relay) {
	int kmsg;
	int out;
};

FIXTURE_SETUP(relay)
{
	self->kmsg = kmsg_open();
	self->out = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(relay)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

TEST_F(relay, one_trigger_of_many_lines)
{
	const uint32_t nr = 100;
	int db = new_context(_metadata, nr);
	uint32_t i;

	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, self->out, i));
	EXPECT_EQ(nr, info_of(_metadata, db).nr_triggers);
	for (i = 0; i < nr; i++)
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, i));
	EXPECT_EQ(nr, efd_read(self->out));

	/* Deassigned from one line, it stays a trigger of the others. */
	ASSERT_EQ(0, doorbell_deassign_trigger(db, self->out, 0));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, i));
	EXPECT_EQ(nr - 1, efd_read(self->out));
}

TEST_F(relay, many_triggers_and_irqfds_of_one_line)
{
	int db = new_context(_metadata, 2);
	int in[16], out[16];
	unsigned int i, round;

	for (i = 0; i < 16; i++) {
		in[i] = new_eventfd(_metadata, 0, 0);
		out[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(db, in[i], 1));
		ASSERT_EQ(0, doorbell_assign_trigger(db, out[i], 1));
	}
	for (round = 1; round <= 16; round++) {
		ASSERT_EQ(0, efd_write(in[round - 1], round));
		for (i = 0; i < 16; i++) {
			uint64_t count = efd_wait(out[i]);

			ASSERT_EQ(1, count);
		}
	}
	EXPECT_EQ(16, settled(_metadata, db, 1).rings);
	EXPECT_EQ(16, line_of(_metadata, db, 1).deliveries);
	EXPECT_EQ(16, line_of(_metadata, db, 1).nr_irqfds);
	EXPECT_EQ(16, line_of(_metadata, db, 1).nr_triggers);
	EXPECT_EQ(0, line_of(_metadata, db, 0).rings);
	for (i = 0; i < 16; i++)
		EXPECT_EQ(0, efd_count(out[i]));
}

/* Two ways to one line are no cycle; its rings may coalesce, nothing else. */
TEST_F(relay, diamond)
{
	int db = new_context(_metadata, 4);
	struct doorbell_query query;

	link_lines(_metadata, db, 0, db, 1);
	link_lines(_metadata, db, 0, db, 2);
	link_lines(_metadata, db, 1, db, 3);
	link_lines(_metadata, db, 2, db, 3);
	ASSERT_EQ(0, doorbell_assign_trigger(db, self->out, 3));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 3).rings == 2));
	query = settled(_metadata, db, 3);
	EXPECT_LE(1, query.deliveries);
	EXPECT_GE(2, query.deliveries);
	ASSERT_TRUE(WAIT_FOR(efd_count(self->out) == query.deliveries));
}

/*
 * One signal reaches many lines: interrupts deliver to some of them, the worker to the
 * rest. No machine signals all the triggers within the budget.
 */
#define NR_MIDDLE	16
#define PER_MIDDLE	32
#define NR_LEAVES	(NR_MIDDLE * PER_MIDDLE)
#define NR_FAN_LINES	(1 + NR_MIDDLE + NR_LEAVES)
#define NR_TRIGGERS	32

struct fan {
	int db;
	/* The eventfds of the irqfds. */
	int in;
	int middle[NR_MIDDLE];
	int leaves[NR_LEAVES];
	/* The triggers of each leaf. */
	int out[NR_TRIGGERS];
};

static void wire_fan(struct __test_metadata *_metadata, struct fan *fan)
{
	uint32_t i, j, line;

	fan->db = new_context(_metadata, NR_FAN_LINES);
	fan->in = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(fan->db, fan->in, 0));
	for (j = 0; j < NR_TRIGGERS; j++)
		fan->out[j] = new_eventfd(_metadata, 0, 0);
	for (i = 0; i < NR_MIDDLE; i++)
		fan->middle[i] = link_lines(_metadata, fan->db, 0, fan->db, 1 + i);
	for (i = 0; i < NR_LEAVES; i++) {
		line = 1 + NR_MIDDLE + i;
		fan->leaves[i] = link_lines(_metadata, fan->db, 1 + i / PER_MIDDLE, fan->db, line);
		for (j = 0; j < NR_TRIGGERS; j++)
			ASSERT_EQ(0, doorbell_assign_trigger(fan->db, fan->out[j], line));
	}
}

TEST_F(relay, wide)
{
	struct doorbell_query query;
	uint64_t deferred = 0;
	struct fan fan;
	uint32_t j, line;

	wire_fan(_metadata, &fan);
	ASSERT_EQ(0, efd_write(fan.in, 1));
	ASSERT_TRUE(WAIT_FOR(efd_count(fan.out[NR_TRIGGERS - 1]) == NR_LEAVES));
	for (line = 0; line < NR_FAN_LINES; line++) {
		query = settled(_metadata, fan.db, line);
		EXPECT_EQ(1, query.rings);
		EXPECT_EQ(1, query.deliveries);
		deferred += query.deferred;
	}
	EXPECT_LT(0, deferred);
	for (j = 0; j < NR_TRIGGERS; j++)
		EXPECT_EQ(NR_LEAVES, efd_read(fan.out[j]));
}

/* A thread that keeps processor 0 busy, until a deadline. */
struct spinner {
	pthread_t thread;
	atomic_ullong until;
	atomic_bool stop;
};

static void *spin(void *arg)
{
	struct spinner *spinner = arg;

	pin_to(0);
	while (!atomic_load(&spinner->stop)) {
		if (doorbell_deadline(0) >= atomic_load(&spinner->until))
			usleep(1000);
	}
	return NULL;
}

static void start_spinner(struct __test_metadata *_metadata, struct spinner *spinner)
{
	atomic_init(&spinner->until, 0);
	atomic_init(&spinner->stop, false);
	ASSERT_EQ(0, pthread_create(&spinner->thread, NULL, spin, spinner));
}

static void stop_spinner(struct spinner *spinner)
{
	atomic_store(&spinner->stop, true);
	pthread_join(spinner->thread, NULL);
}

/* A close sleeps for a grace period of RCU. */
#define HELD_BACK_NS	100000000

/*
 * The worker of this process, which has one, hardly runs until the deadline: another thread is
 * busy on this processor.
 */
static void hold_worker_back(struct __test_metadata *_metadata, struct spinner *spinner)
{
	const struct sched_param none = {};
	cpu_set_t here;
	pid_t tid = 0;

	/* That of the previous context may end a moment after its close. */
	ASSERT_TRUE(WAIT_FOR(workers(getpid(), &tid) == 1));
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(here), &here));
	ASSERT_EQ(0, sched_setaffinity(tid, sizeof(here), &here));
	ASSERT_EQ(0, sched_setscheduler(tid, SCHED_IDLE, &none));
	atomic_store(&spinner->until, doorbell_deadline(HELD_BACK_NS));
}

/*
 * Returns the number of leaves that were not rung: the signal of an irqfd came after the
 * close had deassigned it, and has stayed in the eventfd.
 */
static uint64_t leaves_not_rung(const struct fan *fan)
{
	uint64_t nr = 0;
	uint32_t i;

	for (i = 0; i < NR_MIDDLE; i++)
		nr += PER_MIDDLE * efd_count(fan->middle[i]);
	for (i = 0; i < NR_LEAVES; i++)
		nr += efd_count(fan->leaves[i]);
	return nr;
}

static void close_fan(const struct fan *fan)
{
	uint32_t i;

	close(fan->in);
	for (i = 0; i < NR_MIDDLE; i++)
		close(fan->middle[i]);
	for (i = 0; i < NR_LEAVES; i++)
		close(fan->leaves[i]);
	for (i = 0; i < NR_TRIGGERS; i++)
		close(fan->out[i]);
}

/*
 * A message that was rung before the last close of its context is delivered, though it waits
 * for the worker. When the close has returned, each trigger has its signals.
 */
TEST_F(relay, close_delivers_what_is_deferred)
{
	unsigned int round, held_back = 0, waited = 0;
	uint64_t before, delivered;
	struct timeout timeout = {};
	struct spinner spinner;
	struct fan fan;
	uint32_t j;

	start_spinner(_metadata, &spinner);
	/* A round has 17,000 system calls. */
	for (round = 0; round < 8 || (!waited && !timed_out(&timeout)); round++) {
		const bool hold = round % 2 == 0;

		pin_to(0);
		wire_fan(_metadata, &fan);
		if (hold)
			hold_worker_back(_metadata, &spinner);
		ASSERT_EQ(0, efd_write(fan.in, 1));
		if (!hold)
			dither(round);
		before = efd_count(fan.out[NR_TRIGGERS - 1]);
		ASSERT_EQ(0, close(fan.db));
		delivered = efd_read(fan.out[0]);
		EXPECT_EQ(NR_LEAVES, delivered + leaves_not_rung(&fan));
		for (j = 1; j < NR_TRIGGERS; j++)
			EXPECT_EQ(delivered, efd_read(fan.out[j]));
		EXPECT_EQ(0, efd_count(fan.in));
		held_back += hold;
		waited += hold && before < delivered;
		close_fan(&fan);
	}
	stop_spinner(&spinner);
	/* Otherwise the test proves nothing. */
	EXPECT_LT(0, waited);
	ksft_print_msg("messages waited at the close in %u of %u rounds\n", waited, held_back);
}

/* Many times the budget. */
#define DELIVERY_US	1000

/*
 * An interrupt has left the rest of a delivery to the worker, and a second message has come
 * since. The last close of the context delivers both to each trigger.
 */
TEST_F(relay, close_delivers_to_all_triggers)
{
	unsigned int round, i, expected, wrong = 0, waited = 0;
	struct rounds race = ROUNDS(20, 200);
	struct spinner spinner;
	struct slow_line slow;
	int ret;

	pin_to(0);
	slow_line_setup(_metadata, &slow, DELIVERY_US);
	start_spinner(_metadata, &spinner);
	for (round = 0; more_rounds(&race, round) || lacks(&race, !waited); round++) {
		int db = new_context(_metadata, 1), in = new_eventfd(_metadata, 0, 0);

		for (i = 0; i < ARRAY_SIZE(slow.triggers); i++) {
			efd_drain(slow.triggers[i]);
			ASSERT_EQ(0, doorbell_assign_trigger(db, slow.triggers[i], 0));
		}
		ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
		hold_worker_back(_metadata, &spinner);
		ASSERT_EQ(0, efd_write(in, 1));
		ret = doorbell_ring(db, 0);
		ASSERT_LE(0, ret);
		/* The first message may be pending still: on PREEMPT_RT a thread delivers it. */
		expected = ret == DOORBELL_RING_COALESCED ? 1 : 2;
		waited += !efd_count(slow.triggers[i - 1]);
		ASSERT_EQ(0, close(db));
		for (i = 0; i < ARRAY_SIZE(slow.triggers); i++)
			wrong += efd_read(slow.triggers[i]) != expected;
		close(in);
	}
	stop_spinner(&spinner);
	EXPECT_EQ(0, wrong);
	/* Otherwise the test proves nothing. */
	EXPECT_LT(0, waited);
	ksft_print_msg("a delivery waited at the close in %u of %u rounds\n", waited, round);
}

FIXTURE(chain) {
	int kmsg;
	int out;
};

FIXTURE_SETUP(chain)
{
	self->kmsg = kmsg_open();
	self->out = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(chain)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

FIXTURE_VARIANT(chain) {
	uint32_t lines;
	bool own_contexts;
	/* The minimum number of deliveries by a worker, or 0 for none at all. */
	unsigned int deferred;
};

FIXTURE_VARIANT_ADD(chain, short) { .lines = 4 };
FIXTURE_VARIANT_ADD(chain, short_through_contexts) { .lines = 4, .own_contexts = true };
FIXTURE_VARIANT_ADD(chain, long) { .lines = 200, .deferred = 1 };
FIXTURE_VARIANT_ADD(chain, long_through_contexts) {
	.lines = 200, .own_contexts = true, .deferred = 1
};

/* A message arrives at the end exactly once, and passes each line exactly once. */
TEST_F(chain, arrives)
{
	uint64_t deferred = 0;
	int db[variant->lines];
	uint32_t i, round;

	db[0] = new_context(_metadata, variant->lines);
	for (i = 1; i < variant->lines; i++) {
		db[i] = variant->own_contexts ? new_context(_metadata, variant->lines) : db[0];
		link_lines(_metadata, db[i - 1], i - 1, db[i], i);
	}
	ASSERT_EQ(0, doorbell_assign_trigger(db[i - 1], self->out, i - 1));

	for (round = 1; round <= 20; round++) {
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db[0], 0));
		ASSERT_EQ(1, efd_wait(self->out));
	}
	for (i = 0; i < variant->lines; i++) {
		struct doorbell_query query = settled(_metadata, db[i], i);

		EXPECT_EQ(20, query.rings);
		EXPECT_EQ(20, query.deliveries);
		deferred += query.deferred;
	}
	EXPECT_EQ(0, efd_count(self->out));
	EXPECT_LE(20 * variant->deferred, deferred);
	EXPECT_EQ(!!variant->deferred, !!deferred);
}

FIXTURE(cycle) {
	int kmsg;
	int db;
	/* Eventfds to the lines of the next context, and from the last context. */
	int there[2];
	int back;
	pid_t owners[2];
};

FIXTURE_VARIANT(cycle) {
	/* Number of further contexts, each owned by a process of its own. */
	unsigned int others;
	/* Number of links from the first context to the next. */
	unsigned int ways;
};

FIXTURE_VARIANT_ADD(cycle, two) { .others = 1, .ways = 1 };
FIXTURE_VARIANT_ADD(cycle, three) { .others = 2, .ways = 1 };
FIXTURE_VARIANT_ADD(cycle, fan) { .others = 1, .ways = 2 };

/* Starts a process that owns a context. Its lines are wired from @from, one each, to @to. */
static pid_t owner(struct __test_metadata *_metadata, const int *from, unsigned int nr, int to,
		   int forget)
{
	int ready[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int db = open(DEVICE, O_RDWR), failed;
		unsigned int i;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* An inherited fd would keep the context open after its owner has ended. */
		close(forget);
		close(ready[0]);
		failed = doorbell_set_lines(db, nr);
		for (i = 0; i < nr; i++) {
			failed |= doorbell_assign_irqfd(db, from[i], i);
			failed |= doorbell_assign_trigger(db, to, i);
		}
		if (!failed && write(ready[1], "", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(ready[1]);
	ASSERT_TRUE(efd_await(ready[0], POLLIN));
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	close(ready[0]);
	return pid;
}

FIXTURE_SETUP(cycle)
{
	unsigned int i;
	int hop;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 2);
	self->back = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->back, 0));
	for (i = 0; i < variant->ways; i++) {
		self->there[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->there[i], 0));
	}
	hop = self->back;
	if (variant->others == 2) {
		hop = new_eventfd(_metadata, 0, 0);
		self->owners[1] = owner(_metadata, &hop, 1, self->back, self->db);
	}
	self->owners[0] = owner(_metadata, self->there, variant->ways, hop, self->db);
}

FIXTURE_TEARDOWN(cycle)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(self->owners); i++) {
		if (self->owners[i] > 0) {
			kill(self->owners[i], SIGKILL);
			waitpid(self->owners[i], NULL, 0);
		}
	}
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Starts the cycle and waits until it has run by itself for many rounds. */
static void start_cycle(struct __test_metadata *_metadata, int db)
{
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).rings > 1000)) {
		TH_LOG("the cycle does not run: %llu rings",
		       (unsigned long long)line_of(_metadata, db, 0).rings);
	}
}

/*
 * Returns true if the line is not rung any more. Each processor yields first: a cycle that
 * runs is an interrupt or a runnable thread, and gets the processor then.
 */
static bool has_ended(struct __test_metadata *_metadata, int db)
{
	uint64_t rings = line_of(_metadata, db, 0).rings;
	unsigned int cpu, i;

	for (cpu = 0; cpu < 2; cpu++) {
		pin_to(cpu);
		for (i = 0; i < 200; i++)
			sched_yield();
	}
	return line_of(_metadata, db, 0).rings == rings;
}

/* Number of consecutive sleeps of a millisecond. */
#define NAPS 50

struct sleeper {
	unsigned int cpu;
	atomic_uint naps;
	uint64_t longest_us;
	pthread_t thread;
};

static void *nap(void *arg)
{
	struct sleeper *sleeper = arg;
	const struct timespec ms = { .tv_nsec = 1000000 };
	uint64_t start, took;

	pin_to(sleeper->cpu);
	while (sleeper->naps < NAPS) {
		start = clock_us(CLOCK_MONOTONIC);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ms, NULL);
		took = clock_us(CLOCK_MONOTONIC) - start;
		if (took > sleeper->longest_us)
			sleeper->longest_us = took;
		atomic_fetch_add(&sleeper->naps, 1);
	}
	return NULL;
}

/* Timers fire, and each processor still runs ordinary threads. */
TEST_F(cycle, stays_responsive)
{
	struct sleeper sleepers[2] = { { .cpu = 0 }, { .cpu = 1 } };
	struct doorbell_query before, after;
	int probe, i;

	pin_to(0);
	start_cycle(_metadata, self->db);
	before = line_of(_metadata, self->db, 0);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&sleepers[i].thread, NULL, nap, &sleepers[i]));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(WAIT_FOR(atomic_load(&sleepers[i].naps) == NAPS)) {
			TH_LOG("%u naps on processor %d", sleepers[i].naps, i);
		}
		pthread_join(sleepers[i].thread, NULL);
		/* No limit: a busy host makes it arbitrarily long. */
		ksft_print_msg("the longest nap took %llu us\n",
			       (unsigned long long)sleepers[i].longest_us);
	}

	/* The cycle runs all the time, under the scheduler's control. */
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).rings > before.rings + 1000));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).deferred > before.deferred));
	after = line_of(_metadata, self->db, 0);
	EXPECT_LE(after.deferred, after.deliveries);
	EXPECT_LE(after.deliveries, after.rings);

	/* The context still obeys calls. */
	probe = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, probe, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(1, efd_read(probe));
}

TEST_F(cycle, ends_with_a_process)
{
	uint64_t rings;

	start_cycle(_metadata, self->db);
	ASSERT_EQ(0, kill(self->owners[0], SIGKILL));
	ASSERT_EQ(SIGKILL, wait_child(self->owners[0]));
	self->owners[0] = 0;
	ASSERT_TRUE(WAIT_FOR(has_ended(_metadata, self->db)));
	EXPECT_EQ(0, settled(_metadata, self->db, 0).state);

	/*
	 * The cycle has ended, the line works, and the eventfd on the way has no irqfd any
	 * more.
	 */
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->there[0], 1));
	rings = settled(_metadata, self->db, 1).rings;
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 1).rings == rings + 1));
}

TEST_F(cycle, ends_by_deassign)
{
	uint64_t rings;

	start_cycle(_metadata, self->db);
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->back, 0));
	rings = settled(_metadata, self->db, 0).rings;
	ASSERT_TRUE(WAIT_FOR(efd_count(self->back) > 0));
	EXPECT_EQ(rings, line_of(_metadata, self->db, 0).rings);

	/* A count that is left in the eventfd starts the cycle again. */
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->back, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).rings > rings + 1000));

	/* The other end of a link. */
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->there[0], 0));
	if (variant->ways > 1)
		ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->there[1], 0));
	ASSERT_TRUE(WAIT_FOR(has_ended(_metadata, self->db)));
}

TEST_HARNESS_MAIN
