// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resamplefds: signalled once for each ack, at once or at the unmask; their lifetimes; and
 * ack notifiers. Runs as a 32-bit program, too.
 */
#include <sys/epoll.h>

#include "level.h"
#include "stopped_owner.h"

FIXTURE(resample) {
	LEVEL_FIXTURE;
};

FIXTURE_SETUP(resample)
{
	LEVEL_SETUP();
}

FIXTURE_TEARDOWN(resample)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Rings and acks the line, which must not be asserted before or after. */
#define RING_AND_ACK(line, expected) do {				\
	const uint32_t __at = line;					\
									\
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, __at)); \
	ASSERT_EQ(expected, doorbell_ack(self->db, __at));		\
	EXPECT_EQ(1, efd_read(self->out[__at]));			\
} while (0)

/* One more irqfd of line 0, with a resamplefd of its own. */
struct source {
	int in;
	int res;
};

static struct source new_source(struct __test_metadata *_metadata, int db)
{
	struct source source = {
		.in = new_eventfd(_metadata, 0, 0), .res = new_eventfd(_metadata, 0, 0),
	};

	ASSERT_EQ(0, doorbell_assign_resampled(db, source.in, 0, source.res));
	return source;
}

TEST_F(resample, all_of_the_line_once)
{
	struct source others[3];
	int i, j;

	for (i = 0; i < 3; i++)
		others[i] = new_source(_metadata, self->db);
	EXPECT_EQ(4, line_of(_metadata, self->db, 0).nr_resamplefds);
	EXPECT_EQ(4, line_of(_metadata, self->db, 0).nr_irqfds);
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_notifiers);
	EXPECT_EQ(0, line_of(_metadata, self->db, 1).nr_resamplefds);

	/* Each is signalled, whichever of them rang, even if none of them did. */
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, efd_write(i < 3 ? others[i].in : self->in[0], 1));
		ASSERT_EQ(1, efd_wait(self->out[0]));
		EXPECT_EQ(0, efd_count(self->res[0]));
		EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
		EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
		EXPECT_EQ(1, efd_read(self->res[0]));
		for (j = 0; j < 3; j++)
			EXPECT_EQ(1, efd_read(others[j].res));
	}
	RING_AND_ACK(1, DONE);
	EXPECT_EQ(0, efd_count(self->res[0]));
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(1, efd_read(self->res[0]));
}

static void hit_ring_and_ack(struct hammer *hammer)
{
	doorbell_ring(hammer->fd, hammer->line);
	doorbell_ack(hammer->fd, hammer->line);
}

/*
 * A DOORBELL_IRQFD that is refused has done nothing: no ack meanwhile signals its
 * resamplefd.
 */
TEST_F(resample, refused_is_never_signalled)
{
	struct hammer hammer = { .fd = self->db, .line = 0, .hit = hit_ring_and_ack };
	int other = new_context(_metadata, 1), in = new_eventfd(_metadata, 0, 0);
	int res = new_eventfd(_metadata, 0, 0);
	struct rounds race = ROUNDS(1000, 20000);
	unsigned int rounds;

	ASSERT_EQ(0, doorbell_assign_irqfd(other, in, 0));
	hammer_start(_metadata, &hammer);
	ASSERT_TRUE(hammer_passes(&hammer, 1));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		dither(rounds);
		ASSERT_EQ(-EBUSY, doorbell_assign_resampled(self->db, in, 0, res));
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, efd_count(res));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_resamplefds);
}

/* Signalled at the unmask, not at the ack, and once for any number of acks. */
TEST_F(resample, postponed)
{
	struct source other = new_source(_metadata, self->db);
	int i;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE);
	EXPECT_EQ(0, doorbell_mask(self->db, 0));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(0, efd_count(other.res));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_EQ(1, efd_read(other.res));
	EXPECT_STATE(0, LEVEL);
	/* After that signal neither the next unmask nor the next ack repeats it. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(1, efd_read(self->out[0]));

	/* Several acks in one mask, by a level that stays and is delivered in between. */
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
		EXPECT_EQ(1, doorbell_mask(self->db, 0));
		EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
		EXPECT_EQ(1, doorbell_clear(self->db, 0));
		EXPECT_EQ(0, efd_count(self->res[0]));
		EXPECT_EQ(0, doorbell_unmask(self->db, 0));
		EXPECT_EQ(1, efd_read(self->res[0]));
	}
	/*
	 * The source asserts again when it is resampled at the unmask, with the line
	 * unmasked.
	 */
	EXPECT_EQ(3, efd_read(self->out[0]));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_ACCOUNTS(0, 8, 5, 5);
}

