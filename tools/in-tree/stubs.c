// SPDX-License-Identifier: GPL-2.0
/*
 * "make series" compiles this without CONFIG_EVENTFD: a caller of each stub.
 */
#include <linux/eventfd.h>

static int __used call_stubs(struct eventfd_ctx *ctx, wait_queue_entry_t *wait, __u64 *cnt)
{
	eventfd_signal_count(ctx, 2, 0);
	if (eventfd_ctx_wait_queue(ctx))
		*cnt = eventfd_ctx_peek_locked(ctx) + eventfd_ctx_peek_read_locked(ctx) +
		       eventfd_ctx_read_locked(ctx);
	eventfd_ctx_wake_writers_locked(ctx);
	return eventfd_ctx_add_wait_queue_locked(ctx, wait, cnt);
}
