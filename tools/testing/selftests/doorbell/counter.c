// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters and rings: values, EFD_SEMAPHORE, both ends of the range, and
 * DOORBELL_EVENTFD_READ and PEEK.
 */
#include <stddef.h>

#include "doorbell_test.h"

TEST(rings_add_up)
{
	int db = new_context(_metadata, 1);
	int in = new_eventfd(_metadata, 0, 0);
	int out = new_eventfd(_metadata, 5, 0);
	struct doorbell_query query;
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	/* The signals add to the earlier value. */
	EXPECT_EQ(105, efd_read(out));

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, efd_write(in, 1));
		ASSERT_EQ(1, efd_wait(out));
		ASSERT_EQ(0, efd_count(in));
	}
	query = settled(_metadata, db, 0);
	EXPECT_EQ(200, query.rings);
	EXPECT_EQ(200, query.deliveries);
}

/* A write(2) of any value is one signal, and so one ring; the value is consumed. */
TEST(value_is_one_ring)
{
	int db = new_context(_metadata, 1);
	int in = new_eventfd(_metadata, 0, 0);
	int out = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	ASSERT_EQ(0, efd_write(in, 1000));
	ASSERT_EQ(1, efd_wait(out));
	ASSERT_EQ(0, efd_write(in, COUNTER_MAX));
	ASSERT_EQ(1, efd_wait(out));
	EXPECT_EQ(0, efd_count(in));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);

	/* Writing zero wakes the eventfd's listeners, but it is no signal. */
	ASSERT_EQ(0, efd_write(in, 0));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);
	EXPECT_EQ(0, efd_count(out));
}

/* A trigger's counter stops at 2^64-1 and reports it by EPOLLERR; only the count is lost. */
TEST(trigger_counter_at_its_maximum)
{
	int db = new_context(_metadata, 1);
	int out = new_eventfd(_metadata, 0, 0);
	unsigned int i;

	ASSERT_EQ(0, efd_write(out, COUNTER_MAX));
	EXPECT_EQ(POLLIN, efd_poll(out, POLLIN | POLLOUT, 0));
	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
		EXPECT_EQ(UINT64_MAX, efd_count(out));
		EXPECT_EQ(POLLIN | POLLERR, efd_poll(out, POLLIN | POLLOUT, 0));
	}
	EXPECT_EQ(3, line_of(_metadata, db, 0).deliveries);
	EXPECT_EQ(UINT64_MAX, efd_read(out));
	EXPECT_EQ(POLLOUT, efd_poll(out, POLLIN | POLLOUT, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(1, efd_read(out));
}

TEST(semaphore_as_trigger)
{
	int db = new_context(_metadata, 1);
	int out = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(3, efd_count(out));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(0, efd_read(out));
}

FIXTURE(attach) {
	int db;
	int out;
};

FIXTURE_SETUP(attach)
{
	self->db = new_context(_metadata, 1);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
}

FIXTURE_TEARDOWN(attach)
{
}

FIXTURE_VARIANT(attach) {
	uint64_t count;
};

FIXTURE_VARIANT_ADD(attach, zero) { .count = 0 };
FIXTURE_VARIANT_ADD(attach, one) { .count = 1 };
FIXTURE_VARIANT_ADD(attach, many) { .count = 12345 };
FIXTURE_VARIANT_ADD(attach, most) { .count = COUNTER_MAX };

/* If the counter is not 0, assigning consumes it and rings once; otherwise there is no ring. */
TEST_F(attach, rings_once)
{
	int in = new_eventfd(_metadata, 0, 0);
	struct doorbell_query query;

	if (variant->count)
		ASSERT_EQ(0, efd_write(in, variant->count));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
	EXPECT_EQ(0, efd_count(in));
	if (variant->count)
		ASSERT_EQ(1, efd_wait(self->out));

	query = settled(_metadata, self->db, 0);
	EXPECT_EQ(!!variant->count, query.rings);
	EXPECT_EQ(!!variant->count, query.deliveries);

	/* It causes no second ring: neither later nor by deassigning. */
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
	EXPECT_EQ(!!variant->count + 1U, settled(_metadata, self->db, 0).rings);
	EXPECT_EQ(0, efd_count(in));
}

/* Assigning, each signal and deassigning consume one each, as read(2) does. */
TEST_F(attach, semaphore_gives_one)
{
	int in = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	uint64_t left = variant->count, rings = 0;
	unsigned int i;

	if (left)
		ASSERT_EQ(0, efd_write(in, left));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
	if (left) {
		left--;
		rings++;
		ASSERT_EQ(1, efd_wait(self->out));
	}
	EXPECT_EQ(left, efd_count(in));
	EXPECT_EQ(rings, settled(_metadata, self->db, 0).rings);

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, efd_write(in, 1));
		rings++;
		ASSERT_EQ(1, efd_wait(self->out));
		EXPECT_EQ(left, efd_count(in));
		EXPECT_EQ(rings, settled(_metadata, self->db, 0).rings);
	}

	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
	if (left) {
		left--;
		rings++;
		ASSERT_EQ(1, efd_wait(self->out));
	}
	EXPECT_EQ(left, efd_count(in));
	EXPECT_EQ(rings, settled(_metadata, self->db, 0).rings);
	EXPECT_EQ(0, efd_count(self->out));
}

