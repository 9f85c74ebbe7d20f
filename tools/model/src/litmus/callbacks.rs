// SPDX-License-Identifier: GPL-2.0-only

//! The callbacks of a line: the worker of its context, and the timer of a moderated line.

use super::{both, memory, Litmus, Mistake, NEVER};
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

const STARTING: u32 = 1;
const ALIVE: u32 = 2;
const DEAD: u32 = 3;
const LEAVES: u32 = 4;

memory!(Work {
    state,
    task,
    queued,
    running,
    effect,
    asleep,
});

/// A callback is queued while the thread ends. The thread or the work item runs it.
fn killed(mistake: Mistake) -> bool {
    let work = Work::new();
    work.state.store(ALIVE, Relaxed);
    let (to_work_item, ran) = both(
        &work,
        move |work| {
            mistake.full(0, || work.queued.swap(1, Relaxed));
            work.state.load(Acquire) != ALIVE
        },
        |work| {
            mistake.full(1, || work.state.swap(DEAD, Relaxed));
            // The work item, which `killed` queues.
            work.queued.swap(0, Relaxed) == 1
        },
    );
    // A caller that finds the thread dead queues the work item itself.
    !to_work_item && !ran
}

/// A caller that finds the thread alive finds the pointer to it.
fn started(mistake: Mistake) -> bool {
    let work = Work::new();
    work.state.store(STARTING, Relaxed);
    let (_, no_task) = both(
        &work,
        move |work| {
            work.task.store(1, Relaxed);
            work.state.store(ALIVE, mistake.weakens(0, Release));
        },
        |work| {
            work.state.load(mistake.weakens(1, Acquire)) == ALIVE && work.task.load(Relaxed) == 0
        },
    );
    no_task
}

/// A callback is queued while the thread goes to sleep. The thread finds it, or is woken.
fn thread_sleeps(mistake: Mistake) -> bool {
    let work = Work::new();
    let (woken, found) = both(
        &work,
        move |work| {
            mistake.full(0, || work.queued.swap(1, Relaxed));
            work.asleep.load(Relaxed) == 1
        },
        |work| {
            // set_current_state() in vhost_task_fn().
            work.asleep.store(1, Relaxed);
            mistake.barrier(1);
            work.queued.load(Relaxed) == 1
        },
    );
    !woken && !found
}

/// A callback is cancelled while it begins. It does not run, or the thread that cancels it finds it running.
fn cancelled(mistake: Mistake) -> bool {
    let work = Work::new();
    work.queued.store(1, Relaxed);
    let (runs, idle) = both(
        &work,
        move |work| {
            mistake.full(0, || work.running.fetch_add(1, Relaxed));
            work.queued.swap(0, Relaxed) == 1
        },
        |work| {
            mistake.full(1, || work.queued.swap(0, Relaxed));
            work.running.load(Acquire) == 0
        },
    );
    runs && idle
}

/// The thread calls the object's function while it is told to leave. It does not, or it is waited for.
fn leaves(mistake: Mistake) -> bool {
    let work = Work::new();
    work.state.store(ALIVE, Relaxed);
    let (calls, idle) = both(
        &work,
        move |work| {
            work.running.fetch_add(1, Relaxed);
            mistake.barrier(0);
            work.state.load(Relaxed) == ALIVE
        },
        |work| {
            mistake.full(1, || {
                work.state
                    .compare_exchange(ALIVE, LEAVES, Relaxed, Relaxed)
                    .is_ok()
            });
            work.running.load(Acquire) == 0
        },
    );
    calls && idle
}

/// A thread that finds the callback not running any more finds what it has done.
fn synced(mistake: Mistake) -> bool {
    let work = Work::new();
    work.running.store(1, Relaxed);
    let (_, unseen) = both(
        &work,
        move |work| {
            work.effect.store(1, Relaxed);
            mistake.full(0, || work.running.fetch_sub(1, Relaxed));
        },
        |work| {
            work.running.load(mistake.weakens(1, Acquire)) == 0 && work.effect.load(Relaxed) == 0
        },
    );
    unseen
}

memory!(Batch {
    mutex,
    running,
    queued,
    word,
    effect
});

/// A line in a batch is run. A thread that finds the first effect in the word, and the batch idle, finds the others.
fn batch_waits(mistake: Mistake) -> bool {
    let batch = Batch::new();
    batch.word.store(1, Relaxed);
    let (_, unseen) = both(
        &batch,
        move |batch| {
            if !mistake.is(0) {
                batch.running.store(1, Relaxed);
            }
            Mistake(None).full(NEVER, || batch.queued.swap(0, Relaxed));
            Mistake(None).full(NEVER, || batch.word.swap(0, Relaxed));
            if mistake.is(0) {
                batch.running.store(1, Relaxed);
            }
            batch.effect.store(1, Relaxed);
            batch.running.store(0, mistake.weakens(1, Release));
        },
        |batch| {
            let taken = Mistake(None).full(NEVER, || batch.word.fetch_add(0, Relaxed)) == 0;
            let idle = batch.running.load(mistake.weakens(2, Acquire)) == 0;
            taken && idle && batch.effect.load(Relaxed) == 0
        },
    );
    unseen
}

