// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of errors, for every ioctl: if several apply, an argument that cannot be read
 * (EFAULT) comes before an invalid structure (EINVAL), that before a missing line (ENXIO),
 * that before an fd or a bitmap, and that before all others. DOORBELL_GET_BUS reads no
 * argument, so there ENXIO comes before EFAULT. Each test begins with an argument that has
 * all errors of the call, and repairs one at a time. Runs as a 32-bit program, too.
 */
#include <doorbell_summary.h>

#include "bus.h"

/* The number of lines, and a line that does not exist. */
#define LINES		4
#define NO_LINE		LINES

#define BAD_FLAG	(1U << 31)

/* An eventfd is wired to line 0 in all ways, and line 1 is a level line. */
FIXTURE(errors_order) {
	int db;
	/* A context whose lines are not chosen yet. */
	int fresh;
	/* An irqfd, a trigger and a notifier of line 0; and a fd that is not open. */
	int in;
	int out;
	int closed;
	/* The ioctls that were tested, by their numbers. */
	uint64_t seen;
};

FIXTURE_SETUP(errors_order)
{
	self->db = new_context(_metadata, LINES);
	self->fresh = new_context(_metadata, 0);
	self->in = new_eventfd(_metadata, 0, 0);
	self->out = new_eventfd(_metadata, 0, 0);
	self->closed = dup(self->out);
	close(self->closed);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->out, 0, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(0, doorbell_set_type(self->db, 1, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_summary(self->db, 2, 1));
	ASSERT_EQ(0, doorbell_set_records(self->db, 4));
	ASSERT_EQ(0, change_region(self->db, to_eventfd(0x1000, 4, self->out)));
}

FIXTURE_TEARDOWN(errors_order)
{
}

/* Expects the error. */
#define FAILS(error, fd, cmd, arg) do {					\
	const unsigned long __cmd = cmd;				\
									\
	self->seen |= 1ULL << _IOC_NR(__cmd);				\
	EXPECT_EQ(-(error), doorbell_ioctl(fd, __cmd, arg));		\
} while (0)

/* Expects the error as the last one. */
#define LAST(error, cmd, arg)	FAILS(error, self->db, cmd, &(arg))

/* Expects the error, then repairs the argument by @repair. */
#define FIRST(error, cmd, arg, repair) do {				\
	FAILS(error, self->db, cmd, &(arg));				\
	repair;								\
} while (0)

/* Expects the error in a context with lines and in one without. */
#define BOTH_FAIL(error, cmd, arg) do {					\
	const unsigned long __both = cmd;				\
	const int __error = error;					\
	void *__arg = arg;						\
									\
	FAILS(__error, self->fresh, __both, __arg);			\
	FAILS(__error, self->db, __both, __arg);			\
} while (0)

/* As FIRST() in both contexts, with EINVAL. */
#define EINVAL_FIRST(cmd, arg, repair) do {				\
	BOTH_FAIL(EINVAL, cmd, &(arg));					\
	repair;								\
} while (0)

/* As FIRST() in both contexts, with ENXIO. */
#define ENXIO_NEXT(cmd, arg, repair) do {				\
	BOTH_FAIL(ENXIO, cmd, &(arg));					\
	repair;								\
} while (0)

/* ENXIO is the last error. */
#define ENXIO_LAST(cmd, arg)	BOTH_FAIL(ENXIO, cmd, &(arg))

/* ENXIO, for a call that names no line. */
#define ENXIO_FRESH(cmd, arg)	FAILS(ENXIO, self->fresh, cmd, &(arg))

/* Repairs the flags and the reserved field of the structure. */
#define EINVAL_TWICE(cmd, arg) do {					\
	const unsigned long __twice = cmd;				\
	typeof(arg) *__struct = &(arg);					\
									\
	__struct->reserved[0] = 1;					\
	BOTH_FAIL(EINVAL, __twice, __struct);				\
	__struct->flags &= ~BAD_FLAG;					\
	BOTH_FAIL(EINVAL, __twice, __struct);				\
	__struct->reserved[0] = 0;					\
} while (0)