/* A value above one: one ring; the rest stays and is no ring by itself. */
TEST(semaphore_keeps_the_rest)
{
	int db = new_context(_metadata, 1);
	int in = new_eventfd(_metadata, 0, EFD_SEMAPHORE);

	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	ASSERT_EQ(0, efd_write(in, 10));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).deliveries == 1));
	EXPECT_EQ(9, efd_count(in));
	ASSERT_EQ(0, doorbell_deassign_irqfd(db, in, 0));
	EXPECT_EQ(8, efd_count(in));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);
	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	EXPECT_EQ(7, efd_count(in));
	EXPECT_EQ(3, settled(_metadata, db, 0).rings);
}

/* A thread that is blocked in one system call. */
struct blocked {
	int (*call)(struct blocked *blocked);
	int db;
	int fd;
	uint64_t count;
	/* The argument of DOORBELL_EVENTFD_READ. */
	struct doorbell_eventfd *arg;
	int ret;
	atomic_int tid;
	atomic_bool done;
	pthread_t thread;
};

static int call_write(struct blocked *blocked)
{
	return efd_write(blocked->fd, blocked->count);
}

static int call_read(struct blocked *blocked)
{
	return doorbell_eventfd_read(blocked->db, blocked->fd, 0, &blocked->count);
}

static int call_read_to(struct blocked *blocked)
{
	return doorbell_ioctl(blocked->db, DOORBELL_EVENTFD_READ, blocked->arg);
}

static int call_poll(struct blocked *blocked)
{
	return efd_poll(blocked->fd, POLLOUT, -1);
}

static void *block(void *arg)
{
	struct blocked *blocked = arg;

	atomic_store(&blocked->tid, gettid());
	blocked->ret = blocked->call(blocked);
	atomic_store(&blocked->done, true);
	return NULL;
}

static void start_blocked(struct __test_metadata *_metadata, struct blocked *blocked)
{
	ASSERT_EQ(0, pthread_create(&blocked->thread, NULL, block, blocked));
	ASSERT_TRUE(WAIT_FOR(atomic_load(&blocked->tid) && sleeps(blocked->tid)));
	ASSERT_FALSE(atomic_load(&blocked->done));
}

static void join_blocked(struct __test_metadata *_metadata, struct blocked *blocked)
{
	ASSERT_TRUE(WAIT_FOR(atomic_load(&blocked->done))) {
		TH_LOG("the thread was not woken");
	}
	pthread_join(blocked->thread, NULL);
}

/* Starts a writer that waits for room in the counter; write(2) blocks at 2^64-1. */
static struct blocked blocked_writer(struct __test_metadata *_metadata, int flags)
{
	int fd = eventfd(0, flags);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, efd_write(fd, COUNTER_MAX));
	return (struct blocked){ .call = call_write, .fd = fd, .count = 1 };
}

TEST(attach_wakes_writers)
{
	int db = new_context(_metadata, 1);
	struct blocked writer = blocked_writer(_metadata, 0);

	start_blocked(_metadata, &writer);
	ASSERT_EQ(0, doorbell_assign_irqfd(db, writer.fd, 0));
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	/* The blocked write is a signal of its own. */
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).rings == 2));
	EXPECT_EQ(0, efd_count(writer.fd));
}

