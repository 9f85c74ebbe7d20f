// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines whose trigger is their waiters: what DOORBELL_WAIT consumes, and what is left if it
 * ends early. Runs as a 32-bit program, too. errors_wait.c has the calls that are refused.
 */
#include <stddef.h>
#include <sys/prctl.h>

#include "handled.h"
#include "missing.h"
#include "ring_wait.h"
#include "summary.h"
#include "wait_line.h"

#define NO_RING		DOORBELL_RING_WAIT_FLAG_NO_RING
#define LINE		DOORBELL_RING_WAIT_FLAG_LINE

#define NR_LINES	3

/* Line 1 has waiters, and an irqfd that rings it. Line 2 is a level line with waiters. */
#define WAITED		1
#define LEVEL		2

FIXTURE(wait_line) {
	int kmsg;
	int db;
	int in;
	const struct doorbell_line_status *status;
	struct doorbell_wait arg;
};

FIXTURE_SETUP(wait_line)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, NR_LINES);
	self->in = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, WAITED));
	ASSERT_EQ(0, doorbell_set_type(self->db, LEVEL, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, LEVEL));
	self->status = map_status(_metadata, self->db);
	self->arg = (struct doorbell_wait){
		.line = WAITED, .timeout = NO_TIMEOUT, .count = 77,
	};
}

FIXTURE_TEARDOWN(wait_line)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define MASKED		VECTOR_MASKED

#define EXPECT_WAITERS(line, expected)					\
	EXPECT_STATE(line, (expected) | DOORBELL_LINE_WAITERS)

TEST_F(wait_line, consumes_all_deliveries)
{
	const struct doorbell_wait arg = self->arg;
	int rings, i;

	for (rings = 1; rings < 5; rings++) {
		for (i = 0; i < rings; i++)
			ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
		EXPECT_EQ(rings, self->status[WAITED].deliveries - self->status[WAITED].taken);
		ASSERT_EQ(0, wait_line(self->db, &self->arg));
		EXPECT_EQ(rings, self->arg.count);
		EXPECT_EQ(self->status[WAITED].deliveries, self->status[WAITED].taken);
		EXPECT_EQ(0, take(self->db, WAITED));
	}
	/* The other fields are only read. */
	self->arg.count = arg.count;
	EXPECT_EQ(0, memcmp(&arg, &self->arg, sizeof(arg)));
	EXPECT_WAITERS(WAITED, 0);
	EXPECT_EQ(1, line_of(_metadata, self->db, WAITED).nr_triggers);
}

/* A signal to an irqfd is delivered when write(2) returns; an interrupt need not run. */
TEST_F(wait_line, irqfd_delivers)
{
	int i;

	for (i = 1; i < 10; i++) {
		ASSERT_EQ(0, efd_write(self->in, i));
		EXPECT_EQ(i, self->status[WAITED].deliveries);
		EXPECT_EQ(1, take(self->db, WAITED));
	}
	EXPECT_EQ(0, efd_count(self->in));
	EXPECT_EQ(9, line_of(_metadata, self->db, WAITED).rings);
}

/* At the end of a chain of relays that is so long that other lines leave the rest to a worker. */
TEST_F(wait_line, end_of_a_long_chain)
{
	const uint32_t length = 40;
	int db = new_context(_metadata, length + 1);
	uint64_t count;
	uint32_t i;

	for (i = 0; i < length; i++)
		link_lines(_metadata, db, i, db, i + 1);
	ASSERT_EQ(0, doorbell_assign_waiters(db, length));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	ASSERT_TRUE(WAIT_FOR((count = take(db, length))));
	EXPECT_EQ(1, count);
	EXPECT_EQ(0, line_of(_metadata, db, length).deferred);
}

TEST_F(wait_line, region_delivers)
{
	struct doorbell_region region = {
		.addr = 0x1000, .length = 4, .line = WAITED, .flags = DOORBELL_REGION_FLAG_LINE,
	};
	uint32_t value = 1;

	ASSERT_EQ(0, doorbell_ioctl(self->db, DOORBELL_REGION, &region));
	ASSERT_EQ(sizeof(value), pwrite(self->db, &value, sizeof(value), region.addr));
	EXPECT_EQ(1, take(self->db, WAITED));
}

