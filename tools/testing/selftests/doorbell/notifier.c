// SPDX-License-Identifier: GPL-2.0-only
/* Notifiers: one signal for each transition, after it is made; their lifetimes and barriers. */
#include <limits.h>

#include "doorbell_test.h"

#define MASK	DOORBELL_NOTIFY_MASK
#define UNMASK	DOORBELL_NOTIFY_UNMASK
#define ACK	DOORBELL_NOTIFY_ACK

FIXTURE(notifier) {
	int kmsg;
	int db;
	int out;
	int masks;
	int unmasks;
	int both;
};

FIXTURE_SETUP(notifier)
{
	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 3);
	self->out = new_eventfd(_metadata, 0, 0);
	self->masks = new_eventfd(_metadata, 0, 0);
	self->unmasks = new_eventfd(_metadata, 0, 0);
	self->both = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->masks, 0, MASK));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->unmasks, 0, UNMASK));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->both, 0, MASK | UNMASK));
}

FIXTURE_TEARDOWN(notifier)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Expects the number of signals of each since the last time. */
#define EXPECT_TOLD(nr_masks, nr_unmasks) do {				\
	const uint64_t __masks = nr_masks, __unmasks = nr_unmasks;	\
									\
	EXPECT_EQ(__masks, efd_read(self->masks));			\
	EXPECT_EQ(__unmasks, efd_read(self->unmasks));			\
	EXPECT_EQ(__masks + __unmasks, efd_read(self->both));		\
} while (0)

TEST_F(notifier, once_per_transition)
{
	/* Assigning is no event, in any state. */
	EXPECT_TOLD(0, 0);
	EXPECT_EQ(3, line_of(_metadata, self->db, 0).nr_notifiers);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_triggers);
	EXPECT_EQ(3, info_of(_metadata, self->db).nr_notifiers);

	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_TOLD(0, 0);
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_TOLD(1, 0);
	EXPECT_EQ(0, doorbell_mask(self->db, 0));
	EXPECT_TOLD(0, 0);
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_TOLD(0, 1);
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_TOLD(0, 0);

	/* Rings, deliveries and dropped messages are no transitions. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_TOLD(0, 0);
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_TOLD(1, 0);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_pending(self->db, 0));
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_TOLD(0, 0);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_TOLD(0, 1);
	EXPECT_EQ(2, efd_read(self->out));
	/* Other lines' transitions do not count. */
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	EXPECT_EQ(0, doorbell_unmask(self->db, 1));
	EXPECT_TOLD(0, 0);
	/* Notifiers are signalled; they ring nothing. */
	EXPECT_EQ(3, line_of(_metadata, self->db, 0).rings);
}

/* Assigning to a masked line is no event, but the unmask is one. */
TEST_F(notifier, assigned_while_masked)
{
	int late = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, late, 0, MASK | UNMASK));
	EXPECT_EQ(0, efd_count(late));
	EXPECT_EQ(0, efd_count(self->out));
	EXPECT_EQ(1, doorbell_pending(self->db, 0));
	ASSERT_EQ(0, doorbell_deassign_notifier(self->db, self->unmasks, 0));
	EXPECT_EQ(1, doorbell_pending(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(late));
	EXPECT_EQ(0, efd_count(self->unmasks));
	EXPECT_EQ(1, efd_read(self->out));
}

/* One eventfd for many lines: one signal for each line that changed. */
TEST_F(notifier, sets)
{
	const uint32_t nr = 100;
	int db = new_context(_metadata, nr);
	uint64_t some[2] = { 0x5555555555555555ULL, 1 };
	uint32_t i;

	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, doorbell_assign_notifier(db, self->masks, i, MASK));
	EXPECT_EQ(nr, info_of(_metadata, db).nr_notifiers);
	EXPECT_EQ(33, doorbell_line_set(db, DOORBELL_MASK, 10, 65, some, NULL));
	EXPECT_EQ(33, efd_read(self->masks));
	EXPECT_EQ(nr - 33, doorbell_line_set(db, DOORBELL_MASK, 0, nr, NULL, NULL));
	EXPECT_EQ(nr - 33, efd_read(self->masks));
	EXPECT_EQ(0, doorbell_line_set(db, DOORBELL_MASK, 0, nr, NULL, NULL));
	EXPECT_EQ(0, doorbell_line_set(db, DOORBELL_UNMASK, 0, nr, NULL, NULL));
	EXPECT_EQ(0, efd_read(self->masks));
	EXPECT_EQ(0, efd_read(self->both));
	/* Deassigning from one line leaves the other lines. */
	ASSERT_EQ(0, doorbell_deassign_notifier(db, self->masks, 7));
	EXPECT_EQ(nr, doorbell_line_set(db, DOORBELL_MASK, 0, nr, NULL, NULL));
	EXPECT_EQ(nr - 1, efd_read(self->masks));
}