TEST(detach_wakes_writers)
{
	int db = new_context(_metadata, 1);
	struct blocked writer = blocked_writer(_metadata, EFD_SEMAPHORE);

	/*
	 * Assigning consumes one. Make it full again, which rings once more and consumes
	 * one.
	 */
	ASSERT_EQ(0, doorbell_assign_irqfd(db, writer.fd, 0));
	EXPECT_EQ(COUNTER_MAX - 1, efd_count(writer.fd));
	writer.count = 2;
	start_blocked(_metadata, &writer);
	ASSERT_EQ(0, doorbell_deassign_irqfd(db, writer.fd, 0));
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	EXPECT_EQ(COUNTER_MAX, efd_count(writer.fd));
	EXPECT_EQ(2, settled(_metadata, db, 0).rings);
}

/*
 * A write of zero to an EFD_SEMAPHORE eventfd whose counter is not 0 wakes its irqfd, which
 * consumes one. That makes room for a writer, as read(2) does.
 */
TEST(take_wakes_writers)
{
	int db = new_context(_metadata, 1);
	struct blocked writer = blocked_writer(_metadata, EFD_SEMAPHORE);

	ASSERT_EQ(0, doorbell_assign_irqfd(db, writer.fd, 0));
	EXPECT_EQ(COUNTER_MAX - 1, efd_count(writer.fd));
	writer.count = 2;
	start_blocked(_metadata, &writer);
	ASSERT_EQ(0, efd_write(writer.fd, 0));
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	/* The rings of the assignment, of the write of zero, and of the blocked writer. */
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, db, 0).rings == 3));
	EXPECT_EQ(COUNTER_MAX - 1, efd_count(writer.fd));
}

FIXTURE(read) {
	int db;
	bool can_peek;
};

FIXTURE_SETUP(read)
{
	self->db = new_context(_metadata, 0);
	self->can_peek = info_of(_metadata, self->db).features & DOORBELL_FEATURE_EVENTFD_PEEK;
}

FIXTURE_TEARDOWN(read)
{
}

TEST_F(read, takes_all)
{
	static const uint64_t counts[] = { 1, 2, UINT32_MAX, 1ULL << 32, COUNTER_MAX };
	int efd = new_eventfd(_metadata, 0, 0);
	uint64_t count;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		ASSERT_EQ(0, efd_write(efd, counts[i]));
		EXPECT_EQ(0, doorbell_eventfd_read(self->db, efd, 0, &count));
		EXPECT_EQ(counts[i], count);
		EXPECT_EQ(0, efd_count(efd));
	}
}

/* Also the value that only the kernel can reach. */
TEST_F(read, takes_the_maximum)
{
	int efd = new_eventfd(_metadata, 0, 0);
	uint64_t count;

	ASSERT_EQ(0, doorbell_set_lines(self->db, 1));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, efd, 0));
	ASSERT_EQ(0, efd_write(efd, COUNTER_MAX));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, doorbell_eventfd_read(self->db, efd, 0, &count));
	EXPECT_EQ(UINT64_MAX, count);
	EXPECT_EQ(0, efd_count(efd));
}

TEST_F(read, takes_one_of_a_semaphore)
{
	int efd = new_eventfd(_metadata, 2, EFD_SEMAPHORE);
	uint64_t count;

	EXPECT_EQ(0, doorbell_eventfd_read(self->db, efd, 0, &count));
	EXPECT_EQ(1, count);
	EXPECT_EQ(1, efd_count(efd));
	EXPECT_EQ(0, doorbell_eventfd_read(self->db, efd, DOORBELL_EVENTFD_FLAG_NOWAIT, &count));
	EXPECT_EQ(1, count);
	EXPECT_EQ(-EAGAIN,
		  doorbell_eventfd_read(self->db, efd, DOORBELL_EVENTFD_FLAG_NOWAIT, &count));
}

