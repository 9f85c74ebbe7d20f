/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Client library of /dev/doorbell: one inline function for each call of
 * <linux/doorbell.h>, which defines the calls and their errors. doorbell_status.h has the
 * status pages, doorbell_wait.h has waits that poll them, doorbell_summary.h has the lines
 * that have fired, doorbell_bus.h has regions, records and last values.
 *
 * Each function returns a value >= 0, or -errno; errno itself is as the system call
 * left it. No function retries, allocates, or prints. @db is a context: a file
 * descriptor of /dev/doorbell. The functions may be called from any thread.
 *
 * For C11 and C++17. With -std=c11, define _POSIX_C_SOURCE=200809L before any header.
 */
#ifndef _DOORBELL_CLIENT_H
#define _DOORBELL_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* ISO C++ has no flexible array members. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <linux/doorbell.h>
#pragma GCC diagnostic pop

/* Functions have the names of their arguments' structures, whose constructors they hide in C++. */
#pragma GCC diagnostic push
#ifdef __cplusplus
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/* Contexts. */

/**
 * doorbell_ioctl() - call an ioctl of a context whose argument is a structure
 * @db: the context
 * @cmd: DOORBELL_*
 * @arg: address of the structure
 *
 * Return: 0 or more, as the call returns it, or a negative errno.
 */
static inline int doorbell_ioctl(int db, unsigned long cmd, const void *arg)
{
	int ret = ioctl(db, cmd, arg);

	return ret < 0 ? -errno : ret;
}

/**
 * doorbell_ioctl_line() - call an ioctl of a context whose argument is a line
 * @db: the context
 * @cmd: DOORBELL_RING or DOORBELL_ACK
 * @line: the line
 *
 * Return: 0 or more, as the call returns it, or a negative errno.
 */
static inline int doorbell_ioctl_line(int db, unsigned long cmd, uint32_t line)
{
	int ret = ioctl(db, cmd, (unsigned long)line);

	return ret < 0 ? -errno : ret;
}

/**
 * doorbell_open() - create a context
 *
 * Return: its file descriptor, which is close-on-exec.
 */
static inline int doorbell_open(void)
{
	int db = open("/dev/doorbell", O_RDWR | O_CLOEXEC);

	return db < 0 ? -errno : db;
}

/**
 * doorbell_get_info() - get limits, features and counts of a context
 * @db: the context
 * @info: is written
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_get_info(int db, struct doorbell_get_info *info)
{
	return doorbell_ioctl(db, DOORBELL_GET_INFO, info);
}

/**
 * doorbell_set_lines() - choose the number of lines, once
 * @db: the context
 * @nr_lines: 1 to DOORBELL_MAX_LINES
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_set_lines(int db, uint32_t nr_lines)
{
	struct doorbell_set_lines arg = { nr_lines, 0, { 0 } };

	return doorbell_ioctl(db, DOORBELL_SET_LINES, &arg);
}

/**
 * doorbell_set_lines_masked() - choose the number of lines, once; all begin masked
 * @db: the context
 * @nr_lines: 1 to DOORBELL_MAX_LINES
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_set_lines_masked(int db, uint32_t nr_lines)
{
	struct doorbell_set_lines arg = { nr_lines, DOORBELL_SET_LINES_FLAG_MASKED, { 0 } };

	return doorbell_ioctl(db, DOORBELL_SET_LINES, &arg);
}

/* Irqfds: eventfds that ring a line. Unmaskfds and ackfds: eventfds that unmask or ack it. */

/**
 * doorbell_irqfd() - assign or deassign an irqfd
 * @db: the context
 * @fd: the eventfd
 * @line: the line that it rings, unmasks or acks
 * @flags: DOORBELL_IRQFD_FLAG_*
 * @resamplefd: with DOORBELL_IRQFD_FLAG_RESAMPLE, an eventfd; otherwise zero
 *
 * Return: 0 or more, as the call returns it, or a negative errno.
 */
static inline int doorbell_irqfd(int db, int fd, uint32_t line, uint32_t flags, int resamplefd)
{
	struct doorbell_irqfd arg = { fd, line, flags, resamplefd, { 0 } };

	return doorbell_ioctl(db, DOORBELL_IRQFD, &arg);
}

