// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions are assigned and deassigned under writers. Each write that succeeded has
 * signalled once, each that failed never. No write fails between two regions of a batch.
 * After a deassign there are no more signals.
 */
#include <sys/prctl.h>

#include "bus.h"

#define ADDR		0x1000ULL
#define MATCH		7

FIXTURE(bus_race) {
	int kmsg;
	int db;
	int out[2];
};

FIXTURE_VARIANT(bus_race) {
	enum way way;
	/* Regions are changed by batches. */
	bool batch;
};

FIXTURE_VARIANT_ADD(bus_race, ioctl) { .way = BY_IOCTL };
FIXTURE_VARIANT_ADD(bus_race, pwrite_batch) { .way = BY_PWRITE, .batch = true };

FIXTURE_SETUP(bus_race)
{
	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->out[0] = new_eventfd(_metadata, 0, 0);
	self->out[1] = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(bus_race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* A thread that makes the same write in a loop. */
struct writer {
	int db;
	enum way way;
	uint64_t addr;
	uint64_t value;
	unsigned int cpu;
	/* Results of the writes. */
	atomic_ulong started;
	atomic_ulong taken;
	atomic_ulong unmatched;
	/* No room for a record. */
	atomic_ulong refused;
	atomic_ulong failed;
	atomic_bool stop;
	pthread_t thread;
};

static void write_once(struct writer *writer)
{
	int ret;

	atomic_fetch_add(&writer->started, 1);
	ret = bus_write(writer->db, writer->way, writer->addr, 4, writer->value);
	if (!ret)
		atomic_fetch_add(&writer->taken, 1);
	else if (ret == -EOPNOTSUPP)
		atomic_fetch_add(&writer->unmatched, 1);
	else if (ret == -ENOBUFS)
		atomic_fetch_add(&writer->refused, 1);
	else
		atomic_fetch_add(&writer->failed, 1);
}

static void *writer_loop(void *arg)
{
	struct writer *writer = arg;

	pin_to(writer->cpu);
	while (!atomic_load(&writer->stop))
		write_once(writer);
	return NULL;
}

static unsigned long done(struct writer *writer)
{
	return atomic_load(&writer->taken) + atomic_load(&writer->unmatched) +
	       atomic_load(&writer->refused) + atomic_load(&writer->failed);
}

/* Waits until the writes in flight are done, and @more after them. */
static bool passes(struct writer *writer, unsigned long more)
{
	unsigned long target = atomic_load(&writer->started) + more;

	return SPIN_FOR(done(writer) >= target);
}

static void start(struct __test_metadata *_metadata, struct writer *writer)
{
	ASSERT_EQ(0, pthread_create(&writer->thread, NULL, writer_loop, writer));
}

static void stop(struct writer *writer)
{
	atomic_store(&writer->stop, true);
	pthread_join(writer->thread, NULL);
}

#define WRITER(on_cpu) {						\
	.db = self->db, .way = variant->way, .addr = ADDR, .value = MATCH, .cpu = on_cpu, \
}

static int change_by(bool batch, int db, struct doorbell_region region)
{
	return batch ? doorbell_change_regions(db, &region, 1, NULL) : change_region(db, region);
}

#define CHANGE(region)	change_by(variant->batch, self->db, region)

/* The counter holds all writes that succeeded and no other, from the deassign on. */
TEST_F(bus_race, comes_and_goes)
{
	const struct doorbell_region regions[] = {
		to_eventfd(ADDR, 4, self->out[0]),
		matching(to_eventfd(ADDR, 4, self->out[0]), MATCH),
	};
	struct writer writers[] = { WRITER(1), WRITER(0) };
	struct rounds race = ROUNDS(30, 5000);
	unsigned int rounds, late = 0, i;
	uint64_t signalled = 0;

	for (i = 0; i < ARRAY_SIZE(writers); i++)
		start(_metadata, &writers[i]);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		const struct doorbell_region region = regions[rounds / 4 % 2];

		ASSERT_EQ(0, CHANGE(region));
		if (rounds % 2)
			ASSERT_EQ(POLLIN, efd_await(self->out[0], POLLIN));
		dither(rounds);
		ASSERT_EQ(0, CHANGE(without(region)));
		signalled += efd_read(self->out[0]);
		ASSERT_TRUE(passes(&writers[0], 2));
		late += !!efd_count(self->out[0]);
		signalled += efd_read(self->out[0]);
	}
	for (i = 0; i < ARRAY_SIZE(writers); i++)
		stop(&writers[i]);
	EXPECT_EQ(0, late);
	EXPECT_EQ(writers[0].taken + writers[1].taken, signalled);
	EXPECT_EQ(0, writers[0].failed + writers[1].failed);
	EXPECT_LT(rounds / 4, signalled);
	EXPECT_LT(0, writers[0].unmatched + writers[1].unmatched);
}

