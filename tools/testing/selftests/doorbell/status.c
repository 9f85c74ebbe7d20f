// SPDX-License-Identifier: GPL-2.0-only
/*
 * The status pages: their contents, when they change, which processes see them; and that no
 * process can write to them.
 */
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "doorbell_test.h"

/* Two pages, with room for lines in the second. */
#define LINES		70
#define LAST		(LINES - 1)

FIXTURE(status) {
	int kmsg;
	int db;
	int in;
	int out;
	size_t page;
	const struct doorbell_line_status *status;
};

FIXTURE_SETUP(status)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, LINES);
	self->in = new_eventfd(_metadata, 0, 0);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->in, LAST));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, LAST));
	self->page = sysconf(_SC_PAGESIZE);
	self->status = map_status(_metadata, self->db);
}

FIXTURE_TEARDOWN(status)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Maps and unmaps. Returns 0 or -errno. */
static int try_map(int fd, size_t len, int prot, int flags, off_t offset)
{
	void *at = mmap(NULL, len, prot, flags, fd, offset);

	if (at == MAP_FAILED)
		return -errno;
	munmap(at, len);
	return 0;
}

/* Returns true if all lines are as QUERY has them, and the rest is zero. */
static bool agrees(struct __test_metadata *_metadata, int db,
		   const struct doorbell_line_status *status)
{
	static const struct doorbell_line_status none;
	uint32_t i, end = status_size(LINES) / sizeof(*status);

	for (i = 0; i < end; i++) {
		struct doorbell_query query;

		if (i >= LINES) {
			if (memcmp((void *)&status[i], &none, sizeof(none)))
				return false;
			continue;
		}
		query = line_of(_metadata, db, i);
		if (!status_agrees(&status[i], &query))
			return false;
	}
	return true;
}

TEST_F(status, agrees_with_query)
{
	const struct doorbell_line_status *line = &self->status[LAST];
	uint32_t i;

	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	for (i = 0; i < LINES; i++) {
		uint32_t n;

		for (n = 0; n < i % 4; n++)
			ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, i));
		EXPECT_EQ(i % 4, self->status[i].deliveries);
	}
	EXPECT_EQ(LAST % 4, efd_read(self->out));
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));

	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	settled(_metadata, self->db, LAST);
	EXPECT_EQ(LAST % 4 + 1, line->deliveries);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));

	EXPECT_EQ(1, doorbell_mask(self->db, LAST));
	EXPECT_EQ(DOORBELL_LINE_MASKED, status_state(line));
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, LAST));
	EXPECT_EQ(DOORBELL_LINE_MASKED | DOORBELL_LINE_PENDING, status_state(line));
	EXPECT_EQ(0, line->coalesced);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	EXPECT_EQ(DOORBELL_RING_COALESCED, doorbell_ring(self->db, LAST));
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(2, line->coalesced);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	EXPECT_EQ(1, doorbell_clear(self->db, LAST));
	EXPECT_EQ(DOORBELL_LINE_MASKED, status_state(line));
	EXPECT_EQ(1, line->dropped);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, doorbell_unmask(self->db, LAST));
	EXPECT_EQ(0, status_state(line));
	EXPECT_EQ(LAST % 4 + 2, line->deliveries);
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));

	/* Assigning and deassigning changes nothing there. */
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->out, 0, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 1));
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db, self->out, LAST));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, self->in, LAST));
	ASSERT_TRUE(agrees(_metadata, self->db, self->status));
}

/* Deliveries by a worker count as deferred. */
TEST_F(status, deferred)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 1; i < LINES; i++) {
		int link = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, link, i));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, link, i - 1));
	}
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	ASSERT_EQ(1, efd_wait(self->out));
	for (i = 0; i < LINES; i++) {
		settled(_metadata, self->db, i);
		sum += self->status[i].deferred;
	}
	EXPECT_LT(0, sum);
	EXPECT_TRUE(agrees(_metadata, self->db, self->status));
}

