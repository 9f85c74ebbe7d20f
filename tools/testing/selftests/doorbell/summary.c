// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOORBELL_SUMMARY: each delivery of a line marks it, a consumer takes exactly the lines that
 * are marked, and the file descriptor is readable meanwhile. Its errors are in
 * errors_summary.c, waits in poll.c, races in summary_race.c. Runs as a 32-bit program, too.
 */
#include <doorbell_bus.h>

#include "summary.h"

/* Three groups, the last one with a word that is not full. */
#define LINES		8200
#define WORDS		((LINES + 63) / 64)

/* The lines of most tests: two words, two groups, and the last line. */
static const uint32_t some[] = { 0, 1, 63, 64, 4095, 4096, LINES - 1 };

FIXTURE(summary) {
	int kmsg;
	int db;
	struct doorbell_summary_words words;
	uint64_t fired[WORDS];
};

FIXTURE_SETUP(summary)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, LINES);
	ASSERT_EQ(0, doorbell_assign_summary(self->db, 0, LINES));
	self->words = map_summary(_metadata, self->db);
	ASSERT_EQ(WORDS, self->words.nr_words);
	ASSERT_EQ((1ULL << (LINES % 64)) - 1, self->words.last);
}

FIXTURE_TEARDOWN(summary)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define RING(line)	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, line))

/* Expects that nothing has fired, and that the file descriptor agrees. */
#define EXPECT_NONE() do {						\
	EXPECT_EQ(0, doorbell_has_fired(&self->words));			\
	EXPECT_EQ(-1, take_only(&self->words));				\
	EXPECT_EQ(0, efd_poll(self->db, POLLIN | POLLRDNORM, 0));	\
} while (0)

/* Expects that this line alone has fired. */
#define EXPECT_FIRED(line) do {						\
	EXPECT_EQ(1, doorbell_has_fired(&self->words));			\
	EXPECT_EQ(POLLIN | POLLRDNORM,					\
		  efd_poll(self->db, POLLIN | POLLRDNORM, 0));		\
	EXPECT_EQ(line, take_only(&self->words));			\
	EXPECT_NONE();							\
} while (0)

TEST_F(summary, each_line)
{
	uint32_t line;

	EXPECT_NONE();
	for (line = 0; line < LINES; line++) {
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, line));
		ASSERT_EQ(POLLIN, efd_poll(self->db, POLLIN, 0));
		ASSERT_EQ(line, take_only(&self->words));
		ASSERT_EQ(0, efd_poll(self->db, POLLIN, 0));
	}
	EXPECT_EQ(LINES, info_of(_metadata, self->db).nr_triggers);
	EXPECT_EQ(1, line_of(_metadata, self->db, LINES - 1).nr_triggers);
}

/* Any set of lines, in ascending order, each once, however often it was rung. */
TEST_F(summary, sets)
{
	uint64_t expected[WORDS];
	unsigned int round, nr, i, at;
	struct doorbell_taker taker = {};
	int line, last;

	srand(1);
	for (round = 0; round < 50; round++) {
		memset(expected, 0, sizeof(expected));
		for (i = 0; i < 1U << round % 10; i++) {
			at = rand() % LINES;
			RING(at);
			if (i % 2)
				RING(at);
			expected[at / 64] |= 1ULL << (at % 64);
		}
		nr = 0;
		for (i = 0; i < WORDS; i++)
			nr += __builtin_popcountll(expected[i]);
		if (round % 2) {
			ASSERT_EQ(nr, take_lines(&self->words, self->fired, WORDS));
			ASSERT_EQ(0, memcmp(expected, self->fired, sizeof(expected)));
			continue;
		}
		for (last = -1; (line = take_one(&self->words, &taker)) >= 0; last = line, nr--) {
			ASSERT_LT(last, line);
			ASSERT_TRUE(expected[line / 64] >> (line % 64) & 1);
		}
		ASSERT_EQ(0, nr);
	}
	EXPECT_NONE();
}

