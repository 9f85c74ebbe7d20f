/* SPDX-License-Identifier: GPL-2.0 */
/* An open file of /dev/doorbell_test and its callbacks. */
#ifndef _DOORBELL_TEST_H
#define _DOORBELL_TEST_H

#include <linux/doorbell.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include "call.h"

struct errand;
struct eventfd_ctx;
struct task_struct;
struct test;
struct vhost_task;

struct test_callback {
	struct doorbell_callback base;
	struct test *test;
	/* The function that deassigns it, while it is assigned. */
	u32 deassign;
	u32 line;
	bool gone;
	struct test_plan plan;
	/* Compared with current, never dereferenced. */
	struct task_struct *planner;
	atomic_t by_planner;
	atomic_t times;
	atomic_t inside;
	atomic_t calls;
	atomic_t by_event[4];
	atomic_t unexpected;
	atomic_t concurrent;
	atomic_t nested;
	atomic_t contexts;
};

/*
 * An open file. Before several threads use it, one of them makes all assignments, except for
 * callbacks that only another callback assigns.
 */
struct test {
	struct doorbell_ctx *ctx;
	unsigned int refs;
	/* The worker runs from its first call until the file is closed. */
	struct mutex worker_lock;
	struct vhost_task *worker;
	struct errand *for_worker;
	struct eventfd_ctx *eventfd;
	/* The callbacks that are being called. */
	atomic_t inside;
	struct doorbell_callback empty;
	struct test_callback callbacks[TEST_CALLBACKS];
};

/* main.c: calls a function in the current context. */
int call_here(struct test *test, struct test_call *call);

/* callback.c */
void callback_init(struct test *test);
int callback_assign(struct test *test, const struct test_call *call);
int callback_deassign(struct test *test, struct test_call *call);
int callback_plan(struct test *test, const struct test_plan *plan);
int callback_seen(struct test *test, struct test_seen *seen);

/* call_from.c: calls a function in the context that the call names. */
int call_from(struct test *test, struct test_call *call);

#endif /* _DOORBELL_TEST_H */
