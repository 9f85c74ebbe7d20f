// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals at each call that waits. A call that waits for another thread of the kernel (a mask,
 * a deassign, a save, a close) does not end early: a storm of signals changes no result. UNMASK
 * and CLEAR are in owned.c. A call that waits for a message (DOORBELL_WAIT, DOORBELL_RING_WAIT,
 * DOORBELL_EVENTFD_READ) ends with EINTR, and loses no message. SIGKILL ends each of them, and
 * leaves nothing behind.
 */
#include "bus.h"
#include "storm.h"
#include "summary.h"
#include "wait_line.h"

#define NR_LINES	2
#define ADDRESS		0x1000

/* A call that changes as many lines holds the lock of the assignments for long. */
#define MANY_LINES	256

FIXTURE(signals) {
	int kmsg;
	int db;
	int in, out;
	struct hammer hammer;
};

/* Another thread rings line 0, whose deliveries the calls of the test wait for. */
FIXTURE_SETUP(signals)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, NR_LINES);
	self->in = new_eventfd(_metadata, 0, 0);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	self->hammer = (struct hammer){ .hit = hit_write, .fd = self->in };
	hammer_start(_metadata, &self->hammer);
	start_storm(_metadata);
}

FIXTURE_TEARDOWN(signals)
{
	end_storm(_metadata);
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * Calls @call until there were enough signals, and expects @expected each time. Where a call takes
 * long, fewer signals have to do.
 */
#define NEVER_INTERRUPTED(expected, call) do {				\
	const unsigned long __begin = atomic_load(&nr_signals);		\
	unsigned long __signals = 0;					\
	unsigned int __calls = 0;					\
	struct timeout __timeout = {};					\
									\
	while ((__calls < 100 || __signals < 50) &&			\
	       !(__signals && timed_out(&__timeout))) {			\
		ASSERT_EQ(expected, call);				\
		__calls++;						\
		__signals = atomic_load(&nr_signals) - __begin;		\
	}								\
} while (0)

TEST_F(signals, mask_is_not_interrupted)
{
	uint64_t before;

	NEVER_INTERRUPTED(1, ({
		int masked = doorbell_mask(self->db, 0);

		before = line_of(_metadata, self->db, 0).deliveries;
		dither(before);
		EXPECT_EQ(before, line_of(_metadata, self->db, 0).deliveries);
		EXPECT_LE(0, doorbell_unmask(self->db, 0));
		masked;
	}));
}

TEST_F(signals, deassign_is_not_interrupted)
{
	int efd = new_eventfd(_metadata, 0, 0);

	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_assign_trigger(self->db, efd, 0);

		ret = ret ? ret : doorbell_deassign_trigger(self->db, efd, 0);
		efd_drain(efd);
		ret;
	}));
	EXPECT_EQ(0, efd_count(efd));
	NEVER_INTERRUPTED(2, ({
		int ret = doorbell_assign_trigger(self->db, efd, 0);

		ret = ret ? ret : doorbell_deassign_all_triggers(self->db, 0);
		efd_drain(efd);
		EXPECT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
		ret;
	}));
	EXPECT_EQ(0, efd_count(efd));
	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_assign_irqfd(self->db, efd, 1);

		ret ? ret : doorbell_deassign_irqfd(self->db, efd, 1);
	}));
	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_assign_notifier(self->db, efd, 0, DOORBELL_NOTIFY_MASK);

		ret ? ret : doorbell_deassign_notifier(self->db, efd, 0);
	}));
	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_assign_summary(self->db, 0, NR_LINES);

		ret ? ret : doorbell_deassign_summary(self->db, 0, NR_LINES);
	}));
}

/* They are the only trigger of their line, so it is not the line of the other tests. */
TEST_F(signals, deassign_of_waiters_is_not_interrupted)
{
	struct hammer ringer = { .hit = hit_ring, .fd = self->db, .line = 1 };

	ASSERT_TRUE(hammer_pause(&self->hammer));
	hammer_start(_metadata, &ringer);
	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_assign_waiters(self->db, 1);

		ret ? ret : doorbell_deassign_waiters(self->db, 1);
	}));
	hammer_stop(&ringer);
}

static void hit_bus(struct hammer *hammer)
{
	doorbell_bus_write(hammer->fd, MMIO, ADDRESS, 4, 1);
}