/* All ways to a delivery. */
TEST_F(summary, ways)
{
	const int in = new_eventfd(_metadata, 0, 0);
	struct doorbell_region region = {
		.addr = 0x1000, .line = 4096, .flags = DOORBELL_REGION_FLAG_LINE,
	};

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 4095));
	EXPECT_NONE();
	EXPECT_EQ(0, efd_write(in, 1));
	ASSERT_EQ(POLLIN, efd_await(self->db, POLLIN));
	EXPECT_FIRED(4095);
	ASSERT_EQ(0, doorbell_assign_region(self->db, &region));
	EXPECT_EQ(0, doorbell_bus_write(self->db, DOORBELL_SPACE_MMIO, 0x1000, 4, 1));
	EXPECT_FIRED(4096);
}

/* The summary stands beside other triggers, and does not count as an eventfd. */
TEST_F(summary, beside_triggers)
{
	const int out[] = { new_eventfd(_metadata, 0, 0), new_eventfd(_metadata, 0, 0) };

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, out[0], 64));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, out[1], 64));
	EXPECT_EQ(3, line_of(_metadata, self->db, 64).nr_triggers);
	RING(64);
	EXPECT_EQ(1, efd_read(out[0]));
	EXPECT_EQ(1, efd_read(out[1]));
	EXPECT_FIRED(64);
	EXPECT_EQ(2, doorbell_deassign_all_triggers(self->db, 64));
	RING(64);
	EXPECT_FIRED(64);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, out[0], 64));
	ASSERT_EQ(0, doorbell_deassign_summary(self->db, 64, 1));
	RING(64);
	EXPECT_EQ(1, efd_read(out[0]));
	EXPECT_NONE();
}

/* Only a delivery sets a bit: not a ring of a masked line, and not a message that is dropped. */
TEST_F(summary, masks)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(some); i++) {
		const uint32_t line = some[i];

		EXPECT_EQ(1, doorbell_mask(self->db, line));
		EXPECT_NONE();
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, line));
		EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, line));
		EXPECT_NONE();
		EXPECT_EQ(1, doorbell_unmask(self->db, line));
		EXPECT_FIRED(line);
		EXPECT_EQ(1, doorbell_mask(self->db, line));
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, line));
		EXPECT_EQ(1, doorbell_clear(self->db, line));
		EXPECT_EQ(0, doorbell_unmask(self->db, line));
		EXPECT_NONE();
	}
}

TEST_F(summary, level)
{
	const uint32_t line = 64;

	ASSERT_EQ(0, doorbell_set_type(self->db, line, DOORBELL_TYPE_LEVEL));
	RING(line);
	EXPECT_FIRED(line);
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, line));
	EXPECT_NONE();
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, line));
	EXPECT_NONE();
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, line, 1));
	EXPECT_FIRED(line);
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, line));
	EXPECT_FIRED(line);
	EXPECT_EQ(0, doorbell_set_level(self->db, line, 0));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, line));
	EXPECT_NONE();
}

/* An asserted line that found no trigger sends its message once more to the summary. */
TEST_F(summary, level_renewed)
{
	const uint32_t line = 4096;

	ASSERT_EQ(0, doorbell_set_type(self->db, line, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_deassign_summary(self->db, line, 1));
	RING(line);
	EXPECT_NONE();
	ASSERT_EQ(0, doorbell_assign_summary(self->db, line, 1));
	EXPECT_FIRED(line);
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, line));
}

