// SPDX-License-Identifier: MIT OR Apache-2.0

//! Masks a line while its consumer polls, as a network driver does under NAPI: the producer's rings
//! take no system call meanwhile.

use doorbell::{Context, EventFd, RingOutcome, SpinningWait, StatusPages};
use std::{
    error::Error,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread,
    time::Duration,
};

const LINE: u32 = 0;
const ITEMS: u64 = 100_000;
const SLOTS: u64 = 256;
/// The most that a consumer polls for the next delivery before it sleeps.
const POLL: Duration = Duration::from_micros(200);

/// A queue in memory with one producer and one consumer. It has no notification of its own.
struct Queue {
    slots: Vec<AtomicU64>,
    head: AtomicU64,
    tail: AtomicU64,
}

impl Queue {
    fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
        }
    }

    fn push(&self, item: u64) {
        let head = self.head.load(Relaxed);
        while head - self.tail.load(Acquire) == SLOTS {
            thread::yield_now();
        }
        self.slots[(head % SLOTS) as usize].store(item, Relaxed);
        self.head.store(head + 1, Release);
    }

    /// Consumes the items that are there; returns their sum, and the number of all items so far.
    fn pop(&self) -> (u64, u64) {
        let (tail, head) = (self.tail.load(Relaxed), self.head.load(Acquire));
        let slot = |at| &self.slots[(at % SLOTS) as usize];
        let sum = (tail..head).map(|at| slot(at).load(Relaxed)).sum();
        self.tail.store(head, Release);
        (sum, head)
    }
}

/// Stores all items, and rings where needed. Returns the number of rings.
fn produce(context: &Context, status: &StatusPages, queue: &Queue) -> doorbell::Result<u64> {
    let mut rings = 0;
    for item in 1..=ITEMS {
        queue.push(item);
        // Contains the fence between the item and the load of the line's state.
        rings += u64::from(context.ring_if_needed(status, LINE)?.is_some());
    }
    Ok(rings)
}

/// Consumes all items. Returns their sum, and the number of notifications.
fn consume(
    context: &Context,
    mut wait: SpinningWait<&StatusPages, &EventFd>,
    queue: &Queue,
) -> Result<(u64, u64), Box<dyn Error>> {
    let mut notified = 0;
    // Deliveries from before the wait was created are not returned.
    let (mut sum, mut total) = queue.pop();
    while total < ITEMS {
        wait.wait()?;
        notified += 1;
        // Polls until there is nothing, with the notifications off.
        context.mask(LINE)?;
        loop {
            let (items, now) = queue.pop();
            sum += items;
            if now != total {
                total = now;
                continue;
            }
            // The pending message has made the producer skip rings. Items whose rings were skipped
            // are visible after the clear; the ring of a later item makes a new message pending.
            if !context.clear(LINE)? {
                break;
            }
        }
        // Delivers if there is a new message.
        context.unmask(LINE)?;
    }
    Ok((sum, notified))
}

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    context.set_lines(1)?;
    let status = context.map_status()?;
    let trigger = EventFd::new(0)?;
    context.assign_trigger(&trigger, LINE)?;

    // One thread: the first ring of a masked line makes its message pending, the others are skipped.
    context.mask(LINE)?;
    let first = context.ring_if_needed(&status, LINE)?;
    assert_eq!(first, Some(RingOutcome::Masked));
    for _ in 1..ITEMS {
        assert_eq!(context.ring_if_needed(&status, LINE)?, None);
    }
    assert_eq!(context.query(LINE)?.rings, 1);
    assert!(context.unmask(LINE)?, "one message for all of them");
    assert_eq!(trigger.read()?, 1);
    println!("masked: {ITEMS} rings took 1 system call and make 1 delivery");

    // Two threads.
    let queue = Queue::new();
    let wait = SpinningWait::new(&status, LINE, &trigger, POLL);
    let (produced, consumed) = thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&context, &status, &queue));
        let consumed = consume(&context, wait, &queue);
        (producer.join().expect("the producer ends"), consumed)
    });
    let (rings, (sum, notified)) = (produced?, consumed?);
    assert_eq!(
        sum,
        ITEMS * (ITEMS + 1) / 2,
        "an item was lost or came twice"
    );
    assert_eq!(context.query(LINE)?.rings, 1 + rings);
    println!("{ITEMS} items: {rings} rings, {notified} notifications; none lost");
    Ok(())
}
