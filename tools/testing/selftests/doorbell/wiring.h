/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two contexts, some eventfds, and a model of their assignments, masks and level lines. The
 * model and what userspace can query must always agree.
 */
#ifndef _DOORBELL_WIRING_H
#define _DOORBELL_WIRING_H

#include "doorbell_test.h"

/* Numbers of contexts, of lines (of both contexts, numbered through) and of eventfds. */
#define ND	2
#define PER_DB	4
#define NL	(ND * PER_DB)
#define NE	6

/* The line of an eventfd that is no irqfd. */
#define NOWHERE	(-1)

struct wiring {
	int db[ND];
	int efd[NE];
	/* The model. */
	bool trigger[NL][NE];
	/* The events, if the eventfd is a notifier. */
	uint32_t notifier[NL][NE];
	int irqfd[NE];
	/* The resamplefd of an irqfd, or NOWHERE. */
	int resample[NE];
	/* DOORBELL_LINE_* bits. */
	uint32_t state[NL];
	uint64_t rings[NL];
	uint64_t deliveries[NL];
	uint64_t dropped[NL];
	uint64_t acks[NL];
	uint64_t count[NE];
};

static inline void wiring_init(struct __test_metadata *_metadata, struct wiring *w)
{
	int i;

	for (i = 0; i < ND; i++)
		w->db[i] = new_context(_metadata, PER_DB);
	for (i = 0; i < NE; i++) {
		w->efd[i] = new_eventfd(_metadata, 0, 0);
		w->irqfd[i] = NOWHERE;
		w->resample[i] = NOWHERE;
	}
}

static inline int irqfd(struct wiring *w, int line, int e, uint32_t flags)
{
	return doorbell_irqfd(w->db[line / PER_DB], w->efd[e], line % PER_DB, flags, 0);
}

static inline int trigger(struct wiring *w, int line, int e, uint32_t flags)
{
	return doorbell_trigger(w->db[line / PER_DB], w->efd[e], line % PER_DB, flags);
}

static inline int notifier(struct wiring *w, int line, int e, uint32_t flags, uint32_t events)
{
	return doorbell_notifier(w->db[line / PER_DB], w->efd[e], line % PER_DB, flags, events);
}

static inline int lineset(struct wiring *w, unsigned long cmd, int line)
{
	return doorbell_line_set(w->db[line / PER_DB], cmd, line % PER_DB, 1, NULL, NULL);
}

static inline int model_ring(struct wiring *w, int line);

static inline void model_signal(struct wiring *w, int e)
{
	if (w->irqfd[e] == NOWHERE)
		w->count[e]++;
	else
		model_ring(w, w->irqfd[e]);
}

/* The model of a ring. The model has no cycles and one message in flight at a time. */
static inline int model_ring(struct wiring *w, int line)
{
	int e;

	w->rings[line]++;
	if (w->state[line] & (DOORBELL_LINE_PENDING | DOORBELL_LINE_ASSERTED))
		return DOORBELL_RING_COALESCED;
	if (w->state[line] & DOORBELL_LINE_LEVEL)
		w->state[line] |= DOORBELL_LINE_ASSERTED;
	if (w->state[line] & DOORBELL_LINE_MASKED) {
		w->state[line] |= DOORBELL_LINE_PENDING;
		return DOORBELL_RING_MASKED;
	}
	w->deliveries[line]++;
	for (e = 0; e < NE; e++) {
		if (w->trigger[line][e])
			model_signal(w, e);
	}
	return DOORBELL_RING_DELIVERED;
}

/* The model of an ack of a level line that is not raised. */
static inline int model_ack(struct wiring *w, int line)
{
	int e;

	if ((w->state[line] & (DOORBELL_LINE_ASSERTED | DOORBELL_LINE_PENDING)) !=
	    DOORBELL_LINE_ASSERTED)
		return DOORBELL_ACK_NOTHING;
	w->acks[line]++;
	w->state[line] &= ~DOORBELL_LINE_ASSERTED;
	for (e = 0; e < NE; e++) {
		if (w->notifier[line][e] & DOORBELL_NOTIFY_ACK)
			model_signal(w, e);
	}
	if (w->state[line] & DOORBELL_LINE_MASKED) {
		w->state[line] |= DOORBELL_LINE_RESAMPLE;
		return DOORBELL_ACK_POSTPONED;
	}
	for (e = 0; e < NE; e++) {
		if (w->irqfd[e] == line && w->resample[e] != NOWHERE)
			model_signal(w, w->resample[e]);
	}
	return DOORBELL_ACK_DONE;
}

static inline int set_level_line(struct wiring *w, int line)
{
	int ret = doorbell_set_type(w->db[line / PER_DB], line % PER_DB, DOORBELL_TYPE_LEVEL);

	if (!ret)
		w->state[line] |= DOORBELL_LINE_LEVEL;
	return ret;
}

