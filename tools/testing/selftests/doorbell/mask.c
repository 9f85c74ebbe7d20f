// SPDX-License-Identifier: GPL-2.0-only
/*
 * Masks: what is held, what is not, and that a mask is a barrier. Runs as a
 * 32-bit program, too.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "doorbell_test.h"

#define BITS		64

/*
 * Long enough for thousands of rounds; longer on a machine too busy for these.
 * Who calls makes no difference to a barrier, so 32-bit programs are quick.
 */
#define ROUNDS_MS	(sizeof(long) == 8 ? 1500 : 200)
#define ROUNDS_MIN	(sizeof(long) == 8 ? 1000 : 100)

static bool more_rounds(unsigned int rounds, uint64_t start)
{
	return rounds < ROUNDS_MIN || now_us() < start + ROUNDS_MS * 1000;
}

FIXTURE(mask) {
	int kmsg;
	/* Two lines under test, with a trigger and an irqfd each; and a third. */
	int db;
	int in[3];
	int out[3];
	const struct doorbell_status *status;
};

FIXTURE_SETUP(mask)
{
	int i;

	pin_to(0);
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 3);
	self->status = map_status(_metadata, self->db, 3);
	for (i = 0; i < 3; i++) {
		self->in[i] = new_eventfd(_metadata, 0, 0);
		self->out[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, db_irqfd(self->db, self->in[i], i, 0));
		ASSERT_EQ(0, db_trigger(self->db, self->out[i], i, 0));
	}
}

FIXTURE_TEARDOWN(mask)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * What is delivered by a callback comes a moment after it was rung. When this
 * returns, what was rung before on this processor has been delivered, if it was
 * going to be: the third line's message came after it.
 */
#define FLUSH() do {							\
	ASSERT_EQ(0, efd_write(self->in[2], 1));			\
	ASSERT_EQ(1, efd_wait(self->out[2]));				\
	settled(_metadata, self->db, 2);				\
} while (0)

/* The state as each of the three ways to look at it has it. */
#define EXPECT_STATE(line, expected) do {				\
	const uint32_t __line = line, __state = expected;		\
	struct doorbell_query __query = line_of(_metadata, self->db, __line); \
									\
	EXPECT_EQ(__state, __query.state);				\
	EXPECT_TRUE(status_agrees(&self->status[__line], &__query));	\
	EXPECT_EQ(!!(__state & DOORBELL_LINE_PENDING), db_pending(self->db, __line)); \
} while (0)

#define MASKED	DOORBELL_LINE_MASKED
#define HELD	(DOORBELL_LINE_MASKED | DOORBELL_LINE_PENDING)