/* The first, a middle and the last of many regions: only the region that is deassigned goes. */
TEST_F(bus_race, one_of_many_goes)
{
	enum { NR = 301 };
	struct doorbell_region regions[NR];
	struct writer writer = WRITER(1);
	unsigned int rounds, i, late = 0, lost = 0, met = 0;
	struct rounds race = ROUNDS(30, 5000);
	uint64_t before;

	for (i = 0; i < NR; i++)
		regions[i] = to_eventfd(ADDR + 4 * i, 4, self->out[1]);
	ASSERT_EQ(0, doorbell_change_regions(self->db, regions, NR, NULL));
	/* The region that is written to stays and loses nothing. */
	writer.addr = ADDR + 4 * 75;
	start(_metadata, &writer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		const struct doorbell_region other =
			to_eventfd(ADDR + 4 * (rounds % 3 * (NR - 1) / 2), 4, -1);
		const struct doorbell_region matched =
			matching(to_eventfd(writer.addr, 4, self->out[0]), MATCH);

		dither(rounds);
		ASSERT_EQ(0, CHANGE(without(other)));
		ASSERT_EQ(0, CHANGE(matched));
		if (rounds % 2)
			ASSERT_EQ(POLLIN, efd_await(self->out[0], POLLIN));
		dither(rounds / 64);
		ASSERT_EQ(0, CHANGE(without(matched)));
		met += !!efd_read(self->out[0]);
		before = efd_count(self->out[1]);
		ASSERT_TRUE(passes(&writer, 2));
		late += !!efd_count(self->out[0]);
		lost += efd_count(self->out[1]) <= before;
		ASSERT_EQ(0, CHANGE(to_eventfd(other.addr, 4, self->out[1])));
	}
	stop(&writer);
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, lost);
	EXPECT_LT(rounds / 4, met);
	EXPECT_EQ(0, writer.unmatched);
	EXPECT_EQ(0, writer.failed);
	EXPECT_EQ(writer.taken, efd_read(self->out[1]));
	EXPECT_EQ(writer.taken, writes_to(self->db, 75));
	EXPECT_EQ(NR, info_of(_metadata, self->db).nr_regions);
}

/* A region moves from one eventfd to another in one step: each write matches. */
TEST_F(bus_race, replaced)
{
	const struct doorbell_region to[] = {
		to_eventfd(ADDR, 4, self->out[0]), to_eventfd(ADDR, 4, self->out[1]),
	};
	struct writer writers[] = { WRITER(1), WRITER(0) };
	struct rounds race = ROUNDS(30, 5000);
	unsigned int rounds, late = 0, i;
	uint64_t sums[2] = {};

	ASSERT_EQ(0, change_region(self->db, to[0]));
	for (i = 0; i < ARRAY_SIZE(writers); i++)
		start(_metadata, &writers[i]);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		const int old = rounds % 2;
		const struct doorbell_region batch[] = { without(to[old]), to[!old] };

		dither(rounds);
		ASSERT_EQ(0, doorbell_change_regions(self->db, batch, 2, NULL));
		sums[old] += efd_read(self->out[old]);
		ASSERT_TRUE(passes(&writers[0], 2));
		late += !!efd_count(self->out[old]);
		sums[old] += efd_read(self->out[old]);
	}
	for (i = 0; i < ARRAY_SIZE(writers); i++) {
		stop(&writers[i]);
		EXPECT_EQ(0, writers[i].unmatched);
		EXPECT_EQ(0, writers[i].failed);
	}
	/* Both writers must stop first: each writes to either region. */
	for (i = 0; i < ARRAY_SIZE(sums); i++)
		sums[i] += efd_read(self->out[i]);
	EXPECT_EQ(0, late);
	EXPECT_EQ(writers[0].taken + writers[1].taken, sums[0] + sums[1]);
	EXPECT_LT(rounds / 4, sums[0]);
	EXPECT_LT(rounds / 4, sums[1]);
}