/* Each mapping shows all calls; each context has its own pages. */
TEST_F(status, shared_and_private)
{
	const struct doorbell_line_status *again = map_status(_metadata, self->db);
	const struct doorbell_line_status *first = mmap(NULL, status_size(1), PROT_READ, MAP_SHARED,
							self->db, status_offset(self->db));
	int other = new_context(_metadata, LINES);
	const struct doorbell_line_status *others = map_status(_metadata, other);
	pid_t pid;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, again[0].deliveries);
	ASSERT_TRUE(first != MAP_FAILED);
	/* A part of the pages can be mapped, too. */
	EXPECT_EQ(1, first[0].deliveries);
	EXPECT_EQ(0, others[0].deliveries);
	ASSERT_EQ(0, munmap((void *)again, status_size(LINES)));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (doorbell_ring(self->db, LAST) != DOORBELL_RING_DELIVERED)
			_exit(1);
		_exit(self->status[LAST].deliveries == 1 && self->status[0].deliveries == 1 ?
		      0 : 2);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, self->status[LAST].deliveries);
	EXPECT_EQ(1, first[0].deliveries);
}

/* As the header says: shared, read-only, from offset 0, no longer than the pages. */
TEST_F(status, allowed_mappings)
{
	const size_t page = self->page, all = status_size(LINES);
	int fresh = new_context(_metadata, 0), ret;

	EXPECT_EQ(0, try_map(self->db, all, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(0, try_map(self->db, page, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(0, try_map(self->db, 1, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(0, try_map(self->db, all, PROT_READ, MAP_SHARED | MAP_POPULATE, 0));
	EXPECT_EQ(0, try_map(self->db, all, PROT_READ, MAP_SHARED_VALIDATE, 0));
	EXPECT_EQ(0, try_map(self->db, all, PROT_NONE, MAP_SHARED, 0));

	EXPECT_EQ(-EINVAL, try_map(self->db, all, PROT_READ, MAP_PRIVATE, 0));
	EXPECT_EQ(-EINVAL, try_map(self->db, all, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0));
	EXPECT_EQ(-EINVAL, try_map(self->db, all + 1, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(self->db, all + page, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(self->db, page, PROT_READ, MAP_SHARED, page));
	EXPECT_EQ(-EINVAL, try_map(self->db, page, PROT_READ, MAP_SHARED, all));
	EXPECT_EQ(-EINVAL, try_map(self->db, page, PROT_READ, MAP_SHARED, 1LL << 40));
	EXPECT_EQ(-EACCES, try_map(self->db, all, PROT_READ | PROT_WRITE, MAP_SHARED, 0));
	EXPECT_EQ(-EACCES, try_map(self->db, all, PROT_WRITE, MAP_SHARED, 0));
	/* If /dev is mounted noexec, the call does not reach the module. */
	ret = try_map(self->db, all, PROT_READ | PROT_EXEC, MAP_SHARED, 0);
	EXPECT_TRUE(ret == -EACCES || ret == -EPERM);

	EXPECT_EQ(-ENXIO, try_map(fresh, page, PROT_READ, MAP_SHARED, 0));
	ASSERT_EQ(0, doorbell_set_lines(fresh, 1));
	EXPECT_EQ(0, try_map(fresh, page, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(fresh, page + 1, PROT_READ, MAP_SHARED, 0));
	EXPECT_TRUE(agrees(_metadata, self->db, self->status));
}

/* A read-only descriptor can be mapped. */
TEST_F(status, read_only_descriptor)
{
	int db = open(DEVICE, O_RDONLY | O_CLOEXEC);
	const struct doorbell_line_status *status;

	ASSERT_LE(0, db);
	ASSERT_EQ(0, doorbell_set_lines(db, 1));
	status = map_status(_metadata, db);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, 0));
	EXPECT_EQ(1, status[0].deliveries);
	EXPECT_EQ(-1, mprotect((void *)status, self->page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-EINVAL, try_map(db, self->page, PROT_READ, MAP_PRIVATE, 0));
	EXPECT_EQ(-EACCES, try_map(db, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, 0));
}

/* Returns true if a store to the address kills a child. */
static bool store_kills(uint64_t *at)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		__atomic_store_n(at, UINT64_MAX, __ATOMIC_RELAXED);
		_exit(0);
	}
	status = wait_child(pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

/* Expects that the line works and its status is right. */
static void still_works(struct __test_metadata *_metadata, int db, int out,
			const struct doorbell_line_status *status)
{
	uint64_t deliveries = line_of(_metadata, db, LAST).deliveries;

	EXPECT_EQ(0, line_of(_metadata, db, LAST).state);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(db, LAST));
	EXPECT_EQ(1, efd_read(out));
	EXPECT_EQ(deliveries + 1, status[LAST].deliveries);
	EXPECT_TRUE(agrees(_metadata, db, status));
}

TEST_F(status, cannot_become_writable)
{
	void *at = (void *)self->status;
	int prot;

	EXPECT_EQ(MAP_FAILED, mremap(at, 2 * self->page, 3 * self->page, MREMAP_MAYMOVE));
	for (prot = 0; prot <= (PROT_READ | PROT_WRITE | PROT_EXEC); prot++) {
		if (!(prot & (PROT_WRITE | PROT_EXEC)))
			continue;
		EXPECT_EQ(-1, mprotect(at, self->page, prot));
		EXPECT_EQ(EACCES, errno);
	}
	EXPECT_TRUE(store_kills((uint64_t *)at + 1));

	/* Neither after PROT_NONE nor after a move. */
	EXPECT_EQ(0, mprotect(at, self->page, PROT_NONE));
	EXPECT_EQ(-1, mprotect(at, self->page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, mprotect(at, self->page, PROT_READ));
	at = mremap(at, 2 * self->page, 2 * self->page, MREMAP_MAYMOVE | MREMAP_FIXED,
		    mmap(NULL, 2 * self->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(-1, mprotect(at, self->page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	still_works(_metadata, self->db, self->out, at);
}

/* System calls and debuggers that write for another process cannot write there either. */
TEST_F(status, no_process_writes)
{
	uint64_t *at = (uint64_t *)&self->status[LAST].deliveries, value = UINT64_MAX;
	struct iovec local = { .iov_base = &value, .iov_len = sizeof(value) };
	struct iovec remote = { .iov_base = at, .iov_len = sizeof(value) };
	struct doorbell_line_set set = { .nr_lines = 1, .result = (uintptr_t)at };
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC), pipes[2];

	/* The kernel's copy, for read(2) and for the module's own ioctls. */
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(sizeof(value), write(pipes[1], &value, sizeof(value)));
	EXPECT_EQ(-1, read(pipes[0], at, sizeof(value)));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-EFAULT, doorbell_ioctl(self->db, DOORBELL_GET_INFO, (void *)self->status));
	EXPECT_EQ(-EFAULT, doorbell_ioctl(self->db, DOORBELL_MASK, &set));

	/* The copy of a debugger, which may write to read-only mappings of files. */
	ASSERT_LE(0, mem);
	EXPECT_GE(0, pwrite(mem, &value, sizeof(value), (uintptr_t)at));
	EXPECT_GE(0, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(sizeof(value), pread(mem, &value, sizeof(value), (uintptr_t)at));
	EXPECT_EQ(0, value);
	still_works(_metadata, self->db, self->out, self->status);
}

TEST_F(status, tracer_does_not_write)
{
	void *at = (void *)&self->status[LAST].deliveries;
	int status;
	pid_t pid;

	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LAST));
	EXPECT_EQ(1, efd_read(self->out));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		/* The child reads the real counts. */
		_exit(self->status[LAST].deliveries == 2 ? 0 : 1);
	}
	status = wait_child(pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	errno = 0;
	EXPECT_EQ(1, ptrace(PTRACE_PEEKDATA, pid, at, NULL));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, pid, at, (void *)-1L));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, LAST));
	EXPECT_EQ(1, efd_read(self->out));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, NULL, NULL));
	ASSERT_EQ(0, wait_child(pid));
	still_works(_metadata, self->db, self->out, self->status);
}

/* A process whose readable mappings are executable by default. */
TEST_F(status, read_implies_exec)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		int ret;

		if (personality(READ_IMPLIES_EXEC) < 0)
			_exit(1);
		/* Refused, or not executable; and never both. */
		ret = try_map(self->db, self->page, PROT_READ, MAP_SHARED, 0);
		_exit(ret == 0 || ret == -EACCES || ret == -EPERM ? 0 : 2);
	}
	ASSERT_EQ(0, wait_child(pid));
	still_works(_metadata, self->db, self->out, self->status);
}

/* The mapping keeps the context open as a descriptor does. Unmapping closes it. */
TEST_F(status, outlives_the_descriptor)
{
	const struct doorbell_line_status *line = &self->status[LAST];
	int other = new_context(_metadata, 1);
	int held = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, held, 0));
	EXPECT_EQ(1, doorbell_mask(self->db, 0));
	close(self->db);
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(1, line->deliveries);
	ASSERT_EQ(0, efd_write(held, 1));
	EXPECT_EQ(DOORBELL_LINE_MASKED | DOORBELL_LINE_PENDING, status_state(&self->status[0]));
	EXPECT_EQ(-EBUSY, doorbell_assign_irqfd(other, self->in, 0));

	/* Half of the mapping is enough. */
	ASSERT_EQ(0, munmap((void *)self->status, self->page));
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(2, line->deliveries);
	ASSERT_EQ(0, munmap((char *)self->status + self->page, self->page));
	ASSERT_EQ(0, doorbell_assign_irqfd(other, self->in, 0));
	ASSERT_EQ(0, efd_write(self->in, 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, other, 0).deliveries == 1));
	EXPECT_EQ(0, efd_count(self->out));
}

