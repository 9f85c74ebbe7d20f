/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/doorbell: a software interrupt controller for eventfds.
 *
 * open("/dev/doorbell") returns a private context. A context has numbered
 * lines; eventfds are wired to them. An irqfd is an eventfd that the kernel
 * listens on: each signal rings its line. A trigger is an eventfd that the
 * kernel signals when its line delivers. A masked line holds its message until
 * it is unmasked, or cleared. A level line stays asserted until it is acked. A
 * region is an address of the context's bus; what is written there signals an
 * eventfd, or rings a line.
 *
 * The same structures serve 32-bit and 64-bit callers. Reserved fields and
 * undefined flag bits must be zero. A call that fails has changed nothing.
 *
 * Errors tell mistakes apart:
 *
 *	EBADF		the fd in the argument is not open
 *	EINVAL		that fd is no eventfd; unknown flag bit; reserved field
 *			not zero; value out of range
 *	ENXIO		no such line (also: no lines, or records, chosen yet)
 *	ENOENT		nothing there to deassign
 *	EEXIST		the same assignment exists; the lines, or records, are chosen
 *			already
 *	EBUSY		the eventfd is somebody's irqfd already; the line is in use; a
 *			region overlaps another one of a different shape
 *	ELOOP		the assignment would close a cycle inside this context
 *	ENOSPC		over a limit
 *	ENOMEM		no memory (or over the memory cgroup's limit)
 *	EFAULT		the argument cannot be read or written
 *	ENOTTY		unknown ioctl
 *	EOPNOTSUPP	an edge line cannot do that; this build cannot do that (see
 *			DOORBELL_FEATURE_*); no region takes this access of the bus
 *	ENOBUFS		no room to keep what was written
 *	EAGAIN		nothing to read, and the caller does not want to wait; no room
 *			for a thread of the process's
 *	EACCES		mmap() of the status pages to write, or of anything to execute
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
#define DOORBELL_MAX_REGIONS		262144
#define DOORBELL_MAX_RECORDS		1048576

/*
 * The most eventfds that a context keeps alive. Each trigger, notifier, resamplefd and
 * region with an eventfd counts as one; an irqfd does not. Beyond it: ENOSPC. Unless
 * the process that chose the lines had CAP_IPC_LOCK, each also counts as 64 bytes,
 * rounded up to pages per context, of the RLIMIT_MEMLOCK of its user; beyond it:
 * ENOSPC, too.
 */
#define DOORBELL_MAX_EVENTFDS		262144

/*
 * DOORBELL_IRQFD and DOORBELL_TRIGGER search for a cycle from the line on that is
 * rung. They examine at most this many triggers; if there are more: ENOSPC.
 */
#define DOORBELL_MAX_SEARCHED_TRIGGERS	65536

/* doorbell_info.features */
#define DOORBELL_FEATURE_READ		(1ULL << 0)	/* DOORBELL_READ */
#define DOORBELL_FEATURE_PEEK		(1ULL << 1)	/* DOORBELL_PEEK */
#define DOORBELL_FEATURE_MASK		(1ULL << 2)	/* masks, notifiers, status pages */
#define DOORBELL_FEATURE_LEVEL		(1ULL << 3)	/* level lines, acks, resamplefds */
#define DOORBELL_FEATURE_BUS		(1ULL << 4)	/* regions, kept values */

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
 * @max_regions: most regions that a context can have
 * @nr_regions: regions assigned now in this context
 * @max_records: most records that a context can have
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
	__u32 max_regions;
	__u32 nr_regions;
	__u32 max_records;
};

/* doorbell_lines.flags */
#define DOORBELL_LINES_MASKED		(1U << 0)	/* all lines begin masked */

/**
 * struct doorbell_lines - DOORBELL_SET_LINES: choose the number of lines, once
 * @nr_lines: 1 to DOORBELL_MAX_LINES
 * @flags: zero or DOORBELL_LINES_MASKED
 *
 * All lines are edge lines. With DOORBELL_LINES_MASKED they begin masked, as the
 * vectors of MSI-X do: a line that is rung before it is wired holds its message
 * until it is unmasked.
 */
struct doorbell_lines {
	__u32 nr_lines;
	__u32 flags;
};

