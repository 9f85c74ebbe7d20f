// SPDX-License-Identifier: GPL-2.0-only

//! Generation of programs: mostly plausible values, some hostile ones.

use crate::{
    arena::{PLACES, POINTERS, THREADS},
    calls::{form, Domain, CONTEXTS, EVENTFDS, FORMS, MAX_FIELDS},
    program::{Call, Program},
};
use fastrand::Rng;

/// Values at which something changes.
const BOUNDARIES: [u64; 18] = [
    0,
    1,
    2,
    7,
    8,
    63,
    64,
    65,
    4095,
    4096,
    65535,
    65536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// Numbers of lines; most programs have eight.
const LINES: [u64; 10] = [0, 0, 0, 1, 1, 2, 3, 5, 7, 63];

/// Addresses of the bus that meet each other.
const ADDRESSES: [u64; 12] = [
    0x1000,
    0x1000,
    0x1000,
    0x1001,
    0x1002,
    0x1004,
    0x1008,
    0x2000,
    0,
    0x7fff_ffff_ffff_fff8,
    u64::MAX,
    u64::MAX - 7,
];

fn pick(random: &mut Rng, values: &[u64]) -> u64 {
    values[random.usize(..values.len())]
}

/// Returns a value for a field.
pub fn value(random: &mut Rng, domain: Domain) -> u64 {
    // Few fields are hostile: a call with one of them mostly fails early.
    let hostile = random.u32(..40) == 0;
    match domain {
        Domain::Reserved if hostile => pick(random, &BOUNDARIES[1..]),
        Domain::Reserved => 0,
        Domain::Place if hostile || random.u32(..16) == 0 => random.u64(..PLACES),
        Domain::Place => 0,
        Domain::Pointer if hostile => random.u64(..POINTERS),
        Domain::Pointer => pick(random, &[0, 1, 1, 2, 3, 4]),
        Domain::Context if hostile => CONTEXTS + random.u64(..4),
        Domain::Context => pick(random, &[0, 0, 0, 1, 1, 2]),
        Domain::EventFd if hostile => EVENTFDS + random.u64(..6),
        Domain::EventFd => random.u64(..EVENTFDS),
        Domain::OptionalEventFd if hostile => EVENTFDS + 1 + random.u64(..6),
        Domain::OptionalEventFd => 1 + random.u64(..EVENTFDS),
        Domain::Line if hostile => {
            pick(random, &[8, 62, 64, 65535, 65536, 0x7fff_ffff, 0xffff_ffff])
        }
        Domain::Line => pick(random, &LINES),
        Domain::Lines if hostile => pick(random, &BOUNDARIES),
        Domain::Lines => pick(random, &[1, 1, 1, 2, 3, 8, 8, 64]),
        Domain::Time => pick(random, &[0, 0, 0, 1, 100_000, 1_000_000, u64::MAX]),
        Domain::Address if hostile => random.u64(..),
        Domain::Address => pick(random, &ADDRESSES),
        _ if hostile => pick(random, &BOUNDARIES),
        Domain::Bits(1) => pick(random, &[0, 0, 1]),
        Domain::Bits(bits) => random.u64(..) & random.u64(..) & u64::from(bits),
        Domain::Choice(values) => pick(random, values),
        Domain::Below(limit) => random.u64(..limit),
    }
}

/// Returns a random call.
pub fn call(random: &mut Rng) -> Call {
    let total: u32 = FORMS.iter().map(|form| form.weight).sum();
    let mut at = random.u32(..total);
    let mut chosen = 0;
    for (number, form) in FORMS.iter().enumerate() {
        if at < form.weight {
            chosen = number;
            break;
        }
        at -= form.weight;
    }
    call_of(random, chosen)
}

/// Returns a call of the form `form`.
pub fn call_of(random: &mut Rng, form: usize) -> Call {
    let mut values = [0; MAX_FIELDS];
    for (value_, field) in values.iter_mut().zip(FORMS[form].fields) {
        *value_ = value(random, field.domain);
    }
    let mut call = Call {
        thread: 0,
        form,
        values,
    };
    settle(random, &mut call);
    call
}

/// Makes fields fit each other, most of the time.
fn settle(random: &mut Rng, call: &mut Call) {
    if random.u32(..10) == 0 {
        return;
    }
    let name = call.form().name;
    let flags = call.get("flags");
    let mut set = |field: &str, value: u64| {
        if let Some(at) = call.form().field(field) {
            call.values[at] = value;
        }
    };
    match name {
        "irqfd" if flags != 2 => set("resamplefd", 0),
        "trigger" if flags & 6 != 0 => set("fd", EVENTFDS),
        "notifier" if flags != 0 => {
            set("events", 0);
            if flags == 3 {
                set("fd", EVENTFDS);
            }
        }
        "notifier" => set("events", 1 + random.u64(..7)),
        "region" | "put_region" => {
            if flags & 2 == 0 {
                set("datamatch", 0);
            }
            if flags & 4 != 0 {
                set("fd", 0);
            } else {
                set("line", 0);
            }
            if flags & 16 == 0 {
                set("slot", 0);
            }
        }
        "set_records" if flags & 1 != 0 => set("nr_records", 0),
        "set_records" => set("nr_values", 0),
        _ => {}
    }
}

/// Returns a random program. It opens a context and eventfds first.
pub fn generate(random: &mut Rng) -> Program {
    let mut calls = Vec::new();
    let mut add = |random: &mut Rng, name: &str, fields: &[(&str, u64)]| {
        let Some(form) = form(name) else { return };
        let mut call = Call {
            thread: 0,
            form,
            values: [0; MAX_FIELDS],
        };
        for (field, value) in fields {
            if let Some(at) = FORMS[form].field(field) {
                call.values[at] = *value;
            }
        }
        if random.u32(..50) != 0 {
            calls.push(call);
        }
    };
    let contexts = 1 + u64::from(random.u32(..3) == 0);
    for context in 0..contexts {
        let masked = u64::from(random.u32(..4) == 0);
        let lines = pick(random, &[8, 8, 8, 64, 1]);
        add(random, "open", &[("context", context)]);
        let fields = [("context", context), ("nr_lines", lines), ("flags", masked)];
        add(random, "set_lines", &fields);
    }
    for fd in 0..random.u64(1..5) {
        let flags = pick(random, &[0, 0, 1]);
        add(random, "eventfd", &[("fd", fd), ("flags", flags)]);
    }
    let threads = if random.u32(..3) == 0 {
        1 + random.usize(..THREADS)
    } else {
        1
    };
    let begin = calls.len();
    for _ in 0..random.usize(3..30) {
        calls.push(call(random));
    }
    spread(random, &mut calls[begin..], threads);
    Program { calls }
}

/// Gives the calls to random ones of `threads` threads.
pub fn spread(random: &mut Rng, calls: &mut [Call], threads: usize) {
    for call in calls {
        call.thread = random.usize(..threads);
    }
}
