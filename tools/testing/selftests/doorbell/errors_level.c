// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every error row of the UAPI header for level lines. A refused call must change nothing;
 * see errors.c. Runs as a 32-bit program, too.
 */
#include <sys/epoll.h>

#include "wiring.h"

FIXTURE(errors_level) {
	struct wiring w;
};

FIXTURE_SETUP(errors_level)
{
	wiring_init(_metadata, &self->w);
}

FIXTURE_TEARDOWN(errors_level)
{
}

/* Two level lines, one of them masked, an irqfd with a resamplefd, a trigger, a notifier. */
#define LINE		2
#define MASKED_LINE	3
#define EDGE_LINE	1

#define WIRE() do {							\
	ASSERT_EQ(0, set_level_line(w, LINE));				\
	ASSERT_EQ(0, set_level_line(w, MASKED_LINE));			\
	ASSERT_EQ(0, assign_resample(w, LINE, 0, 1));			\
	ASSERT_EQ(0, assign_trigger(w, LINE, 2));			\
	ASSERT_EQ(0, assign_notifier(w, LINE, 3, DOORBELL_NOTIFY_ACK));	\
	ASSERT_EQ(1, mask_line(w, MASKED_LINE));			\
	ASSERT_TRUE(intact(w));						\
} while (0)

/* EOPNOTSUPP: calls for level lines only. */
TEST_F(errors_level, edge_line)
{
	struct wiring *w = &self->w;

	WIRE();
	REFUSED(EOPNOTSUPP, doorbell_ack(w->db[0], EDGE_LINE));
	REFUSED(EOPNOTSUPP, doorbell_set_level(w->db[0], EDGE_LINE, 0));
	REFUSED(EOPNOTSUPP, doorbell_set_level(w->db[0], EDGE_LINE, 1));
	REFUSED(EOPNOTSUPP, doorbell_assign_resampled(w->db[0], w->efd[4], EDGE_LINE, w->efd[5]));
	/* The counter was not consumed. */
	ASSERT_NE(0, w->count[4]);
	/* The lines of another context are edge lines. */
	REFUSED(EOPNOTSUPP, doorbell_ack(w->db[1], LINE));
	REFUSED(EOPNOTSUPP, doorbell_set_level(w->db[1], LINE, 1));

	/* Only the type was in the way. */
	ASSERT_EQ(0, set_level_line(w, EDGE_LINE));
	efd_read(w->efd[4]);
	w->count[4] = 0;
	ASSERT_EQ(0, assign_resample(w, EDGE_LINE, 4, 5));
	ASSERT_TRUE(intact(w));
	ASSERT_TRUE(intact(w));
}

/* ENXIO: no lines yet. A structure that is wrong by itself is EINVAL all the same. */
TEST_F(errors_level, no_lines_yet)
{
	struct wiring *w = &self->w;
	int fresh = new_context(_metadata, 0);

	WIRE();
	REFUSED(ENXIO, doorbell_ack(fresh, 0));
	REFUSED(ENXIO, doorbell_set_type(fresh, 0, DOORBELL_TYPE_EDGE));
	REFUSED(ENXIO, doorbell_set_type(fresh, 0, DOORBELL_TYPE_LEVEL));
	REFUSED(ENXIO, doorbell_set_level(fresh, 0, 0));
	REFUSED(ENXIO, doorbell_set_level(fresh, 0, 1));
	REFUSED(ENXIO, doorbell_assign_resampled(fresh, w->efd[4], 0, w->efd[5]));
	REFUSED(EINVAL, doorbell_irqfd(fresh, w->efd[4], 0, 0, w->efd[5]));
	REFUSED(EINVAL, doorbell_irqfd(fresh, w->efd[4], 0, DEASSIGN, w->efd[5]));
	REFUSED(EINVAL, doorbell_irqfd(fresh, w->efd[4], 0,
				       DEASSIGN | DOORBELL_IRQFD_FLAG_RESAMPLE, 0));
}

/* ENXIO: one line too far, and numbers that truncation would make small. */
TEST_F(errors_level, no_such_line)
{
	struct wiring *w = &self->w;
	static const uint32_t lines[] = {
		PER_DB, DOORBELL_MAX_LINES, DOORBELL_MAX_LINES + LINE, 1U << 31, UINT32_MAX,
	};
	unsigned int i;

	WIRE();
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		REFUSED(ENXIO, doorbell_ack(w->db[0], lines[i]));
		REFUSED(ENXIO, doorbell_set_type(w->db[0], lines[i], DOORBELL_TYPE_LEVEL));
		REFUSED(ENXIO, doorbell_set_level(w->db[0], lines[i], 1));
		REFUSED(ENXIO, doorbell_assign_resampled(w->db[0], w->efd[4], lines[i], w->efd[5]));
	}
	if (sizeof(long) > 4) {
		REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_ACK,
					      (void *)(uintptr_t)(1ULL << 32)));
		REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_ACK,
					      (void *)(uintptr_t)(1ULL << 32 | LINE)));
	}
	REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_ACK, (void *)-1UL));
}