/**
 * doorbell_assign_irqfd() - ring a line whenever an eventfd is signalled
 * @db: the context
 * @fd: the eventfd
 * @line: the line
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_irqfd(int db, int fd, uint32_t line)
{
	return doorbell_irqfd(db, fd, line, 0, 0);
}

/**
 * doorbell_assign_resampled() - assign an irqfd that has a resamplefd
 * @db: the context
 * @fd: the eventfd
 * @line: the line, a level line
 * @resamplefd: the eventfd to signal when the line is acked
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_resampled(int db, int fd, uint32_t line, int resamplefd)
{
	return doorbell_irqfd(db, fd, line, DOORBELL_IRQFD_FLAG_RESAMPLE, resamplefd);
}

/**
 * doorbell_assign_unmaskfd() - end a line's automask whenever an eventfd is signalled
 * @db: the context
 * @fd: the eventfd
 * @line: the line, whose type has DOORBELL_TYPE_FLAG_AUTOMASK
 *
 * doorbell_deassign_irqfd() deassigns it.
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_unmaskfd(int db, int fd, uint32_t line)
{
	return doorbell_irqfd(db, fd, line, DOORBELL_IRQFD_FLAG_UNMASK, 0);
}

/**
 * doorbell_assign_ackfd() - ack a line whenever an eventfd is signalled
 * @db: the context
 * @fd: the eventfd
 * @line: the line, a level line
 *
 * doorbell_deassign_irqfd() deassigns it.
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_ackfd(int db, int fd, uint32_t line)
{
	return doorbell_irqfd(db, fd, line, DOORBELL_IRQFD_FLAG_ACK, 0);
}

/**
 * doorbell_assign_ack_unmaskfd() - ack a line and end its automask at each signal
 * @db: the context
 * @fd: the eventfd
 * @line: the line, a level line whose type has DOORBELL_TYPE_FLAG_AUTOMASK
 *
 * doorbell_deassign_irqfd() deassigns it.
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_ack_unmaskfd(int db, int fd, uint32_t line)
{
	return doorbell_irqfd(db, fd, line,
			      DOORBELL_IRQFD_FLAG_ACK | DOORBELL_IRQFD_FLAG_UNMASK, 0);
}

/**
 * doorbell_deassign_irqfd() - deassign an irqfd with its resamplefd, an unmaskfd or an ackfd
 * @db: the context
 * @fd: the eventfd
 * @line: the line
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_deassign_irqfd(int db, int fd, uint32_t line)
{
	return doorbell_irqfd(db, fd, line, DOORBELL_IRQFD_FLAG_DEASSIGN, 0);
}

/* Triggers: eventfds that a line signals. */

/**
 * doorbell_trigger() - assign or deassign a trigger
 * @db: the context
 * @fd: the eventfd; with DOORBELL_TRIGGER_FLAG_ALL or DOORBELL_TRIGGER_FLAG_WAITERS, -1
 * @line: the line
 * @flags: DOORBELL_TRIGGER_FLAG_*
 *
 * Return: 0 or more, as the call returns it, or a negative errno.
 */
static inline int doorbell_trigger(int db, int fd, uint32_t line, uint32_t flags)
{
	struct doorbell_trigger arg = { fd, line, flags, { 0 } };

	return doorbell_ioctl(db, DOORBELL_TRIGGER, &arg);
}

/**
 * doorbell_assign_trigger() - signal an eventfd whenever a line delivers
 * @db: the context
 * @fd: the eventfd; the caller may close it after that
 * @line: the line
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_trigger(int db, int fd, uint32_t line)
{
	return doorbell_trigger(db, fd, line, 0);
}

/**
 * doorbell_assign_counting_trigger() - add the number of rings to an eventfd when a line delivers
 * @db: the context
 * @fd: the eventfd; the caller may close it after that
 * @line: the line, an edge line
 *
 * The sum of what is read from the eventfd is the number of rings that the line has
 * accepted, also if they coalesce. With EFD_SEMAPHORE each ring is a unit.
 * doorbell_deassign_trigger() deassigns it.
 *
 * Return: 0, or a negative errno: -EOPNOTSUPP for a level line.
 */
