// SPDX-License-Identifier: GPL-2.0

//! The ABI of include/uapi/linux/doorbell.h, as bindgen translates it.

pub(crate) use crate::bindings::{
    doorbell_bus_access,
    doorbell_bus_write,
    doorbell_eventfd,
    doorbell_get_bus,
    doorbell_get_info,
    doorbell_get_regions,
    doorbell_irqfd,
    doorbell_line_set,
    doorbell_line_status,
    doorbell_moderate,
    doorbell_notifier,
    doorbell_query,
    doorbell_record,
    doorbell_record_ring,
    doorbell_region,
    doorbell_region_info,
    doorbell_regions,
    doorbell_restore,
    doorbell_ring_wait,
    doorbell_save,
    doorbell_saved_line,
    doorbell_set_level,
    doorbell_set_lines,
    doorbell_set_records,
    doorbell_set_type,
    doorbell_summary,
    doorbell_summary_map,
    doorbell_trigger,
    doorbell_value,
    doorbell_wait,
    DOORBELL_ABI_VERSION,
    DOORBELL_ACK_DONE,
    DOORBELL_ACK_NOTHING,
    DOORBELL_ACK_POSTPONED,
    DOORBELL_EVENTFD_FLAG_NOWAIT,
    DOORBELL_IOC_ACK,
    DOORBELL_IOC_BUS_WRITE,
    DOORBELL_IOC_CLEAR,
    DOORBELL_IOC_EVENTFD_PEEK,
    DOORBELL_IOC_EVENTFD_READ,
    DOORBELL_IOC_GET_BUS,
    DOORBELL_IOC_GET_INFO,
    DOORBELL_IOC_GET_REGIONS,
    DOORBELL_IOC_IRQFD,
    DOORBELL_IOC_MASK,
    DOORBELL_IOC_MODERATE,
    DOORBELL_IOC_NOTIFIER,
    DOORBELL_IOC_PENDING,
    DOORBELL_IOC_QUERY,
    DOORBELL_IOC_REGION,
    DOORBELL_IOC_REGIONS,
    DOORBELL_IOC_RESTORE,
    DOORBELL_IOC_RING,
    DOORBELL_IOC_RING_LINES,
    DOORBELL_IOC_RING_WAIT,
    DOORBELL_IOC_SAVE,
    DOORBELL_IOC_SET_LEVEL,
    DOORBELL_IOC_SET_LINES,
    DOORBELL_IOC_SET_RECORDS,
    DOORBELL_IOC_SET_TYPE,
    DOORBELL_IOC_SUMMARY,
    DOORBELL_IOC_TRIGGER,
    DOORBELL_IOC_UNMASK,
    DOORBELL_IOC_WAIT,
    DOORBELL_IRQFD_FLAG_ACK,
    DOORBELL_IRQFD_FLAG_DEASSIGN,
    DOORBELL_IRQFD_FLAG_RESAMPLE,
    DOORBELL_IRQFD_FLAG_UNMASK,
    DOORBELL_LINE_ASSERTED,
    DOORBELL_LINE_AUTOMASK,
    DOORBELL_LINE_COUNTS,
    DOORBELL_LINE_LEVEL,
    DOORBELL_LINE_MASKED,
    DOORBELL_LINE_MODERATED,
    DOORBELL_LINE_PENDING,
    DOORBELL_LINE_RAISED,
    DOORBELL_LINE_REASONS,
    DOORBELL_LINE_REASONS_SHIFT,
    DOORBELL_LINE_RESAMPLE,
    DOORBELL_LINE_STATE,
    DOORBELL_LINE_WAITERS,
    DOORBELL_MASK_AUTO,
    DOORBELL_MASK_VECTOR,
    DOORBELL_MAX_EVENTFDS,
    DOORBELL_MAX_INTERVAL,
    DOORBELL_MAX_IRQFDS,
    DOORBELL_MAX_LINES,
    DOORBELL_MAX_MODERATED,
    DOORBELL_MAX_NOTIFIERS_PER_LINE,
    DOORBELL_MAX_RECORDS,
    DOORBELL_MAX_REGIONS,
    DOORBELL_MAX_RESAMPLEFDS_PER_LINE,
    DOORBELL_MAX_SEARCHED_TRIGGERS,
    DOORBELL_MAX_TRIGGERS_PER_LINE,
    DOORBELL_MAX_VALUES,
    DOORBELL_MIN_INTERVAL,
    DOORBELL_MODERATE_FLAG_GET,
    DOORBELL_NOTIFIER_FLAG_ALL,
    DOORBELL_NOTIFIER_FLAG_DEASSIGN,
    DOORBELL_NOTIFY_ACK,
    DOORBELL_NOTIFY_MASK,
    DOORBELL_NOTIFY_UNMASK,
    DOORBELL_REGION_FLAG_DATAMATCH,
    DOORBELL_REGION_FLAG_DEASSIGN,
    DOORBELL_REGION_FLAG_LAST,
    DOORBELL_REGION_FLAG_LINE,
    DOORBELL_REGION_FLAG_RECORD,
    DOORBELL_RING_COALESCED,
    DOORBELL_RING_DELIVERED,
    DOORBELL_RING_MASKED,
    DOORBELL_RING_WAIT_FLAG_LINE,
    DOORBELL_RING_WAIT_FLAG_NO_RING,
    DOORBELL_SAVED_FLAG_COUNTED,
    DOORBELL_SAVED_FLAG_UNDELIVERED,
    DOORBELL_SAVED_LINE_SIZE,
    DOORBELL_SAVED_LINE_SIZE_MAX,
    DOORBELL_SAVED_STATE,
    DOORBELL_SET_LINES_FLAG_MASKED,
    DOORBELL_SET_RECORDS_FLAG_VALUES,
    DOORBELL_SPACE_MMIO,
    DOORBELL_SPACE_PIO,
    DOORBELL_SUMMARY_FLAG_DEASSIGN,
    DOORBELL_SUMMARY_GROUPS,
    DOORBELL_TRIGGER_FLAG_ALL,
    DOORBELL_TRIGGER_FLAG_COUNT,
    DOORBELL_TRIGGER_FLAG_DEASSIGN,
    DOORBELL_TRIGGER_FLAG_WAITERS,
    DOORBELL_TYPE_EDGE,
    DOORBELL_TYPE_FLAG_AUTOMASK,
    DOORBELL_TYPE_LEVEL, //
};
use crate::kernel_ext::uaccess::impl_user_abi;