/* It waits for the writers of the bus. */
TEST_F(signals, deassign_of_a_region_is_not_interrupted)
{
	const int efd = new_eventfd(_metadata, 0, 0);
	const struct doorbell_region region = to_eventfd(ADDRESS, 4, efd);
	struct hammer writer = { .hit = hit_bus, .fd = self->db };

	ASSERT_TRUE(hammer_pause(&self->hammer));
	hammer_start(_metadata, &writer);
	NEVER_INTERRUPTED(0, ({
		int ret = change_region(self->db, region);

		ASSERT_TRUE(hammer_passes(&writer, 1));
		ret = ret ? ret : change_region(self->db, without(region));
		EXPECT_LT(0, efd_drain(efd));
		ret;
	}));
	ASSERT_TRUE(hammer_passes(&writer, 1));
	EXPECT_EQ(0, efd_count(efd));
	hammer_stop(&writer);
}

static void hit_ack(struct hammer *hammer)
{
	doorbell_ring(hammer->fd, hammer->line);
	doorbell_ack(hammer->fd, hammer->line);
}

/* It waits for the acks that signal the resamplefd. */
TEST_F(signals, deassign_of_a_resamplefd_is_not_interrupted)
{
	const int efd = new_eventfd(_metadata, 0, 0), resamplefd = new_eventfd(_metadata, 0, 0);
	struct hammer acker = { .hit = hit_ack, .fd = self->db, .line = 1 };

	ASSERT_TRUE(hammer_pause(&self->hammer));
	ASSERT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), 1));
	hammer_start(_metadata, &acker);
	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_assign_resampled(self->db, efd, 1, resamplefd);

		ASSERT_TRUE(hammer_passes(&acker, 1));
		ret = ret ? ret : doorbell_deassign_irqfd(self->db, efd, 1);
		EXPECT_LT(0, efd_drain(resamplefd));
		ret;
	}));
	ASSERT_TRUE(hammer_passes(&acker, 1));
	EXPECT_EQ(0, efd_count(resamplefd));
	/* An ackfd has no readers to wait for, but the same locks. */
	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_assign_ackfd(self->db, efd, 1);

		ret ? ret : doorbell_deassign_irqfd(self->db, efd, 1);
	}));
	hammer_stop(&acker);
}

static void hit_assignments(struct hammer *hammer)
{
	doorbell_assign_summary(hammer->fd, 0, MANY_LINES);
	doorbell_deassign_summary(hammer->fd, 0, MANY_LINES);
}

/* They wait for the lock of the assignments. */
TEST_F(signals, set_type_and_restore_are_not_interrupted)
{
	/* The state of a line that was not used yet. */
	const struct doorbell_saved_line fresh = {};
	const int db = new_context(_metadata, MANY_LINES);
	struct hammer assigner = { .hit = hit_assignments, .fd = db };

	ASSERT_TRUE(hammer_pause(&self->hammer));
	hammer_start(_metadata, &assigner);
	NEVER_INTERRUPTED(0, ({
		int ret = doorbell_set_type(db, 0, DOORBELL_TYPE_LEVEL);

		ret ? ret : doorbell_set_type(db, 0, DOORBELL_TYPE_EDGE);
	}));
	NEVER_INTERRUPTED(0, doorbell_restore_lines(db, 0, 1, &fresh, NULL));
	hammer_stop(&assigner);
}

TEST_F(signals, moderation_is_not_interrupted)
{
	NEVER_INTERRUPTED(0, ({
		struct doorbell_moderate limits = {};
		int ret = doorbell_moderate(self->db, 0, 1000, 0);

		ret = ret ? ret : doorbell_get_moderation(self->db, 0, &limits);
		EXPECT_EQ(1000, limits.min_interval);
		ret ? ret : doorbell_moderate(self->db, 0, 0, 0);
	}));
}

TEST_F(signals, save_is_not_interrupted)
{
	struct doorbell_saved_line saved[NR_LINES];

	NEVER_INTERRUPTED(0, doorbell_save_lines(self->db, 0, NR_LINES, saved));
}

TEST_F(signals, close_is_not_interrupted)
{
	NEVER_INTERRUPTED(0, ({
		int db = new_context(_metadata, 1), efd = new_eventfd(_metadata, 0, 0);
		int ret = doorbell_assign_irqfd(db, efd, 0) || efd_write(efd, 1);

		ret = ret || close(db);
		/* The close has deassigned the irqfd. */
		EXPECT_EQ(0, efd_write(efd, 3));
		EXPECT_EQ(3, efd_read(efd));
		close(efd);
		ret;
	}));
}

