// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls each ioctl of the device with its first allocation or user copy failing, then its
 * second, and so on until none is left to fail. A call that fails returns ENOMEM or EFAULT,
 * has changed nothing, and works when it is repeated.
 *
 * Needs a kernel with fault injection: FAILSLAB, FAIL_PAGE_ALLOC, FAULT_INJECTION_USERCOPY,
 * FAULT_INJECTION_DEBUG_FS. With kmemleak it also finds what is leaked on the way. Changes
 * the knobs in debugfs and leaves them so.
 */
#include <doorbell_summary.h>

#include "fail_nth.h"

static int call_open(struct testbed *w)
{
	w->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	return w->fd < 0 ? -errno : 0;
}

static bool check_open(struct testbed *w)
{
	return !doorbell_set_lines(w->fd, 2) && doorbell_ring(w->fd, 1) == DOORBELL_RING_DELIVERED;
}

TEST_F(fail_nth, open)
{
	sweep(_metadata, &(struct sweep){ .call = call_open, .check = check_open });
}

static int call_set_lines_small(struct testbed *w)
{
	return doorbell_set_lines(w->db, 2);
}

static int call_set_lines_large(struct testbed *w)
{
	return doorbell_set_lines(w->db, 1024);
}

static bool check_lines(struct testbed *w)
{
	return doorbell_ring(w->db, 1) == DOORBELL_RING_DELIVERED &&
	       !doorbell_assign_irqfd(w->db, w->in, 0) &&
	       !doorbell_assign_trigger(w->db, w->out, 0);
}

TEST_F(fail_nth, set_lines_small)
{
	sweep(_metadata, &(struct sweep){ .call = call_set_lines_small, .check = check_lines });
}

TEST_F(fail_nth, set_lines_large)
{
	sweep(_metadata, &(struct sweep){ .call = call_set_lines_large, .check = check_lines });
}

static int call_set_lines_masked(struct testbed *w)
{
	return doorbell_set_lines_masked(w->db, 1024);
}

static bool check_lines_masked(struct testbed *w)
{
	return doorbell_ring(w->db, 1) == DOORBELL_RING_MASKED && doorbell_unmask(w->db, 1) == 1;
}

TEST_F(fail_nth, set_lines_masked)
{
	sweep(_metadata, &(struct sweep){
		.call = call_set_lines_masked, .check = check_lines_masked });
}

static int call_info(struct testbed *w)
{
	struct doorbell_get_info info;

	return doorbell_get_info(w->db, &info);
}

TEST_F(fail_nth, get_info)
{
	sweep(_metadata, &(struct sweep){ .lines = LINES, .call = call_info });
}

static int call_query(struct testbed *w)
{
	struct doorbell_query query;

	return doorbell_query(w->db, 0, &query);
}

TEST_F(fail_nth, query)
{
	sweep(_metadata, &(struct sweep){ .lines = LINES, .call = call_query });
}

/* Irqfds. */

static int call_irqfd(struct testbed *w)
{
	return doorbell_assign_irqfd(w->db, w->spare, 2);
}

/* The irqfd rings its line. If the counter was not zero, the assignment itself rang, too. */
static bool check_irqfd(struct testbed *w)
{
	struct doorbell_query before, after;

	if (doorbell_query(w->db, 2, &before) || efd_write(w->spare, 1))
		return false;
	return WAIT_FOR(!doorbell_query(w->db, 2, &after) && after.rings == before.rings + 1) &&
	       !efd_count(w->spare);
}

TEST_F(fail_nth, irqfd)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_irqfd, .check = check_irqfd });
}

/* The counter is not consumed before the irqfd is assigned for good. */
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

TEST_F(fail_nth, irqfd_signalled_masked)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 7, .prepare = prepare_masked, .call = call_irqfd,
		.check = check_irqfd });
}

/* Fills the room for irqfds; the next one needs more. They go with the context. */
static void prepare_four_irqfds(struct __test_metadata *_metadata, struct testbed *w)
{
	static int more[2] = { -1, -1 };
	int i;

	for (i = 0; i < 2; i++) {
		if (more[i] >= 0)
			close(more[i]);
		more[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(w->db, more[i], 3));
	}
}

TEST_F(fail_nth, irqfd_growth)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 1, .prepare = prepare_four_irqfds, .call = call_irqfd,
		.check = check_irqfd });
}

/* Line 2 rings line 1, so the search for a cycle has relays to follow. */
static void prepare_relay(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_trigger(w->db, w->next, 2));
}

