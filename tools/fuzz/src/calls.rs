// SPDX-License-Identifier: GPL-2.0-only

//! The calls that programs consist of, as one table: names, fields and the values that fit them.

use doorbell::uapi;
use std::mem::{offset_of, size_of};

/// The number of contexts in the pool.
pub const CONTEXTS: u64 = 3;

/// The number of eventfds in the pool.
pub const EVENTFDS: u64 = 8;

/// The values that fit a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A context of the pool, or a descriptor that is none.
    Context,
    /// An eventfd of the pool, or a descriptor that is none.
    EventFd,
    /// Zero, or one more than the number of an eventfd.
    OptionalEventFd,
    /// The number of a line.
    Line,
    /// A number of lines.
    Lines,
    /// Any of these bits; sometimes others.
    Bits(u32),
    /// One of these values; sometimes others.
    Choice(&'static [u64]),
    /// A pointer, see [`crate::arena::pointer`].
    Pointer,
    /// A place of the argument, see [`crate::arena::place`].
    Place,
    /// An address of the bus.
    Address,
    /// A time: zero, the maximum, or nanoseconds from now.
    Time,
    /// A number below this one; sometimes others.
    Below(u64),
    /// Zero; sometimes others.
    Reserved,
}

/// A field of a call.
#[derive(Debug)]
pub struct Field {
    /// The name, that of the structure's field if it is one.
    pub name: &'static str,
    /// The values that fit.
    pub domain: Domain,
    /// The offset and size in the structure.
    pub part: Option<(usize, usize)>,
}

/// A call that is no ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Open,
    CloseContext,
    DupContext,
    EventFd,
    EventFdWrite,
    EventFdRead,
    EventFdClose,
    EventFdDup,
    EventFdPass,
    Pwrite,
    Pwritev,
    Read,
    Readv,
    Pread,
    Poll,
    Epoll,
    Map,
    Unmap,
    Protect,
    Advise,
    Touch,
    UringWrite,
    UringRead,
    UringWriteFixed,
    UringReadFixed,
    UringWritev,
    UringReadv,
    UringPoll,
    UringWriteEventFd,
    UringNotify,
    KvmIrqfd,
    Fork,
    FailNth,
    Pause,
    Word,
    Fdinfo,
}

