// SPDX-License-Identifier: GPL-2.0
/*
 * Wrappers for inline functions, macros and bit-fields, which Rust cannot use directly.
 */
#include <linux/bottom_half.h>
#include <linux/bvec.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/fault-inject-usercopy.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/kcov.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/nsproxy.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/swait.h>
#include <linux/task_work.h>
#include <linux/time_namespace.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "bindings_helper.h"

/* rust/kernel_ext/compat.rs has it. */
static_assert(HRTIMER_NORESTART == 0);

/* begin out of tree */
/* Rust's module! has no field for it. */
MODULE_VERSION(DOORBELL_VERSION);

/* end out of tree */
/* On PREEMPT_RT an eventfd's lock may sleep. */
bool doorbell_signal_allowed(void)
{
	return eventfd_signal_allowed() && (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible());
}

/*
 * In a hard interrupt that is never threaded, lockdep warns of spinlocks, because they
 * sleep on PREEMPT_RT. Here the warning would be false: on PREEMPT_RT
 * doorbell_signal_allowed() excludes such callers, and on other kernels spinlocks do not
 * sleep.
 */
static DEFINE_WAIT_OVERRIDE_MAP(doorbell_signal_map, LD_WAIT_CONFIG);

void doorbell_signal_lockdep(struct eventfd_ctx *ctx, __poll_t mask)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_acquire_try(&doorbell_signal_map);
	eventfd_signal_mask(ctx, mask);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_release(&doorbell_signal_map);
}

/* begin out of tree */
#ifdef DOORBELL_EVENTFD_EXPORTS
/* end out of tree */
void doorbell_signal_count(struct eventfd_ctx *ctx, u64 count, __poll_t mask)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_acquire_try(&doorbell_signal_map);
	eventfd_signal_count(ctx, count, mask);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_release(&doorbell_signal_map);
}

/* begin out of tree */
#else
/*
 * Adds @more to an eventfd's counter, without a wake-up. Its context is that of
 * doorbell_signal_lockdep(), and so is what lockdep is told. A counter that cannot take
 * all stops one below ULLONG_MAX, so that the signal that follows raises it to that: this
 * is what so many signals do.
 */
void doorbell_eventfd_raise(struct wait_queue_head *wqh, u64 *count, u64 more)
{
	unsigned long flags;

	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_acquire_try(&doorbell_signal_map);
	spin_lock_irqsave(&wqh->lock, flags);
	if (*count < ULLONG_MAX)
		*count += min(more, ULLONG_MAX - 1 - *count);
	spin_unlock_irqrestore(&wqh->lock, flags);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_release(&doorbell_signal_map);
}

__poll_t doorbell_vfs_poll(struct file *file, struct poll_table_struct *pt)
{
	return vfs_poll(file, pt);
}

void doorbell_wait_queue_add(struct wait_queue_head *wqh, struct wait_queue_entry *entry)
{
	__add_wait_queue(wqh, entry);
}

/*
 * Does the same as eventfd_read(): the callbacks run with a wait-queue lock held, and
 * current->in_eventfd makes eventfd_signal_allowed() false for them.
 */
void doorbell_wake_writers(struct wait_queue_head *wqh)
{
	unsigned int in_eventfd = current->in_eventfd;

	/* The lock is held, so no waiter can be adding itself. */
	if (!waitqueue_active(wqh))
		return;
	current->in_eventfd = 1;
	wake_up_locked_poll(wqh, EPOLLOUT);
	current->in_eventfd = in_eventfd;
}
#endif
/* end out of tree */

void doorbell_poll_init(struct wait_queue_head *wqh)
{
	init_waitqueue_head(wqh);
}

void doorbell_poll_wait(struct file *file, struct wait_queue_head *wqh,
			struct poll_table_struct *table)
{
	poll_wait(file, wqh, table);
	/* For callers that poll without a table. */
	smp_mb();
}