static void order_of_context(struct __test_metadata *_metadata,
			     struct _test_data_errors_order *self)
{
	struct doorbell_set_lines lines = { .flags = BAD_FLAG };
	struct doorbell_query query = { .line = NO_LINE, .flags = BAD_FLAG };
	struct doorbell_get_bus bus;

	/* These have one error, or two that exclude each other. */
	FAILS(EFAULT, self->db, DOORBELL_GET_INFO, NULL);
	FAILS(EFAULT, self->db, DOORBELL_GET_BUS, NULL);
	FAILS(ENXIO, self->fresh, DOORBELL_GET_BUS, &bus);
	FAILS(ENXIO, self->fresh, DOORBELL_GET_BUS, NULL);
	FAILS(ENXIO, self->db, DOORBELL_RING, (void *)NO_LINE);
	FAILS(ENXIO, self->fresh, DOORBELL_RING, NULL);

	lines.reserved[0] = 1;
	FIRST(EINVAL, DOORBELL_SET_LINES, lines, lines.flags = 0);
	FIRST(EINVAL, DOORBELL_SET_LINES, lines, lines.reserved[0] = 0);
	FIRST(EINVAL, DOORBELL_SET_LINES, lines, lines.nr_lines = DOORBELL_MAX_LINES + 1);
	FIRST(EINVAL, DOORBELL_SET_LINES, lines, lines.nr_lines = 1);
	LAST(EEXIST, DOORBELL_SET_LINES, lines);

	EINVAL_FIRST(DOORBELL_QUERY, query, query.flags = 0; query.reserved = 1);
	EINVAL_FIRST(DOORBELL_QUERY, query, query.reserved = 0);
	ENXIO_LAST(DOORBELL_QUERY, query);
}

/* A context without lines would be an error, too. */
static void unreadable_first(struct __test_metadata *_metadata,
			     struct _test_data_errors_order *self)
{
	static const unsigned long readers[] = {
		DOORBELL_SET_LINES, DOORBELL_IRQFD, DOORBELL_TRIGGER, DOORBELL_NOTIFIER,
		DOORBELL_QUERY, DOORBELL_MASK, DOORBELL_UNMASK, DOORBELL_CLEAR, DOORBELL_PENDING,
		DOORBELL_RING_LINES, DOORBELL_SET_TYPE, DOORBELL_SET_LEVEL, DOORBELL_MODERATE,
		DOORBELL_SUMMARY, DOORBELL_REGION, DOORBELL_REGIONS, DOORBELL_GET_REGIONS,
		DOORBELL_SET_RECORDS, DOORBELL_BUS_WRITE, DOORBELL_EVENTFD_READ,
		DOORBELL_EVENTFD_PEEK, DOORBELL_RING_WAIT, DOORBELL_WAIT, DOORBELL_SAVE,
		DOORBELL_RESTORE,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(readers); i++)
		BOTH_FAIL(EFAULT, readers[i], NULL);
}

