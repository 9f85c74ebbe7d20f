/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the doorbell selftests share: the ioctls as functions that return
 * -errno, eventfds, bounded waiting, pinned threads and the kernel log.
 */
#ifndef _DOORBELL_TEST_H
#define _DOORBELL_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/doorbell.h>

#include "kselftest_harness.h"

/*
 * The harness's own limit is in seconds of wall-clock time, which a busy host takes
 * from the guest. Each wait has a timeout, so this limit must never be the first.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	(24 * 60 * 60)

#define DEVICE		"/dev/doorbell"

/* The same bit in each structure that has it. */
#define DEASSIGN	DOORBELL_IRQFD_FLAG_DEASSIGN
_Static_assert(DEASSIGN == DOORBELL_TRIGGER_FLAG_DEASSIGN &&
	       DEASSIGN == DOORBELL_NOTIFIER_FLAG_DEASSIGN &&
	       DEASSIGN == DOORBELL_REGION_FLAG_DEASSIGN, "one bit");

/*
 * Each word of the reserved field of @arg is refused unless it is zero. Uses REFUSED(),
 * which the program defines.
 */
#define REFUSED_RESERVED(db, cmd, arg) do {				\
	unsigned int __i;						\
									\
	for (__i = 0; __i < ARRAY_SIZE((arg).reserved); __i++) {	\
		(arg).reserved[__i] = 1U << (31 - __i);			\
		REFUSED(EINVAL, db_ioctl(db, cmd, &(arg)));		\
		(arg).reserved[__i] = 0;				\
	}								\
} while (0)

/* Largest value that write(2) lets an eventfd's counter reach. */
#define COUNTER_MAX	(UINT64_MAX - 1)

static inline uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/*
 * Timeouts. A wait whose condition comes true ends at once. One whose condition
 * does not first lasts WAIT_REAL_MS of CLOCK_MONOTONIC, which is cheap to read;
 * and then WAIT_MS of a clock that does not advance while a busy host keeps the
 * guest waiting. The file that DOORBELL_CLOCK names has its milliseconds.
 */
#define WAIT_REAL_MS	2000
#define WAIT_MS		20000

/* Between two readings of the clocks; also the longest poll(2) of a wait. */
#define WAIT_SLICE_MS	200

struct timeout {
	/* The next reading, by CLOCK_MONOTONIC; 0 before the first call. */
	uint64_t next_us;
	/* The last readings: 0, if there was none; the file's is negative without the file. */
	int64_t real_ms;
	int64_t file_ms;
	int64_t waited_ms;
};

/* Returns what the file says, or -1. */
static inline int64_t clock_file_ms(void)
{
	const char *path = getenv("DOORBELL_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char buf[32], *end;
	ssize_t len;
	int64_t ms;

	if (fd < 0)
		return -1;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return -1;
	buf[len] = '\0';
	ms = strtoll(buf, &end, 10);
	return end == buf ? -1 : ms;
}

/*
 * Returns the time since the last reading. Without the file that is at most twice
 * a slice: if a slice took longer, the thread did not run.
 */
static inline int64_t passed_ms(const struct timeout *timeout, int64_t real_ms, int64_t file_ms)
{
	int64_t passed;

	if (!timeout->real_ms)
		return 0;
	if (file_ms >= 0 && timeout->file_ms >= 0) {
		passed = file_ms - timeout->file_ms;
		return passed > 0 ? passed : 0;
	}
	passed = real_ms - timeout->real_ms;
	return passed < 2 * WAIT_SLICE_MS ? passed : 2 * WAIT_SLICE_MS;
}

static inline bool timed_out_slow(struct timeout *timeout, uint64_t now)
{
	const int64_t real_ms = now / 1000, file_ms = clock_file_ms();

	timeout->waited_ms += passed_ms(timeout, real_ms, file_ms);
	timeout->real_ms = real_ms;
	timeout->file_ms = file_ms;
	timeout->next_us = now + WAIT_SLICE_MS * 1000;
	return timeout->waited_ms >= WAIT_MS;
}

/* Begins with the first call. Costs one clock_gettime(2) until WAIT_REAL_MS are over. */
static inline bool timed_out(struct timeout *timeout)
{
	const uint64_t now = clock_us(CLOCK_MONOTONIC);

	if (!timeout->next_us)
		timeout->next_us = now + WAIT_REAL_MS * 1000;
	return now >= timeout->next_us && timed_out_slow(timeout, now);
}

/*
 * True as soon as @cond is, which is evaluated once more after the timeout. A test
 * whose wait fails must end: ASSERT it. That is two statements, so a loop around
 * it needs braces to end, too.
 */
#define WAIT_WITH(cond, relax) ({					\
	struct timeout __timeout = {};					\
	bool __ok, __last = false;					\
									\
	while (!(__ok = !!(cond)) && !__last) {				\
		__last = timed_out(&__timeout);				\
		relax;							\
	}								\
	__ok;								\
})