/* Pairs with the barrier of doorbell_poll_wait(). */
bool doorbell_poll_has_waiter(struct wait_queue_head *wqh)
{
	return wq_has_sleeper(wqh);
}

/* Its context is that of doorbell_signal_lockdep(), and so is what lockdep is told. */
void doorbell_poll_wake(struct wait_queue_head *wqh, __poll_t key)
{
	if (!wq_has_sleeper(wqh))
		return;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_acquire_try(&doorbell_signal_map);
	wake_up_poll(wqh, key);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lock_map_release(&doorbell_signal_map);
}

/* Fully ordered, as all operations that return the value before. */
u64 doorbell_fetch_or(u64 *word, u64 bits)
{
	static_assert(sizeof(atomic64_t) == sizeof(u64));
	return atomic64_fetch_or(bits, (atomic64_t *)word);
}

unsigned long doorbell_wait_queue_lock(struct wait_queue_head *wqh)
{
	unsigned long flags;

	spin_lock_irqsave(&wqh->lock, flags);
	return flags;
}

void doorbell_wait_queue_unlock(struct wait_queue_head *wqh, unsigned long flags)
{
	spin_unlock_irqrestore(&wqh->lock, flags);
}

void doorbell_wait_queue_del(struct wait_queue_entry *entry)
{
	list_del_init(&entry->entry);
}

/* The part of do_wait_intr() before the lock is released. */
void doorbell_wait_queue_prepare(struct wait_queue_head *wqh, struct wait_queue_entry *entry)
{
	if (list_empty(&entry->entry))
		__add_wait_queue_entry_tail(wqh, entry);
	set_current_state(TASK_INTERRUPTIBLE);
}

/* Converts a time of CLOCK_MONOTONIC from the caller's time namespace to the host's. */
ktime_t doorbell_host_monotonic(ktime_t time)
{
#ifdef CONFIG_TIME_NS
	return do_timens_ktime_to_host(CLOCK_MONOTONIC, time, &current->nsproxy->time_ns->offsets);
#else
	return time;
#endif
}

/*
 * Sleeps in the state that the caller has set, at most until @time of
 * CLOCK_MONOTONIC. Returns false if that time has passed.
 */
bool doorbell_sleep_until(ktime_t time)
{
	return schedule_hrtimeout_range(&time, current->timer_slack_ns, HRTIMER_MODE_ABS);
}

/* Each line's queue has the same lock class, which nests in that of an eventfd's queue. */
void doorbell_swait_init(struct swait_queue_head *queue)
{
	init_swait_queue_head(queue);
}

/*
 * Wakes one waiter, after the caller has made the condition true that it waits for. The
 * barrier pairs with that of doorbell_swait_prepare(): either the waiter is seen here, or
 * it sees the condition.
 */
void doorbell_swait_wake(struct swait_queue_head *queue)
{
	if (swq_has_sleeper(queue))
		swake_up_one(queue);
}

void doorbell_swait_entry(struct swait_queue *entry)
{
	INIT_LIST_HEAD(&entry->task_list);
}

/* The entry leaves the queue when it is woken; then this adds it again, as the last one. */
void doorbell_swait_prepare(struct swait_queue_head *queue, struct swait_queue *entry)
{
	prepare_to_swait_exclusive(queue, entry, TASK_INTERRUPTIBLE);
}

/*
 * Removes the entry. Unlike finish_swait() this always takes the lock: it orders the
 * caller's next look at the condition after each wake-up that has removed the entry.
 */
void doorbell_swait_finish(struct swait_queue_head *queue, struct swait_queue *entry)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&queue->lock, flags);
	list_del_init(&entry->task_list);
	raw_spin_unlock_irqrestore(&queue->lock, flags);
}

/* A caller of doorbell_swait_finish() sees each entry that was added before. */
bool doorbell_swait_has_waiter(struct swait_queue_head *queue)
{
	return swait_active(queue);
}