/// The effect of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An ioctl with a structure of this name and size.
    Ioctl(&'static str, u32, &'static str, usize),
    /// An ioctl whose argument is a number.
    Number(&'static str, u32),
    /// Stores a structure of this name and size in a buffer, as an element of an array.
    Store(&'static str, usize),
    /// Another call.
    Other(Op),
}

/// A kind of call.
#[derive(Debug)]
pub struct Form {
    /// The name in texts.
    pub name: &'static str,
    /// The effect.
    pub action: Action,
    /// The frequency among generated calls.
    pub weight: u32,
    /// The fields.
    pub fields: &'static [Field],
}

/// The maximum number of fields of a call.
pub const MAX_FIELDS: usize = 14;

impl Form {
    /// Returns the index of the field `name`.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

/// Returns the index of the form `name`.
pub fn form(name: &str) -> Option<usize> {
    FORMS.iter().position(|form| form.name == name)
}

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! field {
    ($name:ident, $domain:expr) => {
        Field {
            name: stringify!($name),
            domain: $domain,
            part: None,
        }
    };
    ($name:ident, $domain:expr, $struct:ident) => {
        Field {
            name: stringify!($name),
            domain: $domain,
            part: Some((
                offset_of!(uapi::$struct, $name),
                size_of_field(|s: &uapi::$struct| &s.$name),
            )),
        }
    };
}

macro_rules! ioctl {
    ($weight:literal $name:ident $number:ident $struct:ident $c:literal: $($field:ident $domain:expr),* $(,)?) => {
        Form {
            name: stringify!($name),
            action: Action::Ioctl(
                stringify!($number), uapi::$number, $c, size_of::<uapi::$struct>()),
            weight: $weight,
            fields: &[
                field!(context, Context),
                $(field!($field, $domain, $struct),)*
                field!(at, Place),
            ],
        }
    };
}

macro_rules! store {
    ($weight:literal $name:ident $struct:ident $c:literal: $($field:ident $domain:expr),* $(,)?) => {
        Form {
            name: stringify!($name),
            action: Action::Store($c, size_of::<uapi::$struct>()),
            weight: $weight,
            fields: &[
                field!(buffer, Below(crate::arena::BUFFERS)),
                field!(index, Below(4)),
                $(field!($field, $domain, $struct),)*
            ],
        }
    };
}

macro_rules! other {
    ($weight:literal $name:ident $op:ident: $($field:ident $domain:expr),* $(,)?) => {
        Form {
            name: stringify!($name),
            action: Action::Other(Op::$op),
            weight: $weight,
            fields: &[$(field!($field, $domain)),*],
        }
    };
}

const LENGTHS: Domain = Domain::Choice(&[0, 1, 2, 4, 8]);
const COUNTS: Domain = Domain::Choice(&[1, 2, 3, 4, 0]);
const PROTECTIONS: Domain = Domain::Choice(&[1, 3, 1, 3, 0, 2, 4, 5, 7]);

use Domain::{
    Address, Below, Bits, Choice, Context, EventFd, Line, Lines, OptionalEventFd, Place, Pointer,
    Reserved, Time,
};

/// All kinds of calls.
pub static FORMS: &[Form] = &[
    other!(6 open Open: context Below(CONTEXTS)),
    ioctl!(6 set_lines SET_LINES SetLines "set_lines":
        nr_lines Choice(&[8, 1, 2, 64, 65, 100, 4096, 65536]), flags Bits(1), reserved Reserved),
    other!(2 close_context CloseContext: context Below(CONTEXTS)),
    other!(1 dup_context DupContext: context Below(CONTEXTS), to Below(CONTEXTS)),
    ioctl!(2 get_info GET_INFO GetInfo "get_info":),
    Form {
        name: "ring",
        action: Action::Number("RING", uapi::RING),
        weight: 14,
        fields: &[field!(context, Context), field!(line, Line)],
    },
    Form {
        name: "ack",
        action: Action::Number("ACK", uapi::ACK),
        weight: 8,
        fields: &[field!(context, Context), field!(line, Line)],
    },
    ioctl!(12 irqfd IRQFD Irqfd "irqfd":
        fd EventFd, line Line, flags Choice(&[0, 0, 1, 2, 4, 8, 12]), resamplefd OptionalEventFd, reserved Reserved),
    ioctl!(14 trigger TRIGGER Trigger "trigger":
        fd EventFd, line Line, flags Choice(&[0, 0, 0, 1, 8, 3, 4, 5]), reserved Reserved),
    ioctl!(8 query QUERY Query "query": line Line, flags Reserved, reserved Reserved),
    ioctl!(3 eventfd_take EVENTFD_READ Eventfd "eventfd": fd EventFd, flags Bits(1), reserved Reserved),
    ioctl!(3 eventfd_peek EVENTFD_PEEK Eventfd "eventfd": fd EventFd, flags Reserved, reserved Reserved),
    ioctl!(8 mask MASK LineSet "line_set":
        line Line, nr_lines Lines, lines Pointer, result Pointer, flags Bits(15), reserved Reserved),
    ioctl!(10 unmask UNMASK LineSet "line_set":
        line Line, nr_lines Lines, lines Pointer, result Pointer, flags Bits(15), reserved Reserved),
    ioctl!(4 clear CLEAR LineSet "line_set":
        line Line, nr_lines Lines, lines Pointer, result Pointer, flags Reserved, reserved Reserved),
    ioctl!(4 pending PENDING LineSet "line_set":
        line Line, nr_lines Lines, lines Pointer, result Pointer, flags Reserved, reserved Reserved),
    ioctl!(5 ring_lines RING_LINES LineSet "line_set":
        line Line, nr_lines Lines, lines Pointer, result Pointer, flags Reserved, reserved Reserved),
    ioctl!(6 notifier NOTIFIER Notifier "notifier":
        fd EventFd, line Line, flags Choice(&[0, 0, 1, 3]), events Bits(7), reserved Reserved),
    ioctl!(8 set_type SET_TYPE SetType "set_type":
        line Line, type_ Choice(&[1, 1, 0]), flags Bits(1), reserved Reserved),
    ioctl!(6 set_level SET_LEVEL SetLevel "set_level":
        line Line, level Choice(&[1, 0]), flags Reserved, reserved Reserved),
    ioctl!(8 region REGION Region "region":
        addr Address, datamatch Below(4), space Below(2), length LENGTHS, fd OptionalEventFd, line Line,
        flags Bits(31), slot Below(4), reserved Reserved),
    store!(4 put_region Region "region":
        addr Address, datamatch Below(4), space Below(2), length LENGTHS, fd OptionalEventFd, line Line,
        flags Bits(31), slot Below(4), reserved Reserved),
    ioctl!(5 regions REGIONS Regions "regions":
        regions Pointer, nr_regions COUNTS, flags Reserved, reserved Reserved),
    ioctl!(3 get_regions GET_REGIONS GetRegions "get_regions":
        infos Pointer, first Below(4), nr_infos COUNTS, flags Reserved, reserved Reserved),
    store!(4 put_access BusAccess "bus_access":
        addr Address, value Below(4), length LENGTHS, space Below(2)),
    ioctl!(6 bus_write BUS_WRITE BusWrite "bus_write":
        accesses Pointer, nr_accesses COUNTS, flags Reserved, reserved Reserved),
    ioctl!(4 set_records SET_RECORDS SetRecords "set_records":
        nr_records Choice(&[4, 1, 64, 0, 0, 1048576]), flags Bits(1), nr_values Choice(&[4, 0, 1, 64, 65536]),
        reserved Reserved),
    ioctl!(2 get_bus GET_BUS GetBus "get_bus":),
    ioctl!(5 ring_wait RING_WAIT RingWait "ring_wait":
        line Line, fd EventFd, timeout Time, flags Bits(3), reserved Reserved),
    ioctl!(6 wait WAIT Wait "wait": line Line, flags Reserved, timeout Time, reserved Reserved),
    ioctl!(5 save SAVE Save "save":
        lines Pointer, line Line, nr_lines COUNTS, record_size Choice(&[80, 80, 88, 4096, 72]), flags Reserved,
        reserved Reserved),
    store!(3 put_record SavedLine "saved_line":
        state Choice(&[0, 0x10002, 0x10003, 0x4, 0xc, 0xd, 0x1000f, 0x1c, 0x80042, 0x60026]), flags Bits(3),
        deliveries Below(8), coalesced Below(8), dropped Below(8), deferred Below(8), acks Below(8),
        units Choice(&[0, 1, 7, 0xffff_ffff]), reserved Reserved),
    ioctl!(5 restore RESTORE Restore "restore":
        lines Pointer, line Line, nr_lines COUNTS, record_size Choice(&[80, 80, 88, 4096, 72]), flags Reserved,
        reserved Reserved),
    ioctl!(5 moderate MODERATE Moderate "moderate":
        line Line, flags Bits(1), min_interval Choice(&[1000, 0, 50_000, 1_000_000, 1_000_000_000]),
        max_count Choice(&[0, 1, 2, 5, 0xffff_ffff]), reserved Reserved),
    ioctl!(5 summary SUMMARY Summary "summary":
        line Line, nr_lines Lines, lines Pointer, flags Bits(1), reserved Reserved),
    other!(3 word Word: buffer Below(crate::arena::BUFFERS), index Below(8), value Bits(255)),
    other!(8 eventfd EventFd: fd Below(EVENTFDS), initial Below(3), flags Bits(3)),
    other!(14 eventfd_write EventFdWrite: fd EventFd, value Choice(&[1, 1, 2, 0xffff_ffff_ffff_fffe, 0, u64::MAX])),
    other!(5 eventfd_read EventFdRead: fd EventFd),
    other!(3 eventfd_close EventFdClose: fd Below(EVENTFDS)),
    other!(2 eventfd_dup EventFdDup: fd EventFd, to Below(EVENTFDS)),
    other!(1 eventfd_pass EventFdPass: fd EventFd, to Below(EVENTFDS)),
    other!(7 pwrite Pwrite: context Context, address Address, value Below(4), length LENGTHS),
    other!(3 pwritev Pwritev: context Context, address Address, value Below(4), length LENGTHS, more LENGTHS),
    other!(5 read Read: context Context, to Pointer, length Choice(&[32, 64, 31, 8, 1, 0, 4096])),
    other!(2 readv Readv: context Context, address Address, length Choice(&[32, 0, 64, 8]), more Choice(&[32, 0, 8])),
    other!(1 pread Pread: context Context, address Address, to Pointer, length LENGTHS),
    other!(4 poll Poll: context Context),
    other!(2 epoll Epoll: context Context, edge Below(2)),
    other!(6 map Map: map Below(crate::arena::MAPS), context Context, kind Below(5), pages Choice(&[1, 2, 16, 3]),
        protection PROTECTIONS, private Reserved),
    other!(2 unmap Unmap: map Below(crate::arena::MAPS), first Below(4), pages Choice(&[32, 1])),
    other!(1 protect Protect: map Below(crate::arena::MAPS), protection PROTECTIONS),
    other!(1 advise Advise: map Below(crate::arena::MAPS), advice Choice(&[4, 8, 3, 9, 10, 11, 21, 14, 22])),
    other!(6 touch Touch: map Below(crate::arena::MAPS), offset Choice(&[0, 8, 128, 136, 256, 4096]),
        write Below(2), value Below(4)),
    other!(2 uring_write UringWrite: context Context, address Address, value Below(4), length LENGTHS),
    other!(1 uring_read UringRead: context Context, length Choice(&[32, 64, 8])),
    other!(1 uring_write_fixed UringWriteFixed: context Context, address Address, value Below(4), length LENGTHS),
    other!(1 uring_read_fixed UringReadFixed: context Context, length Choice(&[32, 64, 8])),
    other!(1 uring_writev UringWritev: context Context, address Address, value Below(4), length LENGTHS, more LENGTHS),
    other!(1 uring_readv UringReadv: context Context, length Choice(&[32, 0, 64, 8]), more Choice(&[32, 0, 8])),
    other!(1 uring_poll UringPoll: context Context, microseconds Below(200)),
    other!(2 uring_write_eventfd UringWriteEventFd: fd EventFd, value Below(3)),
    other!(1 uring_notify UringNotify: fd EventFd),
    other!(2 kvm_irqfd KvmIrqfd: fd EventFd, gsi Below(24), flags Bits(1)),
    other!(1 fork Fork: calls Below(6), kill Below(2)),
    other!(2 fail_nth FailNth: nth Below(8)),
    other!(1 pause Pause: spins Below(200)),
    other!(1 fdinfo Fdinfo: context Context),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_has_too_many_fields() {
        for form in FORMS {
            assert!(form.fields.len() <= MAX_FIELDS, "{}", form.name);
        }
    }

    /// Structures that no call passes: those that the kernel writes, and those of mappings.
    const NOT_PASSED: [&str; 6] = [
        "line_status",
        "summary_map",
        "region_info",
        "record",
        "record_ring",
        "value",
    ];

    fn header() -> String {
        let header = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../include/uapi/linux/doorbell.h"
        );
        std::fs::read_to_string(header).unwrap()
    }

    /// Returns the forms that pass the structure.
    fn forms_of(name: &str) -> Vec<&'static Form> {
        let is_passed = |form: &&Form| match form.action {
            Action::Ioctl(_, _, passed, _) | Action::Store(passed, _) => passed == name,
            _ => false,
        };
        FORMS.iter().filter(is_passed).collect()
    }

    #[test]
    fn every_ioctl_of_the_header_has_a_form() {
        let mut count = 0;
        for line in header()
            .lines()
            .filter(|line| line.contains("(DOORBELL_IOC_MAGIC, "))
        {
            let name = line.split_whitespace().nth(1).unwrap();
            let name = name.strip_prefix("DOORBELL_").unwrap();
            let found = FORMS.iter().any(|form| match form.action {
                Action::Ioctl(number, _, passed, _) => {
                    number == name && line.ends_with(&format!(" struct doorbell_{passed})"))
                }
                Action::Number(number, _) => number == name,
                _ => false,
            });
            assert!(found, "{name}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

    /// Returns the bits that a definition of the header has: one, or some. Values are none.
    fn bits(value: &str) -> Option<u32> {
        if let Some(shift) = value.strip_prefix("(1U << ") {
            return Some(1 << shift.split(')').next()?.parse::<u32>().ok()?);
        }
        let hex = value.strip_prefix("0x")?.strip_suffix('U')?;
        u32::from_str_radix(hex, 16).ok()
    }

    #[test]
    fn every_flag_of_the_header_is_generated() {
        // The flags of a field follow a comment that begins with its name.
        let mut fields: Vec<(String, u32)> = Vec::new();
        let mut field = None;
        for line in header().lines() {
            let text = line.trim_start_matches(['/', '*', ' ']);
            if let Some(name) = text.strip_prefix("doorbell_") {
                let name = name
                    .split([' ', ':'])
                    .next()
                    .filter(|name| name.contains('.'));
                field = name.map(str::to_owned);
            } else if line.starts_with("struct ") {
                field = None;
            } else if let (Some(value), Some(name)) = (line.strip_prefix("#define "), &field) {
                let value = value
                    .split_whitespace()
                    .skip(1)
                    .collect::<Vec<_>>()
                    .join(" ");
                match (bits(&value), fields.last_mut()) {
                    (Some(bits), Some((last, all))) if last == name => *all |= bits,
                    (Some(bits), _) => fields.push((name.clone(), bits)),
                    (None, _) => {}
                }
            }
        }
        assert!(fields.len() > 10, "{fields:?}");
        for (name, expected) in fields {
            let (passed, field) = name.split_once('.').unwrap();
            let generated = |form: &Form| match form.fields[form.field(field)?].domain {
                Domain::Bits(bits) => Some(bits),
                Domain::Choice(values) => {
                    Some(values.iter().fold(0, |all, bits| all | *bits as u32))
                }
                _ => None,
            };
            let all: Vec<u32> = forms_of(passed).into_iter().filter_map(generated).collect();
            assert!(!all.is_empty(), "no call has {name}");
            assert!(
                all.iter().all(|bits| *bits == expected),
                "{name}: {all:x?}, not {expected:x}"
            );
        }
    }

    #[test]
    fn every_field_of_the_header_is_passed() {
        let header = header();
        let mut count = 0;
        for part in header.split("/**\n * struct doorbell_").skip(1) {
            let (name, _) = part.split_once(' ').unwrap();
            let (documentation, rest) = part.split_once("*/").unwrap();
            let (_, body) = rest.split_once("{\n").unwrap();
            let (body, _) = body.split_once("};").unwrap();
            let end = format!(" struct doorbell_{name})");
            let mut lines = header.lines();
            let is_result = lines.any(|line| line.contains("_IOR(") && line.ends_with(&end));
            let forms = forms_of(name);
            assert_eq!(forms.is_empty(), NOT_PASSED.contains(&name), "{name}");
            let mut at = 0;
            for line in body.lines() {
                let (kind, field) = line.trim().trim_end_matches(';').split_once(' ').unwrap();
                let (field, elements) = field.split_once('[').unwrap_or((field, "1]"));
                let elements: usize = elements.trim_end_matches(']').parse().unwrap_or(0);
                let size = elements
                    * match kind {
                        "__u64" => 8,
                        _ => 4,
                    };
                // DOORBELL_RESTORE ignores the numbers of assignments.
                let is_ignored = name == "saved_line" && field.starts_with("nr_");
                let is_output = is_result || documentation.contains(&format!("@{field}: out: "));
                for form in forms.iter().filter(|_| !is_output && !is_ignored) {
                    let mut passed = form.fields.iter();
                    let part = passed.find(|passed| passed.name.trim_end_matches('_') == field);
                    assert_eq!(
                        part.and_then(|field| field.part),
                        Some((at, size)),
                        "{}: {field}",
                        form.name
                    );
                    count += 1;
                }
                at += size;
            }
        }
        assert!(count > 100, "{count}");
    }
}
