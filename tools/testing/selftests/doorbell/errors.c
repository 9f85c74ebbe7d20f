// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every error row of the UAPI header; see also errors_*.c. A refused call must change
 * nothing: neither the results of QUERY and GET_INFO nor the behaviour of the assignments,
 * which is compared with a model. Runs as a 32-bit program, too.
 */
#include <sys/epoll.h>

#include "errors.h"

FIXTURE(errors) {
	struct wiring w;
};

FIXTURE_SETUP(errors)
{
	wiring_init(_metadata, &self->w);
}

FIXTURE_TEARDOWN(errors)
{
}

/* EBADF and EINVAL: fds that are not open, and files that are no eventfds. */
TEST_F(errors, bad_fd)
{
	struct wiring *w = &self->w;
	int pipes[2], epoll, null, closed, bad[8], nr = 0, i;
	uint32_t flags;
	uint64_t count;

	WIRE();
	closed = new_eventfd(_metadata, 0, 0);
	close(closed);
	ASSERT_EQ(0, pipe(pipes));
	epoll = epoll_create1(0);
	ASSERT_LE(0, epoll);
	null = open("/dev/null", O_RDWR);
	ASSERT_LE(0, null);
	/* One fd was free before the pipe took it. */
	closed = dup(null);
	close(closed);

	bad[nr++] = pipes[0];
	bad[nr++] = pipes[1];
	bad[nr++] = epoll;
	bad[nr++] = null;
	bad[nr++] = w->db[0];
	for (i = 0; i < nr; i++) {
		for (flags = 0; flags <= DEASSIGN; flags++) {
			REFUSED(EINVAL, doorbell_irqfd(w->db[0], bad[i], 1, flags, 0));
			REFUSED(EINVAL, doorbell_trigger(w->db[0], bad[i], 1, flags));
			REFUSED(EINVAL, doorbell_notifier(w->db[0], bad[i], 1, flags, !flags));
		}
		REFUSED(EINVAL, doorbell_eventfd_read(w->db[0], bad[i], 0, &count));
		REFUSED(EINVAL, doorbell_eventfd_peek(w->db[0], bad[i], &count));
	}

	nr = 0;
	bad[nr++] = -1;
	bad[nr++] = closed;
	bad[nr++] = INT32_MAX;
	bad[nr++] = INT32_MIN;
	for (i = 0; i < nr; i++) {
		for (flags = 0; flags <= DEASSIGN; flags++) {
			REFUSED(EBADF, doorbell_irqfd(w->db[0], bad[i], 1, flags, 0));
			REFUSED(EBADF, doorbell_trigger(w->db[0], bad[i], 1, flags));
			REFUSED(EBADF, doorbell_notifier(w->db[0], bad[i], 1, flags, !flags));
		}
		REFUSED(EBADF, doorbell_eventfd_read(w->db[0], bad[i], 0, &count));
		REFUSED(EBADF, doorbell_eventfd_peek(w->db[0], bad[i], &count));
	}
}

