// SPDX-License-Identifier: GPL-2.0-only
/*
 * Automask lines: a line that masks itself when it delivers makes no second delivery before
 * the unmask, by any way to ring and to deliver. Runs as a 32-bit program, too.
 */
#include "bus.h"
#include "level.h"

#define AUTO		DOORBELL_MASK_AUTO
#define AUTOMASK	DOORBELL_LINE_AUTOMASK
#define AUTOMASKED	(AUTOMASK | MASKED_FOR(AUTO))
#define EDGE		DOORBELL_TYPE_EDGE

/* The lines of the fixture: a level line with a resamplefd, and an edge line. */
#define LEVEL_LINE	0
#define IRQ_LINE		1

FIXTURE(automask) {
	LEVEL_FIXTURE;
};

FIXTURE_SETUP(automask)
{
	LEVEL_SETUP();
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, LEVEL_LINE, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_set_type(self->db, IRQ_LINE, EDGE));
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, IRQ_LINE, EDGE));
}

FIXTURE_TEARDOWN(automask)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Ends a delivery. Returns 1 if that started the next one. */
static int handled(int db, uint32_t line)
{
	return doorbell_unmask_for(db, line, AUTO);
}

TEST_F(automask, one_delivery_for_each_unmask)
{
	int i;

	EXPECT_STATE(IRQ_LINE, AUTOMASK);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
		EXPECT_STATE(IRQ_LINE, AUTOMASKED);
		EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
		EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, IRQ_LINE));
		FLUSH();
		EXPECT_EQ(0, efd_count(self->out[IRQ_LINE]));
		EXPECT_STATE(IRQ_LINE, AUTOMASKED | PENDING);
		EXPECT_EQ(1, handled(self->db, IRQ_LINE));
	}
	EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
	EXPECT_STATE(IRQ_LINE, AUTOMASKED);
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, AUTOMASK);
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	EXPECT_EQ(0, efd_count(self->out[IRQ_LINE]));
	EXPECT_ACCOUNTS(IRQ_LINE, 7, 4, 0);
	EXPECT_EQ(3, self->status[IRQ_LINE].coalesced);
}

/* An irqfd, which is relayed; its irq_work delivers. */
TEST_F(automask, irqfd)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, efd_write(self->in[IRQ_LINE], 1));
		ASSERT_EQ(1, efd_wait(self->out[IRQ_LINE]));
		EXPECT_EQ(AUTOMASKED, settled(_metadata, self->db, IRQ_LINE).state);
		ASSERT_EQ(0, efd_write(self->in[IRQ_LINE], 5));
		ASSERT_EQ(0, efd_write(self->in[IRQ_LINE], 1));
		FLUSH();
		EXPECT_EQ(0, efd_count(self->out[IRQ_LINE]));
		EXPECT_STATE(IRQ_LINE, AUTOMASKED | PENDING);
		EXPECT_EQ(1, handled(self->db, IRQ_LINE));
		EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
		EXPECT_EQ(0, handled(self->db, IRQ_LINE));
		EXPECT_STATE(IRQ_LINE, AUTOMASK);
	}
	EXPECT_ACCOUNTS(IRQ_LINE, 9, 6, 0);
}

