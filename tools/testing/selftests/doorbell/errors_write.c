// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every error row of the UAPI header for writes to the bus, records and lists of regions. A
 * refused call must change nothing; see bus_fixture.h. Runs as a 32-bit program, too.
 */
#include "bus_fixture.h"

FIXTURE(errors_write) {
	struct bus_fixture w;
	/* A page that is followed by an unmapped one. */
	char *page;
	size_t size;
};

FIXTURE_SETUP(errors_write)
{
	bus_fixture_init(_metadata, &self->w);
	self->size = sysconf(_SC_PAGESIZE);
	self->page = mmap(NULL, 2 * self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->page != MAP_FAILED);
	ASSERT_EQ(0, munmap(self->page + self->size, self->size));
}

FIXTURE_TEARDOWN(errors_write)
{
}

/* The last bytes of the page. */
#define LAST(bytes)	((void *)(self->page + self->size - (bytes)))

/* An unmapped address. */
#define NOWHERE		LAST(0)

/* EOPNOTSUPP: no region matches. */
TEST_F(errors_write, no_region)
{
	static const enum way ways[] = { BY_IOCTL, BY_IOCTL_PIO, BY_PWRITE, BY_PWRITEV };
	struct bus_fixture *w = &self->w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		REFUSED(EOPNOTSUPP, bus_write(w->db, ways[i], ADDR - 1, 4, 0));
		REFUSED(EOPNOTSUPP, bus_write(w->db, ways[i], ADDR, 8, 7));
		REFUSED(EOPNOTSUPP, bus_write(w->db, ways[i], ADDR, 2, 7));
		REFUSED(EOPNOTSUPP, bus_write(w->db, ways[i], ADDR + 0x11, 1, 0));
		REFUSED(EOPNOTSUPP, bus_write(w->db, ways[i], 0, 1, 0));
	}
	REFUSED(EOPNOTSUPP, mmio_write(w->db, -8ULL, 8, 0));
	REFUSED(EOPNOTSUPP, pio_write(w->db, ADDR, 2, 0xbeee));
}

/* EINVAL: invalid accesses to addresses that have regions. */
TEST_F(errors_write, bad_access)
{
	static const uint32_t lengths[] = { 0, 3, 5, 6, 7, 9, 16, 0x80000004, UINT32_MAX };
	const struct doorbell_bus_access good = { .addr = ADDR + 0x10, .length = 4 };
	const struct doorbell_bus_access last = { .addr = -8ULL, .length = 8, .space = PIO };
	struct bus_fixture *w = &self->w;
	struct doorbell_bus_access access;
	unsigned int i, bit;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		access = good;
		access.length = lengths[i];
		REFUSED(EINVAL, doorbell_bus_writes(w->db, &access, 1));
		access.addr = 0x5000;
		REFUSED(EINVAL, doorbell_bus_writes(w->db, &access, 1));
	}
	for (i = 1; i <= 4; i *= 2) {
		for (bit = 8 * i; bit < 64; bit++) {
			access = good;
			access.length = i;
			access.value = 1ULL << bit;
			REFUSED(EINVAL, doorbell_bus_writes(w->db, &access, 1));
		}
	}
	for (bit = 1; bit < 32; bit++) {
		access = good;
		access.space = 1U << bit;
		REFUSED(EINVAL, doorbell_bus_writes(w->db, &access, 1));
		access.space |= PIO;
		REFUSED(EINVAL, doorbell_bus_writes(w->db, &access, 1));
	}
	/* Beyond the end of the space. */
	for (i = 1; i < 8; i++) {
		access = last;
		access.addr += i;
		REFUSED(EINVAL, doorbell_bus_writes(w->db, &access, 1));
	}
	REFUSED(EINVAL, bus_write(w->db, BY_PWRITE, -1ULL, 1, 0));
	REFUSED(EINVAL, bus_write(w->db, BY_PWRITE, 1ULL << 63, 1, 0));
	REFUSED(EINVAL, bus_write(w->db, BY_PWRITEV, -8ULL, 8, 0));
}

