// SPDX-License-Identifier: GPL-2.0
/*
 * The process at the other end of /dev/doorbell-vbus: connects the two, closes the file
 * descriptors that it does not need, and measures messages and notifications.
 */
#include "../sample.h"
#include "vbus.h"

#include <stddef.h>
#include <sys/mman.h>

#define RUN_NS		1000000000ULL	/* duration of a measurement */

enum { CALL, KICK, LINES };

/* A connection to the kernel, once it is set up. */
struct link {
	struct vbus_area *area;
	struct vbus_end end;	/* this side of the measured ring */
	int call;		/* the kernel signals it */
	int kick;		/* signals the kernel */
	__u64 calls;
};

/* Counts of the producer. */
struct outcome {
	__u32 messages;
	__u32 notifications;
};

static void kick(struct vbus_end *end)
{
	struct link *link = (struct link *)((char *)end - offsetof(struct link, end));

	must(eventfd_write(link->kick, 1), "kick");
}

static struct link set_up(bool to_user, bool every)
{
	int vbus = must(open("/dev/doorbell-vbus", O_RDWR | O_CLOEXEC), "/dev/doorbell-vbus");
	int db = new_context(LINES);
	struct vbus_attach attach = {
		.fd = db, .call = CALL, .kick = KICK, .flags = every ? VBUS_EVERY : 0,
	};
	struct link link = {
		.call = new_trigger(db, CALL),
		.kick = new_irqfd(db, KICK),
	};

	link.area = mmap(NULL, sizeof(*link.area), PROT_READ | PROT_WRITE, MAP_SHARED, vbus, 0);
	must(link.area == MAP_FAILED ? -1 : 0, "mmap");
	link.end = to_user ? vbus_consumer(&link.area->to_user) :
			     vbus_producer(&link.area->to_kernel);
	link.end.every = every;
	link.end.notify = kick;
	must(ioctl(vbus, VBUS_ATTACH, &attach), "VBUS_ATTACH");
	/* The mapping and the eventfds keep all that is needed. */
	close(db);
	close(vbus);
	return link;
}

static void tear_down(struct link *link)
{
	munmap(link->area, sizeof(*link->area));
	close(link->call);
	close(link->kick);
}

/* Returns the number of calls that the kernel has counted. */
static __u64 kernel_calls(const struct link *link)
{
	return READ_ONCE(link->area->to_user.producer.notifications) +
	       READ_ONCE(link->area->to_kernel.consumer.notifications);
}

/* Returns true if the kernel has consumed all messages of this side. */
static bool all_taken(const struct link *link)
{
	/* Reads the index before the counts that the kernel wrote before it. */
	return smp_load_acquire(&link->end.other->index) == link->end.index;
}

/* Returns true if as many calls have come as the kernel has made. */
static bool all_calls(struct link *link)
{
	link->calls += consume(link->call, 0);
	return link->calls == kernel_calls(link);
}

/* Returns true if all messages and calls have arrived and no message is corrupt. */
static bool nothing_lost(struct link *link)
{
	return (!link->end.ahead || WAIT_FOR(all_taken(link))) && WAIT_FOR(all_calls(link)) &&
	       !link->end.bad && !READ_ONCE(link->end.other->bad);
}

static struct outcome measure(bool to_user, bool every, const char *name)
{
	/* A consumer waits for one message, a producer for half of the slots. */
	const __u32 enough = to_user ? 1 : VBUS_SLOTS / 2;
	struct link link = set_up(to_user, every);
	const struct vbus_half *producer, *consumer;
	__u64 start = now_ns(), ns, count;
	struct outcome outcome;
	bool alive = true;

	do {
		vbus_run(&link.end);
		if (vbus_sleep(&link.end, enough)) {
			count = consume(link.call, TIMEOUT_MS);
			link.calls += count;
			alive = count;
		}
		ns = now_ns() - start;
	} while (alive && ns < RUN_NS);

	ktap_result(alive && link.end.index && nothing_lost(&link), name);
	producer = to_user ? link.end.other : link.end.mine;
	consumer = to_user ? link.end.mine : link.end.other;
	outcome.messages = READ_ONCE(producer->index);
	outcome.notifications = READ_ONCE(producer->notifications);
	printf("# %.0f messages/s; %u put, %u notifications; %u taken, %u notifications\n",
	       link.end.index * 1e9 / ns, outcome.messages, outcome.notifications,
	       READ_ONCE(consumer->index), READ_ONCE(consumer->notifications));
	tear_down(&link);
	return outcome;
}

int main(void)
{
	struct outcome to_user, to_kernel;

	ktap_plan(5);
	measure(true, true, "kernel to user, a notification for each message: nothing lost");
	measure(false, true, "user to kernel, a notification for each message: nothing lost");
	to_user = measure(true, false, "kernel to user, notifications on demand: nothing lost");
	to_kernel = measure(false, false, "user to kernel, notifications on demand: nothing lost");
	ktap_result(to_user.notifications < to_user.messages &&
		    to_kernel.notifications < to_kernel.messages,
		    "on demand there are fewer notifications than messages");
	return ktap_status();
}
