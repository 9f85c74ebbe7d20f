// SPDX-License-Identifier: GPL-2.0
/*
 * template MODULE: loads the module with a context, and checks that each ring of
 * line 0 comes out of line 1. Prints KTAP.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/doorbell.h>

#define FROM		0
#define TO		1
#define LINES		2
#define RINGS		10
#define PATIENCE_MS	20000

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

/* Zero, or an error. */
static int load(const char *path, const char *parameters)
{
	int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
	int error = syscall(SYS_finit_module, fd, parameters, 0) ? errno : 0;

	close(fd);
	return error;
}

/* Rings line FROM; returns what comes out of line TO. */
static eventfd_t ring(int db, int out, int timeout_ms)
{
	struct pollfd fd = { .fd = out, .events = POLLIN };
	eventfd_t count;

	must(ioctl(db, DOORBELL_RING, FROM), "DOORBELL_RING");
	if (poll(&fd, 1, timeout_ms) != 1 || eventfd_read(out, &count))
		return 0;
	return count;
}

int main(int argc, char **argv)
{
	struct doorbell_set_lines lines = { .nr_lines = LINES };
	struct doorbell_trigger trigger = { .line = TO };
	char parameters[64];
	int db, i, once = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: template doorbell_template.ko\n");
		return 2;
	}
	db = must(open("/dev/doorbell", O_RDWR | O_CLOEXEC), "/dev/doorbell");
	must(ioctl(db, DOORBELL_SET_LINES, &lines), "DOORBELL_SET_LINES");
	trigger.fd = must(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
	must(ioctl(db, DOORBELL_TRIGGER, &trigger), "DOORBELL_TRIGGER");

	printf("KTAP version 1\n1..4\n");
	snprintf(parameters, sizeof(parameters), "fd=%d from=%d to=%d", db, FROM, LINES);
	result(load(argv[1], "fd=-1") == EBADF && load(argv[1], parameters) == ENXIO,
	       "without a context, or a line, the module does not load");

	snprintf(parameters, sizeof(parameters), "fd=%d from=%d to=%d", db, FROM, TO);
	result(!load(argv[1], parameters), "with a context it does");
	for (i = 0; i < RINGS; i++)
		once += ring(db, trigger.fd, PATIENCE_MS) == 1;
	result(once == RINGS, "each ring of one line comes out of the other");

	result(!syscall(SYS_delete_module, "doorbell_template", O_NONBLOCK) &&
	       !ring(db, trigger.fd, 100),
	       "and when the module has gone, no longer");
	return failures != 0;
}
