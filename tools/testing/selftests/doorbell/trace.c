// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints: known sequences cause exactly the expected events, in their order, with
 * the expected fields. The number of events agrees with the counters of a line.
 */
#include <sys/epoll.h>

#include "bus.h"
#include "capi_callback.h"
#include "stopped_owner.h"
#include "tracefs.h"

#define LINES		4
#define LEVEL_LINE	3

FIXTURE(trace) {
	int kmsg;
	struct tracer tracer;
	int db;
	unsigned int context;
	int in, out;
};

/* Line 0 has an irqfd and a trigger. Line 3 is a level line with a trigger. */
FIXTURE_SETUP(trace)
{
	self->kmsg = kmsg_open();
	/* The order of events of two processors depends on the precision of their clocks. */
	pin_to(0);
	self->db = new_context(_metadata, LINES);
	self->context = context_of(_metadata, self->db);
	ASSERT_NE(0, self->context);
	self->in = new_eventfd(_metadata, 0, 0);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	ASSERT_EQ(0, doorbell_set_type(self->db, LEVEL_LINE, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, LEVEL_LINE));
	tracer_start(_metadata, &self->tracer);
}

FIXTURE_TEARDOWN(trace)
{
	tracer_stop(_metadata, &self->tracer);
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Expects exactly these events of the fixture's context since the last call. */
#define EVENTS(...)	EXPECT_EVENTS(&self->tracer, self->context, __VA_ARGS__)

TEST_F(trace, ring)
{
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 2));
	EVENTS("ring line=0 outcome=delivered hops=0",
	       "deliver line=0 hops=0 automasked=0",
	       "ring line=2 outcome=delivered hops=0",
	       "deliver line=2 hops=0 automasked=0");

	/* Calls that ring nothing. */
	EXPECT_EQ(-ENXIO, doorbell_ring(self->db, LINES));
	line_of(_metadata, self->db, 0);
	EXPECT_EQ(0, doorbell_pending(self->db, 0));
	EXPECT_EQ(0, doorbell_clear(self->db, 0));
	EVENTS();
}

TEST_F(trace, relay)
{
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EVENTS("ring line=0 outcome=relayed hops=0",
	       "relay_queued line=0",
	       "deliver line=0 hops=0 automasked=0");

	/* The trigger of line 1 is the irqfd of line 0. */
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->in, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EVENTS("ring line=1 outcome=delivered hops=0",
	       "deliver line=1 hops=0 automasked=0",
	       "ring line=0 outcome=relayed hops=1",
	       "relay_queued line=0",
	       "deliver line=0 hops=1 automasked=0");
}

/* A message of several rings has come through as many relays as any of them. */
TEST_F(trace, coalesced)
{
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->in, 1));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EVENTS("mask line=0 reasons=vector",
	       "ring line=1 outcome=delivered hops=0",
	       "deliver line=1 hops=0 automasked=0",
	       "ring line=0 outcome=masked hops=1",
	       "ring line=0 outcome=coalesced hops=0",
	       "unmask line=0 reasons=vector pending=1 resample=0",
	       "deliver line=0 hops=1 automasked=0");
}

