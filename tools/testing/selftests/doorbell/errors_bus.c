// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every error row of the UAPI header for regions; those for writes, records and mappings
 * are in errors_write.c. A refused call must change nothing; see bus_fixture.h. Runs as a
 * 32-bit program, too.
 */
#include <stdlib.h>
#include <sys/epoll.h>

#include "bus_fixture.h"

FIXTURE(errors_bus) {
	struct bus_fixture w;
};

FIXTURE_SETUP(errors_bus)
{
	bus_fixture_init(_metadata, &self->w);
}

FIXTURE_TEARDOWN(errors_bus)
{
}

/*
 * EBADF and EINVAL: fds that are not open, and files that are no eventfds, to assign and to
 * deassign.
 */
TEST_F(errors_bus, bad_fd)
{
	struct bus_fixture *w = &self->w;
	int pipes[2], epoll, closed, bad[5], nr = 0, i;

	ASSERT_EQ(0, pipe(pipes));
	epoll = epoll_create1(0);
	ASSERT_LE(0, epoll);
	closed = dup(epoll);
	close(closed);
	bad[nr++] = pipes[0];
	bad[nr++] = pipes[1];
	bad[nr++] = epoll;
	bad[nr++] = w->db;
	for (i = 0; i < nr; i++) {
		REGION_REFUSED(EINVAL, to_eventfd(0x2000, 4, bad[i]));
		REGION_REFUSED(EINVAL, without(CHANGED(w->regions[ANY], fd, bad[i])));
	}
	nr = 0;
	bad[nr++] = closed;
	bad[nr++] = -2;
	bad[nr++] = INT32_MAX;
	bad[nr++] = INT32_MIN;
	for (i = 0; i < nr; i++) {
		REGION_REFUSED(EBADF, to_eventfd(0x2000, 4, bad[i]));
		REGION_REFUSED(EBADF, without(CHANGED(w->regions[ANY], fd, bad[i])));
	}
	/* An fd of -1 is for deassigning only. */
	REGION_REFUSED(EBADF, to_eventfd(0x2000, 4, -1));
}

/* EINVAL: unknown spaces, lengths and flags; reserved fields that are not zero. */
TEST_F(errors_bus, unknown_values)
{
	static const uint32_t lengths[] = { 3, 5, 6, 7, 9, 16, 32, 257, 0x80000004, UINT32_MAX };
	struct bus_fixture *w = &self->w;
	const struct doorbell_region good = to_eventfd(0x2000, 4, w->spare);
	const struct doorbell_region gone = without(w->regions[ANY]);
	unsigned int i, bit;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		REGION_REFUSED(EINVAL, CHANGED(good, length, lengths[i]));
		REGION_REFUSED(EINVAL, CHANGED(gone, length, lengths[i]));
	}
	for (bit = 0; bit < 32; bit++) {
		const uint32_t known = DEASSIGN | DATAMATCH | LINE | RECORD |
				       DOORBELL_REGION_FLAG_LAST;

		for (i = 0; i < ARRAY_SIZE(good.reserved); i++) {
			REGION_REFUSED(EINVAL, CHANGED(good, reserved[i], 1U << bit));
			REGION_REFUSED(EINVAL, CHANGED(gone, reserved[i], 1U << bit));
		}
		if (!(1U << bit & known)) {
			REGION_REFUSED(EINVAL, CHANGED(good, flags, 1U << bit));
			REGION_REFUSED(EINVAL, CHANGED(gone, flags, 1U << bit | DEASSIGN));
		}
		if (bit) {
			REGION_REFUSED(EINVAL, CHANGED(good, space, 1U << bit));
			REGION_REFUSED(EINVAL, CHANGED(good, space, 1U << bit | PIO));
			REGION_REFUSED(EINVAL, CHANGED(gone, space, 1U << bit));
		}
	}
}

