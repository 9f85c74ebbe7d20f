// SPDX-License-Identifier: GPL-2.0-only
/*
 * The callbacks of the in-kernel API, as triggers and as notifiers: the number of calls,
 * their context, one at a time; and that a callback is not called after it is deassigned.
 * The functions that a callback may call are in capi_nested.c.
 */
#include "capi_callback.h"

FIXTURE(callback) {
	struct capi c;
};

FIXTURE_SETUP(callback)
{
	capi_setup(_metadata, &self->c);
	if (self->c.test < 0)
		SKIP(return, "%s: %s; load doorbell_test.ko", TEST_DEVICE, strerror(errno));
	ASSERT_EQ(1, get_ctx(&self->c, self->c.db));
}

FIXTURE_TEARDOWN(callback)
{
	capi_teardown(_metadata, &self->c);
}

TEST_F(callback, trigger_errors)
{
	struct capi *c = &self->c;
	int i;

	EXPECT_EQ(-EINVAL, add_trigger(c, 0, TEST_NULL));
	EXPECT_EQ(-EINVAL, add_trigger(c, 0, TEST_EMPTY));
	EXPECT_EQ(-ENOENT, del_trigger(c, 0, TEST_NULL));
	EXPECT_EQ(-ENOENT, del_trigger(c, 0, TEST_EMPTY));
	EXPECT_EQ(-ENOENT, del_trigger(c, 0, 0));
	EXPECT_EQ(0, add_trigger(c, 0, 0));
	EXPECT_EQ(-EEXIST, add_trigger(c, 0, 0));
	EXPECT_EQ(-ENOENT, del_trigger(c, 1, 0));
	EXPECT_EQ(-ENOENT, del_trigger(c, 0, 1));
	EXPECT_EQ(-ENOENT, del_notifier(c, 0, 0));
	EXPECT_EQ(2, line_of(_metadata, c->db, 0).nr_triggers);
	EXPECT_EQ(0, del_trigger(c, 0, 0));
	EXPECT_EQ(-ENOENT, del_trigger(c, 0, 0));
	EXPECT_EQ(0, seen_by(_metadata, c, 0).calls);

	/* One place is taken by the eventfd. */
	for (i = 0; i < DOORBELL_MAX_TRIGGERS_PER_LINE - 1; i++)
		ASSERT_EQ(0, add_trigger(c, 0, i));
	EXPECT_EQ(-ENOSPC, add_trigger(c, 0, i));
	EXPECT_EQ(-EEXIST, add_trigger(c, 0, 0));
	EXPECT_EQ(DOORBELL_MAX_TRIGGERS_PER_LINE, line_of(_metadata, c->db, 0).nr_triggers);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	for (i = 0; i < DOORBELL_MAX_TRIGGERS_PER_LINE - 1; i++)
		EXPECT_EQ(1, seen_by(_metadata, c, i).by_event[0]);
	EXPECT_EQ(0, seen_by(_metadata, c, i).calls);
	EXPECT_EQ(1, efd_read(c->out));
}

TEST_F(callback, notifier_errors)
{
	struct capi *c = &self->c;
	int i;

	EXPECT_EQ(-EINVAL, add_notifier(c, 0, MASK, TEST_NULL));
	EXPECT_EQ(-EINVAL, add_notifier(c, 0, MASK, TEST_EMPTY));
	EXPECT_EQ(-EINVAL, add_notifier(c, 0, 0, 0));
	for (i = 3; i < 32; i++) {
		EXPECT_EQ(-EINVAL, add_notifier(c, 0, 1U << i, 0));
		EXPECT_EQ(-EINVAL, add_notifier(c, 0, 1U << i | ALL, 0));
	}
	EXPECT_EQ(-ENOENT, del_notifier(c, 0, 0));
	EXPECT_EQ(-ENOENT, del_notifier(c, 0, TEST_NULL));
	EXPECT_EQ(0, add_notifier(c, 0, MASK, 0));
	EXPECT_EQ(-EEXIST, add_notifier(c, 0, UNMASK, 0));
	EXPECT_EQ(-ENOENT, del_notifier(c, 1, 0));
	EXPECT_EQ(-ENOENT, del_notifier(c, 0, 1));
	EXPECT_EQ(-ENOENT, del_trigger(c, 0, 0));
	EXPECT_EQ(1, line_of(_metadata, c->db, 0).nr_notifiers);
	EXPECT_EQ(0, del_notifier(c, 0, 0));
	EXPECT_EQ(-ENOENT, del_notifier(c, 0, 0));

	for (i = 0; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++)
		ASSERT_EQ(0, add_notifier(c, 0, UNMASK, i));
	EXPECT_EQ(-ENOSPC, add_notifier(c, 0, UNMASK, i));
	EXPECT_EQ(1, doorbell_mask(c->db, 0));
	EXPECT_EQ(0, doorbell_unmask(c->db, 0));
	for (i = 0; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++)
		EXPECT_EQ(1, seen_by(_metadata, c, i).by_event[2]);
}