TEST_F(fail_nth, irqfd_relay)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 1, .prepare = prepare_relay, .call = call_irqfd,
		.check = check_irqfd });
}

static void prepare_irqfd(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_irqfd(w->db, w->spare, 2));
}

static int call_irqfd_deassign(struct testbed *w)
{
	return doorbell_deassign_irqfd(w->db, w->spare, 2);
}

TEST_F(fail_nth, irqfd_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_irqfd, .call = call_irqfd_deassign });
}

/*
 * The counter has a rest, which rings once more when the irqfd is deassigned, and not
 * before.
 */
TEST_F(fail_nth, irqfd_deassign_semaphore)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 5, .spare_flags = EFD_SEMAPHORE,
		.prepare = prepare_irqfd, .call = call_irqfd_deassign });
}

/* Triggers. */

static int call_trigger(struct testbed *w)
{
	return doorbell_assign_trigger(w->db, w->spare, 2);
}

static bool check_trigger(struct testbed *w)
{
	uint64_t before = efd_count(w->spare);

	return doorbell_ring(w->db, 2) == DOORBELL_RING_DELIVERED &&
	       efd_count(w->spare) == before + 1;
}

static int call_counting_trigger(struct testbed *w)
{
	return doorbell_assign_counting_trigger(w->db, w->spare, 2);
}

static bool check_counting_trigger(struct testbed *w)
{
	const uint64_t before = efd_count(w->spare);

	return doorbell_mask(w->db, 2) == 1 && doorbell_ring(w->db, 2) >= 0 &&
	       doorbell_ring(w->db, 2) >= 0 && doorbell_unmask(w->db, 2) == 1 &&
	       efd_count(w->spare) == before + 2;
}

TEST_F(fail_nth, counting_trigger)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_counting_trigger,
		.check = check_counting_trigger });
}

TEST_F(fail_nth, trigger_first)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_trigger, .check = check_trigger });
}

/* Fills the room for triggers, which is a power of two. */
static void prepare_four_triggers(struct __test_metadata *_metadata, struct testbed *w)
{
	int i;

	for (i = 0; i < 4; i++) {
		int fd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_trigger(w->db, fd, 2));
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
static void prepare_chain(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_trigger(w->db, w->next, 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(w->db, w->spare, 0));
}

static bool check_chain(struct testbed *w)
{
	struct doorbell_query before, after;

	if (doorbell_query(w->db, 1, &before) || doorbell_ring(w->db, 2) != DOORBELL_RING_DELIVERED)
		return false;
	return WAIT_FOR(!doorbell_query(w->db, 1, &after) && after.rings == before.rings + 1);
}

TEST_F(fail_nth, trigger_relay)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_chain, .call = call_trigger,
		.check = check_chain });
}

static void prepare_trigger(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_trigger(w->db, w->spare, 2));
}

static int call_trigger_deassign(struct testbed *w)
{
	return doorbell_deassign_trigger(w->db, w->spare, 2);
}

TEST_F(fail_nth, trigger_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_trigger, .call = call_trigger_deassign });
}

static int call_deassign_all_triggers(struct testbed *w)
{
	return doorbell_deassign_all_triggers(w->db, 2);
}

TEST_F(fail_nth, trigger_deassign_all)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_four_triggers,
		.call = call_deassign_all_triggers });
}

/* The summary: of 67 lines, all or none. */

static int summarise(struct testbed *w, uint32_t flags)
{
	return doorbell_summary(w->db, 0, LINES, w->lines, flags);
}

static int call_summary(struct testbed *w)
{
	return summarise(w, 0);
}

/* Returns true if line 2 marks the summary or not, as @marks says, and line 65 never does. */
static bool summary_works(struct testbed *w, bool marks)
{
	struct doorbell_summary_words summary = {};
	struct doorbell_taker taker = {};
	uint32_t line = UINT32_MAX;
	bool works;

	if (doorbell_map_summary(w->db, &summary))
		return false;
	while (doorbell_take(&summary, &taker, &line))
		;
	works = doorbell_ring(w->db, 65) == DOORBELL_RING_DELIVERED &&
		doorbell_ring(w->db, 2) == DOORBELL_RING_DELIVERED &&
		doorbell_take(&summary, &taker, &line) == marks && (!marks || line == 2) &&
		!doorbell_take(&summary, &taker, &line);
	doorbell_unmap_summary(&summary);
	return works;
}

static bool check_summary(struct testbed *w)
{
	return summary_works(w, true);
}

