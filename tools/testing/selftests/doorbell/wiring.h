/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two contexts, some eventfds, and a model of how they are wired: what can be
 * seen of the one must always be as in the other.
 */
#ifndef _DOORBELL_WIRING_H
#define _DOORBELL_WIRING_H

#include "doorbell_test.h"

/* Contexts, lines (of both contexts, numbered through) and eventfds. */
#define ND	2
#define PER_DB	4
#define NL	(ND * PER_DB)
#define NE	6

/* Not an irqfd. */
#define NOWHERE	(-1)

struct wiring {
	int db[ND];
	int efd[NE];
	/* The model: */
	bool trigger[NL][NE];
	int irqfd[NE];
	uint64_t rings[NL];
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
	}
}

static inline int irqfd(struct wiring *w, int line, int e, uint32_t flags)
{
	return db_irqfd(w->db[line / PER_DB], w->efd[e], line % PER_DB, flags);
}

static inline int trigger(struct wiring *w, int line, int e, uint32_t flags)
{
	return db_trigger(w->db[line / PER_DB], w->efd[e], line % PER_DB, flags);
}

/* The model's ring: it has no cycles, and one message is under way at a time. */
static inline void model_ring(struct wiring *w, int line)
{
	int e;

	w->rings[line]++;
	for (e = 0; e < NE; e++) {
		if (!w->trigger[line][e])
			continue;
		if (w->irqfd[e] == NOWHERE)
			w->count[e]++;
		else
			model_ring(w, w->irqfd[e]);
	}
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

static inline bool same_line(struct wiring *w, int line)
{
	uint32_t irqfds = 0, triggers = 0;
	struct doorbell_query query;
	int e;

	if (db_query(w->db[line / PER_DB], line % PER_DB, &query))
		return false;
	for (e = 0; e < NE; e++) {
		irqfds += w->irqfd[e] == line;
		triggers += w->trigger[line][e];
	}
	return query.state == 0 && query.rings == w->rings[line] &&
	       query.deliveries == w->rings[line] &&
	       query.nr_irqfds == irqfds && query.nr_triggers == triggers;
}

static inline bool same_context(struct wiring *w, int at)
{
	uint32_t irqfds = 0, triggers = 0;
	struct doorbell_info info;
	int e, line;

	for (e = 0; e < NE; e++) {
		irqfds += w->irqfd[e] != NOWHERE && w->irqfd[e] / PER_DB == at;
		for (line = at * PER_DB; line < (at + 1) * PER_DB; line++)
			triggers += w->trigger[line][e];
	}
	return !db_info(w->db[at], &info) && info.nr_lines == PER_DB &&
	       info.nr_irqfds == irqfds && info.nr_triggers == triggers;
}

/* Everything that can be seen is as in the model. */
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

/* Everything that can be seen, and each line and eventfd when it is used. */
static inline bool intact(struct wiring *w)
{
	int i;

	if (!same(w))
		return false;
	for (i = 0; i < NL; i++) {
		if (db_ring(w->db[i / PER_DB], i % PER_DB) != DOORBELL_RING_DELIVERED)
			return false;
		model_ring(w, i);
		if (!WAIT_FOR(same(w)))
			return false;
	}
	for (i = 0; i < NE; i++) {
		if (efd_write(w->efd[i], 1))
			return false;
		if (w->irqfd[i] == NOWHERE)
			w->count[i]++;
		else
			model_ring(w, w->irqfd[i]);
		if (!WAIT_FOR(same(w)))
			return false;
	}
	return true;
}

#endif /* _DOORBELL_WIRING_H */
