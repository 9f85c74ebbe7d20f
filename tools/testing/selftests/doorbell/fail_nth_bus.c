// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls the ioctls of the bus with each allocation and user copy failing in turn. See
 * fail_nth.c.
 */
#include "fail_nth.h"

#define ADDR	0x1000ULL

#define RECORDS	4

/* More elements than the module copies at once. */
#define MANY	20

static const struct doorbell_bus_access accesses[] = {
	{ .addr = ADDR, .length = 4 },
	{ .addr = ADDR + 8, .length = 1 },
	{ .addr = 1, .length = 4 },
};

/* A write rings line 2, whose state is compared; the spare is for the region of the call. */
static void prepare_bus(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_set_records(w->db, RECORDS));
	ASSERT_EQ(0, change_region(w->db, recorded(to_line(ADDR, 4, 2))));
	ASSERT_EQ(0, change_region(w->db, to_eventfd(ADDR + 8, 0, w->out)));
}

static struct doorbell_region new_region(struct testbed *w)
{
	return recorded(matching(to_eventfd(ADDR, 4, w->spare), 7));
}

static int call_region(struct testbed *w)
{
	return change_region(w->db, new_region(w));
}

static bool check_region(struct testbed *w)
{
	struct doorbell_record record;
	uint64_t before = efd_count(w->spare);

	return !mmio_write(w->db, ADDR, 4, 7) && efd_count(w->spare) == before + 1 &&
	       read_records(w->db, &record, 1) == 1 && record.value == 7;
}

TEST_F(fail_nth, region)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_region,
		.check = check_region });
}

/* The region is gone, and the others are left. */
static bool check_no_region(struct testbed *w)
{
	return !mmio_write(w->db, ADDR, 4, 7) && !efd_count(w->spare);
}

static void prepare_region(struct __test_metadata *_metadata, struct testbed *w)
{
	prepare_bus(_metadata, w);
	ASSERT_EQ(0, change_region(w->db, new_region(w)));
}

static int call_region_deassign(struct testbed *w)
{
	return change_region(w->db, without(new_region(w)));
}

TEST_F(fail_nth, region_deassign)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_region, .call = call_region_deassign,
		.check = check_no_region });
}

static int call_region_deassign_without_fd(struct testbed *w)
{
	struct doorbell_region region = without(new_region(w));

	region.fd = -1;
	return change_region(w->db, region);
}

TEST_F(fail_nth, region_deassign_without_fd)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_region, .call = call_region_deassign_without_fd,
		.check = check_no_region });
}

/* Deassigns one and assigns many. */
static int call_regions(struct testbed *w)
{
	static struct doorbell_region regions[MANY];
	int i;

	regions[0] = without(to_line(ADDR, 4, 2));
	regions[1] = recorded(to_eventfd(ADDR, 4, w->spare));
	for (i = 2; i < MANY; i++)
		regions[i] = in_space(to_eventfd(i, 1, w->spare), PIO);
	return doorbell_change_regions(w->db, regions, MANY, NULL);
}

static bool check_regions(struct testbed *w)
{
	uint64_t before = efd_count(w->spare);

	return check_region(w) && !pio_write(w->db, 2, 1, 0) && !pio_write(w->db, MANY - 1, 1, 0) &&
	       efd_count(w->spare) == before + 3;
}

TEST_F(fail_nth, regions)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_regions,
		.check = check_regions });
}

/* If the copy of the index fails, the call still returns the region's error. */
static int call_regions_blame(struct testbed *w)
{
	const struct doorbell_region twice[] = { new_region(w), new_region(w) };
	int ret = doorbell_change_regions(w->db, twice, 2, NULL);

	return ret == -EEXIST ? 0 : ret;
}

TEST_F(fail_nth, regions_blame)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_regions_blame });
}

static int call_get_regions(struct testbed *w)
{
	struct doorbell_region_info infos[40];

	return doorbell_get_regions(w->db, infos, 0, 40);
}

static void prepare_many(struct __test_metadata *_metadata, struct testbed *w)
{
	int i;

	prepare_bus(_metadata, w);
	for (i = 0; i < 30; i++)
		ASSERT_EQ(0, change_region(w->db, in_space(to_eventfd(i, 1, w->out), PIO)));
}

TEST_F(fail_nth, get_regions)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_many, .call = call_get_regions });
}

static int call_get_bus(struct testbed *w)
{
	struct doorbell_get_bus bus;

	return doorbell_ioctl(w->db, DOORBELL_GET_BUS, &bus);
}

TEST_F(fail_nth, get_bus)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_get_bus });
}

static int call_set_records(struct testbed *w)
{
	return doorbell_set_records(w->db, 1024);
}

static bool check_set_records(struct testbed *w)
{
	return !change_region(w->db, recorded(to_eventfd(ADDR, 4, w->spare))) && check_region(w);
}

