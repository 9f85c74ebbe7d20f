// SPDX-License-Identifier: GPL-2.0-only
/*
 * The errors of DOORBELL_SUMMARY. A refused call changes no line, see errors.c. Runs as a
 * 32-bit program, too.
 */
#include "errors.h"
#include "summary.h"

/* The line of WIRE() that has a trigger, and a line that has the summary. */
#define TRIGGERED	0
#define SUMMARISED	2

FIXTURE(errors_summary) {
	struct wiring w;
	struct doorbell_summary_words words;
};

/* Line SUMMARISED marks the summary. In the model that is an eventfd that is not read. */
FIXTURE_SETUP(errors_summary)
{
	struct wiring *w = &self->w;

	wiring_init(_metadata, w);
	WIRE();
	ASSERT_EQ(0, doorbell_assign_summary(w->db[0], SUMMARISED, 1));
	self->words = map_summary(_metadata, w->db[0]);
}

FIXTURE_TEARDOWN(errors_summary)
{
}

/* Rings all lines but the masked one. Only SUMMARISED marks the summary. */
static bool unchanged(struct __test_metadata *_metadata, struct _test_data_errors_summary *self)
{
	struct wiring *w = &self->w;
	uint32_t line;

	for (line = 0; line < PER_DB; line++)
		if (line_of(_metadata, w->db[0], line).nr_triggers !=
		    (line == TRIGGERED || line == SUMMARISED))
			return false;
	if (info_of(_metadata, w->db[0]).nr_triggers != 2)
		return false;
	for (line = 0; line < PER_DB; line++)
		doorbell_ring(w->db[0], line);
	return take_only(&self->words) == SUMMARISED && !efd_poll(w->db[0], POLLIN, 0);
}

#define REFUSED_SUMMARY(error, call) do {				\
	EXPECT_EQ(-(error), (call));					\
	EXPECT_TRUE(unchanged(_metadata, self));			\
} while (0)

#define SUMMARY(arg)	doorbell_ioctl(w->db[0], DOORBELL_SUMMARY, arg)

TEST_F(errors_summary, einval)
{
	const struct doorbell_summary good = { .nr_lines = 1 };
	struct wiring *w = &self->w;
	struct doorbell_summary arg;
	uint64_t lines[2] = { 0, 0 };
	unsigned int i, flags;

	for (i = 1; i < 32; i++) {
		for (flags = 0; flags <= DOORBELL_SUMMARY_FLAG_DEASSIGN; flags++) {
			arg = good;
			arg.flags = 1U << i | flags;
			REFUSED_SUMMARY(EINVAL, SUMMARY(&arg));
		}
	}
	for (i = 0; i < ARRAY_SIZE(arg.reserved); i++) {
		arg = good;
		arg.reserved[i] = 1U << (31 - i);
		REFUSED_SUMMARY(EINVAL, SUMMARY(&arg));
	}
	for (flags = 0; flags <= DOORBELL_SUMMARY_FLAG_DEASSIGN; flags++) {
		/* No lines, and bits beyond them. */
		REFUSED_SUMMARY(EINVAL, doorbell_summary(w->db[0], 0, 0, NULL, flags));
		REFUSED_SUMMARY(EINVAL, doorbell_summary(w->db[0], 99, 0, lines, flags));
		lines[0] = 1 << PER_DB;
		REFUSED_SUMMARY(EINVAL, doorbell_summary(w->db[0], 0, PER_DB, lines, flags));
		lines[0] = 3;
		REFUSED_SUMMARY(EINVAL, doorbell_summary(w->db[0], 0, 1, lines, flags));
	}
}

TEST_F(errors_summary, enxio)
{
	const int fresh = new_context(_metadata, 0);
	struct wiring *w = &self->w;
	const uint64_t none = 0;
	unsigned int flags;

	for (flags = 0; flags <= DOORBELL_SUMMARY_FLAG_DEASSIGN; flags++) {
		REFUSED_SUMMARY(ENXIO, doorbell_summary(w->db[0], PER_DB, 1, NULL, flags));
		REFUSED_SUMMARY(ENXIO, doorbell_summary(w->db[0], 0, PER_DB + 1, NULL, flags));
		REFUSED_SUMMARY(ENXIO, doorbell_summary(w->db[0], 0, PER_DB + 1, &none, flags));
		REFUSED_SUMMARY(ENXIO, doorbell_summary(w->db[0], UINT32_MAX, 1, NULL, flags));
		REFUSED_SUMMARY(ENXIO, doorbell_summary(w->db[0], 1, UINT32_MAX, NULL, flags));
		EXPECT_EQ(-ENXIO, doorbell_summary(fresh, 0, 1, NULL, flags));
	}
}

