// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many regions at once: all or none, in any order; the index of the region that failed;
 * replacing regions. Runs as a 32-bit program, too.
 */
#include "bus.h"

#define NE	8

#define ADDR	0x1000ULL

FIXTURE(regions) {
	int kmsg;
	int db;
	int efd[NE];
};

FIXTURE_SETUP(regions)
{
	int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 4);
	for (i = 0; i < NE; i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(regions)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define REGION_SIZE	sizeof(struct doorbell_region)
#define ALL(list) \
	ASSERT_EQ(0, doorbell_change_regions(self->db, list, sizeof(list) / REGION_SIZE, NULL))

/*
 * Expects that a batch fails because of the region at the index @culprit, and changes
 * nothing.
 */
#define BLAMES(error, culprit, list) do {				\
	struct bus_state __before, __after;				\
	uint32_t __failed = 0;						\
									\
	ASSERT_TRUE(get_bus_state(self->db, &__before));		\
	EXPECT_EQ(-(error),						\
		  doorbell_change_regions(self->db, list, sizeof(list) / REGION_SIZE, \
					  &__failed));			\
	EXPECT_EQ(culprit, __failed);					\
	ASSERT_TRUE(get_bus_state(self->db, &__after));			\
	EXPECT_EQ(0, memcmp(&__before, &__after, sizeof(__before)));	\
} while (0)

#define GOES_TO(expected, addr, value) do {				\
	EXPECT_EQ(0, mmio_write(self->db, addr, 4, value));		\
	EXPECT_EQ(expected, signals(self->efd, NE));			\
} while (0)

#define GOES_NOWHERE(addr, value) do {					\
	EXPECT_EQ(-EOPNOTSUPP, mmio_write(self->db, addr, 4, value));	\
	EXPECT_EQ(0, signals(self->efd, NE));				\
} while (0)

/*
 * The structure of a call that failed can be used for the next one: the index is written
 * only, also by a call that succeeds, or fails for another reason.
 */
TEST_F(regions, structure_is_reusable)
{
	struct doorbell_region list[] = {
		to_eventfd(ADDR, 4, self->efd[0]), to_eventfd(ADDR + 4, 4, -1),
	};
	struct doorbell_regions arg = {
		.regions = (uintptr_t)list, .nr_regions = ARRAY_SIZE(list), .failed = 7,
	};

	EXPECT_EQ(-EBADF, doorbell_ioctl(self->db, DOORBELL_REGIONS, &arg));
	EXPECT_EQ(1, arg.failed);
	list[1].fd = self->efd[1];
	EXPECT_EQ(0, doorbell_ioctl(self->db, DOORBELL_REGIONS, &arg));
	EXPECT_EQ(UINT32_MAX, arg.failed);
	EXPECT_EQ(-EEXIST, doorbell_ioctl(self->db, DOORBELL_REGIONS, &arg));
	EXPECT_EQ(0, arg.failed);
	arg.regions = 1;
	EXPECT_EQ(-EFAULT, doorbell_ioctl(self->db, DOORBELL_REGIONS, &arg));
	EXPECT_EQ(0, arg.failed);
}

/* The order does not matter. */
TEST_F(regions, any_order)
{
	const struct doorbell_region list[] = {
		to_eventfd(ADDR, 4, self->efd[0]),
		matching(to_eventfd(ADDR, 4, self->efd[1]), 1),
		to_eventfd(ADDR + 4, 4, self->efd[2]),
		to_line(0, 0, 1),
	};
	static const int orders[][ARRAY_SIZE(list)] = {
		{ 0, 1, 2, 3 }, { 3, 2, 1, 0 }, { 1, 0, 3, 2 }, { 2, 3, 0, 1 }, { 1, 3, 2, 0 },
	};
	struct bus_state first = {}, state;
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		struct doorbell_region batch[ARRAY_SIZE(list)];

		for (j = 0; j < ARRAY_SIZE(list); j++)
			batch[j] = list[orders[i][j]];
		ALL(batch);
		ASSERT_TRUE(get_bus_state(self->db, &state));
		if (!i)
			first = state;
		EXPECT_EQ(0, memcmp(&first, &state, sizeof(state)));
		GOES_TO(0x001, ADDR, 0);
		GOES_TO(0x011, ADDR, 1);
		GOES_TO(0x100, ADDR + 4, 1);
		GOES_TO(0x000, 0, 1);
		for (j = 0; j < ARRAY_SIZE(list); j++)
			batch[j] = without(batch[j]);
		ALL(batch);
		EXPECT_EQ(0, info_of(_metadata, self->db).nr_regions);
		GOES_NOWHERE(ADDR, 1);
	}
	EXPECT_EQ(ARRAY_SIZE(orders), line_of(_metadata, self->db, 1).rings);
}

/*
 * A region that is deassigned makes room for one that is assigned, at any place in the
 * batch.
 */