TEST_F(fail_nth, set_records)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_set_records, .check = check_set_records });
}

/* Last values. */

static struct doorbell_region last_region(struct testbed *w)
{
	struct doorbell_region region = matching(to_eventfd(ADDR, 4, w->spare), 7);

	region.flags |= DOORBELL_REGION_FLAG_LAST;
	region.slot = 70;
	return region;
}

static bool check_last(struct testbed *w)
{
	struct doorbell_values values = {};
	uint64_t writes, before = efd_count(w->spare);
	bool ok;

	if (doorbell_map_values(w->db, &values))
		return false;
	ok = !mmio_write(w->db, ADDR, 4, 7) && efd_count(w->spare) == before + 1 &&
	     doorbell_read_value(&values, 70, &writes) == 7 && writes == 1;
	return !doorbell_unmap_values(&values) && ok;
}

static int call_set_values(struct testbed *w)
{
	return doorbell_set_values(w->db, 100);
}

static bool check_set_values(struct testbed *w)
{
	return !change_region(w->db, last_region(w)) && check_last(w);
}

TEST_F(fail_nth, set_values)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_set_values, .check = check_set_values });
}

static void prepare_values(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_set_values(w->db, 100));
}

/* A call that fails leaves the slot free: the sweep makes it again. */
static int call_last_region(struct testbed *w)
{
	return change_region(w->db, last_region(w));
}

TEST_F(fail_nth, last_region)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_values, .call = call_last_region,
		.check = check_last });
}

/* A single write is carried out or not: nothing in between can fail. */
static int call_write(struct testbed *w)
{
	int ret = doorbell_bus_writes(w->db, accesses, 1);

	return ret == 1 ? 0 : ret;
}

static bool check_written(struct testbed *w)
{
	struct doorbell_record records[2];

	return read_records(w->db, records, 2) == 1 &&
	       is_record(&records[0], 1, MMIO, ADDR, 4, 0);
}

TEST_F(fail_nth, write)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_write,
		.check = check_written });
}

static int call_pwrite(struct testbed *w)
{
	return bus_write(w->db, BY_PWRITE, ADDR, 4, 0);
}

TEST_F(fail_nth, pwrite)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_pwrite,
		.check = check_written });
}

/* Of several writes, the readable ones are carried out. The rest is repeated. */
static int call_writes(struct testbed *w)
{
	int done = 0, ret;

	while (done < 2) {
		ret = doorbell_bus_writes(w->db, accesses + done, ARRAY_SIZE(accesses) - done);
		if (ret <= 0)
			return done ? -EPROTO : ret;
		done += ret;
	}
	return done;
}

TEST_F(fail_nth, writes)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_writes,
		.check = check_written });
}

static int call_pwritev(struct testbed *w)
{
	union cell cell = cell_of(4, 0);
	struct iovec iov[] = { { &cell, 4 }, { &cell, 0 }, { &cell, 4 } };
	int ret = pwritev64(w->db, iov, 3, ADDR);

	if (ret == 4)
		return 0;
	return ret < 0 ? -errno : -EPROTO;
}

TEST_F(fail_nth, pwritev)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_bus, .call = call_pwritev,
		.check = check_written });
}

/* A record that could not be copied is not consumed. */
static void prepare_kept(struct __test_metadata *_metadata, struct testbed *w)
{
	prepare_bus(_metadata, w);
	ASSERT_EQ(0, mmio_write(w->db, ADDR, 4, 0));
}

static int call_read(struct testbed *w)
{
	struct doorbell_record record;
	int ret = read_records(w->db, &record, 1);

	if (ret == 1 && !is_record(&record, 1, MMIO, ADDR, 4, 0))
		return -EPROTO;
	return ret;
}

static bool check_read(struct testbed *w)
{
	struct doorbell_record record;

	return read_records(w->db, &record, 1) == -EAGAIN;
}

TEST_F(fail_nth, read)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_kept, .call = call_read, .check = check_read });
}

static int call_map(struct testbed *w)
{
	return map_device(w, status_size(LINES), PROT_READ | PROT_WRITE);
}

static bool check_map(struct testbed *w)
{
	const struct doorbell_record_ring *map = w->map;

	return map->head == 0 && map->records[0].sequence == 1;
}

/* As many pages as the status pages. */
static void prepare_mapping(struct __test_metadata *_metadata, struct testbed *w)
{
	w->offset = info_of(_metadata, w->db).records_offset;
	ASSERT_EQ(0, doorbell_set_records(w->db, 512));
	ASSERT_EQ(0, change_region(w->db, recorded(to_line(ADDR, 4, 2))));
	ASSERT_EQ(0, mmio_write(w->db, ADDR, 4, 0));
}

TEST_F(fail_nth, mmap)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_mapping, .call = call_map,
		.check = check_map });
}

TEST_HARNESS_MAIN
