/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The calls of doorbell-fuzz in C: the beginning of each program that it prints. The numbers
 * of contexts, eventfds, pointers and places are those of tools/fuzz/src.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/doorbell.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Kernels for arm64 have pages of 4 or 16 KB. */
#ifdef __aarch64__
#define PAGE		16384UL
#else
#define PAGE		4096UL
#endif
#define CONTEXTS	3
#define EVENTFDS	8
#define MAPS		4
#define MAP_PAGES	32

typedef unsigned long long u64;

static int contexts[CONTEXTS] = { -1, -1, -1 };
static int eventfds[EVENTFDS] = { -1, -1, -1, -1, -1, -1, -1, -1 };
static int pipes[2], vm = -1;
static char *memory;
static __thread int thread, ring_fd = -1, fail_nth;
static __thread unsigned char bytes[PAGE];

/* The areas of the memory: arguments, buffers, and mappings of the device. */
static char *argument(void)
{
	return memory + 2 * thread * PAGE;
}

static char *buffer(u64 number)
{
	return memory + (8 + 2 * (number % 4)) * PAGE;
}

static char *map_at(u64 number)
{
	return memory + (24 + number % MAPS * MAP_PAGES) * PAGE;
}

static u64 pointer(unsigned int number)
{
	if (number >= 1 && number <= 4)
		return (u64)buffer(number - 1);
	if (number >= 5 && number <= 8)
		return (u64)buffer(number - 5) + PAGE - 16;
	switch (number) {
	case 9:
		return (u64)memory + 16 * PAGE;
	case 10:
		return (u64)memory + (18 + thread) * PAGE;
	case 11:
		return (u64)memory + 22 * PAGE;
	case 12:
		return 0xffff800000000000;
	case 13:
		return 0x0100000000000000;
	case 14:
		return (u64)buffer(0) + 1;
	}
	return 0;
}

static u64 later(u64 ns)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec + ns % (1 << 30);
}

static int context(u64 number)
{
	switch (number) {
	case 0 ... CONTEXTS - 1:
		return contexts[number];
	case CONTEXTS + 1:
		return pipes[0];
	case CONTEXTS + 2:
		return eventfds[0];
	case CONTEXTS + 3:
		return 0x7ffffffe;
	}
	return -1;
}

static int eventfd_of(u64 number)
{
	switch (number) {
	case 0 ... EVENTFDS - 1:
		return eventfds[number];
	case EVENTFDS + 1:
		return 0x7ffffffe;
	case EVENTFDS + 2:
		return contexts[0];
	case EVENTFDS + 3:
		return pipes[0];
	case EVENTFDS + 4:
		return -0x7fffffff - 1;
	case EVENTFDS + 5:
		return -2;
	}
	return -1;
}

static long show(const char *name, long result)
{
	printf("%d %s: %ld%s%s\n", thread, name, result, result < 0 ? " " : "",
	       result < 0 ? strerror(errno) : "");
	fflush(stdout);
	return result;
}

static void set_fail_nth(int nth)
{
	int fd = open("/proc/thread-self/fail-nth", O_WRONLY);

	if (fd >= 0 && dprintf(fd, "%d", nth) < 0)
		perror("fail-nth");
	close(fd);
}

/* An ioctl whose structure is at a place of the thread. */
static long call(int fd, unsigned int cmd, const void *from, size_t size, unsigned int place)
{
	char *at = argument();
	long result;
	int nth = fail_nth;

	switch (place % 8) {
	case 1:
		at += PAGE - size;
		break;
	case 2:
		at += PAGE - 8;
		break;
	case 3:
		at = memory + 16 * PAGE;
		break;
	case 4:
		at = memory + (18 + thread) * PAGE;
		break;
	case 5:
		at = NULL;
		break;
	case 6:
		at = (char *)0xffff800000000000;
		break;
	case 7:
		at += 1;
		break;
	}
	if (place % 8 == 2)
		memcpy(at, from, 8);
	else if (place % 8 <= 1 || place % 8 == 4 || place % 8 == 7)
		memcpy(at, from, size);
	fail_nth = 0;
	if (nth)
		set_fail_nth(nth);
	result = ioctl(fd, cmd, at);
	if (nth)
		set_fail_nth(0);
	return result;
}