/* Assigned to a line that is masked already, or was acked while masked. */
TEST_F(resample, assigned_while_masked)
{
	struct source other, late;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	other = new_source(_metadata, self->db);
	EXPECT_EQ(0, efd_count(other.res));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, efd_count(other.res));
	late = new_source(_metadata, self->db);
	EXPECT_EQ(0, efd_count(late.res));
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE);
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(other.res));
	EXPECT_EQ(1, efd_read(late.res));
	EXPECT_EQ(1, efd_read(self->res[0]));

	/* A resamplefd that is deassigned meanwhile is not signalled, and the others are. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[0], 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(1, efd_read(other.res));
	EXPECT_EQ(1, efd_read(late.res));
}

/* A counter that is not zero when the irqfd is assigned asserts the line. */
TEST_F(resample, signalled_before)
{
	int in = new_eventfd(_metadata, 7, 0), res = new_eventfd(_metadata, 3, 0);

	ASSERT_EQ(0, doorbell_assign_resampled(self->db, in, 0, res));
	EXPECT_EQ(0, efd_count(in));
	EXPECT_EQ(3, efd_count(res));
	ASSERT_EQ(1, efd_wait(self->out[0]));
	EXPECT_STATE(0, LEVEL | ASSERTED);
	EXPECT_ACCOUNTS(0, 1, 1, 0);
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(4, efd_read(res));
}

/* The first, one in the middle, and the last of five, in any order. */
TEST_F(resample, deassign)
{
	static const int orders[][5] = {
		{ 0, 2, 4, 1, 3 }, { 4, 3, 2, 1, 0 }, { 2, 0, 1, 4, 3 }, { 0, 1, 2, 3, 4 },
	};
	unsigned int i;
	int j, k;

	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[0], 0));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_resamplefds);
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(0, efd_count(self->res[0]));
	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		struct source sources[5];
		bool there[5];

		for (j = 0; j < 5; j++) {
			sources[j] = new_source(_metadata, self->db);
			there[j] = true;
		}
		for (j = 0; j < 5; j++) {
			int in = sources[orders[i][j]].in;

			ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
			there[orders[i][j]] = false;
			EXPECT_EQ(4 - j, line_of(_metadata, self->db, 0).nr_resamplefds);
			RING_AND_ACK(0, DONE);
			for (k = 0; k < 5; k++)
				EXPECT_EQ(there[k], efd_read(sources[k].res));
			/* The irqfd does not ring any more either. */
			ASSERT_EQ(0, efd_write(in, 1));
			EXPECT_EQ(1, efd_read(in));
		}
	}
}

/* Assigned again, with another resamplefd, or with none. */
TEST_F(resample, reassign)
{
	int res = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[0], 0));
	ASSERT_EQ(0, doorbell_assign_resampled(self->db, self->in[0], 0, res));
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(1, efd_read(res));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in[0], 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in[0], 0));
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(0, efd_count(res));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_irqfds);
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_resamplefds);
}

/* A resamplefd of several irqfds is signalled for each of them. */
TEST_F(resample, shared)
{
	int in = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_resampled(self->db, in, 0, self->res[0]));
	EXPECT_EQ(2, line_of(_metadata, self->db, 0).nr_resamplefds);
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(2, efd_read(self->res[0]));
	/* Each goes with its own irqfd. */
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(1, efd_read(self->res[0]));
}

/* The resamplefd may be closed: a copy that the module never saw is signalled. */
TEST_F(resample, outlives_its_fd)
{
	int copy = dup(self->res[0]);

	ASSERT_LE(0, copy);
	close(self->res[0]);
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(1, efd_read(copy));
	close(copy);
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_resamplefds);
}

/* The last close of the irqfd's eventfd removes its resamplefd, too. */
TEST_F(resample, goes_with_its_irqfd)
{
	struct source others[3];
	int i;

	for (i = 0; i < 3; i++)
		others[i] = new_source(_metadata, self->db);
	close(others[1].in);
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).nr_irqfds == 3));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).nr_resamplefds == 3));
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(0, efd_count(others[1].res));
	EXPECT_EQ(1, efd_read(others[0].res));
	EXPECT_EQ(1, efd_read(others[2].res));
	EXPECT_EQ(1, efd_read(self->res[0]));

	/* Without a resamplefd the line can become an edge line. */
	close(others[0].in);
	close(others[2].in);
	close(self->in[0]);
	ASSERT_TRUE(WAIT_FOR(!doorbell_set_type(self->db, 0, DOORBELL_TYPE_EDGE)));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_resamplefds);
}