/* A relay from another context, and a region of the bus. */
TEST_F(automask, relay_and_region)
{
	int other = new_context(_metadata, 1);

	link_lines(_metadata, other, 0, self->db, IRQ_LINE);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(other, 0));
	ASSERT_EQ(1, efd_wait(self->out[IRQ_LINE]));
	EXPECT_EQ(AUTOMASKED, settled(_metadata, self->db, IRQ_LINE).state);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(other, 0));
	ASSERT_EQ(0, change_region(self->db, to_line(0x1000, 4, IRQ_LINE)));
	ASSERT_EQ(0, mmio_write(self->db, 0x1000, 4, 1));
	FLUSH();
	EXPECT_EQ(0, efd_count(self->out[IRQ_LINE]));
	EXPECT_STATE(IRQ_LINE, AUTOMASKED | PENDING);
	EXPECT_EQ(1, handled(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	ASSERT_EQ(0, mmio_write(self->db, 0x1000, 4, 1));
	ASSERT_EQ(1, efd_wait(self->out[IRQ_LINE]));
	EXPECT_STATE(IRQ_LINE, AUTOMASKED);
}

/* Behind so many relays that the worker delivers. */
TEST_F(automask, worker)
{
	const uint32_t nr = 40;
	int db = new_context(_metadata, nr), out = new_eventfd(_metadata, 0, 0);
	uint32_t i;

	for (i = 1; i < nr; i++)
		link_lines(_metadata, db, i - 1, db, i);
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, nr - 1));
	ASSERT_EQ(0, doorbell_set_type_automask(db, nr - 1, EDGE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	ASSERT_EQ(1, efd_wait(out));
	EXPECT_EQ(1, settled(_metadata, db, nr - 1).deferred);
	EXPECT_EQ(AUTOMASKED, line_of(_metadata, db, nr - 1).state);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
		ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, nr - 1).rings == i + 2));
		EXPECT_EQ(0, efd_count(out));
		EXPECT_EQ(AUTOMASKED | PENDING, line_of(_metadata, db, nr - 1).state);
		EXPECT_EQ(1, handled(db, nr - 1));
		EXPECT_EQ(1, efd_read(out));
	}
}

/* The line's own mask is one reason among others. */
TEST_F(automask, other_reasons)
{
	EXPECT_EQ(1, doorbell_mask(self->db, IRQ_LINE));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, AUTOMASK | VECTOR_MASKED | PENDING);
	/* No delivery, no mask of its own. */
	EXPECT_EQ(1, doorbell_unmask(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
	EXPECT_STATE(IRQ_LINE, AUTOMASKED);
	EXPECT_EQ(0, doorbell_mask(self->db, IRQ_LINE));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, AUTOMASK | VECTOR_MASKED | PENDING);
	EXPECT_EQ(0, efd_count(self->out[IRQ_LINE]));
	EXPECT_EQ(1, doorbell_unmask(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
	/* A mask of the vector does not end with the delivery's, nor the other way round. */
	EXPECT_EQ(0, doorbell_unmask(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, AUTOMASKED);

	/* Any caller can set the reason, and the line then holds its first message. */
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	EXPECT_EQ(1, doorbell_mask_for(self->db, IRQ_LINE, AUTO));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(1, handled(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
	/* A message that is cleared is not delivered. */
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(1, doorbell_clear(self->db, IRQ_LINE));
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	EXPECT_EQ(0, efd_count(self->out[IRQ_LINE]));
	EXPECT_STATE(IRQ_LINE, AUTOMASK);
}

/* The mode changes in any state; a mask that the line has set stays. */
TEST_F(automask, mode_changes_in_use)
{
	ASSERT_EQ(0, doorbell_set_type(self->db, IRQ_LINE, EDGE));
	EXPECT_STATE(IRQ_LINE, 0);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(2, efd_read(self->out[IRQ_LINE]));
	/* With a message pending. */
	EXPECT_EQ(1, doorbell_mask(self->db, IRQ_LINE));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, IRQ_LINE, EDGE));
	EXPECT_STATE(IRQ_LINE, AUTOMASK | VECTOR_MASKED | PENDING);
	EXPECT_EQ(1, doorbell_unmask(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, AUTOMASKED);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	ASSERT_EQ(0, doorbell_set_type(self->db, IRQ_LINE, EDGE));
	EXPECT_STATE(IRQ_LINE, MASKED_FOR(AUTO) | PENDING);
	EXPECT_EQ(1, handled(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, 0);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(3, efd_read(self->out[IRQ_LINE]));

	/* Of a level line that is asserted, with the same type; another type is EBUSY. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	ASSERT_EQ(0, doorbell_set_type(self->db, LEVEL_LINE, DOORBELL_TYPE_LEVEL));
	EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED | MASKED_FOR(AUTO));
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, LEVEL_LINE, DOORBELL_TYPE_LEVEL));
	EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED | AUTOMASKED);
	EXPECT_EQ(-EBUSY, doorbell_set_type(self->db, LEVEL_LINE, EDGE));
	EXPECT_EQ(-EBUSY, doorbell_set_type_automask(self->db, LEVEL_LINE, EDGE));
	EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED | AUTOMASKED);
	/* A line that is idle but masked by itself changes its type, and keeps the mask. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, IRQ_LINE, EDGE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	ASSERT_EQ(0, doorbell_set_type_automask(self->db, IRQ_LINE, DOORBELL_TYPE_LEVEL));
	EXPECT_STATE(IRQ_LINE, LEVEL | AUTOMASKED);
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, LEVEL | AUTOMASK);
}

/* A delivery to no trigger is one: the line masks itself, and holds the next message. */
TEST_F(automask, without_trigger)
{
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->out[IRQ_LINE], IRQ_LINE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_STATE(IRQ_LINE, AUTOMASKED);
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out[IRQ_LINE], IRQ_LINE));
	EXPECT_EQ(0, efd_count(self->out[IRQ_LINE]));
	EXPECT_EQ(1, handled(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(self->out[IRQ_LINE]));
	EXPECT_ACCOUNTS(IRQ_LINE, 2, 2, 0);

	/* A level line's message waits for its first trigger, which gets it with the unmask. */
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->out[LEVEL_LINE], LEVEL_LINE));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LEVEL_LINE));
	EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED | AUTOMASKED);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out[LEVEL_LINE], LEVEL_LINE));
	EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED | AUTOMASKED | PENDING);
	EXPECT_EQ(0, efd_count(self->out[LEVEL_LINE]));
	EXPECT_EQ(1, handled(self->db, LEVEL_LINE));
	EXPECT_EQ(1, efd_read(self->out[LEVEL_LINE]));
	EXPECT_STATE(LEVEL_LINE, LEVEL | ASSERTED | AUTOMASKED);
}

