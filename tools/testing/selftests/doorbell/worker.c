// SPDX-License-Identifier: GPL-2.0-only
/*
 * The worker of a context is a thread of the process that assigned the first irqfd, so that
 * the work that a process causes counts as its own. It delivers what interrupts have no
 * time for. What replaces it when the process has ended is in orphan.c.
 */
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "rlimit.h"
#include "stopped_owner.h"
#include "wire_cycle.h"

/* The user and the group "nobody". */
#define NOBODY_ID	65534

#define CGROUP_PARENT	"/tmp/doorbell-cgroup"
#define CGROUP		CGROUP_PARENT "/worker"

FIXTURE(worker) {
	int kmsg;
	int efd;
};

FIXTURE_SETUP(worker)
{
	self->kmsg = kmsg_open();
	self->efd = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(worker)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Returns the time that the thread has run, in ns. */
static uint64_t has_run(pid_t tid)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", tid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%llu", &ns) != 1)
		ns = 0;
	fclose(file);
	return ns;
}

TEST_F(worker, comes_with_the_first_irqfd)
{
	int efd = new_eventfd(_metadata, 0, 0);
	int db = new_context(_metadata, 2);
	pid_t tid = 0, other = 0;

	ASSERT_EQ(0, doorbell_assign_trigger(db, efd, 0));
	EXPECT_EQ(0, workers(getpid(), &tid));
	ASSERT_EQ(0, doorbell_assign_irqfd(db, self->efd, 0));
	EXPECT_EQ(1, workers(getpid(), &tid));
	EXPECT_NE(getpid(), tid);
	ASSERT_EQ(0, doorbell_assign_irqfd(db, efd, 1));
	EXPECT_EQ(1, workers(getpid(), &other));
	EXPECT_EQ(tid, other);

	ASSERT_EQ(0, doorbell_deassign_irqfd(db, self->efd, 0));
	ASSERT_EQ(0, doorbell_deassign_irqfd(db, efd, 1));
	EXPECT_EQ(1, workers(getpid(), &other));
	close(db);
	ASSERT_TRUE(WAIT_FOR(workers(getpid(), &other) == 0));
}

TEST_F(worker, has_the_callers_nice_value)
{
	int db = new_context(_metadata, 1);
	pid_t tid = 0;

	ASSERT_EQ(0, setpriority(PRIO_PROCESS, 0, 7));
	ASSERT_EQ(0, doorbell_assign_irqfd(db, self->efd, 0));
	ASSERT_EQ(1, workers(getpid(), &tid));
	EXPECT_EQ(7, getpriority(PRIO_PROCESS, tid));
}

/* A cycle runs in the process's own CPU time. */
TEST_F(worker, delivers_what_is_deferred)
{
	int a = new_context(_metadata, 1), b = new_context(_metadata, 1);
	int efds[2] = { self->efd, new_eventfd(_metadata, 0, 0) };
	uint64_t deferred;
	pid_t tid = 0;

	ASSERT_EQ(0, wire_cycle(a, b, efds));
	ASSERT_EQ(2, workers(getpid(), &tid));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(a, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, b, 0).deferred > 1000));
	EXPECT_LT(1000000, has_run(tid));
	close(a);
	ASSERT_TRUE(WAIT_FOR(workers(getpid(), &tid) == 1));
	settled(_metadata, b, 0);
	ASSERT_TRUE(WAIT_FOR(sleeps(tid)));
	deferred = line_of(_metadata, b, 0).deferred;
	usleep(20000);
	/* It has not been kept from running. */
	ASSERT_TRUE(WAIT_FOR(sleeps(tid)));
	EXPECT_EQ(deferred, line_of(_metadata, b, 0).deferred);
}

/* The last close of a context delivers the message that waits for the worker. */
TEST_F(worker, is_not_needed_by_the_last_close)
{
	int backs[NR_CHAINED], links[NR_CHAINED], out[NR_CHAINED];
	int db = new_context(_metadata, NR_CHAINED);
	uint32_t i, stalled;
	pid_t owner;

	for (i = 0; i < NR_CHAINED; i++) {
		backs[i] = new_eventfd(_metadata, 0, 0);
		links[i] = new_eventfd(_metadata, 0, 0);
		out[i] = new_eventfd(_metadata, 0, 0);
	}
	owner = start_stopped_owner(_metadata, db, backs, NR_CHAINED);
	for (i = 0; i < NR_CHAINED; i++) {
		ASSERT_EQ(0, doorbell_assign_irqfd(db, links[i], i));
		ASSERT_EQ(0, doorbell_assign_trigger(db, out[i], i));
	}
	stalled = stalled_line(_metadata, db, links);
	EXPECT_EQ(0, efd_count(out[stalled]));
	ASSERT_EQ(0, close(db));
	for (i = 0; i <= stalled; i++)
		EXPECT_EQ(1, efd_count(out[i]));
	kill(owner, SIGKILL);
	ASSERT_LE(0, wait_child(owner));
}

