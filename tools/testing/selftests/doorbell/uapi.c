// SPDX-License-Identifier: GPL-2.0-only
/* The success of each ioctl. Runs as a 32-bit program, too. */
#include <stddef.h>
#include <sys/stat.h>

#include "doorbell_test.h"

/* Structures and numbers are the same for 32-bit and 64-bit callers, and never change. */
TEST(abi_is_frozen)
{
	EXPECT_EQ(128, sizeof(struct doorbell_get_info));
	EXPECT_EQ(8, offsetof(struct doorbell_get_info, features));
	EXPECT_EQ(28, offsetof(struct doorbell_get_info, nr_irqfds));
	EXPECT_EQ(36, offsetof(struct doorbell_get_info, nr_notifiers));
	EXPECT_EQ(40, offsetof(struct doorbell_get_info, status_size));
	EXPECT_EQ(44, offsetof(struct doorbell_get_info, max_notifiers_per_line));
	EXPECT_EQ(48, offsetof(struct doorbell_get_info, max_resamplefds_per_line));
	EXPECT_EQ(52, offsetof(struct doorbell_get_info, max_regions));
	EXPECT_EQ(56, offsetof(struct doorbell_get_info, nr_regions));
	EXPECT_EQ(60, offsetof(struct doorbell_get_info, max_records));
	EXPECT_EQ(64, offsetof(struct doorbell_get_info, status_offset));
	EXPECT_EQ(72, offsetof(struct doorbell_get_info, records_offset));
	EXPECT_EQ(80, offsetof(struct doorbell_get_info, summary_offset));
	EXPECT_EQ(88, offsetof(struct doorbell_get_info, values_offset));
	EXPECT_EQ(96, offsetof(struct doorbell_get_info, max_values));
	EXPECT_EQ(100, offsetof(struct doorbell_get_info, reserved));
	EXPECT_EQ(32, sizeof(struct doorbell_set_lines));
	EXPECT_EQ(32, sizeof(struct doorbell_irqfd));
	EXPECT_EQ(12, offsetof(struct doorbell_irqfd, resamplefd));
	EXPECT_EQ(16, offsetof(struct doorbell_irqfd, reserved));
	EXPECT_EQ(32, sizeof(struct doorbell_trigger));
	EXPECT_EQ(12, offsetof(struct doorbell_trigger, reserved));
	EXPECT_EQ(32, sizeof(struct doorbell_notifier));
	EXPECT_EQ(12, offsetof(struct doorbell_notifier, events));
	EXPECT_EQ(16, offsetof(struct doorbell_notifier, reserved));
	EXPECT_EQ(32, sizeof(struct doorbell_set_type));
	EXPECT_EQ(32, sizeof(struct doorbell_set_level));
	EXPECT_EQ(80, sizeof(struct doorbell_query));
	EXPECT_EQ(8, offsetof(struct doorbell_query, rings));
	EXPECT_EQ(32, offsetof(struct doorbell_query, nr_irqfds));
	EXPECT_EQ(40, offsetof(struct doorbell_query, dropped));
	EXPECT_EQ(48, offsetof(struct doorbell_query, nr_notifiers));
	EXPECT_EQ(52, offsetof(struct doorbell_query, nr_resamplefds));
	EXPECT_EQ(56, offsetof(struct doorbell_query, acks));
	EXPECT_EQ(64, offsetof(struct doorbell_query, flags));
	EXPECT_EQ(68, offsetof(struct doorbell_query, nr_unmaskfds));
	EXPECT_EQ(72, offsetof(struct doorbell_query, nr_ackfds));
	EXPECT_EQ(76, offsetof(struct doorbell_query, reserved));
	EXPECT_EQ(40, sizeof(struct doorbell_line_set));
	EXPECT_EQ(8, offsetof(struct doorbell_line_set, lines));
	EXPECT_EQ(16, offsetof(struct doorbell_line_set, result));
	EXPECT_EQ(24, offsetof(struct doorbell_line_set, flags));
	EXPECT_EQ(28, offsetof(struct doorbell_line_set, reserved));
	EXPECT_EQ(64, sizeof(struct doorbell_line_status));
	EXPECT_EQ(0, offsetof(struct doorbell_line_status, state));
	EXPECT_EQ(4, offsetof(struct doorbell_line_status, units));
	EXPECT_EQ(8, offsetof(struct doorbell_line_status, deliveries));
	EXPECT_EQ(16, offsetof(struct doorbell_line_status, coalesced));
	EXPECT_EQ(24, offsetof(struct doorbell_line_status, dropped));
	EXPECT_EQ(32, offsetof(struct doorbell_line_status, deferred));
	EXPECT_EQ(40, offsetof(struct doorbell_line_status, acks));
	EXPECT_EQ(48, offsetof(struct doorbell_line_status, taken));
	EXPECT_EQ(56, offsetof(struct doorbell_line_status, dropped_units));
	EXPECT_EQ(32, sizeof(struct doorbell_eventfd));
	EXPECT_EQ(8, offsetof(struct doorbell_eventfd, count));
	EXPECT_EQ(48, sizeof(struct doorbell_region));
	EXPECT_EQ(8, offsetof(struct doorbell_region, datamatch));
	EXPECT_EQ(16, offsetof(struct doorbell_region, space));
	EXPECT_EQ(20, offsetof(struct doorbell_region, length));
	EXPECT_EQ(24, offsetof(struct doorbell_region, fd));
	EXPECT_EQ(28, offsetof(struct doorbell_region, line));
	EXPECT_EQ(32, offsetof(struct doorbell_region, flags));
	EXPECT_EQ(36, offsetof(struct doorbell_region, slot));
	EXPECT_EQ(40, offsetof(struct doorbell_region, reserved));
	EXPECT_EQ(32, sizeof(struct doorbell_regions));
	EXPECT_EQ(8, offsetof(struct doorbell_regions, nr_regions));
	EXPECT_EQ(12, offsetof(struct doorbell_regions, failed));
	EXPECT_EQ(16, offsetof(struct doorbell_regions, flags));
	EXPECT_EQ(48, sizeof(struct doorbell_region_info));
	EXPECT_EQ(16, offsetof(struct doorbell_region_info, space));
	EXPECT_EQ(24, offsetof(struct doorbell_region_info, flags));
	EXPECT_EQ(28, offsetof(struct doorbell_region_info, line));
	EXPECT_EQ(32, offsetof(struct doorbell_region_info, writes));
	EXPECT_EQ(40, offsetof(struct doorbell_region_info, slot));
	EXPECT_EQ(44, offsetof(struct doorbell_region_info, reserved));
	EXPECT_EQ(32, sizeof(struct doorbell_get_regions));
	EXPECT_EQ(8, offsetof(struct doorbell_get_regions, first));
	EXPECT_EQ(12, offsetof(struct doorbell_get_regions, nr_infos));
	EXPECT_EQ(24, sizeof(struct doorbell_bus_access));
	EXPECT_EQ(8, offsetof(struct doorbell_bus_access, value));
	EXPECT_EQ(16, offsetof(struct doorbell_bus_access, length));
	EXPECT_EQ(20, offsetof(struct doorbell_bus_access, space));
	EXPECT_EQ(32, sizeof(struct doorbell_bus_write));
	EXPECT_EQ(8, offsetof(struct doorbell_bus_write, nr_accesses));
	EXPECT_EQ(32, sizeof(struct doorbell_set_records));
	EXPECT_EQ(8, offsetof(struct doorbell_set_records, nr_values));
	EXPECT_EQ(64, sizeof(struct doorbell_value));
	EXPECT_EQ(8, offsetof(struct doorbell_value, writes));
	EXPECT_EQ(16, offsetof(struct doorbell_value, started));
	EXPECT_EQ(32, sizeof(struct doorbell_record));
	EXPECT_EQ(8, offsetof(struct doorbell_record, addr));
	EXPECT_EQ(16, offsetof(struct doorbell_record, value));
	EXPECT_EQ(24, offsetof(struct doorbell_record, length));
	EXPECT_EQ(28, offsetof(struct doorbell_record, space));
	EXPECT_EQ(128, sizeof(struct doorbell_record_ring));
	EXPECT_EQ(0, offsetof(struct doorbell_record_ring, head));
	EXPECT_EQ(128, offsetof(struct doorbell_record_ring, records));
	EXPECT_EQ(64, sizeof(struct doorbell_get_bus));
	EXPECT_EQ(4, offsetof(struct doorbell_get_bus, nr_records));
	EXPECT_EQ(8, offsetof(struct doorbell_get_bus, recorded));
	EXPECT_EQ(16, offsetof(struct doorbell_get_bus, refused));
	EXPECT_EQ(32, sizeof(struct doorbell_moderate));
	EXPECT_EQ(8, offsetof(struct doorbell_moderate, min_interval));
	EXPECT_EQ(12, offsetof(struct doorbell_moderate, max_count));
	EXPECT_EQ(16, offsetof(struct doorbell_moderate, reserved));
	EXPECT_EQ(24, offsetof(struct doorbell_get_bus, nr_values));
	EXPECT_EQ(32, offsetof(struct doorbell_get_bus, reserved));
	EXPECT_EQ(48, sizeof(struct doorbell_ring_wait));
	EXPECT_EQ(4, offsetof(struct doorbell_ring_wait, fd));
	EXPECT_EQ(8, offsetof(struct doorbell_ring_wait, timeout));
	EXPECT_EQ(16, offsetof(struct doorbell_ring_wait, flags));
	EXPECT_EQ(20, offsetof(struct doorbell_ring_wait, result));
	EXPECT_EQ(24, offsetof(struct doorbell_ring_wait, count));
	EXPECT_EQ(32, offsetof(struct doorbell_ring_wait, reserved));
	EXPECT_EQ(80, sizeof(struct doorbell_saved_line));
	EXPECT_EQ(72, offsetof(struct doorbell_saved_line, units));
	EXPECT_EQ(80, DOORBELL_SAVED_LINE_SIZE);
	EXPECT_EQ(4, offsetof(struct doorbell_saved_line, flags));
	EXPECT_EQ(8, offsetof(struct doorbell_saved_line, deliveries));
	EXPECT_EQ(16, offsetof(struct doorbell_saved_line, coalesced));
	EXPECT_EQ(24, offsetof(struct doorbell_saved_line, dropped));
	EXPECT_EQ(32, offsetof(struct doorbell_saved_line, deferred));
	EXPECT_EQ(40, offsetof(struct doorbell_saved_line, acks));
	EXPECT_EQ(48, offsetof(struct doorbell_saved_line, nr_irqfds));
	EXPECT_EQ(52, offsetof(struct doorbell_saved_line, nr_triggers));
	EXPECT_EQ(56, offsetof(struct doorbell_saved_line, nr_notifiers));
	EXPECT_EQ(60, offsetof(struct doorbell_saved_line, nr_resamplefds));
	EXPECT_EQ(64, offsetof(struct doorbell_saved_line, nr_unmaskfds));
	EXPECT_EQ(68, offsetof(struct doorbell_saved_line, nr_ackfds));
	EXPECT_EQ(32, sizeof(struct doorbell_save));
	EXPECT_EQ(8, offsetof(struct doorbell_save, line));
	EXPECT_EQ(12, offsetof(struct doorbell_save, nr_lines));
	EXPECT_EQ(16, offsetof(struct doorbell_save, record_size));
	EXPECT_EQ(20, offsetof(struct doorbell_save, flags));
	EXPECT_EQ(24, offsetof(struct doorbell_save, reserved));
	EXPECT_EQ(40, sizeof(struct doorbell_restore));
	EXPECT_EQ(16, offsetof(struct doorbell_restore, record_size));
	EXPECT_EQ(20, offsetof(struct doorbell_restore, failed));
	EXPECT_EQ(24, offsetof(struct doorbell_restore, flags));
	EXPECT_EQ(28, offsetof(struct doorbell_restore, reserved));
	EXPECT_EQ(32, sizeof(struct doorbell_summary));
	EXPECT_EQ(4, offsetof(struct doorbell_summary, nr_lines));
	EXPECT_EQ(8, offsetof(struct doorbell_summary, lines));
	EXPECT_EQ(16, offsetof(struct doorbell_summary, flags));
	EXPECT_EQ(20, offsetof(struct doorbell_summary, reserved));
	EXPECT_EQ(256, sizeof(struct doorbell_summary_map));
	EXPECT_EQ(0, offsetof(struct doorbell_summary_map, top));
	EXPECT_EQ(128, offsetof(struct doorbell_summary_map, groups));
	EXPECT_EQ(256, offsetof(struct doorbell_summary_map, lines));
	EXPECT_EQ(40, sizeof(struct doorbell_wait));
	EXPECT_EQ(4, offsetof(struct doorbell_wait, flags));
	EXPECT_EQ(8, offsetof(struct doorbell_wait, timeout));
	EXPECT_EQ(16, offsetof(struct doorbell_wait, count));
	EXPECT_EQ(24, offsetof(struct doorbell_wait, reserved));

	EXPECT_EQ(0x8080db00U, DOORBELL_GET_INFO);
	EXPECT_EQ(0x4020db01U, DOORBELL_SET_LINES);
	EXPECT_EQ(0x0000db02U, DOORBELL_RING);
	EXPECT_EQ(0x4020db03U, DOORBELL_IRQFD);
	EXPECT_EQ(0x4020db04U, DOORBELL_TRIGGER);
	EXPECT_EQ(0xc050db05U, DOORBELL_QUERY);
	EXPECT_EQ(0xc020db06U, DOORBELL_EVENTFD_READ);
	EXPECT_EQ(0xc020db07U, DOORBELL_EVENTFD_PEEK);
	EXPECT_EQ(0x4028db08U, DOORBELL_MASK);
	EXPECT_EQ(0x4028db09U, DOORBELL_UNMASK);
	EXPECT_EQ(0x4028db0aU, DOORBELL_CLEAR);
	EXPECT_EQ(0x4028db0bU, DOORBELL_PENDING);
	EXPECT_EQ(0x4020db0cU, DOORBELL_NOTIFIER);
	EXPECT_EQ(0x4020db0dU, DOORBELL_SET_TYPE);
	EXPECT_EQ(0x4020db0eU, DOORBELL_SET_LEVEL);
	EXPECT_EQ(0x0000db0fU, DOORBELL_ACK);
	EXPECT_EQ(0x4030db10U, DOORBELL_REGION);
	EXPECT_EQ(0xc020db11U, DOORBELL_REGIONS);
	EXPECT_EQ(0x4020db12U, DOORBELL_GET_REGIONS);
	EXPECT_EQ(0x4020db13U, DOORBELL_BUS_WRITE);
	EXPECT_EQ(0x4020db14U, DOORBELL_SET_RECORDS);
	EXPECT_EQ(0x8040db15U, DOORBELL_GET_BUS);
	EXPECT_EQ(0xc030db16U, DOORBELL_RING_WAIT);
	EXPECT_EQ(0xc028db17U, DOORBELL_WAIT);
	EXPECT_EQ(0x4028db18U, DOORBELL_RING_LINES);
	EXPECT_EQ(0x4020db1aU, DOORBELL_SAVE);
	EXPECT_EQ(0xc028db1bU, DOORBELL_RESTORE);
	EXPECT_EQ(0xc020db1cU, DOORBELL_MODERATE);
	EXPECT_EQ(0x4020db1dU, DOORBELL_SUMMARY);

	EXPECT_EQ(1, DOORBELL_ABI_VERSION);
	EXPECT_EQ(1, DOORBELL_SET_LINES_FLAG_MASKED);
	EXPECT_EQ(1, DOORBELL_IRQFD_FLAG_DEASSIGN);
	EXPECT_EQ(2, DOORBELL_IRQFD_FLAG_RESAMPLE);
	EXPECT_EQ(1, DOORBELL_TRIGGER_FLAG_DEASSIGN);
	EXPECT_EQ(2, DOORBELL_TRIGGER_FLAG_ALL);
	EXPECT_EQ(4, DOORBELL_TRIGGER_FLAG_WAITERS);
	EXPECT_EQ(8, DOORBELL_TRIGGER_FLAG_COUNT);
	EXPECT_EQ(1, DOORBELL_NOTIFIER_FLAG_DEASSIGN);
	EXPECT_EQ(2, DOORBELL_NOTIFIER_FLAG_ALL);
	EXPECT_EQ(1, DOORBELL_REGION_FLAG_DEASSIGN);
	EXPECT_EQ(2, DOORBELL_REGION_FLAG_DATAMATCH);
	EXPECT_EQ(4, DOORBELL_REGION_FLAG_LINE);
	EXPECT_EQ(8, DOORBELL_REGION_FLAG_RECORD);
	EXPECT_EQ(16, DOORBELL_REGION_FLAG_LAST);
	EXPECT_EQ(1, DOORBELL_SET_RECORDS_FLAG_VALUES);
	EXPECT_EQ(1, DOORBELL_FEATURE_EVENTFD_READ);
	EXPECT_EQ(2, DOORBELL_FEATURE_EVENTFD_PEEK);
	EXPECT_EQ(4, DOORBELL_FEATURE_MASK);
	EXPECT_EQ(8, DOORBELL_FEATURE_LEVEL);
	EXPECT_EQ(16, DOORBELL_FEATURE_BUS);
	EXPECT_EQ(32, DOORBELL_FEATURE_RING_WAIT);
	EXPECT_EQ(64, DOORBELL_FEATURE_WAIT);
	EXPECT_EQ(128, DOORBELL_FEATURE_RING_LINES);
	EXPECT_EQ(256, DOORBELL_FEATURE_MASK_REASONS);
	EXPECT_EQ(512, DOORBELL_FEATURE_UNMASKFD);
	EXPECT_EQ(4, DOORBELL_IRQFD_FLAG_UNMASK);
	EXPECT_EQ(8, DOORBELL_IRQFD_FLAG_ACK);
	EXPECT_EQ(1024, DOORBELL_FEATURE_SAVE);
	EXPECT_EQ(1, DOORBELL_SAVED_FLAG_UNDELIVERED);
	EXPECT_EQ(2, DOORBELL_SAVED_FLAG_COUNTED);
	EXPECT_EQ(0xf007f, DOORBELL_SAVED_STATE);
	EXPECT_EQ(4096, DOORBELL_SAVED_LINE_SIZE_MAX);
	EXPECT_EQ(2048, DOORBELL_FEATURE_MODERATION);
	EXPECT_EQ(4096, DOORBELL_FEATURE_SUMMARY);
	EXPECT_EQ(1, DOORBELL_SUMMARY_FLAG_DEASSIGN);
	EXPECT_EQ(16, DOORBELL_SUMMARY_GROUPS);
	EXPECT_EQ(8192, DOORBELL_FEATURE_LAST_VALUE);
	EXPECT_EQ(16384, DOORBELL_FEATURE_COUNT);
	EXPECT_EQ(1, DOORBELL_RING_WAIT_FLAG_NO_RING);
	EXPECT_EQ(2, DOORBELL_RING_WAIT_FLAG_LINE);
	EXPECT_EQ(UINT64_MAX, DOORBELL_RING_WAIT_NO_TIMEOUT);
	EXPECT_EQ(UINT64_MAX, DOORBELL_WAIT_NO_TIMEOUT);
	EXPECT_EQ(1, DOORBELL_LINE_PENDING);
	EXPECT_EQ(2, DOORBELL_LINE_MASKED);
	EXPECT_EQ(4, DOORBELL_LINE_LEVEL);
	EXPECT_EQ(8, DOORBELL_LINE_ASSERTED);
	EXPECT_EQ(16, DOORBELL_LINE_RAISED);
	EXPECT_EQ(32, DOORBELL_LINE_RESAMPLE);
	EXPECT_EQ(64, DOORBELL_LINE_AUTOMASK);
	EXPECT_EQ(128, DOORBELL_LINE_WAITERS);
	EXPECT_EQ(0xf0000, DOORBELL_LINE_REASONS);
	EXPECT_EQ(16, DOORBELL_LINE_REASONS_SHIFT);
	EXPECT_EQ(0x400000, DOORBELL_LINE_MODERATED);
	EXPECT_EQ(1 << 24, DOORBELL_LINE_COUNTS);
	EXPECT_EQ(0x14f00ff, DOORBELL_LINE_STATE);
	EXPECT_EQ(1, DOORBELL_MODERATE_FLAG_GET);
	EXPECT_EQ(1000, DOORBELL_MIN_INTERVAL);
	EXPECT_EQ(1000000000, DOORBELL_MAX_INTERVAL);
	EXPECT_EQ(1024, DOORBELL_MAX_MODERATED);
	EXPECT_EQ(1, DOORBELL_MASK_VECTOR);
	EXPECT_EQ(2, DOORBELL_MASK_FUNCTION);
	EXPECT_EQ(4, DOORBELL_MASK_PAUSE);
	EXPECT_EQ(8, DOORBELL_MASK_AUTO);
	EXPECT_EQ(1, DOORBELL_TYPE_FLAG_AUTOMASK);
	EXPECT_EQ(1, DOORBELL_NOTIFY_MASK);
	EXPECT_EQ(2, DOORBELL_NOTIFY_UNMASK);
	EXPECT_EQ(4, DOORBELL_NOTIFY_ACK);
	EXPECT_EQ(0, DOORBELL_TYPE_EDGE);
	EXPECT_EQ(1, DOORBELL_TYPE_LEVEL);
	EXPECT_EQ(1, DOORBELL_EVENTFD_FLAG_NOWAIT);
	EXPECT_EQ(0, DOORBELL_RING_COALESCED);
	EXPECT_EQ(1, DOORBELL_RING_DELIVERED);
	EXPECT_EQ(2, DOORBELL_RING_MASKED);
	EXPECT_EQ(0, DOORBELL_ACK_NOTHING);
	EXPECT_EQ(1, DOORBELL_ACK_DONE);
	EXPECT_EQ(2, DOORBELL_ACK_POSTPONED);
	EXPECT_EQ(0, DOORBELL_SPACE_MMIO);
	EXPECT_EQ(1, DOORBELL_SPACE_PIO);
}