TEST_F(mask, ring_is_held)
{
	struct doorbell_query query;
	int i;

	EXPECT_STATE(0, 0);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));

	EXPECT_EQ(1, db_mask(self->db, 0));
	EXPECT_STATE(0, MASKED);
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	EXPECT_STATE(0, HELD);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(DOORBELL_RING_COALESCED, db_ring(self->db, 0));
	EXPECT_STATE(0, HELD);
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	/* It is that line's mask. */
	EXPECT_STATE(1, 0);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(self->db, 1));
	EXPECT_EQ(1, efd_read(self->out[1]));

	EXPECT_EQ(1, db_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_STATE(0, 0);
	query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(5, query.rings);
	EXPECT_EQ(2, query.deliveries);
	EXPECT_EQ(0, query.dropped);
	EXPECT_EQ(3, self->status[0].coalesced);

	/* And then it is as ever. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

TEST_F(mask, nothing_rung_nothing_delivered)
{
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, db_unmask(self->db, 0));
		EXPECT_EQ(1, db_mask(self->db, 0));
		EXPECT_STATE(0, MASKED);
		EXPECT_EQ(0, db_unmask(self->db, 0));
		EXPECT_STATE(0, 0);
	}
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).deliveries);

	/* Neither does what the trigger's counter has from before. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(self->db, 0));
	EXPECT_EQ(1, db_mask(self->db, 0));
	EXPECT_EQ(0, db_unmask(self->db, 0));
	FLUSH();
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).deliveries);
}

/* Masks do not nest, and one more call is no occasion to deliver. */
TEST_F(mask, twice_is_once)
{
	EXPECT_EQ(1, db_mask(self->db, 0));
	EXPECT_EQ(0, db_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	EXPECT_EQ(0, db_mask(self->db, 0));
	EXPECT_STATE(0, HELD);
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, db_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_STATE(0, 0);
	EXPECT_EQ(0, db_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->out[0]));
}

TEST_F(mask, irqfd_is_held)
{
	int i;

	EXPECT_EQ(1, db_mask(self->db, 0));
	for (i = 1; i <= 3; i++) {
		/* Consumed as ever; there is no second consumer to find it. */
		ASSERT_EQ(0, efd_write(self->in[0], i));
		EXPECT_EQ(0, efd_count(self->in[0]));
		EXPECT_STATE(0, HELD);
		EXPECT_EQ(i, line_of(_metadata, self->db, 0).rings);
	}
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).deliveries);

	EXPECT_EQ(1, db_unmask(self->db, 0));
	/* There on return, though the ring was an irqfd's. */
	EXPECT_EQ(1, efd_read(self->out[0]));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_STATE(0, 0);
	EXPECT_EQ(2, self->status[0].coalesced);
	ASSERT_EQ(0, efd_write(self->in[0], 1));
	EXPECT_EQ(1, efd_wait(self->out[0]));
}

