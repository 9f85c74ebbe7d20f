// SPDX-License-Identifier: GPL-2.0
/*
 * Driver for the PCI device of vfio-user-echo, which tests its MSI-X vectors.
 *
 * It runs in a guest, when it is loaded, and does not need doorbell there. A request makes the
 * device send a number of signals on a vector. The tests mask vectors and the function as any
 * driver does, by the kernel's interrupt code, and read the PBA. Each case prints a line of KTAP.
 *
 * tools/vfio-user-echo/src/layout.rs has the registers.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irq.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/wait.h>

#define ECHO_VENDOR 0x1234
#define ECHO_DEVICE 0xdb01
#define ECHO_ID 0x6f686365

#define REG_ID 0x000
#define REG_VECTORS 0x004
#define REG_REQUEST(v) (0x100 + 16 * (v))
#define REG_DONE(v) (0x108 + 16 * (v))
#define REG_RINGS(v) (0x800 + 16 * (v))
#define REG_DELIVERIES(v) (0x804 + 16 * (v))
#define REG_STATE(v) (0x808 + 16 * (v))

/* DOORBELL_MASK_FUNCTION is the second of the reasons, which begin at bit 8. */
#define STATE_PENDING BIT(0)
#define STATE_FUNCTION BIT(9)

#define PBA_OFFSET 0x1000

#define ECHO_VECTORS 4
/* The number of signals in a burst. */
#define BURST 50
/* The number of moves that a case with moves waits for. */
#define MOVES 10
/*
 * A signal that has no interrupt after this time is lost. It is far beyond any delay of a busy
 * host, and short enough to report the case within the limit of the test that runs the guest.
 */
#define LOST (200 * HZ)

static unsigned int trips = 400;
module_param(trips, uint, 0444);
MODULE_PARM_DESC(trips, "Requests of each case that does not mask");

static unsigned int rounds = 20;
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "Rounds of each case that masks");

struct echo;

struct vector {
	struct echo *echo;
	unsigned int number;
	int irq;
	/* Interrupts since the driver was loaded. */
	atomic_t interrupts;
	/* The CPU of the last interrupt, and how often it was another one than that before. */
	unsigned int cpu;
	unsigned int moves;
	/* Rings of the line that the last interrupt has seen. */
	u32 seen;
	/* The device's count of requests, with those of the driver, and its rings likewise. */
	u32 requests;
	u32 rings;
	/* The signals that the driver has requested. */
	u32 signals;
	/* The interrupts that must have arrived. */
	u32 expected;
	/* The device's count of deliveries when the driver was loaded. */
	u32 base_deliveries;
};

struct echo {
	struct pci_dev *pdev;
	void __iomem *regs;
	void __iomem *table;
	wait_queue_head_t wait;
	struct vector vectors[ECHO_VECTORS];
	unsigned int cases;
	bool failed;
	/* The first mistake in the running case. */
	char wrong[128];
};

static u32 echo_read(struct echo *echo, u32 reg)
{
	return readl(echo->regs + reg);
}

/* Keeps the message if @condition is false and nothing was wrong before in this case. */
static __printf(3, 4) void expect(struct echo *echo, bool condition, const char *format, ...)
{
	va_list args;

	if (condition || echo->wrong[0])
		return;
	va_start(args, format);
	vsnprintf(echo->wrong, sizeof(echo->wrong), format, args);
	va_end(args);
}

static void report(struct echo *echo, const char *name)
{
	bool ok = !echo->wrong[0];

	if (!ok) {
		pr_info("# %s\n", echo->wrong);
		echo->failed = true;
	}
	pr_info("%sok %u %s\n", ok ? "" : "not ", ++echo->cases, name);
	echo->wrong[0] = 0;
}

static irqreturn_t echo_interrupt(int irq, void *data)
{
	struct vector *vector = data;

	unsigned int cpu = raw_smp_processor_id();

	if (cpu != vector->cpu)
		WRITE_ONCE(vector->moves, vector->moves + 1);
	vector->cpu = cpu;
	WRITE_ONCE(vector->seen, echo_read(vector->echo, REG_RINGS(vector->number)));
	atomic_inc(&vector->interrupts);
	wake_up(&vector->echo->wait);
	return IRQ_HANDLED;
}

static u32 interrupts(struct vector *vector)
{
	return atomic_read(&vector->interrupts);
}

