// SPDX-License-Identifier: GPL-2.0
/*
 * A level-triggered interrupt without a thread of the VMM, as VFIO gives INTx to a guest:
 *
 *   device --irq--> [ irqfd, level line that masks itself ] --trigger--> consumer
 *      ^                  |                  ^                               |
 *      +---- resamplefd --+                  +------ ackfd and unmaskfd -----+
 *
 * Each delivery masks the line. The consumer signals one eventfd when it has served the
 * device: that acks and unmasks the line. The device is asked once more then (resamplefd),
 * and asserts its interrupt again while it wants service. The consumer is a thread here. A
 * VMM passes the same two eventfds to KVM_IRQFD with KVM_IRQFD_FLAG_RESAMPLE instead, and
 * the guest's end of interrupt signals the second one.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "../sample.h"

#define LINE		0
#define REQUESTS	2000

/* The device: requests that wait for service. It asserts its interrupt while there are any. */
static atomic_int waiting;

/* The eventfds of the consumer: KVM's irqfd and its resamplefd in a VMM. */
struct consumer {
	int irq;
	int eoi;
	atomic_int served;
	atomic_int interrupts;
	atomic_int spurious;
	atomic_bool stop;
};

static void *consume_interrupts(void *arg)
{
	struct consumer *consumer = arg;

	while (!atomic_load(&consumer->stop)) {
		__u64 count = consume(consumer->irq, 10);

		if (!count)
			continue;
		atomic_fetch_add(&consumer->interrupts, count);
		/* One request for each interrupt, so that the device asserts it again. */
		if (atomic_load(&waiting) > 0) {
			atomic_fetch_sub(&waiting, 1);
			atomic_fetch_add(&consumer->served, 1);
		} else {
			atomic_fetch_add(&consumer->spurious, 1);
		}
		must(eventfd_write(consumer->eoi, 1), "eventfd_write");
	}
	return NULL;
}

int main(void)
{
	struct doorbell_set_type type = {
		.line = LINE,
		.type = DOORBELL_TYPE_LEVEL,
		.flags = DOORBELL_TYPE_FLAG_AUTOMASK,
	};
	struct consumer consumer = { .irq = new_eventfd(), .eoi = new_eventfd() };
	int db = new_context(1), irq = new_eventfd(), resample = new_eventfd();
	int requests = 0, assertions = 0;
	struct doorbell_query query;
	pthread_t thread;

	ktap_plan(4);
	MUST(doorbell_ioctl(db, DOORBELL_SET_TYPE, &type));
	MUST(doorbell_assign_resampled(db, irq, LINE, resample));
	MUST(doorbell_assign_trigger(db, consumer.irq, LINE));
	MUST(doorbell_assign_ack_unmaskfd(db, consumer.eoi, LINE));
	/* It returns its error, and does not set errno. */
	errno = pthread_create(&thread, NULL, consume_interrupts, &consumer);
	must(-errno, "pthread_create");

	/* The device. It makes requests, three at a time, and checks when it is resampled. */
	while (requests < REQUESTS || atomic_load(&waiting) > 0) {
		if (!atomic_load(&waiting) && requests < REQUESTS) {
			atomic_fetch_add(&waiting, 3);
			requests += 3;
		} else if (!consume(resample, TIMEOUT_MS)) {
			break;
		}
		if (atomic_load(&waiting) > 0) {
			must(eventfd_write(irq, 1), "eventfd_write");
			assertions++;
		}
	}
	ktap_result(!atomic_load(&waiting) && atomic_load(&consumer.served) == requests,
		    "each request is served");
	ktap_result(WAIT_FOR((query = query_line(db, LINE)).state ==
			     (DOORBELL_LINE_LEVEL | DOORBELL_LINE_AUTOMASK)),
		    "the last interrupt is acked and unmasked");
	atomic_store(&consumer.stop, true);
	pthread_join(thread, NULL);
	ktap_result((int)query.deliveries == atomic_load(&consumer.interrupts) &&
		    query.acks == query.deliveries,
		    "each interrupt is delivered once, and acked once");
	ktap_result((int)query.rings == assertions && query.deliveries <= query.rings,
		    "each interrupt was caused by the device");
	printf("# %d requests, %d assertions, %llu interrupts, %d of them spurious\n", requests,
	       assertions, query.deliveries, atomic_load(&consumer.spurious));
	return ktap_status();
}