struct watcher {
	const struct doorbell_line_status *status;
	/* Notifiers of masks, unmasks and acks, and the state that each implies. */
	int fd[3];
	uint32_t bit[3];
	uint32_t value[3];
	atomic_bool stop;
	unsigned int wrong;
	atomic_uint seen;
	pthread_t thread;
};

static void *watch(void *arg)
{
	struct watcher *watcher = arg;
	unsigned int i;

	pin_to(1);
	while (!atomic_load(&watcher->stop)) {
		for (i = 0; i < ARRAY_SIZE(watcher->fd); i++) {
			if (!efd_read(watcher->fd[i]))
				continue;
			watcher->wrong += (status_state(watcher->status) & watcher->bit[i]) !=
					  watcher->value[i];
			atomic_fetch_add(&watcher->seen, 1);
		}
	}
	return NULL;
}

/*
 * A thread on another processor that is notified finds the transition made. Its eventfds
 * are the first of the maximum number of notifiers.
 */
TEST_F(notifier, told_after_the_transition)
{
	struct watcher watcher = {
		.status = map_status(_metadata, self->db) + 1,
		.bit = { DOORBELL_LINE_MASKED, DOORBELL_LINE_MASKED, DOORBELL_LINE_ASSERTED },
		.value = { DOORBELL_LINE_MASKED, 0, 0 },
	};
	struct rounds race = ROUNDS(30, 5000);
	unsigned int rounds, notified = 0;
	int i;

	ASSERT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_LEVEL));
	for (i = 0; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++) {
		int fd = new_eventfd(_metadata, 0, 0);

		if (i < 3)
			watcher.fd[i] = fd;
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, fd, 1,
						      i < 3 ? 1 << i : MASK | UNMASK | ACK));
	}
	ASSERT_EQ(0, pthread_create(&watcher.thread, NULL, watch, &watcher));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
		ASSERT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, 1));
		notified++;
		ASSERT_TRUE(SPIN_FOR(atomic_load(&watcher.seen) == notified));
		ASSERT_EQ(1, doorbell_mask(self->db, 1));
		notified++;
		ASSERT_TRUE(SPIN_FOR(atomic_load(&watcher.seen) == notified));
		ASSERT_EQ(0, doorbell_unmask(self->db, 1));
		notified++;
		ASSERT_TRUE(SPIN_FOR(atomic_load(&watcher.seen) == notified));
	}
	atomic_store(&watcher.stop, true);
	pthread_join(watcher.thread, NULL);
	EXPECT_EQ(0, watcher.wrong);
}

static void hit_mask(struct hammer *hammer)
{
	doorbell_mask(hammer->fd, hammer->line);
	doorbell_unmask(hammer->fd, hammer->line);
}

/* While another processor masks and unmasks, a deassign is a barrier. */
TEST_F(notifier, deassign_is_a_barrier)
{
	struct hammer hammer = { .hit = hit_mask, .fd = self->db, .line = 1 };
	int victim = new_eventfd(_metadata, 0, 0), i;
	unsigned int rounds, late = 0, signalled = 0;
	struct rounds race = ROUNDS(30, 5000);

	/* The last of many, which exposes a missing barrier. */
	for (i = 1; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++)
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, new_eventfd(_metadata, 0, 0), 1,
						      MASK | UNMASK));
	hammer_start(_metadata, &hammer);
	ASSERT_TRUE(hammer_passes(&hammer, 10));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, victim, 1, 1 + rounds % 3));
		if (rounds % 2)
			ASSERT_EQ(POLLIN, efd_await(victim, POLLIN));
		dither(rounds);
		ASSERT_EQ(0, doorbell_deassign_notifier(self->db, victim, 1));
		signalled += !!efd_read(victim);
		ASSERT_TRUE(hammer_passes(&hammer, 2));
		late += !!efd_read(victim);
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, late);
	EXPECT_LE(rounds / 2, signalled);
}

struct masker {
	int db;
	unsigned int cpu;
	atomic_bool *stop;
	atomic_ulong rounds;
	atomic_ulong masked;
	pthread_t thread;
};