/* Times that have passed: the call does not sleep. Deliveries are consumed nevertheless. */
TEST_F(wait_line, does_not_sleep)
{
	const uint64_t times[] = { 0, 1, doorbell_deadline(0) };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(times); i++) {
		self->arg.timeout = times[i];
		self->arg.count = 77;
		EXPECT_EQ(-ETIMEDOUT, wait_line(self->db, &self->arg));
		EXPECT_EQ(0, self->arg.count);
		EXPECT_EQ(times[i], self->arg.timeout);
		ASSERT_EQ(0, efd_write(self->in, 1));
		ASSERT_EQ(0, wait_line(self->db, &self->arg));
		EXPECT_EQ(1, self->arg.count);
	}
}

TEST_F(wait_line, times_out)
{
	int i;

	for (i = 1; i < 4; i++) {
		self->arg.timeout = doorbell_deadline(i * 3000000);
		ASSERT_EQ(-ETIMEDOUT, wait_line(self->db, &self->arg));
		EXPECT_LE(self->arg.timeout, doorbell_deadline(0));
		EXPECT_EQ(0, self->arg.count);
	}
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, take(self->db, WAITED));
}

/* Each way to deliver wakes a thread that sleeps. */
static int wake_by_ring(int db, int in)
{
	(void)in;
	return doorbell_ring(db, WAITED) == DOORBELL_RING_DELIVERED;
}

static int wake_by_write(int db, int in)
{
	(void)db;
	return !efd_write(in, 1);
}

static int wake_by_unmask(int db, int in)
{
	(void)in;
	return doorbell_mask(db, WAITED) == 1 &&
	       doorbell_ring(db, WAITED) == DOORBELL_RING_MASKED &&
	       doorbell_unmask(db, WAITED) == 1;
}

TEST_F(wait_line, sleeps_until_a_delivery)
{
	int (*const wake[])(int db, int in) = { wake_by_ring, wake_by_write, wake_by_unmask };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wake); i++) {
		struct blocked waiter = blocked_wait(self->db, &self->arg);

		self->arg.timeout = i % 2 ? doorbell_deadline(1000000000000) : NO_TIMEOUT;
		self->arg.count = 77;
		start_blocked(_metadata, &waiter);
		ASSERT_TRUE(wake[i](self->db, self->in));
		join_blocked(_metadata, &waiter);
		EXPECT_EQ(0, waiter.ret);
		EXPECT_EQ(1, self->arg.count);
		EXPECT_EQ(0, take(self->db, WAITED));
	}
}

TEST_F(wait_line, masked)
{
	struct blocked waiter = blocked_wait(self->db, &self->arg);

	ASSERT_EQ(1, doorbell_mask(self->db, WAITED));
	start_blocked(_metadata, &waiter);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, WAITED));
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_WAITERS(WAITED, MASKED | DOORBELL_LINE_PENDING);
	EXPECT_EQ(1, doorbell_clear(self->db, WAITED));
	EXPECT_WAITERS(WAITED, MASKED);
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(0, take(self->db, WAITED));
	ASSERT_TRUE(sleeps(waiter.tid));
	EXPECT_EQ(1, doorbell_unmask(self->db, WAITED));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
	EXPECT_WAITERS(WAITED, 0);
	EXPECT_EQ(1, line_of(_metadata, self->db, WAITED).deliveries);
}

TEST_F(wait_line, level)
{
	const uint32_t level = DOORBELL_LINE_LEVEL, asserted = level | DOORBELL_LINE_ASSERTED;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, LEVEL));
	EXPECT_WAITERS(LEVEL, asserted);
	EXPECT_EQ(1, take(self->db, LEVEL));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, LEVEL));
	EXPECT_EQ(0, take(self->db, LEVEL));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, LEVEL));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, LEVEL, 1));
	EXPECT_EQ(1, take(self->db, LEVEL));
	/* The level is still raised. */
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, LEVEL));
	EXPECT_EQ(1, take(self->db, LEVEL));
	EXPECT_EQ(0, doorbell_set_level(self->db, LEVEL, 0));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, LEVEL));
	EXPECT_EQ(0, take(self->db, LEVEL));
	EXPECT_WAITERS(LEVEL, level);
	/* The type and the waiters are independent of each other. */
	EXPECT_EQ(0, doorbell_set_type(self->db, LEVEL, DOORBELL_TYPE_EDGE));
	EXPECT_WAITERS(LEVEL, 0);
	EXPECT_EQ(0, doorbell_deassign_waiters(self->db, LEVEL));
	EXPECT_STATE(LEVEL, 0);
}