/*
 * Does an atomic_cmpxchg(). The word is read first, so that a caller who expects the
 * wrong value does not pay for a locked instruction. Returns the value that the word had:
 * @old if it succeeds. If it fails, it orders nothing.
 */
int doorbell_word_cmpxchg(atomic_t *word, int old, int new)
{
	int now = atomic_read(word);

	if (unlikely(now != old))
		return now;
	atomic_try_cmpxchg(word, &now, new);
	return now;
}

/*
 * Exchanges the word and the units beside it for new ones, if they are @old. Otherwise
 * returns false, writes their values to @old, and orders nothing. With @claim it disables
 * preemption as doorbell_handoff_claim() does.
 */
bool doorbell_units_cmpxchg(atomic_t *word, u32 old[2], u32 word_new, u32 units_new, bool claim)
{
	union {
		u32 half[2];
		s64 both;
	} from = { .half = { old[0], old[1] } }, to = { .half = { word_new, units_new } };
	bool done;

	claim = claim && !IS_ENABLED(CONFIG_PREEMPT_RT);
	if (claim)
		preempt_disable();
	done = atomic64_try_cmpxchg((atomic64_t *)word, &from.both, to.both);
	if (done)
		return true;
	if (claim)
		preempt_enable();
	old[0] = from.half[0];
	old[1] = from.half[1];
	return false;
}

/*
 * These combine the compare-exchange with disabling and enabling preemption, so that the
 * ring path makes one call for both. On PREEMPT_RT the owner is preemptible, like a
 * spinlock's. Both functions return the value that the word had: @old if they succeed.
 */
int doorbell_handoff_claim(atomic_t *word, int old, int new)
{
	int now = atomic_read(word);

	if (unlikely(now != old))
		return now;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
	if (likely(atomic_try_cmpxchg(word, &now, new)))
		return now;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
	return now;
}

int doorbell_handoff_release(atomic_t *word, int old, int new)
{
	int now = old;

	if (unlikely(!atomic_try_cmpxchg(word, &now, new)))
		return now;
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
	return now;
}

/* The number of readers that began on a CPU, for each of the two phases. */
struct doorbell_readers {
	atomic_t active[2];
} ____cacheline_aligned;

#ifdef CONFIG_DEBUG_LOCK_ALLOC
/*
 * The readers of all domains are one lock to lockdep, held shared and recursively, as the
 * readers of RCU are. So it finds a reader that waits for readers, also of another domain, and
 * a lock that a reader takes while its holder waits for readers.
 */
static struct lock_class_key doorbell_read_key;
static struct lockdep_map doorbell_read_map =
	STATIC_LOCKDEP_MAP_INIT("doorbell_readers", &doorbell_read_key);

static void doorbell_read_acquired(void)
{
	lock_acquire(&doorbell_read_map, 0, 0, 2, 1, NULL, _RET_IP_);
}

static void doorbell_read_released(void)
{
	lock_release(&doorbell_read_map, _RET_IP_);
}

void doorbell_wait_for_readers(void)
{
	lock_sync(&doorbell_read_map, 0, 0, 1, NULL, _RET_IP_);
}

bool doorbell_reads(void)
{
	return lock_is_held(&doorbell_read_map);
}
#else
static inline void doorbell_read_acquired(void) { }
static inline void doorbell_read_released(void) { }
#endif

/*
 * Counts a reader on this CPU, and returns its counter. @readers has an element for each
 * possible CPU. Migration to another CPU does no harm: the elements are only counters that
 * other CPUs hardly use.
 */
atomic_t *doorbell_read_begin(struct doorbell_readers *readers, u32 phase)
{
	atomic_t *active = &readers[raw_smp_processor_id()].active[phase & 1];

	doorbell_read_acquired();
	atomic_inc(active);
	/* Pairs with the barrier of the writer, between its change and its look at the counter. */
	smp_mb__after_atomic();
	return active;
}

