/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Client library of /dev/doorbell: waits for deliveries of a line that poll the status page
 * before they sleep. See doorbell.h for what all functions have in common.
 *
 * With _GNU_SOURCE a wait does not poll in a thread that may run on one CPU only, because
 * the producer could not run meanwhile. A 32-bit program may need -latomic.
 */
#ifndef _DOORBELL_WAIT_CLIENT_H
#define _DOORBELL_WAIT_CLIENT_H

#include <poll.h>
#include <sched.h>
#include <time.h>

#include "doorbell_status.h"

/* See doorbell.h. */
#pragma GCC diagnostic push
#ifdef __cplusplus
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/* The window from which polling grows: KVM's halt_poll_ns_grow_start. */
#define DOORBELL_WAIT_GROW_START_NS	10000

/* A thread that could run on one CPU only reads its affinity again after so many sleeps. */
#define DOORBELL_WAIT_SINGLE_CPU	64

/**
 * struct doorbell_spin_wait - a wait for the deliveries of a line
 * @status: a mapping of the context
 * @line: the line
 * @trigger: its trigger, which no other thread reads
 * @max_ns: the maximum time to poll
 * @window_ns: the time for which the next wait polls
 * @seen: number of deliveries that were returned
 * @single_cpu: number of sleeps without polling, as the thread could run on one CPU only
 */
struct doorbell_spin_wait {
	const struct doorbell_status_pages *status;
	uint32_t line;
	int trigger;
	uint64_t max_ns;
	uint64_t window_ns;
	uint64_t seen;
	unsigned int single_cpu;
};

static inline uint64_t doorbell_wait_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Tells the processor that the thread polls, as cpu_relax() does. */
static inline void doorbell_wait_relax(void)
{
#ifdef __has_builtin
#if __has_builtin(__builtin_ia32_pause)
	__builtin_ia32_pause();
#endif
#endif
}

/* Returns the number of deliveries that were not returned yet. */
static inline uint64_t doorbell_wait_take(struct doorbell_spin_wait *wait)
{
	const struct doorbell_line_status *line = doorbell_status_of(wait->status, wait->line);
	uint64_t deliveries = __atomic_load_n(&line->deliveries, __ATOMIC_ACQUIRE);
	uint64_t count = deliveries - wait->seen;

	wait->seen = deliveries;
	return count;
}

/* Returns 1 if the calling thread is known to be restricted to one CPU. */
static inline int doorbell_wait_single_cpu(void)
{
#ifdef CPU_COUNT
	cpu_set_t set;

	return !sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) == 1;
#else
	return 0;
#endif
}

static inline void doorbell_wait_shrink(struct doorbell_spin_wait *wait)
{
	wait->window_ns /= 2;
	if (wait->window_ns < DOORBELL_WAIT_GROW_START_NS)
		wait->window_ns = 0;
}

/* Adapts the window to a wait of @took_ns that has slept, as kvm_vcpu_halt() does. */
static inline void doorbell_wait_adapt(struct doorbell_spin_wait *wait, uint64_t took_ns)
{
	if (took_ns <= wait->window_ns)
		return;
	if (took_ns > wait->max_ns) {
		doorbell_wait_shrink(wait);
		return;
	}
	wait->window_ns *= 2;
	if (wait->window_ns < DOORBELL_WAIT_GROW_START_NS)
		wait->window_ns = DOORBELL_WAIT_GROW_START_NS;
	if (wait->window_ns > wait->max_ns)
		wait->window_ns = wait->max_ns;
}

/*
 * Sleeps until a delivery that was not returned yet. Sets *@count to their number, or to
 * zero if the timeout passes first.
 */