/* EINVAL: fields that exclude each other. */
TEST_F(errors_bus, contradictions)
{
	struct bus_fixture *w = &self->w;
	const struct doorbell_region good = to_eventfd(0x2000, 4, w->spare);
	const struct doorbell_region line = to_line(0x2000, 4, 0);

	/* An eventfd and a line. */
	REGION_REFUSED(EINVAL, CHANGED(good, line, 1));
	REGION_REFUSED(EINVAL, CHANGED(good, line, LINES));
	REGION_REFUSED(EINVAL, CHANGED(line, fd, w->spare));
	REGION_REFUSED(EINVAL, CHANGED(line, fd, -1));
	REGION_REFUSED(EINVAL, CHANGED(without(w->regions[ANY]), line, 1));
	REGION_REFUSED(EINVAL, CHANGED(without(w->regions[HELD]), fd, w->spare));
	REGION_REFUSED(EINVAL, CHANGED(without(w->regions[HELD]), fd, -1));
	/* A datamatch without the flag. */
	REGION_REFUSED(EINVAL, CHANGED(good, datamatch, 1));
	REGION_REFUSED(EINVAL, CHANGED(line, datamatch, 1ULL << 63));
	REGION_REFUSED(EINVAL, CHANGED(without(w->regions[ANY]), datamatch, 7));
	/* To deassign, the flags are those of the assignment and no others. */
	REGION_REFUSED(EINVAL, recorded(without(w->regions[RECORDED])));
	REGION_REFUSED(EINVAL, recorded(without(w->regions[ANY])));
}

/* EINVAL: values that no write of that length can have. */
TEST_F(errors_bus, datamatch_beyond_length)
{
	static const uint32_t lengths[] = { 1, 2, 4 };
	struct bus_fixture *w = &self->w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		const struct doorbell_region good = to_eventfd(0x2000, lengths[i], w->spare);

		REGION_REFUSED(EINVAL, matching(good, ones(lengths[i]) + 1));
		REGION_REFUSED(EINVAL, matching(good, 1ULL << 63));
		REGION_REFUSED(EINVAL, matching(good, UINT64_MAX));
		REGION_REFUSED(EINVAL, without(matching(good, ones(lengths[i]) + 1)));
		/* All other values are valid. */
		ASSERT_EQ(0, change_region(w->db, matching(good, ones(lengths[i]))));
		ASSERT_EQ(0, change_region(w->db, without(matching(good, ones(lengths[i])))));
	}
	/* Without a length there is no datamatch. */
	REGION_REFUSED(EINVAL, matching(to_eventfd(0x2000, 0, w->spare), 0));
	REGION_REFUSED(EINVAL, matching(to_eventfd(0x2000, 0, w->spare), 1));
	REGION_REFUSED(EINVAL, matching(to_line(0x2000, 0, 0), 0));
	REGION_REFUSED(EINVAL, without(matching(to_eventfd(0x2000, 0, w->spare), 0)));
}

/* EINVAL: no region reaches beyond the end of the space. */
TEST_F(errors_bus, wraps)
{
	static const uint32_t lengths[] = { 2, 4, 8 };
	struct bus_fixture *w = &self->w;
	uint64_t addr;
	unsigned int i, space;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (addr = -(uint64_t)lengths[i] + 1; addr; addr++) {
			for (space = MMIO; space <= PIO; space++) {
				const struct doorbell_region bad =
					in_space(to_eventfd(addr, lengths[i], w->spare), space);

				REGION_REFUSED(EINVAL, bad);
				REGION_REFUSED(EINVAL, matching(bad, 0));
				REGION_REFUSED(EINVAL, without(bad));
			}
		}
	}
}

/* ENXIO: one line too far, and numbers that truncation would make small. */
TEST_F(errors_bus, no_such_line)
{
	static const uint32_t lines[] = {
		LINES, DOORBELL_MAX_LINES, DOORBELL_MAX_LINES + 1, 1U << 31, UINT32_MAX,
	};
	struct bus_fixture *w = &self->w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		REGION_REFUSED(ENXIO, to_line(0x2000, 4, lines[i]));
		REGION_REFUSED(ENXIO, recorded(to_line(0x2000, 4, lines[i])));
		REGION_REFUSED(ENXIO, CHANGED(without(w->regions[HELD]), line, lines[i]));
	}
}