/* The number of messages that a test takes. */
#define ENOUGH		1000

/* Returns a number that grows with each step towards the end: the messages, and a signal. */
static uint64_t steps(uint64_t taken, unsigned int interrupted)
{
	return (taken < ENOUGH ? taken : ENOUGH) + !!interrupted;
}

/* Each delivery is returned once, by a wait that no signal has ended. */
TEST_F(signals, waits_lose_nothing)
{
	uint64_t taken = 0, seen = 0, count, deliveries;
	unsigned int interrupted = 0;
	struct progress_timeout progress = {};
	struct doorbell_query query;
	int ret;

	ASSERT_EQ(0, doorbell_assign_waiters(self->db, 1));
	while (!interrupted || taken < ENOUGH) {
		ASSERT_FALSE(is_stuck(&progress, steps(taken, interrupted)));
		/* One in four waits has no message, so a signal ends it. */
		if (seen++ % 4)
			ASSERT_LE(0, doorbell_ring(self->db, 1));
		ret = doorbell_wait(self->db, 1, NO_TIMEOUT, &count);
		ASSERT_TRUE(!ret || ret == -EINTR) {
			TH_LOG("%s", strerror(-ret));
		}
		if (ret)
			interrupted++;
		else
			taken += count;
	}
	while (!doorbell_wait(self->db, 1, 0, &count))
		taken += count;
	ASSERT_EQ(0, doorbell_query(self->db, 1, &query));
	deliveries = query.deliveries;
	EXPECT_EQ(deliveries, taken);
	ksft_print_msg("%u waits were interrupted\n", interrupted);
}

TEST_F(signals, reads_lose_nothing)
{
	/* With O_NONBLOCK a read does not wait. */
	int efd = eventfd(0, EFD_CLOEXEC);
	uint64_t taken = 0, written = 0, count;
	unsigned int interrupted = 0;
	struct progress_timeout progress = {};
	int ret;

	while (!interrupted || taken < ENOUGH) {
		ASSERT_FALSE(is_stuck(&progress, steps(taken, interrupted)));
		if (written % 4 || interrupted % 2) {
			ASSERT_EQ(0, efd_write(efd, 1));
			written++;
		} else {
			/* A wait without a ring, which a signal ends. */
			ret = doorbell_eventfd_read(self->db, efd, 0, &count);
			ASSERT_TRUE(!ret || ret == -EINTR);
			interrupted += !!ret;
			taken += ret ? 0 : count;
			ASSERT_EQ(0, efd_write(efd, 1));
			written++;
		}
		ret = doorbell_eventfd_read(self->db, efd, 0, &count);
		ASSERT_TRUE(!ret || ret == -EINTR);
		interrupted += !!ret;
		taken += ret ? 0 : count;
	}
	EXPECT_EQ(written, taken + efd_count(efd));
	ksft_print_msg("%u reads were interrupted\n", interrupted);
}

/* A thread that sends a message and then a signal, each time that the test is about to wait. */
struct sender {
	int db;
	/* The eventfd, or -1: line 1. */
	int efd;
	pid_t tid;
	atomic_ulong waits;
	atomic_ulong sent;
	atomic_bool stop;
	pthread_t thread;
};

static void *send_with_signal(void *arg)
{
	struct sender *sender = arg;
	unsigned long last = 0, now;

	pin_to(1);
	while (!atomic_load(&sender->stop)) {
		now = atomic_load(&sender->waits);
		if (now == last) {
			sched_yield();
			continue;
		}
		last = now;
		if (now % 16 == 0) {
			/*
			 * No message comes before this signal. It is sent after a timeout, too, or
			 * nothing but the storm would end the wait.
			 */
			(void)SPIN_FOR(sleeps(sender->tid) || atomic_load(&sender->stop));
		} else {
			dither(now);
			if (sender->efd < 0)
				doorbell_ring(sender->db, 1);
			else
				efd_write(sender->efd, 1);
			atomic_fetch_add(&sender->sent, 1);
		}
		syscall(SYS_tgkill, getpid(), sender->tid, SIGUSR1);
	}
	return NULL;
}