TEST_F(fail_nth, summary)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_summary, .check = check_summary });
}

static void prepare_summary(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, call_summary(w));
}

static int call_summary_deassign(struct testbed *w)
{
	return summarise(w, DOORBELL_SUMMARY_FLAG_DEASSIGN);
}

static bool check_no_summary(struct testbed *w)
{
	return summary_works(w, false);
}

TEST_F(fail_nth, summary_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_summary, .call = call_summary_deassign,
		.check = check_no_summary });
}

static void prepare_summary_mmap(struct __test_metadata *_metadata, struct testbed *w)
{
	prepare_summary(_metadata, w);
	w->offset = info_of(_metadata, w->db).summary_offset;
}

static int call_summary_mmap(struct testbed *w)
{
	return map_device(w, sizeof(struct doorbell_summary_map), PROT_READ | PROT_WRITE);
}

static bool check_summary_mmap(struct testbed *w)
{
	const struct doorbell_summary_map *map = w->map;

	return doorbell_ring(w->db, 2) == DOORBELL_RING_DELIVERED && map->top == 1 &&
	       map->groups[0] == 1;
}

TEST_F(fail_nth, summary_mmap)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_summary_mmap, .call = call_summary_mmap,
		.check = check_summary_mmap });
}

/* Notifiers. */

static int call_notifier(struct testbed *w)
{
	return doorbell_assign_notifier(w->db, w->spare, 2, DOORBELL_NOTIFY_MASK);
}

static bool check_notifier(struct testbed *w)
{
	uint64_t before = efd_count(w->spare);

	return doorbell_mask(w->db, 2) == 1 && efd_count(w->spare) == before + 1;
}

TEST_F(fail_nth, notifier_first)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_notifier, .check = check_notifier });
}

static void prepare_four_notifiers(struct __test_metadata *_metadata, struct testbed *w)
{
	int i;

	for (i = 0; i < 4; i++) {
		int fd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_notifier(w->db, fd, 2, DOORBELL_NOTIFY_UNMASK));
		close(fd);
	}
}

TEST_F(fail_nth, notifier_growth)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_four_notifiers, .call = call_notifier,
		.check = check_notifier });
}

static void prepare_notifier(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_notifier(w->db, w->spare, 2, DOORBELL_NOTIFY_MASK));
}

static int call_notifier_deassign(struct testbed *w)
{
	return doorbell_deassign_notifier(w->db, w->spare, 2);
}

TEST_F(fail_nth, notifier_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_notifier, .call = call_notifier_deassign });
}

static int call_deassign_all_notifiers(struct testbed *w)
{
	return doorbell_deassign_all_notifiers(w->db, 2);
}

TEST_F(fail_nth, notifier_deassign_all)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_notifier, .call = call_deassign_all_notifiers });
}

/* Sets of lines: the structure and both bitmaps, word by word. */

static int call_set(struct testbed *w, unsigned long cmd)
{
	return doorbell_line_set(w->db, cmd, 0, LINES, w->lines, w->result);
}

static int call_mask(struct testbed *w)
{
	return call_set(w, DOORBELL_MASK);
}

static int call_unmask(struct testbed *w)
{
	return call_set(w, DOORBELL_UNMASK);
}

static int call_clear(struct testbed *w)
{
	return call_set(w, DOORBELL_CLEAR);
}

static int call_pending(struct testbed *w)
{
	return call_set(w, DOORBELL_PENDING);
}

static int call_ring_lines(struct testbed *w)
{
	return call_set(w, DOORBELL_RING_LINES);
}

static int call_mask_for(struct testbed *w)
{
	return doorbell_mask_lines_for(w->db, 0, LINES, w->lines, w->result,
				       DOORBELL_MASK_FUNCTION);
}

static int call_unmask_for(struct testbed *w)
{
	return doorbell_unmask_lines_for(w->db, 0, LINES, w->lines, w->result,
					 DOORBELL_MASK_FUNCTION);
}

static int call_mask_one(struct testbed *w)
{
	return doorbell_mask(w->db, 0);
}

/* A message is pending on every other line; all lines are masked. */
static void prepare_messages(struct __test_metadata *_metadata, struct testbed *w)
{
	uint32_t i;

	prepare_masked(_metadata, w);
	for (i = 0; i < LINES; i += 2)
		ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(w->db, i));
}