static bool all_zero(const uint32_t *words, unsigned int nr)
{
	while (nr--) {
		if (words[nr])
			return false;
	}
	return true;
}

TEST(device_is_private)
{
	struct stat st;

	ASSERT_EQ(0, stat(DEVICE, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	/* A udev rule may open it to a group, but no rule to all users. */
	EXPECT_EQ(0, st.st_mode & 0007);
}

TEST(info)
{
	int db = new_context(_metadata, 0);
	struct doorbell_get_info info = info_of(_metadata, db);

	EXPECT_EQ(DOORBELL_ABI_VERSION, info.abi_version);
	EXPECT_EQ(0, info.nr_lines);
	EXPECT_EQ(DOORBELL_FEATURE_EVENTFD_READ |
		  DOORBELL_FEATURE_MASK |
		  DOORBELL_FEATURE_LEVEL |
		  DOORBELL_FEATURE_BUS |
		  DOORBELL_FEATURE_RING_WAIT |
		  DOORBELL_FEATURE_WAIT |
		  DOORBELL_FEATURE_RING_LINES |
		  DOORBELL_FEATURE_MASK_REASONS |
		  DOORBELL_FEATURE_UNMASKFD |
		  DOORBELL_FEATURE_SAVE |
		  DOORBELL_FEATURE_MODERATION |
		  DOORBELL_FEATURE_SUMMARY |
		  DOORBELL_FEATURE_LAST_VALUE,
		  info.features & ~(DOORBELL_FEATURE_EVENTFD_PEEK | DOORBELL_FEATURE_COUNT));
	/* Both need access to an eventfd's counter. */
	EXPECT_EQ(!(info.features & DOORBELL_FEATURE_EVENTFD_PEEK),
		  !(info.features & DOORBELL_FEATURE_COUNT));
	/* The lab's kernels have what it needs. */
	if (getenv("DOORBELL_CLOCK"))
		EXPECT_TRUE(info.features & DOORBELL_FEATURE_EVENTFD_PEEK);
	EXPECT_EQ(DOORBELL_MAX_LINES, info.max_lines);
	EXPECT_EQ(DOORBELL_MAX_TRIGGERS_PER_LINE, info.max_triggers_per_line);
	EXPECT_EQ(DOORBELL_MAX_IRQFDS, info.max_irqfds);
	EXPECT_EQ(DOORBELL_MAX_NOTIFIERS_PER_LINE, info.max_notifiers_per_line);
	EXPECT_EQ(DOORBELL_MAX_RESAMPLEFDS_PER_LINE, info.max_resamplefds_per_line);
	EXPECT_EQ(sizeof(struct doorbell_line_status), info.status_size);
	EXPECT_EQ(0, info.nr_irqfds);
	EXPECT_EQ(0, info.nr_triggers);
	EXPECT_EQ(0, info.nr_notifiers);
	EXPECT_EQ(DOORBELL_MAX_REGIONS, info.max_regions);
	EXPECT_EQ(0, info.nr_regions);
	EXPECT_EQ(DOORBELL_MAX_RECORDS, info.max_records);
	EXPECT_EQ(DOORBELL_MAX_VALUES, info.max_values);
	/* The status pages of all lines are before the records. */
	EXPECT_LE(info.status_offset + (uint64_t)info.max_lines * info.status_size,
		  info.records_offset);
	/* And the records before the summary. */
	EXPECT_LE(info.records_offset + sizeof(struct doorbell_record_ring) +
		  (uint64_t)info.max_records * sizeof(struct doorbell_record),
		  info.summary_offset);
	EXPECT_TRUE(all_zero(info.reserved, ARRAY_SIZE(info.reserved)));
}

/* Lines that hold messages from the beginning. */
TEST(set_lines_masked)
{
	struct doorbell_set_lines lines = { .nr_lines = 3,
					    .flags = DOORBELL_SET_LINES_FLAG_MASKED };
	int db = new_context(_metadata, 0), out = new_eventfd(_metadata, 0, 0), i;
	const struct doorbell_line_status *status;

	ASSERT_EQ(0, doorbell_ioctl(db, DOORBELL_SET_LINES, &lines));
	EXPECT_EQ(-EEXIST, doorbell_set_lines(db, 3));
	status = map_status(_metadata, db);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(VECTOR_MASKED, line_of(_metadata, db, i).state);
		EXPECT_EQ(VECTOR_MASKED, status_state(&status[i]));
		EXPECT_EQ(0, doorbell_mask(db, i));
	}
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 1));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(db, 1));
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 1));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, doorbell_unmask(db, 1));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 1));
	EXPECT_EQ(0, doorbell_unmask(db, 0));
	EXPECT_EQ(VECTOR_MASKED, line_of(_metadata, db, 2).state);
}

