/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory that is missing until the test adds it, by userfaultfd. */
#ifndef _DOORBELL_MISSING_H
#define _DOORBELL_MISSING_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct missing {
	int uffd;
	struct uffdio_range range;
};

/* Returns 0, or a negative errno if there is no userfaultfd. */
static inline int missing_open(struct missing *missing)
{
	missing->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return missing->uffd < 0 ? -errno : 0;
}

/* From now on an access to the @size bytes at @at waits, if they have no memory. */
static inline int missing_begin(struct missing *missing, void *at, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)at, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	missing->range = reg.range;
	return ioctl(missing->uffd, UFFDIO_API, &api) ||
	       ioctl(missing->uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

/* Returns true once for each access that waits. */
static inline bool missing_is_accessed(const struct missing *missing)
{
	struct uffd_msg msg;

	return read(missing->uffd, &msg, sizeof(msg)) == sizeof(msg) &&
	       msg.event == UFFD_EVENT_PAGEFAULT;
}

/* Adds the memory. What waits for it goes on. */
static inline int missing_end(const struct missing *missing)
{
	struct uffdio_zeropage zero = { .range = missing->range };

	return ioctl(missing->uffd, UFFDIO_ZEROPAGE, &zero) ? -errno : 0;
}

#endif /* _DOORBELL_MISSING_H */