TEST_F(errors, unknown_flags)
{
	struct wiring *w = &self->w;
	uint64_t count;
	int bit;

	WIRE();
	for (bit = 0; bit < 32; bit++) {
		struct doorbell_set_lines lines = { .nr_lines = 1, .flags = 1U << bit };
		int fresh = new_context(_metadata, 0);

		if (lines.flags == DOORBELL_SET_LINES_FLAG_MASKED)
			lines.flags |= 1U << 31;
		EXPECT_EQ(-EINVAL, doorbell_ioctl(fresh, DOORBELL_SET_LINES, &lines));
		EXPECT_EQ(0, info_of(_metadata, fresh).nr_lines);
		EXPECT_EQ(0, doorbell_set_lines(fresh, 1));
		close(fresh);
	}
	for (bit = 1; bit < 32; bit++) {
		/* A known flag, but not with an unknown one and not for other calls. */
		if (!(1U << bit & (DOORBELL_IRQFD_FLAG_RESAMPLE | DOORBELL_IRQFD_FLAG_UNMASK |
				   DOORBELL_IRQFD_FLAG_ACK)))
			REFUSED(EINVAL, irqfd(w, 1, 2, 1U << bit));
		if (1U << bit != DOORBELL_TRIGGER_FLAG_COUNT)
			REFUSED(EINVAL, trigger(w, 1, 2, 1U << bit));
		/* With the known flag, for assignments that exist. */
		REFUSED(EINVAL, irqfd(w, 0, 0, 1U << bit | DEASSIGN));
		REFUSED(EINVAL, trigger(w, 0, 1, 1U << bit | DEASSIGN));
		REFUSED(EINVAL, notifier(w, 1, 2, 1U << bit, DOORBELL_NOTIFY_MASK));
		REFUSED(EINVAL, notifier(w, 3, 5, 1U << bit | DEASSIGN, 0));
		REFUSED(EINVAL, doorbell_eventfd_read(w->db[0], w->efd[1], 1U << bit, &count));
	}
	for (bit = 0; bit < 32; bit++) {
		struct doorbell_eventfd peek = { .fd = w->efd[1], .flags = 1U << bit };

		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_EVENTFD_PEEK, &peek));
	}
}

/* Events: at least one and no unknown one to assign, none to deassign. */
TEST_F(errors, notifier_events)
{
	struct wiring *w = &self->w;
	uint32_t events;
	int bit;

	WIRE();
	REFUSED(EINVAL, notifier(w, 1, 2, 0, 0));
	for (bit = 3; bit < 32; bit++) {
		REFUSED(EINVAL, notifier(w, 1, 2, 0, 1U << bit));
		REFUSED(EINVAL, notifier(w, 1, 2, 0, 1U << bit | DOORBELL_NOTIFY_ACK));
	}
	for (events = 1; events <= 8; events++)
		REFUSED(EINVAL, notifier(w, 3, 5, DEASSIGN, events));
}

TEST_F(errors, reserved_fields)
{
	struct wiring *w = &self->w;
	struct doorbell_irqfd irqfd = { .fd = w->efd[2], .line = 1 };
	struct doorbell_trigger trigger = { .fd = w->efd[2], .line = 1 };
	struct doorbell_notifier notifier = {
		.fd = w->efd[2], .line = 1, .events = DOORBELL_NOTIFY_MASK,
	};
	struct doorbell_query query = { .line = 0 };
	struct doorbell_eventfd eventfd = { .fd = w->efd[1] };
	struct doorbell_set_lines lines = { .nr_lines = 1 };
	int fresh = new_context(_metadata, 0), bit;

	WIRE();
	REFUSED_RESERVED(w->db[0], DOORBELL_IRQFD, irqfd);
	irqfd = (struct doorbell_irqfd){ .fd = w->efd[0], .flags = DEASSIGN };
	REFUSED_RESERVED(w->db[0], DOORBELL_IRQFD, irqfd);
	REFUSED_RESERVED(w->db[0], DOORBELL_TRIGGER, trigger);
	trigger = (struct doorbell_trigger){ .fd = w->efd[1], .flags = DEASSIGN };
	REFUSED_RESERVED(w->db[0], DOORBELL_TRIGGER, trigger);
	REFUSED_RESERVED(w->db[0], DOORBELL_NOTIFIER, notifier);
	notifier = (struct doorbell_notifier){
		.fd = w->efd[5], .line = 3, .flags = DEASSIGN,
	};
	REFUSED_RESERVED(w->db[0], DOORBELL_NOTIFIER, notifier);
	for (bit = 0; bit < 32; bit++) {
		query.reserved = 1U << bit;
		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_QUERY, &query));
		query.reserved = 0;
		query.flags = 1U << bit;
		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_QUERY, &query));
		query.flags = 0;
	}
	REFUSED_RESERVED(fresh, DOORBELL_SET_LINES, lines);
	EXPECT_EQ(0, info_of(_metadata, fresh).nr_lines);
	REFUSED_RESERVED(w->db[0], DOORBELL_EVENTFD_READ, eventfd);
	REFUSED_RESERVED(w->db[0], DOORBELL_EVENTFD_PEEK, eventfd);
}