/* A write matches all the old regions or all the new ones, even if it goes to two. */
TEST_F(bus_race, all_or_none)
{
	int efd[2][2] = {
		{ self->out[0], new_eventfd(_metadata, 0, 0) },
		{ self->out[1], new_eventfd(_metadata, 0, 0) },
	};
	struct writer writer = WRITER(1);
	struct rounds race = ROUNDS(30, 20000);
	unsigned int rounds, torn = 0;
	uint64_t sum = 0;
	int i;

	for (i = 0; i < 2; i++) {
		struct doorbell_region region = to_eventfd(ADDR, 4, efd[0][i]);

		ASSERT_EQ(0, change_region(self->db, i ? matching(region, MATCH) : region));
	}
	start(_metadata, &writer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		const int *old = efd[rounds % 2], *new = efd[!(rounds % 2)];
		const struct doorbell_region batch[] = {
			to_eventfd(ADDR, 4, new[0]),
			matching(to_eventfd(ADDR, 4, new[1]), MATCH),
			without(to_eventfd(ADDR, 4, old[0])),
			without(matching(to_eventfd(ADDR, 4, old[1]), MATCH)),
		};
		uint64_t counts[2];

		dither(rounds);
		ASSERT_EQ(0, doorbell_change_regions(self->db, batch, 4, NULL));
		counts[0] = efd_read(old[0]);
		counts[1] = efd_read(old[1]);
		torn += counts[0] != counts[1];
		sum += counts[0];
	}
	stop(&writer);
	EXPECT_EQ(0, torn);
	EXPECT_EQ(0, writer.unmatched);
	for (i = 0; i < 2; i++) {
		const uint64_t rest = efd_read(efd[i][0]);

		EXPECT_EQ(rest, efd_read(efd[i][1]));
		sum += rest;
	}
	EXPECT_EQ(writer.taken, sum);
}

/* The same for records and for a line. */
TEST_F(bus_race, records_and_lines)
{
	struct writer writer = WRITER(1);
	struct rounds race = ROUNDS(30, 5000);
	struct doorbell_record got[64];
	unsigned int rounds;
	uint64_t records = 0;
	int nr;

	ASSERT_EQ(0, doorbell_set_records(self->db, 65536));
	start(_metadata, &writer);
	/*
	 * Some writes must match no region, or the test proves nothing. On a busy machine the
	 * writer may not run meanwhile: now and then, wait for it.
	 */
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		ASSERT_EQ(0, CHANGE(recorded(to_line(ADDR, 4, 0))));
		dither(rounds);
		if (rounds % 2)
			ASSERT_TRUE(passes(&writer, 2));
		ASSERT_EQ(0, CHANGE(without(to_line(ADDR, 4, 0))));
		ASSERT_TRUE(rounds % 8 || passes(&writer, 2));
		/* All has been signalled: nothing more comes of a deassigned region. */
		while ((nr = read_records(self->db, got, ARRAY_SIZE(got))) > 0)
			records += nr;
		EXPECT_EQ(records, line_of(_metadata, self->db, 0).rings);
	}
	stop(&writer);
	EXPECT_EQ(0, writer.failed);
	EXPECT_LT(0, writer.unmatched);
	EXPECT_LT(rounds / 4, records);
	EXPECT_EQ(writer.taken, records);
	EXPECT_EQ(records, bus_of(_metadata, self->db).recorded);
	EXPECT_EQ(writer.refused, bus_of(_metadata, self->db).refused);
	EXPECT_EQ(-EAGAIN, read_records(self->db, got, 1));
}

/*
 * If several threads assign the same region, one succeeds. The thread that deassigns it
 * consumes its signals.
 */
struct rival {
	int db;
	int fd;
	unsigned int cpu;
	atomic_bool *stop;
	atomic_ulong rounds;
	unsigned long assigned;
	atomic_ulong deassigned;
	unsigned long failed;
	pthread_t thread;
};

static void *rival_loop(void *arg)
{
	struct rival *rival = arg;
	const struct doorbell_region region = to_eventfd(ADDR, 4, rival->fd);
	unsigned int round;
	int ret;

	pin_to(rival->cpu);
	for (round = 0; !atomic_load(rival->stop); round++) {
		ret = change_region(rival->db, region);
		rival->assigned += !ret;
		rival->failed += ret && ret != -EEXIST;
		dither(round);
		ret = change_region(rival->db, without(to_eventfd(ADDR, 4, -1)));
		rival->deassigned += !ret;
		rival->failed += ret && ret != -ENOENT;
		atomic_store(&rival->rounds, round + 1);
	}
	return NULL;
}

