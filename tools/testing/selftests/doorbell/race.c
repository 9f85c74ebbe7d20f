// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many threads at once: the counts of the calls, the lines and the eventfds must agree at
 * the end.
 */
#include "doorbell_test.h"

#define NR_THREADS	4

FIXTURE(race) {
	int kmsg;
	int db[2];
	int out;
};

FIXTURE_SETUP(race)
{
	self->kmsg = kmsg_open();
	self->db[0] = new_context(_metadata, 4);
	self->db[1] = new_context(_metadata, 4);
	self->out = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* One of several threads that ring line 0, all of them started together. */
struct ringer {
	unsigned int cpu;
	unsigned int rounds;
	int db;
	/* The irqfd to write to instead of ringing, if not negative. */
	int in;
	uint64_t delivered;
	uint64_t coalesced;
	uint64_t failed;
	pthread_barrier_t *start;
	pthread_t thread;
};

static void *ring_on(void *arg)
{
	struct ringer *ringer = arg;
	unsigned int i;

	pin_to(ringer->cpu);
	pthread_barrier_wait(ringer->start);
	for (i = 0; i < ringer->rounds; i++) {
		if (ringer->in >= 0) {
			ringer->failed += efd_write(ringer->in, 1) != 0;
			continue;
		}
		switch (doorbell_ring(ringer->db, 0)) {
		case DOORBELL_RING_DELIVERED:
			ringer->delivered++;
			break;
		case DOORBELL_RING_COALESCED:
			ringer->coalesced++;
			break;
		default:
			ringer->failed++;
		}
	}
	return NULL;
}

/* Runs the ringers to their end and adds up their counts in the first one. */
static void run_ringers(struct __test_metadata *_metadata, struct ringer *ringers, unsigned int nr)
{
	pthread_barrier_t start;
	unsigned int i;

	pin_to(0);
	pthread_barrier_init(&start, NULL, nr);
	for (i = 0; i < nr; i++) {
		ringers[i].cpu = i;
		ringers[i].start = &start;
		ASSERT_EQ(0, pthread_create(&ringers[i].thread, NULL, ring_on, &ringers[i]));
	}
	for (i = 0; i < nr; i++) {
		pthread_join(ringers[i].thread, NULL);
		if (i) {
			ringers[0].delivered += ringers[i].delivered;
			ringers[0].coalesced += ringers[i].coalesced;
			ringers[0].failed += ringers[i].failed;
		}
	}
}

struct consumer {
	int fd;
	atomic_bool stop;
	atomic_ullong sum;
	pthread_t thread;
};

static void *consume(void *arg)
{
	struct consumer *consumer = arg;

	while (!atomic_load(&consumer->stop)) {
		if (efd_poll(consumer->fd, POLLIN, 10) > 0)
			atomic_fetch_add(&consumer->sum, efd_read(consumer->fd));
	}
	return NULL;
}

/* The results of the calls, the line's counters and the trigger's counter agree. */
TEST_F(race, ring_results_add_up)
{
	const unsigned int rounds = 50000;
	struct ringer ringers[NR_THREADS] = {};
	struct consumer consumer = { .fd = self->out };
	struct doorbell_query query;
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db[0], self->out, 0));
	ASSERT_EQ(0, pthread_create(&consumer.thread, NULL, consume, &consumer));
	for (i = 0; i < NR_THREADS; i++) {
		ringers[i].db = self->db[0];
		ringers[i].in = -1;
		ringers[i].rounds = rounds;
	}
	run_ringers(_metadata, ringers, NR_THREADS);
	query = settled(_metadata, self->db[0], 0);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db[0], self->out, 0));
	atomic_store(&consumer.stop, true);
	pthread_join(consumer.thread, NULL);
	consumer.sum += efd_read(self->out);

	EXPECT_EQ(0, ringers[0].failed);
	EXPECT_EQ(NR_THREADS * rounds, query.rings);
	EXPECT_EQ(ringers[0].delivered, query.deliveries);
	EXPECT_EQ(ringers[0].coalesced, query.rings - query.deliveries);
	EXPECT_EQ(query.deliveries, consumer.sum);
}

