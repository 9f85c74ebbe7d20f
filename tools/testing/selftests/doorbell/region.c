// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions: which writes match, and their effects. Many writes in one call are in bus.c,
 * records in records.c. Runs as a 32-bit program, too.
 */
#include "bus.h"

#define NE	8

#define ADDR	0x1000ULL

static const uint32_t lengths[] = { 1, 2, 4, 8 };

FIXTURE(region) {
	int kmsg;
	int db;
	int efd[NE];
};

FIXTURE_VARIANT(region) {
	enum way way;
};

FIXTURE_VARIANT_ADD(region, mmio) { .way = BY_IOCTL };
FIXTURE_VARIANT_ADD(region, pio) { .way = BY_IOCTL_PIO };
FIXTURE_VARIANT_ADD(region, pwrite) { .way = BY_PWRITE };
FIXTURE_VARIANT_ADD(region, pwritev) { .way = BY_PWRITEV };

FIXTURE_SETUP(region)
{
	int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 4);
	for (i = 0; i < NE; i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(region)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* In the space that the variant writes to. */
#define ASSIGN(region)							\
	ASSERT_EQ(0, change_region(self->db, in_space(region, space_of(variant->way))))

#define REMOVE(region)							\
	ASSERT_EQ(0, change_region(self->db, without(in_space(region, space_of(variant->way)))))

#define WRITE(addr, length, value)					\
	bus_write(self->db, variant->way, addr, length, value)

/* Expects that a write signals these eventfds, each once, or none. See signals(). */
#define GOES_TO(expected, addr, length, value) do {			\
	EXPECT_EQ(0, WRITE(addr, length, value));			\
	EXPECT_EQ(expected, signals(self->efd, NE));			\
} while (0)

#define GOES_NOWHERE(addr, length, value) do {				\
	EXPECT_EQ(-EOPNOTSUPP, WRITE(addr, length, value));		\
	EXPECT_EQ(0, signals(self->efd, NE));				\
} while (0)

/* A region with a length matches writes of that length only; one without, all. */
TEST_F(region, lengths)
{
	static const uint32_t of[] = { 1, 2, 4, 8, 0 };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(of); i++)
		ASSIGN(to_eventfd(ADDR + 0x10 * i, of[i], self->efd[i]));
	for (i = 0; i < ARRAY_SIZE(of); i++) {
		for (j = 0; j < ARRAY_SIZE(lengths); j++) {
			const uint64_t at = ADDR + 0x10 * i;

			if (!of[i] || of[i] == lengths[j]) {
				GOES_TO(1 << 4 * i, at, lengths[j], 0);
				GOES_TO(1 << 4 * i, at, lengths[j], 0x5a);
				GOES_TO(1 << 4 * i, at, lengths[j], ones(lengths[j]));
			} else {
				GOES_NOWHERE(at, lengths[j], 0);
				GOES_NOWHERE(at, lengths[j], ones(lengths[j]));
			}
		}
	}
}

/* All bits of a value count, for every length. */
TEST_F(region, datamatch)
{
	unsigned int i, bit;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		const uint32_t len = lengths[i];
		const uint64_t sign = 1ULL << (8 * len - 1), at = ADDR + 0x10 * i;

		ASSIGN(matching(to_eventfd(at, len, self->efd[0]), 0));
		ASSIGN(matching(to_eventfd(at, len, self->efd[1]), 1));
		ASSIGN(matching(to_eventfd(at, len, self->efd[2]), sign));
		ASSIGN(matching(to_eventfd(at, len, self->efd[3]), ones(len)));
		/* Several regions may have the same eventfd. */
		ASSIGN(matching(to_eventfd(at, len, self->efd[3]), 0x5a));
		GOES_TO(0x0001, at, len, 0);
		GOES_TO(0x0010, at, len, 1);
		GOES_TO(0x0100, at, len, sign);
		GOES_TO(0x1000, at, len, ones(len));
		GOES_TO(0x1000, at, len, 0x5a);
		for (bit = 1; bit < 8 * len - 1; bit++) {
			GOES_NOWHERE(at, len, 1ULL << bit);
			GOES_NOWHERE(at, len, ones(len) ^ 1ULL << bit);
		}
		GOES_NOWHERE(at, len, sign | 1);
		GOES_NOWHERE(at, len, sign - 1);
	}
	/* The value is right, the length is not. */
	GOES_NOWHERE(ADDR, 2, 1);
	GOES_NOWHERE(ADDR + 0x30, 4, 1);
}

