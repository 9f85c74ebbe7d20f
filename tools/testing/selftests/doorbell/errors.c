// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every error row of the UAPI header; those of level lines are in errors_level.c. A refused
 * call must change nothing: neither the results of QUERY and GET_INFO nor the behaviour of
 * the assignments, which is compared with a model. Runs as a 32-bit program, too.
 */
#include <linux/kvm.h>
#include <sys/epoll.h>

#include "wiring.h"

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

/*
 * Assigns one irqfd, one trigger and one notifier, and masks one line: state that a call
 * could damage.
 */
#define WIRE() do {							\
	ASSERT_EQ(0, assign_irqfd(w, 0, 0));				\
	ASSERT_EQ(0, assign_trigger(w, 0, 1));			\
	ASSERT_EQ(0, assign_notifier(w, 3, 5, DOORBELL_NOTIFY_MASK));	\
	ASSERT_EQ(1, mask_line(w, 3));					\
	ASSERT_TRUE(intact(w));					\
} while (0)

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
		if (1U << bit != DOORBELL_IRQFD_FLAG_RESAMPLE)
			REFUSED(EINVAL, irqfd(w, 1, 2, 1U << bit));
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
	struct doorbell_eventfd eventfd = { .fd = w->efd[1], .count = 1 };
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
	REFUSED_RESERVED(w->db[0], DOORBELL_QUERY, query);
	for (bit = 0; bit < 32; bit++) {
		query.flags = 1U << bit;
		REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_QUERY, &query));
	}
	REFUSED_RESERVED(fresh, DOORBELL_SET_LINES, lines);
	EXPECT_EQ(0, info_of(_metadata, fresh).nr_lines);
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_EVENTFD_READ, &eventfd));
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_EVENTFD_PEEK, &eventfd));
	eventfd.count = 0;
	REFUSED_RESERVED(w->db[0], DOORBELL_EVENTFD_READ, eventfd);
	REFUSED_RESERVED(w->db[0], DOORBELL_EVENTFD_PEEK, eventfd);
	eventfd.count = 1ULL << 63;
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_EVENTFD_READ, &eventfd));
	REFUSED(EINVAL, doorbell_ioctl(w->db[0], DOORBELL_EVENTFD_PEEK, &eventfd));
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
	EXPECT_TRUE(intact(w));
}

/* EBUSY: an eventfd has one consumer, in this context and in any other. */
TEST_F(errors, irqfd_in_use)
{
	struct wiring *w = &self->w;

	WIRE();
	REFUSED(EBUSY, irqfd(w, 1, 0, 0));
	REFUSED(EBUSY, irqfd(w, PER_DB, 0, 0));
	REFUSED(EBUSY, irqfd(w, PER_DB + 1, 0, 0));

	ASSERT_EQ(0, irqfd(w, 0, 0, DEASSIGN));
	w->irqfd[0] = NOWHERE;
	ASSERT_EQ(0, assign_irqfd(w, PER_DB, 0));
	EXPECT_TRUE(intact(w));
	REFUSED(EBUSY, irqfd(w, 0, 0, 0));
}

/* An eventfd that is an irqfd of KVM may still be a trigger. */
TEST_F(errors, kvm_irqfd)
{
	struct wiring *w = &self->w;
	struct kvm_irqfd mine = { .fd = w->efd[2], .gsi = 5 };
	int kvm, vm;

	WIRE();
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		SKIP(return, "/dev/kvm: %s", strerror(errno));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0))
		SKIP(return, "/dev/kvm cannot make a VM: %s", strerror(errno));

	ASSERT_EQ(0, doorbell_ioctl(vm, KVM_IRQFD, &mine));
	/* KVM consumes the counter, so check only that the refusal changed no assignment. */
	EXPECT_EQ(-EBUSY, irqfd(w, 1, 2, 0));
	EXPECT_EQ(0, line_of(_metadata, w->db[0], 1).nr_irqfds);
	EXPECT_EQ(1, info_of(_metadata, w->db[0]).nr_irqfds);
	mine.flags = KVM_IRQFD_FLAG_DEASSIGN;
	ASSERT_EQ(0, doorbell_ioctl(vm, KVM_IRQFD, &mine));
	w->count[2] = efd_count(w->efd[2]);
	ASSERT_TRUE(intact(w));
	ASSERT_EQ(0, assign_irqfd(w, 1, 2));
	ASSERT_TRUE(WAIT_FOR(same(w)));

	mine.flags = 0;
	REFUSED(EBUSY, doorbell_ioctl(vm, KVM_IRQFD, &mine));
}