/* ENXIO: no lines yet; no records yet. */
TEST_F(errors_bus, not_chosen_yet)
{
	int fresh = new_context(_metadata, 0), lines = new_context(_metadata, 1);
	struct doorbell_bus_access access = { .addr = 0x2000, .length = 4 };
	struct bus_fixture *w = &self->w;
	struct doorbell_region region = to_eventfd(0x2000, 4, w->spare);
	struct doorbell_region_info info;
	uint32_t failed;

	REFUSED(ENXIO, change_region(fresh, region));
	REFUSED(ENXIO, change_region(fresh, to_line(0x2000, 4, 0)));
	REFUSED(ENXIO, change_region(fresh, without(region)));
	REFUSED(ENXIO, doorbell_change_regions(fresh, &region, 1, NULL));
	REFUSED(ENXIO, doorbell_get_regions(fresh, &info, 0, 1));
	REFUSED(ENXIO, doorbell_bus_writes(fresh, &access, 1));
	REFUSED(ENXIO, bus_write(fresh, BY_PWRITE, 0x2000, 4, 0));
	REFUSED(ENXIO, doorbell_set_records(fresh, 4));

	REFUSED(ENXIO, change_region(lines, recorded(region)));
	REFUSED(ENXIO, change_region(lines, recorded(to_line(0x2000, 4, 0))));
	region = recorded(region);
	REFUSED(ENXIO, doorbell_change_regions(lines, &region, 1, &failed));
	EXPECT_EQ(0, failed);
	EXPECT_EQ(0, info_of(_metadata, lines).nr_regions);
	/* Only the records were missing. */
	ASSERT_EQ(0, doorbell_set_records(lines, 4));
	ASSERT_EQ(0, change_region(lines, region));
	EXPECT_EQ(0, mmio_write(lines, 0x2000, 4, 0));
	EXPECT_EQ(1, efd_read(w->spare));
}

/* EEXIST: the region exists, with any target. */
TEST_F(errors_bus, exists)
{
	struct bus_fixture *w = &self->w;
	int i;

	for (i = 0; i < NR; i++) {
		const struct doorbell_region line = to_line(w->regions[i].addr,
							    w->regions[i].length, 0);
		struct doorbell_region other = in_space(line, w->regions[i].space);

		if (w->regions[i].flags & DATAMATCH)
			other = matching(other, w->regions[i].datamatch);
		REGION_REFUSED(EEXIST, w->regions[i]);
		REGION_REFUSED(EEXIST, other);
		REGION_REFUSED(EEXIST, recorded(other));
		other.flags &= ~LINE;
		other.fd = w->spare;
		REGION_REFUSED(EEXIST, other);
		REGION_REFUSED(EEXIST, recorded(other));
	}
}

