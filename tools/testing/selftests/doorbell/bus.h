/* SPDX-License-Identifier: GPL-2.0-only */
/* The bus: regions as values, the ways to write, records, and the state of a bus. */
#ifndef _DOORBELL_BUS_H
#define _DOORBELL_BUS_H

#include <sys/uio.h>

#include <doorbell_bus.h>

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

static inline struct doorbell_region recorded(struct doorbell_region region)
{
	region.flags |= RECORD;
	return region;
}

static inline struct doorbell_region in_space(struct doorbell_region region, uint32_t space)
{
	region.space = space;
	return region;
}

/* Returns the region that deassigns @region. */
static inline struct doorbell_region without(struct doorbell_region region)
{
	region.flags = DEASSIGN | (region.flags & (DATAMATCH | LINE));
	region.slot = 0;
	return region;
}

/* Assigns or deassigns a region, by its flags. */
static inline int change_region(int db, struct doorbell_region region)
{
	return doorbell_ioctl(db, DOORBELL_REGION, &region);
}

static inline struct doorbell_get_bus bus_of(struct __test_metadata *_metadata, int db)
{
	struct doorbell_get_bus bus;

	memset(&bus, 0xff, sizeof(bus));
	ASSERT_EQ(0, doorbell_ioctl(db, DOORBELL_GET_BUS, &bus));
	return bus;
}

/* Returns the number of writes to the region at that index of DOORBELL_GET_REGIONS. */
static inline uint64_t writes_to(int db, uint32_t index)
{
	struct doorbell_region_info info;

	return doorbell_get_regions(db, &info, index, 1) == 1 ? info.writes : UINT64_MAX;
}

/* Writes. */

/* A value in the machine's byte order. */
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

/* Makes one write. Returns 0 or -errno; -EPROTO if only a part of it was written. */
static inline int bus_write(int db, enum way way, uint64_t addr, uint32_t length, uint64_t value)
{
	struct doorbell_bus_access access = {
		.addr = addr, .value = value, .length = length, .space = space_of(way),
	};
	union cell cell = cell_of(length, value);
	struct iovec iov = { .iov_base = &cell, .iov_len = length };
	ssize_t ret;

	switch (way) {
	case BY_PWRITE:
		ret = pwrite64(db, &cell, length, addr);
		break;
	case BY_PWRITEV:
		ret = pwritev64(db, &iov, 1, addr);
		break;
	default:
		ret = doorbell_bus_writes(db, &access, 1);
		return ret == 1 ? 0 : ret < 0 ? ret : -EPROTO;
	}
	if (ret < 0)
		return -errno;
	return ret == length ? 0 : -EPROTO;
}

static inline int mmio_write(int db, uint64_t addr, uint32_t length, uint64_t value)
{
	return bus_write(db, BY_IOCTL, addr, length, value);
}

static inline int pio_write(int db, uint64_t addr, uint32_t length, uint64_t value)
{
	return bus_write(db, BY_IOCTL_PIO, addr, length, value);
}

/* Returns the largest value of @length bytes. */
static inline uint64_t ones(uint32_t length)
{
	return UINT64_MAX >> (64 - 8 * length);
}

/*
 * Consumes the counters. Returns a hexadecimal digit for each eventfd, the lowest for the
 * first one.
 */
static inline uint64_t signals(const int *efd, unsigned int nr)
{
	uint64_t sum = 0, count;

	while (nr--) {
		count = efd_read(efd[nr]);
		sum = sum << 4 | (count < 0xf ? count : 0xf);
	}
	return sum;
}

/* Records. */

/* Returns the size of the mapping of the records, in whole pages. */
static inline size_t records_size(uint32_t nr)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (doorbell_records_size(nr) + page - 1) / page * page;
}

static inline struct doorbell_records map_records(struct __test_metadata *_metadata, int db)
{
	struct doorbell_records records = {};

	ASSERT_EQ(0, doorbell_map_records(db, &records));
	return records;
}

/*
 * Consumes records by read(2). Returns their number or -errno; -EPROTO if a record was
 * not whole.
 */
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

/* The maximum number of regions in a struct bus_state. */
#define REGIONS_SEEN	16

/* All that userspace can query of a bus. */
struct bus_state {
	struct doorbell_get_info info;
	struct doorbell_get_bus bus;
	int nr;
	struct doorbell_region_info regions[REGIONS_SEEN];
};

static inline bool get_bus_state(int db, struct bus_state *state)
{
	memset(state, 0, sizeof(*state));
	state->nr = doorbell_get_regions(db, state->regions, 0, REGIONS_SEEN);
	return !doorbell_get_info(db, &state->info) &&
	       !doorbell_ioctl(db, DOORBELL_GET_BUS, &state->bus) && state->nr >= 0 &&
	       state->info.nr_regions == state->nr && state->bus.nr_regions == state->nr;
}

#endif /* _DOORBELL_BUS_H */