TEST(set_lines_smallest)
{
	int db = new_context(_metadata, 1);

	EXPECT_EQ(1, info_of(_metadata, db).nr_lines);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(-ENXIO, doorbell_ring(db, 1));
}

TEST(set_lines_largest)
{
	int db = new_context(_metadata, DOORBELL_MAX_LINES);
	struct doorbell_query query;
	int efd = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(DOORBELL_MAX_LINES, info_of(_metadata, db).nr_lines);
	ASSERT_EQ(0, doorbell_assign_trigger(db, efd, DOORBELL_MAX_LINES - 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, DOORBELL_MAX_LINES - 1));
	EXPECT_EQ(1, efd_read(efd));
	EXPECT_EQ(-ENXIO, doorbell_ring(db, DOORBELL_MAX_LINES));
	EXPECT_EQ(-ENXIO, doorbell_query(db, DOORBELL_MAX_LINES, &query));
}

/* A line without a trigger delivers and counts, and signals nothing. */
TEST(ring_unwired)
{
	int db = new_context(_metadata, 3);
	struct doorbell_query query;
	unsigned int i;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 1));

	query = line_of(_metadata, db, 1);
	EXPECT_EQ(1, query.line);
	EXPECT_EQ(0, query.state);
	EXPECT_EQ(2, query.rings);
	EXPECT_EQ(2, query.deliveries);
	EXPECT_EQ(0, query.deferred);
	EXPECT_EQ(0, query.nr_irqfds);
	EXPECT_EQ(0, query.nr_triggers);
	EXPECT_EQ(0, query.dropped);
	EXPECT_EQ(0, query.nr_notifiers);
	EXPECT_EQ(0, query.nr_resamplefds);
	EXPECT_EQ(0, query.nr_unmaskfds);
	EXPECT_EQ(0, query.nr_ackfds);
	EXPECT_EQ(0, query.acks);
	EXPECT_EQ(0, query.reserved);

	for (i = 0; i < 3; i += 2) {
		query = line_of(_metadata, db, i);
		EXPECT_EQ(i, query.line);
		EXPECT_EQ(0, query.rings);
		EXPECT_EQ(0, query.deliveries);
	}
}