void doorbell_read_end(atomic_t *active)
{
	/* The reader's accesses come before those of a writer that finds no reader left. */
	smp_mb__before_atomic();
	atomic_dec(active);
	doorbell_read_released();
}

/* Reads a value of @size bytes. Returns -EINVAL unless that is 1, 2, 4 or 8; or -EFAULT. */
int doorbell_get_value(u64 *value, const void __user *from, size_t size)
{
	u8 byte;
	u16 word;
	u32 half;
	int ret;

	/* get_user() takes no part in fault injection. */
	if (size != sizeof(*value) && should_fail_usercopy())
		return -EFAULT;
	switch (size) {
	case 4:
		ret = get_user(half, (const u32 __user *)from);
		*value = half;
		return ret;
	case 2:
		ret = get_user(word, (const u16 __user *)from);
		*value = word;
		return ret;
	case 1:
		ret = get_user(byte, (const u8 __user *)from);
		*value = byte;
		return ret;
	case 8:
		return doorbell_get_user_words(value, (const void __force *)from, 1) ? 0 : -EFAULT;
	default:
		return -EINVAL;
	}
}

void doorbell_preempt_disable(void)
{
	preempt_disable();
}

void doorbell_preempt_enable(void)
{
	preempt_enable();
}

/*
 * A call of another module by @task, or by an interrupt of it, to which @depth relays have
 * led. Rings by the callback count those relays, too. It is on the caller's stack. @older is
 * the call that was the newest one on this CPU before.
 */
struct doorbell_frame {
	struct task_struct *task;
	struct doorbell_frame *older;
	u32 depth;
};

/*
 * The work of this CPU in interrupt context. Interrupts have sent @signals since a task
 * last rang a line here. From @began on they have spent @spent ns, and more since @since if
 * that is not 0. @newest heads the list of calls of other modules here. If a call is
 * preemptible, several threads have calls in the list, and these may end in any order.
 */
struct doorbell_cpu {
	u32 signals;
	u64 began;
	u64 spent;
	u64 since;
	struct doorbell_frame *newest;
	/* On PREEMPT_RT: the thread that runs what is an interrupt on other kernels. */
	struct task_struct *relayer;
};

static DEFINE_PER_CPU(struct doorbell_cpu, doorbell_cpu);

/* A flag in @signals: @began, @spent and @since are set. */
#define DOORBELL_TIMED		BIT(31)

/*
 * The time that interrupts may spend for one ring by a task, and the number of signals that
 * they may send even after that time: a virtual CPU may be preempted meanwhile. The delivery
 * that is in flight then is finished. The rest is left to the workers of the contexts.
 */
#define DOORBELL_BUDGET_NS	(100 * NSEC_PER_USEC)
#define DOORBELL_BUDGET_SIGNALS	8

/* The share of the time of a CPU that interrupts may spend where no task rings: a tenth. */
#define DOORBELL_BUDGET_SHARE	10

/*
 * A delivery is not charged more than this. What takes longer is a virtual CPU without its
 * time slice, or on PREEMPT_RT a more urgent thread, and not the work of the delivery.
 */
#define DOORBELL_BUDGET_CHARGE	(10 * DOORBELL_BUDGET_NS)

static noinline u32 doorbell_depth_of_current(void)
{
	const struct doorbell_frame *frame;
	u32 depth = 0;

	/* The calls of other threads do not end meanwhile. */
	preempt_disable();
	for (frame = raw_cpu_read(doorbell_cpu.newest); frame; frame = frame->older) {
		if (frame->task == current) {
			depth = frame->depth;
			break;
		}
	}
	preempt_enable();
	return depth;
}

u32 doorbell_depth(void)
{
	/* A thread in a callback stays on its CPU. */
	if (likely(!raw_cpu_read(doorbell_cpu.newest)))
		return 0;
	return doorbell_depth_of_current();
}

void doorbell_fresh(void)
{
	raw_cpu_write(doorbell_cpu.signals, 0);
}

