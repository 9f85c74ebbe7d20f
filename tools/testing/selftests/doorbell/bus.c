// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bus: many writes in one call, by ioctl and by vectors, and where such a call stops;
 * the results of reads and of DOORBELL_GET_REGIONS. Runs as a 32-bit program, too.
 */
#include <limits.h>

#include "bus.h"
#include "slow_line.h"

#define NE	8

#define ADDR	0x1000ULL

FIXTURE(bus) {
	int kmsg;
	int db;
	int efd[NE];
};

FIXTURE_SETUP(bus)
{
	int i;

	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 4);
	for (i = 0; i < NE; i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(bus)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

#define ASSIGN(region)	ASSERT_EQ(0, change_region(self->db, region))

#define SIGNALS(expected)	EXPECT_EQ(expected, signals(self->efd, NE))

/* A batch has the effects of single writes in the same order, and returns their number. */
TEST_F(bus, batch)
{
	static const struct doorbell_bus_access accesses[] = {
		{ .addr = ADDR, .length = 4, .value = 1 },
		{ .addr = ADDR, .length = 2, .space = PIO, .value = 0xffff },
		{ .addr = ADDR, .length = 4, .value = 7 },
		{ .addr = ADDR + 4, .length = 8, .value = UINT64_MAX },
		{ .addr = ADDR, .length = 2, .space = PIO, .value = 3 },
		{ .addr = ADDR, .length = 4, .value = 7 },
	};

	ASSIGN(to_eventfd(ADDR, 4, self->efd[0]));
	ASSIGN(matching(to_eventfd(ADDR, 4, self->efd[1]), 7));
	ASSIGN(to_line(ADDR + 4, 0, 1));
	ASSIGN(in_space(to_eventfd(ADDR, 2, self->efd[3]), PIO));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[2], 1));
	EXPECT_EQ(ARRAY_SIZE(accesses),
		  doorbell_bus_writes(self->db, accesses, ARRAY_SIZE(accesses)));
	SIGNALS(0x2123);
	EXPECT_EQ(1, doorbell_bus_writes(self->db, accesses, 1));
	SIGNALS(0x0001);
}

/*
 * A batch stops at the first write that matches no region. It returns the error only if
 * that is the first.
 */
TEST_F(bus, batch_stops)
{
	struct doorbell_bus_access accesses[10];
	unsigned int i, stop;

	ASSIGN(matching(to_eventfd(ADDR, 4, self->efd[0]), 1));
	for (stop = 0; stop < ARRAY_SIZE(accesses); stop++) {
		for (i = 0; i < ARRAY_SIZE(accesses); i++) {
			accesses[i] = (struct doorbell_bus_access){
				.addr = ADDR, .length = 4, .value = i != stop,
			};
		}
		EXPECT_EQ(stop ? stop : -EOPNOTSUPP,
			  doorbell_bus_writes(self->db, accesses, ARRAY_SIZE(accesses)));
		SIGNALS(stop);
		/* The caller goes on with the access after the one that failed. */
		if (stop == ARRAY_SIZE(accesses) - 1)
			continue;
		EXPECT_EQ(ARRAY_SIZE(accesses) - 1 - stop,
			  doorbell_bus_writes(self->db, accesses + stop + 1,
					      ARRAY_SIZE(accesses) - 1 - stop));
		SIGNALS(ARRAY_SIZE(accesses) - 1 - stop);
	}
}

/* More than any buffer has room for. */
TEST_F(bus, long_batch)
{
	enum { NR = 10000 };
	static struct doorbell_bus_access accesses[NR];
	unsigned int i;

	ASSIGN(to_eventfd(ADDR, 1, self->efd[0]));
	for (i = 0; i < NR; i++)
		accesses[i] = (struct doorbell_bus_access){
			.addr = ADDR, .length = 1, .value = i & 0xff,
		};
	EXPECT_EQ(NR, doorbell_bus_writes(self->db, accesses, NR));
	EXPECT_EQ(NR, efd_read(self->efd[0]));
	accesses[NR - 1].addr++;
	EXPECT_EQ(NR - 1, doorbell_bus_writes(self->db, accesses, NR));
	EXPECT_EQ(NR - 1, efd_read(self->efd[0]));
	accesses[4321].length = 2;
	EXPECT_EQ(4321, doorbell_bus_writes(self->db, accesses, NR));
	EXPECT_EQ(4321, efd_read(self->efd[0]));
	EXPECT_EQ(NR + NR - 1 + 4321, writes_to(self->db, 0));
}