static void order_of_assignments(struct __test_metadata *_metadata,
				 struct _test_data_errors_order *self)
{
	static const uint32_t irqfd_flags[] = {
		0, DEASSIGN, DOORBELL_IRQFD_FLAG_RESAMPLE, DOORBELL_IRQFD_FLAG_UNMASK,
		DOORBELL_IRQFD_FLAG_ACK,
	};
	struct doorbell_trigger trigger;
	struct doorbell_notifier notifier;
	struct doorbell_irqfd irqfd;
	uint32_t flags;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(irqfd_flags); i++) {
		flags = irqfd_flags[i];
		irqfd = (struct doorbell_irqfd){
			.fd = self->closed, .line = NO_LINE, .flags = flags | BAD_FLAG };
		EINVAL_TWICE(DOORBELL_IRQFD, irqfd);
		if (flags == DOORBELL_IRQFD_FLAG_RESAMPLE) {
			irqfd.resamplefd = self->closed;
		} else {
			irqfd.resamplefd = 1;
			EINVAL_FIRST(DOORBELL_IRQFD, irqfd, irqfd.resamplefd = 0);
		}
		ENXIO_NEXT(DOORBELL_IRQFD, irqfd, irqfd.line = 0);
		/* One that is no irqfd, if the line is refused. */
		FIRST(EBADF, DOORBELL_IRQFD, irqfd,
		      irqfd.fd = i < 2 || i == 3 ? self->in : self->out);
		switch (flags) {
		case 0:
			FIRST(EEXIST, DOORBELL_IRQFD, irqfd, irqfd.line = 1);
			LAST(EBUSY, DOORBELL_IRQFD, irqfd);
			break;
		case DEASSIGN:
			irqfd.fd = self->out;
			LAST(ENOENT, DOORBELL_IRQFD, irqfd);
			break;
		case DOORBELL_IRQFD_FLAG_RESAMPLE:
			FIRST(EBADF, DOORBELL_IRQFD, irqfd, irqfd.resamplefd = self->in);
			LAST(EOPNOTSUPP, DOORBELL_IRQFD, irqfd);
			break;
		case DOORBELL_IRQFD_FLAG_ACK:
			LAST(EOPNOTSUPP, DOORBELL_IRQFD, irqfd);
			break;
		default:
			LAST(EBUSY, DOORBELL_IRQFD, irqfd);
		}
	}
	for (flags = 0; flags <= DEASSIGN; flags++) {
		trigger = (struct doorbell_trigger){
			.fd = self->closed, .line = NO_LINE, .flags = flags | BAD_FLAG };
		EINVAL_TWICE(DOORBELL_TRIGGER, trigger);
		ENXIO_NEXT(DOORBELL_TRIGGER, trigger, trigger.line = 0);
		FIRST(EBADF, DOORBELL_TRIGGER, trigger, trigger.fd = flags ? self->in : self->out);
		LAST(flags ? ENOENT : EEXIST, DOORBELL_TRIGGER, trigger);

		notifier = (struct doorbell_notifier){
			.fd = self->closed, .line = NO_LINE, .flags = flags | BAD_FLAG };
		EINVAL_TWICE(DOORBELL_NOTIFIER, notifier);
		notifier.events = 8;
		EINVAL_FIRST(DOORBELL_NOTIFIER, notifier, notifier.events = flags ? 0 : 1);
		ENXIO_NEXT(DOORBELL_NOTIFIER, notifier, notifier.line = 0);
		FIRST(EBADF, DOORBELL_NOTIFIER, notifier,
		      notifier.fd = flags ? self->in : self->out);
		LAST(flags ? ENOENT : EEXIST, DOORBELL_NOTIFIER, notifier);
	}
	/* Without an fd of their own: all of the line, and the line's waiters. */
	trigger = (struct doorbell_trigger){
		.fd = self->closed, .line = NO_LINE,
		.flags = DEASSIGN | DOORBELL_TRIGGER_FLAG_ALL };
	EINVAL_FIRST(DOORBELL_TRIGGER, trigger, trigger.fd = -1);
	ENXIO_LAST(DOORBELL_TRIGGER, trigger);
	trigger.flags = DOORBELL_TRIGGER_FLAG_WAITERS;
	ENXIO_NEXT(DOORBELL_TRIGGER, trigger, trigger.line = 2);
	FIRST(EBUSY, DOORBELL_TRIGGER, trigger, trigger.flags |= DEASSIGN);
	LAST(ENOENT, DOORBELL_TRIGGER, trigger);
	trigger = (struct doorbell_trigger){
		.fd = self->closed, .line = NO_LINE, .flags = DOORBELL_TRIGGER_FLAG_COUNT };
	ENXIO_NEXT(DOORBELL_TRIGGER, trigger, trigger.line = 1);
	FIRST(EBADF, DOORBELL_TRIGGER, trigger, trigger.fd = self->out);
	LAST(EOPNOTSUPP, DOORBELL_TRIGGER, trigger);
	notifier = (struct doorbell_notifier){
		.fd = self->closed, .line = NO_LINE,
		.flags = DEASSIGN | DOORBELL_NOTIFIER_FLAG_ALL };
	EINVAL_FIRST(DOORBELL_NOTIFIER, notifier, notifier.fd = -1);
	ENXIO_LAST(DOORBELL_NOTIFIER, notifier);
}