/* EINVAL: unknown types, levels and flags; reserved fields that are not zero. */
TEST_F(errors_level, unknown_values)
{
	struct wiring *w = &self->w;
	const struct doorbell_set_type good = { .line = EDGE_LINE, .type = DOORBELL_TYPE_LEVEL };
	struct doorbell_set_level level = { .line = LINE, .level = 1 };
	struct doorbell_set_type type = good;
	int bit;

	WIRE();
	REFUSED_RESERVED(w->db[0], DOORBELL_SET_TYPE, type);
	REFUSED_RESERVED(w->db[0], DOORBELL_SET_LEVEL, level);
	for (bit = 0; bit < 32; bit++) {
		level.flags = 1U << bit;
		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_SET_LEVEL, &level));
		if (!bit)
			continue;
		type = good;
		type.flags = 1U << bit;
		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_SET_TYPE, &type));
		type.flags |= DOORBELL_TYPE_FLAG_AUTOMASK;
		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_SET_TYPE, &type));
		REFUSED(EINVAL, doorbell_set_type(w->db[0], EDGE_LINE, 1U << bit));
		REFUSED(EINVAL,
			doorbell_set_type(w->db[0], EDGE_LINE, 1U << bit | DOORBELL_TYPE_LEVEL));
		REFUSED(EINVAL, doorbell_set_level(w->db[0], LINE, 1U << bit));
		REFUSED(EINVAL, doorbell_set_level(w->db[0], LINE, 1U << bit | 1));
	}
}

/*
 * EINVAL, EBADF, ELOOP: eventfds that cannot be a resamplefd, and a resamplefd where none
 * is allowed.
 */
TEST_F(errors_level, resamplefd)
{
	struct wiring *w = &self->w;
	const uint32_t resample = DOORBELL_IRQFD_FLAG_RESAMPLE, deassign = DEASSIGN;
	struct doorbell_irqfd irqfd = { .fd = w->efd[4], .line = LINE };
	int pipes[2], epoll, closed, bad[5], nr = 0, i;
	unsigned int j;

	WIRE();
	/* Without the flag; to deassign; with flags that exclude it. */
	irqfd.resamplefd = w->efd[5];
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd.resamplefd = -1;
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd = (struct doorbell_irqfd){
		.fd = w->efd[0], .line = LINE, .flags = deassign, .resamplefd = w->efd[1],
	};
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd.flags |= resample;
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd.resamplefd = 0;
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd = (struct doorbell_irqfd){
		.fd = w->efd[4], .line = LINE, .flags = resample, .resamplefd = w->efd[5],
	};
	REFUSED_RESERVED(w->db[0], DOORBELL_IRQFD, irqfd);
	for (j = 2; j < 32; j++) {
		irqfd.flags = 1U << j | resample;
		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	}

	ASSERT_EQ(0, pipe(pipes));
	epoll = epoll_create1(0);
	ASSERT_LE(0, epoll);
	closed = dup(epoll);
	close(closed);
	bad[nr++] = pipes[0];
	bad[nr++] = epoll;
	bad[nr++] = w->db[0];
	for (i = 0; i < nr; i++) {
		REFUSED(EINVAL, doorbell_assign_resampled(w->db[0], w->efd[4], LINE, bad[i]));
		REFUSED(EINVAL, doorbell_assign_resampled(w->db[0], bad[i], LINE, w->efd[5]));
	}
	nr = 0;
	bad[nr++] = closed;
	bad[nr++] = -1;
	bad[nr++] = INT32_MAX;
	bad[nr++] = INT32_MIN;
	for (i = 0; i < nr; i++) {
		REFUSED(EBADF, doorbell_assign_resampled(w->db[0], w->efd[4], LINE, bad[i]));
		REFUSED(EBADF, doorbell_assign_resampled(w->db[0], bad[i], LINE, w->efd[5]));
	}
	/* The same eventfd, by any fd. */
	REFUSED(ELOOP, doorbell_assign_resampled(w->db[0], w->efd[4], LINE, w->efd[4]));
	REFUSED(ELOOP, doorbell_assign_resampled(w->db[0], w->efd[4], LINE, dup(w->efd[4])));
	/* The resamplefd closes no cycle, but the irqfd may. */
	REFUSED(ELOOP, doorbell_assign_resampled(w->db[0], w->efd[2], LINE, w->efd[5]));
	REFUSED(EEXIST, doorbell_assign_resampled(w->db[0], w->efd[0], LINE, w->efd[5]));
	REFUSED(EEXIST, doorbell_assign_irqfd(w->db[0], w->efd[0], LINE));
	REFUSED(EBUSY, doorbell_assign_resampled(w->db[0], w->efd[0], MASKED_LINE, w->efd[5]));

	/* A resamplefd is not a notifier of its own. */
	REFUSED(ENOENT, doorbell_notifier(w->db[0], w->efd[1], LINE, deassign, 0));
	REFUSED(ENOENT, doorbell_irqfd(w->db[0], w->efd[1], LINE, deassign, 0));
	/* It may be a notifier of the same line as well. */
	ASSERT_EQ(0, assign_notifier(w, LINE, 1, DOORBELL_NOTIFY_ACK));
	ASSERT_TRUE(intact(w));
	REFUSED(EEXIST, notifier(w, LINE, 1, 0, DOORBELL_NOTIFY_ACK));
}

