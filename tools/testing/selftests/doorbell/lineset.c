// SPDX-License-Identifier: GPL-2.0-only
/*
 * MASK, UNMASK, CLEAR, PENDING and RING_LINES of many lines at once, by bitmaps, against a
 * model. Runs as a 32-bit program, too.
 */
#include "doorbell_test.h"

#define BITS	64
#define MASKED	VECTOR_MASKED
#define HELD	(MASKED | DOORBELL_LINE_PENDING)

static size_t words_of(uint32_t bits)
{
	return (bits + BITS - 1) / BITS;
}

static bool test_bit(const uint64_t *bits, uint32_t nr)
{
	return bits[nr / BITS] >> nr % BITS & 1;
}

static void set_bit(uint64_t *bits, uint32_t nr)
{
	bits[nr / BITS] |= 1ULL << nr % BITS;
}

/* The expected state of each line, and the expected messages. */
struct model {
	uint32_t nr;
	uint32_t state[DOORBELL_MAX_LINES];
	uint64_t deliveries[DOORBELL_MAX_LINES];
	uint64_t dropped[DOORBELL_MAX_LINES];
	uint64_t coalesced[DOORBELL_MAX_LINES];
};

static struct model model;

static bool model_op(unsigned long cmd, uint32_t line)
{
	uint32_t *state = &model.state[line];
	uint32_t was = *state;

	switch (cmd) {
	case DOORBELL_MASK:
		*state |= MASKED;
		return !(was & MASKED);
	case DOORBELL_UNMASK:
		*state = 0;
		model.deliveries[line] += was == HELD;
		return was == HELD;
	case DOORBELL_CLEAR:
		*state &= ~DOORBELL_LINE_PENDING;
		model.dropped[line] += was == HELD;
		return was == HELD;
	case DOORBELL_RING_LINES:
		if (was)
			*state = HELD;
		else
			model.deliveries[line]++;
		model.coalesced[line] += was == HELD;
		return !was;
	default:
		return was == HELD;
	}
}

static void ring_both(struct __test_metadata *_metadata, int db, uint32_t line)
{
	int expected = DOORBELL_RING_DELIVERED;

	if (model.state[line] == HELD)
		expected = DOORBELL_RING_COALESCED;
	else if (model.state[line] == MASKED)
		expected = DOORBELL_RING_MASKED;
	ASSERT_EQ(expected, doorbell_ring(db, line));
	model_op(DOORBELL_RING_LINES, line);
}

/* Returns true if all lines of the context are as in the model. */
static bool as_model(const struct doorbell_line_status *status)
{
	uint32_t i;

	for (i = 0; i < model.nr; i++) {
		if (status_state(&status[i]) != model.state[i] ||
		    status[i].deliveries != model.deliveries[i] ||
		    status[i].dropped != model.dropped[i] ||
		    status[i].coalesced != model.coalesced[i])
			return false;
	}
	return true;
}

/*
 * Makes one call and the same change in the model. A word behind the result detects
 * overruns.
 */
static void op_both(struct __test_metadata *_metadata, int db, unsigned long cmd, uint32_t first,
		    uint32_t nr, uint64_t *chosen, uint64_t *result)
{
	static uint64_t expected[DOORBELL_MAX_LINES / BITS + 1];
	const uint64_t guard = 0x5a5a5a5a5a5a5a5aULL;
	size_t words = words_of(nr);
	int count = 0;
	uint32_t i;

	memset(expected, 0, sizeof(expected));
	for (i = 0; i < nr; i++) {
		if (chosen && !test_bit(chosen, i))
			continue;
		if (model_op(cmd, first + i)) {
			set_bit(expected, i);
			count++;
		}
	}
	if (result && result != chosen)
		memset(result, 0xff, words * sizeof(*result));
	if (result)
		result[words] = guard;
	ASSERT_EQ(count, doorbell_line_set(db, cmd, first, nr, chosen, result));
	if (result) {
		ASSERT_EQ(0, memcmp(expected, result, words * sizeof(*result)));
		ASSERT_EQ(guard, result[words]);
	}
}

static const unsigned long all_cmds[] = {
	DOORBELL_MASK, DOORBELL_PENDING, DOORBELL_CLEAR, DOORBELL_UNMASK, DOORBELL_RING_LINES,
};

FIXTURE(lineset) {
	int db;
	const struct doorbell_line_status *status;
};

FIXTURE_VARIANT(lineset) {
	/* Lines of the context. */
	uint32_t lines;
	/* Lines of each call. */
	uint32_t first;
	uint32_t nr;
};

FIXTURE_VARIANT_ADD(lineset, one_of_one) { .lines = 1, .first = 0, .nr = 1 };
FIXTURE_VARIANT_ADD(lineset, one_of_many) { .lines = 200, .first = 131, .nr = 1 };
FIXTURE_VARIANT_ADD(lineset, word) { .lines = 64, .first = 0, .nr = 64 };
FIXTURE_VARIANT_ADD(lineset, almost_a_word) { .lines = 200, .first = 1, .nr = 63 };
FIXTURE_VARIANT_ADD(lineset, word_askew) { .lines = 200, .first = 7, .nr = 64 };
FIXTURE_VARIANT_ADD(lineset, word_and_a_bit) { .lines = 65, .first = 0, .nr = 65 };
FIXTURE_VARIANT_ADD(lineset, three_words_to_the_end) { .lines = 200, .first = 70, .nr = 130 };
FIXTURE_VARIANT_ADD(lineset, many) { .lines = 1000, .first = 63, .nr = 900 };