/*
 * VFIO's INTx: the device asserts, the delivery masks the line, the guest acks (EOI), and
 * the unmask makes the device check again.
 */
TEST_F(automask, intx)
{
	const uint32_t line = LEVEL_LINE;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, efd_write(self->in[line], 1));
		ASSERT_EQ(1, efd_wait(self->out[line]));
		EXPECT_EQ(LEVEL | ASSERTED | AUTOMASKED, settled(_metadata, self->db, line).state);
		/* The device asserts while the guest serves it. */
		ASSERT_EQ(0, efd_write(self->in[line], 1));
		EXPECT_EQ(POSTPONED, doorbell_ack(self->db, line));
		EXPECT_STATE(line, LEVEL | AUTOMASKED | RESAMPLE);
		FLUSH();
		EXPECT_EQ(0, efd_count(self->res[0]));
		EXPECT_EQ(0, efd_count(self->out[line]));
		EXPECT_EQ(0, handled(self->db, line));
		EXPECT_EQ(1, efd_read(self->res[0]));
		EXPECT_STATE(line, LEVEL | AUTOMASK);
	}
	/* It asserts between the ack and the unmask: that is the next delivery. */
	ASSERT_EQ(0, efd_write(self->in[line], 1));
	ASSERT_EQ(1, efd_wait(self->out[line]));
	settled(_metadata, self->db, line);
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, line));
	ASSERT_EQ(0, efd_write(self->in[line], 1));
	EXPECT_STATE(line, LEVEL | AUTOMASKED | RESAMPLE | ASSERTED | PENDING);
	EXPECT_EQ(1, handled(self->db, line));
	EXPECT_EQ(1, efd_read(self->out[line]));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_STATE(line, LEVEL | ASSERTED | AUTOMASKED);
	/* The unmask before the ack: until that, the line is asserted. */
	EXPECT_EQ(0, handled(self->db, line));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, line));
	EXPECT_STATE(line, LEVEL | ASSERTED | AUTOMASK);
	EXPECT_EQ(DONE, doorbell_ack(self->db, line));
	EXPECT_EQ(1, efd_read(self->res[0]));
	EXPECT_EQ(0, efd_count(self->out[line]));
	EXPECT_ACCOUNTS(line, 9, 5, 5);
}