/* A line that masks itself does so inside the write, too, and then holds one message. */
TEST_F(wait_line, automask)
{
	const uint32_t masked = DOORBELL_LINE_AUTOMASK | MASKED_FOR(DOORBELL_MASK_AUTO);
	int i;

	ASSERT_EQ(0, doorbell_set_type_automask(self->db, WAITED, DOORBELL_TYPE_EDGE));
	EXPECT_WAITERS(WAITED, DOORBELL_LINE_AUTOMASK);
	ASSERT_EQ(0, efd_write(self->in, 1));
	for (i = 1; i < 5; i++) {
		EXPECT_EQ(i, self->status[WAITED].deliveries);
		EXPECT_WAITERS(WAITED, masked);
		EXPECT_EQ(1, take(self->db, WAITED));
		ASSERT_EQ(0, efd_write(self->in, 1));
		ASSERT_EQ(0, efd_write(self->in, 1));
		EXPECT_EQ(0, take(self->db, WAITED));
		EXPECT_WAITERS(WAITED, masked | DOORBELL_LINE_PENDING);
		EXPECT_EQ(1, doorbell_unmask_for(self->db, WAITED, DOORBELL_MASK_AUTO));
	}
}

/* The unmaskfd's callback signals the notifier, and delivers the message that was held. */
TEST_F(wait_line, unmaskfd)
{
	int back = new_eventfd(_metadata, 0, 0), told = new_eventfd(_metadata, 0, 0);
	uint64_t count;
	int i;

	ASSERT_EQ(0, doorbell_set_type_automask(self->db, WAITED, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, back, WAITED));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, told, WAITED, DOORBELL_NOTIFY_UNMASK));
	ASSERT_EQ(0, efd_write(self->in, 1));
	for (i = 1; i < 5; i++) {
		ASSERT_TRUE(WAIT_FOR((count = take(self->db, WAITED))));
		EXPECT_EQ(1, count);
		ASSERT_EQ(0, efd_write(self->in, 1));
		EXPECT_EQ(i, self->status[WAITED].deliveries);
		ASSERT_EQ(0, efd_write(back, 1));
		ASSERT_EQ(1, efd_wait(told));
	}
	/* Without a message, a signal ends the mask. The next one is then delivered at once. */
	ASSERT_TRUE(WAIT_FOR(take(self->db, WAITED)));
	ASSERT_EQ(0, efd_write(back, 1));
	ASSERT_EQ(1, efd_wait(told));
	EXPECT_WAITERS(WAITED, DOORBELL_LINE_AUTOMASK);
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, take(self->db, WAITED));
}

/* The level is still raised when the ackfd acks: its callback delivers the next message. */
TEST_F(wait_line, ackfd)
{
	int back = new_eventfd(_metadata, 0, 0);
	uint64_t count;
	int i;

	ASSERT_EQ(0, doorbell_assign_ackfd(self->db, back, LEVEL));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, LEVEL, 1));
	for (i = 1; i < 10; i++) {
		ASSERT_TRUE(WAIT_FOR((count = take(self->db, LEVEL))));
		EXPECT_EQ(1, count);
		EXPECT_EQ(i, self->status[LEVEL].deliveries);
		ASSERT_EQ(0, efd_write(back, 1));
	}
	ASSERT_TRUE(WAIT_FOR(take(self->db, LEVEL)));
	ASSERT_EQ(0, doorbell_set_level(self->db, LEVEL, 0));
	ASSERT_EQ(0, efd_write(back, 1));
	EXPECT_EQ(0, settled(_metadata, self->db, LEVEL).state & DOORBELL_LINE_ASSERTED);
	EXPECT_EQ(0, take(self->db, LEVEL));
}

/* One ring of a line that marks the summary, and of lines with waiters. */
TEST_F(wait_line, ring_lines)
{
	struct doorbell_summary_words words;
	struct blocked waiter = blocked_wait(self->db, &self->arg);
	uint64_t result;

	ASSERT_EQ(0, doorbell_assign_summary(self->db, 0, 1));
	words = map_summary(_metadata, self->db);
	start_blocked(_metadata, &waiter);
	ASSERT_EQ(NR_LINES, doorbell_ring_lines(self->db, 0, NR_LINES, NULL, &result));
	EXPECT_EQ((1 << NR_LINES) - 1, result);
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
	EXPECT_EQ(1, take(self->db, LEVEL));
	EXPECT_EQ(0, take_only(&words));
	/* The level line is asserted now. */
	EXPECT_EQ(NR_LINES - 1, doorbell_ring_lines(self->db, 0, NR_LINES, NULL, &result));
	EXPECT_EQ(1, take(self->db, WAITED));
	EXPECT_EQ(0, take(self->db, LEVEL));
	EXPECT_EQ(0, take_only(&words));
}

