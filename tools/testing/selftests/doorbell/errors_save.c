// SPDX-License-Identifier: GPL-2.0-only
/*
 * The errors of DOORBELL_SAVE and DOORBELL_RESTORE, see errors.c. A refused call must
 * change nothing. Runs as a 32-bit program, too.
 */
#include "errors.h"

FIXTURE(errors_save) {
	struct wiring w;
	/* A context without history, whose lines can be restored. */
	int fresh;
	struct doorbell_saved_line records[PER_DB];
	struct doorbell_save save;
	struct doorbell_restore restore;
};

FIXTURE_SETUP(errors_save)
{
	struct wiring *w = &self->w;
	int i;

	wiring_init(_metadata, w);
	WIRE();
	self->fresh = new_context(_metadata, PER_DB);
	for (i = 0; i < PER_DB; i++) {
		self->records[i] = (struct doorbell_saved_line){
			.state = VECTOR_MASKED | DOORBELL_LINE_PENDING, .deliveries = i };
	}
	self->save = (struct doorbell_save){
		.lines = (uintptr_t)self->records, .nr_lines = PER_DB,
		.record_size = sizeof(self->records[0]) };
	self->restore = (struct doorbell_restore){
		.lines = (uintptr_t)self->records, .nr_lines = PER_DB,
		.record_size = sizeof(self->records[0]) };
}

FIXTURE_TEARDOWN(errors_save)
{
}

#define SAVE()		doorbell_ioctl(w->db[0], DOORBELL_SAVE, &self->save)
#define RESTORE()	doorbell_ioctl(self->fresh, DOORBELL_RESTORE, &self->restore)

/* Expects that no line of the fresh context was restored. */
#define UNTOUCHED() do {						\
	struct doorbell_saved_line __now[PER_DB];			\
	struct doorbell_saved_line __none[PER_DB] = {};			\
									\
	ASSERT_EQ(0, doorbell_save_lines(self->fresh, 0, PER_DB, __now)); \
	ASSERT_EQ(0, memcmp(__now, __none, sizeof(__now)));		\
} while (0)

#define REFUSED_RESTORE(error, index) do {				\
	self->restore.failed = 77;					\
	ASSERT_EQ(-(error), RESTORE());					\
	ASSERT_EQ(index, self->restore.failed);				\
	UNTOUCHED();							\
} while (0)

#define REFUSED_BOTH(error) do {					\
	const int __error = error;					\
									\
	REFUSED(__error, SAVE());					\
	REFUSED_RESTORE(__error, UINT32_MAX);				\
} while (0)

/* Nothing was wrong but what the test has changed. */
#define ACCEPTED_BOTH() do {						\
	ASSERT_EQ(0, RESTORE());					\
	ASSERT_EQ(0, SAVE());						\
	ASSERT_TRUE(intact(w));						\
} while (0)

TEST_F(errors_save, unknown_flags)
{
	struct wiring *w = &self->w;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		self->save.flags = 1U << bit;
		self->restore.flags = 1U << bit;
		REFUSED_BOTH(EINVAL);
	}
	self->save.flags = 0;
	self->restore.flags = 0;
	ACCEPTED_BOTH();
}

TEST_F(errors_save, reserved_fields)
{
	struct wiring *w = &self->w;
	unsigned int i;

	REFUSED_RESERVED(w->db[0], DOORBELL_SAVE, self->save);
	for (i = 0; i < ARRAY_SIZE(self->restore.reserved); i++) {
		self->restore.reserved[i] = 1U << i;
		REFUSED_RESTORE(EINVAL, UINT32_MAX);
		self->restore.reserved[i] = 0;
	}
	ACCEPTED_BOTH();
}

