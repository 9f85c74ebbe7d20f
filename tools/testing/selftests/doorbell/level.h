/* SPDX-License-Identifier: GPL-2.0-only */
/* A context with level lines, and macros that check their state. */
#ifndef _DOORBELL_LEVEL_H
#define _DOORBELL_LEVEL_H

#include "doorbell_test.h"

/* Two level lines, and an edge line that is never masked. */
#define LINES		3
#define EDGE_LINE	2

#define PENDING		DOORBELL_LINE_PENDING
#define MASKED		VECTOR_MASKED
#define LEVEL		DOORBELL_LINE_LEVEL
#define ASSERTED	DOORBELL_LINE_ASSERTED
#define RAISED		DOORBELL_LINE_RAISED
#define RESAMPLE	DOORBELL_LINE_RESAMPLE

#define NOTHING		DOORBELL_ACK_NOTHING
#define DONE		DOORBELL_ACK_DONE
#define POSTPONED	DOORBELL_ACK_POSTPONED

/* Each line has a trigger and an irqfd; the irqfd of line 0 has a resamplefd. */
#define LEVEL_FIXTURE							\
	int kmsg;							\
	int db;								\
	int in[LINES];							\
	int out[LINES];							\
	int res[1];							\
	const struct doorbell_line_status *status

#define LEVEL_SETUP() do {						\
	int __i;							\
									\
	pin_to(0);							\
	self->kmsg = kmsg_open();					\
	self->db = new_context(_metadata, LINES);			\
	self->status = map_status(_metadata, self->db);			\
	self->res[0] = new_eventfd(_metadata, 0, 0);			\
	for (__i = 0; __i < LINES; __i++) {				\
		self->in[__i] = new_eventfd(_metadata, 0, 0);		\
		self->out[__i] = new_eventfd(_metadata, 0, 0);		\
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out[__i], __i)); \
		if (__i != EDGE_LINE)					\
			ASSERT_EQ(0,					\
				  doorbell_set_type(self->db, __i, DOORBELL_TYPE_LEVEL)); \
		if (!__i)						\
			ASSERT_EQ(0, doorbell_assign_resampled(self->db, self->in[0], 0, \
							       self->res[0])); \
		if (__i)						\
			ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in[__i], __i)); \
	}								\
} while (0)

/*
 * Waits until each ring that was made before on this processor has been delivered, if it is
 * going to be. An irq_work delivers some rings a moment later; it delivers the edge line's
 * ring after them.
 */
#define FLUSH() do {							\
	ASSERT_EQ(0, efd_write(self->in[EDGE_LINE], 1));		\
	ASSERT_EQ(1, efd_wait(self->out[EDGE_LINE]));			\
	settled(_metadata, self->db, EDGE_LINE);			\
} while (0)

/* Expects these counts. All other rings have coalesced, were dropped or are pending. */
#define EXPECT_ACCOUNTS(line, nr_rings, nr_deliveries, nr_acks) do {	\
	const uint32_t __line = line;					\
	struct doorbell_query __query = line_of(_metadata, self->db, __line); \
									\
	EXPECT_EQ(nr_rings, __query.rings);				\
	EXPECT_EQ(nr_deliveries, __query.deliveries);			\
	EXPECT_EQ(nr_acks, __query.acks);				\
	EXPECT_TRUE(status_agrees(&self->status[__line], &__query));	\
} while (0)

#endif /* _DOORBELL_LEVEL_H */
