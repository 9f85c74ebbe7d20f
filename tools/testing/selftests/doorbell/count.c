// SPDX-License-Identifier: GPL-2.0-only
/*
 * Triggers that count: what is read from one is the number of rings that the line has
 * accepted, exactly, however they coalesce. Runs as a 32-bit program, too.
 */
#include <doorbell_status.h>

#include "bus.h"

#define COUNTS		DOORBELL_LINE_COUNTS
#define PENDING		DOORBELL_LINE_PENDING
#define COUNT_FLAG	DOORBELL_TRIGGER_FLAG_COUNT

#define ADDR		0x1000ULL
#define LINES		4

FIXTURE(count) {
	int kmsg;
	int db;
	/* Triggers of line 0: one that counts, and a plain one. */
	int sum;
	int plain;
	int irqfd;
	const struct doorbell_line_status *status;
};

FIXTURE_SETUP(count)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, LINES);
	if (!(info_of(_metadata, self->db).features & DOORBELL_FEATURE_COUNT))
		SKIP(return, "this build cannot raise a counter");
	self->status = map_status(_metadata, self->db);
	self->sum = new_eventfd(_metadata, 0, 0);
	self->plain = new_eventfd(_metadata, 0, 0);
	self->irqfd = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_counting_trigger(self->db, self->sum, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->plain, 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->irqfd, 0));
	ASSERT_EQ(0, change_region(self->db, to_line(ADDR, 4, 0)));
}

FIXTURE_TEARDOWN(count)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Masks line 0, rings it @n times, and expects that all are held. */
#define MASK_AND_RING(n) do {						\
	unsigned int __i, __n = n;					\
									\
	EXPECT_EQ(1, doorbell_mask(self->db, 0));			\
	for (__i = 0; __i < __n; __i++)					\
		EXPECT_EQ(__i ? DOORBELL_RING_COALESCED : DOORBELL_RING_MASKED, \
			  doorbell_ring(self->db, 0));			\
	EXPECT_EQ(__n, self->status[0].units);				\
} while (0)

TEST_F(count, coalesced_rings_are_added)
{
	EXPECT_STATE(0, COUNTS);
	MASK_AND_RING(5);
	EXPECT_STATE(0, COUNTS | PENDING | VECTOR_MASKED);
	EXPECT_EQ(0, efd_count(self->sum));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(5, efd_read(self->sum));
	EXPECT_EQ(1, efd_read(self->plain));
	EXPECT_EQ(0, self->status[0].units);
	/* Without anything to coalesce with, it is a plain trigger. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(2, efd_read(self->sum));
	EXPECT_EQ(2, efd_read(self->plain));
	MASK_AND_RING(0);
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->sum));
	EXPECT_STATE(0, COUNTS);
	/* A line that does not count leaves the units alone. */
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 1));
	EXPECT_EQ(0, self->status[1].units);
}

/* All ways to ring, to a line that is masked and to one that is not. */
TEST_F(count, all_ways_to_ring)
{
	struct doorbell_bus_access accesses[3];
	unsigned int i, masked;
	uint64_t result = 0, count;

	for (i = 0; i < ARRAY_SIZE(accesses); i++)
		accesses[i] = (struct doorbell_bus_access){ .addr = ADDR, .length = 4 };
	for (masked = 0; masked < 2; masked++) {
		if (masked)
			EXPECT_EQ(1, doorbell_mask(self->db, 0));
		EXPECT_LE(0, doorbell_ring(self->db, 0));
		EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 0));
		EXPECT_EQ(0, bus_write(self->db, BY_PWRITE, ADDR, 4, 0));
		EXPECT_EQ(3, doorbell_bus_writes(self->db, accesses, 3));
		/* A write to an irqfd is one ring, of any value. */
		EXPECT_EQ(0, efd_write(self->irqfd, 1));
		EXPECT_EQ(0, efd_write(self->irqfd, 100));
		EXPECT_LE(0, doorbell_ring_lines(self->db, 0, 2, NULL, &result));
		if (masked) {
			EXPECT_EQ(9, self->status[0].units);
			EXPECT_EQ(0, efd_count(self->sum));
			EXPECT_EQ(1, doorbell_unmask(self->db, 0));
			EXPECT_EQ(9, efd_read(self->sum));
		} else {
			settled(_metadata, self->db, 0);
			ASSERT_TRUE(WAIT_FOR(efd_count(self->sum) == 9));
			EXPECT_EQ(9, efd_read(self->sum));
		}
	}
	EXPECT_EQ(18, line_of(_metadata, self->db, 0).rings);
	count = efd_read(self->plain);
	EXPECT_EQ(line_of(_metadata, self->db, 0).deliveries, count);
}