/* flags of struct doorbell_irqfd, doorbell_trigger, doorbell_notifier, doorbell_region */
#define DOORBELL_FLAG_DEASSIGN		(1U << 0)
#define DOORBELL_FLAG_RESAMPLE		(1U << 1)	/* doorbell_irqfd only: with a resamplefd */
#define DOORBELL_FLAG_DATAMATCH		(1U << 2)	/* doorbell_region only: one value only */
#define DOORBELL_FLAG_LINE		(1U << 3)	/* doorbell_region only: rings a line */
#define DOORBELL_FLAG_KEEP		(1U << 4)	/* doorbell_region only: keeps the values */
#define DOORBELL_FLAG_ALL		(1U << 5)	/* with DEASSIGN: all of a line */

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
 * last file of the eventfd closes, it is deassigned. When the context dies, the
 * irqfd is removed and the counter is left as it is: each signal has been
 * delivered, or is left in the counter.
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
 * @fd: the eventfd; with DOORBELL_FLAG_ALL, -1
 * @line: the line on whose deliveries it is signalled
 * @flags: zero to assign, DOORBELL_FLAG_DEASSIGN to deassign, and with
 *	DOORBELL_FLAG_ALL to deassign all
 * @reserved: zero
 *
 * The fd may be closed after assigning: the eventfd is signalled until it is
 * deassigned or the context dies. When a deassign has returned, it is not
 * signalled again. One eventfd may be trigger of many lines.
 *
 * A line without a trigger delivers all the same, and counts the delivery, which
 * signals nothing. An edge line's message is lost with that. A level line stays
 * asserted: if its last message found no trigger and was not acked, it is sent once
 * more to the first trigger that is assigned, or is pending if the line is masked.
 * To lose nothing, mask the line until it has its triggers (DOORBELL_LINES_MASKED).
 *
 * DOORBELL_FLAG_DEASSIGN | DOORBELL_FLAG_ALL deassigns all eventfds that are triggers
 * of the line, and returns how many. It is for peers that are gone, whose eventfds
 * have no file descriptor any more.
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
 * @fd: the eventfd; with DOORBELL_FLAG_ALL, -1
 * @line: the line
 * @flags: as of struct doorbell_trigger
 * @events: DOORBELL_NOTIFY_* bits to assign, zero to deassign
 * @reserved: zero
 *
 * The eventfd is signalled once for each transition that is among @events, after
 * it and before the call that made it returns. A MASK of a masked line, an UNMASK
 * of one that is not and an ACK that finds nothing to ack are no transitions.
 * Lifetimes and barriers are those of a trigger. Resamplefds are no notifiers.
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
 * there was one (it counts as dropped; as coalesced, if the line was delivering and
 * rung again meanwhile), or else 0. A line has one level: sources
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
 * @deferred: out: deliveries that went by a worker, because the ring came at
 *	the end of a long chain of relays (see Documentation)
 * @nr_irqfds: out: irqfds of the line
 * @nr_triggers: out: triggers of the line
 * @dropped: out: how many messages DOORBELL_CLEAR, or a lowered level, took back
 * @nr_notifiers: out: notifiers of the line
 * @nr_resamplefds: out: irqfds of the line that have a resamplefd
 * @acks: out: how often it was acked
 * @reserved: in: zero, out: zero
 *
 * State and counters are of one moment; each nr_* field is exact by itself. The query
 * itself delivers nothing. What is in @rings and not in @deliveries has coalesced, was
 * dropped, or is pending. A level that is still raised after an ack counts
 * as a ring, and so does the message that is sent once more to the first trigger.
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
 * @dropped: how many messages DOORBELL_CLEAR, or a lowered level, took back
 * @deferred: how many of the deliveries went by a worker
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

/* The address spaces of a context's bus. */
#define DOORBELL_SPACE_MMIO		0
#define DOORBELL_SPACE_PIO		1