/* Lines that are not selected do not mark the summary; a bit that is set stays. */
TEST_F(summary, deassign)
{
	uint64_t lines[2] = { 1ULL << 63, 1 };
	unsigned int i;

	/* Lines 63 and 64. */
	ASSERT_EQ(0, doorbell_summary(self->db, 0, 128, lines, DOORBELL_SUMMARY_FLAG_DEASSIGN));
	for (i = 60; i < 68; i++)
		RING(i);
	EXPECT_EQ(6, take_lines(&self->words, self->fired, WORDS));
	EXPECT_EQ(7ULL << 60, self->fired[0]);
	EXPECT_EQ(0xe, self->fired[1]);
	EXPECT_EQ(0, line_of(_metadata, self->db, 63).nr_triggers);
	EXPECT_EQ(LINES - 2, info_of(_metadata, self->db).nr_triggers);

	RING(1);
	ASSERT_EQ(0, doorbell_deassign_summary(self->db, 0, 63));
	RING(2);
	EXPECT_FIRED(1);
	ASSERT_EQ(0, doorbell_deassign_summary(self->db, 65, LINES - 65));
	for (i = 0; i < ARRAY_SIZE(some); i++)
		RING(some[i]);
	EXPECT_NONE();
	EXPECT_EQ(0, info_of(_metadata, self->db).nr_triggers);

	/* The mapping stays that of the context. */
	ASSERT_EQ(0, doorbell_summary(self->db, 0, 128, lines, 0));
	RING(62);
	EXPECT_NONE();
	RING(63);
	EXPECT_FIRED(63);
}

/* No line at all is a selection, too. */
TEST_F(summary, empty_selection)
{
	const uint64_t none[2] = {};
	struct doorbell_summary_words words;
	int db = new_context(_metadata, 100);

	ASSERT_EQ(0, doorbell_summary(db, 0, 100, none, 0));
	words = map_summary(_metadata, db);
	EXPECT_EQ(0, info_of(_metadata, db).nr_triggers);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 3));
	EXPECT_EQ(-1, take_only(&words));
	EXPECT_EQ(0, doorbell_summary(db, 0, 100, none, DOORBELL_SUMMARY_FLAG_DEASSIGN));
	EXPECT_EQ(0, doorbell_unmap_summary(&words));
}

/* The layout is that of the header: one bit at each level. */
TEST_F(summary, levels)
{
	struct doorbell_summary_map *map = self->words.map;
	unsigned int i, at;

	for (i = 0; i < ARRAY_SIZE(some); i++) {
		const uint32_t line = some[i];

		RING(line);
		EXPECT_EQ(1ULL << line / 4096, map->top);
		for (at = 0; at < DOORBELL_SUMMARY_GROUPS; at++)
			EXPECT_EQ(at == line / 4096 ? 1ULL << line / 64 % 64 : 0, map->groups[at]);
		for (at = 0; at < WORDS; at++)
			ASSERT_EQ(at == line / 64 ? 1ULL << line % 64 : 0, map->lines[at]);
		EXPECT_FIRED(line);
	}
}

/* Maps and unmaps. Returns 0 or -errno. */
static int try_map(int fd, size_t len, int prot, int flags, off_t offset)
{
	void *at = mmap(NULL, len, prot, flags, fd, offset);

	if (at == MAP_FAILED)
		return -errno;
	munmap(at, len);
	return 0;
}

