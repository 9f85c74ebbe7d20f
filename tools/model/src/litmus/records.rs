// SPDX-License-Identifier: GPL-2.0-only

//! The ring of records.

use super::{both, cmpxchg, memory, Litmus, Mistake, NEVER};
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

memory!(Ring {
    tail,
    head,
    sequence,
    value,
    polled,
    waiter
});

/// Records `value` in a ring of one place. Does nothing if there is no room.
fn record(ring: &Ring, mistake: Mistake, value: u32) {
    let tail = ring.tail.load(Relaxed);
    let head = ring.head.load(Acquire);
    if tail != head || !cmpxchg(&ring.tail, tail, tail + 1) {
        return;
    }
    ring.value.store(value, Relaxed);
    ring.sequence.store(tail + 1, mistake.weakens(0, Release));
}

/// Reads the value, then calls `advance`. Without the order of `advance` the CPU may do this the other way round. loom
/// executes no load after a later store, so the mistake does it explicitly.
fn read_then(ring: &Ring, swapped: bool, advance: impl FnOnce() -> bool) -> (u32, bool) {
    if swapped {
        let advanced = advance();
        return (ring.value.load(Relaxed), advanced);
    }
    (ring.value.load(Relaxed), advance())
}

/// The consumer of the mapped ring reads the record that was stored, and not the next one in its place.
fn mapped(mistake: Mistake) -> bool {
    let ring = Ring::new();
    let (_, wrong) = both(
        &ring,
        move |ring| {
            record(ring, mistake, 10);
            record(ring, mistake, 20);
        },
        |ring| {
            if ring.sequence.load(mistake.weakens(1, Acquire)) != 1 {
                return false;
            }
            let advance = || {
                ring.head.store(1, Release);
                true
            };
            read_then(ring, mistake.is(2), advance).0 != 10
        },
    );
    wrong
}

/// As [`mapped`], with the kernel's reader, which advances the head by an exchange.
fn copied(mistake: Mistake) -> bool {
    let ring = Ring::new();
    let (_, wrong) = both(
        &ring,
        move |ring| {
            record(ring, mistake, 10);
            record(ring, mistake, 20);
        },
        |ring| {
            let head = ring.head.load(Acquire);
            if ring.sequence.load(mistake.weakens(1, Acquire)) != head + 1 {
                return false;
            }
            let advance = || Mistake(None).full(NEVER, || cmpxchg(&ring.head, head, head + 1));
            let (value, advanced) = read_then(ring, mistake.is(2), advance);
            advanced && value != 10
        },
    );
    wrong
}

/// A record is stored while a thread begins to wait. The thread finds it, or is woken.
fn polled(mistake: Mistake) -> bool {
    let ring = Ring::new();
    let (woken, found) = both(
        &ring,
        move |ring| {
            ring.sequence.store(1, Release);
            // wq_has_sleeper()
            mistake.barrier(0);
            ring.waiter.load(Relaxed) == 1
        },
        |ring| {
            ring.waiter.store(1, Relaxed);
            // doorbell_poll_wait()
            mistake.barrier(1);
            ring.sequence.load(Acquire) == 1
        },
    );
    !woken && !found
}

/// The records are chosen while the file is polled for the first time. The poll finds them, or the caller finds that the
/// file was polled.
fn was_polled(mistake: Mistake) -> bool {
    let ring = Ring::new();
    // `sequence` stands for the pointer to the records.
    let (seen, found) = both(
        &ring,
        move |ring| {
            ring.sequence.store(1, Relaxed);
            mistake.barrier(0);
            ring.polled.load(Relaxed) == 1
        },
        |ring| {
            ring.polled.store(1, Relaxed);
            mistake.barrier(1);
            ring.sequence.load(Relaxed) == 1
        },
    );
    !seen && !found
}

/// A thread that finds the ring polled finds all that was done before: no producer is left that wakes no waiter.
fn set_polled(mistake: Mistake) -> bool {
    let ring = Ring::new();
    let (_, unseen) = both(
        &ring,
        move |ring| {
            ring.sequence.store(1, Relaxed);
            ring.polled.store(1, mistake.weakens(0, Release));
        },
        |ring| {
            ring.polled.load(mistake.weakens(1, Acquire)) == 1 && ring.sequence.load(Relaxed) == 0
        },
    );
    unseen
}

pub(super) const TESTS: &[Litmus] = &[
    Litmus {
        name: "a consumer of the mapped records reads what was stored",
        code: "Records::record, Records::store; RecordMapping of the client library",
        run: mapped,
        mistakes: &[
            "the record is stored without release",
            "the consumer reads the sequence without acquire",
            "the consumer advances the head without release, and that comes first",
        ],
    },
    Litmus {
        name: "read(2) copies the records that were stored",
        code: "Records::record, Records::copy, Records::read",
        run: copied,
        mistakes: &[
            "the record is stored without release, and read(2) consumes",
            "read(2) reads the sequence without acquire",
            "read(2) advances the head without order, and that comes first",
        ],
    },
    Litmus {
        name: "a record wakes a poll that did not find it",
        code: "Records::record_polled, PollQueue::wake_later and register",
        run: polled,
        mistakes: &[
            "the producer looks for waiters without a barrier",
            "the poll looks for records without a barrier",
        ],
    },
    Litmus {
        name: "a poll finds the records, or DOORBELL_SET_RECORDS finds the poll",
        code: "Bus::set_records, PollQueue::was_polled and register",
        run: was_polled,
        mistakes: &[
            "the records are set without a barrier",
            "the first poll has no barrier",
        ],
    },
    Litmus {
        name: "a ring that is polled has no producer of before",
        code: "Records::set_polled and is_polled",
        run: set_polled,
        mistakes: &[
            "polled is set without release",
            "polled is read without acquire",
        ],
    },
];
