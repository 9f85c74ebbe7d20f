// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small interrupt controller, like an IO-APIC with one local APIC. Its pins are level
 * lines of a context; it has a trigger and an ack notifier for each.
 *
 * The ack notifier calls back into the controller: it injects a tick that would have
 * coalesced, raises and lowers lines, queries them, and masks pins to change the
 * redirection table. Doorbell holds no lock when it calls a notifier. The controller must
 * not either: it never holds @lock when it calls doorbell.
 */
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/cleanup.h>
#include <linux/doorbell.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "irqchip.h"

struct irqchip;

struct irqchip_pin {
	struct irqchip *chip;
	struct doorbell_callback delivered;
	struct doorbell_callback acked;
	u32 line;
	u32 entry;		/* vector in the redirection table */
	u32 vector;		/* of the interrupt that is requested or in service */
	unsigned long moving;	/* bit 0: a caller changes the entry */
	atomic_t owed;		/* ticks not injected yet */
	atomic_t ticks;
	atomic_t reinjected;
	atomic_t acks;
};

struct irqchip {
	struct mutex wiring;		/* serialises IRQCHIP_WIRE */
	bool wired;			/* never cleared */
	struct doorbell_ctx *ctx;
	wait_queue_head_t wait;
	spinlock_t lock;		/* protects @irr, @isr, and the pins' entry and vector */
	unsigned long irr;		/* pins whose interrupt is requested */
	unsigned long isr;		/* pins whose interrupt is in service */
	atomic_t uncounted;		/* ticks not counted yet */
	struct irqchip_pin pins[IRQCHIP_PINS];
};

/*
 * Injects a tick that is owed, unless it would coalesce with an interrupt that is not acked
 * yet. The ack of that interrupt calls this again.
 */
static bool irqchip_inject(struct irqchip_pin *pin)
{
	struct doorbell_ctx *ctx = pin->chip->ctx;

	while (atomic_dec_if_positive(&pin->owed) >= 0) {
		if (doorbell_ring(ctx, pin->line) != DOORBELL_RING_COALESCED)
			return true;
		/* Fully ordered before doorbell_state(). */
		atomic_inc_return(&pin->owed);
		if (doorbell_state(ctx, pin->line) & DOORBELL_LINE_ASSERTED)
			break;
		/* Acked before the increment, while nothing was owed: try again. */
	}
	return false;
}

static void irqchip_tick(struct irqchip_pin *pin)
{
	atomic_inc(&pin->ticks);
	atomic_inc(&pin->owed);
	irqchip_inject(pin);
}

/* Changes the vector of a pin while the pin is masked, as drivers do. */
static void irqchip_move(struct irqchip_pin *pin)
{
	struct irqchip *chip = pin->chip;

	/* A mask is one bit, so only one caller at a time may mask and unmask. */
	if (test_and_set_bit_lock(0, &pin->moving))
		return;
	doorbell_mask_nosync(chip->ctx, pin->line);
	scoped_guard(spinlock_irqsave, &chip->lock)
		pin->entry = (pin->entry + IRQCHIP_PINS) % IRQCHIP_VECTORS;
	doorbell_unmask(chip->ctx, pin->line);
	clear_bit_unlock(0, &pin->moving);
}

/* Called in the context of the ring or unmask that made the line deliver. */
static void irqchip_delivered(struct doorbell_callback *callback, u32 event)
{
	struct irqchip_pin *pin = container_of(callback, struct irqchip_pin, delivered);
	struct irqchip *chip = pin->chip;

	scoped_guard(spinlock_irqsave, &chip->lock) {
		/* The EOI has this vector, even if the entry has changed by then. */
		pin->vector = pin->entry;
		chip->irr |= BIT(pin - chip->pins);
	}
	wake_up_interruptible(&chip->wait);
}