/* Lets the device send @signals signals. */
static void request(struct vector *vector, u32 signals)
{
	vector->requests++;
	vector->rings += signals;
	vector->signals += signals;
	writel(signals, vector->echo->regs + REG_REQUEST(vector->number));
}

/* Waits until the device has done all requests. */
static void wait_done(struct vector *vector)
{
	struct echo *echo = vector->echo;
	unsigned long end = jiffies + LOST;

	while (echo_read(echo, REG_DONE(vector->number)) != vector->requests && !echo->wrong[0]) {
		expect(echo, time_before(jiffies, end), "vector %u: a request is not done",
		       vector->number);
		usleep_range(100, 200);
	}
}

/* Waits for the next interrupt. If there is one more, a later call finds it. */
static void wait_interrupt(struct vector *vector)
{
	struct echo *echo = vector->echo;

	vector->expected++;
	expect(echo, wait_event_timeout(echo->wait, interrupts(vector) >= vector->expected, LOST),
	       "vector %u: interrupt %u is lost", vector->number, vector->expected);
	expect(echo, interrupts(vector) == vector->expected, "vector %u: %u interrupts, not %u",
	       vector->number, interrupts(vector), vector->expected);
}

static void trip(struct vector *vector)
{
	request(vector, 1);
	wait_interrupt(vector);
}

/* The second trip finds a duplicate of what came before the first. */
static void trip_twice(struct vector *vector)
{
	trip(vector);
	trip(vector);
}

/* Checks the pending bits of all vectors, in the PBA and in the device. */
static void expect_pending(struct echo *echo, u64 pending, const char *when)
{
	u64 bits = readl(echo->table + PBA_OFFSET) | (u64)readl(echo->table + PBA_OFFSET + 4) << 32;
	unsigned int i;

	expect(echo, bits == pending, "%s: the PBA is %#llx, not %#llx", when, bits, pending);
	for (i = 0; i < ECHO_VECTORS; i++) {
		u32 state = echo_read(echo, REG_STATE(i));

		expect(echo, !(state & STATE_PENDING) == !(pending & BIT(i)),
		       "%s: the state of line %u is %#x", when, i, state);
	}
}

/* Checks that no interrupt has arrived that is not expected. */
static void expect_quiet(struct echo *echo, const char *when)
{
	unsigned int i;

	for (i = 0; i < ECHO_VECTORS; i++) {
		struct vector *vector = &echo->vectors[i];

		expect(echo, interrupts(vector) == vector->expected,
		       "%s: vector %u has %u interrupts, not %u", when, i, interrupts(vector),
		       vector->expected);
	}
}

/* Compares what the driver has counted with the counters of the first @nr lines. */
static void expect_counters(struct echo *echo, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct vector *vector = &echo->vectors[i];
		u32 rings = echo_read(echo, REG_RINGS(i));
		u32 deliveries = echo_read(echo, REG_DELIVERIES(i)) - vector->base_deliveries;

		expect(echo, rings == vector->rings, "vector %u: %u rings, not %u", i, rings,
		       vector->rings);
		expect(echo, deliveries == vector->expected, "vector %u: %u deliveries, not %u", i,
		       deliveries, vector->expected);
	}
}

/* The kernel masks an interrupt in the table at once only if it is told to. */
static void mask(struct vector *vector)
{
	irq_set_status_flags(vector->irq, IRQ_DISABLE_UNLAZY);
	disable_irq(vector->irq);
}

static void unmask(struct vector *vector)
{
	enable_irq(vector->irq);
	irq_clear_status_flags(vector->irq, IRQ_DISABLE_UNLAZY);
}

static void mask_function(struct echo *echo, bool masked)
{
	u16 at = echo->pdev->msix_cap + PCI_MSIX_FLAGS, control;

	pci_read_config_word(echo->pdev, at, &control);
	control &= ~PCI_MSIX_FLAGS_MASKALL;
	pci_write_config_word(echo->pdev, at, control | (masked ? PCI_MSIX_FLAGS_MASKALL : 0));
}

static void test_trips(struct echo *echo)
{
	ktime_t start = ktime_get();
	unsigned int i;

	/* Neither of these is a request. */
	writel(1, echo->regs + REG_ID);
	writel(1, echo->regs + REG_REQUEST(ECHO_VECTORS));
	writew(1, echo->regs + REG_REQUEST(0));
	for (i = 0; i < trips && !echo->wrong[0]; i++)
		trip(&echo->vectors[i % ECHO_VECTORS]);
	pr_info("# %llu ns for a request and its interrupt\n",
		div_u64(ktime_to_ns(ktime_sub(ktime_get(), start)), max(i, 1u)));
	expect_counters(echo, ECHO_VECTORS);
	expect_pending(echo, 0, "all done");
	report(echo, "each request has one interrupt");
}

