// SPDX-License-Identifier: GPL-2.0-only
/* The in-kernel API: writes to the bus, from each context, and each documented error. */
#include "bus.h"
#include "capi.h"

#define ADDR	0x1000ULL

#define RECORDS	4

FIXTURE(kernel_bus) {
	struct capi c;
	/* The eventfds of the regions. */
	int efd[3];
};

FIXTURE_VARIANT(kernel_bus) {
	unsigned int from;
};

FIXTURE_VARIANT_ADD(kernel_bus, process) { .from = TEST_FROM_PROCESS };
FIXTURE_VARIANT_ADD(kernel_bus, irqs_off) { .from = TEST_FROM_IRQS_OFF };
FIXTURE_VARIANT_ADD(kernel_bus, softirq) { .from = TEST_FROM_SOFTIRQ };
FIXTURE_VARIANT_ADD(kernel_bus, hardirq) { .from = TEST_FROM_HARDIRQ };
FIXTURE_VARIANT_ADD(kernel_bus, wake) { .from = TEST_FROM_WAKE };
FIXTURE_VARIANT_ADD(kernel_bus, worker) { .from = TEST_FROM_WORKER };
FIXTURE_VARIANT_ADD(kernel_bus, worker_irqs_off) { .from = TEST_FROM_WORKER_IRQS_OFF };

FIXTURE_SETUP(kernel_bus)
{
	struct capi *c = &self->c;
	int i;

	capi_setup(_metadata, c);
	if (c->test < 0)
		SKIP(return, "%s: %s; load doorbell_test.ko", TEST_DEVICE, strerror(errno));
	for (i = 0; i < 3; i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_set_records(c->db, RECORDS));
	ASSERT_EQ(0, change_region(c->db, to_eventfd(ADDR, 4, self->efd[0])));
	ASSERT_EQ(0, change_region(c->db, matching(to_eventfd(ADDR, 4, self->efd[1]), 7)));
	ASSERT_EQ(0, change_region(c->db, in_space(to_line(ADDR, 0, 0), PIO)));
	ASSERT_EQ(0, change_region(c->db, recorded(to_eventfd(-8ULL, 8, self->efd[2]))));
	ASSERT_EQ(1, get_ctx(c, c->db));
}

FIXTURE_TEARDOWN(kernel_bus)
{
	capi_teardown(_metadata, &self->c);
}

static int write_from(struct capi *c, unsigned int from, uint32_t space, uint64_t addr,
		      uint32_t length, uint64_t value)
{
	struct test_call call = {
		.func = TEST_BUS_WRITE, .from = from, .access = {
			.addr = addr, .value = value, .length = length, .space = space,
		},
	};
	int ret;

	if (from == TEST_FROM_WAKE)
		call.eventfd = eventfd(0, EFD_CLOEXEC);
	ret = test_call(c, &call);
	if (from == TEST_FROM_WAKE)
		close(call.eventfd);
	return ret;
}

#define WRITE(space, addr, length, value)				\
	write_from(&self->c, variant->from, space, addr, length, value)

/* One write signals each of its eventfds once. */
TEST_F(kernel_bus, eventfds)
{
	int i;

	for (i = 1; i <= 20; i++) {
		EXPECT_EQ(0, WRITE(MMIO, ADDR, 4, 6));
		ASSERT_EQ(1, efd_wait(self->efd[0]));
		EXPECT_EQ(0, efd_count(self->efd[1]));
		EXPECT_EQ(0, WRITE(MMIO, ADDR, 4, 7));
		ASSERT_EQ(1, efd_wait(self->efd[0]));
		ASSERT_EQ(1, efd_wait(self->efd[1]));
		EXPECT_EQ(2 * i, writes_to(self->c.db, 0));
		EXPECT_EQ(i, writes_to(self->c.db, 1));
	}
	EXPECT_EQ(0, efd_count(self->efd[0]));
	EXPECT_EQ(0, efd_count(self->efd[1]));
}

