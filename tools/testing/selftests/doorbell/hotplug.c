// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPU hotplug: a processor goes offline and comes back, while threads on each processor
 * ring lines that relay to other lines. No ring is lost, no delivery is spurious. If the
 * lines are moderated, the timers of the processor that goes offline move to the other one.
 */
#include "doorbell_test.h"

#define ONLINE		"/sys/devices/system/cpu/cpu1/online"
#define NR_PINNED	2

/*
 * The lines of a processor. Two threads ring the first one, by its irqfd and by the ioctl.
 * A third thread rings the third line and waits for the delivery of the fourth. The first
 * and the third line have the next line's irqfd as their trigger.
 */
enum { STORM, STORM_END, TRIP, TRIP_END, PER_CPU };

enum { WRITE, RING, ROUND_TRIP, NR_KINDS };

struct worker {
	int db;
	unsigned int cpu;
	unsigned int kind;
	/* The eventfd that the thread writes to, and the one that it waits for. */
	int in, out;
	atomic_ulong done;
	/* Number of rounds on the thread's own processor. */
	atomic_ulong at_home;
	atomic_ulong wrong;
	atomic_bool *stop;
	pthread_t thread;
};

FIXTURE(hotplug) {
	int kmsg;
	int db;
	int in[NR_PINNED][2], out[NR_PINNED][2];
	struct worker workers[NR_PINNED][NR_KINDS];
	atomic_bool stop;
	bool offline;
};

FIXTURE_VARIANT(hotplug) {
	uint32_t min_interval;
};

FIXTURE_VARIANT_ADD(hotplug, plain) { };
FIXTURE_VARIANT_ADD(hotplug, moderated) { .min_interval = 50000 };

/* Takes the second processor offline, or brings it back. */
static bool set_online(bool online)
{
	int fd = open(ONLINE, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, online ? "1" : "0", 1) == 1;
	close(fd);
	return done;
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	while (!atomic_load(worker->stop)) {
		/* A thread whose processor goes offline may use all processors from then on. */
		pin_to(worker->cpu);
		if (sched_getcpu() == (int)worker->cpu)
			atomic_fetch_add(&worker->at_home, 1);
		if (worker->kind == RING)
			worker->wrong += doorbell_ring(worker->db, worker->cpu * PER_CPU + STORM) <
					 0;
		else
			worker->wrong += !!efd_write(worker->in, 1);
		if (worker->kind == ROUND_TRIP && efd_wait(worker->out) != 1) {
			atomic_fetch_add(&worker->wrong, 1);
			break;
		}
		atomic_fetch_add(&worker->done, 1);
	}
	return NULL;
}

FIXTURE_SETUP(hotplug)
{
	unsigned int cpu, kind, i;
	uint32_t line;
	int efd;

	self->kmsg = kmsg_open();
	if (access(ONLINE, W_OK))
		SKIP(return, "%s: %s", ONLINE, strerror(errno));
	pin_to(0);
	self->db = new_context(_metadata, NR_PINNED * PER_CPU);
	for (cpu = 0; cpu < NR_PINNED; cpu++) {
		for (i = 0; i < 2; i++) {
			line = cpu * PER_CPU + 2 * i;
			self->in[cpu][i] = new_eventfd(_metadata, 0, 0);
			self->out[cpu][i] = new_eventfd(_metadata, 0, 0);
			efd = new_eventfd(_metadata, 0, 0);
			ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in[cpu][i], line));
			ASSERT_EQ(0, doorbell_assign_irqfd(self->db, efd, line + 1));
			ASSERT_EQ(0, doorbell_assign_trigger(self->db, efd, line));
			ASSERT_EQ(0,
				  doorbell_assign_trigger(self->db, self->out[cpu][i], line + 1));
			ASSERT_EQ(0, doorbell_moderate(self->db, line, variant->min_interval, 0));
			ASSERT_EQ(0,
				  doorbell_moderate(self->db, line + 1, variant->min_interval, 0));
		}
		for (kind = 0; kind < NR_KINDS; kind++) {
			self->workers[cpu][kind] = (struct worker){
				.db = self->db, .cpu = cpu, .kind = kind,
				.in = self->in[cpu][kind == ROUND_TRIP],
				.out = self->out[cpu][kind == ROUND_TRIP],
				.stop = &self->stop,
			};
		}
	}
}