/* A batch that reaches unreadable memory carries out what comes before, in blocks or not. */
TEST_F(bus, batch_ends_in_unreadable_memory)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct doorbell_bus_access *end;
	int readable, i;
	char *mem;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mem != MAP_FAILED);
	ASSERT_EQ(0, munmap(mem + page, page));
	end = (void *)(mem + page);
	ASSIGN(to_eventfd(ADDR, 4, self->efd[0]));
	for (i = 1; i <= 40; i++)
		end[-i] = (struct doorbell_bus_access){ .addr = ADDR, .length = 4, .value = i };
	for (readable = 1; readable <= 40; readable++) {
		for (i = 1; i <= 40; i++) {
			EXPECT_EQ(readable, doorbell_bus_writes(self->db, end - readable,
								readable + i));
			EXPECT_EQ(readable, efd_read(self->efd[0]));
		}
	}
	EXPECT_EQ(-EFAULT, doorbell_bus_writes(self->db, end, 40));
	ASSERT_EQ(0, munmap(mem, page));
}

static void ignore(int sig)
{
	(void)sig;
}

/* The same accesses over and over, so that a batch of them does not end in time. */
enum { PART = 1 << 16, PARTS = 256 };

struct endless {
	struct doorbell_bus_access *all;
	timer_t timer;
};

#define ENDLESS_SIZE	(PART * sizeof(struct doorbell_bus_access))

/* All of them are writes to ADDR. From now on there is a signal every 20 ms. */
static void endless_setup(struct __test_metadata *_metadata, struct endless *endless)
{
	const struct itimerspec often = {
		.it_value.tv_nsec = 20000000, .it_interval.tv_nsec = 20000000 };
	const struct sigaction action = { .sa_handler = ignore };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	unsigned int i;
	int memory;
	char *all;

	memory = memfd_create("accesses", MFD_CLOEXEC);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, ftruncate(memory, ENDLESS_SIZE));
	all = mmap(NULL, PARTS * ENDLESS_SIZE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_TRUE(all != MAP_FAILED);
	for (i = 0; i < PARTS; i++)
		ASSERT_TRUE(mmap(all + i * ENDLESS_SIZE, ENDLESS_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, memory, 0) != MAP_FAILED);
	close(memory);
	endless->all = (struct doorbell_bus_access *)all;
	for (i = 0; i < PART; i++)
		endless->all[i] = (struct doorbell_bus_access){ .addr = ADDR, .length = 4 };
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &endless->timer));
	ASSERT_EQ(0, timer_settime(endless->timer, 0, &often, NULL));
}

static void endless_teardown(struct __test_metadata *_metadata, struct endless *endless)
{
	ASSERT_EQ(0, timer_delete(endless->timer));
	munmap(endless->all, PARTS * ENDLESS_SIZE);
}

/*
 * A signal ends a batch early: the call returns the number of writes that it made. The batch
 * would take much longer than the time to the next signal.
 */
TEST_F(bus, signal_ends_a_batch)
{
	struct endless endless;
	int written;

	ASSIGN(to_eventfd(ADDR, 4, self->efd[0]));
	endless_setup(_metadata, &endless);
	written = doorbell_bus_writes(self->db, endless.all, PART * PARTS);
	EXPECT_LT(0, written);
	EXPECT_GT(PART * PARTS, written);
	EXPECT_EQ(written, efd_read(self->efd[0]));
	EXPECT_EQ(written, writes_to(self->db, 0));
	endless_teardown(_metadata, &endless);
}

/* The number of accesses before the one that cannot be read. */
#define BEFORE	15

/* A thread that makes a page readable when the line has delivered once more. */
struct mender {
	struct slow_line slow;
	void *page;
	atomic_ulong deliveries;
	atomic_bool stop;
};

static void *mend(void *arg)
{
	struct mender *mender = arg;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (!atomic_load(&mender->stop)) {
		if (slow_line_deliveries(&mender->slow) <= atomic_load(&mender->deliveries)) {
			sched_yield();
			continue;
		}
		mprotect(mender->page, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE);
		atomic_store(&mender->deliveries, ULONG_MAX);
	}
	return NULL;
}