/* An ack notifier is signalled at each ack, masked or not, and by nothing else. */
TEST_F(resample, notify_ack)
{
	int acks = new_eventfd(_metadata, 0, 0), all = new_eventfd(_metadata, 0, 0);
	const uint32_t every = DOORBELL_NOTIFY_MASK | DOORBELL_NOTIFY_UNMASK | DOORBELL_NOTIFY_ACK;

	ASSERT_EQ(0, doorbell_assign_notifier(self->db, acks, 0, DOORBELL_NOTIFY_ACK));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, all, 0, every));
	EXPECT_EQ(2, line_of(_metadata, self->db, 0).nr_notifiers);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_resamplefds);
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, efd_count(acks));
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(1, efd_read(acks));
	EXPECT_EQ(1, efd_read(all));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, efd_count(acks));
	EXPECT_EQ(1, efd_read(all));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(acks));
	EXPECT_EQ(1, efd_read(all));
	EXPECT_EQ(NOTHING, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(acks));
	EXPECT_EQ(1, efd_read(all));
	EXPECT_EQ(1, efd_read(self->res[0]));
	/* A message that was dropped was not acked. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, efd_count(acks));
	EXPECT_EQ(2, efd_read(all));
	EXPECT_EQ(1, efd_read(self->res[0]));
	ASSERT_EQ(0, doorbell_deassign_notifier(self->db, acks, 0));
	EXPECT_EQ(1, efd_read(self->out[0]));
	RING_AND_ACK(0, DONE);
	EXPECT_EQ(0, efd_count(acks));
}

/* A message that waits for the worker is dropped before its delivery. Its line is not masked. */
TEST_F(resample, clear_before_the_delivery)
{
	int db = new_context(_metadata, NR_CHAINED);
	int backs[NR_CHAINED], links[NR_CHAINED], res[NR_CHAINED];
	struct doorbell_query query;
	uint32_t i, stalled;
	pid_t owner;

	for (i = 0; i < NR_CHAINED; i++) {
		backs[i] = new_eventfd(_metadata, 0, 0);
		links[i] = new_eventfd(_metadata, 0, 0);
		res[i] = new_eventfd(_metadata, 0, 0);
	}
	owner = start_stopped_owner(_metadata, db, backs, NR_CHAINED);
	for (i = 0; i < NR_CHAINED; i++)
		ASSERT_EQ(0, doorbell_assign_resampled(db, links[i], i, res[i]));
	stalled = stalled_line(_metadata, db, links);
	EXPECT_EQ(1, doorbell_clear(db, stalled));
	query = line_of(_metadata, db, stalled);
	EXPECT_EQ(1, query.dropped);
	EXPECT_EQ(0, query.deliveries);
	for (i = 0; i < NR_CHAINED; i++)
		EXPECT_EQ(i == stalled, efd_count(res[i]));
	kill(owner, SIGKILL);
	ASSERT_LE(0, wait_child(owner));
}

/* A source that always needs service: its resamplefd rings the line at once. */
TEST_F(resample, rings_its_own_line)
{
	int i, again = new_eventfd(_metadata, 0, 0), in = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, again, 0));
	ASSERT_EQ(0, doorbell_assign_resampled(self->db, in, 0, again));
	ASSERT_EQ(0, efd_write(in, 1));
	for (i = 1; i <= 5; i++) {
		ASSERT_EQ(1, efd_wait(self->out[0]));
		EXPECT_STATE(0, LEVEL | ASSERTED);
		EXPECT_ACCOUNTS(0, i, i, i - 1);
		EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	}
	ASSERT_EQ(1, efd_wait(self->out[0]));
	EXPECT_EQ(5, efd_read(self->res[0]));
	/* If the line is masked, the unmask makes the next ring. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, 0));
	FLUSH();
	EXPECT_STATE(0, LEVEL | MASKED | RESAMPLE);
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	ASSERT_EQ(1, efd_wait(self->out[0]));
	EXPECT_STATE(0, LEVEL | ASSERTED);
}

/*
 * From a level line to a level line of another context: each is acked by itself. The ack of
 * the second line causes the ack of the first.
 */
