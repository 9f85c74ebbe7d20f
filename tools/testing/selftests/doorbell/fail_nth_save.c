// SPDX-License-Identifier: GPL-2.0-only
/*
 * Saves and restores lines with each allocation and user copy failing in turn. See
 * fail_nth.c.
 */
#include "fail_nth.h"

static struct doorbell_saved_line saved[LINES];

static int call_save(struct testbed *w)
{
	memset(saved, 0xff, sizeof(saved));
	return doorbell_save_lines(w->db, 0, LINES, saved);
}

static bool check_save(struct testbed *w)
{
	unsigned int i;

	for (i = 0; i < LINES; i++) {
		if (saved[i].state != VECTOR_MASKED || saved[i].deliveries)
			return false;
	}
	return saved[0].nr_irqfds == 1 && saved[0].nr_triggers == 1 && !doorbell_pending(w->db, 0);
}

TEST_F(fail_nth, save)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_masked, .call = call_save,
		.check = check_save });
}

/*
 * A moderated line with an unmaskfd. Its first message begins an interval, so the timer runs and
 * holds the second one. The save stops the timer.
 */
static void prepare_moderated(struct __test_metadata *_metadata, struct testbed *w)
{
	ASSERT_EQ(0, doorbell_assign_unmaskfd(w->db, w->spare, 2));
	ASSERT_EQ(0, doorbell_moderate(w->db, 2, DOORBELL_MAX_INTERVAL, 3));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db, 2));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(w->db, 2));
	/* The mask keeps the message, and does not stop the timer. */
	prepare_masked(_metadata, w);
}

static bool check_save_moderated(struct testbed *w)
{
	return saved[2].state == (VECTOR_MASKED | DOORBELL_LINE_PENDING) &&
	       saved[2].deliveries == 1 && doorbell_pending(w->db, 2) == 1;
}

TEST_F(fail_nth, save_moderated)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .prepare = prepare_moderated, .call = call_save,
		.check = check_save_moderated });
}

/* Each line with a message, one of them without a mask: the call delivers it. */
static int call_restore(struct testbed *w)
{
	unsigned int i;

	for (i = 0; i < LINES; i++) {
		saved[i] = (struct doorbell_saved_line){
			.state = VECTOR_MASKED | DOORBELL_LINE_PENDING, .deliveries = i };
	}
	saved[0].state = DOORBELL_LINE_PENDING;
	return doorbell_restore_lines(w->db, 0, LINES, saved, NULL);
}

static bool check_restore(struct testbed *w)
{
	return efd_count(w->out) == 1 &&
	       doorbell_unmask_lines(w->db, 0, LINES, NULL, NULL) == LINES - 1;
}

TEST_F(fail_nth, restore)
{
	sweep(_metadata, &(struct sweep){
		.lines = LINES, .call = call_restore, .check = check_restore });
}

TEST_HARNESS_MAIN
