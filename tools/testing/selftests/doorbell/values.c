// SPDX-License-Identifier: GPL-2.0-only
/*
 * Last values: what a region stores in its slot, errors, and readers of the mapping against
 * writers on all processors. Runs as a 32-bit program, too.
 */
#include "bus.h"

#define LAST		DOORBELL_REGION_FLAG_LAST

#define ADDR		0x1000ULL
#define LINES		2
#define SLOTS		8

static struct doorbell_region last_in(struct doorbell_region region, uint32_t slot)
{
	region.slot = slot;
	region.flags |= LAST;
	return region;
}

static struct doorbell_values map_values(struct __test_metadata *_metadata, int db)
{
	struct doorbell_values values = {};

	ASSERT_EQ(0, doorbell_map_values(db, &values));
	return values;
}

FIXTURE(values) {
	int db;
	int efd;
	struct doorbell_values values;
};

FIXTURE_SETUP(values)
{
	self->db = new_context(_metadata, LINES);
	self->efd = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_set_values(self->db, SLOTS));
	self->values = map_values(_metadata, self->db);
}

FIXTURE_TEARDOWN(values)
{
	EXPECT_EQ(0, doorbell_unmap_values(&self->values));
}

/* Expects the value and the count of a slot, by all functions. */
#define EXPECT_LAST(slot, expected, count) do {				\
	const uint64_t __expected = expected, __count = count;		\
	const uint32_t __slot = slot;					\
	uint64_t __value = 0, __writes = 0;				\
									\
	EXPECT_EQ(__expected, doorbell_last_value(&self->values, __slot)); \
	EXPECT_EQ(__expected, doorbell_read_value(&self->values, __slot, &__writes)); \
	EXPECT_EQ(__count, __writes);					\
	EXPECT_EQ(1, doorbell_try_read_value(&self->values, __slot, &__value, &__writes)); \
	EXPECT_EQ(__expected, __value);					\
	EXPECT_EQ(__count, __writes);					\
	EXPECT_EQ(__count, self->values.slots[__slot].started);		\
} while (0)

static bool is_zero(const struct doorbell_value *slot)
{
	static const struct doorbell_value zero;

	return !memcmp(slot, &zero, sizeof(zero));
}

/* Each length, in both spaces, by all ways to write. */
TEST_F(values, lengths)
{
	static const uint32_t lengths[] = { 1, 2, 4, 8 };
	uint64_t writes = 0;
	unsigned int i;
	enum way way;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (way = BY_IOCTL; way <= BY_PWRITEV; way++) {
			const uint64_t value = 0x8070605040302010ULL & ones(lengths[i]);
			const struct doorbell_region region =
				in_space(last_in(to_eventfd(ADDR, way & 1 ? 0 : lengths[i],
							    self->efd), 5), space_of(way));

			ASSERT_EQ(0, change_region(self->db, region));
			EXPECT_EQ(0, bus_write(self->db, way, ADDR, lengths[i], value));
			EXPECT_EQ(1, efd_read(self->efd));
			EXPECT_LAST(5, value, writes + 1);
			EXPECT_EQ(0, bus_write(self->db, way, ADDR, lengths[i],
					       ones(lengths[i])));
			EXPECT_LAST(5, ones(lengths[i]), writes + 2);
			writes += 2;
			EXPECT_EQ(2, writes_to(self->db, 0));
			ASSERT_EQ(0, change_region(self->db, without(region)));
			/* The region is gone; its last value stays. */
			EXPECT_LAST(5, ones(lengths[i]), writes);
			efd_read(self->efd);
		}
	}
	for (i = 0; i < SLOTS; i++)
		EXPECT_EQ(i != 5, is_zero(&self->values.slots[i]));
}

/* There is always room: of many writes the last one stays, and all are counted. */
TEST_F(values, last_of_many)
{
	struct doorbell_bus_access accesses[100];
	unsigned int i;

	ASSERT_EQ(0, change_region(self->db, last_in(to_line(ADDR, 4, 1), 0)));
	ASSERT_EQ(0, change_region(self->db, last_in(to_line(ADDR + 4, 4, 1), SLOTS - 1)));
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	for (i = 0; i < ARRAY_SIZE(accesses); i++)
		accesses[i] = (struct doorbell_bus_access){
			.addr = ADDR + i % 2 * 4, .value = i, .length = 4,
		};
	for (i = 1; i <= 20; i++) {
		EXPECT_EQ(100, doorbell_bus_writes(self->db, accesses, 100));
		EXPECT_LAST(0, 98, 50 * i);
		EXPECT_LAST(SLOTS - 1, 99, 50 * i);
	}
	EXPECT_EQ(2000, line_of(_metadata, self->db, 1).rings);
	EXPECT_EQ(1, doorbell_unmask(self->db, 1));
}