/* A message that an irq_work delivers leaves no unit. */
TEST_F(count, relayed)
{
	unsigned int i;

	for (i = 1; i <= 10; i++) {
		ASSERT_EQ(0, efd_write(self->irqfd, 1));
		settled(_metadata, self->db, 0);
		EXPECT_EQ(i, efd_count(self->sum));
		EXPECT_EQ(0, self->status[0].units);
	}
}

/* EFD_SEMAPHORE: each ring is a unit of its own. */
TEST_F(count, semaphore)
{
	int semaphore = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_counting_trigger(self->db, semaphore, 0));
	MASK_AND_RING(7);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	for (i = 0; i < 7; i++)
		EXPECT_EQ(1, efd_read(semaphore));
	EXPECT_EQ(0, efd_read(semaphore));
	EXPECT_EQ(7, efd_read(self->sum));
}

/* A reader that sleeps is woken once for all. */
TEST_F(count, wakes)
{
	EXPECT_EQ(0, efd_poll(self->sum, POLLIN, 0));
	MASK_AND_RING(3);
	EXPECT_EQ(0, efd_poll(self->sum, POLLIN, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(POLLIN, efd_poll(self->sum, POLLIN, 0));
	EXPECT_EQ(3, efd_read(self->sum));
}

/* The rings of a message that is dropped are dropped, and reported. */
TEST_F(count, clear)
{
	MASK_AND_RING(4);
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EXPECT_EQ(0, self->status[0].units);
	EXPECT_EQ(4, self->status[0].dropped_units);
	EXPECT_EQ(1, self->status[0].dropped);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(2, efd_read(self->sum));
	EXPECT_EQ(1, efd_read(self->plain));
	EXPECT_EQ(6, line_of(_metadata, self->db, 0).rings);
	/* A line that does not count does not report. */
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 1));
	EXPECT_EQ(1, doorbell_clear(self->db, 1));
	EXPECT_EQ(0, self->status[1].dropped_units);
}

/* Assigned and deassigned with a message pending. */
TEST_F(count, assigned_in_the_middle)
{
	int other = new_eventfd(_metadata, 0, 0);

	/* A second one gets what the first one gets. */
	MASK_AND_RING(3);
	ASSERT_EQ(0, doorbell_assign_counting_trigger(self->db, other, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(4, efd_read(self->sum));
	EXPECT_EQ(4, efd_read(other));
	/* One goes, and the other one stays. */
	MASK_AND_RING(3);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->sum, 0));
	EXPECT_STATE(0, COUNTS | PENDING | VECTOR_MASKED);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->sum));
	EXPECT_EQ(3, efd_read(other));
	EXPECT_EQ(2, efd_read(self->plain));
	/* The last one goes: the rings are not counted, and the message stays. */
	MASK_AND_RING(3);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, other, 0));
	EXPECT_STATE(0, PENDING | VECTOR_MASKED);
	EXPECT_EQ(0, self->status[0].units);
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, self->status[0].units);
	/* The message that is pending counts as one. */
	ASSERT_EQ(0, doorbell_assign_counting_trigger(self->db, self->sum, 0));
	EXPECT_EQ(1, self->status[0].units);
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(2, efd_read(self->sum));
	EXPECT_EQ(0, efd_count(other));
	EXPECT_EQ(1, efd_read(self->plain));
	/* All go. */
	MASK_AND_RING(2);
	EXPECT_EQ(2, doorbell_deassign_all_triggers(self->db, 0));
	EXPECT_STATE(0, PENDING | VECTOR_MASKED);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->sum));
	EXPECT_STATE(0, 0);
}

