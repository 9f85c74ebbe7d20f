// SPDX-License-Identifier: GPL-2.0-only
/*
 * The limit of a memory cgroup: a call that would exceed it fails with ENOMEM and changes
 * nothing. It does not call the OOM killer, which could choose any process of the cgroup.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "bus.h"
#include "cgroup.h"
#include "missing.h"

/* Another process of the cgroup has a third of it. */
#define LIMIT	"12582912"
#define INNOCENT	(4 << 20)

FIXTURE(memcg) {
	char root[32];
	char path[64];
	pid_t innocent;
};

/* Returns the number after @key in memory.events; -1 if there is none. */
static long nr_events(const char *path, const char *key)
{
	char file[128], line[128];
	long count = -1;
	FILE *stream;

	snprintf(file, sizeof(file), "%s/memory.events", path);
	stream = fopen(file, "re");
	if (!stream)
		return -1;
	while (fgets(line, sizeof(line), stream)) {
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ' ')
			count = strtol(line + strlen(key), NULL, 10);
	}
	fclose(stream);
	return count;
}

/* Forks a child into the cgroup. Returns as fork(2). */
static pid_t fork_in(const char *path)
{
	char text[16];
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(text, sizeof(text), "%d", getpid());
	if (cgroup_put(path, "cgroup.procs", text))
		_exit(100);
	return 0;
}