static void test_vector_mask(struct echo *echo)
{
	struct vector *vector = &echo->vectors[1];
	unsigned int i;

	for (i = 0; i < rounds && !echo->wrong[0]; i++) {
		mask(vector);
		expect_pending(echo, 0, "masked");
		request(vector, 1 + i % 3);
		wait_done(vector);
		expect_pending(echo, BIT(1), "masked and signalled");
		/* The others are not masked. */
		trip(&echo->vectors[0]);
		request(vector, 1);
		wait_done(vector);
		expect_pending(echo, BIT(1), "masked and signalled again");
		expect_quiet(echo, "masked");
		unmask(vector);
		wait_interrupt(vector);
		expect_pending(echo, 0, "unmasked");
		trip_twice(vector);
	}
	expect_counters(echo, ECHO_VECTORS);
	report(echo, "a masked vector has its pending bit, and one interrupt at the unmask");
}

static void test_unmask_without_message(struct echo *echo)
{
	struct vector *vector = &echo->vectors[2];
	unsigned int i;

	for (i = 0; i < rounds && !echo->wrong[0]; i++) {
		mask(vector);
		expect_pending(echo, 0, "masked");
		unmask(vector);
		trip_twice(vector);
	}
	expect_counters(echo, ECHO_VECTORS);
	report(echo, "an unmask without a message has no interrupt");
}

/* The writes are posted: none of them waits until the device has done those before. */
static void test_requests_in_a_row(struct echo *echo)
{
	struct vector *vector = &echo->vectors[0];
	unsigned int i, n;

	for (i = 0; i < rounds && !echo->wrong[0]; i++) {
		mask_function(echo, true);
		for (n = 1; n <= 8; n++)
			request(vector, n);
		wait_done(vector);
		expect(echo, echo_read(echo, REG_REQUEST(0)) == 8,
		       "the register does not have the last value");
		expect_pending(echo, BIT(0), "function masked");
		mask_function(echo, false);
		wait_interrupt(vector);
		trip_twice(vector);
	}
	expect_counters(echo, ECHO_VECTORS);
	report(echo, "requests in a row add up");
}

static void test_function_mask(struct echo *echo)
{
	unsigned int i, v;

	for (i = 0; i < rounds && !echo->wrong[0]; i++) {
		mask_function(echo, true);
		for (v = 0; v < ECHO_VECTORS; v++) {
			u32 state = echo_read(echo, REG_STATE(v));

			expect(echo, state & STATE_FUNCTION,
			       "the state of line %u is %#x under the function mask", v, state);
			request(&echo->vectors[v], 1 + v);
		}
		for (v = 0; v < ECHO_VECTORS; v++)
			wait_done(&echo->vectors[v]);
		expect_pending(echo, BIT(ECHO_VECTORS) - 1, "function masked");
		expect_quiet(echo, "function masked");
		mask_function(echo, false);
		for (v = 0; v < ECHO_VECTORS; v++)
			wait_interrupt(&echo->vectors[v]);
		expect_pending(echo, 0, "function unmasked");
		for (v = 0; v < ECHO_VECTORS; v++)
			trip_twice(&echo->vectors[v]);
	}
	expect_counters(echo, ECHO_VECTORS);
	report(echo, "the function mask holds all vectors, and each has one interrupt at its end");
}

static void test_both_masks(struct echo *echo)
{
	struct vector *vector = &echo->vectors[3];
	unsigned int i;

	for (i = 0; i < rounds && !echo->wrong[0]; i++) {
		mask(vector);
		mask_function(echo, true);
		request(vector, 1);
		wait_done(vector);
		expect_pending(echo, BIT(3), "both masked");
		mask_function(echo, false);
		expect_pending(echo, BIT(3), "vector masked");
		expect_quiet(echo, "vector masked");
		mask_function(echo, true);
		unmask(vector);
		expect_pending(echo, BIT(3), "function masked");
		expect_quiet(echo, "function masked");
		mask_function(echo, false);
		wait_interrupt(vector);
		expect_pending(echo, 0, "unmasked");
		trip_twice(vector);
	}
	expect_counters(echo, ECHO_VECTORS);
	report(echo, "a vector that is masked for both reasons waits for the end of both");
}

