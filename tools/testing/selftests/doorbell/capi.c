// SPDX-License-Identifier: GPL-2.0-only
/*
 * The in-kernel API: the result of each function, each documented error, the lifetime of a
 * context, and the contexts from which each function may be called. Callbacks are in
 * capi_callback.c.
 */

#include "capi.h"

#define LEVEL		DOORBELL_LINE_LEVEL
#define ASSERTED	DOORBELL_LINE_ASSERTED
#define RAISED		DOORBELL_LINE_RAISED
#define MASKED		VECTOR_MASKED
#define PENDING		DOORBELL_LINE_PENDING

FIXTURE(kernel_api) {
	struct capi c;
};

FIXTURE_SETUP(kernel_api)
{
	capi_setup(_metadata, &self->c);
	if (self->c.test < 0)
		SKIP(return, "%s: %s; load doorbell_test.ko", TEST_DEVICE, strerror(errno));
}

FIXTURE_TEARDOWN(kernel_api)
{
	capi_teardown(_metadata, &self->c);
}

TEST_F(kernel_api, ctx_errors)
{
	static const unsigned int gets[] = { TEST_CTX_FDGET, TEST_CTX_FILEGET };
	int fresh = new_context(_metadata, 0), null, pipes[2], closed, bad[6], nr = 0, i;
	struct capi *c = &self->c;
	unsigned int j;

	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, null);
	ASSERT_EQ(0, pipe(pipes));
	closed = dup(null);
	close(closed);
	bad[nr++] = null;
	bad[nr++] = pipes[0];
	bad[nr++] = c->out;
	bad[nr++] = c->test;
	/* A file of the device that is opened by its path only. */
	bad[nr++] = open(DEVICE, O_PATH | O_CLOEXEC);
	for (j = 0; j < ARRAY_SIZE(gets); j++) {
		struct test_call call = { .func = gets[j] };

		for (i = 0; i < nr; i++) {
			call.arg = bad[i];
			/* For fget() an O_PATH file is not open. */
			EXPECT_EQ(i == 4 ? -EBADF : -EINVAL, test_call(c, &call));
		}
		call.arg = closed;
		EXPECT_EQ(-EBADF, test_call(c, &call));
		call.arg = INT32_MAX;
		EXPECT_EQ(-EBADF, test_call(c, &call));
		call.arg = fresh;
		EXPECT_EQ(-ENXIO, test_call(c, &call));
	}
	EXPECT_EQ(-EBADF, get_ctx(c, -1));
	EXPECT_EQ(-EBADF, get_ctx(c, INT32_MIN));
	/* Only the lines were missing. */
	ASSERT_EQ(0, doorbell_set_lines(fresh, 1));
	EXPECT_EQ(1, get_ctx(c, fresh));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
	EXPECT_EQ(1, line_of(_metadata, fresh, 0).rings);
	EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));

	/* NULL and an ERR_PTR can be put. */
	EXPECT_EQ(0, call(c, TEST_CTX_PUT_NULL, 0));
	EXPECT_EQ(0, call(c, TEST_CTX_PUT_ERR, 0));
}

/* The first reference starts a worker in the process, if no irqfd has. */
TEST_F(kernel_api, ctx_has_a_worker)
{
	int db = new_context(_metadata, 1);
	struct capi *c = &self->c;
	pid_t tid;

	EXPECT_EQ(0, workers(getpid(), &tid));
	EXPECT_EQ(1, get_ctx(c, db));
	EXPECT_EQ(1, workers(getpid(), &tid));
	EXPECT_EQ(1, call(c, TEST_CTX_GET, 0));
	EXPECT_EQ(1, workers(getpid(), &tid));
	EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
	EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
}

/*
 * Each ring in a wake callback has an interrupt's whole budget, so no worker delivers. Without it,
 * deliveries to so many triggers would take more than the share of the time that interrupts have.
 */
#define NR_OF_BUDGET	8

TEST_F(kernel_api, rings_in_wake_ups_are_not_deferred)
{
	struct capi *c = &self->c;
	unsigned int i;

	pin_to(0);
	ASSERT_EQ(1, get_ctx(c, c->db));
	for (i = 1; i < NR_OF_BUDGET; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(c->db, new_eventfd(_metadata, 0, 0), 0));
	for (i = 0; i < 300; i++) {
		ASSERT_EQ(DOORBELL_RING_DELIVERED,
			  call_from(c, TEST_FROM_WAKE, TEST_RING, 0, 0));
		ASSERT_EQ(1, efd_wait(c->out));
	}
	EXPECT_EQ(0, settled(_metadata, c->db, 0).deferred);
}

