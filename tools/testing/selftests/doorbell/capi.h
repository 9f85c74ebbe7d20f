/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions for the tests of the in-kernel API: each calls a function of the kernel through
 * doorbell_test.ko and returns its result.
 *
 * The module is loaded for each test and unloaded after it. DOORBELL_TEST_MODULE in the
 * environment is its path; without that it must be loaded already.
 */
#ifndef _DOORBELL_CAPI_H
#define _DOORBELL_CAPI_H

#include <stdlib.h>

#include "doorbell_test.h"
#include "module/call.h"

#define TEST_DEVICE	"/dev/doorbell_test"

/* Line 1 is a level line. */
#define CAPI_LINES	3

/* A context, and an open file of doorbell_test.ko that refers to it. */
struct capi {
	int kmsg;
	int db;
	/* A trigger of line 0. */
	int out;
	int test;
	bool loaded;
};

static inline int test_call(struct capi *capi, struct test_call *call)
{
	return ioctl(capi->test, TEST_CALL, call) ? -errno - 1000 : call->ret;
}

static inline int get_ctx(struct capi *capi, int fd)
{
	return test_call(capi, &(struct test_call){ .func = TEST_CTX_FDGET, .arg = fd });
}

/* Calls a function that takes a line and at most a level. */
static inline int call_from(struct capi *capi, unsigned int from, unsigned int func, uint32_t line,
			    uint32_t arg)
{
	struct test_call call = { .func = func, .from = from, .line = line, .arg = arg };
	int ret;

	if (from != TEST_FROM_WAKE)
		return test_call(capi, &call);
	call.eventfd = eventfd(0, EFD_CLOEXEC);
	ret = test_call(capi, &call);
	close(call.eventfd);
	return ret;
}

static inline int call(struct capi *capi, unsigned int func, uint32_t line)
{
	return call_from(capi, TEST_FROM_PROCESS, func, line, 0);
}

static inline int call_assign(struct capi *capi, unsigned int func, uint32_t line, uint32_t events,
			      uint32_t callback)
{
	return test_call(capi, &(struct test_call){
		.func = func, .line = line, .arg = events, .callback = callback });
}

/* Deassigns a callback. Returns 1 if it was still being called after that. */
static inline int call_deassign(struct capi *capi, unsigned int func, uint32_t line,
				uint32_t callback)
{
	struct test_call arg = { .func = func, .line = line, .callback = callback };
	int ret = test_call(capi, &arg);

	return ret ? ret : !!arg.late;
}

static inline void plan(struct __test_metadata *_metadata, struct capi *capi,
			const struct test_plan *plan)
{
	ASSERT_EQ(0, ioctl(capi->test, TEST_PLAN, plan));
}

static inline struct test_seen seen_by(struct __test_metadata *_metadata, struct capi *capi,
				       uint32_t callback)
{
	struct test_seen seen = { .callback = callback };

	ASSERT_EQ(0, ioctl(capi->test, TEST_SEEN, &seen));
	return seen;
}

static inline int load_module(struct capi *capi)
{
	const char *path = getenv("DOORBELL_TEST_MODULE");
	int fd, ret;

	if (!access(TEST_DEVICE, F_OK) || !path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	capi->loaded = !ret;
	return ret;
}

/* Fails while a reference to the module is left. */
static inline int unload_module(void)
{
	int ret = syscall(SYS_delete_module, "doorbell_test", O_NONBLOCK);

	return ret ? -errno : 0;
}

/* Sets .test to a negative value if there is no module. */
static inline void capi_setup(struct __test_metadata *_metadata, struct capi *capi)
{
	pin_to(0);
	capi->kmsg = kmsg_open();
	ASSERT_EQ(0, load_module(capi)) {
		TH_LOG("doorbell_test.ko cannot be loaded");
	}
	capi->db = new_context(_metadata, CAPI_LINES);
	capi->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(capi->db, capi->out, 0));
	ASSERT_EQ(0, doorbell_set_type(capi->db, 1, DOORBELL_TYPE_LEVEL));
	capi->test = open(TEST_DEVICE, O_RDWR | O_CLOEXEC);
}

static inline void capi_teardown(struct __test_metadata *_metadata, struct capi *capi)
{
	close(capi->test);
	if (capi->loaded)
		ASSERT_TRUE(WAIT_FOR(!unload_module()));
	EXPECT_EQ(0, kmsg_complaints(capi->kmsg));
}

#endif /* _DOORBELL_CAPI_H */