static void *mask_on(void *arg)
{
	struct masker *masker = arg;

	pin_to(masker->cpu);
	while (!atomic_load(masker->stop)) {
		masker->masked += doorbell_mask(masker->db, 0) == 1;
		doorbell_unmask(masker->db, 0);
		atomic_fetch_add(&masker->rounds, 1);
	}
	return NULL;
}

/* Several threads mask and unmask at once: each transition is notified exactly once. */
TEST_F(notifier, transitions_add_up)
{
	struct rounds race = ROUNDS(100, 50000);
	unsigned long masked = 0, least;
	struct masker maskers[3];
	atomic_bool stop = false;
	unsigned int i;
	bool last;

	for (i = 0; i < ARRAY_SIZE(maskers); i++) {
		maskers[i] = (struct masker){ .db = self->db, .cpu = i, .stop = &stop };
		ASSERT_EQ(0, pthread_create(&maskers[i].thread, NULL, mask_on, &maskers[i]));
	}
	do {
		usleep(1000);
		least = ULONG_MAX;
		for (i = 0; i < ARRAY_SIZE(maskers); i++) {
			if (atomic_load(&maskers[i].rounds) < least)
				least = atomic_load(&maskers[i].rounds);
		}
	} while (more_rounds(&race, least));
	atomic_store(&stop, true);
	for (i = 0; i < ARRAY_SIZE(maskers); i++) {
		pthread_join(maskers[i].thread, NULL);
		masked += maskers[i].masked;
	}
	last = line_of(_metadata, self->db, 0).state & DOORBELL_LINE_MASKED;
	EXPECT_FALSE(last);
	EXPECT_LE(100, least);
	EXPECT_LT(0, masked);
	EXPECT_TOLD(masked, masked);
}

TEST_F(notifier, errors)
{
	const uint32_t deassign = DEASSIGN;
	int fresh = new_eventfd(_metadata, 0, 0), i;
	int many[DOORBELL_MAX_NOTIFIERS_PER_LINE];

	/* The same eventfd again, with any events, and by another fd. */
	EXPECT_EQ(-EEXIST, doorbell_assign_notifier(self->db, self->masks, 0, MASK));
	EXPECT_EQ(-EEXIST, doorbell_assign_notifier(self->db, self->masks, 0, UNMASK));
	EXPECT_EQ(-EEXIST, doorbell_assign_notifier(self->db, dup(self->masks), 0, MASK));
	EXPECT_EQ(-ENOENT, doorbell_notifier(self->db, fresh, 0, deassign, 0));
	EXPECT_EQ(-ENOENT, doorbell_notifier(self->db, self->masks, 1, deassign, 0));
	/* A trigger is no notifier, and a notifier no trigger. */
	EXPECT_EQ(-ENOENT, doorbell_notifier(self->db, self->out, 0, deassign, 0));
	EXPECT_EQ(-ENOENT, doorbell_trigger(self->db, self->masks, 0, deassign));
	EXPECT_EQ(-EINVAL, doorbell_assign_notifier(self->db, fresh, 0, 0));
	EXPECT_EQ(-EINVAL, doorbell_notifier(self->db, self->masks, 0, deassign, MASK));
	EXPECT_EQ(-EBADF, doorbell_assign_notifier(self->db, -1, 0, MASK));
	EXPECT_EQ(-ENXIO, doorbell_assign_notifier(self->db, fresh, 3, MASK));
	EXPECT_EQ(3, info_of(_metadata, self->db).nr_notifiers);

	for (i = 0; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++) {
		many[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, many[i], 1, MASK));
	}
	EXPECT_EQ(-ENOSPC, doorbell_assign_notifier(self->db, fresh, 1, MASK));
	EXPECT_EQ(-EEXIST, doorbell_assign_notifier(self->db, many[0], 1, MASK));
	EXPECT_EQ(DOORBELL_MAX_NOTIFIERS_PER_LINE, line_of(_metadata, self->db, 1).nr_notifiers);
	/* Triggers have a limit of their own. */
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, fresh, 1));
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	for (i = 0; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++)
		EXPECT_EQ(1, efd_read(many[i]));
	EXPECT_EQ(0, efd_count(fresh));
	ASSERT_EQ(0, doorbell_notifier(self->db, many[9], 1, deassign, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, fresh, 1, UNMASK));
	EXPECT_EQ(0, doorbell_unmask(self->db, 1));
	EXPECT_EQ(1, efd_read(fresh));
	EXPECT_EQ(0, efd_count(many[9]));
	EXPECT_TOLD(0, 0);
}