/**
 * struct doorbell_region - DOORBELL_REGION: an address where a write is a signal
 * @addr: the address of its first byte
 * @datamatch: with DOORBELL_FLAG_DATAMATCH, the value that is to be written;
 *	otherwise zero
 * @space: DOORBELL_SPACE_*
 * @length: 1, 2, 4 or 8 bytes; or 0: any of these
 * @fd: the eventfd to signal; with DOORBELL_FLAG_LINE zero
 * @line: with DOORBELL_FLAG_LINE, the line to ring; otherwise zero
 * @flags: DOORBELL_FLAG_*; DOORBELL_FLAG_DEASSIGN to deassign
 * @reserved: zero
 *
 * A write matches if it begins at @addr, has @length bytes and, with
 * DOORBELL_FLAG_DATAMATCH, writes @datamatch. So a wider one does not match that
 * covers the region: there may be something else in it, and only who drives the bus
 * can take it apart. @datamatch may not have bits beyond @length, and with a @length
 * of 0 there is none, for nothing would say how many of its bits count. Addresses need
 * not be aligned. A region may end with the last byte of the space, but not beyond
 * (EINVAL).
 *
 * On one address there can be a region without datamatch and any number of them with
 * one, each another. All of them have the same @length, and regions that are not at
 * the same address do not overlap (EBUSY); one of any length covers its first byte. A
 * write that matches both a region with a datamatch and the one without goes to both.
 * What else should hear of it goes on a line, which has many triggers.
 *
 * With DOORBELL_FLAG_KEEP what is written is stored, before the signal, in the
 * context's records (struct doorbell_record), which must have been chosen (ENXIO).
 *
 * To deassign, @flags are DOORBELL_FLAG_DEASSIGN and those of DOORBELL_FLAG_DATAMATCH
 * and DOORBELL_FLAG_LINE that it was assigned with. @fd can be -1, if it is not at hand
 * any more; another one than it was assigned with is ENOENT, as is another line.
 * Lifetimes and barriers are those of a trigger: when the call returns, nothing that
 * was written there is yet to be signalled, and nothing will be.
 */
struct doorbell_region {
	__u64 addr;
	__u64 datamatch;
	__u32 space;
	__u32 length;
	__s32 fd;
	__u32 line;
	__u32 flags;
	__u32 reserved[3];
};

/**
 * struct doorbell_regions - DOORBELL_REGIONS: many regions at once
 * @regions: address of an array of struct doorbell_region
 * @nr_regions: how many, at least 1
 * @failed: in: zero, out: if the call fails because of one of them, which; otherwise
 *	it is left alone
 * @flags: zero
 * @reserved: zero
 *
 * All of them or none. What is to be deassigned goes and what is to be assigned comes
 * in one step: of a write that is under way at that time, either all the old regions
 * or all the new ones are seen. So a device's registers can be moved.
 */