/* The relays of a reply count for the message that it unmasks, and for no later one. */
TEST_F(trace, reply)
{
	int unmask = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_set_type_automask(self->db, 0, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, unmask, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, unmask, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EVENTS("ring line=0 outcome=delivered hops=0",
	       "deliver line=0 hops=0 automasked=1",
	       "ring line=0 outcome=masked hops=0",
	       "ring line=1 outcome=delivered hops=0",
	       "deliver line=1 hops=0 automasked=0",
	       "unmask line=0 reasons=auto pending=1 resample=0",
	       "relay_queued line=0",
	       "deliver line=0 hops=1 automasked=1");

	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, efd_write(unmask, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EVENTS("ring line=0 outcome=masked hops=0",
	       "unmask line=0 reasons=auto pending=1 resample=0",
	       "relay_queued line=0",
	       "deliver line=0 hops=0 automasked=1");
}

/* Nor do the relays of a message count for the reply to it. */
TEST_F(trace, reply_to_a_relayed_message)
{
	int unmask = new_eventfd(_metadata, 0, 0), note = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_set_type_automask(self->db, 0, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, doorbell_assign_unmaskfd(self->db, unmask, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, note, 0, DOORBELL_NOTIFY_UNMASK));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, note, 2));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 2));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->in, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EVENTS("ring line=1 outcome=delivered hops=0",
	       "deliver line=1 hops=0 automasked=0",
	       "ring line=0 outcome=relayed hops=1",
	       "relay_queued line=0",
	       "deliver line=0 hops=1 automasked=1");

	ASSERT_EQ(0, efd_write(unmask, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EVENTS("unmask line=0 reasons=auto pending=0 resample=0",
	       "relay_queued line=0",
	       "ring line=2 outcome=relayed hops=1",
	       "relay_queued line=2",
	       "deliver line=2 hops=1 automasked=0");
}

/* An interrupt signals few notifiers, and leaves more to the worker. */
TEST_F(trace, many_notifiers)
{
	int ack = new_eventfd(_metadata, 0, 0), notes[9];
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_ackfd(self->db, ack, LEVEL_LINE));
	for (i = 0; i < ARRAY_SIZE(notes); i++) {
		notes[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, notes[i], LEVEL_LINE,
						      DOORBELL_NOTIFY_ACK));
	}
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	ASSERT_EQ(0, efd_write(ack, 1));
	for (i = 0; i < ARRAY_SIZE(notes) && efd_wait(notes[i]) == 1; i++)
		;
	ASSERT_EQ(ARRAY_SIZE(notes), i);
	EVENTS("ring line=3 outcome=delivered hops=0",
	       "deliver line=3 hops=0 automasked=0",
	       "ack line=3 outcome=done",
	       "relay_queued line=3",
	       "deferred line=3");

	/* With one less there is no need for it. */
	ASSERT_EQ(0, doorbell_deassign_notifier(self->db, notes[0], LEVEL_LINE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	ASSERT_EQ(0, efd_write(ack, 1));
	for (i = 1; i < ARRAY_SIZE(notes) && efd_wait(notes[i]) == 1; i++)
		;
	ASSERT_EQ(ARRAY_SIZE(notes), i);
	EVENTS("ring line=3 outcome=delivered hops=0",
	       "deliver line=3 hops=0 automasked=0",
	       "ack line=3 outcome=done",
	       "relay_queued line=3");
}

/* The signals that the worker owes count their relays, even if a call drops the message. */
TEST_F(trace, owed_signals)
{
	int db = new_context(_metadata, 1), ack = new_eventfd(_metadata, 0, 0), notes[9];
	unsigned int i;
	pid_t owner;

	owner = start_stopped_owner(_metadata, db, &ack, 1);
	for (i = 0; i < ARRAY_SIZE(notes); i++) {
		notes[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_notifier(db, notes[i], 0, DOORBELL_NOTIFY_ACK));
	}
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, notes[0], 2));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 2));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, ack, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(1, doorbell_mask(db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(db, 0));
	EVENTS("ring line=1 outcome=delivered hops=0",
	       "deliver line=1 hops=0 automasked=0");

	EXPECT_EQ(1, doorbell_clear(db, 0));
	EXPECT_EQ(0, efd_count(self->out));
	ASSERT_EQ(0, kill(owner, SIGCONT));
	ASSERT_EQ(1, efd_wait(self->out));
	EVENTS("ring line=2 outcome=relayed hops=2",
	       "relay_queued line=2",
	       "deliver line=2 hops=2 automasked=0");
	kill(owner, SIGKILL);
	ASSERT_LE(0, wait_child(owner));
}

/* The line's waiters are its trigger: no interrupt is needed. */
TEST_F(trace, waiters)
{
	uint64_t count;

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->out, 1));
	ASSERT_EQ(0, doorbell_assign_waiters(self->db, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, efd_write(self->out, 1));
	EXPECT_EQ(0, doorbell_wait(self->db, 1, 0, &count));
	EXPECT_EQ(2, count);
	EXPECT_EQ(-ETIMEDOUT, doorbell_wait(self->db, 1, 0, &count));
	EVENTS("ring line=0 outcome=delivered hops=0",
	       "deliver line=0 hops=0 automasked=0",
	       "ring line=1 outcome=delivered hops=1",
	       "deliver line=1 hops=1 automasked=0",
	       "ring line=1 outcome=delivered hops=0",
	       "deliver line=1 hops=0 automasked=0",
	       "take line=1 count=2");
}