/* A trigger is called once per delivery, from any context of the ring, with preemption off. */
TEST_F(callback, trigger_is_called)
{
	const uint32_t where[] = {
		TEST_IN_TASK, TEST_IN_TASK, TEST_IN_SOFTIRQ, TEST_IN_HARDIRQ, TEST_IN_HARDIRQ,
		TEST_IN_WORKER, TEST_IN_WORKER,
	};
	struct capi *c = &self->c;
	struct test_seen seen;
	int from, i;

	for (from = 0; from < TEST_FROM_NR; from++) {
		plan(_metadata, c, &(struct test_plan){ });
		ASSERT_EQ(0, add_trigger(c, 0, 0));
		for (i = 1; i <= 10; i++) {
			EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, from, TEST_RING, 0, 0));
			ASSERT_TRUE(WAIT_FOR(seen_by(_metadata, c, 0).calls == i));
		}
		EXPECT_EQ(0, del_trigger(c, 0, 0));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
		seen = seen_by(_metadata, c, 0);
		EXPECT_EQ(10, seen.by_event[0]);
		EXPECT_EQ(10, seen.calls);
		EXPECT_EQ(0, seen.unexpected);
		EXPECT_EQ(0, seen.contexts & TEST_IN_EVENTFD);
		/* On PREEMPT_RT the call is preemptible, and may come from another context. */
		if (!(seen.contexts & TEST_PREEMPTIBLE))
			EXPECT_EQ(where[from], seen.contexts);
	}
}

/*
 * A notifier is called in the context of the call that made the transition. No lock is held
 * and preemption is on.
 */
TEST_F(callback, notifier_is_called)
{
	struct capi *c = &self->c;
	struct test_seen seen;
	uint32_t i;

	for (i = 0; i < 4; i++) {
		static const uint32_t events[] = { MASK, UNMASK, ACK, ALL };

		ASSERT_EQ(0, add_notifier(c, 1, events[i], i));
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 1));
		ASSERT_EQ(DOORBELL_ACK_DONE, i ? doorbell_ack(c->db, 1) : call(c, TEST_ACK, 1));
		ASSERT_EQ(1, i ? doorbell_mask(c->db, 1) : call(c, TEST_MASK, 1));
		ASSERT_EQ(0, i ? doorbell_mask(c->db, 1) : call(c, TEST_MASK_NOSYNC, 1));
		ASSERT_EQ(DOORBELL_RING_MASKED, call(c, TEST_RING, 1));
		ASSERT_EQ(1, i ? doorbell_clear(c->db, 1) : call(c, TEST_CLEAR, 1));
		ASSERT_EQ(0, i ? doorbell_unmask(c->db, 1) : call(c, TEST_UNMASK, 1));
	}
	for (i = 0; i < 4; i++) {
		seen = seen_by(_metadata, c, i);
		EXPECT_EQ(0, seen.by_event[0]);
		EXPECT_EQ(i == 0 || i == 3 ? 2 : 0, seen.by_event[1]);
		EXPECT_EQ(i == 1 || i == 3 ? 2 : 0, seen.by_event[2]);
		EXPECT_EQ(i == 2 || i == 3 ? 2 : 0, seen.by_event[3]);
		EXPECT_EQ(0, seen.unexpected);
		EXPECT_EQ(TEST_IN_TASK | TEST_PREEMPTIBLE, seen.contexts);
	}
	/* A mask in an interrupt calls its notifier in that interrupt. */
	ASSERT_EQ(0, del_notifier(c, 1, 3));
	plan(_metadata, c, &(struct test_plan){ .callback = 3 });
	ASSERT_EQ(0, add_notifier(c, 1, ALL, 3));
	if (call_from(c, TEST_FROM_HARDIRQ, TEST_MASK_NOSYNC, 1, 0) == 1)
		EXPECT_EQ(TEST_IN_HARDIRQ, seen_by(_metadata, c, 3).contexts);
}

