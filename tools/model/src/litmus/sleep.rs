// SPDX-License-Identifier: GPL-2.0-only

//! Threads that wait for a line, and the assignment of waiters.

use super::{both, memory, Litmus, Mistake};
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

memory!(Waiters {
    queue,
    deliveries,
    taken,
    epoch
});

/// A delivery is counted while a thread goes to sleep. The thread finds it, or is woken.
fn delivery_wakes(mistake: Mistake) -> bool {
    let waiters = Waiters::new();
    let (woken, found) = both(
        &waiters,
        move |waiters| {
            waiters.deliveries.store(1, Relaxed);
            // swq_has_sleeper()
            mistake.barrier(0);
            waiters.queue.load(Relaxed) == 1
        },
        |waiters| {
            waiters.queue.store(1, Relaxed);
            // set_current_state() in prepare_to_swait_exclusive()
            mistake.barrier(1);
            waiters.deliveries.load(Relaxed) == 1
        },
    );
    !woken && !found
}

/// The waiters are deassigned while a thread goes to sleep. The thread finds that, or is woken.
fn deassignment_wakes(mistake: Mistake) -> bool {
    let waiters = Waiters::new();
    let (woken, found) = both(
        &waiters,
        move |waiters| {
            waiters.epoch.store(1, Release);
            mistake.barrier(0);
            waiters.queue.load(Relaxed) == 1
        },
        |waiters| {
            waiters.queue.store(1, Relaxed);
            mistake.barrier(1);
            waiters.epoch.load(Acquire) == 1
        },
    );
    !woken && !found
}

/// The waiters are assigned to a line that has delivered before. A thread that waits then does not consume these
/// deliveries.
fn assigned(mistake: Mistake) -> bool {
    let waiters = Waiters::new();
    waiters.deliveries.store(5, Relaxed);
    let (_, consumed) = both(
        &waiters,
        move |waiters| {
            waiters.taken.store(5, Relaxed);
            waiters.epoch.store(1, mistake.weakens(0, Release));
        },
        |waiters| {
            waiters.epoch.load(mistake.weakens(1, Acquire)) == 1
                && waiters.taken.load(Relaxed) != waiters.deliveries.load(Relaxed)
        },
    );
    consumed
}

pub(super) const TESTS: &[Litmus] = &[
    Litmus {
        name: "a delivery wakes a thread that did not find it",
        code: "Waiters::wake, doorbell_swait_prepare(), Line::has_untaken",
        run: delivery_wakes,
        mistakes: &[
            "the delivery looks for waiters without a barrier",
            "the waiter looks for deliveries without a barrier",
        ],
    },
    Litmus {
        name: "the end of the waiters wakes a thread that did not find it",
        code: "Waiters::next_epoch, Waiters::wake, Wait::is_over",
        run: deassignment_wakes,
        mistakes: &[
            "the end looks for waiters without a barrier",
            "the waiter looks for the end without a barrier",
        ],
    },
    Litmus {
        name: "new waiters do not consume the deliveries of before",
        code: "Line::add_waiters, Wait::new",
        run: assigned,
        mistakes: &[
            "the epoch begins without release",
            "the epoch is read without acquire",
        ],
    },
];