/* The counter stops where signals stop it, and nothing waits. */
TEST_F(count, overflow)
{
	ASSERT_EQ(0, efd_write(self->sum, COUNTER_MAX - 5));
	MASK_AND_RING(5);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(COUNTER_MAX, efd_count(self->sum));
	EXPECT_EQ(POLLIN, efd_poll(self->sum, POLLIN | POLLERR, 0));
	EXPECT_EQ(COUNTER_MAX, efd_read(self->sum));

	ASSERT_EQ(0, efd_write(self->sum, COUNTER_MAX - 5));
	MASK_AND_RING(6);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(UINT64_MAX, efd_count(self->sum));
	EXPECT_EQ(POLLIN | POLLERR, efd_poll(self->sum, POLLIN | POLLERR, 0));
	/* It stays there. */
	MASK_AND_RING(3);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(UINT64_MAX, efd_read(self->sum));

	ASSERT_EQ(0, efd_write(self->sum, COUNTER_MAX));
	MASK_AND_RING(100);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(UINT64_MAX, efd_read(self->sum));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->sum));
}

/* A line that masks itself holds the rings until its handler has ended. */
TEST_F(count, automask)
{
	unsigned int i, round;

	ASSERT_EQ(0, doorbell_set_type_automask(self->db, 0, DOORBELL_TYPE_EDGE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->sum));
	for (round = 1; round < 5; round++) {
		for (i = 0; i < round; i++)
			EXPECT_LE(0, doorbell_ring(self->db, 0));
		EXPECT_EQ(0, efd_count(self->sum));
		EXPECT_EQ(1, doorbell_unmask_for(self->db, 0, DOORBELL_MASK_AUTO));
		EXPECT_EQ(round, efd_read(self->sum));
	}
}

/* Behind many triggers and many relays: the irq_work and the worker deliver. */
TEST_F(count, many_triggers_and_relays)
{
	const uint32_t nr = 40;
	int db = new_context(_metadata, nr), irqfd = new_eventfd(_metadata, 0, 0);
	int out = new_eventfd(_metadata, 0, 0), first = new_eventfd(_metadata, 0, 0);
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_irqfd(db, irqfd, 0));
	ASSERT_EQ(0, doorbell_assign_counting_trigger(db, first, 0));
	for (i = 0; i < 40; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, new_eventfd(_metadata, 0, 0), 0));
	ASSERT_EQ(0, doorbell_assign_counting_trigger(db, self->sum, 0));
	for (i = 1; i < nr; i++)
		link_lines(_metadata, db, i - 1, db, i);
	ASSERT_EQ(0, doorbell_assign_counting_trigger(db, out, nr - 1));
	for (i = 0; i < 300; i++)
		ASSERT_EQ(0, efd_write(irqfd, 1));
	ASSERT_TRUE(WAIT_FOR(efd_count(self->sum) == 300));
	EXPECT_EQ(300, efd_read(first));
	EXPECT_EQ(300, efd_read(self->sum));
	/* Each relay is a ring, and each of these is counted. */
	ASSERT_TRUE(WAIT_FOR(efd_count(out) == line_of(_metadata, db, nr - 1).rings &&
			     efd_count(out) > 0));
	/* The barrier of a mask: what a line has sent has arrived at the next one. */
	for (i = 0; i < nr; i++) {
		settled(_metadata, db, i);
		EXPECT_EQ(1, doorbell_mask(db, i));
		EXPECT_EQ(0, doorbell_unmask(db, i));
	}
	EXPECT_EQ(line_of(_metadata, db, nr - 1).rings, efd_read(out));
}

/* No ring of a line that counts is skipped. */
TEST_F(count, ring_if_needed)
{
	struct doorbell_status_pages pages = {};
	unsigned int i;

	ASSERT_EQ(0, doorbell_map_status(self->db, &pages));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	for (i = 0; i < 5; i++)
		EXPECT_NE(DOORBELL_RING_SKIPPED, doorbell_ring_if_needed(self->db, &pages, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(5, efd_read(self->sum));
	EXPECT_EQ(0, doorbell_unmap_status(&pages));
}

#define REFUSED(error, line, call) do {					\
	const uint32_t __line = line;					\
	const struct doorbell_query __before = line_of(_metadata, self->db, __line); \
	struct doorbell_query __after;					\
									\
	EXPECT_EQ(-(error), (call));					\
	__after = line_of(_metadata, self->db, __line);			\
	EXPECT_EQ(0, memcmp(&__before, &__after, sizeof(__before)));	\
} while (0)

/* EOPNOTSUPP and EBUSY: level lines. */
TEST_F(count, level_lines)
{
	int efd = new_eventfd(_metadata, 0, 0);

	REFUSED(EBUSY, 0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	EXPECT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->sum, 0));
	EXPECT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	REFUSED(EOPNOTSUPP, 0, doorbell_assign_counting_trigger(self->db, efd, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	REFUSED(EOPNOTSUPP, 0, doorbell_assign_counting_trigger(self->db, efd, 0));
	EXPECT_EQ(0, self->status[0].units);
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_EDGE));
	EXPECT_EQ(0, doorbell_assign_counting_trigger(self->db, efd, 0));
	EXPECT_STATE(0, COUNTS);
}

