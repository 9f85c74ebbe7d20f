// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mapping of the status pages: how it can be made, that no process can write to the
 * pages, and that it keeps the context.
 */
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "status.h"

FIXTURE(status_mapping) {
	STATUS_FIXTURE;
};

FIXTURE_SETUP(status_mapping)
{
	STATUS_SETUP();
}

FIXTURE_TEARDOWN(status_mapping)
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

/* As the header says: shared, read-only, from offset 0, no longer than the pages. */
TEST_F(status_mapping, allowed_mappings)
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
TEST_F(status_mapping, read_only_descriptor)
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

TEST_F(status_mapping, cannot_become_writable)
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
	ASSERT_TRUE(store_kills((uint64_t *)at + 1));

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
TEST_F(status_mapping, no_process_writes)
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

TEST_F(status_mapping, tracer_does_not_write)
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
TEST_F(status_mapping, read_implies_exec)
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
TEST_F(status_mapping, outlives_the_descriptor)
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
	EXPECT_EQ(VECTOR_MASKED | DOORBELL_LINE_PENDING, status_state(&self->status[0]));
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

TEST_F(status_mapping, goes_on_in_the_child)
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

TEST_HARNESS_MAIN
