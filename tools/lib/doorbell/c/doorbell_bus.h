/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Client library of /dev/doorbell: the bus of a context, its regions, records and last
 * values. See doorbell.h for what all functions have in common.
 */
#ifndef _DOORBELL_BUS_CLIENT_H
#define _DOORBELL_BUS_CLIENT_H

#include <sys/mman.h>

#include "doorbell.h"

/* See doorbell.h. */
#pragma GCC diagnostic push
#ifdef __cplusplus
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/* Regions. */

/**
 * doorbell_assign_region() - have writes to an address signal an eventfd or ring a line
 * @db: the context
 * @region: the region
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_region(int db, const struct doorbell_region *region)
{
	return doorbell_ioctl(db, DOORBELL_REGION, region);
}

/**
 * doorbell_deassign_region() - deassign a region, and wait for its last signal
 * @db: the context
 * @region: the region as it was assigned; if it signals an eventfd, its fd may be -1
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_deassign_region(int db, const struct doorbell_region *region)
{
	struct doorbell_region arg = *region;

	arg.flags &= DOORBELL_REGION_FLAG_DATAMATCH | DOORBELL_REGION_FLAG_LINE;
	arg.flags |= DOORBELL_REGION_FLAG_DEASSIGN;
	arg.slot = 0;
	return doorbell_ioctl(db, DOORBELL_REGION, &arg);
}

/**
 * doorbell_change_regions() - assign and deassign many regions in one step
 * @db: the context
 * @regions: the regions, each with its flags
 * @nr_regions: their number
 * @failed: if not NULL, is set to the index of the region that made the call fail, or
 *	to UINT32_MAX if the call succeeds or fails for another reason
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_change_regions(int db, const struct doorbell_region *regions,
					  uint32_t nr_regions, uint32_t *failed)
{
	struct doorbell_regions arg = { (uintptr_t)regions, nr_regions, UINT32_MAX, 0, { 0 } };
	int ret = doorbell_ioctl(db, DOORBELL_REGIONS, &arg);

	if (failed)
		*failed = arg.failed;
	return ret;
}

/**
 * doorbell_get_regions() - list the regions
 * @db: the context
 * @infos: array to write
 * @first: index of the first region to list
 * @nr_infos: number of elements of @infos
 *
 * Return: the number of elements written.
 */
static inline int doorbell_get_regions(int db, struct doorbell_region_info *infos,
				       uint32_t first, uint32_t nr_infos)
{
	struct doorbell_get_regions arg = { (uintptr_t)infos, first, nr_infos, 0, { 0 } };

	return doorbell_ioctl(db, DOORBELL_GET_REGIONS, &arg);
}

/* Writes. */

/**
 * doorbell_bus_writes() - write to the bus, until a write fails
 * @db: the context
 * @accesses: the writes
 * @nr_accesses: their number
 *
 * Return: the number of writes that succeeded; -errno if the first one failed.
 */
static inline int doorbell_bus_writes(int db, const struct doorbell_bus_access *accesses,
				      uint32_t nr_accesses)
{
	struct doorbell_bus_write arg = { (uintptr_t)accesses, nr_accesses, 0, { 0 } };

	return doorbell_ioctl(db, DOORBELL_BUS_WRITE, &arg);
}

/**
 * doorbell_bus_write() - write to the bus
 * @db: the context
 * @space: DOORBELL_SPACE_*
 * @addr: address of the first byte
 * @length: 1, 2, 4 or 8 bytes
 * @value: the value; bits beyond @length must be zero
 *
 * Return: 0 or -errno; -EOPNOTSUPP if no region matches.
 */
static inline int doorbell_bus_write(int db, uint32_t space, uint64_t addr, uint32_t length,
				     uint64_t value)
{
	struct doorbell_bus_access access = { addr, value, length, space };
	int ret = doorbell_bus_writes(db, &access, 1);

	return ret < 0 ? ret : 0;
}

/**
 * doorbell_get_bus() - get the counters of the bus
 * @db: the context
 * @bus: is written
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_get_bus(int db, struct doorbell_get_bus *bus)
{
	return doorbell_ioctl(db, DOORBELL_GET_BUS, bus);
}

/* Records: the values written to regions with DOORBELL_REGION_FLAG_RECORD. */

/**
 * doorbell_set_records() - choose the number of records, once
 * @db: the context
 * @nr_records: a power of two
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_set_records(int db, uint32_t nr_records)
{
	struct doorbell_set_records arg = { nr_records, 0, 0, { 0 } };

	return doorbell_ioctl(db, DOORBELL_SET_RECORDS, &arg);
}

/**
 * doorbell_read_records() - consume records by read(2), without sleeping
 * @db: the context
 * @records: array to write
 * @nr_records: number of its elements
 *
 * Return: the number of records read; -EAGAIN if there is none.
 */
static inline int doorbell_read_records(int db, struct doorbell_record *records,
					uint32_t nr_records)
{
	ssize_t len = read(db, records, nr_records * sizeof(*records));

	return len < 0 ? -errno : (int)((size_t)len / sizeof(*records));
}

/**
 * struct doorbell_records - a mapping of the records
 * @ring: the mapping
 * @nr_records: number of records
 */
struct doorbell_records {
	struct doorbell_record_ring *ring;
	uint32_t nr_records;
};

/* Returns the size of the mapping. */
static inline size_t doorbell_records_size(uint32_t nr_records)
{
	return sizeof(struct doorbell_record_ring) + nr_records * sizeof(struct doorbell_record);
}

/**
 * doorbell_map_records() - map the records
 * @db: the context
 * @records: is written
 *
 * Return: 0 or -errno; -ENXIO if the records have not been chosen yet.
 */