struct doorbell_regions {
	__u64 regions;
	__u32 nr_regions;
	__u32 failed;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct doorbell_region_info - DOORBELL_GET_REGIONS: an assigned region
 * @addr: as it was assigned; and so on
 * @datamatch: as above
 * @space: as above
 * @length: as above
 * @flags: as above
 * @line: as above
 * @writes: how many writes have gone to it
 * @reserved: zero
 */
struct doorbell_region_info {
	__u64 addr;
	__u64 datamatch;
	__u32 space;
	__u32 length;
	__u32 flags;
	__u32 line;
	__u64 writes;
	__u64 reserved;
};

/**
 * struct doorbell_region_list - DOORBELL_GET_REGIONS: what regions there are
 * @infos: address of an array of struct doorbell_region_info, to be written
 * @first: which is the first of interest, in the order of space, address and datamatch
 * @nr_infos: how many the array has room for, at least 1
 * @flags: zero
 * @reserved: zero
 *
 * Returns how many were written; less than @nr_infos: there are no more.
 */
struct doorbell_region_list {
	__u64 infos;
	__u32 first;
	__u32 nr_infos;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct doorbell_access - one write to the bus
 * @addr: the address of its first byte
 * @value: what is written; bits beyond @length must be zero
 * @length: 1, 2, 4 or 8 bytes
 * @space: DOORBELL_SPACE_*
 */
struct doorbell_access {
	__u64 addr;
	__u64 value;
	__u32 length;
	__u32 space;
};

/**
 * struct doorbell_bus_write - DOORBELL_BUS_WRITE: write to the bus
 * @accesses: address of an array of struct doorbell_access
 * @nr_accesses: how many, at least 1
 * @flags: zero
 *
 * Returns how many were carried out, in their order, until one failed; if that is the
 * first, its error: EOPNOTSUPP if no region takes it, so it is the caller's own to
 * emulate; ENOBUFS if what it writes is to be kept and there is no room, and then
 * nobody was signalled. Either way the caller can go on with that one.
 *
 * pwrite(2) and its sisters do the same in DOORBELL_SPACE_MMIO, in the machine's byte
 * order: the offset is the address, and each segment of the vector one access, which
 * begins where the one before has ended. They return bytes. What they cannot do is
 * addresses from 2^63 on. Regions never answer reads: a read at an address is
 * EOPNOTSUPP (see also struct doorbell_record).
 */
struct doorbell_bus_write {
	__u64 accesses;
	__u32 nr_accesses;
	__u32 flags;
};

/**
 * struct doorbell_set_records - DOORBELL_SET_RECORDS: room to keep values, once
 * @nr_records: a power of two, up to DOORBELL_MAX_RECORDS
 * @flags: zero
 */
struct doorbell_set_records {
	__u32 nr_records;
	__u32 flags;
};

/**
 * struct doorbell_record - a write that was kept
 * @sequence: 1 for the first, and one more for each
 * @addr: where it began
 * @value: what was written, bits beyond @length being zero
 * @length: 1, 2, 4 or 8 bytes
 * @space: DOORBELL_SPACE_*
 *
 * read(2) of the device returns as many whole records as there are, or as fit, and
 * takes them out; EAGAIN if there is none: it never sleeps, since it is the regions'
 * eventfds and lines that tell. A buffer that does not have room for one is EINVAL.
 * Several readers at the same time each get other records. A record that could not be
 * copied has not been taken out: EFAULT, if it is the first.
 */
struct doorbell_record {
	__u64 sequence;
	__u64 addr;
	__u64 value;
	__u32 length;
	__u32 space;
};

/**
 * struct doorbell_records - what mmap() of the device shows of the records
 * @head: how many have been taken out; written by who takes them out
 * @reserved: ignore it
 * @records: a ring of as many as were chosen
 *
 * Can be mapped, shared, from offset DOORBELL_RECORDS_OFFSET. The next record is
 * @records[@head % nr_records], if (read it first, load-acquire) its @sequence is @head +
 * 1; else there is none yet. When done with it, store-release @head + 1, and its place
 * can be used again. One consumer at a time stores @head, and no other one calls read(2)
 * meanwhile. A record is there before its region's eventfd is signalled; who stops at
 * one that is not there yet will hear of that. A @head that cannot be is taken for a
 * full ring.
 */
struct doorbell_records {
	__u64 head;
	__u64 reserved[15];
	struct doorbell_record records[];
};

#define DOORBELL_RECORDS_OFFSET		0x10000000

/**
 * struct doorbell_bus - DOORBELL_GET_BUS: what a context's bus has done
 * @nr_regions: regions assigned now
 * @nr_records: records, 0 until DOORBELL_SET_RECORDS
 * @kept: how many writes were kept
 * @refused: how many were refused because there was no room
 * @reserved: zero
 */
struct doorbell_bus {
	__u32 nr_regions;
	__u32 nr_records;
	__u64 kept;
	__u64 refused;
	__u64 reserved;
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
 * and wakes writers. The count is either in the eventfd or in @count, also if the
 * argument's memory goes away during the call (EFAULT): there read(2) loses it, and
 * so does a build without DOORBELL_FEATURE_PEEK. DOORBELL_PEEK looks without taking.
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

#define DOORBELL_REGION		_IOW(DOORBELL_IOC_MAGIC, 0x10, struct doorbell_region)
#define DOORBELL_REGIONS	_IOWR(DOORBELL_IOC_MAGIC, 0x11, struct doorbell_regions)
#define DOORBELL_GET_REGIONS	_IOW(DOORBELL_IOC_MAGIC, 0x12, struct doorbell_region_list)
#define DOORBELL_BUS_WRITE	_IOW(DOORBELL_IOC_MAGIC, 0x13, struct doorbell_bus_write)
#define DOORBELL_SET_RECORDS	_IOW(DOORBELL_IOC_MAGIC, 0x14, struct doorbell_set_records)
#define DOORBELL_GET_BUS	_IOR(DOORBELL_IOC_MAGIC, 0x15, struct doorbell_bus)

#endif /* _UAPI_LINUX_DOORBELL_H */
