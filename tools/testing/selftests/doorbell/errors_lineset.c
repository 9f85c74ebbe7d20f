// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every error row of the UAPI header for sets of lines. A refused call must change nothing;
 * see errors.c. Runs as a 32-bit program, too.
 */
#include "errors.h"

FIXTURE(errors_lineset) {
	struct wiring w;
};

FIXTURE_SETUP(errors_lineset)
{
	wiring_init(_metadata, &self->w);
}

FIXTURE_TEARDOWN(errors_lineset)
{
}

static const unsigned long linesets[] = {
	DOORBELL_MASK, DOORBELL_UNMASK, DOORBELL_CLEAR, DOORBELL_PENDING, DOORBELL_RING_LINES,
};

/* Expects an error. Uses queries only, so that each line stays as it is. */
#define UNTOUCHED(error, call) do {					\
	ASSERT_EQ(-(error), (call));					\
	ASSERT_TRUE(same(w));						\
} while (0)

/* Expects the error from all calls, and no change of the result, which is all ones. */
#define SETS_REFUSED(error, set, result) do {				\
	struct doorbell_line_set __set = set;				\
	const uint64_t *__result = result;				\
	unsigned int __i;						\
									\
	for (__i = 0; __i < ARRAY_SIZE(linesets); __i++) {		\
		UNTOUCHED(error, doorbell_ioctl(w->db[0], linesets[__i], &__set)); \
		ASSERT_EQ(UINT64_MAX, __result[0]);			\
		ASSERT_EQ(UINT64_MAX, __result[1]);			\
	}								\
} while (0)

/* Lines of each kind: 0 is not masked, 1 is, 2 and 3 hold a message. */
#define WIRE_SETS() do {						\
	WIRE();								\
	ASSERT_EQ(1, mask_line(w, 1));					\
	ASSERT_EQ(1, mask_line(w, 2));					\
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(w->db[0], 2));		\
	ASSERT_EQ(DOORBELL_RING_MASKED, model_ring(w, 2));		\
	ASSERT_TRUE(same(w));						\
} while (0)

TEST_F(errors_lineset, einval)
{
	struct wiring *w = &self->w;
	uint64_t lines[2] = { 15, 0 }, result[2] = { UINT64_MAX, UINT64_MAX };
	const struct doorbell_line_set good = {
		.nr_lines = PER_DB, .lines = (uintptr_t)lines, .result = (uintptr_t)result,
	};
	struct doorbell_line_set set;
	unsigned int i;

	WIRE_SETS();
	for (i = 4; i < 32; i++) {
		set = good;
		set.flags = 1U << i;
		SETS_REFUSED(EINVAL, set, result);
		set.flags |= DOORBELL_MASK_VECTOR;
		SETS_REFUSED(EINVAL, set, result);
	}
	/* A message is not pending for a reason. */
	for (i = 0; i < 4; i++) {
		set = good;
		set.flags = 1U << i;
		UNTOUCHED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_CLEAR, &set));
		UNTOUCHED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_PENDING, &set));
		ASSERT_EQ(UINT64_MAX, result[0]);
	}
	for (i = 0; i < ARRAY_SIZE(set.reserved); i++) {
		set = good;
		set.reserved[i] = 1U << (30 + i % 2);
		SETS_REFUSED(EINVAL, set, result);
	}
	/* No lines, at any place. */
	set = good;
	set.nr_lines = 0;
	SETS_REFUSED(EINVAL, set, result);
	set.line = UINT32_MAX;
	SETS_REFUSED(EINVAL, set, result);
	set = good;
	set.nr_lines = 0;
	set.lines = 0;
	set.result = 0;
	SETS_REFUSED(EINVAL, set, result);
	/* Bits beyond the lines, even if such lines exist and no other bit is set. */
	set = good;
	set.nr_lines = 3;
	SETS_REFUSED(EINVAL, set, result);
	set = good;
	lines[0] = 16;
	SETS_REFUSED(EINVAL, set, result);
	lines[0] = 1ULL << 63;
	SETS_REFUSED(EINVAL, set, result);
	lines[0] = UINT64_MAX;
	SETS_REFUSED(EINVAL, set, result);
	set.line = PER_DB - 1;
	set.nr_lines = 1;
	lines[0] = 2;
	SETS_REFUSED(EINVAL, set, result);
	ASSERT_TRUE(intact(w));
}