/* The other errors; a line that had no such trigger does not count then. */
TEST_F(count, errors)
{
	int efd = new_eventfd(_metadata, 0, 0), file = open("/dev/null", O_RDWR | O_CLOEXEC);
	int db = self->db, extra[DOORBELL_MAX_TRIGGERS_PER_LINE];
	struct doorbell_trigger arg = { .fd = efd, .line = 1, .flags = COUNT_FLAG };
	unsigned int i;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		if (1U << bit != COUNT_FLAG)
			REFUSED(EINVAL, 1, doorbell_trigger(db, efd, 1, COUNT_FLAG | 1U << bit));
	}
	REFUSED(EINVAL, 1, doorbell_trigger(db, -1, 1, COUNT_FLAG | DEASSIGN |
					    DOORBELL_TRIGGER_FLAG_ALL));
	REFUSED(EINVAL, 1, doorbell_notifier(db, efd, 1, COUNT_FLAG, DOORBELL_NOTIFY_MASK));
	for (i = 0; i < ARRAY_SIZE(arg.reserved); i++) {
		arg.reserved[i] = 1;
		REFUSED(EINVAL, 1, doorbell_ioctl(db, DOORBELL_TRIGGER, &arg));
		arg.reserved[i] = 0;
	}
	REFUSED(EBADF, 1, doorbell_assign_counting_trigger(db, -1, 1));
	ASSERT_LE(0, file);
	REFUSED(EINVAL, 1, doorbell_assign_counting_trigger(db, file, 1));
	close(file);
	EXPECT_EQ(-ENXIO, doorbell_assign_counting_trigger(db, efd, LINES));
	EXPECT_EQ(-ENXIO, doorbell_assign_counting_trigger(new_context(_metadata, 0), efd, 0));
	/* An eventfd is a trigger of a line once, in either way. */
	REFUSED(EEXIST, 0, doorbell_assign_counting_trigger(db, self->sum, 0));
	REFUSED(EEXIST, 0, doorbell_assign_counting_trigger(db, self->plain, 0));
	REFUSED(EEXIST, 0, doorbell_assign_trigger(db, self->sum, 0));
	REFUSED(ELOOP, 0, doorbell_assign_counting_trigger(db, self->irqfd, 0));
	for (i = 0; i < ARRAY_SIZE(extra); i++) {
		extra[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(db, extra[i], 1));
	}
	REFUSED(ENOSPC, 1, doorbell_assign_counting_trigger(db, efd, 1));
	EXPECT_STATE(1, 0);
	ASSERT_EQ(0, doorbell_deassign_trigger(db, extra[0], 1));
	ASSERT_EQ(0, doorbell_assign_counting_trigger(db, efd, 1));
	EXPECT_STATE(1, COUNTS);
}

/* A closed descriptor, a closed context. */
TEST_F(count, lifetime)
{
	int twin = dup(self->sum), db = new_context(_metadata, 1);

	ASSERT_EQ(0, doorbell_assign_counting_trigger(db, twin, 0));
	close(self->sum);
	MASK_AND_RING(2);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(2, efd_read(twin));
	EXPECT_EQ(1, doorbell_mask(db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 0));
	close(db);
	EXPECT_EQ(0, efd_count(twin));
}

/* Rings in all ways, by threads on all processors, while masks come and go. */

/* Enough for masks with two rings and a clear. */
#define TURNS_MIN	16

enum ring_way { RING_IOCTL, RING_IRQFD, RING_PWRITE, RING_WAYS };

