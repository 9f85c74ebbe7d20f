// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits of the eventfds that a context keeps alive, and the calls that release those of
 * dead peers.
 */
#include "bus.h"
#include "rlimit.h"

#define PER_LINE	DOORBELL_MAX_TRIGGERS_PER_LINE
#define ADDR		0x1000ULL

/* Peers that are gone: their eventfds have no file any more. */
#define ALL	(DEASSIGN | DOORBELL_TRIGGER_FLAG_ALL)

FIXTURE(dead_peers) {
	int db;
	int efd;
};

FIXTURE_SETUP(dead_peers)
{
	self->db = new_context(_metadata, 2);
	self->efd = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(dead_peers)
{
}

TEST_F(dead_peers, triggers)
{
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, 1));
	for (i = 0; i < DOORBELL_MAX_TRIGGERS_PER_LINE; i++) {
		int efd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_trigger(self->db, efd, 0));
		close(efd);
	}
	ASSERT_EQ(-ENOSPC, doorbell_assign_trigger(self->db, self->efd, 0));
	ASSERT_EQ(DOORBELL_MAX_TRIGGERS_PER_LINE, doorbell_deassign_all_triggers(self->db, 0));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_triggers);
	EXPECT_EQ(1, info_of(_metadata, self->db).nr_triggers);
	EXPECT_EQ(0, doorbell_deassign_all_triggers(self->db, 0));

	/* Of that line only; and there is room again. */
	EXPECT_EQ(1, line_of(_metadata, self->db, 1).nr_triggers);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(2, efd_read(self->efd));

	/* An eventfd that has a file goes, too. */
	EXPECT_EQ(1, doorbell_deassign_all_triggers(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, efd_read(self->efd));
}

TEST_F(dead_peers, notifiers)
{
	int irqfd = new_eventfd(_metadata, 0, 0);
	int resamplefd = new_eventfd(_metadata, 0, 0);
	unsigned int i;

	ASSERT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_resampled(self->db, irqfd, 0, resamplefd));
	for (i = 0; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++) {
		int efd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_notifier(self->db, efd, 0, DOORBELL_NOTIFY_ACK));
		close(efd);
	}
	ASSERT_EQ(-ENOSPC, doorbell_assign_notifier(self->db, self->efd, 0, DOORBELL_NOTIFY_ACK));
	ASSERT_EQ(DOORBELL_MAX_NOTIFIERS_PER_LINE, doorbell_deassign_all_notifiers(self->db, 0));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_notifiers);
	EXPECT_EQ(0, info_of(_metadata, self->db).nr_notifiers);
	EXPECT_EQ(0, doorbell_deassign_all_notifiers(self->db, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->efd, 0, DOORBELL_NOTIFY_ACK));

	/* A resamplefd is not one of them. */
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_resamplefds);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(self->efd));
	EXPECT_EQ(1, efd_read(resamplefd));
}

TEST_F(dead_peers, errors)
{
	struct doorbell_notifier notifier = {
		.fd = -1, .flags = ALL, .events = DOORBELL_NOTIFY_ACK,
	};
	int fds[] = { 0, self->efd, self->db, -2, INT32_MAX };
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->efd, 0, DOORBELL_NOTIFY_ACK));
	/* An fd contradicts DOORBELL_TRIGGER_FLAG_ALL. */
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		EXPECT_EQ(-EINVAL, doorbell_trigger(self->db, fds[i], 0, ALL));
		EXPECT_EQ(-EINVAL, doorbell_notifier(self->db, fds[i], 0, ALL, 0));
	}
	/* ALL is for deassigning only, and the line must exist. */
	EXPECT_EQ(-EINVAL, doorbell_trigger(self->db, -1, 0, DOORBELL_TRIGGER_FLAG_ALL));
	EXPECT_EQ(-EINVAL, doorbell_notifier(self->db, -1, 0, DOORBELL_TRIGGER_FLAG_ALL,
					     DOORBELL_NOTIFY_ACK));
	EXPECT_EQ(-EINVAL, doorbell_ioctl(self->db, DOORBELL_NOTIFIER, &notifier));
	EXPECT_EQ(-ENXIO, doorbell_deassign_all_triggers(self->db, 2));
	EXPECT_EQ(-ENXIO, doorbell_deassign_all_notifiers(self->db, 2));
	/* Irqfds go by themselves; regions can be deassigned without an fd. */
	EXPECT_EQ(-EINVAL, doorbell_irqfd(self->db, -1, 0, ALL, 0));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_triggers);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_notifiers);
}

