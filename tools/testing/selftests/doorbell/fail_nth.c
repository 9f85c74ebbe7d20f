// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each call of the device with its first allocation or user copy failing, then
 * its second, and so on until none is left to fail. A call that fails says
 * ENOMEM, or EFAULT, has changed nothing, and works when it is tried again.
 *
 * Needs a kernel with fault injection: FAILSLAB, FAIL_PAGE_ALLOC,
 * FAULT_INJECTION_USERCOPY, FAULT_INJECTION_DEBUG_FS. With kmemleak it also
 * tells what is leaked on the way. Leaves the knobs in debugfs as it needs them.
 */
#include <sys/mman.h>

#include "doorbell_test.h"

/* Three words of bitmap, three pages of status. */
#define LINES		130
#define WORDS		3

/* Lines that are looked at one by one. */
#define LOOKED_AT	3

/* Enough for a call that does nothing else but allocate. */
#define MOST		20000

#define DEBUGFS		"/sys/kernel/debug/"

static void knob(const char *name, const char *value)
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
	/* Also what may sleep and reclaim, which is all that the device does. */
	knob("failslab/ignore-gfp-wait", "N");
	knob("failslab/cache-filter", "N");
	knob("fail_page_alloc/ignore-gfp-wait", "N");
	knob("fail_page_alloc/ignore-gfp-highmem", "N");
	knob("fail_page_alloc/min-order", "0");
	knob("failslab/verbose", "0");
	knob("fail_page_alloc/verbose", "0");
	knob("fail_usercopy/verbose", "0");
}

/* A context, and eventfds that are made anew with it. */
struct world {
	int db;
	/* An irqfd and a trigger of line 0. */
	int in;
	int out;
	/* For the call to assign, or to deassign. */
	int spare;
	/* An irqfd of line 1. */
	int next;
	/* What the call made. */
	int fd;
	void *map;
	uint64_t lines[WORDS];
	uint64_t result[WORDS];
};

/* Everything that can be seen of it. */
struct snapshot {
	int ret[LOOKED_AT];
	struct doorbell_info info;
	struct doorbell_query query[LOOKED_AT];
	uint64_t in;
	uint64_t out;
	uint64_t spare;
	uint64_t next;
	char fdinfo[512];
};

struct sweep {
	/* 0: not chosen yet. */
	uint32_t lines;
	unsigned int spare;
	int spare_flags;
	void (*prepare)(struct __test_metadata *_metadata, struct world *w);
	int (*call)(struct world *w);
	/* After a call that worked; returns whether what it made is good. */
	bool (*check)(struct world *w);
	/* A copy to the user that fails has taken the spare's count. */
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

static void nth_start(struct __test_metadata *_metadata, unsigned int n)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%u", n);

	ASSERT_EQ(len, pwrite(nth_fd, buf, len, 0));
}

/* Whether the fault came. If not, looking may be what meets it; or ending it. */
static bool nth_end(struct __test_metadata *_metadata)
{
	char buf[16] = "";
	ssize_t len = pread(nth_fd, buf, sizeof(buf) - 1, 0);
	int tries = 3;

	while (pwrite(nth_fd, "0", 1, 0) != 1)
		ASSERT_LT(0, tries--);
	return len > 0 && !strtoul(buf, NULL, 10);
}

static bool quiet(struct world *w)
{
	struct doorbell_query query;
	uint32_t i;

	for (i = 0; i < LOOKED_AT; i++) {
		if (!db_query(w->db, i, &query) && query.state == DOORBELL_LINE_PENDING)
			return false;
	}
	return true;
}

static void take_snapshot(struct __test_metadata *_metadata, struct world *w, struct snapshot *s)
{
	size_t len = 0;
	char line[128];
	FILE *file;
	uint32_t i;

	EXPECT_TRUE(WAIT_FOR(quiet(w)));
	memset(s, 0, sizeof(*s));
	s->info = info_of(_metadata, w->db);
	for (i = 0; i < LOOKED_AT; i++)
		s->ret[i] = db_query(w->db, i, &s->query[i]);
	s->in = efd_count(w->in);
	s->out = efd_count(w->out);
	s->spare = efd_count(w->spare);
	s->next = efd_count(w->next);
	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", w->db);
	file = fopen(line, "re");
	ASSERT_TRUE(!!file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "doorbell-", strlen("doorbell-")))
			len += snprintf(s->fdinfo + len, sizeof(s->fdinfo) - len, "%s", line);
	}
	fclose(file);
	ASSERT_LT(len, sizeof(s->fdinfo));
}

