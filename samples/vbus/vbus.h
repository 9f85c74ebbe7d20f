/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/doorbell-vbus: two rings of messages in memory that the kernel and a process
 * share, one for each direction. Both sides run the code below.
 *
 * Each ring has a producer and a consumer, and each of them a half that only it
 * writes. Its index counts the messages that it has put, or taken. Its event asks the
 * other side for a notification: "when you put, or take, the message of that number"
 * (virtio calls that an event index). Who finds nothing more to do sets its event and
 * sleeps; while it is awake, its event is one that has passed, and nobody notifies it.
 *
 * Who has the memory mapped can write anything to it at any time. So each side keeps
 * its own index to itself (struct vbus_end) and only publishes it, looks at a message
 * after it has copied it, and bounds what it does in one go. A peer that lies then
 * gets itself messages that make no sense, and nothing else.
 */
#ifndef _DOORBELL_SAMPLE_VBUS_H
#define _DOORBELL_SAMPLE_VBUS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#ifdef __KERNEL__
#include <asm/barrier.h>
#include <linux/compiler.h>
#include <linux/string.h>
#else
#include <stdbool.h>
#include <string.h>
/* What the kernel's macros of these names do: */
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define smp_load_acquire(p)	__atomic_load_n((p), __ATOMIC_ACQUIRE)	/* before what follows */
#define smp_store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)	/* after all else */
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)	/* between what is around */
#endif

#define VBUS_SLOTS	256	/* a power of two, as the index wraps around */

struct vbus_message {
	__u32 number;
	__u32 sum;
	__u64 data[3];
};

/* A cache line, so that the two sides write to different ones. */
struct vbus_half {
	__u32 index;
	__u32 event;
	__u32 notifications;	/* sent; for information, as is */
	__u32 bad;		/* messages with a wrong number or sum */
	__u32 unused[12];
};

struct vbus_ring {
	struct vbus_half producer;
	struct vbus_half consumer;
	struct vbus_message messages[VBUS_SLOTS];
};

/* What mmap() shows. */
struct vbus_area {
	struct vbus_ring to_user;
	struct vbus_ring to_kernel;
};

/* vbus_attach.flags */
#define VBUS_EVERY	(1U << 0)	/* the kernel notifies of every message, asked or not */

/**
 * struct vbus_attach - VBUS_ATTACH: notify by way of lines
 * @fd: a context of /dev/doorbell; it may be closed after that
 * @call: the line that the kernel rings
 * @kick: the line on whose deliveries the kernel looks at the rings
 * @flags: VBUS_EVERY
 */
struct vbus_attach {
	__s32 fd;
	__u32 call;
	__u32 kick;
	__u32 flags;
};

#define VBUS_ATTACH	_IOW(0xDB, 0x80, struct vbus_attach)

/* One side of one ring. */
struct vbus_end {
	struct vbus_half *mine;
	struct vbus_half *other;
	struct vbus_message *messages;
	__u32 ahead;		/* how far it can be ahead of the other: a producer's slots */
	bool every;
	__u32 index;
	__u32 notifications;
	__u32 bad;
	void (*notify)(struct vbus_end *end);
};

static inline struct vbus_end vbus_producer(struct vbus_ring *ring)
{
	return (struct vbus_end) {
		.mine = &ring->producer, .other = &ring->consumer,
		.messages = ring->messages, .ahead = VBUS_SLOTS,
	};
}

static inline struct vbus_end vbus_consumer(struct vbus_ring *ring)
{
	return (struct vbus_end) {
		.mine = &ring->consumer, .other = &ring->producer,
		.messages = ring->messages,
	};
}

static inline __u32 vbus_sum(const struct vbus_message *message)
{
	__u64 sum = message->number;
	int i;

	for (i = 0; i < 3; i++)
		sum = (sum ^ message->data[i]) * 0x9e3779b97f4a7c15ULL;
	return sum >> 32;
}

static inline void vbus_put(struct vbus_end *end, struct vbus_message *slot)
{
	struct vbus_message message = {
		.number = end->index,
		.data = { end->index * 3ULL, ~(__u64)end->index, end->notifications },
	};

	message.sum = vbus_sum(&message);
	memcpy(slot, &message, sizeof(message));
}

static inline void vbus_take(struct vbus_end *end, const struct vbus_message *slot)
{
	struct vbus_message message;

	memcpy(&message, slot, sizeof(message));
	if (message.number != end->index || message.sum != vbus_sum(&message))
		WRITE_ONCE(end->mine->bad, ++end->bad);
}

/* How many slots are this side's. */
static inline __u32 vbus_available(const struct vbus_end *end)
{
	__u32 index, available;

	/*
	 * Goes with the other side's release: the message that its index promises is there;
	 * or, for a producer, has been read, and its slot can be written to again.
	 */
	index = smp_load_acquire(&end->other->index);
	available = index + end->ahead - end->index;
	return available < VBUS_SLOTS ? available : VBUS_SLOTS;
}

/* Passes one slot on to the other side, and says so if that is asked for. */
static inline void vbus_advance(struct vbus_end *end)
{
	__u32 number = end->index++;

	/* After what was done with the message: see vbus_available(). */
	smp_store_release(&end->mine->index, end->index);
	/* The index before the event: see vbus_sleep(). */
	smp_mb();
	if (end->every || READ_ONCE(end->other->event) == number) {
		end->notify(end);
		WRITE_ONCE(end->mine->notifications, ++end->notifications);
	}
}

/* Puts, or takes, what is possible now. */
static inline void vbus_run(struct vbus_end *end)
{
	__u32 n;

	for (n = vbus_available(end); n; n--) {
		struct vbus_message *slot = &end->messages[end->index % VBUS_SLOTS];

		if (end->ahead)
			vbus_put(end, slot);
		else
			vbus_take(end, slot);
		vbus_advance(end);
	}
}

/*
 * Asks to be notified as soon as @n slots are available, and returns true: whoever
 * called this may go to sleep. Or returns false, because by now they are.
 *
 * This looks again after it has asked, while the other side looks whether it is asked
 * after it has advanced, and each has a full barrier in between: then it cannot be that
 * neither sees what the other did. Release and acquire would not do: they allow a load
 * to pass an earlier store.
 */
static inline bool vbus_sleep(struct vbus_end *end, __u32 n)
{
	WRITE_ONCE(end->mine->event, end->index - end->ahead + n - 1);
	/* The event before the index: see vbus_advance(). */
	smp_mb();
	return vbus_available(end) < n;
}

#endif /* _DOORBELL_SAMPLE_VBUS_H */
