// SPDX-License-Identifier: GPL-2.0-only
/*
 * An io_uring whose registered buffers are written to the bus.
 *
 * An io_uring that a line connects with itself: the eventfd of its completions rings the
 * line, and the io_uring polls the line's trigger. A wake-up by io_uring is marked
 * (EPOLL_URING_WAKE). The line passes the mark on, and so the io_uring does not loop for
 * ever.
 */
#include <linux/io_uring.h>

#include "bus.h"

/* The header may be older. */
#define OP_WRITEV_FIXED	61

#define NR_ENTRIES	8
#define NR_COMPLETIONS	256

struct uring {
	int fd;
	struct io_uring_sqe *sqes;
	unsigned int *sq_tail, *sq_mask, *sq_array;
	unsigned int *cq_head, *cq_tail, *cq_mask;
	struct io_uring_cqe *cqes;
};

/* Returns -errno if there is none. */
static int open_uring(struct __test_metadata *_metadata, struct uring *uring)
{
	struct io_uring_params p = { .flags = IORING_SETUP_CQSIZE, .cq_entries = NR_COMPLETIONS };
	size_t sq_size, cq_size;
	char *rings;

	uring->fd = syscall(SYS_io_uring_setup, NR_ENTRIES, &p);
	if (uring->fd < 0)
		return -errno;
	ASSERT_TRUE(p.features & IORING_FEAT_SINGLE_MMAP);
	sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned int);
	cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	rings = mmap(NULL, sq_size > cq_size ? sq_size : cq_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED, uring->fd, IORING_OFF_SQ_RING);
	ASSERT_TRUE(rings != MAP_FAILED);
	uring->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe),
			   PROT_READ | PROT_WRITE, MAP_SHARED, uring->fd, IORING_OFF_SQES);
	ASSERT_TRUE(uring->sqes != MAP_FAILED);
	uring->sq_tail = (unsigned int *)(rings + p.sq_off.tail);
	uring->sq_mask = (unsigned int *)(rings + p.sq_off.ring_mask);
	uring->sq_array = (unsigned int *)(rings + p.sq_off.array);
	uring->cq_head = (unsigned int *)(rings + p.cq_off.head);
	uring->cq_tail = (unsigned int *)(rings + p.cq_off.tail);
	uring->cq_mask = (unsigned int *)(rings + p.cq_off.ring_mask);
	uring->cqes = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
	return 0;
}