/* A level line's message that found no trigger is sent once more to the waiters. */
TEST_F(wait_line, message_before_the_waiters)
{
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, LEVEL));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, LEVEL));
	EXPECT_EQ(1, take(self->db, LEVEL));
	/* That of an edge line is lost, and is not consumed. */
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, WAITED));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	EXPECT_EQ(0, take(self->db, WAITED));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	EXPECT_EQ(1, take(self->db, WAITED));
}

/* Each delivery wakes one thread, the one that sleeps longest. */
TEST_F(wait_line, many_waiters)
{
	struct doorbell_wait args[4];
	struct blocked waiters[ARRAY_SIZE(args)];
	unsigned int i, j;

	/* Waiters that leave at their timeout leave nothing in the queue. */
	for (i = 0; i < 3; i++) {
		args[0] = self->arg;
		args[0].timeout = doorbell_deadline(1000000);
		ASSERT_EQ(-ETIMEDOUT, wait_line(self->db, &args[0]));
	}
	for (i = 0; i < ARRAY_SIZE(args); i++) {
		args[i] = self->arg;
		waiters[i] = blocked_wait(self->db, &args[i]);
		start_blocked(_metadata, &waiters[i]);
	}
	for (i = 0; i < ARRAY_SIZE(args); i++) {
		ASSERT_EQ(0, efd_write(self->in, 1));
		join_blocked(_metadata, &waiters[i]);
		EXPECT_EQ(0, waiters[i].ret);
		EXPECT_EQ(1, args[i].count);
		for (j = i + 1; j < ARRAY_SIZE(args); j++)
			EXPECT_TRUE(sleeps(waiters[j].tid));
	}
	EXPECT_EQ(0, take(self->db, WAITED));
}

TEST_F(wait_line, is_interrupted)
{
	struct blocked waiter = blocked_wait(self->db, &self->arg);

	handle(_metadata, 0);
	start_blocked(_metadata, &waiter);
	pthread_kill(waiter.thread, SIGUSR1);
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(-EINTR, waiter.ret);
	EXPECT_EQ(0, self->arg.count);
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, take(self->db, WAITED));
}

TEST_F(wait_line, is_restarted)
{
	struct blocked waiter = blocked_wait(self->db, &self->arg);

	handle(_metadata, SA_RESTART);
	start_blocked(_metadata, &waiter);
	pthread_kill(waiter.thread, SIGUSR1);
	ASSERT_TRUE(WAIT_FOR(handled == 1 && sleeps(waiter.tid)));
	ASSERT_FALSE(atomic_load(&waiter.done));
	ASSERT_EQ(0, efd_write(self->in, 1));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
}

/*
 * Both a signal and a delivery are there when the waiter runs again: it cannot run between
 * them, because this thread has the same processor and a higher priority.
 */
TEST_F(wait_line, delivery_beats_signal)
{
	const struct sched_param param = { .sched_priority = 10 };
	int first;

	handle(_metadata, 0);
	pin_to(0);
	for (first = 0; first < 2; first++) {
		struct blocked waiter = blocked_wait(self->db, &self->arg);

		start_blocked(_metadata, &waiter);
		if (sched_setscheduler(0, SCHED_FIFO, &param))
			SKIP(return, "SCHED_FIFO: %s", strerror(errno));
		if (first)
			pthread_kill(waiter.thread, SIGUSR1);
		efd_write(self->in, 1);
		if (!first)
			pthread_kill(waiter.thread, SIGUSR1);
		sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){});
		join_blocked(_metadata, &waiter);
		EXPECT_EQ(0, waiter.ret);
		EXPECT_EQ(1, self->arg.count);
		EXPECT_EQ(0, take(self->db, WAITED));
		EXPECT_EQ(first + 1, handled);
	}
}

/* A thread that is killed passes on nothing, and consumes nothing. */
TEST_F(wait_line, is_killed)
{
	struct blocked waiter = blocked_wait(self->db, &self->arg);
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		wait_line(self->db, &self->arg);
		_exit(1);
	}
	ASSERT_TRUE(WAIT_FOR(process_sleeps(pid)));
	start_blocked(_metadata, &waiter);
	kill(pid, SIGKILL);
	ASSERT_EQ(SIGKILL, wait_child(pid));
	ASSERT_EQ(0, efd_write(self->in, 1));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
}