TEST_F(summary, mappings)
{
	const off_t offset = info_of(_metadata, self->db).summary_offset;
	const int rw = PROT_READ | PROT_WRITE, page = sysconf(_SC_PAGESIZE);
	const size_t all = sizeof(struct doorbell_summary_map) + WORDS * sizeof(uint64_t);
	const size_t pages = (all + page - 1) / page * page;
	int fresh = new_context(_metadata, 0), ret;

	EXPECT_EQ(0, try_map(self->db, all, rw, MAP_SHARED, offset));
	EXPECT_EQ(0, try_map(self->db, pages, rw, MAP_SHARED, offset));
	EXPECT_EQ(0, try_map(self->db, all, PROT_READ, MAP_SHARED, offset));
	EXPECT_EQ(-EINVAL, try_map(self->db, all, rw, MAP_PRIVATE, offset));
	EXPECT_EQ(-EINVAL, try_map(self->db, all, PROT_READ, MAP_PRIVATE, offset));
	EXPECT_EQ(-EINVAL, try_map(self->db, pages + 1, rw, MAP_SHARED, offset));
	EXPECT_EQ(-EINVAL, try_map(self->db, page, rw, MAP_SHARED, offset + page));
	ret = try_map(self->db, all, rw | PROT_EXEC, MAP_SHARED, offset);
	EXPECT_TRUE(ret == -EACCES || ret == -EPERM);

	EXPECT_EQ(-ENXIO, try_map(fresh, 1, rw, MAP_SHARED, offset));
	ASSERT_EQ(0, doorbell_set_lines(fresh, 1));
	EXPECT_EQ(-ENXIO, try_map(fresh, 1, rw, MAP_SHARED, offset));
	/* A call that fails creates no summary. */
	EXPECT_EQ(-ENOENT, doorbell_deassign_summary(fresh, 0, 1));
	EXPECT_EQ(-ENXIO, doorbell_assign_summary(fresh, 0, 2));
	EXPECT_EQ(-ENXIO, try_map(fresh, 1, rw, MAP_SHARED, offset));
	ASSERT_EQ(0, doorbell_assign_summary(fresh, 0, 1));
	EXPECT_EQ(0, try_map(fresh, 1, rw, MAP_SHARED, offset));
	EXPECT_NONE();
}

/* The mapping keeps the context: an irqfd still marks its line after the last close. */
TEST_F(summary, outlives_descriptor)
{
	const int in = new_eventfd(_metadata, 0, 0);
	const long before = refcnt();

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 4096));
	ASSERT_EQ(0, close(self->db));
	EXPECT_EQ(0, efd_write(in, 1));
	ASSERT_TRUE(WAIT_FOR(doorbell_has_fired(&self->words)));
	EXPECT_EQ(4096, take_only(&self->words));
	EXPECT_EQ(before, refcnt());
	ASSERT_EQ(0, doorbell_unmap_summary(&self->words));
	/* A driver in the kernel has no count. */
	if (before >= 0)
		EXPECT_EQ(before - 1, refcnt());
	EXPECT_EQ(0, efd_write(in, 1));
	EXPECT_EQ(1, efd_read(in));
}

/* Another process takes, by the same words. */
TEST_F(summary, fork)
{
	pid_t pid;

	RING(4096);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(take_only(&self->words) == 4096 ? 0 : 1);
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_NONE();
	RING(4096);
	EXPECT_FIRED(4096);
}

/*
 * A consumer dies after it has taken the upper words. The next delivery of a line marks all
 * levels again, and a look at all words finds the other lines.
 */
TEST_F(summary, takeover)
{
	struct doorbell_summary_map *map = self->words.map;
	struct doorbell_taker taker;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(some); i++)
		RING(some[i]);
	EXPECT_EQ(7, __atomic_exchange_n(&map->top, 0, __ATOMIC_SEQ_CST));
	EXPECT_EQ(0, efd_poll(self->db, POLLIN, 0));
	EXPECT_EQ(0, take_lines(&self->words, self->fired, WORDS));
	RING(4096);
	EXPECT_EQ(POLLIN, efd_poll(self->db, POLLIN, 0));
	/* Its group has no other line. */
	EXPECT_FIRED(4096);
	EXPECT_NE(0, __atomic_exchange_n(&map->groups[0], 0, __ATOMIC_SEQ_CST));
	RING(64);
	EXPECT_EQ(64, take_only(&self->words));

	doorbell_take_all(&self->words, &taker);
	EXPECT_EQ(0, take_one(&self->words, &taker));
	EXPECT_EQ(1, take_one(&self->words, &taker));
	EXPECT_EQ(63, take_one(&self->words, &taker));
	EXPECT_EQ(4095, take_one(&self->words, &taker));
	EXPECT_EQ(LINES - 1, take_one(&self->words, &taker));
	EXPECT_EQ(-1, take_one(&self->words, &taker));
	EXPECT_NONE();
}

static void hit_all(struct hammer *hammer)
{
	static uint32_t line;

	doorbell_ring(hammer->fd, line++ % LINES);
}