/* A wait that a message and a signal end at the same time returns the message, or leaves it. */
static uint64_t take_beside_signals(struct __test_metadata *_metadata, struct sender *sender)
{
	struct rounds race = ROUNDS(200, 20000);
	unsigned long interrupted = 0, rounds;
	uint64_t taken = 0, count;
	int ret;

	sender->tid = gettid();
	ASSERT_EQ(0, pthread_create(&sender->thread, NULL, send_with_signal, sender));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		atomic_fetch_add(&sender->waits, 1);
		ret = sender->efd < 0 ?
		      doorbell_wait(sender->db, 1, NO_TIMEOUT, &count) :
		      doorbell_eventfd_read(sender->db, sender->efd, 0, &count);
		ASSERT_TRUE(!ret || ret == -EINTR) {
			TH_LOG("%s", strerror(-ret));
		}
		interrupted += !!ret;
		taken += ret ? 0 : count;
	}
	atomic_store(&sender->stop, true);
	pthread_join(sender->thread, NULL);
	EXPECT_LT(0, interrupted);
	ksft_print_msg("%lu of %lu calls were interrupted\n", interrupted, rounds);
	return taken;
}

TEST_F(signals, message_beside_a_signal)
{
	struct sender sender = { .db = self->db, .efd = -1 };
	struct doorbell_query query;
	uint64_t taken, count;

	ASSERT_TRUE(hammer_pause(&self->hammer));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, 1));
	taken = take_beside_signals(_metadata, &sender);
	while (!doorbell_wait(self->db, 1, 0, &count))
		taken += count;
	ASSERT_EQ(0, doorbell_query(self->db, 1, &query));
	EXPECT_EQ(query.deliveries, taken);
}

TEST_F(signals, count_beside_a_signal)
{
	/* With O_NONBLOCK a read does not wait. */
	struct sender sender = { .db = self->db, .efd = eventfd(0, EFD_CLOEXEC) };
	uint64_t taken;

	ASSERT_LE(0, sender.efd);
	ASSERT_TRUE(hammer_pause(&self->hammer));
	taken = take_beside_signals(_metadata, &sender);
	EXPECT_EQ(atomic_load(&sender.sent), taken + efd_count(sender.efd));
}

/*
 * A process that waits is killed. Its context goes, so its irqfd can be assigned elsewhere and
 * the module has no more users than before.
 */
FIXTURE(killed) {
	long users;
	int efd;
};

FIXTURE_VARIANT(killed) {
	enum { IN_WAIT, IN_READ, IN_RING_WAIT, IN_LOOP } where;
};

FIXTURE_VARIANT_ADD(killed, wait) { .where = IN_WAIT };
FIXTURE_VARIANT_ADD(killed, read) { .where = IN_READ };
FIXTURE_VARIANT_ADD(killed, ring_wait) { .where = IN_RING_WAIT };
FIXTURE_VARIANT_ADD(killed, others) { .where = IN_LOOP };