/* EINVAL: no elements; unknown flags; reserved fields that are not zero. */
TEST_F(errors_write, arguments)
{
	struct bus_fixture *w = &self->w;
	struct doorbell_region region = to_eventfd(0x2000, 4, w->spare);
	struct doorbell_bus_access access = { .addr = ADDR + 0x10, .length = 4 };
	struct doorbell_region_info info;
	struct doorbell_regions regions;
	struct doorbell_get_regions list;
	struct doorbell_bus_write write;
	int bit;

	for (bit = -1; bit < 32; bit++) {
		const uint32_t mask = bit < 0 ? 0 : 1U << bit;

		regions = (struct doorbell_regions){
			.regions = (uintptr_t)&region, .nr_regions = !!mask, .flags = mask,
		};
		REFUSED(EINVAL, doorbell_ioctl(w->db, DOORBELL_REGIONS, &regions));
		regions.flags = 0;
		regions.nr_regions = 1;
		REFUSED_RESERVED(w->db, DOORBELL_REGIONS, regions);

		list = (struct doorbell_get_regions){
			.infos = (uintptr_t)&info, .nr_infos = !!mask, .flags = mask,
		};
		REFUSED(EINVAL, doorbell_ioctl(w->db, DOORBELL_GET_REGIONS, &list));
		list.flags = 0;
		list.nr_infos = 1;
		REFUSED_RESERVED(w->db, DOORBELL_GET_REGIONS, list);

		write = (struct doorbell_bus_write){
			.accesses = (uintptr_t)&access, .nr_accesses = !!mask, .flags = mask,
		};
		REFUSED(EINVAL, doorbell_ioctl(w->db, DOORBELL_BUS_WRITE, &write));
		write.flags = 0;
		write.nr_accesses = 1;
		REFUSED_RESERVED(w->db, DOORBELL_BUS_WRITE, write);
	}
}

/* ENOSPC: more regions than the maximum. */
TEST_F(errors_write, too_many_regions)
{
	struct bus_fixture *w = &self->w;
	struct doorbell_region region = to_eventfd(0x2000, 4, w->spare);

	REFUSED(ENOSPC, doorbell_change_regions(w->db, &region, UINT32_MAX, NULL));
	REFUSED(ENOSPC, doorbell_change_regions(w->db, &region, 1U << 31, NULL));
}

/* EFAULT: unmapped and half mapped. */
TEST_F(errors_write, bad_address)
{
	static const unsigned long ioctls[] = {
		DOORBELL_REGION, DOORBELL_REGIONS, DOORBELL_GET_REGIONS, DOORBELL_BUS_WRITE,
		DOORBELL_SET_RECORDS, DOORBELL_GET_BUS,
	};
	struct bus_fixture *w = &self->w;
	struct doorbell_region region = to_eventfd(0x2000, 4, w->spare);
	struct doorbell_bus_access access = { .addr = ADDR + 0x10, .length = 4 };
	struct doorbell_region *regions = LAST(2 * sizeof(region));
	struct doorbell_bus_access *accesses = LAST(2 * sizeof(access));
	struct doorbell_region_info *infos = LAST(2 * sizeof(*infos));
	struct iovec iov = { .iov_base = LAST(3), .iov_len = 4 };
	uint32_t failed;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ioctls); i++) {
		REFUSED(EFAULT, doorbell_ioctl(w->db, ioctls[i], NULL));
		REFUSED(EFAULT, doorbell_ioctl(w->db, ioctls[i], LAST(0)));
		REFUSED(EFAULT, doorbell_ioctl(w->db, ioctls[i], LAST(4)));
	}
	REFUSED(EFAULT, doorbell_change_regions(w->db, NULL, 1, NULL));
	REFUSED(EFAULT, doorbell_change_regions(w->db, LAST(sizeof(region) - 1), 1, NULL));
	regions[0] = region;
	regions[1] = in_space(region, PIO);
	REFUSED(EFAULT, doorbell_change_regions(w->db, regions, 3, NULL));
	/* An error in an earlier element comes first. */
	regions[1] = regions[0];
	regions[1].length = 3;
	REFUSED(EINVAL, doorbell_change_regions(w->db, regions, 3, &failed));
	EXPECT_EQ(1, failed);

	REFUSED(EFAULT, doorbell_get_regions(w->db, NULL, 0, 1));
	REFUSED(EFAULT, doorbell_get_regions(w->db, LAST(sizeof(*infos) - 1), 0, 1));
	REFUSED(EFAULT, doorbell_get_regions(w->db, infos, 0, 3));
	/* Memory that is not written to is not checked. */
	ASSERT_EQ(2, doorbell_get_regions(w->db, infos, NR - 2, 100));
	ASSERT_EQ(0, doorbell_get_regions(w->db, NULL, NR, 100));
	EXPECT_TRUE(intact(w));

	REFUSED(EFAULT, doorbell_bus_writes(w->db, NULL, 1));
	REFUSED(EFAULT, doorbell_bus_writes(w->db, LAST(sizeof(access) - 1), 1));
	REFUSED(EFAULT, pwrite64(w->db, NOWHERE, 4, ADDR + 0x10) < 0 ? -errno : 0);
	REFUSED(EFAULT, pwrite64(w->db, LAST(3), 4, ADDR + 0x10) < 0 ? -errno : 0);
	REFUSED(EFAULT, pwritev64(w->db, &iov, 1, ADDR + 0x10) < 0 ? -errno : 0);
	/* The readable accesses were written. */
	accesses[0] = access;
	accesses[1] = access;
	ASSERT_EQ(2, doorbell_bus_writes(w->db, accesses, 3));
	EXPECT_EQ(2, efd_read(w->efd[RECORDED]));
}

