// SPDX-License-Identifier: GPL-2.0
/*
 * For rust/kernel_ext/compat/linux_7_2.rs: the kernel crate of Linux 7.2 has no interrupt
 * state and no spinlock with interrupts off.
 */
#include <linux/irqflags.h>
#include <linux/spinlock.h>

#include "bindings_helper.h"

unsigned long doorbell_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void doorbell_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

unsigned long doorbell_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool doorbell_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void doorbell_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}