/*
 * Moves the interrupts of a vector between CPUs. Each move masks the vector. The kernel only notes
 * a move, and makes it when the next interrupt arrives. So the handler counts the moves.
 */
struct mover {
	struct vector *vector;
	struct task_struct *thread;
	/* The moves of the vector at the begin. */
	unsigned int moves;
	int error;
};

static int move_interrupts(void *data)
{
	struct mover *mover = data;
	unsigned int cpu = 0;
	int ret;

	while (!kthread_should_stop()) {
		cpu = cpumask_next_wrap(cpu, cpu_online_mask);
		ret = irq_set_affinity(mover->vector->irq, cpumask_of(cpu));
		if (ret)
			mover->error = ret;
		usleep_range(50, 100);
	}
	return 0;
}

static void start_moving(struct mover *mover)
{
	mover->moves = READ_ONCE(mover->vector->moves);
	expect(mover->vector->echo, num_online_cpus() > 1, "the guest has one CPU");
	mover->thread = kthread_run(move_interrupts, mover, "echo-mover");
	expect(mover->vector->echo, !IS_ERR(mover->thread), "no thread");
}

static void stop_moving(struct mover *mover)
{
	if (!IS_ERR(mover->thread))
		kthread_stop(mover->thread);
	expect(mover->vector->echo, !mover->error, "move the interrupt: %d", mover->error);
}

/* Returns the number of interrupts that came on another CPU than the one before. */
static unsigned int moves(struct mover *mover)
{
	return READ_ONCE(mover->vector->moves) - mover->moves;
}

static void test_moves(struct echo *echo)
{
	struct mover mover = { .vector = &echo->vectors[2] };
	unsigned long end = jiffies + LOST;
	unsigned int i;

	start_moving(&mover);
	for (i = 0; (i < trips || moves(&mover) < MOVES) && !echo->wrong[0]; i++) {
		trip(mover.vector);
		expect(echo, time_before(jiffies, end) || moves(&mover) >= MOVES,
		       "%u interrupts moved %u times", i, moves(&mover));
	}
	stop_moving(&mover);
	trip_twice(mover.vector);
	pr_info("# %u interrupts, %u moves\n", i, moves(&mover));
	expect_counters(echo, ECHO_VECTORS);
	report(echo, "each request has one interrupt while its vector moves between CPUs");
}

/*
 * A CPU merges signals that arrive while one is pending there. So this counts no interrupts, but
 * one must follow the last signal.
 */
static void test_bursts(struct echo *echo)
{
	struct vector *vector = &echo->vectors[2];
	struct mover mover = { .vector = vector };
	u32 before = interrupts(vector), now, deliveries;
	unsigned long end = jiffies + LOST;
	unsigned int i;

	start_moving(&mover);
	for (i = 0; (i < rounds || moves(&mover) < MOVES) && !echo->wrong[0]; i++) {
		/* These are signals in flight while the last one is handled. */
		request(vector, BURST);
		request(vector, BURST);
		wait_done(vector);
		expect(echo, wait_event_timeout(echo->wait,
						READ_ONCE(vector->seen) == vector->rings, LOST),
		       "no interrupt follows signal %u: the last saw %u", vector->rings,
		       vector->seen);
		expect(echo, time_before(jiffies, end) || moves(&mover) >= MOVES,
		       "%u bursts moved %u times", i, moves(&mover));
	}
	stop_moving(&mover);
	deliveries = echo_read(echo, REG_DELIVERIES(2)) - vector->base_deliveries -
		     vector->expected;
	/* A delivery may still be on its way to a CPU. */
	now = interrupts(vector) - before;
	pr_info("# %u signals, %u deliveries, %u interrupts, %u moves\n", 2 * i * BURST,
		deliveries, now, moves(&mover));
	expect(echo, now <= deliveries, "%u interrupts of %u deliveries", now, deliveries);
	expect_pending(echo, 0, "all done");
	report(echo, "an interrupt follows the last of many signals while its vector moves");
}

static void free_vectors(struct echo *echo)
{
	unsigned int i;

	for (i = 0; i < ECHO_VECTORS && echo->vectors[i].irq; i++) {
		free_irq(echo->vectors[i].irq, &echo->vectors[i]);
		echo->vectors[i].irq = 0;
	}
	pci_free_irq_vectors(echo->pdev);
}