/* Two processors ring, one of them by an irqfd, and a third thread masks. */
static void *ring_on(void *arg)
{
	struct hammer *hammer = arg;

	while (!atomic_load(&hammer->stop)) {
		efd_write(hammer->fd, 1);
		atomic_fetch_add(&hammer->done, 1);
	}
	return NULL;
}

static void *mask_on(void *arg)
{
	struct hammer *hammer = arg;

	while (!atomic_load(&hammer->stop)) {
		doorbell_mask(hammer->fd, 0);
		doorbell_unmask(hammer->fd, 0);
		atomic_fetch_add(&hammer->done, 1);
	}
	return NULL;
}

static bool both_ran(struct hammer *one, struct hammer *other)
{
	return atomic_load(&one->done) >= 100 && atomic_load(&other->done) >= 100;
}

TEST_F(callback, one_at_a_time)
{
	int in = new_eventfd(_metadata, 0, 0);
	struct hammer writer = { .fd = in }, masker = { .fd = self->c.db };
	struct rounds race = ROUNDS(30, 5000);
	struct capi *c = &self->c;
	struct test_seen seen;
	unsigned int rounds;

	plan(_metadata, c, &(struct test_plan){ .spin_us = 50 });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, in, 0));
	ASSERT_EQ(0, pthread_create(&writer.thread, NULL, ring_on, &writer));
	ASSERT_EQ(0, pthread_create(&masker.thread, NULL, mask_on, &masker));
	for (rounds = 0; more_rounds(&race, rounds) || lacks(&race, !both_ran(&writer, &masker));
	     rounds++)
		call_from(c, rounds % TEST_FROM_NR, TEST_RING, 0, 0);
	hammer_stop(&writer);
	hammer_stop(&masker);
	doorbell_unmask(c->db, 0);
	settled(_metadata, c->db, 0);
	EXPECT_EQ(0, del_trigger(c, 0, 0));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(1, seen.concurrent);
	EXPECT_EQ(0, seen.unexpected);
	EXPECT_EQ(line_of(_metadata, c->db, 0).deliveries, seen.by_event[0]);
	EXPECT_EQ(seen.by_event[0], efd_read(c->out));
}

/* Reads the context's fdinfo. */
static void read_fdinfo(struct __test_metadata *_metadata, int db)
{
	char path[40], text[1024];
	int fdinfo;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", db);
	fdinfo = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fdinfo);
	ASSERT_LT(0, read(fdinfo, text, sizeof(text)));
	close(fdinfo);
}

/* A thread that reads the state of a busy line does none of the line's work. */
TEST_F(callback, status_reads_do_not_deliver)
{
	int in = new_eventfd(_metadata, 0, 0);
	struct hammer ring = { .fd = self->c.db, .hit = hit_ring };
	struct hammer writer = { .fd = in };
	struct rounds race = ROUNDS(100, 100000);
	struct capi *c = &self->c;
	struct doorbell_query query;
	struct test_seen seen;
	unsigned int rounds;

	/* The line is owned most of the time, and rung meanwhile. */
	plan(_metadata, c, &(struct test_plan){ .spin_us = 5 });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, in, 0));
	hammer_start(_metadata, &ring);
	ASSERT_EQ(0, pthread_create(&writer.thread, NULL, ring_on, &writer));
	for (rounds = 0; more_rounds(&race, rounds) || lacks(&race, !both_ran(&ring, &writer));
	     rounds++) {
		if (rounds % 8) {
			query = line_of(_metadata, c->db, 0);
			ASSERT_LE(query.deliveries, query.rings);
		} else {
			read_fdinfo(_metadata, c->db);
		}
	}
	hammer_stop(&ring);
	hammer_stop(&writer);
	query = settled(_metadata, c->db, 0);
	EXPECT_EQ(0, del_trigger(c, 0, 0));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(0, seen.by_planner);
	EXPECT_EQ(1, seen.concurrent);
	EXPECT_EQ(query.deliveries, seen.by_event[0]);
}