/* EBUSY for an irqfd of another context: the half-made assignment is undone. */
TEST_F(errors_level, irqfd_in_use)
{
	struct wiring *w = &self->w;

	WIRE();
	ASSERT_EQ(0, assign_irqfd(w, PER_DB, 4));
	REFUSED(EBUSY, doorbell_assign_resampled(w->db[0], w->efd[4], LINE, w->efd[5]));
	REFUSED(EBUSY, doorbell_assign_resampled(w->db[0], w->efd[4], MASKED_LINE, w->efd[5]));
	ASSERT_EQ(0, irqfd(w, PER_DB, 4, DEASSIGN));
	w->irqfd[4] = NOWHERE;
	efd_read(w->efd[4]);
	w->count[4] = 0;
	ASSERT_EQ(0, assign_resample(w, LINE, 4, 5));
	ASSERT_TRUE(intact(w));
}

/* EBUSY: the line is in use. Lines of both types keep their type. */
TEST_F(errors_level, type_in_use)
{
	struct wiring *w = &self->w;

	WIRE();
	/* These lines are asserted; the lines of the other context are free. */
	REFUSED(EBUSY, doorbell_set_type(w->db[0], LINE, DOORBELL_TYPE_EDGE));
	REFUSED(EBUSY, doorbell_set_type(w->db[0], MASKED_LINE, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(1, mask_line(w, EDGE_LINE));
	ASSERT_TRUE(intact(w));
	REFUSED(EBUSY, doorbell_set_type(w->db[0], EDGE_LINE, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_set_type(w->db[0], EDGE_LINE, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, doorbell_set_type(w->db[0], LINE, DOORBELL_TYPE_LEVEL));
	ASSERT_TRUE(intact(w));
	/* With the flag, too; the line does not mask itself after the refusal. */
	REFUSED(EBUSY, doorbell_set_type_automask(w->db[0], LINE, DOORBELL_TYPE_EDGE));
	REFUSED(EBUSY, doorbell_set_type_automask(w->db[0], MASKED_LINE, DOORBELL_TYPE_EDGE));
	REFUSED(EBUSY, doorbell_set_type_automask(w->db[0], EDGE_LINE, DOORBELL_TYPE_LEVEL));

	/* After the ack only the resamplefd is in the way. */
	ASSERT_EQ(model_ack(w, LINE), doorbell_ack(w->db[0], LINE));
	ASSERT_TRUE(same(w));
	ASSERT_EQ(-EBUSY, doorbell_set_type(w->db[0], LINE, DOORBELL_TYPE_EDGE));
	ASSERT_TRUE(same(w));
	ASSERT_EQ(0, irqfd(w, LINE, 0, DEASSIGN));
	w->irqfd[0] = NOWHERE;
	ASSERT_EQ(0, doorbell_set_type(w->db[0], LINE, DOORBELL_TYPE_EDGE));
	w->state[LINE] &= ~DOORBELL_LINE_LEVEL;
	ASSERT_TRUE(intact(w));
}

/* ENOSPC: one resamplefd more than a line can have. */
TEST_F(errors_level, too_many_resamplefds)
{
	struct wiring *w = &self->w;
	int in[DOORBELL_MAX_RESAMPLEFDS_PER_LINE];
	int res = new_eventfd(_metadata, 0, 0), more = new_eventfd(_metadata, 1, 0);
	unsigned int i;

	WIRE();
	ASSERT_EQ(0, doorbell_set_type(w->db[1], 0, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_set_type(w->db[1], 1, DOORBELL_TYPE_LEVEL));
	for (i = 0; i < ARRAY_SIZE(in); i++) {
		in[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_resampled(w->db[1], in[i], 0, res));
	}
	EXPECT_EQ(-ENOSPC, doorbell_assign_resampled(w->db[1], more, 0, res));
	EXPECT_EQ(1, efd_count(more));
	EXPECT_EQ(-EEXIST, doorbell_assign_resampled(w->db[1], in[0], 0, res));
	EXPECT_EQ(ARRAY_SIZE(in), line_of(_metadata, w->db[1], 0).nr_resamplefds);
	EXPECT_EQ(ARRAY_SIZE(in), line_of(_metadata, w->db[1], 0).nr_irqfds);
	/* Irqfds without one and notifiers do not count, nor do those of other lines. */
	ASSERT_EQ(0, doorbell_assign_notifier(w->db[1], res, 0, DOORBELL_NOTIFY_ACK));
	ASSERT_EQ(0, doorbell_assign_resampled(w->db[1], more, 1, res));
	EXPECT_EQ(0, efd_count(more));
	ASSERT_EQ(0, doorbell_deassign_irqfd(w->db[1], more, 1));
	ASSERT_EQ(0, doorbell_assign_irqfd(w->db[1], more, 0));
	ASSERT_EQ(0, doorbell_deassign_irqfd(w->db[1], more, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db[1], 0));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(w->db[1], 0));
	EXPECT_EQ(ARRAY_SIZE(in) + 1, efd_read(res));
	ASSERT_EQ(0, doorbell_deassign_irqfd(w->db[1], in[7], 0));
	ASSERT_EQ(0, doorbell_assign_resampled(w->db[1], more, 0, res));
}

/* EFAULT: unmapped and half mapped. */
TEST_F(errors_level, bad_address)
{
	struct wiring *w = &self->w;
	static const unsigned long ioctls[] = { DOORBELL_SET_TYPE, DOORBELL_SET_LEVEL };
	long page = sysconf(_SC_PAGESIZE);
	unsigned int i;
	char *mem;

	WIRE();
	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	ASSERT_EQ(0, munmap(mem + page, page));
	for (i = 0; i < ARRAY_SIZE(ioctls); i++) {
		REFUSED(EFAULT, doorbell_ioctl(w->db[0], ioctls[i], NULL));
		REFUSED(EFAULT, doorbell_ioctl(w->db[0], ioctls[i], mem + page));
		REFUSED(EFAULT, doorbell_ioctl(w->db[0], ioctls[i], mem + page - 4));
	}
}

/* The order of several errors: EFAULT, EINVAL, ENXIO, the fd, the rest. */
TEST_F(errors_level, order_of_errors)
{
	struct wiring *w = &self->w;
	struct doorbell_irqfd irqfd = {
		.fd = -1, .line = PER_DB, .flags = DOORBELL_IRQFD_FLAG_RESAMPLE, .resamplefd = -1,
		.reserved = { 1 },
	};
	struct doorbell_set_type type = { .line = PER_DB, .type = 2 };

	WIRE();
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd.reserved[0] = 0;
	REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd.line = EDGE_LINE;
	REFUSED(EBADF, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd.fd = w->efd[4];
	REFUSED(EBADF, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	irqfd.resamplefd = w->efd[5];
	REFUSED(EOPNOTSUPP, doorbell_ioctl(w->db[0], DOORBELL_IRQFD, &irqfd));
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_SET_TYPE, &type));
	type.flags = DOORBELL_TYPE_FLAG_AUTOMASK;
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_SET_TYPE, &type));
	type.type = DOORBELL_TYPE_LEVEL;
	REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_SET_TYPE, &type));
	type.flags = 0;
	REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_SET_TYPE, &type));
	REFUSED(EINVAL, doorbell_set_level(w->db[0], PER_DB, 2));
	REFUSED(ENXIO, doorbell_set_level(w->db[0], PER_DB, 1));
	REFUSED(EINVAL, doorbell_set_level(w->db[0], EDGE_LINE, 2));
}

TEST_HARNESS_MAIN
