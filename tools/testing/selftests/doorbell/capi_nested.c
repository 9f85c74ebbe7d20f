// SPDX-License-Identifier: GPL-2.0-only
/*
 * Callbacks of the in-kernel API that call its functions.
 */
#include <sys/prctl.h>

#include "capi_callback.h"
#include "kernel.h"
#include "tracefs.h"

FIXTURE(nested) {
	struct capi c;
};

FIXTURE_SETUP(nested)
{
	capi_setup(_metadata, &self->c);
	if (self->c.test < 0)
		SKIP(return, "%s: %s; load doorbell_test.ko", TEST_DEVICE, strerror(errno));
	ASSERT_EQ(1, get_ctx(&self->c, self->c.db));
}

FIXTURE_TEARDOWN(nested)
{
	capi_teardown(_metadata, &self->c);
}

/* A trigger calls all allowed functions for its own line. */
TEST_F(nested, trigger_calls)
{
	struct capi *c = &self->c;
	struct test_seen seen;

	plan(_metadata, c, &(struct test_plan){
		.times = 1, .nr_calls = 7,
		.calls = {
			{ TEST_STATE, 0, 0, 0 }, { TEST_RING, 0, 0, 0 },
			{ TEST_MASK_NOSYNC, 0, 0, 0 }, { TEST_STATE, 0, 0, 0 },
			{ TEST_UNMASK, 0, 0, 0 }, { TEST_ACK, 0, 0, 0 }, { TEST_RING, 2, 0, 0 },
		} });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(0, seen.calls_made[0].ret);
	/* The thread that is delivering makes the delivery of the callback's ring next. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.calls_made[1].ret);
	EXPECT_EQ(1, seen.calls_made[2].ret);
	EXPECT_EQ(VECTOR_MASKED | DOORBELL_LINE_PENDING, seen.calls_made[3].ret);
	EXPECT_EQ(1, seen.calls_made[4].ret);
	EXPECT_EQ(-EOPNOTSUPP, seen.calls_made[5].ret);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.calls_made[6].ret);
	EXPECT_EQ(2, seen.calls);
	EXPECT_EQ(1, seen.concurrent);
	EXPECT_EQ(2, efd_read(c->out));
	/* The ring of another line is relayed. */
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, c->db, 2).deliveries == 1));
	EXPECT_EQ(0, line_of(_metadata, c->db, 0).state);

	/* The trigger of a level line acks the delivery and lowers the level in time. */
	EXPECT_EQ(0, del_trigger(c, 0, 0));
	plan(_metadata, c, &(struct test_plan){
		.times = 3, .nr_calls = 3,
		.calls = {
			{ TEST_STATE, 1, 0, 0 }, { TEST_SET_LEVEL, 1, 0, 0 }, { TEST_ACK, 1, 0, 0 },
		} });
	ASSERT_EQ(0, add_trigger(c, 1, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, 0, TEST_SET_LEVEL, 1, 1));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(DOORBELL_LINE_LEVEL | DOORBELL_LINE_ASSERTED | DOORBELL_LINE_RAISED,
		  seen.calls_made[0].ret);
	EXPECT_EQ(0, seen.calls_made[1].ret);
	EXPECT_EQ(DOORBELL_ACK_DONE, seen.calls_made[2].ret);
	EXPECT_EQ(1, seen.calls);
	EXPECT_EQ(DOORBELL_LINE_LEVEL, line_of(_metadata, c->db, 1).state);
}

/* A ring that the thread makes after a callback is no relay. */
TEST_F(nested, trigger_ends)
{
	struct capi *c = &self->c;
	struct tracer tracer;

	plan(_metadata, c, &(struct test_plan){});
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	tracer_start(_metadata, &tracer);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 2));
	EXPECT_EVENTS(&tracer, context_of(_metadata, c->db),
		      "ring line=0 outcome=delivered hops=0",
		      "deliver line=0 hops=0 automasked=0",
		      "ring line=2 outcome=delivered hops=0",
		      "deliver line=2 hops=0 automasked=0");
	tracer_stop(_metadata, &tracer);
	EXPECT_EQ(1, seen_by(_metadata, c, 0).calls);
}