/* No lines; sizes that are too small, too large, and no multiples of 8. */
TEST_F(errors_save, sizes)
{
	static const uint32_t sizes[] = {
		0, 8, DOORBELL_SAVED_LINE_SIZE - 8, DOORBELL_SAVED_LINE_SIZE - 1,
		DOORBELL_SAVED_LINE_SIZE + 1, DOORBELL_SAVED_LINE_SIZE + 4,
		DOORBELL_SAVED_LINE_SIZE_MAX + 1, DOORBELL_SAVED_LINE_SIZE_MAX + 8, 1U << 31,
		UINT32_MAX,
	};
	struct wiring *w = &self->w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		self->save.record_size = sizes[i];
		self->restore.record_size = sizes[i];
		REFUSED_BOTH(EINVAL);
	}
	self->save.record_size = sizeof(self->records[0]);
	self->restore.record_size = sizeof(self->records[0]);
	self->save.nr_lines = 0;
	self->restore.nr_lines = 0;
	REFUSED_BOTH(EINVAL);
	self->save.nr_lines = PER_DB;
	self->restore.nr_lines = PER_DB;
	ACCEPTED_BOTH();
}

TEST_F(errors_save, no_such_line)
{
	static const uint32_t ranges[][2] = {
		{ 0, PER_DB + 1 }, { 1, PER_DB }, { PER_DB, 1 }, { UINT32_MAX, 1 },
		{ UINT32_MAX, 2 }, { 1, UINT32_MAX }, { 0, UINT32_MAX }, { DOORBELL_MAX_LINES, 1 },
	};
	struct wiring *w = &self->w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		self->save.line = ranges[i][0];
		self->save.nr_lines = ranges[i][1];
		self->restore.line = ranges[i][0];
		self->restore.nr_lines = ranges[i][1];
		REFUSED_BOTH(ENXIO);
	}
	self->save.line = 0;
	self->save.nr_lines = PER_DB;
	self->restore.line = 0;
	self->restore.nr_lines = PER_DB;
	ACCEPTED_BOTH();
}

TEST_F(errors_save, no_lines_yet)
{
	struct wiring *w = &self->w;
	int none = new_context(_metadata, 0);

	REFUSED(ENXIO, doorbell_ioctl(none, DOORBELL_SAVE, &self->save));
	REFUSED(ENXIO, doorbell_ioctl(none, DOORBELL_RESTORE, &self->restore));
	EXPECT_EQ(UINT32_MAX, self->restore.failed);
}

/*
 * The argument, and arrays that end too early: at each record, and within one. A restore has
 * restored none of the records that it could read.
 */
TEST_F(errors_save, bad_address)
{
	const size_t size = sizeof(self->records[0]);
	long page = sysconf(_SC_PAGESIZE);
	struct wiring *w = &self->w;
	unsigned int known;
	char *mem;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	ASSERT_EQ(0, munmap(mem + page, page));
	REFUSED(EFAULT, doorbell_ioctl(w->db[0], DOORBELL_SAVE, NULL));
	REFUSED(EFAULT, doorbell_ioctl(w->db[0], DOORBELL_SAVE, mem + page - 8));
	ASSERT_EQ(-EFAULT, doorbell_ioctl(self->fresh, DOORBELL_RESTORE, NULL));
	ASSERT_EQ(-EFAULT, doorbell_ioctl(self->fresh, DOORBELL_RESTORE, mem + page - 8));
	for (known = 0; known < PER_DB; known++) {
		size_t more;

		for (more = 0; more < size; more += size - 8) {
			char *at = mem + page - known * size - more;

			memcpy(at, self->records, known * size + more);
			self->save.lines = (uintptr_t)at;
			self->restore.lines = (uintptr_t)at;
			REFUSED(EFAULT, SAVE());
			memcpy(at, self->records, known * size + more);
			REFUSED_RESTORE(EFAULT, known);
		}
	}
	self->save.lines = 0;
	self->restore.lines = 0;
	REFUSED(EFAULT, SAVE());
	REFUSED_RESTORE(EFAULT, 0);
	self->save.lines = ~0ULL - 7;
	self->restore.lines = ~0ULL - 7;
	REFUSED(EFAULT, SAVE());
	REFUSED_RESTORE(EFAULT, 0);

	/* A restore writes to its argument first, so it must be writable. */
	memcpy(mem, &self->restore, sizeof(self->restore));
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ));
	ASSERT_EQ(-EFAULT, doorbell_ioctl(self->fresh, DOORBELL_RESTORE, mem));
	UNTOUCHED();
	/* And a save to its array. */
	self->save.lines = (uintptr_t)mem;
	REFUSED(EFAULT, SAVE());
}

