// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits: a search and a slow read are bounded, and other processes do not wait for them.
 * Limits of eventfds are in limits_eventfds.c, that of a memory cgroup in memcg.c.
 */

#include "bus.h"
#include "handled.h"
#include "missing.h"
#include "rlimit.h"

/*
 * The search for cycles. Each line has 64 triggers, which are irqfds of the next line and
 * of the last 63 lines; so line i reaches all lines after it. The last 64 lines have no
 * triggers.
 */
#define PER_LINE	DOORBELL_MAX_TRIGGERS_PER_LINE
/* From line 1 on, the search examines as many triggers as it may. */
#define NR_WIRED	(1 + DOORBELL_MAX_SEARCHED_TRIGGERS / PER_LINE)
#define NR_LINES	(NR_WIRED + PER_LINE)

FIXTURE(search) {
	int db;
	int efd[NR_LINES];
};

FIXTURE_SETUP(search)
{
	unsigned int i, j;

	ASSERT_EQ(0, set_rlimit(RLIMIT_NOFILE, NR_LINES + 64));
	self->db = new_context(_metadata, NR_LINES + 1);
	for (i = 0; i < NR_LINES; i++) {
		self->efd[i] = new_eventfd(_metadata, 0, 0);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, self->efd[i], i));
	}
	for (i = 0; i < NR_WIRED; i++) {
		ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[i + 1], i));
		for (j = 1; j < PER_LINE; j++)
			ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd[NR_LINES - j], i));
	}
}

FIXTURE_TEARDOWN(search)
{
}

/* ENOSPC: the assignment would need a longer search. */
TEST_F(search, is_bounded)
{
	int efd = new_eventfd(_metadata, 0, 0);

	EXPECT_EQ(-ENOSPC, doorbell_assign_irqfd(self->db, efd, 0));
	EXPECT_EQ(-ENOSPC, doorbell_assign_trigger(self->db, self->efd[0], NR_LINES));
	EXPECT_EQ(NR_LINES, info_of(_metadata, self->db).nr_irqfds);
	EXPECT_EQ(NR_WIRED * PER_LINE, info_of(_metadata, self->db).nr_triggers);
	EXPECT_EQ(0, line_of(_metadata, self->db, NR_LINES).nr_triggers);

	/* The longest search that is allowed. */
	EXPECT_EQ(0, doorbell_assign_irqfd(self->db, efd, 1));
	EXPECT_EQ(0, doorbell_assign_trigger(self->db, self->efd[1], NR_LINES));

	/* A cycle is found, and an assignment that needs no search is never refused. */
	EXPECT_EQ(-ELOOP, doorbell_assign_trigger(self->db, self->efd[1], NR_WIRED - 1));
	EXPECT_EQ(0, doorbell_deassign_irqfd(self->db, efd, 1));
	EXPECT_EQ(0, doorbell_assign_irqfd(self->db, efd, NR_LINES - 1));
}

struct querier {
	int db;
	atomic_ulong done;
	atomic_bool stop;
};

static void *query_loop(void *arg)
{
	struct querier *querier = arg;
	struct doorbell_query query;

	pin_to(1);
	while (!atomic_load(&querier->stop)) {
		if (!doorbell_query(querier->db, 0, &query))
			atomic_fetch_add(&querier->done, 1);
	}
	return NULL;
}

/* While one thread searches, another one's status calls go on. */
TEST_F(search, holds_up_no_query)
{
	const unsigned int searches = repeats(60, 12);
	int efd = new_eventfd(_metadata, 0, 0);
	struct querier querier = { .db = self->db };
	unsigned long before;
	struct timeout timeout = {};
	unsigned int round, good;
	pthread_t thread;

	pin_to(0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, query_loop, &querier));
	ASSERT_TRUE(SPIN_FOR(atomic_load(&querier.done)));
	/* A busy host delays one of the processors now and then. */
	do {
		good = 0;
		for (round = 0; round < searches; round++) {
			before = atomic_load(&querier.done);
			ASSERT_EQ(0, doorbell_assign_irqfd(self->db, efd, 1));
			good += atomic_load(&querier.done) - before >= 16;
			ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, efd, 1));
		}
	} while (good < searches / 3 && !timed_out(&timeout));
	atomic_store(&querier.stop, true);
	pthread_join(thread, NULL);
	EXPECT_LE(searches / 3, good);
	ksft_print_msg("queries went on during %u of %u searches\n", good, searches);
}

