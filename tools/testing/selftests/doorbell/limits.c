// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits: a context can use a bounded amount of resources, a call beyond that is refused,
 * and other processes do not wait for it. The limit of a memory cgroup is in memcg.c.
 */
#include <linux/userfaultfd.h>
#include <sys/resource.h>

#include "bus.h"

static int set_rlimit(int resource, rlim_t limit)
{
	const struct rlimit rlimit = { .rlim_cur = limit, .rlim_max = limit };

	return setrlimit(resource, &rlimit);
}

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

#define SEARCHES	60

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
	int efd = new_eventfd(_metadata, 0, 0);
	struct querier querier = { .db = self->db };
	unsigned long before;
	unsigned int round, good = 0;
	pthread_t thread;

	pin_to(0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, query_loop, &querier));
	ASSERT_TRUE(SPIN_FOR(atomic_load(&querier.done)));
	for (round = 0; round < SEARCHES; round++) {
		before = atomic_load(&querier.done);
		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, efd, 1));
		good += atomic_load(&querier.done) - before >= 16;
		ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, efd, 1));
	}
	atomic_store(&querier.stop, true);
	pthread_join(thread, NULL);
	/* A busy host delays one of the processors now and then. */
	EXPECT_LE(SEARCHES / 3, good);
	ksft_print_msg("queries went on during %u of %u searches\n", good, SEARCHES);
}

/* Reads records into memory that the test makes present later, by userfaultfd. */
#define ADDR	0x1000ULL

FIXTURE(slow_read) {
	int db;
	int uffd;
	/* Two pages; the second one is missing. */
	char *pages;
	size_t size;
};

FIXTURE_SETUP(slow_read)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int efd = new_eventfd(_metadata, 0, 0);
	unsigned int i;

	self->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_API, &api));
	self->size = sysconf(_SC_PAGESIZE);
	self->pages = mmap(NULL, 2 * self->size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->pages != MAP_FAILED);
	self->pages[0] = 0;
	reg.range.start = (uintptr_t)self->pages + self->size;
	reg.range.len = self->size;
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_REGISTER, &reg));

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

/* Starts a read of 4 records at @to, and waits until it waits for the page. */
#define START_SLOW(reader, at) do {					\
	struct slow *__reader = reader;					\
	struct uffd_msg __msg;						\
									\
	*__reader = (struct slow){ .db = self->db, .to = at,		\
				   .len = 4 * sizeof(struct doorbell_record) }; \
	ASSERT_EQ(0, pthread_create(&__reader->thread, NULL, slow_reader, __reader)); \
	ASSERT_TRUE(WAIT_FOR(read(self->uffd, &__msg, sizeof(__msg)) == sizeof(__msg))); \
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, __msg.event);			\
} while (0)

/* Adds the page and waits until the read ends. */
#define END_SLOW(reader) do {						\
	struct uffdio_zeropage __zero = {				\
		.range = {						\
			.start = (uintptr_t)self->pages + self->size,	\
			.len = self->size,				\
		},							\
	};								\
									\
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_ZEROPAGE, &__zero));	\
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
									\
	if (!__pid) {							\
		const ssize_t __len = read(self->db, __got, __nr * sizeof(*__got)); \
									\
		_exit(__len != (ssize_t)(__nr * sizeof(*__got)) ||	\
		      __got->sequence != (first));			\
	}								\
	EXPECT_TRUE(WAIT_FOR(waitpid(__pid, &__status, WNOHANG) == __pid)); \
	if (__status < 0)						\
		kill(__pid, SIGKILL);					\
	EXPECT_EQ(0, __status);						\
	END_SLOW(reader);						\
	if (__status < 0)						\
		waitpid(__pid, NULL, 0);				\
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

/* Peers that are gone: their eventfds have no file any more. */
#define ALL	(DEASSIGN | DOORBELL_TRIGGER_FLAG_ALL)

FIXTURE(dead_peers) {
	int db;
	int efd;
};

FIXTURE_SETUP(dead_peers)
{
	self->db = new_context(_metadata, 2);
	self->efd = new_eventfd(_metadata, 0, 0);
}