/* The same with irqfds among them: each write is a ring. */
TEST_F(race, writes_add_up)
{
	const unsigned int rounds = 30000;
	struct ringer ringers[NR_THREADS] = {};
	struct doorbell_query query;
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db[0], self->out, 0));
	for (i = 0; i < NR_THREADS; i++) {
		ringers[i].db = self->db[0];
		ringers[i].in = i < 3 ? new_eventfd(_metadata, 0, 0) : -1;
		ringers[i].rounds = rounds;
		if (ringers[i].in >= 0)
			ASSERT_EQ(0, doorbell_assign_irqfd(self->db[0], ringers[i].in, 0));
	}
	/* Two threads share one, from both processors. */
	ringers[2].in = ringers[1].in;
	run_ringers(_metadata, ringers, NR_THREADS);
	query = settled(_metadata, self->db[0], 0);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db[0], self->out, 0));

	EXPECT_EQ(0, ringers[0].failed);
	EXPECT_EQ(NR_THREADS * rounds, query.rings);
	EXPECT_GE(query.rings, query.deliveries);
	EXPECT_LE(ringers[0].delivered, query.deliveries);
	EXPECT_EQ(query.deliveries, line_of(_metadata, self->db[0], 0).deliveries);
	EXPECT_EQ(query.deliveries, efd_read(self->out));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, efd_count(ringers[i].in));
}

/* The data that a ring announces: written before the ring, read after the signal. */
static atomic_ulong written;

static void write_and_ring(struct hammer *hammer)
{
	atomic_fetch_add(&written, 1);
	hit_ring(hammer);
}

struct reader {
	int fd;
	atomic_bool stop;
	atomic_ulong seen;
	pthread_t thread;
};

static void *read_on(void *arg)
{
	struct reader *reader = arg;

	pin_to(0);
	while (!atomic_load(&reader->stop)) {
		if (efd_poll(reader->fd, POLLIN, 10) > 0 && efd_read(reader->fd))
			atomic_store(&reader->seen, atomic_load(&written));
	}
	return NULL;
}

/*
 * After each ring a delivery starts. So a thread that reads after the signal reads what was
 * written last, whichever ring was the last and whatever it met.
 */
TEST_F(race, nothing_lost)
{
	struct hammer hammer = { .hit = write_and_ring, .fd = self->db[0] };
	struct reader reader = { .fd = self->out };
	int in = new_eventfd(_metadata, 0, 0);
	struct rounds race = ROUNDS(30, 5000);
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db[0], in, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db[0], self->out, 0));
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, read_on, &reader));
	hammer_start(_metadata, &hammer);
	for (i = 0; more_rounds(&race, i); i++) {
		ASSERT_TRUE(hammer_resume(&hammer));
		ASSERT_TRUE(hammer_passes(&hammer, i % 4));
		/* The last ring is sometimes the hammer's and sometimes this one. */
		atomic_store(&hammer.pause, true);
		atomic_fetch_add(&written, 1);
		ASSERT_EQ(0, efd_write(in, 1));
		ASSERT_TRUE(hammer_pause(&hammer));
		ASSERT_TRUE(SPIN_FOR(atomic_load(&reader.seen) == atomic_load(&written))) {
			TH_LOG("round %u: read %lu of %lu", i, reader.seen, written);
		}
	}
	hammer_stop(&hammer);
	atomic_store(&reader.stop, true);
	pthread_join(reader.thread, NULL);
	EXPECT_EQ(written, settled(_metadata, self->db[0], 0).rings);
}

FIXTURE(query) {
	int db;
	struct hammer hammer;
};

FIXTURE_VARIANT(query) {
	bool by_irqfd;
};

FIXTURE_VARIANT_ADD(query, ioctl) { .by_irqfd = false };
FIXTURE_VARIANT_ADD(query, irqfd) { .by_irqfd = true };

FIXTURE_SETUP(query)
{
	unsigned int i;

	self->db = new_context(_metadata, 1);
	self->hammer.hit = variant->by_irqfd ? hit_write : hit_ring;
	self->hammer.fd = variant->by_irqfd ? new_eventfd(_metadata, 0, 0) : self->db;
	if (variant->by_irqfd)
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->hammer.fd, 0));
	/* Triggers that make a delivery take a while. */
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), 0));
}

FIXTURE_TEARDOWN(query)
{
}

