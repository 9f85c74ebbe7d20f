// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unmaskfds and ackfds: eventfds whose signal ends a line's automask, or acks the line.
 * Runs as a 32-bit program, too.
 */
#include "doorbell_test.h"

/* An edge line and a level line that mask themselves, a level line, and an edge line. */
#define EDGE_AUTO	0
#define INTX		1
#define LEVEL_LINE	2
#define PLAIN		3
#define LINES		4

#define UNMASK		DOORBELL_IRQFD_FLAG_UNMASK
#define ACK		DOORBELL_IRQFD_FLAG_ACK
#define RESAMPLE_FLAG	DOORBELL_IRQFD_FLAG_RESAMPLE

#define PENDING		DOORBELL_LINE_PENDING
#define LEVEL		DOORBELL_LINE_LEVEL
#define ASSERTED	DOORBELL_LINE_ASSERTED
#define RAISED		DOORBELL_LINE_RAISED
#define RESAMPLE	DOORBELL_LINE_RESAMPLE
#define AUTOMASK	DOORBELL_LINE_AUTOMASK
#define AUTO		(DOORBELL_LINE_MASKED | \
			 DOORBELL_MASK_AUTO << DOORBELL_LINE_REASONS_SHIFT)

static int set_type(int db, uint32_t line, uint32_t type, uint32_t flags)
{
	struct doorbell_set_type arg = { .line = line, .type = type, .flags = flags };

	return doorbell_ioctl(db, DOORBELL_SET_TYPE, &arg);
}

FIXTURE(unmaskfd) {
	int kmsg;
	int db;
	/* The way there: irqfd and trigger. The way back: unmaskfd or ackfd, and resamplefd. */
	int in[LINES];
	int out[LINES];
	int back[LINES];
	int res[LINES];
	const struct doorbell_line_status *status;
};

FIXTURE_SETUP(unmaskfd)
{
	const uint32_t automask = DOORBELL_TYPE_FLAG_AUTOMASK;
	int i;

	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, LINES);
	self->status = map_status(_metadata, self->db);
	ASSERT_EQ(0, set_type(self->db, EDGE_AUTO, DOORBELL_TYPE_EDGE, automask));
	ASSERT_EQ(0, set_type(self->db, INTX, DOORBELL_TYPE_LEVEL, automask));
	ASSERT_EQ(0, set_type(self->db, LEVEL_LINE, DOORBELL_TYPE_LEVEL, 0));
	for (i = 0; i < LINES; i++) {
		self->in[i] = new_eventfd(_metadata, 0, 0);
		self->out[i] = new_eventfd(_metadata, 0, 0);
		self->back[i] = new_eventfd(_metadata, 0, 0);
		self->res[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out[i], i));
		if (i == INTX || i == LEVEL_LINE) {
			ASSERT_EQ(0, doorbell_assign_resampled(self->db, self->in[i], i,
							       self->res[i]));
		} else {
			ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in[i], i));
		}
	}
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, self->back[EDGE_AUTO], EDGE_AUTO));
	ASSERT_EQ(0, doorbell_assign_ack_unmaskfd(self->db, self->back[INTX], INTX));
	ASSERT_EQ(0, doorbell_assign_ackfd(self->db, self->back[LEVEL_LINE], LEVEL_LINE));
}

FIXTURE_TEARDOWN(unmaskfd)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Waits until the irq_works that were queued before on this processor have run. */
#define FLUSH() do {							\
	ASSERT_EQ(0, efd_write(self->in[PLAIN], 1));			\
	ASSERT_EQ(1, efd_wait(self->out[PLAIN]));			\
	settled(_metadata, self->db, PLAIN);				\
} while (0)

#define SIGNAL(line)	ASSERT_EQ(0, efd_write(self->back[line], 1))

#define EXPECT_COUNTS(line, nr_rings, nr_deliveries, nr_acks) do {	\
	struct doorbell_query __counts = line_of(_metadata, self->db, line); \
									\
	EXPECT_EQ(nr_rings, __counts.rings);				\
	EXPECT_EQ(nr_deliveries, __counts.deliveries);			\
	EXPECT_EQ(nr_acks, __counts.acks);				\
} while (0)