FIXTURE_SETUP(memcg)
{
	char *memory;

	snprintf(self->root, sizeof(self->root), "/tmp/doorbell-XXXXXX");
	ASSERT_TRUE(!!mkdtemp(self->root));
	if (mount("cgroup2", self->root, "cgroup2", 0, NULL))
		SKIP(return, "cgroup2: %s", strerror(errno));
	if (cgroup_put(self->root, "cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory controller in cgroup2");
	snprintf(self->path, sizeof(self->path), "%s/doorbell", self->root);
	ASSERT_EQ(0, mkdir(self->path, 0755));
	ASSERT_EQ(0, cgroup_put(self->path, "memory.max", LIMIT));
	cgroup_put(self->path, "memory.swap.max", "0");

	self->innocent = fork_in(self->path);
	if (!self->innocent) {
		memory = mmap(NULL, INNOCENT, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		raise(SIGSTOP);
		_exit(memory == MAP_FAILED);
	}
	ASSERT_EQ(self->innocent, waitpid(self->innocent, NULL, WUNTRACED));
}

FIXTURE_TEARDOWN(memcg)
{
	if (self->innocent > 0) {
		kill(self->innocent, SIGKILL);
		waitpid(self->innocent, NULL, 0);
		EXPECT_TRUE(WAIT_FOR(!rmdir(self->path)));
	}
	umount2(self->root, MNT_DETACH);
	rmdir(self->root);
}

/* Expects that no process was killed, though the limit was reached. */
#define EXPECT_ALL_ALIVE() do {						\
	int __status;							\
									\
	EXPECT_LT(0, nr_events(self->path, "max"));			\
	EXPECT_EQ(0, nr_events(self->path, "oom_kill"));		\
	EXPECT_EQ(0, waitpid(self->innocent, &__status, WNOHANG));	\
} while (0)

/* One large allocation. */
TEST_F(memcg, lines)
{
	pid_t pid = fork_in(self->path);

	if (!pid) {
		int db = open(DEVICE, O_RDWR | O_CLOEXEC);

		if (doorbell_set_lines(db, DOORBELL_MAX_LINES) != -ENOMEM)
			_exit(1);
		/* A smaller one fits, once vmalloc() has freed what it could not use. */
		_exit(WAIT_FOR(!doorbell_set_lines(db, 1024)) ? 0 : 2);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_ALL_ALIVE();
}

TEST_F(memcg, records)
{
	pid_t pid = fork_in(self->path);

	if (!pid) {
		int db = open(DEVICE, O_RDWR | O_CLOEXEC);

		if (doorbell_set_lines(db, 1) ||
		    doorbell_set_records(db, DOORBELL_MAX_RECORDS) != -ENOMEM)
			_exit(1);
		_exit(WAIT_FOR(!doorbell_set_records(db, 64)) ? 0 : 2);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_ALL_ALIVE();
}

/* Many small allocations. */
TEST_F(memcg, regions)
{
	enum { NR = 65536, SOME = 64 };
	struct doorbell_region *regions = mmap(NULL, NR * sizeof(*regions), PROT_READ | PROT_WRITE,
					       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t failed = 0, i;
	pid_t pid;

	/* Before the fork: the array is not charged to the cgroup. */
	ASSERT_TRUE(regions != MAP_FAILED);
	for (i = 0; i < NR; i++)
		regions[i] = to_line(0x1000 + 4 * i, 4, 0);
	pid = fork_in(self->path);
	if (!pid) {
		int db = open(DEVICE, O_RDWR | O_CLOEXEC);
		struct doorbell_get_info info;

		if (doorbell_set_lines(db, 1) ||
		    doorbell_change_regions(db, regions, NR, &failed) != -ENOMEM)
			_exit(1);
		if (doorbell_get_info(db, &info) || info.nr_regions)
			_exit(2);
		_exit(doorbell_change_regions(db, regions, SOME, &failed) ? 3 : 0);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_ALL_ALIVE();
}

/* One small allocation after the other. */
TEST_F(memcg, notifiers)
{
	enum { NR_LINES = 1024 };
	int efd[DOORBELL_MAX_NOTIFIERS_PER_LINE];
	unsigned int i;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(efd); i++)
		efd[i] = new_eventfd(_metadata, 0, 0);
	pid = fork_in(self->path);
	if (!pid) {
		int db = open(DEVICE, O_RDWR | O_CLOEXEC), ret = 0;
		uint32_t line;

		if (doorbell_set_lines(db, NR_LINES))
			_exit(1);
		/* Other contexts take most of the memory. */
		while (!doorbell_set_lines(open(DEVICE, O_RDWR | O_CLOEXEC), NR_LINES))
			;
		for (line = 0; !ret && line < NR_LINES; line++) {
			for (i = 0; !ret && i < ARRAY_SIZE(efd); i++)
				ret = doorbell_assign_notifier(db, efd[i], line,
							       DOORBELL_NOTIFY_MASK);
		}
		if (ret != -ENOMEM)
			_exit(2);
		_exit(doorbell_mask(db, 0) == 1 ? 0 : 3);
	}
	ASSERT_EQ(0, wait_child(pid));
	EXPECT_ALL_ALIVE();
}

/* Returns memory.current; -1 if it cannot be read. */
static long charged(const char *path)
{
	char file[128], text[32];
	ssize_t len;
	int fd;

	snprintf(file, sizeof(file), "%s/memory.current", path);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return -1;
	text[len] = '\0';
	return strtol(text, NULL, 10);
}

/* A bitmap of all lines. */
#define BITMAP	(DOORBELL_MAX_LINES / 8)

/* Calls that wait for the memory of their result. */
struct waiting {
	int db;
	uint64_t *lines;
	uint64_t *result;
	pthread_barrier_t barrier;
	atomic_uint failed;
};

static void *wait_for_result(void *arg)
{
	struct waiting *waiting = arg;

	/* Touches the stack. */
	if (doorbell_line_set(waiting->db, DOORBELL_PENDING, 0, DOORBELL_MAX_LINES, waiting->lines,
			      NULL))
		atomic_fetch_add(&waiting->failed, 1);
	/* All are ready, and then all go on. */
	pthread_barrier_wait(&waiting->barrier);
	pthread_barrier_wait(&waiting->barrier);
	if (doorbell_line_set(waiting->db, DOORBELL_PENDING, 0, DOORBELL_MAX_LINES, waiting->lines,
			      waiting->result))
		atomic_fetch_add(&waiting->failed, 1);
	return NULL;
}

/*
 * Runs in the cgroup at @path. Returns 0 if the bitmaps of @nr calls that wait for memory were
 * charged; 77 without userfaultfd.
 */
static int charges_bitmaps(const char *path, int db, unsigned int nr)
{
	const size_t page = sysconf(_SC_PAGESIZE), size = page > BITMAP ? page : BITMAP;
	struct waiting waiting = { .db = db };
	struct missing missing;
	pthread_t threads[nr];
	pthread_attr_t attr;
	unsigned int i;
	long before;

	if (missing_open(&missing))
		return 77;
	waiting.lines = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	if (waiting.lines == MAP_FAILED)
		return 1;
	waiting.result = waiting.lines + size / sizeof(uint64_t);
	if (missing_begin(&missing, waiting.result, size))
		return 2;
	/* Each processor charges some pages in advance. */
	pin_to(0);
	pthread_barrier_init(&waiting.barrier, NULL, nr + 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 16);
	for (i = 0; i < nr; i++) {
		if (pthread_create(&threads[i], &attr, wait_for_result, &waiting))
			return 3;
	}
	pthread_barrier_wait(&waiting.barrier);
	before = charged(path);
	pthread_barrier_wait(&waiting.barrier);
	for (i = 0; i < nr; i++) {
		if (!WAIT_FOR(missing_is_accessed(&missing)))
			return 4;
	}
	/* More than one of the two bitmaps of each call. */
	if (before < 0 || charged(path) - before <= (long)nr * BITMAP * 3 / 2)
		return 5;
	if (missing_end(&missing))
		return 6;
	for (i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	return atomic_load(&waiting.failed) ? 7 : 0;
}

/* Any number of threads can wait in calls for sets of lines. Their bitmaps are charged. */
TEST_F(memcg, bitmaps)
{
	enum { NR_THREADS = 384 };
	int db = new_context(_metadata, DOORBELL_MAX_LINES), status;
	pid_t pid;

	ASSERT_EQ(0, cgroup_put(self->path, "memory.max", "max"));
	pid = fork_in(self->path);
	if (!pid)
		_exit(charges_bitmaps(self->path, db, NR_THREADS));
	status = wait_child(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, status);
}

/*
 * The OOM killer kills the owner of a context: the context goes as with any other end, and its
 * memory returns.
 */
TEST_F(memcg, oom_killer)
{
	/* 4 MB: more than the kernel keeps. */
	enum { NR_LINES = 32768 };
	int efd = new_eventfd(_metadata, 0, 0), other = new_context(_metadata, 1);
	int *ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);
	const long users = refcnt();
	char path[64];
	pid_t pid;

	ASSERT_TRUE(ready != MAP_FAILED);
	/* The lab accepts the OOM killer's report on a cgroup of this name. */
	snprintf(path, sizeof(path), "%s/doorbell-oom-%d", self->root, getpid());
	ASSERT_EQ(0, mkdir(path, 0755));
	ASSERT_EQ(0, cgroup_put(path, "memory.max", LIMIT));
	cgroup_put(path, "memory.swap.max", "0");
	pid = fork_in(path);
	if (!pid) {
		int db = open(DEVICE, O_RDWR | O_CLOEXEC);
		uint32_t i;

		if (doorbell_set_lines(db, NR_LINES) || doorbell_assign_irqfd(db, efd, 5))
			_exit(1);
		for (i = 0; i < 64; i++) {
			if (doorbell_assign_trigger(db, eventfd(0, EFD_CLOEXEC), i))
				_exit(2);
		}
		*ready = 1;
		for (;;) {
			char *more = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

			if (more != MAP_FAILED)
				memset(more, 1, 1 << 20);
			efd_write(efd, 1);
		}
	}
	ASSERT_EQ(SIGKILL, wait_child(pid));
	EXPECT_EQ(1, *ready);
	EXPECT_LE(1, nr_events(path, "oom_kill"));
	/* The irqfd belongs to no context any more, and the module has as many users as before. */
	ASSERT_TRUE(WAIT_FOR(!doorbell_assign_irqfd(other, efd, 0)));
	if (users >= 0)
		ASSERT_TRUE(WAIT_FOR(refcnt() == users));
	/* All memory of the context is returned: the kernel keeps some pages per CPU. */
	if (charged(path) >= 0) {
		ASSERT_TRUE(WAIT_FOR(({
			const long now = charged(path);

			now >= 0 && now < 1 << 20;
		})));
	}
	ASSERT_TRUE(WAIT_FOR(!rmdir(path)));
	close(other);
}

TEST_HARNESS_MAIN
