/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * /dev/doorbell: a software interrupt controller for eventfds.
 *
 * open("/dev/doorbell") returns a private context. A context has numbered
 * lines; eventfds are assigned to them. An irqfd is an eventfd that the kernel
 * listens on: each signal rings its line. A trigger is an eventfd that the
 * kernel signals when its line delivers. A masked line holds its message until
 * it is unmasked or cleared. A level line stays asserted until it is acked. A
 * region is an address of the context's bus: a write to that address signals an
 * eventfd or rings a line.
 *
 * The same structures serve 32-bit and 64-bit callers. Reserved fields and
 * undefined flag bits must be zero. A call that fails has changed nothing, with two
 * exceptions: DOORBELL_RING_WAIT can fail between its two parts, and DOORBELL_IRQFD
 * can leave its thread in the process (EBUSY).
 *
 * The structure of DOORBELL_X is struct doorbell_x. Each structure that an ioctl
 * reads has flags and reserved words: a later version gives a reserved word a
 * meaning together with a flag bit and a bit of doorbell_get_info.features. An
 * element of an array cannot grow; a flag of the call selects another element. Only
 * struct doorbell_saved_line can: its callers pass its size.
 *
 * Each mistake has its own error:
 *
 *	EBADF		the fd in the argument is not open
 *	EINVAL		that fd is not an eventfd; unknown flag bit; reserved field
 *			not zero; value out of range
 *	ENXIO		no such line or slot (also: the lines, records or last values are
 *			not chosen yet; mmap() of a summary that no line has had yet)
 *	ENOENT		no such assignment; the line has no waiters
 *	EEXIST		the same assignment exists; the lines, records or last values are
 *			chosen already
 *	EBUSY		the eventfd is an irqfd already; the line is in use, or has
 *			triggers of another kind; a region overlaps another one of a
 *			different shape, or has its slot
 *	ELOOP		the assignment would close a cycle of triggers and irqfds inside
 *			this context; the resamplefd is the irqfd itself
 *	ENOSPC		over a limit
 *	ENOMEM		no memory (or over the memory cgroup's limit)
 *	E2BIG		a record of DOORBELL_RESTORE has a part that this module does not know
 *	EFAULT		the argument cannot be read or written
 *	ENOTTY		unknown ioctl
 *	EOPNOTSUPP	an edge line cannot do that, or a level line cannot; this build cannot
 *			do that (see DOORBELL_FEATURE_*); no region matches this write to the
 *			bus
 *	ENOBUFS		no room to record what was written
 *	EAGAIN		nothing to read, and the caller asked not to wait; no thread can
 *			be added to the process
 *	EACCES		mmap() of the status pages or the last values for writing, or of
 *			any mapping for execution
 *	EINTR		a signal arrived
 *	ETIMEDOUT	the time to wait until has passed
 */
#ifndef _UAPI_LINUX_DOORBELL_H
#define _UAPI_LINUX_DOORBELL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Incremented if the meaning of an existing call changes, which is not planned. */
#define DOORBELL_ABI_VERSION		1

/* Limits, also reported by DOORBELL_GET_INFO. */
#define DOORBELL_MAX_LINES		65536
#define DOORBELL_MAX_TRIGGERS_PER_LINE	64
#define DOORBELL_MAX_IRQFDS		262144
#define DOORBELL_MAX_NOTIFIERS_PER_LINE	64
#define DOORBELL_MAX_RESAMPLEFDS_PER_LINE	64
#define DOORBELL_MAX_REGIONS		262144
#define DOORBELL_MAX_RECORDS		1048576
#define DOORBELL_MAX_VALUES		65536

/*
 * The maximum number of eventfds that a context keeps alive. Each trigger, notifier,
 * resamplefd and region with an eventfd counts as one; an irqfd does not. Beyond it:
 * ENOSPC. Unless the process that chose the lines had CAP_IPC_LOCK in the initial user
 * namespace, each also counts as 64 bytes, rounded up to pages per context, of the
 * RLIMIT_MEMLOCK of its user; beyond that: ENOSPC, too.
 */
#define DOORBELL_MAX_EVENTFDS		262144

/*
 * DOORBELL_IRQFD and DOORBELL_TRIGGER search for a cycle, starting from the line that
 * is rung. They examine at most this many triggers; if there are more: ENOSPC.
 */
#define DOORBELL_MAX_SEARCHED_TRIGGERS	65536

/* doorbell_get_info.features */
#define DOORBELL_FEATURE_EVENTFD_READ	(1ULL << 0)	/* DOORBELL_EVENTFD_READ */
#define DOORBELL_FEATURE_EVENTFD_PEEK	(1ULL << 1)	/* DOORBELL_EVENTFD_PEEK */
#define DOORBELL_FEATURE_MASK		(1ULL << 2)	/* masks, notifiers, status pages */
#define DOORBELL_FEATURE_LEVEL		(1ULL << 3)	/* level lines, acks, resamplefds */
#define DOORBELL_FEATURE_BUS		(1ULL << 4)	/* regions, records */
#define DOORBELL_FEATURE_RING_WAIT	(1ULL << 5)	/* DOORBELL_RING_WAIT */
#define DOORBELL_FEATURE_WAIT		(1ULL << 6)	/* DOORBELL_WAIT, waiters of a line */
#define DOORBELL_FEATURE_RING_LINES	(1ULL << 7)	/* DOORBELL_RING_LINES */
#define DOORBELL_FEATURE_MASK_REASONS	(1ULL << 8)	/* DOORBELL_MASK_*, automask */
#define DOORBELL_FEATURE_UNMASKFD	(1ULL << 9)	/* unmaskfds, ackfds */
#define DOORBELL_FEATURE_SAVE		(1ULL << 10)	/* DOORBELL_SAVE, DOORBELL_RESTORE */
#define DOORBELL_FEATURE_MODERATION	(1ULL << 11)	/* DOORBELL_MODERATE */
#define DOORBELL_FEATURE_SUMMARY	(1ULL << 12)	/* DOORBELL_SUMMARY, poll(2) */
#define DOORBELL_FEATURE_LAST_VALUE	(1ULL << 13)	/* DOORBELL_REGION_FLAG_LAST */
#define DOORBELL_FEATURE_COUNT		(1ULL << 14)	/* DOORBELL_TRIGGER_FLAG_COUNT */

/**
 * struct doorbell_get_info - DOORBELL_GET_INFO: properties of the module and the context
 * @abi_version: DOORBELL_ABI_VERSION of the module
 * @nr_lines: lines of this context, 0 until DOORBELL_SET_LINES
 * @features: DOORBELL_FEATURE_* bits
 * @max_lines: maximum number of lines of a context
 * @max_triggers_per_line: maximum number of triggers of a line
 * @max_irqfds: maximum number of irqfds of a context
 * @nr_irqfds: irqfds assigned in this context, with unmaskfds and ackfds
 * @nr_triggers: triggers assigned in this context
 * @nr_notifiers: notifiers assigned in this context
 * @status_size: size of struct doorbell_line_status, the distance between two lines' status
 * @max_notifiers_per_line: maximum number of notifiers of a line
 * @max_resamplefds_per_line: maximum number of irqfds with a resamplefd of a line
 * @max_regions: maximum number of regions of a context
 * @nr_regions: regions assigned in this context
 * @max_records: maximum number of records of a context
 * @status_offset: offset for mmap() of the status pages (struct doorbell_line_status)
 * @records_offset: offset for mmap() of the records (struct doorbell_record_ring)
 * @summary_offset: offset for mmap() of the summary (struct doorbell_summary_map)
 * @values_offset: offset for mmap() of the last values (struct doorbell_value)
 * @max_values: maximum number of last values of a context
 * @reserved: zero
 */
struct doorbell_get_info {
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
	__u64 status_offset;
	__u64 records_offset;
	__u64 summary_offset;
	__u64 values_offset;
	__u32 max_values;
	__u32 reserved[7];
};

/* doorbell_set_lines.flags */
#define DOORBELL_SET_LINES_FLAG_MASKED	(1U << 0)	/* all lines begin masked */

/**
 * struct doorbell_set_lines - DOORBELL_SET_LINES: choose the number of lines, once
 * @nr_lines: 1 to DOORBELL_MAX_LINES
 * @flags: zero or DOORBELL_SET_LINES_FLAG_MASKED
 * @reserved: zero
 *
 * All lines are edge lines. With DOORBELL_SET_LINES_FLAG_MASKED they begin masked, for
 * DOORBELL_MASK_VECTOR, as the vectors of MSI-X do: a line that is rung before it has a
 * trigger holds its message until it is unmasked.
 */
struct doorbell_set_lines {
	__u32 nr_lines;
	__u32 flags;
	__u32 reserved[6];
};

/* doorbell_irqfd.flags */
#define DOORBELL_IRQFD_FLAG_DEASSIGN	(1U << 0)
#define DOORBELL_IRQFD_FLAG_RESAMPLE	(1U << 1)	/* with a resamplefd */
#define DOORBELL_IRQFD_FLAG_UNMASK	(1U << 2)	/* an unmaskfd: does not ring */
#define DOORBELL_IRQFD_FLAG_ACK		(1U << 3)	/* an ackfd: does not ring */

/**
 * struct doorbell_irqfd - DOORBELL_IRQFD: listen on an eventfd
 * @fd: the eventfd
 * @line: the line that it rings, unmasks or acks
 * @flags: zero or DOORBELL_IRQFD_FLAG_RESAMPLE to assign an irqfd;
 *	DOORBELL_IRQFD_FLAG_UNMASK, _ACK or both to assign an unmaskfd or ackfd;
 *	DOORBELL_IRQFD_FLAG_DEASSIGN to deassign either
 * @resamplefd: with DOORBELL_IRQFD_FLAG_RESAMPLE, another eventfd; otherwise zero
 * @reserved: zero
 *
 * Assigning consumes the counter: if it was not zero, the line is rung exactly once.
 * From then on each signal is consumed and rings the line. With EFD_SEMAPHORE each
 * signal consumes one unit, as read(2) does; the other units stay in the counter.
 * Deassigning consumes the counter once more, in one step with the removal: only an
 * EFD_SEMAPHORE eventfd can have something left then, and it rings once more. After
 * that the module does not touch the eventfd again. When the context is closed, the
 * irqfd is removed and the counter stays as it is: each signal has been delivered, or is
 * left in the counter.
 *
 * When the last file of the eventfd is closed, the eventfd is deassigned. A work item
 * does that soon after the close. Until it has run, DOORBELL_QUERY counts the irqfd, its
 * resamplefd is signalled, and a level line cannot become an edge line (EBUSY).
 * DOORBELL_IRQFD_FLAG_DEASSIGN before the close is a barrier.
 *
 * The resamplefd is for a level-triggered source. It is signalled each time that the
 * line, which must be a level line, is acked: the source then checks whether it still
 * needs service, and signals the irqfd again if so. If the line is masked when it is
 * acked, that signal is postponed until the unmask: a handler that runs masked (a
 * threaded, oneshot one) has served the source by then. Each irqfd of a line has its
 * own resamplefd, which is deassigned with it. Like a trigger it may be closed before.
 *
 * An unmaskfd or ackfd is the way back: its signal says that a message was handled. So
 * the resamplefd of KVM's irqfd, or an ioeventfd that the guest writes to, can drive a
 * level line or a line with DOORBELL_TYPE_FLAG_AUTOMASK without a thread. The signal of an
 * unmaskfd ends the mask that the line has set itself, DOORBELL_MASK_AUTO, and no other
 * reason. The signal of an ackfd acks a level line as DOORBELL_ACK does. With both flags
 * the one signal acks and unmasks in one step; it acks a message that was sent, and
 * unmasks one that was not sent yet.
 *
 * The signal takes effect before the write of it returns, and orders with rings and calls
 * like a call of its own: a signal that finds the line not masked by itself, or not
 * asserted, does nothing, and does not end the mask or the assertion of a later message.
 * What it causes follows in the line's callback, as for an irqfd: the delivery of the
 * pending message, and the signals to resamplefds and notifiers. Transitions that come
 * before that callback share one signal. If the line is masked by then, resamplefds are
 * postponed until the unmask. A call that deassigns a resamplefd or a notifier first sends
 * what the callback owes: an ack that came before the call has its signal.
 *
 * Everything else is as for an irqfd: it consumes the counter, is the eventfd's only
 * consumer on the host (EBUSY), counts as an irqfd, and is deassigned by
 * DOORBELL_IRQFD_FLAG_DEASSIGN, at the close of its last file or with the context. A
 * counter that is not zero when it is assigned is one signal. EOPNOTSUPP: an ackfd of an
 * edge line. EBUSY: the eventfd listens already, for another line or for another
 * purpose. While a line has an ackfd, DOORBELL_SET_TYPE cannot make it an edge line
 * (EBUSY).
 */
struct doorbell_irqfd {
	__s32 fd;
	__u32 line;
	__u32 flags;
	__s32 resamplefd;
	__u32 reserved[4];
};

/* doorbell_trigger.flags */
#define DOORBELL_TRIGGER_FLAG_DEASSIGN	(1U << 0)
#define DOORBELL_TRIGGER_FLAG_ALL	(1U << 1)	/* with DEASSIGN: all of the line */
#define DOORBELL_TRIGGER_FLAG_WAITERS	(1U << 2)	/* callers of DOORBELL_WAIT, no eventfd */
#define DOORBELL_TRIGGER_FLAG_COUNT	(1U << 3)	/* adds the number of rings */

/**
 * struct doorbell_trigger - DOORBELL_TRIGGER: signal an eventfd
 * @fd: the eventfd; with DOORBELL_TRIGGER_FLAG_ALL or DOORBELL_TRIGGER_FLAG_WAITERS, -1
 * @line: the line on whose deliveries it is signalled
 * @flags: zero or DOORBELL_TRIGGER_FLAG_COUNT to assign, DOORBELL_TRIGGER_FLAG_DEASSIGN
 *	to deassign, and with DOORBELL_TRIGGER_FLAG_ALL to deassign all;
 *	DOORBELL_TRIGGER_FLAG_WAITERS alone or with DOORBELL_TRIGGER_FLAG_DEASSIGN
 * @reserved: zero
 *
 * The fd may be closed after assigning: the eventfd is signalled until it is
 * deassigned or the context is closed. When a deassign has returned, the eventfd is
 * not signalled again. One eventfd may be a trigger of many lines.
 *
 * A line without a trigger delivers and counts the delivery, which signals nothing.
 * An edge line's message is lost with that. A level line stays asserted: if its last
 * message found no trigger and was not acked, it is sent once more to the first
 * trigger that is assigned, or is pending if the line is masked. To lose nothing,
 * mask the line until it has its triggers (DOORBELL_SET_LINES_FLAG_MASKED).
 *
 * DOORBELL_TRIGGER_FLAG_DEASSIGN | DOORBELL_TRIGGER_FLAG_ALL deassigns all eventfds
 * that are triggers of the line, and returns their number. Use it for peers that are
 * gone, whose eventfds have no file descriptor any more.
 *
 * DOORBELL_TRIGGER_FLAG_WAITERS makes the callers of DOORBELL_WAIT the line's only
 * trigger, which counts as one. EBUSY if the line has another trigger, and for each
 * other trigger and the summary after that; EEXIST if the line has waiters already. Such
 * a line needs no eventfd to deliver, so it delivers at once wherever it is rung: an
 * irqfd's signal reaches the waiter without an interrupt. Deliveries before the
 * assignment are not consumed by DOORBELL_WAIT. Deassigning the waiters wakes all threads
 * that sleep in DOORBELL_WAIT, which then fails with ENOENT; deliveries that were not
 * consumed yet are lost. Without the line's waiters: ENOENT. DOORBELL_TRIGGER_FLAG_ALL
 * does not deassign them.
 *
 * With DOORBELL_TRIGGER_FLAG_COUNT a delivery adds the number of rings to the counter, as
 * one write(2) of that number does, where it otherwise adds one for all that coalesced.
 * So the sum of what is read from the eventfd is the number of rings that the line has
 * accepted, exactly: with EFD_SEMAPHORE each ring is a unit of its own. A ring is counted
 * in the step that makes it pending, and a delivery takes all that are counted when it
 * starts to signal. It can take a ring whose own message comes next: that one then adds
 * less, or nothing, and does not wake. A masked line goes on counting. All such triggers
 * of a line get the same numbers, its other triggers one per delivery. An eventfd is one
 * trigger of a line, with the flag or without it (EEXIST), and is deassigned without it.
 *
 * DOORBELL_CLEAR drops the rings of the message that it drops, and counts them in
 * doorbell_line_status.dropped_units. The rings of a message that is pending when the
 * first such trigger of a line is assigned count as one. Those that are counted when the
 * last one is deassigned are dropped and counted nowhere; the message stays for the other
 * triggers. A message counts up to 2^32-1 rings. A counter stops at its maximum, as it
 * does after signals: nothing waits for its reader.
 *
 * A level line sends one message for all rings until the ack, so it cannot count:
 * EOPNOTSUPP, also if this build lacks DOORBELL_FEATURE_COUNT. While a line counts,
 * DOORBELL_SET_TYPE cannot make it a level line (EBUSY). A ring of a line that counts must
 * not be skipped because it would coalesce: look at DOORBELL_LINE_COUNTS first.
 */
struct doorbell_trigger {
	__s32 fd;
	__u32 line;
	__u32 flags;
	__u32 reserved[5];
};

/* doorbell_summary.flags */
#define DOORBELL_SUMMARY_FLAG_DEASSIGN	(1U << 0)

/**
 * struct doorbell_summary - DOORBELL_SUMMARY: have lines mark the summary
 * @line: the first line
 * @nr_lines: number of consecutive lines, at least 1
 * @lines: address of a bitmap that selects lines, as in struct doorbell_line_set, or zero
 * @flags: zero to assign, DOORBELL_SUMMARY_FLAG_DEASSIGN to deassign
 * @reserved: zero
 *
 * A context has one summary: a notification that many lines share, and a bitmap of the
 * lines that have fired (struct doorbell_summary_map). The call makes the summary a
 * trigger of all selected lines, beside their other triggers. Each delivery of such a line
 * sets the line's bit. The file descriptor of the context is readable (EPOLLIN and
 * EPOLLRDNORM) while a bit is set, for poll(2), select(2) and epoll(7).
 *
 * The call changes all selected lines or none: EEXIST if the summary is a trigger of one
 * already, EBUSY if one has waiters (DOORBELL_TRIGGER_FLAG_WAITERS), ENOSPC if one has
 * DOORBELL_MAX_TRIGGERS_PER_LINE triggers. To deassign, it
 * must be a trigger of each (ENOENT). When a deassign has returned, no delivery of the
 * lines sets a bit. Bits that are set stay. DOORBELL_TRIGGER_FLAG_ALL does not deassign
 * the summary, and it does not count as an eventfd.
 */
struct doorbell_summary {
	__u32 line;
	__u32 nr_lines;
	__u64 lines;
	__u32 flags;
	__u32 reserved[3];
};

/* The number of groups in struct doorbell_summary_map. */
#define DOORBELL_SUMMARY_GROUPS		16

/**
 * struct doorbell_summary_map - the mapping of the summary
 * @top: bit G says that word G of @groups may have bits
 * @reserved: ignore them
 * @groups: bit W of word G says that word 64 * G + W of @lines may have bits
 * @lines: bit B of word W says that line 64 * W + B has fired
 *
 * Can be mapped, shared, from doorbell_get_info.summary_offset, once the summary has been
 * assigned (ENXIO); @lines has a word for each 64 lines of the context, rounded up. The
 * mapping keeps the context open, as a file descriptor does.
 *
 * The module sets bits from the bottom to the top. The consumer takes words from the top to
 * the bottom: it exchanges @top with zero (atomically, sequentially consistent); for each
 * bit that it got it does the same with a word of @groups, for each bit of these with a word
 * of @lines, and it handles the line of each bit of these. So it takes what has fired in time
 * that depends on the number of lines that fired, and on nothing else. Each bit goes to one
 * of several consumers. A delivery sets its bit after the sources have stored their data: a
 * consumer that has taken the bit finds the data. Several deliveries can be one bit. A
 * consumer may also find no bit where the word above had one.
 *
 * A delivery that finds @top zero wakes the threads that wait for the file descriptor.
 * Thus a consumer takes until @top is zero, and then waits. That is enough with EPOLLET,
 * too: an edge is a delivery that makes @top nonzero. On PREEMPT_RT there are more: each
 * delivery whose bit was not set is an edge. The records have edges of their own, see struct
 * doorbell_record.
 *
 * A consumer that takes over from one that died between two steps finds the lines that are
 * left by looking at all words. Each further delivery of such a line marks all three levels
 * again. The module only sets bits, and trusts no word. Each process that maps the words can
 * set and clear any bit. So a consumer may lose a notification or get one of any line of the
 * context, and it ignores bits of lines that the context does not have.
 */
struct doorbell_summary_map {
	__u64 top;
	__u64 reserved[15];
	__u64 groups[DOORBELL_SUMMARY_GROUPS];
	__u64 lines[];
};

/* doorbell_notifier.flags */
#define DOORBELL_NOTIFIER_FLAG_DEASSIGN	(1U << 0)
#define DOORBELL_NOTIFIER_FLAG_ALL	(1U << 1)	/* with DEASSIGN: all of the line */

/* doorbell_notifier.events */
#define DOORBELL_NOTIFY_MASK		(1U << 0)	/* the line went from unmasked to masked */
#define DOORBELL_NOTIFY_UNMASK		(1U << 1)	/* the line went from masked to unmasked */
#define DOORBELL_NOTIFY_ACK		(1U << 2)	/* the line was acked, masked or not */

/**
 * struct doorbell_notifier - DOORBELL_NOTIFIER: signal an eventfd on masks, unmasks, acks
 * @fd: the eventfd; with DOORBELL_NOTIFIER_FLAG_ALL, -1
 * @line: the line
 * @flags: zero to assign, DOORBELL_NOTIFIER_FLAG_DEASSIGN to deassign, and with
 *	DOORBELL_NOTIFIER_FLAG_ALL to deassign all
 * @events: DOORBELL_NOTIFY_* bits to assign, zero to deassign
 * @reserved: zero
 *
 * The eventfd is signalled once for each transition that is among @events, after the
 * transition and before the call that made it returns. A MASK of a masked line, an UNMASK
 * of a line that is not masked, or that stays masked for another reason, and an ACK that
 * finds nothing to ack are no transitions. Lifetimes and barriers are those of a trigger.
 * Resamplefds are no notifiers.
 */
struct doorbell_notifier {
	__s32 fd;
	__u32 line;
	__u32 flags;
	__u32 events;
	__u32 reserved[4];
};

/* doorbell_set_type.type */
#define DOORBELL_TYPE_EDGE		0
#define DOORBELL_TYPE_LEVEL		1

/* doorbell_set_type.flags */
#define DOORBELL_TYPE_FLAG_AUTOMASK	(1U << 0)	/* masks itself when it delivers */

/**
 * struct doorbell_set_type - DOORBELL_SET_TYPE: edge or level
 * @line: the line
 * @type: DOORBELL_TYPE_*; every line begins as an edge line
 * @flags: zero or DOORBELL_TYPE_FLAG_AUTOMASK
 * @reserved: zero
 *
 * A ring of an edge line is a message. A ring of a level line asserts the line. Its
 * message is delivered as an edge line's is, but between the ring and the ack there is
 * no other message: all rings until the ack coalesce.
 *
 * To change its type the line must be idle (EBUSY): no message pending, neither asserted
 * nor raised. To become an edge line it must have no irqfd with a resamplefd, and no ackfd;
 * to become a level line, no trigger with DOORBELL_TRIGGER_FLAG_COUNT.
 *
 * With DOORBELL_TYPE_FLAG_AUTOMASK the line masks itself, for the reason
 * DOORBELL_MASK_AUTO, in the same step in which a delivery starts, as VFIO's INTx does.
 * So there is no second delivery before DOORBELL_UNMASK with DOORBELL_MASK_AUTO, or the
 * signal of an unmaskfd (DOORBELL_IRQFD_FLAG_UNMASK); what arrives meanwhile is pending. A
 * delivery that finds no trigger masks the line, too. The
 * delivery itself is the event of this mask: notifiers of DOORBELL_NOTIFY_MASK are not
 * signalled for it, but those of DOORBELL_NOTIFY_UNMASK are for its end. The flag can be
 * changed while the line is in use, and applies to deliveries that start after that. A
 * line that has masked itself stays masked if the flag is removed.
 */
struct doorbell_set_type {
	__u32 line;
	__u32 type;
	__u32 flags;
	__u32 reserved[5];
};

/**
 * struct doorbell_set_level - DOORBELL_SET_LEVEL: raise or lower a level line
 * @line: the line, a level line (EOPNOTSUPP)
 * @level: 1 raises it, 0 lowers it
 * @flags: zero
 * @reserved: zero
 *
 * For level-triggered sources without an eventfd. A raised line asserts itself until
 * it is lowered: it delivers, and after each ack it delivers once more. Raising returns
 * what DOORBELL_RING returns. Lowering withdraws a message that has no other reason and
 * was not delivered yet, and returns 1 if there was one, or else 0. A withdrawn message
 * counts as dropped, or as coalesced if the line was delivering and was rung again in
 * the meantime. A line has one level: sources that share it have to agree on it, as
 * with KVM_IRQ_LINE.
 */
struct doorbell_set_level {
	__u32 line;
	__u32 level;
	__u32 flags;
	__u32 reserved[5];
};

/*
 * State of a line, in doorbell_query.state and doorbell_line_status.state. In the
 * latter the bits outside of DOORBELL_LINE_STATE are internal to the module.
 */
#define DOORBELL_LINE_PENDING		(1U << 0)	/* a message waits to be delivered */
#define DOORBELL_LINE_MASKED		(1U << 1)	/* it waits until the line is unmasked */
#define DOORBELL_LINE_LEVEL		(1U << 2)	/* a level line, as the next three */
#define DOORBELL_LINE_ASSERTED		(1U << 3)	/* rung or delivered, and not acked since */
#define DOORBELL_LINE_RAISED		(1U << 4)	/* DOORBELL_SET_LEVEL has raised it */
#define DOORBELL_LINE_RESAMPLE		(1U << 5)	/* acked while masked */
#define DOORBELL_LINE_AUTOMASK		(1U << 6)	/* edge or level: masks itself */
#define DOORBELL_LINE_WAITERS		(1U << 7)	/* DOORBELL_WAIT is its trigger */
#define DOORBELL_LINE_REASONS		(0xfU << 16)	/* why it is masked: DOORBELL_MASK_* */
#define DOORBELL_LINE_REASONS_SHIFT	16
#define DOORBELL_LINE_MODERATED		(1U << 22)	/* DOORBELL_MODERATE has limits for it */
#define DOORBELL_LINE_COUNTS		(1U << 24)	/* has a DOORBELL_TRIGGER_FLAG_COUNT */
#define DOORBELL_LINE_STATE		0x14f00ffU

/**
 * struct doorbell_query - DOORBELL_QUERY: state and counters of a line
 * @line: in: the line
 * @state: out: DOORBELL_LINE_* bits
 * @rings: out: rings of the line
 * @deliveries: out: deliveries of the line
 * @deferred: out: deliveries by a worker: at the end of a long chain of relays, or
 *	beyond an interrupt's budget
 * @nr_irqfds: out: irqfds of the line, with unmaskfds and ackfds
 * @nr_triggers: out: triggers of the line
 * @dropped: out: messages that DOORBELL_CLEAR, or a lowered level, withdrew
 * @nr_notifiers: out: notifiers of the line
 * @nr_resamplefds: out: irqfds of the line that have a resamplefd
 * @acks: out: acks of the line
 * @flags: in: zero, out: zero
 * @nr_unmaskfds: out: irqfds that unmask the line
 * @nr_ackfds: out: irqfds that ack the line
 * @reserved: in: zero, out: zero
 *
 * State and counters are of one moment; each nr_* field is exact by itself. The query
 * delivers nothing. A ring that is in @rings and not in @deliveries has coalesced, was
 * dropped, or is pending. A level that is still raised after an ack counts as a ring,
 * and so does the message that is sent once more to the first trigger.
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
	__u32 flags;
	__u32 nr_unmaskfds;
	__u32 nr_ackfds;
	__u32 reserved;
};

/*
 * doorbell_line_set.flags of DOORBELL_MASK and DOORBELL_UNMASK: why the lines are masked.
 * A line is masked while it has at least one reason. Each reason is set and cleared by
 * itself.
 */
#define DOORBELL_MASK_VECTOR		(1U << 0)	/* the mask of the vector itself */
#define DOORBELL_MASK_FUNCTION		(1U << 1)	/* the mask of the whole function */
#define DOORBELL_MASK_PAUSE		(1U << 2)	/* the virtual machine is stopped */
#define DOORBELL_MASK_AUTO		(1U << 3)	/* DOORBELL_TYPE_FLAG_AUTOMASK */

/**
 * struct doorbell_line_set - DOORBELL_MASK, _UNMASK, _CLEAR, _PENDING, _RING_LINES: lines
 * @line: the first line
 * @nr_lines: number of consecutive lines, at least 1
 * @lines: address of a bitmap of @nr_lines bits, in __u64 words, bit 0 for @line, that
 *	selects the lines whose bit is set; bits beyond @nr_lines must be zero. Zero
 *	selects all lines
 * @result: address where a bitmap of the same size is written: the lines that the
 *	call's return value counts. Or zero
 * @flags: for DOORBELL_MASK and DOORBELL_UNMASK DOORBELL_MASK_* bits, or zero for
 *	DOORBELL_MASK_VECTOR; otherwise zero
 * @reserved: zero
 *
 * One call for one line (.line = 5, .nr_lines = 1) and for many. Each call returns the
 * number of lines that
 *
 *	DOORBELL_MASK		were not masked before
 *	DOORBELL_UNMASK		delivered the message that they held
 *	DOORBELL_CLEAR		had a message pending, which was dropped
 *	DOORBELL_PENDING	have a message pending (changes nothing)
 *	DOORBELL_RING_LINES	deliver this ring by itself (DOORBELL_RING_DELIVERED)
 *
 * When DOORBELL_MASK has returned, no delivery of these lines is in flight, and none
 * starts until the line is unmasked; a ring is held as pending. That is so, too, if the
 * line was masked already. DOORBELL_UNMASK ends the reasons in @flags. A line that has no
 * other reason is unmasked: when the call has returned, what was pending is delivered,
 * once. A line that has another one stays masked, and its message pending. For a level
 * line, DOORBELL_CLEAR of a message is also its ack, but only the resamplefds are
 * signalled, not the notifiers. While the line is raised, DOORBELL_CLEAR does not touch the
 * message.
 *
 * DOORBELL_RING_LINES rings each selected line once, in the order of their numbers, as
 * DOORBELL_RING does. A line that is not in @result has coalesced the ring, or is masked
 * and holds it: no other outcome exists, and DOORBELL_PENDING lists the lines that hold
 * one. The lines are rung one after the other: a trigger can be signalled, and its
 * reader can run, while later lines are not rung yet.
 *
 * No call is one step for all its lines, and none holds a lock for more than one line.
 * Between groups of at most 64 lines other tasks can run. If a fatal signal arrives, the
 * call ends after such a group and leaves the other lines as they are; the process never
 * sees it return. No other signal interrupts a call.
 */
struct doorbell_line_set {
	__u32 line;
	__u32 nr_lines;
	__u64 lines;
	__u64 result;
	__u32 flags;
	__u32 reserved[3];
};

/**
 * struct doorbell_line_status - a line's entry in the status pages
 * @state: DOORBELL_LINE_* bits in DOORBELL_LINE_STATE
 * @units: with DOORBELL_LINE_COUNTS, rings that are counted and not delivered yet, or else 0.
 *	It can be 0 while a message is pending, if a delivery has taken that message's rings
 * @deliveries: deliveries of the line
 * @coalesced: rings that joined a delivery that had not started yet
 * @dropped: messages that DOORBELL_CLEAR, or a lowered level, withdrew
 * @deferred: deliveries by a worker
 * @acks: acks of the line
 * @taken: the value of @deliveries up to which DOORBELL_WAIT has consumed them; not
 *	meaningful unless DOORBELL_LINE_WAITERS is set
 * @dropped_units: rings that DOORBELL_CLEAR has dropped while the line counted
 *
 * An array of these, one per line, can be mapped from doorbell_get_info.status_offset:
 * shared, read-only, all of its pages or fewer. Line N's entry is at N times
 * doorbell_get_info.status_size. The module changes these words in place, so they are
 * never stale. Each field is exact by itself (read it once, as a whole). DOORBELL_QUERY
 * returns the state and the counters as of one moment, but not @units, @taken and
 * @dropped_units. A delivery is counted before its triggers are
 * signalled: a thread that a trigger wakes finds it counted. The mapping keeps the
 * context open, as a file descriptor does.
 */
struct doorbell_line_status {
	__u32 state;
	__u32 units;
	__u64 deliveries;
	__u64 coalesced;
	__u64 dropped;
	__u64 deferred;
	__u64 acks;
	__u64 taken;
	__u64 dropped_units;
};

/* The address spaces of a context's bus. */
#define DOORBELL_SPACE_MMIO		0
#define DOORBELL_SPACE_PIO		1

/* doorbell_region.flags */
#define DOORBELL_REGION_FLAG_DEASSIGN	(1U << 0)
#define DOORBELL_REGION_FLAG_DATAMATCH	(1U << 1)	/* one value only */
#define DOORBELL_REGION_FLAG_LINE	(1U << 2)	/* rings a line */
#define DOORBELL_REGION_FLAG_RECORD	(1U << 3)	/* records what is written */
#define DOORBELL_REGION_FLAG_LAST	(1U << 4)	/* stores the last value written */

/**
 * struct doorbell_region - DOORBELL_REGION: an address whose writes signal
 * @addr: address of the first byte
 * @datamatch: with DOORBELL_REGION_FLAG_DATAMATCH, the value that a write must have;
 *	otherwise zero
 * @space: DOORBELL_SPACE_*
 * @length: 1, 2, 4 or 8 bytes; or 0: any of these
 * @fd: the eventfd to signal; with DOORBELL_REGION_FLAG_LINE zero
 * @line: with DOORBELL_REGION_FLAG_LINE, the line to ring; otherwise zero
 * @flags: DOORBELL_REGION_FLAG_*
 * @slot: with DOORBELL_REGION_FLAG_LAST, the slot of the last value; otherwise zero, also
 *	to deassign such a region
 * @reserved: zero
 *
 * A region is KVM's ioeventfd without KVM. A write matches if it begins at @addr, has
 * @length bytes and, with DOORBELL_REGION_FLAG_DATAMATCH, writes @datamatch. A wider
 * write that covers the region does not match: it may cover other registers, too, and
 * only the caller that drives the bus can split it. @datamatch may not have bits beyond
 * @length, and with a @length of 0 there is no datamatch, because the number of its
 * bits would be undefined. Addresses need not be aligned. A region may end with the
 * last byte of the space, but not beyond (EINVAL).
 *
 * An address can have one region without datamatch and any number of regions with
 * different datamatches. All of them have the same @length, and regions that are not at
 * the same address do not overlap (EBUSY); a region of any length covers its first byte.
 * A write that matches both a region with a datamatch and the one without goes to both.
 * To signal more, ring a line, which has many triggers.
 *
 * With DOORBELL_REGION_FLAG_RECORD a write is stored, before the signal, in the
 * context's records (struct doorbell_record), which must have been chosen (ENXIO).
 *
 * With DOORBELL_REGION_FLAG_LAST a write is stored, before the signal, in @slot of the
 * context's last values (struct doorbell_value), which must have been chosen and must have
 * that slot (ENXIO). It never fails for lack of room. A slot has one region at a time
 * (EBUSY); DOORBELL_REGIONS can hand it from one to another. A deassigned region leaves
 * the value and the count as they are. A region cannot have both flags (EINVAL).
 *
 * To deassign, @flags are DOORBELL_REGION_FLAG_DEASSIGN and those of
 * DOORBELL_REGION_FLAG_DATAMATCH and DOORBELL_REGION_FLAG_LINE that it was assigned
 * with. @fd can be -1 if the caller has closed it; another eventfd than it was assigned
 * with is ENOENT, as is another line. Lifetimes and barriers are those of a trigger:
 * when the call returns, every write to the region has been signalled, and no later
 * write is.
 */
struct doorbell_region {
	__u64 addr;
	__u64 datamatch;
	__u32 space;
	__u32 length;
	__s32 fd;
	__u32 line;
	__u32 flags;
	__u32 slot;
	__u32 reserved[2];
};

/**
 * struct doorbell_regions - DOORBELL_REGIONS: change many regions at once
 * @regions: address of an array of struct doorbell_region
 * @nr_regions: number of elements, 1 to 2 * DOORBELL_MAX_REGIONS (ENOSPC)
 * @failed: out: index of the element that made the call fail; ~0U if the call succeeds
 *	or fails for another reason
 * @flags: zero
 * @reserved: zero
 *
 * Applies all elements or none, in one step: a write that is in flight at that time
 * matches either all the old regions or all the new ones. So a device's registers can
 * be moved.
 */
struct doorbell_regions {
	__u64 regions;
	__u32 nr_regions;
	__u32 failed;
	__u32 flags;
	__u32 reserved[3];
};

/**
 * struct doorbell_region_info - an assigned region, from DOORBELL_GET_REGIONS
 * @addr: as in struct doorbell_region
 * @datamatch: as in struct doorbell_region
 * @space: as in struct doorbell_region
 * @length: as in struct doorbell_region
 * @flags: as in struct doorbell_region
 * @line: as in struct doorbell_region
 * @writes: number of writes that matched it
 * @slot: as in struct doorbell_region
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
	__u32 slot;
	__u32 reserved;
};

/**
 * struct doorbell_get_regions - DOORBELL_GET_REGIONS: list the regions
 * @infos: address of an array of struct doorbell_region_info, to be written
 * @first: index of the first region to list, in the order of space, address and datamatch
 * @nr_infos: number of elements of the array, at least 1
 * @flags: zero
 * @reserved: zero
 *
 * Returns the number of elements written. If that is less than @nr_infos, there are no
 * more regions.
 */
struct doorbell_get_regions {
	__u64 infos;
	__u32 first;
	__u32 nr_infos;
	__u32 flags;
	__u32 reserved[3];
};

/**
 * struct doorbell_bus_access - one write to the bus
 * @addr: address of the first byte
 * @value: the value written; bits beyond @length must be zero
 * @length: 1, 2, 4 or 8 bytes
 * @space: DOORBELL_SPACE_*
 */
struct doorbell_bus_access {
	__u64 addr;
	__u64 value;
	__u32 length;
	__u32 space;
};

/**
 * struct doorbell_bus_write - DOORBELL_BUS_WRITE: write to the bus
 * @accesses: address of an array of struct doorbell_bus_access
 * @nr_accesses: number of elements, at least 1
 * @flags: zero
 * @reserved: zero
 *
 * Carries out the accesses in their order until one fails, and returns the number that
 * succeeded. If the first one fails, returns its error: EOPNOTSUPP if no region matches
 * it, so that the caller has to emulate it; ENOBUFS if it has to be recorded and there
 * is no room, and then nothing was signalled. In both cases the caller can go on with
 * the access that failed.
 *
 * pwrite(2), pwritev(2) and pwritev2(2) do the same in DOORBELL_SPACE_MMIO, in the
 * machine's byte order: the offset is the address, and each segment of the vector is
 * one access, which begins where the one before has ended. They return bytes. They
 * cannot reach addresses from 2^63 on. Regions never answer reads: a read at an address
 * is EOPNOTSUPP (see also struct doorbell_record).
 */
struct doorbell_bus_write {
	__u64 accesses;
	__u32 nr_accesses;
	__u32 flags;
	__u32 reserved[4];
};

/* doorbell_set_records.flags */
#define DOORBELL_SET_RECORDS_FLAG_VALUES	(1U << 0)	/* last values, not records */

/**
 * struct doorbell_set_records - DOORBELL_SET_RECORDS: choose the number of records, once
 * @nr_records: a power of two, up to DOORBELL_MAX_RECORDS; with
 *	DOORBELL_SET_RECORDS_FLAG_VALUES zero
 * @flags: zero or DOORBELL_SET_RECORDS_FLAG_VALUES
 * @nr_values: with DOORBELL_SET_RECORDS_FLAG_VALUES, 1 to DOORBELL_MAX_VALUES; otherwise
 *	zero
 * @reserved: zero
 *
 * With DOORBELL_SET_RECORDS_FLAG_VALUES the call chooses the number of last values
 * instead, also once. A context can have both.
 */
struct doorbell_set_records {
	__u32 nr_records;
	__u32 flags;
	__u32 nr_values;
	__u32 reserved[5];
};

/**
 * struct doorbell_record - a recorded write
 * @sequence: 1 for the first record, and one more for each
 * @addr: address of the first byte
 * @value: the value written, bits beyond @length being zero
 * @length: 1, 2, 4 or 8 bytes
 * @space: DOORBELL_SPACE_*
 *
 * read(2) of the device consumes as many whole records as exist and fit, and returns
 * their size. It never sleeps: if there is none it fails with EAGAIN, because the
 * regions' eventfds and lines signal a new record. The file descriptor is readable for
 * poll(2), select(2) and epoll(7) while there is a record; with EPOLLET each record that is
 * stored is an edge. Before DOORBELL_SET_LINES poll(2) reports EPOLLERR alone. After that the
 * descriptor is always writable: no write sleeps. A buffer without room for one record
 * is EINVAL, but one of 1, 2, 4 or 8 bytes is an access to a register: EOPNOTSUPP.
 * Concurrent readers get different records. A record that could not be copied has not been
 * consumed: EFAULT, if it is the first.
 */
struct doorbell_record {
	__u64 sequence;
	__u64 addr;
	__u64 value;
	__u32 length;
	__u32 space;
};

/**
 * struct doorbell_record_ring - the mapping of the records
 * @head: number of records consumed; the consumer writes it
 * @reserved: ignore it
 * @records: a ring of the chosen number of records
 *
 * Can be mapped, shared, from doorbell_get_info.records_offset. The next record is
 * @records[@head % nr_records] if its @sequence (read it first, load-acquire) is @head +
 * 1; else there is none yet. After use the consumer store-releases @head + 1, which
 * frees the place. Only one consumer at a time stores @head, and no other one calls
 * read(2) meanwhile. A record is complete before its region's eventfd is signalled; a
 * consumer that stops at one that is not there yet is signalled later. The module
 * treats a @head that is impossible as a full ring.
 */
struct doorbell_record_ring {
	__u64 head;
	__u64 reserved[15];
	struct doorbell_record records[];
};

/**
 * struct doorbell_value - the last value written to a region, in the mapping of these
 * @value: the value, bits beyond the length of the write being zero
 * @writes: number of writes whose value is stored
 * @started: number of writes that have begun to be stored
 * @reserved: ignore them
 *
 * An array of these, one per slot, can be mapped from doorbell_get_info.values_offset:
 * shared, read-only, all of its pages or fewer. It begins as zeroes. The module changes
 * the words in place and never blocks: a write increments @started, stores @value and
 * increments @writes (store-release both), and then signals. So a thread that the signal
 * wakes finds its value or a later one, and its write counted.
 *
 * @value by itself is never torn (read it once, as a whole) and is the newest. To read it
 * together with the number of writes that it is the result of::
 *
 *	do {
 *		writes = load_acquire(&slot->writes);
 *		value = load_acquire(&slot->value);
 *	} while (load_acquire(&slot->started) != writes);
 *
 * The loop ends when no write was in flight during an iteration. The module is not
 * preempted between the increments, which are few instructions apart. A reader that must
 * be bounded reads @value alone after some iterations. Of two concurrent
 * writes both are counted, and the one that stores later is the last; their signals can
 * come in the other order.
 */
struct doorbell_value {
	__u64 value;
	__u64 writes;
	__u64 started;
	__u64 reserved[5];
};

/**
 * struct doorbell_get_bus - DOORBELL_GET_BUS: counters of the context's bus
 * @nr_regions: regions assigned
 * @nr_records: number of records, 0 until DOORBELL_SET_RECORDS
 * @recorded: writes that were recorded
 * @refused: writes that were refused because there was no room
 * @nr_values: number of last values, 0 until DOORBELL_SET_RECORDS_FLAG_VALUES
 * @reserved0: zero
 * @reserved: zero
 */
struct doorbell_get_bus {
	__u32 nr_regions;
	__u32 nr_records;
	__u64 recorded;
	__u64 refused;
	__u32 nr_values;
	__u32 reserved0;
	__u64 reserved[4];
};

/* doorbell_eventfd.flags */
#define DOORBELL_EVENTFD_FLAG_NOWAIT	(1U << 0)	/* EAGAIN instead of sleeping */

/**
 * struct doorbell_eventfd - DOORBELL_EVENTFD_READ, _PEEK: an eventfd's counter
 * @fd: in: the eventfd
 * @flags: in: DOORBELL_EVENTFD_FLAG_NOWAIT (DOORBELL_EVENTFD_READ only)
 * @count: out: the count that was consumed (READ) or is there (PEEK)
 * @reserved: in: zero, out: zero
 *
 * DOORBELL_EVENTFD_READ does what read(2) of the eventfd does: sleeps until the counter
 * is not zero (unless DOORBELL_EVENTFD_FLAG_NOWAIT or O_NONBLOCK of the eventfd: EAGAIN;
 * a signal interrupts the sleep), consumes the counter (one of it, if EFD_SEMAPHORE) and
 * wakes writers. The count is either in the eventfd or in @count, even if the argument's
 * memory is unmapped during the call (EFAULT). There read(2) loses the count, and so
 * does a build without DOORBELL_FEATURE_EVENTFD_PEEK. DOORBELL_EVENTFD_PEEK returns the
 * count without consuming it.
 */
struct doorbell_eventfd {
	__s32 fd;
	__u32 flags;
	__u64 count;
	__u32 reserved[4];
};

/* doorbell_ring_wait.flags */
#define DOORBELL_RING_WAIT_FLAG_NO_RING	(1U << 0)	/* only wait */
#define DOORBELL_RING_WAIT_FLAG_LINE	(1U << 1)	/* wait for a line, as DOORBELL_WAIT does */

/* doorbell_ring_wait.timeout */
#define DOORBELL_RING_WAIT_NO_TIMEOUT	(~0ULL)

/**
 * struct doorbell_ring_wait - DOORBELL_RING_WAIT: ring a line, then read an eventfd
 * @line: in: the line to ring
 * @fd: in: the eventfd to read, for example the trigger of the answer's line; with
 *	DOORBELL_RING_WAIT_FLAG_LINE the answer's line itself
 * @timeout: in: the time of CLOCK_MONOTONIC, in nanoseconds, at which the wait ends; 0
 *	or another time that has passed: do not sleep; DOORBELL_RING_WAIT_NO_TIMEOUT. A time
 *	beyond 2^63 - 1 that is not DOORBELL_RING_WAIT_NO_TIMEOUT is EINVAL
 * @flags: in: DOORBELL_RING_WAIT_FLAG_*
 * @result: out: DOORBELL_RING_*, as DOORBELL_RING returns it; with
 *	DOORBELL_RING_WAIT_FLAG_NO_RING not written
 * @count: out: the count that was consumed; 0 if the call fails after its checks
 * @reserved: in: zero
 *
 * Sends a request and waits for its answer in one system call. First rings the line as
 * DOORBELL_RING does, exactly once. Then consumes the counter as read(2) of the eventfd
 * does: sleeps until the counter is not zero, consumes it (one of it, if EFD_SEMAPHORE)
 * and wakes writers. @timeout says whether to sleep; O_NONBLOCK of the eventfd does not
 * matter. Returns 0.
 *
 * All checks come before the ring. So there are three kinds of errors. After EINTR and
 * ETIMEDOUT the line was rung, @result is written, and nothing was consumed. To go on
 * waiting, call again with DOORBELL_RING_WAIT_FLAG_NO_RING. After EFAULT nothing was rung,
 * unless the argument's memory was unmapped during the call: then the line was rung, and
 * nothing was consumed. After all other errors nothing was rung or consumed.
 *
 * If the counter is not zero, the call succeeds, even if a signal is pending or the time
 * has passed. A call that has rung is never restarted, because that would ring twice:
 * SA_RESTART restarts only calls with DOORBELL_RING_WAIT_FLAG_NO_RING. As @timeout is a
 * point in time, it stays the same. The count is lost only where
 * DOORBELL_EVENTFD_READ loses it.
 *
 * With DOORBELL_RING_WAIT_FLAG_LINE the second part is DOORBELL_WAIT of the line @fd,
 * whose errors ENXIO and ENOENT come before the ring. If that line's waiters are deassigned
 * later, the call fails with ENOENT after the ring: then @result is written. @line may
 * be the same line.
 */
struct doorbell_ring_wait {
	__u32 line;
	__s32 fd;
	__u64 timeout;
	__u32 flags;
	__u32 result;
	__u64 count;
	__u32 reserved[4];
};

/* doorbell_wait.timeout */
#define DOORBELL_WAIT_NO_TIMEOUT	(~0ULL)

/**
 * struct doorbell_wait - DOORBELL_WAIT: wait for the deliveries of a line
 * @line: in: the line, which has waiters (DOORBELL_TRIGGER_FLAG_WAITERS)
 * @flags: in: zero
 * @timeout: in: the time of CLOCK_MONOTONIC, in nanoseconds, at which the wait ends; 0
 *	or another time that has passed: do not sleep; DOORBELL_WAIT_NO_TIMEOUT. A time
 *	beyond 2^63 - 1 that is not DOORBELL_WAIT_NO_TIMEOUT is EINVAL
 * @count: out: the number of deliveries that were consumed; 0 if the call fails after
 *	its checks
 * @reserved: in: zero
 *
 * Sleeps until the line has delivered, and consumes all of its deliveries that no other
 * call has consumed: each delivery is consumed exactly once. Returns 0. A mapping of the
 * status pages shows the deliveries that wait to be consumed: deliveries - taken of
 * struct doorbell_line_status. A poller need not call before these differ.
 *
 * ENXIO: there is no such line. ENOENT: it has no waiters, or they were deassigned during
 * the call. ETIMEDOUT: the time has passed. EINTR: a signal arrived; SA_RESTART restarts
 * the call, whose @timeout stays the same point in time. EFAULT: the argument cannot be
 * written. A call that fails has consumed nothing. If there is a delivery, the call
 * succeeds, even if a signal is pending or the time has passed.
 *
 * Any number of threads and processes that share the context can wait for one line. Each
 * delivery wakes one of them, the one that sleeps longest. It does not matter whether the
 * line is masked: then it delivers at the unmask. A level line's delivery has to be acked
 * as well. The call holds the context open, as each system call does: closing the file
 * descriptor does not end the wait.
 */
struct doorbell_wait {
	__u32 line;
	__u32 flags;
	__u64 timeout;
	__u64 count;
	__u32 reserved[4];
};

/* doorbell_saved_line.flags */
#define DOORBELL_SAVED_FLAG_UNDELIVERED	(1U << 0)	/* the last message found no trigger */
#define DOORBELL_SAVED_FLAG_COUNTED	(1U << 1)	/* the line counted its rings */

/* doorbell_saved_line.state */
#define DOORBELL_SAVED_STATE		0xf007fU

/* doorbell_save.record_size and doorbell_restore.record_size: the least and the most. */
#define DOORBELL_SAVED_LINE_SIZE	80
#define DOORBELL_SAVED_LINE_SIZE_MAX	4096

/**
 * struct doorbell_saved_line - a line's record, from DOORBELL_SAVE to DOORBELL_RESTORE
 * @state: DOORBELL_LINE_* bits in DOORBELL_SAVED_STATE: the type and its automask, all mask
 *	reasons, the message that is pending, whether the line is asserted and raised, and
 *	whether the unmask has to signal the resamplefds
 * @flags: DOORBELL_SAVED_FLAG_UNDELIVERED for a level line whose last message found no
 *	trigger and was not acked: it is sent once more to the first trigger;
 *	DOORBELL_SAVED_FLAG_COUNTED for a line with DOORBELL_TRIGGER_FLAG_COUNT
 * @deliveries: as in struct doorbell_line_status
 * @coalesced: as in struct doorbell_line_status
 * @dropped: as in struct doorbell_line_status
 * @deferred: as in struct doorbell_line_status
 * @acks: as in struct doorbell_line_status
 * @nr_irqfds: irqfds of the line, with unmaskfds and ackfds; DOORBELL_RESTORE ignores this
 *	and the next five
 * @nr_triggers: triggers of the line
 * @nr_notifiers: notifiers of the line
 * @nr_resamplefds: irqfds of the line that have a resamplefd
 * @nr_unmaskfds: irqfds that unmask the line
 * @nr_ackfds: irqfds that ack the line
 * @units: as in struct doorbell_line_status, for a line with DOORBELL_TRIGGER_FLAG_COUNT
 * @reserved: zero
 *
 * The number of rings is @deliveries + @coalesced + @dropped, and one more if a message is
 * pending. The record has no address, file descriptor or number of a context, so it means
 * the same in another process and on another machine. What the line is wired to is known
 * only to the program that has wired it: an eventfd has no name that outlives it. The
 * numbers of assignments show whether that program has rebuilt all of them. Save them before
 * the irqfds are deassigned.
 *
 * A later version may append fields. There zero means what this version does. The bits that
 * it may add to @state and @flags come with a bit of doorbell_get_info.features.
 */
struct doorbell_saved_line {
	__u32 state;
	__u32 flags;
	__u64 deliveries;
	__u64 coalesced;
	__u64 dropped;
	__u64 deferred;
	__u64 acks;
	__u32 nr_irqfds;
	__u32 nr_triggers;
	__u32 nr_notifiers;
	__u32 nr_resamplefds;
	__u32 nr_unmaskfds;
	__u32 nr_ackfds;
	__u32 units;
	__u32 reserved;
};

/**
 * struct doorbell_save - DOORBELL_SAVE: save state and counters of lines
 * @lines: address of an array of @nr_lines records, to be written; each is a struct
 *	doorbell_saved_line, and begins @record_size bytes after the one before
 * @line: the first line
 * @nr_lines: number of consecutive lines, at least 1
 * @record_size: size of struct doorbell_saved_line as the caller knows it, a multiple of
 *	8 from DOORBELL_SAVED_LINE_SIZE to DOORBELL_SAVED_LINE_SIZE_MAX
 * @flags: zero
 * @reserved: zero
 *
 * For a snapshot, a migration or a restart of the process that has wired the lines. Each
 * record is of one moment, in which no delivery of the line is in flight: the call waits
 * for one. Different lines are of different moments. The call changes nothing and delivers
 * nothing. It also waits until what an unmaskfd or ackfd was signalled for is complete: the
 * notifiers and resamplefds have their signals, and the level of an acked line that is still
 * raised is its next message. Bytes of a record beyond what the module knows are written as
 * zero.
 *
 * To save all lines as of one moment, stop what moves them. While a line is masked with
 * DOORBELL_MASK_PAUSE it delivers nothing, and a ring can only become pending or coalesce.
 * Deassign the irqfds before the call: their signals then stay in the eventfds. A ring
 * that comes after the call is not in the record and is lost with the context. A ring or an
 * ack that is in progress may not be counted yet.
 *
 * If the call fails (EFAULT, or EINTR if the process is killed), some of the records may
 * have been written.
 */
struct doorbell_save {
	__u64 lines;
	__u32 line;
	__u32 nr_lines;
	__u32 record_size;
	__u32 flags;
	__u32 reserved[2];
};

/**
 * struct doorbell_restore - DOORBELL_RESTORE: bring lines into a saved state
 * @lines: address of an array of @nr_lines records, as in struct doorbell_save
 * @line: the first line
 * @nr_lines: number of consecutive lines, at least 1
 * @record_size: as in struct doorbell_save. If the records are larger than the module
 *	knows, the bytes beyond must be zero (E2BIG)
 * @failed: out: index of the record that made the call fail; ~0U if the call succeeds or
 *	fails for another reason
 * @flags: zero
 * @reserved: zero
 *
 * Restores all lines or none. Each line gets the state of its record, with exactly its mask
 * reasons, and the counters go on from those of the record. It signals no notifier. The
 * lines are restored one after another. A message that is pending on a line that is not
 * masked is delivered before the call returns, once; so restore lines that are paused, and
 * unmask them when they are wired. The order of wiring and DOORBELL_RESTORE does not
 * matter, with three exceptions: a resamplefd and an ackfd need a level line; waiters are
 * assigned afterwards; triggers with DOORBELL_TRIGGER_FLAG_COUNT are assigned before. The
 * limits of DOORBELL_MODERATE are wiring, too. A message that was delivered before the save
 * marks no summary here. A pending one does when it is delivered, if the summary is a trigger
 * of the line by then (see struct doorbell_summary).
 *
 * A line must be fresh (EBUSY): an edge line without DOORBELL_TYPE_FLAG_AUTOMASK and without
 * waiters, which has delivered, dropped and acked nothing. It may be masked, and a masked
 * line may have been rung. Such a ring, and one that arrives during the call, is not lost: it
 * joins the message of the record, or the line's assertion, or is a message itself. The units
 * of a line that counts are those of both; a message of a record without
 * DOORBELL_SAVED_FLAG_COUNTED has one. EOPNOTSUPP: the record has @units and the line
 * does not count, or the record is that of a level line and the line counts.
 *
 * A record whose state no line can be in is EINVAL: bits outside of DOORBELL_SAVED_STATE;
 * DOORBELL_LINE_MASKED without a reason, or a reason without it; DOORBELL_LINE_ASSERTED,
 * _RAISED or _RESAMPLE on an edge line; a pending message of a level line that is neither
 * asserted nor raised; DOORBELL_LINE_RESAMPLE on a line that is not masked;
 * DOORBELL_SAVED_FLAG_UNDELIVERED on a line that is not asserted or has a message pending;
 * DOORBELL_SAVED_FLAG_COUNTED on a level line; units without that flag, or without a message
 * that is pending.
 */
struct doorbell_restore {
	__u64 lines;
	__u32 line;
	__u32 nr_lines;
	__u32 record_size;
	__u32 failed;
	__u32 flags;
	__u32 reserved[3];
};

/* doorbell_moderate.flags */
#define DOORBELL_MODERATE_FLAG_GET	(1U << 0)	/* only return the values */

/* doorbell_moderate.min_interval, in nanoseconds. */
#define DOORBELL_MIN_INTERVAL		1000
#define DOORBELL_MAX_INTERVAL		1000000000
/* The maximum number of lines of a context that have, or have had, limits (ENOSPC). */
#define DOORBELL_MAX_MODERATED		1024

/**
 * struct doorbell_moderate - DOORBELL_MODERATE: limit the rate of a line's deliveries
 * @line: in: the line
 * @flags: in: zero, or DOORBELL_MODERATE_FLAG_GET
 * @min_interval: the minimum time between a delivery and the next one, in nanoseconds:
 *	DOORBELL_MIN_INTERVAL to DOORBELL_MAX_INTERVAL; or zero, together with @max_count:
 *	no moderation
 * @max_count: the number of held rings that end an interval early; zero: no number does
 * @reserved: in: zero
 *
 * The notification coalescing of virtio, and the interrupt moderation of network and NVMe
 * devices. An idle line delivers a ring at once, and begins an interval when it has
 * signalled its triggers. During the interval the line holds its message, and further
 * rings coalesce. The end of the interval delivers the message, which begins the next
 * interval. If there is none, the line is idle again. So no message is lost, and each ring
 * is followed by a delivery at most @min_interval later, plus the latency of the kernel's
 * timers. The interval is never shorter; a busy machine can make it longer.
 *
 * With @max_count the line counts the rings that it holds, those that coalesce included. The
 * ring with that number ends the interval, and the line delivers at once. Rings while a
 * delivery is in flight, or the line is masked, do not count; nor do rings of a level line
 * that is asserted. A ring that is in progress when an interval ends may count in the next
 * one, or end it. A @max_count without a @min_interval is EINVAL: nothing would deliver the
 * last rings.
 *
 * A message that is held is pending: DOORBELL_QUERY and DOORBELL_PENDING report it, and
 * DOORBELL_CLEAR drops it. DOORBELL_RING returns DOORBELL_RING_DELIVERED for the ring that
 * made it pending, because that ring will have a delivery of its own, and
 * DOORBELL_RING_COALESCED for the others. A mask and the interval are independent: a line
 * delivers if it is not masked and the interval has ended. DOORBELL_UNMASK during an
 * interval delivers nothing and does not count the line; the end of the interval delivers.
 * A mask does not stop the interval. A line that masks itself (DOORBELL_TYPE_FLAG_AUTOMASK)
 * does so in each delivery; signals of its unmaskfds and ackfds do not end the interval. A
 * level line that is acked while its level is raised delivers again when the interval ends.
 * A delivery to waiters or to a trigger with DOORBELL_TRIGGER_FLAG_COUNT waits for the
 * interval, too; a trigger that counts then gets all the rings.
 *
 * Each call ends the present interval: if the line is not masked, the message that was
 * held is delivered when the call returns. Closing the context does the same. The first
 * call for a line allocates memory (about 100 bytes, charged to the memory cgroup of the
 * caller), which the context keeps until it is closed. DOORBELL_MAX_MODERATED lines can
 * have it (ENOSPC): timers that end together do so in one interrupt.
 * DOORBELL_MODERATE_FLAG_GET writes the present values to @min_interval and @max_count, which
 * it does not read.
 */
struct doorbell_moderate {
	__u32 line;
	__u32 flags;
	__u32 min_interval;
	__u32 max_count;
	__u32 reserved[4];
};

/*
 * 0xDB is free in Documentation/userspace-api/ioctl/ioctl-number.rst of
 * Linux 7.3.
 */
#define DOORBELL_IOC_MAGIC		0xDB

#define DOORBELL_GET_INFO	_IOR(DOORBELL_IOC_MAGIC, 0x00, struct doorbell_get_info)
#define DOORBELL_SET_LINES	_IOW(DOORBELL_IOC_MAGIC, 0x01, struct doorbell_set_lines)

/*
 * DOORBELL_RING - ring a line
 *
 * The argument is the line's number itself. Returns DOORBELL_RING_DELIVERED if
 * this ring has a delivery of its own (done, in flight, or when the interval of a
 * moderated line ends), DOORBELL_RING_COALESCED if it joined one that had not started
 * yet, or DOORBELL_RING_MASKED if the masked line holds it now.
 */
#define DOORBELL_RING		_IO(DOORBELL_IOC_MAGIC, 0x02)
#define DOORBELL_RING_COALESCED		0
#define DOORBELL_RING_DELIVERED		1
#define DOORBELL_RING_MASKED		2

#define DOORBELL_IRQFD		_IOW(DOORBELL_IOC_MAGIC, 0x03, struct doorbell_irqfd)
#define DOORBELL_TRIGGER	_IOW(DOORBELL_IOC_MAGIC, 0x04, struct doorbell_trigger)
#define DOORBELL_QUERY		_IOWR(DOORBELL_IOC_MAGIC, 0x05, struct doorbell_query)
#define DOORBELL_EVENTFD_READ	_IOWR(DOORBELL_IOC_MAGIC, 0x06, struct doorbell_eventfd)
#define DOORBELL_EVENTFD_PEEK	_IOWR(DOORBELL_IOC_MAGIC, 0x07, struct doorbell_eventfd)
#define DOORBELL_MASK		_IOW(DOORBELL_IOC_MAGIC, 0x08, struct doorbell_line_set)
#define DOORBELL_UNMASK		_IOW(DOORBELL_IOC_MAGIC, 0x09, struct doorbell_line_set)
#define DOORBELL_CLEAR		_IOW(DOORBELL_IOC_MAGIC, 0x0a, struct doorbell_line_set)
#define DOORBELL_PENDING	_IOW(DOORBELL_IOC_MAGIC, 0x0b, struct doorbell_line_set)
#define DOORBELL_NOTIFIER	_IOW(DOORBELL_IOC_MAGIC, 0x0c, struct doorbell_notifier)

#define DOORBELL_SET_TYPE	_IOW(DOORBELL_IOC_MAGIC, 0x0d, struct doorbell_set_type)
#define DOORBELL_SET_LEVEL	_IOW(DOORBELL_IOC_MAGIC, 0x0e, struct doorbell_set_level)

/*
 * DOORBELL_ACK - ack a level line (EOI)
 *
 * The argument is the line's number itself; an edge line's is EOPNOTSUPP. Withdraws the
 * assertion that the last delivery was for, and makes the line's sources check again.
 * Returns DOORBELL_ACK_DONE if the resamplefds have been signalled,
 * DOORBELL_ACK_POSTPONED if the line is masked and they are signalled by the
 * unmask, or DOORBELL_ACK_NOTHING if nothing had been delivered since the last
 * ack. A message that a masked line holds has not been delivered.
 */
#define DOORBELL_ACK		_IO(DOORBELL_IOC_MAGIC, 0x0f)
#define DOORBELL_ACK_NOTHING		0
#define DOORBELL_ACK_DONE		1
#define DOORBELL_ACK_POSTPONED		2

#define DOORBELL_REGION		_IOW(DOORBELL_IOC_MAGIC, 0x10, struct doorbell_region)
#define DOORBELL_REGIONS	_IOWR(DOORBELL_IOC_MAGIC, 0x11, struct doorbell_regions)
#define DOORBELL_GET_REGIONS	_IOW(DOORBELL_IOC_MAGIC, 0x12, struct doorbell_get_regions)
#define DOORBELL_BUS_WRITE	_IOW(DOORBELL_IOC_MAGIC, 0x13, struct doorbell_bus_write)
#define DOORBELL_SET_RECORDS	_IOW(DOORBELL_IOC_MAGIC, 0x14, struct doorbell_set_records)
#define DOORBELL_GET_BUS	_IOR(DOORBELL_IOC_MAGIC, 0x15, struct doorbell_get_bus)
#define DOORBELL_RING_WAIT	_IOWR(DOORBELL_IOC_MAGIC, 0x16, struct doorbell_ring_wait)
#define DOORBELL_WAIT		_IOWR(DOORBELL_IOC_MAGIC, 0x17, struct doorbell_wait)
#define DOORBELL_RING_LINES	_IOW(DOORBELL_IOC_MAGIC, 0x18, struct doorbell_line_set)
/* 0x19 stays unused: a new call has the next number after the highest. */
#define DOORBELL_SAVE		_IOW(DOORBELL_IOC_MAGIC, 0x1a, struct doorbell_save)
#define DOORBELL_RESTORE	_IOWR(DOORBELL_IOC_MAGIC, 0x1b, struct doorbell_restore)
#define DOORBELL_MODERATE	_IOWR(DOORBELL_IOC_MAGIC, 0x1c, struct doorbell_moderate)
#define DOORBELL_SUMMARY	_IOW(DOORBELL_IOC_MAGIC, 0x1d, struct doorbell_summary)

#endif /* _UAPI_LINUX_DOORBELL_H */
