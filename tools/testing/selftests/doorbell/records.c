// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records: their contents, and how they are consumed by read(2) and through the mapping.
 * Producers on other processors are in records_race.c. Runs as a 32-bit program, too.
 */
#include "bus.h"

#define NE	4

#define RECORDS	8

#define ADDR	0x1000ULL

FIXTURE(records) {
	int kmsg;
	int db;
	int efd[NE];
	struct doorbell_records records;
};

FIXTURE_VARIANT(records) {
	/* Records are consumed through the mapping. */
	bool mapped;
};

FIXTURE_VARIANT_ADD(records, read) { };
FIXTURE_VARIANT_ADD(records, mapped) { .mapped = true };

FIXTURE_SETUP(records)
{
	int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 4);
	for (i = 0; i < NE; i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_set_records(self->db, RECORDS));
	self->records = map_records(_metadata, self->db);
}

FIXTURE_TEARDOWN(records)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define ASSIGN(region)	ASSERT_EQ(0, change_region(self->db, region))

#define SIGNALS(expected)	EXPECT_EQ(expected, signals(self->efd, NE))

static bool next_of(bool mapped, struct doorbell_records *records, int db,
		    struct doorbell_record *record)
{
	return mapped ? doorbell_next_record(records, record) : read_records(db, record, 1) == 1;
}

/* Consumes the next record in the way of the variant. Evaluates to false if there is none. */
#define NEXT(record)	next_of(variant->mapped, &self->records, self->db, record)

#define EXPECT_NEXT(nth, where, at, len, what) do {			\
	struct doorbell_record __got = {};				\
									\
	EXPECT_TRUE(NEXT(&__got));					\
	EXPECT_TRUE(is_record(&__got, nth, where, at, len, what)) {	\
		TH_LOG("record %llu: %u:%#llx, %u bytes, %#llx",	\
		       __got.sequence, __got.space, __got.addr,		\
		       __got.length, __got.value);			\
	}								\
} while (0)

/* Expects no record, by read(2) and in the mapping. */
#define EXPECT_NONE() do {						\
	struct doorbell_record __record;				\
									\
	EXPECT_FALSE(doorbell_next_record(&self->records, &__record));	\
	EXPECT_EQ(-EAGAIN, read_records(self->db, &__record, 1));	\
} while (0)

#define EXPECT_BUS(nr_recorded, nr_refused) do {				\
	const struct doorbell_get_bus __bus = bus_of(_metadata, self->db); \
									\
	EXPECT_EQ(RECORDS, __bus.nr_records);				\
	EXPECT_EQ(nr_recorded, __bus.recorded);				\
	EXPECT_EQ(nr_refused, __bus.refused);				\
} while (0)

TEST_F(records, content)
{
	static const uint32_t lengths[] = { 1, 2, 4, 8 };
	unsigned int i;

	ASSIGN(recorded(to_eventfd(ADDR, 0, self->efd[0])));
	ASSIGN(recorded(to_eventfd(0, 1, self->efd[1])));
	ASSIGN(in_space(recorded(to_eventfd(-8ULL, 8, self->efd[2])), PIO));
	EXPECT_NONE();
	/* No bit is left of a longer value that had the same place. */
	for (i = 0; i < 32; i++) {
		const uint32_t len = lengths[3 - i % 4];

		EXPECT_EQ(0, mmio_write(self->db, ADDR, len, ones(len) - i));
		EXPECT_EQ(0, bus_write(self->db, BY_PWRITE, ADDR, len, i));
		EXPECT_NEXT(2 * i + 1, MMIO, ADDR, len, ones(len) - i);
		EXPECT_NEXT(2 * i + 2, MMIO, ADDR, len, i);
		EXPECT_NONE();
		SIGNALS(2);
	}
	EXPECT_EQ(0, mmio_write(self->db, 0, 1, 0));
	EXPECT_EQ(0, pio_write(self->db, -8ULL, 8, UINT64_MAX));
	SIGNALS(0x110);
	EXPECT_NEXT(65, MMIO, 0, 1, 0);
	EXPECT_NEXT(66, PIO, -8ULL, 8, UINT64_MAX);
	EXPECT_NONE();
	EXPECT_BUS(66, 0);
}

