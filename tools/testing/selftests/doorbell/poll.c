// SPDX-License-Identifier: GPL-2.0-only
/*
 * poll(2), select(2) and epoll(7) of the device: level-triggered, edge-triggered, oneshot,
 * exclusive and nested; for the summary and for the records. Runs as a 32-bit program, too.
 */
#include <sys/epoll.h>
#include <sys/select.h>

#include "bus.h"
#include "summary.h"

#define LINES	130
#define ADDR	0x1000

#define IN	(EPOLLIN | EPOLLRDNORM)
#define OUT	(EPOLLOUT | EPOLLWRNORM)

FIXTURE(poll) {
	int kmsg;
	int db;
	int epoll;
	struct doorbell_summary_words words;
};

FIXTURE_SETUP(poll)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, LINES);
	ASSERT_EQ(0, doorbell_assign_summary(self->db, 0, LINES));
	self->words = map_summary(_metadata, self->db);
	self->epoll = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, self->epoll);
}

FIXTURE_TEARDOWN(poll)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define RING(line)	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, line))

static int add(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Returns the events of now of the only file; 0: none. */
static uint32_t now(int epoll)
{
	struct epoll_event event = {};

	return epoll_wait(epoll, &event, 1, 0) == 1 ? event.events : 0;
}

/* Waits for events, for as long as the tests do. */
static uint32_t await(int epoll)
{
	uint32_t events;

	WAIT_FOR(events = now(epoll));
	return events;
}

static int selected(int fd, bool write)
{
	struct timeval zero = {};
	fd_set set;
	int ret;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	ret = select(fd + 1, write ? NULL : &set, write ? &set : NULL, NULL, &zero);
	return ret < 0 ? -errno : FD_ISSET(fd, &set);
}

/* Without lines there is nothing to wait for. A waiter of that time works afterwards. */
TEST_F(poll, no_lines_yet)
{
	const int db = new_context(_metadata, 0), edge = epoll_create1(EPOLL_CLOEXEC);
	struct doorbell_summary_words words;

	EXPECT_EQ(POLLERR, efd_poll(db, POLLIN | POLLOUT, -1));
	EXPECT_EQ(0, add(self->epoll, db, EPOLLIN));
	EXPECT_EQ(0, add(edge, db, EPOLLIN | EPOLLET));
	EXPECT_EQ(EPOLLERR, now(self->epoll));
	EXPECT_EQ(EPOLLERR, now(self->epoll));
	EXPECT_EQ(EPOLLERR, now(edge));
	EXPECT_EQ(0, now(edge));
	ASSERT_EQ(0, doorbell_set_lines(db, LINES));
	EXPECT_EQ(0, now(self->epoll));
	ASSERT_EQ(0, doorbell_assign_summary(db, 0, LINES));
	words = map_summary(_metadata, db);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 3));
	EXPECT_EQ(EPOLLIN, now(self->epoll));
	EXPECT_EQ(EPOLLIN, now(edge));
	EXPECT_EQ(3, take_only(&words));
	EXPECT_EQ(0, now(self->epoll));
}

/* A context without a summary and records is never readable, and always writable. */
TEST_F(poll, nothing_to_read)
{
	const int db = new_context(_metadata, LINES);
	struct doorbell_record record;

	EXPECT_EQ(POLLOUT | POLLWRNORM, efd_poll(db, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM |
						 POLLPRI | POLLRDHUP, -1));
	EXPECT_EQ(0, selected(db, false));
	EXPECT_EQ(1, selected(db, true));
	EXPECT_EQ(0, add(self->epoll, db, IN | OUT));
	EXPECT_EQ(OUT, now(self->epoll));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 3));
	EXPECT_EQ(OUT, now(self->epoll));
	/* poll(2) and read(2) agree. */
	ASSERT_EQ(0, doorbell_set_records(db, 8));
	EXPECT_EQ(0, efd_poll(db, POLLIN, 0));
	EXPECT_EQ(-EAGAIN, read_records(db, &record, 1));
}

TEST_F(poll, level)
{
	int i;

	ASSERT_EQ(0, add(self->epoll, self->db, IN));
	EXPECT_EQ(0, now(self->epoll));
	for (i = 0; i < LINES; i++) {
		RING(i);
		RING((i + 64) % LINES);
		EXPECT_EQ(POLLIN | POLLRDNORM, efd_poll(self->db, POLLIN | POLLRDNORM, -1));
		EXPECT_EQ(1, selected(self->db, false));
		EXPECT_EQ(IN, now(self->epoll));
		EXPECT_EQ(IN, now(self->epoll));
		EXPECT_EQ(-2, take_only(&self->words));
		EXPECT_EQ(0, now(self->epoll));
		EXPECT_EQ(0, selected(self->db, false));
		EXPECT_EQ(0, efd_poll(self->db, POLLIN | POLLRDNORM, 0));
	}
}