TEST_F(mask, clear_drops)
{
	struct doorbell_query query;
	int i;

	/* Nothing to drop, masked or not. */
	EXPECT_EQ(0, db_clear(self->db, 0));
	EXPECT_EQ(1, db_mask(self->db, 0));
	EXPECT_EQ(0, db_clear(self->db, 0));
	EXPECT_STATE(0, MASKED);
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).dropped);

	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
		ASSERT_EQ(0, efd_write(self->in[0], 1));
		EXPECT_EQ(1, db_clear(self->db, 0));
		/* It stays masked. */
		EXPECT_STATE(0, MASKED);
		EXPECT_EQ(i, line_of(_metadata, self->db, 0).dropped);
		EXPECT_EQ(0, db_clear(self->db, 0));
	}
	EXPECT_EQ(0, db_unmask(self->db, 0));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(6, query.rings);
	EXPECT_EQ(0, query.deliveries);
	EXPECT_EQ(3, query.dropped);
	EXPECT_EQ(3, self->status[0].coalesced);

	/* What comes after a clear is held as ever. */
	EXPECT_EQ(1, db_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	EXPECT_EQ(1, db_clear(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	EXPECT_EQ(1, db_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

/* A trigger gets what is delivered while it is one, whenever that was rung. */
TEST_F(mask, triggers_change_meanwhile)
{
	int late = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(1, db_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	ASSERT_EQ(0, db_trigger(self->db, late, 0, 0));
	EXPECT_STATE(0, HELD);
	ASSERT_EQ(0, db_trigger(self->db, self->out[0], 0, DOORBELL_FLAG_DEASSIGN));
	EXPECT_STATE(0, HELD);
	FLUSH();
	EXPECT_EQ(0, efd_count(late));
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, db_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(late));
	EXPECT_EQ(0, efd_count(self->out[0]));

	/* Nor does a message need one: this goes to nobody, and is gone. */
	EXPECT_EQ(1, db_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	ASSERT_EQ(0, db_trigger(self->db, late, 0, DOORBELL_FLAG_DEASSIGN));
	EXPECT_EQ(1, db_unmask(self->db, 0));
	ASSERT_EQ(0, db_trigger(self->db, late, 0, 0));
	EXPECT_EQ(0, efd_count(late));
	EXPECT_EQ(2, line_of(_metadata, self->db, 0).deliveries);
}

TEST_F(mask, irqfds_change_meanwhile)
{
	int late = new_eventfd(_metadata, 7, 0);
	int quiet = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(1, db_mask(self->db, 0));
	/* Assigning and deassigning what was not signalled is no ring. */
	ASSERT_EQ(0, db_irqfd(self->db, quiet, 0, 0));
	ASSERT_EQ(0, db_irqfd(self->db, quiet, 0, DOORBELL_FLAG_DEASSIGN));
	EXPECT_STATE(0, MASKED);

	/* What is in the counter when it is assigned is one ring, and held. */
	ASSERT_EQ(0, db_irqfd(self->db, late, 0, 0));
	EXPECT_EQ(0, efd_count(late));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);
	ASSERT_EQ(0, db_irqfd(self->db, late, 0, DOORBELL_FLAG_DEASSIGN));
	ASSERT_EQ(0, db_irqfd(self->db, self->in[0], 0, DOORBELL_FLAG_DEASSIGN));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);
	/* Who is no irqfd any more does not ring a masked line either. */
	ASSERT_EQ(0, efd_write(late, 1));
	EXPECT_EQ(1, efd_count(late));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);

	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, db_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

/* What an EFD_SEMAPHORE eventfd has left when it is deassigned rings once more. */
TEST_F(mask, semaphore_leftover)
{
	int sem = new_eventfd(_metadata, 0, EFD_SEMAPHORE);

	ASSERT_EQ(0, db_irqfd(self->db, sem, 0, 0));
	EXPECT_EQ(1, db_mask(self->db, 0));
	ASSERT_EQ(0, efd_write(sem, 3));
	EXPECT_EQ(2, efd_count(sem));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(1, db_clear(self->db, 0));
	EXPECT_STATE(0, MASKED);

	ASSERT_EQ(0, db_irqfd(self->db, sem, 0, DOORBELL_FLAG_DEASSIGN));
	EXPECT_EQ(1, efd_count(sem));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(2, line_of(_metadata, self->db, 0).rings);
	EXPECT_EQ(1, db_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[0]));
}

/* The last close of an irqfd's eventfd takes nothing from what it rang before. */
TEST_F(mask, irqfd_closed_meanwhile)
{
	EXPECT_EQ(1, db_mask(self->db, 0));
	ASSERT_EQ(0, efd_write(self->in[0], 1));
	close(self->in[0]);
	EXPECT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).nr_irqfds == 0));
	EXPECT_STATE(0, HELD);
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(1, db_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
}

