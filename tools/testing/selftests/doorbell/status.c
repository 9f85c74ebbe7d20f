// SPDX-License-Identifier: GPL-2.0-only
/*
 * The status pages: their contents, and when these change. The mapping is in
 * status_mapping.c.
 */
#include "status.h"

FIXTURE(status) {
	STATUS_FIXTURE;
};

FIXTURE_SETUP(status)
{
	STATUS_SETUP();
}

FIXTURE_TEARDOWN(status)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

TEST_F(status, agrees_with_query)
{
	const struct doorbell_line_status *line = &self->status[LAST];
	uint32_t i;

	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	for (i = 0; i < LINES; i++) {
		uint32_t n;

		for (n = 0; n < i % 4; n++)
			ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, i));
		EXPECT_EQ(i % 4, self->status[i].deliveries);
	}
	EXPECT_EQ(LAST % 4, efd_read(self->out));
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));

	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	settled(_metadata, self->db, LAST);
	EXPECT_EQ(LAST % 4 + 1, line->deliveries);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));

	EXPECT_EQ(1, doorbell_mask(self->db, LAST));
	EXPECT_EQ(VECTOR_MASKED, status_state(line));
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, LAST));
	EXPECT_EQ(VECTOR_MASKED | DOORBELL_LINE_PENDING, status_state(line));
	EXPECT_EQ(0, line->coalesced);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, LAST));
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(2, line->coalesced);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	EXPECT_EQ(1, doorbell_clear(self->db, LAST));
	EXPECT_EQ(VECTOR_MASKED, status_state(line));
	EXPECT_EQ(1, line->dropped);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, doorbell_unmask(self->db, LAST));
	EXPECT_EQ(0, status_state(line));
	EXPECT_EQ(LAST % 4 + 2, line->deliveries);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));

	/* Assigning and deassigning changes nothing there. */
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->out, 0, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 1));
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->out, LAST));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in, LAST));
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
}

/* Deliveries by a worker count as deferred. */
TEST_F(status, deferred)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 1; i < LINES; i++) {
		int link = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, link, i));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, link, i - 1));
	}
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	ASSERT_EQ(1, efd_wait(self->out));
	for (i = 0; i < LINES; i++) {
		settled(_metadata, self->db, i);
		sum += self->status[i].deferred;
	}
	EXPECT_LT(0, sum);
	EXPECT_TRUE(agrees(_metadata, self->db, self->status));
}

/* Each mapping shows all calls; each context has its own pages. */
TEST_F(status, shared_and_private)
{
	const struct doorbell_line_status *again = map_status(_metadata, self->db);
	const uint64_t offset = info_of(_metadata, self->db).status_offset;
	const struct doorbell_line_status *first = mmap(NULL, status_size(1), PROT_READ, MAP_SHARED,
							self->db, offset);
	int other = new_context(_metadata, LINES);
	const struct doorbell_line_status *others = map_status(_metadata, other);
	pid_t pid;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, again[0].deliveries);
	ASSERT_TRUE(first != MAP_FAILED);
	/* A part of the pages can be mapped, too. */
	EXPECT_EQ(1, first[0].deliveries);
	EXPECT_EQ(0, others[0].deliveries);
	ASSERT_EQ(0, munmap((void *)again, status_size(LINES)));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (doorbell_ring(self->db, LAST) != DOORBELL_RING_DELIVERED)
			_exit(1);
		_exit(self->status[LAST].deliveries == 1 && self->status[0].deliveries == 1 ?
		      0 : 2);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, self->status[LAST].deliveries);
	EXPECT_EQ(1, first[0].deliveries);
}

/*
 * Returns true if the page has a value that looks like a kernel address, at any alignment.
 * The documented counts are small here.
 */
static bool leaks(const struct doorbell_line_status *status, size_t size)
{
	const char *at = (const char *)status;
	uint64_t value;
	size_t i;

	for (i = 0; i + sizeof(value) <= size; i++) {
		memcpy(&value, at + i, sizeof(value));
		/*
		 * The upper half of the address space; an owned line's bit before a zero
		 * word is no address.
		 */
		if (value >> 47 == 0x1ffff)
			return true;
	}
	for (i = 0; i < size / sizeof(*status); i++) {
		if (status[i].deliveries > UINT32_MAX || status[i].coalesced > UINT32_MAX ||
		    status[i].dropped > UINT32_MAX || status[i].deferred > UINT32_MAX)
			return true;
	}
	return false;
}

