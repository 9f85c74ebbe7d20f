// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOORBELL_RING_WAIT: the ring, the wait, and what is left of both if the wait ends early.
 * Runs as a 32-bit program, too. errors_ring_wait.c has the calls that are refused.
 */
#include <stddef.h>
#include <sched.h>
#include <sys/prctl.h>

#include "handled.h"
#include "ring_wait.h"

#define NO_RING		DOORBELL_RING_WAIT_FLAG_NO_RING
#define NO_TIMEOUT	DOORBELL_RING_WAIT_NO_TIMEOUT

/* The line REQUEST has no trigger, the line ECHO signals the eventfd that is waited for. */
#define REQUEST		0
#define ECHO		1

FIXTURE(ring_wait) {
	int db;
	int efd;
	struct doorbell_ring_wait arg;
};

FIXTURE_VARIANT(ring_wait) {
	int flags;
};

FIXTURE_VARIANT_ADD(ring_wait, counter) {};
FIXTURE_VARIANT_ADD(ring_wait, semaphore) { .flags = EFD_SEMAPHORE };

FIXTURE_SETUP(ring_wait)
{
	self->db = new_context(_metadata, 2);
	/* O_NONBLOCK of the eventfd does not matter. */
	self->efd = new_eventfd(_metadata, 0, variant->flags);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, ECHO));
	self->arg = (struct doorbell_ring_wait){
		.line = REQUEST, .fd = self->efd, .timeout = NO_TIMEOUT, .result = 77, .count = 77,
	};
}

FIXTURE_TEARDOWN(ring_wait)
{
}

#define RINGS(line)	(line_of(_metadata, self->db, line).rings)

static uint64_t taken_of(int flags, uint64_t count)
{
	return flags & EFD_SEMAPHORE ? 1 : count;
}

TEST_F(ring_wait, answer_is_there)
{
	const uint64_t counts[] = { 1, 2, 1ULL << 32, COUNTER_MAX };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t taken = taken_of(variant->flags, counts[i]);

		self->arg.result = 77;
		ASSERT_EQ(0, efd_write(self->efd, counts[i]));
		ASSERT_EQ(0, ring_wait(self->db, &self->arg));
		EXPECT_EQ(taken, self->arg.count);
		EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
		EXPECT_EQ(counts[i] - taken, efd_count(self->efd));
		EXPECT_EQ(i + 1, RINGS(REQUEST));
		/* The rest, of any size, in one step. */
		close(self->efd);
		self->efd = new_eventfd(_metadata, 0, variant->flags);
		self->arg.fd = self->efd;
	}
}

/* The line signals the eventfd itself. */
TEST_F(ring_wait, own_echo)
{
	int i;

	self->arg.line = ECHO;
	for (i = 1; i < 10; i++) {
		self->arg.timeout = i % 2 ? NO_TIMEOUT : 0;
		ASSERT_EQ(0, ring_wait(self->db, &self->arg));
		EXPECT_EQ(1, self->arg.count);
		EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
		EXPECT_EQ(i, RINGS(ECHO));
		EXPECT_EQ(0, efd_count(self->efd));
	}
}

/* The result is that of DOORBELL_RING; the other fields are only read. */
TEST_F(ring_wait, results)
{
	const struct doorbell_ring_wait arg = self->arg;

	ASSERT_EQ(1, doorbell_mask(self->db, REQUEST));
	ASSERT_EQ(0, efd_write(self->efd, 1));
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(DOORBELL_RING_MASKED, self->arg.result);
	ASSERT_EQ(0, efd_write(self->efd, 1));
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(DOORBELL_RING_COALESCED, self->arg.result);
	EXPECT_EQ(1, doorbell_unmask(self->db, REQUEST));
	ASSERT_EQ(0, efd_write(self->efd, 1));
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
	self->arg.result = arg.result;
	self->arg.count = arg.count;
	EXPECT_EQ(0, memcmp(&arg, &self->arg, sizeof(arg)));
}

TEST_F(ring_wait, only_waits)
{
	self->arg.flags = NO_RING;
	ASSERT_EQ(0, efd_write(self->efd, 3));
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(taken_of(variant->flags, 3), self->arg.count);
	EXPECT_EQ(77, self->arg.result);
	efd_drain(self->efd);
	self->arg.timeout = 0;
	EXPECT_EQ(-ETIMEDOUT, ring_wait(self->db, &self->arg));
	EXPECT_EQ(0, self->arg.count);
	EXPECT_EQ(77, self->arg.result);
	EXPECT_EQ(0, RINGS(REQUEST));
}