struct storm {
	int db;
	int irqfd;
	atomic_bool stop;
	bool masks;
	bool clears;
	int churned;
	/* Of masker_loop(). */
	uint64_t rings;
	atomic_uint turns;
};

struct ringer {
	struct storm *storm;
	enum ring_way way;
	atomic_ulong rings;
	unsigned long failed;
	pthread_t thread;
};

static void *ringer_loop(void *arg)
{
	struct ringer *ringer = arg;
	struct storm *storm = ringer->storm;
	int ret = 0;

	pin_to(ringer->way);
	while (!atomic_load(&storm->stop)) {
		switch (ringer->way) {
		case RING_IOCTL:
			ret = doorbell_ring(storm->db, 0);
			break;
		case RING_IRQFD:
			ret = efd_write(storm->irqfd, 1);
			break;
		default:
			ret = bus_write(storm->db, BY_PWRITE, ADDR, 4, 0);
		}
		ringer->failed += ret < 0;
		atomic_fetch_add(&ringer->rings, 1);
	}
	return NULL;
}

static void *masker_loop(void *arg)
{
	struct storm *storm = arg;
	unsigned int i = 0;

	pin_to(1);
	while (!atomic_load(&storm->stop)) {
		dither(++i);
		if (storm->masks)
			doorbell_mask(storm->db, 0);
		/* The ringers may never run while the line is masked. */
		if (storm->masks && i % 4 == 1) {
			doorbell_ring(storm->db, 0);
			doorbell_ring(storm->db, 0);
			storm->rings += 2;
		}
		if (storm->clears && i % 2)
			doorbell_clear(storm->db, 0);
		if (storm->masks)
			doorbell_unmask(storm->db, 0);
		atomic_store(&storm->turns, i);
	}
	return NULL;
}

static void *churn_loop(void *arg)
{
	struct storm *storm = arg;

	pin_to(0);
	while (!atomic_load(&storm->stop)) {
		doorbell_assign_counting_trigger(storm->db, storm->churned, 0);
		sched_yield();
		doorbell_deassign_trigger(storm->db, storm->churned, 0);
	}
	return NULL;
}

/*
 * The sum of all that is read is the number of rings, less what CLEAR has dropped. A
 * semaphore that stays assigned has the same sum, and a plain trigger that of the
 * deliveries. A trigger that comes and goes gets no ring twice.
 */
static void storm(struct __test_metadata *_metadata, int db, int sum, int plain, int irqfd,
		  const struct doorbell_line_status *status, struct storm *storm)
{
	struct ringer ringers[RING_WAYS] = {};
	struct rounds race = ROUNDS(1000, 10000000);
	int semaphore = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	uint64_t rings = 0, read = 0, deliveries = 0, churned = 0, units;
	pthread_t masker, churner = 0;
	unsigned long rounds;
	unsigned int i;

	storm->db = db;
	storm->irqfd = irqfd;
	ASSERT_EQ(0, doorbell_assign_counting_trigger(db, semaphore, 0));
	pin_to(0);
	for (i = 0; i < RING_WAYS; i++) {
		ringers[i].storm = storm;
		ringers[i].way = i;
		ASSERT_EQ(0, pthread_create(&ringers[i].thread, NULL, ringer_loop, &ringers[i]));
	}
	ASSERT_EQ(0, pthread_create(&masker, NULL, masker_loop, storm));
	if (storm->churned >= 0)
		ASSERT_EQ(0, pthread_create(&churner, NULL, churn_loop, storm));
	for (i = 0; i < RING_WAYS; i++)
		ASSERT_TRUE(WAIT_FOR(atomic_load(&ringers[i].rings)));
	for (rounds = 0; more_rounds(&race, rounds) ||
	     lacks(&race, atomic_load(&storm->turns) < TURNS_MIN); rounds++) {
		if (rounds % 1024 == 0)
			pin_to(rounds / 1024);
		read += efd_read(sum);
		deliveries += efd_read(plain);
		if (rounds % 16 == 0)
			sched_yield();
	}
	atomic_store(&storm->stop, true);
	for (i = 0; i < RING_WAYS; i++) {
		ASSERT_EQ(0, pthread_join(ringers[i].thread, NULL));
		EXPECT_EQ(0, ringers[i].failed);
		EXPECT_LT(0, ringers[i].rings);
		rings += ringers[i].rings;
	}
	ASSERT_EQ(0, pthread_join(masker, NULL));
	EXPECT_LE(TURNS_MIN, atomic_load(&storm->turns));
	rings += storm->rings;
	if (storm->churned >= 0) {
		ASSERT_EQ(0, pthread_join(churner, NULL));
		churned = efd_read(storm->churned);
		EXPECT_GE(rings, churned);
	}
	settled(_metadata, db, 0);
	/* The last delivery has ended once the line can be claimed. */
	EXPECT_EQ(1, doorbell_mask(db, 0));
	EXPECT_EQ(0, doorbell_unmask(db, 0));
	read += efd_read(sum);
	deliveries += efd_read(plain);
	/* EFD_SEMAPHORE: the counter, as it is read one by one. */
	units = efd_count(semaphore);
	EXPECT_EQ(rings, line_of(_metadata, db, 0).rings);
	EXPECT_EQ(line_of(_metadata, db, 0).deliveries, deliveries);
	EXPECT_EQ(0, status[0].units);
	EXPECT_EQ(rings, read + status[0].dropped_units);
	EXPECT_EQ(read, units);
	EXPECT_EQ(storm->clears, status[0].dropped_units > 0);
	/* Some have coalesced, or this has tested nothing. */
	if (storm->masks)
		EXPECT_LT(deliveries + status[0].dropped, rings);
	ksft_print_msg("%llu rings, %llu deliveries\n", (unsigned long long)rings,
		       (unsigned long long)deliveries);
}