static void order_of_lines(struct __test_metadata *_metadata,
			   struct _test_data_errors_order *self)
{
	static const unsigned long sets[] = {
		DOORBELL_MASK, DOORBELL_UNMASK, DOORBELL_CLEAR, DOORBELL_PENDING,
		DOORBELL_RING_LINES,
	};
	struct doorbell_set_type type = { .line = NO_LINE, .type = 2, .flags = BAD_FLAG };
	struct doorbell_set_level level = { .line = NO_LINE, .level = 2, .flags = BAD_FLAG };
	struct doorbell_moderate moderate = {
		.line = NO_LINE, .flags = BAD_FLAG, .min_interval = 1 };
	uint64_t beyond = 2;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sets); i++) {
		struct doorbell_line_set set = {
			.line = NO_LINE, .lines = 8, .result = 8, .flags = BAD_FLAG };

		EINVAL_TWICE(sets[i], set);
		EINVAL_FIRST(sets[i], set, set.nr_lines = 1);
		ENXIO_NEXT(sets[i], set, set.line = 1);
		FIRST(EFAULT, sets[i], set, set.lines = (uintptr_t)&beyond);
		FIRST(EINVAL, sets[i], set, set.lines = 0);
		LAST(EFAULT, sets[i], set);
	}

	EINVAL_TWICE(DOORBELL_SET_TYPE, type);
	EINVAL_FIRST(DOORBELL_SET_TYPE, type, type.type = DOORBELL_TYPE_EDGE);
	ENXIO_NEXT(DOORBELL_SET_TYPE, type, type.line = 1);
	ASSERT_LE(0, doorbell_set_level(self->db, 1, 1));
	LAST(EBUSY, DOORBELL_SET_TYPE, type);
	ASSERT_LE(0, doorbell_set_level(self->db, 1, 0));

	EINVAL_TWICE(DOORBELL_SET_LEVEL, level);
	EINVAL_FIRST(DOORBELL_SET_LEVEL, level, level.level = 1);
	ENXIO_NEXT(DOORBELL_SET_LEVEL, level, level.line = 0);
	FIRST(EOPNOTSUPP, DOORBELL_SET_LEVEL, level, level.level = 0);
	LAST(EOPNOTSUPP, DOORBELL_SET_LEVEL, level);
	FAILS(ENXIO, self->db, DOORBELL_ACK, (void *)NO_LINE);
	FAILS(ENXIO, self->fresh, DOORBELL_ACK, NULL);
	FAILS(EOPNOTSUPP, self->db, DOORBELL_ACK, NULL);

	EINVAL_TWICE(DOORBELL_MODERATE, moderate);
	EINVAL_FIRST(DOORBELL_MODERATE, moderate, moderate.min_interval = DOORBELL_MIN_INTERVAL);
	ENXIO_NEXT(DOORBELL_MODERATE, moderate, moderate.flags = DOORBELL_MODERATE_FLAG_GET);
	ENXIO_LAST(DOORBELL_MODERATE, moderate);
}

