// SPDX-License-Identifier: GPL-2.0
/*
 * A module to start from: it rings a line of a context whenever another one delivers.
 *
 *	insmod doorbell_template.ko fd=FD from=LINE to=LINE
 *
 * FD is an open /dev/doorbell of the process that loads the module. A real module
 * gets it by an ioctl instead, as ../ring_c does.
 */
#include <linux/doorbell.h>
#include <linux/module.h>

static int fd = -1;
module_param(fd, int, 0);
MODULE_PARM_DESC(fd, "the context, a file descriptor of the process that loads the module");

static uint from;
module_param(from, uint, 0444);
MODULE_PARM_DESC(from, "the line to listen to");

static uint to = 1;
module_param(to, uint, 0444);
MODULE_PARM_DESC(to, "the line to ring");

static struct doorbell_ctx *ctx;

/* May run in any context, even in hard interrupt context: must not sleep. */
static void template_delivered(struct doorbell_callback *callback, u32 event)
{
	doorbell_ring(ctx, to);
}

static struct doorbell_callback callback = { .func = template_delivered };

static int __init template_init(void)
{
	int ret;

	/* A line that rings itself would deliver for ever. */
	if (from == to)
		return -EINVAL;
	ctx = doorbell_ctx_fdget(fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	/* A context never loses lines: doorbell_ring() cannot fail after this check. */
	ret = doorbell_state(ctx, to);
	if (ret >= 0)
		ret = doorbell_assign_trigger(ctx, from, &callback);
	if (ret < 0)
		doorbell_ctx_put(ctx);
	return ret;
}

static void __exit template_exit(void)
{
	/* Waits for the callback, which is the last user of the context. */
	doorbell_deassign_trigger(ctx, from, &callback);
	doorbell_ctx_put(ctx);
}

module_init(template_init);
module_exit(template_exit);

MODULE_DESCRIPTION("doorbell template: rings a line when another delivers");
MODULE_AUTHOR("The doorbell authors");
MODULE_LICENSE("GPL");