TEST(trigger)
{
	int db = new_context(_metadata, 2);
	int efd = new_eventfd(_metadata, 0, 0);
	int other = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_trigger(db, efd, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(db, other, 1));
	EXPECT_EQ(1, line_of(_metadata, db, 0).nr_triggers);
	EXPECT_EQ(2, info_of(_metadata, db).nr_triggers);
	EXPECT_EQ(0, info_of(_metadata, db).nr_irqfds);

	/* Assigning is no ring, and an ioctl's delivery is done on return. */
	EXPECT_EQ(0, efd_count(efd));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(1, efd_read(efd));
	EXPECT_EQ(0, efd_count(other));

	ASSERT_EQ(0, doorbell_deassign_trigger(db, efd, 0));
	EXPECT_EQ(0, line_of(_metadata, db, 0).nr_triggers);
	EXPECT_EQ(1, info_of(_metadata, db).nr_triggers);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(0, efd_count(efd));

	/* A deassigned trigger can be assigned again. */
	ASSERT_EQ(0, doorbell_assign_trigger(db, efd, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(1, efd_read(efd));
}

TEST(irqfd)
{
	int db = new_context(_metadata, 2);
	int in = new_eventfd(_metadata, 0, 0);
	int out = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 1));
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 1));
	EXPECT_EQ(1, line_of(_metadata, db, 1).nr_irqfds);
	EXPECT_EQ(0, line_of(_metadata, db, 0).nr_irqfds);
	EXPECT_EQ(1, info_of(_metadata, db).nr_irqfds);
	EXPECT_EQ(0, line_of(_metadata, db, 1).rings);

	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_EQ(1, efd_wait(out));
	EXPECT_EQ(0, efd_count(in));
	EXPECT_EQ(1, settled(_metadata, db, 1).rings);
	EXPECT_EQ(1, line_of(_metadata, db, 1).deliveries);
	EXPECT_EQ(0, line_of(_metadata, db, 0).rings);

	ASSERT_EQ(0, doorbell_deassign_irqfd(db, in, 1));
	EXPECT_EQ(0, info_of(_metadata, db).nr_irqfds);
	EXPECT_EQ(0, line_of(_metadata, db, 1).nr_irqfds);
	ASSERT_EQ(0, efd_write(in, 7));
	EXPECT_EQ(7, efd_read(in));
	EXPECT_EQ(1, settled(_metadata, db, 1).rings);
	EXPECT_EQ(0, efd_count(out));

	/* A deassigned irqfd can be assigned again, also to another context. */
	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).deliveries == 1));
}