static bool doorbell_in_relay(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return raw_cpu_read(doorbell_cpu.relayer) == current;
	return in_hardirq();
}

/*
 * Returns the relays that led to a ring by a wake-up whose key has @hops relays. If a
 * task makes the wake-up, its request renews the budget: the interrupts that follow take
 * that task's time.
 */
u32 doorbell_wake_depth(u32 hops)
{
	u32 depth = doorbell_depth();

	if (depth > hops)
		hops = depth;
	if (!doorbell_in_relay())
		doorbell_fresh();
	return hops;
}

/* Charges the time since @since. What is not charged is not time to rest, either. */
static void doorbell_charge_time(struct doorbell_cpu *cpu, u64 now)
{
	u64 charge;

	if (!cpu->since)
		return;
	charge = min_t(u64, now - cpu->since, DOORBELL_BUDGET_CHARGE);
	cpu->spent += charge;
	cpu->began += now - cpu->since - charge;
	cpu->since = 0;
}

static noinline bool doorbell_within_time(u32 before, u32 signals)
{
	struct doorbell_cpu *cpu = raw_cpu_ptr(&doorbell_cpu);
	u64 now = local_clock();

	if (!(before & DOORBELL_TIMED)) {
		before |= DOORBELL_TIMED;
		cpu->began = now;
		cpu->spent = 0;
	} else {
		doorbell_charge_time(cpu, now);
		if (before - DOORBELL_TIMED >= DOORBELL_BUDGET_SIGNALS &&
		    cpu->spent >= DOORBELL_BUDGET_NS) {
			if (now - cpu->began < cpu->spent * DOORBELL_BUDGET_SHARE)
				return false;
			before = DOORBELL_TIMED;
			cpu->began = now;
			cpu->spent = 0;
		}
	}
	cpu->since = now;
	/* More do not count, so this never overflows. */
	if (before - DOORBELL_TIMED < DOORBELL_BUDGET_SIGNALS)
		before += signals;
	cpu->signals = before;
	return true;
}

/* On PREEMPT_RT the caller is a thread that is bound to this CPU. */
bool doorbell_within_budget(u32 signals)
{
	u32 before = raw_cpu_read(doorbell_cpu.signals);

	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		raw_cpu_write(doorbell_cpu.relayer, current);
	/* The first relay does not read the clock. */
	if (unlikely(before))
		return doorbell_within_time(before, signals);
	raw_cpu_write(doorbell_cpu.signals, signals);
	return true;
}

/* As above. Never fails: the next call of the function above sees the charge. */
void doorbell_charge(u32 signals)
{
	if ((raw_cpu_read(doorbell_cpu.signals) & ~DOORBELL_TIMED) < DOORBELL_BUDGET_SIGNALS)
		raw_cpu_add(doorbell_cpu.signals, signals);
}

/* Ends the time that the calls of doorbell_within_budget() measure. Context as there. */
void doorbell_spent(void)
{
	struct doorbell_cpu *cpu = raw_cpu_ptr(&doorbell_cpu);

	if (likely(!cpu->since))
		return;
	doorbell_charge_time(cpu, local_clock());
}

/*
 * Calls another module. An interrupt may come at any time: it leaves the list as it was, and
 * finds the call in it, or not yet, or not any more.
 */
void doorbell_call(struct doorbell_callback *callback, u32 depth, u32 event)
{
	struct doorbell_frame frame = { .task = current, .depth = depth };
	struct doorbell_frame **at;

	migrate_disable();
	preempt_disable();
	frame.older = raw_cpu_read(doorbell_cpu.newest);
	barrier();
	raw_cpu_write(doorbell_cpu.newest, &frame);
	preempt_enable();
	callback->func(callback, event);
	preempt_disable();
	at = &raw_cpu_ptr(&doorbell_cpu)->newest;
	while (*at != &frame)
		at = &(*at)->older;
	WRITE_ONCE(*at, frame.older);
	preempt_enable();
	migrate_enable();
}

