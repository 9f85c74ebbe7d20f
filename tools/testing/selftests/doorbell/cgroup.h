/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control groups.
 */
#ifndef _DOORBELL_CGROUP_H
#define _DOORBELL_CGROUP_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
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

/* Returns 1 if the cgroup at @path has that controller, else 0; or a negative errno. */
static inline int cgroup_has(const char *path, const char *controller)
{
	char file[128], name[32];
	bool has = false;
	FILE *stream;

	snprintf(file, sizeof(file), "%s/cgroup.controllers", path);
	stream = fopen(file, "re");
	if (!stream)
		return -errno;
	while (fscanf(stream, "%31s", name) == 1)
		has |= !strcmp(name, controller);
	fclose(stream);
	return has;
}

#endif /* _DOORBELL_CGROUP_H */