/* Line 0 rings line 1, which is masked: of this context, then of another. */
static void relay_to_masked(struct __test_metadata *_metadata, int from, int to, int out)
{
	int link = new_eventfd(_metadata, 0, 0);
	uint64_t rings = line_of(_metadata, to, 1).rings;

	ASSERT_EQ(0, db_irqfd(to, link, 1, 0));
	ASSERT_EQ(0, db_trigger(from, link, 0, 0));
	EXPECT_EQ(1, db_mask(to, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(from, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(from, 0));
	EXPECT_EQ(rings + 2, line_of(_metadata, to, 1).rings);
	EXPECT_EQ(HELD, line_of(_metadata, to, 1).state);
	EXPECT_EQ(0, efd_count(link));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, db_unmask(to, 1));
	EXPECT_EQ(1, efd_read(out));

	/* With the first masked as well, it goes as far as the masks let it. */
	EXPECT_EQ(1, db_mask(from, 0));
	EXPECT_EQ(1, db_mask(to, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(from, 0));
	EXPECT_EQ(MASKED, line_of(_metadata, to, 1).state);
	EXPECT_EQ(1, db_unmask(from, 0));
	EXPECT_EQ(HELD, line_of(_metadata, to, 1).state);
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, db_unmask(to, 1));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(rings + 3, line_of(_metadata, to, 1).rings);
	ASSERT_EQ(0, db_trigger(from, link, 0, DOORBELL_FLAG_DEASSIGN));
	ASSERT_EQ(0, db_irqfd(to, link, 1, DOORBELL_FLAG_DEASSIGN));
}

TEST_F(mask, relay)
{
	int other = new_context(_metadata, 2), out = new_eventfd(_metadata, 0, 0);

	relay_to_masked(_metadata, self->db, self->db, self->out[1]);
	ASSERT_EQ(0, db_trigger(other, out, 1, 0));
	relay_to_masked(_metadata, self->db, other, out);
	EXPECT_EQ(0, efd_count(self->out[1]));
}

/*
 * A message that came over more relays than interrupt context has patience for
 * is held, too, and the unmask delivers it itself.
 */
TEST_F(mask, end_of_a_long_chain)
{
	const uint32_t nr = 100;
	int db = new_context(_metadata, nr), out = new_eventfd(_metadata, 0, 0);
	uint32_t i;

	for (i = 1; i < nr; i++) {
		int link = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, db_irqfd(db, link, i, 0));
		ASSERT_EQ(0, db_trigger(db, link, i - 1, 0));
	}
	ASSERT_EQ(0, db_trigger(db, out, nr - 1, 0));
	/* One that is held on the way, and at the end. */
	EXPECT_EQ(2, db_mask(db, nr / 2) + db_mask(db, nr - 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(db, 0));
	EXPECT_TRUE(WAIT_FOR(db_pending(db, nr / 2)));
	EXPECT_EQ(0, line_of(_metadata, db, nr / 2 + 1).rings);
	EXPECT_EQ(1, db_unmask(db, nr / 2));
	EXPECT_TRUE(WAIT_FOR(db_pending(db, nr - 1)));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(1, db_unmask(db, nr - 1));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(1, line_of(_metadata, db, nr - 1).deliveries);
}

/* A message that is held dies with the context, and takes nobody along. */
TEST_F(mask, context_closes)
{
	struct doorbell_query query;
	int other = new_context(_metadata, 1);

	EXPECT_EQ(2, db_mask(self->db, 0) + db_mask(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	ASSERT_EQ(0, efd_write(self->in[1], 1));
	EXPECT_STATE(1, HELD);
	ASSERT_EQ(0, munmap((void *)self->status, status_size(3)));
	close(self->db);
	EXPECT_EQ(0, efd_count(self->out[0]));
	EXPECT_EQ(0, efd_count(self->out[1]));
	/* Nobody listens any more, and nothing was left in the counter. */
	ASSERT_EQ(0, db_irqfd(other, self->in[1], 0, 0));
	query = settled(_metadata, other, 0);
	EXPECT_EQ(0, query.rings);
}

TEST_F(mask, shared_by_dup_and_fork)
{
	int copy = dup(self->db), status;
	pid_t pid;

	ASSERT_LE(0, copy);
	EXPECT_EQ(1, db_mask(copy, 0));
	EXPECT_EQ(0, db_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, db_ring(self->db, 0));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (db_ring(copy, 0) != DOORBELL_RING_COALESCED || db_pending(copy, 0) != 1)
			_exit(1);
		if (db_unmask(self->db, 0) != 1 || db_mask(self->db, 1) != 1)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, efd_read(self->out[0]));
	/* A mask is the context's, not the process's. */
	EXPECT_STATE(1, MASKED);
	EXPECT_EQ(0, db_mask(copy, 1));
	close(copy);
	EXPECT_STATE(1, MASKED);

	/* A context of one's own is not concerned. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, db_ring(new_context(_metadata, 2), 1));
}

/* Set operations. */

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

/* The state of each line that it should have, and the messages. */
struct model {
	uint32_t nr;
	uint8_t state[DOORBELL_MAX_LINES];
	uint64_t deliveries[DOORBELL_MAX_LINES];
	uint64_t dropped[DOORBELL_MAX_LINES];
};

static struct model model;

static bool model_op(unsigned long cmd, uint32_t line)
{
	uint8_t *state = &model.state[line];
	uint8_t was = *state;

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
	ASSERT_EQ(expected, db_ring(db, line));
	if (model.state[line])
		model.state[line] = HELD;
	else
		model.deliveries[line]++;
}

/* All lines of the context are as in the model. */
static bool as_model(const struct doorbell_status *status)
{
	uint32_t i;

	for (i = 0; i < model.nr; i++) {
		if (status_state(&status[i]) != model.state[i] ||
		    status[i].deliveries != model.deliveries[i] ||
		    status[i].dropped != model.dropped[i])
			return false;
	}
	return true;
}

/* One call, and the same done to the model; the result has a word behind it to guard. */
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
	ASSERT_EQ(count, db_lineset(db, cmd, first, nr, chosen, result));
	if (result) {
		ASSERT_EQ(0, memcmp(expected, result, words * sizeof(*result)));
		ASSERT_EQ(guard, result[words]);
	}
}

static const unsigned long all_cmds[] = {
	DOORBELL_MASK, DOORBELL_PENDING, DOORBELL_CLEAR, DOORBELL_UNMASK,
};

FIXTURE(sets) {
	int db;
	const struct doorbell_status *status;
};

FIXTURE_VARIANT(sets) {
	/* Of the context. */
	uint32_t lines;
	/* Of each call. */
	uint32_t first;
	uint32_t nr;
};

FIXTURE_VARIANT_ADD(sets, one_of_one) { .lines = 1, .first = 0, .nr = 1 };
FIXTURE_VARIANT_ADD(sets, one_of_many) { .lines = 200, .first = 131, .nr = 1 };
FIXTURE_VARIANT_ADD(sets, word) { .lines = 64, .first = 0, .nr = 64 };
FIXTURE_VARIANT_ADD(sets, almost_a_word) { .lines = 200, .first = 1, .nr = 63 };
FIXTURE_VARIANT_ADD(sets, word_askew) { .lines = 200, .first = 7, .nr = 64 };
FIXTURE_VARIANT_ADD(sets, word_and_a_bit) { .lines = 65, .first = 0, .nr = 65 };
FIXTURE_VARIANT_ADD(sets, three_words_to_the_end) { .lines = 200, .first = 70, .nr = 130 };
FIXTURE_VARIANT_ADD(sets, many) { .lines = 1000, .first = 63, .nr = 900 };

FIXTURE_SETUP(sets)
{
	self->db = new_context(_metadata, variant->lines);
	self->status = map_status(_metadata, self->db, variant->lines);
	memset(&model, 0, sizeof(model));
	model.nr = variant->lines;
}

FIXTURE_TEARDOWN(sets)
{
}

/* Any call after any other, on any lines, chosen by any bitmap. */
TEST_F(sets, random)
{
	uint64_t chosen[words_of(DOORBELL_MAX_LINES) + 1], result[words_of(DOORBELL_MAX_LINES) + 1];
	unsigned int seed = variant->nr, round;

	for (round = 0; round < 300; round++) {
		unsigned long cmd = all_cmds[rand_r(&seed) % 4];
		unsigned int dice = rand_r(&seed);
		uint32_t i;

		/* Every other line, roughly; all; none; and no bitmap. */
		memset(chosen, 0, sizeof(chosen));
		for (i = 0; i < variant->nr; i++) {
			if (dice % 4 == 0 || (dice % 4 != 1 && rand_r(&seed) & 1))
				set_bit(chosen, i);
		}
		op_both(_metadata, self->db, cmd, variant->first, variant->nr,
			dice & 16 ? chosen : NULL,
			dice & 32 ? result : dice & 64 ? chosen : NULL);
		/* All lines, so also those that were not meant. */
		ASSERT_TRUE(as_model(self->status));
		for (i = 0; i < variant->lines; i++) {
			if (rand_r(&seed) % 4 == 0)
				ring_both(_metadata, self->db, i);
		}
		ASSERT_TRUE(as_model(self->status));
	}
}

/* The bitmap of what was chosen may become that of the result. */
TEST_F(sets, result_in_place)
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

/* As many lines as there can be, all at once and by bitmaps. */
TEST(sets_largest)
{
	static uint64_t chosen[DOORBELL_MAX_LINES / BITS + 1];
	static uint64_t result[DOORBELL_MAX_LINES / BITS + 1];
	const uint32_t nr = DOORBELL_MAX_LINES;
	int db = new_context(_metadata, nr);
	int out = new_eventfd(_metadata, 0, 0);
	const struct doorbell_status *status = map_status(_metadata, db, nr);
	uint32_t i;

	memset(&model, 0, sizeof(model));
	model.nr = nr;
	ASSERT_EQ(0, db_trigger(db, out, nr - 1, 0));
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
}

#define NR_OTHERS	20

FIXTURE(barrier) {
	int kmsg;
	int db;
	int out;
	struct hammer hammer;
};

FIXTURE_VARIANT(barrier) {
	/* Rung by write(2) to an irqfd, not by ioctl. */
	bool by_irqfd;
	/* Other triggers, which make a delivery take long. */
	unsigned int others;
};

FIXTURE_VARIANT_ADD(barrier, ioctl) { .others = NR_OTHERS };
FIXTURE_VARIANT_ADD(barrier, irqfd) { .by_irqfd = true, .others = NR_OTHERS };
FIXTURE_VARIANT_ADD(barrier, ioctl_short) { };
FIXTURE_VARIANT_ADD(barrier, irqfd_short) { .by_irqfd = true };

/* The trigger that is looked at is the last one to be signalled. */
FIXTURE_SETUP(barrier)
{
	unsigned int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	for (i = 0; i < variant->others; i++)
		ASSERT_EQ(0, db_trigger(self->db, new_eventfd(_metadata, 0, 0), 0, 0));
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, db_trigger(self->db, self->out, 0, 0));
	self->hammer.hit = variant->by_irqfd ? hit_write : hit_ring;
	self->hammer.fd = self->db;
	if (variant->by_irqfd) {
		self->hammer.fd = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, db_irqfd(self->db, self->hammer.fd, 0, 0));
	}
}