static inline int doorbell_assign_counting_trigger(int db, int fd, uint32_t line)
{
	return doorbell_trigger(db, fd, line, DOORBELL_TRIGGER_FLAG_COUNT);
}

/**
 * doorbell_deassign_trigger() - deassign a trigger, and wait for its last signal
 * @db: the context
 * @fd: the eventfd
 * @line: the line
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_deassign_trigger(int db, int fd, uint32_t line)
{
	return doorbell_trigger(db, fd, line, DOORBELL_TRIGGER_FLAG_DEASSIGN);
}

/**
 * doorbell_assign_waiters() - make doorbell_wait() the only trigger of a line
 * @db: the context
 * @line: the line, which has no trigger
 *
 * Return: 0, or a negative errno: -EBUSY if the line has a trigger.
 */
static inline int doorbell_assign_waiters(int db, uint32_t line)
{
	return doorbell_trigger(db, -1, line, DOORBELL_TRIGGER_FLAG_WAITERS);
}

/**
 * doorbell_deassign_waiters() - end all doorbell_wait() of a line
 * @db: the context
 * @line: the line
 *
 * Each of these calls returns -ENOENT.
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_deassign_waiters(int db, uint32_t line)
{
	return doorbell_trigger(db, -1, line,
				DOORBELL_TRIGGER_FLAG_DEASSIGN | DOORBELL_TRIGGER_FLAG_WAITERS);
}

/**
 * doorbell_deassign_all_triggers() - deassign the eventfds that are triggers of a line
 * @db: the context
 * @line: the line
 *
 * Return: their number.
 */
static inline int doorbell_deassign_all_triggers(int db, uint32_t line)
{
	return doorbell_trigger(db, -1, line,
				DOORBELL_TRIGGER_FLAG_DEASSIGN | DOORBELL_TRIGGER_FLAG_ALL);
}

/* Notifiers: eventfds that are signalled on masks, unmasks and acks. */

/**
 * doorbell_notifier() - assign or deassign a notifier
 * @db: the context
 * @fd: the eventfd; with DOORBELL_NOTIFIER_FLAG_ALL, -1
 * @line: the line
 * @flags: DOORBELL_NOTIFIER_FLAG_*
 * @events: DOORBELL_NOTIFY_* bits to assign, zero to deassign
 *
 * Return: 0 or more, as the call returns it, or a negative errno.
 */
static inline int doorbell_notifier(int db, int fd, uint32_t line, uint32_t flags,
				    uint32_t events)
{
	struct doorbell_notifier arg = { fd, line, flags, events, { 0 } };

	return doorbell_ioctl(db, DOORBELL_NOTIFIER, &arg);
}

/**
 * doorbell_assign_notifier() - signal an eventfd on events of a line
 * @db: the context
 * @fd: the eventfd; the caller may close it after that
 * @line: the line
 * @events: DOORBELL_NOTIFY_* bits
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_assign_notifier(int db, int fd, uint32_t line, uint32_t events)
{
	return doorbell_notifier(db, fd, line, 0, events);
}

/**
 * doorbell_deassign_notifier() - deassign a notifier, and wait for its last signal
 * @db: the context
 * @fd: the eventfd
 * @line: the line
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_deassign_notifier(int db, int fd, uint32_t line)
{
	return doorbell_notifier(db, fd, line, DOORBELL_NOTIFIER_FLAG_DEASSIGN, 0);
}

/**
 * doorbell_deassign_all_notifiers() - deassign the eventfds that are notifiers of a line
 * @db: the context
 * @line: the line
 *
 * Return: their number.
 */
static inline int doorbell_deassign_all_notifiers(int db, uint32_t line)
{
	return doorbell_notifier(db, -1, line,
				 DOORBELL_NOTIFIER_FLAG_DEASSIGN | DOORBELL_NOTIFIER_FLAG_ALL, 0);
}

/* Lines. */

/**
 * doorbell_ring() - ring a line
 * @db: the context
 * @line: the line
 *
 * Return: DOORBELL_RING_*.
 */