/* The mask of a delivery ends with the signal. What was pending is delivered, and masks. */
TEST_F(unmaskfd, unmasks)
{
	int i;

	for (i = 1; i <= 10; i++) {
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, EDGE_AUTO));
		EXPECT_EQ(1, efd_read(self->out[EDGE_AUTO]));
		EXPECT_STATE(EDGE_AUTO, AUTOMASK | AUTO);
		/* Without a message the signal causes none. */
		SIGNAL(EDGE_AUTO);
		EXPECT_STATE(EDGE_AUTO, AUTOMASK);
		FLUSH();
		EXPECT_EQ(0, efd_count(self->out[EDGE_AUTO]));
		EXPECT_EQ(0, efd_count(self->back[EDGE_AUTO]));

		ASSERT_EQ(0, efd_write(self->in[EDGE_AUTO], 1));
		ASSERT_EQ(1, efd_wait(self->out[EDGE_AUTO]));
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
		EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, EDGE_AUTO));
		EXPECT_STATE(EDGE_AUTO, AUTOMASK | AUTO | PENDING);
		SIGNAL(EDGE_AUTO);
		ASSERT_EQ(1, efd_wait(self->out[EDGE_AUTO]));
		settled(_metadata, self->db, EDGE_AUTO);
		EXPECT_STATE(EDGE_AUTO, AUTOMASK | AUTO);
		EXPECT_COUNTS(EDGE_AUTO, 4 * i, 3 * i, 0);
		SIGNAL(EDGE_AUTO);
		EXPECT_STATE(EDGE_AUTO, AUTOMASK);
	}
	EXPECT_EQ(0, line_of(_metadata, self->db, EDGE_AUTO).deferred);
}

/* A signal that comes before the delivery starts does not end that delivery's mask. */
TEST_F(unmaskfd, is_not_kept)
{
	int i;

	for (i = 0; i < 5; i++)
		SIGNAL(EDGE_AUTO);
	EXPECT_EQ(0, efd_count(self->back[EDGE_AUTO]));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, EDGE_AUTO));
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
	FLUSH();
	EXPECT_STATE(EDGE_AUTO, AUTOMASK | AUTO | PENDING);
	EXPECT_EQ(1, efd_read(self->out[EDGE_AUTO]));

	/* The same for an ack: it neither acks a later message nor one that is pending. */
	for (i = 0; i < 5; i++)
		SIGNAL(LEVEL_LINE);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	FLUSH();
	EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED);
	EXPECT_COUNTS(LEVEL_LINE, 1, 1, 0);
	EXPECT_EQ(0, efd_count(self->res[LEVEL_LINE]));
}

/* Only the line's own mask ends, and only that of its own. */
TEST_F(unmaskfd, other_reasons_stay)
{
	const uint32_t others = DOORBELL_MASK_VECTOR | DOORBELL_MASK_FUNCTION |
				DOORBELL_MASK_PAUSE;
	struct doorbell_line_set pause = {
		.line = EDGE_AUTO, .nr_lines = 1, .flags = others,
	};
	const uint32_t paused = DOORBELL_LINE_MASKED | others << DOORBELL_LINE_REASONS_SHIFT;

	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, EDGE_AUTO));
	ASSERT_EQ(0, doorbell_ioctl(self->db, DOORBELL_MASK, &pause));
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
	EXPECT_STATE(EDGE_AUTO, AUTOMASK | AUTO | paused | PENDING);
	SIGNAL(EDGE_AUTO);
	EXPECT_STATE(EDGE_AUTO, AUTOMASK | paused | PENDING);
	FLUSH();
	SIGNAL(EDGE_AUTO);
	FLUSH();
	EXPECT_EQ(1, efd_read(self->out[EDGE_AUTO]));
	ASSERT_EQ(1, doorbell_ioctl(self->db, DOORBELL_UNMASK, &pause));
	EXPECT_EQ(1, efd_read(self->out[EDGE_AUTO]));
	EXPECT_STATE(EDGE_AUTO, AUTOMASK | AUTO);
	SIGNAL(INTX);
	SIGNAL(LEVEL_LINE);
	EXPECT_STATE(EDGE_AUTO, AUTOMASK | AUTO);
}

/* The notifiers of an unmask are signalled for the transition only. */
TEST_F(unmaskfd, notifies)
{
	int unmasks = new_eventfd(_metadata, 0, 0), acks = new_eventfd(_metadata, 0, 0), i;

	ASSERT_EQ(0, doorbell_assign_notifier(self->db, unmasks, INTX, DOORBELL_NOTIFY_UNMASK));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, acks, INTX, DOORBELL_NOTIFY_ACK));
	for (i = 0; i < 5; i++) {
		SIGNAL(INTX);
		FLUSH();
		EXPECT_EQ(0, efd_count(unmasks));
		EXPECT_EQ(0, efd_count(acks));
		ASSERT_EQ(0, efd_write(self->in[INTX], 1));
		ASSERT_EQ(1, efd_wait(self->out[INTX]));
		SIGNAL(INTX);
		ASSERT_EQ(1, efd_wait(unmasks));
		ASSERT_EQ(1, efd_wait(acks));
		ASSERT_EQ(1, efd_wait(self->res[INTX]));
		EXPECT_COUNTS(INTX, i + 1, i + 1, i + 1);
	}
	FLUSH();
	EXPECT_EQ(0, efd_count(unmasks));
	EXPECT_EQ(0, efd_count(acks));
	EXPECT_EQ(0, efd_count(self->res[INTX]));
}

