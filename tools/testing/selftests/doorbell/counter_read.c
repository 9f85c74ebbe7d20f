// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOORBELL_EVENTFD_READ and DOORBELL_EVENTFD_PEEK.
 */
#include <stddef.h>

#include "blocked.h"
#include "handled.h"

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

/* The structure of one call can be used for the next one: the count is written only. */
TEST_F(read, structure_is_reusable)
{
	int efd = new_eventfd(_metadata, 0, 0);
	struct doorbell_eventfd arg = { .fd = efd, .count = UINT64_MAX };
	unsigned int i;

	for (i = 1; i < 4; i++) {
		ASSERT_EQ(0, efd_write(efd, i));
		if (self->can_peek) {
			ASSERT_EQ(0, doorbell_ioctl(self->db, DOORBELL_EVENTFD_PEEK, &arg));
			EXPECT_EQ(i, arg.count);
		}
		ASSERT_EQ(0, doorbell_ioctl(self->db, DOORBELL_EVENTFD_READ, &arg));
		EXPECT_EQ(i, arg.count);
	}
	EXPECT_EQ(0, efd_count(efd));
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
