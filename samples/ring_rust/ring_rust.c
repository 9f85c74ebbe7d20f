// SPDX-License-Identifier: GPL-2.0
/*
 * The two modules do the same, so one program serves both.
 */
#define DEVICE	"/dev/doorbell-ring_rust"
#include "../ring_c/ring_c.c"