/* The ack of a level line: sources are resampled; a raised level is delivered again. */
TEST_F(unmaskfd, acks)
{
	int i;

	for (i = 1; i <= 5; i++) {
		ASSERT_EQ(0, efd_write(self->in[LEVEL_LINE], 1));
		ASSERT_EQ(1, efd_wait(self->out[LEVEL_LINE]));
		EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED);
		EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, LEVEL_LINE));
		EXPECT_EQ(0, efd_count(self->res[LEVEL_LINE]));
		SIGNAL(LEVEL_LINE);
		ASSERT_EQ(1, efd_wait(self->res[LEVEL_LINE]));
		SIGNAL(LEVEL_LINE);
		FLUSH();
		EXPECT_STATE(LEVEL_LINE, LEVEL);
		EXPECT_EQ(0, efd_count(self->res[LEVEL_LINE]));
		EXPECT_COUNTS(LEVEL_LINE, 2 * i, i, i);
	}
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, LEVEL_LINE, 1));
	for (i = 1; i <= 5; i++) {
		ASSERT_EQ(1, efd_wait(self->out[LEVEL_LINE]));
		settled(_metadata, self->db, LEVEL_LINE);
		EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED | RAISED);
		SIGNAL(LEVEL_LINE);
		ASSERT_EQ(1, efd_wait(self->res[LEVEL_LINE]));
	}
	ASSERT_EQ(1, efd_wait(self->out[LEVEL_LINE]));
	ASSERT_EQ(0, doorbell_set_level(self->db, LEVEL_LINE, 0));
	SIGNAL(LEVEL_LINE);
	ASSERT_EQ(1, efd_wait(self->res[LEVEL_LINE]));
	FLUSH();
	EXPECT_STATE(LEVEL_LINE, LEVEL);
	EXPECT_COUNTS(LEVEL_LINE, 16, 11, 11);
	EXPECT_EQ(0, efd_count(self->out[LEVEL_LINE]));
}

/* An ack under a mask: the unmask signals the resamplefds. */
TEST_F(unmaskfd, ack_is_postponed)
{
	int acks = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_notifier(self->db, acks, LEVEL_LINE, DOORBELL_NOTIFY_ACK));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	ASSERT_EQ(1, doorbell_mask(self->db, LEVEL_LINE));
	SIGNAL(LEVEL_LINE);
	ASSERT_EQ(1, efd_wait(acks));
	FLUSH();
	EXPECT_STATE(LEVEL_LINE, LEVEL | VECTOR_MASKED | RESAMPLE);
	EXPECT_EQ(0, efd_count(self->res[LEVEL_LINE]));
	EXPECT_EQ(0, doorbell_unmask(self->db, LEVEL_LINE));
	EXPECT_EQ(1, efd_read(self->res[LEVEL_LINE]));
	EXPECT_STATE(LEVEL_LINE, LEVEL);

	/* An unmaskfd signals what DOORBELL_ACK has postponed. */
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, INTX));
	EXPECT_EQ(DOORBELL_ACK_POSTPONED, doorbell_ack(self->db, INTX));
	EXPECT_STATE(INTX, LEVEL | AUTOMASK | AUTO | RESAMPLE);
	SIGNAL(INTX);
	ASSERT_EQ(1, efd_wait(self->res[INTX]));
	FLUSH();
	EXPECT_STATE(INTX, LEVEL | AUTOMASK);
	EXPECT_COUNTS(INTX, 1, 1, 1);
}

/*
 * A message that came after the ack is unmasked by the second signal, but not acked by it.
 */