/*
 * An edge is a delivery that finds nothing fired. On PREEMPT_RT each newly fired line is
 * one.
 */
TEST_F(poll, edge)
{
	const uint32_t more = preempt_rt() ? EPOLLIN : 0;
	int i;

	RING(5);
	ASSERT_EQ(0, add(self->epoll, self->db, EPOLLIN | EPOLLET));
	/* A line that fired before counts as an edge. */
	EXPECT_EQ(EPOLLIN, now(self->epoll));
	EXPECT_EQ(0, now(self->epoll));
	for (i = 0; i < LINES; i++) {
		EXPECT_LE(0, take_only(&self->words));
		EXPECT_EQ(0, now(self->epoll));
		RING(i);
		EXPECT_EQ(EPOLLIN, now(self->epoll));
		EXPECT_EQ(0, now(self->epoll));
		RING(i);
		EXPECT_EQ(0, now(self->epoll));
		RING((i + 64) % LINES);
		EXPECT_EQ(more, now(self->epoll));
		EXPECT_EQ(-2, take_only(&self->words));
		RING(i);
		EXPECT_EQ(EPOLLIN, now(self->epoll));
	}
}

TEST_F(poll, oneshot)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };

	ASSERT_EQ(0, add(self->epoll, self->db, EPOLLIN | EPOLLONESHOT));
	RING(1);
	EXPECT_EQ(EPOLLIN, now(self->epoll));
	EXPECT_EQ(1, take_only(&self->words));
	RING(2);
	EXPECT_EQ(0, now(self->epoll));
	/* The line that fired meanwhile is found when the file is armed again. */
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->db, &event));
	EXPECT_EQ(EPOLLIN, now(self->epoll));
	EXPECT_EQ(2, take_only(&self->words));
}

/* An epoll in an epoll, and the removal of both. */
TEST_F(poll, nested)
{
	const int outer = epoll_create1(EPOLL_CLOEXEC);
	int i;

	ASSERT_EQ(0, add(self->epoll, self->db, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, add(outer, self->epoll, EPOLLIN | EPOLLET));
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(0, now(outer));
		RING(i);
		EXPECT_EQ(EPOLLIN, now(outer));
		EXPECT_EQ(EPOLLIN, now(self->epoll));
		EXPECT_EQ(i, take_only(&self->words));
	}
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_DEL, self->db, NULL));
	RING(1);
	EXPECT_EQ(0, now(outer));
	/* The last close of the device removes it from an epoll that stays. */
	ASSERT_EQ(0, add(self->epoll, self->db, EPOLLIN));
	ASSERT_EQ(0, doorbell_unmap_summary(&self->words));
	EXPECT_EQ(EPOLLIN, now(self->epoll));
	ASSERT_EQ(0, close(self->db));
	EXPECT_EQ(0, now(self->epoll));
}

/* Threads that sleep in each of the calls. */

struct sleeper {
	int (*call)(struct sleeper *sleeper);
	int fd;
	int ret;
	atomic_int tid;
	atomic_bool done;
	pthread_t thread;
};

static int sleep_in_poll(struct sleeper *sleeper)
{
	return efd_poll(sleeper->fd, POLLIN, -1);
}

static int sleep_in_select(struct sleeper *sleeper)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(sleeper->fd, &set);
	return select(sleeper->fd + 1, &set, NULL, NULL, NULL) == 1 &&
	       FD_ISSET(sleeper->fd, &set) ? POLLIN : 0;
}

static int sleep_in_epoll(struct sleeper *sleeper)
{
	struct epoll_event event = {};

	return epoll_wait(sleeper->fd, &event, 1, -1) == 1 ? (int)event.events : 0;
}

static void *sleeper_thread(void *arg)
{
	struct sleeper *sleeper = arg;

	atomic_store(&sleeper->tid, gettid());
	sleeper->ret = sleeper->call(sleeper);
	atomic_store(&sleeper->done, true);
	return NULL;
}

static void start_sleeper(struct __test_metadata *_metadata, struct sleeper *sleeper)
{
	ASSERT_EQ(0, pthread_create(&sleeper->thread, NULL, sleeper_thread, sleeper));
	ASSERT_TRUE(WAIT_FOR(atomic_load(&sleeper->tid) && sleeps(sleeper->tid)));
	ASSERT_FALSE(atomic_load(&sleeper->done));
}