TEST_F(status, no_addresses)
{
	struct hammer hammer = { .hit = hit_write, .fd = self->in };
	unsigned int round;
	uint32_t i;

	for (i = 0; i < LINES; i++) {
		int e = new_eventfd(_metadata, i % 2, 0);

		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, e, i));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), i));
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, new_eventfd(_metadata, 0, 0), i,
						      DOORBELL_NOTIFY_MASK));
	}
	hammer_start(_metadata, &hammer);
	for (round = 0; round < 200; round++) {
		if (round % 20 == 0)
			doorbell_line_set(self->db, round % 40 ? DOORBELL_MASK : DOORBELL_UNMASK, 0,
					  LINES, NULL, NULL);
		ASSERT_FALSE(leaks(self->status, status_size(LINES)));
	}
	hammer_stop(&hammer);
}

/* Fields that have no meaning yet are zero, for every line. */
TEST_F(status, unused_is_zero)
{
	uint32_t i;

	for (i = 0; i < LINES; i++)
		doorbell_ring(self->db, i);
	for (i = 0; i < status_size(LINES) / sizeof(*self->status); i++) {
		/* No line has waiters or counts. */
		ASSERT_EQ(0, self->status[i].taken);
		ASSERT_EQ(0, self->status[i].dropped_units);
	}
}

FIXTURE(counted) {
	int kmsg;
	int db;
	int out;
	const struct doorbell_line_status *status;
	struct hammer hammer;
};

FIXTURE_VARIANT(counted) {
	/* Rung by write(2) to an irqfd, not by ioctl. */
	bool by_irqfd;
	/* Delivered by UNMASK. */
	bool by_unmask;
};

FIXTURE_VARIANT_ADD(counted, ioctl) { };
FIXTURE_VARIANT_ADD(counted, irqfd) { .by_irqfd = true };
FIXTURE_VARIANT_ADD(counted, unmask) { .by_unmask = true };

static void hit_unmask(struct hammer *hammer)
{
	doorbell_mask(hammer->fd, hammer->line);
	doorbell_ring(hammer->fd, hammer->line);
	doorbell_unmask(hammer->fd, hammer->line);
}

FIXTURE_SETUP(counted)
{
	unsigned int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->status = map_status(_metadata, self->db);
	self->out = new_eventfd(_metadata, 0, 0);
	/* The first of many, so that it is signalled long before the delivery ends. */
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), 0));
	self->hammer.fd = self->db;
	self->hammer.hit = variant->by_unmask ? hit_unmask : hit_ring;
	if (variant->by_irqfd) {
		self->hammer.hit = hit_write;
		self->hammer.fd = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->hammer.fd, 0));
	}
}

FIXTURE_TEARDOWN(counted)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* A thread that a trigger wakes finds the delivery counted. */
TEST_F(counted, before_it_is_signalled)
{
	unsigned int rounds, late = 0, ahead = 0;
	struct rounds race = ROUNDS(100, 20000);
	uint64_t signals = 0, deliveries;

	hammer_start(_metadata, &self->hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		uint64_t count;

		ASSERT_TRUE(SPIN_FOR((count = efd_read(self->out))));
		deliveries = self->status->deliveries;
		signals += count;
		late += deliveries < signals;
	}
	hammer_stop(&self->hammer);
	settled(_metadata, self->db, 0);
	signals += efd_read(self->out);
	ahead = self->status->deliveries != signals;
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, ahead);
}

/* Under load no counter decreases, and all agree at the end. */
TEST_F(counted, never_goes_back)
{
	struct rounds race = ROUNDS(100, 200000);
	uint64_t deliveries = 0, coalesced = 0;
	struct doorbell_query query;
	unsigned int rounds, back = 0, odd = 0;

	hammer_start(_metadata, &self->hammer);
	for (rounds = 0; more_rounds(&race, rounds) || lacks(&race, !deliveries); rounds++) {
		uint64_t now = self->status->deliveries;
		uint64_t then = self->status->coalesced;
		uint32_t state = status_state(self->status);

		if (rounds % 2)
			doorbell_ring(self->db, 0);
		back += now < deliveries || then < coalesced;
		odd += state & ~(VECTOR_MASKED | DOORBELL_LINE_PENDING);
		deliveries = now;
		coalesced = then;
	}
	hammer_stop(&self->hammer);
	query = settled(_metadata, self->db, 0);
	EXPECT_EQ(0, back);
	EXPECT_EQ(0, odd);
	EXPECT_TRUE(status_agrees(self->status, &query));
	EXPECT_LT(0, deliveries);
}

TEST_HARNESS_MAIN
