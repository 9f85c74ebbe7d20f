/* SPDX-License-Identifier: GPL-2.0-only */
/* A context in which each allocation or user copy of a call fails in turn. See fail_nth.c. */
#ifndef _DOORBELL_FAIL_NTH_H
#define _DOORBELL_FAIL_NTH_H

#include "bus.h"

/* The bitmap has three words, the status pages are three pages. */
#define LINES		130
#define WORDS		3

/* Number of lines whose state is compared. */
#define LOOKED_AT	3

/* Maximum number of faults; more than any call needs. */
#define MOST		20000

#define DEBUGFS		"/sys/kernel/debug/"

static inline void knob(const char *name, const char *value)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), DEBUGFS "%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, value, strlen(value)) < 0)
		ksft_print_msg("%s: %s\n", path, strerror(errno));
	close(fd);
}

static __attribute__((constructor)) void setup_fault_injection(void)
{
	/* Fail allocations that may sleep and reclaim, too: the device makes no others. */
	knob("failslab/ignore-gfp-wait", "N");
	knob("failslab/cache-filter", "N");
	knob("fail_page_alloc/ignore-gfp-wait", "N");
	knob("fail_page_alloc/ignore-gfp-highmem", "N");
	knob("fail_page_alloc/min-order", "0");
	knob("failslab/verbose", "0");
	knob("fail_page_alloc/verbose", "0");
	knob("fail_usercopy/verbose", "0");
}

/* A context and its eventfds, which are created anew for each call. */
struct testbed {
	int db;
	/* An irqfd and a trigger of line 0. */
	int in;
	int out;
	/* An eventfd that the call assigns or deassigns. */
	int spare;
	/* An irqfd of line 1. */
	int next;
	/* The result of the call. */
	int fd;
	void *map;
	size_t map_size;
	/* The offset of the mapping: a call that asks for it could fail, too. */
	uint64_t offset;
	uint64_t lines[WORDS];
	uint64_t result[WORDS];
};

/* All that can be queried of a context. */
struct snapshot {
	int ret[LOOKED_AT];
	struct doorbell_get_info info;
	struct doorbell_query query[LOOKED_AT];
	struct bus_state bus;
	uint64_t in;
	uint64_t out;
	uint64_t spare;
	uint64_t next;
	char fdinfo[1024];
};

struct sweep {
	/* 0: the lines are not chosen yet. */
	uint32_t lines;
	unsigned int spare;
	int spare_flags;
	void (*prepare)(struct __test_metadata *_metadata, struct testbed *w);
	int (*call)(struct testbed *w);
	/* Called after a call that succeeded; returns true if its result is right. */
	bool (*check)(struct testbed *w);
	/* If the copy of the result to the user fails, the spare's count has been consumed. */
	bool takes;
};

static int nth_fd = -1;

FIXTURE(fail_nth) {
	int kmsg;
};

FIXTURE_SETUP(fail_nth)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%ld/fail-nth", syscall(SYS_gettid));
	nth_fd = open(path, O_RDWR | O_CLOEXEC);
	if (nth_fd < 0)
		SKIP(return, "%s: %s: no fault injection in this kernel", path, strerror(errno));
	self->kmsg = kmsg_open();
}

FIXTURE_TEARDOWN(fail_nth)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

static inline void nth_start(struct __test_metadata *_metadata, unsigned int n)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%u", n);

	ASSERT_EQ(len, pwrite(nth_fd, buf, len, 0));
}

/* Returns true if the fault was injected. If not, the read or close here may inject it. */
static inline bool nth_end(struct __test_metadata *_metadata)
{
	char buf[16] = "";
	ssize_t len = pread(nth_fd, buf, sizeof(buf) - 1, 0);
	int tries = 3;

	while (pwrite(nth_fd, "0", 1, 0) != 1)
		ASSERT_LT(0, tries--);
	return len > 0 && !strtoul(buf, NULL, 10);
}

static inline bool quiet(struct testbed *w)
{
	struct doorbell_query query;
	uint32_t i;

	for (i = 0; i < LOOKED_AT; i++) {
		if (!doorbell_query(w->db, i, &query) && query.state == DOORBELL_LINE_PENDING)
			return false;
	}
	return true;
}

static inline void take_snapshot(struct __test_metadata *_metadata, struct testbed *w,
				 struct snapshot *s)
{
	size_t len = 0;
	char line[128];
	FILE *file;
	uint32_t i;

	ASSERT_TRUE(WAIT_FOR(quiet(w)));
	memset(s, 0, sizeof(*s));
	s->info = info_of(_metadata, w->db);
	for (i = 0; i < LOOKED_AT; i++)
		s->ret[i] = doorbell_query(w->db, i, &s->query[i]);
	get_bus_state(w->db, &s->bus);
	s->in = efd_count(w->in);
	s->out = efd_count(w->out);
	s->spare = efd_count(w->spare);
	s->next = efd_count(w->next);
	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", w->db);
	file = fopen(line, "re");
	ASSERT_TRUE(!!file);
	while (fgets(line, sizeof(line), file)) {
		/* Each context has a number of its own. */
		if (!strncmp(line, "doorbell-context:", strlen("doorbell-context:")))
			continue;
		if (!strncmp(line, "doorbell-", strlen("doorbell-")))
			len += snprintf(s->fdinfo + len, sizeof(s->fdinfo) - len, "%s", line);
	}
	fclose(file);
	ASSERT_LT(len, sizeof(s->fdinfo));
}

