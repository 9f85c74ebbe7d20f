/* SPDX-License-Identifier: GPL-2.0-only */
/* DOORBELL_WAIT, by itself and in a thread. */
#ifndef _DOORBELL_WAIT_LINE_H
#define _DOORBELL_WAIT_LINE_H

#include "blocked.h"

#define NO_TIMEOUT	DOORBELL_WAIT_NO_TIMEOUT

static inline int wait_line(int db, struct doorbell_wait *arg)
{
	return doorbell_ioctl(db, DOORBELL_WAIT, arg);
}

static inline int call_wait_line(struct blocked *blocked)
{
	return wait_line(blocked->db, blocked->wait);
}

static inline struct blocked blocked_wait(int db, struct doorbell_wait *arg)
{
	return (struct blocked){ .call = call_wait_line, .db = db, .wait = arg };
}

/* Returns the deliveries that a call consumes now, or 0. */
static inline uint64_t take(int db, uint32_t line)
{
	uint64_t count;

	return doorbell_wait(db, line, 0, &count) ? 0 : count;
}

#endif /* _DOORBELL_WAIT_LINE_H */