/* Only writes to regions with records are recorded; once, even if several match. */
TEST_F(records, once)
{
	ASSIGN(recorded(to_eventfd(ADDR, 4, self->efd[0])));
	ASSIGN(recorded(matching(to_eventfd(ADDR, 4, self->efd[1]), 1)));
	ASSIGN(matching(to_eventfd(ADDR, 4, self->efd[2]), 2));
	ASSIGN(to_eventfd(ADDR + 4, 4, self->efd[0]));
	ASSIGN(recorded(matching(to_eventfd(ADDR + 4, 4, self->efd[1]), 1)));
	ASSIGN(matching(to_eventfd(ADDR + 4, 4, self->efd[2]), 2));
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 0));
	SIGNALS(0x001);
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 1));
	SIGNALS(0x011);
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 2));
	SIGNALS(0x101);
	EXPECT_EQ(0, mmio_write(self->db, ADDR + 4, 4, 0));
	SIGNALS(0x001);
	EXPECT_EQ(0, mmio_write(self->db, ADDR + 4, 4, 1));
	SIGNALS(0x011);
	EXPECT_EQ(0, mmio_write(self->db, ADDR + 4, 4, 2));
	SIGNALS(0x101);
	EXPECT_EQ(-EOPNOTSUPP, mmio_write(self->db, ADDR + 8, 4, 2));
	EXPECT_NEXT(1, MMIO, ADDR, 4, 0);
	EXPECT_NEXT(2, MMIO, ADDR, 4, 1);
	EXPECT_NEXT(3, MMIO, ADDR, 4, 2);
	EXPECT_NEXT(4, MMIO, ADDR + 4, 4, 1);
	EXPECT_NONE();
	EXPECT_BUS(4, 0);
}

/*
 * If the ring is full, a write is refused and signals nothing, not even regions without
 * records.
 */
TEST_F(records, full)
{
	struct doorbell_record record;
	unsigned int i, round;
	uint64_t kept_so_far = 0, taken = 0;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[2], 1));
	ASSIGN(recorded(to_eventfd(ADDR, 4, self->efd[0])));
	ASSIGN(matching(to_eventfd(ADDR, 4, self->efd[1]), 7));
	ASSIGN(recorded(to_line(ADDR + 4, 4, 1)));
	ASSIGN(to_eventfd(ADDR + 8, 4, self->efd[3]));
	for (round = 1; round <= 5; round++) {
		while (kept_so_far < taken + RECORDS) {
			EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, kept_so_far + 100));
			kept_so_far++;
			SIGNALS(0x0001);
		}
		EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 0));
		EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 7));
		EXPECT_EQ(-ENOBUFS, bus_write(self->db, BY_PWRITE, ADDR + 4, 4, 7));
		SIGNALS(0);
		EXPECT_EQ(round - 1, line_of(_metadata, self->db, 1).rings);
		EXPECT_BUS(kept_so_far, 4 * round - 1);
		/* Other regions work as before. */
		EXPECT_EQ(0, mmio_write(self->db, ADDR + 8, 4, 7));
		EXPECT_EQ(-EOPNOTSUPP, mmio_write(self->db, ADDR, 2, 7));
		SIGNALS(0x1000);
		/* There is room for one more, and only one. */
		ASSERT_TRUE(NEXT(&record));
		taken++;
		EXPECT_TRUE(is_record(&record, taken, MMIO, ADDR, 4, taken + 99));
		EXPECT_EQ(0, bus_write(self->db, BY_PWRITE, ADDR + 4, 4, kept_so_far + 100));
		kept_so_far++;
		SIGNALS(0x0100);
		EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 7));
		SIGNALS(0);
		for (i = 0; i < RECORDS; i++, taken++) {
			const uint64_t addr = i == RECORDS - 1 ? ADDR + 4 : ADDR;

			EXPECT_NEXT(taken + 1, MMIO, addr, 4, taken + 100);
		}
		EXPECT_NONE();
	}
	EXPECT_EQ(0, writes_to(self->db, 1));
	EXPECT_EQ(5, writes_to(self->db, 2));
}