/* QUERY counts each ring exactly once, at any time. */
TEST_F(query, is_exact)
{
	struct doorbell_query query, last = {};
	unsigned int i, low = 0, high = 0, back = 0, odd = 0;
	struct rounds race = ROUNDS(30, 50000);

	hammer_start(_metadata, &self->hammer);
	for (i = 0;
	     more_rounds(&race, i) || lacks(&race, atomic_load(&self->hammer.done) < 100);
	     i++) {
		uint64_t least, most;

		least = atomic_load(&self->hammer.done);
		query = line_of(_metadata, self->db, 0);
		most = atomic_load(&self->hammer.started);
		low += query.rings < least;
		high += query.rings > most;
		back += query.rings < last.rings || query.deliveries < last.deliveries;
		odd += query.rings < query.deliveries + query.state;
		last = query;
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, low);
	EXPECT_EQ(0, high);
	EXPECT_EQ(0, back);
	EXPECT_EQ(0, odd);
	EXPECT_EQ(atomic_load(&self->hammer.done), settled(_metadata, self->db, 0).rings);
}

/* The sum of the jugglers' successes: assigned minus deassigned. */
struct juggle {
	int db[2];
	atomic_int fd;
	atomic_bool stop;
	atomic_long irqfds;
	atomic_long triggers;
	atomic_ulong surprises;
	atomic_ulong done[2][2][2];
};

struct juggler {
	struct juggle *juggle;
	unsigned int nr;
	pthread_t thread;
};

/*
 * Assigns or deassigns an eventfd that may be closed at any moment, and whose number may be
 * reused.
 */
static bool try(struct juggle *juggle, unsigned int at, bool trigger, int fd, uint32_t line,
		uint32_t flags)
{
	int ret = trigger ? doorbell_trigger(juggle->db[at], fd, line, flags) :
			    doorbell_irqfd(juggle->db[at], fd, line, flags, 0);

	switch (ret) {
	case 0:
		atomic_fetch_add(trigger ? &juggle->triggers : &juggle->irqfds, flags ? -1 : 1);
		atomic_fetch_add(&juggle->done[at][trigger][flags], 1);
		return true;
	case -EBADF:
		break;
	case -ENOENT:
		if (!flags)
			atomic_fetch_add(&juggle->surprises, 1);
		break;
	case -EEXIST:
	case -ELOOP:
		if (flags)
			atomic_fetch_add(&juggle->surprises, 1);
		break;
	case -EBUSY:
		if (flags || trigger)
			atomic_fetch_add(&juggle->surprises, 1);
		break;
	case -ENOSPC:
		/* Triggers whose fd was closed before they were deassigned stay. */
		if (flags || !trigger)
			atomic_fetch_add(&juggle->surprises, 1);
		break;
	default:
		atomic_fetch_add(&juggle->surprises, 1);
	}
	return false;
}

static void *juggle_on(void *arg)
{
	struct juggler *juggler = arg;
	struct juggle *juggle = juggler->juggle;
	unsigned int seed = juggler->nr;

	pin_to(juggler->nr);
	while (!atomic_load(&juggle->stop)) {
		unsigned int dice = rand_r(&seed);
		unsigned int at = dice >> 1 & 1;
		uint32_t line = dice >> 2 & 3;
		bool trigger = dice >> 4 & 1;
		int fd = atomic_load(&juggle->fd);

		/* Mostly irqfds, so that triggers of closed eventfds do not fill the lines. */
		if (trigger && dice >> 5 & 7)
			trigger = false;
		try(juggle, at, trigger, fd, line, 0);
		efd_write(fd, 1);
		doorbell_ring(juggle->db[!at], line);
		try(juggle, at, trigger, fd, line, DEASSIGN);
	}
	return NULL;
}

static bool all_delivered(struct __test_metadata *_metadata, struct juggle *juggle)
{
	unsigned int at, line;

	for (at = 0; at < 2; at++) {
		for (line = 0; line < 4; line++) {
			if (!line_of(_metadata, juggle->db[at], line).deliveries)
				return false;
		}
	}
	return true;
}

/* Makes each kind of call, for an eventfd that no juggler knows. */
static void try_each(struct __test_metadata *_metadata, struct juggle *juggle)
{
	int fd = new_eventfd(_metadata, 0, 0);
	unsigned int at, trigger;

	for (at = 0; at < 2; at++) {
		for (trigger = 0; trigger < 2; trigger++) {
			if (try(juggle, at, trigger, fd, 2, 0))
				try(juggle, at, trigger, fd, 2, DEASSIGN);
		}
	}
	close(fd);
}