static inline int doorbell_ring(int db, uint32_t line)
{
	return doorbell_ioctl_line(db, DOORBELL_RING, line);
}

/**
 * doorbell_deadline() - convert a timeout to a time of CLOCK_MONOTONIC
 * @ns: the timeout in nanoseconds, less than 2^62
 *
 * Return: the time in nanoseconds, for doorbell_ring_wait() and doorbell_wait().
 */
static inline uint64_t doorbell_deadline(uint64_t ns)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec + ns;
}

/**
 * doorbell_wait() - wait for the deliveries of a line, and consume them
 * @db: the context
 * @line: the line; it has waiters, see doorbell_assign_waiters()
 * @timeout: doorbell_deadline(), 0 not to sleep, or DOORBELL_WAIT_NO_TIMEOUT
 * @count: is set to the number of deliveries that were consumed; to 0 if the call fails
 *
 * Return: 0, or a negative errno: -ENOENT if the line has no waiters, or they are
 * deassigned meanwhile; -EINVAL if @timeout is beyond 2^63 - 1 and not
 * DOORBELL_WAIT_NO_TIMEOUT; -ETIMEDOUT; -EINTR.
 */
static inline int doorbell_wait(int db, uint32_t line, uint64_t timeout, uint64_t *count)
{
	struct doorbell_wait arg = { line, 0, timeout, 0, { 0 } };
	int ret = doorbell_ioctl(db, DOORBELL_WAIT, &arg);

	*count = arg.count;
	return ret;
}

/**
 * doorbell_ring_wait() - ring a line, then consume an eventfd's counter
 * @db: the context
 * @line: the line
 * @fd: the eventfd; with DOORBELL_RING_WAIT_FLAG_LINE a line, as in doorbell_wait()
 * @flags: DOORBELL_RING_WAIT_FLAG_*
 * @timeout: doorbell_deadline(), 0 not to sleep, or DOORBELL_RING_WAIT_NO_TIMEOUT
 * @count: is set to the count that was consumed; to 0 if the call fails
 *
 * After -EINTR or -ETIMEDOUT the line has been rung. To go on waiting, call again with
 * DOORBELL_RING_WAIT_FLAG_NO_RING and the same @timeout, or a new one.
 *
 * Return: DOORBELL_RING_*, or 0 with DOORBELL_RING_WAIT_FLAG_NO_RING.
 */
static inline int doorbell_ring_wait(int db, uint32_t line, int fd, uint32_t flags,
				     uint64_t timeout, uint64_t *count)
{
	struct doorbell_ring_wait arg = { line, fd, timeout, flags, 0, 0, { 0 } };
	int ret = doorbell_ioctl(db, DOORBELL_RING_WAIT, &arg);

	*count = arg.count;
	return ret < 0 ? ret : (int)arg.result;
}

/**
 * doorbell_line_set_for() - mask or unmask many lines for given reasons
 * @db: the context
 * @cmd: DOORBELL_MASK or DOORBELL_UNMASK; with zero @reasons also DOORBELL_CLEAR,
 *	DOORBELL_PENDING or DOORBELL_RING_LINES
 * @line: the first line
 * @nr_lines: number of consecutive lines
 * @lines: bitmap that selects among them, or NULL for all
 * @result: bitmap to write, or NULL
 * @reasons: DOORBELL_MASK_* bits, or zero for DOORBELL_MASK_VECTOR
 *
 * Bitmaps have @nr_lines bits; bit 0 is for @line. A line is masked while it has at least
 * one reason, so that the mask of a whole function keeps those of its vectors.
 *
 * Return: the number of lines whose bit in @result is set. See struct
 * doorbell_line_set.
 */
static inline int doorbell_line_set_for(int db, unsigned long cmd, uint32_t line,
					uint32_t nr_lines, const uint64_t *lines,
					uint64_t *result, uint32_t reasons)
{
	struct doorbell_line_set arg = {
		line, nr_lines, (uintptr_t)lines, (uintptr_t)result, reasons, { 0 },
	};

	return doorbell_ioctl(db, cmd, &arg);
}

