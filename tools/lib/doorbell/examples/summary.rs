// SPDX-License-Identifier: MIT OR Apache-2.0

//! A consumer of 65,536 lines: it waits once for all, and takes the lines that have fired.

use doorbell::{Context, LineSet};
use std::{
    error::Error,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread,
};

const LINES: u32 = 65_536;
const PRODUCERS: u32 = 2;
/// Messages of each producer.
const MESSAGES: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let context = Context::open()?;
    context.set_lines(LINES)?;
    context.assign_summary(&LineSet::range(0..LINES))?;
    let summary = context.map_summary()?;
    let sent: Vec<AtomicU32> = (0..LINES).map(|_| AtomicU32::new(0)).collect();

    // Each producer has every second line, and counts its messages there.
    let produce = |producer: u32| -> doorbell::Result {
        for message in 0..MESSAGES {
            let line = (message * 7919 * PRODUCERS + producer) % LINES;
            sent[line as usize].fetch_add(1, Release);
            context.ring(line)?;
        }
        Ok(())
    };
    let (mut waits, mut taken, mut received) = (0, 0, 0);
    let mut seen = vec![0; LINES as usize];
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| scope.spawn(move || produce(producer)))
            .collect();
        while received < PRODUCERS * MESSAGES {
            summary.wait(None)?;
            waits += 1;
            for line in summary.take() {
                let now = sent[line as usize].load(Acquire);
                received += now - std::mem::replace(&mut seen[line as usize], now);
                taken += 1;
            }
        }
        for producer in producers {
            producer.join().map_err(|_| "a producer panicked")??;
        }
        Ok(())
    })?;
    println!("{received} messages on {LINES} lines: {waits} waits, {taken} lines taken");

    // A message can be seen before its own delivery, whose mark is then left.
    summary.take().for_each(drop);
    assert!(!summary.has_fired());
    let all: u32 = sent.iter().map(|sent| sent.load(Relaxed)).sum();
    assert_eq!(
        (received, all),
        (PRODUCERS * MESSAGES, PRODUCERS * MESSAGES)
    );

    // The rest is left if the caller stops early.
    for line in [5, 70, 65_535] {
        context.ring(line)?;
    }
    assert_eq!(summary.take().next(), Some(5));
    assert_eq!(summary.take().collect::<Vec<_>>(), [70, 65_535]);
    println!("three lines fired: they were taken in two calls, each line once");
    Ok(())
}