/* Each set of reasons is valid, and no other error depends on them. */
TEST_F(errors_lineset, reasons)
{
	struct wiring *w = &self->w;
	uint64_t lines[2] = { 15, 0 }, result[2] = { UINT64_MAX, UINT64_MAX };
	struct doorbell_line_set set;
	unsigned int i, reasons;

	WIRE_SETS();
	for (i = 0; i < 2; i++) {
		for (reasons = 1; reasons < 16; reasons++) {
			set = (struct doorbell_line_set){
				.nr_lines = PER_DB + 1, .lines = (uintptr_t)lines,
				.result = (uintptr_t)result, .flags = reasons,
			};
			UNTOUCHED(ENXIO, doorbell_ioctl(w->db[0], linesets[i], &set));
			set.nr_lines = 3;
			UNTOUCHED(EINVAL, doorbell_ioctl(w->db[0], linesets[i], &set));
			set.nr_lines = PER_DB;
			set.result = 1;
			UNTOUCHED(EFAULT, doorbell_ioctl(w->db[0], linesets[i], &set));
			set.result = (uintptr_t)result;
			set.reserved[0] = 1;
			UNTOUCHED(EINVAL, doorbell_ioctl(w->db[0], linesets[i], &set));
			/* The flags are checked before the lines. */
			set.reserved[0] = 0;
			set.line = UINT32_MAX;
			set.flags |= 16;
			UNTOUCHED(EINVAL, doorbell_ioctl(w->db[0], linesets[i], &set));
			ASSERT_EQ(UINT64_MAX, result[0]);
		}
	}
	for (reasons = 1; reasons < 16; reasons++) {
		ASSERT_LE(0, doorbell_mask_lines_for(w->db[0], 0, PER_DB, lines, NULL, reasons));
		ASSERT_EQ(0, doorbell_unmask_lines_for(w->db[0], 0, PER_DB, lines, NULL,
						       reasons & ~DOORBELL_MASK_VECTOR ?:
						       DOORBELL_MASK_FUNCTION));
	}
}

/* In the second word, of 65 lines and of 128. */
TEST_F(errors_lineset, einval_wide)
{
	uint64_t lines[2] = { 0, 2 }, result[2] = { 7, 7 };
	int db = new_context(_metadata, 128);
	const struct doorbell_line_status *status = map_status(_metadata, db);
	unsigned int i, at;

	for (i = 0; i < 2; i++) {
		lines[0] = i ? UINT64_MAX : 0;
		for (at = 1; at < 64; at++) {
			lines[1] = 1ULL << at;
			EXPECT_EQ(-EINVAL,
				  doorbell_line_set(db, DOORBELL_MASK, 0, 65, lines, result));
			EXPECT_EQ(-EINVAL,
				  doorbell_line_set(db, DOORBELL_MASK, 63, 65, lines, result));
		}
	}
	for (i = 0; i < 128; i++)
		EXPECT_EQ(0, status_state(&status[i]));
	EXPECT_EQ(7, result[0]);
	EXPECT_EQ(7, result[1]);
	lines[0] = 0;
	lines[1] = 1;
	EXPECT_EQ(1, doorbell_line_set(db, DOORBELL_MASK, 63, 65, lines, result));
	EXPECT_EQ(VECTOR_MASKED, status_state(&status[127]));
}

/* ENXIO: a line that does not exist among those that do, and sums that wrap around. */
TEST_F(errors_lineset, enxio)
{
	struct wiring *w = &self->w;
	static const struct {
		uint32_t line;
		uint32_t nr_lines;
	} beyond[] = {
		{ 0, PER_DB + 1 }, { 1, PER_DB }, { PER_DB - 1, 2 }, { PER_DB, 1 },
		{ 0, UINT32_MAX }, { 1, UINT32_MAX }, { PER_DB, UINT32_MAX - PER_DB + 1 },
		{ UINT32_MAX, 1 }, { UINT32_MAX, 2 }, { UINT32_MAX, UINT32_MAX },
		{ 1U << 31, 1U << 31 }, { (1U << 31) + 1, 1U << 31 }, { DOORBELL_MAX_LINES, 1 },
		{ 0, DOORBELL_MAX_LINES }, { UINT32_MAX - 2, PER_DB },
	};
	uint64_t lines[2] = { 1, 0 }, result[2] = { UINT64_MAX, UINT64_MAX };
	unsigned int i, bitmap;

	WIRE_SETS();
	for (i = 0; i < ARRAY_SIZE(beyond); i++) {
		for (bitmap = 0; bitmap < 2; bitmap++) {
			struct doorbell_line_set set = {
				.line = beyond[i].line, .nr_lines = beyond[i].nr_lines,
				/* The only bit is that of the first line, which may exist. */
				.lines = bitmap ? (uintptr_t)lines : 0,
				.result = (uintptr_t)result,
			};

			SETS_REFUSED(ENXIO, set, result);
		}
	}
	ASSERT_TRUE(intact(w));
}

