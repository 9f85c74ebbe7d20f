/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The input of bindgen: doorbell's headers, the kernel's eventfd functions and the
 * helpers for inline functions. The kernel crate's bindings have the eventfd functions
 * only in some configurations, because they include that header indirectly.
 */
#ifndef _DOORBELL_BINDINGS_HELPER_H
#define _DOORBELL_BINDINGS_HELPER_H

#include <linux/atomic.h>
#include <linux/eventfd.h>
#include <linux/gfp_types.h>
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/sched/user.h>
#include <linux/sort.h>
#include <linux/swait.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/doorbell.h>
#include <trace/events/doorbell.h>

/*
 * bindgen evaluates function-like macros only if a constant uses them. The constants are
 * for bindgen alone: otherwise each object that includes this header would define them.
 */
#ifdef __BINDGEN__
const u32 DOORBELL_IOC_GET_INFO = DOORBELL_GET_INFO;
const u32 DOORBELL_IOC_SET_LINES = DOORBELL_SET_LINES;
const u32 DOORBELL_IOC_RING = DOORBELL_RING;
const u32 DOORBELL_IOC_IRQFD = DOORBELL_IRQFD;
const u32 DOORBELL_IOC_TRIGGER = DOORBELL_TRIGGER;
const u32 DOORBELL_IOC_QUERY = DOORBELL_QUERY;
const u32 DOORBELL_IOC_EVENTFD_READ = DOORBELL_EVENTFD_READ;
const u32 DOORBELL_IOC_EVENTFD_PEEK = DOORBELL_EVENTFD_PEEK;
const u32 DOORBELL_IOC_MASK = DOORBELL_MASK;
const u32 DOORBELL_IOC_UNMASK = DOORBELL_UNMASK;
const u32 DOORBELL_IOC_CLEAR = DOORBELL_CLEAR;
const u32 DOORBELL_IOC_PENDING = DOORBELL_PENDING;
const u32 DOORBELL_IOC_NOTIFIER = DOORBELL_NOTIFIER;
const u32 DOORBELL_IOC_SET_TYPE = DOORBELL_SET_TYPE;
const u32 DOORBELL_IOC_SET_LEVEL = DOORBELL_SET_LEVEL;
const u32 DOORBELL_IOC_ACK = DOORBELL_ACK;
const u32 DOORBELL_IOC_REGION = DOORBELL_REGION;
const u32 DOORBELL_IOC_REGIONS = DOORBELL_REGIONS;
const u32 DOORBELL_IOC_GET_REGIONS = DOORBELL_GET_REGIONS;
const u32 DOORBELL_IOC_BUS_WRITE = DOORBELL_BUS_WRITE;
const u32 DOORBELL_IOC_SET_RECORDS = DOORBELL_SET_RECORDS;
const u32 DOORBELL_IOC_GET_BUS = DOORBELL_GET_BUS;
const u32 DOORBELL_IOC_RING_WAIT = DOORBELL_RING_WAIT;
const u32 DOORBELL_IOC_WAIT = DOORBELL_WAIT;
const u32 DOORBELL_IOC_RING_LINES = DOORBELL_RING_LINES;
const u32 DOORBELL_IOC_SAVE = DOORBELL_SAVE;
const u32 DOORBELL_IOC_RESTORE = DOORBELL_RESTORE;
const u32 DOORBELL_IOC_MODERATE = DOORBELL_MODERATE;
const u32 DOORBELL_IOC_SUMMARY = DOORBELL_SUMMARY;
const u64 DOORBELL_FEATURES_EVENTFD_READ = DOORBELL_FEATURE_EVENTFD_READ;
const u64 DOORBELL_FEATURES_EVENTFD_PEEK = DOORBELL_FEATURE_EVENTFD_PEEK;
const u64 DOORBELL_FEATURES_MASK = DOORBELL_FEATURE_MASK;
const u64 DOORBELL_FEATURES_LEVEL = DOORBELL_FEATURE_LEVEL;
const u64 DOORBELL_FEATURES_BUS = DOORBELL_FEATURE_BUS;
const u64 DOORBELL_FEATURES_RING_WAIT = DOORBELL_FEATURE_RING_WAIT;
const u64 DOORBELL_FEATURES_WAIT = DOORBELL_FEATURE_WAIT;
const u64 DOORBELL_FEATURES_RING_LINES = DOORBELL_FEATURE_RING_LINES;
const u64 DOORBELL_FEATURES_MASK_REASONS = DOORBELL_FEATURE_MASK_REASONS;
const u64 DOORBELL_FEATURES_UNMASKFD = DOORBELL_FEATURE_UNMASKFD;
const u64 DOORBELL_FEATURES_SAVE = DOORBELL_FEATURE_SAVE;
const u64 DOORBELL_FEATURES_MODERATION = DOORBELL_FEATURE_MODERATION;
const u64 DOORBELL_FEATURES_SUMMARY = DOORBELL_FEATURE_SUMMARY;
const u64 DOORBELL_FEATURES_LAST_VALUE = DOORBELL_FEATURE_LAST_VALUE;
const u64 DOORBELL_FEATURES_COUNT = DOORBELL_FEATURE_COUNT;
const u32 DOORBELL_GFP_RETRY_MAYFAIL = ___GFP_RETRY_MAYFAIL;
/* begin out of tree */
const vm_flags_t DOORBELL_VM_MAYSHARE = VM_MAYSHARE;
/* end out of tree */
#endif