/* Regions with a datamatch and the one without, at one address. */
TEST_F(region, both)
{
	const struct doorbell_region any = to_eventfd(ADDR, 4, self->efd[0]);
	const struct doorbell_region seven = matching(to_eventfd(ADDR, 4, self->efd[1]), 7);
	const struct doorbell_region zero = matching(to_eventfd(ADDR, 4, self->efd[2]), 0);

	ASSIGN(seven);
	GOES_NOWHERE(ADDR, 4, 8);
	ASSIGN(any);
	ASSIGN(zero);
	GOES_TO(0x011, ADDR, 4, 7);
	GOES_TO(0x101, ADDR, 4, 0);
	GOES_TO(0x001, ADDR, 4, 8);
	/* The one without goes and the others stay, and the other way round. */
	REMOVE(any);
	GOES_TO(0x010, ADDR, 4, 7);
	GOES_TO(0x100, ADDR, 4, 0);
	GOES_NOWHERE(ADDR, 4, 8);
	ASSIGN(any);
	REMOVE(seven);
	GOES_TO(0x001, ADDR, 4, 7);
	GOES_TO(0x101, ADDR, 4, 0);
	REMOVE(zero);
	GOES_TO(0x001, ADDR, 4, 0);
	/* An eventfd of both is signalled twice. */
	ASSIGN(matching(to_eventfd(ADDR, 4, self->efd[0]), 9));
	GOES_TO(0x002, ADDR, 4, 9);
	GOES_TO(0x001, ADDR, 4, 8);
}

/* A write that covers a region, or a part of it, or begins elsewhere, does not match. */
TEST_F(region, begins_elsewhere)
{
	uint64_t at;
	unsigned int i;

	ASSIGN(to_eventfd(ADDR, 4, self->efd[0]));
	ASSIGN(to_eventfd(ADDR + 0x40, 0, self->efd[1]));
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (at = ADDR - 9; at <= ADDR + 9; at++) {
			if (at == ADDR && lengths[i] == 4)
				GOES_TO(1, at, 4, 0);
			else
				GOES_NOWHERE(at, lengths[i], 0);
		}
		for (at = ADDR + 0x40 - 9; at <= ADDR + 0x40 + 9; at++) {
			if (at == ADDR + 0x40)
				GOES_TO(0x10, at, lengths[i], 0);
			else
				GOES_NOWHERE(at, lengths[i], 0);
		}
	}
	/* Nor does one whose address differs in a high bit. */
	for (i = 13; i < 63; i++)
		GOES_NOWHERE(ADDR | 1ULL << i, 4, 0);
}

/* Regions may begin at any address and be adjacent. */
TEST_F(region, unaligned)
{
	static const struct { uint64_t addr; uint32_t length; } at[] = {
		{ 0x0, 1 }, { 0x1, 8 }, { 0x9, 2 }, { 0xb, 1 }, { 0xc, 4 }, { 0x10, 0 },
		{ 0x11, 4 }, { 0xffd, 8 },
	};
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(at); i++)
		ASSIGN(to_eventfd(at[i].addr, at[i].length, self->efd[i]));
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		for (j = 0; j < ARRAY_SIZE(lengths); j++) {
			if (!at[i].length || at[i].length == lengths[j])
				GOES_TO(1ULL << 4 * i, at[i].addr, lengths[j], 0xa5);
			else
				GOES_NOWHERE(at[i].addr, lengths[j], 0xa5);
		}
	}
}

/* A region may end with the space; pwrite(2) reaches just below its middle. */
TEST_F(region, last_bytes)
{
	const bool half = variant->way == BY_PWRITE || variant->way == BY_PWRITEV;
	const uint64_t end = half ? INT64_MAX : 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		const uint32_t len = lengths[i];
		const uint64_t at = end - len;
		const struct doorbell_region clash =
			in_space(to_eventfd(end - 1, 0, self->efd[1]), space_of(variant->way));

		ASSIGN(to_eventfd(at, len, self->efd[0]));
		ASSIGN(to_eventfd(0, len, self->efd[1]));
		GOES_TO(0x01, at, len, ones(len));
		GOES_TO(0x10, 0, len, ones(len));
		REMOVE(to_eventfd(0, len, self->efd[1]));
		GOES_TO(0x01, at, len, ones(len));
		GOES_NOWHERE(0, len, 0);
		/* A region at its last byte overlaps it. */
		if (len > 1)
			EXPECT_EQ(-EBUSY, change_region(self->db, clash));
		REMOVE(to_eventfd(at, len, self->efd[0]));
		GOES_NOWHERE(at, len, 0);
	}
	ASSIGN(to_eventfd(end - 1, 0, self->efd[0]));
	GOES_TO(1, end - 1, 1, 0xff);
	if (half)
		return;
	/* The middle, where the sign bit of an offset is. */
	ASSIGN(to_eventfd((1ULL << 63) - 4, 8, self->efd[1]));
	GOES_TO(0x010, (1ULL << 63) - 4, 8, 1);
	ASSIGN(to_eventfd((1ULL << 63) + 4, 4, self->efd[2]));
	GOES_TO(0x100, (1ULL << 63) + 4, 4, 1);
	GOES_TO(0x010, (1ULL << 63) - 4, 8, 1);
}