static void submit(struct __test_metadata *_metadata, struct uring *uring, struct io_uring_sqe sqe)
{
	const unsigned int tail = *uring->sq_tail, index = tail & *uring->sq_mask;

	uring->sqes[index] = sqe;
	uring->sq_array[index] = index;
	__atomic_store_n(uring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	ASSERT_EQ(1, syscall(SYS_io_uring_enter, uring->fd, 1, 0, 0, NULL, 0));
}

/* Submits a poll that goes on after a completion. */
static void poll_multishot(struct __test_metadata *_metadata, struct uring *uring, int fd)
{
	submit(_metadata, uring, (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD, .fd = fd, .len = IORING_POLL_ADD_MULTI,
		.poll32_events = POLLIN,
	});
}

/* Counts and consumes the completions. Returns true if the last one was among them. */
static bool reap(struct uring *uring, unsigned int *count)
{
	unsigned int head = *uring->cq_head, tail;
	bool ended = false;

	/* Completions that had no room in the ring. */
	syscall(SYS_io_uring_enter, uring->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
	tail = __atomic_load_n(uring->cq_tail, __ATOMIC_ACQUIRE);
	for (; head != tail; head++) {
		ended = !(uring->cqes[head & *uring->cq_mask].flags & IORING_CQE_F_MORE);
		(*count)++;
	}
	__atomic_store_n(uring->cq_head, head, __ATOMIC_RELEASE);
	return ended;
}

FIXTURE(uring) {
	int kmsg;
	int db;
	/* The irqfd, which the io_uring signals; the trigger, which it polls. */
	int in, out;
	struct uring uring;
};

FIXTURE_SETUP(uring)
{
	int ret;

	self->kmsg = kmsg_open();
	ret = open_uring(_metadata, &self->uring);
	if (ret)
		SKIP(return, "io_uring: %s", strerror(-ret));
	self->db = new_context(_metadata, 2);
	self->in = new_eventfd(_metadata, 0, 0);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, syscall(SYS_io_uring_register, self->uring.fd, IORING_REGISTER_EVENTFD,
			     &self->in, 1));
}

FIXTURE_TEARDOWN(uring)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

FIXTURE_VARIANT(uring) {
	/* Number of relays between the two eventfds. */
	unsigned int relays;
	/* The line is masked when the io_uring rings it. */
	bool masked;
	/* Number of rings by this thread that join that message. */
	unsigned int rings;
};

FIXTURE_VARIANT_ADD(uring, one_relay) { .relays = 1 };
FIXTURE_VARIANT_ADD(uring, two_relays) { .relays = 2 };
FIXTURE_VARIANT_ADD(uring, held_by_a_mask) { .relays = 1, .masked = true };
FIXTURE_VARIANT_ADD(uring, joined_by_a_ring) { .relays = 1, .masked = true, .rings = 1 };

TEST_F(uring, does_not_ring_itself)
{
	struct uring *uring = &self->uring;
	unsigned int count = 0, round;
	bool ended = false;
	uint64_t rings;
	int efd;

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, 0));
	if (variant->relays == 2) {
		efd = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, efd, 1));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, efd, 0));
	}
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, variant->relays - 1));
	for (round = 1; round <= 3; round++) {
		poll_multishot(_metadata, uring, self->out);
		if (variant->masked)
			ASSERT_EQ(1, doorbell_mask(self->db, 0));
		count = 0;
		rings = line_of(_metadata, self->db, 0).rings;
		ASSERT_EQ(0, efd_write(self->out, 1));
		/* A signal by a task: the poll goes on. */
		ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).rings > rings));
		if (variant->masked) {
			EXPECT_FALSE(reap(uring, &count));
			EXPECT_EQ(1, count);
			if (variant->rings)
				EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, 0));
			ASSERT_EQ(1, doorbell_unmask(self->db, 0));
		}
		/* A signal that leads back to the io_uring ends the poll. */
		ASSERT_TRUE(WAIT_FOR(reap(uring, &count)));
		EXPECT_GE(2, count);
		EXPECT_GE(2 + variant->rings, line_of(_metadata, self->db, 0).rings - rings);
		EXPECT_EQ(0, settled(_metadata, self->db, 0).state);
		/*
		 * The poll has ended, and the relay of its last completion has been
		 * delivered.
		 */
		settled(_metadata, self->db, 1);
		reap(uring, &count);
		EXPECT_GE(2, count);
		efd_drain(self->out);
	}
	/*
	 * Only a wake-up by io_uring ends a poll; one by a task, through the same line,
	 * does not.
	 */
	poll_multishot(_metadata, uring, self->out);
	count = 0;
	ASSERT_EQ(0, syscall(SYS_io_uring_register, uring->fd, IORING_UNREGISTER_EVENTFD, NULL, 0));
	for (round = 1; round <= 3; round++) {
		ASSERT_EQ(0, efd_write(self->in, 1));
		ASSERT_TRUE(WAIT_FOR((ended |= reap(uring, &count), count == round)));
	}
	EXPECT_FALSE(ended);
}

#define ADDR	0x1000ULL
#define NE	2

/* Two registered pages, and regions for the two halves of a write. */
FIXTURE(fixed) {
	int kmsg;
	int db;
	int efd[NE];
	struct uring uring;
	size_t page;
	char *pages;
};

FIXTURE_SETUP(fixed)
{
	int ret, i;

	self->kmsg = kmsg_open();
	ret = open_uring(_metadata, &self->uring);
	if (ret)
		SKIP(return, "io_uring: %s", strerror(-ret));
	self->db = new_context(_metadata, 1);
	for (i = 0; i < NE; i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
	/* Of any length. */
	ASSERT_EQ(0, change_region(self->db, to_eventfd(ADDR, 0, self->efd[0])));
	ASSERT_EQ(0, change_region(self->db, to_eventfd(ADDR + 4, 0, self->efd[1])));
	self->page = sysconf(_SC_PAGESIZE);
	self->pages = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->pages != MAP_FAILED);
	/* io_uring would join the two pages of a huge one. */
	madvise(self->pages, 2 * self->page, MADV_NOHUGEPAGE);
	memset(self->pages, 0x11, 2 * self->page);
}

FIXTURE_TEARDOWN(fixed)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Registers @len bytes of the pages from @from on as the only buffer. */
#define REGISTER(from, len) do {					\
	struct iovec __buffer = { self->pages + (from), len };		\
									\
	syscall(SYS_io_uring_register, self->uring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0); \
	ASSERT_EQ(0, syscall(SYS_io_uring_register, self->uring.fd,	\
			     IORING_REGISTER_BUFFERS, &__buffer, 1));	\
} while (0)