/* Assigns an irqfd with the eventfd @r as resamplefd. Both counters must be 0. */
static inline int assign_resample(struct wiring *w, int line, int e, int r)
{
	int ret = doorbell_assign_resampled(w->db[line / PER_DB], w->efd[e], line % PER_DB,
					    w->efd[r]);

	if (!ret) {
		w->irqfd[e] = line;
		w->resample[e] = r;
	}
	return ret;
}

static inline int assign_irqfd(struct wiring *w, int line, int e)
{
	int ret = irqfd(w, line, e, 0);

	if (!ret) {
		w->irqfd[e] = line;
		if (w->count[e])
			model_ring(w, line);
		w->count[e] = 0;
	}
	return ret;
}

static inline int assign_trigger(struct wiring *w, int line, int e)
{
	int ret = trigger(w, line, e, 0);

	if (!ret)
		w->trigger[line][e] = true;
	return ret;
}

static inline int assign_notifier(struct wiring *w, int line, int e, uint32_t events)
{
	int ret = notifier(w, line, e, 0, events);

	if (!ret)
		w->notifier[line][e] = events;
	return ret;
}

static inline int mask_line(struct wiring *w, int line)
{
	int ret = lineset(w, DOORBELL_MASK, line), e;

	if (ret == 1) {
		w->state[line] |= VECTOR_MASKED;
		for (e = 0; e < NE; e++) {
			if (w->notifier[line][e] & DOORBELL_NOTIFY_MASK)
				model_signal(w, e);
		}
	}
	return ret;
}

static inline bool same_line(struct wiring *w, int line)
{
	uint32_t irqfds = 0, triggers = 0, notifiers = 0, resamplefds = 0;
	struct doorbell_query query;
	int e;

	if (doorbell_query(w->db[line / PER_DB], line % PER_DB, &query))
		return false;
	for (e = 0; e < NE; e++) {
		irqfds += w->irqfd[e] == line;
		resamplefds += w->irqfd[e] == line && w->resample[e] != NOWHERE;
		triggers += w->trigger[line][e];
		notifiers += !!w->notifier[line][e];
	}
	return query.state == w->state[line] && query.rings == w->rings[line] &&
	       query.deliveries == w->deliveries[line] &&
	       query.dropped == w->dropped[line] && query.acks == w->acks[line] &&
	       query.nr_irqfds == irqfds && query.nr_triggers == triggers &&
	       query.nr_notifiers == notifiers && query.nr_resamplefds == resamplefds;
}

static inline bool same_context(struct wiring *w, int at)
{
	uint32_t irqfds = 0, triggers = 0, notifiers = 0;
	struct doorbell_get_info info;
	int e, line;

	for (e = 0; e < NE; e++) {
		irqfds += w->irqfd[e] != NOWHERE && w->irqfd[e] / PER_DB == at;
		for (line = at * PER_DB; line < (at + 1) * PER_DB; line++) {
			triggers += w->trigger[line][e];
			notifiers += !!w->notifier[line][e];
		}
	}
	return !doorbell_get_info(w->db[at], &info) && info.nr_lines == PER_DB &&
	       info.nr_irqfds == irqfds && info.nr_triggers == triggers &&
	       info.nr_notifiers == notifiers;
}

/* Returns true if all that can be queried is as in the model. */
static inline bool same(struct wiring *w)
{
	int i;

	for (i = 0; i < NL; i++)
		if (!same_line(w, i))
			return false;
	for (i = 0; i < ND; i++)
		if (!same_context(w, i))
			return false;
	for (i = 0; i < NE; i++)
		if (efd_count(w->efd[i]) != w->count[i])
			return false;
	return true;
}

/*
 * Returns true if all that can be queried is as in the model, before and after each line
 * and eventfd is used. Counters are compared once, at the end: they never decrease.
 */
static inline bool intact(struct wiring *w)
{
	int i;

	if (!same(w))
		return false;
	for (i = 0; i < NL; i++)
		if (w->state[i] & DOORBELL_LINE_LEVEL &&
		    doorbell_ack(w->db[i / PER_DB], i % PER_DB) != model_ack(w, i))
			return false;
	for (i = 0; i < NL; i++)
		if (doorbell_ring(w->db[i / PER_DB], i % PER_DB) != model_ring(w, i))
			return false;
	for (i = 0; i < NE; i++) {
		if (efd_write(w->efd[i], 1))
			return false;
		model_signal(w, i);
	}
	return WAIT_FOR(same(w));
}

/* Expects an error that changes nothing. For tests that have a struct wiring *w. */
#define REFUSED(error, call) do {					\
	ASSERT_EQ(-(error), (call));					\
	ASSERT_TRUE(intact(w));						\
} while (0)

#endif /* _DOORBELL_WIRING_H */