/*
 * INTx Disable while the guest serves the device, as Documentation/vmm.rst describes it. No
 * end of interrupt follows, so the caller also ends the mask of the line itself.
 */
TEST_F(automask, intx_disable)
{
	const uint32_t line = LEVEL_LINE;
	int i;

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, line));
		EXPECT_EQ(1, efd_read(self->out[line]));
		EXPECT_EQ(0, doorbell_mask(self->db, line));
		EXPECT_EQ(POSTPONED, doorbell_ack(self->db, line));
		if (!i) {
			EXPECT_EQ(0, doorbell_unmask_for(self->db, line,
							 DOORBELL_MASK_VECTOR | AUTO));
			EXPECT_EQ(1, efd_read(self->res[0]));
			EXPECT_STATE(line, LEVEL | AUTOMASK);
		}
	}
	/* The vector's mask alone leaves the pin without interrupts. */
	EXPECT_EQ(0, doorbell_unmask_for(self->db, line, DOORBELL_MASK_VECTOR));
	EXPECT_EQ(0, efd_count(self->res[0]));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, line));
	EXPECT_EQ(0, efd_count(self->out[line]));
	EXPECT_STATE(line, LEVEL | AUTOMASKED | RESAMPLE | ASSERTED | PENDING);
	EXPECT_EQ(1, doorbell_unmask_for(self->db, line, AUTO));
	EXPECT_EQ(1, efd_read(self->out[line]));
	EXPECT_EQ(1, efd_read(self->res[0]));
}

/* A raised level is delivered once more after the ack, but not before the unmask. */
TEST_F(automask, raised)
{
	const uint32_t line = LEVEL_LINE;
	int i;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_set_level(self->db, line, 1));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(1, efd_read(self->out[line]));
		EXPECT_EQ(POSTPONED, doorbell_ack(self->db, line));
		EXPECT_STATE(line, LEVEL | RAISED | AUTOMASKED | RESAMPLE | PENDING);
		EXPECT_EQ(0, efd_count(self->out[line]));
		EXPECT_EQ(1, handled(self->db, line));
		EXPECT_EQ(1, efd_read(self->res[0]));
	}
	EXPECT_EQ(1, efd_read(self->out[line]));
	/* The unmask alone delivers nothing. */
	EXPECT_EQ(0, handled(self->db, line));
	EXPECT_EQ(0, efd_count(self->out[line]));
	EXPECT_EQ(DONE, doorbell_ack(self->db, line));
	EXPECT_EQ(1, efd_read(self->out[line]));
	EXPECT_STATE(line, LEVEL | RAISED | ASSERTED | AUTOMASKED);
	EXPECT_EQ(0, doorbell_set_level(self->db, line, 0));
	EXPECT_EQ(POSTPONED, doorbell_ack(self->db, line));
	EXPECT_EQ(0, handled(self->db, line));
	EXPECT_STATE(line, LEVEL | AUTOMASK);
}

