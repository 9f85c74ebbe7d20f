/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control groups.
 */
#ifndef _DOORBELL_CGROUP_H
#define _DOORBELL_CGROUP_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Writes @text to the file @name of the cgroup at @path. */
static inline int cgroup_put(const char *path, const char *name, const char *text)
{
	char file[128];
	int fd, ret;

	snprintf(file, sizeof(file), "%s/%s", path, name);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

#endif /* _DOORBELL_CGROUP_H */