FIXTURE_TEARDOWN(dead_peers)
{
}

TEST_F(dead_peers, triggers)
{
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, 1));
	for (i = 0; i < DOORBELL_MAX_TRIGGERS_PER_LINE; i++) {
		int efd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_trigger(self->db, efd, 0));
		close(efd);
	}
	ASSERT_EQ(-ENOSPC, doorbell_assign_trigger(self->db, self->efd, 0));
	ASSERT_EQ(DOORBELL_MAX_TRIGGERS_PER_LINE, doorbell_deassign_all_triggers(self->db, 0));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_triggers);
	EXPECT_EQ(1, info_of(_metadata, self->db).nr_triggers);
	EXPECT_EQ(0, doorbell_deassign_all_triggers(self->db, 0));

	/* Of that line only; and there is room again. */
	EXPECT_EQ(1, line_of(_metadata, self->db, 1).nr_triggers);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(2, efd_read(self->efd));

	/* An eventfd that has a file goes, too. */
	EXPECT_EQ(1, doorbell_deassign_all_triggers(self->db, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(0, efd_read(self->efd));
}

TEST_F(dead_peers, notifiers)
{
	int irqfd = new_eventfd(_metadata, 0, 0);
	int resamplefd = new_eventfd(_metadata, 0, 0);
	unsigned int i;

	ASSERT_EQ(0, doorbell_set_type(self->db, 0, DOORBELL_TYPE_LEVEL));
	ASSERT_EQ(0, doorbell_assign_resampled(self->db, irqfd, 0, resamplefd));
	for (i = 0; i < DOORBELL_MAX_NOTIFIERS_PER_LINE; i++) {
		int efd = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_notifier(self->db, efd, 0, DOORBELL_NOTIFY_ACK));
		close(efd);
	}
	ASSERT_EQ(-ENOSPC, doorbell_assign_notifier(self->db, self->efd, 0, DOORBELL_NOTIFY_ACK));
	ASSERT_EQ(DOORBELL_MAX_NOTIFIERS_PER_LINE, doorbell_deassign_all_notifiers(self->db, 0));
	EXPECT_EQ(0, line_of(_metadata, self->db, 0).nr_notifiers);
	EXPECT_EQ(0, info_of(_metadata, self->db).nr_notifiers);
	EXPECT_EQ(0, doorbell_deassign_all_notifiers(self->db, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->efd, 0, DOORBELL_NOTIFY_ACK));

	/* A resamplefd is not one of them. */
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_resamplefds);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(DOORBELL_ACK_DONE, doorbell_ack(self->db, 0));
	EXPECT_EQ(1, efd_read(self->efd));
	EXPECT_EQ(1, efd_read(resamplefd));
}

TEST_F(dead_peers, errors)
{
	struct doorbell_notifier notifier = {
		.fd = -1, .flags = ALL, .events = DOORBELL_NOTIFY_ACK,
	};
	int fds[] = { 0, self->efd, self->db, -2, INT32_MAX };
	unsigned int i;

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->efd, 0));
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, self->efd, 0, DOORBELL_NOTIFY_ACK));
	/* An fd contradicts DOORBELL_TRIGGER_FLAG_ALL. */
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		EXPECT_EQ(-EINVAL, doorbell_trigger(self->db, fds[i], 0, ALL));
		EXPECT_EQ(-EINVAL, doorbell_notifier(self->db, fds[i], 0, ALL, 0));
	}
	/* ALL is for deassigning only, and the line must exist. */
	EXPECT_EQ(-EINVAL, doorbell_trigger(self->db, -1, 0, DOORBELL_TRIGGER_FLAG_ALL));
	EXPECT_EQ(-EINVAL, doorbell_notifier(self->db, -1, 0, DOORBELL_TRIGGER_FLAG_ALL,
					     DOORBELL_NOTIFY_ACK));
	EXPECT_EQ(-EINVAL, doorbell_ioctl(self->db, DOORBELL_NOTIFIER, &notifier));
	EXPECT_EQ(-ENXIO, doorbell_deassign_all_triggers(self->db, 2));
	EXPECT_EQ(-ENXIO, doorbell_deassign_all_notifiers(self->db, 2));
	/* Irqfds go by themselves; regions can be deassigned without an fd. */
	EXPECT_EQ(-EINVAL, doorbell_irqfd(self->db, -1, 0, ALL, 0));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_triggers);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_notifiers);
}

