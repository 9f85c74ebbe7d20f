// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings that the client library skips: exactly those that would coalesce, and no consumer
 * sleeps while data is there.
 */
#include <doorbell_wait.h>

#include "doorbell_test.h"

#define SKIPPED		DOORBELL_RING_SKIPPED
#define PENDING		DOORBELL_LINE_PENDING
#define MASKED		VECTOR_MASKED
#define LEVEL		DOORBELL_LINE_LEVEL
#define ASSERTED	DOORBELL_LINE_ASSERTED
#define RAISED		DOORBELL_LINE_RAISED

#define ITEMS_MIN	1000
#define ITEMS_MAX	100000
#define SLOTS		64

FIXTURE(rules) {
	int kmsg;
	int db;
	int out;
	struct doorbell_status_pages pages;
	const struct doorbell_line_status *status;
};

FIXTURE_SETUP(rules)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 2);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	ASSERT_EQ(0, doorbell_map_status(self->db, &self->pages));
	self->status = self->pages.base;
}

FIXTURE_TEARDOWN(rules)
{
	EXPECT_EQ(0, doorbell_unmap_status(&self->pages));
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define RING()	doorbell_ring_if_needed(self->db, &self->pages, 0)

TEST_F(rules, pending_edge_line_is_skipped)
{
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(2, efd_read(self->out));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, RING());
	EXPECT_EQ(SKIPPED, RING());
	EXPECT_EQ(SKIPPED, RING());
	EXPECT_STATE(0, MASKED | PENDING);
	/* The module has not seen the skipped ones. */
	EXPECT_EQ(0, self->status->coalesced);
	EXPECT_EQ(3, line_of(_metadata, self->db, 0).rings);
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(1, efd_read(self->out));
}

TEST_F(rules, cleared_line_is_rung_again)
{
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, RING());
	EXPECT_EQ(SKIPPED, RING());
	EXPECT_EQ(1, doorbell_clear(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, RING());
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
}

TEST_F(rules, asserted_level_line_is_skipped_until_the_ack)
{
	ASSERT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_STATE(0, LEVEL | ASSERTED);
	EXPECT_EQ(SKIPPED, RING());
	EXPECT_EQ(1, efd_read(self->out));
	EXPECT_EQ(SKIPPED, RING());
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(1, efd_read(self->out));
}

TEST_F(rules, asserted_message_that_is_held_is_skipped)
{
	ASSERT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, RING());
	EXPECT_STATE(0, LEVEL | MASKED | PENDING | ASSERTED);
	EXPECT_EQ(SKIPPED, RING());
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
}

/* The message of a raised level is withdrawn with the level, unless a ring has asserted it. */
TEST_F(rules, raised_level_is_rung)
{
	ASSERT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_set_level(self->db, 0, 1));
	EXPECT_STATE(0, LEVEL | MASKED | PENDING | RAISED);
	EXPECT_EQ(DOORBELL_RING_COALESCED, RING());
	EXPECT_EQ(SKIPPED, RING());
	EXPECT_EQ(0, doorbell_set_level(self->db, 0, 0));
	EXPECT_EQ(1, doorbell_unmask(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
}

TEST_F(rules, missing_line_is_an_error)
{
	EXPECT_EQ(-ENXIO, doorbell_ring_if_needed(self->db, &self->pages, 2));
	EXPECT_EQ(1, doorbell_ring_is_needed(&self->pages, 2));
	/* The next line is another one. */
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_MASKED, RING());
	EXPECT_EQ(0, doorbell_ring_is_needed(&self->pages, 0));
	EXPECT_EQ(1, doorbell_ring_is_needed(&self->pages, 1));
}

TEST_F(rules, wait_returns_each_delivery_once)
{
	struct doorbell_spin_wait wait;
	uint64_t count;

	/* From before: not returned. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	doorbell_spin_wait_init(&wait, &self->pages, 0, self->out, 200000);
	EXPECT_EQ(0, doorbell_spin_wait(&wait, 0, &count));
	EXPECT_EQ(0, count);
	EXPECT_EQ(0, efd_read(self->out));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(0, doorbell_spin_wait(&wait, -1, &count));
	EXPECT_EQ(2, count);
	/* The signals are left in the trigger. The next sleep consumes them. */
	EXPECT_EQ(POLLIN, efd_poll(self->out, POLLIN, 0));
	EXPECT_EQ(0, doorbell_spin_wait(&wait, 1, &count));
	EXPECT_EQ(0, count);
	EXPECT_EQ(0, efd_poll(self->out, POLLIN, 0));
	wait.trigger = -1;
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(0, doorbell_spin_wait(&wait, -1, &count));
	EXPECT_EQ(1, count);
}