/// `DOORBELL_FEATURE_EVENTFD_READ`; bindgen does not evaluate the `ULL` shifts.
pub(crate) const DOORBELL_FEATURE_EVENTFD_READ: u64 =
    crate::bindings::DOORBELL_FEATURES_EVENTFD_READ;
/// `DOORBELL_FEATURE_EVENTFD_PEEK`.
pub(crate) const DOORBELL_FEATURE_EVENTFD_PEEK: u64 =
    crate::bindings::DOORBELL_FEATURES_EVENTFD_PEEK;
/// `DOORBELL_FEATURE_MASK`.
pub(crate) const DOORBELL_FEATURE_MASK: u64 = crate::bindings::DOORBELL_FEATURES_MASK;
/// `DOORBELL_FEATURE_LEVEL`.
pub(crate) const DOORBELL_FEATURE_LEVEL: u64 = crate::bindings::DOORBELL_FEATURES_LEVEL;
/// `DOORBELL_FEATURE_BUS`.
pub(crate) const DOORBELL_FEATURE_BUS: u64 = crate::bindings::DOORBELL_FEATURES_BUS;
/// `DOORBELL_FEATURE_RING_WAIT`.
pub(crate) const DOORBELL_FEATURE_RING_WAIT: u64 = crate::bindings::DOORBELL_FEATURES_RING_WAIT;
/// `DOORBELL_FEATURE_WAIT`.
pub(crate) const DOORBELL_FEATURE_WAIT: u64 = crate::bindings::DOORBELL_FEATURES_WAIT;
/// `DOORBELL_FEATURE_RING_LINES`.
pub(crate) const DOORBELL_FEATURE_RING_LINES: u64 = crate::bindings::DOORBELL_FEATURES_RING_LINES;
/// `DOORBELL_FEATURE_MASK_REASONS`.
pub(crate) const DOORBELL_FEATURE_MASK_REASONS: u64 =
    crate::bindings::DOORBELL_FEATURES_MASK_REASONS;
/// `DOORBELL_FEATURE_UNMASKFD`.
pub(crate) const DOORBELL_FEATURE_UNMASKFD: u64 = crate::bindings::DOORBELL_FEATURES_UNMASKFD;
/// `DOORBELL_FEATURE_SAVE`.
pub(crate) const DOORBELL_FEATURE_SAVE: u64 = crate::bindings::DOORBELL_FEATURES_SAVE;
/// `DOORBELL_FEATURE_MODERATION`.
pub(crate) const DOORBELL_FEATURE_MODERATION: u64 = crate::bindings::DOORBELL_FEATURES_MODERATION;
/// `DOORBELL_FEATURE_SUMMARY`.
pub(crate) const DOORBELL_FEATURE_SUMMARY: u64 = crate::bindings::DOORBELL_FEATURES_SUMMARY;
/// `DOORBELL_FEATURE_LAST_VALUE`.
pub(crate) const DOORBELL_FEATURE_LAST_VALUE: u64 = crate::bindings::DOORBELL_FEATURES_LAST_VALUE;
/// `DOORBELL_FEATURE_COUNT`.
pub(crate) const DOORBELL_FEATURE_COUNT: u64 = crate::bindings::DOORBELL_FEATURES_COUNT;
/// `DOORBELL_RING_WAIT_NO_TIMEOUT`; bindgen does not evaluate numbers above [`i64::MAX`].
pub(crate) const DOORBELL_RING_WAIT_NO_TIMEOUT: u64 = u64::MAX;
/// `DOORBELL_WAIT_NO_TIMEOUT`.
pub(crate) const DOORBELL_WAIT_NO_TIMEOUT: u64 = u64::MAX;