/* During an interval the line holds its message. The end of the interval delivers it. */
TEST_F(trace, held)
{
	/* Longer than this thread is delayed between two calls. */
	ASSERT_EQ(0, doorbell_moderate(self->db, 0, DOORBELL_MAX_INTERVAL, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, doorbell_moderate(self->db, 0, 0, 0));
	EVENTS("ring line=0 outcome=delivered hops=0",
	       "deliver line=0 hops=0 automasked=0",
	       "ring line=0 outcome=held hops=0",
	       "ring line=0 outcome=coalesced hops=0",
	       "deliver line=0 hops=0 automasked=0");
}

/* The events of one line, each followed by a semicolon. */
struct last_line {
	const char *line;
	char text[4096];
};

static void collect_last(void *arg, const char *text)
{
	struct last_line *last = arg;
	size_t len = strlen(last->text);

	if (strstr(text, last->line) && len + strlen(text) + sizeof(";") <= sizeof(last->text))
		sprintf(last->text + len, "%s;", text);
}

/* A message that came through too many relays is left to the worker. */
TEST_F(trace, deferred)
{
	const unsigned int limit = 32;
	int db = new_context(_metadata, limit + 1);
	unsigned int context = context_of(_metadata, db), i;
	struct last_line last = { .line = "line=32" };

	ASSERT_EQ(0, doorbell_assign_trigger(db, self->out, limit));
	for (i = 0; i < limit; i++)
		link_lines(_metadata, db, i, db, i + 1);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(1, settled(_metadata, db, limit).deferred);
	EXPECT_EQ(0, each_event(_metadata, &self->tracer, context, collect_last, &last));
	EXPECT_STREQ("ring line=32 outcome=deferred hops=32;deferred line=32;"
		     "deliver line=32 hops=32 automasked=0;", last.text);
}

#define DELIVERIES_SIZE	64

static void collect_deferred(void *arg, const char *text)
{
	char *deliveries = arg;
	size_t length = strlen(deliveries);

	if (strstr(text, "deliver line=32") || strstr(text, "deliver line=33"))
		snprintf(deliveries + length, DELIVERIES_SIZE - length, "%.15s;", text);
}

/* The worker, on this processor, delivers in the order in which an interrupt queued the lines. */
TEST_F(trace, deferred_in_order)
{
	const unsigned int limit = 32;
	int db = new_context(_metadata, limit + 2);
	unsigned int context = context_of(_metadata, db), i;
	char deliveries[DELIVERIES_SIZE] = "";

	for (i = 0; i < limit; i++)
		link_lines(_metadata, db, i, db, i + 1);
	link_lines(_metadata, db, limit - 1, db, limit + 1);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, limit).deliveries == 1 &&
			     line_of(_metadata, db, limit + 1).deliveries == 1));
	EXPECT_EQ(1, settled(_metadata, db, limit).deferred);
	EXPECT_EQ(1, settled(_metadata, db, limit + 1).deferred);
	EXPECT_EQ(0, each_event(_metadata, &self->tracer, context, collect_deferred, deliveries));
	EXPECT_STREQ("deliver line=32;deliver line=33;", deliveries);
}

/*
 * Line 0 of a new context rings line 1, and then signals so many triggers that an interrupt
 * uses up the budget of a ring: eight signals and 100 microseconds. @in rings line 0, and line
 * 1 signals @out. Returns the context.
 */
static int long_delivery(struct __test_metadata *_metadata, int in, int out)
{
	struct epoll_event event = { .events = EPOLLIN };
	int db = new_context(_metadata, 2), slow[11], epoll;
	unsigned int i, j;

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	link_lines(_metadata, db, 0, db, 1);
	for (i = 0; i < ARRAY_SIZE(slow); i++) {
		slow[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(db, slow[i], 0));
	}
	for (j = 0; j < 600; j++) {
		epoll = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_LE(0, epoll);
		for (i = 0; i < ARRAY_SIZE(slow); i++)
			ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, slow[i], &event));
	}
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 1));
	return db;
}

/* Then the next line is left to the worker. */
TEST_F(trace, beyond_the_budget)
{
	int in = new_eventfd(_metadata, 0, 0), db = long_delivery(_metadata, in, self->out);

	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EVENTS(&self->tracer, context_of(_metadata, db),
		      "ring line=0 outcome=relayed hops=0",
		      "relay_queued line=0",
		      "deliver line=0 hops=0 automasked=0",
		      "ring line=1 outcome=relayed hops=1",
		      "relay_queued line=1",
		      "deferred line=1",
		      "deliver line=1 hops=1 automasked=0");
}