/* RLIMIT_NPROC includes the worker; a call that fails changes nothing. */
TEST_F(worker, counts_as_a_thread)
{
	int db = new_context(_metadata, 1);
	struct rlimit limit;
	pid_t pid, tid;
	int ret;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setgid(NOBODY_ID) || setuid(NOBODY_ID) || getrlimit(RLIMIT_NPROC, &limit))
			_exit(1);
		limit.rlim_cur = 0;
		if (setrlimit(RLIMIT_NPROC, &limit))
			_exit(2);
		ret = doorbell_assign_irqfd(db, self->efd, 0);
		if (ret != -EAGAIN)
			_exit(3);
		if (info_of(_metadata, db).nr_irqfds || workers(getpid(), &tid))
			_exit(4);
		if (efd_write(self->efd, 3) || efd_count(self->efd) != 3)
			_exit(5);
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NPROC, &limit))
			_exit(6);
		if (doorbell_assign_irqfd(db, self->efd, 0))
			_exit(7);
		if (workers(getpid(), &tid) != 1 || line_of(_metadata, db, 0).rings != 1)
			_exit(8);
		_exit(0);
	}
	ASSERT_EQ(0, wait_child(pid));
}

/* An irqfd that is refused leaves no thread, which would for instance make unshare(2) fail. */
TEST_F(worker, does_not_come_with_an_error)
{
	const int other = new_context(_metadata, 1), db = new_context(_metadata, 0);
	const int in = new_eventfd(_metadata, 0, 0), resample = new_eventfd(_metadata, 0, 0);
	pid_t pid, tid;

	/* The worker of this irqfd is gone with its process. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(doorbell_assign_irqfd(other, self->efd, 0) ? 1 : 0);
	ASSERT_EQ(0, wait_child(pid));

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (set_rlimit(RLIMIT_MEMLOCK, 0) || setresuid(NOBODY_ID, NOBODY_ID, NOBODY_ID))
			_exit(1);
		if (doorbell_set_lines(db, 1) || doorbell_set_type(db, 0, DOORBELL_TYPE_LEVEL))
			_exit(2);
		if (doorbell_assign_irqfd(db, self->efd, 0) != -EBUSY)
			_exit(3);
		if (workers(getpid(), &tid))
			_exit(4);
		/* The resamplefd is one eventfd too many. */
		if (doorbell_assign_resampled(db, in, 0, resample) != -ENOSPC)
			_exit(5);
		if (workers(getpid(), &tid))
			_exit(6);
		if (doorbell_assign_irqfd(db, in, 0) || workers(getpid(), &tid) != 1)
			_exit(7);
		_exit(0);
	}
	ASSERT_EQ(0, wait_child(pid));
}

/* Returns the CPU time that the cgroup has used, in us. */
static uint64_t cgroup_usage(void)
{
	FILE *file = fopen(CGROUP "/cpu.stat", "re");
	unsigned long long us = 0;

	if (!file)
		return 0;
	if (fscanf(file, "usage_usec %llu", &us) != 1)
		us = 0;
	fclose(file);
	return us;
}

/* From now on the cgroups of version 2 are below CGROUP_PARENT. */
static void mount_cgroups(struct __test_metadata *_metadata)
{
	mkdir(CGROUP_PARENT, 0755);
	ASSERT_EQ(0, mount("cgroup2", CGROUP_PARENT, "cgroup2", 0, NULL));
	ASSERT_EQ(0, mkdir(CGROUP, 0755));
}

/* The processes of CGROUP must end. */
static void umount_cgroups(struct __test_metadata *_metadata)
{
	EXPECT_TRUE(WAIT_FOR(!rmdir(CGROUP)));
	umount2(CGROUP_PARENT, MNT_DETACH);
	rmdir(CGROUP_PARENT);
}

/* A process in a cgroup with a limit of CPU time. */
FIXTURE(limited) {
	int kmsg;
	int efd;
	pid_t pid;
};

FIXTURE_SETUP(limited)
{
	self->kmsg = kmsg_open();
	self->efd = new_eventfd(_metadata, 0, 0);
	mount_cgroups(_metadata);
}

