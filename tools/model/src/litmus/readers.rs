// SPDX-License-Identifier: GPL-2.0-only

//! Read domains, and objects that are published.

use super::{both, cmpxchg, memory, Litmus, Mistake};
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

memory!(Domain {
    active,
    pointer,
    freed,
    used
});

/// A writer makes an object unreachable, finds no reader, and frees it. No reader uses it afterwards.
fn grace_period(mistake: Mistake) -> bool {
    let domain = Domain::new();
    domain.pointer.store(1, Relaxed);
    let (used_freed, _) = both(
        &domain,
        move |domain| {
            domain.active.fetch_add(1, Relaxed);
            mistake.barrier(0);
            domain.pointer.load(Relaxed) == 1 && domain.freed.load(Relaxed) == 1
        },
        |domain| {
            domain.pointer.store(0, Release);
            mistake.barrier(1);
            if domain.active.load(Acquire) == 0 {
                domain.freed.store(1, Relaxed);
            }
        },
    );
    used_freed
}

/// A writer that finds a reader gone finds what the reader has done, and its next accesses come after that.
fn end_of_a_reader(mistake: Mistake) -> bool {
    let domain = Domain::new();
    domain.active.store(1, Relaxed);
    let (_, unseen) = both(
        &domain,
        move |domain| {
            domain.used.store(1, Relaxed);
            mistake.barrier(0);
            domain.active.fetch_sub(1, Relaxed);
        },
        |domain| {
            domain.active.load(mistake.weakens(1, Acquire)) == 0 && domain.used.load(Relaxed) == 0
        },
    );
    unseen
}

memory!(Published { pointer, object });

/// A snapshot of an array, or a node of a list, is published by a store.
fn published(mistake: Mistake) -> bool {
    let shared = Published::new();
    let (_, stale) = both(
        &shared,
        move |shared| {
            shared.object.store(1, Relaxed);
            shared.pointer.store(1, mistake.weakens(0, Release));
        },
        |shared| {
            shared.pointer.load(mistake.weakens(1, Acquire)) == 1
                && shared.object.load(Relaxed) == 0
        },
    );
    stale
}

/// An object that is set once is published by an exchange.
fn set_once(mistake: Mistake) -> bool {
    let shared = Published::new();
    let (_, stale) = both(
        &shared,
        move |shared| {
            shared.object.store(1, Relaxed);
            mistake.full(0, || cmpxchg(&shared.pointer, 0, 1));
        },
        |shared| {
            shared.pointer.load(mistake.weakens(1, Acquire)) == 1
                && shared.object.load(Relaxed) == 0
        },
    );
    stale
}

pub(super) const TESTS: &[Litmus] = &[
    Litmus {
        name: "no reader uses a freed object",
        code: "ReadDomain::read, ReadDomain::synchronize",
        run: grace_period,
        mistakes: &[
            "the reader has no barrier after its counter",
            "the writer has no barrier before it polls",
        ],
    },
    Litmus {
        name: "the accesses of a reader end before its object is freed",
        code: "doorbell_read_end(), Readers::drain",
        run: end_of_a_reader,
        mistakes: &[
            "the reader ends without a barrier",
            "the writer polls without acquire",
        ],
    },
    Litmus {
        name: "a reader finds a published object initialised",
        code: "SharedArray::read and Edit::publish; SharedList::walk and push; Notifiers::arm; \
               EventFdFile::data and KNOWN_OPERATIONS",
        run: published,
        mistakes: &[
            "the object is published without release",
            "the pointer is read without acquire, or a dependency",
        ],
    },
    Litmus {
        name: "a reader finds an object that is set once initialised",
        code: "SetOnceArc::set and get; LazyTimer::create_timer and get",
        run: set_once,
        mistakes: &[
            "the object is set without order",
            "the object is read without a dependency",
        ],
    },
];
