// SPDX-License-Identifier: GPL-2.0-only
/*
 * Acks against all other calls: one delivery for each ack; each ack signals the
 * resamplefds, but not while masked, nor after a deassign; and no assertion is lost.
 */
#include <limits.h>

#include "level.h"

#define ROUNDS_MIN	100

FIXTURE(level_race) {
	LEVEL_FIXTURE;
};

FIXTURE_VARIANT(level_race) {
	/* The hammer writes to an irqfd instead of calling the ioctl. */
	bool by_irqfd;
};

FIXTURE_VARIANT_ADD(level_race, ioctl) { };
FIXTURE_VARIANT_ADD(level_race, irqfd) { .by_irqfd = true };

FIXTURE_SETUP(level_race)
{
	LEVEL_SETUP();
}

FIXTURE_TEARDOWN(level_race)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Threads that make one call each in a loop, and the results. */
struct crowd {
	int db;
	int in;
	const struct doorbell_line_status *status;
	atomic_bool stop;
	struct rest ringers;
	struct rest ackers;
	struct rest maskers;
	/* Counts by the results of the calls. */
	atomic_ulong rung[3];
	atomic_ulong acked[3];
	atomic_ulong written;
	atomic_ulong masked;
	atomic_ulong lowered;
	atomic_ulong failed;
};

struct member {
	struct crowd *crowd;
	void (*act)(struct crowd *crowd, unsigned int round);
	unsigned int cpu;
	atomic_ulong rounds;
	pthread_t thread;
};

static void count(struct crowd *crowd, atomic_ulong *sums, unsigned int most, int ret)
{
	if (ret < 0 || ret > most)
		atomic_fetch_add(&crowd->failed, 1);
	else
		atomic_fetch_add(&sums[ret], 1);
}

static void act_ring(struct crowd *crowd, unsigned int round)
{
	rest_point(&crowd->ringers, &crowd->stop);
	dither(round);
	count(crowd, crowd->rung, 2, doorbell_ring(crowd->db, 0));
}

static void act_write(struct crowd *crowd, unsigned int round)
{
	rest_point(&crowd->ringers, &crowd->stop);
	dither(round);
	count(crowd, &crowd->written, 0, efd_write(crowd->in, 1));
}

static void act_ack(struct crowd *crowd, unsigned int round)
{
	rest_point(&crowd->ackers, &crowd->stop);
	dither(round / 8);
	count(crowd, crowd->acked, 2, doorbell_ack(crowd->db, 0));
}

static void act_mask(struct crowd *crowd, unsigned int round)
{
	rest_point(&crowd->maskers, &crowd->stop);
	atomic_fetch_add(&crowd->masked, doorbell_mask(crowd->db, 0) == 1);
	dither(round);
	doorbell_unmask(crowd->db, 0);
	dither(round / 64);
}

/* Another reason: the line is unmasked, and resamples, when both have ended. */
static void act_pause(struct crowd *crowd, unsigned int round)
{
	const uint32_t reasons = DOORBELL_MASK_PAUSE;

	rest_point(&crowd->maskers, &crowd->stop);
	dither(round / 64);
	atomic_fetch_add(&crowd->masked, doorbell_mask_for(crowd->db, 0, reasons) == 1);
	dither(round);
	doorbell_unmask_for(crowd->db, 0, reasons);
}

static void act_level(struct crowd *crowd, unsigned int round)
{
	count(crowd, crowd->rung, 2, doorbell_set_level(crowd->db, 0, 1));
	dither(round);
	atomic_fetch_add(&crowd->lowered, doorbell_set_level(crowd->db, 0, 0) == 1);
	dither(round / 64);
}

static void *mill_about(void *arg)
{
	struct member *member = arg;
	unsigned int round;

	pin_to(member->cpu);
	for (round = 0; !atomic_load(&member->crowd->stop); round++) {
		member->act(member->crowd, round);
		atomic_store(&member->rounds, round + 1);
	}
	return NULL;
}

static void log_crowd(struct __test_metadata *_metadata, const struct crowd *crowd)
{
	TH_LOG("acked %lu, %lu, %lu; masked %lu, lowered %lu, coalesced %llu", crowd->acked[0],
	       crowd->acked[1], crowd->acked[2], crowd->masked, crowd->lowered,
	       (unsigned long long)crowd->status->coalesced);
}

typedef void (*act_fn)(struct crowd *crowd, unsigned int round);