/*
 * The interrupt of a device signals an irqfd's eventfd, as VFIO's does, on a processor where no
 * task rings. Interrupts deliver as long as this takes less than a tenth of the time. A host that
 * takes the processor away during a delivery makes the worker deliver for a while.
 */
#define NR_BY_INTERRUPTS	50

TEST_F(kernel_api, device_interrupts_are_not_deferred)
{
	int in = new_eventfd(_metadata, 0, 0);
	struct capi *c = &self->c;
	struct doorbell_query query;
	unsigned int i;

	pin_to(0);
	ASSERT_EQ(1, get_ctx(c, c->db));
	ASSERT_EQ(0, doorbell_assign_irqfd(c->db, in, 0));
	ASSERT_EQ(0, call_from(c, TEST_FROM_PROCESS, TEST_EVENTFD, 0, in));
	for (i = 0; i < 5000; i++) {
		int ret = call_from(c, TEST_FROM_HARDIRQ, TEST_SIGNAL, 0, 0);

		if (ret == -EINVAL)
			SKIP(return, "a PREEMPT_RT kernel");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(1, efd_wait(c->out));
		query = settled(_metadata, c->db, 0);
		if (query.deliveries - query.deferred >= NR_BY_INTERRUPTS)
			break;
		usleep(1000);
	}
	ksft_print_msg("%llu of %llu deliveries were deferred\n",
		       (unsigned long long)query.deferred, (unsigned long long)query.deliveries);
	EXPECT_LE(NR_BY_INTERRUPTS, query.deliveries - query.deferred);
}

