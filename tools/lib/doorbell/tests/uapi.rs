// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares `doorbell::uapi` with the C header.

use doorbell::uapi::*;
use std::{mem::offset_of, path::Path, process::Command};

/// Evaluates the expressions with a C compiler.
fn in_c(expressions: &[&str]) -> Vec<u64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let dir = std::env::temp_dir().join(format!("doorbell-uapi-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut source = String::from(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/doorbell.h>\nint main(void)\n{\n",
    );
    for expression in expressions {
        source += &format!("\tprintf(\"%llu\\n\", (unsigned long long)({expression}));\n");
    }
    source += "\treturn 0;\n}\n";
    let (c, program) = (dir.join("uapi.c"), dir.join("uapi"));
    std::fs::write(&c, source).unwrap();
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(cc)
        .arg("-I")
        .arg(root.join("include/uapi"))
        .args(["-Wall", "-Werror", "-o"])
        .args([&program, &c])
        .status()
        .expect("no C compiler: install gcc, or set CC");
    assert!(status.success());
    let output = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect()
}

/// Lists the numbers and the sizes of structures that the header defines.
fn in_header() -> Vec<String> {
    let header =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../include/uapi/linux/doorbell.h");
    let header = std::fs::read_to_string(header).unwrap();
    let names: Vec<String> = header
        .lines()
        .filter_map(|line| {
            if let Some(rest) = line.strip_prefix("#define ") {
                let (name, _) = rest.split_once(char::is_whitespace)?;
                return Some(name.to_owned());
            }
            let name = line.strip_prefix("struct ")?.strip_suffix(" {")?;
            Some(format!("sizeof(struct {name})"))
        })
        .collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

macro_rules! pairs {
    ($($c:literal => $rust:expr,)+) => {
        (vec![$($c),+], vec![$($rust as u64),+])
    };
}

macro_rules! layout {
    ($c:ident, $rust:ident: $($field:ident)+) => {
        (
            vec![
                concat!("sizeof(struct ", stringify!($c), ")"),
                $(concat!("offsetof(struct ", stringify!($c), ", ", stringify!($field), ")")),+
            ],
            vec![size_of::<$rust>() as u64, $(offset_of!($rust, $field) as u64),+],
        )
    };
}

#[test]
fn header_and_rust_agree() {
    // cargo adds this file to a package, which does not have the header.
    if Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("Cargo.toml.orig")
        .exists()
    {
        return;
    }
    let all = [
        pairs! {
            "DOORBELL_ABI_VERSION" => ABI_VERSION,
            "DOORBELL_MAX_LINES" => MAX_LINES,
            "DOORBELL_MAX_TRIGGERS_PER_LINE" => MAX_TRIGGERS_PER_LINE,
            "DOORBELL_MAX_IRQFDS" => MAX_IRQFDS,
            "DOORBELL_FEATURE_EVENTFD_READ" => FEATURE_EVENTFD_READ,
            "DOORBELL_FEATURE_EVENTFD_PEEK" => FEATURE_EVENTFD_PEEK,
            "DOORBELL_MAX_RESAMPLEFDS_PER_LINE" => MAX_RESAMPLEFDS_PER_LINE,
            "DOORBELL_FEATURE_MASK" => FEATURE_MASK,
            "DOORBELL_FEATURE_LEVEL" => FEATURE_LEVEL,
            "DOORBELL_MAX_MODERATED" => MAX_MODERATED,
            "DOORBELL_MAX_NOTIFIERS_PER_LINE" => MAX_NOTIFIERS_PER_LINE,
            "DOORBELL_IRQFD_FLAG_DEASSIGN" => IRQFD_FLAG_DEASSIGN,
            "DOORBELL_TRIGGER_FLAG_DEASSIGN" => TRIGGER_FLAG_DEASSIGN,
            "DOORBELL_TRIGGER_FLAG_ALL" => TRIGGER_FLAG_ALL,
            "DOORBELL_TRIGGER_FLAG_WAITERS" => TRIGGER_FLAG_WAITERS,
            "DOORBELL_NOTIFIER_FLAG_DEASSIGN" => NOTIFIER_FLAG_DEASSIGN,
            "DOORBELL_NOTIFIER_FLAG_ALL" => NOTIFIER_FLAG_ALL,
            "DOORBELL_REGION_FLAG_DEASSIGN" => REGION_FLAG_DEASSIGN,
            "DOORBELL_IRQFD_FLAG_ACK" => IRQFD_FLAG_ACK,
            "DOORBELL_IRQFD_FLAG_RESAMPLE" => IRQFD_FLAG_RESAMPLE,
            "DOORBELL_IRQFD_FLAG_UNMASK" => IRQFD_FLAG_UNMASK,
            "DOORBELL_NOTIFY_ACK" => NOTIFY_ACK,
            "DOORBELL_TYPE_EDGE" => TYPE_EDGE,
            "DOORBELL_TYPE_LEVEL" => TYPE_LEVEL,
            "DOORBELL_LINE_LEVEL" => LINE_LEVEL,
            "DOORBELL_LINE_ASSERTED" => LINE_ASSERTED,
            "DOORBELL_LINE_RAISED" => LINE_RAISED,
            "DOORBELL_LINE_RESAMPLE" => LINE_RESAMPLE,
            "DOORBELL_LINE_WAITERS" => LINE_WAITERS,
            "DOORBELL_ACK_NOTHING" => ACK_NOTHING,
            "DOORBELL_ACK_DONE" => ACK_DONE,
            "DOORBELL_ACK_POSTPONED" => ACK_POSTPONED,
            "DOORBELL_SET_TYPE" => SET_TYPE,
            "DOORBELL_MODERATE" => MODERATE,
            "DOORBELL_MODERATE_FLAG_GET" => MODERATE_FLAG_GET,
            "DOORBELL_MIN_INTERVAL" => MIN_INTERVAL,
            "DOORBELL_MAX_INTERVAL" => MAX_INTERVAL,
            "DOORBELL_LINE_MODERATED" => LINE_MODERATED,
            "DOORBELL_FEATURE_MODERATION" => FEATURE_MODERATION,
            "DOORBELL_SET_LEVEL" => SET_LEVEL,
            "DOORBELL_ACK" => ACK,
            "DOORBELL_NOTIFY_MASK" => NOTIFY_MASK,
            "DOORBELL_NOTIFY_UNMASK" => NOTIFY_UNMASK,
            "DOORBELL_LINE_MASKED" => LINE_MASKED,
            "DOORBELL_LINE_STATE" => LINE_STATE,
            "DOORBELL_LINE_AUTOMASK" => LINE_AUTOMASK,
            "DOORBELL_LINE_COUNTS" => LINE_COUNTS,
            "DOORBELL_FEATURE_COUNT" => FEATURE_COUNT,
            "DOORBELL_TRIGGER_FLAG_COUNT" => TRIGGER_FLAG_COUNT,
            "DOORBELL_LINE_REASONS" => LINE_REASONS,
            "DOORBELL_LINE_REASONS_SHIFT" => LINE_REASONS_SHIFT,
            "DOORBELL_MASK_VECTOR" => MASK_VECTOR,
            "DOORBELL_MASK_FUNCTION" => MASK_FUNCTION,
            "DOORBELL_MASK_PAUSE" => MASK_PAUSE,
            "DOORBELL_MASK_AUTO" => MASK_AUTO,
            "DOORBELL_TYPE_FLAG_AUTOMASK" => TYPE_FLAG_AUTOMASK,
            "DOORBELL_FEATURE_MASK_REASONS" => FEATURE_MASK_REASONS,
            "DOORBELL_FEATURE_UNMASKFD" => FEATURE_UNMASKFD,
            "DOORBELL_RING_MASKED" => RING_MASKED,
            "DOORBELL_LINE_PENDING" => LINE_PENDING,
            "DOORBELL_EVENTFD_FLAG_NOWAIT" => EVENTFD_FLAG_NOWAIT,
            "DOORBELL_RING_COALESCED" => RING_COALESCED,
            "DOORBELL_RING_DELIVERED" => RING_DELIVERED,
            "DOORBELL_IOC_MAGIC" => IOC_MAGIC,
            "DOORBELL_GET_INFO" => GET_INFO,
            "DOORBELL_SET_LINES" => SET_LINES,
            "DOORBELL_RING" => RING,
            "DOORBELL_IRQFD" => IRQFD,
            "DOORBELL_TRIGGER" => TRIGGER,
            "DOORBELL_QUERY" => QUERY,
            "DOORBELL_EVENTFD_READ" => EVENTFD_READ,
            "DOORBELL_EVENTFD_PEEK" => EVENTFD_PEEK,
            "DOORBELL_MASK" => MASK,
            "DOORBELL_UNMASK" => UNMASK,
            "DOORBELL_CLEAR" => CLEAR,
            "DOORBELL_PENDING" => PENDING,
            "DOORBELL_NOTIFIER" => NOTIFIER,
            "DOORBELL_MAX_REGIONS" => MAX_REGIONS,
            "DOORBELL_MAX_RECORDS" => MAX_RECORDS,
            "DOORBELL_MAX_EVENTFDS" => MAX_EVENTFDS,
            "DOORBELL_MAX_SEARCHED_TRIGGERS" => MAX_SEARCHED_TRIGGERS,
            "DOORBELL_SET_LINES_FLAG_MASKED" => SET_LINES_FLAG_MASKED,
            "DOORBELL_FEATURE_BUS" => FEATURE_BUS,
            "DOORBELL_FEATURE_RING_WAIT" => FEATURE_RING_WAIT,
            "DOORBELL_FEATURE_SUMMARY" => FEATURE_SUMMARY,
            "DOORBELL_SUMMARY_FLAG_DEASSIGN" => SUMMARY_FLAG_DEASSIGN,
            "DOORBELL_SUMMARY_GROUPS" => SUMMARY_GROUPS,
            "DOORBELL_SUMMARY" => SUMMARY,
            "DOORBELL_RING_WAIT_FLAG_NO_RING" => RING_WAIT_FLAG_NO_RING,
            "DOORBELL_RING_WAIT_NO_TIMEOUT" => RING_WAIT_NO_TIMEOUT,
            "DOORBELL_RING_WAIT_FLAG_LINE" => RING_WAIT_FLAG_LINE,
            "DOORBELL_RING_WAIT" => RING_WAIT,
            "DOORBELL_FEATURE_WAIT" => FEATURE_WAIT,
            "DOORBELL_WAIT_NO_TIMEOUT" => WAIT_NO_TIMEOUT,
            "DOORBELL_WAIT" => WAIT,
            "DOORBELL_FEATURE_RING_LINES" => FEATURE_RING_LINES,
            "DOORBELL_RING_LINES" => RING_LINES,
            "DOORBELL_FEATURE_SAVE" => FEATURE_SAVE,
            "DOORBELL_SAVED_FLAG_UNDELIVERED" => SAVED_FLAG_UNDELIVERED,
            "DOORBELL_SAVED_FLAG_COUNTED" => SAVED_FLAG_COUNTED,
            "DOORBELL_SAVED_STATE" => SAVED_STATE,
            "DOORBELL_SAVED_LINE_SIZE" => SAVED_LINE_SIZE,
            "DOORBELL_SAVED_LINE_SIZE_MAX" => SAVED_LINE_SIZE_MAX,
            "DOORBELL_SAVE" => SAVE,
            "DOORBELL_RESTORE" => RESTORE,
            "DOORBELL_MAX_VALUES" => MAX_VALUES,
            "DOORBELL_FEATURE_LAST_VALUE" => FEATURE_LAST_VALUE,
            "DOORBELL_REGION_FLAG_LAST" => REGION_FLAG_LAST,
            "DOORBELL_SET_RECORDS_FLAG_VALUES" => SET_RECORDS_FLAG_VALUES,
            "DOORBELL_REGION_FLAG_DATAMATCH" => REGION_FLAG_DATAMATCH,
            "DOORBELL_REGION_FLAG_LINE" => REGION_FLAG_LINE,
            "DOORBELL_REGION_FLAG_RECORD" => REGION_FLAG_RECORD,
            "DOORBELL_SPACE_MMIO" => SPACE_MMIO,
            "DOORBELL_SPACE_PIO" => SPACE_PIO,
            "DOORBELL_REGION" => REGION,
            "DOORBELL_REGIONS" => REGIONS,
            "DOORBELL_GET_REGIONS" => GET_REGIONS,
            "DOORBELL_BUS_WRITE" => BUS_WRITE,
            "DOORBELL_SET_RECORDS" => SET_RECORDS,
            "DOORBELL_GET_BUS" => GET_BUS,
        },
        layout!(doorbell_get_info, GetInfo: abi_version nr_lines features max_lines max_triggers_per_line
            max_irqfds nr_irqfds nr_triggers nr_notifiers status_size max_notifiers_per_line
            max_resamplefds_per_line max_regions nr_regions max_records status_offset
            records_offset summary_offset values_offset max_values reserved),
        layout!(doorbell_set_lines, SetLines: nr_lines flags reserved),
        layout!(doorbell_irqfd, Irqfd: fd line flags resamplefd reserved),
        layout!(doorbell_trigger, Trigger: fd line flags reserved),
        layout!(doorbell_query, Query: line state rings deliveries deferred nr_irqfds nr_triggers
            dropped nr_notifiers nr_resamplefds acks flags nr_unmaskfds nr_ackfds reserved),
        layout!(doorbell_set_level, SetLevel: line level flags reserved),
        layout!(doorbell_moderate, Moderate: line flags min_interval max_count reserved),
        layout!(doorbell_notifier, Notifier: fd line flags events reserved),
        layout!(doorbell_line_set, LineSet: line nr_lines lines result flags reserved),
        layout!(doorbell_line_status, LineStatus: state units deliveries coalesced dropped deferred
            acks taken dropped_units),
        layout!(doorbell_eventfd, Eventfd: fd flags count reserved),
        layout!(doorbell_summary, Summary: line nr_lines lines flags reserved),
        layout!(doorbell_summary_map, SummaryMap: top reserved groups),
        layout!(doorbell_ring_wait, RingWait: line fd timeout flags result count reserved),
        layout!(doorbell_saved_line, SavedLine: state flags deliveries coalesced dropped deferred acks
            nr_irqfds nr_triggers nr_notifiers nr_resamplefds nr_unmaskfds nr_ackfds units
            reserved),
        layout!(doorbell_save, Save: lines line nr_lines record_size flags reserved),
        layout!(doorbell_restore, Restore: lines line nr_lines record_size failed flags reserved),
        layout!(doorbell_wait, Wait: line flags timeout count reserved),
        layout!(doorbell_region, Region: addr datamatch space length fd line flags slot reserved),
        layout!(doorbell_regions, Regions: regions nr_regions failed flags reserved),
        layout!(doorbell_region_info, RegionInfo: addr datamatch space length flags line writes slot
            reserved),
        layout!(doorbell_get_regions, GetRegions: infos first nr_infos flags reserved),
        layout!(doorbell_bus_access, BusAccess: addr value length space),
        layout!(doorbell_bus_write, BusWrite: accesses nr_accesses flags reserved),
        layout!(doorbell_set_records, SetRecords: nr_records flags nr_values reserved),
        layout!(doorbell_record, Record: sequence addr value length space),
        layout!(doorbell_record_ring, RecordRing: head reserved),
        layout!(doorbell_value, Value: value writes started reserved),
        layout!(doorbell_get_bus, GetBus: nr_regions nr_records recorded refused nr_values reserved0
            reserved),
        pairs! {
            // `type` is a keyword.
            "offsetof(struct doorbell_record_ring, records)" => size_of::<RecordRing>(),
            "offsetof(struct doorbell_summary_map, lines)" => size_of::<SummaryMap>(),
            "sizeof(struct doorbell_set_type)" => size_of::<SetType>(),
            "offsetof(struct doorbell_set_type, type)" => offset_of!(SetType, type_),
            "offsetof(struct doorbell_set_type, flags)" => offset_of!(SetType, flags),
            "offsetof(struct doorbell_set_type, reserved)" => offset_of!(SetType, reserved),
        },
    ];
    let (c, rust): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let (c, rust) = (c.concat(), rust.concat());
    for name in in_header() {
        assert!(c.contains(&name.as_str()), "{name} is not compared");
    }
    for ((expression, c), rust) in c.iter().zip(in_c(&c)).zip(rust) {
        assert_eq!(c, rust, "{expression}");
    }
}