static long number(int fd, unsigned int cmd, unsigned long value)
{
	return ioctl(fd, cmd, value);
}

/* Stores an element of an array in a buffer. */
static long store(u64 to, u64 index, const void *from, size_t size)
{
	if (index > PAGE || (index + 1) * size > PAGE)
		return -1;
	memcpy(buffer(to) + index * size, from, size);
	return 0;
}

static long put(int *slot, int fd)
{
	int old = fd < 0 ? -1 : __atomic_exchange_n(slot, fd, __ATOMIC_SEQ_CST);

	if (old >= 0)
		close(old);
	return fd < 0 ? -1 : 0;
}

static long drop(int *slot)
{
	int fd = __atomic_exchange_n(slot, -1, __ATOMIC_SEQ_CST);

	return close(fd);
}

static long do_open(u64 to)
{
	return put(&contexts[to % CONTEXTS], open("/dev/doorbell", O_RDWR | O_CLOEXEC));
}

static long do_close_context(u64 number)
{
	return drop(&contexts[number % CONTEXTS]);
}

static long do_dup_context(u64 number, u64 to)
{
	return put(&contexts[to % CONTEXTS], dup(context(number % CONTEXTS)));
}

static long do_eventfd(u64 to, u64 initial, u64 flags)
{
	int fd = eventfd(initial, (flags & 1 ? EFD_SEMAPHORE : 0) | (flags & 2 ? 0 : EFD_NONBLOCK));

	return put(&eventfds[to % EVENTFDS], fd);
}

static long do_eventfd_write(u64 number, u64 value)
{
	return write(eventfd_of(number), &value, 8);
}

static long do_eventfd_read(u64 number)
{
	return read(eventfd_of(number), bytes, 8);
}

static long do_eventfd_close(u64 number)
{
	return drop(&eventfds[number % EVENTFDS]);
}

static long do_eventfd_dup(u64 number, u64 to)
{
	return put(&eventfds[to % EVENTFDS], dup(eventfd_of(number % EVENTFDS)));
}

static long do_eventfd_pass(u64 number, u64 to)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fd = eventfd_of(number % EVENTFDS), pair[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
		return -1;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	fd = -1;
	if (sendmsg(pair[0], &message, 0) == 1 && recvmsg(pair[1], &message, 0) == 1) {
		header = CMSG_FIRSTHDR(&message);
		if (header)
			memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	}
	close(pair[0]);
	close(pair[1]);
	return put(&eventfds[to % EVENTFDS], fd);
}

static size_t up_to_page(u64 length)
{
	return length < PAGE ? length : PAGE;
}

/* Two segments of the argument, which follow each other. */
static void segments(struct iovec *iov, u64 length, u64 more)
{
	iov[0] = (struct iovec) { argument(), up_to_page(length) };
	iov[1] = (struct iovec) { argument() + up_to_page(length), up_to_page(more) };
}

static long do_pwrite(u64 number, u64 address, u64 value, u64 length)
{
	memcpy(argument(), &value, 8);
	return pwrite(context(number), argument(), up_to_page(length), address);
}

static long do_pwritev(u64 number, u64 address, u64 value, u64 length, u64 more)
{
	struct iovec iov[2];

	segments(iov, length, more);
	memcpy(argument(), &value, 8);
	return pwritev(context(number), iov, 2, address);
}

static long do_read(u64 number, u64 to, u64 length)
{
	return read(context(number), (void *)pointer(to % 15), up_to_page(length));
}

static long do_readv(u64 number, u64 address, u64 length, u64 more)
{
	struct iovec iov[2];

	segments(iov, length, more);
	return preadv(context(number), iov, 2, address);
}

static long do_pread(u64 number, u64 address, u64 to, u64 length)
{
	return pread(context(number), (void *)pointer(to % 15), up_to_page(length), address);
}

static long do_poll(u64 number)
{
	struct pollfd fd = { context(number), POLLIN | POLLOUT, 0 };

	return poll(&fd, 1, 0) < 0 ? -1 : fd.revents;
}