TEST(contexts_are_private)
{
	int a = new_context(_metadata, 4);
	int b = new_context(_metadata, 2);
	int efd = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_trigger(a, efd, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(b, 1));
	EXPECT_EQ(0, efd_count(efd));
	EXPECT_EQ(0, line_of(_metadata, a, 1).rings);
	EXPECT_EQ(1, line_of(_metadata, b, 1).rings);
	EXPECT_EQ(4, info_of(_metadata, a).nr_lines);
	EXPECT_EQ(2, info_of(_metadata, b).nr_lines);
	EXPECT_EQ(0, info_of(_metadata, b).nr_triggers);
	EXPECT_EQ(-ENOENT, doorbell_deassign_trigger(b, efd, 1));

	/* The same eventfd may be trigger in both. */
	ASSERT_EQ(0, doorbell_assign_trigger(b, efd, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(a, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(b, 1));
	EXPECT_EQ(2, efd_read(efd));
}

/* The four calls, for one line; mask.c and lineset.c have the rest. */
TEST(mask)
{
	int db = new_context(_metadata, 2);
	int out = new_eventfd(_metadata, 0, 0);
	uint64_t chosen = 2, result = UINT64_MAX;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 1));
	EXPECT_EQ(1, doorbell_line_set(db, DOORBELL_MASK, 0, 2, &chosen, &result));
	EXPECT_EQ(2, result);
	EXPECT_EQ(VECTOR_MASKED, line_of(_metadata, db, 1).state);
	EXPECT_EQ(0, line_of(_metadata, db, 0).state);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 1));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(db, 1));
	EXPECT_EQ(1, doorbell_line_set(db, DOORBELL_PENDING, 0, 2, NULL, &result));
	EXPECT_EQ(2, result);
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, doorbell_unmask(db, 1));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(1, doorbell_mask(db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 1));
	EXPECT_EQ(1, doorbell_clear(db, 1));
	EXPECT_EQ(0, doorbell_unmask(db, 1));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, line_of(_metadata, db, 1).dropped);
}

