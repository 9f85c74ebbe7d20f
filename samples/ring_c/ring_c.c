// SPDX-License-Identifier: GPL-2.0
/*
 * A timer in the kernel rings a line; this program checks the deliveries. It serves the
 * module in C and the one in Rust.
 */
#include <sys/syscall.h>

#include "../sample.h"
#include "../ring_c/ring.h"

#ifndef DEVICE
#define DEVICE	"/dev/doorbell-ring_c"
#define MODULE	"doorbell_ring_c"
#endif

#define LINES		4
#define LINE		2
#define PERIOD_NS	1000000
#define MESSAGES	200	/* deliveries before the mask */
#define HELD		20	/* rings while masked */

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
		    "each mistake has its own error and attaches nothing");
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
	while (got < MESSAGES && (count = consume(efd, TIMEOUT_MS)))
		got += count;
	ms = (now_ns() - start) / 1e6;
	ktap_result(got >= MESSAGES && attach(ring, db, LINE, PERIOD_NS) == -EEXIST,
		    "the timer's rings are delivered");
	printf("# %llu messages in %.0f ms, one ring every %.1f ms\n", got, ms,
	       PERIOD_NS / 1e6);

	/* After the mask no delivery is in flight: this consumes all signals. */
	MUST(doorbell_mask(db, LINE));
	got += consume(efd, 0);
	before = query_line(db, LINE).rings;
	held = WAIT_FOR(query_line(db, LINE).rings >= before + HELD);
	ktap_result(held && doorbell_pending(db, LINE) == 1 && !consume(efd, 0),
		    "a masked line holds the rings");

	must(detach(ring, &counts), "RING_DETACH");
	held = doorbell_unmask(db, LINE) == 1;
	count = consume(efd, 0);
	ktap_result(held && count == 1 && doorbell_pending(db, LINE) == 0,
		    "the unmask delivers exactly one");
	got += count;

	/*
	 * Each delivery has one ring of its own; the other rings have coalesced. The held
	 * message may be of a ring before the mask: then no ring returned DOORBELL_RING_MASKED.
	 */
	query = query_line(db, LINE);
	delivered = counts.rings[DOORBELL_RING_DELIVERED] + counts.rings[DOORBELL_RING_MASKED];
	sum = delivered + counts.rings[DOORBELL_RING_COALESCED];
	ktap_result(query.rings == sum && query.deliveries == delivered && got == delivered &&
		    counts.rings[DOORBELL_RING_MASKED] <= 1 && !consume(efd, 0),
		    "no ring is lost, no delivery is spurious");
	printf("# the timer: %llu rings, %llu of them with a delivery of their own\n",
	       sum, delivered);
	printf("# the line: %llu rings, %llu deliveries; the eventfd: %llu\n",
	       query.rings, query.deliveries, got);
}

/* The timer detaches before the unmask: all its rings find the line masked. */
static void ring_masked(int ring, int db, int efd)
{
	__u64 before = query_line(db, LINE).rings;
	struct ring_counts counts;
	bool rung, unmasked;

	MUST(doorbell_mask(db, LINE));
	must(attach(ring, db, LINE, PERIOD_NS), "RING_ATTACH");
	rung = WAIT_FOR(query_line(db, LINE).rings >= before + 2);
	must(detach(ring, &counts), "RING_DETACH");
	unmasked = doorbell_unmask(db, LINE) == 1;
	ktap_result(rung && unmasked && consume(efd, 0) == 1 &&
		    counts.rings[DOORBELL_RING_MASKED] == 1 &&
		    counts.rings[DOORBELL_RING_DELIVERED] == 0 &&
		    counts.rings[DOORBELL_RING_COALESCED] >= 1,
		    "the first ring of a masked line returns that the line is masked");
}

static void remove_module(void)
{
	ktap_result(syscall(SYS_delete_module, MODULE, O_NONBLOCK) == -1 && errno == EWOULDBLOCK,
		    "the module cannot be removed while its device is open");
}

/* The module keeps the context until it is closed itself. Closes @ring and @db. */
static void close_all(int ring, int db, int efd)
{
	must(attach(ring, db, LINE, PERIOD_NS), "RING_ATTACH");
	close(db);
	consume(efd, 0);
	ktap_result(consume(efd, TIMEOUT_MS) && consume(efd, TIMEOUT_MS),
		    "the timer rings on after the context's file descriptor is closed");

	close(ring);
	consume(efd, 0);
	ktap_result(!consume(efd, 100), "and stops when its own is closed");
}

int main(void)
{
	int ring = must(open(DEVICE, O_RDWR | O_CLOEXEC), DEVICE);
	int db = new_context(LINES);
	int efd = new_trigger(db, LINE);

	ktap_plan(9);
	attach_wrongly(ring, db);
	ring_and_mask(ring, db, efd);
	ring_masked(ring, db, efd);
	remove_module();
	close_all(ring, db, efd);
	return ktap_status();
}
