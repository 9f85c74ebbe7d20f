// SPDX-License-Identifier: GPL-2.0-only

//! The handoff lock, and the counters in the status pages that its owner writes.

use super::{both, cmpxchg, memory, Litmus, Mistake, NEVER};
use loom::sync::atomic::{
    fence,
    Ordering::{Acquire, Relaxed},
};

const OWNED: u32 = 1;
const PENDING: u32 = 2;
const PARKED: u32 = 4;

memory!(Lock {
    word,
    value,
    deliveries,
    taken
});

/// An owner changes the value and releases the lock. The next owner finds the change.
fn next_owner(mistake: Mistake) -> bool {
    let lock = Lock::new();
    lock.word.store(OWNED, Relaxed);
    let (_, stale) = both(
        &lock,
        move |lock| {
            lock.value.store(1, Relaxed);
            mistake.full(0, || cmpxchg(&lock.word, OWNED, 0));
        },
        |lock| {
            let claimed = mistake.full(1, || cmpxchg(&lock.word, 0, OWNED));
            claimed && lock.value.load(Relaxed) == 0
        },
    );
    stale
}

/// A contender leaves its work to the owner, which finds what the contender has written before.
fn left_to_the_owner(mistake: Mistake) -> bool {
    let lock = Lock::new();
    lock.word.store(OWNED, Relaxed);
    let (_, stale) = both(
        &lock,
        move |lock| {
            lock.value.store(1, Relaxed);
            mistake.full(0, || cmpxchg(&lock.word, OWNED, OWNED | PENDING));
        },
        |lock| {
            // An exchange that fails orders nothing.
            if cmpxchg(&lock.word, OWNED, 0) {
                return false;
            }
            let word = lock.word.load(mistake.weakens(1, Acquire));
            mistake.full(1, || cmpxchg(&lock.word, word, OWNED));
            lock.value.load(Relaxed) == 0
        },
    );
    stale
}

/// An owner parks the lock, and another thread continues.
fn parked(mistake: Mistake) -> bool {
    let lock = Lock::new();
    lock.word.store(OWNED, Relaxed);
    let (_, stale) = both(
        &lock,
        move |lock| {
            lock.value.store(1, Relaxed);
            mistake.full(0, || cmpxchg(&lock.word, OWNED, OWNED | PARKED));
        },
        |lock| {
            let word = lock.word.load(mistake.weakens(1, Acquire));
            word & PARKED != 0
                && mistake.full(1, || cmpxchg(&lock.word, word, OWNED))
                && lock.value.load(Relaxed) == 0
        },
    );
    stale
}

/// A thread that reads from the word that a delivery has ended finds it counted.
fn word_then_counters(mistake: Mistake) -> bool {
    let lock = Lock::new();
    lock.word.store(OWNED, Relaxed);
    let (_, stale) = both(
        &lock,
        move |lock| {
            lock.deliveries.store(1, Relaxed);
            mistake.full(0, || cmpxchg(&lock.word, OWNED, 0));
        },
        |lock| {
            lock.word.load(mistake.weakens(1, Acquire)) == 0 && lock.deliveries.load(Relaxed) == 0
        },
    );
    stale
}

/// A ring moves from the word to a counter. A reader of both does not count it twice.
fn counted_once(mistake: Mistake) -> bool {
    let lock = Lock::new();
    lock.word.store(PENDING, Relaxed);
    let (_, rings) = both(
        &lock,
        move |lock| {
            mistake.full(0, || cmpxchg(&lock.word, PENDING, OWNED));
            lock.deliveries.store(1, Relaxed);
        },
        |lock| {
            let deliveries = lock.deliveries.load(Relaxed);
            if !mistake.is(1) {
                fence(Acquire);
            }
            deliveries + u32::from(lock.word.load(Acquire) & PENDING != 0)
        },
    );
    rings > 1
}