/* When the call has returned, none is signalled any more. */
TEST_F(dead_peers, is_a_barrier)
{
	struct hammer hammer = { .hit = hit_ring, .fd = self->db, .line = 0 };
	struct rounds rounds = ROUNDS(200, 5000);
	int efd[8];
	unsigned long round, late = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(efd); i++)
		efd[i] = new_eventfd(_metadata, 0, 0);
	hammer_start(_metadata, &hammer);
	for (round = 0; more_rounds(&rounds, round); round++) {
		for (i = 0; i < ARRAY_SIZE(efd); i++)
			ASSERT_EQ(0, doorbell_assign_trigger(self->db, efd[i], 0));
		dither(round);
		ASSERT_EQ(ARRAY_SIZE(efd), doorbell_deassign_all_triggers(self->db, 0));
		for (i = 0; i < ARRAY_SIZE(efd); i++)
			efd_drain(efd[i]);
		ASSERT_TRUE(hammer_passes(&hammer, 1));
		for (i = 0; i < ARRAY_SIZE(efd); i++)
			late += efd_read(efd[i]);
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, late);
}

/* Eventfds that a context keeps alive. */
FIXTURE(kept_alive) {
	int db[2];
	int efd[PER_LINE];
};

FIXTURE_SETUP(kept_alive)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(self->efd); i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
	for (i = 0; i < ARRAY_SIZE(self->db); i++)
		self->db[i] = new_context(_metadata, 0);
}

FIXTURE_TEARDOWN(kept_alive)
{
}

/*
 * Expects ENOSPC for each kind of assignment that keeps an eventfd alive, and success for
 * the others.
 */
#define EXPECT_FULL(db) do {						\
	const int __db = db;						\
	const int __irqfd = new_eventfd(_metadata, 0, 0);		\
	const struct doorbell_region __region = to_line(ADDR + 16, 4, 0); \
	const uint32_t __last = info_of(_metadata, __db).nr_lines - 1;	\
									\
	EXPECT_EQ(-ENOSPC, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(-ENOSPC, doorbell_assign_notifier(__db, self->efd[0], __last, \
						    DOORBELL_NOTIFY_ACK)); \
	EXPECT_EQ(-ENOSPC, change_region(__db, to_eventfd(ADDR, 4, self->efd[0]))); \
	EXPECT_EQ(-ENOSPC, doorbell_assign_resampled(__db, __irqfd, __last, self->efd[0])); \
	EXPECT_EQ(0, line_of(_metadata, __db, __last).nr_irqfds);	\
	EXPECT_EQ(0, line_of(_metadata, __db, __last).nr_resamplefds);	\
	EXPECT_EQ(0, doorbell_assign_irqfd(__db, __irqfd, __last));	\
	EXPECT_EQ(0, change_region(__db, __region));			\
	EXPECT_EQ(0, change_region(__db, without(__region)));		\
	EXPECT_EQ(0, doorbell_deassign_irqfd(__db, __irqfd, __last));	\
	close(__irqfd);							\
} while (0)

