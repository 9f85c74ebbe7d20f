// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest of a level-triggered device, with a oneshot handler, as Linux's IRQF_ONESHOT: the
 * hard half masks the line and acks it at once; the threaded half serves the device later
 * and then unmasks the line.
 *
 * At the ack the device still needs service. If it is told to look again right then, it
 * interrupts a second time for what will be served when the guest gets to see that: a false
 * interrupt. A resamplefd is not signalled before the unmask. This runs the device both ways.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "../sample.h"
#include "level_device.h"

#define BURSTS		50
#define BURST		3	/* events */
#define PERIOD_US	3000	/* between them */
#define SERVICE_US	300	/* the device is on a slow bus */

#define IRQ_LINE	0
#define LOOK_LINE	1

struct guest {
	int ctx;
	int dev;
	int irq;		/* the device's interrupt */
	int look;		/* has the device look again */
	int out;		/* the line delivers */
	sem_t handler;		/* wakes the threaded half */
	bool stop;
	unsigned int deliveries;
	atomic_uint served;
	unsigned int useless;
};

#define MUST(call) must(call, #call)

/* The device has the same two wires either way; @look ends elsewhere. */
static void wire(struct guest *guest, bool postpone)
{
	struct doorbell_set_type type = { .line = IRQ_LINE, .type = DOORBELL_TYPE_LEVEL };
	struct doorbell_notifier notifier = { .line = IRQ_LINE, .events = DOORBELL_NOTIFY_ACK };
	struct doorbell_irqfd irq = { .line = IRQ_LINE };

	guest->ctx = new_context(2);
	MUST(ioctl(guest->ctx, DOORBELL_SET_TYPE, &type));
	guest->out = new_trigger(guest->ctx, IRQ_LINE);
	guest->look = new_irqfd(guest->ctx, LOOK_LINE);
	guest->irq = new_eventfd();
	irq.fd = guest->irq;
	if (postpone) {
		irq.flags = DOORBELL_IRQFD_FLAG_RESAMPLE;
		irq.resamplefd = guest->look;
	} else {
		notifier.fd = guest->look;
		MUST(ioctl(guest->ctx, DOORBELL_NOTIFIER, &notifier));
	}
	MUST(ioctl(guest->ctx, DOORBELL_IRQFD, &irq));
}

static int wire_device(int dev, int irq, int ctx, __u32 look_line)
{
	struct level_device_wiring wiring = { .irq = irq, .ctx = ctx, .look_line = look_line };

	return ioctl(dev, LEVEL_DEVICE_WIRE, &wiring) ? -errno : 0;
}

/* Each of these gets further than the one before, and leaves nothing. */
static bool try_wires(struct guest *guest)
{
	const int dev = MUST(open("/dev/doorbell-level_device", O_RDWR | O_CLOEXEC));

	guest->dev = dev;
	return wire_device(dev, guest->irq, -1, LOOK_LINE) == -EBADF &&
	       wire_device(dev, dev, guest->ctx, LOOK_LINE) == -EINVAL &&
	       wire_device(dev, guest->irq, guest->ctx, LOOK_LINE + 1) == -ENXIO &&
	       query_line(guest->ctx, LOOK_LINE).nr_triggers == 0 &&
	       ioctl(dev, LEVEL_DEVICE_SERVE) < 0 && errno == ENOTCONN &&
	       wire_device(dev, guest->irq, guest->ctx, LOOK_LINE) == 0 &&
	       wire_device(dev, guest->irq, guest->ctx, LOOK_LINE) == -EEXIST;
}

static void unwire(struct guest *guest)
{
	close(guest->dev);
	close(guest->ctx);
	close(guest->irq);
	close(guest->look);
	close(guest->out);
}

static void hard_handler(struct guest *guest)
{
	on_line(guest->ctx, DOORBELL_MASK, IRQ_LINE);
	MUST(ioctl(guest->ctx, DOORBELL_ACK, IRQ_LINE));
	sem_post(&guest->handler);
}

static void *threaded_handler(void *arg)
{
	struct guest *guest = arg;
	int events;

	for (;;) {
		sem_wait(&guest->handler);
		if (guest->stop)
			return NULL;
		usleep(SERVICE_US);
		events = MUST(ioctl(guest->dev, LEVEL_DEVICE_SERVE));
		if (!events)
			guest->useless++;
		guest->served += events;
		on_line(guest->ctx, DOORBELL_UNMASK, IRQ_LINE);
	}
}

/* Everything was served, and nothing is left of it. */
static bool is_over(struct guest *guest, unsigned int events)
{
	return query_line(guest->ctx, IRQ_LINE).state == DOORBELL_LINE_LEVEL &&
	       guest->served == events;
}

/* Has events happen, until @events were served. */
static bool burst(struct guest *guest, unsigned int events)
{
	struct level_device_events burst = { .count = BURST, .period_us = PERIOD_US };
	const __u64 end = now_ns() + PATIENCE_MS * 1000000ULL;
	unsigned int count;

	MUST(ioctl(guest->dev, LEVEL_DEVICE_START, &burst));
	while (!is_over(guest, events)) {
		if (now_ns() > end)
			return false;
		count = take(guest->out, 1);
		if (count) {
			guest->deliveries += count;
			hard_handler(guest);
		}
	}
	return true;
}

static void run(struct guest *guest)
{
	unsigned int i = 1;
	pthread_t thread;

	sem_init(&guest->handler, 0, 0);
	pthread_create(&thread, NULL, threaded_handler, guest);
	while (i <= BURSTS && burst(guest, i * BURST))
		i++;
	guest->stop = true;
	sem_post(&guest->handler);
	pthread_join(thread, NULL);
}

static void result(bool ok, const char *way, const char *what)
{
	char name[80];

	snprintf(name, sizeof(name), "%s: %s", way, what);
	ktap_result(ok, name);
}

static void show(bool postpone, const char *way)
{
	struct guest guest = { 0 };

	wire(&guest, postpone);
	result(try_wires(&guest), way, "wired, after some mistakes");
	run(&guest);
	unwire(&guest);
	printf("# %s: %u events, %u deliveries, %u of them false\n", way, BURSTS * BURST,
	       guest.deliveries, guest.useless);
	result(guest.served == BURSTS * BURST, way, "every event was served");
	/* Each burst ends with one: what was served last was still there at its ack. */
	if (postpone)
		result(guest.useless == 0, way, "no false interrupt");
	else
		result(guest.useless >= BURSTS / 2, way, "false interrupts");
}

int main(void)
{
	ktap_plan(6);
	show(true, "told at the unmask");
	show(false, "told at the ack");
	return ktap_status();
}
