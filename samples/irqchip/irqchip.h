/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _IRQCHIP_H
#define _IRQCHIP_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The pins. All but the last belong to timers; on the last is a device that counts
 * their ticks.
 */
#define IRQCHIP_PINS		4
#define IRQCHIP_COUNTER_PIN	(IRQCHIP_PINS - 1)

/* A pin has all vectors that leave it as the remainder. */
#define IRQCHIP_VECTORS		256
#define IRQCHIP_PIN(vector)	((vector) % IRQCHIP_PINS)

/**
 * struct irqchip_wiring - IRQCHIP_WIRE: the lines behind the pins, once
 * @ctx: a context of doorbell's
 * @first_line: the first of IRQCHIP_PINS lines; level lines
 */
struct irqchip_wiring {
	__s32 ctx;
	__u32 first_line;
};

/**
 * struct irqchip_regs - IRQCHIP_GET_REGS: what is with a pin
 * @pin: in: which one
 * @vector: out: what the redirection table has for it
 * @ticks: out: ticks of its timer, or that were counted
 * @reinjected: out: ticks that came too early, and were injected at an ack
 * @acks: out: how often its notifier was called
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

/* The timer of the pin that is the argument ticks. */
#define IRQCHIP_TICK		_IO(0xDB, 0x82)

/* Gives the pin that is the argument another vector. */
#define IRQCHIP_MOVE		_IO(0xDB, 0x83)

/*
 * read() of a __u32 takes the vector of an interrupt, and sleeps until there is one.
 * write() of it is the EOI.
 */

#endif /* _IRQCHIP_H */