/* By fd and by file it is the same context. */
TEST_F(kernel_api, ctx_get_and_put)
{
	struct capi *c = &self->c;
	int i;

	for (i = 0; i < 3; i++) {
		struct test_call get = {
			.func = i % 2 ? TEST_CTX_FILEGET : TEST_CTX_FDGET, .arg = dup(c->db),
		};

		EXPECT_EQ(1, test_call(c, &get));
		close(get.arg);
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
		EXPECT_EQ(1, efd_read(c->out));
		EXPECT_EQ(1, call(c, TEST_CTX_GET, 0));
		EXPECT_EQ(1, call(c, TEST_CTX_GET, 0));
		EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
		EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
		EXPECT_EQ(1, efd_read(c->out));
		EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
	}
	/* Userspace's own context does not change. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(c->db, 0));
	EXPECT_EQ(7, line_of(_metadata, c->db, 0).rings);
}

/* A context lives until its last reference is put, in any context. */
TEST_F(kernel_api, ctx_outlives_userspace)
{
	int in = new_eventfd(_metadata, 0, 0), other = new_context(_metadata, 1), from;
	struct capi *c = &self->c;
	long before = refcnt();
	int ret;

	for (from = 0; from < TEST_FROM_NR; from++) {
		int db = new_context(_metadata, 1), out = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
		ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
		ASSERT_EQ(1, get_ctx(c, db));
		ASSERT_EQ(1, call(c, TEST_CTX_GET, 0));
		close(db);
		/* The context works as before. */
		ASSERT_EQ(0, efd_write(in, 1));
		ASSERT_EQ(1, efd_wait(out));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
		EXPECT_EQ(1, efd_read(out));
		EXPECT_EQ(-EBUSY, doorbell_assign_irqfd(other, in, 0));
		EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
		EXPECT_EQ(1, efd_read(out));
		if (before >= 0) {
			EXPECT_EQ(before + 1, refcnt());
			EXPECT_EQ(-1, syscall(SYS_delete_module, "doorbell", O_NONBLOCK));
			EXPECT_EQ(EWOULDBLOCK, errno);
		}
		/* On PREEMPT_RT atomic contexts may not put it, and the module refuses to. */
		ret = call_from(c, from, TEST_CTX_PUT, 0, 0);
		if (ret) {
			EXPECT_EQ(-EINVAL, ret);
			EXPECT_TRUE(from && preempt_rt());
			EXPECT_EQ(0, call(c, TEST_CTX_PUT, 0));
		}
		/* The eventfd has no irqfd any more. */
		ASSERT_TRUE(WAIT_FOR(!doorbell_assign_irqfd(other, in, 0)));
		ASSERT_EQ(0, efd_write(in, 1));
		ASSERT_TRUE(WAIT_FOR(line_of(_metadata, other, 0).deliveries == from + 1));
		EXPECT_EQ(0, efd_count(out));
		ASSERT_EQ(0, doorbell_deassign_irqfd(other, in, 0));
		if (before >= 0)
			ASSERT_TRUE(WAIT_FOR(refcnt() == before));
	}
}

TEST_F(kernel_api, edge_line)
{
	struct capi *c = &self->c;

	ASSERT_EQ(1, get_ctx(c, c->db));
	EXPECT_EQ(0, call(c, TEST_STATE, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
	EXPECT_EQ(1, efd_read(c->out));
	EXPECT_EQ(1, call(c, TEST_MASK, 0));
	EXPECT_EQ(0, call(c, TEST_MASK, 0));
	EXPECT_EQ(0, call(c, TEST_MASK_NOSYNC, 0));
	EXPECT_EQ(MASKED, call(c, TEST_STATE, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, call(c, TEST_RING, 0));
	EXPECT_EQ(DOORBELL_RING_COALESCED, call(c, TEST_RING, 0));
	EXPECT_EQ(MASKED | PENDING, call(c, TEST_STATE, 0));
	EXPECT_EQ(MASKED | PENDING, line_of(_metadata, c->db, 0).state);
	EXPECT_EQ(0, efd_count(c->out));
	EXPECT_EQ(1, call(c, TEST_UNMASK, 0));
	EXPECT_EQ(1, efd_read(c->out));
	EXPECT_EQ(0, call(c, TEST_UNMASK, 0));
	EXPECT_EQ(1, call(c, TEST_MASK_NOSYNC, 0));
	EXPECT_EQ(0, call(c, TEST_CLEAR, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, call(c, TEST_RING, 0));
	EXPECT_EQ(1, call(c, TEST_CLEAR, 0));
	EXPECT_EQ(0, call(c, TEST_CLEAR, 0));
	EXPECT_EQ(0, call(c, TEST_UNMASK, 0));
	EXPECT_EQ(0, efd_count(c->out));
	EXPECT_EQ(-EOPNOTSUPP, call(c, TEST_ACK, 0));
	EXPECT_EQ(-EOPNOTSUPP, call_from(c, 0, TEST_SET_LEVEL, 0, 0));
	EXPECT_EQ(-EOPNOTSUPP, call_from(c, 0, TEST_SET_LEVEL, 0, 1));
	EXPECT_EQ(4, line_of(_metadata, c->db, 0).rings);
	EXPECT_EQ(1, line_of(_metadata, c->db, 0).dropped);
}

/* A moderated line delivers at the end of the interval what a module rings. */
TEST_F(kernel_api, moderation)
{
	static const unsigned int bad[] = {
		1, DOORBELL_MIN_INTERVAL - 1, DOORBELL_MAX_INTERVAL + 1,
	};
	const uint32_t moderated = DOORBELL_LINE_MODERATED;
	struct capi *c = &self->c;
	unsigned int from, i;
	uint64_t signals = 0;

	ASSERT_EQ(1, get_ctx(c, c->db));
	EXPECT_EQ(-ENXIO, call_from(c, 0, TEST_MODERATE, 99, DOORBELL_MIN_INTERVAL));
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, call_from(c, 0, TEST_MODERATE, 0, bad[i]));
	EXPECT_EQ(0, call(c, TEST_STATE, 0));
	for (from = 0; from < TEST_FROM_NR; from++) {
		EXPECT_EQ(0, call_from(c, 0, TEST_MODERATE, 0, 5 * DOORBELL_MIN_INTERVAL));
		EXPECT_EQ(moderated, call(c, TEST_STATE, 0));
		for (i = 0; i < 8; i++) {
			EXPECT_LE(0, call_from(c, from, TEST_RING, 0, 0));
			ASSERT_EQ(POLLIN, efd_await(c->out, POLLIN));
			signals += efd_read(c->out);
		}
		/* The last one of a burst waits until the limit is gone. */
		EXPECT_EQ(0, call_from(c, 0, TEST_MODERATE, 0, DOORBELL_MAX_INTERVAL));
		for (i = 0; i < 3; i++)
			EXPECT_LE(0, call_from(c, from, TEST_RING, 0, 0));
		EXPECT_EQ(0, call(c, TEST_MODERATE, 0));
		settled(_metadata, c->db, 0);
		EXPECT_EQ(0, call(c, TEST_STATE, 0));
		ASSERT_TRUE(WAIT_FOR((signals += efd_read(c->out)) ==
				     line_of(_metadata, c->db, 0).deliveries));
	}
}

/* A line stays masked until its last reason has ended. */
TEST_F(kernel_api, reasons)
{
	static const unsigned int masks[] = { TEST_MASK_FOR, TEST_MASK_FOR_NOSYNC };
	static const unsigned int all[] = { TEST_MASK_FOR, TEST_MASK_FOR_NOSYNC, TEST_UNMASK_FOR };
	const uint32_t vector = DOORBELL_MASK_VECTOR, function = DOORBELL_MASK_FUNCTION;
	struct capi *c = &self->c;
	unsigned int i, bit;

	ASSERT_EQ(1, get_ctx(c, c->db));
	for (i = 0; i < ARRAY_SIZE(masks); i++) {
		EXPECT_EQ(1, call_from(c, 0, masks[i], 0, function));
		EXPECT_EQ(MASKED_FOR(function), call(c, TEST_STATE, 0));
		EXPECT_EQ(0, call_from(c, 0, masks[i], 0, function | vector));
		EXPECT_EQ(MASKED_FOR(function | vector), call(c, TEST_STATE, 0));
		EXPECT_EQ(DOORBELL_RING_MASKED, call(c, TEST_RING, 0));
		EXPECT_EQ(0, call_from(c, 0, TEST_UNMASK_FOR, 0, function));
		EXPECT_EQ(MASKED_FOR(vector) | PENDING, call(c, TEST_STATE, 0));
		EXPECT_EQ(0, call_from(c, 0, TEST_UNMASK_FOR, 0, function));
		EXPECT_EQ(0, efd_count(c->out));
		EXPECT_EQ(1, call(c, TEST_UNMASK, 0));
		EXPECT_EQ(1, efd_read(c->out));
		EXPECT_EQ(0, call(c, TEST_STATE, 0));
	}
	/* A wrong reason is one in any state, and changes nothing. */
	EXPECT_EQ(1, call(c, TEST_MASK, 0));
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		EXPECT_EQ(-EINVAL, call_from(c, 0, all[i], 0, 0));
		for (bit = 4; bit < 32; bit++) {
			EXPECT_EQ(-EINVAL, call_from(c, 0, all[i], 0, 1U << bit));
			EXPECT_EQ(-EINVAL, call_from(c, 0, all[i], 0, 1U << bit | vector));
		}
		EXPECT_EQ(-EINVAL, call_from(c, 0, all[i], CAPI_LINES, 0));
	}
	EXPECT_EQ(MASKED, call(c, TEST_STATE, 0));
}

/* The end of an interrupt's handler, as a driver of an automask line has it. */
TEST_F(kernel_api, automask)
{
	struct capi *c = &self->c;
	int i;

	ASSERT_EQ(0, doorbell_set_type_automask(c->db, 0, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(1, get_ctx(c, c->db));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 0));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(1, efd_read(c->out));
		EXPECT_EQ(DOORBELL_LINE_AUTOMASK | MASKED_FOR(DOORBELL_MASK_AUTO),
			  call(c, TEST_STATE, 0));
		EXPECT_EQ(DOORBELL_RING_MASKED, call(c, TEST_RING, 0));
		EXPECT_EQ(0, efd_count(c->out));
		EXPECT_EQ(1, call_from(c, 0, TEST_UNMASK_FOR, 0, DOORBELL_MASK_AUTO));
	}
	EXPECT_EQ(1, efd_read(c->out));
	EXPECT_EQ(0, call_from(c, 0, TEST_UNMASK_FOR, 0, DOORBELL_MASK_AUTO));
	EXPECT_EQ(DOORBELL_LINE_AUTOMASK, call(c, TEST_STATE, 0));
}

TEST_F(kernel_api, level_line)
{
	int out = new_eventfd(_metadata, 0, 0), in = new_eventfd(_metadata, 0, 0);
	int res = new_eventfd(_metadata, 0, 0);
	struct capi *c = &self->c;

	ASSERT_EQ(0, doorbell_assign_trigger(c->db, out, 1));
	ASSERT_EQ(0, doorbell_assign_resampled(c->db, in, 1, res));
	ASSERT_EQ(1, get_ctx(c, c->db));
	EXPECT_EQ(LEVEL, call(c, TEST_STATE, 1));
	EXPECT_EQ(DOORBELL_ACK_NOTHING, call(c, TEST_ACK, 1));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call(c, TEST_RING, 1));
	EXPECT_EQ(DOORBELL_RING_COALESCED, call(c, TEST_RING, 1));
	EXPECT_EQ(LEVEL | ASSERTED, call(c, TEST_STATE, 1));
	EXPECT_EQ(DOORBELL_ACK_DONE, call(c, TEST_ACK, 1));
	EXPECT_EQ(1, efd_read(res));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, 0, TEST_SET_LEVEL, 1, 1));
	EXPECT_EQ(DOORBELL_RING_COALESCED, call_from(c, 0, TEST_SET_LEVEL, 1, 1));
	EXPECT_EQ(LEVEL | ASSERTED | RAISED, call(c, TEST_STATE, 1));
	EXPECT_EQ(DOORBELL_ACK_DONE, call(c, TEST_ACK, 1));
	EXPECT_EQ(2, efd_read(out));
	EXPECT_EQ(1, efd_read(res));
	EXPECT_EQ(1, call(c, TEST_MASK, 1));
	EXPECT_EQ(DOORBELL_ACK_POSTPONED, call(c, TEST_ACK, 1));
	EXPECT_EQ(LEVEL | MASKED | PENDING | RAISED | DOORBELL_LINE_RESAMPLE,
		  call(c, TEST_STATE, 1));
	EXPECT_EQ(1, call_from(c, 0, TEST_SET_LEVEL, 1, 0));
	EXPECT_EQ(0, call_from(c, 0, TEST_SET_LEVEL, 1, 0));
	EXPECT_EQ(0, efd_count(res));
	EXPECT_EQ(0, call(c, TEST_UNMASK, 1));
	EXPECT_EQ(1, efd_read(res));
	EXPECT_EQ(0, efd_count(out));
	EXPECT_EQ(LEVEL, call(c, TEST_STATE, 1));
}