static int allocate_vectors(struct echo *echo)
{
	unsigned int i;
	int ret;

	ret = pci_alloc_irq_vectors(echo->pdev, ECHO_VECTORS, ECHO_VECTORS, PCI_IRQ_MSIX);
	if (ret < 0)
		return ret;
	for (i = 0; i < ECHO_VECTORS; i++) {
		struct vector *vector = &echo->vectors[i];
		int irq = pci_irq_vector(echo->pdev, i);

		ret = request_irq(irq, echo_interrupt, 0, "doorbell_echo", vector);
		if (ret) {
			free_vectors(echo);
			return ret;
		}
		vector->irq = irq;
	}
	return 0;
}

/* The device holds what it signals while MSI-X is disabled. Vector 2 has had bursts. */
static void test_disable(struct echo *echo)
{
	unsigned int v;
	int ret;

	free_vectors(echo);
	request(&echo->vectors[1], 2);
	wait_done(&echo->vectors[1]);
	expect_pending(echo, BIT(1), "disabled");
	echo->vectors[2].expected = interrupts(&echo->vectors[2]);
	expect_quiet(echo, "disabled");
	ret = allocate_vectors(echo);
	expect(echo, !ret, "allocate the vectors again: %d", ret);
	if (!ret) {
		wait_interrupt(&echo->vectors[1]);
		for (v = 0; v < ECHO_VECTORS; v++)
			trip_twice(&echo->vectors[v]);
		expect_counters(echo, 2);
		expect_pending(echo, 0, "all done");
	}
	report(echo, "MSI-X is disabled and enabled again");
}

static void (*const tests[])(struct echo *echo) = {
	test_trips,
	test_requests_in_a_row,
	test_vector_mask,
	test_unmask_without_message,
	test_function_mask,
	test_both_masks,
	test_moves,
	test_bursts,
	test_disable,
};

/* Runs the tests, up to the first that fails: its interrupts can arrive later. */
static void echo_test(struct echo *echo)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tests) && !echo->failed; i++)
		tests[i](echo);
	for (i = 0; i < ECHO_VECTORS; i++)
		pr_info("vector %u: %u signals, %u interrupts\n", i, echo->vectors[i].signals,
			interrupts(&echo->vectors[i]));
	pr_info("1..%u\n", echo->cases);
}

static int echo_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct echo *echo;
	unsigned int i;
	int ret;

	echo = devm_kzalloc(&pdev->dev, sizeof(*echo), GFP_KERNEL);
	if (!echo)
		return -ENOMEM;
	echo->pdev = pdev;
	init_waitqueue_head(&echo->wait);
	for (i = 0; i < ECHO_VECTORS; i++) {
		echo->vectors[i].echo = echo;
		echo->vectors[i].number = i;
	}
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	echo->regs = pcim_iomap(pdev, 0, 0);
	echo->table = pcim_iomap(pdev, 2, 0);
	if (!echo->regs || !echo->table)
		return -ENOMEM;
	if (echo_read(echo, REG_ID) != ECHO_ID || echo_read(echo, REG_VECTORS) < ECHO_VECTORS)
		return dev_err_probe(&pdev->dev, -ENODEV, "not an echo device\n");
	/* An earlier driver may have used the device. Its counters go on. */
	for (i = 0; i < ECHO_VECTORS; i++) {
		struct vector *vector = &echo->vectors[i];

		vector->requests = echo_read(echo, REG_DONE(i));
		vector->rings = echo_read(echo, REG_RINGS(i));
		vector->base_deliveries = echo_read(echo, REG_DELIVERIES(i));
	}
	pci_set_master(pdev);
	ret = allocate_vectors(echo);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "no MSI-X vectors\n");
	echo_test(echo);
	free_vectors(echo);
	return echo->failed ? -EIO : 0;
}

static const struct pci_device_id echo_ids[] = {
	{ PCI_DEVICE(ECHO_VENDOR, ECHO_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, echo_ids);

static struct pci_driver echo_driver = {
	.name = "doorbell_echo",
	.id_table = echo_ids,
	.probe = echo_probe,
};
module_pci_driver(echo_driver);

MODULE_AUTHOR("The doorbell authors");
MODULE_DESCRIPTION("Test of the MSI-X vectors of vfio-user-echo");
MODULE_LICENSE("GPL");