static void order_of_bus(struct __test_metadata *_metadata, struct _test_data_errors_order *self)
{
	struct doorbell_region region = to_eventfd(0x1000, 3, self->closed);
	struct doorbell_regions regions = { .regions = 8, .flags = BAD_FLAG };
	struct doorbell_get_regions list = { .infos = 8, .flags = BAD_FLAG };
	struct doorbell_bus_write write = { .accesses = 8, .flags = BAD_FLAG };
	struct doorbell_set_records records = { .flags = BAD_FLAG };
	uint32_t flags;

	for (flags = 0; flags <= DEASSIGN; flags++) {
		region = to_eventfd(0x1000, 3, self->closed);
		region.flags = flags | BAD_FLAG;
		EINVAL_TWICE(DOORBELL_REGION, region);
		EINVAL_FIRST(DOORBELL_REGION, region, region.length = 4);
		ENXIO_FRESH(DOORBELL_REGION, region);
		FIRST(EBADF, DOORBELL_REGION, region, region.fd = flags ? self->in : self->out);
		LAST(flags ? ENOENT : EEXIST, DOORBELL_REGION, region);
	}
	/* The line comes before the way to store, and that before the fd. */
	region = to_line(0x1000, 4, NO_LINE);
	region.flags |= DOORBELL_REGION_FLAG_LAST;
	region.fd = self->closed;
	EINVAL_FIRST(DOORBELL_REGION, region, region.fd = 0);
	ENXIO_NEXT(DOORBELL_REGION, region, region.line = 0);
	FIRST(ENXIO, DOORBELL_REGION, region, region = to_eventfd(0x1000, 4, self->closed));
	region.flags |= DOORBELL_REGION_FLAG_LAST;
	FIRST(ENXIO, DOORBELL_REGION, region, region.flags = 0);
	LAST(EBADF, DOORBELL_REGION, region);

	EINVAL_TWICE(DOORBELL_REGIONS, regions);
	EINVAL_FIRST(DOORBELL_REGIONS, regions, regions.nr_regions = 1);
	ENXIO_FRESH(DOORBELL_REGIONS, regions);
	LAST(EFAULT, DOORBELL_REGIONS, regions);
	EINVAL_TWICE(DOORBELL_GET_REGIONS, list);
	EINVAL_FIRST(DOORBELL_GET_REGIONS, list, list.nr_infos = 1);
	ENXIO_FRESH(DOORBELL_GET_REGIONS, list);
	LAST(EFAULT, DOORBELL_GET_REGIONS, list);
	EINVAL_TWICE(DOORBELL_BUS_WRITE, write);
	EINVAL_FIRST(DOORBELL_BUS_WRITE, write, write.nr_accesses = 1);
	ENXIO_FRESH(DOORBELL_BUS_WRITE, write);
	LAST(EFAULT, DOORBELL_BUS_WRITE, write);
	EINVAL_TWICE(DOORBELL_SET_RECORDS, records);
	EINVAL_FIRST(DOORBELL_SET_RECORDS, records, records.nr_records = 8; records.nr_values = 1);
	EINVAL_FIRST(DOORBELL_SET_RECORDS, records, records.nr_values = 0);
	ENXIO_FRESH(DOORBELL_SET_RECORDS, records);
	LAST(EEXIST, DOORBELL_SET_RECORDS, records);
}

static void order_of_waits(struct __test_metadata *_metadata,
			   struct _test_data_errors_order *self)
{
	static const unsigned long reads[] = { DOORBELL_EVENTFD_READ, DOORBELL_EVENTFD_PEEK };
	struct doorbell_ring_wait ring_wait = {
		.line = NO_LINE, .fd = self->closed, .timeout = UINT64_MAX - 1,
		.flags = DOORBELL_RING_WAIT_FLAG_NO_RING | BAD_FLAG };
	struct doorbell_wait wait = {
		.line = NO_LINE, .timeout = UINT64_MAX - 1, .flags = BAD_FLAG };
	unsigned int i;