/* When the call has returned, none is signalled any more. */
TEST_F(dead_peers, is_a_barrier)
{
	struct hammer hammer = { .hit = hit_ring, .fd = self->db, .line = 0 };
	struct rounds rounds = ROUNDS(200, 5000);
	int efd[8];
	unsigned long round, late = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(efd); i++)
		efd[i] = new_eventfd(_metadata, 0, 0);
	hammer_start(_metadata, &hammer);
	for (round = 0; more_rounds(&rounds, round); round++) {
		for (i = 0; i < ARRAY_SIZE(efd); i++)
			ASSERT_EQ(0, doorbell_assign_trigger(self->db, efd[i], 0));
		dither(round);
		ASSERT_EQ(ARRAY_SIZE(efd), doorbell_deassign_all_triggers(self->db, 0));
		for (i = 0; i < ARRAY_SIZE(efd); i++)
			efd_drain(efd[i]);
		dither(round);
		for (i = 0; i < ARRAY_SIZE(efd); i++)
			late += efd_read(efd[i]);
	}
	hammer_stop(&hammer);
	EXPECT_EQ(0, late);
}

/* Eventfds that a context keeps alive. */
FIXTURE(kept_alive) {
	int db[2];
	int efd[PER_LINE];
};

FIXTURE_SETUP(kept_alive)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(self->efd); i++)
		self->efd[i] = new_eventfd(_metadata, 0, 0);
	for (i = 0; i < ARRAY_SIZE(self->db); i++)
		self->db[i] = new_context(_metadata, 0);
}

FIXTURE_TEARDOWN(kept_alive)
{
}

/*
 * Expects ENOSPC for each kind of assignment that keeps an eventfd alive, and success for
 * the others.
 */
#define EXPECT_FULL(db) do {						\
	const int __db = db;						\
	const int __irqfd = new_eventfd(_metadata, 0, 0);		\
	const struct doorbell_region __region = to_line(ADDR + 16, 4, 0); \
	const uint32_t __last = info_of(_metadata, __db).nr_lines - 1;	\
									\
	EXPECT_EQ(-ENOSPC, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(-ENOSPC, doorbell_assign_notifier(__db, self->efd[0], __last, \
						    DOORBELL_NOTIFY_ACK)); \
	EXPECT_EQ(-ENOSPC, change_region(__db, to_eventfd(ADDR, 4, self->efd[0]))); \
	EXPECT_EQ(-ENOSPC, doorbell_assign_resampled(__db, __irqfd, __last, self->efd[0])); \
	EXPECT_EQ(0, line_of(_metadata, __db, __last).nr_irqfds);	\
	EXPECT_EQ(0, line_of(_metadata, __db, __last).nr_resamplefds);	\
	EXPECT_EQ(0, doorbell_assign_irqfd(__db, __irqfd, __last));	\
	EXPECT_EQ(0, change_region(__db, __region));			\
	EXPECT_EQ(0, change_region(__db, without(__region)));		\
	EXPECT_EQ(0, doorbell_deassign_irqfd(__db, __irqfd, __last));	\
	close(__irqfd);							\
} while (0)

