// SPDX-License-Identifier: GPL-2.0-only
/*
 * The driver of a level-triggered device, with a handler as of IRQF_ONESHOT: the hard handler
 * masks the line and acks it at once; the threaded handler serves the device later and then
 * unmasks the line.
 *
 * At the ack the device still needs service. If it is resampled by an ack notifier, it
 * interrupts a second time, for events that the threaded handler is about to serve: a spurious
 * interrupt. A resamplefd is not signalled before the unmask. The program tries both.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "../sample.h"
#include "level_device.h"

#define BURSTS		50
#define BURST		3	/* events */
#define PERIOD_US	3000	/* between two events */
#define SERVICE_US	300	/* the device is on a slow bus */

#define IRQ_LINE	0
#define RESAMPLE_LINE	1

struct driver {
	int ctx;
	int dev;
	int irq;		/* the device's interrupt */
	int resample;		/* makes the device check for events */
	int out;		/* trigger of the line */
	sem_t handler;		/* wakes the threaded handler */
	bool stop;
	unsigned int deliveries;
	atomic_uint served;
	unsigned int spurious;
};

/* Connects the device; @resample is a resamplefd (@postpone) or an ack notifier. */
static void wire(struct driver *driver, bool postpone)
{
	driver->ctx = new_context(2);
	MUST(doorbell_set_type(driver->ctx, IRQ_LINE, DOORBELL_TYPE_LEVEL));
	driver->out = new_trigger(driver->ctx, IRQ_LINE);
	driver->resample = new_irqfd(driver->ctx, RESAMPLE_LINE);
	driver->irq = new_eventfd();
	if (postpone) {
		MUST(doorbell_assign_resampled(driver->ctx, driver->irq, IRQ_LINE,
					       driver->resample));
	} else {
		MUST(doorbell_assign_notifier(driver->ctx, driver->resample, IRQ_LINE,
					      DOORBELL_NOTIFY_ACK));
		MUST(doorbell_assign_irqfd(driver->ctx, driver->irq, IRQ_LINE));
	}
}

static int wire_device(int dev, int irq, int ctx, __u32 line)
{
	struct level_device_wiring wiring = { .irq = irq, .ctx = ctx, .resample_line = line };

	return ioctl(dev, LEVEL_DEVICE_WIRE, &wiring) ? -errno : 0;
}

/* Each call passes one check more than the one before. A failed call leaves nothing behind. */
static bool try_wires(struct driver *driver)
{
	const int dev = MUST(open("/dev/doorbell-level_device", O_RDWR | O_CLOEXEC));

	driver->dev = dev;
	return wire_device(dev, driver->irq, -1, RESAMPLE_LINE) == -EBADF &&
	       wire_device(dev, dev, driver->ctx, RESAMPLE_LINE) == -EINVAL &&
	       wire_device(dev, driver->irq, driver->ctx, RESAMPLE_LINE + 1) == -ENXIO &&
	       query_line(driver->ctx, RESAMPLE_LINE).nr_triggers == 0 &&
	       ioctl(dev, LEVEL_DEVICE_SERVE) < 0 && errno == ENOTCONN &&
	       wire_device(dev, driver->irq, driver->ctx, RESAMPLE_LINE) == 0 &&
	       wire_device(dev, driver->irq, driver->ctx, RESAMPLE_LINE) == -EEXIST;
}

static void unwire(struct driver *driver)
{
	close(driver->dev);
	close(driver->ctx);
	close(driver->irq);
	close(driver->resample);
	close(driver->out);
}

static void hard_handler(struct driver *driver)
{
	MUST(doorbell_mask(driver->ctx, IRQ_LINE));
	MUST(doorbell_ack(driver->ctx, IRQ_LINE));
	sem_post(&driver->handler);
}

static void *threaded_handler(void *arg)
{
	struct driver *driver = arg;
	int events;

	for (;;) {
		sem_wait(&driver->handler);
		if (driver->stop)
			return NULL;
		usleep(SERVICE_US);
		events = MUST(ioctl(driver->dev, LEVEL_DEVICE_SERVE));
		if (!events)
			driver->spurious++;
		driver->served += events;
		MUST(doorbell_unmask(driver->ctx, IRQ_LINE));
	}
}

/* Returns true if @events were served and the line is idle. */
static bool is_over(struct driver *driver, unsigned int events)
{
	return query_line(driver->ctx, IRQ_LINE).state == DOORBELL_LINE_LEVEL &&
	       driver->served == events;
}

/* Generates a burst and handles interrupts until @events were served. */
static bool burst(struct driver *driver, unsigned int events)
{
	struct level_device_events burst = { .count = BURST, .period_us = PERIOD_US };
	const __u64 end = now_ns() + TIMEOUT_MS * 1000000ULL;
	unsigned int count;

	MUST(ioctl(driver->dev, LEVEL_DEVICE_START, &burst));
	while (!is_over(driver, events)) {
		if (now_ns() > end)
			return false;
		count = consume(driver->out, 1);
		if (count) {
			driver->deliveries += count;
			hard_handler(driver);
		}
	}
	return true;
}

static void run(struct driver *driver)
{
	unsigned int i = 1;
	pthread_t thread;

	sem_init(&driver->handler, 0, 0);
	pthread_create(&thread, NULL, threaded_handler, driver);
	while (i <= BURSTS && burst(driver, i * BURST))
		i++;
	driver->stop = true;
	sem_post(&driver->handler);
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
	struct driver driver = { 0 };

	wire(&driver, postpone);
	result(try_wires(&driver), way, "connected, after some mistakes");
	run(&driver);
	unwire(&driver);
	printf("# %s: %u events, %u deliveries, %u of them spurious\n", way, BURSTS * BURST,
	       driver.deliveries, driver.spurious);
	result(driver.served == BURSTS * BURST, way, "every event was served");
	/* Each burst ends with one: at the last ack the last event was not served yet. */
	if (postpone)
		result(driver.spurious == 0, way, "no spurious interrupt");
	else
		result(driver.spurious >= BURSTS / 2, way, "spurious interrupts");
}

int main(void)
{
	ktap_plan(6);
	show(true, "resampled at the unmask");
	show(false, "resampled at the ack");
	return ktap_status();
}
