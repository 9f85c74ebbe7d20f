/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _IRQCHIP_H
#define _IRQCHIP_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The pins. A timer drives each pin but the last; the device of the last pin counts
 * the ticks of the timers.
 */
#define IRQCHIP_PINS		4
#define IRQCHIP_COUNTER_PIN	(IRQCHIP_PINS - 1)

/* The vectors of a pin are those with vector % IRQCHIP_PINS == pin. */
#define IRQCHIP_VECTORS		256
#define IRQCHIP_PIN(vector)	((vector) % IRQCHIP_PINS)

/**
 * struct irqchip_wiring - IRQCHIP_WIRE: connect the pins to lines, once
 * @ctx: a context of /dev/doorbell
 * @first_line: the first of IRQCHIP_PINS level lines
 */
struct irqchip_wiring {
	__s32 ctx;
	__u32 first_line;
};

/**
 * struct irqchip_regs - IRQCHIP_GET_REGS: the registers of a pin
 * @pin: in: the pin
 * @vector: out: its vector in the redirection table
 * @ticks: out: ticks of its timer; of the last pin, ticks counted
 * @reinjected: out: ticks that would have coalesced, and were injected at an ack
 * @acks: out: number of calls of its ack notifier
 */
struct irqchip_regs {
	__u32 pin;
	__u32 vector;
	__u32 ticks;
	__u32 reinjected;
	__u32 acks;
};

#define IRQCHIP_WIRE		_IOW(0xDB, 0x80, struct irqchip_wiring)
#define IRQCHIP_GET_REGS	_IOWR(0xDB, 0x81, struct irqchip_regs)

/* Makes the timer of a pin tick. The argument is the pin. */
#define IRQCHIP_TICK		_IO(0xDB, 0x82)

/* Gives a pin another vector. The argument is the pin. */
#define IRQCHIP_MOVE		_IO(0xDB, 0x83)

/*
 * read() of a __u32 sleeps until there is an interrupt and returns its vector. write() of
 * the vector is the EOI.
 */

#endif /* _IRQCHIP_H */