/* The delivery tells of its mask, not the notifiers; they are told of the unmask. */
TEST_F(automask, notifiers)
{
	int masks = new_eventfd(_metadata, 0, 0), unmasks = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_notifier(self->db, masks, IRQ_LINE, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, unmasks, IRQ_LINE, DOORBELL_NOTIFY_UNMASK));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, IRQ_LINE));
	EXPECT_EQ(0, efd_count(masks));
	EXPECT_EQ(1, handled(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(unmasks));
	EXPECT_EQ(0, efd_count(masks));
	/* A mask of a line that has masked itself is no transition. */
	EXPECT_EQ(0, doorbell_mask(self->db, IRQ_LINE));
	EXPECT_EQ(0, efd_count(masks));
	EXPECT_EQ(0, handled(self->db, IRQ_LINE));
	EXPECT_EQ(0, efd_count(unmasks));
	EXPECT_EQ(0, doorbell_unmask(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(unmasks));
	EXPECT_EQ(1, doorbell_mask(self->db, IRQ_LINE));
	EXPECT_EQ(1, efd_read(masks));
}

/* Threads that ring without rest, by the ioctl and by an irqfd. */
#define NR_RINGERS	2
#define ROUNDS_MIN	100

struct storm {
	int db;
	int in;
	atomic_bool stop;
	atomic_ulong rung[3];
	atomic_ulong written;
	atomic_ulong failed;
};

static void *storm(void *arg)
{
	struct storm *storm = arg;
	unsigned int round;
	int ret;

	pin_to(1);
	for (round = 0; !atomic_load(&storm->stop); round++) {
		if (storm->in >= 0 && round % 2) {
			ret = efd_write(storm->in, 1);
			atomic_fetch_add(ret ? &storm->failed : &storm->written, 1);
			continue;
		}
		ret = doorbell_ring(storm->db, 0);
		atomic_fetch_add(ret < 0 ? &storm->failed : &storm->rung[ret], 1);
	}
	return NULL;
}

/* An interrupt handler and what it has seen. */
struct handler {
	int db;
	int out;
	/* The calls that begin and end it. */
	bool automask;
	unsigned long handled;
	unsigned long needless;
	unsigned long failed;
};

/*
 * The hard half of a handler, which masks the line unless that masks itself; then the
 * thread that serves the device; then the unmask. Each further delivery is needless.
 */
static bool handle(struct handler *handler, unsigned int round)
{
	const uint32_t reason = handler->automask ? AUTO : DOORBELL_MASK_VECTOR;
	uint64_t count = efd_wait(handler->out);

	if (!count)
		return false;
	handler->handled++;
	handler->needless += count - 1;
	if (!handler->automask)
		handler->failed += doorbell_mask(handler->db, 0) < 0;
	dither(round);
	handler->needless += efd_read(handler->out);
	handler->failed += doorbell_unmask_for(handler->db, 0, reason) < 0;
	return true;
}

FIXTURE(storm) {
	int kmsg;
	struct storm storm;
	struct handler handler;
	const struct doorbell_line_status *status;
};

FIXTURE_VARIANT(storm) {
	bool automask;
	bool by_irqfd;
};

FIXTURE_VARIANT_ADD(storm, ioctl) { .automask = true };
FIXTURE_VARIANT_ADD(storm, irqfd) { .automask = true, .by_irqfd = true };
FIXTURE_VARIANT_ADD(storm, masked_by_the_handler) { };

FIXTURE_SETUP(storm)
{
	pin_to(0);
	self->kmsg = kmsg_open();
	self->storm.db = new_context(_metadata, 1);
	self->storm.in = -1;
	self->status = map_status(_metadata, self->storm.db);
	self->handler.db = self->storm.db;
	self->handler.out = new_eventfd(_metadata, 0, 0);
	self->handler.automask = variant->automask;
	ASSERT_EQ(0, doorbell_assign_trigger(self->storm.db, self->handler.out, 0));
	if (variant->automask)
		ASSERT_EQ(0, doorbell_set_type_automask(self->storm.db, 0, EDGE));
	if (variant->by_irqfd) {
		self->storm.in = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->storm.db, self->storm.in, 0));
	}
}

FIXTURE_TEARDOWN(storm)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/*
 * Without automask the line delivers between a delivery and the handler's mask, so the
 * handler is woken for nothing. With automask it never does, and no message is lost.
 */
