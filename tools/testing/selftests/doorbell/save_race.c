// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that use the lines of a context, while another one pauses the lines, saves them,
 * closes the context, restores them in the next one and wires them again. Across all
 * contexts each ring is counted once, each message is delivered once, and no thread waits
 * for a message that is lost.
 */
#include "doorbell_test.h"

/* Lines. */
enum {
	/* Rung by ioctl as fast as possible. */
	STORM,
	/* The same, on a line that masks itself until its handler unmasks it. */
	AUTOMASKED,
	/* Signalled by an irqfd; the next signal waits for the delivery. */
	EDGE,
	/* The same, with an ack and a resamplefd. */
	LEVEL,
	/* Raised, and lowered and acked after the delivery. */
	RAISED,
	/* Signalled by an irqfd with a resamplefd, masks itself; an eventfd acks and unmasks. */
	INTX,
	NR,
};

struct stage {
	/* Held to use the context, and exclusively to replace it. */
	pthread_rwlock_t lock;
	int db;
	int in[NR];
	int out[NR];
	int resample;
	/* Acks and unmasks INTX, and the resamplefd that follows. */
	int back;
	int again;
	atomic_bool stop;
	atomic_bool failed;
	/* Rings, signals and raises of each line, and the count of its trigger so far. */
	atomic_ulong sent[NR];
	atomic_ulong received[NR];
	/* Acks of the level line that found something, and those by the eventfd. */
	atomic_ulong acked;
	atomic_ulong replied;
};

FIXTURE(save_race) {
	struct stage stage;
	int kmsg;
};

static int set_mask(int db, unsigned long cmd, uint32_t line, uint32_t nr_lines, uint32_t reasons)
{
	return doorbell_line_set_for(db, cmd, line, nr_lines, NULL, NULL, reasons);
}

static void wire_irqfds(struct __test_metadata *_metadata, struct stage *stage, int db)
{
	ASSERT_EQ(0, doorbell_assign_irqfd(db, stage->in[EDGE], EDGE));
}

/* Assigns the eventfds that need a level line. */
static void wire_level(struct __test_metadata *_metadata, struct stage *stage, int db)
{
	ASSERT_EQ(0, doorbell_assign_resampled(db, stage->in[LEVEL], LEVEL, stage->resample));
	ASSERT_EQ(0, doorbell_assign_resampled(db, stage->in[INTX], INTX, stage->again));
	ASSERT_EQ(0, doorbell_assign_ack_unmaskfd(db, stage->back, INTX));
}

FIXTURE_SETUP(save_race)
{
	struct stage *stage = &self->stage;
	pthread_rwlockattr_t attr;
	int i;

	/* Otherwise the threads never leave a gap. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	ASSERT_EQ(0, pthread_rwlock_init(&stage->lock, &attr));
	self->kmsg = kmsg_open();
	stage->db = new_context(_metadata, NR);
	stage->resample = new_eventfd(_metadata, 0, 0);
	stage->back = new_eventfd(_metadata, 0, 0);
	stage->again = new_eventfd(_metadata, 0, 0);
	for (i = 0; i < NR; i++) {
		stage->in[i] = new_eventfd(_metadata, 0, 0);
		stage->out[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_trigger(stage->db, stage->out[i], i));
	}
	ASSERT_EQ(0, doorbell_set_type_automask(stage->db, AUTOMASKED, DOORBELL_TYPE_EDGE));
	ASSERT_EQ(0, doorbell_set_type(stage->db, LEVEL, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_set_type(stage->db, RAISED, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_set_type_automask(stage->db, INTX, DOORBELL_TYPE_LEVEL));
	wire_irqfds(_metadata, stage, stage->db);
	wire_level(_metadata, stage, stage->db);
}

FIXTURE_TEARDOWN(save_race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Calls an ioctl of the present context. A result below zero is a failure. */
#define USE(call) ({							\
	int __ret;							\
									\
	pthread_rwlock_rdlock(&stage->lock);				\
	__ret = call;							\
	pthread_rwlock_unlock(&stage->lock);				\
	if (__ret < 0)							\
		atomic_store(&stage->failed, true);			\
	__ret;								\
})