/*
 * So it does if some accesses could not be read at first. A batch is read in parts, and the first
 * part of this one goes wrong. Its first accesses take long. Meanwhile the rest becomes readable.
 */
TEST_F(bus, signal_ends_a_batch_after_a_fault)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct doorbell_bus_access *start;
	struct mender mender = { .deliveries = ULONG_MAX };
	struct timeout timeout = {};
	struct endless endless;
	pthread_t thread;
	int written, i;

	slow_line_setup(_metadata, &mender.slow, 500);
	ASSERT_EQ(0, change_region(mender.slow.db, to_eventfd(ADDR, 4, self->efd[0])));
	ASSERT_EQ(0, change_region(mender.slow.db, to_line(ADDR + 8, 4, 0)));
	endless_setup(_metadata, &endless);
	mender.page = (char *)endless.all + page;
	/* The next one is on the page, or begins just before it. */
	start = endless.all + page / sizeof(*start) - BEFORE;
	for (i = 0; i < BEFORE; i++)
		start[i].addr = ADDR + 8;
	ASSERT_EQ(0, pthread_create(&thread, NULL, mend, &mender));
	do {
		ASSERT_EQ(0, mprotect(mender.page, page, PROT_NONE));
		atomic_store(&mender.deliveries, slow_line_deliveries(&mender.slow));
		written = doorbell_bus_writes(mender.slow.db, start, PART * (PARTS - 1));
		ASSERT_LE(BEFORE, written);
		ASSERT_TRUE(WAIT_FOR(atomic_load(&mender.deliveries) == ULONG_MAX));
	} while (written == BEFORE && !timed_out(&timeout));
	EXPECT_LT(BEFORE, written);
	EXPECT_GT(PART * (PARTS - 1), written);
	atomic_store(&mender.stop, true);
	pthread_join(thread, NULL);
	endless_teardown(_metadata, &endless);
	close(mender.slow.db);
}

/* An invalid access stops a batch, too. */
TEST_F(bus, batch_with_an_invalid_access)
{
	struct doorbell_bus_access accesses[3];
	unsigned int i;

	ASSIGN(to_eventfd(ADDR, 0, self->efd[0]));
	for (i = 0; i < 4; i++) {
		accesses[0] = (struct doorbell_bus_access){ .addr = ADDR, .length = 4 };
		accesses[1] = accesses[0];
		accesses[2] = accesses[0];
		switch (i) {
		case 0:
			accesses[1].length = 3;
			break;
		case 1:
			accesses[1].length = 0;
			break;
		case 2:
			accesses[1].value = 1ULL << 32;
			break;
		default:
			accesses[1].space = 2;
		}
		EXPECT_EQ(1, doorbell_bus_writes(self->db, accesses, 3));
		SIGNALS(1);
		EXPECT_EQ(-EINVAL, doorbell_bus_writes(self->db, accesses + 1, 2));
		SIGNALS(0);
	}
}

static ssize_t writev_at(int db, const struct iovec *iov, int nr, uint64_t addr)
{
	ssize_t ret = pwritev64(db, iov, nr, addr);

	return ret < 0 ? -errno : ret;
}

#define SEGMENT(cell, length)	{ .iov_base = &(cell), .iov_len = length }