/* The same address in two spaces is two. */
TEST_F(region, spaces)
{
	const uint32_t mine = space_of(variant->way), other = mine == MMIO ? PIO : MMIO;
	const struct doorbell_region region = to_eventfd(ADDR, 4, self->efd[0]);

	ASSERT_EQ(0, change_region(self->db, in_space(region, other)));
	GOES_NOWHERE(ADDR, 4, 7);
	/* In the other space nothing overlaps. */
	ASSIGN(to_eventfd(ADDR + 1, 8, self->efd[1]));
	REMOVE(to_eventfd(ADDR + 1, 8, self->efd[1]));
	ASSIGN(to_eventfd(ADDR, 4, self->efd[1]));
	GOES_TO(0x10, ADDR, 4, 7);
	ASSERT_EQ(0, change_region(self->db, without(in_space(region, other))));
	GOES_TO(0x10, ADDR, 4, 7);
	ASSERT_EQ(0, change_region(self->db, in_space(region, other)));
	REMOVE(to_eventfd(ADDR, 4, self->efd[1]));
	GOES_NOWHERE(ADDR, 4, 7);
	EXPECT_EQ(1, info_of(_metadata, self->db).nr_regions);
}

/* A write rings the line: each write delivers, on no other line. */
TEST_F(region, edge_line)
{
	int i;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[0], 1));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[1], 1));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[2], 2));
	ASSIGN(to_line(ADDR, 2, 1));
	ASSIGN(matching(to_eventfd(ADDR, 2, self->efd[3]), 5));
	ASSIGN(matching(to_line(ADDR, 2, 2), 6));
	for (i = 1; i <= 3; i++) {
		GOES_TO(0x0011, ADDR, 2, 4);
		GOES_TO(0x1011, ADDR, 2, 5);
		GOES_TO(0x0111, ADDR, 2, 6);
		EXPECT_EQ(3 * i, line_of(_metadata, self->db, 1).rings);
		EXPECT_EQ(3 * i, line_of(_metadata, self->db, 1).deliveries);
		EXPECT_EQ(i, line_of(_metadata, self->db, 2).deliveries);
	}
	/* The region counts neither as an irqfd nor as a trigger. */
	EXPECT_EQ(0, info_of(_metadata, self->db).nr_irqfds);
	EXPECT_EQ(3, info_of(_metadata, self->db).nr_triggers);
	REMOVE(to_line(ADDR, 2, 1));
	GOES_NOWHERE(ADDR, 2, 4);
	EXPECT_EQ(9, line_of(_metadata, self->db, 1).rings);
}

TEST_F(region, masked_line)
{
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[0], 1));
	ASSIGN(to_line(ADDR, 2, 1));
	ASSERT_EQ(1, doorbell_mask(self->db, 1));
	GOES_TO(0, ADDR, 2, 4);
	GOES_TO(0, ADDR, 2, 4);
	EXPECT_EQ(1, doorbell_pending(self->db, 1));
	EXPECT_EQ(2, line_of(_metadata, self->db, 1).rings);
	/* The region is gone; its message stays. */
	REMOVE(to_line(ADDR, 2, 1));
	GOES_NOWHERE(ADDR, 2, 4);
	EXPECT_EQ(1, doorbell_unmask(self->db, 1));
	EXPECT_EQ(1, signals(self->efd, NE));
	EXPECT_EQ(1, line_of(_metadata, self->db, 1).deliveries);
}

TEST_F(region, level_line)
{
	ASSERT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[0], 1));
	/* Two registers of a device that has one line. */
	ASSIGN(to_line(ADDR, 4, 1));
	ASSIGN(to_line(ADDR + 4, 4, 1));
	GOES_TO(1, ADDR, 4, 0);
	GOES_TO(0, ADDR, 4, 0);
	GOES_TO(0, ADDR + 4, 4, 0);
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, 1));
	EXPECT_EQ(0, signals(self->efd, NE));
	GOES_TO(1, ADDR + 4, 4, 0);
	EXPECT_EQ(DOORBELL_LINE_LEVEL | DOORBELL_LINE_ASSERTED,
		  line_of(_metadata, self->db, 1).state);
	EXPECT_EQ(4, line_of(_metadata, self->db, 1).rings);
	EXPECT_EQ(2, line_of(_metadata, self->db, 1).deliveries);
}