/* EFAULT: unmapped addresses, memory that ends too soon, kernel addresses. */
TEST_F(errors_lineset, efault)
{
	struct wiring *w = &self->w;
	uint64_t result[2] = { UINT64_MAX, UINT64_MAX }, lines[2] = { 15, 0 };
	long page = sysconf(_SC_PAGESIZE);
	unsigned int i;
	uint64_t bad[8];
	char *mem;

	WIRE_SETS();
	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	ASSERT_EQ(0, munmap(mem + page, page));
	i = 0;
	bad[i++] = 1;
	bad[i++] = (uintptr_t)mem + page;
	bad[i++] = (uintptr_t)mem + page - 4;
	bad[i++] = UINT64_MAX;
	bad[i++] = UINT64_MAX - 7;
	bad[i++] = 0xffffffff81000000ULL;
	bad[i++] = 0xdead000000000000ULL;
	/* Not a good address unless the upper half is ignored. */
	bad[i++] = sizeof(long) == 4 ? 1ULL << 32 | (uintptr_t)mem : 1ULL << 63 | (uintptr_t)mem;
	ASSERT_EQ(ARRAY_SIZE(bad), i);

	for (i = 0; i < ARRAY_SIZE(linesets); i++) {
		UNTOUCHED(EFAULT, doorbell_ioctl(w->db[0], linesets[i], NULL));
		UNTOUCHED(EFAULT, doorbell_ioctl(w->db[0], linesets[i], mem + page));
		UNTOUCHED(EFAULT, doorbell_ioctl(w->db[0], linesets[i], mem + page - 8));
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct doorbell_line_set set = {
			.nr_lines = PER_DB, .lines = bad[i], .result = (uintptr_t)result,
		};

		SETS_REFUSED(EFAULT, set, result);
		set.lines = (uintptr_t)lines;
		set.result = bad[i];
		SETS_REFUSED(EFAULT, set, result);
		set.lines = 0;
		SETS_REFUSED(EFAULT, set, result);
		EXPECT_EQ(15, lines[0]);
	}

	/* Mapped, but read-only. */
	memset(mem, 0, page);
	mem[0] = 15;
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ));
	for (i = 0; i < ARRAY_SIZE(linesets); i++)
		UNTOUCHED(EFAULT, doorbell_line_set(w->db[0], linesets[i], 0, PER_DB,
						    (uint64_t *)mem, (uint64_t *)mem));
	/* Good enough to read from. */
	EXPECT_EQ(2,
		  doorbell_line_set(w->db[0], DOORBELL_PENDING, 0, PER_DB, (uint64_t *)mem, NULL));
	ASSERT_TRUE(intact(w));
}

/* The second page of a bitmap is missing: no line of the first was changed. */
TEST_F(errors_lineset, efault_halfway)
{
	const uint32_t nr = DOORBELL_MAX_LINES;
	int db = new_context(_metadata, nr);
	const struct doorbell_line_status *status = map_status(_metadata, db);
	long page = sysconf(_SC_PAGESIZE);
	uint64_t *mem;
	uint32_t i;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	ASSERT_EQ(0, munmap((char *)mem + page, page));
	memset(mem, 0xff, page);
	EXPECT_EQ(-EFAULT, doorbell_line_set(db, DOORBELL_MASK, 0, nr, mem, NULL));
	EXPECT_EQ(-EFAULT, doorbell_line_set(db, DOORBELL_MASK, 0, nr, NULL, mem));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, status_state(&status[i]));
	/* If the result was written, it says that no line was masked. */
	for (i = 0; i < page / sizeof(*mem); i++)
		ASSERT_TRUE(mem[i] == 0 || mem[i] == UINT64_MAX);
	EXPECT_EQ(nr, doorbell_line_set(db, DOORBELL_MASK, 0, nr, NULL, NULL));
	EXPECT_EQ(-EFAULT, doorbell_line_set(db, DOORBELL_UNMASK, 0, nr, NULL, mem));
	for (i = 0; i < nr; i++)
		ASSERT_EQ(VECTOR_MASKED, status_state(&status[i]));
}

TEST_HARNESS_MAIN