/* ELOOP: a line's trigger may not be an irqfd that leads back to it. */
TEST_F(errors, loop_direct)
{
	struct wiring *w = &self->w;

	ASSERT_EQ(0, assign_trigger(w, 0, 0));
	REFUSED(ELOOP, irqfd(w, 0, 0, 0));
	ASSERT_EQ(0, assign_irqfd(w, 1, 1));
	REFUSED(ELOOP, trigger(w, 1, 1, 0));

	/* Only the trigger was in the way. */
	ASSERT_EQ(0, trigger(w, 0, 0, DEASSIGN));
	w->trigger[0][0] = false;
	ASSERT_EQ(0, assign_irqfd(w, 0, 0));
	EXPECT_TRUE(intact(w));
}

TEST_F(errors, loop_through_lines)
{
	struct wiring *w = &self->w;

	/* 0 -> 1 -> 2, with the last link half made. */
	ASSERT_EQ(0, assign_trigger(w, 0, 0));
	ASSERT_EQ(0, assign_irqfd(w, 1, 0));
	ASSERT_EQ(0, assign_irqfd(w, 2, 1));
	ASSERT_EQ(0, assign_trigger(w, 1, 1));
	ASSERT_EQ(0, assign_trigger(w, 2, 2));
	ASSERT_TRUE(intact(w));

	/* Back to the start and to the middle, after the trigger was assigned ... */
	REFUSED(ELOOP, irqfd(w, 0, 2, 0));
	REFUSED(ELOOP, irqfd(w, 1, 2, 0));
	REFUSED(ELOOP, irqfd(w, 2, 2, 0));
	/* ... and after the irqfd was assigned. */
	ASSERT_EQ(0, assign_irqfd(w, 0, 3));
	REFUSED(ELOOP, trigger(w, 2, 3, 0));
	REFUSED(ELOOP, trigger(w, 1, 3, 0));
	REFUSED(ELOOP, trigger(w, 0, 3, 0));
	/* Backwards over links that exist. */
	REFUSED(ELOOP, trigger(w, 2, 0, 0));
	REFUSED(ELOOP, trigger(w, 2, 1, 0));

	/* A forward link is no cycle; nor is one whose cycle has been cut. */
	ASSERT_EQ(0, assign_irqfd(w, 3, 2));
	ASSERT_EQ(0, irqfd(w, 1, 0, DEASSIGN));
	w->irqfd[0] = NOWHERE;
	ASSERT_EQ(0, assign_trigger(w, 2, 3));
	EXPECT_TRUE(intact(w));
}

/* ENOSPC: one trigger more than a line can have. */
TEST_F(errors, too_many_triggers)
{
	struct wiring *w = &self->w;
	int extra[DOORBELL_MAX_TRIGGERS_PER_LINE];
	unsigned int i;

	WIRE();
	for (i = 0; i < ARRAY_SIZE(extra); i++) {
		extra[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(w->db[1], extra[i], 0));
	}
	ASSERT_EQ(-ENOSPC, trigger(w, PER_DB, 2, 0));
	/* The other errors come before ENOSPC. */
	EXPECT_EQ(-EEXIST, doorbell_assign_trigger(w->db[1], extra[0], 0));

	EXPECT_EQ(DOORBELL_MAX_TRIGGERS_PER_LINE,
		  line_of(_metadata, w->db[1], 0).nr_triggers);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db[1], 0));
	for (i = 0; i < ARRAY_SIZE(extra); i++)
		EXPECT_EQ(1, efd_count(extra[i]));
	EXPECT_EQ(w->count[2], efd_count(w->efd[2]));

	/* The limit is per line; a deassign makes room again. */
	ASSERT_EQ(0, doorbell_assign_trigger(w->db[1], w->efd[2], 1));
	ASSERT_EQ(0, doorbell_deassign_trigger(w->db[1], extra[7], 0));
	ASSERT_EQ(0, trigger(w, PER_DB, 2, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db[1], 0));
	EXPECT_EQ(1, efd_count(extra[7]));
	EXPECT_EQ(2, efd_count(extra[8]));
	EXPECT_EQ(w->count[2] + 1, efd_count(w->efd[2]));
}