void doorbell_cond_resched(void)
{
	cond_resched();
}

/* All ones if the index is less than the size, and otherwise 0. */
unsigned long doorbell_index_mask(unsigned long index, unsigned long size)
{
	return array_index_mask_nospec(index, size);
}

/* The CPU may change if the caller is preemptible. */
bool doorbell_cpu_is_active(void)
{
	return cpu_active(raw_smp_processor_id());
}

bool doorbell_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/*
 * Returns the number of bytes that are left in the segment at which the iterator is, or
 * -EINVAL if userspace may have chosen other segments.
 *
 * The elements of an ITER_BVEC are pages of an io_uring's registered buffer, and not
 * segments. IORING_OP_WRITE_FIXED chooses one segment, a part of these pages.
 * IORING_OP_WRITEV_FIXED chooses any number, each of which is cut at the ends of pages, and
 * its elements are as long as the iterator. If that is true of an IORING_OP_WRITE_FIXED, the
 * two cannot be distinguished.
 */
long doorbell_segment_len(const struct iov_iter *iter)
{
	const size_t len = iov_iter_count(iter), first = iov_iter_single_seg_count(iter);
	unsigned long i;
	size_t sum = 0;

	if (!iov_iter_is_bvec(iter) || first == len)
		return first;
	/* No access is longer, and the elements may be many. */
	if (len > sizeof(u64))
		return -EINVAL;
	for (i = 0; i < iter->nr_segs && sum <= len; i++)
		sum += iter->bvec[i].bv_len;
	return iter->iov_offset || sum > len ? len : -EINVAL;
}

/* The account that io_uring charges for pinned memory; NULL if there is no limit. */
struct user_struct *doorbell_memlock_user(void)
{
	return capable(CAP_IPC_LOCK) ? NULL : get_uid(current_user());
}

void doorbell_memlock_user_put(struct user_struct *user)
{
	free_uid(user);
}

bool doorbell_memlock_charge(struct user_struct *user, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long locked = atomic_long_read(&user->locked_vm);

	do {
		if (locked + pages > limit)
			return false;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &locked, locked + pages));
	return true;
}

void doorbell_memlock_uncharge(struct user_struct *user, unsigned long pages)
{
	atomic_long_sub(pages, &user->locked_vm);
}

bool doorbell_llist_add(struct llist_node *node, struct llist_head *head)
{
	return llist_add(node, head);
}

/* Removes all nodes, and returns them with the oldest first. */
struct llist_node *doorbell_llist_take(struct llist_head *head)
{
	return llist_reverse_order(llist_del_all(head));
}

/*
 * Returns true if @work is queued. May return true while its callback runs. A work that is
 * closed is not busy, even if irq_work_queue() has set that flag again.
 */
bool doorbell_irq_work_is_busy(struct irq_work *work)
{
	/* Pairs with atomic_cmpxchg() in irq_work_single(), after the callback. */
	int flags = atomic_read_acquire(&work->node.a_flags);

	return flags & IRQ_WORK_BUSY && !(flags & DOORBELL_IRQ_WORK_CLOSED);
}

/*
 * Claims @work for ever, unless it is closed already: irq_work_queue() then finds it queued and
 * does nothing. Returns the flags before, or -EBUSY if @work is queued. May return -EBUSY while
 * its callback runs.
 */
int doorbell_irq_work_close(struct irq_work *work)
{
	int flags = atomic_read(&work->node.a_flags);

	if (flags & DOORBELL_IRQ_WORK_CLOSED)
		return flags;
	/* Pairs with atomic_fetch_or() in irq_work_claim(): one of them claims it. */
	if (flags & IRQ_WORK_CLAIMED ||
	    !atomic_try_cmpxchg(&work->node.a_flags, &flags,
				flags | IRQ_WORK_PENDING | DOORBELL_IRQ_WORK_CLOSED))
		return -EBUSY;
	return flags;
}