/* Every state of which no line can be, in each place, and with that the error of each bit. */
TEST_F(errors_save, impossible_states)
{
	const struct doorbell_saved_line good = self->records[PER_DB - 1];
	const bool level = good.state & DOORBELL_LINE_LEVEL;
	struct wiring *w = &self->w;
	unsigned int bits, refused = 0, i;

	/* All combinations of the seven lower bits and of one reason. */
	for (bits = 0; bits < 1U << 8; bits++) {
		const uint32_t state = (bits & 0x7f) | (bits >> 7) << DOORBELL_LINE_REASONS_SHIFT;
		const bool is_level = state & DOORBELL_LINE_LEVEL, masked = bits >> 7;
		const bool pending = state & DOORBELL_LINE_PENDING;
		const bool asserted = state & DOORBELL_LINE_ASSERTED;
		const bool raised = state & DOORBELL_LINE_RAISED;
		const bool resample = state & DOORBELL_LINE_RESAMPLE;
		bool possible = masked == !!(state & DOORBELL_LINE_MASKED);

		possible &= is_level || !(asserted || raised || resample);
		possible &= !is_level || !pending || asserted || raised;
		possible &= !resample || masked;
		if (possible)
			continue;
		self->records[PER_DB - 1].state = state;
		REFUSED_RESTORE(EINVAL, PER_DB - 1);
		refused++;
	}
	EXPECT_LT(100, refused);
	/* Unknown bits. */
	for (i = 0; i < 32; i++) {
		self->records[PER_DB - 1] = good;
		self->records[PER_DB - 1].state |= 1U << i;
		if (1U << i & ~DOORBELL_SAVED_STATE)
			REFUSED_RESTORE(EINVAL, PER_DB - 1);
		self->records[PER_DB - 1] = good;
		self->records[PER_DB - 1].flags = 1U << i;
		if (level || 1U << i != DOORBELL_SAVED_FLAG_COUNTED)
			REFUSED_RESTORE(EINVAL, PER_DB - 1);
	}
	/* An asserted line may be undelivered, without a message. */
	self->records[PER_DB - 1] = (struct doorbell_saved_line){
		.state = DOORBELL_LINE_LEVEL | DOORBELL_LINE_ASSERTED | DOORBELL_LINE_PENDING |
			 VECTOR_MASKED,
		.flags = DOORBELL_SAVED_FLAG_UNDELIVERED };
	REFUSED_RESTORE(EINVAL, PER_DB - 1);
	/* The first bad record is named. */
	self->records[1].state = DOORBELL_LINE_MASKED;
	REFUSED_RESTORE(EINVAL, 1);
	self->records[1].state = 0;
	self->records[PER_DB - 1].state &= ~DOORBELL_LINE_PENDING;
	/* Units without a message, of a line that did not count, and of a level line. */
	self->records[1].units = 1;
	self->records[1].flags = DOORBELL_SAVED_FLAG_COUNTED;
	REFUSED_RESTORE(EINVAL, 1);
	self->records[1].state = DOORBELL_LINE_PENDING;
	self->records[1].flags = 0;
	REFUSED_RESTORE(EINVAL, 1);
	self->records[1].state = DOORBELL_LINE_LEVEL | DOORBELL_LINE_ASSERTED |
				 DOORBELL_LINE_PENDING;
	REFUSED_RESTORE(EINVAL, 1);
	self->records[1].units = 0;
	self->records[1].flags = DOORBELL_SAVED_FLAG_COUNTED;
	REFUSED_RESTORE(EINVAL, 1);
	self->records[1].state = 0;
	self->records[1].flags = 0;
	self->records[1].reserved = 1;
	REFUSED_RESTORE(EINVAL, 1);
	self->records[1].reserved = 0;
	ACCEPTED_BOTH();
}