TEST_F(kernel_bus, line)
{
	struct capi *c = &self->c;
	int i;

	for (i = 1; i <= 20; i++) {
		EXPECT_EQ(0, WRITE(PIO, ADDR, 1 << i % 4, i));
		ASSERT_EQ(1, efd_wait(c->out));
		EXPECT_EQ(i, settled(_metadata, c->db, 0).deliveries);
	}
	EXPECT_EQ(1, doorbell_mask(c->db, 0));
	EXPECT_EQ(0, WRITE(PIO, ADDR, 1, 0));
	EXPECT_EQ(0, WRITE(PIO, ADDR, 1, 0));
	EXPECT_EQ(1, doorbell_pending(c->db, 0));
	EXPECT_EQ(1, doorbell_unmask(c->db, 0));
	EXPECT_EQ(1, efd_read(c->out));
	EXPECT_EQ(22, line_of(_metadata, c->db, 0).rings);
}

/* A record is complete when the eventfd is signalled. */
TEST_F(kernel_bus, keeps)
{
	struct doorbell_record record;
	struct capi *c = &self->c;
	unsigned int i;

	for (i = 1; i <= 3 * RECORDS; i++) {
		EXPECT_EQ(0, WRITE(MMIO, -8ULL, 8, ~(uint64_t)i));
		ASSERT_EQ(1, efd_wait(self->efd[2]));
		ASSERT_EQ(1, read_records(c->db, &record, 1));
		EXPECT_TRUE(is_record(&record, i, MMIO, -8ULL, 8, ~(uint64_t)i));
	}
	for (i = 0; i < RECORDS; i++)
		EXPECT_EQ(0, WRITE(MMIO, -8ULL, 8, i));
	/* An irq_work signals several writes as one, possibly. */
	ASSERT_TRUE(WAIT_FOR(efd_count(self->efd[2])));
	EXPECT_EQ(-ENOBUFS, WRITE(MMIO, -8ULL, 8, i));
	EXPECT_EQ(-ENOBUFS, WRITE(MMIO, -8ULL, 8, i));
	EXPECT_EQ(2, bus_of(_metadata, c->db).refused);
	EXPECT_EQ(4 * RECORDS, bus_of(_metadata, c->db).recorded);
	EXPECT_EQ(4 * RECORDS, writes_to(c->db, 2));
	EXPECT_GE(RECORDS, efd_read(self->efd[2]));
}