/**
 * doorbell_line_set() - mask, unmask, clear, query or ring many lines
 * @db: the context
 * @cmd: DOORBELL_MASK, DOORBELL_UNMASK, DOORBELL_CLEAR, DOORBELL_PENDING or
 *	DOORBELL_RING_LINES
 * @line: the first line
 * @nr_lines: number of consecutive lines
 * @lines: bitmap that selects among them, or NULL for all
 * @result: bitmap to write, or NULL
 *
 * Bitmaps have @nr_lines bits; bit 0 is for @line.
 *
 * Return: the number of lines whose bit in @result is set. See struct
 * doorbell_line_set.
 */
static inline int doorbell_line_set(int db, unsigned long cmd, uint32_t line, uint32_t nr_lines,
				    const uint64_t *lines, uint64_t *result)
{
	return doorbell_line_set_for(db, cmd, line, nr_lines, lines, result, 0);
}

/**
 * doorbell_mask() - mask a line, and wait for a delivery that is in flight
 * @db: the context
 * @line: the line
 *
 * Return: 1 if the line was not masked before, or else 0.
 */
static inline int doorbell_mask(int db, uint32_t line)
{
	return doorbell_line_set(db, DOORBELL_MASK, line, 1, NULL, NULL);
}

/**
 * doorbell_mask_for() - mask a line for given reasons, and wait for a delivery in flight
 * @db: the context
 * @line: the line
 * @reasons: DOORBELL_MASK_* bits, or zero for DOORBELL_MASK_VECTOR
 *
 * Return: 1 if the line was not masked before, or else 0.
 */
static inline int doorbell_mask_for(int db, uint32_t line, uint32_t reasons)
{
	return doorbell_line_set_for(db, DOORBELL_MASK, line, 1, NULL, NULL, reasons);
}

/* doorbell_mask() of many lines: see doorbell_line_set(). */
static inline int doorbell_mask_lines(int db, uint32_t line, uint32_t nr_lines,
				      const uint64_t *lines, uint64_t *result)
{
	return doorbell_line_set(db, DOORBELL_MASK, line, nr_lines, lines, result);
}

/* doorbell_mask_for() of many lines: see doorbell_line_set_for(). */
static inline int doorbell_mask_lines_for(int db, uint32_t line, uint32_t nr_lines,
					  const uint64_t *lines, uint64_t *result,
					  uint32_t reasons)
{
	return doorbell_line_set_for(db, DOORBELL_MASK, line, nr_lines, lines, result, reasons);
}

/**
 * doorbell_unmask() - unmask a line, and deliver the message that it held
 * @db: the context
 * @line: the line
 *
 * Return: 1 if there was a message, or else 0.
 */
static inline int doorbell_unmask(int db, uint32_t line)
{
	return doorbell_line_set(db, DOORBELL_UNMASK, line, 1, NULL, NULL);
}

/**
 * doorbell_unmask_for() - end reasons to mask a line
 * @db: the context
 * @line: the line
 * @reasons: DOORBELL_MASK_* bits, or zero for DOORBELL_MASK_VECTOR
 *
 * If the line has no other reason, delivers the message that it held.
 *
 * Return: 1 if there was a message and it is delivered, or else 0.
 */
static inline int doorbell_unmask_for(int db, uint32_t line, uint32_t reasons)
{
	return doorbell_line_set_for(db, DOORBELL_UNMASK, line, 1, NULL, NULL, reasons);
}

/* doorbell_unmask() of many lines: see doorbell_line_set(). */
static inline int doorbell_unmask_lines(int db, uint32_t line, uint32_t nr_lines,
					const uint64_t *lines, uint64_t *result)
{
	return doorbell_line_set(db, DOORBELL_UNMASK, line, nr_lines, lines, result);
}

/* doorbell_unmask_for() of many lines: see doorbell_line_set_for(). */
static inline int doorbell_unmask_lines_for(int db, uint32_t line, uint32_t nr_lines,
					    const uint64_t *lines, uint64_t *result,
					    uint32_t reasons)
{
	return doorbell_line_set_for(db, DOORBELL_UNMASK, line, nr_lines, lines, result, reasons);
}