TEST_F(regions, replace)
{
	const struct doorbell_region was = to_eventfd(ADDR, 4, self->efd[0]);
	const struct doorbell_region is = to_eventfd(ADDR, 4, self->efd[1]);
	const struct doorbell_region here[] = { without(was), is };
	const struct doorbell_region back[] = { was, without(is) };
	/* The caller has no fd. */
	struct doorbell_region anyway[] = { without(was), is };
	const struct doorbell_region itself[] = { is, without(is) };
	int i;

	ASSERT_EQ(0, change_region(self->db, was));
	for (i = 0; i < 3; i++) {
		GOES_TO(0x01, ADDR, 7);
		ALL(here);
		GOES_TO(0x10, ADDR, 7);
		/* The count of writes begins anew. */
		EXPECT_EQ(1, writes_to(self->db, 0));
		BLAMES(ENOENT, 0, here);
		ALL(back);
	}
	BLAMES(ENOENT, 1, back);
	anyway[0].fd = -1;
	ALL(anyway);
	GOES_TO(0x10, ADDR, 7);
	ALL(itself);
	EXPECT_EQ(0, writes_to(self->db, 0));
	GOES_TO(0x10, ADDR, 7);
	EXPECT_EQ(1, info_of(_metadata, self->db).nr_regions);
}

/* Regions replace others of other shapes, between regions that stay. */
TEST_F(regions, reshape)
{
	const struct doorbell_region was[] = {
		to_eventfd(ADDR, 8, self->efd[0]),
		matching(to_eventfd(ADDR, 8, self->efd[1]), 1),
		to_eventfd(ADDR + 8, 0, self->efd[2]),
	};
	const struct doorbell_region stay[] = {
		to_eventfd(ADDR - 4, 4, self->efd[3]),
		to_eventfd(ADDR + 9, 4, self->efd[4]),
	};
	const struct doorbell_region is[] = {
		to_eventfd(ADDR, 4, self->efd[5]),
		matching(to_eventfd(ADDR + 5, 4, self->efd[6]), 1),
		in_space(to_eventfd(ADDR, 8, self->efd[7]), PIO),
	};
	const struct doorbell_region too_long = to_eventfd(ADDR + 6, 4, self->efd[6]);
	struct doorbell_region batch[6];
	unsigned int i, rotate;

	for (i = 0; i < 6; i++)
		batch[i] = i < 3 ? was[i] : i < 5 ? stay[i - 3] : in_space(to_line(0, 1, 0), PIO);
	ALL(batch);
	for (rotate = 0; rotate < 6; rotate++) {
		for (i = 0; i < 6; i++)
			batch[(i + rotate) % 6] = i < 3 ? without(was[i]) : is[i - 3];
		/* One byte more overlaps a region that stays. */
		batch[(4 + rotate) % 6] = too_long;
		BLAMES(EBUSY, (4 + rotate) % 6, batch);
		batch[(4 + rotate) % 6] = is[1];
		ALL(batch);
		GOES_TO(0x0100000, ADDR, 1);
		GOES_TO(0x1000000, ADDR + 5, 1);
		GOES_TO(0x0001000, ADDR - 4, 1);
		GOES_TO(0x0010000, ADDR + 9, 1);
		GOES_NOWHERE(ADDR + 8, 1);
		EXPECT_EQ(0, pio_write(self->db, ADDR, 8, 1));
		EXPECT_EQ(0x10000000, signals(self->efd, NE));
		for (i = 0; i < 6; i++)
			batch[(i + rotate) % 6] = i < 3 ? was[i] : without(is[i - 3]);
		ALL(batch);
		EXPECT_EQ(0, mmio_write(self->db, ADDR, 8, 1));
		EXPECT_EQ(0x011, signals(self->efd, NE));
		GOES_TO(0x100, ADDR + 8, 1);
		GOES_NOWHERE(ADDR, 1);
	}
	EXPECT_EQ(6, info_of(_metadata, self->db).nr_regions);
}

/* A device's registers move by a little: the new place overlaps the old one. */
TEST_F(regions, move)
{
	enum { NR = 300 };
	struct doorbell_region batch[2 * NR];
	uint64_t at = 0x100000;
	unsigned int i, step;

	for (i = 0; i < NR; i++)
		batch[i] = to_eventfd(at + 4 * i, 4, self->efd[i % NE]);
	ASSERT_EQ(0, doorbell_change_regions(self->db, batch, NR, NULL));
	for (step = 1; step <= 17; step++) {
		const uint64_t to = step % 2 ? at + step : at - 3 * step;

		for (i = 0; i < NR; i++) {
			batch[2 * i] = to_eventfd(to + 4 * i, 4, self->efd[i % NE]);
			batch[2 * i + 1] = without(to_eventfd(at + 4 * i, 4, -1));
		}
		ALL(batch);
		at = to;
		for (i = 0; i < NR; i += 37) {
			GOES_TO(1ULL << 4 * (i % NE), at + 4 * i, 7);
			GOES_NOWHERE(at + 4 * i + 1, 7);
		}
		GOES_NOWHERE(at - 4, 7);
		GOES_NOWHERE(at + 4 * NR, 7);
	}
	EXPECT_EQ(NR, info_of(_metadata, self->db).nr_regions);
}