TEST_F(unmaskfd, acks_what_was_sent)
{
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, INTX));
	EXPECT_EQ(1, efd_read(self->out[INTX]));
	EXPECT_EQ(DOORBELL_ACK_POSTPONED, doorbell_ack(self->db, INTX));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, INTX));
	SIGNAL(INTX);
	ASSERT_EQ(1, efd_wait(self->out[INTX]));
	settled(_metadata, self->db, INTX);
	FLUSH();
	EXPECT_EQ(ASSERTED, line_of(_metadata, self->db, INTX).state & (ASSERTED | PENDING));
	EXPECT_COUNTS(INTX, 2, 2, 1);
	SIGNAL(INTX);
	FLUSH();
	EXPECT_COUNTS(INTX, 2, 2, 2);
}

/*
 * VFIO's INTx: the delivery masks the line. One signal acks and unmasks it; the source that
 * still wants service asserts it again.
 */
TEST_F(unmaskfd, intx)
{
	int i;

	ASSERT_EQ(0, efd_write(self->in[INTX], 1));
	for (i = 1; i <= 20; i++) {
		ASSERT_EQ(1, efd_wait(self->out[INTX]));
		settled(_metadata, self->db, INTX);
		EXPECT_STATE(INTX, LEVEL | AUTOMASK | AUTO | ASSERTED);
		EXPECT_EQ(0, efd_count(self->res[INTX]));
		SIGNAL(INTX);
		ASSERT_EQ(1, efd_wait(self->res[INTX]));
		if (i < 20)
			ASSERT_EQ(0, efd_write(self->in[INTX], 1));
	}
	FLUSH();
	EXPECT_STATE(INTX, LEVEL | AUTOMASK);
	EXPECT_COUNTS(INTX, 20, 20, 20);
	EXPECT_EQ(0, efd_count(self->out[INTX]));

	/* The same with the level, which is delivered again after each signal. */
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, INTX, 1));
	for (i = 1; i <= 20; i++) {
		ASSERT_EQ(1, efd_wait(self->out[INTX]));
		if (i == 20)
			ASSERT_EQ(0, doorbell_set_level(self->db, INTX, 0));
		settled(_metadata, self->db, INTX);
		SIGNAL(INTX);
		ASSERT_EQ(1, efd_wait(self->res[INTX]));
	}
	FLUSH();
	EXPECT_STATE(INTX, LEVEL | AUTOMASK);
	EXPECT_COUNTS(INTX, 40, 40, 40);
}

/* The resamplefd rings the line by itself: nothing but the signal drives the circle. */
TEST_F(unmaskfd, source_without_a_thread)
{
	int again = new_eventfd(_metadata, 0, 0), source = new_eventfd(_metadata, 0, 0), i;

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, again, INTX));
	ASSERT_EQ(0, doorbell_assign_resampled(self->db, source, INTX, again));
	ASSERT_EQ(0, efd_write(source, 1));
	for (i = 1; i <= 100; i++) {
		ASSERT_EQ(1, efd_wait(self->out[INTX]));
		EXPECT_COUNTS(INTX, i, i, i - 1);
		SIGNAL(INTX);
	}
	ASSERT_EQ(1, efd_wait(self->out[INTX]));
	EXPECT_EQ(100, efd_read(self->res[INTX]));
}

/* More notifiers than an interrupt may signal: the worker signals them, and loses none. */
TEST_F(unmaskfd, many_notifiers)
{
	int acks[DOORBELL_MAX_NOTIFIERS_PER_LINE], round;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(acks); i++) {
		acks[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, acks[i], INTX,
						      DOORBELL_NOTIFY_ACK));
	}
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, INTX, 1));
	for (round = 1; round <= 10; round++) {
		ASSERT_EQ(1, efd_wait(self->out[INTX]));
		settled(_metadata, self->db, INTX);
		SIGNAL(INTX);
		for (i = 0; i < ARRAY_SIZE(acks); i++)
			ASSERT_EQ(1, efd_wait(acks[i]));
		ASSERT_EQ(1, efd_wait(self->res[INTX]));
	}
	ASSERT_EQ(1, efd_wait(self->out[INTX]));
	EXPECT_COUNTS(INTX, 11, 11, 10);
}

/*
 * A notifier that is removed after a signal gets the event of that signal, also if the worker
 * has not signalled it yet.
 */