/* Each function that takes a line, with a line that does not exist. */
TEST_F(kernel_api, no_such_line)
{
	static const uint32_t lines[] = {
		CAPI_LINES, DOORBELL_MAX_LINES, DOORBELL_MAX_LINES + 1, 1U << 31, UINT32_MAX,
	};
	struct capi *c = &self->c;
	unsigned int i, func, arg;

	ASSERT_EQ(1, get_ctx(c, c->db));
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		for (func = TEST_ASSIGN_TRIGGER; func <= TEST_SET_LEVEL; func++) {
			arg = func == TEST_MODERATE ? DOORBELL_MIN_INTERVAL : DOORBELL_NOTIFY_MASK;
			EXPECT_EQ(-ENXIO, call_assign(c, func, lines[i], arg, 0)) {
				TH_LOG("function %u", func);
			}
		}
	}
	EXPECT_EQ(0, info_of(_metadata, c->db).nr_triggers - 1);
	EXPECT_EQ(0, info_of(_metadata, c->db).nr_notifiers);
}

static const char * const from_names[] = {
	"process", "irqs off", "softirq", "hardirq", "wake callback", "worker",
	"worker, irqs off",
};

/* A ring of each line, from any context, is one delivery. */
TEST_F(kernel_api, ring_from_anywhere)
{
	struct capi *c = &self->c;
	int from, i;

	ASSERT_EQ(1, get_ctx(c, c->db));
	for (from = 0; from < TEST_FROM_NR; from++) {
		for (i = 0; i < 20; i++) {
			EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, from, TEST_RING, 0, 0)) {
				TH_LOG("from %s", from_names[from]);
			}
			ASSERT_EQ(1, efd_wait(c->out));
		}
		EXPECT_EQ(20 * (from + 1), settled(_metadata, c->db, 0).deliveries);
		EXPECT_EQ(1, doorbell_mask(c->db, 0));
		EXPECT_EQ(0, call_from(c, from, TEST_STATE, 0, 0) - MASKED);
		EXPECT_EQ(DOORBELL_RING_MASKED, call_from(c, from, TEST_RING, 0, 0));
		EXPECT_EQ(DOORBELL_RING_COALESCED, call_from(c, from, TEST_RING, 0, 0));
		EXPECT_EQ(-ENXIO, call_from(c, from, TEST_RING, CAPI_LINES, 0));
		EXPECT_EQ(1, doorbell_clear(c->db, 0));
		EXPECT_EQ(0, doorbell_unmask(c->db, 0));
		EXPECT_EQ(0, efd_count(c->out));
	}
	EXPECT_EQ(22 * TEST_FROM_NR, line_of(_metadata, c->db, 0).rings);
}