/* ENOSPC: one notifier more than a line can have. */
TEST_F(errors, too_many_notifiers)
{
	struct wiring *w = &self->w;
	int extra[DOORBELL_MAX_NOTIFIERS_PER_LINE];
	unsigned int i;

	WIRE();
	for (i = 0; i < ARRAY_SIZE(extra); i++) {
		extra[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_notifier(w->db[1], extra[i], 0, DOORBELL_NOTIFY_MASK));
	}
	ASSERT_EQ(-ENOSPC, notifier(w, PER_DB, 2, 0, DOORBELL_NOTIFY_MASK));
	EXPECT_EQ(DOORBELL_MAX_NOTIFIERS_PER_LINE,
		  line_of(_metadata, w->db[1], 0).nr_notifiers);
	EXPECT_EQ(1, doorbell_mask(w->db[1], 0));
	for (i = 0; i < ARRAY_SIZE(extra); i++)
		EXPECT_EQ(1, efd_count(extra[i]));
	EXPECT_EQ(w->count[2], efd_count(w->efd[2]));
	EXPECT_EQ(0, doorbell_unmask(w->db[1], 0));
}

static const unsigned long linesets[] = {
	DOORBELL_MASK, DOORBELL_UNMASK, DOORBELL_CLEAR, DOORBELL_PENDING,
};

/* Expects an error. Uses queries only, so that each line stays as it is. */
#define UNTOUCHED(error, call) do {					\
	ASSERT_EQ(-(error), (call));					\
	ASSERT_TRUE(same(w));						\
} while (0)

/* Expects the error from all four calls, and no change of the result, which is all ones. */
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

TEST_F(errors, lineset_einval)
{
	struct wiring *w = &self->w;
	uint64_t lines[2] = { 15, 0 }, result[2] = { UINT64_MAX, UINT64_MAX };
	const struct doorbell_line_set good = {
		.nr_lines = PER_DB, .lines = (uintptr_t)lines, .result = (uintptr_t)result,
	};
	struct doorbell_line_set set;
	unsigned int i;

	WIRE_SETS();
	for (i = 0; i < 32; i++) {
		set = good;
		set.flags = 1U << i;
		SETS_REFUSED(EINVAL, set, result);
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
	EXPECT_TRUE(intact(w));
}

/* In the second word, of 65 lines and of 128. */
TEST_F(errors, lineset_einval_wide)
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
	EXPECT_EQ(DOORBELL_LINE_MASKED, status_state(&status[127]));
}

/* ENXIO: a line that does not exist among those that do, and sums that wrap around. */
TEST_F(errors, lineset_enxio)
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
	EXPECT_TRUE(intact(w));
}

/* EFAULT: unmapped addresses, memory that ends too soon, kernel addresses. */
TEST_F(errors, lineset_efault)
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
	EXPECT_TRUE(intact(w));
}

/* The second page of a bitmap is missing: no line of the first was changed. */
TEST_F(errors, lineset_efault_halfway)
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
		ASSERT_EQ(DOORBELL_LINE_MASKED, status_state(&status[i]));
}

/* The order of several errors: EFAULT, EINVAL, ENXIO, the fd, the rest. */
TEST_F(errors, order_of_errors)
{
	struct wiring *w = &self->w;
	struct doorbell_line_set set = { .line = PER_DB, .nr_lines = 1, .flags = 1 };
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