static void expect_woken(struct __test_metadata *_metadata, struct sleeper *sleeper)
{
	ASSERT_TRUE(WAIT_FOR(atomic_load(&sleeper->done)));
	pthread_join(sleeper->thread, NULL);
	EXPECT_EQ(POLLIN, sleeper->ret);
}

TEST_F(poll, wakes)
{
	const int efd = new_eventfd(_metadata, 0, 0);
	unsigned int i, way;

	ASSERT_EQ(0, add(self->epoll, self->db, EPOLLIN | EPOLLET));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, efd, 7));
	for (i = 0; i < 30; i++) {
		struct sleeper sleepers[] = {
			{ .call = sleep_in_poll, .fd = self->db },
			{ .call = sleep_in_select, .fd = self->db },
			{ .call = sleep_in_epoll, .fd = self->epoll },
			{ .call = sleep_in_poll, .fd = self->db },
		};

		for (way = 0; way < ARRAY_SIZE(sleepers); way++)
			start_sleeper(_metadata, &sleepers[way]);
		ASSERT_LE(0, i % 2 ? efd_write(efd, 1) : doorbell_ring(self->db, 7));
		for (way = 0; way < ARRAY_SIZE(sleepers); way++)
			expect_woken(_metadata, &sleepers[way]);
		EXPECT_EQ(7, take_only(&self->words));
	}
}

/* One of several epolls with a sleeper is woken for each edge, if they ask for that. */
TEST_F(poll, exclusive)
{
	enum { NR = 3 };
	struct sleeper sleepers[NR] = {};
	int epolls[NR], i, awake, last;

	if (preempt_rt())
		SKIP(return, "each newly fired line is an edge on PREEMPT_RT");
	for (i = 0; i < NR; i++) {
		epolls[i] = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_EQ(0, add(epolls[i], self->db, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE));
		sleepers[i] = (struct sleeper){ .call = sleep_in_epoll, .fd = epolls[i] };
		start_sleeper(_metadata, &sleepers[i]);
	}
	for (last = 0; last < NR; last++) {
		RING(last);
		/* No other edge before the consumer has taken. */
		RING(last + 64);
		ASSERT_TRUE(WAIT_FOR(({
			for (awake = i = 0; i < NR; i++)
				awake += atomic_load(&sleepers[i].done);
			awake > last;
		})));
		/* A thread that was woken, too, may not have run yet. */
		for (awake = i = 0; i < NR; i++)
			awake += !sleeps(sleepers[i].tid) || atomic_load(&sleepers[i].done);
		EXPECT_EQ(last + 1, awake);
		EXPECT_EQ(-2, take_only(&self->words));
	}
	for (i = 0; i < NR; i++)
		expect_woken(_metadata, &sleepers[i]);
}

/* Records. */

#define RECORDED()	ASSERT_EQ(0, mmio_write(self->db, ADDR, 4, 1))

static void record_region(struct __test_metadata *_metadata, int db)
{
	ASSERT_EQ(0, change_region(db, recorded(to_line(ADDR, 4, LINES - 1))));
	ASSERT_EQ(1, doorbell_mask(db, LINES - 1));
}

FIXTURE(records) {
	int kmsg;
	int db;
	int epoll;
};

FIXTURE_VARIANT(records) {
	/* Records are consumed through the mapping. */
	bool mapped;
};

FIXTURE_VARIANT_ADD(records, read) { };
FIXTURE_VARIANT_ADD(records, mapped) { .mapped = true };

FIXTURE_SETUP(records)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, LINES);
	self->epoll = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, self->epoll);
}

FIXTURE_TEARDOWN(records)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

static bool consume(bool mapped, int db, struct doorbell_records *records)
{
	struct doorbell_record record;

	return mapped ? doorbell_next_record(records, &record) :
			read_records(db, &record, 1) == 1;
}

#define CONSUME()	consume(variant->mapped, self->db, &records)