FIXTURE_TEARDOWN(barrier)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* The hammer never rests: nothing comes from MASK to UNMASK, but exactly one message waits. */
TEST_F(barrier, nothing_passes)
{
	unsigned int rounds, late = 0, lost = 0, twice = 0, early = 0;
	uint64_t start;

	hammer_start(_metadata, &self->hammer);
	ASSERT_TRUE(hammer_passes(&self->hammer, 10));
	start = now_us();
	for (rounds = 0; more_rounds(rounds, start); rounds++) {
		uint64_t deliveries;

		dither(rounds);
		ASSERT_EQ(1, db_mask(self->db, 0));
		efd_read(self->out);
		deliveries = line_of(_metadata, self->db, 0).deliveries;
		ASSERT_TRUE(hammer_passes(&self->hammer, 1 + rounds % 3));
		late += efd_read(self->out) != 0;
		late += line_of(_metadata, self->db, 0).deliveries != deliveries;
		/* One ring at least has begun and ended. */
		lost += db_pending(self->db, 0) != 1;
		twice += db_mask(self->db, 0) != 0;
		early += efd_read(self->out) != 0;
		lost += db_unmask(self->db, 0) != 1;
		/* It was there when UNMASK returned. */
		lost += !efd_read(self->out);
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, early);
	EXPECT_EQ(0, twice);
	EXPECT_EQ(0, lost);
}