/*
 * Runs until each thread has had its rounds. At times make_all_happen() makes each result
 * occur: the scheduler may seldom do.
 */
static void run_crowd(struct __test_metadata *_metadata, struct crowd *crowd, const act_fn *acts,
		      unsigned int nr, bool (*make_all_happen)(struct crowd *crowd),
		      bool (*all_happened)(struct crowd *crowd))
{
	struct rounds race = ROUNDS(ROUNDS_MIN, 20000);
	struct member members[8];
	unsigned int i, turn = 0;
	unsigned long least;

	for (i = 0; i < nr; i++) {
		members[i] = (struct member){ .crowd = crowd, .act = acts[i], .cpu = i };
		ASSERT_EQ(0, pthread_create(&members[i].thread, NULL, mill_about, &members[i]));
	}
	do {
		usleep(1000);
		if (turn++ % TURNS_APART == 0) {
			ASSERT_TRUE(make_all_happen(crowd)) {
				log_crowd(_metadata, crowd);
			}
		}
		least = ULONG_MAX;
		for (i = 0; i < nr; i++) {
			if (atomic_load(&members[i].rounds) < least)
				least = atomic_load(&members[i].rounds);
		}
	} while (more_rounds(&race, least));
	atomic_store(&crowd->stop, true);
	for (i = 0; i < nr; i++)
		pthread_join(members[i].thread, NULL);
	/* Otherwise the test proves nothing. */
	EXPECT_LE(ROUNDS_MIN, least);
	EXPECT_TRUE(all_happened(crowd)) {
		log_crowd(_metadata, crowd);
	}
}

/* Delivers and acks all that the crowd has left. */
#define FINISH(who) do {						\
	struct crowd *__crowd = who;					\
									\
	doorbell_unmask(self->db, 0);					\
	FLUSH();							\
	settled(_metadata, self->db, 0);				\
	count(__crowd, __crowd->acked, 2, doorbell_ack(self->db, 0));	\
	EXPECT_STATE(0, LEVEL);						\
} while (0)

static bool is_unacked(const struct crowd *crowd)
{
	struct doorbell_query query;

	return !doorbell_query(crowd->db, 0, &query) && query.deliveries > query.acks;
}

/* Waits until a delivery has not been acked, and a ring coalesces. */
static bool coalesces(struct crowd *crowd)
{
	const __u64 *coalesced = &crowd->status->coalesced;
	const uint64_t before = *coalesced;

	return WAIT_FOR(is_unacked(crowd)) &&
	       WAIT_FOR(__atomic_load_n(coalesced, __ATOMIC_SEQ_CST) > before);
}

/* Lets the ackers go on, under a mask: the first of them postpones the resample. */
static bool postpones(struct crowd *crowd)
{
	const unsigned long before = atomic_load(&crowd->acked[POSTPONED]);

	return rest_end(&crowd->ackers) && WAIT_FOR(atomic_load(&crowd->acked[POSTPONED]) > before);
}

/* The same, while the main thread masks the line. Then the maskers go on. */
static bool postpones_under_mask(struct crowd *crowd)
{
	atomic_fetch_add(&crowd->masked, doorbell_mask(crowd->db, 0) == 1);
	if (!postpones(crowd))
		return false;
	doorbell_unmask(crowd->db, 0);
	return rest_end(&crowd->maskers);
}

/* Two threads ring, two ack, and two mask. */
static bool make_acks_happen(struct crowd *crowd)
{
	/* No mask is left. */
	if (!rest_begin(&crowd->maskers, 2) || !grows(&crowd->acked[DONE], 2))
		return false;
	if (!rest_begin(&crowd->ringers, 2) || !grows(&crowd->acked[NOTHING], 1))
		return false;
	/* The first ring is delivered, the second waits for an ack, and others coalesce with it. */
	if (!rest_begin(&crowd->ackers, 2) || !rest_end(&crowd->ringers) || !coalesces(crowd))
		return false;
	return postpones_under_mask(crowd);
}

static bool acks_happened(struct crowd *crowd)
{
	return crowd->acked[NOTHING] && crowd->acked[DONE] > 1 && crowd->acked[POSTPONED] &&
	       crowd->masked && crowd->status->coalesced;
}

/*
 * An asserted line does not deliver, so there is one ack for each delivery. Each ack
 * signals the resamplefd at once, or at the unmask, which may be one signal for several
 * acks.
 */
