/* SPDX-License-Identifier: GPL-2.0-only */
/* A context whose status pages are mapped. */
#ifndef _DOORBELL_STATUS_H
#define _DOORBELL_STATUS_H

#include "doorbell_test.h"

/* Two pages, with room for lines in the second: 70 lines with pages of 4 KB. */
#define LINES	((uint32_t)(sysconf(_SC_PAGESIZE) / sizeof(struct doorbell_line_status) + 6))
#define LAST		(LINES - 1)

/* The last line has a trigger and an irqfd. */
#define STATUS_FIXTURE							\
	int kmsg;							\
	int db;								\
	int in;								\
	int out;							\
	size_t page;							\
	const struct doorbell_line_status *status

#define STATUS_SETUP() do {						\
	self->kmsg = kmsg_open();					\
	self->db = new_context(_metadata, LINES);			\
	self->in = new_eventfd(_metadata, 0, 0);			\
	self->out = new_eventfd(_metadata, 0, 0);			\
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, LAST));	\
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, LAST)); \
	self->page = sysconf(_SC_PAGESIZE);				\
	self->status = map_status(_metadata, self->db);			\
} while (0)

/* Returns true if all lines are as QUERY has them, and the rest is zero. */
static inline bool agrees(struct __test_metadata *_metadata, int db,
			  const struct doorbell_line_status *status)
{
	static const struct doorbell_line_status none;
	uint32_t i, end = status_size(LINES) / sizeof(*status);

	for (i = 0; i < end; i++) {
		struct doorbell_query query;

		if (i >= LINES) {
			if (memcmp((void *)&status[i], &none, sizeof(none)))
				return false;
			continue;
		}
		query = line_of(_metadata, db, i);
		if (!status_agrees(&status[i], &query))
			return false;
	}
	return true;
}

#endif /* _DOORBELL_STATUS_H */
