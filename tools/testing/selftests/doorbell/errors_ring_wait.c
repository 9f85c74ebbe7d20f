// SPDX-License-Identifier: GPL-2.0-only
/*
 * The errors of DOORBELL_RING_WAIT, see errors.c. A refused call has neither rung nor
 * consumed anything. Runs as a 32-bit program, too.
 */
#include <sys/epoll.h>

#include "errors.h"

FIXTURE(errors) {
	struct wiring w;
	/* A good argument: its eventfd has a count. */
	struct doorbell_ring_wait arg;
};

FIXTURE_SETUP(errors)
{
	struct wiring *w = &self->w;

	wiring_init(_metadata, w);
	WIRE();
	ASSERT_NE(0, w->count[1]);
	self->arg = (struct doorbell_ring_wait){ .line = 1, .fd = w->efd[1] };
}

FIXTURE_TEARDOWN(errors)
{
}

#define RING_WAIT(arg)		doorbell_ioctl(w->db[0], DOORBELL_RING_WAIT, arg)

/* With and without the ring. */
#define REFUSED_BOTH(error) do {					\
	for (self->arg.flags = 0;					\
	     self->arg.flags <= DOORBELL_RING_WAIT_FLAG_NO_RING;	\
	     self->arg.flags++) {					\
		REFUSED(error, RING_WAIT(&self->arg));			\
	}								\
} while (0)

TEST_F(errors, bad_fd)
{
	struct wiring *w = &self->w;
	int closed, null = open("/dev/null", O_RDWR), epoll = epoll_create1(0);

	closed = dup(null);
	ASSERT_LE(0, epoll);
	close(closed);
	self->arg.fd = -1;
	REFUSED_BOTH(EBADF);
	self->arg.fd = closed;
	REFUSED_BOTH(EBADF);
	self->arg.fd = null;
	REFUSED_BOTH(EINVAL);
	self->arg.fd = epoll;
	REFUSED_BOTH(EINVAL);
	self->arg.fd = w->db[0];
	REFUSED_BOTH(EINVAL);
}

TEST_F(errors, unknown_flags)
{
	struct wiring *w = &self->w;
	int bit;

	for (bit = 2; bit < 32; bit++) {
		self->arg.flags = 1U << bit;
		REFUSED(EINVAL, RING_WAIT(&self->arg));
		self->arg.flags |= DOORBELL_RING_WAIT_FLAG_NO_RING;
		REFUSED(EINVAL, RING_WAIT(&self->arg));
	}
}

TEST_F(errors, reserved_fields)
{
	struct wiring *w = &self->w;

	REFUSED_RESERVED(w->db[0], DOORBELL_RING_WAIT, self->arg);
}

/* Times that the clock cannot reach. */
TEST_F(errors, timeout_out_of_range)
{
	struct wiring *w = &self->w;
	const uint64_t times[] = { 1ULL << 63, DOORBELL_RING_WAIT_NO_TIMEOUT - 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(times); i++) {
		self->arg.timeout = times[i];
		REFUSED_BOTH(EINVAL);
	}
}

TEST_F(errors, no_such_line)
{
	static const uint32_t lines[] = { PER_DB, DOORBELL_MAX_LINES, 1U << 31, UINT32_MAX };
	struct wiring *w = &self->w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		self->arg.line = lines[i];
		REFUSED_BOTH(ENXIO);
	}
}

TEST_F(errors, no_lines_yet)
{
	struct wiring *w = &self->w;
	int fresh = new_context(_metadata, 0);

	self->arg.line = 0;
	REFUSED(ENXIO, doorbell_ioctl(fresh, DOORBELL_RING_WAIT, &self->arg));
}

/* EFAULT: unmapped, half mapped, and read-only. All are found before the ring. */
TEST_F(errors, bad_address)
{
	struct doorbell_ring_wait *last;
	long page = sysconf(_SC_PAGESIZE);
	struct wiring *w = &self->w;
	char *mem;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	last = (void *)(mem + page - sizeof(*last));
	*last = self->arg;
	memcpy(mem, &self->arg, sizeof(self->arg));
	ASSERT_EQ(0, munmap(mem + page, page));
	REFUSED(EFAULT, RING_WAIT(NULL));
	REFUSED(EFAULT, RING_WAIT(mem + page));
	REFUSED(EFAULT, RING_WAIT(mem + page - 4));
	ASSERT_EQ(0, mprotect(mem, page, PROT_READ));
	REFUSED(EFAULT, RING_WAIT(last));
	REFUSED(EFAULT, RING_WAIT(mem));
}

/* The order of several errors: EINVAL, ENXIO, the fd. */
TEST_F(errors, order_of_errors)
{
	struct wiring *w = &self->w;

	self->arg = (struct doorbell_ring_wait){
		.line = PER_DB, .fd = -1, .timeout = 1ULL << 63 };
	REFUSED_BOTH(EINVAL);
	self->arg.timeout = 0;
	REFUSED_BOTH(ENXIO);
	self->arg.line = 1;
	REFUSED_BOTH(EBADF);
	EXPECT_EQ(0, self->arg.count);
	EXPECT_EQ(0, self->arg.result);
}

TEST_HARNESS_MAIN
