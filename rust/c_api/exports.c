// SPDX-License-Identifier: GPL-2.0
/*
 * The in-kernel API is written in Rust, in exports.rs, and documented in the
 * header; here it is exported.
 */
#include <linux/doorbell.h>
#include <linux/export.h>

EXPORT_SYMBOL_GPL(doorbell_ctx_fdget);
EXPORT_SYMBOL_GPL(doorbell_ctx_fileget);
EXPORT_SYMBOL_GPL(doorbell_ctx_get);
EXPORT_SYMBOL_GPL(doorbell_ctx_put);
EXPORT_SYMBOL_GPL(doorbell_ring);
EXPORT_SYMBOL_GPL(doorbell_set_level);
EXPORT_SYMBOL_GPL(doorbell_ack);
EXPORT_SYMBOL_GPL(doorbell_mask);
EXPORT_SYMBOL_GPL(doorbell_mask_for);
EXPORT_SYMBOL_GPL(doorbell_mask_nosync);
EXPORT_SYMBOL_GPL(doorbell_mask_for_nosync);
EXPORT_SYMBOL_GPL(doorbell_unmask);
EXPORT_SYMBOL_GPL(doorbell_unmask_for);
EXPORT_SYMBOL_GPL(doorbell_clear);
EXPORT_SYMBOL_GPL(doorbell_moderate);
EXPORT_SYMBOL_GPL(doorbell_state);
EXPORT_SYMBOL_GPL(doorbell_bus_write);
EXPORT_SYMBOL_GPL(doorbell_assign_trigger);
EXPORT_SYMBOL_GPL(doorbell_deassign_trigger);
EXPORT_SYMBOL_GPL(doorbell_assign_notifier);
EXPORT_SYMBOL_GPL(doorbell_deassign_notifier);