/* A segment is one write, and begins where the one before has ended. */
TEST_F(bus, segments)
{
	union cell one = cell_of(1, 0x11), two = cell_of(2, 0x2222), four = cell_of(4, 0x44444444);
	union cell eight = cell_of(8, 0x8888888888888888ULL);
	struct iovec iov[] = {
		SEGMENT(four, 4), SEGMENT(two, 2), SEGMENT(one, 1), SEGMENT(eight, 8),
	};
	int i;

	ASSIGN(matching(to_eventfd(ADDR, 4, self->efd[0]), 0x44444444));
	ASSIGN(matching(to_eventfd(ADDR + 4, 2, self->efd[1]), 0x2222));
	ASSIGN(matching(to_eventfd(ADDR + 6, 1, self->efd[2]), 0x11));
	ASSIGN(matching(to_eventfd(ADDR + 7, 8, self->efd[3]), 0x8888888888888888ULL));
	EXPECT_EQ(15, writev_at(self->db, iov, 4, ADDR));
	SIGNALS(0x1111);
	EXPECT_EQ(11, writev_at(self->db, iov + 1, 3, ADDR + 4));
	SIGNALS(0x1110);
	/* Segments are neither joined nor split. */
	EXPECT_EQ(-EOPNOTSUPP, writev_at(self->db, iov, 4, ADDR + 4));
	EXPECT_EQ(-EOPNOTSUPP, writev_at(self->db, iov + 1, 3, ADDR));
	SIGNALS(0);
	/* A vector stops at the first segment that matches no region. */
	for (i = 3; i > 0; i--) {
		static const int sums[] = { 0, 4, 6, 7 };

		((uint8_t *)iov[i].iov_base)[0] ^= 0x80;
		EXPECT_EQ(sums[i], writev_at(self->db, iov, 4, ADDR));
		SIGNALS(0x1111 & ((1 << 4 * i) - 1));
	}
	((uint8_t *)iov[0].iov_base)[0] ^= 0x80;
	EXPECT_EQ(-EOPNOTSUPP, writev_at(self->db, iov, 4, ADDR));
	SIGNALS(0);
}

/* An empty segment writes nothing. */
TEST_F(bus, empty_segments)
{
	union cell four = cell_of(4, 7);
	struct iovec iov[] = {
		SEGMENT(four, 0), SEGMENT(four, 4), SEGMENT(four, 0), SEGMENT(four, 0),
		SEGMENT(four, 4), SEGMENT(four, 0),
	};

	ASSIGN(to_eventfd(ADDR, 0, self->efd[0]));
	ASSIGN(to_eventfd(ADDR + 4, 0, self->efd[1]));
	EXPECT_EQ(8, writev_at(self->db, iov, ARRAY_SIZE(iov), ADDR));
	SIGNALS(0x11);
	EXPECT_EQ(4, writev_at(self->db, iov, 4, ADDR));
	SIGNALS(0x01);
	EXPECT_EQ(0, writev_at(self->db, iov, 1, ADDR));
	EXPECT_EQ(0, writev_at(self->db, iov + 2, 2, ADDR));
	EXPECT_EQ(0, writev_at(self->db, iov, 0, ADDR));
	EXPECT_EQ(0, pwrite64(self->db, &four, 0, ADDR));
	/* There need not be a region. */
	EXPECT_EQ(0, pwrite64(self->db, &four, 0, 0x5000));
	SIGNALS(0);
	EXPECT_EQ(2, writes_to(self->db, 0));
}

/* The maximum number of segments. */
TEST_F(bus, long_vector)
{
	enum { NR = 1024 };
	static struct doorbell_region regions[NR];
	struct iovec iov[NR];
	union cell cell = cell_of(2, 0x1234);
	int i;

	for (i = 0; i < NR; i++) {
		iov[i] = (struct iovec)SEGMENT(cell, 2);
		regions[i] = matching(to_eventfd(ADDR + 2 * i, 2, self->efd[i % NE]), 0x1234);
	}
	ASSERT_EQ(0, doorbell_change_regions(self->db, regions, NR, NULL));
	EXPECT_EQ(2 * NR, writev_at(self->db, iov, NR, ADDR));
	for (i = 0; i < NE; i++)
		EXPECT_EQ(NR / NE, efd_read(self->efd[i]));
	EXPECT_EQ(2 * NR - 2 * 7, writev_at(self->db, iov, NR, ADDR + 2 * 7));
	for (i = 0; i < NE; i++)
		EXPECT_EQ(NR / NE - (i < 7), efd_read(self->efd[i]));
}

/* Other lengths are invalid. */
TEST_F(bus, other_lengths)
{
	static const unsigned int lengths[] = { 3, 5, 6, 7, 9, 16, 4096 };
	static char zeros[4096];
	unsigned int i;

	ASSIGN(to_eventfd(ADDR, 0, self->efd[0]));
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		union cell four = cell_of(4, 0);
		struct iovec iov[] = {
			SEGMENT(four, 4), SEGMENT(zeros, lengths[i]), SEGMENT(four, 4),
		};

		EXPECT_EQ(-1, pwrite64(self->db, zeros, lengths[i], ADDR));
		EXPECT_EQ(EINVAL, errno);
		SIGNALS(0);
		EXPECT_EQ(4, writev_at(self->db, iov, 3, ADDR));
		SIGNALS(1);
		EXPECT_EQ(-EINVAL, writev_at(self->db, iov + 1, 2, ADDR));
		SIGNALS(0);
	}
}