/* Signals without a delivery keep the trigger readable, as those of another process do. */
TEST_F(rules, wait_ends_at_its_timeout_while_the_trigger_is_readable)
{
	int noise = new_eventfd(_metadata, 1000000, EFD_SEMAPHORE);
	struct doorbell_spin_wait wait;
	uint64_t count;

	doorbell_spin_wait_init(&wait, &self->pages, 0, noise, 0);
	EXPECT_EQ(0, doorbell_spin_wait(&wait, 0, &count));
	EXPECT_EQ(0, count);
	EXPECT_EQ(999999, efd_count(noise));
	/* They do not hide a delivery. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(0, doorbell_spin_wait(&wait, 1, &count));
	EXPECT_EQ(1, count);
}

TEST_F(rules, window_adapts_as_in_kvm)
{
	struct doorbell_spin_wait wait = { .max_ns = 200000 };

	doorbell_wait_adapt(&wait, 200001);
	EXPECT_EQ(0, wait.window_ns);
	doorbell_wait_adapt(&wait, 200000);
	EXPECT_EQ(10000, wait.window_ns);
	doorbell_wait_adapt(&wait, 10000);
	EXPECT_EQ(10000, wait.window_ns);
	doorbell_wait_adapt(&wait, 10001);
	EXPECT_EQ(20000, wait.window_ns);
	wait.window_ns = 160000;
	doorbell_wait_adapt(&wait, 170000);
	EXPECT_EQ(200000, wait.window_ns);
	doorbell_wait_adapt(&wait, 300000);
	EXPECT_EQ(100000, wait.window_ns);
	wait.window_ns = 19999;
	doorbell_wait_adapt(&wait, 300000);
	EXPECT_EQ(0, wait.window_ns);
}

/* A wait in a thread that may run on one CPU only does not poll. */
TEST_F(rules, single_cpu_does_not_poll)
{
	struct doorbell_spin_wait wait;
	uint64_t count;

	pin_to(0);
	doorbell_spin_wait_init(&wait, &self->pages, 0, self->out, 200000);
	wait.window_ns = 10000000;
	EXPECT_EQ(0, doorbell_spin_wait(&wait, 1, &count));
	EXPECT_EQ(0, wait.window_ns);
	EXPECT_EQ(DOORBELL_WAIT_SINGLE_CPU, wait.single_cpu);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, RING());
	EXPECT_EQ(0, doorbell_spin_wait(&wait, -1, &count));
	EXPECT_EQ(1, count);
	/* Sleeps: the signal of the last wait first. */
	EXPECT_EQ(0, doorbell_spin_wait(&wait, 1, &count));
	EXPECT_EQ(0, count);
	EXPECT_EQ(DOORBELL_WAIT_SINGLE_CPU - 1, wait.single_cpu);
}

/* A queue of numbers in memory, whose consumer sleeps on a trigger of line 0. */
struct queue {
	int db;
	int irqfd;
	int trigger;
	struct doorbell_status_pages pages;
	uint64_t slots[SLOTS];
	atomic_ulong head;
	atomic_ulong tail;
	atomic_ulong wrong;
	atomic_bool stop;
	/* The last count that the consumer has seen. */
	uint64_t deliveries;
	struct doorbell_spin_wait spin;
	bool (*wait)(struct queue *queue);
	void (*consume)(struct queue *queue);
};

/* Consumes all items that are there. */
static void drain(struct queue *queue)
{
	unsigned long tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);

	while (tail != atomic_load_explicit(&queue->head, memory_order_acquire)) {
		if (queue->slots[tail % SLOTS] != tail)
			atomic_fetch_add(&queue->wrong, 1);
		atomic_store_explicit(&queue->tail, ++tail, memory_order_release);
	}
}

static void drain_under_mask(struct queue *queue)
{
	doorbell_mask(queue->db, 0);
	drain(queue);
	doorbell_unmask(queue->db, 0);
}

/* Polls again after the clear, as a driver does after napi_complete_done(). */
static void drain_and_clear(struct queue *queue)
{
	doorbell_mask(queue->db, 0);
	drain(queue);
	doorbell_clear(queue->db, 0);
	/* An item whose ring was skipped because of that message. */
	drain(queue);
	doorbell_unmask(queue->db, 0);
}

static void drain_and_ack(struct queue *queue)
{
	drain(queue);
	doorbell_ack(queue->db, 0);
	/* An item whose ring was skipped because the line was asserted. */
	drain(queue);
}

/* Returns true if the trigger was signalled. */
static bool wait_for_trigger(struct queue *queue)
{
	return efd_poll(queue->trigger, POLLIN, WAIT_SLICE_MS) > 0 && efd_read(queue->trigger);
}

/* Returns true if a delivery was counted. */
static bool wait_for_counter(struct queue *queue)
{
	const struct doorbell_line_status *status = doorbell_status_of(&queue->pages, 0);
	uint64_t now = __atomic_load_n(&status->deliveries, __ATOMIC_ACQUIRE);

	if (now == queue->deliveries) {
		sched_yield();
		return false;
	}
	queue->deliveries = now;
	return true;
}

