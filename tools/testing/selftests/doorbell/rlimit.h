/* SPDX-License-Identifier: GPL-2.0-only */
/* Resource limits. */
#ifndef _DOORBELL_RLIMIT_H
#define _DOORBELL_RLIMIT_H

#include <sys/resource.h>

static inline int set_rlimit(int resource, rlim_t limit)
{
	const struct rlimit rlimit = { .rlim_cur = limit, .rlim_max = limit };

	return setrlimit(resource, &rlimit);
}

#endif /* _DOORBELL_RLIMIT_H */