/* Regions answer writes only. A read at an address is not supported. */
TEST_F(bus, reads)
{
	static const uint64_t addrs[] = { ADDR, ADDR + 4, 1, 0x5000, INT64_MAX - 64 };
	struct doorbell_record record;
	struct iovec iov = { .iov_base = &record, .iov_len = sizeof(record) };
	unsigned int i, round;

	ASSERT_EQ(0, doorbell_set_records(self->db, 4));
	ASSIGN(recorded(to_eventfd(ADDR, 0, self->efd[0])));
	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(addrs); i++) {
			EXPECT_EQ(-1, pread64(self->db, &record, sizeof(record), addrs[i]));
			EXPECT_EQ(EOPNOTSUPP, errno);
			EXPECT_EQ(-1, pread64(self->db, &record, 4, addrs[i]));
			EXPECT_EQ(EOPNOTSUPP, errno);
			EXPECT_EQ(-1, preadv64(self->db, &iov, 1, addrs[i]));
			EXPECT_EQ(EOPNOTSUPP, errno);
		}
		/* Address 0 is where read(2) reads, but registers are smaller than records. */
		for (i = 1; i <= 8; i *= 2) {
			EXPECT_EQ(-1, pread64(self->db, &record, i, 0));
			EXPECT_EQ(EOPNOTSUPP, errno);
		}
		SIGNALS(0);
		EXPECT_EQ(round, writes_to(self->db, 0));
		EXPECT_EQ(0, mmio_write(self->db, ADDR, 4, 0));
		SIGNALS(1);
	}
	/* Nothing was consumed. */
	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(1, read_records(self->db, &record, 1));
		EXPECT_EQ(i, record.sequence);
	}
}