static bool same(const struct snapshot *a, const struct snapshot *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static struct world new_world(struct __test_metadata *_metadata, const struct sweep *sweep)
{
	struct world w = { .fd = -1, .map = MAP_FAILED, .lines = { ~0ULL, 5, 2 } };

	w.db = new_context(_metadata, sweep->lines);
	w.in = new_eventfd(_metadata, 0, 0);
	w.out = new_eventfd(_metadata, 0, 0);
	w.next = new_eventfd(_metadata, 0, 0);
	w.spare = new_eventfd(_metadata, sweep->spare, sweep->spare_flags);
	if (sweep->lines >= LOOKED_AT) {
		ASSERT_EQ(0, db_irqfd(w.db, w.in, 0, 0));
		ASSERT_EQ(0, db_trigger(w.db, w.out, 0, 0));
		ASSERT_EQ(0, db_irqfd(w.db, w.next, 1, 0));
	}
	if (sweep->prepare)
		sweep->prepare(_metadata, &w);
	memset(w.result, 0xff, sizeof(w.result));
	return w;
}

/* What was made lives until the end, but for what the call's check closed. */
static void end_world(struct world *w)
{
	if (w->map != MAP_FAILED)
		munmap(w->map, status_size(LINES));
	if (w->fd >= 0)
		close(w->fd);
	close(w->db);
	close(w->in);
	close(w->out);
	close(w->next);
	close(w->spare);
}

/* The wiring that was there all the time works. */
static void still_works(struct __test_metadata *_metadata, const struct sweep *sweep,
			struct world *w)
{
	uint64_t rings;

	if (sweep->lines < LOOKED_AT)
		return;
	db_lineset(w->db, DOORBELL_UNMASK, 0, sweep->lines, NULL, NULL);
	efd_drain(w->out);
	rings = line_of(_metadata, w->db, 0).rings;
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(w->db, 0));
	if (!db_irqfd(w->db, w->in, 0, DOORBELL_FLAG_DEASSIGN))
		EXPECT_EQ(0, db_irqfd(w->db, w->in, 0, 0));
	EXPECT_EQ(0, efd_write(w->in, 1));
	EXPECT_TRUE(WAIT_FOR(line_of(_metadata, w->db, 0).rings == rings + 2));
	EXPECT_TRUE(WAIT_FOR(efd_count(w->out) == 2));
}

static void sweep(struct __test_metadata *_metadata, const struct sweep *sweep)
{
	struct snapshot before, after, good;
	unsigned int n, injected = 0, enomem = 0, efault = 0;
	struct world w;
	int expected;
	bool more;

	/* How it is without a fault. */
	w = new_world(_metadata, sweep);
	expected = sweep->call(&w);
	ASSERT_LE(0, expected);
	take_snapshot(_metadata, &w, &good);
	EXPECT_TRUE(!sweep->check || sweep->check(&w));
	end_world(&w);

	for (n = 1, more = true; more; n++) {
		int ret;

		ASSERT_GT(MOST, n);
		w = new_world(_metadata, sweep);
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
				/* The documented exception; nothing else is one. */
				after.spare = before.spare;
				EXPECT_TRUE(same(&before, &after));
				end_world(&w);
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
		end_world(&w);
	}
	/* Or the facility does not work, and this proves nothing. */
	EXPECT_LT(0, injected);
	ksft_print_msg("%u faults: %u ENOMEM, %u EFAULT\n", injected, enomem, efault);
}

static int call_open(struct world *w)
{
	w->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	return w->fd < 0 ? -errno : 0;
}

static bool check_open(struct world *w)
{
	return !db_set_lines(w->fd, 2) && db_ring(w->fd, 1) == DOORBELL_RING_DELIVERED;
}