/* Writes from the registered buffer to @addr. Returns the operation's result. */
static int write_fixed(struct __test_metadata *_metadata, struct uring *uring, int db, int op,
		       const void *at, unsigned int len, uint64_t addr)
{
	const unsigned int head = *uring->cq_head;
	int ret;

	submit(_metadata, uring, (struct io_uring_sqe){
		.opcode = op, .fd = db, .off = addr, .addr = (uintptr_t)at, .len = len,
	});
	ASSERT_TRUE(WAIT_FOR(({
		/* Runs what the kernel has left to this task. */
		syscall(SYS_io_uring_enter, uring->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		__atomic_load_n(uring->cq_tail, __ATOMIC_ACQUIRE) != head;
	})));
	ret = uring->cqes[head & *uring->cq_mask].res;
	__atomic_store_n(uring->cq_head, head + 1, __ATOMIC_RELEASE);
	return ret;
}

#define EXPECT_WRITE(expected, op, at, len, expected_signals) do {	\
	EXPECT_EQ(expected, write_fixed(_metadata, &self->uring, self->db, op, at, len, ADDR)); \
	EXPECT_EQ(expected_signals, signals(self->efd, NE));		\
} while (0)

/* IORING_OP_WRITE_FIXED is one access, whatever pages the bytes are on. */
TEST_F(fixed, is_one_access)
{
	const size_t page = self->page;
	char *at;

	REGISTER(0, 2 * page);
	for (at = self->pages + page - 8; at <= self->pages + page; at++)
		EXPECT_WRITE(8, IORING_OP_WRITE_FIXED, at, 8, 0x01);
	for (at = self->pages + page - 4; at <= self->pages + page; at++)
		EXPECT_WRITE(4, IORING_OP_WRITE_FIXED, at, 4, 0x01);
	/* It is not two accesses, either, if it is too long for one. */
	EXPECT_WRITE(-EINVAL, IORING_OP_WRITE_FIXED, self->pages + page - 8, 16, 0);
	EXPECT_WRITE(-EINVAL, IORING_OP_WRITE_FIXED, self->pages + page - 4, 5, 0);
	EXPECT_WRITE(-EINVAL, IORING_OP_WRITE_FIXED, self->pages, 2 * page, 0);
	EXPECT_WRITE(0, IORING_OP_WRITE_FIXED, self->pages + page - 4, 0, 0);
	/* The buffer begins or ends in the access. */
	REGISTER(page - 4, page + 4);
	EXPECT_WRITE(8, IORING_OP_WRITE_FIXED, self->pages + page - 4, 8, 0x01);
	REGISTER(0, page + 4);
	EXPECT_WRITE(8, IORING_OP_WRITE_FIXED, self->pages + page - 4, 8, 0x01);
	REGISTER(page - 5, 9);
	EXPECT_WRITE(8, IORING_OP_WRITE_FIXED, self->pages + page - 4, 8, 0x01);
	REGISTER(page - 4, 9);
	EXPECT_WRITE(8, IORING_OP_WRITE_FIXED, self->pages + page - 4, 8, 0x01);
	/* Two segments of IORING_OP_WRITEV_FIXED look like this one. */
	REGISTER(page - 4, 8);
	EXPECT_WRITE(-EINVAL, IORING_OP_WRITE_FIXED, self->pages + page - 4, 8, 0);
	EXPECT_WRITE(4, IORING_OP_WRITE_FIXED, self->pages + page - 4, 4, 0x01);
	EXPECT_WRITE(4, IORING_OP_WRITE_FIXED, self->pages + page, 4, 0x01);
}

/* Segments of IORING_OP_WRITEV_FIXED are neither joined nor split, but refused. */
TEST_F(fixed, segments)
{
	char *const middle = self->pages + self->page;
	struct iovec iov[] = { { middle, 4 }, { middle - 4, 4 }, { middle, 4 }, { middle - 4, 8 } };

	REGISTER(0, 2 * self->page);
	if (write_fixed(_metadata, &self->uring, self->db, OP_WRITEV_FIXED, iov, 1, ADDR) ==
	    -EINVAL)
		SKIP(return, "the kernel has no IORING_OP_WRITEV_FIXED");
	EXPECT_EQ(0x01, signals(self->efd, NE));
	EXPECT_WRITE(4, OP_WRITEV_FIXED, iov + 1, 1, 0x01);
	EXPECT_WRITE(-EINVAL, OP_WRITEV_FIXED, iov, 2, 0);
	EXPECT_WRITE(-EINVAL, OP_WRITEV_FIXED, iov + 1, 2, 0);
	EXPECT_WRITE(-EINVAL, OP_WRITEV_FIXED, iov, 3, 0);
	EXPECT_WRITE(-EINVAL, OP_WRITEV_FIXED, iov + 3, 1, 0);
	iov[1].iov_len = 8;
	iov[1].iov_base = middle - 8;
	EXPECT_WRITE(8, OP_WRITEV_FIXED, iov + 1, 1, 0x01);
	EXPECT_WRITE(-EINVAL, OP_WRITEV_FIXED, iov + 1, 2, 0);
}

TEST_HARNESS_MAIN