TEST_F(race, juggling)
{
	struct juggle juggle = { .db = { self->db[0], self->db[1] }, .fd = -1 };
	struct juggler jugglers[NR_THREADS - 1];
	struct rounds race = ROUNDS(30, 5000);
	unsigned int i, line, rounds;
	uint32_t triggers = 0;

	pin_to(0);
	for (i = 0; i < ARRAY_SIZE(jugglers); i++) {
		jugglers[i] = (struct juggler){ .juggle = &juggle, .nr = i + 1 };
		ASSERT_EQ(0, pthread_create(&jugglers[i].thread, NULL, juggle_on, &jugglers[i]));
	}
	for (rounds = 0;
	     more_rounds(&race, rounds) || lacks(&race, !all_delivered(_metadata, &juggle));
	     rounds++) {
		unsigned int at = rounds % 2;
		int fd = new_eventfd(_metadata, rounds % 3, 0);
		bool one, two;

		if (rounds % 16 == 0)
			try_each(_metadata, &juggle);
		atomic_store(&juggle.fd, fd);
		/*
		 * An eventfd has one consumer: at most one succeeds, unless another thread
		 * was first.
		 */
		one = try(&juggle, at, false, fd, 0, 0);
		two = try(&juggle, !at, false, fd, 1, 0);
		efd_write(fd, 1);
		if (two)
			try(&juggle, !at, false, fd, 1, DEASSIGN);
		/* In every other case the close deassigns it. */
		if (one && rounds % 4 < 2)
			try(&juggle, at, false, fd, 0, DEASSIGN);
		close(fd);
	}
	atomic_store(&juggle.stop, true);
	for (i = 0; i < ARRAY_SIZE(jugglers); i++)
		pthread_join(jugglers[i].thread, NULL);

	EXPECT_EQ(0, juggle.surprises);
	for (i = 0; i < 2; i++) {
		/* All eventfds are closed: no irqfd is left. */
		ASSERT_TRUE(WAIT_FOR(info_of(_metadata, self->db[i]).nr_irqfds == 0));
		triggers += info_of(_metadata, self->db[i]).nr_triggers;
		for (line = 0; line < 4; line++) {
			struct doorbell_query query = settled(_metadata, self->db[i], line);

			EXPECT_EQ(0, query.nr_irqfds);
			EXPECT_LE(query.deliveries, query.rings);
			EXPECT_LT(0, query.deliveries);
		}
		/* Each kind of call has succeeded. */
		EXPECT_LT(0, juggle.done[i][0][0]);
		EXPECT_LT(0, juggle.done[i][0][1]);
		EXPECT_LT(0, juggle.done[i][1][0]);
		EXPECT_LT(0, juggle.done[i][1][1]);
	}
	EXPECT_LE(0, juggle.irqfds);
	/* Closing deassigns no trigger: exactly those that were assigned are there. */
	EXPECT_EQ(juggle.triggers, triggers);
}

/* One of two threads that make the lines of a context, in each round of a new one. */
struct setter {
	unsigned int cpu;
	int db;
	int ret;
	bool stop;
	pthread_barrier_t *barrier;
	pthread_t thread;
};

static void *set_lines_on(void *arg)
{
	struct setter *setter = arg;

	pin_to(setter->cpu);
	for (;;) {
		pthread_barrier_wait(setter->barrier);
		if (setter->stop)
			return NULL;
		setter->ret = doorbell_set_lines(setter->db, 4096);
		pthread_barrier_wait(setter->barrier);
	}
}

/* Of two calls at the same time, one makes the lines. */
TEST_F(race, set_lines_once)
{
	struct rounds race = ROUNDS(50, 1000);
	struct setter setters[2] = {};
	pthread_barrier_t barrier;
	unsigned long rounds;
	unsigned int i;
	int db;

	pin_to(0);
	pthread_barrier_init(&barrier, NULL, 3);
	for (i = 0; i < 2; i++) {
		setters[i].cpu = i;
		setters[i].barrier = &barrier;
		ASSERT_EQ(0, pthread_create(&setters[i].thread, NULL, set_lines_on, &setters[i]));
	}
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		db = new_context(_metadata, 0);
		for (i = 0; i < 2; i++)
			setters[i].db = db;
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		/* One of both returns 0. */
		EXPECT_EQ(-EEXIST, setters[0].ret + setters[1].ret);
		close(db);
	}
	for (i = 0; i < 2; i++)
		setters[i].stop = true;
	pthread_barrier_wait(&barrier);
	for (i = 0; i < 2; i++)
		pthread_join(setters[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
}

TEST_HARNESS_MAIN