TEST_F(fail_nth, open)
{
	sweep(_metadata, &(struct sweep){ .call = call_open, .check = check_open });
}

static int call_set_lines_small(struct world *w)
{
	return db_set_lines(w->db, 2);
}

static int call_set_lines_large(struct world *w)
{
	return db_set_lines(w->db, 1024);
}

static bool check_lines(struct world *w)
{
	return db_ring(w->db, 1) == DOORBELL_RING_DELIVERED &&
	       !db_irqfd(w->db, w->in, 0, 0) && !db_trigger(w->db, w->out, 0, 0);
}

TEST_F(fail_nth, set_lines_small)
{
	sweep(_metadata, &(struct sweep){ .call = call_set_lines_small, .check = check_lines });
}

TEST_F(fail_nth, set_lines_large)
{
	sweep(_metadata, &(struct sweep){ .call = call_set_lines_large, .check = check_lines });
}

static int call_info(struct world *w)
{
	struct doorbell_info info;

	return db_info(w->db, &info);
}

TEST_F(fail_nth, get_info)
{
	sweep(_metadata, &(struct sweep){ .lines = LINES, .call = call_info });
}

static int call_query(struct world *w)
{
	struct doorbell_query query;

	return db_query(w->db, 0, &query);
}

TEST_F(fail_nth, query)
{
	sweep(_metadata, &(struct sweep){ .lines = LINES, .call = call_query });
}

/* Irqfds. */

static int call_irqfd(struct world *w)
{
	return db_irqfd(w->db, w->spare, 2, 0);
}

/* It rings its line: the call's own ring aside, if the counter was not zero. */
static bool check_irqfd(struct world *w)
{
	struct doorbell_query before, after;

	if (db_query(w->db, 2, &before) || efd_write(w->spare, 1))
		return false;
	return WAIT_FOR(!db_query(w->db, 2, &after) && after.rings == before.rings + 1) &&
	       !efd_count(w->spare);
}

TEST_F(fail_nth, irqfd)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_irqfd, .check = check_irqfd });
}

/* What is in the counter stays there until the irqfd is assigned for good. */
TEST_F(fail_nth, irqfd_signalled)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 7, .call = call_irqfd, .check = check_irqfd });
}

TEST_F(fail_nth, irqfd_semaphore)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 7, .spare_flags = EFD_SEMAPHORE, .call = call_irqfd });
}

static void prepare_masked(struct __test_metadata *_metadata, struct world *w)
{
	ASSERT_EQ(LINES, db_lineset(w->db, DOORBELL_MASK, 0, LINES, NULL, NULL));
}

TEST_F(fail_nth, irqfd_signalled_masked)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 7, .prepare = prepare_masked, .call = call_irqfd,
		.check = check_irqfd });
}

/* As many as there is room for; the next needs more. They go when the context does. */
static void prepare_four_irqfds(struct __test_metadata *_metadata, struct world *w)
{
	static int more[2] = { -1, -1 };
	int i;

	for (i = 0; i < 2; i++) {
		if (more[i] >= 0)
			close(more[i]);
		more[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, db_irqfd(w->db, more[i], 3, 0));
	}
}

TEST_F(fail_nth, irqfd_growth)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 1, .prepare = prepare_four_irqfds, .call = call_irqfd,
		.check = check_irqfd });
}

/* Line 2 rings line 1: there are relays to be followed, in search of a cycle. */
static void prepare_relay(struct __test_metadata *_metadata, struct world *w)
{
	ASSERT_EQ(0, db_trigger(w->db, w->next, 2, 0));
}

TEST_F(fail_nth, irqfd_relay)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 1, .prepare = prepare_relay, .call = call_irqfd,
		.check = check_irqfd });
}

static void prepare_irqfd(struct __test_metadata *_metadata, struct world *w)
{
	ASSERT_EQ(0, db_irqfd(w->db, w->spare, 2, 0));
}

static int call_irqfd_deassign(struct world *w)
{
	return db_irqfd(w->db, w->spare, 2, DOORBELL_FLAG_DEASSIGN);
}

