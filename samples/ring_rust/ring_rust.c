// SPDX-License-Identifier: GPL-2.0
/*
 * The modules in C and in Rust have the same ABI, so one program serves both.
 */
#define DEVICE	"/dev/doorbell-ring_rust"
#define MODULE	"doorbell_ring_rust"
#include "../ring_c/ring_c.c"