/* A batch or a vector ends where there is no room, and can go on there later. */
TEST_F(records, batch)
{
	struct doorbell_bus_access accesses[RECORDS + 3];
	struct doorbell_record record;
	struct iovec iov[RECORDS + 3];
	union cell cell = cell_of(1, 0x11);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(accesses); i++) {
		accesses[i] =
			(struct doorbell_bus_access){ .addr = ADDR + i, .length = 1, .value = i };
		iov[i] = (struct iovec){ .iov_base = &cell, .iov_len = 1 };
		ASSIGN(recorded(to_eventfd(ADDR + i, 1, self->efd[0])));
	}
	EXPECT_EQ(RECORDS, doorbell_bus_writes(self->db, accesses, ARRAY_SIZE(accesses)));
	EXPECT_BUS(RECORDS, 1);
	EXPECT_EQ(-ENOBUFS, doorbell_bus_writes(self->db, accesses + RECORDS, 3));
	EXPECT_BUS(RECORDS, 2);
	SIGNALS(RECORDS);
	EXPECT_NEXT(1, MMIO, ADDR, 1, 0);
	EXPECT_NEXT(2, MMIO, ADDR + 1, 1, 1);
	EXPECT_EQ(2, doorbell_bus_writes(self->db, accesses + RECORDS, 3));
	for (i = 2; i < RECORDS + 2; i++)
		EXPECT_NEXT(i + 1, MMIO, ADDR + i, 1, i);
	EXPECT_EQ(RECORDS, pwritev64(self->db, iov, ARRAY_SIZE(iov), ADDR));
	EXPECT_EQ(-1, pwritev64(self->db, iov, 1, ADDR));
	EXPECT_EQ(ENOBUFS, errno);
	for (i = 0; i < RECORDS; i++)
		EXPECT_NEXT(RECORDS + 3 + i, MMIO, ADDR + i, 1, 0x11);
	EXPECT_FALSE(NEXT(&record));
}

/* Whole records, as many as exist or fit; into vectors, too. */
TEST_F(records, read_in_pieces)
{
	struct doorbell_record got[RECORDS + 1];
	struct iovec iov[2] = {
		{ .iov_base = got, .iov_len = sizeof(*got) / 2 },
		{ .iov_base = (char *)got + sizeof(*got) / 2, .iov_len = 2 * sizeof(*got) },
	};
	unsigned int room, i, expected;
	uint64_t sequence = 0;

	ASSIGN(recorded(to_eventfd(ADDR, 8, self->efd[0])));
	for (room = 1; room <= RECORDS + 1; room++) {
		for (i = 0; i < RECORDS - 1; i++)
			ASSERT_EQ(0, mmio_write(self->db, ADDR, 8, ~(sequence + i)));
		memset(got, 0xff, sizeof(got));
		/* A part of a record's size is no room for a record. */
		expected = room < RECORDS ? room : RECORDS - 1;
		ASSERT_EQ(expected * sizeof(*got),
			  read(self->db, got, room * sizeof(*got) + (room <= RECORDS) * 31));
		for (i = 0; i < expected; i++)
			EXPECT_TRUE(is_record(&got[i], sequence + i + 1, MMIO, ADDR, 8,
					      ~(sequence + i)));
		if (expected < RECORDS)
			EXPECT_EQ(UINT64_MAX, got[expected].sequence);
		for (; i < RECORDS - 1; i++)
			EXPECT_NEXT(sequence + i + 1, MMIO, ADDR, 8, ~(sequence + i));
		EXPECT_NONE();
		sequence += RECORDS - 1;
	}
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, mmio_write(self->db, ADDR, 8, i));
	EXPECT_EQ(2 * sizeof(*got), readv(self->db, iov, 2));
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(is_record(&got[i], sequence + i + 1, MMIO, ADDR, 8, i));
}

/* Looking at a record does not consume it, and the two ways to consume can alternate. */
TEST_F(records, mapping)
{
	const struct doorbell_record_ring *map = self->records.ring;
	struct doorbell_records other;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(map->reserved); i++)
		EXPECT_EQ(0, map->reserved[i]);
	EXPECT_EQ(0, map->head);
	ASSIGN(recorded(to_eventfd(ADDR, 2, self->efd[0])));
	for (i = 0; i < 3 * RECORDS; i++) {
		struct doorbell_record record;

		EXPECT_EQ(0, mmio_write(self->db, ADDR, 2, i));
		EXPECT_TRUE(is_record(&map->records[i % RECORDS], i + 1, MMIO, ADDR, 2, i));
		EXPECT_EQ(i, map->head);
		EXPECT_TRUE(i % 3 == variant->mapped ? read_records(self->db, &record, 1) == 1 :
			    doorbell_next_record(&self->records, &record));
		EXPECT_TRUE(is_record(&record, i + 1, MMIO, ADDR, 2, i));
		EXPECT_EQ(i + 1, map->head);
		EXPECT_NONE();
	}
	/* Another mapping shows the same records. It outlives all fds of the context. */
	other = map_records(_metadata, self->db);
	EXPECT_EQ(3 * RECORDS, other.ring->head);
	ASSERT_EQ(0, mmio_write(self->db, ADDR, 2, 0xabcd));
	close(self->db);
	ASSERT_EQ(0, doorbell_unmap_records(&self->records));
	EXPECT_EQ(0xabcd, other.ring->records[0].value);
}

/*
 * An impossible head makes the ring full and has no other effect. With a valid head all
 * works again.
 */
