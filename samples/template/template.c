// SPDX-License-Identifier: GPL-2.0
/*
 * Usage: template MODULE. Loads the module with a context, and checks that each ring of
 * line 0 makes line 1 deliver. Prints KTAP.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <doorbell.h>

#define FROM		0
#define TO		1
#define LINES		2
#define RINGS		10
#define TIMEOUT_MS	20000

static int failures;

static void result(int ok, const char *name)
{
	static int results;

	printf("%s %d %s\n", ok ? "ok" : "not ok", ++results, name);
	failures += !ok;
}

static int must(int ret, const char *what)
{
	if (ret < 0) {
		perror(what);
		exit(1);
	}
	return ret;
}

/* Loads the module. Returns 0 or an errno. */
static int load(const char *path, const char *parameters)
{
	int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
	int error = syscall(SYS_finit_module, fd, parameters, 0) ? errno : 0;

	close(fd);
	return error;
}

/* Rings line FROM; returns the number of signals of line TO. */
static eventfd_t ring(int db, int out, int timeout_ms)
{
	struct pollfd fd = { .fd = out, .events = POLLIN };
	eventfd_t count;

	must(doorbell_ring(db, FROM), "doorbell_ring");
	if (poll(&fd, 1, timeout_ms) != 1 || eventfd_read(out, &count))
		return 0;
	return count;
}

int main(int argc, char **argv)
{
	char parameters[64];
	int db, trigger, i, once = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: template doorbell_template.ko\n");
		return 2;
	}
	db = must(doorbell_open(), "/dev/doorbell");
	must(doorbell_set_lines(db, LINES), "doorbell_set_lines");
	trigger = must(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
	must(doorbell_assign_trigger(db, trigger, TO), "doorbell_assign_trigger");

	printf("KTAP version 1\n1..4\n");
	snprintf(parameters, sizeof(parameters), "fd=%d from=%d to=%d", db, FROM, LINES);
	result(load(argv[1], "fd=-1") == EBADF && load(argv[1], parameters) == ENXIO,
	       "the module does not load without a context or without a line");

	snprintf(parameters, sizeof(parameters), "fd=%d from=%d to=%d", db, FROM, TO);
	result(!load(argv[1], parameters), "the module loads with a context");
	for (i = 0; i < RINGS; i++)
		once += ring(db, trigger, TIMEOUT_MS) == 1;
	result(once == RINGS, "each ring of one line makes the other deliver");

	result(!syscall(SYS_delete_module, "doorbell_template", O_NONBLOCK) &&
	       !ring(db, trigger, 100),
	       "and no longer after the module is unloaded");
	return failures != 0;
}