/* Reads records into memory that the test makes present later, by userfaultfd. */
#define ADDR	0x1000ULL

FIXTURE(slow_read) {
	int db;
	struct missing missing;
	/* Two pages; the second one is missing. */
	char *pages;
	size_t size;
};

FIXTURE_SETUP(slow_read)
{
	int ret, efd = new_eventfd(_metadata, 0, 0);
	unsigned int i;

	ret = missing_open(&self->missing);
	if (ret)
		SKIP(return, "userfaultfd: %s", strerror(-ret));
	self->size = sysconf(_SC_PAGESIZE);
	self->pages = mmap(NULL, 2 * self->size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->pages != MAP_FAILED);
	self->pages[0] = 0;
	ASSERT_EQ(0, missing_begin(&self->missing, self->pages + self->size, self->size));

	self->db = new_context(_metadata, 1);
	ASSERT_EQ(0, doorbell_set_records(self->db, 8));
	ASSERT_EQ(0, change_region(self->db, recorded(to_eventfd(ADDR, 4, efd))));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, mmio_write(self->db, ADDR, 4, i));
}

FIXTURE_TEARDOWN(slow_read)
{
}

struct slow {
	int db;
	void *to;
	size_t len;
	ssize_t ret;
	pthread_t thread;
};

static void *slow_reader(void *arg)
{
	struct slow *slow = arg;

	slow->ret = read(slow->db, slow->to, slow->len);
	if (slow->ret < 0)
		slow->ret = -errno;
	return NULL;
}

/* Starts @func with @length at @at, and waits until it waits for the page. */
#define START_FUNC(call, func, at, length) do {				\
	struct slow *__slow = call;					\
									\
	*__slow = (struct slow){ .db = self->db, .to = at, .len = length }; \
	ASSERT_EQ(0, pthread_create(&__slow->thread, NULL, func, __slow)); \
	ASSERT_TRUE(WAIT_FOR(missing_is_accessed(&self->missing)));	\
} while (0)

/* Starts a read of 4 records at @at, and waits until it waits for the page. */
#define START_SLOW(reader, at) \
	START_FUNC(reader, slow_reader, at, 4 * sizeof(struct doorbell_record))

/* Adds the page and waits until the read ends. */
#define END_SLOW(reader) do {						\
	ASSERT_EQ(0, missing_end(&self->missing));			\
	pthread_join((reader)->thread, NULL);				\
} while (0)

/*
 * Another process reads @nr records, the first of which has the number @first, before the
 * page is added. If it does not end, the test waits for it after the page: a process that
 * cannot be killed would end the test.
 */
#define READ_MEANWHILE(reader, nr, first) do {				\
	const unsigned int __nr = nr;					\
	struct doorbell_record __got[8];				\
	int __status = -1;						\
	pid_t __pid = fork();						\
	bool __ended;							\
									\
	if (!__pid) {							\
		const ssize_t __len = read(self->db, __got, __nr * sizeof(*__got)); \
									\
		_exit(__len != (ssize_t)(__nr * sizeof(*__got)) ||	\
		      __got->sequence != (first));			\
	}								\
	__ended = WAIT_FOR(waitpid(__pid, &__status, WNOHANG) == __pid); \
	if (!__ended)							\
		kill(__pid, SIGKILL);					\
	END_SLOW(reader);						\
	if (!__ended)							\
		waitpid(__pid, NULL, 0);				\
	ASSERT_TRUE(__ended);						\
	EXPECT_EQ(0, __status);						\
} while (0)

/* Another process's read does not wait for that memory and loses nothing. */
TEST_F(slow_read, holds_up_no_reader)
{
	struct doorbell_record *records = (void *)(self->pages + self->size);
	struct slow slow;

	START_SLOW(&slow, records);
	READ_MEANWHILE(&slow, 3, 1);
	/* The rest is read once. */
	EXPECT_EQ(sizeof(*records), slow.ret);
	EXPECT_EQ(4, records[0].sequence);
	EXPECT_EQ(3, records[0].value);
	EXPECT_EQ(-EAGAIN, read_records(self->db, records, 1));
}

/* Others have read all records meanwhile. */
TEST_F(slow_read, finds_nothing)
{
	struct doorbell_record *records = (void *)(self->pages + self->size);
	struct slow slow;

	START_SLOW(&slow, records);
	READ_MEANWHILE(&slow, 4, 1);
	EXPECT_EQ(-EAGAIN, slow.ret);
	ASSERT_EQ(0, mmio_write(self->db, ADDR, 4, 77));
	EXPECT_EQ(1, read_records(self->db, records, 1));
	EXPECT_EQ(5, records[0].sequence);
}