/* The lines are masked for two reasons, but for the first three. */
static void prepare_reasons(struct __test_metadata *_metadata, struct testbed *w)
{
	prepare_messages(_metadata, w);
	ASSERT_EQ(0, doorbell_mask_lines_for(w->db, 0, LINES, NULL, NULL, DOORBELL_MASK_FUNCTION));
	ASSERT_EQ(0, doorbell_unmask_lines(w->db, 0, LOOKED_AT, NULL, NULL));
}

/* The result, even if half written, has no line that was not selected. */
static bool check_result(struct testbed *w)
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

TEST_F(fail_nth, mask_for)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_messages, .call = call_mask_for,
		.check = check_result });
}

TEST_F(fail_nth, unmask_for)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_reasons, .call = call_unmask_for,
		.check = check_result });
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

TEST_F(fail_nth, ring_lines)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_messages, .call = call_ring_lines,
		.check = check_result });
}

/* READ, PEEK, mmap. */

static int call_read(struct testbed *w)
{
	uint64_t count;
	int ret = doorbell_eventfd_read(w->db, w->spare, DOORBELL_EVENTFD_FLAG_NOWAIT, &count);

	return ret ? ret : count;
}

TEST_F(fail_nth, read)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 9, .call = call_read, .takes = true });
}

/* No fault is between the ring and the wait: a call that fails has not rung. */
static int call_ring_wait(struct testbed *w)
{
	uint64_t count;
	int ret = doorbell_ring_wait(w->db, 2, w->spare, 0, 0, &count);

	return ret < 0 ? ret : count;
}

TEST_F(fail_nth, ring_wait)
{
	sweep(_metadata, &(struct sweep){ .lines = LINES, .spare = 9, .call = call_ring_wait });
}

TEST_F(fail_nth, ring_wait_semaphore)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .spare = 9, .spare_flags = EFD_SEMAPHORE,
		.call = call_ring_wait });
}

static int call_peek(struct testbed *w)
{
	uint64_t count;
	int ret = doorbell_eventfd_peek(w->db, w->spare, &count);

	return ret ? ret : count;
}

TEST_F(fail_nth, peek)
{
	int db = new_context(_metadata, 0);

	if (!(info_of(_metadata, db).features & DOORBELL_FEATURE_EVENTFD_PEEK))
		SKIP(return, "this build cannot peek");
	close(db);
	sweep(_metadata, &(struct sweep){ .lines = LINES, .spare = 9, .call = call_peek });
}

static void prepare_mmap(struct __test_metadata *_metadata, struct testbed *w)
{
	w->offset = info_of(_metadata, w->db).status_offset;
}

static int call_mmap(struct testbed *w)
{
	return map_device(w, status_size(LINES), PROT_READ);
}

static bool check_mmap(struct testbed *w)
{
	const struct doorbell_line_status *status = w->map;

	return doorbell_ring(w->db, LINES - 1) == DOORBELL_RING_DELIVERED &&
	       status[LINES - 1].deliveries == 1 && status[0].deliveries == 0;
}

TEST_F(fail_nth, mmap)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_mmap, .call = call_mmap,
		.check = check_mmap });
}

/* Ringing and delivering: nothing in it can fail. */
TEST_F(fail_nth, ring)
{
	const struct sweep nothing = { .lines = LINES };
	struct testbed w = new_testbed(_metadata, &nothing);

	prepare_relay(_metadata, &w);
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w.db, 0));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_EQ(1, efd_read(w.out));
	/* An interrupt continues the relay. */
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w.db, 2));
	EXPECT_FALSE(nth_end(_metadata));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, w.db, 1).deliveries == 1));
	/* The same for a masked line. */
	EXPECT_EQ(1, doorbell_mask(w.db, 0));
	nth_start(_metadata, 1);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(w.db, 0));
	EXPECT_FALSE(nth_end(_metadata));
	EXPECT_EQ(1, doorbell_unmask(w.db, 0));
	EXPECT_EQ(1, efd_read(w.out));

	/* The eventfd's own copy from the user comes first, so one copy fails. */
	nth_start(_metadata, 1);
	EXPECT_EQ(-EFAULT, efd_write(w.in, 1));
	EXPECT_TRUE(nth_end(_metadata));
	nth_start(_metadata, 2);
	EXPECT_EQ(0, efd_write(w.in, 1));
	EXPECT_FALSE(nth_end(_metadata));
	ASSERT_EQ(1, efd_wait(w.out));
	EXPECT_EQ(3, settled(_metadata, w.db, 0).rings);
	end_testbed(&w);
}

TEST_HARNESS_MAIN
