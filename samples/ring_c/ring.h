/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI of /dev/doorbell-ring_c and /dev/doorbell-ring_rust.
 */
#ifndef _DOORBELL_SAMPLE_RING_H
#define _DOORBELL_SAMPLE_RING_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define RING_MIN_PERIOD_NS	100000		/* leaves the CPU time for other work */
#define RING_MAX_PERIOD_NS	1000000000

/**
 * struct ring_attach - RING_ATTACH: ring a line periodically
 * @fd: a context of /dev/doorbell; the caller may close it after that
 * @line: the line
 * @period_ns: time between two rings
 */
struct ring_attach {
	__s32 fd;
	__u32 line;
	__u64 period_ns;
};

/**
 * struct ring_counts - RING_DETACH: stop ringing
 * @rings: number of rings by result: DOORBELL_RING_COALESCED, _DELIVERED, _MASKED
 */
struct ring_counts {
	__u64 rings[3];
};

#define RING_ATTACH	_IOW(0xDB, 0x80, struct ring_attach)
#define RING_DETACH	_IOR(0xDB, 0x81, struct ring_counts)

#endif /* _DOORBELL_SAMPLE_RING_H */