/**
 * doorbell_clear() - drop the pending message of a line
 * @db: the context
 * @line: the line
 *
 * Return: 1 if there was a message, or else 0.
 */
static inline int doorbell_clear(int db, uint32_t line)
{
	return doorbell_line_set(db, DOORBELL_CLEAR, line, 1, NULL, NULL);
}

/* doorbell_clear() of many lines: see doorbell_line_set(). */
static inline int doorbell_clear_lines(int db, uint32_t line, uint32_t nr_lines,
				       const uint64_t *lines, uint64_t *result)
{
	return doorbell_line_set(db, DOORBELL_CLEAR, line, nr_lines, lines, result);
}

/**
 * doorbell_pending() - query whether a line has a message pending
 * @db: the context
 * @line: the line
 *
 * Return: 1 if there is a message, or else 0.
 */
static inline int doorbell_pending(int db, uint32_t line)
{
	return doorbell_line_set(db, DOORBELL_PENDING, line, 1, NULL, NULL);
}

/* doorbell_pending() of many lines: see doorbell_line_set(). */
static inline int doorbell_pending_lines(int db, uint32_t line, uint32_t nr_lines,
					 const uint64_t *lines, uint64_t *result)
{
	return doorbell_line_set(db, DOORBELL_PENDING, line, nr_lines, lines, result);
}

/**
 * doorbell_ring_lines() - ring many lines, each once
 * @db: the context
 * @line: the first line
 * @nr_lines: number of consecutive lines
 * @lines: bitmap that selects among them, or NULL for all
 * @result: bitmap to write, or NULL
 *
 * Return: the number of lines whose ring has a delivery of its own, which are those in
 * @result. The other rings have coalesced, or their lines are masked and hold them.
 */
static inline int doorbell_ring_lines(int db, uint32_t line, uint32_t nr_lines,
				      const uint64_t *lines, uint64_t *result)
{
	return doorbell_line_set(db, DOORBELL_RING_LINES, line, nr_lines, lines, result);
}

/**
 * doorbell_set_type() - make a line an edge line or a level line
 * @db: the context
 * @line: the line
 * @type: DOORBELL_TYPE_EDGE or DOORBELL_TYPE_LEVEL
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_set_type(int db, uint32_t line, uint32_t type)
{
	struct doorbell_set_type arg = { line, type, 0, { 0 } };

	return doorbell_ioctl(db, DOORBELL_SET_TYPE, &arg);
}

/**
 * doorbell_set_type_automask() - make a line mask itself in each delivery, as VFIO's INTx does
 * @db: the context
 * @line: the line
 * @type: DOORBELL_TYPE_EDGE or DOORBELL_TYPE_LEVEL
 *
 * After a delivery, doorbell_unmask_for() with DOORBELL_MASK_AUTO allows the next one.
 * doorbell_set_type() makes the line one that does not mask itself.
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_set_type_automask(int db, uint32_t line, uint32_t type)
{
	struct doorbell_set_type arg = { line, type, DOORBELL_TYPE_FLAG_AUTOMASK, { 0 } };

	return doorbell_ioctl(db, DOORBELL_SET_TYPE, &arg);
}

/**
 * doorbell_moderate() - limit the rate of a line's deliveries
 * @db: the context
 * @line: the line
 * @min_interval: minimum time between a delivery and the next one, in nanoseconds; zero,
 *	together with @max_count: no limit
 * @max_count: number of held rings that are delivered at once; zero: no number is
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_moderate(int db, uint32_t line, uint32_t min_interval,
				    uint32_t max_count)
{
	struct doorbell_moderate arg = { line, 0, min_interval, max_count, { 0 } };

	return doorbell_ioctl(db, DOORBELL_MODERATE, &arg);
}

/**
 * doorbell_get_moderation() - get the limits of the rate of a line's deliveries
 * @db: the context
 * @line: the line
 * @limits: receives the limits in its fields min_interval and max_count
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_get_moderation(int db, uint32_t line,
					  struct doorbell_moderate *limits)
{
	struct doorbell_moderate arg = { line, DOORBELL_MODERATE_FLAG_GET, 0, 0, { 0 } };
	int ret = doorbell_ioctl(db, DOORBELL_MODERATE, &arg);

	if (!ret)
		*limits = arg;
	return ret;
}

/**
 * doorbell_set_level() - raise or lower a level line
 * @db: the context
 * @line: the line
 * @level: 1 raises it, 0 lowers it
 *
 * Return: if it raises, DOORBELL_RING_*; if it lowers, 1 if it withdrew a message, or else 0.
 */
