/* SPDX-License-Identifier: GPL-2.0-only */
/* Lines that ring each other without end. */
#ifndef _DOORBELL_WIRE_CYCLE_H
#define _DOORBELL_WIRE_CYCLE_H

#include "doorbell_test.h"

/* Makes the lines 0 of two contexts ring each other. The eventfds must stay open. */
static inline int wire_cycle(int a, int b, const int *efds)
{
	return doorbell_assign_irqfd(b, efds[0], 0) || doorbell_assign_trigger(a, efds[0], 0) ||
	       doorbell_assign_irqfd(a, efds[1], 0) || doorbell_assign_trigger(b, efds[1], 0);
}

#endif /* _DOORBELL_WIRE_CYCLE_H */