FIXTURE_SETUP(killed)
{
	self->users = refcnt();
	self->efd = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(killed)
{
}

/* The lines of the process. */
enum { RUNG, ASSIGNED, ACKED, AWAITED, NR_KILLED_LINES };

/* Rings the lines whose deliveries and acks the calls wait for. */
static void *ring_for_ever(void *arg)
{
	int db = *(int *)arg;

	for (;;) {
		doorbell_ring(db, RUNG);
		doorbell_ring(db, AWAITED);
		doorbell_ring(db, ACKED);
		doorbell_ack(db, ACKED);
	}
	return NULL;
}

/* Restores lines with a message. A line can be restored once, so they are in a new context. */
static int restore_lines(void)
{
	static struct doorbell_saved_line saved[MANY_LINES];
	int db = open(DEVICE, O_RDWR | O_CLOEXEC), ret, i;

	for (i = 0; i < MANY_LINES; i++)
		saved[i].state = DOORBELL_LINE_PENDING;
	ret = doorbell_set_lines(db, MANY_LINES);
	ret = ret ? ret : doorbell_restore_lines(db, 0, MANY_LINES, saved, NULL);
	close(db);
	return ret;
}

#define NR_CALLS	11

/* Makes one of the NR_CALLS calls, or pairs of calls, that wait. Returns false if it fails. */
static bool call_that_waits(int db, int efd, unsigned int call)
{
	static int resamplefd = -1;
	const struct doorbell_region region = to_eventfd(ADDRESS, 4, efd);
	struct doorbell_saved_line saved;

	switch (call % NR_CALLS) {
	case 0:
		return doorbell_mask(db, RUNG) == 1 && doorbell_unmask(db, RUNG) >= 0;
	case 1:
		return !doorbell_assign_trigger(db, efd, RUNG) &&
		       !doorbell_deassign_trigger(db, efd, RUNG);
	case 2:
		return !doorbell_assign_trigger(db, efd, RUNG) &&
		       doorbell_deassign_all_triggers(db, RUNG) == 1;
	case 3:
		return !change_region(db, region) && !change_region(db, without(region));
	case 4:
		return !doorbell_save_lines(db, RUNG, 1, &saved);
	case 5:
		if (resamplefd < 0)
			resamplefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		return !doorbell_assign_resampled(db, efd, ACKED, resamplefd) &&
		       !doorbell_deassign_irqfd(db, efd, ACKED);
	case 6:
		return !doorbell_assign_notifier(db, efd, ACKED, DOORBELL_NOTIFY_ACK) &&
		       !doorbell_deassign_notifier(db, efd, ACKED);
	case 7:
		return !doorbell_assign_waiters(db, AWAITED) &&
		       !doorbell_deassign_waiters(db, AWAITED);
	case 8:
		return !doorbell_assign_summary(db, RUNG, 1) &&
		       !doorbell_deassign_summary(db, RUNG, 1);
	case 9:
		return !doorbell_moderate(db, RUNG, 1000, 0) && !doorbell_moderate(db, RUNG, 0, 0);
	default:
		return !restore_lines();
	}
}

/*
 * Makes all calls that wait, beside a thread that rings, beginning with @call. Writes to @started
 * after each turn.
 */
static void loop_for_ever(int db, int in, int started, unsigned int call)
{
	const int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_t thread;
	unsigned int i;

	if (doorbell_set_type(db, ACKED, DOORBELL_TYPE_LEVEL) ||
	    pthread_create(&thread, NULL, ring_for_ever, &db))
		_exit(3);
	for (;;) {
		for (i = 0; i < NR_CALLS; i++) {
			if (!call_that_waits(db, efd, call + i))
				_exit(10 + (call + i) % NR_CALLS);
		}
		efd_write(in, 1);
		efd_write(started, 1);
	}
}

TEST_F(killed, leaves_nothing)
{
	int other = new_context(_metadata, 1), started = new_eventfd(_metadata, 0, 0);
	unsigned int round;

	for (round = 0; round < 20; round++) {
		char stat[40];
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid) {
			int db = open(DEVICE, O_RDWR | O_CLOEXEC);
			int efd = eventfd(0, EFD_CLOEXEC);
			struct doorbell_ring_wait arg = {
				.line = 0, .fd = efd, .timeout = DOORBELL_RING_WAIT_NO_TIMEOUT };
			uint64_t count;

			if (doorbell_set_lines(db, NR_KILLED_LINES) ||
			    doorbell_assign_irqfd(db, self->efd, ASSIGNED))
				_exit(1);
			if (variant->where == IN_LOOP)
				loop_for_ever(db, self->efd, started, round);
			if (variant->where == IN_WAIT && doorbell_assign_waiters(db, 0))
				_exit(2);
			efd_write(started, 1);
			if (variant->where == IN_WAIT)
				doorbell_wait(db, 0, NO_TIMEOUT, &count);
			else if (variant->where == IN_READ)
				doorbell_eventfd_read(db, efd, 0, &count);
			else
				doorbell_ioctl(db, DOORBELL_RING_WAIT, &arg);
			/* Only a signal ends the wait. */
			_exit(4);
		}
		ASSERT_TRUE(WAIT_FOR(efd_count(started) > 0));
		snprintf(stat, sizeof(stat), "/proc/%d/stat", pid);
		dither(round);
		ASSERT_TRUE(variant->where == IN_LOOP || WAIT_FOR(stat_sleeps(stat)));
		ASSERT_EQ(-EBUSY, doorbell_assign_irqfd(other, self->efd, 0));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(SIGKILL, wait_child(pid));
		ASSERT_TRUE(WAIT_FOR(!doorbell_assign_irqfd(other, self->efd, 0)));
		ASSERT_EQ(0, doorbell_deassign_irqfd(other, self->efd, 0));
		efd_drain(self->efd);
		efd_drain(started);
	}
	close(other);
	if (self->users >= 0)
		ASSERT_TRUE(WAIT_FOR(refcnt() == self->users));
}

TEST_HARNESS_MAIN