	/* These need no lines. */
	for (i = 0; i < ARRAY_SIZE(reads); i++) {
		struct doorbell_eventfd read = { .fd = self->closed, .flags = BAD_FLAG };

		EINVAL_TWICE(reads[i], read);
		FAILS(EBADF, self->fresh, reads[i], &read);
		FIRST(EBADF, reads[i], read, read.fd = self->db);
		LAST(EINVAL, reads[i], read);
	}
	EINVAL_TWICE(DOORBELL_RING_WAIT, ring_wait);
	EINVAL_FIRST(DOORBELL_RING_WAIT, ring_wait, ring_wait.timeout = 0);
	ENXIO_NEXT(DOORBELL_RING_WAIT, ring_wait, ring_wait.line = 0);
	FIRST(EBADF, DOORBELL_RING_WAIT, ring_wait, ring_wait.fd = NO_LINE);
	ring_wait.flags |= DOORBELL_RING_WAIT_FLAG_LINE;
	FIRST(ENXIO, DOORBELL_RING_WAIT, ring_wait, ring_wait.fd = 3);
	LAST(ENOENT, DOORBELL_RING_WAIT, ring_wait);
	EINVAL_TWICE(DOORBELL_WAIT, wait);
	EINVAL_FIRST(DOORBELL_WAIT, wait, wait.timeout = 0);
	ENXIO_NEXT(DOORBELL_WAIT, wait, wait.line = 3);
	LAST(ENOENT, DOORBELL_WAIT, wait);
}

static void order_of_records(struct __test_metadata *_metadata,
			     struct _test_data_errors_order *self)
{
	const uint32_t size = sizeof(struct doorbell_saved_line);
	struct doorbell_save save = { .lines = 8, .line = NO_LINE, .flags = BAD_FLAG };
	struct doorbell_restore restore = { .lines = 8, .line = NO_LINE, .flags = BAD_FLAG };
	struct doorbell_summary summary = { .line = NO_LINE, .lines = 8, .flags = BAD_FLAG };
	struct doorbell_saved_line record = { .state = ~0U };
	uint64_t beyond = 2;

	EINVAL_TWICE(DOORBELL_SAVE, save);
	EINVAL_FIRST(DOORBELL_SAVE, save, save.nr_lines = 1);
	EINVAL_FIRST(DOORBELL_SAVE, save, save.record_size = size);
	ENXIO_NEXT(DOORBELL_SAVE, save, save.line = 0);
	LAST(EFAULT, DOORBELL_SAVE, save);
	EINVAL_TWICE(DOORBELL_RESTORE, restore);
	EINVAL_FIRST(DOORBELL_RESTORE, restore, restore.nr_lines = 1);
	EINVAL_FIRST(DOORBELL_RESTORE, restore, restore.record_size = size);
	ENXIO_NEXT(DOORBELL_RESTORE, restore, restore.line = 1);
	FIRST(EFAULT, DOORBELL_RESTORE, restore, restore.lines = (uintptr_t)&record);
	FIRST(EINVAL, DOORBELL_RESTORE, restore, record.state = 0);
	/* The line has a history. */
	LAST(EBUSY, DOORBELL_RESTORE, restore);

	EINVAL_TWICE(DOORBELL_SUMMARY, summary);
	EINVAL_FIRST(DOORBELL_SUMMARY, summary, summary.nr_lines = 1);
	ENXIO_NEXT(DOORBELL_SUMMARY, summary, summary.line = 2);
	FIRST(EFAULT, DOORBELL_SUMMARY, summary, summary.lines = (uintptr_t)&beyond);
	FIRST(EINVAL, DOORBELL_SUMMARY, summary, summary.lines = 0);
	FIRST(EEXIST, DOORBELL_SUMMARY, summary, summary.line = 3);
	summary.flags = DOORBELL_SUMMARY_FLAG_DEASSIGN;
	LAST(ENOENT, DOORBELL_SUMMARY, summary);
}

TEST_F(errors_order, every_ioctl)
{
	/* No ioctl has the number 0x19. */
	const uint64_t all = ((1ULL << (_IOC_NR(DOORBELL_SUMMARY) + 1)) - 1) & ~(1ULL << 0x19);

	unreadable_first(_metadata, self);
	order_of_context(_metadata, self);
	order_of_assignments(_metadata, self);
	order_of_lines(_metadata, self);
	order_of_bus(_metadata, self);
	order_of_waits(_metadata, self);
	order_of_records(_metadata, self);
	EXPECT_EQ(all, self->seen);
}

TEST_HARNESS_MAIN