#define WAIT_FOR(cond)	WAIT_WITH(cond, usleep(100))

/* For what takes microseconds. */
#define SPIN_FOR(cond)	WAIT_WITH(cond, sched_yield())

/* Waits for a child and returns its wait status; -ETIMEDOUT after killing it. */
static inline int wait_child(pid_t pid)
{
	int status;

	if (WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid))
		return status;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -ETIMEDOUT;
}

/*
 * The rounds of a race: @least of them, and then up to @most while the process,
 * with all its threads, has used less than ROUNDS_CPU_MS of CPU time. Ends early
 * if @least are not reached and none is added before a timeout.
 */
#define ROUNDS_CPU_MS	2000

struct rounds {
	const unsigned long least;
	const unsigned long most;
	unsigned long calls;
	unsigned long last;
	uint64_t end_us;
	bool over;
	struct timeout timeout;
};

static inline bool more_rounds(struct rounds *rounds, unsigned long done)
{
	uint64_t now;
	bool more;

	if (rounds->over)
		return false;
	/* The clock is not read in each round. */
	if (done < rounds->most && rounds->calls++ % 16)
		return true;
	now = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	if (!rounds->end_us)
		rounds->end_us = now + ROUNDS_CPU_MS * 1000;
	if (done != rounds->last)
		rounds->timeout = (struct timeout){};
	rounds->last = done;
	if (done < rounds->least)
		more = !timed_out(&rounds->timeout);
	else
		more = done < rounds->most && now < rounds->end_us;
	if (more)
		return true;
	rounds->over = true;
	rounds->timeout = (struct timeout){};
	ksft_print_msg("%lu rounds\n", done);
	return false;
}

#define ROUNDS(at_least, at_most)	{ .least = at_least, .most = at_most }

/* After these rounds: true as long as @missing, until the timeout. */
static inline bool lacks(struct rounds *rounds, bool missing)
{
	return missing && !timed_out(&rounds->timeout);
}

/* The ioctls. All return -errno on failure. */

