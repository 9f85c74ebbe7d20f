// SPDX-License-Identifier: GPL-2.0
/*
 * The callbacks of an open file: they count their calls and make the calls of their plan.
 */
#include <linux/delay.h>
#include <linux/doorbell.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

#include "test.h"

static u32 context(void)
{
	u32 seen = 0;

	if (in_hardirq())
		seen |= TEST_IN_HARDIRQ;
	else if (in_serving_softirq())
		seen |= TEST_IN_SOFTIRQ;
	else if (current->flags & (PF_WQ_WORKER | PF_USER_WORKER))
		seen |= TEST_IN_WORKER;
	else
		seen |= TEST_IN_TASK;
	if (preemptible())
		seen |= TEST_PREEMPTIBLE;
	if (current->in_eventfd)
		seen |= TEST_IN_EVENTFD;
	return seen;
}

static void raise_to(atomic_t *most, int value)
{
	int now = atomic_read(most);

	while (now < value && !atomic_try_cmpxchg(most, &now, value))
		;
}

static void called(struct doorbell_callback *base, u32 event)
{
	struct test_callback *callback = container_of(base, struct test_callback, base);
	u32 i;

	raise_to(&callback->concurrent, atomic_inc_return(&callback->inside));
	raise_to(&callback->nested, atomic_inc_return(&callback->test->inside));
	atomic_inc(&callback->calls);
	atomic_or(context(), &callback->contexts);
	if (in_task() && current == READ_ONCE(callback->planner))
		atomic_inc(&callback->by_planner);
	switch (event) {
	case 0:
		atomic_inc(&callback->by_event[0]);
		break;
	case DOORBELL_NOTIFY_MASK:
		atomic_inc(&callback->by_event[1]);
		break;
	case DOORBELL_NOTIFY_UNMASK:
		atomic_inc(&callback->by_event[2]);
		break;
	case DOORBELL_NOTIFY_ACK:
		atomic_inc(&callback->by_event[3]);
		break;
	default:
		atomic_inc(&callback->unexpected);
	}
	if (READ_ONCE(callback->gone))
		atomic_inc(&callback->unexpected);
	if (callback->plan.spin_us)
		udelay(callback->plan.spin_us);
	if (atomic_dec_if_positive(&callback->times) >= 0) {
		for (i = 0; i < callback->plan.nr_calls; i++) {
			struct test_nested *nested = &callback->plan.calls[i];
			struct test_call call = {
				.func = nested->func, .line = nested->line, .arg = nested->arg,
				.callback = nested->arg, .access = nested->access,
			};

			WRITE_ONCE(nested->ret, call_here(callback->test, &call));
		}
	}
	atomic_dec(&callback->test->inside);
	atomic_dec(&callback->inside);
}

static bool wrong_type;
module_param(wrong_type, bool, 0);
MODULE_PARM_DESC(wrong_type, "Have doorbell call a function of another type: with CONFIG_CFI, an oops");

/* Without CONFIG_CFI, a call with an event instead of the pointer works. */
static void called_with_pointer(struct doorbell_callback *base, void *event)
{
	called(base, (unsigned long)event);
}

void callback_init(struct test *test)
{
	int i;

	for (i = 0; i < TEST_CALLBACKS; i++) {
		test->callbacks[i].base.func = wrong_type ? (void *)called_with_pointer : called;
		test->callbacks[i].test = test;
	}
}

/* Returns an assigned callback, or one of those that cannot be called. */
static struct doorbell_callback *find_callback(struct test *test, u32 nr)
{
	if (nr == TEST_NULL)
		return NULL;
	return nr < TEST_CALLBACKS ? &test->callbacks[nr].base : &test->empty;
}

int callback_assign(struct test *test, const struct test_call *call)
{
	struct doorbell_callback *base = find_callback(test, call->callback);
	bool trigger = call->func == TEST_ASSIGN_TRIGGER;
	struct test_callback *callback = NULL;
	bool was_gone = false;
	int ret;

	if (call->callback < TEST_CALLBACKS) {
		callback = &test->callbacks[call->callback];
		was_gone = xchg(&callback->gone, false);
	}
	if (trigger)
		ret = doorbell_assign_trigger(test->ctx, call->line, base);
	else
		ret = doorbell_assign_notifier(test->ctx, call->line, call->arg, base);
	if (!callback)
		return ret;
	if (ret) {
		WRITE_ONCE(callback->gone, was_gone);
	} else {
		callback->deassign = trigger ? TEST_DEASSIGN_TRIGGER : TEST_DEASSIGN_NOTIFIER;
		callback->line = call->line;
	}
	return ret;
}

int callback_deassign(struct test *test, struct test_call *call)
{
	struct doorbell_callback *base = find_callback(test, call->callback);
	struct test_callback *callback;
	int ret;

	if (call->func == TEST_DEASSIGN_TRIGGER)
		ret = doorbell_deassign_trigger(test->ctx, call->line, base);
	else
		ret = doorbell_deassign_notifier(test->ctx, call->line, base);
	if (!ret) {
		callback = container_of(base, struct test_callback, base);
		WRITE_ONCE(callback->gone, true);
		/* A call that begins from here on finds it gone. */
		smp_mb();
		call->late = atomic_read(&callback->inside);
		callback->deassign = 0;
	}
	return ret;
}

int callback_plan(struct test *test, const struct test_plan *plan)
{
	struct test_callback *callback;
	int i;

	if (plan->callback >= TEST_CALLBACKS || plan->nr_calls > TEST_NESTED)
		return -EINVAL;
	callback = &test->callbacks[plan->callback];
	if (callback->deassign)
		return -EBUSY;
	callback->plan = *plan;
	atomic_set(&callback->times, plan->times);
	atomic_set(&callback->calls, 0);
	for (i = 0; i < ARRAY_SIZE(callback->by_event); i++)
		atomic_set(&callback->by_event[i], 0);
	atomic_set(&callback->unexpected, 0);
	atomic_set(&callback->concurrent, 0);
	atomic_set(&callback->nested, 0);
	atomic_set(&callback->contexts, 0);
	atomic_set(&callback->by_planner, 0);
	WRITE_ONCE(callback->planner, current);
	return 0;
}

int callback_seen(struct test *test, struct test_seen *seen)
{
	struct test_callback *callback;
	int i;

	if (seen->callback >= TEST_CALLBACKS)
		return -EINVAL;
	callback = &test->callbacks[seen->callback];
	seen->calls = atomic_read(&callback->calls);
	for (i = 0; i < ARRAY_SIZE(callback->by_event); i++)
		seen->by_event[i] = atomic_read(&callback->by_event[i]);
	seen->unexpected = atomic_read(&callback->unexpected);
	seen->concurrent = atomic_read(&callback->concurrent);
	seen->nested = atomic_read(&callback->nested);
	seen->contexts = atomic_read(&callback->contexts);
	seen->by_planner = atomic_read(&callback->by_planner);
	memcpy(seen->calls_made, callback->plan.calls, sizeof(seen->calls_made));
	return 0;
}