/* There is room for one more of each kind, one at a time. */
#define EXPECT_ONE_MORE(db) do {					\
	const int __db = db;						\
	const int __irqfd = new_eventfd(_metadata, 0, 0);		\
	const struct doorbell_region __region = to_eventfd(ADDR, 4, self->efd[0]); \
	const uint32_t __last = info_of(_metadata, __db).nr_lines - 1;	\
									\
	/* A level line cannot count: a failure gives back what it has reserved. */ \
	EXPECT_EQ(-EOPNOTSUPP, doorbell_assign_counting_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(-EEXIST, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_deassign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_assign_notifier(__db, self->efd[0], __last, DOORBELL_NOTIFY_ACK)); \
	EXPECT_EQ(0, doorbell_deassign_notifier(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_assign_notifier(__db, self->efd[0], __last, DOORBELL_NOTIFY_ACK)); \
	EXPECT_EQ(1, doorbell_deassign_all_notifiers(__db, __last));	\
	EXPECT_EQ(0, change_region(__db, __region));			\
	EXPECT_EQ(0, change_region(__db, without(__region)));		\
	EXPECT_EQ(0, doorbell_assign_resampled(__db, __irqfd, __last, self->efd[0])); \
	EXPECT_EQ(-ENOSPC, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_deassign_irqfd(__db, __irqfd, __last));	\
	close(__irqfd);							\
} while (0)

/* A context has a maximum, for any user. */
TEST_F(kept_alive, per_context)
{
	const uint32_t nr_lines = DOORBELL_MAX_EVENTFDS / PER_LINE + 1;
	const int db = self->db[0];
	unsigned int i, j;

	ASSERT_EQ(0, doorbell_set_lines(db, nr_lines));
	ASSERT_EQ(0, doorbell_set_type(db, nr_lines - 1, DOORBELL_TYPE_LEVEL));
	for (i = 0; i < nr_lines - 1; i++)
		for (j = 0; j < PER_LINE; j++)
			ASSERT_EQ(0, doorbell_assign_trigger(db, self->efd[j], i));
	EXPECT_FULL(db);
	EXPECT_EQ(DOORBELL_MAX_EVENTFDS, info_of(_metadata, db).nr_triggers);
	ASSERT_EQ(0, doorbell_deassign_trigger(db, self->efd[0], 0));
	EXPECT_ONE_MORE(db);
	ASSERT_EQ(0, doorbell_assign_trigger(db, self->efd[0], 0));
	EXPECT_FULL(db);
	ASSERT_EQ(PER_LINE, doorbell_deassign_all_triggers(db, 7));
	for (j = 0; j < PER_LINE; j++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, self->efd[j], 7));
	EXPECT_FULL(db);
	/* The other errors come before ENOSPC. */
	EXPECT_EQ(-EEXIST, doorbell_assign_trigger(db, self->efd[0], 7));
}

/* A user without CAP_IPC_LOCK has a maximum for all contexts: RLIMIT_MEMLOCK. */
TEST_F(kept_alive, per_user)
{
	/* Each counts as 64 bytes. */
	const unsigned int per_page = sysconf(_SC_PAGESIZE) / 64;
	const uint32_t nr_lines = 2 * per_page / PER_LINE + 2;
	unsigned int i;

	ASSERT_EQ(0, set_rlimit(RLIMIT_MEMLOCK, 3 * sysconf(_SC_PAGESIZE)));
	ASSERT_EQ(0, setresuid(54321, 54321, 54321));
	for (i = 0; i < ARRAY_SIZE(self->db); i++) {
		ASSERT_EQ(0, doorbell_set_lines(self->db[i], nr_lines));
		ASSERT_EQ(0, doorbell_set_type(self->db[i], nr_lines - 1, DOORBELL_TYPE_LEVEL));
	}
	/* Each context has whole pages: one, and two. */
	for (i = 0; i < per_page; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db[0], self->efd[i % PER_LINE],
						     i / PER_LINE));
	for (i = 0; i < 2 * per_page; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db[1], self->efd[i % PER_LINE],
						     i / PER_LINE));
	EXPECT_FULL(self->db[0]);
	EXPECT_FULL(self->db[1]);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db[1], self->efd[0], 0));
	EXPECT_FULL(self->db[0]);
	EXPECT_ONE_MORE(self->db[1]);

	ASSERT_EQ(0, doorbell_assign_trigger(self->db[1], self->efd[0], 0));

	/* A page of eventfds that a context gives back is for another one. */
	for (i = 0; i < per_page / PER_LINE; i++)
		ASSERT_EQ(PER_LINE, doorbell_deassign_all_triggers(self->db[1], i));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db[0], self->efd[0], nr_lines - 1));
	EXPECT_EQ(-ENOSPC, doorbell_assign_trigger(self->db[1], self->efd[0], 0));
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db[0], self->efd[0], nr_lines - 1));
	for (i = 0; i < per_page; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db[1], self->efd[i % PER_LINE],
						     i / PER_LINE));
	EXPECT_FULL(self->db[0]);

	/* Closing a context gives its share back. */
	close(self->db[0]);
	for (i = 0; i < per_page; i++)
		ASSERT_EQ(0, doorbell_assign_notifier(self->db[1], self->efd[i % PER_LINE],
						      i / PER_LINE, DOORBELL_NOTIFY_ACK));
	EXPECT_FULL(self->db[1]);
}

TEST_HARNESS_MAIN
