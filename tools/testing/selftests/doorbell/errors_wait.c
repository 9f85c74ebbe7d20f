// SPDX-License-Identifier: GPL-2.0-only
/*
 * The errors of DOORBELL_WAIT, and of the waiters of a line, see errors.c. A refused call
 * has neither rung nor consumed anything. Runs as a 32-bit program, too.
 */
#include "errors.h"
#include "summary.h"

#define WAITERS		DOORBELL_TRIGGER_FLAG_WAITERS
#define LINE		DOORBELL_RING_WAIT_FLAG_LINE
#define NO_RING		DOORBELL_RING_WAIT_FLAG_NO_RING

/* A line of a context of its own that has waiters, and a delivery for them. */
#define WAITED		1

FIXTURE(errors) {
	struct wiring w;
	int db;
	const struct doorbell_line_status *status;
	struct doorbell_wait arg;
	struct doorbell_ring_wait ring;
};

FIXTURE_SETUP(errors)
{
	struct wiring *w = &self->w;

	wiring_init(_metadata, w);
	WIRE();
	self->db = new_context(_metadata, 3);
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, WAITED));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, WAITED));
	self->status = map_status(_metadata, self->db);
	self->arg = (struct doorbell_wait){ .line = WAITED };
	self->ring = (struct doorbell_ring_wait){ .fd = WAITED, .flags = LINE };
}

FIXTURE_TEARDOWN(errors)
{
}

/* Expects an error that has neither rung nor consumed anything. */
#undef REFUSED
#define REFUSED(error, call) do {					\
	ASSERT_EQ(-(error), (call));					\
	ASSERT_TRUE(intact(&self->w));					\
	ASSERT_EQ(0, line_of(_metadata, self->db, 0).rings);		\
	ASSERT_EQ(1, line_of(_metadata, self->db, WAITED).rings);	\
	ASSERT_EQ(1, line_of(_metadata, self->db, WAITED).nr_triggers);	\
	ASSERT_EQ(DOORBELL_LINE_WAITERS, line_of(_metadata, self->db, WAITED).state); \
	ASSERT_EQ(1, self->status[WAITED].deliveries - self->status[WAITED].taken); \
} while (0)

#define WAIT(arg)		doorbell_ioctl(self->db, DOORBELL_WAIT, arg)
#define RING_WAIT(arg)		doorbell_ioctl(self->db, DOORBELL_RING_WAIT, arg)

#define REFUSED_BOTH(error) do {					\
	const int __error = error;					\
									\
	self->ring.flags = LINE;					\
	REFUSED(__error, RING_WAIT(&self->ring));			\
	self->ring.flags = LINE | NO_RING;				\
	REFUSED(__error, RING_WAIT(&self->ring));			\
} while (0)

TEST_F(errors, wait_no_such_line)
{
	static const uint32_t lines[] = { 3, DOORBELL_MAX_LINES, 1U << 31, UINT32_MAX };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		self->arg.line = lines[i];
		REFUSED(ENXIO, WAIT(&self->arg));
		self->ring.fd = lines[i];
		REFUSED_BOTH(ENXIO);
	}
	self->ring.fd = WAITED;
	self->ring.line = 3;
	REFUSED_BOTH(ENXIO);
}

TEST_F(errors, wait_no_lines_yet)
{
	int fresh = new_context(_metadata, 0);

	self->arg.line = 0;
	REFUSED(ENXIO, doorbell_ioctl(fresh, DOORBELL_WAIT, &self->arg));
	self->ring.fd = 0;
	REFUSED(ENXIO, doorbell_ioctl(fresh, DOORBELL_RING_WAIT, &self->ring));
	REFUSED(ENXIO, doorbell_assign_waiters(fresh, 0));
	REFUSED(ENXIO, doorbell_deassign_waiters(fresh, 0));
}

/* Neither a line that never had waiters, nor one that has them no more. */
TEST_F(errors, wait_no_waiters)
{
	self->arg.line = 0;
	REFUSED(ENOENT, WAIT(&self->arg));
	REFUSED(ENOENT, doorbell_ioctl(self->w.db[0], DOORBELL_WAIT, &self->arg));
	self->ring.fd = 0;
	REFUSED_BOTH(ENOENT);
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, 2));
	ASSERT_EQ(0, doorbell_deassign_waiters(self->db, 2));
	self->arg.line = 2;
	REFUSED(ENOENT, WAIT(&self->arg));
	self->ring.fd = 2;
	REFUSED_BOTH(ENOENT);
}

TEST_F(errors, wait_flags)
{
	int bit;

	for (bit = 0; bit < 32; bit++) {
		self->arg.flags = 1U << bit;
		REFUSED(EINVAL, WAIT(&self->arg));
	}
	for (bit = 2; bit < 32; bit++) {
		self->ring.flags = LINE | 1U << bit;
		REFUSED(EINVAL, RING_WAIT(&self->ring));
	}
}

TEST_F(errors, wait_reserved_fields)
{
	REFUSED_RESERVED(self->db, DOORBELL_WAIT, self->arg);
	REFUSED_RESERVED(self->db, DOORBELL_RING_WAIT, self->ring);
}