/* Waits for one delivery. Returns false if there is none. */
static bool receive(struct stage *stage, int line)
{
	uint64_t count = efd_wait(stage->out[line]);

	atomic_fetch_add(&stage->received[line], count);
	if (count != 1)
		atomic_store(&stage->failed, true);
	return count == 1;
}

static void *storm(void *arg)
{
	struct stage *stage = arg;
	unsigned int round;

	for (round = 0; !atomic_load(&stage->stop); round++) {
		USE(doorbell_ring(stage->db, STORM));
		atomic_fetch_add(&stage->sent[STORM], 1);
		USE(doorbell_ring(stage->db, AUTOMASKED));
		atomic_fetch_add(&stage->sent[AUTOMASKED], 1);
		dither(round);
	}
	return NULL;
}

static void *unmask(void *arg)
{
	struct stage *stage = arg;
	uint64_t count;

	while (!atomic_load(&stage->stop)) {
		count = efd_read(stage->out[AUTOMASKED]);
		atomic_fetch_add(&stage->received[AUTOMASKED], count);
		/* It has masked itself, so there is no second delivery. */
		if (count > 1)
			atomic_store(&stage->failed, true);
		if (count)
			USE(set_mask(stage->db, DOORBELL_UNMASK, AUTOMASKED, 1,
				     DOORBELL_MASK_AUTO));
		else
			sched_yield();
	}
	return NULL;
}

static void *signal_edge(void *arg)
{
	struct stage *stage = arg;

	while (!atomic_load(&stage->stop)) {
		efd_write(stage->in[EDGE], 1);
		atomic_fetch_add(&stage->sent[EDGE], 1);
		if (!receive(stage, EDGE))
			break;
	}
	return NULL;
}

static void *signal_level(void *arg)
{
	struct stage *stage = arg;
	int ret;

	while (!atomic_load(&stage->stop)) {
		efd_write(stage->in[LEVEL], 1);
		atomic_fetch_add(&stage->sent[LEVEL], 1);
		if (!receive(stage, LEVEL))
			break;
		ret = USE(doorbell_ack(stage->db, LEVEL));
		if (ret != DOORBELL_ACK_NOTHING)
			atomic_fetch_add(&stage->acked, 1);
	}
	return NULL;
}

static void *raise_level(void *arg)
{
	struct stage *stage = arg;

	while (!atomic_load(&stage->stop)) {
		USE(doorbell_set_level(stage->db, RAISED, 1));
		atomic_fetch_add(&stage->sent[RAISED], 1);
		if (!receive(stage, RAISED))
			break;
		USE(doorbell_set_level(stage->db, RAISED, 0));
		USE(doorbell_ack(stage->db, RAISED));
	}
	return NULL;
}

static void *reply(void *arg)
{
	struct stage *stage = arg;

	while (!atomic_load(&stage->stop)) {
		efd_write(stage->in[INTX], 1);
		atomic_fetch_add(&stage->sent[INTX], 1);
		if (!receive(stage, INTX))
			break;
		efd_write(stage->back, 1);
		atomic_fetch_add(&stage->replied, 1);
		/* The source checks again, once for each ack. */
		if (efd_wait(stage->again) != 1) {
			atomic_store(&stage->failed, true);
			break;
		}
	}
	return NULL;
}

static void wire_triggers(struct __test_metadata *_metadata, struct stage *stage, int db)
{
	int i;

	for (i = 0; i < NR; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, stage->out[i], i));
}

