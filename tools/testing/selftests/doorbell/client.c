// SPDX-License-Identifier: GPL-2.0-only
/*
 * The functions of the C client library that no other test calls. Runs as a 32-bit program,
 * too.
 */
#include <doorbell_bus.h>

#include "doorbell_test.h"

#define NR_LINES	70
#define ADDR		0xfee00000

TEST(open_and_info)
{
	struct doorbell_get_info info = {};
	int db = doorbell_open();

	ASSERT_LE(0, db);
	EXPECT_EQ(FD_CLOEXEC, fcntl(db, F_GETFD));
	ASSERT_EQ(0, doorbell_get_info(db, &info));
	EXPECT_EQ(DOORBELL_ABI_VERSION, info.abi_version);
	EXPECT_EQ(0, info.nr_lines);
	close(db);
	EXPECT_EQ(-EBADF, doorbell_get_info(db, &info));
}

TEST(masked_lines)
{
	const uint64_t some[] = { 6, 1ULL << 5 };
	uint64_t result[2] = {};
	int db = doorbell_open();

	ASSERT_EQ(0, doorbell_set_lines_masked(db, NR_LINES));
	EXPECT_EQ(0, doorbell_mask_lines(db, 0, NR_LINES, NULL, NULL));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 2));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 69));
	EXPECT_EQ(2, doorbell_pending_lines(db, 0, NR_LINES, some, result));
	EXPECT_EQ(4, result[0]);
	EXPECT_EQ(1ULL << 5, result[1]);
	EXPECT_EQ(1, doorbell_clear_lines(db, 64, 6, NULL, NULL));
	EXPECT_EQ(1, doorbell_unmask_lines(db, 0, NR_LINES, some, result));
	EXPECT_EQ(4, result[0]);
	EXPECT_EQ(0, result[1]);
	EXPECT_EQ(3, doorbell_mask_lines(db, 0, NR_LINES, NULL, result));
	EXPECT_EQ(6, result[0]);
	EXPECT_EQ(1ULL << 5, result[1]);
}

TEST(ring_lines)
{
	const uint64_t some[] = { 6, 1ULL << 5 };
	uint64_t result[2] = {};
	int db = doorbell_open();

	ASSERT_EQ(0, doorbell_set_lines(db, NR_LINES));
	EXPECT_EQ(1, doorbell_mask(db, 2));
	EXPECT_EQ(2, doorbell_ring_lines(db, 0, NR_LINES, some, result));
	EXPECT_EQ(2, result[0]);
	EXPECT_EQ(1ULL << 5, result[1]);
	EXPECT_EQ(NR_LINES - 1, doorbell_ring_lines(db, 0, NR_LINES, NULL, NULL));
	EXPECT_EQ(1, doorbell_pending(db, 2));
}

TEST(status)
{
	struct doorbell_status_pages status = {};
	struct doorbell_query query = {};
	int db = doorbell_open();

	EXPECT_EQ(-ENXIO, doorbell_map_status(db, &status));
	ASSERT_EQ(0, doorbell_set_lines(db, NR_LINES));
	ASSERT_EQ(0, doorbell_map_status(db, &status));
	EXPECT_EQ(NR_LINES, status.nr_lines);
	EXPECT_EQ(1, doorbell_mask(db, 69));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 69));
	EXPECT_EQ(VECTOR_MASKED | DOORBELL_LINE_PENDING,
		  status_state(doorbell_status_of(&status, 69)));
	EXPECT_EQ(0, status_state(doorbell_status_of(&status, 68)));
	ASSERT_EQ(0, doorbell_query(db, 69, &query));
	EXPECT_TRUE(status_agrees(doorbell_status_of(&status, 69), &query));
	EXPECT_EQ(0, doorbell_unmap_status(&status));
}

TEST(bus)
{
	struct doorbell_region region = {
		.addr = ADDR, .datamatch = 7, .length = 4,
		.flags = DOORBELL_REGION_FLAG_DATAMATCH | DOORBELL_REGION_FLAG_RECORD,
	};
	int db = doorbell_open(), efd = new_eventfd(_metadata, 0, 0);
	struct doorbell_records mapping = {};
	struct doorbell_record record = {};
	struct doorbell_get_bus bus = {};

	EXPECT_EQ(-ENXIO, doorbell_map_records(db, &mapping));
	ASSERT_EQ(0, doorbell_set_lines(db, 1));
	ASSERT_EQ(0, doorbell_set_records(db, 4));
	region.fd = efd;
	ASSERT_EQ(0, doorbell_assign_region(db, &region));
	EXPECT_EQ(-EEXIST, doorbell_assign_region(db, &region));
	EXPECT_EQ(-EOPNOTSUPP, doorbell_bus_write(db, DOORBELL_SPACE_MMIO, ADDR, 4, 8));
	EXPECT_EQ(-EOPNOTSUPP, doorbell_bus_write(db, DOORBELL_SPACE_PIO, ADDR, 4, 7));
	EXPECT_EQ(0, doorbell_bus_write(db, DOORBELL_SPACE_MMIO, ADDR, 4, 7));
	EXPECT_EQ(0, doorbell_bus_write(db, DOORBELL_SPACE_MMIO, ADDR, 4, 7));
	EXPECT_EQ(2, efd_read(efd));

	EXPECT_EQ(1, doorbell_read_records(db, &record, 1));
	EXPECT_EQ(1, record.sequence);
	EXPECT_EQ(ADDR, record.addr);
	ASSERT_EQ(0, doorbell_map_records(db, &mapping));
	EXPECT_EQ(4, mapping.nr_records);
	EXPECT_EQ(1, doorbell_next_record(&mapping, &record));
	EXPECT_EQ(2, record.sequence);
	EXPECT_EQ(7, record.value);
	EXPECT_EQ(0, doorbell_next_record(&mapping, &record));
	EXPECT_EQ(-EAGAIN, doorbell_read_records(db, &record, 1));
	EXPECT_EQ(0, doorbell_unmap_records(&mapping));

	/* The fd may be closed before the region is deassigned. */
	close(efd);
	region.fd = -1;
	EXPECT_EQ(0, doorbell_deassign_region(db, &region));
	EXPECT_EQ(-ENOENT, doorbell_deassign_region(db, &region));
	ASSERT_EQ(0, doorbell_get_bus(db, &bus));
	EXPECT_EQ(0, bus.nr_regions);
	EXPECT_EQ(2, bus.recorded);
}

TEST_HARNESS_MAIN
