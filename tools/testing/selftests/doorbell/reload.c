// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module is unloaded and loaded in a loop, while threads open the device, use it and
 * close it. Unloading is refused while a context is open.
 *
 * DOORBELL_MODULE in the environment is the path of the module.
 */
#include <sys/stat.h>

#include "doorbell_test.h"

#define STRIPPED		"/tmp/doorbell-reload.ko"

/* The KUnit suites that run when a module is loaded, as a pattern. */
#define KUNIT_FILTER		"/sys/module/kunit/parameters/filter_glob"

#define NR_USERS	2

/*
 * The users' behaviour. The module can be unloaded only while no user has the device open. The
 * close of a used context takes a grace period, so that is rare while they use it.
 */
enum behaviour {
	USE,		/* they use the device */
	OPEN_ONLY,	/* they open and close it: opens race with the unload */
	LEAVE,		/* they use it once more, close it, and stay away */
};

struct user {
	unsigned int cpu;
	const atomic_uint *behaviour;
	/*
	 * Number of times that the device was there, that it was not, and that it did not
	 * work.
	 */
	atomic_ulong done, refused, wrong;
	atomic_bool *stop;
	pthread_t thread;
};

/* The module's file. */
struct image {
	void *data;
	size_t size;
};

FIXTURE(reload) {
	int kmsg;
	struct image image;
	bool unloaded;
	struct user users[NR_USERS];
	atomic_uint behaviour;
	atomic_bool stop;
};

static int load(const struct image *image)
{
	return syscall(SYS_init_module, image->data, image->size, "") ? -errno : 0;
}

/*
 * With KUnit in the kernel, each load runs the module's suites, which takes nearly all of the
 * time. They have run when the module was loaded first.
 */
static bool filter_suites(const char *filter)
{
	int fd = open(KUNIT_FILTER, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return errno == ENOENT;
	done = write(fd, filter, strlen(filter)) == (ssize_t)strlen(filter);
	close(fd);
	return done;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "doorbell", O_NONBLOCK) ? -errno : 0;
}

FIXTURE_SETUP(reload)
{
	const char *path = getenv("DOORBELL_MODULE");
	char strip[256];
	struct stat stat;
	int fd;

	self->kmsg = kmsg_open();
	if (!path)
		SKIP(return, "DOORBELL_MODULE is not set");
	if (refcnt() != 0)
		SKIP(return, "doorbell is no module, or is in use");
	/*
	 * Nine tenths of it are debug information. With BTF it takes nearly twice as long to load,
	 * as the kernel compares its types with those of BTF.
	 */
	snprintf(strip, sizeof(strip), "strip -g -R .BTF -R .BTF.base -o %s %s", STRIPPED, path);
	if (!system(strip))
		path = STRIPPED;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &stat));
	self->image = (struct image){ .data = malloc(stat.st_size), .size = stat.st_size };
	ASSERT_TRUE(!!self->image.data);
	ASSERT_EQ(stat.st_size, read(fd, self->image.data, stat.st_size));
	close(fd);
	unlink(STRIPPED);
	ASSERT_TRUE(filter_suites("none"));
}

FIXTURE_TEARDOWN(reload)
{
	/* Later tests need the module. */
	if (self->unloaded)
		EXPECT_EQ(0, load(&self->image));
	EXPECT_TRUE(filter_suites("*"));
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* Returns true if a ring by the ioctl and by the irqfd delivers. */
static bool works(int db)
{
	int in = eventfd(0, EFD_CLOEXEC), out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool good;

	good = !doorbell_set_lines(db, 2) && !doorbell_assign_irqfd(db, in, 1) &&
	       !doorbell_assign_trigger(db, out, 1) &&
	       doorbell_ring(db, 1) == DOORBELL_RING_DELIVERED && efd_read(out) == 1 &&
	       !efd_write(in, 1) && efd_wait(out) == 1;
	/* A message is in flight when the context is closed. */
	good = good && !efd_write(in, 1);
	close(in);
	close(out);
	return good;
}

static void *use(void *arg)
{
	struct user *user = arg;
	int db;

	pin_to(user->cpu);
	while (!atomic_load(user->stop)) {
		db = open(DEVICE, O_RDWR | O_CLOEXEC);
		if (db < 0) {
			if (errno != ENOENT && errno != ENODEV && errno != ENXIO)
				atomic_fetch_add(&user->wrong, 1);
			atomic_fetch_add(&user->refused, 1);
			/* Loading takes long: leave the CPU to it. */
			usleep(500);
			continue;
		}
		if (atomic_load(user->behaviour) != OPEN_ONLY && !works(db))
			atomic_fetch_add(&user->wrong, 1);
		close(db);
		atomic_fetch_add(&user->done, 1);
		do {
			usleep(200);
		} while (atomic_load(user->behaviour) == LEAVE && !atomic_load(user->stop));
	}
	return NULL;
}

TEST_F(reload, while_it_is_used)
{
	const unsigned int reloads = repeats(60, 20);
	unsigned int i, j, in_use = 0;
	unsigned long done;
	int db, ret;

	for (j = 0; j < NR_USERS; j++) {
		self->users[j] = (struct user){
			.cpu = j, .behaviour = &self->behaviour, .stop = &self->stop,
		};
		ASSERT_EQ(0, pthread_create(&self->users[j].thread, NULL, use, &self->users[j]));
	}
	for (i = 0; i < reloads; i++) {
		db = new_context(_metadata, i % 2);
		ASSERT_EQ(-EWOULDBLOCK, unload());
		close(db);
		atomic_store(&self->behaviour, i % 4 < 2 ? OPEN_ONLY : LEAVE);
		ASSERT_TRUE(SPIN_FOR((ret = unload(), in_use += ret == -EWOULDBLOCK,
				      ret != -EWOULDBLOCK)));
		ASSERT_EQ(0, ret);
		self->unloaded = true;
		ASSERT_EQ(-1, access(DEVICE, F_OK));
		ASSERT_EQ(0, load(&self->image));
		self->unloaded = false;
		atomic_store(&self->behaviour, USE);
		for (j = 0; j < NR_USERS; j++) {
			done = atomic_load(&self->users[j].done);
			ASSERT_TRUE(WAIT_FOR(atomic_load(&self->users[j].done) > done));
		}
	}
	atomic_store(&self->stop, true);
	for (j = 0; j < NR_USERS; j++) {
		pthread_join(self->users[j].thread, NULL);
		EXPECT_EQ(0, self->users[j].wrong);
		EXPECT_LT(0, self->users[j].refused);
		ksft_print_msg("a thread opened the device %lu times, and found none %lu times\n",
			       self->users[j].done, self->users[j].refused);
	}
	EXPECT_EQ(0, refcnt());
	ksft_print_msg("%u reloads; unloading was refused %u times more\n", reloads, in_use);
}

TEST_HARNESS_MAIN