static inline int db_ioctl(int db, unsigned long cmd, const void *arg)
{
	int ret = ioctl(db, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static inline int db_info(int db, struct doorbell_get_info *info)
{
	memset(info, 0xff, sizeof(*info));
	return db_ioctl(db, DOORBELL_GET_INFO, info);
}

/* Returns the offset for mmap() of the records, or 0. */
static inline uint64_t records_offset(int db)
{
	struct doorbell_get_info info;

	return db_info(db, &info) ? 0 : info.records_offset;
}

/* Returns the offset for mmap() of the status pages, or -1, which no mapping has. */
static inline uint64_t status_offset(int db)
{
	struct doorbell_get_info info;

	return db_info(db, &info) ? -1 : info.status_offset;
}

static inline int db_set_lines(int db, uint32_t nr_lines)
{
	struct doorbell_set_lines lines = { .nr_lines = nr_lines };

	return db_ioctl(db, DOORBELL_SET_LINES, &lines);
}

static inline int db_ring(int db, unsigned long line)
{
	int ret = ioctl(db, DOORBELL_RING, line);

	return ret < 0 ? -errno : ret;
}

static inline int db_irqfd(int db, int fd, uint32_t line, uint32_t flags)
{
	struct doorbell_irqfd irqfd = { .fd = fd, .line = line, .flags = flags };

	return db_ioctl(db, DOORBELL_IRQFD, &irqfd);
}

static inline int db_trigger(int db, int fd, uint32_t line, uint32_t flags)
{
	struct doorbell_trigger trigger = { .fd = fd, .line = line, .flags = flags };

	return db_ioctl(db, DOORBELL_TRIGGER, &trigger);
}

static inline int db_query(int db, uint32_t line, struct doorbell_query *query)
{
	memset(query, 0xff, sizeof(*query));
	query->line = line;
	query->flags = 0;
	memset(query->reserved, 0, sizeof(query->reserved));
	return db_ioctl(db, DOORBELL_QUERY, query);
}

static inline int db_eventfd(int db, unsigned long cmd, int fd, uint32_t flags,
			     uint64_t *count)
{
	struct doorbell_eventfd arg = { .fd = fd, .flags = flags };
	int ret = db_ioctl(db, cmd, &arg);

	*count = arg.count;
	return ret;
}

static inline int db_read(int db, int fd, uint32_t flags, uint64_t *count)
{
	return db_eventfd(db, DOORBELL_EVENTFD_READ, fd, flags, count);
}

static inline int db_peek(int db, int fd, uint64_t *count)
{
	return db_eventfd(db, DOORBELL_EVENTFD_PEEK, fd, 0, count);
}

/* Deassigning takes no @events. */
static inline int db_notifier(int db, int fd, uint32_t line, uint32_t flags, uint32_t events)
{
	struct doorbell_notifier notifier = {
		.fd = fd, .line = line, .flags = flags, .events = events,
	};

	return db_ioctl(db, DOORBELL_NOTIFIER, &notifier);
}

/* Level lines. */

static inline int db_set_type(int db, uint32_t line, uint32_t type)
{
	struct doorbell_set_type arg = { .line = line, .type = type };

	return db_ioctl(db, DOORBELL_SET_TYPE, &arg);
}

static inline int db_set_level(int db, uint32_t line, uint32_t level)
{
	struct doorbell_set_level arg = { .line = line, .level = level };

	return db_ioctl(db, DOORBELL_SET_LEVEL, &arg);
}

static inline int db_ack(int db, unsigned long line)
{
	int ret = ioctl(db, DOORBELL_ACK, line);

	return ret < 0 ? -errno : ret;
}

/* Assigns an irqfd that has a resamplefd. */
static inline int db_resample(int db, int fd, uint32_t line, int resamplefd)
{
	struct doorbell_irqfd irqfd = {
		.fd = fd, .line = line, .flags = DOORBELL_IRQFD_FLAG_RESAMPLE,
		.resamplefd = resamplefd,
	};

	return db_ioctl(db, DOORBELL_IRQFD, &irqfd);
}

/* DOORBELL_MASK, _UNMASK, _CLEAR and _PENDING. */
static inline int db_lineset(int db, unsigned long cmd, uint32_t line, uint32_t nr_lines,
			     const uint64_t *lines, uint64_t *result)
{
	struct doorbell_line_set set = {
		.line = line, .nr_lines = nr_lines,
		.lines = (uintptr_t)lines, .result = (uintptr_t)result,
	};

	return db_ioctl(db, cmd, &set);
}

static inline int db_mask(int db, uint32_t line)
{
	return db_lineset(db, DOORBELL_MASK, line, 1, NULL, NULL);
}

static inline int db_unmask(int db, uint32_t line)
{
	return db_lineset(db, DOORBELL_UNMASK, line, 1, NULL, NULL);
}

static inline int db_clear(int db, uint32_t line)
{
	return db_lineset(db, DOORBELL_CLEAR, line, 1, NULL, NULL);
}

static inline int db_pending(int db, uint32_t line)
{
	return db_lineset(db, DOORBELL_PENDING, line, 1, NULL, NULL);
}

/* A context with @nr_lines lines; 0: not chosen yet. */
static inline int new_context(struct __test_metadata *_metadata, uint32_t nr_lines)
{
	int db = open(DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, db) {
		TH_LOG("%s: %s; is the module loaded, and are you root?",
		       DEVICE, strerror(errno));
	}
	if (nr_lines)
		ASSERT_EQ(0, db_set_lines(db, nr_lines));
	return db;
}

static inline struct doorbell_get_info info_of(struct __test_metadata *_metadata, int db)
{
	struct doorbell_get_info info;

	ASSERT_EQ(0, db_info(db, &info));
	return info;
}

static inline struct doorbell_query line_of(struct __test_metadata *_metadata, int db,
					    uint32_t line)
{
	struct doorbell_query query;

	ASSERT_EQ(0, db_query(db, line, &query));
	return query;
}

/* Waits until nothing is pending on the line, and returns its state. */
static inline struct doorbell_query settled(struct __test_metadata *_metadata, int db,
					    uint32_t line)
{
	struct doorbell_query query;

	ASSERT_TRUE(WAIT_FOR(!((query = line_of(_metadata, db, line)).state &
			       DOORBELL_LINE_PENDING)));
	return query;
}

/* The status pages. Between two looks at a field there is always a system call. */

/* Of that many lines, in whole pages. */
static inline size_t status_size(uint32_t nr_lines)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (nr_lines * sizeof(struct doorbell_line_status) + page - 1) / page * page;
}

static inline const struct doorbell_line_status *map_status(struct __test_metadata *_metadata, int db,
						       uint32_t nr_lines)
{
	void *status = mmap(NULL, status_size(nr_lines), PROT_READ, MAP_SHARED, db,
			    status_offset(db));

	ASSERT_TRUE(status != MAP_FAILED) {
		TH_LOG("mmap: %s", strerror(errno));
	}
	return status;
}

static inline uint32_t status_state(const struct doorbell_line_status *status)
{
	return status->state & DOORBELL_LINE_STATE;
}

/* Whether the page shows what QUERY does, of a line that nothing happens to meanwhile. */
static inline bool status_agrees(const struct doorbell_line_status *status,
				 const struct doorbell_query *query)
{
	bool pending = query->state & DOORBELL_LINE_PENDING;

	return status_state(status) == query->state &&
	       status->deliveries == query->deliveries &&
	       status->dropped == query->dropped &&
	       status->deferred == query->deferred &&
	       status->acks == query->acks &&
	       status->deliveries + status->coalesced + status->dropped + pending == query->rings;
}

/* Eventfds: non-blocking, so that no test hangs where it should fail. */

static inline int new_eventfd(struct __test_metadata *_metadata, unsigned int count,
			      int flags)
{
	int fd = eventfd(count, flags | EFD_NONBLOCK | EFD_CLOEXEC);

	ASSERT_LE(0, fd);
	return fd;
}

/* Has line @from of context @a ring line @to of context @b; returns the eventfd between. */
static inline int link_lines(struct __test_metadata *_metadata, int a, uint32_t from, int b,
			     uint32_t to)
{
	int efd = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, db_irqfd(b, efd, to, 0));
	ASSERT_EQ(0, db_trigger(a, efd, from, 0));
	return efd;
}