/* Another process, which shares the context. */
TEST_F(wait_line, other_process)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (wait_line(self->db, &self->arg))
			_exit(1);
		_exit(self->arg.count == 1 ? 0 : 2);
	}
	ASSERT_TRUE(WAIT_FOR(process_sleeps(pid)));
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(0, wait_child(pid));
}

/* All threads that sleep end, and a new assignment is not theirs. */
TEST_F(wait_line, deassigned)
{
	struct doorbell_wait args[3];
	struct blocked waiters[ARRAY_SIZE(args)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(args); i++) {
		args[i] = self->arg;
		waiters[i] = blocked_wait(self->db, &args[i]);
		start_blocked(_metadata, &waiters[i]);
	}
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, WAITED));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	for (i = 0; i < ARRAY_SIZE(args); i++) {
		join_blocked(_metadata, &waiters[i]);
		EXPECT_EQ(-ENOENT, waiters[i].ret);
		EXPECT_EQ(0, args[i].count);
	}
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, take(self->db, WAITED));

	/* Deliveries that were not consumed are lost. Then the line can have a trigger. */
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, WAITED));
	EXPECT_EQ(-ENOENT, wait_line(self->db, &self->arg));
	EXPECT_STATE(WAITED, 0);
	EXPECT_EQ(0, line_of(_metadata, self->db, WAITED).nr_triggers);
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	EXPECT_EQ(0, take(self->db, WAITED));
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, WAITED));
	EXPECT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), WAITED));
}

/* A message that the masked line holds does not belong to one assignment. */
TEST_F(wait_line, message_under_a_mask)
{
	ASSERT_EQ(1, doorbell_mask(self->db, WAITED));
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, WAITED));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	EXPECT_EQ(1, doorbell_unmask(self->db, WAITED));
	EXPECT_EQ(1, take(self->db, WAITED));
}

/* The wait keeps the context after its descriptor was closed: the irqfd still rings. */
TEST_F(wait_line, descriptor_is_closed)
{
	struct blocked waiter = blocked_wait(self->db, &self->arg);

	ASSERT_EQ(0, munmap((void *)self->status, status_size(NR_LINES)));
	start_blocked(_metadata, &waiter);
	close(self->db);
	ASSERT_EQ(0, efd_write(self->in, 1));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
	/* That was the last user. */
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, efd_count(self->in));
}

/* DOORBELL_RING_WAIT with a line instead of an eventfd. */

FIXTURE(ring_wait_line) {
	int db;
	struct doorbell_ring_wait arg;
};

/* Line 0 has no trigger, line 1 has waiters. */
FIXTURE_SETUP(ring_wait_line)
{
	self->db = new_context(_metadata, NR_LINES);
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	self->arg = (struct doorbell_ring_wait){
		.fd = WAITED, .timeout = NO_TIMEOUT, .flags = LINE, .result = 77, .count = 77,
	};
}

FIXTURE_TEARDOWN(ring_wait_line)
{
}

#define RINGS(line)	(line_of(_metadata, self->db, line).rings)

TEST_F(ring_wait_line, own_echo)
{
	const struct doorbell_ring_wait arg = self->arg;
	int i;

	self->arg.line = WAITED;
	for (i = 1; i < 10; i++) {
		self->arg.timeout = i % 2 ? NO_TIMEOUT : 0;
		ASSERT_EQ(0, ring_wait(self->db, &self->arg));
		EXPECT_EQ(1, self->arg.count);
		EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
		EXPECT_EQ(i, RINGS(WAITED));
	}
	EXPECT_EQ(arg.fd, self->arg.fd);
	EXPECT_EQ(arg.flags, self->arg.flags);
}

TEST_F(ring_wait_line, sleeps_until_a_delivery)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	start_blocked(_metadata, &waiter);
	EXPECT_EQ(1, RINGS(0));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
	EXPECT_EQ(1, RINGS(0));
}