/* The eventfd may have any other use: here, an irqfd of the same context. */
TEST_F(region, to_an_irqfd)
{
	int in = new_eventfd(_metadata, 0, 0), i;

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 3));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[0], 3));
	ASSIGN(to_eventfd(ADDR, 1, in));
	for (i = 1; i <= 5; i++) {
		EXPECT_EQ(0, WRITE(ADDR, 1, i));
		ASSERT_EQ(1, efd_wait(self->efd[0]));
		EXPECT_EQ(i, settled(_metadata, self->db, 3).rings);
	}
	EXPECT_EQ(0, efd_count(in));
}

/* The fd is closed, the eventfd is still signalled; and it can be deassigned without an fd. */
TEST_F(region, outlives_its_fd)
{
	int copy = dup(self->efd[0]);

	ASSIGN(to_eventfd(ADDR, 4, copy));
	ASSIGN(matching(to_eventfd(ADDR, 4, copy), 3));
	close(copy);
	GOES_TO(1, ADDR, 4, 7);
	GOES_TO(2, ADDR, 4, 3);
	REMOVE(to_eventfd(ADDR, 4, -1));
	GOES_NOWHERE(ADDR, 4, 7);
	GOES_TO(1, ADDR, 4, 3);
	REMOVE(matching(to_eventfd(ADDR, 4, -1), 3));
	GOES_NOWHERE(ADDR, 4, 3);
}

/* Regions and counts of other contexts do not change. */
TEST_F(region, contexts_are_private)
{
	int other = new_context(_metadata, 4);

	ASSIGN(to_eventfd(ADDR, 4, self->efd[0]));
	EXPECT_EQ(-EOPNOTSUPP, bus_write(other, variant->way, ADDR, 4, 0));
	EXPECT_EQ(0, info_of(_metadata, other).nr_regions);
	ASSERT_EQ(0, change_region(other, in_space(to_eventfd(ADDR + 2, 4, self->efd[0]),
						   space_of(variant->way))));
	GOES_TO(1, ADDR, 4, 0);
	EXPECT_EQ(0, bus_write(other, variant->way, ADDR + 2, 4, 0));
	EXPECT_EQ(1, signals(self->efd, NE));
	EXPECT_EQ(1, writes_to(self->db, 0));
	EXPECT_EQ(1, writes_to(other, 0));
	close(other);
	GOES_TO(1, ADDR, 4, 0);
}

/*
 * Ten thousand regions, some with datamatches, in one call: each write finds its region
 * only.
 */
TEST_F(region, many)
{
	enum { NR = 10000 };
	static struct doorbell_region regions[NR];
	static struct doorbell_region_info infos[NR + 1];
	const uint32_t space = space_of(variant->way);
	unsigned int i;

	for (i = 0; i < NR; i++) {
		/* One without and seven with a datamatch at the same address. */
		const uint64_t at = (uint64_t)(i / 8) << 32 | i / 8 % 64;

		regions[i] = in_space(to_eventfd(at, 4, self->efd[i % NE]), space);
		if (i % 8)
			regions[i] = matching(regions[i], i * 0x10001ULL & UINT32_MAX);
	}
	ASSERT_EQ(0, doorbell_change_regions(self->db, regions, NR, NULL));
	EXPECT_EQ(NR, info_of(_metadata, self->db).nr_regions);
	EXPECT_EQ(NR, bus_of(_metadata, self->db).nr_regions);
	for (i = 0; i < NR; i++) {
		const struct doorbell_region *region = &regions[i];
		const uint64_t expected = i % 8 ? 1 | 1ULL << 4 * (i % 8) : 1;

		GOES_TO(expected, region->addr, 4, i % 8 ? region->datamatch : 0xffffffffULL);
	}
	GOES_NOWHERE(8, 4, 0);
	GOES_NOWHERE(regions[NR - 1].addr + 1, 4, 0);
	GOES_NOWHERE(regions[NR - 1].addr, 8, 0);
	ASSERT_EQ(NR, doorbell_get_regions(self->db, infos, 0, NR + 1));
	EXPECT_EQ(8, infos[0].writes);
	for (i = 0; i < NR; i++)
		regions[i] = without(regions[i]);
	ASSERT_EQ(0, doorbell_change_regions(self->db, regions, NR, NULL));
	EXPECT_EQ(0, info_of(_metadata, self->db).nr_regions);
	for (i = 0; i < NR; i += 8)
		GOES_NOWHERE(regions[i].addr, 4, 1);
}

TEST_HARNESS_MAIN