/* The file has no position: a call without an offset writes to address 0. */
TEST_F(bus, no_position)
{
	union cell cell = cell_of(4, 0);
	struct iovec iov[] = { SEGMENT(cell, 4), SEGMENT(cell, 4) };

	ASSIGN(to_eventfd(0, 4, self->efd[0]));
	EXPECT_EQ(4, write(self->db, &cell, 4));
	EXPECT_EQ(4, write(self->db, &cell, 4));
	SIGNALS(2);
	EXPECT_EQ(4, writev(self->db, iov, 2));
	SIGNALS(1);
	ASSIGN(to_eventfd(4, 4, self->efd[1]));
	EXPECT_EQ(8, writev(self->db, iov, 2));
	EXPECT_EQ(4, writev(self->db, iov, 1));
	SIGNALS(0x12);
	EXPECT_EQ(-1, lseek(self->db, 4, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
}

static bool is_info(const struct doorbell_region_info *info, const struct doorbell_region *region,
		    uint64_t writes)
{
	return info->addr == region->addr && info->datamatch == region->datamatch &&
	       info->space == region->space && info->length == region->length &&
	       info->flags == region->flags && info->line == region->line &&
	       info->writes == writes && !info->reserved;
}

/* The order is that of space, address and datamatch, not that of assignment. */
TEST_F(bus, get_regions)
{
	const struct doorbell_region sorted[] = {
		to_eventfd(0, 1, self->efd[0]),
		to_line(1, 0, 3),
		to_eventfd(2, 8, self->efd[0]),
		matching(to_eventfd(2, 8, self->efd[1]), 0),
		matching(to_line(2, 8, 2), 1),
		matching(recorded(to_eventfd(2, 8, self->efd[2])), 0x100),
		matching(to_eventfd(2, 8, self->efd[3]), INT64_MAX),
		matching(to_eventfd(2, 8, self->efd[4]), 1ULL << 63),
		matching(to_eventfd(2, 8, self->efd[4]), UINT64_MAX),
		to_eventfd(1ULL << 32, 4, self->efd[5]),
		recorded(to_line(1ULL << 63, 4, 0)),
		to_eventfd(UINT64_MAX, 1, self->efd[5]),
		in_space(to_eventfd(0, 0, self->efd[6]), PIO),
		in_space(recorded(to_eventfd(2, 2, self->efd[6])), PIO),
		in_space(matching(to_eventfd(2, 2, self->efd[7]), 0xffff), PIO),
		in_space(to_line(UINT64_MAX - 7, 8, 1), PIO),
	};
	enum { NR = ARRAY_SIZE(sorted) };
	struct doorbell_region_info infos[NR + 2];
	unsigned int i, first, nr;

	ASSERT_EQ(0, doorbell_set_records(self->db, 64));
	EXPECT_EQ(0, doorbell_get_regions(self->db, infos, 0, NR));
	/* Assigns every third of them, three times. */
	for (i = 0; i < NR; i++)
		ASSIGN(sorted[i * 3 % NR]);
	for (i = 0; i < NR; i++) {
		const struct doorbell_region *region = &sorted[i];

		for (nr = 0; nr < i; nr++) {
			const enum way way = region->space == PIO ? BY_IOCTL_PIO : BY_IOCTL;
			const uint64_t value =
				region->flags & DATAMATCH ? region->datamatch : 0xee;

			ASSERT_EQ(0, bus_write(self->db, way, region->addr, region->length ?: 2,
					       value));
		}
	}
	memset(infos, 0xff, sizeof(infos));
	EXPECT_EQ(NR, doorbell_get_regions(self->db, infos, 0, NR + 1));
	for (i = 0; i < NR; i++) {
		/* The region without a datamatch counts the writes to those with one, too. */
		const unsigned int more = i == 2 ? 3 + 4 + 5 + 6 + 7 + 8 : i == 13 ? 14 : 0;

		EXPECT_TRUE(is_info(&infos[i], &sorted[i], i + more)) {
			TH_LOG("region %u", i);
		}
	}
	/* Nothing is written beyond the last. */
	EXPECT_EQ(UINT32_MAX, infos[NR].length);

	/* Lists of all sizes. */
	for (nr = 1; nr <= NR + 1; nr++) {
		for (first = 0; first <= NR; first++) {
			const unsigned int expected = NR - first < nr ? NR - first : nr;
			struct doorbell_region_info piece[NR + 2];

			memset(piece, 0xff, sizeof(piece));
			ASSERT_EQ(expected, doorbell_get_regions(self->db, piece, first, nr));
			EXPECT_EQ(0, memcmp(piece, &infos[first], expected * sizeof(*piece)));
			EXPECT_EQ(UINT32_MAX, piece[expected].length);
		}
	}
	EXPECT_EQ(0, doorbell_get_regions(self->db, infos, NR + 1, 1));
	EXPECT_EQ(0, doorbell_get_regions(self->db, infos, UINT32_MAX, 1));
	EXPECT_EQ(NR, bus_of(_metadata, self->db).nr_regions);
	EXPECT_EQ(NR, info_of(_metadata, self->db).nr_regions);

	/* A region that is deassigned takes its count with it, and no other count changes. */
	ASSIGN(without(sorted[5]));
	ASSIGN(sorted[5]);
	EXPECT_EQ(0, writes_to(self->db, 5));
	EXPECT_EQ(4, writes_to(self->db, 4));
	EXPECT_EQ(6, writes_to(self->db, 6));
	EXPECT_EQ(2 + 3 + 4 + 5 + 6 + 7 + 8, writes_to(self->db, 2));
}

/* A write that matches no region is not counted. */
TEST_F(bus, counters)
{
	struct doorbell_get_bus bus;
	int i;

	ASSIGN(matching(to_eventfd(ADDR, 4, self->efd[0]), 1));
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(-EOPNOTSUPP, mmio_write(self->db, ADDR, 4, 2));
		EXPECT_EQ(-EOPNOTSUPP, mmio_write(self->db, ADDR, 2, 1));
		EXPECT_EQ(-EOPNOTSUPP, pio_write(self->db, ADDR, 4, 1));
	}
	EXPECT_EQ(0, writes_to(self->db, 0));
	bus = bus_of(_metadata, self->db);
	EXPECT_EQ(1, bus.nr_regions);
	EXPECT_EQ(0, bus.nr_records);
	EXPECT_EQ(0, bus.recorded);
	EXPECT_EQ(0, bus.refused);
	for (i = 0; i < ARRAY_SIZE(bus.reserved); i++)
		EXPECT_EQ(0, bus.reserved[i]);
}

TEST_HARNESS_MAIN
