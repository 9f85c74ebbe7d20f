/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Client library of /dev/doorbell: the summary, one notification that many lines share, and
 * the bitmap from which a consumer takes the lines that have fired. See doorbell.h for what
 * all functions have in common.
 *
 * A consumer waits for the context with poll(2), select(2) or epoll(7), level-triggered or
 * edge-triggered, and then takes:
 *
 *	struct doorbell_taker taker = { 0 };
 *	uint32_t line;
 *
 *	while (doorbell_take(&summary, &taker, &line))
 *		handle(line);
 */
#ifndef _DOORBELL_SUMMARY_CLIENT_H
#define _DOORBELL_SUMMARY_CLIENT_H

#include <sys/mman.h>

#include "doorbell.h"

/* See doorbell.h. */
#pragma GCC diagnostic push
#ifdef __cplusplus
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/**
 * doorbell_summary() - assign or deassign the summary as a trigger of lines
 * @db: the context
 * @line: the first line
 * @nr_lines: number of consecutive lines
 * @lines: bitmap of @nr_lines bits that selects lines, or NULL for all
 * @flags: zero or DOORBELL_SUMMARY_FLAG_DEASSIGN
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_summary(int db, uint32_t line, uint32_t nr_lines,
				   const uint64_t *lines, uint32_t flags)
{
	struct doorbell_summary arg = { line, nr_lines, (uintptr_t)lines, flags, { 0 } };

	return doorbell_ioctl(db, DOORBELL_SUMMARY, &arg);
}

/**
 * doorbell_assign_summary() - have each delivery of some lines mark the summary
 * @db: the context
 * @line: the first line
 * @nr_lines: number of consecutive lines
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_summary(int db, uint32_t line, uint32_t nr_lines)
{
	return doorbell_summary(db, line, nr_lines, NULL, 0);
}

/**
 * doorbell_deassign_summary() - end that, and wait for the last delivery
 * @db: the context
 * @line: the first line
 * @nr_lines: number of consecutive lines
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_deassign_summary(int db, uint32_t line, uint32_t nr_lines)
{
	return doorbell_summary(db, line, nr_lines, NULL, DOORBELL_SUMMARY_FLAG_DEASSIGN);
}

/**
 * struct doorbell_summary_words - a mapping of the summary
 * @map: the words
 * @nr_words: number of elements of @map->lines
 * @last: the bits of the last element that stand for lines of the context
 */
struct doorbell_summary_words {
	struct doorbell_summary_map *map;
	uint32_t nr_words;
	uint64_t last;
};

/**
 * doorbell_map_summary() - map the summary, which has been assigned to lines
 * @db: the context
 * @summary: is written
 *
 * Return: 0 or -errno; -ENXIO if the summary was never assigned.
 */
static inline int doorbell_map_summary(int db, struct doorbell_summary_words *summary)
{
	struct doorbell_get_info info;
	int ret = doorbell_get_info(db, &info);
	uint32_t nr_words;
	void *map;

	if (ret < 0)
		return ret;
	nr_words = (info.nr_lines + 63) / 64;
	map = mmap(NULL, sizeof(struct doorbell_summary_map) + nr_words * sizeof(uint64_t),
		   PROT_READ | PROT_WRITE, MAP_SHARED, db, (off_t)info.summary_offset);
	if (map == MAP_FAILED)
		return -errno;
	summary->map = (struct doorbell_summary_map *)map;
	summary->nr_words = nr_words;
	summary->last = ~0ULL >> (63 & -info.nr_lines);
	return 0;
}

/**
 * doorbell_unmap_summary() - unmap the summary
 * @summary: the mapping
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_unmap_summary(const struct doorbell_summary_words *summary)
{
	size_t size = sizeof(*summary->map) + summary->nr_words * sizeof(uint64_t);

	return munmap(summary->map, size) ? -errno : 0;
}

/**
 * doorbell_has_fired() - query whether a line has fired that was not taken
 * @summary: the mapping
 *
 * Return: 1 if the context's file descriptor is readable because of the summary, or 0.
 */