/* Times that have passed: the call does not sleep. */
TEST_F(ring_wait, does_not_sleep)
{
	const uint64_t times[] = { 0, 1, doorbell_deadline(0) };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(times); i++) {
		self->arg.timeout = times[i];
		self->arg.count = 77;
		self->arg.result = 77;
		ASSERT_EQ(-ETIMEDOUT, ring_wait(self->db, &self->arg));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
		EXPECT_EQ(0, self->arg.count);
		EXPECT_EQ(times[i], self->arg.timeout);
		EXPECT_EQ(i + 1, RINGS(REQUEST));
	}
	/* A count that is there is consumed nevertheless. */
	for (i = 0; i < ARRAY_SIZE(times); i++) {
		self->arg.timeout = times[i];
		ASSERT_EQ(0, efd_write(self->efd, 1));
		ASSERT_EQ(0, ring_wait(self->db, &self->arg));
		EXPECT_EQ(1, self->arg.count);
	}
}

TEST_F(ring_wait, times_out)
{
	int i;

	for (i = 1; i < 4; i++) {
		self->arg.timeout = doorbell_deadline(i * 3000000);
		ASSERT_EQ(-ETIMEDOUT, ring_wait(self->db, &self->arg));
		EXPECT_LE(self->arg.timeout, doorbell_deadline(0));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
		EXPECT_EQ(0, self->arg.count);
		EXPECT_EQ(i, RINGS(REQUEST));
	}
	/* The next call consumes a later count. */
	ASSERT_EQ(0, efd_write(self->efd, 1));
	self->arg.flags = NO_RING;
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(1, self->arg.count);
	EXPECT_EQ(i - 1, RINGS(REQUEST));
}

/*
 * The time is one of the caller's time namespace. A kernel without time namespaces has one
 * clock only.
 */
TEST_F(ring_wait, time_namespace)
{
	static const char offset[] = "monotonic 1000000 0";
	bool has_namespaces = !access("/proc/self/ns/time", F_OK);
	pid_t pid;
	int file;

	if (has_namespaces) {
		ASSERT_EQ(0, unshare(CLONE_NEWTIME));
		file = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
		ASSERT_LE(0, file);
		ASSERT_EQ(strlen(offset), write(file, offset, strlen(offset)));
		close(file);
	}
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (has_namespaces && doorbell_deadline(0) < 1000000 * 1000000000ULL)
			_exit(1);
		self->arg.timeout = doorbell_deadline(3000000);
		if (ring_wait(self->db, &self->arg) != -ETIMEDOUT)
			_exit(2);
		_exit(doorbell_deadline(0) < self->arg.timeout ? 3 : 0);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, RINGS(REQUEST));
}

TEST_F(ring_wait, waits_for_a_write)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	start_blocked(_metadata, &waiter);
	EXPECT_EQ(1, RINGS(REQUEST));
	ASSERT_EQ(0, efd_write(self->efd, 9));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(taken_of(variant->flags, 9), self->arg.count);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
	EXPECT_EQ(9 - self->arg.count, efd_count(self->efd));
	EXPECT_EQ(1, RINGS(REQUEST));
}

TEST_F(ring_wait, waits_for_a_delivery)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	self->arg.timeout = doorbell_deadline(1000000000000);
	start_blocked(_metadata, &waiter);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, ECHO));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
}

/* Each of many waiters gets one unit, and one write of all units is enough for all. */
TEST_F(ring_wait, many_waiters)
{
	struct doorbell_ring_wait args[4];
	struct blocked waiters[ARRAY_SIZE(args)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(args); i++) {
		args[i] = self->arg;
		waiters[i] = blocked_ring_wait(self->db, &args[i]);
		start_blocked(_metadata, &waiters[i]);
	}
	if (variant->flags & EFD_SEMAPHORE)
		ASSERT_EQ(0, efd_write(self->efd, ARRAY_SIZE(args)));
	for (i = 0; i < ARRAY_SIZE(args) && !variant->flags; i++) {
		ASSERT_EQ(0, efd_write(self->efd, 1));
		ASSERT_TRUE(WAIT_FOR(!efd_count(self->efd)));
	}
	for (i = 0; i < ARRAY_SIZE(args); i++) {
		join_blocked(_metadata, &waiters[i]);
		EXPECT_EQ(0, waiters[i].ret);
		EXPECT_EQ(1, args[i].count);
	}
	EXPECT_EQ(0, efd_count(self->efd));
	EXPECT_EQ(ARRAY_SIZE(args), RINGS(REQUEST));
}

