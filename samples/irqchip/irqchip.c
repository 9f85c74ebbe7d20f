// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives the interrupt controller. Timers tick on all of its pins faster than their
 * interrupts are served. Threads take interrupts and end them. Another thread and the ack
 * notifiers of the controller change the redirection table all the time. Then it counts.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../sample.h"
#include "irqchip.h"

#define FIRST_LINE	2
#define EARLY		8	/* ticks of each timer before a thread takes interrupts */
#define ROUNDS		1000	/* of each ticker */
#define AT_ONCE		4	/* maximum number of ticks of a round */
#define TICKERS		2
#define CPUS		2
#define HANG_S		300

static int ctx, chip;
static atomic_uint ticked, taken[IRQCHIP_PINS];
static atomic_bool stop;

static struct irqchip_regs regs_of(unsigned int pin)
{
	struct irqchip_regs regs = { .pin = pin };

	MUST(ioctl(chip, IRQCHIP_GET_REGS, &regs));
	return regs;
}

static void tick(unsigned int pin)
{
	ticked++;
	MUST(ioctl(chip, IRQCHIP_TICK, pin));
}

/* Waits until each tick was an interrupt that has been acked. */
static void wait_for_ticks(void)
{
	while (regs_of(IRQCHIP_COUNTER_PIN).ticks < ticked)
		sched_yield();
}

/* Waits between rounds: a later tick would hide that one was lost. */
static void *ticker(void *arg)
{
	unsigned int seed = (uintptr_t)arg, pin, i, n;

	for (i = 0; i < ROUNDS; i++) {
		pin = rand_r(&seed) % IRQCHIP_COUNTER_PIN;
		for (n = rand_r(&seed) % AT_ONCE + 1; n; n--)
			tick(pin);
		wait_for_ticks();
	}
	return NULL;
}

static void *move(void *arg)
{
	unsigned int i;

	(void)arg;
	for (i = 0; !stop; i++)
		MUST(ioctl(chip, IRQCHIP_MOVE, i % IRQCHIP_PINS));
	return NULL;
}

static void end(__u32 vector)
{
	taken[IRQCHIP_PIN(vector)]++;
	MUST(write(chip, &vector, sizeof(vector)));
}

static void *cpu(void *arg)
{
	__u32 vector;

	(void)arg;
	do {
		MUST(read(chip, &vector, sizeof(vector)));
		end(vector);
	} while (!stop);
	return NULL;
}

static int wire(int fd, __u32 first_line)
{
	struct irqchip_wiring wiring = { .ctx = fd, .first_line = first_line };

	return ioctl(chip, IRQCHIP_WIRE, &wiring) ? -errno : 0;
}

/* Each call passes one check more than the one before. A failed call leaves nothing behind. */
static void try_wires(void)
{
	bool ok = wire(-1, 0) == -EBADF && wire(chip, 0) == -EINVAL &&
		  wire(ctx, FIRST_LINE) == -EOPNOTSUPP;
	unsigned int i;

	for (i = 0; i < IRQCHIP_PINS; i++)
		MUST(doorbell_set_type(ctx, FIRST_LINE + i, DOORBELL_TYPE_LEVEL));
	ok = ok && wire(ctx, FIRST_LINE + 1) == -ENXIO;
	ok = ok && query_line(ctx, FIRST_LINE + 1).nr_triggers == 0;
	ok = ok && wire(ctx, FIRST_LINE) == 0 && wire(ctx, FIRST_LINE) == -EEXIST;
	ktap_result(ok, "connected, after some mistakes");
}

static void check_counts(void)
{
	unsigned int pin, sum = 0, reinjected = 0;
	bool once = true, notified = true, idle = true;
	struct doorbell_query line;
	struct irqchip_regs regs;

	for (pin = 0; pin < IRQCHIP_PINS; pin++) {
		line = query_line(ctx, FIRST_LINE + pin);
		regs = regs_of(pin);
		printf("# pin %u: %u ticks, %u interrupts, %u acks, %u reinjected\n",
		       pin, regs.ticks, taken[pin], regs.acks, regs.reinjected);
		idle &= line.state == DOORBELL_LINE_LEVEL;
		notified &= regs.acks == taken[pin] && regs.acks == line.acks;
		if (pin == IRQCHIP_COUNTER_PIN)
			break;
		once &= regs.ticks == taken[pin];
		sum += regs.ticks;
		reinjected += regs.reinjected;
	}
	ktap_result(notified, "each ack was notified once");
	ktap_result(once, "each tick was one interrupt");
	ktap_result(reinjected >= (EARLY - 1) * IRQCHIP_COUNTER_PIN,
		    "also each tick that would have coalesced");
	ktap_result(regs.ticks == sum, "the pin that acks raise and lower counted each tick");
	ktap_result(idle, "at the end all pins are low and unmasked");
}

/* Makes a single ack, whose notifier moves the acked pin and the next one. */
static void try_ack(void)
{
	const unsigned int before[] = { regs_of(0).vector, regs_of(1).vector };
	__u32 vector;

	tick(0);
	MUST(read(chip, &vector, sizeof(vector)));
	end(vector);
	ktap_result(vector == before[0] && regs_of(0).vector == before[0] + IRQCHIP_PINS &&
		    regs_of(1).vector == before[1] + IRQCHIP_PINS,
		    "an ack notifier changes the redirection table");
}

/* Serves the interrupts that are left when all threads have ended. */
static void drain(void)
{
	__u32 vector;

	MUST(fcntl(chip, F_SETFL, O_NONBLOCK));
	while (read(chip, &vector, sizeof(vector)) > 0)
		end(vector);
}

static void hung(int signal)
{
	static const char text[] = "Bail out! it hangs\n";

	(void)signal;
	_exit(write(STDOUT_FILENO, text, sizeof(text) - 1) < 0 ? 2 : 1);
}

int main(void)
{
	pthread_t tickers[TICKERS], cpus[CPUS], mover;
	uintptr_t i;

	ktap_plan(7);
	signal(SIGALRM, hung);
	alarm(HANG_S);
	ctx = new_context(FIRST_LINE + IRQCHIP_PINS);
	chip = MUST(open("/dev/doorbell-irqchip", O_RDWR | O_CLOEXEC));
	try_wires();
	try_ack();
	for (i = 0; i < EARLY * IRQCHIP_COUNTER_PIN; i++)
		tick(i % IRQCHIP_COUNTER_PIN);

	pthread_create(&mover, NULL, move, NULL);
	for (i = 0; i < CPUS; i++)
		pthread_create(&cpus[i], NULL, cpu, NULL);
	for (i = 0; i < TICKERS; i++)
		pthread_create(&tickers[i], NULL, ticker, (void *)i);
	for (i = 0; i < TICKERS; i++)
		pthread_join(tickers[i], NULL);

	/* One tick for each CPU thread, which may sleep in read(). */
	stop = true;
	for (i = 0; i < CPUS; i++)
		tick(0);
	for (i = 0; i < CPUS; i++)
		pthread_join(cpus[i], NULL);
	pthread_join(mover, NULL);
	drain();
	check_counts();
	return ktap_status();
}