TEST_F(read, nowait_does_not_sleep)
{
	int blocking = eventfd(0, 0);
	int nonblocking = eventfd(0, EFD_NONBLOCK);
	uint64_t count;

	EXPECT_EQ(-EAGAIN,
		  doorbell_eventfd_read(self->db, blocking, DOORBELL_EVENTFD_FLAG_NOWAIT, &count));
	EXPECT_EQ(-EAGAIN, doorbell_eventfd_read(self->db, nonblocking, 0, &count));
	EXPECT_EQ(-EAGAIN, doorbell_eventfd_read(self->db, nonblocking,
						 DOORBELL_EVENTFD_FLAG_NOWAIT, &count));
	EXPECT_EQ(0, fcntl(blocking, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, doorbell_eventfd_read(self->db, blocking, 0, &count));

	/* The count is consumed all the same. */
	ASSERT_EQ(0, efd_write(blocking, 3));
	EXPECT_EQ(0,
		  doorbell_eventfd_read(self->db, blocking, DOORBELL_EVENTFD_FLAG_NOWAIT, &count));
	EXPECT_EQ(3, count);
}

TEST_F(read, waits_for_a_write)
{
	struct blocked reader = { .call = call_read, .db = self->db, .fd = eventfd(0, 0) };

	start_blocked(_metadata, &reader);
	ASSERT_EQ(0, efd_write(reader.fd, 9));
	join_blocked(_metadata, &reader);
	EXPECT_EQ(0, reader.ret);
	EXPECT_EQ(9, reader.count);
	EXPECT_EQ(0, efd_count(reader.fd));
}

TEST_F(read, waits_for_a_delivery)
{
	struct blocked reader = { .call = call_read, .db = self->db, .fd = eventfd(0, 0) };

	ASSERT_EQ(0, doorbell_set_lines(self->db, 1));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, reader.fd, 0));
	start_blocked(_metadata, &reader);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	join_blocked(_metadata, &reader);
	EXPECT_EQ(0, reader.ret);
	EXPECT_EQ(1, reader.count);
}

static atomic_int handled;

static void handler(int sig)
{
	(void)sig;
	atomic_fetch_add(&handled, 1);
}

static void handle(struct __test_metadata *_metadata, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
}

TEST_F(read, is_interrupted)
{
	struct blocked reader = { .call = call_read, .db = self->db, .fd = eventfd(0, 0) };

	handle(_metadata, 0);
	start_blocked(_metadata, &reader);
	pthread_kill(reader.thread, SIGUSR1);
	join_blocked(_metadata, &reader);
	EXPECT_EQ(-EINTR, reader.ret);
	EXPECT_EQ(1, handled);
	ASSERT_EQ(0, efd_write(reader.fd, 1));
	EXPECT_EQ(1, efd_count(reader.fd));
}

TEST_F(read, is_restarted)
{
	struct blocked reader = { .call = call_read, .db = self->db, .fd = eventfd(0, 0) };

	handle(_metadata, SA_RESTART);
	start_blocked(_metadata, &reader);
	pthread_kill(reader.thread, SIGUSR1);
	ASSERT_TRUE(WAIT_FOR(handled == 1 && sleeps(reader.tid)));
	ASSERT_FALSE(atomic_load(&reader.done));
	ASSERT_EQ(0, efd_write(reader.fd, 4));
	join_blocked(_metadata, &reader);
	EXPECT_EQ(0, reader.ret);
	EXPECT_EQ(4, reader.count);
}

TEST_F(read, wakes_writers)
{
	struct blocked writer = blocked_writer(_metadata, 0);
	uint64_t count;

	start_blocked(_metadata, &writer);
	EXPECT_EQ(0, doorbell_eventfd_read(self->db, writer.fd, 0, &count));
	EXPECT_EQ(COUNTER_MAX, count);
	join_blocked(_metadata, &writer);
	EXPECT_EQ(0, writer.ret);
	EXPECT_EQ(1, efd_count(writer.fd));
}

/* DOORBELL_EVENTFD_READ sleeps while the test changes the memory of its argument. */
FIXTURE(argument) {
	int db;
	int efd;
	char *pages;
	size_t page;
	struct blocked reader;
};

FIXTURE_VARIANT(argument) {
	int flags;
	uint64_t taken;
};

FIXTURE_VARIANT_ADD(argument, counter) { .taken = 7 };
FIXTURE_VARIANT_ADD(argument, semaphore) { .flags = EFD_SEMAPHORE, .taken = 1 };