TEST_F(records, impossible_head)
{
	struct doorbell_record_ring *map = self->records.ring;
	uint64_t heads[] = {
		6, 7, RECORDS, 5 + RECORDS, 6 + RECORDS, 1ULL << 32, 5 | 1ULL << 32, INT64_MAX,
		1ULL << 63, 5 | 1ULL << 63, -(uint64_t)RECORDS, UINT64_MAX - 1, UINT64_MAX,
	};
	uint64_t refused = 0;
	unsigned int i, j;

	ASSIGN(recorded(to_eventfd(ADDR, 4, self->efd[0])));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, mmio_write(self->db, ADDR, 4, i));
	SIGNALS(5);
	EXPECT_NEXT(1, MMIO, ADDR, 4, 0);
	EXPECT_NEXT(2, MMIO, ADDR, 4, 1);
	for (i = 0; i < ARRAY_SIZE(heads); i++) {
		struct doorbell_record record;

		__atomic_store_n(&map->head, heads[i], __ATOMIC_RELEASE);
		EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 77)) {
			TH_LOG("head %#llx", (unsigned long long)heads[i]);
		}
		EXPECT_EQ(-ENOBUFS, bus_write(self->db, BY_PWRITE, ADDR, 4, 77));
		refused += 2;
		SIGNALS(0);
		/* The record at that place has another sequence number. */
		EXPECT_EQ(-EAGAIN, read_records(self->db, &record, 1));
		EXPECT_EQ(heads[i], map->head);
		EXPECT_BUS(5, refused);
	}
	/* A record that was not consumed was not overwritten. */
	__atomic_store_n(&map->head, 2, __ATOMIC_RELEASE);
	for (i = 2; i < 5; i++)
		EXPECT_NEXT(i + 1, MMIO, ADDR, 4, i);
	EXPECT_NONE();
	/* The next record has the next number. */
	for (j = 0; j < RECORDS; j++)
		EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, j));
	EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, j));
	for (j = 0; j < RECORDS; j++)
		EXPECT_NEXT(6 + j, MMIO, ADDR, 4, j);
	EXPECT_BUS(5 + RECORDS, refused + 1);
}

/* If a process overwrites the records, only that process reads the wrong values. */
TEST_F(records, scribbled_over)
{
	struct doorbell_record record;
	unsigned int i;

	ASSIGN(recorded(to_eventfd(ADDR, 4, self->efd[0])));
	memset(self->records.ring, 0xff, records_size(RECORDS));
	EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 1));
	memset(self->records.ring, 0, records_size(RECORDS));
	for (i = 0; i < 2 * RECORDS; i++) {
		EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, i));
		EXPECT_NEXT(i + 1, MMIO, ADDR, 4, i);
	}
	memset(self->records.ring->records, 0, RECORDS * sizeof(record));
	EXPECT_NONE();
	EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, i));
	EXPECT_NEXT(i + 1, MMIO, ADDR, 4, i);
}

/* One place is enough for a mailbox; and the records may be more than one page. */
TEST_F(records, sizes)
{
	static const uint32_t sizes[] = { 1, 2, 64, 4096 };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		const uint32_t nr = sizes[i];
		int db = new_context(_metadata, 1);
		struct doorbell_record record;
		struct doorbell_records records;

		ASSERT_EQ(0, doorbell_set_records(db, nr));
		records = map_records(_metadata, db);
		ASSERT_EQ(0, change_region(db, recorded(to_eventfd(ADDR, 4, self->efd[0]))));
		for (j = 0; j < nr; j++)
			ASSERT_EQ(0, mmio_write(db, ADDR, 4, j));
		EXPECT_EQ(nr, efd_read(self->efd[0]));
		EXPECT_EQ(-ENOBUFS, mmio_write(db, ADDR, 4, j));
		for (j = 0; j < nr; j++) {
			const bool got = variant->mapped ? doorbell_next_record(&records, &record) :
				read_records(db, &record, 1) == 1;

			ASSERT_TRUE(got && is_record(&record, j + 1, MMIO, ADDR, 4, j));
			ASSERT_EQ(0, mmio_write(db, ADDR, 4, nr + j));
			ASSERT_EQ(-ENOBUFS, mmio_write(db, ADDR, 4, nr + j));
		}
		EXPECT_EQ(2 * nr, bus_of(_metadata, db).recorded);
		EXPECT_EQ(nr + 1, bus_of(_metadata, db).refused);
		ASSERT_EQ(0, doorbell_unmap_records(&records));
		efd_drain(self->efd[0]);
		close(db);
	}
}

TEST_HARNESS_MAIN
