// SPDX-License-Identifier: GPL-2.0-only
/*
 * Producers on other processors, and one consumer of their records: none is lost, none
 * comes twice, and those of each producer come in order.
 */
#include <limits.h>
#include <sys/prctl.h>

#include "bus.h"

#define ROUNDS_MIN	30

/* Few places, so that there is often no room. */
#define RECORDS		8

#define ADDR		0x1000ULL
#define PRODUCERS	2

/* The region of a producer. */
#define ADDR_OF(i)	(ADDR + 0x10 * (i))

struct producer {
	int db;
	unsigned int nr;
	/* Waits until the consumer has the last one. */
	const atomic_ulong *wait_for;
	struct rest *rest;
	atomic_bool *stop;
	/* Values 1 to this. */
	atomic_ulong made;
	atomic_ulong refused;
	atomic_ulong failed;
	pthread_t thread;
};

/* In memory that a forked consumer shares. */
struct consumer {
	atomic_bool stop;
	struct rest rest;
	/* The last value of each producer. */
	atomic_ulong last[PRODUCERS];
	uint64_t taken;
	atomic_ulong wrong;
	atomic_ulong slept;
	atomic_ulong not_woken;
	uint64_t signals;
};

FIXTURE(records_race) {
	int kmsg;
	int db;
	int efd;
	struct consumer *consumer;
	struct doorbell_records records;
	pthread_t thread;
	pid_t pid;
};

FIXTURE_VARIANT(records_race) {
	/* Records are consumed through the mapping. */
	bool mapped;
	/* If there is no record, waits for the eventfd. */
	bool sleeps;
	/* Another process consumes. */
	bool forked;
};

FIXTURE_VARIANT_ADD(records_race, read) { };
FIXTURE_VARIANT_ADD(records_race, mapped) { .mapped = true };
FIXTURE_VARIANT_ADD(records_race, read_when_told) { .sleeps = true };
FIXTURE_VARIANT_ADD(records_race, mapped_when_told) { .mapped = true, .sleeps = true };
FIXTURE_VARIANT_ADD(records_race, read_forked) { .sleeps = true, .forked = true };
FIXTURE_VARIANT_ADD(records_race, mapped_forked) { .mapped = true, .sleeps = true, .forked = true };

FIXTURE_SETUP(records_race)
{
	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->efd = new_eventfd(_metadata, 0, 0);
	self->consumer = mmap(NULL, sizeof(*self->consumer), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->consumer != MAP_FAILED);
}

FIXTURE_TEARDOWN(records_race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Checks that the record is the next one of all and of its producer. */
static void take(struct consumer *c, const struct doorbell_record *record)
{
	const uint64_t from = (record->addr - ADDR) / 0x10;

	c->taken++;
	if (from >= PRODUCERS || !is_record(record, c->taken, MMIO, ADDR_OF(from), 8,
					    atomic_load(&c->last[from]) + 1))
		c->wrong++;
	else
		atomic_fetch_add(&c->last[from], 1);
}

struct job {
	struct consumer *c;
	struct doorbell_records *records;
	int db;
	int efd;
	bool mapped;
	bool sleeps;
};

static unsigned int take_some(struct job *job, unsigned int round)
{
	struct doorbell_record got[3];
	int nr, i;

	if (job->mapped)
		nr = doorbell_next_record(job->records, got);
	else
		nr = read_records(job->db, got, 1 + round % ARRAY_SIZE(got));
	if (nr < 0 && nr != -EAGAIN)
		job->c->wrong++;
	for (i = 0; i < nr; i++)
		take(job->c, &got[i]);
	return nr > 0 ? nr : 0;
}

static void *consume(void *arg)
{
	struct job *job = arg;
	struct consumer *c = job->c;
	unsigned int round;
	bool stop;

	for (round = 0;; round++) {
		rest_point(&c->rest, &c->stop);
		stop = atomic_load(&c->stop);
		dither(round / 16);
		if (take_some(job, round))
			continue;
		/* No record has come since all producers stopped. */
		if (stop)
			break;
		if (!job->sleeps) {
			sched_yield();
			continue;
		}
		/* The eventfd is signalled at the stop as well. */
		c->slept++;
		if (efd_await(job->efd, POLLIN) != POLLIN) {
			c->not_woken++;
			break;
		}
		c->signals += efd_read(job->efd);
	}
	return NULL;
}

static void *produce(void *arg)
{
	struct producer *p = arg;
	unsigned int round = 0;
	int ret;

	pin_to(p->nr);
	while (!atomic_load(p->stop) && !p->failed) {
		rest_point(p->rest, p->stop);
		ret = bus_write(p->db, p->nr ? BY_PWRITE : BY_IOCTL, ADDR_OF(p->nr), 8,
				p->made + 1);
		if (ret == -ENOBUFS) {
			p->refused++;
			/* Some rounds try again at once. */
			if (round++ % 4)
				sched_yield();
			continue;
		}
		if (ret)
			p->failed++;
		else
			p->made++;
		dither(round++);
		if (p->wait_for && !SPIN_FOR(atomic_load(p->wait_for) == p->made ||
					     atomic_load(p->stop)))
			p->failed++;
	}
	return NULL;
}

static void start(struct __test_metadata *_metadata, struct _test_data_records_race *self,
		  struct job *job)
{
	if (!self->pid) {
		ASSERT_EQ(0, pthread_create(&self->thread, NULL, consume, job));
		return;
	}
	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		consume(job);
		_exit(0);
	}
}