/// A snapshot that succeeds counts each ring. A ring is pending; its delivery ends with the next ring pending, so
/// the word is the same before and afterwards.
fn snapshot(mistake: Mistake) -> bool {
    let lock = Lock::new();
    lock.word.store(PENDING, Relaxed);
    let (_, rings) = both(
        &lock,
        |lock| {
            let mistake = Mistake(None);
            mistake.full(NEVER, || cmpxchg(&lock.word, PENDING, OWNED));
            lock.deliveries.store(1, Relaxed);
            mistake.full(NEVER, || cmpxchg(&lock.word, OWNED, PENDING));
        },
        |lock| {
            let before = lock.word.load(Acquire);
            let deliveries = lock.deliveries.load(Relaxed);
            fence(Acquire);
            let rung = u32::from(lock.word.load(Acquire) & PENDING != 0);
            fence(Acquire);
            let unchanged = before & OWNED == 0
                && lock.word.load(mistake.weakens(0, Acquire)) == before
                && (lock.deliveries.load(Relaxed) == deliveries || mistake.is(1));
            unchanged.then_some(deliveries + rung)
        },
    );
    rings == Some(0)
}

/// A waiter consumes deliveries. A reader of the status page that loads `taken` first never finds it beyond the
/// deliveries.
fn taken_follows(mistake: Mistake) -> bool {
    let lock = Lock::new();
    lock.deliveries.store(1, Relaxed);
    let (_, beyond) = both(
        &lock,
        move |lock| {
            lock.deliveries.store(2, Relaxed);
            mistake.full(0, || cmpxchg(&lock.taken, 0, 2));
        },
        |lock| {
            let taken = lock.taken.load(mistake.weakens(1, Acquire));
            lock.deliveries.load(Relaxed) < taken
        },
    );
    beyond
}

/// A ringing thread writes its data, claims the line, and counts the delivery. A waiter that consumes the delivery
/// finds the data.
fn data_of_a_delivery(mistake: Mistake) -> bool {
    let lock = Lock::new();
    let (_, stale) = both(
        &lock,
        move |lock| {
            lock.value.store(1, Relaxed);
            mistake.full(0, || cmpxchg(&lock.word, 0, OWNED));
            lock.deliveries.store(1, Relaxed);
        },
        |lock| {
            lock.deliveries.load(Relaxed) == 1
                && mistake.full(1, || cmpxchg(&lock.taken, 0, 1))
                && lock.value.load(Relaxed) == 0
        },
    );
    stale
}

pub(super) const TESTS: &[Litmus] = &[
    Litmus {
        name: "the next owner of a handoff lock finds its value",
        code: "HandoffLock::try_update, HandoffGuard::release_to; Line::mask, Line::claim",
        run: next_owner,
        mistakes: &[
            "the lock is released without order",
            "the lock is claimed without order",
        ],
    },
    Litmus {
        name: "the owner finds what a contender has written",
        code: "HandoffLock::update, HandoffGuard::update",
        run: left_to_the_owner,
        mistakes: &[
            "the contender sets its bit without order",
            "the owner reads the bit without order",
        ],
    },
    Litmus {
        name: "a parked lock is continued with its value",
        code: "HandoffGuard::park, HandoffLock::unpark",
        run: parked,
        mistakes: &[
            "the lock is parked without order",
            "the lock is unparked without order",
        ],
    },
    Litmus {
        name: "a delivery that has ended is counted",
        code: "HandoffLock::word, Line::send_edge; StatusPages::line of the client library",
        run: word_then_counters,
        mistakes: &[
            "the owner releases the line without order",
            "the word is read without acquire",
        ],
    },
    Litmus {
        name: "a ring that becomes a delivery counts once",
        code: "Line::read, Line::take_message; Line::save, Line::count_coalesced",
        run: counted_once,
        mistakes: &[
            "the message is taken without order",
            "the counters are read without a barrier before the word",
        ],
    },
    Litmus {
        name: "a snapshot has each ring",
        code: "Line::try_snapshot",
        run: snapshot,
        mistakes: &[
            "the snapshot checks the word without acquire",
            "the snapshot does not check the counters",
        ],
    },
    Litmus {
        name: "the deliveries that were taken are counted",
        code: "Line::take_deliveries, StatusPages::untaken of the client library",
        run: taken_follows,
        mistakes: &[
            "a waiter takes deliveries without order",
            "taken is read without acquire",
        ],
    },
    Litmus {
        name: "a waiter finds the data of a delivery",
        code: "Line::ring_idle_waiters, Line::take_deliveries",
        run: data_of_a_delivery,
        mistakes: &[
            "the ring claims the line without order",
            "the waiter takes the delivery without order",
        ],
    },
];