TEST_F(status, goes_on_in_the_child)
{
	const struct doorbell_line_status *line = &self->status[LAST];
	int ready[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/*
		 * The child has no descriptor but the mapping, which soon is the last
		 * reference.
		 */
		close(self->db);
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			_exit(1);
		if (efd_write(self->in, 1) || efd_wait(self->out) != 1)
			_exit(2);
		_exit(line->deliveries == 1 ? 0 : 3);
	}
	close(self->db);
	ASSERT_EQ(0, munmap((void *)self->status, status_size(LINES)));
	ASSERT_EQ(1, write(ready[1], "", 1));
	ASSERT_EQ(0, wait_child(pid));
	/* The context was closed with the child. */
	ASSERT_EQ(0, efd_write(self->in, 1));
	EXPECT_EQ(1, efd_count(self->in));
}

/*
 * Returns true if the page has a value that looks like a kernel address, at any alignment.
 * The documented counts are small here.
 */
static bool leaks(const struct doorbell_line_status *status, size_t size)
{
	const char *at = (const char *)status;
	uint64_t value;
	size_t i;

	for (i = 0; i + sizeof(value) <= size; i++) {
		memcpy(&value, at + i, sizeof(value));
		/*
		 * The upper half of the address space; an owned line's bit before a zero
		 * word is no address.
		 */
		if (value >> 47 == 0x1ffff)
			return true;
	}
	for (i = 0; i < size / sizeof(*status); i++) {
		if (status[i].deliveries > UINT32_MAX || status[i].coalesced > UINT32_MAX ||
		    status[i].dropped > UINT32_MAX || status[i].deferred > UINT32_MAX)
			return true;
	}
	return false;
}

