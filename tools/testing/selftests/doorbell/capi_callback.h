/* SPDX-License-Identifier: GPL-2.0-only */
/* Callbacks of doorbell_test.ko, as triggers and as notifiers. */
#ifndef _DOORBELL_CAPI_CALLBACK_H
#define _DOORBELL_CAPI_CALLBACK_H

#include "capi.h"

#define MASK	DOORBELL_NOTIFY_MASK
#define UNMASK	DOORBELL_NOTIFY_UNMASK
#define ACK	DOORBELL_NOTIFY_ACK
#define ALL	(MASK | UNMASK | ACK)

static inline int add_trigger(struct capi *c, uint32_t line, uint32_t callback)
{
	return call_assign(c, TEST_ASSIGN_TRIGGER, line, 0, callback);
}

static inline int del_trigger(struct capi *c, uint32_t line, uint32_t callback)
{
	return call_deassign(c, TEST_DEASSIGN_TRIGGER, line, callback);
}

static inline int add_notifier(struct capi *c, uint32_t line, uint32_t events, uint32_t callback)
{
	return call_assign(c, TEST_ASSIGN_NOTIFIER, line, events, callback);
}

static inline int del_notifier(struct capi *c, uint32_t line, uint32_t callback)
{
	return call_deassign(c, TEST_DEASSIGN_NOTIFIER, line, callback);
}

#endif /* _DOORBELL_CAPI_CALLBACK_H */