static long do_epoll(u64 number, u64 edge)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | (edge & 1 ? EPOLLET : 0) };
	int fd = epoll_create1(0);
	long result = -1;

	if (!epoll_ctl(fd, EPOLL_CTL_ADD, context(number), &event))
		result = epoll_wait(fd, &event, 1, 0);
	close(fd);
	return result;
}

static long do_map(u64 map, u64 number, u64 kind, u64 pages, u64 protection, u64 private)
{
	void *at = mmap(map_at(map), (1 + (pages - 1) % MAP_PAGES) * PAGE, protection & 7,
			(private ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED, context(number),
			kind % 5 * 0x10000000);

	return at == MAP_FAILED ? -1 : 0;
}

static long do_unmap(u64 map, u64 first, u64 pages)
{
	void *at;

	first %= MAP_PAGES;
	at = mmap(map_at(map) + first * PAGE, (1 + (pages - 1) % (MAP_PAGES - first)) * PAGE,
		  PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return at == MAP_FAILED ? -1 : 0;
}

static long do_protect(u64 map, u64 protection)
{
	return mprotect(map_at(map), PAGE, protection & 7);
}

static long do_advise(u64 map, u64 advice)
{
	return madvise(map_at(map), PAGE, advice & 31);
}

static long do_touch(u64 map, u64 offset, u64 write_it, u64 value)
{
	char *at = map_at(map) + offset % (MAP_PAGES * PAGE);
	long result;

	if (write_it & 1)
		return write(pipes[1], &value, 8) < 0 ? -1 : read(pipes[0], at, 8);
	result = write(pipes[1], at, 8);
	return result > 0 ? read(pipes[0], bytes, 8) : result;
}

/* The rings of io_uring for one operation at a time, and what is linked to it. */
static __thread char *rings;
static __thread struct io_uring_sqe *entries;
static __thread struct io_uring_params params;

static int ring(void)
{
	struct iovec iov = { argument(), PAGE };
	int both = PROT_READ | PROT_WRITE;

	if (ring_fd >= 0)
		return ring_fd;
	memset(&params, 0, sizeof(params));
	ring_fd = syscall(SYS_io_uring_setup, 4, &params);
	rings = mmap(NULL, 4 * 4096, both, MAP_SHARED, ring_fd, IORING_OFF_SQ_RING);
	entries = mmap(NULL, 4096, both, MAP_SHARED, ring_fd, IORING_OFF_SQES);
	syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_BUFFERS, &iov, 1);
	return ring_fd;
}

static unsigned int *ring_word(unsigned int offset)
{
	return (unsigned int *)(rings + offset);
}

/* Returns the result of the operation, whose user data is zero. */
static long submit(const struct io_uring_sqe *from, unsigned int count)
{
	unsigned int *tail, *head, at;
	long result = 0;

	if (ring() < 0)
		return -1;
	tail = ring_word(params.sq_off.tail);
	for (at = 0; at < count; at++) {
		entries[at] = from[at];
		ring_word(params.sq_off.array)[(*tail + at) & 3] = at;
	}
	__atomic_fetch_add(tail, count, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring_fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -1;
	head = ring_word(params.cq_off.head);
	tail = ring_word(params.cq_off.tail);
	for (at = *head; at != __atomic_load_n(tail, __ATOMIC_ACQUIRE); at++) {
		struct io_uring_cqe *done = (struct io_uring_cqe *)(rings + params.cq_off.cqes) +
					    (at & *ring_word(params.cq_off.ring_mask));

		if (!done->user_data)
			result = done->res;
	}
	__atomic_store_n(head, at, __ATOMIC_RELEASE);
	if (result < 0)
		errno = -result;
	return result < 0 ? -1 : result;
}

static long uring(int op, int fd, void *at, u64 length, u64 offset)
{
	struct io_uring_sqe entry = {
		.opcode = op, .fd = fd, .addr = (u64)at, .len = length, .off = offset,
	};

	return submit(&entry, 1);
}

static long do_uring_write(u64 number, u64 address, u64 value, u64 length)
{
	memcpy(argument(), &value, 8);
	return uring(IORING_OP_WRITE, context(number), argument(), up_to_page(length), address);
}

static long do_uring_read(u64 number, u64 length)
{
	return uring(IORING_OP_READ, context(number), argument(), up_to_page(length), 0);
}

static long do_uring_write_fixed(u64 number, u64 address, u64 value, u64 length)
{
	memcpy(argument(), &value, 8);
	return uring(IORING_OP_WRITE_FIXED, context(number), argument(), up_to_page(length),
		     address);
}

static long do_uring_read_fixed(u64 number, u64 length)
{
	return uring(IORING_OP_READ_FIXED, context(number), argument(), up_to_page(length), 0);
}

static long do_uring_writev(u64 number, u64 address, u64 value, u64 length, u64 more)
{
	struct iovec iov[2];

	segments(iov, length, more);
	memcpy(argument(), &value, 8);
	return uring(IORING_OP_WRITEV, context(number), iov, 2, address);
}

static long do_uring_readv(u64 number, u64 length, u64 more)
{
	struct iovec iov[2];

	segments(iov, length, more);
	return uring(IORING_OP_READV, context(number), iov, 2, 0);
}

static long do_uring_poll(u64 number, u64 microseconds)
{
	struct __kernel_timespec time = { .tv_nsec = microseconds % 1000 * 1000 };
	struct io_uring_sqe linked[] = {
		{
			.opcode = IORING_OP_POLL_ADD, .flags = IOSQE_IO_LINK,
			.fd = context(number), .poll32_events = POLLIN,
		},
		{
			.opcode = IORING_OP_LINK_TIMEOUT, .fd = -1, .addr = (u64)&time, .len = 1,
			.user_data = 1,
		},
	};

	return submit(linked, 2);
}

static long do_uring_write_eventfd(u64 number, u64 value)
{
	memcpy(argument(), &value, 8);
	return uring(IORING_OP_WRITE, eventfd_of(number), argument(), 8, 0);
}

static long do_uring_notify(u64 number)
{
	int fd = eventfd_of(number);

	syscall(SYS_io_uring_register, ring(), IORING_UNREGISTER_EVENTFD, NULL, 0);
	return syscall(SYS_io_uring_register, ring(), IORING_REGISTER_EVENTFD, &fd, 1);
}

static long do_kvm_irqfd(u64 number, u64 gsi, u64 flags)
{
	struct kvm_irqfd irqfd = { .fd = eventfd_of(number), .gsi = gsi, .flags = flags & 1 };

	return ioctl(vm, KVM_IRQFD, &irqfd);
}

static long do_fail_nth(u64 nth)
{
	fail_nth = nth % 20;
	return 0;
}

static long do_pause(u64 spins)
{
	u64 at;

	for (at = 0; at < spins % 1000; at++)
		asm volatile("" : : : "memory");
	return sched_yield();
}

static long do_word(u64 to, u64 index, u64 value)
{
	return store(to, index, &value, sizeof(value));
}

static long do_fdinfo(u64 number)
{
	char path[64];
	long result;
	int fd;

	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", context(number));
	fd = open(path, O_RDONLY);
	result = read(fd, bytes, sizeof(bytes));
	close(fd);
	return result;
}

static void interrupt(int sig)
{
	(void)sig;
}

/* Starts as tools/fuzz does: memory, a virtual machine, and a signal that ends long calls. */
static void set_up(void)
{
	struct sigaction action = { .sa_handler = interrupt };
	struct itimerspec often = { { 0, 20000000 }, { 0, 20000000 } };
	int both = PROT_READ | PROT_WRITE, kvm, area;
	timer_t timer;

	memory = mmap((void *)0x1000000000, (24 + MAPS * MAP_PAGES) * PAGE, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (area = 0; area < 16; area += 2)
		mprotect(memory + area * PAGE, PAGE, both);
	mprotect(memory + 16 * PAGE, PAGE, PROT_READ);
	mprotect(memory + 18 * PAGE, 3 * PAGE, both);
	if (pipe2(pipes, O_NONBLOCK))
		perror("pipe");
	kvm = open("/dev/kvm", O_RDWR);
	if (kvm >= 0) {
		vm = ioctl(kvm, KVM_CREATE_VM, 0);
		ioctl(vm, KVM_CREATE_IRQCHIP, 0);
	}
	sigaction(SIGALRM, &action, NULL);
	timer_create(CLOCK_MONOTONIC, NULL, &timer);
	timer_settime(timer, 0, &often, NULL);
}