FIXTURE_SETUP(argument)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->db = new_context(_metadata, 0);
	self->efd = eventfd(0, variant->flags | EFD_CLOEXEC);
	ASSERT_LE(0, self->efd);
	self->pages = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->pages != MAP_FAILED);
	/* The count is the only field on the second page. */
	self->reader.arg = (void *)(self->pages + self->page -
				    offsetof(struct doorbell_eventfd, count));
	*self->reader.arg = (struct doorbell_eventfd){ .fd = self->efd };
	self->reader.call = call_read_to;
	self->reader.db = self->db;
}

FIXTURE_TEARDOWN(argument)
{
	munmap(self->pages, 2 * self->page);
}

#define START_READER()	start_blocked(_metadata, &self->reader)

#define SIGNAL_READER() do {						\
	ASSERT_EQ(0, efd_write(self->efd, 7));				\
	join_blocked(_metadata, &self->reader);				\
} while (0)

/* Nothing was consumed: the next read returns the whole count. */
#define EXPECT_UNTOUCHED() do {						\
	uint64_t __count;						\
									\
	EXPECT_EQ(-EFAULT, self->reader.ret);				\
	EXPECT_EQ(7, efd_count(self->efd));				\
	EXPECT_EQ(0, doorbell_eventfd_read(self->db, self->efd,		\
					   DOORBELL_EVENTFD_FLAG_NOWAIT, &__count)); \
	EXPECT_EQ(variant->taken, __count);				\
} while (0)

TEST_F(argument, unmapped)
{
	START_READER();
	ASSERT_EQ(0, munmap(self->pages, 2 * self->page));
	SIGNAL_READER();
	EXPECT_UNTOUCHED();
}

TEST_F(argument, count_unmapped)
{
	START_READER();
	ASSERT_EQ(0, munmap(self->pages + self->page, self->page));
	SIGNAL_READER();
	EXPECT_UNTOUCHED();
}

TEST_F(argument, read_only)
{
	START_READER();
	ASSERT_EQ(0, mprotect(self->pages, 2 * self->page, PROT_READ));
	SIGNAL_READER();
	EXPECT_UNTOUCHED();
}

/* Memory that can be faulted in again is no error. */
TEST_F(argument, discarded)
{
	START_READER();
	ASSERT_EQ(0, madvise(self->pages + self->page, self->page, MADV_DONTNEED));
	SIGNAL_READER();
	EXPECT_EQ(0, self->reader.ret);
	EXPECT_EQ(variant->taken, self->reader.arg->count);
	EXPECT_EQ(7 - variant->taken, efd_count(self->efd));
}

TEST_F(read, wakes_pollers_for_room)
{
	struct blocked poller = { .call = call_poll, .fd = eventfd(0, 0) };
	uint64_t count;

	ASSERT_EQ(0, efd_write(poller.fd, COUNTER_MAX));
	start_blocked(_metadata, &poller);
	EXPECT_EQ(0, doorbell_eventfd_read(self->db, poller.fd, 0, &count));
	join_blocked(_metadata, &poller);
	EXPECT_EQ(POLLOUT, poller.ret);
}

TEST_F(read, peek_takes_nothing)
{
	static const uint64_t counts[] = { 0, 1, 1ULL << 32 | 5, COUNTER_MAX };
	unsigned int i, semaphore;
	uint64_t count;

	if (!self->can_peek)
		SKIP(return, "this build cannot peek");
	for (semaphore = 0; semaphore < 2; semaphore++) {
		for (i = 0; i < ARRAY_SIZE(counts); i++) {
			int efd = new_eventfd(_metadata, 0, semaphore ? EFD_SEMAPHORE : 0);

			ASSERT_EQ(0, efd_write(efd, counts[i]));
			EXPECT_EQ(0, doorbell_eventfd_peek(self->db, efd, &count));
			EXPECT_EQ(counts[i], count);
			EXPECT_EQ(0, doorbell_eventfd_peek(self->db, efd, &count));
			EXPECT_EQ(counts[i], count);
			EXPECT_EQ(counts[i], efd_count(efd));
			close(efd);
		}
	}
}

TEST_HARNESS_MAIN