/* ENOBUFS: no room. Only one count changes. */
TEST_F(errors_write, no_room)
{
	static const enum way ways[] = { BY_IOCTL, BY_PWRITE, BY_PWRITEV };
	struct bus_fixture *w = &self->w;
	struct doorbell_record record;
	unsigned int i;

	for (i = 0; i < RECORDS; i++)
		ASSERT_EQ(0, write_to(w, RECORDED));
	EXPECT_EQ(RECORDS, efd_read(w->efd[RECORDED]));
	w->state.bus.recorded += RECORDS;
	ASSERT_TRUE(state_is_expected(w));
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		EXPECT_EQ(-ENOBUFS, bus_write(w->db, ways[i], ADDR + 0x10, 4, 0));
		w->state.bus.refused++;
		EXPECT_TRUE(state_is_expected(w));
	}
	/* A region without records needs no room. */
	EXPECT_EQ(0, mmio_write(w->db, ADDR, 4, 0));
	EXPECT_EQ(1, efd_read(w->efd[ANY]));
	w->state.regions[ANY].writes++;
	for (i = 0; i < RECORDS; i++)
		ASSERT_EQ(1, read_records(w->db, &record, 1));
	EXPECT_TRUE(intact(w));
}

/* EINVAL, EAGAIN, ENXIO: reading records. */
TEST_F(errors_write, reading)
{
	int lines = new_context(_metadata, 1), fresh = new_context(_metadata, 0);
	struct bus_fixture *w = &self->w;
	struct doorbell_record record;
	unsigned int i;

	REFUSED(EAGAIN, read_records(w->db, &record, 1));
	REFUSED(EAGAIN, read_records(w->db, (void *)self->page, 2));
	REFUSED(ENXIO, read_records(lines, &record, 1));
	REFUSED(ENXIO, read_records(fresh, &record, 1));
	ASSERT_EQ(0, write_to(w, RECORDED));
	EXPECT_EQ(1, efd_read(w->efd[RECORDED]));
	w->state.bus.recorded++;
	for (i = 3; i < sizeof(record); i++) {
		/* These are lengths of registers, as in pread(2). */
		if (i == 4 || i == 8)
			continue;
		EXPECT_EQ(-1, read(w->db, &record, i));
		EXPECT_EQ(EINVAL, errno);
	}
	/* A record that could not be copied is not consumed. */
	EXPECT_EQ(-EFAULT, read_records(w->db, NOWHERE, 1));
	EXPECT_EQ(-EFAULT, read_records(w->db, LAST(sizeof(record) - 1), 1));
	EXPECT_TRUE(state_is_expected(w));
	EXPECT_EQ(1, read_records(w->db, LAST(sizeof(record)), 2));
	EXPECT_TRUE(intact(w));
}