/* EBUSY: a line has moved. The others are as they were. */
TEST_F(errors_save, busy)
{
	struct wiring *w = &self->w;
	struct doorbell_saved_line now[PER_DB];
	int way;

	for (way = 0; way < 7; way++) {
		const uint32_t line = PER_DB - 1;
		int db = new_context(_metadata, PER_DB);

		switch (way) {
		case 0:
			ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, line));
			break;
		case 1:
			ASSERT_EQ(0, doorbell_set_type(db, line, DOORBELL_TYPE_LEVEL));
			break;
		case 2:
			ASSERT_EQ(0, doorbell_set_type_automask(db, line, DOORBELL_TYPE_EDGE));
			break;
		case 3:
			ASSERT_EQ(1, doorbell_mask(db, line));
			ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, line));
			ASSERT_EQ(1, doorbell_clear(db, line));
			ASSERT_EQ(0, doorbell_unmask(db, line));
			break;
		case 4:
			/* Of an edge line again, but it has acked. */
			ASSERT_EQ(0, doorbell_set_type(db, line, DOORBELL_TYPE_LEVEL));
			ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, line));
			ASSERT_EQ(DOORBELL_ACK_DONE, doorbell_ack(db, line));
			ASSERT_EQ(0, doorbell_set_type(db, line, DOORBELL_TYPE_EDGE));
			break;
		case 5:
			ASSERT_EQ(0, doorbell_assign_waiters(db, line));
			break;
		case 6:
			ASSERT_EQ(0, doorbell_restore_lines(db, line, 1, &self->records[1], NULL));
			break;
		}
		self->restore.failed = 77;
		ASSERT_EQ(-EBUSY, doorbell_ioctl(db, DOORBELL_RESTORE, &self->restore));
		EXPECT_EQ(line, self->restore.failed);
		ASSERT_EQ(0, doorbell_save_lines(db, 0, PER_DB, now));
		for (unsigned int i = 0; i < line; i++) {
			const struct doorbell_saved_line none = {};

			EXPECT_EQ(0, memcmp(&none, &now[i], sizeof(none)));
		}
		/* Without that line. */
		self->restore.nr_lines = line;
		ASSERT_EQ(0, doorbell_ioctl(db, DOORBELL_RESTORE, &self->restore));
		EXPECT_EQ(UINT32_MAX, self->restore.failed);
		self->restore.nr_lines = PER_DB;
		close(db);
	}
	/* The lines of the fixture have all moved. */
	REFUSED(EBUSY, doorbell_ioctl(w->db[0], DOORBELL_RESTORE, &self->restore));
}

/* The order of several errors: EINVAL of the argument, ENXIO, the records, EBUSY. */
TEST_F(errors_save, order_of_errors)
{
	struct wiring *w = &self->w;

	self->save.nr_lines = PER_DB + 1;
	self->restore.nr_lines = PER_DB + 1;
	self->save.lines = 0;
	self->restore.lines = 0;
	self->save.record_size = 0;
	self->restore.record_size = 0;
	REFUSED_BOTH(EINVAL);
	self->save.record_size = sizeof(self->records[0]);
	self->restore.record_size = sizeof(self->records[0]);
	REFUSED_BOTH(ENXIO);
	self->restore.nr_lines = PER_DB;
	REFUSED_RESTORE(EFAULT, 0);
	self->restore.lines = (uintptr_t)self->records;
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->fresh, 0));
	self->records[PER_DB - 1].state = DOORBELL_LINE_MASKED;
	ASSERT_EQ(-EINVAL, RESTORE());
	EXPECT_EQ(PER_DB - 1, self->restore.failed);
	self->records[PER_DB - 1].state = 0;
	ASSERT_EQ(-EBUSY, RESTORE());
	EXPECT_EQ(0, self->restore.failed);
}

TEST_HARNESS_MAIN