/* DOORBELL_SAVE leaves to an interrupt what the worker has not delivered yet. */
TEST_F(trace, saved_before_the_worker)
{
	int in = new_eventfd(_metadata, 0, 0), db = long_delivery(_metadata, in, self->out);
	const struct sched_param high = { .sched_priority = 1 }, normal = {};
	struct doorbell_saved_line saved;

	if (preempt_rt())
		SKIP(return, "on PREEMPT_RT the irq_work would not run before this thread sleeps");
	/* The worker has the same processor. */
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &high));
	EXPECT_EQ(0, efd_write(in, 1));
	EXPECT_EQ(0, doorbell_save_lines(db, 1, 1, &saved));
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &normal));
	EXPECT_EQ(DOORBELL_LINE_PENDING, saved.state);
	EXPECT_EQ(0, saved.deliveries);
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EVENTS(&self->tracer, context_of(_metadata, db),
		      "ring line=0 outcome=relayed hops=0",
		      "relay_queued line=0",
		      "deliver line=0 hops=0 automasked=0",
		      "ring line=1 outcome=relayed hops=1",
		      "relay_queued line=1",
		      "deferred line=1",
		      "relay_queued line=1",
		      "deliver line=1 hops=1 automasked=0");
}

TEST_F(trace, mask)
{
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask(self->db, 0));
	EVENTS("mask line=0 reasons=vector",
	       "ring line=0 outcome=masked hops=0",
	       "ring line=0 outcome=coalesced hops=0",
	       "ring line=0 outcome=coalesced hops=0",
	       "unmask line=0 reasons=vector pending=1 resample=0",
	       "deliver line=0 hops=0 automasked=0");

	EXPECT_EQ(2, doorbell_line_set(self->db, DOORBELL_MASK, 0, 2, NULL, NULL));
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_EQ(0, doorbell_line_set(self->db, DOORBELL_UNMASK, 0, 2, NULL, NULL));
	EVENTS("mask line=0 reasons=vector",
	       "mask line=1 reasons=vector",
	       "ring line=0 outcome=masked hops=0",
	       "unmask line=0 reasons=vector pending=0 resample=0",
	       "unmask line=1 reasons=vector pending=0 resample=0");
}

TEST_F(trace, ack)
{
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, LEVEL_LINE));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, LEVEL_LINE));
	EXPECT_EQ(DOORBELL_ACK_NOTHING, doorbell_ack(self->db, LEVEL_LINE));
	EXPECT_EQ(-EOPNOTSUPP, doorbell_ack(self->db, 0));
	EVENTS("ring line=3 outcome=delivered hops=0",
	       "deliver line=3 hops=0 automasked=0",
	       "ring line=3 outcome=coalesced hops=0",
	       "ack line=3 outcome=done",
	       "ack line=3 outcome=nothing");

	/* An ack of a masked line postpones the resamplefds to the unmask. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	EXPECT_EQ(1, doorbell_mask(self->db, LEVEL_LINE));
	EXPECT_EQ(DOORBELL_ACK_POSTPONED, doorbell_ack(self->db, LEVEL_LINE));
	EXPECT_EQ(0, doorbell_unmask(self->db, LEVEL_LINE));
	EVENTS("ring line=3 outcome=delivered hops=0",
	       "deliver line=3 hops=0 automasked=0",
	       "mask line=3 reasons=vector",
	       "ack line=3 outcome=postponed",
	       "unmask line=3 reasons=vector pending=0 resample=1");

	/* A raised level is a ring, and one more after each ack. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, LEVEL_LINE, 1));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, LEVEL_LINE));
	EXPECT_EQ(0, doorbell_set_level(self->db, LEVEL_LINE, 0));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, LEVEL_LINE));
	EVENTS("ring line=3 outcome=delivered hops=0",
	       "deliver line=3 hops=0 automasked=0",
	       "ack line=3 outcome=done",
	       "ring line=3 outcome=delivered hops=0",
	       "deliver line=3 hops=0 automasked=0",
	       "ack line=3 outcome=done");
}

/* Only whole transitions are events. Each says why. */
TEST_F(trace, reasons)
{
	const uint32_t function = DOORBELL_MASK_FUNCTION, pause = DOORBELL_MASK_PAUSE;

	EXPECT_EQ(1, doorbell_mask_for(self->db, 0, function | pause));
	EXPECT_EQ(0, doorbell_mask(self->db, 0));
	EXPECT_EQ(0, doorbell_unmask_for(self->db, 0, function));
	EXPECT_EQ(0, doorbell_unmask_for(self->db, 0, pause));
	EVENTS("mask line=0 reasons=function|pause");
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EVENTS("ring line=0 outcome=masked hops=0",
	       "unmask line=0 reasons=vector pending=1 resample=0",
	       "deliver line=0 hops=0 automasked=0");

	/* The delivery is the event of the mask that it sets. */
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, 0, DOORBELL_TYPE_EDGE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, doorbell_unmask_for(self->db, 0, DOORBELL_MASK_AUTO));
	EVENTS("ring line=0 outcome=delivered hops=0",
	       "deliver line=0 hops=0 automasked=1",
	       "ring line=0 outcome=masked hops=0",
	       "unmask line=0 reasons=auto pending=1 resample=0",
	       "deliver line=0 hops=0 automasked=1");
	EXPECT_EQ(0, doorbell_unmask_for(self->db, 0, DOORBELL_MASK_AUTO));
	EVENTS("unmask line=0 reasons=auto pending=0 resample=0");
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(4, efd_wait(self->out));
	EVENTS("ring line=0 outcome=relayed hops=0",
	       "relay_queued line=0",
	       "deliver line=0 hops=0 automasked=1");
}