TEST_F(status, no_addresses)
{
	struct hammer hammer = { .hit = hit_write, .fd = self->in };
	unsigned int round;
	uint32_t i;

	for (i = 0; i < LINES; i++) {
		int e = new_eventfd(_metadata, i % 2, 0);

		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, e, i));
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), i));
		ASSERT_EQ(0, doorbell_assign_notifier(self->db, new_eventfd(_metadata, 0, 0), i,
						      DOORBELL_NOTIFY_MASK));
	}
	hammer_start(_metadata, &hammer);
	for (round = 0; round < 200; round++) {
		if (round % 20 == 0)
			doorbell_line_set(self->db, round % 40 ? DOORBELL_MASK : DOORBELL_UNMASK, 0,
					  LINES, NULL, NULL);
		ASSERT_FALSE(leaks(self->status, status_size(LINES)));
	}
	hammer_stop(&hammer);
}

/* Fields that have no meaning yet are zero, for every line. */
TEST_F(status, reserved_is_zero)
{
	uint32_t i, j;

	for (i = 0; i < LINES; i++)
		doorbell_ring(self->db, i);
	for (i = 0; i < status_size(LINES) / sizeof(*self->status); i++) {
		for (j = 0; j < ARRAY_SIZE(self->status[i].reserved); j++)
			ASSERT_EQ(0, self->status[i].reserved[j]);
	}
}

