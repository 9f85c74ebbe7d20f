/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bus: regions as values, the ways to write, kept values, and everything that
 * can be seen of it.
 */
#ifndef _DOORBELL_BUS_H
#define _DOORBELL_BUS_H

#include <sys/uio.h>

#include "doorbell_test.h"

#define MMIO		DOORBELL_SPACE_MMIO
#define PIO		DOORBELL_SPACE_PIO

#define DATAMATCH	DOORBELL_REGION_FLAG_DATAMATCH
#define LINE		DOORBELL_REGION_FLAG_LINE
#define RECORD		DOORBELL_REGION_FLAG_RECORD

/* Regions. */

static inline struct doorbell_region to_eventfd(uint64_t addr, uint32_t length, int fd)
{
	return (struct doorbell_region){ .addr = addr, .length = length, .fd = fd };
}

static inline struct doorbell_region to_line(uint64_t addr, uint32_t length, uint32_t line)
{
	return (struct doorbell_region){
		.addr = addr, .length = length, .line = line, .flags = LINE,
	};
}

static inline struct doorbell_region matching(struct doorbell_region region, uint64_t value)
{
	region.datamatch = value;
	region.flags |= DATAMATCH;
	return region;
}

static inline struct doorbell_region kept(struct doorbell_region region)
{
	region.flags |= RECORD;
	return region;
}

static inline struct doorbell_region in_space(struct doorbell_region region, uint32_t space)
{
	region.space = space;
	return region;
}

/* What deassigns it. */
static inline struct doorbell_region without(struct doorbell_region region)
{
	region.flags = DEASSIGN | (region.flags & (DATAMATCH | LINE));
	return region;
}

static inline int db_region(int db, struct doorbell_region region)
{
	return db_ioctl(db, DOORBELL_REGION, &region);
}

/* @failed: which one, if one is to blame; or else it stays as it was. */
static inline int db_regions(int db, const struct doorbell_region *regions, uint32_t nr,
			     uint32_t *failed)
{
	struct doorbell_regions arg = { .regions = (uintptr_t)regions, .nr_regions = nr };
	int ret = db_ioctl(db, DOORBELL_REGIONS, &arg);

	if (ret == -EFAULT || !failed)
		return ret;
	*failed = arg.failed;
	return ret;
}

static inline int db_get_regions(int db, struct doorbell_region_info *infos, uint32_t first,
				 uint32_t nr)
{
	struct doorbell_get_regions list = {
		.infos = (uintptr_t)infos, .first = first, .nr_infos = nr,
	};

	return db_ioctl(db, DOORBELL_GET_REGIONS, &list);
}

static inline int db_set_records(int db, uint32_t nr)
{
	struct doorbell_set_records arg = { .nr_records = nr };

	return db_ioctl(db, DOORBELL_SET_RECORDS, &arg);
}

static inline struct doorbell_get_bus bus_of(struct __test_metadata *_metadata, int db)
{
	struct doorbell_get_bus bus;

	memset(&bus, 0xff, sizeof(bus));
	ASSERT_EQ(0, db_ioctl(db, DOORBELL_GET_BUS, &bus));
	return bus;
}

/* How many writes have gone to the first region at @addr; with datamatches, in their order. */
static inline uint64_t writes_to(int db, uint32_t first)
{
	struct doorbell_region_info info;

	return db_get_regions(db, &info, first, 1) == 1 ? info.writes : UINT64_MAX;
}

/* Writes. */

static inline int db_bus_writes(int db, const struct doorbell_bus_access *accesses, uint32_t nr)
{
	struct doorbell_bus_write arg = { .accesses = (uintptr_t)accesses, .nr_accesses = nr };

	return db_ioctl(db, DOORBELL_BUS_WRITE, &arg);
}

/* In the machine's byte order. */
union cell {
	uint8_t bytes[8];
	uint16_t half;
	uint32_t word;
	uint64_t all;
};

static inline union cell cell_of(uint32_t length, uint64_t value)
{
	union cell cell = {};

	switch (length) {
	case 1:
		cell.bytes[0] = value;
		break;
	case 2:
		cell.half = value;
		break;
	case 4:
		cell.word = value;
		break;
	default:
		cell.all = value;
	}
	return cell;
}

/* The ways to make one write. */
enum way { BY_IOCTL, BY_IOCTL_PIO, BY_PWRITE, BY_PWRITEV };

static inline uint32_t space_of(enum way way)
{
	return way == BY_IOCTL_PIO ? PIO : MMIO;
}