/* Userspace writes anything to the words while lines deliver. It harms only itself. */
TEST_F(summary, hostile_words)
{
	struct doorbell_summary_map *map = self->words.map;
	const size_t size = sizeof(*map) + WORDS * sizeof(uint64_t);
	struct hammer hammer = { .hit = hit_all, .fd = self->db };
	struct rounds rounds = ROUNDS(100, 3000);
	unsigned long round;

	srand(2);
	hammer_start(_metadata, &hammer);
	for (round = 0; more_rounds(&rounds, round); round++) {
		uint64_t *word = (uint64_t *)map + rand() % (size / sizeof(*word));

		__atomic_store_n(word, round % 3 ? UINT64_MAX : (uint64_t)rand() << 32 | rand(),
				 __ATOMIC_RELAXED);
		if (round % 16 == 0)
			memset(map, round % 32 ? 0xff : 0, size);
		efd_poll(self->db, POLLIN, 0);
		take_lines(&self->words, self->fired, WORDS);
	}
	ASSERT_TRUE(hammer_passes(&hammer, LINES));
	hammer_stop(&hammer);
	/* Words that stand for nothing are ignored. */
	memset(map, 0xff, size);
	EXPECT_EQ(POLLIN, efd_poll(self->db, POLLIN, 0));
	EXPECT_EQ(LINES, take_lines(&self->words, self->fired, WORDS));
	EXPECT_EQ((1ULL << LINES % 64) - 1, self->fired[WORDS - 1]);
	EXPECT_NONE();
	RING(4096);
	EXPECT_FIRED(4096);
}

static struct doorbell_summary_map *hostile_map;
static atomic_ulong tops_taken;

static void set_upper_bits(struct hammer *hammer)
{
	(void)hammer;
	memset(hostile_map->groups, 0xff, sizeof(hostile_map->groups));
	if (!__atomic_exchange_n(&hostile_map->top, UINT64_MAX, __ATOMIC_SEQ_CST))
		atomic_fetch_add(&tops_taken, 1);
}

/* Bits without lines that another process sets all the time do not hold the consumer. */
TEST_F(summary, upper_bits_that_come_again)
{
	struct hammer hammer = { .hit = set_upper_bits };
	struct doorbell_taker taker = {};
	unsigned long before, taken;
	unsigned int i;

	hostile_map = self->words.map;
	hammer_start(_metadata, &hammer);
	ASSERT_TRUE(hammer_passes(&hammer, 1));
	for (i = 0; i < 1000; i++) {
		before = atomic_load(&tops_taken);
		ASSERT_EQ(-1, take_one(&self->words, &taker));
		ASSERT_EQ(0, taker.top | taker.group | taker.lines);
		taken = atomic_load(&tops_taken) - before;
		/* The last one of the call before may be counted late. */
		ASSERT_LE(taken, DOORBELL_TAKE_TOPS + 1);
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, take_lines(&self->words, self->fired, WORDS));
	EXPECT_NONE();
	RING(4096);
	EXPECT_FIRED(4096);
}

/* The memory is small: 8 bytes for 64 lines. */
TEST(largest)
{
	const uint32_t nr = DOORBELL_MAX_LINES;
	int db = new_context(_metadata, nr), kmsg = kmsg_open();
	struct doorbell_summary_words words;

	ASSERT_EQ(0, doorbell_assign_summary(db, 0, nr));
	words = map_summary(_metadata, db);
	EXPECT_EQ(nr / 64, words.nr_words);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, nr - 1));
	EXPECT_EQ(nr - 1, take_only(&words));
	EXPECT_EQ(-EEXIST, doorbell_assign_summary(db, 0, nr));
	EXPECT_EQ(0, doorbell_deassign_summary(db, 0, nr));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, nr - 1));
	EXPECT_EQ(-1, take_only(&words));
	EXPECT_EQ(0, kmsg_complaints(kmsg));
}

TEST_HARNESS_MAIN