#define STORM(...) do {							\
	static struct storm __storm;					\
									\
	__storm = (struct storm){ __VA_ARGS__ };			\
	storm(_metadata, self->db, self->sum, self->plain, self->irqfd, self->status, &__storm); \
} while (0)

TEST_F(count, storm)
{
	STORM(.churned = -1);
}

TEST_F(count, storm_of_masks)
{
	STORM(.masks = true, .churned = -1);
}

TEST_F(count, storm_of_clears)
{
	STORM(.masks = true, .clears = true, .churned = -1);
}

TEST_F(count, storm_of_assignments)
{
	STORM(.masks = true, .churned = new_eventfd(_metadata, 0, 0));
}

/* The count begins and ends meanwhile. What is counted is at most what was rung. */
TEST_F(count, storm_of_first_assignments)
{
	static struct storm storm;
	struct ringer ringer = { .storm = &storm, .way = RING_IOCTL };
	struct rounds race = ROUNDS(100, 100000);
	struct timeout timeout = {};
	uint64_t sum = 0, deliveries;
	unsigned long rounds;
	pthread_t masker;

	storm = (struct storm){ .db = self->db, .masks = true, .clears = true, .churned = -1 };
	pin_to(1);
	ASSERT_EQ(0, pthread_create(&ringer.thread, NULL, ringer_loop, &ringer));
	ASSERT_EQ(0, pthread_create(&masker, NULL, masker_loop, &storm));
	/* On a busy host the other threads may not have run yet. */
	for (rounds = 0; more_rounds(&race, rounds) || (!sum && !timed_out(&timeout)); rounds++) {
		dither(rounds);
		ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->sum, 0));
		sum += efd_read(self->sum);
		/* The deassign is a barrier. */
		dither(rounds / 2);
		EXPECT_EQ(0, efd_count(self->sum));
		ASSERT_EQ(0, doorbell_assign_counting_trigger(self->db, self->sum, 0));
	}
	atomic_store(&storm.stop, true);
	ASSERT_EQ(0, pthread_join(ringer.thread, NULL));
	ASSERT_EQ(0, pthread_join(masker, NULL));
	settled(_metadata, self->db, 0);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->sum, 0));
	sum += efd_read(self->sum);
	EXPECT_EQ(0, self->status[0].units);
	EXPECT_STATE(0, 0);
	EXPECT_LT(0, sum);
	ringer.rings += storm.rings;
	EXPECT_GE(ringer.rings, sum);
	deliveries = line_of(_metadata, self->db, 0).deliveries;
	EXPECT_EQ(deliveries, efd_read(self->plain));
	EXPECT_EQ(ringer.rings, line_of(_metadata, self->db, 0).rings);
}

TEST_HARNESS_MAIN