TEST_F(level_race, crowd)
{
	const act_fn acts[] = {
		variant->by_irqfd ? act_write : act_ring, act_ack, act_mask, act_ack,
		variant->by_irqfd ? act_write : act_ring, act_pause,
	};
	struct crowd crowd = { .db = self->db, .in = self->in[0], .status = &self->status[0] };
	int acks = new_eventfd(_metadata, 0, 0), masks = new_eventfd(_metadata, 0, 0);
	uint64_t rings, resampled, nr_acks;
	struct doorbell_query query;

	ASSERT_EQ(0, doorbell_assign_notifier(self->db, acks, 0, DOORBELL_NOTIFY_ACK));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, masks, 0, DOORBELL_NOTIFY_MASK));
	run_crowd(_metadata, &crowd, acts, ARRAY_SIZE(acts), make_acks_happen, acks_happened);
	FINISH(&crowd);

	query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(0, crowd.failed);
	nr_acks = crowd.acked[DONE] + crowd.acked[POSTPONED];
	EXPECT_EQ(nr_acks, query.acks);
	EXPECT_EQ(nr_acks, efd_read(acks));
	EXPECT_EQ(crowd.masked, efd_read(masks));
	EXPECT_EQ(query.acks, query.deliveries);
	EXPECT_EQ(query.deliveries, efd_read(self->out[0]));
	rings = crowd.rung[0] + crowd.rung[1] + crowd.rung[2] + crowd.written;
	EXPECT_EQ(rings, query.rings);
	EXPECT_EQ(0, query.dropped);
	if (!variant->by_irqfd)
		EXPECT_EQ(crowd.rung[DOORBELL_RING_COALESCED], self->status[0].coalesced);
	resampled = efd_read(self->res[0]);
	EXPECT_LE(crowd.acked[DONE] + 1, resampled);
	EXPECT_GE(nr_acks, resampled);
}

/* One thread raises and lowers the level, one acks, two mask, and one rings. */
static bool make_levels_happen(struct crowd *crowd)
{
	/* No mask is left. */
	if (!rest_begin(&crowd->maskers, 2) || !grows(&crowd->acked[DONE], 1))
		return false;
	/* No ring is left, either: under a mask the level makes the message, and withdraws it. */
	if (!rest_begin(&crowd->ringers, 1) || !WAIT_FOR(!(status_state(crowd->status) & PENDING)))
		return false;
	atomic_fetch_add(&crowd->masked, doorbell_mask(crowd->db, 0) == 1);
	if (!grows(&crowd->lowered, 1))
		return false;
	doorbell_unmask(crowd->db, 0);
	if (!rest_begin(&crowd->ackers, 1) || !rest_end(&crowd->ringers) || !coalesces(crowd))
		return false;
	return postpones_under_mask(crowd);
}

static bool levels_happened(struct crowd *crowd)
{
	return crowd->lowered && crowd->acked[DONE] && crowd->acked[POSTPONED];
}

/*
 * With a level that is raised and lowered, each withdrawn message counts as dropped, once.
 * A message that was withdrawn during a delivery and came again before its end has
 * coalesced.
 */
TEST_F(level_race, crowd_with_a_level)
{
	const act_fn acts[] = {
		act_level, act_ack, act_mask, variant->by_irqfd ? act_write : act_ring, act_pause,
	};
	struct crowd crowd = { .db = self->db, .in = self->in[0], .status = &self->status[0] };
	struct doorbell_query query;

	run_crowd(_metadata, &crowd, acts, ARRAY_SIZE(acts), make_levels_happen, levels_happened);
	FINISH(&crowd);
	query = line_of(_metadata, self->db, 0);
	EXPECT_EQ(0, crowd.failed);
	EXPECT_EQ(crowd.acked[DONE] + crowd.acked[POSTPONED], query.acks);
	EXPECT_EQ(query.acks, query.deliveries);
	EXPECT_EQ(query.deliveries, efd_read(self->out[0]));
	EXPECT_GE(crowd.lowered, query.dropped);
	EXPECT_LE(crowd.lowered, query.dropped + self->status[0].coalesced);
	/* One ring more for each ack that found the line raised. */
	EXPECT_LE(crowd.rung[0] + crowd.rung[1] + crowd.rung[2] + crowd.written, query.rings);
	EXPECT_GE(crowd.rung[0] + crowd.rung[1] + crowd.rung[2] + crowd.written + query.acks,
		  query.rings);
}

/* A device: it asserts its line as long as it has work. */
struct device {
	int db;
	int in;
	int out;
	int res;
	bool by_irqfd;
	/* The handler masks the line while it runs. */
	bool oneshot;
	atomic_uint work;
	atomic_ulong served;
	atomic_bool stop;
	pthread_t resampler;
	pthread_t handler;
};