/* The test keeps a copy of the fd, which the module never saw. */
TEST_F(notifier, outlives_its_fd)
{
	int late = new_eventfd(_metadata, 0, 0), copy = dup(late);

	ASSERT_LE(0, copy);
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, late, 1, MASK | UNMASK));
	close(late);
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	EXPECT_EQ(1, efd_read(copy));
	close(copy);
	/* The eventfd has no fd, but is still assigned. */
	EXPECT_EQ(0, doorbell_unmask(self->db, 1));
	EXPECT_EQ(1, line_of(_metadata, self->db, 1).nr_notifiers);
}

/* The same eventfd as both: its counter is the sum. */
TEST_F(notifier, trigger_too)
{
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->both, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->both));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, efd_count(self->both));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(2, efd_read(self->both));
	ASSERT_EQ(0, doorbell_deassign_notifier(self->db, self->both, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->both));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->both));
}

/* A mask that rings the masked line, and an unmask that rings its line. */
TEST_F(notifier, rings_its_own_line)
{
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->masks, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(VECTOR_MASKED | DOORBELL_LINE_PENDING,
		  line_of(_metadata, self->db, 0).state);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);
	EXPECT_EQ(0, efd_count(self->out));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->masks, 0));

	EXPECT_EQ(1, efd_read(self->unmasks));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->unmasks, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_pending(self->db, 0));
	/* The masked line held the ring; the unmask delivered it, and so is its own ring. */
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(2, settled(_metadata, self->db, 0).rings);
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).rings == 4));
	EXPECT_EQ(4, settled(_metadata, self->db, 0).deliveries);
	EXPECT_EQ(2, efd_drain(self->out));
}

/* A mask that rings another line, which may be masked, too. */
TEST_F(notifier, rings_another_line)
{
	int other = new_context(_metadata, 1), out = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(other, self->masks, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(other, out, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	ASSERT_EQ(1, efd_wait(out));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(other, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(1, doorbell_pending(other, 0));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, doorbell_unmask(other, 0));
	EXPECT_EQ(1, efd_read(out));
}

/* Returns true if the id is free, because the next eventfd gets it. */
static bool is_free(long id)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	bool free = efd_id(fd) == id;

	close(fd);
	return free;
}

/* An eventfd lives exactly as long as the module refers to it. */
TEST_F(notifier, keeps_and_gives_back)
{
	int db = new_context(_metadata, 1), fd, copy;
	long id;

	fd = new_eventfd(_metadata, 0, 0);
	id = efd_id(fd);
	if (id < 0)
		SKIP(return, "this kernel's fdinfo has no eventfd-id");
	close(fd);
	if (!is_free(id))
		SKIP(return, "other eventfds come and go on this machine");

	fd = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(id, efd_id(fd));
	ASSERT_EQ(0, doorbell_assign_notifier(db, fd, 0, MASK));
	copy = dup(fd);
	close(fd);
	ASSERT_EQ(0, doorbell_deassign_notifier(db, copy, 0));
	close(copy);
	ASSERT_TRUE(WAIT_FOR(is_free(id)));

	/* An assignment that fails keeps nothing. */
	fd = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(id, efd_id(fd));
	ASSERT_EQ(0, doorbell_assign_notifier(db, fd, 0, MASK));
	EXPECT_EQ(-EEXIST, doorbell_assign_notifier(db, fd, 0, MASK));
	EXPECT_EQ(-ENXIO, doorbell_assign_notifier(db, fd, 1, MASK));
	EXPECT_EQ(-ENOENT, doorbell_deassign_trigger(db, fd, 0));
	close(fd);
	EXPECT_FALSE(is_free(id));

	/* Closing the context ends all its references, masked or not. */
	EXPECT_EQ(1, doorbell_mask(db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 0));
	close(db);
	ASSERT_TRUE(WAIT_FOR(is_free(id)));
}

/* A masked line ends with its context: that is no unmask and signals no notifier. */
TEST_F(notifier, context_closes)
{
	unsigned int round;

	for (round = 0; round < 50; round++) {
		int db = new_context(_metadata, 2), tell = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_notifier(db, tell, 0, MASK | UNMASK));
		ASSERT_EQ(0, doorbell_assign_notifier(db, tell, 1, MASK | UNMASK));
		EXPECT_EQ(2, doorbell_line_set(db, DOORBELL_MASK, 0, 2, NULL, NULL));
		EXPECT_EQ(2, efd_read(tell));
		close(db);
		/* Closing unmasks nothing. */
		EXPECT_EQ(0, efd_count(tell));
		close(tell);
	}
}

TEST_HARNESS_MAIN