TEST_F(unmaskfd, deassign_settles)
{
	const struct sched_param high = { .sched_priority = 1 }, normal = {};
	uint64_t counts[2];
	pid_t tid = 0;
	cpu_set_t set;
	int acks[16];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(acks); i++) {
		acks[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, acks[i], INTX,
						      DOORBELL_NOTIFY_ACK));
	}
	ASSERT_EQ(1, workers(getpid(), &tid));
	/* The worker gets the processor of this thread. */
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(set), &set));
	ASSERT_EQ(0, sched_setaffinity(tid, sizeof(set), &set));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, INTX));
	settled(_metadata, self->db, INTX);
	/* From here on the worker cannot run, unless this thread sleeps. */
	if (sched_setscheduler(0, SCHED_FIFO, &high))
		SKIP(return, "SCHED_FIFO: %s", strerror(errno));
	SIGNAL(INTX);
	ASSERT_EQ(0, doorbell_deassign_notifier(self->db, acks[0], INTX));
	counts[0] = efd_count(acks[0]);
	counts[1] = efd_count(acks[1]);
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &normal));
	EXPECT_EQ(1, counts[0]);
	EXPECT_EQ(1, counts[1]);
	ASSERT_EQ(1, efd_wait(self->res[INTX]));
	EXPECT_COUNTS(INTX, 1, 1, 1);
}

/* A count from before the assignment is one signal; an EFD_SEMAPHORE one gives one at a time. */
TEST_F(unmaskfd, counters)
{
	int back = new_eventfd(_metadata, 7, 0), sem = new_eventfd(_metadata, 3, EFD_SEMAPHORE);

	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, EDGE_AUTO));
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
	EXPECT_EQ(1, efd_read(self->out[EDGE_AUTO]));
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, back, EDGE_AUTO));
	EXPECT_EQ(0, efd_count(back));
	ASSERT_EQ(1, efd_wait(self->out[EDGE_AUTO]));
	FLUSH();
	EXPECT_EQ(2, line_of(_metadata, self->db, EDGE_AUTO).deliveries);

	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, sem, EDGE_AUTO));
	EXPECT_EQ(2, efd_count(sem));
	ASSERT_EQ(1, efd_wait(self->out[EDGE_AUTO]));
	/* The write adds one and the signal consumes one. */
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
	ASSERT_EQ(0, efd_write(sem, 1));
	EXPECT_EQ(2, efd_count(sem));
	ASSERT_EQ(1, efd_wait(self->out[EDGE_AUTO]));
	/* Deassigning consumes one more. */
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, sem, EDGE_AUTO));
	ASSERT_EQ(1, efd_wait(self->out[EDGE_AUTO]));
	EXPECT_EQ(1, efd_count(sem));
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, EDGE_AUTO));
	ASSERT_EQ(0, efd_write(sem, 1));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[EDGE_AUTO]));
	EXPECT_EQ(2, efd_count(sem));
}

/* Counted among the irqfds, and by themselves; removed by the last close. */
TEST_F(unmaskfd, counted_and_closed)
{
	struct doorbell_query query = line_of(_metadata, self->db, INTX);
	char path[40], text[4096] = "";
	ssize_t len;
	int info;

	EXPECT_EQ(2, query.nr_irqfds);
	EXPECT_EQ(1, query.nr_unmaskfds);
	EXPECT_EQ(1, query.nr_ackfds);
	query = line_of(_metadata, self->db, EDGE_AUTO);
	EXPECT_EQ(1, query.nr_unmaskfds);
	EXPECT_EQ(0, query.nr_ackfds);
	query = line_of(_metadata, self->db, LEVEL_LINE);
	EXPECT_EQ(0, query.nr_unmaskfds);
	EXPECT_EQ(1, query.nr_ackfds);
	EXPECT_EQ(1, line_of(_metadata, self->db, PLAIN).nr_irqfds);
	EXPECT_EQ(7, info_of(_metadata, self->db).nr_irqfds);

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->db);
	info = open(path, O_RDONLY);
	ASSERT_LE(0, info);
	len = read(info, text, sizeof(text) - 1);
	close(info);
	ASSERT_LT(0, len);
	EXPECT_TRUE(!!strstr(text, "doorbell-unmaskfds:\t2\n"));
	EXPECT_TRUE(!!strstr(text, "doorbell-ackfds:\t2\n"));
	EXPECT_TRUE(!!strstr(text, "doorbell-irqfds:\t7\n"));

	/* While there is an ackfd, the line stays a level line. */
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[LEVEL_LINE], LEVEL_LINE));
	EXPECT_EQ(-EBUSY, set_type(self->db, LEVEL_LINE, DOORBELL_TYPE_EDGE, 0));
	close(self->back[LEVEL_LINE]);
	ASSERT_TRUE(WAIT_FOR(!line_of(_metadata, self->db, LEVEL_LINE).nr_ackfds));
	EXPECT_EQ(0, set_type(self->db, LEVEL_LINE, DOORBELL_TYPE_EDGE, 0));
	EXPECT_EQ(0, line_of(_metadata, self->db, LEVEL_LINE).nr_irqfds);

	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->back[INTX], INTX));
	query = line_of(_metadata, self->db, INTX);
	EXPECT_EQ(1, query.nr_irqfds);
	EXPECT_EQ(0, query.nr_unmaskfds);
	EXPECT_EQ(0, query.nr_ackfds);
	EXPECT_EQ(4, info_of(_metadata, self->db).nr_irqfds);
	/* It may listen for another purpose now. */
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->back[INTX], INTX));
}