TEST_F(resample, relay)
{
	int other = new_context(_metadata, 2), out = new_eventfd(_metadata, 0, 0);
	int link = new_eventfd(_metadata, 0, 0), back = new_eventfd(_metadata, 0, 0);
	int i;

	ASSERT_EQ(0, doorbell_set_type(other, 1, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_resampled(other, link, 1, back));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, link, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(other, out, 1));
	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(0, efd_write(self->in[0], 1));
		ASSERT_EQ(1, efd_wait(out));
		ASSERT_EQ(1, efd_wait(self->out[0]));
		EXPECT_STATE(0, LEVEL | ASSERTED);
		EXPECT_EQ(LEVEL | ASSERTED, line_of(_metadata, other, 1).state);
		/*
		 * If only the near line is acked, the next message finds the far line
		 * asserted.
		 */
		EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
		EXPECT_EQ(1, efd_read(self->res[0]));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
		ASSERT_TRUE(WAIT_FOR(line_of(_metadata, other, 1).rings == 2 * i));
		EXPECT_EQ(0, efd_count(out));
		EXPECT_EQ(DONE, doorbell_ack(other, 1));
		EXPECT_EQ(1, efd_read(back));
		EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
		EXPECT_EQ(1, efd_read(self->res[0]));
		EXPECT_EQ(1, efd_read(self->out[0]));
		EXPECT_EQ(i, line_of(_metadata, other, 1).deliveries);
		EXPECT_EQ(i, line_of(_metadata, other, 1).acks);
	}
	/* Raised at one end; masked at the other. */
	EXPECT_EQ(1, doorbell_mask(other, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, 0, 1));
	ASSERT_TRUE(WAIT_FOR(doorbell_pending(other, 1)));
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(0, doorbell_set_level(self->db, 0, 0));
	EXPECT_EQ(DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(NOTHING, doorbell_ack(other, 1));
	EXPECT_EQ(1, doorbell_unmask(other, 1));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(DONE, doorbell_ack(other, 1));
	EXPECT_EQ(1, efd_read(back));
	EXPECT_EQ(0, doorbell_pending(other, 1));
}

/*
 * All resamplefds of a line are signalled in the order of their assignment: epoll(7) lists
 * files in the order in which they became ready.
 */
TEST_F(resample, in_the_order_of_assignment)
{
	enum { NR = 9 };
	struct epoll_event event = { .events = EPOLLIN | EPOLLET }, events[NR + 1];
	struct source sources[NR];
	int epoll, i, round;

	for (i = 0; i < NR; i++)
		sources[i] = new_source(_metadata, self->db);
	/* One in the middle is assigned again, and so is the last one now. */
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, sources[3].in, 0));
	ASSERT_EQ(0, doorbell_assign_resampled(self->db, sources[3].in, 0, sources[3].res));
	for (round = 0; round < 3; round++) {
		epoll = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_LE(0, epoll);
		/* The order of these calls is another one. */
		for (i = NR - 1; i >= 0; i--) {
			event.data.u32 = i;
			ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, sources[i].res, &event));
		}
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
		if (round)
			EXPECT_EQ(1, doorbell_mask(self->db, 0));
		EXPECT_EQ(round ? POSTPONED : DONE, doorbell_ack(self->db, 0));
		/* At the ack, or at the unmask. */
		if (round)
			EXPECT_EQ(0, doorbell_unmask(self->db, 0));
		ASSERT_EQ(NR, epoll_wait(epoll, events, NR + 1, 0));
		for (i = 0; i < NR; i++) {
			static const uint32_t order[NR] = { 0, 1, 2, 4, 5, 6, 7, 8, 3 };

			EXPECT_EQ(order[i], events[i].data.u32);
		}
		for (i = 0; i < NR; i++)
			EXPECT_EQ(1, efd_read(sources[i].res));
		close(epoll);
	}
}

/* The lines of /proc/PID/fdinfo about resamplefds. */
TEST_F(resample, fdinfo)
{
	static const char * const expected[] = {
		"doorbell-resamplefds:\t1\n", "doorbell-asserted:\t2\n", "doorbell-pending:\t1\n",
		"doorbell-acks:\t1\n", "doorbell-irqfds:\t3\n", "doorbell-notifiers:\t0\n",
	};
	char path[40], text[1024];
	unsigned int i;
	FILE *file;

	RING_AND_ACK(0, DONE);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 1));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->db);
	file = fopen(path, "re");
	ASSERT_TRUE(!!file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	for (i = 0; i < ARRAY_SIZE(expected); i++) {
		EXPECT_TRUE(!!strstr(text, expected[i])) {
			TH_LOG("line %u of those expected is missing in:\n%s", i, text);
		}
	}
}

TEST_HARNESS_MAIN