/* A write to two regions is stored for each of them, in the way of each. */
TEST_F(values, with_others)
{
	struct doorbell_record record;
	unsigned int i;

	ASSERT_EQ(0, doorbell_set_records(self->db, 2));
	ASSERT_EQ(0, change_region(self->db, last_in(to_eventfd(ADDR, 4, self->efd), 1)));
	ASSERT_EQ(0, change_region(self->db, last_in(matching(to_line(ADDR, 4, 0), 7), 2)));
	ASSERT_EQ(0, change_region(self->db, recorded(matching(to_line(ADDR, 4, 0), 8))));
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 7));
	EXPECT_LAST(1, 7, 1);
	EXPECT_LAST(2, 7, 1);
	for (i = 1; i <= 2; i++) {
		EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 8));
		EXPECT_LAST(1, 8, 1 + i);
	}
	EXPECT_EQ(3, efd_read(self->efd));
	/* It cannot be recorded: then nothing is stored or signalled. */
	EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 8));
	EXPECT_LAST(1, 8, 3);
	EXPECT_EQ(0, efd_count(self->efd));
	EXPECT_EQ(1, read_records(self->db, &record, 1));
	EXPECT_TRUE(is_record(&record, 1, MMIO, ADDR, 4, 8));
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 9));
	EXPECT_LAST(1, 9, 4);
	EXPECT_LAST(2, 7, 1);
}

/* DOORBELL_GET_REGIONS and the other calls that report. */
TEST_F(values, is_reported)
{
	struct doorbell_region_info infos[3];
	struct doorbell_get_info info = info_of(_metadata, self->db);
	struct doorbell_get_bus bus = bus_of(_metadata, self->db);

	EXPECT_EQ(DOORBELL_MAX_VALUES, info.max_values);
	EXPECT_EQ(0x30000000, info.values_offset);
	EXPECT_EQ(SLOTS, bus.nr_values);
	EXPECT_EQ(0, bus.reserved0);
	ASSERT_EQ(0, change_region(self->db, to_line(ADDR, 4, 0)));
	ASSERT_EQ(0, change_region(self->db, last_in(matching(to_line(ADDR, 4, 1), 3), 6)));
	ASSERT_EQ(0, change_region(self->db, last_in(to_eventfd(ADDR + 8, 0, self->efd), 0)));
	memset(infos, 0xff, sizeof(infos));
	ASSERT_EQ(3, doorbell_get_regions(self->db, infos, 0, 3));
	EXPECT_EQ(LINE, infos[0].flags);
	EXPECT_EQ(0, infos[0].slot);
	EXPECT_EQ(LINE | DATAMATCH | LAST, infos[1].flags);
	EXPECT_EQ(6, infos[1].slot);
	EXPECT_EQ(1, infos[1].line);
	EXPECT_EQ(LAST, infos[2].flags);
	EXPECT_EQ(0, infos[2].slot);
	EXPECT_EQ(0, infos[2].reserved);
	EXPECT_EQ(0, bus_of(_metadata, new_context(_metadata, 1)).nr_values);
}