/* Called for each ack, among them the doorbell_ack() of irqchip_write(). */
static void irqchip_acked(struct doorbell_callback *callback, u32 event)
{
	struct irqchip_pin *pin = container_of(callback, struct irqchip_pin, acked);
	struct irqchip *chip = pin->chip;
	struct irqchip_pin *counter = &chip->pins[IRQCHIP_COUNTER_PIN];

	atomic_inc(&pin->acks);
	if (pin == counter) {
		/* Lower first: a tick that comes now is counted below, or raises the line again. */
		doorbell_set_level(chip->ctx, counter->line, false);
		atomic_add(atomic_xchg(&chip->uncounted, 0), &counter->ticks);
	} else {
		atomic_inc(&chip->uncounted);
		doorbell_set_level(chip->ctx, counter->line, true);
		if (irqchip_inject(pin))
			atomic_inc(&pin->reinjected);
	}
	irqchip_move(pin);
	irqchip_move(&chip->pins[(pin - chip->pins + 1) % IRQCHIP_PINS]);
}

static bool irqchip_is_wired(struct irqchip *chip)
{
	/* Pairs with irqchip_wire(). */
	return smp_load_acquire(&chip->wired);
}

static bool irqchip_take(struct irqchip *chip, u32 *vector)
{
	struct irqchip_pin *pin;

	guard(spinlock_irqsave)(&chip->lock);
	if (!chip->irr)
		return false;
	/* The highest pin has priority. */
	pin = &chip->pins[__fls(chip->irr)];
	chip->irr &= ~BIT(pin - chip->pins);
	chip->isr |= BIT(pin - chip->pins);
	*vector = pin->vector;
	return true;
}

static ssize_t irqchip_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct irqchip *chip = file->private_data;
	u32 vector;
	int ret;

	if (!irqchip_is_wired(chip))
		return -ENOTCONN;
	if (len != sizeof(vector))
		return -EINVAL;
	if (file->f_flags & O_NONBLOCK)
		ret = irqchip_take(chip, &vector) ? 0 : -EAGAIN;
	else
		ret = wait_event_interruptible(chip->wait, irqchip_take(chip, &vector));
	if (ret)
		return ret;
	return copy_to_user(buf, &vector, len) ? -EFAULT : len;
}

static ssize_t irqchip_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct irqchip *chip = file->private_data;
	unsigned long done = 0;
	unsigned int i;
	u32 vector;

	if (!irqchip_is_wired(chip))
		return -ENOTCONN;
	if (len != sizeof(vector))
		return -EINVAL;
	if (copy_from_user(&vector, buf, len))
		return -EFAULT;
	scoped_guard(spinlock_irqsave, &chip->lock) {
		for_each_set_bit(i, &chip->isr, IRQCHIP_PINS) {
			if (chip->pins[i].vector == vector)
				done |= BIT(i);
		}
		chip->isr &= ~done;
	}
	for_each_set_bit(i, &done, IRQCHIP_PINS)
		doorbell_ack(chip->ctx, chip->pins[i].line);
	return len;
}

static void irqchip_unwire_pin(struct doorbell_ctx *ctx, struct irqchip_pin *pin)
{
	doorbell_deassign_notifier(ctx, pin->line, &pin->acked);
	doorbell_deassign_trigger(ctx, pin->line, &pin->delivered);
}

static int irqchip_wire_pin(struct doorbell_ctx *ctx, struct irqchip_pin *pin)
{
	int ret = doorbell_state(ctx, pin->line);

	if (ret < 0)
		return ret;
	if (!(ret & DOORBELL_LINE_LEVEL))
		return -EOPNOTSUPP;
	ret = doorbell_assign_trigger(ctx, pin->line, &pin->delivered);
	if (ret)
		return ret;
	ret = doorbell_assign_notifier(ctx, pin->line, DOORBELL_NOTIFY_ACK, &pin->acked);
	if (ret)
		doorbell_deassign_trigger(ctx, pin->line, &pin->delivered);
	return ret;
}

static void irqchip_unwire(struct irqchip *chip, unsigned int nr_pins)
{
	while (nr_pins--)
		irqchip_unwire_pin(chip->ctx, &chip->pins[nr_pins]);
	doorbell_ctx_put(chip->ctx);
}