/* EBUSY: regions of another shape, from the left, from the right, around and within. */
TEST_F(errors_bus, overlaps)
{
	static const uint32_t lengths[] = { 0, 1, 2, 4, 8 };
	struct bus_fixture *w = &self->w;
	unsigned int i, j;
	uint64_t addr;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		const uint32_t size = lengths[i] ?: 1;
		const struct doorbell_region there = to_eventfd(0x3000, lengths[i], w->spare);

		ASSERT_EQ(0, change_region(w->db, there));
		for (j = 0; j < ARRAY_SIZE(lengths); j++) {
			const uint32_t len = lengths[j] ?: 1;

			for (addr = 0x3000 - 10; addr <= 0x3000 + 10; addr++) {
				const struct doorbell_region more =
					to_eventfd(addr, lengths[j], w->spare);
				const bool apart = addr + len <= 0x3000 || addr >= 0x3000 + size;
				int expected = apart ? 0 : -EBUSY;

				if (addr == 0x3000 && lengths[i] == lengths[j])
					expected = -EEXIST;
				ASSERT_EQ(expected, change_region(w->db, more)) {
					TH_LOG("%u at %d of %u", lengths[j], (int)(addr - 0x3000),
					       lengths[i]);
				}
				if (apart)
					ASSERT_EQ(0, change_region(w->db, without(more)));
				if (!lengths[j])
					continue;
				if (expected == -EEXIST)
					expected = 0;
				ASSERT_EQ(expected, change_region(w->db, matching(more, 1)));
				if (!expected)
					ASSERT_EQ(0,
						  change_region(w->db, without(matching(more, 1))));
			}
		}
		ASSERT_EQ(0, change_region(w->db, without(there)));
		ASSERT_TRUE(intact(w));
	}
	/* A datamatch makes no difference, another space does. */
	REGION_REFUSED(EBUSY, in_space(to_eventfd(ADDR + 1, 1, w->spare), PIO));
	REGION_REFUSED(EBUSY, in_space(to_eventfd(ADDR, 4, w->spare), PIO));
	REGION_REFUSED(EBUSY, in_space(to_eventfd(ADDR, 0, w->spare), PIO));
	REGION_REFUSED(EBUSY, in_space(matching(to_line(ADDR, 1, 0), 7), PIO));
	ASSERT_EQ(0, change_region(w->db, to_eventfd(-8ULL, 4, w->spare)));
	ASSERT_EQ(0, change_region(w->db, without(to_eventfd(-8ULL, 4, w->spare))));
	EXPECT_TRUE(intact(w));
}

/* ENOENT: no region, or one that differs. */
TEST_F(errors_bus, nothing_to_deassign)
{
	struct bus_fixture *w = &self->w;
	struct doorbell_region gone;
	int i;

	for (i = 0; i < NR; i++) {
		gone = without(w->regions[i]);
		REGION_REFUSED(ENOENT, CHANGED(gone, addr, gone.addr - 1));
		REGION_REFUSED(ENOENT, CHANGED(gone, addr, gone.addr ^ 1ULL << 40));
		REGION_REFUSED(ENOENT, CHANGED(gone, space, !gone.space));
		REGION_REFUSED(ENOENT, CHANGED(gone, length, gone.length == 2 ? 4 : 2));
		if (i == HELD) {
			REGION_REFUSED(ENOENT, CHANGED(gone, line, MASKED_LINE - 1));
			gone.flags &= ~LINE;
			gone.line = 0;
			gone.fd = w->spare;
			REGION_REFUSED(ENOENT, gone);
			REGION_REFUSED(ENOENT, CHANGED(gone, fd, -1));
			continue;
		}
		REGION_REFUSED(ENOENT, CHANGED(gone, fd, w->spare));
		REGION_REFUSED(ENOENT, CHANGED(gone, fd, w->efd[(i + 1) % NE]));
		gone.flags |= LINE;
		gone.fd = 0;
		REGION_REFUSED(ENOENT, gone);
	}
	/* With or without a datamatch, with another one. */
	REGION_REFUSED(ENOENT, without(matching(w->regions[ANY], 0)));
	REGION_REFUSED(ENOENT, without(matching(w->regions[SEVEN], 8)));
	gone = w->regions[LONE];
	gone.flags &= ~DATAMATCH;
	gone.datamatch = 0;
	REGION_REFUSED(ENOENT, without(gone));

	/* Not twice, neither with the fd nor without. */
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, change_region(w->db, without(CHANGED(w->regions[ANY], fd,
								  i ? -1 : w->efd[ANY]))));
		EXPECT_EQ(-ENOENT, change_region(w->db, without(w->regions[ANY])));
		EXPECT_EQ(-ENOENT, change_region(w->db, without(CHANGED(w->regions[ANY], fd, -1))));
		/* Any fd of the eventfd deassigns it. */
		ASSERT_EQ(0, change_region(w->db, CHANGED(w->regions[ANY], fd, dup(w->efd[ANY]))));
		w->state.regions[ANY].writes = 0;
		EXPECT_TRUE(intact(w));
	}
}