TEST_F(trace, region_write)
{
	struct doorbell_region eventfd = to_eventfd(0x1000, 4, self->out);
	struct doorbell_region line = in_space(matching(to_line(0x3f8, 1, 2), 7), PIO);

	ASSERT_EQ(0, change_region(self->db, eventfd));
	ASSERT_EQ(0, change_region(self->db, line));
	ASSERT_EQ(0, mmio_write(self->db, 0x1000, 4, 0xfeed));
	ASSERT_EQ(0, pio_write(self->db, 0x3f8, 1, 7));
	EXPECT_EQ(-EOPNOTSUPP, pio_write(self->db, 0x3f8, 1, 8));
	EXPECT_EQ(-EOPNOTSUPP, mmio_write(self->db, 0x2000, 4, 0xfeed));
	EVENTS("region_write space=mmio addr=0x1000 length=4 value=0xfeed line=-1",
	       "region_write space=pio addr=0x3f8 length=1 value=0x7 line=2",
	       "ring line=2 outcome=delivered hops=0",
	       "deliver line=2 hops=0 automasked=0");

	/* A write that matches two regions. */
	ASSERT_EQ(0, change_region(self->db, matching(to_line(0x1000, 4, 1), 1)));
	ASSERT_EQ(0, mmio_write(self->db, 0x1000, 4, 1));
	EVENTS("region_write space=mmio addr=0x1000 length=4 value=0x1 line=-1",
	       "region_write space=mmio addr=0x1000 length=4 value=0x1 line=1",
	       "ring line=1 outcome=delivered hops=0",
	       "deliver line=1 hops=0 automasked=0");
}

TEST_F(trace, hangup)
{
	int in = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 2));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 2));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 1));
	close(in);
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 1).nr_irqfds == 0));
	EVENTS("hangup line=1");
}

/* The numbers of contexts differ, and each process reads the same. */
TEST_F(trace, contexts)
{
	int other = new_context(_metadata, 1), same = dup(self->db), none;
	pid_t child;

	none = new_context(_metadata, 0);
	EXPECT_EQ(0, context_of(_metadata, none));
	EXPECT_NE(0, context_of(_metadata, other));
	EXPECT_NE(self->context, context_of(_metadata, other));
	EXPECT_EQ(self->context, context_of(_metadata, same));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(context_of(_metadata, self->db) != self->context);
	ASSERT_EQ(0, wait_child(child));

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(other, 0));
	EVENTS();
	ASSERT_EQ(0, tracer_write(&self->tracer, "events/doorbell/enable", "0"));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EVENTS();
	ASSERT_EQ(0, tracer_write(&self->tracer, "events/doorbell/doorbell_deliver/enable", "1"));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EVENTS("deliver line=0 hops=0 automasked=0");
}