bool doorbell_signal_allowed(void);
void doorbell_signal_lockdep(struct eventfd_ctx *ctx, __poll_t mask);
/* begin out of tree */
#ifdef DOORBELL_EVENTFD_EXPORTS
/* end out of tree */
void doorbell_signal_count(struct eventfd_ctx *ctx, u64 count, __poll_t mask);
/* begin out of tree */
#else
void doorbell_eventfd_raise(struct wait_queue_head *wqh, u64 *count, u64 more);
__poll_t doorbell_vfs_poll(struct file *file, struct poll_table_struct *pt);
void doorbell_wait_queue_add(struct wait_queue_head *wqh, struct wait_queue_entry *entry);
void doorbell_wake_writers(struct wait_queue_head *wqh);
#endif
/* end out of tree */
unsigned long doorbell_wait_queue_lock(struct wait_queue_head *wqh);
void doorbell_wait_queue_unlock(struct wait_queue_head *wqh, unsigned long flags);
void doorbell_wait_queue_del(struct wait_queue_entry *entry);
void doorbell_wait_queue_prepare(struct wait_queue_head *wqh, struct wait_queue_entry *entry);
ktime_t doorbell_host_monotonic(ktime_t time);
bool doorbell_sleep_until(ktime_t time);
void doorbell_poll_init(struct wait_queue_head *wqh);
void doorbell_poll_wait(struct file *file, struct wait_queue_head *wqh,
			struct poll_table_struct *table);