/* EBUSY: a slot has one region at a time. A call can hand it on, in any order of elements. */
TEST_F(values, one_region_per_slot)
{
	const struct doorbell_region a = last_in(to_line(ADDR, 4, 0), 3);
	const struct doorbell_region b = last_in(to_line(ADDR + 8, 4, 0), 3);
	const struct doorbell_region c = last_in(to_line(ADDR + 16, 4, 0), 4);
	struct doorbell_region both[3] = { a, b };
	uint32_t failed;

	EXPECT_EQ(-EBUSY, doorbell_change_regions(self->db, both, 2, &failed));
	EXPECT_GT(2, failed);
	EXPECT_EQ(0, info_of(_metadata, self->db).nr_regions);
	/* Neither element has left the slot taken. */
	ASSERT_EQ(0, change_region(self->db, a));
	EXPECT_EQ(-EBUSY, change_region(self->db, b));
	EXPECT_EQ(-EEXIST, change_region(self->db, a));
	/* A call that fails later, or for the slot, leaves all slots as they were. */
	both[0] = c;
	both[1] = b;
	EXPECT_EQ(-EBUSY, doorbell_change_regions(self->db, both, 2, &failed));
	EXPECT_EQ(1, failed);
	both[0] = without(a);
	both[1] = c;
	both[2] = last_in(to_line(ADDR + 24, 4, 0), 4);
	EXPECT_EQ(-EBUSY, doorbell_change_regions(self->db, both, 3, &failed));
	EXPECT_EQ(-EBUSY, change_region(self->db, b));
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 1));
	EXPECT_LAST(3, 1, 1);
	/* Handed on, there and back. */
	both[0] = b;
	both[1] = without(a);
	ASSERT_EQ(0, doorbell_change_regions(self->db, both, 2, &failed));
	EXPECT_EQ(-EOPNOTSUPP, mmio_write(self->db, ADDR, 4, 2));
	EXPECT_EQ(0, mmio_write(self->db, ADDR + 8, 4, 2));
	EXPECT_LAST(3, 2, 2);
	EXPECT_EQ(-EBUSY, change_region(self->db, a));
	ASSERT_EQ(0, change_region(self->db, without(b)));
	ASSERT_EQ(0, change_region(self->db, a));
	ASSERT_EQ(0, change_region(self->db, c));
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 3));
	EXPECT_LAST(3, 3, 3);
	EXPECT_LAST(4, 0, 0);
}

/* No slot is taken or given back with another one. */
TEST_F(values, each_slot_by_itself)
{
	enum { MANY = 130, FREE = 70 };
	int db = new_context(_metadata, LINES);
	unsigned int i;

	ASSERT_EQ(0, doorbell_set_values(db, MANY));
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(0, change_region(db, last_in(to_line(ADDR + 8 * i, 4, 0), i)));
	ASSERT_EQ(0, change_region(db, without(to_line(ADDR + 8 * FREE, 4, 0))));
	for (i = 0; i < MANY; i++)
		EXPECT_EQ(i == FREE ? 0 : -EBUSY,
			  change_region(db, last_in(to_line(ADDR + 8 * (MANY + i), 4, 0), i)));
}

#define REFUSED(error, call) do {					\
	ASSERT_EQ(-(error), (call));					\
	ASSERT_EQ(0, info_of(_metadata, db).nr_regions);		\
} while (0)

/* EINVAL, ENXIO, EEXIST: numbers, flags and slots. */
TEST(errors)
{
	struct doorbell_set_records set = { .flags = DOORBELL_SET_RECORDS_FLAG_VALUES };
	const struct doorbell_region good = last_in(to_line(ADDR, 4, 0), 0);
	int fresh = new_context(_metadata, 0), db = new_context(_metadata, 1);
	struct doorbell_region bad;
	unsigned int bit;

	EXPECT_EQ(-ENXIO, doorbell_set_values(fresh, 1));
	EXPECT_EQ(-EFAULT, doorbell_ioctl(db, DOORBELL_SET_RECORDS, NULL));
	REFUSED(ENXIO, change_region(db, good));
	REFUSED(EINVAL, doorbell_set_values(db, 0));
	REFUSED(EINVAL, doorbell_set_values(db, DOORBELL_MAX_VALUES + 1));
	REFUSED(EINVAL, doorbell_set_values(db, UINT32_MAX));
	set.nr_values = 4;
	REFUSED_RESERVED(db, DOORBELL_SET_RECORDS, set);
	set.nr_records = 4;
	REFUSED(EINVAL, doorbell_ioctl(db, DOORBELL_SET_RECORDS, &set));
	set.flags = 0;
	REFUSED(EINVAL, doorbell_ioctl(db, DOORBELL_SET_RECORDS, &set));
	set.nr_records = 0;
	for (bit = 1; bit < 32; bit++) {
		set.flags = DOORBELL_SET_RECORDS_FLAG_VALUES | 1U << bit;
		REFUSED(EINVAL, doorbell_ioctl(db, DOORBELL_SET_RECORDS, &set));
	}
	EXPECT_EQ(0, bus_of(_metadata, db).nr_values);

	ASSERT_EQ(0, doorbell_set_values(db, 3));
	REFUSED(EEXIST, doorbell_set_values(db, 3));
	EXPECT_EQ(3, bus_of(_metadata, db).nr_values);
	EXPECT_EQ(0, bus_of(_metadata, db).nr_records);
	/* The records are a choice of their own. */
	REFUSED(ENXIO, change_region(db, recorded(to_line(ADDR, 4, 0))));
	ASSERT_EQ(0, doorbell_set_records(db, 4));
	REFUSED(EEXIST, doorbell_set_values(db, 3));
	REFUSED(EEXIST, doorbell_set_records(db, 4));

	for (bit = 2; bit < 32; bit++)
		REFUSED(ENXIO, change_region(db, last_in(good, 1U << bit)));
	REFUSED(ENXIO, change_region(db, last_in(good, 3)));
	REFUSED(ENXIO, change_region(db, last_in(good, UINT32_MAX)));
	REFUSED(EINVAL, change_region(db, recorded(good)));
	bad = good;
	bad.flags &= ~LAST;
	bad.slot = 1;
	REFUSED(EINVAL, change_region(db, bad));
	bad.flags |= RECORD;
	REFUSED(EINVAL, change_region(db, bad));
	/* The file descriptor is checked after the slot, the slot after the structure. */
	REFUSED(ENXIO, change_region(db, last_in(to_eventfd(ADDR, 4, -1), 3)));
	REFUSED(EBADF, change_region(db, last_in(to_eventfd(ADDR, 4, -1), 2)));
	REFUSED(EINVAL, change_region(db, last_in(to_eventfd(ADDR, 3, -1), 3)));
	/* To deassign, neither the flag nor the slot is given. */
	ASSERT_EQ(0, change_region(db, last_in(good, 2)));
	bad = without(good);
	bad.flags |= LAST;
	EXPECT_EQ(-EINVAL, change_region(db, bad));
	bad = without(good);
	bad.slot = 2;
	EXPECT_EQ(-EINVAL, change_region(db, bad));
	EXPECT_EQ(1, info_of(_metadata, db).nr_regions);
	/* The wrapper takes the region as it was assigned. */
	bad = last_in(good, 2);
	ASSERT_EQ(0, doorbell_deassign_region(db, &bad));
	EXPECT_EQ(0, info_of(_metadata, db).nr_regions);
}