/* Pending is exact: with the hammer at rest it is what the last rings made it. */
TEST_F(barrier, pending_is_exact)
{
	unsigned int rounds, wrong = 0;
	uint64_t start;

	hammer_start(_metadata, &self->hammer);
	start = now_us();
	for (rounds = 0; more_rounds(rounds, start); rounds++) {
		unsigned long done;
		bool rung;

		ASSERT_TRUE(hammer_pause(&self->hammer));
		/* What was written last may be on its way still. */
		settled(_metadata, self->db, 0);
		ASSERT_EQ(1, db_mask(self->db, 0));
		efd_read(self->out);
		done = atomic_load(&self->hammer.done);
		if (rounds % 2) {
			ASSERT_TRUE(hammer_resume(&self->hammer));
			dither(rounds / 2);
			ASSERT_TRUE(hammer_pause(&self->hammer));
		}
		rung = atomic_load(&self->hammer.done) != done;
		wrong += db_pending(self->db, 0) != rung;
		if (rounds % 8 == 7) {
			wrong += db_clear(self->db, 0) != rung;
			rung = false;
		}
		wrong += efd_read(self->out) != 0;
		wrong += db_unmask(self->db, 0) != rung;
		wrong += efd_read(self->out) != rung;
		ASSERT_TRUE(hammer_resume(&self->hammer));
	}
	hammer_stop(&self->hammer);
	EXPECT_EQ(0, wrong);
}