bool doorbell_poll_has_waiter(struct wait_queue_head *wqh);
void doorbell_poll_wake(struct wait_queue_head *wqh, __poll_t key);
u64 doorbell_fetch_or(u64 *word, u64 bits);
void doorbell_swait_init(struct swait_queue_head *queue);
void doorbell_swait_wake(struct swait_queue_head *queue);
void doorbell_swait_entry(struct swait_queue *entry);
void doorbell_swait_prepare(struct swait_queue_head *queue, struct swait_queue *entry);
void doorbell_swait_finish(struct swait_queue_head *queue, struct swait_queue *entry);
bool doorbell_swait_has_waiter(struct swait_queue_head *queue);
struct doorbell_readers;
atomic_t *doorbell_read_begin(struct doorbell_readers *readers, u32 phase);
void doorbell_read_end(atomic_t *active);
#ifdef CONFIG_DEBUG_LOCK_ALLOC
void doorbell_wait_for_readers(void);
bool doorbell_reads(void);
#endif
int doorbell_get_value(u64 *value, const void __user *from, size_t size);
int doorbell_word_cmpxchg(atomic_t *word, int old, int new);
bool doorbell_units_cmpxchg(atomic_t *word, u32 old[2], u32 word_new, u32 units_new, bool claim);
int doorbell_handoff_claim(atomic_t *word, int old, int new);
int doorbell_handoff_release(atomic_t *word, int old, int new);
void doorbell_preempt_disable(void);
void doorbell_preempt_enable(void);
u32 doorbell_depth(void);
u32 doorbell_wake_depth(u32 hops);
void doorbell_call(struct doorbell_callback *callback, u32 depth, u32 event);
void doorbell_fresh(void);
bool doorbell_within_budget(u32 signals);
void doorbell_charge(u32 signals);
void doorbell_spent(void);
void doorbell_cond_resched(void);
unsigned long doorbell_index_mask(unsigned long index, unsigned long size);
bool doorbell_cpu_is_active(void);
bool doorbell_fatal_signal_pending(void);
long doorbell_segment_len(const struct iov_iter *iter);
struct user_struct *doorbell_memlock_user(void);
void doorbell_memlock_user_put(struct user_struct *user);
bool doorbell_memlock_charge(struct user_struct *user, unsigned long pages);
void doorbell_memlock_uncharge(struct user_struct *user, unsigned long pages);
bool doorbell_llist_add(struct llist_node *node, struct llist_head *head);
struct llist_node *doorbell_llist_take(struct llist_head *head);

/*
 * The driver queues no lazy irq_work. So this flag, which changes nothing for a work that is
 * on no list, marks one that is closed.
 */
enum { DOORBELL_IRQ_WORK_CLOSED = IRQ_WORK_LAZY };
bool doorbell_irq_work_is_busy(struct irq_work *work);
int doorbell_irq_work_close(struct irq_work *work);
void doorbell_fput(struct file *file);
unsigned long doorbell_fdget(int fd);
struct file *doorbell_fd_file(unsigned long word);
void doorbell_fdput(unsigned long word);
struct doorbell_thread;
struct doorbell_thread *doorbell_thread_create(bool (*func)(void *data),
					       void (*killed)(void *data), void *data);
void doorbell_thread_start(struct doorbell_thread *thread);
void doorbell_thread_wake(struct doorbell_thread *thread);
void doorbell_thread_stop(struct doorbell_thread *thread);
void doorbell_threads_exit(void);
void doorbell_set_running(void);
void doorbell_notice_task_work(void);
int doorbell_orphans_init(void);
void doorbell_orphans_exit(void);
void doorbell_orphans_queue(struct work_struct *work);
#ifdef CONFIG_KCOV
u64 doorbell_kcov_handle(void);
void doorbell_kcov_start(u64 handle);
void doorbell_kcov_stop(void);
#endif
#ifdef CONFIG_COMPAT
unsigned long doorbell_compat_ptr(u32 uptr);
#endif
bool doorbell_get_user_words(u64 *to, const void *from, u32 words);
bool doorbell_put_user_pair(void *to, u32 first, u64 second);
bool doorbell_put_user_pair_nofault(void *to, u32 first, u64 second);
bool doorbell_put_user_u64(void *to, u64 value);

#ifdef CONFIG_DOORBELL_KUNIT_TEST
int doorbell_kunit_eventfd(unsigned int index);
int doorbell_kunit_cpu(unsigned int index);
bool doorbell_kunit_queue_on(struct irq_work *work, int cpu);
bool doorbell_kunit_stay_on(int cpu);
bool doorbell_kunit_is_shared(struct file *file);
void doorbell_kunit_skip(const char *reason);
bool doorbell_in_hardirq(void);
#endif

/* begin out of tree */
/* compat_7_2.c */
unsigned long doorbell_irq_save(void);
void doorbell_irq_restore(unsigned long flags);
unsigned long doorbell_spin_lock_irqsave(spinlock_t *lock);
bool doorbell_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void doorbell_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
/* end out of tree */

#endif /* _DOORBELL_BINDINGS_HELPER_H */