static inline bool same(const struct snapshot *a, const struct snapshot *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static inline struct testbed new_testbed(struct __test_metadata *_metadata,
					 const struct sweep *sweep)
{
	struct testbed w = { .fd = -1, .map = MAP_FAILED, .lines = { ~0ULL, 5, 2 } };

	w.db = new_context(_metadata, sweep->lines);
	w.in = new_eventfd(_metadata, 0, 0);
	w.out = new_eventfd(_metadata, 0, 0);
	w.next = new_eventfd(_metadata, 0, 0);
	w.spare = new_eventfd(_metadata, sweep->spare, sweep->spare_flags);
	if (sweep->lines >= LOOKED_AT) {
		ASSERT_EQ(0, doorbell_assign_irqfd(w.db, w.in, 0));
		ASSERT_EQ(0, doorbell_assign_trigger(w.db, w.out, 0));
		ASSERT_EQ(0, doorbell_assign_irqfd(w.db, w.next, 1));
	}
	if (sweep->prepare)
		sweep->prepare(_metadata, &w);
	memset(w.result, 0xff, sizeof(w.result));
	return w;
}

/* Maps @size bytes of the context from the offset that was prepared, as the call. */
static inline int map_device(struct testbed *w, size_t size, int prot)
{
	w->map_size = size;
	w->map = mmap(NULL, size, prot, MAP_SHARED, w->db, w->offset);
	return w->map == MAP_FAILED ? -errno : 0;
}

/* Frees all but what the call's check has closed. */
static inline void end_testbed(struct testbed *w)
{
	if (w->map != MAP_FAILED)
		munmap(w->map, w->map_size);
	if (w->fd >= 0)
		close(w->fd);
	close(w->db);
	close(w->in);
	close(w->out);
	close(w->next);
	close(w->spare);
}

/* Expects that the assignments that were there before the call work. */
static inline void still_works(struct __test_metadata *_metadata, const struct sweep *sweep,
			       struct testbed *w)
{
	uint64_t rings;

	if (sweep->lines < LOOKED_AT)
		return;
	doorbell_unmask_lines_for(w->db, 0, sweep->lines, NULL, NULL,
				  DOORBELL_MASK_VECTOR | DOORBELL_MASK_FUNCTION);
	efd_drain(w->out);
	rings = line_of(_metadata, w->db, 0).rings;
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db, 0));
	if (!doorbell_deassign_irqfd(w->db, w->in, 0))
		EXPECT_EQ(0, doorbell_assign_irqfd(w->db, w->in, 0));
	EXPECT_EQ(0, efd_write(w->in, 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, w->db, 0).rings == rings + 2));
	ASSERT_TRUE(WAIT_FOR(efd_count(w->out) == 2));
}

static inline void sweep(struct __test_metadata *_metadata, const struct sweep *sweep)
{
	struct snapshot before, after, good;
	unsigned int n, injected = 0, enomem = 0, efault = 0;
	struct testbed w;
	int expected;
	bool more;

	/* The result without a fault. */
	w = new_testbed(_metadata, sweep);
	expected = sweep->call(&w);
	ASSERT_LE(0, expected);
	take_snapshot(_metadata, &w, &good);
	EXPECT_TRUE(!sweep->check || sweep->check(&w));
	end_testbed(&w);

	for (n = 1, more = true; more; n++) {
		int ret;

		ASSERT_GT(MOST, n);
		w = new_testbed(_metadata, sweep);
		take_snapshot(_metadata, &w, &before);
		nth_start(_metadata, n);
		ret = sweep->call(&w);
		more = nth_end(_metadata);
		injected += more;
		take_snapshot(_metadata, &w, &after);
		if (ret < 0) {
			enomem += ret == -ENOMEM;
			efault += ret == -EFAULT;
			EXPECT_TRUE(more);
			EXPECT_TRUE(ret == -ENOMEM || ret == -EFAULT) {
				TH_LOG("fault %u: %s", n, strerror(-ret));
			}
			if (sweep->takes && ret == -EFAULT && !after.spare) {
				/* The documented exception, and the only one. */
				after.spare = before.spare;
				EXPECT_TRUE(same(&before, &after));
				end_testbed(&w);
				continue;
			}
			EXPECT_TRUE(same(&before, &after)) {
				TH_LOG("fault %u: %s, but something has changed", n,
				       strerror(-ret));
			}
			ret = sweep->call(&w);
			take_snapshot(_metadata, &w, &after);
		}
		EXPECT_EQ(expected, ret);
		EXPECT_TRUE(same(&good, &after)) {
			TH_LOG("fault %u: it worked, but differently", n);
		}
		EXPECT_TRUE(!sweep->check || sweep->check(&w));
		still_works(_metadata, sweep, &w);
		end_testbed(&w);
	}
	/* If no fault was injected, the kernel's facility does not work. */
	EXPECT_LT(0, injected);
	ksft_print_msg("%u faults: %u ENOMEM, %u EFAULT\n", injected, enomem, efault);
}

static inline void prepare_masked(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(LINES, doorbell_line_set(w->db, DOORBELL_MASK, 0, LINES, NULL, NULL));
}

#endif /* _DOORBELL_FAIL_NTH_H */