TEST(notifier)
{
	int db = new_context(_metadata, 2);
	int masks = new_eventfd(_metadata, 0, 0);
	int unmasks = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_notifier(db, masks, 1, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(0, doorbell_assign_notifier(db, unmasks, 1, DOORBELL_NOTIFY_UNMASK));
	EXPECT_EQ(2, line_of(_metadata, db, 1).nr_notifiers);
	EXPECT_EQ(2, info_of(_metadata, db).nr_notifiers);
	EXPECT_EQ(0, info_of(_metadata, db).nr_triggers);

	EXPECT_EQ(1, doorbell_mask(db, 1));
	EXPECT_EQ(1, efd_read(masks));
	EXPECT_EQ(0, efd_count(unmasks));
	EXPECT_EQ(0, doorbell_unmask(db, 1));
	EXPECT_EQ(1, efd_read(unmasks));
	EXPECT_EQ(0, efd_count(masks));

	ASSERT_EQ(0, doorbell_deassign_notifier(db, masks, 1));
	EXPECT_EQ(1, info_of(_metadata, db).nr_notifiers);
	EXPECT_EQ(1, doorbell_mask(db, 1));
	EXPECT_EQ(0, efd_count(masks));
}

TEST(status)
{
	int db = new_context(_metadata, 2);
	const struct doorbell_line_status *status = map_status(_metadata, db);

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 1));
	EXPECT_EQ(1, status[1].deliveries);
	EXPECT_EQ(0, status_state(&status[1]));
	EXPECT_EQ(1, doorbell_mask(db, 1));
	EXPECT_EQ(VECTOR_MASKED, status_state(&status[1]));
	EXPECT_EQ(0, status[0].deliveries);
}