impl_user_abi! {
    doorbell_get_info {
        abi_version: u32,
        nr_lines: u32,
        features: u64,
        max_lines: u32,
        max_triggers_per_line: u32,
        max_irqfds: u32,
        nr_irqfds: u32,
        nr_triggers: u32,
        nr_notifiers: u32,
        status_size: u32,
        max_notifiers_per_line: u32,
        max_resamplefds_per_line: u32,
        max_regions: u32,
        nr_regions: u32,
        max_records: u32,
        status_offset: u64,
        records_offset: u64,
        summary_offset: u64,
        values_offset: u64,
        max_values: u32,
        reserved: [u32; 7],
    }
    doorbell_set_lines {
        nr_lines: u32,
        flags: u32,
        reserved: [u32; 6],
    }
    doorbell_irqfd {
        fd: i32,
        line: u32,
        flags: u32,
        resamplefd: i32,
        reserved: [u32; 4],
    }
    doorbell_trigger {
        fd: i32,
        line: u32,
        flags: u32,
        reserved: [u32; 5],
    }
    doorbell_summary {
        line: u32,
        nr_lines: u32,
        lines: u64,
        flags: u32,
        reserved: [u32; 3],
    }
    doorbell_query {
        line: u32,
        state: u32,
        rings: u64,
        deliveries: u64,
        deferred: u64,
        nr_irqfds: u32,
        nr_triggers: u32,
        dropped: u64,
        nr_notifiers: u32,
        nr_resamplefds: u32,
        acks: u64,
        flags: u32,
        nr_unmaskfds: u32,
        nr_ackfds: u32,
        reserved: u32,
    }
    doorbell_notifier {
        fd: i32,
        line: u32,
        flags: u32,
        events: u32,
        reserved: [u32; 4],
    }
    doorbell_line_set {
        line: u32,
        nr_lines: u32,
        lines: u64,
        result: u64,
        flags: u32,
        reserved: [u32; 3],
    }
    doorbell_set_type {
        line: u32,
        type_: u32,
        flags: u32,
        reserved: [u32; 5],
    }
    doorbell_moderate {
        line: u32,
        flags: u32,
        min_interval: u32,
        max_count: u32,
        reserved: [u32; 4],
    }
    doorbell_set_level {
        line: u32,
        level: u32,
        flags: u32,
        reserved: [u32; 5],
    }
    doorbell_eventfd {
        fd: i32,
        flags: u32,
        count: u64,
        reserved: [u32; 4],
    }
    doorbell_region {
        addr: u64,
        datamatch: u64,
        space: u32,
        length: u32,
        fd: i32,
        line: u32,
        flags: u32,
        slot: u32,
        reserved: [u32; 2],
    }
    doorbell_regions {
        regions: u64,
        nr_regions: u32,
        failed: u32,
        flags: u32,
        reserved: [u32; 3],
    }
    doorbell_region_info {
        addr: u64,
        datamatch: u64,
        space: u32,
        length: u32,
        flags: u32,
        line: u32,
        writes: u64,
        slot: u32,
        reserved: u32,
    }
    doorbell_get_regions {
        infos: u64,
        first: u32,
        nr_infos: u32,
        flags: u32,
        reserved: [u32; 3],
    }
    doorbell_bus_access {
        addr: u64,
        value: u64,
        length: u32,
        space: u32,
    }
    doorbell_bus_write {
        accesses: u64,
        nr_accesses: u32,
        flags: u32,
        reserved: [u32; 4],
    }
    doorbell_set_records {
        nr_records: u32,
        flags: u32,
        nr_values: u32,
        reserved: [u32; 5],
    }
    doorbell_ring_wait {
        line: u32,
        fd: i32,
        timeout: u64,
        flags: u32,
        result: u32,
        count: u64,
        reserved: [u32; 4],
    }
    doorbell_wait {
        line: u32,
        flags: u32,
        timeout: u64,
        count: u64,
        reserved: [u32; 4],
    }
    doorbell_saved_line {
        state: u32,
        flags: u32,
        deliveries: u64,
        coalesced: u64,
        dropped: u64,
        deferred: u64,
        acks: u64,
        nr_irqfds: u32,
        nr_triggers: u32,
        nr_notifiers: u32,
        nr_resamplefds: u32,
        nr_unmaskfds: u32,
        nr_ackfds: u32,
        units: u32,
        reserved: u32,
    }
    doorbell_save {
        lines: u64,
        line: u32,
        nr_lines: u32,
        record_size: u32,
        flags: u32,
        reserved: [u32; 2],
    }
    doorbell_restore {
        lines: u64,
        line: u32,
        nr_lines: u32,
        record_size: u32,
        failed: u32,
        flags: u32,
        reserved: [u32; 3],
    }
    doorbell_get_bus {
        nr_regions: u32,
        nr_records: u32,
        recorded: u64,
        refused: u64,
        nr_values: u32,
        reserved0: u32,
        reserved: [u64; 4],
    }
}