/* A line with waiters delivers before the call returns, in any context, on PREEMPT_RT, too. */
TEST_F(kernel_api, waiters_from_anywhere)
{
	struct capi *c = &self->c;
	uint64_t count;
	int from, i;

	ASSERT_EQ(0, doorbell_assign_waiters(c->db, 1));
	ASSERT_EQ(0, doorbell_assign_waiters(c->db, 2));
	ASSERT_EQ(1, get_ctx(c, c->db));
	for (from = 0; from < TEST_FROM_NR; from++) {
		for (i = 1; i < 5; i++) {
			EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, from, TEST_RING, 2, 0)) {
				TH_LOG("from %s", from_names[from]);
			}
			EXPECT_EQ(0, doorbell_wait(c->db, 2, 0, &count)) {
				TH_LOG("from %s", from_names[from]);
			}
			EXPECT_EQ(1, count);
		}
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, from, TEST_SET_LEVEL, 1, 1));
		EXPECT_EQ(0, doorbell_wait(c->db, 1, 0, &count));
		EXPECT_EQ(0, call_from(c, from, TEST_SET_LEVEL, 1, 0));
		EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(c->db, 1));
	}
	EXPECT_EQ(4 * TEST_FROM_NR, line_of(_metadata, c->db, 2).rings);
	EXPECT_EQ(0, line_of(_metadata, c->db, 2).deferred);
	EXPECT_EQ(-EBUSY, call_assign(c, TEST_ASSIGN_TRIGGER, 2, 0, 0));
}