/* Returns true if a delivery was counted. */
static bool wait_spinning(struct queue *queue)
{
	uint64_t count;

	return !doorbell_spin_wait(&queue->spin, WAIT_SLICE_MS, &count) && count;
}

static void *consumer(void *arg)
{
	struct queue *queue = arg;

	pin_to(1);
	/* Never looks for items unless it is notified. */
	while (!atomic_load(&queue->stop)) {
		if (queue->wait(queue))
			queue->consume(queue);
	}
	return NULL;
}

FIXTURE(queue) {
	int kmsg;
	struct queue queue;
};

FIXTURE_VARIANT(queue) {
	bool (*wait)(struct queue *queue);
	void (*consume)(struct queue *queue);
	bool level;
	bool by_irqfd;
};

FIXTURE_VARIANT_ADD(queue, awake) {
	.wait = wait_for_trigger, .consume = drain,
};

FIXTURE_VARIANT_ADD(queue, masked) {
	.wait = wait_for_trigger, .consume = drain_under_mask,
};

FIXTURE_VARIANT_ADD(queue, cleared) {
	.wait = wait_for_trigger, .consume = drain_and_clear,
};

FIXTURE_VARIANT_ADD(queue, polled) {
	.wait = wait_for_counter, .consume = drain_and_clear,
};

FIXTURE_VARIANT_ADD(queue, spinning) {
	.wait = wait_spinning, .consume = drain_and_clear,
};

FIXTURE_VARIANT_ADD(queue, level) {
	.wait = wait_for_trigger, .consume = drain_and_ack, .level = true,
};

FIXTURE_VARIANT_ADD(queue, irqfd) {
	.wait = wait_for_trigger, .consume = drain_and_clear, .by_irqfd = true,
};

FIXTURE_SETUP(queue)
{
	struct queue *queue = &self->queue;

	self->kmsg = kmsg_open();
	queue->wait = variant->wait;
	queue->consume = variant->consume;
	queue->db = new_context(_metadata, 1);
	queue->trigger = new_eventfd(_metadata, 0, 0);
	queue->irqfd = new_eventfd(_metadata, 0, 0);
	if (variant->level)
		ASSERT_EQ(0, doorbell_set_type(queue->db, 0, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_trigger(queue->db, queue->trigger, 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(queue->db, queue->irqfd, 0));
	ASSERT_EQ(0, doorbell_map_status(queue->db, &queue->pages));
	doorbell_spin_wait_init(&queue->spin, &queue->pages, 0, queue->trigger, 200000);
}

FIXTURE_TEARDOWN(queue)
{
	EXPECT_EQ(0, doorbell_unmap_status(&self->queue.pages));
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Rings the line if that is needed. Returns the number of rings, or a negative errno. */
static int ring(struct queue *queue, bool by_irqfd)
{
	int ret;

	if (!by_irqfd) {
		ret = doorbell_ring_if_needed(queue->db, &queue->pages, 0);
		return ret < 0 ? ret : ret != DOORBELL_RING_SKIPPED;
	}
	if (!doorbell_ring_is_needed(&queue->pages, 0))
		return 0;
	ret = efd_write(queue->irqfd, 1);
	return ret < 0 ? ret : 1;
}

TEST_F(queue, conserved)
{
	struct rounds race = ROUNDS(ITEMS_MIN, ITEMS_MAX);
	struct queue *queue = &self->queue;
	unsigned long items = 0, rung = 0;
	bool progress = true;
	pthread_t thread;

	pin_to(0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, consumer, queue));
	while (more_rounds(&race, items)) {
		int ret;

		/* The consumer that makes no progress sleeps although there are items. */
		progress = SPIN_FOR(items - atomic_load(&queue->tail) < SLOTS);
		if (!progress)
			break;
		queue->slots[items % SLOTS] = items;
		/* Not a locked instruction, which would be a fence on x86. */
		atomic_store_explicit(&queue->head, ++items, memory_order_release);
		ret = ring(queue, variant->by_irqfd);
		ASSERT_LE(0, ret);
		rung += ret;
		if (items % SLOTS == 0)
			dither(items / SLOTS);
	}
	progress = progress && SPIN_FOR(atomic_load(&queue->tail) == items);
	ASSERT_TRUE(progress) {
		TH_LOG("the consumer sleeps with %lu of %lu items unseen",
		       items - atomic_load(&queue->tail), items);
	}
	atomic_store(&queue->stop, true);
	pthread_join(thread, NULL);
	EXPECT_LE(ITEMS_MIN, items);
	EXPECT_EQ(0, queue->wrong);
	/* Each ring is counted, and each skipped one is not. */
	EXPECT_EQ(rung, settled(_metadata, queue->db, 0).rings);
	ksft_print_msg("%lu items, %lu rings skipped\n", items, items - rung);
}

TEST_HARNESS_MAIN