FIXTURE_TEARDOWN(limited)
{
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		waitpid(self->pid, NULL, 0);
	}
	umount_cgroups(_metadata);
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* A cycle gets as much CPU time as the process's cgroup. */
TEST_F(limited, keeps_to_the_limit_of_the_cgroup)
{
	int a = new_context(_metadata, 1), b = new_context(_metadata, 1);
	int efds[2] = { self->efd, new_eventfd(_metadata, 0, 0) };
	uint64_t start, elapsed, before, used, last;
	struct timeout timeout = {};
	char pid_text[16];
	int wired[2], has;
	char byte = 1;

	has = cgroup_has(CGROUP_PARENT, "cpu");
	ASSERT_LE(0, has);
	if (!has) {
		/* The kernels that the lab builds have no CONFIG_CGROUP_SCHED. */
		TH_LOG("NOT TESTED: this kernel has no CPU controller in cgroup2");
		return;
	}
	ASSERT_EQ(0, cgroup_put(CGROUP_PARENT, "cgroup.subtree_control", "+cpu"));
	ASSERT_EQ(0, cgroup_put(CGROUP, "cpu.max", "5000 100000"));
	ASSERT_EQ(0, pipe(wired));
	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(pid_text, sizeof(pid_text), "%d", getpid());
		byte = cgroup_put(CGROUP, "cgroup.procs", pid_text) || wire_cycle(a, b, efds);
		if (write(wired[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ASSERT_TRUE(efd_await(wired[0], POLLIN));
	ASSERT_EQ(1, read(wired[0], &byte, 1));
	ASSERT_EQ(0, byte);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(a, 0));
	before = cgroup_usage();
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, b, 0).deferred > 100));
	/* The time that a busy host takes from the guest's processor counts as used. */
	do {
		start = clock_us(CLOCK_MONOTONIC);
		last = cgroup_usage();
		sleep(2);
		used = cgroup_usage() - last;
		elapsed = clock_us(CLOCK_MONOTONIC) - start;
		ksft_print_msg("the cgroup used %llu of %llu us\n", (unsigned long long)used,
			       (unsigned long long)elapsed);
	} while (used >= elapsed / 4 && !timed_out(&timeout));
	EXPECT_LT(before, cgroup_usage());
	/* Twenty times as much without the limit. */
	EXPECT_GT(elapsed / 4, used);
}

/* A line whose triggers take longer to signal than an interrupt may: each has many pollers. */
#define NR_OUT		DOORBELL_MAX_TRIGGERS_PER_LINE
#define NR_POLLERS	128

FIXTURE(half) {
	int kmsg;
	int db;
	int in;
	int out[NR_OUT];
};

FIXTURE_SETUP(half)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int nr_pollers = debug_kernel() ? NR_POLLERS / 8 : NR_POLLERS;
	int i, j, poller;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->in = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, 0));
	for (i = 0; i < NR_OUT; i++) {
		self->out[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out[i], 0));
	}
	for (j = 0; j < nr_pollers; j++) {
		poller = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_LE(0, poller);
		for (i = 0; i < NR_OUT; i++)
			ASSERT_EQ(0, epoll_ctl(poller, EPOLL_CTL_ADD, self->out[i], &event));
	}
}

FIXTURE_TEARDOWN(half)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * Returns the number of triggers signalled @times; all others must have been signalled once
 * less.
 */
static unsigned int signalled(struct __test_metadata *_metadata, const int *out, uint64_t times)
{
	unsigned int i, nr = 0;
	uint64_t count;

	for (i = 0; i < NR_OUT; i++) {
		count = efd_count(out[i]);
		nr += count == times;
		EXPECT_TRUE(count == times || count == times - 1);
	}
	return nr;
}

/* The rest of a delivery that an interrupt has left is delivered, once. */
TEST_F(half, is_finished)
{
	struct doorbell_query query;
	uint64_t times;

	for (times = 1; times <= 20; times++) {
		ASSERT_EQ(0, efd_write(self->in, 1));
		ASSERT_TRUE(WAIT_FOR(signalled(_metadata, self->out, times) == NR_OUT));
	}
	query = settled(_metadata, self->db, 0);
	EXPECT_EQ(20, query.rings);
	EXPECT_EQ(20, query.deliveries);
	EXPECT_LT(0, query.deferred);
}