/* The records that could be copied are consumed; the next one is still there. */
TEST_F(slow_read, fails_half_way)
{
	const size_t two_and_a_half = 2 * sizeof(struct doorbell_record) + 16;
	struct doorbell_record *records = (void *)(self->pages + self->size - two_and_a_half);
	struct doorbell_record record;

	ASSERT_EQ(0, munmap(self->pages + self->size, self->size));
	EXPECT_EQ(2 * sizeof(*records), read(self->db, records, 4 * sizeof(*records)));
	EXPECT_EQ(1, records[0].sequence);
	EXPECT_EQ(2, records[1].sequence);
	records = (void *)(self->pages + self->size - 16);
	EXPECT_EQ(-EFAULT, read_records(self->db, records, 1));
	EXPECT_EQ(1, read_records(self->db, &record, 1));
	EXPECT_EQ(3, record.sequence);
	EXPECT_EQ(1, read_records(self->db, &record, 1));
	EXPECT_EQ(4, record.sequence);
	EXPECT_EQ(-EAGAIN, read_records(self->db, &record, 1));
}

/* A signal ends a read after the records that were copied; the next one is still there. */
TEST_F(slow_read, ends_with_a_signal)
{
	enum { NR = 64 };
	struct doorbell_record *records = (void *)(self->pages + self->size);
	struct doorbell_record record;
	struct slow slow;
	unsigned int i;
	int nr;

	close(self->db);
	self->db = new_context(_metadata, 1);
	ASSERT_EQ(0, doorbell_set_records(self->db, NR));
	ASSERT_EQ(0, change_region(self->db, recorded(to_eventfd(ADDR, 4,
								 new_eventfd(_metadata, 0, 0)))));
	for (i = 0; i < NR; i++)
		ASSERT_EQ(0, mmio_write(self->db, ADDR, 4, i));
	handle(_metadata, SA_RESTART);
	START_FUNC(&slow, slow_reader, records, NR * sizeof(*records));
	/* The signal is pending before the first record can be copied. */
	ASSERT_EQ(0, pthread_kill(slow.thread, SIGUSR1));
	END_SLOW(&slow);
	EXPECT_EQ(0, slow.ret % sizeof(*records));
	nr = slow.ret / sizeof(*records);
	EXPECT_LT(0, nr);
	EXPECT_GT(NR, nr);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(i + 1, records[i].sequence);
	for (; i < NR; i++) {
		ASSERT_EQ(1, read_records(self->db, &record, 1));
		EXPECT_EQ(i + 1, record.sequence);
	}
	EXPECT_EQ(-EAGAIN, read_records(self->db, &record, 1));
}

static void *slow_changer(void *arg)
{
	struct slow *slow = arg;

	slow->ret = doorbell_change_regions(slow->db, slow->to, slow->len, NULL);
	return NULL;
}

/*
 * While DOORBELL_REGIONS waits for memory, it keeps no eventfd alive: there is no limit on the
 * number of such calls.
 */
TEST_F(slow_read, regions_keep_no_eventfd)
{
	enum { NR = 16 };
	struct doorbell_region *regions = (void *)(self->pages + self->size);
	int efd[NR], fd, found = 0, i;
	long id[NR], new_id, last = 0;
	struct slow slow;

	regions -= NR;
	for (i = 0; i < NR; i++) {
		efd[i] = new_eventfd(_metadata, 0, 0);
		id[i] = efd_id(efd[i]);
		ASSERT_LE(0, id[i]);
		if (id[i] > last)
			last = id[i];
		regions[i] = to_eventfd(ADDR + 8 + 8 * i, 4, efd[i]);
	}
	START_FUNC(&slow, slow_changer, regions, NR + 1);
	for (i = 0; i < NR; i++)
		close(efd[i]);
	/* The kernel uses the lowest numbers that are free. Another process may use some, too. */
	do {
		fd = new_eventfd(_metadata, 0, 0);
		new_id = efd_id(fd);
		for (i = 0; i < NR; i++)
			found += id[i] == new_id;
	} while (new_id < last);
	EXPECT_LT(NR / 2, found);
	END_SLOW(&slow);
	EXPECT_GT(0, slow.ret);
}

TEST_HARNESS_MAIN