/* Returns true if nothing of the context has changed. */
#define SAME() do {							\
	EXPECT_EQ(7, info_of(_metadata, self->db).nr_irqfds);		\
	EXPECT_EQ(1, line_of(_metadata, self->db, EDGE_AUTO).nr_unmaskfds); \
	EXPECT_EQ(0, line_of(_metadata, self->db, EDGE_AUTO).nr_ackfds); \
	EXPECT_EQ(1, line_of(_metadata, self->db, INTX).nr_unmaskfds);	\
	EXPECT_EQ(1, line_of(_metadata, self->db, INTX).nr_ackfds);	\
	EXPECT_EQ(0, line_of(_metadata, self->db, LEVEL_LINE).nr_unmaskfds); \
	EXPECT_EQ(1, line_of(_metadata, self->db, LEVEL_LINE).nr_ackfds); \
	EXPECT_EQ(3, efd_count(fresh));					\
} while (0)

#define REFUSED(error, call) do {					\
	EXPECT_EQ(-(error), (call));					\
	SAME();								\
} while (0)

TEST_F(unmaskfd, errors)
{
	int fresh = new_eventfd(_metadata, 3, 0), other = new_context(_metadata, 1);
	static const uint32_t kinds[] = { UNMASK, ACK, UNMASK | ACK };
	struct doorbell_irqfd arg;
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		const uint32_t kind = kinds[i];

		REFUSED(EBADF, doorbell_irqfd(self->db, -1, INTX, kind, 0));
		REFUSED(EINVAL, doorbell_irqfd(self->db, self->kmsg, INTX, kind, 0));
		REFUSED(ENXIO, doorbell_irqfd(self->db, fresh, LINES, kind, 0));
		/* With a resamplefd, with a deassign, and with both. */
		REFUSED(EINVAL, doorbell_irqfd(self->db, fresh, INTX, kind, self->res[INTX]));
		REFUSED(EINVAL, doorbell_irqfd(self->db, fresh, INTX, kind | RESAMPLE_FLAG,
					       self->res[INTX]));
		REFUSED(EINVAL, doorbell_irqfd(self->db, fresh, INTX, kind | RESAMPLE_FLAG, 0));
		REFUSED(EINVAL, doorbell_irqfd(self->db, self->back[INTX], INTX,
					       kind | DEASSIGN, 0));
		for (j = 4; j < 32; j++)
			REFUSED(EINVAL, doorbell_irqfd(self->db, fresh, INTX, kind | 1U << j, 0));
		arg = (struct doorbell_irqfd){ .fd = fresh, .line = INTX, .flags = kind };
		for (j = 0; j < ARRAY_SIZE(arg.reserved); j++) {
			arg.reserved[j] = 1;
			REFUSED(EINVAL, doorbell_ioctl(self->db, DOORBELL_IRQFD, &arg));
			arg.reserved[j] = 0;
		}
		/* It listens already: as an irqfd, of another line, of another context. */
		REFUSED(EBUSY, doorbell_irqfd(self->db, self->in[INTX], INTX, kind, 0));
		REFUSED(EBUSY, doorbell_irqfd(self->db, self->back[LEVEL_LINE], INTX, kind, 0));
		if (!(kind & ACK))
			REFUSED(EBUSY, doorbell_irqfd(other, self->back[INTX], 0, kind, 0));
		REFUSED(kind == (UNMASK | ACK) ? EEXIST : EBUSY,
			doorbell_irqfd(self->db, self->back[INTX], INTX, kind, 0));
		/* A trigger that leads back to it. */
		REFUSED(ELOOP, doorbell_irqfd(self->db, self->out[INTX], INTX, kind, 0));
	}
	REFUSED(EBUSY, doorbell_assign_irqfd(self->db, self->back[INTX], INTX));
	REFUSED(EBUSY, doorbell_assign_irqfd(self->db, self->back[INTX], PLAIN));
	REFUSED(EBUSY, doorbell_assign_irqfd(other, self->back[INTX], 0));
	REFUSED(EOPNOTSUPP, doorbell_assign_ackfd(self->db, fresh, EDGE_AUTO));
	REFUSED(EOPNOTSUPP, doorbell_assign_ack_unmaskfd(self->db, fresh, PLAIN));
	REFUSED(ELOOP, doorbell_assign_trigger(self->db, self->back[INTX], INTX));
	REFUSED(ELOOP, doorbell_assign_trigger(self->db, self->back[LEVEL_LINE], LEVEL_LINE));
	REFUSED(ENOENT, doorbell_deassign_irqfd(self->db, fresh, INTX));
	REFUSED(ENOENT, doorbell_deassign_irqfd(self->db, self->back[INTX], LEVEL_LINE));
	REFUSED(EBUSY, set_type(self->db, LEVEL_LINE, DOORBELL_TYPE_EDGE, 0));
	/* Over two lines: LEVEL_LINE rings PLAIN, whose trigger would ack LEVEL_LINE. */
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[PLAIN], PLAIN));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->in[PLAIN], LEVEL_LINE));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in[PLAIN], PLAIN));
	REFUSED(ELOOP, doorbell_assign_trigger(self->db, self->back[LEVEL_LINE], PLAIN));
	/* An unmaskfd of a line that does not mask itself does nothing. */
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, fresh, PLAIN));
	ASSERT_EQ(1, doorbell_mask(self->db, PLAIN));
	ASSERT_EQ(0, efd_write(fresh, 1));
	EXPECT_STATE(PLAIN, VECTOR_MASKED);
}