/*
 * The current thread may be the worker of the context that @file belongs to. If its own
 * task work closed the file, that would wait for the end of this thread. So a kworker
 * closes the file, as it does for an interrupt.
 */
void doorbell_fput(struct file *file)
{
	bool by_kworker = current->flags & PF_USER_WORKER && !in_interrupt();

	if (by_kworker)
		local_bh_disable();
	fput(file);
	if (!by_kworker)
		return;
	/* PREEMPT_RT does not allow this with interrupts off. */
	if (!IS_ENABLED(CONFIG_PREEMPT_RT) && irqs_disabled())
		_local_bh_enable();
	else
		local_bh_enable();
}

/* Returns a struct fd, which does not count a reference if the process has one thread. */
unsigned long doorbell_fdget(int fd)
{
	return fdget(fd).word;
}

struct file *doorbell_fd_file(unsigned long word)
{
	return fd_file((struct fd){ word });
}

void doorbell_fdput(unsigned long word)
{
	fdput((struct fd){ word });
}

void doorbell_set_running(void)
{
	__set_current_state(TASK_RUNNING);
}

/*
 * Such a thread never returns to userspace, where other threads run task work. It runs
 * task work only if a signal is pending. The CPU bandwidth limit of a cgroup, for
 * example, throttles a thread by task work.
 */
void doorbell_notice_task_work(void)
{
	if (task_work_pending(current))
		set_thread_flag(TIF_NOTIFY_SIGNAL);
}

/*
 * The workqueue of callbacks without such a thread. It runs one work item at a time on
 * each NUMA node, for all contexts together.
 */
static struct workqueue_struct __rcu *doorbell_orphans;

int doorbell_orphans_init(void)
{
	struct workqueue_struct *queue;

	if (rcu_access_pointer(doorbell_orphans))
		return -EBUSY;
	queue = alloc_workqueue("doorbell", WQ_UNBOUND | WQ_SYSFS, 1);
	if (!queue)
		return -ENOMEM;
	rcu_assign_pointer(doorbell_orphans, queue);
	return 0;
}

void doorbell_orphans_exit(void)
{
	/* Pairs with rcu_dereference() in doorbell_orphans_queue(). */
	struct workqueue_struct *queue = unrcu_pointer(xchg(&doorbell_orphans, NULL));

	synchronize_rcu();
	destroy_workqueue(queue);
	doorbell_threads_exit();
}

void doorbell_orphans_queue(struct work_struct *work)
{
	struct workqueue_struct *queue;

	rcu_read_lock();
	queue = rcu_dereference(doorbell_orphans);
	queue_work(queue ?: system_dfl_wq, work);
	rcu_read_unlock();
}

#ifdef CONFIG_COMPAT
unsigned long doorbell_compat_ptr(u32 uptr)
{
	return (unsigned long)compat_ptr(uptr);
}
#endif

/*
 * Copies of a few words, which are several times faster than by copy_from_user() and
 * copy_to_user(). Their addresses need not be aligned.
 */