TEST_F(records, edges)
{
	const int edge = epoll_create1(EPOLL_CLOEXEC);
	struct doorbell_records records;
	int i;

	/* Some waiters are older than the records. */
	ASSERT_EQ(0, add(self->epoll, self->db, EPOLLIN));
	ASSERT_EQ(0, doorbell_set_records(self->db, 4));
	records = map_records(_metadata, self->db);
	record_region(_metadata, self->db);
	ASSERT_EQ(0, add(edge, self->db, EPOLLIN | EPOLLET));
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(0, efd_poll(self->db, POLLIN, 0));
		EXPECT_EQ(0, now(edge));
		RECORDED();
		EXPECT_EQ(POLLIN, efd_poll(self->db, POLLIN, 0));
		ASSERT_EQ(EPOLLIN, await(edge));
		EXPECT_EQ(0, now(edge));
		/* Each record is an edge, even if another one is not consumed yet. */
		RECORDED();
		ASSERT_EQ(EPOLLIN, await(edge));
		EXPECT_EQ(EPOLLIN, now(self->epoll));
		EXPECT_TRUE(CONSUME());
		EXPECT_EQ(POLLIN, efd_poll(self->db, POLLIN, 0));
		EXPECT_TRUE(CONSUME());
		EXPECT_FALSE(CONSUME());
		EXPECT_EQ(0, now(self->epoll));
	}
	/* A ring that is full stays full, and its counters do not show that it is polled. */
	for (i = 0; i < 4; i++)
		RECORDED();
	EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 1));
	EXPECT_EQ(44, bus_of(_metadata, self->db).recorded);
	EXPECT_EQ(1, bus_of(_metadata, self->db).refused);
	for (i = 0; i < 4; i++)
		EXPECT_TRUE(CONSUME());
	RECORDED();
	EXPECT_TRUE(CONSUME());
	EXPECT_EQ(0, efd_poll(self->db, POLLIN, 0));
}

/* The first record comes before the first poll. */
TEST_F(records, wake)
{
	struct doorbell_records records;
	unsigned int i;

	ASSERT_EQ(0, doorbell_set_records(self->db, 4));
	records = map_records(_metadata, self->db);
	record_region(_metadata, self->db);
	/* Not polled yet. */
	RECORDED();
	EXPECT_TRUE(CONSUME());
	ASSERT_EQ(0, add(self->epoll, self->db, EPOLLIN | EPOLLET));
	for (i = 0; i < 30; i++) {
		struct sleeper sleepers[] = {
			{ .call = sleep_in_poll, .fd = self->db },
			{ .call = sleep_in_select, .fd = self->db },
			{ .call = sleep_in_epoll, .fd = self->epoll },
		};
		unsigned int way;

		for (way = 0; way < ARRAY_SIZE(sleepers); way++)
			start_sleeper(_metadata, &sleepers[way]);
		RECORDED();
		for (way = 0; way < ARRAY_SIZE(sleepers); way++)
			expect_woken(_metadata, &sleepers[way]);
		EXPECT_TRUE(CONSUME());
	}
}

/* The consumer sleeps before the records are chosen; the first record wakes it. */
TEST_F(records, come_late)
{
	unsigned int i;

	for (i = 0; i < 50; i++) {
		const int db = new_context(_metadata, LINES);
		struct sleeper sleeper = { .call = sleep_in_poll, .fd = db };

		start_sleeper(_metadata, &sleeper);
		ASSERT_EQ(0, doorbell_set_records(db, 4));
		record_region(_metadata, db);
		ASSERT_EQ(0, mmio_write(db, ADDR, 4, 1));
		expect_woken(_metadata, &sleeper);
		close(db);
	}
}

/*
 * A head that is impossible: the ring is full, and nothing else happens, whether the file was
 * polled or not.
 */
TEST_F(records, hostile_head)
{
	const uint64_t high = 1ULL << 63;
	const uint64_t heads[] = {
		UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 3, high, high + 1, high + 2, high - 1,
		high - 2, 100, 3,
	};
	struct doorbell_records records;
	unsigned int i, refused = 0, recorded;

	ASSERT_EQ(0, doorbell_set_records(self->db, 4));
	records = map_records(_metadata, self->db);
	record_region(_metadata, self->db);
	for (recorded = 0; recorded <= 2; recorded++) {
		struct sleeper sleeper = { .call = sleep_in_poll, .fd = self->db };

		for (i = 0; i < ARRAY_SIZE(heads); i++) {
			records.ring->head = heads[i];
			EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 1));
			/* An empty place has the sequence number after UINT64_MAX. */
			if (heads[i] != UINT64_MAX)
				EXPECT_EQ(0, efd_poll(self->db, POLLIN, 0));
			EXPECT_EQ(-ENOBUFS, mmio_write(self->db, ADDR, 4, 1));
			refused += 2;
		}
		EXPECT_EQ(recorded, bus_of(_metadata, self->db).recorded);
		EXPECT_EQ(refused, bus_of(_metadata, self->db).refused);
		/* When it is possible again, the next record comes, and wakes. */
		records.ring->head = recorded;
		EXPECT_EQ(0, efd_poll(self->db, POLLIN, 0));
		start_sleeper(_metadata, &sleeper);
		RECORDED();
		expect_woken(_metadata, &sleeper);
		EXPECT_TRUE(CONSUME());
	}
}

TEST_HARNESS_MAIN