FIXTURE_SETUP(lineset)
{
	self->db = new_context(_metadata, variant->lines);
	self->status = map_status(_metadata, self->db);
	memset(&model, 0, sizeof(model));
	model.nr = variant->lines;
}

FIXTURE_TEARDOWN(lineset)
{
}

/* Calls in random order, for random lines and bitmaps. */
TEST_F(lineset, random)
{
	uint64_t chosen[words_of(DOORBELL_MAX_LINES) + 1], result[words_of(DOORBELL_MAX_LINES) + 1];
	unsigned int seed = variant->nr, round;

	for (round = 0; round < 300; round++) {
		unsigned long cmd = all_cmds[rand_r(&seed) % ARRAY_SIZE(all_cmds)];
		unsigned int dice = rand_r(&seed);
		uint32_t i;

		/* Roughly every other line; all; none; and no bitmap. */
		memset(chosen, 0, sizeof(chosen));
		for (i = 0; i < variant->nr; i++) {
			if (dice % 4 == 0 || (dice % 4 != 1 && rand_r(&seed) & 1))
				set_bit(chosen, i);
		}
		op_both(_metadata, self->db, cmd, variant->first, variant->nr,
			dice & 16 ? chosen : NULL,
			dice & 32 ? result : dice & 64 ? chosen : NULL);
		/* Checks all lines, also those that the calls did not select. */
		ASSERT_TRUE(as_model(self->status));
		for (i = 0; i < variant->lines; i++) {
			if (rand_r(&seed) % 4 == 0)
				ring_both(_metadata, self->db, i);
		}
		ASSERT_TRUE(as_model(self->status));
	}
}

/* The bitmap that selects lines may be the one for the result. */
TEST_F(lineset, result_in_place)
{
	uint64_t bits[words_of(DOORBELL_MAX_LINES) + 1];
	unsigned int cmd;
	uint32_t i;

	for (cmd = 0; cmd < ARRAY_SIZE(all_cmds); cmd++) {
		memset(bits, 0, sizeof(bits));
		for (i = 0; i < variant->nr; i += 2)
			set_bit(bits, i);
		op_both(_metadata, self->db, all_cmds[cmd], variant->first, variant->nr, bits,
			bits);
		for (i = 0; i < variant->lines; i += 3)
			ring_both(_metadata, self->db, i);
		ASSERT_TRUE(as_model(self->status));
	}
}

/* The maximum number of lines, all at once and by bitmaps. */
TEST(largest)
{
	static uint64_t chosen[DOORBELL_MAX_LINES / BITS + 1];
	static uint64_t result[DOORBELL_MAX_LINES / BITS + 1];
	const uint32_t nr = DOORBELL_MAX_LINES;
	int db = new_context(_metadata, nr);
	int out = new_eventfd(_metadata, 0, 0);
	const struct doorbell_line_status *status = map_status(_metadata, db);
	uint32_t i;

	memset(&model, 0, sizeof(model));
	model.nr = nr;
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, nr - 1));
	op_both(_metadata, db, DOORBELL_MASK, 0, nr, NULL, result);
	op_both(_metadata, db, DOORBELL_MASK, 0, nr, NULL, result);
	for (i = 0; i < nr; i += 5)
		ring_both(_metadata, db, i);
	op_both(_metadata, db, DOORBELL_PENDING, 0, nr, NULL, result);
	ASSERT_TRUE(as_model(status));
	for (i = 0; i < nr; i += 2)
		set_bit(chosen, i);
	op_both(_metadata, db, DOORBELL_CLEAR, 0, nr, chosen, result);
	op_both(_metadata, db, DOORBELL_UNMASK, 0, nr, chosen, result);
	ASSERT_TRUE(as_model(status));
	EXPECT_EQ(0, efd_count(out));
	op_both(_metadata, db, DOORBELL_UNMASK, 0, nr, NULL, result);
	ASSERT_TRUE(as_model(status));
	EXPECT_EQ(1, efd_read(out));
	/* The last line, by itself. */
	op_both(_metadata, db, DOORBELL_MASK, nr - 1, 1, NULL, result);
	ring_both(_metadata, db, nr - 1);
	EXPECT_EQ(0, efd_count(out));
	op_both(_metadata, db, DOORBELL_UNMASK, nr - 1, 1, NULL, result);
	EXPECT_EQ(1, efd_read(out));
	ASSERT_TRUE(as_model(status));
	/* Rings all, and those that were selected above. */
	op_both(_metadata, db, DOORBELL_RING_LINES, 0, nr, NULL, result);
	EXPECT_EQ(1, efd_read(out));
	op_both(_metadata, db, DOORBELL_RING_LINES, 0, nr, chosen, NULL);
	EXPECT_EQ(0, efd_count(out));
	ASSERT_TRUE(as_model(status));
}

TEST_HARNESS_MAIN