TEST_F(kernel_api, set_level_from_anywhere)
{
	int out = new_eventfd(_metadata, 0, 0), from, i;
	struct capi *c = &self->c;

	ASSERT_EQ(0, doorbell_assign_trigger(c->db, out, 1));
	ASSERT_EQ(1, get_ctx(c, c->db));
	for (from = 0; from < TEST_FROM_NR; from++) {
		for (i = 0; i < 20; i++) {
			EXPECT_EQ(DOORBELL_RING_DELIVERED,
				  call_from(c, from, TEST_SET_LEVEL, 1, 1)) {
				TH_LOG("from %s", from_names[from]);
			}
			ASSERT_EQ(1, efd_wait(out));
			EXPECT_EQ(LEVEL | ASSERTED | RAISED, settled(_metadata, c->db, 1).state);
			EXPECT_EQ(0, call_from(c, from, TEST_SET_LEVEL, 1, 0));
			EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(c->db, 1));
			EXPECT_EQ(0, efd_count(out));
		}
		EXPECT_EQ(1, doorbell_mask(c->db, 1));
		EXPECT_EQ(DOORBELL_RING_MASKED, call_from(c, from, TEST_SET_LEVEL, 1, 1));
		EXPECT_EQ(1, call_from(c, from, TEST_SET_LEVEL, 1, 0));
		EXPECT_EQ(0, call_from(c, from, TEST_SET_LEVEL, 1, 0));
		EXPECT_EQ(from + 1, line_of(_metadata, c->db, 1).dropped);
		EXPECT_EQ(LEVEL | MASKED, line_of(_metadata, c->db, 1).state);
		EXPECT_EQ(0, doorbell_unmask(c->db, 1));
		EXPECT_EQ(-EOPNOTSUPP, call_from(c, from, TEST_SET_LEVEL, 0, 1));
	}
	EXPECT_EQ(21 * TEST_FROM_NR, line_of(_metadata, c->db, 1).rings);
	EXPECT_EQ(20 * TEST_FROM_NR, line_of(_metadata, c->db, 1).acks);
}

