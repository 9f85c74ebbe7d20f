/* SPDX-License-Identifier: GPL-2.0-only */
/* A context with a mapped summary. */
#ifndef _DOORBELL_SUMMARY_TEST_H
#define _DOORBELL_SUMMARY_TEST_H

#include <doorbell_summary.h>

#include "doorbell_test.h"

/* Maps the summary, which must have been assigned. */
static inline struct doorbell_summary_words map_summary(struct __test_metadata *_metadata, int db)
{
	struct doorbell_summary_words summary = {};

	ASSERT_EQ(0, doorbell_map_summary(db, &summary));
	return summary;
}

/* Takes the next line; -1 if there is none. */
static inline int take_one(const struct doorbell_summary_words *summary,
			   struct doorbell_taker *taker)
{
	uint32_t line;

	return doorbell_take(summary, taker, &line) ? (int)line : -1;
}

/* Takes all lines, and returns their number. The bits in @fired become those of the lines. */
static inline unsigned int take_lines(const struct doorbell_summary_words *summary,
				      uint64_t *fired, size_t nr_words)
{
	struct doorbell_taker taker = {};
	unsigned int nr = 0;
	int line;

	memset(fired, 0, nr_words * sizeof(*fired));
	while ((line = take_one(summary, &taker)) >= 0) {
		if ((size_t)line / 64 < nr_words)
			fired[line / 64] |= 1ULL << (line % 64);
		nr++;
	}
	return nr;
}

/* Returns the line, if it is the only one that has fired; -1: none; -2: several. */
static inline int take_only(const struct doorbell_summary_words *summary)
{
	struct doorbell_taker taker = {};
	int line = take_one(summary, &taker);

	if (line < 0 || take_one(summary, &taker) < 0)
		return line;
	while (take_one(summary, &taker) >= 0)
		;
	return -2;
}

#endif /* _DOORBELL_SUMMARY_TEST_H */
