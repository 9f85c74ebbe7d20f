/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LEVEL_DEVICE_H
#define _LEVEL_DEVICE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct level_device_wiring - LEVEL_DEVICE_WIRE: connect the device, once
 * @irq: the eventfd that it signals when it needs service
 * @ctx: a context of /dev/doorbell
 * @resample_line: the line of @ctx whose deliveries make the device check for events
 */
struct level_device_wiring {
	__s32 irq;
	__s32 ctx;
	__u32 resample_line;
};

/**
 * struct level_device_events - LEVEL_DEVICE_START: generate events
 * @count: number of events; each makes the device need service
 * @period_us: time between two events
 */
struct level_device_events {
	__u32 count;
	__u32 period_us;
};

#define LEVEL_DEVICE_WIRE	_IOW(0xDB, 0x80, struct level_device_wiring)
#define LEVEL_DEVICE_START	_IOW(0xDB, 0x81, struct level_device_events)

/* Serves the device; returns the number of events served. */
#define LEVEL_DEVICE_SERVE	_IO(0xDB, 0x82)

#endif /* _LEVEL_DEVICE_H */