static void assert_line(struct device *device)
{
	if (device->by_irqfd)
		efd_write(device->in, 1);
	else
		doorbell_ring(device->db, 0);
}

/* Asserts the line again after an ack if there is work. */
static void *resample(void *arg)
{
	struct device *device = arg;

	pin_to(0);
	while (!atomic_load(&device->stop)) {
		if (efd_poll(device->res, POLLIN, 100) > 0 && efd_read(device->res) &&
		    atomic_load(&device->work))
			assert_line(device);
	}
	return NULL;
}

static void *handle(void *arg)
{
	struct device *device = arg;
	unsigned int round;

	pin_to(1);
	for (round = 0; !atomic_load(&device->stop); round++) {
		if (efd_poll(device->out, POLLIN, 100) <= 0 || !efd_read(device->out))
			continue;
		if (device->oneshot)
			doorbell_mask(device->db, 0);
		dither(round);
		atomic_fetch_add(&device->served, atomic_exchange(&device->work, 0));
		/* This ack finds the line asserted. */
		dither(round / 64);
		doorbell_ack(device->db, 0);
		dither(round / 16);
		if (device->oneshot)
			doorbell_unmask(device->db, 0);
	}
	return NULL;
}

/* However work and acks meet, all work is done without another trigger. */
static void work_is_done(struct __test_metadata *_metadata, struct device *device)
{
	struct rounds race = ROUNDS(30, 5000);
	unsigned int rounds, i;
	unsigned long made = 0;

	ASSERT_EQ(0, pthread_create(&device->resampler, NULL, resample, device));
	ASSERT_EQ(0, pthread_create(&device->handler, NULL, handle, device));
	/* Some of the work must meet an asserted line, or the test proves nothing. */
	for (rounds = 0;
	     more_rounds(&race, rounds) ||
	     lacks(&race, line_of(_metadata, device->db, 0).deliveries >= made);
	     rounds++) {
		for (i = 0; i <= rounds % 4; i++) {
			atomic_fetch_add(&device->work, 1);
			made++;
			assert_line(device);
			dither(rounds / (i + 1));
		}
		ASSERT_TRUE(SPIN_FOR(atomic_load(&device->served) == made)) {
			TH_LOG("round %u: %u left", rounds, atomic_load(&device->work));
		}
	}
	atomic_store(&device->stop, true);
	pthread_join(device->resampler, NULL);
	pthread_join(device->handler, NULL);
	EXPECT_LT(line_of(_metadata, device->db, 0).deliveries, made);
}

TEST_F(level_race, work_is_done)
{
	struct device device = {
		.db = self->db, .in = self->in[0], .out = self->out[0], .res = self->res[0],
		.by_irqfd = variant->by_irqfd,
	};

	work_is_done(_metadata, &device);
}

TEST_F(level_race, work_is_done_masked)
{
	struct device device = {
		.db = self->db, .in = self->in[0], .out = self->out[0], .res = self->res[0],
		.by_irqfd = variant->by_irqfd, .oneshot = true,
	};

	work_is_done(_metadata, &device);
}

static void hit_ring_and_ack(struct hammer *hammer)
{
	doorbell_ring(hammer->fd, 0);
	doorbell_ack(hammer->fd, 0);
}

/* The hammer's fd is the context's. */
static int hammered_irqfd;

static void hit_write_and_ack(struct hammer *hammer)
{
	efd_write(hammered_irqfd, 1);
	doorbell_ack(hammer->fd, 0);
}

