// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOORBELL_RING_WAIT against signals, timeouts and other readers: each call rings exactly
 * once, and each count is consumed exactly once.
 */
#include "ring_wait.h"

#define NO_RING		DOORBELL_RING_WAIT_FLAG_NO_RING
#define NO_TIMEOUT	DOORBELL_RING_WAIT_NO_TIMEOUT

static void ignore(int sig)
{
	(void)sig;
}

/* A thread that sends requests, or answers them. */
struct side {
	int db;
	uint32_t line;
	int fd;
	/* Of each wait, in nanoseconds; 0: none. */
	uint64_t timeout;
	unsigned int cpu;
	struct rounds *rounds;
	/* Some waits of the two sides must be interrupted. */
	bool signals;
	const struct side *other;
	/* The requests, or the answers. */
	atomic_ulong sent;
	/* Waits that ended early. */
	atomic_ulong interrupted;
	atomic_ulong timed_out;
	/* The first thing that went wrong. */
	int error;
	atomic_bool ready;
	atomic_bool *over;
	pthread_t thread;
};

/* Waits until exactly one message has arrived, and before that rings unless @flags say no. */
static bool exchange(struct side *side, uint32_t flags)
{
	struct doorbell_ring_wait arg = { .line = side->line, .fd = side->fd, .flags = flags };
	int ret;

	for (;;) {
		arg.timeout = side->timeout ? doorbell_deadline(side->timeout) : NO_TIMEOUT;
		arg.result = 77;
		ret = ring_wait(side->db, &arg);
		if (!(arg.flags & NO_RING) && arg.result != DOORBELL_RING_DELIVERED)
			side->error = -EPROTO;
		if (arg.flags & NO_RING && arg.result != 77)
			side->error = -EPROTO;
		arg.flags = NO_RING;
		if (!ret || side->error)
			break;
		if (arg.count)
			side->error = -EOVERFLOW;
		if (ret == -EINTR)
			atomic_fetch_add(&side->interrupted, 1);
		else if (ret == -ETIMEDOUT)
			atomic_fetch_add(&side->timed_out, 1);
		else
			side->error = ret;
		if (side->error)
			break;
	}
	if (!ret && arg.count != 1)
		side->error = -ERANGE;
	return !side->error;
}

/* Returns true if no wait of either side has ended early so far, as some must. */
static bool none_ended_early(const struct side *side)
{
	const struct side *other = side->other;

	return (side->signals &&
		!atomic_load(&side->interrupted) && !atomic_load(&other->interrupted)) ||
	       (side->timeout &&
		!atomic_load(&side->timed_out) && !atomic_load(&other->timed_out));
}

static void *request(void *arg)
{
	struct side *side = arg;

	pin_to(side->cpu);
	atomic_store(&side->ready, true);
	while (!atomic_load(side->over) &&
	       (more_rounds(side->rounds, atomic_load(&side->sent)) ||
		lacks(side->rounds, none_ended_early(side)))) {
		atomic_fetch_add(&side->sent, 1);
		if (!exchange(side, 0))
			break;
	}
	/* The last message tells the other side to end. */
	atomic_store(side->over, true);
	doorbell_ring(side->db, side->line);
	return NULL;
}

static void *answer(void *arg)
{
	struct side *side = arg;
	uint32_t flags = NO_RING;

	pin_to(side->cpu);
	atomic_store(&side->ready, true);
	while (exchange(side, flags) && !atomic_load(side->over)) {
		atomic_fetch_add(&side->sent, 1);
		flags = 0;
	}
	if (side->error) {
		atomic_store(side->over, true);
		doorbell_ring(side->db, side->line);
	}
	return NULL;
}

FIXTURE(ping_pong) {
	int db;
	int efds[2];
};

FIXTURE_VARIANT(ping_pong) {
	uint64_t timeout;
	bool signals;
	bool restart;
	bool one_cpu;
};

FIXTURE_VARIANT_ADD(ping_pong, two_cpus) {};
FIXTURE_VARIANT_ADD(ping_pong, one_cpu) { .one_cpu = true };
FIXTURE_VARIANT_ADD(ping_pong, timeouts) { .timeout = 1000 };
FIXTURE_VARIANT_ADD(ping_pong, signals) { .signals = true };
FIXTURE_VARIANT_ADD(ping_pong, restarting_signals) { .signals = true, .restart = true };
FIXTURE_VARIANT_ADD(ping_pong, both) { .timeout = 50000, .signals = true };

FIXTURE_SETUP(ping_pong)
{
	int i;

	self->db = new_context(_metadata, 2);
	for (i = 0; i < 2; i++) {
		self->efds[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efds[i], i));
	}
}

FIXTURE_TEARDOWN(ping_pong)
{
}