FIXTURE(counted) {
	int kmsg;
	int db;
	int out;
	const struct doorbell_line_status *status;
	struct hammer hammer;
};

FIXTURE_VARIANT(counted) {
	/* Rung by write(2) to an irqfd, not by ioctl. */
	bool by_irqfd;
	/* Delivered by UNMASK. */
	bool by_unmask;
};

FIXTURE_VARIANT_ADD(counted, ioctl) { };
FIXTURE_VARIANT_ADD(counted, irqfd) { .by_irqfd = true };
FIXTURE_VARIANT_ADD(counted, unmask) { .by_unmask = true };

static void hit_unmask(struct hammer *hammer)
{
	doorbell_mask(hammer->fd, hammer->line);
	doorbell_ring(hammer->fd, hammer->line);
	doorbell_unmask(hammer->fd, hammer->line);
}

FIXTURE_SETUP(counted)
{
	unsigned int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 1);
	self->status = map_status(_metadata, self->db);
	self->out = new_eventfd(_metadata, 0, 0);
	/* The first of many, so that it is signalled long before the delivery ends. */
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, new_eventfd(_metadata, 0, 0), 0));
	self->hammer.fd = self->db;
	self->hammer.hit = variant->by_unmask ? hit_unmask : hit_ring;
	if (variant->by_irqfd) {
		self->hammer.hit = hit_write;
		self->hammer.fd = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->hammer.fd, 0));
	}
}

FIXTURE_TEARDOWN(counted)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* A thread that a trigger wakes finds the delivery counted. */
TEST_F(counted, before_it_is_signalled)
{
	unsigned int rounds, late = 0, ahead = 0;
	struct rounds race = ROUNDS(100, 20000);
	uint64_t signals = 0, deliveries;

	hammer_start(_metadata, &self->hammer);
	for (rounds = 0; more_rounds(&race, rounds); rounds++) {
		uint64_t count;

		ASSERT_TRUE(SPIN_FOR((count = efd_read(self->out))));
		deliveries = self->status->deliveries;
		signals += count;
		late += deliveries < signals;
	}
	hammer_stop(&self->hammer);
	settled(_metadata, self->db, 0);
	signals += efd_read(self->out);
	ahead = self->status->deliveries != signals;
	EXPECT_EQ(0, late);
	EXPECT_EQ(0, ahead);
}

/* Under load no counter decreases, and all agree at the end. */
TEST_F(counted, never_goes_back)
{
	struct rounds race = ROUNDS(100, 200000);
	uint64_t deliveries = 0, coalesced = 0;
	struct doorbell_query query;
	unsigned int rounds, back = 0, odd = 0;

	hammer_start(_metadata, &self->hammer);
	for (rounds = 0; more_rounds(&race, rounds) || lacks(&race, !deliveries); rounds++) {
		uint64_t now = self->status->deliveries;
		uint64_t then = self->status->coalesced;
		uint32_t state = status_state(self->status);

		if (rounds % 2)
			doorbell_ring(self->db, 0);
		back += now < deliveries || then < coalesced;
		odd += state & ~(DOORBELL_LINE_MASKED | DOORBELL_LINE_PENDING);
		deliveries = now;
		coalesced = then;
	}
	hammer_stop(&self->hammer);
	query = settled(_metadata, self->db, 0);
	EXPECT_EQ(0, back);
	EXPECT_EQ(0, odd);
	EXPECT_TRUE(status_agrees(self->status, &query));
	EXPECT_LT(0, deliveries);
}

TEST_HARNESS_MAIN