/* One ring that meets a MASK and an UNMASK somewhere. */
struct meeting {
	int db;
	atomic_uint go;
	atomic_uint done;
	atomic_bool stop;
	int ret;
	pthread_t thread;
};

static void *meet(void *arg)
{
	struct meeting *meeting = arg;
	unsigned int round;

	pin_to(1);
	for (round = 1;; round++) {
		while (atomic_load(&meeting->go) != round) {
			if (atomic_load(&meeting->stop))
				return NULL;
		}
		dither(round / 64);
		meeting->ret = db_ring(meeting->db, 0);
		atomic_store(&meeting->done, round);
	}
}

/*
 * The ring's own result says where it fell, and UNMASK delivered if and only if
 * it fell between; and however it was, it is one delivery.
 */
TEST_F(mask, one_ring_somewhere)
{
	unsigned int rounds, wrong = 0, held = 0, unmasked, signals, last;
	struct meeting meeting = { .db = self->db };
	uint64_t start;

	ASSERT_EQ(0, pthread_create(&meeting.thread, NULL, meet, &meeting));
	start = now_us();
	for (rounds = 1; more_rounds(rounds, start) ||
	     ((!held || held == rounds - 1) && now_us() < start + PATIENCE_MS * 1000ULL);
	     rounds++) {
		atomic_store(&meeting.go, rounds);
		dither(rounds);
		wrong += db_mask(self->db, 0) != 1;
		/* On a busy machine the other thread may be late: now and then, wait for it. */
		if (rounds % 8)
			dither(rounds / 16);
		else
			ASSERT_TRUE(SPIN_FOR(atomic_load(&meeting.done) == rounds));
		unmasked = db_unmask(self->db, 0);
		ASSERT_TRUE(SPIN_FOR(atomic_load(&meeting.done) == rounds));
		last = db_mask(self->db, 0);
		signals = efd_read(self->out[0]);
		last += db_unmask(self->db, 0);
		wrong += unmasked != (meeting.ret == DOORBELL_RING_MASKED) || signals != 1 ||
			 last != 1 || meeting.ret == DOORBELL_RING_COALESCED;
		held += unmasked;
	}
	atomic_store(&meeting.stop, true);
	pthread_join(meeting.thread, NULL);
	EXPECT_EQ(0, wrong);
	/* Both must have been met, or this proves nothing. */
	EXPECT_LT(0, held);
	EXPECT_GT(rounds - 1, held);
}

/* Threads that mask, unmask, clear and ring the same line, and what each was told. */
#define NR_THREADS	5

struct crowd {
	int db;
	atomic_bool stop;
	atomic_ulong rung[3];
	atomic_ulong masked;
	atomic_ulong unmasked;
	atomic_ulong cleared;
	atomic_ulong failed;
};

