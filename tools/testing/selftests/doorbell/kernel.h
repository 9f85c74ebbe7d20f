/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel: its kind, its log, and the use count of the module. */
#ifndef _DOORBELL_KERNEL_H
#define _DOORBELL_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kselftest_harness.h"

/* The number of references to the module. */
#define REFCNT	"/sys/module/doorbell/refcnt"

static inline long refcnt(void)
{
	long count = -1;
	FILE *file = fopen(REFCNT, "re");

	if (file) {
		if (fscanf(file, "%ld", &count) != 1)
			count = -1;
		fclose(file);
	}
	return count;
}

/* Returns true if the kernel is PREEMPT_RT. */
static inline bool preempt_rt(void)
{
	struct utsname name;

	return !uname(&name) && strstr(name.version, "PREEMPT_RT");
}

/*
 * Returns true if the kernel is the debug kernel, which KASAN and lockdep make ten times
 * slower.
 */
static inline bool debug_kernel(void)
{
	struct utsname name;

	return !uname(&name) && strstr(name.release, "-debug");
}

/* Returns how often a test repeats what takes many times as long on the debug kernel. */
static inline unsigned int repeats(unsigned int number, unsigned int on_debug_kernel)
{
	return debug_kernel() ? on_debug_kernel : number;
}

/* Opens the kernel's log at its end. Returns -1 if this process may not read it. */
static inline int kmsg_open(void)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (kmsg >= 0)
		lseek(kmsg, 0, SEEK_END);
	return kmsg;
}

/*
 * Prints the warnings that the kernel has logged since kmsg_open(), and closes @kmsg.
 * Returns their number.
 */
static inline int kmsg_complaints(int kmsg)
{
	static const char * const complaints[] = {
		"WARNING:", "BUG:", "Oops", "rcu: INFO", "soft lockup", "hung task",
		"blocked for more than", "possible recursive locking", "refcount_t:",
	};
	char record[8192];
	unsigned int i;
	int nr = 0;
	ssize_t len;

	for (;;) {
		len = read(kmsg, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			break;
		record[len] = '\0';
		for (i = 0; i < ARRAY_SIZE(complaints); i++) {
			/* The lab judges a report of KCSAN, which has many records. */
			if (strstr(record, complaints[i]) && !strstr(record, "BUG: KCSAN:")) {
				ksft_print_msg("kernel: %s", record);
				nr++;
				break;
			}
		}
	}
	close(kmsg);
	return nr;
}

#endif /* _DOORBELL_KERNEL_H */