TEST_F(ring_wait_line, ends_early)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	self->arg.timeout = 0;
	EXPECT_EQ(-ETIMEDOUT, ring_wait(self->db, &self->arg));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
	EXPECT_EQ(0, self->arg.count);
	EXPECT_EQ(1, RINGS(0));

	/* A call that has rung is not restarted. */
	handle(_metadata, SA_RESTART);
	self->arg.timeout = NO_TIMEOUT;
	start_blocked(_metadata, &waiter);
	pthread_kill(waiter.thread, SIGUSR1);
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(-EINTR, waiter.ret);
	EXPECT_EQ(2, RINGS(0));

	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	self->arg.flags |= NO_RING;
	self->arg.result = 77;
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(1, self->arg.count);
	EXPECT_EQ(77, self->arg.result);
	EXPECT_EQ(2, RINGS(0));
}

TEST_F(ring_wait_line, deassigned)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	start_blocked(_metadata, &waiter);
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, WAITED));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(-ENOENT, waiter.ret);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
	EXPECT_EQ(0, self->arg.count);
	EXPECT_EQ(1, RINGS(0));
	/* Now nothing is rung. */
	self->arg.result = 77;
	EXPECT_EQ(-ENOENT, ring_wait(self->db, &self->arg));
	EXPECT_EQ(77, self->arg.result);
	EXPECT_EQ(1, RINGS(0));
}

/* The call sleeps while the test changes the memory of its argument. */
FIXTURE(argument) {
	int db;
	char *pages;
	size_t page;
	struct doorbell_wait *arg;
	struct blocked waiter;
};

FIXTURE_SETUP(argument)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->db = new_context(_metadata, NR_LINES);
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	self->pages = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->pages != MAP_FAILED);
	/* The count is on the second page. */
	self->arg = (void *)(self->pages + self->page - offsetof(struct doorbell_wait, count));
	*self->arg = (struct doorbell_wait){ .line = WAITED, .timeout = NO_TIMEOUT };
	self->waiter = blocked_wait(self->db, self->arg);
	start_blocked(_metadata, &self->waiter);
}

FIXTURE_TEARDOWN(argument)
{
	munmap(self->pages, 2 * self->page);
}

/* Nothing was consumed, and another thread that slept meanwhile is woken in its place. */
#define EXPECT_PASSED_ON() do {						\
	struct doorbell_wait arg = { .line = WAITED, .timeout = NO_TIMEOUT }; \
	struct blocked other = blocked_wait(self->db, &arg);		\
									\
	start_blocked(_metadata, &other);				\
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED)); \
	join_blocked(_metadata, &self->waiter);				\
	EXPECT_EQ(-EFAULT, self->waiter.ret);				\
	join_blocked(_metadata, &other);				\
	EXPECT_EQ(0, other.ret);					\
	EXPECT_EQ(1, arg.count);					\
} while (0)

TEST_F(argument, unmapped)
{
	ASSERT_EQ(0, munmap(self->pages, 2 * self->page));
	EXPECT_PASSED_ON();
}

TEST_F(argument, read_only)
{
	ASSERT_EQ(0, mprotect(self->pages, 2 * self->page, PROT_READ));
	EXPECT_PASSED_ON();
}

/* Memory that can be faulted in again is no error. */
TEST_F(argument, discarded)
{
	ASSERT_EQ(0, madvise(self->pages + self->page, self->page, MADV_DONTNEED));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	join_blocked(_metadata, &self->waiter);
	EXPECT_EQ(0, self->waiter.ret);
	EXPECT_EQ(1, self->arg->count);
}

/* While a thread waits for the memory of its argument, another one gets the delivery. */
TEST_F(argument, comes_late)
{
	struct doorbell_wait arg = { .line = WAITED, .timeout = NO_TIMEOUT };
	struct blocked other = blocked_wait(self->db, &arg);
	struct missing missing;
	int ret = missing_open(&missing);

	if (ret)
		SKIP(return, "userfaultfd: %s", strerror(-ret));
	ASSERT_EQ(0, madvise(self->pages + self->page, self->page, MADV_DONTNEED));
	ASSERT_EQ(0, missing_begin(&missing, self->pages + self->page, self->page));

	start_blocked(_metadata, &other);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	ASSERT_TRUE(WAIT_FOR(missing_is_accessed(&missing)));
	ASSERT_TRUE(WAIT_FOR(atomic_load(&other.done)));
	/* It sleeps again until the next delivery. */
	ASSERT_EQ(0, missing_end(&missing));
	join_blocked(_metadata, &other);
	EXPECT_EQ(0, other.ret);
	EXPECT_EQ(1, arg.count);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	join_blocked(_metadata, &self->waiter);
	EXPECT_EQ(0, self->waiter.ret);
	EXPECT_EQ(1, self->arg->count);
}

TEST_HARNESS_MAIN