static inline int doorbell_map_records(int db, struct doorbell_records *records)
{
	struct doorbell_get_info info;
	struct doorbell_get_bus bus;
	void *ring;
	int ret = doorbell_get_info(db, &info);

	if (ret >= 0)
		ret = doorbell_get_bus(db, &bus);
	if (ret < 0)
		return ret;
	if (!bus.nr_records)
		return -ENXIO;
	ring = mmap(NULL, doorbell_records_size(bus.nr_records), PROT_READ | PROT_WRITE,
		    MAP_SHARED, db, (off_t)info.records_offset);
	if (ring == MAP_FAILED)
		return -errno;
	records->ring = (struct doorbell_record_ring *)ring;
	records->nr_records = bus.nr_records;
	return 0;
}

/**
 * doorbell_next_record() - consume the next record of the mapping
 * @records: the mapping
 * @record: is written
 *
 * One thread at a time may consume, and none may call doorbell_read_records() meanwhile.
 *
 * Return: 1 if there was a record, or else 0.
 */
static inline int doorbell_next_record(const struct doorbell_records *records,
				       struct doorbell_record *record)
{
	struct doorbell_record_ring *ring = records->ring;
	uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
	const struct doorbell_record *next = &ring->records[head & (records->nr_records - 1)];

	/* Pairs with the module's store of the sequence, its last to the record. */
	if (__atomic_load_n(&next->sequence, __ATOMIC_ACQUIRE) != head + 1)
		return 0;
	*record = *next;
	/* The module may overwrite the record from here on. */
	__atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
	return 1;
}

/**
 * doorbell_unmap_records() - unmap the records
 * @records: the mapping
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_unmap_records(const struct doorbell_records *records)
{
	return munmap(records->ring, doorbell_records_size(records->nr_records)) ? -errno : 0;
}

/* Last values: those of regions with DOORBELL_REGION_FLAG_LAST. */

/**
 * doorbell_set_values() - choose the number of last values, once
 * @db: the context
 * @nr_values: 1 to DOORBELL_MAX_VALUES
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_set_values(int db, uint32_t nr_values)
{
	struct doorbell_set_records arg = {
		0, DOORBELL_SET_RECORDS_FLAG_VALUES, nr_values, { 0 },
	};

	return doorbell_ioctl(db, DOORBELL_SET_RECORDS, &arg);
}

/**
 * struct doorbell_values - a mapping of the last values
 * @slots: the mapping
 * @nr_values: number of slots
 */
struct doorbell_values {
	const struct doorbell_value *slots;
	uint32_t nr_values;
};

/**
 * doorbell_map_values() - map the last values
 * @db: the context
 * @values: is written
 *
 * Return: 0 or -errno; -ENXIO if the last values have not been chosen yet.
 */
static inline int doorbell_map_values(int db, struct doorbell_values *values)
{
	struct doorbell_get_info info;
	struct doorbell_get_bus bus;
	void *slots;
	int ret = doorbell_get_info(db, &info);

	if (ret >= 0)
		ret = doorbell_get_bus(db, &bus);
	if (ret < 0)
		return ret;
	if (!bus.nr_values)
		return -ENXIO;
	slots = mmap(NULL, bus.nr_values * sizeof(struct doorbell_value), PROT_READ, MAP_SHARED,
		     db, (off_t)info.values_offset);
	if (slots == MAP_FAILED)
		return -errno;
	values->slots = (const struct doorbell_value *)slots;
	values->nr_values = bus.nr_values;
	return 0;
}

/**
 * doorbell_last_value() - read the last value of a slot
 * @values: the mapping
 * @slot: a slot
 *
 * Return: the value, zero if none was written.
 */
static inline uint64_t doorbell_last_value(const struct doorbell_values *values, uint32_t slot)
{
	return __atomic_load_n(&values->slots[slot].value, __ATOMIC_ACQUIRE);
}

/**
 * doorbell_try_read_value() - read the last value of a slot and the number of its writes
 * @values: the mapping
 * @slot: a slot
 * @value: is set to the value
 * @writes: is set to the number of writes that it is the result of
 *
 * Return: 1; or 0 if a write is in flight in the kernel: try again.
 */
static inline int doorbell_try_read_value(const struct doorbell_values *values, uint32_t slot,
					  uint64_t *value, uint64_t *writes)
{
	const struct doorbell_value *last = &values->slots[slot];

	/* Pairs with the module's last step: that many values are stored. */
	*writes = __atomic_load_n(&last->writes, __ATOMIC_ACQUIRE);
	/* Pairs with the module's store, before which it has incremented @started. */
	*value = __atomic_load_n(&last->value, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&last->started, __ATOMIC_ACQUIRE) == *writes;
}

/**
 * doorbell_read_value() - read the last value of a slot and the number of its writes
 * @values: the mapping
 * @slot: a slot
 * @writes: is set to the number of writes that the value is the result of
 *
 * Spins while a write is in flight in the kernel, which is not preempted then.
 *
 * Return: the value, zero if none was written.
 */
static inline uint64_t doorbell_read_value(const struct doorbell_values *values, uint32_t slot,
					   uint64_t *writes)
{
	uint64_t value;

	while (!doorbell_try_read_value(values, slot, &value, writes))
		;
	return value;
}

/**
 * doorbell_unmap_values() - unmap the last values
 * @values: the mapping
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_unmap_values(const struct doorbell_values *values)
{
	size_t size = values->nr_values * sizeof(struct doorbell_value);

	return munmap((void *)(uintptr_t)values->slots, size) ? -errno : 0;
}

#pragma GCC diagnostic pop

#endif /* _DOORBELL_BUS_CLIENT_H */