/*
 * A write to an address, recorded and signalled; region.c, bus.c and records.c have the
 * rest.
 */
TEST(bus)
{
	int db = new_context(_metadata, 1), efd = new_eventfd(_metadata, 0, 0);
	struct doorbell_region region = {
		.addr = 0xfee00000, .length = 4, .fd = efd, .flags = DOORBELL_REGION_FLAG_RECORD,
	};
	struct doorbell_set_records records = { .nr_records = 2 };
	struct doorbell_record record;
	uint32_t value = 0x12345678;

	ASSERT_EQ(0, doorbell_ioctl(db, DOORBELL_SET_RECORDS, &records));
	ASSERT_EQ(0, doorbell_ioctl(db, DOORBELL_REGION, &region));
	EXPECT_EQ(1, info_of(_metadata, db).nr_regions);
	EXPECT_EQ(sizeof(value), pwrite64(db, &value, sizeof(value), region.addr));
	EXPECT_EQ(1, efd_read(efd));
	ASSERT_EQ(sizeof(record), read(db, &record, sizeof(record)));
	EXPECT_EQ(1, record.sequence);
	EXPECT_EQ(0xfee00000, record.addr);
	EXPECT_EQ(0x12345678, record.value);
	EXPECT_EQ(4, record.length);
	EXPECT_EQ(DOORBELL_SPACE_MMIO, record.space);
	region.flags = DOORBELL_REGION_FLAG_DEASSIGN;
	ASSERT_EQ(0, doorbell_ioctl(db, DOORBELL_REGION, &region));
	EXPECT_EQ(-1, pwrite64(db, &value, sizeof(value), region.addr));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(0, efd_count(efd));
}