TEST_F(errors, lines_out_of_range)
{
	struct wiring *w = &self->w;
	int fresh = new_context(_metadata, 0);

	EXPECT_EQ(-EINVAL, doorbell_set_lines(fresh, 0));
	EXPECT_EQ(-EINVAL, doorbell_set_lines(fresh, DOORBELL_MAX_LINES + 1));
	EXPECT_EQ(-EINVAL, doorbell_set_lines(fresh, UINT32_MAX));
	EXPECT_EQ(0, info_of(_metadata, fresh).nr_lines);
	/* The lines are not chosen yet. */
	ASSERT_EQ(0, doorbell_set_lines(fresh, 2));
	EXPECT_EQ(-EEXIST, doorbell_set_lines(fresh, 2));
	EXPECT_EQ(-EEXIST, doorbell_set_lines(fresh, 3));
	EXPECT_EQ(2, info_of(_metadata, fresh).nr_lines);

	WIRE();
	REFUSED(EEXIST, doorbell_set_lines(w->db[0], PER_DB + 1));
}

/* ENXIO: no lines yet. */
TEST_F(errors, no_lines_yet)
{
	struct wiring *w = &self->w;
	int fresh = new_context(_metadata, 0);
	struct doorbell_query query;

	WIRE();
	REFUSED(ENXIO, doorbell_ring(fresh, 0));
	REFUSED(ENXIO, doorbell_query(fresh, 0, &query));
	REFUSED(ENXIO, doorbell_assign_irqfd(fresh, w->efd[2], 0));
	REFUSED(ENXIO, doorbell_assign_trigger(fresh, w->efd[2], 0));
	REFUSED(ENXIO, doorbell_deassign_irqfd(fresh, w->efd[0], 0));
	REFUSED(ENXIO, doorbell_deassign_trigger(fresh, w->efd[1], 0));
	REFUSED(ENXIO, doorbell_assign_notifier(fresh, w->efd[2], 0, DOORBELL_NOTIFY_MASK));
	REFUSED(ENXIO, doorbell_deassign_notifier(fresh, w->efd[5], 0));
	REFUSED(ENXIO, doorbell_mask(fresh, 0));
	REFUSED(ENXIO, doorbell_unmask(fresh, 0));
	REFUSED(ENXIO, doorbell_clear(fresh, 0));
	REFUSED(ENXIO, doorbell_pending(fresh, 0));
	EXPECT_EQ(0, info_of(_metadata, fresh).nr_irqfds);
	EXPECT_EQ(0, info_of(_metadata, fresh).nr_triggers);
}

/* ENXIO: one line too far, and numbers that truncation would make small. */
TEST_F(errors, no_such_line)
{
	struct wiring *w = &self->w;
	static const uint32_t lines[] = { PER_DB, DOORBELL_MAX_LINES, 1U << 31, UINT32_MAX };
	struct doorbell_query query;
	unsigned int i;

	WIRE();
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		REFUSED(ENXIO, doorbell_ring(w->db[0], lines[i]));
		REFUSED(ENXIO, doorbell_query(w->db[0], lines[i], &query));
		REFUSED(ENXIO, doorbell_assign_irqfd(w->db[0], w->efd[2], lines[i]));
		REFUSED(ENXIO, doorbell_assign_trigger(w->db[0], w->efd[2], lines[i]));
		REFUSED(ENXIO, doorbell_deassign_irqfd(w->db[0], w->efd[0], lines[i]));
		REFUSED(ENXIO, doorbell_deassign_trigger(w->db[0], w->efd[1], lines[i]));
		REFUSED(ENXIO, doorbell_assign_notifier(w->db[0], w->efd[2], lines[i],
							DOORBELL_NOTIFY_MASK));
		REFUSED(ENXIO, doorbell_deassign_notifier(w->db[0], w->efd[5], lines[i]));
	}
	if (sizeof(long) > 4)
		REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_RING,
					      (void *)(uintptr_t)(1ULL << 32)));
	REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_RING, (void *)-1UL));
}