/// The thread and the work item both run the batch, while the thread starts. The one that ends first leaves
/// `running` to the other.
fn batch_runs_twice(mistake: Mistake) -> bool {
    let batch = Batch::new();
    batch.word.store(1, Relaxed);
    // The first one has run its objects, and is about to end. It holds the mutex.
    batch.mutex.store(1, Relaxed);
    batch.running.store(1, Relaxed);
    let (_, unseen) = both(
        &batch,
        move |batch| {
            if mistake.is(0) {
                batch.running.store(1, Relaxed);
            }
            // The mutex; a run that would wait is of no interest.
            if batch.mutex.swap(1, AcqRel) == 1 {
                return;
            }
            if !mistake.is(0) {
                batch.running.store(1, Relaxed);
            }
            Mistake(None).full(NEVER, || batch.word.swap(0, Relaxed));
            batch.effect.store(1, Relaxed);
            batch.running.store(0, Release);
            batch.mutex.store(0, Release);
        },
        |batch| {
            // The end of the first one, and then a thread that waits for a line.
            if !mistake.is(0) {
                batch.running.store(0, Release);
            }
            batch.mutex.store(0, Release);
            if mistake.is(0) {
                batch.running.store(0, Release);
            }
            let taken = Mistake(None).full(NEVER, || batch.word.fetch_add(0, Relaxed)) == 0;
            let idle = batch.running.load(Acquire) == 0;
            taken && idle && batch.effect.load(Relaxed) == 0
        },
    );
    unseen
}

memory!(Timer { started, count });

/// A ring that is held counts and removes the timer, if its count is the last. The owner starts the timer and reads
/// the count afterwards. One of them ends the interval.
fn last_held_ring(mistake: Mistake) -> bool {
    let timer = Timer::new();
    let (ring_ends, owner_ends) = both(
        &timer,
        move |timer| {
            mistake.full(0, || timer.count.fetch_add(1, Relaxed));
            timer.started.load(Relaxed) == 1
        },
        |timer| {
            timer.started.store(1, Relaxed);
            mistake.full(1, || timer.count.fetch_add(0, Relaxed)) == 1
        },
    );
    !ring_ends && !owner_ends
}

/// The count is reset before the word changes: a ring that the next interval holds counts from zero.
fn count_of_the_next_interval(mistake: Mistake) -> bool {
    let timer = Timer::new();
    timer.count.store(5, Relaxed);
    // `started` stands for the word here.
    let (_, old) = both(
        &timer,
        move |timer| {
            timer.count.store(0, Relaxed);
            mistake.full(0, || timer.started.swap(1, Relaxed));
        },
        |timer| {
            mistake.full(1, || timer.started.fetch_add(0, Relaxed)) == 1
                && timer.count.load(Relaxed) != 0
        },
    );
    old
}

pub(super) const TESTS: &[Litmus] = &[
    Litmus {
        name: "a callback that is queued while its thread ends is run",
        code: "OwnerWork::queue, RawOwnerWork::killed",
        run: killed,
        mistakes: &[
            "the callback is queued without order",
            "the thread ends without order",
        ],
    },
    Litmus {
        name: "a thread that is alive has a pointer",
        code: "owner_work::start, OwnerWork::queue",
        run: started,
        mistakes: &[
            "the thread is published without release",
            "the state is read without acquire",
        ],
    },
    Litmus {
        name: "a thread that sleeps is woken for a callback",
        code: "OwnerWork::queue, RawOwnerWork::thread, vhost_task_fn()",
        run: thread_sleeps,
        mistakes: &[
            "the callback is queued without order before the wake-up",
            "the thread looks without a barrier",
        ],
    },
    Litmus {
        name: "a callback that is cancelled does not begin unseen",
        code: "OwnerWork::sync, RawOwnerWork::run",
        run: cancelled,
        mistakes: &[
            "the run is counted without order",
            "the callback is cancelled without order",
        ],
    },
    Litmus {
        name: "a thread that is left behind does not use the callback",
        code: "doorbell_thread_stop, thread_enter",
        run: leaves,
        mistakes: &[
            "the thread enters without a barrier",
            "the thread is told to leave without order",
        ],
    },
    Litmus {
        name: "a callback has ended after its sync",
        code: "OwnerWork::sync, RawOwnerWork::run",
        run: synced,
        mistakes: &[
            "the run ends without order",
            "the runs are polled without acquire",
        ],
    },
    Litmus {
        name: "a line in a batch is waited for",
        code: "Batch::take, BatchNode::wait",
        run: batch_waits,
        mistakes: &[
            "a batch says that it runs after it has begun",
            "a batch ends without release",
            "a batch is polled without acquire",
        ],
    },
    Litmus {
        name: "a batch that is run twice at once is waited for",
        code: "Batch::take, BatchNode::wait",
        run: batch_runs_twice,
        mistakes: &["the first run clears the flag of the second"],
    },
    Litmus {
        name: "the last held ring ends the interval",
        code: "Line::start_timer, Line::count_held",
        run: last_held_ring,
        mistakes: &[
            "the held ring is counted without order",
            "the count is read without order",
        ],
    },
    Litmus {
        name: "an interval counts its own rings",
        code: "Line::end_interval, Line::count_held",
        run: count_of_the_next_interval,
        mistakes: &[
            "the interval ends without order",
            "the ring changes the word without order",
        ],
    },
];