/* For the hammer, whose structure has no room for it. */
static struct capi *hammered;

static void hit_call_ring(struct hammer *hammer)
{
	call(hammered, TEST_RING, hammer->line);
}

static void hit_transitions(struct hammer *hammer)
{
	call(hammered, TEST_MASK_NOSYNC, hammer->line);
	call(hammered, TEST_RING, hammer->line);
	call(hammered, TEST_UNMASK, hammer->line);
	call(hammered, TEST_ACK, hammer->line);
}

static void barrier(struct __test_metadata *_metadata, struct capi *c, bool trigger)
{
	struct hammer hammer = { .hit = trigger ? hit_call_ring : hit_transitions, .line = 1 };
	unsigned int rounds, late = 0, called = 0, unexpected = 0;
	struct rounds race = ROUNDS(30, 5000);

	hammered = c;
	/* The call takes long, which exposes a missing barrier. */
	plan(_metadata, c, &(struct test_plan){ .spin_us = 20 });
	if (trigger)
		hammer.line = 0;
	hammer_start(_metadata, &hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		struct test_seen before = seen_by(_metadata, c, 0), after;

		ASSERT_EQ(0, trigger ? add_trigger(c, 0, 0) : add_notifier(c, 1, ALL, 0));
		if (rounds % 2)
			ASSERT_TRUE(SPIN_FOR(seen_by(_metadata, c, 0).calls != before.calls));
		dither(rounds);
		late += trigger ? del_trigger(c, 0, 0) : del_notifier(c, 1, 0);
		before = seen_by(_metadata, c, 0);
		ASSERT_TRUE(hammer_passes(&hammer, 1));
		after = seen_by(_metadata, c, 0);
		late += before.calls != after.calls;
		called = after.calls;
		unexpected = after.unexpected;
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, unexpected);
	EXPECT_LE(rounds / 2, called);
}

TEST_F(callback, deassign_trigger_is_a_barrier)
{
	barrier(_metadata, &self->c, true);
}

TEST_F(callback, deassign_notifier_is_a_barrier)
{
	barrier(_metadata, &self->c, false);
}