TEST_F(fail_nth, irqfd_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_irqfd, .call = call_irqfd_deassign });
}

/* With a rest, that rings once more when it is deassigned, and not before. */
TEST_F(fail_nth, irqfd_deassign_semaphore)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 5, .spare_flags = EFD_SEMAPHORE,
		.prepare = prepare_irqfd, .call = call_irqfd_deassign });
}

/* Triggers. */

static int call_trigger(struct world *w)
{
	return db_trigger(w->db, w->spare, 2, 0);
}

static bool check_trigger(struct world *w)
{
	uint64_t before = efd_count(w->spare);

	return db_ring(w->db, 2) == DOORBELL_RING_DELIVERED &&
	       efd_count(w->spare) == before + 1;
}

TEST_F(fail_nth, trigger_first)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_trigger, .check = check_trigger });
}

/* As many as there is room for, which is a power of two. */
static void prepare_four_triggers(struct __test_metadata *_metadata, struct world *w)
{
	int i;

	for (i = 0; i < 4; i++) {
		int fd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, db_trigger(w->db, fd, 2, 0));
		close(fd);
	}
}

TEST_F(fail_nth, trigger_growth)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_four_triggers, .call = call_trigger,
		.check = check_trigger });
}

/* The spare rings line 0, which rings line 1. */
static void prepare_chain(struct __test_metadata *_metadata, struct world *w)
{
	ASSERT_EQ(0, db_trigger(w->db, w->next, 0, 0));
	ASSERT_EQ(0, db_irqfd(w->db, w->spare, 0, 0));
}

static bool check_chain(struct world *w)
{
	struct doorbell_query before, after;

	if (db_query(w->db, 1, &before) || db_ring(w->db, 2) != DOORBELL_RING_DELIVERED)
		return false;
	return WAIT_FOR(!db_query(w->db, 1, &after) && after.rings == before.rings + 1);
}

TEST_F(fail_nth, trigger_relay)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_chain, .call = call_trigger,
		.check = check_chain });
}

static void prepare_trigger(struct __test_metadata *_metadata, struct world *w)
{
	ASSERT_EQ(0, db_trigger(w->db, w->spare, 2, 0));
}

static int call_trigger_deassign(struct world *w)
{
	return db_trigger(w->db, w->spare, 2, DOORBELL_FLAG_DEASSIGN);
}

TEST_F(fail_nth, trigger_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_trigger, .call = call_trigger_deassign });
}

/* Notifiers. */

static int call_notifier(struct world *w)
{
	return db_notifier(w->db, w->spare, 2, 0, DOORBELL_NOTIFY_MASK);
}

static bool check_notifier(struct world *w)
{
	uint64_t before = efd_count(w->spare);

	return db_mask(w->db, 2) == 1 && efd_count(w->spare) == before + 1;
}

TEST_F(fail_nth, notifier_first)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_notifier, .check = check_notifier });
}

static void prepare_four_notifiers(struct __test_metadata *_metadata, struct world *w)
{
	int i;

	for (i = 0; i < 4; i++) {
		int fd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, db_notifier(w->db, fd, 2, 0, DOORBELL_NOTIFY_UNMASK));
		close(fd);
	}
}

TEST_F(fail_nth, notifier_growth)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_four_notifiers, .call = call_notifier,
		.check = check_notifier });
}

static void prepare_notifier(struct __test_metadata *_metadata, struct world *w)
{
	ASSERT_EQ(0, db_notifier(w->db, w->spare, 2, 0, DOORBELL_NOTIFY_MASK));
}

static int call_notifier_deassign(struct world *w)
{
	return db_notifier(w->db, w->spare, 2, DOORBELL_FLAG_DEASSIGN, 0);
}

TEST_F(fail_nth, notifier_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_notifier, .call = call_notifier_deassign });
}

/* Sets of lines: the structure, both bitmaps, word by word. */

static int call_set(struct world *w, unsigned long cmd)
{
	return db_lineset(w->db, cmd, 0, LINES, w->lines, w->result);
}

static int call_mask(struct world *w)
{
	return call_set(w, DOORBELL_MASK);
}

static int call_unmask(struct world *w)
{
	return call_set(w, DOORBELL_UNMASK);
}