/*
 * A signal after the ring: the call is not restarted, because that would ring twice. The
 * next call goes on waiting.
 */
TEST_F(ring_wait, is_interrupted)
{
	const int flags[] = { 0, SA_RESTART };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

		handle(_metadata, flags[i]);
		self->arg.flags = 0;
		self->arg.count = 77;
		self->arg.result = 77;
		start_blocked(_metadata, &waiter);
		pthread_kill(waiter.thread, SIGUSR1);
		join_blocked(_metadata, &waiter);
		EXPECT_EQ(-EINTR, waiter.ret);
		EXPECT_EQ(i + 1, handled);
		EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
		EXPECT_EQ(0, self->arg.count);
		EXPECT_EQ(i + 1, RINGS(REQUEST));

		ASSERT_EQ(0, efd_write(self->efd, 1));
		EXPECT_EQ(1, efd_count(self->efd));
		self->arg.flags = NO_RING;
		ASSERT_EQ(0, ring_wait(self->db, &self->arg));
		EXPECT_EQ(1, self->arg.count);
		EXPECT_EQ(DOORBELL_RING_DELIVERED, self->arg.result);
		EXPECT_EQ(i + 1, RINGS(REQUEST));
	}
}

/* Without a ring a restart is harmless, so SA_RESTART decides, as it does for read(2). */
TEST_F(ring_wait, only_wait_is_interrupted)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	handle(_metadata, 0);
	self->arg.flags = NO_RING;
	start_blocked(_metadata, &waiter);
	pthread_kill(waiter.thread, SIGUSR1);
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(-EINTR, waiter.ret);
	EXPECT_EQ(0, RINGS(REQUEST));
}

TEST_F(ring_wait, only_wait_is_restarted)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	handle(_metadata, SA_RESTART);
	self->arg.flags = NO_RING;
	start_blocked(_metadata, &waiter);
	pthread_kill(waiter.thread, SIGUSR1);
	ASSERT_TRUE(WAIT_FOR(handled == 1 && sleeps(waiter.tid)));
	ASSERT_FALSE(atomic_load(&waiter.done));
	ASSERT_EQ(0, efd_write(self->efd, 1));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
	EXPECT_EQ(77, self->arg.result);
	EXPECT_EQ(0, RINGS(REQUEST));
}

/*
 * Both a signal and the count are there when the waiter runs again: it cannot run between
 * them, because this thread has the same processor and a higher priority.
 */
TEST_F(ring_wait, count_beats_signal)
{
	const struct sched_param param = { .sched_priority = 10 };
	int first;

	handle(_metadata, 0);
	pin_to(0);
	for (first = 0; first < 2; first++) {
		struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

		start_blocked(_metadata, &waiter);
		if (sched_setscheduler(0, SCHED_FIFO, &param))
			SKIP(return, "SCHED_FIFO: %s", strerror(errno));
		if (first)
			pthread_kill(waiter.thread, SIGUSR1);
		efd_write(self->efd, 1);
		if (!first)
			pthread_kill(waiter.thread, SIGUSR1);
		sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){});
		join_blocked(_metadata, &waiter);
		EXPECT_EQ(0, waiter.ret);
		EXPECT_EQ(1, self->arg.count);
		EXPECT_EQ(0, efd_count(self->efd));
		EXPECT_EQ(first + 1, handled);
		EXPECT_EQ(first + 1, RINGS(REQUEST));
	}
}

/* Stopping and continuing the process is a signal like others. */
TEST_F(ring_wait, is_stopped)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ring_wait(self->db, &self->arg) != -EINTR || self->arg.count)
			_exit(1);
		self->arg.flags = NO_RING;
		if (ring_wait(self->db, &self->arg))
			_exit(2);
		_exit(self->arg.count == 1 ? 0 : 3);
	}
	ASSERT_TRUE(WAIT_FOR(RINGS(REQUEST) == 1 && process_sleeps(pid)));
	kill(pid, SIGSTOP);
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	ASSERT_TRUE(WAIT_FOR(process_sleeps(pid)));
	ASSERT_EQ(0, efd_write(self->efd, 1));
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, RINGS(REQUEST));
}

TEST_F(ring_wait, is_killed)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ring_wait(self->db, &self->arg);
		_exit(1);
	}
	ASSERT_TRUE(WAIT_FOR(RINGS(REQUEST) == 1 && process_sleeps(pid)));
	kill(pid, SIGKILL);
	ASSERT_EQ(SIGKILL, wait_child(pid));
	/* The eventfd and the line are as before. */
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, ECHO));
	EXPECT_EQ(1, efd_count(self->efd));
	self->arg.flags = NO_RING;
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(1, self->arg.count);
	EXPECT_EQ(1, RINGS(REQUEST));
}