/* READ and PEEK work for any eventfd and need no lines. */
TEST(read_and_peek)
{
	int db = new_context(_metadata, 0);
	int efd = new_eventfd(_metadata, 41, 0);
	uint64_t count;

	if (info_of(_metadata, db).features & DOORBELL_FEATURE_EVENTFD_PEEK) {
		EXPECT_EQ(0, doorbell_eventfd_peek(db, efd, &count));
		EXPECT_EQ(41, count);
	} else {
		EXPECT_EQ(-EOPNOTSUPP, doorbell_eventfd_peek(db, efd, &count));
	}
	EXPECT_EQ(41, efd_count(efd));
	EXPECT_EQ(0, doorbell_eventfd_read(db, efd, 0, &count));
	EXPECT_EQ(41, count);
	EXPECT_EQ(0, efd_count(efd));
}

/* A ring and its own echo; ring_wait.c has the rest. */
TEST(ring_wait)
{
	int db = new_context(_metadata, 1), efd = new_eventfd(_metadata, 0, 0);
	uint64_t count;

	ASSERT_EQ(0, doorbell_assign_trigger(db, efd, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED,
		  doorbell_ring_wait(db, 0, efd, 0, DOORBELL_RING_WAIT_NO_TIMEOUT, &count));
	EXPECT_EQ(1, count);
	EXPECT_EQ(0, efd_count(efd));
	ASSERT_EQ(1, doorbell_mask(db, 0));
	EXPECT_EQ(-ETIMEDOUT, doorbell_ring_wait(db, 0, efd, 0, doorbell_deadline(1000), &count));
	EXPECT_EQ(0, count);
	ASSERT_EQ(1, doorbell_unmask(db, 0));
	EXPECT_EQ(0, doorbell_ring_wait(db, 0, efd, DOORBELL_RING_WAIT_FLAG_NO_RING,
					DOORBELL_RING_WAIT_NO_TIMEOUT, &count));
	EXPECT_EQ(1, count);
	EXPECT_EQ(2, line_of(_metadata, db, 0).rings);
}

/* A pending message outlives its context; save.c has the rest. */
TEST(save)
{
	int db = new_context(_metadata, 2), next = new_context(_metadata, 2);
	int out = new_eventfd(_metadata, 0, 0);
	struct doorbell_saved_line lines[2];

	ASSERT_EQ(1, doorbell_mask(db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 1));
	EXPECT_EQ(0, doorbell_save_lines(db, 0, 2, lines));
	EXPECT_EQ(0, close(db));
	EXPECT_EQ(0, lines[0].state);
	EXPECT_EQ(VECTOR_MASKED | DOORBELL_LINE_PENDING, lines[1].state);
	EXPECT_EQ(0, doorbell_restore_lines(next, 0, 2, lines, NULL));
	ASSERT_EQ(0, doorbell_assign_trigger(next, out, 1));
	EXPECT_EQ(1, doorbell_unmask(next, 1));
	EXPECT_EQ(1, efd_read(out));
}

TEST_HARNESS_MAIN