/* ENOSPC: one region more than the maximum, with datamatches all at one address. */
TEST_F(errors_bus, too_many)
{
	enum { PIECE = 65536 };
	struct doorbell_region *regions = calloc(PIECE, sizeof(*regions));
	int db = new_context(_metadata, 1), efd = new_eventfd(_metadata, 0, 0);
	struct doorbell_region last = matching(to_eventfd(ADDR, 4, efd), UINT32_MAX);
	struct doorbell_region more[2];
	uint32_t i, n = 0;

	ASSERT_TRUE(!!regions);
	while (n < DOORBELL_MAX_REGIONS - 1) {
		for (i = 0; i < PIECE && n < DOORBELL_MAX_REGIONS - 1; i++)
			regions[i] = matching(to_eventfd(ADDR, 4, efd), n++);
		ASSERT_EQ(0, doorbell_change_regions(db, regions, i, NULL));
	}
	/* There is room for one. */
	more[0] = last;
	more[1] = in_space(last, PIO);
	EXPECT_EQ(-ENOSPC, doorbell_change_regions(db, more, 2, NULL));
	EXPECT_EQ(DOORBELL_MAX_REGIONS - 1, info_of(_metadata, db).nr_regions);
	EXPECT_EQ(-EOPNOTSUPP, mmio_write(db, ADDR, 4, UINT32_MAX));
	ASSERT_EQ(0, change_region(db, last));
	EXPECT_EQ(DOORBELL_MAX_REGIONS, info_of(_metadata, db).nr_regions);
	EXPECT_EQ(-ENOSPC, change_region(db, to_eventfd(ADDR, 4, efd)));
	EXPECT_EQ(-ENOSPC, change_region(db, to_line(0, 0, 0)));
	EXPECT_EQ(-ENOSPC, change_region(db, more[1]));
	EXPECT_EQ(DOORBELL_MAX_REGIONS, bus_of(_metadata, db).nr_regions);
	EXPECT_EQ(0, mmio_write(db, ADDR, 4, 0));
	EXPECT_EQ(0, mmio_write(db, ADDR, 4, 0x1abcd));
	EXPECT_EQ(0, mmio_write(db, ADDR, 4, UINT32_MAX));
	EXPECT_EQ(3, efd_read(efd));
	/* One region is replaced: in one step, and in two. */
	more[0] = without(last);
	ASSERT_EQ(0, doorbell_change_regions(db, more, 2, NULL));
	EXPECT_EQ(-ENOSPC, change_region(db, last));
	ASSERT_EQ(0, change_region(db, without(more[1])));
	ASSERT_EQ(0, change_region(db, last));
	EXPECT_EQ(-ENOSPC, change_region(db, more[1]));
	EXPECT_EQ(0, mmio_write(db, ADDR, 4, UINT32_MAX));
	EXPECT_EQ(1, efd_read(efd));
	free(regions);
}

/* The order of several errors: EINVAL, ENXIO, the fd, the rest. */
TEST_F(errors_bus, order_of_errors)
{
	struct bus_fixture *w = &self->w;
	struct doorbell_region region = matching(to_eventfd(ADDR, 4, -1), 1ULL << 32);

	REGION_REFUSED(EINVAL, region);
	region.datamatch = 7;
	REGION_REFUSED(EBADF, region);
	region.fd = w->spare;
	REGION_REFUSED(EEXIST, region);
	REGION_REFUSED(ENXIO, to_line(ADDR, 4, LINES));
	REGION_REFUSED(EINVAL, CHANGED(to_line(ADDR, 4, LINES), reserved[0], 1));
}

TEST_HARNESS_MAIN