/* 0 or -errno; -EPROTO for a part of it, which cannot be. */
static inline int bus_write(int db, enum way way, uint64_t addr, uint32_t length, uint64_t value)
{
	struct doorbell_bus_access access = {
		.addr = addr, .value = value, .length = length, .space = space_of(way),
	};
	union cell cell = cell_of(length, value);
	struct iovec iov = { .iov_base = &cell, .iov_len = length };
	ssize_t whole = length, ret;

	switch (way) {
	case BY_PWRITE:
		ret = pwrite64(db, &cell, length, addr);
		break;
	case BY_PWRITEV:
		ret = pwritev64(db, &iov, 1, addr);
		break;
	default:
		whole = 1;
		ret = ioctl(db, DOORBELL_BUS_WRITE, &(struct doorbell_bus_write){
			.accesses = (uintptr_t)&access, .nr_accesses = 1 });
	}
	if (ret < 0)
		return -errno;
	return ret == whole ? 0 : -EPROTO;
}

static inline int mmio_write(int db, uint64_t addr, uint32_t length, uint64_t value)
{
	return bus_write(db, BY_IOCTL, addr, length, value);
}

static inline int pio_write(int db, uint64_t addr, uint32_t length, uint64_t value)
{
	return bus_write(db, BY_IOCTL_PIO, addr, length, value);
}

/* The greatest value of @length bytes. */
static inline uint64_t ones(uint32_t length)
{
	return UINT64_MAX >> (64 - 8 * length);
}

/* Takes what has been signalled: a hexadecimal digit for each eventfd, the first one lowest. */
static inline uint64_t signals(const int *efd, unsigned int nr)
{
	uint64_t sum = 0, count;

	while (nr--) {
		count = efd_read(efd[nr]);
		sum = sum << 4 | (count < 0xf ? count : 0xf);
	}
	return sum;
}

/* Kept values. */

/* All that one consumer needs: the mapping, and how many places it has. */
struct records {
	struct doorbell_record_ring *map;
	uint32_t nr;
	size_t size;
};

static inline size_t records_size(uint32_t nr)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = sizeof(struct doorbell_record_ring) + nr * sizeof(struct doorbell_record);

	return (size + page - 1) / page * page;
}

static inline struct records map_records(struct __test_metadata *_metadata, int db, uint32_t nr)
{
	struct records records = { .nr = nr, .size = records_size(nr) };

	records.map = mmap(NULL, records.size, PROT_READ | PROT_WRITE, MAP_SHARED, db,
			   records_offset(db));
	ASSERT_TRUE(records.map != MAP_FAILED) {
		TH_LOG("mmap: %s", strerror(errno));
	}
	return records;
}

/* Takes the next record, as the header says; false if there is none. */
static inline bool next_record(struct records *records, struct doorbell_record *record)
{
	uint64_t head = __atomic_load_n(&records->map->head, __ATOMIC_RELAXED);
	struct doorbell_record *at = &records->map->records[head % records->nr];

	if (__atomic_load_n(&at->sequence, __ATOMIC_ACQUIRE) != head + 1)
		return false;
	*record = *at;
	__atomic_store_n(&records->map->head, head + 1, __ATOMIC_RELEASE);
	return true;
}

/* How many whole records read(2) gave, or -errno; -EPROTO if they were not whole. */
static inline int read_records(int db, struct doorbell_record *records, unsigned int nr)
{
	ssize_t len = read(db, records, nr * sizeof(*records));

	if (len < 0)
		return -errno;
	return len % sizeof(*records) ? -EPROTO : len / sizeof(*records);
}

static inline bool is_record(const struct doorbell_record *record, uint64_t sequence,
			     uint32_t space, uint64_t addr, uint32_t length, uint64_t value)
{
	return record->sequence == sequence && record->space == space && record->addr == addr &&
	       record->length == length && record->value == value;
}

/* Everything that can be seen of a bus, of so many regions. */
#define REGIONS_SEEN	16

struct bus_state {
	struct doorbell_get_info info;
	struct doorbell_get_bus bus;
	int nr;
	struct doorbell_region_info regions[REGIONS_SEEN];
};

static inline bool get_bus_state(int db, struct bus_state *state)
{
	memset(state, 0, sizeof(*state));
	state->nr = db_get_regions(db, state->regions, 0, REGIONS_SEEN);
	return !db_info(db, &state->info) && !db_ioctl(db, DOORBELL_GET_BUS, &state->bus) &&
	       state->nr >= 0 && state->info.nr_regions == state->nr &&
	       state->bus.nr_regions == state->nr;
}

#endif /* _DOORBELL_BUS_H */