static void stop(struct __test_metadata *_metadata, struct _test_data_records_race *self,
		 struct job *job)
{
	atomic_store(&job->c->stop, true);
	efd_write(self->efd, 1);
	if (!self->pid)
		pthread_join(self->thread, NULL);
	else
		ASSERT_EQ(0, wait_child(self->pid));
	job->c->signals += efd_read(self->efd);
}

static unsigned long least_made(struct producer *producers)
{
	unsigned long least = ULONG_MAX;
	int i;

	for (i = 0; i < PRODUCERS; i++) {
		if (producers[i].made < least)
			least = producers[i].made;
	}
	return least;
}

/* Returns true as soon as a producer or the consumer has failed. */
static bool has_failed(struct producer *producers, struct consumer *c)
{
	int i;

	for (i = 0; i < PRODUCERS; i++) {
		if (producers[i].failed)
			return true;
	}
	return c->wrong || c->not_woken;
}

static bool was_refused(const struct producer *producers)
{
	return producers[0].refused || producers[1].refused;
}

/* All records have come, in order and once, and each was signalled. */
static void race(struct __test_metadata *_metadata, struct _test_data_records_race *self,
		 const struct _fixture_variant_records_race *variant,
		 uint32_t nr_records, bool wait)
{
	struct producer producers[PRODUCERS] = {};
	struct rounds rounds = ROUNDS(ROUNDS_MIN, 10000);
	struct consumer *c = self->consumer;
	unsigned long made = 0, refused = 0;
	atomic_bool end = false;
	struct doorbell_get_bus bus;
	struct rest producers_rest = {};
	unsigned int turn = 0;
	struct job job;
	int i;

	ASSERT_EQ(0, doorbell_set_records(self->db, nr_records));
	self->records = map_records(_metadata, self->db);
	for (i = 0; i < PRODUCERS; i++)
		ASSERT_EQ(0, change_region(self->db,
					   recorded(to_eventfd(ADDR_OF(i), 8, self->efd))));
	job = (struct job){
		.c = c, .records = &self->records, .db = self->db, .efd = self->efd,
		.mapped = variant->mapped, .sleeps = variant->sleeps,
	};
	self->pid = variant->forked;
	start(_metadata, self, &job);
	for (i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){
			.db = self->db, .nr = i, .stop = &end,
			.wait_for = wait ? &c->last[i] : NULL, .rest = &producers_rest,
		};
		ASSERT_EQ(0, pthread_create(&producers[i].thread, NULL, produce, &producers[i]));
	}
	/*
	 * The ring must have been full or never full, and empty now and then, or the test
	 * proves nothing. So at times the consumer rests, or the producers do.
	 */
	do {
		usleep(1000);
		if (turn++ % TURNS_APART || has_failed(producers, c))
			continue;
		if (!wait) {
			ASSERT_TRUE(rest_begin(&c->rest, 1) && WAIT_FOR(was_refused(producers)) &&
				    rest_end(&c->rest));
		}
		if (variant->sleeps) {
			ASSERT_TRUE(rest_begin(&producers_rest, PRODUCERS) &&
				    WAIT_FOR(c->slept) && rest_end(&producers_rest));
		}
	} while (!has_failed(producers, c) && more_rounds(&rounds, least_made(producers)));
	atomic_store(&end, true);
	for (i = 0; i < PRODUCERS; i++)
		pthread_join(producers[i].thread, NULL);
	stop(_metadata, self, &job);

	for (i = 0; i < PRODUCERS; i++) {
		EXPECT_LE(ROUNDS_MIN, producers[i].made);
		EXPECT_EQ(0, producers[i].failed);
		EXPECT_EQ(producers[i].made, atomic_load(&c->last[i]));
		EXPECT_EQ(producers[i].made, writes_to(self->db, i));
		made += producers[i].made;
		refused += producers[i].refused;
	}
	EXPECT_EQ(0, c->wrong);
	EXPECT_EQ(0, c->not_woken);
	EXPECT_EQ(made, c->taken);
	EXPECT_EQ(made, self->records.ring->head);
	/* And the signal at the stop. */
	EXPECT_EQ(made + 1, c->signals);
	bus = bus_of(_metadata, self->db);
	EXPECT_EQ(made, bus.recorded);
	EXPECT_EQ(refused, bus.refused);
	ksft_print_msg("%lu taken, %lu refused, slept %lu times\n", made, refused, c->slept);
	EXPECT_EQ(wait, !refused);
	if (variant->sleeps)
		EXPECT_LT(0, c->slept);
}

TEST_F(records_race, conserved)
{
	race(_metadata, self, variant, RECORDS, false);
}

/*
 * A producer that waits until its record was consumed always finds room: there are at most
 * two.
 */
TEST_F(records_race, room)
{
	race(_metadata, self, variant, RECORDS, true);
}

TEST_HARNESS_MAIN
