/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/doorbell: a software interrupt controller for eventfds.
 *
 * open("/dev/doorbell") returns a private context. A context has numbered
 * lines; eventfds are wired to them. An irqfd is an eventfd that the kernel
 * listens on: each signal rings its line. A trigger is an eventfd that the
 * kernel signals when its line delivers. A masked line holds its message until
 * it is unmasked, or cleared. A level line stays asserted until it is acked.
 *
 * The same structures serve 32-bit and 64-bit callers. Reserved fields and
 * undefined flag bits must be zero. A call that fails has changed nothing.
 *
 * Errors tell mistakes apart:
 *
 *	EBADF		the fd in the argument is not open
 *	EINVAL		that fd is no eventfd; unknown flag bit; reserved field
 *			not zero; value out of range
 *	ENXIO		no such line (also: no lines chosen yet)
 *	ENOENT		nothing there to deassign
 *	EEXIST		the same assignment exists; the lines are chosen already
 *	EBUSY		the eventfd is somebody's irqfd already; the line is in use
 *	ELOOP		the assignment would close a cycle inside this context
 *	ENOSPC		over a limit
 *	ENOMEM		no memory (or over the memory cgroup's limit)
 *	EFAULT		the argument cannot be read or written
 *	ENOTTY		unknown ioctl
 *	EOPNOTSUPP	an edge line cannot do that; this build cannot do that (see
 *			DOORBELL_FEATURE_*)
 *	EACCES		mmap() of the status pages to write or execute
 */
#ifndef _UAPI_LINUX_DOORBELL_H
#define _UAPI_LINUX_DOORBELL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Goes up when the meaning of something that exists changes; so: never. */
#define DOORBELL_ABI_VERSION		1

/* Limits, also reported by DOORBELL_GET_INFO. */
#define DOORBELL_MAX_LINES		65536
#define DOORBELL_MAX_TRIGGERS_PER_LINE	64
#define DOORBELL_MAX_IRQFDS		262144
#define DOORBELL_MAX_NOTIFIERS_PER_LINE	64
#define DOORBELL_MAX_RESAMPLEFDS_PER_LINE	64

/* doorbell_info.features */
#define DOORBELL_FEATURE_READ		(1ULL << 0)	/* DOORBELL_READ */
#define DOORBELL_FEATURE_PEEK		(1ULL << 1)	/* DOORBELL_PEEK */
#define DOORBELL_FEATURE_MASK		(1ULL << 2)	/* masks, notifiers, status pages */
#define DOORBELL_FEATURE_LEVEL		(1ULL << 3)	/* level lines, acks, resamplefds */

/**
 * struct doorbell_info - DOORBELL_GET_INFO: what this module and context are
 * @abi_version: DOORBELL_ABI_VERSION of the module
 * @nr_lines: lines of this context, 0 until DOORBELL_SET_LINES
 * @features: DOORBELL_FEATURE_* bits
 * @max_lines: most lines that a context can have
 * @max_triggers_per_line: most triggers that a line can have
 * @max_irqfds: most irqfds that a context can have
 * @nr_irqfds: irqfds assigned now in this context
 * @nr_triggers: triggers assigned now in this context
 * @nr_notifiers: notifiers assigned now in this context
 * @status_size: size of struct doorbell_status: where the next line's begins
 * @max_notifiers_per_line: most notifiers that a line can have
 * @max_resamplefds_per_line: most irqfds with a resamplefd that a line can have
 * @reserved: zero
 */
struct doorbell_info {
	__u32 abi_version;
	__u32 nr_lines;
	__u64 features;
	__u32 max_lines;
	__u32 max_triggers_per_line;
	__u32 max_irqfds;
	__u32 nr_irqfds;
	__u32 nr_triggers;
	__u32 nr_notifiers;
	__u32 status_size;
	__u32 max_notifiers_per_line;
	__u32 max_resamplefds_per_line;
	__u32 reserved[3];
};

/**
 * struct doorbell_lines - DOORBELL_SET_LINES: choose the number of lines, once
 * @nr_lines: 1 to DOORBELL_MAX_LINES
 * @flags: zero
 */
struct doorbell_lines {
	__u32 nr_lines;
	__u32 flags;
};

/* flags of struct doorbell_irqfd, doorbell_trigger and doorbell_notifier */
#define DOORBELL_FLAG_DEASSIGN		(1U << 0)
#define DOORBELL_FLAG_RESAMPLE		(1U << 1)	/* doorbell_irqfd only: with a resamplefd */

/**
 * struct doorbell_irqfd - DOORBELL_IRQFD: listen on an eventfd
 * @fd: the eventfd
 * @line: the line that it rings
 * @flags: zero or DOORBELL_FLAG_RESAMPLE to assign, DOORBELL_FLAG_DEASSIGN to
 *	deassign
 * @resamplefd: with DOORBELL_FLAG_RESAMPLE, another eventfd; otherwise zero
 * @reserved: zero
 *
 * Assigning takes what is in the counter: if it was not zero the line is rung
 * exactly once. From then on each signal is consumed and rings the line. An
 * EFD_SEMAPHORE eventfd gives one per signal, as its read(2) does; the rest
 * stays in the counter. Deassigning takes the counter once more, together with
 * the removal: only an EFD_SEMAPHORE eventfd can have something left then, and
 * it rings once more. After that the eventfd is not touched again. When the
 * last file of the eventfd closes, it is deassigned.
 *
 * The resamplefd is for a level-triggered source. It is signalled each time that
 * the line, which must be a level line, is acked: then the source looks whether it
 * still needs service, and signals the irqfd again if so. If the line is masked when
 * it is acked, that is postponed until it is unmasked: a handler that runs masked
 * (a threaded, oneshot one) has served the source by then. Each irqfd of the line
 * has its own. It goes with its irqfd, and like a trigger it may be closed before.
 */
struct doorbell_irqfd {
	__s32 fd;
	__u32 line;
	__u32 flags;
	__s32 resamplefd;
	__u32 reserved[4];
};

/**
 * struct doorbell_trigger - DOORBELL_TRIGGER: signal an eventfd
 * @fd: the eventfd
 * @line: the line on whose deliveries it is signalled
 * @flags: zero to assign, DOORBELL_FLAG_DEASSIGN to deassign
 * @reserved: zero
 *
 * The fd may be closed after assigning: the eventfd is signalled until it is
 * deassigned or the context dies. When a deassign has returned, it is not
 * signalled again. One eventfd may be trigger of many lines.
 */
struct doorbell_trigger {
	__s32 fd;
	__u32 line;
	__u32 flags;
	__u32 reserved[5];
};

/* doorbell_notifier.events */
#define DOORBELL_NOTIFY_MASK		(1U << 0)	/* the line went from unmasked to masked */
#define DOORBELL_NOTIFY_UNMASK		(1U << 1)	/* the line went from masked to unmasked */
#define DOORBELL_NOTIFY_ACK		(1U << 2)	/* the line was acked, masked or not */

/**
 * struct doorbell_notifier - DOORBELL_NOTIFIER: be told of masks, unmasks and acks
 * @fd: the eventfd
 * @line: the line
 * @flags: zero to assign, DOORBELL_FLAG_DEASSIGN to deassign
 * @events: DOORBELL_NOTIFY_* bits to assign, zero to deassign
 * @reserved: zero
 *
 * The eventfd is signalled once for each transition that is among @events, after
 * it and before the call that made it returns. A MASK of a masked line, an UNMASK
 * of one that is not and an ACK that finds nothing to ack are no transitions.
 * Lifetimes and barriers are those of a trigger.
 */
struct doorbell_notifier {
	__s32 fd;
	__u32 line;
	__u32 flags;
	__u32 events;
	__u32 reserved[4];
};

/* doorbell_line_type.type */
#define DOORBELL_TYPE_EDGE		0
#define DOORBELL_TYPE_LEVEL		1

/**
 * struct doorbell_line_type - DOORBELL_SET_TYPE: edge or level
 * @line: the line
 * @type: DOORBELL_TYPE_*; every line begins as an edge line
 * @flags: zero
 * @reserved: zero
 *
 * A ring of an edge line is a message, and that is all. A ring of a level line
 * asserts it. Its message is delivered as an edge line's is; but from the ring to
 * the ack there is no other: all rings until then coalesce.
 *
 * EBUSY unless nothing is going on: no message pending, nothing asserted or raised,
 * and no irqfd of the line has a resamplefd.
 */
struct doorbell_line_type {
	__u32 line;
	__u32 type;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct doorbell_level - DOORBELL_SET_LEVEL: for level-triggered sources without
 *	an eventfd
 * @line: the line, a level line (EOPNOTSUPP)
 * @level: 1 raises it, 0 lowers it
 *
 * A line that is raised asserts itself until it is lowered: it delivers, and after
 * each ack once more. Raising returns what DOORBELL_RING does. Lowering takes back
 * a message that has no other reason and was not delivered yet, and returns 1 if
 * there was one (it counts as dropped), or else 0. A line has one level: sources
 * that share it have to agree on it, as with KVM_IRQ_LINE.
 */
struct doorbell_level {
	__u32 line;
	__u32 level;
};

/*
 * State of a line, in doorbell_query.state and doorbell_status.state. In the
 * latter the bits outside of DOORBELL_LINE_STATE are the module's own.
 */
#define DOORBELL_LINE_PENDING		(1U << 0)	/* a message waits to be delivered */
#define DOORBELL_LINE_MASKED		(1U << 1)	/* it waits until the line is unmasked */
#define DOORBELL_LINE_LEVEL		(1U << 2)	/* a level line, as all below */
#define DOORBELL_LINE_ASSERTED		(1U << 3)	/* rung or delivered, and not acked since */
#define DOORBELL_LINE_RAISED		(1U << 4)	/* DOORBELL_SET_LEVEL has raised it */
#define DOORBELL_LINE_RESAMPLE		(1U << 5)	/* acked while masked */
#define DOORBELL_LINE_STATE		0xffU

/**
 * struct doorbell_query - DOORBELL_QUERY: state and counters of a line
 * @line: in: the line
 * @state: out: DOORBELL_LINE_* bits
 * @rings: out: how often the line was rung
 * @deliveries: out: how often it delivered
 * @deferred: out: deliveries that went by a workqueue, because the ring came at
 *	the end of a long chain of relays (see Documentation)
 * @nr_irqfds: out: irqfds of the line
 * @nr_triggers: out: triggers of the line
 * @dropped: out: how many messages DOORBELL_CLEAR dropped
 * @nr_notifiers: out: notifiers of the line
 * @nr_resamplefds: out: irqfds of the line that have a resamplefd
 * @acks: out: how often it was acked
 * @reserved: in: zero, out: zero
 *
 * All of one moment. What is in @rings and not in @deliveries has coalesced, was
 * dropped, or is pending. A level that is still raised when the line is acked
 * counts as a ring.
 */
struct doorbell_query {
	__u32 line;
	__u32 state;
	__u64 rings;
	__u64 deliveries;
	__u64 deferred;
	__u32 nr_irqfds;
	__u32 nr_triggers;
	__u64 dropped;
	__u32 nr_notifiers;
	__u32 nr_resamplefds;
	__u64 acks;
	__u32 reserved[4];
};

/**
 * struct doorbell_lineset - DOORBELL_MASK, _UNMASK, _CLEAR, _PENDING: some lines
 * @line: the first
 * @nr_lines: how many from there on, at least 1
 * @lines: address of a bitmap of @nr_lines bits, in __u64 words: those lines whose
 *	bit is set, bit 0 being @line; bits beyond @nr_lines must be zero. Or zero:
 *	all of them
 * @result: address where a bitmap of the same size is written: the lines that the
 *	call's return value counts. Or zero
 * @flags: zero
 * @reserved: zero
 *
 * One call for one line (.line = 5, .nr_lines = 1) and for many. All return how
 * many of the lines
 *
 *	DOORBELL_MASK		were not masked before
 *	DOORBELL_UNMASK		delivered the message that they held
 *	DOORBELL_CLEAR		had a message pending, which was dropped
 *	DOORBELL_PENDING	have a message pending (and change nothing)
 *
 * When DOORBELL_MASK has returned, no delivery of these lines is under way and
 * none starts until the line is unmasked; a ring is held as pending. When
 * DOORBELL_UNMASK has returned, what was pending is delivered, once. For a level
 * line, DOORBELL_CLEAR of a message is also its ack, except that nobody is told
 * but the resamplefds; while the line is raised it leaves the message alone.
 */
struct doorbell_lineset {
	__u32 line;
	__u32 nr_lines;
	__u64 lines;
	__u64 result;
	__u32 flags;
	__u32 reserved[3];
};

/**
 * struct doorbell_status - what mmap() of the device shows of a line
 * @state: DOORBELL_LINE_* bits below DOORBELL_LINE_STATE
 * @reserved0: ignore it
 * @deliveries: how often it delivered
 * @coalesced: how many rings joined a delivery that had not started yet
 * @dropped: how many messages DOORBELL_CLEAR dropped
 * @deferred: how many of the deliveries went by a workqueue
 * @acks: how often it was acked
 * @reserved: ignore them
 *
 * An array of these, one per line, can be mapped from offset 0: shared, read-only,
 * as many pages as it takes or fewer. It is what the module itself works with,
 * so it is never late. Each field is exact by itself (read it once, as a whole);
 * for all of one moment there is DOORBELL_QUERY. A delivery is counted before
 * its triggers are signalled: who was woken by one finds it counted. The mapping
 * keeps the context, as a file descriptor does.
 */
struct doorbell_status {
	__u32 state;
	__u32 reserved0;
	__u64 deliveries;
	__u64 coalesced;
	__u64 dropped;
	__u64 deferred;
	__u64 acks;
	__u64 reserved[2];
};

/* doorbell_eventfd.flags */
#define DOORBELL_READ_NOWAIT		(1U << 0)	/* EAGAIN instead of sleeping */

/**
 * struct doorbell_eventfd - DOORBELL_READ, DOORBELL_PEEK: an eventfd's counter
 * @fd: in: the eventfd
 * @flags: in: DOORBELL_READ_NOWAIT (DOORBELL_READ only)
 * @count: in: zero, out: what was taken (READ) or is there (PEEK)
 *
 * DOORBELL_READ does what read(2) of the eventfd does: sleeps until the counter
 * is not zero (unless DOORBELL_READ_NOWAIT or O_NONBLOCK of the eventfd: EAGAIN;
 * a signal interrupts the sleep), takes the counter (one of it, if EFD_SEMAPHORE)
 * and wakes writers. DOORBELL_PEEK looks without taking.
 */
struct doorbell_eventfd {
	__s32 fd;
	__u32 flags;
	__u64 count;
};

/*
 * 0xDB is free in Documentation/userspace-api/ioctl/ioctl-number.rst of
 * Linux 7.3.
 */
#define DOORBELL_IOC_MAGIC		0xDB

#define DOORBELL_GET_INFO	_IOR(DOORBELL_IOC_MAGIC, 0x00, struct doorbell_info)
#define DOORBELL_SET_LINES	_IOW(DOORBELL_IOC_MAGIC, 0x01, struct doorbell_lines)

/*
 * DOORBELL_RING - ring a line
 *
 * The argument is the line's number itself. Returns DOORBELL_RING_DELIVERED if
 * this ring has a delivery of its own (done, or about to be),
 * DOORBELL_RING_COALESCED if it joined one that had not started yet, or
 * DOORBELL_RING_MASKED if it is the one that a masked line holds now.
 */
#define DOORBELL_RING		_IO(DOORBELL_IOC_MAGIC, 0x02)
#define DOORBELL_RING_COALESCED		0
#define DOORBELL_RING_DELIVERED		1
#define DOORBELL_RING_MASKED		2

#define DOORBELL_IRQFD		_IOW(DOORBELL_IOC_MAGIC, 0x03, struct doorbell_irqfd)
#define DOORBELL_TRIGGER	_IOW(DOORBELL_IOC_MAGIC, 0x04, struct doorbell_trigger)
#define DOORBELL_QUERY		_IOWR(DOORBELL_IOC_MAGIC, 0x05, struct doorbell_query)
#define DOORBELL_READ		_IOWR(DOORBELL_IOC_MAGIC, 0x06, struct doorbell_eventfd)
#define DOORBELL_PEEK		_IOWR(DOORBELL_IOC_MAGIC, 0x07, struct doorbell_eventfd)
#define DOORBELL_MASK		_IOW(DOORBELL_IOC_MAGIC, 0x08, struct doorbell_lineset)
#define DOORBELL_UNMASK		_IOW(DOORBELL_IOC_MAGIC, 0x09, struct doorbell_lineset)
#define DOORBELL_CLEAR		_IOW(DOORBELL_IOC_MAGIC, 0x0a, struct doorbell_lineset)
#define DOORBELL_PENDING	_IOW(DOORBELL_IOC_MAGIC, 0x0b, struct doorbell_lineset)
#define DOORBELL_NOTIFIER	_IOW(DOORBELL_IOC_MAGIC, 0x0c, struct doorbell_notifier)

#define DOORBELL_SET_TYPE	_IOW(DOORBELL_IOC_MAGIC, 0x0d, struct doorbell_line_type)
#define DOORBELL_SET_LEVEL	_IOW(DOORBELL_IOC_MAGIC, 0x0e, struct doorbell_level)

/*
 * DOORBELL_ACK - ack a level line (EOI)
 *
 * The argument is the line's number itself; an edge line's is EOPNOTSUPP. Takes the
 * assertion back that the last delivery was for, and has the line's sources look
 * again. Returns DOORBELL_ACK_DONE if the resamplefds have been signalled,
 * DOORBELL_ACK_POSTPONED if the line is masked and they will be when it is
 * unmasked, or DOORBELL_ACK_NOTHING if nothing had been delivered since the last
 * ack. A message that a masked line holds has not been delivered.
 */
#define DOORBELL_ACK		_IO(DOORBELL_IOC_MAGIC, 0x0f)
#define DOORBELL_ACK_NOTHING		0
#define DOORBELL_ACK_DONE		1
#define DOORBELL_ACK_POSTPONED		2

#endif /* _UAPI_LINUX_DOORBELL_H */