TEST_F(storm, no_needless_delivery)
{
	struct rounds race = ROUNDS(ROUNDS_MIN, 20000);
	struct handler *handler = &self->handler;
	struct storm *storm_of = &self->storm;
	pthread_t threads[NR_RINGERS];
	struct doorbell_query query;
	unsigned int i, round;
	unsigned long rings;

	for (i = 0; i < NR_RINGERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, storm, storm_of));
	for (round = 0;
	     more_rounds(&race, round) ||
	     lacks(&race, !self->status->coalesced ||
		   (!variant->automask && !handler->needless));
	     round++) {
		/* A message that is lost blocks the handler for good. */
		ASSERT_TRUE(handle(handler, round));
	}
	atomic_store(&storm_of->stop, true);
	for (i = 0; i < NR_RINGERS; i++)
		pthread_join(threads[i], NULL);
	/* Handle the messages of the last rings. */
	while ((query = line_of(_metadata, storm_of->db, 0)).state & PENDING ||
	       query.deliveries != handler->handled + handler->needless)
		ASSERT_TRUE(handle(handler, 0));

	ksft_print_msg("%lu handled, %lu needless deliveries\n", handler->handled,
		       handler->needless);
	EXPECT_EQ(0, handler->failed);
	EXPECT_EQ(0, storm_of->failed);
	rings = storm_of->rung[0] + storm_of->rung[1] + storm_of->rung[2] + storm_of->written;
	EXPECT_EQ(rings, query.rings);
	EXPECT_EQ(rings, query.deliveries + self->status->coalesced);
	EXPECT_EQ(0, efd_count(handler->out));
	EXPECT_EQ(variant->automask ? AUTOMASK : 0, query.state);
	/* Without automask there must be some, or the test proves nothing. */
	EXPECT_EQ(variant->automask, !handler->needless);
}

/* The mode changes all the time: no message is lost or spurious, and no mask stays. */
TEST_F(storm, mode_changes)
{
	const struct doorbell_line_status *status = self->status;
	struct rounds race = ROUNDS(ROUNDS_MIN, 10000);
	struct storm *storm_of = &self->storm;
	int db = storm_of->db, out = self->handler.out;
	unsigned long masked = 0, rings;
	pthread_t threads[NR_RINGERS];
	struct doorbell_query query;
	unsigned int i, round;

	for (i = 0; i < NR_RINGERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, storm, storm_of));
	for (round = 0; more_rounds(&race, round) || lacks(&race, !masked || !storm_of->rung[1]);
	     round++) {
		ASSERT_EQ(0, doorbell_set_type_automask(db, 0, EDGE));
		dither(round);
		/* From here on, at most one delivery until the unmask. */
		ASSERT_TRUE(WAIT_FOR(status_state(status) & DOORBELL_LINE_MASKED));
		masked++;
		if (round % 2)
			ASSERT_LE(0, doorbell_unmask_for(db, 0, AUTO));
		ASSERT_EQ(0, doorbell_set_type(db, 0, EDGE));
		dither(round / 8);
		ASSERT_LE(0, doorbell_unmask_for(db, 0, AUTO));
	}
	atomic_store(&storm_of->stop, true);
	for (i = 0; i < NR_RINGERS; i++)
		pthread_join(threads[i], NULL);
	doorbell_unmask_for(db, 0, AUTO);
	query = settled(_metadata, db, 0);
	rings = storm_of->rung[0] + storm_of->rung[1] + storm_of->rung[2] + storm_of->written;
	EXPECT_EQ(0, query.state);
	EXPECT_EQ(0, storm_of->failed);
	EXPECT_EQ(rings, query.rings);
	EXPECT_EQ(rings, query.deliveries + status->coalesced);
	EXPECT_EQ(query.deliveries, efd_read(out));
}

TEST_HARNESS_MAIN