static inline int doorbell_set_level(int db, uint32_t line, uint32_t level)
{
	struct doorbell_set_level arg = { line, level, 0, { 0 } };

	return doorbell_ioctl(db, DOORBELL_SET_LEVEL, &arg);
}

/**
 * doorbell_ack() - ack a level line (EOI)
 * @db: the context
 * @line: the line
 *
 * Return: DOORBELL_ACK_*.
 */
static inline int doorbell_ack(int db, uint32_t line)
{
	return doorbell_ioctl_line(db, DOORBELL_ACK, line);
}

/**
 * doorbell_query() - query the state and the counters of a line
 * @db: the context
 * @line: the line
 * @query: is written
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_query(int db, uint32_t line, struct doorbell_query *query)
{
	memset(query, 0, sizeof(*query));
	query->line = line;
	return doorbell_ioctl(db, DOORBELL_QUERY, query);
}

/* Snapshots. */

/**
 * doorbell_save_lines() - save the state and the counters of lines
 * @db: the context
 * @line: the first line
 * @nr_lines: number of consecutive lines
 * @lines: array of @nr_lines records to write
 *
 * Return: 0, or a negative errno. See struct doorbell_save.
 */
static inline int doorbell_save_lines(int db, uint32_t line, uint32_t nr_lines,
				      struct doorbell_saved_line *lines)
{
	struct doorbell_save arg = {
		(uintptr_t)lines, line, nr_lines, sizeof(*lines), 0, { 0 },
	};

	return doorbell_ioctl(db, DOORBELL_SAVE, &arg);
}

/**
 * doorbell_restore_lines() - bring fresh lines into a saved state, all or none
 * @db: the context
 * @line: the first line
 * @nr_lines: number of consecutive lines
 * @lines: array of @nr_lines records
 * @failed: is set to the index of the record that made the call fail; to ~0U if the call
 *	succeeds or fails for another reason. Or NULL
 *
 * Return: 0, or a negative errno. See struct doorbell_restore.
 */
static inline int doorbell_restore_lines(int db, uint32_t line, uint32_t nr_lines,
					 const struct doorbell_saved_line *lines,
					 uint32_t *failed)
{
	struct doorbell_restore arg = {
		(uintptr_t)lines, line, nr_lines, sizeof(*lines), ~0U, 0, { 0 },
	};
	int ret = doorbell_ioctl(db, DOORBELL_RESTORE, &arg);

	if (failed)
		*failed = arg.failed;
	return ret;
}

/* Counters of eventfds. */

/**
 * doorbell_eventfd_read() - consume an eventfd's counter, and lose no count if that fails
 * @db: any context
 * @fd: the eventfd
 * @flags: zero or DOORBELL_EVENTFD_FLAG_NOWAIT
 * @count: is set to the count that was consumed; to 0 if the call fails
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_eventfd_read(int db, int fd, uint32_t flags, uint64_t *count)
{
	struct doorbell_eventfd arg = { fd, flags, 0, { 0 } };
	int ret = doorbell_ioctl(db, DOORBELL_EVENTFD_READ, &arg);

	*count = arg.count;
	return ret;
}

/**
 * doorbell_eventfd_peek() - query an eventfd's counter
 * @db: any context
 * @fd: the eventfd
 * @count: is set to the count; to 0 if the call fails
 *
 * Return: 0, or a negative errno.
 */
static inline int doorbell_eventfd_peek(int db, int fd, uint64_t *count)
{
	struct doorbell_eventfd arg = { fd, 0, 0, { 0 } };
	int ret = doorbell_ioctl(db, DOORBELL_EVENTFD_PEEK, &arg);

	*count = arg.count;
	return ret;
}

#pragma GCC diagnostic pop

#endif /* _DOORBELL_CLIENT_H */