FIXTURE_TEARDOWN(hotplug)
{
	if (self->offline)
		EXPECT_TRUE(WAIT_FOR(set_online(true)));
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * Waits for a round of each thread; if @at_home, for a round on its own processor. Waits for a
 * further delivery of each line, too: a message that waits for its processor stays pending.
 */
static void all_go_on(struct __test_metadata *_metadata, struct worker (*workers)[NR_KINDS],
		      bool at_home)
{
	unsigned int cpu, kind;
	uint32_t line;

	for (cpu = 0; cpu < NR_PINNED; cpu++) {
		for (kind = 0; kind < NR_KINDS; kind++) {
			struct worker *worker = &workers[cpu][kind];
			unsigned long done = atomic_load(&worker->done);
			unsigned long home = atomic_load(&worker->at_home);

			ASSERT_TRUE(WAIT_FOR(atomic_load(&worker->done) >= done + 10)) {
				TH_LOG("thread %u of processor %u does not go on", kind, cpu);
			}
			if (at_home)
				ASSERT_TRUE(WAIT_FOR(atomic_load(&worker->at_home) > home));
		}
	}
	for (line = 0; line < NR_PINNED * PER_CPU; line++) {
		uint64_t deliveries = line_of(_metadata, workers[0]->db, line).deliveries;

		ASSERT_TRUE(WAIT_FOR(line_of(_metadata, workers[0]->db, line).deliveries >
				     deliveries)) {
			TH_LOG("line %u does not go on", line);
		}
	}
}

TEST_F(hotplug, nothing_is_lost)
{
	const unsigned int trips = repeats(20, 8);
	unsigned int cpu, kind, trip;
	uint64_t rings;

	for (cpu = 0; cpu < NR_PINNED; cpu++) {
		for (kind = 0; kind < NR_KINDS; kind++)
			ASSERT_EQ(0, pthread_create(&self->workers[cpu][kind].thread, NULL, work,
						    &self->workers[cpu][kind]));
	}
	all_go_on(_metadata, self->workers, true);
	for (trip = 0; trip < trips; trip++) {
		ASSERT_TRUE(WAIT_FOR(set_online(false))) {
			TH_LOG("the processor does not go offline: %s", strerror(errno));
		}
		self->offline = true;
		all_go_on(_metadata, self->workers, false);
		ASSERT_TRUE(WAIT_FOR(set_online(true))) {
			TH_LOG("the processor does not come back: %s", strerror(errno));
		}
		self->offline = false;
		all_go_on(_metadata, self->workers, true);
	}
	atomic_store(&self->stop, true);
	for (cpu = 0; cpu < NR_PINNED; cpu++) {
		const struct worker *workers = self->workers[cpu];

		for (kind = 0; kind < NR_KINDS; kind++) {
			pthread_join(workers[kind].thread, NULL);
			EXPECT_EQ(0, workers[kind].wrong);
		}
		for (kind = 0; kind < 2; kind++) {
			const uint32_t line = cpu * PER_CPU + 2 * kind;
			struct doorbell_query first, second;

			rings = kind ? workers[ROUND_TRIP].done :
				workers[WRITE].done + workers[RING].done;
			first = settled(_metadata, self->db, line);
			EXPECT_EQ(rings, first.rings);
			second = settled(_metadata, self->db, line + 1);
			EXPECT_EQ(first.deliveries, second.rings);
			if (kind) {
				EXPECT_EQ(rings, second.deliveries);
				EXPECT_EQ(0, efd_count(self->out[cpu][kind]));
			} else {
				EXPECT_EQ(second.deliveries, efd_read(self->out[cpu][kind]));
			}
			ksft_print_msg("line %u: %llu rings, %llu deliveries\n", line,
				       (unsigned long long)first.rings,
				       (unsigned long long)first.deliveries);
		}
	}
}

TEST_HARNESS_MAIN
