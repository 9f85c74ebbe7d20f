/* SPDX-License-Identifier: GPL-2.0-only */
/* An instance of tracefs with doorbell's events, and the events that it has recorded. */
#ifndef _DOORBELL_TRACEFS_H
#define _DOORBELL_TRACEFS_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "doorbell_test.h"

#define TRACEFS		"/sys/kernel/tracing"

/* Size of the buffer of each processor. */
#define TRACE_KB	"4096"

struct tracer {
	/* The directory; empty: there is no instance. */
	char dir[64];
};

/* Writes to a file of the instance. */
static inline int tracer_write(const struct tracer *tracer, const char *name, const char *text)
{
	size_t len = strlen(text);
	char path[128];
	ssize_t ret;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", tracer->dir, name);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, text, len);
	ret = ret == (ssize_t)len ? 0 : ret < 0 ? -errno : -EIO;
	close(fd);
	return ret;
}

/* Creates an instance in which all events of doorbell are enabled. */
static inline void tracer_start(struct __test_metadata *_metadata, struct tracer *tracer)
{
	if (access(TRACEFS "/instances", F_OK))
		ASSERT_EQ(0, mount("tracefs", TRACEFS, "tracefs", 0, NULL));
	snprintf(tracer->dir, sizeof(tracer->dir), TRACEFS "/instances/doorbell_test_%d", getpid());
	ASSERT_EQ(0, mkdir(tracer->dir, 0700));
	ASSERT_EQ(0, tracer_write(tracer, "buffer_size_kb", TRACE_KB));
	ASSERT_EQ(0, tracer_write(tracer, "events/doorbell/enable", "1"));
}

static inline void tracer_stop(struct __test_metadata *_metadata, struct tracer *tracer)
{
	if (!tracer->dir[0])
		return;
	EXPECT_EQ(0, tracer_write(tracer, "events/doorbell/enable", "0"));
	EXPECT_EQ(0, rmdir(tracer->dir));
	tracer->dir[0] = '\0';
}

/* Returns the number of a context from fdinfo; 0 if it has none. */
static inline unsigned int context_of(struct __test_metadata *_metadata, int db)
{
	unsigned int context = 0;
	char line[256];
	FILE *file;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", db);
	file = fopen(line, "re");
	ASSERT_TRUE(!!file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "doorbell-context: %u", &context) == 1)
			break;
	}
	fclose(file);
	return context;
}

/*
 * Calls @f with each recorded event of @context, the oldest first. The text is the event's
 * name without "doorbell_", and its fields without the context. Returns the number of events
 * that did not fit into the buffer.
 */
static inline unsigned long each_event(struct __test_metadata *_metadata,
				       const struct tracer *tracer, unsigned int context,
				       void (*f)(void *arg, const char *text), void *arg)
{
	char line[512], path[128], text[512], name[32], fields[256];
	unsigned long held = 0, written = 0;
	unsigned int ctx;
	FILE *file;
	char *at;
	int nr;

	snprintf(path, sizeof(path), "%s/trace", tracer->dir);
	file = fopen(path, "re");
	ASSERT_TRUE(!!file);
	while (fgets(line, sizeof(line), file)) {
		at = strstr(line, "entries-in-buffer/entries-written:");
		if (at)
			sscanf(at, "%*s %lu/%lu", &held, &written);
		at = strstr(line, ": doorbell_");
		if (!at)
			continue;
		nr = sscanf(at, ": doorbell_%31[a-z_]: ctx=%u %255[^\n]", name, &ctx, fields);
		if (nr != 3 || ctx != context)
			continue;
		snprintf(text, sizeof(text), "%s %s", name, fields);
		f(arg, text);
	}
	fclose(file);
	return written - held;
}

/* The events that a test expects, in this order. */
struct expected_events {
	struct __test_metadata *_metadata;
	const char * const *events;
	unsigned int nr;
	unsigned int seen;
};

static inline void compare_event(void *arg, const char *text)
{
	struct expected_events *expected = arg;
	struct __test_metadata *_metadata = expected->_metadata;

	EXPECT_STREQ(expected->seen < expected->nr ? expected->events[expected->seen] : "no event",
		     text);
	expected->seen++;
}

/* Expects that these are all events of @context, and discards all recorded events. */
#define EXPECT_EVENTS(from, context, ...) do {				\
	const struct tracer *__from = (from);				\
	static const char * const __events[] = { __VA_ARGS__ };		\
	struct expected_events __expected = {				\
		._metadata = _metadata, .events = __events, .nr = ARRAY_SIZE(__events), \
	};								\
									\
	EXPECT_EQ(0, each_event(_metadata, __from, context, compare_event, &__expected)); \
	EXPECT_EQ(__expected.nr, __expected.seen);			\
	EXPECT_EQ(0, tracer_write(__from, "trace", ""));		\
} while (0)

#endif /* _DOORBELL_TRACEFS_H */
