// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every error row of the UAPI header for DOORBELL_MODERATE. A refused call must change
 * nothing; see errors.c. Runs as a 32-bit program, too.
 */
#include "wiring.h"

#define LINE		2
#define INTERVAL	5000

/* The limits are what they were. */
#define EXPECT_LIMITS() do {						\
	struct doorbell_moderate __limits;				\
									\
	ASSERT_EQ(0, doorbell_get_moderation(self->db, 0, &__limits));	\
	EXPECT_EQ(INTERVAL, __limits.min_interval);			\
	EXPECT_EQ(7, __limits.max_count);				\
	ASSERT_EQ(0, doorbell_get_moderation(w->db[0], LINE, &__limits)); \
	EXPECT_EQ(0, __limits.min_interval);				\
	EXPECT_EQ(0, __limits.max_count);				\
} while (0)

/* The wiring has no moderated line: its model has no time. Line 0 of @db is moderated. */
FIXTURE(errors_moderation) {
	struct wiring w;
	int db;
};

FIXTURE_SETUP(errors_moderation)
{
	wiring_init(_metadata, &self->w);
	self->db = new_context(_metadata, 1);
	ASSERT_EQ(0, doorbell_moderate(self->db, 0, INTERVAL, 7));
	ASSERT_EQ(0, assign_trigger(&self->w, LINE, 2));
	ASSERT_TRUE(intact(&self->w));
}

FIXTURE_TEARDOWN(errors_moderation)
{
}

TEST_F(errors_moderation, interval)
{
	struct wiring *w = &self->w;
	const struct { int db; uint32_t line; } targets[] = { { w->db[0], LINE }, { self->db, 0 } };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		const int db = targets[i].db;
		const uint32_t line = targets[i].line;

		REFUSED(EINVAL, doorbell_moderate(db, line, 1, 0));
		REFUSED(EINVAL, doorbell_moderate(db, line, DOORBELL_MIN_INTERVAL - 1, 0));
		REFUSED(EINVAL, doorbell_moderate(db, line, DOORBELL_MAX_INTERVAL + 1, 0));
		REFUSED(EINVAL, doorbell_moderate(db, line, UINT32_MAX, 1));
		/* A count alone would hold the last ring for ever. */
		REFUSED(EINVAL, doorbell_moderate(db, line, 0, 1));
	}
	EXPECT_LIMITS();
	EXPECT_EQ(0, doorbell_moderate(self->db, 0, DOORBELL_MIN_INTERVAL, 0));
	EXPECT_EQ(0, doorbell_moderate(self->db, 0, DOORBELL_MAX_INTERVAL, UINT32_MAX));
}

TEST_F(errors_moderation, flags_and_reserved)
{
	struct doorbell_moderate set = { .line = 0, .min_interval = 2 * INTERVAL };
	struct doorbell_moderate get = { .line = 0, .flags = DOORBELL_MODERATE_FLAG_GET };
	struct wiring *w = &self->w;
	int bit;

	for (bit = 1; bit < 32; bit++) {
		set.flags = 1U << bit;
		REFUSED(EINVAL, doorbell_ioctl(self->db, DOORBELL_MODERATE, &set));
		set.flags |= DOORBELL_MODERATE_FLAG_GET;
		REFUSED(EINVAL, doorbell_ioctl(self->db, DOORBELL_MODERATE, &set));
	}
	set.flags = 0;
	REFUSED_RESERVED(self->db, DOORBELL_MODERATE, set);
	REFUSED_RESERVED(self->db, DOORBELL_MODERATE, get);
	EXPECT_LIMITS();
}

TEST_F(errors_moderation, no_such_line)
{
	struct doorbell_moderate limits;
	int fresh = new_context(_metadata, 0);
	struct wiring *w = &self->w;

	REFUSED(ENXIO, doorbell_moderate(w->db[0], PER_DB, INTERVAL, 0));
	REFUSED(ENXIO, doorbell_moderate(w->db[0], UINT32_MAX, 0, 0));
	REFUSED(ENXIO, doorbell_get_moderation(w->db[0], PER_DB, &limits));
	REFUSED(ENXIO, doorbell_moderate(fresh, 0, INTERVAL, 0));
	REFUSED(ENXIO, doorbell_get_moderation(fresh, 0, &limits));
	/* A structure that is wrong by itself is EINVAL all the same. */
	REFUSED(EINVAL, doorbell_moderate(fresh, 0, 0, 1));
	EXPECT_LIMITS();
}

/* ENOSPC: a context has that many timers. Those that it has can be used. */
TEST(too_many)
{
	int db = new_context(_metadata, DOORBELL_MAX_MODERATED + 2);
	uint32_t line;

	for (line = 0; line < DOORBELL_MAX_MODERATED; line++)
		ASSERT_EQ(0, doorbell_moderate(db, line, INTERVAL, 0));
	EXPECT_EQ(-ENOSPC, doorbell_moderate(db, line, INTERVAL, 0));
	EXPECT_EQ(0, doorbell_moderate(db, line, 0, 0));
	EXPECT_EQ(0, doorbell_moderate(db, 0, 0, 0));
	EXPECT_EQ(-ENOSPC, doorbell_moderate(db, line, INTERVAL, 0));
	EXPECT_EQ(0, doorbell_moderate(db, 0, INTERVAL, 7));
}

TEST_F(errors_moderation, unreadable)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct wiring *w = &self->w;
	struct doorbell_moderate *get;

	REFUSED(EFAULT, doorbell_ioctl(self->db, DOORBELL_MODERATE, NULL));
	get = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(get != MAP_FAILED);
	get->line = 0;
	get->flags = DOORBELL_MODERATE_FLAG_GET;
	ASSERT_EQ(0, mprotect(get, page, PROT_READ));
	REFUSED(EFAULT, doorbell_ioctl(self->db, DOORBELL_MODERATE, get));
	EXPECT_LIMITS();
}

TEST_HARNESS_MAIN
