// SPDX-License-Identifier: GPL-2.0
/*
 * Measures what doorbell uses, and what it could use instead: read-side critical sections and
 * grace periods, ways to own a line, and a published copy of a line's word. It prints the mean of
 * each to the kernel log when it is loaded.
 *
 * In a guest that counts instructions, two nanoseconds are an instruction; elsewhere the figures
 * are times. What doorbell's Rust code does is transcribed here: read_begin(), read_end() and
 * synchronize_domain() are ReadDomain, and handoff() is the fast path of HandoffLock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>

#define ROUNDS		5
#define CALLS		10000
#define GRACE_PERIODS	50

#define PENDING		BIT(0)
#define IN_PROGRESS	BIT(31)

DEFINE_STATIC_SRCU(srcu);
DEFINE_STATIC_SRCU_FAST(fast_srcu);

struct readers {
	atomic_t active[2];
} ____cacheline_aligned;

static struct readers *readers;
static u32 phase;
static DEFINE_MUTEX(waiting);

static atomic_t word;
static DEFINE_RAW_SPINLOCK(lock);
static u32 locked_word;
static u32 published ____cacheline_aligned;

static noinline void nothing(void)
{
	barrier();
}

static noinline atomic_t *read_begin(void)
{
	atomic_t *active = &readers[raw_smp_processor_id()].active[READ_ONCE(phase) & 1];

	atomic_inc(active);
	/* Pairs with that of synchronize_domain(). */
	smp_mb__after_atomic();
	return active;
}

static noinline void read_end(atomic_t *active)
{
	/* Pairs with the load in drain(). */
	smp_mb__before_atomic();
	atomic_dec(active);
}

static noinline void domain_reader(void)
{
	read_end(read_begin());
}

static noinline void srcu_reader(void)
{
	srcu_read_unlock(&srcu, srcu_read_lock(&srcu));
}

static noinline void srcu_fast_reader(void)
{
	srcu_read_unlock_fast(&fast_srcu, srcu_read_lock_fast(&fast_srcu));
}

static noinline void rcu_reader(void)
{
	rcu_read_lock();
	barrier();
	rcu_read_unlock();
}

static void drain(u32 index)
{
	u32 cpu;

	for (cpu = 0; cpu < nr_cpu_ids; cpu++)
		while (atomic_read_acquire(&readers[cpu].active[index & 1]))
			cpu_relax();
}

static noinline void synchronize_domain(void)
{
	/* Pairs with that of read_begin(). */
	smp_mb();
	guard(mutex)(&waiting);
	drain(phase ^ 1);
	WRITE_ONCE(phase, phase ^ 1);
	drain(phase ^ 1);
}

static noinline void synchronize_expedited(void)
{
	synchronize_srcu_expedited(&srcu);
}

static noinline void synchronize_fast_expedited(void)
{
	synchronize_srcu_expedited(&fast_srcu);
}

static noinline void synchronize_normal(void)
{
	synchronize_srcu(&srcu);
}

/* Each signals nothing, where a line would signal its triggers. */
static noinline void handoff(void)
{
	int old = 0;

	preempt_disable();
	if (!atomic_try_cmpxchg(&word, &old, IN_PROGRESS))
		return;
	barrier();
	old = IN_PROGRESS;
	if (!atomic_try_cmpxchg(&word, &old, 0))
		return;
	preempt_enable();
}

/* The same with a copy of the word for userspace, which is written after each change. */
static noinline void handoff_published(void)
{
	int old = 0;

	preempt_disable();
	if (!atomic_try_cmpxchg(&word, &old, IN_PROGRESS))
		return;
	WRITE_ONCE(published, IN_PROGRESS);
	barrier();
	old = IN_PROGRESS;
	if (!atomic_try_cmpxchg(&word, &old, 0))
		return;
	WRITE_ONCE(published, 0);
	preempt_enable();
}

/* The flow of handle_edge_irq(): the lock is not held while the triggers are signalled. */
static noinline void lock_and_bit(void)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	if (locked_word & IN_PROGRESS) {
		locked_word |= PENDING;
		goto unlock;
	}
	do {
		locked_word = (locked_word & ~PENDING) | IN_PROGRESS;
		raw_spin_unlock_irqrestore(&lock, flags);
		barrier();
		raw_spin_lock_irqsave(&lock, flags);
	} while (locked_word & PENDING);
	locked_word &= ~IN_PROGRESS;
unlock:
	raw_spin_unlock_irqrestore(&lock, flags);
}

/* The lock is held meanwhile, with interrupts off. No eventfd could be signalled on PREEMPT_RT. */
static noinline void lock_held(void)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	barrier();
	raw_spin_unlock_irqrestore(&lock, flags);
}

/* Returns the minimum time of @calls calls, in ns. */
static u64 measure(void (*call)(void), u32 calls, bool atomic)
{
	u64 start, best = U64_MAX;
	unsigned long flags = 0;
	u32 round, i;

	for (round = 0; round < ROUNDS; round++) {
		if (atomic)
			local_irq_save(flags);
		start = ktime_get_ns();
		for (i = 0; i < calls; i++)
			call();
		best = min(best, ktime_get_ns() - start);
		if (atomic)
			local_irq_restore(flags);
	}
	return best;
}

static void print(const char *name, void (*call)(void), u32 calls, bool atomic)
{
	u64 ns = measure(call, calls, atomic), base = measure(nothing, calls, atomic);
	u64 tenths = (ns > base ? ns - base : 0) * 10 / calls;

	pr_info("%-28s %llu.%llu ns\n", name, tenths / 10, tenths % 10);
}

static int __init alternatives_init(void)
{
	readers = kcalloc(nr_cpu_ids, sizeof(*readers), GFP_KERNEL);
	if (!readers)
		return -ENOMEM;
	print("reader: read domain", domain_reader, CALLS, true);
	print("reader: SRCU", srcu_reader, CALLS, true);
	print("reader: SRCU-fast", srcu_fast_reader, CALLS, true);
	print("reader: RCU", rcu_reader, CALLS, true);
	print("wait: read domain", synchronize_domain, GRACE_PERIODS, false);
	print("wait: SRCU expedited", synchronize_expedited, GRACE_PERIODS, false);
	print("wait: SRCU-fast expedited", synchronize_fast_expedited, GRACE_PERIODS, false);
	print("wait: SRCU", synchronize_normal, GRACE_PERIODS, false);
	print("owner: handoff lock", handoff, CALLS, true);
	print("owner: and a published copy", handoff_published, CALLS, true);
	print("owner: spinlock and bits", lock_and_bit, CALLS, true);
	print("owner: spinlock held", lock_held, CALLS, true);
	return 0;
}

static void __exit alternatives_exit(void)
{
	kfree(readers);
}

module_init(alternatives_init);
module_exit(alternatives_exit);

MODULE_DESCRIPTION("Costs of what doorbell uses and of alternatives");
MODULE_LICENSE("GPL");