/* Times that the clock cannot reach. */
TEST_F(errors, wait_timeout_out_of_range)
{
	const uint64_t times[] = { 1ULL << 63, DOORBELL_WAIT_NO_TIMEOUT - 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(times); i++) {
		self->arg.timeout = times[i];
		REFUSED(EINVAL, WAIT(&self->arg));
		self->ring.timeout = times[i];
		REFUSED_BOTH(EINVAL);
	}
}

/* EFAULT: unmapped, half mapped, and read-only. */
TEST_F(errors, wait_bad_address)
{
	long page = sysconf(_SC_PAGESIZE);
	char *mem;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	memcpy(mem, &self->arg, sizeof(self->arg));
	memcpy(mem + sizeof(self->arg), &self->ring, sizeof(self->ring));
	ASSERT_EQ(0, munmap(mem + page, page));
	REFUSED(EFAULT, WAIT(NULL));
	REFUSED(EFAULT, WAIT(mem + page));
	REFUSED(EFAULT, WAIT(mem + page - 4));
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ));
	REFUSED(EFAULT, WAIT(mem));
	REFUSED(EFAULT, RING_WAIT(mem + sizeof(self->arg)));
}

/* The order of several errors. */
TEST_F(errors, wait_order_of_errors)
{
	self->arg = (struct doorbell_wait){ .line = 3, .timeout = 1ULL << 63, .count = 77 };
	REFUSED(EINVAL, WAIT(&self->arg));
	self->arg.timeout = 0;
	REFUSED(ENXIO, WAIT(&self->arg));
	self->arg.line = 0;
	REFUSED(ENOENT, WAIT(&self->arg));
	/* After its checks the call sets the count. */
	EXPECT_EQ(77, self->arg.count);
	self->arg.line = WAITED;
	EXPECT_EQ(0, WAIT(&self->arg));
	EXPECT_EQ(1, self->arg.count);
	EXPECT_EQ(-ETIMEDOUT, WAIT(&self->arg));
	EXPECT_EQ(0, self->arg.count);
}

TEST_F(errors, waiters_arguments)
{
	static const uint32_t flags[] = { WAITERS, WAITERS | DEASSIGN };
	uint32_t lines[] = { 3, DOORBELL_MAX_LINES, UINT32_MAX };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		/* The eventfd must be -1. */
		REFUSED(EINVAL, doorbell_trigger(self->db, 0, 0, flags[i]));
		REFUSED(EINVAL, doorbell_trigger(self->db, self->w.efd[0], 0, flags[i]));
		REFUSED(EINVAL, doorbell_trigger(self->db, -2, 0, flags[i]));
		REFUSED(EINVAL, doorbell_trigger(self->db, -1, 0,
						 flags[i] | DOORBELL_TRIGGER_FLAG_ALL));
		for (j = 0; j < ARRAY_SIZE(lines); j++)
			REFUSED(ENXIO, doorbell_trigger(self->db, -1, lines[j], flags[i]));
		/* No flag of notifiers. */
		REFUSED(EINVAL, doorbell_notifier(self->db, -1, 0, flags[i], 0));
		REFUSED(EINVAL, doorbell_notifier(self->db, -1, 0, flags[i],
						  DOORBELL_NOTIFY_MASK));
	}
}

TEST_F(errors, waiters_and_triggers)
{
	struct wiring *w = &self->w;

	/* Line 0 of the wiring has a trigger. */
	REFUSED(EBUSY, doorbell_assign_waiters(w->db[0], 0));
	REFUSED(ENOENT, doorbell_deassign_waiters(w->db[0], 0));
	REFUSED(ENOENT, doorbell_deassign_waiters(self->db, 0));
	REFUSED(EEXIST, doorbell_assign_waiters(self->db, WAITED));
	REFUSED(EBUSY, doorbell_assign_trigger(self->db, w->efd[2], WAITED));
	REFUSED(EBADF, doorbell_assign_trigger(self->db, -1, WAITED));
	REFUSED(ENOENT, doorbell_deassign_trigger(self->db, w->efd[2], WAITED));
	/* The waiters are no eventfd. */
	REFUSED(0, doorbell_deassign_all_triggers(self->db, WAITED));
}

/* The summary is another trigger, too. A call for a set of lines changes none of them. */
TEST_F(errors, waiters_and_the_summary)
{
	REFUSED(EBUSY, doorbell_assign_summary(self->db, WAITED, 1));
	REFUSED(EBUSY, doorbell_assign_summary(self->db, 0, 3));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_triggers);
	EXPECT_EQ(0, line_of(_metadata, self->db, 2).nr_triggers);
	ASSERT_EQ(0, doorbell_assign_summary(self->db, 2, 1));
	REFUSED(EBUSY, doorbell_assign_waiters(self->db, 2));
	REFUSED(EEXIST, doorbell_assign_summary(self->db, 2, 1));
	ASSERT_EQ(0, doorbell_deassign_summary(self->db, 2, 1));
	EXPECT_EQ(0, doorbell_assign_waiters(self->db, 2));
}

TEST_HARNESS_MAIN
