// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts the instructions of each path: of doorbell, of its twin in C, and of raw eventfds.
 *
 * The guest must count instructions (QEMU's -icount): there the time-stamp counter advances
 * by a fixed number of ticks for each. A path is a short sequence of system calls. A figure
 * is the number of instructions from each syscall instruction to the next instruction in
 * userspace, and nothing else: the same loop without the syscall instruction is subtracted.
 *
 * "make bench-instructions" runs this in the lab. It prints a line of JSON for each figure.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/doorbell.h>
#include <doorbell_status.h>
#include <doorbell_summary.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define MAX_CALLS	4
/* A batch is short enough that hardly any has a timer's interrupt in it. */
#define BATCH		16
#define BATCHES		200
/* Batches before the first that counts. */
#define WARM_UP		8

/* Lines of a context, and of the calls for many lines. */
#define LINES		128
#define MANY		64
/* Lines of a context that is opened and closed. */
#define IDLE_LINES	256

/* The address of a region in userspace's own bus. */
#define ADDR		0x1000

/* A system call, and the value that it must return. */
struct call {
	long nr;
	long args[4];
	long expected;
};

/* The calls that a figure is for, and what they need. */
struct path {
	int fd;			/* the device, with LINES lines */
	struct call calls[MAX_CALLS];
	int nr_calls;
	/* An eventfd that each iteration signals, if it does not read it, and how often. */
	int signalled;
	uint64_t signals;
	/* Words of the summary that userspace clears before each call. */
	__u64 *cleared[3];
	int nr_cleared;
	/* Arguments, in the order in which they are used. */
	union argument {
		struct doorbell_trigger trigger;
		struct doorbell_irqfd irqfd;
		struct doorbell_region region;
		struct doorbell_query query;
		struct doorbell_line_set set;
		struct doorbell_bus_write write;
		struct doorbell_ring_wait ring_wait;
		struct doorbell_wait wait;
	} args[MAX_CALLS];
	struct doorbell_bus_access accesses[MANY];
};

static uint64_t one = 1, count;

/* Exits with a message unless @ret is a success. */
static int must(int ret, const char *what)
{
	if (ret < 0)
		err(1, "%s", what);
	return ret;
}

/* Makes the call, or only sets up its registers. Returns what is in rax then. */
static __always_inline long enter(const struct call *call, bool make)
{
	register long r10 asm("r10") = call->args[3];
	long ret;

	if (make)
		asm volatile("syscall" : "=a"(ret)
			     : "0"(call->nr), "D"(call->args[0]), "S"(call->args[1]),
			       "d"(call->args[2]), "r"(r10) : "rcx", "r11", "memory");
	else
		asm volatile("" : "=a"(ret)
			     : "0"(call->nr), "D"(call->args[0]), "S"(call->args[1]),
			       "d"(call->args[2]), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

static __always_inline long iterate(const struct path *path, int iterations, bool make)
{
	long sum = 0;

	while (iterations--) {
		for (int i = 0; i < path->nr_cleared; i++)
			__atomic_store_n(path->cleared[i], 0, __ATOMIC_RELAXED);
		for (int i = 0; i < path->nr_calls; i++)
			sum += enter(&path->calls[i], make);
	}
	return sum;
}

/* Makes all calls so often. Returns the sum of what they return. */
static __attribute_noinline__ long run(const struct path *path, int iterations)
{
	return iterate(path, iterations, true);
}

/* Executes the same instructions in userspace, without the syscall instruction. */
static __attribute_noinline__ long run_empty(const struct path *path, int iterations)
{
	return iterate(path, iterations, false);
}

/* The profiler cuts its trace where this begins. */
__attribute_noinline__ void profiled_iteration(const struct path *path)
{
	run(path, 1);
}

static inline uint64_t ticks(void)
{
	uint32_t low, high;

	asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorted. */
struct sample {
	uint64_t ticks[BATCHES];
	int nr;
};

static void sort(struct sample *sample)
{
	qsort(sample->ticks, sample->nr, sizeof(sample->ticks[0]), compare);
}

static double ticks_per_instruction;

static uint64_t measure_nothing(void)
{
	struct sample sample = { .nr = BATCHES };

	for (int i = 0; i < sample.nr; i++) {
		uint64_t start = ticks();

		sample.ticks[i] = ticks() - start;
	}
	sort(&sample);
	return sample.ticks[0];
}

static uint64_t measure_nops(void)
{
	struct sample sample = { .nr = BATCHES };

	for (int i = 0; i < sample.nr; i++) {
		uint64_t start = ticks();

		asm volatile(".rept 10000\n\tnop\n\t.endr");
		sample.ticks[i] = ticks() - start;
	}
	sort(&sample);
	if (sample.ticks[0] != sample.ticks[BATCHES / 2])
		return 0;
	return sample.ticks[0];
}

/* Finds the ticks of an instruction, which are the same for each if QEMU counts. */
static void calibrate(void)
{
	uint64_t nothing = measure_nothing(), nops = measure_nops();

	if (nops <= nothing || (nops - nothing) % 10000)
		errx(1, "this machine does not count instructions: use DOORBELL_ACCEL=icount");
	ticks_per_instruction = (nops - nothing) / 10000;
}

/* A path: setting it up */

static void add_call(struct path *path, long expected, long nr, long arg0, long arg1, long arg2,
		     long arg3)
{
	if (path->nr_calls == MAX_CALLS)
		errx(1, "a path has more than %d calls", MAX_CALLS);
	path->calls[path->nr_calls++] = (struct call){
		.nr = nr, .args = { arg0, arg1, arg2, arg3 }, .expected = expected,
	};
}

static void add_ioctl(struct path *path, long expected, unsigned long cmd, unsigned long arg)
{
	add_call(path, expected, SYS_ioctl, path->fd, cmd, arg, 0);
}

static void add_write(struct path *path, int fd)
{
	add_call(path, sizeof(one), SYS_write, fd, (long)&one, sizeof(one), 0);
}

static void add_read(struct path *path, int fd)
{
	add_call(path, sizeof(count), SYS_read, fd, (long)&count, sizeof(count), 0);
}

/* Returns the argument of the call that is added next. */
static union argument *next_argument(struct path *path)
{
	return &path->args[path->nr_calls];
}

static void add_set(struct path *path, long expected, unsigned long cmd, int line, int nr_lines)
{
	union argument *arg = next_argument(path);

	arg->set = (struct doorbell_line_set){ .line = line, .nr_lines = nr_lines };
	add_ioctl(path, expected, cmd, (long)arg);
}

/* A read of it must not wait for ever. */
static int new_eventfd(void)
{
	return must(eventfd(0, EFD_NONBLOCK), "eventfd");
}

static int new_trigger(struct path *path, int line)
{
	struct doorbell_trigger trigger = { .fd = new_eventfd(), .line = line };

	must(ioctl(path->fd, DOORBELL_TRIGGER, &trigger), "DOORBELL_TRIGGER");
	return trigger.fd;
}

/* An iteration signals the trigger, and does not read it. */
static void new_unread_trigger(struct path *path, int line, int signals)
{
	path->signalled = new_trigger(path, line);
	path->signals = signals;
}

static int new_irqfd(struct path *path, int line)
{
	struct doorbell_irqfd irqfd = { .fd = new_eventfd(), .line = line };

	must(ioctl(path->fd, DOORBELL_IRQFD, &irqfd), "DOORBELL_IRQFD");
	return irqfd.fd;
}

static int new_region(struct path *path)
{
	struct doorbell_region region = { .addr = ADDR, .length = 4, .fd = new_eventfd() };

	must(ioctl(path->fd, DOORBELL_REGION, &region), "DOORBELL_REGION");
	return region.fd;
}

static void new_line_region(struct path *path, int line)
{
	struct doorbell_region region = {
		.addr = ADDR, .length = 4, .line = line, .flags = DOORBELL_REGION_FLAG_LINE,
	};

	must(ioctl(path->fd, DOORBELL_REGION, &region), "DOORBELL_REGION");
}

static void add_pwrite(struct path *path)
{
	add_call(path, 4, SYS_pwrite64, path->fd, (long)&one, 4, ADDR);
}

/* The paths, as functions that add their calls */

static void getppid_path(struct path *path)
{
	add_call(path, getppid(), SYS_getppid, 0, 0, 0, 0);
}

static void raw_write(struct path *path)
{
	path->signalled = new_eventfd();
	path->signals = 1;
	add_write(path, path->signalled);
}

static void raw_read(struct path *path)
{
	int fd = must(eventfd(1 << 30, EFD_NONBLOCK | EFD_SEMAPHORE), "eventfd");

	add_read(path, fd);
}

static void raw_both(struct path *path)
{
	int fd = new_eventfd();

	add_write(path, fd);
	add_read(path, fd);
}

static void raw_ioctl(struct path *path)
{
	path->fd = new_eventfd();
	add_ioctl(path, -ENOTTY, _IO(DOORBELL_IOC_MAGIC, 0xff), 0);
}

static void unknown_ioctl(struct path *path)
{
	add_ioctl(path, -ENOTTY, _IO(DOORBELL_IOC_MAGIC, 0xff), 0);
}

static void ring(struct path *path)
{
	new_unread_trigger(path, 0, 1);
	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
}

static void ring_read(struct path *path)
{
	int fd = new_trigger(path, 0);

	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
	add_read(path, fd);
}

static void ring_many(struct path *path, int triggers)
{
	for (int i = 1; i < triggers; i++)
		new_trigger(path, 0);
	ring(path);
}

static void ring_8(struct path *path)
{
	ring_many(path, 8);
}

static void ring_64(struct path *path)
{
	ring_many(path, 64);
}

static void ring_none(struct path *path)
{
	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
}

static void summarise(struct path *path)
{
	struct doorbell_summary summary = { .line = 0, .nr_lines = LINES };

	must(ioctl(path->fd, DOORBELL_SUMMARY, &summary), "DOORBELL_SUMMARY");
}

/* The line is marked already. */
static void ring_marked(struct path *path)
{
	summarise(path);
	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
}

/* The line is newly marked, and no thread waits. */
static void ring_summary(struct path *path)
{
	struct doorbell_summary_words words;

	summarise(path);
	if (doorbell_map_summary(path->fd, &words))
		errx(1, "cannot map the summary");
	path->cleared[0] = &words.map->top;
	path->cleared[1] = &words.map->groups[0];
	path->cleared[2] = &words.map->lines[0];
	path->nr_cleared = 3;
	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
}

/* Rings the line once: its interval has begun. */
static void moderated(struct path *path, uint32_t max_count)
{
	struct doorbell_moderate limits = {
		.line = 0, .min_interval = DOORBELL_MAX_INTERVAL, .max_count = max_count,
	};

	must(ioctl(path->fd, DOORBELL_MODERATE, &limits), "DOORBELL_MODERATE");
	must(ioctl(path->fd, DOORBELL_RING, 0), "DOORBELL_RING");
}

/* The interval outlasts the measurement. */
static void ring_held(struct path *path)
{
	new_trigger(path, 0);
	moderated(path, 0);
	must(ioctl(path->fd, DOORBELL_RING, 0), "DOORBELL_RING");
	add_ioctl(path, DOORBELL_RING_COALESCED, DOORBELL_RING, 0);
}

/* Each ring ends an interval, and its delivery begins another one. */
static void ring_count(struct path *path)
{
	moderated(path, 1);
	new_unread_trigger(path, 0, 1);
	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
}

static void ring_no_line(struct path *path)
{
	add_ioctl(path, -ENXIO, DOORBELL_RING, LINES);
}

static void ring_masked(struct path *path)
{
	struct doorbell_line_set set = { .line = 0, .nr_lines = 1 };

	new_trigger(path, 0);
	must(ioctl(path->fd, DOORBELL_MASK, &set), "DOORBELL_MASK");
	must(ioctl(path->fd, DOORBELL_RING, 0), "DOORBELL_RING");
	add_ioctl(path, DOORBELL_RING_COALESCED, DOORBELL_RING, 0);
}

static void ring_lines(struct path *path)
{
	for (int line = 0; line < MANY - 1; line++)
		new_trigger(path, line);
	new_unread_trigger(path, MANY - 1, 1);
	add_set(path, MANY, DOORBELL_RING_LINES, 0, MANY);
}

static void ring_lines_masked(struct path *path)
{
	struct doorbell_line_set set = { .line = 0, .nr_lines = MANY };

	must(ioctl(path->fd, DOORBELL_MASK, &set), "DOORBELL_MASK");
	must(ioctl(path->fd, DOORBELL_RING_LINES, &set), "DOORBELL_RING_LINES");
	add_set(path, 0, DOORBELL_RING_LINES, 0, MANY);
}

static void relay(struct path *path)
{
	int fd = new_irqfd(path, 0);

	new_unread_trigger(path, 0, 1);
	add_write(path, fd);
}

static void relay_read(struct path *path)
{
	int irqfd = new_irqfd(path, 0), trigger = new_trigger(path, 0);

	add_write(path, irqfd);
	add_read(path, trigger);
}

static void add_waiters(struct path *path, int line)
{
	struct doorbell_trigger trigger = {
		.fd = -1, .line = line, .flags = DOORBELL_TRIGGER_FLAG_WAITERS,
	};

	must(ioctl(path->fd, DOORBELL_TRIGGER, &trigger), "DOORBELL_TRIGGER");
}

static void add_wait(struct path *path, int line)
{
	union argument *arg = next_argument(path);

	arg->wait = (struct doorbell_wait){ .line = line };
	add_ioctl(path, 0, DOORBELL_WAIT, (long)arg);
}

static void add_ring_wait(struct path *path, int fd, int flags)
{
	union argument *arg = next_argument(path);

	arg->ring_wait = (struct doorbell_ring_wait){ .line = 0, .fd = fd, .flags = flags };
	add_ioctl(path, 0, DOORBELL_RING_WAIT, (long)arg);
}

static void relay_waiters(struct path *path)
{
	int irqfd = new_irqfd(path, 0);

	add_waiters(path, 0);
	add_write(path, irqfd);
}

static void relay_wait(struct path *path)
{
	relay_waiters(path);
	add_wait(path, 0);
}

static void ring_waiters(struct path *path)
{
	add_waiters(path, 0);
	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
}

static void ring_then_wait(struct path *path)
{
	ring_waiters(path);
	add_wait(path, 0);
}

static void ring_wait(struct path *path)
{
	add_ring_wait(path, new_trigger(path, 0), 0);
}

static void ring_wait_line(struct path *path)
{
	add_waiters(path, 0);
	add_ring_wait(path, 0, DOORBELL_RING_WAIT_FLAG_LINE);
}

static void region(struct path *path)
{
	path->signalled = new_region(path);
	path->signals = 1;
	add_pwrite(path);
}

static void region_last(struct path *path)
{
	struct doorbell_set_records set = {
		.flags = DOORBELL_SET_RECORDS_FLAG_VALUES, .nr_values = 1,
	};
	struct doorbell_region region = {
		.addr = ADDR, .length = 4, .fd = new_eventfd(), .flags = DOORBELL_REGION_FLAG_LAST,
	};

	must(ioctl(path->fd, DOORBELL_SET_RECORDS, &set), "DOORBELL_SET_RECORDS");
	must(ioctl(path->fd, DOORBELL_REGION, &region), "DOORBELL_REGION");
	path->signalled = region.fd;
	path->signals = 1;
	add_pwrite(path);
}

static void region_read(struct path *path)
{
	int fd = new_region(path);

	add_pwrite(path);
	add_read(path, fd);
}

static void region_line(struct path *path)
{
	new_unread_trigger(path, 0, 1);
	new_line_region(path, 0);
	add_pwrite(path);
}

static void region_line_read(struct path *path)
{
	int fd = new_trigger(path, 0);

	new_line_region(path, 0);
	add_pwrite(path);
	add_read(path, fd);
}

static void add_bus_write(struct path *path, int accesses)
{
	union argument *arg = next_argument(path);

	for (int i = 0; i < accesses; i++)
		path->accesses[i] = (struct doorbell_bus_access){
			.addr = ADDR, .value = 1, .length = 4,
		};
	arg->write = (struct doorbell_bus_write){
		.accesses = (uintptr_t)path->accesses, .nr_accesses = accesses,
	};
	path->signals = accesses;
	add_ioctl(path, accesses, DOORBELL_BUS_WRITE, (long)arg);
}

static void bus_write(struct path *path)
{
	path->signalled = new_region(path);
	add_bus_write(path, 1);
}

static void bus_write_many(struct path *path)
{
	path->signalled = new_region(path);
	add_bus_write(path, MANY);
}

static void bus_write_many_line(struct path *path)
{
	path->signalled = new_trigger(path, 0);
	new_line_region(path, 0);
	add_bus_write(path, MANY);
}

static void mask_unmask(struct path *path)
{
	new_trigger(path, 0);
	add_set(path, 1, DOORBELL_MASK, 0, 1);
	add_set(path, 0, DOORBELL_UNMASK, 0, 1);
}

static void mask_unmask_many(struct path *path)
{
	add_set(path, MANY, DOORBELL_MASK, 0, MANY);
	add_set(path, 0, DOORBELL_UNMASK, 0, MANY);
}

static void mask_ring_unmask(struct path *path)
{
	new_unread_trigger(path, 0, 1);
	add_set(path, 1, DOORBELL_MASK, 0, 1);
	add_ioctl(path, DOORBELL_RING_MASKED, DOORBELL_RING, 0);
	add_set(path, 1, DOORBELL_UNMASK, 0, 1);
}

static void pending(struct path *path)
{
	add_set(path, 0, DOORBELL_PENDING, 0, 1);
}

static void query(struct path *path)
{
	union argument *arg = next_argument(path);

	new_trigger(path, 0);
	arg->query = (struct doorbell_query){ .line = 0 };
	add_ioctl(path, 0, DOORBELL_QUERY, (long)arg);
}

static void level(struct path *path)
{
	struct doorbell_set_type type = { .line = 0, .type = DOORBELL_TYPE_LEVEL };

	must(ioctl(path->fd, DOORBELL_SET_TYPE, &type), "DOORBELL_SET_TYPE");
	new_unread_trigger(path, 0, 1);
}

static void level_ring_ack(struct path *path)
{
	level(path);
	add_ioctl(path, DOORBELL_RING_DELIVERED, DOORBELL_RING, 0);
	add_ioctl(path, DOORBELL_ACK_DONE, DOORBELL_ACK, 0);
}

static void level_ring_asserted(struct path *path)
{
	level(path);
	path->signals = 0;
	must(ioctl(path->fd, DOORBELL_RING, 0), "DOORBELL_RING");
	must(read(path->signalled, &count, sizeof(count)), "read");
	add_ioctl(path, DOORBELL_RING_COALESCED, DOORBELL_RING, 0);
}

static void add_trigger_change(struct path *path, int fd, int flags)
{
	union argument *arg = next_argument(path);

	arg->trigger = (struct doorbell_trigger){ .fd = fd, .line = 0, .flags = flags };
	add_ioctl(path, 0, DOORBELL_TRIGGER, (long)arg);
}

static void trigger_change(struct path *path)
{
	int fd = new_eventfd();

	new_trigger(path, 0);
	add_trigger_change(path, fd, 0);
	add_trigger_change(path, fd, DOORBELL_TRIGGER_FLAG_DEASSIGN);
}

static void add_irqfd_change(struct path *path, int fd, int flags)
{
	union argument *arg = next_argument(path);

	arg->irqfd = (struct doorbell_irqfd){ .fd = fd, .line = 0, .flags = flags };
	add_ioctl(path, 0, DOORBELL_IRQFD, (long)arg);
}

static void irqfd_change(struct path *path)
{
	int fd = new_eventfd();

	new_trigger(path, 0);
	new_irqfd(path, 0);
	add_irqfd_change(path, fd, 0);
	add_irqfd_change(path, fd, DOORBELL_IRQFD_FLAG_DEASSIGN);
}

static void add_region_change(struct path *path, int fd, int flags)
{
	union argument *arg = next_argument(path);

	arg->region = (struct doorbell_region){
		.addr = 2 * ADDR, .length = 4, .fd = fd, .flags = flags,
	};
	add_ioctl(path, 0, DOORBELL_REGION, (long)arg);
}

static void region_change(struct path *path)
{
	int fd = new_eventfd();

	new_region(path);
	add_region_change(path, fd, 0);
	add_region_change(path, fd, DOORBELL_REGION_FLAG_DEASSIGN);
}

/* Each row of the table: a path of the two devices, and what is nearest to it of eventfds. */
static const struct row {
	const char *name;
	const char *text;
	void (*device)(struct path *path);
	void (*raw)(struct path *path);
	/* The figure is per one of so many. */
	int per;
} rows[] = {
	{ "getppid", "getppid", NULL, getppid_path, 1 },
	{ "eventfd-write", "write an eventfd", NULL, raw_write, 1 },
	{ "eventfd-read", "read an eventfd", NULL, raw_read, 1 },
	{ "eventfd-both", "write and read an eventfd", NULL, raw_both, 1 },
	{ "ioctl", "unknown ioctl (ENOTTY)", unknown_ioctl, raw_ioctl, 1 },
	{ "ring", "ring", ring, raw_write, 1 },
	{ "ring-read", "ring, read the trigger", ring_read, raw_both, 1 },
	{ "ring-8", "ring, 8 triggers", ring_8, NULL, 1 },
	{ "ring-64", "ring, 64 triggers", ring_64, NULL, 1 },
	{ "ring-none", "ring, no trigger", ring_none, NULL, 1 },
	{ "ring-summary", "ring, marks the summary", ring_summary, NULL, 1 },
	{ "ring-marked", "ring, the summary has the mark", ring_marked, NULL, 1 },
	{ "ring-held", "ring a moderated line, coalesces", ring_held, NULL, 1 },
	{ "ring-count", "ring, ends an interval: delivers", ring_count, NULL, 1 },
	{ "ring-no-line", "ring, no such line (ENXIO)", ring_no_line, NULL, 1 },
	{ "ring-masked", "ring a masked line, coalesces", ring_masked, NULL, 1 },
	{ "ring-lines", "RING_LINES of 64, each line", ring_lines, NULL, MANY },
	{ "ring-lines-masked", "RING_LINES of 64 masked, each", ring_lines_masked, NULL, MANY },
	{ "relay", "write an irqfd", relay, raw_write, 1 },
	{ "relay-read", "write an irqfd, read the trigger", relay_read, raw_both, 1 },
	{ "relay-waiters", "write an irqfd, line with waiters", relay_waiters, raw_write, 1 },
	{ "relay-wait", "write an irqfd, WAIT", relay_wait, raw_both, 1 },
	{ "ring-waiters", "ring a line with waiters", ring_waiters, raw_write, 1 },
	{ "ring-then-wait", "ring, WAIT", ring_then_wait, raw_both, 1 },
	{ "ring-wait", "RING_WAIT, eventfd", ring_wait, raw_both, 1 },
	{ "ring-wait-line", "RING_WAIT, line", ring_wait_line, raw_both, 1 },
	{ "region", "pwrite to a region", region, raw_write, 1 },
	{ "region-last", "pwrite to a region, last value", region_last, raw_write, 1 },
	{ "region-read", "pwrite to a region, read", region_read, raw_both, 1 },
	{ "region-line", "pwrite to a line's region", region_line, raw_write, 1 },
	{ "region-line-read", "pwrite to a line's region, read", region_line_read, raw_both, 1 },
	{ "batch-1", "BUS_WRITE of 1, eventfd", bus_write, NULL, 1 },
	{ "batch", "BUS_WRITE of 64, eventfd, each", bus_write_many, NULL, MANY },
	{ "batch-line", "BUS_WRITE of 64, line, each", bus_write_many_line, NULL, MANY },
	{ "mask", "MASK, UNMASK", mask_unmask, NULL, 1 },
	{ "mask-64", "MASK, UNMASK of 64, each line", mask_unmask_many, NULL, MANY },
	{ "mask-ring", "MASK, ring, UNMASK: delivers", mask_ring_unmask, NULL, 1 },
	{ "pending", "PENDING", pending, NULL, 1 },
	{ "query", "QUERY", query, NULL, 1 },
	{ "level", "level line: ring, ACK", level_ring_ack, NULL, 1 },
	{ "level-asserted", "level line: ring, asserted", level_ring_asserted, NULL, 1 },
	{ "trigger", "assign, deassign a trigger", trigger_change, NULL, 1 },
	{ "irqfd", "assign, deassign an irqfd", irqfd_change, NULL, 1 },
	{ "region-change", "assign, deassign a region", region_change, NULL, 1 },
};

static const struct device {
	const char *name;
	const char *path;
} devices[] = {
	{ "doorbell", "/dev/doorbell" },
	{ "twin", "/dev/doorbell-twin" },
	{ "raw", NULL },
};

/* The paths of calls that the twin does not have. */
static void (*const without_twin[])(struct path *path) = {
	ring_summary, ring_marked, ring_held, ring_count, region_last,
	relay_waiters, relay_wait, ring_waiters, ring_then_wait, ring_wait, ring_wait_line,
};

static int open_device(const struct device *device, int nr_lines)
{
	struct doorbell_set_lines lines = { .nr_lines = nr_lines };
	int fd = must(open(device->path, O_RDWR | O_CLOEXEC), device->path);

	must(ioctl(fd, DOORBELL_SET_LINES, &lines), "DOORBELL_SET_LINES");
	return fd;
}

/* Returns the function that adds the calls of @row on @device, or NULL if there is none. */
static void (*calls_of(const struct row *row, const struct device *device))(struct path *path)
{
	if (!device->path)
		return row->raw;
	for (size_t i = 0; i < ARRAY_SIZE(without_twin); i++)
		if (device != &devices[0] && row->device == without_twin[i])
			return NULL;
	return row->device;
}

/* Sets up the path of @row on @device. */
static void set_up(struct path *path, const struct row *row, const struct device *device)
{
	memset(path, 0, sizeof(*path));
	path->fd = device->path ? open_device(device, LINES) : -1;
	path->signalled = -1;
	calls_of(row, device)(path);
}

/* Closes what the path has opened. */
static void tear_down(void)
{
	must(close_range(3, ~0U, 0), "close_range");
}

/* Makes each call once, and exits if it does not return what it must. */
static void check_calls(const struct path *path, const struct row *row, const struct device *device)
{
	for (int i = 0; i < path->nr_calls; i++) {
		long ret = enter(&path->calls[i], true);

		if (ret != path->calls[i].expected)
			errx(1, "%s of %s: call %d returned %ld, not %ld", row->name, device->name,
			     i + 1, ret, path->calls[i].expected);
	}
}

/* Checks that @iterations have sent what they had to send. */
static void check_signals(const struct path *path, const struct row *row,
			  const struct device *device, uint64_t iterations)
{
	uint64_t signals = 0;

	if (path->signalled < 0)
		return;
	if (read(path->signalled, &signals, sizeof(signals)) < 0 && errno != EAGAIN)
		err(1, "%s of %s: read", row->name, device->name);
	if (signals != path->signals * iterations)
		errx(1, "%s of %s: %llu signals, not %llu", row->name, device->name,
		     (unsigned long long)signals, (unsigned long long)(path->signals * iterations));
}

/* Prints a figure: the minimum, the median and the 90th percentile. */
static void print_figure(const char *name, const char *text, const struct device *device,
			 struct sample *sample, uint64_t overhead, double per)
{
	double scale = 1 / (ticks_per_instruction * per);

	sort(sample);
	printf("{\"path\": \"%s\", \"text\": \"%s\", ", name, text);
	printf("\"device\": \"%s\", ", device->name);
	printf("\"min\": %.1f, \"median\": %.1f, \"p90\": %.1f}\n",
	       (sample->ticks[0] - overhead) * scale,
	       (sample->ticks[sample->nr / 2] - overhead) * scale,
	       (sample->ticks[sample->nr * 9 / 10] - overhead) * scale);
	fflush(stdout);
}

static void measure(const struct row *row, const struct device *device)
{
	struct sample sample = { .nr = BATCHES }, empty = { .nr = BATCHES };
	int batch = row->per > 1 ? 1 : BATCH, all = batch * (BATCHES + WARM_UP);
	long expected = 0, sum = 0;
	struct path path;

	set_up(&path, row, device);
	check_calls(&path, row, device);
	for (int i = 0; i < path.nr_calls; i++)
		expected += path.calls[i].expected;
	for (int i = -WARM_UP; i < BATCHES; i++) {
		uint64_t start, middle, end;
		long returned;

		start = ticks();
		run_empty(&path, batch);
		middle = ticks();
		returned = run(&path, batch);
		end = ticks();
		sum += returned;
		if (i < 0)
			continue;
		empty.ticks[i] = middle - start;
		sample.ticks[i] = end - middle;
	}
	if (sum != expected * all)
		errx(1, "%s of %s: the calls returned %ld in all, not %ld", row->name, device->name,
		     sum, expected * all);
	check_signals(&path, row, device, 1 + all);
	sort(&empty);
	print_figure(row->name, row->text, device, &sample, empty.ticks[0], batch * row->per);
	tear_down();
}

/* Measures DOORBELL_SET_LINES and the close of a context of @nr_lines. */
static void open_and_close(const struct device *device, int nr_lines, struct sample *set,
			   struct sample *closed)
{
	struct doorbell_set_lines lines = { .nr_lines = nr_lines };

	set->nr = BATCHES;
	closed->nr = BATCHES;
	for (int i = -WARM_UP; i < BATCHES; i++) {
		int fd = must(open(device->path, O_RDWR | O_CLOEXEC), device->path);
		uint64_t start = ticks(), middle;

		must(ioctl(fd, DOORBELL_SET_LINES, &lines), "DOORBELL_SET_LINES");
		middle = ticks();
		must(close(fd), "close");
		if (i < 0)
			continue;
		closed->ticks[i] = ticks() - middle;
		set->ticks[i] = middle - start;
	}
	sort(set);
	sort(closed);
}

/* Measures what an idle line adds to DOORBELL_SET_LINES, and to the close of its context. */
static void measure_idle(const struct device *device)
{
	struct sample set, closed, set_one, closed_one;

	open_and_close(device, 1, &set_one, &closed_one);
	open_and_close(device, 1 + IDLE_LINES, &set, &closed);
	print_figure("set-lines", "SET_LINES, each line", device, &set,
		     set_one.ticks[BATCHES / 2], IDLE_LINES);
	print_figure("close", "close, each idle line", device, &closed,
		     closed_one.ticks[BATCHES / 2], IDLE_LINES);
}

/* Returns the line whose number of deliveries has changed. */
static __attribute_noinline__ uint32_t scan_status(const struct doorbell_status_pages *status,
						   uint64_t *seen)
{
	uint32_t fired = status->nr_lines;

	for (uint32_t line = 0; line < status->nr_lines; line++) {
		uint64_t deliveries = __atomic_load_n(&doorbell_status_of(status, line)->deliveries,
						      __ATOMIC_ACQUIRE);

		if (deliveries != seen[line]) {
			seen[line] = deliveries;
			fired = line;
		}
	}
	return fired;
}

/* Returns the line that has fired, if it is the only one. */
static __attribute_noinline__ uint32_t take_fired(const struct doorbell_summary_words *summary)
{
	struct doorbell_taker taker = { 0 };
	uint32_t line = DOORBELL_MAX_LINES, none;

	if (doorbell_take(summary, &taker, &line) && doorbell_take(summary, &taker, &none))
		errx(1, "two lines have fired");
	return line;
}

/* Measures how userspace finds the line that has fired among the maximum number of lines. */
static void measure_find(void)
{
	const uint32_t nr = DOORBELL_MAX_LINES;
	struct sample taken = { .nr = BATCHES }, scanned = { .nr = BATCHES };
	uint64_t *seen = calloc(nr, sizeof(*seen)), nothing = measure_nothing();
	int fd = open_device(&devices[0], nr);
	struct doorbell_summary_words summary;
	struct doorbell_status_pages status;

	if (!seen)
		err(1, "calloc");
	must(ioctl(fd, DOORBELL_SUMMARY, &(struct doorbell_summary){ .nr_lines = nr }),
	     "DOORBELL_SUMMARY");
	if (doorbell_map_summary(fd, &summary) || doorbell_map_status(fd, &status))
		errx(1, "cannot map the summary and the status pages");
	for (int i = -WARM_UP; i < BATCHES; i++) {
		uint32_t line = (uint32_t)(i + WARM_UP) * 311 % nr, found[2];
		uint64_t start, middle, end;

		must(ioctl(fd, DOORBELL_RING, line), "DOORBELL_RING");
		start = ticks();
		found[0] = take_fired(&summary);
		middle = ticks();
		found[1] = scan_status(&status, seen);
		end = ticks();
		if (found[0] != line || found[1] != line)
			errx(1, "line %u was rung, %u and %u were found", line, found[0], found[1]);
		if (i < 0)
			continue;
		taken.ticks[i] = middle - start;
		scanned.ticks[i] = end - middle;
	}
	print_figure("find", "find 1 of 65,536 lines", &devices[0], &taken, nothing, 1);
	/* Without doorbell's summary there is the scan of all lines. */
	print_figure("find", "find 1 of 65,536 lines", &devices[2], &scanned, nothing, 1);
	free(seen);
	tear_down();
}

/* Runs the path for the profiler until the process is killed. */
static void loop(const struct row *row, const struct device *device)
{
	struct path path;

	set_up(&path, row, device);
	check_calls(&path, row, device);
	fprintf(stderr, "looping\n");
	for (;;)
		profiled_iteration(&path);
}

static void help(void)
{
	puts("Count the instructions of each path of doorbell, of its twin in C, and of eventfds.\n"
	     "\n"
	     "usage: instructions [--filter TEXT]... [--list]\n"
	     "       instructions --loop PATH DEVICE\n"
	     "\n"
	     "  --filter TEXT       measure the paths whose name contains TEXT: --filter ring\n"
	     "  --list              print the names of the paths\n"
	     "  --loop PATH DEVICE  repeat a path for the profiler: --loop ring twin\n"
	     "\n"
	     "Prints a line of JSON for each path and device. Run it in a guest that counts\n"
	     "instructions: make bench-instructions");
}

static bool matches(const char *name, char **filters, int nr)
{
	for (int i = 0; i < nr; i++)
		if (strstr(name, filters[i]))
			return true;
	return !nr;
}

static const struct row *find_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	errx(1, "there is no path '%s': --list prints the names", name);
}

static const struct device *find_device(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (!strcmp(devices[i].name, name))
			return &devices[i];
	errx(1, "there is no device '%s': it is doorbell, twin or raw", name);
}

static void list(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		puts(rows[i].name);
	puts("set-lines\nclose\nfind");
}

static void measure_all(char **filters, int nr)
{
	int measured = 0;

	calibrate();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!matches(rows[i].name, filters, nr))
			continue;
		measured++;
		fprintf(stderr, "measuring %s\n", rows[i].name);
		for (size_t d = 0; d < ARRAY_SIZE(devices); d++)
			if (calls_of(&rows[i], &devices[d]))
				measure(&rows[i], &devices[d]);
	}
	if (matches("set-lines", filters, nr) || matches("close", filters, nr)) {
		measured++;
		fprintf(stderr, "measuring set-lines and close\n");
		for (size_t d = 0; d < ARRAY_SIZE(devices); d++)
			if (devices[d].path)
				measure_idle(&devices[d]);
	}
	if (matches("find", filters, nr)) {
		measured++;
		fprintf(stderr, "measuring find\n");
		measure_find();
	}
	if (!measured)
		errx(1, "no path matches: --list prints the names");
}

int main(int argc, char **argv)
{
	char *filters[argc];
	int nr = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help")) {
			help();
			return 0;
		} else if (!strcmp(argv[i], "--list")) {
			list();
			return 0;
		} else if (!strcmp(argv[i], "--filter") && i + 1 < argc) {
			filters[nr++] = argv[++i];
		} else if (!strcmp(argv[i], "--loop") && i + 3 == argc) {
			const struct row *row = find_row(argv[i + 1]);
			const struct device *device = find_device(argv[i + 2]);

			if (!calls_of(row, device))
				errx(1, "%s has no path %s", device->name, row->name);
			loop(row, device);
		} else {
			errx(1, "unknown argument '%s': try --help", argv[i]);
		}
	}
	measure_all(filters, nr);
	return 0;
}
