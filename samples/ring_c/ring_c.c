// SPDX-License-Identifier: GPL-2.0
/*
 * A timer in the kernel rings a line; here is what comes out. The same program for
 * the module in C and for the one in Rust.
 */
#include "../sample.h"
#include "../ring_c/ring.h"

#ifndef DEVICE
#define DEVICE	"/dev/doorbell-ring_c"
#endif

#define LINES		4
#define LINE		2
#define PERIOD_NS	1000000
#define MESSAGES	200	/* to see before the mask */
#define HELD		20	/* rings to see while masked */

static int attach(int ring, int db, __u32 line, __u64 period_ns)
{
	struct ring_attach arg = { .fd = db, .line = line, .period_ns = period_ns };

	return ioctl(ring, RING_ATTACH, &arg) ? -errno : 0;
}

static int detach(int ring, struct ring_counts *counts)
{
	return ioctl(ring, RING_DETACH, counts) ? -errno : 0;
}

static void attach_wrongly(int ring, int db)
{
	struct ring_counts counts;
	int no_context = new_eventfd();

	ktap_result(attach(ring, db, LINES, PERIOD_NS) == -ENXIO &&
		    attach(ring, no_context, LINE, PERIOD_NS) == -EINVAL &&
		    attach(ring, -1, LINE, PERIOD_NS) == -EBADF &&
		    attach(ring, db, LINE, RING_MIN_PERIOD_NS - 1) == -EINVAL &&
		    attach(ring, db, LINE, RING_MAX_PERIOD_NS + 1) == -EINVAL &&
		    detach(ring, &counts) == -ENOENT,
		    "mistakes are told apart, and nothing is attached after one");
	close(no_context);
}

static void ring_and_mask(int ring, int db, int efd)
{
	__u64 got = 0, count, start = now_ns(), before, sum, delivered;
	struct doorbell_query query;
	struct ring_counts counts;
	double ms;
	bool held;

	must(attach(ring, db, LINE, PERIOD_NS), "RING_ATTACH");
	while (got < MESSAGES && (count = take(efd, PATIENCE_MS)))
		got += count;
	ms = (now_ns() - start) / 1e6;
	ktap_result(got >= MESSAGES && attach(ring, db, LINE, PERIOD_NS) == -EEXIST,
		    "the timer's messages come");
	printf("# %llu messages in %.0f ms, one asked for every %.1f ms\n", got, ms,
	       PERIOD_NS / 1e6);

	/* When the mask has returned, nothing is under way: this takes all there is. */
	on_line(db, DOORBELL_MASK, LINE);
	got += take(efd, 0);
	before = query_line(db, LINE).rings;
	held = WAIT_FOR(query_line(db, LINE).rings >= before + HELD);
	ktap_result(held && on_line(db, DOORBELL_PENDING, LINE) == 1 && !take(efd, 0),
		    "a masked line holds what is rung");

	must(detach(ring, &counts), "RING_DETACH");
	held = on_line(db, DOORBELL_UNMASK, LINE) == 1;
	count = take(efd, 0);
	ktap_result(held && count == 1 && on_line(db, DOORBELL_PENDING, LINE) == 0,
		    "the unmask delivers exactly one");
	got += count;

	/*
	 * Each delivery has its ring; the others have joined one. The message that was held
	 * may be one that was on its way when the mask came: then no ring says that it is.
	 */
	query = query_line(db, LINE);
	delivered = counts.rings[DOORBELL_RING_DELIVERED] + counts.rings[DOORBELL_RING_MASKED];
	sum = delivered + counts.rings[DOORBELL_RING_COALESCED];
	ktap_result(query.rings == sum && query.deliveries == delivered && got == delivered &&
		    counts.rings[DOORBELL_RING_MASKED] <= 1 && !take(efd, 0),
		    "none is lost, none is invented");
	printf("# the timer: %llu rings, %llu of them with a delivery of their own\n",
	       sum, delivered);
	printf("# the line: %llu rings, %llu deliveries; the eventfd: %llu\n",
	       query.rings, query.deliveries, got);
}

/* Who holds the context is the module, and it lets go of it. Takes @ring and @db. */
static void close_all(int ring, int db, int efd)
{
	must(attach(ring, db, LINE, PERIOD_NS), "RING_ATTACH");
	close(db);
	take(efd, 0);
	ktap_result(take(efd, PATIENCE_MS) && take(efd, PATIENCE_MS),
		    "it goes on when the context's file descriptor is closed");

	close(ring);
	take(efd, 0);
	ktap_result(!take(efd, 100), "and ends when the timer's is");
}

int main(void)
{
	int ring = must(open(DEVICE, O_RDWR | O_CLOEXEC), DEVICE);
	int db = new_context(LINES);
	int efd = new_trigger(db, LINE);

	ktap_plan(7);
	attach_wrongly(ring, db);
	ring_and_mask(ring, db, efd);
	close_all(ring, db, efd);
	return ktap_status();
}