static inline int doorbell_wait_sleep(struct doorbell_spin_wait *wait, uint64_t start_ns,
				      int timeout_ms, uint64_t *count)
{
	struct pollfd pfd = { wait->trigger, POLLIN, 0 };
	uint64_t signals, passed_ms;
	int ret, left_ms = -1;

	for (;;) {
		if (timeout_ms >= 0) {
			passed_ms = (doorbell_wait_now_ns() - start_ns) / 1000000;
			left_ms = passed_ms < (uint64_t)timeout_ms ?
					  timeout_ms - (int)passed_ms : 0;
		}
		ret = poll(&pfd, 1, left_ms);
		if (ret < 0)
			return -errno;
		if (ret && read(wait->trigger, &signals, sizeof(signals)) < 0 && errno != EAGAIN)
			return -errno;
		/*
		 * The delivery is counted before the trigger is signalled. If there is none,
		 * that was the signal of one that was returned already.
		 */
		*count = doorbell_wait_take(wait);
		if (*count || !ret)
			return 0;
		/* The trigger may stay readable: another process can write to it all the time. */
		if (!left_ms)
			return 0;
	}
}

/**
 * doorbell_spin_wait_init() - begin to wait for later deliveries of a line
 * @wait: is written
 * @status: a mapping of the context
 * @line: a line of the context
 * @trigger: a trigger of that line only, which only @wait reads
 * @max_ns: the maximum time to poll; KVM's default is 200000
 *
 * Deliveries from before are not returned: the caller looks for work once after this.
 */
static inline void doorbell_spin_wait_init(struct doorbell_spin_wait *wait,
					   const struct doorbell_status_pages *status,
					   uint32_t line, int trigger, uint64_t max_ns)
{
	wait->status = status;
	wait->line = line;
	wait->trigger = trigger;
	wait->max_ns = max_ns;
	wait->window_ns = 0;
	wait->seen = 0;
	wait->single_cpu = 0;
	doorbell_wait_take(wait);
}

/**
 * doorbell_spin_wait() - poll for a delivery for a short time, then sleep on the trigger
 * @wait: the wait
 * @timeout_ms: the timeout; -1: none
 * @count: is set to the number of deliveries since the last one that was returned; to 0 if
 *	the timeout passes first or the call fails
 *
 * The time to poll adapts as that of KVM's halt polling: it doubles from 10 us if a longer
 * poll would have caught the delivery, and halves after a wait beyond @max_ns, a timeout or
 * an error. A wait that polls leaves the signal in the trigger's counter; the next one that
 * sleeps consumes it, and does not return because of it. With EFD_SEMAPHORE a wait whose
 * timeout passes meanwhile leaves the rest to the next one.
 *
 * Return: 0, or a negative errno, -EINTR if a signal arrives. No delivery is lost by that.
 */
static inline int doorbell_spin_wait(struct doorbell_spin_wait *wait, int timeout_ms,
				     uint64_t *count)
{
	uint64_t start, window = wait->window_ns;
	int ret;

	*count = doorbell_wait_take(wait);
	if (*count)
		return 0;
	start = timeout_ms >= 0 || !wait->single_cpu ? doorbell_wait_now_ns() : 0;
	if (wait->single_cpu) {
		wait->single_cpu--;
		return doorbell_wait_sleep(wait, start, timeout_ms, count);
	}
	if (timeout_ms >= 0 && window / 1000000 >= (uint64_t)timeout_ms)
		window = (uint64_t)timeout_ms * 1000000;
	while (doorbell_wait_now_ns() - start < window) {
		doorbell_wait_relax();
		*count = doorbell_wait_take(wait);
		if (*count)
			return 0;
	}
	ret = doorbell_wait_sleep(wait, start, timeout_ms, count);
	if (*count)
		doorbell_wait_adapt(wait, doorbell_wait_now_ns() - start);
	else
		doorbell_wait_shrink(wait);
	if (wait->window_ns && doorbell_wait_single_cpu()) {
		wait->window_ns = 0;
		wait->single_cpu = DOORBELL_WAIT_SINGLE_CPU;
	}
	return ret;
}

#pragma GCC diagnostic pop

#endif /* _DOORBELL_WAIT_CLIENT_H */