/* There is room for one more of each kind, one at a time. */
#define EXPECT_ONE_MORE(db) do {					\
	const int __db = db;						\
	const int __irqfd = new_eventfd(_metadata, 0, 0);		\
	const struct doorbell_region __region = to_eventfd(ADDR, 4, self->efd[0]); \
	const uint32_t __last = info_of(_metadata, __db).nr_lines - 1;	\
									\
	EXPECT_EQ(0, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(-EEXIST, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_deassign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_assign_notifier(__db, self->efd[0], __last, DOORBELL_NOTIFY_ACK)); \
	EXPECT_EQ(1, doorbell_deassign_all_notifiers(__db, __last));	\
	EXPECT_EQ(0, change_region(__db, __region));			\
	EXPECT_EQ(0, change_region(__db, without(__region)));		\
	EXPECT_EQ(0, doorbell_assign_resampled(__db, __irqfd, __last, self->efd[0])); \
	EXPECT_EQ(-ENOSPC, doorbell_assign_trigger(__db, self->efd[0], __last)); \
	EXPECT_EQ(0, doorbell_deassign_irqfd(__db, __irqfd, __last));	\
	close(__irqfd);							\
} while (0)

/* A context has a maximum, for any user. */
TEST_F(kept_alive, per_context)
{
	const uint32_t nr_lines = DOORBELL_MAX_EVENTFDS / PER_LINE + 1;
	const int db = self->db[0];
	unsigned int i, j;

	ASSERT_EQ(0, doorbell_set_lines(db, nr_lines));
	ASSERT_EQ(0, doorbell_set_type(db, nr_lines - 1, DOORBELL_TYPE_LEVEL));
	for (i = 0; i < nr_lines - 1; i++)
		for (j = 0; j < PER_LINE; j++)
			ASSERT_EQ(0, doorbell_assign_trigger(db, self->efd[j], i));
	EXPECT_FULL(db);
	EXPECT_EQ(DOORBELL_MAX_EVENTFDS, info_of(_metadata, db).nr_triggers);
	ASSERT_EQ(0, doorbell_deassign_trigger(db, self->efd[0], 0));
	EXPECT_ONE_MORE(db);
	ASSERT_EQ(0, doorbell_assign_trigger(db, self->efd[0], 0));
	EXPECT_FULL(db);
	ASSERT_EQ(PER_LINE, doorbell_deassign_all_triggers(db, 7));
	for (j = 0; j < PER_LINE; j++)
		ASSERT_EQ(0, doorbell_assign_trigger(db, self->efd[j], 7));
	EXPECT_FULL(db);
}

/* A user without CAP_IPC_LOCK has a maximum for all contexts: RLIMIT_MEMLOCK. */
TEST_F(kept_alive, per_user)
{
	const uint32_t nr_lines = 4;
	/* Each counts as 64 bytes. */
	const unsigned int per_page = sysconf(_SC_PAGESIZE) / 64;
	unsigned int i;

	ASSERT_EQ(0, set_rlimit(RLIMIT_MEMLOCK, 3 * sysconf(_SC_PAGESIZE)));
	ASSERT_EQ(0, setresuid(54321, 54321, 54321));
	for (i = 0; i < ARRAY_SIZE(self->db); i++) {
		ASSERT_EQ(0, doorbell_set_lines(self->db[i], nr_lines));
		ASSERT_EQ(0, doorbell_set_type(self->db[i], nr_lines - 1, DOORBELL_TYPE_LEVEL));
	}
	/* Each context has whole pages: one, and two. */
	for (i = 0; i < per_page; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db[0], self->efd[i % PER_LINE],
						     i / PER_LINE));
	for (i = 0; i < 2 * per_page; i++)
		ASSERT_EQ(0, doorbell_assign_trigger(self->db[1], self->efd[i % PER_LINE],
						     i / PER_LINE));
	EXPECT_FULL(self->db[0]);
	EXPECT_FULL(self->db[1]);
	ASSERT_EQ(0, doorbell_deassign_trigger(self->db[1], self->efd[0], 0));
	EXPECT_FULL(self->db[0]);
	EXPECT_ONE_MORE(self->db[1]);

	ASSERT_EQ(0, doorbell_assign_trigger(self->db[1], self->efd[0], 0));

	/* Closing a context gives its share back. */
	close(self->db[0]);
	for (i = 0; i < per_page; i++)
		ASSERT_EQ(0, doorbell_assign_notifier(self->db[1], self->efd[i], 0,
						      DOORBELL_NOTIFY_ACK));
	EXPECT_FULL(self->db[1]);
}

TEST_HARNESS_MAIN