/* Closing the file deassigns its callbacks, and puts the last reference to the context. */
/* DOORBELL_TRIGGER_FLAG_ALL deassigns the eventfds of a line, and no callback. */
TEST_F(callback, stays_without_the_eventfds)
{
	struct capi *c = &self->c;
	int efd = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, add_trigger(c, 0, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(c->db, efd, 0));
	EXPECT_LT(0, doorbell_deassign_all_triggers(c->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	EXPECT_EQ(0, efd_count(efd));
	EXPECT_EQ(1, seen_by(_metadata, c, 0).calls);
	EXPECT_EQ(0, del_trigger(c, 0, 0));
}

TEST_F(callback, goes_with_its_file)
{
	struct capi *c = &self->c;

	ASSERT_EQ(0, add_trigger(c, 0, 0));
	ASSERT_EQ(0, add_trigger(c, 1, 1));
	ASSERT_EQ(0, add_notifier(c, 1, ALL, 2));
	EXPECT_EQ(3, info_of(_metadata, c->db).nr_triggers);
	close(c->test);
	ASSERT_TRUE(WAIT_FOR(info_of(_metadata, c->db).nr_triggers == 1));
	EXPECT_EQ(0, info_of(_metadata, c->db).nr_notifiers);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	EXPECT_EQ(1, efd_read(c->out));
	c->test = open(TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, c->test);
	ASSERT_EQ(1, get_ctx(c, c->db));
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	ASSERT_EQ(0, add_notifier(c, 0, ALL, 2));
	close(c->db);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
	EXPECT_EQ(1, efd_read(c->out));
	EXPECT_EQ(1, seen_by(_metadata, c, 0).calls);
}

/* A thread on the second processor that masks line 0, whose notifier takes long. */
static void hit_mask(struct hammer *hammer)
{
	const struct sched_param param = {};

	/*
	 * The module's kworker may need this processor. It must not share it with callbacks that
	 * cannot be preempted: the time of its work is no wait.
	 */
	sched_setscheduler(0, SCHED_IDLE, &param);
	doorbell_mask(hammer->fd, 0);
	doorbell_unmask(hammer->fd, 0);
}

/*
 * Eventfds with resamplefds that are closed together: the module waits for notifiers on behalf of
 * 32 of them at once. A notifier is nearly always in flight, so each wait lasts until one returns.
 * The first close begins a wait of its own, and the others end meanwhile. Several short waits can
 * pass between two notifiers.
 */
#define MOST_WAITS	6
#define NOTIFIER_US	100000

TEST_F(callback, closed_eventfds_share_a_wait)
{
	const unsigned int nr = DOORBELL_MAX_RESAMPLEFDS_PER_LINE;
	struct hammer hammer = { .hit = hit_mask, .fd = self->c.db };
	int res = new_eventfd(_metadata, 0, 0), least = INT32_MAX, calls;
	struct capi *c = &self->c;
	struct timeout timeout = {};
	unsigned int i;

	plan(_metadata, c, &(struct test_plan){ .spin_us = NOTIFIER_US });
	ASSERT_EQ(0, add_notifier(c, 0, MASK, 0));
	hammer_start(_metadata, &hammer);
	do {
		int fd, first = fcntl(res, F_DUPFD_CLOEXEC, 500);

		ASSERT_LE(500, first);
		ASSERT_EQ(0, close(first));
		for (i = 0; i < nr; i++) {
			fd = new_eventfd(_metadata, 0, 0);
			ASSERT_EQ(0, doorbell_assign_resampled(c->db, fd, 1, res));
			ASSERT_EQ(first + i, dup3(fd, first + i, O_CLOEXEC));
			ASSERT_EQ(0, close(fd));
		}
		ASSERT_TRUE(hammer_passes(&hammer, 1));
		calls = seen_by(_metadata, c, 0).calls;
		ASSERT_EQ(0, close_range(first, first + nr - 1, 0));
		ASSERT_TRUE(WAIT_FOR(!line_of(_metadata, c->db, 1).nr_irqfds));
		calls = seen_by(_metadata, c, 0).calls - calls;
		if (calls < least)
			least = calls;
	} while (least > MOST_WAITS && !timed_out(&timeout));
	hammer_stop(&hammer);
	EXPECT_GE(MOST_WAITS, least) {
		TH_LOG("%d notifiers have returned meanwhile", least);
	}
	EXPECT_EQ(0, line_of(_metadata, c->db, 1).nr_resamplefds);
	EXPECT_EQ(0, del_notifier(c, 0, 0));
}

/*
 * A delivery that takes long because its processor was taken away, as this callback does, is no
 * work of interrupts: after some milliseconds they deliver again. It would be a second if they had
 * to wait for ten times as long as the delivery took.
 */
#define LOST_US		100000
#define NR_AFTER	100
/* Eight that the budget allows in any case, and some more. */
#define NR_BY_INTERRUPTS	20

TEST_F(callback, lost_time_is_not_charged)
{
	int in = new_eventfd(_metadata, 0, 0);
	struct capi *c = &self->c;
	struct doorbell_query query;
	unsigned int i;

	plan(_metadata, c, &(struct test_plan){ .spin_us = LOST_US });
	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, in, 0));
	ASSERT_EQ(0, call_from(c, TEST_FROM_PROCESS, TEST_EVENTFD, 0, in));
	for (i = 0; i < NR_AFTER; i++) {
		int ret;

		/* The time of the first delivery is not measured. */
		if (i == 1)
			ASSERT_EQ(0, add_trigger(c, 0, 0));
		ret = call_from(c, TEST_FROM_HARDIRQ, TEST_SIGNAL, 0, 0);

		if (ret == -EINVAL)
			SKIP(return, "a PREEMPT_RT kernel");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(1, efd_wait(c->out));
		if (i == 1)
			ASSERT_EQ(0, del_trigger(c, 0, 0));
		usleep(debug_kernel() ? 10000 : 1000);
	}
	query = settled(_metadata, c->db, 0);
	ksft_print_msg("%llu of %llu deliveries were deferred\n",
		       (unsigned long long)query.deferred, (unsigned long long)query.deliveries);
	EXPECT_LE(NR_BY_INTERRUPTS, query.deliveries - query.deferred);
}

TEST_HARNESS_MAIN