TEST_F(bus_race, rivals)
{
	unsigned long assigned = 0, deassigned, least;
	struct rounds race = ROUNDS(60, 10000);
	struct writer writer = WRITER(2);
	struct rival rivals[3];
	atomic_bool end = false;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		rivals[i] = (struct rival){
			.db = self->db, .fd = self->out[i % 2], .cpu = i, .stop = &end,
		};
		ASSERT_EQ(0, pthread_create(&rivals[i].thread, NULL, rival_loop, &rivals[i]));
	}
	start(_metadata, &writer);
	do {
		usleep(1000);
		least = done(&writer);
		deassigned = 0;
		for (i = 0; i < ARRAY_SIZE(rivals); i++) {
			if (atomic_load(&rivals[i].rounds) < least)
				least = atomic_load(&rivals[i].rounds);
			deassigned += atomic_load(&rivals[i].deassigned);
		}
	} while (more_rounds(&race, least) || lacks(&race, !deassigned));
	atomic_store(&end, true);
	deassigned = 0;
	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		pthread_join(rivals[i].thread, NULL);
		assigned += rivals[i].assigned;
		deassigned += rivals[i].deassigned;
		EXPECT_EQ(0, rivals[i].failed);
	}
	stop(&writer);
	EXPECT_LE(60, least);
	EXPECT_LT(0, deassigned);
	EXPECT_EQ(assigned - deassigned, info_of(_metadata, self->db).nr_regions);
	EXPECT_EQ(writer.taken, efd_read(self->out[0]) + efd_read(self->out[1]));
	EXPECT_EQ(0, writer.failed);
}

/* The fd is closed right after the assignment; the region stays. */
TEST_F(bus_race, fd_closes)
{
	struct rounds race = ROUNDS(30, 5000);
	struct writer writer = WRITER(1);
	unsigned int rounds;

	start(_metadata, &writer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		int copy = dup(self->out[0]);

		ASSERT_EQ(0, CHANGE(to_eventfd(ADDR, 4, copy)));
		close(copy);
		if (rounds % 2)
			ASSERT_EQ(POLLIN, efd_await(self->out[0], POLLIN));
		dither(rounds);
		ASSERT_EQ(0, CHANGE(without(to_eventfd(ADDR, 4, -1))));
		/* A region whose eventfd has no fd any more. */
		copy = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, CHANGE(to_eventfd(ADDR + 4, 4, copy)));
		close(copy);
		EXPECT_EQ(0, mmio_write(self->db, ADDR + 4, 4, rounds));
		ASSERT_EQ(0, CHANGE(without(to_eventfd(ADDR + 4, 4, -1))));
	}
	stop(&writer);
	EXPECT_EQ(writer.taken, efd_read(self->out[0]));
	EXPECT_EQ(0, writer.failed);
}

/* Another process writes while the last other fd is closed, and is then killed. */
TEST_F(bus_race, context_closes)
{
	struct writer *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long before = refcnt();
	unsigned int rounds;
	uint64_t counted;
	pid_t pid;

	ASSERT_TRUE(shared != MAP_FAILED);
	for (rounds = 0; rounds < 20; rounds++) {
		int db = new_context(_metadata, 1);

		ASSERT_EQ(0, change_region(db, to_eventfd(ADDR, 4, self->out[0])));
		memset(shared, 0, sizeof(*shared));
		*shared = (struct writer)WRITER(1);
		shared->db = db;
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			writer_loop(shared);
			_exit(0);
		}
		ASSERT_TRUE(passes(shared, 5));
		close(db);
		/* The writer does not need the fd of this process. */
		ASSERT_TRUE(passes(shared, 5));
		dither(rounds * 3);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(SIGKILL, wait_child(pid));
		/* The killed process may have made one write more than it has counted. */
		counted = efd_read(self->out[0]);
		EXPECT_LE(atomic_load(&shared->taken), counted);
		EXPECT_GE(atomic_load(&shared->taken) + 1, counted);
		EXPECT_EQ(0, shared->failed + shared->unmatched);
		if (before >= 0)
			ASSERT_TRUE(WAIT_FOR(refcnt() == before));
		EXPECT_EQ(0, efd_count(self->out[0]));
	}
}

TEST_HARNESS_MAIN