/* MASK is a barrier for the rest, too: all triggers have been signalled, or none. */
TEST_F(half, ends_before_a_mask_returns)
{
	struct doorbell_query query;
	unsigned int round, before;
	uint64_t times = 0;

	for (round = 1; round <= 50; round++) {
		ASSERT_EQ(0, efd_write(self->in, 1));
		ASSERT_EQ(1, doorbell_mask(self->db, 0));
		before = signalled(_metadata, self->out, times + 1);
		EXPECT_TRUE(!before || before == NR_OUT);
		EXPECT_EQ(!before, doorbell_pending(self->db, 0));
		usleep(100);
		EXPECT_EQ(before, signalled(_metadata, self->out, times + 1));
		EXPECT_EQ(!before, doorbell_unmask(self->db, 0));
		times++;
		ASSERT_TRUE(WAIT_FOR(signalled(_metadata, self->out, times) == NR_OUT));
	}
	query = settled(_metadata, self->db, 0);
	EXPECT_EQ(50, query.deliveries);
}

/* So is deassigning a trigger that has not been signalled yet. */
TEST_F(half, ends_before_a_deassign_returns)
{
	int last = self->out[NR_OUT - 1];
	unsigned int round;
	uint64_t count;

	for (round = 1; round <= 20; round++) {
		ASSERT_EQ(0, efd_write(self->in, 1));
		ASSERT_EQ(0, doorbell_deassign_trigger(self->db, last, 0));
		count = efd_count(last);
		usleep(100);
		ASSERT_EQ(count, efd_count(last));
		/* It was removed before the delivery started. */
		if (count == round - 1)
			ASSERT_EQ(0, efd_write(last, 1));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, last, 0));
		ASSERT_TRUE(WAIT_FOR(signalled(_metadata, self->out, round) == NR_OUT));
	}
}

/* A process that has a worker, and is halted. */
FIXTURE(halted) {
	int kmsg;
	int efd;
	long refcnt;
};

FIXTURE_VARIANT(halted) {
	bool frozen;
	bool killed;
};

FIXTURE_VARIANT_ADD(halted, stopped) { };
FIXTURE_VARIANT_ADD(halted, stopped_and_killed) { .killed = true };
FIXTURE_VARIANT_ADD(halted, frozen) { .frozen = true };
FIXTURE_VARIANT_ADD(halted, frozen_and_killed) { .frozen = true, .killed = true };

FIXTURE_SETUP(halted)
{
	self->kmsg = kmsg_open();
	self->efd = new_eventfd(_metadata, 0, 0);
	self->refcnt = refcnt();
	if (variant->frozen)
		mount_cgroups(_metadata);
}

FIXTURE_TEARDOWN(halted)
{
	if (variant->frozen)
		umount_cgroups(_metadata);
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Returns true if all processes of the cgroup are frozen. */
static bool cgroup_is_frozen(void)
{
	FILE *file = fopen(CGROUP "/cgroup.events", "re");
	char line[64];
	bool is = false;

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file))
		is |= !strcmp(line, "frozen 1\n");
	fclose(file);
	return is;
}

static void halt(pid_t owner, bool freeze)
{
	if (freeze)
		cgroup_put(CGROUP, "cgroup.freeze", "1");
	else
		kill(owner, SIGSTOP);
}

static void go_on(pid_t owner, bool freeze)
{
	if (freeze)
		cgroup_put(CGROUP, "cgroup.freeze", "0");
	else
		kill(owner, SIGCONT);
}

/* Returns true if the process has stopped, with all its threads. */
static bool has_stopped(pid_t owner)
{
	int status;

	return waitpid(owner, &status, WNOHANG | WUNTRACED) == owner && WIFSTOPPED(status);
}

/* Closes @db in a child, which has the last descriptor of it. Returns true if that returns. */
static bool close_last(struct __test_metadata *_metadata, int db)
{
	int closed[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe2(closed, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(closed[1]);
		if (read(closed[0], &byte, 1))
			_exit(1);
		close(db);
		_exit(0);
	}
	close(closed[0]);
	close(db);
	close(closed[1]);
	return WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid) && !status;
}

/*
 * The last close of a context does not wait for the process that has the worker, which may not go
 * on. The worker ends when the process does, and only the worker. Until then it keeps the module.
 */