static int call_clear(struct world *w)
{
	return call_set(w, DOORBELL_CLEAR);
}

static int call_pending(struct world *w)
{
	return call_set(w, DOORBELL_PENDING);
}

static int call_mask_one(struct world *w)
{
	return db_mask(w->db, 0);
}

/* A message on every other line of those that are masked, which is all. */
static void prepare_messages(struct __test_metadata *_metadata, struct world *w)
{
	uint32_t i;

	prepare_masked(_metadata, w);
	for (i = 0; i < LINES; i += 2)
		ASSERT_EQ(DOORBELL_RING_MASKED, db_ring(w->db, i));
}

/* No result claims a line that was not chosen, were it only half written. */
static bool check_result(struct world *w)
{
	int i;

	for (i = 0; i < WORDS; i++) {
		if (w->result[i] & ~w->lines[i])
			return false;
	}
	return true;
}

TEST_F(fail_nth, mask_one)
{
	sweep(_metadata, &(struct sweep){ .lines = LINES, .call = call_mask_one });
}

TEST_F(fail_nth, mask)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_mask, .check = check_result });
}

TEST_F(fail_nth, unmask)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_messages, .call = call_unmask,
		.check = check_result });
}

TEST_F(fail_nth, clear)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_messages, .call = call_clear,
		.check = check_result });
}

TEST_F(fail_nth, pending)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_messages, .call = call_pending,
		.check = check_result });
}

/* READ, PEEK, mmap. */

static int call_read(struct world *w)
{
	uint64_t count;
	int ret = db_read(w->db, w->spare, DOORBELL_READ_NOWAIT, &count);

	return ret ? ret : count;
}

TEST_F(fail_nth, read)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 9, .call = call_read, .takes = true });
}

static int call_peek(struct world *w)
{
	uint64_t count;
	int ret = db_peek(w->db, w->spare, &count);

	return ret ? ret : count;
}

TEST_F(fail_nth, peek)
{
	int db = new_context(_metadata, 0);

	if (!(info_of(_metadata, db).features & DOORBELL_FEATURE_PEEK))
		SKIP(return, "this build cannot peek");
	close(db);
	sweep(_metadata, &(struct sweep){ .lines = LINES, .spare = 9, .call = call_peek });
}

static int call_mmap(struct world *w)
{
	w->map = mmap(NULL, status_size(LINES), PROT_READ, MAP_SHARED, w->db, 0);
	return w->map == MAP_FAILED ? -errno : 0;
}

static bool check_mmap(struct world *w)
{
	const struct doorbell_status *status = w->map;

	return db_ring(w->db, LINES - 1) == DOORBELL_RING_DELIVERED &&
	       status[LINES - 1].deliveries == 1 && status[0].deliveries == 0;
}

TEST_F(fail_nth, mmap)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_mmap, .check = check_mmap });
}

/* The way of a message: nothing on it can fail. */
TEST_F(fail_nth, ring)
{
	const struct sweep nothing = { .lines = LINES };
	struct world w = new_world(_metadata, &nothing);

	prepare_relay(_metadata, &w);
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(w.db, 0));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_EQ(1, efd_read(w.out));
	/* A relay, which an interrupt continues. */
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(w.db, 2));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_TRUE(WAIT_FOR(line_of(_metadata, w.db, 1).deliveries == 1));
	/* Masked, it is no different. */
	EXPECT_EQ(1, db_mask(w.db, 0));
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(w.db, 0));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_EQ(1, db_unmask(w.db, 0));
	EXPECT_EQ(1, efd_read(w.out));

	/* The eventfd's own copy from the user comes first, so there is something to fail. */
	nth_start(_metadata, 1);
	EXPECT_EQ(-EFAULT, efd_write(w.in, 1));
	EXPECT_TRUE(nth_end(_metadata));
	nth_start(_metadata, 2);
	EXPECT_EQ(0, efd_write(w.in, 1));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_EQ(1, efd_wait(w.out));
	EXPECT_EQ(3, settled(_metadata, w.db, 0).rings);
	end_world(&w);
}

TEST_HARNESS_MAIN