static inline int efd_write(int fd, uint64_t value)
{
	return write(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -errno;
}

/* What read(2) gives: 0 if there is nothing. */
static inline uint64_t efd_read(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* All that is there, also of an EFD_SEMAPHORE eventfd. */
static inline uint64_t efd_drain(int fd)
{
	uint64_t sum = 0, count;

	while ((count = efd_read(fd)))
		sum += count;
	return sum;
}

static inline int efd_poll(int fd, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int ret = poll(&pfd, 1, timeout_ms);

	return ret > 0 ? pfd.revents : ret;
}

/* Waits for one of the events and returns all that there are; 0 after the timeout. */
static inline int efd_await(int fd, short events)
{
	struct timeout timeout = {};
	bool last = false;
	int ret;

	while (!(ret = efd_poll(fd, events, last ? 0 : WAIT_SLICE_MS)) && !last)
		last = timed_out(&timeout);
	return ret;
}

/* Waits for the next signal and takes the counter; 0 after the timeout. */
static inline uint64_t efd_wait(int fd)
{
	efd_await(fd, POLLIN);
	return efd_read(fd);
}

/* The counter as /proc shows it: no ioctl of ours is asked, nothing is taken. */
static inline uint64_t efd_count(int fd)
{
	char path[40], buf[256], *at;
	uint64_t count = UINT64_MAX;
	ssize_t len;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	len = info < 0 ? -1 : read(info, buf, sizeof(buf) - 1);
	if (len > 0) {
		buf[len] = '\0';
		at = strstr(buf, "eventfd-count:");
		if (at)
			count = strtoull(at + strlen("eventfd-count:"), NULL, 16);
	}
	if (info >= 0)
		close(info);
	return count;
}

/* The state of a line of self->db as each of the ways to look at it has it. */
#define EXPECT_STATE(line, expected) do {				\
	const uint32_t __line = line, __state = expected;		\
	struct doorbell_query __query = line_of(_metadata, self->db, __line); \
									\
	EXPECT_EQ(__state, __query.state);				\
	EXPECT_TRUE(status_agrees(&self->status[__line], &__query));	\
	EXPECT_EQ(!!(__state & DOORBELL_LINE_PENDING), db_pending(self->db, __line)); \
} while (0)

/* How many users the module has. */
#define REFCNT	"/sys/module/doorbell/refcnt"

static inline long refcnt(void)
{
	long count = -1;
	FILE *file = fopen(REFCNT, "re");

	if (file) {
		if (fscanf(file, "%ld", &count) != 1)
			count = -1;
		fclose(file);
	}
	return count;
}

/* Processors and threads. */

/* Returns true if the kernel is PREEMPT_RT. */
static inline bool preempt_rt(void)
{
	struct utsname name;

	return !uname(&name) && strstr(name.version, "PREEMPT_RT");
}

/* Returns true if the kernel is one with KASAN and lockdep, which make it ten times as slow. */
static inline bool debug_kernel(void)
{
	struct utsname name;

	return !uname(&name) && strstr(name.release, "-debug");
}

/* Spins a while that differs from round to round, to meet another thread at all places. */
static inline void dither(unsigned int round)
{
	unsigned int n = round % 64 * 20;

	while (n--)
		atomic_signal_fence(memory_order_seq_cst);
}

/* Pins the thread to the n-th of the processors that it may use, counted around. */
static inline void pin_to(unsigned int n)
{
	static cpu_set_t all;
	static bool known;
	unsigned int cpu, left;
	cpu_set_t one;

	/* The first call is made before there are threads. */
	if (!known)
		known = !sched_getaffinity(0, sizeof(all), &all);
	left = n % CPU_COUNT(&all);
	for (cpu = 0; !CPU_ISSET(cpu, &all) || left--; cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/* Returns true if the thread of that "stat" file sleeps. */
static inline bool stat_sleeps(const char *path)
{
	char buf[256], *at;
	bool asleep = false;
	ssize_t len;
	int stat;

	stat = open(path, O_RDONLY | O_CLOEXEC);
	if (stat < 0)
		return false;
	len = read(stat, buf, sizeof(buf) - 1);
	if (len > 0) {
		buf[len] = '\0';
		at = strrchr(buf, ')');
		asleep = at && !strncmp(at, ") S", 3);
	}
	close(stat);
	return asleep;
}

/* Returns true if the thread sleeps: it is blocked, if it is known to be in a system call. */
static inline bool sleeps(pid_t tid)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	return stat_sleeps(path);
}

/* A thread on the second processor that does one thing again and again. */
struct hammer {
	void (*hit)(struct hammer *hammer);
	int fd;
	uint32_t line;
	/* How often hit() was entered and left. */
	atomic_ulong started;
	atomic_ulong done;
	atomic_bool pause;
	atomic_bool idle;
	atomic_bool stop;
	pthread_t thread;
};

static inline void hit_ring(struct hammer *hammer)
{
	db_ring(hammer->fd, hammer->line);
}

static inline void hit_write(struct hammer *hammer)
{
	efd_write(hammer->fd, 1);
}

static inline void *hammer_loop(void *arg)
{
	struct hammer *hammer = arg;

	pin_to(1);
	while (!atomic_load(&hammer->stop)) {
		if (atomic_load(&hammer->pause)) {
			atomic_store(&hammer->idle, true);
			while (atomic_load(&hammer->pause) && !atomic_load(&hammer->stop))
				sched_yield();
			atomic_store(&hammer->idle, false);
			continue;
		}
		atomic_fetch_add(&hammer->started, 1);
		hammer->hit(hammer);
		atomic_fetch_add(&hammer->done, 1);
	}
	return NULL;
}

static inline void hammer_start(struct __test_metadata *_metadata, struct hammer *hammer)
{
	pin_to(0);
	ASSERT_EQ(0, pthread_create(&hammer->thread, NULL, hammer_loop, hammer));
}

static inline void hammer_stop(struct hammer *hammer)
{
	atomic_store(&hammer->stop, true);
	pthread_join(hammer->thread, NULL);
}

static inline bool hammer_pause(struct hammer *hammer)
{
	atomic_store(&hammer->pause, true);
	return SPIN_FOR(atomic_load(&hammer->idle));
}

static inline bool hammer_resume(struct hammer *hammer)
{
	atomic_store(&hammer->pause, false);
	return SPIN_FOR(!atomic_load(&hammer->idle));
}

/* Waits until what is under way is done, and @more after it. */
static inline bool hammer_passes(struct hammer *hammer, unsigned long more)
{
	unsigned long target = atomic_load(&hammer->started) + more;

	return SPIN_FOR(atomic_load(&hammer->done) >= target);
}

/* The kernel's log. */

/* From here on; -1 if this process may not read it. */
static inline int kmsg_open(void)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (kmsg >= 0)
		lseek(kmsg, 0, SEEK_END);
	return kmsg;
}

/* How many complaints the kernel logged since; prints them. Closes @kmsg. */
static inline int kmsg_complaints(int kmsg)
{
	static const char * const complaints[] = {
		"WARNING:", "BUG:", "Oops", "rcu: INFO", "soft lockup", "hung task",
		"blocked for more than", "possible recursive locking", "refcount_t:",
	};
	char record[8192];
	unsigned int i;
	int nr = 0;
	ssize_t len;

	for (;;) {
		len = read(kmsg, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			break;
		record[len] = '\0';
		for (i = 0; i < ARRAY_SIZE(complaints); i++) {
			if (strstr(record, complaints[i])) {
				ksft_print_msg("kernel: %s", record);
				nr++;
				break;
			}
		}
	}
	close(kmsg);
	return nr;
}

#endif /* _DOORBELL_TEST_H */