/* The other functions that do not sleep, in interrupts; on PREEMPT_RT not allowed there. */
TEST_F(kernel_api, ack_and_mask_from_interrupts)
{
	static const int froms[] = { TEST_FROM_IRQS_OFF, TEST_FROM_SOFTIRQ, TEST_FROM_HARDIRQ };
	int in = new_eventfd(_metadata, 0, 0), res = new_eventfd(_metadata, 0, 0);
	int notified = new_eventfd(_metadata, 0, 0), out = new_eventfd(_metadata, 0, 0);
	const uint32_t all = DOORBELL_NOTIFY_MASK | DOORBELL_NOTIFY_UNMASK | DOORBELL_NOTIFY_ACK;
	struct capi *c = &self->c;
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(c->db, out, 1));
	ASSERT_EQ(0, doorbell_assign_resampled(c->db, in, 1, res));
	ASSERT_EQ(0, doorbell_assign_notifier(c->db, notified, 1, all));
	ASSERT_EQ(1, get_ctx(c, c->db));
	if (call_from(c, TEST_FROM_HARDIRQ, TEST_ACK, 1, 0) == -EINVAL)
		SKIP(return, "a PREEMPT_RT kernel");
	for (i = 0; i < ARRAY_SIZE(froms); i++) {
		const int from = froms[i];

		EXPECT_EQ(DOORBELL_ACK_NOTHING, call_from(c, from, TEST_ACK, 1, 0));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, from, TEST_RING, 1, 0));
		ASSERT_EQ(1, efd_wait(out));
		EXPECT_EQ(DOORBELL_ACK_DONE, call_from(c, from, TEST_ACK, 1, 0));
		EXPECT_EQ(1, efd_read(res));
		EXPECT_EQ(1, efd_read(notified));
		EXPECT_EQ(DOORBELL_RING_DELIVERED, call_from(c, from, TEST_RING, 1, 0));
		ASSERT_EQ(1, efd_wait(out));
		EXPECT_EQ(1, call_from(c, from, TEST_MASK_NOSYNC, 1, 0));
		EXPECT_EQ(0, call_from(c, from, TEST_MASK_NOSYNC, 1, 0));
		EXPECT_EQ(1, efd_read(notified));
		EXPECT_EQ(DOORBELL_ACK_POSTPONED, call_from(c, from, TEST_ACK, 1, 0));
		EXPECT_EQ(1, efd_read(notified));
		EXPECT_EQ(DOORBELL_RING_MASKED, call_from(c, from, TEST_RING, 1, 0));
		EXPECT_EQ(0, efd_count(res));
		EXPECT_EQ(1, call_from(c, from, TEST_UNMASK, 1, 0));
		EXPECT_EQ(1, efd_read(out));
		EXPECT_EQ(1, efd_read(res));
		EXPECT_EQ(1, efd_read(notified));
		EXPECT_EQ(0, call_from(c, from, TEST_UNMASK, 1, 0));
		EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(c->db, 1));
		EXPECT_EQ(1, efd_read(res));
		EXPECT_EQ(1, efd_read(notified));
		/* Only the whole transitions are notified. */
		EXPECT_EQ(1, call_from(c, from, TEST_MASK_FOR_NOSYNC, 1, DOORBELL_MASK_PAUSE));
		EXPECT_EQ(0, call_from(c, from, TEST_MASK_NOSYNC, 1, 0));
		EXPECT_EQ(DOORBELL_RING_MASKED, call_from(c, from, TEST_RING, 1, 0));
		EXPECT_EQ(0, call_from(c, from, TEST_UNMASK, 1, 0));
		EXPECT_EQ(1, efd_read(notified));
		EXPECT_EQ(1, call_from(c, from, TEST_UNMASK_FOR, 1, DOORBELL_MASK_PAUSE));
		EXPECT_EQ(1, efd_read(notified));
		EXPECT_EQ(1, efd_read(out));
		EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(c->db, 1));
		EXPECT_EQ(1, efd_read(res));
		EXPECT_EQ(1, efd_read(notified));
	}
}

TEST_HARNESS_MAIN