/* Replaces the context. @first: wires what can be wired before the restore. */
static void migrate(struct __test_metadata *_metadata, struct stage *stage, unsigned int round)
{
	const bool first = round % 2;
	struct doorbell_saved_line saved[NR];
	int next = new_context(_metadata, NR), i;

	ASSERT_LE(0, set_mask(stage->db, DOORBELL_MASK, 0, NR, DOORBELL_MASK_PAUSE));
	dither(round);
	/* Before the resamplefds go: an ack in progress would not find them any more. */
	pthread_rwlock_wrlock(&stage->lock);
	ASSERT_EQ(0, doorbell_deassign_irqfd(stage->db, stage->in[EDGE], EDGE));
	ASSERT_EQ(0, doorbell_deassign_irqfd(stage->db, stage->in[LEVEL], LEVEL));
	ASSERT_EQ(0, doorbell_deassign_irqfd(stage->db, stage->in[INTX], INTX));
	ASSERT_EQ(0, doorbell_deassign_irqfd(stage->db, stage->back, INTX));
	ASSERT_EQ(NR, set_mask(next, DOORBELL_MASK, 0, NR, DOORBELL_MASK_PAUSE));
	if (first) {
		wire_triggers(_metadata, stage, next);
		wire_irqfds(_metadata, stage, next);
	}
	ASSERT_EQ(0, doorbell_save_lines(stage->db, 0, NR, saved));
	ASSERT_EQ(0, close(stage->db));
	stage->db = next;
	/* In two calls: the lines are independent. */
	ASSERT_EQ(0, doorbell_restore_lines(next, 2, NR - 2, &saved[2], NULL));
	ASSERT_EQ(0, doorbell_restore_lines(next, 0, 2, saved, NULL));
	for (i = 0; i < NR; i++)
		EXPECT_TRUE(saved[i].state & DOORBELL_LINE_MASKED);
	pthread_rwlock_unlock(&stage->lock);
	wire_level(_metadata, stage, next);
	if (!first) {
		wire_irqfds(_metadata, stage, next);
		wire_triggers(_metadata, stage, next);
	}
	ASSERT_LE(0, set_mask(next, DOORBELL_UNMASK, 0, NR, DOORBELL_MASK_PAUSE));
}

TEST_F(save_race, generations)
{
	void *(*const threads[])(void *) = {
		storm, storm, unmask, signal_edge, signal_level, raise_level,
		reply };
	pthread_t thread[ARRAY_SIZE(threads)];
	struct rounds race = ROUNDS(50, 20000);
	struct stage *stage = &self->stage;
	struct doorbell_saved_line last[NR];
	unsigned long round;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, threads[i], stage));
	for (round = 0; more_rounds(&race, round) && !atomic_load(&stage->failed); round++) {
		unsigned long sent[NR];

		for (i = 0; i < NR; i++)
			sent[i] = atomic_load(&stage->sent[i]);
		migrate(_metadata, stage, round);
		/* Each line is used in each context. */
		for (i = 0; i < NR; i++) {
			ASSERT_TRUE(SPIN_FOR(atomic_load(&stage->sent[i]) > sent[i] ||
					     atomic_load(&stage->failed)));
		}
	}
	atomic_store(&stage->stop, true);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(thread[i], NULL);
	EXPECT_FALSE(atomic_load(&stage->failed));

	ASSERT_LE(0, set_mask(stage->db, DOORBELL_UNMASK, 0, NR, DOORBELL_MASK_AUTO));
	for (i = 0; i < NR; i++)
		settled(_metadata, stage->db, i);
	ASSERT_EQ(0, doorbell_save_lines(stage->db, 0, NR, last));
	for (i = 0; i < NR; i++) {
		const unsigned long sent = atomic_load(&stage->sent[i]);
		const unsigned long received = atomic_load(&stage->received[i]) +
					       efd_drain(stage->out[i]);

		EXPECT_EQ(0, last[i].state & DOORBELL_LINE_PENDING);
		EXPECT_EQ(sent, last[i].deliveries + last[i].coalesced + last[i].dropped);
		EXPECT_EQ(received, last[i].deliveries);
		if (i >= EDGE)
			EXPECT_EQ(sent, last[i].deliveries);
	}
	EXPECT_EQ(atomic_load(&stage->acked), last[LEVEL].acks);
	EXPECT_EQ(atomic_load(&stage->acked), efd_drain(stage->resample));
	EXPECT_EQ(atomic_load(&stage->replied), last[INTX].acks);
	EXPECT_EQ(0, efd_count(stage->again));
	ksft_print_msg("%lu rings, %llu coalesced\n", atomic_load(&stage->sent[STORM]),
		       (unsigned long long)last[STORM].coalesced);
}

TEST_HARNESS_MAIN