/* A handler that reads the trigger and signals the way back. */
struct handler {
	int out;
	int back;
	atomic_bool stop;
	atomic_ulong handled;
	atomic_ulong doubled;
	pthread_t thread;
};

static void *handle(void *arg)
{
	struct handler *handler = arg;
	uint64_t count;

	pin_to(0);
	while (!atomic_load(&handler->stop)) {
		if (efd_poll(handler->out, POLLIN, 10) <= 0)
			continue;
		count = efd_read(handler->out);
		/* The line is masked until the write: there is no second delivery before. */
		sched_yield();
		if (count != 1 || efd_count(handler->out))
			atomic_fetch_add(&handler->doubled, 1);
		atomic_fetch_add(&handler->handled, 1);
		efd_write(handler->back, 1);
	}
	return NULL;
}

/*
 * Rings from another processor against a handler: between two deliveries there is always a
 * signal, no message is lost, and none is duplicated.
 */
static void race_with_handler(struct __test_metadata *_metadata, int db, uint32_t line, int in,
			      int out, int back)
{
	struct handler handler = { .out = out, .back = back };
	struct hammer hammer = { .fd = in, .hit = hit_write };
	struct rounds race = ROUNDS(200, 20000);
	struct doorbell_query query;
	unsigned long rounds;

	ASSERT_EQ(0, pthread_create(&handler.thread, NULL, handle, &handler));
	hammer_start(_metadata, &hammer);
	for (rounds = 0; more_rounds(&race, rounds);
	     rounds = atomic_load(&handler.handled))
		usleep(100);
	hammer_stop(&hammer);
	/* The last message is handled, too. */
	ASSERT_TRUE(WAIT_FOR((query = line_of(_metadata, db, line)).state ==
			     (AUTOMASK | (line == INTX ? LEVEL : 0)) &&
			     atomic_load(&handler.handled) == query.deliveries));
	atomic_store(&handler.stop, true);
	pthread_join(handler.thread, NULL);
	EXPECT_EQ(0, atomic_load(&handler.doubled));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_LE(query.deliveries, query.rings);
	if (line == INTX)
		EXPECT_EQ(query.deliveries, query.acks);
	EXPECT_EQ(0, query.dropped);
}

TEST_F(unmaskfd, race_unmask)
{
	race_with_handler(_metadata, self->db, EDGE_AUTO, self->in[EDGE_AUTO],
			  self->out[EDGE_AUTO], self->back[EDGE_AUTO]);
}

TEST_F(unmaskfd, race_ack_and_unmask)
{
	race_with_handler(_metadata, self->db, INTX, self->in[INTX], self->out[INTX],
			  self->back[INTX]);
}

static atomic_int ack_fd;

static void hit_ring_and_signal(struct hammer *hammer)
{
	doorbell_ring(hammer->fd, hammer->line);
	efd_write(atomic_load(&ack_fd), 1);
}

/*
 * Assigned and deassigned under signals: deliveries and acks alternate, each signal acks or
 * is left in the counter, and after a deassign there is no ack any more.
 */