/* EINVAL and EEXIST: the number of records is chosen once. */
TEST_F(errors_write, set_records)
{
	static const uint32_t bad[] = {
		0, 3, 5, 6, 7, 1000, DOORBELL_MAX_RECORDS - 1, DOORBELL_MAX_RECORDS + 1,
		2 * DOORBELL_MAX_RECORDS, 1U << 31, UINT32_MAX,
	};
	struct doorbell_set_records arg = { .nr_records = 8 };
	int fresh = new_context(_metadata, 1);
	struct bus_fixture *w = &self->w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		REFUSED(EINVAL, doorbell_set_records(fresh, bad[i]));
		REFUSED(EINVAL, doorbell_set_records(w->db, bad[i]));
	}
	for (i = 0; i < 32; i++) {
		arg.flags = 1U << i;
		REFUSED(EINVAL, doorbell_ioctl(fresh, DOORBELL_SET_RECORDS, &arg));
		REFUSED(EINVAL, doorbell_ioctl(w->db, DOORBELL_SET_RECORDS, &arg));
	}
	arg.flags = 0;
	REFUSED_RESERVED(fresh, DOORBELL_SET_RECORDS, arg);
	REFUSED_RESERVED(w->db, DOORBELL_SET_RECORDS, arg);
	REFUSED(EEXIST, doorbell_set_records(w->db, RECORDS));
	REFUSED(EEXIST, doorbell_set_records(w->db, 2 * RECORDS));
	EXPECT_EQ(0, bus_of(_metadata, fresh).nr_records);
	ASSERT_EQ(0, doorbell_set_records(fresh, 1));
	EXPECT_EQ(1, bus_of(_metadata, fresh).nr_records);
	EXPECT_EQ(-EEXIST, doorbell_set_records(fresh, 1));
	fresh = new_context(_metadata, 1);
	ASSERT_EQ(0, doorbell_set_records(fresh, DOORBELL_MAX_RECORDS));
	EXPECT_EQ(DOORBELL_MAX_RECORDS, bus_of(_metadata, fresh).nr_records);
}

/* Maps and unmaps. Returns 0 or -errno. */
static int try_map(int db, size_t len, int prot, int flags, unsigned long offset)
{
	void *at = mmap64(NULL, len, prot, flags, db, offset);

	if (at == MAP_FAILED)
		return -errno;
	munmap(at, len);
	return 0;
}

/* EINVAL, EACCES, ENXIO: mapping the records. */
TEST_F(errors_write, mapping)
{
	const int rw = PROT_READ | PROT_WRITE;
	const size_t page = self->size, size = records_size(RECORDS);
	struct bus_fixture *w = &self->w;
	const unsigned long offset = info_of(_metadata, w->db).records_offset;
	int fresh = new_context(_metadata, 0), lines = new_context(_metadata, 1), prot;
	struct doorbell_records records;

	REFUSED(EINVAL, try_map(w->db, page, rw, MAP_PRIVATE, offset));
	REFUSED(EINVAL, try_map(w->db, page, PROT_READ, MAP_PRIVATE, offset));
	REFUSED(EINVAL, try_map(w->db, page, rw, MAP_SHARED, offset + page));
	REFUSED(EINVAL, try_map(w->db, page, rw, MAP_SHARED, offset - page));
	REFUSED(EINVAL, try_map(w->db, page, rw, MAP_SHARED, page));
	REFUSED(EINVAL, try_map(w->db, size + page, rw, MAP_SHARED, offset));
	REFUSED(EINVAL, try_map(w->db, 1 << 28, rw, MAP_SHARED, offset));
	/* The status pages are at another offset and stay read-only. */
	REFUSED(EACCES, try_map(w->db, page, rw, MAP_SHARED, 0));
	for (prot = PROT_EXEC; prot <= (PROT_EXEC | rw); prot++)
		REFUSED(EACCES, try_map(w->db, page, prot, MAP_SHARED, offset));
	REFUSED(ENXIO, try_map(fresh, page, rw, MAP_SHARED, offset));
	REFUSED(ENXIO, try_map(lines, page, rw, MAP_SHARED, offset));

	/* A read-only mapping is allowed. */
	ASSERT_EQ(0, try_map(w->db, size, PROT_READ, MAP_SHARED, offset));
	records = map_records(_metadata, w->db);
	EXPECT_EQ(-1, mprotect(records.ring, page, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_TRUE(mremap(records.ring, size, size + page, MREMAP_MAYMOVE) == MAP_FAILED);
	EXPECT_TRUE(intact(w));
	/* The mapping shows the reads by read(2). */
	EXPECT_EQ(w->state.bus.recorded, records.ring->head);
	EXPECT_EQ(0, munmap(records.ring, size));
	EXPECT_TRUE(intact(w));
}

TEST_HARNESS_MAIN