TEST_F(ping_pong, conserves_messages)
{
	struct sigaction action = {
		.sa_handler = ignore, .sa_flags = variant->restart ? SA_RESTART : 0,
	};
	struct rounds rounds = ROUNDS(300, 100000);
	atomic_bool over = false;
	struct side sides[2] = {
		{ .line = 0, .fd = self->efds[1], .rounds = &rounds },
		{ .line = 1, .fd = self->efds[0], .cpu = !variant->one_cpu },
	};
	unsigned long sent = 0, requests;
	struct progress_timeout progress = {};
	int i;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	for (i = 0; i < 2; i++) {
		sides[i].db = self->db;
		sides[i].timeout = variant->timeout;
		sides[i].signals = variant->signals;
		sides[i].other = &sides[!i];
		sides[i].over = &over;
	}
	ASSERT_EQ(0, pthread_create(&sides[1].thread, NULL, answer, &sides[1]));
	ASSERT_EQ(0, pthread_create(&sides[0].thread, NULL, request, &sides[0]));
	/* Neither of the threads ends before it is joined. */
	for (i = 0; !atomic_load(&over); i++) {
		if (variant->signals) {
			pthread_kill(sides[i % 2].thread, SIGUSR1);
			sent++;
		}
		requests = atomic_load(&sides[0].sent);
		ASSERT_FALSE(is_stuck(&progress, requests)) {
			TH_LOG("no answer to request %lu", requests);
		}
		usleep(100);
	}
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(WAIT_FOR(!pthread_tryjoin_np(sides[i].thread, NULL)));
	EXPECT_EQ(0, sides[0].error);
	EXPECT_EQ(0, sides[1].error);
	EXPECT_LE(rounds.least, sides[0].sent);
	EXPECT_EQ(sides[0].sent, sides[1].sent);
	EXPECT_EQ(sides[0].sent + 1, line_of(_metadata, self->db, 0).rings);
	EXPECT_EQ(sides[1].sent, line_of(_metadata, self->db, 1).rings);
	EXPECT_EQ(0, efd_count(self->efds[0]));
	EXPECT_EQ(0, efd_count(self->efds[1]));
	/* Otherwise the test tests nothing. */
	EXPECT_FALSE(none_ended_early(&sides[0]));
	ksft_print_msg("%lu signals, %lu interrupted, %lu timed out\n", sent,
		       sides[0].interrupted + sides[1].interrupted,
		       sides[0].timed_out + sides[1].timed_out);
}

/* Many readers of one eventfd, which the line signals. */
FIXTURE(readers) {
	int db;
	int efd;
};

FIXTURE_VARIANT(readers) {
	int flags;
};

FIXTURE_VARIANT_ADD(readers, counter) {};
FIXTURE_VARIANT_ADD(readers, semaphore) { .flags = EFD_SEMAPHORE };

FIXTURE_SETUP(readers)
{
	self->db = new_context(_metadata, 1);
	self->efd = new_eventfd(_metadata, 0, variant->flags);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, 0));
}

FIXTURE_TEARDOWN(readers)
{
}

struct reader {
	int db;
	int fd;
	unsigned int cpu;
	unsigned long calls;
	atomic_ullong sum;
	int error;
	atomic_bool *stop;
	pthread_t thread;
};

static void *read_by_ring_wait(void *arg)
{
	struct reader *reader = arg;
	uint64_t count;
	int ret;

	pin_to(reader->cpu);
	while (!atomic_load(reader->stop)) {
		/* Another reader may have consumed what this call rang. */
		ret = doorbell_ring_wait(reader->db, 0, reader->fd, 0,
					 reader->calls % 3 ? doorbell_deadline(20000) : 0, &count);
		reader->calls++;
		reader->sum += count;
		if (ret != -ETIMEDOUT && (ret < 0 || !count))
			reader->error = ret < 0 ? ret : -EPROTO;
		dither(reader->calls);
	}
	return NULL;
}

static void *read_by_read(void *arg)
{
	struct reader *reader = arg;

	pin_to(reader->cpu);
	while (!atomic_load(reader->stop)) {
		reader->sum += efd_read(reader->fd);
		reader->calls++;
		dither(reader->calls);
	}
	return NULL;
}

static bool each_has_read(struct reader *readers, int nr)
{
	while (nr--)
		if (!atomic_load(&readers[nr].sum))
			return false;
	return true;
}

TEST_F(readers, share_one_eventfd)
{
	struct rounds rounds = ROUNDS(2000, 100000);
	atomic_bool stop = false;
	struct reader readers[4];
	unsigned long rings = 0;
	uint64_t sum = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		readers[i] = (struct reader){
			.db = self->db, .fd = self->efd, .cpu = i, .stop = &stop };
		ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
					    i ? read_by_ring_wait : read_by_read, &readers[i]));
	}
	while (more_rounds(&rounds, line_of(_metadata, self->db, 0).deliveries))
		usleep(1000);
	/* On a busy machine one of them may have been late for every delivery until now. */
	ASSERT_TRUE(WAIT_FOR(each_has_read(readers, ARRAY_SIZE(readers))));
	atomic_store(&stop, true);
	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		pthread_join(readers[i].thread, NULL);
		EXPECT_EQ(0, readers[i].error);
		sum += readers[i].sum;
		rings += i ? readers[i].calls : 0;
	}
	EXPECT_EQ(rings, line_of(_metadata, self->db, 0).rings);
	EXPECT_EQ(line_of(_metadata, self->db, 0).deliveries, sum + efd_count(self->efd));
}

TEST_HARNESS_MAIN
