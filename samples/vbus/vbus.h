/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/doorbell-vbus: two rings of messages in memory that the kernel and a process
 * share, one for each direction. Both sides run the code below.
 *
 * Each ring has a producer and a consumer; each of them writes one half of the header.
 * Its index counts the messages that it has put or taken. Its event is virtio's event
 * index: it asks the other side for a notification when that puts or takes the message
 * of that number. A side with nothing to do sets its event and sleeps. While it is awake,
 * its event is a number that has passed, so the other side does not notify it.
 *
 * A process that has mapped the memory can write anything to it at any time. So each side
 * has a private copy of its index (struct vbus_end) and only publishes it, reads a message
 * after it has copied it, and bounds its work. A malicious peer receives messages that
 * make no sense, and has no other effect.
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
/* The kernel's macros of these names. */
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
/* Ordered before later accesses. */
#define smp_load_acquire(p)	__atomic_load_n((p), __ATOMIC_ACQUIRE)
/* Ordered after earlier accesses. */
#define smp_store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
/* Orders earlier and later accesses. */
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

#define VBUS_SLOTS	256	/* a power of two, as the index wraps around */

struct vbus_message {
	__u32 number;
	__u32 sum;
	__u64 data[3];
};

/* The half of a ring that one side writes: a cache line of its own. */
struct vbus_half {
	__u32 index;
	__u32 event;
	__u32 notifications;	/* sent; for information only, as is */
	__u32 bad;		/* messages with a wrong number or sum */
	__u32 unused[12];
};

struct vbus_ring {
	struct vbus_half producer;
	struct vbus_half consumer;
	struct vbus_message messages[VBUS_SLOTS];
};

/* The mapping. */
struct vbus_area {
	struct vbus_ring to_user;
	struct vbus_ring to_kernel;
};

/* vbus_attach.flags */
#define VBUS_EVERY	(1U << 0)	/* the kernel notifies of each message */

/**
 * struct vbus_attach - VBUS_ATTACH: notify through lines
 * @fd: a context of /dev/doorbell; the caller may close it after that
 * @call: the line that the kernel rings
 * @kick: the line on whose deliveries the kernel reads the rings
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
	__u32 ahead;		/* slots that it may be ahead of the other side */
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

/* Returns the number of slots that this side owns. */
static inline __u32 vbus_available(const struct vbus_end *end)
{
	__u32 index, available;

	/*
	 * Pairs with the release of vbus_advance(): the messages below the index are complete;
	 * for a producer, they have been read and their slots are free.
	 */
	index = smp_load_acquire(&end->other->index);
	available = index + end->ahead - end->index;
	return available < VBUS_SLOTS ? available : VBUS_SLOTS;
}

/* Passes one slot to the other side, and notifies it if its event asks for that. */
static inline void vbus_advance(struct vbus_end *end)
{
	__u32 number = end->index++;

	/* After the access to the message; pairs with vbus_available(). */
	smp_store_release(&end->mine->index, end->index);
	/* Stores the index before it loads the event; pairs with vbus_sleep(). */
	smp_mb();
	if (end->every || READ_ONCE(end->other->event) == number) {
		end->notify(end);
		WRITE_ONCE(end->mine->notifications, ++end->notifications);
	}
}

/* Puts or takes all messages that are possible now. */
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
 * Asks for a notification as soon as @n slots are available, and returns true: the caller
 * may sleep. If they are available by now, returns false.
 *
 * This stores the event, then loads the index; vbus_advance() stores the index, then loads
 * the event (the store-buffering pattern). With a full barrier in between at least one
 * side sees the store of the other. Release and acquire are too weak: they allow a load
 * to pass an earlier store.
 */
static inline bool vbus_sleep(struct vbus_end *end, __u32 n)
{
	WRITE_ONCE(end->mine->event, end->index - end->ahead + n - 1);
	/* Stores the event before it loads the index; pairs with vbus_advance(). */
	smp_mb();
	return vbus_available(end) < n;
}

#endif /* _DOORBELL_SAMPLE_VBUS_H */