static inline int doorbell_has_fired(const struct doorbell_summary_words *summary)
{
	return !!__atomic_load_n(&summary->map->top, __ATOMIC_RELAXED);
}

/**
 * struct doorbell_taker - words that a consumer has taken and not handled yet
 *
 * Begin with all zeroes. Each thread that takes has its own.
 */
struct doorbell_taker {
	/* private: */
	uint64_t top;
	uint64_t group;
	uint64_t lines;
	uint32_t at_group;
	uint32_t at_word;
};

/*
 * Takes a word. An exchange of a word that is zero would only cost time. The load has the order
 * of the exchange: it must not be executed before that of the word above.
 */
static inline uint64_t doorbell_take_word(__u64 *word)
{
	if (!__atomic_load_n(word, __ATOMIC_SEQ_CST))
		return 0;
	return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
}

/* The maximum number of top words without a line that a call takes. */
#define DOORBELL_TAKE_TOPS	16

/* Takes the next word of lines, if the next group has one. Returns 0 if the top word is zero. */
static inline int doorbell_take_lines(const struct doorbell_summary_words *summary,
				      struct doorbell_taker *taker)
{
	struct doorbell_summary_map *map = summary->map;
	uint32_t word;

	if (!taker->group) {
		/* Any process that maps the words can set bits that stand for no group. */
		if (!taker->top)
			taker->top = doorbell_take_word(&map->top) &
				     ((1ULL << DOORBELL_SUMMARY_GROUPS) - 1);
		if (!taker->top)
			return 0;
		taker->at_group = (uint32_t)__builtin_ctzll(taker->top);
		taker->top &= taker->top - 1;
		taker->group = doorbell_take_word(&map->groups[taker->at_group]);
		if (!taker->group)
			return 1;
	}
	word = 64 * taker->at_group + (uint32_t)__builtin_ctzll(taker->group);
	taker->group &= taker->group - 1;
	taker->at_word = word;
	if (word < summary->nr_words) {
		taker->lines = doorbell_take_word(&map->lines[word]);
		if (word == summary->nr_words - 1)
			taker->lines &= summary->last;
	}
	return 1;
}

/**
 * doorbell_take() - take a line that has fired
 * @summary: the mapping
 * @taker: the words that the caller has taken
 * @line: is written
 *
 * After it has returned 0 the caller may wait for the file descriptor. A caller that stops
 * before that has lines in @taker, and goes on with the same @taker or calls
 * doorbell_take_all() later.
 *
 * The line exists: a bit beyond the context's lines, which another process has set in the
 * mapping, is skipped. After DOORBELL_TAKE_TOPS top words without a line the call returns 0,
 * so a process that sets upper bits all the time does not hold the caller.
 *
 * Return: 1, or 0 if there is no line left.
 */
static inline int doorbell_take(const struct doorbell_summary_words *summary,
				struct doorbell_taker *taker, uint32_t *line)
{
	unsigned int tops = 0;

	while (!taker->lines) {
		if (!doorbell_take_lines(summary, taker))
			return 0;
		if (!taker->lines && !taker->group && !taker->top && ++tops == DOORBELL_TAKE_TOPS)
			return 0;
	}
	*line = 64 * taker->at_word + (uint32_t)__builtin_ctzll(taker->lines);
	taker->lines &= taker->lines - 1;
	return 1;
}

/**
 * doorbell_take_all() - begin to look at all words, as after another consumer has died
 * @taker: is written; then call doorbell_take() with it until that returns 0
 * @summary: the mapping
 */
static inline void doorbell_take_all(const struct doorbell_summary_words *summary,
				     struct doorbell_taker *taker)
{
	uint32_t word;

	for (word = 0; word < summary->nr_words; word++)
		__atomic_fetch_or(&summary->map->groups[word / 64], 1ULL << (word % 64),
				  __ATOMIC_SEQ_CST);
	memset(taker, 0, sizeof(*taker));
	taker->top = (1ULL << DOORBELL_SUMMARY_GROUPS) - 1;
}

#pragma GCC diagnostic pop

#endif /* _DOORBELL_SUMMARY_CLIENT_H */
