/* SPDX-License-Identifier: GPL-2.0-only */
/* Assignments for the tests of errors; see errors.c. */
#ifndef _DOORBELL_ERRORS_H
#define _DOORBELL_ERRORS_H

#include "wiring.h"

/*
 * Assigns one irqfd, one trigger and one notifier, and masks one line: state that a call
 * could damage.
 */
#define WIRE() do {							\
	ASSERT_EQ(0, assign_irqfd(w, 0, 0));				\
	ASSERT_EQ(0, assign_trigger(w, 0, 1));			\
	ASSERT_EQ(0, assign_notifier(w, 3, 5, DOORBELL_NOTIFY_MASK));	\
	ASSERT_EQ(1, mask_line(w, 3));					\
	ASSERT_TRUE(intact(w));					\
} while (0)

#endif /* _DOORBELL_ERRORS_H */