/* All or none: the index of the failing region is reported, and no other was changed. */
TEST_F(regions, conflicts_inside)
{
	const struct doorbell_region there = to_eventfd(0x5000, 4, self->efd[7]);
	const struct doorbell_region twice[] = {
		to_eventfd(ADDR, 4, self->efd[0]), to_eventfd(ADDR + 8, 4, self->efd[1]),
		to_line(ADDR, 4, 0), to_eventfd(ADDR + 16, 4, self->efd[2]),
	};
	const struct doorbell_region values[] = {
		matching(to_eventfd(ADDR, 4, self->efd[0]), 1), to_eventfd(ADDR, 4, self->efd[0]),
		matching(to_eventfd(ADDR, 4, self->efd[0]), 2),
		matching(to_eventfd(ADDR, 4, self->efd[1]), 1),
	};
	const struct doorbell_region gone_twice[] = {
		without(there), to_eventfd(ADDR, 4, self->efd[0]),
		without(to_eventfd(0x5000, 4, -1)),
	};
	const struct doorbell_region come_twice[] = {
		to_eventfd(0x5000, 4, self->efd[0]), without(there),
		to_eventfd(0x5000, 4, self->efd[1]),
	};
	/* A region that is assigned in a call cannot be deassigned in the same call. */
	const struct doorbell_region through[] = {
		to_eventfd(ADDR, 4, self->efd[0]), without(to_eventfd(ADDR, 4, self->efd[0])),
	};

	ASSERT_EQ(0, change_region(self->db, there));
	BLAMES(EEXIST, 2, twice);
	BLAMES(EEXIST, 3, values);
	BLAMES(ENOENT, 2, gone_twice);
	BLAMES(EEXIST, 2, come_twice);
	BLAMES(ENOENT, 1, through);
	GOES_TO(0x10000000, 0x5000, 7);
	GOES_NOWHERE(ADDR, 1);
}

/* The index of one of two that overlap is reported; without it all are assigned. */
TEST_F(regions, overlaps_inside)
{
	static const struct { uint64_t addr; uint32_t length; } pairs[][2] = {
		{ { 0, 4 }, { 3, 1 } }, { { 0, 8 }, { 7, 0 } }, { { 2, 2 }, { 0, 4 } },
		{ { 0, 4 }, { 0, 2 } }, { { 0, 0 }, { 0, 1 } }, { { 1, 8 }, { 8, 8 } },
		{ { 4, 1 }, { 0, 8 } }, { { 8, 4 }, { 6, 4 } },
	};
	unsigned int i, swap;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		for (swap = 0; swap < 2; swap++) {
			struct doorbell_region batch[] = {
				to_eventfd(0x9000, 4, self->efd[0]),
				to_eventfd(ADDR + pairs[i][swap].addr, pairs[i][swap].length,
					   self->efd[1]),
				in_space(to_eventfd(ADDR, 8, self->efd[2]), PIO),
				to_eventfd(ADDR + pairs[i][!swap].addr, pairs[i][!swap].length,
					   self->efd[3]),
				to_eventfd(0x100, 4, self->efd[4]),
			};
			struct doorbell_region culprit;
			uint32_t failed = 0;

			EXPECT_EQ(-EBUSY, doorbell_change_regions(self->db, batch, 5, &failed));
			EXPECT_EQ(0, info_of(_metadata, self->db).nr_regions);
			ASSERT_TRUE(failed == 1 || failed == 3) {
				TH_LOG("pair %u: %u", i, failed);
			}
			culprit = batch[failed];
			batch[failed].addr = 0x7000;
			ALL(batch);
			EXPECT_EQ(-EBUSY, change_region(self->db, culprit));
			for (failed = 0; failed < 5; failed++)
				batch[failed] = without(batch[failed]);
			ALL(batch);
		}
	}
}

/* A batch that failed keeps no eventfd of another context: that context can be closed. */
TEST_F(regions, failure_keeps_nothing)
{
	struct doorbell_region batch[] = {
		to_eventfd(ADDR, 4, self->efd[0]), to_eventfd(ADDR + 4, 4, self->efd[1]),
		to_eventfd(ADDR + 8, 3, self->efd[2]),
	};
	long before = refcnt();
	int db = new_context(_metadata, 1), i;

	for (i = 0; i < 100; i++)
		ASSERT_EQ(-EINVAL, doorbell_change_regions(db, batch, 3, NULL));
	batch[2].length = 2;
	ASSERT_EQ(0, doorbell_change_regions(db, batch, 3, NULL));
	close(db);
	if (before >= 0)
		ASSERT_TRUE(WAIT_FOR(refcnt() == before));
	/* The eventfds are as before. */
	ALL(batch);
	GOES_TO(0x01, ADDR, 0);
}

TEST_HARNESS_MAIN
