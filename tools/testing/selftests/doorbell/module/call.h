/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/doorbell_test calls the functions of include/linux/doorbell.h for a test, from a
 * context that the test chooses, and reports the calls of its callbacks.
 */
#ifndef _DOORBELL_TEST_CALL_H
#define _DOORBELL_TEST_CALL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Number of callbacks of an open file, and maximum number of calls that one of them makes. */
#define TEST_CALLBACKS	80
#define TEST_NESTED	8

/* No callback (NULL), and a callback without a function. */
#define TEST_NULL	0xffffffffU
#define TEST_EMPTY	0xfffffffeU

/* doorbell_NAME(), and ctx_put() of NULL and of an ERR_PTR. */
enum test_func {
	TEST_CTX_FDGET,
	TEST_CTX_FILEGET,
	TEST_CTX_GET,
	TEST_CTX_PUT,
	TEST_CTX_PUT_NULL,
	TEST_CTX_PUT_ERR,
	/* Keeps the eventfd whose descriptor is the argument, for TEST_SIGNAL. */
	TEST_EVENTFD,
	TEST_ASSIGN_TRIGGER,
	TEST_DEASSIGN_TRIGGER,
	TEST_ASSIGN_NOTIFIER,
	TEST_DEASSIGN_NOTIFIER,
	TEST_MASK,
	TEST_MASK_FOR,
	TEST_CLEAR,
	TEST_MODERATE,
	/* The functions from here on do not sleep. */
	TEST_MASK_NOSYNC,
	TEST_MASK_FOR_NOSYNC,
	TEST_UNMASK,
	TEST_UNMASK_FOR,
	TEST_ACK,
	TEST_STATE,
	TEST_RING,
	TEST_SET_LEVEL,
	TEST_BUS_WRITE,
	/* eventfd_signal() */
	TEST_SIGNAL,
};

enum test_from {
	TEST_FROM_PROCESS,
	TEST_FROM_IRQS_OFF,
	/* Timers. */
	TEST_FROM_SOFTIRQ,
	TEST_FROM_HARDIRQ,
	/* The wake callback of an eventfd. */
	TEST_FROM_WAKE,
	/* A thread that never leaves the kernel, like a context's worker. */
	TEST_FROM_WORKER,
	TEST_FROM_WORKER_IRQS_OFF,
	TEST_FROM_NR
};

/* The arguments of doorbell_bus_write(), for TEST_BUS_WRITE. */
struct test_access {
	__u64 addr;
	__u64 value;
	__u32 length;
	__u32 space;
};

/**
 * struct test_call - TEST_CALL: call a function
 * @func: enum test_func
 * @from: enum test_from
 * @line: the line
 * @arg: the fd, the level, the events, or the mask reasons
 * @callback: 0 to TEST_CALLBACKS - 1, TEST_NULL or TEST_EMPTY
 * @eventfd: for TEST_FROM_WAKE, an eventfd, which is signalled
 * @ret: out: result of the function; 1 stands for a context
 * @late: out: of a DEASSIGN_*, not zero if the callback was still being called
 * @access: of TEST_BUS_WRITE
 */
struct test_call {
	__u32 func;
	__u32 from;
	__u32 line;
	__u32 arg;
	__u32 callback;
	__s32 eventfd;
	__s32 ret;
	__u32 late;
	struct test_access access;
};

/**
 * struct test_nested - a call that a callback makes
 * @func: a function that may be called there
 * @line: the line
 * @arg: as of struct test_call; the callback, if the function takes one
 * @ret: out: result of the last call
 * @access: of TEST_BUS_WRITE
 */
struct test_nested {
	__u32 func;
	__u32 line;
	__u32 arg;
	__s32 ret;
	struct test_access access;
};

/**
 * struct test_plan - TEST_PLAN: the actions of a callback
 * @callback: the callback
 * @spin_us: time to spin in each call
 * @times: number of times that it makes @calls
 * @nr_calls: number of elements of @calls
 * @calls: calls that the callback makes
 *
 * Resets the counts of TEST_SEEN. The callback must not be assigned.
 */
struct test_plan {
	__u32 callback;
	__u32 spin_us;
	__u32 times;
	__u32 nr_calls;
	struct test_nested calls[TEST_NESTED];
};

/* test_seen.contexts */
#define TEST_IN_TASK		(1U << 0)
#define TEST_IN_SOFTIRQ		(1U << 1)
#define TEST_IN_HARDIRQ		(1U << 2)
#define TEST_IN_WORKER		(1U << 3)
#define TEST_PREEMPTIBLE	(1U << 4)
#define TEST_IN_EVENTFD		(1U << 5)

/**
 * struct test_seen - TEST_SEEN: the calls of a callback
 * @callback: in: the callback
 * @calls: number of calls
 * @by_event: number of calls with zero, and with each DOORBELL_NOTIFY_* alone
 * @unexpected: number of calls with another event, or after a DEASSIGN_* had returned
 * @concurrent: maximum number of calls at the same time
 * @contexts: contexts of the calls, TEST_IN_*
 * @by_planner: number of calls in the thread that called TEST_PLAN
 * @nested: maximum number of calls of all callbacks of the file, at the time of such a call
 * @calls_made: results of its own calls
 */
struct test_seen {
	__u32 callback;
	__u32 calls;
	__u32 by_event[4];
	__u32 unexpected;
	__u32 concurrent;
	__u32 contexts;
	__u32 by_planner;
	__u32 nested;
	struct test_nested calls_made[TEST_NESTED];
};

#define TEST_IOC_MAGIC	0xDC
#define TEST_CALL	_IOWR(TEST_IOC_MAGIC, 0, struct test_call)
#define TEST_PLAN	_IOW(TEST_IOC_MAGIC, 1, struct test_plan)
#define TEST_SEEN	_IOWR(TEST_IOC_MAGIC, 2, struct test_seen)

#endif /* _DOORBELL_TEST_CALL_H */