TEST_F(unmaskfd, race_attach_and_detach)
{
	struct hammer hammer = { .fd = self->db, .line = LEVEL_LINE, .hit = hit_ring_and_signal };
	unsigned int rounds, wrong = 0, touched = 0, cut = 0;
	struct rounds race = ROUNDS(30, 5000);
	int back = self->back[LEVEL_LINE];
	struct doorbell_query query;
	uint64_t before;

	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, back, LEVEL_LINE));
	atomic_store(&ack_fd, back);
	hammer_start(_metadata, &hammer);
	ASSERT_TRUE(hammer_pause(&hammer));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		before = line_of(_metadata, self->db, LEVEL_LINE).acks;
		ASSERT_EQ(0, doorbell_assign_ackfd(self->db, back, LEVEL_LINE));
		ASSERT_TRUE(hammer_resume(&hammer));
		/* On a busy machine the hammer may be late: now and then, wait for it. */
		ASSERT_TRUE(rounds % 4 || WAIT_FOR(line_of(_metadata, self->db, LEVEL_LINE).acks !=
						   before));
		dither(rounds);
		ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, back, LEVEL_LINE));
		query = line_of(_metadata, self->db, LEVEL_LINE);
		ASSERT_TRUE(rounds % 4 || hammer_passes(&hammer, 1));
		ASSERT_TRUE(hammer_pause(&hammer));
		cut += query.acks != before && efd_count(back);
		touched += line_of(_metadata, self->db, LEVEL_LINE).acks != query.acks;
		/* A count that is left in the eventfd acks the last delivery. */
		ASSERT_EQ(0, doorbell_assign_ackfd(self->db, back, LEVEL_LINE));
		FLUSH();
		if (efd_count(back))
			wrong++;
		ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, back, LEVEL_LINE));
		query = line_of(_metadata, self->db, LEVEL_LINE);
		wrong += query.state != LEVEL || query.deliveries != query.acks;
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, touched);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, cut);
}

/* Closing the context, or the last file of the eventfd, while signals come in. */
TEST_F(unmaskfd, race_close)
{
	struct rounds race = ROUNDS(20, 1000);
	struct hammer hammer = { .hit = hit_write };
	unsigned int rounds;
	int back, db;

	back = new_eventfd(_metadata, 0, 0);
	hammer.fd = back;
	hammer_start(_metadata, &hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		db = new_context(_metadata, 1);
		ASSERT_EQ(0, set_type(db, 0, DOORBELL_TYPE_LEVEL, DOORBELL_TYPE_FLAG_AUTOMASK));
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(db, 0, 1));
		ASSERT_EQ(0, doorbell_assign_ack_unmaskfd(db, back, 0));
		dither(rounds);
		close(db);
		/* The eventfd is free for the next context. */
	}
	hammer_stop(&hammer);
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, back, EDGE_AUTO));
}

/*
 * A raised line whose trigger acks it through another context runs for ever. It ends up in
 * the worker, so other work goes on, and the context obeys calls.
 */
TEST_F(unmaskfd, storm)
{
	int other = new_context(_metadata, 1), link = new_eventfd(_metadata, 0, 0);
	struct doorbell_query before, query;
	unsigned int cpu, i;

	ASSERT_EQ(0, doorbell_assign_irqfd(other, link, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(other, self->back[LEVEL_LINE], 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, link, LEVEL_LINE));
	doorbell_set_level(self->db, LEVEL_LINE, 1);
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, LEVEL_LINE).acks > 1000));
	before = line_of(_metadata, self->db, LEVEL_LINE);
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, LEVEL_LINE).acks > before.acks + 1000));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, LEVEL_LINE).deferred >
			     before.deferred + 100));
	for (cpu = 0; cpu < 2; cpu++) {
		pin_to(cpu);
		for (i = 0; i < 50; i++)
			usleep(1000);
	}
	pin_to(0);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, PLAIN));
	EXPECT_EQ(1, efd_read(self->out[PLAIN]));

	ASSERT_LE(0, doorbell_set_level(self->db, LEVEL_LINE, 0));
	ASSERT_TRUE(WAIT_FOR(({
		before = line_of(_metadata, self->db, LEVEL_LINE);
		before.state == LEVEL && before.deliveries == before.acks;
	})));
	for (i = 0; i < 200; i++)
		sched_yield();
	usleep(1000);
	EXPECT_STATE(LEVEL_LINE, LEVEL);
	query = line_of(_metadata, self->db, LEVEL_LINE);
	EXPECT_EQ(before.deliveries, query.deliveries);
	EXPECT_EQ(before.acks, query.acks);
}

TEST_HARNESS_MAIN