/* The wait keeps the eventfd, and the context, after their descriptors were closed. */
TEST_F(ring_wait, descriptors_are_closed)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);
	int other = dup(self->efd);

	start_blocked(_metadata, &waiter);
	close(self->efd);
	close(self->db);
	ASSERT_EQ(0, efd_write(other, 1));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
}

/* Only the line signals the eventfd, which has no descriptor any more. */
TEST_F(ring_wait, last_descriptor_is_closed)
{
	struct blocked waiter = blocked_ring_wait(self->db, &self->arg);

	start_blocked(_metadata, &waiter);
	close(self->efd);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, ECHO));
	join_blocked(_metadata, &waiter);
	EXPECT_EQ(0, waiter.ret);
	EXPECT_EQ(1, self->arg.count);
}

TEST_F(ring_wait, wakes_writers)
{
	struct blocked writer = blocked_writer(_metadata, 0);

	start_blocked(_metadata, &writer);
	self->arg.fd = writer.fd;
	ASSERT_EQ(0, ring_wait(self->db, &self->arg));
	EXPECT_EQ(COUNTER_MAX, self->arg.count);
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	EXPECT_EQ(1, efd_count(writer.fd));
}

/* The call sleeps while the test changes the memory of its argument. */
FIXTURE(argument) {
	int db;
	int efd;
	char *pages;
	size_t page;
	struct doorbell_ring_wait *arg;
	struct blocked waiter;
};

FIXTURE_VARIANT(argument) {
	uint32_t flags;
	/* The first field on the second page. */
	size_t split;
};

FIXTURE_VARIANT_ADD(argument, count) { .split = offsetof(struct doorbell_ring_wait, count) };
FIXTURE_VARIANT_ADD(argument, result) { .split = offsetof(struct doorbell_ring_wait, result) };
FIXTURE_VARIANT_ADD(argument, only_wait) {
	.flags = NO_RING, .split = offsetof(struct doorbell_ring_wait, count),
};

FIXTURE_SETUP(argument)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->db = new_context(_metadata, 1);
	self->efd = new_eventfd(_metadata, 0, 0);
	self->pages = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->pages != MAP_FAILED);
	self->arg = (void *)(self->pages + self->page - variant->split);
	*self->arg = (struct doorbell_ring_wait){
		.fd = self->efd, .timeout = NO_TIMEOUT, .flags = variant->flags,
	};
	self->waiter = blocked_ring_wait(self->db, self->arg);
	start_blocked(_metadata, &self->waiter);
}

FIXTURE_TEARDOWN(argument)
{
	munmap(self->pages, 2 * self->page);
}

/* Rung once, and nothing was consumed. */
#define EXPECT_UNTOUCHED() do {						\
	ASSERT_EQ(0, efd_write(self->efd, 7));				\
	join_blocked(_metadata, &self->waiter);				\
	EXPECT_EQ(-EFAULT, self->waiter.ret);				\
	EXPECT_EQ(7, efd_count(self->efd));				\
	EXPECT_EQ(!variant->flags, line_of(_metadata, self->db, 0).rings); \
} while (0)

TEST_F(argument, unmapped)
{
	ASSERT_EQ(0, munmap(self->pages, 2 * self->page));
	EXPECT_UNTOUCHED();
}

TEST_F(argument, second_page_unmapped)
{
	ASSERT_EQ(0, munmap(self->pages + self->page, self->page));
	EXPECT_UNTOUCHED();
}

TEST_F(argument, read_only)
{
	ASSERT_EQ(0, mprotect(self->pages, 2 * self->page, PROT_READ));
	EXPECT_UNTOUCHED();
}

/* Memory that can be faulted in again is no error. */
TEST_F(argument, discarded)
{
	ASSERT_EQ(0, madvise(self->pages + self->page, self->page, MADV_DONTNEED));
	ASSERT_EQ(0, efd_write(self->efd, 7));
	join_blocked(_metadata, &self->waiter);
	EXPECT_EQ(0, self->waiter.ret);
	EXPECT_EQ(7, self->arg->count);
	EXPECT_EQ(0, efd_count(self->efd));
	EXPECT_EQ(!variant->flags, line_of(_metadata, self->db, 0).rings);
	EXPECT_EQ(!variant->flags, self->arg->result == DOORBELL_RING_DELIVERED);
}

TEST_HARNESS_MAIN