/* A wake-up that a trigger causes has the trigger's relays, although the eventfd's key has none. */
TEST_F(nested, trigger_wakes)
{
	struct capi *c = &self->c;
	struct tracer tracer;
	int in = new_eventfd(_metadata, 0, 0), own = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, in, 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, own, 2));
	ASSERT_EQ(0, call_from(c, TEST_FROM_PROCESS, TEST_EVENTFD, 0, own));
	plan(_metadata, c, &(struct test_plan){
		.times = 1, .nr_calls = 1, .calls = { { TEST_SIGNAL, 0, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	tracer_start(_metadata, &tracer);
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, c->db, 2).deliveries == 1));
	EXPECT_EVENTS(&tracer, context_of(_metadata, c->db),
		      "ring line=0 outcome=relayed hops=0",
		      "relay_queued line=0",
		      "deliver line=0 hops=0 automasked=0",
		      "ring line=2 outcome=relayed hops=1",
		      "relay_queued line=2",
		      "deliver line=2 hops=1 automasked=0");
	tracer_stop(_metadata, &tracer);
}

/*
 * A trigger rings another line twice. The first of these rings is delivered before the
 * callback goes on, and calls a trigger itself. The second one still has the relays of the
 * callback that makes it.
 */
TEST_F(nested, trigger_goes_on)
{
	struct capi *c = &self->c;
	struct tracer tracer;

	if (preempt_rt())
		SKIP(return, "PREEMPT_RT: a thread delivers, and may do so later");
	plan(_metadata, c, &(struct test_plan){ .callback = 1 });
	ASSERT_EQ(0, add_trigger(c, 2, 1));
	plan(_metadata, c, &(struct test_plan){
		.times = 1, .nr_calls = 2,
		.calls = { { TEST_RING, 2, 0, 0 }, { TEST_RING, 2, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	tracer_start(_metadata, &tracer);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, c->db, 2).deliveries == 2));
	EXPECT_EVENTS(&tracer, context_of(_metadata, c->db),
		      "ring line=0 outcome=delivered hops=0",
		      "deliver line=0 hops=0 automasked=0",
		      "ring line=2 outcome=relayed hops=1",
		      "relay_queued line=2",
		      "deliver line=2 hops=1 automasked=0",
		      "ring line=2 outcome=relayed hops=1",
		      "relay_queued line=2",
		      "deliver line=2 hops=1 automasked=0");
	tracer_stop(_metadata, &tracer);
	EXPECT_EQ(0, del_trigger(c, 2, 1));
}

/*
 * A trigger rings another line, whose trigger is called before this one goes on, and then
 * its own line. It is still in its own callback then, and leaves the message to itself. On
 * PREEMPT_RT the irq_work's thread calls the other trigger.
 */
TEST_F(nested, trigger_rings_on_after_another_one)
{
	const unsigned int times = 20;
	struct capi *c = &self->c;
	struct test_seen seen;
	unsigned int i;

	plan(_metadata, c, &(struct test_plan){ .callback = 1 });
	ASSERT_EQ(0, add_trigger(c, 2, 1));
	plan(_metadata, c, &(struct test_plan){
		.times = times, .nr_calls = 2,
		.calls = { { TEST_RING, 2, 0, 0 }, { TEST_RING, 0, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	ASSERT_TRUE(WAIT_FOR(settled(_metadata, c->db, 0).deliveries == times + 1));
	for (i = 0; i < 2; i++) {
		seen = seen_by(_metadata, c, i);
		EXPECT_EQ(1, seen.concurrent);
		EXPECT_EQ(0, seen.unexpected);
	}
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(times + 1, seen.calls);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.calls_made[1].ret);
	EXPECT_EQ(0, del_trigger(c, 0, 0));
	EXPECT_EQ(0, del_trigger(c, 2, 1));
}

/* A trigger rings its own line: interrupts stop delivering at their budget. */
TEST_F(nested, trigger_rings_its_line)
{
	const unsigned int times = 200;
	struct capi *c = &self->c;

	plan(_metadata, c, &(struct test_plan){
		.times = times, .nr_calls = 1, .calls = { { TEST_RING, 0, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, c->db, 0).deliveries == times + 1));
	EXPECT_LT(times / 10, line_of(_metadata, c->db, 0).deferred);
	EXPECT_EQ(0, del_trigger(c, 0, 0));
}

/*
 * A trigger rings another line, which leads back by eventfds and another context. A ring by
 * a callback counts as a relay, as one by an eventfd does: from 32 relays on the worker
 * delivers.
 */
TEST_F(nested, trigger_rings_a_cycle)
{
	const unsigned int times = 200;
	struct capi *c = &self->c;
	int other = new_context(_metadata, 1), there, back;
	uint64_t deferred;

	plan(_metadata, c, &(struct test_plan){
		.times = times, .nr_calls = 1, .calls = { { TEST_RING, 2, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	there = new_eventfd(_metadata, 0, 0);
	back = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(other, there, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(c->db, there, 2));
	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, back, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(other, back, 0));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, c->db, 0).deliveries == times + 1));
	deferred = settled(_metadata, c->db, 0).deferred + settled(_metadata, c->db, 2).deferred +
		   settled(_metadata, other, 0).deferred;
	EXPECT_EQ(times, line_of(_metadata, c->db, 2).deliveries);
	EXPECT_EQ(times, line_of(_metadata, other, 0).deliveries);
	/*
	 * If the next message comes while the worker delivers, its delivery is not counted
	 * as deferred.
	 */
	EXPECT_LT(3 * times / 2, deferred);
	EXPECT_EQ(0, del_trigger(c, 0, 0));
}

/* Length of the chains below: more than an interrupt delivers, and than it may recurse. */
#define CHAIN		24

/*
 * Makes @chain a context of its own, where the trigger of each line calls @func for the next
 * line. A call takes a while, so the budget of an interrupt does not last for the chain.
 */
static void chain_setup(struct __test_metadata *_metadata, struct capi *chain, uint32_t func,
			uint32_t arg)
{
	uint32_t i;

	chain->db = new_context(_metadata, CHAIN);
	chain->test = open(TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, chain->test);
	ASSERT_EQ(1, get_ctx(chain, chain->db));
	for (i = 0; i < CHAIN; i++) {
		plan(_metadata, chain, &(struct test_plan){
			.callback = i, .spin_us = 50, .times = i < CHAIN - 1, .nr_calls = 1,
			.calls = { { func, i + 1, arg, 0 } } });
		ASSERT_EQ(0, add_trigger(chain, i, i));
	}
}

/* Rings the first line, and expects one call of each callback that returned @ret. */
static void chain_run(struct __test_metadata *_metadata, struct capi *chain, int ret)
{
	uint64_t deferred = 0;
	uint32_t i;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(chain->db, 0));
	ASSERT_TRUE(WAIT_FOR(settled(_metadata, chain->db, CHAIN - 1).deliveries == 1));
	for (i = 0; i < CHAIN; i++) {
		struct test_seen seen;

		/* The next lines may have delivered before the call has returned. */
		if (i < CHAIN - 1)
			ASSERT_TRUE(WAIT_FOR(seen_by(_metadata, chain, i).calls_made[0].ret ==
					     ret));
		seen = seen_by(_metadata, chain, i);
		EXPECT_EQ(1, seen.calls);
		/* Interrupts of the thread and of the worker, at most. */
		EXPECT_GE(4, seen.nested);
		deferred += settled(_metadata, chain->db, i).deferred;
		EXPECT_EQ(0, line_of(_metadata, chain->db, i).state & DOORBELL_LINE_PENDING);
	}
	EXPECT_LT(0, deferred);
	close(chain->test);
	close(chain->db);
}

/*
 * The trigger of a masked line unmasks the next one, which holds a message, and so on. The
 * messages are relayed: the callbacks do not call each other, and interrupts stop at their
 * budget.
 */
TEST_F(nested, triggers_unmask_a_chain)
{
	struct capi chain;
	uint32_t i;

	chain_setup(_metadata, &chain, TEST_UNMASK, 0);
	for (i = 1; i < CHAIN; i++) {
		ASSERT_EQ(1, doorbell_mask(chain.db, i));
		ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(chain.db, i));
	}
	chain_run(_metadata, &chain, 1);
}

/* The same with levels: a raise by a callback does not renew the budget either. */
TEST_F(nested, triggers_raise_a_chain)
{
	struct capi chain;
	uint32_t i;

	chain_setup(_metadata, &chain, TEST_SET_LEVEL, 1);
	for (i = 1; i < CHAIN; i++)
		ASSERT_EQ(0, doorbell_set_type(chain.db, i, DOORBELL_TYPE_LEVEL));
	chain_run(_metadata, &chain, DOORBELL_RING_DELIVERED);
}

/* An unmask by a trigger relays the message, which then has one relay more. */
TEST_F(nested, trigger_unmasks_another_line)
{
	struct capi *c = &self->c;
	struct tracer tracer;
	int in = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, in, 0));
	ASSERT_EQ(1, doorbell_mask(c->db, 2));
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(c->db, 2));
	plan(_metadata, c, &(struct test_plan){
		.times = 1, .nr_calls = 2,
		.calls = { { TEST_UNMASK, 2, 0, 0 }, { TEST_UNMASK, 2, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	tracer_start(_metadata, &tracer);
	/* This renews the budget of interrupts, too. */
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_TRUE(WAIT_FOR(settled(_metadata, c->db, 2).deliveries == 1));
	EXPECT_EVENTS(&tracer, context_of(_metadata, c->db),
		      "ring line=0 outcome=relayed hops=0",
		      "relay_queued line=0",
		      "deliver line=0 hops=0 automasked=0",
		      "unmask line=2 reasons=vector pending=1 resample=0",
		      "relay_queued line=2",
		      "deliver line=2 hops=1 automasked=0");
	tracer_stop(_metadata, &tracer);
	EXPECT_EQ(1, seen_by(_metadata, c, 0).calls_made[0].ret);
	EXPECT_EQ(0, seen_by(_metadata, c, 0).calls_made[1].ret);
}

/* A level stays raised while its trigger acks: each ack causes one more delivery. */
TEST_F(nested, trigger_acks_a_raised_level)
{
	const unsigned int times = 50;
	struct capi *c = &self->c;

	plan(_metadata, c, &(struct test_plan){
		.times = times, .nr_calls = 1, .calls = { { TEST_ACK, 1, 0, 0 } } });
	ASSERT_EQ(0, add_trigger(c, 1, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, 0, TEST_SET_LEVEL, 1, 1));
	ASSERT_TRUE(WAIT_FOR(seen_by(_metadata, c, 0).calls == times + 1));
	EXPECT_EQ(times, settled(_metadata, c->db, 1).acks);
	EXPECT_EQ(times + 1, line_of(_metadata, c->db, 1).deliveries);
	EXPECT_EQ(1, seen_by(_metadata, c, 0).concurrent);
}

/* The trigger of an automask line unmasks it: the owner delivers the next message. */
TEST_F(nested, trigger_unmasks)
{
	const uint32_t automask = DOORBELL_LINE_AUTOMASK, function = DOORBELL_MASK_FUNCTION;
	struct capi *c = &self->c;
	struct test_seen seen;

	plan(_metadata, c, &(struct test_plan){
		.times = 2, .nr_calls = 6,
		.calls = {
			{ TEST_STATE, 0, 0, 0 }, { TEST_RING, 0, 0, 0 },
			{ TEST_UNMASK_FOR, 0, DOORBELL_MASK_AUTO, 0 }, { TEST_STATE, 0, 0, 0 },
			{ TEST_MASK_FOR_NOSYNC, 0, function, 0 },
			{ TEST_UNMASK_FOR, 0, function, 0 },
		} });
	ASSERT_EQ(0, doorbell_set_type_automask(c->db, 0, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, add_trigger(c, 0, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(automask | MASKED_FOR(DOORBELL_MASK_AUTO), seen.calls_made[0].ret);
	EXPECT_EQ(DOORBELL_RING_MASKED, seen.calls_made[1].ret);
	EXPECT_EQ(1, seen.calls_made[2].ret);
	EXPECT_EQ(automask | DOORBELL_LINE_PENDING, seen.calls_made[3].ret);
	EXPECT_EQ(1, seen.calls_made[4].ret);
	EXPECT_EQ(1, seen.calls_made[5].ret);
	/* Each of the two calls has rung once. The third one does nothing. */
	EXPECT_EQ(3, seen.calls);
	EXPECT_EQ(1, seen.concurrent);
	EXPECT_EQ(3, efd_read(c->out));
	EXPECT_EQ(automask | MASKED_FOR(DOORBELL_MASK_AUTO), line_of(_metadata, c->db, 0).state);
	EXPECT_EQ(0, doorbell_unmask_for(c->db, 0, DOORBELL_MASK_AUTO));
	EXPECT_EQ(3, line_of(_metadata, c->db, 0).deliveries);
}

/*
 * A line that is unmasked while a thread delivers: the caller of the unmask signals the
 * notifiers and the resamplefds, and leaves only the message to the owner.
 */
TEST_F(nested, unmask_in_a_delivery_notifies)
{
	int in = new_eventfd(_metadata, 0, 0), res = new_eventfd(_metadata, 0, 0);
	struct capi *c = &self->c;
	struct test_seen seen;

	ASSERT_EQ(0, doorbell_set_type_automask(c->db, 1, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_resampled(c->db, in, 1, res));
	plan(_metadata, c, &(struct test_plan){ .callback = 1 });
	ASSERT_EQ(0, add_notifier(c, 1, ALL, 1));
	plan(_metadata, c, &(struct test_plan){
		.times = 1, .nr_calls = 4,
		.calls = {
			{ TEST_ACK, 1, 0, 0 }, { TEST_UNMASK_FOR, 1, DOORBELL_MASK_AUTO, 0 },
			{ TEST_MASK_NOSYNC, 1, 0, 0 }, { TEST_UNMASK, 1, 0, 0 },
		} });
	ASSERT_EQ(0, add_trigger(c, 1, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 1));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(DOORBELL_ACK_POSTPONED, seen.calls_made[0].ret);
	EXPECT_EQ(0, seen.calls_made[1].ret);
	EXPECT_EQ(1, seen.calls_made[2].ret);
	EXPECT_EQ(0, seen.calls_made[3].ret);
	/* The first unmask has made the postponed signal. */
	EXPECT_EQ(1, efd_read(res));
	seen = seen_by(_metadata, c, 1);
	EXPECT_EQ(1, seen.by_event[1]);
	EXPECT_EQ(2, seen.by_event[2]);
	EXPECT_EQ(1, seen.by_event[3]);
	EXPECT_EQ(0, seen.unexpected);
	EXPECT_EQ(0, del_notifier(c, 1, 1));
	EXPECT_EQ(0, del_trigger(c, 1, 0));
}

/* All functions that do not wait for a notifier, for a line that is masked at first. */
static const struct test_plan everything = {
	.nr_calls = 8,
	.calls = {
		{ TEST_MASK, 1, 0, 0 }, { TEST_UNMASK, 1, 0, 0 }, { TEST_RING, 1, 0, 0 },
		{ TEST_SET_LEVEL, 1, 1, 0 }, { TEST_SET_LEVEL, 1, 0, 0 }, { TEST_ACK, 1, 0, 0 },
		{ TEST_MASK_NOSYNC, 1, 0, 0 }, { TEST_STATE, 1, 0, 0 },
	},
};

/* A notifier calls these functions for its own line, and is called for their events. */
TEST_F(nested, notifier_calls)
{
	const int expected[] = {
		0, 0, DOORBELL_RING_DELIVERED, DOORBELL_RING_COALESCED, 0, DOORBELL_ACK_DONE, 1,
		DOORBELL_LINE_LEVEL | VECTOR_MASKED,
	};
	struct test_plan once = everything;
	struct capi *c = &self->c;
	struct test_seen seen;
	unsigned int i;

	once.times = 1;
	plan(_metadata, c, &once);
	ASSERT_EQ(0, add_notifier(c, 1, ALL, 0));
	EXPECT_EQ(1, doorbell_mask(c->db, 1));
	seen = seen_by(_metadata, c, 0);
	for (i = 0; i < ARRAY_SIZE(expected); i++)
		EXPECT_EQ(expected[i], seen.calls_made[i].ret);
	EXPECT_EQ(2, seen.by_event[1]);
	EXPECT_EQ(1, seen.by_event[2]);
	EXPECT_EQ(1, seen.by_event[3]);
	EXPECT_EQ(0, seen.unexpected);
	/* The notifier was called by itself, recursively. */
	EXPECT_EQ(2, seen.concurrent);
	EXPECT_EQ(0, del_notifier(c, 1, 0));
}

/* The notifier makes all calls again in each call that this causes. */
TEST_F(nested, notifier_calls_nested)
{
	const unsigned int times = 3;
	struct test_plan nested = everything;
	struct capi *c = &self->c;
	struct test_seen seen;

	nested.times = times;
	plan(_metadata, c, &nested);
	ASSERT_EQ(0, add_notifier(c, 1, ALL, 0));
	EXPECT_EQ(1, doorbell_mask(c->db, 1));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(0, seen.unexpected);
	/* The outermost call ends last, with its mask. */
	EXPECT_EQ(DOORBELL_LINE_MASKED, seen.calls_made[7].ret & DOORBELL_LINE_MASKED);
	/* The recursion is as deep as planned, and there is one call per transition. */
	EXPECT_EQ(times + 1, seen.concurrent);
	EXPECT_EQ(seen.by_event[1] + seen.by_event[2] + seen.by_event[3], seen.calls);
	EXPECT_EQ(line_of(_metadata, c->db, 1).acks, seen.by_event[3]);
	EXPECT_EQ(seen.by_event[1], seen.by_event[2] + 1);
	EXPECT_EQ(0, del_notifier(c, 1, 0));
}

/* An ack notifier of one line raises and lowers another line. */
TEST_F(nested, notifier_drives_another_line)
{
	struct capi *c = &self->c;
	struct test_seen seen;
	int i;

	plan(_metadata, c, &(struct test_plan){
		.times = 1000, .nr_calls = 2,
		.calls = { { TEST_RING, 0, 0, 0 }, { TEST_SET_LEVEL, 1, 0, 0 } } });
	ASSERT_EQ(0, add_notifier(c, 1, ACK, 0));
	for (i = 1; i <= 10; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, 0, TEST_SET_LEVEL, 1, 1));
		EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(c->db, 1));
		EXPECT_EQ(1, efd_read(c->out));
		/* A level that is low when the notifiers return makes no message. */
		EXPECT_EQ(DOORBELL_LINE_LEVEL, line_of(_metadata, c->db, 1).state);
		EXPECT_EQ(i, line_of(_metadata, c->db, 1).deliveries);
		EXPECT_EQ(0, line_of(_metadata, c->db, 1).dropped);
	}
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(10, seen.by_event[3]);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, seen.calls_made[0].ret);
	EXPECT_EQ(0, seen.calls_made[1].ret);
}

/*
 * An ack notifier raises a level that is raised already. That is no ring of its own: after
 * the notifiers, the ack sends the message of the level.
 */
TEST_F(nested, notifier_raises_a_raised_level)
{
	struct capi *c = &self->c;
	struct test_seen seen;

	plan(_metadata, c, &(struct test_plan){
		.times = 1, .nr_calls = 2,
		.calls = { { TEST_SET_LEVEL, 1, 1, 0 }, { TEST_STATE, 1, 0, 0 } } });
	ASSERT_EQ(0, add_notifier(c, 1, ACK, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(c->db, 1, 1));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(c->db, 1));
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(1, seen.calls);
	EXPECT_EQ(DOORBELL_RING_COALESCED, seen.calls_made[0].ret);
	EXPECT_EQ(DOORBELL_LINE_LEVEL | DOORBELL_LINE_RAISED, seen.calls_made[1].ret);
	EXPECT_EQ(2, line_of(_metadata, c->db, 1).deliveries);
	EXPECT_EQ(DOORBELL_LINE_LEVEL | DOORBELL_LINE_ASSERTED | DOORBELL_LINE_RAISED,
		  line_of(_metadata, c->db, 1).state);
	EXPECT_EQ(0, del_notifier(c, 1, 0));
}

/* The number of rounds that two processes have made. */
struct progress {
	atomic_ulong masks;
	atomic_ulong deassigned;
};

/*
 * Starts a process, which must be killed. It keeps no output open: if the kernel blocks it for
 * ever, the programs after this one run.
 */
static pid_t start_loop(struct __test_metadata *_metadata)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_range(STDIN_FILENO, STDERR_FILENO, 0);
	}
	return pid;
}

/*
 * A process masks line 0, whose notifier assigns and deassigns a trigger, while another one calls
 * @deassign in a loop. That waits for the notifier, so it must not hold what an assignment needs.
 */
static void assign_beside(struct __test_metadata *_metadata, struct capi *c,
			  int (*deassign)(int db, int fd))
{
	const unsigned int rounds = 200;
	int fd = new_eventfd(_metadata, 0, 0);
	struct progress *progress;
	struct test_seen seen;
	pid_t pids[2];
	int i;

	plan(_metadata, c, &(struct test_plan){ .callback = 1 });
	plan(_metadata, c, &(struct test_plan){
		.spin_us = 100, .times = INT32_MAX, .nr_calls = 2,
		.calls = {
			{ TEST_ASSIGN_TRIGGER, 2, 1, 0 }, { TEST_DEASSIGN_TRIGGER, 2, 1, 0 },
		} });
	ASSERT_EQ(0, add_notifier(c, 0, MASK, 0));
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, progress);
	pids[0] = start_loop(_metadata);
	if (!pids[0]) {
		pin_to(0);
		while (doorbell_mask(c->db, 0) == 1 && !doorbell_unmask(c->db, 0))
			atomic_fetch_add(&progress->masks, 1);
		_exit(1);
	}
	pids[1] = start_loop(_metadata);
	if (!pids[1]) {
		pin_to(1);
		while (!deassign(c->db, fd))
			atomic_fetch_add(&progress->deassigned, 1);
		_exit(1);
	}
	ASSERT_TRUE(WAIT_FOR(atomic_load(&progress->masks) >= rounds &&
			     atomic_load(&progress->deassigned) >= rounds)) {
		TH_LOG("%lu masks, %lu deassigned", atomic_load(&progress->masks),
		       atomic_load(&progress->deassigned));
	}
	for (i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		ASSERT_TRUE(WAIT_FOR(waitpid(pids[i], NULL, WNOHANG) == pids[i]));
	}
	seen = seen_by(_metadata, c, 0);
	EXPECT_EQ(0, seen.calls_made[0].ret);
	EXPECT_EQ(0, seen.calls_made[1].ret);
	EXPECT_EQ(0, del_notifier(c, 0, 0));
	EXPECT_EQ(0, munmap(progress, sizeof(*progress)));
}

static int deassign_all_notifiers(int db, int fd)
{
	return doorbell_assign_notifier(db, fd, 0, ACK) ||
	       doorbell_deassign_all_notifiers(db, 0) != 1;
}

TEST_F(nested, notifier_assigns_beside_deassign_all)
{
	assign_beside(_metadata, &self->c, deassign_all_notifiers);
}

static int deassign_one_notifier(int db, int fd)
{
	return doorbell_assign_notifier(db, fd, 0, ACK) || doorbell_deassign_notifier(db, fd, 0);
}

TEST_F(nested, notifier_assigns_beside_deassign)
{
	assign_beside(_metadata, &self->c, deassign_one_notifier);
}

/* The eventfd of line 0 becomes the resamplefd of line 1. */
static int deassign_resampled(int db, int fd)
{
	static int in = -1;

	if (in < 0)
		in = eventfd(0, EFD_CLOEXEC);
	return doorbell_assign_resampled(db, in, 1, fd) || doorbell_deassign_irqfd(db, in, 1);
}

TEST_F(nested, notifier_assigns_beside_deassign_resampled)
{
	assign_beside(_metadata, &self->c, deassign_resampled);
}

TEST_HARNESS_MAIN