struct member {
	struct crowd *crowd;
	unsigned int nr;
	pthread_t thread;
};

static void crowd_ring(struct crowd *crowd)
{
	int ret = db_ring(crowd->db, 0);

	if (ret < 0)
		atomic_fetch_add(&crowd->failed, 1);
	else
		atomic_fetch_add(&crowd->rung[ret], 1);
}

static void crowd_op(struct crowd *crowd, unsigned long cmd, atomic_ulong *sum)
{
	int ret = db_lineset(crowd->db, cmd, 0, 1, NULL, NULL);

	if (ret < 0)
		atomic_fetch_add(&crowd->failed, 1);
	else
		atomic_fetch_add(sum, ret);
}

static void *mill_about(void *arg)
{
	struct member *member = arg;
	struct crowd *crowd = member->crowd;
	unsigned int round;

	pin_to(member->nr);
	for (round = 0; !atomic_load(&crowd->stop); round++) {
		switch (member->nr) {
		case 0:
		case 1:
			crowd_ring(crowd);
			break;
		case 2:
		case 3:
			crowd_op(crowd, DOORBELL_MASK, &crowd->masked);
			dither(round);
			crowd_op(crowd, DOORBELL_UNMASK, &crowd->unmasked);
			break;
		default:
			dither(round);
			crowd_op(crowd, DOORBELL_CLEAR, &crowd->cleared);
		}
	}
	return NULL;
}

/*
 * Each ring that did not coalesce made a message, and each message was
 * delivered, dropped, or is pending: by what the calls returned, by the
 * counters, and by the trigger.
 */
TEST_F(mask, crowd)
{
	struct crowd crowd = { .db = self->db };
	struct member members[NR_THREADS];
	struct doorbell_query query;
	unsigned long messages;
	uint64_t start;
	bool pending;
	int i;

	for (i = 0; i < NR_THREADS; i++) {
		members[i] = (struct member){ .crowd = &crowd, .nr = i };
		ASSERT_EQ(0, pthread_create(&members[i].thread, NULL, mill_about, &members[i]));
	}
	start = now_us();
	while (now_us() < start + 2 * ROUNDS_MS * 1000)
		usleep(1000);
	atomic_store(&crowd.stop, true);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(members[i].thread, NULL);

	query = line_of(_metadata, self->db, 0);
	EXPECT_TRUE(status_agrees(&self->status[0], &query));
	pending = query.state & DOORBELL_LINE_PENDING;
	messages = crowd.rung[DOORBELL_RING_DELIVERED] + crowd.rung[DOORBELL_RING_MASKED];
	EXPECT_EQ(0, crowd.failed);
	EXPECT_EQ(messages, query.deliveries + query.dropped + pending);
	EXPECT_EQ(messages + crowd.rung[DOORBELL_RING_COALESCED], query.rings);
	EXPECT_EQ(crowd.rung[DOORBELL_RING_COALESCED], self->status[0].coalesced);
	EXPECT_EQ(crowd.cleared, query.dropped);
	EXPECT_LE(crowd.unmasked, query.deliveries);
	EXPECT_EQ(query.deliveries, efd_read(self->out[0]));
	/* Nothing is under way that would not wait for an unmask. */
	EXPECT_EQ(pending, db_unmask(self->db, 0));
	EXPECT_EQ(pending, efd_read(self->out[0]));

	/* All of it did happen. */
	EXPECT_LT(0, crowd.rung[DOORBELL_RING_DELIVERED]);
	EXPECT_LT(0, crowd.rung[DOORBELL_RING_COALESCED]);
	EXPECT_LT(0, crowd.rung[DOORBELL_RING_MASKED]);
	EXPECT_LT(0, crowd.masked);
	EXPECT_LT(0, crowd.unmasked);
	EXPECT_LT(0, crowd.cleared);
}

TEST_HARNESS_MAIN