TEST_F(errors, nothing_to_deassign)
{
	struct wiring *w = &self->w;
	const uint32_t flags = DEASSIGN;

	WIRE();
	/* Never assigned; on another line; in another context; the other kind. */
	REFUSED(ENOENT, irqfd(w, 0, 2, flags));
	REFUSED(ENOENT, trigger(w, 0, 2, flags));
	REFUSED(ENOENT, irqfd(w, 1, 0, flags));
	REFUSED(ENOENT, trigger(w, 1, 1, flags));
	REFUSED(ENOENT, irqfd(w, PER_DB, 0, flags));
	REFUSED(ENOENT, trigger(w, PER_DB, 1, flags));
	REFUSED(ENOENT, irqfd(w, 0, 1, flags));
	REFUSED(ENOENT, trigger(w, 0, 0, flags));
	REFUSED(ENOENT, notifier(w, 3, 2, flags, 0));
	REFUSED(ENOENT, notifier(w, 1, 5, flags, 0));
	REFUSED(ENOENT, notifier(w, PER_DB + 3, 5, flags, 0));
	REFUSED(ENOENT, notifier(w, 0, 1, flags, 0));
	REFUSED(ENOENT, trigger(w, 3, 5, flags));

	/* Deassigned already. */
	ASSERT_EQ(0, irqfd(w, 0, 0, flags));
	w->irqfd[0] = NOWHERE;
	ASSERT_EQ(0, trigger(w, 0, 1, flags));
	w->trigger[0][1] = false;
	ASSERT_EQ(0, notifier(w, 3, 5, flags, 0));
	w->notifier[3][5] = 0;
	REFUSED(ENOENT, irqfd(w, 0, 0, flags));
	REFUSED(ENOENT, trigger(w, 0, 1, flags));
	REFUSED(ENOENT, notifier(w, 3, 5, flags, 0));
}

/* EEXIST: the same assignment again, by any fd. */
TEST_F(errors, same_assignment)
{
	struct wiring *w = &self->w;
	int in, out;

	WIRE();
	in = dup(w->efd[0]);
	out = dup(w->efd[1]);
	REFUSED(EEXIST, irqfd(w, 0, 0, 0));
	REFUSED(EEXIST, trigger(w, 0, 1, 0));
	REFUSED(EEXIST, doorbell_assign_irqfd(w->db[0], in, 0));
	REFUSED(EEXIST, doorbell_assign_trigger(w->db[0], out, 0));
	/* Other events do not make another assignment. */
	REFUSED(EEXIST, notifier(w, 3, 5, 0, DOORBELL_NOTIFY_MASK));
	REFUSED(EEXIST, notifier(w, 3, 5, 0, DOORBELL_NOTIFY_UNMASK));
	REFUSED(EEXIST,
		doorbell_assign_notifier(w->db[0], dup(w->efd[5]), 3, DOORBELL_NOTIFY_MASK));

	/* Any fd of the eventfd deassigns it. */
	ASSERT_EQ(0, doorbell_deassign_irqfd(w->db[0], in, 0));
	w->irqfd[0] = NOWHERE;
	ASSERT_EQ(0, doorbell_deassign_trigger(w->db[0], out, 0));
	w->trigger[0][1] = false;
	ASSERT_TRUE(intact(w));
}

/* The order of several errors: EFAULT, EINVAL, ENXIO, the fd, the rest. */
TEST_F(errors, order_of_errors)
{
	struct wiring *w = &self->w;
	struct doorbell_line_set set = { .line = PER_DB, .nr_lines = 1, .flags = 1U << 31 };
	struct doorbell_notifier notifier = { .fd = -1, .line = PER_DB, .events = 8 };

	WIRE();
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_MASK, &set));
	set.flags = 0;
	REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_MASK, &set));
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_NOTIFIER, &notifier));
	notifier.events = DOORBELL_NOTIFY_MASK;
	REFUSED(ENXIO, doorbell_ioctl(w->db[0], DOORBELL_NOTIFIER, &notifier));
	notifier.line = 3;
	REFUSED(EBADF, doorbell_ioctl(w->db[0], DOORBELL_NOTIFIER, &notifier));
	notifier.fd = w->efd[5];
	REFUSED(EEXIST, doorbell_ioctl(w->db[0], DOORBELL_NOTIFIER, &notifier));
}