static int irqchip_wire(struct irqchip *chip, const struct irqchip_wiring *wiring)
{
	unsigned int i;
	int ret;

	guard(mutex)(&chip->wiring);
	if (chip->wired)
		return -EEXIST;
	/* The callbacks use @ctx from here on. */
	chip->ctx = doorbell_ctx_fdget(wiring->ctx);
	if (IS_ERR(chip->ctx))
		return PTR_ERR(chip->ctx);
	/* A callback of one pin uses the lines of others. */
	for (i = 0; i < IRQCHIP_PINS; i++)
		chip->pins[i].line = wiring->first_line + i;
	for (i = 0; i < IRQCHIP_PINS; i++) {
		ret = irqchip_wire_pin(chip->ctx, &chip->pins[i]);
		if (ret) {
			irqchip_unwire(chip, i);
			chip->irr = 0;
			return ret;
		}
	}
	/* Publishes @ctx; pairs with irqchip_is_wired(). */
	smp_store_release(&chip->wired, true);
	return 0;
}

static void irqchip_get_regs(struct irqchip_pin *pin, struct irqchip_regs *regs)
{
	scoped_guard(spinlock_irqsave, &pin->chip->lock)
		regs->vector = pin->entry;
	regs->ticks = atomic_read(&pin->ticks);
	regs->reinjected = atomic_read(&pin->reinjected);
	regs->acks = atomic_read(&pin->acks);
}

static long irqchip_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct irqchip *chip = file->private_data;
	void __user *argp = (void __user *)arg;
	struct irqchip_wiring wiring;
	struct irqchip_regs regs;

	if (cmd == IRQCHIP_WIRE) {
		if (copy_from_user(&wiring, argp, sizeof(wiring)))
			return -EFAULT;
		return irqchip_wire(chip, &wiring);
	}
	if (!irqchip_is_wired(chip))
		return -ENOTCONN;
	switch (cmd) {
	case IRQCHIP_GET_REGS:
		if (copy_from_user(&regs, argp, sizeof(regs)))
			return -EFAULT;
		if (regs.pin >= IRQCHIP_PINS)
			return -EINVAL;
		irqchip_get_regs(&chip->pins[regs.pin], &regs);
		return copy_to_user(argp, &regs, sizeof(regs)) ? -EFAULT : 0;
	case IRQCHIP_TICK:
		if (arg >= IRQCHIP_COUNTER_PIN)
			return -EINVAL;
		irqchip_tick(&chip->pins[arg]);
		return 0;
	case IRQCHIP_MOVE:
		if (arg >= IRQCHIP_PINS)
			return -EINVAL;
		irqchip_move(&chip->pins[arg]);
		return 0;
	default:
		return -ENOTTY;
	}
}

static int irqchip_open(struct inode *inode, struct file *file)
{
	struct irqchip *chip = kzalloc_obj(*chip);
	unsigned int i;

	if (!chip)
		return -ENOMEM;
	mutex_init(&chip->wiring);
	spin_lock_init(&chip->lock);
	init_waitqueue_head(&chip->wait);
	for (i = 0; i < IRQCHIP_PINS; i++) {
		chip->pins[i].chip = chip;
		chip->pins[i].entry = i;
		chip->pins[i].delivered.func = irqchip_delivered;
		chip->pins[i].acked.func = irqchip_acked;
	}
	file->private_data = chip;
	return 0;
}

static int irqchip_release(struct inode *inode, struct file *file)
{
	struct irqchip *chip = file->private_data;

	/* Waits for callbacks of acks that other processes make at this moment. */
	if (chip->wired)
		irqchip_unwire(chip, IRQCHIP_PINS);
	kfree(chip);
	return 0;
}

static const struct file_operations irqchip_fops = {
	.owner = THIS_MODULE,
	.open = irqchip_open,
	.release = irqchip_release,
	.read = irqchip_read,
	.write = irqchip_write,
	.unlocked_ioctl = irqchip_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice irqchip_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "doorbell-irqchip",
	.fops = &irqchip_fops,
	.mode = 0600,
};
module_misc_device(irqchip_misc);

MODULE_DESCRIPTION("doorbell sample: an interrupt controller whose pins are lines");
MODULE_AUTHOR("The doorbell authors");
MODULE_LICENSE("GPL");