static int try_map(int db, size_t len, int prot, int flags, uint64_t offset)
{
	void *at = mmap64(NULL, len, prot, flags, db, offset);

	if (at == MAP_FAILED)
		return -errno;
	return munmap(at, len) ? -errno : 0;
}

/* EACCES, EINVAL, ENXIO: mappings. Only whole pages, shared and read-only. */
TEST(mappings)
{
	const long page = sysconf(_SC_PAGESIZE);
	const uint32_t nr = 2 * page / sizeof(struct doorbell_value) - 1;
	int db = new_context(_metadata, 1);
	const uint64_t offset = info_of(_metadata, db).values_offset;
	struct doorbell_values values = {};
	void *map;

	EXPECT_EQ(-ENXIO, try_map(db, page, PROT_READ, MAP_SHARED, offset));
	EXPECT_EQ(-ENXIO, doorbell_map_values(db, &values));
	ASSERT_EQ(0, doorbell_set_values(db, nr));
	EXPECT_EQ(0, try_map(db, page, PROT_READ, MAP_SHARED, offset));
	EXPECT_EQ(0, try_map(db, 2 * page, PROT_READ, MAP_SHARED, offset));
	EXPECT_EQ(-EINVAL, try_map(db, 3 * page, PROT_READ, MAP_SHARED, offset));
	EXPECT_EQ(-EINVAL, try_map(db, page, PROT_READ, MAP_SHARED, offset + page));
	EXPECT_EQ(-EINVAL, try_map(db, page, PROT_READ, MAP_PRIVATE, offset));
	EXPECT_EQ(-EACCES, try_map(db, page, PROT_READ | PROT_WRITE, MAP_SHARED, offset));
	EXPECT_EQ(-EACCES, try_map(db, page, PROT_WRITE, MAP_SHARED, offset));
	EXPECT_EQ(-EACCES, try_map(db, page, PROT_READ | PROT_EXEC, MAP_SHARED, offset));
	map = mmap64(NULL, page, PROT_READ, MAP_SHARED, db, offset);
	ASSERT_TRUE(map != MAP_FAILED);
	EXPECT_EQ(-1, mprotect(map, page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(map, page, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
}

/* The last slot of the maximum number. */
TEST(largest)
{
	const uint32_t nr = DOORBELL_MAX_VALUES;
	int db = new_context(_metadata, 1);
	struct doorbell_values values;
	uint64_t writes;
	uint32_t i;

	ASSERT_EQ(0, doorbell_set_values(db, nr));
	values = map_values(_metadata, db);
	EXPECT_EQ(nr, values.nr_values);
	ASSERT_EQ(0, change_region(db, last_in(to_line(ADDR, 8, 0), nr - 1)));
	EXPECT_EQ(-ENXIO, change_region(db, last_in(to_line(ADDR + 8, 8, 0), nr)));
	EXPECT_EQ(0, mmio_write(db, ADDR, 8, UINT64_MAX));
	EXPECT_EQ(UINT64_MAX, doorbell_read_value(&values, nr - 1, &writes));
	EXPECT_EQ(1, writes);
	for (i = 0; i < nr - 1; i++)
		ASSERT_TRUE(is_zero(&values.slots[i]));
}

/* A mapping stays after the descriptors are closed. */
TEST(mapping_outlives_the_fd)
{
	int db = new_context(_metadata, 1), other;
	struct doorbell_values values;
	uint64_t writes;

	ASSERT_EQ(0, doorbell_set_values(db, 1));
	values = map_values(_metadata, db);
	ASSERT_EQ(0, change_region(db, last_in(to_line(ADDR, 8, 0), 0)));
	other = dup(db);
	close(db);
	EXPECT_EQ(0, mmio_write(other, ADDR, 8, 5));
	close(other);
	EXPECT_EQ(5, doorbell_read_value(&values, 0, &writes));
	EXPECT_EQ(1, writes);
}

/* Writers on all processors, whose values say who wrote them and which write it was. */

#define WRITERS		3

#define WRITER_SHIFT	56

/* The number of the write is there twice. If they differ, the value is torn. */
#define NUMBER_BITS	24

static uint64_t value_of(unsigned int writer, uint64_t n)
{
	const uint64_t number = n & ((1 << NUMBER_BITS) - 1);

	return (uint64_t)(writer + 1) << WRITER_SHIFT | number << NUMBER_BITS | number;
}

static bool is_torn(uint64_t value)
{
	return value && value != value_of((value >> WRITER_SHIFT) - 1, value);
}

struct writer {
	int db;
	unsigned int nr;
	enum way way;
	atomic_bool *stop;
	atomic_ulong started;
	atomic_ulong done;
	unsigned long failed;
	pthread_t thread;
};

static void *writer_loop(void *arg)
{
	struct writer *writer = arg;
	unsigned long n = 0;

	pin_to(writer->nr);
	while (!atomic_load(writer->stop)) {
		atomic_store(&writer->started, ++n);
		writer->failed += bus_write(writer->db, writer->way, ADDR, 8,
					    value_of(writer->nr, n)) != 0;
		atomic_store(&writer->done, n);
	}
	return NULL;
}

/*
 * A reader finds no torn value, no count that decreases, no count outside of the writes that
 * were done before and started after, and not one value for two counts. After each signal
 * the write is counted. With one writer, value and count belong together exactly.
 */
static void race(struct __test_metadata *_metadata, unsigned int writers)
{
	static struct writer all[WRITERS];
	int db = new_context(_metadata, LINES), efd = new_eventfd(_metadata, 0, 0);
	unsigned long torn = 0, back = 0, early = 0, late = 0, wrong = 0, unsignalled = 0;
	uint64_t value, writes, last_writes = 0, last_value = 0, signals = 0, sum = 0;
	struct rounds race = ROUNDS(1000, 1000000);
	static atomic_bool stop;
	struct doorbell_values values;
	unsigned long rounds;
	unsigned int i;

	memset(all, 0, sizeof(all));
	atomic_store(&stop, false);
	ASSERT_EQ(0, doorbell_set_values(db, 1));
	values = map_values(_metadata, db);
	ASSERT_EQ(0, change_region(db, last_in(to_eventfd(ADDR, 8, efd), 0)));
	for (i = 0; i < writers; i++) {
		all[i].db = db;
		all[i].nr = i;
		all[i].way = i % 2 ? BY_PWRITE : BY_IOCTL;
		all[i].stop = &stop;
		ASSERT_EQ(0, pthread_create(&all[i].thread, NULL, writer_loop, &all[i]));
	}
	for (i = 0; i < writers; i++)
		ASSERT_TRUE(WAIT_FOR(atomic_load(&all[i].done)));
	/* The reader shares a processor with each of the writers in turn. */
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		uint64_t before = 0, after = 0;

		if (rounds % 1024 == 0)
			pin_to(rounds / 1024);
		for (i = 0; i < writers; i++)
			before += atomic_load(&all[i].done);
		if (rounds % 4 == 0)
			signals += efd_read(efd);
		value = doorbell_read_value(&values, 0, &writes);
		for (i = 0; i < writers; i++)
			after += atomic_load(&all[i].started);
		torn += is_torn(value) || is_torn(doorbell_last_value(&values, 0));
		back += writes < last_writes;
		early += writes < before || writes < signals;
		late += writes > after;
		/* The same count has the same value, and another count another one. */
		wrong += (writes == last_writes) != (value == last_value);
		if (writers == 1)
			wrong += writes && value != value_of(0, writes);
		unsignalled += writes < signals;
		last_writes = writes;
		last_value = value;
		if (rounds % 64 == 0)
			sched_yield();
	}
	atomic_store(&stop, true);
	for (i = 0; i < writers; i++) {
		ASSERT_EQ(0, pthread_join(all[i].thread, NULL));
		EXPECT_EQ(0, all[i].failed);
		EXPECT_LT(0, all[i].done);
		sum += all[i].done;
	}
	signals += efd_read(efd);
	value = doorbell_read_value(&values, 0, &writes);
	EXPECT_EQ(sum, writes);
	EXPECT_EQ(sum, signals);
	EXPECT_EQ(sum, writes_to(db, 0));
	/* It is the last value of one of the writers. */
	i = (value >> WRITER_SHIFT) - 1;
	ASSERT_GT(writers, i);
	EXPECT_EQ(value_of(i, all[i].done), value);
	EXPECT_EQ(0, torn);
	EXPECT_EQ(0, back);
	EXPECT_EQ(0, early);
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, unsignalled);
	EXPECT_EQ(0, doorbell_unmap_values(&values));
}

TEST(race_of_one_writer)
{
	race(_metadata, 1);
}

TEST(race_of_writers)
{
	race(_metadata, WRITERS);
}

/* A thread that assigns and deassigns a region with a slot of its own. */
struct changer {
	int db;
	uint32_t slot;
	atomic_bool *stop;
	atomic_ulong done;
	/* The slot was taken, though no other region has it. */
	unsigned long busy;
	unsigned long failed;
	pthread_t thread;
};

static void change_slot(struct changer *changer)
{
	const struct doorbell_region region =
		last_in(to_line(ADDR + 8 * changer->slot, 4, 0), changer->slot);
	const int ret = change_region(changer->db, region);

	atomic_fetch_add(&changer->done, 1);
	changer->busy += ret == -EBUSY;
	changer->failed += ret && ret != -EBUSY;
	if (!ret)
		changer->failed += change_region(changer->db, without(region)) != 0;
}

static void *changer_loop(void *arg)
{
	struct changer *changer = arg;

	pin_to(changer->slot);
	while (!atomic_load(changer->stop))
		change_slot(changer);
	return NULL;
}

/* Threads that change slots next to each other: each finds its own one free. */
TEST(slots_change_side_by_side)
{
	static atomic_bool stop;
	struct changer changers[] = {
		{ .slot = 0, .stop = &stop }, { .slot = 1, .stop = &stop },
	};
	struct rounds race = ROUNDS(100, 200000);
	int db = new_context(_metadata, 1);
	unsigned int i;

	/* The processors are counted here. */
	pin_to(0);
	ASSERT_EQ(0, doorbell_set_values(db, 2));
	for (i = 0; i < ARRAY_SIZE(changers); i++)
		changers[i].db = db;
	ASSERT_EQ(0, pthread_create(&changers[1].thread, NULL, changer_loop, &changers[1]));
	ASSERT_TRUE(WAIT_FOR(atomic_load(&changers[1].done)));
	while (more_rounds(&race, atomic_load(&changers[0].done)))
		change_slot(&changers[0]);
	atomic_store(&stop, true);
	ASSERT_EQ(0, pthread_join(changers[1].thread, NULL));
	for (i = 0; i < ARRAY_SIZE(changers); i++) {
		EXPECT_LT(0, changers[i].done);
		EXPECT_EQ(0, changers[i].busy);
		EXPECT_EQ(0, changers[i].failed);
		/* None has lost its slot, or left one taken. */
		EXPECT_EQ(0, change_region(db, last_in(to_line(ADDR + 8 * i, 4, 0), i)));
	}
	EXPECT_EQ(-EBUSY, change_region(db, last_in(to_line(ADDR + 64, 4, 0), 0)));
	EXPECT_EQ(-EBUSY, change_region(db, last_in(to_line(ADDR + 64, 4, 0), 1)));
}

TEST_HARNESS_MAIN