/* Numbers of events. */
struct counts {
	uint64_t rings;
	uint64_t coalesced;
	uint64_t masked;
	uint64_t deliveries;
	uint64_t masks;
	uint64_t unmasks;
	uint64_t unmasked_messages;
};

static void count_event(void *arg, const char *text)
{
	struct counts *counts = arg;

	counts->rings += !strncmp(text, "ring ", strlen("ring "));
	counts->coalesced += !!strstr(text, "outcome=coalesced");
	counts->masked += !!strstr(text, "outcome=masked");
	counts->deliveries += !strncmp(text, "deliver ", strlen("deliver "));
	counts->masks += !strncmp(text, "mask ", strlen("mask "));
	counts->unmasks += !strncmp(text, "unmask ", strlen("unmask "));
	counts->unmasked_messages += !!strstr(text, "pending=1");
}

/* The buffer has room for the events of this many writes. */
#define MOST_WRITES	8000

static void hit_write_at_most(struct hammer *hammer)
{
	hit_write(hammer);
	if (atomic_load(&hammer->started) >= MOST_WRITES)
		atomic_store(&hammer->pause, true);
}

/* Threads ring, relay and mask a line at the same time: no event is lost or spurious. */
TEST_F(trace, agrees_with_the_counters)
{
	const struct doorbell_line_status *status = map_status(_metadata, self->db);
	struct hammer hammer = { .hit = hit_write_at_most, .fd = self->in };
	struct rounds rounds = ROUNDS(200, 2000);
	struct doorbell_query query;
	struct counts counts = {};
	uint64_t unmasked = 0;
	unsigned long round;

	hammer_start(_metadata, &hammer);
	for (round = 0; more_rounds(&rounds, round); round++) {
		EXPECT_EQ(1, doorbell_mask(self->db, 0));
		doorbell_ring(self->db, 0);
		unmasked += doorbell_unmask(self->db, 0);
		doorbell_ring(self->db, 0);
	}
	hammer_stop(&hammer);
	query = settled(_metadata, self->db, 0);
	EXPECT_EQ(0, each_event(_metadata, &self->tracer, self->context, count_event, &counts));
	EXPECT_EQ(query.rings, counts.rings);
	EXPECT_EQ(status->coalesced, counts.coalesced);
	EXPECT_EQ(query.deliveries, counts.deliveries);
	EXPECT_EQ(query.rings, query.deliveries + counts.coalesced);
	EXPECT_LT(0, counts.masked);
	EXPECT_EQ(round, counts.masks);
	EXPECT_EQ(round, counts.unmasks);
	EXPECT_EQ(unmasked, counts.unmasked_messages);
}

FIXTURE(trace_callback) {
	struct capi c;
	struct tracer tracer;
};

FIXTURE_SETUP(trace_callback)
{
	capi_setup(_metadata, &self->c);
	if (self->c.test < 0)
		SKIP(return, "%s: %s; load doorbell_test.ko", TEST_DEVICE, strerror(errno));
	ASSERT_EQ(1, get_ctx(&self->c, self->c.db));
	tracer_start(_metadata, &self->tracer);
}

FIXTURE_TEARDOWN(trace_callback)
{
	tracer_stop(_metadata, &self->tracer);
	capi_teardown(_metadata, &self->c);
}

/* A trigger rings its own line, which has an owner then. */
TEST_F(trace_callback, owned)
{
	struct capi *c = &self->c;

	plan(_metadata, c, &(struct test_plan){
		.times = 1, .nr_calls = 1, .calls = { { TEST_RING, 0, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	EXPECT_EQ(2, settled(_metadata, c->db, 0).deliveries);
	if (preempt_rt()) {
		/* The irq_work lends its priority to the owner. */
		EXPECT_EVENTS(&self->tracer, context_of(_metadata, c->db),
			      "ring line=0 outcome=delivered hops=0",
			      "deliver line=0 hops=0 automasked=0",
			      "ring line=0 outcome=owned hops=1",
			      "relay_queued line=0",
			      "deliver line=0 hops=1 automasked=0");
	} else {
		EXPECT_EVENTS(&self->tracer, context_of(_metadata, c->db),
			      "ring line=0 outcome=delivered hops=0",
			      "deliver line=0 hops=0 automasked=0",
			      "ring line=0 outcome=owned hops=1",
			      "deliver line=0 hops=1 automasked=0");
	}
}

TEST_HARNESS_MAIN