/* One line among others that has the summary, or lacks it: no line changes. */
TEST_F(errors_summary, eexist_enoent)
{
	struct wiring *w = &self->w;
	uint64_t lines = 1 << SUMMARISED | 1;
	uint32_t flags;

	REFUSED_SUMMARY(EEXIST, doorbell_assign_summary(w->db[0], SUMMARISED, 1));
	REFUSED_SUMMARY(EEXIST, doorbell_assign_summary(w->db[0], 0, PER_DB));
	REFUSED_SUMMARY(EEXIST, doorbell_assign_summary(w->db[0], SUMMARISED - 1, 2));
	REFUSED_SUMMARY(EEXIST, doorbell_summary(w->db[0], 0, PER_DB, &lines, 0));
	REFUSED_SUMMARY(ENOENT, doorbell_deassign_summary(w->db[0], 0, 1));
	REFUSED_SUMMARY(ENOENT, doorbell_deassign_summary(w->db[0], 0, PER_DB));
	REFUSED_SUMMARY(ENOENT, doorbell_deassign_summary(w->db[0], SUMMARISED, 2));
	flags = DOORBELL_SUMMARY_FLAG_DEASSIGN;
	REFUSED_SUMMARY(ENOENT, doorbell_summary(w->db[0], 0, PER_DB, &lines, flags));
	EXPECT_EQ(-ENOENT, doorbell_deassign_summary(w->db[1], 0, PER_DB));
	ASSERT_EQ(0, doorbell_deassign_summary(w->db[0], SUMMARISED, 1));
	EXPECT_EQ(-ENOENT, doorbell_deassign_summary(w->db[0], SUMMARISED, 1));
}

TEST_F(errors_summary, enospc)
{
	int fd[DOORBELL_MAX_TRIGGERS_PER_LINE], i;
	struct wiring *w = &self->w;

	/* WIRE() has assigned one already. */
	for (i = 1; i < DOORBELL_MAX_TRIGGERS_PER_LINE; i++) {
		fd[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(w->db[0], fd[i], TRIGGERED));
	}
	EXPECT_EQ(-ENOSPC, doorbell_assign_summary(w->db[0], 0, SUMMARISED));
	EXPECT_EQ(0, line_of(_metadata, w->db[0], 1).nr_triggers);
	doorbell_ring(w->db[0], 0);
	doorbell_ring(w->db[0], 1);
	EXPECT_EQ(-1, take_only(&self->words));
	/* The last place is for the summary, too, and the summary fills a place. */
	ASSERT_EQ(0, doorbell_deassign_trigger(w->db[0], fd[1], TRIGGERED));
	ASSERT_EQ(0, doorbell_assign_summary(w->db[0], 0, SUMMARISED));
	EXPECT_EQ(-ENOSPC, doorbell_assign_trigger(w->db[0], fd[1], TRIGGERED));
	doorbell_ring(w->db[0], 0);
	EXPECT_EQ(0, take_only(&self->words));
	for (i = 2; i < DOORBELL_MAX_TRIGGERS_PER_LINE; i++)
		EXPECT_LT(0, efd_read(fd[i]));
}

TEST_F(errors_summary, efault)
{
	struct wiring *w = &self->w;
	const long page = sysconf(_SC_PAGESIZE);
	uint64_t bad[4];
	unsigned int i, flags;
	char *mem;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	ASSERT_EQ(0, munmap(mem + page, page));
	REFUSED_SUMMARY(EFAULT, SUMMARY(NULL));
	REFUSED_SUMMARY(EFAULT, SUMMARY(mem + page));
	REFUSED_SUMMARY(EFAULT, SUMMARY(mem + page - 8));
	bad[0] = 1;
	bad[1] = (uintptr_t)mem + page;
	bad[2] = (uintptr_t)mem + page - 4;
	bad[3] = 0xffffffff81000000ULL;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		for (flags = 0; flags <= DOORBELL_SUMMARY_FLAG_DEASSIGN; flags++) {
			struct doorbell_summary arg = {
				.nr_lines = PER_DB, .lines = bad[i], .flags = flags,
			};

			REFUSED_SUMMARY(EFAULT, SUMMARY(&arg));
		}
	}
	/* Memory that can only be read is good enough. */
	*(uint64_t *)mem = 1;
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ));
	EXPECT_EQ(0, doorbell_summary(w->db[0], 0, PER_DB, (uint64_t *)mem, 0));
}

/* The order of several errors: EINVAL, ENXIO, EFAULT, EEXIST. */
TEST_F(errors_summary, order)
{
	struct wiring *w = &self->w;
	struct doorbell_summary arg = {
		.line = PER_DB, .nr_lines = 1, .lines = 1, .flags = 2,
	};

	REFUSED_SUMMARY(EINVAL, SUMMARY(&arg));
	arg.flags = 0;
	REFUSED_SUMMARY(ENXIO, SUMMARY(&arg));
	arg.line = SUMMARISED;
	REFUSED_SUMMARY(EFAULT, SUMMARY(&arg));
	arg.lines = 0;
	REFUSED_SUMMARY(EEXIST, SUMMARY(&arg));
}

TEST_HARNESS_MAIN