/* EFAULT: unmapped, half mapped, and read-only where the call writes. */
TEST_F(errors, bad_address)
{
	struct wiring *w = &self->w;
	static const struct {
		unsigned long cmd;
		bool writes;
	} ioctls[] = {
		{ DOORBELL_GET_INFO, true }, { DOORBELL_SET_LINES, false },
		{ DOORBELL_IRQFD, false }, { DOORBELL_TRIGGER, false },
		{ DOORBELL_QUERY, true }, { DOORBELL_EVENTFD_READ, true },
		{ DOORBELL_EVENTFD_PEEK, true }, { DOORBELL_NOTIFIER, false },
	};
	long page = sysconf(_SC_PAGESIZE);
	struct doorbell_eventfd *eventfd;
	unsigned int i;
	char *mem;

	WIRE();
	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	ASSERT_EQ(0, munmap(mem + page, page));
	for (i = 0; i < ARRAY_SIZE(ioctls); i++) {
		REFUSED(EFAULT, doorbell_ioctl(w->db[0], ioctls[i].cmd, NULL));
		REFUSED(EFAULT, doorbell_ioctl(w->db[0], ioctls[i].cmd, mem + page));
		REFUSED(EFAULT, doorbell_ioctl(w->db[0], ioctls[i].cmd, mem + page - 4));
	}

	/* The structures are good, but the result cannot be written. */
	eventfd = (struct doorbell_eventfd *)mem;
	eventfd->fd = w->efd[1];
	ASSERT_NE(0, w->count[1]);
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ));
	REFUSED(EFAULT, doorbell_ioctl(w->db[0], DOORBELL_EVENTFD_READ, eventfd));
	if (info_of(_metadata, w->db[0]).features & DOORBELL_FEATURE_EVENTFD_PEEK)
		REFUSED(EFAULT, doorbell_ioctl(w->db[0], DOORBELL_EVENTFD_PEEK, eventfd));
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ | PROT_WRITE));
	memset(mem, 0, page);
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ));
	REFUSED(EFAULT, doorbell_ioctl(w->db[0], DOORBELL_QUERY, mem));
	REFUSED(EFAULT, doorbell_ioctl(w->db[0], DOORBELL_GET_INFO, mem));
}

TEST_F(errors, unknown_ioctl)
{
	struct wiring *w = &self->w;
	char arg[256] = {};
	unsigned int nr;

	WIRE();
	for (nr = 16; nr < 256; nr += nr < 24 ? 1 : 51) {
		REFUSED(ENOTTY, doorbell_ioctl(w->db[0], _IO(DOORBELL_IOC_MAGIC, nr), arg));
		REFUSED(ENOTTY, doorbell_ioctl(w->db[0],
					       _IOWR(DOORBELL_IOC_MAGIC, nr, arg), arg));
	}
	/* A known number with another size or direction is another ioctl. */
	REFUSED(ENOTTY, doorbell_ioctl(w->db[0], _IOW(DOORBELL_IOC_MAGIC, 4, uint64_t), arg));
	REFUSED(ENOTTY, doorbell_ioctl(w->db[0], _IOWR(DOORBELL_IOC_MAGIC, 5, char[72]), arg));
	REFUSED(ENOTTY, doorbell_ioctl(w->db[0], _IOW(DOORBELL_IOC_MAGIC, 15, uint32_t), arg));
	REFUSED(ENOTTY, doorbell_ioctl(w->db[0],
				       _IOR(DOORBELL_IOC_MAGIC, 4, struct doorbell_trigger), arg));
	REFUSED(ENOTTY, doorbell_ioctl(w->db[0], _IO('T', 1), arg));
}

TEST_HARNESS_MAIN