TEST_F(halted, is_not_waited_for)
{
	const int rounds = 3;
	char pid_text[16], byte;
	int db[3], ready[2], end[2], i;
	pid_t owner, tid;
	bool closed;

	for (i = 0; i < rounds; i++)
		db[i] = new_context(_metadata, 1);
	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(end, O_CLOEXEC));
	owner = fork();
	ASSERT_LE(0, owner);
	if (!owner) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(end[1]);
		snprintf(pid_text, sizeof(pid_text), "%d", getpid());
		byte = variant->frozen && cgroup_put(CGROUP, "cgroup.procs", pid_text);
		for (i = 0; i < rounds; i++) {
			byte |= !!doorbell_assign_irqfd(db[i], new_eventfd(_metadata, 0, 0), 0);
			close(db[i]);
		}
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		_exit(read(end[0], &byte, 1) ? 2 : 42);
	}
	close(end[0]);
	ASSERT_TRUE(efd_await(ready[0], POLLIN));
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(0, byte);
	ASSERT_EQ(rounds, workers(owner, &tid));
	halt(owner, variant->frozen);
	ASSERT_TRUE(WAIT_FOR(variant->frozen ? cgroup_is_frozen() : has_stopped(owner)));
	for (i = 0; i < rounds; i++) {
		closed = close_last(_metadata, db[i]);
		ASSERT_TRUE(closed);
	}
	/* Of the module of a kernel tree it is -1. */
	if (self->refcnt >= 0)
		EXPECT_EQ(self->refcnt + rounds, refcnt());
	EXPECT_EQ(rounds, workers(owner, &tid));
	if (variant->killed)
		kill(owner, SIGKILL);
	else
		go_on(owner, variant->frozen);
	if (!variant->killed) {
		ASSERT_TRUE(WAIT_FOR(workers(owner, &tid) == 0));
		close(end[1]);
	}
	ASSERT_EQ(variant->killed ? SIGKILL : 42 << 8, wait_child(owner));
	ASSERT_TRUE(WAIT_FOR(refcnt() == self->refcnt));
}

/* A thread that is stopped again and again, after longer and longer times. */
struct traced {
	pid_t tid;
	unsigned int stops;
	/* It was told to stop. If it is told again, it stops again as soon as it goes on. */
	bool stopping;
};

/* Stops the thread, or lets it go on if it has stopped. Returns true if it has ended. */
static bool stop_or_go_on(struct traced *thread)
{
	uint64_t until;
	int status;

	if (!thread->stopping) {
		until = clock_us(CLOCK_MONOTONIC) + rand() % (100 * (thread->stops + 1));
		while (clock_us(CLOCK_MONOTONIC) < until)
			;
		ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL);
		thread->stopping = true;
	}
	if (waitpid(thread->tid, &status, __WALL | WNOHANG) != thread->tid)
		return false;
	if (!WIFSTOPPED(status))
		return true;
	ptrace(PTRACE_CONT, thread->tid, NULL, NULL);
	thread->stopping = false;
	thread->stops++;
	return false;
}

/* The worker ends, too, if a tracer stops it on its way out. */
TEST_F(worker, ends_while_it_is_traced)
{
	const int rounds = debug_kernel() ? 50 : 300;
	int wired[2], closing[2], round, db;
	unsigned int stops = 0;
	struct traced thread;
	pid_t owner;
	char byte = 0;

	ASSERT_EQ(0, pipe2(wired, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(closing, O_CLOEXEC));
	owner = fork();
	ASSERT_LE(0, owner);
	if (!owner) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(closing[1]);
		for (;;) {
			db = new_context(_metadata, 1);
			byte = !!doorbell_assign_irqfd(db, self->efd, 0);
			if (write(wired[1], &byte, 1) != 1 || read(closing[0], &byte, 1) != 1)
				_exit(0);
			close(db);
		}
	}
	close(closing[0]);
	for (round = 0; round < rounds; round++) {
		ASSERT_TRUE(efd_await(wired[0], POLLIN));
		ASSERT_EQ(1, read(wired[0], &byte, 1));
		ASSERT_EQ(0, byte);
		memset(&thread, 0, sizeof(thread));
		ASSERT_EQ(1, workers(owner, &thread.tid));
		ASSERT_EQ(0, ptrace(PTRACE_SEIZE, thread.tid, NULL, NULL));
		ASSERT_EQ(1, write(closing[1], &byte, 1));
		ASSERT_TRUE(SPIN_FOR(stop_or_go_on(&thread)));
		stops += thread.stops;
	}
	ksft_print_msg("%u stops of %d workers\n", stops, rounds);
	ASSERT_TRUE(efd_await(wired[0], POLLIN));
	ASSERT_EQ(1, read(wired[0], &byte, 1));
	close(closing[1]);
	ASSERT_EQ(0, wait_child(owner));
}

TEST_HARNESS_MAIN
