// SPDX-License-Identifier: GPL-2.0-only
/*
 * A context whose worker's process has ended: a workqueue of the module delivers what is
 * deferred, in a bounded share of the time.
 */
#include <sys/epoll.h>
#include <sys/prctl.h>

#include "slow_line.h"
#include "wire_cycle.h"

FIXTURE(orphan) {
	int kmsg;
};

FIXTURE_SETUP(orphan)
{
	self->kmsg = kmsg_open();
}

FIXTURE_TEARDOWN(orphan)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

FIXTURE_VARIANT(orphan) {
	bool execs;
};

FIXTURE_VARIANT_ADD(orphan, owner_has_exited) { };
FIXTURE_VARIANT_ADD(orphan, owner_runs_another_program) { .execs = true };

/* Returns true if @pid is a kworker, and its name, which may have that of a workqueue. */
static bool is_kworker(const char *pid, char name[64])
{
	char path[64];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, name, 63);
	close(fd);
	name[len > 0 ? len : 0] = '\0';
	return !strncmp(name, "kworker/", strlen("kworker/"));
}

/* Returns true if a kernel thread runs work of the module's workqueue, or did last. */
static bool has_kworker(void)
{
	struct dirent *entry;
	bool found = false;
	char name[64];
	DIR *dir = opendir("/proc");

	while (dir && !found && (entry = readdir(dir)))
		found = is_kworker(entry->d_name, name) && strstr(name, "doorbell");
	if (dir)
		closedir(dir);
	return found;
}

/* Returns the CPU time of all kworkers, in ns. */
static uint64_t kworkers_have_run(void)
{
	struct timespec now;
	struct dirent *entry;
	char name[64];
	uint64_t sum = 0;
	clockid_t clock;
	DIR *dir = opendir("/proc");

	while (dir && (entry = readdir(dir))) {
		if (is_kworker(entry->d_name, name) &&
		    !clock_getcpuclockid(atoi(entry->d_name), &clock) &&
		    !clock_gettime(clock, &now))
			sum += now.tv_sec * 1000000000ULL + now.tv_nsec;
	}
	if (dir)
		closedir(dir);
	return sum;
}

/* The worker's process has ended: deferred messages are still delivered. */
TEST_F(orphan, delivers)
{
	int a = new_context(_metadata, 1), b = new_context(_metadata, 1);
	int c = new_context(_metadata, 1), d = new_context(_metadata, 1);
	int efds[4], hold[2], wired[2], i;
	uint64_t deferred;
	char byte = 0;
	pid_t pid, tid;

	for (i = 0; i < ARRAY_SIZE(efds); i++)
		efds[i] = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, pipe(hold));
	ASSERT_EQ(0, pipe2(wired, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(hold[1]);
		byte = wire_cycle(a, b, efds) || wire_cycle(c, d, efds + 2) ||
		       workers(getpid(), &tid) != 4;
		if (write(wired[1], &byte, 1) != 1)
			_exit(1);
		if (!variant->execs)
			_exit(0);
		dup2(hold[0], 0);
		execl("/bin/sh", "sh", "-c", "read -r line", NULL);
		_exit(2);
	}
	close(wired[1]);
	ASSERT_TRUE(efd_await(wired[0], POLLIN));
	ASSERT_EQ(1, read(wired[0], &byte, 1));
	ASSERT_EQ(0, byte);
	/* The end of the pipe: the process has exited, or runs the other program. */
	ASSERT_TRUE(efd_await(wired[0], POLLIN));
	ASSERT_EQ(0, read(wired[0], &byte, 1));
	ASSERT_EQ(0, variant->execs ? workers(pid, &tid) : wait_child(pid));
	EXPECT_EQ(0, workers(getpid(), &tid));

	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(a, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, b, 0).deferred > 1000));
	/* Its CPUs and its priority can be set. */
	ASSERT_TRUE(WAIT_FOR(has_kworker()));
	close(a);
	settled(_metadata, b, 0);
	/* The workqueue, which runs one work item at a time, serves another cycle meanwhile. */
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, d, 0).deferred > 100));
	deferred = line_of(_metadata, b, 0).deferred;
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, d, 0).deferred > 200));
	EXPECT_EQ(deferred, line_of(_metadata, b, 0).deferred);
	close(c);
	close(hold[1]);
	if (variant->execs)
		wait_child(pid);
}

/* The time of a delivery, which is far above the time after which a work item ends. */
#define SLOW_US		20000

/*
 * The lines of a cycle, whose process has ended, get a fifth of a CPU, however long a delivery
 * takes.
 */
TEST(gets_a_fifth)
{
	int b = new_context(_metadata, 1), back = new_eventfd(_metadata, 0, 0);
	uint64_t deliveries, start, took, ran;
	struct timeout timeout = {};
	struct slow_line slow;
	pid_t pid;

	slow_line_setup(_metadata, &slow, SLOW_US);
	ASSERT_EQ(0, doorbell_assign_trigger(b, back, 0));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(doorbell_assign_irqfd(b, slow.triggers[0], 0) ||
		      doorbell_assign_irqfd(slow.db, back, 0));
	ASSERT_EQ(0, wait_child(pid));

	/* The count of the irqfd has rung @b already. */
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, b, 0).deferred > 3));
	/* The time that a busy host takes from the guest's processor counts as used. */
	do {
		start = clock_us(CLOCK_MONOTONIC);
		ran = kworkers_have_run();
		deliveries = slow_line_deliveries(&slow);
		ASSERT_TRUE(WAIT_FOR(slow_line_deliveries(&slow) >= deliveries + 10));
		ran = (kworkers_have_run() - ran) / 1000;
		took = clock_us(CLOCK_MONOTONIC) - start;
		ksft_print_msg("%llu us of %llu us\n", (unsigned long long)ran,
			       (unsigned long long)took);
	} while (took <= 4 * ran && !timed_out(&timeout));
	EXPECT_LT(SLOW_US, ran);
	/* The rest is the time of other work, and one delivery that had begun. */
	EXPECT_GT(took, 4 * ran);
}

TEST_HARNESS_MAIN
