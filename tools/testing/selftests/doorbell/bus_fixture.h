/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A context with a bus that has regions and records of all kinds, and a check that nothing
 * has changed: neither the state that can be queried nor the effect of a write to each
 * region.
 */
#ifndef _DOORBELL_BUS_FIXTURE_H
#define _DOORBELL_BUS_FIXTURE_H

#include "bus.h"

#define LINES		3
#define MASKED_LINE	1

/* The number of records. */
#define RECORDS		4

#define ADDR		0x1000ULL

/*
 * Regions in the order of DOORBELL_GET_REGIONS, and their eventfds. The last one rings a
 * line.
 */
enum { ANY, SEVEN, RECORDED, LONE, NE, HELD = NE, NR };

struct bus_fixture {
	int db;
	int efd[NE];
	/* An eventfd of no region. */
	int spare;
	struct doorbell_region regions[NR];
	/* The expected state. */
	struct bus_state state;
	uint64_t rings;
};

static inline bool state_is_expected(struct bus_fixture *w)
{
	struct doorbell_query query;
	struct bus_state now;
	int i;

	if (!get_bus_state(w->db, &now) || memcmp(&now, &w->state, sizeof(now)))
		return false;
	for (i = 0; i < NE; i++)
		if (efd_count(w->efd[i]))
			return false;
	return !efd_count(w->spare) && !doorbell_query(w->db, MASKED_LINE, &query) &&
	       query.rings == w->rings;
}

/* Makes a write that matches the region. */
static inline int write_to(struct bus_fixture *w, int i)
{
	const struct doorbell_region *region = &w->regions[i];

	w->state.regions[i].writes++;
	return bus_write(w->db, region->space == PIO ? BY_IOCTL_PIO : BY_IOCTL, region->addr,
			 region->length ?: 1, region->flags & DATAMATCH ? region->datamatch : 0);
}

/* Returns true if the state is as expected and a write to each region has its effect. */
static inline bool intact(struct bus_fixture *w)
{
	struct doorbell_record record;
	int i;

	if (!state_is_expected(w))
		return false;
	for (i = 0; i < NR; i++) {
		if (write_to(w, i))
			return false;
		if (signals(w->efd, NE) != (i == HELD ? 0 : i == SEVEN ? 0x11 : 1 << 4 * i))
			return false;
	}
	/* The write to the region with a datamatch went to the one without, too. */
	w->state.regions[ANY].writes++;
	w->state.bus.recorded++;
	w->rings++;
	return read_records(w->db, &record, 1) == 1 && record.sequence == w->state.bus.recorded &&
	       state_is_expected(w);
}

static inline void bus_fixture_init(struct __test_metadata *_metadata, struct bus_fixture *w)
{
	int i;

	w->db = new_context(_metadata, LINES);
	w->spare = new_eventfd(_metadata, 0, 0);
	for (i = 0; i < NE; i++)
		w->efd[i] = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(1, doorbell_mask(w->db, MASKED_LINE));
	ASSERT_EQ(0, doorbell_set_records(w->db, RECORDS));
	w->regions[ANY] = to_eventfd(ADDR, 4, w->efd[ANY]);
	w->regions[SEVEN] = matching(to_eventfd(ADDR, 4, w->efd[SEVEN]), 7);
	w->regions[RECORDED] = recorded(to_eventfd(ADDR + 0x10, 0, w->efd[RECORDED]));
	w->regions[LONE] = in_space(matching(to_eventfd(ADDR, 2, w->efd[LONE]), 0xbeef), PIO);
	w->regions[HELD] = in_space(to_line(-8ULL, 8, MASKED_LINE), PIO);
	for (i = 0; i < NR; i++)
		ASSERT_EQ(0, change_region(w->db, w->regions[i]));
	ASSERT_TRUE(get_bus_state(w->db, &w->state));
	ASSERT_TRUE(intact(w));
}

/* Expects an error that changes nothing. For tests that have a struct bus_fixture *w. */
#define REFUSED(error, call) do {					\
	ASSERT_EQ(-(error), (call));					\
	ASSERT_TRUE(intact(w));						\
} while (0)

/* Expects the error from both calls. In a batch, its index is reported at each position. */
#define REGION_REFUSED(error, region) do {				\
	const int __error = error;					\
	const struct doorbell_region __bad = region;			\
	struct doorbell_region __all[] = {				\
		to_eventfd(0x9000, 1, w->spare), __bad, to_eventfd(0x9001, 1, w->spare), \
	};								\
	uint32_t __failed;						\
									\
	REFUSED(__error, change_region(w->db, __bad));			\
	REFUSED(__error, doorbell_change_regions(w->db, __all, 3, &__failed)); \
	ASSERT_EQ(1, __failed);						\
	REFUSED(__error, doorbell_change_regions(w->db, __all, 2, &__failed)); \
	ASSERT_EQ(1, __failed);						\
	REFUSED(__error, doorbell_change_regions(w->db, __all + 1, 2, &__failed)); \
	ASSERT_EQ(0, __failed);						\
} while (0)

/* Evaluates to a copy of the region with one field changed. */
#define CHANGED(region, field, value) ({				\
	struct doorbell_region __changed = region;			\
									\
	__changed.field = value;					\
	__changed;							\
})

#endif /* _DOORBELL_BUS_FIXTURE_H */