/* From MASK to UNMASK the resamplefd is not signalled; then once, if there was an ack. */
TEST_F(level_race, masked_is_postponed)
{
	struct hammer hammer = {
		.hit = variant->by_irqfd ? hit_write_and_ack : hit_ring_and_ack, .fd = self->db,
	};
	unsigned int rounds, early = 0, wrong = 0, owed = 0;
	struct rounds race = ROUNDS(30, 5000);

	hammered_irqfd = self->in[0];
	hammer_start(_metadata, &hammer);
	ASSERT_TRUE(hammer_passes(&hammer, 10));
	/* Some acks must be postponed and some not, or the test proves nothing. */
	for (rounds = 0;
	     more_rounds(&race, rounds) || lacks(&race, !owed || owed == rounds);
	     rounds++) {
		struct doorbell_query query;
		uint64_t resampled;

		dither(rounds);
		ASSERT_EQ(1, doorbell_mask(self->db, 0));
		/* The signal of an ack before the mask may still be in flight. */
		ASSERT_TRUE(hammer_passes(&hammer, 0));
		efd_read(self->res[0]);
		efd_read(self->out[0]);
		ASSERT_TRUE(hammer_passes(&hammer, 1 + rounds % 3));
		early += efd_count(self->res[0]) != 0;
		ASSERT_TRUE(hammer_pause(&hammer));
		early += efd_count(self->res[0]) != 0;
		early += efd_count(self->out[0]) != 0;
		query = line_of(_metadata, self->db, 0);
		owed += !!(query.state & RESAMPLE);
		wrong += doorbell_unmask(self->db, 0) != !!(query.state & PENDING);
		resampled = efd_read(self->res[0]);
		wrong += resampled != !!(query.state & RESAMPLE);
		wrong += efd_read(self->out[0]) != !!(query.state & PENDING);
		ASSERT_TRUE(hammer_resume(&hammer));
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, early);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, owed);
	EXPECT_GT(rounds, owed);
}

/* Under the hammer's acks a deassign of the first, a middle, the last of many is a barrier. */
TEST_F(level_race, deassign_is_a_barrier)
{
	struct hammer hammer = {
		.hit = variant->by_irqfd ? hit_write_and_ack : hit_ring_and_ack, .fd = self->db,
	};
	enum { NR = DOORBELL_MAX_RESAMPLEFDS_PER_LINE - 1 };
	unsigned int rounds, late = 0, signalled = 0, i;
	struct { int in; int res; } list[NR], one;
	struct rounds race = ROUNDS(30, 5000);

	hammered_irqfd = self->in[0];
	for (i = 0; i < NR; i++) {
		list[i].in = new_eventfd(_metadata, 0, 0);
		list[i].res = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_resampled(self->db, list[i].in, 0, list[i].res));
	}
	hammer_start(_metadata, &hammer);
	ASSERT_TRUE(hammer_passes(&hammer, 10));
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		i = rounds % 3 * (NR - 1) / 2;
		one = list[i];
		if (rounds % 2)
			ASSERT_EQ(POLLIN, efd_await(one.res, POLLIN));
		dither(rounds);
		ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, one.in, 0));
		signalled += !!efd_read(one.res);
		ASSERT_TRUE(hammer_passes(&hammer, 2));
		late += !!efd_read(one.res);
		memmove(&list[i], &list[i + 1], (NR - 1 - i) * sizeof(one));
		list[NR - 1] = one;
		ASSERT_EQ(0, doorbell_assign_resampled(self->db, one.in, 0, one.res));
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, late);
	EXPECT_LE(rounds / 2, signalled);
	EXPECT_EQ(NR + 1, line_of(_metadata, self->db, 0).nr_resamplefds);
}

static void hit_level(struct hammer *hammer)
{
	doorbell_set_level(hammer->fd, 1, 1);
	doorbell_ack(hammer->fd, 1);
	doorbell_set_level(hammer->fd, 1, 0);
	doorbell_ack(hammer->fd, 1);
}

static void hit_write_and_level(struct hammer *hammer)
{
	efd_write(hammered_irqfd, 1);
	hit_level(hammer);
}

/* An edge line has no state of a level line, whichever call races with the change. */
TEST_F(level_race, type_changes)
{
	struct hammer hammer = {
		.hit = variant->by_irqfd ? hit_write_and_level : hit_level, .fd = self->db,
	};
	unsigned int rounds, changed = 0, wrong = 0;
	struct rounds race = ROUNDS(30, 5000);

	hammered_irqfd = self->in[1];
	hammer_start(_metadata, &hammer);
	for (rounds = 0; more_rounds(&race, rounds) || lacks(&race, !changed); rounds++) {
		dither(rounds);
		if (doorbell_set_type(self->db, 1, DOORBELL_TYPE_EDGE))
			continue;
		changed++;
		ASSERT_TRUE(hammer_passes(&hammer, 0));
		wrong += !!(line_of(_metadata, self->db, 1).state & ~PENDING);
		/* A pending message is all that may be left. */
		ASSERT_TRUE(SPIN_FOR(!doorbell_set_type(self->db, 1, DOORBELL_TYPE_LEVEL))) {
			TH_LOG("state %#x", line_of(_metadata, self->db, 1).state);
		}
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, changed);
}

TEST_HARNESS_MAIN