/* EOPNOTSUPP: no region matches; EINVAL: invalid access. */
TEST_F(kernel_bus, errors)
{
	static const uint32_t lengths[] = { 0, 3, 5, 6, 7, 9, 16, 0x80000004, UINT32_MAX };
	struct bus_state before, after;
	struct capi *c = &self->c;
	unsigned int i;

	ASSERT_TRUE(get_bus_state(c->db, &before));
	EXPECT_EQ(-EOPNOTSUPP, WRITE(MMIO, ADDR, 8, 7));
	EXPECT_EQ(-EOPNOTSUPP, WRITE(MMIO, ADDR, 2, 7));
	EXPECT_EQ(-EOPNOTSUPP, WRITE(MMIO, ADDR + 1, 4, 7));
	EXPECT_EQ(-EOPNOTSUPP, WRITE(PIO, ADDR + 1, 4, 7));
	EXPECT_EQ(-EOPNOTSUPP, WRITE(PIO, -8ULL, 8, 7));
	EXPECT_EQ(-EOPNOTSUPP, WRITE(MMIO, 0, 1, 0));
	for (i = 0; i < ARRAY_SIZE(lengths); i++)
		EXPECT_EQ(-EINVAL, WRITE(PIO, ADDR, lengths[i], 0));
	EXPECT_EQ(-EINVAL, WRITE(MMIO, ADDR, 4, 1ULL << 32));
	EXPECT_EQ(-EINVAL, WRITE(PIO, ADDR, 1, 0x100));
	EXPECT_EQ(-EINVAL, WRITE(2, ADDR, 4, 0));
	EXPECT_EQ(-EINVAL, WRITE(UINT32_MAX, ADDR, 4, 0));
	EXPECT_EQ(-EINVAL, WRITE(MMIO, -7ULL, 8, 0));
	EXPECT_EQ(-EINVAL, WRITE(MMIO, UINT64_MAX, 2, 0));
	ASSERT_TRUE(get_bus_state(c->db, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(0, line_of(_metadata, c->db, 0).rings);
	EXPECT_EQ(0, signals(self->efd, 3));
}

/* Userspace has closed its fd; the regions live as long as the context. */
TEST_F(kernel_bus, outlives_userspace)
{
	long before = refcnt();
	struct capi *c = &self->c;

	close(c->db);
	EXPECT_EQ(0, WRITE(MMIO, ADDR, 4, 7));
	ASSERT_EQ(1, efd_wait(self->efd[0]));
	ASSERT_EQ(1, efd_wait(self->efd[1]));
	EXPECT_EQ(0, WRITE(PIO, ADDR, 4, 7));
	ASSERT_EQ(1, efd_wait(c->out));
	EXPECT_EQ(0, WRITE(MMIO, -8ULL, 8, 7));
	/* A signal that is in flight is neither lost nor late. */
	EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
	ASSERT_EQ(1, efd_wait(self->efd[2]));
	if (before >= 0)
		ASSERT_TRUE(WAIT_FOR(refcnt() == before - 1));
	c->db = new_context(_metadata, CAPI_LINES);
}

/* A callback of a line writes to an eventfd and to a region that rings the line itself. */
TEST_F(kernel_bus, from_a_callback)
{
	struct capi *c = &self->c;
	const struct test_plan writes = {
		.times = 3, .nr_calls = 4, .calls = {
			{ TEST_BUS_WRITE, .access = { .addr = ADDR, .length = 4, .value = 6 } },
			{ TEST_BUS_WRITE, .access = { .addr = ADDR, .length = 2, .space = PIO } },
			{ TEST_BUS_WRITE, .access = { .addr = ADDR, .length = 2, .value = 6 } },
			{ TEST_BUS_WRITE, .access = { .addr = ADDR, .length = 3 } },
		},
	};
	struct test_seen seen;

	plan(_metadata, c, &writes);
	ASSERT_EQ(0, call_assign(c, TEST_ASSIGN_TRIGGER, 0, 0, 0));
	EXPECT_EQ(0, WRITE(PIO, ADDR, 8, 1));
	/* The callback's own delivery, and those of the three that rang again. */
	ASSERT_TRUE(WAIT_FOR(seen_by(_metadata, c, 0).calls == 4));
	EXPECT_EQ(4, settled(_metadata, c->db, 0).deliveries);
	EXPECT_EQ(4, line_of(_metadata, c->db, 0).rings);
	ASSERT_TRUE(WAIT_FOR(efd_count(c->out) == 4));
	EXPECT_EQ(3, writes_to(c->db, 0));
	ASSERT_TRUE(WAIT_FOR(efd_count(self->efd[0])));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(0, seen.calls_made[0].ret);
	EXPECT_EQ(0, seen.calls_made[1].ret);
	EXPECT_EQ(-EOPNOTSUPP, seen.calls_made[2].ret);
	EXPECT_EQ(-EINVAL, seen.calls_made[3].ret);
	ASSERT_EQ(0, call_deassign(c, TEST_DEASSIGN_TRIGGER, 0, 0));
}

/* The context from which the hammer writes. */
static unsigned int hammered_from;
static struct capi *hammered;

static void hit_bus(struct hammer *hammer)
{
	write_from(hammered, hammered_from, MMIO, ADDR, 4, hammer->line);
}

/* A deassign waits for signals by an irq_work, too; after it there are none. */
TEST_F(kernel_bus, deassign_is_a_barrier)
{
	const struct doorbell_region region = matching(to_eventfd(ADDR, 4, self->efd[1]), 9);
	struct hammer hammer = { .hit = hit_bus, .line = 9 };
	unsigned int rounds, late = 0, signalled = 0;
	struct rounds race = ROUNDS(30, 3000);

	hammered = &self->c;
	hammered_from = variant->from;
	hammer_start(_metadata, &hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		ASSERT_EQ(0, change_region(self->c.db, region));
		if (rounds % 2)
			ASSERT_EQ(POLLIN, efd_await(self->efd[1], POLLIN));
		dither(rounds);
		ASSERT_EQ(0, change_region(self->c.db, without(region)));
		signalled += !!efd_read(self->efd[1]);
		ASSERT_TRUE(hammer_passes(&hammer, 2));
		late += !!efd_count(self->efd[1]);
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, late);
	EXPECT_LT(rounds / 4, signalled);
	ASSERT_TRUE(WAIT_FOR(efd_count(self->efd[0])));
}

TEST_HARNESS_MAIN