bool doorbell_get_user_words(u64 *to, const void *from, u32 words)
{
	const u64 __user *at = (const void __user *)from;
	u32 i;

	might_fault();
	if (should_fail_usercopy() || !user_read_access_begin(at, words * sizeof(*at)))
		return false;
	for (i = 0; i < words; i++)
		unsafe_get_user(to[i], at + i, fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

static __always_inline bool doorbell_put_pair(void *to, u32 first, u64 second)
{
	u32 __user *at = (void __user *)to;

	if (should_fail_usercopy() || !user_write_access_begin(at, sizeof(first) + sizeof(second)))
		return false;
	unsafe_put_user(first, at, fault);
	unsafe_put_user(second, (u64 __user *)(at + 1), fault);
	user_write_access_end();
	return true;
fault:
	user_write_access_end();
	return false;
}

bool doorbell_put_user_pair(void *to, u32 first, u64 second)
{
	might_fault();
	return doorbell_put_pair(to, first, second);
}

bool doorbell_put_user_pair_nofault(void *to, u32 first, u64 second)
{
	bool stored;

	pagefault_disable();
	stored = doorbell_put_pair(to, first, second);
	pagefault_enable();
	return stored;
}

bool doorbell_put_user_u64(void *to, u64 value)
{
	/* put_user() takes no part in fault injection. */
	return !should_fail_usercopy() && !put_user(value, (u64 __user *)to);
}

#ifdef CONFIG_KCOV
u64 doorbell_kcov_handle(void)
{
	return kcov_common_handle().val;
}

void doorbell_kcov_start(u64 handle)
{
	if (handle)
		kcov_remote_start(kcov_remote_handle(KCOV_SUBSYSTEM_COMMON, handle));
}

void doorbell_kcov_stop(void)
{
	kcov_remote_stop();
}
#endif

#ifdef CONFIG_DOORBELL_KUNIT_TEST
#include <kunit/test-bug.h>
#include <kunit/test.h>

static int doorbell_kunit_eventfds[6];
static unsigned int doorbell_nr_kunit_eventfds;
module_param_array_named(kunit_eventfds, doorbell_kunit_eventfds, int,
			 &doorbell_nr_kunit_eventfds, 0);
MODULE_PARM_DESC(kunit_eventfds, "Eventfds of the loading process that the KUnit tests may use");

/* Returns a descriptor, or -1. */
int doorbell_kunit_eventfd(unsigned int index)
{
	return index < doorbell_nr_kunit_eventfds ? doorbell_kunit_eventfds[index] : -1;
}

/* Returns true if there is another reference to @file than the caller's. */
bool doorbell_kunit_is_shared(struct file *file)
{
	return file_count(file) > 1;
}

/* Returns the number of an online CPU, each once, or -1. */
int doorbell_kunit_cpu(unsigned int index)
{
	int cpu;

	for_each_online_cpu(cpu) {
		if (!index--)
			return cpu;
	}
	return -1;
}

struct doorbell_kunit_queued {
	struct irq_work *work;
	bool done;
};

static void doorbell_kunit_queue(void *arg)
{
	struct doorbell_kunit_queued *queued = arg;

	irq_work_queue(queued->work);
	/* Pairs with the acquire in doorbell_kunit_queue_on(). */
	smp_store_release(&queued->done, true);
}

/*
 * Queues @work on @cpu, another one that takes interrupts. Returns false if a call of this
 * function is not over yet, or the CPU is offline. The kernel does not export
 * irq_work_queue_on().
 */
bool doorbell_kunit_queue_on(struct irq_work *work, int cpu)
{
	static call_single_data_t csd = CSD_INIT(doorbell_kunit_queue, NULL);
	static atomic_t busy;
	struct doorbell_kunit_queued queued = { .work = work };
	bool sent;

	if (atomic_xchg(&busy, 1))
		return false;
	csd.info = &queued;
	sent = !smp_call_function_single_async(cpu, &csd);
	/* Pairs with the release in doorbell_kunit_queue(), which then no longer uses @queued. */
	while (sent && !smp_load_acquire(&queued.done))
		cpu_relax();
	/* Pairs with the exchange above. */
	atomic_set_release(&busy, 0);
	return sent;
}

/* Moves the current thread to @cpu; to any CPU if it is negative. Returns false if that fails. */
bool doorbell_kunit_stay_on(int cpu)
{
	return !set_cpus_allowed_ptr(current, cpu < 0 ? cpu_possible_mask : cpumask_of(cpu));
}

/* Marks the current test as skipped. The test must return. */
void doorbell_kunit_skip(const char *reason)
{
	kunit_mark_skipped(kunit_get_current_test(), "%s", reason);
}

bool doorbell_in_hardirq(void)
{
	return in_hardirq();
}
#endif
